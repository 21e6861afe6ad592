"""A result's picture as SVG or PNG: one style, no pyplot, the same bytes every time."""

from __future__ import annotations

import base64
import gc
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from trialml.result import COLOURS, Result

__all__ = ["STYLE", "Drawing", "draw_result", "fonts", "png_of", "svg_of"]

_log = logging.getLogger("trialml.report")
_font_log = logging.getLogger("matplotlib.font_manager")

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": False,
    "axes.labelcolor": "#1a1a1a",
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS.values())})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.size": 10,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "trialml",
    "text.color": "#1a1a1a",
    "text.parse_math": False,
    "xtick.color": "#444444",
    "xtick.labelcolor": "#1a1a1a",
    "xtick.labelsize": 9.5,
    "ytick.color": "#444444",
    "ytick.labelcolor": "#1a1a1a",
    "ytick.labelsize": 9.5,
}
"""matplotlib's own defaults are underneath: a user's matplotlibrc does not change a report."""

# DejaVu Sans travels with matplotlib and draws Latin, Greek, Cyrillic, Hebrew and Arabic; the others draw what it lacks.
_FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "PingFang SC",
    "Arial Unicode MS",
)
_FALLBACK_FILES = (
    "notosanscjk-regular",
    "notosanssc-regular",
    "sourcehansanssc-regular",
    "wqy-zenhei",
    "droidsansfallback",
)


_PICTURES: WeakKeyDictionary[Result, bytes] = WeakKeyDictionary()
"""What was drawn already, by the very result: the report and the tracked files show the same pictures."""


class Drawing(NamedTuple):
    """A picture in vectors, with its size in CSS pixels; `failure` says why there is none."""

    svg: bytes
    width: int
    height: int
    failure: str = ""

    @property
    def uri(self) -> str:
        """The picture for an ``img``."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


def draw_result(result: Result) -> Drawing:
    """Return the result's picture, with its size in CSS pixels.

    A picture that cannot be drawn does not cost the reader the report: the failure is logged and shown in its place.
    """
    try:
        svg = svg_of(result)
    except Exception as error:  # noqa: BLE001  (whatever a plotting function raises, the numbers still stand)
        failure = f"{type(error).__name__}: {error}"
        _log.warning("the figure of %r could not be drawn (%s)", result.heading(), failure)
        return Drawing(b"", 0, 0, failure)
    width, height = (_pixels(svg, side) for side in (b"width", b"height"))
    return Drawing(svg, width, height)


def svg_of(result: Result) -> bytes:
    """Return the result's picture as SVG.

    Parameters
    ----------
    result
        A result that overrides ``draw``.

    Returns
    -------
    bytes
        SVG with text as paths; equal results give equal bytes.
    """
    if result not in _PICTURES:
        _PICTURES[result] = _drawn(result, "svg")
    return _PICTURES[result]


def png_of(result: Result, *, dots_per_inch: int = 200) -> bytes:
    """Return the result's picture as PNG, for formats that take no vectors.

    Parameters
    ----------
    result
        A result that overrides ``draw``.
    dots_per_inch
        Resolution: 200 is what an office printer shows.

    Returns
    -------
    bytes
        The picture of `svg_of` in pixels.
    """
    return _drawn(result, "png", dpi=dots_per_inch)


@cache
def fonts() -> list[Any]:
    """Return the faces that draw a report's words, DejaVu Sans first: matplotlib's entries, each with name and file."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    # matplotlib remembers the fonts of the day it was first run: one that was installed since is looked for by its file.
    known = {font.fname for font in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known and Path(path).name.lower().startswith(_FALLBACK_FILES):
            fontManager.addfont(path)
    upright = [
        font for font in fontManager.ttflist if font.style == "normal" and font.weight in {400, "normal", "regular"}
    ]
    # A condensed face goes by the same family name: the file with the shortest name is the plain one.
    faces = {font.name: font for font in sorted(upright, key=lambda font: -len(Path(font.fname).name))}
    return [faces[name] for name in ("DejaVu Sans", *_FALLBACKS) if name in faces]


def _drawn(result: Result, form: str, **options: Any) -> bytes:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings(), _quiet_about_fonts(), _no_collection():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        mpl.rcParams["font.family"] = [font.name for font in fonts()]
        figure = Figure(figsize=type(result).figure_size, layout="constrained")
        result.draw(figure)
        picture = _saved(figure, form, options)
        # `plain_text` writes \$ for whoever draws with mathematics on; here it would be printed with its backslash.
        return _saved(figure, form, options) if _unescape_dollars(figure) else picture


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from walking the whole analysis again and again while a picture makes its many small objects."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def _quiet_about_fonts() -> Iterator[None]:
    """Keep to itself that a fallback font has no bold face: the reader of a log can do nothing about it."""
    level = _font_log.level
    _font_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _font_log.setLevel(level)


def _pixels(svg: bytes, side: bytes) -> int:
    found = re.search(rb"<svg[^>]*?\s" + side + rb'="([\d.]+)pt"', svg)
    return round(float(found[1]) * 96 / 72) if found else 0


def _saved(figure: Any, form: str, options: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None} if form == "svg" else {"Software": None}
    figure.savefig(buffer, format=form, bbox_inches="tight", pad_inches=0.04, metadata=nothing, **options)
    return buffer.getvalue()


def _unescape_dollars(figure: Any) -> bool:
    """Let escaped dollars be drawn as dollars, and return whether there were any; tick labels exist once a picture was drawn."""
    from matplotlib.text import Text

    escaped = [text for text in figure.findobj(Text) if r"\$" in text.get_text()]
    plain = [text for text in escaped if "$" not in text.get_text().replace(r"\$", "")]
    for text in plain:
        text.set_parse_math(True)  # with no bare dollar there is no mathematics, only the escape is undone
    return bool(plain)

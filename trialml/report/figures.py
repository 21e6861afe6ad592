"""A result's picture as SVG in a data URI: one style, no pyplot, the same bytes every time."""

from __future__ import annotations

import base64
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from trialml.result import COLOURS, Result

__all__ = ["STYLE", "Drawing", "draw_result", "svg_of"]

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


class Drawing(NamedTuple):
    """A picture ready for an ``img``; `failure` says why there is none."""

    uri: str
    width: int
    height: int
    failure: str = ""


def draw_result(result: Result) -> Drawing:
    """Return the result's picture as a data URI, with its size in CSS pixels.

    A picture that cannot be drawn does not cost the reader the report: the failure is logged and shown in its place.
    """
    try:
        svg = svg_of(result)
    except Exception as error:  # noqa: BLE001  (whatever a plotting function raises, the numbers still stand)
        failure = f"{type(error).__name__}: {error}"
        _log.warning("the figure of %r could not be drawn (%s)", result.heading(), failure)
        return Drawing("", 0, 0, failure)
    width, height = (_pixels(svg, side) for side in (b"width", b"height"))
    return Drawing("data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii"), width, height)


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
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    with mpl.rc_context(), warnings.catch_warnings(), _quiet_about_fonts():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        mpl.rcParams["font.family"] = ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]
        figure = Figure(figsize=type(result).figure_size, layout="constrained")
        result.draw(figure)
        svg = _saved(figure)
        # `plain_text` writes \$ for whoever draws with mathematics on; here it would be printed with its backslash.
        if rb"\$" in svg:
            _unescape_dollars(figure)
            svg = _saved(figure)
        return svg


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


def _saved(figure: Any) -> bytes:
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.04, metadata=nothing)
    return buffer.getvalue()


def _unescape_dollars(figure: Any) -> None:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        words = text.get_text()
        if r"\$" in words and "$" not in words.replace(r"\$", ""):
            text.set_parse_math(True)  # with no bare dollar there is no mathematics, only the escape is undone

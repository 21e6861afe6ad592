"""A document as PDF: the words of the HTML report, tagged for screen readers, with figures in vectors.

The Typst template is a file of this package and is never put together from words: whatever a document says goes in as
data, so that markup in it is inert.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from trialml.errors import OutputError
from trialml.report.document import Document, Summary
from trialml.report.figures import fonts
from trialml.report.layout import Layout, lay_out
from trialml.report.methods import strings
from trialml.report.whole_file import write_whole
from trialml.result import COLOURS

__all__ = ["render", "write"]

_log = logging.getLogger("trialml.report")

STANDARD: Literal["ua-1"] = "ua-1"
"""PDF/UA-1: every part is tagged, every picture has words, the language is stated."""

_TEXT = "Libertinus Serif"  # travels inside Typst's compiler
_UNBROKEN = 24


def render(document: Document, layout: Layout | None = None) -> bytes:
    """Return the report as a PDF of standard PDF/UA-1.

    Parameters
    ----------
    document
        The report. Its words are shown as words: markup in them is inert.
    layout
        What `lay_out` made of it, where another format has made it already.

    Returns
    -------
    bytes
        A4 pages. Where no installed font can draw a character, the last page and the log say so, and the file is tagged but
        does not call itself PDF/UA.

    Raises
    ------
    OutputError
        If the extra is not installed, or the compiler refuses.
    """
    try:
        import typst
    except ImportError as error:
        raise OutputError(
            "a PDF needs Typst, which is not installed: install it with pip install 'trialml[pdf]', or ask for html."
        ) from error
    words = _words(document, layout or lay_out(document))
    missing = _undrawn(words)
    if missing:
        words["missing"] = missing
        _log.warning("%s", missing)
    try:
        pdf: bytes = typst.compile(
            str(Path(__file__).parent / "templates" / "report.typ"),
            sys_inputs={"document": json.dumps(words)},
            font_paths=sorted({str(Path(font.fname).parent) for font in fonts()}),
            pdf_standards=[] if missing else [STANDARD],
            timestamp=_moment(document.created),
        )
    except typst.TypstError as error:
        raise OutputError(f"the PDF could not be made ({error}): ask for html, which needs no compiler.") from error
    return pdf


def write(document: Document, path: Path, layout: Layout | None = None) -> str:
    """Write the report so that a reader sees the old file or the new one, never a half.

    Parameters
    ----------
    document, layout
        As for `render`.
    path
        Where to; missing folders are made, and a report that is there is replaced.

    Returns
    -------
    str
        The SHA-256 of the bytes written, in hexadecimal.

    Raises
    ------
    OutputError
        If the extra is not installed, or the file cannot be written.
    """
    return write_whole(path, render(document, layout))


def _words(document: Document, layout: Layout) -> dict[str, Any]:
    return {
        "title": document.title,
        "study": document.study,
        "subtitle": document.subtitle,
        "notes": _plain(document.notes),
        "limitations": _plain(document.limitations),
        "summary": _plain(document.summary),
        "layout": _plain(layout),
        "fonts": [_TEXT, *(font.name for font in fonts())],
        "colours": COLOURS,
        "missing": "",
    }


def _plain(value: Any) -> Any:
    """Return JSON types; long words get places where a line may end."""
    if isinstance(value, str):
        return _breakable(value)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if hasattr(value, "_asdict"):
        return {name: _verbatim(value, name, item) for name, item in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Summary) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        fields = (field.name for field in dataclasses.fields(value) if field.name != "results")
        return {name: _plain(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _verbatim(owner: Any, name: str, item: Any) -> Any:
    # A digest or a command is copied out of the page letter by letter.
    return list(item) if name == "words" and getattr(owner, "verbatim", False) else _plain(item)


def _breakable(words: str) -> str:
    def parted(found: re.Match[str]) -> str:
        return re.sub(r"(.{12})(?=.{6})", "\\1\N{ZERO WIDTH SPACE}", found[0])

    return re.sub(rf"[^\s\u200b-\u200f\u2e80-\uffff]{{{_UNBROKEN},}}", parted, words)


def _undrawn(words: Mapping[str, Any]) -> str:
    """Return a sentence on characters that none of the fonts can draw, empty where they draw all."""
    from matplotlib.ft2font import FT2Font

    needed = {ord(letter) for text in strings({**words, "layout": _without_svg(words["layout"])}) for letter in text}
    needed = {code for code in needed if code > 126 and not 0x200B <= code <= 0x202E}
    for font in fonts():
        needed -= set(FT2Font(font.fname).get_charmap()) if needed else set()
    if not needed:
        return ""
    shown = ", ".join(f"U+{code:04X}" for code in sorted(needed)[:5])
    return (
        f"No installed font can draw {len(needed)} of the characters in this report ({shown}{', ...' if len(needed) > 5 else ''}): "
        "they are empty boxes in the PDF, which is therefore not of the standard PDF/UA. Install a font that has them, such as Noto Sans CJK, and write the PDF again."
    )


def _without_svg(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_svg(item) for name, item in value.items() if name != "svg"}
    return [_without_svg(item) for item in value] if isinstance(value, list) else value


def _moment(created: str) -> int | None:
    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return None

"""A document as one self-contained HTML file: no script, no request, the same bytes every time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trialml.report.document import Document
from trialml.report.layout import Layout, lay_out
from trialml.report.whole_file import write_whole
from trialml.result import COLOURS

__all__ = ["render", "write"]


def render(document: Document, layout: Layout | None = None) -> str:
    """Return the report as one HTML file.

    Parameters
    ----------
    document
        The report. Its words are shown as words: markup in them is inert.
    layout
        What `lay_out` made of it, where another format has made it already.

    Returns
    -------
    str
        HTML 5 that holds no script and loads nothing: pictures are inside, fonts are the reader's own. Equal
        documents give equal text.
    """
    template = _environment().get_template("report.html.j2")
    return template.render(
        document=document, summary=document.summary, layout=layout or lay_out(document), colours=COLOURS
    )


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
        If the file cannot be written.
    """
    return write_whole(path, render(document, layout).encode("utf-8"))


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("trialml.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_keep_together,
    )


def _keep_together(words: Any) -> Any:
    """Let no line end between a figure and its percent sign, or inside an interval."""
    if type(words) is not str:  # markup is passed as it is
        return words
    return re.sub(r"(?<=\d) (?=%)|(?<=\d) to (?=[+\N{MINUS SIGN}-]?\d)", _unbroken, words)


def _unbroken(found: re.Match[str]) -> str:
    return found[0].replace(" ", "\N{NO-BREAK SPACE}")

"""The formats that a report can be written in, and the file of each."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from trialml.errors import StudyFileError, nearest
from trialml.report.document import Document
from trialml.report.layout import lay_out

__all__ = ["FORMATS", "parse_formats", "write_formats"]

FORMATS = {"html": "report.html", "pdf": "report.pdf", "docx": "report.docx"}
"""The file of each format."""

_WRITERS = {"html": "html", "pdf": "pdf", "docx": "word"}


def parse_formats(words: str) -> tuple[str, ...]:
    """Return the formats named in words such as ``"html,pdf,docx"``, each once.

    Raises
    ------
    StudyFileError
        If one of them does not exist.
    """
    asked = dict.fromkeys(word.strip().lower() for word in words.split(",") if word.strip())
    for name in asked:
        if name not in FORMATS:
            raise StudyFileError(f"there is no format '{name}' of a report: {nearest(name, FORMATS)}.")
    if not asked:
        raise StudyFileError(f"no format of the report was named: name some of {', '.join(FORMATS)}.")
    return tuple(asked)


def write_formats(
    document: Document, folder: Path, formats: Sequence[str] = ("html",), *, name: str = "report"
) -> dict[str, Path]:
    """Write a report in each format; its pictures are drawn once.

    Parameters
    ----------
    document
        The report, new or read back with `Document.from_dict`.
    folder
        Where to; files that are there are replaced.
    formats
        Keys of `FORMATS`.
    name
        Of the files, without an ending.

    Returns
    -------
    dict
        The file by format.

    Raises
    ------
    OutputError
        If a file cannot be written, or the extra that a format needs is not installed.
    """
    layout = lay_out(document)
    written = {}
    for one in formats:
        path = Path(folder) / f"{name}{Path(FORMATS[one]).suffix}"
        importlib.import_module(f"trialml.report.{_WRITERS[one]}").write(document, path, layout)
        written[one] = path
    return written

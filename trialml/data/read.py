"""Read a data file as text, and state how it was read."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trialml.data.columns import holds_numbers
from trialml.errors import DataError

__all__ = ["MISSING_WORDS", "Table", "locate", "read_table"]

MISSING_WORDS = ("", "NA", "N/A", "NaN", "nan", ".")
"""What counts as missing. ``None`` does not: it is a category in many trials (prior therapy: None)."""

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True)
class Table:
    """A file as it was read: every value as text, and how it was read in words.

    Attributes
    ----------
    frame
        All columns as text, missing as None; the index is the file's row number (the heading is row 1).
    origin
        The source as the study file names it.
    sha256
        Digest of the file's bytes.
    statements
        Sentences on how it was read (delimiter, encoding, byte-order mark, decimal mark).
    decimal_comma
        Whether numbers carry a decimal comma.
    """

    frame: pd.DataFrame
    origin: str
    sha256: str
    statements: tuple[str, ...]
    decimal_comma: bool = False


def locate(source: str, base: Path) -> Path:
    """Return the path of `source`: a path (relative to `base`), or ``package:path`` inside an installed package.

    Raises
    ------
    DataError
        If the package is not installed, or there is no such file.
    """
    try:
        path = _path(source, base)
        folder, file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error  # an OSError's own words repeat the path
        raise DataError(
            f"[data] source = {ascii(source)[:80]} is no path ({why}): give a path or package:path."
        ) from error
    if folder:
        raise DataError(f"[data] source = '{source}' is a folder: name the file in it.")
    if not file:
        message = f"[data] source = '{source}' was not found: give a path relative to the study file's folder, or package:path."
        raise DataError(message)
    return path


def _path(source: str, base: Path) -> Path:
    package, colon, inside = source.partition(":")
    if colon and len(package) > 1 and not inside.startswith(("/", "\\")):
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            message = f"[data] source = '{source}' names the package '{package}', which is not installed: install it or give a path."
            raise DataError(message)
        return Path(next(iter(spec.submodule_search_locations))) / inside
    return (base / Path(source).expanduser()).resolve()


def read_table(source: str, base: Path) -> Table:
    """Read a delimited text file with everything as text; types come later, by role.

    Parameters
    ----------
    source
        A path, or ``package:path``.
    base
        The folder that relative paths start from.

    Returns
    -------
    Table
        The text and how it was read.

    Raises
    ------
    DataError
        If the file is absent, empty, unreadable, ragged, or names a column twice.
    """
    try:
        content = locate(source, base).read_bytes()
    except OSError as error:
        raise DataError(
            f"[data] source = '{source}' cannot be read: {error.strerror}; check its permissions."
        ) from error
    text, statements = _decode(content, source)
    delimiter = _delimiter(text)
    statements.append(f"Values are separated by {_DELIMITERS[delimiter]}s.")
    frame = _parse(text, delimiter, source)
    decimal_comma = delimiter != "," and _has_decimal_comma(frame)
    if decimal_comma:
        statements.append("Numbers carry a decimal comma.")
    digest = hashlib.sha256(content).hexdigest()
    return Table(frame, source, digest, tuple(statements), decimal_comma)


def _decode(content: bytes, source: str) -> tuple[str, list[str]]:
    if not content.removeprefix(b"\xef\xbb\xbf").strip():
        raise DataError(
            f"[data] source = '{source}' is empty ({len(content)} bytes): give a file with a heading and rows."
        )
    if b"\x00" in content:
        raise DataError(f"[data] source = '{source}' holds null bytes and is no text file: export it as CSV in UTF-8.")
    if content.startswith(b"\xef\xbb\xbf"):
        content, mark = content[3:], ["The file starts with a byte-order mark, which was passed over."]
    else:
        mark = []
    try:
        return content.decode("utf-8"), [*mark, "The text is UTF-8."]
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace"), [
            *mark,
            "The text is not UTF-8 and was read as Windows-1252.",
        ]


def _delimiter(text: str) -> str:
    heading = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").split("\n", 1)[0])
    return max(_DELIMITERS, key=heading.count) if any(mark in heading for mark in _DELIMITERS) else ","


def _parse(text: str, delimiter: str, source: str) -> pd.DataFrame:
    try:
        rows = dict(enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), start=1))
    except csv.Error as error:
        raise DataError(f"'{source}' is not a well-formed delimited file ({error}): export it again.") from error
    rows = {number: row for number, row in rows.items() if row}
    first, *others = rows
    heading = [name.strip() for name in rows[first]]
    repeated = sorted({name for name in heading if name and heading.count(name) > 1})
    if repeated and holds_numbers(heading):
        message = (
            f"The first row of '{source}' holds numbers and seems to be a patient's, not a heading: put the names of the columns "
            "above it."
        )
        raise DataError(message)
    if repeated:
        raise DataError(f"The data name the column '{repeated[0]}' twice: rename one of them in '{source}'.")
    if not others:
        raise DataError(f"[data] source = '{source}' holds a heading and no rows: give a file with patients in it.")
    for number in others:
        if len(rows[number]) != len(heading):
            message = (
                f"File row {number} has {len(rows[number])} values, but the heading has {len(heading)}: mend the row in "
                f"'{source}'."
            )
            raise DataError(message)
    names = [name or f"(column {place})" for place, name in enumerate(heading, start=1)]
    values = [[None if value.strip() in MISSING_WORDS else value.strip() for value in rows[row]] for row in others]
    return pd.DataFrame(values, columns=names, index=pd.Index(others, name="file_row"), dtype=object)


def _has_decimal_comma(frame: pd.DataFrame) -> bool:
    sample = pd.Series(frame.head(200).to_numpy().ravel()).dropna().astype(str)
    return bool(sample.str.fullmatch(r"[+-]?\d+,\d+").any() and not sample.str.fullmatch(r"[+-]?\d+\.\d+").any())

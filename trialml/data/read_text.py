"""Delimited text files: encoding, delimiter and decimal mark found and stated, rows kept exact, memory kept small.

A file without quotes goes through pyarrow. Every other file, and every file that pyarrow stumbles over, goes through
the reader of the standard library, which knows the number of each row; both give the same columns.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pandas as pd

from trialml.data.findings import Finding
from trialml.data.table import Table, name_columns, tidy_text
from trialml.errors import DataError

__all__ = [
    "ScannedText",
    "arrow_reader",
    "decimal_comma",
    "delimiter_of",
    "exact_blocks",
    "open_text",
    "read_text",
    "refuse_ragged",
    "scan_text",
]

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_CHUNK, _BLOCK = 1 << 22, 1 << 24
_ROWS = 50_000
_DECIMAL_SAMPLE = 20_000
_BOMS = (
    # The mark of UTF-32 begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_ASCII = bytes(range(128))
_COMMA = re.compile(r"[+-]?\d+,\d+")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_POINT = re.compile(r"[+-]?\d+\.\d+")


@dataclass(frozen=True)
class ScannedText:
    """What one pass over the bytes tells: digest, encoding, and whether the plain fast path can be trusted."""

    sha256: str
    encoding: str
    statements: tuple[str, ...]
    plain: bool
    findings: tuple[Finding, ...]


class _Columns(NamedTuple):
    """Columns as arrow text, the number of each row, and the whole heading."""

    arrays: dict[str, Any]
    rows: pd.Index
    heading: tuple[str, ...]


def read_text(
    path: Path,
    source: str,
    *,
    columns: Collection[str] | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
) -> Table:
    """Read a delimited text file with every value as text; types come later, by role.

    Parameters
    ----------
    path, source
        The file, and how the study file calls it.
    columns
        Columns to keep, where not all are wanted; the rows are checked whatever is kept.
    encoding
        The text's encoding where it is declared; otherwise it is found: a byte-order mark, UTF-8, else Windows-1252.
    decimal
        The decimal mark where it is declared; otherwise it is found.

    Returns
    -------
    Table
        Text columns; the index is the file's row number, the heading being row 1.

    Raises
    ------
    DataError
        If the file is empty, no text, ragged, or names a column twice.
    """
    found = scan_text(path, source, encoding)
    try:
        with open_text(path, found.encoding) as stream:
            delimiter = delimiter_of(next((line for line in stream if line.strip()), ""))
        arrays, rows, heading = _arrays(path, source, found, delimiter, columns)
    except csv.Error as error:
        raise DataError(f"'{source}' is not a well-formed delimited file ({error}): export it again.") from error
    except UnicodeError as error:
        message = f"[data] source = '{source}' is not {found.encoding} text throughout: give its [data] encoding."
        raise DataError(message) from error
    findings = list(found.findings)
    tidy: dict[str, Any] = {}
    for name in list(arrays):
        tidy[name], noticed = tidy_text(name, arrays.pop(name))
        findings += noticed
    frame = pd.DataFrame(tidy, index=rows, copy=False)
    comma = decimal_comma(frame, delimiter, decimal)
    statements = [*found.statements, f"Values are separated by {_DELIMITERS[delimiter]}s."]
    if comma:
        statements.append("Numbers carry a decimal comma.")
    return Table(frame, source, found.sha256, tuple(statements), comma, findings=tuple(findings), heading=heading)


def scan_text(path: Path, source: str, declared: str | None) -> ScannedText:
    """Go through a file's bytes once: digest, encoding, and whether the plain fast path can be trusted; refuse what is no text."""
    digest = hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")()
    utf8 = True
    null = quoted = blank_line = False
    size = returns = line_ends = 0
    high: set[int] = set()
    head = last = b""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            head = head or chunk[: 1 << 16]
            quoted |= b'"' in chunk
            null |= b"\x00" in chunk
            joined = last + chunk
            blank_line |= b"\n\n" in joined or b"\n\r\n" in joined
            returns += chunk.count(b"\r")
            line_ends += joined.count(b"\r\n") - last.count(b"\r\n")
            utf8 = utf8 and _decodes(decoder, chunk)
            if not utf8:
                high |= set(chunk.translate(None, _ASCII))
            size += len(chunk)
            last = chunk[-2:]
    if not head.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"[data] source = '{source}' is empty ({size} bytes): give a file with a heading and rows.")
    utf8 = utf8 and _decodes(decoder, b"", final=True)
    encoding, statements, findings = _encoding(head, utf8, null, high, source, declared)
    # Alone in a file, a carriage return is a line's end to one reader and a blank to another.
    plain = not (quoted or blank_line) and returns == line_ends and encoding == "utf-8" and not head[:1].isspace()
    return ScannedText(digest.hexdigest(), encoding, tuple(statements), plain, tuple(findings))


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _encoding(
    head: bytes, utf8: bool, null: bool, high: set[int], source: str, declared: str | None
) -> tuple[str, list[str], list[Finding]]:
    if declared is not None:
        try:
            codecs.lookup(declared)
        except LookupError as error:
            raise DataError(
                f"[data] encoding = '{declared}' is not known: give a name such as 'utf-8' or 'latin-1'."
            ) from error
        plain = codecs.lookup(declared).name == "utf-8"
        name = ("utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8") if plain else declared
        return name, [f"The text was read as {declared}, as the study file says."], []
    for mark, name, words in _BOMS:
        if head.startswith(mark):
            return name, ["The file starts with a byte-order mark, which was passed over.", f"The text is {words}."], []
    if null:
        message = (
            f"[data] source = '{source}' holds null bytes and is no text file that can be told: export it as CSV in UTF-8, or, if it "
            "is UTF-16 without a byte-order mark, give [data] encoding."
        )
        raise DataError(message)
    if utf8:
        return "utf-8", ["The text is UTF-8."], []
    if high & {0x81, 0x8D, 0x8F, 0x90, 0x9D}:
        message = f"[data] source = '{source}' is neither UTF-8 nor Windows-1252 text: export it as UTF-8, or give its [data] encoding."
        raise DataError(message)
    words = "Windows-1252" if any(0x80 <= byte < 0xA0 for byte in high) else "Windows-1252 (for its bytes, Latin-1)"
    said = f"The text is not UTF-8 and was read as {words}."
    remedy = "If letters with accents look wrong, give [data] encoding."
    return "cp1252", [said], [Finding("encoding", "the file", 1, said, remedy)]


def open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    """Open a text file for the reader of the standard library."""
    # Python's own reader of lines also knows a lone carriage return.
    return path.open(encoding=encoding, newline="")


def delimiter_of(line: str) -> str:
    """Return the mark that separates the names of a heading."""
    heading = re.sub(r'"[^"]*"', "", line)
    return max(_DELIMITERS, key=heading.count) if any(mark in heading for mark in _DELIMITERS) else ","


def _arrays(path: Path, source: str, found: ScannedText, delimiter: str, columns: Collection[str] | None) -> _Columns:
    read = _fast(path, source, delimiter, columns) if found.plain else None
    return read or _exact(path, source, found.encoding, delimiter, columns)


def _fast(path: Path, source: str, delimiter: str, columns: Collection[str] | None) -> _Columns | None:
    """Return columns by pyarrow, or None where it stumbles and the exact reader has to say why."""
    import pyarrow as pa

    with open_text(path, "utf-8") as stream:
        heading = stream.readline()
    names = name_columns(next(csv.reader([heading], delimiter=delimiter)), source)
    kept = [name for name in names if columns is None or name in columns]
    try:
        with path.open("rb") as stream:
            whole = arrow_reader(stream, names, kept or names[:1], delimiter).read_all()
    except pa.ArrowInvalid:
        return None
    if not whole.num_rows:
        return None
    rows = pd.RangeIndex(2, 2 + whole.num_rows, name="file_row")
    return _Columns({name: whole.column(name) for name in kept}, rows, tuple(names))


def arrow_reader(stream: BinaryIO, names: list[str], kept: list[str], delimiter: str) -> Any:
    """Return pyarrow's reader of a plain text file, which gives some columns as text, block by block."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    return arrow_csv.open_csv(
        stream,
        read_options=arrow_csv.ReadOptions(column_names=names, skip_rows=1, block_size=_BLOCK),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=kept, strings_can_be_null=False
        ),
    )


def exact_blocks(
    stream: io.TextIOWrapper, source: str, delimiter: str
) -> tuple[list[str], Iterator[list[tuple[int, list[str]]]]]:
    """Return the names of a text file and its numbered rows in blocks, by the reader of the standard library."""
    numbered = ((number, row) for number, row in enumerate(csv.reader(stream, delimiter=delimiter, strict=True), 1))
    filled = ((number, row) for number, row in numbered if row)
    return name_columns(next(filled)[1], source), _blocks(filled)


def _exact(path: Path, source: str, encoding: str, delimiter: str, columns: Collection[str] | None) -> _Columns:
    """Return columns by the standard library's reader, in blocks of rows, each row checked and numbered."""
    import pyarrow as pa

    with open_text(path, encoding) as stream:
        names, blocks = exact_blocks(stream, source, delimiter)
        kept = [place for place, name in enumerate(names) if columns is None or name in columns]
        parts: dict[str, list[Any]] = {names[place]: [] for place in kept}
        rows: list[Any] = []
        for block in blocks:
            refuse_ragged(block, len(names), source)
            rows.append(np.array([number for number, _ in block], dtype=np.int64))
            for place in kept:
                parts[names[place]].append(pa.array([row[place] for _, row in block], type=pa.string()))
    if not rows:
        raise DataError(f"[data] source = '{source}' holds a heading and no rows: give a file with patients in it.")
    index = pd.Index(np.concatenate(rows), name="file_row")
    return _Columns({name: pa.chunked_array(chunks) for name, chunks in parts.items()}, index, tuple(names))


def _blocks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    while block := list(itertools.islice(rows, _ROWS)):
        yield block


def refuse_ragged(block: list[tuple[int, list[str]]], width: int, source: str) -> None:
    """Refuse a row that has not as many values as the heading."""
    for number, row in block:
        if len(row) != width:
            message = (
                f"File row {number} has {len(row)} values, but the heading has {width}: mend the row in '{source}'."
            )
            raise DataError(message)


def decimal_comma(frame: pd.DataFrame, delimiter: str, declared: str | None) -> bool:
    """Whether numbers carry a decimal comma; a file that writes both marks, or may mean thousands, is not guessed."""
    if declared is not None:
        return declared == ","
    if delimiter == ",":
        return False
    comma = point = False
    for name in frame.columns:
        values = [value for value in frame[name].head(_DECIMAL_SAMPLE).unique() if value is not None]
        comma |= any(_COMMA.fullmatch(value) and not _GROUPED.fullmatch(value) for value in values)
        point |= any(_POINT.fullmatch(value) for value in values)
    return comma and not point

"""Typed sources: Parquet, SAS transport files (versions 5 and 8) and SAS7BDAT; types, labels and formats are kept."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.findings import Finding
from trialml.data.table import Table, name_columns, tidy_text
from trialml.errors import DataError

__all__ = ["arrow_columns", "check_transport", "read_parquet", "read_sas"]

_SAS_EPOCH = pd.Timestamp("1960-01-01")
_DATE = re.compile(
    r"^(DATE|E8601DA|B8601DA|IS8601DA|YYMMDD|MMDDYY|DDMMYY|JULIAN|WEEKDATE|WORDDATE|NLDATE|YYMM|MMYY|MONYY|YEAR|EURDFD[A-Z]+)"
    r"[A-Z]?\d*\.?\d*$"
)
_DATETIME = re.compile(
    r"^(DATETIME|E8601D[TZN]|B8601D[TZN]|IS8601D[TN]|DATEAMPM|NLDATM|DTDATE|MDYAMPM)[A-Z]*\d*\.?\d*$"
)
_LATIN = "The text is not UTF-8 and was read as Windows-1252 (Latin-1)."
_LOOK = "If letters with accents look wrong, write the file in UTF-8."
_MOST_DAYS = 100_000
_HEADER = b"HEADER RECORD*******"
_RECORD = 80


def read_parquet(path: Path, source: str, *, columns: Collection[str] | None = None) -> Table:
    """Read a Parquet file with its types.

    Parameters
    ----------
    path, source
        The file, and how the study file calls it.
    columns
        Columns to keep, where not all are wanted.

    Returns
    -------
    Table
        Numbers as floats, text, booleans, and dates as datetime64; the index counts records from 1.

    Raises
    ------
    DataError
        If the file is no Parquet file, is truncated, or holds no rows.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
        names = name_columns(schema.names, source)
        simple = [field.name for field in schema if not pa.types.is_nested(field.type) and not _is_binary(field.type)]
        wanted = [name for name in simple if columns is None or name.strip() in columns]
        table = parquet.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        message = f"'{source}' cannot be read as Parquet: it is truncated or another kind of file; export it again."
        raise DataError(message) from error
    if not table.num_rows:
        raise DataError(f"'{source}' holds no rows: give a file with patients in it.")
    frame, findings = arrow_columns(table)
    statements = ["The file is Parquet; its types were kept."]
    if len(simple) < len(names):
        statements.append(f"{len(names) - len(simple)} nested or binary column(s) were passed over.")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="file_row")
    return Table(
        frame, source, _digest(path), tuple(statements), findings=tuple(findings), heading=tuple(names), typed=True
    )


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def arrow_columns(table: Any) -> tuple[pd.DataFrame, list[Finding]]:
    """Return an arrow table's columns as `Table.frame` has them, and what was noticed."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    findings: list[Finding] = []
    for name in table.column_names:
        column = table.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        known = name.strip()
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            columns[known], noticed = tidy_text(known, column.cast(pa.string()))
            findings += noticed
        elif pa.types.is_boolean(kind):
            columns[known] = np.array([None if v is None else bool(v) for v in column.to_pylist()], dtype=object)
        elif pa.types.is_temporal(kind) and not (pa.types.is_time(kind) or pa.types.is_duration(kind)):
            columns[known], noticed = _naive(column, known)
            findings += noticed
        elif pa.types.is_integer(kind) and not column.null_count:
            columns[known] = column.to_numpy()
        elif pa.types.is_null(kind):
            columns[known] = np.full(len(column), None, dtype=object)
        elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            columns[known] = column.cast(pa.float64()).to_numpy()
        else:
            columns[known], noticed = tidy_text(known, column.cast(pa.string()))
            findings += noticed
    return pd.DataFrame(columns, copy=False), findings


def _naive(column: Any, name: str) -> tuple[Any, list[Finding]]:
    """Return dates or instants as datetime64[ns] in the local time of their zone, and what lies beyond it as missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # A day is the day where it was written, so an instant is read in its own time zone.
    local = pc.local_timestamp(column) if getattr(column.type, "tz", None) else column
    instants = local.cast(pa.timestamp("ms"), safe=False)
    days = pc.divide(instants.cast(pa.int64()), 86_400_000)
    beyond = pc.fill_null(pc.greater(pc.abs(days), _MOST_DAYS), fill_value=False)
    kept = pc.if_else(beyond, pa.scalar(None, pa.timestamp("ms")), instants)
    return kept.cast(pa.timestamp("ns")).to_numpy(), _impossible(name, np.asarray(beyond))


def read_sas(path: Path, source: str, *, columns: Collection[str] | None = None) -> Table:
    """Read a SAS transport file (version 5 or 8) or a SAS7BDAT file with its labels and formats.

    Numbers with a date format become dates (days from 1 January 1960), those with a date-time format date-times.

    Parameters
    ----------
    path, source
        The file, and how the study file calls it.
    columns
        Columns to keep, where not all are wanted.

    Returns
    -------
    Table
        Numbers as floats, text, and dates as datetime64; the index counts records from 1.

    Raises
    ------
    DataError
        If the file is not of its kind, is truncated, holds several data sets, or holds no rows.
    """
    import pyreadstat

    transport = path.suffix.lower() != ".sas7bdat"
    expected = check_transport(path.read_bytes(), source) if transport else None
    reader = pyreadstat.read_xport if transport else pyreadstat.read_sas7bdat
    statements = []
    try:
        try:
            frame, meta = reader(str(path), disable_datetime_conversion=True)
        except UnicodeDecodeError:
            frame, meta = reader(str(path), disable_datetime_conversion=True, encoding="WINDOWS-1252")
            statements.append(_LATIN)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, UnicodeDecodeError) as error:
        message = f"'{source}' cannot be read as a SAS file ({type(error).__name__}): it is truncated or damaged; transfer it again."
        raise DataError(message) from error
    if expected is not None and len(frame) != expected:
        message = f"'{source}' is truncated: its heading promises {expected:,} records, but it holds {len(frame):,}; transfer it again."
        raise DataError(message)
    if frame.empty:
        raise DataError(f"'{source}' holds no rows: give a data set with patients in it.")
    kind = "SAS transport" if transport else "SAS7BDAT"
    statements.insert(0, f"The file is a {kind} file; its labels and formats were kept.")
    return _sas_table(frame, meta, path, source, statements, columns)


def _sas_table(
    frame: pd.DataFrame, meta: Any, path: Path, source: str, statements: list[str], wanted: Collection[str] | None
) -> Table:
    labels = {name: str(label) for name, label in meta.column_names_to_labels.items() if label}
    formats = {name: str(given) for name, given in meta.original_variable_types.items() if given and given != "NULL"}
    findings = [Finding("encoding", "the file", 1, _LATIN, _LOOK)] if _LATIN in statements else []
    columns: dict[str, Any] = {}
    names = name_columns(frame.columns, source)
    for name in names:
        if wanted is not None and name not in wanted:
            continue
        column = frame[name]
        if column.dtype == object:
            columns[name], noticed = tidy_text(name, column.where(column.notna(), None))
            findings += noticed
        else:
            columns[name], noticed = _from_format(column.to_numpy(dtype=np.float64), formats.get(name, ""), name)
            findings += noticed
    index = pd.RangeIndex(1, len(frame) + 1, name="file_row")
    result = pd.DataFrame(columns, index=index, copy=False)
    member = str(meta.table_name or "").strip()
    return Table(
        result,
        source,
        _digest(path),
        tuple(statements),
        False,
        labels,
        formats,
        tuple(findings),
        member,
        tuple(names),
        typed=True,
    )


def _from_format(values: Any, given: str, name: str) -> tuple[Any, list[Finding]]:
    date, instant = _DATE.match(given.upper()), _DATETIME.match(given.upper())
    if not (date or instant):
        return values, []
    days = np.floor(values) if date else values / 86_400
    beyond = np.abs(days) > _MOST_DAYS
    known = np.where(beyond, np.nan, days if date else values)
    dates = (_SAS_EPOCH + pd.to_timedelta(known, unit="D" if date else "s")).to_numpy()
    return dates, _impossible(name, beyond)


def _impossible(name: str, beyond: NDArray[np.bool_]) -> list[Finding]:
    """Return a warning on dates that no calendar here holds: sentinels such as 9999-12-31, or numbers that are no dates."""
    count = int(beyond.sum())
    if not count:
        return []
    rows = tuple((np.flatnonzero(beyond) + 1).tolist())
    found = f"{count:,} date(s) of '{name}' lie centuries away and stand for something else."
    return [Finding("impossible date", name, count, found, "They were taken as missing.", "warning", rows)]


def check_transport(content: bytes | mmap.mmap, source: str) -> int | None:
    """Refuse what is no whole transport file of one data set; return the records that its heading promises, if it does.

    Layout: SAS Institute, "Record layout of a SAS version 5 or 6 data set in SAS transport (XPORT) format", and the same
    for versions 8 and 9. Version 5 does not say how many records follow; there a cut is seen where the last record
    is not whole.
    """
    if not content:
        raise DataError(f"'{source}' is empty (0 bytes): transfer it again.")
    if content[:14] == b"**COMPRESSED**":
        message = f"'{source}' was written by PROC CPORT and is no transport data set: write it with the XPORT engine."
        raise DataError(message)
    if content[: len(_HEADER) + 3] != _HEADER + b"LIB":
        raise DataError(
            f"'{source}' is no SAS transport file{_looks_like(content)}: name the file after what it holds."
        )
    members = len(re.findall(re.escape(_HEADER) + rb"MEMB(ER|V8)  HEADER RECORD", content))
    if members > 1:
        raise DataError(f"'{source}' holds {members} data sets: write one data set a file.")
    namestr = re.search(re.escape(_HEADER) + rb"NAM(ESTR|STV8) HEADER RECORD!!!!!!!(\d{30})", content)
    start = re.search(re.escape(_HEADER) + rb"OBS(V8)? +HEADER RECORD!!!!!!!(.{32})", content, re.DOTALL)
    if len(content) % _RECORD or members == 0 or namestr is None or start is None:
        message = f"'{source}' is truncated: it has {len(content):,} bytes, which are no whole SAS transport file; transfer it again."
        raise DataError(message)
    width = _record_width(content, namestr.end(), int(namestr[2][6:10]))
    left = content[len(content) - (len(content) - start.end()) % width :] if width else b""
    if left.strip(b" ") or len(left) >= max(_RECORD, width):
        raise DataError(f"'{source}' is truncated: its last record is not whole; transfer it again.")
    promised = start[2].strip()
    return int(promised) if start[1] and promised.isdigit() else None


def _record_width(content: bytes | mmap.mmap, heading_end: int, variables: int) -> int:
    """Return the bytes of one record: the sum of the lengths that the descriptors of the variables give."""
    first = -(-heading_end // _RECORD) * _RECORD
    return sum(int.from_bytes(content[first + 140 * k + 4 : first + 140 * k + 6], "big") for k in range(variables))


def _looks_like(content: bytes | mmap.mmap) -> str:
    if content[:4] == b"PAR1":
        return ", but Parquet"
    if content[:4] == b"PK\x03\x04":
        return ", but a zip archive or workbook"
    if content[:12] == b"\x00" * 12:
        return ", but SAS7BDAT"
    head = content[:2000]
    printable = bool(head) and all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return ", but text" if printable and b"\n" in head else ""


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()

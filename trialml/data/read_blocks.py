"""Files of any length read in blocks of rows, so that memory does not grow with them: text, Parquet, SAS transport."""

from __future__ import annotations

import csv
import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialml.data.columns import require_columns
from trialml.data.read import locate
from trialml.data.read_text import (
    arrow_reader,
    decimal_comma,
    delimiter_of,
    exact_blocks,
    open_text,
    refuse_ragged,
    scan_text,
)
from trialml.data.read_typed import check_transport
from trialml.data.table import name_columns
from trialml.errors import DataError

__all__ = ["BlockFile", "open_blocks", "regrouped"]

_BATCH = 65_536
_SAMPLE = 20_000


@dataclass(frozen=True)
class BlockFile:
    """A data file that can be read block by block.

    Attributes
    ----------
    path, source
        The file, and how it was asked for.
    heading
        Every column.
    kind
        ``text``, ``parquet`` or ``sas``.
    decimal_comma
        Whether numbers in text carry a decimal comma.
    delimiter, encoding, plain
        Of text: what separates values, its encoding, and whether pyarrow reads it as the standard library does.
    """

    path: Path
    source: str
    heading: tuple[str, ...]
    kind: str
    decimal_comma: bool = False
    delimiter: str = ","
    encoding: str = "utf-8"
    plain: bool = True

    def blocks(self, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """Yield arrow tables of some columns, each of `rows` rows but the last.

        Parameters
        ----------
        columns
            Names from `heading`.
        rows
            Rows of a block; they are cut by their number in the file, wherever the file's own groups of rows end.

        Raises
        ------
        DataError
            If the file turns out to be ragged, truncated or of no known kind.
        """
        for table in regrouped(self._batches(list(columns)), rows):
            if table.num_rows:
                yield table

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        read = {"parquet": self._parquet, "sas": self._sas, "text": self._text}[self.kind]
        try:
            yield from read(columns)
        except (pa.ArrowException, csv.Error, UnicodeError, StopIteration) as error:
            raise DataError(
                f"'{self.source}' cannot be read to its end ({type(error).__name__}): it is damaged or its rows differ in length; "
                "export it again."
            ) from error

    def _parquet(self, columns: list[str]) -> Iterator[Any]:
        import pyarrow as pa
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            own = dict(zip(self.heading, file.schema_arrow.names, strict=True))
            for batch in file.iter_batches(batch_size=_BATCH, columns=[own[name] for name in columns]):
                table = pa.Table.from_batches([batch])
                yield table.select([own[name] for name in columns]).rename_columns(columns)

    def _text(self, columns: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        if self.plain:
            with self.path.open("rb") as stream:
                for batch in arrow_reader(stream, list(self.heading), columns, self.delimiter):
                    yield pa.Table.from_batches([batch])
            return
        places = [self.heading.index(name) for name in columns]
        with open_text(self.path, self.encoding) as stream:
            _, blocks = exact_blocks(stream, self.source, self.delimiter)
            for block in blocks:
                refuse_ragged(block, len(self.heading), self.source)
                arrays = [pa.array([row[place] for _, row in block], type=pa.string()) for place in places]
                yield pa.table(arrays, names=columns)

    def _sas(self, columns: list[str]) -> Iterator[Any]:
        import pyarrow as pa
        import pyreadstat

        own = dict(zip(self.heading, _sas_names(self.path), strict=True))
        reader = pyreadstat.read_file_in_chunks(
            pyreadstat.read_xport, str(self.path), chunksize=_BATCH, usecols=[own[name] for name in columns],
            disable_datetime_conversion=True, encoding=self.encoding,
        )  # fmt: skip
        for frame, _ in reader:
            yield pa.table({name: pa.array(frame[own[name]], from_pandas=True) for name in columns})


def open_blocks(source: str, base: Path, *, needed: Sequence[str] = ()) -> BlockFile:
    """Open a data file for reading in blocks.

    Parameters
    ----------
    source, base
        As in `trialml.data.read.locate`.
    needed
        Columns that it must have.

    Returns
    -------
    BlockFile
        Nothing but the heading has been kept in memory.

    Raises
    ------
    DataError
        If the file is absent, empty, of another kind than its name says, or lacks a column.
    """
    path = locate(source, base)
    kind = path.suffix.lower()
    try:
        if kind in (".parquet", ".pq"):
            file = _open_parquet(path, source)
        elif kind in (".xpt", ".xport"):
            file = _open_sas(path, source)
        else:
            file = _open_text(path, source)
    except OSError as error:
        raise DataError(f"'{source}' cannot be read: {error.strerror or error}; check its permissions.") from error
    _require(file, needed)
    return file


def _require(file: BlockFile, needed: Sequence[str]) -> None:
    import pandas as pd

    lacking = {f"number {place} of those needed": name for place, name in enumerate(needed, 1)}
    require_columns(pd.DataFrame(columns=[]), lacking, file.source, heading=file.heading)


def _open_parquet(path: Path, source: str) -> BlockFile:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
    except pa.ArrowException as error:
        message = f"'{source}' cannot be read as Parquet: it is truncated or another kind of file; export it again."
        raise DataError(message) from error
    if not rows:
        raise DataError(f"'{source}' holds no rows: give a file with patients in it.")
    return BlockFile(path, source, tuple(name_columns(names, source)), "parquet")


def _open_sas(path: Path, source: str) -> BlockFile:
    if not path.stat().st_size:
        raise DataError(f"'{source}' is empty (0 bytes): transfer it again.")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        check_transport(content, source)
    encoding = "WINDOWS-1252" if _has_other_text(path) else "UTF-8"
    return BlockFile(path, source, tuple(name_columns(_sas_names(path), source)), "sas", encoding=encoding)


def _has_other_text(path: Path) -> bool:
    """Return whether the text of a transport file is not UTF-8; numbers are, so that it takes reading the text."""
    import pyreadstat

    try:
        for _ in pyreadstat.read_file_in_chunks(
            pyreadstat.read_xport, str(path), chunksize=_BATCH, disable_datetime_conversion=True
        ):
            pass
    except UnicodeDecodeError:
        return True
    return False


def _sas_names(path: Path) -> list[str]:
    import pyreadstat

    try:
        _, about = pyreadstat.read_xport(str(path), metadataonly=True)
    except UnicodeDecodeError:
        _, about = pyreadstat.read_xport(str(path), metadataonly=True, encoding="WINDOWS-1252")
    return list(about.column_names)


def _open_text(path: Path, source: str) -> BlockFile:
    found = scan_text(path, source, None)
    with open_text(path, found.encoding) as stream:
        first = next((line for line in stream if line.strip()), "")
    delimiter = delimiter_of(first)
    with open_text(path, found.encoding) as stream:
        try:
            names, _ = exact_blocks(stream, source, delimiter)
        except csv.Error as error:
            raise DataError(f"'{source}' is not a well-formed delimited file ({error}): export it again.") from error
    file = BlockFile(path, source, tuple(names), "text", False, delimiter, found.encoding, found.plain)
    return file if delimiter == "," else _with_its_decimal_mark(file)


def _with_its_decimal_mark(file: BlockFile) -> BlockFile:
    """Return the file with the decimal mark that its first rows carry."""
    from dataclasses import replace

    first = next(file.blocks(file.heading, _SAMPLE), None)
    comma = first is not None and decimal_comma(first.to_pandas(), file.delimiter, None)
    return replace(file, decimal_comma=comma)


def regrouped(tables: Iterable[Any], rows: int) -> Iterator[Any]:
    """Return the rows of Arrow tables in tables of `rows` each; the last holds what is left, which may be none."""
    import pyarrow as pa

    held: list[Any] = []
    count = 0
    for one in tables:
        held.append(one)
        count += one.num_rows
        if count >= rows:
            table = pa.concat_tables(held)
            while table.num_rows >= rows:
                yield table.slice(0, rows)
                table = table.slice(rows)
            held, count = [table], table.num_rows
    if held:
        yield pa.concat_tables(held)

"""Data sets read with their types, labels and formats, and written again in the format that they came in."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from trialml.data.read import read_table
from trialml.errors import DataError, OutputError

__all__ = ["DataFile", "read_data_files", "write_data_files"]

_TEXT = (".csv", ".tsv", ".txt")
_SUFFIXES = (*_TEXT, ".parquet", ".xpt")


@dataclass(frozen=True)
class DataFile:
    """One data set as it was read.

    Attributes
    ----------
    name
        The file's name without its ending.
    suffix
        Its ending, which says the format.
    frame
        The values: text for delimited files, else the types of the file.
    labels, formats
        SAS labels and formats by column.
    delimiter
        What stands between the values of a delimited file when it is written.
    version
        Version of a SAS transport file.
    """

    name: str
    suffix: str
    frame: pd.DataFrame
    labels: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ","
    version: int = 5


def read_data_files(source: Path) -> tuple[tuple[DataFile, ...], tuple[str, ...]]:
    """Read a data file, or every data file of a folder.

    Parameters
    ----------
    source
        A delimited text file, a Parquet file, a SAS transport file, or a folder of such.

    Returns
    -------
    files : tuple of DataFile
        In the order of their names.
    left : tuple of str
        Names in the folder that are no data files and were left alone.

    Raises
    ------
    DataError
        If there is nothing to read, or a file cannot be read.
    """
    if not source.is_dir():
        return (_read(source),), ()
    paths = sorted(source.iterdir())
    files = [path for path in paths if path.is_file() and path.suffix.lower() in _SUFFIXES]
    if not files:
        raise DataError(f"The folder '{source}' holds no data file ({', '.join(_SUFFIXES)}): name another.")
    return tuple(_read(path) for path in files), tuple(path.name for path in paths if path not in files)


def _read(path: Path) -> DataFile:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"'{path}' was not found: name a data file or a folder of data files.")
    if suffix not in _SUFFIXES:
        raise DataError(f"'{path.name}' ends in '{suffix}'; what can be written again ends in {', '.join(_SUFFIXES)}.")
    if suffix in _TEXT:
        table = read_table(str(path.resolve()), Path())
        delimiter = "\t" if suffix == ".tsv" else ";" if table.decimal_comma else ","
        return DataFile(path.stem, suffix, table.frame, delimiter=delimiter)
    try:
        return _read_parquet(path) if suffix == ".parquet" else _read_transport(path)
    except DataError:
        raise
    except Exception as error:
        kind = "Parquet" if suffix == ".parquet" else "SAS transport"
        raise DataError(
            f"'{path.name}' cannot be read as a {kind} file ({type(error).__name__}): export it again."
        ) from error


def _read_parquet(path: Path) -> DataFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for number, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            # A dictionary would carry the original values along, used or not.
            table = table.set_column(number, column.name, table.column(number).cast(column.type.value_type))
        elif pa.types.is_nested(column.type):
            raise DataError(
                f"The column '{column.name}' of '{path.name}' holds lists or structures: write plain columns."
            )
    return DataFile(path.stem, ".parquet", table.replace_schema_metadata(None).to_pandas(types_mapper=pd.ArrowDtype))


def _read_transport(path: Path) -> DataFile:
    import pyreadstat

    with path.open("rb") as file:
        version = 8 if b"LIBV8" in file.read(80) else 5
    try:
        frame, about = pyreadstat.read_xport(str(path))
    except UnicodeDecodeError:
        frame, about = pyreadstat.read_xport(str(path), encoding="WINDOWS-1252")
    labels = {name: label for name, label in about.column_names_to_labels.items() if label}
    formats = {name: kind for name, kind in about.original_variable_types.items() if kind and kind not in ("NULL", "$")}
    return DataFile(path.stem, ".xpt", frame, labels, formats, version=version)


def write_data_files(files: Sequence[DataFile], out: Path, *, folder: bool) -> None:
    """Write data sets to a file, or to a new folder; nothing that exists is overwritten.

    Parameters
    ----------
    files
        What to write.
    out
        The file or folder.
    folder
        Whether `out` is a folder, with one file a data set.

    Raises
    ------
    OutputError
        If `out` exists, ends otherwise than the data set, or cannot be written; then nothing is left behind.
    """
    if out.exists():
        raise OutputError(f"'{out}' exists already: choose another with --out, or move it away.")
    if not folder and out.suffix.lower() != files[0].suffix:
        raise OutputError(
            f"'{out.name}' does not end in '{files[0].suffix}' as the data do: choose such a name with --out."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".trialml-", dir=out.parent))
    except OSError as error:
        raise OutputError(f"'{out}' cannot be written ({error.strerror}): choose another with --out.") from error
    try:
        for one in files:
            _write(one, work / (one.name + one.suffix if folder else out.name))
        if folder:
            out.mkdir()
        for path in sorted(work.iterdir()):
            path.replace(out / path.name if folder else out)
    except OSError as error:
        raise OutputError(f"'{out}' cannot be written ({error.strerror}): choose another with --out.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(one: DataFile, path: Path) -> None:
    if one.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pandas(one.frame, preserve_index=False).replace_schema_metadata(None), path)
    elif one.suffix == ".xpt":
        _write_transport(one, path)
    else:
        one.frame.to_csv(path, index=False, sep=one.delimiter, lineterminator="\n", encoding="utf-8")


def _write_transport(one: DataFile, path: Path) -> None:
    import pyreadstat

    kept: dict[str, Any] = {name: kind for name, kind in one.formats.items() if name in one.frame.columns}
    pyreadstat.write_xport(
        one.frame.reset_index(drop=True),
        os.fspath(path),
        column_labels={name: one.labels.get(name) for name in one.frame.columns},
        table_name=one.name.upper()[:8] if one.version == 5 else one.name.upper()[:32],
        file_format_version=one.version,
        variable_format=kept,
    )

"""A table of any length written block by block under a name that it only gets once it is whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trialml.data.read_blocks import regrouped
from trialml.errors import OutputError

__all__ = ["FORMATS", "refuse_target", "write_blocks"]

FORMATS = (".csv", ".parquet")
_GROUP = 65_536


def refuse_target(out: Path) -> None:
    """Refuse a file that exists, or one of a kind that is not written.

    Raises
    ------
    OutputError
        If so.
    """
    if out.suffix.lower() not in FORMATS:
        raise OutputError(f"'{out.name}' is of no kind that is written: end it in {' or '.join(FORMATS)}.")
    if out.exists():
        raise OutputError(f"'{out}' exists already and is left as it is: choose another with --out.")
    if not out.parent.is_dir():
        raise OutputError(f"The folder '{out.parent}' does not exist: make it, or choose another with --out.")


def write_blocks(tables: Iterable[Any], out: Path) -> int:
    """Write arrow tables one after the other as CSV or Parquet.

    Parameters
    ----------
    tables
        All with the same columns; Parquet's groups of rows do not depend on how they are cut.
    out
        The file, which appears when all is written; a failure leaves nothing.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    OutputError
        If the file exists or cannot be written.
    """
    refuse_target(out)
    unfinished: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=".unfinished-", suffix=out.suffix)
        os.close(handle)
        unfinished = Path(name)
        rows = _written(regrouped(tables, _GROUP), unfinished)
        _settle(unfinished, out)
    except OSError as error:
        raise OutputError(
            f"'{out}' cannot be written ({error.strerror or error}): make room, or choose another with --out."
        ) from error
    finally:
        if unfinished is not None:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
    return rows


def _settle(unfinished: Path, out: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    unfinished.chmod(0o666 & ~mask)
    try:
        os.link(unfinished, out)  # unlike a renaming, never over a file that came about meanwhile
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        unfinished.replace(out)


def _written(tables: Iterable[Any], path: Path) -> int:
    from pyarrow import csv, parquet

    writer: Any = None
    rows = 0
    try:
        for table in tables:
            if writer is None:
                kind = parquet.ParquetWriter if path.suffix.lower() == ".parquet" else csv.CSVWriter
                writer = kind(str(path), table.schema)
            if table.num_rows or not rows:
                writer.write_table(table)
            rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows

"""One door for every data file: text, Parquet and SAS; and where a source is found."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path

from trialml.data.table import MISSING_WORDS, Table
from trialml.errors import DataError

__all__ = ["MISSING_WORDS", "Table", "locate", "read_file", "read_table"]


def locate(source: str, base: Path, *, folder: bool = False) -> Path:
    """Return the path of `source`: a path (relative to `base`), or ``package:path`` inside an installed package.

    Parameters
    ----------
    source
        As the study file names it.
    base
        The folder that relative paths start from.
    folder
        Whether a folder will do.

    Raises
    ------
    DataError
        If the package is not installed, or there is no such file.
    """
    try:
        path = _path(source, base)
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error  # an OSError's own words repeat the path
        raise DataError(
            f"[data] source = {ascii(source)[:80]} is no path ({why}): give a path or package:path."
        ) from error
    if is_folder and not folder:
        raise DataError(f"[data] source = '{source}' is a folder: name the file in it.")
    if not (is_file or is_folder):
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


def read_table(
    source: str,
    base: Path,
    *,
    columns: Collection[str] | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
) -> Table:
    """Read a data file: delimited text, Parquet (.parquet), SAS transport (.xpt) or SAS7BDAT (.sas7bdat).

    Text comes with every value as text, since types come later, by role; typed sources keep their types.

    Parameters
    ----------
    source
        A path, or ``package:path``.
    base
        The folder that relative paths start from.
    columns
        Columns to keep, where not all are wanted; what the file lacks is left to the caller to miss.
    encoding, decimal
        Encoding and decimal mark of a text file, where they are declared and not to be found out.

    Returns
    -------
    Table
        The columns and how they were read.

    Raises
    ------
    DataError
        If the file is absent, empty, unreadable, ragged, truncated, of another kind than its name says, or names a
        column twice.
    """
    return read_file(locate(source, base), source, columns=columns, encoding=encoding, decimal=decimal)


def read_file(
    path: Path,
    source: str,
    *,
    columns: Collection[str] | None = None,
    encoding: str | None = None,
    decimal: str | None = None,
) -> Table:
    """Read a file that was found; see `read_table`."""
    from trialml.data.read_text import read_text
    from trialml.data.read_typed import read_parquet, read_sas

    kind = path.suffix.lower()
    try:
        if kind in (".parquet", ".pq"):
            return read_parquet(path, source, columns=columns)
        if kind in (".xpt", ".xport", ".sas7bdat"):
            return read_sas(path, source, columns=columns)
        return read_text(path, source, columns=columns, encoding=encoding, decimal=decimal)
    except OSError as error:
        raise DataError(
            f"[data] source = '{source}' cannot be read: {error.strerror}; check its permissions."
        ) from error

"""A local store: where its database lies, who may use it at once, and whether it is one at all."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

__all__ = ["alone", "check_database", "sqlite_file"]


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of an sqlite database, so that its artifacts do not depend on the working folder."""
    found = re.fullmatch(r"sqlite:///(?P<path>[^?]+)", uri)
    return Path(found["path"]).resolve() if found else None


def alone(lock: Path | None) -> Any:
    """Let one process at a time use a local database's first opening and its registry; several would corrupt it."""
    if lock is None:
        return nullcontext()
    from filelock import FileLock

    # One object a path: who holds it may take it again, such as a promotion that writes to the history.
    return FileLock(lock, timeout=120, is_singleton=True)


def check_database(database: Path) -> None:
    """Refuse a file that is no database of MLflow: MLflow would write its tables into another program's.

    Raises
    ------
    ValueError
        Saying what the file is; it is left as it is.
    """
    if not database.exists() or not database.stat().st_size:
        return
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as opened:
            tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        message = (
            f"'{database.name}' is damaged or no database: {error}; it is left as it is, so put a backup in its place"
        )
        raise ValueError(message) from error
    if tables and "alembic_version" not in tables:
        message = f"'{database.name}' is a database of another program and is left as it is"
        raise ValueError(message)

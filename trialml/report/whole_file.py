"""Write a file so that a reader sees the old one or the new one, never a half."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from trialml.errors import OutputError

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> str:
    """Write `content` and return its SHA-256 in hexadecimal.

    Parameters
    ----------
    path
        Where to; missing folders are made, and a file that is there is replaced.
    content
        The bytes of the whole file.

    Returns
    -------
    str
        The SHA-256 of the bytes written.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    beside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"the report cannot be written to {path} ({error.strerror or error}): name a file in a folder that "
            "exists and may be written to"
        ) from error
    return hashlib.sha256(content).hexdigest()

"""The key of a de-identification: from it come the pseudonyms and the shift of each subject's dates."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from base64 import b32encode
from collections.abc import Iterable
from pathlib import Path

from trialml.errors import DataError, OutputError

__all__ = ["day_shift", "pseudonyms", "read_or_create_key"]

_BYTES = 32
_USED = 10
"""Bytes of the digest in a pseudonym, 16 letters: among ten million subjects two alike have a chance of 4e-11."""


def read_or_create_key(path: Path) -> tuple[bytes, bool]:
    """Return the key in a file, made from the system's random numbers where there is none yet.

    Parameters
    ----------
    path
        A file of 64 hexadecimal digits that its owner alone may read (mode 0600).

    Returns
    -------
    key : bytes
        32 bytes.
    created : bool
        Whether the file was made just now.

    Raises
    ------
    DataError
        If the file is no key, or others may read it.
    OutputError
        If it cannot be read or made.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except FileExistsError:
        return _read(path), False
    except OSError as error:
        raise OutputError(
            f"The key file '{path}' cannot be made ({error.strerror}): choose another with --key-file."
        ) from error
    key = secrets.token_bytes(_BYTES)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
    return key, True


def _read(path: Path) -> bytes:
    try:
        text, mode = path.read_text(encoding="ascii", errors="replace").strip(), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise OutputError(f"The key file '{path}' cannot be read ({error.strerror}): check its permissions.") from error
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * _BYTES}}}", text):
        raise DataError(f"'{path}' is no key file (64 hexadecimal digits): name the one that was made, or a new one.")
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DataError(f"The key file '{path}' can be read by others (mode {mode:o}): run chmod 600 on it.")
    return bytes.fromhex(text)


def _digest(key: bytes, domain: str, value: str) -> bytes:
    return hmac.digest(key, f"{domain}\x00{value}".encode(), "sha256")


def pseudonyms(key: bytes, domain: str, values: Iterable[str]) -> dict[str, str]:
    """Return a pseudonym for each value: HMAC-SHA256 (RFC 2104) of the domain and the value, 80 bits in base 32.

    Parameters
    ----------
    key
        32 bytes.
    domain
        What the values identify; one value has different pseudonyms in two domains.
    values
        The identifiers.

    Returns
    -------
    dict
        Identifier to pseudonym, 16 letters and digits.

    Raises
    ------
    DataError
        If two identifiers would get the same pseudonym.
    """
    given = {value: b32encode(_digest(key, domain, value)[:_USED]).decode("ascii") for value in set(values)}
    if len(set(given.values())) < len(given):
        raise DataError("Two identifiers would have the same pseudonym under this key: use another with --key-file.")
    return given


def day_shift(key: bytes, subject: str, most: int) -> int:
    """Return by how many days a subject's dates are moved: from 1 to `most` forward or back, never 0, by the key alone."""
    number = int.from_bytes(_digest(key, "date shift", subject), "big") % (2 * most)
    return number - most if number < most else number - most + 1

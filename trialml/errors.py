"""What trialml says when it refuses, by the phase that refuses.

Every message is one sentence that names the thing, the value seen and the remedy. A message may name a file's
row; it never names a patient's identifier.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "AnalysisError",
    "DataError",
    "ModelInputError",
    "OutputError",
    "StoreError",
    "StudyFileError",
    "TrackingError",
    "TrialmlError",
    "nearest",
]


class TrialmlError(Exception):
    """The root of the tree; `exit_status` is what the command returns."""

    exit_status: ClassVar[int] = 1


class StudyFileError(TrialmlError):
    """The study file itself is at fault: absent, not TOML, an unknown key, a contradiction."""

    exit_status: ClassVar[int] = 2


class DataError(TrialmlError):
    """The data cannot be read, or contradict the study file."""


class AnalysisError(TrialmlError):
    """The data can be read, but the analysis asked for cannot be done on them."""


class ModelInputError(TrialmlError):
    """New patients do not meet the contract of a fitted model."""


class OutputError(TrialmlError):
    """A result cannot be written where it was asked for."""


class StoreError(TrialmlError):
    """What was asked of tracked runs and models cannot be done: no such run, a promotion refused, a broken record."""


class TrackingError(TrialmlError):
    """The report stands, but the runs could not be tracked."""

    exit_status: ClassVar[int] = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the half-sentence that points to the closest known name, or lists a few.

    Parameters
    ----------
    name
        What was asked for.
    known
        What exists.

    Returns
    -------
    str
        For example ``"the nearest name is 'days'"``.
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close:
        lowered = {other.lower(): other for other in names}
        close = [lowered[near] for near in difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.4)]
    if close:
        return f"the nearest name is '{close[0]}'"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"the names there are: {shown}" if names else "there are no names at all"

"""Follow-up times as every estimator of this folder receives them: checked once, tied by one tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from trialml.data.tolerance import TIE_TOLERANCE
from trialml.errors import AnalysisError, DataError

__all__ = [
    "TIE_TOLERANCE",
    "Array",
    "Blocks",
    "checked_labels",
    "checked_times",
    "distinct_times",
    "everybody",
    "fresh_times",
    "nobody",
    "not_after",
    "snapped",
    "tied_times",
    "time_blocks",
    "time_order",
]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


def checked_times(time: Any, event: Any, *, needs_event: bool = False) -> tuple[Array, Flags]:
    """Return follow-up times and event flags as arrays, or refuse.

    Parameters
    ----------
    time
        Follow-up times from randomisation, shape ``(n,)``, each finite and above 0.
    event
        True where the event happened, False where follow-up was cut; shape ``(n,)``, boolean or 0/1.
    needs_event
        Whether an analysis without any event is to be refused.

    Returns
    -------
    time, event
        Arrays of float and of bool.

    Raises
    ------
    DataError
        If a time is missing, infinite or not above 0, a flag is neither 0 nor 1, or the lengths differ.
    AnalysisError
        If `needs_event` and no event happened.
    """
    times = _floats(time, "time")
    flags = np.asarray(event)
    if flags.shape != times.shape:
        raise DataError(f"time has {times.size} values but event has shape {flags.shape}: pass one flag a patient")
    if times.size == 0:
        raise AnalysisError("there are no patients in this analysis: check the filter that made the analysis set")
    wrong = ~np.isfinite(times)
    if wrong.any():
        raise DataError(f"time is missing or infinite in {wrong.sum()} of {times.size} rows: complete or drop them")
    if times.min() <= 0:
        raise DataError(
            f"time is {times.min():g} at its smallest, but follow-up must be above 0: "
            "count the day of randomisation as day 1 or state the value that stands for it"
        )
    if flags.dtype != np.bool_:
        values = _floats(flags, "event")
        if not np.isin(values, (0.0, 1.0)).all():
            odd = values[~np.isin(values, (0.0, 1.0))][0]
            raise DataError(f"event holds the value {odd:g}, but it must be True (happened) or False (censored)")
        flags = values == 1.0
    if needs_event and not flags.any():
        raise AnalysisError(f"{nobody(times.size)} had the event: this analysis needs at least one")
    return times, flags


def everybody(n: int) -> str:
    """Return ``"all 5 patients are"``, of one patient ``"the one patient is"``."""
    return "the one patient is" if n == 1 else f"all {n} patients are"


def nobody(n: int) -> str:
    """Return ``"none of the 5 patients has"``, of one patient ``"the one patient has not"``."""
    return "the one patient has not" if n == 1 else f"none of the {n} patients has"


def checked_labels(labels: Any, n: int, name: str) -> tuple[npt.NDArray[Any], Codes]:
    """Return the distinct labels, sorted, and each patient's position among them.

    Parameters
    ----------
    labels
        One label a patient (text or whole numbers), shape ``(n,)``; None puts everyone in one group.
    n
        The number of patients.
    name
        What the labels are, for the message.

    Returns
    -------
    distinct, codes

    Raises
    ------
    DataError
        If the length is not `n` or a label is missing.
    """
    if labels is None:
        return np.array([0]), np.zeros(n, dtype=np.intp)
    values = np.asarray(labels)
    if values.shape != (n,):
        raise DataError(f"{name} has shape {values.shape} for {n} patients: pass one label a patient")
    missing = pd.isna(values)
    if missing.any():
        raise DataError(f"{name} is missing in {int(missing.sum())} of {n} rows: name a level for them or drop them")
    if values.dtype.kind == "O":
        values = values.astype(str)
    distinct, codes = np.unique(values, return_inverse=True)
    return distinct, codes.astype(np.intp)


def distinct_times(time: Array) -> tuple[Array, Codes]:
    """Return the distinct times in ascending order and each time's position among them, ties within tolerance.

    A run of times each within the tolerance of the one before is one time, as in R's ``timefix``; its smallest
    value stands for it.
    """
    order, fresh = time_order(time)
    position = np.empty(time.size, dtype=np.intp)
    position[order] = np.cumsum(fresh) - 1
    return time[order[fresh]], position


def time_order(time: Array) -> tuple[Codes, Flags]:
    """Return the order of rising time, and in that order whether each time is later than the one before it."""
    order = np.argsort(time)
    return order, fresh_times(time[order])


def fresh_times(ordered: Array) -> Flags:
    """Return which of ascending times are not ties of the one before, shape ``(n,)``."""
    fresh = np.ones(ordered.size, dtype=bool)
    # A difference of just the tolerance is a tie, however it is rounded.
    np.greater(np.diff(ordered), 1.00001 * TIE_TOLERANCE * ordered[1:], out=fresh[1:])
    return fresh


class Blocks(NamedTuple):
    """Weighted counts at the distinct times of one sample, each of shape ``(times,)``."""

    time: Array
    n_risk: Array
    n_event: Array
    n_censor: Array
    position: Codes


def time_blocks(time: Array, event: Flags, weights: Array | None = None) -> Blocks:
    """Return who was at risk, had the event and was censored at each distinct time."""
    distinct, position = distinct_times(time)
    size = distinct.size
    events = event.astype(float) if weights is None else np.where(event, weights, 0.0)
    all_of_them = np.bincount(position, weights, size).astype(float)
    n_event = np.bincount(position, events, size).astype(float)
    n_risk = np.asarray(np.cumsum(all_of_them[::-1])[::-1], dtype=float)
    return Blocks(distinct, n_risk, n_event, all_of_them - n_event, position)


def group_order(labels: npt.NDArray[Any], order: Sequence[str] | None, name: str = "group") -> tuple[str, ...]:
    """Return the labels in display order: `order` if given (it must name each label once), else sorted."""
    present = [str(label) for label in labels]
    if order is None:
        return tuple(present)
    wanted = tuple(str(label) for label in order)
    if sorted(wanted) != sorted(present):
        raise DataError(f"order is {list(wanted)}, but the labels of {name} are {present}: name each of them once")
    return wanted


def _floats(values: Any, name: str) -> Array:
    if np.asarray(values).dtype.kind in "mM":
        raise DataError(f"{name} holds dates or durations: turn them into numbers of one unit first")
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} holds values that are not numbers: turn them into numbers first") from error
    if array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}: pass one value a patient")
    return array


def not_after(time: npt.ArrayLike, t: npt.ArrayLike) -> Any:
    """Return whether `time` is at or before `t`, a time within the tie tolerance of `t` being at it.

    Parameters
    ----------
    time, t
        Times, of shapes that broadcast.

    Returns
    -------
    bool or ndarray of bool
        ``time <= t (1 + tolerance)``; ``not_after(t, time)`` is "at or after `t`".
    """
    return np.less_equal(np.asarray(time, dtype=float), np.asarray(t, dtype=float) * (1 + TIE_TOLERANCE))


def tied_times(time: Array, at: float) -> Array:
    """Return the times with one value a tie, so that they may be compared exactly from then on.

    Parameters
    ----------
    time
        Times, shape ``(n,)``.
    at
        A time that they will be compared with; those tied with it take its value.

    Returns
    -------
    ndarray of shape (n,)
        Elsewhere the smallest value of a run of ties stands for it, as in `distinct_times`.
    """
    distinct, position = distinct_times(np.append(time, at))
    distinct[position[-1]] = at
    return distinct[position[:-1]]


def snapped(time: Array, onto: Array) -> Array:
    """Return the times, those within the tie tolerance of a value of `onto` as that value.

    Parameters
    ----------
    time
        Times, shape ``(n,)``.
    onto
        Ascending times of other patients, shape ``(k,)``, k at least 1.

    Returns
    -------
    ndarray of shape (n,)
    """
    after = np.minimum(np.searchsorted(onto, time), len(onto) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(time - onto[before] < onto[after] - time, onto[before], onto[after])
    return np.where(np.abs(nearest - time) <= TIE_TOLERANCE * np.maximum(nearest, time), nearest, time)

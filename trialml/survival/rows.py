"""Rows of the counting process: delayed entry, case weights and several rows a patient, checked once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from trialml.errors import DataError
from trialml.survival.ties import TIE_TOLERANCE, Array, Codes, checked_labels

__all__ = ["checked_entry", "checked_subjects", "checked_weights", "coded_labels"]


def checked_entry(entry: Any, time: Array) -> Array | None:
    """Return when each row comes under observation, or refuse; None where everybody is followed from time 0.

    Parameters
    ----------
    entry
        Entry times in the unit of `time`, shape ``(n,)``, each finite, at least 0 and before its exit; or None.
    time
        Checked exit times, shape ``(n,)``.

    Raises
    ------
    DataError
        If an entry is missing, infinite, below 0 or not before its exit, or the lengths differ.
    """
    if entry is None:
        return None
    entries = _one_number_a_row(entry, time.size, "entry")
    if entries.min() < 0:
        raise DataError(f"entry is {entries.min():g} at its smallest, but nobody can enter before time 0: correct it")
    late = np.flatnonzero(entries >= time * (1 - TIE_TOLERANCE))
    if late.size:
        row = int(late[0])
        raise DataError(
            f"entry is not before exit in {late.size} of {time.size} rows, first in row {row + 1} "
            f"({entries[row]:g} and {time[row]:g}): correct or drop them"
        )
    return entries


def checked_weights(weights: Any, n: int) -> Array | None:
    """Return case weights as an array of shape ``(n,)``, or refuse; None for 1 each.

    Raises
    ------
    DataError
        If a weight is missing, infinite or not above 0, or there are not `n` of them.
    """
    if weights is None:
        return None
    values = np.asarray(weights, dtype=float)
    if values.shape != (n,) or not (np.isfinite(values) & (values > 0)).all():
        raise DataError("weights must be one finite number above 0 a patient: drop patients of weight 0")
    return values


def checked_subjects(id: Any, time: Array, entry: Array | None) -> Codes | None:  # noqa: A002  (the field's name)
    """Return which rows belong to one patient as whole numbers, or refuse; None where each row is a patient.

    Parameters
    ----------
    id
        One label a row, the same for the rows of one patient; or None.
    time, entry
        Checked exit and entry times, shape ``(n,)``.

    Raises
    ------
    DataError
        If a label is missing, or two rows of one patient overlap.
    """
    if id is None:
        return None
    labels = np.asarray(id)
    if labels.shape != time.shape:
        raise DataError(f"id has shape {labels.shape} for {time.size} rows: pass one label a row")
    codes, _ = pd.factorize(labels)
    if (codes < 0).any():
        raise DataError(f"id is missing in {int((codes < 0).sum())} of {time.size} rows: complete it or drop the rows")
    start = np.zeros(time.size) if entry is None else entry
    order = np.lexsort((time, codes))
    same = np.diff(codes[order]) == 0
    overlap = same & (start[order][1:] < time[order][:-1] * (1 - TIE_TOLERANCE))
    if overlap.any():
        row = int(order[1:][overlap][0])
        raise DataError(
            f"{int(overlap.sum())} of {time.size} rows overlap another row of the same patient, among them row {row + 1}: "
            "give each row the time from its entry to its exit"
        )
    return np.asarray(codes, dtype=np.intp)


def coded_labels(labels: Any, n: int, name: str) -> tuple[np.ndarray[Any, Any], Codes]:
    """Return what `checked_labels` returns, without sorting n labels: a hash finds the few that are distinct."""
    if labels is None:
        return checked_labels(labels, n, name)
    values = np.asarray(labels)
    if values.shape != (n,):
        return checked_labels(values, n, name)
    found, distinct = pd.factorize(values)
    if (found < 0).any():
        return checked_labels(values, n, name)
    names, place = checked_labels(distinct, len(distinct), name)
    return names, place[found]


def _one_number_a_row(values: Any, n: int, name: str) -> Array:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} holds values that are not numbers: turn them into numbers first") from error
    if array.shape != (n,):
        raise DataError(f"time has {n} values but {name} has shape {array.shape}: pass one value a row")
    wrong = ~np.isfinite(array)
    if wrong.any():
        raise DataError(f"{name} is missing or infinite in {int(wrong.sum())} of {n} rows: complete or drop them")
    return array

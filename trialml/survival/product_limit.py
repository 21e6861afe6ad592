"""The Kaplan-Meier estimator of the event and of the censoring distribution, and reading step curves."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from trialml.errors import DataError
from trialml.survival.jackknife import sums_of_squares
from trialml.survival.rows import checked_entry, checked_subjects, checked_weights
from trialml.survival.ties import (
    TIE_TOLERANCE,
    Array,
    Codes,
    Flags,
    checked_times,
    distinct_times,
    fresh_times,
    time_blocks,
)

__all__ = [
    "Curve",
    "Variance",
    "censoring_curve",
    "curve_of_counts",
    "product_limit",
    "step_at",
    "usual_variance",
]

Variance = Literal["greenwood", "robust"]

SAMPLE = 4096
"""How many times are looked at to see whether ties are many."""


class Curve(NamedTuple):
    """A product-limit curve at the distinct times of its sample; every field has shape ``(times,)``.

    Attributes
    ----------
    time
        Distinct times at which follow-up ended, ascending, by an event or by censoring.
    survival
        The product-limit estimate just after each time.
    cumulative_hazard
        Nelson and Aalen's estimate, the sum of ``n_event / n_risk``.
    n_risk, n_event, n_censor
        At risk just before each time; events and censorings at it. Sums of weights where there are weights.
    se_log
        The standard error of ``log survival``; infinite once the curve is 0.
    se_hazard
        The standard error of `cumulative_hazard`.
    """

    time: Array
    survival: Array
    cumulative_hazard: Array
    n_risk: Array
    n_event: Array
    n_censor: Array
    se_log: Array
    se_hazard: Array


def product_limit(
    time: Any,
    event: Any,
    weights: Any = None,
    *,
    entry: Any = None,
    id: Any = None,  # noqa: A002  (the field's name)
    variance: Variance | None = None,
) -> Curve:
    """Return the Kaplan-Meier curve of one sample.

    Parameters
    ----------
    time, event
        Follow-up times (finite, above 0) and True where the event happened; shape ``(n,)``.
    weights
        Case weights above 0; None for 1 each.
    entry
        When each row came under observation (left truncation): it is at risk at t with ``entry < t <= time``.
        None for time 0.
    id
        One label a row where a patient has several rows that follow one another. A row that another row of the
        same patient continues is no censoring.
    variance
        ``"greenwood"`` takes weights as frequencies; ``"robust"`` is the infinitesimal jackknife over patients.
        None, as R's ``survfit``: robust where weights are not whole numbers or a patient has several events.

    Returns
    -------
    Curve
        ``S(t) = prod(1 - d/n)`` over times up to t. Greenwood: ``se(log S)^2 = sum(d / (n (n - d)))`` and, of the
        cumulative hazard, ``sum(d / n^2)``. Robust: ``se(log S)^2 = sum_i(A_i^2)`` with ``A_i = sum(w_i (dN_i - Y_i h) /
        (n (1 - h)))`` added up over the rows of patient i, h the hazard ``d/n``; without ``(1 - h)`` for the
        cumulative hazard. A patient censored at an event time was at risk of that event. With delayed entry an
        early small risk set may take the curve to 0, where it stays.

    Raises
    ------
    DataError
        If the times, flags, weights or entries are not usable, or rows of one patient overlap.

    References
    ----------
    Kaplan EL, Meier P. Nonparametric estimation from incomplete observations. J Am Stat Assoc 1958;53:457-481.
    Efron B, Stein C. The jackknife estimate of variance. Ann Stat 1981;9:586-596.
    """
    times, flags = checked_times(time, event)
    case_weights = checked_weights(weights, times.size)
    entries = checked_entry(entry, times)
    subjects = checked_subjects(id, times, entries)
    rows = _Rows(times, flags, case_weights, entries, subjects)
    if variance is None:
        variance = usual_variance(flags, case_weights, subjects)
    elif variance not in ("greenwood", "robust"):
        raise DataError(f"variance is '{variance}', but it must be 'greenwood' or 'robust'")
    if variance == "greenwood" and weights is None and entry is None and id is None:
        return curve_of_counts(*_plain_counts(times, flags))
    counts = _count(rows)
    curve = curve_of_counts(counts.time, counts.n_risk, counts.n_event, counts.n_censor)
    return curve if variance == "greenwood" else _robust(curve, rows, counts)


class _Rows(NamedTuple):
    time: Array
    event: Flags
    weights: Array | None
    entry: Array | None
    subject: Codes | None


class _Counts(NamedTuple):
    time: Array
    n_risk: Array
    n_event: Array
    n_censor: Array
    exit: Codes  # the position of each row's exit among `time`
    entry: Codes  # the last position at or before each row's entry, -1 before the first


def usual_variance(event: Flags, weights: Array | None, subject: Codes | None) -> Variance:
    """Return "robust" where weights are not whole numbers or a patient has several events, as R's ``survfit``."""
    several = subject is not None and bool((np.bincount(subject, event) > 1).any())
    broken = weights is not None and bool((weights != np.floor(weights)).any())
    return "robust" if several or broken else "greenwood"


def _plain_counts(time: Array, event: Flags) -> tuple[Array, Array, Array, Array]:
    """Return times, at risk, events and censorings of the usual case at the price of one sort, or less with many ties."""
    sample = time[:: max(time.size // SAMPLE, 1)]
    if time.size > SAMPLE and np.unique(sample).size < sample.size / 2:
        return _hashed_counts(time, event)
    order = np.argsort(time)
    ordered, happened = time[order], event[order]
    fresh = fresh_times(ordered)
    if fresh.all():
        n_event = happened.astype(float)
        return ordered, np.arange(time.size, 0, -1, dtype=float), n_event, 1.0 - n_event
    starts = np.flatnonzero(fresh)
    so_far = np.append(np.cumsum(happened)[starts[1:] - 1], happened.sum())
    n_event = np.diff(so_far, prepend=0).astype(float)
    n_censor = np.diff(starts, append=time.size) - n_event
    return ordered[starts], time.size - starts.astype(float), n_event, n_censor


def _hashed_counts(time: Array, event: Flags) -> tuple[Array, Array, Array, Array]:
    """Count by hashing, so that only the distinct times are sorted."""
    code, found = pd.factorize(time)
    distinct, place = distinct_times(np.asarray(found, dtype=float))
    everyone = np.bincount(code, minlength=found.size)
    events = np.bincount(code, event, found.size)
    all_of_them, n_event = (
        np.asarray(np.bincount(place, counts, distinct.size), dtype=float) for counts in (everyone, events)
    )
    return distinct, _from_here_on(all_of_them), n_event, all_of_them - n_event


def _count(rows: _Rows) -> _Counts:
    n = rows.time.size
    everything = rows.time if rows.entry is None else np.concatenate((rows.time, rows.entry))
    distinct, position = distinct_times(everything)
    leave = position[:n]
    enter = np.full(n, -1) if rows.entry is None else position[n:]
    weight = np.ones(n) if rows.weights is None else rows.weights
    ends = ~rows.event & ~_continued(rows, leave, enter)
    size = distinct.size
    n_event, n_censor = (
        np.asarray(np.bincount(leave, weight * flag, size), dtype=float) for flag in (rows.event, ends)
    )
    n_risk = _from_here_on(np.bincount(leave, weight, size))
    if rows.entry is not None:
        # Whoever enters at a time or after it is not at risk at it.
        n_risk = n_risk - _from_here_on(np.bincount(enter, weight, size))
    shown = (n_event > 0) | (n_censor > 0)
    place = np.cumsum(shown) - 1
    entered = np.where(enter >= 0, place[enter], -1)
    return _Counts(distinct[shown], n_risk[shown], n_event[shown], n_censor[shown], place[leave], entered)


def _from_here_on(values: npt.NDArray[Any]) -> Array:
    return np.asarray(np.cumsum(values[::-1])[::-1], dtype=float)


def _continued(rows: _Rows, leave: Codes, enter: Codes) -> Flags:
    """Return which rows another row of the same patient takes up at the very time."""
    found = np.zeros(leave.size, dtype=bool)
    if rows.subject is None or rows.entry is None:
        return found
    order = np.lexsort((leave, rows.subject))
    same = np.diff(rows.subject[order]) == 0
    found[order[:-1]] = same & (enter[order][1:] == leave[order][:-1])
    return found


def _robust(curve: Curve, rows: _Rows, counts: _Counts) -> Curve:
    """Put the infinitesimal jackknife's standard errors in the place of Greenwood's."""
    n = np.where(curve.n_risk > 0, curve.n_risk, 1.0)
    hazard = curve.n_event / n
    left = np.where(curve.survival > 0, 1 - hazard, 1.0)
    weight = np.ones(rows.time.size) if rows.weights is None else rows.weights
    subject = np.arange(rows.time.size) if rows.subject is None else rows.subject
    se = []
    for one in (1 / (n * left), 1 / n):
        drift = np.cumsum(hazard * one)
        spread = sums_of_squares(drift, one, counts.entry, counts.exit, rows.event, weight, subject)
        se.append(np.sqrt(np.maximum(spread, 0.0)))
    return curve._replace(se_log=np.where(curve.survival > 0, se[0], np.inf), se_hazard=se[1])


def censoring_curve(time: Any, event: Any, weights: Any = None) -> Curve:
    """Return the Kaplan-Meier curve G of the censoring distribution, for inverse-probability weights.

    The tie order is reversed: patients with the event at a time leave the risk set before those censored at
    it. Weight an event at T by ``1 / G(T-)`` and a patient still followed at t by ``1 / G(t)``.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event (not the censoring) happened; shape ``(n,)``.
    weights
        Case weights above 0, shape ``(n,)``; None for 1 each.

    Returns
    -------
    Curve
        `n_event` counts censorings and `n_censor` events; `n_risk` leaves out the events of the same time.

    References
    ----------
    Robins JM, Finkelstein DM. Correcting for noncompliance and dependent censoring in an AIDS clinical trial
    with inverse probability of censoring weighted (IPCW) log-rank tests. Biometrics 2000;56:779-788.
    """
    times, flags = checked_times(time, event)
    blocks = time_blocks(times, flags, checked_weights(weights, times.size))
    n_risk: Array = blocks.n_risk - blocks.n_event
    return curve_of_counts(blocks.time, n_risk, blocks.n_censor, blocks.n_event)


def curve_of_counts(time: Array, n_risk: Array, n_event: Array, n_censor: Array) -> Curve:
    """Return the product-limit curve, with Greenwood's errors, of counts at distinct times; each shape ``(k,)``."""
    at_risk = np.where(n_risk > 0, n_risk, 1.0)
    left = n_risk - n_event
    # Weighted counts leave a rounding error behind where everyone at risk had the event.
    left = np.where(left > 1e-12 * at_risk, left, 0.0)
    hazard = n_event / at_risk
    kept = np.where(n_event > 0, left / at_risk, 1.0)
    ends = (left == 0) & (n_event > 0)
    variance = np.where(ends, np.inf, n_event / (at_risk * np.where(left > 0, left, 1.0)))
    return Curve(
        time,
        np.asarray(np.cumprod(kept), dtype=float),
        np.cumsum(hazard),
        n_risk,
        n_event,
        n_censor,
        np.sqrt(np.cumsum(variance)),
        np.sqrt(np.cumsum(hazard / at_risk)),
    )


def step_at(
    curve_time: Any, curve_value: Any, t: Any, *, initial: float = 1.0, left: bool = False
) -> npt.NDArray[np.float64]:
    """Return the value of a right-continuous step function at `t`.

    Parameters
    ----------
    curve_time
        Where the function jumps, ascending, shape ``(k,)``.
    curve_value
        Its value from each jump on, shape ``(k,)``.
    t
        Where to read it, any shape; a `t` within the tie tolerance of a jump is at the jump.
    initial
        The value before the first jump: 1 for a survival curve, 0 for a cumulative hazard.
    left
        Read the left limit, the value just before `t`.

    Returns
    -------
    ndarray
        Values in the shape of `t`. After the last jump the last value is carried on; whether that is sound is
        for the caller to judge.
    """
    at = np.asarray(t, dtype=float)
    jumps = np.asarray(curve_time, dtype=float)
    values = np.concatenate(([initial], np.asarray(curve_value, dtype=float)))
    if left:
        position = np.searchsorted(jumps, at * (1 - TIE_TOLERANCE), side="left")
    else:
        position = np.searchsorted(jumps, at * (1 + TIE_TOLERANCE), side="right")
    return np.asarray(values[position], dtype=float)

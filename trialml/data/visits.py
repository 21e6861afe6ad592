"""Baseline covariates from visits: one value a subject, from what was measured by time zero and nothing later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.errors import DataError

__all__ = ["SUMMARIES", "Summary", "VisitSummaries", "summarise_visits"]

Summary = Literal["last", "mean", "slope", "sd", "visits", "since_last"]

SUMMARIES: tuple[Summary, ...] = ("last", "mean", "slope", "sd", "visits", "since_last")
"""The summaries there are, in the order of `VisitSummaries`."""

_LEAST_FOR_SPREAD = 2


class VisitSummaries(NamedTuple):
    """What the visits by time zero say of each subject, and how many rows said nothing.

    Attributes
    ----------
    last
        The value of the last visit, shape (subjects,); NaN where there is none.
    mean
        The mean over visits.
    slope
        The least-squares slope over time, in units of the value per unit of time; NaN under two visits.
    sd
        The standard deviation over visits (divisor: visits - 1); NaN under two visits.
    visits
        The number of visits with a value, 0 where there is none.
    since_last
        Time from the last visit to time zero, at least 0.
    used
        Rows that entered.
    after
        Rows after time zero, passed over.
    without_value, without_time, unknown
        Rows passed over because the value is missing, the time is missing, or the subject is not in the trial.
    ties
        Rows that share subject and time with another one and were averaged.
    """

    last: NDArray[np.float64]
    mean: NDArray[np.float64]
    slope: NDArray[np.float64]
    sd: NDArray[np.float64]
    visits: NDArray[np.float64]
    since_last: NDArray[np.float64]
    used: int
    after: int
    without_value: int
    without_time: int
    unknown: int
    ties: int

    def chosen(self, names: Sequence[Summary]) -> dict[str, NDArray[np.float64]]:
        """Return the summaries of these names, in their order."""
        return {name: np.asarray(getattr(self, name)) for name in names}


def summarise_visits(
    subject: ArrayLike, time: ArrayLike, value: ArrayLike, *, subjects: int, include_zero: bool = True
) -> VisitSummaries:
    """Summarise each subject's values up to time zero.

    A row after time zero enters nothing: neither a summary nor a scale nor a sort order that a summary depends on.
    Rows may come in any order, and the summaries do not depend on it. Values of a subject at one and the same time
    are one visit, with their mean as its value.

    Parameters
    ----------
    subject
        The place of each row's subject among the subjects of the trial, shape (n,), whole numbers from 0 to
        `subjects` - 1; negative for a subject that the trial does not know.
    time
        Time of each row counted from time zero, shape (n,): negative before, positive after, NaN where unknown.
    value
        What was measured, shape (n,), NaN where missing.
    subjects
        The number of subjects of the trial.
    include_zero
        Whether a row at time zero itself is baseline. It is by the usual definition (the last value on or before the
        day of randomisation); with False only earlier rows are.

    Returns
    -------
    VisitSummaries
        One value a subject, and the counts of rows used and passed over.

    Raises
    ------
    DataError
        If a value or a time that counts is infinite, the three arrays differ in length, or a place is beyond `subjects`.

    Notes
    -----
    With visits ``j = 1..m`` of a subject at times ``t_j`` with values ``y_j``, means ``t`` and ``y``: the slope is
    ``sum((t_j - t)(y_j - y)) / sum((t_j - t)^2)`` and the standard deviation ``sqrt(sum((y_j - y)^2) / (m - 1))``. Both
    are computed from deviations, in two passes, so that a large offset of time or value costs no digits.
    """
    places, times, values = _checked(subject, time, value, subjects)
    known = places >= 0
    dated = known & ~np.isnan(times)
    early = (times <= 0) if include_zero else (times < 0)
    measured = dated & early & ~np.isnan(values)
    kept = np.flatnonzero(measured)
    # The value is the last key, so that the order of a file's rows cannot change the last digit of a mean.
    order = kept[np.lexsort((values[kept], times[kept], places[kept]))]
    rows_of, times_of, values_of = places[order], times[order], values[order]
    _refuse_infinite(times_of, values_of)
    opens = np.ones(len(order), dtype=np.bool_)
    opens[1:] = (rows_of[1:] != rows_of[:-1]) | (times_of[1:] != times_of[:-1])
    visit = np.cumsum(opens) - 1
    sizes = np.bincount(visit, minlength=int(opens.sum()))
    last, mean, slope, deviation, visits, since = _by_subject(
        rows_of[opens], times_of[opens], _averages(values_of, visit, sizes), subjects
    )
    return VisitSummaries(
        last=last,
        mean=mean,
        slope=slope,
        sd=deviation,
        visits=visits,
        since_last=since,
        used=len(order),
        after=int((dated & ~early).sum()),
        without_value=int((dated & early & np.isnan(values)).sum()),
        without_time=int((known & np.isnan(times)).sum()),
        unknown=int((~known).sum()),
        ties=int(sizes[sizes > 1].sum()),
    )


def _checked(
    subject: ArrayLike, time: ArrayLike, value: ArrayLike, subjects: int
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    places = np.asarray(subject, dtype=np.intp)
    times, values = np.asarray(time, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if not places.shape == times.shape == values.shape or places.ndim != 1:
        message = (
            f"Subjects, times and values have the shapes {places.shape}, {times.shape} and {values.shape}: give three "
            "arrays of one length."
        )
        raise DataError(message)
    if len(places) and int(places.max()) >= subjects:
        raise DataError(f"A visit is of subject {int(places.max())}, but there are {subjects}: count from 0.")
    return places, times, values


def _refuse_infinite(time: NDArray[np.float64], value: NDArray[np.float64]) -> None:
    for name, numbers in (("time", time), ("value", value)):
        if np.isinf(numbers).any():
            raise DataError(
                f"{int(np.isinf(numbers).sum())} visit(s) by time zero have an infinite {name}: correct or empty them."
            )


def _averages(values: NDArray[np.float64], group: NDArray[np.intp], sizes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean of each group; of a single value, that value to the last digit."""
    return np.bincount(group, weights=values, minlength=len(sizes)) / np.maximum(sizes, 1)


def _by_subject(
    place: NDArray[np.intp], time: NDArray[np.float64], value: NDArray[np.float64], subjects: int
) -> tuple[NDArray[np.float64], ...]:
    """Return last, mean, slope, sd, visits and since_last from visits sorted by subject and time, one a time."""
    visits = np.bincount(place, minlength=subjects)
    nothing = np.full(subjects, math.nan)
    ends = np.cumsum(visits) - 1
    seen = visits > 0
    last, since = nothing.copy(), nothing.copy()
    last[seen], since[seen] = value[ends[seen]], np.abs(time[ends[seen]])
    mean = np.where(seen, _averages(value, place, visits), math.nan)
    from_mean = value - mean[place]
    from_middle = time - np.where(seen, _averages(time, place, visits), math.nan)[place]
    spread = np.bincount(place, weights=from_middle**2, minlength=subjects)
    moved = np.bincount(place, weights=from_middle * from_mean, minlength=subjects)
    squares = np.bincount(place, weights=from_mean**2, minlength=subjects)
    several = visits >= _LEAST_FOR_SPREAD
    slope, deviation = nothing.copy(), nothing.copy()
    slope[several] = moved[several] / spread[several]
    deviation[several] = np.sqrt(squares[several] / (visits[several] - 1))
    return last, mean, slope, deviation, visits.astype(np.float64), since

"""Closed forms over pieces of constant hazard: who has had an event by a time since entry, and the integral of that.

The integral from entry on is what staggered entry needs: patients who enter at a constant rate between two
calendar months have the difference of two such integrals as their expected events.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "eventual_event_probability",
    "integrated_event_probability",
    "mean_event_probability",
    "on_common_breaks",
]

Vector = NDArray[np.float64]


def _lag(y: Vector) -> Vector:
    """Return ``y - 1 + exp(-y)``, by its series where the difference would lose digits."""
    small = y * y / 2 * (1 - y / 3 * (1 - y / 4 * (1 - y / 5 * (1 - y / 6 * (1 - y / 7)))))
    return np.where(y < 0.02, small, y + np.expm1(-np.minimum(y, 700.0)))


def _total(hazards: Vector, dropout: float) -> Vector:
    """Return the hazard of leaving; 1 where nobody leaves, which then only ever multiplies a hazard of 0."""
    total = hazards + dropout
    return np.where(total > 0, total, 1.0)


def _piece_starts(breaks: Vector, hazards: Vector, dropout: float) -> tuple[Vector, Vector, Vector]:
    """Return, where each piece of the hazard begins, who is still at risk, the event probability and its integral."""
    at_risk, happened, area = [1.0], [0.0], [0.0]
    for length, hazard, scale in zip(np.diff(breaks), hazards, _total(hazards, dropout), strict=False):
        share, y = hazard / scale, scale * length
        area.append(area[-1] + happened[-1] * length + share * at_risk[-1] * float(_lag(np.asarray(y))) / scale)
        happened.append(happened[-1] - share * at_risk[-1] * math.expm1(-y))
        at_risk.append(at_risk[-1] * math.exp(-(hazard + dropout) * length))
    return np.array(at_risk), np.array(happened), np.array(area)


def integrated_event_probability(
    months: ArrayLike, breaks: ArrayLike, hazards: ArrayLike, dropout: float
) -> tuple[Vector, Vector]:
    """Return the probability of an observed event by a time since entry, and its integral from entry on.

    With event hazard h and dropout hazard d, the probability is the integral of ``h exp(-(H + d u))``; it is
    summed in closed form over the pieces of a piecewise constant h.

    Parameters
    ----------
    months
        Shape (m,) or scalar: months since a patient's entry; below 0 counts as 0.
    breaks
        Shape (pieces,): months at which the pieces begin, the first one 0.
    hazards
        Shape (pieces,): event hazard per month in each piece, 0 or more.
    dropout
        Dropout hazard per month.

    Returns
    -------
    tuple of ndarray
        The probability, and its integral in months; both of the shape of `months`.
    """
    u = np.maximum(np.asarray(months, dtype=float), 0.0)
    starts, h = np.asarray(breaks, dtype=float), np.asarray(hazards, dtype=float)
    at_risk, happened, area = _piece_starts(starts, h, dropout)
    piece = np.searchsorted(starts, u, side="right") - 1
    total = _total(h, dropout)[piece]
    share, within = h[piece] / total * at_risk[piece], u - starts[piece]
    probability = happened[piece] - share * np.expm1(-total * within)
    integral = area[piece] + happened[piece] * within + share * _lag(total * within) / total
    return probability, integral


def eventual_event_probability(breaks: ArrayLike, hazards: ArrayLike, dropout: float) -> float:
    """Return the probability that a patient ever has an observed event; below 1 by dropout or by cure."""
    starts, h = np.asarray(breaks, dtype=float), np.asarray(hazards, dtype=float)
    at_risk, happened, _ = _piece_starts(starts, h, dropout)
    return float(happened[-1] + at_risk[-1] * h[-1] / _total(h, dropout)[-1])


def on_common_breaks(first: tuple[Vector, Vector], second: tuple[Vector, Vector]) -> tuple[Vector, Vector, Vector]:
    """Return the union of two sets of breaks, and the values of both step functions on it."""
    breaks = np.union1d(first[0], second[0])
    values = [step[1][np.searchsorted(step[0], breaks, side="right") - 1] for step in (first, second)]
    return breaks, values[0], values[1]


def mean_event_probability(hazard: ArrayLike, dropout: float, start: float, end: float, at: float) -> Vector:
    """Return the probability of an observed event by a calendar month, averaged over entry from `start` to `end`.

    Parameters
    ----------
    hazard
        Constant event hazards per month, above 0, of any shape.
    dropout
        Dropout hazard per month.
    start, end
        Calendar months between which patients enter at a constant rate.
    at
        Calendar month of the analysis; patients who have not entered by it are left out of the average.

    Returns
    -------
    ndarray
        Of the shape of the hazards; 0 where nobody has entered.
    """
    h, last = np.asarray(hazard, dtype=float), min(end, at)
    total = h + dropout
    if last <= start:
        entered = max(at - start, 0.0) if end == start else 0.0
        return -h / total * np.expm1(-total * entered)
    area = (_lag(total * (at - start)) - _lag(total * (at - last))) / total
    return np.asarray(h / total * area / (last - start))

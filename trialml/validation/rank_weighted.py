"""Sums of scores weighted by rank, and how each patient moves them: targeting curves and what is averaged over them.

With scores S ordered from the highest priority to the lowest, each statistic is ``mean(S_j w_j)``:

    curve at a share q:  w_j = (share of place j that is among the first q m) / q - 1
    AUTOC:               w_j = 1/j + 1/(j+1) + ... + 1/m - 1           (the mean of the curve over q = 1/m, 2/m, ..., 1)
    Qini:                w_j = (m - j + 1) / m - (m + 1) / (2 m)       (the mean of q times the curve)

Weights sum to 0, so a constant added to all scores changes nothing. Equal priorities share the mean of their weights,
which is the average over all orders of the tied.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RankWeighted", "rank_weighted"]

Floats = NDArray[np.float64]


class RankWeighted(NamedTuple):
    """Statistics of one ranking of m patients.

    Attributes
    ----------
    value
        AUTOC, Qini, then the curve at each share, shape (2 + number of shares,).
    influence
        Of each patient on each, in the order given, shape (2 + number of shares, m); each sums to 0, and the squared
        standard error is ``sum(influence**2) / (m (m - 1))``. Of AUTOC and Qini it is the exact jackknife,
        ``(m - 1)(mean over k of value without k - value without i)``. Of the curve it is ``w_i (S_i - s)``, centred, s the mean
        score about the place where the share ends: who leaves lets the next one in, and the single score that the
        jackknife would take for that mean is so noisy that the error comes out up to 1.4 times too large.
    """

    value: Floats
    influence: Floats


def rank_weighted(score: Floats, priority: Floats, shares: Floats) -> RankWeighted:
    """Return AUTOC, Qini and the targeting curve of scores ranked by a priority, with influences.

    Parameters
    ----------
    score, priority
        Doubly robust scores, and what patients are ranked by (highest first), each of shape (m,), m at least 2.
    shares
        Where the curve is read, each in (0, 1].

    References
    ----------
    Yadlowsky S, Fleming S, Shah N, Brunskill E, Wager S. Evaluating treatment prioritization rules via rank-weighted
    average treatment effects. J Am Stat Assoc 2025;120:38-51.
    """
    m = score.size
    order = np.argsort(-priority, kind="stable")
    ordered, ranked = score[order], priority[order]
    first = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    size = np.diff(np.append(first, m))
    averages, curve = (
        np.repeat(np.add.reduceat(one, first, axis=1) / size, size, axis=1)
        for one in (_average_weights(m), _curve_weights(m, shares))
    )
    total = np.add.reduceat(ordered, first)
    # Without rounding an order of equal priorities would keep a rest of 1e-17 and look like a very small effect.
    averages[np.abs(averages) < 1e-12] = 0.0
    without = _without_each(ordered, total, first, size) / (m - 1)
    at_end = _about(np.repeat(total / size, size), shares)
    moved = curve * (ordered - at_end[:, None])
    influence = np.empty((2 + len(shares), m))
    influence[:2, order] = (m - 1) * (without.mean(axis=1, keepdims=True) - without)
    influence[2:, order] = moved - moved.mean(axis=1, keepdims=True)
    return RankWeighted(np.concatenate((averages @ ordered, curve @ ordered)) / m, influence)


def _average_weights(m: int) -> Floats:
    """Return the weights of places 1 to m for AUTOC and Qini, shape (2, m)."""
    place = np.arange(1, m + 1)
    from_here = np.cumsum(1.0 / place[::-1])[::-1]
    return np.vstack((from_here - 1, (m - place + 1) / m - (m + 1) / (2 * m)))


def _curve_weights(m: int, shares: Floats) -> Floats:
    """Return the weights of places 1 to m for the curve at each share, shape (number of shares, m)."""
    inside = np.clip(shares[:, None] * m - np.arange(m), 0.0, 1.0)
    return np.asarray(inside / shares[:, None] - 1)


def _about(ordered: Floats, shares: Floats) -> Floats:
    """Return the mean score of the places about the end of each share, half a window of m^(-1/5) / 2 on each side."""
    m = ordered.size
    reach = 0.5 * m**-0.2
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    low, high = (
        np.clip(np.round(m * (shares + side)).astype(int), edge, m - 1 + edge)
        for side, edge in ((-reach, 0), (reach, 1))
    )
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _without_each(ordered: Floats, total: Floats, first: NDArray[np.intp], size: NDArray[np.intp]) -> Floats:
    """Return m - 1 times AUTOC and Qini without each patient in turn: those below move up one place, shape (2, m)."""
    last = ordered.size - 1
    less = np.concatenate((np.zeros((2, 1)), np.cumsum(_average_weights(last), axis=1)), axis=1)
    end = first + size
    stay = (less[:, np.minimum(end, last)] - less[:, first]) / size * total
    up = (less[:, end - 1] - less[:, np.maximum(first - 1, 0)]) / size * total
    above = np.cumsum(stay, axis=1) - stay
    below = np.cumsum(up[:, ::-1], axis=1)[:, ::-1] - up
    own = (less[:, end - 1] - less[:, first]) / np.maximum(size - 1, 1)
    group = np.repeat(np.arange(size.size), size)
    return np.asarray((above + below)[:, group] + (total[group] - ordered) * own[:, group])

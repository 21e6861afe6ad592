"""The sums of weighted log-rank tests: one sort, one compiled pass, any number of weights at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trialml.errors import DataError
from trialml.survival.product_limit import fresh_times
from trialml.survival.ties import Array, Codes, Flags, distinct_times

__all__ = ["WeightedSums", "Weighting", "checked_weighting", "weighted_sums"]

Weighting = tuple[float, float]
"""Fleming and Harrington's rho and gamma: the weight at a time is ``S(t-)^rho (1 - S(t-))^gamma``."""


class WeightedSums(NamedTuple):
    """Weighted observed and expected events of k groups under m weights.

    Attributes
    ----------
    observed, expected
        Shape ``(m, k)``.
    covariance
        Of observed less expected, across groups and across weights, shape ``(m, m, k, k)``.
    """

    observed: Array
    expected: Array
    covariance: Array


def checked_weighting(rho: float, gamma: float) -> Weighting:
    """Return the two exponents as floats, or refuse what is not a finite number of at least 0."""
    for name, value in (("rho", rho), ("gamma", gamma)):
        if not (np.isfinite(value) and value >= 0):
            raise DataError(
                f"{name} is {value}, but an exponent of Fleming and Harrington is 0 or more, such as 0 or 1"
            )
    return float(rho), float(gamma)


def weighted_sums(
    time: Array,
    event: Flags,
    codes: Codes,
    groups: int,
    weightings: Sequence[Weighting] = ((0.0, 0.0),),
    *,
    strata: Codes | None = None,
    entry: Array | None = None,
) -> WeightedSums:
    """Return the sums of weighted log-rank tests.

    At an event time with d events among n at risk, of whom ``n_g`` are in group g, the expected events are ``d n_g / n``
    and the covariance is hypergeometric, ``d (n - d) / (n - 1) (n_g / n) (1[g = h] - n_h / n)``. The weight is made of
    the pooled Kaplan-Meier estimate of the stratum just before the time, as in R's ``survdiff``; the covariance of
    two weighted sums takes the product of their weights.

    Parameters
    ----------
    time, event
        Checked follow-up times and flags, shape ``(n,)``.
    codes
        The group of each row, 0 to `groups` - 1.
    groups
        The number of groups.
    weightings
        The exponents rho and gamma of each test; ``(0, 0)`` is the log-rank test.
    strata
        The stratum of each row as a whole number; sums are within strata, then added up.
    entry
        Checked entry times; a row is at risk at t with ``entry < t <= time``.

    Returns
    -------
    WeightedSums

    References
    ----------
    Fleming TR, Harrington DP. Counting Processes and Survival Analysis. Wiley, 1991, chapter 7.
    """
    n = time.size
    # Stratum, group and event in one whole number: in order of time, one array is gathered instead of three.
    cell = (codes if strata is None else strata * groups + codes) * 2
    if entry is None:
        order = np.argsort(time)
        position = np.asarray(np.cumsum(fresh_times(time[order])), dtype=np.intp)
        enter, come = np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    else:
        _, place = distinct_times(np.concatenate((time, entry)))
        order = np.argsort(place[:n], kind="stable")
        position = place[:n][order]
        enter = np.argsort(place[n:], kind="stable")
        come = place[n:][enter]
    marked = (cell + event).astype(np.int32)
    count = 1 if strata is None else int(strata.max()) + 1
    start = np.bincount(cell // 2, minlength=count * groups) if entry is None else np.zeros(count * groups)
    from trialml.survival.curve_passes import weighted_events

    observed, expected, covariance = weighted_events(
        marked[order],
        position,
        cell[enter] // 2,
        come,
        start.astype(float),
        groups,
        np.asarray(weightings, dtype=float),
    )
    return WeightedSums(observed, expected, covariance)

"""The sums of weighted log-rank tests: one sort, one compiled pass, any number of weights at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

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
    stratum = np.zeros(n, dtype=np.intp) if strata is None else strata
    exponents = np.asarray(weightings, dtype=float)
    if entry is None:
        order, position = _by_stratum_and_time(time, stratum)
        enter, come = np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    else:
        _, place = distinct_times(np.concatenate((time, entry)))
        order = np.lexsort((place[:n], stratum))
        position = place[:n][order]
        enter = np.lexsort((place[n:], stratum))
        come = place[n:][enter]
    observed, expected, covariance = _compiled()(
        codes[order], event[order], stratum[order], position, codes[enter], stratum[enter], come, groups, exponents
    )
    return WeightedSums(observed, expected, covariance)


def _by_stratum_and_time(time: Array, stratum: Codes) -> tuple[Codes, Codes]:
    order = np.argsort(time)
    position = np.asarray(np.cumsum(fresh_times(time[order])), dtype=np.intp)
    if stratum.max() > 0:
        # Whole numbers of 16 bits are sorted by their digits, which keeps the order of times within a stratum.
        small = stratum.astype(np.int16) if stratum.max() < 2**15 else stratum
        within = np.argsort(small[order], kind="stable")
        order, position = order[within], position[within]
    return order, position


@functools.cache
def _compiled() -> Any:
    from numba import njit

    return njit(cache=True)(_walk)


def _walk(  # noqa: C901, PLR0912  (one compiled pass)
    group: Codes,
    event: Flags,
    stratum: Codes,
    position: Codes,
    entering: Codes,
    entering_stratum: Codes,
    come: Codes,
    groups: int,
    exponents: Array,
) -> tuple[Array, Array, Array]:
    m, n = exponents.shape[0], group.size
    observed, expected = np.zeros((m, groups)), np.zeros((m, groups))
    covariance = np.zeros((m, m, groups, groups))
    at_risk, dead, gone = np.zeros(groups), np.zeros(groups), np.zeros(groups)
    weight = np.ones(m)
    first, e = 0, 0
    while first < n:
        end = first
        at_risk[:] = 0.0
        while end < n and stratum[end] == stratum[first]:
            if entering.size == 0:
                at_risk[group[end]] += 1
            end += 1
        survival = 1.0
        i = first
        while i < end:
            while e < entering.size and entering_stratum[e] == stratum[first] and come[e] < position[i]:
                at_risk[entering[e]] += 1
                e += 1
            dead[:] = 0.0
            gone[:] = 0.0
            now = position[i]
            while i < end and position[i] == now:
                gone[group[i]] += 1
                if event[i]:
                    dead[group[i]] += 1
                i += 1
            d = dead.sum()
            if d > 0:
                total = at_risk.sum()
                spread = d * (total - d) / max(total - 1, 1.0) / total
                for a in range(m):
                    weight[a] = survival ** exponents[a, 0] * (1 - survival) ** exponents[a, 1]
                    for g in range(groups):
                        observed[a, g] += weight[a] * dead[g]
                        expected[a, g] += weight[a] * d * at_risk[g] / total
                for a in range(m):
                    for b in range(m):
                        both = weight[a] * weight[b] * spread
                        for g in range(groups):
                            covariance[a, b, g, g] += both * at_risk[g]
                            for h in range(groups):
                                covariance[a, b, g, h] -= both * at_risk[g] * at_risk[h] / total
                survival *= (total - d) / total
            at_risk -= gone
        first = end
    return observed, expected, covariance

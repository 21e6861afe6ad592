"""Tests of the hypothesis that neither the subgroup nor the full population has an effect, compiled.

Import inside functions, since it imports numba. Everything stands on the scale of z: the z of an intersection is
that whose upper tail is the intersection's one-sided p-value, which keeps digits where p is tiny.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trialml.survival.compile import compiled

__all__ = ["TESTS", "intersection_z", "upper_tail"]

BONFERRONI, SIMES, SIDAK, SPIESSENS_DEBOIS, SUBGROUP_FIRST, FULL_FIRST = range(6)

TESTS = {
    "bonferroni": BONFERRONI,
    "simes": SIMES,
    "sidak": SIDAK,
    "spiessens-debois": SPIESSENS_DEBOIS,
    "subgroup-first": SUBGROUP_FIRST,
    "full-first": FULL_FIRST,
}
"""Codes of the tests by name."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


@compiled("float64(float64)")
def upper_tail(z: Any) -> Any:
    """Return the upper tail of the standard normal distribution."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


@compiled("float64(float64, float64)")
def _z_of_tail(p: Any, start: Any) -> Any:
    """Return the z whose upper tail is `p`, by Newton's method from a `start` at or above it.

    The logarithm of the tail is concave, so that the steps approach the root from above and never pass it.
    """
    if p >= 1.0:
        return -np.inf
    z = start
    for _ in range(200):
        q = upper_tail(z)
        if q <= 0.0:
            return start
        move = math.log(q / p) * q * math.sqrt(2.0 * math.pi) * math.exp(0.5 * z * z)
        z += move
        if abs(move) < 1e-13 * max(1.0, abs(z)):
            break
    return z


@compiled("float64(float64, float64)")
def _both_above(z: Any, correlation: Any) -> Any:
    """Return the probability that two standard normal variables are above `z` (Plackett's integral over the angle)."""
    angle = math.asin(correlation)
    total = 0.0
    for k in range(_NODES.size):
        total += _WEIGHTS[k] * math.exp(-z * z / (1.0 + math.sin(angle * (1.0 + _NODES[k]) / 2.0)))
    q = upper_tail(z)
    return q * q + total * angle / (4.0 * math.pi)


@compiled("float64(int64, float64, float64, float64)")
def intersection_z(test: Any, z_subgroup: Any, z_full: Any, correlation: Any) -> Any:
    """Return the z of the hypothesis of no effect in either population.

    A population without a statistic (NaN) has been dropped: the other one's z is the intersection's. With p the
    one-sided p-values, the intersection's p is ``min(1, 2 min p)`` (Bonferroni), ``min(2 min p, max p)`` (Simes),
    ``1 - (1 - min p)**2`` (Sidak), the probability that the larger of two normal variables of this correlation
    exceeds the larger z (Spiessens-Debois), or the p-value of the population that is tested first.

    Parameters
    ----------
    test
        A value of `TESTS`.
    z_subgroup, z_full
        z of the stage, positive in favour of the experimental arm.
    correlation
        Of the two, for Spiessens-Debois: the root of the subgroup's share of the information.
    """
    if math.isnan(z_subgroup):
        return z_full
    if math.isnan(z_full):
        return z_subgroup
    if test == SUBGROUP_FIRST:
        return z_subgroup
    if test == FULL_FIRST:
        return z_full
    high, low = max(z_subgroup, z_full), min(z_subgroup, z_full)
    p = upper_tail(high)
    if test == SIMES and upper_tail(low) <= 2.0 * p:
        return low
    if test == SIDAK:
        return _z_of_tail(p * (2.0 - p), high)
    if test == SPIESSENS_DEBOIS:
        return _z_of_tail(2.0 * p - _both_above(high, correlation), high)
    return _z_of_tail(2.0 * p, high)

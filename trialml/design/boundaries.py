"""Solving for the bounds of a sequential trial, by spending, by shape or with a constant at the interim looks.

Look by look, an upper bound comes from the paths that go on, and a lower one from the same paths under a drift. What
stops below is a rule of its own, so that each family of efficacy bounds meets each kind of futility bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from trialml.design.integration import START, Paths, advance, bound_above, bound_below, exits
from trialml.errors import AnalysisError

__all__ = [
    "Boundary",
    "constant_bounds",
    "drift_of_power",
    "fixed_below",
    "mirrored",
    "never",
    "nominal_p",
    "shaped_bounds",
    "spending_below",
    "spending_bounds",
    "spent_without_effect",
    "with_futility",
    "with_spent_beta",
]

Vector = NDArray[np.float64]
Upper = Callable[[int, Paths], float]
Lower = Callable[[int, Paths, float], float]

_LEAST_SPENT = 1e-60


class Boundary(NamedTuple):
    """The limits of a trial, and the paths that come to each look when it stops at both.

    Attributes
    ----------
    information
        Shape (looks,): in any unit, commonly as a fraction of the planned maximum.
    upper, lower
        Shape (looks,): limits on z, a lower one of minus infinity where the trial is not stopped below.
    paths
        One for each look: what goes on before it.
    """

    information: Vector
    upper: Vector
    lower: Vector
    paths: tuple[Paths, ...]

    def exits(self, drift: Vector) -> Vector:
        """Return the probability that each look is the one that rejects, shape (m, looks), for m drifts."""
        bounds = self.upper * np.sqrt(self.information)
        columns = [
            exits(paths, float(t), float(bound), drift)
            for paths, t, bound in zip(self.paths, self.information, bounds, strict=True)
        ]
        return np.column_stack(columns)


Efficacy = Callable[[Vector, Lower], Boundary]
"""A family of efficacy bounds: from information and what stops below to the bounds that keep alpha under it."""


def never(_look: int, _paths: Paths, _upper: float) -> float:
    """Stop at no lower limit."""
    return -math.inf


def mirrored(_look: int, _paths: Paths, upper: float) -> float:
    """Stop at the upper limit's mirror image: the symmetric two-sided test."""
    return -upper


def fixed_below(values: Sequence[float]) -> Lower:
    """Return the rule that stops at given z values, and at none where they have come to an end."""
    return lambda look, _paths, _upper: values[look] if look < len(values) else -math.inf


def spending_below(
    information: Vector, cumulative: Sequence[float], drift: float, *, to_the_end: bool = False
) -> Lower:
    """Return the rule that stops below with a spent probability under a drift.

    Parameters
    ----------
    information
        Shape (looks,).
    cumulative
        The probability spent up to and with each look.
    drift
        The mean of the motion per unit of information under which it is spent.
    to_the_end
        Whether the last look has such a lower limit too; otherwise it is the upper limit there.
    """
    spends = np.diff(np.asarray(cumulative, dtype=float), prepend=0.0)
    last = len(information) - 1

    def stop(look: int, paths: Paths, upper: float) -> float:
        if look == last and not to_the_end:
            return upper
        spend, t = float(spends[look]), float(information[look])
        if spend < _LEAST_SPENT:
            return -math.inf
        start = float(ndtri(spend)) + drift * math.sqrt(t)
        return min(bound_below(paths, t, spend, start, drift), upper)

    return stop


def _march(information: Vector, upper: Upper, lower: Lower) -> Boundary:
    """Find the limits look by look, each from the paths that those before it leave."""
    high, low, before = np.empty(len(information)), np.empty(len(information)), [START]
    for look, t in enumerate(information):
        paths = before[-1]
        high[look] = upper(look, paths)
        low[look] = lower(look, paths, float(high[look]))
        if look + 1 < len(information):
            scale = math.sqrt(t)
            following = float(information[look + 1])
            before.append(advance(paths, float(t), float(low[look]) * scale, float(high[look]) * scale, following))
    return Boundary(information, high, low, tuple(before))


def _given(values: Sequence[float] | Vector) -> Upper:
    return lambda look, _paths: float(values[look])


def spending_bounds(cumulative_alpha: Sequence[float]) -> Efficacy:
    """Return the family of bounds that spend a given cumulative one-sided alpha.

    Parameters
    ----------
    cumulative_alpha
        Alpha spent up to and with each look, increasing.

    Raises
    ------
    AnalysisError
        When its bounds are computed, if a look spends less than 1e-60 of alpha.
    """
    spends = np.diff(np.asarray(cumulative_alpha, dtype=float), prepend=0.0)

    def bounds(information: Vector, lower: Lower) -> Boundary:
        if not np.all(spends >= _LEAST_SPENT):
            place = int(np.argmin(spends))
            raise AnalysisError(
                f"the look at information fraction {information[place]:g} would spend practically no alpha: move it "
                "to more information or leave it out"
            )

        def upper(look: int, paths: Paths) -> float:
            start = float(-ndtri(cumulative_alpha[look]))
            return bound_above(paths, float(information[look]), float(spends[look]), start)

        return _march(information, upper, lower)

    return bounds


def shaped_bounds(exponent: float, alpha: float) -> Efficacy:
    """Return the family of bounds ``C * t ** (exponent - 1/2)`` of Wang and Tsiatis, with C such that alpha is kept.

    Parameters
    ----------
    exponent
        0 gives O'Brien and Fleming's bounds, 1/2 Pocock's.
    alpha
        One-sided.

    References
    ----------
    Wang, S. K. and Tsiatis, A. A. (1987). Approximately optimal one-parameter boundaries for group sequential trials.
    Biometrics 43, 193-199.
    """

    def bounds(information: Vector, lower: Lower) -> Boundary:
        shape = (information / information[-1]) ** (exponent - 0.5)

        def excess(constant: float) -> float:
            spent = _march(information, _given(constant * shape), lower).exits(np.zeros(1)).sum()
            return float(ndtri(max(spent, 1e-300)) - ndtri(alpha))  # nearly linear on the scale of z

        low = float(-ndtri(alpha))
        # Bonferroni's bounds keep alpha; where a binding futility bound spares alpha the constant may be lower.
        high = float(-ndtri(alpha / len(information))) / min(1.0, float(shape.min())) + 1e-9
        while excess(low) < 0 and low > 1e-3:
            low, high = low / 2, low
        constant = float(brentq(excess, low - 1e-9, high, xtol=1e-12, rtol=1e-14))
        return _march(information, _given(constant * shape), lower)

    return bounds


def constant_bounds(constant: float, alpha: float) -> Efficacy:
    """Return the bounds of Haybittle and Peto: a constant at the interim looks, and what is left of alpha at the end.

    Parameters
    ----------
    constant
        The z at which an interim look rejects.
    alpha
        One-sided.

    Raises
    ------
    AnalysisError
        When its bounds are computed, if the interim looks spend all alpha.

    References
    ----------
    Haybittle, J. L. (1971). Repeated assessment of results in clinical trials of cancer treatment. British Journal of
    Radiology 44, 793-797. Peto, R. and others (1976). Design and analysis of randomized clinical trials requiring
    prolonged observation of each patient. British Journal of Cancer 34, 585-612.
    """

    def bounds(information: Vector, lower: Lower) -> Boundary:
        spent, last = 0.0, len(information) - 1

        def upper(look: int, paths: Paths) -> float:
            nonlocal spent
            t = float(information[look])
            if look < last:
                spent += float(exits(paths, t, constant * math.sqrt(t), np.zeros(1))[0])
                return constant
            if spent >= alpha - _LEAST_SPENT:
                raise AnalysisError(
                    f"interim looks at z of {constant:g} spend {spent:.3g}, and so all of the one-sided alpha of "
                    f"{alpha:g}: give a larger constant, 3 by custom"
                )
            return bound_above(paths, t, alpha - spent, float(-ndtri(alpha)))

        return _march(information, upper, lower)

    return bounds


def with_futility(information: Vector, efficacy: Efficacy, lower: Lower, *, binding: bool) -> Boundary:
    """Return bounds that stop below too.

    Parameters
    ----------
    information
        Shape (looks,).
    efficacy
        The family of the upper bounds.
    lower
        What stops below.
    binding
        Whether the upper bounds count on that; otherwise they keep alpha without it.
    """
    if binding:
        return efficacy(information, lower)
    return _march(information, _given(efficacy(information, never).upper), lower)


def with_spent_beta(
    information: Vector,
    efficacy: Efficacy,
    cumulative_beta: Sequence[float],
    power: float,
    fixed_drift: float,
    *,
    binding: bool,
) -> tuple[Boundary, float]:
    """Return bounds whose futility stops spend 1 - power under the drift that gives the power, and that drift.

    Parameters
    ----------
    information
        Shape (looks,), the last 1.
    efficacy, binding
        As for `with_futility`.
    cumulative_beta
        The probability of stopping below up to and with each look; at the last look the limits meet.
    power
        The probability of rejecting under the drift.
    fixed_drift
        The drift of the fixed design, which is a lower limit.
    """
    alone = None if binding else efficacy(information, never)

    def bounds(drift: float) -> Boundary:
        lower = spending_below(information, cumulative_beta, drift)
        return efficacy(information, lower) if alone is None else _march(information, _given(alone.upper), lower)

    drift = _power_root(lambda d: float(bounds(d).exits(np.array([d])).sum()) - power, fixed_drift)
    return bounds(drift), drift


def drift_of_power(boundary: Boundary, power: float, fixed_drift: float) -> float:
    """Return the drift under which fixed bounds reject with probability `power`; `fixed_drift` is a lower limit."""
    return _power_root(lambda d: float(boundary.exits(np.array([d])).sum()) - power, fixed_drift)


def _power_root(shortfall: Callable[[float], float], fixed_drift: float) -> float:
    # Interim looks cost power, never give it: the fixed design's drift is a lower limit.
    low, high = fixed_drift - 1e-9, fixed_drift + 0.25
    while shortfall(high) < 0:
        low, high = high, high + 2 * (high - fixed_drift)
    return float(brentq(shortfall, low, high, xtol=1e-13, rtol=1e-14))


def spent_without_effect(boundary: Boundary) -> Vector:
    """Return the cumulative one-sided alpha that the upper bounds spend, shape (looks,)."""
    return np.cumsum(boundary.exits(np.zeros(1))[0])


def nominal_p(critical_values: Sequence[float] | Vector) -> Vector:
    """Return the one-sided p-values that z values stand for, shape (looks,)."""
    return np.asarray(ndtr(-np.asarray(critical_values, dtype=float)))

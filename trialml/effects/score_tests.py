"""Score tests and their limits for two proportions, on three scales.

The variance of a score test is taken where the likelihood is largest among the pairs of proportions that the null
hypothesis allows. Sample sizes by Farrington and Manning rest on the same pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from trialml.effects.binary import Interval, checked_proportions, restricted_control
from trialml.errors import AnalysisError, nearest
from trialml.survival.intervals import normal_quantile

__all__ = [
    "NULL_VALUES",
    "RateScale",
    "RestrictedRates",
    "check_null",
    "contrast_of",
    "restricted_rates",
    "score_limits",
    "score_z",
]

RateScale = Literal["risk difference", "risk ratio", "odds ratio"]

NULL_VALUES: dict[RateScale, float] = {"risk difference": 0.0, "risk ratio": 1.0, "odds ratio": 1.0}
"""No effect on each scale."""


class RestrictedRates(NamedTuple):
    """Proportions of maximum likelihood under a null hypothesis.

    Attributes
    ----------
    experimental, control
        The two proportions.
    """

    experimental: float
    control: float


def check_null(scale: str, null: float) -> None:
    """Refuse a scale that is not known, and a null value that the scale does not have.

    Raises
    ------
    AnalysisError
        If the scale has another name, a null difference is not between -1 and 1, or a null ratio is not positive.
    """
    if scale not in NULL_VALUES:
        raise AnalysisError(f"the scale {scale!r} of two rates is not known: {nearest(str(scale), list(NULL_VALUES))}")
    inside = -1 < null < 1 if scale == "risk difference" else 0 < null < math.inf
    if not inside:
        wanted = "between -1 and 1" if scale == "risk difference" else "above 0"
        raise AnalysisError(f"the {scale} under the null hypothesis is {null:g}: give a finite number {wanted}")


def contrast_of(experimental: float, control: float, scale: RateScale) -> float:
    """Return the contrast of two proportions on a scale; infinite or NaN where a denominator is 0."""
    if scale == "risk difference":
        return experimental - control
    above, below = experimental, control
    if scale == "odds ratio":
        above, below = experimental * (1 - control), control * (1 - experimental)
    if below == 0:
        return math.inf if above > 0 else math.nan
    return above / below


def restricted_rates(
    experimental: float, control: float, weights: tuple[float, float], null: float, scale: RateScale
) -> RestrictedRates:
    """Return the maximum likelihood proportions where their contrast is `null`.

    Parameters
    ----------
    experimental, control
        The proportions, observed or assumed.
    weights
        Patients, experimental and control; only their ratio counts.
    null
        The contrast under the null hypothesis.
    scale
        ``"risk difference"`` (root of a cubic), ``"risk ratio"`` or ``"odds ratio"`` (roots of quadratics).

    Returns
    -------
    RestrictedRates
        At the null value of no effect both are the pooled proportion.

    References
    ----------
    Farrington CP, Manning G. Test statistics and sample size formulae for comparative binomial trials with null
    hypothesis of non-zero risk difference or non-unity relative risk. Stat Med 1990;9:1447-1454.
    Miettinen O, Nurminen M. Comparative analysis of two rates. Stat Med 1985;4:213-226.
    """
    n1, n0 = weights
    x1, x0 = experimental * n1, control * n0
    if null == NULL_VALUES[scale]:
        pooled = (x1 + x0) / (n1 + n0)
        return RestrictedRates(pooled, pooled)
    if scale == "risk difference":
        base = restricted_control(x1, n1, x0, n0, null)
        return RestrictedRates(base + null, base)
    if scale == "risk ratio":
        b = -(n1 * null + x1 + n0 + x0 * null)
        a = (n1 + n0) * null
        base = (-b - math.sqrt(max(b * b - 4 * a * (x1 + x0), 0.0))) / (2 * a)
        return RestrictedRates(min(null * base, 1.0), base)
    a = n0 * (null - 1)
    b = n1 * null + n0 - (x1 + x0) * (null - 1)
    # The root in this form has no difference of nearly equal numbers where the null is near 1.
    base = 2 * (x1 + x0) / (b + math.sqrt(max(b * b + 4 * a * (x1 + x0), 0.0)))
    return RestrictedRates(null * base / (1 + base * (null - 1)), base)


def score_z(
    x1: int, n1: int, x0: int, n0: int, *, null: float | None = None, scale: RateScale = "risk difference"
) -> float:
    """Return the score statistic of two proportions against a null value, without correction for continuity or bias.

    Parameters
    ----------
    x1, n1, x0, n0
        Events and patients, experimental and control.
    null
        The contrast under the null hypothesis; no effect where not given.
    scale
        ``"risk difference"``, ``"risk ratio"`` or ``"odds ratio"``.

    Returns
    -------
    float
        Standard normal under the null; positive where the experimental arm has more events than the null says. For
        the odds ratio it is ``(x1 - n1 q1) sqrt(1 / (n1 q1 (1 - q1)) + 1 / (n0 q0 (1 - q0)))`` with q restricted;
        0 where the restricted variance is 0 and so is the difference.

    Raises
    ------
    DataError
        If a count is no count.
    AnalysisError
        If the null value does not fit the scale.

    References
    ----------
    Farrington and Manning (1990); Miettinen and Nurminen (1985), see `restricted_rates`.
    """
    value = NULL_VALUES.get(scale, 0.0) if null is None else null
    check_null(scale, value)
    p1, p0 = checked_proportions(x1, n1, x0, n0)
    return _score(p1, n1, p0, n0, value, scale)


def _score(p1: float, n1: int, p0: float, n0: int, null: float, scale: RateScale) -> float:
    q1, q0 = restricted_rates(p1, p0, (n1, n0), null, scale)
    v1, v0 = q1 * (1 - q1), q0 * (1 - q0)
    if scale == "odds ratio":
        distance = n1 * (p1 - q1)
        squared = 1 / (1 / (n1 * v1) + 1 / (n0 * v0)) if v1 > 0 and v0 > 0 else 0.0
    else:
        factor = 1.0 if scale == "risk difference" else null
        distance = p1 - factor * p0 - (null if scale == "risk difference" else 0.0)
        squared = v1 / n1 + factor**2 * v0 / n0
    if squared <= 0:
        return 0.0 if abs(distance) < 1e-12 else math.copysign(math.inf, distance)
    return distance / math.sqrt(squared)


def score_limits(
    x1: int, n1: int, x0: int, n0: int, *, scale: RateScale = "risk difference", level: float = 0.95
) -> Interval:
    """Return the null values that a two-sided score test does not reject.

    Parameters
    ----------
    x1, n1, x0, n0
        Events and patients, experimental and control.
    scale
        ``"risk difference"``, ``"risk ratio"`` or ``"odds ratio"``. For the difference these are Farrington and
        Manning's limits (Mee's), without the factor ``n / (n - 1)`` of Miettinen and Nurminen: see
        `trialml.effects.binary.score_interval` for theirs.
    level
        Confidence level.

    Returns
    -------
    Interval
        Ratios without an event in an arm have limits 0 or infinity.

    Raises
    ------
    DataError
        If a count is no count.
    AnalysisError
        If the scale has another name, or a ratio is asked for where no patient, or every patient, has the event.

    References
    ----------
    Farrington and Manning (1990); Mee RW. Confidence bounds for the difference between two probabilities.
    Biometrics 1984;40:1175-1176.
    """
    check_null(scale, NULL_VALUES.get(scale, 0.0))
    p1, p0 = checked_proportions(x1, n1, x0, n0)
    z = normal_quantile(level)
    if scale != "risk difference" and (x1 + x0 == 0 or (scale == "odds ratio" and x1 + x0 == n1 + n0)):
        events = "no patient" if x1 + x0 == 0 else "every patient"
        raise AnalysisError(f"{events} has the event, so the data say nothing of the {scale}: use the risk difference")

    def excess(place: float) -> float:
        null = place if scale == "risk difference" else math.exp(place)
        return _score(p1, n1, p0, n0, null, scale)

    estimate = contrast_of(p1, p0, scale)
    if scale == "risk difference":
        return Interval(_limit(excess, estimate, -1 + 1e-12, z), _limit(excess, estimate, 1 - 1e-12, -z))
    middle = math.log(estimate) if 0 < estimate < math.inf else math.copysign(_FAR, estimate - 1)
    low, high = _limit(excess, middle, -_FAR, z), _limit(excess, middle, _FAR, -z)
    return Interval(0.0 if low <= -_FAR else math.exp(low), math.inf if high >= _FAR else math.exp(high))


_FAR = 30.0  # a log ratio beyond which nothing is told from 0 or infinity


def _limit(excess: Callable[[float], float], estimate: float, end: float, goal: float) -> float:
    from scipy.optimize import brentq

    # The score falls as the null rises; at the estimate it is 0.
    if abs(excess(end)) <= abs(goal) or (end - estimate) * (1 if goal < 0 else -1) <= 0:
        return end
    return float(
        brentq(lambda null: excess(null) - goal, min(estimate, end), max(estimate, end), xtol=1e-14, rtol=1e-14)
    )

"""A binary endpoint in two arms: risk difference, risk ratio and odds ratio, plain and Mantel-Haenszel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.endpoint_contrast import EndpointContrast, not_estimable, ratio_estimate
from trialml.effects.two_arms import checked_cells, checked_outcome
from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate
from trialml.survival.intervals import normal_quantile, wilson_limits

__all__ = [
    "BinaryContrast",
    "Interval",
    "MantelHaenszel",
    "binary_contrast",
    "checked_proportions",
    "mantel_haenszel",
    "newcombe_interval",
    "restricted_control",
    "score_interval",
]

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Confidence limits."""

    low: float
    high: float


class MantelHaenszel(NamedTuple):
    """Mantel-Haenszel estimates over strata; ratios with the standard error of their logarithm, NaN where there is none.

    Attributes
    ----------
    difference, difference_se, difference_low, difference_high
        The risk difference, Sato's standard error and Klingenberg's limits; NaN but for the difference where in every
        stratum all patients or none had the event, since the variance is 0 there.
    ratio, ratio_se
        The risk ratio and Greenland and Robins' standard error.
    odds_ratio, odds_ratio_se
        The odds ratio and Robins, Breslow and Greenland's standard error.
    chi_square
        Cochran, Mantel and Haenszel's, without continuity correction, one degree of freedom; also where the odds ratio is
        infinite or 0. NaN where no stratum has both events and non-events.
    strata, unused
        Strata in all, and patients in strata with an empty arm, which tell nothing.
    """

    difference: float
    difference_se: float
    difference_low: float
    difference_high: float
    ratio: float
    ratio_se: float
    odds_ratio: float
    odds_ratio_se: float
    chi_square: float
    strata: int
    unused: int


@dataclass(frozen=True, eq=False)
class BinaryContrast(EndpointContrast):
    """The contrast of a binary endpoint."""

    title = "Effect of treatment on a binary endpoint"
    methods = (
        "Risk differences have score limits of Newcombe's hybrid method, risk ratios and odds ratios limits on the log scale; "
        "stratified estimates are Mantel-Haenszel's, with Klingenberg's limits for the difference, Greenland and Robins' "
        "variance for the risk ratio and Robins, Breslow and Greenland's for the odds ratio. The Mantel-Haenszel odds ratio is "
        "conditional on the strata, and so not comparable with the marginal one."
    )
    references = (
        "Newcombe RG. Interval estimation for the difference between independent proportions: comparison of eleven methods. "
        "Stat Med 1998;17:873-890.",
        "Mantel N, Haenszel W. Statistical aspects of the analysis of data from retrospective studies of disease. "
        "J Natl Cancer Inst 1959;22:719-748.",
        "Sato T. On the variance estimator for the Mantel-Haenszel risk difference. Biometrics 1989;45:1323-1324.",
        "Klingenberg B. A new and improved confidence interval for the Mantel-Haenszel risk difference. Stat Med "
        "2014;33:2968-2983.",
        "Greenland S, Robins JM. Estimation of a common effect parameter from sparse follow-up data. Biometrics "
        "1985;41:55-68.",
        "Robins J, Breslow N, Greenland S. Estimators of the Mantel-Haenszel variance consistent in both sparse data and "
        "large-strata limiting models. Biometrics 1986;42:311-323.",
    )


def newcombe_interval(x1: int, n1: int, x0: int, n0: int, level: float = 0.95) -> Interval:
    """Return Newcombe's hybrid score limits (his method 10) of a difference of two independent proportions.

    Parameters
    ----------
    x1, n1, x0, n0
        Events and patients, experimental and control.
    level
        Confidence level.

    Returns
    -------
    Interval
        With Wilson's limits l, u of each proportion p: ``d - sqrt((p1 - l1)^2 + (u0 - p0)^2)`` and
        ``d + sqrt((u1 - p1)^2 + (p0 - l0)^2)``; no continuity correction. Defined with no event at all.

    References
    ----------
    Newcombe RG. Stat Med 1998;17:873-890.
    """
    p1, p0 = checked_proportions(x1, n1, x0, n0)
    z = normal_quantile(level)
    low1, high1 = wilson_limits(p1, n1, z)
    low0, high0 = wilson_limits(p0, n0, z)
    d = p1 - p0
    return Interval(d - math.hypot(p1 - low1, high0 - p0), d + math.hypot(high1 - p1, p0 - low0))


def score_interval(x1: int, n1: int, x0: int, n0: int, level: float = 0.95) -> Interval:
    """Return Miettinen and Nurminen's score limits of a difference of two independent proportions.

    Parameters
    ----------
    x1, n1, x0, n0
        Events and patients, experimental and control.
    level
        Confidence level.

    Returns
    -------
    Interval
        The differences t that ``(d - t)^2 / (V(t) n / (n - 1))`` does not reject, V the variance at the maximum of
        the likelihood restricted to a difference of t (root of a cubic). The ends -1 and 1 are returned where the
        test rejects nothing on that side.

    References
    ----------
    Miettinen O, Nurminen M. Comparative analysis of two rates. Stat Med 1985;4:213-226.
    """
    p1, p0 = checked_proportions(x1, n1, x0, n0)
    d, critical = p1 - p0, normal_quantile(level) ** 2

    def excess(t: float) -> float:
        base = restricted_control(x1, n1, x0, n0, t)
        both = base + t
        variance = (both * (1 - both) / n1 + base * (1 - base) / n0) * (n1 + n0) / (n1 + n0 - 1)
        return (d - t) ** 2 - critical * max(variance, 0.0)

    return Interval(_score_limit(excess, d, -1.0), _score_limit(excess, d, 1.0))


def _score_limit(excess: Callable[[float], float], d: float, end: float) -> float:
    """Return where `excess` turns positive between the estimate and the `end`, or the end where it never does."""
    from scipy.optimize import brentq

    # At the estimate itself the variance is 0 where both proportions are 0 or 1, which is no limit: start beside it.
    start, edge = d + math.copysign(1e-9, end), math.copysign(1 - 1e-12, end)
    if start * end >= abs(edge) or excess(edge) <= 0:
        return end
    return float(brentq(excess, start, edge, xtol=1e-14, rtol=1e-14))


def restricted_control(x1: float, n1: float, x0: float, n0: float, t: float) -> float:
    """Return the control's proportion that maximises the likelihood where the difference is `t`."""
    n, x = n1 + n0, x1 + x0
    cubic = (n, (n + n0) * t - n - x, (n0 * t - n - 2 * x0) * t + x, x0 * t * (1 - t))
    l3, l2, l1, l0 = cubic
    q = l2**3 / (3 * l3) ** 3 - l1 * l2 / (6 * l3**2) + l0 / (2 * l3)
    p = math.copysign(math.sqrt(max(l2**2 / (3 * l3) ** 2 - l1 / (3 * l3), 0.0)), q)
    angle = (math.pi + math.acos(min(1.0, max(-1.0, q / p**3 if p else 1.0)))) / 3
    return min(max(2 * p * math.cos(angle) - l2 / (3 * l3), 0.0, -t), 1.0, 1.0 - t)


def checked_proportions(x1: int, n1: int, x0: int, n0: int) -> tuple[float, float]:
    """Return the proportions of events, experimental and control, refusing what is no count of patients."""
    for events, patients in ((x1, n1), (x0, n0)):
        if patients < 1 or not 0 <= events <= patients:
            raise DataError(
                f"{events} events in {patients} patients is no proportion: give counts with 0 <= x <= n, n > 0"
            )
    return x1 / n1, x0 / n0


def mantel_haenszel(x1: Any, n1: Any, x0: Any, n0: Any, level: float = 0.95) -> MantelHaenszel:
    """Return Mantel-Haenszel estimates of counts in strata.

    Parameters
    ----------
    x1, n1, x0, n0
        Events and patients by stratum, experimental and control; each of shape (k,). A stratum with an empty arm
        has weight 0.
    level
        Of the limits of the difference.

    Returns
    -------
    MantelHaenszel
        The difference's limits solve ``(estimate - t)^2 = z^2 (t P + Q)``, where ``t P + Q`` is Sato's variance at
        a difference of t. The odds ratio is statsmodels'.

    Raises
    ------
    DataError
        If the shapes differ or a count is no count.
    AnalysisError
        If every stratum has an empty arm.
    """
    counts = [np.asarray(one, dtype=np.float64) for one in (x1, n1, x0, n0)]
    if len({one.shape for one in counts}) != 1 or counts[0].ndim != 1:
        raise DataError("x1, n1, x0 and n0 differ in shape: pass one count a stratum for each")
    a, m1, b, m0 = counts
    if (
        not all(np.isfinite(one).all() for one in counts)
        or any((one != np.round(one)).any() for one in counts)
        or (np.minimum(a, b) < 0).any()
        or (a > m1).any()
        or (b > m0).any()
    ):
        raise DataError("a stratum has more events than patients, or a count that is none: check the counts")
    used = (m1 > 0) & (m0 > 0)
    if not used.any():
        raise AnalysisError("every stratum has an empty arm, so no stratum compares the arms: use coarser strata")
    unused = int((m1 + m0)[~used].sum())
    a, m1, b, m0 = (one[used] for one in (a, m1, b, m0))
    difference = _difference(a, m1, b, m0, normal_quantile(level))
    return MantelHaenszel(
        *difference, *_ratio(a, m1, b, m0), *_odds(a, m1, b, m0), _chi_square(a, m1, b, m0), len(used), unused
    )


def _difference(a: Floats, m1: Floats, b: Floats, m0: Floats, z: float) -> tuple[float, float, float, float]:
    n = m1 + m0
    total = float((m1 * m0 / n).sum())
    value = float(((a * m0 - b * m1) / n).sum()) / total
    slope = float(((m1**2 * b - m0**2 * a + m1 * m0 * (m0 - m1) / 2) / n**2).sum()) / total**2
    base = float(((a * (m0 - b) + b * (m1 - a)) / (2 * n)).sum()) / total**2
    if base <= 0:  # all or nothing in every stratum: a variance of 0 would give limits of no width
        return value, math.nan, math.nan, math.nan
    middle = value + z**2 * slope / 2
    half = math.sqrt(max(middle**2 - value**2 + z**2 * base, 0.0))
    return value, math.sqrt(max(value * slope + base, 0.0)) or math.nan, middle - half, middle + half


def _ratio(a: Floats, m1: Floats, b: Floats, m0: Floats) -> tuple[float, float]:
    n = m1 + m0
    above, below = float((a * m0 / n).sum()), float((b * m1 / n).sum())
    if above <= 0 or below <= 0:
        return math.nan, math.nan
    variance = float((((a + b) * m1 * m0 - a * b * n) / n**2).sum()) / (above * below)
    return above / below, math.sqrt(variance) if variance > 0 else math.nan


def _odds(a: Floats, m1: Floats, b: Floats, m0: Floats) -> tuple[float, float]:
    from statsmodels.stats.contingency_tables import StratifiedTable

    n = m1 + m0
    if not (a * (m0 - b) / n).sum() > 0 or not (b * (m1 - a) / n).sum() > 0:
        return math.nan, math.nan
    tables = [np.array([[p, q], [r, s]]) for p, q, r, s in zip(a, m1 - a, b, m0 - b, strict=True)]
    pooled = StratifiedTable(tables)
    return float(pooled.oddsratio_pooled), float(pooled.logodds_pooled_se)


def _chi_square(a: Floats, m1: Floats, b: Floats, m0: Floats) -> float:
    n, events = m1 + m0, a + b
    variance = float((m1 * m0 * events * (n - events) / (n**2 * (n - 1))).sum())
    return float((a - m1 * events / n).sum()) ** 2 / variance if variance > 0 else math.nan


def binary_contrast(
    outcome: Any,
    treated: Any,
    *,
    strata: Any = None,
    names: tuple[str, str] = ("control", "experimental"),
    label: str = "Event",
    level: float = 0.95,
) -> BinaryContrast:
    """Compare a binary outcome between two arms.

    Parameters
    ----------
    outcome
        1 or True where it happened, shape (n,), without missing values.
    treated
        True in the experimental arm, shape (n,).
    strata
        The stratification cell of each patient, shape (n,); adds the Mantel-Haenszel estimates.
    names, label
        Words for control and experimental arm, and for the outcome.
    level
        Confidence level.

    Returns
    -------
    BinaryContrast
        ``risk_difference`` (Newcombe), ``risk_difference_score`` (Miettinen and Nurminen), ``risk_ratio`` (log, Katz)
        and ``odds_ratio`` (log, Woolf), all marginal and unadjusted; with `strata` also ``mh_risk_difference``,
        ``mh_risk_ratio`` and ``mh_odds_ratio``. What an empty cell or a variance of 0
        leaves without limits is NaN and says why.

    Raises
    ------
    DataError, AnalysisError
        If the arrays cannot be used, all patients are in one arm, or every stratum has an empty arm.
    """
    values, arm = checked_outcome(outcome, treated, binary=True)
    x1, n1, x0, n0 = int(values[arm].sum()), int(arm.sum()), int(values[~arm].sum()), int((~arm).sum())
    known: dict[str, Any] = {"n": n1 + n0, "events": x1 + x0, "level": level}
    estimates = _plain(x1, n1, x0, n0, known)
    if strata is not None:
        cells = checked_cells(strata, values.size)
        size = cells.labels.size
        x1s, n1s, x0s, n0s = (
            np.bincount(cells.codes, weights, size) for weights in (values * arm, arm, values * ~arm, ~arm)
        )
        estimates |= _stratified(mantel_haenszel(x1s, n1s, x0s, n0s, level), known)
    rows = [(names[0], n0, x0, x0 / n0), (names[1], n1, x1, x1 / n1)]
    return BinaryContrast(estimates, pd.DataFrame(rows, columns=["arm", "patients", "events", "mean"]), label)


def _plain(x1: int, n1: int, x0: int, n0: int, known: dict[str, Any]) -> dict[str, Estimate]:
    level, z = known["level"], normal_quantile(known["level"])
    p1, p0 = x1 / n1, x0 / n0
    # The score limits do not rest on this error, which is 0 where each arm had all events or none: then there is none.
    se = math.sqrt(p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0) or math.nan
    scale = "risk difference, marginal, unadjusted"
    shown = (
        ("risk_difference", newcombe_interval(x1, n1, x0, n0, level), "Newcombe's hybrid score limits"),
        ("risk_difference_score", score_interval(x1, n1, x0, n0, level), "Miettinen and Nurminen's score limits"),
    )
    estimates = {
        name: Estimate(p1 - p0, low, high, scale=scale, se=se, method=method, **known)
        for name, (low, high), method in shown
    }
    empty = "no event in an arm" if min(x1, x0) == 0 else "an event in every patient of an arm"
    scale = "risk ratio, marginal, unadjusted"
    if min(x1, x0) == 0:
        estimates["risk_ratio"] = not_estimable(scale, empty, **known)
    elif x1 == n1 and x0 == n0:
        estimates["risk_ratio"] = not_estimable(scale, "an event in every patient of both arms", **known)
    else:
        spread = math.sqrt(1 / x1 - 1 / n1 + 1 / x0 - 1 / n0)
        estimates["risk_ratio"] = ratio_estimate(math.log(p1 / p0), spread, z, scale, "log scale", **known)
    scale, cells = "odds ratio, marginal, unadjusted", (x1, n1 - x1, x0, n0 - x0)
    if min(cells) == 0:
        estimates["odds_ratio"] = not_estimable(scale, empty, **known)
    else:
        log_odds, spread = math.log(cells[0] * cells[3] / (cells[1] * cells[2])), math.sqrt(sum(1 / c for c in cells))
        estimates["odds_ratio"] = ratio_estimate(log_odds, spread, z, scale, "log scale, Woolf", **known)
    return estimates


def _stratified(found: MantelHaenszel, known: dict[str, Any]) -> dict[str, Estimate]:
    z = normal_quantile(known["level"])
    over = f"Mantel-Haenszel over {found.strata} strata"
    over += f" ({found.unused} patients in strata with an empty arm tell nothing)" if found.unused else ""
    scale, why = (
        "risk difference, marginal, stratified",
        "all patients or none had the event in each arm of each stratum",
    )
    difference = (
        not_estimable(scale, why, **known)
        if math.isnan(found.difference_low)
        else Estimate(
            found.difference, found.difference_low, found.difference_high, se=found.difference_se, scale=scale,
            method=f"{over}, Klingenberg's limits, Sato's standard error", **known,
        )
    )  # fmt: skip
    estimates = {"mh_risk_difference": difference}
    for name, value, se, scale, variance in (
        ("mh_risk_ratio", found.ratio, found.ratio_se, "risk ratio, marginal, stratified", "Greenland-Robins"),
        ("mh_odds_ratio", found.odds_ratio, found.odds_ratio_se, "odds ratio, conditional on the strata", "Robins-Breslow-Greenland"),
    ):  # fmt: skip
        if math.isnan(se):
            estimates[name] = not_estimable(scale, "no stratum has events and non-events to compare", **known)
        else:
            estimates[name] = ratio_estimate(math.log(value), se, z, scale, f"{over}, {variance}", **known)
    return estimates

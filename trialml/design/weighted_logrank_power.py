"""Effect and variance of weighted log-rank tests under a scenario, and the correlation of several on the same data.

With pi the share of patients at risk and f the density of observed events, the score per patient has mean
``integral w pi_c pi_e / (pi_c + pi_e) (h_c - h_e)`` and variance ``integral w**2 pi_c pi_e / (pi_c + pi_e)**2 f``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.design.arm_curves import ArmCurves, arm_curves, mixture
from trialml.design.refusals import require_finite, require_positive
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError

__all__ = [
    "LogRankWeight",
    "WeightedEffect",
    "fleming_harrington",
    "magirr_burman",
    "score_correlation",
    "weighted_effect",
    "without_effect",
]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class LogRankWeight:
    """The weight of an event, ``S**rho (1 - S)**gamma`` with S the survival of both arms together.

    Attributes
    ----------
    rho, gamma
        Exponents of Fleming and Harrington.
    until_months
        Time since entry after which S stays where it is.
    """

    rho: float = 0.0
    gamma: float = 0.0
    until_months: float = math.inf

    @property
    def name(self) -> str:
        """The test's name in words."""
        if self.until_months < math.inf:
            return f"modestly weighted log-rank, t* {self.until_months:g} months"
        return "log-rank" if self.rho == self.gamma == 0 else f"Fleming-Harrington({self.rho:g}, {self.gamma:g})"

    @property
    def cuts_months(self) -> tuple[float, ...]:
        """The times since entry at which the weight bends."""
        return (self.until_months,) if self.until_months < math.inf else ()

    def at(self, months: Vector, scenario: Scenario) -> Vector:
        """Return the weight at times since entry."""
        survival, _ = mixture(scenario, np.minimum(months, self.until_months))
        share = scenario.experimental_share
        both = (1 - share) * survival[0] + share * survival[1]
        return np.asarray(both**self.rho * (1 - both) ** self.gamma)


def fleming_harrington(rho: float, gamma: float) -> LogRankWeight:
    """Return the weight ``S**rho (1 - S)**gamma``; (0, 0) is the log-rank test.

    Raises
    ------
    AnalysisError
        If an exponent is negative or no finite number.
    """
    return LogRankWeight(require_positive("rho", rho, zero=True), require_positive("gamma", gamma, zero=True))


def magirr_burman(months: float) -> LogRankWeight:
    """Return the modest weight ``1 / S(min(t, months))``.

    Raises
    ------
    AnalysisError
        If `months` is not above 0.

    References
    ----------
    Magirr, D. and Burman, C.-F. (2019). Modestly weighted logrank tests. Statistics in Medicine 38, 3782-3790.
    """
    return LogRankWeight(rho=-1.0, until_months=require_positive("t* of the modest weight in months", months))


class WeightedEffect(NamedTuple):
    """What a weighted log-rank test sees at calendar months, each of the shape of the months.

    Attributes
    ----------
    score
        Mean of the score per patient, positive in favour of the experimental arm.
    variance, null_variance
        Of the score, per patient, under the scenario and where both arms have the average of their hazards.
    hazard_ratio
        The average hazard ratio with these weights.
    """

    score: Vector
    variance: Vector
    null_variance: Vector
    hazard_ratio: Vector

    @property
    def theta(self) -> Vector:
        """The standardised effect, ``score / variance``; z has mean ``theta * sqrt(patients * variance)``."""
        return self.score / self.variance


def without_effect(scenario: Scenario, *, null_hazard: Literal["average", "control"] = "average") -> Scenario:
    """Return the scenario in which both arms have the average of their hazards, or that of the control arm.

    Parameters
    ----------
    scenario
        The assumed truth.
    null_hazard
        ``"average"``, weighted by the arms' shares of the patients within each group, or ``"control"``.

    Returns
    -------
    Scenario
        With a hazard ratio of 1.
    """
    share = scenario.experimental_share if null_hazard == "average" else 0.0
    alike: list[dict[str, Any]] = [
        {
            "control_hazard_per_month": None,
            "hazard_breaks_months": tuple(group.breaks),
            "control_hazards_per_month": tuple((1 - share) * group.control + share * group.experimental),
            "hazard_ratio": 1.0,
            "hazard_ratio_breaks_months": (),
            "hazard_ratios": (),
        }
        for group in scenario.hazard_pieces()
    ]
    if not scenario.groups:
        return dataclasses.replace(scenario, **alike[0])
    groups = tuple(dataclasses.replace(group, **hazards) for group, hazards in zip(scenario.groups, alike, strict=True))
    return dataclasses.replace(scenario, groups=groups)


def _information_density(curves: ArmCurves, share: float) -> Vector:
    """Return, at the nodes, what an event of weight 1 adds to the variance of the score per patient."""
    risk = np.array([1 - share, share])[:, None] * curves.at_risk
    both = risk.sum(axis=0)
    events = (risk * curves.hazard).sum(axis=0)
    return np.where(both > 0, risk[0] * risk[1] * events / np.where(both > 0, both, 1.0) ** 2, 0.0)


def _means(curves: ArmCurves, weight: Vector, share: float) -> tuple[float, float]:
    """Return the mean of the score per patient, and the log hazard ratio that equal arms would average to."""
    both = np.where(curves.at_risk.sum(axis=0) > 0, 1.0, 0.0)
    risk = np.array([1 - share, share])[:, None] * curves.at_risk
    harmonic = np.divide(risk[0] * risk[1], risk.sum(axis=0), out=np.zeros_like(both), where=both > 0)
    faster = curves.hazard[0] - curves.hazard[1]
    even = np.divide(
        curves.at_risk[0] * curves.at_risk[1] / 2, curves.at_risk.sum(axis=0), out=np.zeros_like(both), where=both > 0
    )
    scale = curves.weights @ (weight * _information_density(curves, 0.5))
    return float(curves.weights @ (weight * harmonic * faster)), float(
        -(curves.weights @ (weight * even * faster)) / scale
    )


def weighted_effect(
    scenario: Scenario, calendar_months: ArrayLike, weight: LogRankWeight, patients: float | None = None
) -> WeightedEffect:
    """Return effect and variance of a weighted log-rank test at calendar months, from the asymptotic distribution.

    Parameters
    ----------
    scenario
        The assumed truth; with groups, the test is that of all patients, not stratified.
    calendar_months
        Shape (m,) or scalar: months since the start of recruitment.
    weight
        What an event counts.
    patients
        Number of patients, where the scenario does not say it; nothing but the length of accrual depends on it.

    Returns
    -------
    WeightedEffect
        Of the shape of the months.

    Raises
    ------
    AnalysisError
        If a month is not above 0 or the number of patients is not known.

    References
    ----------
    Yung, G. and Liu, Y. (2020). Sample size and power for the weighted log-rank test and Kaplan-Meier based tests with
    allowance for nonproportional hazards. Biometrics 76, 939-950.
    """
    months = np.asarray(calendar_months, dtype=float)
    share, null = scenario.experimental_share, without_effect(scenario)
    rows = []
    for month in np.atleast_1d(months).ravel():
        curves, without = (
            arm_curves(truth, month, patients, cuts_months=weight.cuts_months) for truth in (scenario, null)
        )
        w, w0 = weight.at(curves.months, scenario), weight.at(without.months, null)
        score, log_ratio = _means(curves, w, share)
        variance = curves.weights @ (w**2 * _information_density(curves, share))
        null_variance = without.weights @ (w0**2 * _information_density(without, share))
        rows.append((score, variance, null_variance, math.exp(log_ratio)))
    return WeightedEffect(*(np.array(column).reshape(months.shape) for column in zip(*rows, strict=True)))


def score_correlation(
    scenario: Scenario, calendar_month: float, weights: tuple[LogRankWeight, ...], patients: float | None = None
) -> Vector:
    """Return the correlations of several weighted log-rank tests on the same patients at one calendar month.

    Parameters
    ----------
    scenario, calendar_month, patients
        As in `weighted_effect`.
    weights
        The tests, m of them.

    Returns
    -------
    ndarray
        Shape (m, m): the covariance of two scores is the integral of the product of their weights.
    """
    if not weights:
        raise AnalysisError("there is no test to combine: give at least one weight")
    share = scenario.experimental_share
    cuts = tuple(month for weight in weights for month in weight.cuts_months)
    curves = arm_curves(scenario, require_finite("the calendar month", calendar_month), patients, cuts_months=cuts)
    w = np.array([weight.at(curves.months, scenario) for weight in weights])
    covariance = (w * (curves.weights * _information_density(curves, share))) @ w.T
    spread = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(spread, spread))

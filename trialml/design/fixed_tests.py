"""Tests of a survival endpoint as they are planned with: what each sees per patient at a calendar month.

With an effect e, a spread s0 of the estimate without effect and s under the scenario, both times the root of the number
of patients, the power of n patients is ``Phi((e sqrt(n) - z s0) / s)`` and n is ``((z s0 + z_power s) / e)**2``.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from trialml.design.average_hazard_ratio import average_hazard_ratio
from trialml.design.scenario import Scenario
from trialml.design.survival_contrasts import milestone_difference, rmst_difference
from trialml.design.weighted_logrank_power import LogRankWeight, score_correlation, weighted_effect, without_effect
from trialml.errors import AnalysisError
from trialml.survival.normal_maximum import tail_of_largest

__all__ = [
    "FixedTest",
    "LachinFoulkesTest",
    "LogRankTest",
    "MaxComboTest",
    "MilestoneTest",
    "PlannedEffect",
    "RestrictedMeanTest",
    "WeightedLogRankTest",
]

Vector = NDArray[np.float64]


class PlannedEffect(NamedTuple):
    """What a test sees under a scenario at a calendar month.

    Attributes
    ----------
    value, scale
        The effect as it is reported, and its scale.
    means
        Shape (m,): effect over its null spread, per root of the number of patients, for each statistic of the test.
    spread
        Spread under the scenario over that without effect.
    correlation
        Shape (m, m), of the statistics.
    """

    value: float
    scale: str
    means: Vector
    spread: float
    correlation: Vector

    def critical_value(self, alpha: float) -> float:
        """Return the z at which the test rejects at one-sided `alpha`."""
        single = -float(ndtri(alpha))
        if len(self.means) == 1:
            return single
        high = -float(ndtri(alpha / len(self.means)))
        if high - single < 1e-9 or tail_of_largest(self.correlation, single).value <= alpha * (1 + 1e-9):
            return single
        found = brentq(lambda z: tail_of_largest(self.correlation, z).value - alpha, single, high, xtol=1e-10)
        return float(found)

    def power(self, patients: float, critical_value: float) -> float:
        """Return the probability of rejection with so many patients."""
        at = (critical_value - self.means * math.sqrt(patients)) / self.spread
        if len(at) == 1:
            return float(ndtr(-at[0]))
        from scipy.stats import multivariate_normal

        settings = {"allow_singular": True, "seed": 0, "maxpts": 1_000_000, "abseps": 1e-7, "releps": 0.0}
        return float(1 - multivariate_normal(np.zeros(len(at)), self.correlation, **settings).cdf(at))

    def patients(self, power: float, critical_value: float) -> float:
        """Return the patients that give a power.

        Raises
        ------
        AnalysisError
            If no statistic of the test has an effect in favour of the experimental arm.
        """
        best = float(self.means.max())
        if best <= 0:
            raise AnalysisError(
                f"the {self.scale} is {self.value:.4g}, which does not favour the experimental arm: "
                "no number of patients shows that, so plan for another effect or a later analysis"
            )
        single = ((critical_value + float(ndtri(power)) * self.spread) / best) ** 2
        if len(self.means) == 1:
            return single
        # The largest statistic rejects whenever the best one alone does, so the best alone needs the most patients.
        return float(brentq(lambda n: self.power(n, critical_value) - power, single * 1e-6, single * 1.0001, xtol=1e-6))


class FixedTest(Protocol):
    """A test that can be planned: it has a name, the formula it is planned by, and an effect under a scenario."""

    @property
    def name(self) -> str:
        """The test's name in words."""

    @property
    def formula(self) -> str:
        """The formula that the number of patients follows."""

    def effect(self, scenario: Scenario, calendar_month: float) -> PlannedEffect:
        """Return what the test sees at a calendar month."""


def _one(value: float, scale: str, mean: float, spread: float = 1.0) -> PlannedEffect:
    return PlannedEffect(value, scale, np.array([mean]), spread, np.ones((1, 1)))


@dataclass(frozen=True)
class LogRankTest:
    """The log-rank test, planned by the average hazard ratio with variances without and under the effect."""

    @property
    def name(self) -> str:
        """The test's name in words."""
        return "log-rank"

    @property
    def formula(self) -> str:
        """The formula that the number of patients follows."""
        return "average hazard ratio"

    def effect(self, scenario: Scenario, calendar_month: float) -> PlannedEffect:
        """Return what the test sees at a calendar month."""
        found, size = average_hazard_ratio(scenario, calendar_month), scenario.size()
        information, null = float(found.information), float(found.null_information)
        ratio = float(found.hazard_ratio)
        mean = -math.log(ratio) * math.sqrt(null / size)
        return _one(ratio, "average hazard ratio", mean, math.sqrt(null / information))


@dataclass(frozen=True)
class LachinFoulkesTest:
    """The log-rank test under one hazard ratio, planned by the events of each arm without and under the effect.

    The log hazard ratio has variance ``1 / d_c + 1 / d_e``. Without effect both arms have the average of their hazards
    (Lachin and Foulkes), or the hazard of the control arm (`null_hazard` ``"control"``, Bernstein and Lagakos).

    References
    ----------
    Lachin, J. M. and Foulkes, M. A. (1986). Evaluation of sample size and power for analyses of survival with allowance
    for nonuniform patient entry, losses to follow-up, noncompliance, and stratification. Biometrics 42, 507-519.
    Bernstein, D. and Lagakos, S. W. (1978). Sample size and power determination for stratified clinical trials.
    Journal of Statistical Computation and Simulation 8, 65-73.
    """

    null_hazard: Literal["average", "control"] = "average"

    @property
    def name(self) -> str:
        """The test's name in words."""
        return "log-rank"

    @property
    def formula(self) -> str:
        """The formula that the number of patients follows."""
        return "Lachin and Foulkes" if self.null_hazard == "average" else "Bernstein and Lagakos"

    def effect(self, scenario: Scenario, calendar_month: float) -> PlannedEffect:
        """Return what the test sees at a calendar month.

        Raises
        ------
        AnalysisError
            If the hazard ratio is not the same for all patients at all times.
        """
        if not scenario.proportional:
            raise AnalysisError(
                f"scenario '{scenario.name}' has more than one hazard ratio, which the formula of {self.formula} does "
                "not allow: use LogRankTest, by the average hazard ratio"
            )
        ratio = float(average_hazard_ratio(scenario, calendar_month).hazard_ratio)
        null = without_effect(scenario, null_hazard=self.null_hazard)
        variances = [_variance(truth, calendar_month) for truth in (null, scenario)]
        return _one(
            ratio, "hazard ratio", -math.log(ratio) / math.sqrt(variances[0]), math.sqrt(variances[1] / variances[0])
        )


def _variance(scenario: Scenario, calendar_month: float) -> float:
    """Return the variance of the log hazard ratio times the number of patients."""
    share, events = scenario.experimental_share, scenario.event_probability(calendar_month)
    return float(1 / ((1 - share) * events.control) + 1 / (share * events.experimental))


@dataclass(frozen=True)
class WeightedLogRankTest:
    """A weighted log-rank test; see `fleming_harrington` and `magirr_burman`."""

    weight: LogRankWeight

    @property
    def name(self) -> str:
        """The test's name in words."""
        return self.weight.name

    @property
    def formula(self) -> str:
        """The formula that the number of patients follows."""
        return "Yung and Liu"

    def effect(self, scenario: Scenario, calendar_month: float) -> PlannedEffect:
        """Return what the test sees at a calendar month."""
        found = weighted_effect(scenario, calendar_month, self.weight)
        mean = float(found.theta) * math.sqrt(float(found.null_variance))
        spread = math.sqrt(float(found.null_variance) / float(found.variance))
        return _one(float(found.hazard_ratio), "weighted average hazard ratio", mean, spread)


@dataclass(frozen=True)
class RestrictedMeanTest:
    """The difference in restricted mean survival time up to `tau_months` from entry."""

    tau_months: float

    @property
    def name(self) -> str:
        """The test's name in words."""
        return f"restricted means to {self.tau_months:g} months"

    @property
    def formula(self) -> str:
        """The formula that the number of patients follows."""
        return "Yung and Liu"

    def effect(self, scenario: Scenario, calendar_month: float) -> PlannedEffect:
        """Return what the test sees at a calendar month."""
        found = rmst_difference(scenario, self.tau_months, calendar_month)
        return _one(found.value, "RMST difference in months", found.value / math.sqrt(found.variance))


@dataclass(frozen=True)
class MilestoneTest:
    """The difference in survival `milestone_months` from entry."""

    milestone_months: float

    @property
    def name(self) -> str:
        """The test's name in words."""
        return f"survival at {self.milestone_months:g} months"

    @property
    def formula(self) -> str:
        """The formula that the number of patients follows."""
        return "Yung and Liu"

    def effect(self, scenario: Scenario, calendar_month: float) -> PlannedEffect:
        """Return what the test sees at a calendar month."""
        found = milestone_difference(scenario, self.milestone_months, calendar_month)
        return _one(found.value, "survival difference", found.value / math.sqrt(found.variance))


@dataclass(frozen=True)
class MaxComboTest:
    """The largest of several weighted log-rank statistics, by their joint normal distribution."""

    weights: tuple[LogRankWeight, ...] = dataclasses.field(
        default=(LogRankWeight(), LogRankWeight(0.0, 1.0), LogRankWeight(1.0, 0.0), LogRankWeight(1.0, 1.0))
    )

    @property
    def name(self) -> str:
        """The test's name in words."""
        return f"MaxCombo of {len(self.weights)}: " + ", ".join(weight.name for weight in self.weights)

    @property
    def formula(self) -> str:
        """The formula that the number of patients follows."""
        return "joint normal distribution of the statistics"

    def effect(self, scenario: Scenario, calendar_month: float) -> PlannedEffect:
        """Return what the test sees at a calendar month: each statistic in units of its spread under the scenario."""
        found = [weighted_effect(scenario, calendar_month, weight) for weight in self.weights]
        means = np.array([float(one.theta) * math.sqrt(float(one.variance)) for one in found])
        correlation = score_correlation(scenario, calendar_month, self.weights)
        ratio = float(found[int(np.argmax(means))].hazard_ratio)
        return PlannedEffect(ratio, "weighted average hazard ratio of the best weight", means, 1.0, correlation)

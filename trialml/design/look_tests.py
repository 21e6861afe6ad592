"""Tests of simulated trials beside the log-rank test: weighted log-rank, MaxCombo and restricted means, a trial at a time.

They call the estimators of the survival chapter on each trial's patients, so they are slower than the compiled
log-rank test and run on one processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, owens_t

from trialml.design.refusals import require_positive
from trialml.design.trial_plan import Patients, TrialPlan
from trialml.design.trial_sums import LookRules, Looks, run_logrank
from trialml.errors import AnalysisError, nearest
from trialml.survival.maxcombo import MAXCOMBO
from trialml.survival.normal_maximum import tail_of_largest
from trialml.survival.rmst import restricted_mean_one
from trialml.survival.weighted_logrank import Weighting, checked_weighting, weighted_sums

__all__ = ["LookTest", "TestName", "cut_patients", "look_test"]

Vector = NDArray[np.float64]
TestName = Literal["logrank", "fleming-harrington", "maxcombo", "rmst"]
NAMES: tuple[TestName, ...] = ("logrank", "fleming-harrington", "maxcombo", "rmst")


class Cut(NamedTuple):
    """The patients of a trial as they stand at a cut of the data, in order of entry; each of shape (patients,)."""

    time: Vector
    event: NDArray[np.bool_]
    arm: NDArray[np.intp]
    strata: NDArray[np.intp]


def cut_patients(drawn: Patients, cut: float) -> Cut:
    """Return those who had entered before a calendar month, as they stood then."""
    inside = drawn.entry < cut
    entry, time = drawn.entry[inside], drawn.time[inside]
    seen = entry + time <= cut
    return Cut(
        np.where(seen, time, cut - entry),
        seen & (drawn.event[inside] == 1),
        drawn.arm[inside].astype(np.intp),
        drawn.group[inside].astype(np.intp),
    )


@dataclass(frozen=True)
class LookTest:
    """The test of every look; made by `look_test`.

    Attributes
    ----------
    name
        Which one.
    weightings
        Fleming and Harrington's rho and gamma: one pair for the weighted log-rank test, several for MaxCombo.
    tau_months
        Up to when restricted means are taken.
    """

    name: TestName
    weightings: tuple[Weighting, ...] = ()
    tau_months: float = math.nan

    @property
    def words(self) -> str:
        """What the test is called in a sentence."""
        pairs = ", ".join(f"({rho:g}, {gamma:g})" for rho, gamma in self.weightings)
        return {
            "logrank": "log-rank test",
            "fleming-harrington": f"weighted log-rank test (Fleming-Harrington rho and gamma {pairs})",
            "maxcombo": f"MaxCombo test (Fleming-Harrington rho and gamma {pairs})",
            "rmst": f"test of restricted mean survival time to {self.tau_months:g} months",
        }[self.name]

    def run(self, plan: TrialPlan, rules: LookRules, seed: int, first: int, trials: int) -> Looks:
        """Simulate trials `first` to `first` + `trials` - 1; see `trial_sums.run_plan`."""
        if self.name == "logrank":
            return run_logrank(plan, rules, seed, first, trials)
        shape = (trials, rules.looks)
        looks = Looks(
            z=np.zeros(shape),
            log_hazard_ratio=np.full(shape, np.nan),
            months=np.zeros(shape),
            events=np.zeros(shape, np.int64),
            enrolled=np.zeros(shape, np.int64),
            decision=np.zeros(shape, np.int8),
        )
        for j in range(trials):
            self._follow(plan.draw(seed, first + j), rules, looks, j)
        return looks

    def _follow(self, drawn: Patients, rules: LookRules, looks: Looks, j: int) -> None:
        happened = np.sort((drawn.entry + drawn.time)[drawn.event == 1])
        happened = happened[np.isfinite(happened)]
        for look in range(rules.looks):
            month = 0.0 if rules.timing == "events" else float(rules.months[look])
            if rules.timing != "months" and happened.size:
                month = max(month, float(happened[min(int(rules.targets[look]), happened.size) - 1]))
            data = cut_patients(drawn, month)
            z, decision = self._decide(data, rules, look)
            looks.z[j, look], looks.months[j, look], looks.decision[j, look] = z, month, decision
            looks.events[j, look] = np.searchsorted(happened, month, side="right")
            looks.enrolled[j, look] = np.searchsorted(drawn.entry, month, side="right")
            if decision:
                return

    def _decide(self, data: Cut, rules: LookRules, look: int) -> tuple[float, int]:
        """Return z and the decision; a trial that cannot be tested yet has z 0 and goes on."""
        upper, lower, futility = rules.upper[look], rules.lower[look], rules.futility[look]
        if self.name == "rmst":
            z = _restricted_mean_z(data, self.tau_months)
            tested = not math.isnan(z)
            z = z if tested else 0.0
        else:
            sums = weighted_sums(
                data.time, data.event, data.arm, 2, self.weightings, strata=data.strata if rules.stratified else None
            )
            variance = sums.covariance[:, :, 1, 1]
            spread = np.sqrt(np.diag(variance))
            tested = bool((spread > 0).all())
            each = (sums.expected - sums.observed)[:, 1] / np.where(spread > 0, spread, np.inf)
            z = float(each.max())
            if tested and self.name == "maxcombo":
                correlation = variance / np.outer(spread, spread)
                if not _is_rarer(correlation, z, float(ndtr(-upper))):
                    return z, -2 if math.isfinite(futility) and not _is_rarer(
                        correlation, z, float(ndtr(-futility))
                    ) else 0
                return z, 1
        if not tested:
            return 0.0, 0
        return z, 1 if z >= upper else -1 if z <= lower else -2 if z < futility else 0


def _restricted_mean_z(data: Cut, tau: float) -> float:
    """Return the difference of restricted means in standard errors, NaN where follow-up ends before tau."""
    arms = []
    for a in (0, 1):
        mine = data.arm == a
        if not mine.any():
            return math.nan
        time, event = data.time[mine], data.event[mine]
        if time.max() < tau and not event[np.argmax(time)]:
            return math.nan
        arms.append(restricted_mean_one(time, event, tau))
    spread = math.hypot(arms[0].se, arms[1].se)
    return (arms[1].value - arms[0].value) / spread if spread > 0 else math.nan


def _is_rarer(correlation: Vector, z: float, p: float) -> bool:
    """Return whether the largest of correlated normal variables exceeds z with probability at most `p`.

    Of a pair with correlation r the larger exceeds z with probability ``Phi(-z) + 2 T(z, sqrt((1 - r) / (1 + r)))``, T
    being Owen's function. The largest pair is a lower limit for all of them, and Hunter's inequality over the tree
    of the smallest T an upper one; only where `p` lies between is the integral needed.

    References
    ----------
    Owen, D. B. (1956). Tables for computing bivariate normal probabilities. Ann Math Stat 27, 1075-1090.
    Hunter, D. (1976). An upper bound for the probability of a union. J Appl Prob 13, 597-603.
    """
    m = len(correlation)
    alone = float(ndtr(-z))
    if m == 1:
        return alone <= p
    r = np.clip(correlation, -1.0 + 1e-15, 1.0)
    excess = 2 * owens_t(z, np.sqrt((1 - r) / (1 + r)))
    low = alone + float(excess[~np.eye(m, dtype=bool)].max())
    joined, high = [0], alone
    while len(joined) < m:
        outside = [j for j in range(m) if j not in joined]
        nearest_one = min(outside, key=lambda j: excess[joined, j].min())
        high += float(excess[joined, nearest_one].min())
        joined.append(nearest_one)
    if m == 2 or high <= p or low > p:
        return high <= p
    return tail_of_largest(correlation, z).value <= p


def look_test(name: TestName, weightings: Sequence[Weighting] = (), tau_months: float | None = None) -> LookTest:
    """Return the test of every look, its options checked.

    Parameters
    ----------
    name
        ``"logrank"``, ``"fleming-harrington"``, ``"maxcombo"`` or ``"rmst"``.
    weightings
        Pairs of rho and gamma: one for ``"fleming-harrington"``, several for ``"maxcombo"`` (by default those of
        `survival.maxcombo`).
    tau_months
        For ``"rmst"``.

    Raises
    ------
    AnalysisError
        If the test has another name, or options that are not its own.
    """
    if name not in NAMES:
        raise AnalysisError(f"test is {name!r}, which is not known: {nearest(str(name), NAMES)}")
    if (tau_months is not None) != (name == "rmst"):
        raise AnalysisError(f"test '{name}' with tau_months {tau_months}: restricted means need it, and only they")
    if name == "rmst":
        return LookTest(name, (), require_positive("tau_months", float(tau_months or 0)))
    pairs = tuple(checked_weighting(rho, gamma) for rho, gamma in weightings)
    if name == "maxcombo":
        pairs = pairs or tuple(MAXCOMBO)
    wanted = {"logrank": 0, "fleming-harrington": 1}.get(name, len(pairs))
    if len(pairs) != wanted or (name == "maxcombo" and not 2 <= len(set(pairs)) == len(pairs) <= 10):
        need = {"logrank": "none", "fleming-harrington": "one pair"}.get(name, "2 to 10 different pairs")
        raise AnalysisError(f"test '{name}' with {len(pairs)} weightings of rho and gamma: give {need}")
    return LookTest(name, pairs)

"""The options of the next trial at equal budget, each with what it rejects under any true benefits of the two groups.

Every test statistic is normal with the information that its patients carry. With ``I`` the information of a group, ``b`` its true
benefit and w the stratum's share of the information, ``z_S ~ N(b_in sqrt(I_in), 1)`` and the test of all comers, stratified by the
rule, is ``z_F = sqrt(w) z_S + sqrt(1 - w) z_C``, z_C that of the complement: the two are correlated by ``sqrt(w)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from trialml.design.adaptive_chances import AdaptiveStages, adaptive_chances
from trialml.design.bridge_setting import Information, TrialSetting
from trialml.design.joint_rejection import both_above
from trialml.design.response_evidence import GroupEvidence, ResponseEvidence
from trialml.errors import AnalysisError
from trialml.result import format_count

__all__ = ["OPTIONS", "Chances", "Option", "PlannedOption", "planned_options"]

Vector = NDArray[np.float64]
Option = Literal["all comers", "enriched", "hierarchical", "co-primary", "adaptive enrichment"]
OPTIONS: tuple[Option, ...] = ("all comers", "enriched", "hierarchical", "co-primary", "adaptive enrichment")

LONGEST_MONTHS = 600.0
MOST_PATIENTS = 50_000
LEAST_INTERIM = 0.05
"""An interim analysis with less of the information than this tells nothing."""


class Chances(NamedTuple):
    """What an option does, by true benefits; arrays of one shape.

    Attributes
    ----------
    stratum_only, full_only, both
        Probabilities of rejecting no effect in the stratum alone, in all comers alone, and in both.
    left_out
        Probability that patients outside the stratum are no longer enrolled (or never were) while the trial goes on inside.
    stopped
        Probability of stopping for futility at the interim analysis.
    """

    stratum_only: Vector
    full_only: Vector
    both: Vector
    left_out: Vector
    stopped: Vector


@dataclass(frozen=True)
class PlannedOption:
    """One option at its size.

    Attributes
    ----------
    name
        One of `OPTIONS`.
    information, groups, share
        How patients become information, the two groups under control, and the stratum's share of the screened.
    alpha
        One-sided, familywise.
    patients, screened, accrual_months, months, cost
        Where the trial goes on as planned to its end, in all comers unless it is enriched; cost in the unit of the budget.
    note
        Why there is no such trial; empty where there is one.
    stages
        Of the adaptive option.
    """

    name: Option
    information: Information
    groups: tuple[GroupEvidence, GroupEvidence]
    share: float
    alpha: float
    patients: float
    screened: float
    accrual_months: float
    months: float
    cost: float
    note: str = ""
    stages: AdaptiveStages | None = None

    @property
    def feasible(self) -> bool:
        """Whether there is such a trial."""
        return not self.note

    def chances(
        self,
        inside: ArrayLike,
        outside: ArrayLike,
        *,
        groups: tuple[GroupEvidence, GroupEvidence] | None = None,
        draws: int = 512,
        seed: int = 1,
    ) -> Chances:
        """Return what this option rejects under true benefits inside and outside the stratum.

        Parameters
        ----------
        inside, outside
            True benefits (minus the log hazard ratio, or the difference), of one shape.
        groups
            The truth under control, where it is not what was planned with.
        draws, seed
            Of the adaptive option, which is simulated with the same random numbers at all benefits; the others are closed forms.

        Returns
        -------
        Chances

        Raises
        ------
        AnalysisError
            If the option is not feasible.
        """
        if not self.feasible:
            raise AnalysisError(f"the option '{self.name}' has no trial: {self.note}")
        b_in, b_out = np.broadcast_arrays(*(np.asarray(one, dtype=np.float64) for one in (inside, outside)))
        truth = self.groups if groups is None else groups
        if self.stages is not None:
            found = adaptive_chances(self.stages, truth, b_in, b_out, draws=draws, seed=seed)
            return Chances(*found)
        none, z = np.zeros(b_in.shape), -float(ndtri(self.alpha))
        if self.name == "enriched":
            inside_only = ndtr(np.sqrt(self.patients * self._each(truth[0], b_in)) * b_in - z)
            return Chances(inside_only, none, none, np.ones(b_in.shape), none)
        of_stratum, of_all, share = self.drifts(truth, b_in, b_out)
        if self.name == "all comers":
            return Chances(none, ndtr(of_all - z), none, none, none)
        both = both_above(z - of_stratum, z - of_all, np.sqrt(share))
        if self.name == "hierarchical":
            return Chances(ndtr(of_stratum - z) - both, none, both, none, none)
        # Simes' test of the intersection, then each at alpha: alone a population needs alpha / 2.
        half = -float(ndtri(self.alpha / 2))
        alone = ndtr(of_stratum - half) - both_above(half - of_stratum, z - of_all, np.sqrt(share))
        full = ndtr(of_all - half) - both_above(z - of_stratum, half - of_all, np.sqrt(share))
        return Chances(alone, full, both, none, none)

    def _each(self, group: GroupEvidence, benefit: Vector) -> Vector:
        return self.information.of(group, benefit, 0.0, self.accrual_months, self.months)

    def drifts(
        self, truth: tuple[GroupEvidence, GroupEvidence], b_in: Vector, b_out: Vector
    ) -> tuple[Vector, Vector, Vector]:
        """Return the expected z of the stratum and of all comers, and the stratum's share of the information.

        Parameters
        ----------
        truth
            The two groups under control.
        b_in, b_out
            True benefits, of one shape.
        """
        first = self.patients * self.share * self._each(truth[0], b_in)
        second = self.patients * (1 - self.share) * self._each(truth[1], b_out)
        total = first + second
        return np.sqrt(first) * b_in, (first * b_in + second * b_out) / np.sqrt(total), first / total


def planned_options(evidence: ResponseEvidence, setting: TrialSetting) -> dict[Option, PlannedOption]:
    """Return every option at the size that the budget allows.

    Parameters
    ----------
    evidence
        What is known of the two groups.
    setting
        Of the trial. Without a budget, all comers are given the patients that have its power at the expected overall benefit, and
        what they cost is everybody's budget: money where costs are given, patients otherwise.

    Returns
    -------
    dict
        Options by name. One that takes longer than is allowed has a note and no size; all comers must have one.

    Raises
    ------
    AnalysisError
        If the expected effects favour control, the minimum effect is absurd, or all comers take longer than is allowed.
    """
    inside, outside = evidence.groups
    setting.minimum_benefit(evidence.endpoint, inside.mixed(outside, evidence.share))
    sized = _Sizes(evidence, setting)
    _refuse_harm(evidence)
    patients = sized.all_comers()
    budget = setting.cost_of(patients, patients)
    everyone = sized.option("all comers", patients, patients)
    if not everyone.feasible:
        raise AnalysisError(f"all comers: {everyone.note}")
    selected = math.floor(sized.selected_for(budget) + 1e-9)
    enriched = sized.option("enriched", selected, selected / evidence.share)
    options = {"all comers": everyone, "enriched": enriched}
    for name in ("hierarchical", "co-primary"):
        options[name] = sized.option(name, patients, patients)
    options["adaptive enrichment"] = sized.adaptive(everyone, budget)
    return {name: options[name] for name in OPTIONS}


def _refuse_harm(evidence: ResponseEvidence) -> None:
    """Refuse effects that favour control in the stratum and in all comers."""
    inside, overall = float(evidence.benefit_mean[0]), evidence.overall.mean
    if inside <= 0 and overall <= 0:
        shown = evidence.endpoint.shown
        raise AnalysisError(
            f"the expected effects favour control, inside the stratum ({shown(inside)}) and in all comers ({shown(overall)}): there is "
            "no next trial of superiority to plan"
        )


@dataclass(frozen=True)
class _Sizes:
    """How a budget becomes patients."""

    evidence: ResponseEvidence
    setting: TrialSetting

    @property
    def information(self) -> Information:
        return Information(self.evidence.endpoint, self.setting)

    def option(self, name: Option, patients: float, screened: float) -> PlannedOption:
        """Return an option at its size, with a note where it lasts too long."""
        asked, evidence = self.setting, self.evidence
        accrual = screened / asked.screened_per_month
        months = accrual + asked.follow_up_months
        note = _too_long(months, accrual, asked, "the stratum" if name == "enriched" else "all comers", patients)
        if patients < 2:
            note = f"the budget pays for {format_count(patients)} patients: give a larger one"
        return PlannedOption(
            name, self.information, evidence.groups, evidence.share, asked.alpha, patients, screened, accrual, months,
            asked.cost_of(patients, screened), note,
        )  # fmt: skip

    def all_comers(self) -> float:
        """Return the patients of all comers: what the budget pays for, or what has the power."""
        asked = self.setting
        if asked.budget is not None:
            return math.floor(asked.budget / asked.cost_of(1.0, 1.0) + 1e-9)
        overall = self.evidence.overall.mean
        if overall <= 0:
            raise AnalysisError(
                f"the expected effect of all comers favours control ({self.evidence.endpoint.shown(overall)}), so that no size has the "
                "power wanted: give a budget"
            )
        means = [np.asarray(one) for one in self.evidence.benefit_mean]

        def surplus(patients: float) -> float:
            option = self.option("all comers", patients, patients)
            drift = option.drifts(option.groups, *means)[1]
            return float(drift) + float(ndtri(asked.alpha)) - float(ndtri(asked.power))

        if surplus(MOST_PATIENTS) < 0:
            raise AnalysisError(
                f"all comers would need more than {MOST_PATIENTS:,} patients for a power of {100 * asked.power:g} % at the expected "
                f"effect ({self.evidence.endpoint.shown(overall)}): give a budget"
            )
        return float(math.ceil(brentq(surplus, 2.0, MOST_PATIENTS, xtol=1e-6)))

    def selected_for(self, money: float) -> float:
        """Return the patients of the stratum that an amount pays for; not rounded."""
        return money / self.setting.cost_of(1.0, 1.0 / self.evidence.share)

    def adaptive(self, everyone: PlannedOption, budget: float) -> PlannedOption:
        """Return the adaptive option: all comers up to the interim analysis, then whoever is selected for what is left."""
        asked, evidence = self.setting, self.evidence
        first = math.ceil(asked.interim_share * everyone.patients)
        left = budget - asked.cost_of(first, first)
        alone = math.floor(self.selected_for(left) + 1e-9)
        interim = first / asked.screened_per_month
        stages = AdaptiveStages.planned_for(
            self.information,
            evidence.groups,
            evidence.share,
            evidence.benefit_mean,
            sizes=(first, everyone.patients - first, alone),
            interim=interim,
        )
        months, accrual = stages.months_alone, stages.accrual_alone
        note = _too_long(months, accrual, asked, "the stratum after the interim analysis", alone)
        if not note and stages.fraction < LEAST_INTERIM:
            note = (
                f"by the interim analysis at month {interim:.1f}, when {first:,} patients are in, only {100 * stages.fraction:.1f} % of the "
                "information is: accrual is too fast to adapt"
            )
        option = self.option("adaptive enrichment", everyone.patients, everyone.screened)
        if note:
            return PlannedOption(**{**option.__dict__, "note": note})
        return PlannedOption(**{**option.__dict__, "stages": stages})


def _too_long(months: float, accrual: float, asked: TrialSetting, whom: str, patients: float) -> str:
    """Return words where a trial lasts longer than is allowed; empty where it does not."""
    longest = LONGEST_MONTHS if asked.max_duration_months is None else asked.max_duration_months
    if months <= longest + 1e-9:
        return ""
    return (
        f"accrual is too slow: at {asked.screened_per_month:g} screened per month {format_count(patients)} patients of {whom} take "
        f"{accrual:.1f} months to enrol, so that the trial lasts {months:.1f} months where {longest:g} are allowed: screen more, follow "
        "up less or give a smaller budget"
    )

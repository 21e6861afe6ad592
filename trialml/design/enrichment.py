"""Enrol everyone, or only those in whom the treatment is expected to work? The plans side by side.

Every plan states what it costs in screening, patients, time and assurance, and what is left of the enriched
trial if the model that chooses its patients is useless.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import pandas as pd
from scipy.special import expit, logit, ndtri

from trialml.design.assurance import assurance_of, power_of
from trialml.design.enrichment_plan import EnrichmentPlan
from trialml.design.group_sequential import Design
from trialml.design.next_trial import OperatingCharacteristics, plan_trial
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.design.sample_size import survival_events
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError
from trialml.result import Estimate, Kind

__all__ = ["EnrichmentPlan", "Population", "plan_enrichment"]


@dataclass(frozen=True)
class Population:
    """Who would be enrolled, and what is known about them.

    Attributes
    ----------
    name, definition
        What the population is called, and its rule in words.
    prevalence
        Share of screened patients who belong to it, above 0 and at most 1; an `Estimate` brings its interval.
    prevalence_se
        Standard error of a prevalence given as a number.
    control_hazard_per_month
        Event hazard of its patients under control.
    log_hazard_ratio, log_hazard_ratio_se
        Estimated log hazard ratio (experimental to control) and its standard error; assurance averages over the
        normal distribution they define.
    effect_kind
        How the effect was got: ``"crossfit"``, ``"direct"``, ``"external"``, ``"apparent"``, ...
    planning_hazard_ratio
        The hazard ratio that the trial is sized for, the caller's choice.

    Raises
    ------
    AnalysisError
        If a number is outside its range.
    """

    name: str
    definition: str
    _: KW_ONLY
    prevalence: Estimate | float
    control_hazard_per_month: float
    log_hazard_ratio: float
    log_hazard_ratio_se: float
    planning_hazard_ratio: float
    effect_kind: Kind = "crossfit"
    prevalence_se: float = math.nan

    def __post_init__(self) -> None:
        share = self.prevalence.value if isinstance(self.prevalence, Estimate) else self.prevalence
        require_between(self._label("prevalence"), share, 0.0, 1.0, closed_high=True)
        require_positive(self._label("control_hazard_per_month"), self.control_hazard_per_month)
        require_finite(self._label("log_hazard_ratio"), self.log_hazard_ratio)
        require_positive(self._label("log_hazard_ratio_se"), self.log_hazard_ratio_se, zero=True)
        require_positive(self._label("planning_hazard_ratio"), self.planning_hazard_ratio)

    def _label(self, field: str) -> str:
        return f"{field} of population '{self.name}'"

    @property
    def prevalence_estimate(self) -> Estimate:
        """The prevalence with its 95 % interval (on the logit scale where a standard error was given)."""
        if isinstance(self.prevalence, Estimate):
            return self.prevalence
        share, se = float(self.prevalence), self.prevalence_se
        if share == 1 or math.isnan(se):
            return Estimate(share, scale="prevalence", method="as given")
        half = (
            float(ndtri(0.975)) * require_positive(self._label("prevalence_se"), se, zero=True) / (share * (1 - share))
        )
        low, high = float(expit(logit(share) - half)), float(expit(logit(share) + half))
        return Estimate(share, low, high, scale="prevalence", se=se, method="logit interval")

    @property
    def hazard_ratio(self) -> Estimate:
        """The estimated hazard ratio with its 95 % Wald interval."""
        half = float(ndtri(0.975)) * self.log_hazard_ratio_se
        return Estimate(
            math.exp(self.log_hazard_ratio),
            math.exp(self.log_hazard_ratio - half),
            math.exp(self.log_hazard_ratio + half),
            scale="hazard ratio",
            kind=self.effect_kind,
            se=self.log_hazard_ratio_se,
            method="Wald interval on the log scale",
        )


class _Setting(NamedTuple):
    screened_per_month: float
    follow_up_months: float | None
    max_duration_months: float | None
    horizon_months: float
    dropout_per_month: float
    cost_screen: float
    cost_patient: float
    maximum_events: float
    block: int


def plan_enrichment(
    populations: Sequence[Population],
    designs: Mapping[str, Design],
    *,
    screened_per_month: float,
    follow_up_months: float | None = None,
    max_duration_months: float | None = None,
    horizon_months: float = 24.0,
    cost_screen: float = 0.0,
    cost_patient: float = 0.0,
    dropout_per_month: float = 0.0,
    maximum_events: float = 20_000,
    block: int = 4,
) -> EnrichmentPlan:
    """Plan a trial in each population by each design, and in each enriched one as if its model were useless.

    Enrolment runs at ``screened_per_month * prevalence``. The rows ", but the model is useless" keep the events and
    patients of the enriched plan while the truth is that of all comers: power at their planning hazard ratio,
    assurance over their effect, calendar at their control hazard.

    Parameters
    ----------
    populations
        The first one is everyone (prevalence 1); the others are enriched.
    designs
        Designs by name, for example ``{"fixed": Design(), "two looks": Design(information_fractions=(0.6, 1.0))}``.
    screened_per_month
        Patients who can be screened per month.
    follow_up_months
        Months from the last patient in to the final analysis.
    max_duration_months
        With `follow_up_months`, plans that last longer are refused in words; alone, the trial lasts this long and
        enrols the fewest patients who give the events by then.
    horizon_months
        Where the control event risk is read.
    cost_screen, cost_patient
        Cost of screening one patient and of treating and following one, in any currency.
    dropout_per_month
        Hazard of leaving the trial without an event.
    maximum_events
        A plan that needs more events is no trial.
    block
        Patients are rounded up to a multiple of it.

    Returns
    -------
    EnrichmentPlan
        One row a population and design. A population without a feasible plan has words in ``note`` and NaN.

    Raises
    ------
    AnalysisError
        If there is no population or no design, the first population is not everyone, names repeat, or a number is
        outside its range.
    """
    _check_sets(populations, designs)
    if follow_up_months is None and max_duration_months is None:
        raise AnalysisError("the end of the trial is not given: give follow_up_months or max_duration_months")
    setting = _Setting(
        screened_per_month=require_positive("screened_per_month", screened_per_month),
        follow_up_months=None
        if follow_up_months is None
        else require_positive("follow_up_months", follow_up_months, zero=True),
        max_duration_months=None
        if max_duration_months is None
        else require_positive("max_duration_months", max_duration_months),
        horizon_months=require_positive("horizon_months", horizon_months),
        dropout_per_month=require_positive("dropout_per_month", dropout_per_month, zero=True),
        cost_screen=require_positive("cost_screen", cost_screen, zero=True),
        cost_patient=require_positive("cost_patient", cost_patient, zero=True),
        maximum_events=require_positive("maximum_events", maximum_events),
        block=int(require_positive("block", block)),
    )
    everyone = populations[0]
    rows: list[dict[str, Any]] = []
    for population in populations:
        for name, design in designs.items():
            plan = _plan(population, design, setting)
            rows.append(_row(population, population, name, design, plan, setting))
            if population is not everyone and isinstance(plan, OperatingCharacteristics):
                rows.append(_row(population, everyone, name, design, plan, setting))
    first = next(iter(designs.values()))
    return EnrichmentPlan(
        plans=pd.DataFrame(rows),
        definitions={population.name: population.definition for population in populations},
        rules={name: design.text() for name, design in designs.items()},
        alpha=first.alpha,
        horizon_months=setting.horizon_months,
        screened_per_month=setting.screened_per_month,
        follow_up_months=math.nan if setting.follow_up_months is None else setting.follow_up_months,
        dropout_per_month=setting.dropout_per_month,
    )


def _check_sets(populations: Sequence[Population], designs: Mapping[str, Design]) -> None:
    if not populations:
        raise AnalysisError("there is no population to plan for: give at least the one of all comers")
    if not designs:
        raise AnalysisError("there is no design to plan with: give at least {'fixed': Design()}")
    share = populations[0].prevalence_estimate.value
    if share != 1:
        raise AnalysisError(
            f"the first population, '{populations[0].name}', has prevalence {share:g}: put all comers (prevalence 1) first"
        )
    names = [population.name for population in populations]
    for name in names:
        if names.count(name) > 1:
            raise AnalysisError(f"two populations are called '{name}': give each its own name")
    levels = {design.alpha for design in designs.values()}
    if len(levels) > 1:
        shown = ", ".join(f"{level:g}" for level in sorted(levels))
        raise AnalysisError(f"the designs have different one-sided alphas ({shown}): compare designs of one alpha")


def _scenario(population: Population, truth: Population, design: Design, setting: _Setting) -> Scenario:
    """Return recruitment as in `population` with the hazard and the effect of `truth`."""
    return Scenario(
        population.name,
        hazard_ratio=truth.planning_hazard_ratio,
        accrual_per_month=setting.screened_per_month * population.prevalence_estimate.value,
        control_hazard_per_month=truth.control_hazard_per_month,
        dropout_per_month=setting.dropout_per_month,
        allocation_ratio=design.allocation_ratio,
    )


def _plan(population: Population, design: Design, setting: _Setting) -> OperatingCharacteristics | str:
    """Return the plan, or the words for why there is none."""
    ratio = population.planning_hazard_ratio
    if ratio >= 1:
        return f"no trial: planning hazard ratio {ratio:.2f} is not below 1"
    events = design.inflation_factor * survival_events(
        ratio, alpha=design.alpha, power=design.power, allocation_ratio=design.allocation_ratio
    )
    if events > setting.maximum_events:
        return (
            f"no trial: planning hazard ratio {ratio:.3f} needs {events:,.0f} events, more than the maximum of "
            f"{setting.maximum_events:,.0f}"
        )
    end = (
        {"duration_months": setting.max_duration_months}
        if setting.follow_up_months is None
        else {"follow_up_months": setting.follow_up_months}
    )
    try:
        plan = plan_trial(design, _scenario(population, population, design, setting), block=setting.block, **end)
    except AnalysisError as refused:
        return f"no trial: {refused}"
    limit = setting.max_duration_months
    if limit is not None and plan.duration_months > limit + 1e-6:
        return f"no trial: it would last {plan.duration_months:.1f} months, more than {limit:g}"
    return plan


def _row(
    population: Population,
    truth: Population,
    design_name: str,
    design: Design,
    plan: OperatingCharacteristics | str,
    setting: _Setting,
) -> dict[str, Any]:
    useless = truth is not population
    prevalence, effect = population.prevalence_estimate, truth.hazard_ratio
    scenario = _scenario(population, truth, design, setting)
    row: dict[str, Any] = {
        "population": population.name,
        "design": design_name,
        "model_useless": useless,
        "prevalence": prevalence.value,
        "prevalence_low": prevalence.low,
        "prevalence_high": prevalence.high,
        "control_risk": scenario.control_risk(setting.horizon_months),
        "planning_hazard_ratio": truth.planning_hazard_ratio,
        "hazard_ratio": effect.value,
        "hazard_ratio_low": effect.low,
        "hazard_ratio_high": effect.high,
        "effect_kind": truth.effect_kind,
    }
    row |= dict.fromkeys(_NUMBERS, math.nan)
    row["note"] = plan if isinstance(plan, str) else ""
    if isinstance(plan, OperatingCharacteristics):
        row |= _size(plan, prevalence, scenario, setting)
        row |= _chances(plan, truth)
        row |= _calendar(plan, truth, scenario)
    return row


_NUMBERS = (
    "events", "patients", "screened", "screened_low", "screened_high", "accrual_months", "power", "assurance",
    "early_stop_probability", "duration_months", "expected_events", "expected_duration_months", "cost",
)  # fmt: skip


def _size(
    plan: OperatingCharacteristics, prevalence: Estimate, scenario: Scenario, setting: _Setting
) -> dict[str, float]:
    screened = plan.patients / prevalence.value
    priced = setting.cost_screen > 0 or setting.cost_patient > 0
    return {
        "events": plan.events,
        "patients": plan.patients,
        "screened": screened,
        "screened_low": plan.patients / prevalence.high if prevalence.high > 0 else math.nan,
        "screened_high": plan.patients / prevalence.low if prevalence.low > 0 else math.nan,
        "accrual_months": scenario.accrual_length(plan.patients),
        "cost": setting.cost_screen * screened + setting.cost_patient * plan.patients if priced else math.nan,
    }


def _chances(plan: OperatingCharacteristics, truth: Population) -> dict[str, float]:
    design, events = plan.design, plan.events
    return {
        "power": power_of(design, events, math.log(truth.planning_hazard_ratio)),
        "assurance": assurance_of(design, events, truth.log_hazard_ratio, truth.log_hazard_ratio_se),
    }


def _calendar(plan: OperatingCharacteristics, truth: Population, scenario: Scenario) -> dict[str, Any]:
    root = math.sqrt(plan.events * plan.design.experimental_share * (1 - plan.design.experimental_share))
    exits = plan.design.exit_probabilities(-math.log(truth.planning_hazard_ratio) * root)
    ends = [*exits[:-1], 1 - sum(exits[:-1])]
    events = [float(value) for value in plan.looks["events"]]
    row: dict[str, Any] = {
        "early_stop_probability": float(sum(exits[:-1])),
        "expected_events": float(sum(p * value for p, value in zip(ends, events, strict=True))),
    }
    try:
        months = [scenario.months_to_events(value, plan.patients) for value in events]
    except AnalysisError as refused:
        return row | {"note": f"the events are never reached: {refused}"}
    expected = float(sum(p * value for p, value in zip(ends, months, strict=True)))
    return row | {"duration_months": months[-1], "expected_duration_months": expected}

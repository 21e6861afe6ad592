"""The next trial with a mean or a rate as its endpoint: all comers beside selected patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import pandas as pd

from trialml.design.assurance import assurance_of
from trialml.design.endpoint_plan import EndpointPlan
from trialml.design.group_sequential import Design
from trialml.design.means import plan_means
from trialml.design.rates import plan_rates
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.design.sample_size import information_per_event, round_up
from trialml.errors import AnalysisError
from trialml.result import Z95, Kind, Result, format_count, format_number

__all__ = ["OutcomeEnrichment", "OutcomePopulation", "plan_outcome", "plan_outcome_enrichment"]

_LARGEST = 50_000
"""A plan that needs more patients is no trial."""


@dataclass(frozen=True)
class OutcomePopulation:
    """Patients for whom a trial is planned, with what is known of them.

    Attributes
    ----------
    name, definition
        Words.
    prevalence
        Share of the screened who belong to it, above 0.
    control_mean
        Mean, or share with the event, under control.
    benefit, benefit_se
        Estimated benefit, higher is better, and its standard error.
    planning_benefit
        What is planned for.
    sd
        Standard deviation within an arm; not used for a rate.
    effect_kind
        What kind of number the benefit is.
    """

    name: str
    definition: str
    _: KW_ONLY
    prevalence: float
    control_mean: float
    benefit: float
    benefit_se: float
    planning_benefit: float
    sd: float = math.nan
    effect_kind: Kind = "crossfit"

    def __post_init__(self) -> None:
        require_between(f"prevalence of population '{self.name}'", self.prevalence, 0.0, 1.0, closed_high=True)
        for name in ("control_mean", "benefit", "planning_benefit"):
            require_finite(f"{name} of population '{self.name}'", getattr(self, name))
        require_positive(f"benefit_se of population '{self.name}'", self.benefit_se, zero=True)


class Measured(NamedTuple):
    """What the endpoint is: a mean or a rate, which way is better, and what covariates explain."""

    kind: Literal["binary", "continuous"]
    higher_is_better: bool
    covariate_r_squared: float
    unit: str
    scale: str


@dataclass(frozen=True, eq=False)
class OutcomeEnrichment(Result):
    """Trials in all comers and in enriched populations, side by side.

    Attributes
    ----------
    plans
        One row a population, design and truth: ``population, design, model_useless, prevalence, control_mean, sd, benefit`` (with
        limits), ``effect_kind, planning_benefit, evaluable, patients, screened, months, power, assurance, note``. In rows with
        ``model_useless`` the patients are those of the enriched plan and the truth that of all comers.
    definitions, rules
        Populations and designs in words, by name.
    alpha
        One-sided.
    scale, unit
        What a benefit is, in words, and its unit.
    lost
        Share of the randomised whose outcome will be missing.
    covariate_r_squared
        Share of the variance that the analysis' covariates explain.
    """

    title: ClassVar[str] = "Enrichment: the next trial in all comers and in selected patients"
    methods: ClassVar[str] = (
        "For each population the next trial is planned for the benefit given, by the noncentral t-distribution for means and by the normal "
        "approximation with the pooled variance for rates; patients without an outcome are added, and screening runs at the rate given "
        "over the population's share. Assurance is the power averaged over the normal distribution of the estimated benefit, by the "
        "normal approximation. Each enriched plan is evaluated a second time as if its patients were those of all comers."
    )
    references: ClassVar[tuple[str, ...]] = (
        "O'Hagan A, Stevens JW, Campbell MJ. Assurance in clinical trial design. Pharm Stat 2005;4:187-201.",
        "Wang SJ, Hung HMJ, O'Neill RT. Adapting the sample size planning of a phase III trial based on phase II data. "
        "Pharm Stat 2006;5:85-97.",
    )

    plans: pd.DataFrame
    definitions: Mapping[str, str]
    rules: Mapping[str, str]
    alpha: float
    scale: str
    unit: str
    lost: float
    covariate_r_squared: float = field(default=0.0)

    def frame(self) -> pd.DataFrame:
        """Return one row a population, design and truth, with what all plans share repeated on each."""
        return self.plans.assign(
            definition=[self.definitions[name] for name in self.plans["population"]],
            rules=[self.rules[name] for name in self.plans["design"]],
            alpha_one_sided=self.alpha,
            lost=self.lost,
            covariate_r_squared=self.covariate_r_squared,
        )

    def text(self) -> str:
        """Return the plan in all comers and the first enriched one, and what a useless model would cost."""
        design = self.plans["design"].iloc[0]
        planned = self.plans[(self.plans["design"] == design) & ~self.plans["model_useless"]]
        said = [f"{design.capitalize()} design, alpha {self.alpha:g} one-sided: {self._words(planned.iloc[0])}."]
        enriched = planned.iloc[1:]
        feasible = enriched[enriched["note"] == ""]
        if len(feasible):
            row = feasible.iloc[0]
            said.append(f"{_first_upper(self._words(row))}.")
            useless = self.plans[
                self.plans["model_useless"]
                & (self.plans["population"] == row["population"])
                & (self.plans["design"] == design)
            ]
            if len(useless) and not math.isnan(useless["power"].iloc[0]):
                said.append(
                    f"If the model that selects these patients were useless, so that they were like all comers, its power would be "
                    f"{_percent(useless['power'].iloc[0])} instead of {_percent(row['power'])}."
                )
        elif len(enriched):
            said.append(f"{enriched['population'].iloc[0]}: {enriched['note'].iloc[0]}.")
        return " ".join(said)

    def _words(self, row: pd.Series[Any]) -> str:
        name = "all comers" if row["prevalence"] == 1 else f"'{row['population']}'"
        if row["note"]:
            return f"{name}: {row['note']}"
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"a trial in {name} ({self.scale} {format_number(row['benefit'])}{unit}, 95% CI {format_number(row['benefit_low'])} to "
            f"{format_number(row['benefit_high'])}, planned for {format_number(row['planning_benefit'])}) takes "
            f"{format_count(row['patients'])} patients ({format_count(row['screened'])} screened) over {row['months']:.1f} months, with "
            f"an assurance of {_percent(row['assurance'])}"
        )

    def scalars(self) -> Mapping[str, float]:
        """Return patients, screened, months, power and assurance of each plan by population and design."""
        found: dict[str, float] = {}
        for row in self.plans.to_dict("records"):
            stem = _key(f"{row['population']} {row['design']}") + ("_model_useless" if row["model_useless"] else "")
            names = (
                ("power", "assurance")
                if row["model_useless"]
                else ("patients", "screened", "months", "power", "assurance")
            )
            found |= {f"{stem}_{name}": float(row[name]) for name in names if not math.isnan(row[name])}
        return found

    def table(self) -> pd.DataFrame:
        """Return the plans as a physician reads them."""
        rows, unit = self.plans, f", {self.unit}" if self.unit else ""
        records = rows.to_dict("records")
        columns = {
            "Population": [f"{r['population']}{', model useless' if r['model_useless'] else ''}" for r in records],
            "Design": list(rows["design"]),
            "Share of patients": [_percent(value) for value in rows["prevalence"]],
            "Under control": [format_number(value) for value in rows["control_mean"]],
            f"Benefit estimated (95% CI){unit}": [
                f"{format_number(r['benefit'])} ({format_number(r['benefit_low'])} to {format_number(r['benefit_high'])})"
                for r in records
            ],
            "Planned for": [format_number(value) for value in rows["planning_benefit"]],
            "Randomised": [format_count(value) for value in rows["patients"]],
            "Screened": [format_count(value) for value in rows["screened"]],
            "Months": ["n/a" if math.isnan(value) else f"{value:.1f}" for value in rows["months"]],
            "Power": [_percent(value) for value in rows["power"]],
            "Assurance": [_percent(value) for value in rows["assurance"]],
        }
        if (rows["note"] != "").any():
            columns["Note"] = list(rows["note"])
        return pd.DataFrame(columns)


def plan_outcome(
    population: OutcomePopulation, design: Design, measured: Measured, *, block: int, patients: float | None = None
) -> EndpointPlan:
    """Plan a trial in one population for its planning benefit, by `plan_means` or `plan_rates`.

    Parameters
    ----------
    population
        For whom.
    design
        The rules.
    measured
        What the endpoint is.
    block
        Patients are rounded up to a multiple of it.
    patients
        Where given, the power of so many is computed.

    Raises
    ------
    AnalysisError
        If the planning benefit is none, or a rate that it gives is no probability.
    """
    asked: dict[str, Any] = {
        "higher_is_better": measured.higher_is_better,
        "covariate_r_squared": measured.covariate_r_squared,
        "patients": patients,
        "block": block,
    }
    signed = population.planning_benefit if measured.higher_is_better else -population.planning_benefit
    if measured.kind == "continuous":
        return plan_means(design, difference=signed, sd=population.sd, **asked)
    control = population.control_mean
    return plan_rates(design, experimental_rate=control + signed, control_rate=control, **asked)


def plan_outcome_enrichment(
    populations: Sequence[OutcomePopulation],
    designs: Mapping[str, Design],
    measured: Measured,
    *,
    screened_per_month: float,
    follow_up_months: float,
    lost: float,
    block: int,
) -> OutcomeEnrichment:
    """Plan a trial in each population by each design, and in each enriched one as if its model were useless.

    Parameters
    ----------
    populations
        The first one is everyone (prevalence 1); the others are enriched.
    designs
        Designs by name.
    measured
        What the endpoint is.
    screened_per_month
        Patients who can be screened a month.
    follow_up_months
        Months from the last patient in until the outcome is known.
    lost
        Share of the randomised without an outcome, 0 or more and below 1.
    block
        Patients are rounded up to a multiple of it.

    Returns
    -------
    OutcomeEnrichment
        With s the standard error of the difference in the planned trial, b and e the estimated benefit and its standard error, the
        assurance of a fixed design is ``Phi((b / s - z_alpha) / sqrt(1 + e^2 / s^2))``. A population without a feasible plan has
        words in ``note`` and NaN.

    Raises
    ------
    AnalysisError
        If the first population is not everyone, or a number is outside its range.
    """
    if not populations or populations[0].prevalence != 1:
        raise AnalysisError("the first population must be all comers, with prevalence 1: put them first")
    require_between("the share lost", 1 - lost, 0.0, 1.0, closed_high=True)
    rate, months = (
        require_positive("screened_per_month", screened_per_month),
        require_positive("follow_up_months", follow_up_months),
    )
    everyone, rows = populations[0], []
    for population in populations:
        for name, design in designs.items():
            row = _row(population, population, name)
            try:
                plan = _plan(population, design, measured, block)
            except AnalysisError as refused:
                rows.append(row | {"note": f"no trial: {str(refused).rstrip('.')}"})
                continue
            patients = round_up(plan.patients / (1 - lost), block)
            size = {"evaluable": plan.patients, "patients": patients, "screened": patients / population.prevalence}
            size["months"] = size["screened"] / rate + months
            rows.append(row | size | _chances(population, plan, measured))
            if population is not everyone:
                rows.append(_row(population, everyone, name) | size | _useless(everyone, plan, measured, block))
    first = next(iter(designs.values()))
    return OutcomeEnrichment(
        pd.DataFrame(rows),
        {population.name: population.definition for population in populations},
        {name: design.text() for name, design in designs.items()},
        first.alpha,
        measured.scale,
        measured.unit,
        lost,
        measured.covariate_r_squared,
    )


def _plan(population: OutcomePopulation, design: Design, measured: Measured, block: int) -> EndpointPlan:
    if population.planning_benefit <= 0:
        raise AnalysisError(f"the benefit planned for, {format_number(population.planning_benefit)}, is none")
    plan = plan_outcome(population, design, measured, block=block)
    if plan.patients > _LARGEST:
        raise AnalysisError(f"it would take {format_count(plan.patients)} patients, more than {_LARGEST:,}")
    return plan


def _row(population: OutcomePopulation, truth: OutcomePopulation, design: str) -> dict[str, Any]:
    half = Z95 * truth.benefit_se
    numbers = ("evaluable", "patients", "screened", "months", "power", "assurance")
    return {
        "population": population.name,
        "design": design,
        "model_useless": truth is not population,
        "prevalence": population.prevalence,
        "control_mean": truth.control_mean,
        "sd": truth.sd,
        "benefit": truth.benefit,
        "benefit_low": truth.benefit - half,
        "benefit_high": truth.benefit + half,
        "effect_kind": truth.effect_kind,
        "planning_benefit": truth.planning_benefit,
        **dict.fromkeys(numbers, math.nan),
        "note": "",
    }


def _useless(everyone: OutcomePopulation, plan: EndpointPlan, measured: Measured, block: int) -> dict[str, Any]:
    """Return the chances of an enriched plan among patients who are like all comers."""
    try:
        same = plan_outcome(everyone, plan.design, measured, block=block, patients=plan.patients)
    except AnalysisError as refused:
        return {"note": f"no power: {str(refused).rstrip('.')}"}
    return _chances(everyone, same, measured)


def _chances(truth: OutcomePopulation, plan: EndpointPlan, measured: Measured) -> dict[str, float]:
    error = _standard_error(truth, plan, measured)
    # `assurance_of` counts information in events: so many carry information 1, which puts the benefit in standard errors.
    events = 1 / information_per_event(plan.design.allocation_ratio)
    mean, spread = -truth.benefit / error, truth.benefit_se / error
    return {"power": plan.power.value, "assurance": assurance_of(plan.design, events, mean, spread)}


def _standard_error(truth: OutcomePopulation, plan: EndpointPlan, measured: Measured) -> float:
    """Return the standard error of the difference at the end of the planned trial."""
    share, n = plan.design.experimental_share, plan.patients
    if measured.kind == "continuous":
        variances = (truth.sd**2, truth.sd**2)
    else:
        control = truth.control_mean
        experimental = control + (truth.planning_benefit if measured.higher_is_better else -truth.planning_benefit)
        variances = (experimental * (1 - experimental), control * (1 - control))
    variance = variances[0] / (n * share) + variances[1] / (n * (1 - share))
    return math.sqrt(variance * (1 - measured.covariate_r_squared))


def _percent(share: float) -> str:
    return "n/a" if math.isnan(share) else f"{100 * share:.0f} %"


def _first_upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _key(words: str) -> str:
    return "_".join("".join(letter if letter.isalnum() else " " for letter in words.lower()).split())

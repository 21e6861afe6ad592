"""What a design is asked with: one table for each kind, the same on the command line and in `study.toml`.

A key `control_median` of `[design.survival]` is the option ``--control-median`` of ``trialml design survival``;
the description beside it is what ``--help`` prints. Alpha is one-sided, times are months.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from trialml.bridge_table import BridgeTable
from trialml.design.enrichment_design import Rule
from trialml.design.sample_size import Method
from trialml.design.spending import Spending, SpendingFunction
from trialml.effects.score_tests import RateScale
from trialml.errors import AnalysisError
from trialml.study_tables import FileTable, Real, Whole

if TYPE_CHECKING:
    from trialml.design.group_sequential import Design

__all__ = [
    "DESIGN_KINDS",
    "AskedTable",
    "DesignTable",
    "EnrichmentTable",
    "MeansTable",
    "RatesTable",
    "RulesTable",
    "SurvivalTable",
]


def _listed(value: Any) -> Any:
    """A number stands for a list of one."""
    return (value,) if isinstance(value, int | float) else value


def _split(value: Any) -> Any:
    """A name stands for a list of one, or of several between commas."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Positive = Annotated[Real, Field(gt=0)]
Patients = Annotated[Whole, Field(ge=2, le=1_000_000)]
NotNegative = Annotated[Real, Field(ge=0)]
Share = Annotated[Real, Field(gt=0, lt=1)]
Reals = Annotated[tuple[Real, ...], BeforeValidator(_listed)]
Positives = Annotated[tuple[Positive, ...], BeforeValidator(_listed)]


class AskedTable(FileTable):
    """What every kind of design is asked with."""

    alpha: Annotated[Share, Field(description="one-sided significance level, on each side where there are two")] = 0.025
    power: Annotated[Share, Field(description="wanted probability of rejecting under the assumed effect")] = 0.9
    spending: Annotated[Spending, Field(description="how alpha is spent over the looks")] = "lan-demets-obrien-fleming"
    spending_parameter: Annotated[
        Real | None,
        Field(
            description="gamma of hwang-shih-decani, rho of kim-demets, exponent of wang-tsiatis, z of haybittle-peto"
        ),
    ] = None
    allocation_ratio: Annotated[Positive, Field(description="experimental to control")] = 1.0


class RulesTable(AskedTable):
    """The rules of a trial with looks."""

    sides: Annotated[Literal[1, 2], Field(description="1, or 2 for rejecting in both directions")] = 1
    information: Annotated[Reals, Field(description="information fractions of the looks, the last one 1")] = (1.0,)
    user_alpha: Annotated[Reals, Field(description="cumulative one-sided alpha at each look, for spending user")] = ()
    futility_z: Annotated[Reals, Field(description="z below which each look but the last stops for futility")] = ()
    futility_spending: Annotated[
        SpendingFunction | None, Field(description="how 1 - power is spent over the looks for futility")
    ] = None
    futility_parameter: Annotated[Real | None, Field(description="parameter of the futility spending")] = None
    binding: Annotated[
        bool, Field(description="efficacy bounds count on stopping for futility; alpha fails if it is overruled")
    ] = False
    block: Annotated[
        Whole | None,
        Field(
            ge=1, le=1000, description="patients are rounded up to whole blocks (smallest of 4 or more if not given)"
        ),
    ] = None


class SurvivalTable(RulesTable):
    """`[design.survival]`: two arms compared by the time to an event; times in months."""

    hazard_ratio: Annotated[
        Positives, Field(description="assumed, experimental to control; several for an effect that changes over time")
    ] = ()
    effect_breaks: Annotated[
        Reals, Field(description="months since entry at which each hazard ratio begins, the first one 0")
    ] = ()
    scenario: Annotated[str | None, Field(description="a named scenario of the gallery instead of a hazard ratio")] = (
        None
    )
    control_median: Annotated[Positive | None, Field(description="median of the control arm, months")] = None
    control_hazards: Annotated[Reals, Field(description="event hazards of the control arm a month, one a piece")] = ()
    hazard_breaks: Annotated[Reals, Field(description="months at which the pieces begin, the first one 0")] = ()
    accrual: Annotated[Positive | None, Field(description="months of recruitment")] = None
    accrual_rate: Annotated[Positives, Field(description="patients who enter a month, one or one a piece")] = ()
    accrual_breaks: Annotated[Reals, Field(description="months at which the pieces of recruitment begin")] = ()
    patients: Annotated[Patients | None, Field(description="patients in all; not given, solved for")] = None
    follow_up: Annotated[NotNegative | None, Field(description="months from the last patient in to the end")] = None
    duration: Annotated[Positive | None, Field(description="months from the first patient in to the end")] = None
    dropout: Annotated[Real, Field(ge=0, lt=1, description="share who leave without an event in a year")] = 0.0
    formula: Annotated[Method, Field(description="number of events")] = "schoenfeld"
    tests: Annotated[
        tuple[
            Literal[
                "logrank", "lachin-foulkes", "fleming-harrington", "magirr-burman", "maxcombo", "rmst", "milestone"
            ],
            ...,
        ],
        BeforeValidator(_split),
        Field(description="fixed tests to compare at the planned end: the patients that each would need"),
    ] = ()
    tau: Annotated[Positive | None, Field(description="months at which rmst, milestone and magirr-burman are read")] = (
        None
    )
    covariate_r2: Annotated[
        Real, Field(ge=0, lt=1, description="share of the log-rank test's variance that adjustment removes")
    ] = 0.0
    log_hazard_ratio_se: Annotated[
        Positive | None, Field(description="uncertainty of the assumed log hazard ratio, for assurance")
    ] = None
    no_effect: Annotated[Real, Field(ge=0, lt=1, description="prior probability of no effect, for assurance")] = 0.0
    simulate: Annotated[Whole, Field(ge=0, le=100_000_000, description="trials to simulate; 0 for none")] = 0
    seed: Annotated[Whole, Field(ge=0, lt=2**32, description="seed of the simulation")] = 1

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.hazard_ratio and self.scenario is None:
            raise ValueError("the effect is not given: give the hazard ratio, or a named scenario")
        if self.hazard_ratio and self.scenario is not None:
            raise ValueError("both a hazard ratio and a named scenario are given: give one of the two")
        if (self.control_median is None) == (not self.control_hazards):
            raise ValueError("the control arm must be given once: give its median, or its hazards with their breaks")
        timed = [name for name in self.tests if name in ("magirr-burman", "rmst", "milestone")]
        if timed and self.tau is None:
            raise ValueError(f"the test {timed[0]} is read at a time that is not given: give tau in months")
        if self.no_effect and self.log_hazard_ratio_se is None:
            raise ValueError("a prior probability of no effect needs the rest of the prior: give log_hazard_ratio_se")
        if self.accrual is not None and self.accrual_rate and self.patients is not None:
            raise ValueError(
                "recruitment is given three times, by its months, its rate and the patients: leave out one of the three"
            )
        return self


class _SizedTable(RulesTable):
    """What trials without a clock share."""

    higher_is_better: Annotated[
        bool | None, Field(description="yes or no; not given, the assumed effect says which direction is benefit")
    ] = None
    covariate_r2: Annotated[
        Real, Field(ge=0, lt=1, description="share of the outcome's variance that baseline covariates explain")
    ] = 0.0
    optimal_allocation: Annotated[bool, Field(description="the allocation that needs the fewest patients")] = False
    patients: Annotated[Patients | None, Field(description="patients in all; given, the power is computed")] = None

    @model_validator(mode="after")
    def _directed(self) -> Self:
        if getattr(self, "null", None) is not None and self.higher_is_better is None:
            raise ValueError(
                "with a margin (null) the assumed effect does not say which direction is benefit: give higher_is_better, yes or no"
            )
        return self


class MeansTable(_SizedTable):
    """`[design.means]`: two arms compared by their means; by the t-test unless normal_approximation."""

    difference: Annotated[Real | None, Field(description="assumed, experimental less control")] = None
    sd: Annotated[
        Positive | None, Field(description="standard deviation of the control arm, and of both by default")
    ] = None
    experimental_sd: Annotated[Positive | None, Field(description="standard deviation of the experimental arm")] = None
    ratio: Annotated[Positive | None, Field(description="assumed ratio of means instead of a difference")] = None
    variation: Annotated[Positive | None, Field(description="coefficient of variation, with a ratio")] = None
    null: Annotated[
        Real | None, Field(description="effect under the null hypothesis: a margin makes it non-inferiority")
    ] = None
    normal_approximation: Annotated[bool, Field(description="the normal distribution instead of t")] = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        by_difference, by_ratio = self.difference is not None, self.ratio is not None
        if by_difference == by_ratio:
            raise ValueError("the effect must be given once: give the difference of means with sd, or their ratio")
        if by_difference and self.sd is None:
            raise ValueError("the difference of means needs the standard deviation: give sd")
        if by_ratio and self.variation is None:
            raise ValueError("the ratio of means needs the coefficient of variation: give variation")
        return self


class RatesTable(_SizedTable):
    """`[design.rates]`: two arms compared by the share of patients with an event or a response; normal approximation."""

    experimental_rate: Annotated[Share, Field(description="assumed share in the experimental arm")]
    control_rate: Annotated[Share, Field(description="assumed share in the control arm")]
    scale: Annotated[RateScale, Field(description="scale of the effect")] = "risk difference"
    null: Annotated[
        Real | None, Field(description="effect under the null hypothesis: a margin makes it non-inferiority")
    ] = None
    unpooled: Annotated[bool, Field(description="variance of the test at the observed rates instead of the pooled")] = (
        False
    )


class EnrichmentTable(AskedTable):
    """`[design.enrichment]`: a subgroup and all comers by the time to an event, in two stages; times in months."""

    prevalence: Annotated[Share, Field(description="share of patients who belong to the subgroup")]
    hazard_ratio: Annotated[Positive, Field(description="assumed in the subgroup, experimental to control")]
    rest_hazard_ratio: Annotated[Positive, Field(description="assumed in the rest of the patients")] = 1.0
    control_median: Annotated[Positive, Field(description="median of the control arm, months")]
    rest_control_median: Annotated[Positive | None, Field(description="median of the rest's control arm")] = None
    accrual: Annotated[Positive, Field(description="months of recruitment of all comers")]
    patients: Annotated[Patients, Field(description="patients in all")]
    dropout: Annotated[Real, Field(ge=0, lt=1, description="share who leave without an event in a year")] = 0.0
    events: Annotated[
        Positive | None, Field(description="events in all (not given: for the power under the average effect)")
    ] = None
    subgroup_events: Annotated[
        Positive | None, Field(description="further events where the subgroup alone goes on (not given: as many)")
    ] = None
    interim: Annotated[Share, Field(description="fraction of the events at the interim analysis")] = 0.5
    approach: Annotated[
        tuple[Literal["all-comers", "enriched", "co-primary", "hierarchical", "adaptive"], ...],
        BeforeValidator(_split),
        Field(min_length=1, description="designs to compare"),
    ] = ("all-comers", "enriched", "co-primary", "hierarchical", "adaptive")
    rule: Annotated[
        Rule,
        Field(description="how the adaptive design chooses the population at the interim analysis"),
    ] = "best"
    epsilon: Annotated[NotNegative, Field(description="of rule epsilon, on the scale of 1 / hazard ratio")] = 0.1
    thresholds: Annotated[
        tuple[Positive, Positive],
        Field(description="of rule threshold: hazard ratios for the subgroup and for all comers"),
    ] = (1.0, 1.0)
    conditional_powers: Annotated[
        tuple[Real, Real],
        Field(description="of rule conditional-power: least for all comers, and for the subgroup alone"),
    ] = (0.5, 0.2)
    test: Annotated[
        Literal["simes", "bonferroni", "spiessens-debois"], Field(description="of the intersection hypothesis")
    ] = "simes"
    simulate: Annotated[Whole, Field(ge=100, le=100_000_000, description="trials to simulate of each design")] = 10_000
    seed: Annotated[Whole, Field(ge=0, lt=2**32, description="seed of the simulation")] = 1


DESIGN_KINDS: dict[str, type[AskedTable]] = {
    "survival": SurvivalTable,
    "means": MeansTable,
    "rates": RatesTable,
    "enrichment": EnrichmentTable,
}
"""The kinds of design by name, in the order of the help."""


class DesignTable(FileTable):
    """`[design]`: the rules and the assumptions of the next trial; alpha is one-sided."""

    alpha: Annotated[Real, Field(ge=1e-6, lt=0.5)] = 0.025
    power: Annotated[Real, Field(gt=0, lt=1)] = 0.9
    information_fractions: Annotated[tuple[Real, ...], Field(min_length=1, max_length=20)] = (0.5, 1.0)
    spending: Spending = "lan-demets-obrien-fleming"
    spending_parameter: Real | None = None
    user_alpha: Reals = ()
    screened_per_month: Annotated[Real, Field(ge=0.01, le=100_000)] = 50.0
    follow_up_months: Annotated[Real, Field(gt=0, le=600)] = 12.0
    dropout_per_year: Annotated[Real, Field(ge=0, lt=1)] = 0.05
    block: Annotated[Whole, Field(ge=2, le=100)] | None = None
    discount_standard_errors: Annotated[Real, Field(ge=0, le=3)] = 1.0
    cost_screen: Annotated[Real, Field(ge=0)] = 0.0
    cost_patient: Annotated[Real, Field(ge=0)] = 0.0
    survival: SurvivalTable | None = None
    means: MeansTable | None = None
    rates: RatesTable | None = None
    enrichment: EnrichmentTable | None = None
    bridge: BridgeTable | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.power <= self.alpha:
            raise ValueError(
                f"[design] power = {self.power} is not above alpha = {self.alpha}: give a power such as 0.9"
            )
        fractions = (0.0, *self.information_fractions)
        if fractions[-1] != 1 or any(later <= earlier for earlier, later in itertools.pairwise(fractions)):
            shown = ", ".join(f"{fraction:g}" for fraction in self.information_fractions)
            raise ValueError(
                f"[design] information_fractions = {shown} do not rise from above 0 to 1: give fractions such as 0.5, 1.0"
            )
        if self.spending_parameter is not None or self.user_alpha or not self.spending.startswith("lan-demets"):
            self._check_bounds()
        return self

    def _check_bounds(self) -> None:
        """Refuse bounds that do not exist before a data file is read, not after an hour of work on it."""
        from trialml.design.group_sequential import Design

        try:
            _ = self.looks_of(Design(alpha=self.alpha, power=self.power)).critical_values
        except AnalysisError as error:
            raise ValueError(f"[design] {error}") from error

    def looks_of(self, fixed: Design) -> Design:
        """Return a fixed design with the looks and the bounds of the table."""
        return replace(
            fixed,
            information_fractions=self.information_fractions,
            spending=self.spending,
            spending_parameter=self.spending_parameter,
            user_alpha=self.user_alpha or None,
        )

    def requests(self) -> dict[str, AskedTable]:
        """Return the designs that are asked for by kind; alpha and power of `[design]` where a table has none of its own."""
        asked = {kind: getattr(self, kind) for kind in DESIGN_KINDS}
        shared = {name: getattr(self, name) for name in ("alpha", "power") if name in self.model_fields_set}
        return {
            kind: type(table).model_validate({**shared, **table.model_dump(exclude_unset=True)})
            for kind, table in asked.items()
            if table is not None
        }

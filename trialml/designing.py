"""From what was asked of the next trial to its design: tables to rules and scenarios, and these to results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trialml.analysis import Watcher
from trialml.design.doubtful_effect import assurance_with_doubt
from trialml.design.enrichment_comparison import compare_enrichment
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.fixed_tests import FixedTest
from trialml.design.gallery import GALLERY
from trialml.design.group_sequential import Design
from trialml.design.means import plan_mean_ratio, plan_means
from trialml.design.next_trial import OperatingCharacteristics, plan_trial, require_calendar
from trialml.design.nonproportional import (
    LachinFoulkesTest,
    LogRankTest,
    MaxComboTest,
    MilestoneTest,
    RestrictedMeanTest,
    WeightedLogRankTest,
    compare_tests,
    fleming_harrington,
    magirr_burman,
)
from trialml.design.rates import plan_rates
from trialml.design.sample_size import round_up, survival_events
from trialml.design.scenario import Group, Scenario, dropout_hazard
from trialml.design.simulate import simulate
from trialml.design.trial_sums import parts_of
from trialml.design_tables import AskedTable, EnrichmentTable, MeansTable, RatesTable, RulesTable, SurvivalTable
from trialml.errors import AnalysisError, nearest
from trialml.planning import smallest_block
from trialml.result import Result

__all__ = ["Designed", "block_of", "compute_design", "results_to_json", "rules_of"]


@dataclass(frozen=True)
class Designed:
    """A design that was asked for: its kind, what was asked, and the results."""

    kind: str
    asked: AskedTable
    results: tuple[Result, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types: what was asked, and of each result its words, its numbers and its rows."""
        return {
            "design": self.kind,
            "asked": self.asked.model_dump(mode="json"),
            "results": results_to_json(self.results),
        }


def results_to_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return of each result its words, its numbers and its rows as plain JSON types.

    Parameters
    ----------
    results
        In order.
    """
    return [
        {
            "title": result.heading(),
            "text": result.text(),
            "numbers": {name: _finite(value) for name, value in result.scalars().items()},
            "rows": [
                {str(name): _finite(value) for name, value in row.items()} for row in result.frame().to_dict("records")
            ],
        }
        for result in results
    ]


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: both are null."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def compute_design(asked: AskedTable, watcher: Watcher) -> Designed:
    """Return the design that a table asks for.

    Parameters
    ----------
    asked
        A table of `design_tables`.
    watcher
        Sees the progress of simulations.

    Returns
    -------
    Designed
        With its results, the plan first.

    Raises
    ------
    AnalysisError
        If there is no such trial.
    """
    if isinstance(asked, SurvivalTable):
        return Designed("survival", asked, tuple(_survival(asked, watcher)))
    if isinstance(asked, EnrichmentTable):
        return Designed("enrichment", asked, tuple(_enrichment(asked, watcher)))
    if isinstance(asked, MeansTable):
        return Designed("means", asked, (_means(asked),))
    if isinstance(asked, RatesTable):
        return Designed("rates", asked, (_rates(asked),))
    raise AnalysisError(
        f"there is no design of kind {type(asked).__name__}: ask for survival, means, rates or enrichment"
    )


def rules_of(asked: RulesTable) -> Design:
    """Return the design's rules as the design room knows them."""
    return Design(
        alpha=asked.alpha,
        power=asked.power,
        information_fractions=asked.information,
        spending=asked.spending,
        spending_parameter=asked.spending_parameter,
        user_alpha=asked.user_alpha or None,
        allocation_ratio=asked.allocation_ratio,
        sides=asked.sides,
        futility_z=asked.futility_z or None,
        futility_spending=asked.futility_spending,
        futility_parameter=asked.futility_parameter,
        binding=asked.binding,
    )


def block_of(asked: RulesTable) -> int:
    """Return the block to whose multiple patients are rounded up."""
    return asked.block or smallest_block(asked.allocation_ratio / (1 + asked.allocation_ratio))


def _survival(asked: SurvivalTable, watcher: Watcher) -> list[Result]:
    design, truth = rules_of(asked), _truth(asked)
    plan = plan_trial(
        design,
        truth,
        follow_up_months=asked.follow_up,
        duration_months=asked.duration,
        accrual_months=None if asked.patients is not None or _open_ended(asked) else asked.accrual,
        block=block_of(asked),
        events_formula=asked.formula,
        covariate_r_squared=asked.covariate_r2,
    )
    results: list[Result] = [plan]
    if asked.log_hazard_ratio_se is not None:
        results.append(_assurance(plan, asked))
    if asked.tests:
        tests = [_test(name, asked.tau or 0.0) for name in asked.tests]
        month = plan.duration_months
        results.append(compare_tests(plan.scenario, tests, calendar_month=month, alpha=asked.alpha, power=asked.power))
    if asked.simulate:
        results.append(_simulated(plan, asked, watcher))
    return results


def _assurance(plan: OperatingCharacteristics, asked: SurvivalTable) -> Result:
    assert asked.log_hazard_ratio_se is not None
    if plan.scenario.hazard_ratio is None:
        raise AnalysisError(
            "assurance is for one hazard ratio and the assumed effect changes over time: leave log_hazard_ratio_se out"
        )
    return assurance_with_doubt(
        plan.design,
        plan.events / (1 - asked.covariate_r2),
        math.log(plan.scenario.hazard_ratio),
        asked.log_hazard_ratio_se,
        no_effect_probability=asked.no_effect,
    )


def _test(name: str, tau: float) -> FixedTest:
    """Return a test by its name; Fleming and Harrington's weight is (0, 0.5), for effects that come late."""
    if name in ("rmst", "milestone"):
        return RestrictedMeanTest(tau) if name == "rmst" else MilestoneTest(tau)
    if name in ("fleming-harrington", "magirr-burman"):
        return WeightedLogRankTest(fleming_harrington(0.0, 0.5) if name == "fleming-harrington" else magirr_burman(tau))
    plain: dict[str, FixedTest] = {
        "logrank": LogRankTest(),
        "lachin-foulkes": LachinFoulkesTest(),
        "maxcombo": MaxComboTest(),
    }
    return plain[name]


def _simulated(plan: OperatingCharacteristics, asked: SurvivalTable, watcher: Watcher) -> Result:
    words = f"Simulating {asked.simulate:,} trials"
    with watcher.step(words, parts_of(asked.simulate)) as done:
        return simulate(plan.design, plan.scenario, asked.simulate, asked.seed, events=plan.events, progress=done)


def _means(asked: MeansTable) -> Result:
    shared: dict[str, Any] = _sized(asked) | {"normal_approximation": asked.normal_approximation}
    if asked.ratio is not None and asked.variation is not None:
        if asked.null is not None:
            shared["null"] = asked.null
        return plan_mean_ratio(rules_of(asked), ratio=asked.ratio, coefficient_of_variation=asked.variation, **shared)
    assert asked.difference is not None
    assert asked.sd is not None
    return plan_means(
        rules_of(asked),
        difference=asked.difference,
        sd=asked.sd,
        experimental_sd=asked.experimental_sd,
        null=asked.null or 0.0,
        **shared,
    )


def _rates(asked: RatesTable) -> Result:
    return plan_rates(
        rules_of(asked),
        experimental_rate=asked.experimental_rate,
        control_rate=asked.control_rate,
        scale=asked.scale,
        null=asked.null,
        pooled=not asked.unpooled,
        **_sized(asked),
    )


def _sized(asked: MeansTable | RatesTable) -> dict[str, Any]:
    return {
        "higher_is_better": asked.higher_is_better,
        "optimal_allocation": asked.optimal_allocation,
        "covariate_r_squared": asked.covariate_r2,
        "patients": asked.patients,
        "block": block_of(asked),
    }


def _enrichment(asked: EnrichmentTable, watcher: Watcher) -> list[Result]:
    everyone = asked.prevalence * math.log(asked.hazard_ratio) + (1 - asked.prevalence) * math.log(
        asked.rest_hazard_ratio
    )
    design = Design(
        alpha=asked.alpha,
        power=asked.power,
        information_fractions=(asked.interim, 1.0),
        spending=asked.spending,
        spending_parameter=asked.spending_parameter,
        allocation_ratio=asked.allocation_ratio,
    )
    if asked.events is None and abs(everyone) < 1e-9:
        raise AnalysisError(
            "the average effect is none, so no number of events follows from the power: give the events"
        )
    events = asked.events or round_up(
        design.inflation_factor
        * survival_events(
            math.exp(everyone), alpha=asked.alpha, power=asked.power, allocation_ratio=asked.allocation_ratio
        )
    )
    interim = round_up(asked.interim * events)
    designs: dict[str, EnrichmentDesign] = {
        name: _approach(name, asked, design, int(interim), int(events - interim)) for name in asked.approach
    }
    truths = {
        "the effects as assumed": _groups(asked, asked.hazard_ratio, asked.rest_hazard_ratio),
        "no effect in anyone": _groups(asked, 1.0, 1.0),
        "one effect in everyone": _groups(asked, math.exp(everyone), math.exp(everyone)),
    }
    require_calendar(truths["the effects as assumed"], events)
    steps = len(designs) * len(truths) * parts_of(asked.simulate)
    with watcher.step(f"Simulating {asked.simulate:,} trials of each design under each truth", steps) as done:
        found = compare_enrichment(designs, truths, asked.simulate, asked.seed, progress=done)
    return [found]


def _approach(name: str, asked: EnrichmentTable, design: Design, interim: int, further: int) -> EnrichmentDesign:
    if name == "all-comers":
        return EnrichmentDesign.all_comers(interim, further, design=design)
    if name == "enriched":
        return EnrichmentDesign.enriched(interim, further, design=design)
    if name == "hierarchical":
        return EnrichmentDesign.hierarchical(interim, further, design=design)
    if name == "co-primary":
        return EnrichmentDesign.co_primary(interim, further, design=design, test=asked.test)
    return EnrichmentDesign(
        interim,
        further,
        design=design,
        rule=asked.rule,
        test=asked.test,
        epsilon=asked.epsilon,
        thresholds=asked.thresholds,
        conditional_powers=asked.conditional_powers,
        subgroup_events=None if asked.subgroup_events is None else round(asked.subgroup_events),
    )


def _groups(asked: EnrichmentTable, in_subgroup: float, in_rest: float) -> Scenario:
    rest = asked.rest_control_median or asked.control_median
    groups = (
        ("subgroup", asked.prevalence, asked.control_median, in_subgroup),
        ("rest", 1 - asked.prevalence, rest, in_rest),
    )
    return Scenario(
        "as assumed",
        groups=tuple(
            Group(name, share, control_hazard_per_month=math.log(2) / median, hazard_ratio=ratio)
            for name, share, median, ratio in groups
        ),
        accrual_per_month=asked.patients / asked.accrual,
        patients=asked.patients,
        dropout_per_month=dropout_hazard(asked.dropout),
        allocation_ratio=asked.allocation_ratio,
    )


def _truth(asked: SurvivalTable) -> Scenario:
    shared: dict[str, Any] = {
        **_recruitment(asked),
        "dropout_per_month": dropout_hazard(asked.dropout),
        "allocation_ratio": asked.allocation_ratio,
    }
    if asked.scenario is not None:
        return _named(asked, shared)
    hazard: dict[str, Any] = {
        "hazard_breaks_months": asked.hazard_breaks,
        "control_hazards_per_month": asked.control_hazards,
    }
    if asked.control_median is not None:
        hazard = {"control_hazard_per_month": math.log(2) / asked.control_median}
    effect: dict[str, Any] = {"hazard_ratio_breaks_months": asked.effect_breaks, "hazard_ratios": asked.hazard_ratio}
    if len(asked.hazard_ratio) == 1 and not asked.effect_breaks:
        effect = {"hazard_ratio": asked.hazard_ratio[0]}
    return Scenario("as assumed", **hazard, **effect, **shared)


def _named(asked: SurvivalTable, shared: dict[str, Any]) -> Scenario:
    """Return a scenario of the gallery, whose control arm has one hazard."""
    if asked.scenario not in GALLERY:
        raise AnalysisError(f"there is no scenario '{asked.scenario}': {nearest(str(asked.scenario), GALLERY)}")
    if asked.control_median is None:
        raise AnalysisError("a named scenario has one control hazard: give control_median in place of the hazards")
    return GALLERY[str(asked.scenario)].make(asked.control_median, **shared)


def _recruitment(asked: SurvivalTable) -> dict[str, Any]:
    """Return rate and size: of months, rate and patients two give the third, and the end of the trial solves for one."""
    if asked.patients is not None and asked.accrual is not None:
        return {"accrual_per_month": asked.patients / asked.accrual, "patients": asked.patients}
    size: dict[str, float] = {} if asked.patients is None else {"patients": asked.patients}
    if not asked.accrual_rate:
        if asked.accrual is None or _open_ended(asked):
            raise AnalysisError(
                "recruitment is not known: give the patients a month (accrual_rate), or the months of accrual with the "
                "number of patients, the follow_up or the duration"
            )
        return {"accrual_per_month": 1.0}  # the plan scales it to the patients that the months of accrual must bring
    rate = asked.accrual_rate[0] if len(asked.accrual_rate) == 1 and not asked.accrual_breaks else asked.accrual_rate
    if asked.accrual is not None and _open_ended(asked):
        size = {"accrual_months": asked.accrual}
    return {"accrual_per_month": rate, "accrual_breaks_months": asked.accrual_breaks, **size}


def _open_ended(asked: SurvivalTable) -> bool:
    return asked.follow_up is None and asked.duration is None

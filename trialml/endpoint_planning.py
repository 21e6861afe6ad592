"""The next trial with a mean or a rate as its endpoint: from this trial's estimates to designs, side by side."""

from __future__ import annotations

import math

import numpy as np

from trialml.analysis import Analysis
from trialml.design.endpoint_plan import EndpointPlan
from trialml.design.group_sequential import Design
from trialml.design.outcome_enrichment import Measured, OutcomePopulation, plan_outcome, plan_outcome_enrichment
from trialml.design.scenario import dropout_hazard
from trialml.effects.primary_outcome import PrimaryOutcome, benefit_scale
from trialml.errors import AnalysisError
from trialml.planning import designs_of, formed_strata, smallest_block
from trialml.strata.crossfit import HeldOutStrata
from trialml.strata.effects import stratum_members
from trialml.strata.outcome_effects import ObservedOutcomes, OutcomeStratumEffects, outcome_population
from trialml.strata.population import enriched_groups
from trialml.validation.benefit import HeldOutBenefit

__all__ = ["plan_next_outcome_trial"]


def plan_next_outcome_trial(
    analysis: Analysis,
    effect: PrimaryOutcome,
    strata: OutcomeStratumEffects,
    held: HeldOutBenefit | HeldOutStrata,
    outcomes: ObservedOutcomes,
) -> None:
    """Add the plans in all comers, then all comers beside enriched populations.

    The benefit planned for is a population's estimate less the study file's number of standard errors. Where the primary analysis
    is adjusted, so is the next trial's: its covariates' share of the variance is what they took off in this trial.
    """
    asked, designs = analysis.study.design, designs_of(analysis)
    block = asked.block or smallest_block(analysis.trial.treatment.allocation)
    better = effect.higher_is_better
    scale = benefit_scale(effect.kind, higher_is_better=better)
    measured = Measured(effect.kind, better, round(min(effect.r_squared, 0.99), 2), strata.unit, scale)
    everyone = _all_comers(analysis, effect)
    for design in designs.values():
        plan = _plan(everyone, design, measured, block)
        if plan is not None:
            analysis.add(plan, "response")
    compared = plan_outcome_enrichment(
        [everyone, *_enriched(analysis, strata, held, outcomes)],
        designs,
        measured,
        screened_per_month=asked.screened_per_month,
        follow_up_months=asked.follow_up_months,
        lost=1 - math.exp(-dropout_hazard(asked.dropout_per_year) * asked.follow_up_months),
        block=block,
    )
    analysis.add(compared, "response")


def _plan(everyone: OutcomePopulation, design: Design, measured: Measured, block: int) -> EndpointPlan | None:
    """Return the plan in all comers; an effect that is no reason to plan a trial is said by the comparison, in its note."""
    if everyone.planning_benefit <= 0:
        return None
    try:
        return plan_outcome(everyone, design, measured, block=block)
    except AnalysisError:
        return None


def _all_comers(analysis: Analysis, effect: PrimaryOutcome) -> OutcomePopulation:
    sign = 1.0 if effect.higher_is_better else -1.0
    benefit, se = sign * effect.difference.value, effect.difference.se
    return OutcomePopulation(
        "All comers",
        "every eligible patient",
        prevalence=1.0,
        control_mean=effect.means[0],
        benefit=benefit,
        benefit_se=se,
        planning_benefit=_planning(analysis, benefit, se),
        sd=effect.sd,
        effect_kind="direct",
    )


def _planning(analysis: Analysis, benefit: float, se: float) -> float:
    return benefit - analysis.study.design.discount_standard_errors * se


def _enriched(
    analysis: Analysis,
    strata: OutcomeStratumEffects,
    held: HeldOutBenefit | HeldOutStrata,
    outcomes: ObservedOutcomes,
) -> list[OutcomePopulation]:
    """Return the populations that leave out strata, one more each time."""
    members = stratum_members(held, len(strata.rows))
    populations = []
    better = analysis.trial.endpoint.higher_is_better
    for name, places in enriched_groups(formed_strata(analysis), worst_is_low=better):
        known = outcome_population(outcomes, held, np.isin(members, places))
        if not all(math.isfinite(known[name]) for name in ("benefit", "benefit_se", "control_mean", "sd")):
            continue
        populations.append(
            OutcomePopulation(
                name,
                "; ".join(strata.rows["rule"].iloc[list(places)]),
                prevalence=known["share"],
                control_mean=known["control_mean"],
                benefit=known["benefit"],
                benefit_se=known["benefit_se"],
                planning_benefit=_planning(analysis, known["benefit"], known["benefit_se"]),
                sd=known["sd"],
            )
        )
    return populations

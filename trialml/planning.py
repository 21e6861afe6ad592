"""The next trial: from this trial's control hazard and cross-fitted effects to designs, side by side."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from trialml.analysis import Analysis
from trialml.design.enrichment import Population, plan_enrichment
from trialml.design.group_sequential import Design
from trialml.design.next_trial import plan_trial
from trialml.design.scenario import Scenario, dropout_hazard
from trialml.effects.contrast import HAZARD_RATIO, Contrast
from trialml.errors import AnalysisError
from trialml.result import Z95
from trialml.strata.crossfit import HeldOutStrata
from trialml.strata.effects import StratumEffects, StratumOutcomes, population_numbers, stratum_members
from trialml.strata.population import enriched_groups
from trialml.strata.strata import Strata
from trialml.validation.benefit import HeldOutBenefit

__all__ = ["designs_of", "formed_strata", "plan_next_trial", "smallest_block"]


def plan_next_trial(
    analysis: Analysis,
    effect: Contrast,
    strata: StratumEffects,
    held: HeldOutBenefit | HeldOutStrata,
    outcomes: StratumOutcomes,
) -> None:
    """Add the fixed and the group-sequential plan in all comers, then all comers beside enriched populations.

    The planning hazard ratio of a population is its estimate, made less favourable by the study file's number of
    standard errors (Wang, Hung and O'Neill 2006, Pharmaceutical Statistics 5:85-97).
    """
    asked = analysis.study.design
    designs = designs_of(analysis)
    block = asked.block or smallest_block(analysis.trial.treatment.allocation)
    everyone = _all_comers(analysis, effect, outcomes)
    dropout = dropout_hazard(asked.dropout_per_year)
    try:
        for design in designs.values():
            scenario = Scenario(
                name="All comers",
                control_hazard_per_month=everyone.control_hazard_per_month,
                hazard_ratio=everyone.planning_hazard_ratio,
                accrual_per_month=asked.screened_per_month,
                dropout_per_month=dropout,
                allocation_ratio=design.allocation_ratio,
            )
            plan = plan_trial(design, scenario, follow_up_months=asked.follow_up_months, block=block)
            analysis.add(plan, "response")
    except AnalysisError:
        # An effect that is no reason to plan a trial is said by the comparison below, in its note.
        pass
    populations = [everyone, *_enriched(analysis, strata, held, outcomes)]
    horizon = analysis.trial.endpoint.horizon * analysis.trial.endpoint.months_per_unit
    analysis.add(
        plan_enrichment(
            populations,
            designs,
            screened_per_month=asked.screened_per_month,
            follow_up_months=asked.follow_up_months,
            horizon_months=horizon,
            dropout_per_month=dropout,
            block=block,
            cost_screen=asked.cost_screen,
            cost_patient=asked.cost_patient,
        ),
        "response",
    )


def smallest_block(allocation: float) -> int:
    """Return the smallest permuted block of four or more patients that holds whole arms: 4 for 1:1, 6 for 2:1.

    Parameters
    ----------
    allocation
        The probability of the experimental arm.
    """
    share = Fraction(allocation).limit_denominator(20)
    return share.denominator * math.ceil(4 / share.denominator)


def designs_of(analysis: Analysis) -> dict[str, Design]:
    """Return the fixed design and, where the study file asks for looks, the group-sequential one, by name."""
    asked = analysis.study.design
    share = analysis.trial.treatment.allocation
    fixed = Design(alpha=asked.alpha, power=asked.power, allocation_ratio=share / (1 - share))
    looks = asked.looks_of(fixed)
    words = {1: "one look", 2: "two looks", 3: "three looks"}
    designs = {"fixed": fixed}
    if looks.looks > 1:
        designs[words.get(looks.looks, f"{looks.looks} looks")] = looks
    return designs


def formed_strata(analysis: Analysis) -> Strata:
    """Return the strata of a finished response model."""
    assert analysis.response is not None
    assert analysis.response.response is not None
    return analysis.response.response.strata


def _all_comers(analysis: Analysis, effect: Contrast, outcomes: StratumOutcomes) -> Population:
    ratio = effect.estimate(HAZARD_RATIO)
    mean, se = math.log(ratio.value), (math.log(ratio.high) - math.log(ratio.low)) / (2 * Z95)
    control = ~outcomes.treated
    hazard = float(outcomes.event[control].sum() / outcomes.time[control].sum())
    return Population(
        "All comers",
        "every eligible patient",
        prevalence=1.0,
        control_hazard_per_month=hazard / analysis.trial.endpoint.months_per_unit,
        log_hazard_ratio=mean,
        log_hazard_ratio_se=se,
        planning_hazard_ratio=_planning(analysis, mean, se),
        effect_kind="direct",
    )


def _planning(analysis: Analysis, mean: float, se: float) -> float:
    return math.exp(mean + analysis.study.design.discount_standard_errors * se)


def _enriched(
    analysis: Analysis, strata: StratumEffects, held: HeldOutBenefit | HeldOutStrata, outcomes: StratumOutcomes
) -> list[Population]:
    """Return the populations that leave out strata, one more each time."""
    members = stratum_members(held, len(strata.rows))
    endpoint = analysis.trial.endpoint
    populations = []
    for name, places in enriched_groups(formed_strata(analysis), worst_is_low=False):
        inside = np.isin(members, places)
        known = population_numbers(outcomes, held, inside, endpoint.horizon, endpoint.months_per_unit)
        if not all(np.isfinite(known[name]) for name in ("log_hazard_ratio", "control_hazard_per_month")):
            continue
        if known["control_hazard_per_month"] <= 0:
            continue
        mean, se, share = known["log_hazard_ratio"], known["log_hazard_ratio_se"], known["share"]
        populations.append(
            Population(
                name,
                "; ".join(strata.rows["rule"].iloc[list(places)]),
                prevalence=share,
                prevalence_se=math.sqrt(share * (1 - share) / held.score.shape[1]),
                control_hazard_per_month=known["control_hazard_per_month"],
                log_hazard_ratio=mean,
                log_hazard_ratio_se=se,
                planning_hazard_ratio=_planning(analysis, mean, se),
                effect_kind="crossfit",
            )
        )
    return populations

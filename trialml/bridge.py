"""From a finished analysis to what a design may use of its models: numbers with their uncertainty, and what the models fell short of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.analysis import Analysis
from trialml.design.not_planned import NotPlanned
from trialml.design.response_evidence import (
    GroupEvidence,
    Misclassification,
    PlannedEndpoint,
    ResponseEvidence,
    Validation,
)
from trialml.effects.primary_outcome import benefit_scale
from trialml.effects.shrinkage import PRIOR_SCALE, shrink
from trialml.errors import AnalysisError
from trialml.models.coefficients import Coefficients
from trialml.models.learned_model import LearnedModel
from trialml.result import format_number
from trialml.strata.crossfit import HeldOutStrata
from trialml.strata.effects import StratumEffects, StratumOutcomes, population_numbers, stratum_members
from trialml.strata.outcome_effects import ObservedOutcomes, OutcomeStratumEffects, outcome_population
from trialml.strata.stability import StrataStability
from trialml.validation.benefit import BenefitCalibration, HeldOutBenefit

__all__ = ["add_response_evidence", "planned_endpoint", "response_evidence", "upper_strata"]

Floats = NDArray[np.float64]

FEWEST_EVENTS = 200
"""That a response model is learned from, by `promotion.toml`; of a continuous endpoint patients."""
FEWEST_IN_A_GROUP = 11


def add_response_evidence(
    analysis: Analysis,
    strata: StratumEffects | OutcomeStratumEffects,
    held: HeldOutBenefit | HeldOutStrata,
    outcomes: StratumOutcomes | ObservedOutcomes,
) -> None:
    """Add what the response model carries into the next trial, or why it carries nothing.

    Parameters
    ----------
    analysis, strata, held, outcomes
        As `response_evidence` takes them.
    """
    try:
        found = response_evidence(analysis, strata, held, outcomes)
    except AnalysisError as error:
        analysis.add(NotPlanned(ResponseEvidence.title, str(error).rstrip(".")), "response")
        return
    others = []
    for first in _other_cuts(analysis, len(strata.rows)):
        try:
            others.append(response_evidence(analysis, strata, held, outcomes, first=first))
        except AnalysisError:
            # A side too small to be judged is no candidate.
            continue
    analysis.add(found.replaced(other_rules=tuple(others)), "response")


def _other_cuts(analysis: Analysis, groups: int) -> list[int]:
    """Return the other places at which strata with an order can be cut in two; the cells of a grid have none."""
    if analysis.study.strata.kind == "risk by benefit":
        return []
    return [first for first in range(1, groups) if first != upper_strata(groups)]


def upper_strata(groups: int) -> int:
    """Return the place of the first stratum that is selected: the upper half of the strata, of an odd number the smaller part.

    Of thirds this is the highest alone. The choice does not look at the effects.
    """
    return groups - groups // 2


def response_evidence(
    analysis: Analysis,
    strata: StratumEffects | OutcomeStratumEffects,
    held: HeldOutBenefit | HeldOutStrata,
    outcomes: StratumOutcomes | ObservedOutcomes,
    *,
    first: int | None = None,
) -> ResponseEvidence:
    """Return what the response model and its strata carry into the next trial.

    The effects inside and outside are cross-fitted and then shrunk towards their common mean in the hierarchical model of
    `trialml.effects.shrinkage`; their joint posterior is taken as normal with its mean and covariance.

    Parameters
    ----------
    analysis
        The results so far.
    strata
        Cross-fitted effects by stratum.
    held
        Out-of-fold scores and memberships.
    outcomes
        What was observed of the patients.
    first
        The place of the first stratum that is selected, from 1; by default `upper_strata`, of a grid of risk by benefit the last cell.

    Returns
    -------
    ResponseEvidence

    Raises
    ------
    AnalysisError
        If there is one stratum only, a side of the rule is too small, or its effect cannot be estimated.
    """
    groups = len(strata.rows)
    start = first
    if start is None:
        # The cells of a grid have no one order: the last is the highest in both.
        start = groups - 1 if analysis.study.strata.kind == "risk by benefit" else upper_strata(groups)
    if not 0 < start < groups:
        whom = "nobody" if start >= groups else "everybody"
        raise AnalysisError(
            f"the strata from place {start} on, of {groups}, select {whom}: there is no stratum to enrich for, so plan the next trial in all "
            "comers"
        )
    inside = stratum_members(held, groups) >= start
    timed = isinstance(outcomes, StratumOutcomes)
    sides = [_side(analysis, outcomes, held, member) for member in (inside, ~inside)]
    _refuse_unknown(sides)
    prior = PRIOR_SCALE if timed else float(strata.prior_scale)  # type: ignore[union-attr]
    errors = [side["se"] for side in sides]
    found = shrink([side["effect"] for side in sides], errors, prior_scale=prior)
    rules, n = [str(one) for one in strata.rows["rule"]], held.score.shape[1]
    rule, complement = _words(rules, start)
    return ResponseEvidence(
        endpoint=planned_endpoint(analysis),
        rule=rule,
        complement=complement,
        inside=_group(sides[0]),
        outside=_group(sides[1]),
        mean=(float(found.mean[0]), float(found.mean[1])),
        covariance=_pairs(found.covariance),
        data_covariance=((errors[0] ** 2, 0.0), (0.0, errors[1] ** 2)),
        count=sides[0]["share"] * n,
        n=n,
        heterogeneity_p=float(strata.heterogeneity_p),
        misclassification=_misclassification(analysis, strata, start),
        validation=_validation(analysis),
        model_name=analysis.model_name("response"),
        trial=analysis.trial.name,
        data_sha256=analysis.trial.sha256,
    )


def _words(rules: list[str], start: int) -> tuple[str, str]:
    """Return the rules of both sides; strata of one score are one range, whose later words do not repeat the score's name."""
    lowest, cut = rules[0].split(" below "), rules[start]
    if len(lowest) == 2 and cut.startswith("at least "):
        value = cut.removeprefix("at least ")
    elif len(lowest) == 2 and cut.startswith("from ") and " to below " in cut:
        low, rest = cut.removeprefix("from ").split(" to below ")
        value = " ".join([low, *rest.split(" ")[1:]])
    else:
        return "; or ".join(rules[start:]), "; or ".join(rules[:start])
    return f"{lowest[0]} at least {value}", f"{lowest[0]} below {value}"


def planned_endpoint(analysis: Analysis) -> PlannedEndpoint:
    """Return the endpoint on which the next trial is planned, with its planning scale."""
    asked = analysis.trial.endpoint
    if asked.kind == "time to event":
        return PlannedEndpoint(asked.kind, asked.name, horizon_months=asked.horizon * asked.months_per_unit)
    return PlannedEndpoint(
        asked.kind,
        asked.name,
        scale=benefit_scale(asked.kind, higher_is_better=asked.higher_is_better),
        unit=asked.unit if asked.kind == "continuous" else "",
        higher_is_better=asked.higher_is_better,
    )


def _side(
    analysis: Analysis,
    outcomes: StratumOutcomes | ObservedOutcomes,
    held: HeldOutBenefit | HeldOutStrata,
    member: NDArray[np.bool_],
) -> dict[str, float]:
    """Return what is known of the patients on one side of the rule, with `effect` and `se` on the planning scale."""
    if isinstance(outcomes, StratumOutcomes):
        endpoint = analysis.trial.endpoint
        known = population_numbers(outcomes, held, member, endpoint.horizon, endpoint.months_per_unit)
        control = (member & ~outcomes.treated & outcomes.event).sum(axis=1).mean()
        return known | {
            "effect": known["log_hazard_ratio"],
            "se": known["log_hazard_ratio_se"],
            "control_events": float(control),
        }
    known = outcome_population(outcomes, held, member)
    return known | {"effect": known["benefit"], "se": known["benefit_se"]}


def _refuse_unknown(sides: list[dict[str, float]]) -> None:
    for name, side in zip(("inside", "outside"), sides, strict=True):
        if side["n"] < FEWEST_IN_A_GROUP:
            raise AnalysisError(
                f"{name} the stratum there are fewer than {FEWEST_IN_A_GROUP} patients: form fewer or larger strata"
            )
        if not (math.isfinite(side["effect"]) and side["se"] > 0):
            raise AnalysisError(
                f"the effect {name} the stratum cannot be estimated: an arm there has too few events or patients, so form larger strata"
            )


def _group(side: dict[str, float]) -> GroupEvidence:
    named = ("control_hazard_per_month", "control_events", "control_mean", "sd")
    known = {name: side.get(name, math.nan) for name in named}
    # A small cell is hidden, as in every table; a missing count is planned with as if it were the largest hidden one.
    if known["control_events"] < FEWEST_IN_A_GROUP:
        known["control_events"] = math.nan
    return GroupEvidence(**known)


def _pairs(matrix: Floats) -> tuple[tuple[float, float], tuple[float, float]]:
    return (float(matrix[0, 0]), float(matrix[0, 1])), (float(matrix[1, 0]), float(matrix[1, 1]))


def _misclassification(
    analysis: Analysis, strata: StratumEffects | OutcomeStratumEffects, start: int
) -> Misclassification:
    """Return how often rules that had not seen a patient disagree with the final rule about the side."""
    moves = analysis.only(StrataStability).moves.iloc[:, 1:].to_numpy(dtype=np.float64)
    shares = strata.rows["share"].to_numpy(dtype=np.float64)
    shares = np.where(np.isfinite(shares), shares, np.nanmean(shares))
    # A stratum into which the final rule puts nobody has no row of its own.
    known = np.isfinite(moves).all(axis=1)
    above = np.arange(len(moves)) >= start
    errs = []
    for own in (above, ~above):
        rows = own & known
        if not rows.any():
            errs.append(0.0)
            continue
        other = moves[np.ix_(rows, ~above if own is above else above)].sum(axis=1)
        errs.append(float(np.average(other, weights=shares[rows])))
    return Misclassification(*(min(one, 0.999) for one in errs))


def _validation(analysis: Analysis) -> Validation:
    """Return whether anything speaks against the response model: an order that did not come true on unseen patients, or too few events."""
    slope = analysis.only(BenefitCalibration).slope
    described: tuple[Any, ...] = (*analysis.about(Coefficients), *analysis.about(LearnedModel))
    model = next(one for one in described if one.subject == "benefit")
    failed = []
    if not slope.value > 0:
        failed.append("the calibration slope of the benefit score")
    if model.events < FEWEST_EVENTS:
        failed.append(model.counted)
    words = (
        f"calibration slope of the benefit score {slope.text()}, of patients not seen (it must be above 0; the test of heterogeneity, which limits false claims, is the gate's); {model.events:,} "
        f"{model.counted} (at least {FEWEST_EVENTS})"
    )
    if math.isnan(slope.value):
        words = words.replace(slope.text(), format_number(math.nan))
    return Validation(not failed, tuple(failed), words)

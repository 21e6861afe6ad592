"""One way to learn strata of every kind, the same in all patients, in folds and in bootstrap samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.models.input_contract import InputContract
from trialml.strata.conditions import BENEFIT, RISK
from trialml.strata.crossfit import LearnedRule, in_final_order
from trialml.strata.cut_points import MOST_CUTS
from trialml.strata.policy_tree import policy_tree
from trialml.strata.score_tree import score_tree
from trialml.strata.strata import Strata, StrataKind, quantile_strata, risk_by_benefit_strata
from trialml.strata.tree_growth import LeafLimits

__all__ = ["StrataPlan", "TrainingPatients", "learn_strata", "refitted_rule", "with_scores"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class StrataPlan:
    """What strata are asked for.

    Attributes
    ----------
    kind
        What they are made by.
    groups
        Groups of benefit or risk, from 2 to 5; of a grid 2 or 3.
    risk_groups
        Groups of risk in a grid, 2 or 3.
    depth
        Questions on the way to a leaf of a tree: 1 to 3, of a policy tree 1 or 2.
    margin
        The smallest benefit for which a policy tree recommends the experimental arm, in the unit of the scores.
    limits
        The smallest leaf.
    most_cuts
        Cut-points a covariate.
    model, unit
        What the rules call the response model, and the unit of its score.
    risk_model, risk_of, risk_name
        What they call the risk model, what its risk is of and by when (``"of the event by 730 days"``), and what is predicted where that
        is no risk: the probability of an event that is a benefit, or a mean.
    """

    kind: StrataKind = "benefit"
    groups: int = 3
    risk_groups: int = 2
    depth: int = 2
    margin: float = 0.0
    limits: LeafLimits = field(default_factory=LeafLimits)
    most_cuts: int = MOST_CUTS
    model: str = "the response model"
    unit: str = ""
    risk_model: str = "the risk model"
    risk_of: str = "of the event"
    risk_name: str = "risk"


@dataclass(frozen=True)
class TrainingPatients:
    """The patients whom strata are learned from, each array of shape (n,); what a kind does not need may be None.

    Attributes
    ----------
    X
        Covariates at baseline, shape (n, p), with the columns of `contract`.
    scores
        Doubly robust scores, cross-fitted among these patients.
    treated, event
        Arm, and whether the event was seen; no event where the endpoint has none.
    risk, benefit_score
        Of these patients by models learned from them.
    """

    X: pd.DataFrame
    scores: Floats
    treated: Flags
    event: Flags | None = None
    risk: Floats | None = None
    benefit_score: Floats | None = None


def learn_strata(plan: StrataPlan, known: TrainingPatients, contract: InputContract) -> Strata:
    """Learn the strata that a plan asks for.

    Parameters
    ----------
    plan
        What is asked for.
    known
        The training patients.
    contract
        Types, labels and categories of the covariates in the whole trial.

    Raises
    ------
    AnalysisError
        If a score that the kind needs was not given, and as the builder of the kind.
    """
    if plan.kind == "tree":
        grown = score_tree(
            known.X, known.scores, known.treated, known.event, contract,
            depth=plan.depth, limits=plan.limits, most_cuts=plan.most_cuts,
        )  # fmt: skip
        return grown.strata
    if plan.kind == "policy tree":
        best = policy_tree(
            known.X, known.scores, known.treated, known.event, contract,
            depth=plan.depth, margin=plan.margin, limits=plan.limits, most_cuts=plan.most_cuts,
        )  # fmt: skip
        return best.strata
    if plan.kind == "benefit":
        score = _given(known.benefit_score, plan, "benefit score")
        return quantile_strata(score, plan.groups, model=plan.model, unit=plan.unit)
    risk = _given(known.risk, plan, "risk")
    if plan.kind == "risk":
        return quantile_strata(
            risk, plan.groups, model=plan.risk_model, unit=plan.risk_of, kind="risk", risk_name=plan.risk_name
        )
    return risk_by_benefit_strata(
        risk,
        _given(known.benefit_score, plan, "benefit score"),
        (plan.risk_groups, plan.groups),
        risk_words=f"{plan.risk_name} {plan.risk_of} by {plan.risk_model}",
        benefit_words=f"benefit score of {plan.model}",
        unit=plan.unit,
        risk_name=plan.risk_name,
    )


def _given(score: Floats | None, plan: StrataPlan, what: str) -> Floats:
    if score is None:
        raise AnalysisError(
            f"Strata by {plan.kind} need a {what} of each patient: fit the model that gives it, or ask for another kind."
        )
    return score


def refitted_rule(
    learned: Callable[[Rows], tuple[TrainingPatients, Callable[[Rows], pd.DataFrame], Callable[[Rows], Floats]]],
    plan: StrataPlan,
    contract: InputContract,
    final: Strata,
) -> Callable[[Rows], LearnedRule]:
    """Return what `crossvalidate_strata` and `rule_stability` call for each training set: the whole of the learning.

    Parameters
    ----------
    learned
        From training rows to three things learned on them alone: the training patients with their scores; a function from
        other rows to what strata are read from (covariates, and ``risk`` and ``benefit_score`` by models of the training rows); a
        function from other rows to their doubly robust scores, by nuisance models of the training rows.
    plan, contract
        As in `learn_strata`.
    final
        The strata of all patients: fold's strata are numbered as these.
    """

    def learn(rows: Rows) -> LearnedRule:
        known, patients_of, scores_of = learned(rows)
        own = learn_strata(plan, known, contract)

        def strata_of(others: Rows) -> Rows:
            # A category that is in no training patient of the fold is none of those that its rule names.
            return in_final_order(own.place(patients_of(others), unseen="other"), own, final)

        return strata_of, scores_of

    return learn


def with_scores(X: pd.DataFrame, *, risk: Floats | None = None, benefit_score: Floats | None = None) -> pd.DataFrame:
    """Return covariates with the models' scores in the columns that strata read them from."""
    added = {RISK: risk, BENEFIT: benefit_score}
    return X.assign(**{name: values for name, values in added.items() if values is not None})

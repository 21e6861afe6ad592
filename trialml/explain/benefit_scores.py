"""The benefit score of a response model as something that is explained, exact where it adds up over trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.explained_score import ExplainedScore, names_without
from trialml.explain.risk_scores import forest_boxes, tree_boxes, tree_columns
from trialml.explain.tree_boxes import Boxes, joined
from trialml.models.boosted_continuous import BoostedContinuous
from trialml.models.forest_scores import ForestScores
from trialml.models.meta_learners import OfMeans, OfTimes, SLearner, TLearner
from trialml.models.outcome_benefit import areas_to
from trialml.models.survival_forest import SurvivalForest
from trialml.survival.ties import TIE_TOLERANCE

__all__ = ["benefit_score"]

Floats = NDArray[np.float64]


def benefit_score(model: Any, unit: str) -> ExplainedScore:
    """Return the benefit score of a fitted response model, before shrinkage.

    Parameters
    ----------
    model
        A response model.
    unit
        Of its scores.

    Returns
    -------
    ExplainedScore
        Exact for forests on doubly robust scores, and for learners that are differences of restricted means of survival forests or of
        means of boosted trees; any other score is a function of all covariates together.

    Raises
    ------
    AnalysisError
        If the model has several scores.
    """
    names = names_without(model.feature_names_in_, getattr(model, "treatment", None))

    def value(X: pd.DataFrame) -> Floats:
        found = np.asarray(model.benefit_score(X), dtype=np.float64)
        if found.ndim != 1:
            raise AnalysisError(
                "The model has a benefit score for each of several arms: explain one of them at a time."
            )
        return found[:, None]

    boxes = _boxes(model)
    if boxes is None:
        return ExplainedScore(names, value, unit)
    shifted = boxes._replace(offset=boxes.offset + model.average_ - model.centre_)
    inner = model if isinstance(model, ForestScores) else model.learned_[0]
    own = names_without(inner.design_.names, inner.design_.treatment)
    return ExplainedScore(own, value, unit, boxes=shifted, matrix=tree_columns(inner))


def _boxes(model: Any) -> Boxes | None:
    """Return the leaves of a benefit score before centring, None where it is no sum of trees."""
    if isinstance(model, ForestScores):
        return tree_boxes(model, model.trees_, model.trees_.value[:, None])._replace(
            offset=np.array([model.trees_.baseline])
        )
    if not isinstance(model, SLearner | TLearner) or not _of_one_design(model):
        return None
    # An S-learner asks one model about either arm, a T-learner each model about its own.
    control, treated = model.learned_[0], model.learned_[-1]
    sides = [_value_of_arm(model, control, 0.0), _value_of_arm(model, treated, 1.0)]
    if sides[0] is None or sides[1] is None:
        return None
    return joined([sides[0].times(-np.ones((1, 1))), sides[1]])


def _of_one_design(model: Any) -> bool:
    """Whether both models of a learner code the covariates alike, so that their leaves can stand side by side."""
    designs = [getattr(one, "design_", None) for one in model.learned_]
    return all(design is not None and design.state() == designs[0].state() for design in designs if designs[0])


def _value_of_arm(model: Any, learned: Any, arm: float) -> Boxes | None:
    """Return the leaves of what one model says of one arm, higher is better."""
    if isinstance(model, OfTimes) and isinstance(learned, SurvivalForest):
        grid = np.asarray(model.grid_, dtype=np.float64)
        known = np.minimum(grid, learned.horizon_limit_)
        place = np.searchsorted(learned.times_, known * (1 + TIE_TOLERANCE), side="right")
        return forest_boxes(learned, lambda curves: areas_to(grid, curves[:, place], model.tau_)[:, None], arm)
    if isinstance(model, OfMeans) and isinstance(learned, BoostedContinuous):
        boxes = tree_boxes(learned, learned.trees_, learned.trees_.value[:, None], arm=arm)
        way = 1.0 if model.higher_is_better else -1.0
        return boxes._replace(offset=np.array([learned.trees_.baseline])).times(np.full((1, 1), way))
    return None

"""The scores of risk models that are explained: on the scale that a model adds up on, and as a risk by some times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.explained_score import ExplainedScore, names_without
from trialml.explain.tree_boxes import Boxes, boxes_of
from trialml.models.cox_model import CoxModel, proportional_survival
from trialml.models.forest_scores import ForestScores
from trialml.models.meta_learners import SLearner, TLearner
from trialml.models.outcome_benefit import areas_to
from trialml.models.person_periods import HazardTrees
from trialml.models.survival_forest import SurvivalForest
from trialml.models.tree_arrays import TreeArrays
from trialml.survival.ties import TIE_TOLERANCE

__all__ = [
    "additive_score",
    "count_patients",
    "forest_boxes",
    "mean_score",
    "risk_score",
    "rmst_score",
    "tree_boxes",
    "tree_columns",
]

Floats = NDArray[np.float64]
CONTROL = 0.0
_POINTS = 401
"""Where smooth curves are read for their restricted mean, by the trapezium rule."""


def additive_score(estimator: Any) -> ExplainedScore | None:
    """Return what the trees of a risk model add up to, None where it has none that add up.

    Parameters
    ----------
    estimator
        A fitted risk model. An arm that is one of its covariates is that of control.

    Returns
    -------
    ExplainedScore or None
        The log hazard of boosted hazards (of the event, where causes compete; averaged over the times of events), the log odds of a binary
        endpoint, the mean of a continuous one. A forest adds up to a risk: see `risk_score`.
    """
    found = getattr(estimator, "hazard_", None) or getattr(estimator, "event_", None)
    if isinstance(found, HazardTrees):
        if found.trees is None:
            return None
        periods = len(found.marginal)
        boxes = tree_boxes(estimator, found.trees, found.trees.value[:, None], periods=periods)
        whole = boxes._replace(offset=np.full(periods, found.trees.baseline)).times(found.share[:, None])
        return _of_trees(estimator, whole, lambda X: found.score(estimator.design_.matrix(X))[:, None], "log hazard")
    trees = getattr(estimator, "trees_", None)
    if not isinstance(trees, TreeArrays) or isinstance(estimator, SurvivalForest):
        return None
    boxes = tree_boxes(estimator, trees, trees.value[:, None])._replace(offset=np.array([trees.baseline]))
    unit = "log hazard" if hasattr(estimator, "log_hazard") else "log odds" if hasattr(estimator, "risk") else "mean"
    return _of_trees(estimator, boxes, lambda X: trees.total(estimator.design_.matrix(X))[:, None], unit)


def risk_score(estimator: Any, times: Sequence[float] | None) -> ExplainedScore:
    """Return the risk by some times under control, in percentage points.

    Parameters
    ----------
    estimator
        A fitted risk model of a time to event, of competing risks, or of a binary endpoint.
    times
        One output each; None for an endpoint without follow-up.

    Returns
    -------
    ExplainedScore
        Exact for a survival forest, whose curves are means over trees; of a proportional hazards model a function of a line.
    """
    if times is None:
        return _any(estimator, lambda X: 100 * np.asarray(estimator.risk(X))[:, None], "percentage points of risk")
    at = np.asarray(times, dtype=np.float64)
    unit = "percentage points of risk"

    def value(X: pd.DataFrame) -> Floats:
        if hasattr(estimator, "survival"):
            return np.asarray(100 * (1 - estimator.survival(X, at)))
        return np.asarray(100 * estimator.cumulative_incidence(X, at))

    if isinstance(estimator, SurvivalForest):
        place = np.searchsorted(estimator.times_, at * (1 + TIE_TOLERANCE), side="right")
        boxes = forest_boxes(estimator, lambda curves: 100 * (1 - curves[:, place]))
        return _of_trees(estimator, boxes, value, unit)
    return _line_or_any(estimator, value, lambda survival: 100 * (1 - survival), at, unit)


def mean_score(estimator: Any, unit: str) -> ExplainedScore:
    """Return the mean outcome that a model of a continuous endpoint predicts under control.

    Parameters
    ----------
    estimator
        Fitted.
    unit
        Of the outcome.
    """
    return _any(estimator, lambda X: np.asarray(estimator.predict(X), dtype=np.float64)[:, None], unit)


def rmst_score(estimator: Any, tau: float, unit: str) -> ExplainedScore:
    """Return the restricted mean up to tau under control: linear in S(t | x), and so exact for a survival forest.

    Parameters
    ----------
    estimator
        A fitted risk model of a time to event.
    tau, unit
        Where the mean is restricted, and the unit of time.
    """
    words = f"{unit} of restricted mean"
    stepping = getattr(estimator, "times_", getattr(estimator, "baseline_times_", None))
    if stepping is None:
        even = np.linspace(0, tau, _POINTS)
        return _any(estimator, lambda X: _trapezia(estimator.survival(X, even), even)[:, None], words)
    steps = stepping[stepping < tau]

    def area(survival: Floats) -> Floats:
        return areas_to(steps, survival, tau)[:, None]

    def value(X: pd.DataFrame) -> Floats:
        return area(estimator.survival(X, steps))

    if isinstance(estimator, SurvivalForest):
        boxes = forest_boxes(estimator, lambda curves: area(curves[:, 1 : len(steps) + 1]))
        return _of_trees(estimator, boxes, value, words)
    return _line_or_any(estimator, value, area, steps, words)


def _trapezia(survival: Floats, times: Floats) -> Floats:
    return np.asarray((survival[:, 1:] + survival[:, :-1]) @ np.diff(times) / 2)


def count_patients(estimator: Any, X: pd.DataFrame, fewest: float = 1.0) -> None:
    """Count the patients that reach each node of a model's trees, which path-dependent explanations need; others are left as they are.

    Parameters
    ----------
    estimator
        A fitted model; of a meta-learner each model within.
    X
        Patients, with the arm where it is a covariate.
    fewest
        As in `TreeArrays.weigh`.
    """
    for model in estimator.learned_ if isinstance(estimator, SLearner | TLearner) else (estimator,):
        parts = [getattr(model, name, None) for name in ("trees_", "hazard_", "event_", "competing_")]
        for part in parts:
            trees = part.trees if isinstance(part, HazardTrees) else part
            if isinstance(trees, TreeArrays):
                columns = model.design_.columns()
                arm = columns.index(model.design_.treatment) if model.design_.treatment is not None else None
                trees.weigh(tree_columns(model)(X), fewest, arm)


def forest_boxes(forest: SurvivalForest, of_curves: Callable[[Floats], Floats], fixed: float | None = CONTROL) -> Boxes:
    """Return a survival forest's leaves with linear functions of their curves.

    Parameters
    ----------
    forest
        Fitted.
    of_curves
        Turns survival at 0 and at the times of the grid, shape (leaves, g + 1), into outputs, shape (leaves, outputs).
    fixed
        The arm, where it is a covariate.
    """
    curves = np.column_stack([np.ones(len(forest.curves_)), forest.curves_])
    outputs = of_curves(curves) / len(forest.trees_.root)
    leaf = forest.curve_of_node_ >= 0
    value = np.zeros((len(leaf), outputs.shape[1]))
    value[leaf] = outputs[forest.curve_of_node_[leaf]]
    return tree_boxes(forest, forest.trees_, value, arm=fixed)


def tree_columns(estimator: Any) -> Callable[[pd.DataFrame], Floats]:
    """Return what turns a frame into the columns that a model's trees compare; the arm, where it is missing, is control."""
    arm = estimator.design_.treatment
    # The trees of scikit-learn's forests compare in single precision; those of boosting do not.
    single = isinstance(estimator, SurvivalForest | ForestScores)

    def matrix(X: pd.DataFrame) -> Floats:
        given = X if arm is None or arm in X else X.assign(**{arm: CONTROL})
        found = np.asarray(estimator.design_.matrix(given))
        return found.astype(np.float32).astype(np.float64) if single else found

    return matrix


def tree_boxes(
    estimator: Any, trees: TreeArrays, value: Floats, *, periods: int = 0, arm: float | None = CONTROL
) -> Boxes:
    """Return the leaves of a model's trees, the columns of a covariate together and the arm held.

    Parameters
    ----------
    estimator
        The model, for its columns.
    trees, value, periods
        As for `boxes_of`.
    arm
        The arm, where it is a covariate.
    """
    names, columns = names_without(estimator.design_.names, estimator.design_.treatment), estimator.design_.columns()
    players = [names.index(name) if name in names else 0 for name in columns]
    fixed = {k: arm for k, name in enumerate(columns) if name not in names and arm is not None}
    return boxes_of(trees, value, players, fixed=fixed, periods=periods, counted=trees.weight)


def _of_trees(estimator: Any, boxes: Boxes, value: Callable[[pd.DataFrame], Floats], unit: str) -> ExplainedScore:
    names = names_without(estimator.design_.names, estimator.design_.treatment)
    return ExplainedScore(names, _under_control(estimator, value), unit, boxes=boxes, matrix=tree_columns(estimator))


def _under_control(estimator: Any, value: Callable[[pd.DataFrame], Floats]) -> Callable[[pd.DataFrame], Floats]:
    arm = getattr(estimator, "treatment", None)
    return value if arm is None else lambda X: value(X.assign(**{arm: CONTROL}))


def _any(estimator: Any, value: Callable[[pd.DataFrame], Floats], unit: str) -> ExplainedScore:
    names = names_without(estimator.feature_names_in_, getattr(estimator, "treatment", None))
    return ExplainedScore(names, _under_control(estimator, value), unit)


def _line_or_any(
    estimator: Any,
    value: Callable[[pd.DataFrame], Floats],
    of_survival: Callable[[Floats], Floats],
    times: Floats,
    unit: str,
) -> ExplainedScore:
    found = _any(estimator, value, unit)
    if not isinstance(estimator, CoxModel):
        return found
    if len(times) and times.max() > estimator.horizon_limit_ * (1 + TIE_TOLERANCE):
        raise AnalysisError(
            f"A risk at {times.max():g} was asked for, but the training data end at {estimator.horizon_limit_:g}: choose earlier times."
        )
    names, encoder = found.covariates, estimator.encoder_
    place = np.array([names.index(name) for name in encoder.covariate_of_column()])
    adds = np.zeros((len(place), len(names)))
    adds[np.arange(len(place)), place] = estimator.coefficients_

    def link(total: Floats) -> Floats:
        baseline = (estimator.baseline_times_, estimator.baseline_hazard_)
        return of_survival(proportional_survival(total, *baseline, times, estimator.horizon_limit_))

    return ExplainedScore(names, found.value, unit, parts=lambda X: encoder.transform(X) @ adds, link=link)

"""Risk by a forest whose leaves hold Kaplan-Meier curves, grown on log-rank scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.columns import names_of
from trialml.models.cox_model import FEWEST_EVENTS, checked_times_of_risk
from trialml.models.forest_curves import leaf_curves
from trialml.models.linear_design import refuse_perfect_prediction
from trialml.models.outcome import checked_survival
from trialml.models.score import ScoredByConcordance
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign
from trialml.survival.cox import baseline_cumulative_hazard
from trialml.survival.product_limit import step_at
from trialml.survival.ties import TIE_TOLERANCE

__all__ = ["MODEL", "SurvivalForest"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MANY_PATIENTS = 10_000
"""Patients from which on trees are grown on all cores."""
_ROWS_AT_ONCE = 4096


class SurvivalForest(ScoredByConcordance, BaseEstimator):  # type: ignore[misc]
    """Mean of the Kaplan-Meier curves of the leaves that a patient falls into.

    Each tree is grown on a bootstrap sample by scikit-learn's regression trees, whose outcome are log-rank scores, the event
    minus the cumulative hazard at the patient's time (martingale residuals of a model without covariates): the split that lowers their squared error most is the one with the
    largest log-rank score statistic. A leaf's curve is that of the bootstrap sample's patients in it, read on a grid of event
    times and constant between them: ``S(t | x) = mean over trees of S_leaf(t)``. Missing covariates are sent down the side of a
    split that fits better.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), a column like the others.
    trees : int
    fewest : int
        Fewest patients of the bootstrap sample in a leaf, a patient drawn twice counted once in the growing.
    leaves : int
        Most leaves of a tree.
    share : float
        Share of the columns that each split looks at.
    grid : int
        Most times at which the curves are kept: all event times, or as many of their quantiles.
    seed : int

    Attributes
    ----------
    design_ : TreeDesign
    trees_ : TreeArrays
    times_ : ndarray of shape (g,)
    curves_ : ndarray of shape (leaves, g)
        Survival in each leaf of the forest at `times_`.
    curve_of_node_ : ndarray of int, shape (nodes,)
        The row of `curves_` of each leaf; -1 for a split.
    horizon_limit_ : float
        The last time at which a risk may be read.

    References
    ----------
    Ishwaran H, Kogalur UB, Blackstone EH, Lauer MS. Random survival forests. Ann Appl Stat 2008;2:841-860. Hothorn T, Lausen B.
    On the exact distribution of maximally selected rank statistics. Comput Stat Data Anal 2003;43:121-137.
    """

    def __init__(
        self,
        treatment: str | None = None,
        trees: int = 100,
        fewest: int = 15,
        leaves: int = 200,
        share: float = 0.4,
        grid: int = 60,
        seed: int = 1,
    ) -> None:
        self.treatment = treatment
        self.trees = trees
        self.fewest = fewest
        self.leaves = leaves
        self.share = share
        self.grid = grid
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: NDArray[np.void]) -> Self:
        """Fit on covariates X, shape (n, p), and the structured outcome y, shape (n,).

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events, or a covariate orders them without an error.
        DataError
            If y is no time to event.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        from sklearn.ensemble import RandomForestRegressor

        time, event = checked_survival(y)
        if event.sum() < FEWEST_EVENTS:
            raise AnalysisError(
                f"A survival forest cannot be fitted to {int(event.sum())} events: at least {FEWEST_EVENTS} are needed."
            )
        self.feature_names_in_ = names_of(X)
        self.design_ = TreeDesign.learn(X, self.treatment)
        values = self.design_.matrix(X)
        refuse_perfect_prediction(*self.design_.known(values), time, event)
        # The trees of scikit-learn compare in single precision.
        matrix = values.astype(np.float32)
        forest = RandomForestRegressor(
            n_estimators=self.trees,
            min_samples_leaf=self.fewest,
            max_leaf_nodes=self.leaves,
            max_features=self.share,
            random_state=self.seed,
            # Trees grow apart, so that the number of cores moves nothing.
            n_jobs=-1 if len(matrix) >= MANY_PATIENTS else None,
        ).fit(matrix, logrank_scores(time, event))
        self.trees_ = TreeArrays.of_forest(forest)
        self.times_ = self._grid_of(time[event])
        self.horizon_limit_ = float(time.max())
        leaf, nodes = self.trees_.leaves(matrix.astype(np.float64)), len(self.trees_.feature)
        self.curves_, self.curve_of_node_ = leaf_curves(
            leaf, forest.estimators_samples_, nodes, time, event, self.times_
        )
        return self

    def _grid_of(self, happened: Floats) -> Floats:
        distinct = np.unique(happened)
        if len(distinct) <= self.grid:
            return distinct
        wanted = np.arange(1, self.grid + 1) / self.grid
        return np.unique(np.quantile(happened, wanted, method="inverted_cdf"))

    def _on_grid(self, X: pd.DataFrame) -> Floats:
        """Return survival at 0 and at each time of the grid, shape (n, g + 1)."""
        check_is_fitted(self, "curves_")
        matrix = self.design_.matrix(X).astype(np.float32).astype(np.float64)
        total = np.zeros((len(matrix), len(self.times_)))
        for start in range(0, len(matrix), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            for leaf in self.curve_of_node_[self.trees_.leaves(matrix[rows])].T:
                total[rows] += self.curves_[leaf]
        return np.column_stack([np.ones(len(matrix)), total / len(self.trees_.root)])

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the risk averaged over the grid of event times, higher is worse, shape (n,)."""
        return np.asarray(1.0 - self._on_grid(X)[:, 1:].mean(axis=1))

    def survival(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return S(t | x), shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "curves_")
        wanted = checked_times_of_risk(times, self.horizon_limit_)
        place = np.searchsorted(self.times_, wanted * (1 + TIE_TOLERANCE), side="right")
        return np.asarray(self._on_grid(X)[:, place])

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return 1 - S(horizon | x), shape (n,)."""
        return np.asarray(1.0 - self.survival(X, [horizon])[:, 0])

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "design": self.design_.state(),
            "trees": self.trees_.state(),
            "times": self.times_.tolist(),
            "curves": self.curves_.tolist(),
            "curve_of_node": self.curve_of_node_.tolist(),
            "horizon_limit": self.horizon_limit_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["design"]["treatment"])
        model.design_ = TreeDesign.from_state(state["design"])
        model.trees_ = TreeArrays.from_state(state["trees"])
        model.times_ = np.asarray(state["times"], dtype=np.float64)
        model.curves_ = np.asarray(state["curves"], dtype=np.float64)
        model.curve_of_node_ = np.asarray(state["curve_of_node"], dtype=np.int64)
        model.horizon_limit_ = float(state["horizon_limit"])
        return model


def logrank_scores(time: Floats, event: Flags) -> Floats:
    """Return the event (0 or 1) minus the cumulative hazard (ties by Efron) at each patient's time, shape (n,)."""
    at, hazard = baseline_cumulative_hazard(time, event, np.zeros(len(time)))
    return np.asarray(event - step_at(at, hazard, time, initial=0.0), dtype=np.float64)


MODEL = Model(
    name="survival_forest",
    question="risk",
    words=(
        "a survival forest: trees grown on log-rank scores in bootstrap samples, the Kaplan-Meier curves of whose leaves are "
        "averaged, the arm as one covariate"
    ),
    estimator=SurvivalForest,
)

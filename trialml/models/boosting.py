"""What the boosted models share: how many trees are grown, found by cross-validation over patients, and their settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone

from trialml.data.folds import fold_labels, splits
from trialml.models.column_bins import ColumnBins
from trialml.models.columns import names_of
from trialml.models.linear_design import copies_of, refuse_perfect_prediction
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign

__all__ = ["Boosted", "binary_loss", "poisson_loss", "squared_loss"]

Floats = NDArray[np.float64]
Loss = Callable[[Floats, Floats, Floats], float]

SPARSE = 1e-12
MANY_ROWS = 2_000_000
"""Rows from which on trees are grown on more than one core."""


class Boosted(BaseEstimator):  # type: ignore[misc]
    """Settings of the boosted models, and the learning of one sequence of trees.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), a column like the others.
    iterations : int
        The largest number of trees; the number grown is the one with the smallest loss on patients left out.
    learning_rate : float
    leaves : int
        Most leaves of a tree: 2 leaves no interaction, 4 few.
    fewest : int
        Fewest rows in a leaf.
    ridge : float
        Penalty on the values of leaves.
    folds : int
        Folds of the tuning; 0 grows all `iterations`.
    seed : int
    """

    def __init__(
        self,
        treatment: str | None = None,
        iterations: int = 200,
        learning_rate: float = 0.06,
        leaves: int = 6,
        fewest: int = 20,
        ridge: float = 1.0,
        folds: int = 3,
        seed: int = 1,
    ) -> None:
        self.treatment = treatment
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.fewest = fewest
        self.ridge = ridge
        self.folds = folds
        self.seed = seed

    def _learn_columns(self, X: pd.DataFrame) -> Floats:
        self.feature_names_in_ = names_of(X)
        self.design_ = TreeDesign.learn(X, self.treatment)
        return self.design_.matrix(X)

    def _refuse_perfect_prediction(self, matrix: Floats, time: Floats, event: NDArray[np.bool_]) -> None:
        refuse_perfect_prediction(*self.design_.known(matrix), time, event)

    def _tuning_folds(self, X: pd.DataFrame, kind: NDArray[Any]) -> NDArray[np.intp]:
        """Return folds of the tuning, balanced by arm and by outcome, the copies of a patient together, shape (n,)."""
        if not self.folds:
            return np.zeros(len(X), dtype=np.intp)
        arm = np.full(len(X), "all") if self.treatment is None else X[self.treatment].to_numpy().astype(np.str_)
        return fold_labels(np.char.add(arm, np.asarray(kind).astype(np.str_)), self.folds, self.seed, copies_of(X))

    def _grown(
        self,
        learner: Any,
        loss: Loss,
        bins: ColumnBins,
        rows: Floats,
        outcome: NDArray[Any],
        weight: Floats,
        fold: NDArray[np.intp],
    ) -> TreeArrays:
        """Return trees for rows of shape (m, k), as many as predict best the rows of patients left out.

        Parameters
        ----------
        learner
            An unfitted HistGradientBoosting estimator of scikit-learn with its loss.
        loss
            Total loss of outcomes, predictions and weights.
        bins
            What the rows hold in the place of values; a column more than these is taken as it is.
        fold
            The fold of each row's patient, shape (m,).
        """
        from threadpoolctl import threadpool_limits

        # Threads that wait for each other take far longer than the work of a trial's few rows; the trees are the same.
        with threadpool_limits(1 if len(rows) < MANY_ROWS else None, user_api="openmp"):
            trees = self._tuned(learner, loss, rows, outcome, weight, fold)
        bins.read_on_values(trees)
        return trees

    def _tuned(
        self,
        learner: Any,
        loss: Loss,
        rows: Floats,
        outcome: NDArray[Any],
        weight: Floats,
        fold: NDArray[np.intp],
    ) -> TreeArrays:
        wanted = self.iterations
        if self.folds:
            total = np.zeros(self.iterations)
            for train, test in splits(fold):
                model = self._fitted(learner, self.iterations, rows[train], outcome[train], weight[train])
                staged = getattr(model, "staged_predict_proba", model.staged_predict)
                for place, predicted in enumerate(staged(rows[test])):
                    risk = predicted if predicted.ndim == 1 else predicted[:, 1]
                    total[place] += loss(outcome[test], risk, weight[test])
            wanted = int(np.argmin(total)) + 1
        return TreeArrays.of_boosting(self._fitted(learner, wanted, rows, outcome, weight))

    def _fitted(self, learner: Any, iterations: int, rows: Floats, outcome: NDArray[Any], weight: Floats) -> Any:
        # Scikit-learn takes no column without a value; one that is the same for all is split on no more than that.
        empty = np.isnan(rows).all(axis=0)
        if empty.any():
            rows = np.where(empty, 0.0, rows)
        model = clone(learner).set_params(
            max_iter=iterations,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.fewest,
            l2_regularization=self.ridge,
            early_stopping=False,
            categorical_features=None,
            random_state=self.seed,
        )
        return model.fit(rows, outcome, sample_weight=weight)


def poisson_loss(rate: NDArray[Any], predicted: Floats, exposure: Floats) -> float:
    """Return minus the log-likelihood of events, ``rate * exposure``, but for a constant."""
    return float((exposure * (predicted - rate * np.log(np.maximum(predicted, SPARSE)))).sum())


def binary_loss(event: NDArray[Any], predicted: Floats, weight: Floats) -> float:
    """Return minus the weighted Bernoulli log-likelihood."""
    of_seen = np.where(event, predicted, 1 - predicted)
    return float(-(weight * np.log(np.maximum(of_seen, SPARSE))).sum())


def squared_loss(value: NDArray[Any], predicted: Floats, weight: Floats) -> float:
    """Return the weighted sum of squared errors."""
    return float((weight * (value - predicted) ** 2).sum())

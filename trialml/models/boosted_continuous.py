"""The mean of a continuous endpoint by boosted trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.models import Model
from trialml.models.boosting import Boosted, squared_loss
from trialml.models.column_bins import ColumnBins
from trialml.models.linear_design import refuse_perfect_line
from trialml.models.linear_ridge import checked_numbers
from trialml.models.score import ScoredByVariance
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign

__all__ = ["MODEL", "BoostedContinuous"]

Floats = NDArray[np.float64]


class BoostedContinuous(ScoredByVariance, Boosted):
    """Trees that add up to the mean of the outcome, grown on squared error; their number is cross-validated.

    Parameters
    ----------
    treatment, iterations, learning_rate, leaves, fewest, ridge, folds, seed
        As in `Boosted`.

    Attributes
    ----------
    design_ : TreeDesign
    trees_ : TreeArrays

    References
    ----------
    Friedman JH. Greedy function approximation: a gradient boosting machine. Ann Stat 2001;29:1189-1232.
    """

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Fit on covariates X, shape (n, p), and numbers y, shape (n,).

        Raises
        ------
        AnalysisError
            If there are fewer than 10 patients, y is the same for all, or a covariate is a line of it.
        DataError
            If y is missing, infinite or no row of numbers.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        from sklearn.ensemble import HistGradientBoostingRegressor

        values = checked_numbers(y)
        matrix, weight = self._learn_columns(X), np.ones(len(values))
        refuse_perfect_line(*self.design_.known(matrix), values)
        bins = ColumnBins.learn(matrix)
        fold = self._tuning_folds(X, np.zeros(len(values)))
        self.trees_ = self._grown(
            HistGradientBoostingRegressor(), squared_loss, bins, bins.codes(matrix), values, weight, fold
        )
        return self

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the mean given the covariates, shape (n,)."""
        check_is_fitted(self, "trees_")
        return self.trees_.total(self.design_.matrix(X))

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {"design": self.design_.state(), "trees": self.trees_.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["design"]["treatment"])
        model.design_ = TreeDesign.from_state(state["design"])
        model.trees_ = TreeArrays.from_state(state["trees"])
        return model


MODEL = Model(
    name="boosted_continuous",
    question="risk",
    words=(
        "boosted trees grown on squared error, the arm as one covariate, and the number of trees chosen by cross-validated "
        "squared error"
    ),
    estimator=BoostedContinuous,
    endpoint="continuous",
)

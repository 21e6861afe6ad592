"""Risk of a binary endpoint, or of an event within a window, by boosted trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.boosting import Boosted, binary_loss
from trialml.models.column_bins import ColumnBins
from trialml.models.outcome import BinaryOutcome
from trialml.models.score import ScoredByLogLoss
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign

__all__ = ["MODEL", "BoostedBinary"]

Floats = NDArray[np.float64]

FEWEST_OF_A_KIND = 5


class BoostedBinary(ScoredByLogLoss, Boosted):
    """Trees that add up to the log odds of the event: ``risk = 1 / (1 + exp(-f(x)))``.

    They maximise the Bernoulli likelihood. A patient censored before a window ends counts 0, and those whose outcome is known
    are weighted for those like them who are not (`BinaryOutcome.of`). The number of trees is the one with the largest
    cross-validated likelihood.

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
        """Fit on covariates X, shape (n, p), and a binary outcome y, shape (n,).

        Raises
        ------
        AnalysisError
            If fewer than 5 patients have the event, or fewer than 5 are free of it, or a covariate parts them without an error.
        DataError
            If y is no binary outcome.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        outcome = BinaryOutcome.of(y)
        matrix = self._learn_columns(X)
        used = outcome.weight > 0
        event, weight = outcome.event[used], outcome.weight[used]
        fewest = int(min(event.sum(), (~event).sum()))
        if fewest < FEWEST_OF_A_KIND:
            raise AnalysisError(
                f"Boosted trees cannot be fitted where {fewest} patients are with or without the event: at least "
                f"{FEWEST_OF_A_KIND} of each kind are needed."
            )
        self._refuse_perfect_prediction(matrix[used], np.where(event, 1.0, 2.0), event)
        bins = ColumnBins.learn(matrix[used])
        fold = self._tuning_folds(X[used], event)
        self.trees_ = self._grown(
            HistGradientBoostingClassifier(), binary_loss, bins, bins.codes(matrix[used]), event, weight, fold
        )
        return self

    def risk(self, X: pd.DataFrame) -> Floats:
        """Return the probability of the event, shape (n,)."""
        from scipy.special import expit

        check_is_fitted(self, "trees_")
        return np.asarray(expit(self.trees_.total(self.design_.matrix(X))))

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the probability of the event, shape (n,)."""
        return self.risk(X)

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
    name="boosted_binary",
    question="risk",
    words=(
        "boosted trees of the log odds, the arm as one covariate, weighted by the inverse probability of being uncensored where a "
        "window is, and the number of trees chosen by cross-validated likelihood"
    ),
    estimator=BoostedBinary,
    endpoint="binary",
)

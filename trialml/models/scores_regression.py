"""What the response models on doubly robust scores share: fit a line, then shrink it towards the average effect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from trialml.data.folds import fold_labels, splits
from trialml.models.encode import CovariateEncoder

__all__ = ["ScoresRegression"]


class ScoresRegression(BaseEstimator, ABC):  # type: ignore[misc]
    """A linear benefit score, and the expected benefit that is left of it after shrinkage.

    ``expected benefit = average effect + clip(b, 0, 1) * (benefit score - mean benefit score)`` where b is the slope
    of the doubly robust scores on out-of-fold benefit scores, both centred in each fold, as the ratio of their sums
    over repeated splits (at trial sizes a single split is a lottery): a model that only fits noise has a slope near 0
    and gives everybody the average effect. Subclasses say how the line is fitted.

    Parameters
    ----------
    folds : int
        Folds that the slope is estimated with.
    seed : int
        Seed of the folds; each repeat has a seed of its own, spawned from it.
    repeats : int
        Splits that the slope is pooled over. On ACTG 175 the slopes of single splits have a standard deviation of 0.3,
        so that 20 splits leave a Monte Carlo error of 0.07 and 200 leave 0.02.

    Attributes
    ----------
    encoder_ : CovariateEncoder
    coefficients_ : ndarray of shape (k,)
        Change of the benefit score for one standard deviation of each column, in the unit of the scores.
    average_ : float
        The average effect in the training data.
    slope_ : float
        The out-of-fold calibration slope, pooled over the repeats, before clipping.
    slope_mc_error_ : float
        Its Monte Carlo standard error: what another choice of splits would change, not what other patients would. NaN
        for a single split.
    """

    def __init__(self, folds: int = 5, seed: int = 1, repeats: int = 200) -> None:
        self.folds = folds
        self.seed = seed
        self.repeats = repeats

    def fit(self, X: pd.DataFrame, y: NDArray[np.float64]) -> Self:
        """Fit on covariates X, shape (n, p), and doubly robust scores y, shape (n,)."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        scores = np.asarray(y, dtype=np.float64)
        sources = np.random.SeedSequence(self.seed).spawn(self.repeats)
        products = [self._out_of_fold_products(X, scores, np.random.default_rng(source)) for source in sources]
        self.slope_, self.slope_mc_error_ = _pooled_slope(np.asarray(products), flat=1e-12 * len(scores))
        self.encoder_ = CovariateEncoder().fit(X)
        self.coefficients_ = self._line(self.encoder_.transform(X), scores)
        self.average_ = float(scores.mean())
        return self

    @property
    def shrinkage(self) -> float:
        """The share of the benefit score's spread that is kept, from 0 to 1."""
        return float(np.clip(self.slope_, 0.0, 1.0))

    def benefit_score(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the benefit score before shrinkage, for ordering patients, shape (n,)."""
        check_is_fitted(self, "coefficients_")
        return np.asarray(self.average_ + self.encoder_.transform(X) @ self.coefficients_, dtype=np.float64)

    def predict(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the expected benefit given the covariates, shape (n,): higher favours the experimental arm."""
        check_is_fitted(self, "coefficients_")
        return np.asarray(self.average_ + self.shrinkage * (self.benefit_score(X) - self.average_), dtype=np.float64)

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "encoder": self.encoder_.state(),
            "coefficients": self.coefficients_.tolist(),
            "average": self.average_,
            "slope": self.slope_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls()
        model.encoder_ = CovariateEncoder.from_state(state["encoder"])
        model.coefficients_ = np.asarray(state["coefficients"], dtype=np.float64)
        model.average_ = float(state["average"])
        model.slope_ = float(state["slope"])
        return model

    @abstractmethod
    def _line(self, design: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the line's coefficients for a standardised design, shape (k,)."""

    def _out_of_fold_products(
        self, X: pd.DataFrame, scores: NDArray[np.float64], generator: np.random.Generator
    ) -> tuple[float, float]:
        fitted = np.zeros(len(scores))
        for train, test in splits(fold_labels(np.zeros(len(scores)), self.folds, generator)):
            encoder = CovariateEncoder()
            line = self._line(encoder.fit_transform(X.iloc[train]), scores[train])
            # Centred in each fold: the slope is about the ordering, not about the folds' averages.
            out = encoder.transform(X.iloc[test]) @ line
            fitted[test] = out - out.mean()
        return float(fitted @ (scores - scores.mean())), float(fitted @ fitted)


def _pooled_slope(products: NDArray[np.float64], flat: float) -> tuple[float, float]:
    """Return the ratio of sums over splits and its Monte Carlo standard error, by the delta method over the splits.

    Parameters
    ----------
    products
        For each split the sums ``x y`` and ``x x``, shape (splits, 2).
    flat
        A line whose sum of ``x x`` is no larger than this is flat: its slope is 0.
    """
    along, spread = products.T
    if spread.sum() <= flat:
        return 0.0, 0.0
    slope = float(along.sum() / spread.sum())
    splits = len(products)
    if splits == 1:
        return slope, float("nan")
    return slope, float(np.std(along - slope * spread, ddof=1) / spread.mean() / np.sqrt(splits))

"""What the response models on doubly robust scores share that fit a line and shrink it towards the average effect."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone

from trialml.data.folds import fold_labels, splits
from trialml.models.columns import names_of
from trialml.models.encode import CovariateEncoder
from trialml.models.fold_designs import FoldDesigns
from trialml.models.shrunk_benefit import ShrunkBenefit, checked_scores, pooled_slope

__all__ = ["ScoresRegression"]

Floats = NDArray[np.float64]


class ScoresRegression(ShrunkBenefit):
    """A linear benefit score. Subclasses say how the line is fitted.

    Parameters
    ----------
    folds, seed, gate
        As in `ShrunkBenefit`.
    repeats : int
        Splits that the slope is pooled over. On ACTG 175 the slopes of single splits have a standard deviation of 0.3,
        so that 20 splits leave a Monte Carlo error of 0.07 and 200 leave 0.02.

    Attributes
    ----------
    encoder_ : CovariateEncoder
    coefficients_ : ndarray of shape (k,)
        Change of the benefit score for one standard deviation of each column, in the unit of the scores.
    """

    def __init__(self, folds: int = 5, seed: int = 1, repeats: int = 200, gate: float | None = None) -> None:
        self.folds = folds
        self.seed = seed
        self.repeats = repeats
        self.gate = gate

    def fit(self, X: pd.DataFrame, y: NDArray[np.float64]) -> Self:
        """Fit on covariates X, shape (n, p), and doubly robust scores y, shape (n,).

        Raises
        ------
        DataError
            If a score is missing, or they are of another shape.
        """
        self._fit_each([self], X, checked_scores(y, len(X))[:, None])
        return self

    def fit_arms(self, X: pd.DataFrame, y: NDArray[np.float64]) -> list[Self]:
        """Return one fitted copy a column of scores y, shape (n, arms); encoders and splits are learned once for all.

        Raises
        ------
        DataError
            If a score is missing, or they are of another shape.
        """
        scores = checked_scores(y, len(X), columns=True)
        models: list[Self] = [clone(self) for _ in scores.T]
        self._fit_each(models, X, scores)
        return models

    def _fit_each(self, models: list[Self], X: pd.DataFrame, scores: Floats) -> None:
        designs = FoldDesigns(X)
        products = np.asarray([self._out_of_fold_products(designs, scores, source) for source in self._sources()])
        encoder = CovariateEncoder()
        design = encoder.fit_transform(X)
        for place, (model, column) in enumerate(zip(models, scores.T, strict=True)):
            model.feature_names_in_ = names_of(X)
            model.slope_, model.slope_mc_error_ = pooled_slope(products[:, place], flat=1e-12 * len(scores))
            model.encoder_ = encoder
            model.coefficients_ = self._line(design, np.ascontiguousarray(column))
            model.average_, model.centre_ = float(column.mean()), 0.0
            model._open_or_close(design, column)  # noqa: SLF001  (a model of the same class)

    def _said(self, X: pd.DataFrame) -> Floats:
        return np.asarray(self.encoder_.transform(X) @ self.coefficients_, dtype=np.float64)

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "encoder": self.encoder_.state(),
            "coefficients": self.coefficients_.tolist(),
            **self._shrinkage_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls()
        model.encoder_ = CovariateEncoder.from_state(state["encoder"])
        model.coefficients_ = np.asarray(state["coefficients"], dtype=np.float64)
        model._take_shrinkage(state)
        return model

    @abstractmethod
    def _line(self, design: Floats, scores: Floats) -> Floats:
        """Return the line's coefficients for a standardised design, shape (k,)."""

    def _out_of_fold_products(self, designs: FoldDesigns, scores: Floats, generator: np.random.Generator) -> Floats:
        """Return the sums ``x y`` and ``x x`` of one split for each column of the scores, shape (arms, 2)."""
        fitted = np.zeros(scores.shape)
        for train, test in splits(fold_labels(np.zeros(len(scores)), self.folds, generator)):
            learned, new = designs.pair(train, test)
            for place in range(scores.shape[1]):
                # Centred in each fold: the slope is about the ordering, not about the folds' averages.
                out = new @ self._line(learned, scores[train, place])
                fitted[test, place] = out - out.mean()
        return np.column_stack([(fitted * (scores - scores.mean(axis=0))).sum(axis=0), (fitted**2).sum(axis=0)])

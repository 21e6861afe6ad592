"""What all response models share: shrinkage towards the average effect, and a gate before it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from trialml.errors import DataError

__all__ = ["ShrunkBenefit", "checked_scores", "gate_p", "pooled_slope"]

Floats = NDArray[np.float64]

PERMUTATIONS = 199
"""Of the gate: its p-value is compared with a level far from 0, where a Monte Carlo error of .03 does no harm."""


class ShrunkBenefit(BaseEstimator, ABC):  # type: ignore[misc]
    """A benefit score, and the expected benefit that is left of it after shrinkage.

    ``expected benefit = average effect + clip(b, 0, 1) * (benefit score - mean benefit score)`` where b is the slope of
    the doubly robust scores on out-of-fold benefit scores, both centred in each fold, as the ratio of their sums over
    repeated splits (at trial sizes a single split is a lottery): a model that only fits noise has a slope near 0 and gives
    everybody the average effect. Behind a gate that is closed everybody gets the average effect whatever the slope;
    the benefit score still orders patients.

    Parameters
    ----------
    folds : int
        Folds that the slope is estimated with.
    seed : int
        Seed of the folds; each repeat has a seed of its own, spawned from it.
    repeats : int
        Splits that the slope is pooled over.
    gate : float or None
        The gate is closed where the global test of `gate_p` on the training patients has a larger p-value. None: no gate.

    Attributes
    ----------
    average_ : float
        The average effect in the training data.
    centre_ : float
        The mean of what the model says of the training patients.
    slope_ : float
        The out-of-fold calibration slope, pooled over the repeats, before clipping.
    slope_mc_error_ : float
        Its Monte Carlo standard error: what another choice of splits would change, not what other patients would. NaN
        for a single split.
    gate_p_ : float
        The p-value of the global test; NaN without a gate.
    gate_open_ : bool
    """

    folds: int
    seed: int
    repeats: int
    gate: float | None
    average_: float
    slope_: float
    slope_mc_error_: float

    @property
    def shrinkage(self) -> float:
        """The share of the benefit score's spread that is kept, from 0 to 1."""
        return float(np.clip(self.slope_, 0.0, 1.0)) if self.gate_open_ else 0.0

    def benefit_score(self, X: pd.DataFrame) -> Floats:
        """Return the benefit score before shrinkage, for ordering patients, shape (n,)."""
        check_is_fitted(self, "average_")
        return np.asarray(self.average_ + (self._said(X) - self.centre_), dtype=np.float64)

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the expected benefit given the covariates, shape (n,): higher favours the experimental arm."""
        return self.expected(self.benefit_score(X))

    def expected(self, score: Floats) -> Floats:
        """Return the expected benefit that is left of benefit scores after shrinkage, shape (n,)."""
        return np.asarray(self.average_ + self.shrinkage * (score - self.average_), dtype=np.float64)

    def for_folds(self, share: float) -> Self:
        """Return an unfitted copy for the folds of a cross-validation, its slope pooled over a share of the splits."""
        model: Self = clone(self)
        model.set_params(repeats=max(2, round(share * self.repeats)))
        return model

    @abstractmethod
    def _said(self, X: pd.DataFrame) -> Floats:
        """Return what the fitted model says of patients, up to a constant, shape (n,)."""

    def _sources(self) -> list[np.random.Generator]:
        """Return a generator for each repeat."""
        return [np.random.default_rng(source) for source in np.random.SeedSequence(self.seed).spawn(self.repeats)]

    def _open_or_close(self, design: Floats, scores: Floats) -> None:
        if self.gate is not None and not 0 < self.gate < 1:
            raise DataError(f"gate is {self.gate:g}, but it must be None or a level between 0 and 1")
        self.gate_p_ = float("nan") if self.gate is None else gate_p(design, scores, self.seed)
        self.gate_open_ = self.gate is None or self.gate_p_ <= self.gate

    def _shrinkage_state(self) -> dict[str, Any]:
        return {"average": self.average_, "centre": self.centre_, "slope": self.slope_, "gate_open": self.gate_open_}

    def _take_shrinkage(self, state: Mapping[str, Any]) -> None:
        self.average_, self.slope_ = float(state["average"]), float(state["slope"])
        # A state that was stored before there were gates has neither.
        self.centre_, self.gate_open_ = float(state.get("centre", 0.0)), bool(state.get("gate_open", True))


def checked_scores(y: Any, n: int, columns: bool = False) -> Floats:
    """Return doubly robust scores as floats, shape (n,), or (n, k) with `columns`.

    Raises
    ------
    DataError
        If their shape is another, or one is missing or infinite.
    """
    scores = np.asarray(y, dtype=np.float64)
    wanted = "one row a patient and one column an experimental arm" if columns else "one a patient"
    if scores.ndim != 1 + columns or len(scores) != n or not scores.size:
        raise DataError(f"the doubly robust scores have shape {scores.shape} for {n} patients: pass {wanted}")
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:
        raise DataError(
            f"{wrong} of {scores.size} doubly robust scores are missing or infinite: score every patient, or leave some out"
        )
    return scores


def pooled_slope(products: Floats, flat: float) -> tuple[float, float]:
    """Return the ratio of sums over splits and its Monte Carlo standard error, by the delta method over the splits.

    Parameters
    ----------
    products
        For each split the sums ``x y`` and ``x x``, shape (splits, 2).
    flat
        A score whose sum of ``x x`` is no larger than this is flat: its slope is 0.
    """
    along, spread = products.T
    if spread.sum() <= flat:
        return 0.0, 0.0
    slope = float(along.sum() / spread.sum())
    splits = len(products)
    if splits == 1:
        return slope, float("nan")
    return slope, float(np.std(along - slope * spread, ddof=1) / spread.mean() / np.sqrt(splits))


def gate_p(design: Floats, scores: Floats, seed: int) -> float:
    """Return the p-value of a global test that no covariate moves the scores.

    The statistic is the largest over columns of ``|sum(s z)| / sqrt(sum(s^2 z^2))``, s and z the centred scores and
    column, against 199 permutations of the scores among the patients: ``p = (1 + as large) / 200``. Studentised, it holds
    where the scores' variance differs between patients (Chung and Romano 2013, Annals of Statistics 41:484-507).

    Parameters
    ----------
    design, scores
        Covariates, shape (n, k), and doubly robust scores, shape (n,).
    seed
        Of the permutations.
    """
    left, centred = scores - scores.mean(), design - design.mean(axis=0)
    if not design.shape[1] or not left.any():
        return 1.0
    generator = np.random.default_rng([seed, PERMUTATIONS])
    drawn = np.vstack([left, generator.permuted(np.tile(left, (PERMUTATIONS, 1)), axis=1)])
    spread = np.sqrt(np.maximum(drawn**2 @ centred**2, 1e-300))
    largest = np.abs(drawn @ centred / spread).max(axis=1)
    return float((1 + (largest[1:] >= largest[0] - 1e-12).sum()) / (1 + PERMUTATIONS))

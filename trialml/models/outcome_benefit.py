"""What the response models share that learn from outcomes: the difference between what is expected in either arm, shrunk."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.errors import AnalysisError, ModelInputError
from trialml.models.columns import require_columns
from trialml.models.encode import CovariateEncoder
from trialml.models.outcome import scores_of
from trialml.models.shrunk_benefit import ShrunkBenefit, checked_scores, pooled_slope
from trialml.survival.ties import not_after

__all__ = ["OutcomeBenefit", "areas_to", "arm_of", "checked_tau"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

FEWEST_IN_ARM = 20
"""An arm with fewer patients, five folds of it four each, says nothing of its own."""


class OutcomeBenefit(ShrunkBenefit):
    """A benefit score that is a contrast of two predictions, under the experimental arm and under control.

    Subclasses learn something from covariates, arm and outcome of some patients (`_learn`), and say of any patient the
    contrast that this makes (`_contrast`). The doubly robust scores beside the outcomes serve the average effect and
    the shrinkage alone: what is learned is learned anew in each fold.

    Parameters
    ----------
    treatment : str
        Column of the arm (0 control, 1 experimental) in the X of `fit`; predictions do not look at it.
    """

    treatment: str

    def fit(self, X: pd.DataFrame, y: NDArray[np.void]) -> Self:
        """Fit on covariates and arm X, shape (n, p + 1), and outcomes with scores y, shape (n,); see `scored_outcome`.

        Raises
        ------
        DataError
            If y is an outcome of another kind or lacks the scores.
        ModelInputError
            If the arm is neither 0 nor 1, a column is absent or a value infinite.
        AnalysisError
            If an arm has fewer than 20 patients, a covariate is the arm, and as the models that are learned.
        """
        outcome, scores = scores_of(y)
        checked_scores(scores, len(X))
        arm = arm_of(X, self.treatment)
        covariates = X.drop(columns=[self.treatment])
        self.feature_names_in_ = np.asarray(covariates.columns, dtype=object)
        _refuse_the_arm_as_a_covariate(covariates, arm)
        self._prepare(outcome, arm)
        products = np.asarray(
            [self._out_of_fold_products(covariates, outcome, arm, scores, source) for source in self._sources()]
        )
        self.slope_, self.slope_mc_error_ = pooled_slope(products, flat=1e-12 * len(scores))
        self.learned_ = self._learn(covariates, outcome, arm)
        self.average_, self.centre_ = float(scores.mean()), float(self._said(covariates).mean())
        self._open_or_close(CovariateEncoder().fit(covariates).transform(covariates), scores)
        return self

    def _prepare(self, outcome: NDArray[Any], arm: Flags) -> None:
        """Settle what is the same in all folds, such as tau."""

    def _balanced_by(self, outcome: NDArray[Any]) -> NDArray[Any]:
        """Return what the folds are balanced by beside the arm, shape (n,)."""
        return np.zeros(len(outcome), dtype=np.bool_)

    @abstractmethod
    def _learn(self, X: pd.DataFrame, outcome: NDArray[Any], arm: Flags) -> Any:
        """Return what is learned from some patients."""

    @abstractmethod
    def _contrast(self, learned: Any, X: pd.DataFrame) -> Floats:
        """Return what is expected under the experimental arm less that under control, higher is better, shape (n,)."""

    def _said(self, X: pd.DataFrame) -> Floats:
        require_columns(X, list(self.feature_names_in_))
        return self._contrast(self.learned_, X[list(self.feature_names_in_)])

    def _out_of_fold_products(
        self, X: pd.DataFrame, outcome: NDArray[Any], arm: Flags, scores: Floats, generator: np.random.Generator
    ) -> tuple[float, float]:
        cells = np.char.add(arm.astype(np.str_), self._balanced_by(outcome).astype(np.str_))
        fitted = np.zeros(len(scores))
        for train, test in splits(fold_labels(cells, self.folds, generator)):
            out = self._contrast(self._learn(X.iloc[train], outcome[train], arm[train]), X.iloc[test])
            # Centred in each fold: the slope is about the ordering, not about the folds' averages.
            fitted[test] = out - out.mean()
        return float(fitted @ (scores - scores.mean())), float(fitted @ fitted)


def arm_of(X: pd.DataFrame, treatment: str) -> Flags:
    """Return who is in the experimental arm, shape (n,).

    Raises
    ------
    ModelInputError
        If the column is absent or neither 0 nor 1 somewhere.
    AnalysisError
        If an arm has fewer than 20 patients.
    """
    require_columns(X, [treatment])
    arm = pd.to_numeric(X[treatment], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    odd = int((~np.isin(arm, (0.0, 1.0))).sum())
    if odd:
        raise ModelInputError(
            f"The arm's column '{treatment}' is neither 0 nor 1 in {odd} of {len(arm)} patients: give the arm of each."
        )
    fewest = int(min(arm.sum(), len(arm) - arm.sum()))
    if fewest < FEWEST_IN_ARM:
        raise AnalysisError(
            f"An arm has {fewest} patients: a response model that learns from outcomes needs {FEWEST_IN_ARM} in each."
        )
    return np.asarray(arm == 1.0)


def _refuse_the_arm_as_a_covariate(X: pd.DataFrame, arm: Flags) -> None:
    for name in X.columns:
        codes, _ = pd.factorize(X[name], use_na_sentinel=False)
        control, treated = codes[~arm], codes[arm]
        if control[0] != treated[0] and (control == control[0]).all() and (treated == treated[0]).all():
            raise AnalysisError(
                f"'{name}' has one value in all patients of one arm and another in all of the other: it is the treatment, and no "
                "covariate; leave it out."
            )


def areas_to(grid: Floats, survival: Floats, tau: float) -> Floats:
    """Return the restricted means of survival curves that step on a grid, shape (n,).

    Parameters
    ----------
    grid
        Increasing times above 0 and up to `tau`, shape (m,).
    survival
        Survival at these times, shape (n, m); 1 before the first.
    tau
        Where the mean is restricted: the last value holds up to it.
    """
    edges = np.append(grid, tau)
    return np.asarray(edges[0] + survival @ np.diff(edges), dtype=np.float64)


def checked_tau(tau: float | None, time: Floats, arm: Flags) -> float:
    """Return tau, or the longest follow-up of the arm where it is shorter.

    Raises
    ------
    AnalysisError
        If tau is no time above 0, or beyond that follow-up.
    """
    most = float(min(time[arm].max(), time[~arm].max()))
    if tau is None:
        return most
    if not tau > 0 or not not_after(tau, most):
        raise AnalysisError(
            f"tau is {tau:g}, but the follow-up of one arm ends at {most:g}: choose a tau above 0 up to there."
        )
    return float(tau)

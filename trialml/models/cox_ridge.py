"""Risk by a Cox model with a ridge penalty; the default, because nothing beats it at trial sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from trialml.data.folds import fold_labels, splits
from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.encode import CovariateEncoder
from trialml.survival.cox import CoxProblem, baseline_cumulative_hazard
from trialml.survival.product_limit import step_at
from trialml.survival.ties import not_after

__all__ = ["MODEL", "CoxRidge"]


class CoxRidge(BaseEstimator):  # type: ignore[misc]
    """Cox proportional hazards with a quadratic penalty on standardised covariates.

    The penalised log partial likelihood (Efron ties) is ``l(b) - penalty / 2 * sum(b_j**2)``; the arm, where given
    as a column, is not penalised. The penalty is the one of a geometric grid with the largest cross-validated
    partial likelihood, ``sum over folds of l(b_-k) - l_-k(b_-k)`` (Verweij and van Houwelingen 1993, Statistics in
    Medicine 12:2305-2314). Absolute risks come from the baseline hazard of Breslow's form with Efron's correction.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), left out of the penalty and of the standardisation.
    penalties : tuple of float
        The grid. One value switches the tuning off.
    folds : int
        Folds of the tuning.
    seed : int
        Seed of the folds.

    Attributes
    ----------
    encoder_ : CovariateEncoder
    coefficients_ : ndarray of shape (k,)
        Log hazard ratio for one standard deviation of each column of the encoder.
    treatment_coefficient_ : float
        Log hazard ratio of the arm, conditional on the covariates; 0 without a treatment column.
    penalty_ : float
    baseline_times_, baseline_hazard_ : ndarray
        Cumulative baseline hazard at average covariates in the control arm.
    horizon_limit_ : float
        The last time at which a risk may be read.
    """

    def __init__(
        self,
        treatment: str | None = None,
        penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
        folds: int = 5,
        seed: int = 1,
    ) -> None:
        self.treatment = treatment
        self.penalties = penalties
        self.folds = folds
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: NDArray[np.void]) -> Self:
        """Fit on covariates X, shape (n, p), and the structured outcome y, shape (n,).

        Rows of X with the same index are copies of one patient and stay together in the folds of the tuning.

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events, or the fit does not converge.
        """
        time, event = np.asarray(y["time"]), np.asarray(y["event"])
        if event.sum() < 5:
            raise AnalysisError(f"A Cox model cannot be fitted to {int(event.sum())} events: at least 5 are needed.")
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.encoder_ = CovariateEncoder().fit(self._covariates(X))
        design = self._design(X)
        self.penalty_ = self._tuned_penalty(design, time, event, X.index)
        fitted = CoxProblem(time, event, design).fit(ridge=self._ridge(design, self.penalty_))
        arm = 1 if self.treatment is not None else 0
        self.coefficients_ = np.asarray(fitted.coefficients[arm:])
        self.treatment_coefficient_ = float(fitted.coefficients[0]) if arm else 0.0
        self.baseline_times_, self.baseline_hazard_ = baseline_cumulative_hazard(
            time, event, design @ fitted.coefficients
        )
        self.horizon_limit_ = float(time.max())
        return self

    def log_hazard(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the log hazard relative to an average control patient, shape (n,)."""
        check_is_fitted(self, "coefficients_")
        score = self.encoder_.transform(self._covariates(X)) @ self.coefficients_
        if self.treatment is not None:
            score = score + self.treatment_coefficient_ * np.asarray(X[self.treatment], dtype=np.float64)
        return np.asarray(score, dtype=np.float64)

    def predict(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the log hazard, higher is worse, shape (n,)."""
        return self.log_hazard(X)

    def survival(self, X: pd.DataFrame, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return S(t | x) = exp(-H0(t) exp(log hazard)), shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
        if not not_after(wanted.max(initial=0.0), self.horizon_limit_):
            message = (
                f"A risk at {wanted.max():g} was asked for, but the training data end at {self.horizon_limit_:g}: "
                "choose a horizon within the follow-up."
            )
            raise AnalysisError(message)
        hazard = step_at(self.baseline_times_, self.baseline_hazard_, wanted, initial=0.0)
        return np.asarray(np.exp(-np.outer(np.exp(self.log_hazard(X)), hazard)), dtype=np.float64)

    def risk(self, X: pd.DataFrame, horizon: float) -> NDArray[np.float64]:
        """Return 1 - S(horizon | x), shape (n,)."""
        return np.asarray(1.0 - self.survival(X, np.asarray([horizon]))[:, 0])

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "encoder": self.encoder_.state(),
            "treatment": self.treatment,
            "coefficients": self.coefficients_.tolist(),
            "treatment_coefficient": self.treatment_coefficient_,
            "penalty": self.penalty_,
            "baseline_times": self.baseline_times_.tolist(),
            "baseline_hazard": self.baseline_hazard_.tolist(),
            "horizon_limit": self.horizon_limit_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["treatment"])
        model.encoder_ = CovariateEncoder.from_state(state["encoder"])
        model.coefficients_ = np.asarray(state["coefficients"], dtype=np.float64)
        model.treatment_coefficient_ = float(state["treatment_coefficient"])
        model.penalty_ = float(state["penalty"])
        model.baseline_times_ = np.asarray(state["baseline_times"], dtype=np.float64)
        model.baseline_hazard_ = np.asarray(state["baseline_hazard"], dtype=np.float64)
        model.horizon_limit_ = float(state["horizon_limit"])
        return model

    def _covariates(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.drop(columns=[self.treatment]) if self.treatment is not None else X

    def _design(self, X: pd.DataFrame) -> NDArray[np.float64]:
        columns = self.encoder_.transform(self._covariates(X))
        if self.treatment is None:
            return columns
        return np.column_stack([np.asarray(X[self.treatment], dtype=np.float64), columns])

    def _ridge(self, design: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        ridge = np.full(design.shape[1], penalty)
        if self.treatment is not None:
            ridge[0] = 0.0
        return ridge

    def _tuned_penalty(
        self, design: NDArray[np.float64], time: NDArray[np.float64], event: NDArray[np.bool_], patient: pd.Index
    ) -> float:
        if len(self.penalties) == 1:
            return float(self.penalties[0])
        arm = design[:, 0].astype(np.str_) if self.treatment is not None else np.full(len(time), "all")
        # Rows with one index are copies of one patient, as in a bootstrap sample; an index without copies changes nothing.
        copies = None if patient.is_unique else patient
        fold = fold_labels(np.char.add(arm, event.astype(np.str_)), self.folds, self.seed, copies)
        whole = CoxProblem(time, event, design)
        score = np.zeros(len(self.penalties))
        for train, _ in splits(fold):
            part = CoxProblem(time[train], event[train], design[train])
            start = None
            for place in np.argsort(self.penalties)[::-1]:
                fitted = part.fit(ridge=self._ridge(design, self.penalties[place]), start=start)
                start = fitted.coefficients
                score[place] += whole.log_likelihood(start) - part.log_likelihood(start)
        return float(self.penalties[int(np.argmax(score))])


MODEL = Model(
    name="cox_ridge",
    question="risk",
    words=(
        "a Cox proportional hazards model with a ridge penalty on standardised covariates, the arm as an unpenalised "
        "covariate, and the penalty chosen by cross-validated partial likelihood"
    ),
    estimator=CoxRidge,
)

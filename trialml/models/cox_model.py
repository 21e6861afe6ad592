"""What the models of a hazard share, and of these the Cox models: everything but how the coefficients are found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.data.folds import fold_labels
from trialml.errors import AnalysisError
from trialml.models.encode import CovariateEncoder
from trialml.models.linear_design import LinearDesign, copies_of, refuse_perfect_prediction
from trialml.models.outcome import checked_survival
from trialml.models.score import ScoredByConcordance
from trialml.survival.cox import CoxProblem
from trialml.survival.cox_residuals import fitted_baseline_hazard
from trialml.survival.product_limit import step_at
from trialml.survival.ties import not_after

__all__ = ["FEWEST_EVENTS", "CoxModel", "HazardModel", "checked_times_of_risk", "proportional_survival"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_EVENTS = 5


class HazardModel(ScoredByConcordance, LinearDesign):
    """A linear predictor on the log scale of a hazard, and the cumulative baseline hazard behind it.

    Attributes
    ----------
    encoder_ : CovariateEncoder
    coefficients_ : ndarray of shape (k,)
        Log ratio of hazards for one standard deviation of each column of the encoder.
    treatment_coefficient_ : float
        Log ratio of hazards of the arm, conditional on the covariates; 0 without a treatment column.
    penalty_ : float
    baseline_times_, baseline_hazard_ : ndarray
        Cumulative baseline hazard at average covariates in the control arm.
    horizon_limit_ : float
        The last time at which a risk may be read.
    """

    penalty_name: ClassVar[str] = "ridge penalty"
    """What `penalty_` is, in words."""

    folds: int
    seed: int
    coefficients_: Floats
    penalty_: float

    def _take(self, beta: Floats) -> None:
        arm = 1 if self.treatment is not None else 0
        self.coefficients_ = np.asarray(beta[arm:])
        self.treatment_coefficient_ = float(beta[0]) if arm else 0.0

    def log_hazard(self, X: pd.DataFrame) -> Floats:
        """Return the log hazard relative to an average control patient, shape (n,)."""
        check_is_fitted(self, "coefficients_")
        score, arm = self.encoder_.transform(X) @ self.coefficients_, self._arm(X)
        return np.asarray(score if arm is None else score + self.treatment_coefficient_ * arm, dtype=np.float64)

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the log hazard, higher is worse, shape (n,)."""
        return self.log_hazard(X)

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

    def _tuning_folds(self, design: Floats, kind: NDArray[Any], copies: pd.Index | None) -> NDArray[np.intp]:
        """Return folds of the tuning, balanced by arm and by what ended follow-up, shape (n,)."""
        arm = design[:, 0].astype(np.str_) if self.treatment is not None else np.full(len(kind), "all")
        return fold_labels(np.char.add(arm, kind.astype(np.str_)), self.folds, self.seed, copies)


class CoxModel(HazardModel, ABC):
    """A proportional hazards model, its baseline hazard in Breslow's form with Efron's correction."""

    @abstractmethod
    def _learn(
        self, problem: CoxProblem, design: Floats, time: Floats, event: Flags, copies: pd.Index | None
    ) -> Floats:
        """Return the coefficients of the design, shape (k,), setting what was tuned on the way; `problem` is all of it."""

    def fit(self, X: pd.DataFrame, y: NDArray[np.void]) -> Self:
        """Fit on covariates X, shape (n, p), and the structured outcome y, shape (n,).

        Rows of X with the same index are copies of one patient and stay together in the folds of the tuning.

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events, a covariate orders them without an error, or the fit does not converge.
        DataError
            If y is no time to event.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        time, event = checked_survival(y, "a Cox model")
        if event.sum() < FEWEST_EVENTS:
            raise AnalysisError(
                f"A Cox model cannot be fitted to {int(event.sum())} events: at least {FEWEST_EVENTS} are needed."
            )
        design = self._learn_design(X)
        arm = 1 if self.treatment is not None else 0
        refuse_perfect_prediction(design[:, arm:], self._column_names()[arm:], time, event)
        problem = CoxProblem(time, event, design)
        beta = self._learn(problem, design, time, event, copies_of(X))
        self._take(beta)
        times, hazard = fitted_baseline_hazard(problem.with_offset_alone(design @ beta), np.zeros(0))
        self.baseline_times_, self.baseline_hazard_ = times, hazard[:, 0]
        self.horizon_limit_ = float(time.max())
        return self

    def survival(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return S(t | x) = exp(-H0(t) exp(log hazard)), shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "coefficients_")
        baseline = (self.baseline_times_, self.baseline_hazard_)
        return proportional_survival(self.log_hazard(X), *baseline, times, self.horizon_limit_)

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return 1 - S(horizon | x), shape (n,)."""
        return np.asarray(1.0 - self.survival(X, np.asarray([horizon]))[:, 0])


def proportional_survival(
    log_hazard: Floats, baseline_times: Floats, baseline_hazard: Floats, times: ArrayLike, limit: float
) -> Floats:
    """Return exp(-H0(t) exp(log hazard)), shape (n, number of times).

    Raises
    ------
    AnalysisError
        If a time lies beyond `limit`, is below 0 or missing.
    """
    wanted = checked_times_of_risk(times, limit)
    hazard = step_at(baseline_times, baseline_hazard, wanted, initial=0.0)
    return np.asarray(np.exp(-np.outer(np.exp(log_hazard), hazard)), dtype=np.float64)


def checked_times_of_risk(times: ArrayLike, limit: float) -> Floats:
    """Return the times at which a risk is read, shape (m,), or refuse one beyond the follow-up.

    Raises
    ------
    AnalysisError
        If a time lies beyond `limit`, is below 0 or missing.
    """
    wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if not (wanted >= 0).all():
        raise AnalysisError(f"A risk at {wanted[~(wanted >= 0)][0]:g} was asked for: choose times from 0 on.")
    if not not_after(wanted.max(initial=0.0), limit):
        raise AnalysisError(
            f"A risk at {wanted.max():g} was asked for, but the training data end at {limit:g}: "
            "choose a horizon within the follow-up."
        )
    return wanted

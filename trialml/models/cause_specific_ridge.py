"""Absolute risk of an event with which others compete: a ridge Cox model for each, combined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError, DataError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.survival.cause_specific import combined_risk
from trialml.survival.ties import TIE_TOLERANCE

__all__ = ["CauseSpecificRidge", "competing_outcome"]

Floats = NDArray[np.float64]
FEWEST = 5
"""Events without which no Cox model is fitted; so few competing events get one hazard for everybody."""


def competing_outcome(time: ArrayLike, cause: ArrayLike) -> NDArray[np.void]:
    """Return a structured array with fields ``cause`` (0 censored, 1 the event, 2 and on competing) and ``time``, shape (n,)."""
    times = np.asarray(time, dtype=np.float64)
    outcome = np.empty(len(times), dtype=[("cause", np.intp), ("time", np.float64)])
    outcome["cause"], outcome["time"] = np.asarray(cause, dtype=np.intp), times
    return outcome


class CauseSpecificRidge(BaseEstimator):  # type: ignore[misc]
    """Two cause-specific Cox models with ridge penalties, of the event and of whatever competes with it.

    The competing events are taken together: for the risk of the event only the sum of their hazards counts. The absolute risk is
    ``F(t | x) = sum S(s- | x) h(s | x)`` over event times s up to t (Benichou J, Gail MH. Biometrics 1990;46:813-826).
    With fewer than 5 competing events their hazard is the same for everybody; without any there is none.

    Parameters
    ----------
    treatment : str or None
        Column of X with the arm, as in `CoxRidge`; None where one arm alone is learned from.
    penalties, folds, seed
        Of both models, as in `CoxRidge`.

    Attributes
    ----------
    event_model_ : CoxRidge
    competing_model_ : CoxRidge or None
    jump_times_ : ndarray of shape (m,)
    jumps_ : ndarray of shape (m, 2)
        Jumps of the two baseline hazards.
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
        """Fit on covariates X, shape (n, p), and `competing_outcome`, shape (n,).

        Raises
        ------
        DataError
            If the outcome has no causes.
        AnalysisError
            If there are fewer than 5 events, or a fit does not converge.
        """
        if y.dtype.names is None or "cause" not in y.dtype.names:
            raise DataError("the outcome has no field 'cause': make it with competing_outcome(time, cause)")
        time, cause = np.asarray(y["time"]), np.asarray(y["cause"])
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.event_model_ = self._model().fit(X, survival_outcome(time, cause == 1))
        others = cause > 1
        self.competing_model_ = self._model().fit(X, survival_outcome(time, others)) if others.sum() >= FEWEST else None
        parts = [(self.event_model_.baseline_times_, self.event_model_.baseline_hazard_)]
        if self.competing_model_ is not None:
            parts.append((self.competing_model_.baseline_times_, self.competing_model_.baseline_hazard_))
        elif others.any():
            parts.append(_common_hazard(time, others))
        else:
            parts.append((np.empty(0), np.empty(0)))
        self.jump_times_, self.jumps_ = _together(parts)
        self.horizon_limit_ = float(time.max())
        return self

    def log_hazard(self, X: pd.DataFrame) -> Floats:
        """Return the log cause-specific hazard of the event relative to an average patient, shape (n,)."""
        check_is_fitted(self, "jump_times_")
        return self.event_model_.log_hazard(X)

    def absolute_risk(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return the probability of the event by each time, shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "jump_times_")
        wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
        last = self.horizon_limit_ * (1 + TIE_TOLERANCE)
        if not (wanted <= last).all():
            raise AnalysisError(
                f"A risk at {wanted.max():g} was asked for, but the training data end at {self.horizon_limit_:g}: choose a horizon "
                "within the follow-up."
            )
        other = np.zeros(len(X)) if self.competing_model_ is None else self.competing_model_.log_hazard(X)
        relative = np.exp(np.column_stack([self.event_model_.log_hazard(X), other]))
        place = np.searchsorted(self.jump_times_, wanted * (1 + TIE_TOLERANCE), side="right")
        return combined_risk(self.jumps_, relative, 0)[:, place]

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return the probability of the event by the horizon, shape (n,)."""
        return np.asarray(self.absolute_risk(X, [horizon])[:, 0])

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "treatment": self.treatment,
            "event_model": self.event_model_.state(),
            "competing_model": None if self.competing_model_ is None else self.competing_model_.state(),
            "jump_times": self.jump_times_.tolist(),
            "jumps": self.jumps_.tolist(),
            "horizon_limit": self.horizon_limit_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["treatment"])
        model.event_model_ = CoxRidge.from_state(state["event_model"])
        other = state["competing_model"]
        model.competing_model_ = None if other is None else CoxRidge.from_state(other)
        model.feature_names_in_ = model.event_model_.encoder_.feature_names_in_
        model.jump_times_ = np.asarray(state["jump_times"], dtype=np.float64)
        model.jumps_ = np.asarray(state["jumps"], dtype=np.float64).reshape(-1, 2)
        model.horizon_limit_ = float(state["horizon_limit"])
        return model

    def _model(self) -> CoxRidge:
        return CoxRidge(treatment=self.treatment, penalties=self.penalties, folds=self.folds, seed=self.seed)


def _common_hazard(time: Floats, event: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return times and the cumulative hazard of Nelson and Aalen, the same for everybody."""
    at = np.unique(time[event])
    counts = np.array([(event & (time == one)).sum() / (time >= one).sum() for one in at])
    return at, np.cumsum(counts)


def _together(parts: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return the times of all jumps, ascending, and each hazard's jump there."""
    times = np.unique(np.concatenate([at for at, _ in parts]))
    jumps = np.zeros((times.size, len(parts)))
    for column, (at, hazard) in enumerate(parts):
        jumps[np.searchsorted(times, at), column] = np.diff(hazard, prepend=0.0)
    return times, jumps

"""Absolute risk among competing events by cause-specific Cox models with a ridge penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from trialml.models import Model
from trialml.models.columns import names_of
from trialml.models.cox_model import FEWEST_EVENTS, checked_times_of_risk
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import checked_competing, survival_outcome
from trialml.models.score import ScoredByConcordance
from trialml.survival.cause_specific import combined_risk
from trialml.survival.cox import baseline_cumulative_hazard
from trialml.survival.ties import TIE_TOLERANCE

__all__ = ["MODEL", "CauseSpecificCox"]

Floats = NDArray[np.float64]

_ROWS_AT_ONCE = 512


class CauseSpecificCox(ScoredByConcordance, BaseEstimator):  # type: ignore[misc]
    """Two Cox models, of the event and of the competing events together, combined to the absolute risk of the event.

    ``F(t | x) = sum over event times s up to t of S(s- | x) h1(s | x)``, with ``S(s | x)`` the product of ``1 - h1 - h2``, not below
    0. Competing events of several kinds share one model: what the risk of the event needs of them is their hazard
    together. With fewer than 5 competing events, their hazard is the same for everybody.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), left out of the penalty and of the standardisation.
    penalties, folds, seed, knots
        As in `CoxRidge`; each of the two models has its penalty.

    Attributes
    ----------
    event_, competing_ : CoxRidge
        The two models; `competing_` is None with fewer than 5 competing events.
    times_, jumps_ : ndarray
        Times of any event, shape (m,), and the two baseline hazards' jumps there, shape (2, m).
    horizon_limit_ : float
        The last time at which a risk may be read.

    References
    ----------
    Benichou J, Gail MH. Estimates of absolute cause-specific risk in cohort studies. Biometrics 1990;46:813-826.
    """

    def __init__(
        self,
        treatment: str | None = None,
        penalties: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
        folds: int = 5,
        seed: int = 1,
        knots: int = 0,
    ) -> None:
        self.treatment = treatment
        self.penalties = penalties
        self.folds = folds
        self.seed = seed
        self.knots = knots

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Fit on covariates X, shape (n, p), and `competing_outcome` y, shape (n,).

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events of interest, a covariate orders them without an error, or a fit fails.
        DataError
            If y is no outcome with competing events.
        """
        time, cause = checked_competing(y)
        self.feature_names_in_ = names_of(X)
        self.event_ = self._one().fit(X, survival_outcome(time, cause == 1))
        others = cause > 1
        self.competing_ = None
        baselines = [(self.event_.baseline_times_, self.event_.baseline_hazard_)]
        if others.sum() >= FEWEST_EVENTS:
            self.competing_ = self._one().fit(X, survival_outcome(time, others))
            baselines.append((self.competing_.baseline_times_, self.competing_.baseline_hazard_))
        elif others.any():
            baselines.append(baseline_cumulative_hazard(time, others, np.zeros(len(time))))
        self.times_ = np.unique(np.concatenate([at for at, _ in baselines]))
        self.jumps_ = np.zeros((2, len(self.times_)))
        for row, (at, hazard) in zip(self.jumps_, baselines, strict=False):
            row[np.searchsorted(self.times_, at)] = np.diff(hazard, prepend=0.0)
        self.horizon_limit_ = float(time.max())
        return self

    def _one(self) -> CoxRidge:
        return CoxRidge(self.treatment, self.penalties, self.folds, self.seed, self.knots)

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the absolute risk at the end of follow-up, higher is worse, shape (n,)."""
        check_is_fitted(self, "times_")
        return self.risk(X, self.horizon_limit_)

    def cumulative_incidence(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return F(t | x) of the event of interest, shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "times_")
        wanted = checked_times_of_risk(times, self.horizon_limit_)
        place = np.searchsorted(self.times_, wanted * (1 + TIE_TOLERANCE), side="right")
        event = np.exp(self.event_.log_hazard(X))
        other = np.ones(len(X)) if self.competing_ is None else np.exp(self.competing_.log_hazard(X))
        found = np.empty((len(X), len(wanted)))
        for start in range(0, len(X), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            relative = np.column_stack([event[rows], other[rows]])
            found[rows] = combined_risk(self.jumps_.T, relative, 0)[:, place]
        return found

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return F(horizon | x), shape (n,)."""
        return self.cumulative_incidence(X, [horizon])[:, 0]

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "event": self.event_.state(),
            "competing": None if self.competing_ is None else self.competing_.state(),
            "times": self.times_.tolist(),
            "jumps": self.jumps_.tolist(),
            "horizon_limit": self.horizon_limit_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["event"]["treatment"])
        model.event_ = CoxRidge.from_state(state["event"])
        model.competing_ = None if state["competing"] is None else CoxRidge.from_state(state["competing"])
        model.times_ = np.asarray(state["times"], dtype=np.float64)
        model.jumps_ = np.asarray(state["jumps"], dtype=np.float64)
        model.horizon_limit_ = float(state["horizon_limit"])
        return model


MODEL = Model(
    name="cause_specific_cox",
    question="risk",
    words=(
        "cause-specific Cox models with ridge penalties, one of the event and one of the competing events, combined to the "
        "absolute risk, the arm as an unpenalised covariate, and the penalties chosen by cross-validated partial likelihood"
    ),
    estimator=CauseSpecificCox,
    endpoint="competing risks",
)

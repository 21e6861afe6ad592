"""Risk by boosted trees that learn the hazard in periods of follow-up, which need not be proportional."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.boosting import Boosted, poisson_loss
from trialml.models.column_bins import ColumnBins
from trialml.models.cox_model import FEWEST_EVENTS, checked_times_of_risk
from trialml.models.outcome import checked_survival
from trialml.models.person_periods import HazardTrees, PersonPeriods, period_ends, shares_of_periods
from trialml.models.score import ScoredByConcordance
from trialml.models.tree_design import TreeDesign

__all__ = ["MODEL", "BoostedHazard", "BoostedHazards"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class BoostedHazards(ScoredByConcordance, Boosted):
    """What the models of one hazard and of several share: the settings, the periods and how a hazard is learned.

    Parameters
    ----------
    treatment, iterations, learning_rate, leaves, fewest, ridge, folds, seed
        As in `Boosted`.
    periods : int
        Most periods of follow-up; each holds 10 events or more.
    """

    def __init__(
        self,
        treatment: str | None = None,
        iterations: int = 200,
        learning_rate: float = 0.06,
        leaves: int = 6,
        fewest: int = 20,
        ridge: float = 1.0,
        folds: int = 3,
        seed: int = 1,
        periods: int = 20,
    ) -> None:
        super().__init__(treatment, iterations, learning_rate, leaves, fewest, ridge, folds, seed)
        self.periods = periods

    def _learn_periods(
        self, X: pd.DataFrame, time: Floats, event: Flags, of_interest: Flags
    ) -> tuple[Floats, PersonPeriods]:
        matrix = self._learn_columns(X)
        self._refuse_perfect_prediction(matrix, time, of_interest)
        self.ends_ = period_ends(time, event, self.periods)
        self.horizon_limit_ = float(time.max())
        return matrix, PersonPeriods.of(time, self.ends_)

    def _learn_hazard(self, X: pd.DataFrame, matrix: Floats, rows: PersonPeriods, event: Flags) -> HazardTrees:
        from sklearn.ensemble import HistGradientBoostingRegressor

        n_periods, patients = len(self.ends_), np.flatnonzero(event)
        count = np.bincount(rows.last[patients], minlength=n_periods).astype(np.float64)
        marginal = count / np.bincount(rows.period, rows.exposure, minlength=n_periods)
        share = count / max(count.sum(), 1.0)
        if count.sum() < FEWEST_EVENTS:
            return HazardTrees(marginal, share, None)
        happened = (event[rows.patient] & (rows.period == rows.last[rows.patient])).astype(np.float64)
        expected = rows.exposure * marginal[rows.period]
        # A period without an event has a hazard of 0 whatever the covariates.
        seen = expected > 0
        bins, fold = ColumnBins.learn(matrix), self._tuning_folds(X, event)
        trees = self._grown(
            HistGradientBoostingRegressor(loss="poisson"),
            poisson_loss,
            bins,
            np.column_stack([bins.codes(matrix)[rows.patient[seen]], rows.period[seen]]),
            happened[seen] / expected[seen],
            expected[seen],
            fold[rows.patient][seen],
        )
        return HazardTrees(marginal, share, trees)


class BoostedHazard(BoostedHazards):
    """Trees that add up to the log hazard given covariates and the period of follow-up.

    Follow-up is cut into periods at quantiles of the event times. In period j the cumulative hazard of a patient is
    ``m_j exp(f(x, j))``, with m_j the events divided by the exposure of all, and f a sum of trees of
    covariates and period, so that effects may change over time. The trees maximise the likelihood of a hazard
    constant within each period, ``sum of d log(hazard) - hazard * exposure``, that of a Poisson count whose exposure
    is ``m_j`` times the share of the period under observation. Then ``S(t | x) = exp(-sum over j of m_j exp(f(x, j)) w_j(t))``,
    w_j(t) the share of period j that has passed at t. Missing covariates are sent down the side of a split that fits
    better. The number of trees is the one with the largest cross-validated likelihood, whole patients left out.

    Parameters
    ----------
    treatment, iterations, learning_rate, leaves, fewest, ridge, folds, seed, periods
        As in `BoostedHazards`.

    Attributes
    ----------
    design_ : TreeDesign
    hazard_ : HazardTrees
    ends_ : ndarray of shape (periods,)
        Where the periods end.
    horizon_limit_ : float
        The last time at which a risk may be read.

    References
    ----------
    Friedman JH. Greedy function approximation: a gradient boosting machine. Ann Stat 2001;29:1189-1232. Holford TR. The
    analysis of rates and of survivorship using log-linear models. Biometrics 1980;36:299-305.
    """

    def fit(self, X: pd.DataFrame, y: NDArray[np.void]) -> Self:
        """Fit on covariates X, shape (n, p), and the structured outcome y, shape (n,).

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events, or a covariate orders them without an error.
        DataError
            If y is no time to event.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        time, event = checked_survival(y)
        if event.sum() < FEWEST_EVENTS:
            raise AnalysisError(
                f"Boosted hazards cannot be fitted to {int(event.sum())} events: at least {FEWEST_EVENTS} are needed."
            )
        matrix, rows = self._learn_periods(X, time, event, event)
        self.hazard_ = self._learn_hazard(X, matrix, rows, event)
        return self

    def log_hazard(self, X: pd.DataFrame) -> Floats:
        """Return the log hazard relative to the average, averaged over the times of events, shape (n,)."""
        check_is_fitted(self, "hazard_")
        return self.hazard_.score(self.design_.matrix(X))

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the averaged log hazard, higher is worse, shape (n,)."""
        return self.log_hazard(X)

    def survival(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return S(t | x), shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "hazard_")
        wanted = checked_times_of_risk(times, self.horizon_limit_)
        hazards = self.hazard_.hazards(self.design_.matrix(X))
        # einsum adds in the same order however many patients there are, which a matrix product does not.
        total = np.einsum("np,tp->nt", hazards, shares_of_periods(wanted, self.ends_))
        return np.asarray(np.exp(-total))

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return 1 - S(horizon | x), shape (n,)."""
        return np.asarray(1.0 - self.survival(X, [horizon])[:, 0])

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "design": self.design_.state(),
            "hazard": self.hazard_.state(),
            "ends": self.ends_.tolist(),
            "horizon_limit": self.horizon_limit_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["design"]["treatment"])
        model.design_ = TreeDesign.from_state(state["design"])
        model.hazard_ = HazardTrees.from_state(state["hazard"])
        model.ends_ = np.asarray(state["ends"], dtype=np.float64)
        model.horizon_limit_ = float(state["horizon_limit"])
        return model


MODEL = Model(
    name="boosted_hazard",
    question="risk",
    words=(
        "boosted trees that learn the hazard in periods of follow-up, so that effects need be neither linear nor proportional, "
        "the arm as one covariate, and the number of trees chosen by cross-validated likelihood"
    ),
    estimator=BoostedHazard,
)

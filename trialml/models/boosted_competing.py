"""Absolute risk among competing events by boosted trees, one sequence for each cause's hazard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.boosted_hazard import BoostedHazards
from trialml.models.cox_model import FEWEST_EVENTS, checked_times_of_risk
from trialml.models.outcome import checked_competing
from trialml.models.person_periods import HazardTrees, shares_of_periods
from trialml.models.tree_design import TreeDesign

__all__ = ["MODEL", "BoostedCompeting"]

Floats = NDArray[np.float64]


class BoostedCompeting(BoostedHazards):
    """Boosted hazards of the event and of the competing events together, combined to the absolute risk of the event.

    With h1 and h2 the cumulative hazards of a patient over period j, each constant within it as in `BoostedHazard`,
    ``F(t | x) = sum over j of S_j h1 / (h1 + h2) (1 - exp(-(h1 + h2) w_j(t)))``, S_j the probability of no event of either kind
    before period j and w_j(t) the share of it that has passed at t. With fewer than 5 competing events, their hazard
    is the same for everybody.

    Parameters
    ----------
    treatment, iterations, learning_rate, leaves, fewest, ridge, folds, seed, periods
        As in `BoostedHazards`; each of the two hazards has its number of trees.

    Attributes
    ----------
    design_ : TreeDesign
    event_, competing_ : HazardTrees
    ends_ : ndarray of shape (periods,)
        Where the periods end, at quantiles of the times of either kind of event.
    horizon_limit_ : float
        The last time at which a risk may be read.

    References
    ----------
    Benichou J, Gail MH. Estimates of absolute cause-specific risk in cohort studies. Biometrics 1990;46:813-826.
    """

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Fit on covariates X, shape (n, p), and `competing_outcome` y, shape (n,).

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events of interest, or a covariate orders them without an error.
        DataError
            If y is no outcome with competing events.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        time, cause = checked_competing(y)
        if (cause == 1).sum() < FEWEST_EVENTS:
            raise AnalysisError(
                f"Boosted hazards cannot be fitted to {int((cause == 1).sum())} events: at least {FEWEST_EVENTS} are needed."
            )
        matrix, rows = self._learn_periods(X, time, cause > 0, cause == 1)
        self.event_ = self._learn_hazard(X, matrix, rows, cause == 1)
        self.competing_ = self._learn_hazard(X, matrix, rows, cause > 1)
        return self

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the absolute risk at the end of follow-up, higher is worse, shape (n,)."""
        check_is_fitted(self, "event_")
        return self.risk(X, self.horizon_limit_)

    def cumulative_incidence(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return F(t | x) of the event of interest, shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "event_")
        wanted = checked_times_of_risk(times, self.horizon_limit_)
        matrix = self.design_.matrix(X)
        event = self.event_.hazards(matrix)
        either = event + self.competing_.hazards(matrix)
        before = np.exp(-(np.cumsum(either, axis=1) - either))
        of_event = before * event / np.where(either > 0, either, 1.0)
        found = np.zeros((len(matrix), len(wanted)))
        for place, share in enumerate(shares_of_periods(wanted, self.ends_)):
            found[:, place] = (of_event * -np.expm1(-either * share)).sum(axis=1)
        return np.minimum(found, 1.0)

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return F(horizon | x), shape (n,)."""
        return self.cumulative_incidence(X, [horizon])[:, 0]

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "design": self.design_.state(),
            "event": self.event_.state(),
            "competing": self.competing_.state(),
            "ends": self.ends_.tolist(),
            "horizon_limit": self.horizon_limit_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["design"]["treatment"])
        model.design_ = TreeDesign.from_state(state["design"])
        model.event_ = HazardTrees.from_state(state["event"])
        model.competing_ = HazardTrees.from_state(state["competing"])
        model.ends_ = np.asarray(state["ends"], dtype=np.float64)
        model.horizon_limit_ = float(state["horizon_limit"])
        return model


MODEL = Model(
    name="boosted_competing",
    question="risk",
    words=(
        "boosted trees of the cause-specific hazards in periods of follow-up, one sequence for the event and one for the competing "
        "events, combined to the absolute risk, the arm as one covariate, and the numbers of trees chosen by cross-validated "
        "likelihood"
    ),
    estimator=BoostedCompeting,
    endpoint="competing risks",
)

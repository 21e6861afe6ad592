"""Absolute risk among competing events by Fine and Gray's model with a ridge penalty."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.data.folds import splits
from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.cox_model import FEWEST_EVENTS, HazardModel, checked_times_of_risk
from trialml.models.linear_design import copies_of, refuse_perfect_prediction
from trialml.models.outcome import checked_competing
from trialml.survival.fine_gray_fit import FineGrayArrays, fine_gray_likelihood, fit_fine_gray
from trialml.survival.product_limit import step_at

__all__ = ["MODEL", "FineGrayRidge"]

Floats = NDArray[np.float64]


class FineGrayRidge(HazardModel):
    """Proportional subdistribution hazards with a quadratic penalty on standardised covariates.

    The weighted log partial likelihood (ties as ``cmprsk::crr``) less ``penalty / 2 * sum(b_j^2)``; the arm, where given as a
    column, is not penalised. The penalty is the one of the grid with the largest cross-validated partial likelihood; the
    censoring weights are those of the patients that each fit sees. The risk is ``1 - exp(-H(t) exp(x b))``.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), left out of the penalty and of the standardisation.
    penalties : tuple of float
        The grid. One value switches the tuning off.
    folds, seed : int
        Folds of the tuning and their seed.
    knots : int
        3, 4 or 5 for restricted cubic splines of numeric covariates, as in `CovariateEncoder`; 0 for straight lines.

    The hazard of `HazardModel` is that of the subdistribution.

    References
    ----------
    Fine JP, Gray RJ. A proportional hazards model for the subdistribution of a competing risk. J Am Stat Assoc
    1999;94:496-509.
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
            If there are fewer than 5 events of interest, a covariate orders them without an error, or the fit fails.
        DataError
            If y is no outcome with competing events.
        """
        time, cause = checked_competing(y)
        event = cause == 1
        if event.sum() < FEWEST_EVENTS:
            raise AnalysisError(
                f"A Fine-Gray model cannot be fitted to {int(event.sum())} events: at least {FEWEST_EVENTS} are needed."
            )
        design = self._learn_design(X)
        arm = 1 if self.treatment is not None else 0
        refuse_perfect_prediction(design[:, arm:], self._column_names()[arm:], time, event)
        self.penalty_ = self._tuned_penalty(design, time, cause, copies_of(X))
        fitted = self._fit(design, time, cause, self.penalty_)
        self._take(fitted.coefficients)
        self.baseline_times_, self.baseline_hazard_ = fitted.times, np.cumsum(fitted.hazard)
        self.horizon_limit_ = float(time.max())
        return self

    def _fit(self, design: Floats, time: Floats, cause: NDArray[np.int64], penalty: float) -> FineGrayArrays:
        ridge = np.where(self._free(design), 0.0, penalty)
        return fit_fine_gray(time, cause, design, 1, tuple(self._column_names()), "breslow", ridge)

    def _tuned_penalty(self, design: Floats, time: Floats, cause: NDArray[np.int64], copies: pd.Index | None) -> float:
        if len(self.penalties) == 1:
            return float(self.penalties[0])
        score = np.zeros(len(self.penalties))
        for train, _ in splits(self._tuning_folds(design, cause, copies)):
            for place, penalty in enumerate(self.penalties):
                part = self._fit(design[train], time[train], cause[train], penalty)
                whole = fine_gray_likelihood(time, cause, design, 1, part.coefficients)
                score[place] += whole - part.log_likelihood
        return float(self.penalties[int(np.argmax(score))])

    def cumulative_incidence(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return F(t | x) of the event of interest, shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "coefficients_")
        wanted = checked_times_of_risk(times, self.horizon_limit_)
        hazard = step_at(self.baseline_times_, self.baseline_hazard_, wanted, initial=0.0)
        return np.asarray(-np.expm1(-np.outer(np.exp(self.log_hazard(X)), hazard)), dtype=np.float64)

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return F(horizon | x), shape (n,)."""
        return self.cumulative_incidence(X, [horizon])[:, 0]


MODEL = Model(
    name="fine_gray_ridge",
    question="risk",
    words=(
        "Fine and Gray's proportional subdistribution hazards model with a ridge penalty on standardised covariates, the arm as "
        "an unpenalised covariate, and the penalty chosen by cross-validated partial likelihood"
    ),
    estimator=FineGrayRidge,
    endpoint="competing risks",
)

"""Risk by a Cox model with a ridge penalty; the default, because nothing beats it at trial sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import splits
from trialml.models import Model
from trialml.models.cox_model import CoxModel
from trialml.survival.cox import CoxProblem

__all__ = ["MODEL", "CoxRidge"]

CLOSE = 1e-7
"""Of Newton's method while penalties are compared: their likelihoods differ by far more."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class CoxRidge(CoxModel):
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
    knots : int
        3, 4 or 5 for restricted cubic splines of numeric covariates, as in `CovariateEncoder`; 0 for straight lines.

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
        knots: int = 0,
    ) -> None:
        self.treatment = treatment
        self.penalties = penalties
        self.folds = folds
        self.seed = seed
        self.knots = knots

    def _learn(
        self, problem: CoxProblem, design: Floats, time: Floats, event: Flags, copies: pd.Index | None
    ) -> Floats:
        self.penalty_ = self._tuned_penalty(problem, design, time, event, copies)
        return problem.fit(ridge=self._ridge(design, self.penalty_), test=False).coefficients

    def _ridge(self, design: Floats, penalty: float) -> Floats:
        return np.where(self._free(design), 0.0, penalty)

    def _tuned_penalty(
        self, whole: CoxProblem, design: Floats, time: Floats, event: Flags, copies: pd.Index | None
    ) -> float:
        if len(self.penalties) == 1:
            return float(self.penalties[0])
        score = np.zeros(len(self.penalties))
        for train, _ in splits(self._tuning_folds(design, event, copies)):
            part = CoxProblem(time[train], event[train], design[train])
            start = None
            for place in np.argsort(self.penalties)[::-1]:
                fitted = part.fit(ridge=self._ridge(design, self.penalties[place]), start=start, tol=CLOSE, near=True)
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

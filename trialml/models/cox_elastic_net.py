"""Risk by a Cox model with an elastic-net penalty, which leaves out covariates that predict nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import splits
from trialml.models import Model
from trialml.models.cox_model import CoxModel
from trialml.survival.cox import CoxProblem
from trialml.survival.cox_net import cox_path, largest_penalty

__all__ = ["MODEL", "CoxElasticNet"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class CoxElasticNet(CoxModel):
    """Cox proportional hazards with lasso and ridge penalties on standardised covariates.

    The maximum of ``l(b) / n - penalty * sum(mixing |b_j| + (1 - mixing) b_j^2 / 2)`` with Efron's ties; the arm, where given as
    a column, is not penalised. The penalty is the one of a geometric path with the largest cross-validated partial
    likelihood (Verweij and van Houwelingen 1993, Statistics in Medicine 12:2305-2314), each fold with the whole path that
    all patients set.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), left out of the penalty and of the standardisation.
    mixing : float
        1 is the lasso; above 0.
    path : int
        Penalties on the path, from the largest useful one down to 1 % of it (5 % with as many columns as events or more).
    penalty : float or None
        A penalty that switches the tuning off.
    folds, seed : int
        Folds of the tuning and their seed.
    knots : int
        3, 4 or 5 for restricted cubic splines of numeric covariates, as in `CovariateEncoder`; 0 for straight lines. Each
        bend is kept or left out by itself.

    Attributes
    ----------
    selected_ : tuple of str
        The covariates that were kept. Which these are is unstable; whether a covariate matters is no question of it.
    penalty_ : float
    """

    penalty_name = "elastic-net penalty"

    def __init__(
        self,
        treatment: str | None = None,
        mixing: float = 0.5,
        path: int = 30,
        penalty: float | None = None,
        folds: int = 5,
        seed: int = 1,
        knots: int = 0,
    ) -> None:
        self.treatment = treatment
        self.mixing = mixing
        self.path = path
        self.penalty = penalty
        self.folds = folds
        self.seed = seed
        self.knots = knots

    def _learn(
        self, problem: CoxProblem, design: Floats, time: Floats, event: Flags, copies: pd.Index | None
    ) -> Floats:
        free = self._free(design)
        if free.all():
            self.penalty_ = 0.0
            return problem.fit().coefficients if free.any() else np.zeros(0)
        # glmnet rescales the factors to add up to the number of columns; these are rescaled to 1 for each that counts.
        share = np.where(free, 0.0, 1.0)
        at = (~free).mean()
        largest = largest_penalty(problem, mixing=self.mixing, factors=share) / at
        if self.penalty is not None:
            path = np.asarray([self.penalty], dtype=np.float64)
            place = 0
        else:
            smallest = 0.01 if design.shape[1] < event.sum() else 0.05
            path = largest * np.geomspace(1.0, smallest, self.path)
            place = self._best(problem, design, time, event, path, share, copies)
        # From above to the penalty chosen, so that each model starts close to its maximum.
        found = cox_path(problem, path[: place + 1] * at, mixing=self.mixing, factors=share)
        self.penalty_ = float(path[place])
        return np.asarray(found.coefficients[-1])

    def _best(
        self,
        whole: CoxProblem,
        design: Floats,
        time: Floats,
        event: Flags,
        path: Floats,
        share: Floats,
        copies: pd.Index | None,
    ) -> int:
        score = np.zeros(len(path))
        for train, _ in splits(self._tuning_folds(design, event, copies)):
            varies = np.ptp(design[train], axis=0) > 0
            part = CoxProblem(time[train], event[train], design[train][:, varies])
            factors = share[varies]
            for place, beta in enumerate(self._along(part, path, factors)):
                full = np.zeros(design.shape[1])
                full[varies] = beta
                score[place] += whole.log_likelihood(full) - part.log_likelihood(beta)
        return int(np.argmax(score))

    def _along(self, part: CoxProblem, path: Floats, factors: Floats) -> Floats:
        if not factors.any():
            alone = part.fit().coefficients if factors.size else np.zeros(0)
            return np.tile(alone, (len(path), 1))
        return cox_path(part, path * factors.mean(), mixing=self.mixing, factors=factors).coefficients


MODEL = Model(
    name="cox_elastic_net",
    question="risk",
    words=(
        "a Cox proportional hazards model with an elastic-net penalty (half lasso, half ridge) on standardised covariates, the "
        "arm as an unpenalised covariate, and the penalty chosen by cross-validated partial likelihood"
    ),
    estimator=CoxElasticNet,
)

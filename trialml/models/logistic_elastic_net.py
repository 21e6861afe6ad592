"""Risk of a binary endpoint by logistic regression with an elastic-net penalty, which leaves covariates out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.models import Model
from trialml.models.logistic_model import LogisticModel
from trialml.models.logistic_path import largest_logistic_penalty, logistic_path
from trialml.models.outcome import BinaryOutcome

__all__ = ["MODEL", "LogisticElasticNet"]

Floats = NDArray[np.float64]


class LogisticElasticNet(LogisticModel):
    """Logistic regression with lasso and ridge penalties on standardised covariates.

    The maximum of `logistic_path`; intercept and arm are not penalised. The penalty is the one of a geometric path with the
    largest cross-validated log-likelihood, each fold with the whole path that all patients set.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), left out of the penalty and of the standardisation.
    mixing : float
        1 is the lasso; above 0.
    path : int
        Penalties on the path, from the largest useful one down to 1 % of it.
    penalty : float or None
        A penalty that switches the tuning off.
    folds, seed : int
        Folds of the tuning and their seed.
    knots : int
        3, 4 or 5 for restricted cubic splines of numeric covariates, as in `CovariateEncoder`; 0 for straight lines.

    Attributes
    ----------
    selected_ : tuple of str
        The covariates that were kept. Which these are is unstable; whether a covariate matters is no question of it.
    """

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

    def _learn(self, design: Floats, outcome: BinaryOutcome, y: Any, copies: pd.Index | None) -> Floats:
        free = self._free(design)
        largest = largest_logistic_penalty(design, outcome, mixing=self.mixing, free=free)
        grid = largest * np.geomspace(1.0, 0.01, self.path)
        if self.penalty is not None:
            grid = np.asarray([self.penalty], dtype=np.float64)

        def path(columns: Floats, of: BinaryOutcome) -> Floats:
            return logistic_path(columns, of, grid, mixing=self.mixing, free=free)

        place = 0 if len(grid) == 1 else self._best(design, outcome, y, path, copies)
        self.penalty_ = float(grid[place])
        return np.asarray(logistic_path(design, outcome, grid[: place + 1], mixing=self.mixing, free=free)[-1])


MODEL = Model(
    name="logistic_elastic_net",
    question="risk",
    words=(
        "a logistic model with an elastic-net penalty (half lasso, half ridge) on standardised covariates, the arm as an "
        "unpenalised covariate, and the penalty chosen by cross-validated log-likelihood; patients censored before a window "
        "ends are made up for by inverse-probability-of-censoring weights"
    ),
    estimator=LogisticElasticNet,
    endpoint="binary",
)

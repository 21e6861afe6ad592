"""Risk of a binary endpoint by logistic regression with a ridge penalty; the default for such endpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.models import Model
from trialml.models.logistic_model import LogisticModel
from trialml.models.logistic_path import logistic_path
from trialml.models.outcome import BinaryOutcome

__all__ = ["MODEL", "LogisticRidge"]

Floats = NDArray[np.float64]


class LogisticRidge(LogisticModel):
    """Logistic regression with a quadratic penalty on standardised covariates.

    The maximum of the weighted log-likelihood less ``penalty / 2 * sum(b_j^2)``; intercept and arm are not penalised. The
    penalty is the one of the grid with the largest cross-validated log-likelihood.

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

    References
    ----------
    le Cessie S, van Houwelingen JC. Ridge estimators in logistic regression. Appl Stat 1992;41:191-201.
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

    def _learn(self, design: Floats, outcome: BinaryOutcome, y: Any, copies: pd.Index | None) -> Floats:
        grid = np.sort(np.asarray(self.penalties, dtype=np.float64))[::-1]
        free = self._free(design)

        def path(columns: Floats, of: BinaryOutcome, penalties: Floats = grid) -> Floats:
            # The path takes penalties for one patient; a ridge penalty here is for all.
            return logistic_path(columns, of, penalties / of.weight.sum(), mixing=0.0, free=free)

        place = 0 if len(grid) == 1 else self._best(design, outcome, y, path, copies)
        self.penalty_ = float(grid[place])
        return np.asarray(path(design, outcome, grid[place : place + 1])[0])


MODEL = Model(
    name="logistic_ridge",
    question="risk",
    words=(
        "a logistic model with a ridge penalty on standardised covariates, the arm as an unpenalised covariate, and the penalty "
        "chosen by cross-validated log-likelihood; patients censored before a window ends are made up for by "
        "inverse-probability-of-censoring weights"
    ),
    estimator=LogisticRidge,
    endpoint="binary",
)

"""Benefit by ridge regression of the doubly robust scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trialml.models import Model
from trialml.models.ridge_line import ridge_line
from trialml.models.scores_regression import ScoresRegression

__all__ = ["MODEL", "RidgeScores"]


PENALTIES = np.geomspace(1e-2, 1e2, 17)
"""The grid, for each patient."""


class RidgeScores(ScoresRegression):
    """Ridge regression, its penalty chosen by leave-one-out cross-validation, then shrunk.

    Every covariate keeps a weight, so that patients can always be put in an order.
    """

    def _line(self, design: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return ridge_line(design, scores, len(scores) * PENALTIES).coefficients


MODEL = Model(
    name="ridge_scores",
    question="response",
    words=(
        "ridge regression of doubly robust scores on standardised covariates, its penalty chosen by leave-one-out "
        "cross-validation, shrunk towards the average effect by the out-of-fold calibration slope (over 200 splits)"
    ),
    estimator=RidgeScores,
)

"""Benefit by ridge regression of the doubly robust scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trialml.models import Model
from trialml.models.scores_regression import ScoresRegression

__all__ = ["MODEL", "RidgeScores"]


class RidgeScores(ScoresRegression):
    """Ridge regression, its penalty chosen by generalised (leave-one-out) cross-validation, then shrunk.

    Every covariate keeps a weight, so that patients can always be put in an order.
    """

    def _line(self, design: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        from sklearn.linear_model import RidgeCV

        penalties = len(scores) * np.geomspace(1e-2, 1e2, 17)
        return np.asarray(RidgeCV(alphas=penalties).fit(design, scores).coef_, dtype=np.float64)


MODEL = Model(
    name="ridge_scores",
    question="response",
    words=(
        "ridge regression of doubly robust scores on standardised covariates, its penalty chosen by leave-one-out "
        "cross-validation, shrunk towards the average effect by the out-of-fold calibration slope (over twenty splits)"
    ),
    estimator=RidgeScores,
)

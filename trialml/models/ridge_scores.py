"""Benefit by ridge regression of the doubly robust scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trialml.models import Model
from trialml.models.scores_regression import ScoresRegression

__all__ = ["MODEL", "RidgeScores"]


class RidgeScores(ScoresRegression):
    """Ridge regression, its penalty chosen by leave-one-out cross-validation, then shrunk.

    Every covariate keeps a weight, so that patients can always be put in an order.
    """

    def _line(self, design: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return _ridge_line(design, scores, len(scores) * np.geomspace(1e-2, 1e2, 17))


def _ridge_line(
    design: NDArray[np.float64], scores: NDArray[np.float64], penalties: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the ridge coefficients at the penalty with the smallest leave-one-out error, shape (k,).

    With the eigenvectors V and values l of the centred design's Gram matrix, every penalty's fit and leverages
    ``h = 1 / n + sum((Z V)^2 / (l + penalty))`` come from one product, and the error of leaving a patient out is the
    residual over ``1 - h`` (Golub, Heath and Wahba 1979, Technometrics 21:215-223). The intercept is not penalised.

    Parameters
    ----------
    design, scores
        Shapes (n, k) and (n,).
    penalties
        The grid; of equal errors the first is taken.
    """
    centred, left = design - design.mean(axis=0), scores - scores.mean()
    values, vectors = np.linalg.eigh(centred.T @ centred)
    turned = centred @ vectors
    along = turned.T @ left
    kept = 1.0 / (np.maximum(values, 0.0)[:, None] + penalties)
    leverage = 1.0 / len(scores) + turned**2 @ kept
    errors = ((left[:, None] - turned @ (along[:, None] * kept)) / (1.0 - leverage)) ** 2
    best = int(np.argmin(errors.sum(axis=0)))
    return np.asarray(vectors @ (along * kept[:, best]), dtype=np.float64)


MODEL = Model(
    name="ridge_scores",
    question="response",
    words=(
        "ridge regression of doubly robust scores on standardised covariates, its penalty chosen by leave-one-out "
        "cross-validation, shrunk towards the average effect by the out-of-fold calibration slope (over 200 splits)"
    ),
    estimator=RidgeScores,
)

"""Ridge regression at the penalty that predicts a left-out patient best, in closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RidgeLine", "ridge_line"]

Floats = NDArray[np.float64]


class RidgeLine(NamedTuple):
    """A ridge line: its coefficients, shape (k,), and the penalty that was chosen."""

    coefficients: Floats
    penalty: float


def ridge_line(
    design: Floats, scores: Floats, penalties: Floats, group: Floats | None = None, copies: Floats | None = None
) -> RidgeLine:
    """Return the ridge coefficients at the penalty with the smallest leave-one-out error.

    With the eigenvectors V and values l of the centred design's Gram matrix, every penalty's fit and leverages
    ``h = 1 / n + sum((Z V)^2 / (l + penalty))`` come from one product, and the error of leaving a patient out is the
    residual over ``1 - h`` (Golub, Heath and Wahba 1979, Technometrics 21:215-223). The intercept, or that of
    each group, is not penalised.

    Parameters
    ----------
    design, scores
        Shapes (n, k) and (n,).
    penalties
        The grid; of equal errors the first is taken.
    group
        A label a patient, shape (n,), such as the arm: each group has an intercept of its own. None for one group.
    copies
        How many rows the patient of each row has, all the same, shape (n,): they are left out together, so that ``1 - h``
        becomes ``1 - copies h``. None for one each.
    """
    centred, left = design.copy(), scores.copy()
    share = np.empty(len(scores))
    for member in (
        [np.ones(len(scores), dtype=bool)] if group is None else [group == label for label in np.unique(group)]
    ):
        centred[member] -= centred[member].mean(axis=0)
        left[member] -= left[member].mean()
        share[member] = 1.0 / member.sum()
    values, vectors = np.linalg.eigh(centred.T @ centred)
    turned = centred @ vectors
    along = turned.T @ left
    kept = 1.0 / (np.maximum(values, 0.0)[:, None] + penalties)
    # A patient alone in a group has nobody to be predicted from: any penalty does as well.
    leverage = share[:, None] + turned**2 @ kept
    leverage = np.minimum(leverage if copies is None else copies[:, None] * leverage, 1 - 1e-12)
    errors = ((left[:, None] - turned @ (along[:, None] * kept)) / (1.0 - leverage)) ** 2
    best = int(np.argmin(errors.sum(axis=0)))
    return RidgeLine(np.asarray(vectors @ (along * kept[:, best]), dtype=np.float64), float(penalties[best]))

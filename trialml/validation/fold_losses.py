"""Loss in each test fold: what two runs on the same folds are compared by, pair by pair."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import DataError
from trialml.result import Result, format_count, format_number
from trialml.validation.endpoint_measures import Observed
from trialml.validation.model_comparison import CorrectedMean, corrected_resampled

__all__ = ["FoldLosses", "fold_losses", "paired_difference"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FoldLosses(Result):
    """The loss in each test fold of each repeat, and the digest of who was in which fold."""

    title = "Prediction error by test fold"

    rows: pd.DataFrame
    """One row a test fold: repeat, fold, n, loss, null_loss (of one prediction for everybody)."""
    loss: str
    """``"Brier score"`` or ``"mean squared error"``."""
    folds_sha256: str
    """Of the folds of all patients in order and of their outcomes: equal digests mean the same patients in the same folds."""
    folds: int
    repeats: int

    def frame(self) -> pd.DataFrame:
        """Return one row a test fold."""
        return self.rows

    def text(self) -> str:
        """Return the range over test folds."""
        least, most = self.rows["loss"].min(), self.rows["loss"].max()
        return (
            f"Over the {format_count(len(self.rows))} test folds ({self.folds} folds, {self.repeats} times) the {self.loss} goes from "
            f"{format_number(least)} to {format_number(most)}; another run on the same folds is compared with it pair by pair."
        )

    def scalars(self) -> dict[str, float]:
        """Return none: a mean over folds stands in other results, with an interval."""
        return {}

    def table(self) -> None:
        """Return no table: fifty folds are for a program to read."""


def fold_losses(observed: Observed, value: Floats, null: Floats, fold: NDArray[np.intp]) -> FoldLosses:
    """Return the mean loss in each test fold.

    Parameters
    ----------
    observed
        The outcomes of n patients; weights for censoring come from all of them.
    value, null
        Out-of-fold predictions of the model, and of one prediction for everybody, shape ``(repeats, n)``.
    fold
        The fold of each patient, shape ``(repeats, n)``.

    Returns
    -------
    FoldLosses
        In the order of repeats and folds.
    """
    known = {"loss": observed.losses(value), "null_loss": observed.losses(null)}
    digest = hashlib.sha256(np.ascontiguousarray(fold, dtype="<i8").tobytes())
    # The null loss holds the outcomes and their weights: other patients, or other follow-up, give other bytes.
    digest.update(np.ascontiguousarray(np.round(known["null_loss"], 10), dtype="<f8").tobytes())
    rows = [
        (
            repeat + 1,
            int(label) + 1,
            int((own == label).sum()),
            *(float(one[repeat, own == label].mean()) for one in known.values()),
        )
        for repeat, own in enumerate(fold)
        for label in np.unique(own)
    ]
    frame = pd.DataFrame(rows, columns=["repeat", "fold", "n", *known])
    return FoldLosses(frame, observed.loss, digest.hexdigest(), len(np.unique(fold[0])), len(fold))


def paired_difference(first: FoldLosses, second: FoldLosses) -> CorrectedMean:
    """Return the second model's loss less the first's, paired by test fold.

    Parameters
    ----------
    first, second
        On the same patients in the same folds.

    Returns
    -------
    CorrectedMean
        By the corrected resampled t of `corrected_resampled`.

    Raises
    ------
    DataError
        If the folds are not the same.
    """
    if first.folds_sha256 != second.folds_sha256 or first.loss != second.loss:
        raise DataError("the two runs were not judged on the same patients in the same folds: there are no pairs")
    gaps = second.rows["loss"].to_numpy() - first.rows["loss"].to_numpy()
    return corrected_resampled(gaps, 1 / (first.folds - 1))

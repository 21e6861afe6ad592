"""Design matrices of many folds of the same patients, as `CovariateEncoder` learns them, without taking the frame apart each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.models.columns import as_numbers, copies, require_columns
from trialml.models.encode import CovariateEncoder

__all__ = ["FoldDesigns"]

Floats = NDArray[np.float64]


class FoldDesigns:
    """What an encoder learned on some of the patients makes of all, for one training set after another.

    Numeric covariates without a missing value need a mean and a standard deviation alone, so that they are read once; the
    others go through `CovariateEncoder` for each training set, and their columns come last.

    Parameters
    ----------
    X
        Covariates, shape (n, p).
    """

    def __init__(self, X: pd.DataFrame) -> None:
        require_columns(X, list(X.columns))
        values = {str(name): as_numbers(name, X[name]) for name in X.columns if pd.api.types.is_numeric_dtype(X[name])}
        self._complete = [name for name, column in values.items() if not np.isnan(column).any()]
        self._matrix = np.column_stack([values[name] for name in self._complete]) if self._complete else None
        known = set(self._complete)
        self._others = X[[name for name in X.columns if str(name) not in known]]

    def of(self, train: NDArray[np.intp]) -> Floats:
        """Return all patients' standardised columns, learned on the rows `train`, shape (n, k)."""
        parts = []
        if self._matrix is not None:
            learned = self._matrix[train]
            centre, spread = learned.mean(axis=0), learned.std(axis=0)
            kept = spread > 1e-12
            varying = {name: learned[:, place] for place, name in enumerate(self._complete) if kept[place]}
            copied = copies(varying)
            kept &= np.asarray([name not in copied for name in self._complete])
            parts.append((self._matrix[:, kept] - centre[kept]) / spread[kept])
        if self._others.shape[1]:
            parts.append(CovariateEncoder().fit(self._others.iloc[train]).transform(self._others))
        return np.asarray(np.hstack(parts), dtype=np.float64)

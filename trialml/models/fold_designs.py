"""The design matrices of many splits of the same patients, without coding their covariates anew for each."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.impute import typical_number
from trialml.models.columns import as_numbers_of_all, names_of, require_columns
from trialml.models.encode import CONSTANT, CovariateEncoder

__all__ = ["FoldDesigns"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class FoldDesigns:
    """What `CovariateEncoder` learns on some rows makes of these and of others, for one split after another.

    Numbers are read once: of a split only fill-ins, indicators, means and standard deviations are learned anew, from its
    training rows alone. With text among the covariates each split has an encoder of its own.

    Parameters
    ----------
    X
        Covariates of all patients, shape (n, p).
    """

    def __init__(self, X: pd.DataFrame) -> None:
        require_columns(X, list(names_of(X)))
        self.X = X
        self.numbers: Floats | None = None
        if all(pd.api.types.is_numeric_dtype(kind) for kind in X.dtypes) and X.shape[1]:
            self.numbers = as_numbers_of_all(X, list(X.columns))
            self.unknown = np.isnan(self.numbers)
            self.incomplete = np.flatnonzero(self.unknown.any(axis=0))

    def pair(self, train: Rows, test: Rows) -> tuple[Floats, Floats]:
        """Return ``encoder.fit_transform(X.iloc[train])`` and ``encoder.transform(X.iloc[test])`` of a new encoder."""
        if self.numbers is None:
            return self._encoded(train, test)
        learned, new = self.numbers[train], self.numbers[test]
        if self.incomplete.size:
            learned, new = self._filled(train, learned, new)
        spread = learned.std(axis=0)
        kept = spread > CONSTANT
        totals = learned.sum(axis=0)[kept]
        if np.unique(totals).size < totals.size:  # perhaps copies of each other, of which the encoder keeps one
            return self._encoded(train, test)
        centre = learned.mean(axis=0)
        return tuple(np.asarray((part[:, kept] - centre[kept]) / spread[kept]) for part in (learned, new))  # type: ignore[return-value]

    def _encoded(self, train: Rows, test: Rows) -> tuple[Floats, Floats]:
        encoder = CovariateEncoder()
        learned = encoder.fit_transform(self.X.iloc[train])
        return learned, encoder.transform(self.X.iloc[test])

    def _filled(self, train: Rows, learned: Floats, new: Floats) -> tuple[Floats, Floats]:
        """Fill in the incomplete columns, and put behind each the indicator of what the training rows lack."""
        parts: tuple[list[Floats], list[Floats]] = ([], [])
        for place in range(learned.shape[1]):
            unknown = self.unknown[train, place]
            fill = typical_number(learned[~unknown, place]) if place in self.incomplete else 0.0
            for out, part in zip(parts, (learned[:, place], new[:, place]), strict=True):
                missing = np.isnan(part)
                out.append(np.where(missing, fill, part))
                if unknown.any():
                    out.append(missing.astype(np.float64))
        return np.column_stack(parts[0]), np.column_stack(parts[1])

"""Columns cut into at most 255 bins, once a model: trees are grown on the bins and read on the values."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from trialml.models.tree_arrays import TreeArrays

__all__ = ["MOST_BINS", "ColumnBins"]

Floats = NDArray[np.float64]

MOST_BINS = 255
"""As many as scikit-learn's histograms hold beside the bin of missing values."""


class ColumnBins:
    """Where each column is cut: between any two values where there are few, else at quantiles of the patients.

    Scikit-learn would cut by itself, but in each fit anew, by quantiles of all rows weighted by their exposure, one pass over the
    rows for each cut: at 50,000 patients in 20 periods that took longer than all trees.

    Parameters
    ----------
    cuts
        Ascending cuts of each column; bin k holds the values above cut k - 1 up to and with cut k.
    """

    def __init__(self, cuts: list[Floats]) -> None:
        self.cuts = cuts

    @classmethod
    def learn(cls, matrix: Floats) -> Self:
        """Return the bins of columns of shape (n, k), missing as NaN."""
        return cls([_cuts_of(column[~np.isnan(column)]) for column in matrix.T])

    def codes(self, matrix: Floats) -> Floats:
        """Return the bin of each value, missing as NaN, shape (n, k)."""
        out = np.full(matrix.shape, np.nan)
        for place, cuts in enumerate(self.cuts):
            known = ~np.isnan(matrix[:, place])
            out[known, place] = np.searchsorted(cuts, matrix[known, place], side="left")
        return out

    def read_on_values(self, trees: TreeArrays) -> None:
        """Turn the splits of trees that were grown on bins into splits of values; a column after the last stays as it is."""
        for node, feature in enumerate(trees.feature):
            if 0 <= feature < len(self.cuts) and trees.threshold[node] < len(self.cuts[feature]):
                trees.threshold[node] = self.cuts[feature][int(trees.threshold[node])]


def _cuts_of(values: Floats) -> Floats:
    distinct = np.unique(values)
    if len(distinct) <= MOST_BINS:
        return np.asarray(distinct[:-1] + np.diff(distinct) / 2)
    wanted = np.arange(1, MOST_BINS) / MOST_BINS
    return np.unique(np.quantile(values, wanted, method="averaged_inverted_cdf"))

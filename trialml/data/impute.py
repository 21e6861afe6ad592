"""Missing baseline covariates, filled in without a look at the arm or the outcome."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

__all__ = ["BaselineImputer", "numeric_names", "typical_number", "typical_numbers"]


class BaselineImputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Fill in the median of a numeric column and the commonest value of any other, and mark what was missing.

    In a randomised trial a missing baseline value is independent of the arm, so a fill-in that sees neither arm
    nor outcome, with an indicator, leaves the comparison of the arms unbiased (White and Thompson 2005, Statistics
    in Medicine 24:993-1007). Fit it inside the resampling fold.

    Attributes
    ----------
    fill_ : dict
        The value that replaces a missing one, by column.
    indicators_ : tuple of str
        Columns with a missing value in the training data; each gets a column ``<name>__missing``.
    """

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn the fill-in values from the covariates alone; `y` is not looked at."""
        del y
        numeric = numeric_names(X)
        return self.learn(X, numeric, X[numeric].to_numpy(dtype=np.float64, na_value=np.nan))

    def learn(self, X: pd.DataFrame, numeric: list[str], numbers: NDArray[np.float64]) -> Self:
        """Do what `fit` does, its numeric columns read already, shape (n, number of `numeric`)."""
        # In plain arrays: this runs in every fold of every repeat, where pandas' overhead would be most of the time.
        typical = dict(zip(numeric, typical_numbers(numbers), strict=True))
        incomplete = dict(zip(numeric, np.asarray(np.isnan(numbers).any(axis=0)), strict=True))
        self.fill_: dict[str, Any] = {}
        for name in X.columns:
            if name in typical:
                self.fill_[name] = typical[name]
            else:
                known = X[name].dropna()
                self.fill_[name], incomplete[name] = _commonest(known), len(known) < len(X)
        self.indicators_ = tuple(name for name in X.columns if incomplete[name])
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return `X` filled in, with one indicator column for each of `indicators_`."""
        check_is_fitted(self, "fill_")
        filled = pd.DataFrame({name: X[name].where(X[name].notna(), self.fill_[name]) for name in self.fill_})
        for name in self.indicators_:
            filled[f"{name}__missing"] = X[name].isna().astype(np.float64)
        return filled


def numeric_names(X: pd.DataFrame) -> list[str]:
    """Return the names of the columns that hold numbers."""
    kinds = X.dtypes
    numeric = {kind: pd.api.types.is_numeric_dtype(kind) for kind in set(kinds)}
    return [name for name, kind in zip(X.columns, kinds, strict=True) if numeric[kind]]


def typical_numbers(values: NDArray[np.float64]) -> list[float]:
    """Return `typical_number` of what is known of each column, missing being NaN, shape (n, k), in one pass where nothing is."""
    if not values.size or np.isnan(values).any():
        return [typical_number(column[~np.isnan(column)]) for column in values.T]
    low, high = (len(values) - 1) // 2, len(values) // 2
    ordered = np.partition(values.T, (low, high), axis=1)
    typical = (ordered[:, low] + ordered[:, high]) / 2
    for place in np.flatnonzero((typical == 0) | (typical == 0.5) | (typical == 1)):
        typical[place] = typical_number(values[:, place])
    return list(typical.tolist())


def typical_number(known: NDArray[np.float64]) -> float:
    """Return the median, or of values that are all 0 or 1 the commoner; 0 where nothing is known or both are as common."""
    if not len(known):
        return 0.0
    ones = np.count_nonzero(known == 1)
    if ones + np.count_nonzero(known == 0) == len(known):
        return float(2 * ones > len(known))
    return float(np.median(known))


def _commonest(known: pd.Series) -> object:
    if not len(known):
        return 0.0
    codes, distinct = pd.factorize(known)
    counts = np.bincount(codes, minlength=len(distinct))
    return min((distinct[place] for place in np.flatnonzero(counts == counts.max())), key=str)

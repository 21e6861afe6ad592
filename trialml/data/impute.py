"""Missing baseline covariates, filled in without a look at the arm or the outcome."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

__all__ = ["BaselineImputer", "typical_number"]


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
        self.fill_: dict[str, Any] = {}
        indicators = []
        numeric = [name for name, kind in X.dtypes.items() if pd.api.types.is_numeric_dtype(kind)]
        # In plain arrays: this runs in every fold of every repeat, where pandas' overhead would be most of the time.
        numbers = dict(zip(numeric, X[numeric].to_numpy(dtype=np.float64, na_value=np.nan).T, strict=True))
        for name in X.columns:
            if name in numbers:
                known = numbers[name][~np.isnan(numbers[name])]
                self.fill_[name] = typical_number(known)
            else:
                known = X[name].dropna()
                self.fill_[name] = _commonest(known)
            if len(known) < len(X):
                indicators.append(name)
        self.indicators_ = tuple(indicators)
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return `X` filled in, with one indicator column for each of `indicators_`."""
        check_is_fitted(self, "fill_")
        filled = pd.DataFrame({name: X[name].where(X[name].notna(), self.fill_[name]) for name in self.fill_})
        for name in self.indicators_:
            filled[f"{name}__missing"] = X[name].isna().astype(np.float64)
        return filled


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

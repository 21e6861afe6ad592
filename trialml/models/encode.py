"""Covariates as a design matrix: filled in, standardised, coded; everything learned by `fit` and checked after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from trialml.data.impute import BaselineImputer

__all__ = ["CovariateEncoder"]

_RARE = 0.02


class CovariateEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn a frame of covariates into standardised columns.

    Numeric and 0/1 columns are centred and divided by their standard deviation; text columns become one column a
    category, rare ones (under 2 %) joined as ``other``, into which categories never seen in training fall too.
    Missing values are filled in by `BaselineImputer` and marked.

    Attributes
    ----------
    columns_ : list of (str, str, str)
        For each column of the matrix its covariate, what it codes (``value``, a category or ``missing``) and its name.
    centre_, scale_ : ndarray of shape (k,)
        Means and standard deviations of the training data.
    """

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn fill-ins, categories, means and standard deviations; `y` is not looked at."""
        del y
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.imputer_ = BaselineImputer().fit(X)
        self.categories_ = {
            str(name): _frequent(X[name]) for name in X.columns if not pd.api.types.is_numeric_dtype(X[name])
        }
        raw, columns = self._raw(X)
        spread = raw.std(axis=0)
        kept = spread > 1e-12
        self.columns_ = [column for column, keep in zip(columns, kept, strict=True) if keep]
        self.kept_ = kept
        self.centre_ = raw.mean(axis=0)[kept]
        self.scale_ = spread[kept]
        return self

    def transform(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the standardised design matrix, shape (n, k); columns constant in training are absent."""
        check_is_fitted(self, "columns_")
        raw, _ = self._raw(X)
        return np.asarray((raw[:, self.kept_] - self.centre_) / self.scale_, dtype=np.float64)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the matrix' columns."""
        del input_features
        return np.asarray([name for _, _, name in self.columns_], dtype=object)

    def covariate_of_column(self) -> list[str]:
        """Return the covariate that each column of the matrix codes, so that coded columns can be summed again."""
        return [covariate for covariate, _, _ in self.columns_]

    def _raw(self, X: pd.DataFrame) -> tuple[NDArray[np.float64], list[tuple[str, str, str]]]:
        check_is_fitted(self.imputer_, "fill_")
        parts: list[NDArray[np.float64]] = []
        columns: list[tuple[str, str, str]] = []
        for name in self.feature_names_in_:
            column, fill = X[name], self.imputer_.fill_[name]
            if name in self.categories_:
                missing = np.asarray(column.isna(), dtype=np.bool_)
                values = column.where(~missing, fill).astype(str)
                frequent = self.categories_[name]
                other = ~values.isin(frequent)
                parts += [np.asarray(values == category, dtype=np.float64) for category in frequent[1:]]
                columns += [(name, category, f"{name}={category}") for category in frequent[1:]]
                parts.append(np.asarray(other, dtype=np.float64))
                columns.append((name, "other", f"{name}=other"))
            else:
                # In plain arrays: a frame filled in column by column takes most of the time of a small model.
                known = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
                missing = np.isnan(known)
                parts.append(np.where(missing, float(fill), known))
                columns.append((name, "value", name))
            if name in self.imputer_.indicators_:
                parts.append(missing.astype(np.float64))
                columns.append((name, "missing", f"{name} missing"))
        return np.column_stack(parts), columns

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "names": [str(name) for name in self.feature_names_in_],
            "fill": {str(name): value for name, value in self.imputer_.fill_.items()},
            "indicators": list(self.imputer_.indicators_),
            "categories": self.categories_,
            "columns": [list(column) for column in self.columns_],
            "kept": self.kept_.tolist(),
            "centre": self.centre_.tolist(),
            "scale": self.scale_.tolist(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the encoder that `state` described."""
        encoder = cls()
        encoder.feature_names_in_ = np.asarray(state["names"], dtype=object)
        encoder.imputer_ = BaselineImputer()
        encoder.imputer_.fill_ = dict(state["fill"])
        encoder.imputer_.indicators_ = tuple(state["indicators"])
        encoder.categories_ = {name: list(values) for name, values in state["categories"].items()}
        encoder.columns_ = [(column[0], column[1], column[2]) for column in state["columns"]]
        encoder.kept_ = np.asarray(state["kept"], dtype=np.bool_)
        encoder.centre_ = np.asarray(state["centre"], dtype=np.float64)
        encoder.scale_ = np.asarray(state["scale"], dtype=np.float64)
        return encoder


def _frequent(column: pd.Series) -> list[str]:
    shares = column.dropna().astype(str).value_counts(normalize=True)
    frequent = [str(category) for category in shares.index[shares >= _RARE]]
    return sorted(frequent, key=lambda category: (-float(shares[category]), category))

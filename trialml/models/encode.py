"""Covariates as a design matrix: filled in, standardised, coded; everything learned by `fit` and checked after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from trialml.data.impute import BaselineImputer, numeric_names
from trialml.models.columns import (
    as_categories,
    as_numbers_of_all,
    copies,
    frequent_categories,
    knots_of,
    names_of,
    places_among,
    require_columns,
)
from trialml.models.row_checks import FEW
from trialml.survival.spline import restricted_cubic

__all__ = ["CONSTANT", "CovariateEncoder"]

CONSTANT = 1e-12
"""A column whose standard deviation is no larger does not vary."""


class CovariateEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn a frame of covariates into standardised columns.

    Numeric and 0/1 columns are centred and divided by their standard deviation; text columns become one column a
    category, rare ones (under 2 %) joined as ``other``, into which categories never seen in training fall too.
    Missing values are filled in by `BaselineImputer` and marked. A covariate that is constant, always missing or the copy
    of an earlier one has no column, and `dropped_` says so.

    Parameters
    ----------
    knots : int
        3, 4 or 5: each numeric covariate with 10 values or more becomes a restricted cubic spline with that many knots, at
        Harrell's quantiles of the training patients who have a value. 0: straight lines.

    Attributes
    ----------
    columns_ : list of (str, str, str)
        For each column of the matrix its covariate, what it codes (``value``, ``bend 1`` and so on for a spline, a category
        or ``missing``) and its name.
    centre_, scale_ : ndarray of shape (k,)
        Means and standard deviations of the training data.
    dropped_ : dict of str
        Why a covariate has no column, by covariate.
    """

    def __init__(self, knots: int = 0) -> None:
        self.knots = knots

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Learn fill-ins, categories, knots, means and standard deviations; `y` is not looked at.

        Raises
        ------
        ModelInputError
            If a value is infinite.
        AnalysisError
            If a text column has many categories and none is frequent.
        """
        del y
        self._learn(X)
        return self

    def fit_transform(self, X: pd.DataFrame, y: object = None) -> NDArray[np.float64]:
        """Return ``fit(X).transform(X)``, coding the columns once."""
        del y
        return self._standardised(self._learn(X))

    def _learn(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Learn from X; return its columns as they are before standardisation."""
        self.feature_names_in_ = names_of(X)
        require_columns(X, list(self.feature_names_in_))
        numeric = numeric_names(X)
        numbers = as_numbers_of_all(X, numeric)
        self.imputer_ = BaselineImputer().learn(X, numeric, numbers)
        text = [name for name in X.columns if name not in set(numeric)] if len(numeric) < X.shape[1] else []
        self.categories_ = {str(name): frequent_categories(name, X[name]) for name in text}
        self.knots_ = {}
        if self.knots:
            values = zip(map(str, numeric), numbers.T, strict=True)
            found = {name: knots_of(known[~np.isnan(known)], self.knots) for name, known in values}
            self.knots_ = {name: places for name, places in found.items() if places}
        raw, columns = self._raw(numbers, {name: as_categories(name, X[name]) for name in self.categories_})
        sums, spread = raw.sum(axis=0), raw.std(axis=0)
        kept = (spread > CONSTANT) & self._first_of_its_kind(raw, columns, sums)
        self.columns_ = [column for column, keep in zip(columns, kept, strict=True) if keep]
        self.kept_ = kept
        self.centre_ = (sums / len(raw))[kept]
        self.scale_ = spread[kept]
        self._name_the_constant(X)
        return raw

    def _standardised(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((raw[:, self.kept_] - self.centre_) / self.scale_, dtype=np.float64)

    def _first_of_its_kind(
        self, raw: NDArray[np.float64], columns: list[tuple[str, str, str]], sums: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        # Columns of different sums are no copies of each other.
        if len(set(sums.tolist())) == len(columns):
            self.dropped_ = {}
            return np.ones(len(columns), dtype=np.bool_)
        places: dict[str, list[int]] = {}
        for place, (name, _, _) in enumerate(columns):
            places.setdefault(name, []).append(place)
        varying = {name: raw[:, at] for name, at in places.items() if np.ptp(raw[:, at], axis=0).any()}
        copied = copies(varying)
        self.dropped_ = {name: f"a copy of '{original}'" for name, original in copied.items()}
        return np.asarray([name not in copied for name, _, _ in columns])

    def _name_the_constant(self, X: pd.DataFrame) -> None:
        coded = {name for name, _, _ in self.columns_}
        for name in self.feature_names_in_:
            if name not in coded and name not in self.dropped_:
                empty = bool(X[name].isna().all())
                self.dropped_[str(name)] = "missing in every patient" if empty else "the same in every patient"

    def transform(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Return the standardised design matrix, shape (n, k); columns constant in training are absent.

        Raises
        ------
        ModelInputError
            If a column is missing altogether, stands there twice, holds text in place of numbers or numbers in place of
            text, or an infinite value. Further columns and their order do not matter.
        """
        check_is_fitted(self, "columns_")
        require_columns(X, list(self.feature_names_in_))
        numeric = [name for name in self.feature_names_in_ if name not in self.categories_]
        return self._standardised(self._raw(*_numbers_and_texts(X, numeric, list(self.categories_)))[0])

    def unseen(self, X: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
        """Return by text covariate who has a category that was rare or absent in training, and is read as ``other``."""
        check_is_fitted(self, "columns_")
        require_columns(X, list(self.feature_names_in_))
        found = {}
        for name, frequent in self.categories_.items():
            codes, texts = as_categories(name, X[name])
            found[name] = np.asarray((codes >= 0) & (places_among(texts, frequent, codes) < 0), dtype=np.bool_)
        return found

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Return the names of the matrix' columns."""
        del input_features
        return np.asarray([name for _, _, name in self.columns_], dtype=object)

    def covariate_of_column(self) -> list[str]:
        """Return the covariate that each column of the matrix codes, so that coded columns can be summed again."""
        return [covariate for covariate, _, _ in self.columns_]

    def _raw(
        self, numbers: NDArray[np.float64], texts: Mapping[str, tuple[NDArray[np.intp], list[str]]]
    ) -> tuple[NDArray[np.float64], list[tuple[str, str, str]]]:
        """Return the columns before standardisation, and what they are, of the numeric columns and of the text columns by name."""
        parts: list[NDArray[np.float64]] = []
        columns: list[tuple[str, str, str]] = []
        # In plain arrays: a frame filled in column by column takes most of the time of a small model.
        numeric = [name for name in self.feature_names_in_ if name not in self.categories_]
        unknown = np.isnan(numbers)
        filled = np.where(unknown, [float(self.imputer_.fill_[name]) for name in numeric], numbers)
        if not (self.categories_ or self.knots_ or self.imputer_.indicators_):
            return np.ascontiguousarray(filled), [(name, "value", name) for name in numeric]
        place = {name: k for k, name in enumerate(numeric)}
        for name in self.feature_names_in_:
            if name in self.categories_:
                coded, what, missing = self._coded(name, *texts[name])
                parts += coded
                columns += [(name, category, f"{name}={category}") for category in what]
            else:
                missing = unknown[:, place[name]]
                bends = [filled[:, place[name]]]
                if self.knots_.get(str(name)):
                    bends = list(restricted_cubic(bends[0], self.knots_[str(name)]).T)
                parts += bends
                columns.append((name, "value", name))
                columns += [(name, f"bend {k}", f"{name} (bend {k})") for k in range(1, len(bends))]
            if name in self.imputer_.indicators_:
                parts.append(missing.astype(np.float64))
                columns.append((name, "missing", f"{name} missing"))
        return np.column_stack(parts), columns

    def _coded(
        self, name: str, codes: NDArray[np.intp], texts: list[str]
    ) -> tuple[list[NDArray[np.float64]], list[str], NDArray[np.bool_]]:
        """Return the columns of a text covariate, what each codes, and who has no value."""
        missing = codes < 0
        fill = str(self.imputer_.fill_[name])
        known = places_among([*texts, fill], self.categories_[name], np.where(missing, len(texts), codes))
        frequent = self.categories_[name]
        parts = [(known == k).astype(np.float64) for k in range(1, len(frequent))]
        return [*parts, (known < 0).astype(np.float64)], [*frequent[1:], "other"], missing

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "names": [str(name) for name in self.feature_names_in_],
            "fill": {str(name): value for name, value in self.imputer_.fill_.items()},
            "indicators": list(self.imputer_.indicators_),
            "categories": self.categories_,
            "knots": self.knots_,
            "dropped": self.dropped_,
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
        # A state that was stored before there were splines has neither.
        encoder.knots_ = {name: list(places) for name, places in state.get("knots", {}).items()}
        encoder.dropped_ = dict(state.get("dropped", {}))
        encoder.columns_ = [(column[0], column[1], column[2]) for column in state["columns"]]
        encoder.kept_ = np.asarray(state["kept"], dtype=np.bool_)
        encoder.centre_ = np.asarray(state["centre"], dtype=np.float64)
        encoder.scale_ = np.asarray(state["scale"], dtype=np.float64)
        return encoder


def _numbers_and_texts(
    X: pd.DataFrame, numeric: list[str], textual: list[str]
) -> tuple[NDArray[np.float64], dict[str, tuple[NDArray[np.intp], list[str]]]]:
    """Return the numeric columns, shape (n, number of these), and each text column as `as_categories` has it."""
    if len(X) > FEW:
        numbers = as_numbers_of_all(X, numeric) if numeric else np.empty((len(X), 0))
        return numbers, {name: as_categories(name, X[name]) for name in textual}
    # Of a few patients a frame's own way to its columns takes most of the time.
    place = {name: k for k, name in enumerate(X.columns)}
    kinds, rows = X.dtypes.to_numpy(), X.to_numpy(dtype=object)
    texts = {}
    for name in textual:
        column = rows[:, place[name]]
        if not pd.api.types.is_object_dtype(kinds[place[name]]):
            column = X[name]
        texts[name] = as_categories(name, column)
    try:
        if any(pd.api.types.is_object_dtype(kinds[place[name]]) for name in numeric):
            raise TypeError  # noqa: TRY301  (text that looks like a number is refused by the longer way)
        numbers = rows[:, [place[name] for name in numeric]].astype(np.float64)
    except TypeError:
        numbers = as_numbers_of_all(X, numeric)
    if np.isinf(numbers).any():
        as_numbers_of_all(X, numeric)
    return numbers, texts

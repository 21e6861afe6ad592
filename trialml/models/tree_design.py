"""Covariates as trees take them: numbers as they are, missing ones left missing, categories as columns of 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import ModelInputError
from trialml.models.columns import as_numbers, as_texts, frequent_categories, require_columns

__all__ = ["TreeDesign"]

Floats = NDArray[np.float64]


class TreeDesign:
    """Columns for trees, in the order of the training frame; the arm is one column like another.

    A text column becomes one column of 0 and 1 a frequent category (2 % or more), all missing where the text is; a rare
    or unseen category is 0 in each. Nothing is filled in: a split sends missing values to the side that fits better.

    Parameters
    ----------
    names
        The columns, shape (p,).
    categories
        Frequent categories by text column.
    treatment
        The arm's column, 0 or 1 and never missing; None for none.
    """

    def __init__(self, names: list[str], categories: dict[str, list[str]], treatment: str | None) -> None:
        self.names = names
        self.categories = categories
        self.treatment = treatment

    @classmethod
    def learn(cls, X: pd.DataFrame, treatment: str | None) -> Self:
        """Learn the categories of the text columns."""
        require_columns(X, list(X.columns))
        text = [name for name in X.columns if not pd.api.types.is_numeric_dtype(X[name])]
        categories = {str(name): frequent_categories(name, X[name]) for name in text}
        return cls([str(name) for name in X.columns], categories, treatment)

    def matrix(self, X: pd.DataFrame) -> Floats:
        """Return the columns, missing as NaN, shape (n, k), row by row in memory.

        Raises
        ------
        ModelInputError
            If a column is absent, of another kind than in training or infinite, or the arm is neither 0 nor 1.
        """
        wanted = self.names if self.treatment is None else [*self.names, self.treatment]
        require_columns(X, wanted)
        parts: list[Floats] = []
        for name in self.names:
            if name in self.categories:
                missing = np.asarray(X[name].isna(), dtype=np.bool_)
                texts = as_texts(name, X[name])
                parts += [
                    np.where(missing, np.nan, np.asarray(texts == category, dtype=np.float64))
                    for category in self.categories[name]
                ]
            else:
                parts.append(as_numbers(name, X[name]))
        if self.treatment is not None:
            arm = parts[self.columns().index(self.treatment)]
            odd = int((~np.isin(arm, (0.0, 1.0))).sum())
            if odd:
                raise ModelInputError(
                    f"The arm's column '{self.treatment}' is neither 0 nor 1 in {odd} of {len(arm)} patients: "
                    "give the arm of each."
                )
        return np.ascontiguousarray(np.column_stack(parts), dtype=np.float64)

    def known(self, matrix: Floats) -> tuple[Floats, list[str]]:
        """Return the covariates without the arm, missing ones filled in and marked as a Cox model has them, and their names.

        Models on trees ask with them whether a column knows the outcome.
        """
        covariates, columns = self.columns(), []
        names: list[str] = []
        for place, covariate in enumerate(covariates):
            column, missing = matrix[:, place], np.isnan(matrix[:, place])
            if covariate == self.treatment or missing.all():
                continue
            names.append(covariate)
            columns.append(np.where(missing, np.median(column[~missing]), column))
            if missing.any() and f"{covariate} missing" not in names:
                names.append(f"{covariate} missing")
                columns.append(missing.astype(np.float64))
        return np.column_stack(columns) if columns else np.empty((len(matrix), 0)), names

    def columns(self) -> list[str]:
        """Return the covariate that each column of the matrix codes, shape (k,)."""
        return [name for name in self.names for _ in self.categories.get(name, [""])]

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {"names": self.names, "categories": self.categories, "treatment": self.treatment}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the columns that `state` described."""
        categories = {name: list(values) for name, values in state["categories"].items()}
        return cls(list(state["names"]), categories, state["treatment"])

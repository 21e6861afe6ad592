"""The covariates of a fitted model, so that it can be asked about new patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trialml.errors import DataError, nearest
from trialml.survival.terms import design_columns, holds_numbers
from trialml.survival.ties import Array

__all__ = ["Predictors", "learn_predictors"]


@dataclass(frozen=True)
class Predictors:
    """Which covariates a model has, and how they become columns.

    Attributes
    ----------
    covariates
        The names, in order.
    levels
        The levels of each category, the first being the reference; empty for numbers.
    columns
        The names of the design matrix's columns.
    means
        Of the columns, in the patients of the fit.
    """

    covariates: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    columns: tuple[str, ...]
    means: tuple[float, ...]

    def matrix(self, covariates: pd.DataFrame) -> Array:
        """Return the columns of new patients less the means of the fit, shape ``(patients, columns)``.

        Raises
        ------
        DataError
            If a covariate is absent, missing somewhere or not a number, or a category has an unknown level.
        """
        columns: list[Array] = []
        for name in self.covariates:
            if name not in covariates.columns:
                raise DataError(f"the covariate '{name}' is absent: {nearest(name, map(str, covariates.columns))}")
            column = covariates[name]
            if column.isna().any():
                raise DataError(f"'{name}' is missing in {int(column.isna().sum())} of {len(column)} rows: impute it")
            known = self.levels[name]
            if not known:
                columns.append(_numbers(column, name))
                continue
            words = column.astype(str).to_numpy()
            strange = sorted(set(words) - set(known))
            if strange:
                raise DataError(
                    f"'{name}' has the level '{strange[0]}', which the fit has not: {nearest(strange[0], known)}"
                )
            columns += [(words == level).astype(float) for level in known[1:]]
        return np.asarray(np.column_stack(columns) - np.asarray(self.means), dtype=float)


def _numbers(column: pd.Series, name: str) -> Array:
    try:
        values: Array = np.asarray(column, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"'{name}' holds values that are not numbers: turn them into numbers first") from error
    if not np.isfinite(values).all():
        raise DataError(
            f"'{name}' is infinite in {int((~np.isfinite(values)).sum())} of {len(values)} rows: correct it"
        )
    return values


def learn_predictors(covariates: pd.DataFrame) -> tuple[Predictors, Array]:
    """Return the covariates of a fit and its design matrix less the column means, shape ``(n, columns)``.

    Raises
    ------
    DataError, AnalysisError
        As `design_columns` does, and if a number is infinite.
    """
    columns, terms = design_columns(covariates)
    for name in columns:
        _numbers(columns[name], str(name))
    levels: dict[str, tuple[str, ...]] = {}
    for name in covariates.columns:
        column = covariates[name]
        found = () if holds_numbers(column) else column.astype("category").cat.remove_unused_categories().cat.categories
        levels[str(name)] = tuple(str(level) for level in found)
    matrix = columns.to_numpy(dtype=float)
    means = matrix.mean(axis=0)
    return Predictors(tuple(terms), levels, tuple(columns.columns), tuple(means.tolist())), matrix - means

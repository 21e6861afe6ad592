"""Covariates as columns of a design matrix: numbers as they are, categories as differences from their first level."""

from __future__ import annotations

import pandas as pd

from trialml.errors import AnalysisError, DataError
from trialml.result import counted

__all__ = ["dependent_words", "design_columns", "design_rows", "holds_numbers"]


def dependent_words(column: str, columns: int, rows: int) -> str:
    """Return why a model has no single answer: too many columns for its rows, or one that the others combine to."""
    if columns >= rows:
        return (
            f"there are {counted(columns, 'column')} for {counted(rows, 'row')}, so the model has no single answer: use "
            "fewer covariates or a penalised model"
        )
    return f"'{column}' is a linear combination of the other columns, so the model has no single answer: drop it"


def holds_numbers(column: pd.Series) -> bool:
    """Return whether a covariate is numeric: numbers or booleans, also where they stand in a column of objects.

    Raises
    ------
    DataError
        If it holds dates or durations, of which each would become a level.
    """
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return True
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in ("datetime64", "datetime", "date", "timedelta64", "timedelta", "time", "period"):
        raise DataError(f"'{column.name}' holds dates or durations: turn them into numbers of one unit first")
    return column.dtype == object and kind in ("integer", "floating", "mixed-integer-float", "boolean", "decimal")


def design_columns(covariates: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, list[int]]]:
    """Return the numeric columns of a model and which of them belong to each covariate.

    Parameters
    ----------
    covariates
        One row a patient: numbers, booleans (in a column of objects too), text or pandas categories (whose order of levels is kept).

    Returns
    -------
    columns, terms
        The design matrix with a RangeIndex, columns named by covariate or ``covariate=level``; and for each
        covariate the positions of its columns.

    Raises
    ------
    DataError
        If a covariate is missing somewhere, holds dates, or its name stands twice.
    AnalysisError
        If there is no covariate, or a category has one level only.
    """
    if covariates.shape[1] == 0:
        raise AnalysisError("there are no covariates: name at least one column")
    if not covariates.columns.is_unique:
        twice = covariates.columns[covariates.columns.duplicated()][0]
        raise DataError(f"the covariate '{twice}' stands twice: keep one of the two")
    columns: dict[str, pd.Series] = {}
    terms: dict[str, list[int]] = {}
    for name in covariates.columns:
        column = covariates[name].reset_index(drop=True)
        if column.isna().any():
            raise DataError(
                f"'{name}' is missing in {int(column.isna().sum())} of {len(column)} rows: impute it or drop the rows"
            )
        start = len(columns)
        if holds_numbers(column):
            columns[str(name)] = column.astype(float)
        else:
            category = column.astype("category").cat.remove_unused_categories()
            levels = list(category.cat.categories)
            if len(levels) < 2:
                raise AnalysisError(f"'{name}' is '{levels[0]}' in every row, so it has no hazard ratio: drop it")
            columns |= {f"{name}={level}": (category == level).astype(float) for level in levels[1:]}
        terms[str(name)] = list(range(start, len(columns)))
    return pd.DataFrame(columns), terms


def design_rows(profiles: pd.DataFrame, covariates: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that `design_columns` makes of `covariates` for other rows of the same covariates.

    Parameters
    ----------
    profiles
        One row a profile, with every column of `covariates`.
    covariates
        The table whose levels count.

    Raises
    ------
    DataError
        If a column or a value is missing, or a level does not occur in `covariates`.
    """
    lacking = [str(name) for name in covariates.columns if name not in profiles.columns]
    if lacking:
        raise DataError(f"the profiles lack the covariate '{lacking[0]}': give every covariate of the model")
    if profiles.empty:
        raise DataError("there are no profiles: pass at least one row")
    columns: dict[str, pd.Series] = {}
    for name in covariates.columns:
        known, value = covariates[name], profiles[name].reset_index(drop=True)
        if value.isna().any():
            raise DataError(f"the profiles have no value of '{name}' in {int(value.isna().sum())} rows: give one")
        if holds_numbers(known):
            columns[str(name)] = value.astype(float)
            continue
        levels = list(known.astype("category").cat.remove_unused_categories().cat.categories)
        unknown = [level for level in value.unique() if level not in levels]
        if unknown:
            raise DataError(f"the profiles have '{name}' = '{unknown[0]}', but its levels are {levels}")
        columns |= {f"{name}={level}": (value == level).astype(float) for level in levels[1:]}
    return pd.DataFrame(columns)

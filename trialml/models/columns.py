"""One column of covariates at a time: what can be coded, what of it is kept, and what is wrong with a patient's value."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, ModelInputError, nearest
from trialml.survival.spline import spline_knots

__all__ = ["as_numbers", "as_texts", "copies", "frequent_categories", "knots_of", "require_columns"]

RARE = 0.02
"""The share of the patients with a value under which a category has no column of its own."""
FEWEST_VALUES = 10
"""A column with fewer distinct values is no continuous one, and stays a straight line."""


def require_columns(X: pd.DataFrame, names: list[str]) -> None:
    """Refuse patients without a column of the model, or with two of its name.

    Raises
    ------
    ModelInputError
        Which names the first such column.
    """
    there = list(X.columns)
    distinct = set(there)
    if len(distinct) == len(there) and distinct.issuperset(names):
        return
    for name in names:
        if there.count(name) > 1:
            raise ModelInputError(f"The patients have the column '{name}' twice: keep one.")
        if name not in there:
            raise ModelInputError(
                f"The patients lack the column '{name}'; {nearest(str(name), [str(one) for one in there])}: add it."
            )


def as_numbers(name: str, column: pd.Series) -> NDArray[np.float64]:
    """Return a numeric column as floats, missing as NaN, shape (n,).

    Raises
    ------
    ModelInputError
        If it holds something else than numbers, or an infinite one.
    """
    try:
        known = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        message = f"'{name}' holds values that are no numbers, but the model learned it as a number: give numbers."
        raise ModelInputError(message) from None
    infinite = int(np.isinf(known).sum())
    if infinite:
        raise ModelInputError(
            f"'{name}' is infinite in {infinite} of {len(known)} patients: correct the values, or leave them missing."
        )
    return known


def as_texts(name: str, column: pd.Series) -> pd.Series:
    """Return a column of categories as text, missing values as they are.

    Raises
    ------
    ModelInputError
        If it holds numbers where the model learned text.
    """
    if pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
        raise ModelInputError(f"'{name}' holds numbers, but the model learned it as text: give its categories as text.")
    return column.where(column.isna(), column.astype(str))


def frequent_categories(name: str, column: pd.Series) -> list[str]:
    """Return the categories that 2 % or more of the patients have, the commonest first.

    Raises
    ------
    AnalysisError
        If there are many and none is frequent, as in an identifier or free text.
    """
    shares = column.dropna().astype(str).value_counts(normalize=True)
    frequent = [str(category) for category in shares.index[shares >= RARE]]
    if len(shares) and not frequent:
        raise AnalysisError(
            f"'{name}' has {len(shares):,} categories, none of them in {100 * RARE:g} % of the patients, so a model can learn "
            "nothing from it: group them, or leave it out."
        )
    return sorted(frequent, key=lambda category: (-float(shares[category]), category))


def knots_of(known: NDArray[np.float64], knots: int) -> list[float]:
    """Return where a numeric column's spline bends, from its values without the missing ones; none where it is a line."""
    if not knots or len(np.unique(known)) < FEWEST_VALUES:
        return []
    places = spline_knots(known, knots).tolist()
    return [float(place) for place in places] if len(places) >= 3 else []


def copies(blocks: dict[str, NDArray[np.float64]]) -> dict[str, str]:
    """Return the covariates whose columns are those of an earlier one, with its name."""
    first: dict[bytes, str] = {}
    found = {}
    for name, block in blocks.items():
        original = first.setdefault(block.tobytes(), name)
        if original != name:
            found[name] = original
    return found

"""One column of covariates at a time: what can be coded, what of it is kept, and what is wrong with a patient's value."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, ModelInputError, nearest
from trialml.survival.spline import spline_knots

__all__ = [
    "as_categories",
    "as_numbers",
    "as_numbers_of_all",
    "as_texts",
    "copies",
    "frequent_categories",
    "knots_of",
    "names_of",
    "places_among",
    "require_columns",
]

RARE = 0.02
"""The share of the patients with a value under which a category has no column of its own."""
FEWEST_VALUES = 10
"""A column with fewer distinct values is no continuous one, and stays a straight line."""


def names_of(X: pd.DataFrame) -> NDArray[np.object_]:
    """Return the names of the patients' columns, shape (p,).

    Raises
    ------
    ModelInputError
        If the patients are no data frame.
    """
    _refuse_no_frame(X)
    return np.asarray(X.columns, dtype=object)


def _refuse_no_frame(X: pd.DataFrame) -> None:
    if not isinstance(X, pd.DataFrame):
        shape = getattr(X, "shape", None)
        raise ModelInputError(
            f"The patients are {'an array of shape ' + str(shape) if shape else 'a ' + type(X).__name__}: give a data frame whose columns have names."
        )


def require_columns(X: pd.DataFrame, names: list[str]) -> None:
    """Refuse patients without a column of the model, or with two of its name.

    Raises
    ------
    ModelInputError
        Which names the first such column; or if they are no data frame.
    """
    _refuse_no_frame(X)
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


def as_numbers_of_all(X: pd.DataFrame, names: list[str]) -> NDArray[np.float64]:
    """Return numeric columns as floats, missing as NaN, shape (n, number of names): all at once, which is quicker.

    Raises
    ------
    ModelInputError
        As `as_numbers`, for the first column that is wrong.
    """
    if not names:
        return np.empty((len(X), 0))
    part = X if list(X.columns) == names else X[names]
    try:
        known = part.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return np.column_stack([as_numbers(name, X[name]) for name in names])
    for place in np.flatnonzero(np.isinf(known).any(axis=0)):
        as_numbers(names[place], X[names[place]])
    return np.asarray(known)


def as_categories(name: str, column: pd.Series | NDArray[np.object_]) -> tuple[NDArray[np.intp], list[str]]:
    """Return each patient's place among the distinct categories, -1 where missing, shape (n,), and these as text.

    Raises
    ------
    ModelInputError
        If it holds numbers where the model learned text.
    """
    if pd.api.types.is_numeric_dtype(column.dtype) and pd.Series(column).notna().any():
        raise ModelInputError(f"'{name}' holds numbers, but the model learned it as text: give its categories as text.")
    codes, distinct = pd.factorize(column)
    return np.asarray(codes, dtype=np.intp), [str(value) for value in distinct]


def as_texts(name: str, column: pd.Series) -> pd.Series:
    """Return a column of categories as text, missing values as None.

    Raises
    ------
    ModelInputError
        If it holds numbers where the model learned text.
    """
    codes, texts = as_categories(name, column)
    return pd.Series(np.asarray([*texts, None], dtype=object)[codes], index=column.index, dtype=object)


def places_among(texts: list[str], known: list[str], codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for categories as `as_categories` has them their places among those known; -1 for others and for missing ones."""
    place = {text: k for k, text in enumerate(known)}
    return np.asarray([*(place.get(text, -1) for text in texts), -1], dtype=np.intp)[codes]


def frequent_categories(name: str, column: pd.Series) -> list[str]:
    """Return the categories that 2 % or more of the patients have, the commonest first.

    Raises
    ------
    AnalysisError
        If there are many and none is frequent, as in an identifier or free text.
    """
    codes, distinct = pd.factorize(column)
    counts: dict[str, int] = {}
    for value, count in zip(distinct, np.bincount(codes[codes >= 0], minlength=len(distinct)), strict=True):
        counts[str(value)] = counts.get(str(value), 0) + int(count)
    frequent = [text for text, count in counts.items() if count >= RARE * sum(counts.values())]
    if counts and not frequent:
        raise AnalysisError(
            f"'{name}' has {len(counts):,} categories, none of them in {100 * RARE:g} % of the patients, so a model can learn "
            "nothing from it: group them, or leave it out."
        )
    return sorted(frequent, key=lambda category: (-counts[category], category))


def knots_of(known: NDArray[np.float64], knots: int) -> list[float]:
    """Return where a numeric column's spline bends, from its values without the missing ones; none where it is a line."""
    if not knots or len(np.unique(known)) < FEWEST_VALUES:
        return []
    places = spline_knots(known, knots).tolist()
    return [float(place) for place in places] if len(places) >= 3 else []


def copies(blocks: dict[str, NDArray[np.float64]]) -> dict[str, str]:
    """Return the covariates whose columns are those of an earlier one, with its name."""
    first: dict[object, str] = {}
    found = {}
    sums = {name: tuple(block.sum(axis=0).tolist()) for name, block in blocks.items()}
    # Blocks whose sums no other has are no copies: they need not be compared value by value.
    shared = {key for key, times in Counter(sums.values()).items() if times > 1}
    for name, block in blocks.items():
        original = first.setdefault(block.tobytes(), name) if sums[name] in shared else name
        if original != name:
            found[name] = original
    return found

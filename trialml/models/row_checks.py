"""Is each patient's value one that the model knows? A column at a time, refusing and flagging row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import as_code

__all__ = ["FEW", "Expected", "Notes", "check_column", "check_values"]

Flags = NDArray[np.bool_]

FEW = 16
"""Up to so many patients plain loops are quicker than arrays."""

_NUMBERS = "biuf"
_OF_ONE_TYPE = ("string", "integer", "floating", "boolean", "datetime64", "datetime", "date", "decimal", "empty")


class Expected(NamedTuple):
    """What a value of one covariate must be: see `trialml.models.input_contract.InputField`."""

    name: str
    kind: str
    required: bool
    low: float | None
    high: float | None
    categories: frozenset[str]


class Notes:
    """Sentences on rows, gathered column by column.

    Parameters
    ----------
    rows
        Number of patients.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._said: list[tuple[Flags | list[int], str]] = []

    def add(self, who: Flags | list[int], words: str) -> None:
        """Say `words` of the rows that are marked, or listed by their place."""
        if len(who) and (isinstance(who, list) or who.any()):
            self._said.append((who, words))

    def __bool__(self) -> bool:
        return bool(self._said)

    def joined(self) -> tuple[str, ...]:
        """Return for each row all that was said of it, in the order of the columns, or an empty text."""
        if not self._said:
            return ("",) * self._rows
        texts = np.full(self._rows, "", dtype=object)
        for who, words in self._said:
            before = texts[who]
            texts[who] = np.where(before == "", words, before + "; " + words)
        return tuple(texts.tolist())

    def marked(self) -> Flags:
        """Return which rows anything was said of, shape (n,)."""
        marked = np.zeros(self._rows, dtype=np.bool_)
        for who, _ in self._said:
            marked[who] = True
        return marked


def check_values(expected: Expected, values: Sequence[Any], refused: Notes, flags: Notes) -> list[Any]:
    """Return a few patients' values typed, one at a time; see `check_column`."""
    typed: list[Any] = []
    for place, value in enumerate(values):
        made, reason, note = _judge(expected, value)
        typed.append(made)
        if reason:
            refused.add([place], reason)
        if note:
            flags.add([place], note)
    return typed


def check_column(expected: Expected, column: pd.Series, refused: Notes, flags: Notes) -> NDArray[Any]:
    """Return a column of patients typed, each distinct value judged once.

    Parameters
    ----------
    expected
        What the model knows of the covariate.
    column
        The values as they came, shape (n,).
    refused, flags
        Where the reasons and what is unusual are added.

    Returns
    -------
    ndarray
        Floats with NaN for a number that is missing or refused, or codes as text with None, shape (n,).
    """
    kind = column.dtype
    if expected.kind != "categorical" and (getattr(kind, "kind", "O") in _NUMBERS):
        return _check_numbers(expected, column, refused, flags)
    try:
        one_type = (
            not pd.api.types.is_object_dtype(kind) or pd.api.types.infer_dtype(column, skipna=True) in _OF_ONE_TYPE
        )
        # True and 1 are one key of a hash table, so that values of mixed types are judged one at a time.
        codes, distinct = pd.factorize(column) if one_type else _apart(column)
    except TypeError:  # a list or another thing without a hash
        codes, distinct = _apart(column)
    return _check_distinct(expected, codes, list(distinct), refused, flags)


def _apart(column: pd.Series) -> tuple[NDArray[np.intp], list[Any]]:
    return np.arange(len(column), dtype=np.intp), column.tolist()


def _check_numbers(expected: Expected, column: pd.Series, refused: Notes, flags: Notes) -> NDArray[np.float64]:
    numbers = np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))
    missing = np.isnan(numbers)
    _say_missing(expected, missing, refused, flags)
    infinite = np.isinf(numbers)
    if infinite.any():
        refused.add(infinite, _not_finite(expected))
        numbers[infinite] = np.nan
    known = ~(missing | infinite)
    if expected.kind == "binary":
        refused.add(known & (numbers != 0.0) & (numbers != 1.0), _not_binary(expected))
    elif expected.low is not None and expected.high is not None:
        flags.add(known & ~((numbers >= expected.low) & (numbers <= expected.high)), _outside(expected))
    return numbers


def _check_distinct(
    expected: Expected, codes: NDArray[np.intp], distinct: list[Any], refused: Notes, flags: Notes
) -> NDArray[Any]:
    categorical = expected.kind == "categorical"
    judged = [_judge(expected, value) for value in distinct]
    missing = codes < 0
    _say_missing(expected, missing, refused, flags)
    for notes, which in ((refused, 1), (flags, 2)):
        for words in dict.fromkeys(one[which] for one in judged if one[which]):
            notes.add(np.asarray([*(one[which] == words for one in judged), False])[codes], words)
    made = np.empty(len(judged) + 1, dtype=object if categorical else np.float64)
    made[:-1] = [one[0] for one in judged]
    made[-1] = None if categorical else np.nan
    return np.asarray(made[codes])


def _say_missing(expected: Expected, missing: Flags, refused: Notes, flags: Notes) -> None:
    (refused if expected.required else flags).add(missing, _missing(expected))


def _judge(expected: Expected, value: Any) -> tuple[Any, str, str]:
    """Return a value typed, the reason why it is refused and what is unusual about it, each empty for nothing."""
    if type(value) is not str and (value is None or (pd.api.types.is_scalar(value) and pd.isna(value))):
        typed = None if expected.kind == "categorical" else np.nan
        return (typed, _missing(expected), "") if expected.required else (typed, "", _missing(expected))
    if expected.kind == "categorical":
        code = as_code(value)
        return code, "" if code in expected.categories else _unknown(expected), ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return np.nan, f"{expected.name} is not a number", ""
    if not np.isfinite(number):
        return np.nan, _not_finite(expected), ""
    if expected.kind == "binary":
        return number, "" if number in (0.0, 1.0) else _not_binary(expected), ""
    inside = expected.low is None or expected.high is None or expected.low <= number <= expected.high
    return number, "", "" if inside else _outside(expected)


def _missing(expected: Expected) -> str:
    return f"{expected.name} is missing" if expected.required else f"{expected.name} imputed"


def _not_finite(expected: Expected) -> str:
    return f"{expected.name} is not finite"


def _not_binary(expected: Expected) -> str:
    return f"{expected.name} is neither 0 nor 1"


def _outside(expected: Expected) -> str:
    return f"{expected.name} outside the range seen ({expected.low:g} to {expected.high:g})"


def _unknown(expected: Expected) -> str:
    return f"{expected.name} has a category that the trial did not have"

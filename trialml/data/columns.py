"""From text to typed columns, refusing in a sentence that names the file row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from trialml.errors import DataError, nearest

__all__ = [
    "as_binary",
    "as_code",
    "as_codes",
    "as_events",
    "as_numbers",
    "as_times",
    "holds_numbers",
    "require_columns",
]

_TRUE = frozenset({"1", "true", "yes"})
_FALSE = frozenset({"0", "false", "no"})
_LARGEST = 1e15
"""Above this, floats no longer hold every whole number, and squares and exponentials overflow."""
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


def as_code(value: object) -> str:
    """Return how a code is compared: 1, 1.0, ``"1"`` and ``"1.0"`` are one code, and so are true and ``"TRUE"``.

    Software writes whole numbers as 1.0 as soon as one value of the column is missing.
    """
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    if whole:
        return whole[1]
    return text.lower() if text.lower() in ("true", "false") else text


def holds_numbers(heading: Iterable[str]) -> bool:
    """Return whether a heading looks like a row of values: a name in it is a plain number."""
    return any(_NUMBER.fullmatch(name.strip()) for name in heading)


def as_codes(column: pd.Series) -> pd.Series:
    """Return a column of text as codes, missing as None."""
    return column.map(lambda value: None if value is None else as_code(value)).astype(object)


def require_columns(frame: pd.DataFrame, named: Mapping[str, str], origin: str) -> None:
    """Refuse the first of `named` (place in the study file: column) that the data lack.

    Raises
    ------
    DataError
        Naming the column, its place in the study file and the nearest column there is.
    """
    for place, column in named.items():
        if column not in frame.columns:
            others = [str(other) for other in frame.columns]
            if holds_numbers(others):
                # The first row is a patient's: its values must not be shown as names.
                message = (
                    f"The column '{column}' ({place}) is not in '{origin}', whose first row holds numbers and seems to be a "
                    "patient's: put the names of the columns above it."
                )
                raise DataError(message)
            hint = nearest(column, others)
            raise DataError(f"The column '{column}' ({place}) is not in '{origin}'; {hint}: correct the study file.")


def as_numbers(column: pd.Series, *, subjects: pd.Series, decimal_comma: bool = False) -> pd.Series:
    """Return a column of text as floats, missing as NaN.

    Raises
    ------
    DataError
        If a value is text, infinite or beyond 1e15, naming the file row.
    """
    text = column.str.replace(",", ".", regex=False) if decimal_comma else column
    numbers = pd.to_numeric(text, errors="coerce").astype(np.float64)
    wrong = column.notna() & numbers.isna()
    if wrong.any():
        raise DataError(_sentence(column, wrong, subjects, "is not a number", "correct it or leave it empty"))
    infinite = np.isinf(numbers)
    if infinite.any():
        raise DataError(_sentence(column, infinite, subjects, "is not finite", "correct it or leave it empty"))
    beyond = numbers.abs() > _LARGEST
    if beyond.any():
        raise DataError(
            _sentence(column, beyond, subjects, "is beyond any measurement", "correct it or change the unit")
        )
    return numbers


def as_times(column: pd.Series, *, subjects: pd.Series, decimal_comma: bool = False) -> pd.Series:
    """Return times from randomisation as positive floats, missing as NaN.

    Raises
    ------
    DataError
        If even one time is text, infinite, zero or negative, naming the file row.
    """
    times = as_numbers(column, subjects=subjects, decimal_comma=decimal_comma)
    wrong = times <= 0
    if wrong.any():
        remedy = "a time from randomisation is positive (an event on the day of randomisation is day 1)"
        raise DataError(_sentence(column, wrong, subjects, "is not a positive time", remedy))
    return times


def as_events(
    column: pd.Series, event_values: tuple[str, ...], censored_values: tuple[str, ...], *, subjects: pd.Series
) -> pd.Series:
    """Return whether the event happened: True, False, or None where the code is missing.

    Parameters
    ----------
    column
        Codes as text: 0/1, true/false, or what the two tuples of the study file map.
    event_values, censored_values
        Codes that mean event and censored; both empty for 0/1 and boolean codes.

    Raises
    ------
    DataError
        If a code is neither, naming the file row and the remedy.
    """
    yes: set[str] | frozenset[str] = {as_code(code) for code in event_values} or _TRUE
    no: set[str] | frozenset[str] = {as_code(code) for code in censored_values} or _FALSE
    codes = as_codes(column if event_values else column.str.lower())
    events = codes.map(lambda code: True if code in yes else False if code in no else None)
    wrong = column.notna() & events.isna()
    if wrong.any():
        remedy = "map it with event_values and censored_values in [[endpoints]]"
        raise DataError(_sentence(column, wrong, subjects, "is no known event code", remedy))
    return events.astype(object)


def as_binary(column: pd.Series, *, subjects: pd.Series) -> pd.Series:
    """Return 0.0, 1.0 or NaN.

    Raises
    ------
    DataError
        If a value is neither 0/1 nor boolean.
    """
    values = as_codes(column.str.lower()).map(lambda code: 1.0 if code in _TRUE else 0.0 if code in _FALSE else np.nan)
    wrong = column.notna() & values.isna()
    if wrong.any():
        raise DataError(_sentence(column, wrong, subjects, "is neither 0 nor 1", "list it as categorical or numeric"))
    return values.astype(np.float64)


def _sentence(column: pd.Series, wrong: pd.Series, subjects: pd.Series, what: str, remedy: str) -> str:
    row = wrong.index[wrong][0]
    # A role given to the wrong column must not print who the patient is.
    seen = str(column[row])
    # Another row's identifier counts too, where it is long enough not to be a code such as 0 or 99.
    hidden = seen == subjects[row] or (len(seen) > 3 and bool((subjects == seen).any()))
    value = "(an identifier, not shown)" if hidden else f"'{seen[:40]}'"
    more = f" ({int(wrong.sum())} rows in all)" if wrong.sum() > 1 else ""
    return f"Column '{column.name}', file row {row}: {value} {what}{more}; {remedy}."

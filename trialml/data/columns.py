"""From text to typed columns, refusing in a sentence that names the file row."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.findings import Finding
from trialml.data.quoting import quoted
from trialml.data.table import holds_numbers
from trialml.errors import DataError, nearest

__all__ = [
    "as_binary",
    "as_code",
    "as_codes",
    "as_events",
    "as_numbers",
    "as_times",
    "is_yes",
    "mixed_spelling",
    "require_columns",
]

_TRUE = frozenset({"1", "true", "yes", "y"})
_FALSE = frozenset({"0", "false", "no", "n"})
_LARGEST = 1e15
"""Above this, floats no longer hold every whole number, and squares and exponentials overflow."""
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_POINT = re.compile(r"[+-]?\d*\.\d+")


def _distinct(column: pd.Series) -> tuple[NDArray[np.intp], NDArray[np.object_]]:
    """Return the code of each row (-1 where missing) and the distinct values, so that each value is judged once."""
    codes, values = pd.factorize(column)
    return codes, np.asarray(values, dtype=object)


def _spread(codes: NDArray[np.intp], values: list[object], missing: object, column: pd.Series) -> pd.Series:
    """Return what was made of the distinct values, row by row."""
    made = np.empty(len(values) + 1, dtype=object)
    made[:-1], made[-1] = values, missing
    return pd.Series(made[codes], index=column.index, name=column.name, dtype=object)


def as_code(value: object) -> str:
    """Return how a code is compared: 1, 1.0, ``"1"`` and ``"1.0"`` are one code, and so are true and ``"TRUE"``.

    Software writes whole numbers as 1.0 as soon as one value of the column is missing.
    """
    text = str(value).strip()
    whole = _WHOLE.fullmatch(text)
    if whole:
        return whole[1]
    return text.lower() if text.lower() in ("true", "false") else text


def as_codes(column: pd.Series) -> pd.Series:
    """Return a column as codes, missing as None; a date's code is its ISO form."""
    codes, values = _distinct(column)
    return _spread(codes, [_as_text(value) for value in values], None, column)


def _as_text(value: object) -> str:
    if isinstance(value, np.datetime64 | pd.Timestamp):
        stamp = pd.Timestamp(value)
        return str(stamp.date() if stamp == stamp.normalize() else stamp.isoformat())
    return as_code(value)


def is_yes(column: pd.Series, *, value: str = "Y") -> pd.Series:
    """Return whether a flag is set; blank is no, as in ADaM.

    Parameters
    ----------
    column
        The flag: Y/N, yes/no, 1/0, true/false in any case, or blank.
    value
        The code that means set, where it is none of these.

    Raises
    ------
    DataError
        If a flag read by its default holds anything else, naming the file row.
    """
    codes, values = _distinct(column)
    if value != "Y":
        return _spread(codes, [_as_text(one) == value for one in values], False, column).astype(bool)
    words = [_as_text(one).lower() for one in values]
    flags: list[object] = [True if word in _TRUE else False if word in _FALSE else None for word in words]
    made = _spread(codes, flags, False, column)
    if made.isna().any():
        row = made.index[made.isna()][0]
        message = (
            f"Column '{column.name}', file row {row}: the value is no flag ({int(made.isna().sum()):,} rows in all); a flag is Y, N or blank: "
            "correct it, or give [data] population_value if this is the population's column."
        )
        raise DataError(message)
    return made.astype(bool)


def mixed_spelling(column: pd.Series) -> Finding | None:
    """Return a finding where yes or no is spelt in several ways ("Yes", "Y", "y"), or None."""
    spelt: dict[str, dict[str, int]] = {"yes": {}, "no": {}}
    for value, count in column.value_counts().items():
        text = str(value).strip()
        word = as_code(text).lower()
        if word in _TRUE | _FALSE:
            spelt["yes" if word in _TRUE else "no"].setdefault(as_code(text), 0)
            spelt["yes" if word in _TRUE else "no"][as_code(text)] += int(count)
    several = {meaning: ways for meaning, ways in spelt.items() if len(ways) > 1}
    if not several:
        return None
    told = "; ".join(
        f"{meaning} as {', '.join(repr(way) for way in sorted(ways))}" for meaning, ways in several.items()
    )
    # The commonest spelling is taken for the usual one; the rest are the ones to mend.
    rare = sum(sum(ways.values()) - max(ways.values()) for ways in several.values())
    done = "Each was read as what it means, whatever its case."
    return Finding("mixed spelling", str(column.name), rare, f"'{column.name}' spells {told}.", done)


def require_columns(
    frame: pd.DataFrame, named: Mapping[str, str], origin: str, *, heading: tuple[str, ...] = ()
) -> None:
    """Refuse the first of `named` (place in the study file: column) that the data lack.

    `heading` is every column of the file where `frame` holds but some of them.

    Raises
    ------
    DataError
        Naming the column, its place in the study file and the nearest column there is.
    """
    for place, column in named.items():
        if column not in frame.columns and column not in heading:
            others = heading or tuple(str(other) for other in frame.columns)
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
    if pd.api.types.is_datetime64_any_dtype(column):
        shown = column.notna()
        raise DataError(_sentence(column, shown, None, "is a date and no number", "list another column"))
    codes, values = _distinct(column)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.astype(np.float64)
    else:
        text = pd.Series([str(value) for value in values], dtype=object)
        if decimal_comma:
            both = text.str.fullmatch(_POINT)
            text = text.str.replace(",", ".", regex=False).mask(both, "a decimal point")
        made = np.append(pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64), np.nan)
        numbers = pd.Series(made[codes], index=column.index, name=column.name)
    wrong = column.notna() & numbers.isna()
    if wrong.any():
        value = str(column[wrong.index[wrong][0]])
        mark = (
            "give [data] decimal, to say whether its comma marks decimals or thousands"
            if _COMMA.fullmatch(value)
            else "the file's other numbers carry a decimal comma: write all with one mark"
            if decimal_comma and _POINT.fullmatch(value)
            else "correct it or leave it empty"
        )
        raise DataError(_sentence(column, wrong, subjects, "is not a number", mark))
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
    codes, values = _distinct(column)
    texts = [_as_text(value) for value in values]
    told = [text if event_values else text.lower() for text in texts]
    events = _spread(codes, [True if code in yes else False if code in no else None for code in told], None, column)
    wrong = column.notna() & events.isna()
    if wrong.any():
        remedy = "map it with event_values and censored_values in [[endpoints]]"
        raise DataError(_sentence(column, wrong, subjects, "is no known event code", remedy))
    return events


def as_binary(column: pd.Series, *, subjects: pd.Series) -> pd.Series:
    """Return 0.0, 1.0 or NaN.

    Raises
    ------
    DataError
        If a value is neither 0/1 nor boolean.
    """
    codes, values = _distinct(column)
    told = [_as_text(value).lower() for value in values]
    made: list[object] = [1.0 if code in _TRUE else 0.0 if code in _FALSE else np.nan for code in told]
    numbers = _spread(codes, made, np.nan, column).astype(np.float64)
    wrong = column.notna() & numbers.isna()
    if wrong.any():
        raise DataError(_sentence(column, wrong, subjects, "is neither 0 nor 1", "list it as categorical or numeric"))
    return numbers


def _sentence(column: pd.Series, wrong: pd.Series, subjects: pd.Series | None, what: str, remedy: str) -> str:
    row = wrong.index[wrong][0]
    # A role given to the wrong column must not print who the patient is.
    seen = str(column[row])
    # Another row's identifier counts too, where it is long enough not to be a code such as 0 or 99.
    hidden = subjects is not None and (
        seen == str(subjects[row]) or (len(seen) > 3 and bool((subjects.astype(str) == seen).any()))
    )
    value = "(an identifier, not shown)" if hidden else quoted(column[row], int((column == column[row]).sum()))
    more = f" ({int(wrong.sum())} rows in all)" if wrong.sum() > 1 else ""
    return f"Column '{column.name}', file row {row}: {value} {what}{more}; {remedy}."

"""Dates as trials write them: ISO 8601, DATE9, and dates of which only the month or the year is known."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from trialml.data.findings import Finding
from trialml.errors import DataError

__all__ = ["ParsedDate", "PartialDates", "as_dates", "completed_dates", "parse_date"]

PartialDates = Literal["refuse", "first", "middle", "last"]
"""What is done with a date of which the day, or the month and the day, is not known."""

_MONTHS = {name: place for place, name in enumerate(calendar.month_abbr) if name}
_MONTHS = {name.upper(): place for name, place in _MONTHS.items()}
_MOST_DAYS = 80_000
_YEARS = (1800, 2200)
"""A date outside of these is a sentinel such as 9999-12-31, or a slip of the keyboard."""
_ISO = re.compile(r"(\d{4})(?:-(\d{2}|-)?(?:-(\d{2}))?)?(?:[T ].*)?")
_DATE9 = re.compile(r"(?:(\d{1,2}|UNK?)?[-/ ]?)?([A-Z]{3})[-/ ]?(\d{4})(?:[:T ]\d{2}:.*)?")


class ParsedDate(NamedTuple):
    """A date, and how much of it was written: ``"day"``, ``"month"`` or ``"year"``."""

    date: dt.date
    precision: Literal["day", "month", "year"]


def parse_date(text: str, rule: PartialDates = "refuse") -> ParsedDate:
    """Return the date that a text means.

    Parameters
    ----------
    text
        ``2020-12-31``, with or without a time; ``31DEC2020``, ``31-Dec-2020``; or a part of one: ``2020-12``, ``2020``,
        ``DEC2020``, ``UNDEC2020``.
    rule
        For a part: ``first`` takes the first day of the month or year, ``middle`` the 15th of the month or 1 July,
        ``last`` the last day; ``refuse`` refuses.

    Returns
    -------
    ParsedDate
        The date, and the precision with which it was written.

    Raises
    ------
    DataError
        If the text is no date, is one by numbers alone whose order of day and month is not known (03/04/2020), or is a
        part and the rule is to refuse.
    """
    year, month, day = _parts(text.strip().upper(), text)
    precision: Literal["day", "month", "year"] = "day" if day else "month" if month else "year"
    if precision != "day" and rule == "refuse":
        remedy = "complete it, or give [data] partial_dates = 'first', 'middle' or 'last'"
        raise DataError(f"'{text[:40]}' is a date without its day: {remedy}.")
    if precision != "day":
        month = month or {"first": 1, "middle": 7, "last": 12}[rule]
        in_month = {"first": 1, "middle": 15, "last": calendar.monthrange(year, month)[1]}[rule]
        day = 1 if precision == "year" and rule == "middle" else in_month
    try:
        assert month is not None
        assert day is not None
        date = dt.date(year, month, day)
    except ValueError as error:
        raise DataError(f"'{text[:40]}' is no day of the calendar: correct it.") from error
    if date.year < _YEARS[0] or date.year > _YEARS[1]:
        raise DataError(
            f"'{text[:40]}' lies outside the years {_YEARS[0]} to {_YEARS[1]}, so it stands for something else: correct it or leave it empty."
        )
    return ParsedDate(date, precision)


def _parts(words: str, text: str) -> tuple[int, int | None, int | None]:
    iso = _ISO.fullmatch(words)
    if iso:
        month = int(iso[2]) if iso[2] and iso[2] != "-" else None
        day = int(iso[3]) if iso[3] and month is not None else None
        return int(iso[1]), month, day
    named = _DATE9.fullmatch(words)
    if named and named[2] in _MONTHS:
        day = int(named[1]) if named[1] and named[1].isdigit() else None
        return int(named[3]), _MONTHS[named[2]], day
    if named and named[2] == "UNK":
        return int(named[3]), None, None
    if re.fullmatch(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}", words):
        raise DataError(f"'{text[:40]}' does not say which number is the day: write dates as 2020-12-31 or 31DEC2020.")
    raise DataError(f"'{text[:40]}' is no date: write dates as 2020-12-31 or 31DEC2020.")


def as_dates(
    column: pd.Series, *, name: str | None = None, rule: PartialDates = "refuse"
) -> tuple[pd.Series, tuple[Finding, ...]]:
    """Return a column as dates, missing as NaT, and what was imputed.

    Parameters
    ----------
    column
        Dates (typed sources), text, or numbers: days from 1 January 1960, as SAS counts, which is said.
    name
        What the column is called in findings and errors; its own name by default.
    rule
        What is done with partial dates, as in `parse_date`.

    Returns
    -------
    dates : Series of datetime64[ns]
        Normalised to the day.
    findings : tuple of Finding
        At most one: rule ``"partial date"`` with the count of dates that were imputed, or ``"date without format"``.

    Raises
    ------
    DataError
        If a value is no date, or is a partial one and the rule is to refuse; the row is named.
    """
    called = name or str(column.name)
    if pd.api.types.is_datetime64_any_dtype(column):
        odd = column.notna() & ~column.dt.year.between(*_YEARS)
        if odd.any():
            raise DataError(
                f"Column '{called}', file row {column.index[odd][0]}: the date lies outside the years {_YEARS[0]} to {_YEARS[1]}, so it stands for "
                "something else: correct it or leave it empty."
            )
        return column.dt.normalize(), ()
    if pd.api.types.is_numeric_dtype(column):
        return _from_sas_days(column, called)
    codes, values = pd.factorize(column)
    dates = np.full(len(values) + 1, np.datetime64("NaT"), dtype="datetime64[ns]")
    partial = np.zeros(len(values) + 1, dtype=bool)
    for place, value in enumerate(values):
        try:
            dates[place], precision = parse_date(str(value), rule)
        except DataError as error:
            row = column.index[codes == place][0]
            told = str(error).replace(
                f"'{str(value)[:40]}'",
                f"a value written as '{_shape(str(value))}' (9 stands for any digit, a for any letter)",
            )
            raise DataError(f"Column '{called}', file row {row}: {told}") from None
        partial[place] = precision != "day"
    incomplete = partial[codes]
    count = int(incomplete.sum())
    result = pd.Series(dates[codes], index=column.index, name=column.name)
    if not count:
        return result, ()
    found = f"{count:,} date(s) of '{called}' lack the day, or the day and the month."
    done = {
        "first": "Each was taken as the first day of its month or year.",
        "middle": "Each was taken as the 15th of its month, or 1 July of its year.",
        "last": "Each was taken as the last day of its month or year.",
    }[rule]
    rows = tuple(column.index[incomplete].tolist())
    return result, (Finding("partial date", called, count, found, done, "warning", rows),)


def completed_dates(records: pd.DataFrame, name: str, dataset: str) -> list[Finding]:
    """Return a note on dates that the data set completed itself, by ADaM's flag of imputation (``ASTDTF`` of ``ASTDT``)."""
    flag = f"{name}F"
    completed = records[flag].notna() if flag in records else pd.Series(False, index=records.index)
    if not completed.any():
        return []
    found = f"{int(completed.sum()):,} date(s) of {dataset}.{name} were partial and completed by the data set ({flag})."
    rows = tuple(records.index[completed].tolist())
    done = "They were used as the data set has them."
    return [Finding("partial date", f"{dataset}.{name}", int(completed.sum()), found, done, "note", rows)]


def _shape(text: str) -> str:
    """Return how a value is written without the value: a wrong column may hold who the patient is."""
    return re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "9", text))[:40]


def _from_sas_days(column: pd.Series, called: str) -> tuple[pd.Series, tuple[Finding, ...]]:
    days = column.astype(np.float64)
    if (days.abs() > _MOST_DAYS).any() or (days != np.floor(days))[days.notna()].any():
        row = days.index[(days.abs() > _MOST_DAYS) | (days.notna() & (days != np.floor(days)))][0]
        raise DataError(
            f"Column '{called}', file row {row}: the number is no count of days from 1960: give the column a date format."
        )
    dates = pd.Timestamp("1960-01-01") + pd.to_timedelta(days, unit="D")
    if not days.notna().any():
        return dates, ()
    found = f"'{called}' holds numbers without a date format."
    done = "They were read as days from 1 January 1960, as SAS counts."
    return dates, (Finding("date without format", called, int(days.notna().sum()), found, done),)

"""Visits beside the patients' table: read, placed before or after time zero, and joined as baseline columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import as_code, as_codes, as_numbers, require_columns
from trialml.data.date_text import day_comes_first, parse_date_text
from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.findings import Finding
from trialml.data.quoting import quoted
from trialml.data.read import Table, read_table
from trialml.data.visits import Summary, VisitSummaries, summarise_visits
from trialml.errors import DataError, nearest

__all__ = ["Visits", "add_visits"]

_DAYS_PER_UNIT = {"days": 1.0, "weeks": 7.0, "months": 30.4375, "years": 365.25}
_MOST_SHOWN = 30


@dataclass(frozen=True)
class Visits:
    """A long table, one row a measurement, and what to make of it.

    Attributes
    ----------
    name
        What is measured; the columns made are called ``<name>_<summary>``.
    source
        The file, as in ``[data] source``.
    subject, value
        Columns of the file.
    summaries
        Which summaries to make.
    time
        Column of the time from time zero, in `unit`: negative before.
    date, time_zero
        Column of the date of the visit, and column of the patients' table with the date of time zero.
    visit, baseline_visits
        Column of the visit's name, and the visits that came by time zero, in their order.
    where
        Column and code: only rows with this code are of this measurement (``PARAMCD``, ``ALT``).
    unit
        The unit of `time`, and of the slope and of ``since_last``.
    include_zero
        Whether a row on time zero itself is baseline.
    """

    name: str
    source: str
    subject: str
    value: str
    summaries: tuple[Summary, ...]
    time: str | None = None
    date: str | None = None
    time_zero: str | None = None
    visit: str | None = None
    baseline_visits: tuple[str, ...] = ()
    where: tuple[str, str] | None = None
    unit: Literal["days", "weeks", "months", "years"] = "days"
    include_zero: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that come of it, in the order of `summaries`."""
        return tuple(f"{self.name}_{summary}" for summary in self.summaries)

    @property
    def place(self) -> str:
        """How messages name this table."""
        return f"[[data.visits]] '{self.name}'"


def add_visits(table: Table, visits: Sequence[Visits], *, subject: str, base: Path) -> Table:
    """Join what the visits up to time zero say of each subject to the table of the patients.

    Parameters
    ----------
    table
        One row a patient.
    visits
        The long tables.
    subject
        The column of `table` that identifies the patients.
    base
        The folder that relative paths start from.

    Returns
    -------
    Table
        With one more column a summary, NaN where a subject has no such visit; with a statement and findings on the rows that
        were used and passed over; and with a digest over all files.

    Raises
    ------
    DataError
        If a column is missing, a value or a time is no number, a date is no date, nobody has a baseline visit, or a
        column would be there twice.
    """
    if not visits:
        return table
    require_columns(table.frame, {"[data] subject": subject}, table.origin)
    codes = as_codes(table.frame[subject])
    if codes.duplicated().any():
        raise DataError(
            f"The subject column '{subject}' holds a subject on more than one row, so visits cannot be joined to it: keep "
            "one row a subject."
        )
    places = {code: place for place, code in enumerate(codes)}
    frame, statements, digests = table.frame.copy(), list(table.statements), [table.sha256]
    findings = list(table.findings)
    for one in visits:
        long = read_table(one.source, base)
        digests.append(long.sha256)
        found = _summarised(one, long, table, places, subject)
        for column, values in zip(one.columns, found.chosen(one.summaries).values(), strict=True):
            if column in frame.columns:
                raise DataError(f"{one.place} makes the column '{column}', which is there already: give another name.")
            frame[column] = values
        statements.append(_said(one, found))
        findings += _noticed(one, found)
    digest = hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return replace(table, frame=frame, statements=tuple(statements), sha256=digest, findings=tuple(findings))


def _summarised(one: Visits, long: Table, table: Table, places: Mapping[str, int], subject: str) -> VisitSummaries:
    frame = _of_this_measurement(one, long)
    # Each subject is looked up once, however many rows it has.
    codes, values = pd.factorize(frame[one.subject])
    known = [places.get(code, -1) for code in as_codes(pd.Series(values, dtype=object))]
    place = np.array([*known, -1], dtype=np.intp)[codes]
    value = as_numbers(frame[one.value], subjects=frame[one.subject], decimal_comma=long.decimal_comma)
    time = _times(one, long, table, frame, place, subject)
    found = summarise_visits(place, time, value, subjects=len(places), include_zero=one.include_zero)
    if not found.used:
        message = (
            f"{one.place}: of {len(frame):,} rows in '{one.source}' none is a value by time zero of a subject of the trial "
            f"({found.after:,} come later, {found.unknown:,} are of unknown subjects, {found.without_time:,} have no time): "
            "check the subject, the time and its sign."
        )
        raise DataError(message)
    return found


def _of_this_measurement(one: Visits, long: Table) -> pd.DataFrame:
    named = {"subject": one.subject, "value": one.value, "time": one.time, "date": one.date, "visit": one.visit}
    named["where"] = one.where[0] if one.where else None
    require_columns(
        long.frame, {f"{one.place} {role}": column for role, column in named.items() if column}, long.origin
    )
    if one.where is None:
        return long.frame
    column, code = one.where
    codes = as_codes(long.frame[column])
    wanted = codes == as_code(code)
    if not wanted.any():
        hint = _hint(as_code(code), codes)
        raise DataError(f"{one.place} where: column '{column}' never holds '{code}'; {hint}: correct the study file.")
    return long.frame[wanted]


def _times(
    one: Visits, long: Table, table: Table, frame: pd.DataFrame, place: NDArray[np.intp], subject: str
) -> NDArray[np.float64]:
    """Return the time of each row from time zero, in the unit of the visits."""
    if one.time is not None:
        times = as_numbers(frame[one.time], subjects=frame[one.subject], decimal_comma=long.decimal_comma)
        return np.asarray(times, dtype=np.float64)
    if one.visit is not None:
        return _visit_times(one, frame)
    assert one.date is not None
    assert one.time_zero is not None
    require_columns(table.frame, {f"{one.place} time_zero": one.time_zero}, table.origin)
    zero = _days(table.frame[one.time_zero], table.frame[subject])
    days = _days(frame[one.date], frame[one.subject])
    times = np.where(place >= 0, days - zero[np.maximum(place, 0)], np.nan)
    return np.asarray(times / _DAYS_PER_UNIT[one.unit], dtype=np.float64)


def _visit_times(one: Visits, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Number the baseline visits so that the last is 0; any other visit is after time zero."""
    codes = as_codes(frame[one.visit])
    seen = set(codes.dropna())
    wanted = [as_code(visit) for visit in one.baseline_visits]
    for visit in wanted:
        if visit not in seen:
            raise DataError(
                f"{one.place} baseline_visits: column '{one.visit}' never holds '{visit}'; {_hint(visit, codes)}: "
                "correct the study file."
            )
    numbers = {visit: float(place) for place, visit in enumerate(wanted, start=1 - len(wanted))}
    times = codes.map(lambda code: np.nan if code is None else numbers.get(code, 1.0))
    return np.asarray(times, dtype=np.float64)


def _hint(code: str, codes: pd.Series) -> str:
    """Return what a column holds instead; so many values that they may be identifiers are counted alone."""
    seen = sorted(set(codes.dropna()))
    return nearest(code, seen) if len(seen) <= _MOST_SHOWN else f"it holds {len(seen):,} different values"


def _days(column: pd.Series, subjects: pd.Series) -> NDArray[np.float64]:
    """Return a column of dates as day numbers; missing and partial dates, which cannot be placed, as NaN."""
    codes, values = pd.factorize(column)
    uniques = [str(value) for value in values]
    day_first = day_comes_first(uniques, str(column.name))
    numbers = np.full(len(uniques) + 1, np.nan)
    for number, text in enumerate(uniques):
        parsed = parse_date_text(text, day_first=day_first)
        if parsed is None:
            at = int(np.flatnonzero(codes == number)[0])
            shown = "(an identifier, not shown)" if text == str(subjects.iloc[at]) else quoted(text)
            raise DataError(
                f"Column '{column.name}', file row {column.index[at]}: {shown} is no date; write it as 2020-12-31 or leave "
                "it empty."
            )
        if parsed.precision == "day":
            numbers[number] = parsed.day.toordinal()
    return np.asarray(numbers[codes], dtype=np.float64)


def _said(one: Visits, found: VisitSummaries) -> str:
    """Return how the visits were used, with the counts of rows passed over."""
    passed = ", ".join(f"{_count(rows)} rows {why}" for rows, _, why in _passed_over(found) if rows)
    ties = f" {_count(found.ties)} rows share subject and time with another and were averaged." if found.ties else ""
    edge = "at time zero or before" if one.include_zero else "before time zero"
    return (
        f"{one.name}: {', '.join(one.columns)} come from {_count(found.used)} rows of '{one.source}' {edge}"
        + (f"; passed over: {passed}." if passed else ".")
        + ties
    )


def _passed_over(found: VisitSummaries) -> tuple[tuple[int, str, str], ...]:
    """Return how many rows were passed over, the rule of the finding, and why."""
    return (
        (found.after, "visit after time zero", "after time zero"),
        (found.without_value, "visit without value", "without a value"),
        (found.without_time, "visit without time", "without a full date or time"),
        (found.unknown, "unknown subject", "of subjects that the trial does not know"),
    )


def _noticed(one: Visits, found: VisitSummaries) -> list[Finding]:
    return [
        Finding(
            rule, one.columns[0], rows, f"{_count(rows)} rows of '{one.source}' are {why}.", "They were passed over."
        )
        for rows, rule, why in _passed_over(found)
        if rows
    ]


def _count(rows: int) -> str:
    return f"fewer than {SMALLEST_CELL}" if 0 < rows < SMALLEST_CELL else f"{rows:,}"

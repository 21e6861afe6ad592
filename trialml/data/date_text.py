"""Dates as files write them: read with their precision, and written again in the layout they came in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Literal, NamedTuple

from trialml.errors import DataError

__all__ = ["DateText", "day_comes_first", "holds_a_date", "parse_date_text", "shifted_text"]

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTH = "|".join(_MONTHS)
_MIDDLE_DAY, _MIDDLE_MONTH = 15, 7
_PIVOT = 69
"""Years of two digits from here on are of the twentieth century, as POSIX has it."""

_CLOCK = r"(?P<tail>[T :]\d{1,2}:\d{2}.*|)"
_LAYOUTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<year>\d{{4}})(?P<mark>[-/])(?P<month>\d{{2}})(?P=mark)(?P<day>\d{{2}}){_CLOCK}",
        rf"(?P<day>\d{{1,2}})(?P<mark>[- ]?)(?P<name>{_MONTH})(?P=mark)(?P<year>\d{{4}}|\d{{2}}){_CLOCK}",
        rf"(?P<first>\d{{1,2}})(?P<mark>[/.])(?P<second>\d{{1,2}})(?P=mark)(?P<year>\d{{4}}|\d{{2}}){_CLOCK}",
        r"(?P<year>\d{4})-(?P<month>\d{2})(?P<tail>-UNK?|---?|)",
        rf"(?P<head>(?:UNK?|--)?[- ]?)(?P<name>{_MONTH})(?P<mark>[- ]?)(?P<year>\d{{4}})",
        r"(?P<head>(?:UN[- ]?UNK[- ]?)?)(?P<year>\d{4})(?P<tail>(?:-UN|--)-UNK?|-----|)",
        r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})",
    )
)
_FRAGMENT = re.compile(
    rf"\b\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\b\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}\b|\b\d{{1,2}}[- ]?(?:{_MONTH})[a-z]*[-, ]*\d{{2,4}}\b"
    rf"|\b(?:{_MONTH})[a-z]*\.? +\d{{1,2}},? +\d{{4}}\b",
    re.IGNORECASE,
)


class DateText(NamedTuple):
    """One date as a file writes it.

    Attributes
    ----------
    day
        The day; where only the month is known its 15th, where only the year is known 15 July.
    precision
        What the text gives.
    layout
        The text with ``{year}``, ``{month}``, ``{day}``, ``{name}`` in the places of the numbers.
    """

    day: date
    precision: Literal["day", "month", "year"]
    layout: str


def parse_date_text(text: str, *, day_first: bool = True) -> DateText | None:
    """Read one date: ISO 8601, SAS's ``31DEC2020``, ``31-Dec-2020``, ``31/12/2020``, ``31.12.20``, ``20201231``.

    A time of day may follow and stays as it is.

    Parameters
    ----------
    text
        The value.
    day_first
        Whether ``01/02/2020`` is of February; it is with points in between in any case.

    Returns
    -------
    DateText or None
        None where the text is no date. ``2020-12``, ``DEC2020``, ``UNDEC2020`` and ``2020`` are partial dates.
    """
    stripped = text.strip()
    for pattern in _LAYOUTS:
        found = pattern.fullmatch(stripped)
        if found:
            return _built(found, stripped, day_first=day_first)
    return None


def _built(found: re.Match[str], text: str, *, day_first: bool) -> DateText | None:
    parts = {name: value for name, value in found.groupdict().items() if value is not None}
    if "first" in parts:
        in_order = day_first or parts["mark"] == "."
        roles = {"first": "day", "second": "month"} if in_order else {"first": "month", "second": "day"}
    else:
        roles = {name: name for name in ("day", "month") if name in parts}
    numbers = {role: int(parts[group]) for group, role in roles.items()}
    if "name" in parts:
        numbers["month"] = _MONTHS.index(parts["name"].upper()) + 1
    numbers["year"] = int(parts["year"])
    if len(parts["year"]) == 2:
        numbers["year"] += 1900 if numbers["year"] >= _PIVOT else 2000
    precision: Literal["day", "month", "year"] = (
        "day" if "day" in numbers else "month" if "month" in numbers else "year"
    )
    try:
        day = date(numbers["year"], numbers.get("month", _MIDDLE_MONTH), numbers.get("day", _MIDDLE_DAY))
    except ValueError:
        return None
    return DateText(day, precision, _layout(found, text, {**roles, "year": "year", "name": "name"}))


def _layout(found: re.Match[str], text: str, roles: dict[str, str]) -> str:
    """Return the text with fields in the places of year, month and day; widths and letter case are kept."""
    places = sorted(
        (found.start(group), found.end(group), role) for group, role in roles.items() if group in _of(found)
    )
    layout, before = "", 0
    for start, end, role in places:
        layout += text[before:start].replace("{", "{{").replace("}", "}}")
        written = text[start:end]
        if role == "name":
            layout += "{NAME}" if written.isupper() else "{name}" if written.islower() else "{Name}"
        elif role == "year" and len(written) == 2:
            layout += "{short}"
        else:
            layout += f"{{{role}:0{len(written)}d}}"
        before = end
    return layout + text[before:].replace("{", "{{").replace("}", "}}")


def _of(found: re.Match[str]) -> set[str]:
    return {name for name, value in found.groupdict().items() if value is not None}


def shifted_text(value: DateText, days: int) -> str | None:
    """Return the date `days` later in the layout it came in, None where no calendar has that day.

    A partial date is moved from the middle of its month or year and written with its own precision, so that an
    interval to it is kept up to that precision.
    """
    try:
        moved = value.day + timedelta(days=days)
    except OverflowError:
        return None
    name = _MONTHS[moved.month - 1]
    return value.layout.format(
        year=moved.year,
        short=f"{moved.year % 100:02d}",
        month=moved.month,
        day=moved.day,
        NAME=name,
        Name=name.title(),
        name=name.lower(),
    )


def day_comes_first(texts: Iterable[str], column: str) -> bool:
    """Say from a whole column whether its dates with slashes put the day before the month.

    Raises
    ------
    DataError
        If the dates of the column contradict each other, or each could be read both ways.
    """
    day, month, seen = False, False, False
    for text in texts:
        found = _LAYOUTS[2].fullmatch(text.strip())
        if found is None or found["mark"] == ".":
            continue
        seen = True
        day, month = day or int(found["first"]) > 12, month or int(found["second"]) > 12
    if day and month:
        raise DataError(
            f"Column '{column}' holds dates with the day first and dates with the month first: write them as 2020-12-31."
        )
    if seen and not (day or month):
        raise DataError(
            f"Column '{column}' holds dates such as 01/02/2020, and none of them says whether the day or the month comes "
            "first: write them as 2020-02-01."
        )
    return not month


def holds_a_date(text: str) -> bool:
    """Say whether there is something like a date anywhere in a text."""
    return _FRAGMENT.search(text) is not None

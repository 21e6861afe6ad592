"""Dates as files write them: read with their precision, written again as they came."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.data.date_text import day_comes_first, holds_a_date, parse_date_text, shifted_text
from trialml.errors import DataError

DAY = date(2020, 12, 31)
FULL = {
    "2020-12-31": "2021-01-01",
    "2020/12/31": "2021/01/01",
    "2020-12-31T08:30": "2021-01-01T08:30",
    "2020-12-31 08:30:15.25": "2021-01-01 08:30:15.25",
    "31DEC2020": "01JAN2021",
    "31dec2020": "01jan2021",
    "31-Dec-2020": "01-Jan-2021",
    "31 Dec 2020": "01 Jan 2021",
    "31DEC20": "01JAN21",
    "31DEC2020:08:30:00": "01JAN2021:08:30:00",
    "31/12/2020": "01/01/2021",
    "31.12.2020": "01.01.2021",
    "31.12.20": "01.01.21",
    "20201231": "20210101",
}
PARTIAL = {
    "2020-12": ("month", 31, "2021-01"),
    "2020-12-UN": ("month", 31, "2021-01-UN"),
    "DEC2020": ("month", 31, "JAN2021"),
    "UNDEC2020": ("month", 31, "UNJAN2021"),
    "UNK-DEC-2020": ("month", -31, "UNK-NOV-2020"),
    "2020": ("year", 366, "2021"),
    "UNUNK2020": ("year", 366, "UNUNK2021"),
}


@pytest.mark.parametrize("text", FULL)
def test_a_full_date_is_read_and_moved_in_its_own_layout(text):
    found = parse_date_text(text)
    assert (found.day, found.precision) == (DAY, "day")
    assert shifted_text(found, 0) == text
    assert shifted_text(found, 1) == FULL[text]


@pytest.mark.parametrize("text", PARTIAL)
def test_a_partial_date_keeps_its_precision(text):
    precision, days, moved = PARTIAL[text]
    found = parse_date_text(text)
    assert found.precision == precision
    assert shifted_text(found, 0) == text
    assert shifted_text(found, days) == moved


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(-365, 365), st.sampled_from(["%Y-%m-%d", "%d.%m.%Y"]))
def test_moving_there_and_back_gives_the_text_itself(day, days, layout):
    text = day.strftime(layout)
    there = shifted_text(parse_date_text(text), days)
    assert (parse_date_text(there).day - day).days == days
    assert shifted_text(parse_date_text(there), -days) == text


@pytest.mark.parametrize(
    "text", ["", "soon", "12", "2020-13-01", "30FEB2020", "1,5", "2020-12-31x", "01-701-1015", "32/12/2020"]
)
def test_what_is_no_date_is_not_read_as_one(text):
    assert parse_date_text(text) is None


def test_a_day_that_no_calendar_has_gives_none():
    assert shifted_text(parse_date_text("9999-12-31"), 1) is None


def test_the_order_of_day_and_month_comes_from_the_whole_column():
    assert day_comes_first(["01/02/2020", "13/02/2020"], "seen")
    assert not day_comes_first(["01/02/2020", "02/13/2020"], "seen")
    assert day_comes_first(["2020-01-02", "01.02.2020"], "seen")
    assert parse_date_text("01/02/2020", day_first=False).day == date(2020, 1, 2)


def test_an_order_that_cannot_be_told_is_refused():
    with pytest.raises(DataError, match="none of them says"):
        day_comes_first(["01/02/2020"], "seen")
    with pytest.raises(DataError, match="with the month first"):
        day_comes_first(["13/02/2020", "02/13/2020"], "seen")


@pytest.mark.parametrize("text", ["seen 2020-12-31 at home", "on 3/12/20", "fell on Dec 3, 2020", "3 December 2020"])
def test_a_date_inside_a_text_is_seen(text):
    assert holds_a_date(text)


@pytest.mark.parametrize("text", ["grade 3", "120/80", "1.5", "week 12", "01-701-1015 may"])
def test_other_numbers_are_not_taken_for_dates(text):
    assert not holds_a_date(text)

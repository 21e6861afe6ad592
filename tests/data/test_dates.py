"""Dates as trials write them, whole and in part."""

import datetime as dt

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.data.dates import as_dates, parse_date
from trialml.errors import DataError


@pytest.mark.parametrize(
    "text",
    ["2020-12-31", "2020-12-31T23:59", "2020-12-31 08:00:00", "31DEC2020", "31-Dec-2020", "31 dec 2020", " 31DEC2020 "],
)
def test_iso_and_date9_are_one_day(text):
    assert parse_date(text) == (dt.date(2020, 12, 31), "day")


@pytest.mark.parametrize("text", ["2020-12", "DEC2020", "UNDEC2020", "UN-DEC-2020", "2020", "2020---15", "UNUNK2020"])
def test_a_part_of_a_date_is_refused_unless_a_rule_is_given(text):
    with pytest.raises(DataError, match="partial_dates"):
        parse_date(text)


@pytest.mark.parametrize(
    ("text", "first", "middle", "last"),
    [
        ("2020-02", (2020, 2, 1), (2020, 2, 15), (2020, 2, 29)),
        ("FEB2021", (2021, 2, 1), (2021, 2, 15), (2021, 2, 28)),
        ("2020", (2020, 1, 1), (2020, 7, 1), (2020, 12, 31)),
    ],
)
def test_each_rule_takes_the_day_that_it_says(text, first, middle, last):
    found = [parse_date(text, rule).date for rule in ("first", "middle", "last")]
    assert found == [dt.date(*day) for day in (first, middle, last)]


@pytest.mark.parametrize("text", ["03/04/2020", "31.12.2020", "1-2-20"])
def test_numbers_whose_order_is_not_known_are_refused(text):
    with pytest.raises(DataError, match="does not say which number is the day"):
        parse_date(text)


@pytest.mark.parametrize("text", ["2020-02-30", "31FEB2020", "2020-13-01", "soon", "20201231", "31DEZ2020"])
def test_what_is_no_date_is_refused(text):
    with pytest.raises(DataError, match="is no"):
        parse_date(text, "first")


@given(st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)))
def test_a_whole_date_is_the_same_in_both_writings_under_every_rule(day):
    for rule in ("refuse", "first", "middle", "last"):
        assert parse_date(day.isoformat(), rule).date == day
        assert parse_date(day.strftime("%d%b%Y"), rule).date == day


def test_a_column_counts_what_it_imputed_and_names_the_row_that_it_refuses():
    column = pd.Series(["2020-12", None, "31DEC2020", "2020-12"], index=[2, 3, 4, 5], name="ASTDTC", dtype=object)
    dates, findings = as_dates(column, rule="last")
    assert dates.isna().tolist() == [False, True, False, False]
    assert dates.dropna().eq(pd.Timestamp("2020-12-31")).all()
    assert [(one.rule, one.subject, one.count, one.severity) for one in findings] == [
        ("partial date", "ASTDTC", 2, "warning")
    ]
    with pytest.raises(
        DataError,
        match=r"Column 'ASTDTC', file row 2: a value written as '9999-99' \(9 stands .*\) is a date without its day",
    ):
        as_dates(column)


def test_typed_dates_pass_and_lose_their_time_of_day():
    dates, findings = as_dates(pd.Series(pd.to_datetime(["2020-01-01T13:00"]), name="ADT"))
    assert dates.tolist() == [pd.Timestamp("2020-01-01")]
    assert findings == ()


@pytest.mark.parametrize("text", ["9999-12-31", "31DEC9999", "1066-10-14"])
def test_a_sentinel_is_no_date(text):
    with pytest.raises(DataError, match="outside the years 1800 to 2200"):
        parse_date(text)
    with pytest.raises(DataError, match="outside the years 1800 to 2200"):
        as_dates(pd.Series([text], name="ADT", dtype=object))


def test_a_typed_sentinel_is_no_date():
    with pytest.raises(DataError, match="row 1: the date lies outside the years"):
        as_dates(pd.Series(pd.to_datetime(["2020-01-01", "2261-12-31"]), name="ADT"))


@pytest.mark.parametrize("value", [20_201_231.0, 1.5, -1e9])
def test_a_number_that_counts_no_days_is_no_date(value):
    dates, findings = as_dates(pd.Series([22_280.0, None], name="ADT"))
    assert dates.iloc[0] == pd.Timestamp("2020-12-31")
    assert findings[0].rule == "date without format"
    with pytest.raises(DataError, match="is no count of days from 1960"):
        as_dates(pd.Series([value], name="ADT"))

"""From text to types."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.data.columns import (
    as_binary,
    as_code,
    as_codes,
    as_events,
    as_numbers,
    as_times,
    is_yes,
    mixed_spelling,
    require_columns,
)
from trialml.errors import DataError


def column(*values, name="x"):
    return pd.Series(values, index=pd.RangeIndex(2, 2 + len(values)), dtype=object, name=name)


def subjects(count):
    return column(*(f"S{row}" for row in range(count)), name="id")


def test_numbers_keep_missing_values_and_refuse_words():
    numbers = as_numbers(column("1", None, "-2.5e3"), subjects=subjects(3))
    np.testing.assert_array_equal(numbers, [1, np.nan, -2500])
    with pytest.raises(
        DataError, match=r"Column 'x', file row 3: \(a text, not shown\) is not a number \(2 rows in all\); correct"
    ):
        as_numbers(column("1", "two", "three"), subjects=subjects(3))


@pytest.mark.parametrize("value", ["inf", "-inf", "Infinity", "1e400", "1e16", "0x1F", "1_000", "2020-01-03", "True"])
def test_what_is_no_finite_measurement_is_refused(value):
    with pytest.raises(DataError, match="file row 2"):
        as_numbers(column(value), subjects=subjects(1))


def test_a_decimal_comma_is_read_where_the_file_has_one():
    assert as_numbers(column("1,5"), subjects=subjects(1), decimal_comma=True).tolist() == [1.5]
    with pytest.raises(DataError, match="'1,5' is not a number"):
        as_numbers(column("1,5"), subjects=subjects(1))


@pytest.mark.parametrize("value", ["0", "-1", "-0.0", "0.0"])
def test_times_are_positive(value):
    with pytest.raises(DataError, match="not a positive time"):
        as_times(column("3", value), subjects=subjects(2))


def test_an_identifier_in_the_wrong_column_is_not_printed():
    with pytest.raises(DataError) as error:
        as_times(column("S0", "S1"), subjects=subjects(2))
    assert "S0" not in str(error.value)
    assert "(an identifier, not shown)" in str(error.value)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("TRUE", "False"), ("yes", "No"), ("1.", "0.")])
def test_event_codes_are_0_and_1_or_boolean(yes, no):
    assert as_events(column(yes, no, None), (), (), subjects=subjects(3)).tolist() == [True, False, None]


def test_mapped_event_codes_are_the_only_ones():
    events = as_events(column("Death", "2.0", "TRUE"), ("Death", "2"), ("true",), subjects=subjects(3))
    assert events.tolist() == [True, True, False]
    with pytest.raises(DataError, match="'1' is no known event code; map it"):
        as_events(column("1"), ("Death",), ("Alive",), subjects=subjects(1))


def test_binary_values_are_0_and_1():
    assert as_binary(column("1.0", "no"), subjects=subjects(2)).tolist() == [1.0, 0.0]
    with pytest.raises(DataError, match="neither 0 nor 1"):
        as_binary(column("2"), subjects=subjects(1))


@given(st.integers(-(10**9), 10**9))
def test_a_whole_number_is_one_code_however_it_is_written(number):
    assert as_code(number) == as_code(str(number)) == as_code(float(number)) == as_code(f" {number}.00 ")


def test_codes_that_differ_stay_different():
    assert len({as_code(value) for value in ("1", "01", "1.5", "a", "A", "1.0x", True, "")}) == 8


def test_a_missing_column_is_named_with_the_nearest():
    with pytest.raises(DataError, match=r"'dayz' .*time.* the nearest name is 'days'"):
        require_columns(pd.DataFrame(columns=["days", "arm"]), {"[[endpoints]] time": "dayz"}, "x.csv")


@pytest.mark.parametrize(("yes", "no"), [("Y", "N"), ("y", "n"), ("Yes", "NO")])
def test_y_and_n_are_read_as_they_are_meant(yes, no):
    assert as_binary(column(yes, no), subjects=subjects(2)).tolist() == [1.0, 0.0]
    assert as_events(column(yes, no), (), (), subjects=subjects(2)).tolist() == [True, False]


def test_yes_in_several_spellings_is_a_finding_with_the_count_of_the_rarer_ones():
    found = mixed_spelling(column("Yes", "Yes", "Y", "no", None, "y"))
    assert found is not None
    assert (found.rule, found.subject, found.count) == ("mixed spelling", "x", 2)
    assert "yes as 'Y', 'Yes', 'y'" in found.finding
    assert mixed_spelling(column("Yes", "no", None, "Yes")) is None
    assert mixed_spelling(column("1", "1.0", "0")) is None


def test_a_flag_is_yes_no_or_blank_or_a_code_of_its_own():
    assert is_yes(column("Y", "n", None, "yes")).tolist() == [True, False, False, True]
    assert is_yes(column("ITT", "PP", None), value="ITT").tolist() == [True, False, False]
    with pytest.raises(DataError, match="file row 3: the value is no flag"):
        is_yes(column("Y", "ITT"))


def test_typed_columns_are_read_as_their_text_would_be():
    typed = pd.Series([1.0, np.nan, 0.0], name="x")
    assert as_codes(typed).tolist() == ["1", None, "0"]
    assert as_events(typed, (), (), subjects=subjects(3)).tolist() == [True, None, False]
    np.testing.assert_array_equal(as_numbers(typed, subjects=subjects(3)), typed)
    dates = pd.Series(pd.to_datetime(["2020-12-31", "2020-12-31T10:00"], format="ISO8601"), name="d")
    assert as_codes(dates).tolist() == ["2020-12-31", "2020-12-31T10:00:00"]
    with pytest.raises(DataError, match="is a date and no number"):
        as_numbers(dates, subjects=subjects(2))


def test_a_comma_in_a_number_asks_for_the_decimal_mark():
    with pytest.raises(DataError, match=r"'1,234' is not a number; give \[data\] decimal"):
        as_numbers(column("1,234"), subjects=subjects(1))


def test_two_decimal_marks_in_one_file_are_refused():
    with pytest.raises(DataError, match=r"'2.5' is not a number; the file's other numbers carry a decimal comma"):
        as_numbers(column("1,5", "2.5"), subjects=subjects(2), decimal_comma=True)

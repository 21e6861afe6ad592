"""Baseline covariates from visits: right, blind to the future, and blind to the order of rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trialml.data.visits import SUMMARIES, summarise_visits
from trialml.errors import DataError

TIMES = st.integers(-400, 400).map(float)
VALUES = st.one_of(st.floats(-1e6, 1e6), st.just(math.nan))
ROWS = st.lists(st.tuples(st.integers(-1, 5), st.one_of(TIMES, st.just(math.nan)), VALUES), max_size=60)


def summaries(rows, **keywords):
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return summarise_visits(*(np.asarray(column) for column in columns), subjects=6, **keywords)


def same(first, second):
    return all(np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True) for name in SUMMARIES)


def test_each_summary_is_what_its_formula_says():
    """Expected by hand: times -28, -14, 0 with 10, 16, 13 have mean 13, SD 3 and slope 42 / 392 a day."""
    found = summaries([(0, 0, 13.0), (0, -28, 10.0), (0, -14, 16.0), (0, 7, 99.0), (2, -3, 5.0)])
    expected = {"last": 13, "mean": 13, "slope": 42 / 392, "sd": 3, "visits": 3, "since_last": 0}
    for name, value in expected.items():
        assert getattr(found, name)[0] == pytest.approx(value, rel=1e-12)
    assert [getattr(found, name)[2] for name in ("last", "mean", "visits", "since_last")] == [5, 5, 1, 3]
    assert math.isnan(found.slope[2])
    assert math.isnan(found.sd[2])
    assert math.isnan(found.last[1])
    assert found.visits[1] == 0
    assert (found.used, found.after) == (4, 1)


def test_the_slope_is_that_of_scipy_also_far_from_zero():
    """Oracle: scipy.stats.linregress, on values with a large offset."""
    draw = np.random.default_rng(4)
    place, time = np.repeat(np.arange(6), 20), -draw.permutation(4000)[:120] / 10
    value = 1e6 + draw.normal(0, 1, 120) + 0.01 * time
    found = summarise_visits(place, time, value, subjects=6)
    for subject in range(6):
        own = place == subject
        expected = stats.linregress(time[own] - time[own].mean(), value[own] - 1e6).slope
        assert found.slope[subject] == pytest.approx(expected, rel=1e-8)
        assert found.sd[subject] == pytest.approx(np.std(value[own] - 1e6, ddof=1), rel=1e-8)


@given(ROWS, st.lists(st.tuples(st.integers(0, 5), st.integers(1, 400).map(float), VALUES), max_size=20))
def test_whatever_happens_after_time_zero_changes_no_summary(rows, later):
    before = [row for row in rows if not row[1] > 0]
    found = summaries(before)
    assert same(found, summaries(rows))
    assert same(found, summaries([*later, *rows]))
    assert same(found, summaries([*rows, (0, 3.0, math.inf), (1, math.inf, 1.0)]))
    changed = [(place, time, 0.5 * value + 1) if time > 0 else (place, time, value) for place, time, value in rows]
    assert same(found, summaries(changed))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert same(summaries(rows), summaries(shuffled))


@given(ROWS)
def test_every_row_is_used_or_counted_as_passed_over(rows):
    found = summaries(rows)
    assert found.used + found.after + found.without_value + found.without_time + found.unknown == len(rows)


def test_values_of_one_time_are_one_visit_with_their_mean():
    found = summaries([(0, -7, 1.0), (0, 0, 4.0), (0, 0, 8.0)])
    assert (found.last[0], found.mean[0], found.visits[0], found.ties) == (6, 3.5, 2, 2)
    assert found.slope[0] == pytest.approx(5 / 7, rel=1e-12)
    only = summaries([(0, 0, 4.0), (0, 0, 8.0)])
    assert only.last[0] == 6
    assert math.isnan(only.slope[0])


def test_a_row_at_time_zero_is_baseline_unless_it_is_left_out():
    rows = [(0, -7, 1.0), (0, 0, 4.0)]
    assert summaries(rows).last[0] == 4
    without = summaries(rows, include_zero=False)
    assert (without.last[0], without.since_last[0], without.after) == (1, 7, 1)


def test_a_last_visit_without_a_value_gives_the_one_before():
    found = summaries([(0, -7, 1.0), (0, 0, math.nan)])
    assert (found.last[0], found.since_last[0], found.without_value) == (1, 7, 1)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0, -1, math.inf)], "infinite value"),
        ([(0, -math.inf, 1.0)], "infinite time"),
        ([(6, -1, 1.0)], "there are 6"),
    ],
)
def test_what_cannot_be_a_visit_is_refused(rows, words):
    with pytest.raises(DataError, match=words):
        summaries(rows)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="arrays of one length"):
        summarise_visits([0], [1.0, 2.0], [1.0], subjects=1)

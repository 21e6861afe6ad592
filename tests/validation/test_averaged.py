"""Measures averaged over repeats: by hand, one repeat unchanged, and repeats that do not fit refused."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from trialml.errors import DataError
from trialml.validation.averaged import average_by_group, average_performance
from trialml.validation.by_group import performance_by_group
from trialml.validation.performance import performance


@pytest.fixture(scope="module")
def world():
    draw = np.random.default_rng(4)
    risk = draw.uniform(0.1, 0.9, 300)
    time = draw.exponential(200 / risk)
    end, other = draw.uniform(300, 900, 300), draw.exponential(2000, 300)
    first = np.minimum.reduce([time, end, other])
    return first, first == time, first == other, risk, draw


def judged(world, noise):
    time, event, competing, risk, draw = world
    shown = np.clip(risk + noise * draw.normal(size=300), 0.01, 0.99)
    known = {"kind": "crossfit", "unit": "days", "competing": competing}
    two = performance(time, event, {"a": shown, "b": np.full(300, 0.4)}, horizons=[250], **known)
    groups = np.where(np.arange(300) % 2, "x", "y")
    return two, performance_by_group(time, event, shown, groups, factor="half", horizon=250, **known)


def test_numbers_and_errors_are_means_and_p_is_of_the_mean_difference(world):
    (one, one_by), (two, two_by) = judged(world, 0.05), judged(world, 0.3)
    both = average_performance([one, two])
    for column in ("value", "low", "high", "se"):
        assert np.allclose(both.measures[column], (one.measures[column] + two.measures[column]) / 2, rtol=1e-14)
        by = average_by_group([one_by, two_by]).measures[column]
        assert np.allclose(by, (one_by.measures[column] + two_by.measures[column]) / 2, rtol=1e-14)
    gap = both.measures[(both.measures["measure"] == "Brier score") & (both.measures["reference"] == "a")].iloc[0]
    assert gap["p"] == pytest.approx(math.erfc(abs(gap["value"] / gap["se"]) / math.sqrt(2)), rel=1e-14)


def test_one_repeat_is_left_as_it_is(world):
    one, by = judged(world, 0.1)
    pd.testing.assert_frame_equal(average_performance([one]).measures, one.measures)
    assert average_by_group([by]).to_dict() == by.to_dict()


def test_repeats_that_do_not_fit_are_refused(world):
    one, _ = judged(world, 0.1)
    other = dataclasses.replace(one, measures=one.measures.iloc[1:].reset_index(drop=True))
    with pytest.raises(DataError, match="repeat 2 does not measure what the first does"):
        average_performance([one, other])
    with pytest.raises(DataError, match="no repeat to average"):
        average_performance([])

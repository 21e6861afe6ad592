"""One tolerance for every comparison of times."""

import numpy as np
import pandas as pd
import pytest

from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.survival.milestone import milestone_survival
from trialml.survival.ties import TIE_TOLERANCE, distinct_times, not_after, snapped, tied_times


def test_trap_7_a_time_within_the_tolerance_of_another_is_not_after_it_and_not_before_it():
    t = 730.0
    times = t * (1 + np.array([-1e-3, -1e-12, 0.0, 1e-12, 1e-3]))
    np.testing.assert_array_equal(not_after(times, t), [True, True, True, True, False])
    np.testing.assert_array_equal(not_after(t, times), [False, True, True, True, True])
    assert not not_after(np.inf, t)
    assert not_after(t, np.inf)


def test_tied_times_have_one_value_and_that_of_the_time_they_will_be_compared_with():
    time = np.array([5.0, 3.0, 5.0 * (1 + 1e-12), 7.0 * (1 - 1e-12), 3.0 * (1 - 1e-12), 9.0])
    np.testing.assert_array_equal(tied_times(time, 7.0), [5.0, time[4], 5.0, 7.0, time[4], 9.0])
    np.testing.assert_array_equal(tied_times(time, 100.0)[3], time[3])


def test_tying_times_twice_is_tying_them_once_and_leaves_the_runs_of_distinct_times():
    generator = np.random.default_rng(1)
    time = np.ceil(generator.exponential(5, 200)) * (1 + generator.uniform(-1e-11, 1e-11, 200))
    once = tied_times(time, 6.0)
    np.testing.assert_array_equal(tied_times(once, 6.0), once)
    np.testing.assert_array_equal(distinct_times(once)[1], distinct_times(time)[1])
    assert len(np.unique(once)) == len(distinct_times(time)[0])


def test_times_snap_onto_the_nearest_known_time_within_the_tolerance_and_onto_no_other():
    onto = np.array([2.0, 4.0, 4.0 * (1 + 3 * TIE_TOLERANCE)])
    time = np.array([1.0, 2.0 - 1e-12, 2.0 + 1e-12, 3.0, 4.0 * (1 + 0.4e-9), 4.0 * (1 + 2.7e-9), 5.0])
    np.testing.assert_array_equal(snapped(time, onto), [1.0, 2.0, 2.0, 3.0, 4.0, onto[2], 5.0])


def test_trap_7_a_follow_up_that_misses_the_horizon_by_a_rounding_error_reaches_it():
    """An arm's milestone and a model's risk at 12 months, the last patients cut at 12 less a rounding error."""
    generator = np.random.default_rng(2)
    time = np.minimum(np.ceil(generator.exponential(12, 200)), 12.0)
    event, treated = time < 12, np.arange(200) % 2 == 0
    short = np.where(event, time, 12 * (1 - 1e-13))
    call = {"control": "False", "experimental": "True", "at": 12.0}
    gaps = [milestone_survival(t, event, treated.astype(str), **call).difference for t in (time, short)]
    assert (gaps[1].value, gaps[1].se) == pytest.approx((gaps[0].value, gaps[0].se), rel=1e-10)
    X = pd.DataFrame({"x": generator.normal(size=200)})
    risks = [CoxRidge(penalties=(8.0,)).fit(X, survival_outcome(t, event)).risk(X, 12.0) for t in (time, short)]
    np.testing.assert_allclose(risks[1], risks[0], rtol=1e-8)

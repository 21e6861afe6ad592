"""Traps that a statistician catches in five minutes, each with the answer of this folder."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from trialml.errors import AnalysisError
from trialml.survival.cumulative_incidence import cumulative_incidence
from trialml.survival.gray import gray_test
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.logrank import logrank
from trialml.survival.nelson_aalen import nelson_aalen
from trialml.survival.rmst import restricted_mean


def test_trap_7_one_tolerance_makes_the_same_ties_in_every_estimator():
    """A third of a month added up thrice is a month for the curve, the test, the incidence and Gray's test alike."""
    third = 30.4375 / 3
    time = np.array([30.4375, third + third + third, 60.0, 61.0])
    event, group = [1, 1, 1, 0], list("abab")
    assert kaplan_meier(time, event).frame()["n_event"].tolist() == [2, 1, 0]
    assert cumulative_incidence(time, event).frame()["n_event"].tolist() == [2, 1, 0]
    exact = np.array([30.4375, 30.4375, 60.0, 61.0])
    assert logrank(time, event, group).chi_square == logrank(exact, event, group).chi_square
    assert gray_test(time, event, group).tests["chi_square"][0] == gray_test(exact, event, group).tests["chi_square"][0]


def test_trap_10_censoring_competing_deaths_overstates_the_risk_of_relapse():
    draw = np.random.default_rng(1)
    relapse, death = draw.exponential(20, 2000), draw.exponential(10, 2000)
    time, cause = np.minimum(relapse, death), np.where(relapse < death, 1, 2)
    found = cumulative_incidence(time, cause).at(20, "1").value
    naive = 1 - kaplan_meier(time, cause == 1).at(20).value
    true = (1 / 20) / (1 / 20 + 1 / 10) * (1 - np.exp(-20 * (1 / 20 + 1 / 10)))
    assert found == pytest.approx(true, abs=0.03)
    assert naive > true + 0.2


def test_trap_14_follow_up_is_that_of_the_censoring_with_limits_and_not_the_median_of_times():
    draw = np.random.default_rng(2)
    failed, cut = draw.exponential(10, 4000), draw.uniform(20, 40, 4000)
    found = kaplan_meier(np.minimum(failed, cut), failed <= cut).follow_up()
    assert found.low < 30 < found.high
    assert np.median(np.minimum(failed, cut)) < 10


def test_trap_41_tau_is_held_to_the_shorter_arm_and_not_to_the_pooled_follow_up():
    time, event, group = [5, 10, 20, 30], [1, 0, 1, 0], list("aabb")
    with pytest.raises(AnalysisError, match="arm 'a' ends at 10 with patients still event-free"):
        restricted_mean(time, event, group, control="a", experimental="b", tau=20)


def test_trap_42_a_stratified_test_sees_what_the_imbalance_of_strata_hides():
    """Within strata the new arm does better; it has more of the high-risk stratum, so the plain test turns round."""
    draw = np.random.default_rng(3)
    stratum = np.repeat(["low", "high"], 1000)
    new = draw.random(2000) < np.where(stratum == "high", 0.8, 0.2)
    time = draw.exponential(np.where(stratum == "high", 5, 30) * np.where(new, 1.3, 1.0)) + 0.001
    arm = np.where(new, "new", "old")
    call = {"order": ["old", "new"]}
    assert logrank(time, np.ones(2000, bool), arm, **call).z > 2
    assert logrank(time, np.ones(2000, bool), arm, strata=stratum, **call).z < -2


def test_trap_70_the_number_at_risk_at_a_time_counts_who_leaves_at_it_and_limits_name_their_kind():
    found = kaplan_meier([10, 10, 20, 30], [1, 0, 1, 0], interval="plain")
    assert found.numbers_at_risk([0, 10, 10.5, 20, 31])["All patients"].tolist() == [4, 4, 2, 2, 0]
    assert "plain limits" in found.text()
    assert "plain limits" in found.median().method


def test_trap_70_with_delayed_entry_the_tail_is_cut_by_the_largest_risk_set_and_the_early_steps_stay():
    entry = np.concatenate(([0.0, 0.0], np.full(98, 5.0)))
    time = np.concatenate(([1.0, 6.0], np.arange(7.0, 105)))
    for found in (kaplan_meier, nelson_aalen):
        figure = Figure()
        found(time, np.ones(100, bool), entry=entry).draw(figure)
        drawn = figure.axes[0].lines[0].get_xdata()
        assert drawn[1] == 1
        assert drawn[-1] == 95


def test_trap_71_a_median_that_is_not_reached_is_printed_nr_and_survives_json():
    found = kaplan_meier([10, 20, 30, 40], [1, 0, 0, 0])
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.median().text().startswith("NR")
    assert "inf" not in again.text()
    assert "nan" not in again.table().to_string().lower()

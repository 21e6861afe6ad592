"""Interim analyses and estimates at the end as results: what they say, and what they refuse."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

from trialml.design.group_sequential import Design
from trialml.design.interim_analysis import interim_analysis
from trialml.design.sequential_estimate import sequential_estimate
from trialml.errors import AnalysisError
from trialml.result import Result

LOOKS = Design(information_fractions=(0.5, 0.75, 1.0))
STOPS = Design(information_fractions=(0.5, 0.75, 1.0), futility_z=(0.0, 0.8))


def test_repeated_limits_are_the_estimate_and_the_critical_value_over_the_root_of_the_information():
    """exp(-(z -+ c) 2 / sqrt(130)) at 1:1, Jennison and Turnbull 2000, chapter 9."""
    found = interim_analysis(LOOKS, (1.9,), events=(130,)).estimate
    c = LOOKS.critical_values[0]
    expected = [math.exp(-(1.9 + shift) * 2 / math.sqrt(130)) for shift in (0.0, c, -c)]
    assert (found.value, found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert found.kind == "direct"
    assert found.scale == "hazard ratio"
    assert found.level == 0.95


def test_events_at_two_to_one_carry_two_ninths_of_information():
    wide = Design(information_fractions=(0.5, 1.0), allocation_ratio=2)
    by_events = interim_analysis(wide, (1.5,), events=(90,))
    by_information = interim_analysis(wide, (1.5,), information=(20.0,), scale="hazard ratio")
    assert by_events.estimate.value == pytest.approx(by_information.estimate.value, rel=1e-12)


@pytest.mark.parametrize(
    ("scale", "turn"),
    [("log hazard ratio", math.log), ("effect", lambda ratio: -math.log(ratio)), ("ratio", lambda ratio: 1 / ratio)],
)
def test_every_scale_says_the_same(scale, turn):
    ratio = interim_analysis(LOOKS, (1.9,), events=(130,), assumed_effect=0.7, prior=(0.8, 0.3))
    other = interim_analysis(
        LOOKS, (1.9,), events=(130,), assumed_effect=turn(0.7), prior=(turn(0.8), 0.3), scale=scale
    )
    ours = sorted(turn(one) for one in (ratio.estimate.low, ratio.estimate.high))
    assert [other.estimate.low, other.estimate.high] == pytest.approx(ours, rel=1e-10)
    assert other.predictive_power == pytest.approx(ratio.predictive_power, rel=1e-10)
    assert other.conditional_power("assumed effect") == pytest.approx(
        ratio.conditional_power("assumed effect"), rel=1e-10
    )


def test_bounds_follow_the_information_observed_where_the_maximum_is_given():
    found = interim_analysis(LOOKS, (1.9,), events=(130,), maximum_events=265)
    assert found.looks["information_fraction"].iloc[0] == pytest.approx(130 / 265)
    spent = 2 * norm.cdf(norm.ppf(0.0125) / math.sqrt(130 / 265))
    assert found.looks["critical_z"].iloc[0] == pytest.approx(norm.isf(spent), abs=1e-9)
    assert found.to_come["information"].iloc[-1] == pytest.approx(265 / 4)


def test_an_unplanned_look_is_taken_up_by_the_spending_function():
    z = (1.0, 1.4, 1.6, 2.2)
    found = interim_analysis(LOOKS, z, events=(100, 150, 210, 270), maximum_events=270)
    assert found.design.looks == 4
    assert found.looks["decision"].tolist()[:3] == ["continue"] * 3
    assert found.looks["repeated_p"].notna().all()
    assert not len(found.to_come)
    assert math.isnan(found.predictive_power)
    assert "conditional power" not in found.text()


def test_on_planned_information_the_updated_bounds_are_the_planned_ones():
    planned = interim_analysis(LOOKS, (1.5, 2.0), information=(50.0, 75.0), assumed_effect=0.3)
    updated = interim_analysis(
        LOOKS, (1.5, 2.0), information=(50.0, 75.0), maximum_information=100.0, assumed_effect=0.3
    )
    np.testing.assert_allclose(planned.looks["critical_z"], updated.looks["critical_z"], atol=1e-9)
    assert planned.conditional_power("assumed effect") == pytest.approx(
        updated.conditional_power("assumed effect"), abs=1e-9
    )
    assert planned.sequential_p == pytest.approx(updated.sequential_p, abs=1e-9)


@pytest.mark.parametrize(
    ("design", "z", "decision"),
    [
        (LOOKS, (3.0,), "reject"),
        (LOOKS, (1.0,), "continue"),
        (STOPS, (-0.2,), "stop for futility"),
        (Design(information_fractions=(0.5, 1.0), sides=2), (-3.1,), "reject in favour of control"),
        (Design(), (1.0,), "do not reject"),
    ],
)
def test_decisions_follow_the_bounds(design, z, decision):
    found = interim_analysis(design, z, information=(50.0,))
    assert found.looks["decision"].iloc[-1] == decision
    assert decision in found.text()


def test_conditional_power_under_the_trend_lies_between_no_effect_and_a_larger_effect():
    found = interim_analysis(LOOKS, (1.5,), events=(130,), assumed_effect=0.6)
    powers = [found.conditional_power(one) for one in ("no effect", "observed trend", "assumed effect")]
    assert powers == sorted(powers)
    assert math.isnan(found.conditional_power("no such effect"))


def test_the_analysis_says_that_alpha_is_one_sided_and_survives_being_stored():
    found = interim_analysis(STOPS, (1.2,), events=(130,), assumed_effect=0.7)
    again = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    assert again.table().equals(found.table())
    assert "alpha 0.025 one-sided" in found.text()
    assert found.chapter == "design"
    assert set(found.frame()["held"]) == {True, False}
    assert {"predictive_power", "conditional_power_assumed_effect", "effect_low"} <= set(found.scalars())
    figure = Figure()
    found.draw(figure)
    assert len(figure.axes) == 1


def test_the_estimate_at_the_end_says_how_it_was_got_and_survives_being_stored():
    found = sequential_estimate(LOOKS, (1.9, 2.5), events=(130, 200))
    again = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    assert "median-unbiased hazard ratio is 0.704 (95% CI 0.533 to 0.930)" in found.text()
    assert found.rejected
    assert found.estimate.method == "median-unbiased, stage-wise order"
    assert found.two_sided_p == pytest.approx(2 * found.p)
    assert found.heading() == "Effect at the end of a group-sequential trial"


def test_the_interval_excludes_no_effect_exactly_where_the_trial_rejects():
    for last in (1.9, 2.01, 2.02, 2.6):
        found = sequential_estimate(LOOKS, (1.0, 1.5, last), information=(50.0, 75.0, 100.0))
        assert (found.low > 0) == found.rejected == (found.p <= 0.025)


def test_binding_futility_bounds_count_in_the_stagewise_order_and_others_do_not():
    """P(go on at all looks, then z >= 2.0): less where paths below a binding bound are out."""
    z, information = (1.0, 1.5, 2.0), (50.0, 75.0, 100.0)
    bound = Design(information_fractions=(0.5, 0.75, 1.0), futility_z=(0.0, 0.8), binding=True)
    plain, free, binding = (sequential_estimate(one, z, information=information).p for one in (LOOKS, STOPS, bound))
    assert free == pytest.approx(plain, rel=1e-12)
    assert binding < plain


@pytest.mark.parametrize("z", [-40.0, -15.0, 15.0, 40.0])
def test_far_results_have_their_numbers(z):
    """At the first look the stage-wise numbers are the plain ones, however far out."""
    looks = interim_analysis(LOOKS, (z,), information=(50.0,))
    assert looks.looks["repeated_p"].iloc[0] == pytest.approx(0.5 if z < 0 else 1e-12, rel=1e-9)
    found = sequential_estimate(LOOKS, (z,), information=(50.0,), final=True)
    assert found.median_unbiased == pytest.approx(z / math.sqrt(50), rel=1e-9)


def test_a_trial_stopped_for_futility_has_an_estimate():
    found = sequential_estimate(STOPS, (-0.2,), information=(50.0,))
    assert not found.rejected
    assert found.median_unbiased == pytest.approx(-0.2 / math.sqrt(50), rel=1e-9)


def test_a_trial_that_ended_early_for_other_reasons_spends_what_is_left():
    found = sequential_estimate(LOOKS, (1.0, 2.1), events=(130, 180), maximum_events=265, final=True)
    assert found.design.looks == 2
    assert found.rejected
    assert found.p <= 0.025


@pytest.mark.parametrize(
    ("z", "options", "sentence"),
    [
        ((1.9,), {}, "measured once: give information or events"),
        ((1.9,), {"events": (130,), "information": (32.0,)}, "measured once"),
        ((1.9,), {"events": (130,), "maximum_information": 60.0}, "give maximum_events"),
        ((1.9,), {"information": (32.0,), "maximum_events": 265}, "give maximum_information"),
        ((1.9,), {"events": (-130,)}, "a number of events is -130"),
        ((1.9,), {"events": (130,), "assumed_effect": -0.7}, "the assumed ratio is -0.7: give a finite number above 0"),
        ((1.9,), {"events": (130,), "scale": "hazard"}, "the scale 'hazard' of the effect is not known"),
        ((1.9,), {"events": (130,), "prior": (0.8, 0.0)}, "the standard deviation of the prior is 0"),
        ((1.9, 2.0), {"events": (200, 130)}, "give numbers that increase"),
        ((1.9,), {"events": 130}, "events is 130: give one number for every look held"),
        ((1.9,), {"events": (130,), "prior": 0.8}, "the prior is 0.8"),
        ((1.9,), {"events": (130,), "prior": (0.8, 0.1, 2)}, "give its mean and its standard deviation"),
        ((1.9,), {"events": (130,), "prior": (-0.8, 0.1)}, "the assumed ratio is -0.8"),
    ],
)
def test_interim_analyses_that_make_no_sense_are_refused_in_a_sentence(z, options, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        interim_analysis(LOOKS, z, **options)


@pytest.mark.parametrize(
    ("z", "sentence"),
    [
        ((1.9,), "at look 1 of 3 z is 1.900, short of the critical value 2.963, so the trial goes on"),
        ((3.1, 2.0), r"look 1 of the 2 held crossed a bound that ends the trial \(z 3.100\)"),
    ],
)
def test_a_trial_that_has_not_ended_or_went_on_past_its_end_has_no_stagewise_estimate(z, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        sequential_estimate(LOOKS, z, information=(50.0, 75.0)[: len(z)])

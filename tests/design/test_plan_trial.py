"""The plan of a survival trial against rpact 3.3.4, and what it says and draws."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import multivariate_normal

from trialml.design.group_sequential import Design
from trialml.design.means import plan_means
from trialml.design.next_trial import OperatingCharacteristics, operating_characteristics, plan_trial
from trialml.design.scenario import Scenario
from trialml.design.sequential_effect import look_effects
from trialml.errors import AnalysisError

REFERENCE = Path(__file__).parents[1] / "reference"
SEQUENTIAL = json.loads((REFERENCE / "design_survival_gs.json").read_text())["outputs"]
POWER = json.loads((REFERENCE / "design_survival_power.json").read_text())["outputs"]["hr_grid"]
RULES = {
    "asOF_2": ((0.6, 1.0), "lan-demets-obrien-fleming"),
    "asOF_3u": ((0.5, 0.75, 1.0), "lan-demets-obrien-fleming"),
    "asP_3u": ((0.5, 0.75, 1.0), "lan-demets-pocock"),
    "asOF_5": ((0.2, 0.4, 0.6, 0.8, 1.0), "lan-demets-obrien-fleming"),
}


def scenario(**changes):
    plain = {"control_median_months": 12, "hazard_ratio": 0.7, "accrual_per_month": 42.0}
    return Scenario.from_median("planned", **{**plain, "dropout_per_month": -math.log(0.95) / 12, **changes})


def column(stored):
    return [row[0] for row in stored["rows"]]


@pytest.fixture
def three_looks():
    return plan_trial(Design(information_fractions=(0.5, 0.75, 1.0)), scenario(), follow_up_months=18)


@pytest.mark.parametrize("case", sorted(RULES))
def test_an_unrounded_plan_is_rpacts(case):
    """rpact: getSampleSizeSurvival(design, lambda2 = log(2)/12, hazardRatio = .7, accrualTime = c(0, 12),
    followUpTime = 18, dropoutRate1 = dropoutRate2 = .05, dropoutTime = 12); bounds to 1e-6, so events to 1e-6 of
    their number and months to 1e-6."""
    truth, (fractions, spending) = SEQUENTIAL[case], RULES[case]
    design = Design(information_fractions=fractions, spending=spending)
    assumed = scenario(accrual_per_month=truth["maxNumberOfSubjects"] / 12)
    plan = plan_trial(design, assumed, follow_up_months=18, whole_numbers=False)
    looks = plan.looks
    assert looks["critical_z"].to_numpy() == pytest.approx(truth["criticalValues"], abs=1e-6)
    assert looks["events"].to_numpy() == pytest.approx(column(truth["eventsPerStage"]), rel=1e-6)
    assert looks["calendar_months"].to_numpy() == pytest.approx(column(truth["analysisTime"]), abs=1e-5)
    assert looks["enrolled"].to_numpy() == pytest.approx(column(truth["numberOfSubjects"]), rel=1e-6)
    assert looks["hazard_ratio_at_bound"].to_numpy() == pytest.approx(
        column(truth["criticalValuesEffectScale"]), abs=1e-6
    )
    assert looks["one_sided_p"].to_numpy() == pytest.approx(column(truth["criticalValuesPValueScale"]), abs=1e-6)
    assert looks["stop_probability"].to_numpy() == pytest.approx(column(truth["rejectPerStage"]), abs=1e-6)
    assert plan.early_stop_probability == pytest.approx(truth["earlyStop"], abs=1e-6)
    assert plan.patients == pytest.approx(truth["maxNumberOfSubjects"], rel=1e-6)
    assert plan.events == pytest.approx(truth["maxNumberOfEvents"], rel=1e-6)
    assert plan.expected_events == pytest.approx(truth["expectedEventsH1"], rel=1e-6)
    assert plan.expected_duration_months == pytest.approx(truth["studyDurationH1"], abs=1e-5)


def test_events_of_three_looks_at_hazard_ratio_seven_tenths():
    plan = plan_trial(
        Design(information_fractions=(0.5, 0.75, 1.0)), scenario(), follow_up_months=18, whole_numbers=False
    )
    assert plan.looks["events"].to_numpy() == pytest.approx([168.208, 252.312, 336.416], abs=5e-4)


@pytest.mark.parametrize("place", range(4))
def test_power_with_given_events_is_rpacts(place):
    """rpact: getPowerSurvival(asOF at .5/.75/1, maxNumberOfEvents = 335, hazardRatio)$rejectPerStage."""
    design = Design(information_fractions=(0.5, 0.75, 1.0))
    exits = design.exit_probabilities(-math.log(POWER["hazardRatio"][place]) * math.sqrt(335 / 4))
    assert exits == pytest.approx([row[place] for row in POWER["rejectPerStage"]["rows"]], abs=1e-6)


def test_a_fixed_design_has_one_row_and_the_power_it_was_planned_for():
    plan = plan_trial(Design(), scenario(), follow_up_months=18)
    assert len(plan.frame()) == 1
    assert plan.events == 331
    assert 0.9 <= plan.power.value < 0.9 + 0.001
    assert plan.early_stop_probability == 0
    assert plan.expected_events == plan.events


def test_events_are_whole_and_bounds_belong_to_their_fractions(three_looks):
    """A bound planned for another information fraction is never reused: alpha is spent at events / final events."""
    looks = three_looks.looks
    assert list(looks["events"]) == [169, 253, 337]
    assert looks["information_fraction"].to_numpy() == pytest.approx(np.array([169, 253, 337]) / 337, rel=1e-12)
    again = Design(information_fractions=tuple(looks["information_fraction"]))
    assert list(looks["critical_z"]) == list(again.critical_values)
    assert three_looks.patients % 4 == 0
    assert three_looks.power.value >= 0.9


def test_the_calendar_adds_up(three_looks):
    accrual = three_looks.patients / 42
    assert three_looks.duration_months == pytest.approx(accrual + three_looks.follow_up_months, rel=1e-12)
    assert three_looks.duration_months <= accrual + 18
    events = three_looks.scenario.expected_events(three_looks.looks["calendar_months"])
    assert events == pytest.approx(three_looks.looks["events"].to_numpy(), rel=1e-9)


def test_a_given_number_of_patients_sets_the_calendar():
    plan = plan_trial(Design(), scenario(patients=600))
    assert plan.patients == 600
    by_time = plan_trial(Design(), scenario(accrual_months=600 / 42))
    assert by_time.duration_months == pytest.approx(plan.duration_months, rel=1e-10)


def test_a_given_duration_is_kept():
    plan = plan_trial(Design(), scenario(), duration_months=36)
    assert plan.duration_months <= 36
    fewer = scenario(patients=plan.patients - 4)
    assert fewer.months_to_events(plan.events) > 36


def test_freedman_needs_more_events_and_is_named():
    plan = plan_trial(Design(), scenario(), follow_up_months=18, events_formula="freedman")
    assert plan.events == 338
    assert "Freedman's formula" in plan.text()
    assert plan.power.value == pytest.approx(0.9, abs=0.001)


def test_freedman_at_two_to_one_has_rpacts_bound():
    """rpact: getSampleSizeSurvival(typeOfComputation = "Freedman", allocationRatioPlanned = 2): the bound as HR."""
    truth = json.loads((REFERENCE / "design_survival_fixed.json").read_text())["outputs"]["freedman_2"]
    assumed = scenario(allocation_ratio=2.0, dropout_per_month=0.0, accrual_per_month=truth["nFixed"] / 12)
    design = Design(allocation_ratio=2.0)
    plan = plan_trial(design, assumed, follow_up_months=18, whole_numbers=False, events_formula="freedman")
    assert plan.patients == pytest.approx(truth["nFixed"], rel=1e-8)
    bound = truth["criticalValuesEffectScale"]["rows"][0][0]
    assert plan.looks["hazard_ratio_at_bound"].iloc[0] == pytest.approx(bound, rel=1e-8)


@pytest.mark.parametrize("ratio", [0.7696120071712917, 0.2727366857117566, 0.5398751310442256, 0.45, 0.3])
def test_whole_events_never_cost_the_target_power(ratio):
    """The first three ratios lost power in a random search before a further event was allowed."""
    plan = plan_trial(Design(information_fractions=(0.5, 1.0)), scenario(hazard_ratio=ratio), follow_up_months=18)
    assert plan.power.value >= 0.9 - 1e-12


def test_where_everyone_has_the_event_one_more_block_is_enrolled():
    assumed = scenario(control_median_months=0.5, dropout_per_month=0.0)
    plan = plan_trial(Design(), assumed, follow_up_months=36)
    assert plan.patients > plan.events
    assert plan.duration_months < 60


def test_the_text_says_that_alpha_is_one_sided(three_looks):
    text = three_looks.text()
    assert "alpha 0.025 one-sided" in text
    assert "337 events" in text
    assert "none for futility" in text


def test_a_stored_plan_comes_back_equal(three_looks):
    again = OperatingCharacteristics.from_dict(json.loads(json.dumps(three_looks.to_dict())))
    pd.testing.assert_frame_equal(again.frame(), three_looks.frame())
    assert again.scalars() == three_looks.scalars()
    assert again.text() == three_looks.text()
    assert again.design == three_looks.design
    assert again.scenario == three_looks.scenario


def test_the_frame_is_tidy_and_the_table_is_words(three_looks):
    frame = three_looks.frame()
    assert isinstance(frame.index, pd.RangeIndex)
    assert {"events", "calendar_months", "hazard_ratio_at_bound", "patients", "alpha_one_sided"} <= set(frame.columns)
    assert all(isinstance(cell, str) for cell in three_looks.table().to_numpy().ravel())
    assert three_looks.chapter == "design"
    assert three_looks.power.kind == "computed"


@pytest.mark.parametrize("fractions", [(1.0,), (0.5, 1.0), (0.2, 0.4, 0.6, 0.8, 1.0)])
def test_every_plan_can_be_drawn(fractions):
    plan = plan_trial(Design(information_fractions=fractions), scenario(), follow_up_months=18)
    figure = Figure(figsize=plan.figure_size, layout="constrained")
    plan.draw(figure)
    figure.draw_without_rendering()
    assert [axes.get_xlabel() for axes in figure.axes] == ["Months since the first patient", "Events at the look"]


@pytest.mark.parametrize(
    ("design", "changes", "times", "sentence"),
    [
        (Design(), {"hazard_ratio": 1.0}, {"follow_up_months": 12}, "is 1, which does not favour"),
        (Design(), {"hazard_ratio": 1.2}, {"follow_up_months": 12}, "is 1.2, which does not favour"),
        (Design(allocation_ratio=2.0), {}, {"follow_up_months": 12}, "give both the same allocation_ratio"),
        (Design(), {}, {}, "must be given once"),
        (Design(), {}, {"follow_up_months": 12, "duration_months": 30}, "must be given once"),
        (Design(), {"patients": 600}, {"follow_up_months": 12}, "has a number of patients already"),
        (Design(), {"patients": 300}, {}, "300 patients can give at most"),
        (Design(), {"accrual_per_month": 3.0}, {"duration_months": 24}, "gives at most"),
        (Design(), {}, {"follow_up_months": math.nan}, "follow_up_months is nan"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_a_sentence(design, changes, times, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        plan_trial(design, scenario(**changes), **times)


@pytest.mark.parametrize(
    ("ratio", "events", "months", "early", "reject", "patients"),
    [
        (1.0, 334.1227, 28.9179, 0.01929865, 0.05, 499.8983),
        (0.7, 256.8597, 25.28074, 0.6846461, 0.8996465, 500),
        (1.4, 265.1979, 21.45383, 0.6257739, 0.8632919, 485.7147),
    ],
)
def test_a_two_sided_trial_stops_early_for_either_arm_as_in_rpact(ratio, events, months, early, reject, patients):
    """rpact 3.3.4: getPowerSurvival(getDesignGroupSequential(sided = 2, alpha = .05, beta = .1, informationRates =
    c(.5, .75, 1), typeOfDesign = "asOF"), hazardRatio, median2 = 12, accrualTime = c(0, 18), maxNumberOfSubjects = 500,
    maxNumberOfEvents = 336), printed to seven digits."""
    design = Design(information_fractions=(0.5, 0.75, 1.0), sides=2)
    truth = Scenario.from_median(
        "two sides", control_median_months=12, hazard_ratio=ratio, accrual_per_month=500 / 18, patients=500
    )
    found = operating_characteristics(design, truth, events=336)
    assert found.expected_events == pytest.approx(events, rel=1e-6)
    assert found.expected_duration_months == pytest.approx(months, rel=1e-6)
    assert found.early_stop_probability == pytest.approx(early, rel=1e-6)
    assert found.expected_patients == pytest.approx(patients, rel=1e-6)
    both = found.looks["stop_probability"].sum() + found.looks["opposite_probability"].sum()
    assert both == pytest.approx(reject, rel=1e-6)
    assert found.expected_events == pytest.approx(found.expected_events_under(ratio), rel=1e-12)
    assert "0.025 one-sided on each side of a two-sided test" in found.text()


def test_two_sides_under_a_changing_effect_are_the_trivariate_normal_integral():
    """An early harm takes paths away that would reject later: by inclusion and exclusion of the joint distribution."""
    design = Design(information_fractions=(0.4, 0.7, 1.0), sides=2)
    truth = Scenario(
        "crossing",
        accrual_per_month=30,
        control_hazard_per_month=0.06,
        hazard_ratios=(1.8, 0.4),
        hazard_ratio_breaks_months=(0, 5),
        patients=480,
    )
    found = operating_characteristics(design, truth, events=300)
    looks = look_effects(truth, found.looks["calendar_months"].to_numpy())
    scale = np.sqrt(looks.information / looks.null_information)
    bound, mean = np.array(design.critical_values) * scale, looks.theta * np.sqrt(looks.information)
    correlation = np.sqrt(
        np.minimum.outer(looks.information, looks.information) / np.maximum.outer(looks.information, looks.information)
    )

    def within(count):
        signs = itertools.product((1, -1), repeat=count)
        corner = multivariate_normal(mean[:count], correlation[:count, :count], seed=0, abseps=1e-9, maxpts=10**6)
        return sum(math.prod(sign) * corner.cdf(np.array(sign) * bound[:count]) for sign in signs)

    ends = found.looks["stop_probability"] + found.looks["opposite_probability"]
    assert ends.cumsum().to_numpy() == pytest.approx([1 - within(count) for count in (1, 2, 3)], abs=1e-6)
    assert found.looks["opposite_probability"].iloc[0] > 0.005
    assert found.early_stop_probability == pytest.approx(1 - within(2), abs=1e-6)


@pytest.mark.parametrize(("binding", "words"), [(True, "alpha fails if one is overruled"), (False, "alpha holds")])
def test_a_plan_with_futility_says_what_overruling_it_does(binding, words):
    design = Design(information_fractions=(0.5, 1.0), futility_z=(0.0,), binding=binding)
    assert words in plan_trial(design, scenario(), follow_up_months=18).text()
    assert words in plan_means(design, difference=1, sd=2).text()


def test_a_trial_that_ends_before_recruitment_does_says_so():
    """A median of 1, in years, beside 18 months of accrual: the events are there long before the patients are."""
    truth = Scenario.from_median(
        "years", control_median_months=1, hazard_ratio=0.7, accrual_per_month=500 / 18, patients=500
    )
    plan = plan_trial(Design(), truth)
    assert plan.follow_up_months < 0
    assert "before recruitment ends, when 380 patients have entered" in plan.text()
    assert "another unit" in plan.text()
    longer = dataclasses.replace(truth, control_hazard_per_month=math.log(2) / 12)
    assert "recruitment" not in plan_trial(Design(), longer).text()

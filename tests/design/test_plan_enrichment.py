"""Enrichment plans: their arithmetic against the pieces they are made of, their words and their refusals."""

import json
import math

import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.design.assurance import assurance
from trialml.design.enrichment import EnrichmentPlan, Population, plan_enrichment
from trialml.design.group_sequential import Design
from trialml.design.next_trial import plan_trial
from trialml.design.sample_size import survival_events
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError
from trialml.result import Estimate

EVERYONE = {
    "name": "All comers",
    "definition": "everyone",
    "prevalence": 1.0,
    "control_hazard_per_month": 0.03,
    "log_hazard_ratio": math.log(0.78),
    "log_hazard_ratio_se": 0.1,
    "effect_kind": "direct",
    "planning_hazard_ratio": 0.8,
}
ENRICHED = {
    "name": "High expected benefit",
    "definition": "the top 40 % of expected benefit",
    "prevalence": 0.4,
    "prevalence_se": 0.02,
    "control_hazard_per_month": 0.05,
    "log_hazard_ratio": math.log(0.6),
    "log_hazard_ratio_se": 0.16,
    "planning_hazard_ratio": 0.68,
}
DESIGNS = {"fixed": Design(), "two looks": Design(information_fractions=(0.6, 1.0))}
SETTING = {"screened_per_month": 60, "follow_up_months": 12, "dropout_per_month": 0.003}


def population(base, **changes):
    return Population(**{**base, **changes})


def planned(*enriched, designs=DESIGNS, **setting):
    return plan_enrichment([population(EVERYONE), *enriched], designs, **{**SETTING, **setting})


@pytest.fixture
def plan():
    return planned(population(ENRICHED), cost_screen=500, cost_patient=20_000)


def row(plan, name, design="fixed", *, useless=False):
    rows = plan.plans
    found = rows[(rows["population"] == name) & (rows["design"] == design) & (rows["model_useless"] == useless)]
    assert len(found) == 1
    return found.iloc[0]


def test_there_is_a_row_for_each_population_design_and_useless_model(plan):
    labels = list(zip(plan.plans["population"], plan.plans["design"], plan.plans["model_useless"], strict=True))
    assert labels == [
        ("All comers", "fixed", False),
        ("All comers", "two looks", False),
        ("High expected benefit", "fixed", False),
        ("High expected benefit", "fixed", True),
        ("High expected benefit", "two looks", False),
        ("High expected benefit", "two looks", True),
    ]


@pytest.mark.parametrize("name", list(DESIGNS))
def test_an_enriched_plan_is_plan_trial_with_accrual_cut_by_prevalence(plan, name):
    scenario = Scenario(
        "by hand",
        hazard_ratio=0.68,
        accrual_per_month=60 * 0.4,
        control_hazard_per_month=0.05,
        dropout_per_month=0.003,
    )
    by_hand = plan_trial(DESIGNS[name], scenario, follow_up_months=12)
    ours = row(plan, "High expected benefit", name)
    assert ours["events"] == by_hand.events
    assert ours["patients"] == by_hand.patients
    assert ours["screened"] == pytest.approx(by_hand.patients / 0.4)
    assert ours["accrual_months"] == pytest.approx(by_hand.patients / 24)
    assert ours["duration_months"] == pytest.approx(by_hand.duration_months, rel=1e-10)
    assert ours["expected_events"] == pytest.approx(by_hand.expected_events, rel=1e-8)
    assert ours["expected_duration_months"] == pytest.approx(by_hand.expected_duration_months, rel=1e-8)
    assert ours["power"] == pytest.approx(by_hand.power.value, rel=1e-8)
    assert ours["control_risk"] == pytest.approx(1 - math.exp(-0.05 * 24))


def test_all_comers_screen_whom_they_enrol(plan):
    everyone = row(plan, "All comers")
    assert everyone["screened"] == everyone["patients"]
    assert everyone["events"] == math.ceil(survival_events(0.8, alpha=0.025, power=0.9))


def test_assurance_averages_over_the_estimated_effect_of_the_population(plan):
    ours = row(plan, "High expected benefit")
    assert ours["assurance"] == pytest.approx(assurance(ours["events"], math.log(0.6), 0.16, alpha=0.025), rel=1e-12)


def test_a_useless_model_keeps_the_plan_and_takes_the_truth_of_all_comers(plan):
    useful, useless = row(plan, "High expected benefit"), row(plan, "High expected benefit", useless=True)
    for kept in ("events", "patients", "screened", "accrual_months", "cost", "prevalence"):
        assert useless[kept] == useful[kept]
    assert useless["power"] == pytest.approx(assurance(useful["events"], math.log(0.8), 0.0, alpha=0.025), rel=1e-12)
    assert useless["assurance"] == pytest.approx(
        assurance(useful["events"], math.log(0.78), 0.1, alpha=0.025), rel=1e-12
    )
    assert useless["control_risk"] == row(plan, "All comers")["control_risk"]
    truth = Scenario(
        "truth", hazard_ratio=0.8, accrual_per_month=24, control_hazard_per_month=0.03, dropout_per_month=0.003
    )
    assert useless["duration_months"] == pytest.approx(truth.months_to_events(useful["events"], useful["patients"]))
    assert useless["power"] < useful["power"]


def test_a_useless_model_may_mean_that_the_events_never_come():
    plan = planned(population(ENRICHED, planning_hazard_ratio=0.6), follow_up_months=40, dropout_per_month=0.04)
    useless = row(plan, "High expected benefit", useless=True)
    assert math.isnan(useless["duration_months"])
    assert useless["note"].startswith("the events are never reached")
    assert 0 < useless["power"] < 0.9


def test_the_interval_of_the_prevalence_becomes_that_of_the_screened(plan):
    ours = row(plan, "High expected benefit")
    half = 1.959963984540054 * 0.02 / (0.4 * 0.6)
    low = 1 / (1 + math.exp(-(math.log(0.4 / 0.6) - half)))
    assert ours["prevalence_low"] == pytest.approx(low, rel=1e-10)
    assert ours["screened_high"] == pytest.approx(ours["patients"] / low, rel=1e-10)
    assert ours["screened_low"] < ours["screened"] < ours["screened_high"]


def test_a_prevalence_estimate_brings_its_own_interval():
    share = Estimate(0.4, 0.35, 0.45, scale="prevalence")
    ours = row(planned(population(ENRICHED, prevalence=share)), "High expected benefit")
    assert ours["screened_low"] == pytest.approx(ours["patients"] / 0.45)


def test_costs_are_those_of_screening_and_of_patients(plan):
    ours = row(plan, "High expected benefit")
    assert ours["cost"] == pytest.approx(500 * ours["screened"] + 20_000 * ours["patients"])
    assert "Cost" in plan.table().columns
    assert "Cost" not in planned(population(ENRICHED)).table().columns


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.03, "no trial: planning hazard ratio 1.03 is not below 1"),
        (1.0, "no trial: planning hazard ratio 1.00 is not below 1"),
        (0.97, "more than the maximum of 20,000"),
    ],
)
def test_a_population_that_hardly_benefits_gets_words_and_no_numbers(ratio, words):
    plan = planned(population(ENRICHED, planning_hazard_ratio=ratio))
    ours = row(plan, "High expected benefit")
    assert words in ours["note"]
    assert all(math.isnan(ours[name]) for name in ("events", "patients", "screened", "assurance", "duration_months"))
    assert not plan.plans["model_useless"].any()
    assert words in plan.text()
    assert list(plan.table()["Note"])[-2] == ours["note"]


def test_a_plan_that_lasts_too_long_gets_words():
    plan = planned(population(ENRICHED, prevalence=0.02), max_duration_months=120)
    assert "more than 120" in row(plan, "High expected benefit")["note"]
    assert row(plan, "All comers")["note"] == ""


def test_a_duration_alone_sizes_the_trial_or_says_why_not():
    plan = planned(population(ENRICHED, prevalence=0.05), follow_up_months=None, max_duration_months=48)
    everyone = row(plan, "All comers")
    assert everyone["duration_months"] <= 48
    assert "gives at most" in row(plan, "High expected benefit")["note"]


def test_the_text_names_how_effects_were_got_with_their_intervals(plan):
    text = plan.text()
    assert "cross-fitted hazard ratio 0.600, 95% CI 0.438 to 0.821" in text
    assert "alpha 0.025 one-sided" in text
    assert "If the model that selects these patients were useless" in text


def test_an_apparent_effect_is_called_optimistic():
    assert "apparent (optimistic) hazard ratio" in planned(population(ENRICHED, effect_kind="apparent")).text()


def test_a_stored_plan_of_enrichment_comes_back_equal():
    plan = planned(population(ENRICHED), population(ENRICHED, name="Low", planning_hazard_ratio=1.1))
    again = EnrichmentPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    pd.testing.assert_frame_equal(again.frame(), plan.frame())
    assert again.text() == plan.text()
    assert again.scalars() == plan.scalars()


def test_the_table_is_words_and_the_frame_tidy(plan):
    assert isinstance(plan.frame().index, pd.RangeIndex)
    table = plan.table()
    assert all(isinstance(cell, str) for cell in table.to_numpy().ravel())
    assert "High expected benefit, model useless" in set(table["Population"])
    assert "Control risk at 24 months, exponential" in table.columns
    assert plan.chapter == "design"


def test_headline_numbers_name_population_and_design(plan):
    scalars = plan.scalars()
    assert scalars["all_comers_fixed_patients"] == row(plan, "All comers")["patients"]
    assert scalars["high_expected_benefit_fixed_model_useless_power"] < 0.9
    assert not any(math.isnan(value) for value in scalars.values())


def test_every_comparison_can_be_drawn():
    plan = planned(population(ENRICHED), population(ENRICHED, name="Price in $", planning_hazard_ratio=1.1))
    figure = Figure(figsize=plan.figure_size, layout="constrained")
    plan.draw(figure)
    figure.draw_without_rendering()
    heads = [axes.get_title(loc="left") for axes in figure.axes]
    assert heads == ["Patients screened", "Patients enrolled", "Months in all", "Assurance"]
    shown = {text.get_text().strip() for axes in figure.axes for text in axes.texts}
    assert "no trial" in shown
    assert f"{row(plan, 'All comers')['patients']:,.0f}" in shown


def test_results_do_not_depend_on_the_order_of_the_designs(plan):
    turned = planned(
        population(ENRICHED), designs=dict(reversed(DESIGNS.items())), cost_screen=500, cost_patient=20_000
    )
    for name in DESIGNS:
        assert row(turned, "High expected benefit", name).equals(row(plan, "High expected benefit", name))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prevalence": 0.0}, "prevalence of population 'High expected benefit' is 0: give a number above 0"),
        ({"prevalence": 1.2}, "prevalence .* is 1.2: give a number above 0 and at most 1"),
        ({"prevalence": math.nan}, "prevalence .* is nan"),
        ({"prevalence": Estimate(1.4)}, "prevalence .* is 1.4"),
        ({"control_hazard_per_month": 0.0}, "control_hazard_per_month .* is 0"),
        ({"log_hazard_ratio": math.nan}, "log_hazard_ratio .* is nan"),
        ({"log_hazard_ratio_se": -1.0}, "log_hazard_ratio_se .* is -1"),
        ({"planning_hazard_ratio": -0.5}, "planning_hazard_ratio .* is -0.5"),
        ({"planning_hazard_ratio": math.nan}, "planning_hazard_ratio .* is nan"),
    ],
)
def test_a_population_that_makes_no_sense_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        population(ENRICHED, **changes)


def test_everyone_comes_first():
    with pytest.raises(AnalysisError, match=r"put all comers .* first"):
        plan_enrichment([population(ENRICHED)], DESIGNS, **SETTING)


@pytest.mark.parametrize(
    ("populations", "designs", "setting", "sentence"),
    [
        ([], DESIGNS, {}, "there is no population"),
        ([EVERYONE], {}, {}, "there is no design"),
        ([EVERYONE, EVERYONE], DESIGNS, {}, "two populations are called 'All comers'"),
        ([EVERYONE], {"a": Design(), "b": Design(alpha=0.05)}, {}, "different one-sided alphas"),
        ([EVERYONE], DESIGNS, {"follow_up_months": None}, "the end of the trial is not given"),
        ([EVERYONE], DESIGNS, {"screened_per_month": 0}, "screened_per_month is 0"),
        ([EVERYONE], DESIGNS, {"cost_screen": -1}, "cost_screen is -1"),
        ([EVERYONE], DESIGNS, {"max_duration_months": math.nan}, "max_duration_months is nan"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused_in_a_sentence(populations, designs, setting, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        plan_enrichment([Population(**base) for base in populations], designs, **{**SETTING, **setting})

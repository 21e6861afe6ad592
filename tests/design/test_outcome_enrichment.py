"""Plans for means and rates in all comers and in selected patients: assurance against R's quadrature, sizes against the planners."""

import json
import math
from pathlib import Path

import pytest
from scipy.special import ndtr, ndtri

from trialml.design.group_sequential import Design
from trialml.design.means import plan_means
from trialml.design.outcome_enrichment import (
    Measured,
    OutcomePopulation,
    plan_outcome,
    plan_outcome_enrichment,
)
from trialml.design.rates import plan_rates
from trialml.errors import AnalysisError
from trialml.result import Result

ORACLE = json.loads((Path(__file__).parents[1] / "reference" / "outcomes.json").read_text())["assurance"]
MEAN = Measured("continuous", True, 0.0, "points", "difference in means, experimental less control")
HARM = Measured("binary", False, 0.0, "", "risk difference, control less experimental")


def population(name="All comers", **changed):
    given = {
        "prevalence": 1.0,
        "control_mean": 50.0,
        "benefit": 40.0,
        "benefit_se": 15.0,
        "planning_benefit": 40.0,
        "sd": 100.0,
    }
    return OutcomePopulation(name, "words", **{**given, **changed})


def compared(*populations, measured=MEAN, design=None, **asked):
    given = {"screened_per_month": 20, "follow_up_months": 6, "lost": 0.0, "block": 4, **asked}
    return plan_outcome_enrichment(populations, {"fixed": design or Design()}, measured, **given)


def test_assurance_is_rs_integral_of_power_over_the_estimates_distribution():
    wanted = ORACLE
    alpha, n = 0.025, wanted["n"]
    s = math.sqrt(4 * wanted["sd"] ** 2 / n)
    closed = ndtr((wanted["benefit"] / s + ndtri(alpha)) / math.sqrt(1 + (wanted["se"] / s) ** 2))
    assert closed == pytest.approx(wanted["value"], rel=1e-8)
    everyone = population(benefit=wanted["benefit"], benefit_se=wanted["se"], sd=wanted["sd"])
    row = compared(everyone).plans.iloc[0]
    s = math.sqrt(4 * wanted["sd"] ** 2 / row["evaluable"])
    closed = ndtr((wanted["benefit"] / s + ndtri(alpha)) / math.sqrt(1 + (wanted["se"] / s) ** 2))
    assert row["assurance"] == pytest.approx(closed, rel=1e-8)


def test_the_size_is_that_of_the_planner_and_the_lost_are_added():
    row = compared(population(), lost=0.1).plans.iloc[0]
    plan = plan_means(Design(), difference=40, sd=100, higher_is_better=True)
    assert row["evaluable"] == plan.patients
    assert row["power"] == plan.power.value
    assert row["patients"] == 4 * math.ceil(plan.patients / 0.9 / 4)
    assert row["months"] == row["screened"] / 20 + 6


def test_where_less_is_better_the_experimental_rate_lies_below_controls():
    everyone = population(control_mean=0.4, benefit=0.15, benefit_se=0.04, planning_benefit=0.1, sd=math.nan)
    plan = plan_outcome(everyone, Design(), HARM, block=4)
    assert plan.patients == plan_rates(Design(), experimental_rate=0.3, control_rate=0.4).patients
    assert plan.effect == pytest.approx(-0.1)
    better = plan_outcome(everyone, Design(), HARM._replace(higher_is_better=True), block=4)
    assert better.patients == plan_rates(Design(), experimental_rate=0.5, control_rate=0.4).patients


def test_a_useless_model_leaves_the_patients_and_takes_the_truth_of_all_comers():
    best = population("Best", prevalence=0.5, benefit=60.0, planning_benefit=60.0)
    found = compared(population(), best).plans
    enriched, useless = found.iloc[1], found.iloc[2]
    assert useless["model_useless"]
    same = plan_means(Design(), difference=40, sd=100, higher_is_better=True, patients=enriched["evaluable"])
    assert useless["power"] == pytest.approx(same.power.value)
    assert useless["patients"] == enriched["patients"]
    assert enriched["screened"] == enriched["patients"] / 0.5


def test_covariates_of_the_analysis_shrink_the_trial():
    plain, adjusted = compared(population()), compared(population(), measured=MEAN._replace(covariate_r_squared=0.5))
    assert adjusted.plans["evaluable"].iloc[0] == pytest.approx(plain.plans["evaluable"].iloc[0] / 2, abs=8)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"planning_benefit": -1.0}, "is none"), ({"planning_benefit": 0.5, "sd": 500.0}, "more than 50,000")],
)
def test_a_benefit_that_no_trial_can_show_is_said_in_words(changed, words):
    found = compared(population(**changed))
    assert words in found.plans["note"].iloc[0]
    assert math.isnan(found.plans["power"].iloc[0])
    assert words in found.text()


def test_a_rate_that_is_no_probability_is_no_trial():
    everyone = population(control_mean=0.1, benefit=0.2, benefit_se=0.05, planning_benefit=0.15, sd=math.nan)
    assert compared(everyone, measured=HARM).plans["note"].iloc[0].startswith("no trial: ")


def test_all_comers_stand_first():
    with pytest.raises(AnalysisError, match="must be all comers"):
        compared(population(prevalence=0.5))


def test_looks_and_storage():
    design = Design(information_fractions=(0.5, 1.0))
    found = compared(population(), population("Best", prevalence=0.4), design=design)
    assert (found.plans["assurance"].dropna() < found.plans["power"].dropna()).all()
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    assert set(found.table()["Population"]) == {"All comers", "Best", "Best, model useless"}
    assert "all_comers_fixed_assurance" in found.scalars()

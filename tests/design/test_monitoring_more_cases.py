"""Plans of means and rates and analyses of running trials that the stored cases leave out, against rpact 3.3.4."""

import numpy as np
import pytest

from trialml.design.group_sequential import Design
from trialml.design.interim_analysis import interim_analysis
from trialml.design.means import plan_means
from trialml.design.rates import plan_rates
from trialml.design.sequential_estimate import sequential_estimate

SIZE, CLOSE = {"rtol": 1e-6, "atol": 0.0}, {"rtol": 0.0, "atol": 1e-6}
FRACTIONS = (0.4, 0.7, 1.0)
KIM_DEMETS = {"spending": "kim-demets", "spending_parameter": 2.0}
FUTILE = Design(power=0.8, information_fractions=FRACTIONS, futility_z=(-0.2, 0.5), allocation_ratio=1.5, **KIM_DEMETS)


@pytest.fixture
def case(reference_case):
    return reference_case("monitoring")


@pytest.mark.parametrize(
    ("key", "plan"),
    [
        ("means", plan_means(FUTILE, difference=0.3, sd=1.1, whole_numbers=False)),
        ("rates", plan_rates(FUTILE, experimental_rate=0.25, control_rate=0.4, whole_numbers=False)),
    ],
)
def test_plans_with_futility_bounds_and_unequal_arms_are_rpacts(case, key, plan):
    place = ("plans", key)
    case.compare(plan.patients, *place, "patients", **SIZE)
    case.compare(plan.expected_patients, *place, "expected", **SIZE)
    case.compare(plan.expected_patients_null, *place, "expected_null", **SIZE)
    case.compare(plan.looks["stop_probability"], *place, "reject", **CLOSE)
    case.compare(plan.looks["futility_probability"][:2], *place, "futility", **CLOSE)
    case.compare(plan.looks["effect_at_bound"], *place, "bounds", **CLOSE)
    case.compare(plan.looks["effect_at_futility"][:2], *place, "futility_bounds", **CLOSE)


def test_a_two_sided_plan_with_looks_is_rpacts(case):
    design = Design(information_fractions=(0.5, 0.75, 1.0), spending="obrien-fleming", sides=2)
    plan = plan_means(design, difference=0.4, sd=1, whole_numbers=False)
    case.compare(plan.patients, "two_sided", "patients", **SIZE)
    case.compare(plan.expected_patients, "two_sided", "expected", **SIZE)
    case.compare(plan.expected_patients_null, "two_sided", "expected_null", **SIZE)
    case.compare(plan.looks["effect_at_bound"], "two_sided", "upper", **CLOSE)
    case.compare(plan.looks["opposite_effect_at_bound"], "two_sided", "lower", **CLOSE)


def test_the_optimal_allocation_of_rates_is_rpacts(case):
    """The size is flat about its least: rpact's search stops 4e-6 from the ratio."""
    options = {"experimental_rate": 0.25, "control_rate": 0.4, "optimal_allocation": True, "whole_numbers": False}
    plan = plan_rates(Design(power=0.8), **options)
    case.compare(plan.patients, "optimal", "patients", **SIZE)
    assert plan.patients <= case.get("optimal", "patients") + 1e-9
    case.compare(plan.design.allocation_ratio, "optimal", "ratio", rtol=1e-5)


def test_the_power_against_a_margin_where_events_are_bad_is_rpacts(case):
    design = Design(
        power=0.8, information_fractions=FRACTIONS, futility_z=(-0.2, 0.5), allocation_ratio=2, **KIM_DEMETS
    )
    options = {"control_rate": 0.3, "null": 0.1, "higher_is_better": False, "patients": 400}
    plans = [plan_rates(design, experimental_rate=one, **options) for one in (0.2, 0.35)]
    case.compare([plan.power.value for plan in plans], "margin", "power", **CLOSE)
    case.compare([plan.expected_patients for plan in plans], "margin", "expected", **SIZE)
    found = np.column_stack([plan.looks["futility_probability"][:2] for plan in plans])
    case.compare(found, "margin", "futility", **CLOSE)
    case.compare(plans[0].looks["effect_at_bound"], "margin", "bounds", **CLOSE)


@pytest.mark.parametrize(
    ("key", "rules"),
    [
        ("pocock_spending_binding", {"spending": "lan-demets-pocock", "binding": True}),
        ("pocock_spending", {"spending": "lan-demets-pocock"}),
        ("obrien_fleming", {"spending": "obrien-fleming"}),
        ("kim_demets", KIM_DEMETS),
        ("hwang_binding", {"spending": "hwang-shih-decani", "spending_parameter": -2.0, "binding": True}),
    ],
)
def test_analyses_with_futility_bounds_are_rpacts(case, key, rules):
    """Log-rank z of .8, 1.3 and 1.9 at 80, 140 and 200 events, high hazard ratios in favour; futility at z of 0 and .5."""
    design = Design(power=0.8, information_fractions=FRACTIONS, futility_z=(0.0, 0.5), **rules)
    data = {"z": (0.8, 1.3, 1.9), "events": (80, 140, 200), "scale": "ratio"}
    looks, end = interim_analysis(design, **data).looks, sequential_estimate(design, **data)
    place = ("analyses", key)
    case.compare(looks["repeated_p"], *place, "repeated_p", **CLOSE)
    case.compare(looks["conditional_rejection"][:2], *place, "conditional_rejection", **CLOSE)
    case.compare(looks["repeated_low"], *place, "repeated_low", **CLOSE)
    case.compare(looks["repeated_high"], *place, "repeated_high", **CLOSE)
    case.compare(end.p, *place, "p", **CLOSE)
    case.compare(end.low, *place, "low", **CLOSE)
    case.compare(end.high, *place, "high", **CLOSE)
    case.compare(end.median_unbiased, *place, "median_unbiased", **CLOSE)

"""Sizes and power for means against rpact 3.3.4 and gsDesign 3.10.1; closed forms."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from scipy.stats import nct, norm, t

from trialml.design.group_sequential import Design
from trialml.design.means import plan_mean_ratio, plan_means, plan_one_mean
from trialml.errors import AnalysisError
from trialml.result import Result

REFERENCE = Path(__file__).parents[1] / "reference"
FIXED, LOOKS = Design(), Design(information_fractions=(0.5, 0.75, 1.0))
EXACT = {"whole_numbers": False}


def test_every_number_of_rpacts_plans_for_means(oracle, compare_with_rpact):
    """getSampleSizeMeans and getPowerMeans; the calls stand in the case. rpact's root finder stops 1e-7 short of n."""
    case = oracle("design_means")
    low = dataclasses.replace(FIXED, power=0.8)
    differences = (0.2, 0.4, 0.6)
    plans = {
        "t_1to1": [plan_means(FIXED, difference=one, sd=1, **EXACT) for one in differences],
        "normal_1to1": [
            plan_means(FIXED, difference=one, sd=1, normal_approximation=True, **EXACT) for one in differences
        ],
        "t_2to1": [plan_means(dataclasses.replace(low, allocation_ratio=2), difference=0.4, sd=1.2, **EXACT)],
        "noninf": [plan_means(low, difference=0, sd=1, null=-0.3, **EXACT)],
        "ratio": [plan_mean_ratio(FIXED, ratio=1, null=0.8, coefficient_of_variation=0.5, **EXACT)],
        "one_group": [plan_one_mean(FIXED, mean=0.4, sd=1, **EXACT)],
        "two_sided": [plan_means(Design(sides=2), difference=0.4, sd=1, **EXACT)],
        "gs": [plan_means(LOOKS, difference=0.4, sd=1, **EXACT)],
        "power": [plan_means(LOOKS, difference=one, sd=1, patients=300) for one in (0.0, 0.2, 0.4)],
    }
    for key, found in plans.items():
        compare_with_rpact(case, key, found)


def test_normal_sizes_are_gsdesigns():
    """nNormal(delta1 = .4, sd = 1, alpha = .025, beta = .1); and sd2 = 1.5, ratio = 2 (its second arm to its first)."""
    stored = json.loads((REFERENCE / "gsdesign_nbinomial_nnormal.json").read_text())["outputs"]
    normal = {"normal_approximation": True, **EXACT}
    assert plan_means(FIXED, difference=0.4, sd=1, **normal).patients == pytest.approx(stored["nNormal"], rel=1e-8)
    half = Design(allocation_ratio=0.5)
    plan = plan_means(half, difference=0.4, sd=1.5, experimental_sd=1, **normal)
    assert plan.patients == pytest.approx(stored["nNormal_2sd"], rel=1e-8)


def test_the_t_size_solves_its_own_equation():
    """R: uniroot of 1 - pt(qt(.975, n - 2), n - 2, .6 * sqrt(n / 4)) - .9 with tol = 1e-13 gives 118.703146434563."""
    plan = plan_means(FIXED, difference=0.6, sd=1, **EXACT)
    assert plan.patients == pytest.approx(118.703146434563, rel=1e-10)
    n = plan.patients
    assert nct.sf(t.ppf(0.975, n - 2), n - 2, 0.6 * math.sqrt(n / 4)) == pytest.approx(0.9, abs=1e-9)


def test_solving_for_the_size_and_for_the_power_are_inverse_in_a_fixed_design():
    exact = plan_means(FIXED, difference=0.35, sd=1.1, **EXACT)
    again = plan_means(FIXED, difference=0.35, sd=1.1, patients=exact.patients)
    assert again.power.value == pytest.approx(0.9, abs=1e-10)


@pytest.mark.parametrize("normal", [True, False])
def test_low_values_can_be_good_and_the_plan_is_the_mirror_image(normal):
    up = plan_means(LOOKS, difference=0.4, sd=1, normal_approximation=normal)
    down = plan_means(LOOKS, difference=-0.4, sd=1, normal_approximation=normal)
    assert down.patients == up.patients
    assert down.looks["effect_at_bound"].tolist() == pytest.approx([-one for one in up.looks["effect_at_bound"]])


def test_an_effect_against_the_experimental_arm_has_less_power_than_alpha():
    plan = plan_means(FIXED, difference=-0.2, sd=1, higher_is_better=True, patients=200)
    shift = -0.2 * math.sqrt(50)
    assert plan.power.value == pytest.approx(nct.sf(t.ppf(0.975, 198), 198, shift), rel=1e-8)
    assert plan.power.value < FIXED.alpha


def test_covariates_shrink_the_normal_size_by_one_minus_r_squared_and_the_output_says_so():
    plain = plan_means(LOOKS, difference=0.4, sd=1, normal_approximation=True, **EXACT)
    options = {"normal_approximation": True, "covariate_r_squared": 0.36, **EXACT}
    adjusted = plan_means(LOOKS, difference=0.4, sd=1, **options)
    assert adjusted.patients == pytest.approx(0.64 * plain.patients, rel=1e-12)
    assert "R-squared of 0.36" in adjusted.text()
    assert "R-squared" not in plain.text()
    t_test = plan_means(FIXED, difference=0.4, sd=1, covariate_r_squared=0.36, **EXACT)
    assert t_test.patients == pytest.approx(plan_means(FIXED, difference=0.4, sd=0.8, **EXACT).patients, rel=1e-12)


@pytest.mark.parametrize("sds", [(1.0, 2.0), (1.5, 0.5)])
def test_optimal_allocation_needs_the_fewest_patients(sds):
    control, experimental = sds
    options = {"sd": control, "experimental_sd": experimental, "normal_approximation": True, **EXACT}
    best = plan_means(FIXED, difference=0.4, optimal_allocation=True, **options)
    ratio = experimental / control
    assert best.design.allocation_ratio == pytest.approx(ratio)
    # Neyman's allocation makes the variance of the difference the square of the sum of the deviations, over n.
    quantiles = norm.isf(0.025) + norm.ppf(0.9)
    assert best.patients == pytest.approx((quantiles * sum(sds) / 0.4) ** 2, rel=1e-12)
    for other in (0.9 * ratio, 1.1 * ratio):
        design = Design(allocation_ratio=other)
        assert plan_means(design, difference=0.4, **options).patients > best.patients


def test_optimal_allocation_of_a_ratio_of_means_is_one_to_the_null():
    options = {"ratio": 1.0, "null": 0.8, "coefficient_of_variation": 0.5, **EXACT}
    best = plan_mean_ratio(FIXED, optimal_allocation=True, **options)
    sizes = [plan_mean_ratio(Design(allocation_ratio=one), **options).patients for one in (1.2, 1.3)]
    assert best.design.allocation_ratio == 1.25
    assert best.patients < min(sizes)


def test_whole_looks_keep_the_power_and_say_the_exact_size():
    plan = plan_means(LOOKS, difference=0.4, sd=1, block=6)
    assert all(n % 6 == 0 for n in plan.looks["patients"])
    assert plan.exact_patients == pytest.approx(269.4572908, rel=1e-6)
    assert plan.patients >= plan.exact_patients
    assert plan.power.value >= 0.9
    assert "269.46 before rounding" in plan.text()


def test_futility_bounds_stop_a_trial_without_effect_earlier():
    stops = dataclasses.replace(LOOKS, futility_z=(0.0, 0.5))
    with_stops = plan_means(stops, difference=0.4, sd=1, **EXACT)
    without = plan_means(LOOKS, difference=0.4, sd=1, **EXACT)
    assert with_stops.expected_patients_null < without.expected_patients_null - 50
    assert with_stops.looks["effect_at_futility"].iloc[0] == pytest.approx(0.0, abs=1e-12)
    assert "Stop for futility below z of" in with_stops.table()


def test_a_plan_survives_being_stored():
    plan = plan_means(LOOKS, difference=0.4, sd=1)
    again = Result.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.text() == plan.text()
    assert again.table().equals(plan.table())
    assert again.chapter == "design"
    assert plan.power.kind == "computed"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sd": 0.0}, "sd is 0"),
        ({"difference": 0.0}, "does not favour the experimental arm"),
        ({"difference": -0.2, "higher_is_better": True}, "does not favour the experimental arm"),
        ({"difference": math.nan}, "difference is nan"),
        ({"experimental_sd": 2.0}, "say normal_approximation=True"),
        ({"covariate_r_squared": 1.0}, "covariate_r_squared is 1: give the share"),
        ({"covariate_r_squared": -0.1}, "covariate_r_squared is -0.1"),
        ({"patients": 0}, "patients is 0"),
        ({"block": 0}, "block is 0"),
        ({"block": math.inf}, "block is inf"),
    ],
)
def test_plans_that_make_no_sense_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        plan_means(FIXED, **{"difference": 0.4, "sd": 1.0, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"difference": 5.0}, "in blocks of 4 the looks have 4, 8, 8 patients, so that some coincide"),
        ({"patients": 2}, "patients is 2: a t-test in 2 arms needs more than 2"),
    ],
)
def test_sizes_too_small_for_their_looks_are_refused(changes, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        plan_means(LOOKS, **{"difference": 0.4, "sd": 1.0, **changes})


@pytest.mark.parametrize(("difference", "power"), [(1.0, 1.0), (-1.0, 0.0)])
def test_powers_next_to_one_and_zero_are_numbers(difference, power):
    plan = plan_means(LOOKS, difference=difference, sd=1, higher_is_better=True, patients=20_000)
    assert plan.power.value == pytest.approx(power, abs=1e-12)
    assert math.isfinite(plan.expected_patients)


def test_ratios_and_one_arm_are_refused_alike():
    with pytest.raises(AnalysisError, match="ratio is -1"):
        plan_mean_ratio(FIXED, ratio=-1, coefficient_of_variation=0.5)
    with pytest.raises(AnalysisError, match="the assumed mean of 0 does not favour"):
        plan_one_mean(FIXED, mean=0.0, sd=1)

"""Sizes and power for rates against rpact 3.3.4, gsDesign 3.10.1 and gsDesign2 1.1.8; exact integrals."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from trialml.design.group_sequential import Design
from trialml.design.rates import plan_one_rate, plan_rates
from trialml.design.stratified_rates import plan_stratified_rates
from trialml.errors import AnalysisError
from trialml.result import Result

REFERENCE = Path(__file__).parents[1] / "reference"
GSDESIGN = json.loads((REFERENCE / "gsdesign_nbinomial_nnormal.json").read_text())["outputs"]
FIXED, LOOKS, LOW = Design(), Design(information_fractions=(0.5, 0.75, 1.0)), Design(power=0.8)
EXACT = {"whole_numbers": False}
STRATA = {"prevalences": (0.4, 0.6), "experimental_rates": (0.4, 0.3), "control_rates": (0.2, 0.25)}


def rates(design, experimental, control, **options):
    return plan_rates(design, experimental_rate=experimental, control_rate=control, **{**EXACT, **options})


def test_every_number_of_rpacts_plans_for_rates(oracle, compare_with_rpact):
    """getSampleSizeRates and getPowerRates; the calls stand in the case."""
    case = oracle("design_rates")
    wide = dataclasses.replace(LOW, allocation_ratio=2)
    plans = {
        "diff": [rates(FIXED, one, 0.3) for one in (0.4, 0.45, 0.5)],
        "diff_2to1": [rates(wide, 0.5, 0.3)],
        "noninf": [rates(LOW, 0.6, 0.6, null=-0.1)],
        "ratio": [rates(LOW, 0.5, 0.3, scale="risk ratio")],
        "ratio_noninf": [rates(LOW, 0.6, 0.6, scale="risk ratio", null=0.8)],
        "one_group": [plan_one_rate(FIXED, rate=0.4, null=0.2, **EXACT)],
        "two_sided": [rates(Design(sides=2), 0.5, 0.3)],
        "gs": [rates(LOOKS, 0.5, 0.3)],
        "power": [rates(LOOKS, one, 0.3, patients=300) for one in (0.3, 0.4, 0.5)],
    }
    for key, found in plans.items():
        compare_with_rpact(case, key, found)


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("diff", rates(FIXED, 0.5, 0.3)),
        ("diff_2to1", rates(Design(allocation_ratio=0.5), 0.5, 0.3)),
        ("rr", rates(FIXED, 0.5, 0.3, scale="risk ratio")),
        ("or", rates(FIXED, 0.5, 0.3, scale="odds ratio")),
        ("ni", rates(FIXED, 0.6, 0.6, null=-0.1)),
        ("ni", rates(FIXED, 0.6, 0.6, null=0.1)),
    ],
)
def test_sizes_are_gsdesigns(name, plan):
    """nBinomial; its ratio is the second arm to the first, and its delta0 the margin of either arm by symmetry."""
    assert plan.patients == pytest.approx(GSDESIGN[name], rel=1e-8)


def test_the_unpooled_size_is_walds():
    """n = 2 (z_a + z_b)^2 (p1 q1 + p0 q0) / d^2, Fleiss, Levin and Paik 2003, chapter 4, without correction."""
    plan = rates(FIXED, 0.5, 0.3, pooled=False)
    quantiles = (norm.isf(0.025) + norm.ppf(0.9)) ** 2
    assert plan.patients == pytest.approx(2 * quantiles * (0.25 + 0.21) / 0.04, rel=1e-12)
    assert "unpooled" in plan.text()


@pytest.mark.parametrize("scale", ["risk difference", "risk ratio", "odds ratio"])
def test_arms_and_outcome_can_change_names(scale):
    good = rates(LOOKS, 0.5, 0.3, scale=scale)
    bad = rates(LOOKS, 0.3, 0.5, scale=scale)
    assert bad.patients == pytest.approx(good.patients, rel=1e-10)
    assert bad.looks["effect_at_bound"].is_monotonic_increasing
    assert bad.looks["effect_at_bound"].iloc[-1] < bad.null


@pytest.mark.parametrize("null", [0.8, 1.25])
def test_a_margin_on_the_odds_ratio_gives_the_power_of_an_exact_sum(null):
    """The score test of the odds ratio over all tables, at rates where the size is large: within 1 percentage point."""
    from scipy.stats import binom

    from trialml.effects.score_tests import restricted_rates

    favour = -1 if null > 1 else 1
    plan = rates(Design(power=0.8), 0.45, 0.45, scale="odds ratio", null=null, whole_numbers=True, block=2)
    each = round(plan.patients / 2)
    counts = np.arange(each + 1)
    probability = binom.pmf(counts, each, 0.45)
    likely = counts[probability > 1e-6]
    total = 0.0
    for x1 in likely:
        for x0 in likely:
            p1, p0 = x1 / each, x0 / each
            q1, q0 = restricted_rates(p1, p0, (1, 1), null, "odds ratio")
            spread = math.sqrt(1 / (each * q1 * (1 - q1)) + 1 / (each * q0 * (1 - q0)))
            z = favour * math.log(p1 * (1 - p0) / (p0 * (1 - p1)) / null) / spread
            total += probability[x1] * probability[x0] * (z >= 1.959964)
    assert total == pytest.approx(0.8, abs=0.01)


def test_optimal_allocation_needs_the_fewest_patients():
    best = rates(FIXED, 0.3, 0.1, optimal_allocation=True)
    ratios = np.linspace(0.5, 2, 151)
    sizes = [rates(Design(allocation_ratio=float(one)), 0.3, 0.1).patients for one in ratios]
    assert best.patients <= min(sizes)
    assert best.patients == pytest.approx(min(sizes), rel=1e-4)
    assert best.design.allocation_ratio == pytest.approx(ratios[int(np.argmin(sizes))], abs=0.01)


def test_covariates_shrink_the_size_by_one_minus_r_squared_and_the_output_says_so():
    plain, adjusted = rates(LOOKS, 0.5, 0.3), rates(LOOKS, 0.5, 0.3, covariate_r_squared=0.25)
    assert adjusted.patients == pytest.approx(0.75 * plain.patients, rel=1e-12)
    assert "R-squared of 0.25" in adjusted.text()
    one = plan_one_rate(FIXED, rate=0.4, null=0.2, covariate_r_squared=0.25, **EXACT)
    assert one.patients == pytest.approx(0.75 * 49.830545273173406, rel=1e-10)
    strata = plan_stratified_rates(LOOKS, covariate_r_squared=0.25, **STRATA, **EXACT)
    assert strata.patients == pytest.approx(0.75 * plan_stratified_rates(LOOKS, **STRATA, **EXACT).patients, rel=1e-9)


def stratified_oracle():
    """The plan of the stored case with the stored number of patients, and what it rests on."""
    stored = json.loads((REFERENCE / "gsdesign2_rd_stratified.json").read_text())["outputs"]
    design = Design(information_fractions=(0.7, 1.0))
    return plan_stratified_rates(design, patients=stored["analysis"]["n"][1], **STRATA), design


def test_a_stratified_plan_has_gsdesign2s_information_and_bounds(oracle):
    """gs_design_rd, sample-size weights, LDOF at .7 and 1.

    Two numbers of gsDesign2 1.1.8 are not ours. Its second bound, 1.999933, spends .02499988 of alpha (an integral in
    one dimension), ours .025: it is 2.5e-6 off. And it scales the bound by the ratio of the two standard errors where
    the first look rejects, but not where the trial goes on, nor at the second look: paths between the two are lost, and
    its size of 727.6 is too large for a power of .9 (ours is 711.4); see the next test. What remains is compared here
    with its size taken as given.
    """
    case = oracle("gsdesign2_rd_stratified")
    plan, design = stratified_oracle()
    case.compare(plan.looks["look"], "bound", "analysis")
    case.compare(["upper", "upper"], "bound", "bound")
    case.compare(plan.looks["look"], "analysis", "analysis")
    case.compare(design.critical_values, "bound", "z", rtol=0, atol=3e-6)
    case.compare(design.one_sided_p, "bound", "nominal p", rtol=0, atol=1e-6)
    case.compare(np.cumsum(design.exit_probabilities(0.0)), "bound", "probability0", rtol=0, atol=1e-6)
    case.compare(plan.looks["patients"], "analysis", "n", rtol=1e-8)
    case.compare([plan.effect] * 2, "analysis", "rd", rtol=1e-8)
    case.compare([0.0, 0.0], "analysis", "rd0")
    under, null = information(plan.looks["patients"])
    case.compare(under, "analysis", "info", rtol=1e-8)
    case.compare(null, "analysis", "info0", rtol=1e-8)
    case.compare(design.information_fractions, "analysis", "info_frac", rtol=1e-8)
    case.compare(design.information_fractions, "analysis", "info_frac0", rtol=1e-8)
    # gsDesign2 writes z over the root of the information under the alternative; the test standardises by the other.
    scaled = plan.looks["effect_at_bound"] * np.sqrt(null / under)
    case.compare(scaled, "bound", "~risk difference at bound", rtol=0, atol=1e-6)
    first, _ = case.get("bound", "probability")
    assert plan.looks["cumulative_power"].iloc[0] == pytest.approx(first, abs=1e-6)
    case.aside("enroll_rate", reason="nothing is stored there")


def information(patients):
    """Fisher information on the weighted difference at the assumed rates and at those pooled within strata."""
    shares, p1, p0 = (np.array(STRATA[name]) for name in STRATA)
    pooled = (p1 + p0) / 2
    each = np.asarray(patients)[:, None] * shares / 2
    assumed = shares**2 * (p1 * (1 - p1) + p0 * (1 - p0)) / each
    null = shares**2 * 2 * pooled * (1 - pooled) / each
    return 1 / assumed.sum(axis=1), 1 / null.sum(axis=1)


def two_looks(upper, means, fraction=0.7, first=None):
    """P(cross at the second look, not at the first) by an integral in one dimension."""
    root, rest = math.sqrt(fraction), math.sqrt(1 - fraction)

    def part(x):
        return norm.pdf(x) * norm.sf((upper[1] - means[1] - root * x) / rest)

    return quad(part, -12, (upper[0] if first is None else first) - means[0], epsabs=1e-14, epsrel=1e-12, limit=300)[0]


def test_gsdesign2_needs_more_patients_because_it_loses_paths_between_two_bounds_of_the_first_look():
    """Its stored power .9 at 727.6 patients: rejected at the first look above the scaled bound, gone on below the unscaled."""
    stored = json.loads((REFERENCE / "gsdesign2_rd_stratified.json").read_text())["outputs"]
    z = np.array(stored["bound"]["z"])
    under, null = information(stored["analysis"]["n"])
    means, scaled = 0.11 * np.sqrt(under), z * np.sqrt(under / null)
    first, total = stored["bound"]["probability"]
    assert norm.sf(scaled[0] - means[0]) == pytest.approx(first, abs=1e-9)
    assert two_looks(z, means) == pytest.approx(total - first, abs=1e-6)
    plan, _ = stratified_oracle()
    assert plan.looks["stop_probability"].iloc[1] == pytest.approx(
        two_looks(np.array(plan.looks["critical_z"]) * np.sqrt(under / null), means), abs=1e-9
    )
    assert plan.power.value > total + 0.005


def test_gsdesign2s_second_bound_spends_less_than_alpha_and_ours_spends_it():
    stored = json.loads((REFERENCE / "gsdesign2_rd_stratified.json").read_text())["outputs"]["bound"]["z"]
    ours = Design(information_fractions=(0.7, 1.0)).critical_values
    spent = [norm.sf(z[0]) + two_looks(z, (0.0, 0.0)) for z in (stored, ours)]
    assert spent[0] == pytest.approx(0.02499988, abs=1e-8)
    assert spent[1] == pytest.approx(0.025, abs=1e-11)


def test_one_stratum_is_the_plan_without_strata():
    one = {"prevalences": (1.0,), "experimental_rates": (0.5,), "control_rates": (0.3,)}
    assert plan_stratified_rates(FIXED, **one, **EXACT).patients == pytest.approx(
        rates(FIXED, 0.5, 0.3).patients, rel=1e-9
    )


def test_the_size_gives_the_power_over_all_looks():
    plan = plan_stratified_rates(LOOKS, **STRATA, **EXACT)
    assert plan.power.value == pytest.approx(0.9, abs=1e-9)
    whole = plan_stratified_rates(LOOKS, **STRATA)
    assert whole.power.value >= 0.9
    assert whole.patients % 4 == 0


def test_a_plan_survives_being_stored():
    for plan in (rates(LOOKS, 0.5, 0.3), plan_stratified_rates(LOOKS, **STRATA)):
        again = Result.from_dict(json.loads(json.dumps(plan.to_dict())))
        assert again.text() == plan.text()
        assert "one-sided" in plan.text()
        assert again.frame().equals(plan.frame())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"experimental_rate": 1.2}, "the experimental rate is 1.2: give a number above 0 and below 1"),
        ({"control_rate": 0.0}, "the control rate is 0"),
        ({"experimental_rate": 0.3}, "the assumed risk difference of 0 does not favour the experimental arm"),
        ({"higher_is_better": False}, "does not favour the experimental arm"),
        ({"null": -1.5}, "risk difference under the null hypothesis is -1.5: give a finite number between -1 and 1"),
        (
            {"scale": "risk ratio", "null": 0.0},
            "risk ratio under the null hypothesis is 0: give a finite number above 0",
        ),
        ({"scale": "odds"}, "the scale 'odds' of two rates is not known"),
        ({"covariate_r_squared": 1.5}, "covariate_r_squared is 1.5"),
        ({"patients": -10}, "patients is -10"),
    ],
)
def test_plans_that_make_no_sense_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        plan_rates(FIXED, **{"experimental_rate": 0.5, "control_rate": 0.3, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prevalences": (0.4, 0.7)}, "the prevalences add to 1.1"),
        ({"prevalences": (0.0, 1.0)}, "a prevalence is 0"),
        ({"control_rates": (0.2,)}, "2 prevalences, 2 experimental and 1 control rates"),
        ({"control_rates": (0.2, 1.2)}, "a rate of the control arm is 1.2"),
        ({"control_rates": (0.4, 0.3)}, "weighted risk difference of 0 does not favour"),
    ],
)
def test_strata_that_make_no_sense_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        plan_stratified_rates(FIXED, **{**STRATA, **changes})


def test_a_bound_that_no_rate_reaches_has_no_effect():
    plan = rates(Design(information_fractions=(0.05, 1.0)), 0.95, 0.9, patients=60)
    assert math.isnan(plan.looks["effect_at_bound"].iloc[0])

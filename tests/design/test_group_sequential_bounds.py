"""Bounds, exit probabilities and inflation against rpact 3.3.4 and gsDesign 3.10.1, and against exact integrals."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from trialml.design.group_sequential import Design
from trialml.errors import AnalysisError

REFERENCE = Path(__file__).parents[1] / "reference"
RPACT_NAMES = {"asOF": "lan-demets-obrien-fleming", "asP": "lan-demets-pocock"}
GSDESIGN_NAMES = {"LDOF": "lan-demets-obrien-fleming", "LDPocock": "lan-demets-pocock"}


def stored(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())["outputs"]


def rpact_cases():
    found = [(f"K{k}", stored(f"design_gs_K{k}_equal")) for k in (2, 3, 5)]
    found += list(stored("design_gs_unequal_rates").items())
    return [
        pytest.param(case[key], RPACT_NAMES[key], id=f"{name}-{key}") for name, case in found for key in RPACT_NAMES
    ]


def gsdesign_cases():
    return [
        pytest.param(stored(f"gsdesign_K{k}")[key], GSDESIGN_NAMES[key], id=f"K{k}-{key}")
        for k in (2, 3, 5)
        for key in GSDESIGN_NAMES
    ]


@pytest.mark.parametrize(("case", "spending"), rpact_cases())
def test_bounds_inflation_and_exits_are_rpacts(case, spending):
    """rpact: getDesignGroupSequential(..., alpha = .025, beta = .1, sided = 1) and getDesignCharacteristics.

    rpact stops its search when 1e-8 of alpha is left (it spends 0.02499999), so boundaries agree to 1e-6.
    """
    design = Design(information_fractions=tuple(case["informationRates"]), spending=spending)
    truth = case["characteristics"]
    assert design.critical_values == pytest.approx(case["criticalValues"], abs=1e-6)
    assert design.one_sided_p == pytest.approx(case["stageLevels"], abs=1e-6)
    assert design.cumulative_alpha == pytest.approx(case["alphaSpent"], abs=1e-6)
    assert design.inflation_factor == pytest.approx(truth["inflationFactor"], abs=1e-6)
    assert design.drift_for_power() ** 2 == pytest.approx(truth["shift"], abs=1e-6)
    exits = design.exit_probabilities(math.sqrt(truth["shift"]))
    assert exits == pytest.approx(truth["rejectionProbabilities"], abs=1e-6)


@pytest.mark.parametrize(("case", "spending"), gsdesign_cases())
def test_bounds_and_exits_are_gsdesigns(case, spending):
    """gsDesign(k = K, test.type = 1, alpha = 0.025, beta = 0.1, sfu = sfLDOF / sfLDPocock); its grid has r = 18."""
    design = Design(information_fractions=tuple(case["timing"]), spending=spending)
    assert design.critical_values == pytest.approx(case["upper_bound"], abs=1e-6)
    assert design.inflation_factor == pytest.approx(case["n_I"][-1], abs=1e-6)
    exits = design.exit_probabilities(case["theta"][1] * math.sqrt(case["n_I"][-1]))
    assert exits == pytest.approx([row[1] for row in case["upper_prob"]["rows"]], abs=1e-6)


def test_three_looks_have_the_published_bounds():
    """Information 0.5, 0.75, 1 with the O'Brien-Fleming type: rpact 3.3.4 and gsDesign 3.10.1 to six digits."""
    design = Design(information_fractions=(0.5, 0.75, 1.0))
    assert design.critical_values == pytest.approx([2.962588, 2.359018, 2.014084], abs=1e-6)


def test_two_looks_are_the_bivariate_normal_integral():
    """P(Z1 < c1, Z2 < c2) with correlation sqrt(t1), by scipy's bivariate normal: an independent calculation."""
    design = Design(information_fractions=(0.4, 1.0), spending="lan-demets-pocock")
    c1, c2 = design.critical_values
    rho = math.sqrt(0.4)
    for drift in (-1.0, 0.0, 2.0, 3.5):
        below = multivariate_normal(mean=[drift * rho, drift], cov=[[1, rho], [rho, 1]]).cdf([c1, c2])
        assert design.exit_probabilities(drift).sum() == pytest.approx(1 - below, abs=1e-8)


FRACTIONS = [(0.2, 0.4, 0.6, 0.8, 1.0), (0.1, 0.101, 0.5, 0.502, 1.0), (0.03, 0.05, 0.9, 1.0)]


@pytest.mark.parametrize(
    ("fractions", "spending"),
    [*((f, name) for f in FRACTIONS for name in RPACT_NAMES.values()), ((0.001, 1.0), "lan-demets-pocock")],
)
def test_without_effect_exactly_alpha_is_spent_at_every_look(fractions, spending):
    design = Design(information_fractions=fractions, spending=spending)
    spent = np.cumsum(design.exit_probabilities(0.0))
    assert spent == pytest.approx(design.cumulative_alpha, rel=1e-9, abs=1e-14)


def test_a_finer_grid_changes_nothing(monkeypatch):
    coarse = Design(information_fractions=(0.3, 0.35, 0.8, 1.0))
    power = coarse.exit_probabilities([-4.0, 0.0, 3.0, 12.0])
    monkeypatch.setattr("trialml.design.integration._PANEL", 0.5)
    fine = Design(information_fractions=(0.3, 0.35, 0.8, 1.0))
    assert coarse.critical_values == pytest.approx(fine.critical_values, abs=1e-11)
    assert power == pytest.approx(fine.exit_probabilities([-4.0, 0.0, 3.0, 12.0]), abs=1e-12)


def test_exit_probabilities_agree_with_simulated_trials():
    """200,000 Brownian paths (seed 1); the band is 4.5 standard errors for every look."""
    fractions, drift, n = (0.3, 0.7, 1.0), 2.8, 200_000
    design = Design(information_fractions=fractions)
    steps = np.diff(fractions, prepend=0.0)
    paths = np.cumsum(np.random.default_rng(1).normal(drift * steps, np.sqrt(steps), (n, 3)), axis=1)
    crossed = paths / np.sqrt(fractions) >= design.critical_values
    first = np.array([np.mean(crossed[:, k] & ~crossed[:, :k].any(axis=1)) for k in range(3)])
    exits = design.exit_probabilities(drift)
    assert np.all(np.abs(first - exits) < 4.5 * np.sqrt(exits * (1 - exits) / n))


def test_a_single_look_is_the_fixed_design():
    design = Design(alpha=0.025, power=0.9)
    assert design.critical_values == pytest.approx([norm.isf(0.025)], rel=1e-12)
    assert design.inflation_factor == 1
    assert design.drift_for_power() == pytest.approx(norm.isf(0.025) + norm.isf(0.1), rel=1e-12)
    assert design.exit_probabilities(design.drift_for_power()) == pytest.approx([0.9], rel=1e-12)


def test_many_drifts_at_once_are_the_drifts_one_by_one():
    design = Design(information_fractions=(0.5, 1.0))
    drifts = [-2.0, 0.0, 1.0, 3.0]
    together = design.exit_probabilities(drifts)
    assert together.shape == (4, 2)
    assert together == pytest.approx(np.array([design.exit_probabilities(d) for d in drifts]), rel=1e-14)


def test_a_huge_drift_rejects_at_the_first_look_and_a_harmful_one_never():
    design = Design(information_fractions=(0.5, 0.75, 1.0))
    assert design.exit_probabilities(60.0) == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)
    assert design.exit_probabilities(-60.0).sum() == pytest.approx(0.0, abs=1e-12)


def test_a_design_survives_pickling_and_equals_its_copy():
    design = Design(information_fractions=[0.5, 1])
    assert design.critical_values[0] > 2.9
    assert pickle.loads(pickle.dumps(design)) == Design(information_fractions=(0.5, 1.0))


def test_the_printed_rules_say_that_alpha_is_one_sided():
    assert "alpha 0.025 one-sided" in Design().text()
    assert "no futility bound" in Design(information_fractions=(0.5, 1.0)).text()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alpha": 0.0}, r"alpha \(one-sided\) is 0: give a number above 0 and below 0.5"),
        ({"alpha": 0.5}, r"alpha \(one-sided\) is 0.5"),
        ({"alpha": math.nan}, r"alpha \(one-sided\) is nan"),
        ({"power": 0.025}, "power is 0.025, not above the one-sided alpha"),
        ({"power": 0.01}, "power is 0.01, not above"),
        ({"power": 1.0}, "power is 1: give a number above 0 and below 1"),
        ({"power": math.nan}, "power is nan"),
        ({"information_fractions": ()}, "information_fractions is empty"),
        ({"information_fractions": 1.0}, "give a sequence that ends in 1.0"),
        ({"information_fractions": (0.75, 0.5, 1.0)}, "do not increase"),
        ({"information_fractions": (0.5, 0.5, 1.0)}, "do not increase"),
        ({"information_fractions": (0.5, 1.2)}, "an information fraction is 1.2"),
        ({"information_fractions": (0.5, 0.9)}, "do not end in 1"),
        ({"information_fractions": (0.0, 1.0)}, "an information fraction is 0"),
        ({"information_fractions": (math.nan, 1.0)}, "an information fraction is nan"),
        ({"information_fractions": ("half", 1.0)}, "'half', which is not a number"),
        ({"allocation_ratio": 0.0}, "allocation_ratio .* is 0"),
        ({"spending": "lan-demets-pocok"}, "the nearest name is 'lan-demets-pocock'"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused_in_a_sentence(settings, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        Design(**settings)


def test_a_look_that_spends_nothing_is_refused():
    with pytest.raises(AnalysisError, match="would spend practically no alpha"):
        _ = Design(information_fractions=(0.01, 1.0)).critical_values


def test_a_drift_that_is_no_number_is_refused():
    with pytest.raises(AnalysisError, match="drift"):
        Design().exit_probabilities(math.nan)


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [
        (2, 2.178, 1.977),
        (3, 2.289, 2.004),
        (4, 2.361, 2.024),
        (5, 2.413, 2.040),
        (10, 2.555, 2.087),
        (20, 2.672, 2.126),
    ],
)
def test_two_sided_constants_are_those_of_jennison_and_turnbull(looks, pocock, obrien_fleming):
    """Jennison and Turnbull (2000), tables 2.1 and 2.3, two-sided alpha .05, equal looks, three decimals."""
    fractions = tuple(np.arange(1, looks + 1) / looks)
    for spending, constant in (("pocock", pocock), ("obrien-fleming", obrien_fleming)):
        design = Design(information_fractions=fractions, spending=spending, sides=2)
        assert design.critical_values[-1] == pytest.approx(constant, abs=5.01e-4)


def test_five_two_sided_looks_inflate_as_in_jennison_and_turnbull():
    """Their tables 2.2 and 2.4, alpha .05 two-sided, power .9, five looks: 1.207 (Pocock), 1.026 (O'Brien and Fleming)."""
    five = tuple(np.arange(1, 6) / 5)
    pocock = Design(information_fractions=five, spending="pocock", sides=2)
    obrien_fleming = Design(information_fractions=five, spending="obrien-fleming", sides=2)
    assert pocock.inflation_factor == pytest.approx(1.207, abs=5.01e-4)
    assert obrien_fleming.inflation_factor == pytest.approx(1.026, abs=5.01e-4)


def test_events_for_a_hazard_ratio_of_0_7_are_the_published_ones():
    """Schoenfeld's events at each look, alpha .025 one-sided, power .9, 1:1: rpact 3.3.4 and gsDesign 3.10.1."""
    design = Design(information_fractions=(0.5, 0.75, 1.0))
    events = 4 * design.drift_for_power() ** 2 / math.log(0.7) ** 2 * np.array(design.information_fractions)
    assert events == pytest.approx([168.208, 252.312, 336.416], abs=5e-4)


@pytest.mark.parametrize("spending", ["obrien-fleming", "lan-demets-pocock"])
def test_binding_futility_with_three_looks_is_the_trivariate_normal_integral(spending):
    """Probability of rejecting without effect as differences of scipy's trivariate normal integrals over boxes."""
    t, low = np.array([0.4, 0.7, 1.0]), (0.1, 0.6)
    design = Design(information_fractions=tuple(t), spending=spending, futility_z=low, binding=True)
    c = np.array(design.critical_values)
    joint = multivariate_normal(cov=np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t)), abseps=1e-9, releps=1e-9)
    pair = multivariate_normal(cov=[[1, math.sqrt(4 / 7)], [math.sqrt(4 / 7), 1]])
    second = norm.cdf(c[0]) - norm.cdf(low[0]) - pair.cdf(c[:2], lower_limit=[low[0], -np.inf])
    third = pair.cdf(c[:2], lower_limit=low) - joint.cdf(c, lower_limit=[*low, -np.inf])
    assert norm.sf(c[0]) + second + third == pytest.approx(0.025, abs=1e-7)


def test_beta_spending_goes_with_bounds_of_a_shape_too():
    """Binding Pocock bounds with spent beta: both constraints hold at once."""
    design = Design(
        information_fractions=(0.4, 0.7, 1.0), spending="pocock", futility_spending="lan-demets-pocock", binding=True
    )
    drift = design.drift_for_power()
    assert design.exit_probabilities(0.0).sum() == pytest.approx(0.025, rel=1e-9)
    assert design.futility_probabilities(drift).sum() == pytest.approx(0.1, abs=1e-10)
    assert len(set(design.critical_values)) == 1


def test_a_design_with_futility_says_what_binding_means():
    loose = Design(information_fractions=(0.5, 1.0), futility_z=(0.25,))
    assert (
        "futility below z of 0.25, non-binding (efficacy bounds keep alpha whether or not it is obeyed)" in loose.text()
    )
    bound = Design(information_fractions=(0.5, 1.0), futility_spending="kim-demets", futility_parameter=2, binding=True)
    assert "futility by Kim-DeMets spending (rho 2) of 0.1 of type II error, binding" in bound.text()
    assert "overruling it raises the type I error above alpha" in bound.text()
    assert "one-sided on each side of a two-sided test" in Design(sides=2).text()
    assert "of the information," in loose.text("information")


def test_the_bounds_in_words_are_z_nominal_p_and_alpha_spent():
    words = Design(information_fractions=(0.5, 1.0), futility_z=(0.25,)).bounds_text()
    assert words.startswith(
        "Look 1 at 50 % of the events rejects at z of at least 2.9626 (nominal one-sided p of at most 0.00153; "
        "0.00153 of alpha spent so far, one-sided) and stops for futility below z of 0.2500. Look 2 at 100 % "
    )
    assert words.endswith("0.025 of alpha spent so far, one-sided).")
    assert "for either arm" in Design(sides=2).bounds_text()


def test_two_looks_that_almost_coincide_have_futility_bounds():
    """Where the second of two close looks spends next to nothing, its bound lies many steps from the first's."""
    design = Design(information_fractions=(0.5, 0.501, 1.0), futility_spending="lan-demets-obrien-fleming")
    assert design.futility_probabilities(design.drift_for_power()).sum() == pytest.approx(0.1, abs=1e-10)

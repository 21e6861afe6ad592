"""Alpha spending against rpact 3.3.4 (stored `alphaSpent`) and its closed forms."""

import json
import math
from pathlib import Path

import pytest
from scipy.stats import norm

from trialml.design.spending import hwang_shih_decani, kim_demets, lan_demets_obrien_fleming, lan_demets_pocock
from trialml.errors import AnalysisError

REFERENCE = Path(__file__).parents[1] / "reference"
RATES = json.loads((REFERENCE / "design_gs_unequal_rates.json").read_text())["outputs"]


@pytest.mark.parametrize("case", sorted(RATES))
@pytest.mark.parametrize(("name", "spend"), [("asOF", lan_demets_obrien_fleming), ("asP", lan_demets_pocock)])
def test_interim_alpha_spent_is_rpacts(case, name, spend):
    """rpact: getDesignGroupSequential(informationRates, typeOfDesign = "asOF" / "asP", alpha = .025)$alphaSpent.

    Its first value is the closed form; later ones carry the 1e-8 tolerance of its root search.
    """
    stored = RATES[case][name]
    ours = [spend(t, 0.025) for t in stored["informationRates"]]
    assert ours[0] == pytest.approx(stored["alphaSpent"][0], rel=1e-8)
    assert ours == pytest.approx(stored["alphaSpent"], abs=1e-6)


@pytest.mark.parametrize("spend", [lan_demets_obrien_fleming, lan_demets_pocock])
@pytest.mark.parametrize("alpha", [0.005, 0.025, 0.05, 0.2])
def test_all_alpha_is_spent_at_the_end(spend, alpha):
    assert spend(1.0, alpha) == pytest.approx(alpha, rel=1e-12)


def test_the_formulas_are_those_of_lan_and_demets():
    assert lan_demets_obrien_fleming(0.5, 0.025) == pytest.approx(
        2 * norm.sf(norm.isf(0.0125) / math.sqrt(0.5)), rel=1e-10
    )
    assert lan_demets_pocock(0.5, 0.025) == pytest.approx(0.025 * math.log(1 + (math.e - 1) / 2), rel=1e-12)


@pytest.mark.parametrize("case", sorted(RATES))
def test_interim_alpha_of_the_gamma_family_is_rpacts(case):
    stored = RATES[case]["asHSD_m2"]
    ours = [hwang_shih_decani(t, 0.025, -2) for t in stored["informationRates"]]
    assert ours[0] == pytest.approx(stored["alphaSpent"][0], rel=1e-8)
    assert ours == pytest.approx(stored["alphaSpent"], abs=1e-6)


def test_the_families_with_a_parameter_are_their_formulas():
    """Hwang, Shih and DeCani: alpha (1 - e^(-gt)) / (1 - e^(-g)), linear at g = 0; Kim and DeMets: alpha t^rho."""
    for gamma in (-40.0, -4.0, -1e-9, 1e-9, 1.0, 40.0):
        formula = 0.025 * -math.expm1(-gamma * 0.3) / -math.expm1(-gamma)
        assert hwang_shih_decani(0.3, 0.025, gamma) == pytest.approx(formula, rel=1e-12)
    assert hwang_shih_decani(0.3, 0.025, 0) == pytest.approx(0.0075, rel=1e-12)
    assert hwang_shih_decani(0.3, 0.025, 1e-9) == pytest.approx(0.0075, rel=1e-8)
    assert kim_demets(0.3, 0.025, 3) == pytest.approx(0.025 * 0.027, rel=1e-12)
    assert kim_demets(1, 0.025, 0.5) == hwang_shih_decani(1, 0.025, 3) == 0.025


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, math.nan])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(AnalysisError, match="information fraction is"):
        lan_demets_pocock(fraction, 0.025)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.7, -0.01, math.nan])
def test_an_alpha_that_is_not_one_sided_is_refused(alpha):
    with pytest.raises(AnalysisError, match=r"alpha \(one-sided\) is"):
        lan_demets_obrien_fleming(0.5, alpha)

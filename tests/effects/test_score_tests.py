"""Score tests and limits of two proportions against gsDesign 3.10.1, and by their own equations."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from trialml.effects.binary import score_interval
from trialml.effects.score_tests import contrast_of, restricted_rates, score_limits, score_z
from trialml.errors import AnalysisError, DataError

STORED = json.loads((Path(__file__).parents[1] / "reference" / "gsdesign_nbinomial_nnormal.json").read_text())[
    "outputs"
]
SCALES = ("risk difference", "risk ratio", "odds ratio")
CASE = (56, 100, 35, 100)
Z = 1.959963984540054


def test_statistics_are_gsdesigns():
    """testBinomial(x1 = 56, x2 = 35, n1 = 100, n2 = 100); and x2 = 55, delta0 = -.1, adj = 0."""
    assert score_z(*CASE) == pytest.approx(STORED["test_score"], rel=1e-8)
    assert score_z(56, 100, 55, 100, null=-0.1) == pytest.approx(STORED["test_ni"], rel=1e-8)


@pytest.mark.parametrize(("name", "scale"), list(zip(("ci_diff_MN", "ci_rr", "ci_or"), SCALES, strict=True)))
def test_limits_are_gsdesigns_as_far_as_its_root_finder_goes_and_solve_their_equation(name, scale):
    """ciBinomial stops where R's uniroot does by default, 1.2e-4 from the root; ours make the statistic 1.959964."""
    ours = score_limits(*CASE, scale=scale)
    assert ours == pytest.approx(tuple(STORED[name].values()), abs=1.3e-4)
    assert [score_z(*CASE, null=one, scale=scale) for one in ours] == pytest.approx([Z, -Z], abs=1e-9)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("weights", [(100, 100), (40, 120)])
@pytest.mark.parametrize("shift", [0.7, 1.0, 1.6])
def test_restricted_rates_have_the_largest_likelihood(scale, weights, shift):
    """The likelihood along the null hypothesis, maximised without derivatives."""
    null = shift - 1 if scale == "risk difference" else shift
    p1, p0 = 0.45, 0.3

    def other(base):
        if scale == "risk difference":
            return base + null
        return null * base if scale == "risk ratio" else null * base / (1 + base * (null - 1))

    def loss(base):
        pairs = ((other(base), p1, weights[0]), (base, p0, weights[1]))
        if not all(0 < q < 1 for q, _, _ in pairs):
            return math.inf
        return -sum(n * (p * math.log(q) + (1 - p) * math.log(1 - q)) for q, p, n in pairs)

    inside = [base for base in np.linspace(1e-4, 1 - 1e-4, 2001) if math.isfinite(loss(base))]
    best = minimize_scalar(loss, bounds=(inside[0], inside[-1]), method="bounded", options={"xatol": 1e-10})
    found = restricted_rates(p1, p0, weights, null, scale)
    assert found.control == pytest.approx(best.x, abs=1e-6)
    assert contrast_of(*found, scale) == pytest.approx(null, abs=1e-12)


def test_limits_of_the_difference_differ_from_miettinen_and_nurminens_by_their_factor_alone():
    """Their variance is n / (n - 1) times this one: at their limits the statistic is 1.96 times the root of it."""
    for limit in score_interval(*CASE):
        assert abs(score_z(*CASE, null=limit)) == pytest.approx(Z * math.sqrt(200 / 199), rel=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_changing_the_arms_turns_the_limits_round(scale):
    low, high = score_limits(*CASE, scale=scale)
    turned = score_limits(35, 100, 56, 100, scale=scale)
    expected = (-high, -low) if scale == "risk difference" else (1 / high, 1 / low)
    assert turned == pytest.approx(expected, rel=1e-9)


def test_empty_and_full_arms_have_limits():
    assert score_limits(0, 10, 0, 10) == pytest.approx((-0.2775327998628893, 0.2775327998628893), rel=1e-9)
    assert score_limits(10, 10, 10, 10) == pytest.approx((-0.2775327998628893, 0.2775327998628893), rel=1e-9)
    assert score_limits(0, 10, 3, 10, scale="risk ratio").low == 0
    assert score_limits(3, 10, 0, 10, scale="odds ratio").high == math.inf
    assert score_z(0, 10, 0, 10) == 0.0


def test_limits_without_events_are_wilsons_closed_form():
    """Both arms empty: restricted to a difference t > 0 the control has none, so t = z^2 / (n + z^2)."""
    assert score_limits(0, 10, 0, 10).high == pytest.approx(Z**2 / (10 + Z**2), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: score_limits(0, 10, 0, 10, scale="risk ratio"), AnalysisError, "no patient has the event"),
        (lambda: score_limits(9, 9, 10, 10, scale="odds ratio"), AnalysisError, "every patient has the event"),
        (
            lambda: score_limits(1, 10, 2, 10, scale="ratio"),
            AnalysisError,
            "the scale 'ratio' of two rates is not known",
        ),
        (lambda: score_z(1, 10, 2, 10, null=1.0), AnalysisError, "under the null hypothesis is 1"),
        (lambda: score_z(11, 10, 2, 10), DataError, "11 events in 10 patients"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()

"""Binary and continuous contrasts against R (tests/reference/effects.json), published tables and brute force."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.effects.binary import BinaryContrast, binary_contrast, mantel_haenszel, newcombe_interval, score_interval
from trialml.effects.continuous import ContinuousContrast, continuous_contrast, mean_difference
from trialml.errors import AnalysisError, DataError

REFERENCE = Path(__file__).parents[1] / "reference"
ORACLE = json.loads((REFERENCE / "effects.json").read_text())
Z = 1.959963984540054


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(REFERENCE / "data" / "rct_sim.csv")


# Newcombe 1998, Statistics in Medicine 17:873-890, table II: x1/n1, x0/n0, method 10 and (rounded) method 6, the score interval.
NEWCOMBE = [
    ((56, 70, 48, 80), (0.0524, 0.3339)),
    ((9, 10, 3, 10), (0.1705, 0.8090)),
    ((6, 7, 2, 7), (0.0582, 0.8062)),
    ((5, 56, 0, 29), (-0.0381, 0.1926)),
    ((0, 10, 0, 20), (-0.1611, 0.2775)),
    ((0, 10, 0, 10), (-0.2775, 0.2775)),
    ((10, 10, 0, 20), (0.6791, 1.0000)),
    ((10, 10, 0, 10), (0.6075, 1.0000)),
]


@pytest.mark.parametrize(("counts", "limits"), NEWCOMBE)
def test_newcombes_limits_are_those_of_his_table(counts, limits):
    np.testing.assert_allclose(newcombe_interval(*counts), limits, atol=5.1e-5)


@pytest.mark.parametrize("place", range(3))
def test_score_limits_are_those_of_a_likelihood_maximised_numerically(place):
    case = ORACLE["score_interval"]
    # R's optimiser finds the restricted maximum to 1e-9, and no better.
    np.testing.assert_allclose(score_interval(*case["counts"][place]), case["limits"][place], atol=1e-9)


# No patient of an arm, or each, had the event. Of 30/30 against 30/30 the restricted maximum lies at 1 and the limit solves
# t^2 = z^2 t (1 - t) / n 2n / (2n - 1), that is t = k / (1 + k) with k = 2 z^2 / (2n - 1). The others invert the statistic with the
# likelihood maximised by bisection on a grid of t.
ALL_OR_NOTHING = [
    ((30, 30, 30, 30), (-0.115215679, 0.115215679)),
    ((0, 30, 0, 30), (-0.115215679, 0.115215679)),
    ((30, 30, 0, 30), (0.8777, 1.0)),
    ((20, 20, 30, 30), (-0.1639, 0.1156)),
    ((0, 50, 0, 10), (-0.2809, 0.0725)),
    ((1, 1, 0, 1), (-0.5869, 1.0)),
]


@pytest.mark.parametrize(("counts", "limits"), ALL_OR_NOTHING)
def test_score_limits_where_an_arm_has_all_events_or_none_have_a_width(counts, limits):
    np.testing.assert_allclose(score_interval(*counts), limits, atol=1e-9 if 30 == counts[1] == counts[2] else 6e-5)
    k = 2 * Z**2 / 59
    assert score_interval(30, 30, 30, 30).high == pytest.approx(k / (1 + k), rel=1e-10)


def maximised_variance(x1, n1, x0, n0, t):
    """The variance of the score test at a difference of t: the derivative of the likelihood bisected, no cubic."""
    low, high = np.maximum(0, -t), np.minimum(1, 1 - t)
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(60):
            p = (low + high) / 2
            slope = sum(
                (x / own if x else 0) - ((n - x) / (1 - own) if n > x else 0)
                for x, n, own in ((x1, n1, p + t), (x0, n0, p))
            )
            low, high = np.where(slope > 0, p, low), np.where(slope > 0, high, p)
    p = (low + high) / 2
    return ((p + t) * (1 - p - t) / n1 + p * (1 - p) / n0) * (n1 + n0) / (n1 + n0 - 1)


@pytest.mark.parametrize(("n1", "n0"), [(1, 1), (2, 3), (1, 6), (5, 2), (8, 8)])
def test_score_limits_are_the_ends_of_what_the_test_does_not_reject(n1, n0):
    """Every table of those sizes, on a grid of 4,000 differences."""
    grid = np.linspace(-1, 1, 4001)[1:-1]
    for x1 in range(n1 + 1):
        for x0 in range(n0 + 1):
            d = x1 / n1 - x0 / n0
            kept = grid[(d - grid) ** 2 <= Z**2 * maximised_variance(x1, n1, x0, n0, grid)]
            ends = [np.append(kept, d).min(), np.append(kept, d).max()]
            np.testing.assert_allclose(score_interval(x1, n1, x0, n0), ends, atol=6e-4)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1))
def test_score_and_newcombe_limits_hold_the_estimate_and_turn_with_the_arms(n1, n0, share1, share0):
    x1, x0 = round(share1 * n1), round(share0 * n0)
    for interval in (score_interval, newcombe_interval):
        low, high = interval(x1, n1, x0, n0)
        assert -1 <= low <= x1 / n1 - x0 / n0 + 1e-12
        assert x1 / n1 - x0 / n0 - 1e-12 <= high <= 1 + 1e-12
        np.testing.assert_allclose(interval(x0, n0, x1, n1), (-high, -low), atol=1e-8)


def test_the_mantel_haenszel_odds_ratio_of_berkeleys_admissions_is_rs():
    """mantelhaen.test(UCBAdmissions, correct = FALSE): 0.9046968 (0.7719 to 1.0603), chi-square 1.5246."""
    wanted = ORACLE["ucb"]
    table = np.array(wanted["table"]).reshape(6, 2, 2)  # department, gender, admitted first
    male, female = table[:, 0], table[:, 1]
    found = mantel_haenszel(male[:, 0], male.sum(axis=1), female[:, 0], female.sum(axis=1))
    limits = np.exp(math.log(found.odds_ratio) + found.odds_ratio_se * Z * np.array([-1, 1]))
    np.testing.assert_allclose([found.odds_ratio, *limits], [wanted["estimate"], *wanted["ci"]], rtol=1e-8)
    np.testing.assert_allclose(found.chi_square, wanted["chisq"], rtol=1e-8)


def test_mantel_haenszel_estimates_and_variances_are_rs(table):
    """mantelhaen.test, Greenland and Robins' formula, and the difference's test inverted by root finding."""
    wanted = ORACLE["mantel_haenszel"]
    found = binary_contrast(table["response"], table["w"], strata=table["x8"])
    difference, ratio, odds = (found.estimate(f"mh_{name}") for name in ("risk_difference", "risk_ratio", "odds_ratio"))
    got = [difference.value, difference.se, difference.low, difference.high]
    np.testing.assert_allclose(got, [wanted["difference"][name] for name in ("value", "se", "low", "high")], rtol=1e-8)
    np.testing.assert_allclose([ratio.value, ratio.se], [wanted["ratio"]["value"], wanted["ratio"]["se"]], rtol=1e-8)
    np.testing.assert_allclose(
        [odds.value, odds.low, odds.high], [wanted["odds_ratio"], *wanted["odds_ratio_ci"]], rtol=1e-8
    )


def test_without_an_event_in_an_arm_the_mantel_haenszel_test_is_still_rs():
    """mantelhaen.test(correct = FALSE) of 3/5 against 0/4 and 2/4 against 0/5: odds ratio infinite, chi-square 6.05."""
    found = mantel_haenszel([3, 2], [5, 4], [0, 0], [4, 5])
    assert found.chi_square == pytest.approx(6.05, rel=1e-12)
    assert math.isnan(found.odds_ratio)
    assert mantel_haenszel([0, 0], [4, 5], [3, 2], [5, 4]).chi_square == pytest.approx(6.05, rel=1e-12)
    assert math.isnan(mantel_haenszel([4], [4], [5], [5]).chi_square)


def test_with_one_stratum_mantel_haenszel_is_the_plain_estimate():
    found = mantel_haenszel([30], [80], [20], [90])
    assert found.difference == pytest.approx(30 / 80 - 20 / 90, rel=1e-12)
    assert found.ratio == pytest.approx((30 / 80) / (20 / 90), rel=1e-12)
    assert found.odds_ratio == pytest.approx(30 * 70 / (50 * 20), rel=1e-12)
    assert found.ratio_se == pytest.approx(math.sqrt(1 / 30 - 1 / 80 + 1 / 20 - 1 / 90), rel=1e-12)


def test_klingenbergs_interval_covers_with_many_sparse_strata():
    """40 strata of about 5 patients, a common difference of 0.2: 95 % of 2,000 intervals within three Monte Carlo errors."""
    draw = np.random.default_rng(4)
    base = draw.uniform(0.1, 0.7, 40)
    hits = 0
    for _ in range(2000):
        n1, n0 = draw.integers(1, 5, 40), draw.integers(1, 5, 40)
        found = mantel_haenszel(draw.binomial(n1, base + 0.2), n1, draw.binomial(n0, base), n0)
        hits += found.difference_low <= 0.2 <= found.difference_high
    assert abs(hits / 2000 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 2000)


def test_a_stratum_with_an_empty_arm_tells_nothing_and_is_counted():
    whole = mantel_haenszel([3, 4, 2], [10, 12, 6], [2, 3, 0], [11, 9, 0])
    part = mantel_haenszel([3, 4], [10, 12], [2, 3], [11, 9])
    assert whole.unused == 6
    assert whole.difference == part.difference
    with pytest.raises(AnalysisError, match="every stratum has an empty arm"):
        mantel_haenszel([3], [10], [0], [0])


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_all_events_or_none_give_a_difference_with_limits_and_words_for_the_rest(outcome):
    found = binary_contrast(np.full(60, outcome), np.arange(60) % 2, strata=np.arange(60) // 20)
    score, newcombe = found.estimate("risk_difference_score"), found.estimate("risk_difference")
    np.testing.assert_allclose([score.value, score.low, score.high], [0, -0.115215679, 0.115215679], atol=1e-9)
    # Wilson's limit of 0/30 is z^2 / (30 + z^2), and that of the other proportion is itself.
    np.testing.assert_allclose([newcombe.low, newcombe.high], Z**2 / (30 + Z**2) * np.array([-1, 1]), rtol=1e-10)
    assert math.isnan(newcombe.se)
    for name in ("risk_ratio", "odds_ratio", "mh_risk_difference", "mh_risk_ratio", "mh_odds_ratio"):
        assert math.isnan(found.estimate(name).value)
        assert "not estimable" in found.estimate(name).method
    assert "not estimable" in found.table().to_string()


def test_mantel_haenszel_limits_of_no_width_are_no_limits():
    """All events in one stratum and none in the other: each variance is 0, whatever the arms' sizes."""
    found = mantel_haenszel([7, 0], [7, 9], [5, 0], [5, 4])
    assert found.difference == 0
    assert found.ratio == 1
    assert np.isnan([found.difference_se, found.difference_low, found.difference_high, found.ratio_se]).all()


def test_an_arm_with_every_event_against_one_with_none_keeps_klingenbergs_limits():
    """(1 - t)^2 = z^2 (t P + Q) with P = -1/10 and Q = 1/10 in one stratum of 10 and 10: t = 1 and 1 - z^2 / 10."""
    found = mantel_haenszel([10], [10], [0], [10])
    np.testing.assert_allclose([found.difference_low, found.difference_high], [1 - Z**2 / 10, 1], rtol=1e-10)
    assert math.isnan(found.difference_se)


def test_trap_39_each_scale_says_whether_it_is_marginal_or_conditional(table):
    found = binary_contrast(table["response"], table["w"], strata=table["x8"])
    scales = {name: one.scale for name, one in found.estimates.items()}
    assert scales["mh_odds_ratio"] == "odds ratio, conditional on the strata"
    assert all("marginal" in scale for name, scale in scales.items() if name != "mh_odds_ratio")


def test_the_difference_of_means_is_welchs(table):
    """t.test(y ~ arm) of R 4.2.2."""
    wanted = ORACLE["welch"]
    found = continuous_contrast(table["y"], table["w"], unit="points").estimate("mean_difference")
    got = [found.value, found.se, found.low, found.high]
    np.testing.assert_allclose(got, [wanted["difference"], wanted["se"], *wanted["ci"]], rtol=1e-8)
    np.testing.assert_allclose(mean_difference(table["y"], table["w"]).df, wanted["df"], rtol=1e-8)


def test_the_stratified_difference_is_the_weighted_sum_over_strata(table):
    value = variance = 0.0
    for _, part in table.groupby("x8"):
        share = len(part) / len(table)
        one, zero = (part.loc[part["w"] == arm, "y"] for arm in (1, 0))
        value += share * (one.mean() - zero.mean())
        variance += share**2 * (one.var() / len(one) + zero.var() / len(zero))
    found = continuous_contrast(table["y"], table["w"], strata=table["x8"]).estimate("stratified_mean_difference")
    np.testing.assert_allclose([found.value, found.se], [value, math.sqrt(variance)], rtol=1e-10)


def test_the_ratio_of_means_covers_its_truth():
    """2,000 trials of 2 x 60 log-normal outcomes, ratio exp(0.3): within three Monte Carlo errors of 95 %, and 1 % for skewness."""
    draw, arm, hits = np.random.default_rng(2), np.arange(120) % 2 == 1, 0
    for _ in range(2000):
        found = continuous_contrast(np.exp(draw.normal(1 + 0.3 * arm, 0.4)), arm).estimate("mean_ratio")
        hits += found.low <= math.exp(0.3) <= found.high
    assert abs(hits / 2000 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 2000) + 0.01


def test_a_ratio_with_a_mean_not_above_0_is_words():
    found = continuous_contrast(np.array([-1.0, -2, 3, 4, -1, 2]), np.array([0, 0, 1, 1, 0, 1]))
    assert math.isnan(found.estimate("mean_ratio").value)
    assert "not above 0" in found.estimate("mean_ratio").method


@pytest.mark.parametrize("compare", [binary_contrast, continuous_contrast])
def test_bad_input_is_refused_in_a_sentence(compare):
    good, arm = np.array([0.0, 1, 1, 0, 1, 0]), np.array([0, 1, 0, 1, 0, 1])
    with pytest.raises(AnalysisError, match="all 6 patients are in the experimental arm"):
        compare(good, np.ones(6))
    with pytest.raises(DataError, match="missing or infinite in 1 of 6 rows"):
        compare(np.append(good[:5], np.nan), arm)
    with pytest.raises(DataError, match="missing or infinite in 6 of 6 rows"):
        compare(np.full(6, np.nan), arm)
    with pytest.raises(DataError, match="shape"):
        compare(good, arm[:5])
    with pytest.raises(DataError, match="strata"):
        compare(good, arm, strata=["a"] * 5)
    with pytest.raises(DataError, match="numbers"):
        compare(["a"] * 6, arm)
    with pytest.raises(AnalysisError, match="no patients"):
        compare(np.empty(0), np.empty(0))
    with pytest.raises(DataError, match="other than 0 and 1"):
        compare(good, arm * 2)


def test_a_binary_outcome_holds_0_and_1_only():
    with pytest.raises(DataError, match="holds the value 2"):
        binary_contrast([0, 1, 2, 1], [0, 1, 0, 1])


def test_a_share_of_an_event_is_no_count():
    with pytest.raises(DataError, match="a count that is none"):
        mantel_haenszel([1.5], [3], [1], [3])


def test_a_stratum_with_an_empty_arm_has_no_difference_of_means():
    with pytest.raises(AnalysisError, match="the experimental arm of stratum 'b' has 0 patients"):
        mean_difference(np.arange(8.0), [0, 1, 0, 1, 0, 0, 0, 0], ["a"] * 4 + ["b"] * 4)
    with pytest.raises(AnalysisError, match="one value in each arm"):
        mean_difference(np.ones(8), np.arange(8) % 2)
    with pytest.raises(AnalysisError, match="one value in each arm"):  # whose variance rounds to 2e-34
        mean_difference(np.full(30, 0.1), np.arange(30) % 2)


@pytest.mark.parametrize(("kind", "column"), [(BinaryContrast, "response"), (ContinuousContrast, "y")])
def test_endpoint_contrasts_survive_a_round_trip(table, kind, column):
    found = (binary_contrast if column == "response" else continuous_contrast)(table[column], table["w"])
    again = kind.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.text() == found.text()
    assert set(found.frame()["estimate"]) == set(found.estimates)

"""The closed test of subgroup and full population: rpact's stored cases, definitions and refusals."""

import json
import math

import numpy as np
import pytest
from scipy import integrate
from scipy.special import ndtr

from trialml.design.closed_test import ClosedTest, closed_test
from trialml.design.combination import combined_z, repeated_p, stage_weights, z_of_p
from trialml.design.group_sequential import Design
from trialml.design.intersection_tests import TESTS, intersection_z
from trialml.design.stage_statistics import PopulationScores, logrank_increment, population_scores, stratified_rates_z
from trialml.errors import AnalysisError
from trialml.survival.logrank import logrank

NAN = math.nan
HALVES = Design(information_fractions=(0.5, 1.0))
EARLY = Design(information_fractions=(0.4, 1.0))
RPACT = {
    "Simes": "simes",
    "Bonferroni": "bonferroni",
    "Sidak": "sidak",
}
"""rpact's names of the tests of the intersection."""

RATES = {"S": ((34, 60, 22, 60), (52, 90, 36, 90)), "R": ((38, 80, 35, 80), (55, 110, 47, 110))}
SCORES = [PopulationScores(-5.1, 10, -2.1, 15), PopulationScores(-10.9, 25, -4.4, 36)]
"""Log-rank sums at two looks: subgroup, its variance, rest, its variance."""


def stages_of(what):
    """Return the stage-wise z of subgroup and full population."""
    if what == "rates":
        both = zip(RATES["S"], RATES["R"], strict=True)
        return [stratified_rates_z(*s) for s in RATES["S"]], [stratified_rates_z(*np.transpose(pair)) for pair in both]
    stages = [logrank_increment(SCORES[0]), logrank_increment(SCORES[1], SCORES[0])]
    full = [stage.full for stage in stages]
    return [stage.subgroup for stage in stages], full if what == "survival" else [full[0], NAN]


def test_rates_with_the_full_population_dropped_agree_with_rpact_in_every_number(oracle):
    case = oracle("analysis_enrichment_closed_test")
    s, rest = ((24, 40, 14, 40), (50, 80, 33, 80)), (28, 60, 25, 60)
    z_s = [stratified_rates_z(*s[0]), stratified_rates_z(*s[1])]
    z_f = [stratified_rates_z(*np.transpose([s[0], rest])), NAN]
    found = closed_test(HALVES, z_s, z_f)
    rows = found.stages

    def by_hypothesis(column):
        return np.array([rows[rows["intersection"] == name][column] for name in rows["intersection"].unique()])

    case.agrees([z_s, z_f], "stage", "testStatistics")
    for part in ("stage", "closed"):
        case.agrees(ndtr(-np.array([z_s, z_f])), part, "separatePValues")
    case.agrees(by_hypothesis("p"), "closed", "adjustedStageWisePValues")
    case.agrees(by_hypothesis("z"), "closed", "overallAdjustedTestStatistics")
    case.agrees(by_hypothesis("rejected"), "closed", "rejectedIntersections")
    case.agrees([[False, True], [False, False]], "closed", "rejected")
    assert found.populations["rejected_at"].to_list() == [2, 0]
    case.agrees(stage_weights(HALVES), "stage", "weightsInverseNormal")
    case.agrees([[24 / 40, 74 / 120], [52 / 100, NAN]], "stage", "overallPisTreatment")
    case.agrees([[14 / 40, 47 / 120], [39 / 100, NAN]], "stage", "overallPisControl")
    case.agrees([[1, 1], [1, 0], [0, 1]], "closed", "indices")
    for part in ("stage", "closed"):
        assert case.get(part, "intersectionTest") == "Simes"
    case.agrees([1, 2], "stage", "stages")
    for name in ("thetaH0", "direction", "normalApproximation", "directionUpper", "stratifiedAnalysis"):
        case.aside("stage", name, reason="an argument of the call, not a result")
    for name in ("overallPValues", "singleStepAdjustedPValues", "combInverseNormal"):
        case.aside("stage", name, reason="empty in rpact's answer")
    for name in ("conditionalErrorRate", "secondStagePValues"):
        case.aside("closed", name, reason="empty: for the conditional Dunnett test")


@pytest.mark.parametrize("what", ["rates", "survival", "dropped"])
def test_every_intersection_test_agrees_with_rpact_in_p_values_combined_z_and_repeated_p(oracle, what):
    case = oracle("enrichment_closed")
    z_s, z_f = stages_of(what)
    np.testing.assert_allclose(EARLY.critical_values, case.get("critical_values"), atol=1e-6)
    for theirs, test in RPACT.items():
        found = closed_test(EARLY, z_s, z_f, test=test)
        wanted = {key: np.array(value, dtype=float) for key, value in case.get(what, theirs).items()}
        for column, name in (("p", "p"), ("z", "combined")):
            ours = found.stages[column].to_numpy().reshape(3, 2)
            np.testing.assert_allclose(ours, wanted[name], rtol=1e-8, atol=1e-10)
        sign = (
            1 if what == "rates" else -1
        )  # rpact's z of a log-rank test is below 0 where the experimental arm does better
        np.testing.assert_allclose([z_s, z_f], sign * wanted["z"], rtol=1e-8)
        at = found.populations["rejected_at"].to_numpy()
        np.testing.assert_array_equal((at[:, None] > 0) & (at[:, None] <= [1, 2]), wanted["rejected"].astype(bool))
        for row, repeated in zip(found.populations.itertuples(), wanted["repeated_p"], strict=True):
            if not row.dropped_at:
                # rpact's repeated p is that of the last look alone and is searched to 1e-6
                assert row.p_adjusted == pytest.approx(min(repeated), abs=2e-6)
    for z, share, p in zip(*(case.get("spiessens_debois", key) for key in ("z", "share", "p")), strict=True):
        # The p is 1 less a probability that mvtnorm's rule of Miwa gives to 1e-10.
        assert ndtr(-intersection_z(TESTS["spiessens-debois"], *z, math.sqrt(share))) == pytest.approx(p, abs=1e-9)
    for other in {"rates", "survival", "dropped"} - {what}:
        case.aside(other, reason="compared in another case of this test")
    for name in ("R_version", "packages"):
        case.aside(name, reason="provenance")


@pytest.mark.parametrize(
    ("z_s", "z_f", "share"), [(2.1, 0.4, 0.3), (1.0, 2.5, 0.7), (-0.5, -0.2, 0.5), (3.3, 3.1, 0.9)]
)
def test_intersection_p_values_are_those_of_their_definitions(z_s, z_f, share):
    p = sorted(ndtr(-np.array([z_s, z_f])))
    high, rho = max(z_s, z_f), math.sqrt(share)

    def density(x):
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi) * ndtr((high - rho * x) / math.sqrt(1 - rho * rho))

    below = integrate.quad(density, -12, high, epsabs=1e-14, epsrel=1e-13)[0]
    wanted = {
        "bonferroni": min(1, 2 * p[0]),
        "simes": min(2 * p[0], p[1]),
        "sidak": 1 - (1 - p[0]) ** 2,
        "spiessens-debois": 1 - below,
        "subgroup-first": ndtr(-z_s),
        "full-first": ndtr(-z_f),
    }
    for test, value in wanted.items():
        assert ndtr(-intersection_z(TESTS[test], z_s, z_f, rho)) == pytest.approx(value, rel=1e-8), test


def test_the_null_level_of_spiessens_and_debois_is_exact_and_of_bonferroni_conservative():
    """Fixed design: the rejection region of the intersection has probability alpha under the bivariate normal."""
    rho, alpha = math.sqrt(0.4), 0.025
    draw = np.random.default_rng(3).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 200_000)
    rates = {}
    for test in ("bonferroni", "simes", "sidak", "spiessens-debois"):
        z = np.array([intersection_z(TESTS[test], a, b, rho) for a, b in draw])
        rates[test] = np.mean(ndtr(-z) <= alpha)
    error = math.sqrt(alpha * (1 - alpha) / len(draw))
    assert abs(rates["spiessens-debois"] - alpha) < 4 * error
    assert rates["bonferroni"] <= rates["sidak"] <= rates["spiessens-debois"] + 4 * error
    assert rates["simes"] < alpha + 4 * error


def test_a_tiny_p_value_keeps_its_digits():
    assert ndtr(-intersection_z(TESTS["bonferroni"], 20.0, 1.0, 0.5)) == pytest.approx(2 * ndtr(-20.0), rel=1e-9)
    assert intersection_z(TESTS["bonferroni"], -1.0, -2.0, 0.5) == -math.inf


def test_the_log_rank_of_one_look_is_that_of_the_survival_chapter_and_increments_add_up():
    draw = np.random.default_rng(5)
    n = 300
    subgroup, arm = draw.random(n) < 0.4, draw.random(n) < 0.5
    entry, life = draw.uniform(0, 12, n), draw.exponential(10, n)

    def seen(month):
        inside = entry < month
        time = np.minimum(life, month - entry)[inside]
        event = (entry + life <= month)[inside]
        return population_scores(time, event, arm[inside], subgroup[inside]), (
            time,
            event,
            arm[inside],
            subgroup[inside],
        )

    first, _ = seen(9.0)
    second, (time, event, here, group) = seen(20.0)
    whole = logrank(time, event, here.astype(int), order=[0, 1], strata=group)
    assert logrank_increment(second).full == pytest.approx(-whole.z, rel=1e-10)
    gained = logrank_increment(second, first)
    assert gained.subgroup == pytest.approx(
        -(second.subgroup - first.subgroup) / math.sqrt(second.subgroup_variance - first.subgroup_variance), rel=1e-12
    )
    v1, v2 = first.subgroup_variance + first.rest_variance, second.subgroup_variance + second.rest_variance
    z1, z2 = logrank_increment(first).full, logrank_increment(second).full
    assert math.sqrt(v1) * z1 + math.sqrt(v2 - v1) * gained.full == pytest.approx(math.sqrt(v2) * z2, rel=1e-10)
    with pytest.raises(AnalysisError, match="information has not increased"):
        logrank_increment(first, second)


def test_prefixed_weights_make_the_combined_z_of_increments_of_planned_size_the_cumulative_z():
    weights = stage_weights(Design(information_fractions=(0.3, 0.6, 1.0)))
    assert float(weights @ weights) == pytest.approx(1.0, rel=1e-14)
    np.testing.assert_allclose(combined_z([1.0, NAN, NAN], weights), [1.0, NAN, NAN])
    z = combined_z([1.0, 0.5, 2.0], weights)
    assert z[2] == pytest.approx(weights @ [1.0, 0.5, 2.0], rel=1e-14)


def test_the_repeated_p_of_a_fixed_design_is_the_p_value_and_of_a_bound_its_level():
    assert repeated_p(Design(), [2.3]) == pytest.approx(ndtr(-2.3), rel=1e-9)
    assert repeated_p(HALVES, HALVES.critical_values[:1]) == pytest.approx(0.025, rel=1e-9)
    assert repeated_p(HALVES, [-1.0, HALVES.critical_values[1]]) == pytest.approx(0.025, rel=1e-9)
    assert repeated_p(HALVES, [-1.0, -1.0]) == 1.0


@pytest.mark.parametrize(
    ("spending", "parameter"),
    [
        ("lan-demets-pocock", None),
        ("obrien-fleming", None),
        ("pocock", None),
        ("wang-tsiatis", 0.25),
        ("hwang-shih-decani", -4.0),
        ("kim-demets", 2.0),
    ],
)
def test_the_repeated_p_at_a_bound_is_alpha_in_every_family_with_bounds_at_every_level(spending, parameter):
    design = Design(information_fractions=(0.5, 1.0), spending=spending, spending_parameter=parameter)
    assert repeated_p(design, design.critical_values[:1]) == pytest.approx(0.025, rel=1e-7)
    assert repeated_p(design, [0.0, design.critical_values[1]]) == pytest.approx(0.025, rel=1e-7)
    found = closed_test(design, [2.2, 2.9], [1.0, 0.2])
    assert 0 < found.populations["p_adjusted"].min() < 0.05


def test_a_design_whose_bounds_belong_to_one_alpha_has_rejections_but_no_adjusted_p():
    found = closed_test(Design(information_fractions=(0.5, 1.0), spending="haybittle-peto"), [2.2, 2.9], [1.0, 0.2])
    assert found.populations["rejected"].to_list() == [True, False]
    assert found.populations["p_adjusted"].isna().all()
    assert "adjusted one-sided p" not in found.text()


def test_a_rejection_follows_from_the_adjusted_p():
    draw = np.random.default_rng(11)
    for _ in range(25):
        z = draw.normal(1.3, 1, (2, 2))
        found = closed_test(HALVES, *z, test="sidak")
        for row in found.populations.itertuples():
            assert row.rejected == (row.p_adjusted <= 0.025)


def test_a_fixed_sequence_rejects_the_second_population_only_after_the_first():
    found = closed_test(Design(), [3.0], [1.0], test="full-first")
    assert found.populations["rejected"].to_list() == [False, False]
    found = closed_test(Design(), [3.0], [1.0], test="subgroup-first")
    assert found.populations["rejected"].to_list() == [True, False]


def test_the_result_says_alpha_one_sided_and_survives_json():
    found = closed_test(HALVES, [1.2, 3.0], [0.4, NAN], names=("biomarker high", "all comers"))
    assert "one-sided" in found.text()
    assert "biomarker high is rejected at stage 2" in found.text()
    assert "all comers was dropped at stage 2" in found.text()
    again = ClosedTest.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    assert again.frame().equals(found.frame())
    assert found.scalars()["subgroup_rejected"] == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: closed_test(HALVES, [1.0], [1.0], test="simez"), "nearest name is 'simes'"),
        (lambda: closed_test(HALVES, [1.0], [1.0], test="spiessens-debois"), "give subgroup_share"),
        (lambda: closed_test(HALVES, [1.0], [1.0], test="spiessens-debois", subgroup_share=1.0), "is 1: give a number"),
        (lambda: closed_test(HALVES, [1.0], [1.0], test="spiessens-debois", subgroup_share=0.0), "is 0: give a number"),
        (lambda: closed_test(HALVES, [1.0, 2.0], [1.0]), "2 stages of the subgroup and 1 of the full"),
        (lambda: closed_test(HALVES, [1.0, NAN], [1.0, NAN]), "stage 2 has no z of either population"),
        (lambda: closed_test(HALVES, [NAN, 1.0], [1.0, 1.0]), "does not come back"),
        (lambda: closed_test(HALVES, [math.inf], [1.0]), "infinite"),
        (lambda: closed_test(Design(information_fractions=(0.5, 1.0), sides=2), [1.0], [1.0]), "two sides"),
        (
            lambda: repeated_p(Design(information_fractions=(0.5, 1.0), spending="haybittle-peto"), [1.0]),
            "one alpha only",
        ),
        (lambda: z_of_p([0.1, 1.0]), "is 1: give a number above 0 and below 1"),
        (lambda: combined_z([1.0, 2.0], [1.0]), "2 stages but 1 weights"),
        (lambda: combined_z([1.0], [0.0]), "a stage weight is 0"),
        (lambda: repeated_p(HALVES, [NAN]), "no look has been made"),
        (lambda: stratified_rates_z(3, 0, 1, 4), "no patient"),
        (lambda: stratified_rates_z(5, 4, 1, 4), "more events than patients"),
        (lambda: stratified_rates_z(4, 4, 4, 4), "everybody or nobody"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(AnalysisError, match=words):
        call()

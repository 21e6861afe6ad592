"""Weighted log-rank tests and MaxCombo: R's survdiff, sums spelled out in R, and a hand-worked example."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special

from trialml.errors import AnalysisError, DataError
from trialml.survival.logrank import compared, logrank, logrank_arrays
from trialml.survival.maxcombo import MAXCOMBO, maxcombo
from trialml.survival.normal_maximum import tail_of_largest

CURVES = json.loads((Path(__file__).parents[1] / "reference" / "curves.json").read_text())


def trial(read, name):
    """Return time, event, group, order and strata of one of survdiff's stored calls."""
    lung, veteran, colon, gbsg2 = (read(table) for table in ("lung", "veteran", "colon_death", "gbsg2"))
    rx = ["Obs", "Lev", "Lev+5FU"]
    cells = ["squamous", "smallcell", "adeno", "large"]
    both = colon["sex"].astype(str) + "/" + colon["obstruct"].astype(str)
    grade = gbsg2["menostat"] + gbsg2["tgrade"]
    return {
        "lung_sex": (lung["time"], lung["status"] == 2, lung["sex"], None, None),
        "veteran_trt": (veteran["time"], veteran["status"], veteran["trt"], None, None),
        "veteran_celltype": (veteran["time"], veteran["status"], veteran["celltype"], cells, None),
        "colon_rx": (colon["time"], colon["status"], colon["rx"], rx, None),
        "gbsg2_horTh": (gbsg2["time"], gbsg2["cens"], gbsg2["horTh"], None, None),
        "veteran_trt_strat_celltype": (veteran["time"], veteran["status"], veteran["trt"], None, veteran["celltype"]),
        "colon_rx_strat_sex_obstruct": (colon["time"], colon["status"], colon["rx"], rx, both),
        "gbsg2_horTh_strat_menostat_tgrade": (gbsg2["time"], gbsg2["cens"], gbsg2["horTh"], None, grade),
    }[name]


def compare(case, name, call, rho):
    time, event, group, order, strata = call
    found = logrank(time, event, group, order=order, strata=strata, rho=rho)
    data = compared(time, event, group, order, strata)
    sums = logrank_arrays(data.time, data.event, data.codes, len(data.groups), data.strata, rho=rho)
    case.agrees(found.groups["patients"], name, "n")
    case.agrees(found.groups["observed"], name, "observed")
    case.agrees(found.groups["expected"], name, "expected")
    case.agrees(sums.covariance, name, "variance")
    case.agrees(found.chi_square, name, "chisq")
    case.agrees(found.df, name, "df")
    case.agrees(found.p, name, "p")


def test_log_rank_tests_with_their_variances_are_survdiffs(oracle, reference_data):
    case = oracle("surv_logrank")
    for name in list(case.outputs):
        compare(case, name, trial(reference_data, name), rho=0)


def test_weights_by_a_power_of_survival_are_survdiffs(oracle, reference_data):
    case = oracle("surv_fleming_harrington")
    calls = {
        "lung_sex_rho1": ("lung_sex", 1.0),
        "lung_sex_rho05": ("lung_sex", 0.5),
        "veteran_trt_rho1": ("veteran_trt", 1.0),
        "colon_rx_rho1": ("colon_rx", 1.0),
        "veteran_trt_strat_rho1": ("veteran_trt_strat_celltype", 1.0),
        "gbsg2_rho1": ("gbsg2_horTh", 1.0),
    }
    for name in list(case.outputs):
        which, rho = calls[name]
        compare(case, name, trial(reference_data, which), rho)


@pytest.mark.parametrize("stratified", [False, True])
def test_maxcombo_is_what_r_gets_from_the_sums_and_mvtnorm(reference_data, stratified):
    """tests/reference/curves.R: statistics and correlations to rounding, joint p within mvtnorm's own error."""
    name = "gbsg2_horTh_strat_menostat_tgrade" if stratified else "gbsg2_horTh"
    time, event, group, _, strata = trial(reference_data, name)
    found = maxcombo(time, event, group, strata=strata)
    wanted = CURVES["maxcombo_gbsg2_stratified" if stratified else "maxcombo_gbsg2"]
    np.testing.assert_allclose(found.tests["z"], wanted["z"], rtol=1e-10)
    np.testing.assert_allclose(found.correlation, wanted["correlation"], rtol=1e-10)
    assert found.p == pytest.approx(wanted["p"], abs=3 * wanted["p_error"] + 3e-5 * wanted["p"])
    assert found.p_one_sided == pytest.approx(
        wanted["p_one_sided"], abs=3 * wanted["p_one_sided_error"] + 3e-5 * wanted["p_one_sided"]
    )
    assert found.p_error < 1e-4 * found.p


def test_weighted_sums_of_a_small_trial_are_those_worked_out_by_hand():
    """Six patients, events a 1, b 2, a 4, b 5; censored b 3, a 6: at risk (3, 3), (2, 3), (2, 1), (1, 1).

    Pooled survival before the four events: 1, 5/6, 2/3, 4/9 (at 4 three are at risk, at 5 two).
    """
    time, event, group = [1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0], list("abbaba")
    at_risk = [(3, 3), (2, 3), (2, 1), (1, 1)]
    in_b = [0, 1, 0, 1]
    survival = [Fraction(1), Fraction(5, 6), Fraction(2, 3), Fraction(4, 9)]
    data = compared(time, event, group)
    for rho, gamma in MAXCOMBO:
        weight = [s ** int(rho) * (1 - s) ** int(gamma) for s in survival]
        share = [Fraction(b, a + b) for a, b in at_risk]
        distance = sum(w * (d - p) for w, d, p in zip(weight, in_b, share, strict=True))
        variance = sum(w * w * p * (1 - p) for w, p in zip(weight, share, strict=True))
        sums = logrank_arrays(data.time, data.event, data.codes, 2, rho=rho, gamma=gamma)
        assert sums.observed[1] - sums.expected[1] == pytest.approx(float(distance), rel=1e-13)
        assert sums.covariance[1, 1] == pytest.approx(float(variance), rel=1e-13)
    found = maxcombo(time, event, group)
    # Log-rank: b had 2 events against 1/2 + 3/5 + 1/3 + 1/2 expected; V = 1/4 + 6/25 + 2/9 + 1/4.
    expected, variance = Fraction(29, 15), Fraction(433, 450)
    assert found.tests["z"][0] == pytest.approx(float(2 - expected) / float(variance) ** 0.5, rel=1e-12)


def test_the_joint_p_of_a_small_trial_is_that_of_a_million_simulated_statistics(reference_data):
    time, event, group, _, _ = trial(reference_data, "veteran_trt")
    found = maxcombo(time, event, group)
    draws = np.random.default_rng(5).multivariate_normal(np.zeros(4), found.correlation, 1_000_000, method="eigh")
    share = (np.abs(draws).max(axis=1) > abs(found.z)).mean()
    assert found.p == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1e6))
    share = (draws.min(axis=1) < found.z_least).mean()
    assert found.p_one_sided == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 1e6))


@pytest.mark.parametrize(("bound", "m", "rho"), [(1.5, 4, 0.7), (3.0, 4, 0.7), (5.5, 4, 0.7), (2.5, 6, 0.3)])
def test_the_tail_of_equally_correlated_normals_is_the_one_dimensional_integral(bound, m, rho):
    """Given the common factor the variables are independent, which leaves one integral, done by adaptive quadrature."""
    matrix = np.full((m, m), rho) + (1 - rho) * np.eye(m)

    def outside(x, *, two_sided):
        beyond = special.ndtr(-(bound - np.sqrt(rho) * x) / np.sqrt(1 - rho))
        if two_sided:
            beyond += special.ndtr((-bound - np.sqrt(rho) * x) / np.sqrt(1 - rho))
        return -np.expm1(m * np.log1p(-min(beyond, 1 - 1e-16))) * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)

    for two_sided in (False, True):
        exact, _ = integrate.quad(
            lambda x, two=two_sided: outside(x, two_sided=two), -12, 12, epsabs=0, epsrel=1e-9, limit=400
        )
        found = tail_of_largest(matrix, bound, two_sided=two_sided)
        assert found.value == pytest.approx(exact, rel=2e-5)
        assert found.error < 1e-5 * exact


def test_one_weighting_has_its_own_p_and_a_repeated_variable_adds_nothing():
    assert tail_of_largest([[1.0]], 2.0, two_sided=True).value == pytest.approx(2 * special.ndtr(-2), rel=1e-12)
    twice = tail_of_largest(np.ones((3, 3)), 2.0, two_sided=True)
    assert twice.value == pytest.approx(2 * special.ndtr(-2), rel=1e-12)
    with pytest.raises(DataError, match="correlation matrix"):
        tail_of_largest([[1.0, 2.0], [2.0, 1.0]], 1.0)


def test_late_weights_see_a_late_difference_that_the_log_rank_test_misses(reference_data):
    """A delayed effect: same hazard to month 6, a third of it afterwards."""
    draw = np.random.default_rng(3)
    arm = np.repeat([0, 1], 150)
    early = draw.exponential(12, 300)
    late = 6 + draw.exponential(12, 300) * np.where(arm == 1, 3, 1)
    time = np.where(early < 6, early, late)
    event = time < 30
    found = maxcombo(np.minimum(time, 30.0), event, arm)
    z = found.tests.set_index(["rho", "gamma"])["z"]
    assert z[0.0, 1.0] < z[0.0, 0.0] < z[1.0, 0.0]
    assert found.z == z[0.0, 1.0]
    assert found.tests["p"].min() < found.p < 4 * found.tests["p"].min()


def test_weighted_results_survive_json_and_say_their_weights(reference_data):
    time, event, group, _, strata = trial(reference_data, "gbsg2_horTh_strat_menostat_tgrade")
    for found in (
        logrank(time, event, group, strata=strata, rho=0, gamma=1),
        maxcombo(time, event, group, strata=strata),
    ):
        again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
        pd.testing.assert_frame_equal(again.frame(), found.frame())
        assert again.text() == found.text()
        assert "two-sided p" in found.text()
        assert "one-sided p" in found.text()
        assert len(found.table()) > 1
    weighted = logrank(time, event, group, rho=0, gamma=1)
    assert weighted.heading() == "Weighted log-rank test, Fleming-Harrington rho 0, gamma 1"
    assert np.isnan(weighted.hazard_ratio)
    assert "logrank_rho0_gamma1_p" in weighted.scalars()


def test_what_a_weighted_test_cannot_use_is_refused():
    time, event, group = [1, 2, 3, 4], [True] * 4, list("abab")
    with pytest.raises(DataError, match="gamma is -1"):
        logrank(time, event, group, gamma=-1)
    with pytest.raises(DataError, match="rho is nan"):
        logrank(time, event, group, rho=float("nan"))
    with pytest.raises(AnalysisError, match="3 labels, but MaxCombo compares two"):
        maxcombo(time, event, list("abca"))
    with pytest.raises(DataError, match="different ones"):
        maxcombo(time, event, group, weightings=((0, 0), (0, 0)))
    with pytest.raises(AnalysisError, match="rho 0 and gamma 1 has no variance"):
        maxcombo([1, 2], [True, False], ["a", "b"], weightings=((0, 0), (0, 1)))

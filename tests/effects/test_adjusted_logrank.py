"""The covariate-adjusted log-rank test against RobinCar2 and survdiff, a brute-force integral, and its size."""

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special

from trialml.effects.adjusted_logrank import AdjustedLogRank, adjusted_logrank, adjusted_score, derived_outcomes
from trialml.errors import AnalysisError, DataError
from trialml.survival.cox import cox
from trialml.survival.logrank import logrank

REFERENCE = Path(__file__).parents[1] / "reference"
ORACLE = json.loads((REFERENCE / "effects.json").read_text())["logrank"]
COX = json.loads((REFERENCE / "resp_rct_cox_interaction.json").read_text())["outputs"]
COLUMNS = ["x1", "x2", "x3"]


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(REFERENCE / "data" / "rct_sim.csv")


def asked_of(table, **asked):
    return adjusted_logrank(table["time"], table["event"], table["w"], table[COLUMNS], small_sample=False, **asked)


def test_the_adjusted_test_is_that_of_robincar2(table):
    """robin_surv(Surv(time, event) ~ x1 + x2 + x3, treatment = arm ~ sr(1))."""
    found = asked_of(table)
    np.testing.assert_allclose(
        [found.z, found.adjusted_z], [ORACLE["rct_plain"]["z"], ORACLE["rct_adjusted"]["z"]], rtol=1e-8
    )
    np.testing.assert_allclose(found.adjusted_p, ORACLE["rct_adjusted"]["p"], rtol=1e-7)


def test_the_stratified_adjusted_test_is_that_of_robincar2(table):
    """robin_surv(... + strata(x7), treatment = arm ~ pb(x7)); ACTG 175 with tied times and three cells."""
    found = asked_of(table, strata=table["x7"])
    np.testing.assert_allclose(
        [found.z, found.adjusted_z], [ORACLE["rct_strata"]["z"], ORACLE["rct_adjusted_strata"]["z"]], rtol=1e-8
    )
    actg = pd.read_csv(str(resources.files("lifelines") / "datasets" / "ACTG175.csv")).query("arms <= 1")
    X = actg[["age", "wtkg", "karnof", "cd40", "symptom"]]
    whole = adjusted_logrank(actg["days"], actg["cens"], actg["arms"], X, strata=actg["strat"], small_sample=False)
    np.testing.assert_allclose(whole.adjusted_z, ORACLE["actg_adjusted_strata"]["z"], rtol=1e-8)


def test_unadjusted_it_is_the_stratified_log_rank_test(table):
    """survdiff(Surv(time, event) ~ w + strata(x7)) and the package's own."""
    found = asked_of(table, strata=table["x7"])
    np.testing.assert_allclose(found.z**2, COX["logrank_strat_chisq"], rtol=1e-8)
    own = logrank(table["time"], table["event"], table["w"].astype(str), strata=table["x7"])
    np.testing.assert_allclose([found.z, found.p], [own.z, own.p], rtol=1e-10)


def test_the_interaction_in_rs_cox_model_is_reproduced(table):
    """coxph(Surv(time, event) ~ w * x7 + x2)."""
    X = table[["w", "x7", "x2"]].assign(both=table["w"] * table["x7"])
    found = cox(table["time"], table["event"], X)
    np.testing.assert_allclose(found.frame()["coefficient"], list(COX["coef"].values()), rtol=1e-7)
    np.testing.assert_allclose(found.frame()["se"], COX["se"], rtol=1e-7)
    np.testing.assert_allclose([found.log_likelihood_null, found.log_likelihood], COX["loglik"], rtol=1e-10)


def test_derived_outcomes_are_the_integral_written_out():
    draw = np.random.default_rng(1)
    time, event = draw.integers(1, 9, 40).astype(float), draw.random(40) < 0.7
    arm = draw.random(40) < 0.5
    wanted = np.zeros(40)
    for i in range(40):
        for t in np.unique(time[event]):
            at_risk = time >= t
            share = (arm != arm[i])[at_risk].mean()
            happened = event[i] and time[i] == t
            wanted[i] += share * (happened - (time[i] >= t) * (event & (time == t)).sum() / at_risk.sum())
    np.testing.assert_allclose(derived_outcomes(time, event, arm), wanted, atol=1e-12)


def trial(n, k, draw, log_ratio=0.0):
    X = draw.normal(size=(n, k))
    arm = np.concatenate([draw.permutation([0, 0, 1, 1]) for _ in range(n // 4)]) == 1
    event = draw.exponential(1 / np.exp(X[:, 0] + log_ratio * arm))
    last = draw.uniform(0.5, 2.5, n)
    return X, np.minimum(event, last), event <= last, arm


def test_the_small_sample_error_keeps_the_size_where_the_published_one_does_not():
    """60 patients, 5 covariates, no effect, 1,500 trials: the published variance rejects .08, this one 5 % within error."""
    draw, trials = np.random.default_rng(6), 1500
    published, corrected = 0, 0
    for _ in range(trials):
        X, time, event, arm = trial(60, 5, draw)
        plain, found = (adjusted_score(time, event, arm, X, small_sample=small) for small in (False, True))
        published += abs(plain.adjusted / plain.adjusted_se) > 1.959964
        corrected += 2 * special.stdtr(found.df, -abs(found.adjusted / found.adjusted_se)) < 0.05
    error = math.sqrt(0.05 * 0.95 / trials)
    assert published / trials > 0.05 + 3 * error
    assert abs(corrected / trials - 0.05) < 3 * error


def test_adjustment_for_a_strong_covariate_gains_power():
    draw, wins = np.random.default_rng(2), []
    for _ in range(60):
        X, time, event, arm = trial(400, 1, draw, log_ratio=-0.35)
        found = adjusted_logrank(time, event, arm, X)
        wins.append((found.adjusted_z, found.z, found.variance_ratio))
    adjusted, plain, ratio = np.mean(wins, axis=0)
    assert adjusted < plain < 0
    assert ratio < 0.8


def test_with_many_patients_the_correction_vanishes(table):
    large = adjusted_logrank(table["time"], table["event"], table["w"], table[COLUMNS], strata=table["x7"])
    assert large.adjusted_z == pytest.approx(asked_of(table, strata=table["x7"]).adjusted_z, rel=5e-3)
    assert large.df > 1900


def test_a_covariate_that_the_strata_fix_is_left_out(table):
    found = adjusted_logrank(
        table["time"], table["event"], table["w"], table[[*COLUMNS, "x7"]], strata=table["x7"], small_sample=False
    )
    assert found.covariates == tuple(COLUMNS)
    np.testing.assert_allclose(found.adjusted_z, ORACLE["rct_adjusted_strata"]["z"], rtol=1e-8)


def test_bad_input_is_refused_in_a_sentence(table):
    part = table.head(60)
    time, event, arm, X = part["time"], part["event"], part["w"], part[COLUMNS]
    with pytest.raises(AnalysisError, match="all 60 patients are in the control arm"):
        adjusted_logrank(time, event, np.zeros(60), X)
    with pytest.raises(AnalysisError, match="none of the 60 patients has had the event"):
        adjusted_logrank(time, np.zeros(60), arm, X)
    with pytest.raises(DataError, match="time is missing or infinite"):
        adjusted_logrank(time.where(time.index > 0), event, arm, X)
    with pytest.raises(DataError, match="'x1' is missing"):
        adjusted_logrank(time, event, arm, X.assign(x1=np.nan))
    with pytest.raises(DataError, match="shape"):
        adjusted_logrank(time, event, arm[:59], X)
    with pytest.raises(AnalysisError, match="adjust for fewer"):
        adjusted_logrank(time, event, arm, np.random.default_rng(1).normal(size=(60, 28)))
    with pytest.raises(AnalysisError, match="no covariate varies within the strata"):
        adjusted_logrank(time, event, arm, part[["x7"]], strata=part["x7"])
    with pytest.raises(AnalysisError, match="no event happened while both arms were at risk"):
        adjusted_logrank(time, event, arm, X, strata=arm)
    cells = np.where(np.arange(40) < 2, 2, np.arange(40) % 2)  # one pair of both arms, the rest in strata of one arm
    draw = np.random.default_rng(1)
    with pytest.raises(AnalysisError, match="no outcome is left to vary"):
        adjusted_logrank(
            draw.exponential(9, 40), np.ones(40), np.arange(40) % 2, draw.normal(size=(40, 1)), strata=cells
        )


def test_the_result_says_both_tests_and_survives_a_round_trip(table):
    found = adjusted_logrank(table["time"], table["event"], table["w"], table[COLUMNS], strata=table["x7"])
    again = AdjustedLogRank.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert "unadjusted" in again.text()
    assert "stratified by 2 cells" in again.text()
    assert list(again.frame()["test"]) == ["unadjusted", "adjusted"]

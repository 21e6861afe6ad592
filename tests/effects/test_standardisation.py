"""Standardisation against RobinCar2 (tests/reference/effects.json), glm, and simulation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.effects.continuous import t_quantile
from trialml.effects.logistic import logistic_fit
from trialml.effects.standardisation import StandardisedContrast, standardised_contrast, standardised_means
from trialml.errors import AnalysisError, DataError

REFERENCE = Path(__file__).parents[1] / "reference"
ORACLE = json.loads((REFERENCE / "effects.json").read_text())["standardised"]
LOGISTIC = json.loads((REFERENCE / "resp_logistic.json").read_text())["outputs"]

CASES = {
    "ancova_simple": {"kind": "continuous", "interacted": False, "stratified": False},
    "ancova_blocks": {"kind": "continuous", "interacted": False, "strata_in_model": False, "strata": "x7"},
    "anhecova": {"kind": "continuous", "interacted": True, "strata": "x7"},
    "logistic_simple": {"kind": "binary", "interacted": False, "stratified": False},
    "logistic_blocks": {"kind": "binary", "interacted": False, "strata_in_model": False, "strata": "x7"},
    "logistic_interacted": {"kind": "binary", "interacted": True, "strata": "x7"},
}


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(REFERENCE / "data" / "rct_sim.csv")


@pytest.mark.parametrize("case", CASES)
def test_trap_65_means_and_robust_variances_are_those_of_robincar2(table, case):
    """robin_lm, robin_glm with vcovG(decompose = FALSE), simple randomisation sr(1) and permuted blocks pb(x7)."""
    asked = dict(CASES[case])
    strata = table[asked.pop("strata")] if "strata" in asked else None
    outcome = table["y" if asked["kind"] == "continuous" else "response"]
    found = standardised_means(outcome, table["w"], table[["x1", "x2"]], strata=strata, small_sample=False, **asked)
    wanted = ORACLE[case] if asked["kind"] == "continuous" else ORACLE[case]["difference"]
    np.testing.assert_allclose(found.means, wanted["mean"], rtol=1e-8)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), wanted["mean_se"], rtol=1e-8)
    contrast = np.array([-1, 1])
    np.testing.assert_allclose(np.sqrt(contrast @ found.covariance @ contrast), wanted["se"], rtol=1e-8)


def test_risk_ratio_and_odds_ratio_have_robincar2s_delta_errors(table):
    wanted = ORACLE["logistic_interacted"]
    found = standardised_means(
        table["response"], table["w"], table[["x1", "x2"]], kind="binary", strata=table["x7"], small_sample=False
    )
    log_risk, log_odds = np.log(found.means), np.log(found.means / (1 - found.means))
    np.testing.assert_allclose(
        [log_risk[1] - log_risk[0], log_odds[1] - log_odds[0]],
        [wanted["ratio"]["value"], wanted["odds"]["value"]],
        rtol=1e-8,
    )
    whole = standardised_contrast(
        table["response"], table["w"], table[["x1", "x2"]], kind="binary", strata=table["x7"], small_sample=False
    )
    np.testing.assert_allclose(
        [whole.estimate("risk_ratio").se, whole.estimate("odds_ratio").se],
        [wanted["ratio"]["se"], wanted["odds"]["se"]],
        rtol=1e-8,
    )


def written_out(table, w, interaction=True):
    """The design of resp_logistic, w + x2 + x7 + w:x7; by arm that is x2 with one slope, so it is written out."""
    crossed = [w * table["x7"]] if interaction else []
    return np.column_stack([np.ones(len(table)), w, table["x2"], table["x7"], *crossed])


def test_the_logistic_model_is_rs_glm(table):
    """resp_logistic: coefficients, errors, both deviances, the likelihood-ratio statistic of the interaction, g-computation."""
    y, w, names = table["response"].to_numpy(float), table["w"].to_numpy(), ("w", "x2", "x7", "w:x7")
    full, main = (logistic_fit(written_out(table, w, both), y, names[: 3 + both]) for both in (True, False))
    np.testing.assert_allclose(full.coefficients, list(LOGISTIC["coef"].values()), rtol=1e-7)
    # R's glm stops at a relative change of 1e-8 in the deviance and takes the weights of its last but one step.
    se = np.sqrt(np.diag(full.covariance))
    np.testing.assert_allclose(se, list(LOGISTIC["se"].values()), rtol=1e-5)
    found = [full.deviance, full.null_deviance, main.deviance - full.deviance]
    np.testing.assert_allclose(
        found, [LOGISTIC[k] for k in ("deviance", "null_deviance", "lrt_interaction")], rtol=1e-8
    )
    n = len(table)
    p1, p0 = (full.risk(written_out(table, np.full(n, arm))).mean() for arm in (1.0, 0.0))
    np.testing.assert_allclose([p1, p0, p1 - p0], list(LOGISTIC["gcomp"].values()), rtol=1e-8)
    # At the root the score is 0 and the covariance the inverse information, to the last digits.
    X, p = written_out(table, w), full.risk(written_out(table, w))
    np.testing.assert_allclose(X.T @ (y - p), 0, atol=1e-9)
    np.testing.assert_allclose(full.covariance, np.linalg.inv((X * (p * (1 - p))[:, None]).T @ X), rtol=1e-9)


def test_the_working_model_by_arm_is_the_same_logistic_model_fitted_by_arm(table):
    """R's model lets one slope be common to the arms; ours lets each differ: that fit, and means within a thousandth of R's."""
    y, w = table["response"].to_numpy(float), table["w"].to_numpy() == 1
    X = np.column_stack([np.ones(len(table)), table["x2"], table["x7"]])
    own = [logistic_fit(X[arm], y[arm], ("x2", "x7")).risk(X).mean() for arm in (~w, w)]
    found = standardised_means(table["response"], table["w"], table[["x2", "x7"]], kind="binary")
    np.testing.assert_allclose(found.means, own, rtol=1e-8)
    np.testing.assert_allclose(found.means, [LOGISTIC["gcomp"]["p0"], LOGISTIC["gcomp"]["p1"]], atol=1e-3)


def test_without_a_useful_covariate_the_linear_adjustment_is_welchs_difference():
    draw = np.random.default_rng(1)
    arm = np.arange(4000) % 2 == 1
    y, x = draw.normal(0, 1 + arm), draw.normal(size=4000)
    found = standardised_contrast(y, arm, x, kind="continuous").estimate("mean_difference")
    welch = np.sqrt(y[arm].var(ddof=1) / 2000 + y[~arm].var(ddof=1) / 2000)
    assert found.se == pytest.approx(welch, rel=2e-3)


def test_the_small_sample_error_of_ancova_by_arm_is_the_exact_conditional_one():
    """The predicted means of two linear models at the overall mean: s_a^2 (1/n_a + d' S^-1 d), residual degrees of freedom."""
    draw = np.random.default_rng(3)
    n, arm = 40, np.arange(40) % 2 == 1
    X = draw.normal(size=(n, 3))
    y = X @ [1.0, -0.5, 0.2] + draw.normal(size=n)
    found = standardised_means(y, arm, X, kind="continuous")
    for place, mask in enumerate((~arm, arm)):
        D = np.column_stack([np.ones(mask.sum()), X[mask] - X.mean(axis=0)])
        beta, rest, *_ = np.linalg.lstsq(D, y[mask], rcond=None)
        conditional = rest[0] / (mask.sum() - 4) * np.linalg.inv(D.T @ D)[0, 0]
        # What the sampling of the covariates adds is 2 C - var(mu) over n, with C the arm's own covariance of y and prediction.
        predicted = (X - X.mean(axis=0)) @ beta[1:]
        added = (2 * np.cov(y[mask], predicted[mask])[0, 1] - predicted.var(ddof=1)) / n
        np.testing.assert_allclose(found.covariance[place, place], conditional + added, rtol=1e-9)


@pytest.mark.parametrize("kind", ["continuous", pytest.param("binary", marks=pytest.mark.long)])
def test_type_one_error_holds_with_30_patients_an_arm_and_stratified_blocks(kind):
    """1,000 trials of 60 patients, two covariates, blocks in two strata: not above 5 % by more than three Monte Carlo errors."""
    draw, rejected, trials = np.random.default_rng(8), 0, 1000
    for _ in range(trials):
        X = draw.normal(size=(60, 3))
        stratum = np.repeat([0, 1], 30)
        arm = np.concatenate([draw.permutation([0, 1] * 15) for _ in range(2)]) == 1
        y = X[:, 0] + 0.8 * stratum + draw.normal(size=60)
        y = y if kind == "continuous" else (y > 0.4).astype(float)
        try:
            found = standardised_means(y, arm, X[:, :2], kind=kind, strata=stratum)
        except AnalysisError:  # a separated small trial gives no number
            continue
        contrast = np.array([-1, 1])
        se = np.sqrt(contrast @ found.covariance @ contrast)
        rejected += abs(contrast @ found.means) > t_quantile(0.95, found.df) * se
    assert rejected / trials < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert rejected / trials > 0.02


def test_separation_is_refused_in_a_sentence():
    x = np.linspace(-1, 1, 80)
    y, arm = (x > 0).astype(float), np.arange(80) % 2
    with pytest.raises(AnalysisError, match="separate events from the rest in the control arm"):
        standardised_contrast(y, arm, x, kind="binary")


def test_bad_input_is_refused_in_a_sentence(table):
    part = table.head(40)
    y, arm, X = part["y"].to_numpy(), part["w"].to_numpy(), part[["x1", "x2"]]
    ask = {"kind": "continuous"}
    with pytest.raises(AnalysisError, match="all 40 patients are in the control arm"):
        standardised_contrast(y, np.zeros(40), X, **ask)
    with pytest.raises(AnalysisError, match="'x1' has one value"):
        standardised_contrast(y, arm, X.assign(x1=1.0), **ask)
    with pytest.raises(AnalysisError, match="is a combination of the other covariates"):
        standardised_contrast(y, arm, X.assign(twice=2 * X["x1"]), **ask)
    with pytest.raises(DataError, match="'x1' is missing in 1 of 40 rows"):
        standardised_contrast(y, arm, X.assign(x1=X["x1"].where(X.index != X.index[3])), **ask)
    with pytest.raises(DataError, match="missing or infinite in 40 of 40"):
        standardised_contrast(np.full(40, np.nan), arm, X, **ask)
    with pytest.raises(DataError, match="one row a patient"):
        standardised_contrast(y, arm, X.to_numpy()[:39], **ask)
    with pytest.raises(AnalysisError, match="adjust for fewer"):
        standardised_contrast(y, arm, np.random.default_rng(1).normal(size=(40, 30)), **ask)
    with pytest.raises(AnalysisError, match="has no events, so a logistic model has no answer"):
        standardised_contrast(arm, arm, X, kind="binary")
    with pytest.raises(DataError, match="kind is 'count'"):
        standardised_contrast(y, arm, X, kind="count")
    stratum = np.where((arm == 1) & (np.arange(40) < 20), "a", "b")
    with pytest.raises(AnalysisError, match="stratum"):
        standardised_contrast(y, arm, X, strata=stratum, kind="continuous", interacted=False)


def test_a_standardised_contrast_survives_a_round_trip(table):
    found = standardised_contrast(table["y"], table["w"], table[["x1"]], kind="continuous", unit="points")
    again = StandardisedContrast.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert "marginal, covariate-adjusted" in again.text()
    assert found.estimate("mean_difference").unit == "points"


@pytest.mark.parametrize("interacted", [False, True])
def test_an_outcome_without_residual_variance_has_no_difference_with_limits(table, interacted):
    """Constant, and the arm plus a covariate: the variance rounds to something like 1e-17, of either sign."""
    covariates, arm = table[["x1", "x2"]][:80], table["w"].to_numpy()[:80]
    for outcome in (np.full(80, 0.1), arm + covariates["x1"]):
        with pytest.raises(AnalysisError, match="the outcome is constant, or the covariates predict it"):
            standardised_contrast(outcome, arm, covariates, kind="continuous", interacted=interacted)


def test_an_exact_line_in_each_arm_leaves_the_sampling_of_the_covariate():
    """Y = x (1 + arm): the difference is the mean of x, with the variance of that mean."""
    x = np.random.default_rng(3).normal(2, 1, 200)
    found = standardised_means(
        x * (1 + np.arange(200) % 2), np.arange(200) % 2, x, kind="continuous", small_sample=False
    )
    np.testing.assert_allclose(found.means[1] - found.means[0], x.mean(), rtol=1e-10)
    variance = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
    s0, s1 = x[::2].var(ddof=1), x[1::2].var(ddof=1)
    # With C = (s0, 2 s0; 2 s1, 4 s1) of the module's formula and no residual: 4 s1 - 2 s0 - s.
    assert variance * 200 == pytest.approx(4 * s1 - 2 * s0 - x.var(ddof=1), rel=1e-8)

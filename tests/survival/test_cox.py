"""The Cox model against R's coxph (survival 3.5.3)."""

import json
import time as clock
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.cox import CoxProblem, baseline_cumulative_hazard, cox, fit_cox, score_residuals
from trialml.survival.cox_residuals import fitted_baseline_hazard
from trialml.survival.kaplan_meier import step_at
from trialml.survival.terms import design_columns

REFERENCE = Path(__file__).parents[1] / "reference"


def case(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())["outputs"]


def data(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def models():
    veteran, gbsg2, pbc = data("veteran"), data("gbsg2"), data("pbc_rct")
    cells = pd.Categorical(veteran["celltype"], ["squamous", "smallcell", "adeno", "large"])
    full = veteran[["trt"]].assign(celltype=cells).join(veteran[["karno", "diagtime", "age", "prior"]])
    by_cell = veteran[["trt", "karno", "age"]]
    gbsg2 = gbsg2.assign(menostat=pd.Categorical(gbsg2["menostat"], ["Pre", "Post"]))
    breast = gbsg2[["horTh", "age", "menostat", "tsize", "tgrade", "pnodes", "progrec", "estrec"]]
    liver = pbc[["trt", "age", "edema"]].join(np.log(pbc[["bili", "albumin", "protime"]]))
    return {
        "veteran": (veteran["time"], veteran["status"], full, None, case("surv_cox_veteran")["full"]),
        "stratified": (veteran["time"], veteran["status"], by_cell, cells, case("surv_cox_veteran")["stratified"]),
        "gbsg2": (gbsg2["time"], gbsg2["cens"], breast, None, case("surv_cox_gbsg2")),
        "pbc": (pbc["time"], pbc["death"], liver, None, case("surv_cox_pbc")),
    }


@pytest.mark.parametrize("name", ["veteran", "stratified", "gbsg2", "pbc"])
def test_coefficients_and_tests_are_coxphs(name):
    time, event, covariates, strata, wanted = models()[name]
    found = cox(time, event, covariates, strata=strata)
    rows = found.frame()
    np.testing.assert_allclose(rows["coefficient"], list(wanted["coef"].values()), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(rows["se"], wanted["se_model"], rtol=1e-7)
    np.testing.assert_allclose(found.covariance, wanted["vcov"]["rows"], rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose([found.log_likelihood_null, found.log_likelihood], wanted["loglik"], rtol=1e-10)
    np.testing.assert_allclose([found.lr_chi_square, found.lr_df, found.lr_p], wanted["lr_test"], rtol=1e-7)
    np.testing.assert_allclose(rows[["low", "high"]], np.array(wanted["hr_ci95"]["rows"])[:, 2:], rtol=1e-7)
    np.testing.assert_allclose(rows["p"], wanted["p"], rtol=1e-7)
    assert (found.n, found.events) == (wanted["n"], wanted["nevent"])
    score = fit_cox(time, event, design_columns(covariates)[0], strata=strata).score
    np.testing.assert_allclose(score, wanted["score_test"][0], rtol=1e-7)


def test_actg175_hazard_ratios_are_coxphs():
    """tests/reference/actg175.R: each arm against zidovudine alone; 0.492, 0.521 and 0.588 stratified."""
    oracle = json.loads((REFERENCE / "actg175.json").read_text())
    trial = pd.read_csv(str(files("lifelines") / "datasets" / "ACTG175.csv"))
    for (arm, wanted), printed in zip(oracle["arms_vs_0"].items(), ("0.492", "0.521", "0.588"), strict=True):
        pair = trial[trial["arms"].isin([0, int(arm)])]
        arms = pd.DataFrame({"arm": pair["arms"] == int(arm)})
        for strata, key in ((pair["strat"], "cox_stratified"), (None, "cox_unstratified")):
            found, r = cox(pair["days"], pair["cens"] == 1, arms, strata=strata), wanted[key]
            ratio = found.hazard_ratio("arm")
            low, high = r["ci"][0]
            np.testing.assert_allclose([ratio.value, ratio.low, ratio.high], [r["hazard_ratio"], low, high], rtol=1e-9)
            np.testing.assert_allclose(ratio.se, r["se"], rtol=1e-9)
            np.testing.assert_allclose([found.log_likelihood_null, found.log_likelihood], r["loglik"], rtol=1e-10)
        assert cox(pair["days"], pair["cens"] == 1, arms, strata=pair["strat"]).text().count(printed) == 1
    X, wanted = trial[["age", "cd40", "karnof"]], oracle["cox_age_cd40_karnof"]
    found = fit_cox(trial["days"], trial["cens"] == 1, X)
    np.testing.assert_allclose(found.coefficients, wanted["coef"], rtol=1e-9)


def lung():
    table = data("lung").dropna(subset=["ph.ecog"])
    return table["time"], table["status"] == 2, table[["age", "sex", "ph.ecog"]]


def test_score_residuals_and_dfbetas_are_coxphs():
    """residuals(coxph(...), type = "score" and "dfbeta"): first ten rows and sums of squares."""
    time, event, X = lung()
    wanted = case("surv_cox_residuals")
    fit = fit_cox(time, event, X)
    score = score_residuals(time, event, X, fit.coefficients)
    for mine, key in ((score, "score"), (score @ fit.covariance, "dfbeta")):
        # coxph's own coefficients are 3e-9 from the root, and its residuals with them
        np.testing.assert_allclose(mine[:10], wanted[key]["first10"]["rows"], rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose((mine**2).sum(axis=0), wanted[key]["sumsq"], rtol=1e-7)
    assert np.abs(score.sum(axis=0)).max() < 1e-8


def test_stratified_score_residuals_add_up_to_the_gradient():
    rng = np.random.default_rng(11)
    time, event, strata = rng.integers(1, 9, 80), rng.random(80) < 0.6, rng.integers(0, 4, 80)
    X, beta = rng.normal(size=(80, 3)), np.array([0.5, -1.0, 0.2])
    residuals = score_residuals(time, event, X, beta, strata=strata)
    gradient = CoxProblem(time, event, X, strata=strata).derivatives(beta)[1]
    np.testing.assert_allclose(residuals.sum(axis=0), gradient, atol=1e-11)


def test_baseline_hazard_and_predicted_survival_are_survfits():
    """survfit(coxph(...), newdata) at four times, and basehaz(..., centered = FALSE)."""
    time, event, X = lung()
    wanted = case("surv_cox_baseline_prediction")
    beta = fit_cox(time, event, X).coefficients
    times, hazard = baseline_cumulative_hazard(time, event, X.to_numpy() @ beta)
    at = step_at(times, hazard, wanted["basehaz_uncentered_time"], initial=0.0)
    np.testing.assert_allclose(at, wanted["basehaz_uncentered"], rtol=1e-7)
    patients = np.array([[50, 1, 0], [65, 2, 1], [75, 1, 2]])
    at = step_at(times, hazard, wanted["times"], initial=0.0)
    survival = np.exp(-np.outer(at, np.exp(patients @ beta)))
    np.testing.assert_allclose(survival, wanted["surv"]["rows"], rtol=1e-7)


def test_stratified_baselines_are_those_of_each_stratum_alone():
    time, event, X = lung()
    lp = X["age"].to_numpy() * 0.01
    times, hazard = baseline_cumulative_hazard(time, event, lp, strata=X["sex"])
    for column, sex in enumerate((1, 2)):
        mine = X["sex"].to_numpy() == sex
        alone = baseline_cumulative_hazard(time[mine], event[mine], lp[mine])
        np.testing.assert_allclose(step_at(times, hazard[:, column], alone[0], initial=0.0), alone[1], rtol=1e-12)


def test_the_baseline_without_a_second_sort_is_that_of_a_problem_of_its_own():
    time, event, X = lung()
    eta = X["age"].to_numpy() * 0.01
    problem = CoxProblem(time, event, X)
    columns = problem.X.copy()
    found = fitted_baseline_hazard(problem.with_offset_alone(eta), np.zeros(0))
    wanted = baseline_cumulative_hazard(time, event, eta)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1][:, 0], wanted[1])
    np.testing.assert_array_equal(problem.X, columns)
    assert not problem.offset.any()


def test_a_fit_without_its_score_test_is_the_same_fit():
    time, event, X = lung()
    whole, part = CoxProblem(time, event, X).fit(ridge=1.0), CoxProblem(time, event, X).fit(ridge=1.0, test=False)
    np.testing.assert_array_equal(part.coefficients, whole.coefficients)
    assert np.isnan(part.score)
    assert part.log_likelihood_null == whole.log_likelihood_null


def test_a_linear_predictor_beyond_floats_is_refused():
    time, event, _ = lung()
    with pytest.raises(AnalysisError, match="too far for a baseline hazard"):
        baseline_cumulative_hazard(time, event, -1.0 * time)


def efron_by_hand(time, event, eta, weights, strata):
    total = 0.0
    for s in np.unique(strata):
        for t in np.unique(time[event & (strata == s)]):
            dead = event & (time == t) & (strata == s)
            risk = np.sum((weights * np.exp(eta))[(time >= t) & (strata == s)])
            tied, m = np.sum((weights * np.exp(eta))[dead]), dead.sum()
            total += np.sum(weights[dead] * eta[dead])
            total -= weights[dead].mean() * sum(np.log(risk - k / m * tied) for k in range(m))
    return total


@pytest.mark.parametrize("seed", range(6))
def test_likelihood_and_derivatives_are_efrons(seed):
    """The likelihood against its definition, gradient and information against differences of it."""
    rng = np.random.default_rng(seed)
    n, p = 40, 3
    time, event, strata = rng.integers(1, 8, n).astype(float), rng.random(n) < 0.7, rng.integers(0, 3, n)
    X, weights, offset = rng.normal(size=(n, p)), rng.uniform(0.5, 2, n), rng.normal(size=n)
    problem = CoxProblem(time, event, X, strata=strata, weights=weights, offset=offset)
    beta = rng.normal(size=p)
    value, gradient, information = problem.derivatives(beta)
    assert value == pytest.approx(efron_by_hand(time, event, X @ beta + offset, weights, strata), abs=1e-10)
    step = 1e-5
    for j in range(p):
        forward, backward = beta + step * np.eye(p)[j], beta - step * np.eye(p)[j]
        slope = (problem.log_likelihood(forward) - problem.log_likelihood(backward)) / (2 * step)
        curve = (problem.derivatives(forward)[1] - problem.derivatives(backward)[1]) / (2 * step)
        assert gradient[j] == pytest.approx(slope, abs=1e-6)
        np.testing.assert_allclose(-information[j], curve, atol=1e-6)


def test_a_shift_within_a_stratum_changes_nothing():
    time, event, X = lung()
    shifted = X + 1e4 * X[["sex"]].to_numpy()
    plain, moved = (fit_cox(time, event, x[["age", "ph.ecog"]], strata=X["sex"]) for x in (X, shifted))
    np.testing.assert_allclose(plain.coefficients, moved.coefficients, rtol=1e-9)


def test_a_stratum_without_events_adds_nothing():
    time, event, X = lung()
    alone = fit_cox(time, event, X, strata=X["sex"] * 0)
    more = [np.concatenate([a, b]) for a, b in ((time, [9.0, 2000.0]), (event, [False, False]), (X, X[:2]))]
    joined = fit_cox(*more, strata=np.repeat([1, 0], [len(X), 2]))
    np.testing.assert_allclose(joined.coefficients, alone.coefficients, rtol=1e-9)
    assert joined.log_likelihood == pytest.approx(alone.log_likelihood)


def test_ridge_is_the_maximum_of_the_penalised_likelihood():
    time, event, X = lung()
    problem, ridge = CoxProblem(time, event, X), np.array([0.0, 30.0, 5.0])
    found = problem.fit(ridge=ridge)
    value, gradient, information = problem.derivatives(found.coefficients)
    np.testing.assert_allclose(gradient, ridge * found.coefficients, atol=1e-9)
    np.testing.assert_allclose(found.covariance, np.linalg.inv(information + np.diag(ridge)), rtol=1e-9)
    assert found.log_likelihood == pytest.approx(value)
    again = problem.fit(ridge=ridge, start=found.coefficients)
    assert again.iterations == 1
    np.testing.assert_allclose(again.coefficients, found.coefficients, rtol=1e-12)


def test_breslow_with_whole_weights_is_breslow_of_copies():
    rng = np.random.default_rng(5)
    time, event, copies = rng.integers(1, 15, 50), rng.random(50) < 0.7, rng.integers(1, 4, 50)
    X = rng.normal(size=(50, 2))
    weighted = CoxProblem(time, event, X, weights=copies, ties="breslow").fit()
    spread = CoxProblem(*(np.repeat(a, copies, axis=0) for a in (time, event, X)), ties="breslow").fit()
    np.testing.assert_allclose(weighted.coefficients, spread.coefficients, rtol=1e-9)
    np.testing.assert_allclose(weighted.covariance, spread.covariance, rtol=1e-9)


def test_the_null_model_has_a_likelihood_and_no_coefficients():
    time, event, X = lung()
    found = fit_cox(time, event, X.iloc[:, :0])
    assert found.coefficients.size == 0
    assert found.log_likelihood == pytest.approx(fit_cox(time, event, X).log_likelihood_null)


def test_a_large_hazard_ratio_is_an_answer_and_a_separating_column_is_not():
    rng = np.random.default_rng(6)
    arm = np.repeat([0.0, 1.0], 200)
    time = rng.exponential(1 / np.where(arm == 1, 100.0, 1.0))
    large = fit_cox(time, np.ones(400, bool), arm[:, None])
    assert 4 < large.coefficients[0] < 5.5
    event = (arm == 1) & (rng.random(400) < 0.5)
    covariates = pd.DataFrame({"age": rng.normal(size=400), "marker": arm})
    with pytest.raises(AnalysisError, match="'marker' runs away"):
        cox(rng.exponential(size=400), event, covariates)
    assert np.isfinite(fit_cox(time, event, covariates, ridge=1.0).coefficients).all()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda X: np.full(len(X), 0.1), "'extra' varies in no risk set"),
        (lambda X: 2 * X["age"] - X["sex"], "linear combination"),
        (lambda X: np.where(X["age"] > 60, np.nan, 1.0), "'extra' is missing in"),
        (lambda X: pd.Series(["one"] * len(X)), "'extra' is 'one' in every row"),
    ],
)
def test_columns_without_an_answer_are_named(column, message):
    time, event, X = lung()
    X = X.reset_index(drop=True)
    with pytest.raises((AnalysisError, DataError), match=message):
        cox(time, event, X.assign(extra=column(X)))


def test_the_result_survives_json_and_answers_by_name():
    time, event, covariates, strata, _ = models()["stratified"]
    found = cox(time, event, covariates, strata=strata)
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    pd.testing.assert_frame_equal(again.frame(), found.frame())
    np.testing.assert_array_equal(again.covariance, found.covariance)
    assert again.text() == found.text()
    assert "conditional on 2 other covariates and strata" in found.hazard_ratio("trt").scale
    with pytest.raises(DataError, match="nearest name is 'karno'"):
        found.hazard_ratio("karn")


def test_a_fit_of_1000_patients_and_20_columns_is_fast():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(1000, 20))
    time, event = np.ceil(100 * rng.exponential(np.exp(-0.5 * X[:, 0]))), rng.random(1000) < 0.6
    fits = []
    for _ in range(5):
        start = clock.perf_counter()
        fit_cox(time, event, X)
        fits.append(clock.perf_counter() - start)
    # 3 ms where nothing else runs; a loop over patients would take a hundred times that
    assert min(fits) < 0.05

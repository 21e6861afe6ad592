"""Penalised Cox models: glmnet's path, ridge in its scale, and Firth's penalty against its definition."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from trialml.errors import AnalysisError, DataError
from trialml.survival.cox import cox, fit_cox
from trialml.survival.cox_firth import firth_newton, firth_profile, penalised_log_likelihood
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.cox_net import cox_path, largest_penalty

DATA = Path(__file__).parents[1] / "reference" / "data"


def trial():
    table = pd.read_csv(DATA / "rct_sim.csv")
    return table["time"], table["event"], table[[f"x{j}" for j in range(1, 9)]]


def test_the_paths_are_glmnets(reference_case):
    with reference_case("resp_glmnet_cox_logistic") as case:
        problem = CoxProblem(*trial(), ties="breslow")
        penalties = case.get("lambda")
        lasso = cox_path(problem, penalties)
        case.compare(lasso.coefficients.T, "cox", atol=5e-8)
        case.compare(lasso.deviance_ratio, "cox_dev_ratio", rtol=1e-7)
        half = cox_path(problem, penalties, mixing=0.5)
        case.compare(half.coefficients.T, "cox_elastic_half", atol=5e-8)
        for name in ("logistic", "logistic_intercept"):
            case.aside(name, reason="logistic models, which are not this folder's")


@pytest.mark.parametrize("mixing", [1.0, 0.5])
def test_the_path_meets_the_conditions_of_the_maximum_to_ten_digits_more_than_glmnets(mixing):
    """Where ours and glmnet's differ in the eighth digit, ours is the maximum: its conditions hold."""
    problem = CoxProblem(*trial(), ties="breslow")
    columns = trial()[2]
    n, sd = len(columns), columns.std(ddof=0).to_numpy()
    path = cox_path(problem, [0.1, 0.05, 0.02, 0.01, 0.005], mixing=mixing)
    for penalty, beta in zip(path.penalties, path.coefficients, strict=True):
        pull = problem.derivatives(beta)[1] / sd / n - penalty * (1 - mixing) * beta * sd
        inside = beta != 0
        np.testing.assert_allclose(pull[inside], penalty * mixing * np.sign(beta[inside]), rtol=1e-12)
        assert (np.abs(pull[~inside]) < penalty * mixing).all()


def test_at_the_largest_penalty_everything_penalised_is_zero_and_below_it_not():
    problem = CoxProblem(*trial())
    for factors in (None, [1, 0, 1, 1, 1, 1, 1, 1]):
        top = largest_penalty(problem, mixing=0.5, factors=factors)
        at, below = cox_path(problem, [1.0001 * top, 0.99 * top], mixing=0.5, factors=factors).coefficients
        penalised = np.ones(8, bool) if factors is None else np.array(factors) > 0
        assert not at[penalised].any()
        assert below[penalised].any()
    assert at[1] != 0


def test_ridge_of_fit_cox_is_the_paths_ridge_in_the_documented_scale():
    time, event, X = trial()
    path = cox_path(CoxProblem(time, event, X), 0.05, mixing=0.0)
    ridge = fit_cox(time, event, X, ridge=len(X) * 0.05 * X.var(ddof=0).to_numpy())
    np.testing.assert_allclose(path.coefficients[0], ridge.coefficients, rtol=1e-9)


def test_weights_are_copies_on_the_path_too():
    time, event, X = (part.head(300) for part in trial())
    copies = np.random.default_rng(1).integers(1, 4, 300)
    weighted = cox_path(CoxProblem(time, event, X, weights=copies, ties="breslow"), [0.1, 0.02])
    spread = cox_path(CoxProblem(*(np.repeat(a.to_numpy(), copies, axis=0) for a in (time, event, X)), ties="breslow"),
                      [0.1, 0.02])  # fmt: skip
    np.testing.assert_allclose(weighted.coefficients, spread.coefficients, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(weighted.deviance_ratio, spread.deviance_ratio, rtol=1e-8)


def test_a_path_exists_with_more_columns_than_patients():
    rng = np.random.default_rng(8)
    X = rng.normal(size=(60, 100))
    time, event = rng.exponential(np.exp(-X[:, 0])), rng.random(60) < 0.8
    problem = CoxProblem(time, event, X)
    top = largest_penalty(problem)
    path = cox_path(problem, top * np.array([1.0, 0.7, 0.4]))
    assert (path.coefficients[-1] != 0).sum() > 1
    assert np.argmax(np.abs(path.coefficients[-1])) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"penalties": [-0.1]}, "penalties must hold"),
        ({"penalties": [0.1], "mixing": 2}, "mixing is 2"),
        ({"penalties": [0.1], "factors": [1.0]}, "factors must hold"),
    ],
)
def test_arguments_of_a_path_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        cox_path(CoxProblem(*trial()), **arguments)


def separated(seed=3, n=60):
    """No event in one group: the Cox estimate is infinite."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, n).astype(float)
    time = np.ceil(rng.exponential(5, n))
    event = (rng.random(n) < 0.6) & (arm == 1)
    return time, event, pd.DataFrame({"marker": arm, "age": rng.normal(size=n)}), rng


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("kind", ["plain", "weighted strata", "delayed entry"])
def test_firths_estimate_is_the_maximum_of_its_definition(ties, kind):
    """Oracle: log-likelihood plus half the log determinant, maximised without any derivative of the penalty."""
    time, event, X, rng = separated()
    options = {
        "plain": {},
        "weighted strata": {"strata": rng.integers(0, 2, 60), "weights": rng.uniform(0.5, 2, 60)},
        "delayed entry": {"entry": time * rng.random(60) * 0.8, "strata": rng.integers(0, 2, 60)},
    }[kind]
    problem = CoxProblem(time, event, X, ties=ties, **options)
    found = problem.fit(firth=True)

    def lost(b):
        value, _, information = problem.derivatives(b)
        return -value - 0.5 * np.linalg.slogdet(information)[1]

    start = found.coefficients + 0.2
    search = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 5000}
    wanted = optimize.minimize(lost, start, method="Nelder-Mead", options=search)
    np.testing.assert_allclose(found.coefficients, wanted.x, rtol=1e-6)
    for one in np.eye(2):
        # A difference of values is exact to about 1e-9 here.
        assert abs(lost(found.coefficients + 1e-5 * one) - lost(found.coefficients - 1e-5 * one)) / 2e-5 < 5e-9
    np.testing.assert_allclose(found.covariance, np.linalg.inv(problem.derivatives(found.coefficients)[2]), rtol=1e-9)


def test_firths_penalty_of_two_patients_has_a_closed_form():
    """One event with two at risk: l = -log(1 + e^-b), I = p (1 - p); the maximum solves p = 3/4, so b = log 3."""
    found = fit_cox([1.0, 2.0], [True, False], [[1.0], [0.0]], penalty="firth")
    np.testing.assert_allclose(found.coefficients, [np.log(3)], rtol=1e-9)


def test_firths_limits_are_where_the_profile_has_lost_half_the_chi_square():
    time, event, X, _ = separated()
    problem = CoxProblem(time, event, X)
    fit = problem.fit(firth=True)
    profile = firth_profile(problem, fit, 0.9)
    best = penalised_log_likelihood(problem, fit.coefficients)
    for limits in (profile.low, profile.high):
        for j in range(2):
            at = firth_newton(problem, fixed=(j, limits[j]))[0]
            assert at[j] == limits[j]
            assert 2 * (best - penalised_log_likelihood(problem, at)) == pytest.approx(2.705543454095404, rel=1e-7)


def test_the_table_with_firths_penalty_has_finite_ratios_and_profile_limits():
    time, event, X, _ = separated()
    found = cox(time, event, X, penalty="firth")
    rows = found.frame()
    profile = firth_profile(CoxProblem(time, event, X), fit_cox(time, event, X, penalty="firth"), 0.95)
    np.testing.assert_allclose(rows["low"], np.exp(profile.low), rtol=1e-9)
    np.testing.assert_allclose(rows["z"] ** 2, profile.chi_square, rtol=1e-9)
    assert np.isfinite(rows[["hazard_ratio", "low", "high"]]).all(axis=None)
    assert "Firth's penalty with profile-likelihood limits" in found.text()


def test_firths_estimate_shrinks_a_large_sample_by_next_to_nothing():
    time, event, X = trial()
    plain, shrunk = (fit_cox(time, event, X, penalty=penalty) for penalty in (None, "firth"))
    assert (np.abs(plain.coefficients - shrunk.coefficients) < 0.05 * np.sqrt(np.diag(plain.covariance))).all()


def test_firths_penalty_goes_with_neither_ridge_nor_subjects():
    time, event, X, _ = separated()
    with pytest.raises(DataError, match="leaves no room for ridge"):
        fit_cox(time, event, X, penalty="firth", ridge=1.0)
    with pytest.raises(DataError, match="no robust standard errors"):
        cox(time, event, X, penalty="firth", id=np.arange(60))
    with pytest.raises(DataError, match="penalty is 'lasso'"):
        cox(time, event, X, penalty="lasso")
    with pytest.raises(AnalysisError, match='penalty="firth"'):
        cox(time, event, X)

"""The logistic risk models against R's glm, glmnet, scikit-learn, and a window whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from trialml.errors import AnalysisError
from trialml.models.logistic_elastic_net import LogisticElasticNet
from trialml.models.logistic_path import logistic_path
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import BinaryOutcome, binary_outcome, window_outcome

REFERENCE = Path(__file__).parents[1] / "reference"


def stored(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())["outputs"]


@pytest.fixture(scope="module")
def trial():
    return pd.read_csv(REFERENCE / "data" / "rct_sim.csv").astype(float)


def test_without_a_penalty_the_model_is_rs_glm(trial):
    """Oracle: resp_logistic.json, glm(response ~ w + x2 + x7 + w:x7, binomial), coefficients and deviance."""
    X = trial[["w", "x2", "x7"]].assign(product=trial["w"] * trial["x7"])
    model = LogisticRidge(treatment="w", penalties=(0.0,)).fit(X, trial["response"] == 1)
    oracle = stored("resp_logistic")
    raw = model.coefficients_ / model.encoder_.scale_
    found = [model.intercept_ - raw @ model.encoder_.centre_, model.treatment_coefficient_, *raw]
    np.testing.assert_allclose(found, list(oracle["coef"].values()), rtol=1e-7)
    deviance = -2 * len(trial) * model.score(X, trial["response"] == 1)
    assert deviance == pytest.approx(oracle["deviance"], rel=1e-8)


def test_the_lasso_path_is_glmnets(trial):
    """Oracle: resp_glmnet_cox_logistic.json, glmnet 4.1.6, binomial, thresh 1e-14; its own convergence leaves 5e-8."""
    oracle = stored("resp_glmnet_cox_logistic")
    X, y = trial[[f"x{j}" for j in range(1, 9)]], trial["response"] == 1
    for place, penalty in enumerate(oracle["lambda"]):
        model = LogisticElasticNet(mixing=1.0, penalty=penalty).fit(X, y)
        raw = model.coefficients_ / model.encoder_.scale_
        np.testing.assert_allclose(raw, np.asarray(oracle["logistic"]["rows"])[:, place], atol=5e-8)
        start = model.intercept_ - raw @ model.encoder_.centre_
        assert start == pytest.approx(oracle["logistic_intercept"][place], abs=5e-8)


def test_the_ridge_is_scikit_learns(trial):
    """Oracle: sklearn LogisticRegression, C = 1 / penalty, with case weights, solved by Newton's method."""
    X = trial[["x1", "x2", "x5"]]
    weight = np.random.default_rng(1).uniform(0.2, 3, len(X))
    model = LogisticRidge(penalties=(7.0,)).fit(X, binary_outcome(trial["response"], weight))
    oracle = LogisticRegression(C=1 / 7, solver="newton-cholesky", tol=1e-12, max_iter=500)
    oracle.fit(model.encoder_.transform(X), trial["response"], sample_weight=weight)
    np.testing.assert_allclose(model.coefficients_, oracle.coef_[0], rtol=1e-7)
    assert model.intercept_ == pytest.approx(oracle.intercept_[0], rel=1e-7)


def test_the_elastic_net_meets_the_conditions_of_its_maximum(trial):
    X = trial[[f"x{j}" for j in range(1, 9)]].assign(w=trial["w"])
    weight = np.random.default_rng(2).uniform(0.2, 3, len(X))
    y = binary_outcome(trial["response"], weight)
    penalty, mixing = 0.02, 0.6
    model = LogisticElasticNet(treatment="w", penalty=penalty, mixing=mixing).fit(X, y)
    left = weight * (trial["response"] - model.risk(X)) / weight.sum()
    assert left.sum() == pytest.approx(0, abs=1e-10)
    assert left @ X["w"] == pytest.approx(0, abs=1e-10)
    beta = model.coefficients_
    slack = model.encoder_.transform(X).T @ left - penalty * (1 - mixing) * beta
    np.testing.assert_allclose(slack[beta != 0], penalty * mixing * np.sign(beta[beta != 0]), rtol=1e-7)
    assert (np.abs(slack[beta == 0]) <= penalty * mixing).all()
    assert 0 < np.count_nonzero(beta) < 8


def test_a_weight_of_two_is_a_patient_twice_and_a_weight_of_nought_none(trial):
    design = trial[["x1", "x2"]].to_numpy()[:200]
    event = trial["response"].to_numpy()[:200] == 1
    times = np.random.default_rng(3).integers(0, 3, 200)
    free, penalties = np.zeros(2, bool), np.array([0.1, 0.01])
    one = logistic_path(design, BinaryOutcome(event, times.astype(float)), penalties, mixing=0.5, free=free)
    rows = np.repeat(np.arange(200), times)
    two = logistic_path(design[rows], BinaryOutcome(event[rows], np.ones(len(rows))), penalties, mixing=0.5, free=free)
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


def test_a_window_with_censoring_keeps_the_risk_right_where_dropping_or_calling_event_free_does_not():
    """Known truth: exponential times, hazard exp(-0.5 + 0.7 x), window 1; half are censored before it.

    The mean risk is within 4 standard errors (0.007 each at n = 20,000, by the weights' spread); the two shortcuts are off
    by more than 0.05.
    """
    generator = np.random.default_rng(4)
    x = generator.normal(size=20_000)
    rate = np.exp(-0.5 + 0.7 * x)
    time, last = generator.exponential(1 / rate), generator.exponential(1.2, 20_000)
    event, seen = time <= last, np.minimum(time, last)
    truth = float(np.mean(1 - np.exp(-rate)))
    X = pd.DataFrame({"x": x})
    model = LogisticRidge(penalties=(0.3,), knots=4).fit(X, window_outcome(seen, event, 1.0))
    assert model.risk(X).mean() == pytest.approx(truth, abs=0.028)
    known = (event & (seen <= 1)) | (seen >= 1)
    assert abs((event & (seen <= 1))[known].mean() - truth) > 0.05
    assert abs((event & (seen <= 1)).mean() - truth) > 0.05


@pytest.mark.parametrize("kind", [LogisticRidge, LogisticElasticNet])
def test_fewer_than_five_of_a_kind_are_refused(kind, trial):
    X = trial[["x1", "x2"]]
    with pytest.raises(AnalysisError, match="4 patients with the event and 1996 without"):
        kind().fit(X, np.arange(len(X)) < 4)
    with pytest.raises(AnalysisError, match="1996 patients with the event and 4 without"):
        kind().fit(X, np.arange(len(X)) >= 4)


def test_probabilities_of_both_classes_add_up_to_one(trial):
    X = trial[["x1", "x2"]]
    model = LogisticRidge().fit(X, trial["response"] == 1)
    both = model.predict_proba(X)
    np.testing.assert_allclose(both.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(both[:, 1], model.risk(X))
    assert model.penalty_ in model.penalties

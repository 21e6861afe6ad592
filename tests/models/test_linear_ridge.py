"""The linear ridge model against scikit-learn and against leaving each patient out in turn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, RidgeCV

from trialml.errors import AnalysisError, DataError
from trialml.models.linear_ridge import LinearRidge
from trialml.models.outcome import survival_outcome


@pytest.fixture(scope="module")
def trial():
    generator = np.random.default_rng(21)
    X = pd.DataFrame(generator.normal(size=(60, 4)), columns=list("abcd"))
    arm = generator.integers(0, 2, 60).astype(float)
    return X, arm, 3 + 2 * X["a"].to_numpy() - 1.5 * arm + generator.normal(size=60)


def test_without_an_arm_the_line_and_the_penalty_are_scikit_learns(trial):
    """Oracle: sklearn RidgeCV, leave-one-out, on the same grid."""
    X, _, y = trial
    model = LinearRidge().fit(X, y)
    oracle = RidgeCV(alphas=60 * np.asarray(model.penalties)).fit(model.encoder_.transform(X), y)
    np.testing.assert_allclose(model.coefficients_, oracle.coef_, rtol=1e-8)
    assert model.penalty_ * 60 == pytest.approx(oracle.alpha_)
    assert model.intercept_ == pytest.approx(oracle.intercept_)


def test_without_a_penalty_the_arms_effect_is_that_of_least_squares(trial):
    X, arm, y = trial
    model = LinearRidge(treatment="arm", penalties=(0.0,)).fit(X.assign(arm=arm), y)
    oracle = LinearRegression().fit(X.assign(arm=arm), y)
    assert model.treatment_coefficient_ == pytest.approx(oracle.coef_[-1], rel=1e-8)
    np.testing.assert_allclose(model.predict(X.assign(arm=arm)), oracle.predict(X.assign(arm=arm)), rtol=1e-8)
    assert model.score(X.assign(arm=arm), y) == pytest.approx(oracle.score(X.assign(arm=arm), y))


def test_with_an_arm_the_penalty_has_the_smallest_error_over_patients_left_out_in_turn(trial):
    """Spelled out: each patient predicted from the others by the normal equations, intercept and arm not penalised."""
    X, arm, y = trial
    model = LinearRidge(treatment="arm").fit(X.assign(arm=arm), y)
    design = np.column_stack([np.ones(60), arm, model.encoder_.transform(X)])
    errors = []
    for penalty in model.penalties:
        ridge = 60 * penalty * np.diag([0, 0, 1, 1, 1, 1])
        total = 0.0
        for out in range(60):
            rest = np.arange(60) != out
            beta = np.linalg.solve(design[rest].T @ design[rest] + ridge, design[rest].T @ y[rest])
            total += (y[out] - design[out] @ beta) ** 2
        errors.append(total)
    assert model.penalty_ == pytest.approx(model.penalties[int(np.argmin(errors))])
    ridge = 60 * model.penalty_ * np.diag([0, 0, 1, 1, 1, 1])
    beta = np.linalg.solve(design.T @ design + ridge, design.T @ y)
    np.testing.assert_allclose(model.predict(X.assign(arm=arm)), design @ beta, rtol=1e-8)


def test_an_outcome_that_is_no_row_of_numbers_is_refused(trial):
    X, _, y = trial
    with pytest.raises(DataError, match="one finite number for each patient"):
        LinearRidge().fit(X, np.where(np.arange(60) == 3, np.nan, y))
    with pytest.raises(DataError, match="fields event, time, but a model of a mean"):
        LinearRidge().fit(X, survival_outcome(np.abs(y), np.ones(60)))
    with pytest.raises(AnalysisError, match="60 patients, all of them with the same value"):
        LinearRidge().fit(X, np.ones(60))
    with pytest.raises(AnalysisError, match="'twin' alone explains the outcome"):
        LinearRidge().fit(X.assign(twin=2 * y + 1), y)

"""The ridge Cox risk model against the unpenalised fit, R's survfit, and its own optimality conditions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.survival.cox import CoxProblem, fit_cox

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def lung():
    table = pd.read_csv(REFERENCE / "data" / "lung.csv").dropna(subset=["ph.ecog"])
    X = table[["age", "sex", "ph.ecog"]].astype(float)
    return X, survival_outcome(table["time"], table["status"] == 2)


def test_trap_35_survival_without_a_penalty_is_rs_survfit_coxph(lung):
    """Oracle: surv_cox_baseline_prediction.json, survfit(coxph(... age + sex + ph.ecog), newdata), survival 3.5.3."""
    oracle = json.loads((REFERENCE / "surv_cox_baseline_prediction.json").read_text())
    model = CoxRidge(penalties=(0.0,)).fit(*lung)
    new = pd.DataFrame(oracle["inputs"]["newdata"]).astype(float)
    found = model.survival(new, np.asarray(oracle["outputs"]["times"], dtype=float))
    np.testing.assert_allclose(found, np.transpose(oracle["outputs"]["surv"]["rows"]), rtol=1e-7)


def test_without_a_penalty_the_coefficients_are_the_unpenalised_ones_per_standard_deviation(lung):
    X, y = lung
    model = CoxRidge(penalties=(0.0,)).fit(X, y)
    fit = fit_cox(y["time"], y["event"], X)
    np.testing.assert_allclose(model.coefficients_, fit.coefficients * X.to_numpy().std(axis=0), rtol=1e-7)


@pytest.mark.parametrize("penalty", [0.5, 20.0])
def test_the_penalised_score_is_zero_and_the_arm_is_not_penalised(lung, penalty):
    """By central differences of the log partial likelihood less penalty / 2 times the sum of squares."""
    X, y = lung
    arm = (np.arange(len(X)) % 2).astype(float)
    model = CoxRidge(treatment="arm", penalties=(penalty,)).fit(X.assign(arm=arm), y)
    design = np.column_stack([arm, model.encoder_.transform(X)])
    problem = CoxProblem(y["time"], y["event"], design)
    beta = np.concatenate(([model.treatment_coefficient_], model.coefficients_))
    for place in range(4):
        step = np.zeros(4)
        step[place] = 1e-5
        slope = (problem.log_likelihood(beta + step) - problem.log_likelihood(beta - step)) / 2e-5
        assert slope == pytest.approx(0.0 if place == 0 else penalty * beta[place], abs=1e-4)


def test_a_larger_penalty_shrinks_and_the_tuned_one_is_of_the_grid(lung):
    X, y = lung
    sizes = [np.abs(CoxRidge(penalties=(one,)).fit(X, y).coefficients_).sum() for one in (0.1, 10.0, 1000.0)]
    assert sizes[0] > sizes[1] > sizes[2]
    model = CoxRidge().fit(X, y)
    assert model.penalty_ in model.penalties


def test_survival_falls_and_is_the_exponential_of_the_scaled_baseline_hazard(lung):
    X, y = lung
    model = CoxRidge(penalties=(3.0,)).fit(X, y)
    times = np.unique(y["time"])
    survival = model.survival(X, times)
    assert (np.diff(survival, axis=1) <= 0).all()
    assert ((survival > 0) & (survival <= 1)).all()
    place = np.searchsorted(model.baseline_times_, 365.0, side="right") - 1
    by_hand = 1 - np.exp(-model.baseline_hazard_[place] * np.exp(model.log_hazard(X)))
    np.testing.assert_allclose(model.risk(X, 365.0), by_hand, rtol=1e-12)
    assert (model.survival(X, np.array([0.0])) == 1).all()


def test_trap_13_a_risk_beyond_the_follow_up_is_refused(lung):
    X, y = lung
    model = CoxRidge(penalties=(3.0,)).fit(X, y)
    with pytest.raises(AnalysisError, match="but the training data end at 1022"):
        model.risk(X, 1023.0)


def test_fewer_than_five_events_are_refused(lung):
    X, y = lung
    few = survival_outcome(y["time"], np.arange(len(y)) < 4)
    with pytest.raises(AnalysisError, match="cannot be fitted to 4 events"):
        CoxRidge().fit(X, few)


def test_the_order_of_patients_moves_nothing_once_the_penalty_is_given(lung):
    """With tuning the folds are dealt by row, so only the choice within the grid may depend on the order."""
    X, y = lung
    order = np.random.default_rng(1).permutation(len(X))
    one, other = CoxRidge(penalties=(3.0,)).fit(X, y), CoxRidge(penalties=(3.0,)).fit(X.iloc[order], y[order])
    np.testing.assert_allclose(one.coefficients_, other.coefficients_, rtol=1e-9)
    np.testing.assert_allclose(one.risk(X, 365.0), other.risk(X, 365.0), rtol=1e-9)

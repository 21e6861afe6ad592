"""The elastic-net Cox risk model against glmnet, its own optimality conditions and a world that is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.data.folds import fold_labels, splits
from trialml.models.cox_elastic_net import CoxElasticNet
from trialml.models.outcome import survival_outcome
from trialml.survival.cox import CoxProblem
from trialml.survival.cox_net import cox_path

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def trial():
    table = pd.read_csv(REFERENCE / "data" / "rct_sim.csv")
    X = table[[f"x{j}" for j in range(1, 9)]].astype(float)
    return X, survival_outcome(table["time"], table["event"] == 1), table["w"].astype(float)


def test_at_a_given_penalty_the_model_is_that_of_the_path(trial):
    """`cox_path` is compared with glmnet (Breslow ties) in survival/test_cox_penalties.py; here ties are Efron's."""
    X, y, _ = trial
    model = CoxElasticNet(penalty=0.02, mixing=0.5).fit(X, y)
    path = cox_path(CoxProblem(y["time"], y["event"], X), [0.02], mixing=0.5).coefficients[0]
    np.testing.assert_allclose(model.coefficients_, path * X.to_numpy().std(axis=0), rtol=1e-7, atol=1e-10)


def test_with_few_ties_the_lasso_is_close_to_glmnets(trial):
    """Oracle: resp_glmnet_cox_logistic.json, glmnet 4.1.6, lambda 0.02; Efron's ties move the third digit at most."""
    stored = json.loads((REFERENCE / "resp_glmnet_cox_logistic.json").read_text())["outputs"]
    column = np.asarray(stored["cox"]["rows"])[:, stored["lambda"].index(0.02)]
    X, y, _ = trial
    model = CoxElasticNet(penalty=0.02, mixing=1.0).fit(X, y)
    found = model.coefficients_ / X.to_numpy().std(axis=0)
    np.testing.assert_allclose(found, column, atol=1e-3)
    assert model.selected_ == tuple(X.columns[column != 0])


def test_the_conditions_of_the_maximum_hold_and_the_arm_is_not_penalised(trial):
    """By the derivatives of the partial likelihood, with the arm in the model: the penalty of a column is that of 1."""
    X, y, arm = trial
    penalty, mixing = 0.03, 0.7
    model = CoxElasticNet(treatment="w", penalty=penalty, mixing=mixing).fit(X.assign(w=arm), y)
    beta = np.concatenate(([model.treatment_coefficient_], model.coefficients_))
    design = np.column_stack([arm, model.encoder_.transform(X)])
    pull = CoxProblem(y["time"], y["event"], design).derivatives(beta)[1] / len(X)
    assert pull[0] == pytest.approx(0.0, abs=1e-9)
    slack = pull[1:] - penalty * (1 - mixing) * beta[1:]
    inside = beta[1:] != 0
    np.testing.assert_allclose(slack[inside], penalty * mixing * np.sign(beta[1:][inside]), rtol=1e-7)
    assert (np.abs(slack[~inside]) <= penalty * mixing).all()
    assert 0 < inside.sum() < 8


def test_the_penalty_is_the_one_with_the_largest_cross_validated_partial_likelihood(trial):
    """Spelled out over the same folds: each fold's path, judged by what the likelihood of all gains over that of the fold."""
    X, y, _ = (part.iloc[:300] if hasattr(part, "iloc") else part[:300] for part in trial)
    model = CoxElasticNet(path=6, folds=3, seed=2).fit(X, y)
    design, time, event = model.encoder_.transform(X), y["time"], y["event"]
    problem = CoxProblem(time, event, design)
    gradient = np.abs(problem.derivatives(np.zeros(8))[1]).max() / 300 / 0.5
    path = gradient * np.geomspace(1, 0.01, 6)
    score = np.zeros(6)
    for train, _ in splits(fold_labels(np.char.add("all", event.astype(str)), 3, 2)):
        part = CoxProblem(time[train], event[train], design[train])
        for place, beta in enumerate(cox_path(part, path, mixing=0.5).coefficients):
            score[place] += problem.log_likelihood(beta) - part.log_likelihood(beta)
    assert model.penalty_ == pytest.approx(path[np.argmax(score)], rel=1e-9)


def test_noise_is_left_out_and_signal_is_kept():
    generator = np.random.default_rng(12)
    X = pd.DataFrame(generator.normal(size=(400, 20)), columns=[f"x{j}" for j in range(20)])
    time = generator.exponential(np.exp(-X["x0"] + 0.8 * X["x1"]))
    model = CoxElasticNet(mixing=1.0).fit(X, survival_outcome(time, np.ones(400)))
    assert {"x0", "x1"} <= set(model.selected_)
    assert len(model.selected_) < 20
    alone = CoxElasticNet(mixing=1.0, penalty=1e6).fit(X, survival_outcome(time, np.ones(400)))
    assert alone.selected_ == ()
    assert np.ptp(alone.predict(X)) == 0


def test_more_columns_than_patients_are_handled():
    generator = np.random.default_rng(13)
    X = pd.DataFrame(generator.normal(size=(60, 90)), columns=[f"x{j}" for j in range(90)])
    time = generator.exponential(np.exp(-1.5 * X["x0"]))
    model = CoxElasticNet(path=12, folds=3).fit(X, survival_outcome(time, np.ones(60)))
    assert "x0" in model.selected_
    assert len(model.selected_) < 60

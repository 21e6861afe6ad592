"""Scores of our own models: exact values from trees are those of all sets of covariates, and no patient's row is needed later."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError
from trialml.explain.benefit_scores import benefit_score
from trialml.explain.patient import explain_benefit_of, explain_risk_of
from trialml.explain.risk_scores import additive_score, count_patients, mean_score, risk_score, rmst_score
from trialml.models.boosted_continuous import BoostedContinuous
from trialml.models.boosted_hazard import BoostedHazard
from trialml.models.cox_ridge import CoxRidge
from trialml.models.forest_scores import ForestScores
from trialml.models.outcome import scored_outcome
from trialml.models.ridge_scores import RidgeScores
from trialml.models.s_learner import SLearnerTimes
from trialml.models.s_learner_continuous import MODEL as S_CONTINUOUS
from trialml.models.survival_forest import SurvivalForest
from trialml.models.t_learner import TLearnerTimes


@pytest.fixture(scope="module")
def with_arm(trial):
    X, arm, y = trial
    return X, X.assign(treated=arm), y


@pytest.fixture(scope="module")
def forest(with_arm):
    _X, XA, y = with_arm
    model = SurvivalForest(treatment="treated", trees=8, seed=1).fit(XA, y)
    count_patients(model, XA, 11)
    return model


@pytest.fixture(scope="module")
def boosted(with_arm):
    _X, XA, y = with_arm
    model = BoostedHazard(treatment="treated", iterations=15, folds=0, seed=1).fit(XA, y)
    count_patients(model, XA, 11)
    return model


def exact_and_enumerated(score, X, rows=6, others=8):
    """The values from trees, and by looking at all sets of covariates of the model itself."""
    found, way = score.explain(X.iloc[:rows], X.iloc[60 : 60 + others], seed=1)
    again, how = replace(score, boxes=None, matrix=None).explain(X.iloc[:rows], X.iloc[60 : 60 + others], seed=1)
    assert (way, how) == ("trees", "enumerated")
    return found, again


def test_a_survival_forest_is_exact_for_survival_at_all_times_and_for_the_restricted_mean(forest, with_arm):
    """Its curves are means over trees of those of leaves; text and missing values are whole covariates."""
    X, XA, _ = with_arm
    for score in (risk_score(forest, [1.0, 3.0, 8.0]), rmst_score(forest, 8.0, "months")):
        found, again = exact_and_enumerated(score, X)
        np.testing.assert_allclose(found.values, again.values, atol=1e-11)
        np.testing.assert_allclose(found.base, again.base, atol=1e-11)
        assert score.covariates == ("age", "sex", "site", "lab")
    by_path, way = risk_score(forest, [8.0]).explain(X, None, seed=1, perturbation="path-dependent")
    assert way == "trees"
    risk = 100 * forest.risk(XA.assign(treated=0.0), 8.0)
    np.testing.assert_allclose(by_path.values[:, :, 0].sum(axis=1) + by_path.base, risk, atol=1e-10)


def test_boosted_hazards_are_exact_on_the_log_hazard_and_enumerated_on_the_risk(boosted, with_arm):
    X, XA, _ = with_arm
    found, again = exact_and_enumerated(additive_score(boosted), X)
    np.testing.assert_allclose(found.values, again.values, atol=1e-12)
    said = boosted.log_hazard(XA.assign(treated=0.0).iloc[:6])
    np.testing.assert_allclose(found.values[:, :, 0].sum(axis=1) + found.base, said, atol=1e-12)
    risk, way = risk_score(boosted, [3.0, 8.0]).explain(X.iloc[:4], X.iloc[60:65], seed=1)
    assert (way, risk.values.shape) == ("enumerated", (4, 4, 2))


def test_a_cox_model_is_a_function_of_a_line(with_arm):
    X, XA, y = with_arm
    model = CoxRidge(treatment="treated", penalties=(10.0,)).fit(XA, y)
    for score in (risk_score(model, [3.0, 8.0]), rmst_score(model, 8.0, "months")):
        line, _ = score.explain(X.iloc[:5], X.iloc[60:66], seed=1)
        frame, _ = replace(score, parts=None, link=None).explain(X.iloc[:5], X.iloc[60:66], seed=1)
        np.testing.assert_allclose(line.values, frame.values, atol=1e-11)
    with pytest.raises(AnalysisError, match="the training data end at"):
        risk_score(model, [1e6])


def test_restricted_means_of_smooth_curves_are_taken_by_trapezia(boosted, with_arm):
    X, XA, _ = with_arm
    fine = np.linspace(0, 8.0, 8001)
    curves = boosted.survival(XA.assign(treated=0.0).iloc[:5], fine)
    wanted = ((curves[:, 1:] + curves[:, :-1]) / 2).sum(axis=1) * (fine[1] - fine[0])
    np.testing.assert_allclose(rmst_score(boosted, 8.0, "months").value(X.iloc[:5])[:, 0], wanted, rtol=1e-5)


@pytest.fixture(scope="module")
def scores(trial):
    X, _, _ = trial
    return 0.1 * (X["age"] - 60).to_numpy() + np.random.default_rng(2).normal(size=len(X))


def test_response_models_on_trees_are_exact(with_arm, scores):
    """A forest on scores; one survival forest asked about either arm; one boosted mean asked about either arm."""
    X, XA, y = with_arm
    numbers = 2 * XA["treated"].to_numpy() * (X["age"] > 60).to_numpy() + scores
    models = [
        ForestScores(trees=8, fewest_patients=0, seed=1).fit(X, scores),
        SLearnerTimes(treatment="treated", tau=8.0, folds=2, repeats=1, seed=1).fit(XA, scored_outcome(y, scores)),
        S_CONTINUOUS.estimator(treatment="treated", folds=2, repeats=1, seed=1).fit(
            XA, scored_outcome(numbers, scores)
        ),
    ]
    for model in models:
        found, again = exact_and_enumerated(benefit_score(model, "months"), X, rows=4, others=5)
        np.testing.assert_allclose(found.values, again.values, atol=1e-10)
        said = model.benefit_score(X.iloc[:4])
        np.testing.assert_allclose(found.values[:, :, 0].sum(axis=1) + found.base, said, atol=1e-10)


def test_any_other_response_model_is_explained_from_its_score_alone(with_arm, scores):
    X, XA, y = with_arm
    model = TLearnerTimes(treatment="treated", tau=8.0, folds=2, repeats=1, seed=1).fit(XA, scored_outcome(y, scores))
    found, way = benefit_score(model, "months").explain(X.iloc[:3], X.iloc[60:64], seed=1)
    assert way == "enumerated"
    np.testing.assert_allclose(
        found.values[:, :, 0].sum(axis=1) + found.base, model.benefit_score(X.iloc[:3]), atol=1e-10
    )
    with pytest.raises(AnalysisError, match="neither a line nor a sum of trees"):
        explain_benefit_of(model, X.iloc[:1], "months")


def test_a_mean_adds_up_over_trees(with_arm, scores):
    X, _, _ = with_arm
    model = BoostedContinuous(iterations=10, folds=0, seed=1).fit(X, scores)
    found, again = exact_and_enumerated(additive_score(model), X)
    np.testing.assert_allclose(found.values, again.values, atol=1e-12)
    np.testing.assert_allclose(mean_score(model, "mm").value(X)[:, 0], model.predict(X), atol=1e-12)


def test_a_model_read_from_its_state_explains_a_patient_without_another_patients_row(forest, boosted, with_arm, scores):
    X, XA, y = with_arm
    one = X.iloc[[5]]
    for model, score in ((forest, risk_score(forest, [8.0])), (boosted, additive_score(boosted))):
        again = type(model).from_state(model.state())
        local = explain_risk_of(again, one, 8.0)
        found, _ = score.explain(one, None, seed=1, perturbation="path-dependent")
        np.testing.assert_allclose(local.parts[list(score.covariates)], found.values[0, :, 0], atol=1e-12)
        assert local.base + local.parts.sum() == pytest.approx(local.score, abs=1e-10)
        assert local.parts.abs().is_monotonic_decreasing
    cox = CoxRidge(treatment="treated", penalties=(10.0,)).fit(XA, y)
    local = explain_risk_of(CoxRidge.from_state(cox.state()), one, 8.0)
    assert local.parts.sum() == pytest.approx(float(cox.log_hazard(one.assign(treated=0.0))[0]), abs=1e-12)
    ridge = RidgeScores(repeats=2).fit(X, scores)
    wanted = ridge.benefit_score(one)[0] - ridge.benefit_score(X).mean()
    assert explain_benefit_of(ridge, one, "months").parts.sum() == pytest.approx(float(wanted), abs=1e-10)


def test_no_leaf_of_the_state_tells_of_fewer_than_eleven_patients(forest, boosted):
    for trees in (forest.trees_, boosted.hazard_.trees):
        assert (trees.weight[trees.feature < 0] >= 11).all()


def test_a_path_dependent_explanation_of_no_trees_is_refused(with_arm):
    X, _XA, y = with_arm
    model = CoxRidge(penalties=(10.0,)).fit(X, y)
    with pytest.raises(AnalysisError, match="choose the interventional perturbation"):
        risk_score(model, [3.0]).explain(X, None, seed=1, perturbation="path-dependent")
    with pytest.raises(AnalysisError, match="needs a background"):
        risk_score(model, [3.0]).explain(X, None, seed=1)
    assert isinstance(X, pd.DataFrame)

"""Every model of the folder keeps scikit-learn's contract, is deterministic, and returns from plain JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline

from trialml.errors import AnalysisError, ModelInputError, StudyFileError
from trialml.models import ENDPOINTS, model_named, models_for
from trialml.models.outcome import competing_outcome, scored_outcome, survival_outcome, window_outcome

RISK, RESPONSE = models_for("risk"), models_for("response")
EVERY = [*RISK.values(), *RESPONSE.values()]


def each(models):
    """One case a model, by name; one that needs an extra is skipped where the extra is not installed."""
    return [
        pytest.param(
            model,
            id=model.name,
            marks=pytest.mark.skipif(not model.installed, reason=f"{model.name} needs {model.needs}, an extra"),
        )
        for model in models
    ]


@pytest.fixture(scope="module")
def patients():
    """Covariates, and an outcome of each kind of endpoint."""
    generator = np.random.default_rng(3)
    X = pd.DataFrame(
        {
            "age": generator.normal(60, 9, 160),
            "marker": np.where(generator.random(160) < 0.1, np.nan, generator.normal(size=160)),
            "prior": generator.integers(0, 2, 160).astype(float),
            "site": generator.choice(["lung", "liver"], 160).astype(object),
        }
    )
    marker = np.nan_to_num(X["marker"])
    time = generator.exponential(np.exp(-0.5 * marker))
    last = generator.uniform(0.2, 3, 160)
    outcome = survival_outcome(np.minimum(time, last), time <= last)
    scores = 20 + 30 * marker + generator.normal(scale=40, size=160)
    other = generator.exponential(2, 160)
    cause = np.where(time <= np.minimum(last, other), 1, np.where(other <= last, 2, 0))
    competing = competing_outcome(np.minimum(np.minimum(time, other), last), cause)
    return X, {
        "time to event": outcome,
        "competing risks": competing,
        "binary": window_outcome(competing["time"], cause, 1.0),
        "continuous": scores,
    }


def settings(model):
    """The seed; of a response model also as few splits as can be, and a size that a fixture may have."""
    if model.question == "risk":
        return {"seed": 5}
    few = {"fewest_patients": 100} if model.fewest_patients else {}
    return {"seed": 5, "repeats": 2, **few, **({"folds": 2} if model.learns_from == "outcomes" else {})}


def target(model, patients):
    if model.question == "risk":
        return patients[1][model.endpoint]
    scores = patients[1]["continuous"]
    return scores if model.learns_from == "scores" else scored_outcome(patients[1][model.endpoint], scores)


def covariates(model, patients):
    """The frame that a model is fitted on: with the arm where it learns a response from outcomes."""
    X = patients[0]
    if model.question == "risk" or model.learns_from == "scores":
        return X
    return X.assign(arm=np.random.default_rng(7).permutation(np.arange(len(X)) % 2).astype(float))


def numbers(model, fitted, X):
    """All that a fitted model says of patients, one row a patient."""
    if model.question == "response":
        return np.column_stack([fitted.predict(X), fitted.benefit_score(X)])
    if model.endpoint == "time to event":
        return np.column_stack([fitted.predict(X), fitted.survival(X, [0.1, 0.5]), fitted.risk(X, 0.5)])
    if model.endpoint == "competing risks":
        return np.column_stack([fitted.predict(X), fitted.cumulative_incidence(X, [0.1, 0.5]), fitted.risk(X, 0.5)])
    return fitted.risk(X)[:, None] if model.endpoint == "binary" else fitted.predict(X)[:, None]


def test_the_folder_holds_risk_and_response_models():
    assert "cox_ridge" in RISK
    assert {"ridge_scores", "lasso_scores", "forest_scores", "cox_interaction"} <= set(RESPONSE)
    assert {f"{kind}_learner{of}" for kind in "st" for of in ("", "_binary", "_continuous")} <= set(RESPONSE)
    assert all(model.words and model.name == name for group in (RISK, RESPONSE) for name, model in group.items())


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(StudyFileError, match="'cox_rige' does not exist; the nearest name is 'cox_ridge'"):
        model_named("cox_rige", "risk")


def test_models_are_listed_by_kind_of_endpoint_and_one_of_another_kind_is_refused():
    assert "cox_ridge" in models_for("risk", "time to event")
    assert {name for kind in ENDPOINTS for name in models_for("risk", kind)} == set(RISK)
    assert "cox_ridge" not in models_for("risk", "binary")
    # Scores of any endpoint can be regressed; an outcome is of one kind.
    assert "ridge_scores" in models_for("response", "binary")
    assert "cox_interaction" not in models_for("response", "binary")
    with pytest.raises(StudyFileError, match="'cox_ridge' is for a time to event endpoint, but this one is binary"):
        model_named("cox_ridge", "risk", "binary")
    with pytest.raises(StudyFileError, match="no endpoint 'binry'; the nearest name is 'binary'"):
        models_for("risk", "binry")


@pytest.mark.parametrize("model", each(EVERY))
def test_parameters_are_kept_as_given_and_clones_are_unfitted(model, patients):
    estimator = model.estimator(**settings(model))
    fitted = clone(estimator).fit(covariates(model, patients), target(model, patients))
    assert clone(fitted).get_params() == estimator.get_params()
    assert fitted.get_params() == estimator.get_params()
    assert estimator.set_params(seed=6).seed == 6
    with pytest.raises(NotFittedError):
        clone(fitted).predict(patients[0])


@pytest.mark.parametrize("model", each(EVERY))
def test_trap_33_two_fits_agree_to_the_last_digit_and_leave_their_input_alone(model, patients):
    X = covariates(model, patients)
    before = X.copy(deep=True)
    one, other = (model.estimator(**settings(model)).fit(X, target(model, patients)).predict(X) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(X, before)


@pytest.mark.parametrize("model", each(EVERY))
def test_a_pipeline_may_end_in_it(model, patients):
    X, y = covariates(model, patients), target(model, patients)
    line = Pipeline([("as it is", "passthrough"), ("model", model.estimator(**settings(model)))]).fit(X, y)
    np.testing.assert_array_equal(line.predict(X), model.estimator(**settings(model)).fit(X, y).predict(X))


@pytest.mark.parametrize("model", each(EVERY))
def test_an_array_without_names_is_refused_in_a_sentence(model, patients):
    X = covariates(model, patients)
    with pytest.raises(ModelInputError, match="give a data frame whose columns have names"):
        model.estimator(**settings(model)).fit(X.to_numpy(), target(model, patients))


@pytest.mark.parametrize("model", each(EVERY))
def test_the_state_goes_through_json_and_returns_the_same_predictions(model, patients):
    X = covariates(model, patients)
    fitted = model.estimator(**settings(model)).fit(X, target(model, patients))
    again = model.estimator.from_state(json.loads(json.dumps(fitted.state(), allow_nan=False)))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    assert json.dumps(again.state()) == json.dumps(fitted.state())
    np.testing.assert_array_equal(numbers(model, again, X), numbers(model, fitted, X))


@pytest.mark.parametrize("model", each(EVERY))
def test_a_prediction_depends_on_no_other_patient_of_the_batch(model, patients):
    X = covariates(model, patients)
    fitted = model.estimator(**settings(model)).fit(X, target(model, patients))
    one_by_one = np.concatenate([numbers(model, fitted, X.iloc[[row]]) for row in range(10)])
    np.testing.assert_allclose(one_by_one, numbers(model, fitted, X)[:10], rtol=1e-12)


RISKS = list(RISK.values())


@pytest.mark.parametrize("model", each(RISKS))
def test_a_risk_is_a_probability_that_grows_with_time_and_is_refused_beyond_the_follow_up(model, patients):
    X, y = patients[0], target(model, patients)
    fitted = model.estimator(**settings(model)).fit(X, y)
    if model.endpoint == "continuous":
        assert np.isfinite(fitted.predict(X)).all()
        return
    if model.endpoint == "binary":
        np.testing.assert_array_equal(fitted.risk(X), fitted.predict(X))
        assert ((fitted.risk(X) >= 0) & (fitted.risk(X) <= 1)).all()
        return
    times = np.linspace(0, fitted.horizon_limit_, 7)
    risk = 1 - fitted.survival(X, times) if model.endpoint == "time to event" else fitted.cumulative_incidence(X, times)
    assert risk.shape == (len(X), 7)
    assert (risk[:, 0] == 0).all()
    assert (np.diff(risk, axis=1) >= -1e-12).all()
    assert ((risk >= 0) & (risk <= 1)).all()
    np.testing.assert_allclose(fitted.risk(X, times[3]), risk[:, 3], rtol=1e-12)
    assert fitted.horizon_limit_ <= y["time"].max()
    with pytest.raises(AnalysisError, match="follow-up"):
        fitted.risk(X, 1.01 * y["time"].max())


@pytest.mark.parametrize("model", each(RISKS))
def test_the_order_of_columns_and_a_further_column_move_no_prediction(model, patients):
    X = patients[0]
    fitted = model.estimator(**settings(model)).fit(X, target(model, patients))
    turned = X[X.columns[::-1]].assign(further="unused")
    np.testing.assert_array_equal(numbers(model, fitted, turned), numbers(model, fitted, X))


@pytest.mark.parametrize("model", each(RISKS))
def test_the_arm_may_be_a_covariate_and_a_blind_model_does_not_see_it(model, patients):
    X, y = patients[0], target(model, patients)
    arm = np.random.default_rng(6).integers(0, 2, len(X)).astype(float)
    with_arm = model.estimator(treatment="arm", **settings(model)).fit(X.assign(arm=arm), y)
    again = model.estimator.from_state(json.loads(json.dumps(with_arm.state())))
    every = numbers(model, with_arm, X.assign(arm=arm))
    np.testing.assert_array_equal(numbers(model, again, X.assign(arm=arm)), every)
    assert model.estimator(**settings(model)).treatment is None


@pytest.mark.parametrize("model", each(RISKS))
def test_a_grid_search_runs_over_it_and_predicts_better_than_nothing(model, patients):
    X, y = patients[0], target(model, patients)
    search = GridSearchCV(
        model.estimator(**settings(model)), {"seed": [5, 6]}, cv=KFold(3, shuffle=True, random_state=1)
    )
    score = search.fit(X, y).best_score_
    nothing = {"time to event": 0.5, "competing risks": 0.5, "binary": -np.log(2), "continuous": 0.0}
    assert score > nothing[model.endpoint]

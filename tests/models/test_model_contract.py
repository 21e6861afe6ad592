"""Every model of the folder keeps scikit-learn's contract, is deterministic, and returns from plain JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from trialml.errors import StudyFileError
from trialml.models import model_named, models_for
from trialml.models.outcome import survival_outcome

RISK, RESPONSE = models_for("risk"), models_for("response")
EVERY = [*RISK.values(), *RESPONSE.values()]


def ids(models):
    return [model.name for model in models]


@pytest.fixture(scope="module")
def patients():
    generator = np.random.default_rng(3)
    X = pd.DataFrame(
        {
            "age": generator.normal(60, 9, 160),
            "marker": np.where(generator.random(160) < 0.1, np.nan, generator.normal(size=160)),
            "prior": generator.integers(0, 2, 160).astype(float),
            "site": generator.choice(["lung", "liver"], 160).astype(object),
        }
    )
    time = generator.exponential(np.exp(-0.5 * np.nan_to_num(X["marker"])))
    last = generator.uniform(0.2, 3, 160)
    outcome = survival_outcome(np.minimum(time, last), time <= last)
    scores = 20 + 30 * np.nan_to_num(X["marker"]) + generator.normal(scale=40, size=160)
    return X, outcome, scores.to_numpy() if hasattr(scores, "to_numpy") else scores


def settings(model):
    return {"seed": 5} if model.question == "risk" else {"seed": 5, "repeats": 2}


def target(model, patients):
    return patients[1] if model.question == "risk" else patients[2]


def test_the_folder_holds_a_risk_and_two_response_models():
    assert "cox_ridge" in RISK
    assert {"ridge_scores", "lasso_scores"} <= set(RESPONSE)
    assert all(model.words and model.name == name for group in (RISK, RESPONSE) for name, model in group.items())


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(StudyFileError, match="'cox_rige' does not exist; the nearest name is 'cox_ridge'"):
        model_named("cox_rige", "risk")


@pytest.mark.parametrize("model", EVERY, ids=ids(EVERY))
def test_parameters_are_kept_as_given_and_clones_are_unfitted(model, patients):
    estimator = model.estimator(**settings(model))
    fitted = clone(estimator).fit(patients[0], target(model, patients))
    assert clone(fitted).get_params() == estimator.get_params()
    assert fitted.get_params() == estimator.get_params()
    assert estimator.set_params(seed=6).seed == 6
    with pytest.raises(NotFittedError):
        clone(fitted).predict(patients[0])


@pytest.mark.parametrize("model", EVERY, ids=ids(EVERY))
def test_trap_33_two_fits_agree_to_the_last_digit_and_leave_their_input_alone(model, patients):
    X, before = patients[0], patients[0].copy(deep=True)
    one, other = (model.estimator(**settings(model)).fit(X, target(model, patients)).predict(X) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    pd.testing.assert_frame_equal(X, before)


@pytest.mark.parametrize("model", EVERY, ids=ids(EVERY))
def test_a_pipeline_may_end_in_it(model, patients):
    X, y = patients[0], target(model, patients)
    line = Pipeline([("as it is", "passthrough"), ("model", model.estimator(**settings(model)))]).fit(X, y)
    np.testing.assert_array_equal(line.predict(X), model.estimator(**settings(model)).fit(X, y).predict(X))


@pytest.mark.parametrize("model", EVERY, ids=ids(EVERY))
def test_the_state_goes_through_json_and_returns_the_same_predictions(model, patients):
    X = patients[0]
    fitted = model.estimator(**settings(model)).fit(X, target(model, patients))
    again = model.estimator.from_state(json.loads(json.dumps(fitted.state(), allow_nan=False)))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    assert json.dumps(again.state()) == json.dumps(fitted.state())
    if model.question == "risk":
        np.testing.assert_array_equal(again.risk(X, 0.5), fitted.risk(X, 0.5))
    else:
        np.testing.assert_array_equal(again.benefit_score(X), fitted.benefit_score(X))


@pytest.mark.parametrize("model", EVERY, ids=ids(EVERY))
def test_a_prediction_depends_on_no_other_patient_of_the_batch(model, patients):
    X = patients[0]
    fitted = model.estimator(**settings(model)).fit(X, target(model, patients))
    one_by_one = np.concatenate([fitted.predict(X.iloc[[row]]) for row in range(10)])
    np.testing.assert_allclose(one_by_one, fitted.predict(X)[:10], rtol=1e-12)

"""S- and T-learners: what they say is the difference of what their risk models say; comparators for three kinds of endpoint."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.models import models_for
from trialml.models.boosted_continuous import BoostedContinuous
from trialml.models.cox_ridge import CoxRidge
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import scored_outcome, survival_outcome, window_outcome
from trialml.models.s_learner import SLearnerTimes
from trialml.models.s_learner_binary import SLearnerEvents
from trialml.models.s_learner_continuous import SLearnerMeans
from trialml.models.survival_forest import SurvivalForest
from trialml.models.t_learner import TLearnerTimes
from trialml.models.t_learner_binary import TLearnerEvents
from trialml.models.t_learner_continuous import TLearnerMeans

TAU = 1.0
QUICK = {"repeats": 1, "folds": 2, "seed": 3}


@pytest.fixture(scope="module")
def trial():
    generator = np.random.default_rng(1)
    X = pd.DataFrame(generator.normal(size=(160, 2)), columns=["age", "marker"])
    arm = generator.permutation(np.arange(160) % 2).astype(float)
    time = generator.exponential(np.exp(-0.4 * X["age"] + arm * (0.2 + 0.6 * X["marker"])))
    last = generator.uniform(1.0, 3, 160)
    event = time <= last
    y = {
        "time": survival_outcome(np.minimum(time, last), event),
        "binary": np.asarray(generator.random(160) < 1 / (1 + np.exp(-X["age"] + arm * X["marker"]))),
        "window": window_outcome(np.minimum(time, np.where(np.arange(160) % 9, 9, 0.4)), event, 1.0),
        "continuous": np.asarray(X["age"] + arm * X["marker"] + generator.normal(size=160)),
    }
    return X, arm, y, 0.2 + 0.3 * X["marker"].to_numpy() + generator.normal(size=160)


def contrast(model, X):
    """What the learner says, before it is centred on the average effect."""
    return model.benefit_score(X) - model.average_ + model.centre_


def area(survival):
    """The integral to tau by a fine grid of times at which a curve is read; exact for a step function but at its steps."""
    middle = (np.arange(20000) + 0.5) * TAU / 20000
    return survival(middle).mean(axis=1) * TAU


def test_the_t_learner_of_times_is_the_difference_of_the_arms_restricted_means(trial):
    X, arm, y, scores = trial
    model = TLearnerTimes(tau=TAU, **QUICK).fit(X.assign(arm=arm), scored_outcome(y["time"], scores))
    control, treated = (CoxRidge(seed=3).fit(X[arm == w], y["time"][arm == w]) for w in (0, 1))
    expected = area(lambda t: treated.survival(X, t)) - area(lambda t: control.survival(X, t))
    # A grid of 20,000 errs by half a cell a step, and there are about 100 steps of 0.01.
    np.testing.assert_allclose(contrast(model, X), expected, atol=1e-4)


def test_the_s_learner_of_times_is_the_difference_between_the_arms_of_one_forest(trial):
    X, arm, y, scores = trial
    model = SLearnerTimes(tau=TAU, **QUICK).fit(X.assign(arm=arm), scored_outcome(y["time"], scores))
    forest = SurvivalForest(treatment="arm", seed=3).fit(X.assign(arm=arm), y["time"])
    control, treated = (area(lambda t, w=w: forest.survival(X.assign(arm=w), t)) for w in (0.0, 1.0))
    np.testing.assert_allclose(contrast(model, X), treated - control, atol=1e-4)


@pytest.mark.parametrize("kind", ["binary", "window"])
def test_on_a_binary_endpoint_the_t_learner_is_the_difference_of_risks(trial, kind):
    X, arm, y, scores = trial
    control, treated = (LogisticRidge(seed=3).fit(X[arm == w], y[kind][arm == w]) for w in (0, 1))
    for good, sign in ((False, -1), (True, 1)):
        model = TLearnerEvents(higher_is_better=good, **QUICK).fit(X.assign(arm=arm), scored_outcome(y[kind], scores))
        np.testing.assert_allclose(
            contrast(model, X), sign * (treated.risk(X) - control.risk(X)), rtol=1e-8, atol=1e-12
        )


@pytest.mark.parametrize("good", [False, True])
def test_on_a_continuous_endpoint_it_is_the_difference_of_means(trial, good):
    X, arm, y, scores = trial
    sign = 1 if good else -1
    joined = scored_outcome(y["continuous"], scores)
    model = TLearnerMeans(higher_is_better=good, **QUICK).fit(X.assign(arm=arm), joined)
    control, treated = (LinearRidge().fit(X[arm == w], y["continuous"][arm == w]).predict(X) for w in (0, 1))
    np.testing.assert_allclose(contrast(model, X), sign * (treated - control), rtol=1e-8, atol=1e-12)
    model = SLearnerMeans(higher_is_better=good, **QUICK).fit(X.assign(arm=arm), joined)
    boosted = BoostedContinuous(treatment="arm", seed=3).fit(X.assign(arm=arm), y["continuous"])
    control, treated = (boosted.predict(X.assign(arm=w)) for w in (0.0, 1.0))
    np.testing.assert_allclose(contrast(model, X), sign * (treated - control), rtol=1e-8, atol=1e-12)


def test_the_direction_and_tau_survive_storing_and_the_arm_of_a_new_patient_is_not_looked_at(trial):
    X, arm, y, scores = trial
    for model in (
        TLearnerTimes(tau=TAU, treatment="drug", **QUICK).fit(X.assign(drug=arm), scored_outcome(y["time"], scores)),
        SLearnerEvents(higher_is_better=True, **QUICK).fit(X.assign(arm=arm), scored_outcome(y["binary"], scores)),
        TLearnerMeans(higher_is_better=False, **QUICK).fit(X.assign(arm=arm), scored_outcome(y["continuous"], scores)),
    ):
        again = type(model).from_state(json.loads(json.dumps(model.state(), allow_nan=False)))
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        np.testing.assert_array_equal(again.predict(X.assign(arm=1.0, drug=0.0)), model.predict(X))


def test_they_call_themselves_comparators():
    learners = [model for name, model in models_for("response").items() if "_learner" in name]
    assert len(learners) == 6
    assert all("as a comparator" in model.words and model.learns_from == "outcomes" for model in learners)
    assert {model.endpoint for model in learners} == {"time to event", "binary", "continuous"}


def test_an_outcome_of_another_kind_and_a_tau_beyond_follow_up_are_refused(trial):
    X, arm, y, scores = trial
    with pytest.raises(DataError, match="a response model of a time to event takes event and time"):
        TLearnerTimes(**QUICK).fit(X.assign(arm=arm), scored_outcome(y["window"], scores))
    with pytest.raises(AnalysisError, match="tau is 40, but the follow-up of one arm ends at"):
        TLearnerTimes(tau=40.0, **QUICK).fit(X.assign(arm=arm), scored_outcome(y["time"], scores))
    with pytest.raises(DataError, match="a binary model takes True and False"):
        TLearnerEvents(**QUICK).fit(X.assign(arm=arm), scored_outcome(y["time"], scores))


def test_a_t_learner_names_the_arm_that_has_too_few_events(trial):
    X, arm, outcomes, scores = trial
    few = outcomes["time"].copy()
    few["event"] &= (arm > 0) | (np.arange(160) < 8)
    with pytest.raises(AnalysisError, match=r"model of the control arm .* of that arm in a training set \(A Cox model"):
        TLearnerTimes(treatment="arm", tau=TAU, **QUICK).fit(X.assign(arm=arm), scored_outcome(few, scores))

"""Several experimental arms: each column of scores is a model of its own, and the best arm is named with its lead."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.errors import DataError
from trialml.models.lasso_scores import LassoScores
from trialml.models.ridge_scores import RidgeScores
from trialml.models.several_arms import CAUTION, SeveralArms


@pytest.fixture(scope="module")
def trial():
    """Arm A helps those with a high x0, arm B everybody a little."""
    generator = np.random.default_rng(1)
    X = pd.DataFrame(generator.normal(size=(400, 4)), columns=[f"x{j}" for j in range(4)])
    truth = np.column_stack([40 * X["x0"], np.full(400, 10.0)])
    return X, truth, truth + generator.normal(scale=60, size=(400, 2))


@pytest.mark.parametrize("kind", [RidgeScores, LassoScores])
def test_each_column_s_model_is_the_one_fitted_alone(trial, kind):
    X, _, scores = trial
    several = SeveralArms(("A", "B"), kind(repeats=2)).fit(X, scores)
    for place in (0, 1):
        alone = kind(repeats=2).fit(X, scores[:, place])
        np.testing.assert_allclose(several.predict(X)[:, place], alone.predict(X), rtol=1e-12)
        np.testing.assert_allclose(several.benefit_score(X)[:, place], alone.benefit_score(X), rtol=1e-12)
        assert several.models_[place].slope_mc_error_ == pytest.approx(alone.slope_mc_error_, rel=1e-10)
    assert several.shrinkage["A"] == several.models_[0].shrinkage


def test_the_encoder_is_learned_once(trial):
    X, _, scores = trial
    one, other = SeveralArms(("A", "B"), RidgeScores(repeats=2)).fit(X, scores).models_
    assert one.encoder_ is other.encoder_


def test_the_best_arm_is_the_largest_expected_benefit_above_the_margin_with_its_lead(trial):
    X, _, scores = trial
    model = SeveralArms(("A", "B"), RidgeScores(repeats=2), control="placebo").fit(X, scores)
    for margin in (0.0, 15.0):
        found, expected = model.best_arm(X, margin), model.predict(X)
        for row in range(len(X)):
            values = {"placebo": margin, "A": expected[row, 0], "B": expected[row, 1]}
            name = max(values, key=values.get)
            assert found["arm"].iloc[row] == name
            assert found["expected_benefit"].iloc[row] == (0.0 if name == "placebo" else values[name])
            rest = max(value for arm, value in values.items() if arm != name)
            assert found["lead"].iloc[row] == pytest.approx(values[name] - rest, abs=1e-12)
    assert set(model.best_arm(X, 15.0)["arm"]) == {"placebo", "A"}
    assert "overstated" in CAUTION


def test_choosing_by_the_model_finds_the_truly_better_arm_more_often_than_not(trial):
    X, truth, scores = trial
    chosen = SeveralArms(("A", "B"), RidgeScores(repeats=2)).fit(X, scores).best_arm(X)["arm"]
    assert np.mean((chosen == "A") == (truth[:, 0] > truth[:, 1])) > 0.8


@pytest.mark.parametrize("kind", [RidgeScores, LassoScores])
def test_the_state_goes_through_json_and_holds_the_encoder_once(trial, kind):
    X, _, scores = trial
    model = SeveralArms(("A", "B"), kind(repeats=2)).fit(X, scores)
    state = json.loads(json.dumps(model.state(), allow_nan=False))
    again = SeveralArms.from_state(state)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    pd.testing.assert_frame_equal(again.best_arm(X), model.best_arm(X))
    assert json.dumps(again.state()) == json.dumps(model.state())
    assert all("encoder" not in part for part in state["models"])


@pytest.mark.parametrize("arms", [("A",), ("A", "A"), ("A", "control")])
def test_names_that_do_not_fit_the_columns_are_refused(trial, arms):
    X, _, scores = trial
    with pytest.raises(DataError, match="do not name the 2 columns of scores"):
        SeveralArms(arms).fit(X, scores)


def test_one_column_of_scores_as_a_row_and_a_negative_margin_are_refused(trial):
    X, _, scores = trial
    with pytest.raises(DataError, match="one column an experimental arm"):
        SeveralArms(("A",)).fit(X, scores[:, 0])
    with pytest.raises(DataError, match="margin is -1"):
        SeveralArms(("A", "B"), RidgeScores(repeats=2)).fit(X, scores).best_arm(X, -1.0)

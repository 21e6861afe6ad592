"""The gate before a response model: where the global test finds nothing, everybody gets the average effect."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from trialml.errors import DataError
from trialml.models import shrunk_benefit
from trialml.models.outcome import scored_outcome, scores_of, survival_outcome
from trialml.models.ridge_scores import RidgeScores
from trialml.models.shrunk_benefit import gate_p


def patients(n, generator, p=5):
    return pd.DataFrame(generator.normal(size=(n, p)), columns=[f"x{j}" for j in range(p)])


def test_the_gate_s_p_value_is_that_of_all_permutations_within_its_monte_carlo_error():
    """Oracle: all 5,040 permutations of seven scores, by a loop; four standard errors of 199 draws."""
    generator = np.random.default_rng(1)
    z, scores = generator.normal(size=(7, 2)), generator.normal(size=7)

    def statistic(order):
        s, c = scores[list(order)] - scores.mean(), z - z.mean(axis=0)
        return max(abs((s * c[:, j]).sum()) / np.sqrt((s**2 * c[:, j] ** 2).sum()) for j in range(2))

    observed = statistic(range(7))
    exact = np.mean([statistic(order) >= observed - 1e-12 for order in itertools.permutations(range(7))])
    assert 0.05 < exact < 0.95
    assert gate_p(z, scores, 1) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 199) + 1 / 200)


def test_under_the_null_the_gate_s_p_value_is_below_a_level_as_often_as_it_says_though_the_variance_differs():
    """400 trials of 120, the scores' spread depending on a covariate: within four binomial standard errors of .05 and .5."""
    generator = np.random.default_rng(2)
    found = []
    for seed in range(400):
        z = generator.normal(size=(120, 5))
        found.append(gate_p(z, generator.normal(size=120) * np.exp(0.4 * z[:, 0]), seed))
    for level in (0.05, 0.5):
        assert abs(np.mean(np.asarray(found) <= level) - level) < 4 * np.sqrt(level * (1 - level) / 400)


def test_behind_a_closed_gate_everybody_gets_the_average_and_the_order_stays():
    generator = np.random.default_rng(3)
    X, scores = patients(200, generator), generator.normal(10, 50, 200)
    model = RidgeScores(repeats=2, gate=0.001).fit(X, scores)
    assert model.gate_p_ > 0.001
    assert model.shrinkage == 0
    np.testing.assert_array_equal(model.predict(X), np.full(200, model.average_))
    assert model.benefit_score(X).std() > 0
    again = RidgeScores.from_state(json.loads(json.dumps(model.state(), allow_nan=False)))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_an_open_gate_changes_no_digit_and_without_a_gate_nothing_is_tested():
    generator = np.random.default_rng(4)
    X = patients(300, generator)
    scores = 60 * X["x0"].to_numpy() + generator.normal(scale=50, size=300)
    gated, plain = RidgeScores(repeats=2, gate=0.05).fit(X, scores), RidgeScores(repeats=2).fit(X, scores)
    assert gated.gate_p_ == pytest.approx(1 / 200)
    assert np.isnan(plain.gate_p_)
    np.testing.assert_array_equal(gated.predict(X), plain.predict(X))


def test_equal_scores_and_covariates_without_a_column_close_the_gate():
    assert gate_p(np.zeros((30, 0)), np.arange(30.0), 1) == 1
    assert gate_p(np.random.default_rng(1).normal(size=(30, 2)), np.full(30, 2.0), 1) == 1


def test_a_state_of_before_there_were_gates_is_read_as_open():
    generator = np.random.default_rng(5)
    X = patients(100, generator)
    model = RidgeScores(repeats=2).fit(X, 30 * X["x0"].to_numpy() + generator.normal(size=100))
    old = {name: value for name, value in model.state().items() if name not in ("gate_open", "centre")}
    np.testing.assert_array_equal(RidgeScores.from_state(old).predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.zeros(49), r"shape \(49,\) for 50 patients: pass one a patient"),
        (np.zeros((50, 2)), r"shape \(50, 2\) for 50 patients"),
        (np.where(np.arange(50) < 3, np.nan, 1.0), "3 of 50 doubly robust scores are missing or infinite"),
    ],
)
def test_scores_that_are_none_are_refused_in_words(scores, words):
    with pytest.raises(DataError, match=words):
        RidgeScores(repeats=2).fit(patients(50, np.random.default_rng(6)), scores)


def test_an_outcome_keeps_its_fields_beside_the_scores():
    y = survival_outcome([1.0, 2.0], [True, False])
    outcome, scores = scores_of(scored_outcome(y, [0.5, -0.5]))
    np.testing.assert_array_equal(outcome["time"], [1.0, 2.0])
    np.testing.assert_array_equal(outcome["event"], [True, False])
    np.testing.assert_array_equal(scores, [0.5, -0.5])
    plain, _ = scores_of(scored_outcome(np.array([True, False]), [0.5, -0.5]))
    assert plain.dtype == np.bool_
    with pytest.raises(DataError, match="1 of them not finite"):
        scored_outcome(y, [0.5, np.nan])
    with pytest.raises(DataError, match="make y with scored_outcome"):
        scores_of(y)


def test_a_copy_for_folds_is_unfitted_and_pools_over_a_share_of_the_splits():
    copy = RidgeScores(seed=4, gate=0.3).for_folds(0.05)
    assert copy.get_params() == {"folds": 5, "seed": 4, "repeats": 10, "gate": 0.3}
    assert not hasattr(copy, "average_")
    assert shrunk_benefit.PERMUTATIONS == 199


@pytest.mark.parametrize("gate", [0.0, 2.0])
def test_a_gate_that_is_no_level_is_refused(gate):
    X, scores = pd.DataFrame({"x": np.arange(40.0)}), np.sin(np.arange(40.0))
    with pytest.raises(DataError, match=f"gate is {gate:g}, but it must be None or a level between 0 and 1"):
        RidgeScores(gate=gate).fit(X, scores)

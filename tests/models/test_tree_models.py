"""Models on trees: exact trees without pickle, likelihoods by hand, curves by brute force, and worlds that need them."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from trialml.errors import AnalysisError, DataError, ModelInputError
from trialml.models.boosted_competing import BoostedCompeting
from trialml.models.boosted_hazard import BoostedHazard
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import competing_outcome, survival_outcome
from trialml.models.person_periods import PersonPeriods, period_ends, shares_of_periods
from trialml.models.survival_forest import SurvivalForest, logrank_scores
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign


@pytest.fixture(scope="module")
def numbers():
    generator = np.random.default_rng(11)
    matrix = generator.normal(size=(400, 4))
    matrix[generator.random((400, 4)) < 0.15] = np.nan
    target = np.nan_to_num(matrix[:, 0]) ** 2 + np.isnan(matrix[:, 1]) + generator.normal(size=400)
    return matrix, target


def through_json(trees):
    return TreeArrays.from_state(json.loads(json.dumps(trees.state(), allow_nan=False)))


def test_boosted_trees_as_arrays_predict_what_scikit_learn_predicts_to_the_last_digit(numbers):
    matrix, target = numbers
    squared = HistGradientBoostingRegressor(max_iter=60, early_stopping=False).fit(matrix, target)
    np.testing.assert_array_equal(through_json(TreeArrays.of_boosting(squared)).total(matrix), squared.predict(matrix))
    binary = HistGradientBoostingClassifier(max_iter=60, early_stopping=False).fit(matrix, target > 1)
    np.testing.assert_array_equal(
        through_json(TreeArrays.of_boosting(binary)).total(matrix), binary.decision_function(matrix)
    )


def test_forest_trees_as_arrays_find_the_leaves_and_values_that_scikit_learn_finds(numbers):
    matrix, target = numbers
    single = matrix.astype(np.float32)
    forest = RandomForestRegressor(12, random_state=2).fit(single, target)
    trees = through_json(TreeArrays.of_forest(forest))
    leaves = trees.leaves(single.astype(float))
    np.testing.assert_array_equal(leaves - trees.root, forest.apply(single))
    np.testing.assert_allclose(trees.value[leaves].mean(axis=1), forest.predict(single), rtol=1e-13)


def test_a_further_column_runs_through_the_periods(numbers):
    matrix, target = numbers
    period = np.arange(400) % 3
    boosted = HistGradientBoostingRegressor(max_iter=30, early_stopping=False)
    boosted.fit(np.column_stack([matrix, period]), target + period)
    over = TreeArrays.of_boosting(boosted).totals_over(matrix, 3)
    for place in range(3):
        np.testing.assert_array_equal(over[:, place], boosted.predict(np.column_stack([matrix, np.full(400, place)])))


def test_person_periods_by_hand():
    # Ends 2, 4 and 8: a follow-up of 2 ends with the first period, 3 halfway through the second, 8 with the last.
    rows = PersonPeriods.of(np.array([2.0, 3.0, 8.0, 0.0]), np.array([2.0, 4.0, 8.0]))
    assert rows.patient.tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert rows.period.tolist() == [0, 0, 1, 0, 1, 2, 0]
    np.testing.assert_allclose(rows.exposure, [1, 1, 0.5, 1, 1, 1, 0], atol=1e-8)
    assert rows.last.tolist() == [0, 1, 2, 0]
    np.testing.assert_allclose(shares_of_periods(np.array([0.0, 3.0, 8.0]), np.array([2.0, 4.0, 8.0]))[1], [1, 0.5, 0])


def test_periods_hold_ten_events_or_more_and_end_with_follow_up():
    generator = np.random.default_rng(4)
    time, event = generator.exponential(size=95), generator.random(95) < 0.6
    ends = period_ends(time, event, 20)
    assert ends[-1] == time.max()
    count = np.histogram(time[event], np.concatenate([[0.0], ends + 1e-12]))[0]
    assert len(ends) == event.sum() // 10
    assert count.min() >= 10


def patients(n, seed, bent):
    """A world whose log hazard is bent and interacts, or is linear; n patients."""
    generator = np.random.default_rng(seed)
    X = pd.DataFrame(generator.normal(size=(n, 5)), columns=list("abcde"))
    effect = 1.2 * X.a**2 + X.b * X.c if bent else 0.8 * X.a - 0.6 * X.b + 0.4 * X.c
    time, last = generator.exponential(np.exp(-effect)), generator.uniform(0.1, 3, n)
    return X, survival_outcome(np.minimum(time, last), time <= last)


def test_without_covariate_effects_the_hazard_is_events_by_exposure():
    # A column that is constant leaves nothing to split on but the period, whose hazard the offset holds already: the
    # maximum likelihood of a piecewise constant hazard is events divided by time at risk.
    y = patients(500, 3, bent=False)[1]
    fitted = BoostedHazard(periods=4, iterations=5, folds=0).fit(pd.DataFrame({"one": np.ones(500)}), y)
    starts = np.concatenate([[0.0], fitted.ends_[:-1]])
    hazard = []
    for low, high in zip(starts, fitted.ends_, strict=True):
        at_risk = np.clip(y["time"], low, high) - low
        hazard.append((y["event"] & (y["time"] > low) & (y["time"] <= high)).sum() / at_risk.sum() * (high - low))
    middle = (starts[2] + fitted.ends_[2]) / 2
    survival = fitted.survival(pd.DataFrame({"one": [1.0]}), [fitted.ends_[1], middle, fitted.ends_[3]])
    wanted = np.exp(-np.array([sum(hazard[:2]), sum(hazard[:2]) + hazard[2] / 2, sum(hazard)]))
    np.testing.assert_allclose(survival[0], wanted, rtol=1e-6)


def test_competing_hazards_without_covariate_effects_are_the_closed_form_of_two_constant_hazards():
    generator = np.random.default_rng(8)
    time, cause = generator.exponential(size=300), generator.integers(0, 3, 300)
    fitted = BoostedCompeting(periods=1, iterations=3, folds=0)
    fitted.fit(pd.DataFrame({"one": np.ones(300)}), competing_outcome(time, cause))
    first, second = ((cause == kind).sum() / time.sum() for kind in (1, 2))
    wanted = first / (first + second) * (1 - np.exp(-(first + second) * np.array([0.3, 1.0])))
    found = fitted.cumulative_incidence(pd.DataFrame({"one": [1.0]}), [0.3, 1.0])[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_forest_is_the_mean_of_its_leaves_kaplan_meier_curves_by_brute_force():
    X, y = patients(80, 5, bent=False)
    fitted = SurvivalForest(trees=3, fewest=10, grid=80, seed=4).fit(X, y)
    np.testing.assert_array_equal(fitted.times_, np.unique(y["time"][y["event"]]))
    again = RandomForestRegressor(3, min_samples_leaf=10, max_leaf_nodes=200, max_features=0.4, random_state=4)
    single = X.to_numpy(np.float32)
    again.fit(single, logrank_scores(y["time"], y["event"]))
    leaf = again.apply(single)
    for patient in range(10):
        for at in (0.0, 0.2, 0.7):
            total = 0.0
            for tree in range(3):
                drawn = again.estimators_samples_[tree]
                members = y[drawn[leaf[drawn, tree] == leaf[patient, tree]]]
                survival = 1.0
                for when in np.unique(members["time"][members["event"]]):
                    if when <= at:
                        died = (members["event"] & (members["time"] == when)).sum()
                        survival *= 1 - died / (members["time"] >= when).sum()
                total += survival / 3
            assert fitted.survival(X.iloc[[patient]], [at])[0, 0] == pytest.approx(total, rel=1e-12)


def test_logrank_scores_are_the_null_martingale_residuals_by_hand():
    # Four patients, events at 1 and 3: H(1) = 1/4, H(3) = 1/4 + 1/2.
    scores = logrank_scores(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False]))
    np.testing.assert_allclose(scores, [0.75, -0.25, 0.25, -0.75], rtol=1e-12)


MODELS = [BoostedHazard(iterations=120, learning_rate=0.1, folds=2), SurvivalForest(trees=50)]


@pytest.mark.parametrize("model", MODELS, ids=["boosted", "forest"])
def test_a_bent_world_is_ordered_far_better_than_by_cox_and_a_linear_one_nearly_as_well(model):
    cox = CoxRidge(penalties=(3.0,))
    X_new, y_new = patients(3000, 2, bent=True)
    X, y = patients(1500, 1, bent=True)
    assert model.fit(X, y).score(X_new, y_new) > cox.fit(X, y).score(X_new, y_new) + 0.08
    X_new, y_new = patients(3000, 4, bent=False)
    X, y = patients(1500, 3, bent=False)
    loss = cox.fit(X, y).score(X_new, y_new) - model.fit(X, y).score(X_new, y_new)
    assert -0.005 < loss < 0.03


def test_the_order_of_rows_moves_no_boosted_prediction_but_by_rounding():
    X, y = patients(400, 6, bent=True)
    turned = np.random.default_rng(1).permutation(400)
    one = BoostedHazard(iterations=40, folds=0).fit(X, y)
    other = BoostedHazard(iterations=40, folds=0).fit(X.iloc[turned], y[turned])
    np.testing.assert_allclose(other.predict(X), one.predict(X), atol=1e-4)


@pytest.mark.parametrize("model", MODELS, ids=["boosted", "forest"])
def test_too_few_events_and_outcomes_of_another_kind_are_refused(model):
    X, y = patients(60, 7, bent=False)
    none = survival_outcome(y["time"], np.arange(60) < 4)
    with pytest.raises(AnalysisError, match="4 events: at least 5 are needed"):
        model.fit(X, none)
    with pytest.raises(DataError, match="cause, time, but a model of a time to event takes event and time"):
        model.fit(X, competing_outcome(y["time"], np.ones(60, dtype=int)))


def test_an_arm_that_is_missing_or_an_infinite_covariate_is_refused():
    X = pd.DataFrame({"age": [50.0, 60.0], "arm": [0.0, np.nan], "site": ["a", None]})
    design = TreeDesign.learn(X, None)
    np.testing.assert_array_equal(design.matrix(X), [[50, 0, 1], [60, np.nan, np.nan]])
    with pytest.raises(ModelInputError, match="neither 0 nor 1 in 1 of 2"):
        TreeDesign.learn(X, "arm").matrix(X)
    with pytest.raises(ModelInputError, match="'age' is infinite in 1 of 2"):
        design.matrix(X.assign(age=[np.inf, 1.0]))


def test_the_number_of_threads_moves_no_prediction(monkeypatch):
    from threadpoolctl import threadpool_limits

    # As if the rows were many enough for more than one thread.
    monkeypatch.setattr("trialml.models.boosting.MANY_ROWS", 0)
    X, y = patients(300, 9, bent=True)
    with threadpool_limits(1):
        one = BoostedHazard(iterations=15, folds=0).fit(X, y).predict(X)
    with threadpool_limits(3):
        np.testing.assert_array_equal(BoostedHazard(iterations=15, folds=0).fit(X, y).predict(X), one)

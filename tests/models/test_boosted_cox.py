"""LightGBM with a Cox objective: its trees as arrays, a stump and the number of trees by brute force, and without it a sentence."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from trialml.data.folds import splits
from trialml.errors import AnalysisError
from trialml.models import model_named
from trialml.models.boosted_cox import BoostedCox
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.models.tree_arrays import TreeArrays
from trialml.survival.cox_fit import CoxProblem

needs_lightgbm = pytest.mark.skipif(
    not model_named("boosted_cox", "risk").installed, reason="lightgbm, of the extra [boost], is not installed"
)


def patients(n, seed, bent=True):
    generator = np.random.default_rng(seed)
    X = pd.DataFrame(generator.normal(size=(n, 4)), columns=list("abcd"))
    effect = 1.2 * X.a**2 + X.b * X.c if bent else 0.8 * X.a - 0.6 * X.b
    time, last = generator.exponential(np.exp(-effect)), generator.uniform(0.1, 3, n)
    return X, survival_outcome(np.minimum(time, last).round(2) + 0.01, time <= last)


@needs_lightgbm
def test_its_trees_as_arrays_predict_what_lightgbm_predicts_missing_values_included():
    import lightgbm

    generator = np.random.default_rng(3)
    matrix = generator.normal(size=(500, 4))
    matrix[:, 3] = matrix[:, 3] > 0
    target = np.nan_to_num(matrix[:, 0]) ** 2 + matrix[:, 3] + generator.normal(size=500)
    matrix[generator.random(500) < 0.2, 1] = np.nan
    booster = lightgbm.train(
        {"num_leaves": 9, "verbosity": -1, "boost_from_average": False}, lightgbm.Dataset(matrix, label=target), 50
    )
    trees = TreeArrays.from_state(json.loads(json.dumps(TreeArrays.of_lightgbm(booster.dump_model()).state())))
    # Where training had no missing value, one is read as 0: both signs of the threshold occur.
    new = generator.normal(size=(400, 4))
    new[generator.random((400, 4)) < 0.3] = np.nan
    for rows in (matrix, new):
        np.testing.assert_allclose(trees.total(rows), booster.predict(rows), rtol=1e-13, atol=1e-14)


@needs_lightgbm
def test_one_stump_is_the_best_newton_step_of_the_partial_likelihood_by_brute_force():
    """All splits tried: the largest sum of G^2 / (H + ridge); score and information from `CoxProblem` on the identity."""
    X, y = patients(120, 1)
    X = X.round(1)
    _, score, information = CoxProblem(y["time"], y["event"], np.eye(120)).derivatives(np.zeros(120))
    bend = np.diag(information)
    best = (0.0, "", 0.0)
    for name in X:
        for cut in np.unique(X[name])[:-1]:
            left = (X[name] <= cut).to_numpy()
            if min(bend[left].sum(), bend[~left].sum()) >= 20 / 120 * y["event"].sum():
                gain = sum(score[side].sum() ** 2 / (bend[side].sum() + 1.0) for side in (left, ~left))
                best = max(best, (gain, name, cut))
    left = (X[best[1]] <= best[2]).to_numpy()
    wanted = np.empty(120)
    for side in (left, ~left):
        wanted[side] = 0.06 * score[side].sum() / (bend[side].sum() + 1.0)
    model = BoostedCox(iterations=1, leaves=2, folds=0).fit(X, y)
    # LightGBM adds up gradients in single precision.
    np.testing.assert_allclose(model.log_hazard(X), wanted, rtol=1e-5)


@needs_lightgbm
def test_without_a_split_survival_is_the_exponential_of_minus_the_hazard_by_hand():
    y = patients(80, 2)[1]
    model = BoostedCox(iterations=3, folds=0).fit(pd.DataFrame({"one": np.ones(80)}), y)
    at, total = 0.7, 0.0
    for now in np.unique(y["time"][y["event"]]):
        if now <= at:
            died, at_risk = (y["event"] & (y["time"] == now)).sum(), (y["time"] >= now).sum()
            total += (1 / (at_risk - np.arange(died))).sum()  # Efron
    assert model.survival(pd.DataFrame({"one": [1.0]}), [at])[0, 0] == pytest.approx(np.exp(-total), rel=1e-10)


@needs_lightgbm
def test_the_number_of_trees_has_the_largest_cross_validated_partial_likelihood_spelled_out():
    X, y = patients(150, 5)
    model = BoostedCox(iterations=12, learning_rate=0.4, folds=3).fit(X, y)

    def likelihood(rows, score):
        return CoxProblem(y["time"][rows], y["event"][rows], score[rows, None]).log_likelihood([1.0])

    total, fold = np.zeros(12), model._tuning_folds(X, y["event"])
    for train, _ in splits(fold):
        for trees in range(1, 13):
            part = BoostedCox(iterations=trees, learning_rate=0.4, folds=0).fit(X.iloc[train], y[train])
            score = part.log_hazard(X)
            total[trees - 1] += likelihood(np.arange(150), score) - likelihood(train, score)
    assert len(model.trees_.root) == np.argmax(total) + 1


@needs_lightgbm
def test_a_bent_world_is_ordered_far_better_than_by_cox_and_a_linear_one_nearly_as_well():
    for bent, low, high in ((True, 0.08, 0.3), (False, -0.03, 0.005)):
        X, y = patients(1500, 1, bent)
        X_new, y_new = patients(3000, 2, bent)
        cox, boosted = CoxRidge(penalties=(3.0,)).fit(X, y), BoostedCox(iterations=120, folds=2).fit(X, y)
        assert low < boosted.score(X_new, y_new) - cox.score(X_new, y_new) < high


def test_without_lightgbm_fitting_is_refused_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    X, y = patients(60, 7)
    with pytest.raises(AnalysisError, match=r"needs the package lightgbm, .* pip install 'trialml\[boost\]'"):
        BoostedCox(folds=0).fit(X, y)


@needs_lightgbm
def test_a_stored_model_predicts_without_lightgbm(monkeypatch):
    X, y = patients(200, 8)
    fitted = BoostedCox(iterations=20, folds=0).fit(X, y)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    again = BoostedCox.from_state(json.loads(json.dumps(fitted.state(), allow_nan=False)))
    np.testing.assert_array_equal(again.survival(X, [0.2, 1.0]), fitted.survival(X, [0.2, 1.0]))

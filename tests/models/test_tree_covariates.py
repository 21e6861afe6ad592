"""Covariates that models on trees refuse, the bins they are grown on, and copies of a patient in their tuning."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from trialml.errors import AnalysisError
from trialml.models import boosting, model_named
from trialml.models.boosted_binary import BoostedBinary
from trialml.models.boosted_competing import BoostedCompeting
from trialml.models.boosted_continuous import BoostedContinuous
from trialml.models.boosted_cox import BoostedCox
from trialml.models.boosted_hazard import BoostedHazard
from trialml.models.column_bins import MOST_BINS, ColumnBins
from trialml.models.forest_curves import leaf_curves
from trialml.models.outcome import competing_outcome, survival_outcome
from trialml.models.survival_forest import SurvivalForest
from trialml.models.tree_arrays import TreeArrays
from trialml.survival.product_limit import product_limit, step_at

needs_lightgbm = pytest.mark.skipif(
    not model_named("boosted_cox", "risk").installed, reason="lightgbm, of the extra [boost], is not installed"
)
BOOSTED = [BoostedHazard, BoostedCompeting, BoostedBinary, BoostedContinuous]
# The boosted Cox model refuses before it asks for lightgbm.
EVERY = [*BOOSTED, BoostedCox, SurvivalForest]


def patients(n=200, seed=1):
    generator = np.random.default_rng(seed)
    X = pd.DataFrame({"age": generator.normal(60, 9, n), "marker": generator.normal(size=n)})
    X.loc[::9, "marker"] = np.nan
    time, last = generator.exponential(np.exp(-0.5 * X["marker"].fillna(0))), generator.uniform(0.3, 3, n)
    return X, np.minimum(time, last), time <= last


def outcome(kind, time, event):
    if kind is BoostedCompeting:
        return competing_outcome(time, np.where(event, 1, np.where(np.arange(len(time)) % 3 == 0, 2, 0)))
    if kind in (BoostedBinary, BoostedContinuous):
        return event if kind is BoostedBinary else np.log(time)
    return survival_outcome(time, event)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_column_that_predicts_perfectly_is_refused_by_name_as_by_the_cox_model(kind, sign):
    X, time, event = patients()
    known = np.where(event, -time, -time.max())
    if kind is BoostedBinary:
        known = event.astype(float)
    if kind is BoostedContinuous:
        known = np.log(time)
    with pytest.raises(AnalysisError, match=r"'told' alone .* baseline value does"):
        kind().fit(X.assign(told=sign * known), outcome(kind, time, event))


def test_a_column_missing_where_and_only_where_there_was_an_event_is_refused():
    X, _, event = patients()
    told = X.assign(told=np.where(event, np.nan, np.arange(200) % 7))
    with pytest.raises(AnalysisError, match="'told missing' alone"):
        BoostedBinary().fit(told, event)


@pytest.mark.parametrize("kind", [*BOOSTED, SurvivalForest])
def test_a_rare_category_without_events_an_empty_and_a_constant_column_are_no_perfect_predictors(kind):
    X, time, event = patients()
    rare = np.zeros(len(X))
    rare[np.flatnonzero(~event)[:4]] = 1
    X = X.assign(rare=rare, empty=np.nan, flat=1.0)
    model = kind().fit(X, outcome(kind, time, event))
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize(
    "kind", [BoostedHazard, BoostedCompeting, BoostedBinary, BoostedContinuous, pytest.param(BoostedCox, marks=needs_lightgbm)]
)  # fmt: skip
def test_trap_26_copies_of_a_patient_stay_together_in_the_folds_of_the_tuning(kind, monkeypatch):
    """A bootstrap sample, seen through the folds: rows of one index share a fold."""
    X, time, event = patients()
    rows, seen = np.random.default_rng(3).integers(0, 200, 200), []
    before = boosting.fold_labels

    def watched(*arguments):
        seen.append(before(*arguments))
        return seen[-1]

    monkeypatch.setattr(boosting, "fold_labels", watched)
    kind(iterations=5).fit(X.iloc[rows], outcome(kind, time, event)[rows])
    assert seen
    for fold in seen:
        assert pd.Series(fold).groupby(X.index[rows]).nunique().max() == 1


def test_trees_grown_on_bins_read_values_as_they_read_bins():
    generator = np.random.default_rng(2)
    matrix = np.column_stack([generator.normal(size=900), generator.integers(0, 5, 900), generator.normal(size=900)])
    matrix[generator.random((900, 3)) < 0.1] = np.nan
    target = np.nan_to_num(matrix[:, 0]) ** 2 + np.nan_to_num(matrix[:, 1]) + np.isnan(matrix[:, 2])
    bins = ColumnBins.learn(matrix)
    codes, period = bins.codes(matrix), np.arange(900) % 3
    grown = HistGradientBoostingRegressor(max_iter=40, early_stopping=False)
    grown.fit(np.column_stack([codes, period]), target + period)
    on_bins, on_values = TreeArrays.of_boosting(grown), TreeArrays.of_boosting(grown)
    bins.read_on_values(on_values)
    # New values, and values on the cuts themselves.
    new = np.column_stack([generator.normal(size=254), generator.uniform(-1, 6, 254), bins.cuts[2][:254]])
    for rows in (matrix, new):
        np.testing.assert_array_equal(on_values.totals_over(rows, 3), on_bins.totals_over(bins.codes(rows), 3))
    assert not np.array_equal(on_values.threshold, on_bins.threshold)


def test_few_values_are_cut_in_the_middle_and_many_at_quantiles_of_the_patients():
    few = ColumnBins.learn(np.array([[1.0], [4.0], [np.nan], [2.0], [4.0]]))
    np.testing.assert_array_equal(few.cuts[0], [1.5, 3.0])
    np.testing.assert_array_equal(few.codes(np.array([[0.0], [1.5], [9.0], [np.nan]]))[:, 0], [0, 0, 2, np.nan])
    many = ColumnBins.learn(np.arange(10 * MOST_BINS, dtype=float)[:, None])
    assert set(np.bincount(many.codes(np.arange(10.0 * MOST_BINS)[:, None])[:, 0].astype(int))) <= {9, 10, 11}
    assert len(many.cuts[0]) == MOST_BINS - 1


def test_the_curves_of_leaves_are_their_patients_product_limit_curves_ties_included():
    """Oracle: `product_limit`, itself compared with R's survfit."""
    generator = np.random.default_rng(7)
    time, event = generator.integers(1, 12, 150).astype(float), generator.random(150) < 0.5
    samples = [generator.integers(0, 150, 150) for _ in range(4)]
    leaf = np.column_stack([10 * tree + 1 + generator.integers(0, 5, 150) for tree in range(4)])
    grid = np.array([1.0, 3.0, 3.5, 7.0, 11.0])
    found = leaf_curves(leaf, samples, 40, time, event, grid)
    assert (found.of_node[[0, 10, 20, 30]] == -1).all()
    for tree, drawn in enumerate(samples):
        for node in np.unique(leaf[drawn, tree]):
            own = drawn[leaf[drawn, tree] == node]
            curve = product_limit(time[own], event[own])
            np.testing.assert_allclose(
                found.curves[found.of_node[node]], step_at(curve.time, curve.survival, grid), rtol=1e-12, atol=1e-15
            )


def test_the_number_of_processes_that_grow_a_forest_moves_nothing(monkeypatch):
    X, time, event = patients()
    one = SurvivalForest(trees=8).fit(X, survival_outcome(time, event)).predict(X)
    monkeypatch.setattr("trialml.models.survival_forest.MANY_PATIENTS", 0)
    np.testing.assert_array_equal(SurvivalForest(trees=8).fit(X, survival_outcome(time, event)).predict(X), one)

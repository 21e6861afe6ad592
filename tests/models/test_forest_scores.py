"""A forest on the scores: its slope from the trees that never saw the patient, its size limit, and what it finds."""

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, ModelInputError
from trialml.models import model_named
from trialml.models.forest_scores import ForestScores


def patients(n, generator, p=5):
    return pd.DataFrame(generator.normal(size=(n, p)), columns=[f"x{j}" for j in range(p)])


def small(**settings):
    return ForestScores(**{"trees": 60, "fewest_patients": 0, "repeats": 6, **settings})


@pytest.fixture(scope="module")
def trial():
    generator = np.random.default_rng(1)
    X = patients(300, generator)
    return X, np.where(X["x1"] > 0.5, 60.0, 0.0) + generator.normal(scale=60, size=300)


def by_loop(model, X, scores):
    """Scikit-learn's forest tree by tree: predictions less the mean of the drawn half, of those patients left out."""
    from sklearn.ensemble import RandomForestRegressor

    half = len(X) // 2
    forest = RandomForestRegressor(
        n_estimators=model.trees,
        min_samples_leaf=int(model.leaf * half),
        max_features=model.share,
        max_samples=half,
        random_state=model.seed,
    ).fit(X.to_numpy(np.float32), scores)
    said, unseen = np.empty((len(X), model.trees)), np.ones((len(X), model.trees), dtype=bool)
    for place, (tree, drawn) in enumerate(zip(forest.estimators_, forest.estimators_samples_, strict=True)):
        said[:, place] = tree.predict(X.to_numpy(np.float32)) - scores[drawn].mean()
        unseen[np.unique(drawn), place] = False
    return said, unseen


def slope_by_loop(said, unseen, scores):
    out = np.array([row[kept].mean() if kept.any() else 0.0 for row, kept in zip(said, unseen, strict=True)])
    return float((out * (scores - scores.mean())).sum() / (out**2).sum())


def test_the_slope_is_that_of_the_scores_on_the_trees_that_did_not_see_the_patient(trial):
    """Oracle: scikit-learn's own trees by a loop; the Monte Carlo error by leaving out every sixth tree in turn."""
    X, scores = trial
    model = small().fit(X, scores)
    said, unseen = by_loop(model, X, scores)
    assert model.slope_ == pytest.approx(slope_by_loop(said, unseen, scores), rel=1e-8)
    without = []
    for group in range(6):
        kept = np.arange(60) % 6 != group
        without.append(slope_by_loop(said[:, kept], unseen[:, kept], scores))
    error = np.sqrt(5 / 6 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert model.slope_mc_error_ == pytest.approx(error, rel=1e-7)


def test_the_benefit_score_is_the_mean_of_the_trees_about_the_average_effect(trial):
    X, scores = trial
    model = small().fit(X, scores)
    said = by_loop(model, X, scores)[0].mean(axis=1)
    np.testing.assert_allclose(model.benefit_score(X), scores.mean() + said - said.mean(), rtol=1e-8)
    score = model.benefit_score(X)
    np.testing.assert_allclose(model.predict(X), scores.mean() + model.shrinkage * (score - scores.mean()), rtol=1e-10)


def test_the_monte_carlo_error_of_the_slope_is_its_spread_over_seeds(trial):
    """24 forests of 60 trees: their standard deviation is within a factor of 2 of the reported error."""
    models = [small(seed=seed, repeats=20).fit(*trial) for seed in range(24)]
    ratio = np.std([one.slope_ for one in models], ddof=1) / np.mean([one.slope_mc_error_ for one in models])
    assert 0.5 < ratio < 2
    assert np.isnan(small(repeats=1).fit(*trial).slope_mc_error_)


def test_trap_47_with_noise_alone_the_slope_is_not_above_nothing_on_average():
    """30 trials of 300: patients left out of a tree do not agree with it by more than two standard errors."""
    generator = np.random.default_rng(2)
    slopes = []
    for _ in range(30):
        X = patients(300, generator)
        slopes.append(small(trees=40).fit(X, generator.normal(scale=100, size=300)).slope_)
    assert np.mean(slopes) < 2 * np.std(slopes, ddof=1) / np.sqrt(30)
    assert np.median(np.clip(slopes, 0, 1)) < 0.2


def test_a_step_is_found_and_kept():
    generator = np.random.default_rng(3)
    X = patients(1000, generator)
    truth = np.where(X["x1"] > 0, 80.0, 0.0)
    model = small().fit(X, truth + generator.normal(scale=100, size=1000))
    assert model.shrinkage > 0.7
    assert np.mean((model.predict(X) - truth) ** 2) < 0.15 * truth.var()


def test_a_trial_below_a_thousand_is_refused_in_words_and_its_folds_are_not():
    generator = np.random.default_rng(3)
    X = patients(999, generator)
    with pytest.raises(AnalysisError, match="with 999 patients: use it with 1,000 or more, and ridge_scores or lasso"):
        ForestScores().fit(X, generator.normal(size=999))
    assert model_named("forest_scores", "response").fewest_patients == 1000
    copy = ForestScores(trees=10).for_folds(0.1).fit(X.iloc[:200], generator.normal(size=200))
    assert copy.repeats == 2


def test_missing_values_and_text_are_taken_and_an_infinite_value_is_refused(trial):
    X, scores = trial
    odd = X.assign(site=np.where(np.arange(300) % 3, "a", "b"), x2=X["x2"].where(np.arange(300) % 7 > 0))
    model = small().fit(odd, scores)
    assert np.isfinite(model.predict(odd)).all()
    with pytest.raises(ModelInputError, match="'x1' is infinite in 1 of 300 patients"):
        small().fit(X.assign(x1=np.where(np.arange(300) == 4, np.inf, X["x1"])), scores)


def test_equal_scores_give_everybody_the_average():
    X = patients(200, np.random.default_rng(4))
    model = small().fit(X, np.full(200, 7.0))
    assert model.shrinkage == 0
    np.testing.assert_allclose(model.predict(X), 7.0, rtol=1e-12)

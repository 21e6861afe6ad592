"""Benefit models on scores: shrinkage towards the average effect, and what is left where there is only noise."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from trialml.data.folds import fold_labels
from trialml.models.encode import CovariateEncoder
from trialml.models.lasso_scores import LassoScores
from trialml.models.ridge_scores import RidgeScores
from trialml.strata.strata import quantile_strata


def patients(n, generator, p=6):
    return pd.DataFrame(generator.normal(size=(n, p)), columns=[f"x{j}" for j in range(p)])


@pytest.mark.parametrize("kind", [RidgeScores, LassoScores])
def test_expected_benefit_is_the_average_plus_the_clipped_slope_times_the_spread(kind):
    generator = np.random.default_rng(1)
    X = patients(200, generator)
    model = kind(repeats=2).fit(X, 10 + 8 * X["x0"].to_numpy() + generator.normal(scale=20, size=200))
    score = model.benefit_score(X)
    np.testing.assert_allclose(score.mean(), model.average_, rtol=1e-10)
    for slope, kept in ((-0.4, 0.0), (0.3, 0.3), (1.7, 1.0)):
        model.slope_ = slope
        assert model.shrinkage == kept
        np.testing.assert_allclose(model.predict(X), model.average_ + kept * (score - model.average_), rtol=1e-12)


@pytest.mark.parametrize("kind", [RidgeScores, LassoScores])
def test_trap_47_on_pure_noise_the_expected_benefit_collapses_to_the_average(kind):
    """30 (lasso: 8) trials of 300 with a score spread of 100: what is left is a tenth of it, and less than before shrinkage."""
    generator = np.random.default_rng(2)
    left, raw = [], []
    for _ in range(30 if kind is RidgeScores else 8):
        X = patients(300, generator)
        model = kind(repeats=2).fit(X, generator.normal(50, 100, 300))
        left.append(np.std(model.predict(X)))
        raw.append(np.std(model.benefit_score(X)))
    assert np.median(left) < 1.0
    assert np.mean(left) < 4.0
    assert np.mean(left) < 0.6 * np.mean(raw) + 0.5


@pytest.mark.parametrize("kind", [RidgeScores, LassoScores])
def test_a_real_gradient_is_kept(kind):
    generator = np.random.default_rng(3)
    X = patients(800, generator)
    truth = 50 + 60 * X["x0"].to_numpy()
    model = kind(repeats=3).fit(X, truth + generator.normal(scale=100, size=800))
    assert model.shrinkage > 0.8
    assert np.mean((model.predict(X) - truth) ** 2) < 0.15 * np.var(truth)


def test_trap_33_the_shrinkage_of_one_split_is_a_lottery_and_that_of_ten_is_not():
    """Over 6 seeds the slope of ten splits spreads by less than 0.7 of that of one (0.32 expected)."""
    generator = np.random.default_rng(4)
    X = patients(200, generator)
    scores = 20 * X["x0"].to_numpy() + generator.normal(scale=100, size=200)
    spread = [
        np.std([RidgeScores(seed=seed, repeats=repeats).fit(X, scores).slope_ for seed in range(6)])
        for repeats in (1, 10)
    ]
    assert spread[1] < 0.7 * spread[0]


def test_the_ridge_line_is_scikit_learns_at_one_of_the_penalties():
    """Oracle: sklearn.linear_model.Ridge on the standardised columns."""
    generator = np.random.default_rng(5)
    X = patients(150, generator)
    scores = 30 * X["x1"].to_numpy() + generator.normal(scale=50, size=150)
    model = RidgeScores().fit(X, scores)
    design = model.encoder_.transform(X)
    lines = [Ridge(alpha=one).fit(design, scores).coef_ for one in 150 * np.geomspace(1e-2, 1e2, 17)]
    assert min(np.abs(line - model.coefficients_).max() for line in lines) < 1e-8


@pytest.mark.parametrize("signal", [0.0, 3.0, 300.0])
def test_the_ridge_line_is_that_of_scikit_learns_leave_one_out_search(signal):
    """Oracle: sklearn.linear_model.RidgeCV on the same grid, with two columns that are one, and one all but constant."""
    generator = np.random.default_rng(8)
    X = patients(120, generator).assign(twin=lambda frame: 2 * frame["x0"], rare=np.arange(120) == 5)
    scores = signal * X["x1"].to_numpy() + generator.normal(scale=50, size=120)
    model = RidgeScores(repeats=1).fit(X, scores)
    design = model.encoder_.transform(X)
    oracle = RidgeCV(alphas=120 * np.geomspace(1e-2, 1e2, 17)).fit(design, scores)
    np.testing.assert_allclose(model.coefficients_, oracle.coef_, rtol=1e-8, atol=1e-10)


def by_loop(model, X, scores, source):
    """The sums of one split, with each fold's encoder, line and centring written out; the line by scikit-learn."""
    fold = fold_labels(np.zeros(len(scores)), model.folds, np.random.default_rng(source))
    along = spread = 0.0
    for label in range(model.folds):
        train, test = X[fold != label], X[fold == label]
        encoder = CovariateEncoder().fit(train)
        penalties = len(train) * np.geomspace(1e-2, 1e2, 17)
        line = RidgeCV(alphas=penalties).fit(encoder.transform(train), scores[fold != label]).coef_
        out = encoder.transform(test) @ line
        own = scores[fold == label]
        along += float(((out - out.mean()) * (own - own.mean())).sum())
        spread += float(((out - out.mean()) ** 2).sum())
    return along, spread


def test_the_slope_is_the_ratio_of_sums_over_splits_and_its_monte_carlo_error_is_the_delta_methods():
    generator = np.random.default_rng(9)
    X = patients(90, generator)
    X.loc[::7, "x2"] = np.nan
    scores = 20 * X["x0"].to_numpy() + generator.normal(scale=60, size=90)
    model = RidgeScores(seed=3, repeats=4).fit(X, scores)
    sums = np.array([by_loop(model, X, scores, one) for one in np.random.SeedSequence(3).spawn(4)])
    slope = sums[:, 0].sum() / sums[:, 1].sum()
    assert model.slope_ == pytest.approx(slope, rel=1e-8)
    left = sums[:, 0] - slope * sums[:, 1]
    error = np.sqrt((left**2).sum() / (4 * 3)) / sums[:, 1].mean()
    assert model.slope_mc_error_ == pytest.approx(error, rel=1e-8)
    assert np.isnan(RidgeScores(repeats=1).fit(X, scores).slope_mc_error_)


def test_the_monte_carlo_error_of_the_slope_is_its_spread_over_seeds():
    """30 seeds of 10 splits: the standard deviation is within a factor of 1.5 of the reported error (chi: 0.67 to 1.4)."""
    generator = np.random.default_rng(10)
    X = patients(150, generator)
    scores = 20 * X["x0"].to_numpy() + generator.normal(scale=100, size=150)
    models = [RidgeScores(seed=seed, repeats=10).fit(X, scores) for seed in range(30)]
    ratio = np.std([one.slope_ for one in models], ddof=1) / np.mean([one.slope_mc_error_ for one in models])
    assert 1 / 1.5 < ratio < 1.5


def test_trap_33_the_usual_number_of_splits_leaves_the_ridge_shrinkage_a_small_monte_carlo_error():
    """At the size and noise of a trial of 600 another seed moves it by less than five hundredths; with 20 splits by at least twice as much."""
    generator = np.random.default_rng(11)
    X = patients(600, generator, p=10)
    scores = 20 * X["x0"].to_numpy() + generator.normal(scale=250, size=600)
    usual, twenty = RidgeScores().fit(X, scores), RidgeScores(repeats=20).fit(X, scores)
    assert usual.repeats == 200
    assert usual.slope_mc_error_ < 0.05
    assert usual.slope_mc_error_ < 0.5 * twenty.slope_mc_error_


def test_a_flat_lasso_gives_everybody_the_average_and_makes_one_stratum():
    generator = np.random.default_rng(6)
    X = patients(200, generator)
    model = LassoScores().fit(X, np.full(200, 12.0))
    np.testing.assert_allclose(model.predict(X), 12.0)
    strata = quantile_strata(model.benefit_score(X), 3, model="T-response", unit="days")
    assert strata.names == ("All patients",)


def test_the_order_of_patients_moves_no_ridge_line():
    """The lasso's folds and both models' shrinkage are dealt by row; the ridge line is the same in any order."""
    generator = np.random.default_rng(7)
    X = patients(150, generator)
    scores = 30 * X["x1"].to_numpy() + generator.normal(scale=50, size=150)
    order = generator.permutation(150)
    one, other = RidgeScores().fit(X, scores), RidgeScores().fit(X.iloc[order], scores[order])
    np.testing.assert_allclose(one.coefficients_, other.coefficients_, rtol=1e-8)

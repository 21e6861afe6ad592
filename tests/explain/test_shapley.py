"""Shapley values by enumeration and by sampled orders: closed forms, the stated error, and the same game in two shapes."""

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError
from trialml.explain.interactions import interactions_enumerated
from trialml.explain.shapley import FrameGame, LineGame, shapley_enumerated, shapley_sampled

DRAW = np.random.default_rng(5)
X = pd.DataFrame({"a": DRAW.normal(size=9), "b": DRAW.normal(size=9), "c": DRAW.choice(["u", "v"], 9)})
BACKGROUND = pd.DataFrame(
    {"a": DRAW.normal(size=7), "b": DRAW.normal(size=7), "c": ["u", "v", "u", "v", "v", "u", "u"]}
)


def additive(frame):
    return np.column_stack([2 * frame["a"] - frame["b"], (frame["c"] == "u") * 1.0])


def product(frame):
    return (frame["a"] * frame["b"]).to_numpy()[:, None]


def test_of_an_additive_score_a_value_is_the_distance_from_the_mean():
    for found in (
        shapley_enumerated(FrameGame(additive, X, BACKGROUND)),
        shapley_sampled(FrameGame(additive, X, BACKGROUND), seed=1),
    ):
        np.testing.assert_allclose(found.values[:, 0, 0], 2 * (X["a"] - BACKGROUND["a"].mean()), atol=1e-12)
        np.testing.assert_allclose(found.values[:, 2, 1], (X["c"] == "u") - 4 / 7, atol=1e-12)
        assert found.mc_error.max() < 1e-12
        assert found.error < 1e-12


def test_of_a_product_a_value_is_its_closed_form():
    """phi_a = ((x_a - z_a) z_b + (x_a - z_a) x_b) / 2, averaged over the background."""
    found = shapley_enumerated(FrameGame(product, X, BACKGROUND)).values[:, 0, 0]
    wanted = [np.mean([(row.a - z.a) * (row.b + z.b) / 2 for z in BACKGROUND.itertuples()]) for row in X.itertuples()]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_interaction_of_a_product_is_its_closed_form():
    """phi_ab = (x_a - z_a)(x_b - z_b) / 2."""
    found = interactions_enumerated(FrameGame(product, X, BACKGROUND))
    wanted = [np.mean([(row.a - z.a) * (row.b - z.b) / 2 for z in BACKGROUND.itertuples()]) for row in X.itertuples()]
    np.testing.assert_allclose(found[:, 0, 1], wanted, atol=1e-12)
    plain = shapley_enumerated(FrameGame(product, X, BACKGROUND)).values[:, :, 0]
    np.testing.assert_allclose(found.sum(axis=2), plain, atol=1e-12)


def line(total):
    return np.column_stack([np.exp(-np.exp(total)), np.exp(-2 * np.exp(total))])


def test_a_line_and_a_frame_are_the_same_game():
    parts, others = DRAW.normal(size=(6, 4)), DRAW.normal(size=(5, 4))
    whole = FrameGame(lambda frame: line(frame.to_numpy().sum(axis=1)), pd.DataFrame(parts), pd.DataFrame(others))
    for way in (shapley_enumerated, lambda game: shapley_sampled(game, seed=3)):
        np.testing.assert_allclose(way(LineGame(line, parts, others)).values, way(whole).values, atol=1e-12)


def test_sampled_orders_miss_the_exact_values_by_no_more_than_they_say():
    """Of 6 x 6 x 2 values in 20 seeds, the mean squared miss is below the mean squared bound, and sums hold all the same."""
    parts, others = 1.5 * DRAW.normal(size=(6, 6)), DRAW.normal(size=(10, 6))
    game = LineGame(line, parts, others)
    exact, misses, bounds = shapley_enumerated(game).values, [], []
    for seed in range(20):
        found = shapley_sampled(game, seed=seed)
        misses.append((found.values - exact) ** 2)
        bounds.append(found.mc_error**2)
        assert found.error < 1e-12
    assert 0 < np.mean(misses) <= np.mean(bounds)


def test_the_same_seed_gives_the_same_values_and_more_rounds_less_error():
    game = LineGame(line, DRAW.normal(size=(4, 7)), DRAW.normal(size=(6, 7)))
    one, again = (shapley_sampled(game, seed=2) for _ in range(2))
    np.testing.assert_array_equal(one.values, again.values)
    assert shapley_sampled(game, seed=2, rounds=8).mc_error.mean() < 0.6 * one.mc_error.mean()


def test_more_than_ten_covariates_are_not_enumerated():
    game = LineGame(line, DRAW.normal(size=(2, 11)), DRAW.normal(size=(2, 11)))
    with pytest.raises(AnalysisError, match="11 covariates have 2,048 sets"):
        shapley_enumerated(game)

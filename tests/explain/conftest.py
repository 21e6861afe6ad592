"""A few small trees with missing values, a coded covariate and several outputs, and a trial to fit models to."""

import numpy as np
import pandas as pd
import pytest

from trialml.models.outcome import survival_outcome
from trialml.models.tree_arrays import TreeArrays

COLUMNS = 6


def _tree(draw, depth, feature, threshold, missing, left, right):
    """Grow a random binary tree; return its root's place."""
    place = len(feature)
    for one in (feature, threshold, missing, left, right):
        one.append(0)
    if depth == 0 or (depth < 3 and draw.random() < 0.25):
        feature[place] = -1
        return place
    feature[place], threshold[place] = int(draw.integers(COLUMNS)), float(draw.normal())
    missing[place] = bool(draw.random() < 0.5)
    left[place] = _tree(draw, depth - 1, feature, threshold, missing, left, right)
    right[place] = _tree(draw, depth - 1, feature, threshold, missing, left, right)
    return place


@pytest.fixture(scope="session")
def grown():
    """Trees, a value of three outputs for each node, and patients of whom some lack values."""
    draw = np.random.default_rng(8)
    feature, threshold, missing, left, right = [], [], [], [], []
    roots = [_tree(draw, 4, feature, threshold, missing, left, right) for _ in range(6)]
    value = draw.normal(size=(len(feature), 3))
    trees = TreeArrays(
        np.array(feature), np.array(threshold, dtype=float), np.array(missing, dtype=bool), np.array(left),
        np.array(right), value[:, 0].copy(), np.array(roots),
    )  # fmt: skip
    matrix = draw.normal(size=(60, COLUMNS))
    matrix[draw.random(matrix.shape) < 0.1] = np.nan
    return trees, value, matrix


@pytest.fixture(scope="session")
def trial():
    """Covariates (a text one, one with missing values), the arm and a survival outcome of 240 patients."""
    draw, n = np.random.default_rng(3), 240
    X = pd.DataFrame(
        {
            "age": draw.normal(60, 9, n),
            "sex": draw.integers(0, 2, n).astype(float),
            "site": draw.choice(["a", "b", "c"], n),
            "lab": draw.normal(size=n),
        }
    )
    X.loc[:30, "lab"] = np.nan
    arm = draw.integers(0, 2, n).astype(float)
    time = draw.exponential(10 / np.exp(0.05 * (X["age"] - 60) + 0.6 * (X["site"] == "a") - 0.5 * arm))
    end = draw.uniform(5, 15, n)
    return X, arm, survival_outcome(np.minimum(time, end), time <= end)

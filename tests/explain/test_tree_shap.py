"""SHAP values of trees against brute force over all sets of covariates, and against shap itself."""

import itertools
import math

import numpy as np
import pytest

from trialml.errors import AnalysisError
from trialml.explain import tree_shap
from trialml.explain.tree_boxes import boxes_of
from trialml.explain.tree_shap import shap_interactions_trees, shap_values_trees

PLAYERS = [0, 1, 1, 2, 3, 4]
"""Columns 1 and 2 code one covariate."""


def walk(trees, value, node, known, x):
    """The mean of a tree given some columns: both sides of a split on another, in the shares of the patients counted."""
    if trees.feature[node] < 0:
        return value[node]
    left, right, column = trees.left[node], trees.right[node], trees.feature[node]
    if column in known:
        goes_left = trees.missing_left[node] if np.isnan(x[column]) else x[column] <= trees.threshold[node]
        return walk(trees, value, left if goes_left else right, known, x)
    share = trees.weight[left] / (trees.weight[left] + trees.weight[right])
    return share * walk(trees, value, left, known, x) + (1 - share) * walk(trees, value, right, known, x)


def game(grown, x, players, background=None):
    """The value of every set of covariates, by the definition."""
    trees, value, _ = grown
    count, found = max(players) + 1, {}
    for size in range(count + 1):
        for chosen in itertools.combinations(range(count), size):
            known = {column for column, player in enumerate(players) if player in chosen}
            if background is None:
                found[chosen] = sum(walk(trees, value, root, known, x) for root in trees.root)
            else:
                mixed = np.array([[x[k] if k in known else z[k] for k in range(len(x))] for z in background])
                leaf = trees.leaves(mixed)
                found[chosen] = value[leaf].sum(axis=1).mean(axis=0)
    return found, count


def shapley(values, count):
    out = np.zeros((count, len(values[()])))
    for j in range(count):
        for chosen, worth in values.items():
            if j not in chosen:
                size = len(chosen)
                weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                out[j] += weight * (values[tuple(sorted((*chosen, j)))] - worth)
    return out


def pair(values, count, i, j):
    """Half of the Shapley interaction index of two covariates, of the first output."""
    total = 0.0
    for chosen, worth in values.items():
        if i not in chosen and j not in chosen:
            size = len(chosen)
            weight = math.factorial(size) * math.factorial(count - size - 2) / math.factorial(count - 1)
            with_i, with_j, both = (values[tuple(sorted((*chosen, *more)))] for more in ((i,), (j,), (i, j)))
            total += weight * (both - with_i - with_j + worth)[0] / 2
    return total


@pytest.fixture(scope="module")
def counted(grown):
    trees, value, matrix = grown
    trees.weigh(matrix)
    return trees, value, matrix


@pytest.mark.parametrize("players", [[0, 1, 2, 3, 4, 5], PLAYERS], ids=["columns", "coded"])
def test_path_dependent_values_are_those_of_all_sets_of_covariates(counted, players):
    trees, value, matrix = counted
    found = shap_values_trees(boxes_of(trees, value, players, counted=trees.weight), matrix[:8], max(players) + 1)
    for row in range(8):
        values, count = game(counted, matrix[row], players)
        np.testing.assert_allclose(found.values[row], shapley(values, count), atol=1e-12)
        np.testing.assert_allclose(found.base, values[()], atol=1e-12)


@pytest.mark.parametrize("players", [[0, 1, 2, 3, 4, 5], PLAYERS], ids=["columns", "coded"])
def test_interventional_values_are_those_of_all_sets_of_covariates(counted, players):
    trees, value, matrix = counted
    background = matrix[40:]
    found = shap_values_trees(boxes_of(trees, value, players), matrix[:6], max(players) + 1, background)
    for row in range(6):
        values, count = game(counted, matrix[row], players, background)
        np.testing.assert_allclose(found.values[row], shapley(values, count), atol=1e-12)
        np.testing.assert_allclose(found.base, values[()], atol=1e-12)


@pytest.mark.parametrize("by_path", [True, False])
def test_interactions_are_those_of_all_sets_and_rows_sum_to_the_values(counted, by_path):
    trees, value, matrix = counted
    boxes = boxes_of(trees, value[:, :1], PLAYERS, counted=trees.weight)
    background = None if by_path else matrix[50:]
    found = shap_interactions_trees(boxes, matrix[:3], 5, background).values
    plain = shap_values_trees(boxes, matrix[:3], 5, background).values[:, :, 0]
    np.testing.assert_allclose(found.sum(axis=2), plain, atol=1e-12)
    for row in range(3):
        values, count = game(counted, matrix[row], PLAYERS, background)
        for i, j in itertools.combinations(range(count), 2):
            assert found[row, i, j] == pytest.approx(pair(values, count, i, j), abs=1e-12)


def as_shap(trees, value):
    """The trees as shap's dictionaries: children, thresholds, values, weights of nodes."""
    ends, out = [*trees.root[1:], len(trees.feature)], []
    for start, end in zip(trees.root, ends, strict=True):
        part, leaf = slice(start, end), trees.feature[start:end] < 0
        sides = [np.where(leaf, -1, side[part] - start) for side in (trees.left, trees.right)]
        weight = trees.weight[part]
        out.append({"children_left": sides[0], "children_right": sides[1],
                    "children_default": np.where(leaf, -1, np.where(trees.missing_left[part], *sides)),
                    "features": np.where(leaf, -2, trees.feature[part]), "thresholds": trees.threshold[part],
                    "values": value[part], "node_sample_weight": weight})  # fmt: skip
    return {"trees": out}


@pytest.mark.filterwarnings("ignore")
def test_shap_on_the_same_dictionaries_says_the_same(counted):
    """shap 0.51, path-dependent in double precision; interventional it returns single precision."""
    import shap

    trees, value, matrix = counted
    known = matrix.copy()
    known[np.isnan(known)] = 0.3
    boxes = boxes_of(trees, value, list(range(6)), counted=trees.weight)
    model = as_shap(trees, value)
    theirs = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    found = shap_values_trees(boxes, known[:20], 6).values
    np.testing.assert_allclose(found, theirs.shap_values(known[:20], check_additivity=False), atol=1e-9)
    theirs = shap.TreeExplainer(model, known[30:], feature_perturbation="interventional")
    found = shap_values_trees(boxes, known[:20], 6, known[30:]).values
    np.testing.assert_allclose(found, theirs.shap_values(known[:20], check_additivity=False), atol=2e-6)


def test_a_column_that_is_held_is_followed_and_not_explained(counted):
    trees, value, matrix = counted
    held = matrix.copy()
    held[:, 4] = 0.2
    boxes = boxes_of(trees, value, [0, 1, 2, 3, 0, 4], fixed={4: 0.2})
    found = shap_values_trees(boxes, held[:5], 5, held[40:])
    whole = shap_values_trees(boxes_of(trees, value, list(range(6))), held[:5], 6, held[40:])
    np.testing.assert_allclose(found.values, whole.values[:, [0, 1, 2, 3, 5]], atol=1e-12)
    assert not whole.values[:, 4].any()


def test_periods_are_outputs_of_one_pass(counted):
    """The last column as a period: output j is what the trees say with it at j."""
    trees, value, matrix = counted
    five = matrix[:, :5]
    boxes = boxes_of(trees, value[:, :1], list(range(5)), periods=4)
    found = shap_values_trees(boxes, five[:5], 5, five[40:])
    for period in range(4):
        with_period = np.column_stack([five, np.full(len(five), float(period))])
        whole = shap_values_trees(boxes_of(trees, value[:, :1], list(range(6))), with_period[:5], 6, with_period[40:])
        np.testing.assert_allclose(found.values[:, :, period], whole.values[:, :5, 0], atol=1e-12)


def test_the_sum_is_checked_and_a_broken_one_is_an_error(counted, monkeypatch):
    trees, value, matrix = counted
    boxes = boxes_of(trees, value, list(range(6)))
    assert shap_values_trees(boxes, matrix, 6, matrix).error < 1e-12
    weights = tree_shap._weights
    monkeypatch.setattr(tree_shap, "_weights", lambda deepest: 1.001 * weights(deepest))
    with pytest.raises(AnalysisError, match="SHAP values miss the score by"):
        shap_values_trees(boxes, matrix, 6, matrix)


def test_trees_that_were_not_counted_have_no_path_dependent_values(counted):
    trees, value, matrix = counted
    with pytest.raises(AnalysisError, match="do not say how many patients"):
        shap_values_trees(boxes_of(trees, value, list(range(6))), matrix, 6)
    with pytest.raises(AnalysisError, match="have 3: choose one"):
        shap_interactions_trees(boxes_of(trees, value, list(range(6))), matrix, 6, matrix)


def test_counts_of_nodes_hide_small_leaves_and_survive_the_state(grown):
    trees, _, matrix = grown
    again = type(trees).from_state(trees.state())
    again.weigh(matrix, 11.0)
    leaf = again.feature < 0
    assert (again.weight[leaf] >= 11).all()
    inner = np.flatnonzero(~leaf)
    np.testing.assert_array_equal(
        again.weight[inner], again.weight[again.left[inner]] + again.weight[again.right[inner]]
    )
    kept = type(trees).from_state(again.state())
    np.testing.assert_array_equal(kept.weight, again.weight)


def test_a_tree_of_one_leaf_moves_nothing():
    from trialml.models.tree_arrays import TreeArrays

    none = np.array([0])
    stump = TreeArrays(np.array([-1]), np.zeros(1), np.zeros(1, dtype=bool), none, none, np.ones(1), none)
    stump.weigh(np.zeros((3, 2)))
    for background in (None, np.zeros((2, 2))):
        boxes = boxes_of(stump, np.ones((1, 1)), [0, 1], counted=stump.weight)
        found = shap_values_trees(boxes, np.zeros((3, 2)), 2, background)
        assert not found.values.any()
        assert found.base == pytest.approx([1.0])

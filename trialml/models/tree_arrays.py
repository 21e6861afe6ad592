"""Trees as flat arrays of nodes: how fitted trees are kept without pickle, and read by one compiled walk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trialml.survival.compile import compiled_at_first_call

__all__ = ["TreeArrays"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_LARGEST = float(np.finfo(np.float64).max)
_FIELDS = ("feature", "threshold", "missing_left", "left", "right", "value", "root")


class TreeArrays:
    """Binary trees, one after another in the same arrays.

    A patient goes left at a node where ``x[feature] <= threshold``, or where the value is missing and `missing_left`
    says so. `feature` is -1 in a leaf, whose `value` the tree adds.

    Parameters
    ----------
    feature, left, right : ndarray of int, shape (nodes,)
        Column of the split, and the places of the two children in these arrays.
    threshold, value : ndarray of float, shape (nodes,)
    missing_left : ndarray of bool, shape (nodes,)
    root : ndarray of int, shape (trees,)
        Where each tree begins.
    baseline
        What is added before the first tree.
    weight : ndarray of float, shape (nodes,), or None
        Patients that reach each node, by `weigh`; explanations without patients' rows need them.
    """

    def __init__(
        self,
        feature: Ints,
        threshold: Floats,
        missing_left: Flags,
        left: Ints,
        right: Ints,
        value: Floats,
        root: Ints,
        baseline: float = 0.0,
        weight: Floats | None = None,
    ) -> None:
        self.feature, self.threshold, self.missing_left = feature, threshold, missing_left
        self.left, self.right, self.value, self.root = left, right, value, root
        self.baseline = baseline
        self.weight = weight

    @classmethod
    def of_boosting(cls, fitted: Any) -> Self:
        """Take over the trees of a fitted scikit-learn HistGradientBoosting estimator with one output."""
        nodes = [iteration[0].nodes for iteration in fitted._predictors]  # noqa: SLF001
        parts = [
            {
                "feature": np.where(tree["is_leaf"] == 1, -1, tree["feature_idx"]),
                "threshold": tree["num_threshold"],
                "missing_left": tree["missing_go_to_left"],
                "left": tree["left"],
                "right": tree["right"],
                "value": tree["value"],
            }
            for tree in nodes
        ]
        return cls._joined(parts, float(np.ravel(fitted._baseline_prediction)[0]))  # noqa: SLF001

    @classmethod
    def of_forest(cls, fitted: Any) -> Self:
        """Take over the trees of a fitted scikit-learn forest of regression trees with one output."""
        parts = []
        for one in fitted.estimators_:
            tree = one.tree_
            leaf = tree.children_left < 0
            parts.append(
                {
                    "feature": np.where(leaf, -1, tree.feature),
                    "threshold": tree.threshold,
                    "missing_left": tree.missing_go_to_left,
                    "left": np.where(leaf, 0, tree.children_left),
                    "right": np.where(leaf, 0, tree.children_right),
                    "value": tree.value[:, 0, 0],
                }
            )
        return cls._joined(parts, 0.0)

    @classmethod
    def of_lightgbm(cls, dumped: Mapping[str, Any]) -> Self:
        """Take over the trees of ``Booster.dump_model()``, numeric splits with one output."""
        parts = [_flat(tree["tree_structure"]) for tree in dumped["tree_info"]]
        return cls._joined(parts, 0.0)

    @classmethod
    def _joined(cls, parts: list[dict[str, NDArray[Any]]], baseline: float) -> Self:
        sizes = [len(part["feature"]) for part in parts]
        root = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        moved = {
            name: np.concatenate([part[name].astype(np.int64) + at for part, at in zip(parts, root, strict=True)])
            for name in ("left", "right")
        }
        # A split that parts missing values from all others has the threshold infinity, which JSON cannot hold.
        threshold = np.clip(np.concatenate([part["threshold"] for part in parts]), -_LARGEST, _LARGEST)
        return cls(
            np.concatenate([part["feature"] for part in parts]).astype(np.int64),
            threshold.astype(np.float64),
            np.concatenate([part["missing_left"] for part in parts]).astype(np.bool_),
            moved["left"],
            moved["right"],
            np.concatenate([part["value"] for part in parts]).astype(np.float64),
            root,
            baseline,
        )

    def total(self, matrix: Floats) -> Floats:
        """Return `baseline` plus the trees' values, in the order of the trees, shape (n,)."""
        return self.totals_over(matrix, 0)[:, 0]

    def totals_over(self, matrix: Floats, periods: int) -> Floats:
        """Return the total with a further last column set to 0, 1, ... `periods` - 1 in turn, shape (n, periods).

        With 0 periods there is no further column, and the shape is (n, 1).
        """
        out = np.empty((len(matrix), max(periods, 1)))
        _walks()[0](np.array(matrix, dtype=np.float64, order="C"), periods, *self._arrays(), self.baseline, out)
        return out

    def leaves(self, matrix: Floats) -> Ints:
        """Return the place of the leaf of each patient in each tree, shape (n, trees)."""
        out = np.empty((len(matrix), len(self.root)), dtype=np.int64)
        splits = (self.feature, self.threshold, self.missing_left, self.left, self.right, self.root)
        _walks()[1](np.array(matrix, dtype=np.float64, order="C"), *splits, out)
        return out

    def weigh(self, matrix: Floats, fewest: float = 1.0, both: int | None = None) -> None:
        """Count the patients that reach each node; at a split on `both` or on a column that the matrix lacks they go both ways.

        Parameters
        ----------
        matrix
            Patients, shape (n, k).
        fewest
            A leaf that fewer reach counts as many, and a node as many as its leaves together, so that no smaller number can be worked
            out.
        both
            The arm's column, which randomisation made independent of the others.
        """
        parted = (self.feature < matrix.shape[1]) & (self.feature != (-1 if both is None else both))
        reached = np.zeros(len(self.feature))
        waiting = [(int(start), np.arange(len(matrix))) for start in self.root]
        order = []
        while waiting:
            node, rows = waiting.pop()
            order.append(node)
            split = self.feature[node]
            if split < 0:
                reached[node] = max(len(rows), fewest)
                continue
            left, right = rows, rows
            if parted[node]:
                known = matrix[rows, split]
                goes_left = np.where(np.isnan(known), self.missing_left[node], known <= self.threshold[node])
                left, right = rows[goes_left], rows[~goes_left]
            waiting += [(int(self.left[node]), left), (int(self.right[node]), right)]
        for node in reversed(order):
            if self.feature[node] >= 0:
                sides = reached[self.left[node]], reached[self.right[node]]
                reached[node] = sum(sides) if parted[node] else max(sides)
        self.weight = reached

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return tuple(getattr(self, name) for name in _FIELDS)

    def state(self) -> dict[str, Any]:
        """Return the trees as plain JSON types."""
        weight = {} if self.weight is None else {"weight": self.weight.tolist()}
        return {**{name: getattr(self, name).tolist() for name in _FIELDS}, "baseline": self.baseline, **weight}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the trees that `state` described."""
        kinds: dict[str, Any] = {"threshold": np.float64, "value": np.float64, "missing_left": np.bool_}
        arrays: dict[str, Any] = {name: np.asarray(state[name], dtype=kinds.get(name, np.int64)) for name in _FIELDS}
        weight = np.asarray(state["weight"], dtype=np.float64) if "weight" in state else None
        return cls(**arrays, baseline=float(state["baseline"]), weight=weight)


def _flat(root: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the nodes of one of LightGBM's nested trees as arrays, the root first."""
    names = ("feature", "threshold", "missing_left", "left", "right", "value")
    rows: list[list[float]] = []
    waiting: list[tuple[Mapping[str, Any], int, int]] = [(root, -1, 0)]
    while waiting:
        node, parent, side = waiting.pop()
        if parent >= 0:
            rows[parent][side] = len(rows)
        if "split_feature" in node:
            # Without missing values in training, LightGBM reads one as 0.
            missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
            waiting += [(node["left_child"], len(rows), 3), (node["right_child"], len(rows), 4)]
            rows.append([node["split_feature"], node["threshold"], float(missing_left), 0, 0, 0.0])
        else:
            rows.append([-1, 0.0, 0.0, 0, 0, node["leaf_value"]])
    return {name: np.asarray([row[place] for row in rows]) for place, name in enumerate(names)}


@cache
def _walks() -> tuple[Any, Any]:
    """Compile the two walks, of values and of leaves."""
    return compiled_at_first_call(_add_up), compiled_at_first_call(_find_leaves)


def _add_up(
    matrix: Floats,
    periods: int,
    feature: Ints,
    threshold: Floats,
    missing_left: Flags,
    left: Ints,
    right: Ints,
    value: Floats,
    root: Ints,
    baseline: float,
    out: Floats,
) -> None:
    # A walk carries the periods that go the same way, from the first up to before the last; a split on the period parts them.
    waiting = np.empty((len(feature), 3), dtype=np.int64)
    column = matrix.shape[1] if periods > 0 else -1
    for row in range(matrix.shape[0]):
        out[row, :] = baseline
        for start in root:
            waiting[0] = (start, 0, out.shape[1])
            left_over = 1
            while left_over > 0:
                left_over -= 1
                node, first, last = waiting[left_over]
                while feature[node] >= 0:
                    if feature[node] == column:
                        middle = min(max(int(np.floor(min(threshold[node], periods))) + 1, first), last)
                        if middle == last:
                            node = left[node]
                        elif middle == first:
                            node = right[node]
                        else:
                            waiting[left_over] = (right[node], middle, last)
                            left_over += 1
                            node, last = left[node], middle
                    else:
                        known = matrix[row, feature[node]]
                        go_left = missing_left[node] if np.isnan(known) else known <= threshold[node]
                        node = left[node] if go_left else right[node]
                for period in range(first, last):
                    out[row, period] += value[node]


def _find_leaves(
    matrix: Floats,
    feature: Ints,
    threshold: Floats,
    missing_left: Flags,
    left: Ints,
    right: Ints,
    root: Ints,
    out: Ints,
) -> None:
    for row in range(matrix.shape[0]):
        for tree in range(len(root)):
            node = root[tree]
            while feature[node] >= 0:
                known = matrix[row, feature[node]]
                go_left = missing_left[node] if np.isnan(known) else known <= threshold[node]
                node = left[node] if go_left else right[node]
            out[row, tree] = node

"""The two small models behind a surrogate: a tree with rounded cut-points, and whole points for ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.result import format_number

__all__ = ["Points", "SmallTree", "fit_points", "fit_tree"]

Floats = NDArray[np.float64]

DEPTH, MOST_POINTS = 3, 5
RIDGE = 1e-6
"""The ranges of a covariate add up to one column for everybody: a little ridge chooses among equal solutions."""


@dataclass(frozen=True)
class SmallTree:
    """Leaves by their conditions on columns: (column, goes up to, cut-point)."""

    rules: list[list[tuple[int, bool, float]]]
    values: Floats

    def place(self, columns: Floats) -> NDArray[np.intp]:
        """Return the place of each row's leaf, shape (n,)."""
        found = np.zeros(len(columns), dtype=np.intp)
        for leaf, rule in enumerate(self.rules):
            inside = np.ones(len(columns), dtype=np.bool_)
            for column, below, cut in rule:
                inside &= (columns[:, column] <= cut) == below
            found[inside] = leaf
        return found

    def predict(self, columns: Floats) -> Floats:
        """Return the values of the leaves, shape (n,)."""
        return np.asarray(self.values[self.place(columns)])

    def rows(self, words: list[tuple[str, str]], columns: Floats, said: Floats) -> pd.DataFrame:
        """Return rule, mean score and patients of each leaf; none is under 11, by how it was grown."""
        place = self.place(columns)
        told = [
            (" and ".join(_condition(words[column], below, cut) for column, below, cut in rule) or "everybody",
             float(said[place == leaf].mean()), int((place == leaf).sum()))
            for leaf, rule in enumerate(self.rules)
            if (place == leaf).sum() >= SMALLEST_CELL
        ]  # fmt: skip
        return pd.DataFrame(told, columns=["rule", "value", "n"])


def _condition(word: tuple[str, str], below: bool, cut: float) -> str:
    label, level = word
    if level:
        return f"{label} {'not ' if below else ''}{level}"
    if cut == 0.5:
        return f"{label}: {'no' if below else 'yes'}"
    return f"{label} {'up to' if below else 'above'} {format_number(cut)}"


def fit_tree(columns: Floats, said: Floats) -> SmallTree:
    """Grow a tree of depth 3 on scores by least squares, and round its cut-points to three digits."""
    from sklearn.tree import DecisionTreeRegressor

    fewest = max(2 * SMALLEST_CELL, len(said) // 20)
    tree: Any = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=fewest).fit(columns, said).tree_
    rules: list[list[tuple[int, bool, float]]] = []

    def walk(node: int, above: list[tuple[int, bool, float]]) -> None:
        if tree.children_left[node] < 0:
            rules.append(above)
            return
        column, cut = int(tree.feature[node]), float(f"{tree.threshold[node]:.3g}")
        walk(tree.children_left[node], [*above, (column, True, cut)])
        walk(tree.children_right[node], [*above, (column, False, cut)])

    walk(0, [])
    rounded = SmallTree(rules, np.zeros(len(rules)))
    place = rounded.place(columns)
    means = np.array(
        [said[place == leaf].mean() if (place == leaf).any() else said.mean() for leaf in range(len(rules))]
    )
    return SmallTree(rules, means)


@dataclass(frozen=True)
class Points:
    """Whole points for columns of 0 and 1: the score is ``start + point * sum of points``."""

    points: NDArray[np.int64]
    point: float
    start: float

    def predict(self, columns: Floats) -> Floats:
        """Return the score that the points stand for, shape (n,)."""
        return np.asarray(self.start + self.point * (columns @ self.points))

    def rows(self, words: list[tuple[str, str]], columns: Floats) -> pd.DataFrame:
        """Return the points of each range."""
        told = [(label, range_, int(points), int(n)) for (label, range_), points, n in
                zip(words, self.points, columns.sum(axis=0), strict=True)]  # fmt: skip
        return pd.DataFrame(told, columns=["covariate", "bin", "points", "n"])


def fit_points(columns: Floats, said: Floats) -> Points:
    """Fit a line on ranges, and round it to whole points, the largest 5 in size; start and point are fitted again."""
    centred = columns - columns.mean(axis=0)
    gram = centred.T @ centred + RIDGE * len(said) * np.eye(columns.shape[1])
    slope = np.linalg.solve(gram, centred.T @ (said - said.mean()))
    largest = float(np.abs(slope).max(initial=0.0))
    points = (
        np.round(slope / largest * MOST_POINTS).astype(np.int64)
        if largest > 0
        else np.zeros(len(slope), dtype=np.int64)
    )
    total = columns @ points
    spread = total - total.mean()
    point = float(spread @ said / (spread @ spread)) if spread.any() else 0.0
    return Points(points, point, float(said.mean() - point * total.mean()))

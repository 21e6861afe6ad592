"""Trees as boxes: each leaf with what a patient must be to fall into it, which is all that SHAP values of trees need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.models.tree_arrays import TreeArrays

__all__ = ["Boxes", "boxes_of", "joined"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_Conditions = tuple[Ints, Floats, Floats, Flags, Ints]

MOST_PLAYERS = 62
"""On the way to one leaf: whether a patient meets the conditions of each is a bit of one whole number."""


class Boxes(NamedTuple):
    """Leaves with the conditions that lead to them, those of one covariate together.

    Attributes
    ----------
    condition_of, column, low, high, missing, bit
        Condition c of leaf l, ``condition_of[l] <= c < condition_of[l + 1]``: ``low < x[column] <= high``, or the value is missing and
        `missing` is True. `bit` is the place of its covariate among those on the way to the leaf.
    player_of, player, ratio
        Covariate s on the way to leaf l, ``player_of[l] <= s < player_of[l + 1]``: its number, and the share of the patients that its
        splits send towards the leaf (NaN where no patients were counted).
    value : ndarray of shape (leaves, outputs)
    offset : ndarray of shape (outputs,)
        What is added to the leaves' values.
    """

    condition_of: Ints
    column: Ints
    low: Floats
    high: Floats
    missing: Flags
    bit: Ints
    player_of: Ints
    player: Ints
    ratio: Floats
    value: Floats
    offset: Floats

    @property
    def outputs(self) -> int:
        """How many numbers a leaf holds."""
        return int(self.value.shape[1])

    @property
    def deepest(self) -> int:
        """The most covariates on the way to a leaf."""
        return int(np.diff(self.player_of).max(initial=0))

    def times(self, weights: Floats, offset: float | Floats = 0.0) -> Boxes:
        """Return the same leaves with values ``value @ weights``, weights of shape (outputs, new outputs), and an offset added."""
        return self._replace(
            value=np.ascontiguousarray(self.value @ weights), offset=np.asarray(self.offset @ weights + offset)
        )


def boxes_of(
    trees: TreeArrays,
    value: Floats,
    players: Sequence[int],
    *,
    offset: Floats | None = None,
    fixed: dict[int, float] | None = None,
    periods: int = 0,
    counted: Floats | None = None,
) -> Boxes:
    """Return the leaves of trees as boxes.

    Parameters
    ----------
    trees
        Fitted trees.
    value
        What each node adds, shape (nodes, outputs); only leaves are looked at. With `periods`, shape (nodes, 1): output j is then what
        the trees add up to in period j.
    players
        The number of the covariate that each column codes, shape (columns,): columns of one covariate move together.
    offset
        What is added, shape (outputs,).
    fixed
        Columns that hold one value in every patient, such as the arm: splits on them are followed, not explained.
    periods
        How many values the column after the last has, 0 for no such column.
    counted
        Patients that reach each node, shape (nodes,), for the path-dependent perturbation.

    Raises
    ------
    AnalysisError
        If more than 62 covariates stand on the way to one leaf.
    """
    held = np.full(len(players), np.nan)
    for column, known in (fixed or {}).items():
        held[column] = known
    weight = np.full(len(trees.feature), np.nan) if counted is None else np.asarray(counted, dtype=np.float64)
    span, by_condition, by_player = _gathered(trees, weight, np.asarray(players, dtype=np.int64), held, max(periods, 1))
    outputs = np.ascontiguousarray(value[span[1:, 0]], dtype=np.float64)
    if periods:
        now = np.arange(periods)
        outputs = outputs[:, :1] * ((span[1:, 1:2] <= now) & (now < span[1:, 2:3]))
    given = np.zeros(outputs.shape[1]) if offset is None else np.asarray(offset, dtype=np.float64)
    conditions, players_on_way = np.ascontiguousarray(span[:, 3]), np.ascontiguousarray(span[:, 4])
    boxes = Boxes(conditions, *by_condition, players_on_way, *by_player, outputs, given)
    if boxes.deepest > MOST_PLAYERS:
        raise AnalysisError(
            f"A leaf lies behind splits on {boxes.deepest} covariates, and SHAP values of trees are computed for {MOST_PLAYERS} at most: "
            "grow trees with fewer leaves."
        )
    return boxes


def _gathered(
    trees: TreeArrays, weight: Floats, players: Ints, held: Floats, periods: int
) -> tuple[Ints, _Conditions, tuple[Ints, Floats]]:
    """Return node, periods and ends of each leaf (after a row of zeros), then conditions and players as `Boxes` has them."""
    from trialml.explain.tree_boxes_passes import gather

    splits, nodes = np.flatnonzero(trees.feature >= 0), len(trees.feature)
    parent, depth = np.full(nodes, -1, dtype=np.int64), np.zeros(nodes, dtype=np.int64)
    parent[trees.left[splits]] = parent[trees.right[splits]] = splits
    above = parent.copy()
    while (above >= 0).any():
        depth += above >= 0
        above = np.where(above >= 0, parent[above], -1)
    most = int(depth[trees.feature < 0].sum())
    (column, bit, player), (low, high, ratio) = np.empty((3, most), dtype=np.int64), np.empty((3, most))
    missing, span = np.empty(most, dtype=np.bool_), np.zeros((nodes + 1, 5), dtype=np.int64)
    grown = (trees.feature, trees.threshold, trees.missing_left, trees.left, trees.right, parent, weight)
    conditions_of_leaves, players_of_leaves = (column, low, high, missing, bit), (player, ratio)
    leaves = gather(grown, (players, held), periods, span, conditions_of_leaves, players_of_leaves)
    conditions, slots = span[leaves, 3:]
    by_condition = (column[:conditions], low[:conditions], high[:conditions], missing[:conditions], bit[:conditions])
    return span[: leaves + 1], by_condition, (player[:slots], ratio[:slots])


def joined(parts: Sequence[Boxes]) -> Boxes:
    """Return boxes whose values add up those of several, with the same columns and covariates."""
    conditions = np.cumsum([0, *[len(part.column) for part in parts]])
    players = np.cumsum([0, *[len(part.player) for part in parts]])
    merged: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("column", "low", "high", "missing", "bit", "player", "ratio", "value")
    }
    starts = [part.condition_of[:-1] + at for part, at in zip(parts, conditions, strict=False)]
    merged["condition_of"] = np.concatenate([*starts, conditions[-1:]])
    starts = [part.player_of[:-1] + at for part, at in zip(parts, players, strict=False)]
    merged["player_of"] = np.concatenate([*starts, players[-1:]])
    return Boxes(**merged, offset=np.sum([part.offset for part in parts], axis=0))

"""The loop behind `tree_boxes`: each leaf climbs to its root and gathers what stood on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.survival.compile import compiled_at_first_call

__all__ = ["gather"]

Ints = NDArray[np.int64]


@compiled_at_first_call
def _found(among: Ints, start: int, end: int, wanted: int) -> int:
    for place in range(start, end):
        if among[place] == wanted:
            return place
    return end


@compiled_at_first_call
def _narrowed(cut: float, goes_left: bool, first: int, last: int, periods: int) -> tuple[int, int]:
    middle = min(max(int(np.floor(min(cut, periods))) + 1, 0), periods)
    return (first, min(last, middle)) if goes_left else (max(first, middle), last)


@compiled_at_first_call
def gather(splits: Any, columns: Any, periods: int, span: Ints, conditions_out: Any, players_out: Any) -> int:
    """Fill the conditions and players of each leaf; return how many leaves can be reached.

    `splits` holds feature, threshold, missing_left, left, right, parent and weight of the nodes, `columns` the player of each column and the
    value that it is held at. A row of `span` is a leaf's node, first and last period, and the ends of its conditions and players.
    """
    feature, threshold, missing_left, left, right, parent, weight = splits
    players, fixed = columns
    column, low, high, missing, bit = conditions_out
    player, ratio = players_out
    leaves, conditions, slots = 0, 0, 0
    for leaf in range(len(feature)):
        first, last, node = 0, periods, leaf
        own, own_slots, reached = conditions, slots, feature[leaf] < 0
        while reached and parent[node] >= 0:
            at, goes_left = parent[node], left[parent[node]] == node
            seen, node = feature[at], at
            if seen >= len(players):
                first, last = _narrowed(threshold[at], goes_left, first, last, periods)
                reached = first < last
                continue
            if not np.isnan(fixed[seen]):
                reached = (fixed[seen] <= threshold[at]) == goes_left
                continue
            slot, place = _found(player, own_slots, slots, players[seen]), _found(column, own, conditions, seen)
            if slot == slots:
                player[slot], ratio[slot], slots = players[seen], 1.0, slots + 1
            ratio[slot] *= weight[left[at] if goes_left else right[at]] / (weight[left[at]] + weight[right[at]])
            if place == conditions:
                column[place], bit[place], conditions = seen, slot - own_slots, conditions + 1
                low[place], high[place], missing[place] = -np.inf, np.inf, True
            if goes_left:
                high[place] = min(high[place], threshold[at])
            else:
                low[place] = max(low[place], threshold[at])
            missing[place] = missing[place] and missing_left[at] == goes_left
        if reached:
            leaves += 1
            span[leaves] = (leaf, first, last, conditions, slots)
        else:
            conditions, slots = own, own_slots
    return leaves

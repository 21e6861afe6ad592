"""Pairs of rows at risk counted in trees, compiled; import this module inside functions, since it imports numba."""

# ruff: noqa: C901, PLR0912 (compiled loops take plain arrays, and a call in a loop costs compile time)

from __future__ import annotations

from typing import Any

from trialml.survival.compile import compiled

__all__ = ["pair_sums"]


@compiled("void(float64[::1], int64, float64)")
def add(tree: Any, place: int, weight: float) -> None:
    """Add weight at a place of a Fenwick tree, whose places begin at 1."""
    while place < tree.size:
        tree[place] += weight
        place += place & -place


@compiled("float64(float64[::1], int64)")
def below(tree: Any, place: int) -> float:
    """Return the weight at the places up to and with `place`."""
    total = 0.0
    while place > 0:
        total += tree[place]
        place -= place & -place
    return total


@compiled(
    "void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], float64[::1], float64[::1],"
    " float64[::1], float64[::1], float64[:,::1])"
)
def pair_sums(
    stratum_slot: Any, slot_row: Any, slot_dead: Any, exit_row: Any, exit_slot: Any, rank: Any, weight: Any,
    event_weight: Any, tree: Any, level: Any, sums: Any,
) -> None:  # fmt: skip
    """Fill the weight of each row's pairs: as event those won and all, as the other those won and all.

    An event is compared with every row at risk at its time that is not an event of that time; it wins where its risk
    is higher, and half where it is equal. A row counts with `weight` where it is compared, with `event_weight` where
    its event is. `rank` starts at 1; `tree` and `level`, the weight at each rank, have a place more than ranks.
    """
    for s in range(stratum_slot.size - 1):
        first, last = stratum_slot[s], stratum_slot[s + 1]
        tree[:], level[:], total = 0.0, 0.0, 0.0
        for slot in range(first, last):
            dead = slot_row[slot + 1] - slot_dead[slot]
            for i in range(slot_row[slot], dead):
                add(tree, rank[i], weight[i])
                level[rank[i]] += weight[i]
                total += weight[i]
            if exit_slot.size > 0:
                for k in range(exit_slot[slot], exit_slot[slot + 1]):
                    i = exit_row[k]
                    add(tree, rank[i], -weight[i])
                    level[rank[i]] -= weight[i]
                    total -= weight[i]
            for i in range(dead, slot_row[slot + 1]):
                sums[0, i] = below(tree, rank[i] - 1) + 0.5 * level[rank[i]]
                sums[1, i] = total
            for i in range(dead, slot_row[slot + 1]):
                add(tree, rank[i], weight[i])
                level[rank[i]] += weight[i]
                total += weight[i]
        tree[:], level[:], total = 0.0, 0.0, 0.0
        for slot in range(last - 1, first - 1, -1):
            dead = slot_row[slot + 1] - slot_dead[slot]
            for i in range(dead, slot_row[slot + 1]):
                sums[2, i] += total - below(tree, rank[i] - 1) - 0.5 * level[rank[i]]
                sums[3, i] += total
            for i in range(dead, slot_row[slot + 1]):
                add(tree, rank[i], event_weight[i])
                level[rank[i]] += event_weight[i]
                total += event_weight[i]
            for i in range(slot_row[slot], dead):
                sums[2, i] += total - below(tree, rank[i] - 1) - 0.5 * level[rank[i]]
                sums[3, i] += total
            if exit_slot.size > 0:
                for k in range(exit_slot[slot], exit_slot[slot + 1]):
                    i = exit_row[k]
                    sums[2, i] -= total - below(tree, rank[i] - 1) - 0.5 * level[rank[i]]
                    sums[3, i] -= total

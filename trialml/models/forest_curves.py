"""Kaplan-Meier curves of all leaves of a forest, by one compiled pass over the patients of each tree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.survival.compile import compiled_at_first_call
from trialml.survival.ties import TIE_TOLERANCE, distinct_times

__all__ = ["LeafCurves", "leaf_curves"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class LeafCurves(NamedTuple):
    """The curves of the leaves.

    Attributes
    ----------
    curves : ndarray of shape (leaves, g)
        Survival at the times of the grid.
    of_node : ndarray of int, shape (nodes,)
        The row of `curves` of each leaf; -1 for a split.
    """

    curves: Floats
    of_node: Ints


def leaf_curves(
    leaf: Ints, samples: Sequence[Any], nodes: int, time: Floats, event: NDArray[np.bool_], grid: Floats
) -> LeafCurves:
    """Return the product-limit curve of the bootstrap sample's patients in each leaf.

    Parameters
    ----------
    leaf
        The place of each patient's leaf in each tree, shape (n, trees).
    samples
        The patients that each tree was grown on, one drawn several times standing there as often.
    nodes
        How many nodes the trees have together.
    time, event
        Follow-up times and True where the event happened, shape (n,).
    grid
        Ascending times, shape (g,).
    """
    moments, block = distinct_times(time)
    reach = np.searchsorted(moments, grid * (1 + TIE_TOLERANCE), side="right")
    of_node, parts, first = np.full(nodes, -1, dtype=np.int64), [], 0
    by_time = np.argsort(block, kind="stable")
    for tree, drawn in enumerate(samples):
        times_drawn = np.bincount(drawn, minlength=len(time))
        members = np.repeat(by_time, times_drawn[by_time])
        members = members[np.argsort(leaf[members, tree], kind="stable")]
        places, starts = np.unique(leaf[members, tree], return_index=True)
        of_node[places] = first + np.arange(len(places))
        first += len(places)
        parts.append(np.empty((len(places), len(grid))))
        _pass()(np.append(starts, len(members)), block[members], event[members], reach, parts[-1])
    return LeafCurves(np.concatenate(parts), of_node)


@cache
def _pass() -> Any:
    return compiled_at_first_call(_fill)


def _fill(starts: Ints, block: Ints, event: NDArray[np.bool_], reach: Ints, out: Floats) -> None:
    for leaf in range(out.shape[0]):
        at, end = starts[leaf], starts[leaf + 1]
        survival, place = 1.0, 0
        while at < end:
            now, at_risk, happened = block[at], end - at, 0
            while place < len(reach) and reach[place] <= now:
                out[leaf, place] = survival
                place += 1
            while at < end and block[at] == now:
                happened += event[at]
                at += 1
            survival *= (at_risk - happened) / at_risk
        out[leaf, place:] = survival

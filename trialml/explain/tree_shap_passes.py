"""The loops behind `tree_shap`, one leaf after another; they fill the arrays that they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.survival.compile import compiled_at_first_call

__all__ = [
    "add_background",
    "add_pairs_of_background",
    "add_pairs_of_paths",
    "add_path_dependent",
    "add_totals",
    "find_masks",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@compiled_at_first_call
def find_masks(
    matrix: Floats,
    condition_of: Ints,
    column: Ints,
    low: Floats,
    high: Floats,
    missing: Flags,
    bit: Ints,
    player_of: Ints,
    out: Ints,
) -> None:
    """Set for each leaf and patient the bits of the covariates whose conditions the patient meets."""
    for leaf in range(out.shape[0]):
        full = (1 << (player_of[leaf + 1] - player_of[leaf])) - 1
        for row in range(matrix.shape[0]):
            met = full
            for at in range(condition_of[leaf], condition_of[leaf + 1]):
                x = matrix[row, column[at]]
                if not (missing[at] if np.isnan(x) else low[at] < x <= high[at]):
                    met &= ~(1 << bit[at])
            out[leaf, row] = met


@compiled_at_first_call
def add_totals(met: Ints, player_of: Ints, value: Floats, out: Floats) -> None:
    """Add the values of the leaves whose conditions a patient meets."""
    for leaf in range(met.shape[0]):
        full = (1 << (player_of[leaf + 1] - player_of[leaf])) - 1
        for row in range(met.shape[1]):
            if met[leaf, row] == full:
                for k in range(value.shape[1]):
                    out[row, k] += value[leaf, k]


@compiled_at_first_call
def _spread(gain: Floats, player: Ints, value: Floats, out: Floats) -> None:
    for s in range(len(player)):
        if gain[s] != 0.0:
            for k in range(len(value)):
                out[player[s], k] += gain[s] * value[k]


@compiled_at_first_call
def _gain_of_path(met: int, ratio: Floats, point: Floats, weight: Floats, gain: Floats) -> None:
    gain[: len(ratio)] = 0.0
    for q in range(len(point)):
        y, product = point[q], weight[q]
        for s in range(len(ratio)):
            product *= (1 - y) * ratio[s] + (y if (met >> s) & 1 else 0.0)
        for s in range(len(ratio)):
            if (met >> s) & 1:
                gain[s] += product * (1 - ratio[s]) / (y + (1 - y) * ratio[s])
            else:
                gain[s] -= product / (1 - y)


@compiled_at_first_call
def add_path_dependent(
    met: Ints,
    player_of: Ints,
    player: Ints,
    ratio: Floats,
    value: Floats,
    point: Floats,
    weight: Floats,
    known: Ints,
    gain: Floats,
    out: Floats,
) -> None:
    """Add each leaf's part of the path-dependent SHAP values; patients who meet the same conditions gain the same."""
    for leaf in range(met.shape[0]):
        start, end = player_of[leaf], player_of[leaf + 1]
        for row in range(met.shape[1]):
            place = met[leaf, row] % len(known)
            if known[place] != leaf or met[leaf, row] >= len(known):
                known[place] = leaf
                _gain_of_path(met[leaf, row], ratio[start:end], point, weight, gain[place])
            _spread(gain[place], player[start:end], value[leaf], out[row])


@compiled_at_first_call
def _sides(met: int, theirs: int, size: int) -> tuple[int, int]:
    mine, other = 0, 0
    for s in range(size):
        mine += (met >> s) & ~(theirs >> s) & 1
        other += (theirs >> s) & ~(met >> s) & 1
    return mine, other


@compiled_at_first_call
def _gain_of_background(met: int, size: int, mask: Ints, count: Floats, weights: Floats, gain: Floats) -> None:
    full = (1 << size) - 1
    gain[:size] = 0.0
    for one in range(len(mask)):
        theirs = mask[one]
        if (met | theirs) != full or met == theirs:
            continue
        a, b = _sides(met, theirs, size)
        plus, minus = count[one] * weights[a, b], count[one] * weights[b, a]
        for s in range(size):
            mine, other = (met >> s) & 1, (theirs >> s) & 1
            if mine > other:
                gain[s] += plus
            elif other > mine:
                gain[s] -= minus


@compiled_at_first_call
def add_background(
    met: Ints,
    player_of: Ints,
    player: Ints,
    value: Floats,
    mask_of: Ints,
    mask: Ints,
    count: Floats,
    weights: Floats,
    known: Ints,
    gain: Floats,
    out: Floats,
) -> None:
    """Add each leaf's part of the interventional SHAP values, summed over the background."""
    for leaf in range(met.shape[0]):
        start, end = player_of[leaf], player_of[leaf + 1]
        own = slice(mask_of[leaf], mask_of[leaf + 1])
        for row in range(met.shape[1]):
            place = met[leaf, row] % len(known)
            if known[place] != leaf or met[leaf, row] >= len(known):
                known[place] = leaf
                _gain_of_background(met[leaf, row], end - start, mask[own], count[own], weights, gain[place])
            _spread(gain[place], player[start:end], value[leaf], out[row])


@compiled_at_first_call
def add_pairs_of_paths(
    met: Ints, player_of: Ints, player: Ints, ratio: Floats, value: Floats, point: Floats, weight: Floats, out: Floats
) -> None:
    """Add each leaf's part of the path-dependent interaction values off the diagonal, half to either place."""
    share = np.empty(64)
    for leaf in range(met.shape[0]):
        own, of = ratio[player_of[leaf] : player_of[leaf + 1]], player[player_of[leaf] : player_of[leaf + 1]]
        for row in range(met.shape[1]):
            for q in range(len(point)):
                y, product = point[q], weight[q] * value[leaf, 0] / 2
                for s in range(len(own)):
                    inside = (met[leaf, row] >> s) & 1
                    product *= (1 - y) * own[s] + y * inside
                    share[s] = (1 - own[s]) / (y + (1 - y) * own[s]) if inside else -1 / (1 - y)
                for i in range(len(own)):
                    for j in range(i):
                        out[row, of[i], of[j]] += product * share[i] * share[j]
                        out[row, of[j], of[i]] += product * share[i] * share[j]


@compiled_at_first_call
def _pair(first: int, second: int, a: int, b: int, same: Floats, other: Floats) -> Any:
    if first == 0 or second == 0:
        return 0.0
    if first != second:
        return -other[a, b]
    return same[a, b] if first > 0 else same[b, a]


@compiled_at_first_call
def add_pairs_of_background(
    met: Ints, player_of: Ints, player: Ints, value: Floats, mask_of: Ints, mask: Ints, count: Floats,
    same: Floats, other: Floats, out: Floats,
) -> None:  # fmt: skip
    """Add each leaf's part of the interventional interaction values off the diagonal, half to either place, summed over the background."""
    for leaf in range(met.shape[0]):
        of, size = player[player_of[leaf] : player_of[leaf + 1]], player_of[leaf + 1] - player_of[leaf]
        for row in range(met.shape[1]):
            own = met[leaf, row]
            for one in range(mask_of[leaf], mask_of[leaf + 1]):
                if (own | mask[one]) != (1 << size) - 1:
                    continue
                a, b = _sides(own, mask[one], size)
                for i in range(size):
                    for j in range(i):
                        first = ((own >> i) & 1) - ((mask[one] >> i) & 1)
                        second = ((own >> j) & 1) - ((mask[one] >> j) & 1)
                        found = count[one] * value[leaf, 0] / 2 * _pair(first, second, a, b, same, other)
                        out[row, of[i], of[j]] += found
                        out[row, of[j], of[i]] += found

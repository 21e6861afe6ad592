"""The loops behind `tree_shap`, one leaf after another; they fill the arrays that they are given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_background", "add_interactions", "add_path_dependent", "masks_of", "totals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def masks_of(
    matrix: Floats, condition_of: Ints, column: Ints, low: Floats, high: Floats, missing: Flags, bit: Ints,
    player_of: Ints, player: Ints, ratio: Floats, value: Floats, out: Ints,
) -> None:  # fmt: skip
    """Set the bits of the covariates whose conditions a patient meets, for each leaf and patient."""
    for leaf in range(value.shape[0]):
        full = (1 << (player_of[leaf + 1] - player_of[leaf])) - 1
        for row in range(matrix.shape[0]):
            met = full
            for at in range(condition_of[leaf], condition_of[leaf + 1]):
                x = matrix[row, column[at]]
                if not (missing[at] if np.isnan(x) else low[at] < x <= high[at]):
                    met &= ~(1 << bit[at])
            out[leaf, row] = met


def totals(
    matrix: Floats, condition_of: Ints, column: Ints, low: Floats, high: Floats, missing: Flags, bit: Ints,
    player_of: Ints, player: Ints, ratio: Floats, value: Floats, out: Floats,
) -> None:  # fmt: skip
    """Add the values of the leaves that each patient falls into."""
    for row in range(matrix.shape[0]):
        for leaf in range(value.shape[0]):
            inside = True
            for at in range(condition_of[leaf], condition_of[leaf + 1]):
                x = matrix[row, column[at]]
                inside = missing[at] if np.isnan(x) else low[at] < x <= high[at]
                if not inside:
                    break
            if inside:
                for k in range(value.shape[1]):
                    out[row, k] += value[leaf, k]


def add_path_dependent(
    matrix: Floats, condition_of: Ints, column: Ints, low: Floats, high: Floats, missing: Flags, bit: Ints,
    player_of: Ints, player: Ints, ratio: Floats, value: Floats, point: Floats, weight: Floats, known: Ints, gain: Floats,
    out: Floats,
) -> None:  # fmt: skip
    """Add each leaf's part of the path-dependent SHAP values; patients who meet the same conditions gain the same."""
    part = np.empty(len(point))
    for leaf in range(value.shape[0]):
        start, end = player_of[leaf], player_of[leaf + 1]
        for row in range(matrix.shape[0]):
            met = (1 << (end - start)) - 1
            for at in range(condition_of[leaf], condition_of[leaf + 1]):
                x = matrix[row, column[at]]
                if not (missing[at] if np.isnan(x) else low[at] < x <= high[at]):
                    met &= ~(1 << bit[at])
            place = met % len(known)
            if known[place] != leaf or len(known) <= met:
                known[place], of_unmet = leaf, 0.0
                for q in range(len(point)):
                    y, product = point[q], weight[q]
                    for s in range(start, end):
                        product *= (1 - y) * ratio[s] + (y if (met >> (s - start)) & 1 else 0.0)
                    part[q] = product
                    of_unmet -= product / (1 - y)
                for s in range(start, end):
                    gain[place, s - start] = of_unmet
                    if (met >> (s - start)) & 1:
                        found = 0.0
                        for q in range(len(point)):
                            found += part[q] / (point[q] + (1 - point[q]) * ratio[s])
                        gain[place, s - start] = found * (1 - ratio[s])
            for s in range(end - start):
                for k in range(value.shape[1]):
                    out[row, player[start + s], k] += gain[place, s] * value[leaf, k]


def add_background(
    matrix: Floats, condition_of: Ints, column: Ints, low: Floats, high: Floats, missing: Flags, bit: Ints,
    player_of: Ints, player: Ints, ratio: Floats, value: Floats, mask_of: Ints, mask: Ints, count: Floats,
    weights: Floats, known: Ints, gain: Floats, out: Floats,
) -> None:  # fmt: skip
    """Add each leaf's part of the interventional SHAP values, summed over the background."""
    for leaf in range(value.shape[0]):
        start, size = player_of[leaf], player_of[leaf + 1] - player_of[leaf]
        full = (1 << size) - 1
        for row in range(matrix.shape[0]):
            met = full
            for at in range(condition_of[leaf], condition_of[leaf + 1]):
                x = matrix[row, column[at]]
                if not (missing[at] if np.isnan(x) else low[at] < x <= high[at]):
                    met &= ~(1 << bit[at])
            place = met % len(known)
            if known[place] != leaf or len(known) <= met:
                known[place] = leaf
                gain[place, :size] = 0.0
                for one in range(mask_of[leaf], mask_of[leaf + 1]):
                    theirs = mask[one]
                    if (met | theirs) != full or met == theirs:
                        continue
                    mine, other = met & ~theirs, theirs & ~met
                    a, b = 0, 0
                    for s in range(size):
                        a, b = a + ((mine >> s) & 1), b + ((other >> s) & 1)
                    for s in range(size):
                        if (mine >> s) & 1:
                            gain[place, s] += count[one] * weights[a, b]
                        elif (other >> s) & 1:
                            gain[place, s] -= count[one] * weights[b, a]
            for s in range(size):
                if gain[place, s] != 0.0:
                    for k in range(value.shape[1]):
                        out[row, player[start + s], k] += gain[place, s] * value[leaf, k]


def add_interactions(
    matrix: Floats, condition_of: Ints, column: Ints, low: Floats, high: Floats, missing: Flags, bit: Ints,
    player_of: Ints, player: Ints, ratio: Floats, value: Floats, point: Floats, weight: Floats, mask_of: Ints,
    mask: Ints, count: Floats, same: Floats, other: Floats, by_path: bool, out: Floats,
) -> None:  # fmt: skip
    """Add each leaf's part of the interaction values off the diagonal, half to either place, of the first output."""
    side, share = np.empty(64, dtype=np.int64), np.empty(64)
    for row in range(matrix.shape[0]):
        for leaf in range(value.shape[0]):
            start, size = player_of[leaf], player_of[leaf + 1] - player_of[leaf]
            full, half = (1 << size) - 1, value[leaf, 0] / 2
            met = full
            for at in range(condition_of[leaf], condition_of[leaf + 1]):
                x = matrix[row, column[at]]
                if not (missing[at] if np.isnan(x) else low[at] < x <= high[at]):
                    met &= ~(1 << bit[at])
            rounds = len(point) if by_path else mask_of[leaf + 1] - mask_of[leaf]
            for one in range(rounds):
                a, b, product = 0, 0, half
                if by_path:
                    y = point[one]
                    product *= weight[one]
                    for s in range(size):
                        z, o = ratio[start + s], (met >> s) & 1
                        product *= (1 - y) * z + (y if o else 0.0)
                        share[s] = (1 - z) / (y + (1 - y) * z) if o else -1 / (1 - y)
                else:
                    theirs = mask[mask_of[leaf] + one]
                    product *= count[mask_of[leaf] + one] if (met | theirs) == full else 0.0
                    for s in range(size):
                        side[s] = ((met >> s) & 1) - ((theirs >> s) & 1)
                        a, b = a + (side[s] > 0), b + (side[s] < 0)
                for i in range(size if product != 0.0 else 0):
                    for j in range(i):
                        if by_path:
                            found = product * share[i] * share[j]
                        elif side[i] * side[j] < 0:
                            found = -product * other[a, b]
                        elif side[i] * side[j] > 0:
                            found = product * (same[a, b] if side[i] > 0 else same[b, a])
                        else:
                            found = 0.0
                        out[row, player[start + i], player[start + j]] += found
                        out[row, player[start + j], player[start + i]] += found

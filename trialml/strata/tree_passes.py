"""The passes of trees on scores, compiled; import this module inside functions, since it imports numba.

All sums are of whole numbers (scores in fixed point), so that they do not depend on the order of adding, and a tie is a tie.
The quantities of a patient are: score, 1 in control, 1 in experimental, event in control, event in experimental.
"""

# ruff: noqa: C901, PLR0912 (compiled loops take plain arrays)

from __future__ import annotations

from typing import Any

from trialml.survival.compile import compiled

__all__ = ["best_policy_tree", "best_score_split", "fill_sums"]

SUMS = "int64[:, :, :, ::1]"


@compiled(f"void(uint8[:, ::1], int64[:, ::1], int64[::1], int64, {SUMS})")
def fill_sums(bins: Any, quantities: Any, rows: Any, side: int, sums: Any) -> None:
    """Add the quantities of some rows, shape (n, 5), to the sums by question and bin of a side, shape (2, questions, bins, 5)."""
    for i in rows:
        for k in range(bins.shape[1]):
            b = bins[i, k]
            for q in range(5):
                sums[side, k, b, q] += quantities[i, q]


@compiled("boolean(int64[:, ::1], int64, int64[::1], int64[::1])")
def _allowed(totals: Any, side: int, lower: Any, limits: Any) -> bool:
    """Return whether what is in `lower`, and the rest of a side, keep the smallest numbers of patients and events by arm."""
    enough = True
    for q in range(1, 5):
        enough = enough and lower[q] >= limits[q] and totals[side, q] - lower[q] >= limits[q]
    return enough


@compiled(f"int64({SUMS}, int64[:, ::1], int64, int64[::1], int64[::1], int64[::1], int64[::1], int64)")
def _best_child(sums: Any, totals: Any, side: int, splits: Any, limits: Any, lower: Any, found: Any, at: int) -> int:
    """Return the largest sum of scores that one more split, or none, reaches on a side; write question and split, or -1."""
    best = max(totals[side, 0], 0)
    found[at] = -1
    found[at + 1] = -1
    for k in range(splits.size):
        for q in range(5):
            lower[q] = 0
        for s in range(splits[k]):
            for q in range(5):
                lower[q] += sums[side, k, s, q]
            value = max(lower[0], 0) + max(totals[side, 0] - lower[0], 0)
            if value > best and _allowed(totals, side, lower, limits):
                best = value
                found[at] = k
                found[at + 1] = s
    return int(best)


@compiled(
    f"int64(uint8[:, ::1], int64[:, ::1], int64[:, ::1], {SUMS}, int64[:, ::1], int64[::1], int64[::1], int64[::1], "
    "int64[::1], int64[::1])"
)
def best_policy_tree(
    bins: Any,
    quantities: Any,
    order: Any,
    sums: Any,
    totals: Any,
    splits: Any,
    limits: Any,
    lower: Any,
    trial: Any,
    found: Any,
) -> int:
    """Return the largest sum of scores that a tree of depth two reaches, by trying all; write its splits.

    `order` holds the rows by rising bin of each question, shape (questions, n); `sums` and `totals` those of all patients on side 1.
    `found` receives question and split of the root, of its lower and of its upper child, -1 where there is none. The first of
    equal trees is kept: no split before one, then by the order of the questions and cut-points.
    """
    n = bins.shape[0]
    best = _best_child(sums, totals, 1, splits, limits, lower, found, 0)
    for place in range(2, 6):
        found[place] = -1
    for k in range(splits.size):
        at = 0
        for s in range(splits[k]):
            while at < n and bins[order[k, at], k] <= s:
                i = order[k, at]
                for j in range(bins.shape[1]):
                    b = bins[i, j]
                    for q in range(5):
                        sums[0, j, b, q] += quantities[i, q]
                        sums[1, j, b, q] -= quantities[i, q]
                for q in range(5):
                    totals[0, q] += quantities[i, q]
                    totals[1, q] -= quantities[i, q]
                at += 1
            enough = True
            for q in range(1, 5):
                enough = enough and totals[0, q] >= limits[q] and totals[1, q] >= limits[q]
            if not enough:
                continue
            value = _best_child(sums, totals, 0, splits, limits, lower, trial, 0)
            value += _best_child(sums, totals, 1, splits, limits, lower, trial, 2)
            if value > best:
                best = value
                found[0] = k
                found[1] = s
                for place in range(4):
                    found[2 + place] = trial[place]
        for j in range(bins.shape[1]):
            for b in range(sums.shape[2]):
                for q in range(5):
                    sums[1, j, b, q] += sums[0, j, b, q]
                    sums[0, j, b, q] = 0
        for q in range(5):
            totals[1, q] += totals[0, q]
            totals[0, q] = 0
    return int(best)


@compiled(f"float64({SUMS}, int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def best_score_split(sums: Any, totals: Any, splits: Any, limits: Any, lower: Any, found: Any) -> float:
    """Return the largest sum of squares between the two parts of side 1 that a split explains; write question and split, or -1."""
    patients = totals[1, 1] + totals[1, 2]
    whole = float(totals[1, 0]) ** 2 / patients
    best = 0.0
    found[0] = -1
    found[1] = -1
    for k in range(splits.size):
        for q in range(5):
            lower[q] = 0
        for s in range(splits[k]):
            for q in range(5):
                lower[q] += sums[1, k, s, q]
            if not _allowed(totals, 1, lower, limits):
                continue
            below = lower[1] + lower[2]
            if below * (patients - below) == 0:
                continue
            value = float(lower[0]) ** 2 / below + float(totals[1, 0] - lower[0]) ** 2 / (patients - below) - whole
            if value > best:
                best = value
                found[0] = k
                found[1] = s
    return best

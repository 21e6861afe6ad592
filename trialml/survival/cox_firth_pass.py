"""The gradient of Firth's penalty, compiled; import this module inside functions, since it imports numba."""

# ruff: noqa: C901, PLR0917 (compiled loops take plain arrays, and a call in a loop costs compile time)

from __future__ import annotations

from typing import Any

from trialml.survival.compile import compiled

__all__ = ["penalty_gradient"]


@compiled("void(float64[:,::1], float64[:,::1], int64, float64, float64[::1])")
def add_row(X: Any, inverse: Any, i: int, weight: float, sums: Any) -> None:
    """Add a row to the sums of 1, y, x, x y and x x', where y = x' inverse x."""
    p = X.shape[0]
    y = 0.0
    for j in range(p):
        for k in range(p):
            y += X[j, i] * inverse[j, k] * X[k, i]
    sums[0] += weight
    sums[1] += weight * y
    for j in range(p):
        sums[2 + j] += weight * X[j, i]
        sums[2 + p + j] += weight * X[j, i] * y
        for k in range(p):
            sums[2 + 2 * p + j * p + k] += weight * X[j, i] * X[k, i]


@compiled(
    "void(float64[:,::1], float64[::1], float64[::1], float64, float64, float64[::1], float64[::1], float64[::1])"
)
def add_third_moment(
    inverse: Any, at_risk: Any, tied: Any, share: float, weight: float, mean: Any, turned: Any, out: Any
) -> None:
    """Add one event's half trace of the inverse information times the information's derivative."""
    p = out.size
    total = at_risk[0] - share * tied[0]
    y = (at_risk[1] - share * tied[1]) / total
    for j in range(p):
        mean[j] = (at_risk[2 + j] - share * tied[2 + j]) / total
    for j in range(p):
        turned[j] = 0.0
        for k in range(p):
            turned[j] += inverse[j, k] * mean[k]
    for j in range(p):
        value = (at_risk[2 + p + j] - share * tied[2 + p + j]) / total - mean[j] * y
        for k in range(p):
            at = 2 + 2 * p + j * p + k
            covariance = (at_risk[at] - share * tied[at]) / total - mean[j] * mean[k]
            value -= 2.0 * covariance * turned[k]
        out[j] += 0.5 * weight * value


@compiled(
    "void(float64[:,::1], float64[:,::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1],"
    " int64[::1], boolean[::1], boolean, float64[::1], float64[::1], float64[:,::1], float64[:,::1], float64[::1])"
)
def penalty_gradient(
    X: Any, inverse: Any, stratum_slot: Any, slot_row: Any, slot_dead: Any, slot_stratum: Any, exit_row: Any,
    exit_slot: Any, leave: Any, again: Any, efron: bool, relative: Any, mean_weight: Any, sums: Any, scratch: Any,
    out: Any,
) -> None:  # fmt: skip
    """Add the gradient of half the log determinant of the information to `out`, given the information's inverse."""
    for slot in range(slot_dead.size):
        first = stratum_slot[slot_stratum[slot]]
        if slot == first:
            sums[0, :] = 0.0
        sums[1, :] = 0.0
        dead = slot_row[slot + 1] - slot_dead[slot]
        for i in range(slot_row[slot], slot_row[slot + 1]):
            add_row(X, inverse, i, relative[i], sums[0])
        for i in range(dead, slot_row[slot + 1]):
            add_row(X, inverse, i, relative[i], sums[1])
        if exit_slot.size > 0:
            for k in range(exit_slot[slot], exit_slot[slot + 1]):
                add_row(X, inverse, exit_row[k], -relative[exit_row[k]], sums[0])
            if again[slot]:
                sums[0, :] = 0.0
                for i in range(slot_row[first], slot_row[slot + 1]):
                    if leave[i] > slot:
                        add_row(X, inverse, i, relative[i], sums[0])
        for rank in range(slot_dead[slot]):
            share = rank / slot_dead[slot] if efron else 0.0
            add_third_moment(inverse, sums[0], sums[1], share, mean_weight[slot], scratch[0], scratch[1], out)

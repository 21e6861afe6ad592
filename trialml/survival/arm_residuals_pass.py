"""Treatment score residuals of many permuted arms, compiled; import inside functions, since it imports numba."""

# ruff: noqa: C901 (compiled loops take plain arrays, and a call in a loop costs compile time)

from __future__ import annotations

from typing import Any

import numpy as np

from trialml.survival.compile import compiled

__all__ = ["CONVERGED", "FLAT", "fit_arms", "main_effect"]

CONVERGED, FLAT, ASTRAY = 0, 1, 2


@compiled("float64(float64[::1], float64[::1], int64[::1], float64)")
def main_effect(treated: Any, total: Any, slot_dead: Any, happened: float) -> Any:
    """Return the log hazard ratio, NaN where there is no information and infinity where Newton's steps do not end."""
    b = 0.0
    for _ in range(30):
        theta = np.exp(b)
        score = happened
        information = 0.0
        for slot in range(slot_dead.size):
            if slot_dead[slot] > 0:
                among = theta * treated[slot] / (total[slot] + (theta - 1.0) * treated[slot])
                score -= slot_dead[slot] * among
                information += slot_dead[slot] * among * (1.0 - among)
        if not information > 0:
            return np.nan
        step = min(max(score / information, -1.0), 1.0)
        b += step
        if abs(step) < 1e-9:
            return b
    return np.inf


@compiled(
    "int64(boolean[:,::1], float64[::1], boolean[::1], int64[::1], int64[::1], int64[::1], int64[::1], float64[::1],"
    " float64[:,::1], float64[:,::1], float64[::1])"
)
def fit_arms(
    arms: Any, base: Any, event: Any, rows: Any, row_slot: Any, slot_row: Any, slot_dead: Any, total: Any,
    scratch: Any, residuals: Any, beta: Any,
) -> int:  # fmt: skip
    """Fill the residuals (in the order given) and the log hazard ratio of each row of `arms` (in sorted order).

    `base` is the relative hazard without the arm and `total` its sum at risk in each slot. Returns 0, or 1 where an
    arm leaves no information, or 2 where its estimate does not converge.
    """
    for c in range(arms.shape[0]):
        treated = 0.0
        happened = 0.0
        for slot in range(slot_dead.size):
            for i in range(slot_row[slot], slot_row[slot + 1]):
                if arms[c, i]:
                    treated += base[i]
                    happened += 1.0 if event[i] else 0.0
            scratch[0, slot] = treated
            if slot_dead[slot] == 0:
                treated = 0.0
        beta[c] = main_effect(scratch[0], total, slot_dead, happened)
        if not np.isfinite(beta[c]):
            return FLAT if np.isnan(beta[c]) else ASTRAY
        theta = np.exp(beta[c])
        hazard = 0.0
        share = 0.0
        for slot in range(slot_dead.size - 1, -1, -1):
            if slot_dead[slot] == 0:
                hazard, share = 0.0, 0.0
                scratch[3, slot] = 0.0
            else:
                everybody = total[slot] + (theta - 1.0) * scratch[0, slot]
                scratch[3, slot] = theta * scratch[0, slot] / everybody
                hazard += slot_dead[slot] / everybody
                share += slot_dead[slot] / everybody * scratch[3, slot]
            scratch[1, slot] = hazard
            scratch[2, slot] = share
        for i in range(base.size):
            slot = row_slot[i]
            value = base[i] * scratch[2, slot]
            if arms[c, i]:
                value = -theta * base[i] * (scratch[1, slot] - scratch[2, slot])
            if event[i]:
                value += (1.0 if arms[c, i] else 0.0) - scratch[3, slot]
            residuals[c, rows[i]] = value
    return CONVERGED

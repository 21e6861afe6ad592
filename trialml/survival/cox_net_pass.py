"""Coordinate descent on a penalised quadratic, compiled; import this module inside functions, since it imports numba."""

from __future__ import annotations

from typing import Any

from trialml.survival.compile import compiled

__all__ = ["descend"]


@compiled("boolean(float64[:,::1], float64[::1], float64[::1], float64[::1], float64[::1], int64[::1], int64, float64)")
def descend(
    information: Any, left: Any, beta: Any, lasso: Any, ridge: Any, active: Any, sweeps: int, enough: float
) -> bool:
    """Move `beta` to the maximum, `left` being the gradient of the quadratic there; return whether it was reached."""
    for _ in range(sweeps):
        moved = 0.0
        for place in range(active.size):
            j = active[place]
            curve = information[j, j]
            pull = left[j] + curve * beta[j]
            new = 0.0
            if pull > lasso[j]:
                new = (pull - lasso[j]) / (curve + ridge[j])
            elif pull < -lasso[j]:
                new = (pull + lasso[j]) / (curve + ridge[j])
            change = new - beta[j]
            if change != 0.0:
                for k in range(left.size):
                    left[k] -= information[j, k] * change
                beta[j] = new
                moved = max(moved, curve * change * change)
        if moved <= enough:
            return True
    return False

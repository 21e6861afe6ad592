"""The passes over rows in time order, compiled; import this module inside functions, since it imports numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from trialml.survival.ties import Array, Codes, Flags

__all__ = ["squares_in_order", "weighted_events"]


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call and keep the machine code on disk, or in memory where no folder can hold it."""
    try:
        return numba.njit(cache=True)(function)
    except (RuntimeError, OSError):
        return numba.njit(function)


@_compiled
def squares_in_order(
    drift: Array,
    jump: Array,
    row: Codes,
    place: Codes,
    entering: Flags,
    event: Flags,
    weight: Array,
    subject: Codes,
    subjects: int,
) -> Array:
    """Return the sums of `sums_of_squares`: changes in order of time, each the entry or the exit of a row."""
    fixed, moving = np.zeros(subjects), np.zeros(subjects)
    aa, ab, bb = 0.0, 0.0, 0.0
    out = np.zeros(jump.size)
    k = 0
    for change in range(row.size):
        while k < place[change]:
            out[k] = aa + drift[k + 1] * (2 * ab + drift[k + 1] * bb)
            k += 1
        r = row[change]
        i = subject[r]
        a, b = fixed[i], moving[i]
        here = drift[place[change] + 1]
        if entering[change]:
            fixed[i] = a - weight[r] * here
            moving[i] = b + weight[r]
        else:
            fixed[i] = a + weight[r] * here
            if event[r]:
                fixed[i] -= weight[r] * jump[place[change]]
            moving[i] = b - weight[r]
            if abs(moving[i]) < 1e-12 * weight[r]:
                moving[i] = 0.0
        aa += fixed[i] * fixed[i] - a * a
        ab += fixed[i] * moving[i] - a * b
        bb += moving[i] * moving[i] - b * b
    while k < jump.size:
        out[k] = aa + drift[k + 1] * (2 * ab + drift[k + 1] * bb)
        k += 1
    return out


@_compiled
def _add_events(
    at_risk: Array,
    dead: Array,
    survival: float,
    exponents: Array,
    weight: Array,
    observed: Array,
    expected: Array,
    covariance: Array,
) -> float:
    """Add one stratum's events at one time to the sums and return its Kaplan-Meier estimate after them."""
    d, total = float(dead.sum()), float(at_risk.sum())
    spread = d * (total - d) / max(total - 1, 1.0) / total
    for a in range(weight.size):
        weight[a] = survival ** exponents[a, 0] * (1 - survival) ** exponents[a, 1]
        for g in range(dead.size):
            observed[a, g] += weight[a] * dead[g]
            expected[a, g] += weight[a] * d * at_risk[g] / total
    for a in range(weight.size):
        for b in range(weight.size):
            both = weight[a] * weight[b] * spread
            for g in range(dead.size):
                covariance[a, b, g, g] += both * at_risk[g]
                for h in range(dead.size):
                    covariance[a, b, g, h] -= both * at_risk[g] * at_risk[h] / total
    return survival * (total - d) / total


@_compiled
def weighted_events(
    marked: Codes, position: Codes, entering: Codes, come: Codes, start: Array, groups: int, exponents: Array
) -> tuple[Array, Array, Array]:
    """Return the sums of `weighted_sums`: rows and entries in order of time, strata side by side.

    `marked` is twice the cell (stratum and group) and 1 for an event; `start` holds who is at risk at time 0, by cell.
    """
    m, n = exponents.shape[0], marked.size
    observed, expected = np.zeros((m, groups)), np.zeros((m, groups))
    covariance = np.zeros((m, m, groups, groups))
    strata = start.size // groups
    at_risk = start.copy().reshape((strata, groups))
    dead, gone = np.zeros((strata, groups)), np.zeros((strata, groups))
    survival, weight = np.ones(strata), np.ones(m)
    touched, marks = np.zeros(strata, dtype=np.int64), np.zeros(strata, dtype=np.bool_)
    e, i = 0, 0
    while i < n:
        now, first, hit = position[i], i, 0
        while e < entering.size and come[e] < now:
            at_risk[entering[e] // groups, entering[e] % groups] += 1
            e += 1
        while i < n and position[i] == now:
            cell = marked[i] // 2
            s, g = cell // groups, cell % groups
            gone[s, g] += 1
            if marked[i] % 2 == 1:
                dead[s, g] += 1
                if not marks[s]:
                    touched[hit], marks[s] = s, True
                    hit += 1
            i += 1
        for t in range(hit):
            s = touched[t]
            survival[s] = _add_events(
                at_risk[s], dead[s], survival[s], exponents, weight, observed, expected, covariance
            )
            dead[s] = 0.0
            marks[s] = False
        for row in range(first, i):
            cell = marked[row] // 2
            s, g = cell // groups, cell % groups
            at_risk[s, g] -= gone[s, g]
            gone[s, g] = 0.0
    return observed, expected, covariance

"""The passes over the rows of a Cox model, compiled; import this module inside functions, since it imports numba.

Rows stand by stratum and falling time. A *slot* is one time with events in one stratum; each stratum ends with a slot
without events, for the rows that are at risk of none. A row is at risk in the slots from the one it stands in up to
the one before it leaves (its delayed entry), or to the end of its stratum. Within a slot the events stand last.
"""

# ruff: noqa: C901, PLR0912, PLR0917, ARG001 (compiled loops take plain arrays, and a call in a loop costs compile time)

from __future__ import annotations

from typing import Any

import numpy as np

from trialml.survival.compile import compiled

__all__ = ["CHUNK", "arrange", "assign_slots", "covariate_sums", "derivatives", "gather", "risk_totals", "row_sums"]

CHUNK = 256
# A running sum of which this share of its largest value is left, after rows were taken off, is added up afresh.
STALE = 1e-3
SLOTS = "int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], boolean[::1]"


@compiled("int64(int64[::1], int64[::1], boolean[::1], int64[::1], int64[::1])")
def assign_slots(position: Any, code: Any, event: Any, enter: Any, slot_position: Any) -> int:
    """Fill the slot of each row, rows by stratum and falling time, and each slot's time (-1 ends a stratum); return how many."""
    n = position.size
    slot = 0
    i = 0
    while i < n:
        stratum = code[i]
        while i < n and code[i] == stratum:
            now = position[i]
            happened = False
            while i < n and position[i] == now and code[i] == stratum:
                happened = happened or event[i]
                enter[i] = slot
                i += 1
            if happened:
                slot_position[slot] = now
                slot += 1
        slot_position[slot] = -1
        slot += 1
    return slot


@compiled("void(int64[::1], boolean[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def arrange(enter: Any, event: Any, rows: Any, slot_row: Any, slot_dead: Any, free: Any) -> None:
    """Fill the rows by slot, events last, where each slot begins and how many events it has; the last three start at 0."""
    slots = slot_dead.size
    for i in range(enter.size):
        slot_row[enter[i] + 1] += 1
        if event[i]:
            slot_dead[enter[i]] += 1
    for slot in range(slots):
        slot_row[slot + 1] += slot_row[slot]
        free[slot] = slot_row[slot]
        free[slots + slot] = slot_row[slot + 1] - slot_dead[slot]
    for i in range(enter.size):
        at = enter[i] + slots if event[i] else enter[i]
        rows[free[at]] = i
        free[at] += 1


@compiled(
    "void(Array(float64, 2, 'A', readonly=True), int64[::1], int64[::1], float64[:,::1], float64[::1], float64[::1])"
)
def gather(matrix: Any, rows: Any, stratum_row: Any, out: Any, spread: Any, left: Any) -> None:
    """Fill the columns in sorted order, centred within strata, and the largest size before and after centring."""
    for s in range(stratum_row.size - 1):
        low, high = stratum_row[s], stratum_row[s + 1]
        for start in range(low, high, CHUNK):
            for j in range(matrix.shape[1]):
                for i in range(start, min(start + CHUNK, high)):
                    out[j, i] = matrix[rows[i], j]
        for j in range(matrix.shape[1]):
            mean = 0.0
            for i in range(low, high):
                mean += out[j, i]
                spread[j] = max(spread[j], abs(out[j, i]))
            mean /= max(high - low, 1)
            for i in range(low, high):
                out[j, i] -= mean
                left[j] = max(left[j], abs(out[j, i]))


@compiled("float64(float64, float64, float64, int64, boolean, float64[:,::1], int64)")
def tie_sums(total: float, tied: float, happened: float, m: int, efron: bool, slots: Any, slot: int) -> Any:
    """Fill a slot's sums over its tied events and return their part of the log-likelihood without the predictors."""
    for k in range(8):
        slots[k, slot] = 0.0
    if m == 0:
        return 0.0
    if not total > 1e-140 or not total < np.inf:  # its square must be a number too
        return -np.inf
    slots[0, slot] = happened / m
    if not efron or m == 1:
        slots[1, slot] = m / total
        slots[3, slot] = m / (total * total)
        return -happened * np.log(total)
    value = 0.0
    for rank in range(m):
        f = rank / m
        value += np.log(total - f * tied)
        a = 1.0 / (total - f * tied)
        slots[1, slot] += a
        slots[2, slot] += f * a
        slots[3, slot] += a * a
        slots[4, slot] += f * a * a
        slots[5, slot] += f * f * a * a
    return -value * happened / m


@compiled(
    "float64(float64[:,::1], float64[::1], float64[::1], float64[::1], float64[::1], " + SLOTS + ", boolean,"
    " float64[::1], float64[::1], float64[:,::1])"
)
def risk_totals(
    X: Any, beta: Any, offset: Any, weight: Any, factor: Any, stratum_slot: Any, slot_row: Any, slot_dead: Any,
    slot_stratum: Any, exit_row: Any, exit_slot: Any, leave: Any, again: Any, efron: bool,
    relative: Any, shift: Any, slots: Any,
) -> float:  # fmt: skip
    """Return the partial log-likelihood, -inf where floats do not hold it; fill what its derivatives are made of.

    `relative` is the case weight times the hazard relative to the largest of the stratum. `slots` has a row for each
    of: the mean weight of the events, the sums over tied events of 1/D, f/D, 1/D^2, f/D^2 and (f/D)^2 with D the total
    at risk and f the share of the tie that Efron takes off, the hazard, and its sum from this slot to the stratum's end.
    """
    truncated = exit_slot.size > 0
    for start in range(0, offset.size, CHUNK):
        end = min(start + CHUNK, offset.size)
        for i in range(start, end):
            relative[i] = offset[i]
        for j in range(X.shape[0]):
            for i in range(start, end):
                relative[i] += beta[j] * X[j, i]
    value = 0.0
    for s in range(stratum_slot.size - 1):
        low, end = slot_row[stratum_slot[s]], slot_row[stratum_slot[s + 1]]
        shift[s] = -np.inf
        for i in range(low, end):
            shift[s] = max(shift[s], relative[i])
        total = 0.0
        largest = 0.0
        for slot in range(stratum_slot[s], stratum_slot[s + 1]):
            m = slot_dead[slot]
            tied = 0.0
            happened = 0.0
            for i in range(slot_row[slot], slot_row[slot + 1]):
                eta = relative[i] - shift[s]
                relative[i] = weight[i] * np.exp(eta)
                total += relative[i]
                if i >= slot_row[slot + 1] - m:
                    tied += relative[i]
                    happened += weight[i]
                    value += weight[i] * eta
            if truncated:
                largest = max(largest, total)
                for k in range(exit_slot[slot], exit_slot[slot + 1]):
                    total -= relative[exit_row[k]]
                again[slot] = total < STALE * largest and exit_slot[slot + 1] > exit_slot[slot]
                if again[slot]:
                    total = 0.0
                    for i in range(low, slot_row[slot + 1]):
                        total += relative[i] if leave[i] > slot else 0.0
                    largest = total
            value += tie_sums(total, tied, happened, m, efron, slots, slot)
        for slot in range(stratum_slot[s + 1] - 2, stratum_slot[s] - 1, -1):
            g = factor[slot] if factor.size > 0 else 1.0
            slots[6, slot] = g * slots[0, slot] * slots[1, slot]
            slots[7, slot] = slots[7, slot + 1] + slots[6, slot]
    return value


@compiled(
    "void(float64[:,::1], int64, float64[::1], " + SLOTS + ", int64, int64, int64, float64[:,::1], float64[:,::1])"
)
def covariate_sums(
    X: Any, j: int, relative: Any, stratum_slot: Any, slot_row: Any, slot_dead: Any, slot_stratum: Any,
    exit_row: Any, exit_slot: Any, leave: Any, again: Any, start: int, end: int, base: int, at_risk: Any, tied: Any,
) -> None:  # fmt: skip
    """Fill, for columns j and j + 1 and some slots, the sums of relative hazard times covariate at risk and over the events.

    The sums of slot s stand at ``s - base``; the sum before `start` is expected at ``start - base - 1`` where that is
    not negative, and is 0 otherwise. Two columns at once wait half as long for the sum before; the last one of an odd
    number is its own second.
    """
    k = min(j + 1, X.shape[0] - 1)
    one = at_risk[j, start - base - 1] if start > base else 0.0
    two = at_risk[k, start - base - 1] if start > base else 0.0
    for slot in range(start, end):
        low = slot_row[stratum_slot[slot_stratum[slot]]]
        if slot == stratum_slot[slot_stratum[slot]]:
            one = 0.0
            two = 0.0
        own_one = 0.0
        own_two = 0.0
        dead = slot_row[slot + 1] - slot_dead[slot]
        for i in range(slot_row[slot], dead):
            one += relative[i] * X[j, i]
            two += relative[i] * X[k, i]
        for i in range(dead, slot_row[slot + 1]):
            own_one += relative[i] * X[j, i]
            own_two += relative[i] * X[k, i]
        one += own_one
        two += own_two
        if exit_slot.size > 0:
            for e in range(exit_slot[slot], exit_slot[slot + 1]):
                one -= relative[exit_row[e]] * X[j, exit_row[e]]
                two -= relative[exit_row[e]] * X[k, exit_row[e]]
            if again[slot]:
                one = 0.0
                two = 0.0
                for i in range(low, slot_row[slot + 1]):
                    one += relative[i] * X[j, i] if leave[i] > slot else 0.0
                    two += relative[i] * X[k, i] if leave[i] > slot else 0.0
        at_risk[j, slot - base] = one
        at_risk[k, slot - base] = two
        tied[j, slot - base] = own_one
        tied[k, slot - base] = own_two


@compiled("float64(float64[::1], float64[::1], int64, int64)")
def sum_between(jumps: Any, sums: Any, first: int, last: int) -> Any:
    """Return the jumps from one slot up to another, from their sums to the end where these leave enough digits."""
    difference = sums[first] - sums[last]
    if abs(difference) > STALE * max(abs(sums[first]), abs(sums[last])):
        return difference
    total = 0.0
    for slot in range(first, last):
        total += jumps[slot]
    return total


@compiled("void(float64[::1], int64[::1], int64[::1], int64[::1], float64[::1], float64[::1])")
def row_sums(jumps: Any, slot_dead: Any, row_slot: Any, leave: Any, sums: Any, out: Any) -> None:
    """Fill, for each row, the sum of `jumps` over the slots at which it is at risk; `sums` is scratch."""
    total = 0.0
    for slot in range(slot_dead.size - 1, -1, -1):
        total = total + jumps[slot] if slot_dead[slot] > 0 else 0.0
        sums[slot] = total
    for i in range(out.size):
        out[i] = sums[row_slot[i]]
        if leave.size > 0:
            out[i] = sum_between(jumps, sums, row_slot[i], leave[i])


@compiled("void(float64[:,::1], float64[::1], int64, int64, float64[:,::1], float64[:,::1])")
def add_products(columns: Any, weight: Any, start: int, count: int, scaled: Any, products: Any) -> None:
    """Add to the lower triangle the weighted products of all pairs of columns over `count` items from `start` on."""
    p = columns.shape[0]
    for j in range(0, p - 1, 2):
        for i in range(count):
            scaled[0, i] = weight[i] * columns[j, start + i]
            scaled[1, i] = weight[i] * columns[j + 1, start + i]
        for k in range(j + 2):
            one = 0.0
            two = 0.0
            for i in range(count):
                one += scaled[0, i] * columns[k, start + i]
                two += scaled[1, i] * columns[k, start + i]
            products[j, k] += one
            products[j + 1, k] += two
    if p % 2 == 1:
        for i in range(count):
            scaled[0, i] = weight[i] * columns[p - 1, start + i]
        for k in range(p):
            one = 0.0
            for i in range(count):
                one += scaled[0, i] * columns[k, start + i]
            products[p - 1, k] += one


@compiled(
    "void(float64[:,::1], float64[::1], float64[::1], " + SLOTS + ", int64[::1], float64[::1],"
    " float64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[::1], float64[:,::1])"
)
def derivatives(
    X: Any, weight: Any, factor: Any, stratum_slot: Any, slot_row: Any, slot_dead: Any, slot_stratum: Any,
    exit_row: Any, exit_slot: Any, leave: Any, again: Any, row_slot: Any, relative: Any, slots: Any,
    at_risk: Any, tied: Any, scratch: Any, gradient: Any, information: Any,
) -> None:  # fmt: skip
    """Add gradient and information to zeros, from what `risk_totals` filled.

    Scratch: `at_risk` and `tied` of ``(p, CHUNK + 1)``, `scratch` of ``(5, CHUNK)``. The information of m tied events is ``sum(1/D^2) S S' - sum(f/D^2) (S T' + T S') + sum(f^2/D^2) T T'``
    with S and T the sums over the rows at risk and over the events, here as two squares whatever m is.
    """
    p = X.shape[0]
    for j in range(p):
        at_risk[j, 0] = 0.0
    for low in range(0, slot_dead.size, CHUNK):
        high = min(low + CHUNK, slot_dead.size)
        for start in range(slot_row[low], slot_row[high], CHUNK):
            count = min(CHUNK, slot_row[high] - start)
            for i in range(count):
                slot = row_slot[start + i]
                hazard = slots[7, slot]
                if exit_slot.size > 0:
                    hazard = sum_between(slots[6], slots[7], slot, leave[start + i])
                happened = 0.0
                if start + i >= slot_row[slot + 1] - slot_dead[slot]:
                    happened = factor[slot] if factor.size > 0 else 1.0
                    hazard -= happened * slots[0, slot] * slots[2, slot]
                scratch[2, i] = relative[start + i] * hazard
                scratch[3, i] = happened * weight[start + i] - scratch[2, i]
            for j in range(p):
                total = 0.0
                for i in range(count):
                    total += scratch[3, i] * X[j, start + i]
                gradient[j] += total
            add_products(X, scratch[2], start, count, scratch, information)
        shared = False
        for i in range(high - low):
            slot = low + i
            g = factor[slot] if factor.size > 0 else 1.0
            scratch[4, i] = slots[4, slot] / slots[3, slot] if slots[5, slot] > 0 else 0.0
            scratch[2, i] = -g * slots[0, slot] * slots[3, slot]
            scratch[3, i] = -g * slots[0, slot] * (slots[5, slot] - slots[4, slot] * scratch[4, i])
            shared = shared or slots[5, slot] > 0
        for j in range(0, p, 2):
            covariate_sums(X, j, relative, stratum_slot, slot_row, slot_dead, slot_stratum, exit_row, exit_slot, leave,
                           again, low, high, low - 1, at_risk, tied)  # fmt: skip
        for j in range(p):
            tied[j, 0] = at_risk[j, high - low]
            for i in range(1, high - low + 1):
                at_risk[j, i] -= scratch[4, i - 1] * tied[j, i]
        add_products(at_risk, scratch[2], 1, high - low, scratch, information)
        if shared:
            add_products(tied, scratch[3], 1, high - low, scratch, information)
        for j in range(p):
            at_risk[j, 0] = tied[j, 0]
    for j in range(p):
        for k in range(j):
            information[k, j] = information[j, k]

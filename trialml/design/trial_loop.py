"""Cuts of a simulated trial's data and the log-rank test at each look, compiled.

Import this module inside functions, since it imports numba. The functions take plain arrays and make none, so that
other simulations (of enrichment, say) are put together from the same parts: `patient_draws.draw_patients` makes the
patients of a trial, `nth_event_month` says when a look takes place, `order_ends` sorts once a trial, and `logrank_at`
walks through that order once a look.
"""

# ruff: noqa: PLR0917 (compiled loops take plain arrays)

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trialml.data.tolerance import TIE_TOLERANCE
from trialml.design.patient_draws import draw_patients, trial_key
from trialml.survival.compile import compiled

__all__ = [
    "EVENTS",
    "EVENTS_AND_MONTHS",
    "MONTHS",
    "count_calendar",
    "logrank_at",
    "nth_event_month",
    "order_ends",
    "run_trials",
]

EVENTS, MONTHS, EVENTS_AND_MONTHS = 0, 1, 2
"""When a look takes place: at a number of events, at a calendar month, or once both are reached."""


@compiled("float64(float64[::1], int64, int64)")
def _smallest(values: Any, count: Any, rank: Any) -> Any:
    """Return the value that `rank` of the first `count` are below, by Hoare's selection; the values change places."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return values[rank]


@compiled("int64(float64[::1], float64[::1], uint8[::1], float64, int64[::1], float64[::1])")
def count_calendar(entry: Any, time: Any, event: Any, horizon: Any, counts: Any, month: Any) -> Any:
    """Fill the calendar month of each event (infinity for none) and how many fall in each slice of the calendar.

    `horizon` is a month by which practically all looks are over; later events share the last slice. Returns the
    number of events.
    """
    last = counts.size - 1
    per_month = last / horizon
    counts[:] = 0
    total = 0
    for i in range(entry.size):
        when = entry[i] + time[i] if event[i] == 1 else np.inf
        month[i] = when
        total += 1 if when < np.inf else 0
        counts[np.uint32(min(when * per_month, float(last)))] += 1
    return total


@compiled("float64(int64, float64, int64[::1], float64[::1], float64[::1])")
def nth_event_month(target: Any, horizon: Any, counts: Any, month: Any, scratch: Any) -> Any:
    """Return the calendar month of event number `target`, which must exist; `counts`, `month` by `count_calendar`."""
    last = counts.size - 1
    per_month = last / horizon
    piece, before = 0, 0
    while before + counts[piece] < target:
        before += counts[piece]
        piece += 1
    found = 0
    for i in range(month.size):
        if np.uint32(min(month[i] * per_month, float(last))) == piece:
            scratch[found] = month[i]
            found += 1
    return _smallest(scratch, found, target - before - 1)


@compiled(
    "int64(float64, float64, float64[::1], float64[::1], uint8[::1], uint8[::1], int64[::1], uint32[::1], float64[::1],"
    " float64[::1], uint8[::1])"
)
def order_ends(
    cut: Any, scale: Any, entry: Any, time: Any, event: Any, cell: Any, start: Any, order: Any, ordered_time: Any,
    ordered_end: Any, ordered_mark: Any,
) -> Any:  # fmt: skip
    """Sort the patients whose follow-up ends by month `cut` by the time that it took; return how many they are.

    One counting sort on ``t / (t + scale)``, which spreads survival times evenly when `scale` is near their median,
    and insertion within its slices. `start` (n + 2) is scratch. Filled: the patients in order, their times, the
    calendar months at which they end, and twice their cell and 1 for an event.
    """
    n = entry.size
    start[:] = 0
    for i in range(n):
        # Patients who end after the cut share slice n, which is not sorted.
        slot = np.uint32(n)
        if entry[i] + time[i] <= cut:
            slot = np.uint32(min(n * (time[i] / (time[i] + scale)), n - 1.0))
        start[slot + 1] += 1
    used = n - start[n + 1]
    for b in range(1, n + 1):
        start[b] += start[b - 1]
    for i in range(n):
        t = time[i]
        if entry[i] + t <= cut:
            slot = np.uint32(min(n * (t / (t + scale)), n - 1.0))
            ordered_time[start[slot]] = t
            order[start[slot]] = i
            start[slot] += 1
    for k in range(1, used):
        t, i, j = ordered_time[k], order[k], k
        while j > 0 and ordered_time[j - 1] > t:
            ordered_time[j] = ordered_time[j - 1]
            order[j] = order[j - 1]
            j -= 1
        ordered_time[j] = t
        order[j] = i
    for k in range(used):
        i = order[k]
        ordered_end[k] = entry[i] + ordered_time[k]
        ordered_mark[k] = 2 * cell[i] + event[i]
    return used


@compiled("int64(float64, int64, int64, float64[::1], float64[::1], uint8[::1], int64[::1], int64[::1], float64[::1])")
def _tied_events(
    cut: Any, first: Any, used: Any, ordered_time: Any, ordered_end: Any, ordered_mark: Any, at_risk: Any, dead: Any,
    sums: Any,
) -> Any:  # fmt: skip
    """Fill the sums of one run of tied times, take its patients out of the risk set and return where it ends."""
    reach = ordered_time[first]
    k = first
    while k < used and (ordered_end[k] > cut or ordered_time[k] <= reach * (1.0 + TIE_TOLERANCE)):
        if ordered_end[k] <= cut:
            reach = ordered_time[k]
            dead[ordered_mark[k] >> 1] += ordered_mark[k] & 1
        k += 1
    distance, variance = 0.0, 0.0
    for pair in range(0, dead.size, 2):
        d, n = dead[pair] + dead[pair + 1], at_risk[pair] + at_risk[pair + 1]
        if d > 0:
            p = at_risk[pair + 1] / n
            distance += dead[pair + 1] - d * p
            variance += d * (n - d) / max(n - 1, 1) * p * (1.0 - p)
        dead[pair] = dead[pair + 1] = 0
    for j in range(first, k):
        if ordered_end[j] <= cut:
            at_risk[ordered_mark[j] >> 1] -= 1
    sums[0], sums[1] = distance, variance
    return k


@compiled(
    "void(float64, int64, int64, float64[::1], float64[::1], uint8[::1], float64[::1], float64[::1], uint8[::1],"
    " int64[::1], int64[::1], float64[::1])"
)
def logrank_at(
    cut: Any, enrolled: Any, used: Any, entry: Any, time: Any, cell: Any, ordered_time: Any, ordered_end: Any,
    ordered_mark: Any, at_risk: Any, dead: Any, sums: Any,
) -> None:  # fmt: skip
    """Fill the sums of the log-rank test of the data cut at a calendar month.

    No sort is needed at a look: those whose follow-up has ended stand in order of their times, and those whom the cut
    censors are censored in order of falling entry, so both are merged. Ties within the tolerance of the survival
    chapter are one time, with the hypergeometric variance ``d (n - d) / (n - 1) n0 n1 / n**2``; whoever is censored at
    an event time is at risk at it.

    Parameters
    ----------
    cut
        Calendar month.
    enrolled
        How many have entered by then: the first ones of `entry`.
    used, ordered_time, ordered_end, ordered_mark
        From `order_ends` for this cut or a later one.
    entry, time, cell
        Shape (n,), in order of entry; the cell is twice the stratum and 1 for experimental.
    at_risk
        Shape (2 * strata,): patients enrolled by the cut in each cell; at the end those still at risk.
    dead
        Shape (2 * strata,), zeros; zeros at the end.
    sums
        Shape (2,), filled: observed less expected events of the experimental arm, and the variance.
    """
    distance, variance = 0.0, 0.0
    last = enrolled - 1
    k = 0
    while k < used:
        if ordered_end[k] > cut:
            k += 1
            continue
        t = ordered_time[k]
        while last >= 0 and cut - entry[last] < t * (1.0 - TIE_TOLERANCE):
            at_risk[cell[last]] -= entry[last] + time[last] > cut
            last -= 1
        after = k + 1
        while after < used and ordered_end[after] > cut:
            after += 1
        if after < used and ordered_time[after] <= t * (1.0 + TIE_TOLERANCE):
            k = _tied_events(cut, k, used, ordered_time, ordered_end, ordered_mark, at_risk, dead, sums)
            distance += sums[0]
            variance += sums[1]
            continue
        c = ordered_mark[k] >> 1
        if ordered_mark[k] & 1:
            n1 = at_risk[c | 1]
            p = n1 / (at_risk[c & 254] + n1)
            distance += (c & 1) - p
            variance += p * (1.0 - p)
        at_risk[c] -= 1
        k = after
    sums[0], sums[1] = distance, variance


@compiled("void(int64, int64[::1], float64[::1], int64, float64, int64[::1], float64[::1], float64[::1], float64[::1])")
def cut_months(
    rule: Any, targets: Any, look_months: Any, total: Any, horizon: Any, counts: Any, month: Any, scratch: Any, cuts: Any,
) -> None:  # fmt: skip
    """Fill the calendar month of each look.

    `rule` is `EVENTS` (month of the event that makes `targets`, or of the last event where the patients have fewer:
    the test is the same at any later month), `MONTHS` (`look_months`) or `EVENTS_AND_MONTHS` (the later of the two).
    """
    for look in range(cuts.size):
        when = 0.0
        if rule != EVENTS:
            when = look_months[look]
        if rule != MONTHS and total > 0:
            when = max(when, nth_event_month(min(targets[look], total), horizon, counts, month, scratch))
        cuts[look] = when


@compiled(
    "void(uint64, int64, int64, float64[::1], float64[::1], float64[::1], float64[::1], float64[:,::1],"
    " float64[:,:,::1], float64[:,:,::1], float64[::1], float64, int64, int64, boolean, int64[::1], float64[::1], int64,"
    " float64[::1], float64[::1], float64[::1], float64, float64, float64[:,::1], int64[::1], uint8[:,::1],"
    " uint32[::1], int64[:,::1], int64[:,::1], int64[::1], float64[::1], float64[::1], float64[:,::1], float64[:,::1],"
    " float64[:,::1], int64[:,::1], int64[:,::1], int8[:,::1])"
)
def run_trials(
    seed: Any, first: Any, kind: Any, accrual_breaks: Any, accrual_rates: Any, accrual_enrolled: Any, prevalence: Any,
    breaks: Any, hazards: Any, cumulative: Any, dropout: Any, share: Any, block: Any, experimental: Any,
    stratified: Any, targets: Any, look_months: Any, rule: Any, upper: Any, lower: Any, futility: Any, horizon: Any,
    scale: Any, reals: Any, start: Any, small: Any, order: Any, left: Any, by_cell: Any, counts: Any, cuts: Any,
    sums: Any, distance: Any, variance: Any, months: Any, events: Any, enrolled: Any, decision: Any,
) -> None:  # fmt: skip
    """Simulate the trials `first`, `first` + 1, ...; as many as the results have rows.

    Parameters
    ----------
    seed, first
        Of the whole simulation, and the number of the first trial of this call.
    kind, ..., experimental
        As `draw_patients` takes them.
    stratified
        Whether the test is stratified by the groups.
    targets, look_months, rule
        Shape (looks,) each, as `cut_months` takes them.
    upper, lower, futility
        Shape (looks,): a trial stops where z is at least `upper` (1), at most `lower` (-1) or at most `futility` (-2).
    horizon, scale
        As `count_calendar` and `order_ends` take them.
    reals, start, small, order, left, by_cell, counts, cuts, sums
        Scratch: shapes (6, n), (n + 2,), (5, n), (n,), (groups, 2), (3, 2 * strata), (slices of the calendar,),
        (looks,) and (2,).
    distance, variance, months, events, enrolled, decision
        Shape (trials, looks), filled up to the look that stops: observed less expected events of the experimental arm
        and their variance, calendar month, events, patients enrolled, and 0 for going on or one of the above.
    """
    entry, time, month, scratch, ordered_time, ordered_end = (
        reals[0], reals[1], reals[2], reals[3], reals[4], reals[5],
    )  # fmt: skip
    group, arm, event, cell, ordered_mark = small[0], small[1], small[2], small[3], small[4]
    entered, at_risk, dead = by_cell[0], by_cell[1], by_cell[2]
    n, looks = entry.size, cuts.size
    for j in range(decision.shape[0]):
        draw_patients(
            trial_key(seed, np.uint64(first + j)), kind, accrual_breaks, accrual_rates, accrual_enrolled, prevalence,
            breaks, hazards, cumulative, dropout, share, block, experimental, left, entry, group, arm, time, event,
        )  # fmt: skip
        for i in range(n):
            cell[i] = (2 * group[i] if stratified else 0) + arm[i]
        total = count_calendar(entry, time, event, horizon, counts, month)
        cut_months(rule, targets, look_months, total, horizon, counts, month, scratch, cuts)
        used = order_ends(
            cuts[looks - 1], scale, entry, time, event, cell, start, order, ordered_time, ordered_end, ordered_mark
        )
        entered[:] = 0
        here = 0
        for look in range(looks):
            cut = cuts[look]
            while here < n and entry[here] <= cut:
                entered[cell[here]] += 1
                here += 1
            for c in range(entered.size):
                at_risk[c] = entered[c]
            logrank_at(cut, here, used, entry, time, cell, ordered_time, ordered_end, ordered_mark, at_risk, dead, sums)
            z = -sums[0] / math.sqrt(sums[1]) if sums[1] > 0 else 0.0
            happened = 0
            for i in range(n):
                happened += month[i] <= cut
            distance[j, look], variance[j, look], months[j, look] = sums[0], sums[1], cut
            events[j, look], enrolled[j, look] = happened, here
            decision[j, look] = 1 if z >= upper[look] else -1 if z <= lower[look] else -2 if z <= futility[look] else 0
            if decision[j, look] != 0:
                break

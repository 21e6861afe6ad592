"""Cuts of a simulated trial's data and the log-rank test at each look, compiled.

Import this module inside functions, since it imports numba. The functions take plain arrays and make none, so that
other simulations (of enrichment, say) are put together from the same parts: `patient_draws.draw_patients` makes the
patients of a trial, `nth_event_month` says when a look takes place, `order_ends` sorts once a trial, and `logrank_at`
walks through that order once a look. Whoever changes `patient_draws` must touch this file: the machine code on disk
holds the other file's functions too, and numba looks at the date of this one alone.
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


@compiled("int64(float64[::1], float64[::1], uint8[::1], float64, uint32[::1], int64[::1], float64[::1])")
def count_calendar(entry: Any, time: Any, event: Any, horizon: Any, piece: Any, counts: Any, month: Any) -> Any:
    """Fill the calendar month of each event (infinity for none), its slice of the calendar and the slices' counts.

    `horizon` is a month by which practically all looks are over; later events share the last slice. Returns the
    number of events.
    """
    last = float(counts.size - 1)
    per_month = last / horizon
    total = 0
    for i in range(entry.size):
        when = entry[i] + time[i] if event[i] == 1 else np.inf
        month[i] = when
        piece[i] = np.uint32(min(when * per_month, last))
        total += when < np.inf
    counts[:] = 0
    for i in range(entry.size):
        counts[piece[i]] += 1
    return total


@compiled("float64(int64, uint32[::1], int64[::1], float64[::1], float64[::1])")
def nth_event_month(target: Any, piece: Any, counts: Any, month: Any, scratch: Any) -> Any:
    """Return the calendar month of event number `target`, which must exist; the arrays are of `count_calendar`."""
    wanted, before = np.uint32(0), 0
    while before + counts[wanted] < target:
        before += counts[wanted]
        wanted += np.uint32(1)
    found = 0
    for i in range(month.size):
        if piece[i] == wanted:
            scratch[found] = month[i]
            found += 1
    return _smallest(scratch, found, target - before - 1)


@compiled(
    "void(int64, int64[::1], float64[::1], int64, uint32[::1], int64[::1], float64[::1], float64[::1], float64[::1])"
)
def cut_months(
    rule: Any, targets: Any, look_months: Any, total: Any, piece: Any, counts: Any, month: Any, scratch: Any, cuts: Any
) -> None:
    """Fill the calendar month of each look.

    `rule` is `EVENTS` (month of the event that makes `targets`, or of the last event where the patients have fewer:
    the test is the same at any later month), `MONTHS` (`look_months`) or `EVENTS_AND_MONTHS` (the later of the two).
    """
    for look in range(cuts.size):
        when = 0.0
        if rule != EVENTS:
            when = look_months[look]
        if rule != MONTHS and total > 0:
            when = max(when, nth_event_month(min(targets[look], total), piece, counts, month, scratch))
        cuts[look] = when


@compiled(
    "void(uint8[::1], int64[::1], float64[::1], float64[::1], uint8[::1], uint8[::1], float64[::1], float64[::1],"
    " uint8[::1], uint8[::1])"
)
def sort_by_group(
    group: Any, first: Any, entry: Any, time: Any, arm: Any, event: Any, to_entry: Any, to_time: Any, to_arm: Any,
    to_event: Any,
) -> None:  # fmt: skip
    """Copy the patients group by group, in order of entry within each; group g is ``first[g]`` to ``first[g + 1]``.

    `first` has the shape (groups + 1,) and is filled.
    """
    first[:] = 0
    for i in range(group.size):
        first[group[i] + 1] += 1
    for g in range(1, first.size):
        first[g] += first[g - 1]
    for i in range(group.size):
        k = first[group[i]]
        to_entry[k], to_time[k], to_arm[k], to_event[k] = entry[i], time[i], arm[i], event[i]
        first[group[i]] = k + 1
    for g in range(first.size - 1, 0, -1):
        first[g] = first[g - 1]
    first[0] = 0


@compiled(
    "int64(float64, float64, float64[::1], float64[::1], uint8[::1], uint8[::1], int64[::1], uint32[::1], uint32[::1],"
    " float64[::1], float64[::1], uint8[::1])"
)
def order_ends(
    cut: Any, scale: Any, entry: Any, time: Any, arm: Any, event: Any, start: Any, order: Any, piece: Any,
    ordered_time: Any, ordered_end: Any, ordered_mark: Any,
) -> Any:  # fmt: skip
    """Sort the patients whose follow-up ends by month `cut` by the time that it took; return how many they are.

    One counting sort on ``t / (t + scale)``, which spreads survival times evenly when `scale` is near their median,
    and insertion within its slices. Filled, shape (n,): the patients in order, their times, the calendar months at
    which they end, and twice their arm and 1 for an event. `start` (n + 1 or more) and `piece` (n,) are scratch.
    """
    n = entry.size
    top = n - 1.0
    for i in range(n):
        # Patients who end after the cut come last, in slice n, which is not sorted: a branch would be mispredicted.
        t = time[i]
        piece[i] = np.uint32(min(n * (t / (t + scale)), top)) if entry[i] + t <= cut else np.uint32(n)
    for b in range(n + 1):
        start[b] = 0
    for i in range(n):
        start[piece[i]] += 1
    before = 0
    for b in range(n + 1):
        here = start[b]
        start[b] = before
        before += here
    used = start[n]
    for i in range(n):
        k = start[piece[i]]
        start[piece[i]] = k + 1
        ordered_time[k] = time[i]
        order[k] = i
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
        ordered_mark[k] = 2 * arm[i] + event[i]
    return used


@compiled(
    "void(float64, int64, int64, float64[::1], float64[::1], uint8[::1], float64[::1], float64[::1], uint8[::1],"
    " float64[::1], uint8[::1], float64[::1])"
)
def logrank_at(
    cut: Any, enrolled: Any, used: Any, entry: Any, time: Any, arm: Any, ordered_time: Any, ordered_end: Any,
    ordered_mark: Any, seen: Any, mark: Any, sums: Any,
) -> None:  # fmt: skip
    """Add the sums of the log-rank test of one stratum's data cut at a calendar month.

    No sort is needed at a look: those whose follow-up has ended stand in order of their times, and those whom the cut
    censors are censored in order of falling entry, so both are merged. Ties within the tolerance of the survival
    chapter are one time, with the hypergeometric variance ``d (n - d) / (n - 1) n0 n1 / n**2``; whoever is censored at
    an event time is at risk at it.

    Parameters
    ----------
    cut
        Calendar month.
    enrolled
        How many of the stratum have entered by then: the first ones.
    used, ordered_time, ordered_end, ordered_mark
        From `order_ends` for this cut or a later one.
    entry, time, arm
        The patients of the stratum in order of entry.
    seen, mark
        Scratch, shape (n + 1,) or more.
    sums
        Shape (2,): observed less expected events of the experimental arm, and the variance; the stratum's are added.
    """
    count = 0
    for k in range(used):
        seen[count], mark[count] = ordered_time[k], ordered_mark[k]
        count += ordered_end[k] <= cut
    seen[count] = np.inf
    n, n1 = enrolled, 0
    for i in range(enrolled):
        n1 += arm[i]
    distance, variance, last, k = 0.0, 0.0, enrolled - 1, 0
    while k < count:
        t = seen[k]
        while last >= 0 and cut - entry[last] < t * (1.0 - TIE_TOLERANCE):
            still = entry[last] + time[last] > cut
            n -= still
            n1 -= still & (arm[last] == 1)
            last -= 1
        d, d1, gone, gone1, end = mark[k] & 1, (mark[k] & 1) * (mark[k] >> 1), 1, mark[k] >> 1, k + 1
        while seen[end] <= seen[end - 1] * (1.0 + TIE_TOLERANCE):
            d += mark[end] & 1
            d1 += (mark[end] & 1) * (mark[end] >> 1)
            gone += 1
            gone1 += mark[end] >> 1
            end += 1
        p = n1 / n
        distance += d1 - d * p
        variance += d * (n - d) / max(n - 1, 1) * p * (1.0 - p)
        n -= gone
        n1 -= gone1
        k = end
    sums[0] += distance
    sums[1] += variance


@compiled(
    "void(uint64, int64, int64, float64[::1], float64[::1], float64[::1], float64[::1], float64[:,::1],"
    " float64[:,:,::1], float64[:,:,::1], float64[::1], float64, int64, int64, int64[::1], float64[::1], int64,"
    " float64[::1], float64[::1], float64[::1], float64, float64, float64[:,::1], int64[::1], uint8[:,::1],"
    " uint32[::1], uint32[::1], int64[:,::1], int64[:,::1], int64[::1], float64[::1], float64[::1], float64[:,::1],"
    " float64[:,::1], float64[:,::1], int64[:,::1], int64[:,::1], int8[:,::1])"
)
def run_trials(
    seed: Any, first: Any, kind: Any, accrual_breaks: Any, accrual_rates: Any, accrual_enrolled: Any, prevalence: Any,
    breaks: Any, hazards: Any, cumulative: Any, dropout: Any, share: Any, block: Any, experimental: Any,
    targets: Any, look_months: Any, rule: Any, upper: Any, lower: Any, futility: Any, horizon: Any, scale: Any,
    reals: Any, start: Any, small: Any, order: Any, piece: Any, left: Any, parts: Any, counts: Any, cuts: Any,
    sums: Any, distance: Any, variance: Any, months: Any, events: Any, enrolled: Any, decision: Any,
) -> None:  # fmt: skip
    """Simulate the trials `first`, `first` + 1, ...; as many as the results have rows.

    Parameters
    ----------
    seed, first
        Of the whole simulation, and the number of the first trial of this call.
    kind, ..., experimental
        As `draw_patients` takes them.
    targets, look_months, rule
        Shape (looks,) each, as `cut_months` takes them.
    upper, lower, futility
        Shape (looks,): a trial stops where z is at least `upper` (1), at most `lower` (-1) or below `futility` (-2).
    horizon, scale
        As `count_calendar` and `order_ends` take them.
    reals, start, small, order, piece, left, parts, counts, cuts, sums
        Scratch: shapes (8, n + 1), (n + 1,), (7, n + 1), (n,), (n,), (groups, 2), (3, strata + 1) (strata is 1, or the
        number of groups for a test stratified by them), (slices of the calendar,), (looks,) and (2,).
    distance, variance, months, events, enrolled, decision
        Shape (trials, looks), filled up to the look that stops: observed less expected events of the experimental arm
        and their variance, calendar month, events, patients enrolled, and 0 for going on or one of the above.
    """
    n, looks = order.size, cuts.size
    for j in range(decision.shape[0]):
        entry, time, month, event, arm, group = (
            reals[0, :n], reals[1, :n], reals[2, :n], small[0, :n], small[1, :n], small[2, :n],
        )  # fmt: skip
        draw_patients(
            trial_key(seed, np.uint64(first + j)), kind, accrual_breaks, accrual_rates, accrual_enrolled, prevalence,
            breaks, hazards, cumulative, dropout, share, block, experimental, left, entry, group, arm, time, event,
        )  # fmt: skip
        total = count_calendar(entry, time, event, horizon, piece, counts, month)
        cut_months(rule, targets, look_months, total, piece, counts, month, reals[3], cuts)
        strata = parts.shape[1] - 1
        parts[0, strata] = n
        if strata > 1:
            sort_by_group(
                group, parts[0], entry, time, arm, event, reals[4, :n], reals[5, :n], small[4, :n], small[3, :n]
            )
            entry, time, event, arm = reals[4, :n], reals[5, :n], small[3, :n], small[4, :n]
        for s in range(strata):
            a, b = parts[0, s], parts[0, s + 1]
            parts[1, s], parts[2, s] = 0, order_ends(
                cuts[looks - 1], scale, entry[a:b], time[a:b], arm[a:b], event[a:b], start, order[a:b], piece[a:b],
                reals[6, a:b], reals[7, a:b], small[5, a:b],
            )  # fmt: skip
        for look in range(looks):
            cut = cuts[look]
            sums[0] = sums[1] = 0.0
            enrolled[j, look] = 0
            for s in range(strata):
                a, b = parts[0, s], parts[0, s + 1]
                while a + parts[1, s] < b and entry[a + parts[1, s]] <= cut:
                    parts[1, s] += 1
                enrolled[j, look] += parts[1, s]
                logrank_at(
                    cut, parts[1, s], parts[2, s], entry[a:b], time[a:b], arm[a:b], reals[6, a:b], reals[7, a:b],
                    small[5, a:b], reals[3], small[6], sums,
                )  # fmt: skip
            # Without information there is no test, so nothing stops the trial.
            z = -sums[0] / math.sqrt(sums[1]) if sums[1] > 0 else np.nan
            happened = 0
            for i in range(n):
                happened += month[i] <= cut
            distance[j, look], variance[j, look], months[j, look], events[j, look] = sums[0], sums[1], cut, happened
            decision[j, look] = 1 if z >= upper[look] else -1 if z <= lower[look] else -2 if z < futility[look] else 0
            if decision[j, look] != 0:
                break

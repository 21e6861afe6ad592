"""Two-stage enrichment trials simulated on patients, and on test statistics alone; compiled.

Import inside functions, since it imports numba.
"""

# ruff: noqa: PLR0917 (compiled loops take plain arrays)

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trialml.design.enrichment_rules import decide_at_end, decide_at_interim
from trialml.design.patient_draws import draw_patients, trial_key, uniform
from trialml.design.trial_loop import count_calendar, logrank_at, nth_event_month, order_ends
from trialml.survival.compile import compiled

__all__ = ["run_patients", "run_statistics"]


@compiled("int64(int64, uint8[::1], float64[:,::1], uint8[:,::1])")
def _split(n: Any, member: Any, reals: Any, small: Any) -> Any:
    """Fill the subgroup's patients (rows 6 and 7, 4 and 5) and the others (8 and 9, 6 and 7); return how many are in it."""
    inside, outside = 0, 0
    for i in range(n):
        if member[small[0, i]]:
            reals[6, inside], reals[7, inside] = reals[0, i], reals[1, i]
            small[4, inside], small[5, inside] = small[1, i], small[2, i]
            inside += 1
        else:
            reals[8, outside], reals[9, outside] = reals[0, i], reals[1, i]
            small[6, outside], small[7, outside] = small[1, i], small[2, i]
            outside += 1
    return inside


@compiled(
    "int64(float64, float64, float64[::1], float64[::1], uint8[::1], uint8[::1], float64[:,::1], int64[::1],"
    " uint8[:,::1], uint32[:,::1], float64[::1])"
)
def _scores(
    cut: Any, scale: Any, entry: Any, time: Any, arm: Any, event: Any, reals: Any, start: Any, small: Any, order: Any,
    sums: Any,
) -> Any:  # fmt: skip
    """Fill the log-rank sums at a cut and the events by then (`sums` 0 to 2); return how many have entered."""
    here = 0
    while here < entry.size and entry[here] <= cut:
        here += 1
    entry, time, arm, event = entry[:here], time[:here], arm[:here], event[:here]
    times, ends, marks = reals[4], reals[5], small[3]
    used = order_ends(cut, scale, entry, time, arm, event, start, order[0], order[1], times, ends, marks)
    sums[0] = sums[1] = 0.0
    logrank_at(cut, here, used, entry, time, arm, times, ends, marks, reals[3], small[8], sums)
    happened = 0
    for k in range(used):
        happened += marks[k] & 1
    sums[2] = happened
    return here


@compiled(
    "void(float64, float64, int64, int64, int64, int64, float64[:,::1], int64[::1], uint8[:,::1], uint32[:,::1],"
    " float64[::1])"
)
def _both_scores(
    cut: Any, scale: Any, s0: Any, s1: Any, r0: Any, r1: Any, reals: Any, start: Any, small: Any, order: Any, found: Any
) -> None:
    """Fill score, variance, events and entered of the subgroup's patients `s0` to `s1` (0 to 3), and of the others' (4 to 7)."""
    found[3] = _scores(
        cut, scale, reals[6, s0:s1], reals[7, s0:s1], small[4, s0:s1], small[5, s0:s1], reals, start, small, order,
        found[0:3],
    )  # fmt: skip
    found[7] = _scores(
        cut, scale, reals[8, r0:r1], reals[9, r0:r1], small[6, r0:r1], small[7, r0:r1], reals, start, small, order,
        found[4:7],
    )  # fmt: skip


@compiled(
    "float64(int64, int64, int64, int64, int64, float64, float64[:,::1], uint8[:,::1], uint32[:,::1], int64[::1])"
)
def _month_of(
    target: Any, rows: Any, flags: Any, first: Any, last: Any, horizon: Any, reals: Any, small: Any, order: Any, counts: Any
) -> Any:  # fmt: skip
    """Return the month of event number `target` of some patients, of the last one where there are fewer, 0 for none."""
    month, piece = reals[2, first:last], order[1, first:last]
    entry, time, event = reals[rows, first:last], reals[rows + 1, first:last], small[flags, first:last]
    total = count_calendar(entry, time, event, horizon, piece, counts, month)
    if total == 0 or target <= 0:
        return 0.0
    return nth_event_month(min(target, total), piece, counts, month, reals[3])


@compiled("float64(float64, float64)")
def _z(score: Any, information: Any) -> Any:
    """Return the z of a score; 0 without information."""
    return -score / math.sqrt(information) if information > 0.0 else 0.0


@compiled("void(int64[::1], float64[::1], float64, float64, float64[::1], float64[::1], float64[::1])")
def _finish(codes: Any, numbers: Any, first_month: Any, month: Any, before: Any, after: Any, row: Any) -> None:
    """Fill the final analysis from scores `after`, less those `before` it where stages are increments."""
    v_s, v_r = after[1] - before[1], after[5] - before[5]
    z_s, z_f = _z(after[0] - before[0], v_s), _z(after[0] + after[4] - before[0] - before[4], v_s + v_r)
    share = v_s / (v_s + v_r) if v_s > 0.0 and v_r >= 0.0 else 0.0
    decide_at_end(codes, numbers, z_s, z_f, share, row)
    row[9] = max(first_month, month)


@compiled(
    "void(int64[::1], float64[::1], int64[::1], float64, float64, int64, int64, int64, int64, float64[:,::1],"
    " int64[::1], uint8[:,::1], uint32[:,::1], int64[::1], float64[:,::1], float64[::1])"
)
def _second_stage(
    codes: Any, numbers: Any, targets: Any, horizon: Any, scale: Any, s1: Any, ns: Any, r1: Any, nr: Any, reals: Any,
    start: Any, small: Any, order: Any, counts: Any, found: Any, row: Any,
) -> None:  # fmt: skip
    """Fill the second stage of a trial with `ns` and `nr` patients of subgroup and rest, `s1` and `r1` by the interim."""
    everyone, apart = int(row[4]) & 2 != 0, codes[4] == 1
    # All comers stand in rows 0 and 1 (flags 2), the subgroup alone in rows 6 and 7 (flags 5).
    rows, flags = (0, 2) if everyone else (6, 5)
    first, last = (s1 + r1, ns + nr) if everyone else (s1, ns)
    more = targets[2] if everyone else targets[3]
    if not apart:
        first = 0
        more += int(found[0, 2]) + (int(found[0, 6]) if everyone else 0)
    month, then = _month_of(more, rows, flags, first, last, horizon, reals, small, order, counts), row[8]
    for k in range(8):
        found[2, k] = 0.0 if apart else found[0, k]
    if apart:
        # The first stage's patients give their own test at their own number of events, whatever was selected.
        rows, flags = (0, 2) if codes[2] & 2 else (6, 5)
        then = _month_of(targets[4], rows, flags, 0, s1 + r1, horizon, reals, small, order, counts)
        _both_scores(then, scale, 0, s1, 0, r1, reals, start, small, order, found[0])
        v_s, v_f, selected = found[0, 1], found[0, 1] + found[0, 5], row[4]
        decide_at_interim(codes, numbers, _z(found[0, 0], v_s), _z(found[0, 0] + found[0, 4], v_f), v_s, v_f, row)
        row[4], row[7] = selected, 0.0
        _both_scores(month, scale, s1, ns, r1, nr, reals, start, small, order, found[1])
    else:
        _both_scores(month, scale, 0, ns, 0, nr if everyone else 0, reals, start, small, order, found[1])
        for k in range(4, 8):
            found[1, k] = found[1, k] if everyone else found[0, k]
    _finish(codes, numbers, then, month, found[2], found[1], row)
    row[12] = found[1, 2] + (found[0, 2] if apart else 0.0)
    row[13] = found[1, 6] + (found[0, 6] if apart else 0.0)
    row[14] = found[1, 3] + (s1 if apart else 0)
    row[15] = found[1, 7] + (r1 if apart else 0)


@compiled(
    "boolean(int64[::1], float64[::1], int64[::1], float64, float64, int64, int64, float64[:,::1], int64[::1],"
    " uint8[:,::1], uint32[:,::1], int64[::1], float64[::1], float64[::1])"
)
def _interim(
    codes: Any, numbers: Any, targets: Any, horizon: Any, scale: Any, ns: Any, nr: Any, reals: Any, start: Any,
    small: Any, order: Any, counts: Any, found: Any, row: Any,
) -> Any:  # fmt: skip
    """Fill the interim analysis; return whether the subgroup alone goes on, of a trial that began with all comers."""
    rows, flags = (0, 2) if codes[2] & 2 else (6, 5)
    row[8] = _month_of(targets[1], rows, flags, 0, ns + nr, horizon, reals, small, order, counts)
    _both_scores(row[8], scale, 0, ns, 0, nr, reals, start, small, order, found)
    v_s, v_f = found[1], found[1] + found[5]
    decide_at_interim(codes, numbers, _z(found[0], v_s), _z(found[0] + found[4], v_f), v_s, v_f, row)
    row[9], row[14], row[15] = row[8], found[3], found[7]
    row[10], row[11], row[12], row[13] = found[2], found[6], found[2], found[6]
    return row[7] == 0 and codes[2] & 2 != 0 and int(row[4]) & 2 == 0


@compiled(
    "void(uint64, int64, int64, float64[::1], float64[::1], float64[::1], float64[::1], float64[:,::1],"
    " float64[:,:,::1], float64[:,:,::1], float64[::1], float64, int64, int64, uint8[::1], int64[::1], int64[::1],"
    " float64[::1], float64, float64, float64[:,::1], int64[::1], uint8[:,::1], uint32[:,::1], int64[:,::1],"
    " int64[::1], float64[:,::1], float64[:,::1])"
)
def run_patients(
    seed: Any, first: Any, kind: Any, accrual_breaks: Any, accrual_rates: Any, accrual_enrolled: Any, prevalence: Any,
    breaks: Any, hazards: Any, cumulative: Any, dropout: Any, share: Any, block: Any, experimental: Any, member: Any,
    codes: Any, targets: Any, numbers: Any, horizon: Any, scale: Any, reals: Any, start: Any, small: Any, order: Any,
    left: Any, counts: Any, found: Any, out: Any,
) -> None:  # fmt: skip
    """Simulate the trials `first`, `first` + 1, ... on patients; as many as `out` has rows.

    Once the subgroup alone goes on, the stream of patients is the same but only those of the subgroup enter, until as
    many are in as planned.

    Parameters
    ----------
    seed, first, kind, ..., experimental
        As `draw_patients` takes them; the kind is `EVEN` or `POISSON`, whose first patients do not depend on how many
        follow.
    member
        Shape (groups,): 1 for groups of the subgroup. The full population's test is stratified by the subgroup.
    codes, numbers
        As `decide_at_interim` takes them.
    targets
        Patients, events at the interim analysis, further events if all comers go on and if the subgroup alone does,
        and events of the first stage's patients where stages are made of patients.
    horizon, scale
        As `count_calendar` and `order_ends` take them.
    reals, start, small, order, left, counts, found
        Scratch: shapes (10, m + 1), (m + 1,), (9, m + 1), (2, m), (groups, 2), (slices of the calendar,) and (3, 8),
        with m the patients who are screened at most.
    out
        Shape (trials, 18), filled by `COLUMNS`.
    """
    n, most, tested = targets[0], order.shape[1], codes[2]
    for j in range(out.shape[0]):
        row, key = out[j], trial_key(seed, np.uint64(first + j))
        ns, nr, s1, r1 = 0, 0, 0, 0
        drawn = n if tested & 2 else most
        for again in range(2):
            draw_patients(
                key, kind, accrual_breaks, accrual_rates, accrual_enrolled, prevalence, breaks, hazards, cumulative,
                dropout, share, block, experimental, left, reals[0, :drawn], small[0, :drawn], small[1, :drawn],
                reals[1, :drawn], small[2, :drawn],
            )  # fmt: skip
            inside = _split(drawn, member, reals, small)
            if again == 1:  # the same trial once more, with as many screened as the subgroup needs to fill it
                ns, nr = min(n - r1, inside), r1
                break
            ns, nr = (inside, n - inside) if tested & 2 else (min(n, inside), 0)
            alone = _interim(
                codes, numbers, targets, horizon, scale, ns, nr, reals, start, small, order, counts, found[0], row
            )  # fmt: skip
            s1, r1 = int(found[0, 3]), int(found[0, 7])
            if not alone:
                break
            lacking = n - s1 - r1
            drawn = min(most, int(s1 + r1 + (lacking + 6.0 * math.sqrt(lacking)) / numbers[11]) + 64)
        if row[7] == 0:
            _second_stage(
                codes, numbers, targets, horizon, scale, s1, ns, r1, nr, reals, start, small, order, counts, found, row
            )


@compiled("void(uint64, int64, int64[::1], float64[::1], float64[::1], float64, float64[:,::1], float64[:,::1])")
def run_statistics(
    seed: Any, first: Any, codes: Any, numbers: Any, effects: Any, per_event: Any, events: Any, out: Any
) -> None:
    """Simulate the trials `first`, `first` + 1, ... on test statistics: normal scores with the expected events.

    Parameters
    ----------
    seed, first
        Of the simulation and of its first trial in this call.
    codes, numbers, out
        As `run_patients` takes them; months and patients of `out` are NaN.
    effects
        Shape (2,): the log hazard ratio in the subgroup and in the rest.
    per_event
        Information of an event.
    events
        Shape (3, 2): events of subgroup and rest by the interim, and after it if all comers go on or the subgroup alone.
    """
    draws = np.uint64(0)
    for j in range(out.shape[0]):
        row, key = out[j], trial_key(seed, np.uint64(first + j))
        row[8], row[9], row[14], row[15] = np.nan, np.nan, np.nan, np.nan
        score_s, score_f, v_s, v_f = 0.0, 0.0, 0.0, 0.0
        for stage in range(2):
            which = 0 if stage == 0 else 1 if int(row[4]) & 2 else 2
            score_f = v_f = 0.0
            draws = np.uint64(4 * stage)
            for part in range(2):
                radius = math.sqrt(-2.0 * math.log(uniform(key, draws)))
                normal = radius * math.cos(2.0 * math.pi * uniform(key, draws + np.uint64(1)))
                draws += np.uint64(2)
                information = events[which, part] * per_event
                score = effects[part] * information + math.sqrt(information) * normal
                score_f += score
                v_f += information
                if part == 0:
                    score_s, v_s = score, information
                row[10 + 2 * stage + part] = events[which, part] + (row[10 + part] if stage else 0.0)
            if stage == 0:
                decide_at_interim(codes, numbers, _z(score_s, v_s), _z(score_f, v_f), v_s, v_f, row)
                row[12], row[13] = row[10], row[11]
                if row[7] > 0:
                    break
            else:
                decide_at_end(codes, numbers, _z(score_s, v_s), _z(score_f, v_f), v_s / v_f, row)

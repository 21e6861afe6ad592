"""Random patients of simulated trials, compiled; import inside functions, since it imports numba.

Draw k of trial j is number ``j * 2**24 + k`` of one SplitMix64 sequence, so a trial is the same whichever worker makes
it, and no two trials of a simulation share a draw.

References
----------
Steele, G. L., Lea, D. and Flood, C. H. (2014). Fast splittable pseudorandom number generators. OOPSLA 2014, 453-472.
"""

# ruff: noqa: PLR0917 (compiled loops take plain arrays)

from __future__ import annotations

from typing import Any

import numpy as np

from trialml.survival.compile import compiled

__all__ = [
    "DRAWS_PER_PATIENT",
    "EVEN",
    "POISSON",
    "UNIFORM",
    "draw_patients",
    "exponential",
    "trial_key",
    "uniform",
]

EVEN, POISSON, UNIFORM = 0, 1, 2
"""How patients enter: evenly spaced, as a Poisson process, or at uniform dates of the planned accrual."""

DRAWS_PER_PATIENT = 8
"""Draws set aside for a patient; `draw_patients` takes numbers 0 to 4 of them, 5 to 7 are free."""

ENTRY_DRAW, GROUP_DRAW, ARM_DRAW, EVENT_DRAW, DROPOUT_DRAW = range(5)

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@compiled("uint64(uint64)")
def _mixed(word: Any) -> Any:
    """Return the output function of SplitMix64."""
    word = (word ^ (word >> np.uint64(30))) * _MIX1
    word = (word ^ (word >> np.uint64(27))) * _MIX2
    return word ^ (word >> np.uint64(31))


@compiled("uint64(uint64, uint64)")
def trial_key(seed: Any, trial: Any) -> Any:
    """Return where the draws of a trial begin in the sequence that a seed chooses."""
    return _mixed(seed + _STEP) + (trial << np.uint64(24)) * _STEP


@compiled("float64(uint64, uint64)")
def uniform(key: Any, draw: Any) -> Any:
    """Return a draw of a trial between 0 and 1, both excluded; `draw` is below ``2**24``."""
    word = _mixed(key + (draw + np.uint64(1)) * _STEP)
    # With 52 of the 64 bits the half is not rounded away, which would give 1 now and then.
    return (np.float64(np.int64(word >> np.uint64(12))) + 0.5) * (1.0 / 4503599627370496.0)


@compiled("float64(uint64, uint64)")
def exponential(key: Any, draw: Any) -> Any:
    """Return a draw of a trial from the exponential distribution with mean 1, ``-log`` of `uniform`.

    The logarithm is ``e log 2 + 2 artanh((f - 1) / (f + 1))`` for a number ``f 2**e`` with f between the roots of 1/2
    and 2, by the series of artanh to its 21st power (relative error below 1e-15). Without branch or call, a loop of
    such draws runs on the vector unit, in a third of the time.
    """
    bits = np.float64(uniform(key, draw)).view(np.int64)
    exponent = ((bits + np.int64(0x00095F6199000000)) >> np.int64(52)) - np.int64(1023)
    fraction = np.int64(bits - (exponent << np.int64(52))).view(np.float64)
    s = (fraction - 1.0) / (fraction + 1.0)
    q = s * s
    series = 1 / 11 + q * (1 / 13 + q * (1 / 15 + q * (1 / 17 + q * (1 / 19 + q * (1 / 21)))))
    series = 1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * series)))
    return -(np.float64(exponent) * 0.6931471805599453 + 2.0 * (s + s * q * series))


@compiled("void(uint64, int64, float64[::1], float64[::1], float64[::1], float64[::1])")
def _draw_entries(key: Any, kind: Any, breaks: Any, rates: Any, enrolled: Any, entry: Any) -> None:
    """Fill the months of entry, ascending; `enrolled` holds the patients expected by each break of the rates."""
    n = entry.size
    if kind == EVEN:
        for i in range(n):
            entry[i] = i + 1.0
    else:
        for i in range(n):
            entry[i] = exponential(key, np.uint64(i * DRAWS_PER_PATIENT + ENTRY_DRAW))
        total = 0.0
        for i in range(n):
            total += entry[i]
            entry[i] = total
        if kind == UNIFORM:  # order statistics of uniform dates are partial sums of exponentials over their total
            total += exponential(key, np.uint64(n * DRAWS_PER_PATIENT + ENTRY_DRAW))
            for i in range(n):
                entry[i] *= n / total
    piece = 0
    for i in range(n):
        while piece + 1 < breaks.size and enrolled[piece + 1] < entry[i]:
            piece += 1
        entry[i] = breaks[piece] + (entry[i] - enrolled[piece]) / rates[piece]


@compiled("void(uint64, float64[::1], uint8[::1])")
def _draw_groups(key: Any, prevalence: Any, group: Any) -> None:
    """Fill the group of each patient."""
    for i in range(group.size):
        g = 0
        if prevalence.size > 1:
            u = uniform(key, np.uint64(i * DRAWS_PER_PATIENT + GROUP_DRAW))
            for h in range(prevalence.size - 1):
                g += u >= prevalence[h]
        group[i] = g


@compiled("void(uint64, float64, int64, int64, int64[:,::1], float64[::1], uint8[::1], uint8[::1])")
def _draw_arms(
    key: Any, share: Any, block: Any, experimental: Any, left: Any, chance: Any, group: Any, arm: Any
) -> None:
    """Fill the arm of each patient; see `draw_patients`. `chance` is filled with the draws."""
    for i in range(arm.size):
        chance[i] = uniform(key, np.uint64(i * DRAWS_PER_PATIENT + ARM_DRAW))
    if block == 0:
        for i in range(arm.size):
            arm[i] = chance[i] < share
        return
    if left.shape[0] == 1:  # what is left of the block stays in registers
        places, wanted = 0, 0
        for i in range(arm.size):
            if places == 0:
                places, wanted = block, experimental
            a = chance[i] * places < wanted
            places -= 1
            wanted -= a
            arm[i] = a
        return
    left[:] = 0
    for i in range(arm.size):
        g = group[i]
        if left[g, 0] == 0:
            left[g, 0], left[g, 1] = block, experimental
        a = chance[i] * left[g, 0] < left[g, 1]
        left[g, 0] -= 1
        left[g, 1] -= a
        arm[i] = a


@compiled(
    "void(uint64, float64[:,::1], float64[:,:,::1], float64[:,:,::1], float64[::1], uint8[::1], uint8[::1],"
    " float64[::1], uint8[::1])"
)
def _draw_times(
    key: Any, breaks: Any, hazards: Any, cumulative: Any, dropout: Any, group: Any, arm: Any, time: Any, event: Any
) -> None:
    """Fill months to event or dropout, and whether it is the event; see `draw_patients`."""
    for i in range(time.size):
        time[i] = exponential(key, np.uint64(i * DRAWS_PER_PATIENT + EVENT_DRAW))
        event[i] = 1
    for i in range(time.size):
        g, a, k = group[i], arm[i], 0
        while k + 1 < breaks.shape[1] and cumulative[g, a, k + 1] <= time[i]:
            k += 1
        h = hazards[g, a, k]
        time[i] = breaks[g, k] + (time[i] - cumulative[g, a, k]) / h if h > 0 else np.inf
    if dropout[0] > 0 or dropout[1] > 0:
        for i in range(time.size):
            # The hazard 0 of an arm without dropout makes this infinite.
            gone = exponential(key, np.uint64(i * DRAWS_PER_PATIENT + DROPOUT_DRAW)) / dropout[arm[i]]
            event[i] = time[i] <= gone
            time[i] = min(time[i], gone)


@compiled(
    "void(uint64, int64, float64[::1], float64[::1], float64[::1], float64[::1], float64[:,::1], float64[:,:,::1],"
    " float64[:,:,::1], float64[::1], float64, int64, int64, int64[:,::1], float64[::1], uint8[::1], uint8[::1],"
    " float64[::1], uint8[::1])"
)
def draw_patients(
    key: Any, kind: Any, accrual_breaks: Any, accrual_rates: Any, accrual_enrolled: Any, prevalence: Any, breaks: Any,
    hazards: Any, cumulative: Any, dropout: Any, share: Any, block: Any, experimental: Any, left: Any, entry: Any,
    group: Any, arm: Any, time: Any, event: Any,
) -> None:  # fmt: skip
    """Fill the patients of one trial in order of entry.

    Parameters
    ----------
    key
        What `trial_key` returned.
    kind
        `EVEN`, `POISSON` or `UNIFORM`.
    accrual_breaks, accrual_rates, accrual_enrolled
        Shape (pieces,): months at which the rates begin, patients a month, and patients expected by each break.
    prevalence
        Shape (groups,): cumulative prevalence of the mutually exclusive groups; the numbers of patients are random.
    breaks
        Shape (groups, pieces): months since entry at which the hazards begin, padded with infinity.
    hazards, cumulative
        Shape (groups, 2, pieces), control first: event hazard a month in each piece, and the cumulative hazard at its
        beginning (infinity where padded). A last piece of 0 leaves patients without an event for ever.
    dropout
        Shape (2,), control first: hazard of leaving a month.
    share
        Of the experimental arm, for simple allocation.
    block, experimental
        Patients in a permuted block within each group, and experimental ones among them; a block of 0 is simple
        allocation.
    left
        Shape (groups, 2), scratch.
    entry, group, arm, time, event
        Shape (n,), filled: month of entry, ascending; group; 1 for experimental; months from entry to event or
        dropout, infinity for neither; 1 for the event.
    """
    _draw_entries(key, kind, accrual_breaks, accrual_rates, accrual_enrolled, entry)
    _draw_groups(key, prevalence, group)
    _draw_arms(key, share, block, experimental, left, time, group, arm)
    _draw_times(key, breaks, hazards, cumulative, dropout, group, arm, time, event)

"""Random patients of simulated trials, compiled; import inside functions, since it imports numba.

Draw k of trial j is number ``j * 2**24 + k`` of one SplitMix64 sequence, so a trial is the same whichever worker makes
it, and no two trials of a simulation share a draw.

References
----------
Steele, G. L., Lea, D. and Flood, C. H. (2014). Fast splittable pseudorandom number generators. OOPSLA 2014, 453-472.
"""

# ruff: noqa: PLR0917 (compiled loops take plain arrays)

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trialml.survival.compile import compiled

__all__ = [
    "DRAWS_PER_PATIENT",
    "EVEN",
    "POISSON",
    "UNIFORM",
    "draw_patients",
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
    return (np.float64(np.int64(word >> np.uint64(11))) + 0.5) * (1.0 / 9007199254740992.0)


@compiled("void(uint64, int64, float64[::1], float64[::1], float64[::1], float64[::1])")
def _draw_entries(key: Any, kind: Any, breaks: Any, rates: Any, enrolled: Any, entry: Any) -> None:
    """Fill the months of entry, ascending; `enrolled` holds the patients expected by each break of the rates."""
    n = entry.size
    scale = 1.0
    if kind != EVEN:
        total = 0.0
        for i in range(n):
            total -= math.log(uniform(key, np.uint64(i * DRAWS_PER_PATIENT + ENTRY_DRAW)))
            entry[i] = total
        if kind == UNIFORM:  # order statistics of uniform dates are partial sums of exponentials over their total
            scale = n / (total - math.log(uniform(key, np.uint64(n * DRAWS_PER_PATIENT + ENTRY_DRAW))))
    piece = 0
    for i in range(n):
        place = i + 1.0 if kind == EVEN else entry[i] * scale
        while piece + 1 < breaks.size and enrolled[piece + 1] <= place:
            piece += 1
        entry[i] = breaks[piece] + (place - enrolled[piece]) / rates[piece]


@compiled(
    "void(uint64, float64[::1], float64[:,::1], float64[:,:,::1], float64[:,:,::1], float64[::1], float64, int64, int64,"
    " int64[:,::1], float64[::1], uint8[::1], uint8[::1], float64[::1], uint8[::1])"
)
def _draw_courses(
    key: Any, prevalence: Any, breaks: Any, hazards: Any, cumulative: Any, dropout: Any, share: Any, block: Any,
    experimental: Any, left: Any, entry: Any, group: Any, arm: Any, time: Any, event: Any,
) -> None:  # fmt: skip
    """Fill group, arm, months to event or dropout, and whether it is the event; see `draw_patients`."""
    groups, pieces = breaks.shape
    for g in range(groups):
        left[g, 0] = left[g, 1] = 0
    for i in range(entry.size):
        first = i * DRAWS_PER_PATIENT
        g = 0
        if groups > 1:
            u = uniform(key, np.uint64(first + GROUP_DRAW))
            while g + 1 < groups and u >= prevalence[g]:
                g += 1
        u = uniform(key, np.uint64(first + ARM_DRAW))
        if block > 0:
            if left[g, 0] == 0:
                left[g, 0], left[g, 1] = block, experimental
            a = 1 if u * left[g, 0] < left[g, 1] else 0
            left[g, 0] -= 1
            left[g, 1] -= a
        else:
            a = 1 if u < share else 0
        target = -math.log(uniform(key, np.uint64(first + EVENT_DRAW)))
        k = 0
        while k + 1 < pieces and cumulative[g, a, k + 1] <= target:
            k += 1
        h = hazards[g, a, k]
        months = breaks[g, k] + (target - cumulative[g, a, k]) / h if h > 0 else np.inf
        happened = 1
        if dropout[a] > 0:
            gone = -math.log(uniform(key, np.uint64(first + DROPOUT_DRAW))) / dropout[a]
            if gone < months:
                months, happened = gone, 0
        group[i], arm[i], time[i], event[i] = g, a, months, happened


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
    _draw_courses(
        key, prevalence, breaks, hazards, cumulative, dropout, share, block, experimental, left, entry, group, arm,
        time, event,
    )  # fmt: skip

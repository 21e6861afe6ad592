"""What a two-stage enrichment trial decides at each stage, compiled: selection, stops and the closed test.

Import inside functions, since it imports numba. Trials simulated on patients and on test statistics share these.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trialml.design.intersection_tests import intersection_z, upper_tail
from trialml.survival.compile import compiled

__all__ = ["COLUMNS", "RULES", "decide_at_end", "decide_at_interim"]

ALL, BEST, EPSILON, THRESHOLD, CONDITIONAL_POWER = range(5)

RULES = {
    "all": ALL,
    "best": BEST,
    "epsilon": EPSILON,
    "threshold": THRESHOLD,
    "conditional-power": CONDITIONAL_POWER,
}
"""Codes of the rules of selection by name."""

COLUMNS = (
    "z1_subgroup", "z1_full", "z2_subgroup", "z2_full", "selected", "rejected_interim", "rejected", "stop",
    "interim_month", "end_month", "interim_events_subgroup", "interim_events_rest", "events_subgroup", "events_rest",
    "patients_subgroup", "patients_rest", "z1_both", "bits",
)  # fmt: skip
"""Columns of a simulated trial. `selected` and `rejected` are 1 for the subgroup plus 2 for the full population;
`stop` is 0 for two stages, 1 for success and 2 for futility at the interim analysis; `bits` are the hypotheses that
were rejected at it, 4 for the intersection."""

SUBGROUP, FULL, BOTH = 1, 2, 3


@compiled("int64(int64, int64)")
def _populations(bits: Any, tested: Any) -> Any:
    """Return the populations that the closure principle rejects."""
    if tested != BOTH:
        return bits & tested
    return bits & BOTH if bits & 4 else 0


@compiled("float64(float64, float64, float64, float64[::1])")
def _conditional_power(z: Any, information: Any, to_come: Any, numbers: Any) -> Any:
    """Return the probability of reaching the final bound under the effect seen so far, for one hypothesis alone."""
    if information <= 0.0:
        return 0.0
    needed = (numbers[1] - numbers[2] * z) / numbers[3]
    return upper_tail(needed - z / math.sqrt(information) * math.sqrt(to_come))


@compiled("int64(int64, int64, float64, float64, float64, float64, float64[::1])")
def _selected(rule: Any, tested: Any, z_s: Any, z_f: Any, v_s: Any, v_f: Any, numbers: Any) -> Any:
    """Return the populations that go on."""
    if rule == ALL or tested != BOTH:
        return tested
    if rule == CONDITIONAL_POWER:
        if _conditional_power(z_f, v_f, numbers[4], numbers) >= numbers[9]:
            return BOTH
        return SUBGROUP if _conditional_power(z_s, v_s, numbers[5], numbers) >= numbers[10] else 0
    benefit_s = math.exp(z_s / math.sqrt(v_s)) if v_s > 0.0 else 1.0
    benefit_f = math.exp(z_f / math.sqrt(v_f)) if v_f > 0.0 else 1.0
    if rule == BEST:
        return SUBGROUP if benefit_s >= benefit_f else FULL
    if rule == EPSILON:
        least = max(benefit_s, benefit_f) - numbers[6]
        return (SUBGROUP if benefit_s >= least else 0) | (FULL if benefit_f >= least else 0)
    return (SUBGROUP if benefit_s > 1.0 / numbers[7] else 0) | (FULL if benefit_f > 1.0 / numbers[8] else 0)


@compiled("void(int64[::1], float64[::1], float64, float64, float64, float64, float64[::1])")
def decide_at_interim(codes: Any, numbers: Any, z_s: Any, z_f: Any, v_s: Any, v_f: Any, row: Any) -> None:
    """Fill what the interim analysis rejects, selects and stops.

    Parameters
    ----------
    codes
        Rule, test of the intersection, tested populations, 1 where success means that all tested populations are
        rejected (0: any), 1 where stages are made of patients rather than of increments.
    numbers
        Bounds of the two looks, weights of the two stages, information planned for the second stage if all comers go
        on and if the subgroup alone does, epsilon, hazard ratios below which subgroup and full population go on,
        the conditional powers that keep all comers and the subgroup, and the subgroup's prevalence.
    z_s, z_f, v_s, v_f
        z and information of subgroup and full population.
    row
        Of a simulated trial, filled by `COLUMNS`.
    """
    tested = codes[2]
    row[0], row[1] = z_s, z_f
    both = intersection_z(codes[1], z_s, z_f, math.sqrt(min(v_s / v_f, 1.0)) if v_f > 0.0 else 0.0)
    bits = 0
    if codes[4] == 0:
        bits = (4 if both >= numbers[0] else 0) | (1 if z_s >= numbers[0] else 0) | (2 if z_f >= numbers[0] else 0)
    rejected = _populations(bits, tested)
    success = rejected == tested if codes[3] == 1 else rejected != 0
    selected = _selected(codes[0], tested, z_s, z_f, v_s, v_f, numbers)
    row[2] = row[3] = np.nan
    row[4], row[5], row[6] = selected, rejected, rejected
    row[7] = 1.0 if success else 2.0 if selected == 0 else 0.0
    row[16], row[17] = both, bits


@compiled("void(int64[::1], float64[::1], float64, float64, float64, float64[::1])")
def decide_at_end(codes: Any, numbers: Any, z_s: Any, z_f: Any, share: Any, row: Any) -> None:
    """Fill what the final analysis rejects: each hypothesis by its combined z, a rejection at the interim kept.

    Parameters
    ----------
    codes, numbers, row
        As `decide_at_interim` takes and left them.
    z_s, z_f
        z of the second stage; only those of selected populations are used.
    share
        The subgroup's share of the second stage's information.
    """
    selected = int(row[4])
    second_s = z_s if selected & SUBGROUP else np.nan
    second_f = z_f if selected & FULL else np.nan
    row[2], row[3] = second_s, second_f
    both = intersection_z(codes[1], second_s, second_f, math.sqrt(share))
    w1, w2, bound = numbers[2], numbers[3], numbers[1]
    bits = int(row[17])
    bits |= 4 if w1 * row[16] + w2 * both >= bound else 0
    bits |= 1 if w1 * row[0] + w2 * second_s >= bound else 0
    bits |= 2 if w1 * row[1] + w2 * second_f >= bound else 0
    row[6] = int(row[5]) | (_populations(bits, codes[2]) & selected)

"""What a scenario says of a trial's patients, as the arrays that the compiled loops take; and one trial's patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.design.refusals import require_finite, require_positive
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError, nearest

__all__ = ["ENTRIES", "Entry", "Patients", "TrialPlan", "plan_of", "trial_plan"]

Vector = NDArray[np.float64]
Entry = Literal["poisson", "uniform", "even"]
ENTRIES: tuple[str, ...] = ("poisson", "uniform", "even")

MOST_PATIENTS = 1_000_000
"""A trial has 2**24 random numbers of its own, and a patient takes up to eight."""


class Patients(NamedTuple):
    """The patients of one simulated trial in order of entry, each of shape (patients,).

    Attributes
    ----------
    entry
        Calendar month of entry.
    group
        Position of the patient's group among the scenario's.
    arm
        1 for experimental.
    time
        Months from entry to the event or to dropout, infinity for neither.
    event
        1 for the event.
    """

    entry: Vector
    group: NDArray[np.uint8]
    arm: NDArray[np.uint8]
    time: Vector
    event: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TrialPlan:
    """How the patients of a simulated trial come about; made by `trial_plan` or `plan_of`.

    Attributes
    ----------
    patients
        How many.
    entry
        ``"poisson"``, ``"uniform"`` or ``"even"``.
    accrual_breaks, accrual_rates, accrual_enrolled
        Shape (pieces,): months at which the rates begin, patients a month, patients expected by each break.
    prevalence
        Shape (groups,): cumulative prevalence of the groups.
    breaks
        Shape (groups, pieces): months at which the hazards begin, padded with infinity.
    hazards, cumulative
        Shape (groups, 2, pieces), control first: hazard in each piece, and the cumulative hazard where it begins.
    dropout
        Shape (2,), control first.
    share, block, experimental
        Experimental share, and the permuted block with its experimental patients; a block of 0 is simple allocation.
    """

    patients: int
    entry: Entry
    accrual_breaks: Vector
    accrual_rates: Vector
    accrual_enrolled: Vector
    prevalence: Vector
    breaks: Vector
    hazards: Vector
    cumulative: Vector
    dropout: Vector
    share: float
    block: int
    experimental: int

    @property
    def groups(self) -> int:
        """The number of mutually exclusive groups of patients."""
        return self.prevalence.size

    def arguments(self) -> tuple[Any, ...]:
        """Return what `draw_patients` and `run_trials` take after the key, up to the experimental ones of a block."""
        from trialml.design.patient_draws import EVEN, POISSON, UNIFORM

        kind = {"poisson": POISSON, "uniform": UNIFORM, "even": EVEN}[self.entry]
        return (
            kind, self.accrual_breaks, self.accrual_rates, self.accrual_enrolled, self.prevalence, self.breaks,
            self.hazards, self.cumulative, self.dropout, self.share, self.block, self.experimental,
        )  # fmt: skip

    def draw(self, seed: int, trial: int = 0) -> Patients:
        """Return the patients of one trial of a simulation, those that `simulate` has under this seed and number."""
        from trialml.design.patient_draws import draw_patients, trial_key

        n = self.patients
        drawn = Patients(
            np.empty(n), np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n), np.empty(n, np.uint8)
        )  # fmt: skip
        key = trial_key(np.uint64(seed), np.uint64(trial))
        draw_patients(key, *self.arguments(), np.empty((self.groups, 2), np.int64), *drawn)
        return drawn

    def typical_time(self) -> float:
        """Return about the median time to event or dropout, which the sort by time is tuned to."""
        total = float(np.mean(self.hazards[:, :, 0])) + float(self.dropout.mean())
        return math.log(2) / total if total > 0 else 12.0


def plan_of(
    patients: float,
    *,
    accrual: tuple[ArrayLike, ArrayLike],
    groups: Sequence[tuple[float, ArrayLike, ArrayLike, ArrayLike]],
    dropout: tuple[float, float] = (0.0, 0.0),
    allocation_ratio: float = 1.0,
    block: int | None = None,
    entry: Entry = "poisson",
) -> TrialPlan:
    """Return the arrays for patients that are given piece by piece.

    Parameters
    ----------
    patients
        How many; a whole number.
    accrual
        Months at which the pieces of accrual begin (the first one 0), and patients a month in each; the last rate
        goes on.
    groups
        For each group of patients its prevalence, months since entry at which the pieces of its hazards begin, and
        the hazards a month under control and under the experimental treatment; a last hazard of 0 is a cured share.
    dropout
        Hazard of leaving a month, control first.
    allocation_ratio
        Experimental to control.
    block
        Patients in a permuted block within each group; None for twice the smallest that the ratio fits, 0 for simple
        allocation.
    entry
        ``"poisson"``: patients come by a Poisson process, so the end of recruitment is random; ``"uniform"``: at
        uniform dates of the planned accrual; ``"even"``: evenly spaced.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the block does not fit the allocation.
    """
    if entry not in ENTRIES:
        raise AnalysisError(f"entry is {entry!r}, which is not known: {nearest(str(entry), ENTRIES)}")
    size = require_positive("patients", patients)
    if not 2 <= round(size) <= MOST_PATIENTS:
        raise AnalysisError(f"a simulated trial has {size:,.0f} patients: give 2 to {MOST_PATIENTS:,}")
    ratio = require_positive("allocation_ratio (experimental to control)", allocation_ratio)
    if not 1 <= len(groups) <= 255:
        raise AnalysisError(f"there are {len(groups)} groups of patients: give 1 to 255")
    places, experimental = _block(ratio, block)
    prevalence = np.array([require_positive("a prevalence", group[0]) for group in groups])
    if abs(prevalence.sum() - 1) > 1e-6:
        raise AnalysisError(f"the prevalences of the groups add up to {prevalence.sum():g}: make them add up to 1")
    starts, rates = (np.array(part, dtype=float, ndmin=1) for part in accrual)
    pieces = max(np.size(group[1]) for group in groups)
    breaks = np.full((len(groups), pieces), np.inf)
    hazards, cumulative = np.zeros((len(groups), 2, pieces)), np.full((len(groups), 2, pieces), np.inf)
    for g, (_, begin, *by_arm) in enumerate(groups):
        months = np.array(begin, dtype=float, ndmin=1)
        breaks[g, : months.size] = months
        for a, values in enumerate(by_arm):
            hazards[g, a, : months.size] = values
            area = np.cumsum(hazards[g, a, : months.size - 1] * np.diff(months))
            cumulative[g, a, : months.size] = np.concatenate(([0.0], area))
    return TrialPlan(
        patients=round(size), entry=entry, accrual_breaks=starts, accrual_rates=rates,
        accrual_enrolled=np.concatenate(([0.0], np.cumsum(rates[:-1] * np.diff(starts)))),
        prevalence=np.cumsum(prevalence), breaks=breaks, hazards=hazards, cumulative=cumulative,
        dropout=np.array(dropout, dtype=float), share=ratio / (1 + ratio), block=places, experimental=experimental,
    )  # fmt: skip


def _block(ratio: float, block: int | None) -> tuple[int, int]:
    """Return the patients in a permuted block and the experimental ones among them."""
    whole = Fraction(ratio).limit_denominator(50)
    smallest = whole.numerator + whole.denominator
    size = 2 * smallest if block is None else int(require_finite("block", block))
    if size == 0:
        return 0, 0
    if size < 0 or size % smallest or abs(float(whole) - ratio) > 1e-6:
        raise AnalysisError(
            f"block is {size}, which does not fit an allocation of {ratio:g}:1: give a multiple of {smallest}, or 0 "
            "for simple allocation"
        )
    return size, size * whole.numerator // smallest


def trial_plan(
    scenario: Scenario, *, patients: float | None = None, block: int | None = None, entry: Entry = "poisson"
) -> TrialPlan:
    """Return the arrays for the patients of a scenario.

    Parameters
    ----------
    scenario
        The assumed truth.
    patients
        Number of patients, where the scenario does not say it.
    block, entry
        As in `plan_of`.

    Raises
    ------
    AnalysisError
        If the number of patients is not known, or the block does not fit the allocation.
    """
    return plan_of(
        scenario.size(patients),
        accrual=scenario.accrual_pieces(),
        groups=scenario.hazard_pieces(),
        dropout=scenario.dropout_hazards(),
        allocation_ratio=scenario.allocation_ratio,
        block=block,
        entry=entry,
    )

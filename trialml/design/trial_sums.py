"""Many simulated trials of one plan, part by part on any number of workers, and the sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trialml.design.trial_plan import TrialPlan
from trialml.validation.parallel import in_order, on_a_cluster

__all__ = [
    "PART",
    "LookRules",
    "Looks",
    "Tally",
    "Timing",
    "in_parts",
    "parts_of",
    "run_logrank",
    "run_plan",
    "tally_of",
]

Vector = NDArray[np.float64]
Sums = TypeVar("Sums")
Timing = Literal["events", "months", "events-and-months"]

PART = 1000
"""Trials that a worker simulates in a go; the sums of the parts are added in order, whoever made them."""

OUTCOMES = (1, -1, -2)
"""Stopped for efficacy, for harm (the lower bound of a two-sided design), for futility."""


class LookRules(NamedTuple):
    """When a trial is looked at, and at which z it stops; arrays of shape (looks,).

    Attributes
    ----------
    targets
        Events at each look.
    months
        Calendar month of each look, where the timing has one.
    timing
        ``"events"``, ``"months"`` or ``"events-and-months"`` (the later of the two).
    upper, lower, futility
        A trial stops where z, positive in favour of the experimental arm, is at least `upper`, at most `lower` (harm)
        or below `futility`; infinite where there is no such bound.
    stratified
        Whether the test is stratified by the groups of patients.
    horizon
        A calendar month by which practically all trials are over; it bears on the speed alone.
    """

    targets: NDArray[np.int64]
    months: Vector
    timing: Timing
    upper: Vector
    lower: Vector
    futility: Vector
    stratified: bool
    horizon: float

    @property
    def looks(self) -> int:
        """The number of looks."""
        return self.targets.size

    def strata(self, plan: TrialPlan) -> int:
        """Return the number of strata of the test."""
        return plan.groups if self.stratified else 1


class Looks(NamedTuple):
    """Some trials at each look up to the one that stops; shape (trials, looks), anything at later looks.

    Attributes
    ----------
    z, log_hazard_ratio
        The test, positive in favour of the experimental arm, and Peto's estimate ``(O - E) / V``.
    months, events, enrolled
        Calendar month, events and patients at the look.
    decision
        0 for going on, 1 for efficacy, -1 for harm, -2 for futility.
    """

    z: Vector
    log_hazard_ratio: Vector
    months: Vector
    events: NDArray[np.int64]
    enrolled: NDArray[np.int64]
    decision: NDArray[np.int8]


class Tally(NamedTuple):
    """Sums over trials; what is said of a look is over the trials that reached it.

    Attributes
    ----------
    trials
        How many.
    reached, short
        Shape (looks,): trials that came to a look, and those of them that had fewer events than planned.
    stopped
        Shape (looks, 3): trials that a look stopped for efficacy, for harm and for futility.
    sums, squares
        Shape (looks, 5): of z, log hazard ratio, months, events and patients enrolled, and of their squares.
    final_sums, final_squares
        Shape (5,): the same at the look that ended each trial.
    """

    trials: int
    reached: Vector
    short: Vector
    stopped: Vector
    sums: Vector
    squares: Vector
    final_sums: Vector
    final_squares: Vector


def parts_of(trials: int) -> int:
    """Return how many times `run_plan` tells its progress."""
    return -(-trials // PART)


def tally_of(looks: Looks, targets: NDArray[np.int64]) -> Tally:
    """Return the sums over some trials; `targets` are the planned events, 0 where there is no such plan."""
    stops = looks.decision != 0
    trials, count = stops.shape
    before = np.cumsum(stops, axis=1) - stops
    reached = before == 0
    last = np.minimum(np.argmax(stops | (np.arange(count) == count - 1), axis=1), count - 1)
    values = np.stack([np.asarray(value, dtype=float) for value in looks[:5]], axis=2)
    values[~reached] = 0.0
    final = values[np.arange(trials), last]
    return Tally(
        trials,
        reached.sum(axis=0).astype(float),
        (reached & (looks.events < targets)).sum(axis=0).astype(float),
        np.stack([(reached & (looks.decision == code)).sum(axis=0) for code in OUTCOMES], axis=1).astype(float),
        values.sum(axis=0),
        (values**2).sum(axis=0),
        final.sum(axis=0),
        (final**2).sum(axis=0),
    )


def run_logrank(plan: TrialPlan, rules: LookRules, seed: int, first: int, trials: int) -> Looks:
    """Simulate trials `first` to `first` + `trials` - 1 with the log-rank test, in compiled loops."""
    from trialml.design.trial_loop import EVENTS, EVENTS_AND_MONTHS, MONTHS, run_trials

    n, looks = plan.patients, rules.looks
    rule = {"events": EVENTS, "months": MONTHS, "events-and-months": EVENTS_AND_MONTHS}[rules.timing]
    scratch = (
        np.zeros((8, n + 1)), np.zeros(n + 1, np.int64), np.zeros((7, n + 1), np.uint8), np.zeros(n, np.uint32),
        np.zeros(n, np.uint32), np.zeros((plan.groups, 2), np.int64),
        np.zeros((3, rules.strata(plan) + 1), np.int64), np.zeros(n + 1, np.int64), np.zeros(looks), np.zeros(2),
    )  # fmt: skip
    distance, variance, months = (np.ones((trials, looks)) for _ in range(3))
    events, enrolled = (np.zeros((trials, looks), np.int64) for _ in range(2))
    decision = np.zeros((trials, looks), np.int8)
    run_trials(
        np.uint64(seed), first, *plan.arguments(), rules.targets, rules.months, rule, rules.upper, rules.lower,
        rules.futility, rules.horizon, plan.typical_time(), *scratch, distance, variance, months, events, enrolled,
        decision,
    )  # fmt: skip
    informed = np.where(variance > 0, variance, np.inf)
    return Looks(-distance / np.sqrt(informed), distance / informed, months, events, enrolled, decision)


def in_parts(
    part: Callable[[int], Sums], trials: int, *, workers: int, progress: Callable[[], None] | None = None
) -> list[Sums]:
    """Return what `part` makes of each `PART` trials, given the first of them, in order whoever made them.

    `progress` is called after each part, on the thread of the caller. Within `on_cluster` the cluster's workers make them.
    """
    firsts = range(0, trials, PART)
    found: list[Sums] = []

    def keep(parts: Iterable[Sums]) -> None:
        for one in parts:
            found.append(one)
            if progress is not None:
                progress()

    if on_a_cluster() and len(firsts) > 1:
        keep(in_order(part, firsts))
    elif workers == 1 or len(firsts) == 1:
        keep(map(part, firsts))
    else:
        with ThreadPoolExecutor(workers) as pool:
            keep(pool.map(part, firsts))
    return found


def run_plan(
    plan: TrialPlan,
    rules: LookRules,
    *,
    trials: int,
    seed: int,
    workers: int = 1,
    progress: Callable[[], None] | None = None,
    run: Callable[[TrialPlan, LookRules, int, int, int], Looks] = run_logrank,
) -> Tally:
    """Simulate trials and return the sums over them, which do not depend on the number of workers.

    Parameters
    ----------
    plan, rules
        How patients come about, and when the trial is looked at.
    trials, seed
        How many, and what chooses their random numbers.
    workers
        Threads; the compiled loops run beside each other.
    progress
        Called after every `PART` trials.
    run
        What simulates a part: of `plan`, `rules`, the seed, the first trial and how many.
    """
    targets = rules.targets if rules.timing != "months" else np.zeros_like(rules.targets)

    def part(first: int) -> Tally:
        return tally_of(run(plan, rules, seed, first, min(PART, trials - first)), targets)

    tallies = in_parts(part, trials, workers=workers, progress=progress)
    return Tally(*(sum(column) for column in zip(*tallies, strict=True)))

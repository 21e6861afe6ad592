"""Simulation of a design under a scenario, patient by patient."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from trialml.data.tolerance import TIE_TOLERANCE
from trialml.design.group_sequential import Design
from trialml.design.look_tests import TestName, look_test
from trialml.design.refusals import require_finite, require_positive
from trialml.design.sample_size import round_up, survival_events
from trialml.design.scenario import Scenario
from trialml.design.simulated import SimulatedTrials, simulated_trials
from trialml.design.trial_plan import Entry, TrialPlan, trial_plan
from trialml.design.trial_sums import LookRules, Timing, run_plan
from trialml.errors import AnalysisError, nearest

__all__ = ["simulate", "simulate_one_trial"]

TIMINGS: tuple[Timing, ...] = ("events", "months", "events-and-months")


def simulate(
    design: Design,
    scenario: Scenario,
    trials: int = 10_000,
    seed: int = 1,
    *,
    events: float | None = None,
    patients: float | None = None,
    timing: Timing = "events",
    look_months: Sequence[float] = (),
    test: TestName = "logrank",
    weightings: Sequence[tuple[float, float]] = (),
    tau_months: float | None = None,
    stratified: bool = True,
    follow_futility: bool = True,
    entry: Entry = "poisson",
    block: int | None = None,
    workers: int | None = None,
    progress: Callable[[], None] | None = None,
) -> SimulatedTrials:
    """Simulate trials of a design under a scenario.

    Patients enter one by one, are allocated in permuted blocks within their group, and have an event, drop out or are
    cut off. At each look the statistic z, positive in favour of the experimental arm, is compared with the design's
    bounds, and the trial ends where one is crossed. The bounds are those of the planned events; they are not computed
    again from the events that a look at a calendar month happens to have.

    Parameters
    ----------
    design
        The rules.
    scenario
        The assumed truth; no effect and effects that change over time are allowed.
    trials, seed
        How many trials, and what chooses their random numbers. Trial k of a seed is always the same.
    events
        Planned events at the final look; None for those that the design needs by Schoenfeld's formula under the
        scenario's hazard ratio. Looks take place at the fractions of them, rounded up.
    patients
        Number of patients, where the scenario does not say it.
    timing
        When a look takes place: at its ``"events"``; at calendar ``"months"``; or at ``"events-and-months"``, whichever
        is later. Where the patients have fewer events than planned, the look is at their last event.
    look_months
        Calendar month of each look, where the timing has one.
    test
        ``"logrank"``, in compiled loops; or, a trial at a time and slower, ``"fleming-harrington"``, ``"maxcombo"`` (its joint
        one-sided p against the bound's nominal one) or ``"rmst"``. Bounds of a design with several looks assume
        increments as those of the log-rank test; how far that holds for another test is what the simulation shows.
    weightings
        Fleming and Harrington's pairs of rho and gamma: one for ``"fleming-harrington"``, several for ``"maxcombo"``.
    tau_months
        Up to when ``"rmst"`` takes restricted means; a look at which an arm's follow-up is shorter never stops.
    stratified
        Whether the test is stratified by the groups of patients, where the scenario has several; restricted means
        never are.
    follow_futility
        False goes on where a futility bound is crossed, which is what a non-binding bound must allow for.
    entry
        ``"poisson"``: patients come by a Poisson process; ``"uniform"``: at uniform dates of the planned accrual;
        ``"even"``: evenly spaced, as in rpact.
    block
        Patients in a permuted block; None for twice the smallest that the allocation fits, 0 for simple allocation.
    workers
        Threads; None for one a processor. The result does not depend on it.
    progress
        Called after every `trial_sums.PART` trials.

    Returns
    -------
    SimulatedTrials
        One row a look, and the totals, each with its Monte Carlo error.

    Raises
    ------
    AnalysisError
        If a number is outside its range, design and scenario have different allocation ratios, or the patients can
        never give the events; the sentence says how many they can give.
    """
    count = _whole("trials", trials, 1, 2**40)
    start = _whole("seed", seed, 0, 2**63)
    if design.allocation_ratio != scenario.allocation_ratio:
        raise AnalysisError(
            f"the design allocates {design.allocation_ratio:g}:1 and scenario '{scenario.name}' "
            f"{scenario.allocation_ratio:g}:1: give both the same allocation_ratio"
        )
    plan = trial_plan(scenario, patients=patients, block=block, entry=entry)
    compared = look_test(test, weightings, tau_months)
    if test == "maxcombo" and design.sides == 2:
        raise AnalysisError("test 'maxcombo' is one-sided here, but the design has two sides: give sides=1")
    within = stratified and test != "rmst"
    rules = _look_rules(design, scenario, plan, events, timing, look_months, within, follow_futility)
    threads = (os.cpu_count() or 1) if workers is None else _whole("workers", workers, 1, 1025)
    if test != "logrank":
        threads = 1  # those tests run in the interpreter, which works on one thread at a time
    tally = run_plan(
        plan, rules, trials=count, seed=start, workers=threads, progress=progress, run=compared.run
    )  # fmt: skip
    return simulated_trials(design, scenario, plan, rules, tally, start, compared.words)


def _whole(name: str, value: float, low: int, high: int) -> int:
    number = require_finite(name, value)
    if number != int(number) or not low <= number < high:
        raise AnalysisError(f"{name} is {number:g}: give a whole number from {low} to {high - 1:,}")
    return int(number)


def _look_rules(
    design: Design,
    scenario: Scenario,
    plan: TrialPlan,
    events: float | None,
    timing: Timing,
    look_months: Sequence[float],
    stratified: bool,
    follow_futility: bool,
) -> LookRules:
    if timing not in TIMINGS:
        raise AnalysisError(f"timing is {timing!r}, which is not known: {nearest(str(timing), TIMINGS)}")
    months = _months(design, timing, look_months)
    targets, horizon = np.zeros(design.looks, np.int64), 0.0
    if timing != "months":
        final = _final_events(design, scenario, events)
        targets = np.array([round_up(t * final) for t in design.information_fractions], np.int64)
        horizon = scenario.months_to_events(final, plan.patients)
    upper = np.array(design.critical_values)
    none = np.full(design.looks, -np.inf)
    # The last futility bound is the efficacy bound, or none: the final look ends the trial anyway.
    futility = np.array([*design.futility_values[:-1], -np.inf]) if follow_futility else none
    lower = -upper if design.sides == 2 else none
    return LookRules(
        targets, months, timing, upper, lower, futility, stratified and plan.groups > 1,
        1.25 * max(horizon, float(months[-1]), 1.0),
    )  # fmt: skip


def _months(
    design: Design, timing: Timing, look_months: Sequence[float]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if timing == "events":
        if len(look_months):
            raise AnalysisError("look_months is given, but the looks are timed by events: leave it out or say timing")
        return np.zeros(design.looks)
    months = [require_positive("a look's calendar month", month) for month in look_months]
    if len(months) != design.looks or any(a >= b for a, b in itertools.pairwise(months)):
        shown = ", ".join(f"{month:g}" for month in months) or "nothing"
        raise AnalysisError(
            f"look_months holds {shown}, but the design has {design.looks} looks: give one calendar month for each, "
            "in rising order"
        )
    return np.array(months)


def _final_events(design: Design, scenario: Scenario, events: float | None) -> float:
    if events is not None:
        return round_up(require_positive("events", events))
    ratio = scenario.hazard_ratio
    if ratio is None or ratio >= 1:
        raise AnalysisError(
            f"scenario '{scenario.name}' has no hazard ratio below 1 that would say how many events the design needs: "
            "give events"
        )
    needed = survival_events(ratio, alpha=design.alpha, power=design.power, allocation_ratio=design.allocation_ratio)
    return round_up(design.inflation_factor * needed)


def simulate_one_trial(
    scenario: Scenario,
    seed: int = 1,
    trial: int = 0,
    *,
    events: int | None = None,
    months: float | None = None,
    patients: float | None = None,
    entry: Entry = "poisson",
    block: int | None = None,
) -> pd.DataFrame:
    """Return the patients of one simulated trial, as they stand at a cut of the data: synthetic trial data.

    Parameters
    ----------
    scenario
        The assumed truth.
    seed, trial
        Those of `simulate`, counted from 0, give the very patients that it had.
    events, months
        The data are cut at this number of events or at this calendar month; with neither, everybody is followed to
        event or dropout.
    patients, entry, block
        As in `simulate`.

    Returns
    -------
    DataFrame
        One row a patient who had entered by the cut, in order of entry: ``group`` (its name; ``all`` where the scenario
        has none), ``arm`` (control or experimental), ``entry_months`` (calendar), ``time_months`` (since entry) and
        ``event``.

    Raises
    ------
    AnalysisError
        If both cuts are given, a number is outside its range, or the trial has fewer events than asked for.
    """
    if events is not None and months is not None:
        raise AnalysisError("events and months are both given, but the data are cut once: give one of the two")
    drawn = trial_plan(scenario, patients=patients, block=block, entry=entry).draw(
        _whole("seed", seed, 0, 2**63), _whole("trial", trial, 0, 2**40)
    )
    ends = drawn.entry + drawn.time
    cut = math.inf if months is None else require_positive("months", months)
    if events is not None:
        happened = np.sort(ends[(drawn.event == 1) & np.isfinite(ends)])
        wanted = _whole("events", events, 1, 2**31)
        if wanted > happened.size:
            raise AnalysisError(
                f"trial {trial} of scenario '{scenario.name}' has {happened.size} events, but {wanted} are asked for: "
                "ask for fewer or give more patients"
            )
        cut = float(happened[wanted - 1])
    # Whoever enters at the cut itself has no follow-up.
    inside = drawn.entry < cut * (1 - TIE_TOLERANCE)
    names = np.array([group.name for group in scenario.groups] or ["all"])
    frame = pd.DataFrame(
        {
            "group": names[drawn.group],
            "arm": np.where(drawn.arm == 1, "experimental", "control"),
            "entry_months": drawn.entry,
            "time_months": np.where(ends <= cut, drawn.time, cut - drawn.entry),
            "event": (drawn.event == 1) & (ends <= cut) & np.isfinite(ends),
        }
    )
    return frame[inside].reset_index(drop=True)

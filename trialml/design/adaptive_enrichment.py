"""Two-stage enrichment trials, simulated on patients or on test statistics: what they reject, select and cost."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.enrichment_characteristics import EnrichmentCharacteristics, characteristics_of, sums_of
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.design.sample_size import information_per_event
from trialml.design.scenario import Scenario
from trialml.design.trial_plan import TrialPlan, trial_plan
from trialml.design.trial_sums import PART, in_parts
from trialml.errors import AnalysisError, nearest

__all__ = [
    "simulate_enrichment",
    "simulate_enrichment_statistics",
    "simulated_enrichment_rows",
]

Vector = NDArray[np.float64]

_SLICES = 512


class _Setting(NamedTuple):
    design: EnrichmentDesign
    plan: TrialPlan
    member: NDArray[np.uint8]
    codes: NDArray[np.int64]
    numbers: Vector
    targets: NDArray[np.int64]
    most: int
    seed: int


def simulate_enrichment(
    design: EnrichmentDesign,
    truth: Scenario | TrialPlan,
    trials: int = 10_000,
    seed: int = 1,
    *,
    subgroup: Sequence[int | str] = (0,),
    patients: float | None = None,
    workers: int | None = None,
    progress: Callable[[], None] | None = None,
) -> EnrichmentCharacteristics:
    """Simulate an enrichment design on patients.

    Patients come from one stream of all comers whose groups are drawn at random, so that the populations have random
    sizes. Once the subgroup alone goes on, only its patients are enrolled from that stream, until the planned number is
    in. The interim analysis takes place at `interim_events`, the final one when the population that went on has had the
    further events, or its last one. A second stage without any event counts as z = 0. The full
    population's test is stratified by the subgroup; finer groups of the truth are not strata.

    Parameters
    ----------
    design
        The rules.
    truth
        The assumed truth: a scenario with groups of patients, or the plan of a trial's patients (`plan_of`). Entry is
        ``"poisson"`` or ``"even"``.
    trials, seed
        How many trials, and what chooses their random numbers. Trial k of a seed is always the same.
    subgroup
        The groups that make up the subgroup: their names in the scenario, or their positions.
    patients
        Number of patients, where the scenario does not say it.
    workers
        Threads; None for one a processor. The result does not depend on it.
    progress
        Called after every 1,000 trials.

    Returns
    -------
    EnrichmentCharacteristics
        Rejections, selections, events, patients and duration with their Monte Carlo errors.

    Raises
    ------
    AnalysisError
        If a number is outside its range, the subgroup is empty or everyone, or the patients cannot give the events.
    """
    count = _whole("trials", trials, 1)
    plan = truth if isinstance(truth, TrialPlan) else trial_plan(truth, patients=patients)
    names = [] if isinstance(truth, TrialPlan) else [group.name for group in truth.groups]
    setting = _setting(design, plan, [_place(one, names) for one in subgroup], seed)
    pilot = _run(setting, 0, min(count, 200), 1e3)
    _refuse_too_few_events(design, pilot)
    horizon = 1.3 * float(np.nanmax(pilot[:, 9])) + 1.0

    def part(first: int) -> tuple[Vector, Vector]:
        return _summed(_run(setting, first, min(PART, count - first), horizon), setting)

    sums = in_parts(part, count, workers=workers or os.cpu_count() or 1, progress=progress)
    name = "patients given piece by piece" if isinstance(truth, TrialPlan) else f"scenario '{truth.name}'"
    return characteristics_of(design, name, count, setting.seed, sums, patientwise=True)


def simulated_enrichment_rows(
    design: EnrichmentDesign,
    plan: TrialPlan,
    trials: int,
    seed: int = 1,
    *,
    subgroup: Sequence[int] = (0,),
    first: int = 0,
) -> pd.DataFrame:
    """Return simulated trials one by one: stage-wise z, what was selected and rejected, months, events and patients.

    Parameters
    ----------
    design, plan, seed, subgroup
        As in `simulate_enrichment`, which has the same trials.
    trials, first
        How many, from which number on.

    Returns
    -------
    DataFrame
        One row a trial; the columns are `enrichment_rules.COLUMNS`.
    """
    from trialml.design.enrichment_rules import COLUMNS

    rows = _run(_setting(design, plan, subgroup, seed), first, _whole("trials", trials, 1), 1e3)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def simulate_enrichment_statistics(
    design: EnrichmentDesign,
    hazard_ratios: tuple[float, float],
    prevalence: float,
    trials: int = 10_000,
    seed: int = 1,
    *,
    allocation_ratio: float = 1.0,
) -> tuple[EnrichmentCharacteristics, pd.DataFrame]:
    """Simulate an enrichment design on test statistics: normal scores with expected events, as rpact does.

    Events fall on subgroup and rest in proportion to prevalence times ``1 + r HR`` (r the allocation ratio); a score
    has mean ``-log(HR) I`` and variance ``I = r / (1 + r)**2`` times the events. Fast, but blind to random sizes of
    populations, accrual, dropout and non-proportional hazards.

    Parameters
    ----------
    design
        The rules; stages of increments.
    hazard_ratios
        In the subgroup and in the rest.
    prevalence
        Of the subgroup.
    trials, seed, allocation_ratio
        As in `simulate_enrichment`.

    Returns
    -------
    EnrichmentCharacteristics
        Without patients and months.
    DataFrame
        The trials one by one, as `simulated_enrichment_rows` gives them.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or stages are of patients.
    """
    from trialml.design.enrichment_loop import run_statistics
    from trialml.design.enrichment_rules import COLUMNS

    count, share = _whole("trials", trials, 1), require_between("the subgroup's prevalence", prevalence, 0.0, 1.0)
    if design.stages != "increments" or design.tested == "subgroup":
        raise AnalysisError(
            "test statistics alone are simulated for stages of increments in all comers: simulate patients"
        )
    ratios = np.array([require_positive("a hazard ratio", ratio) for ratio in hazard_ratios])
    weights = np.array([share, 1 - share]) * (1 + allocation_ratio * ratios)
    split = weights / weights.sum()
    events = np.array([design.interim_events * split, design.further_events * split, [design.alone_events, 0.0]])
    out = np.empty((count, len(COLUMNS)))
    run_statistics(
        np.uint64(seed), 0, design.codes(), design.numbers(share, allocation_ratio), np.log(ratios),
        information_per_event(allocation_ratio), events, out,
    )  # fmt: skip
    null = np.array([ratios[0] >= 1, bool((ratios >= 1).all())])
    words = f"hazard ratio {ratios[0]:g} in the subgroup (prevalence {share:g}) and {ratios[1]:g} in the rest"
    sums = [sums_of(out[first : first + PART], null, design) for first in range(0, count, PART)]
    found = characteristics_of(design, words, count, seed, sums, patientwise=False)
    return found, pd.DataFrame(out, columns=list(COLUMNS))


def _whole(name: str, value: float, least: int) -> int:
    number = require_finite(name, value)
    if number != int(number) or number < least:
        raise AnalysisError(f"{name} is {number:g}: give a whole number from {least} on")
    return int(number)


def _place(group: int | str, names: Sequence[str]) -> int:
    """Return the position of a group that is named or counted."""
    if not isinstance(group, str):
        return int(group)
    if group not in names:
        raise AnalysisError(f"the subgroup names the group '{group}', which the truth has not: {nearest(group, names)}")
    return names.index(group)


def _setting(design: EnrichmentDesign, plan: TrialPlan, subgroup: Sequence[int], seed: int) -> _Setting:
    prevalences = np.diff(plan.prevalence, prepend=0.0)
    member = np.zeros(plan.groups, np.uint8)
    for place in subgroup:
        if not 0 <= place < plan.groups:
            raise AnalysisError(f"the subgroup names group {place}, but there are {plan.groups}: count them from 0")
        member[place] = 1
    share = float(prevalences[member == 1].sum())
    if not (member == 1).any() or (member == 1).all():
        raise AnalysisError(
            f"the subgroup has prevalence {share:g}: name some of the {plan.groups} groups of patients, not all of them"
        )
    if plan.entry == "uniform":
        raise AnalysisError(
            "patients enter uniformly over a planned accrual, which selection changes: give poisson or even"
        )
    needed = design.interim_events + design.further_events
    if needed > plan.patients:
        raise AnalysisError(
            f"{needed} events are planned in {plan.patients} patients, who can give {plan.patients} at most: enrol more"
        )
    first = design.first_stage_events or 0
    targets = np.array(
        [plan.patients, design.interim_events, design.further_events, design.alone_events, first], np.int64
    )
    most = math.ceil((plan.patients + 8 * math.sqrt(plan.patients)) / share) + 64
    ratio = plan.share / (1 - plan.share)
    numbers = design.numbers(share, ratio)
    return _Setting(design, plan, member, design.codes(), numbers, targets, most, _whole("seed", seed, 0))


def _refuse_too_few_events(design: EnrichmentDesign, pilot: Vector) -> None:
    """Refuse a trial that in no run of the first ones has the events of its interim analysis."""
    most = int(pilot[:, 10:12].sum(axis=1).max())
    if most < design.interim_events:
        raise AnalysisError(
            f"the interim analysis is planned at {design.interim_events} events, but in {len(pilot)} simulated trials the "
            f"patients give {most} at most: enrol more or plan for fewer"
        )


def _run(setting: _Setting, first: int, trials: int, horizon: float) -> Vector:
    from trialml.design.enrichment_loop import run_patients
    from trialml.design.enrichment_rules import COLUMNS

    m, out = setting.most, np.empty((trials, len(COLUMNS)))
    run_patients(
        np.uint64(setting.seed), first, *setting.plan.arguments(), setting.member, setting.codes, setting.targets,
        setting.numbers, horizon, setting.plan.typical_time(), np.empty((10, m + 1)), np.empty(m + 1, np.int64),
        np.empty((9, m + 1), np.uint8), np.empty((2, m), np.uint32), np.empty((setting.plan.groups, 2), np.int64),
        np.empty(_SLICES, np.int64), np.empty((3, 8)), out,
    )  # fmt: skip
    return out


def _null_hypotheses(setting: _Setting) -> NDArray[np.bool_]:
    """Return whether no patient of the subgroup, and none at all, is better off under the experimental treatment."""
    better = np.any(setting.plan.hazards[:, 1] < setting.plan.hazards[:, 0], axis=1) * 1
    return np.array([not np.any(better * setting.member), not np.any(better)])


def _summed(rows: Vector, setting: _Setting) -> tuple[Vector, Vector]:
    return sums_of(rows, _null_hypotheses(setting), setting.design)

"""Two-stage enrichment trials, simulated on patients or on test statistics: what they reject, select and cost."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.design.sample_size import information_per_event
from trialml.design.scenario import Scenario
from trialml.design.trial_plan import TrialPlan, trial_plan
from trialml.errors import AnalysisError
from trialml.result import Z95, Estimate, Result, format_count, format_number

__all__ = [
    "EnrichmentCharacteristics",
    "simulate_enrichment",
    "simulate_enrichment_statistics",
    "simulated_enrichment_rows",
]

Vector = NDArray[np.float64]

PART = 1000
"""Trials that a worker simulates in a go; the sums of the parts are added in order, whoever made them."""

_SLICES = 512

_MEASURES = {
    "rejected_any": "At least one population rejected",
    "rejected_subgroup": "Subgroup rejected",
    "rejected_full": "Full population rejected",
    "rejected_interim_subgroup": "Subgroup rejected at the interim analysis",
    "rejected_interim_full": "Full population rejected at the interim analysis",
    "false_rejection": "A true hypothesis rejected (familywise error)",
    "stopped_success": "Stopped for success at the interim analysis",
    "stopped_futility": "Stopped for futility at the interim analysis",
    "selected_subgroup_alone": "Subgroup alone goes on",
    "selected_full_alone": "Full population alone goes on",
    "selected_both": "Both go on",
    "events": "Events",
    "events_subgroup": "Events in the subgroup",
    "patients": "Patients enrolled",
    "patients_subgroup": "Patients of the subgroup enrolled",
    "interim_months": "Months to the interim analysis",
    "duration_months": "Months in all",
}
"""The measures by name: rates first, then means."""

_MEANS = ("events", "events_subgroup", "patients", "patients_subgroup", "interim_months", "duration_months")


@dataclass(frozen=True, eq=False)
class EnrichmentCharacteristics(Result):
    """Simulated operating characteristics of an enrichment design under one truth.

    Attributes
    ----------
    figures
        One row a measure: measure (a key), label, value (a share of trials, or a mean), mc_error (Monte Carlo standard
        error), low, high (95 % limits from it).
    rules, truth
        Design and assumed truth in words.
    trials, seed
        Of the simulation.
    alpha
        One-sided, familywise.
    patientwise
        Whether patients were simulated, not test statistics.
    """

    title: ClassVar[str] = "Enrichment design: simulated operating characteristics"
    methods: ClassVar[str] = (
        "Enrichment trials were simulated with groups of random size, staggered entry and analyses at numbers of "
        "events. Stage-wise log-rank statistics (the full population's stratified by the subgroup) were combined by the "
        "inverse normal method with weights fixed in advance, and hypotheses tested by the closure principle."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Jenkins M, Stone A, Jennison C. An adaptive seamless phase II/III design for oncology trials with "
        "subpopulation selection using correlated survival endpoints. Pharm Stat 2011;10:347-356.",
        "Mehta C, Schaefer H, Daniel H, Irle S. Biomarker driven population enrichment for adaptive oncology trials with "
        "time to event endpoints. Stat Med 2014;33:4515-4531.",
        "Wassmer G, Brannath W. Group Sequential and Confirmatory Adaptive Designs in Clinical Trials. Springer; 2016.",
    )

    figures: pd.DataFrame
    rules: str
    truth: str
    trials: int
    seed: int
    alpha: float
    patientwise: bool

    def estimate(self, measure: str) -> Estimate:
        """Return a measure with its Monte Carlo error and limits.

        Raises
        ------
        AnalysisError
            If there is no measure of that name.
        """
        rows = self.figures[self.figures["measure"] == measure]
        if len(rows) == 0:
            shown = ", ".join(self.figures["measure"])
            raise AnalysisError(f"the simulation has no measure {measure!r}: choose one of {shown}")
        row = rows.iloc[0]
        return Estimate(
            float(row["value"]), float(row["low"]), float(row["high"]), scale=str(row["label"]), kind="simulated",
            se=float(row["mc_error"]), n=self.trials, method="simulation", mc_error=float(row["mc_error"]),
        )  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Return one row a measure."""
        return self.figures.assign(trials=self.trials, seed=self.seed, alpha_one_sided=self.alpha)

    def table(self) -> pd.DataFrame:
        """Return the measures with their Monte Carlo errors."""
        mean = [name in _MEANS for name in self.figures["measure"]]

        def shown(column: str) -> list[str]:
            values = zip(self.figures[column], mean, strict=True)
            return [format_number(value) if is_mean else f"{100 * value:.2f} %" for value, is_mean in values]

        return pd.DataFrame(
            {"Measure": self.figures["label"], "Value": shown("value"), "Monte Carlo error": shown("mc_error")}
        )

    def text(self) -> str:
        """Return the chance of success and the size in words."""
        rejected = self.estimate("rejected_any")
        words = (
            f"In {format_count(self.trials)} simulated trials ({self.rules}; {self.truth}) at least one population was "
            f"rejected in {100 * rejected.value:.1f} % (Monte Carlo error {100 * (rejected.mc_error or 0.0):.2f} %), the "
            f"subgroup in {100 * self.estimate('rejected_subgroup').value:.1f} % and the full population in "
            f"{100 * self.estimate('rejected_full').value:.1f} %, after {format_number(self.estimate('events').value)} "
            "events on average"
        )
        return f"{words}."

    def scalars(self) -> Mapping[str, float]:
        """Return each measure with its Monte Carlo error."""
        numbers: dict[str, float] = {}
        for row in self.figures.to_dict("records"):
            numbers |= {row["measure"]: float(row["value"]), f"{row['measure']}_mc_error": float(row["mc_error"])}
        return numbers


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
    subgroup: Sequence[int] = (0,),
    patients: float | None = None,
    workers: int | None = None,
    progress: Callable[[], None] | None = None,
) -> EnrichmentCharacteristics:
    """Simulate an enrichment design on patients.

    Patients come from one stream of all comers whose groups are drawn at random, so that the populations have random
    sizes. Once the subgroup alone goes on, only its patients are enrolled from that stream, until the planned number is
    in. The interim analysis takes place at `interim_events`, the final one when the population that went on has had the
    further events, or its last one.

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
        Positions of the groups that make up the subgroup.
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
    setting = _setting(design, plan, subgroup, seed)
    horizon = 1.3 * float(np.nanmax(_run(setting, 0, min(count, 200), 1e3)[:, 9])) + 1.0
    parts = [(first, min(PART, count - first)) for first in range(0, count, PART)]

    def part(place: tuple[int, int]) -> tuple[Vector, Vector]:
        sums = _summed(_run(setting, *place, horizon), setting)
        if progress is not None:
            progress()
        return sums

    threads = workers or os.cpu_count() or 1
    if threads == 1 or len(parts) == 1:
        sums = [part(place) for place in parts]
    else:
        with ThreadPoolExecutor(threads) as pool:
            sums = list(pool.map(part, parts))
    name = "patients given piece by piece" if isinstance(truth, TrialPlan) else f"scenario '{truth.name}'"
    return _characteristics(design, name, count, setting.seed, sums, patientwise=True)


def simulated_enrichment_rows(
    design: EnrichmentDesign, plan: TrialPlan, trials: int, seed: int = 1, *, subgroup: Sequence[int] = (0,), first: int = 0
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
        raise AnalysisError("test statistics alone are simulated for stages of increments in all comers: simulate patients")
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
    sums = [_sums_of(out[first : first + PART], null) for first in range(0, count, PART)]
    found = _characteristics(design, words, count, seed, sums, patientwise=False)
    return found, pd.DataFrame(out, columns=list(COLUMNS))


def _whole(name: str, value: float, least: int) -> int:
    number = require_finite(name, value)
    if number != int(number) or number < least:
        raise AnalysisError(f"{name} is {number:g}: give a whole number from {least} on")
    return int(number)


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
        raise AnalysisError("patients enter uniformly over a planned accrual, which selection changes: give poisson or even")
    needed = design.interim_events + design.further_events
    if needed > plan.patients:
        raise AnalysisError(
            f"{needed} events are planned in {plan.patients} patients, who can give {plan.patients} at most: enrol more"
        )
    first = design.first_stage_events or 0
    targets = np.array([plan.patients, design.interim_events, design.further_events, design.alone_events, first], np.int64)
    most = math.ceil((plan.patients + 8 * math.sqrt(plan.patients)) / share) + 64
    ratio = plan.share / (1 - plan.share)
    numbers = design.numbers(share, ratio)
    return _Setting(design, plan, member, design.codes(), numbers, targets, most, _whole("seed", seed, 0))


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
    worse = (setting.plan.hazards[:, 1] >= setting.plan.hazards[:, 0]).all(axis=1)
    return np.array([worse[setting.member == 1].all(), worse.all()])


def _summed(rows: Vector, setting: _Setting) -> tuple[Vector, Vector]:
    return _sums_of(rows, _null_hypotheses(setting))


def _sums_of(rows: Vector, null: NDArray[np.bool_]) -> tuple[Vector, Vector]:
    """Return sums and sums of squares of the measures over trials."""
    from trialml.design.enrichment_rules import COLUMNS

    column = dict(zip(COLUMNS, rows.T, strict=True))
    selected, interim = column["selected"].astype(int), column["rejected_interim"].astype(int)
    rejected, goes_on = column["rejected"].astype(int), column["stop"] == 0
    true = int(null[0]) + 2 * int(null[1])
    values = np.array(
        [
            rejected > 0, rejected & 1 > 0, rejected & 2 > 0, interim & 1 > 0, interim & 2 > 0, rejected & true > 0,
            column["stop"] == 1, column["stop"] == 2, goes_on & (selected == 1), goes_on & (selected == 2),
            goes_on & (selected == 3), column["events_subgroup"] + column["events_rest"], column["events_subgroup"],
            column["patients_subgroup"] + column["patients_rest"], column["patients_subgroup"],
            column["interim_month"], column["end_month"],
        ],
        dtype=float,
    )  # fmt: skip
    return values.sum(axis=1), (values * values).sum(axis=1)


def _characteristics(
    design: EnrichmentDesign, truth: str, trials: int, seed: int, sums: Sequence[tuple[Vector, Vector]], *, patientwise: bool
) -> EnrichmentCharacteristics:
    mean = np.sum([one for one, _ in sums], axis=0) / trials
    square = np.sum([one for _, one in sums], axis=0) / trials
    error = np.sqrt(np.maximum(square - mean * mean, 0.0) / max(trials - 1, 1))
    rows: list[dict[str, Any]] = [
        {"measure": name, "label": label, "value": value, "mc_error": se, "low": value - Z95 * se, "high": value + Z95 * se}
        for (name, label), value, se in zip(_MEASURES.items(), mean, error, strict=True)
        if not math.isnan(value)
    ]
    return EnrichmentCharacteristics(
        figures=pd.DataFrame(rows), rules=design.text(), truth=truth, trials=trials, seed=seed, alpha=design.design.alpha,
        patientwise=patientwise,
    )  # fmt: skip

"""What simulated trials say of a design: rejections, events, patients and calendar, each with its Monte Carlo error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.special import betaincinv

from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.design.scenario import Scenario
from trialml.design.sequential_effect import look_effects
from trialml.design.trial_plan import TrialPlan
from trialml.design.trial_sums import LookRules, Tally
from trialml.result import COLOURS, Z95, Estimate, Result, format_count, format_number, with_limits

__all__ = ["SimulatedTrials", "simulated_trials"]

LOGRANK = "log-rank test"


@dataclass(frozen=True, eq=False)
class SimulatedTrials(Result):
    """Operating characteristics of a design under one scenario, by simulation of patients.

    Every figure stands with its Monte Carlo standard error, in the column of its name with ``_mc_error``.

    Attributes
    ----------
    design, scenario
        The rules, and the assumed truth with the number of patients.
    looks
        One row a look: ``look, information_fraction, planned_events, critical_z, futility_z``; over all trials
        ``reach`` (come to the look), ``reject``, ``harm`` (the lower bound of a two-sided design), ``futility``
        (stopped there) and ``cumulative_power``; over the trials that come to the look ``fewer_events`` (than
        planned) and the means ``z, hazard_ratio`` (geometric, of Peto's estimate), ``months, events, enrolled``. Beside
        them ``computed_reject`` and ``computed_futility``, by integration: NaN where the looks are not by events, the test
        is not the log-rank test, or it is not stratified by groups that there are.
    totals
        One row a figure: ``figure, value, low, high, mc_error``.
    trials, seed
        How many trials, and what chose their random numbers.
    patients
        Planned patients.
    test
        What was compared with the bounds.
    timing, entry
        When the looks took place, and how patients came.
    integration
        How the computed figures were got, in words: under Schoenfeld's drift where one hazard ratio holds for all
        patients at all times, else under the average hazard ratio of each look.
    """

    title: ClassVar[str] = "Simulated trials"
    methods: ClassVar[str] = (
        "Operating characteristics were simulated patient by patient, with staggered entry, permuted blocks, dropout and "
        "looks at the calendar time at which their events had happened; Monte Carlo errors stand with the figures "
        "(limits of probabilities by Clopper and Pearson, of means by the normal distribution)."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Morris TP, White IR, Crowther MJ. Using simulation studies to evaluate statistical methods. Stat Med "
        "2019;38:2074-2102.",
    )
    figure_size: ClassVar[tuple[float, float]] = (7.2, 3.0)

    design: Design
    scenario: Scenario
    looks: pd.DataFrame
    totals: pd.DataFrame
    trials: int
    seed: int
    patients: int
    test: str
    timing: str
    entry: str
    integration: str = ""

    def estimate(self, figure: str) -> Estimate:
        """Return one of the totals: power, harm, futility, events, enrolled, duration_months or hazard_ratio."""
        row = self.totals.set_index("figure").loc[figure]
        unit = {"events": "events", "enrolled": "patients", "duration_months": "months"}.get(figure, "")
        return Estimate(
            float(row["value"]),
            float(row["low"]),
            float(row["high"]),
            scale=figure.replace("_", " "),
            unit=unit,
            kind="simulated",
            n=self.patients,
            method=f"{self.trials:,} simulated trials, {self.test}",
            mc_error=float(row["mc_error"]),
        )

    @property
    def power(self) -> Estimate:
        """The share of trials that reject in favour of the experimental arm; without effect, the type I error."""
        return self.estimate("power")

    def frame(self) -> pd.DataFrame:
        """Return one row a look with the totals repeated on each."""
        totals = {f"total_{row.figure}": row.value for row in self.totals.itertuples()}
        errors = {f"total_{row.figure}_mc_error": row.mc_error for row in self.totals.itertuples()}
        named = {"scenario": self.scenario.name, "trials": self.trials, "seed": self.seed, "patients": self.patients}
        return self.looks.assign(**named, test=self.test, timing=self.timing, entry=self.entry, **totals, **errors)

    def text(self) -> str:
        """Return power, stops and means in two sentences."""
        power, futility = self.power, self.estimate("futility")
        first = (
            f"In {format_count(self.trials)} simulated trials of {format_count(self.patients)} patients under scenario "
            f"'{self.scenario.name}', the {self.test} at alpha {self.design.alpha:g} one-sided rejected in "
            f"{_percent(power)}"
        )
        computed = float(self.looks["computed_reject"].sum(skipna=False))
        if not math.isnan(computed):
            first += f", {100 * computed:.2f} % {self.integration}"
        if futility.value > 0:
            first += f", and stopped for futility in {_percent(futility)}"
        means = [
            f"{format_number(value.value, 4)} {value.unit} (Monte Carlo error {format_number(value.mc_error or 0.0, 2)})"
            for value in map(self.estimate, ("events", "enrolled", "duration_months"))
        ]
        return f"{first}. A trial took {means[0]}, {means[1]} and {means[2]} on average."

    def scalars(self) -> Mapping[str, float]:
        """Return the totals by name, with limits and Monte Carlo errors."""
        named = {f"simulated_{figure}": self.estimate(figure) for figure in self.totals["figure"]}
        return with_limits(named) | {f"{name}_mc_error": value.mc_error or 0.0 for name, value in named.items()}

    def heading(self) -> str:
        """Return the title with the scenario."""
        return f"{self.title}: {self.scenario.name}"

    def table(self) -> pd.DataFrame:
        """Return the looks as a protocol prints them, Monte Carlo errors in brackets."""
        rows = self.looks
        table = pd.DataFrame({"Look": [f"{int(look)}" for look in rows["look"]]})
        for title, name, digits, scale in (
            ("Events", "events", 1, 1.0),
            ("Month", "months", 2, 1.0),
            ("Enrolled", "enrolled", 1, 1.0),
            ("Reached (%)", "reach", 2, 100.0),
            ("Rejected (%)", "reject", 2, 100.0),
            ("Futile (%)", "futility", 2, 100.0),
            ("Power so far (%)", "cumulative_power", 2, 100.0),
            ("Hazard ratio", "hazard_ratio", 3, 1.0),
        ):
            if rows[name].isna().all():  # no hazard ratio is estimated by this test
                continue
            pairs = zip(rows[name], rows[f"{name}_mc_error"], strict=True)
            table[title] = [f"{scale * value:.{digits}f} ({scale * error:.{digits}f})" for value, error in pairs]
        return table

    def draw(self, figure: Any) -> None:
        """Draw where trials end: the share that each look stops, for efficacy and for futility."""
        axes = figure.subplots()
        looks = self.looks["look"].to_numpy()
        ends = (("reject", "rejected", "experimental"), ("futility", "stopped for futility", "third"))
        for shift, (name, label, colour) in zip((-0.2, 0.2), ends, strict=True):
            error = Z95 * 100 * self.looks[f"{name}_mc_error"]
            axes.bar(looks + shift, 100 * self.looks[name], 0.38, yerr=error, color=COLOURS[colour], label=label)
        axes.set_xticks(looks)
        axes.set_xlabel("Look")
        axes.set_ylabel("Trials (%)")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.2f} % (Monte Carlo error {100 * (share.mc_error or 0.0):.2f})"


def _share(count: np.ndarray[Any, Any], trials: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return shares with their Monte Carlo errors, NaN of no trial."""
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    p = count / n
    return p, np.sqrt(p * (1 - p) / n)


def _means(sums: Any, squares: Any, trials: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return means with their Monte Carlo errors, NaN of no trial and of the error of one."""
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    mean = sums / n
    spread = np.maximum(squares / n - mean**2, 0.0) / np.where(n > 1, n - 1, np.nan)
    return mean, np.sqrt(spread)


def _look_frame(design: Design, rules: LookRules, tally: Tally) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "look": np.arange(1, rules.looks + 1),
            "information_fraction": design.information_fractions,
            "planned_events": np.where(rules.targets > 0, rules.targets, np.nan),
            "critical_z": rules.upper,
            "futility_z": rules.futility,
        }
    )
    stopped = tally.stopped
    shares = {
        "reach": _share(tally.reached, tally.trials),
        "reject": _share(stopped[:, 0], tally.trials),
        "harm": _share(stopped[:, 1], tally.trials),
        "futility": _share(stopped[:, 2], tally.trials),
        "cumulative_power": _share(np.cumsum(stopped[:, 0]), tally.trials),
        "fewer_events": _share(tally.short, tally.reached),
    }
    mean, error = _means(tally.sums, tally.squares, tally.reached[:, None])
    ratio = np.exp(mean[:, 1])
    means = {"z": (mean[:, 0], error[:, 0]), "hazard_ratio": (ratio, ratio * error[:, 1])}
    means |= {name: (mean[:, k], error[:, k]) for k, name in enumerate(("months", "events", "enrolled"), 2)}
    for name, (value, mc_error) in (shares | means).items():
        frame[name], frame[f"{name}_mc_error"] = value, mc_error
    return frame


def _computed(design: Design, scenario: Scenario, plan: TrialPlan, rules: LookRules, test: str) -> tuple[Any, Any, str]:
    """Return the probabilities of rejection and of futility at each look by integration, and how; NaN where none is."""
    if rules.timing != "events" or test != LOGRANK or (plan.groups > 1 and not rules.stratified):
        return np.full(rules.looks, np.nan), np.full(rules.looks, np.nan), ""
    lower = rules.lower if design.sides == 2 else rules.futility
    if scenario.hazard_ratio is not None and not scenario.groups:
        share = design.experimental_share
        information, scale = rules.targets * share * (1 - share), np.ones(rules.looks)
        means, how = -math.log(scenario.hazard_ratio) * np.sqrt(information), "by integration"
    else:
        months = [scenario.months_to_events(float(target), plan.patients) for target in rules.targets]
        found = look_effects(scenario, months, patients=plan.patients)
        information, scale = found.information, np.sqrt(found.information / found.null_information)
        means, how = found.theta * np.sqrt(information), "by integration under the average hazard ratio of each look"
    crossing = crossing_probabilities(rules.upper * scale, lower * scale, information, means)
    return crossing.above, np.zeros(rules.looks) if design.sides == 2 else crossing.below, how


def _total_frame(tally: Tally) -> pd.DataFrame:
    rows = []
    for name, count in zip(("power", "harm", "futility"), tally.stopped.sum(axis=0), strict=True):
        n = tally.trials
        low = float(betaincinv(count, n - count + 1, 0.025)) if count > 0 else 0.0
        high = float(betaincinv(count + 1, n - count, 0.975)) if count < n else 1.0
        p = float(count / n)
        rows.append((name, p, low, high, math.sqrt(p * (1 - p) / n)))
    mean, error = _means(tally.final_sums, tally.final_squares, tally.trials)
    for name, k in (("events", 3), ("enrolled", 4), ("duration_months", 2)):
        rows.append((name, mean[k], mean[k] - Z95 * error[k], mean[k] + Z95 * error[k], error[k]))
    if not math.isnan(mean[1]):  # weighted tests and restricted means estimate no hazard ratio
        ratio, spread = math.exp(mean[1]), math.exp(Z95 * error[1])
        rows.append(("hazard_ratio", ratio, ratio / spread, ratio * spread, ratio * error[1]))
    return pd.DataFrame(rows, columns=["figure", "value", "low", "high", "mc_error"]).astype({"value": float})


def simulated_trials(
    design: Design,
    scenario: Scenario,
    plan: TrialPlan,
    rules: LookRules,
    tally: Tally,
    seed: int,
    test: str = "logrank",
) -> SimulatedTrials:
    """Return the result of the sums over simulated trials."""
    kind = "stratified " if rules.stratified else ""
    reject, futility, how = _computed(design, scenario, plan, rules, test)
    return SimulatedTrials(
        design=design,
        scenario=scenario.with_patients(plan.patients),
        looks=_look_frame(design, rules, tally).assign(computed_reject=reject, computed_futility=futility),
        totals=_total_frame(tally),
        trials=tally.trials,
        seed=seed,
        patients=plan.patients,
        test=kind + test,
        timing=rules.timing,
        entry=plan.entry,
        integration=how,
    )

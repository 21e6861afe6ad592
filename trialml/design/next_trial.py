"""The plan of the next trial: its events, patients and calendar, look by look, under an assumed truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from trialml.design.assurance import assurance, assurance_of, power_of
from trialml.design.group_sequential import Design
from trialml.design.sample_size import (
    Method,
    information_per_event,
    patients_for_events,
    round_up,
    survival_events,
)
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Estimate, Result, format_count, format_number

__all__ = ["OperatingCharacteristics", "assurance", "assurance_of", "plan_trial", "power_of"]


@dataclass(frozen=True, eq=False)
class OperatingCharacteristics(Result):
    """What a design does under one scenario: one row a look, and the totals.

    Attributes
    ----------
    design
        The rules as they are planned with. Where events are whole, its fractions are those of the whole events.
    scenario
        The assumed truth, with the number of patients.
    looks
        One row a look: ``look, information_fraction, events, calendar_months, enrolled, critical_z, one_sided_p,
        hazard_ratio_at_bound, cumulative_alpha, stop_probability, cumulative_power``.
    events, patients
        Events at the final analysis, patients in all.
    duration_months, follow_up_months
        From the first patient in to the final analysis, and from the last one in.
    expected_events, expected_duration_months
        Means over the looks at which the trial may stop, under the scenario's hazard ratio.
    early_stop_probability
        Probability of stopping for efficacy before the final analysis, under the scenario's hazard ratio.
    events_formula
        ``"schoenfeld"`` or ``"freedman"``.
    """

    title: ClassVar[str] = "The next trial"
    methods: ClassVar[str] = (
        "Efficacy bounds follow Lan-DeMets alpha spending at one-sided alpha, computed by recursive numerical "
        "integration without a futility bound; the number of events follows the formula named with each plan, and "
        "the expected calendar assumes uniform accrual and piecewise exponential event times with exponential dropout."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Lan KKG, DeMets DL. Discrete sequential boundaries for clinical trials. Biometrika 1983;70:659-663.",
        "Schoenfeld DA. Sample-size formula for the proportional-hazards regression model. Biometrics 1983;39:499-503.",
        "Freedman LS. Tables of the number of patients required in clinical trials using the logrank test. Stat Med "
        "1982;1:121-129.",
        "Jennison C, Turnbull BW. Group sequential methods with applications to clinical trials. Chapman & Hall/CRC, "
        "Boca Raton 2000.",
    )
    figure_size: ClassVar[tuple[float, float]] = (7.2, 3.4)

    design: Design
    scenario: Scenario
    looks: pd.DataFrame
    events: float
    patients: float
    duration_months: float
    follow_up_months: float
    expected_events: float
    expected_duration_months: float
    early_stop_probability: float
    events_formula: str = "schoenfeld"

    @property
    def power(self) -> Estimate:
        """The probability of rejection at any look, under the scenario's hazard ratio."""
        return Estimate(
            float(self.looks["cumulative_power"].iloc[-1]),
            scale="power",
            kind="computed",
            events=round(self.events),
            n=round(self.patients),
            method=f"{self.events_formula}, alpha {self.design.alpha:g} one-sided",
        )

    def frame(self) -> pd.DataFrame:
        """Return one row a look with the totals of the plan repeated on each."""
        return self.looks.assign(
            scenario=self.scenario.name,
            hazard_ratio=self.scenario.hazard_ratio,
            alpha_one_sided=self.design.alpha,
            spending=self.design.spending,
            allocation_ratio=self.design.allocation_ratio,
            events_formula=self.events_formula,
            patients=self.patients,
            final_events=self.events,
            duration_months=self.duration_months,
            follow_up_months=self.follow_up_months,
            expected_events=self.expected_events,
            expected_duration_months=self.expected_duration_months,
            early_stop_probability=self.early_stop_probability,
        )

    def text(self) -> str:
        """Return the plan in two sentences; alpha is one-sided and said so."""
        power = 100 * self.power.value
        first = (
            f"To detect a hazard ratio of {format_number(self.scenario.hazard_ratio)} (experimental to control) with "
            f"{format_number(power)} % power at alpha {self.design.alpha:g} one-sided "
            f"({self.events_formula.capitalize()}'s formula), the trial needs {format_count(self.events)} events in "
            f"{format_count(self.patients)} patients, expected {format_number(self.duration_months)} months after "
            "the first patient enters."
        )
        if self.design.looks == 1:
            return first
        return first + (
            f" With {self.design.looks} looks for efficacy and none for futility, the probability of stopping early is "
            f"{format_number(100 * self.early_stop_probability)} % under this hazard ratio, and the trial is then "
            f"expected to take {format_count(self.expected_events)} events and "
            f"{format_number(self.expected_duration_months)} months on average."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the totals by name."""
        return {
            "events": self.events,
            "patients": self.patients,
            "duration_months": self.duration_months,
            "power": self.power.value,
            "expected_events": self.expected_events,
            "expected_duration_months": self.expected_duration_months,
            "early_stop_probability": self.early_stop_probability,
        }

    def heading(self) -> str:
        """Return the title with the population and the number of looks."""
        looks = "one look" if self.design.looks == 1 else f"{self.design.looks} looks"
        return f"{self.title}: {self.scenario.name}, {looks}"

    @property
    def has_figure(self) -> bool:
        """Whether there are bounds to draw: a single look is said by its table."""
        return self.design.looks > 1

    def table(self) -> pd.DataFrame:
        """Return the looks as a protocol prints them."""
        rows = self.looks
        shares = [f"{100 * value:.1f} %" for value in rows["information_fraction"]]
        return pd.DataFrame(
            {
                "Look": [f"{int(look)}" for look in rows["look"]],
                "Events (information)": [
                    f"{_events(value)} ({share})" for value, share in zip(rows["events"], shares, strict=True)
                ],
                "Month": [f"{value:.1f}" for value in rows["calendar_months"]],
                "Enrolled": [format_count(value) for value in rows["enrolled"]],
                "Reject at z of": [f"{value:.3f}" for value in rows["critical_z"]],
                "One-sided p": [f"{value:.2g}" if value < 1e-4 else f"{value:.4f}" for value in rows["one_sided_p"]],
                "Hazard ratio at the bound": [f"{value:.3f}" for value in rows["hazard_ratio_at_bound"]],
                "Alpha spent (one-sided)": [f"{value:.4f}" for value in rows["cumulative_alpha"]],
                "Power so far": [f"{100 * value:.1f} %" for value in rows["cumulative_power"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw expected events over calendar time with the looks marked, beside the bounds as hazard ratios."""
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.25, 1]})
        self._draw_calendar(left)
        self._draw_bounds(right)

    def _draw_calendar(self, axes: Any) -> None:
        months = np.linspace(0.0, 1.08 * self.duration_months, 200)
        colour = COLOURS["experimental"]
        axes.plot(months, self.scenario.enrolled(months), color=COLOURS["reference"], linestyle="--", linewidth=1.4)
        axes.plot(months, self.scenario.expected_events(months), color=colour, linewidth=1.8)
        axes.plot(self.looks["calendar_months"], self.looks["events"], "o", color=colour, markersize=6, zorder=3)
        for month, events in zip(self.looks["calendar_months"], self.looks["events"], strict=True):
            words = f"{_events(events)} events\nmonth {month:.1f}"
            axes.annotate(
                words, (month, events), (-4, 5), textcoords="offset points", ha="right", va="bottom", fontsize=7.5
            )
        top = max(self.patients, self.events)
        axes.annotate(
            f"{format_count(self.patients)} patients enrolled",
            (months[-1], self.patients),
            (0, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=7.5,
            color=COLOURS["control"],
        )
        axes.set(xlim=(0, 1.3 * self.duration_months), ylim=(0, 1.15 * top))
        axes.set_xlabel("Months since the first patient")
        axes.set_ylabel("Expected number")
        axes.spines[["top", "right"]].set_visible(False)

    def _draw_bounds(self, axes: Any) -> None:
        events, bound = self.looks["events"], self.looks["hazard_ratio_at_bound"]
        assumed = self.scenario.hazard_ratio
        axes.axhline(1.0, color=COLOURS["reference"], linewidth=0.8)
        axes.axhline(assumed, color=COLOURS["third"], linestyle=":", linewidth=1.2)
        axes.plot(events, bound, "o-", color=COLOURS["experimental"], linewidth=1.4, markersize=6)
        small = {"textcoords": "offset points", "fontsize": 7.5}
        for place, value in zip(events, bound, strict=True):
            axes.annotate(f"{value:.3f}", (place, value), (-4, 5), ha="right", va="bottom", **small)
        low = min(float(bound.min()), assumed)
        right = float(events.max()) * 1.12
        words = f"assumed {format_number(assumed)}"
        axes.annotate(words, (right, assumed), (0, -2), ha="right", va="top", color=COLOURS["third"], **small)
        axes.set(xlim=(0, right), ylim=(low - 0.1, 1.05))
        axes.set_xlabel("Events at the look")
        axes.set_ylabel("Reject at or below this hazard ratio")
        axes.spines[["top", "right"]].set_visible(False)


def _events(value: float) -> str:
    return format_count(value) if abs(value - round(value)) < 1e-6 else f"{value:,.1f}"


def plan_trial(
    design: Design,
    scenario: Scenario,
    *,
    follow_up_months: float | None = None,
    duration_months: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
    events_formula: Method = "schoenfeld",
) -> OperatingCharacteristics:
    """Plan a trial by a design under a scenario.

    The final events are those of the fixed design times the design's inflation factor. Where they are rounded
    up, the bounds are computed for the fractions of the whole events, never reused from others.

    Parameters
    ----------
    design
        The rules.
    scenario
        The assumed truth; hazard ratio below 1. Where it says the number of patients (or the accrual time), the
        calendar follows from that; otherwise give one of the two times.
    follow_up_months
        Months from the last patient in to the final analysis.
    duration_months
        Months from the first patient in to the final analysis.
    block
        Patients are rounded up to a multiple of it.
    whole_numbers
        False leaves events and patients as they come.
    events_formula
        ``"schoenfeld"`` or ``"freedman"``.

    Returns
    -------
    OperatingCharacteristics
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If the hazard ratio is not below 1, design and scenario have different allocation ratios, the size is given
        twice or not at all, or the patients can never give the events.
    """
    if design.allocation_ratio != scenario.allocation_ratio:
        raise AnalysisError(
            f"the design allocates {design.allocation_ratio:g}:1 and scenario '{scenario.name}' "
            f"{scenario.allocation_ratio:g}:1: give both the same allocation_ratio"
        )
    if scenario.hazard_ratio >= 1:
        raise AnalysisError(
            f"the hazard ratio of scenario '{scenario.name}' is {scenario.hazard_ratio:g}, which does not favour the "
            "experimental arm: plan for a hazard ratio below 1"
        )
    exact = design.inflation_factor * survival_events(
        scenario.hazard_ratio,
        alpha=design.alpha,
        power=design.power,
        allocation_ratio=design.allocation_ratio,
        method=events_formula,
    )
    if whole_numbers:
        design, events, drift = _whole_events(design, exact)
    else:
        events, drift = np.asarray(design.information_fractions) * exact, design.drift_for_power()
    sized = _with_size(scenario, float(events[-1]), follow_up_months, duration_months, block, whole_numbers)
    return _characteristics(design, sized, events, drift, events_formula)


def _whole_events(design: Design, exact: float) -> tuple[Design, np.ndarray[Any, Any], float]:
    """Return the design at the fractions of whole events, those events, and the drift they have."""
    final = round_up(exact)
    while True:
        events = np.array([round_up(t * final) for t in design.information_fractions])
        whole = dataclasses.replace(design, information_fractions=tuple(events / final))
        drift = design.drift_for_power() * math.sqrt(final / exact)
        # Looks moved to whole events spend alpha a little earlier, which may cost the last bit of power.
        if whole.exit_probabilities(drift).sum() >= design.power - 1e-12:
            return whole, events, drift
        final += 1


def _with_size(
    scenario: Scenario,
    events: float,
    follow_up_months: float | None,
    duration_months: float | None,
    block: int,
    whole_numbers: bool,
) -> Scenario:
    fixed = scenario.patients is not None or scenario.accrual_months is not None
    if fixed and (follow_up_months is not None or duration_months is not None):
        raise AnalysisError(
            f"scenario '{scenario.name}' has a number of patients already, so the calendar follows from the events: "
            "leave out follow_up_months and duration_months"
        )
    if fixed:
        return scenario.with_patients(scenario.size())
    return scenario.with_patients(
        patients_for_events(
            scenario,
            events,
            follow_up_months=follow_up_months,
            duration_months=duration_months,
            block=block,
            whole_numbers=whole_numbers,
        )
    )


def _characteristics(
    design: Design, scenario: Scenario, events: np.ndarray[Any, Any], drift: float, events_formula: str
) -> OperatingCharacteristics:
    months = np.array([scenario.months_to_events(value) for value in events])
    exits = design.exit_probabilities(drift)
    critical = np.asarray(design.critical_values)
    looks = pd.DataFrame(
        {
            "look": np.arange(1, design.looks + 1),
            "information_fraction": design.information_fractions,
            "events": events,
            "calendar_months": months,
            "enrolled": scenario.enrolled(months),
            "critical_z": critical,
            "one_sided_p": design.one_sided_p,
            "hazard_ratio_at_bound": np.exp(
                -critical / np.sqrt(events * information_per_event(design.allocation_ratio))
            ),
            "cumulative_alpha": design.cumulative_alpha,
            "stop_probability": exits,
            "cumulative_power": np.cumsum(exits),
        }
    )
    ends = np.append(exits[:-1], 1 - exits[:-1].sum())
    patients = scenario.size()
    return OperatingCharacteristics(
        design=design,
        scenario=scenario,
        looks=looks,
        events=float(events[-1]),
        patients=patients,
        duration_months=float(months[-1]),
        follow_up_months=float(months[-1] - scenario.accrual_length(patients)),
        expected_events=float(ends @ events),
        expected_duration_months=float(ends @ months),
        early_stop_probability=float(exits[:-1].sum()),
        events_formula=events_formula,
    )

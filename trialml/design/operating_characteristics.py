"""What a design does under one scenario: events, patients and calendar, look by look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from trialml.design.described_rules import described_sides, described_stops
from trialml.design.group_sequential import Design
from trialml.design.patient_groups import ratios_of
from trialml.design.plan_figure import draw_plan, format_events
from trialml.design.sample_size import METHODS, drift_per_event
from trialml.design.scenario import Scenario
from trialml.result import Estimate, Result, format_count, format_number

__all__ = ["OperatingCharacteristics"]


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
        hazard_ratio_at_bound, cumulative_alpha, stop_probability, cumulative_power``; with futility bounds also
        ``futility_z, hazard_ratio_at_futility, futility_probability``; with two sides also ``opposite_probability``, of
        rejecting for control; where hazards are not proportional also ``average_hazard_ratio``.
    events, patients
        Events at the final analysis, patients in all.
    duration_months, follow_up_months
        From the first patient in to the final analysis, and from the last one in.
    expected_events, expected_duration_months
        Means over the looks at which the trial may stop, under the scenario.
    early_stop_probability
        Probability of stopping, for efficacy of either arm or for futility, before the final analysis, under the scenario.
    events_formula
        The formula that the number of events follows; ``"average hazard ratio"`` where hazards are not proportional.
    expected_patients
        Mean number of patients enrolled by the look at which the trial stops, under the scenario.
    covariate_r_squared
        The share of the variance of the log-rank score that baseline covariates explain; 0 for the test without them.
    """

    title: ClassVar[str] = "The next trial"
    methods: ClassVar[str] = (
        "Bounds are those of the design's rules at one-sided alpha, computed by recursive numerical integration; "
        "the number of events follows the formula named with each plan, and the expected calendar assumes accrual at "
        "constant rates and piecewise exponential event times with exponential dropout."
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
    expected_patients: float = math.nan
    covariate_r_squared: float = 0.0

    @property
    def hazard_ratio(self) -> float:
        """The scenario's hazard ratio; the average one at the final analysis where hazards are not proportional."""
        if self.scenario.proportional:
            return next(iter(ratios_of(self.scenario)))
        return float(self.looks["average_hazard_ratio"].iloc[-1])

    def expected_events_under(self, hazard_ratio: float) -> float:
        """Return the mean number of events when the trial stops, under one proportional hazard ratio, bounds obeyed.

        Raises
        ------
        AnalysisError
            If the hazard ratio is not above 0.
        """
        method = next((known for known in METHODS if known == self.events_formula), METHODS[0])
        per_event = drift_per_event(hazard_ratio, allocation_ratio=self.design.allocation_ratio, method=method)
        return float(
            self.events
            * self.design.expected_information(per_event * math.sqrt(self.events / (1 - self.covariate_r_squared)))
        )

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
            hazard_ratio=self.hazard_ratio,
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
        """Return the plan in a few sentences; alpha is one-sided and said so."""
        power = 100 * self.power.value
        effect = "a hazard ratio" if self.scenario.proportional else "an average hazard ratio at the final analysis"
        formula = self.events_formula if " " in self.events_formula else f"{self.events_formula.title()}'s formula"
        first = (
            f"To detect {effect} of {format_number(self.hazard_ratio)} (experimental to control) with "
            f"{format_number(power)} % power at alpha {self.design.alpha:g} {described_sides(self.design)} "
            f"({formula}), the trial needs {format_count(self.events)} events in "
            f"{format_count(self.patients)} patients, expected {format_number(self.duration_months)} months after "
            "the first patient enters."
        )
        if self.follow_up_months < -1e-9:
            first += (
                f" That is before recruitment ends, when {format_count(self.looks['enrolled'].iloc[-1])} patients have "
                "entered: fewer patients would do, unless the median is in another unit than the accrual."
            )
        if self.covariate_r_squared > 0:
            first += (
                f" The log-rank test is adjusted for baseline covariates that explain "
                f"{format_number(100 * self.covariate_r_squared)} % of the variance of its score."
            )
        if self.design.looks == 1:
            return first
        rules = "for efficacy and none for futility"
        if self.design.has_futility:
            rules = "for efficacy and futility"
        truth = "this hazard ratio" if self.scenario.proportional else "this scenario"
        return first + (
            f" With {self.design.looks} looks {rules}, the probability of stopping early is "
            f"{format_number(100 * self.early_stop_probability)} % under {truth}, and the trial is then "
            f"expected to take {format_count(self.expected_events)} events and "
            f"{format_number(self.expected_duration_months)} months on average.{described_stops(self.design)}"
            f"{self._spent_futility()}"
        )

    def _spent_futility(self) -> str:
        """Say on which effect futility bounds are spent where the effect changes over time."""
        if self.scenario.proportional or self.design.futility_spending is None:
            return ""
        return (
            " The futility bounds spend under one hazard ratio of the same power at the end, so that an interim look stops for "
            "futility with another probability than the spending function's under this scenario."
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
        table = pd.DataFrame(
            {
                "Look": [f"{int(look)}" for look in rows["look"]],
                "Events (information)": [
                    f"{format_events(value)} ({share})" for value, share in zip(rows["events"], shares, strict=True)
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
        if self.design.has_futility:
            bounds = zip(rows["futility_z"], rows["hazard_ratio_at_futility"], strict=True)
            table["Stop for futility below z of"] = [
                "never" if np.isneginf(z) else f"{z:.3f} (hazard ratio above {ratio:.3f})" for z, ratio in bounds
            ]
        if "average_hazard_ratio" in rows:
            table["Average hazard ratio"] = [f"{value:.3f}" for value in rows["average_hazard_ratio"]]
        return table

    def draw(self, figure: Any) -> None:
        """Draw expected events over calendar time with the looks marked, beside the bounds as hazard ratios."""
        draw_plan(self, figure)

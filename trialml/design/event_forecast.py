"""What a forecast of a running trial says: dates of milestones with prediction intervals, and events by month."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.errors import AnalysisError, nearest
from trialml.result import COLOURS, Estimate, Result, format_count, format_number

__all__ = ["EventForecast"]


@dataclass(frozen=True, eq=False)
class EventForecast(Result):
    """Forecast dates of a running trial; it holds no patient.

    Attributes
    ----------
    milestones
        One row a milestone: milestone, events (wanted; NaN for the end of enrolment), months (the median over simulated
        futures, since the trial began), low, high (prediction interval), mc_error (Monte Carlo error of the median),
        reached (share of futures that ever reach it), date, date_low, date_high (empty without a start date).
    course
        One row a month: months, patients, events (medians) with events_low and events_high.
    enrolled, planned, events, cut_months
        Patients and events by the cut of the data, and patients planned.
    per_arm
        Whether events were forecast by arm; else pooled, as where the arm is not known.
    model
        Of the events, in words.
    level, simulations, seed
        Of the prediction intervals, and of the simulation.
    """

    title: ClassVar[str] = "Forecast of events and enrolment"
    methods: ClassVar[str] = (
        "Future enrolment was simulated as a Poisson process, and events and dropout of the patients in follow-up and of "
        "those to come from the model named, with parameters drawn anew in each simulated future from their posterior "
        "distribution (Jeffreys' prior; for the Weibull the normal approximation). Dates are medians over the futures, "
        "limits their quantiles."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Bagiella E, Heitjan DF. Predicting analysis times in randomized clinical trials. Stat Med 2001;20:2055-2063.",
        "Ying GS, Heitjan DF. Weibull prediction of event times in clinical trials. Pharm Stat 2008;7:107-120.",
        "Anisimov VV, Fedorov VV. Modelling, prediction and adaptive adjustment of recruitment in multicentre trials. "
        "Stat Med 2007;26:4958-4975.",
    )

    milestones: pd.DataFrame
    course: pd.DataFrame
    enrolled: int
    planned: int
    events: int
    cut_months: float
    per_arm: bool
    model: str
    level: float
    simulations: int
    seed: int

    def frame(self) -> pd.DataFrame:
        """Return one row a milestone."""
        return self.milestones.assign(level=self.level, simulations=self.simulations)

    def estimate(self, milestone: str) -> Estimate:
        """Return a milestone's month with its prediction interval.

        Raises
        ------
        AnalysisError
            If there is none of that name.
        """
        rows = self.milestones[self.milestones["milestone"] == milestone]
        if len(rows) == 0:
            raise AnalysisError(
                f"there is no milestone '{milestone}': {nearest(milestone, self.milestones['milestone'])}"
            )
        row = rows.iloc[0]
        return Estimate(
            float(row["months"]), float(row["low"]), float(row["high"]), scale=f"month of {milestone}", unit="months",
            kind="simulated", level=self.level, n=self.enrolled, events=self.events, method=f"prediction, {self.model}",
            mc_error=float(row["mc_error"]),
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Return the milestones with intervals, and their dates where the start is known."""
        rows = self.milestones
        interval = [
            f"{format_number(low)} to {format_number(high)}"
            for low, high in zip(rows["low"], rows["high"], strict=True)
        ]
        shown = {
            "Milestone": rows["milestone"],
            "Month": [format_number(value) for value in rows["months"]],
            f"{100 * self.level:g} % prediction interval": interval,
            "Ever reached": [f"{100 * share:.0f} %" for share in rows["reached"]],
        }
        if (rows["date"] != "").any():
            shown["Date"] = rows["date"]
            shown["Between"] = rows["date_low"] + " and " + rows["date_high"]
        return pd.DataFrame(shown)

    def text(self) -> str:
        """Return the milestones in words."""
        said = []
        for row in self.milestones.itertuples():
            date = f" ({row.date})" if row.date else ""
            said.append(
                f"{row.milestone} at month {format_number(float(str(row.months)))}{date}, {100 * self.level:g} % prediction "
                f"interval {format_number(float(str(row.low)))} to {format_number(float(str(row.high)))}"
            )
        known = "by arm" if self.per_arm else "pooled over the arms"
        return (
            f"With {format_count(self.enrolled)} of {format_count(self.planned)} patients and {format_count(self.events)} events "
            f"by month {format_number(self.cut_months)}, the forecast is {'; '.join(said)} ({self.model}, {known}, "
            f"{format_count(self.simulations)} simulated futures)."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each milestone's month with its limits."""
        numbers: dict[str, float] = {}
        for row in self.milestones.to_dict("records"):
            name = "enrolment_months" if math.isnan(row["events"]) else f"events_{row['events']:.0f}_months"
            numbers |= {name: row["months"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
        return numbers

    def draw(self, figure: Any) -> None:
        """Draw events by month with their prediction band, and patients."""
        axes = figure.subplots()
        months = self.course["months"]
        axes.fill_between(
            months, self.course["events_low"], self.course["events_high"], color=COLOURS["experimental"], alpha=0.25
        )
        axes.plot(months, self.course["events"], color=COLOURS["experimental"], label="Events")
        axes.plot(months, self.course["patients"], color=COLOURS["control"], linestyle="--", label="Patients")
        axes.axvline(self.cut_months, color=COLOURS["reference"], linewidth=0.8)
        axes.set_xlabel("Months since the trial began")
        axes.set_ylabel("Number")
        axes.legend(frameon=False)

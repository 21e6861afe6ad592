"""How wrong must the assumption about missing outcomes be before the conclusion changes?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trialml.result import COLOURS, Result, counted, format_number, plain_text

__all__ = ["TippingPoint", "first_crossing"]


@dataclass(frozen=True, eq=False)
class TippingPoint(Result):
    """The primary comparison under assumptions ever less favourable to the experimental arm.

    Attributes
    ----------
    rows
        One row an assumption, the mildest first: delta, value, se (of the logarithm for a ratio), low, high, df,
        imputed_events (mean over imputations; NaN where there are none to count).
    tipping
        The delta at which the interval first includes no effect, interpolated between two rows; NaN where the conclusion
        never changes within the rows, or there was none to change.
    worst, worst_low, worst_high
        The comparison if every imputed patient had the worst outcome; NaN where there is no such thing.
    worst_words
        What that is, as the beginning of a sentence.
    scale, unit, null
        What is compared, its unit, and the value of no effect (1 for ratios, 0 for differences).
    lower_is_better
        Whether a value below `null` favours the experimental arm.
    assumption, delta_words
        What delta does, as a sentence; and the label of the axis.
    start
        The delta that leaves the usual assumption as it is: 1 for a factor, 0 for a shift.
    imputed, imputations, level, n
        Patients imputed in the experimental arm, data sets, level of the limits, patients in all.
    """

    title = "Tipping point of the primary comparison"
    figure_size = (7.2, 3.4)
    methods = (
        "A tipping-point analysis asked how much worse than their arm's other patients those with a missing outcome must have "
        "done for the conclusion to change: they were imputed several times, the experimental arm's under an assumption ever less "
        "favourable (the hazard of patients censored early multiplied by delta, or the outcome shifted by delta), the same random "
        "numbers serving every delta; estimates were pooled by Rubin's rules with Barnard and Rubin's degrees of freedom."
    )
    references = (
        "Lipkovich I, Ratitch B, O'Kelly M. Sensitivity to censored-at-random assumption in the analysis of time-to-event "
        "endpoints. Pharm Stat 2016;15:216-229.",
        "Rubin DB. Multiple Imputation for Nonresponse in Surveys. Wiley, 1987.",
        "Barnard J, Rubin DB. Small-sample degrees of freedom with multiple imputation. Biometrika 1999;86:948-955.",
    )

    rows: pd.DataFrame
    tipping: float
    worst: float
    worst_low: float
    worst_high: float
    worst_words: str
    scale: str
    unit: str
    null: float
    lower_is_better: bool
    assumption: str
    delta_words: str
    start: float
    imputed: int
    imputations: int
    level: float
    n: int

    @property
    def concluded(self) -> bool:
        """Whether the usual assumption leads to a conclusion in favour of the experimental arm."""
        first = self.rows.iloc[0]
        return bool(first["high"] < self.null) if self.lower_is_better else bool(first["low"] > self.null)

    def frame(self) -> pd.DataFrame:
        """Return one row an assumption."""
        return self.rows

    def text(self) -> str:
        """Return the tipping point and what the mildest and the worst assumption give."""
        first, last = self.rows.iloc[0], self.rows.iloc[-1]
        unit = f" {self.unit}" if self.unit else ""
        said = (
            f"{self.assumption} ({counted(self.imputed, 'patient')}, {self.imputations} imputations). With delta = {self.start:g} the "
            f"{self.scale}, is {_interval(first)}{unit}"
        )
        if not self.concluded and first["low"] <= self.null <= first["high"]:
            said += f"; its interval includes {self.null:g}, so there is no conclusion that could tip."
        elif not self.concluded:
            said += "; it favours the control arm, and what is assumed of the experimental arm's missing outcomes makes it no better."
        elif math.isnan(self.tipping):
            said += (
                f"; up to delta = {last['delta']:g}, where it is {_interval(last)}{unit}, the interval stays clear of {self.null:g}: "
                "no assumption that was tried changes the conclusion."
            )
        else:
            said += f"; its interval first includes {self.null:g} at delta = {format_number(self.tipping)}."
        if not math.isnan(self.worst):
            said += (
                f" {self.worst_words}, it would be {format_number(self.worst)} "
                f"({format_number(self.worst_low)} to {format_number(self.worst_high)})."
            )
        return said

    def scalars(self) -> dict[str, float]:
        """Return the tipping point and the comparison under the usual assumption."""
        first = self.rows.iloc[0]
        numbers = {"tipping_point_delta": self.tipping} if math.isfinite(self.tipping) else {}
        return numbers | {
            "tipping_point_start": float(first["value"]),
            "tipping_point_start_low": float(first["low"]),
            "tipping_point_start_high": float(first["high"]),
        }

    def table(self) -> pd.DataFrame:
        """Return the assumptions for reading."""
        name = f"{self.scale[0].upper()}{self.scale[1:]} ({100 * self.level:g}% CI)"
        shown = pd.DataFrame({"Delta": [f"{delta:g}" for delta in self.rows["delta"]]})
        if self.rows["imputed_events"].notna().all():
            shown["Imputed events (mean)"] = [f"{value:.1f}" for value in self.rows["imputed_events"]]
        shown[name] = [_interval(row) for _, row in self.rows.iterrows()]
        return shown

    def draw(self, figure: Any) -> None:
        """Draw the comparison against delta, with its interval, no effect and the tipping point."""
        axes = figure.subplots()
        delta, colour = self.rows["delta"].to_numpy(), COLOURS["experimental"]
        axes.fill_between(delta, self.rows["low"], self.rows["high"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(delta, self.rows["value"], color=colour, marker="o", markersize=3.5)
        axes.axhline(self.null, color="black", linewidth=0.8)
        if self.null == 1:
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            ticks = [tick for tick in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3) if low <= tick <= high]
            axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_yticks([], minor=True)
        if self.start == 1:
            axes.set_xscale("log")
            axes.set_xticks(_spaced(delta), [f"{tick:g}" for tick in _spaced(delta)])
            axes.set_xticks([], minor=True)
        if math.isfinite(self.tipping):
            axes.axvline(self.tipping, color=COLOURS["third"], linestyle="--", linewidth=1.2)
            axes.annotate(
                f" tips at {format_number(self.tipping)}", (self.tipping, 0.03), xycoords=("data", "axes fraction"),
                color=COLOURS["third"], va="bottom", ha="left", fontsize=9.5,
            )  # fmt: skip
        better = "below" if self.lower_is_better else "above"
        name = self.scale.partition(",")[0]
        unit = f" ({self.unit})" if self.unit else ""
        words = f"{name[0].upper()}{name[1:]}{unit}"
        axes.set_ylabel(f"{plain_text(words)}\n({better} {self.null:g} favours experimental)", fontsize=9)
        axes.set_xlabel(plain_text(self.delta_words))


def _spaced(delta: Any) -> list[float]:
    """Return those deltas that leave room for each other's labels on a logarithmic axis."""
    kept: list[float] = []
    for one in (float(value) for value in delta):
        if not kept or one >= 1.3 * kept[-1]:
            kept.append(one)
    return kept


def _interval(row: Any) -> str:
    return f"{format_number(row['value'])} ({format_number(row['low'])} to {format_number(row['high'])})"


def first_crossing(delta: Any, limit: Any, *, null: float, lower_is_better: bool, log_delta: bool) -> float:
    """Return where a confidence limit first passes the value of no effect, by linear interpolation.

    Parameters
    ----------
    delta, limit
        Assumptions in order and the limit that is nearer to no effect (the logarithm of a ratio); each of shape (k,).
    null
        No effect, on the scale of `limit`.
    lower_is_better
        Whether `limit` starts below `null`.
    log_delta
        Whether to interpolate on the logarithm of delta.

    Returns
    -------
    float
        NaN if the first limit is already at `null` or beyond, or none passes it.
    """
    beyond = np.asarray(limit, dtype=np.float64) - null
    beyond = beyond if lower_is_better else -beyond
    passed = np.flatnonzero(beyond >= 0)
    if not passed.size or passed[0] == 0:
        return math.nan
    at = int(passed[0])
    along = np.log(np.asarray(delta, dtype=np.float64)) if log_delta else np.asarray(delta, dtype=np.float64)
    share = -beyond[at - 1] / (beyond[at] - beyond[at - 1])
    crossing = float(along[at - 1] + share * (along[at] - along[at - 1]))
    return math.exp(crossing) if log_delta else crossing

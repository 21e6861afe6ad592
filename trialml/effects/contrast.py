"""Experimental against control on three scales, for the primary contrast and for the secondary ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Estimate, Result, counted, format_count, format_number, plain_text
from trialml.survival.cox import cox
from trialml.survival.milestone import milestone_survival
from trialml.survival.rmst import restricted_mean
from trialml.survival.ties import checked_times

__all__ = ["HAZARD_RATIO", "MILESTONE_DIFFERENCE", "RMST_DIFFERENCE", "Contrast", "contrast"]

HAZARD_RATIO = "hazard ratio, conditional on the stratification factors"
RMST_DIFFERENCE = "difference in restricted mean event-free time, marginal"
MILESTONE_DIFFERENCE = "difference in event-free probability, marginal"
_UNSTRATIFIED = "hazard ratio, marginal, unadjusted"
_SHORT = {
    HAZARD_RATIO: "Hazard ratio, {what}",
    RMST_DIFFERENCE: "RMST difference, marginal",
    MILESTONE_DIFFERENCE: "Event-free difference, marginal",
}


@dataclass(frozen=True, eq=False)
class Contrast(Result):
    """Each comparison with the control arm on each scale; one row a comparison and scale."""

    title = "Effect of treatment"
    figure_size = (7.2, 2.6)
    methods = (
        "Hazard ratios are from Cox models of two arms each, stratified by the stratification factors where there are any (Efron ties); "
        "differences in restricted mean time and in event-free probability are unadjusted, with Greenwood-type standard "
        "errors. A comparison other than the primary one is secondary and its interval is not adjusted for multiplicity."
    )
    references = (
        "Efron B. The efficiency of Cox's likelihood function for censored data. J Am Stat Assoc 1977;72:557-565.",
        "Royston P, Parmar MKB. Restricted mean survival time: an alternative to the hazard ratio for the design and "
        "analysis of randomized trials with a time-to-event outcome. BMC Med Res Methodol 2013;13:152.",
    )

    rows: pd.DataFrame
    """Columns comparison, role, scale, value, low, high, unit, n, events (of a restricted mean and a milestone: by then), note."""
    horizon: float
    tau: float
    unit: str
    stratified: bool = True
    """Whether the hazard ratios are conditional on stratification factors; without any they are marginal."""

    def frame(self) -> pd.DataFrame:
        """Return one row a comparison and scale."""
        return self.rows.replace({"scale": {HAZARD_RATIO: self._worded(HAZARD_RATIO)}})

    def _worded(self, scale: str) -> str:
        return scale if self.stratified or scale != HAZARD_RATIO else _UNSTRATIFIED

    def estimate(self, scale: str, comparison: str | None = None) -> Estimate:
        """Return the estimate on `scale` for a comparison, the primary one by default."""
        which = self.rows["role"] == "primary" if comparison is None else self.rows["comparison"] == comparison
        row = self.rows[which & (self.rows["scale"] == scale)].iloc[0]
        return Estimate(
            value=float(row["value"]),
            low=float(row["low"]),
            high=float(row["high"]),
            scale=self._worded(scale),
            unit=str(row["unit"]),
            n=int(row["n"]),
            events=int(row["events"]),
            method=str(row["note"]),
        )

    def text(self) -> str:
        """Return the primary contrast on all scales, then that the others are secondary."""
        primary = self.rows[self.rows["role"] == "primary"].iloc[0]
        ratio, mean = self.estimate(HAZARD_RATIO), self.estimate(RMST_DIFFERENCE)
        said = (
            f"{primary['comparison']} ({counted(ratio.n or 0, 'patient')}, {counted(ratio.events or 0, 'event')}): {ratio.scale}, "
            f"{ratio.text()} ({ratio.method}); the marginal difference in restricted mean event-free time over {format_number(self.tau)} "
            f"{self.unit}, experimental less control, is {mean.text()} (above 0 favours the experimental arm)."
        )
        if (self.rows["role"] == "secondary").any():
            said += " The other comparisons are secondary and not adjusted for multiplicity."
        missing = self.rows[self.rows["value"].isna()]
        return said + "".join(
            f" {row.comparison}: {row.note}." for row in missing.drop_duplicates("comparison").itertuples()
        )

    def scalars(self) -> dict[str, float]:
        """Return the primary contrast's estimates with limits, then the secondary hazard ratios."""
        names = {
            HAZARD_RATIO: "hazard_ratio",
            RMST_DIFFERENCE: "rmst_difference",
            MILESTONE_DIFFERENCE: "event_free_difference",
        }
        numbers: dict[str, float] = {}
        for row in self.rows.itertuples():
            name = names[row.scale]
            if row.role == "secondary":
                if row.scale != HAZARD_RATIO:
                    continue
                name = f"secondary_hazard_ratio_{row.arm}"
            numbers |= {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return one row a comparison, one column a scale."""
        shown = []
        for comparison in dict.fromkeys(self.rows["comparison"]):
            part = self.rows[self.rows["comparison"] == comparison]
            first = part.iloc[0]
            row = {
                "Comparison": f"{comparison} ({'primary' if first['role'] == 'primary' else 'secondary, unadjusted'})",
                "Patients": format_count(first["n"]),
                "Events": format_count(first["events"]),
            }
            for scale, words in _SHORT.items():
                name = words.format(what="conditional" if self.stratified else "unadjusted")
                estimate = self.estimate(scale, comparison)
                unit = {"percentage points": "%-points"}.get(estimate.unit, estimate.unit)
                head = name + (f", {unit}" if unit else "") + " (95% CI)"
                row[head] = _bare(estimate) if not math.isnan(estimate.value) else "not estimable"
            shown.append(row)
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw the hazard ratios on a logarithmic scale, one row a comparison."""
        axes = figure.subplots()
        shown = self.rows[(self.rows["scale"] == HAZARD_RATIO) & self.rows["value"].notna()].iloc[::-1]
        for place, row in enumerate(shown.itertuples()):
            colour = COLOURS["experimental"] if row.role == "primary" else COLOURS["reference"]
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
            axes.plot(row.value, place, marker="s", color=colour, markersize=8)
            words = f"{format_number(row.value)} ({format_number(row.low)} to {format_number(row.high)})"
            axes.annotate(words, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
        roles = {"secondary": "secondary, unadjusted"}
        labels = [f"{row.comparison}\n({roles.get(row.role, row.role)})" for row in shown.itertuples()]
        axes.set_yticks(range(len(shown)), [plain_text(label) for label in labels])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.axvline(1, color="black", linewidth=0.8)
        _log_axis(axes, [float(shown["low"].min()), float(shown["high"].max())])
        axes.set_xlabel("Hazard ratio, logarithmic scale  (left of 1 favours the experimental arm)")


def _bare(estimate: Estimate) -> str:
    low, high = format_number(estimate.low), format_number(estimate.high)
    limits = "no limits" if math.isnan(estimate.low) else f"{low} to {high}"
    return f"{format_number(estimate.value)} ({limits})"


def _log_axis(axes: Any, reach: Sequence[float]) -> None:
    low, high = min(0.8, reach[0] * 0.9), max(1.25, reach[1] * 1.1)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [tick for tick in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def contrast(
    time: NDArray[np.float64],
    event: NDArray[np.bool_],
    arm: NDArray[np.object_],
    *,
    control: str,
    experimental: str,
    secondary: Sequence[str],
    labels: dict[str, str],
    factor: NDArray[np.str_],
    horizon: float,
    tau: float,
    unit: str,
) -> Contrast:
    """Compare every arm with the control, each from its own two-arm subset.

    Parameters
    ----------
    time, event, arm, factor
        Outcome, arm's code and stratification cell, each of shape (n,).
    control, experimental, secondary
        Codes of the arms.
    labels
        Words by code.
    horizon, tau, unit
        Where probabilities and restricted means are read.

    Returns
    -------
    Contrast
        A secondary comparison that cannot be estimated is a row of words, not an error.

    Raises
    ------
    DataError
        If the arrays differ in length, or a time or an event is none.
    AnalysisError
        If the primary contrast cannot be estimated.
    """
    time, event = checked_times(time, event)
    arm, factor = np.asarray(arm), np.asarray(factor)
    for name, values in (("arm", arm), ("factor", factor)):
        if values.shape != time.shape:
            raise DataError(f"{name} has shape {values.shape} for {time.size} patients: pass one label a patient")
    rows: list[dict[str, object]] = []
    for other in (experimental, *secondary):
        who = np.isin(arm, [control, other])
        treated = arm[who] == other
        head = {
            "comparison": f"{labels.get(other, other)} against {labels.get(control, control)}",
            "arm": other,
            "role": "primary" if other == experimental else "secondary",
            "n": int(who.sum()),
            "events": int(event[who].sum()),
        }
        try:
            scales = _scales(time[who], event[who], treated, factor[who], horizon, tau, unit)
        except AnalysisError as error:
            if other == experimental:
                raise
            words = str(error).rstrip(".")
            scales = [
                {"scale": scale, "value": math.nan, "low": math.nan, "high": math.nan, "unit": of_scale, "note": words}
                for scale, of_scale in _units(unit).items()
            ]
        rows += [head | scale for scale in scales]
    return Contrast(pd.DataFrame(rows), horizon, tau, unit, stratified=len(np.unique(factor)) > 1)


def _units(unit: str) -> dict[str, str]:
    return {HAZARD_RATIO: "", RMST_DIFFERENCE: unit, MILESTONE_DIFFERENCE: "percentage points"}


def _scales(
    time: NDArray[np.float64],
    event: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    factor: NDArray[np.str_],
    horizon: float,
    tau: float,
    unit: str,
) -> list[dict[str, object]]:
    fit = cox(time, event, pd.DataFrame({"arm": treated.astype(np.float64)}), strata=factor)
    ratio = fit.hazard_ratio("arm")
    asked: dict[str, Any] = {"control": "control", "experimental": "experimental", "unit": unit}
    group = np.where(treated, "experimental", "control")
    mean = restricted_mean(time, event, group, tau=tau, **asked).difference
    there = milestone_survival(time, event, group, at=horizon, **asked).difference
    cells = len(np.unique(factor))
    stratified = f"stratified by the {cells} cells of the randomisation" if cells > 1 else "without strata"
    return [
        {
            "scale": HAZARD_RATIO,
            "value": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
            "unit": "",
            "note": f"Cox model {stratified}, Efron ties",
        },
        {
            "scale": RMST_DIFFERENCE,
            "value": mean.value,
            "low": mean.low,
            "high": mean.high,
            "unit": unit,
            "events": mean.events,
            "note": f"area between the Kaplan-Meier curves to {tau:g} {unit}",
        },
        {
            "scale": MILESTONE_DIFFERENCE,
            "value": 100 * there.value,
            "low": 100 * there.low,
            "high": 100 * there.high,
            "unit": "percentage points",
            "events": there.events,
            "note": f"Kaplan-Meier at {horizon:g} {unit}",
        },
    ]

"""Does the model hold in every stratum and protected group? Performance within each, with a verdict where too few have the event."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import suppressed
from trialml.errors import AnalysisError
from trialml.result import (
    COLOURS,
    Z95,
    Estimate,
    Kind,
    Result,
    counted,
    format_count,
    format_number,
    kind_words,
    plain_text,
)
from trialml.survival.auc import cumulative_dynamic_auc
from trialml.survival.brier import brier
from trialml.survival.calibration import calibration_slope, observed_over_expected
from trialml.survival.concordance import concordance
from trialml.survival.ipcw import FEWEST_AT_RISK, Outcome, checked_outcome, checked_risk
from trialml.survival.ties import checked_labels, not_after

__all__ = ["FEWEST_EVENTS", "GroupPerformance", "draw_groups", "group_numbers", "group_rows", "performance_by_group"]

FEWEST_EVENTS = 20
"""With fewer events by the horizon a group's numbers say nothing, and none is given."""

MEASURES = ("AUC", "Harrell's C", "Brier score", "IPA", "observed over expected", "calibration slope")


@dataclass(frozen=True, eq=False)
class GroupPerformance(Result):
    """Discrimination, prediction error and calibration within groups of patients."""

    title = "Performance within groups"
    methods = (
        "Within each group the AUC, the concordance, the Brier score, the index of prediction accuracy against the group's own risk, "
        "observed over expected and the calibration slope are given with their intervals, censoring being weighed by the group's own "
        f"Kaplan-Meier curve. A group with fewer than {FEWEST_EVENTS} events by the horizon is called insufficient and gets no number. A "
        "concordance or AUC is not comparable between groups whose risks spread differently: calibration and prediction error are."
    )

    groups: pd.DataFrame
    """Columns group, n, events (both NaN where suppressed), verdict (``estimated`` or ``insufficient``), reason."""
    measures: pd.DataFrame
    """Columns group, measure, value, low, high, se; NaN in a group whose verdict is insufficient."""
    factor: str
    horizon: float
    unit: str
    kind: Kind

    def heading(self) -> str:
        """Return the title with what the groups are."""
        return f"Performance by {self.factor}"

    def frame(self) -> pd.DataFrame:
        """Return one row a group and measure."""
        return self.groups.merge(self.measures, on="group", how="left", sort=False)

    def estimate(self, group: str, measure: str) -> Estimate:
        """Return one number of a group; NaN where its events are insufficient."""
        row = self.measures[(self.measures["group"] == group) & (self.measures["measure"] == measure)].iloc[0]
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), scale=measure, kind=self.kind,
                        se=float(row["se"]))  # fmt: skip

    def text(self) -> str:
        """Return the range of observed over expected and AUC, and which groups are insufficient."""
        enough = self.groups.loc[self.groups["verdict"] == "estimated", "group"].tolist()
        few = [name for name in self.groups["group"] if name not in enough]
        left = (
            f" Insufficient (fewer than {FEWEST_EVENTS} events, or too few followed so long): {', '.join(few)}."
            if few
            else ""
        )
        if not enough:
            return f"No group by {self.factor} has enough events by {self.horizon:g} {self.unit} to be judged.{left}"
        shown = [
            f"{name}: observed over expected {self.estimate(name, 'observed over expected').text()}, AUC "
            f"{self.estimate(name, 'AUC').text()}"
            for name in enough[:4]
        ]
        more = f"; {counted(len(enough) - 4, 'more group')} in the table" if len(enough) > 4 else ""
        return f"By {self.factor} at {self.horizon:g} {self.unit} ({kind_words(self.kind)}): {'; '.join(shown)}{more}.{left}"

    def scalars(self) -> dict[str, float]:
        """Return each judged group's numbers with limits, and how many groups are insufficient."""
        return group_numbers(self.groups, self.measures, self.factor, f"{self.horizon:g}{self.unit}_{self.kind}")

    def table(self) -> pd.DataFrame:
        """Return groups as rows and measures as columns, in words."""
        rows = group_rows(self.groups, self.measures, ("n", "events"))
        return pd.DataFrame(rows, columns=[self.factor, "Patients", "Events", *MEASURES])

    def draw(self, figure: Any) -> None:
        """Draw observed over expected and AUC of the judged groups."""
        draw_groups(figure, self.groups, self.measures, ("observed over expected", "AUC"), right=1.0)


def group_numbers(groups: pd.DataFrame, measures: pd.DataFrame, factor: str, of: str) -> dict[str, float]:
    """Return each judged group's numbers with limits by name, and how many groups are insufficient; `of` ends the names."""
    numbers = {f"insufficient_groups_{factor}": float((groups["verdict"] == "insufficient").sum())}
    for row in measures.dropna(subset=["value"]).itertuples():
        short = row.measure.lower().replace("'", "").replace("²", "2")
        name = f"{short}_{factor}_{row.group}_{of}".replace(" ", "_")
        numbers |= {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
    return numbers


def group_rows(groups: pd.DataFrame, measures: pd.DataFrame, counts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return a row of words for each group: its name, its counts, its measures with limits."""
    rows = []
    for group in groups.to_dict("records"):
        own = measures[measures["group"] == group["group"]]
        words = [
            f"{format_number(row.value)} ({format_number(row.low)} to {format_number(row.high)})"
            if group["verdict"] == "estimated"
            else "insufficient"
            for row in own.itertuples()
        ]
        shown = ["suppressed" if math.isnan(group[name]) else format_count(group[name]) for name in counts]
        rows.append((group["group"], *shown, *words))
    return rows


def draw_groups(
    figure: Any, groups: pd.DataFrame, measures: pd.DataFrame, shown: tuple[str, str], *, right: float
) -> None:
    """Draw two measures of the judged groups side by side, a line where the first one would be right."""
    names = groups["group"].tolist()
    first, second = figure.subplots(1, 2, sharey=True)
    for axes, measure in zip((first, second), shown, strict=True):
        rows = measures[measures["measure"] == measure].set_index("group").loc[names]
        values = rows["value"].to_numpy()
        spread = np.abs(rows[["low", "high"]].to_numpy().T - values)
        axes.errorbar(values, np.arange(len(names)), xerr=spread, fmt="o", color=COLOURS["experimental"], capsize=3)
        axes.set_xlabel(f"{measure} (95% CI)")
        axes.set_yticks(np.arange(len(names)), [plain_text(name) for name in names])
    first.axvline(right, color=COLOURS["reference"], linestyle="--", linewidth=1)
    first.invert_yaxis()


def performance_by_group(
    time: Any,
    event: Any,
    risk_at_horizon: Any,
    groups: Any,
    *,
    factor: str,
    horizon: float,
    unit: str,
    kind: Kind,
    competing: Any = None,
) -> GroupPerformance:
    """Judge predicted risks within groups of patients.

    Parameters
    ----------
    time, event, competing
        As in `brier`, shape ``(n,)``.
    risk_at_horizon
        Predicted probabilities of the event by the horizon, shape ``(n,)``.
    groups
        The stratum or group of each patient, known at baseline, shape ``(n,)``.
    factor
        What the groups are, for print: ``"stratum"``, ``"sex"``.
    horizon, unit
        Where risks are read.
    kind
        What the predictions are.

    Returns
    -------
    GroupPerformance
        With fewer than 20 events by the horizon, or fewer than 10 patients followed beyond it, a group's verdict is
        insufficient and its numbers are NaN. The null model of a group's IPA gives everybody the group's own risk.

    Raises
    ------
    DataError
        If the data cannot be used, a risk is no probability or a group is missing.
    """
    outcome = checked_outcome(time, event, competing)
    risk = checked_risk(risk_at_horizon, outcome.time.size)
    labels, codes = checked_labels(groups, risk.size, factor)
    rows, measures = [], []
    for k, label in enumerate(labels):
        own = codes == k
        part = Outcome(outcome.time[own], outcome.event[own], outcome.competing[own])
        events = int((part.event & not_after(part.time, horizon)).sum())
        reason = _too_few(part, events, horizon)
        rows.append((str(label), float(own.sum()), float(events), "insufficient" if reason else "estimated", reason))
        found = {} if reason else _within(part, risk[own], horizon)
        measures += [(str(label), name, *found.get(name, (math.nan,) * 4)) for name in MEASURES]
    frame = pd.DataFrame(rows, columns=["group", "n", "events", "verdict", "reason"])
    for column in ("n", "events"):
        frame.loc[suppressed([int(count) for count in frame[column]]), column] = math.nan
    return GroupPerformance(
        groups=frame,
        measures=pd.DataFrame(measures, columns=["group", "measure", "value", "low", "high", "se"]),
        factor=factor,
        horizon=horizon,
        unit=unit,
        kind=kind,
    )


def _too_few(part: Outcome, events: int, horizon: float) -> str:
    """Say why a group cannot be judged, without a count that ought to be suppressed; empty where it can."""
    if events < FEWEST_EVENTS:
        return f"fewer than {FEWEST_EVENTS} events by the horizon"
    if int((~not_after(part.time, horizon)).sum()) < FEWEST_AT_RISK:
        return f"fewer than {FEWEST_AT_RISK} patients followed beyond the horizon"
    return ""


def _within(part: Outcome, risk: NDArray[np.float64], horizon: float) -> dict[str, tuple[float, float, float, float]]:
    arguments: dict[str, Any] = {"competing": part.competing}
    score = brier(part.time, part.event, risk, horizon, **arguments)
    area = cumulative_dynamic_auc(part.time, part.event, risk, horizon, **arguments)
    ratio = observed_over_expected(part.time, part.event, risk, horizon, **arguments)
    found = {
        "AUC": _limits(area.value, area.se, 0.0, 1.0),
        "Brier score": _limits(score.value, score.se, 0.0, 1.0),
        "IPA": _limits(score.ipa, score.ipa_se, -math.inf, 1.0),
        "observed over expected": (ratio.value, ratio.low, ratio.high, ratio.se),
    }
    try:
        found["calibration slope"] = _limits(*calibration_slope(part.time, part.event, risk, horizon, **arguments))
    except AnalysisError:  # all risks of the group are one
        found["calibration slope"] = (math.nan,) * 4
    c = concordance(part.time, part.event, risk, tau=horizon, **arguments)
    found["Harrell's C"] = _limits(c.value, c.se, 0.0, 1.0)
    return found


def _limits(
    value: float, se: float, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float, float, float]:
    return value, max(value - Z95 * se, least), min(value + Z95 * se, most), se

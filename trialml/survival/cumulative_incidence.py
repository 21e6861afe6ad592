"""Cumulative incidence of competing events by group: the result that reports print and draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import Estimate, Result, counted, format_count, format_number, with_limits
from trialml.survival.aalen_johansen import (
    IncidenceCurves,
    IncidenceVariance,
    aalen_johansen,
    checked_causes,
    incidence_limits,
)
from trialml.survival.intervals import normal_quantile
from trialml.survival.product_limit import step_at
from trialml.survival.rows import coded_labels
from trialml.survival.ties import TIE_TOLERANCE, group_order

__all__ = ["CumulativeIncidence", "cumulative_incidence"]


@dataclass(frozen=True, eq=False)
class CumulativeIncidence(Result):
    """Cumulative incidences of one or several groups and causes.

    Attributes
    ----------
    curves
        One row a group, cause and distinct time: group, cause, time, n_risk, n_event, n_censor, incidence, se, low, high.
        Limits are NaN where the incidence is 0 or 1.
    groups, causes
        The labels in display order.
    sizes
        One row a group and cause: group, cause, patients, events.
    unit
        Of time.
    milestone
        The time at which the table reads the incidences; None for the end of each group's follow-up.
    interval, variance, level
        The kind of the pointwise limits, the variance behind them, and their level.
    since
        What time starts with.
    """

    title: ClassVar[str] = "Cumulative incidence"
    references: ClassVar[tuple[str, ...]] = (
        "Aalen OO, Johansen S. An empirical transition matrix for non-homogeneous Markov chains based on censored "
        "observations. Scand J Stat 1978;5:141-150.",
    )
    methods: ClassVar[str] = (
        "Cumulative incidences in the presence of competing events are Aalen-Johansen estimates; patients with a competing "
        "event are not censored by it. Curves are drawn as long as at least 10 % of a group's patients are at risk."
    )
    figure_size: ClassVar[tuple[float, float]] = (7.2, 4.8)

    curves: pd.DataFrame
    groups: tuple[str, ...]
    causes: tuple[str, ...]
    sizes: pd.DataFrame
    unit: str
    milestone: float | None
    interval: str
    variance: str
    level: float
    since: str = "randomisation"

    def frame(self) -> pd.DataFrame:
        """Return every step of every curve."""
        return self.curves

    def curve(self, cause: str, group: str | None = None) -> pd.DataFrame:
        """Return the steps of one cause in one group; None where there is one group only."""
        if group is None:
            if len(self.groups) > 1:
                raise DataError(f"there are {len(self.groups)} groups: name one of {', '.join(self.groups)}")
            group = self.groups[0]
        for name, value, known in (("group", group, self.groups), ("cause", cause, self.causes)):
            if value not in known:
                raise DataError(f"there is no {name} '{value}': {nearest(value, known)}")
        return self.curves[(self.curves["group"] == group) & (self.curves["cause"] == cause)]

    def at(self, t: float, cause: str, group: str | None = None) -> Estimate:
        """Return the cumulative incidence of `cause` at `t`.

        Raises
        ------
        AnalysisError
            If `t` is after the last follow-up of the group and somebody was then still without an event.
        """
        rows = self.curve(cause, group)
        name, last = rows["group"].iloc[0], float(rows["time"].iloc[-1])
        if not t >= 0:
            raise DataError(f"t is {t}, but a curve is read at times from 0 on")
        if t > last * (1 + TIE_TOLERANCE) and rows["n_censor"].iloc[-1] > 0:
            raise AnalysisError(
                f"the cumulative incidence at {t:g} {self.unit} is not known: follow-up of group '{name}' ends at {last:g} "
                f"{self.unit} with patients still without an event"
            )
        value, se, low, high = (
            float(step_at(rows["time"], rows[column], t, initial=start))
            for column, start in (("incidence", 0.0), ("se", 0.0), ("low", np.nan), ("high", np.nan))
        )
        mine = self.sizes[(self.sizes["group"] == name) & (self.sizes["cause"] == cause)].iloc[0]
        return Estimate(
            value, low, high, f"cumulative incidence of {cause} at {t:g} {self.unit}", "", "direct", self.level, se,
            int(mine["patients"]), int(mine["events"]), f"Aalen-Johansen, {self.variance} variance, {self.interval} limits",
        )  # fmt: skip

    def _readings(self) -> list[tuple[str, str, float, Estimate | None]]:
        found: list[tuple[str, str, float, Estimate | None]] = []
        for cause in self.causes:
            for group in self.groups:
                t = self.milestone or float(self.curve(cause, group)["time"].iloc[-1])
                try:
                    found.append((cause, group, t, self.at(t, cause, group)))
                except AnalysisError:
                    found.append((cause, group, t, None))
        return found

    def table(self) -> pd.DataFrame:
        """Return one row a cause and group: patients, events, and the incidence at the milestone or the end."""
        rows = []
        for cause, group, t, read in self._readings():
            mine = self.sizes[(self.sizes["group"] == group) & (self.sizes["cause"] == cause)].iloc[0]
            words = "beyond follow-up" if read is None else read.text()
            counts = (format_count(mine["patients"]), format_count(mine["events"]))
            rows.append((cause, group, *counts, format_number(t), words))
        columns = ["Cause", "Group", "Patients", "Events", f"Time, {self.unit}", "Cumulative incidence"]
        return pd.DataFrame(rows, columns=columns)

    def text(self) -> str:
        """Return the incidences at the milestone or the end of follow-up in words."""
        parts = [
            f"{cause}, {group}: {read.text()} by {format_number(t)} {self.unit}"
            for cause, group, t, read in self._readings()
            if read is not None
        ]
        patients = counted(self.sizes.drop_duplicates("group")["patients"].sum(), "patient")
        words = "; ".join(parts) or f"no group was followed to {self.milestone:g} {self.unit}"
        return f"Cumulative incidence (Aalen-Johansen, {patients}): {words}."

    def scalars(self) -> Mapping[str, float]:
        """Return each incidence at the milestone or the end of follow-up, with limits."""
        numbers: dict[str, float] = {}
        for cause, group, t, read in self._readings():
            if read is not None:
                when = f"at_{t:g}_{self.unit}" if self.milestone else "at_end"
                name = f"incidence_{cause}_{when}" + ("" if len(self.groups) == 1 else f"_{group}")
                numbers |= with_limits({name: read})
        return numbers

    def draw(self, figure: Any) -> None:
        """Draw a panel a cause with the curves by group and, under each axis, the numbers at risk."""
        from trialml.survival.incidence_figure import draw_cumulative_incidence

        draw_cumulative_incidence(self, figure)


def cumulative_incidence(
    time: Any,
    cause: Any,
    *,
    group: Any = None,
    order: Sequence[str] | None = None,
    censored: Any = 0,
    causes: Mapping[Any, str] | None = None,
    unit: str = "days",
    milestone: float | None = None,
    interval: Literal["log-log", "plain", "complementary log-log"] = "log-log",
    variance: IncidenceVariance = "jackknife",
    level: float = 0.95,
    since: str = "randomisation",
) -> CumulativeIncidence:
    """Return cumulative incidences of competing events, by group where one is given.

    Parameters
    ----------
    time
        Follow-up times from randomisation to the first event of any cause or to censoring, shape ``(n,)``.
    cause
        What ended each patient's follow-up: a code or word, shape ``(n,)``.
    group, order
        One label a patient, and the labels in display order, control first.
    censored
        The code of follow-up that was cut.
    causes
        What each other code means, in display order: ``{1: "relapse", 2: "death"}``. By default the codes found are
        their own names; where given, any other code is refused.
    unit
        Of time, for print.
    milestone
        A time at which the table reads the curves.
    interval
        ``"log-log"``, as R's ``survfit``; ``"plain"``; or ``"complementary log-log"``: see `incidence_limits`.
    variance
        ``"jackknife"``, as R's ``survfit``; or ``"delta"``, as ``cmprsk::cuminc``.
    level
        Of the limits.
    since
        What time starts with, for print.

    Returns
    -------
    CumulativeIncidence

    Raises
    ------
    DataError
        If the data cannot be used or a code is not among `causes`.
    AnalysisError
        If nobody had an event.
    """
    data = checked_causes(time, cause, censored=censored, causes=causes)
    if milestone is not None and not (np.isfinite(milestone) and milestone > 0):
        raise DataError(f"milestone is {milestone}, but it must be a time above 0")
    labels, codes = coded_labels(group, data.time.size, "group")
    names = labels.astype(str) if group is not None else np.array(["All patients"])
    shown = group_order(names, order)
    position = {name: i for i, name in enumerate(names.tolist())}
    z = normal_quantile(level)
    frames, sizes = [], []
    for name in shown:
        mine = codes == position[name]
        found = aalen_johansen(data.time[mine], data.code[mine], len(data.causes), variance)
        frames += [_steps(name, label, found, j, interval, z) for j, label in enumerate(data.causes)]
        counts = np.bincount(data.code[mine], minlength=len(data.causes) + 1)[1:]
        sizes += [
            {"group": name, "cause": label, "patients": int(mine.sum()), "events": int(n)}
            for label, n in zip(data.causes, counts, strict=True)
        ]
    return CumulativeIncidence(
        pd.concat(frames, ignore_index=True), shown, data.causes, pd.DataFrame(sizes), unit, milestone, interval, variance,
        level, since,
    )  # fmt: skip


def _steps(group: str, cause: str, found: IncidenceCurves, j: int, interval: str, z: float) -> pd.DataFrame:
    low, high = incidence_limits(found.incidence[:, j], found.se[:, j], interval, z)
    counts = {"n_risk": found.n_risk, "n_event": found.n_event[:, j], "n_censor": found.n_censor}
    columns: dict[str, Any] = {"group": group, "cause": cause, "time": found.time}
    columns |= {name: count.astype(int) for name, count in counts.items()}
    return pd.DataFrame(columns | {"incidence": found.incidence[:, j], "se": found.se[:, j], "low": low, "high": high})

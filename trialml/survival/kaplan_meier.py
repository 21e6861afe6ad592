"""Kaplan-Meier curves by group: the result that reports print and draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import COLOURS, Estimate, Result, counted, format_count, format_number, with_limits
from trialml.survival.intervals import Interval, crossing_time, survival_limits
from trialml.survival.product_limit import (
    Curve,
    Variance,
    censoring_curve,
    curve_of_counts,
    product_limit,
    step_at,
    usual_variance,
)
from trialml.survival.rows import checked_entry, checked_subjects, checked_weights
from trialml.survival.ties import TIE_TOLERANCE, checked_labels, checked_times, group_order

__all__ = ["Curve", "KaplanMeier", "censoring_curve", "kaplan_meier", "product_limit", "step_at"]


@dataclass(frozen=True, eq=False)
class KaplanMeier(Result):
    """Kaplan-Meier curves of one or several groups.

    Attributes
    ----------
    curves
        One row a group and distinct time: group, time, n_risk, n_event, n_censor, survival, se, low, high. `se`
        is that of the probability; it and the limits are NaN where a curve has reached 0. With case weights the
        three counts are sums of weights.
    groups
        The labels in display order.
    unit
        Of time.
    milestone
        The time at which the table reads the event-free probability; None for no such column.
    interval, level
        The kind and level of the pointwise limits.
    colours
        One colour a group.
    sizes
        One row a group: group, patients, events; unweighted.
    variance
        ``"greenwood"`` or ``"robust"``, the infinitesimal jackknife over patients.
    """

    title: ClassVar[str] = "Event-free probability"
    references: ClassVar[tuple[str, ...]] = (
        "Kaplan EL, Meier P. Nonparametric estimation from incomplete observations. J Am Stat Assoc 1958;53:457-481.",
        "Brookmeyer R, Crowley J. A confidence interval for the median survival time. Biometrics 1982;38:29-41.",
    )
    methods: ClassVar[str] = (
        "Event-free probabilities are Kaplan-Meier estimates with Greenwood's variance unless said otherwise; medians have "
        "Brookmeyer and Crowley's limits, and median follow-up is the reverse Kaplan-Meier estimate. Curves are drawn as long "
        "as at least 10 % of a group's patients are at risk."
    )
    figure_size: ClassVar[tuple[float, float]] = (7.2, 4.8)

    curves: pd.DataFrame
    groups: tuple[str, ...]
    unit: str
    milestone: float | None
    interval: str
    level: float
    colours: tuple[str, ...]
    sizes: pd.DataFrame
    variance: str

    def frame(self) -> pd.DataFrame:
        """Return every step of every curve."""
        return self.curves

    def curve(self, group: str | None = None) -> pd.DataFrame:
        """Return the steps of one group; None where there is one group only."""
        if group is None:
            if len(self.groups) > 1:
                raise DataError(f"there are {len(self.groups)} groups: name one of {', '.join(self.groups)}")
            group = self.groups[0]
        if group not in self.groups:
            raise DataError(f"there is no group '{group}': {nearest(group, self.groups)}")
        return self.curves[self.curves["group"] == group]

    def at(self, t: float, group: str | None = None) -> Estimate:
        """Return the event-free probability at `t`.

        Raises
        ------
        AnalysisError
            If `t` is after the last follow-up of the group and its curve has not reached 0.
        """
        rows = self.curve(group)
        last, end = float(rows["time"].iloc[-1]), float(rows["survival"].iloc[-1])
        if not t >= 0:
            raise DataError(f"t is {t}, but a curve is read at times from 0 on")
        if t > last * (1 + TIE_TOLERANCE) and end > 0:
            raise AnalysisError(
                f"the event-free probability at {t:g} {self.unit} is not known: follow-up of group "
                f"'{rows['group'].iloc[0]}' ends at {last:g} {self.unit} with patients still event-free"
            )
        read = {
            name: float(step_at(rows["time"], rows[name], t, initial=start))
            for name, start in (("survival", 1.0), ("se", 0.0), ("low", 1.0), ("high", 1.0))
        }
        return self._estimate(
            rows, read["survival"], read["low"], read["high"], f"event-free probability at {t:g} {self.unit}", "",
            read["se"], f"{self._name()}, {self.interval} limits",
        )  # fmt: skip

    def median(self, group: str | None = None) -> Estimate:
        """Return the median event-free time with Brookmeyer and Crowley's limits; infinity is not reached."""
        return self.quantile(0.5, group)

    def quantile(self, p: float, group: str | None = None) -> Estimate:
        """Return the time by which a share `p` had the event, with limits from where those of the curve cross."""
        if not 0 < p < 1:
            raise DataError(f"p is {p}, but a quantile is between 0 and 1: 0.5 is the median")
        rows = self.curve(group)
        time = rows["time"].to_numpy(float)
        value, low, high = (crossing_time(time, rows[c].to_numpy(float), 1 - p) for c in ("survival", "low", "high"))
        name = "median event-free time" if p == 0.5 else f"{100 * p:g}% quantile of the event-free time"
        low, high = _known(value, low, high)
        return self._estimate(
            rows, value, low, high, name, self.unit, np.nan, f"{self._name()}, {self.interval} limits inverted"
        )

    def follow_up(self, group: str | None = None) -> Estimate:
        """Return the median follow-up with limits: the reverse Kaplan-Meier estimate, time to censoring.

        Events end the follow-up of a patient who might have been censored later; at a time with both, they leave
        before the censorings.
        """
        rows = self.curve(group)
        at_risk = rows["n_risk"].to_numpy(float) - rows["n_event"].to_numpy(float)
        cut = rows["n_censor"].to_numpy(float)
        reverse = curve_of_counts(rows["time"].to_numpy(float), at_risk, cut, rows["n_event"].to_numpy(float))
        low, high = survival_limits(reverse.survival, reverse.se_log, self.interval, self.level)  # type: ignore[arg-type]
        median, *limits = (crossing_time(reverse.time, one, 0.5) for one in (reverse.survival, low, high))
        name, method = "median follow-up", f"reverse Kaplan-Meier, {self.interval} limits inverted"
        return self._estimate(rows, median, *_known(median, limits[0], limits[1]), name, self.unit, np.nan, method)

    def numbers_at_risk(self, t: Sequence[float]) -> pd.DataFrame:
        """Return how many of each group are at risk just before each time in `t`, one column a group.

        Between two steps it is the number at risk at the later one, as R prints it.
        """
        columns: dict[str, Any] = {"time": np.asarray(t, dtype=float)}
        for group in self.groups:
            rows = self.curve(group)
            steps = rows["n_risk"].to_numpy()
            later = np.append(steps[1:], steps[:1] * 0)
            columns[group] = step_at(rows["time"], later, t, initial=float(steps[0]), left=True)
        return pd.DataFrame(columns)

    def _name(self) -> str:
        return "Kaplan-Meier" if self.variance == "greenwood" else "Kaplan-Meier with robust variance"

    def _estimate(
        self, rows: pd.DataFrame, value: float, low: float, high: float, scale: str, unit: str, se: float, method: str
    ) -> Estimate:
        size = self.sizes[self.sizes["group"] == rows["group"].iloc[0]].iloc[0]
        n, events = int(size["patients"]), int(size["events"])
        return Estimate(value, low, high, scale, unit, "direct", self.level, se, n, events, method)

    def table(self) -> pd.DataFrame:
        """Return one row a group: patients, events, median, milestone and follow-up."""
        percent = f"({100 * self.level:g}% CI)"
        columns: dict[str, list[str]] = {"Group": list(self.groups)}
        medians = [self.median(group) for group in self.groups]
        columns["Patients"] = [format_count(median.n or 0) for median in medians]
        columns["Events"] = [format_count(median.events or 0) for median in medians]
        columns[f"Median, {self.unit} {percent}"] = [_limits(median) for median in medians]
        if self.milestone is not None:
            name = f"Event-free at {self.milestone:g} {self.unit} {percent}"
            columns[name] = [self._milestone(group) for group in self.groups]
        columns[f"Median follow-up, {self.unit}"] = [
            format_number(self.follow_up(group).value) for group in self.groups
        ]
        return pd.DataFrame(columns)

    def _milestone(self, group: str) -> str:
        try:
            return _limits(_with_width(self.at(float(self.milestone or 0.0), group)))
        except AnalysisError:
            return "beyond follow-up"

    def text(self) -> str:
        """Return medians, and the milestone where there is one, in words."""
        if len(self.groups) > 2 and self._all_beyond_median():
            return self._milestone_words()
        parts = []
        for group in self.groups:
            median = self.median(group)
            name = "The patients" if len(self.groups) == 1 else f"{group}"
            if np.isinf(median.value):
                words = "the median event-free time was not reached"
                if not np.isinf(median.low):
                    words += f" ({100 * self.level:g}% CI {_limits(median, only_limits=True)})"
            else:
                words = f"the median event-free time was {median.text()}"
            parts.append(f"{name}: {counted(median.events or 0, 'event')} in {format_count(median.n or 0)}, {words}")
            if self.milestone is not None and self._milestone(group) != "beyond follow-up":
                at = _with_width(self.at(self.milestone, group))
                parts[-1] += f", and {at.text()} were event-free at {self.milestone:g} {self.unit}"
        return "; ".join(parts) + f" ({self._name()}, {self.interval} limits)."

    def _all_beyond_median(self) -> bool:
        """Whether no group's median was reached, while every group has its milestone."""
        known = self.milestone is not None and all(
            self._milestone(group) != "beyond follow-up" for group in self.groups
        )
        return known and all(np.isinf(self.median(group).value) for group in self.groups)

    def _milestone_words(self) -> str:
        """Name every group's milestone once and say once that no median was reached."""
        assert self.milestone is not None
        at = [(group, _with_width(self.at(self.milestone, group))) for group in self.groups]
        words = "; ".join(
            f"{group} {100 * found.value:.1f} %"
            + ("" if np.isnan(found.low) else f" ({100 * found.low:.1f} to {100 * found.high:.1f})")
            for group, found in at
        )
        return (
            f"Event-free at {self.milestone:g} {self.unit} ({100 * self.level:g}% CI): {words}. No group reached its median "
            f"event-free time ({self._name()}, {self.interval} limits)."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each group's median and, where there is one, its milestone with limits."""
        numbers: dict[str, float] = {}
        for group in self.groups:
            suffix = "" if len(self.groups) == 1 else f"_{group}"
            found = [("median", self.median(group))]
            if self.milestone is not None and self._milestone(group) != "beyond follow-up":
                found.append((f"event_free_at_{self.milestone:g}_{self.unit}", self.at(self.milestone, group)))
            numbers |= with_limits({f"{name}{suffix}": estimate for name, estimate in found})
        return numbers

    def draw(self, figure: Any) -> None:
        """Draw the curves with their limits and, under the axis, the numbers at risk."""
        from trialml.survival.kaplan_meier_figure import draw_kaplan_meier

        draw_kaplan_meier(self, figure)


def _with_width(estimate: Estimate) -> Estimate:
    """Return the estimate to print: R's limits of 1 to 1 before the first event are none to a reader."""
    return estimate if estimate.low < estimate.high else replace(estimate, low=np.nan, high=np.nan)


def _known(value: float, low: float, high: float) -> tuple[float, float]:
    """Return the limits of a quantile: none where it is known from a step without a variance, everybody at once."""
    return (np.nan, np.nan) if np.isfinite(value) and np.isinf(low) else (low, high)


def _limits(estimate: Estimate, *, only_limits: bool = False) -> str:
    if np.isnan(estimate.low) and np.isnan(estimate.high):
        return "n/a" if only_limits else format_number(estimate.value)
    if np.isinf(estimate.low):
        return "NR"
    limits = f"{format_number(estimate.low)} to {format_number(estimate.high)}"
    return limits if only_limits else f"{format_number(estimate.value)} ({limits})"


def kaplan_meier(
    time: Any,
    event: Any,
    *,
    group: Any = None,
    order: Sequence[str] | None = None,
    unit: str = "days",
    milestone: float | None = None,
    interval: Interval = "log-log",
    level: float = 0.95,
    colours: Sequence[str] | None = None,
    entry: Any = None,
    weights: Any = None,
    id: Any = None,  # noqa: A002  (the field's name)
    variance: Variance | None = None,
) -> KaplanMeier:
    """Return Kaplan-Meier curves, by group where one is given.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    group
        One label a patient; None for one curve of all.
    order
        The labels in display order, control first; sorted by default.
    unit
        Of time, for print.
    milestone
        A time at which the table reads the curves.
    interval
        ``"log-log"``, ``"log"``, ``"plain"``, ``"logit"`` or ``"arcsin"``: the scale on which the pointwise limits are
        symmetric.
    level
        Of the limits.
    colours
        One matplotlib colour a group; the package's own by default.
    entry
        When each row came under observation (left truncation), shape ``(n,)``; None for time 0.
    weights
        Case weights above 0, shape ``(n,)``; None for 1 each.
    id
        One label a row where a patient has several rows, which must follow one another: a patient here, whereas in `cox` an
        id may be any cluster of dependent rows.
    variance
        ``"greenwood"`` or ``"robust"``; None chooses as `product_limit` does.

    Returns
    -------
    KaplanMeier
        Patients censored at an event time are at risk of that event.

    Raises
    ------
    DataError
        If the data cannot be used, or `order` or `colours` do not fit the groups.
    """
    times, flags = checked_times(time, event)
    labels, codes = checked_labels(group, times.size, "group")
    names = labels.astype(str) if group is not None else np.array(["All patients"])
    shown = group_order(names, order)
    palette = tuple(colours) if colours is not None else _default_colours(len(shown))
    if len(palette) < len(shown):
        raise DataError(f"colours holds {len(palette)} colours for {len(shown)} groups: pass one a group")
    if milestone is not None and not (np.isfinite(milestone) and milestone > 0):
        raise DataError(f"milestone is {milestone}, but it must be a time above 0")
    entries, case_weights = checked_entry(entry, times), checked_weights(weights, times.size)
    subjects = checked_subjects(id, times, entries)
    variance = usual_variance(flags, case_weights, subjects) if variance is None else variance
    rows: dict[str, Any] = {"entry": entries, "weights": case_weights, "id": subjects}
    position = {name: i for i, name in enumerate(names.tolist())}
    frames, sizes = [], []
    for name in shown:
        mine = codes == position[name]
        own = {key: None if values is None else values[mine] for key, values in rows.items()}
        curve = product_limit(times[mine], flags[mine], variance=variance, **own)
        frames.append(_steps(name, curve, interval, level, whole=weights is None))
        patients = int(mine.sum()) if own["id"] is None else np.unique(own["id"]).size
        sizes.append({"group": name, "patients": patients, "events": int(flags[mine].sum())})
    curves = pd.concat(frames, ignore_index=True)
    return KaplanMeier(
        curves, shown, unit, milestone, interval, level, palette[: len(shown)], pd.DataFrame(sizes), variance
    )


def _steps(name: str, curve: Curve, interval: Interval, level: float, *, whole: bool) -> pd.DataFrame:
    low, high = survival_limits(curve.survival, curve.se_log, interval, level)
    ended = curve.survival <= 0
    se = np.where(ended, np.nan, curve.survival * np.where(ended, 0.0, curve.se_log))
    counts = {"n_risk": curve.n_risk, "n_event": curve.n_event, "n_censor": curve.n_censor}
    columns: dict[str, Any] = {"group": name, "time": curve.time}
    columns |= {label: count.astype(int) if whole else count for label, count in counts.items()}
    return pd.DataFrame(columns | {"survival": curve.survival, "se": se, "low": low, "high": high})


def _default_colours(size: int) -> tuple[str, ...]:
    if size == 1:
        return (COLOURS["experimental"],)
    base = [colour for name, colour in COLOURS.items() if name != "reference"]
    return tuple(base[i % len(base)] for i in range(size))

"""The cumulative hazard by group: Nelson and Aalen's estimate, or Fleming and Harrington's with ties broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import COLOURS, Estimate, Result, counted, format_count, format_number, plain_text
from trialml.survival.intervals import normal_quantile
from trialml.survival.kaplan_meier_figure import LINE_STYLES, drawn_rows
from trialml.survival.product_limit import Curve, Variance, product_limit, step_at, usual_variance
from trialml.survival.rows import checked_entry, checked_subjects, checked_weights
from trialml.survival.ties import TIE_TOLERANCE, Array, checked_labels, checked_times, group_order

__all__ = ["NelsonAalen", "nelson_aalen", "tie_corrected_hazard"]


@dataclass(frozen=True, eq=False)
class NelsonAalen(Result):
    """Cumulative hazards of one or several groups.

    Attributes
    ----------
    curves
        One row a group and distinct time: group, time, n_risk, n_event, n_censor, cumulative_hazard, se, low, high,
        and the event-free probability that it implies, ``exp(-H)``: survival, survival_se, survival_low, survival_high.
    groups
        The labels in display order.
    sizes
        One row a group: group, patients, events; unweighted.
    unit
        Of time.
    ties
        ``"aalen"`` or ``"fleming-harrington"``.
    interval, level
        The kind and level of the pointwise limits of the cumulative hazard.
    """

    title: ClassVar[str] = "Cumulative hazard"
    references: ClassVar[tuple[str, ...]] = (
        "Nelson W. Theory and applications of hazard plotting for censored failure data. Technometrics 1972;14:945-966.",
        "Aalen OO. Nonparametric inference for a family of counting processes. Ann Stat 1978;6:701-726.",
        "Fleming TR, Harrington DP. Nonparametric estimation of the survival distribution in censored data. Commun Stat "
        "Theory Methods 1984;13:2469-2486.",
    )
    methods: ClassVar[str] = (
        "Cumulative hazards are Nelson-Aalen estimates (events over patients at risk, added up over event times)."
    )

    curves: pd.DataFrame
    groups: tuple[str, ...]
    sizes: pd.DataFrame
    unit: str
    ties: str
    interval: str
    level: float

    def frame(self) -> pd.DataFrame:
        """Return every step of every curve."""
        return self.curves

    def at(self, t: float, group: str | None = None) -> Estimate:
        """Return the cumulative hazard at `t`.

        Raises
        ------
        AnalysisError
            If `t` is after the last follow-up of the group.
        """
        if group is None and len(self.groups) == 1:
            group = self.groups[0]
        if group not in self.groups:
            raise DataError(f"there is no group '{group}': {nearest(str(group), self.groups)}")
        rows = self.curves[self.curves["group"] == group]
        last = float(rows["time"].iloc[-1])
        if not 0 <= t <= last * (1 + TIE_TOLERANCE):
            raise AnalysisError(
                f"the cumulative hazard at {t:g} {self.unit} is not known: follow-up of group '{group}' is from 0 to {last:g}"
            )
        value, se, low, high = (
            float(step_at(rows["time"], rows[name], t, initial=0.0))
            for name in ("cumulative_hazard", "se", "low", "high")
        )
        size = self.sizes[self.sizes["group"] == group].iloc[0]
        return Estimate(
            value, low, high, f"cumulative hazard at {t:g} {self.unit}", "", "direct", self.level, se,
            int(size["patients"]), int(size["events"]), f"{self._name()}, {self.interval} limits",
        )  # fmt: skip

    def _name(self) -> str:
        return "Nelson-Aalen" if self.ties == "aalen" else "Fleming-Harrington"

    def _last(self) -> list[tuple[str, float, Estimate]]:
        found = []
        for group in self.groups:
            last = float(self.curves.loc[self.curves["group"] == group, "time"].iloc[-1])
            found.append((group, last, self.at(last, group)))
        return found

    def table(self) -> pd.DataFrame:
        """Return one row a group: patients, events and the cumulative hazard at the end of its follow-up."""
        rows = [
            (group, format_count(end.n or 0), format_count(end.events or 0), format_number(last), end.text())
            for group, last, end in self._last()
        ]
        names = ["Group", "Patients", "Events", f"Follow-up, {self.unit}", "Cumulative hazard at its end"]
        return pd.DataFrame(rows, columns=names)

    def text(self) -> str:
        """Return the cumulative hazard at the end of each group's follow-up."""
        parts = [
            f"{group}: {end.text()} by {format_number(last)} {self.unit} ({counted(end.events or 0, 'event')} in "
            f"{format_count(end.n or 0)})"
            for group, last, end in self._last()
        ]
        return f"Cumulative hazard ({self._name()}): {'; '.join(parts)}."

    def scalars(self) -> Mapping[str, float]:
        """Return each group's cumulative hazard at the end of its follow-up."""
        suffixes = ["" if len(self.groups) == 1 else f"_{group}" for group in self.groups]
        return {
            f"cumulative_hazard_at_end{suffix}": end.value
            for suffix, (_, _, end) in zip(suffixes, self._last(), strict=True)
        }

    def draw(self, figure: Any) -> None:
        """Draw the cumulative hazards with their limits, as long as a tenth of a group is at risk."""
        axes = figure.subplots()
        palette = [colour for name, colour in COLOURS.items() if name != "reference"]
        for i, group in enumerate(self.groups):
            rows = drawn_rows(self.curves[self.curves["group"] == group])
            time = np.concatenate(([0.0], rows["time"].to_numpy(float)))
            value, low, high = (
                np.concatenate(([0.0], rows[name].to_numpy(float))) for name in ("cumulative_hazard", "low", "high")
            )
            colour = palette[i % len(palette)]
            axes.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
            style = LINE_STYLES[i % len(LINE_STYLES)]
            axes.step(time, value, where="post", color=colour, linestyle=style, label=plain_text(group))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"Time from randomisation ({plain_text(self.unit)})")
        axes.set_ylabel("Cumulative hazard")
        axes.spines[["top", "right"]].set_visible(False)
        if len(self.groups) > 1:
            axes.legend(frameon=False)


def nelson_aalen(
    time: Any,
    event: Any,
    *,
    group: Any = None,
    order: Sequence[str] | None = None,
    unit: str = "days",
    ties: Literal["aalen", "fleming-harrington"] = "aalen",
    interval: Literal["plain", "log"] = "log",
    level: float = 0.95,
    entry: Any = None,
    weights: Any = None,
    id: Any = None,  # noqa: A002  (the field's name)
    variance: Variance | None = None,
) -> NelsonAalen:
    """Return the cumulative hazard, by group where one is given.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    group, order
        One label a patient, and the labels in display order.
    unit
        Of time, for print.
    ties
        ``"aalen"`` adds up ``d / n``, with variance ``d / n^2``; ``"fleming-harrington"`` breaks ties of d events, adding
        ``1/n + 1/(n-1) + ... + 1/(n-d+1)``, with the squares as variance. It takes no weights and no `id`.
    interval
        ``"log"``: ``H exp(-+ z se / H)``; ``"plain"``: ``H -+ z se``, not below 0. R's limits of the kind "log-log" and
        "log" for ``exp(-H)`` are these two.
    level
        Of the limits.
    entry, weights, id, variance
        As in `kaplan_meier`.

    Returns
    -------
    NelsonAalen

    Raises
    ------
    DataError
        If the data cannot be used, or `ties` or `interval` is unknown.
    """
    times, flags = checked_times(time, event)
    entries, case_weights = checked_entry(entry, times), checked_weights(weights, times.size)
    subjects = checked_subjects(id, times, entries)
    variance = usual_variance(flags, case_weights, subjects) if variance is None else variance
    if ties not in ("aalen", "fleming-harrington"):
        raise DataError(f"ties is '{ties}', but it must be 'aalen' or 'fleming-harrington'")
    if ties != "aalen" and (weights is not None or id is not None or variance != "greenwood"):
        raise DataError("ties is 'fleming-harrington', which takes no weights, id or robust variance: use ties='aalen'")
    labels, codes = checked_labels(group, times.size, "group")
    names = labels.astype(str) if group is not None else np.array(["All patients"])
    shown = group_order(names, order)
    position = {name: i for i, name in enumerate(names.tolist())}
    frames, sizes = [], []
    for name in shown:
        mine = codes == position[name]
        own = [None if one is None else one[mine] for one in (case_weights, entries, subjects)]
        curve = product_limit(times[mine], flags[mine], own[0], entry=own[1], id=own[2], variance=variance)
        frames.append(_steps(name, curve, ties, interval, level, whole=weights is None))
        patients = int(mine.sum()) if subjects is None else np.unique(subjects[mine]).size
        sizes.append({"group": name, "patients": patients, "events": int(flags[mine].sum())})
    curves = pd.concat(frames, ignore_index=True)
    return NelsonAalen(curves, shown, pd.DataFrame(sizes), unit, ties, interval, level)


def tie_corrected_hazard(n_risk: Array, n_event: Array) -> tuple[Array, Array]:
    """Return Fleming and Harrington's cumulative hazard and its standard error, shape ``(k,)`` each, of whole counts."""
    events = n_event.astype(int)
    place = np.repeat(np.arange(events.size), events)
    first = np.cumsum(events) - events
    left = np.repeat(n_risk, events) - (np.arange(place.size) - first[place])
    hazard, variance = (np.bincount(place, one, events.size) for one in (1 / left, 1 / left**2))
    return np.cumsum(hazard), np.sqrt(np.cumsum(variance))


def _steps(name: str, curve: Curve, ties: str, interval: str, level: float, *, whole: bool) -> pd.DataFrame:
    z = normal_quantile(level)
    hazard, se = curve.cumulative_hazard, curve.se_hazard
    if ties != "aalen":
        hazard, se = tie_corrected_hazard(curve.n_risk, curve.n_event)
    if interval == "plain":
        low, high = np.maximum(hazard - z * se, 0.0), hazard + z * se
    elif interval == "log":
        width = z * se / np.where(hazard > 0, hazard, np.nan)
        low, high = hazard * np.exp(-width), hazard * np.exp(width)
    else:
        raise DataError(f"interval is '{interval}', but it must be 'plain' or 'log'")
    survival = np.exp(-hazard)
    counts = {"n_risk": curve.n_risk, "n_event": curve.n_event, "n_censor": curve.n_censor}
    columns: dict[str, Any] = {"group": name, "time": curve.time}
    columns |= {label: count.astype(int) if whole else count for label, count in counts.items()}
    columns |= {"cumulative_hazard": hazard, "se": se, "low": low, "high": high}
    columns |= {"survival": survival, "survival_se": survival * se}
    return pd.DataFrame(columns | {"survival_low": np.exp(-high), "survival_high": np.exp(-low)})

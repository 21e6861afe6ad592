"""Milestone survival: the probability of being event-free at a time fixed beforehand, by arm and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate, Result, counted, format_count, format_number, with_limits
from trialml.survival.intervals import Interval, survival_limits
from trialml.survival.product_limit import Curve, step_at
from trialml.survival.ties import TIE_TOLERANCE
from trialml.survival.two_arms import ArmValue, difference_of, p_cell, p_words, ratio_of, two_arms

__all__ = ["Milestone", "milestone_survival"]


@dataclass(frozen=True, eq=False)
class Milestone(Result):
    """Event-free probabilities of two arms at one time, and their comparison.

    Attributes
    ----------
    arms
        One row an arm, control first: arm, patients, events (up to the milestone), survival, se, low, high; no limits
        where se is 0.
    difference, ratio
        Experimental less, and to, control; the ratio's `se` is that of its logarithm.
    p_difference, p_ratio
        Two-sided p-values of a difference of 0 and of a ratio of 1.
    z_cloglog, p_cloglog
        The comparison on the scale of ``log(-log S)``, below 0 where experimental has fewer events, and its two-sided p;
        it keeps its size better than the difference in small samples.
    at, unit, interval, level
        When, in which unit, and the kind (of each arm's) and level of limits.
    strata
        The number of strata; 1 where unstratified.
    """

    title: ClassVar[str] = "Milestone survival"
    references: ClassVar[tuple[str, ...]] = (
        "Klein JP, Logan B, Harhoff M, Andersen PK. Analyzing survival curves at a fixed point in time. Stat Med "
        "2007;26:4505-4519.",
    )
    methods: ClassVar[str] = (
        "Event-free probabilities at the milestone are Kaplan-Meier estimates with Greenwood's standard error; arms were "
        "compared by the difference and, on the log scale, by the ratio. Where stratified, each stratum weighs as its "
        "share of the patients of both arms."
    )

    arms: pd.DataFrame
    difference: Estimate
    ratio: Estimate
    p_difference: float
    p_ratio: float
    z_cloglog: float
    p_cloglog: float
    at: float
    unit: str
    interval: str
    level: float
    strata: int

    def heading(self) -> str:
        """Return the title with the time."""
        return f"{self.title} at {self.at:g} {self.unit}"

    def frame(self) -> pd.DataFrame:
        """Return the arms and the comparisons in one tidy table."""
        rows: list[dict[str, Any]] = [
            {"quantity": "survival", "arm": row.arm, "patients": row.patients, "events": row.events}
            | {"value": row.survival, "se": row.se, "low": row.low, "high": row.high, "p": np.nan}
            for row in self.arms.itertuples()
        ]
        both = f"{self.arms['arm'].iloc[1]} to {self.arms['arm'].iloc[0]}"
        for name, one, p in (("difference", self.difference, self.p_difference), ("ratio", self.ratio, self.p_ratio)):
            rows.append(
                {"quantity": name, "arm": both, "patients": one.n, "events": one.events, "value": one.value}
                | {"se": one.se, "low": one.low, "high": one.high, "p": p}
            )
        rows.append(
            {
                "quantity": "z of log(-log S)",
                "arm": both,
                "patients": self.difference.n,
                "events": self.difference.events,
            }
            | {"value": self.z_cloglog, "se": np.nan, "low": np.nan, "high": np.nan, "p": self.p_cloglog}
        )
        return pd.DataFrame(rows).assign(at=self.at, unit=self.unit)

    def table(self) -> pd.DataFrame:
        """Return a row an arm, then difference and ratio."""
        rows = [
            (
                row.arm,
                format_count(row.patients),
                format_count(row.events),
                _limits(row.survival, row.low, row.high),
                "",
            )
            for row in self.arms.itertuples()
        ]
        n, events = format_count(self.difference.n or 0), format_count(self.difference.events or 0)
        control, experimental = self.arms["arm"]
        for words, one, p in (
            (f"{experimental} \N{MINUS SIGN} {control}", self.difference, self.p_difference),
            (f"{experimental} / {control}", self.ratio, self.p_ratio),
        ):
            rows.append((words, n, events, _limits(one.value, one.low, one.high), p_cell(p, one)))
        name = f"Event-free at {self.at:g} {self.unit} ({100 * self.level:g}% CI)"
        return pd.DataFrame(rows, columns=["Arm", "Patients", "Events by then", name, "p (two-sided)"])

    def text(self) -> str:
        """Return the comparison in words."""
        control, experimental = self.arms.itertuples()
        strata = f", standardised over {self.strata} strata" if self.strata > 1 else ""
        return (
            f"At {self.at:g} {self.unit}, {100 * experimental.survival:.1f} % of arm {experimental.arm} and "
            f"{100 * control.survival:.1f} % of arm {control.arm} were event-free (Kaplan-Meier, "
            f"{counted(self.difference.n or 0, 'patient')}{strata}). The difference, {experimental.arm} less "
            f"{control.arm}, is {self.difference.text()}, {p_words(self.p_difference, self.difference)}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return difference and ratio with their limits."""
        name = f"at_{self.at:g}_{self.unit}"
        return with_limits({f"milestone_difference_{name}": self.difference, f"milestone_ratio_{name}": self.ratio})


def _limits(value: float, low: float, high: float) -> str:
    if np.isnan(low):
        return format_number(value)
    return f"{format_number(value)} ({format_number(low)} to {format_number(high)})"


def milestone_survival(
    time: Any,
    event: Any,
    group: Any,
    *,
    control: str,
    experimental: str,
    at: float,
    strata: Any = None,
    unit: str = "days",
    interval: Interval = "log-log",
    level: float = 0.95,
) -> Milestone:
    """Return the event-free probabilities of two arms at one time, with their difference and ratio.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    group
        One arm label a patient; patients of other arms are left out.
    control, experimental
        The labels to compare.
    at
        The milestone, in the unit of `time`: fixed in the protocol, not chosen from the curves.
    strata
        One label a patient. The probability of an arm is then ``sum_s(w_s S_s)``, ``w_s`` the stratum's share of the
        patients of both arms; its variance ``sum_s(w_s^2 se_s^2)`` takes the shares as given.
    unit
        For print.
    interval, level
        Kind of limits of each arm's probability, and the level of all limits.

    Returns
    -------
    Milestone
        Normal limits for the difference, with the variance ``se_1^2 + se_0^2`` of Greenwood's standard errors; limits of the
        ratio on the log scale; and the test on the scale of ``log(-log S)``. Events are counted up to the milestone. Where
        nobody or everybody of an arm had had the event by then, its variance is 0 and it has no limits.

    Raises
    ------
    DataError
        If an arm has no patient, or `at` is not above 0.
    AnalysisError
        If follow-up of an arm, or of an arm in a stratum, ends before `at` while its curve is above 0.
    """
    data = two_arms(time, event, group, control, experimental, strata)
    if not (np.isfinite(at) and at > 0):
        raise DataError(f"at is {at}, but a milestone is a time above 0")
    for name, curve in data.named_curves().items():
        if at > curve.time[-1] * (1 + TIE_TOLERANCE) and curve.survival[-1] > 0:
            raise AnalysisError(
                f"at is {at:g}, but follow-up of {name} ends at {curve.time[-1]:g} with patients still event-free: "
                f"choose a milestone of at most {curve.time[-1]:.10g} {unit}"
            )
    first, second = data.averages(lambda curve: _read(curve, at))
    rows, by_then = [], data.events_by(at)
    for arm, n, events, found in zip(data.arms, data.patients, by_then, (first, second), strict=True):
        # Without a variance the plain and log limits would be a point.
        se_log = np.array([found.se / found.value if found.se > 0 else np.nan])
        low, high = survival_limits(np.array([found.value]), se_log, interval, level)
        rows.append(
            {"arm": arm, "patients": n, "events": events, "survival": found.value, "se": found.se}
            | {"low": float(low[0]), "high": float(high[0])}
        )
    shared: dict[str, Any] = {"level": level, "n": sum(data.patients), "events": sum(by_then)}
    gap, p_gap = difference_of(
        first, second, f"difference of event-free probabilities at {at:g} {unit}, marginal", "", shared
    )
    ratio, p_ratio = ratio_of(first, second, f"ratio of event-free probabilities at {at:g} {unit}, marginal", shared)
    z = _cloglog(first, second)
    return Milestone(
        pd.DataFrame(rows), gap, ratio, p_gap, p_ratio, z, 2 * float(special.ndtr(-abs(z))), float(at), unit, interval,
        level, data.strata_count,
    )  # fmt: skip


def _read(curve: Curve, t: float) -> ArmValue:
    survival = float(step_at(curve.time, curve.survival, t))
    se_log = float(step_at(curve.time, curve.se_log, t, initial=0.0))
    return ArmValue(survival, survival * se_log if survival > 0 else 0.0)


def _cloglog(control: ArmValue, experimental: ArmValue) -> float:
    if not all(0 < found.value < 1 for found in (control, experimental)):
        return float("nan")
    scale = [found.se / (found.value * np.log(found.value)) for found in (control, experimental)]
    gap = np.log(-np.log(experimental.value)) - np.log(-np.log(control.value))
    return float(gap / np.hypot(*scale))

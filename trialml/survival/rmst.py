"""Restricted mean survival time: the mean time free of the event up to tau, by arm and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate, Result, counted, format_count, format_number, with_limits
from trialml.survival.intervals import normal_quantile
from trialml.survival.product_limit import Curve, product_limit
from trialml.survival.ties import TIE_TOLERANCE
from trialml.survival.two_arms import ArmValue, difference_of, p_cell, p_words, ratio_of, two_arms

__all__ = ["RestrictedMean", "largest_tau", "refuse_tau", "restricted_mean", "restricted_mean_one"]


def largest_tau(curve: Curve) -> float:
    """Return up to when the area under a curve is known: its last time, or infinity where it has reached 0."""
    return float("inf") if curve.survival[-1] <= 0 else float(curve.time[-1])


def restricted_mean_one(time: Any, event: Any, tau: float) -> ArmValue:
    """Return the restricted mean survival time of one sample.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    tau
        Up to when, in the unit of `time`.

    Returns
    -------
    value, se
        The area A under the Kaplan-Meier curve from 0 to tau, and Greenwood's standard error, the root of
        ``sum(A(t)^2 d / (n (n - d)))`` over event times t up to tau with A(t) the area from t to tau.

    Raises
    ------
    AnalysisError
        If the curve ends before `tau` without having reached 0.

    References
    ----------
    Royston P, Parmar MKB. The use of restricted mean survival time to estimate the treatment effect in
    randomized clinical trials when the proportional hazards assumption is in doubt. Stat Med 2011;30:2409-2421.
    """
    curve = product_limit(time, event)
    refuse_tau(tau, {"": curve})
    return _area(curve, tau)


def _area(curve: Curve, tau: float) -> ArmValue:
    used = curve.time <= tau * (1 + TIE_TOLERANCE)
    edges = np.concatenate(([0.0], np.minimum(curve.time[used], tau), [tau]))
    heights = np.concatenate(([1.0], curve.survival[used]))
    pieces = heights * np.diff(edges)
    after = np.cumsum(pieces[::-1])[::-1][1:]
    n, d = curve.n_risk[used], curve.n_event[used]
    # Where everybody left has the event the area after it is 0, and so is its part of the variance.
    part = np.where(n > d, d / (n * np.maximum(n - d, 1.0)), 0.0)
    return ArmValue(float(pieces.sum()), float(np.sqrt(np.sum(after**2 * part))))


def refuse_tau(tau: float, curves: Mapping[str, Curve], unit: str = "", name: str = "tau") -> None:
    """Refuse a tau, or another time of that name, that is no time above 0 or lies beyond what is known of one of the named curves."""
    if not np.isfinite(tau) or tau <= 0:
        raise DataError(f"{name} is {tau}, but it must be a time above 0")
    ends = {name: largest_tau(curve) for name, curve in curves.items()}
    whose, most = min(ends.items(), key=lambda item: item[1])
    if tau > most * (1 + TIE_TOLERANCE):
        where = f" of {whose}" if whose else ""
        raise AnalysisError(
            f"{name} is {tau:g}, but follow-up{where} ends at {most:g} with patients still event-free: "
            f"the largest {name} possible is {most:.10g} {unit}".rstrip()
        )


@dataclass(frozen=True, eq=False)
class RestrictedMean(Result):
    """Restricted mean survival times of two arms and their comparison.

    Attributes
    ----------
    arms
        One row an arm, control first: arm, patients, events (up to tau), rmst, se, low, high; no limits where se is 0.
    difference
        Experimental less control, in the unit of time.
    ratio
        Experimental to control; `se` is that of its logarithm.
    p_difference, p_ratio
        Two-sided p-values of a difference of 0 and of a ratio of 1.
    tau, unit, level
        Up to when, in which unit, and the level of the limits.
    lost_ratio, p_lost_ratio
        Ratio of the restricted mean times lost, tau less the restricted mean, experimental to control; `se` is that of
        its logarithm. NaN where an arm lost nothing.
    strata
        The number of strata; 1 where unstratified.
    """

    title: ClassVar[str] = "Restricted mean survival time"
    references: ClassVar[tuple[str, ...]] = (
        "Royston P, Parmar MKB. The use of restricted mean survival time to estimate the treatment effect in "
        "randomized clinical trials when the proportional hazards assumption is in doubt. Stat Med "
        "2011;30:2409-2421.",
    )
    methods: ClassVar[str] = (
        "The restricted mean survival time is the area under the Kaplan-Meier curve up to tau, with Greenwood's "
        "standard error; arms were compared by the difference and, on the log scale, by the ratio. Where stratified, "
        "each stratum weighs as its share of the patients of both arms."
    )

    arms: pd.DataFrame
    difference: Estimate
    ratio: Estimate
    p_difference: float
    p_ratio: float
    tau: float
    unit: str
    level: float
    lost_ratio: Estimate
    p_lost_ratio: float
    strata: int

    def heading(self) -> str:
        """Return the title with tau."""
        return f"{self.title} up to {self.tau:g} {self.unit}"

    def frame(self) -> pd.DataFrame:
        """Return the arms and the two comparisons in one tidy table."""
        rows = [
            {"quantity": "rmst", "arm": row.arm, "patients": row.patients, "events": row.events}
            | {"value": row.rmst, "se": row.se, "low": row.low, "high": row.high, "p": np.nan}
            for row in self.arms.itertuples()
        ]
        both = f"{self.arms['arm'].iloc[1]} to {self.arms['arm'].iloc[0]}"
        for name, estimate, p in (
            ("difference", self.difference, self.p_difference),
            ("ratio", self.ratio, self.p_ratio),
            ("ratio of time lost", self.lost_ratio, self.p_lost_ratio),
        ):
            rows.append(
                {"quantity": name, "arm": both, "patients": estimate.n, "events": estimate.events}
                | {"value": estimate.value, "se": estimate.se, "low": estimate.low, "high": estimate.high, "p": p}
            )
        return pd.DataFrame(rows).assign(tau=self.tau, unit=self.unit)

    def table(self) -> pd.DataFrame:
        """Return what is printed: a row an arm, then difference and ratio."""
        rows = [
            (row.arm, format_count(row.patients), format_count(row.events), _interval(row.rmst, row.low, row.high), "")
            for row in self.arms.itertuples()
        ]
        n, events = format_count(self.arms["patients"].sum()), format_count(self.arms["events"].sum())
        control, experimental = self.arms["arm"]
        for sign, estimate, p in (
            (f"{experimental} \N{MINUS SIGN} {control}", self.difference, self.p_difference),
            (f"{experimental} / {control}", self.ratio, self.p_ratio),
        ):
            digits = _interval(estimate.value, estimate.low, estimate.high)
            rows.append((sign, n, events, digits, p_cell(p, estimate)))
        name = f"Restricted mean, {self.unit} ({100 * self.level:g}% CI)"
        return pd.DataFrame(rows, columns=["Arm", "Patients", "Events by then", name, "p (two-sided)"])

    def text(self) -> str:
        """Return the comparison in one or two sentences."""
        control, experimental = self.arms.itertuples()
        return (
            f"Up to {self.tau:g} {self.unit}, patients in arm {experimental.arm} were event-free for a mean of "
            f"{experimental.rmst:.1f} {self.unit} and in arm {control.arm} for {control.rmst:.1f} "
            f"({counted(self.difference.n or 0, 'patient')}{self._stratified()}). The difference, {experimental.arm} less "
            f"{control.arm}, is {_interval(self.difference.value, self.difference.low, self.difference.high)} "
            f"{self.unit} ({self._limits()}{p_words(self.p_difference, self.difference)})."
        )

    def _limits(self) -> str:
        return "" if np.isnan(self.difference.low) else f"{100 * self.level:g}% CI; "

    def _stratified(self) -> str:
        return f", standardised over {self.strata} strata" if self.strata > 1 else ""

    def scalars(self) -> Mapping[str, float]:
        """Return difference and ratio with their limits."""
        return with_limits({"rmst_difference": self.difference, "rmst_ratio": self.ratio})


def _interval(value: float, low: float, high: float) -> str:
    if np.isnan(low):
        return format_number(value)
    decimals = 1 if abs(value) >= 10 or abs(high - low) >= 10 else 3
    words = f"{value:,.{decimals}f} ({low:,.{decimals}f} to {high:,.{decimals}f})"
    return words.replace("-", "\N{MINUS SIGN}")


def restricted_mean(
    time: Any,
    event: Any,
    group: Any,
    *,
    control: str,
    experimental: str,
    tau: float,
    unit: str = "days",
    level: float = 0.95,
    strata: Any = None,
) -> RestrictedMean:
    """Return restricted mean survival times of two arms with their difference and ratio.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    group
        One arm label a patient; patients of other arms are left out.
    control, experimental
        The labels to compare.
    tau
        Up to when, in the unit of `time`: fixed in the protocol, not chosen from the curves.
    unit
        For print.
    level
        Of the limits.
    strata
        One label a patient. The mean of an arm is then ``sum_s(w_s A_s)`` with A_s the area in stratum s and ``w_s`` the
        stratum's share of the patients of both arms; its variance ``sum_s(w_s^2 se_s^2)`` takes the shares as given.

    Returns
    -------
    RestrictedMean
        Normal limits for means and difference; for the ratios on the log scale, ``se^2 = sum((se / mean)^2)``. Events are
        counted up to tau. An arm without any has a variance of 0, which gives no limits; where both arms are so there is no
        p-value either, and the method says why.

    Raises
    ------
    DataError
        If an arm has no patient.
    AnalysisError
        If follow-up of an arm, or of an arm in a stratum, ends before `tau` while its curve is above 0; the message gives
        the largest tau. If a stratum lacks an arm.
    """
    data = two_arms(time, event, group, control, experimental, strata)
    refuse_tau(tau, data.named_curves(), unit)
    z = normal_quantile(level)
    first, second = data.averages(lambda curve: _area(curve, tau))
    by_tau = data.events_by(tau)
    rows = [
        {"arm": arm, "patients": n, "events": events, "rmst": found.value, "se": found.se}
        | {"low": found.value - (z * found.se or np.nan), "high": found.value + (z * found.se or np.nan)}
        for arm, n, events, found in zip(data.arms, data.patients, by_tau, (first, second), strict=True)
    ]
    shared: dict[str, Any] = {"level": level, "n": sum(data.patients), "events": sum(by_tau)}
    gap, p_gap = difference_of(first, second, "RMST difference, marginal", unit, shared)
    ratio, p_ratio = ratio_of(first, second, "RMST ratio, marginal", shared)
    lost = [ArmValue(max(tau - found.value, 0.0), found.se) for found in (first, second)]
    lost_ratio, p_lost = ratio_of(lost[0], lost[1], "ratio of restricted mean times lost, marginal", shared)
    return RestrictedMean(
        pd.DataFrame(rows), gap, ratio, p_gap, p_ratio, float(tau), unit, level, lost_ratio, p_lost, data.strata_count
    )

"""Restricted mean survival time: the mean time free of the event up to tau, by arm and compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import Estimate, Result, format_count, format_p
from trialml.survival.intervals import normal_quantile
from trialml.survival.product_limit import Curve, product_limit
from trialml.survival.ties import TIE_TOLERANCE, checked_labels, checked_times

__all__ = ["RestrictedMean", "RestrictedMeanValue", "largest_tau", "restricted_mean", "restricted_mean_one"]


class RestrictedMeanValue(NamedTuple):
    """The area under a Kaplan-Meier curve up to tau and its standard error, in the unit of time."""

    value: float
    se: float


def largest_tau(curve: Curve) -> float:
    """Return up to when the area under a curve is known: its last time, or infinity where it has reached 0."""
    return float("inf") if curve.survival[-1] <= 0 else float(curve.time[-1])


def restricted_mean_one(time: Any, event: Any, tau: float) -> RestrictedMeanValue:
    """Return the restricted mean survival time of one sample.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    tau
        Up to when, in the unit of `time`.

    Returns
    -------
    RestrictedMeanValue
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
    _refuse_tau(tau, {"": curve})
    return _area(curve, tau)


def _area(curve: Curve, tau: float) -> RestrictedMeanValue:
    used = curve.time <= tau * (1 + TIE_TOLERANCE)
    edges = np.concatenate(([0.0], np.minimum(curve.time[used], tau), [tau]))
    heights = np.concatenate(([1.0], curve.survival[used]))
    pieces = heights * np.diff(edges)
    after = np.cumsum(pieces[::-1])[::-1][1:]
    n, d = curve.n_risk[used], curve.n_event[used]
    # Where everybody left has the event the area after it is 0, and so is its part of the variance.
    part = np.where(n > d, d / (n * np.maximum(n - d, 1.0)), 0.0)
    return RestrictedMeanValue(float(pieces.sum()), float(np.sqrt(np.sum(after**2 * part))))


def _refuse_tau(tau: float, curves: Mapping[str, Curve], unit: str = "") -> None:
    if not np.isfinite(tau) or tau <= 0:
        raise DataError(f"tau is {tau}, but it must be a time above 0")
    ends = {name: largest_tau(curve) for name, curve in curves.items()}
    name, most = min(ends.items(), key=lambda item: item[1])
    if tau > most * (1 + TIE_TOLERANCE):
        where = f" of arm '{name}'" if name else ""
        raise AnalysisError(
            f"tau is {tau:g}, but follow-up{where} ends at {most:g} with patients still event-free: "
            f"the largest tau possible is {most:.10g} {unit}".rstrip()
        )


@dataclass(frozen=True, eq=False)
class RestrictedMean(Result):
    """Restricted mean survival times of two arms and their comparison.

    Attributes
    ----------
    arms
        One row an arm, control first: arm, patients, events, rmst, se, low, high.
    difference
        Experimental less control, in the unit of time.
    ratio
        Experimental to control; `se` is that of its logarithm.
    p_difference, p_ratio
        Two-sided p-values of a difference of 0 and of a ratio of 1.
    tau, unit, level
        Up to when, in which unit, and the level of the limits.
    """

    title: ClassVar[str] = "Restricted mean survival time"
    references: ClassVar[tuple[str, ...]] = (
        "Royston P, Parmar MKB. The use of restricted mean survival time to estimate the treatment effect in "
        "randomized clinical trials when the proportional hazards assumption is in doubt. Stat Med "
        "2011;30:2409-2421.",
    )
    methods: ClassVar[str] = (
        "The restricted mean survival time is the area under the Kaplan-Meier curve up to tau, with Greenwood's "
        "standard error; arms were compared by the difference and, on the log scale, by the ratio."
    )

    arms: pd.DataFrame
    difference: Estimate
    ratio: Estimate
    p_difference: float
    p_ratio: float
    tau: float
    unit: str
    level: float

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
            rows.append((sign, n, events, digits, format_p(p)))
        name = f"Restricted mean, {self.unit} ({100 * self.level:g}% CI)"
        return pd.DataFrame(rows, columns=["Arm", "Patients", "Events", name, "p (two-sided)"])

    def text(self) -> str:
        """Return the comparison in one or two sentences."""
        control, experimental = self.arms.itertuples()
        p = format_p(self.p_difference)
        return (
            f"Up to {self.tau:g} {self.unit}, patients in arm {experimental.arm} were event-free for a mean of "
            f"{experimental.rmst:.1f} {self.unit} and in arm {control.arm} for {control.rmst:.1f} "
            f"({format_count(self.difference.n or 0)} patients). The difference, {experimental.arm} less "
            f"{control.arm}, is {_interval(self.difference.value, self.difference.low, self.difference.high)} "
            f"{self.unit} ({100 * self.level:g}% CI; two-sided p {p if p[0] in '<>' else '= ' + p})."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return difference and ratio with their limits."""
        return {
            "rmst_difference": self.difference.value,
            "rmst_difference_low": self.difference.low,
            "rmst_difference_high": self.difference.high,
            "rmst_ratio": self.ratio.value,
            "rmst_ratio_low": self.ratio.low,
            "rmst_ratio_high": self.ratio.high,
        }


def _interval(value: float, low: float, high: float) -> str:
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

    Returns
    -------
    RestrictedMean
        Normal limits for means and difference; for the ratio on the log scale, ``se^2 = sum((se / mean)^2)``.

    Raises
    ------
    DataError
        If an arm has no patient.
    AnalysisError
        If an arm's follow-up ends before `tau` while its curve is above 0; the message gives the largest tau.
    """
    times, flags = checked_times(time, event)
    labels, codes = checked_labels(group, times.size, "group")
    names = labels.astype(str)[codes]
    z = normal_quantile(level)
    curves = {}
    for arm in (str(control), str(experimental)):
        if arm not in names:
            raise DataError(f"no patient is in arm '{arm}': {nearest(arm, [str(label) for label in labels])}")
        curves[arm] = product_limit(times[names == arm], flags[names == arm])
    if len(curves) < 2:
        raise DataError(f"control and experimental are both '{control}': name two arms")
    _refuse_tau(tau, curves, unit)
    found = {arm: _area(curve, tau) for arm, curve in curves.items()}
    rows = [
        {"arm": arm, "patients": int((names == arm).sum()), "events": int(flags[names == arm].sum())}
        | {"rmst": rmst, "se": se, "low": rmst - z * se, "high": rmst + z * se}
        for arm, (rmst, se) in found.items()
    ]
    arms = pd.DataFrame(rows)
    first, second = found.values()
    shared: dict[str, Any] = {
        "level": level,
        "n": int(arms["patients"].sum()),
        "events": int(arms["events"].sum()),
    }
    gap, se = second.value - first.value, float(np.hypot(first.se, second.se))
    difference = Estimate(
        gap, gap - z * se, gap + z * se, "RMST difference", unit, se=se, method="Greenwood, normal", **shared
    )
    ratio, se_log = second.value / first.value, float(np.hypot(first.se / first.value, second.se / second.value))
    low, high = ratio * float(np.exp(-z * se_log)), ratio * float(np.exp(z * se_log))
    quotient = Estimate(ratio, low, high, "RMST ratio", se=se_log, method="Greenwood, log scale", **shared)
    tests = [2 * float(special.ndtr(-abs(x))) if s > 0 else np.nan for x, s in _z(gap, se, ratio, se_log)]
    return RestrictedMean(arms, difference, quotient, tests[0], tests[1], float(tau), unit, level)


def _z(gap: float, se: float, ratio: float, se_log: float) -> tuple[tuple[float, float], ...]:
    return (gap / se if se > 0 else np.nan, se), (np.log(ratio) / se_log if se_log > 0 else np.nan, se_log)

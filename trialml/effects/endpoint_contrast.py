"""The effect on a binary or a continuous endpoint: one estimate a scale, each saying what it is conditional on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from trialml.errors import AnalysisError, nearest
from trialml.result import Estimate, Result, counted, format_count, format_number, with_limits

__all__ = ["EndpointContrast", "interval_of", "not_estimable", "ratio_estimate"]


@dataclass(frozen=True, eq=False)
class EndpointContrast(Result):
    """Experimental against control on several scales.

    Attributes
    ----------
    estimates
        By name (``risk_difference``, ``mean_difference``, ...); each estimate's scale says whether it is marginal
        or conditional, and its standard error is on the scale that its method names. What cannot be estimated is
        NaN with the reason as its method.
    arms
        One row an arm, control first: arm, patients, events (binary; -1 otherwise), mean (a proportion for binary).
    outcome
        The words for the outcome.
    """

    title = "Effect of treatment"

    estimates: Mapping[str, Estimate]
    arms: pd.DataFrame
    outcome: str

    def estimate(self, name: str) -> Estimate:
        """Return the estimate of that name.

        Raises
        ------
        AnalysisError
            If there is none.
        """
        if name not in self.estimates:
            raise AnalysisError(f"there is no estimate '{name}': {nearest(name, self.estimates)}")
        return self.estimates[name]

    def heading(self) -> str:
        """Return the title with the outcome."""
        return f"{self.title}: {self.outcome}"

    def frame(self) -> pd.DataFrame:
        """Return one row an estimate."""
        rows = [
            {"estimate": name, "scale": one.scale, "value": one.value, "low": one.low, "high": one.high, "se": one.se}
            | {"unit": one.unit, "level": one.level, "n": one.n, "events": one.events, "method": one.method}
            for name, one in self.estimates.items()
        ]
        return pd.DataFrame(rows)

    def text(self) -> str:
        """Return the arms' means and the first two estimates in words."""
        binary = bool((self.arms["events"] >= 0).all())
        shown = "; ".join(
            f"{row.arm} {format_count(row.events)} of {format_count(row.patients)} ({100 * row.mean:.1f} %)"
            if binary
            else f"{row.arm} mean {format_number(row.mean)} ({counted(row.patients, 'patient')})"
            for row in self.arms.itertuples(index=False)
        )
        said = [f"{self.outcome}: {shown}."]
        for one in list(self.estimates.values())[:2]:
            words = one.text() if math.isfinite(one.value) else "not estimable"
            said.append(f"{one.scale[0].upper()}{one.scale[1:]}, experimental against control: {words} ({one.method}).")
        return " ".join(said)

    def scalars(self) -> dict[str, float]:
        """Return every estimate with its limits."""
        return with_limits(self.estimates)

    def table(self) -> pd.DataFrame:
        """Return the estimates as words."""
        level = next(iter(self.estimates.values())).level
        rows = [
            {
                "Scale": one.scale,
                f"Estimate ({100 * level:g}% CI)": interval_of(one),
                "Method": one.method,
            }
            for one in self.estimates.values()
        ]
        return pd.DataFrame(rows)


def interval_of(one: Estimate) -> str:
    """Return value and limits without the level, or that there are none."""
    if not math.isfinite(one.value):
        return "not estimable"
    unit = f" {one.unit}" if one.unit else ""
    return f"{format_number(one.value)} ({format_number(one.low)} to {format_number(one.high)}){unit}"


def not_estimable(scale: str, why: str, **known: Any) -> Estimate:
    """Return an estimate without a number, with the reason as its method."""
    return Estimate(math.nan, scale=scale, method=f"not estimable: {why}", **known)


def ratio_estimate(log_value: float, se: float, quantile: float, scale: str, method: str, **known: Any) -> Estimate:
    """Return a ratio with limits that are symmetric on the log scale; `se` is that of the logarithm."""
    low, high = math.exp(log_value - quantile * se), math.exp(log_value + quantile * se)
    return Estimate(math.exp(log_value), low, high, scale=scale, se=se, method=f"{method}; se of the log", **known)

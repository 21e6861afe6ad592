"""Effects in strata, shrunk towards their common mean as far as their errors say, on the absolute and on the relative scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.shrinkage import PRIOR_SCALE, shrink
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Z95, Estimate, Result, format_number, plain_text
from trialml.strata.effects import StratumEffects
from trialml.strata.population import StratumOutcomes
from trialml.survival.product_limit import product_limit
from trialml.survival.ties import not_after

__all__ = ["ShrunkenEffects", "StratumScale", "rmst_prior_scale", "shrunken_effects", "survival_scales"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StratumScale:
    """Cross-fitted effects of all strata on one scale.

    Attributes
    ----------
    name, unit
        The scale in words, and its unit.
    effects, errors
        Estimates and standard errors, each of shape (strata,), of ratios as logarithms; NaN where there is none.
    prior_scale
        Scale of the half-normal prior of the standard deviation between strata, in the units of `effects`.
    ratio
        Whether `effects` are logarithms of ratios.
    naive
        The effects of the final rule in its own training patients, shape (strata,); None where they are not known.
    """

    name: str
    unit: str
    effects: Floats
    errors: Floats
    prior_scale: float
    ratio: bool = False
    naive: Floats | None = None


@dataclass(frozen=True, eq=False)
class ShrunkenEffects(Result):
    """Cross-fitted effects by stratum, what a hierarchical model leaves of their differences, and the naive effects as a warning."""

    title = "Effects in strata, shrunk towards their mean"
    figure_size = (7.2, 3.4)
    methods = (
        "The cross-fitted effects of the strata were shrunk towards their common mean in a Bayesian hierarchical normal model with a flat "
        "prior of the mean and a half-normal prior of the standard deviation between strata; limits are equal-tailed 95 % credible limits. The prior's scale is "
        "0.25 on log hazard ratios; on other scales it is the change that a log ratio of 0.25 makes of the outcome under control."
    )
    references = (
        "Spiegelhalter DJ, Abrams KR, Myles JP. Bayesian Approaches to Clinical Trials and Health-Care Evaluation. Wiley 2004.",
    )

    rows: pd.DataFrame
    """Columns scale, unit, stratum, crossfit, crossfit_low, crossfit_high, shrunk, shrunk_low, shrunk_high, naive; ratios as ratios. NaN
    where a stratum's effect cannot be estimated: it takes no part."""
    between: pd.DataFrame
    """Columns scale, unit, ratio, mean, mean_low, mean_high, sd (posterior mean of the standard deviation between strata; of log
    ratios for ratios), prior_scale."""

    def frame(self) -> pd.DataFrame:
        """Return one row a scale and stratum."""
        return self.rows

    def estimate(self, stratum: str, scale: str) -> Estimate:
        """Return the shrunken effect of a stratum on a scale."""
        row = self.rows[(self.rows["stratum"] == stratum) & (self.rows["scale"] == scale)].iloc[0]
        return Estimate(row["shrunk"], row["shrunk_low"], row["shrunk_high"], f"{scale}, shrunk", row["unit"], "crossfit",
                        method="hierarchical shrinkage, 95 % credible limits")  # fmt: skip

    def text(self) -> str:
        """Return for each scale the outer strata's effects before and after shrinkage, and the naive difference."""
        said = []
        for scale, own in self.rows.groupby("scale", sort=False):
            known = own.dropna(subset=["shrunk"])
            first, last = known.iloc[0], known.iloc[-1]
            ends = (
                self.estimate(row["stratum"], str(scale)).text().replace("95% CI", "95% credible interval")
                for row in (first, last)
            )
            low, high = ends
            one = (
                f"On the scale '{scale}' the effect in '{first['stratum']}' is {low} and in '{last['stratum']}' {high} after shrinkage; "
                f"cross-fitted alone {_value(first['crossfit'], first['unit'])} and {_value(last['crossfit'], last['unit'])}"
            )
            if not math.isnan(first["naive"]):
                one += f"; the naive effects, {_value(first['naive'], first['unit'])} and {_value(last['naive'], last['unit'])}, are biased"
            said.append(f"{one}.")
        return " ".join(said)

    def scalars(self) -> dict[str, float]:
        """Return the shrunken effects with limits."""
        numbers: dict[str, float] = {}
        for row in self.rows.to_dict("records"):
            name = f"{row['scale']} shrunk {row['stratum']}".lower().replace(",", "").replace(" ", "_")
            numbers |= {name: row["shrunk"], f"{name}_low": row["shrunk_low"], f"{name}_high": row["shrunk_high"]}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the effects for reading."""
        return pd.DataFrame(
            [
                {
                    "Scale": row["scale"] + (f", {row['unit']}" if row["unit"] else ""),
                    "Stratum": row["stratum"],
                    "Cross-fitted (95% CI)": _limits(row, "crossfit"),
                    "Shrunk (95% credible interval)": _limits(row, "shrunk"),
                    "Naive (biased, a warning only)": "" if math.isnan(row["naive"]) else format_number(row["naive"]),
                }
                for row in self.rows.to_dict("records")
            ]
        )

    def draw(self, figure: Any) -> None:
        """Draw the shrunken effects over the cross-fitted ones, a panel a scale."""
        panels = np.atleast_1d(figure.subplots(1, len(self.between), sharey=True))
        for axes, (scale, own), ratio in zip(
            panels, self.rows.groupby("scale", sort=False), self.between["ratio"], strict=True
        ):
            for place, row in enumerate(own.to_dict("records")):
                axes.plot(
                    [row["crossfit_low"], row["crossfit_high"]],
                    [place - 0.12] * 2,
                    color=COLOURS["reference"],
                    linewidth=1.5,
                )
                axes.plot(row["crossfit"], place - 0.12, "s", color=COLOURS["reference"], markersize=5)
                axes.plot(
                    [row["shrunk_low"], row["shrunk_high"]],
                    [place + 0.12] * 2,
                    color=COLOURS["experimental"],
                    linewidth=2,
                )
                axes.plot(row["shrunk"], place + 0.12, "s", color=COLOURS["experimental"], markersize=7)
            axes.axvline(1 if ratio else 0, color="black", linewidth=0.8)
            if ratio:
                _ratio_axis(axes)
            unit = own["unit"].iloc[0]
            axes.set_xlabel(
                plain_text(f"{scale}{f' ({unit})' if unit else ''}") + "\n(blue: shrunk, grey: cross-fitted)"
            )
            axes.set_yticks(range(len(own)), [plain_text(name) for name in own["stratum"]])
            axes.spines[["top", "right"]].set_visible(False)


def _ratio_axis(axes: Any) -> None:
    """Put a ratio on a logarithmic axis with ticks that readers know, as many as the limits hold."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _value(value: float, unit: str) -> str:
    return format_number(value) + (f" {unit}" if unit else "")


def _limits(row: dict[str, Any], of: str) -> str:
    if math.isnan(row[of]):
        return "not estimable"
    return f"{format_number(row[of])} ({format_number(row[of + '_low'])} to {format_number(row[of + '_high'])})"


def shrunken_effects(strata: Sequence[str], scales: Sequence[StratumScale]) -> ShrunkenEffects:
    """Shrink the effects of strata towards their common mean, scale by scale.

    Parameters
    ----------
    strata
        The strata's names, in their order.
    scales
        Their cross-fitted effects. Strata have no patient in common, so that their errors are taken as independent.

    Returns
    -------
    ShrunkenEffects
        A scale on which fewer than two strata have an effect is left out.

    Raises
    ------
    AnalysisError
        If no scale is left.
    """
    rows: list[dict[str, Any]] = []
    between: list[dict[str, Any]] = []
    for scale in scales:
        known = np.isfinite(scale.effects) & np.isfinite(scale.errors) & (scale.errors > 0)
        if known.sum() < 2:
            continue
        found = shrink(scale.effects[known], scale.errors[known], prior_scale=scale.prior_scale)
        back = np.exp if scale.ratio else np.asarray
        half = Z95 * scale.errors
        columns = {name: np.full(len(strata), math.nan) for name in ("shrunk", "shrunk_low", "shrunk_high")}
        for name, values in zip(columns, (found.mean, found.low, found.high), strict=True):
            columns[name][known] = back(values)
        columns |= {
            "crossfit": back(scale.effects),
            "crossfit_low": back(scale.effects - half),
            "crossfit_high": back(scale.effects + half),
        }
        columns["naive"] = np.full(len(strata), math.nan) if scale.naive is None else scale.naive
        for place, stratum in enumerate(strata):
            numbers = {name: float(values[place]) for name, values in columns.items()}
            rows.append({"scale": scale.name, "unit": scale.unit, "stratum": stratum, **numbers})
        mean = {
            name: float(back(found.mu + times * found.mu_sd))
            for name, times in (("mean", 0.0), ("mean_low", -Z95), ("mean_high", Z95))
        }
        of = {"scale": scale.name, "unit": scale.unit, "ratio": scale.ratio}
        between.append(of | mean | {"sd": found.tau, "prior_scale": scale.prior_scale})
    if not between:
        raise AnalysisError(
            "On no scale do two strata have an effect, so there is nothing to shrink: form fewer or larger strata."
        )
    return ShrunkenEffects(pd.DataFrame(rows), pd.DataFrame(between))


def survival_scales(by_stratum: StratumEffects, outcomes: StratumOutcomes) -> tuple[StratumScale, StratumScale]:
    """Return the effects of strata as RMST differences (marginal) and as log hazard ratios (stratified as the randomisation was)."""
    rows = by_stratum.rows
    errors = ((rows["rmst_difference_high"] - rows["rmst_difference_low"]) / (2 * Z95)).to_numpy(dtype=np.float64)
    absolute = StratumScale(
        "RMST difference",
        by_stratum.unit,
        rows["rmst_difference"].to_numpy(dtype=np.float64),
        errors,
        rmst_prior_scale(outcomes, by_stratum.tau),
        naive=rows["naive"].to_numpy(dtype=np.float64),
    )
    logs = [rows[name].to_numpy(dtype=np.float64) for name in ("log_hazard_ratio", "log_hazard_ratio_se")]
    return absolute, StratumScale("hazard ratio", "", logs[0], logs[1], PRIOR_SCALE, ratio=True)


def rmst_prior_scale(outcomes: StratumOutcomes, tau: float) -> float:
    """Return what a log hazard ratio of the prior's scale changes of the control arm's restricted mean.

    Returns
    -------
    float
        ``0.25 * integral from 0 to tau of -S log S``, S the control arm's Kaplan-Meier curve: the derivative of the integral of
        ``S**exp(b)`` at b = 0, times the prior's scale on log hazard ratios.

    Raises
    ------
    AnalysisError
        If the control arm has no event by tau, or was not followed so long.
    """
    control = ~outcomes.treated
    time, event = outcomes.time[control], outcomes.event[control]
    if not len(time) or not not_after(tau, time.max()) or not (event & not_after(time, tau)).any():
        raise AnalysisError(f"The control arm has no event by tau = {tau:g}, or ends before it: choose another tau.")
    curve = product_limit(time, event)
    used = curve.time < tau
    widths = np.diff(np.append(curve.time[used], tau))
    survival = curve.survival[used]
    area = np.where(survival > 0, -survival * np.log(np.where(survival > 0, survival, 1.0)), 0.0)
    return PRIOR_SCALE * float(area @ widths)

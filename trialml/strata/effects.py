"""The effect in each stratum, on patients whom the rule had not seen, with the naive effect beside it as a warning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import suppressed
from trialml.result import COLOURS, Z95, Estimate, Result, format_count, format_number, plain_text, with_limits
from trialml.strata.crossfit import HeldOutStrata, estimand_words
from trialml.strata.policy_tree import NOT_RECOMMENDED
from trialml.strata.population import (
    HeldOut,
    StratumOutcomes,
    gain_at_one_hazard_ratio,
    one_hazard_ratio,
    population_numbers,
)
from trialml.strata.strata import Strata
from trialml.survival.ties import not_after
from trialml.validation.benefit import HeldOutBenefit, group_influence, repeated_se

__all__ = [
    "StratumEffects",
    "StratumOutcomes",
    "in_words",
    "mean_count",
    "outer_difference",
    "population_numbers",
    "stratum_effects",
    "stratum_members",
    "without_small_cells",
]

Floats = NDArray[np.float64]

FEWEST_REPEATS = 6
DEPENDENCE = 1.15
"""What the standard error of highest less lowest is multiplied by. The folds' rules share patients, which patients'
influences do not show: in simulated trials the spread was 1.11 to 1.15 times the standard error without it
(decision 0008, ``benchmarks/strata_coverage.py``)."""


@dataclass(frozen=True, eq=False)
class StratumEffects(Result):
    """Effect by stratum on the absolute and the relative scale, cross-fitted; one row a stratum."""

    title = "Effect of treatment by stratum"
    figure_size = (7.2, 3.4)
    methods = (
        "Effects in strata are cross-fitted: in each repeat of the cross-validation every "
        "patient was allotted to a stratum by models, rules and cut-points that had not seen the patient. Differences of restricted means "
        "are means of doubly robust scores, hazard ratios come from Cox models (stratified as the randomisation was); both are averaged over repeats, with "
        "the standard error of a single repeat (repeating steadies the estimate, but cannot remove the chance of this sample); that of highest "
        "less lowest is enlarged by 15 %, the shortfall seen in simulated trials, in which the folds' rules share patients. The estimand is the average effect of the rules that "
        "the repeats learned. The naive effect, of the final rule in the patients it was learned from, is shown as a warning only."
    )

    rows: pd.DataFrame
    """Columns stratum, rule, share, n, events, events_by_tau (the restricted means rest on these; NaN where a small cell is hidden), rmst_difference (low,
    high), hazard_ratio (low, high), log_hazard_ratio, log_hazard_ratio_se, control_risk, control_hazard_per_month, gain_at_one_hazard_ratio, naive."""
    difference: Estimate
    """Highest less lowest stratum."""
    one_hazard_ratio: Estimate
    """Of all patients together, stratified as the randomisation was: what the gradient of gains is held against."""
    heterogeneity_p: float
    repeats: int
    tau: float
    horizon: float
    unit: str
    estimand: str = estimand_words("benefit")
    """What a stratum stands for where every fold has a rule of its own."""

    def frame(self) -> pd.DataFrame:
        """Return one row a stratum."""
        return self.rows

    def text(self) -> str:
        """Return the effects in the outer strata, their difference, and what may be concluded."""
        if len(self.rows) == 1:
            return "The rule found no order among the patients: there is one stratum, with the average effect."
        first, last = self.rows.iloc[0], self.rows.iloc[-1]
        said = (
            f"Cross-fitted over {self.repeats} repeats, the RMST difference over {format_number(self.tau)} {self.unit} is "
            f"{_interval(first, 'rmst_difference', self.unit)} in the stratum '{first['stratum']}' and "
            f"{_interval(last, 'rmst_difference', self.unit)} in '{last['stratum']}'"
        )
        unknown = math.isnan(self.difference.value)
        said += "." if unknown else f"; the difference between the two is {self.difference.text()}."
        if first["control_risk"] > 0 and last["control_risk"] > 0:
            said += (
                f" Under control the risk by {self.horizon:g} {self.unit} is {100 * first['control_risk']:.0f} % and "
                f"{100 * last['control_risk']:.0f} %."
            )
        if self.risk_explains:
            gains = [format_number(row["gain_at_one_hazard_ratio"]) for row in (first, last)]
            said += (
                f" Those risks and the one hazard ratio of all patients ({format_number(self.one_hazard_ratio.value)}) would by themselves "
                f"give gains of {gains[0]} and {gains[1]} {self.unit}, a difference of {format_number(self.explained)} beside the "
                f"{format_number(self.difference.value)} found."
            )
        said += in_words(self.rows, "rmst_difference", self.difference, self.estimand, self.repeats)
        if self.heterogeneity_p >= 0.05:
            said += (
                " The global test did not show that the hazard ratio differs between patients: the strata are exploratory; they "
                "describe, and do not establish a subgroup."
            )
        return said

    @property
    def explained(self) -> float:
        """The difference of the outer strata's gains that one hazard ratio and their own risks would give."""
        gains = self.rows["gain_at_one_hazard_ratio"]
        return float(gains.iloc[-1] - gains.iloc[0])

    @property
    def risk_explains(self) -> bool:
        """Whether an effect was shown and one hazard ratio would give at least a quarter of the difference in gains."""
        ratio = self.one_hazard_ratio
        shown = ratio.high < 1 or ratio.low > 1
        return (
            len(self.rows) > 1 and shown and self.difference.value > 0 and self.explained >= self.difference.value / 4
        )

    def scalars(self) -> dict[str, float]:
        """Return the effect by stratum and the difference of the outer ones, cross-fitted, with limits."""
        numbers: dict[str, float] = {}
        for row in self.rows.itertuples():
            name = "rmst_difference_crossfit_" + row.stratum.lower().replace(" ", "_")
            numbers |= {
                name: row.rmst_difference,
                f"{name}_low": row.rmst_difference_low,
                f"{name}_high": row.rmst_difference_high,
            }
        if len(self.rows) > 1:
            numbers |= with_limits({"rmst_difference_crossfit_highest_less_lowest": self.difference})
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the strata for reading."""
        at, unit = f"{self.horizon:g} {self.unit}", self.unit
        shown = [
            {
                "Stratum": row["stratum"],
                "Rule": row["rule"],
                "Patients (mean over repeats)": mean_count(row["n"]),
                "Events": mean_count(row["events"]),
                f"Events by {format_number(self.tau)} {unit}": mean_count(row["events_by_tau"]),
                f"Control risk at {at}": f"{100 * row['control_risk']:.0f} %"
                if not math.isnan(row["control_risk"])
                else "n/a",
                f"RMST difference (95% CI), {unit}": _interval(row, "rmst_difference"),
                "Hazard ratio (95% CI)": _interval(row, "hazard_ratio"),
                f"Naive RMST difference (biased, a warning only), {unit}": format_number(row["naive"]),
            }
            for row in self.rows.to_dict("records")
        ]
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw both scales side by side, one row a stratum; the naive effect is hollow."""
        left, right = figure.subplots(1, 2, sharey=True)
        place = np.arange(len(self.rows))
        for axes, name in ((left, "rmst_difference"), (right, "hazard_ratio")):
            for y, row in zip(place, self.rows.to_dict("records"), strict=True):
                axes.plot([row[f"{name}_low"], row[f"{name}_high"]], [y, y], color=COLOURS["experimental"], linewidth=2)
                axes.plot(row[name], y, "s", color=COLOURS["experimental"], markersize=7)
        left.plot(
            self.rows["naive"],
            place,
            "o",
            mfc="none",
            mec=COLOURS["third"],
            markersize=9,
            label="naive, too hopeful or too bleak",
        )
        left.axvline(0, color="black", linewidth=0.8)
        right.axvline(1, color="black", linewidth=0.8)
        left.set_yticks(place, [plain_text(name) for name in self.rows["stratum"]])
        left.set_ylim(-0.6, len(self.rows) - 0.4)
        left.set_xlabel(f"RMST difference ({self.unit})\n(right of 0 favours experimental)")
        right.set_xlabel("Hazard ratio, logarithmic scale\n(left of 1 favours experimental)")
        right.set_xscale("log")
        ticks = [0.2, 0.3, 0.5, 0.7, 1, 1.5]
        right.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        right.set_xticks([], minor=True)
        left.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)


def mean_count(value: float) -> str:
    """Return a mean number in words; one that is hidden is not a number."""
    if math.isnan(value):
        return "suppressed"
    return format_count(value) if value >= 0.5 else "none"


def _interval(row: Any, name: str, unit: str = "") -> str:
    if math.isnan(row[name]):
        return "not estimable"
    value = format_number(row[name]) + (f" {unit}" if unit else "")
    return f"{value} ({format_number(row[name + '_low'])} to {format_number(row[name + '_high'])})"


def stratum_members(held: HeldOutBenefit | HeldOutStrata, groups: int) -> NDArray[np.intp]:
    """Return each patient's stratum in each repeat, by rules that had not seen the patient, shape (repeats, n).

    Of strata by the benefit score these are ranges of out-of-fold ranks; other rules were refitted in the folds.
    """
    if isinstance(held, HeldOutStrata):
        return held.member
    return np.minimum((held.rank * groups).astype(np.intp), groups - 1)


def stratum_effects(
    outcomes: StratumOutcomes,
    held: HeldOutBenefit | HeldOutStrata,
    strata: Strata,
    *,
    naive_scores: Floats,
    naive_members: NDArray[np.intp],
    heterogeneity_p: float,
    horizon: float,
    tau: float,
    unit: str,
    months_per_unit: float,
) -> StratumEffects:
    """Estimate the effect in every stratum from out-of-fold scores and memberships.

    Parameters
    ----------
    outcomes
        Observed times, events, arms and stratification cells.
    held
        Out-of-fold scores, with ranks by the benefit score, or with the strata by rules refitted in the folds.
    strata
        The final strata: they give the number of groups, the names and the words.
    naive_scores, naive_members
        Scores and strata of the final rule in its own training patients, each of shape (n,).
    heterogeneity_p
        The global test's p-value, for what may be concluded.
    horizon, tau, unit, months_per_unit
        Where risks and restricted means are read, and the unit of time.

    Returns
    -------
    StratumEffects
        A stratum in which the hazard ratio cannot be estimated (no events in an arm) has NaN there.
    """
    groups = len(strata.strata)
    members = stratum_members(held, groups)
    ratio = one_hazard_ratio(outcomes)
    rows = []
    for place, stratum in enumerate(strata.strata):
        numbers = population_numbers(outcomes, held, members == place, horizon, months_per_unit)
        until = outcomes.event & not_after(outcomes.time, tau)
        numbers["events_by_tau"] = float(((members == place) & until).sum(axis=1).mean())
        numbers["gain_at_one_hazard_ratio"] = gain_at_one_hazard_ratio(outcomes, members == place, ratio.value, tau)
        own = naive_members == place
        naive = float(naive_scores[own].mean()) if own.any() else math.nan
        rows.append({"stratum": stratum.name, "rule": stratum.rule, **numbers, "naive": naive})
    difference = outer_difference(held, members, groups, "RMST difference", unit)
    frame = without_small_cells(pd.DataFrame(rows), "n", "events", "events_by_tau")
    estimand = estimand_words(strata.kind)
    return StratumEffects(frame, difference, ratio, heterogeneity_p, len(held.score), tau, horizon, unit, estimand)


def without_small_cells(rows: pd.DataFrame, *counts: str) -> pd.DataFrame:
    """Hide counts (``n`` among them) of fewer than 11, and of another stratum where the total would give them back."""
    for name in counts:
        hidden = np.asarray(suppressed([round(count) for count in rows[name]]), dtype=np.bool_)
        rows[name] = rows[name].astype(np.float64).mask(hidden)
    rows["share"] = rows["share"].mask(rows["n"].isna())
    return rows


def in_words(rows: pd.DataFrame, effect: str, difference: Estimate, estimand: str, repeats: int) -> str:
    """Return what the outer strata's difference, the sign of all effects and the number of repeats permit to say; `effect` is a column."""
    first, said = rows.iloc[0], ""
    if math.isnan(difference.value):
        said += " The difference cannot be estimated: a repeat left an outer stratum empty."
    elif difference.low <= 0 <= difference.high:
        said += " The interval includes 0: the strata do not show that some patients benefit more than others."
    if (rows[effect] < 0).all():
        said += " In every stratum the estimate favours control: strata differ in how large the loss is, and none shows a benefit."
    if first["stratum"] == NOT_RECOMMENDED and first[f"{effect}_high"] >= 0:
        said += " The interval of those whom the rule does not recommend includes gains: the data do not support withholding the treatment from them."
    said += f" {estimand}"
    if repeats < FEWEST_REPEATS:
        said += f" {repeats} repeats are few: the estimates move with the splits; six or more are the rule."
    return said


def outer_difference(held: HeldOut, members: NDArray[np.intp], groups: int, scale: str, unit: str) -> Estimate:
    """Return the cross-fitted effect in the highest stratum less that in the lowest; NaN where a repeat left one of the two empty."""
    high, low = members == groups - 1, members == 0
    n = held.score.shape[1]
    if groups == 1 or not (high.any(axis=1) & low.any(axis=1)).all():
        return Estimate(math.nan, scale=f"{scale}, highest less lowest stratum", unit=unit, kind="crossfit", n=n)
    (above, above_influence), (below, below_influence) = (group_influence(held.score, one) for one in (high, low))
    value = float(above.mean()) - float(below.mean())
    se = DEPENDENCE * repeated_se(above_influence - below_influence)
    return Estimate(
        value,
        value - Z95 * se,
        value + Z95 * se,
        scale=f"{scale}, highest less lowest stratum",
        unit=unit,
        kind="crossfit",
        se=se,
        n=n,
        method=f"average over repeats, standard error of one times {DEPENDENCE:g}",
    )

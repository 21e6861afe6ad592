"""The effect on a binary or continuous endpoint in each stratum, on patients whom the rule had not seen, with the naive one as a warning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.shrinkage import PRIOR_SCALE
from trialml.result import COLOURS, Z95, Estimate, Result, format_number, plain_text, with_limits
from trialml.strata.crossfit import HeldOutStrata, estimand_words
from trialml.strata.effects import in_words, mean_count, outer_difference, stratum_members, without_small_cells
from trialml.strata.population import HeldOut
from trialml.strata.shrunken import StratumScale
from trialml.strata.strata import Strata
from trialml.validation.benefit import HeldOutBenefit, group_mean

__all__ = [
    "ObservedOutcomes",
    "OutcomeStratumEffects",
    "outcome_population",
    "outcome_scales",
    "outcome_stratum_effects",
]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ObservedOutcomes:
    """The outcome of each patient as a number (an event counts 1) and the arm, each of shape (n,)."""

    value: Floats
    treated: Flags


@dataclass(frozen=True, eq=False)
class OutcomeStratumEffects(Result):
    """Effect by stratum on the absolute and the relative scale, cross-fitted; one row a stratum."""

    title = "Effect of treatment by stratum"
    figure_size = (6.4, 3.2)
    methods = (
        "Effects in strata are cross-fitted: in each repeat of the cross-validation every "
        "patient was allotted to a stratum by models, rules and cut-points that had not seen the patient. Differences are means of doubly "
        "robust scores, ratios those of the arms' means in the stratum; both are averaged over repeats, with the standard error of a "
        "single repeat; that of highest less lowest is enlarged by 15 %, since the folds' rules share patients. The estimand is the "
        "average effect of the rules that the repeats learned. The naive effect, of the final rule in the patients it was learned "
        "from, is shown as a warning only."
    )

    rows: pd.DataFrame
    """Columns stratum, rule, share, n, benefit (low, high, se), control_mean, experimental_mean, ratio (low, high), sd, naive. Benefit is
    higher for more benefit, whichever way the outcome is better; n and share are NaN where a small cell is hidden."""
    difference: Estimate
    """Highest less lowest stratum."""
    heterogeneity_p: float
    repeats: int
    scale: str
    """What a benefit is, in words: ``"difference in means, experimental less control"``."""
    unit: str
    binary: bool
    prior_scale: float = math.nan
    """Of the standard deviation of benefits between strata, half-normal: see `outcome_scales`."""
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
        mean = "share with the event" if self.binary else "mean"
        said = (
            f"Cross-fitted over {self.repeats} repeats, the {self.scale} is {_interval(first, 'benefit', self.unit)} in the stratum "
            f"'{first['stratum']}' and {_interval(last, 'benefit', self.unit)} in '{last['stratum']}'"
        )
        unknown = math.isnan(self.difference.value)
        said += "." if unknown else f"; the difference between the two is {self.difference.text()}."
        if not math.isnan(first["control_mean"] + last["control_mean"]):
            said += f" Under control the {mean} is {self._mean(first['control_mean'])} and {self._mean(last['control_mean'])}."
        said += in_words(self.rows, "benefit", self.difference, self.estimand, self.repeats)
        if self.heterogeneity_p >= 0.05:
            said += (
                " The global test did not show that the effect differs between patients: the strata are exploratory; they describe, "
                "and do not establish a subgroup."
            )
        return said

    def _mean(self, value: float) -> str:
        if self.binary and not math.isnan(value):
            return f"{100 * value:.0f} %"
        return f"{format_number(value)}{f' {self.unit}' if self.unit else ''}"

    def scalars(self) -> dict[str, float]:
        """Return the effect by stratum and the difference of the outer ones, cross-fitted, with limits."""
        numbers: dict[str, float] = {}
        for row in self.rows.itertuples():
            name = "benefit_crossfit_" + row.stratum.lower().replace(" ", "_")
            numbers |= {name: row.benefit, f"{name}_low": row.benefit_low, f"{name}_high": row.benefit_high}
        if len(self.rows) > 1:
            numbers |= with_limits({"benefit_crossfit_highest_less_lowest": self.difference})
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the strata for reading."""
        unit = f", {self.unit}" if self.unit else ""
        mean, ratio = ("Share with the event", "Risk ratio") if self.binary else ("Mean", "Ratio of means")
        shown = [
            {
                "Stratum": row["stratum"],
                "Rule": row["rule"],
                "Patients (mean over repeats)": mean_count(row["n"]),
                f"{mean}, control": self._mean(row["control_mean"]),
                f"{mean}, experimental": self._mean(row["experimental_mean"]),
                f"Benefit (95% CI){unit}": _interval(row, "benefit", ""),
                f"{ratio} (95% CI)": _interval(row, "ratio", ""),
                f"Naive benefit (biased, a warning only){unit}": format_number(row["naive"]),
            }
            for row in self.rows.to_dict("records")
        ]
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw the benefit of each stratum; the naive effect is hollow."""
        axes = figure.subplots()
        place = np.arange(len(self.rows))
        for y, row in zip(place, self.rows.to_dict("records"), strict=True):
            axes.plot([row["benefit_low"], row["benefit_high"]], [y, y], color=COLOURS["experimental"], linewidth=2)
            axes.plot(row["benefit"], y, "s", color=COLOURS["experimental"], markersize=7)
        hollow = {"mfc": "none", "mec": COLOURS["third"], "markersize": 9, "label": "naive, too hopeful or too bleak"}
        axes.plot(self.rows["naive"], place, "o", **hollow)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(place, [plain_text(name) for name in self.rows["stratum"]])
        axes.set_ylim(-0.6, len(self.rows) - 0.4)
        words = self.scale[0].upper() + self.scale[1:] + (f" ({self.unit})" if self.unit else "")
        axes.set_xlabel(f"{plain_text(words)}\n(right of 0 favours experimental)")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)


def _interval(row: Any, name: str, unit: str) -> str:
    if math.isnan(row[name]):
        return "not estimable"
    value = format_number(row[name]) + (f" {unit}" if unit else "")
    return f"{value} ({format_number(row[name + '_low'])} to {format_number(row[name + '_high'])})"


def outcome_stratum_effects(
    outcomes: ObservedOutcomes,
    held: HeldOutBenefit | HeldOutStrata,
    strata: Strata,
    *,
    naive_scores: Floats,
    naive_members: NDArray[np.intp],
    heterogeneity_p: float,
    scale: str,
    unit: str,
    binary: bool,
) -> OutcomeStratumEffects:
    """Estimate the effect in every stratum from out-of-fold scores and memberships.

    Parameters
    ----------
    outcomes
        Observed outcomes and arms.
    held
        Out-of-fold scores, higher for more benefit, with ranks of the benefit score or strata.
    strata
        The final strata: they give the number of groups, the names and the words.
    naive_scores, naive_members
        Scores and strata of the final rule in its own training patients, each of shape (n,).
    heterogeneity_p
        The global test's p-value, for what may be concluded.
    scale, unit, binary
        What a score is, in words, its unit, and whether the outcome is an event.

    Returns
    -------
    OutcomeStratumEffects
        A ratio that cannot be estimated (a mean that is not above 0) is NaN.
    """
    groups = len(strata.strata)
    members = stratum_members(held, groups)
    rows = []
    for place, stratum in enumerate(strata.strata):
        own = naive_members == place
        naive = float(naive_scores[own].mean()) if own.any() else math.nan
        numbers = outcome_population(outcomes, held, members == place)
        rows.append({"stratum": stratum.name, "rule": stratum.rule, **numbers, "naive": naive})
    difference, frame = outer_difference(held, members, groups, scale, unit), pd.DataFrame(rows)
    prior = _prior_scale(frame, binary)
    said = (heterogeneity_p, len(held.score), scale, unit, binary, prior, estimand_words(strata.kind))
    return OutcomeStratumEffects(without_small_cells(frame, "n"), difference, *said)


def _prior_scale(rows: pd.DataFrame, binary: bool) -> float:
    """Return the prior's scale on benefits, from the means or deviations of the strata whose are known; NaN where none are."""
    known = rows["control_mean"].notna() & rows["sd"].notna() & (rows["share"] > 0)
    if not known.any():
        return math.nan
    share = rows.loc[known, "share"].to_numpy(dtype=np.float64)
    control, sd = (
        float(np.average(rows.loc[known, name].to_numpy(dtype=np.float64), weights=share))
        for name in ("control_mean", "sd")
    )
    return PRIOR_SCALE * (control * (1 - control) if binary else sd)


def outcome_scales(by_stratum: OutcomeStratumEffects) -> tuple[StratumScale, StratumScale]:
    """Return the effects of strata as benefits (marginal) and as log ratios of the arms' means or shares.

    Parameters
    ----------
    by_stratum
        Cross-fitted effects.

    Returns
    -------
    absolute, relative : StratumScale
        The prior's scale is 0.25 on log ratios; of a benefit it is 0.25 standard deviations within an arm, or of an event
        ``0.25 p (1 - p)``, p the share with the event under control, which is what a log odds ratio of 0.25 changes.
    """
    rows = by_stratum.rows
    columns = {
        name: rows[name].to_numpy(dtype=np.float64)
        for name in ("benefit", "benefit_se", "naive", "ratio", "ratio_high")
    }
    absolute = StratumScale(
        by_stratum.scale,
        by_stratum.unit,
        columns["benefit"],
        columns["benefit_se"],
        by_stratum.prior_scale,
        naive=columns["naive"],
    )
    logs = np.log(columns["ratio"])
    errors = (np.log(columns["ratio_high"]) - logs) / Z95
    name = "risk ratio" if by_stratum.binary else "ratio of means"
    return absolute, StratumScale(name, "", logs, errors, PRIOR_SCALE, ratio=True)


def outcome_population(outcomes: ObservedOutcomes, held: HeldOut, inside: Flags) -> dict[str, float]:
    """Return what is known of a group of patients that each repeat defined anew.

    Parameters
    ----------
    outcomes, held
        Observed outcomes and out-of-fold scores.
    inside
        Membership, shape (repeats, n).

    Returns
    -------
    dict
        ``share``, ``n``, ``benefit`` with ``_low``, ``_high`` and ``_se``, ``control_mean`` and ``experimental_mean``, the arms' means
        averaged over repeats, ``ratio`` of the two with limits (delta method on the log scale, the error of one repeat) and ``sd``, the
        pooled standard deviation within an arm; NaN where a number cannot be estimated.
    """
    value, se = group_mean(held.score, inside)
    means, variances, squares = _arms(outcomes, inside)
    control, experimental = (float(one) for one in means)
    log_ratio = log_se = math.nan
    if min(control, experimental) > 0:
        log_ratio = math.log(experimental / control)
        log_se = math.sqrt(variances[0] / control**2 + variances[1] / experimental**2)
    return {
        "share": float(inside.mean()),
        "n": float(inside.sum(axis=1).mean()),
        "benefit": value,
        "benefit_low": value - Z95 * se,
        "benefit_high": value + Z95 * se,
        "benefit_se": se,
        "control_mean": control,
        "experimental_mean": experimental,
        "ratio": math.exp(log_ratio),
        "ratio_low": math.exp(log_ratio - Z95 * log_se),
        "ratio_high": math.exp(log_ratio + Z95 * log_se),
        "sd": math.sqrt(squares),
    }


def _arms(outcomes: ObservedOutcomes, inside: Flags) -> tuple[Floats, Floats, float]:
    """Return the arms' means and their variances, control first, and the variance within an arm, averaged over repeats."""
    means, variances, squares = [], [], []
    for member in inside:
        arms = [outcomes.value[member & (outcomes.treated == arm)] for arm in (False, True)]
        if min(len(arm) for arm in arms) < 2:
            return np.full(2, math.nan), np.full(2, math.nan), math.nan
        means.append([arm.mean() for arm in arms])
        variances.append([arm.var(ddof=1) / len(arm) for arm in arms])
        squares.append(sum(((arm - arm.mean()) ** 2).sum() for arm in arms) / (sum(map(len, arms)) - 2))
    return np.mean(means, axis=0), np.mean(variances, axis=0), float(np.mean(squares))

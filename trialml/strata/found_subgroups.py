"""What a search for subgroups found, with the error of declaring one controlled and its effects marked for what they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.result import (
    COLOURS,
    Estimate,
    Result,
    counted,
    format_count,
    format_number,
    format_p,
    plain_text,
    with_limits,
)

__all__ = ["SubgroupSearch", "hidden_counts"]

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class SubgroupSearch(Result):
    """The candidates with the largest statistics, their adjusted p-values, naive effects, and the search's effect cross-fitted."""

    title = "Search for subgroups"
    figure_size = (7.2, 4.8)
    references = (
        "Westfall PH, Young SS. Resampling-Based Multiple Testing. Wiley, 1993.",
        "Chung E, Romano JP. Exact and asymptotically robust permutation tests. Ann Stat 2013;41:484-507.",
    )

    candidates: pd.DataFrame
    """Columns subgroup, covariates, n (NaN where suppressed), z (positive: more benefit than outside), p_adjusted, and inside and
    outside with _low and _high, the naive effects; most extreme first."""
    crossfit: Estimate
    """The effect among those whom searches without them put into the half with more benefit; NaN where not asked for."""
    crossfit_outside: Estimate
    found_again: float
    """The share of those searches that ended with the same covariates as the whole trial's."""
    searched: int
    too_small: int
    permutations: int
    limit: float
    """The 95th percentile of the largest absolute statistic under the null hypothesis."""
    n: int
    events: int | None
    repeats: int
    folds: int
    scale: str
    unit: str
    refitted: bool = False
    """Whether scores were learned again in each fold's training patients."""

    @property
    def _ratio(self) -> bool:
        return self.events is not None

    @property
    def methods(self) -> str:  # type: ignore[override]
        """How subgroups were formed, tested and estimated."""
        if self._ratio:
            size = "where one hazard ratio is the same for everybody: 5 % at 1, and 6 to 7 % at 0.4 in simulated trials of 300 patients"
            tested = (
                "the studentised sum of Cox treatment score residuals (main effect fitted), referred to permutations of the treatment "
                "within the stratification factors"
            )
        else:
            size = "where the expected score is the same for everybody, about 5 %"
            tested = (
                "the studentised sum of doubly robust scores less their mean, referred to permutations of the treatment in their weights "
                "within the stratification factors"
            )
        return (
            f"Every candidate subgroup, one covariate cut at quantiles or the corner of two such cuts, was tested by {tested}; p-values are adjusted "
            "for all candidates by step-down max|z| (Westfall and Young), which limits the probability of declaring any subgroup "
            f"{size}. Effects of candidates are read in the patients who made them stand out and are "
            "too extreme. The cross-fitted effect is of the search itself: in repeated cross-validation, patients were put into the "
            f"half with more benefit, or the rest, by a search that had not seen them{self._scores_words}."
        )

    @property
    def _scores_words(self) -> str:
        if self._ratio:
            return ""
        if self.refitted:
            return ", on scores by outcome models of its own training patients"
        return "; the scores themselves rest on outcome models that were cross-fitted over all patients, once"

    def frame(self) -> pd.DataFrame:
        """Return one row a candidate shown."""
        return self.candidates

    @property
    def p(self) -> float:
        """The smallest adjusted p-value."""
        return float(self.candidates["p_adjusted"].min())

    @property
    def mc_error(self) -> float:
        """The Monte Carlo standard error of the smallest adjusted p-value."""
        return math.sqrt(self.p * (1 - self.p) / self.permutations)

    def text(self) -> str:
        """Return the most extreme candidate, whether it passes, and its effect, naive and cross-fitted."""
        first = self.candidates.iloc[0]
        shown = format_p(self.p)
        known = counted(self.n, "patient") + (f", {counted(self.events, 'event')}" if self.events is not None else "")
        said = (
            f"Of {counted(self.searched, 'candidate subgroup')} ({known}) the largest statistic belongs to \u201c{first['subgroup']}\u201d, with "
            f"{'more' if first['z'] > 0 else 'less'} benefit than outside: adjusted p {shown if shown[0] in '<>' else f'= {shown}'} "
            f"(family-wise; Monte Carlo error {format_number(self.mc_error, 2)}, {format_count(self.permutations)} resamples; scale: {self.scale})."
        )
        passing = int((self.candidates["p_adjusted"] < LEVEL).sum())
        if passing:
            most = "at least " if passing == len(self.candidates) < self.searched else ""
            said += f" Below 5 % {'is' if passing == 1 else 'are'} {most}{counted(passing, 'candidate')}"
            said += "." if passing == 1 else "; those that overlap say the same thing."
        else:
            said += " No subgroup is declared; that is not evidence that the effect is the same for everybody."
        return said + self._effects(first)

    def _effects(self, first: pd.Series[Any]) -> str:
        unit = f" {self.unit}" if self.unit else ""
        said = (
            f" Read in the same patients, which is too extreme, the {self.scale} is {_limits(first, 'inside')}{unit} in it and "
            f"{_limits(first, 'outside')}{unit} outside."
        )
        if not self.repeats:
            return said
        by = f"{counted(self.repeats, 'repeat')} of {counted(self.folds, 'fold')}"
        if math.isnan(self.crossfit.value) or math.isnan(self.crossfit_outside.value):
            return f"{said} Cross-fitted ({by}) it cannot be estimated in both halves."
        return (
            f"{said} Among patients whom searches without them put into the half with more benefit it is {self.crossfit.text()}, among the "
            f"rest {self.crossfit_outside.text()} (cross-fitted, {by}, of which {100 * self.found_again:.0f} % chose the same "
            "covariates)."
        )

    def scalars(self) -> dict[str, float]:
        """Return the smallest adjusted p-value, how many candidates there were, and the cross-fitted effects."""
        named = {
            "subgroup_search_inside_crossfit": self.crossfit,
            "subgroup_search_outside_crossfit": self.crossfit_outside,
        }
        return {
            "subgroup_search_p": self.p,
            "subgroup_search_p_mc_error": self.mc_error,
            "subgroup_search_candidates": float(self.searched),
            "subgroup_search_found_again": self.found_again,
        } | with_limits(named if self.repeats else {})

    def table(self) -> pd.DataFrame:
        """Return the candidates for reading, their effects named naive."""
        unit = f", {self.unit}" if self.unit else ""
        return pd.DataFrame(
            [
                {
                    "Subgroup": row["subgroup"],
                    "Patients": "suppressed" if math.isnan(row["n"]) else format_count(row["n"]),
                    "z": format_number(row["z"]),
                    "Adjusted p": format_p(row["p_adjusted"]),
                    f"Naive {self.scale} inside (95% CI){unit}": _limits(row, "inside"),
                    f"Naive {self.scale} outside (95% CI){unit}": _limits(row, "outside"),
                }
                for _, row in self.candidates.iterrows()
            ]
        )

    def draw(self, figure: Any) -> None:
        """Draw naive effects hollow, inside and outside each candidate, and the cross-fitted ones filled below."""
        axes = figure.subplots()
        rows = [(plain_text(row["subgroup"]), row, False) for _, row in self.candidates.iterrows()]
        if self.repeats:
            both = {"inside": self.crossfit, "outside": self.crossfit_outside}
            last = {name: one.value for name, one in both.items()}
            last |= {f"{name}_low": one.low for name, one in both.items()}
            last |= {f"{name}_high": one.high for name, one in both.items()}
            rows.append(("the search, cross-fitted:\nhalf with more benefit, and rest", pd.Series(last), True))
        for place, (_, row, filled) in enumerate(reversed(rows)):
            for name, colour, shift in (("inside", "experimental", 0.15), ("outside", "reference", -0.15)):
                at = place + shift
                axes.plot([row[f"{name}_low"], row[f"{name}_high"]], [at, at], color=COLOURS[colour], linewidth=1.2)
                axes.plot(row[name], at, "o", color=COLOURS[colour], mfc=COLOURS[colour] if filled else "none", markersize=5,
                          label=name if place == 0 else None)  # fmt: skip
        axes.set_yticks(range(len(rows)), [words for words, _, _ in reversed(rows)], fontsize=8)
        axes.axvline(1 if self._ratio else 0, color="black", linewidth=0.8)
        if self._ratio:
            axes.set_xscale("log")
            low, high = axes.get_xlim()
            ticks = [tick for tick in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if low <= tick <= high]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_xticks([], minor=True)
        side = "left of 1" if self._ratio else "right of 0"
        axes.set_xlabel(f"{plain_text(self.scale)} ({side} favours experimental)\nhollow: naive, too extreme")
        axes.legend(frameon=False, fontsize=8, loc="best")


def _limits(row: Any, name: str) -> str:
    if math.isnan(row[name]):
        return "not estimable"
    return f"{format_number(row[name])} ({format_number(row[f'{name}_low'])} to {format_number(row[f'{name}_high'])})"


def hidden_counts(members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say whose counts must be hidden so that no difference of two shown counts is a cell of 1 to 10 patients.

    Parameters
    ----------
    members
        Who is in each subgroup, shape (n, k), the most important first.

    Returns
    -------
    ndarray of bool, shape (k,)
        Subgroups that are nested in, or nested round, an earlier one or the patients outside it and differ from it by 1 to 10 patients.
    """
    hidden = np.zeros(members.shape[1], dtype=np.bool_)
    for place, own in enumerate(members.T):
        for before in np.flatnonzero(~hidden[:place]):
            for other in (members[:, before], ~members[:, before]):
                more, less = int((own & ~other).sum()), int((other & ~own).sum())
                hidden[place] |= min(more, less) == 0 and 0 < max(more, less) < SMALLEST_CELL
    return hidden

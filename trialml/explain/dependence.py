"""Partial dependence with intervals over resampled models: a check on the SHAP values that needs no Shapley theory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.linear import value_ranges
from trialml.result import COLOURS, Z95, Result, format_number, plain_text

__all__ = ["PartialDependence", "partial_dependence"]

Floats = NDArray[np.float64]
Score = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True, eq=False)
class PartialDependence(Result):
    """The mean score when everybody is given one range's mean, or one level, of a covariate.

    Attributes
    ----------
    subject, unit
        What is averaged, and in what.
    rows
        One row a covariate and range: covariate, bin, value (mean score), low, high, se, n (patients in the range, none under 11).
    models, share
        The resampled models, and the share of the patients that each learned from.
    averaged
        Patients that are averaged over.
    """

    title = "Partial dependence"
    figure_size = (7.2, 5.4)
    methods = (
        "Partial dependence: the mean score when everybody is given one value of a covariate, the mean of a range or a level. Limits are "
        "those of the delete-d jackknife over the models of the cross-validation's folds."
    )
    references = (
        "Friedman JH. Greedy function approximation: a gradient boosting machine. Ann Stat 2001;29:1189-1232.",
        "Shao J, Wu CFJ. A general theory for jackknife variance estimation. Ann Stat 1989;17:1176-1197.",
    )

    subject: str
    unit: str
    rows: pd.DataFrame
    models: int
    share: float
    averaged: int

    def heading(self) -> str:
        """Return the title with what is averaged."""
        return f"Partial dependence of {self.subject}"

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate and range."""
        return self.rows.assign(scale="mean score", unit=self.unit, kind="crossfit")

    def spread(self) -> pd.Series:
        """Return the distance between the highest and the lowest mean of each covariate, the largest first."""
        by = self.rows.groupby("covariate", sort=False)["value"]
        return (by.max() - by.min()).sort_values(ascending=False, kind="stable")

    def text(self) -> str:
        """Return the three covariates over whose ranges the mean score changes most."""
        parts = []
        for name in self.spread().index[:3]:
            own = self.rows[self.rows["covariate"] == name]
            low, high = own.loc[own["value"].idxmin()], own.loc[own["value"].idxmax()]
            parts.append(
                f"{name} from {format_number(low['value'])} ({low['bin']}) to {format_number(high['value'])} "
                f"({high['bin']}; 95% CI {format_number(high['low'])} to {format_number(high['high'])})"
            )
        return (
            f"With everybody given one value of a covariate, the mean of {self.subject} changes most over {'; '.join(parts)} (in {self.unit}; "
            f"{self.averaged:,} patients averaged over, limits from {self.models} models of {100 * self.share:.0f} % of the patients each)."
        )

    def scalars(self) -> dict[str, float]:
        """Return the largest spread."""
        return {"partial_dependence_largest_spread": float(self.spread().iloc[0])}

    def table(self) -> pd.DataFrame:
        """Return the means with limits."""
        rows = self.rows
        return pd.DataFrame(
            {
                "Covariate": rows["covariate"],
                "Range": rows["bin"],
                f"Mean, {self.unit} (95% CI)": [
                    f"{format_number(row.value)} ({format_number(row.low)} to {format_number(row.high)})"
                    for row in rows.itertuples()
                ],
                "Patients": [f"{n:,}" for n in rows["n"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw the means over the ranges of the six covariates with the largest spread."""
        names = list(self.spread().index[:6])
        grid = figure.subplots(2, 3, sharey=True, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            own = self.rows[self.rows["covariate"] == name]
            place = np.arange(len(own))
            spread = [own["value"] - own["low"], own["high"] - own["value"]]
            axes.errorbar(
                place, own["value"], yerr=spread, fmt="o-", color=COLOURS["experimental"], capsize=2, markersize=4
            )
            axes.set_xticks(place, [plain_text(one) for one in own["bin"]], rotation=40, ha="right", fontsize=6)
            axes.set_title(plain_text(name), fontsize=8)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        grid[0].set_ylabel(plain_text(self.unit))
        grid[3].set_ylabel(plain_text(self.unit))


def partial_dependence(
    score: Score,
    resampled: Sequence[Score],
    X: pd.DataFrame,
    names: Sequence[str],
    *,
    over: pd.DataFrame,
    share: float,
    subject: str,
    unit: str,
    labels: dict[str, str],
) -> PartialDependence:
    """Return the mean score over the ranges of each covariate, with limits.

    Parameters
    ----------
    score
        Of the final model, shape (n,).
    resampled
        The same of models of parts of the patients; empty for no limits.
    X
        All patients, for the ranges.
    names
        The covariates.
    over
        The patients that are averaged over.
    share
        Of the patients that each part holds.
    subject, unit, labels
        Words.

    Raises
    ------
    AnalysisError
        If no covariate has a range of 11 patients or more.
    """
    cells, frames = [], []
    for name in names:
        column = X[name]
        for words, who in value_ranges(column).items():
            inside = column[who]
            numeric = pd.api.types.is_numeric_dtype(column)
            value = np.nan if inside.isna().all() else float(inside.mean()) if numeric else inside.iloc[0]
            given = pd.Series([value] * len(over), index=over.index, dtype=column.dtype if numeric else object)
            frames.append(over.assign(**{name: given}))
            cells.append((labels.get(name, name), words, int(who.sum())))
    if not frames:
        raise AnalysisError("No covariate has a range of 11 patients or more: use more patients.")
    every = pd.concat(frames, ignore_index=True)
    means = np.stack([np.asarray(one(every)).reshape(len(cells), -1).mean(axis=1) for one in (score, *resampled)])
    se = np.full(len(cells), np.nan)
    if len(resampled) > 2:
        se = np.sqrt(share / (1 - share) * ((means[1:] - means[1:].mean(axis=0)) ** 2).mean(axis=0))
    rows = pd.DataFrame([(*cell[:2], *found, cell[2]) for cell, found in zip(cells, zip(means[0], means[0] - Z95 * se,
                        means[0] + Z95 * se, se, strict=True), strict=True)],
                        columns=["covariate", "bin", "value", "low", "high", "se", "n"])  # fmt: skip
    return PartialDependence(subject, unit, rows, len(resampled), float(share), len(over))

"""Baseline characteristics by arm, with standardised mean differences and without p-values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trialml.data.disclosure import SMALLEST_CELL, suppressed
from trialml.data.trial import Covariate, Trial
from trialml.result import Result, format_number

__all__ = ["BaselineTable", "baseline_table", "quartiles", "signed", "standardised_mean_difference"]


def standardised_mean_difference(experimental: pd.Series, control: pd.Series) -> float:
    """Return (mean of experimental - mean of control) / sqrt of the average of the two variances.

    Missing values are left out. For 0/1 values the variance is p(1 - p). Source: Austin (2009), Statistics in
    Medicine 28:3083-3107.
    """
    spread = math.sqrt((experimental.var(ddof=0) + control.var(ddof=0)) / 2)
    difference = float(experimental.mean() - control.mean())
    return difference / spread if spread > 0 else 0.0 if difference == 0 else math.nan


@dataclass(frozen=True, eq=False)
class BaselineTable(Result):
    """One row a characteristic and level, one column an arm; small cells are suppressed."""

    title = "Baseline characteristics"
    methods = (
        "Baseline characteristics are shown by randomised arm as median (quartiles) of those recorded or number (percentage "
        "of the arm); imbalance is described by standardised mean differences, without significance tests, which are "
        "meaningless after randomisation."
    )
    references = (
        "Austin PC. Balance diagnostics for comparing the distribution of baseline covariates between treatment groups in "
        "propensity-score matched samples. Stat Med 2009;28:3083-3107.",
    )

    rows: pd.DataFrame
    """Columns ``characteristic``, ``level``, ``smd`` and one column of words an arm."""
    patients: tuple[int, ...]

    def frame(self) -> pd.DataFrame:
        """Return the rows as shown: what is suppressed is not in the frame either."""
        return self.rows

    def text(self) -> str:
        """Return the largest imbalance of the primary contrast."""
        known = self.rows.dropna(subset=["smd"])
        if known.empty:
            return "No standardised mean difference could be computed."
        worst = known.loc[known["smd"].abs().idxmax()]
        name = worst["characteristic"] + (f" ({worst['level']})" if worst["level"] else "")
        return (
            f"Between the two arms of the primary contrast the largest standardised mean difference is "
            f"{signed(float(worst['smd']))}, for {name}. Numbers are medians (quartiles) or counts (percentages); counts "
            f"under {SMALLEST_CELL} are suppressed."
        )

    def scalars(self) -> dict[str, float]:
        """Return the largest absolute standardised mean difference."""
        return {"largest_smd": float(self.rows["smd"].abs().max())}

    def table(self) -> pd.DataFrame:
        """Return the table for reading; a characteristic's name stands on its first row."""
        arms = [name for name in self.rows.columns if name not in ("characteristic", "level", "smd")]
        counts = self.rows["characteristic"].value_counts()
        shown: list[tuple[str, ...]] = []
        before = ""
        for row in self.rows.to_dict("records"):
            name, level = row["characteristic"], row["level"]
            smd = "" if math.isnan(row["smd"]) else signed(row["smd"])
            cells = (*(row[arm] for arm in arms), smd)
            if level in ("", "yes"):
                shown.append((name, *cells))
            else:
                # A characteristic with several levels is a heading; the report reads leading spaces as a step.
                if name != before and counts[name] > 1:
                    shown.append((name, *("" for _ in cells)))
                shown.append((f"  {level}" if counts[name] > 1 else f"{name}: {level}", *cells))
            before = name
        heads = [f"{arm} (n = {n:,})" for arm, n in zip(arms, self.patients, strict=True)]
        return pd.DataFrame(shown, columns=["", *heads, "SMD"])


def baseline_table(trial: Trial) -> BaselineTable:
    """Describe the covariates of an analysis set by arm.

    Parameters
    ----------
    trial
        The analysis set.

    Returns
    -------
    BaselineTable
        Medians with quartiles of those recorded, counts with percentages of the arm, missing values, and the
        standardised mean difference of the primary contrast.
    """
    treatment = trial.treatment
    arms = [treatment.control, treatment.experimental, *treatment.secondary]
    groups = {_heading(treatment.label(arm)): trial.frame[trial.frame["arm"] == arm] for arm in arms}
    rows: list[dict[str, object]] = []
    for covariate in trial.covariates:
        rows += _numeric(covariate, groups) if covariate.kind == "numeric" else _counted(covariate, groups)
        if trial.frame[covariate.name].isna().any():
            rows.append(_missing(covariate, groups))
    frame = pd.DataFrame(rows)
    frame["smd"] = frame["smd"].astype(float)
    return BaselineTable(frame, tuple(len(group) for group in groups.values()))


def _heading(label: str) -> str:
    """Return an arm's column; an arm may be called like one of the columns beside it."""
    return f"{label} (arm)" if label in ("characteristic", "level", "smd") else label


def signed(difference: float) -> str:
    """Return a standardised mean difference with two decimals, as journals print it."""
    return f"{difference:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")


def quartiles(known: pd.Series) -> tuple[str, str, str]:
    """Return the quartiles as words, whole numbers where all values are whole."""
    values = np.percentile(known, [25, 50, 75])
    if bool((known == known.round()).all()):
        return tuple(f"{round(value):,}".replace("-", "\N{MINUS SIGN}") for value in values)  # type: ignore[return-value]
    return tuple(format_number(float(value)) for value in values)  # type: ignore[return-value]


def _numeric(covariate: Covariate, groups: dict[str, pd.DataFrame]) -> list[dict[str, object]]:
    row: dict[str, object] = {
        "characteristic": covariate.label,
        "level": "",
        "smd": math.nan,
    }
    values = [group[covariate.name].dropna().astype(float) for group in groups.values()]
    for name, known in zip(groups, values, strict=True):
        if len(known) < SMALLEST_CELL:
            row[name] = "suppressed"
            continue
        low, middle, high = quartiles(known)
        row[name] = f"{middle} ({low} to {high})"
    row["smd"] = standardised_mean_difference(values[1], values[0])
    return [row]


def _counted(covariate: Covariate, groups: dict[str, pd.DataFrame]) -> list[dict[str, object]]:
    levels, counts, hidden = _margins(covariate, groups)
    control, experimental = list(groups)[:2]
    rows = []
    for place, level in enumerate(levels):
        if covariate.kind == "binary" and level == 0.0 and len(levels) == 2:
            continue
        smd = standardised_mean_difference(
            (groups[experimental][covariate.name].dropna() == level).astype(float),
            (groups[control][covariate.name].dropna() == level).astype(float),
        )
        words = str(level) if covariate.kind == "categorical" else "yes" if level == 1.0 else "no"
        row: dict[str, object] = {"characteristic": covariate.label, "level": words, "smd": smd}
        hide_smd = hidden[control][place] or hidden[experimental][place]
        row["smd"] = math.nan if hide_smd else smd
        for name, cells in counts.items():
            # Of the arm: a percentage of those recorded would give back how many were not.
            share = 100 * cells[place] / max(len(groups[name]), 1)
            row[name] = "suppressed" if hidden[name][place] else f"{cells[place]:,} ({share:.0f} %)"
        rows.append(row)
    return rows


def _margins(
    covariate: Covariate, groups: dict[str, pd.DataFrame]
) -> tuple[list[object], dict[str, list[int]], dict[str, list[bool]]]:
    """Return the levels, and for each arm their counts and what to hide, with the missing values as the last cell.

    Missing values belong to the margin: if all else were shown, the arm's size would give them back.
    """
    columns = {name: group[covariate.name] for name, group in groups.items()}
    levels = sorted(pd.concat(list(columns.values())).dropna().unique(), key=str)
    counts = {
        name: [*(int((column == level).sum()) for level in levels), int(column.isna().sum())]
        for name, column in columns.items()
    }
    unshown = 0 if covariate.kind == "binary" and len(levels) == 2 else None
    hidden = {name: suppressed(cells, unshown=unshown) for name, cells in counts.items()}
    # The models publish means over the two primary arms together: a cell hidden in one would follow from the other.
    control, experimental = list(groups)[:2]
    both = [one or other for one, other in zip(hidden[control], hidden[experimental], strict=True)]
    return levels, counts, {**hidden, control: both, experimental: list(both)}


def _missing(covariate: Covariate, groups: dict[str, pd.DataFrame]) -> dict[str, object]:
    row: dict[str, object] = {"characteristic": covariate.label, "level": "missing", "smd": math.nan}
    hidden = {} if covariate.kind == "numeric" else _margins(covariate, groups)[2]
    for name, group in groups.items():
        count = int(group[covariate.name].isna().sum())
        small = 0 < count < SMALLEST_CELL
        shown = "suppressed" if name in hidden and hidden[name][-1] else f"{count:,}"
        row[name] = f"fewer than {SMALLEST_CELL}" if small else shown
    return row

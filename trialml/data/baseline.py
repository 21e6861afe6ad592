"""Baseline characteristics by arm or by any groups, with standardised mean differences and without p-values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.baseline_counts import Counts, Groups, count, groups_by_arm, groups_by_label
from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_columns import code
from trialml.data.trial import Covariate, Trial
from trialml.errors import DataError
from trialml.result import Result, format_number

__all__ = ["BaselineTable", "baseline_table", "quartiles", "signed", "standardised_mean_difference"]


def standardised_mean_difference(experimental: pd.Series, control: pd.Series) -> float:
    """Return (mean of experimental - mean of control) / sqrt of the average of the two variances.

    Missing values are left out. For 0/1 values the variance is p(1 - p), for others the sample variance (divided by n - 1).
    Source: Austin (2009), Statistics in Medicine 28:3083-3107.
    """
    parts = (control.dropna(), experimental.dropna())
    # Of shares the variance is that of the proportion, which divides by n.
    less = 0 if all(part.isin((0, 1)).all() for part in parts) else 1
    means = np.array([part.mean() for part in parts], dtype=np.float64)
    return _standardised(means, np.array([part.var(ddof=less) for part in parts], dtype=np.float64), 1, 0)


@dataclass(frozen=True, eq=False)
class BaselineTable(Result):
    """One row a characteristic and level, one column a group; small cells are suppressed.

    Attributes
    ----------
    rows
        Columns ``characteristic``, ``level``, ``smd`` and one column of words a group.
    patients
        Patients in each group.
    by
        What the groups are: ``"arm"``, ``"stratum of the randomisation"`` or the caller's word.
    """

    title = "Baseline characteristics"
    methods = (
        "Baseline characteristics are shown by randomised arm, and by stratum of the randomisation where there are several, as median "
        "(quartiles) of those recorded or number (percentage of all patients of the group, those not recorded included), with the number missing. Differences are described by "
        "standardised mean differences, without significance tests, which are meaningless after randomisation; between more than two "
        "strata the largest is given."
    )
    references = (
        "Austin PC. Balance diagnostics for comparing the distribution of baseline covariates between treatment groups in "
        "propensity-score matched samples. Stat Med 2009;28:3083-3107.",
    )

    rows: pd.DataFrame
    patients: tuple[int, ...]
    by: str = "arm"

    def heading(self) -> str:
        """Return the title, with what the groups are."""
        return f"{self.title} by {self.by}"

    def frame(self) -> pd.DataFrame:
        """Return the rows as shown: what is suppressed is not in the frame either."""
        return self.rows

    def text(self) -> str:
        """Return the largest difference: of the primary contrast, or between any two groups."""
        known = self.rows.dropna(subset=["smd"])
        if known.empty:
            return "No standardised mean difference could be computed."
        worst = known.loc[known["smd"].abs().idxmax()]
        name = worst["characteristic"] + (f" ({worst['level']})" if worst["level"] else "")
        whom = "the two arms of the primary contrast" if self.by == "arm" else f"any two groups by {self.by}"
        return (
            f"Between {whom} the largest standardised mean difference is {signed(float(worst['smd']))}, for {name}. Numbers are medians "
            f"(quartiles) of those recorded, or counts (percentages of all patients of the group, missing ones included; the differences are "
            f"of those recorded); counts under {SMALLEST_CELL} are suppressed."
        )

    def scalars(self) -> dict[str, float]:
        """Return the largest absolute standardised mean difference."""
        return {"largest_smd": float(self.rows["smd"].abs().max())}

    def table(self) -> pd.DataFrame:
        """Return the table for reading; a characteristic's name stands on its first row."""
        groups = [name for name in self.rows.columns if name not in ("characteristic", "level", "smd")]
        counts = self.rows["characteristic"].value_counts()
        shown: list[tuple[str, ...]] = []
        before = ""
        for row in self.rows.to_dict("records"):
            name, level = row["characteristic"], row["level"]
            smd = "" if math.isnan(row["smd"]) else signed(row["smd"])
            cells = (*(row[group] for group in groups), smd)
            if level in ("", "yes"):
                shown.append((name, *cells))
            else:
                # A characteristic with several levels is a heading; the report reads leading spaces as a step.
                if name != before and counts[name] > 1:
                    shown.append((name, *("" for _ in cells)))
                shown.append((f"  {level}" if counts[name] > 1 else f"{name}: {level}", *cells))
            before = name
        heads = [f"{group} (n = {n:,})" for group, n in zip(groups, self.patients, strict=True)]
        smd_head = "SMD" if self.by == "arm" or len(groups) == 2 else "Largest SMD"
        return pd.DataFrame(shown, columns=["", *heads, smd_head])


def baseline_table(
    trial: Trial, *, by: str | Sequence[object] | NDArray[np.generic] = "arm", called: str = "group"
) -> BaselineTable:
    """Describe the covariates of an analysis set by arm, by stratum of the randomisation, or by any groups.

    Parameters
    ----------
    trial
        The analysis set.
    by
        ``"arm"``; ``"factor"``, the cells of the stratification factors; or one label a patient, shape (n,), missing ones
        left out. More than six groups, and groups of fewer than 11 patients, are joined as others.
    called
        What the groups are, where `by` is an array of labels.

    Returns
    -------
    BaselineTable
        Medians with quartiles of those recorded, counts with percentages of the group, and missing values. By arm the
        standardised mean difference is that of the primary contrast, experimental less control; of two groups second less
        first; of more the one that is largest in absolute value over all pairs. A cell that would follow from the margins of this
        table and of another one of the same patients is suppressed with the small ones.

    Raises
    ------
    DataError
        If `by` is no known word, or has another number of labels than there are patients.
    """
    groups, words = _groups(trial, by, called)
    names = tuple(_heading(name) for name in groups.names)
    rows: list[dict[Any, object]] = []
    for covariate in trial.covariates:
        coded = code(trial.frame[covariate.name])
        counts = count(covariate, coded, groups)
        if covariate.kind == "numeric":
            rows.append(_numeric(covariate, trial.frame[covariate.name], counts, groups))
        else:
            rows += _counted(covariate, counts, groups)
        if coded.known < len(trial):
            rows.append(_missing(covariate, counts))
    columns = ["characteristic", "level", "smd", *range(len(names))]
    frame = pd.DataFrame(rows, columns=columns).set_axis([*columns[:3], *names], axis=1)
    frame["smd"] = frame["smd"].astype(float)
    return BaselineTable(frame, groups.sizes, words)


def _groups(trial: Trial, by: str | Sequence[object] | NDArray[np.generic], called: str) -> tuple[Groups, str]:
    if isinstance(by, str):
        if by == "arm":
            return groups_by_arm(trial), "arm"
        if by == "factor":
            return groups_by_label(trial.factor), "stratum of the randomisation"
        raise DataError(f"by is '{by}', but it must be 'arm', 'factor' or one label a patient")
    if len(by) != len(trial):
        raise DataError(f"by has {len(by):,} labels, but the trial has {len(trial):,} patients: pass one a patient")
    return groups_by_label(by), called


def _heading(label: str) -> str:
    """Return a group's column; a group may be called like one of the columns beside it."""
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


def _numeric(covariate: Covariate, values: pd.Series, counts: Counts, groups: Groups) -> dict[Any, object]:
    parts = [values[groups.member == place].dropna().astype(float) for place in range(len(groups.names))]
    row: dict[Any, object] = {"characteristic": covariate.label, "level": ""}
    for place, known in enumerate(parts):
        if counts.cells[0, place] < SMALLEST_CELL:
            row[place] = "suppressed"
            continue
        low, middle, high = quartiles(known)
        row[place] = f"{middle} ({low} to {high})"
    means = np.array([known.mean() if len(known) else math.nan for known in parts])
    variances = np.array([known.var(ddof=1) if len(known) else math.nan for known in parts])
    row["smd"] = _difference(means, variances, groups)
    return row


def _counted(covariate: Covariate, counts: Counts, groups: Groups) -> list[dict[Any, object]]:
    sizes = np.maximum(np.array(groups.sizes), 1)
    known = counts.cells[:-1].sum(axis=0)
    rows = []
    for place, level in enumerate(counts.levels):
        if covariate.kind == "binary" and level == 0.0 and len(counts.levels) == 2:
            continue
        words = str(level) if covariate.kind == "categorical" else "yes" if level == 1.0 else "no"
        row: dict[Any, object] = {"characteristic": covariate.label, "level": words}
        cells, hidden = counts.cells[place], counts.hidden[place]
        for group in range(len(sizes)):
            # Of the group: a percentage of those recorded would give back how many were not.
            share = 100 * cells[group] / sizes[group]
            row[group] = "suppressed" if hidden[group] else f"{cells[group]:,} ({share:.0f} %)"
        shares = np.where(known > 0, cells / np.maximum(known, 1), math.nan)
        compared = hidden[list(groups.together)] if groups.together else hidden
        row["smd"] = math.nan if compared.any() else _difference(shares, shares * (1 - shares), groups)
        rows.append(row)
    return rows


def _missing(covariate: Covariate, counts: Counts) -> dict[Any, object]:
    row: dict[Any, object] = {"characteristic": covariate.label, "level": "missing", "smd": math.nan}
    for place, (cell, hide) in enumerate(zip(counts.cells[-1], counts.hidden[-1], strict=True)):
        small = f"fewer than {SMALLEST_CELL}" if 0 < cell < SMALLEST_CELL else "suppressed"
        row[place] = small if hide else f"{cell:,}"
    return row


def _difference(means: NDArray[np.float64], variances: NDArray[np.float64], groups: Groups) -> float:
    """Return the standardised mean difference of the primary arms, of two groups, or the largest of all pairs."""
    if groups.together is not None:
        return _standardised(means, variances, 1, 0)
    pairs = [_standardised(means, variances, b, a) for a, b in itertools.combinations(range(len(means)), 2)]
    known = [pair for pair in pairs if not math.isnan(pair)]
    return max(known, key=abs) if known else math.nan


def _standardised(means: NDArray[np.float64], variances: NDArray[np.float64], second: int, first: int) -> float:
    spread = math.sqrt((variances[second] + variances[first]) / 2)
    difference = float(means[second] - means[first])
    return difference / spread if spread > 0 else 0.0 if difference == 0 else math.nan

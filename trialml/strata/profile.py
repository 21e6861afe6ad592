"""Who is in the strata: baseline characteristics by stratum, so that a rule by score can be pictured."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.baseline import quartiles, signed, standardised_mean_difference
from trialml.data.disclosure import SMALLEST_CELL, suppressed
from trialml.data.trial import Covariate
from trialml.result import Result
from trialml.strata.strata import Strata

__all__ = ["StrataProfile", "strata_profile"]


@dataclass(frozen=True, eq=False)
class StrataProfile(Result):
    """Medians and percentages by stratum, the most different characteristic first; small cells suppressed."""

    title = "Who is in the strata"

    rows: pd.DataFrame
    """Columns characteristic, smd (highest against lowest stratum) and one column of words a stratum."""

    def frame(self) -> pd.DataFrame:
        """Return the rows as shown."""
        return self.rows

    def text(self) -> str:
        """Return the characteristics that tell the outer strata apart most."""
        known = self.rows.dropna(subset=["smd"]).head(3)
        if known.empty:
            return "There is a single stratum."
        words = ", ".join(f"{row.characteristic} (SMD {signed(row.smd)})" for row in known.itertuples())
        return f"Of the covariates, these differ most between the highest and the lowest stratum: {words}."

    def scalars(self) -> dict[str, float]:
        """Return nothing: the profile is to be read."""
        return {}

    def table(self) -> pd.DataFrame:
        """Return the rows for reading."""
        shown = self.rows.copy()
        shown["smd"] = ["" if math.isnan(value) else signed(value) for value in shown["smd"]]
        names = [name for name in shown.columns if name not in ("characteristic", "smd")]
        return shown[["characteristic", *names, "smd"]].set_axis(["", *names, "SMD, highest against lowest"], axis=1)


def strata_profile(
    baseline: pd.DataFrame, covariates: tuple[Covariate, ...], members: NDArray[np.intp], strata: Strata
) -> StrataProfile:
    """Describe the patients of each stratum of the final rule.

    Parameters
    ----------
    baseline
        Covariates of the training patients, shape (n, p).
    covariates
        Their types and labels.
    members
        The stratum of each patient, shape (n,).
    strata
        The final strata.

    Returns
    -------
    StrataProfile
        Numeric: median (quartiles). Otherwise: percentage with the value, one row a category.
    """
    rows = []
    for covariate in covariates:
        column = baseline[covariate.name]
        if covariate.kind == "numeric":
            rows.append(_numeric_row(covariate.label, column.astype(float), members, strata))
            continue
        levels = [1.0] if covariate.kind == "binary" else sorted(column.dropna().unique(), key=str)
        for level in levels:
            label = covariate.label if covariate.kind == "binary" else f"{covariate.label}: {level}"
            rows.append(_share_row(label, column, level, members, strata))
    frame = pd.DataFrame(rows)
    frame["smd"] = frame["smd"].astype(float)
    order = frame["smd"].abs().sort_values(ascending=False, kind="stable", na_position="last").index
    return StrataProfile(frame.loc[order].reset_index(drop=True))


def _numeric_row(label: str, column: pd.Series, members: NDArray[np.intp], strata: Strata) -> dict[str, object]:
    row: dict[str, object] = {"characteristic": label, "smd": _smd(column, members, len(strata.strata))}
    for place, name in enumerate(strata.names):
        known = column[members == place].dropna()
        if len(known) < SMALLEST_CELL:
            row[name] = "suppressed"
        else:
            low, middle, high = quartiles(known)
            row[name] = f"{middle} ({low} to {high})"
    return row


def _share_row(
    label: str, column: pd.Series, level: object, members: NDArray[np.intp], strata: Strata
) -> dict[str, object]:
    matches = (column == level).astype(float).where(column.notna())
    row: dict[str, object] = {"characteristic": label, "smd": _smd(matches, members, len(strata.strata))}
    known = [matches[members == place].dropna() for place in range(len(strata.names))]
    yes = [int(part.sum()) for part in known]
    # The strata together are all patients, whose share the models publish: one hidden cell would follow from the others.
    hidden = suppressed([min(count, len(part) - count) for count, part in zip(yes, known, strict=True)])
    for name, count, part, hide in zip(strata.names, yes, known, hidden, strict=True):
        row[name] = "suppressed" if hide else f"{100 * count / max(len(part), 1):.0f} %"
    if any(hidden):
        row["smd"] = math.nan
    return row


def _smd(column: pd.Series, members: NDArray[np.intp], groups: int) -> float:
    if groups == 1:
        return math.nan
    return standardised_mean_difference(column[members == groups - 1], column[members == 0])

"""Who is in the strata: baseline characteristics by stratum, so that a rule by score can be pictured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.baseline import quartiles, signed, standardised_mean_difference
from trialml.data.disclosure import SMALLEST_CELL, suppressed
from trialml.data.trial import Covariate
from trialml.result import COLOURS, Result, plain_text
from trialml.strata.strata import Strata

__all__ = ["StrataProfile", "strata_profile"]

_DRAWN = 20
"""Characteristics that fit one picture; the table has all."""


@dataclass(frozen=True, eq=False)
class StrataProfile(Result):
    """Medians and percentages by stratum, the most different characteristic first; small cells suppressed."""

    title = "Who is in the strata"
    figure_size = (7.2, 4.4)

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

    @property
    def has_figure(self) -> bool:
        """Whether two strata can be told apart by a characteristic that is not suppressed."""
        return bool(self.rows["smd"].notna().any())

    def draw(self, figure: Any) -> None:
        """Draw what tells the outer strata apart: a point a characteristic, the largest difference on top."""
        known = self.rows.dropna(subset=["smd"]).head(_DRAWN)[::-1]
        axes = figure.subplots()
        place = np.arange(len(known))
        axes.hlines(place, 0, known["smd"], color=COLOURS["reference"], linewidth=1)
        axes.plot(known["smd"], place, "o", color=COLOURS["experimental"], markersize=6)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(
            place, [plain_text(shorten(str(name), 44, placeholder="...")) for name in known["characteristic"]]
        )
        axes.set_ylim(-0.6, len(known) - 0.4)
        axes.margins(x=0.1)
        axes.set_xlabel("Standardised mean difference\n(right of 0: higher in the highest stratum)")
        axes.spines[["top", "right"]].set_visible(False)

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
        rows += _share_rows(covariate, column, members, strata)
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


def _share_rows(
    covariate: Covariate, column: pd.Series, members: NDArray[np.intp], strata: Strata
) -> list[dict[str, object]]:
    binary = covariate.kind == "binary"
    levels = [1.0] if binary else sorted(column.dropna().unique(), key=str)
    of = column.notna().to_numpy(dtype=np.bool_)
    sizes = np.array([int((of & (members == place)).sum()) for place in range(len(strata.names))])
    matches = [(column == level).astype(float).where(column.notna()) for level in levels]
    shape = (len(levels), len(sizes))
    cells = np.array([[int(one[members == place].sum()) for place in range(len(sizes))] for one in matches]).reshape(
        shape
    )
    hidden = _hidden(cells, sizes, whole=not binary)
    rows: list[dict[str, object]] = []
    for level, one, counts, hide in zip(levels, matches, cells, hidden, strict=True):
        label = covariate.label if binary else f"{covariate.label}: {level}"
        row: dict[str, object] = {"characteristic": label, "smd": _smd(one, members, len(sizes))}
        for name, count, size, small in zip(strata.names, counts, sizes, hide, strict=True):
            row[name] = "suppressed" if small else f"{100 * count / max(size, 1):.0f} %"
        if hide.any():
            row["smd"] = math.nan
        rows.append(row)
    return rows


def _hidden(cells: NDArray[np.int64], sizes: NDArray[np.int64], *, whole: bool) -> NDArray[np.bool_]:
    """Say which cells of levels by strata must be hidden; `whole` where the levels make up the strata.

    The strata together are all patients, whose share the models publish, so that one hidden cell of a level would follow from
    the others; and the levels together are the stratum, so that one hidden level would follow from those shown.
    """
    hidden = np.zeros(cells.shape, dtype=np.bool_)
    few = np.minimum(cells, sizes - cells)
    while True:
        before = hidden.copy()
        for level in range(len(cells)):
            hidden[level] = suppressed(few[level].tolist(), hidden=hidden[level].tolist())
        for place in range(len(sizes) if whole else 0):
            hidden[:, place] = suppressed(cells[:, place].tolist(), hidden=hidden[:, place].tolist())
        if np.array_equal(before, hidden):
            return hidden


def _smd(column: pd.Series, members: NDArray[np.intp], groups: int) -> float:
    if groups == 1:
        return math.nan
    return standardised_mean_difference(column[members == groups - 1], column[members == 0])

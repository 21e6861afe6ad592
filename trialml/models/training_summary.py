"""How the covariates were distributed in training: shares of groups of patients, never a patient; what drift is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.trial import Covariate

__all__ = ["ColumnSummary", "TrainingSummary"]

_GROUPS = 10
_DIGITS = 2


@dataclass(frozen=True)
class ColumnSummary:
    """One covariate in training.

    Attributes
    ----------
    name, kind
        As in the study file.
    groups
        What the groups are: the categories, or ``"0"`` and ``"1"``; empty for a number, whose groups `edges` bound.
    edges
        Where one group of a number ends and the next begins; a value on an edge belongs to the upper one.
    shares
        Of the patients with a value, rounded to a hundredth; each stands for at least 11 patients. Empty where there are no two
        such groups.
    missing
        Share of patients without a value, rounded to a hundredth; None for 1 to 10 patients.
    """

    name: str
    kind: str
    groups: tuple[str, ...]
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float | None

    def counts(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
        """Return how many of new patients are in each group; missing values and unlisted categories are in none, shape (k,)."""
        if self.edges:
            numbers = np.asarray(values, dtype=np.float64)
            places = np.searchsorted(np.asarray(self.edges), numbers[~np.isnan(numbers)], side="right")
            return np.bincount(places, minlength=len(self.shares)).astype(np.int64)
        texts = pd.Series(np.asarray(values, dtype=object)).map(_text)
        return np.asarray([int((texts == group).sum()) for group in self.groups], dtype=np.int64)


@dataclass(frozen=True)
class TrainingSummary:
    """The covariates of the patients that a model was learned from.

    Attributes
    ----------
    patients
        How many there were.
    columns
        One a covariate.
    """

    patients: int
    columns: tuple[ColumnSummary, ...]

    @classmethod
    def learn(cls, covariates: Sequence[Covariate], baseline: pd.DataFrame) -> Self:
        """Return the summary of training patients.

        Parameters
        ----------
        covariates
            The whitelist.
        baseline
            Their values, one row a patient.

        Returns
        -------
        TrainingSummary
            Numbers in at most ten groups at rounded deciles, joined until each holds 11 patients; shares to a hundredth, from which
            no count under 11 can be had.
        """
        return cls(len(baseline), tuple(_summarise(one, baseline[one.name]) for one in covariates))

    def state(self) -> dict[str, Any]:
        """Return the summary as plain JSON types."""
        return {"patients": self.patients, "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the summary that `state` described."""
        columns = []
        for one in state["columns"]:
            listed = {key: tuple(one[key]) for key in ("groups", "edges", "shares")}
            columns.append(ColumnSummary(one["name"], one["kind"], missing=one["missing"], **listed))
        return cls(int(state["patients"]), tuple(columns))


def _summarise(covariate: Covariate, column: pd.Series) -> ColumnSummary:
    lacking = int(column.isna().sum())
    missing = None if 0 < lacking < SMALLEST_CELL else round(lacking / max(len(column), 1), _DIGITS)
    known = column.dropna()
    edges: tuple[float, ...] = ()
    groups: tuple[str, ...] = ()
    if covariate.kind == "numeric":
        edges, counts = _groups_of_numbers(known.to_numpy(dtype=np.float64))
    else:
        found = known.map(_text).value_counts()
        # A category of few patients is in no group, and new patients who have it are refused anyway.
        kept = found[found >= SMALLEST_CELL] if covariate.kind == "categorical" else found
        groups, counts = tuple(sorted(kept.index)), np.asarray([kept[name] for name in sorted(kept.index)])
    if len(counts) < 2 or counts.min() < SMALLEST_CELL:
        return ColumnSummary(covariate.name, covariate.kind, (), (), (), missing)
    shares = tuple(round(float(share), _DIGITS) for share in counts / counts.sum())
    return ColumnSummary(covariate.name, covariate.kind, groups, edges, shares, missing)


def _text(value: object) -> str | None:
    """Return the group of a category or of 0 and 1; None where the value is missing."""
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else f"{value:g}"
    return None if value is None else str(value)


def _groups_of_numbers(known: NDArray[np.float64]) -> tuple[tuple[float, ...], NDArray[np.int64]]:
    """Return rounded edges with at least 11 patients between any two, and the patients in each group."""
    if len(known) < 2 * SMALLEST_CELL:
        return (), np.empty(0, np.int64)
    inner = np.quantile(known, np.arange(1, _GROUPS) / _GROUPS)
    low, high = np.quantile(known, [0.01, 0.99])
    spread = high - low
    if not spread > 0:
        return (), np.empty(0, np.int64)
    # Rounded, an edge is no patient's value to the last digit.
    digits = int(2 - np.floor(np.log10(spread)))
    edges: list[float] = []
    ordered = np.sort(known)
    before = 0
    for edge in dict.fromkeys(round(float(one), digits) for one in inner):
        below = int(np.searchsorted(ordered, edge, side="left"))
        if below - before >= SMALLEST_CELL and len(ordered) - below >= SMALLEST_CELL:
            edges.append(edge)
            before = below
    counts = np.bincount(np.searchsorted(np.asarray(edges), known, side="right"), minlength=len(edges) + 1)
    return tuple(edges), counts.astype(np.int64)

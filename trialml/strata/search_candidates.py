"""Candidate subgroups of a search: one covariate cut at quantiles, or the corner of two such cuts, formed without arms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import AnalysisError, DataError
from trialml.result import counted

__all__ = ["Candidates", "SearchPlan", "candidate_subgroups"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

MOST = 20_000
"""Candidates of one search: with 1,000 permutations their statistics take 80 MB."""

BLOCK = 512


@dataclass(frozen=True)
class SearchPlan:
    """What is searched and how, decided before the data are seen.

    Attributes
    ----------
    cuts, pair_cuts
        Quantiles at which a numeric covariate is cut, alone and in pairs (0: no pairs).
    smallest_share, fewest_events
        What a subgroup and the rest must each have: a share of the patients (and at least 11 of them), and events in both arms
        together.
    permutations
        Resamples under the null hypothesis.
    folds, repeats
        Of the cross-fitted effect; 0 repeats leave it out.
    shown
        Candidates that the result keeps, the most extreme first.
    seed
        Of permutations and folds.
    """

    cuts: int = 9
    pair_cuts: int = 3
    smallest_share: float = 0.1
    fewest_events: int = 20
    permutations: int = 999
    folds: int = 5
    repeats: int = 6
    shown: int = 10
    seed: int = 1

    def __post_init__(self) -> None:
        if self.cuts < 1 or self.pair_cuts < 0 or self.permutations < 19 or self.shown < 1 or self.repeats < 0:
            raise DataError(
                f"cuts = {self.cuts}, pair_cuts = {self.pair_cuts}, permutations = {self.permutations}, repeats = {self.repeats} and shown = "
                f"{self.shown} will not do: a search needs a cut, 19 permutations and a candidate to show"
            )
        if not 0 <= self.smallest_share < 0.5:
            raise DataError(f"smallest_share is {self.smallest_share:g}: it must be at least 0 and less than 0.5")


class _Condition(NamedTuple):
    covariate: str
    words: str
    opposite: str
    met: Flags
    in_pairs: bool


@dataclass(frozen=True)
class Candidates:
    """Subgroups as corners of conditions.

    Attributes
    ----------
    words, covariates
        What each is called and the covariates that it names, of length m.
    met
        Who meets each of b conditions, shape (n, b).
    first, second
        The conditions of each, shape (m,); ``second`` is -1 where there is one.
    first_met, second_met
        Whether the condition or its opposite is asked, shape (m,).
    too_small
        Candidates that were left out for too few patients or events.
    """

    words: tuple[str, ...]
    covariates: tuple[str, ...]
    met: Flags
    first: Rows
    second: Rows
    first_met: Flags
    second_met: Flags
    too_small: int

    def member(self, place: int) -> Flags:
        """Return who is in one candidate, shape (n,)."""
        return np.asarray(self._members(slice(place, place + 1))[:, 0])

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield memberships as 0 and 1, shape (n, up to 512), with their places."""
        for start in range(0, len(self.words), BLOCK):
            places = slice(start, min(start + BLOCK, len(self.words)))
            yield places, self._members(places).astype(np.float64)

    def _members(self, places: slice) -> Flags:
        inside = self.met[:, self.first[places]] == self.first_met[places]
        paired = self.met[:, self.second[places]] == self.second_met[places]
        return np.asarray(inside & (paired | (self.second[places] < 0)))


def candidate_subgroups(
    X: pd.DataFrame, plan: SearchPlan, *, event: Flags | None = None, labels: Mapping[str, str] | None = None
) -> Candidates:
    """Form the candidates of a search from covariates alone; no arm is looked at, and events of both arms are only counted.

    Parameters
    ----------
    X
        Covariates at baseline without missing values, shape (n, p): numbers are cut at quantiles, rounded to three digits of
        their range (the rounded cut is the cut), so that at least 11 patients lie between two cuts; numbers of 0 and 1 and categories are taken level by level.
    plan
        What is searched.
    event
        Who had the event, shape (n,), where a subgroup needs events.
    labels
        What covariates are called.

    Raises
    ------
    DataError
        If a value is missing or infinite.
    AnalysisError
        If no candidate is large enough, or there are more than 20,000.
    """
    conditions = [one for name in X.columns for one in _conditions(X[name], str(name), plan, labels or {})]
    if not conditions:
        raise AnalysisError(
            "every covariate has one value, or levels too small to part the patients: there is no subgroup to search"
        )
    met = np.column_stack([one.met for one in conditions])
    fewest = max(SMALLEST_CELL, math.ceil(plan.smallest_share * len(X)))
    enough = _Enough(met, fewest, plan.fewest_events, event)
    single = [place for place in range(len(conditions)) if enough.alone(place)]
    corners = _corners(conditions, plan, enough)
    if not single and not corners:
        needed = f" and {counted(plan.fewest_events, 'event')}" if event is not None else ""
        raise AnalysisError(
            f"no subgroup has {fewest} patients{needed} in it and outside it: {counted(len(X), 'patient')} are too few to be searched"
        )
    if len(single) + len(corners) > MOST:
        raise AnalysisError(
            f"there are {len(single) + len(corners):,} candidate subgroups, more than {MOST:,}: search fewer covariates or cuts"
        )
    return _named(conditions, met, single, corners, enough.left_out)


class _Enough:
    """Whether a subgroup and the rest have enough patients and events; counts what has not."""

    def __init__(self, met: Flags, fewest: int, fewest_events: int, event: Flags | None) -> None:
        who = met.astype(np.float64)
        self.n = len(met)
        self.fewest, self.fewest_events = fewest, fewest_events if event is not None else 0
        had = np.zeros(self.n) if event is None else event.astype(np.float64)
        self.events = float(had.sum())
        self.both, self.both_events = who.T @ who, (who * had[:, None]).T @ who
        self.left_out = 0

    def _passes(self, patients: float, events: float) -> bool:
        enough = (
            self.fewest <= patients <= self.n - self.fewest
            and self.fewest_events <= events <= self.events - self.fewest_events
        )
        self.left_out += not enough
        return enough

    def alone(self, place: int) -> bool:
        return self._passes(self.both[place, place], self.both_events[place, place])

    def corners(self, i: int, j: int) -> list[tuple[bool, bool]]:
        """Return the corners of two conditions that are large enough; none where any of the four gives away a small cell."""
        sizes, events = (
            _four(table, i, j, every) for table, every in ((self.both, self.n), (self.both_events, self.events))
        )
        if min(sizes.values()) < SMALLEST_CELL:
            self.left_out += 4
            return []
        return [corner for corner, size in sizes.items() if self._passes(size, events[corner])]


def _four(table: Floats, i: int, j: int, every: float) -> dict[tuple[bool, bool], float]:
    both, first, second = table[i, j], table[i, i], table[j, j]
    return {
        (True, True): both,
        (True, False): first - both,
        (False, True): second - both,
        (False, False): every - first - second + both,
    }


def _corners(conditions: list[_Condition], plan: SearchPlan, enough: _Enough) -> list[tuple[int, bool, int, bool]]:
    if not plan.pair_cuts:
        return []
    usable = [place for place, one in enumerate(conditions) if one.in_pairs]
    return [
        (i, first, j, second)
        for i in usable
        for j in usable
        if i < j and conditions[i].covariate != conditions[j].covariate
        for first, second in enough.corners(i, j)
    ]


def _named(
    conditions: list[_Condition],
    met: Flags,
    single: list[int],
    corners: list[tuple[int, bool, int, bool]],
    left_out: int,
) -> Candidates:
    every = [(place, True, -1, True) for place in single] + corners
    words, covariates = [], []
    for i, asked_first, j, asked_second in every:
        parts = [(conditions[i], asked_first)] + ([(conditions[j], asked_second)] if j >= 0 else [])
        words.append(" and ".join(one.words if asked else one.opposite for one, asked in parts))
        covariates.append(", ".join(one.covariate for one, _ in parts))
    first = np.array([one[0] for one in every], dtype=np.intp)
    second = np.array([one[2] for one in every], dtype=np.intp)
    first_met = np.array([one[1] for one in every], dtype=np.bool_)
    second_met = np.array([one[3] for one in every], dtype=np.bool_)
    return Candidates(tuple(words), tuple(covariates), met, first, second, first_met, second_met, left_out)


def _conditions(column: pd.Series[Any], name: str, plan: SearchPlan, labels: Mapping[str, str]) -> list[_Condition]:
    label = labels.get(name, name)
    missing = int(column.isna().sum())
    if missing:
        raise DataError(f"'{name}' is missing in {missing} of {len(column)} rows: impute it first")
    if not pd.api.types.is_numeric_dtype(column):
        return _levels(column.astype(str).to_numpy(), name, label)
    values = column.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"'{name}' is infinite in {int((~np.isfinite(values)).sum())} of {len(values)} rows")
    if np.isin(values, (0.0, 1.0)).all():
        yes = values == 1
        return [_Condition(name, f"{label}: yes", f"{label}: no", yes, True)] if 0 < yes.sum() < yes.size else []
    coarse = _cut_points(values, plan.pair_cuts, [])
    return [
        _Condition(
            name, f"{label} at least {_number(cut)}", f"{label} below {_number(cut)}", values >= cut, cut in coarse
        )
        for cut in _cut_points(values, plan.cuts, coarse)
    ]


def _levels(texts: NDArray[Any], name: str, label: str) -> list[_Condition]:
    levels, counts = np.unique(texts, return_counts=True)
    kept = [level for level, count in zip(levels, counts, strict=True) if count >= SMALLEST_CELL]
    # The last of two levels is the opposite of the first.
    kept = kept[:1] if len(levels) == 2 else kept if len(levels) > 1 else []
    return [_Condition(name, f"{label} is {level}", f"{label} is not {level}", texts == level, True) for level in kept]


def _cut_points(values: Floats, count: int, kept: list[float]) -> list[float]:
    """Return quantiles as they are said beside those kept before, no two with fewer than 11 patients between them."""
    if not count or values.min() == values.max():
        return list(kept)
    digits = 2 - math.floor(math.log10(values.max() - values.min()))
    wanted = np.quantile(values, np.arange(1, count + 1) / (count + 1), method="inverted_cdf")
    ordered = np.sort(values)
    points = list(kept)
    for cut in sorted({round(float(one), digits) + 0.0 for one in wanted}):
        below = np.searchsorted(ordered, [*points, -math.inf, math.inf])
        if np.abs(below - np.searchsorted(ordered, cut)).min() >= SMALLEST_CELL:
            points.append(cut)
    return sorted(points)


def _number(value: float) -> str:
    return f"{value:,.15g}".replace("-", "\N{MINUS SIGN}")

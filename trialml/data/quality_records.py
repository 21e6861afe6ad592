"""Checks of repeated records: different subjects with the same values, more often than chance explains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.data.quality_catalogue import Seen, passed, unmade
from trialml.data.quality_columns import Codes, Column, Patients
from trialml.data.quality_sites import site_of

__all__ = ["check_records"]

_CHANCE_OF_RECORDS = 1e-3
_CHANCE_OF_BASELINES = 1e-6
_NEARLY_DETERMINED = 0.8


class Repeats(NamedTuple):
    """Sets of patients with the same values: the set of each patient, -1 for none; shape (n,)."""

    group: NDArray[np.int64]

    @property
    def which(self) -> NDArray[np.bool_]:
        """Patients that are in a set."""
        return self.group >= 0

    @property
    def sets(self) -> int:
        """How many sets there are."""
        return int(self.group.max(initial=-1)) + 1


def check_records(patients: Patients) -> Iterator[Seen]:
    """Yield what DQ012, DQ013 and DQ032 find."""
    baseline = [column.coded for column in _independent(patients)] + [patients.cells]
    whole = _repeats([patients.arms, *patients.outcome, *baseline], _CHANCE_OF_RECORDS)
    if whole.sets:
        found = (
            "{count} patients have arm, outcome and baseline values of another patient under a different identifier."
        )
        rows = patients.rows_where(whole.which)
        yield Seen(
            "DQ012", "Records", "warning", int(whole.which.sum()), found, "Kept: leave out the repeated ones.", rows
        )
    else:
        yield passed("DQ012", "Records", "No two patients have the same record by more than chance.")
    same = _repeats(baseline, _CHANCE_OF_BASELINES)
    further = same.which & ~whole.which
    if further.any():
        found = (
            "{count} patients share all their baseline values with another: one person may have been enrolled twice."
        )
        yield Seen("DQ013", "Baseline values", "note", int(further.sum()), found, "Kept.", patients.rows_where(further))
    else:
        yield passed("DQ013", "Baseline values", "No further patients share their baseline values by more than chance.")
    yield from _within_site(patients, whole, same)


def _independent(patients: Patients) -> list[Column]:
    """Leave out covariates that the ones before them nearly determine: they are no evidence of their own."""
    kept: list[Column] = []
    basis: list[NDArray[np.float64]] = []
    for column in patients.varying:
        if column.covariate.kind == "categorical":
            kept.append(column)
            continue
        values = np.where(column.missing, 0.0, column.numbers - np.nanmean(column.numbers))
        size = float(values @ values)
        for direction in basis:
            values = values - (values @ direction) * direction
        left = float(values @ values)
        if left > (1 - _NEARLY_DETERMINED) * size:
            kept.append(column)
            basis.append(values / np.sqrt(left))
    return kept


def _repeats(columns: list[Codes], chance: float) -> Repeats:
    """Find sets of equal patients that chance does not explain.

    With p_j the share of patients outside the set who have the set's value in column j (plus half a patient), the number of equal
    pairs that chance would make is about n^2 times the product of the p_j, were the columns independent; missing values
    count as no evidence. A set is kept where this number is below `chance`.
    """
    n = len(columns[0].codes)
    mixed = np.zeros(n, dtype=np.uint64)
    for column in columns:
        mixed = _mix(mixed ^ (column.codes + 2).astype(np.uint64))
    order = np.argsort(mixed, kind="stable")
    same = np.append(False, mixed[order][1:] == mixed[order][:-1])
    group = np.full(n, -1, dtype=np.int64)
    if not same.any():
        return Repeats(group)
    starts = np.flatnonzero(~same)
    sizes = np.diff(np.append(starts, n))
    several = sizes > 1
    firsts, sizes = order[starts[several]], sizes[several]
    expected = np.full(len(firsts), 2 * np.log(n))
    for column in columns:
        codes = column.codes[firsts]
        others = (np.append(column.counts, n)[codes] - sizes + 0.5) / n
        expected += np.where(codes >= 0, np.log(others), 0.0)
    real = np.flatnonzero(expected < np.log(chance))
    numbers = np.full(len(starts), -1, dtype=np.int64)
    numbers[np.flatnonzero(several)[real]] = np.arange(len(real))
    group[order] = numbers[np.cumsum(~same) - 1]
    return Repeats(group)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter whole numbers over 64 bits (the finaliser of Steele, Lea and Flood's SplitMix, OOPSLA 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _within_site(patients: Patients, *kinds: Repeats) -> Iterator[Seen]:
    site = site_of(patients)
    if site is None:
        yield unmade("DQ032", "Sites", "No column is known as the site; [data] site names it.")
        return
    inside = np.zeros(len(patients), dtype=np.bool_)
    for repeats in kinds:
        members = np.flatnonzero(repeats.which & (site.coded.codes >= 0))
        pairs = repeats.group[members] * (len(site.coded.levels) + 1) + site.coded.codes[members]
        _, inverse, counts = np.unique(pairs, return_inverse=True, return_counts=True)
        inside[members[counts[inverse] > 1]] = True
    own = site.sizes(inside)
    for place in np.flatnonzero(own >= 4):
        words = f"Site '{site.coded.levels[place]}': {{count}} patients repeat another patient of the site."
        named = site.judged[place]
        words = words if named else "A small site: {count} patients repeat another patient of the site."
        rows = patients.rows_where(inside & (site.coded.codes == place))
        yield Seen("DQ032", site.name, "warning", int(own[place]), words, "Kept.", rows)
    if (own < 4).all():
        yield passed("DQ032", site.name, "No site repeats its own patients.")

"""The log-rank test of two or more groups, stratified or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError
from trialml.result import Result, format_count, format_number, format_p
from trialml.survival.intervals import normal_quantile
from trialml.survival.ties import Array, Codes, Flags, checked_labels, checked_times, group_order, time_blocks

__all__ = ["LogRank", "LogRankArrays", "logrank", "logrank_arrays"]


class LogRankArrays(NamedTuple):
    """The sums of a log-rank test: shapes ``(k,)``, ``(k,)`` and ``(k, k)`` for k groups."""

    observed: Array
    expected: Array
    covariance: Array


def logrank_arrays(time: Array, event: Flags, codes: Codes, groups: int, strata: Codes | None = None) -> LogRankArrays:
    """Return observed and expected events and the hypergeometric covariance of their difference.

    Parameters
    ----------
    time, event
        Checked follow-up times and flags, shape ``(n,)``.
    codes
        The group of each patient, 0 to `groups` - 1.
    groups
        The number of groups.
    strata
        The stratum of each patient as a whole number; sums are within strata, then added up.
    """
    rows = [np.arange(time.size)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    observed, expected = np.zeros(groups), np.zeros(groups)
    covariance = np.zeros((groups, groups))
    for row in rows:
        blocks = time_blocks(time[row], event[row])
        here = np.zeros((blocks.time.size, groups))
        np.add.at(here, (blocks.position, codes[row]), 1.0)
        at_risk = np.cumsum(here[::-1], axis=0)[::-1]
        had = blocks.n_event > 0
        n, d = blocks.n_risk[had], blocks.n_event[had]
        share = at_risk[had] / n[:, None]
        observed += np.bincount(codes[row], event[row].astype(float), groups)
        expected += d @ share
        # One patient left at risk has no variance: (n - d) is 0 there, whatever stands below it.
        spread = d * (n - d) / np.maximum(n - 1, 1.0)
        covariance += np.diag(spread @ share) - (share * spread[:, None]).T @ share
    return LogRankArrays(observed, expected, covariance)


def _test(sums: LogRankArrays) -> tuple[float, int]:
    # A group that is never at risk at an event carries no information and no degree of freedom.
    used = np.flatnonzero(sums.expected > 0)[1:]
    difference = (sums.observed - sums.expected)[used]
    covariance = sums.covariance[np.ix_(used, used)]
    if used.size == 0 or np.linalg.matrix_rank(covariance) < used.size:
        raise AnalysisError(
            "the groups are never at risk together at an event, so the log-rank test compares nothing: "
            "use coarser strata or check the group labels"
        )
    return float(difference @ np.linalg.solve(covariance, difference)), int(used.size)


@dataclass(frozen=True, eq=False)
class LogRank(Result):
    """A log-rank test.

    Attributes
    ----------
    groups
        One row a group in display order: group, patients, events, expected.
    chi_square, df, p
        The test that the groups have the same hazard at all times; `p` is two-sided.
    z, p_one_sided
        For two groups: the second group's observed less expected events in standard errors, below 0 where it has
        fewer events, and the one-sided p of that; NaN for more groups.
    hazard_ratio, hazard_ratio_low, hazard_ratio_high
        For two groups: Peto's estimate ``exp((O - E) / V)``, second group to first; NaN for more.
    strata
        The number of strata; 1 for an unstratified test.
    level
        Of the limits.
    """

    title: ClassVar[str] = "Log-rank test"
    references: ClassVar[tuple[str, ...]] = (
        "Mantel N. Evaluation of survival data and two new rank order statistics arising in its consideration. "
        "Cancer Chemother Rep 1966;50:163-170.",
        "Peto R, Peto J. Asymptotically efficient rank invariant test procedures. J R Stat Soc A 1972;135:185-207.",
    )
    methods: ClassVar[str] = (
        "Event-free times were compared by the log-rank test (hypergeometric variance), stratified where said."
    )

    groups: pd.DataFrame
    chi_square: float
    df: int
    p: float
    z: float
    p_one_sided: float
    hazard_ratio: float
    hazard_ratio_low: float
    hazard_ratio_high: float
    strata: int
    level: float

    def frame(self) -> pd.DataFrame:
        """Return one row a group; the test's numbers are repeated in each."""
        return self.groups.assign(
            chi_square=self.chi_square, df=self.df, p=self.p, z=self.z, p_one_sided=self.p_one_sided
        )

    def table(self) -> pd.DataFrame:
        """Return patients, observed and expected events by group."""
        rows = self.groups
        return pd.DataFrame(
            {
                "Group": rows["group"],
                "Patients": [format_count(n) for n in rows["patients"]],
                "Events": [format_count(n) for n in rows["events"]],
                "Expected events": [f"{value:,.1f}" for value in rows["expected"]],
            }
        )

    def text(self) -> str:
        """Return the test in words."""
        kind = f"log-rank test stratified by {self.strata} strata" if self.strata > 1 else "unstratified log-rank test"
        degrees = f"{self.df} degree{'s' if self.df > 1 else ''} of freedom"
        words = (
            f"The {kind} of {' vs '.join(self.groups['group'])} gave chi-square {format_number(self.chi_square)} "
            f"on {degrees} (two-sided p {_equals(self.p)}; {format_count(self.groups['patients'].sum())} patients, "
            f"{format_count(self.groups['events'].sum())} events)."
        )
        if self.df == 1:
            second = self.groups["group"].iloc[-1]
            words += (
                f" z = {format_number(self.z)}, where below 0 means fewer events than expected with {second} "
                f"(one-sided p {_equals(self.p_one_sided)})."
            )
        return words

    def scalars(self) -> Mapping[str, float]:
        """Return the test's numbers."""
        numbers = {"logrank_chi_square": self.chi_square, "logrank_p": self.p}
        if self.df == 1:
            numbers |= {"logrank_z": self.z, "logrank_p_one_sided": self.p_one_sided}
        return numbers


def _equals(p: float) -> str:
    words = format_p(p)
    return words if words[0] in "<>" else f"= {words}"


def logrank(
    time: Any,
    event: Any,
    group: Any,
    *,
    order: Sequence[str] | None = None,
    strata: Any = None,
    level: float = 0.95,
) -> LogRank:
    """Return the log-rank test of two or more groups.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    group
        One label a patient.
    order
        The labels in display order, control first; sorted by default. With two groups, `z` is that of the second.
    strata
        One label a patient, the stratification factors of the randomisation combined.
    level
        Of the limits of Peto's hazard ratio.

    Returns
    -------
    LogRank
        Ties take the hypergeometric variance ``d (n - d) / (n - 1)``, as R's ``survdiff``.

    Raises
    ------
    DataError
        If the data cannot be used or `order` does not name each label once.
    AnalysisError
        If there is one group only, no event, or no event time with two groups at risk.
    """
    times, flags = checked_times(time, event, needs_event=True)
    labels, codes = checked_labels(group, times.size, "group")
    if labels.size < 2:
        raise AnalysisError(f"all {times.size} patients are in group '{labels[0]}': a comparison needs two groups")
    shown = group_order(labels, order)
    place = {label: i for i, label in enumerate(shown)}
    codes = np.array([place[str(label)] for label in labels], dtype=np.intp)[codes]
    blocks, stratum = checked_labels(strata, times.size, "strata")
    sums = logrank_arrays(times, flags, codes, labels.size, stratum)
    chi_square, df = _test(sums)
    z = peto = low = high = np.nan
    if labels.size == 2:
        distance, variance = float(sums.observed[1] - sums.expected[1]), float(sums.covariance[1, 1])
        half = normal_quantile(level) / np.sqrt(variance)
        peto, low, high = (float(np.exp(distance / variance + side * half)) for side in (0, -1, 1))
        z = float(distance / np.sqrt(variance))
    groups = pd.DataFrame(
        {
            "group": list(shown),
            "patients": np.bincount(codes, minlength=labels.size),
            "events": sums.observed.astype(int),
            "expected": sums.expected,
        }
    )
    p_two, p_one = float(special.chdtrc(df, chi_square)), float(special.ndtr(z))
    return LogRank(groups, chi_square, df, p_two, z, p_one, peto, low, high, int(blocks.size), level)

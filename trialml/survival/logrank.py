"""The log-rank test of two or more groups, stratified or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError
from trialml.result import Result, counted, format_count, format_number, format_p
from trialml.survival.intervals import normal_quantile
from trialml.survival.rows import checked_entry, coded_labels
from trialml.survival.ties import Array, Codes, Flags, checked_times, everybody, group_order
from trialml.survival.weighted_logrank import checked_weighting, weighted_sums

__all__ = ["Compared", "LogRank", "LogRankArrays", "compared", "logrank", "logrank_arrays"]


class LogRankArrays(NamedTuple):
    """The sums of a log-rank test: shapes ``(k,)``, ``(k,)`` and ``(k, k)`` for k groups."""

    observed: Array
    expected: Array
    covariance: Array


def logrank_arrays(
    time: Array,
    event: Flags,
    codes: Codes,
    groups: int,
    strata: Codes | None = None,
    *,
    rho: float = 0.0,
    gamma: float = 0.0,
    entry: Array | None = None,
) -> LogRankArrays:
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
    rho, gamma
        Fleming and Harrington's exponents; 0 and 0 are the log-rank test.
    entry
        Checked entry times, shape ``(n,)``; None for time 0.
    """
    sums = weighted_sums(time, event, codes, groups, ((rho, gamma),), strata=strata, entry=entry)
    return LogRankArrays(sums.observed[0], sums.expected[0], sums.covariance[0, 0])


def _test(sums: LogRankArrays) -> tuple[float, int]:
    # A group that is never at risk at an event carries no information and no degree of freedom.
    used = np.flatnonzero(sums.expected > 0)[1:]
    difference = (sums.observed - sums.expected)[used]
    covariance = sums.covariance[np.ix_(used, used)]
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if (
        used.size == 0
        or not (scale > 0).all()
        or np.linalg.matrix_rank(covariance / np.outer(scale, scale)) < used.size
    ):
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
        One row a group in display order: group, patients, events, observed, expected; the last two are sums of the
        test's weights.
    chi_square, df, p
        The test that the groups have the same hazard at all times; `p` is two-sided.
    z, p_one_sided
        For two groups: the second group's observed less expected events in standard errors, below 0 where it has
        fewer events, and the one-sided p of that; NaN for more groups.
    hazard_ratio, hazard_ratio_low, hazard_ratio_high
        For two groups and the log-rank test: Peto's estimate ``exp((O - E) / V)``, second group to first; else NaN.
    strata
        The number of strata; 1 for an unstratified test.
    level
        Of the limits.
    rho, gamma
        The exponents of Fleming and Harrington's weight ``S(t-)^rho (1 - S(t-))^gamma``; 0 and 0 are the log-rank test.
    """

    title: ClassVar[str] = "Log-rank test"
    references: ClassVar[tuple[str, ...]] = (
        "Mantel N. Evaluation of survival data and two new rank order statistics arising in its consideration. "
        "Cancer Chemother Rep 1966;50:163-170.",
        "Peto R, Peto J. Asymptotically efficient rank invariant test procedures. J R Stat Soc A 1972;135:185-207.",
        "Harrington DP, Fleming TR. A class of rank test procedures for censored survival data. Biometrika "
        "1982;69:553-566.",
    )
    methods: ClassVar[str] = (
        "Event-free times were compared by the log-rank test (hypergeometric variance), stratified where said, and weighted by "
        "Fleming and Harrington's weights where said."
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
    rho: float = 0.0
    gamma: float = 0.0

    def heading(self) -> str:
        """Return the title, with the exponents of a weighted test."""
        return self.title if self._unweighted else f"Weighted log-rank test, {self._weight()}"

    @property
    def _unweighted(self) -> bool:
        return self.rho == 0 and self.gamma == 0

    def _weight(self) -> str:
        return f"Fleming-Harrington rho {self.rho:g}, gamma {self.gamma:g}"

    def frame(self) -> pd.DataFrame:
        """Return one row a group; the test's numbers are repeated in each."""
        return self.groups.assign(
            chi_square=self.chi_square, df=self.df, p=self.p, z=self.z, p_one_sided=self.p_one_sided,
            rho=self.rho, gamma=self.gamma,
        )  # fmt: skip

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
        kind += "" if self._unweighted else f" with weights ({self._weight()})"
        degrees = f"{self.df} degree{'s' if self.df > 1 else ''} of freedom"
        words = (
            f"The {kind} of {' vs '.join(self.groups['group'])} gave chi-square {format_number(self.chi_square)} "
            f"on {degrees} (two-sided p {_equals(self.p)}; {counted(self.groups['patients'].sum(), 'patient')}, "
            f"{counted(self.groups['events'].sum(), 'event')})."
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
        name = "logrank" if self._unweighted else f"logrank_rho{self.rho:g}_gamma{self.gamma:g}"
        numbers = {f"{name}_chi_square": self.chi_square, f"{name}_p": self.p}
        if self.df == 1:
            numbers |= {f"{name}_z": self.z, f"{name}_p_one_sided": self.p_one_sided}
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
    rho: float = 0.0,
    gamma: float = 0.0,
    entry: Any = None,
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
    rho, gamma
        Fleming and Harrington's exponents: the weight at t is ``S(t-)^rho (1 - S(t-))^gamma`` with S the pooled
        Kaplan-Meier estimate of the stratum. 0 and 0 are the log-rank test; rho alone is R's G-rho family.
    entry
        When each row came under observation (left truncation), shape ``(n,)``; None for time 0.

    Returns
    -------
    LogRank
        Ties take the hypergeometric variance ``d (n - d) / (n - 1)``, as R's ``survdiff``. A stratum without an event
        or with one group only adds nothing.

    Raises
    ------
    DataError
        If the data cannot be used or `order` does not name each label once.
    AnalysisError
        If there is one group only, no event, or no event time with two groups at risk.
    """
    data = compared(time, event, group, order, strata, entry)
    rho, gamma = checked_weighting(rho, gamma)
    sums = logrank_arrays(
        data.time, data.event, data.codes, len(data.groups), data.strata, rho=rho, gamma=gamma, entry=data.entry
    )
    chi_square, df = _test(sums)
    z = peto = low = high = np.nan
    if len(data.groups) == 2:
        distance, variance = float(sums.observed[1] - sums.expected[1]), float(sums.covariance[1, 1])
        z = float(distance / np.sqrt(variance))
        if rho == gamma == 0:
            half = normal_quantile(level) / np.sqrt(variance)
            peto, low, high = (float(np.exp(distance / variance + side * half)) for side in (0, -1, 1))
    groups = data.sizes().assign(observed=sums.observed, expected=sums.expected)
    p_two, p_one = float(special.chdtrc(df, chi_square)), float(special.ndtr(z))
    return LogRank(groups, chi_square, df, p_two, z, p_one, peto, low, high, data.strata_count, level, rho, gamma)


class Compared(NamedTuple):
    """Checked data of a comparison of groups."""

    time: Array
    event: Flags
    codes: Codes
    groups: tuple[str, ...]
    strata: Codes | None
    strata_count: int
    entry: Array | None

    def sizes(self) -> pd.DataFrame:
        """Return one row a group: group, patients, events."""
        count = len(self.groups)
        patients = np.bincount(self.codes, minlength=count)
        events = np.bincount(self.codes[self.event], minlength=count)
        return pd.DataFrame({"group": list(self.groups), "patients": patients, "events": events})


def compared(
    time: Any, event: Any, group: Any, order: Sequence[str] | None = None, strata: Any = None, entry: Any = None
) -> Compared:
    """Return the data of a comparison of two or more groups, checked; the arguments are those of `logrank`."""
    times, flags = checked_times(time, event, needs_event=True)
    entries = checked_entry(entry, times)
    labels, codes = coded_labels(group, times.size, "group")
    if labels.size < 2:
        raise AnalysisError(f"{everybody(times.size)} in group '{labels[0]}': a comparison needs two groups")
    shown = group_order(labels, order)
    place = {label: i for i, label in enumerate(shown)}
    codes = np.array([place[str(label)] for label in labels], dtype=np.intp)[codes]
    blocks, stratum = coded_labels(strata, times.size, "strata")
    return Compared(times, flags, codes, shown, None if strata is None else stratum, int(blocks.size), entries)

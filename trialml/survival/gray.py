"""Gray's test: are cumulative incidences of a cause the same in all groups, in the presence of other causes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError
from trialml.result import Result, counted, format_count, format_number, format_p
from trialml.survival.aalen_johansen import checked_causes
from trialml.survival.rows import coded_labels
from trialml.survival.ties import Array, Codes, distinct_times, everybody, group_order

__all__ = ["GrayArrays", "GrayTest", "gray_arrays", "gray_test"]


class GrayArrays(NamedTuple):
    """The scores of Gray's test of k groups, shape ``(k,)``, and their covariance, ``(k, k)``."""

    score: Array
    covariance: Array


def gray_arrays(
    time: Array, code: Codes, group: Codes, groups: int, cause: int, *, strata: Codes | None = None, rho: float = 0.0
) -> GrayArrays:
    """Return the scores of Gray's test for one cause and their covariance.

    Parameters
    ----------
    time, code
        Checked follow-up and 0 for censored, else the cause's number; shape ``(n,)``.
    group
        The group of each patient, 0 to `groups` - 1.
    groups
        The number of groups.
    cause
        The cause of interest; all others compete.
    strata
        The stratum of each patient as a whole number; scores and covariances are added up over strata.
    rho
        The exponent of the weight ``(1 - F(t-))^rho``, F the pooled incidence.

    Returns
    -------
    GrayArrays
        With ``R_g = Y_g / S_g(t-)``, the score is ``sum (1 - F-)^rho (d_g - d R_g (1 - F_g-) / sum(R (1 - F-)))`` over event
        times, and the covariance that of its martingale form, with hypergeometric factors for ties.

    References
    ----------
    Gray RJ. A class of K-sample tests for comparing the cumulative incidence of a competing risk. Ann Stat
    1988;16:1141-1154.
    """
    score, covariance = np.zeros(groups), np.zeros((groups, groups))
    rows = [np.arange(time.size)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    for row in rows:
        sample = _sample(time[row], code[row], group[row], groups, cause)
        if not sample.own.any():
            continue
        one, two = _stratum(sample, rho)
        score += one
        covariance += two
    return GrayArrays(score, covariance)


class _Sample(NamedTuple):
    """Counts at the times of an event of any cause, each of shape ``(times, groups)``."""

    at_risk: Array
    own: Array
    other: Array


def _sample(time: Array, code: Codes, group: Codes, groups: int, cause: int) -> _Sample:
    distinct, place = distinct_times(time)
    shape = (distinct.size, groups)
    cell = place * groups + group

    def count(which: Any) -> Array:
        return np.bincount(cell[which], minlength=shape[0] * shape[1]).reshape(shape).astype(float)

    everyone, own = count(slice(None)), count(code == cause)
    other = count((code > 0) & (code != cause))
    at_risk = np.cumsum(everyone[::-1], axis=0)[::-1]
    happened = (own + other).sum(axis=1) > 0
    return _Sample(at_risk[happened], own[happened], other[happened])


def _stratum(sample: _Sample, rho: float) -> tuple[Array, Array]:
    y, own, other = sample
    there = y > 0
    at_risk = np.where(there, y, 1.0)
    after = np.cumprod(1 - np.where(there, own + other, 0.0) / at_risk, axis=0)
    before = np.vstack((np.ones(y.shape[1]), after[:-1]))
    incidence = np.cumsum(before * own / at_risk, axis=0)
    incidence_before = np.vstack((np.zeros(y.shape[1]), incidence[:-1]))
    ratio = np.where(there, y / np.where(before > 0, before, 1.0), 0.0)
    total, d = ratio.sum(axis=1), own.sum(axis=1)
    # A group that has ended takes its part of the risk set with it, so in tiny strata the sum may pass 1.
    pooled = np.minimum(np.cumsum(d / total), 1.0)
    pooled_before = np.concatenate(([0.0], pooled[:-1]))
    weight = (1 - pooled_before) ** rho
    remaining = ratio * (1 - incidence_before)
    score = (weight[:, None] * (own - d[:, None] * remaining / remaining.sum(axis=1)[:, None])).sum(axis=0)

    # a[s, i, k]: what an event in group k at s adds to the score of group i; c: what it takes off later ones.
    share = ratio / total[:, None]
    a = weight[:, None, None] * ratio[:, :, None] * (np.eye(y.shape[1]) - share[:, None, :])
    left = total * (1 - pooled_before)
    c = np.cumsum(a * np.where(left > 1e-12, d / np.where(left > 1e-12, left, 1.0), 0.0)[:, None, None], axis=0)
    later = c[-1] - c
    lived = after > 0
    relative = (1 - pooled)[:, None] / np.where(lived, after, 1.0)
    first = a + np.where(lived, 1 - relative, 1.0)[:, None, :] * later
    spread = total[:, None] * before - 1
    tie = 1 - np.where(d[:, None] > 1, (d - 1)[:, None] / np.where(spread > 0, spread, 1.0), 0.0)
    variance = np.where(there, tie * before * d[:, None] / (total[:, None] * at_risk), 0.0)
    second = relative[:, None, :] * later
    tie = 1 - np.where(other > 1, (other - 1) / np.maximum(y - 1, 1.0), 0.0)
    other_variance = np.where(lived & there, tie * before**2 * other / at_risk**2, 0.0)
    covariance = np.einsum("sik,sjk,sk->ij", first, first, variance)
    return score, covariance + np.einsum("sik,sjk,sk->ij", second, second, other_variance)


@dataclass(frozen=True, eq=False)
class GrayTest(Result):
    """Gray's test of each cause.

    Attributes
    ----------
    tests
        One row a cause: cause, chi_square, df, p (two-sided); NaN on 0 degrees of freedom where a cause has too few
        events at times when two groups are at risk.
    sizes
        One row a group: group, patients, and the events of each cause as a column ``events: <cause>``.
    strata
        The number of strata; 1 for an unstratified test.
    """

    title: ClassVar[str] = "Gray's test of cumulative incidence"
    references: ClassVar[tuple[str, ...]] = (
        "Gray RJ. A class of K-sample tests for comparing the cumulative incidence of a competing risk. Ann Stat "
        "1988;16:1141-1154.",
    )
    methods: ClassVar[str] = (
        "Cumulative incidences were compared between groups by Gray's test, stratified where said; it compares incidences "
        "and not cause-specific hazards."
    )

    tests: pd.DataFrame
    sizes: pd.DataFrame
    strata: int

    def frame(self) -> pd.DataFrame:
        """Return one row a cause."""
        return self.tests.assign(strata=self.strata)

    def table(self) -> pd.DataFrame:
        """Return the tests with the events of each group."""
        rows = self.tests
        columns: dict[str, Any] = {"Cause": rows["cause"]}
        for size in self.sizes.to_dict("records"):
            name = f"Events, {size['group']} ({format_count(size['patients'])})"
            columns[name] = [format_count(size[f"events: {cause}"]) for cause in rows["cause"]]
        columns["Chi-square"] = [format_number(value) for value in rows["chi_square"]]
        columns["Degrees of freedom"] = rows["df"]
        columns["p (two-sided)"] = [format_p(p) for p in rows["p"]]
        return pd.DataFrame(columns)

    def text(self) -> str:
        """Return the tests in words."""
        kind = f"Gray's test stratified by {self.strata} strata" if self.strata > 1 else "Gray's test"
        parts = []
        for row in self.tests.itertuples():
            if row.df == 0:
                parts.append(f"{row.cause}: too few events to compare")
                continue
            p = format_p(row.p)
            words = f"{row.cause}: chi-square {format_number(row.chi_square)} on {row.df} df"
            parts.append(f"{words}, two-sided p {p if p[0] in '<>' else '= ' + p}")
        return (
            f"{kind} of {' vs '.join(self.sizes['group'])} ({counted(self.sizes['patients'].sum(), 'patient')}): "
            f"{'; '.join(parts)}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each cause's chi-square and p."""
        numbers: dict[str, float] = {}
        for row in self.tests[self.tests["df"] > 0].itertuples():
            numbers |= {f"gray_{row.cause}_chi_square": row.chi_square, f"gray_{row.cause}_p": row.p}
        return numbers


def gray_test(
    time: Any,
    cause: Any,
    group: Any,
    *,
    censored: Any = 0,
    causes: Mapping[Any, str] | None = None,
    order: Sequence[str] | None = None,
    strata: Any = None,
    rho: float = 0.0,
) -> GrayTest:
    """Return Gray's test of two or more groups, for each cause.

    Parameters
    ----------
    time, cause
        Follow-up times and what ended them, shape ``(n,)``.
    group
        One label a patient.
    censored, causes
        As in `cumulative_incidence`.
    order
        The labels in display order, control first; sorted by default.
    strata
        One label a patient, the stratification factors of the randomisation combined.
    rho
        The exponent of the weight ``(1 - F(t-))^rho``, 0 or more.

    Returns
    -------
    GrayTest
        Chi-square on one degree of freedom less than there are groups, as ``cmprsk::cuminc``.

    Raises
    ------
    DataError
        If the data cannot be used or a code is not among `causes`.
    AnalysisError
        If there is one group only, or no cause has enough events to compare the groups.
    """
    data = checked_causes(time, cause, censored=censored, causes=causes)
    if not (np.isfinite(rho) and rho >= 0):
        raise DataError(f"rho is {rho}, but it must be 0 or more")
    labels, codes = coded_labels(group, data.time.size, "group")
    if labels.size < 2:
        raise AnalysisError(f"{everybody(codes.size)} in group '{labels[0]}': a comparison needs two groups")
    shown = group_order(labels, order)
    place = {label: i for i, label in enumerate(shown)}
    codes = np.array([place[str(label)] for label in labels], dtype=np.intp)[codes]
    blocks, stratum = coded_labels(strata, data.time.size, "strata")
    sizes = pd.DataFrame({"group": list(shown), "patients": np.bincount(codes, minlength=len(shown))})
    rows = []
    for j, name in enumerate(data.causes):
        sizes[f"events: {name}"] = np.bincount(codes[data.code == j + 1], minlength=len(shown))
        sums = gray_arrays(data.time, data.code, codes, len(shown), j + 1, strata=stratum, rho=rho)
        rows.append({"cause": name} | _chi_square(sums.score[:-1], sums.covariance[:-1, :-1]))
    if all(np.isnan(row["chi_square"]) for row in rows):
        raise AnalysisError(
            f"no cause has events enough at times when two groups are at risk ({counted((data.code > 0).sum(), 'event')} in all): use "
            "coarser strata or fewer groups"
        )
    return GrayTest(pd.DataFrame(rows), sizes, int(blocks.size))


def _chi_square(score: Array, covariance: Array) -> dict[str, Any]:
    """Return the test of the scores, NaN on 0 degrees of freedom where they have no covariance of full rank."""
    scale = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    if not (scale > 0).all() or np.linalg.matrix_rank(covariance / np.outer(scale, scale)) < len(score):
        return {"chi_square": np.nan, "df": 0, "p": np.nan}
    value = float(score @ np.linalg.solve(covariance, score))
    return {"chi_square": value, "df": len(score), "p": float(special.chdtrc(len(score), value))}

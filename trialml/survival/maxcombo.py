"""The MaxCombo test: the largest of several weighted log-rank statistics against its joint distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError
from trialml.result import Result, counted, format_number, format_p
from trialml.survival.logrank import compared
from trialml.survival.normal_maximum import tail_of_largest
from trialml.survival.weighted_logrank import Weighting, checked_weighting, weighted_sums

__all__ = ["MAXCOMBO", "MaxCombo", "maxcombo"]

MAXCOMBO: tuple[Weighting, ...] = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
"""The usual four: log-rank, late, early and middle differences."""


@dataclass(frozen=True, eq=False)
class MaxCombo(Result):
    """A MaxCombo test of two groups.

    Attributes
    ----------
    tests
        One row a weighting: rho, gamma, z (the second group's observed less expected events in standard errors,
        below 0 where it has fewer), p (two-sided) and p_one_sided, neither adjusted.
    correlation
        Of the statistics under no difference, estimated, shape ``(m, m)``.
    groups
        One row a group in display order: group, patients, events.
    z
        The statistic furthest from 0; `z_least` the one furthest below 0.
    p, p_one_sided
        Joint p-values: of the largest absolute value, and, for fewer events with the second group, of the most
        negative statistic.
    p_error, p_one_sided_error
        Standard errors of their numerical integration.
    strata
        The number of strata; 1 for an unstratified test.
    """

    title: ClassVar[str] = "MaxCombo test"
    references: ClassVar[tuple[str, ...]] = (
        "Lee JW. Some versatile tests based on the simultaneous use of weighted log-rank statistics. Biometrics "
        "1996;52:721-725.",
        "Karrison TG. Versatile tests for comparing survival curves based on weighted log-rank statistics. Stata J "
        "2016;16:678-690.",
    )
    methods: ClassVar[str] = (
        "The MaxCombo test takes the largest of several Fleming-Harrington weighted log-rank statistics; its p-value is "
        "from their joint normal distribution with the estimated correlation. With weights on late events it can reject "
        "where the hazard under treatment is higher at first, so it is read beside the curves."
    )

    tests: pd.DataFrame
    correlation: np.ndarray[Any, np.dtype[np.float64]]
    groups: pd.DataFrame
    z: float
    z_least: float
    p: float
    p_one_sided: float
    p_error: float
    p_one_sided_error: float
    strata: int

    def frame(self) -> pd.DataFrame:
        """Return one row a weighting with its correlations; the joint p-values are repeated in each."""
        names = [f"correlation_{i + 1}" for i in range(len(self.tests))]
        joint = {"joint_p": self.p, "joint_p_one_sided": self.p_one_sided, "joint_p_error": self.p_error}
        return self.tests.assign(**dict(zip(names, self.correlation.T, strict=True)), **joint)

    def table(self) -> pd.DataFrame:
        """Return the statistics and the joint p-values."""
        rows = [
            (f"rho {row.rho:g}, gamma {row.gamma:g}", format_number(row.z), "", "") for row in self.tests.itertuples()
        ]
        rows.append(("Largest, two-sided", format_number(self.z), format_p(self.p), ""))
        rows.append(("Most negative, one-sided", format_number(self.z_least), "", format_p(self.p_one_sided)))
        return pd.DataFrame(rows, columns=["Weight", "z", "Joint p (two-sided)", "Joint p (one-sided)"])

    def text(self) -> str:
        """Return the test in words."""
        row = self.tests.iloc[int(np.argmax(np.abs(self.tests["z"])))]
        control, experimental = self.groups["group"]
        kind = f" stratified by {self.strata} strata" if self.strata > 1 else ""
        p, one = (words if words[0] in "<>" else f"= {words}" for words in map(format_p, (self.p, self.p_one_sided)))
        return (
            f"The MaxCombo test{kind} of {len(self.tests)} weighted log-rank statistics, {control} vs {experimental}, was "
            f"largest with rho {row['rho']:g} and gamma {row['gamma']:g} (z = {format_number(self.z)}, below 0 for fewer "
            f"events with {experimental}; joint two-sided p {p}, one-sided p {one} for fewer events; "
            f"{counted(self.groups['patients'].sum(), 'patient')}, {counted(self.groups['events'].sum(), 'event')})."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the largest statistic and the joint p-values."""
        return {"maxcombo_z": self.z, "maxcombo_p": self.p, "maxcombo_p_one_sided": self.p_one_sided}


def maxcombo(
    time: Any,
    event: Any,
    group: Any,
    *,
    order: Sequence[str] | None = None,
    strata: Any = None,
    weightings: Sequence[Weighting] = MAXCOMBO,
    entry: Any = None,
    seed: int = 0,
) -> MaxCombo:
    """Return the MaxCombo test of two groups.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    group
        One label a patient, of two.
    order
        The labels in display order, control first; sorted by default.
    strata
        One label a patient; the sums of each test are within strata.
    weightings
        Pairs of rho and gamma, 1 to 10 of them; ``S(t-)^rho (1 - S(t-))^gamma`` weighs the events at t.
    entry
        When each row came under observation (left truncation), shape ``(n,)``; None for time 0.
    seed
        Of the random shifts in the integration of the joint p-values.

    Returns
    -------
    MaxCombo
        Under no difference the statistics are jointly normal with correlation ``V_ab / sqrt(V_aa V_bb)``, where
        ``V_ab`` adds up ``w_a w_b`` times the hypergeometric variance. The p-values are integrated to about 1e-5 of
        their value; the errors are part of the result.

    Raises
    ------
    DataError
        If the data or the exponents cannot be used, or a weighting stands twice.
    AnalysisError
        If there are not two groups, there is no event, or a statistic has no variance.
    """
    data = compared(time, event, group, order, strata, entry)
    if len(data.groups) != 2:
        raise AnalysisError(f"group has {len(data.groups)} labels, but MaxCombo compares two: leave the others out")
    pairs = [checked_weighting(rho, gamma) for rho, gamma in weightings]
    if not 1 <= len(pairs) <= 10 or len(set(pairs)) < len(pairs):
        raise DataError(f"weightings holds {len(pairs)} pairs, but it must hold 1 to 10 different ones")
    sums = weighted_sums(data.time, data.event, data.codes, 2, pairs, strata=data.strata, entry=data.entry)
    covariance = sums.covariance[:, :, 1, 1]
    spread = np.sqrt(np.diag(covariance))
    if not (spread > 0).all():
        rho, gamma = pairs[int(np.argmin(spread))]
        raise AnalysisError(
            f"the statistic with rho {rho:g} and gamma {gamma:g} has no variance, since too few events compare the groups: "
            "leave that weighting out or use coarser strata"
        )
    z = (sums.observed[:, 1] - sums.expected[:, 1]) / spread
    correlation = covariance / np.outer(spread, spread)
    both = tail_of_largest(correlation, float(np.abs(z).max()), two_sided=True, seed=seed)
    one = tail_of_largest(correlation, float((-z).max()), seed=seed)
    tests = pd.DataFrame(pairs, columns=["rho", "gamma"])
    tests = tests.assign(z=z, p=2 * special.ndtr(-np.abs(z)), p_one_sided=special.ndtr(z))
    return MaxCombo(
        tests, correlation, data.sizes(), float(z[np.argmax(np.abs(z))]), float(z.min()),
        both.value, one.value, both.error, one.error, data.strata_count,
    )  # fmt: skip

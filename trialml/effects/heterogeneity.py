"""Is there any heterogeneity at all? Asked before anybody looks for a subgroup.

The statistic: fit the treatment's main effect by a Cox model with the blinded prognostic index as offset, stratified
as the randomisation; take each patient's treatment score residual r_i = sum over event times of
(A_i - mean of A at risk) dM_i; and for each standardised covariate z form the studentised sum
sum(r_i (z_i - mean z)) / sqrt(sum(r_i^2 (z_i - mean z)^2)). The test is of the largest absolute value over covariates,
against permutations of the treatment within the stratification factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.sufficiency import MINIMUM_PER_ARM
from trialml.effects.permutation import checked_columns, largest_statistic, permuted_arms, studentised_sums
from trialml.effects.two_arms import checked_treated
from trialml.result import COLOURS, Result, counted, format_count, format_number, format_p, plain_text
from trialml.survival.arm_residuals import arm_score_residuals
from trialml.survival.ties import checked_times, tied_times

__all__ = ["Heterogeneity", "heterogeneity_test"]

Floats = NDArray[np.float64]

POWER_80 = 0.8416212
"""The normal quantile of a power of 80 %."""


@dataclass(frozen=True, eq=False)
class Heterogeneity(Result):
    """The global test that the hazard ratio is the same for everybody, and each covariate's statistic."""

    title = "Does the treatment effect differ between patients?"
    figure_size = (7.2, 4.4)
    methods = (
        "Before any subgroup was searched for in the data, one pre-specified test asked whether the hazard ratio varies with any covariate: "
        "the largest absolute studentised sum of Cox treatment score residuals over the covariates (treatment main effect "
        "and blinded prognostic index in the model), referred to permutations of the treatment within the stratification "
        "factors. Permutation is exact if nobody is affected by the treatment and approximate under a constant effect."
    )
    references = (
        "Chung E, Romano JP. Exact and asymptotically robust permutation tests. Ann Stat 2013;41:484-507.",
        "Therneau TM, Grambsch PM, Fleming TR. Martingale-based residuals for survival models. Biometrika 1990;77:147-160.",
    )

    covariates: pd.DataFrame
    """Columns ``covariate``, ``z`` and ``p_adjusted`` (for the largest of all, single step)."""
    statistic: float
    p: float
    mc_error: float
    permutations: int
    n: int
    events: int
    limit: float
    """The 95th percentile of the largest absolute statistic under permutation."""
    share_treated: float

    @property
    def scale(self) -> str:
        """What would be the same for everybody if there were no heterogeneity."""
        return "hazard ratio"

    @property
    def detectable_ratio(self) -> float:
        """The factor on the hazard ratio, for one standard deviation of a covariate, found with a power of 80 %.

        Under a log-linear modification d the statistic is about d * sqrt(events * p * (1 - p)) from its null, so the
        factor is ``exp((limit + 0.842) / sqrt(events * p * (1 - p)))``, p the share in the experimental arm.
        """
        information = self.events * self.share_treated * (1 - self.share_treated)
        return float(np.exp((self.limit + POWER_80) / np.sqrt(information)))

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate, largest statistic first."""
        return self.covariates

    def text(self) -> str:
        """Return the global p-value and what it can and cannot say."""
        first = self.covariates.iloc[0]
        p = format_p(self.p)
        shown = p if p[0] in "<>" else f"= {p}"
        said = (
            f"Global test of heterogeneity on the {self.scale.replace(' ', '-')} scale: p {shown} "
            f"(Monte Carlo error {format_number(self.mc_error, 2)}, {format_count(self.permutations)} permutations, "
            f"{self._size()}); the largest statistic belongs to {first['covariate']} (|z| = {format_number(abs(first['z']))})."
        )
        verdict = (
            f" The test found evidence that the {self.scale} is not the same for everybody."
            if self.p < 0.05
            else f" The test found no evidence that the {self.scale} differs between patients; that is not evidence that it is the same."
        )
        power = f" Its power: {self._detectable()} would have been found with about 80 % probability, a weaker one with less."
        small = " With fewer than 500 patients a result that is not significant means little." if self.n < 500 else ""
        treated = round(self.n * self.share_treated)
        fewest = min(treated, self.n - treated)
        if fewest < MINIMUM_PER_ARM:
            small += f" One arm has {counted(fewest, 'patient')}, from which next to nothing can be learned."
        return said + verdict + power + self._caution() + small

    def _size(self) -> str:
        return f"{counted(self.n, 'patient')}, {counted(self.events, 'event')}"

    def _detectable(self) -> str:
        factor = format_number(self.detectable_ratio)
        return f"a covariate of which one standard deviation multiplies the hazard ratio by {factor}"

    def _caution(self) -> str:
        return ""

    def _sides(self) -> tuple[str, str]:
        """Return what statistics left and right of 0 say of patients with higher values."""
        return "more benefit", "less benefit"

    def scalars(self) -> dict[str, float]:
        """Return the global p-value, its Monte Carlo error and the statistic."""
        return {
            "heterogeneity_p": self.p,
            "heterogeneity_p_mc_error": self.mc_error,
            "heterogeneity_max_z": self.statistic,
        }

    def table(self) -> None:
        """The figure says it all."""

    def draw(self, figure: Any) -> None:
        """Draw each covariate's statistic, with the limit that the largest would have to pass."""
        axes = figure.subplots()
        shown = self.covariates.iloc[::-1]
        colours = [COLOURS["third"] if p < 0.05 else COLOURS["reference"] for p in shown["p_adjusted"]]
        axes.barh(range(len(shown)), shown["z"], color=colours, height=0.6)
        axes.set_yticks(range(len(shown)), [plain_text(name) for name in shown["covariate"]])
        axes.axvline(0, color="black", linewidth=0.8)
        for sign in (-1, 1):
            axes.axvline(sign * self.limit, color="black", linewidth=0.8, linestyle="--")
        reach = max(self.limit, float(shown["z"].abs().max())) * 1.25
        axes.set_xlim(-reach, reach)
        left, right = self._sides()
        axes.set_xlabel(
            f"Studentised statistic  (left: {left} with higher values; right: {right})\n"
            "dashed: the limit for the largest of all at 5 %"
        )


def heterogeneity_test(
    time: Floats,
    event: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    covariates: Floats,
    names: Sequence[str],
    *,
    cells: NDArray[np.str_],
    offset: Floats | None = None,
    permutations: int = 1999,
    seed: int = 1,
) -> Heterogeneity:
    """Test whether the hazard ratio varies with any covariate.

    Parameters
    ----------
    time, event, treated
        Outcome and arm, each of shape (n,).
    covariates
        Encoded covariates without missing values, shape (n, k).
    names
        What the k columns are called.
    cells
        The stratification cell of each patient, shape (n,): permutation stays within.
    offset
        A prognostic index learned without a look at the arm, shape (n,): permuting the arm leaves it as it is.
    permutations, seed
        How many, and the seed.

    Returns
    -------
    Heterogeneity
        ``p = (1 + number of permutations at least as large) / (1 + permutations)``.

    Raises
    ------
    DataError
        If a covariate is missing or infinite somewhere or is the arm, or the arrays do not fit each other.
    AnalysisError
        If no covariate is left, all patients are in one arm, nobody had the event, or a permutation leaves an arm
        empty in every cell.
    """
    time, event = checked_times(time, event, needs_event=True)
    treated = checked_treated(treated, time.size)
    covariates = checked_columns(covariates, names, treated)
    cells = np.asarray(cells)
    arms = permuted_arms(treated, cells, permutations, np.random.default_rng(seed))
    index = np.zeros(len(time)) if offset is None else np.asarray(offset, dtype=np.float64)
    found = largest_statistic(
        _statistics(tied_times(time, float(time.max())), event, arms, covariates, cells, index), names
    )
    return Heterogeneity(
        **found._asdict(),
        permutations=permutations,
        n=len(time),
        events=int(event.sum()),
        share_treated=float(treated.mean()),
    )


def _statistics(
    time: Floats,
    event: NDArray[np.bool_],
    arms: Floats,
    covariates: Floats,
    cells: NDArray[np.str_],
    offset: Floats,
) -> Floats:
    """Return the studentised sums for every covariate and every column of `arms`, shape (k, columns)."""
    residuals = arm_score_residuals(time, event, arms.T > 0, strata=cells, offset=offset).residuals
    return studentised_sums(residuals, covariates)

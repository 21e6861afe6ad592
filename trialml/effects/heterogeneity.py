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

from trialml.effects.two_arms import checked_treated
from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Result, counted, format_count, format_number, format_p, plain_text
from trialml.survival.arm_residuals import arm_score_residuals
from trialml.survival.ties import checked_times, tied_times

__all__ = ["Heterogeneity", "heterogeneity_test"]

Floats = NDArray[np.float64]


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
    def detectable_ratio(self) -> float:
        """The factor on the hazard ratio, for one standard deviation of a covariate, found with a power of 80 %.

        Under a log-linear modification d the statistic is about d * sqrt(events * p * (1 - p)) from its null, so the
        factor is ``exp((limit + 0.842) / sqrt(events * p * (1 - p)))``, p the share in the experimental arm.
        """
        information = self.events * self.share_treated * (1 - self.share_treated)
        return float(np.exp((self.limit + 0.8416212) / np.sqrt(information)))

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate, largest statistic first."""
        return self.covariates

    def text(self) -> str:
        """Return the global p-value and what it can and cannot say."""
        first = self.covariates.iloc[0]
        p = format_p(self.p)
        shown = p if p[0] in "<>" else f"= {p}"
        said = (
            f"Global test of heterogeneity on the hazard-ratio scale: p {shown} "
            f"(Monte Carlo error {format_number(self.mc_error, 2)}, {format_count(self.permutations)} permutations, "
            f"{counted(self.n, 'patient')}, {counted(self.events, 'event')}); the largest statistic belongs to "
            f"{first['covariate']} (|z| = {format_number(abs(first['z']))})."
        )
        verdict = (
            " The test found evidence that the hazard ratio is not the same for everybody."
            if self.p < 0.05
            else " The test found no evidence that the hazard ratio differs between patients; that is not evidence that it is the same."
        )
        factor = format_number(self.detectable_ratio)
        power = (
            f" Its power: a covariate of which one standard deviation multiplies the hazard ratio by {factor} would have been "
            "found with about 80 % probability, a weaker one with less."
        )
        small = " With fewer than 500 patients a result that is not significant means little." if self.n < 500 else ""
        return said + verdict + power + small

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
        axes.set_xlabel(
            "Studentised statistic  (left: more benefit with higher values; right: less benefit)\n"
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
        If a covariate is missing or infinite somewhere, or the arrays do not fit each other.
    AnalysisError
        If no covariate is left, all patients are in one arm, nobody had the event, or a permutation leaves an arm
        empty in every cell.
    """
    covariates = _checked_covariates(covariates, names, len(time))
    time, event = checked_times(time, event, needs_event=True)
    treated = checked_treated(treated, time.size)
    if permutations < 1:
        raise DataError(f"permutations is {permutations}, but a permutation test needs at least 1, better 1,999")
    generator = np.random.default_rng(seed)
    arms = _permuted_arms(treated, cells, permutations, generator)
    index = np.zeros(len(time)) if offset is None else np.asarray(offset, dtype=np.float64)
    z = _statistics(tied_times(time, float(time.max())), event, arms, covariates, cells, index)
    largest = np.abs(z).max(axis=0)
    observed = np.abs(z[:, 0])
    exceed = (largest[None, 1:] >= observed[:, None] - 1e-12).sum(axis=1)
    adjusted = (1 + exceed) / (1 + permutations)
    frame = pd.DataFrame({"covariate": list(names), "z": z[:, 0], "p_adjusted": adjusted})
    frame = frame.sort_values("z", key=lambda column: -column.abs(), kind="stable").reset_index(drop=True)
    p = float(adjusted.min())
    return Heterogeneity(
        covariates=frame,
        statistic=float(observed.max()),
        p=p,
        mc_error=float(np.sqrt(p * (1 - p) / permutations)),
        permutations=permutations,
        n=len(time),
        events=int(event.sum()),
        share_treated=float(treated.mean()),
        limit=float(np.quantile(largest[1:], 0.95)),
    )


def _checked_covariates(covariates: Any, names: Sequence[str], n: int) -> Floats:
    matrix = np.asarray(covariates, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) != n or matrix.shape[1] != len(names):
        raise DataError(
            f"covariates have shape {matrix.shape} for {counted(n, 'patient')} and {counted(len(names), 'name')}: pass one row a "
            "patient and one name a column"
        )
    if matrix.shape[1] == 0:
        raise AnalysisError("The test of heterogeneity has no covariate to look at: list some in [covariates].")
    wrong = ~np.isfinite(matrix)
    if wrong.any():
        place = int(np.argmax(wrong.any(axis=0)))
        raise DataError(
            f"'{names[place]}' is missing or infinite in {int(wrong[:, place].sum())} of {n} rows: impute it first"
        )
    return matrix


def _permuted_arms(
    treated: NDArray[np.bool_], cells: NDArray[np.str_], permutations: int, generator: np.random.Generator
) -> Floats:
    """Return the arm as observed (column 0) and permuted within cells, shape (n, permutations + 1)."""
    arms = np.tile(treated.astype(np.float64)[:, None], (1, permutations + 1))
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        arms[rows, 1:] = generator.permuted(arms[rows, 1:], axis=0)
    return np.asarray(arms)


def _statistics(
    time: Floats,
    event: NDArray[np.bool_],
    arms: Floats,
    covariates: Floats,
    cells: NDArray[np.str_],
    offset: Floats,
) -> Floats:
    """Return the studentised sums for every covariate and every column of `arms`, shape (k, columns)."""
    residual = arm_score_residuals(time, event, arms.T > 0, strata=cells, offset=offset).residuals
    centred = covariates - covariates.mean(axis=0)
    spread = np.sqrt(np.maximum(residual**2 @ centred**2, 1e-300))
    return np.asarray((residual @ centred / spread).T)

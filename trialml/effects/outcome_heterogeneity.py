"""Is there any heterogeneity, of a binary or continuous outcome: asked before anybody looks for a subgroup.

With m(x) = E[Y | x] learned without a look at the arm, p the share of the experimental arm in the patient's stratification
cell, e = Y - m(x) less its mean in the cell, and d the main effect, sum((A - p) e) / sum((A - p)^2), the residual is

    r_i = (A_i - p) (e_i - d (A_i - p)).

Divided by p (1 - p) it is the patient's doubly robust score less d, the outcome models being m(x) + (1 - p) d and
m(x) - p d; blind to the arm apart from d, they stay what they are when the arm is permuted. The statistic of a covariate z is
sum(r_i (z_i - mean z)) / sqrt(sum(r_i^2 (z_i - mean z)^2)), and the test is of the largest absolute value over covariates,
against permutations of the treatment within the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.effects.heterogeneity import POWER_80, Heterogeneity
from trialml.effects.permutation import checked_columns, largest_statistic, permuted_arms, studentised_sums
from trialml.effects.two_arms import checked_outcome
from trialml.errors import AnalysisError, DataError
from trialml.result import counted, format_number
from trialml.survival.ties import checked_labels

__all__ = ["OutcomeHeterogeneity", "outcome_heterogeneity_test"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OutcomeHeterogeneity(Heterogeneity):
    """The global test that the risk difference, or the mean difference, is the same for everybody."""

    methods = (
        "Before any subgroup was searched for in the data, one pre-specified test asked whether the difference between the arms "
        "varies with any covariate: the largest absolute studentised sum of doubly robust scores over the covariates (outcome "
        "regression blind to the arm, treatment main effect fitted), referred to permutations of the treatment within the "
        "stratification factors. Permutation is exact if nobody is affected by the treatment and approximate under a constant "
        "effect."
    )
    references = (
        "Chung E, Romano JP. Exact and asymptotically robust permutation tests. Ann Stat 2013;41:484-507.",
        "Robins JM, Rotnitzky A, Zhao LP. Estimation of regression coefficients when some regressors are not always observed. "
        "J Am Stat Assoc 1994;89:846-866.",
    )

    binary: bool
    unit: str
    """Of the outcome; empty for a binary one."""
    higher_is_better: bool
    information: float
    """On the change of the difference for one standard deviation of a covariate: 1 over its sampling variance."""

    @property
    def scale(self) -> str:
        """What would be the same for everybody if there were no heterogeneity."""
        return "risk difference" if self.binary else "mean difference"

    @property
    def detectable_change(self) -> float:
        """The change of the difference, for one standard deviation of a covariate, found with a power of 80 %.

        Under a change d the statistic is about ``d sqrt(information)`` from its null, with
        ``information = sum(p (1 - p))^2 / sum(r_i^2)``, so the change is ``(limit + 0.842) / sqrt(information)``, in
        the outcome's unit; of a binary outcome a probability.
        """
        return (self.limit + POWER_80) / float(np.sqrt(self.information))

    @property
    def detectable_ratio(self) -> float:
        """There is none on a difference's scale: NaN."""
        return float("nan")

    def _size(self) -> str:
        patients = counted(self.n, "patient")
        return f"{patients}, {counted(self.events, 'event')}" if self.binary else patients

    def _detectable(self) -> str:
        if self.binary:
            change = f"{format_number(100 * self.detectable_change)} percentage points"
        else:
            change = format_number(self.detectable_change) + (f" {self.unit}" if self.unit else "")
        return f"a covariate of which one standard deviation changes the {self.scale} by {change}"

    def _caution(self) -> str:
        if not self.binary:
            return ""
        return " An odds ratio or a risk ratio that is the same for everybody is heterogeneity on this scale where risks differ."

    def _sides(self) -> tuple[str, str]:
        return ("less benefit", "more benefit") if self.higher_is_better else ("more benefit", "less benefit")


class _Outcome(NamedTuple):
    """What does not change when the arm is permuted, of shape (n,) each."""

    residual: Floats
    """Y less what was expected, less its mean in the cell."""
    share: Floats
    """Of the experimental arm in the patient's cell."""
    weights: Floats


def outcome_heterogeneity_test(
    outcome: Any,
    treated: Any,
    covariates: Floats,
    names: Sequence[str],
    *,
    cells: NDArray[Any],
    binary: bool = False,
    unit: str = "",
    higher_is_better: bool = True,
    expected: Floats | None = None,
    weights: Any = None,
    permutations: int = 1999,
    seed: int = 1,
) -> OutcomeHeterogeneity:
    """Test whether the risk difference or the mean difference varies with any covariate.

    Parameters
    ----------
    outcome, treated
        Outcome (numbers, or for `binary` True/False or 1/0) and arm, each of shape (n,).
    covariates
        Encoded covariates without missing values, shape (n, k).
    names
        What the k columns are called.
    cells
        The stratification cell of each patient, shape (n,): permutation stays within.
    binary, unit, higher_is_better
        Whether the outcome is binary, its unit, and whether a higher one is better; the last two are for words alone.
    expected
        E[Y | x], learned without a look at the arm, shape (n,): permuting the arm leaves it as it is. None for one mean.
    weights
        1 over the probability of a known outcome, learned without a look at the arm, 0 where the outcome is not known, shape
        (n,); None where all are known.
    permutations, seed
        How many, and the seed.

    Returns
    -------
    OutcomeHeterogeneity
        ``p = (1 + number of permutations at least as large) / (1 + permutations)``. Statistics above 0 are of covariates
        of which higher values go with a higher difference, experimental less control.

    Raises
    ------
    DataError
        If an outcome without weight 0 or a covariate is missing or infinite somewhere, a covariate is the arm, or the
        arrays do not fit each other.
    AnalysisError
        If no covariate is left, all patients are in one arm, no cell has both arms, or nothing is left to explain.
    """
    factors = _checked_weights(weights, outcome)
    known = np.where(factors > 0, np.asarray(outcome, dtype=object), 0.0) if weights is not None else outcome
    values, arm = checked_outcome(known, treated, binary=binary)
    matrix = checked_columns(covariates, names, arm)
    labels, codes = checked_labels(cells, len(values), "cells")
    fixed = _Outcome(*_blind(values, _checked_expected(expected, len(values)), arm, codes, len(labels), factors))
    arms = permuted_arms(arm, codes, permutations, np.random.default_rng(seed))
    residuals = _residuals(fixed, arms.T)
    spread = fixed.weights * fixed.share * (1 - fixed.share)
    found = largest_statistic(studentised_sums(residuals, matrix, spread), names)
    return OutcomeHeterogeneity(
        **found._asdict(),
        permutations=permutations,
        n=len(values),
        events=int((values[factors > 0] > 0).sum()) if binary else 0,
        share_treated=float(arm.mean()),
        binary=binary,
        unit=unit,
        higher_is_better=higher_is_better,
        information=float(spread.sum() ** 2 / (residuals[0] ** 2).sum()),
    )


def _residuals(fixed: _Outcome, arms: Floats) -> Floats:
    """Return r of the module's docstring for every assignment (row) of `arms`, shape (assignments, n)."""
    apart = arms - fixed.share
    effect = (apart @ (fixed.weights * fixed.residual)) / (apart**2 @ fixed.weights)
    return np.asarray(fixed.weights * apart * (fixed.residual - effect[:, None] * apart))


def _blind(
    values: Floats, expected: Floats, arm: NDArray[np.bool_], codes: NDArray[np.intp], cells: int, weights: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return what permutation leaves as it is, or refuse where there is nothing to permute or to explain."""
    size = np.bincount(codes, minlength=cells)
    share = (np.bincount(codes, arm, cells) / size)[codes]
    if not (weights * share * (1 - share) > 0).any():
        raise AnalysisError("No stratification cell has patients of both arms: the test cannot be done.")
    left = np.where(weights > 0, values - expected, 0.0)
    counts = np.maximum(np.bincount(codes, weights, cells), 1e-300)
    residual = left - (np.bincount(codes, weights * left, cells) / counts)[codes]
    # Relative to the values themselves, since differences of equal numbers leave a rounding error.
    if np.abs(weights * residual).max() <= 1e-10 * max(np.abs(values).max(), 1e-300):
        raise AnalysisError(
            "The outcome does not vary about what is expected given the covariates: check the outcome's column."
        )
    return residual, share, weights


def _checked_weights(weights: Any, outcome: Any) -> Floats:
    n = np.asarray(outcome).size
    factors = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if factors.shape != (n,) or not (np.isfinite(factors) & (factors >= 0)).all():
        raise DataError(f"weights must hold one finite number of 0 or more for each of the {n} patients")
    return factors


def _checked_expected(expected: Any, n: int) -> Floats:
    mean = np.zeros(n) if expected is None else np.asarray(expected, dtype=np.float64)
    if mean.shape != (n,) or not np.isfinite(mean).all():
        raise DataError(f"expected must hold one finite number for each of the {n} patients")
    return mean

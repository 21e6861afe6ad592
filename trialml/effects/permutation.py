"""Permutation of the treatment within stratification cells, and the largest of several studentised sums.

Of one residual r_i a patient, whose sign and size change with the arm, and covariates z, the statistics are
sum(r_i (z_i - mean z)) / sqrt(sum(r_i^2 (z_i - mean z)^2)). Each permutation of the arm gives new residuals, and the largest
absolute statistic over the covariates its own distribution (Westfall and Young 1993, Resampling-Based Multiple Testing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import counted

__all__ = ["LargestStatistic", "checked_columns", "largest_statistic", "permuted_arms", "studentised_sums"]

Floats = NDArray[np.float64]


class LargestStatistic(NamedTuple):
    """A permutation test of the largest statistic.

    Attributes
    ----------
    covariates
        Columns ``covariate``, ``z`` and ``p_adjusted`` (single step), largest statistic first.
    statistic, p, mc_error
        The largest absolute statistic, its p-value and the p-value's Monte Carlo error.
    limit
        The 95th percentile of the largest absolute statistic under permutation.
    """

    covariates: pd.DataFrame
    statistic: float
    p: float
    mc_error: float
    limit: float


def checked_columns(covariates: Any, names: Sequence[str], treated: NDArray[np.bool_]) -> Floats:
    """Return the covariates as numbers, shape (n, k), or refuse.

    Raises
    ------
    DataError
        If the shapes do not fit, a covariate is missing or infinite somewhere, or one is the arm itself.
    AnalysisError
        If there is no covariate.
    """
    matrix, n = np.asarray(covariates, dtype=np.float64), len(treated)
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
    one, other = matrix[np.argmax(treated)], matrix[np.argmin(treated)]
    copies = (matrix == np.where(treated[:, None], one, other)).all(axis=0) & (one != other)
    if copies.any():
        raise DataError(
            f"'{names[int(np.argmax(copies))]}' is the treatment: it has one value in each arm; leave it out of the covariates."
        )
    return matrix


def permuted_arms(
    treated: NDArray[np.bool_], cells: NDArray[Any], permutations: int, generator: np.random.Generator
) -> Floats:
    """Return the arm as observed (column 0) and permuted within cells, shape (n, permutations + 1).

    Raises
    ------
    DataError
        If `permutations` is below 1, or there is not one cell a patient.
    """
    if permutations < 1:
        raise DataError(f"permutations is {permutations}, but a permutation test needs at least 1, better 1,999")
    if np.shape(cells) != treated.shape:
        raise DataError(f"cells has shape {np.shape(cells)} for {len(treated)} patients: pass one cell a patient")
    arms = np.tile(treated.astype(np.float64)[:, None], (1, permutations + 1))
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        arms[rows, 1:] = generator.permuted(arms[rows, 1:], axis=0)
    return np.asarray(arms)


def studentised_sums(residuals: Floats, covariates: Floats, weights: Floats | None = None) -> Floats:
    """Return the studentised sums of every covariate for every assignment of the arm.

    Parameters
    ----------
    residuals
        One assignment a row, shape (assignments, n).
    covariates
        Shape (n, k).
    weights
        Of the patients in the covariates' means, shape (n,); None for 1 each.

    Returns
    -------
    ndarray of shape (k, assignments)
    """
    centred = covariates - np.average(covariates, axis=0, weights=weights)
    spread = np.sqrt(np.maximum(residuals**2 @ centred**2, 1e-300))
    return np.asarray((residuals @ centred / spread).T)


def largest_statistic(z: Floats, names: Sequence[str]) -> LargestStatistic:
    """Return the test of the largest absolute statistic.

    Parameters
    ----------
    z
        Statistics of shape (k, permutations + 1), the observed assignment first.
    names
        What the k covariates are called.

    Returns
    -------
    LargestStatistic
        ``p = (1 + number of permutations at least as large) / (1 + permutations)``.
    """
    permutations = z.shape[1] - 1
    largest = np.abs(z).max(axis=0)
    observed = np.abs(z[:, 0])
    exceed = (largest[None, 1:] >= observed[:, None] - 1e-12).sum(axis=1)
    adjusted = (1 + exceed) / (1 + permutations)
    frame = pd.DataFrame({"covariate": list(names), "z": z[:, 0], "p_adjusted": adjusted})
    frame = frame.sort_values("z", key=lambda column: -column.abs(), kind="stable").reset_index(drop=True)
    p = float(adjusted.min())
    error = float(np.sqrt(p * (1 - p) / permutations))
    return LargestStatistic(frame, float(observed.max()), p, error, float(np.quantile(largest[1:], 0.95)))

"""When a Cox model has no answer: columns without information, combinations of columns, coefficients that run away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.linalg import lapack

from trialml.errors import AnalysisError
from trialml.survival.terms import dependent_words
from trialml.survival.ties import Array

__all__ = ["inverse", "refuse_flat", "refuse_overflow", "refuse_runaway", "solve"]

# Information left in some direction, as a share of that at 0: a monotone likelihood loses a factor of e with
# every Newton step and gets here, whereas a hazard ratio of 1,000 between two halves of a trial does not.
RUNAWAY = 1e-7
COLLINEAR = 1e-11


def refuse_flat(information: Array, spread: Array, names: Sequence[str], rows: int) -> None:
    """Refuse columns that vary in no risk set, and columns that are linear combinations of the others.

    Parameters
    ----------
    information
        At coefficients of 0, with any penalty, shape ``(p, p)``.
    spread
        The information that a column would have if every event weighed its whole variance, shape ``(p,)``.
    names
        Of the columns.
    rows
        How many rows the model has, less one for each stratum after the first.

    Raises
    ------
    AnalysisError
        Naming the column, or that there are as many columns as rows.
    """
    variance = np.diag(information)
    flat = ~(variance > np.maximum(1e-10 * spread, 1e-300))
    if flat.any():
        raise AnalysisError(
            f"'{names[int(np.argmax(flat))]}' varies in no risk set, so it has no hazard ratio: drop it"
        )
    scale = 1 / np.sqrt(variance)
    correlation = information * scale * scale[:, None]
    root, failed = lapack.dpotrf(correlation)
    # An estimate of the condition spares most models their eigenvalues.
    if failed == 0 and lapack.dpocon(root, np.abs(correlation).sum(axis=0).max())[0] > 1e-6:
        return
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < COLLINEAR * values.size:
        column = names[int(np.argmax(np.abs(vectors[:, 0])))]
        raise AnalysisError(dependent_words(column, values.size, rows))


def refuse_runaway(at_end: Array, at_zero: Array, covariance: Array, largest: Callable[[], str]) -> None:
    """Refuse coefficients at which next to nothing of the information at 0 is left in some direction.

    Parameters
    ----------
    at_end, at_zero
        The information at the coefficients and at 0, with any penalty, shape ``(p, p)``.
    covariance
        The inverse of `at_end`.
    largest
        Names the column that moved most.

    Raises
    ------
    AnalysisError
        Naming the column and the remedy.
    """
    # The shares' reciprocals add up to this trace: where it is small, so is each of them.
    if np.sum(covariance * at_zero) < 1 / RUNAWAY:
        return
    root = np.linalg.cholesky(at_zero)
    half = np.linalg.solve(root, at_end)
    left = float(np.linalg.eigvalsh(np.linalg.solve(root, half.T))[0])
    if left < RUNAWAY:
        raise AnalysisError(
            f"the coefficient of '{largest()}' runs away to infinity: events and the rest are separated by it, so "
            'ask for penalty="firth", pool its levels or drop it'
        )


def refuse_overflow(names: Sequence[str], coefficients: Array, ratio: str = "hazard ratio") -> None:
    """Refuse coefficients whose exponential is beyond floats: columns that say nearly the same, or minute units.

    Raises
    ------
    AnalysisError
        Naming the column with the largest coefficient.
    """
    if coefficients.size and not np.abs(coefficients).max() < 700:
        place = int(np.argmax(np.abs(coefficients)))
        raise AnalysisError(
            f"the coefficient of '{names[place]}' is {coefficients[place]:.3g}, too large for a {ratio}: drop a column that says "
            "nearly the same, or measure it in a smaller unit"
        )


def solve(matrix: Array, right: Array) -> Array:
    """Return the solution for a positive definite matrix, scaled so that columns in grams and in years weigh the same."""
    diagonal = matrix.diagonal()
    if not diagonal.min(initial=1.0) > 0:  # NaN is not above 0 either
        raise np.linalg.LinAlgError
    scale = 1 / np.sqrt(diagonal)
    _, found, failed = lapack.dposv(matrix * scale * scale[:, None], scale * right)
    if failed:
        raise np.linalg.LinAlgError
    return np.asarray(scale * found)


def inverse(matrix: Array) -> Array:
    """Return the symmetric inverse of a positive definite matrix, scaled to a unit diagonal meanwhile."""
    scale = 1 / np.sqrt(matrix.diagonal())
    both = scale * scale[:, None]
    found = np.linalg.inv(matrix * both) * both
    return np.asarray((found + found.T) / 2)

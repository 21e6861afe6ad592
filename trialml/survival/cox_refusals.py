"""When a Cox model has no answer: columns without information, combinations of columns, coefficients that run away."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trialml.errors import AnalysisError
from trialml.survival.ties import Array

__all__ = ["inverse", "refuse_flat", "refuse_runaway", "solve"]

# Information left in some direction, as a share of that at 0: a monotone likelihood loses a factor of e with
# every Newton step and gets here, whereas a hazard ratio of 1,000 between two halves of a trial does not.
RUNAWAY = 1e-7
COLLINEAR = 1e-11


def refuse_flat(information: Array, spread: Array, names: Sequence[str]) -> None:
    """Refuse columns that vary in no risk set, and columns that are linear combinations of the others.

    Parameters
    ----------
    information
        At coefficients of 0, with any penalty, shape ``(p, p)``.
    spread
        The information that a column would have if every event weighed its whole variance, shape ``(p,)``.
    names
        Of the columns.

    Raises
    ------
    AnalysisError
        Naming the column.
    """
    variance = np.diag(information)
    flat = ~(variance > np.maximum(1e-10 * spread, 1e-300))
    if flat.any():
        raise AnalysisError(
            f"'{names[int(np.argmax(flat))]}' varies in no risk set, so it has no hazard ratio: drop it"
        )
    scale = 1 / np.sqrt(variance)
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    if values[0] < COLLINEAR * values.size:
        column = names[int(np.argmax(np.abs(vectors[:, 0])))]
        raise AnalysisError(
            f"'{column}' is a linear combination of the other columns, so the model has no single answer: drop it"
        )


def refuse_runaway(at_end: Array, at_zero: Array, largest: Callable[[], str]) -> None:
    """Refuse coefficients at which next to nothing of the information at 0 is left in some direction.

    Parameters
    ----------
    at_end, at_zero
        The information at the coefficients and at 0, with any penalty, shape ``(p, p)``.
    largest
        Names the column that moved most.

    Raises
    ------
    AnalysisError
        Naming the column and the remedy.
    """
    root = np.linalg.cholesky(at_zero)
    half = np.linalg.solve(root, at_end)
    left = float(np.linalg.eigvalsh(np.linalg.solve(root, half.T))[0])
    if left < RUNAWAY:
        raise AnalysisError(
            f"the coefficient of '{largest()}' runs away to infinity: events and the rest are separated by it, so "
            'ask for penalty="firth", pool its levels or drop it'
        )


def solve(matrix: Array, right: Array) -> Array:
    """Return the solution, scaled to a unit diagonal so that columns in grams and in years weigh the same."""
    diagonal = np.diag(matrix)
    if not (diagonal > 0).all():
        raise np.linalg.LinAlgError
    scale = 1 / np.sqrt(diagonal)
    return np.asarray(scale * np.linalg.solve(matrix * np.outer(scale, scale), scale * right))


def inverse(matrix: Array) -> Array:
    """Return the symmetric inverse of a positive definite matrix, scaled to a unit diagonal meanwhile."""
    scale = 1 / np.sqrt(np.diag(matrix))
    found = np.linalg.inv(matrix * np.outer(scale, scale)) * np.outer(scale, scale)
    return np.asarray((found + found.T) / 2)

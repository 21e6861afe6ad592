"""The tail of the largest of correlated normal variables, with an error that is small next to the tail itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import special

from trialml.errors import DataError
from trialml.survival.ties import Array

__all__ = ["TailProbability", "tail_of_largest"]

POINTS = 2**13
SHIFTS = 12
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)


class TailProbability(NamedTuple):
    """A probability and the standard error of its numerical integration."""

    value: float
    error: float


def tail_of_largest(correlation: Any, bound: float, *, two_sided: bool = False, seed: int = 0) -> TailProbability:
    """Return the probability that the largest of m standard normal variables is above `bound`.

    Parameters
    ----------
    correlation
        Their correlations, shape ``(m, m)``, m at most 10; it may be singular.
    bound
        What the largest is compared with.
    two_sided
        Take the largest absolute value instead.
    seed
        Of the random shifts of the integration lattice.

    Returns
    -------
    TailProbability
        The event is cut into disjoint parts, "j is above, those before j are not", and each is integrated by Genz's
        conditioning with j first, so that ``Phi(-bound)`` is a factor and the error is relative to the tail:
        with 12 shifts of a lattice of 8,192 points about 1e-5 of the value or less. The error of the value is
        estimated from the spread over the shifts.

    Raises
    ------
    DataError
        If `correlation` is not a correlation matrix of at most 10 variables.

    References
    ----------
    Genz A. Numerical computation of multivariate normal probabilities. J Comput Graph Stat 1992;1:141-149.
    """
    matrix = np.asarray(correlation, dtype=float)
    m = matrix.shape[0]
    square = matrix.ndim == 2 and matrix.shape == (m, m) and 0 < m <= len(PRIMES)
    if not square or not np.allclose(np.diag(matrix), 1, atol=1e-8) or np.linalg.eigvalsh(matrix)[0] < -1e-8:
        raise DataError(f"correlation has shape {matrix.shape}, but must be a correlation matrix of 1 to 10 variables")
    if two_sided and bound <= 0:
        return TailProbability(1.0, 0.0)
    shifts = np.random.default_rng(seed).random((SHIFTS, m))
    total = np.zeros(SHIFTS)
    for j in range(m):
        order = [j, *range(j)]
        part = matrix[np.ix_(order, order)]
        total += _above_first(part, bound, -bound if two_sided else -np.inf, shifts)
    total *= (2.0 if two_sided else 1.0) * special.ndtr(-bound)
    return TailProbability(min(float(total.mean()), 1.0), float(total.std(ddof=1) / np.sqrt(SHIFTS)))


def _above_first(correlation: Array, bound: float, low: float, shifts: Array) -> Array:
    """Return P(the others lie between `low` and `bound` | the first is above `bound`), one estimate a shift."""
    m = correlation.shape[0]
    if m == 1:
        return np.ones(len(shifts))
    root = _root(correlation)
    index = np.arange(1, POINTS + 1)[:, None] * np.sqrt(PRIMES[: m - 1]) % 1.0
    out = np.empty(len(shifts))
    for k, shift in enumerate(shifts):
        # Folding makes the integrand periodic, for which lattices converge faster.
        uniform = np.abs(2 * ((index + shift[: m - 1]) % 1.0) - 1)
        draws = np.empty((POINTS, m - 1))
        draws[:, 0] = -special.ndtri(np.clip(uniform[:, 0], 1e-16, 1.0) * special.ndtr(-bound))
        inside = np.ones(POINTS)
        for i in range(1, m):
            mean, spread = draws[:, :i] @ root[i, :i], root[i, i]
            if spread == 0:
                # Nothing later depends on a variable that the ones before it determine.
                inside *= (mean <= bound) & (mean >= low)
                draws[:, i : i + 1] = 0.0
                continue
            below, upto = special.ndtr((low - mean) / spread), special.ndtr((bound - mean) / spread)
            inside *= upto - below
            if i < m - 1:
                at = below + uniform[:, i] * (upto - below)
                draws[:, i] = special.ndtri(np.clip(at, 1e-300, 1 - 1e-16))
        out[k] = inside.mean()
    return out


def _root(correlation: Array) -> Array:
    """Return the lower triangular root; a variable that the ones before it determine has 0 on the diagonal."""
    m = correlation.shape[0]
    root = np.zeros((m, m))
    for i in range(m):
        for j in range(i):
            if root[j, j] > 0:
                root[i, j] = (correlation[i, j] - root[i, :j] @ root[j, :j]) / root[j, j]
        left = correlation[i, i] - root[i, :i] @ root[i, :i]
        root[i, i] = np.sqrt(left) if left > 1e-9 else 0.0
    return root

"""SHAP values of trees, path-dependent and interventional, of several outputs at once; every sum is checked."""

from __future__ import annotations

from functools import cache
from math import factorial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.tree_boxes import Boxes
from trialml.explain.tree_shap_passes import add_background, add_interactions, add_path_dependent, masks_of, totals
from trialml.survival.compile import compiled_at_first_call

__all__ = ["LARGEST_ERROR", "TreeShap", "refuse_broken_sum", "shap_interactions_trees", "shap_values_trees"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST_ERROR = 1e-7
"""Of a sum of SHAP values, relative to the largest score; none is shown beyond."""

_MOST_BITS = 12
"""Sets of conditions are remembered for as many covariates on the way to a leaf."""


class TreeShap(NamedTuple):
    """SHAP values, what they are counted from, and how well they add up.

    Attributes
    ----------
    values : ndarray of shape (n, covariates, outputs)
    base : ndarray of shape (outputs,)
        What is expected of the background, or of the patients that were counted in the trees.
    error : float
        The largest absolute difference between ``base + values.sum(axis=1)`` and what the trees say.
    """

    values: Floats
    base: Floats
    error: float


def shap_values_trees(boxes: Boxes, matrix: Floats, covariates: int, background: Floats | None = None) -> TreeShap:
    """Return the exact SHAP values of trees.

    Parameters
    ----------
    boxes
        The leaves.
    matrix
        Patients, shape (n, columns), missing values NaN.
    covariates
        How many there are; `Boxes.player` numbers them.
    background
        Patients whose values stand in for those of covariates that are left out (interventional perturbation), shape
        (m, columns). None: patients go down both sides of such a split in the shares that were counted (path-dependent).

    Returns
    -------
    TreeShap
        ``values[:, j]`` is the mean over orders of the covariates of what j adds when it is known after those before it, all
        columns of a covariate moving together: with a leaf's conditions grouped by covariate, z_k the share counted and o_k
        whether the patient meets those of k, path-dependent
        ``sum over leaves of value (o_j - z_j) integral over y in (0, 1) of product over k other than j of (y o_k + (1 - y) z_k)``.
        The integral is taken by Gauss and Legendre's rule, which is exact for a polynomial.

    Raises
    ------
    AnalysisError
        If patients were not counted in the trees, or the sums are broken.

    References
    ----------
    Lundberg SM, Erion G, Chen H, et al. From local explanations to global understanding with explainable AI for trees. Nat Mach
    Intell 2020;2:56-67. Yu P, Xu C, Bifet A, Read J. Linear TreeShap. Adv Neural Inf Process Syst 2022;35.
    """
    rows = np.ascontiguousarray(matrix, dtype=np.float64)
    values = np.zeros((len(rows), covariates, boxes.outputs))
    said = predicted(boxes, rows)
    if background is None:
        _refuse_uncounted(boxes)
        _passes()[0](rows, *boxes[:-1], *_quadrature(boxes.deepest), *_memory(boxes), values)
        reached = np.array([np.prod(boxes.ratio[a:b]) for a, b in zip(boxes.player_of[:-1], boxes.player_of[1:], strict=True)])
        base = boxes.offset + reached @ boxes.value
    else:
        kept = np.ascontiguousarray(background, dtype=np.float64)
        _passes()[1](rows, *boxes[:-1], *_masks(boxes, kept), _weights(boxes.deepest), *_memory(boxes), values)
        values /= len(kept)
        base = predicted(boxes, kept).mean(axis=0)
    error = np.abs(values.sum(axis=1) + base - said).max(initial=0.0)
    return TreeShap(values, np.asarray(base), refuse_broken_sum(float(error), said))


def shap_interactions_trees(
    boxes: Boxes, matrix: Floats, covariates: int, background: Floats | None = None
) -> TreeShap:
    """Return the exact SHAP interaction values of trees with one output.

    Parameters
    ----------
    boxes, matrix, covariates, background
        As for `shap_values_trees`.

    Returns
    -------
    TreeShap
        ``values`` of shape (n, covariates, covariates): off the diagonal half of what two covariates do together beyond what each
        does alone, on it the rest, so that rows sum to the SHAP values.

    Raises
    ------
    AnalysisError
        As `shap_values_trees`, or if there is more than one output.
    """
    if boxes.outputs != 1:
        raise AnalysisError(f"Interactions are computed for one output, but the trees have {boxes.outputs}: choose one.")
    plain = shap_values_trees(boxes, matrix, covariates, background)
    rows = np.ascontiguousarray(matrix, dtype=np.float64)
    values = np.zeros((len(rows), covariates, covariates))
    nothing = (np.zeros(len(boxes.player_of), dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))
    if background is None:
        masks, many = nothing, 1
    else:
        masks, many = _masks(boxes, np.ascontiguousarray(background, dtype=np.float64)), len(background)
    pairs = _pair_weights(boxes.deepest)
    _passes()[2](rows, *boxes[:-1], *_quadrature(boxes.deepest), *masks, *pairs, background is None, values)
    values /= many
    places = np.arange(covariates)
    values[:, places, places] = plain.values[:, :, 0] - values.sum(axis=2)
    return TreeShap(values, plain.base, plain.error)


def predicted(boxes: Boxes, matrix: Floats) -> Floats:
    """Return what the leaves add up to, shape (n, outputs)."""
    out = np.tile(boxes.offset, (len(matrix), 1))
    _passes()[3](np.ascontiguousarray(matrix, dtype=np.float64), *boxes[:-1], out)
    return out


def refuse_broken_sum(error: float, said: Floats) -> float:
    """Return the largest error of the sums, or refuse the explanation.

    Raises
    ------
    AnalysisError
        If it is beyond 1e-7 of the largest score.
    """
    if not error <= LARGEST_ERROR * max(1.0, float(np.abs(said).max(initial=0.0))):
        raise AnalysisError(f"SHAP values miss the score by {error:.3g}: the explanation is refused, not shown.")
    return error


def _refuse_uncounted(boxes: Boxes) -> None:
    if np.isnan(boxes.ratio).any():
        raise AnalysisError(
            "The trees do not say how many patients went down each side of a split, which a path-dependent explanation needs: count them "
            "with some patients, or choose the interventional perturbation."
        )


def _masks(boxes: Boxes, background: Floats) -> tuple[Ints, Ints, Floats]:
    """Return for each leaf the distinct sets of conditions that background patients meet, as bits, and how many meet them."""
    whole = np.empty((len(boxes.value), len(background)), dtype=np.int64)
    _passes()[4](background, *boxes[:-1], whole)
    whole.sort(axis=1)
    new = np.ones(whole.shape, dtype=np.bool_)
    new[:, 1:] = whole[:, 1:] != whole[:, :-1]
    starts = np.concatenate([[0], np.cumsum(new.sum(axis=1))]).astype(np.int64)
    counts = np.diff(np.append(np.flatnonzero(new.ravel()), whole.size)).astype(np.float64)
    return starts, whole[new], counts


@cache
def _passes() -> tuple[Any, ...]:
    every = (add_path_dependent, add_background, add_interactions, totals, masks_of)
    return tuple(compiled_at_first_call(one) for one in every)


def _memory(boxes: Boxes) -> tuple[Ints, Floats]:
    """Return room for what patients gain who meet the same conditions, by these as bits: the leaf that it was found for, and the gains."""
    size = 1 << min(boxes.deepest, _MOST_BITS)
    return np.full(size, -1, dtype=np.int64), np.empty((size, max(boxes.deepest, 1)))


def _quadrature(deepest: int) -> tuple[Floats, Floats]:
    """Return points in (0, 1) and weights that integrate a polynomial of degree `deepest` - 1 exactly."""
    points, weights = np.polynomial.legendre.leggauss(max(1, -(-deepest // 2)))
    return (points + 1) / 2, weights / 2


def _weights(deepest: int) -> Floats:
    """Return ``(a - 1)! b! / (a + b)!`` at place (a, b), 0 for a = 0."""
    table = np.zeros((deepest + 1, deepest + 1))
    for a in range(1, deepest + 1):
        for b in range(deepest + 1 - a):
            table[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
    return table


def _pair_weights(deepest: int) -> tuple[Floats, Floats]:
    """Return ``(a - 2)! b! / (a + b - 1)!`` and ``(a - 1)! (b - 1)! / (a + b - 1)!``, for two of one side and one of each."""
    same, other = np.zeros((deepest + 1, deepest + 1)), np.zeros((deepest + 1, deepest + 1))
    for a in range(1, deepest + 1):
        for b in range(deepest + 1 - a):
            if a > 1:
                same[a, b] = factorial(a - 2) * factorial(b) / factorial(a + b - 1)
            if b > 0:
                other[a, b] = factorial(a - 1) * factorial(b - 1) / factorial(a + b - 1)
    return same, other

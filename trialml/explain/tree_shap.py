"""SHAP values of trees, path-dependent and interventional, of several outputs at once; every sum is checked."""

from __future__ import annotations

from math import factorial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.tree_boxes import Boxes

__all__ = ["LARGEST_ERROR", "TreeShap", "refuse_broken_sum", "shap_interactions_trees", "shap_values_trees"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST_ERROR = 1e-7
"""Of a sum of SHAP values, relative to the largest score; none is shown beyond."""

_ROWS_AT_ONCE = 512
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
    from trialml.explain.tree_shap_passes import add_background, add_path_dependent

    values = np.zeros((len(matrix), covariates, boxes.outputs))
    said = predicted(boxes, matrix)
    if background is None:
        _refuse_uncounted(boxes)
        known = (boxes.player_of, boxes.player, boxes.ratio, boxes.value, *_quadrature(boxes.deepest))
        for rows in _some_rows(len(matrix)):
            add_path_dependent(masks(boxes, matrix[rows]), *known, *_memory(boxes), values[rows])
        base = boxes.offset + _shares(boxes) @ boxes.value
    else:
        sets = (*_sets_met(boxes, background), _weights(boxes.deepest))
        for rows in _some_rows(len(matrix)):
            met = masks(boxes, matrix[rows])
            add_background(met, boxes.player_of, boxes.player, boxes.value, *sets, *_memory(boxes), values[rows])
        values /= len(background)
        base = predicted(boxes, background).mean(axis=0)
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
        raise AnalysisError(
            f"Interactions are computed for one output, but the trees have {boxes.outputs}: choose one."
        )
    from trialml.explain.tree_shap_passes import add_pairs_of_background, add_pairs_of_paths

    plain = shap_values_trees(boxes, matrix, covariates, background)
    values = np.zeros((len(matrix), covariates, covariates))
    met, leaves = masks(boxes, matrix), (boxes.player_of, boxes.player)
    if background is None:
        add_pairs_of_paths(met, *leaves, boxes.ratio, boxes.value, *_quadrature(boxes.deepest), values)
    else:
        sets = _sets_met(boxes, background)
        add_pairs_of_background(met, *leaves, boxes.value, *sets, *_pair_weights(boxes.deepest), values)
        values /= len(background)
    places = np.arange(covariates)
    values[:, places, places] = plain.values[:, :, 0] - values.sum(axis=2)
    return TreeShap(values, plain.base, plain.error)


def predicted(boxes: Boxes, matrix: Floats) -> Floats:
    """Return what the leaves add up to, shape (n, outputs)."""
    from trialml.explain.tree_shap_passes import add_totals

    out = np.tile(boxes.offset, (len(matrix), 1))
    for rows in _some_rows(len(matrix)):
        add_totals(masks(boxes, matrix[rows]), boxes.player_of, boxes.value, out[rows])
    return out


def masks(boxes: Boxes, matrix: Floats) -> Ints:
    """Return for each leaf and patient the covariates whose conditions are met, as bits, shape (leaves, n)."""
    from trialml.explain.tree_shap_passes import find_masks

    out = np.empty((len(boxes.value), len(matrix)), dtype=np.int64)
    conditions = (boxes.condition_of, boxes.column, boxes.low, boxes.high, boxes.missing, boxes.bit)
    find_masks(np.ascontiguousarray(matrix, dtype=np.float64), *conditions, boxes.player_of, out)
    return out


def _some_rows(n: int) -> list[slice]:
    return [slice(start, min(start + _ROWS_AT_ONCE, n)) for start in range(0, n, _ROWS_AT_ONCE)]


def _shares(boxes: Boxes) -> Floats:
    """Return the share of the patients counted that the splits send to each leaf, shape (leaves,)."""
    shares, some = np.ones(len(boxes.value)), np.diff(boxes.player_of) > 0
    if some.any():
        shares[some] = np.multiply.reduceat(boxes.ratio, boxes.player_of[:-1][some])
    return shares


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


def _sets_met(boxes: Boxes, background: Floats) -> tuple[Ints, Ints, Floats]:
    """Return for each leaf the distinct sets of conditions that background patients meet, as bits, and how many meet them."""
    whole = masks(boxes, background)
    whole.sort(axis=1)
    new = np.ones(whole.shape, dtype=np.bool_)
    new[:, 1:] = whole[:, 1:] != whole[:, :-1]
    starts = np.concatenate([[0], np.cumsum(new.sum(axis=1))]).astype(np.int64)
    counts = np.diff(np.append(np.flatnonzero(new.ravel()), whole.size)).astype(np.float64)
    return starts, whole[new], counts


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

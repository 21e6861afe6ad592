"""Resampling splits: repeated, stratified, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.errors import AnalysisError

__all__ = ["fold_labels", "splits"]


def fold_labels(cells: ArrayLike, folds: int, seed: int | np.random.Generator) -> NDArray[np.intp]:
    """Deal the members of each cell evenly to `folds` folds.

    Parameters
    ----------
    cells
        What the folds are balanced by (arm, event, stratification factor), shape (n,); one row a patient, so that
        the copies of a patient cannot be parted.
    folds
        Number of folds, at least 2.
    seed
        Seed or generator.

    Returns
    -------
    ndarray of int, shape (n,)
        The fold of each row. Fold sizes differ by at most one over all rows, because each cell starts dealing
        where the one before it stopped.

    Raises
    ------
    AnalysisError
        If there are fewer rows than folds, or fewer than two folds.
    """
    labels = np.asarray(cells).astype(str)
    if folds < 2 or len(labels) < folds:
        raise AnalysisError(
            f"{len(labels)} patients cannot be split into {folds} folds: use from 2 to {len(labels)} folds."
        )
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    dealt = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.intp)
    fold[dealt] = (np.arange(len(labels)) + generator.integers(folds)) % folds
    return fold


def splits(fold: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield (training rows, test rows) for each fold in turn."""
    for label in np.unique(fold):
        yield np.flatnonzero(fold != label), np.flatnonzero(fold == label)

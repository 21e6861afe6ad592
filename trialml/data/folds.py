"""Resampling splits: repeated, stratified, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.errors import AnalysisError

__all__ = ["fold_labels", "splits"]


def fold_labels(
    cells: ArrayLike, folds: int, seed: int | np.random.Generator, groups: ArrayLike | None = None
) -> NDArray[np.intp]:
    """Deal the members of each cell evenly to `folds` folds.

    Parameters
    ----------
    cells
        What the folds are balanced by (arm, event, stratification factor), shape (n,). A group is dealt by the cell
        of its first row.
    folds
        Number of folds, at least 2.
    seed
        Seed or generator.
    groups
        The patient of each row, shape (n,), where one has several rows, as in a bootstrap sample: they are never
        parted. By default each row is a patient.

    Returns
    -------
    ndarray of int, shape (n,)
        The fold of each row. Fold sizes differ by at most one patient, because each cell starts dealing
        where the one before it stopped.

    Raises
    ------
    AnalysisError
        If there are fewer rows than folds, or fewer than two folds.
    """
    labels = np.asarray(cells).astype(str)
    if groups is not None:
        _, first, member = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
        return fold_labels(labels[first], folds, seed)[member]
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

"""Out-of-fold predictions of one way of learning, for any kind of endpoint, beside those of null models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import splits
from trialml.errors import DataError
from trialml.result import counted
from trialml.validation.endpoint_measures import Observed
from trialml.validation.nested_crossvalidation import nested_predictions

__all__ = ["HeldPredictions", "crossvalidate", "refuse_unknown"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class HeldPredictions(NamedTuple):
    """Out-of-fold predictions; rows are repeats, columns patients.

    Attributes
    ----------
    value
        Predicted risk or mean, shape ``(repeats, n)``.
    score
        What orders patients within a fold, shape ``(repeats, n)``.
    null, null_by_arm
        The one prediction for everybody, and for everybody of the patient's arm, that the training folds teach, shape
        ``(repeats, n)``.
    fold
        The fold of each patient, shape ``(repeats, n)``.
    """

    value: Floats
    score: Floats
    null: Floats
    null_by_arm: Floats
    fold: Rows


def crossvalidate(
    fit: Callable[[Rows], Any],
    X: pd.DataFrame,
    observed: Observed,
    *,
    treated: Any,
    cells: Any,
    folds: int,
    repeats: int,
    seed: int,
    groups: Any = None,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> HeldPredictions:
    """Fit on all folds but one, predict the one left out, in turn, `repeats` times.

    Parameters
    ----------
    fit
        Given training rows, does everything that is learned from data on them.
    X
        Covariates with whatever else the model reads, shape ``(n, p)``.
    observed
        Outcomes of the n patients.
    treated
        True in the experimental arm, shape ``(n,)``: for the null predictions alone, the model has its own columns.
    cells, folds, repeats, seed, groups, workers, advance
        As in `nested_predictions`; the folds are those of `crossvalidate_risk` with the same cells and seed.

    Returns
    -------
    HeldPredictions
        Every patient is predicted once in each repeat.

    Raises
    ------
    DataError
        If the lengths disagree, or `treated` is neither True nor False.
    AnalysisError
        If there are fewer patients than folds.
    """
    arm = np.asarray(treated)
    if arm.shape != (observed.n,) or not np.isin(arm, (0, 1)).all():
        raise DataError(f"treated must be True or False for each of the {observed.n} patients")
    held = nested_predictions({"model": fit}, X, observed, cells=cells, folds=folds, repeats=repeats, seed=seed, groups=groups,
                              workers=workers, advance=advance)  # fmt: skip
    by_arm = np.empty(held.null.shape)
    for repeat, fold in enumerate(held.fold):
        for train, test in splits(fold):
            for flag in np.unique(arm):
                own, same = train[arm[train] == flag], test[arm[test] == flag]
                by_arm[repeat, same] = observed.null(own) if own.size else held.null[repeat, same]
    return HeldPredictions(held.value[0], held.score[0], held.null, by_arm, held.fold)


def refuse_unknown(named: Mapping[str, Floats]) -> None:
    """Refuse numbers of patients, by what they are called, of which some are missing or infinite.

    Raises
    ------
    DataError
        Which names the first kind.
    """
    for name, numbers in named.items():
        wrong = int((~np.isfinite(numbers)).sum())
        if wrong:
            raise DataError(
                f"{name} are missing or infinite in {counted(wrong, 'place')}: leave out patients without an outcome"
            )

"""Several ways of learning on the same folds: whole patients held out, everything learned and chosen inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.errors import DataError
from trialml.validation.crossvalidation import RiskModel
from trialml.validation.endpoint_measures import Observed
from trialml.validation.observed_survival import ObservedSurvival
from trialml.validation.parallel import in_order

__all__ = ["NestedPredictions", "NestedRisks", "nested_crossvalidation", "nested_predictions"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class NestedPredictions(NamedTuple):
    """Out-of-fold predictions of several ways of learning, of any kind of endpoint.

    Attributes
    ----------
    names
        The ways, in the order of the first axis of what follows.
    value, score
        The risk or mean, and the score that orders patients within a fold, shape ``(ways, repeats, n)``.
    null
        The one prediction for everybody that the training folds teach, shape ``(repeats, n)``.
    fold
        The fold of each row, shape ``(repeats, n)``.
    chosen
        In each repeat and fold the place of the way that `choose` took from the training rows alone, shape
        ``(repeats, folds)``; -1 where nothing chose.
    """

    names: tuple[str, ...]
    value: Floats
    score: Floats
    null: Floats
    fold: Rows
    chosen: Rows


class NestedRisks(NamedTuple):
    """`NestedPredictions` of a time to event, in its own words.

    Attributes
    ----------
    names, fold, chosen
        As there.
    risk, log_hazard
        Risk at the horizon and the score that orders patients within a fold, shape ``(ways, repeats, n)``.
    null_risk
        Kaplan-Meier, with competing events Aalen-Johansen risk of the training folds, shape ``(repeats, n)``.
    """

    names: tuple[str, ...]
    risk: Floats
    log_hazard: Floats
    null_risk: Floats
    fold: Rows
    chosen: Rows


class _Part(NamedTuple):
    """One training set, its test rows, and a seed of its own for what is decided inside."""

    repeat: int
    label: int
    train: Rows
    test: Rows
    seed: int


def nested_predictions(
    fits: Mapping[str, Callable[[Rows], Any]],
    X: pd.DataFrame,
    observed: Observed,
    *,
    cells: Any,
    folds: int,
    repeats: int,
    seed: int,
    groups: Any = None,
    choose: Callable[[Rows, int], int] | None = None,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> NestedPredictions:
    """Fit each way on all folds but one and predict the one left out, in turn, `repeats` times.

    Parameters
    ----------
    fits
        By name what, given training rows, does everything that is learned from data on them, tuning included: its
        inner folds are then inside the outer ones.
    X
        Covariates with whatever else the models read, shape ``(n, p)``.
    observed
        The outcomes of the n patients, which say what a model predicts and what the null model does.
    cells
        What folds are balanced by, such as arm and event, shape ``(n,)``.
    folds, repeats, seed
        Each repeat has a seed of its own, and each fold another for `choose`, all spawned from `seed`.
    groups
        The patient of each row, shape ``(n,)``: rows of a patient are never parted.
    choose
        Given training rows and a seed, the place in `fits` of the way that they favour.
    workers
        Processes; the numbers do not depend on it.
    advance
        Called after each fold.

    Returns
    -------
    NestedPredictions
        Every row is predicted once in each repeat by each way.

    Raises
    ------
    DataError
        If there is no way of learning, or the lengths disagree.
    AnalysisError
        If there are fewer patients than folds.
    """
    if not fits or len(X) != observed.n:
        raise DataError(
            f"there are {len(fits)} models for {len(X)} rows and {observed.n} outcomes: pass one row an outcome, and a model"
        )
    fold, parts = _parts(cells, folds, repeats, seed, groups)

    def one(part: _Part) -> tuple[Floats, float, int]:
        test = X.iloc[part.test]
        predicted = np.array([observed.predict(fit(part.train), test)[:2] for fit in fits.values()])
        return predicted, observed.null(part.train), -1 if choose is None else choose(part.train, part.seed)

    shape = (len(fits), repeats, observed.n)
    value, score, nulls = np.empty(shape), np.empty(shape), np.empty(shape[1:])
    chosen = np.empty((repeats, folds), dtype=np.intp)
    for part, (predicted, null, taken) in zip(
        parts, in_order(one, parts, workers=workers, advance=advance), strict=True
    ):
        value[:, part.repeat, part.test] = predicted[:, 0]
        score[:, part.repeat, part.test] = predicted[:, 1]
        nulls[part.repeat, part.test] = null
        chosen[part.repeat, part.label] = taken
    return NestedPredictions(tuple(fits), value, score, nulls, fold, chosen)


def nested_crossvalidation(
    fits: Mapping[str, Callable[[Rows], RiskModel]],
    X: pd.DataFrame,
    time: Any,
    event: Any,
    *,
    horizon: float,
    competing: Any = None,
    **settings: Any,
) -> NestedRisks:
    """`nested_predictions` of the risk of a time to event by a horizon.

    Parameters
    ----------
    fits, X, settings
        As there.
    time, event, competing
        As in `ObservedSurvival`.
    horizon
        Where risks are read.
    """
    observed = ObservedSurvival(time, event, horizon=horizon, competing=competing)
    return NestedRisks(*nested_predictions(fits, X, observed, **settings))


def _parts(cells: Any, folds: int, repeats: int, seed: int, groups: Any) -> tuple[Rows, list[_Part]]:
    """Return the fold of each row in each repeat, and every training set with its test rows."""
    fold, parts = [], []
    for repeat, source in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        fold.append(fold_labels(cells, folds, np.random.default_rng(source), groups))
        inner = source.spawn(folds)
        for label, (train, test) in enumerate(splits(fold[-1])):
            parts.append(_Part(repeat, label, train, test, int(inner[label].generate_state(1)[0])))
    return np.stack(fold), parts

"""Predictions for patients that the model has not seen, by repeated stratified cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.survival.product_limit import product_limit, step_at

__all__ = ["HeldOut", "RiskModel", "crossvalidate_risk"]

Floats = NDArray[np.float64]


class RiskModel(Protocol):
    """What a fitted risk model must offer."""

    def log_hazard(self, X: pd.DataFrame) -> Floats:
        """Return the score that orders patients, higher is worse."""

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return the risk by the horizon."""


class HeldOut(NamedTuple):
    """Out-of-fold predictions; rows are repeats, columns patients.

    Attributes
    ----------
    risk
        Predicted risk at the horizon, shape (repeats, n).
    log_hazard
        The score that orders patients within a fold, shape (repeats, n).
    null_risk
        Kaplan-Meier risk of the training folds, shape (repeats, n).
    null_risk_by_arm
        Kaplan-Meier risk of the patient's own arm in the training folds, shape (repeats, n).
    fold
        The fold of each patient, shape (repeats, n).
    """

    risk: Floats
    log_hazard: Floats
    null_risk: Floats
    null_risk_by_arm: Floats
    fold: NDArray[np.intp]


def crossvalidate_risk(
    fit: Callable[[NDArray[np.intp]], RiskModel],
    X: pd.DataFrame,
    time: Floats,
    event: NDArray[np.bool_],
    *,
    treated: NDArray[np.bool_],
    cells: NDArray[np.str_],
    horizon: float,
    folds: int,
    repeats: int,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> HeldOut:
    """Fit on all folds but one, predict the one left out, in turn, `repeats` times.

    Parameters
    ----------
    fit
        Given training rows, does everything that is learned from data (imputation, scaling, tuning, fitting) on them.
    X
        Covariates with whatever else the model reads, shape (n, p).
    time, event
        Outcome, each of shape (n,).
    treated
        True in the experimental arm, shape (n,): for the null risks alone, the model has its own columns.
    cells
        What folds are balanced by, shape (n,).
    horizon
        Where risks are read.
    folds, repeats, seed
        The repeats have seeds of their own, spawned from `seed`.
    advance
        Called after each fold.

    Returns
    -------
    HeldOut
        Every patient is predicted once in each repeat.
    """
    shape = (repeats, len(time))
    held = HeldOut(
        risk=np.empty(shape),
        log_hazard=np.empty(shape),
        null_risk=np.empty(shape),
        null_risk_by_arm=np.empty(shape),
        fold=np.empty(shape, dtype=np.intp),
    )
    for repeat, source in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        held.fold[repeat] = fold_labels(cells, folds, np.random.default_rng(source))
        for train, test in splits(held.fold[repeat]):
            model = fit(train)
            held.risk[repeat, test] = model.risk(X.iloc[test], horizon)
            held.log_hazard[repeat, test] = model.log_hazard(X.iloc[test])
            held.null_risk[repeat, test] = _risk(time[train], event[train], horizon)
            for arm in (False, True):
                own = train[treated[train] == arm]
                same = test[treated[test] == arm]
                held.null_risk_by_arm[repeat, same] = _risk(time[own], event[own], horizon)
            advance()
    return held


def _risk(time: Floats, event: NDArray[np.bool_], horizon: float) -> float:
    curve = product_limit(time, event)
    return 1.0 - float(step_at(curve.time, curve.survival, horizon))

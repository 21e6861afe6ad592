"""Predictions for patients that the model has not seen, by repeated stratified cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.survival.ipcw import Outcome, checked_outcome, observed_risk

__all__ = ["ArmUse", "HeldOut", "RiskModel", "crossvalidate_risk", "null_risks"]

Floats = NDArray[np.float64]
ArmUse = Literal["covariate", "blinded", "control arm"]
"""The arm's part in a risk model: a covariate, not looked at, or the control arm's patients alone."""


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
    over_time
        Predicted risks at several times, shape (repeats, n, times); no times where none were asked for.
    """

    risk: Floats
    log_hazard: Floats
    null_risk: Floats
    null_risk_by_arm: Floats
    fold: NDArray[np.intp]
    over_time: Floats = np.empty((0, 0, 0))


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
    competing: NDArray[np.bool_] | None = None,
    times: Sequence[float] = (),
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
    competing
        True where another event ended follow-up, after which the event cannot happen, shape (n,); None for no such.
    times
        Where risks are read besides, for `HeldOut.over_time`; of a model with ``risks(X, times)`` in one call.
    advance
        Called after each fold.

    Returns
    -------
    HeldOut
        Every patient is predicted once in each repeat.
    """
    shape = (repeats, len(time))
    risk, score, fold = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.intp)
    over_time = np.empty((*shape, len(times)))
    for repeat, source in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        fold[repeat] = fold_labels(cells, folds, np.random.default_rng(source))
        for train, test in splits(fold[repeat]):
            model, unseen = fit(train), X.iloc[test]
            risk[repeat, test] = model.risk(unseen, horizon)
            score[repeat, test] = model.log_hazard(unseen)
            if len(times):
                over_time[repeat, test] = _risks(model, unseen, times)
            advance()
    nulls = null_risks(time, event, treated, fold, horizon, competing=competing)
    return HeldOut(risk, score, *nulls, fold, over_time)


def null_risks(
    time: Floats,
    event: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    fold: NDArray[np.intp],
    horizon: float,
    *,
    competing: NDArray[np.bool_] | None = None,
) -> tuple[Floats, Floats]:
    """Return what giving everybody one risk comes to: that of the training folds, and that of the own arm in them.

    Parameters
    ----------
    time, event, treated, competing
        As in `crossvalidate_risk`, each of shape (n,).
    fold
        The fold of each patient, shape (repeats, n).
    horizon
        Where the risk is read.

    Returns
    -------
    everybody, by_arm : ndarray of shape (repeats, n)
        Kaplan-Meier, with competing events Aalen-Johansen risks.
    """
    outcome = checked_outcome(time, event, competing)
    everybody, by_arm = np.empty(fold.shape), np.empty(fold.shape)
    for repeat, labels in enumerate(fold):
        for train, test in splits(labels):
            everybody[repeat, test] = _risk(outcome, train, horizon)
            for arm in np.unique(treated[test]):
                same = test[treated[test] == arm]
                by_arm[repeat, same] = _risk(outcome, train[treated[train] == arm], horizon)
    return everybody, by_arm


def _risks(model: RiskModel, X: pd.DataFrame, times: Sequence[float]) -> Floats:
    """Return the risks by several times, in one call where the model can, shape (n, times)."""
    if hasattr(model, "risks"):
        return np.asarray(model.risks(X, times))
    return np.column_stack([model.risk(X, at) for at in times])


def _risk(outcome: Outcome, rows: Any, horizon: float) -> float:
    return float(observed_risk(Outcome(*(part[rows] for part in outcome)), horizon))

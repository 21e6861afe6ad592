"""Doubly robust scores of a time to event: for each patient an unbiased, noisy reading of the effect.

The effect is that on restricted mean time, E[min(T, tau)], or on survival at a horizon, P(T > tau). With m_a(x) the mean
given x in arm a, learned on other patients, Y* the outcome with what replaces it where it is censored
(`censored_outcome`), and the allocation probability p known from the randomisation, the score is

    m_1(x) - m_0(x) + A / p (Y* - m_1(x)) - (1 - A) / (1 - p) (Y* - m_0(x)).

Its mean is unbiased whatever the outcome models are if the censoring curves are right, and if those are wrong, where the
outcome models are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.arm_scores import (
    Allocation,
    Arms,
    augmented_contrasts,
    checked_arms,
    crossfit,
    refuse_arm_as_covariate,
    refuse_contradicted_allocation,
    refuse_small_arms,
)
from trialml.effects.censored_outcome import CensoredArm, Estimand, SurvivalLearner, SurvivalModel, fit_arm
from trialml.errors import DataError
from trialml.survival.ties import checked_times, tied_times

__all__ = ["Nuisance", "SurvivalLearner", "SurvivalModel", "crossfit_scores", "fit_nuisance"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Nuisance:
    """The outcome models and censoring curves of every arm, learned on some patients, used on others."""

    arms: tuple[CensoredArm, ...]
    """Control first."""
    shares: Floats
    """The known probability of each arm."""
    tau: float

    def scores(self, X: pd.DataFrame, time: Floats, event: Flags, treated: Any) -> Floats:
        """Return the doubly robust scores of patients; positive is benefit, where the event is to be avoided.

        Parameters
        ----------
        X
            Covariates, shape (n, p).
        time, event, treated
            Observed times, event indicators and arm, each of shape (n,). One arm may be empty.

        Returns
        -------
        ndarray of shape (n,) for two arms, (n, arms - 1) for more
            In the unit of time, or for survival as differences of probabilities.
        """
        codes = np.asarray(treated).astype(np.intp)
        expected, replaced = np.empty((len(time), len(self.arms))), np.empty(len(time))
        for place, arm in enumerate(self.arms):
            who = codes == place
            expected[:, place], replaced[who] = arm.expected_and_replaced(X, time, event, who)
        return augmented_contrasts(Arms(codes, self.shares), expected, replaced)


def fit_nuisance(
    X: pd.DataFrame,
    time: Floats,
    event: Flags,
    treated: Any,
    *,
    tau: float,
    allocation: Allocation,
    learner: SurvivalLearner,
    estimand: Estimand = "rmst",
    censoring: SurvivalLearner | None = None,
) -> Nuisance:
    """Learn what the scores need, arm by arm.

    Parameters
    ----------
    X, time, event, treated
        The patients learned from, as in `Nuisance.scores`.
    tau, allocation, learner, estimand, censoring
        As in `crossfit_scores`.

    Raises
    ------
    DataError
        If the arms, the probabilities, tau or the estimand are none.
    AnalysisError
        If an arm has no patient followed to tau, or no events, or its censoring model cannot be learned.
    """
    if estimand not in ("rmst", "survival"):
        raise DataError(f"estimand is '{estimand}', but it must be 'rmst' or 'survival'")
    if not (math.isfinite(tau) and tau > 0):
        raise DataError(f"tau is {tau:g}, but it must be a time above 0 in the unit of the times")
    arms = checked_arms(treated, allocation, len(time))
    times = tied_times(time, tau)
    fitted = []
    for place in range(len(arms.shares)):
        who = arms.codes == place
        one = fit_arm(X[who], times[who], event[who], tau, learner, estimand=estimand, censoring=censoring)
        fitted.append(one)
    return Nuisance(tuple(fitted), arms.shares, tau)


def crossfit_scores(
    X: pd.DataFrame,
    time: Floats,
    event: Flags,
    treated: Any,
    *,
    tau: float,
    allocation: Allocation,
    learner: SurvivalLearner,
    folds: int,
    seed: int,
    estimand: Estimand = "rmst",
    censoring: SurvivalLearner | None = None,
) -> Floats:
    """Return doubly robust scores, each from outcome models and censoring curves that never saw the patient.

    Parameters
    ----------
    X
        Covariates, shape (n, p).
    time, event
        Observed times and event indicators, each of shape (n,).
    treated
        True in the experimental arm, shape (n,); with more than two arms the arm's number, 0 for control.
    tau
        Where the mean is restricted, or survival is read; in the unit of time.
    allocation
        The known probability of the experimental arm; with more than two arms one probability an arm, control first.
    learner
        Fits the outcome model of one arm.
    folds, seed
        Folds are balanced by arm and event.
    estimand
        ``"rmst"`` for restricted mean time, ``"survival"`` for the probability to be free of the event beyond tau.
    censoring
        Fits a model of the censoring to one arm, where it depends on covariates (it is given the censorings before tau in
        the place of the events); by default the arm's Kaplan-Meier curve. Weights are not truncated: where some patients
        are hardly ever followed to tau, the scores' variance has no bound, and a smaller tau is the remedy.

    Returns
    -------
    ndarray of shape (n,) for two arms, (n, arms - 1) for more
        In the unit of time, or differences of probabilities; their mean is the cross-fitted effect.

    Raises
    ------
    DataError
        If the arrays do not fit each other, a time, event or arm is none, `allocation` is no probability, or a covariate is
        the arm.
    AnalysisError
        If nobody had the event, an arm has fewer than 15 patients, the arms' sizes contradict the allocation, and as
        `fit_nuisance`.
    """
    time, event = checked_times(time, event, needs_event=True)
    arms = checked_arms(treated, allocation, time.size)
    refuse_arm_as_covariate(X, arms.codes)
    refuse_small_arms(arms)
    refuse_contradicted_allocation(arms)
    asked: dict[str, Any] = {"tau": tau, "allocation": allocation, "learner": learner}

    def part(rows: NDArray[np.intp]) -> tuple[pd.DataFrame, Floats, Flags, NDArray[np.intp]]:
        return X.iloc[rows], time[rows], event[rows], arms.codes[rows]

    def fit(train: NDArray[np.intp]) -> Callable[[NDArray[np.intp]], Floats]:
        nuisance = fit_nuisance(*part(train), **asked, estimand=estimand, censoring=censoring)
        return lambda test: nuisance.scores(*part(test))

    return crossfit(fit, _cells(arms, event), folds=folds, seed=seed)


def _cells(arms: Arms, event: Flags) -> NDArray[np.str_]:
    """Return what the folds are balanced by: arm and event."""
    arm = arms.codes.astype(np.str_) if len(arms.shares) > 2 else (arms.codes > 0).astype(np.str_)
    return np.char.add(arm, event.astype(np.str_))

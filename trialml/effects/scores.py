"""Doubly robust scores: for each patient an unbiased, noisy reading of the effect on restricted mean time.

For arm a, with m_a(x) = E[min(T, tau) | x, a], Q_a(u | x) = E[min(T, tau) | T > u, x, a], the censoring curve G_a and
V = min(U, tau) for the observed time U, the observed outcome is replaced by

    Y* = D V / G(V-) + (1 - D) Q(V | x) / G(V) - sum over censoring times u <= V of Q(u | x) / G(u) dL(u),

D = 1 if the event happened or tau was reached, dL the censoring hazard's jumps (Rubin and van der Laan 2007,
International Journal of Biostatistics 3(1) art. 4; Cui et al. 2023, JRSS B 85:179-211, eq. 9). The score is then

    m_1(x) - m_0(x) + A / p (Y* - m_1(x)) - (1 - A) / (1 - p) (Y* - m_0(x)),

with the allocation probability p known from the randomisation (Robins, Rotnitzky and Zhao 1994, JASA 89:846-866).
Times within the tie tolerance of each other or of tau are one time: the sum jumps where a censoring falls before tau, so
a time that misses tau by a rounding error would otherwise be taken for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.effects.two_arms import checked_treated
from trialml.errors import AnalysisError, DataError
from trialml.survival.product_limit import Curve, censoring_curve, step_at
from trialml.survival.ties import checked_times, snapped, tied_times

__all__ = ["Nuisance", "SurvivalLearner", "SurvivalModel", "crossfit_scores", "fit_nuisance"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class SurvivalModel(Protocol):
    """What a fitted outcome model must offer."""

    def survival(self, X: pd.DataFrame, times: Floats) -> Floats:
        """Return S(t | x), shape (n, number of times)."""


SurvivalLearner = Callable[[pd.DataFrame, Floats, Flags], SurvivalModel]
"""Fits an outcome model to one arm: covariates (n, p), times (n,), events (n,)."""


@dataclass(frozen=True)
class _Arm:
    """What was learned from one arm: the outcome model, the censoring curve, and a grid of times up to tau."""

    model: SurvivalModel
    censoring: Curve
    grid: Floats
    tau: float

    def survival_on_grid(self, X: pd.DataFrame) -> Floats:
        return self.model.survival(X, self.grid)

    def areas(self, survival: Floats) -> Floats:
        """Integral of S from 0 to each grid time, shape (n, grid): exact for a step function on the grid."""
        left = np.column_stack([np.ones(len(survival)), survival[:, :-1]])
        return np.asarray(np.cumsum(left * np.diff(self.grid, prepend=0.0), axis=1))

    def known_times(self, time: Floats) -> Floats:
        """Return times of patients, those tied with tau or with a time that was learned from as that time."""
        return snapped(time, np.union1d(self.censoring.time, self.tau))


@dataclass(frozen=True)
class Nuisance:
    """The outcome models and censoring curves of both arms, learned on some patients, used on others."""

    control: _Arm
    experimental: _Arm
    allocation: float
    tau: float

    def scores(self, X: pd.DataFrame, time: Floats, event: Flags, treated: Flags) -> Floats:
        """Return the doubly robust scores of patients, shape (n,), in the unit of time; positive is benefit.

        Parameters
        ----------
        X
            Covariates, shape (n, p).
        time, event, treated
            Observed times, event indicators and arm, each of shape (n,).
        """
        expected, replaced = {}, np.empty(len(time))
        for arm, who in ((self.control, ~treated), (self.experimental, treated)):
            survival = arm.survival_on_grid(X)
            areas = arm.areas(survival)
            expected[arm is self.experimental] = areas[:, -1]
            replaced[who] = _replaced_outcome(arm, survival[who], areas[who], time[who], event[who])
        effect = expected[True] - expected[False]
        share = self.allocation
        return np.asarray(
            effect
            + np.where(treated, (replaced - expected[True]) / share, -(replaced - expected[False]) / (1 - share)),
            dtype=np.float64,
        )


def fit_nuisance(
    X: pd.DataFrame,
    time: Floats,
    event: Flags,
    treated: Flags,
    *,
    tau: float,
    allocation: float,
    learner: SurvivalLearner,
) -> Nuisance:
    """Learn what the scores need, arm by arm.

    Parameters
    ----------
    X, time, event, treated
        The patients learned from, as in `Nuisance.scores`.
    tau
        Restriction of the mean.
    allocation
        The known probability of the experimental arm.
    learner
        Fits the outcome model of one arm.

    Raises
    ------
    AnalysisError
        If an arm has no patient followed to tau, or no events.
    """
    times = tied_times(time, tau)
    arms = [_fit_arm(X[who], times[who], event[who], tau, learner) for who in (~treated, treated)]
    return Nuisance(arms[0], arms[1], allocation, tau)


def _fit_arm(X: pd.DataFrame, time: Floats, event: Flags, tau: float, learner: SurvivalLearner) -> _Arm:
    if time.max() < tau:
        message = f"An arm's follow-up ends at {time.max():g}, before tau = {tau:g}: choose a smaller tau."
        raise AnalysisError(message)
    model = learner(X, time, event)
    censoring = censoring_curve(time, event)
    inner = np.unique(time[time < tau])
    return _Arm(model, censoring, np.append(inner, tau), tau)


def _replaced_outcome(arm: _Arm, survival: Floats, areas: Floats, time: Floats, event: Flags) -> Floats:
    """Return Y* of the module's docstring for patients of one arm, shape (n,)."""
    time = arm.known_times(time)
    ended = np.minimum(time, arm.tau)
    known = event | (time >= arm.tau)
    curve = arm.censoring
    jumps = (curve.n_event > 0) & (curve.time < arm.tau)
    when = curve.time[jumps]
    jump = curve.n_event[jumps] / curve.n_risk[jumps]
    left = curve.survival[jumps]
    rest = _remaining(arm, survival, areas, when)
    # At the same time an event comes before a censoring, so a patient with the event is not at risk of it.
    at_risk = np.where(known[:, None], when[None, :] < ended[:, None], when[None, :] <= ended[:, None])
    compensator = ((rest / left) * jump * at_risk).sum(axis=1)
    replaced = np.empty(len(time))
    replaced[known] = ended[known] / step_at(curve.time, curve.survival, ended[known], left=True)
    lost = ~known
    own = _remaining_at(arm, survival[lost], areas[lost], ended[lost])
    replaced[lost] = own / step_at(curve.time, curve.survival, ended[lost])
    return np.asarray(replaced - compensator)


def _remaining(arm: _Arm, survival: Floats, areas: Floats, when: Floats) -> Floats:
    """Return Q(u | x) = u + (m(x) - area to u) / S(u | x) for every patient and every u, shape (n, u)."""
    place = np.searchsorted(arm.grid, when, side="right") - 1
    first = place < 0
    place = np.maximum(place, 0)
    alive = np.where(first, 1.0, survival[:, place])
    area = np.where(first, when, areas[:, place] + alive * (when - arm.grid[place]))
    return np.asarray(when + (areas[:, -1:] - area) / np.maximum(alive, 1e-12))


def _remaining_at(arm: _Arm, survival: Floats, areas: Floats, when: Floats) -> Floats:
    """Return Q(u_i | x_i) for patient i's own time, shape (n,)."""
    rows = np.arange(len(when))
    place = np.searchsorted(arm.grid, when, side="right") - 1
    first = place < 0
    place = np.maximum(place, 0)
    alive = np.where(first, 1.0, survival[rows, place])
    area = np.where(first, when, areas[rows, place] + alive * (when - arm.grid[place]))
    return np.asarray(when + (areas[:, -1] - area) / np.maximum(alive, 1e-12))


def crossfit_scores(
    X: pd.DataFrame,
    time: Floats,
    event: Flags,
    treated: Flags,
    *,
    tau: float,
    allocation: float,
    learner: SurvivalLearner,
    folds: int,
    seed: int,
) -> Floats:
    """Return doubly robust scores, each from outcome models and censoring curves that never saw the patient.

    Parameters
    ----------
    X, time, event, treated, tau, allocation, learner
        As in `fit_nuisance`.
    folds, seed
        Folds are balanced by arm and event.

    Returns
    -------
    ndarray of shape (n,)
        In the unit of time; their mean is the cross-fitted difference of restricted means.

    Raises
    ------
    DataError
        If the arrays do not fit each other, a time, event or arm is none, or `allocation` is no probability.
    AnalysisError
        If all patients are in one arm or nobody had the event, and as `fit_nuisance`.
    """
    time, event = checked_times(time, event, needs_event=True)
    treated = checked_treated(treated, time.size)
    if len(X) != time.size:
        raise DataError(f"X has {len(X)} rows for {time.size} patients: pass one row a patient")
    if not 0 < allocation < 1:
        raise DataError(f"allocation is {allocation:g}, but the experimental arm's probability is between 0 and 1")
    scores = np.empty(len(time))
    cells = np.char.add(treated.astype(np.str_), event.astype(np.str_))
    for train, test in splits(fold_labels(cells, folds, seed)):
        nuisance = fit_nuisance(
            X.iloc[train],
            time[train],
            event[train],
            treated[train],
            tau=tau,
            allocation=allocation,
            learner=learner,
        )
        scores[test] = nuisance.scores(X.iloc[test], time[test], event[test], treated[test])
    return scores

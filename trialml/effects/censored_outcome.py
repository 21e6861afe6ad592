"""What replaces an outcome that censoring may hide, within one arm: the censoring-unbiased transformation.

The outcome is Y = min(T, tau), or Y = 1{T > tau}. With m(x) = E[Y | x], Q(u | x) = E[Y | T > u, x], the censoring curve G,
its hazard's jumps dL = 1 - G(u) / G(u-), and V = min(U, tau) for the observed time U, Y is replaced by

    Y* = D Y / G(V-) + (1 - D) Q(V | x) / G(V) - sum over censoring times u <= V of Q(u | x) / G(u) dL(u),

D = 1 if the event happened or tau was reached (Rubin and van der Laan 2007, International Journal of Biostatistics 3(1)
art. 4; Cui et al. 2023, JRSS B 85:179-211, eq. 9). G is the arm's Kaplan-Meier curve of censoring, or is G(u | x) of a
model. Times within the tie tolerance of each other or of tau are one time: the sum jumps where a censoring falls before tau,
so a time that misses tau by a rounding error would otherwise be taken for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.result import counted
from trialml.survival.product_limit import Curve, censoring_curve, product_limit, step_at
from trialml.survival.ties import snapped

__all__ = ["ArmCurve", "CensoredArm", "Estimand", "SurvivalLearner", "SurvivalModel", "fit_arm"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Estimand = Literal["rmst", "survival"]

SMALLEST = 1e-12
"""A survival probability below this is as good as none: Q is then read as if this were left."""


class SurvivalModel(Protocol):
    """What a fitted outcome model must offer."""

    def survival(self, X: pd.DataFrame, times: Floats) -> Floats:
        """Return S(t | x), shape (n, number of times)."""


SurvivalLearner = Callable[[pd.DataFrame, Floats, Flags], SurvivalModel]
"""Fits an outcome model to one arm: covariates (n, p), times (n,), events (n,)."""


class ArmCurve:
    """An arm's Kaplan-Meier curve in the place of an outcome model: the same survival for everybody in it.

    Where an arm has too few events for a model, scores by its curve are as unbiased, since the allocation is known; they vary more.

    Parameters
    ----------
    time, event
        The arm's times and events, each of shape (n,).
    """

    def __init__(self, time: Floats, event: Flags) -> None:
        self._curve: Curve = product_limit(time, event)

    def survival(self, X: pd.DataFrame, times: Floats) -> Floats:
        """Return S(t), the same for every row of X, shape (n, number of times)."""
        at = step_at(self._curve.time, self._curve.survival, times)
        return np.tile(at, (len(X), 1))


class _Censoring(NamedTuple):
    """The censoring of one arm before tau.

    Attributes
    ----------
    when
        Distinct censoring times before tau, ascending, shape (u,).
    curve
        Kaplan-Meier's G just after each, shape (u,).
    model
        A model of G(u | x) in the curve's place, or None.
    """

    when: Floats
    curve: Floats
    model: SurvivalModel | None

    def after(self, X: pd.DataFrame) -> Floats:
        """Return G just after each censoring time, shape (n, u), or (1, u) where it is the same for all."""
        if self.model is None or not len(self.when):
            return self.curve[None, :]
        return np.asarray(self.model.survival(X, self.when), dtype=np.float64)


class _Rest(NamedTuple):
    """Survival of some patients on the arm's grid of times and the area under it up to each; shape (n, grid) each."""

    survival: Floats
    areas: Floats


@dataclass(frozen=True)
class CensoredArm:
    """What was learned from one arm: the outcome model, the censoring, and a grid of times that ends with tau."""

    model: SurvivalModel
    censoring: _Censoring
    grid: Floats
    known_times: Floats
    """Times that were learned from and tau, ascending."""
    estimand: Estimand

    @property
    def tau(self) -> float:
        """Where the mean is restricted, or survival is read."""
        return float(self.grid[-1])

    def expected_and_replaced(self, X: pd.DataFrame, time: Floats, event: Flags, who: Flags) -> tuple[Floats, Floats]:
        """Return m(x) of all patients, shape (n,), and Y* of those of this arm, shape (number in `who`,)."""
        rest = self._rest(X)
        own = _Rest(rest.survival[who], rest.areas[who])
        # A frame's rows are dear to pick, and a censoring curve that is the same for all does without.
        part = X if self.censoring.model is None else X[who]
        return self._expected(rest), self._replaced(part, own, time[who], event[who])

    def _rest(self, X: pd.DataFrame) -> _Rest:
        survival = np.asarray(self.model.survival(X, self.grid), dtype=np.float64)
        width = np.diff(self.grid, prepend=0.0)
        areas = np.empty(survival.shape)
        areas[:, 0] = width[0]
        np.multiply(survival[:, :-1], width[1:], out=areas[:, 1:])
        return _Rest(survival, np.cumsum(areas, axis=1, out=areas))

    def _expected(self, rest: _Rest) -> Floats:
        return np.asarray((rest.areas if self.estimand == "rmst" else rest.survival)[:, -1])

    def _replaced(self, X: pd.DataFrame, rest: _Rest, time: Floats, event: Flags) -> Floats:
        """Return Y* of the module's docstring, shape (n,)."""
        if not len(time):
            return np.empty(0)
        time = snapped(time, self.known_times)
        ended = np.minimum(time, self.tau)
        known = event | (time >= self.tau)
        when, after = self.censoring.when, self.censoring.after(X)
        before = np.column_stack([np.ones(len(after)), after[:, :-1]])
        # dL / G(u) in one difference, which adds up to 1 / G without an error where G is a step function.
        weight = 1 / after - 1 / before if len(when) else after
        left = self._ahead(rest, when[None, :])
        # At the same time an event comes before a censoring, so a patient with the event is not at risk of it.
        at_risk = np.where(known[:, None], when < ended[:, None], when <= ended[:, None])
        if self.estimand == "rmst":
            outcome = ended
        else:
            outcome = ((time > self.tau) | ((time >= self.tau) & ~event)).astype(np.float64)
        value = np.where(known, outcome, self._ahead(rest, ended[:, None])[:, 0])
        passed = at_risk.sum(axis=1)
        survived = np.column_stack([np.ones(len(after)), after])
        own = survived[0, passed] if len(after) == 1 else survived[np.arange(len(time)), passed]
        return np.asarray(value / own - (left * weight * at_risk).sum(axis=1))

    def _ahead(self, rest: _Rest, when: Floats) -> Floats:
        """Return Q(u | x), u either the same times for all, shape (1, u), or one for each patient, shape (n, 1)."""
        place = np.searchsorted(self.grid, when, side="right") - 1
        first, place = place < 0, np.maximum(place, 0)
        # A column for everybody is taken much faster than the same places row by row.
        picked = (slice(None), place[0]) if len(when) == 1 else (np.arange(len(when))[:, None], place)
        alive = np.where(first, 1.0, rest.survival[picked])
        if self.estimand == "survival":
            return np.asarray(rest.survival[:, -1:] / np.maximum(alive, SMALLEST))
        area = np.where(first, when, rest.areas[picked] + alive * (when - self.grid[place]))
        return np.asarray(when + (rest.areas[:, -1:] - area) / np.maximum(alive, SMALLEST))


def fit_arm(
    X: pd.DataFrame,
    time: Floats,
    event: Flags,
    tau: float,
    learner: SurvivalLearner,
    *,
    estimand: Estimand = "rmst",
    censoring: SurvivalLearner | None = None,
) -> CensoredArm:
    """Learn the outcome model and the censoring of one arm.

    Parameters
    ----------
    X, time, event
        The arm's covariates (n, p), times (n,), one value a tie, and events (n,).
    tau
        Where the mean is restricted, or survival is read.
    learner
        Fits the outcome model.
    estimand
        ``"rmst"`` or ``"survival"``.
    censoring
        Fits G(u | x), taking censorings before tau for events; None for the arm's Kaplan-Meier curve.

    Raises
    ------
    AnalysisError
        If no patient was followed to tau, or a censoring model cannot be learned.
    """
    if time.max() < tau:
        message = f"An arm's follow-up ends at {time.max():g}, before tau = {tau:g}: choose a smaller tau."
        raise AnalysisError(message)
    curve = censoring_curve(time, event)
    jumps = (curve.n_event > 0) & (curve.time < tau)
    model = None if censoring is None or not jumps.any() else _censoring_model(X, time, event, tau, censoring)
    return CensoredArm(
        learner(X, time, event),
        _Censoring(curve.time[jumps], curve.survival[jumps], model),
        np.append(np.unique(time[time < tau]), tau),
        np.union1d(curve.time, tau),
        estimand,
    )


def _censoring_model(
    X: pd.DataFrame, time: Floats, event: Flags, tau: float, censoring: SurvivalLearner
) -> SurvivalModel:
    ended = np.minimum(time, tau)
    lost = ~event & (time < tau)
    # Events leave the risk set before the censorings of the same time: halfway to the time before, they have left.
    distinct = np.unique(np.append(ended, 0.0))
    halfway = (distinct[np.searchsorted(distinct, ended) - 1] + ended) / 2
    try:
        return censoring(X, np.where(event & (time <= tau), halfway, ended), lost)
    except AnalysisError as error:
        raise AnalysisError(
            f"A model of the censoring cannot be learned from an arm with {counted(lost.sum(), 'patient')} censored before "
            f"{tau:g} ({error}): leave `censoring` out, for Kaplan-Meier weights."
        ) from error

"""Shapley values of any score: exact by enumeration of a few covariates, by sampled orders with a stated error of more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.tree_shap import refuse_broken_sum

__all__ = [
    "MOST_ENUMERATED",
    "FrameGame",
    "Game",
    "LineGame",
    "ShapleyValues",
    "means_of_sets",
    "shapley_enumerated",
    "shapley_sampled",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

MOST_ENUMERATED = 10
"""Covariates whose sets are all looked at: 1,024 of them."""
_AT_ONCE = 100_000


class ShapleyValues(NamedTuple):
    """Shapley values against a background.

    Attributes
    ----------
    values, mc_error : ndarray of shape (n, covariates, outputs)
        The values, and an upper bound on the Monte Carlo standard error of each; 0 where all sets were looked at.
    base : ndarray of shape (outputs,)
    error : float
        The largest absolute difference between ``base + values.sum(axis=1)`` and the score.
    """

    values: Floats
    base: Floats
    error: float
    mc_error: Floats


class Game(ABC):
    """A score of patients some of whose covariates are their own and the others a background patient's.

    Attributes
    ----------
    patients, background, covariates
        How many there are.
    """

    patients: int
    background: int
    covariates: int

    @abstractmethod
    def score(self, own: Flags, patient: Rows, other: Rows) -> Floats:
        """Return the score of patients, shape (r, outputs), whose covariates are their own where `own`, shape (r, covariates)."""

    def scores(self, own: Flags, patient: Rows, other: Rows) -> Floats:
        """Return `score`, some rows at a time."""
        parts = [
            self.score(own[at : at + _AT_ONCE], patient[at : at + _AT_ONCE], other[at : at + _AT_ONCE])
            for at in range(0, len(patient), _AT_ONCE)
        ]
        return np.concatenate(parts)

    def mean_known(self, known: Flags) -> Floats:
        """Return the mean over the background of each patient's score with a set of covariates known, shape (n, outputs)."""
        n, m = self.patients, self.background
        patient, other = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
        return np.asarray(self.scores(np.tile(known, (n * m, 1)), patient, other).reshape(n, m, -1).mean(axis=1))


class FrameGame(Game):
    """The score of a model that reads a frame.

    Parameters
    ----------
    value
        Returns the score of a frame's patients, shape (n, outputs).
    X, background
        Frames with the same columns, each column a covariate.
    """

    def __init__(self, value: Callable[[pd.DataFrame], Floats], X: pd.DataFrame, background: pd.DataFrame) -> None:
        self.value, self.patients, self.background = value, len(X), len(background)
        self.covariates, self.names, self.dtypes = X.shape[1], list(X.columns), X.dtypes
        self.columns = [(X[name].to_numpy(), background[name].to_numpy()) for name in self.names]

    def score(self, own: Flags, patient: Rows, other: Rows) -> Floats:
        """Return the model's score of the mixed rows, shape (r, outputs)."""
        mixed = {
            name: np.where(own[:, place], mine[patient], theirs[other])
            for place, (name, (mine, theirs)) in enumerate(zip(self.names, self.columns, strict=True))
        }
        return np.asarray(self.value(pd.DataFrame(mixed).astype(self.dtypes)), dtype=np.float64)


class LineGame(Game):
    """A score that is a function of the sum of what each covariate adds, as in a Cox model's survival.

    Parameters
    ----------
    link
        Returns the score of sums of shape (r,), shape (r, outputs).
    X, background
        What each covariate adds, shape (n, covariates) and (m, covariates).
    """

    def __init__(self, link: Callable[[Floats], Floats], X: Floats, background: Floats) -> None:
        self.link, self.X, self.others = link, X, background
        self.patients, self.background, self.covariates = len(X), len(background), X.shape[1]

    def score(self, own: Flags, patient: Rows, other: Rows) -> Floats:
        """Return the link of the mixed sums, shape (r, outputs)."""
        return np.asarray(self.link(np.where(own, self.X[patient], self.others[other]).sum(axis=1)), dtype=np.float64)

    def mean_known(self, known: Flags) -> Floats:
        """Return the mean over the background, from two sums a patient in the place of one a pair."""
        total = self.X[:, known].sum(axis=1)[:, None] + self.others[:, ~known].sum(axis=1)
        return np.asarray(self.link(total.ravel()).reshape(*total.shape, -1).mean(axis=1))


def shapley_enumerated(game: Game) -> ShapleyValues:
    """Return the exact Shapley values: every set of covariates is looked at.

    Parameters
    ----------
    game
        Of at most 10 covariates.

    Returns
    -------
    ShapleyValues
        ``sum over sets S without j of |S|! (p - |S| - 1)! / p! (v(S and j) - v(S))``, where v(S) is the mean score when the
        covariates in S are the patient's and the others those of each background patient in turn.

    Raises
    ------
    AnalysisError
        If there are more covariates.

    References
    ----------
    Shapley LS. A value for n-person games. In: Contributions to the theory of games II. Princeton, 1953.
    """
    sets, means = means_of_sets(game)
    n, p, size = game.patients, game.covariates, sets.sum(axis=1)
    values = np.empty((n, p, means.shape[2]))
    for j in range(p):
        without = np.flatnonzero(~sets[:, j])
        weight = np.array([1 / (p * comb(p - 1, one)) for one in size[without]])
        values[:, j] = np.einsum("s,sno->no", weight, means[without + (1 << j)] - means[without])
    base = means[0].mean(axis=0)
    return _checked(values, base, means[-1], np.zeros_like(values))


def means_of_sets(game: Game) -> tuple[Flags, Floats]:
    """Return every set of covariates, shape (2^p, p), and the mean score where those in it are known, shape (2^p, n, outputs).

    Raises
    ------
    AnalysisError
        If there are more than 10 covariates.
    """
    p = game.covariates
    if p > MOST_ENUMERATED:
        raise AnalysisError(
            f"{p} covariates have {2**p:,} sets, too many to look at each: sample their orders, or explain at most {MOST_ENUMERATED}."
        )
    sets = (np.arange(2**p)[:, None] >> np.arange(p)) & 1 == 1
    means = np.stack([game.mean_known(one) for one in sets])
    return sets, means


def shapley_sampled(game: Game, *, seed: int, rounds: int = 1) -> ShapleyValues:
    """Return Shapley values by sampled orders of the covariates, with a bound on their Monte Carlo error.

    Parameters
    ----------
    game
        What is explained.
    seed
        Of the orders.
    rounds
        How often each background patient is taken: in a random order of the covariates and in its reverse.

    Returns
    -------
    ShapleyValues
        Each background patient turns into the patient, one covariate after another; the value of a covariate is the mean change when
        it is its turn. What is additive in the score is exact, since every background patient is taken as often as the others; the
        error is that of the orders. With f and r the changes of one background patient in an order and its reverse, it is at most
        the root of ``sum((f - r)^2) / (2 pairs)^2``, since f and r do not go together.

    References
    ----------
    Strumbelj E, Kononenko I. Explaining prediction models and individual predictions with feature contributions. Knowl Inf Syst
    2014;41:647-665. Mitchell R, Cooper J, Frank E, Holmes G. Sampling permutations for Shapley value estimation. J Mach Learn Res
    2022;23:1-46.
    """
    p, n, m = game.covariates, game.patients, game.background
    draw = np.random.default_rng(seed)
    pairs, every = m * rounds, np.arange(p + 1)
    other = np.tile(np.arange(m), rounds)
    total, spread, base, own_score = 0.0, 0.0, 0.0, None
    at_once = max(1, _AT_ONCE // (n * (p + 1)))
    for start in range(0, pairs, at_once):
        now = other[start : start + at_once]
        rank = np.argsort(draw.random((len(now), n, p)), axis=2).argsort(axis=2)
        found = []
        for turn in (rank, p - 1 - rank):
            own = turn[:, :, None, :] < every[:, None]
            who = np.broadcast_to(np.arange(n)[:, None], own.shape[:3])
            whose = np.broadcast_to(now[:, None, None], own.shape[:3])
            score = game.scores(own.reshape(-1, p), who.ravel(), whose.ravel()).reshape(*own.shape[:3], -1)
            steps = np.diff(score, axis=2)
            found.append(np.take_along_axis(steps, turn[..., None], axis=2))
            base, own_score = base + score[:, 0, 0].sum(axis=0) / (2 * pairs), score[0, :, -1]
        total = total + (found[0] + found[1]).sum(axis=0) / (2 * pairs)
        spread = spread + ((found[0] - found[1]) ** 2).sum(axis=0)
    values = np.asarray(total)
    return _checked(values, np.asarray(base), np.asarray(own_score), np.sqrt(np.asarray(spread)) / (2 * pairs))


def _checked(values: Floats, base: Floats, said: Floats, mc_error: Floats) -> ShapleyValues:
    error = float(np.abs(values.sum(axis=1) + base - said).max(initial=0.0))
    return ShapleyValues(values, base, refuse_broken_sum(error, said), mc_error)

"""The scales on which a search looks for subgroups: residuals of one effect for all, resampled, and effects in groups."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trialml.effects.contrast import HAZARD_RATIO
from trialml.effects.permutation import permuted_arms
from trialml.errors import AnalysisError
from trialml.result import Z95, Estimate
from trialml.survival.arm_residuals import arm_score_residuals
from trialml.survival.cox import fit_cox, score_residuals
from trialml.survival.ties import tied_times
from trialml.validation.benefit import group_mean

__all__ = ["EffectScale", "HazardScale", "RefittedScores", "ScoreScale"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

RefittedScores = Callable[[Rows], tuple[Floats, Callable[[Rows], Floats]]]
"""From training rows to their cross-fitted scores and to a function from other rows to theirs, all by models of the training rows alone."""


class EffectScale(Protocol):
    """What a scale of the effect offers the search."""

    @property
    def by_information(self) -> bool:
        """Whether a subgroup's share is that of the information rather than of the patients."""

    @property
    def balance(self) -> NDArray[np.str_]:
        """What folds are balanced by, shape (n,)."""

    def residuals(self, rows: Rows) -> Floats:
        """Return the residuals of some patients, shape (number of rows,)."""

    def learned(self, train: Rows, test: Rows) -> tuple[Floats, Floats]:
        """Return the residuals of a fold's training patients, and what the effect in its test patients is read from, one value each."""

    def resampled(self, draws: int, generator: np.random.Generator) -> Floats:
        """Return residuals under the null hypothesis, shape (draws, n)."""

    def effect(self, inside: Flags) -> Estimate:
        """Return the effect among some patients; NaN where there is none."""

    def crossfitted(self, inside: Flags, held: Floats) -> Estimate:
        """Return the effect in a group that each repeat defined anew; membership and what `learned` gave, each of shape (repeats, n)."""


class HazardScale(NamedTuple):
    """Times, events, arms, cells of the randomisation and a prognostic index, each of shape (n,): effects are hazard ratios."""

    time: Floats
    event: Flags
    treated: Flags
    cells: NDArray[Any]
    offset: Floats

    @property
    def by_information(self) -> bool:
        """The subgroup's share of the information."""
        return True

    @property
    def balance(self) -> NDArray[np.str_]:
        """Arm and event."""
        return np.char.add(self.treated.astype(np.str_), self.event.astype(np.str_))

    def _arms(self, arms: Flags, rows: Rows) -> Floats:
        known = (tied_times(self.time[rows], float(self.time[rows].max())), self.event[rows])
        found = arm_score_residuals(*known, arms, strata=self.cells[rows], offset=self.offset[rows])
        return -found.residuals

    def residuals(self, rows: Rows) -> Floats:
        """Return the residuals of some patients."""
        return np.asarray(self._arms(self.treated[None, rows], rows)[0])

    def learned(self, train: Rows, test: Rows) -> tuple[Floats, Floats]:
        """Return the residuals of the training patients; effects are read from times and events, as they are."""
        return self.residuals(train), np.zeros(len(test))

    def resampled(self, draws: int, generator: np.random.Generator) -> Floats:
        """Permute the treatment within cells."""
        arms = permuted_arms(self.treated, self.cells, draws, generator)[:, 1:].T > 0
        return self._arms(arms, np.arange(self.time.size))

    def _known(self, inside: Flags) -> tuple[Floats, Flags, Floats]:
        return self.time[inside], self.event[inside], self.treated[inside].astype(np.float64)[:, None]

    def _log_ratio(self, inside: Flags) -> tuple[float, float, float]:
        """Return the stratified log hazard ratio, its variance and its robust variance; NaN without a finite answer."""
        known = self._known(inside)
        if any(not known[1][known[2][:, 0] == arm].any() for arm in (0.0, 1.0)):
            return math.nan, math.nan, math.nan
        try:
            fit = fit_cox(*known, strata=self.cells[inside])
        except AnalysisError:
            return math.nan, math.nan, math.nan
        residuals = score_residuals(*known, fit.coefficients, strata=self.cells[inside])
        robust = float(((residuals @ fit.covariance) ** 2).sum())
        return float(fit.coefficients[0]), float(fit.covariance[0, 0]), robust

    def _ratio(self, log_ratio: float, se: float, **known: Any) -> Estimate:
        low, high = math.exp(log_ratio - Z95 * se), math.exp(log_ratio + Z95 * se)
        return Estimate(math.exp(log_ratio), low, high, se=se, scale=HAZARD_RATIO, **known)

    def effect(self, inside: Flags) -> Estimate:
        """Return the stratified hazard ratio."""
        log_ratio, variance, _ = self._log_ratio(inside)
        return self._ratio(log_ratio, math.sqrt(variance), kind="apparent")

    def crossfitted(self, inside: Flags, held: Floats) -> Estimate:  # noqa: ARG002  (read where effects are means of scores)
        """Average the log hazard ratio over repeats."""
        each = np.array([self._log_ratio(member) for member in inside])
        log_ratio, variance = each[:, 0].mean(), each[:, 2].mean()
        method = "mean log hazard ratio of the repeats, robust standard error of one"
        return self._ratio(float(log_ratio), math.sqrt(variance), kind="crossfit", method=method)


class ScoreScale(NamedTuple):
    """Doubly robust scores, arms and cells of the randomisation, each of shape (n,): effects are mean scores."""

    score: Floats
    treated: Flags
    cells: NDArray[Any]
    allocation: float
    scale: str
    unit: str
    refitted: RefittedScores | None = None

    @property
    def by_information(self) -> bool:
        """The subgroup's share of the patients."""
        return False

    @property
    def balance(self) -> NDArray[np.str_]:
        """The arm."""
        return self.treated.astype(np.str_)

    def residuals(self, rows: Rows) -> Floats:
        """Return the residuals of some patients."""
        return np.asarray(self.score[rows] - self.score[rows].mean())

    def learned(self, train: Rows, test: Rows) -> tuple[Floats, Floats]:
        """Return the training patients' residuals and the test patients' scores, by models of the training patients where they are given."""
        if self.refitted is None:
            return self.residuals(train), self.score[test]
        own, scores_of = self.refitted(train)
        return np.asarray(own - own.mean()), scores_of(test)

    def resampled(self, draws: int, generator: np.random.Generator) -> Floats:
        """Permute the treatment within cells in each score's weight, and take the mean off again."""
        arms = permuted_arms(self.treated, self.cells, draws, generator)
        weight, drawn = (one - self.allocation for one in (self.treated, arms[:, 1:].T))
        moved = drawn / weight * self.residuals(np.arange(self.score.size))
        return np.asarray(moved - moved.mean(axis=1, keepdims=True))

    def _mean(self, value: float, se: float, **known: Any) -> Estimate:
        return Estimate(value, value - Z95 * se, value + Z95 * se, se=se, scale=self.scale, unit=self.unit, **known)

    def effect(self, inside: Flags) -> Estimate:
        """Return the mean score."""
        own = self.score[inside]
        return self._mean(float(own.mean()), float(own.std(ddof=1) / math.sqrt(own.size)), kind="apparent")

    def crossfitted(self, inside: Flags, held: Floats) -> Estimate:
        """Average the group's mean score over repeats."""
        value, se = group_mean(held, inside)
        return self._mean(value, se, kind="crossfit", method="mean of the repeats, standard error of one")

"""Person-period data: each patient's follow-up cut at quantiles of the event times, and trees that learn a hazard from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from trialml.models.tree_arrays import TreeArrays
from trialml.survival.ties import TIE_TOLERANCE

__all__ = ["HazardTrees", "PersonPeriods", "period_ends", "shares_of_periods"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def period_ends(time: Floats, event: NDArray[np.bool_], periods: int) -> Floats:
    """Return where the periods end, shape (at most `periods`,): quantiles of the event times, the last the end of follow-up.

    Fewer where events are tied, or where a period would hold less than 10 events.
    """
    happened = np.sort(time[event & (time > 0)])
    wanted = max(1, min(periods, len(happened) // 10))
    cuts = np.quantile(happened, np.arange(1, wanted) / wanted, method="inverted_cdf") if wanted > 1 else np.empty(0)
    return np.asarray(np.unique(np.append(cuts[cuts < time.max()], time.max())), dtype=np.float64)


def shares_of_periods(times: Floats, ends: Floats) -> Floats:
    """Return the share of each period that has passed at each time, shape (times, periods)."""
    starts = np.concatenate([[0.0], ends[:-1]])
    return np.asarray(np.clip((times[:, None] - starts) / (ends - starts), 0.0, 1.0), dtype=np.float64)


class PersonPeriods(NamedTuple):
    """One row a patient and period at risk.

    Attributes
    ----------
    patient, period : ndarray of int, shape (m,)
    exposure : ndarray of float, shape (m,)
        Share of the period under observation, above 0.
    last : ndarray of int, shape (n,)
        The period in which each patient's follow-up ends.
    """

    patient: Ints
    period: Ints
    exposure: Floats
    last: Ints

    @classmethod
    def of(cls, time: Floats, ends: Floats) -> Self:
        """Cut follow-up times at `ends`; a time that is an end belongs to the period that it ends."""
        last = np.minimum(np.searchsorted(ends, time * (1 - TIE_TOLERANCE)), len(ends) - 1)
        patient = np.repeat(np.arange(len(time)), last + 1)
        first = np.repeat(np.cumsum(last + 1) - (last + 1), last + 1)
        period = np.arange(len(patient)) - first
        starts = np.concatenate([[0.0], ends[:-1]])
        share = (time[patient] - starts[period]) / (ends - starts)[period]
        return cls(patient, period, np.clip(share, 1e-9, 1.0), last)


class HazardTrees(NamedTuple):
    """A hazard of one kind of event, constant within a period: the marginal one times what the trees say.

    Attributes
    ----------
    marginal : ndarray of float, shape (periods,)
        Events divided by exposure, each period counting as 1.
    share : ndarray of float, shape (periods,)
        Share of the events in each period.
    trees : TreeArrays or None
        Log of the hazard relative to the marginal one, given covariates and period; None without covariates.
    """

    marginal: Floats
    share: Floats
    trees: TreeArrays | None

    def log_relative(self, matrix: Floats) -> Floats:
        """Return the log hazard relative to the marginal one in each period, shape (n, periods)."""
        if self.trees is None:
            return np.zeros((len(matrix), len(self.marginal)))
        return self.trees.totals_over(matrix, len(self.marginal))

    def hazards(self, matrix: Floats) -> Floats:
        """Return the cumulative hazard over each whole period, shape (n, periods)."""
        return np.asarray(self.marginal * np.exp(self.log_relative(matrix)))

    def score(self, matrix: Floats) -> Floats:
        """Return the log relative hazard averaged over the times of events, higher is worse, shape (n,)."""
        return np.asarray((self.log_relative(matrix) * self.share).sum(axis=1))

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        trees = None if self.trees is None else self.trees.state()
        return {"marginal": self.marginal.tolist(), "share": self.share.tolist(), "trees": trees}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the hazard that `state` described."""
        trees = None if state["trees"] is None else TreeArrays.from_state(state["trees"])
        return cls(np.asarray(state["marginal"]), np.asarray(state["share"]), trees)

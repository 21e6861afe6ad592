"""The Cox partial likelihood as a function of each patient's own linear predictor, for models that are no sum of columns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trialml.survival.cox_fit import CoxProblem, CoxState, Ties
from trialml.survival.ties import Array

__all__ = ["PredictorDerivatives", "PredictorLikelihood"]


class PredictorDerivatives(NamedTuple):
    """What the log-likelihood does where each patient's linear predictor moves alone.

    Attributes
    ----------
    gradient
        First derivatives, the martingale residuals, shape ``(n,)``.
    curvature
        Minus the second derivatives, without those of two patients, shape ``(n,)``; 0 or more.
    """

    gradient: Array
    curvature: Array


class PredictorLikelihood:
    """The data of a partial likelihood, sorted once; every linear predictor then costs a pass over the rows.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``; at least one event.
    ties
        ``"efron"`` or ``"breslow"``.

    Notes
    -----
    With r the relative hazards and D the risk-set totals of `CoxProblem`, a patient's derivatives are ``d - r A`` and
    ``r A - r^2 B``: A and B are the sums of 1/D and 1/D^2 over the events at which the patient is at risk, each tied event of the
    patient's own counted with the share ``1 - l/m`` and its square (Efron).

    References
    ----------
    Ridgeway G. The state of boosting. Computing Science and Statistics 1999;31:172-181.
    """

    def __init__(self, time: Any, event: Any, *, ties: Ties = "efron") -> None:
        self._problem = CoxProblem(time, event, np.empty((len(time), 0)), ties=ties)

    def log_likelihood(self, predictor: Array) -> float:
        """Return the partial log-likelihood at linear predictors of shape ``(n,)``."""
        return self._at(predictor).log_likelihood

    def derivatives(self, predictor: Array) -> PredictorDerivatives:
        """Return the derivatives at linear predictors of shape ``(n,)``."""
        problem, state = self._problem, self._at(predictor)
        weight, slots, relative = state.slots[0], state.slots, state.relative
        squares = problem.layout.over_slots(weight * slots[3])
        own = (weight * (2 * slots[4] - slots[5]))[problem.layout.row_slot]
        squares -= np.where(problem.event, own, 0.0)
        expected = relative * problem.accumulated(state)
        gradient, curvature = np.empty(relative.size), np.empty(relative.size)
        gradient[problem.order] = problem.event - expected
        # A patient alone at risk bends nothing, which rounding may turn below 0.
        curvature[problem.order] = np.maximum(expected - relative**2 * squares, 0.0)
        return PredictorDerivatives(gradient, curvature)

    def _at(self, predictor: Array) -> CoxState:
        self._problem.offset = np.asarray(predictor, dtype=float)[self._problem.order]
        return self._problem.state(np.empty(0))

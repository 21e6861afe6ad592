"""Follow-up of some patients, and how predicted risks are judged by it: `Observed` of a time to event."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.survival.calibration import calibration_slope, smooth_calibration
from trialml.survival.concordance import concordance, sorted_concordance
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.ipcw import Outcome, censoring_of, checked_horizon, checked_outcome, observed_risk
from trialml.survival.ties import not_after
from trialml.validation.endpoint_measures import Observed, Predictions

__all__ = ["CLOSE", "ObservedSurvival"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

CLOSE = 1e-7
"""Of Newton's method: with a thousand events the coefficients are then within 1e-6 standard errors of the root."""


class ObservedSurvival(Observed):
    """Follow-up with one event, perhaps with competing ones, judged at a horizon.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    horizon, unit
        Where risks are read; at least 10 patients must be followed beyond it.
    competing
        True where another event ended follow-up, after which the event cannot happen, shape ``(n,)``.
    tau
        Pairs of the C whose first event is later do not count; None keeps all.
    """

    ordering = "Harrell's C"

    def __init__(
        self, time: Any, event: Any, *, horizon: float, unit: str = "", competing: Any = None, tau: float | None = None
    ) -> None:
        self.outcome = checked_outcome(time, event, competing)
        self.horizon, self.unit, self.tau = horizon, unit, tau

    @property
    def n(self) -> int:
        """How many patients there are."""
        return int(self.outcome.time.size)

    @property
    def events(self) -> int:
        """How many have had the event by the horizon."""
        return int(self._happened.sum())

    @property
    def all_events(self) -> int:
        """How many have had the event at any time."""
        return int(self.outcome.event.sum())

    @cached_property
    def _sorted(self) -> CoxProblem:
        """The patients without covariates, sorted once for all that is read of them."""
        return CoxProblem(self.outcome.time, self.outcome.event, np.zeros((self.n, 0)))

    @cached_property
    def _beyond(self) -> Flags:
        return checked_horizon(self.outcome.time, self._at)

    @property
    def _at(self) -> float:
        assert self.horizon is not None
        return self.horizon

    @cached_property
    def _happened(self) -> Flags:
        return self.outcome.event & ~self._beyond

    @cached_property
    def _weight(self) -> Floats:
        return censoring_of(self.outcome, None).weights(self._beyond, self._at)

    def sample(self, rows: Rows) -> Self:
        """Return these rows as observed patients of their own, with their own censoring."""
        time, event, competing = (part[rows] for part in self.outcome)
        return type(self)(time, event, horizon=self._at, unit=self.unit, competing=competing, tau=self.tau)

    def predict(self, model: Any, X: pd.DataFrame) -> Predictions:
        """Return risks by the horizon, and the log hazard or whatever else orders patients."""
        linear = hasattr(model, "log_hazard")
        score = np.asarray((model.log_hazard if linear else model.predict)(X), dtype=float)
        # A known risk of the score saves the second pass over the covariates.
        of_score = getattr(model, "risk_of", None)
        risk = of_score(score, self._at) if of_score is not None else model.risk(X, self._at)
        return Predictions(np.asarray(risk, dtype=float), score, linear)

    def null(self, rows: Rows | None = None) -> float:
        """Return the Kaplan-Meier, with competing events the Aalen-Johansen risk of these rows."""
        time, event, competing = self.outcome
        if rows is None and not competing.any():
            layout = self._sorted.layout
            early = not_after(layout.slot_time, self._at) & (layout.slot_dead > 0)
            # Rows stand by falling time, so that where a slot ends is the number at risk.
            return 1 - float(np.prod(1 - layout.slot_dead[early] / layout.slot_row[1:][early]))
        own = self.outcome if rows is None else Outcome(time[rows], event[rows], competing[rows])
        return float(observed_risk(own, self._at))

    def losses(self, value: Floats) -> Floats:
        """Return squared errors times the inverse probability of remaining uncensored."""
        return np.asarray(self._weight * (self._happened - value) ** 2)

    def slope(self, made: Predictions) -> float:
        """Return the coefficient of a log hazard in a Cox model; of other scores, and with competing events, `calibration_slope`."""
        if np.ptp(made.score) <= 0 or np.ptp(made.value) <= 0:
            return 0.0
        time, event, competing = self.outcome
        if competing.any() or not made.log_hazard:
            return calibration_slope(time, event, made.value, self._at, competing=competing)[0]
        problem = copy(self._sorted)
        problem.replace_columns(made.score[:, None])
        return float(problem.fit(start=np.ones(1), tol=CLOSE, near=True).coefficients[0])

    def in_the_large(self, value: Floats) -> float:
        """Return the observed risk over the mean predicted one."""
        return self.null() / float(value.mean())

    def curve(self, value: Floats, at: Floats) -> Floats:
        """Return the curve of `smooth_calibration`."""
        time, event, competing = self.outcome
        return smooth_calibration(time, event, value, self._at, competing=competing).at(at)[0]

    def order(self, score: Floats) -> float:
        """Return Harrell's C."""
        time, event, competing = self.outcome
        if competing.any():
            return concordance(time, event, score, tau=self.tau, competing=competing).value
        within = event if self.tau is None else event & not_after(time, self.tau)
        return sorted_concordance(self._sorted.layout, within, score)

"""What was observed of some patients, and how predictions of it are judged: one class a kind of endpoint."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.models.outcome import BinaryOutcome
from trialml.survival.auc import weighted_auc
from trialml.survival.binomial import binomial_maximum, linked
from trialml.survival.calibration import calibration_slope, smooth_calibration, smooth_curve
from trialml.survival.concordance import concordance
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.ipcw import (
    Outcome,
    censoring_of,
    checked_horizon,
    checked_outcome,
    checked_risk,
    observed_risk,
)
from trialml.survival.spline import restricted_cubic, spline_knots
from trialml.validation.measured import SHORT

__all__ = ["SHORT", "Observed", "ObservedBinary", "ObservedContinuous", "ObservedSurvival", "Predictions"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


class Predictions(NamedTuple):
    """What a model predicts.

    Attributes
    ----------
    value
        Risks or means, shape ``(n,)``.
    score
        What orders patients, shape ``(n,)``.
    log_hazard
        Whether the score is a log hazard, whose coefficient in a Cox model is the calibration slope.
    """

    value: Floats
    score: Floats
    log_hazard: bool = False


class Observed(ABC):
    """The outcomes of n patients, whatever the kind of endpoint.

    A sample of them learns its own censoring, so that nothing of the other patients is in its numbers.
    """

    loss: ClassVar[str] = "Brier score"
    """What a patient's loss averages to; lower is better."""
    gain: ClassVar[str] = "IPA"
    """``1 - loss / loss of one prediction for everybody``."""
    ordering: ClassVar[str | None] = None
    """How well the score orders patients; None where the endpoint has no such measure."""
    balance: ClassVar[str] = "observed over expected"
    """How the predictions compare with what was observed on average."""
    predicted: ClassVar[str] = "risk"
    """What is predicted."""
    horizon: float | None = None
    """Where risks are read; None where there is no follow-up."""
    unit: str = ""
    """Of the horizon, or of a continuous endpoint."""

    def __len__(self) -> int:
        return self.n

    @property
    @abstractmethod
    def n(self) -> int:
        """How many patients there are."""

    @property
    @abstractmethod
    def events(self) -> int:
        """How many have the event (by the horizon); 0 for a continuous endpoint."""

    @property
    def all_events(self) -> int:
        """How many have the event at any time."""
        return self.events

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of what `judge` returns."""
        own = (self.ordering,) if self.ordering else ()
        return (*own, "calibration slope", self.loss, self.gain)

    @abstractmethod
    def sample(self, rows: Rows) -> Self:
        """Return these rows, perhaps with copies, as observed patients of their own."""

    @abstractmethod
    def predict(self, model: Any, X: pd.DataFrame) -> Predictions:
        """Return what a fitted model of this kind of endpoint predicts for X."""

    @abstractmethod
    def null(self, rows: Rows | None = None) -> float:
        """Return the one prediction for everybody that these rows teach, all by default."""

    @abstractmethod
    def losses(self, value: Floats) -> Floats:
        """Return each patient's loss, weighted for censoring, of predictions of shape ``(..., n)``."""

    @abstractmethod
    def slope(self, made: Predictions) -> float:
        """Return the calibration slope; 0 where all predictions are one."""

    @abstractmethod
    def in_the_large(self, value: Floats) -> float:
        """Return `balance` of the predictions."""

    @abstractmethod
    def curve(self, value: Floats, at: Floats) -> Floats:
        """Return what was observed, smooth, at predictions of shape ``(m,)``.

        Raises
        ------
        AnalysisError
            If events are too few or all predictions are one.
        """

    def order(self, score: Floats) -> float:  # noqa: ARG002  (an endpoint without `ordering` has none)
        """Return `ordering` of a score."""
        return math.nan

    @cached_property
    def null_loss(self) -> float:
        """The mean loss of the one prediction for everybody that these patients themselves teach."""
        return float(self.losses(np.full(self.n, self.null())).mean())

    def judge(self, made: Predictions) -> Floats:
        """Return `measures`, shape ``(k,)``."""
        loss = float(self.losses(made.value).mean())
        gain = 1 - loss / self.null_loss if self.null_loss > 0 else math.nan
        own = (self.order(made.score),) if self.ordering else ()
        return np.array([*own, self.slope(made), loss, gain])


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
        return float(CoxProblem(time, event, made.score[:, None]).fit(start=np.ones(1)).coefficients[0])

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
        return concordance(time, event, score, tau=self.tau, competing=competing).value


class ObservedBinary(Observed):
    """Whether an event happened, or happened within a window.

    Parameters
    ----------
    y
        As a binary model of `trialml.models` takes it: True and False, `binary_outcome` or `window_outcome`, whose
        patients censored before the window's end are made up for by weights. Shape ``(n,)``.
    """

    ordering = "AUC"

    def __init__(self, y: Any) -> None:
        self.y = np.asarray(y)
        self.happened, self.weight = BinaryOutcome.of(self.y)

    @property
    def n(self) -> int:
        """How many patients there are."""
        return int(self.happened.size)

    @property
    def events(self) -> int:
        """How many are known to have the event."""
        return int((self.happened & (self.weight > 0)).sum())

    def sample(self, rows: Rows) -> Self:
        """Return these rows as observed patients of their own, with their own weights."""
        return type(self)(self.y[rows])

    def predict(self, model: Any, X: pd.DataFrame) -> Predictions:
        """Return the probabilities of the event, which order patients too."""
        risk = checked_risk(model.risk(X), len(X), "the predicted risk")
        return Predictions(risk, risk)

    def null(self, rows: Rows | None = None) -> float:
        """Return the weighted share with the event."""
        if rows is None:
            return float(self.weight @ self.happened / self.weight.sum())
        counted = self.happened[rows][self.weight[rows] > 0]
        if counted.all() or not counted.any():  # a few rows may hold one kind alone, which a model would refuse
            return float(counted.any())
        own = BinaryOutcome.of(self.y[rows])
        return float(own.weight @ own.event / own.weight.sum())

    def losses(self, value: Floats) -> Floats:
        """Return weighted squared errors."""
        return np.asarray(self.weight * (self.happened - value) ** 2)

    def slope(self, made: Predictions) -> float:
        """Return the coefficient of the log odds in a weighted logistic regression."""
        score = linked(made.value, "logit")
        if np.ptp(score) <= 0:
            return 0.0
        design = np.column_stack([np.ones(self.n), score])
        return float(binomial_maximum(design, self.happened, self.weight, "logit")[1])

    def in_the_large(self, value: Floats) -> float:
        """Return the weighted share with the event over the mean predicted risk."""
        return self.null() / float(value.mean())

    def curve(self, value: Floats, at: Floats) -> Floats:
        """Return a weighted logistic curve on a restricted cubic spline of the log odds."""
        return smooth_curve(self.happened, value, self.weight, np.zeros_like, link="logit").at(at)[0]

    def order(self, score: Floats) -> float:
        """Return the area under the ROC curve."""
        return weighted_auc(score, self.happened, self.weight)[0]


class ObservedContinuous(Observed):
    """Numbers.

    Parameters
    ----------
    y
        Finite numbers that are not all one, shape ``(n,)``.
    unit
        Their unit.
    """

    loss = "mean squared error"
    gain = "R²"
    balance = "observed less predicted mean"
    predicted = "mean"

    def __init__(self, y: Any, unit: str = "") -> None:
        self.y, self.unit = np.asarray(y, dtype=float), unit
        if self.y.ndim != 1 or not self.y.size or not np.isfinite(self.y).all():
            raise DataError(
                f"y has shape {self.y.shape} or holds missing or infinite numbers: pass one finite number a patient"
            )
        if np.ptp(self.y) <= 0:
            raise AnalysisError(f"all {self.y.size} numbers are {self.y[0]:g}: there is nothing to predict")

    @property
    def n(self) -> int:
        """How many patients there are."""
        return int(self.y.size)

    @property
    def events(self) -> int:
        """There are none."""
        return 0

    def sample(self, rows: Rows) -> Self:
        """Return these rows as observed patients of their own."""
        return type(self)(self.y[rows], self.unit)

    def predict(self, model: Any, X: pd.DataFrame) -> Predictions:
        """Return the predicted means."""
        value = np.asarray(model.predict(X), dtype=float)
        if value.shape != (len(X),) or not np.isfinite(value).all():
            raise DataError(
                f"the predicted means have shape {value.shape} or are not finite for {len(X)} patients: look at the model"
            )
        return Predictions(value, value)

    def null(self, rows: Rows | None = None) -> float:
        """Return the mean."""
        return float((self.y if rows is None else self.y[rows]).mean())

    def losses(self, value: Floats) -> Floats:
        """Return squared errors."""
        return np.asarray((self.y - value) ** 2)

    def slope(self, made: Predictions) -> float:
        """Return the coefficient of the prediction in a least-squares regression."""
        apart = made.value - made.value.mean()
        spread = float(apart @ apart)
        return float(apart @ self.y) / spread if np.ptp(made.value) > 0 else 0.0

    def in_the_large(self, value: Floats) -> float:
        """Return the mean difference of what was observed and predicted."""
        return float((self.y - value).mean())

    def curve(self, value: Floats, at: Floats) -> Floats:
        """Return a least-squares curve on a restricted cubic spline of the prediction."""
        if np.ptp(value) <= 0:
            raise AnalysisError(f"all predictions are {value[0]:g}: a calibration curve needs predictions that differ")
        places = spline_knots(value)
        columns, new = (np.column_stack([np.ones(x.size), restricted_cubic(x, places)]) for x in (value, at))
        return np.asarray(new @ np.linalg.lstsq(columns, self.y, rcond=None)[0])

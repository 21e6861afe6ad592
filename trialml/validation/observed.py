"""What was observed of some patients, and how predictions of it are judged: one class a kind of endpoint."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.models.outcome import BinaryOutcome
from trialml.survival.auc import weighted_auc
from trialml.survival.binomial import binomial_maximum, linked
from trialml.survival.calibration import smooth_curve
from trialml.survival.ipcw import checked_risk
from trialml.survival.spline import restricted_cubic, spline_knots
from trialml.validation.endpoint_measures import Observed, Predictions

__all__ = ["ObservedBinary", "ObservedContinuous"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


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

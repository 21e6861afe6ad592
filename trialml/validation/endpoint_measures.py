"""What every kind of endpoint offers to validation: a loss, a null model, and the measures of a prediction."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Observed", "Predictions"]

Floats = NDArray[np.float64]
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

    def judge(self, made: Predictions, slope: float | None = None) -> Floats:
        """Return `measures`, shape ``(k,)``, with a calibration slope that is known."""
        loss = float(self.losses(made.value).mean())
        gain = 1 - loss / self.null_loss if self.null_loss > 0 else math.nan
        own = (self.order(made.score),) if self.ordering else ()
        return np.array([*own, self.slope(made) if slope is None else slope, loss, gain])

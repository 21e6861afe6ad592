"""How well a fitted risk model does on patients, as one number for scikit-learn's searches: higher is better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from trialml.models.outcome import BinaryOutcome
from trialml.survival.concordance import concordance

__all__ = ["ScoredByConcordance", "ScoredByLogLoss", "ScoredByVariance"]


class ScoredByConcordance:
    """Time to event and competing risks."""

    def score(self: Any, X: pd.DataFrame, y: Any) -> float:
        """Return Harrell's concordance of ``predict(X)``; with competing events that of the first cause."""
        if "cause" in y.dtype.names:
            found = concordance(y["time"], y["cause"] == 1, self.predict(X), competing=y["cause"] > 1)
        else:
            found = concordance(y["time"], y["event"], self.predict(X))
        return float(found.value)


class ScoredByLogLoss:
    """Binary endpoints."""

    def score(self: Any, X: pd.DataFrame, y: Any) -> float:
        """Return the mean log-likelihood of the predicted probabilities, weighted where the outcome is."""
        outcome = BinaryOutcome.of(y)
        risk = np.clip(self.risk(X), 1e-15, 1 - 1e-15)
        return float(np.average(np.log(np.where(outcome.event, risk, 1 - risk)), weights=outcome.weight))


class ScoredByVariance:
    """Continuous endpoints."""

    def score(self: Any, X: pd.DataFrame, y: Any) -> float:
        """Return the share of the variance explained, ``1 - sum((y - predicted)^2) / sum((y - mean)^2)``."""
        left, spread = y - self.predict(X), y - np.mean(y)
        return float(1 - left @ left / (spread @ spread))

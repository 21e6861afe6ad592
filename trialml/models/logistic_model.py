"""What the logistic risk models share: everything but how the coefficients are found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.data.folds import fold_labels, splits
from trialml.errors import AnalysisError
from trialml.models.encode import CovariateEncoder
from trialml.models.linear_design import LinearDesign, copies_of, refuse_perfect_prediction
from trialml.models.outcome import BinaryOutcome
from trialml.models.score import ScoredByLogLoss

__all__ = ["LogisticModel"]

Floats = NDArray[np.float64]
Path = Callable[[Floats, BinaryOutcome], Floats]

FEWEST_OF_A_KIND = 5


class LogisticModel(ScoredByLogLoss, LinearDesign, ABC):
    """A logistic model of encoded covariates, for whether an event happened or happened within a window.

    A patient who was censored before a window ends counts neither as having the event nor as free of it: the patients
    whose outcome is known are weighted for those like them who are not (`BinaryOutcome.of`), in each fold anew.

    Attributes
    ----------
    encoder_ : CovariateEncoder
    intercept_ : float
        Log odds of an average patient of the control arm.
    coefficients_ : ndarray of shape (k,)
        Log odds ratio for one standard deviation of each column of the encoder.
    treatment_coefficient_ : float
        Log odds ratio of the arm, conditional on the covariates; 0 without a treatment column.
    penalty_ : float
    classes_ : ndarray
        False and True, the columns of `predict_proba`.
    """

    folds: int
    seed: int
    penalty_: float

    @abstractmethod
    def _learn(self, design: Floats, outcome: BinaryOutcome, y: Any, copies: pd.Index | None) -> Floats:
        """Return intercept and coefficients of the design, shape (1 + k,), setting what was tuned on the way."""

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Fit on covariates X, shape (n, p), and a binary outcome y of `trialml.models.outcome`, shape (n,).

        Raises
        ------
        AnalysisError
            If fewer than 5 patients are known to have the event, or fewer than 5 to be free of it, or a covariate parts
            them without an error.
        DataError
            If y is no binary outcome.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        outcome = BinaryOutcome.of(y)
        counted = outcome.weight > 0
        events, free = int(outcome.event[counted].sum()), int((~outcome.event[counted]).sum())
        if min(events, free) < FEWEST_OF_A_KIND:
            raise AnalysisError(
                f"A logistic model cannot be fitted to {events} patients with the event and {free} without: at least "
                f"{FEWEST_OF_A_KIND} of each are needed."
            )
        design = self._learn_design(X)
        arm = 1 if self.treatment is not None else 0
        names, event = self._column_names()[arm:], outcome.event[counted]
        refuse_perfect_prediction(design[counted, arm:], names, np.where(event, 1.0, 2.0), event)
        beta = self._learn(design, outcome, y, copies_of(X))
        self.intercept_ = float(beta[0])
        self.treatment_coefficient_ = float(beta[1]) if arm else 0.0
        self.coefficients_ = np.asarray(beta[1 + arm :])
        self.classes_ = np.asarray([False, True])
        return self

    def log_odds(self, X: pd.DataFrame) -> Floats:
        """Return the log odds of the event, shape (n,)."""
        check_is_fitted(self, "coefficients_")
        score, arm = self.intercept_ + self.encoder_.transform(X) @ self.coefficients_, self._arm(X)
        return np.asarray(score if arm is None else score + self.treatment_coefficient_ * arm, dtype=np.float64)

    def risk(self, X: pd.DataFrame) -> Floats:
        """Return the probability of the event, shape (n,)."""
        return np.asarray(0.5 * (1 + np.tanh(0.5 * self.log_odds(X))), dtype=np.float64)

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the probability of the event, shape (n,)."""
        return self.risk(X)

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Return the probabilities without and with the event, shape (n, 2)."""
        risk = self.risk(X)
        return np.column_stack([1 - risk, risk])

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "encoder": self.encoder_.state(),
            "treatment": self.treatment,
            "intercept": self.intercept_,
            "coefficients": self.coefficients_.tolist(),
            "treatment_coefficient": self.treatment_coefficient_,
            "penalty": self.penalty_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["treatment"])
        model.encoder_ = CovariateEncoder.from_state(state["encoder"])
        model.intercept_ = float(state["intercept"])
        model.coefficients_ = np.asarray(state["coefficients"], dtype=np.float64)
        model.treatment_coefficient_ = float(state["treatment_coefficient"])
        model.penalty_ = float(state["penalty"])
        model.classes_ = np.asarray([False, True])
        return model

    def _best(self, design: Floats, outcome: BinaryOutcome, y: Any, path: Path, copies: pd.Index | None) -> int:
        """Return which model of a path has the largest weighted log-likelihood in folds that it did not see."""
        arm = design[:, 0].astype(np.str_) if self.treatment is not None else np.full(len(design), "all")
        kind = np.where(outcome.weight > 0, np.where(outcome.event, "event", "free"), "unknown")
        fold = fold_labels(np.char.add(arm, kind), self.folds, self.seed, copies)
        score: Floats | float = 0.0
        for train, test in splits(fold):
            eta = self._lines(design[test], path(design[train], BinaryOutcome.of(y[train])))
            gain = np.where(outcome.event[test], -np.logaddexp(0.0, -eta), -np.logaddexp(0.0, eta))
            score = score + gain @ outcome.weight[test]
        return int(np.argmax(score))

    @staticmethod
    def _lines(design: Floats, beta: Floats) -> Floats:
        return np.asarray(beta[:, :1] + beta[:, 1:] @ design.T)

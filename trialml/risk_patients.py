"""Whom the risk model is learned from and judged on, what it sees of the arm, and how one is fitted to some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.benefit_model import ARM
from trialml.data.rare_levels import group_words
from trialml.errors import AnalysisError
from trialml.learning import Learning
from trialml.models import Model, model_named
from trialml.models.cox_model import FEWEST_EVENTS, HazardModel
from trialml.models.outcome import competing_outcome, survival_outcome
from trialml.result import counted
from trialml.survival.calibration import cloglog
from trialml.survival.ties import not_after
from trialml.validation.crossvalidation import ArmUse

__all__ = ["ARM_WORDS", "FittedRisk", "RiskPatients", "coefficients_model"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

ARM_WORDS: dict[ArmUse, str] = {
    "covariate": "It was learned from both arms, the arm as a covariate; new patients are given their risk under control.",
    "blinded": (
        "It was learned from both arms without the arm; new patients are given the risk under this trial's mixture of arms, not "
        "that under either treatment."
    ),
    "control arm": "It was learned from and judged on the control arm alone; new patients are given their risk under control.",
}


class FittedRisk:
    """A fitted model whose score has the scale of a log hazard, whatever the model.

    Attributes
    ----------
    name
        What the study file calls the model.
    estimator
        The model itself.
    """

    def __init__(self, name: str, estimator: Any, horizon: float) -> None:
        self.name = name
        self.estimator = estimator
        self._horizon = horizon

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return the risk by the horizon, shape (n,)."""
        return np.asarray(self.estimator.risk(X, horizon), dtype=np.float64)

    def risks(self, X: pd.DataFrame, times: Sequence[float]) -> Floats:
        """Return the risks by several times, shape (n, times)."""
        if hasattr(self.estimator, "survival"):
            return np.asarray(1.0 - self.estimator.survival(X, times))
        return np.asarray(self.estimator.cumulative_incidence(X, times))

    def log_hazard(self, X: pd.DataFrame) -> Floats:
        """Return the model's log hazard, of a model with none ``log(-log(1 - risk))`` at the horizon, shape (n,)."""
        if hasattr(self.estimator, "log_hazard"):
            return np.asarray(self.estimator.log_hazard(X), dtype=np.float64)
        return cloglog(self.risk(X, self._horizon))


class RiskPatients:
    """The patients of the risk model with their outcome; arrays are of shape (n,).

    Attributes
    ----------
    arm
        The arm's part: a covariate of the model, not looked at, or the control arm alone.
    X
        Covariates, with the arm's column where it is one.
    time, event, competing
        Follow-up, True where the event ended it, and where a competing event did; None where none competes.
    treated, cells
        The arm, and what folds are balanced by.
    """

    def __init__(self, learning: Learning) -> None:
        analysis, trial = learning.analysis, learning.trial
        self.learning, self.analysis, self.endpoint = learning, analysis, learning.endpoint
        self.asked, self.kind = analysis.study.models.risk, analysis.study.risk_kind
        self.arm: ArmUse = self.asked.treatment
        who = ~learning.treated if self.arm == "control arm" else np.ones(len(learning.X), dtype=np.bool_)
        self.covariates = learning.X[who]
        self.treated: Flags = learning.treated[who]
        self.X = self.covariates
        if self.arm == "covariate":
            self.X = self.X.assign(**{ARM: self.treated.astype(np.float64)})
        self.time: Floats = learning.time[who]
        self.cause: Rows = trial.cause[who]
        self.event: Flags = self.cause == 1
        self.competing: Flags | None = self.cause > 1 if self.kind == "competing risks" else None
        self.cells = learning.cells[who]
        self.labels = learning.labels | {ARM: "Treatment arm"}
        self._refuse_few_events()

    @property
    def at(self) -> dict[str, Any]:
        """Where risks are read, with the unit."""
        return {"horizon": self.endpoint.horizon, "unit": self.endpoint.unit}

    @property
    def words(self) -> str:
        """Who the patients are, in words."""
        arms = "of the control arm" if self.arm == "control arm" else "of both arms"
        return f"the {len(self.X):,} patients {arms} that the model was fitted to"

    def model(self, name: str) -> Model:
        """Return what a model's file says of it."""
        return model_named(name, "risk", self.kind)

    def fit(self, name: str) -> Callable[[Rows], FittedRisk]:
        """Return what learns a model from the patients of some rows, imputation and tuning included."""
        estimator, seed = self.model(name).estimator, self.analysis.seed(3)
        treatment = ARM if self.arm == "covariate" else None
        outcome = (
            survival_outcome(self.time, self.event)
            if self.competing is None
            else competing_outcome(self.time, self.cause)
        )

        def fit(rows: Rows) -> FittedRisk:
            try:
                fitted = estimator(treatment=treatment, seed=seed).fit(self.X.iloc[rows], outcome[rows])
            except AnalysisError as error:
                self._name_the_arm(rows, error)
                raise
            return FittedRisk(name, fitted, self.endpoint.horizon)

        return fit

    def groups(self, name: str) -> tuple[NDArray[np.str_], str]:
        """Return each patient's group by a column, rare ones joined, missing values a group of their own; and its words."""
        return group_words(self.covariates[name]), self.labels.get(name, name)

    def times_so_far(self) -> tuple[float, ...]:
        """Return sixths of the horizon, to three digits, by which 20 patients or more have had the event; and the horizon."""
        horizon = self.endpoint.horizon
        sixths = [float(f"{horizon * part / 6:.3g}") for part in range(1, 6)]
        happened = [int((self.event & not_after(self.time, at)).sum()) for at in sixths]
        return (*[at for at, events in zip(sixths, happened, strict=True) if events >= FEWEST_BY_THEN], horizon)

    def _name_the_arm(self, rows: Rows, error: AnalysisError) -> None:
        """Say of a model that was refused which arm has too few events for the arm to be a covariate."""
        events = [int((self.event[rows] & (self.treated[rows] == arm)).sum()) for arm in (False, True)]
        if self.arm != "covariate" or min(events) >= FEWEST_EVENTS:
            return
        fewest = int(np.argmin(events))
        raise AnalysisError(
            f"The {('control', 'experimental')[fewest]} arm has {counted(events[fewest], 'event')} among {len(rows):,} training patients, too "
            "few for a risk model with the arm as a covariate: write [models.risk] treatment = 'blinded', or wait for longer follow-up."
        ) from error

    def _refuse_few_events(self) -> None:
        """Refuse too few events for every fold's training patients to hold as many as a model needs."""
        events, folds = int(self.event.sum()), self.asked.folds
        if events - -(-events // folds) < FEWEST_EVENTS:
            whose = " of the control arm" if self.arm == "control arm" else ""
            raise AnalysisError(
                f"{counted(events, 'patient')}{whose} had the event '{self.endpoint.name}', too few for a risk model judged on patients not "
                f"seen: the training patients of each of {folds} folds must hold {FEWEST_EVENTS} events. Name an endpoint with more "
                "events"
                + (", or learn from both arms." if self.arm == "control arm" else ", or wait for longer follow-up.")
            )


FEWEST_BY_THEN = 20
"""Events by an earlier time at which performance is shown too."""


def coefficients_model(estimator: Any) -> HazardModel | None:
    """Return the linear predictor that describes a model: its own, of cause-specific ones the event's; None on trees."""
    part = getattr(estimator, "event_", estimator)
    return part if isinstance(part, HazardModel) else None

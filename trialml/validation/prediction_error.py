"""How far are predicted risks from what happened? Brier score and the index of prediction accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.result import Z95, Estimate, Result, format_count, format_number, with_limits
from trialml.survival.brier import brier
from trialml.survival.ties import not_after
from trialml.validation.crossvalidation import ArmUse, HeldOut

__all__ = ["PredictionError", "prediction_error"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PredictionError(Result):
    """Brier score at the horizon for the model and for a null model, and what the model gains."""

    title = "Prediction error of the risk model"
    methods = (
        "Prediction error at the horizon is the Brier score, weighted by the inverse probability of remaining uncensored "
        "(Kaplan-Meier of the censoring times of all patients); the index of prediction accuracy (IPA) is the share by which it "
        "is smaller than that of a Kaplan-Meier risk (with competing events an Aalen-Johansen risk) learned on the same training "
        "folds and given to everybody, or, within an arm, of the arm's own, so that the baseline covariates alone earn it."
    )
    references = (
        "Graf E, Schmoor C, Sauerbrei W, Schumacher M. Assessment and comparison of prognostic classification schemes for "
        "survival data. Stat Med 1999;18:2529-2545.",
        "Kattan MW, Gerds TA. The index of prediction accuracy: an intuitive measure useful for evaluating risk prediction "
        "models. Diagn Progn Res 2018;2:7.",
    )

    model: Estimate
    null: Estimate
    ipa: Estimate
    ipa_within_arm: Estimate
    """Against each arm's own Kaplan-Meier risk: what the baseline covariates alone are worth."""
    horizon: float
    unit: str
    arm: ArmUse = "covariate"
    """The arm's part in the model."""

    def frame(self) -> pd.DataFrame:
        """Return one row an estimate."""
        rows = [
            (name, e.value, e.low, e.high, e.se, e.kind)
            for name, e in (
                ("Brier score", self.model),
                ("Brier score, null model", self.null),
                ("IPA", self.ipa),
                ("IPA within arm", self.ipa_within_arm),
            )
        ]
        return pd.DataFrame(rows, columns=["estimate", "value", "low", "high", "se", "kind"])

    def text(self) -> str:
        """Return the Brier score and the index of prediction accuracy."""
        said = (
            f"At {self.horizon:g} {self.unit} the cross-fitted Brier score is {self.model.text()}, against {format_number(self.null.value)} "
            f"for giving everybody the same risk: an index of prediction accuracy of {100 * self.ipa.value:.1f} % "
            f"(95% CI {100 * self.ipa.low:.1f} to {100 * self.ipa.high:.1f})"
        )
        if self.arm == "control arm":
            counts = f"{format_count(self.model.n or 0)} control patients, {format_count(self.model.events or 0)} events by then"
            return f"{said} ({counts})."
        return (
            f"{said}. Against giving everybody the risk of the arm, so that the "
            f"baseline covariates alone count, it is {100 * self.ipa_within_arm.value:.1f} % "
            f"({100 * self.ipa_within_arm.low:.1f} to {100 * self.ipa_within_arm.high:.1f}; {format_count(self.model.n or 0)} patients of "
            f"both arms, {format_count(self.model.events or 0)} events by then)."
        )

    def scalars(self) -> dict[str, float]:
        """Return the Brier score and the IPA with limits."""
        at = f"{self.horizon:g}{self.unit}"
        named = {
            f"brier_{at}_crossfit": self.model,
            f"ipa_{at}_crossfit": self.ipa,
            f"ipa_{at}_within_arm_crossfit": self.ipa_within_arm,
        }
        return with_limits(named)

    def table(self) -> pd.DataFrame:
        """Return the estimates as words."""
        rows = [
            ("Brier score (0 is perfect)", self.model.text(), self.model.kind),
            ("Brier score of the null model", self.null.text(), self.null.kind),
            (
                "Index of prediction accuracy (1 is perfect, 0 is no better than the null model)",
                self.ipa.text(),
                self.ipa.kind,
            ),
            (
                "The same within an arm (baseline covariates alone)",
                self.ipa_within_arm.text(),
                self.ipa_within_arm.kind,
            ),
        ]
        if self.arm == "control arm":
            rows.pop()
        return pd.DataFrame(rows, columns=["Measure", "Value (95% CI)", "Kind"])


def prediction_error(
    time: NDArray[np.float64],
    event: NDArray[np.bool_],
    held: HeldOut,
    *,
    horizon: float,
    unit: str,
    competing: NDArray[np.bool_] | None = None,
    arm: ArmUse = "covariate",
) -> PredictionError:
    """Estimate the Brier score and the IPA from out-of-fold risks.

    Parameters
    ----------
    time, event
        Outcome, each of shape (n,).
    held
        Out-of-fold predictions.
    horizon, unit
        Where risks are read.
    competing
        True where another event ended follow-up, shape (n,); None for no such.
    arm
        The arm's part in the model.

    Returns
    -------
    PredictionError
        Values and patients' influences are averaged over repeats.

    Raises
    ------
    AnalysisError
        If fewer than 10 patients are followed beyond the horizon.
    """
    model, model_influence = _average(time, event, competing, held.risk, horizon)
    null, null_influence = _average(time, event, competing, held.null_risk, horizon)
    by_arm, by_arm_influence = _average(time, event, competing, held.null_risk_by_arm, horizon)
    known = {"n": len(time), "events": int((event & not_after(time, horizon)).sum())}

    def estimate(value: float, influence: Floats, scale: str) -> Estimate:
        se = float(np.std(influence, ddof=1) / np.sqrt(len(influence)))
        half = Z95 * se
        return Estimate(value, value - half, value + half, scale=scale, kind="crossfit", se=se, **known)  # type: ignore[arg-type]

    def accuracy(null: float, null_influence: Floats, scale: str) -> Estimate:
        influence = -model_influence / null + null_influence * model / null**2
        return estimate(1 - model / null, influence, scale)

    return PredictionError(
        model=estimate(model, model_influence, "Brier score"),
        null=estimate(null, null_influence, "Brier score"),
        ipa=accuracy(null, null_influence, "index of prediction accuracy"),
        ipa_within_arm=accuracy(by_arm, by_arm_influence, "index of prediction accuracy within arm"),
        horizon=horizon,
        unit=unit,
        arm=arm,
    )


def _average(
    time: Floats, event: NDArray[np.bool_], competing: NDArray[np.bool_] | None, risks: Floats, horizon: float
) -> tuple[float, Floats]:
    """Return the Brier score averaged over repeats and each patient's average influence on it."""
    scores = [brier(time, event, risk, horizon, competing=competing) for risk in risks]
    return float(np.mean([one.value for one in scores])), np.mean([one.influence for one in scores], axis=0)

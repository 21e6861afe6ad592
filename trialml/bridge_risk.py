"""What a design may use of the risk model: the spread of risks under control, and performance on patients not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.analysis import Analysis
from trialml.bridge import planned_endpoint
from trialml.design.not_planned import NotPlanned
from trialml.design.response_evidence import Validation
from trialml.design.risk_evidence import NO_NUMBER, RiskEvidence, binned_risks
from trialml.errors import AnalysisError
from trialml.result import Estimate
from trialml.validation.binary import BinaryPerformance
from trialml.validation.binary_calibration import BinaryCalibration
from trialml.validation.calibration import Calibration
from trialml.validation.continuous import ContinuousPerformance
from trialml.validation.discrimination import Discrimination

__all__ = ["add_risk_evidence"]

Floats = NDArray[np.float64]

SMALLEST_C = 0.55
BAND = (0.8, 1.25)
"""The limits of ``mlflow/promotion.toml``."""


def add_risk_evidence(analysis: Analysis, risk: Floats, treated: NDArray[np.bool_], model: str = "") -> None:
    """Add what the risk model carries into the next trial, or why it carries nothing.

    Parameters
    ----------
    analysis
        The results so far, those of the model's validation among them.
    risk
        Predictions for patients not seen, shape (n,): risks by the horizon, or expected outcomes.
    treated
        The arm, shape (n,): risks under control are those of the control arm.
    model
        What the model is called in the results of an endpoint that is no time to event.
    """
    try:
        found = _evidence(analysis, risk[~treated], model)
    except AnalysisError as error:
        analysis.add(NotPlanned(RiskEvidence.title, str(error).rstrip(".")), "risk")
        return
    analysis.add(found, "risk")


def _evidence(analysis: Analysis, risk: Floats, model: str) -> RiskEvidence:
    known: dict[str, Any] = {
        "endpoint": planned_endpoint(analysis),
        "model_name": analysis.model_name("risk"),
        "trial": analysis.trial.name,
        "data_sha256": analysis.trial.sha256,
    }
    if analysis.trial.endpoint.kind == "continuous":
        found = analysis.only(ContinuousPerformance)
        within = "R² within arm" in set(found.measures["measure"])
        share = found.estimate("R² within arm" if within else "R²", model)
        failed = () if share.low >= 0 else ("R-squared",)
        nothing = pd.DataFrame({"risk": np.empty(0), "share": np.empty(0)})
        return RiskEvidence(
            bins=nothing, r_squared=share, n=found.n, validation=Validation(not failed, failed), **known
        )
    if analysis.trial.endpoint.kind == "binary":
        calibrated = analysis.only(BinaryCalibration)
        arm = "control" if "control" in calibrated.slope else "both arms"
        concordance = analysis.only(BinaryPerformance).estimate("AUC", model)
        slope, ratio = calibrated.slope[arm], calibrated.ratio[arm]
    else:
        timed = analysis.only(Calibration)
        concordance = analysis.only(Discrimination).without_arm
        slope, ratio = timed.slope_under_control, timed.ratio_under_control
    return RiskEvidence(
        bins=binned_risks(risk),
        observed=_observed(ratio, float(risk.mean())),
        concordance=concordance,
        slope=slope,
        validation=_validation({"the calibration slope": slope, "observed over expected": ratio}, concordance),
        n=float(concordance.n or len(risk)),
        events=float(ratio.events or math.nan),
        **known,
    )


def _observed(ratio: Estimate, mean: float) -> Estimate:
    """Return the risk observed under control: observed over expected times the mean predicted risk."""
    if math.isnan(ratio.value):
        return NO_NUMBER
    numbers = {name: getattr(ratio, name) * mean for name in ("value", "low", "high")}
    return replace(ratio, **numbers, se=math.nan, scale="risk under control")


def _validation(calibrated: Mapping[str, Estimate], concordance: Estimate) -> Validation:
    """Return whether the model has what the promotion policy asks of performance under control."""
    asked = {
        "the C-index or AUC": concordance.low >= SMALLEST_C,
        **{f"{name} under control": BAND[0] <= one.value <= BAND[1] for name, one in calibrated.items()},
    }
    failed = tuple(name for name, met in asked.items() if not met)
    words = "; ".join(f"{name} under control {one.text()}" for name, one in calibrated.items())
    return Validation(not failed, failed, f"discrimination {concordance.text()}; {words}")

"""How good the risk model is: on patients not seen, over time, within groups, and corrected for optimism."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError
from trialml.result import Result
from trialml.risk_patients import FittedRisk, RiskPatients
from trialml.validation.averaged import average_performance
from trialml.validation.by_group import performance_by_group
from trialml.validation.calibration import calibration
from trialml.validation.calibration_curve import calibration_curve
from trialml.validation.crossvalidation import HeldOut
from trialml.validation.discrimination import discrimination
from trialml.validation.fold_losses import fold_losses
from trialml.validation.net_benefit import decision_curve
from trialml.validation.observed_survival import ObservedSurvival
from trialml.validation.optimism import Optimism, optimism
from trialml.validation.performance import Performance, performance
from trialml.validation.prediction_error import prediction_error
from trialml.validation.stability import Stability, prediction_stability

__all__ = ["ON_TREES", "LearnedOnce", "judge", "judge_by_bootstrap"]

Rows = NDArray[np.intp]
THE_MODEL = "the risk model"
QUICK_BOOTSTRAPS = 20
ON_TREES = (
    "There is no correction for optimism by the bootstrap: it takes too little off a model on trees, which remembers the patients that a "
    "sample and the original data share. The numbers from patients not used for fitting stand."
)
_CURVE, _BOOTSTRAP = 9, 42
"""The steps of the calibration curve's draws and of the bootstrap samples."""


def judge(patients: RiskPatients, held: HeldOut, model: FittedRisk) -> None:
    """Add how good the risks of patients not seen are: in all, at the horizon, over time, for decisions and within groups.

    Parameters
    ----------
    patients, held
        Whom the model is judged on, and their out-of-fold predictions.
    model
        The final one, for the apparent concordance.
    """
    analysis, asked = patients.analysis, patients.asked
    outcome: dict[str, Any] = {"time": patients.time, "event": patients.event, "competing": patients.competing}
    known: dict[str, Any] = {"held": held, "arm": patients.arm, **patients.at}
    own = model.log_hazard(patients.X)
    analysis.add(discrimination(**outcome, treated=patients.treated, apparent_log_hazard=own, **known), "risk")
    analysis.add(calibration(**outcome, treated=patients.treated, **known), "risk")
    analysis.add(prediction_error(**outcome, **known), "risk")
    analysis.add(_over_time(patients, held), "risk")
    observed = ObservedSurvival(**outcome, horizon=patients.endpoint.horizon)
    analysis.add(fold_losses(observed, held.risk, held.null_risk, held.fold), "risk")
    # One repeat: an average over repeats would be the performance of an average of models, better than any one's.
    outcome |= {"kind": "crossfit", **patients.at}
    risk = held.risk[0]
    analysis.add(calibration_curve(risk_at_horizon=risk, seed=analysis.seed(_CURVE), **outcome), "risk")
    if asked.thresholds:
        risks, treated = {THE_MODEL: risk}, patients.treated
        analysis.add(decision_curve(risks=risks, treated=treated, thresholds=asked.thresholds, **outcome), "risk")
    for name in asked.groups:
        groups, factor = patients.groups(name)
        found = performance_by_group(risk_at_horizon=risk, groups=groups, factor=factor, **outcome)
        analysis.add(found, "risk")


def _over_time(patients: RiskPatients, held: HeldOut) -> Performance:
    """Return AUC, Brier score and IPA at several times, averaged over repeats.

    The concordances are left to `discrimination`, which compares pairs within a fold.
    """
    judged = [
        performance(
            patients.time,
            patients.event,
            {THE_MODEL: risks},
            horizons=patients.times_so_far(),
            unit=patients.endpoint.unit,
            kind="crossfit",
            competing=patients.competing,
        )
        for risks in held.over_time
    ]
    mean = average_performance(judged)
    kept = mean.measures[~mean.measures["measure"].isin(["Harrell's C", "Uno's C"])].reset_index(drop=True)
    return replace(mean, measures=kept)


def judge_by_bootstrap(patients: RiskPatients, fit: Callable[[Rows], FittedRisk], *, linear: bool) -> None:
    """Add the performance corrected for optimism and the predictions' stability, from the same bootstrap models.

    Parameters
    ----------
    patients
        Whom the model was learned from.
    fit
        Repeats the learning on some rows; it is called once for each sample.
    linear
        Whether the model has coefficients. One on trees is not corrected: the original patients hold those of every sample, whom
        trees remember, so that too little would be taken off.
    """
    analysis, asked = patients.analysis, patients.asked
    samples = min(asked.bootstrap, QUICK_BOOTSTRAPS) if analysis.quick else asked.bootstrap
    if not samples:
        return
    given: dict[str, Any] = {
        "X": patients.X,
        "time": patients.time,
        "event": patients.event,
        "competing": patients.competing,
        "bootstraps": samples,
        "seed": analysis.seed(_BOOTSTRAP),
        **patients.at,
    }
    once, found = LearnedOnce(fit), list[Result]()
    try:
        with analysis.watcher.step("Risk model, bootstrap", samples) as advance:
            if linear:
                found.append(optimism(once, tau=patients.endpoint.horizon, advance=advance, **given))
                found.append(prediction_stability(once, **given))
            else:
                found.append(prediction_stability(once, advance=advance, **given))
    except AnalysisError as error:
        found.append(NotDone(Stability.title if found or not linear else Optimism.title, str(error).rstrip(".")))
    for one in found:
        analysis.add(one, "risk")


class LearnedOnce:
    """Learns from a sample once, though two analyses ask for it one after the other."""

    def __init__(self, fit: Callable[[Rows], Any]) -> None:
        self.fit = fit
        self.models: dict[bytes, Any] = {}

    def __call__(self, rows: Rows) -> Any:
        """Return the model of these rows, or raise what its fit raised."""
        key = rows.tobytes()
        found = self.models.pop(key, None)
        if found is None:
            try:
                found = self.fit(rows)
            except AnalysisError as error:
                found = error
            self.models[key] = found
        if isinstance(found, AnalysisError):
            raise found
        return found

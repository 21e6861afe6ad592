"""How good the risk model of a binary or continuous endpoint is: on patients not seen, and corrected for optimism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.analysis import Analysis
from trialml.data.rare_levels import group_words
from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError
from trialml.result import Result
from trialml.risk_judging import LearnedOnce
from trialml.validation.averaged import average_performance
from trialml.validation.binary import binary_performance
from trialml.validation.binary_calibration import binary_calibration
from trialml.validation.binary_net_benefit import binary_decision_curve
from trialml.validation.calibration_curve import CalibrationCurve, binary_calibration_curve
from trialml.validation.continuous import continuous_performance
from trialml.validation.endpoint_measures import Observed
from trialml.validation.fold_losses import fold_losses
from trialml.validation.observed import ObservedBinary
from trialml.validation.optimism import Optimism, optimism_of
from trialml.validation.outcome_by_group import outcome_by_group
from trialml.validation.stability import Stability, stability_of

__all__ = ["MODEL_WORDS", "OutcomePatients", "Unseen", "judge_by_bootstrap", "judge_outcome"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

MODEL_WORDS = "the risk model"
QUICK_BOOTSTRAPS = 20
_ON_TREES = (
    "the bootstrap takes too little off a model on trees, which remembers the patients that a sample and the original data share; the "
    "numbers from patients not used for fitting stand"
)
_CURVE, _BOOTSTRAP = 9, 42
"""The steps of the calibration curve's draws and of the bootstrap samples."""


class OutcomePatients(NamedTuple):
    """Whom the model is learned from and judged on, with their outcome as its models take it; each of n rows."""

    X: pd.DataFrame
    covariates: pd.DataFrame
    labels: dict[str, str]
    y: NDArray[Any]
    outcome: Floats
    treated: NDArray[np.bool_]
    cells: NDArray[np.str_]
    observed: Observed
    words: str

    @property
    def binary(self) -> bool:
        """Whether the outcome is an event."""
        return isinstance(self.observed, ObservedBinary)


class Unseen(NamedTuple):
    """Predictions for patients not seen, those of null models and the folds, each of shape (repeats, n).

    Attributes
    ----------
    value, null, null_by_arm, fold
        As in `HeldPredictions`; `null_by_arm` is None where it was not learned.
    """

    value: Floats
    null: Floats
    null_by_arm: Floats | None
    fold: Rows

    def nulls(self, repeat: int, what: str) -> dict[str, Any]:
        """Return the null models' predictions of a repeat, as keywords that start with `what`."""
        found: dict[str, Any] = {what: self.null[repeat]}
        return found if self.null_by_arm is None else found | {f"{what}_by_arm": self.null_by_arm[repeat]}


def judge_outcome(analysis: Analysis, patients: OutcomePatients, unseen: Unseen) -> None:
    """Add how good the predictions for patients not seen are, averaged over repeats.

    Parameters
    ----------
    analysis
        The results so far; the new ones are added.
    patients, unseen
        Whom the model is judged on, and their out-of-fold predictions.
    """
    repeats = range(len(unseen.value))
    analysis.add(fold_losses(patients.observed, unseen.value, unseen.null, unseen.fold), "risk")
    if not patients.binary:
        unit = patients.observed.unit
        judged = [
            continuous_performance(
                patients.y,
                {MODEL_WORDS: unseen.value[one]},
                unit=unit,
                kind="crossfit",
                **unseen.nulls(one, "null_mean"),
            )
            for one in repeats
        ]
        analysis.add(average_performance(judged), "risk")
        _judge_groups(analysis, patients, unseen.value[0])
        return
    for threshold in analysis.study.models.risk.thresholds or (0.5,):
        found = [
            binary_performance(
                patients.y,
                {MODEL_WORDS: unseen.value[one]},
                threshold=threshold,
                kind="crossfit",
                fold=unseen.fold[one],
                **unseen.nulls(one, "null_risk"),
            )
            for one in repeats
        ]
        analysis.add(average_performance(found), "risk")
    both_arms = len(np.unique(patients.treated)) > 1
    treated = patients.treated if both_arms else None
    analysis.add(binary_calibration(patients.y, unseen.value, kind="crossfit", treated=treated), "risk")
    # One repeat: an average over repeats would be the performance of an average of models, better than any one's.
    value = unseen.value[0]
    try:
        curve = binary_calibration_curve(patients.y, value, kind="crossfit", seed=analysis.seed(_CURVE))
        analysis.add(curve, "risk")
    except AnalysisError as error:
        analysis.add(NotDone(CalibrationCurve.title, str(error).rstrip(".")), "risk")
    thresholds = analysis.study.models.risk.thresholds
    if thresholds and not analysis.trial.endpoint.higher_is_better:
        # Acting on a probability is acting against harm; of a benefit there is nothing to prevent.
        decided: dict[str, Any] = {"thresholds": thresholds, "kind": "crossfit"}
        analysis.add(binary_decision_curve(patients.y, {MODEL_WORDS: value}, patients.treated, **decided), "risk")
    _judge_groups(analysis, patients, value)


def _judge_groups(analysis: Analysis, patients: OutcomePatients, value: Floats) -> None:
    """Add performance within the groups that the study file names."""
    for name in analysis.study.models.risk.groups:
        asked: dict[str, Any] = {"factor": patients.labels.get(name, name), "kind": "crossfit"}
        asked |= {"binary": patients.binary, "unit": "" if patients.binary else patients.observed.unit}
        groups = group_words(patients.covariates[name])
        analysis.add(outcome_by_group(patients.y, value, groups, **asked), "risk")


def judge_by_bootstrap(
    analysis: Analysis, patients: OutcomePatients, fit: Callable[[Rows], Any], *, linear: bool
) -> None:
    """Add the performance corrected for optimism, and how far predictions move between the same bootstrap models.

    Parameters
    ----------
    analysis, patients
        As in `judge_outcome`.
    fit
        Repeats the learning on some rows; it is called once for each sample.
    linear
        Whether the model has coefficients: one on trees is not corrected (`risk_judging.ON_TREES` says why).
    """
    asked = analysis.study.models.risk
    samples = min(asked.bootstrap, QUICK_BOOTSTRAPS) if analysis.quick else asked.bootstrap
    if not samples:
        return
    given: dict[str, Any] = {"bootstraps": samples, "seed": analysis.seed(_BOOTSTRAP)}
    once, found = LearnedOnce(fit), list[Result]()
    try:
        with analysis.watcher.step("Risk model, bootstrap", samples) as advance:
            if linear:
                found.append(optimism_of(once, patients.X, patients.observed, advance=advance, **given))
                found.append(stability_of(once, patients.X, patients.observed, **given))
            else:
                found.append(NotDone(Optimism.title, _ON_TREES))
                found.append(stability_of(once, patients.X, patients.observed, advance=advance, **given))
    except AnalysisError as error:
        found.append(NotDone(Stability.title if found else Optimism.title, str(error).rstrip(".")))
    for one in found:
        analysis.add(one, "risk")

"""Which risk model a run uses: the one asked for, unless a candidate is better beyond doubt; and what choosing comes to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.data.folds import splits
from trialml.explain.permutation import FoldModel
from trialml.risk_patients import RiskPatients
from trialml.validation.crossvalidation import HeldOut, null_risks
from trialml.validation.model_comparison import choose_model
from trialml.validation.nested_crossvalidation import NestedPredictions
from trialml.validation.observed_survival import ObservedSurvival

__all__ = ["ChosenModel", "choose_risk_model"]

Floats = NDArray[np.float64]
_COMPARISON = 41
"""The step of the comparison's folds."""


class ChosenModel(NamedTuple):
    """What was chosen, with the out-of-fold predictions of the whole procedure.

    Attributes
    ----------
    name
        The model.
    held
        Predictions of whatever each training set chose.
    kept
        The chosen model in the folds of the first repeat.
    """

    name: str
    held: HeldOut
    kept: list[FoldModel]


def choose_risk_model(patients: RiskPatients, default: str) -> ChosenModel:
    """Compare the candidates of the study file with the default in the same folds, and add the comparison.

    Parameters
    ----------
    patients
        Whom the models are learned from.
    default
        The model that needs no reason.

    Returns
    -------
    ChosenModel
        Every training set makes the choice anew from its own folds; what it chose predicts its test patients, so that their
        predictions are those of the whole procedure.

    Raises
    ------
    AnalysisError
        If a candidate cannot be fitted in a fold.
    """
    analysis, asked = patients.analysis, patients.asked
    names, repeats = (default, *asked.candidates), analysis.repeats("risk")
    observed = ObservedSurvival(patients.time, patients.event, competing=patients.competing, **patients.at)
    with analysis.watcher.step("Risk models, compared in nested folds", asked.folds * repeats) as advance:
        comparison, nested = choose_model(
            {name: patients.fit(name) for name in names},
            patients.X,
            observed,
            cells=patients.cells,
            default=default,
            folds=asked.folds,
            repeats=repeats,
            inner_folds=asked.folds,
            inner_repeats=1 if analysis.quick else 2,
            seed=analysis.seed(_COMPARISON),
            advance=advance,
        )
    analysis.add(comparison, "risk")
    over_time, kept = _first_repeat(patients, nested, comparison.chosen)
    taken = np.take_along_axis(nested.chosen, nested.fold, axis=1)[None]
    value, score = (np.take_along_axis(part, taken, axis=0)[0] for part in (nested.value, nested.score))
    at = patients.endpoint.horizon
    nulls = null_risks(patients.time, patients.event, patients.treated, nested.fold, at, competing=patients.competing)
    return ChosenModel(comparison.chosen, HeldOut(value, score, *nulls, nested.fold, over_time), kept)


def _first_repeat(patients: RiskPatients, nested: NestedPredictions, chosen: str) -> tuple[Floats, list[FoldModel]]:
    """Return risks over time of what each fold chose, shape (1, n, times), and the chosen model."""
    times = patients.times_so_far()
    over_time, kept = np.empty((1, len(patients.X), len(times))), []
    for label, (train, test) in enumerate(splits(nested.fold[0])):
        name = nested.names[nested.chosen[0, label]]
        model = patients.fit(name)(train)
        over_time[0, test] = model.risks(patients.X.iloc[test], times)
        final = model if name == chosen else patients.fit(chosen)(train)
        kept.append(FoldModel(final, test))
    return over_time, kept

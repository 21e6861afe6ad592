"""The risk model of a binary or continuous endpoint: chosen, learned, judged on patients not seen, explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.benefit_model import ARM
from trialml.effects.primary_outcome import prediction_name
from trialml.endpoint_judging import MODEL_WORDS, OutcomePatients, Unseen, judge_by_bootstrap, judge_outcome
from trialml.endpoint_learning import OutcomeLearning
from trialml.explain.risk_scores import mean_score, risk_score
from trialml.explaining import MOST_MODELS, Explainer, PartModel, additive_or_risk
from trialml.models import model_named
from trialml.models.coefficients import coefficients_of
from trialml.models.learned_model import learned_model
from trialml.models.linear_design import LinearDesign
from trialml.models.sample_adequacy import sample_adequacy
from trialml.result import format_number
from trialml.stratifier import RiskPart, Stratifier
from trialml.validation.held_predictions import crossvalidate
from trialml.validation.model_comparison import choose_model
from trialml.validation.observed import ObservedBinary, ObservedContinuous

__all__ = ["learn_prognosis"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Fit = Callable[[Rows], Any]

ASSUMED_R_SQUARED = 0.3
"""What a model of a continuous endpoint is taken to explain where its sample size is judged: not taken from these data."""
_COMPARISON = 41
"""The step of the comparison's folds."""


def learn_prognosis(learning: OutcomeLearning) -> None:
    """Fit the model of the outcome, judge it on patients not seen, explain it.

    Parameters
    ----------
    learning
        The patients of the primary contrast; the results are added to its analysis.

    Raises
    ------
    AnalysisError
        If a model cannot be fitted in a fold, for example since too few patients have the event.
    """
    analysis, asked = learning.analysis, learning.analysis.study.models.risk
    patients = _patients(learning)
    fits = {one: _fit(learning, patients, one) for one in (analysis.study.risk_model, *asked.candidates)}
    kept: list[PartModel] = []
    name, unseen = _unseen(learning, patients, fits, kept)
    model = fits[name](np.arange(len(patients.X)))
    _describe(learning, patients, name, model)
    judge_outcome(analysis, patients, unseen)
    judge_by_bootstrap(analysis, patients, fits[name], linear=isinstance(model, LinearDesign))
    _explain(learning, patients, model, kept)
    part = RiskPart(name, model, arm=asked.treatment, output=_output(learning))
    analysis.risk = Stratifier(learning.trial.name, learning.unit, learning.contract, part, training=learning.training)


def _patients(learning: OutcomeLearning) -> OutcomePatients:
    arm = learning.analysis.study.models.risk.treatment
    who = ~learning.treated if arm == "control arm" else np.ones(len(learning.X), dtype=np.bool_)
    covariates, treated, y = learning.X[who], learning.treated[who], learning.y[who]
    X = covariates.assign(**{ARM: treated.astype(np.float64)}) if arm == "covariate" else covariates
    observed = ObservedBinary(y) if learning.binary else ObservedContinuous(y, learning.unit)
    whose = "the control arm" if arm == "control arm" else "both arms"
    words = f"the {len(X):,} patients of {whose} that the model was fitted to"
    return OutcomePatients(
        X, covariates, learning.labels, y, learning.outcome[who], treated, learning.cells[who], observed, words
    )


def _fit(learning: OutcomeLearning, patients: OutcomePatients, name: str) -> Fit:
    """Return what learns a model from the patients of some rows, imputation and tuning included."""
    estimator, seed = model_named(name, "risk", learning.endpoint.kind).estimator, learning.analysis.seed(3)
    treatment = ARM if learning.analysis.study.models.risk.treatment == "covariate" else None
    return lambda rows: estimator(treatment=treatment, seed=seed).fit(patients.X.iloc[rows], patients.y[rows])


def _keeping(fit: Fit, kept: list[PartModel], n: int) -> Fit:
    """Return `fit`, which keeps the models of the first repeats: whether the explanation repeats is seen from them."""

    def fit_and_keep(rows: Rows) -> Any:
        model = fit(rows)
        if len(kept) < MOST_MODELS:
            kept.append(PartModel(model, len(rows) / n))
        return model

    return fit_and_keep


def _unseen(
    learning: OutcomeLearning, patients: OutcomePatients, fits: dict[str, Fit], kept: list[PartModel]
) -> tuple[str, Unseen]:
    """Return the model that is used, and predictions of patients not seen, by the whole way of choosing it.

    Models of folds are added to `kept` where there is nothing to choose.
    """
    analysis, asked = learning.analysis, learning.analysis.study.models.risk
    repeats, default = analysis.repeats("risk"), analysis.study.risk_model
    shared: dict[str, Any] = {"cells": patients.cells, "folds": asked.folds, "repeats": repeats}
    if len(fits) == 1:
        with analysis.watcher.step("Risk model, cross-validated", asked.folds * repeats) as advance:
            known = {"treated": patients.treated, "seed": analysis.seed(4), "advance": advance, **shared}
            held = crossvalidate(_keeping(fits[default], kept, len(patients.X)), patients.X, patients.observed, **known)
        return default, Unseen(held.value, held.null, held.null_by_arm if _two_arms(patients) else None, held.fold)
    inner: dict[str, Any] = {"inner_folds": asked.folds, "inner_repeats": 1 if analysis.quick else 2}
    with analysis.watcher.step("Risk models, compared in nested folds", asked.folds * repeats) as advance:
        known = {"default": default, "seed": analysis.seed(_COMPARISON), "advance": advance, **shared, **inner}
        comparison, nested = choose_model(fits, patients.X, patients.observed, **known)
    analysis.add(comparison, "risk")
    taken = np.take_along_axis(nested.chosen, nested.fold, axis=1)
    value = np.take_along_axis(nested.value, taken[None], axis=0)[0]
    return comparison.chosen, Unseen(value, nested.null, None, nested.fold)


def _two_arms(patients: OutcomePatients) -> bool:
    return len(np.unique(patients.treated)) > 1


def _output(learning: OutcomeLearning) -> str:
    """Return the column of the prediction."""
    endpoint = learning.endpoint
    return prediction_name(endpoint.kind, higher_is_better=endpoint.higher_is_better).replace(" ", "_")


def _describe(learning: OutcomeLearning, patients: OutcomePatients, name: str, model: Any) -> None:
    """Add what the model is, and whether there are enough patients for it."""
    binary, n = learning.binary, len(patients.X)
    events = int(patients.outcome.sum()) if binary else n
    if isinstance(model, LinearDesign):
        described: Any = _coefficients(learning, model, n, events)
        parameters = len(described.rows) + (ARM in patients.X)
    else:
        file = model_named(name, "risk", learning.endpoint.kind)
        of = "events" if binary else "patients"
        described = learned_model(file, model, subject="risk", n=n, events=events, counted=of)
        parameters = described.columns
    learning.analysis.add(described, "risk")
    size: dict[str, Any] = {"n": n, "parameters": parameters}
    if binary:
        # The rarer of event and no event is what informs a binary model.
        learning.analysis.add(sample_adequacy("binary", events=min(events, n - events), **size), "risk")
        return
    known: dict[str, Any] = {"mean": float(patients.outcome.mean()), "sd": float(patients.outcome.std(ddof=1))}
    enough = sample_adequacy("continuous", r_squared=ASSUMED_R_SQUARED, **known, **size)
    learning.analysis.add(replace(enough, assumed="assumed, not estimated from these data"), "risk")


def _coefficients(learning: OutcomeLearning, model: Any, n: int, events: int) -> Any:
    arm = learning.analysis.study.models.risk.treatment
    given = "conditional on the arm and the other covariates" if arm == "covariate" else "conditional on the others"
    unit = f", in {learning.unit}" if learning.unit else ""
    effect = "Odds ratios of the event" if learning.binary else f"Changes of the mean outcome{unit}"
    return coefficients_of(
        model.encoder_,
        model.coefficients_,
        labels=learning.labels,
        subject="risk",
        effect=f"{effect}, {given} ({'more' if learning.endpoint.higher_is_better else 'less'} is better).",
        ratio=learning.binary,
        ratio_name="Odds ratio",
        n=n,
        events=events,
        counted="events" if learning.binary else "patients",
        penalty=f"The penalty is {format_number(model.penalty_)}.",
    )


def _explain(learning: OutcomeLearning, patients: OutcomePatients, model: Any, kept: list[PartModel]) -> None:
    """Add what moves the model on the scale that it adds up on, its partial dependence, and a surrogate."""
    explainer = Explainer(
        learning.analysis,
        "risk",
        patients.X,
        patients.covariates,
        patients.treated,
        learning.labels | {ARM: "Treatment arm"},
        parts=kept,
    )
    unit = learning.unit or "the outcome's unit"
    if isinstance(model, LinearDesign):
        explainer.line(model, MODEL_WORDS, "log odds" if learning.binary else unit)
    else:
        score = replace(additive_or_risk(model, None), unit="log odds" if learning.binary else unit)
        explainer.score(score, MODEL_WORDS, model=model, of_part=lambda part: additive_or_risk(part, None))

    def said(one: Any) -> Any:
        return risk_score(one, None) if learning.binary else mean_score(one, unit)

    words = "the probability of the event" if learning.binary else "the expected outcome"
    explainer.dependence([said(one.model) for one in kept], said(model), words)
    explainer.on_paper(said(model), words)

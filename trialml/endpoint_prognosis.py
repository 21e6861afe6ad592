"""The risk model of a binary or continuous endpoint: the outcome under control, learned, judged on patients not seen, explained."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.endpoint_learning import OutcomeLearning
from trialml.learning import ARM
from trialml.models import model_named
from trialml.models.coefficients import coefficients_of
from trialml.models.sample_adequacy import sample_adequacy
from trialml.result import format_number
from trialml.stratifier import RiskPart, Stratifier
from trialml.validation.binary import binary_performance
from trialml.validation.held_predictions import HeldPredictions, crossvalidate
from trialml.validation.observed import Observed, ObservedBinary, ObservedContinuous

__all__ = ["MODEL_WORDS", "learn_prognosis"]

Rows = NDArray[np.intp]

MODEL_WORDS = "the risk model"
ASSUMED_R_SQUARED = 0.3
"""What a model of a continuous endpoint is taken to explain where its sample size is judged: not taken from these data."""


def learn_prognosis(learning: OutcomeLearning) -> None:
    """Fit the model of the outcome, judge it on patients not seen, explain it."""
    analysis, asked = learning.analysis, learning.analysis.study.models.risk
    name = analysis.study.risk_model
    estimator = model_named(name, "risk", learning.endpoint.kind).estimator
    X = learning.X.assign(**{ARM: learning.treated.astype(np.float64)})

    def fit(rows: Rows) -> Any:
        return estimator(treatment=ARM, seed=analysis.seed(3)).fit(X.iloc[rows], learning.y[rows])

    observed = ObservedBinary(learning.y) if learning.binary else ObservedContinuous(learning.y, learning.unit)
    repeats = analysis.repeats("risk")
    with analysis.watcher.step("Risk model, cross-validated", asked.folds * repeats) as advance:
        held = crossvalidate(
            fit,
            X,
            observed,
            treated=learning.treated,
            cells=learning.cells,
            folds=asked.folds,
            repeats=repeats,
            seed=analysis.seed(4),
            advance=advance,
        )
    model = fit(np.arange(len(X)))
    _describe(learning, model)
    _judge(learning, observed, held)
    learning.explain(
        model, MODEL_WORDS, "log odds" if learning.binary else learning.unit or "the outcome's unit", "risk"
    )
    part = RiskPart(name, model, output=_output(learning))
    analysis.risk = Stratifier(learning.trial.name, learning.unit, learning.contract, risk=part)


def _output(learning: OutcomeLearning) -> str:
    """Return what the prediction is called: a risk is of harm alone."""
    if not learning.binary:
        return "expected_outcome"
    return "probability" if learning.endpoint.higher_is_better else "risk"


def _judge(learning: OutcomeLearning, observed: Observed, held: HeldPredictions) -> None:
    """Add how good the predictions for patients not seen are."""
    analysis, asked = learning.analysis, learning.analysis.study.models.risk
    # One repeat: an average over repeats would be the performance of an average of models, better than any one's.
    value = held.value[0]
    if learning.binary:
        for threshold in asked.thresholds or (0.5,):
            found = binary_performance(learning.y, {MODEL_WORDS: value}, threshold=threshold, kind="crossfit")
            analysis.add(found, "risk")


def _describe(learning: OutcomeLearning, model: Any) -> None:
    """Add the coefficients, and whether there are enough patients for so many."""
    n, events = len(learning.X), int(learning.outcome.sum()) if learning.binary else len(learning.X)
    unit = f", in {learning.unit}" if learning.unit else ""
    effect = "Odds ratios of the event" if learning.binary else f"Changes of the mean outcome{unit}"
    learning.analysis.add(
        coefficients_of(
            model.encoder_,
            model.coefficients_,
            labels=learning.labels,
            subject="risk",
            effect=f"{effect}, conditional on the arm and the other covariates.",
            ratio=learning.binary,
            ratio_name="Odds ratio",
            n=n,
            events=events,
            counted="events" if learning.binary else "patients",
            penalty=f"The ridge penalty is {format_number(model.penalty_)}.",
        ),
        "risk",
    )
    parameters = len(model.coefficients_) + 1
    size: dict[str, Any] = {"n": n, "parameters": parameters}
    if learning.binary:
        # The rarer of event and no event is what informs a binary model.
        learning.analysis.add(sample_adequacy("binary", events=min(events, n - events), **size), "risk")
        return
    known = {"mean": float(learning.outcome.mean()), "sd": float(learning.outcome.std(ddof=1))}
    learning.analysis.add(sample_adequacy("continuous", r_squared=ASSUMED_R_SQUARED, **known, **size), "risk")

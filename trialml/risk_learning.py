"""The risk model: learned, judged on patients not seen, explained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.rare_levels import rare_levels
from trialml.learning import ARM, Learning
from trialml.models import model_named
from trialml.models.coefficients import coefficients_of
from trialml.models.cox_model import CoxModel
from trialml.models.outcome import survival_outcome
from trialml.models.sample_adequacy import sample_adequacy
from trialml.stratifier import RiskPart, Stratifier
from trialml.validation.by_group import performance_by_group
from trialml.validation.calibration import calibration
from trialml.validation.calibration_curve import calibration_curve
from trialml.validation.crossvalidation import HeldOut, crossvalidate_risk
from trialml.validation.discrimination import discrimination
from trialml.validation.net_benefit import decision_curve
from trialml.validation.prediction_error import prediction_error

__all__ = ["learn_risk"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def learn_risk(learning: Learning) -> None:
    """Fit the risk model, judge it on patients not seen, explain it."""
    analysis, endpoint, asked = learning.analysis, learning.endpoint, learning.analysis.study.models.risk
    estimator = model_named(asked.model, "risk", "time to event").estimator
    X = learning.X.assign(**{ARM: learning.treated.astype(np.float64)})
    outcome = survival_outcome(learning.time, learning.event)

    def fit(rows: Rows) -> CoxModel:
        fitted: CoxModel = estimator(treatment=ARM, seed=analysis.seed(3)).fit(X.iloc[rows], outcome[rows])
        return fitted

    repeats = analysis.repeats("risk")
    with analysis.watcher.step("Risk model, cross-validated", asked.folds * repeats) as advance:
        held = crossvalidate_risk(
            fit,
            X,
            learning.time,
            learning.event,
            treated=learning.treated,
            cells=learning.cells,
            horizon=endpoint.horizon,
            folds=asked.folds,
            repeats=repeats,
            seed=analysis.seed(4),
            advance=advance,
        )
    model = fit(np.arange(len(X)))
    _describe_risk(learning, model)
    _judge_risk(learning, held, model.log_hazard(X))
    learning.explain(model, "the risk model", "log hazard", "risk")
    part = RiskPart(asked.model, model, endpoint.horizon)
    analysis.risk = Stratifier(learning.trial.name, endpoint.unit, learning.contract, risk=part)


def _judge_risk(learning: Learning, held: HeldOut, apparent: Floats) -> None:
    """Add how good the risks of patients not seen are: in all, at the horizon, for decisions and within groups."""
    analysis, asked = learning.analysis, learning.analysis.study.models.risk
    at: dict[str, Any] = {"horizon": learning.endpoint.horizon, "unit": learning.endpoint.unit}
    analysis.add(discrimination(learning.time, learning.event, learning.treated, held, apparent, **at), "risk")
    analysis.add(calibration(learning.time, learning.event, learning.treated, held, **at), "risk")
    analysis.add(prediction_error(learning.time, learning.event, held, **at), "risk")
    # One repeat: an average over repeats would be the performance of an average of models, better than any one's.
    risk = held.risk[0]
    curve = calibration_curve(learning.time, learning.event, risk, kind="crossfit", seed=analysis.seed(9), **at)
    analysis.add(curve, "risk")
    if asked.thresholds:
        risks = {"the risk model": risk}
        given: dict[str, Any] = {"thresholds": asked.thresholds, "kind": "crossfit", **at}
        analysis.add(decision_curve(learning.time, learning.event, risks, learning.treated, **given), "risk")
    for name in asked.groups:
        groups, factor = _groups(learning, name)
        found = performance_by_group(learning.time, learning.event, risk, groups, factor=factor, kind="crossfit", **at)
        analysis.add(found, "risk")


def _groups(learning: Learning, name: str) -> tuple[NDArray[np.str_], str]:
    """Return each patient's group by a column, rare ones joined, missing values a group of their own; and its words."""
    column = learning.X[name]
    words = column.map({0: "no", 1: "yes"} if pd.api.types.is_numeric_dtype(column) else str)
    words = words.where(column.notna(), "missing")
    return words.mask(words.isin(rare_levels(words)), "other").to_numpy(dtype=np.str_), learning.labels.get(name, name)


def _describe_risk(learning: Learning, model: Any) -> None:
    learning.analysis.add(
        coefficients_of(
            model.encoder_,
            model.coefficients_,
            labels=learning.labels,
            subject="risk",
            effect="Hazard ratios of the event, conditional on the arm and the other covariates.",
            ratio=True,
            n=len(learning.X),
            events=int(learning.event.sum()),
            penalty=f"The {model.penalty_name} is {model.penalty_:g}.",
        ),
        "risk",
    )
    learning.analysis.add(
        sample_adequacy(
            "time to event",
            n=len(learning.X),
            events=int(learning.event.sum()),
            parameters=len(model.coefficients_) + 1,
            follow_up=float(learning.time.mean()),
            horizon=learning.endpoint.horizon,
        ),
        "risk",
    )

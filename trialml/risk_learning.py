"""The risk model: chosen, learned, judged on patients not seen, explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.explain.permutation import FoldModel, permutation_importance
from trialml.explain.risk_scores import risk_score
from trialml.explaining import MOST_MODELS, Explainer, PartModel, additive_or_risk
from trialml.learning import Learning
from trialml.models.boosted_competing import BoostedCompeting
from trialml.models.cause_specific_cox import CauseSpecificCox
from trialml.models.coefficients import coefficients_of
from trialml.models.cox_model import CoxModel
from trialml.models.fine_gray_ridge import FineGrayRidge
from trialml.models.learned_model import learned_model
from trialml.models.sample_adequacy import sample_adequacy
from trialml.risk_choosing import choose_risk_model
from trialml.risk_judging import judge, judge_by_bootstrap
from trialml.risk_patients import FittedRisk, RiskPatients, coefficients_model
from trialml.stratifier import RiskPart, Stratifier
from trialml.validation.crossvalidation import HeldOut, crossvalidate_risk

__all__ = ["learn_risk"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
_IMPORTANCE = 43
"""The step of the permutations; those of the folds and of the bootstrap are in `risk_judging`."""


def learn_risk(learning: Learning) -> None:
    """Fit the risk model, judge it on patients not seen, explain it.

    Parameters
    ----------
    learning
        The patients of the primary contrast; the results are added to its analysis.

    Raises
    ------
    AnalysisError
        If there are too few events, or a model cannot be fitted in a fold.
    """
    patients = RiskPatients(learning)
    analysis, name = learning.analysis, learning.analysis.study.risk_model
    if patients.asked.candidates:
        name, held, kept = choose_risk_model(patients, name)
        fit = patients.fit(name)
    else:
        fit, kept = patients.fit(name), []
        held = _crossvalidate(patients, _keeping(fit, kept, patients))
    model = fit(np.arange(len(patients.X)))
    _describe(patients, model)
    judge(patients, held, model)
    judge_by_bootstrap(patients, fit, linear=coefficients_model(model.estimator) is not None)
    _explain(patients, model, kept)
    part = RiskPart(name, model.estimator, patients.endpoint.horizon, patients.arm)
    analysis.risk = Stratifier(
        learning.trial.name, patients.endpoint.unit, learning.contract, part, training=learning.training
    )


def _crossvalidate(patients: RiskPatients, fit: Callable[[Rows], FittedRisk]) -> HeldOut:
    analysis, asked = patients.analysis, patients.asked
    repeats = analysis.repeats("risk")
    with analysis.watcher.step("Risk model, cross-validated", asked.folds * repeats) as advance:
        return crossvalidate_risk(
            fit,
            patients.X,
            patients.time,
            patients.event,
            treated=patients.treated,
            cells=patients.cells,
            horizon=patients.endpoint.horizon,
            folds=asked.folds,
            repeats=repeats,
            seed=analysis.seed(4),
            competing=patients.competing,
            times=patients.times_so_far(),
            advance=advance,
        )


def _keeping(
    fit: Callable[[Rows], FittedRisk], kept: list[FoldModel], patients: RiskPatients
) -> Callable[[Rows], FittedRisk]:
    """Return `fit`, which keeps the models of the first repeats: whether the explanation repeats is seen from them."""
    every = np.arange(len(patients.X))

    def fit_and_keep(rows: Rows) -> FittedRisk:
        model = fit(rows)
        if len(kept) < MOST_MODELS:
            kept.append(FoldModel(model, np.setdiff1d(every, rows)))
        return model

    return fit_and_keep


def _describe(patients: RiskPatients, model: FittedRisk) -> None:
    """Add what the model is, and whether there are patients enough for it."""
    linear = coefficients_model(model.estimator)
    counts: dict[str, Any] = {"n": len(patients.X), "events": int(patients.event.sum())}
    if linear is None:
        file = patients.model(model.name)
        described: Any = learned_model(file, model.estimator, subject="risk", **counts)
        parameters = described.columns
    else:
        described = coefficients_of(
            linear.encoder_,
            linear.coefficients_,
            labels=patients.labels,
            subject="risk",
            effect=_effect_words(patients, model.estimator),
            ratio=True,
            penalty=_penalty_words(linear, model.estimator),
            **counts,
        )
        parameters = len(linear.coefficients_) + (patients.arm == "covariate")
    patients.analysis.add(described, "risk")
    follow_up, horizon = float(patients.time.mean()), patients.endpoint.horizon
    enough = sample_adequacy(patients.kind, parameters=parameters, follow_up=follow_up, horizon=horizon, **counts)
    patients.analysis.add(enough, "risk")


def _effect_words(patients: RiskPatients, estimator: Any) -> str:
    given = (
        "conditional on the arm and the other covariates"
        if patients.arm == "covariate"
        else "conditional on the others"
    )
    if isinstance(estimator, CauseSpecificCox):
        return f"Cause-specific hazard ratios of the event, {given}."
    if isinstance(estimator, CoxModel):
        return f"Hazard ratios of the event, {given}."
    return f"Subdistribution hazard ratios of the event, {given}."


def _penalty_words(linear: Any, estimator: Any) -> str:
    words = f"The {linear.penalty_name} is {linear.penalty_:g}."
    if not isinstance(estimator, CauseSpecificCox):
        return words
    other = estimator.competing_
    rest = (
        "have one hazard for everybody"
        if other is None
        else f"have a model of their own, its penalty {other.penalty_:g}"
    )
    return f"{words} The competing events {rest}; the absolute risk combines both hazards."


def _subject_words(estimator: Any) -> str:
    """Return what a linear score is of: where causes have models of their own, the event's is explained."""
    whole = "the risk model"
    by_cause = isinstance(estimator, CauseSpecificCox | BoostedCompeting)
    return f"the event's cause-specific hazard in {whole}" if by_cause else whole


def _explain(patients: RiskPatients, model: FittedRisk, kept: list[FoldModel]) -> None:
    """Add what moves the model on the scale that it adds up on, what moves the risk over time, and checks of both."""
    horizon, estimator = patients.endpoint.horizon, model.estimator
    explainer = Explainer(
        patients.analysis,
        "risk",
        patients.X,
        patients.covariates,
        patients.treated,
        patients.labels,
        parts=[_part(one, len(patients.X)) for one in kept],
    )
    linear, subject = coefficients_model(estimator), _subject_words(estimator)
    if linear is not None:
        unit = "log subdistribution hazard" if isinstance(estimator, FineGrayRidge) else "log hazard"
        explainer.line(linear, subject, unit)
    else:
        explainer.score(
            additive_or_risk(estimator, [horizon]), subject, model=estimator,
            of_part=lambda part: additive_or_risk(part, [horizon]),
        )  # fmt: skip
    explainer.over_time(estimator, patients.times_so_far(), patients.endpoint.unit)
    words = f"the risk by {horizon:g} {patients.endpoint.unit}"
    explainer.dependence([risk_score(_fitted(one), [horizon]) for one in kept], risk_score(estimator, [horizon]), words)
    explainer.on_paper(risk_score(estimator, [horizon]), words)
    _add_importance(patients, model, kept[: patients.asked.folds], fewer=linear is not None)


def _fitted(one: FoldModel) -> Any:
    """Return the estimator of a fold, which this file made."""
    assert isinstance(one.model, FittedRisk)
    return one.model.estimator


def _part(one: FoldModel, n: int) -> PartModel:
    estimator = _fitted(one)
    linear = coefficients_model(estimator)
    return PartModel(estimator if linear is None else linear, 1 - len(one.unseen) / n)


def _add_importance(patients: RiskPatients, model: FittedRisk, kept: list[FoldModel], *, fewer: bool) -> None:
    """Add the permutation importance, of a line by fewer permutations: there it is a check, and the run should not wait for it."""
    analysis = patients.analysis
    with analysis.watcher.step("Permutation importance", 1) as advance:
        explained = permutation_importance(
            kept,
            model,
            patients.X,
            patients.time,
            patients.event,
            competing=patients.competing,
            subject="the risk model",
            labels=patients.labels,
            permutations=2 if analysis.quick else 3 if fewer else 10,
            seed=analysis.seed(_IMPORTANCE),
            **patients.at,
        )
        advance()
    analysis.add(explained, "risk")

"""Why a model says what it says of one patient, from the model alone: no other patient's row is needed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.benefit_scores import benefit_score
from trialml.explain.explained_score import ExplainedScore
from trialml.explain.risk_scores import additive_score, risk_score
from trialml.explain.tree_shap import refuse_broken_sum
from trialml.models.survival_forest import SurvivalForest

__all__ = ["LocalExplanation", "explain_benefit_of", "explain_risk_of"]

Floats = NDArray[np.float64]


class LocalExplanation(NamedTuple):
    """SHAP values of one patient.

    Attributes
    ----------
    parts
        By covariate, the largest in size first.
    base, score
        What the model says of the average patient and of this one: ``base + parts.sum() == score``.
    unit, how
        Of the score, and by which way, in words.
    """

    parts: pd.Series
    base: float
    score: float
    unit: str
    how: str


def explain_risk_of(estimator: Any, patient: pd.DataFrame, horizon: float | None, unit: str = "") -> LocalExplanation:
    """Explain what a risk model says of one patient under control.

    Parameters
    ----------
    estimator
        A fitted risk model, perhaps read from its state.
    patient
        One row of covariates.
    horizon
        Where the risk of a survival forest is read.
    unit
        Of a continuous endpoint.

    Returns
    -------
    LocalExplanation
        Of a line against the average training patient, exact since the encoder keeps the means; of trees path-dependent, by the counts
        that the trees keep.

    Raises
    ------
    AnalysisError
        If the model is neither, or its trees keep no counts.
    """
    part = getattr(estimator, "event_", estimator)
    if hasattr(part, "coefficients_"):
        return _of_line(part, patient, _unit_of_line(part, unit))
    score = additive_score(estimator)
    if score is None and isinstance(estimator, SurvivalForest) and horizon is not None:
        score = risk_score(estimator, [horizon])
    return _of_trees(score, patient)


def explain_benefit_of(model: Any, patient: pd.DataFrame, unit: str) -> LocalExplanation:
    """Explain the benefit score of one patient.

    Parameters
    ----------
    model
        A fitted response model, perhaps read from its state.
    patient
        One row of covariates.
    unit
        Of the score.

    Raises
    ------
    AnalysisError
        If the score is neither a line nor a sum of trees that keep counts: it is then explained against a background alone.
    """
    if hasattr(model, "coefficients_"):
        return _of_line(model, patient, unit)
    return _of_trees(benefit_score(model, unit), patient)


def _of_line(model: Any, patient: pd.DataFrame, unit: str) -> LocalExplanation:
    """Return coefficient times standardised value: 0 is the average training patient."""
    parts = model.coefficients_ * model.encoder_.transform(patient)[0]
    values = pd.Series(parts).groupby(np.asarray(model.encoder_.covariate_of_column()), sort=False).sum()
    total = float(parts.sum())
    refuse_broken_sum(abs(float(values.sum()) - total), np.array([total]))
    return LocalExplanation(_sorted(values), 0.0, total, unit, "exact, against the average patient of the trial")


def _of_trees(score: ExplainedScore | None, patient: pd.DataFrame) -> LocalExplanation:
    if score is None or score.boxes is None:
        raise AnalysisError(
            "This model is neither a line nor a sum of trees, so that a patient is explained against others alone, whose rows are not kept: explain "
            "it in a run."
        )
    found, _ = score.explain(patient, None, seed=0, perturbation="path-dependent")
    values = pd.Series(found[0][0, :, 0], index=list(score.covariates))
    said = float(score.value(patient)[0, 0])
    how = "exact, against the patients that the trees were counted with (path-dependent)"
    return LocalExplanation(_sorted(values), float(found.base[0]), said, score.unit, how)


def _sorted(values: pd.Series) -> pd.Series:
    return values.reindex(values.abs().sort_values(ascending=False, kind="stable").index)


def _unit_of_line(part: Any, unit: str) -> str:
    return "log hazard" if hasattr(part, "log_hazard") else "log odds" if hasattr(part, "risk") else unit or "mean"

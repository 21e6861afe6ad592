"""The response model that the study file asks for: fitted to some patients and their scores, described, explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explaining import Explainer
from trialml.models import Model, model_named
from trialml.models.coefficients import coefficients_of
from trialml.models.learned_model import learned_model
from trialml.models.outcome import scored_outcome
from trialml.result import format_count, format_number, format_p

if TYPE_CHECKING:
    from trialml.learning import Learning

__all__ = ["describe_benefit_model", "explain_benefit_model", "fit_benefit_model", "refuse_few_patients"]

ARM = "treated"
FOLD_SHARE = 0.05
"""Fifty models or so are learned in folds where the final one is learned once. On ACTG 175 ten splits leave their slopes a
Monte Carlo error of 0.12, small beside the spread of 0.46 between training sets."""
QUICK_SHARE = 0.1

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def asked_model(learning: Learning) -> Model:
    """Return the response model that the study file names."""
    return model_named(learning.analysis.study.models.response.model, "response", learning.endpoint.kind)


def refuse_few_patients(learning: Learning) -> None:
    """Refuse, before anything is learned, a response model that asks for more patients than there are.

    Raises
    ------
    AnalysisError
        If there are fewer than the model's file says.
    """
    file, n = asked_model(learning), len(learning.X)
    if n < file.fewest_patients:
        raise AnalysisError(
            f"[models.response] model = '{file.name}' is for {file.fewest_patients:,} patients or more, and the primary contrast has "
            f"{n:,}: name ridge_scores or lasso_scores."
        )


def fit_benefit_model(learning: Learning, rows: Rows, scores: Floats, *, fold: bool = False) -> Any:
    """Return the response model of some patients and their doubly robust scores.

    Parameters
    ----------
    learning
        The patients of the primary contrast.
    rows, scores
        Who is learned from, and their scores, shape (rows,).
    fold
        In a fold the shrinkage is pooled over fewer splits, and the size of the trial is not judged anew.

    Raises
    ------
    AnalysisError
        If the model refuses these patients.
    """
    file, asked = asked_model(learning), learning.analysis.study.models.response
    estimator = file.estimator(seed=learning.analysis.seed(7))
    known = estimator.get_params()
    given: dict[str, Any] = {"treatment": ARM, "tau": learning.endpoint.tau, "gate": asked.gate}
    given["higher_is_better"] = learning.endpoint.higher_is_better
    estimator.set_params(**{name: value for name, value in given.items() if name in known})
    share = (FOLD_SHARE if fold else 1.0) * (QUICK_SHARE if learning.analysis.quick else 1.0)
    if fold:
        estimator = estimator.for_folds(share)
    else:
        estimator.set_params(repeats=max(2, round(share * estimator.repeats)))
    X = learning.X.iloc[rows]
    if file.learns_from == "scores":
        return estimator.fit(X, scores)
    arm = learning.treated[rows].astype(np.float64)
    return estimator.fit(X.assign(**{ARM: arm}), scored_outcome(learning.modelled_outcome(rows), scores))


def describe_benefit_model(
    learning: Learning, model: Any, *, effect: str, events: int, counted: str = "events", by: str = ""
) -> None:
    """Add the coefficients of a line, or the settings of any other model.

    Parameters
    ----------
    learning, model
        The patients of the primary contrast, and the final model.
    effect
        What a coefficient is, in words.
    events, counted, by
        The information that it rests on, what is counted, and until when.
    """
    counts: dict[str, Any] = {"n": len(learning.X), "events": events}
    if hasattr(model, "coefficients_"):
        kept = (
            f"Of the score's spread {100 * model.shrinkage:.0f} % is kept in the expected benefit (Monte Carlo error of the "
            f"{format_count(model.repeats)} splits {format_number(100 * model.slope_mc_error_, 2)} percentage points).{_gate_words(model)}"
        )
        described: Any = coefficients_of(
            model.encoder_,
            model.coefficients_,
            labels=learning.labels,
            subject="benefit",
            effect=effect,
            ratio=False,
            counted=counted,
            by=by,
            penalty=kept,
            **counts,
        )
    else:
        described = learned_model(asked_model(learning), model, subject="benefit", counted=counted, **counts)
    learning.analysis.add(described, "response")


def _gate_words(model: Any) -> str:
    """Return whether the gate is open, where the study file asks for one."""
    if model.gate is None:
        return ""
    p, level = format_p(model.gate_p_), format_number(model.gate)
    shown = p if p[0] in "<>" else f"= {p}"
    if model.gate_open_:
        return f" The gate is open: the global test of the scores has p {shown}, at a level of {level}."
    return f" The gate is closed (global test of the scores: p {shown}, at a level of {level}): everybody's expected benefit is the average effect."


def explain_benefit_model(learning: Learning, model: Any, unit: str) -> Explainer:
    """Add what moves the benefit score, and return what explains it within strata too."""
    explainer = Explainer(
        learning.analysis, "response", learning.X, learning.X, learning.treated, learning.labels, parts=learning.parts
    )
    explainer.benefit(model, unit)
    return explainer

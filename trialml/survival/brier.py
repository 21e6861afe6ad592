"""The Brier score at a horizon with censored follow-up, and how much it gains on the null model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import DataError
from trialml.survival.ipcw import (
    FEWEST_AT_RISK,
    Censoring,
    censoring_of,
    checked_horizon,
    checked_outcome,
    checked_risk,
    observed_risk,
    standard_error,
)
from trialml.survival.product_limit import Curve
from trialml.survival.ties import Array

__all__ = ["FEWEST_AT_RISK", "BrierValue", "brier", "index_of_accuracy", "mean_over_time"]


class BrierValue(NamedTuple):
    """A Brier score with its gain on the null model.

    Attributes
    ----------
    value, se
        The Brier score and its standard error.
    null, null_se
        The Brier score of one risk for everybody, and its standard error.
    ipa, ipa_se
        The index of prediction accuracy, ``1 - value / null``, and its standard error.
    influence
        Each patient's influence on `value`, shape ``(n,)``: ``se = sd(influence) / sqrt(n)``.
    null_influence
        The same of `null`; differences of two models on the same patients pair by these.
    null_risk
        The risk that the null model gives everybody.
    """

    value: float
    se: float
    null: float
    null_se: float
    ipa: float
    ipa_se: float
    influence: Array
    null_influence: Array
    null_risk: float


def brier(
    time: Any,
    event: Any,
    risk_at_horizon: Any,
    horizon: float,
    *,
    competing: Any = None,
    censoring: Curve | Censoring | None = None,
    null_risk: float | None = None,
) -> BrierValue:
    """Return the Brier score of predicted risks by `horizon`, weighted for censoring.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    risk_at_horizon
        The predicted probability of the event by `horizon`, shape ``(n,)``, within 0 and 1.
    horizon
        In the unit of `time`; at least 10 patients must be followed beyond it.
    competing
        True where a competing event ended follow-up, shape ``(n,)``: the patient will not have the event, and counts
        as free of it from then on.
    censoring
        The censoring curve G, from `censoring_curve`, or `kaplan_meier_censoring` or `cox_censoring` of these
        patients; by default Kaplan-Meier's of these data.
    null_risk
        The risk that the null model gives everybody, from the training data; by default the Kaplan-Meier (with
        competing events the Aalen-Johansen) risk of these data.

    Returns
    -------
    BrierValue
        The mean of ``(1{event by h} - risk)^2 w``, w ``1 / G(T-)`` where an event of any cause came by h, ``1 / G(h)``
        beyond h, 0 where follow-up was cut before. Where G is estimated from these patients its sampling error is
        in the standard errors, as in R's ``riskRegression::Score``; a G that is passed in as a curve is taken as
        known, and so is the null risk.

    Raises
    ------
    DataError
        If a risk is missing or outside 0 to 1.
    AnalysisError
        If fewer than 10 patients are followed beyond `horizon`.

    References
    ----------
    Graf E, Schmoor C, Sauerbrei W, Schumacher M. Assessment and comparison of prognostic classification schemes
    for survival data. Stat Med 1999;18:2529-2545.
    Kattan MW, Gerds TA. The index of prediction accuracy. Diagn Progn Res 2018;2:7.
    """
    outcome = checked_outcome(time, event, competing)
    risk = checked_risk(risk_at_horizon, outcome.time.size)
    beyond = checked_horizon(outcome.time, horizon)
    model = censoring_of(outcome, censoring)
    weight = model.weights(beyond, horizon)
    happened = outcome.event & ~beyond
    if null_risk is None:
        null_risk = float(observed_risk(outcome, horizon))
    squares = weight * (happened - risk) ** 2
    null_squares = weight * (happened - null_risk) ** 2
    term, null_term = (part - part.mean() + model.influence(part, horizon) for part in (squares, null_squares))
    value, null = float(squares.mean()), float(null_squares.mean())
    ipa, gain = index_of_accuracy(value, term, null, null_term)
    errors = [standard_error(part) for part in (term, null_term, gain)]
    return BrierValue(value, errors[0], null, errors[1], ipa, errors[2], term, null_term, null_risk)


def index_of_accuracy(value: float, influence: Array, null: float, null_influence: Array) -> tuple[float, Array]:
    """Return the index of prediction accuracy ``1 - value / null`` and each patient's influence on it.

    Parameters
    ----------
    value, null
        Brier scores, at a horizon or over time, of the model and of the null model.
    influence, null_influence
        Each patient's influence on them, shape ``(n,)``.

    Returns
    -------
    ipa, influence
        NaN where the null model makes no error.
    """
    if null <= 0:
        return np.nan, np.full(influence.size, np.nan)
    return float(1 - value / null), np.asarray(-influence / null + null_influence * value / null**2)


def mean_over_time(times: npt.ArrayLike, values: npt.ArrayLike) -> Array:
    """Return the mean over ``[0, t]``, t the last time, of a number known at `times`: the integrated Brier score.

    Parameters
    ----------
    times
        Ascending horizons above 0, shape ``(k,)``.
    values
        The number at each, in rows: shape ``(k,)`` or ``(k, n)`` (the influences of n patients).

    Returns
    -------
    ndarray
        ``sum of trapezoids / t``, with 0 at time 0, where nobody has had the event; shape ``()`` or ``(n,)``. The mean
        depends on how far `times` reach and on how dense they are, so both belong beside it.

    Raises
    ------
    DataError
        If the times do not rise from above 0.
    """
    at = np.concatenate(([0.0], np.asarray(times, dtype=float)))
    if at.size < 2 or not (np.diff(at) > 0).all():
        raise DataError("the horizons of an integrated score must rise from above 0: sort them and name each once")
    rows = np.asarray(values, dtype=float)
    rows = np.concatenate((np.zeros((1, *rows.shape[1:])), rows))
    width = np.diff(at)
    return np.asarray(np.tensordot(width, (rows[1:] + rows[:-1]) / 2, axes=1) / at[-1])

"""The Brier score at a horizon with censored follow-up, and how much it gains on the null model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import AnalysisError, DataError
from trialml.survival.product_limit import Curve, censoring_curve, product_limit, step_at
from trialml.survival.ties import TIE_TOLERANCE, Array, checked_times

__all__ = ["FEWEST_AT_RISK", "BrierValue", "brier"]

FEWEST_AT_RISK = 10
"""With fewer patients followed to the horizon the weights rest on a handful of them."""


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
    censoring: Curve | None = None,
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
    censoring
        The censoring curve G, from `censoring_curve`; estimated from these data by default.
    null_risk
        The risk that the null model gives everybody, from the training data; by default the Kaplan-Meier
        risk of these data.

    Returns
    -------
    BrierValue
        ``mean(1{T <= h, event} (1 - risk)^2 / G(T-) + 1{T > h} risk^2 / G(h))``. Where G is estimated here its
        sampling error is in the standard errors, as in R's ``riskRegression::Score``; a G that is passed in is
        taken as known.

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
    times, flags = checked_times(time, event)
    risk = _checked_risk(risk_at_horizon, times.size)
    beyond = times > horizon * (1 + TIE_TOLERANCE)
    if not np.isfinite(horizon) or horizon <= 0 or beyond.sum() < FEWEST_AT_RISK:
        raise AnalysisError(
            f"{int(beyond.sum())} patients are followed beyond the horizon {horizon:g} (the longest follow-up is "
            f"{times.max():g}): choose a horizon beyond which at least {FEWEST_AT_RISK} are followed"
        )
    curve = censoring_curve(times, flags) if censoring is None else censoring
    weight = _weights(times, flags, beyond, horizon, curve)
    happened = flags & ~beyond
    if null_risk is None:
        km = product_limit(times, flags)
        null_risk = float(1 - step_at(km.time, km.survival, horizon))
    known = censoring is not None
    squares = weight * np.where(happened, 1 - risk, risk) ** 2
    null_squares = weight * np.where(happened, 1 - null_risk, null_risk) ** 2
    term, null_term = (
        _influence(part, times, flags, horizon, None if known else curve) for part in (squares, null_squares)
    )
    value, null = float(squares.mean()), float(null_squares.mean())
    if null > 0:
        ipa, gain = 1 - value / null, -term / null + null_term * value / null**2
    else:
        ipa, gain = np.nan, np.full(times.size, np.nan)
    errors = [_standard_error(part) for part in (term, null_term, gain)]
    return BrierValue(value, errors[0], null, errors[1], float(ipa), errors[2], term, null_term, null_risk)


def _checked_risk(values: Any, n: int) -> Array:
    risk = np.asarray(values, dtype=float)
    if risk.shape != (n,) or not np.isfinite(risk).all():
        raise DataError(f"risk_at_horizon must hold one finite number for each of the {n} patients")
    if risk.min() < 0 or risk.max() > 1:
        odd = risk.min() if risk.min() < 0 else risk.max()
        raise DataError(f"risk_at_horizon holds {odd:g}, but a risk is a probability between 0 and 1")
    return risk


def _weights(
    times: Array, flags: npt.NDArray[np.bool_], beyond: npt.NDArray[np.bool_], horizon: float, curve: Curve
) -> Array:
    weight = np.zeros(times.size)
    happened = flags & ~beyond
    before = step_at(curve.time, curve.survival, times[happened], left=True)
    at = float(step_at(curve.time, curve.survival, horizon))
    if at <= 0 or (before <= 0).any():
        raise AnalysisError(
            f"the censoring curve is 0 by the horizon {horizon:g}: choose an earlier horizon or pass the curve of "
            "patients followed as long"
        )
    weight[happened] = 1 / before
    weight[beyond] = 1 / at
    return weight


def _influence(part: Array, times: Array, flags: npt.NDArray[np.bool_], horizon: float, curve: Curve | None) -> Array:
    """Return each patient's influence on ``mean(part)``, with that of the estimated censoring curve.

    A patient's part in the curve is the martingale of the patient's own censoring, and it moves the score by
    the weighted squares of all who are still to be weighted after that time.
    """
    own = part - part.mean()
    if curve is None:
        return np.asarray(own)
    n = times.size
    position = np.searchsorted(curve.time, times * (1 + TIE_TOLERANCE), side="right") - 1
    by_time = np.bincount(position, part, curve.time.size)
    later = (np.cumsum(by_time[::-1])[::-1] - by_time) / n
    # Everybody followed to a time counts as at risk of censoring at it, those with the event at it too: this is
    # riskRegression's choice, a little wider than the reversed tie order of the curve, and the same without ties.
    at_risk = (curve.n_risk + curve.n_censor) / n
    counts = curve.time <= horizon * (1 + TIE_TOLERANCE)
    rate = np.where(counts, later / at_risk, 0.0)
    drift = np.concatenate(([0.0], np.cumsum(rate * curve.n_event / (at_risk * n))))
    return np.asarray(own + np.where(flags, 0.0, rate[position]) - drift[position + 1])


def _standard_error(influence: Array) -> float:
    return float(np.std(influence, ddof=1) / np.sqrt(influence.size))

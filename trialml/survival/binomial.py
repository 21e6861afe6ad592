"""A weighted regression of whether an event happened: complementary log-log or logistic, with each patient's score."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from trialml.errors import AnalysisError
from trialml.survival.ties import Array, Flags

__all__ = [
    "CLOSEST",
    "BinomialLink",
    "Recalibration",
    "binomial_maximum",
    "binomial_scores",
    "inverse_link",
    "linked",
    "recalibration",
]

CLOSEST = 1e-9
"""Risks nearer to 0 or 1 than this are taken to lie there."""

STILL = 1e-4
"""How far a linear predictor may yet move in a step that gains nothing."""

BinomialLink = Literal["cloglog", "logit"]


def linked(risk: Any, link: BinomialLink) -> Array:
    """Return ``log(-log(1 - risk))``, or ``log(risk / (1 - risk))``, of risks of any shape."""
    inside = np.clip(np.asarray(risk, dtype=float), CLOSEST, 1 - CLOSEST)
    if link == "cloglog":
        return np.asarray(np.log(-np.log1p(-inside)))
    return np.asarray(np.log(inside) - np.log1p(-inside))


def inverse_link(eta: Array, link: BinomialLink) -> Array:
    """Return the risks of linear predictors of any shape."""
    if link == "cloglog":
        return np.asarray(-np.expm1(-np.exp(eta)))
    return np.asarray(0.5 * (1 + np.tanh(0.5 * eta)))


class _Parts(NamedTuple):
    """What a patient adds, apart from weight and columns: to the score, to its expected and to its own derivative."""

    score: Array
    expected: Array
    own: Array


def _parts(eta: Array, happened: Flags, link: BinomialLink) -> _Parts:
    risk = np.clip(inverse_link(eta, link), 1e-300, None)
    if link == "logit":
        bend = risk * (1 - risk)
        return _Parts(happened - risk, bend, -bend)
    pull = np.exp(eta)
    slope = pull * (1 - risk)
    own = -slope * pull / risk + (happened - risk) * (pull / risk) * (1 - slope / risk)
    return _Parts((happened - risk) * pull / risk, pull**2 * (1 - risk) / risk, own)


def binomial_maximum(X: Array, happened: Flags, weight: Array, link: BinomialLink = "cloglog") -> Array:
    """Return the maximum of the weighted likelihood by Fisher scoring, halved where a step would lower it.

    Parameters
    ----------
    X
        Columns, the first of ones, shape ``(n, p)``.
    happened, weight
        Whether the event happened and what the patient counts, shape ``(n,)``.
    link
        Of the risk: complementary log-log or logit.

    Returns
    -------
    ndarray of shape (p,)

    Raises
    ------
    AnalysisError
        If there is no maximum: the columns part patients with the event from those without.
    """
    beta = np.zeros(X.shape[1])
    mean = float(np.clip(weight @ happened / weight.sum(), CLOSEST, 1 - CLOSEST))
    beta[0] = math.log(-math.log1p(-mean)) if link == "cloglog" else math.log(mean / (1 - mean))
    value = _likelihood(X @ beta, happened, weight, link)
    for _ in range(100):
        parts = _parts(X @ beta, happened, link)
        score = X.T @ (weight * parts.score)
        try:
            step = np.linalg.solve((X * (weight * parts.expected)[:, None]).T @ X, score)
        except np.linalg.LinAlgError:
            break
        while (new := _likelihood(X @ (beta + step), happened, weight, link)) < value - 1e-12 * abs(value):
            step = step / 2
        beta, value = beta + step, new
        if float(score @ step) < 1e-20 * max(abs(value), 1.0):
            # Where the columns part patients, the likelihood settles while the coefficients go on to infinity.
            if np.abs(X @ step).max() > STILL:
                break
            return beta
    raise AnalysisError(
        "the calibration curve has no maximum: the events are separated by the predicted risk or too few; use fewer "
        "knots or more patients"
    )


def _likelihood(eta: Array, happened: Flags, weight: Array, link: BinomialLink) -> float:
    if link == "logit":
        return float(-weight @ np.logaddexp(0.0, np.where(happened, -eta, eta)))
    rate = np.exp(np.minimum(eta, 700.0))
    logs = np.where(happened, np.log(np.maximum(-np.expm1(-rate), 1e-300)), -rate)
    return float(weight @ logs)


def binomial_scores(
    X: Array, eta: Array, happened: Flags, weight: Array, link: BinomialLink = "cloglog"
) -> tuple[Array, Array]:
    """Return each patient's score, shape ``(n, p)``, and minus the mean derivative of these, shape ``(p, p)``."""
    parts = _parts(eta, happened, link)
    return X * (weight * parts.score)[:, None], -(X * (weight * parts.own)[:, None]).T @ X / eta.size


class Recalibration(NamedTuple):
    """A logistic regression of the event on the log odds of the predicted risk, and the intercept at a slope of 1."""

    slope: float
    slope_se: float
    in_the_large: float
    in_the_large_se: float


def recalibration(happened: Flags, risk: Array) -> Recalibration:
    """Return calibration slope and calibration in the large of predicted risks of a binary endpoint.

    Parameters
    ----------
    happened, risk
        Whether the event happened and its predicted probability, shape ``(n,)``.

    Returns
    -------
    Recalibration
        The slope of ``logit P(event) = a + b logit(risk)``, NaN where all risks are one, and a where b is 1 (0 is right, above
        0 the risks are too low), with the errors of maximum likelihood.

    Raises
    ------
    AnalysisError
        If all or none have the event, or the risk parts those who have it from the others.

    References
    ----------
    Cox DR. Two further applications of a model for binary regression. Biometrika 1958;45:562-565.
    """
    if happened.all() or not happened.any():
        raise AnalysisError(f"{int(happened.sum())} of {happened.size} patients have the event: calibration needs some with and some "
                            "without")  # fmt: skip
    score = linked(risk, "logit")
    one = np.ones(happened.size)
    slope = slope_se = math.nan
    if np.ptp(score) > 0:
        X = np.column_stack([one, score])
        beta = binomial_maximum(X, happened, one, "logit")
        bread = binomial_scores(X, X @ beta, happened, one, "logit")[1]
        slope, slope_se = float(beta[1]), math.sqrt(np.linalg.inv(bread)[1, 1] / happened.size)
    shift = 0.0
    for _ in range(100):
        expected = inverse_link(score + shift, "logit")
        information = float((expected * (1 - expected)).sum())
        step = float((happened - expected).sum()) / information
        shift += min(max(step, -1.0), 1.0)  # far off, the sum is flat and Newton's step too long
        if abs(step) < 1e-12 * max(abs(shift), 1.0):
            break
    return Recalibration(slope, slope_se, shift, 1 / math.sqrt(information))

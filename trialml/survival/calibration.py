"""Do predicted risks come true at a horizon? Observed over expected, slope and a smooth curve, with censored follow-up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from trialml.errors import AnalysisError
from trialml.result import Z95
from trialml.survival.aalen_johansen import aalen_johansen
from trialml.survival.binomial import BinomialLink, binomial_maximum, binomial_scores, inverse_link, linked
from trialml.survival.cox_fit import fit_cox
from trialml.survival.fine_gray_fit import fit_fine_gray
from trialml.survival.ipcw import Censoring, Outcome, censoring_of, checked_horizon, checked_outcome, checked_risk
from trialml.survival.product_limit import Curve, product_limit, step_at
from trialml.survival.spline import restricted_cubic, spline_knots
from trialml.survival.ties import Array, Flags, not_after

__all__ = [
    "CalibrationGaps",
    "ObservedOverExpected",
    "SmoothCalibration",
    "calibration_gaps",
    "calibration_slope",
    "cloglog",
    "observed_over_expected",
    "smooth_calibration",
    "smooth_curve",
]


class ObservedOverExpected(NamedTuple):
    """Observed over expected risk, with a 95 % interval and the standard error of its logarithm."""

    value: float
    low: float
    high: float
    se: float
    observed: float


class SmoothCalibration(NamedTuple):
    """A smooth calibration curve.

    Attributes
    ----------
    knots, coefficients
        Of the restricted cubic spline in the linked risk: shapes ``(k,)`` and ``(p,)``, intercept first.
    covariance
        Of the coefficients, shape ``(p, p)``.
    influence
        Each patient's influence on the coefficients, shape ``(n, p)``; the coefficients are means of these.
    risk, observed
        The predicted risks and the curve at them, shape ``(n,)``.
    link
        ``log(-log(1 - risk))`` or, of a binary endpoint, ``log(risk / (1 - risk))``.
    """

    knots: Array
    coefficients: Array
    covariance: Array
    influence: Array
    risk: Array
    observed: Array
    link: BinomialLink = "cloglog"

    def at(self, risk: Any) -> tuple[Array, Array, Array]:
        """Return the curve and its pointwise 95 % limits at predicted risks of shape ``(m,)``."""
        X = _columns(linked(risk, self.link), self.knots)
        eta = X @ self.coefficients
        half = Z95 * np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", X, self.covariance, X), 0.0))
        return tuple(inverse_link(one, self.link) for one in (eta, eta - half, eta + half))  # type: ignore[return-value]


class CalibrationGaps(NamedTuple):
    """How far the curve is from the predictions, each with limits: value, low, high, standard error.

    Attributes
    ----------
    ici, e50, e90
        The mean, median and 0.9 quantile over patients of ``|observed - predicted|``.
    draws
        How many draws the limits and errors are from.
    """

    ici: tuple[float, float, float, float]
    e50: tuple[float, float, float, float]
    e90: tuple[float, float, float, float]
    draws: int


def cloglog(risk: Array) -> Array:
    """Return ``log(-log(1 - risk))``, the linear predictor of proportional hazards up to a constant."""
    return linked(risk, "cloglog")


def observed_over_expected(
    time: Any, event: Any, risk_at_horizon: Any, horizon: float, *, competing: Any = None
) -> ObservedOverExpected:
    """Return the observed risk by the horizon over the mean predicted risk.

    Parameters
    ----------
    time, event, competing
        As in `brier`.
    risk_at_horizon
        Predicted risks, shape ``(n,)``; they are taken as fixed.
    horizon
        In the unit of `time`.

    Returns
    -------
    ObservedOverExpected
        Observed is the Kaplan-Meier, with competing events the Aalen-Johansen risk; ``se = se(observed) / observed``
        (Greenwood's, or the delta method's), and the limits are on the log scale. NaN where nobody had the event by
        the horizon or nobody is followed to it.

    Raises
    ------
    DataError
        If a risk is missing or outside 0 to 1.
    """
    outcome = checked_outcome(time, event, competing)
    risk = checked_risk(risk_at_horizon, outcome.time.size)
    happened = outcome.event & not_after(outcome.time, horizon)
    if not happened.any() or not not_after(horizon, outcome.time.max()) or risk.mean() <= 0:
        return ObservedOverExpected(*[math.nan] * 5)
    observed, se = _observed(outcome, horizon)
    spread = se / observed
    ratio = observed / float(risk.mean())
    return ObservedOverExpected(
        ratio, ratio * math.exp(-Z95 * spread), ratio * math.exp(Z95 * spread), spread, observed
    )


def _observed(outcome: Outcome, horizon: float) -> tuple[float, float]:
    if not outcome.competing.any():
        curve = product_limit(outcome.time, outcome.event)
        observed = 1 - float(step_at(curve.time, curve.survival, horizon))
        return observed, (1 - observed) * float(step_at(curve.time, curve.se_log, horizon, initial=0.0))
    found = aalen_johansen(outcome.time, outcome.event + 2 * outcome.competing, 2, "delta")
    return tuple(float(step_at(found.time, part[:, 0], horizon, initial=0.0)) for part in (found.incidence, found.se))  # type: ignore[return-value]


def calibration_slope(
    time: Any, event: Any, risk_at_horizon: Any, horizon: float, *, competing: Any = None
) -> tuple[float, float]:
    """Return the calibration slope at a horizon and its standard error: 1 is right, below 1 predictions are too extreme.

    Parameters
    ----------
    time, event, competing
        As in `brier`; follow-up is cut at the horizon.
    risk_at_horizon
        Predicted risks, shape ``(n,)``.
    horizon
        In the unit of `time`.

    Returns
    -------
    slope, se : float
        The coefficient of ``log(-log(1 - risk))`` in a Cox model of the events up to the horizon, with competing
        events in a Fine-Gray model (Breslow's ties, sandwich error).

    Raises
    ------
    DataError
        If a risk is missing or outside 0 to 1.
    AnalysisError
        If the risks are all one, or there are no events by the horizon.

    References
    ----------
    van Houwelingen HC. Validation, calibration, revision and combination of prognostic survival models. Stat Med
    2000;19:3401-3415.
    Austin PC, Putter H, Giardiello D, van Klaveren D. Graphical calibration curves and the integrated calibration
    index (ICI) for competing risk models. Diagn Progn Res 2022;6:2.
    """
    outcome = checked_outcome(time, event, competing)
    score = cloglog(checked_risk(risk_at_horizon, outcome.time.size))
    by_then = not_after(outcome.time, horizon)
    cut = np.minimum(outcome.time, horizon)
    if not outcome.competing.any():
        fitted = fit_cox(cut, outcome.event & by_then, score[:, None])
        return float(fitted.coefficients[0]), math.sqrt(fitted.covariance[0, 0])
    code = np.where(by_then, outcome.event + 2 * outcome.competing, 0)
    centred = (score - score.mean())[:, None]
    fine = fit_fine_gray(cut, code, centred, 1, ("log(-log(1 - risk))",), "breslow")
    return float(fine.coefficients[0]), math.sqrt(fine.covariance[0, 0])


def smooth_calibration(
    time: Any,
    event: Any,
    risk_at_horizon: Any,
    horizon: float,
    *,
    competing: Any = None,
    censoring: Curve | Censoring | None = None,
    knots: int = 4,
) -> SmoothCalibration:
    """Return the risk that was observed at each predicted risk, smooth, weighted for censoring.

    Parameters
    ----------
    time, event, competing, censoring
        As in `brier`; at least 10 patients must be followed beyond the horizon.
    risk_at_horizon
        Predicted risks, shape ``(n,)``, of at least two values.
    horizon
        In the unit of `time`.
    knots
        Of a restricted cubic spline in ``log(-log(1 - risk))``, at Harrell's quantiles: 3, 4 or 5.

    Returns
    -------
    SmoothCalibration
        A complementary log-log regression of the event by the horizon, weighted by the inverse probability of being
        uncensored: proportional hazards are not assumed. The covariance is the sandwich of the patients' influences,
        in which those of an estimated censoring curve count.

    Raises
    ------
    DataError
        If a risk is missing or outside 0 to 1.
    AnalysisError
        If fewer than 10 patients are followed beyond the horizon, fewer events than coefficients happened, all risks
        are equal, or the regression has no maximum.

    References
    ----------
    Austin PC, Harrell FE, van Klaveren D. Graphical calibration curves and the integrated calibration index (ICI) for
    survival models. Stat Med 2020;39:2714-2742.
    Gerds TA, Andersen PK, Kattan MW. Calibration plots for risk prediction models in the presence of competing
    risks. Stat Med 2014;33:3191-3203.
    """
    outcome = checked_outcome(time, event, competing)
    risk = checked_risk(risk_at_horizon, outcome.time.size)
    beyond = checked_horizon(outcome.time, horizon)
    happened = outcome.event & ~beyond
    model = censoring_of(outcome, censoring)
    weight = model.weights(beyond, horizon)
    return smooth_curve(
        happened, risk, weight, lambda part: model.influence(part, horizon), knots=knots, link="cloglog"
    )


def smooth_curve(
    happened: Flags,
    risk: Array,
    weight: Array,
    spread: Callable[[Array], Array],
    *,
    knots: int = 4,
    link: BinomialLink,
) -> SmoothCalibration:
    """Return the smooth curve of a weighted yes-or-no outcome on the predicted risk.

    Parameters
    ----------
    happened, risk, weight
        Whether the event happened, the predicted risk and what the patient counts, shape ``(n,)``.
    spread
        Of ``part``, a number of each patient times the weight, the patients' influences through the weights on its mean.
    knots
        Of a restricted cubic spline in the linked risk: 3, 4 or 5.
    link
        Of the regression.

    Raises
    ------
    AnalysisError
        If fewer events, or patients without, than coefficients count, all risks are equal, or there is no maximum.
    """
    score = linked(risk, link)
    if np.ptp(score) <= 0:
        raise AnalysisError(f"all predicted risks are {risk[0]:g}: a calibration curve needs risks that differ")
    places = spline_knots(score, knots)
    X = _columns(score, places)
    events, free = int(happened.sum()), int((~happened & (weight > 0)).sum())
    if min(events, free) < X.shape[1]:
        raise AnalysisError(
            f"{events} patients with the event and {free} without cannot carry a calibration curve of {X.shape[1]} "
            "coefficients: use more patients, or another horizon where there is one"
        )
    beta = binomial_maximum(X, happened, weight, link)
    eta = X @ beta
    rows, bread = binomial_scores(X, eta, happened, weight, link)
    part = np.stack([one + spread(one) for one in rows.T], axis=1)
    influence = np.linalg.solve(bread, part.T).T
    covariance = influence.T @ influence / risk.size**2
    return SmoothCalibration(places, beta, covariance, influence, risk, inverse_link(eta, link), link)


def _columns(score: Array, knots: Array) -> Array:
    return np.column_stack((np.ones(score.size), restricted_cubic(score, knots)))


def calibration_gaps(curve: SmoothCalibration, *, draws: int = 500, seed: int = 0) -> CalibrationGaps:
    """Return the integrated calibration index, E50 and E90 with 95 % limits.

    Parameters
    ----------
    curve
        From `smooth_calibration`.
    draws
        Of the Bayesian bootstrap: patients get exponential weights, which move the curve by their influences and count
        in the mean and quantiles.
    seed
        Of the draws.

    Returns
    -------
    CalibrationGaps
        Limits are the 0.025 and 0.975 quantiles of the draws. A gap is not below 0: with perfect predictions it is
        above 0 by chance alone, and its lower limit is no test.

    References
    ----------
    Austin PC, Steyerberg EW. The Integrated Calibration Index (ICI) and related metrics for quantifying the
    calibration of logistic regression models. Stat Med 2019;38:4051-4065.
    Rubin DB. The Bayesian bootstrap. Ann Stat 1981;9:130-134.
    """
    rng = np.random.default_rng(seed)
    n = curve.risk.size
    X = _columns(linked(curve.risk, curve.link), curve.knots)
    found = np.abs(curve.observed - curve.risk)
    values = np.array([found.mean(), *np.quantile(found, (0.5, 0.9))])
    drawn = np.empty((draws, 3))
    for b in range(draws):
        weight = rng.exponential(size=n)
        weight /= weight.mean()
        moved = curve.coefficients + (weight - 1) @ curve.influence / n
        gap = np.abs(inverse_link(X @ moved, curve.link) - curve.risk)
        drawn[b, 0] = weight @ gap / n
        order = np.argsort(gap)
        share = (np.cumsum(weight[order]) - weight[order] / 2) / n
        drawn[b, 1:] = np.interp((0.5, 0.9), share, gap[order])
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    ici, e50, e90 = zip(values.tolist(), low.tolist(), high.tolist(), drawn.std(axis=0).tolist(), strict=True)
    return CalibrationGaps(ici, e50, e90, draws)

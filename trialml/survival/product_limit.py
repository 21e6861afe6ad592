"""The Kaplan-Meier estimator of the event and of the censoring distribution, and reading step curves."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import DataError
from trialml.survival.ties import TIE_TOLERANCE, Array, checked_times, time_blocks

__all__ = ["Curve", "censoring_curve", "product_limit", "step_at"]


class Curve(NamedTuple):
    """A product-limit curve at the distinct times of its sample; every field has shape ``(times,)``.

    Attributes
    ----------
    time
        Distinct follow-up times, ascending, event times and censoring times alike.
    survival
        The product-limit estimate just after each time.
    cumulative_hazard
        Nelson and Aalen's estimate, the sum of ``n_event / n_risk``.
    n_risk, n_event, n_censor
        At risk just before each time; events and censorings at it.
    se_log
        Greenwood's standard error of ``log survival``; infinite once the curve is 0.
    """

    time: Array
    survival: Array
    cumulative_hazard: Array
    n_risk: Array
    n_event: Array
    n_censor: Array
    se_log: Array


def product_limit(time: Any, event: Any, weights: Any = None) -> Curve:
    """Return the Kaplan-Meier curve of one sample.

    Parameters
    ----------
    time, event
        Follow-up times (finite, above 0) and True where the event happened; shape ``(n,)``.
    weights
        Case weights above 0, taken as frequencies in Greenwood's formula; None for 1 each.

    Returns
    -------
    Curve
        ``S(t) = prod(1 - d/n)`` over times up to t, and ``se(log S)^2 = sum(d / (n (n - d)))``. A patient
        censored at an event time was at risk of that event.

    Raises
    ------
    DataError
        If the times, flags or weights are not usable.

    References
    ----------
    Kaplan EL, Meier P. Nonparametric estimation from incomplete observations. J Am Stat Assoc 1958;53:457-481.
    """
    times, flags = checked_times(time, event)
    case_weights = None
    if weights is not None:
        case_weights = np.asarray(weights, dtype=float)
        if case_weights.shape != times.shape or not (np.isfinite(case_weights) & (case_weights > 0)).all():
            raise DataError("weights must be one finite number above 0 a patient: drop patients of weight 0")
    blocks = time_blocks(times, flags, case_weights)
    return _curve(blocks.time, blocks.n_risk, blocks.n_event, blocks.n_censor)


def censoring_curve(time: Any, event: Any) -> Curve:
    """Return the Kaplan-Meier curve G of the censoring distribution, for inverse-probability weights.

    The tie order is reversed: patients with the event at a time leave the risk set before those censored at
    it. Weight an event at T by ``1 / G(T-)`` and a patient still followed at t by ``1 / G(t)``.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event (not the censoring) happened; shape ``(n,)``.

    Returns
    -------
    Curve
        `n_event` counts censorings and `n_censor` events; `n_risk` leaves out the events of the same time.

    References
    ----------
    Robins JM, Finkelstein DM. Correcting for noncompliance and dependent censoring in an AIDS clinical trial
    with inverse probability of censoring weighted (IPCW) log-rank tests. Biometrics 2000;56:779-788.
    """
    times, flags = checked_times(time, event)
    blocks = time_blocks(times, flags)
    n_risk: Array = blocks.n_risk - blocks.n_event
    return _curve(blocks.time, n_risk, blocks.n_censor, blocks.n_event)


def _curve(time: Array, n_risk: Array, n_event: Array, n_censor: Array) -> Curve:
    at_risk = np.where(n_risk > 0, n_risk, 1.0)
    left = n_risk - n_event
    # Weighted counts leave a rounding error behind where everyone at risk had the event.
    left = np.where(left > 1e-12 * at_risk, left, 0.0)
    hazard = n_event / at_risk
    kept = np.where(n_event > 0, left / at_risk, 1.0)
    ends = (left == 0) & (n_event > 0)
    variance = np.where(ends, np.inf, n_event / (at_risk * np.where(left > 0, left, 1.0)))
    return Curve(
        time,
        np.asarray(np.cumprod(kept), dtype=float),
        np.cumsum(hazard),
        n_risk,
        n_event,
        n_censor,
        np.sqrt(np.cumsum(variance)),
    )


def step_at(
    curve_time: Any, curve_value: Any, t: Any, *, initial: float = 1.0, left: bool = False
) -> npt.NDArray[np.float64]:
    """Return the value of a right-continuous step function at `t`.

    Parameters
    ----------
    curve_time
        Where the function jumps, ascending, shape ``(k,)``.
    curve_value
        Its value from each jump on, shape ``(k,)``.
    t
        Where to read it, any shape; a `t` within the tie tolerance of a jump is at the jump.
    initial
        The value before the first jump: 1 for a survival curve, 0 for a cumulative hazard.
    left
        Read the left limit, the value just before `t`.

    Returns
    -------
    ndarray
        Values in the shape of `t`. After the last jump the last value is carried on; whether that is sound is
        for the caller to judge.
    """
    at = np.asarray(t, dtype=float)
    jumps = np.asarray(curve_time, dtype=float)
    values = np.concatenate(([initial], np.asarray(curve_value, dtype=float)))
    if left:
        position = np.searchsorted(jumps, at * (1 - TIE_TOLERANCE), side="left")
    else:
        position = np.searchsorted(jumps, at * (1 + TIE_TOLERANCE), side="right")
    return np.asarray(values[position], dtype=float)

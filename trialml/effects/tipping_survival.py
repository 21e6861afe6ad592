"""The tipping point of a time-to-event endpoint: patients censored early are followed on, at delta times the hazard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.continuous import t_quantile
from trialml.effects.imputation import rubin
from trialml.effects.tipping_point import TippingPoint, first_crossing
from trialml.effects.two_arms import checked_treated
from trialml.errors import AnalysisError, DataError
from trialml.survival.cox import fit_cox
from trialml.survival.intervals import normal_quantile
from trialml.survival.product_limit import product_limit, step_at
from trialml.survival.rmst import refuse_tau
from trialml.survival.ties import checked_labels, checked_times, not_after

__all__ = ["DELTAS", "follow_on", "tipping_point_survival"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

DELTAS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
"""Factors on the hazard after early censoring; the first is the usual assumption of censoring at random."""


class _Draws(NamedTuple):
    """One imputation's random numbers: the arm's cumulative hazard from a bootstrap sample, and unit exponentials."""

    times: Floats
    hazard: Floats
    exponential: Floats


def follow_on(censored_at: Floats, draws: _Draws, delta: float, until: float) -> tuple[Floats, Flags]:
    """Follow patients from their censoring on, at `delta` times the hazard of `draws`.

    Parameters
    ----------
    censored_at
        Times of censoring, each below `until`; shape (k,).
    draws
        A cumulative hazard that jumps at `times`, and one unit exponential a patient.
    delta
        The factor on the hazard.
    until
        Where the imputed follow-up ends.

    Returns
    -------
    time, event
        The first jump at which the hazard since censoring, times delta, has reached the patient's exponential; censored at
        `until` if there is none by then.
    """
    since = step_at(draws.times, draws.hazard, censored_at, initial=0.0)
    needed = since + draws.exponential / delta
    place = np.searchsorted(draws.hazard, needed, side="left")
    reached = np.append(draws.times, np.inf)[np.minimum(place, draws.times.size)]
    event = reached <= until
    return np.where(event, reached, until), event


def tipping_point_survival(
    time: Any,
    event: Any,
    treated: Any,
    *,
    until: float,
    strata: Any = None,
    deltas: Sequence[float] = DELTAS,
    imputations: int = 20,
    unit: str = "",
    seed: int = 1,
    level: float = 0.95,
) -> TippingPoint:
    """Multiply the hazard of experimental patients censored early until the hazard ratio's interval includes 1.

    Parameters
    ----------
    time, event, treated
        Outcome and arm (True experimental), each of shape (n,).
    until
        Patients of the experimental arm censored before this time are followed on up to it; later censoring is taken as the
        end of the trial and stays as it is. In the unit of `time`.
    strata
        The stratification cell of each patient, for the Cox model.
    deltas
        Rising factors, the first 1.
    imputations
        Data sets for each delta.
    unit
        The unit of time.
    seed
        Of the draws; the same random numbers serve every delta.
    level
        Of the limits.

    Returns
    -------
    TippingPoint
        Hazard ratios of a Cox model stratified by `strata`, pooled on the log scale. Event times are drawn from the
        Nelson-Aalen hazard of the experimental arm, beyond the patient's censoring, re-estimated in each imputation on a
        bootstrap sample of the arm so that its error is in the pooled variance. Control patients keep their censoring.
        ``worst`` gives every followed-on patient an event at the time of censoring.

    Raises
    ------
    DataError
        If the arrays, the deltas or `until` cannot be used.
    AnalysisError
        If an arm has no events or is not followed up to `until`, beyond which there is no hazard to draw from, or nobody was
        censored early in the experimental arm.

    References
    ----------
    Lipkovich I, Ratitch B, O'Kelly M. Pharm Stat 2016;15:216-229.
    """
    times, flags = checked_times(time, event, needs_event=True)
    arm = checked_treated(treated, times.size)
    _, cells = checked_labels(strata, times.size, "strata")
    factors = _checked_deltas(deltas, until, imputations)
    lost = np.flatnonzero(arm & ~flags & ~not_after(until, times))
    for who, name in ((arm, "experimental"), (~arm, "control")):
        if not flags[who].any():
            raise AnalysisError(f"the {name} arm has no events, so there is no hazard ratio that could tip")
    refuse_tau(
        until,
        {
            "the experimental arm": product_limit(times[arm], flags[arm]),
            "the control arm": product_limit(times[~arm], flags[~arm]),
        },
        unit,
        name="until",
    )
    if not lost.size:
        raise AnalysisError(
            f"no patient of the experimental arm was censored before {until:g} {unit}".rstrip() + ": nothing to impute"
        )
    draws = _random_numbers(times[arm], flags[arm], lost.size, imputations, seed)
    rows = [_pooled(times, flags, arm, cells, lost, draws, delta, until, level) for delta in factors]
    frame = pd.DataFrame(rows)
    worst_event = flags.copy()
    worst_event[lost] = True
    beta, variance = _log_hazard_ratio(times, worst_event, arm, cells)
    half = normal_quantile(level) * math.sqrt(variance)
    tipping = first_crossing(factors, np.log(frame["high"]), null=0.0, lower_is_better=True, log_delta=True)
    what = f"before {until:g} {unit}".rstrip()
    return TippingPoint(
        frame, tipping, math.exp(beta), math.exp(beta - half), math.exp(beta + half),
        "If every one of them had had the event at the time of censoring",
        "hazard ratio, conditional on the stratification factors" if np.unique(cells).size > 1 else "hazard ratio, unadjusted", "", 1.0,
        lower_is_better=True,
        assumption=f"Experimental patients censored {what} were followed on to then with delta times their arm's hazard",
        delta_words=f"Delta: factor on the hazard of experimental patients after censoring {what}",
        start=1.0, imputed=int(lost.size), imputations=imputations, level=level, n=times.size,
    )  # fmt: skip


def _checked_deltas(deltas: Sequence[float], until: float, imputations: int) -> list[float]:
    factors = [float(delta) for delta in deltas]
    if len(factors) < 2 or factors[0] != 1 or not np.isfinite(factors).all() or (np.diff(factors) <= 0).any():
        raise DataError(f"deltas are {factors}, but they must rise from 1: give factors such as 1, 2, 4")
    if not (np.isfinite(until) and until > 0):
        raise DataError(f"until is {until}, but it must be a time above 0")
    if imputations < 2:
        raise DataError(f"imputations is {imputations}, but the spread between data sets needs at least 2")
    return factors


def _random_numbers(time: Floats, event: Flags, patients: int, imputations: int, seed: int) -> list[_Draws]:
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(imputations):
        rows = generator.integers(time.size, size=time.size)
        # A bootstrap sample without any event would be a hazard of 0: the arm as it is stands in for it.
        rows = rows if event[rows].any() else np.arange(time.size)
        curve = product_limit(time[rows], event[rows])
        jumps = curve.n_event > 0
        draws.append(_Draws(curve.time[jumps], curve.cumulative_hazard[jumps], generator.exponential(size=patients)))
    return draws


def _pooled(
    time: Floats,
    event: Flags,
    arm: Flags,
    cells: NDArray[np.intp],
    lost: NDArray[np.intp],
    draws: list[_Draws],
    delta: float,
    until: float,
    level: float,
) -> dict[str, float]:
    estimates, variances, events = [], [], []
    for one in draws:
        times, flags = time.copy(), event.copy()
        times[lost], flags[lost] = follow_on(time[lost], one, delta, until)
        beta, variance = _log_hazard_ratio(times, flags, arm, cells)
        estimates.append(beta)
        variances.append(variance)
        events.append(int(flags[lost].sum()))
    found = rubin(estimates, variances)
    half = (normal_quantile(level) if math.isinf(found.df) else t_quantile(level, found.df)) * found.se
    low, high = math.exp(found.value - half), math.exp(found.value + half)
    return {
        "delta": delta,
        "value": math.exp(found.value),
        "se": found.se,
        "low": low,
        "high": high,
        "df": found.df,
        "imputed_events": float(np.mean(events)),
    }


def _log_hazard_ratio(time: Floats, event: Flags, arm: Flags, cells: NDArray[np.intp]) -> tuple[float, float]:
    fit = fit_cox(time, event, arm.astype(np.float64)[:, None], strata=cells)
    return float(fit.coefficients[0]), float(fit.covariance[0, 0])

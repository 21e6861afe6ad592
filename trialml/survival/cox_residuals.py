"""What a fitted Cox model leaves over: residuals of each kind, and the covariance that is right for dependent rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trialml.errors import AnalysisError
from trialml.survival.cox_fit import CoxArrays, CoxProblem, CoxState, Ties
from trialml.survival.cox_refusals import solve
from trialml.survival.ties import Array, checked_labels

__all__ = [
    "CoxResiduals",
    "baseline_cumulative_hazard",
    "cox_residuals",
    "fitted_baseline_hazard",
    "sandwich",
    "score_residuals",
    "score_rows",
]


class CoxResiduals(NamedTuple):
    """The residuals of a Cox model; rows as the data were given.

    Attributes
    ----------
    martingale
        Event less expected number of events, shape ``(n,)``.
    deviance
        ``sign(M) sqrt(-2 (M + d log(d - M)))`` with M the martingale residual and d the event, shape ``(n,)``.
    score
        Each row's part of the score, unweighted, shape ``(n, p)``.
    dfbeta, dfbetas
        ``weight * score @ covariance``, about what the coefficients would lose with the row, and the same in
        standard errors; shape ``(n, p)``.
    schoenfeld, scaled_schoenfeld
        Of each event the covariates less their mean at risk, and these times ``events * covariance`` plus the
        coefficients; shape ``(events, p)``, in the order of `schoenfeld_row`.
    schoenfeld_row
        The row of each event, by stratum and time, shape ``(events,)``.
    """

    martingale: Array
    deviance: Array
    score: Array
    dfbeta: Array
    dfbetas: Array
    schoenfeld: Array
    scaled_schoenfeld: Array
    schoenfeld_row: np.ndarray[Any, np.dtype[np.intp]]


def cox_residuals(problem: CoxProblem, fit: CoxArrays) -> CoxResiduals:
    """Return the residuals of a fit, as R's ``residuals.coxph`` defines them.

    Parameters
    ----------
    problem, fit
        The data, and what ``problem.fit()`` gave.

    Returns
    -------
    CoxResiduals
        dfbetas are weighted by case weights, the others are not. Tied events share the mean of their Efron means.

    References
    ----------
    Therneau TM, Grambsch PM, Fleming TR. Martingale-based residuals for survival models. Biometrika
    1990;77:147-160.
    """
    state = problem.state(fit.coefficients)
    order, event = problem.order, problem.event
    martingale, score = np.empty(order.size), np.empty((order.size, fit.coefficients.size))
    martingale[order] = event - state.relative / problem.weights * problem.accumulated(state)
    score[order] = score_rows(problem, state)
    weights, happened = np.empty(order.size), np.empty(order.size)
    weights[order], happened[order] = problem.weights, event
    # An event's martingale residual is below 1, however its rounding comes out.
    logs = np.log(np.where(happened > 0, np.maximum(happened - martingale, 1e-300), 1.0))
    deviance = np.sign(martingale) * np.sqrt(np.maximum(-2 * (martingale + logs), 0.0))
    dfbeta = (weights[:, None] * score) @ fit.covariance
    dead = np.flatnonzero(event)
    dead = dead[np.lexsort((order[dead], -problem.layout.row_slot[dead], problem.codes[dead]))]
    schoenfeld = problem.X[:, dead].T - _slot_means(problem, state).T[problem.layout.row_slot[dead]]
    scaled = event.sum() * schoenfeld @ fit.covariance + fit.coefficients
    return CoxResiduals(
        martingale, deviance, score, dfbeta, dfbeta / np.sqrt(np.diag(fit.covariance)), schoenfeld, scaled, order[dead]
    )


def score_rows(problem: CoxProblem, state: CoxState) -> Array:
    """Return each sorted row's part of the score, without its weight, shape ``(n, p)``.

    The residual is ``event (x - m) - r (x A - B)``, where m is the mean of the risk-set means over the row's
    tie, A the row's cumulative hazard and B the same sum of hazard times risk-set mean (Efron's shares).
    """
    layout, slots = problem.layout, state.slots
    at_risk, tied = problem.risk_set_sums(state)
    jumps = slots[0] * (slots[3] * at_risk - slots[4] * tied)
    own = slots[0] * (slots[4] * at_risk - slots[5] * tied)
    means = _slot_means(problem, state, (at_risk, tied))
    relative = state.relative / problem.weights
    accumulated = problem.accumulated(state)
    out = np.empty((relative.size, problem.X.shape[0]))
    for j in range(out.shape[1]):
        sums = layout.over_slots(jumps[j]) - np.where(problem.event, own[j][layout.row_slot], 0.0)
        out[:, j] = -relative * (problem.X[j] * accumulated - sums)
        out[:, j] += np.where(problem.event, problem.X[j] - means[j][layout.row_slot], 0.0)
    return out


def _slot_means(problem: CoxProblem, state: CoxState, sums: tuple[Array, Array] | None = None) -> Array:
    at_risk, tied = sums or problem.risk_set_sums(state)
    slots = state.slots
    size = np.maximum(problem.layout.slot_dead, 1)
    return np.asarray((slots[1] * at_risk - slots[2] * tied) / size)


def sandwich(problem: CoxProblem, fit: CoxArrays, subjects: Any) -> CoxArrays:
    """Return the fit with the covariance and the score test that allow for dependent rows of a subject.

    Parameters
    ----------
    problem, fit
        The data, and what ``problem.fit()`` gave.
    subjects
        The subject of each row, in the order given, shape ``(n,)``.

    Raises
    ------
    DataError
        If a subject is missing or the length differs.

    References
    ----------
    Lin DY, Wei LJ. The robust inference for the Cox proportional hazards model. J Am Stat Assoc 1989;84:1074-1078.
    """
    labels, codes = checked_labels(subjects, problem.order.size, "id")
    codes = codes[problem.order]

    def summed(beta: Array) -> Array:
        rows = score_rows(problem, problem.state(beta)) * problem.weights[:, None]
        return np.stack([np.bincount(codes, column, labels.size) for column in rows.T], axis=1)

    if fit.coefficients.size == 0:
        return fit._replace(robust_covariance=np.zeros((0, 0)), robust_score=0.0)
    dfbeta = summed(fit.coefficients) @ fit.covariance
    at_zero = summed(np.zeros(fit.coefficients.size))
    total = at_zero.sum(axis=0)
    try:
        robust_score = float(total @ solve(at_zero.T @ at_zero, total))
    except np.linalg.LinAlgError:
        raise AnalysisError(
            f"{labels.size} subjects are too few for a robust score test of {fit.coefficients.size} coefficients: "
            "use fewer columns"
        ) from None
    return fit._replace(robust_covariance=dfbeta.T @ dfbeta, robust_score=robust_score)


def score_residuals(
    time: Any,
    event: Any,
    X: Any,
    coefficients: Any,
    strata: Any = None,
    offset: Any = None,
    *,
    weights: Any = None,
    entry: Any = None,
    ties: Ties = "efron",
) -> Array:
    """Return each row's part of the score, shape ``(n, p)``; ``residuals @ covariance`` are the dfbetas.

    Parameters
    ----------
    time, event, X, strata, offset, weights, entry, ties
        As in `CoxProblem`. The residuals are not multiplied by the weights.
    coefficients
        Where to take the score, shape ``(p,)``; at the maximum the (weighted) residuals add up to 0.

    Raises
    ------
    DataError, AnalysisError
        As `CoxProblem` does.
    """
    problem = CoxProblem(time, event, X, strata=strata, offset=offset, weights=weights, entry=entry, ties=ties)
    out = np.empty(problem.X.shape[::-1])
    out[problem.order] = score_rows(problem, problem.state(np.asarray(coefficients, dtype=float)))
    return out


def baseline_cumulative_hazard(time: Any, event: Any, linear_predictor: Any, strata: Any = None) -> tuple[Array, Array]:
    """Return the cumulative baseline hazard of a Cox model with Efron's ties, where the linear predictor is 0.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    linear_predictor
        ``X beta``, shape ``(n,)``; centre it alike here and for new patients.
    strata
        One label a patient.

    Returns
    -------
    times, cumulative_hazard
        The distinct event times ``(k,)`` and the cumulative hazard from each on: ``(k,)``, or ``(k, strata)``
        with the strata in sorted order. Read it with ``step_at(times, hazard, t, initial=0.0)``; survival of a
        patient is ``exp(-hazard * exp(linear predictor))``.

    Raises
    ------
    DataError, AnalysisError
        As `CoxProblem` does.
    """
    eta = np.asarray(linear_predictor, dtype=float)
    nothing = np.zeros((np.asarray(time).size, 0))
    times, cumulative = fitted_baseline_hazard(CoxProblem(time, event, nothing, strata=strata, offset=eta), np.zeros(0))
    return times, cumulative[:, 0] if strata is None else cumulative


def fitted_baseline_hazard(problem: CoxProblem, coefficients: Array) -> tuple[Array, Array]:
    """Return the cumulative baseline hazard of a fitted problem, where its covariates and its offset are 0.

    Parameters
    ----------
    problem
        The data of the model.
    coefficients
        Log hazard ratios, shape ``(p,)``.

    Returns
    -------
    times, cumulative_hazard
        The distinct event times ``(k,)`` and the cumulative hazard from each on, ``(k, strata)``; as
        `baseline_cumulative_hazard`, without a second sort.

    Raises
    ------
    AnalysisError
        If the linear predictor reaches too far for floats.
    """
    state = problem.state(coefficients)
    if not np.isfinite(state.log_likelihood):
        eta = problem.linear_predictor(coefficients)
        raise AnalysisError(
            f"the linear predictor reaches from {eta.min():g} to {eta.max():g}, too far for a baseline hazard: "
            "centre and scale the covariates or penalise the model (ridge)"
        )
    layout = problem.layout
    real = layout.slot_dead > 0
    stratum = layout.slot_stratum[real]
    moved = state.shift + problem.centre @ coefficients
    step = (state.slots[0] * state.slots[1])[real] * np.exp(-moved[stratum])
    times, position = np.unique(layout.slot_time[real], return_inverse=True)
    hazard = np.zeros((times.size, problem.strata_labels.size))
    hazard[position, stratum] = step
    return times, np.cumsum(hazard, axis=0)

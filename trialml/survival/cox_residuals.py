"""What a fitted Cox model leaves over: baseline hazards and each patient's part of the score."""

from __future__ import annotations

from typing import Any

import numpy as np

from trialml.errors import AnalysisError
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.ties import Array

__all__ = ["baseline_cumulative_hazard", "score_residuals"]


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
    problem = CoxProblem(time, event, nothing, strata=strata, offset=eta)
    state = problem.state(np.zeros(0))
    if not np.isfinite(state.log_likelihood):
        raise AnalysisError(
            f"the linear predictor reaches from {eta.min():g} to {eta.max():g}, too far for a baseline hazard: "
            "centre and scale the covariates or penalise the model (ridge)"
        )
    stratum = problem.codes[problem.dead]
    step = problem.dead_weight / state.total * np.exp(-state.shift[stratum])
    times, position = np.unique(problem.block_time[problem.dead_block], return_inverse=True)
    hazard = np.zeros((times.size, len(problem.strata_labels)))
    np.add.at(hazard, (position, stratum), step)
    cumulative = np.cumsum(hazard, axis=0)
    return times, cumulative[:, 0] if strata is None else cumulative


def score_residuals(time: Any, event: Any, X: Any, coefficients: Any, strata: Any = None, offset: Any = None) -> Array:
    """Return each patient's part of the score, shape ``(n, p)``; ``residuals @ covariance`` are the dfbetas.

    The residual is ``event (x - m) - r (x A - B)``, where m is the mean of the risk-set means over the patient's
    tie, A the patient's cumulative hazard and B the same sum of hazard times risk-set mean (Efron's shares).

    Parameters
    ----------
    time, event, X, strata, offset
        As in `CoxProblem`.
    coefficients
        Where to take the score, shape ``(p,)``; at the maximum the residuals add up to 0.

    Raises
    ------
    DataError, AnalysisError
        As `CoxProblem` does.

    References
    ----------
    Therneau TM, Grambsch PM, Fleming TR. Martingale-based residuals for survival models. Biometrika
    1990;77:147-160.
    """
    problem = CoxProblem(time, event, X, strata=strata, offset=offset)
    state = problem.state(np.asarray(coefficients, dtype=float))
    means = problem.risk_set_means(state)
    weighted = (problem.dead_weight / state.total)[:, None] * means
    per_tie = np.add.reduceat(weighted, problem.tie_start, axis=0)
    by_block = np.zeros((problem.block_time.size, means.shape[1]))
    by_block[problem.dead_block[problem.tie_start]] = per_tie
    sums = problem.backward(by_block)[problem.block]
    own = np.add.reduceat(weighted * problem.share[:, None], problem.tie_start, axis=0)
    sums[problem.dead] -= own[problem.tie_of]
    accumulated = problem.accumulated(state)
    residuals = -state.relative[:, None] * (problem.X * accumulated[:, None] - sums)
    mean = np.add.reduceat(means, problem.tie_start, axis=0) / problem.tie_size[:, None]
    residuals[problem.dead] += problem.X[problem.dead] - mean[problem.tie_of]
    out = np.empty(residuals.shape)
    out[problem.order] = residuals
    return out

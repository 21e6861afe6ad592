"""Cox models with an elastic-net penalty, in glmnet's scale: a path of coefficients, some of them exactly 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from trialml.errors import AnalysisError, DataError
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.ties import Array

__all__ = ["CoxPath", "cox_path", "largest_penalty", "penalised_maximum"]

MAX_STEPS = 200
MAX_SWEEPS = 100_000
CONVERGED = 1e-13


class CoxPath(NamedTuple):
    """Penalised Cox models along a path of penalties.

    Attributes
    ----------
    penalties
        From the largest to the smallest, shape ``(k,)``.
    coefficients
        Log hazard ratios per unit of each column as given, shape ``(k, p)``; 0 where a column is left out.
    deviance_ratio
        ``1 - (saturated - log-likelihood) / (saturated - null log-likelihood)``, shape ``(k,)``.
    """

    penalties: Array
    coefficients: Array
    deviance_ratio: Array


def cox_path(problem: CoxProblem, penalties: Any, *, mixing: float = 1.0, factors: Any = None) -> CoxPath:
    """Return the maxima of ``log-likelihood / n - penalty * sum(f_j (mixing |b_j| + (1 - mixing) b_j^2 / 2))``.

    Parameters
    ----------
    problem
        The data. Give it ``ties="breslow"`` for glmnet's likelihood; Efron's works as well.
    penalties
        Above 0, or 0 and above where the unpenalised model exists, shape ``(k,)``.
    mixing
        1 is the lasso, 0 ridge; glmnet's ``alpha``.
    factors
        How much each column's penalty counts, 0 for a column that is not penalised, shape ``(p,)``; glmnet's
        ``penalty.factor``, which, as there, is rescaled to add up to p.

    Returns
    -------
    CoxPath

    Raises
    ------
    DataError
        If a penalty, factor or the mixing is out of range.
    AnalysisError
        If the path does not converge at some penalty: it is too small for these data.

    Notes
    -----
    The penalty applies to ``b_j`` per standard deviation of the column (weighted, divisor n, as glmnet's
    ``standardize = TRUE``), and n is the sum of the case weights. Each Newton step maximises the quadratic
    approximation with its penalty by coordinate descent and is halved until the penalised likelihood does not fall;
    the path starts each model from the one before.

    References
    ----------
    Simon N, Friedman J, Hastie T, Tibshirani R. Regularization paths for Cox's proportional hazards model via
    coordinate descent. J Stat Softw 2011;39(5):1-13.
    """
    given = np.atleast_1d(np.asarray(penalties, dtype=float))
    if given.ndim != 1 or given.size == 0 or not (np.isfinite(given) & (given >= 0)).all():
        raise DataError("penalties must hold finite numbers that are 0 or more")
    if not 0 <= mixing <= 1:
        raise DataError(f"mixing is {mixing:g}, but it lies between 0 (ridge) and 1 (lasso)")
    given = np.sort(given)[::-1]
    scale, n = _scale(problem), float(problem.weights.sum())
    share = _shares(factors, scale)
    beta = np.zeros(scale.size)
    saturated = _saturated(problem)
    null = problem.log_likelihood(beta)
    rows, ratio = [], []
    for penalty in given:
        lasso, ridge = n * penalty * mixing * share, n * penalty * (1 - mixing) * share
        words = f"the penalised Cox model at a penalty of {penalty:g}"
        beta = penalised_maximum(problem.derivatives, beta, lasso * scale, ridge * scale**2, words)
        rows.append(beta)
        ratio.append(1 - (saturated - problem.log_likelihood(beta)) / (saturated - null))
    return CoxPath(given, np.array(rows), np.array(ratio))


def largest_penalty(problem: CoxProblem, *, mixing: float = 1.0, factors: Any = None) -> float:
    """Return the smallest penalty at which every penalised coefficient is 0, where a path begins.

    Parameters
    ----------
    problem, mixing, factors
        As in `cox_path`; `mixing` above 0.
    """
    if not 0 < mixing <= 1:
        raise DataError(f"mixing is {mixing:g}, but with ridge alone no penalty makes a coefficient 0")
    scale = _scale(problem)
    share = _shares(factors, scale)
    free = share == 0
    # Columns that are not penalised are in the model at every penalty.
    kept_out, none = np.where(free, 0.0, np.inf), np.zeros(scale.size)
    beta = penalised_maximum(problem.derivatives, none, kept_out, none, "the Cox model without penalised columns")
    gradient = np.abs(problem.derivatives(beta)[1][~free]) / scale[~free]
    return float(np.max(gradient / share[~free], initial=0.0) / problem.weights.sum() / mixing)


def penalised_maximum(
    derivatives: Callable[[Array], tuple[float, Array, Array]], beta: Array, lasso: Array, ridge: Array, words: str
) -> Array:
    """Return the maximum of a concave likelihood less ``sum(lasso_j |b_j| + ridge_j b_j^2 / 2)``.

    Parameters
    ----------
    derivatives
        Returns value, gradient ``(p,)`` and information ``(p, p)`` of the log-likelihood.
    beta
        Where to start, shape ``(p,)``.
    lasso, ridge
        Shape ``(p,)``; a column with an infinite `lasso` stays out.
    words
        What is fitted, for the message.

    Raises
    ------
    AnalysisError
        If it does not converge.
    """
    value, gradient, information = derivatives(beta)

    def cost(at: Array) -> float:
        there = at != 0  # a column that an infinite penalty keeps out costs nothing
        return float(lasso[there] @ np.abs(at[there]) + 0.5 * ridge @ at**2)

    for _ in range(MAX_STEPS):
        target = _descend(information, gradient + information @ beta, beta, lasso, ridge)
        if target is None:
            break
        step = target - beta
        size = float(step @ (information @ step) + ridge @ step**2)
        length = 1.0
        while length > 1e-9:
            trial = beta + length * step
            now = derivatives(trial)
            if now[0] - cost(trial) >= value - cost(beta) - 1e-10 * (1 + abs(value)):
                break
            length /= 2
        beta, (value, gradient, information) = trial, now
        if size <= CONVERGED**1.5:
            return beta
    raise AnalysisError(f"{words} did not converge: begin with a larger penalty")


def _descend(information: Array, target: Array, start: Array, lasso: Array, ridge: Array) -> Array | None:
    """Return the maximum of ``target' b - b' information b / 2`` less the penalty, by coordinate descent."""
    from trialml.survival.cox_net_pass import descend

    beta = np.where(np.isinf(lasso), 0.0, start)
    left = target - information @ beta
    active = np.flatnonzero(np.isfinite(lasso) & (np.diag(information) + ridge > 0)).astype(np.int64)
    rows = np.ascontiguousarray(information)
    return beta if descend(rows, left, beta, lasso, ridge, active, MAX_SWEEPS, CONVERGED**2) else None


def _scale(problem: CoxProblem) -> Array:
    weights = problem.weights / problem.weights.sum()
    columns = problem.X.T + problem.centre[problem.codes]
    scale = np.sqrt(weights @ (columns - weights @ columns) ** 2)
    if (scale == 0).any():
        name = problem.names[int(np.argmin(scale))]
        raise AnalysisError(f"'{name}' is the same in every row, so it has no hazard ratio: drop it")
    return np.asarray(scale)


def _shares(factors: Any, scale: Array) -> Array:
    if factors is None:
        return np.ones(scale.size)
    share = np.asarray(factors, dtype=float)
    if share.shape != scale.shape or not (np.isfinite(share) & (share >= 0)).all() or not share.any():
        raise DataError(f"factors must hold one number of 0 or more for each of the {scale.size} columns, not all 0")
    return np.asarray(share * share.size / share.sum())


def _saturated(problem: CoxProblem) -> float:
    """Return the log-likelihood of a model in which each event is certain: ``-sum(d log d)``, d the weight of a tie."""
    dead = problem.event
    happened = np.bincount(problem.layout.row_slot[dead], problem.weights[dead], problem.layout.slot_dead.size)
    happened = happened[happened > 0]
    if problem.efron:
        size = problem.layout.slot_dead[problem.layout.slot_dead > 0]
        logs = np.array([np.log(np.arange(1, m + 1) / m).sum() for m in size])
        return float(-np.sum(happened * np.log(happened)) - np.sum(happened / size * logs))
    return float(-np.sum(happened * np.log(happened)))

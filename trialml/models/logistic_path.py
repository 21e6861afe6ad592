"""Logistic regression with an elastic-net penalty and case weights, in glmnet's scale, along a path of penalties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trialml.models.outcome import BinaryOutcome
from trialml.survival.cox_net import penalised_maximum

__all__ = ["largest_logistic_penalty", "logistic_path"]

Floats = NDArray[np.float64]


class _Likelihood:
    """The weighted log-likelihood of an intercept and the columns."""

    def __init__(self, design: Floats, outcome: BinaryOutcome) -> None:
        counted = outcome.weight > 0
        self.X = np.column_stack([np.ones(int(counted.sum())), design[counted]])
        self.event = outcome.event[counted].astype(np.float64)
        self.weight = outcome.weight[counted]
        self.total = float(self.weight.sum())

    def derivatives(self, beta: Floats) -> tuple[float, Floats, Floats]:
        eta = self.X @ beta
        value = float(self.weight @ (self.event * eta - np.logaddexp(0.0, eta)))
        risk = 0.5 * (1 + np.tanh(0.5 * eta))
        bend = self.weight * risk * (1 - risk)
        return value, self.X.T @ (self.weight * (self.event - risk)), self.X.T @ (self.X * bend[:, None])

    def null(self) -> Floats:
        share = float(self.weight @ self.event) / self.total
        return np.concatenate(([np.log(share / (1 - share))], np.zeros(self.X.shape[1] - 1)))


def logistic_path(
    design: Floats, outcome: BinaryOutcome, penalties: Floats, *, mixing: float, free: NDArray[np.bool_]
) -> Floats:
    """Return the maxima of ``log-likelihood / W - penalty * sum(mixing |b_j| + (1 - mixing) b_j^2 / 2)``.

    Parameters
    ----------
    design
        Columns as they are penalised, shape (n, k); the intercept is added and not penalised.
    outcome
        Events and weights; W is the sum of the weights.
    penalties
        From the largest to the smallest, shape (m,): each fit starts from the one before.
    mixing
        1 is the lasso, 0 ridge.
    free
        Columns without a penalty, shape (k,).

    Returns
    -------
    ndarray of shape (m, 1 + k)
        The intercept first.

    Raises
    ------
    AnalysisError
        If a fit does not converge.

    References
    ----------
    Friedman J, Hastie T, Tibshirani R. Regularization paths for generalized linear models via coordinate descent. J Stat
    Softw 2010;33(1):1-22.
    """
    likelihood = _Likelihood(design, outcome)
    counts = np.concatenate(([0.0], np.where(free, 0.0, 1.0))) * likelihood.total
    beta = likelihood.null()
    found = []
    for penalty in penalties:
        words = f"the penalised logistic model at a penalty of {penalty:g}"
        lasso, ridge = counts * penalty * mixing, counts * penalty * (1 - mixing)
        beta = penalised_maximum(likelihood.derivatives, beta, lasso, ridge, words)
        found.append(beta)
    return np.asarray(found)


def largest_logistic_penalty(
    design: Floats, outcome: BinaryOutcome, *, mixing: float, free: NDArray[np.bool_]
) -> float:
    """Return the smallest penalty at which every penalised coefficient is 0; `mixing` above 0."""
    likelihood = _Likelihood(design, outcome)
    kept_out = np.concatenate(([0.0], np.where(free, 0.0, np.inf)))
    words = "the logistic model without penalised columns"
    beta = penalised_maximum(likelihood.derivatives, likelihood.null(), kept_out, np.zeros(kept_out.size), words)
    gradient = np.abs(likelihood.derivatives(beta)[1][1:][~free])
    return float(np.max(gradient, initial=0.0) / likelihood.total / mixing)

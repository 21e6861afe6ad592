"""Firth's penalised Cox model: finite estimates where a column separates the events from the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize, special

from trialml.errors import AnalysisError
from trialml.survival.cox_fit import CoxArrays, CoxProblem
from trialml.survival.cox_refusals import inverse, solve
from trialml.survival.ties import Array, Flags

__all__ = ["FirthProfile", "firth_newton", "firth_profile", "penalised_log_likelihood"]

MAX_ITERATIONS = 200
CONVERGED = 1e-20
DIFFERENCE = 1e-4  # in standard errors, for the curvature of the penalty


class FirthProfile(NamedTuple):
    """Limits and tests from the profile of the penalised likelihood, each of shape ``(p,)``.

    Attributes
    ----------
    low, high
        Limits of the coefficients; infinite where the profile does not fall far enough.
    chi_square
        Twice the loss of penalised log-likelihood when the coefficient is 0, on 1 degree of freedom.
    """

    low: Array
    high: Array
    chi_square: Array


def penalised_log_likelihood(problem: CoxProblem, beta: Array) -> float:
    """Return ``log-likelihood + 0.5 log det information`` at `beta`, -inf where there is none."""
    value, _, information = problem.derivatives(beta)
    return _penalised(value, information)


def firth_newton(
    problem: CoxProblem, tol: float = 1e-10, fixed: tuple[int, float] | None = None, start: Array | None = None
) -> tuple[Array, float, Array, int]:
    """Return the maximum of the penalised likelihood: coefficients, log-likelihood, information and steps.

    The modified score is ``U_j + 0.5 trace(I^-1 dI/dbeta_j)``, with the exact derivative. A step is Newton's, with the
    curvature of the penalty from differences of its gradient, or Fisher's where that is not positive definite; it is
    halved until the penalised likelihood does not fall.

    Parameters
    ----------
    problem
        The data.
    tol
        A squared step in standard errors above which the steps must still shrink.
    fixed
        A coefficient and the value that it is held at.
    start
        Where to start, shape ``(p,)``.

    Raises
    ------
    AnalysisError
        If the steps do not end.

    References
    ----------
    Heinze G, Schemper M. A solution to the problem of monotone likelihood in Cox regression. Biometrics
    2001;57:114-119.
    """
    beta = np.zeros(problem.X.shape[0]) if start is None else start.copy()
    free = np.ones(beta.size, dtype=bool)
    if fixed is not None:
        free[fixed[0]], beta[fixed[0]] = False, fixed[1]
    now = problem.derivatives(beta)
    value, previous = _penalised(now[0], now[2]), np.inf
    for iteration in range(1, MAX_ITERATIONS + 1):
        if not np.isfinite(value):
            break
        extra = _penalty_gradient(problem, beta, now[2])
        gradient = (now[1] + extra)[free]
        step = np.zeros(beta.size)
        if free.any():
            step[free] = _step(problem, beta, now[2], extra, gradient, free)
        decrement = float(gradient @ step[free])
        length = 1.0
        while length > 1e-9:
            trial = problem.derivatives(beta + length * step)
            better = _penalised(trial[0], trial[2])
            if better >= value - 1e-10 * (1 + abs(value)):
                break
            length /= 2
        beta, now, value = beta + length * step, trial, better
        # Below `tol` rounding may stop the steps from shrinking any further.
        if decrement <= CONVERGED or (decrement <= tol**1.5 and decrement >= previous):
            return beta, now[0], now[2], iteration
        previous = decrement
    raise AnalysisError(
        f"Firth's penalised Cox model did not converge; '{problem.largest(beta)}' moved furthest: drop it or pool its levels"
    )


def _step(problem: CoxProblem, beta: Array, information: Array, extra: Array, gradient: Array, free: Flags) -> Array:
    curvature = information.copy()
    for j in np.flatnonzero(free):
        moved = np.zeros(beta.size)
        moved[j] = DIFFERENCE / np.sqrt(information[j, j])
        there = problem.derivatives(beta + moved)
        if not np.isfinite(there[0]):
            return solve(information[np.ix_(free, free)], gradient)
        curvature[:, j] -= (_penalty_gradient(problem, beta + moved, there[2]) - extra) / moved[j]
    whole = (curvature + curvature.T)[np.ix_(free, free)] / 2
    scale = 1 / np.sqrt(np.diag(information))[free]
    if np.linalg.eigvalsh(whole * np.outer(scale, scale))[0] > 1e-3:
        return solve(whole, gradient)
    return solve(information[np.ix_(free, free)], gradient)


def firth_profile(problem: CoxProblem, fit: CoxArrays, level: float) -> FirthProfile:
    """Return profile-likelihood limits and tests of each coefficient, which a skewed penalised likelihood needs.

    Parameters
    ----------
    problem, fit
        The data, and what ``problem.fit(firth=True)`` gave.
    level
        Such as 0.95.
    """
    best = penalised_log_likelihood(problem, fit.coefficients)
    drop = float(special.chdtri(1, 1 - level)) / 2
    p = fit.coefficients.size
    low, high, chi_square = np.empty(p), np.empty(p), np.empty(p)
    for j in range(p):

        def lost(value: float, j: int = j) -> float:
            found = firth_newton(problem, fixed=(j, value), start=fit.coefficients)
            return best - _penalised(found[1], found[2])

        centre, se = float(fit.coefficients[j]), float(np.sqrt(fit.covariance[j, j]))
        low[j], high[j] = (_limit(lost, centre, sign * se, drop) for sign in (-1, 1))
        chi_square[j] = 2 * max(lost(0.0), 0.0)
    return FirthProfile(low, high, chi_square)


def _limit(lost: Callable[[float], float], centre: float, step: float, drop: float) -> float:
    far = centre + 2 * step
    for _ in range(20):
        try:
            if lost(far) > drop:
                return float(optimize.brentq(lambda b: lost(b) - drop, centre, far, xtol=1e-12, rtol=1e-12))
        except AnalysisError:
            break
        far += 2 * step * (1 + abs(far - centre) / abs(step) / 4)
    return float(np.sign(step) * np.inf)


def _penalised(value: float, information: Array) -> float:
    sign, log_determinant = np.linalg.slogdet(information)
    return float(value + 0.5 * log_determinant) if sign > 0 and np.isfinite(value) else -np.inf


def _penalty_gradient(problem: CoxProblem, beta: Array, information: Array) -> Array:
    from trialml.survival.cox_firth_pass import penalty_gradient

    state = problem.state(beta)
    p = beta.size
    out = np.zeros(p)
    penalty_gradient(
        problem.X, np.ascontiguousarray(inverse(information)), *problem.layout.arguments(state.again), problem.efron,
        state.relative, np.ascontiguousarray(state.slots[0]), np.zeros((2, 2 + 2 * p + p * p)), np.empty((2, p)), out,
    )  # fmt: skip
    return out

"""The Cox partial likelihood in arrays: one sort, then every fit costs a few matrix products."""

from __future__ import annotations

import itertools
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import AnalysisError, DataError
from trialml.survival.ties import Array, Codes, checked_labels, checked_times, distinct_times

__all__ = ["CoxArrays", "CoxProblem", "fit_cox"]

MAX_ITERATIONS = 60
HALVINGS = tuple(0.5**k for k in range(30))
# Information left in some direction, as a share of that at 0: a monotone likelihood loses a factor of e with
# every Newton step and gets here, whereas a hazard ratio of 1,000 between two halves of a trial does not.
RUNAWAY = 1e-7


class CoxArrays(NamedTuple):
    """A fitted Cox model.

    Attributes
    ----------
    coefficients
        Log hazard ratios per unit of each column, shape ``(p,)``.
    covariance
        The inverse of the (penalised) information, shape ``(p, p)``.
    log_likelihood
        The partial log-likelihood at the coefficients, without the penalty.
    log_likelihood_null
        The partial log-likelihood with every coefficient 0 (the offset stays).
    score
        The score test's chi-square of all coefficients 0, without the penalty.
    iterations
        Newton steps taken.
    """

    coefficients: Array
    covariance: Array
    log_likelihood: float
    log_likelihood_null: float
    score: float
    iterations: int


class CoxState(NamedTuple):
    """What every derivative at one `beta` is made of."""

    log_likelihood: float
    relative: Array  # exp(linear predictor) relative to the largest of its stratum, times the case weight
    total: Array  # the risk-set total of each event row, less the share that Efron takes off for its tie
    shift: Array  # the largest linear predictor of each stratum


class CoxProblem:
    """The data of a Cox model, sorted once, so that penalty paths and resampling re-use the sort.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``; at least one event.
    X
        Covariates, shape ``(n, p)``; a DataFrame gives its column names to the error messages.
    strata
        One label a patient; each stratum has its own baseline hazard.
    offset
        A fixed part of the linear predictor, shape ``(n,)``.
    weights
        Case weights above 0, shape ``(n,)``; tied events share their mean weight.
    ties
        ``"efron"`` or ``"breslow"``.

    Raises
    ------
    DataError
        If a value is missing or infinite, or the shapes disagree.
    AnalysisError
        If there is no event.

    Notes
    -----
    With `r` the relative hazards, the l-th of m tied events has risk-set total ``D = sum(r) - (l/m) sum(r of the
    tied events)``. The score is ``X' (event - r A)`` and the information ``X' diag(r A) X - M' M`` with A a
    patient's accumulated hazard and M the rows of risk-set means, so no sum over patients is done in Python.

    References
    ----------
    Efron B. The efficiency of Cox's likelihood function for censored data. J Am Stat Assoc 1977;72:557-565.
    """

    def __init__(
        self,
        time: Any,
        event: Any,
        X: Any,
        *,
        strata: Any = None,
        offset: Any = None,
        weights: Any = None,
        ties: Literal["efron", "breslow"] = "efron",
    ) -> None:
        times, flags = checked_times(time, event, needs_event=True)
        matrix = np.asarray(X, dtype=float)
        if matrix.ndim != 2 or len(matrix) != times.size:
            raise DataError(f"X has shape {matrix.shape} for {times.size} patients: pass one row a patient")
        self.names: tuple[str, ...] = tuple(
            str(name) for name in getattr(X, "columns", [f"column {j + 1}" for j in range(matrix.shape[1])])
        )
        wrong = ~np.isfinite(matrix)
        if wrong.any():
            j = int(np.argmax(wrong.any(axis=0)))
            raise DataError(
                f"'{self.names[j]}' is missing or infinite in {int(wrong[:, j].sum())} of {times.size} rows: "
                "impute it or drop the rows"
            )
        if ties not in ("efron", "breslow"):
            raise DataError(f"ties is '{ties}', but it must be 'efron' or 'breslow'")
        self._sort(times, flags, strata)
        self._offset = _column(offset, times.size, "offset", 0.0)[self.order]
        self._weights = _column(weights, times.size, "weights", 1.0)[self.order]
        if weights is not None and self._weights.min() <= 0:
            raise DataError(f"weights are {self._weights.min():g} at their smallest: drop patients of weight 0")
        # The partial likelihood does not change with a shift within a stratum; centred columns keep the digits.
        centred = matrix[self.order]
        for low, high in self._strata_rows:
            centred[low:high] -= centred[low:high].mean(axis=0)
        # What centring leaves of a constant column is rounding, which would look like a covariate.
        centred[:, np.abs(centred).max(axis=0) <= 1e-12 * np.abs(matrix).max(axis=0)] = 0.0
        self.X = centred
        self._tie_rows(ties)

    def _sort(self, times: Array, flags: npt.NDArray[np.bool_], strata: Any) -> None:
        distinct, position = distinct_times(times)
        self.strata_labels, codes = checked_labels(strata, times.size, "strata")
        # Latest first: a risk set is then a running sum from the top of its stratum.
        self.order = np.lexsort((-position, codes))
        self.codes = codes[self.order]
        self.event = flags[self.order]
        position = position[self.order]
        fresh = np.ones(times.size, dtype=bool)
        fresh[1:] = (np.diff(position) != 0) | (np.diff(self.codes) != 0)
        self.block = np.cumsum(fresh) - 1
        starts = np.flatnonzero(fresh)
        self._block_end = np.append(starts[1:], times.size) - 1
        self.block_time = distinct[position[starts]]
        self._block_stratum = self.codes[starts]
        self._strata_rows = _runs(self.codes)
        self._strata_blocks = _runs(self._block_stratum)

    def _tie_rows(self, ties: str) -> None:
        self.dead = np.flatnonzero(self.event)
        block = self.block[self.dead]
        fresh = np.ones(block.size, dtype=bool)
        fresh[1:] = np.diff(block) != 0
        self.tie_start = np.flatnonzero(fresh)
        self.tie_of = np.cumsum(fresh) - 1
        size = np.diff(np.append(self.tie_start, block.size))
        self.dead_block = block
        rank = np.arange(block.size) - self.tie_start[self.tie_of]
        self.share = rank / size[self.tie_of] if ties == "efron" else np.zeros(block.size)
        self._tied = bool(self.share.any())
        mean_weight = np.add.reduceat(self._weights[self.dead], self.tie_start) / size
        self.dead_weight = mean_weight[self.tie_of]
        self.tie_size = size

    def log_likelihood(self, beta: Any) -> float:
        """Return the partial log-likelihood at `beta`, shape ``(p,)``."""
        return self.state(np.asarray(beta, dtype=float)).log_likelihood

    def derivatives(self, beta: Any) -> tuple[float, Array, Array]:
        """Return the log-likelihood, its gradient ``(p,)`` and the information ``(p, p)`` at `beta`."""
        state = self.state(np.asarray(beta, dtype=float))
        gradient, information = self.sums(state)
        return state.log_likelihood, gradient, information

    def linear_predictor(self, beta: Any) -> Array:
        """Return ``X beta + offset`` for the sorted rows, X centred within strata, shape ``(n,)``."""
        return np.asarray(self.X @ np.asarray(beta, dtype=float) + self._offset)

    def state(self, beta: Array) -> CoxState:
        """Return the relative hazards and risk-set totals at `beta`; likelihood -inf where floats do not hold them."""
        eta = self.linear_predictor(beta)
        shift = np.maximum.reduceat(eta, [low for low, _ in self._strata_rows])
        eta = eta - shift[self.codes]
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            relative = self._weights * np.exp(eta)
            total = self._running(relative)[self._block_end[self.dead_block]]
            if self._tied:
                total = total - self.share * np.add.reduceat(relative[self.dead], self.tie_start)[self.tie_of]
            value = self._weights[self.dead] @ eta[self.dead] - self.dead_weight @ np.log(total)
        # Linear predictors that are hundreds apart leave totals that no derivative can be made of.
        if not total.min() > 1e-200:
            value = -np.inf
        return CoxState(float(value), relative, total, shift)

    def sums(self, state: CoxState, factor: Array | None = None) -> tuple[Array, Array]:
        """Return gradient and information, each event's part times `factor`, which tied events share."""
        accumulated = state.relative * self.accumulated(state, factor)
        residual = -accumulated
        own = self._weights[self.dead]
        residual[self.dead] += own if factor is None else own * factor
        means = self.risk_set_means(state)
        weight = self.dead_weight if factor is None else self.dead_weight * factor
        information = (self.X * accumulated[:, None]).T @ self.X - (means * weight[:, None]).T @ means
        return residual @ self.X, information

    def risk_set_means(self, state: CoxState) -> Array:
        """Return the weighted covariate means of each event's risk set, shape ``(events, p)``."""
        weighted = self.X * state.relative[:, None]
        means = self._running(weighted)[self._block_end[self.dead_block]]
        if self._tied:
            ties = np.add.reduceat(weighted[self.dead], self.tie_start, axis=0)
            means = means - self.share[:, None] * ties[self.tie_of]
        return np.asarray(means / state.total[:, None])

    def accumulated(self, state: CoxState, factor: Array | None = None) -> Array:
        """Return each sorted patient's cumulative hazard, Efron's share for the patient's own tie taken off."""
        step = self.dead_weight / state.total
        if factor is not None:
            step = step * factor
        hazard = np.bincount(self.dead_block, step, self._block_end.size).astype(float)
        accumulated = self.backward(hazard)[self.block]
        if self._tied:
            own = np.add.reduceat(step * self.share, self.tie_start)
            accumulated[self.dead] -= own[self.tie_of]
        return np.asarray(accumulated)

    def _running(self, values: Array) -> Array:
        if len(self._strata_rows) == 1:
            return np.cumsum(values, axis=0)
        out = np.empty_like(values)
        for low, high in self._strata_rows:
            np.cumsum(values[low:high], axis=0, out=out[low:high])
        return out

    def backward(self, hazard: Array) -> Array:
        """Return sums over each block of time and the earlier ones of its stratum, shape as given."""
        out = np.empty_like(hazard)
        for low, high in self._strata_blocks:
            out[low:high] = np.cumsum(hazard[low:high][::-1], axis=0)[::-1]
        return out

    def fit(self, ridge: Any = None, start: Any = None, tol: float = 1e-10) -> CoxArrays:
        """Return the (penalised) maximum of the partial likelihood; see `fit_cox` for the arguments."""
        p = self.X.shape[1]
        penalty = np.zeros(p) if ridge is None else np.broadcast_to(np.asarray(ridge, dtype=float), (p,))
        if not (np.isfinite(penalty) & (penalty >= 0)).all():
            raise DataError("ridge must hold finite numbers that are 0 or more, one a column")
        null, score, information = self.derivatives(np.zeros(p))
        if p == 0:
            return CoxArrays(np.zeros(0), np.zeros((0, 0)), null, null, 0.0, 0)
        self._refuse_flat(information + np.diag(penalty))
        chi_square = float(score @ np.linalg.lstsq(information, score, rcond=None)[0])
        if start is None:
            beta, now = np.zeros(p), (null, score, information)
        else:
            beta = np.array(start, dtype=float)
            now = self.derivatives(beta)
        beta, last, steps = self._newton(beta, now, penalty, tol)
        precision = last[2] + np.diag(penalty)
        self._refuse_runaway(beta, precision, information + np.diag(penalty))
        return CoxArrays(beta, _inverse(precision), last[0], null, chi_square, steps)

    def _newton(
        self, beta: Array, now: tuple[float, Array, Array], penalty: Array, tol: float
    ) -> tuple[Array, tuple[float, Array, Array], int]:
        for iteration in range(1, MAX_ITERATIONS + 1):
            value = now[0] - 0.5 * float(penalty @ beta**2)
            gradient = now[1] - penalty * beta
            try:
                step = _solve(now[2] + np.diag(penalty), gradient)
            except np.linalg.LinAlgError:
                break
            decrement = float(gradient @ step)
            for length in HALVINGS:
                trial = beta + length * step
                state = self.state(trial)
                better = state.log_likelihood - 0.5 * float(penalty @ trial**2)
                # Near the top the likelihood is flat to rounding, and the full Newton step is the right one.
                if np.isfinite(better) and better >= value - 1e-9 * (1 + abs(value)):
                    break
            else:
                break
            beta, now = trial, (state.log_likelihood, *self.sums(state))
            # The decrement is the squared error before a step that squares it once more.
            if decrement <= tol and length == 1.0:
                return beta, now, iteration
        raise AnalysisError(
            f"the Cox model did not converge; '{self._largest(beta)}' moved furthest: "
            "look for a column that nearly separates events from the rest, drop it or penalise (ridge)"
        )

    def _largest(self, beta: Array) -> str:
        return self.names[int(np.argmax(np.abs(beta) * self.X.std(axis=0)))]

    def _refuse_flat(self, information: Array) -> None:
        variance = np.diag(information)
        # The information is a difference of two sums, and where it is nothing the rounding of these is left.
        spread = np.mean(self.X**2, axis=0) * self.dead.size
        flat = np.flatnonzero(~(variance > np.maximum(1e-10 * spread, 1e-300)))
        if flat.size:
            raise AnalysisError(f"'{self.names[flat[0]]}' varies in no risk set, so it has no hazard ratio: drop it")
        scale = np.sqrt(variance)
        correlation = information / np.outer(scale, scale)
        values, vectors = np.linalg.eigh(correlation)
        if values[0] < 1e-11 * values.size:
            column = self.names[int(np.argmax(np.abs(vectors[:, 0])))]
            raise AnalysisError(
                f"'{column}' is a linear combination of the other columns, so the model has no single answer: drop it"
            )

    def _refuse_runaway(self, beta: Array, at_end: Array, at_zero: Array) -> None:
        root = np.linalg.cholesky(at_zero)
        half = np.linalg.solve(root, at_end)
        left = float(np.linalg.eigvalsh(np.linalg.solve(root, half.T))[0])
        if left < RUNAWAY:
            raise AnalysisError(
                f"the coefficient of '{self._largest(beta)}' runs away to infinity: events and the rest are "
                "separated by it, so pool its levels, drop it or penalise (ridge)"
            )


def fit_cox(
    time: Any,
    event: Any,
    X: Any,
    *,
    strata: Any = None,
    offset: Any = None,
    weights: Any = None,
    ridge: Any = None,
    start: Any = None,
    tol: float = 1e-10,
) -> CoxArrays:
    """Return the Cox model with Efron's ties, by Newton's method with step halving.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    X
        Covariates, shape ``(n, p)``.
    strata, offset, weights
        As in `CoxProblem`.
    ridge
        Penalties lambda_j, one a column or one for all: ``log-likelihood - 0.5 sum(lambda_j beta_j^2)`` is
        maximised, and the covariance is the inverse of the penalised information.
    start
        Where to start, shape ``(p,)``; 0 by default.
    tol
        Stops when the squared Newton step, in standard errors, was below `tol`; the step then taken squares it
        again, so the coefficients are converged to about `tol` standard errors.

    Returns
    -------
    CoxArrays

    Raises
    ------
    AnalysisError
        If a column is constant or a combination of others, the fit does not converge or a coefficient runs away.
    """
    problem = CoxProblem(time, event, X, strata=strata, offset=offset, weights=weights)
    return problem.fit(ridge=ridge, start=start, tol=tol)


def _column(values: Any, n: int, name: str, default: float) -> Array:
    if values is None:
        return np.full(n, default)
    column = np.asarray(values, dtype=float)
    if column.shape != (n,) or not np.isfinite(column).all():
        raise DataError(f"{name} must hold one finite number for each of the {n} patients")
    return column


def _runs(codes: Codes) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(codes)) + 1
    bounds = [0, *edges.tolist(), codes.size]
    return list(itertools.pairwise(bounds))


def _solve(matrix: Array, right: Array) -> Array:
    # Scaled to a unit diagonal, columns in grams and in years weigh the same in the factorisation.
    diagonal = np.diag(matrix)
    if not (diagonal > 0).all():
        raise np.linalg.LinAlgError
    scale = 1 / np.sqrt(diagonal)
    return np.asarray(scale * np.linalg.solve(matrix * np.outer(scale, scale), scale * right))


def _inverse(matrix: Array) -> Array:
    scale = 1 / np.sqrt(np.diag(matrix))
    inverse = np.linalg.inv(matrix * np.outer(scale, scale)) * np.outer(scale, scale)
    return np.asarray((inverse + inverse.T) / 2)

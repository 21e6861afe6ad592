"""The Cox partial likelihood in arrays: one sort, then every fit costs a few compiled passes over the rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any, Literal

import numpy as np

from trialml.errors import AnalysisError, DataError
from trialml.survival.cox_arrays import CoxArrays, CoxState, Ties, checked_column, factor_array
from trialml.survival.cox_layout import slot_layout
from trialml.survival.cox_refusals import inverse, refuse_flat, refuse_runaway, solve
from trialml.survival.rows import checked_entry
from trialml.survival.ties import Array, Codes, checked_labels, checked_times

__all__ = ["CoxArrays", "CoxProblem", "CoxState", "Ties", "fit_cox"]

MAX_ITERATIONS = 60
HALVINGS = tuple(0.5**k for k in range(30))


class CoxProblem:
    """The data of a Cox model, sorted once, so that penalty paths and resampling re-use the sort.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``; at least one event.
    X
        Covariates, shape ``(n, p)``; a DataFrame gives its column names to the error messages.
    strata
        One label a row; each stratum has its own baseline hazard.
    offset
        A fixed part of the linear predictor, shape ``(n,)``.
    weights
        Case weights above 0, shape ``(n,)``; tied events share their mean weight.
    ties
        ``"efron"`` or ``"breslow"``.
    entry
        When each row comes under observation (left truncation), shape ``(n,)``: a row is at risk at times after its
        entry up to and with its time. A subject may have several rows that follow each other.

    Raises
    ------
    DataError
        If a value is missing or infinite, the shapes disagree, or an entry is not before its time.
    AnalysisError
        If there is no event.

    Notes
    -----
    With `r` the relative hazards, the l-th of m tied events has risk-set total ``D = sum(r) - (l/m) sum(r of the
    tied events)``. The score is ``X' (event - r A)`` and the information ``X' diag(r A) X - M' M`` with A a row's
    accumulated hazard and M the rows of risk-set means. Everything is added up in one thread and one order.

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
        ties: Ties = "efron",
        entry: Any = None,
    ) -> None:
        times, flags = checked_times(time, event, needs_event=True)
        n = times.size
        matrix = np.asarray(X, dtype=float)
        if matrix.ndim != 2 or len(matrix) != n:
            raise DataError(f"X has shape {matrix.shape} for {n} patients: pass one row a patient")
        columns = getattr(X, "columns", None)
        self.names: tuple[str, ...] = tuple(
            [f"column {j + 1}" for j in range(matrix.shape[1])] if columns is None else [str(name) for name in columns]
        )
        self._refuse_missing(matrix)
        if ties not in ("efron", "breslow"):
            raise DataError(f"ties is '{ties}', but it must be 'efron' or 'breslow'")
        self.efron = ties == "efron"
        self.strata_labels, codes = checked_labels(strata, n, "strata")
        entries = checked_entry(entry, times)
        self.layout = slot_layout(times, np.array(flags), codes, self.strata_labels.size, entries)
        self.order = self.layout.rows
        self.event = self.layout.event
        self.offset = checked_column(offset, n, "offset", 0.0)[self.order]
        self.weights = checked_column(weights, n, "weights", 1.0)[self.order]
        if weights is not None and self.weights.min() <= 0:
            raise DataError(f"weights are {self.weights.min():g} at their smallest: drop rows of weight 0")
        self.X = self._centred(matrix)
        self._at_zero: tuple[float, Array, Array] | None = None
        self._score_tests: dict[bool, float] = {}

    def replace_columns(self, X: Array) -> None:
        """Put other covariates of the same patients in place, shape ``(n, p)``."""
        self.names = tuple(f"column {j + 1}" for j in range(X.shape[1]))
        self._refuse_missing(X)
        self.X = self._centred(X)
        self._at_zero, self._score_tests = None, {}

    def with_offset_alone(self, offset: Any) -> CoxProblem:
        """Return the problem of the same patients, without a second sort, whose linear predictor is an offset, shape ``(n,)``."""
        other = copy(self)
        other.offset = checked_column(offset, self.order.size, "offset", 0.0)[self.order]
        other.replace_columns(np.empty((self.order.size, 0)))
        return other

    @property
    def codes(self) -> Codes:
        """The position of each sorted row's stratum among `strata_labels`, shape ``(n,)``."""
        return np.asarray(self.layout.slot_stratum[self.layout.row_slot])

    def _refuse_missing(self, matrix: Array) -> None:
        if np.isfinite(matrix.sum()):  # a sum holds every value that is not finite
            return
        wrong = ~np.isfinite(matrix)
        if wrong.any():
            j = int(np.argmax(wrong.any(axis=0)))
            raise DataError(
                f"'{self.names[j]}' is missing or infinite in {int(wrong[:, j].sum())} of {len(matrix)} rows: "
                "impute it or drop the rows"
            )

    def _centred(self, matrix: Array) -> Array:
        # The partial likelihood does not change with a shift within a stratum; centred columns keep the digits.
        from trialml.survival.cox_passes import gather

        p = matrix.shape[1]
        out, largest, left = np.empty((p, len(matrix))), np.zeros(p), np.zeros(p)
        gather(matrix, self.order, self.layout.slot_row[self.layout.stratum_slot], out, largest, left)
        # What centring leaves of a constant column is rounding, which would look like a covariate.
        constant = left <= 1e-12 * largest
        if constant.any():
            out[constant] = 0.0
        first = self.layout.slot_row[self.layout.stratum_slot[:-1]]
        self.centre = matrix[self.order[first]] - out[:, first].T
        return out

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
        return np.asarray(np.asarray(beta, dtype=float) @ self.X + self.offset)

    def state(self, beta: Array, factor: Array | None = None) -> CoxState:
        """Return the relative hazards and risk-set totals at `beta`; likelihood -inf where floats do not hold them.

        Parameters
        ----------
        beta
            Shape ``(p,)``.
        factor
            A number for each slot by which its events count, shape ``(slots,)``; 1 by default.
        """
        from trialml.survival.cox_passes import risk_totals

        n, slots = self.offset.size, self.layout.slot_dead.size
        into = CoxState(0.0, np.empty(n), np.empty(self.strata_labels.size), np.empty((8, slots)),
                            np.zeros(slots, dtype=bool))  # fmt: skip
        value = risk_totals(
            self.X, np.ascontiguousarray(beta, dtype=float), self.offset, self.weights, factor_array(factor),
            *self.layout.arguments(into.again), self.efron, into.relative, into.shift, into.slots,
        )  # fmt: skip
        return into._replace(log_likelihood=float(value) if np.isfinite(value) else -np.inf)

    def sums(self, state: CoxState, factor: Array | None = None) -> tuple[Array, Array]:
        """Return gradient and information at a state that was made with the same `factor`."""
        from trialml.survival.cox_passes import CHUNK, derivatives

        p = self.X.shape[0]
        gradient, information = np.zeros(p), np.zeros((p, p))
        derivatives(
            self.X, self.weights, factor_array(factor), *self.layout.arguments(state.again), self.layout.row_slot,
            state.relative, state.slots, np.empty((p, CHUNK + 1)), np.empty((p, CHUNK + 1)), np.empty((5, CHUNK)),
            gradient, information,
        )  # fmt: skip
        return gradient, information

    def risk_set_sums(self, state: CoxState) -> tuple[Array, Array]:
        """Return the sums of relative hazard times covariate at risk in each slot, and over its events, ``(p, slots)``."""
        from trialml.survival.cox_passes import covariate_sums

        p, slots = self.X.shape[0], self.layout.slot_dead.size
        at_risk, tied = np.zeros((p, slots)), np.zeros((p, slots))
        for j in range(0, p, 2):
            covariate_sums(self.X, j, state.relative, *self.layout.arguments(state.again), 0, slots, 0, at_risk, tied)
        return at_risk, tied

    def accumulated(self, state: CoxState) -> Array:
        """Return each sorted row's cumulative hazard while at risk, Efron's share for the row's own tie taken off."""
        hazard = self.layout.over_slots(state.slots[6])
        own = state.slots[0] * state.slots[2]
        return np.asarray(hazard - np.where(self.event, own[self.layout.row_slot], 0.0))

    def fit(
        self, ridge: Any = None, start: Any = None, tol: float = 1e-10, *, firth: bool = False, near: bool = False,
        test: bool = True,
    ) -> CoxArrays:  # fmt: skip
        """Return the (penalised) maximum of the partial likelihood; see `fit_cox` for the arguments.

        Where `near` says that `start` is close to it, nothing is computed at 0, so that its likelihood and score test are
        NaN, and the covariance is that of one step before. Without `test` the score test is left out and NaN.
        """
        p = self.X.shape[0]
        penalty = np.zeros(p) if ridge is None else np.broadcast_to(np.asarray(ridge, dtype=float), (p,))
        if not (np.isfinite(penalty) & (penalty >= 0)).all():
            raise DataError("ridge must hold finite numbers that are 0 or more, one a column")
        evaluate = self._evaluator()
        beta = np.zeros(p) if start is None else np.array(start, dtype=float)
        if not near and self._at_zero is None:
            self._at_zero = (evaluate[0](np.zeros(p)), *evaluate[1]())
        first = (evaluate[0](beta), *evaluate[1]()) if near or self._at_zero is None else self._at_zero
        null, _, information = first
        if not np.isfinite(null):
            raise AnalysisError(
                f"the offset reaches from {self.offset.min():g} to {self.offset.max():g}, too far for a Cox model: "
                "centre and scale it"
            )
        if p == 0:
            return CoxArrays(np.zeros(0), np.zeros((0, 0)), null, null, 0.0, 0)
        reference = information + np.diag(penalty)
        refuse_flat(reference, self._spread(), self.names, self.event.size + 1 - self.strata_labels.size)
        chi_square = self._score_test(penalised=ridge is not None) if test and not near else math.nan
        null = math.nan if near else null
        if firth:
            from trialml.survival.cox_firth import firth_newton

            beta, value, information, steps = firth_newton(self, tol)
            return CoxArrays(beta, inverse(information), value, null, chi_square, steps)
        now = first if near or start is None else (evaluate[0](beta), *evaluate[1]())
        beta, last, steps = self._newton(beta, now, penalty if ridge is not None else None, tol, evaluate, near=near)
        precision = last[2] + np.diag(penalty)
        covariance = inverse(precision)
        refuse_runaway(precision, reference, covariance, lambda: self.largest(beta))
        return CoxArrays(beta, covariance, last[0], null, chi_square, steps)

    def _evaluator(self) -> tuple[Callable[[Array], float], Callable[[], tuple[Array, Array]]]:
        """Return the likelihood at a `beta`, and the derivatives at the last one, both with arrays made once."""
        from trialml.survival.cox_passes import CHUNK, derivatives, risk_totals

        p, n, slots = self.X.shape[0], self.offset.size, self.layout.slot_dead.size
        relative, shift, sums = np.empty(n), np.empty(self.strata_labels.size), np.empty((8, slots))
        layout, none = self.layout.arguments(np.zeros(slots, dtype=bool)), np.zeros(0)
        scratch = (np.empty((p, CHUNK + 1)), np.empty((p, CHUNK + 1)), np.empty((5, CHUNK)))

        def value(beta: Array) -> float:
            found = risk_totals(
                self.X, beta, self.offset, self.weights, none, *layout, self.efron, relative, shift, sums
            )
            return float(found) if math.isfinite(found) else -math.inf

        def slopes() -> tuple[Array, Array]:
            gradient, information = np.zeros(p), np.zeros((p, p))
            derivatives(self.X, self.weights, none, *layout, self.layout.row_slot, relative, sums, *scratch, gradient,
                        information)  # fmt: skip
            return gradient, information

        return value, slopes

    def _newton(
        self,
        beta: Array,
        now: tuple[float, Array, Array],
        penalty: Array | None,
        tol: float,
        evaluate: tuple[Callable[[Array], float], Callable[[], tuple[Array, Array]]],
        *,
        near: bool,
    ) -> tuple[Array, tuple[float, Array, Array], int]:
        likelihood, slopes = evaluate
        enough = tol * math.sqrt(np.count_nonzero(self.event))

        def cost(at: Array) -> float:
            return 0.0 if penalty is None else 0.5 * float(penalty @ at**2)

        for iteration in range(1, MAX_ITERATIONS + 1):
            value = now[0] - cost(beta)
            gradient = now[1] if penalty is None else now[1] - penalty * beta
            try:
                step = solve(now[2] if penalty is None else now[2] + np.diag(penalty), gradient)
            except np.linalg.LinAlgError:
                break
            decrement = float(gradient @ step)
            for length in HALVINGS:
                trial = beta + length * step
                reached = likelihood(trial)
                better = reached - cost(trial)
                # Near the top the likelihood is flat to rounding, and the full Newton step is the right one.
                if math.isfinite(better) and better >= value - 1e-9 * (1 + abs(value)):
                    break
            else:
                break
            # In standard errors, a Newton step is about the square of the one before over the root of the events.
            done = decrement <= enough and length == 1.0
            beta, now = trial, (reached, *(now[1:] if near and done else slopes()))
            if done:
                return beta, now, iteration
        raise AnalysisError(
            f"the Cox model did not converge; '{self.largest(beta)}' moved furthest: look for a column that nearly "
            'separates events from the rest, drop it or ask for penalty="firth"'
        )

    def _score_test(self, *, penalised: bool) -> float:
        if penalised not in self._score_tests:
            assert self._at_zero is not None
            _, score, information = self._at_zero
            # A penalty lets columns be combinations of each other, which leave the information without an inverse.
            found = np.linalg.lstsq(information, score, rcond=None)[0] if penalised else solve(information, score)
            self._score_tests[penalised] = float(score @ found)
        return self._score_tests[penalised]

    def largest(self, beta: Array) -> str:
        """Return the name of the column that moves the linear predictor most."""
        return self.names[int(np.argmax(np.abs(beta) * self.X.std(axis=1)))]

    def _spread(self) -> Array:
        # The information is a difference of two sums, and where it is nothing the rounding of these is left.
        return np.asarray(np.einsum("ij,ij->i", self.X, self.X) / self.offset.size * self.event.sum())


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
    ties: Ties = "efron",
    entry: Any = None,
    id: Any = None,  # noqa: A002  (the name that R and the data have for it)
    penalty: Literal["firth"] | None = None,
) -> CoxArrays:
    """Return the Cox model, by Newton's method with step halving.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    X
        Covariates, shape ``(n, p)``.
    strata, offset, weights, ties, entry
        As in `CoxProblem`.
    ridge
        Penalties lambda_j, one a column or one for all: ``log-likelihood - 0.5 sum(lambda_j beta_j^2)`` is
        maximised, and the covariance is the inverse of the penalised information. In glmnet's scale, whose penalty is
        ``lambda sum(beta_j^2) / 2`` beside ``log-likelihood / n`` on columns of variance 1, ``lambda_j = n lambda sd_j^2``.
    start
        Where to start, shape ``(p,)``; 0 by default.
    tol
        Stops when the next Newton step would be about `tol` standard errors or less: it is the square of the step just
        taken over the root of the number of events, which share what the likelihood bends.
    id
        The subject of each row: adds the covariance that stays right when a subject's rows are dependent.
    penalty
        ``"firth"`` maximises ``log-likelihood + 0.5 log det information``, which has a maximum where a column
        separates the events from the rest; see `cox_firth`.

    Returns
    -------
    CoxArrays

    Raises
    ------
    AnalysisError
        If a column is constant or a combination of others, the fit does not converge or a coefficient runs away.
    """
    if penalty not in (None, "firth"):
        raise DataError(f"penalty is '{penalty}', but it must be 'firth' or None")
    if penalty == "firth" and (ridge is not None or start is not None):
        raise DataError("Firth's penalty leaves no room for ridge or start: pass one of them")
    problem = CoxProblem(time, event, X, strata=strata, offset=offset, weights=weights, ties=ties, entry=entry)
    fit = problem.fit(ridge=ridge, start=start, tol=tol, firth=penalty == "firth")
    if id is None:
        return fit
    from trialml.survival.cox_residuals import sandwich

    return sandwich(problem, fit, id)

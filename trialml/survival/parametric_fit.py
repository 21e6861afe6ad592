"""Accelerated failure time models in arrays: lifelines' estimate, followed to the maximum by Newton steps of our own."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import special

from trialml.errors import AnalysisError, DataError
from trialml.survival.cox_refusals import inverse, solve
from trialml.survival.terms import dependent_words
from trialml.survival.ties import Array, Flags, checked_times, distinct_times

__all__ = ["DISTRIBUTIONS", "Distribution", "ParametricArrays", "fit_parametric", "log_survival", "standard_quantile"]

Distribution = Literal["exponential", "weibull", "log-normal", "log-logistic"]
DISTRIBUTIONS: tuple[str, ...] = ("exponential", "weibull", "log-normal", "log-logistic")
MAX_STEPS = 200


class ParametricArrays(NamedTuple):
    """A fitted model ``log T = b0 + x b + scale * error``.

    Attributes
    ----------
    coefficients
        Intercept first, shape ``(p + 1,)``.
    scale
        Of the error; 1 for the exponential distribution.
    covariance
        Of the coefficients and the logarithm of the scale (none for the exponential), from the observed information.
    log_likelihood
        Of the times themselves, not of their logarithms.
    steps
        Newton steps after lifelines.
    """

    coefficients: Array
    scale: float
    covariance: Array
    log_likelihood: float
    steps: int


def fit_parametric(time: Any, event: Any, X: Any, distribution: str, weights: Any = None) -> ParametricArrays:
    """Return the maximum-likelihood accelerated failure time model.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    X
        Covariates without intercept, shape ``(n, p)``; a DataFrame gives its column names to the error messages.
    distribution
        ``"exponential"``, ``"weibull"``, ``"log-normal"`` or ``"log-logistic"``.
    weights
        Case weights above 0, shape ``(n,)``.

    Returns
    -------
    ParametricArrays

    Raises
    ------
    DataError
        If a value is missing or infinite, or the distribution has no such name.
    AnalysisError
        If there is no event, a column is a combination of others, or there is no finite maximum.
    """
    if distribution not in DISTRIBUTIONS:
        raise DataError(f"distribution is '{distribution}', but it must be one of {', '.join(DISTRIBUTIONS)}")
    times, flags = checked_times(time, event, needs_event=True)
    matrix = np.asarray(X, dtype=float)
    if matrix.ndim != 2 or len(matrix) != times.size or not np.isfinite(matrix).all():
        raise DataError(f"X must hold finite numbers, one row for each of the {times.size} patients")
    case = np.ones(times.size) if weights is None else np.asarray(weights, dtype=float)
    if case.shape != times.shape or not (np.isfinite(case) & (case > 0)).all():
        raise DataError(f"weights must hold one number above 0 for each of the {times.size} patients")
    names = [str(name) for name in getattr(X, "columns", range(1, matrix.shape[1] + 1))]
    centre, spread = matrix.mean(axis=0), matrix.std(axis=0)
    _refuse_combinations(matrix, centre, spread, names)
    if distribution != "exponential" and distinct_times(times)[0].size == 1:
        raise AnalysisError(f"every time is {times[0]:g}, so the {distribution} model has no scale: check the column")
    # Newton's steps are taken on columns of mean 0 and deviation 1, whose information is well scaled.
    design = np.column_stack((np.ones(times.size), (matrix - centre) / spread))
    model = _Model(np.log(times), flags, design, case, distribution)
    parameters, steps = _climb(model, _start(model, times, names))
    value, _, information = model.derivatives(parameters)
    _refuse_runaway(model, parameters, information, names)
    back = _back(centre, spread, parameters.size)
    parameters, covariance = back @ parameters, back @ inverse(information) @ back.T
    width = design.shape[1]
    scale = float(np.exp(parameters[width])) if parameters.size > width else 1.0
    return ParametricArrays(parameters[:width], scale, covariance, value, steps)


class _Model(NamedTuple):
    log_time: Array
    event: Flags
    design: Array
    weights: Array
    distribution: str

    def derivatives(self, parameters: Array) -> tuple[float, Array, Array]:
        """Return log-likelihood, gradient and observed information at coefficients and log scale."""
        width = self.design.shape[1]
        free = parameters.size > width
        scale = float(np.exp(parameters[width])) if free else 1.0
        with np.errstate(over="ignore", invalid="ignore"):
            z = (self.log_time - self.design @ parameters[:width]) / scale
            g, slope, curve = _logs(z, self.event, self.distribution)
            value = self.weights @ (g - np.where(self.event, np.log(scale) + self.log_time, 0.0))
            if not np.isfinite(value):
                return -np.inf, np.zeros(parameters.size), np.zeros((parameters.size, parameters.size))
            gradient, information = np.zeros(parameters.size), np.zeros((parameters.size, parameters.size))
            gradient[:width] = -(self.weights * slope / scale) @ self.design
            information[:width, :width] = -(self.design * (self.weights * curve / scale**2)[:, None]).T @ self.design
            if free:
                gradient[width] = -self.weights @ (z * slope + self.event)
                information[width, width] = -self.weights @ (z**2 * curve + z * slope)
                cross = -(self.weights * (slope + z * curve) / scale) @ self.design
                information[:width, width] = information[width, :width] = cross
        return float(value), gradient, information


def _logs(z: Array, event: Flags, distribution: str) -> tuple[Array, Array, Array]:
    """Return log density (event) or log survival (not) of the standard error at z, and its first two derivatives."""
    if distribution in ("exponential", "weibull"):
        rise = np.exp(z)
        return np.where(event, z, 0.0) - rise, event - rise, -rise
    if distribution == "log-logistic":
        p = special.expit(z)
        count = 1.0 + event
        return np.where(event, z, 0.0) - count * np.logaddexp(0.0, z), event - count * p, -count * p * (1 - p)
    tail = special.log_ndtr(-z)
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - tail)
    return (
        np.where(event, -0.5 * z**2 - 0.5 * np.log(2 * np.pi), tail),
        np.where(event, -z, -ratio),
        np.where(event, -1.0, -ratio * (ratio - z)),
    )


def log_survival(z: Array, distribution: str) -> Array:
    """Return the log survival function of the standard error at z."""
    return _logs(np.asarray(z, dtype=float), np.zeros(np.shape(z), dtype=bool), distribution)[0]


def standard_quantile(p: Array, distribution: str) -> Array:
    """Return where the standard error has distribution function p."""
    if distribution in ("exponential", "weibull"):
        return np.asarray(np.log(-np.log1p(-np.asarray(p))))
    return np.asarray(special.logit(p) if distribution == "log-logistic" else special.ndtri(p))


def _start(model: _Model, times: Array, names: list[str]) -> Array:
    """Return lifelines' estimate, or that of the intercept alone where it has none."""
    width = model.design.shape[1]
    if model.distribution == "exponential":
        happened = float(model.weights @ model.event)
        return np.concatenate(([np.log(model.weights @ times / happened)], np.zeros(width - 1)))
    plain = np.concatenate(([np.average(model.log_time, weights=model.weights)], np.zeros(width)))
    from lifelines import LogLogisticAFTFitter, LogNormalAFTFitter, WeibullAFTFitter
    from pandas import DataFrame

    table = DataFrame(model.design[:, 1:], columns=names).assign(**{"": times, " ": model.event, "  ": model.weights})
    kind, sign = {
        "weibull": (WeibullAFTFitter, -1.0),
        "log-normal": (LogNormalAFTFitter, 1.0),
        "log-logistic": (LogLogisticAFTFitter, -1.0),
    }[model.distribution]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitter = kind().fit(table, duration_col="", event_col=" ", weights_col="  ")
        except Exception:  # noqa: BLE001  (whatever its optimiser stumbles over, Newton's method starts without it)
            return plain
    position = fitter.params_.droplevel(0)
    found = np.array(
        [position["Intercept"].iloc[0], *(position[name] for name in names), sign * position["Intercept"].iloc[1]]
    )
    return found if np.isfinite(model.derivatives(found)[0]) else plain


def _climb(model: _Model, parameters: Array) -> tuple[Array, int]:
    value, gradient, information = model.derivatives(parameters)
    for step_number in range(1, MAX_STEPS + 1):
        # Far from the maximum the information need not be positive definite; damped, a step still rises.
        values = np.linalg.eigvalsh(information)
        damping = max(0.0, 1e-6 * abs(values[-1]) - values[0]) if values[0] <= 1e-12 * abs(values[-1]) else 0.0
        step = solve(information + damping * np.eye(parameters.size), gradient)
        decrement = float(gradient @ step)
        length = 1.0
        while length > 1e-12:
            now = model.derivatives(parameters + length * step)
            if now[0] >= value - 1e-11 * (1 + abs(value)):
                break
            length /= 2
        parameters, (value, gradient, information) = parameters + length * step, now
        if decrement <= 1e-16 and length == 1.0 and damping == 0.0:
            return parameters, step_number
    raise AnalysisError(
        f"the {model.distribution} model did not converge: look for a column that separates events from the rest, or "
        "choose another distribution"
    )


def _refuse_combinations(matrix: Array, centre: Array, spread: Array, names: list[str]) -> None:
    flat = spread <= 1e-12 * np.abs(matrix).max(axis=0, initial=0.0)
    if flat.any():
        raise AnalysisError(f"'{names[int(np.argmax(flat))]}' is the same in every row: drop it")
    if matrix.shape[1] == 0:
        return
    columns = (matrix - centre) / spread
    values, vectors = np.linalg.eigh(columns.T @ columns / len(columns))
    if values[0] < 1e-11 * values.size:
        name = names[int(np.argmax(np.abs(vectors[:, 0])))]
        raise AnalysisError(dependent_words(name, values.size, len(matrix)))


def _refuse_runaway(model: _Model, parameters: Array, information: Array, names: list[str]) -> None:
    # A column that separates leaves no information about its coefficient.
    each = np.diag(information)[1 : model.design.shape[1]]
    if each.size and each.min() < 1e-7 * information[0, 0]:
        raise AnalysisError(
            f"the coefficient of '{names[int(np.argmin(each))]}' runs away to infinity: events and the rest are "
            "separated by it, so pool its levels or drop it"
        )
    if not np.isfinite(parameters).all() or np.linalg.eigvalsh(information)[0] <= 0:
        raise AnalysisError(f"the {model.distribution} model has no maximum on these data: choose another distribution")


def _back(centre: Array, spread: Array, size: int) -> Array:
    """Return the matrix from parameters on standardised columns to those on the columns as given."""
    back = np.eye(size)
    width = 1 + spread.size
    back[range(1, width), range(1, width)] = 1 / spread
    back[0, 1:width] = -centre / spread
    return back

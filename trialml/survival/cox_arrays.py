"""What a Cox model gives as arrays, and what everything at one set of coefficients is made of."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from trialml.errors import DataError
from trialml.survival.ties import Array, Flags

__all__ = ["CoxArrays", "CoxState", "Ties", "checked_column", "factor_array"]

Ties = Literal["efron", "breslow"]


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
    robust_covariance, robust_score
        With subjects (`id`) only: the sandwich ``D' D`` with D the dfbetas summed by subject, and the score test's
        chi-square with the scores at 0 summed by subject as its variance; None otherwise.
    """

    coefficients: Array
    covariance: Array
    log_likelihood: float
    log_likelihood_null: float
    score: float
    iterations: int
    robust_covariance: Array | None = None
    robust_score: float | None = None


class CoxState(NamedTuple):
    """What everything at one `beta` is made of; see `cox_passes.risk_totals`."""

    log_likelihood: float
    relative: Array
    shift: Array
    slots: Array
    again: Flags


def checked_column(values: Any, n: int, name: str, default: float) -> Array:
    """Return one finite number a row, shape ``(n,)``; the default for each where there are no values.

    Raises
    ------
    DataError
        If the shape is another, or a value is missing or infinite.
    """
    if values is None:
        return np.full(n, default)
    column = np.asarray(values, dtype=float)
    if column.shape != (n,) or not np.isfinite(column).all():
        raise DataError(f"{name} must hold one finite number for each of the {n} rows")
    return column


def factor_array(factor: Array | None) -> Array:
    """Return a factor for each slot as the compiled passes take it, shape ``(slots,)``; empty where there is none."""
    return np.zeros(0) if factor is None else np.ascontiguousarray(factor, dtype=float)

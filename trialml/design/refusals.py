"""Sentences for numbers that cannot be planned with: each names the number, the value seen and the remedy."""

from __future__ import annotations

import math

import numpy as np

from trialml.errors import AnalysisError

__all__ = [
    "require_alpha",
    "require_between",
    "require_finite",
    "require_positive",
    "require_positive_definite",
    "require_power",
]


def require_finite(name: str, value: float) -> float:
    """Return `value` as a float, refusing NaN, infinity and what is no number.

    Raises
    ------
    AnalysisError
        If `value` is not a finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise AnalysisError(f"{name} is {value!r}, which is not a number: give one finite number") from None
    if not math.isfinite(number):
        raise AnalysisError(f"{name} is {number}: give one finite number")
    return number


def require_positive(name: str, value: float, *, zero: bool = False) -> float:
    """Return `value` as a float above 0 (or at 0 too, where `zero`).

    Raises
    ------
    AnalysisError
        If `value` is negative, zero where that is not allowed, or not finite.
    """
    number = require_finite(name, value)
    if number < 0 or (number == 0 and not zero):
        wanted = "0 or more" if zero else "a number above 0"
        raise AnalysisError(f"{name} is {number:g}: give {wanted}")
    return number


def require_between(name: str, value: float, low: float, high: float, *, closed_high: bool = False) -> float:
    """Return `value` as a float in the open interval (`low`, `high`), or up to `high` where `closed_high`.

    Raises
    ------
    AnalysisError
        If `value` lies outside or is not finite.
    """
    number = require_finite(name, value)
    inside = low < number < high or (closed_high and number == high)
    if not inside:
        end = f"at most {high:g}" if closed_high else f"below {high:g}"
        raise AnalysisError(f"{name} is {number:g}: give a number above {low:g} and {end}")
    return number


def require_alpha(alpha: float) -> float:
    """Return a one-sided `alpha` between 0 and 0.5.

    Raises
    ------
    AnalysisError
        If `alpha` is not between 0 and 0.5.
    """
    return require_between("alpha (one-sided)", alpha, 0.0, 0.5)


def require_power(power: float, alpha: float) -> float:
    """Return a `power` between `alpha` and 1.

    Raises
    ------
    AnalysisError
        If `power` is not above `alpha` (one-sided) and below 1.
    """
    number = require_between("power", power, 0.0, 1.0)
    if number <= alpha:
        raise AnalysisError(
            f"power is {number:g}, not above the one-sided alpha of {alpha:g}: a trial without any effect "
            "has that already, so give more"
        )
    return number


def require_positive_definite(name: str, matrix: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """Refuse a 2 by 2 matrix that is no covariance of two numbers that are both in doubt.

    Raises
    ------
    AnalysisError
        If it is not symmetric, finite and positive definite.
    """
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (2, 2) or not np.isfinite(array).all() or not np.isclose(array[0, 1], array[1, 0]):
        raise AnalysisError(f"{name} must be a symmetric 2 by 2 matrix of finite numbers, but is {array.tolist()}")
    if array[0, 0] <= 0 or np.linalg.det(array) <= 0:
        raise AnalysisError(
            f"{name} is not positive definite (variances {array[0, 0]:g} and {array[1, 1]:g}, covariance {array[0, 1]:g}): "
            "variances must be above 0 and the correlation strictly between -1 and 1"
        )

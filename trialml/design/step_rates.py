"""Rates given once as a constant or as pieces: hazards, hazard ratios and accrual, checked alike."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trialml.design.refusals import require_positive
from trialml.errors import AnalysisError

__all__ = ["as_numbers", "checked_steps", "steps"]

Vector = NDArray[np.float64]


def as_numbers(values: Iterable[float]) -> tuple[float, ...]:
    """Return the values as a tuple of floats."""
    return tuple(float(value) for value in values)


def checked_steps(
    owner: str, kind: str, breaks: tuple[float, ...], values: tuple[float, ...], *, zero: bool = False
) -> None:
    """Refuse pieces that do not begin at 0 and increase, or a value outside its range.

    Parameters
    ----------
    owner
        Whose pieces they are, in words: ``"scenario 'a'"``.
    kind
        What they are, in the singular: ``"control hazard"``.
    breaks, values
        Months at which the pieces begin, and the value in each.
    zero
        Whether a value may be 0; one at least is above it.

    Raises
    ------
    AnalysisError
        If the pieces contradict each other; the sentence names the owner and the kind.
    """
    if len(breaks) != len(values):
        raise AnalysisError(
            f"{owner} has {len(breaks)} {kind} breaks and {len(values)} {kind}s: give one {kind} for each break"
        )
    if breaks and (breaks[0] != 0 or not all(a < b for a, b in zip(breaks, (*breaks[1:], math.inf), strict=True))):
        shown = ", ".join(f"{value:g}" for value in breaks)
        raise AnalysisError(f"the {kind} breaks {shown} of {owner} must start at 0 and increase")
    for value in values:
        require_positive(f"a {kind} of {owner}", value, zero=zero)
    if values and not any(value > 0 for value in values):
        raise AnalysisError(f"every {kind} of {owner} is 0: give at least one above 0")


def steps(constant: float | None, breaks: tuple[float, ...], values: tuple[float, ...]) -> tuple[Vector, Vector]:
    """Return months at which the pieces begin, and the value in each, of a constant or of pieces."""
    if constant is not None:
        return np.zeros(1), np.array([constant])
    return np.array(breaks), np.array(values)

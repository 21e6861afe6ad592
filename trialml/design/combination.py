"""Stages of a trial combined into one test: the inverse normal method with weights that are fixed in advance."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from trialml.design.group_sequential import Design
from trialml.design.refusals import require_between
from trialml.errors import AnalysisError

__all__ = ["bounds_at_every_level", "combined_z", "repeated_p", "stage_weights", "z_of_p"]

Vector = NDArray[np.float64]

_LEAST, _LARGEST = 1e-15, 0.4999


def stage_weights(design: Design) -> Vector:
    """Return the weights of the stages, ``sqrt(t_k - t_(k-1))`` with t the planned information fractions.

    The squares sum to 1. They are fixed before the trial: with them the combined z is standard normal under the
    null hypothesis whatever the adaptation did to the size of a later stage.

    Parameters
    ----------
    design
        Its information fractions.

    Returns
    -------
    ndarray
        Shape (looks,).
    """
    return np.sqrt(np.diff(np.asarray(design.information_fractions), prepend=0.0))


def z_of_p(p: ArrayLike) -> Vector:
    """Return the z whose upper tail is a one-sided p, NaN where p is NaN.

    Raises
    ------
    AnalysisError
        If a p lies outside (0, 1).
    """
    values = np.asarray(p, dtype=float)
    for value in values[~np.isnan(values)]:
        require_between("a stage-wise one-sided p-value", float(value), 0.0, 1.0)
    return np.asarray(-ndtri(values))


def combined_z(z: ArrayLike, weights: ArrayLike) -> Vector:
    """Return the combined z of each stage and those before it, ``sum w_i z_i / sqrt(sum w_i**2)``.

    Parameters
    ----------
    z
        Shape (..., stages): stage-wise z of independent increments; NaN from the stage on that was not made.
    weights
        Shape (stages,): prefixed weights.

    Returns
    -------
    ndarray
        Of the shape of `z`; NaN from the first missing stage on.

    Raises
    ------
    AnalysisError
        If the numbers of stages differ, or a weight is not above 0.

    References
    ----------
    Lehmacher, W. and Wassmer, G. (1999). Adaptive sample size calculations in group sequential trials.
    Biometrics 55, 1286-1290.
    """
    w, stages = np.asarray(weights, dtype=float), np.asarray(z, dtype=float)
    if stages.shape[-1] > w.size:
        raise AnalysisError(f"there are {stages.shape[-1]} stages but {w.size} weights: give a weight for each stage")
    if not np.all(w > 0):
        raise AnalysisError(f"a stage weight is {w.min():g}: give weights above 0, fixed before the trial")
    w = w[: stages.shape[-1]]
    return np.asarray(np.cumsum(stages * w, axis=-1) / np.sqrt(np.cumsum(w * w)))


def repeated_p(design: Design, z: ArrayLike) -> float:
    """Return the smallest one-sided level at which the design would have rejected by the last look that was made.

    The group-sequential test of level a rejects where a cumulative z reaches its bound; the bounds of every level
    come from the same spending function, so that the p-value is valid whenever the trial is stopped.

    Parameters
    ----------
    design
        The looks and the spending function; its own alpha plays no part.
    z
        Shape (looks made,): cumulative or combined z; NaN from a look on that was not made.

    Returns
    -------
    float
        Between 1e-15 (smaller values are given as that) and 0.5; 1 where no level below one half rejects.

    Raises
    ------
    AnalysisError
        If no look was made, or the bounds are known for one level only (`bounds_at_every_level`).

    References
    ----------
    Liu, Q. and Anderson, K. M. (2008). On adaptive extensions of group sequential trials for clinical
    investigations. Journal of the American Statistical Association 103, 1621-1630.
    """
    seen = np.asarray(z, dtype=float)
    seen = seen[: int(np.argmax(np.isnan(seen)))] if np.isnan(seen).any() else seen
    if seen.size == 0:
        raise AnalysisError("no look has been made, so there is no p-value: give the z of the first look")
    if not bounds_at_every_level(design):
        raise AnalysisError(
            f"the bounds '{design.spending}' are known for one alpha only: choose another spending function or family"
        )

    def excess(log_level: float) -> float:
        level = math.exp(log_level)
        at = dataclasses.replace(design, alpha=level, power=(1 + max(level, design.power)) / 2)
        return float(np.max(seen - np.asarray(at.critical_values)[: seen.size]))

    low = math.log(_lowest_level(design))
    if excess(low) >= 0:
        return math.exp(low)
    if excess(math.log(_LARGEST)) < 0:
        return 1.0
    return math.exp(float(brentq(excess, low, math.log(_LARGEST), xtol=1e-12)))


def bounds_at_every_level(design: Design) -> bool:
    """Return whether the design's rule says what the bounds are at any alpha: a user's spending and a fixed z do not."""
    return str(design.spending) not in ("user", "haybittle-peto")


def _lowest_level(design: Design) -> float:
    """Return the smallest level that gives every look some alpha to spend."""
    level = _LEAST
    while True:
        try:
            _ = dataclasses.replace(design, alpha=level, power=0.9).critical_values
        except AnalysisError:
            level *= 10
            if level > 1e-4:
                raise
        else:
            return level

"""Recursive numerical integration over the looks of a sequential trial.

The statistic of a look is a Brownian motion read at the information of that look. What has not been stopped so far
has a density; each look carries it one increment on and cuts it at that look's limits. Densities are without drift:
a drift multiplies them by a known factor, and free means shift the limits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr

from trialml.errors import AnalysisError

__all__ = ["START", "Crossing", "Paths", "advance", "bound_above", "bound_below", "crossing_probabilities", "exits"]

Vector = NDArray[np.float64]

_REACH = 9.0  # standard deviations from 0 where an open grid ends: less than 1e-18 of probability lies beyond
_PANEL = 3.0  # width of a panel of 16 nodes, in standard deviations of the smoother of two neighbouring steps
_LEAST_TAIL = 1e-280  # below this the sum over nodes is done on the scale of logarithms


class Paths(NamedTuple):
    """The paths that no look up to some information has stopped, without drift.

    Attributes
    ----------
    information
        Where the motion stands: the information of the last look, 0 at the start.
    nodes
        Shape (n,): quadrature nodes on the scale of the Brownian motion ``S = Z * sqrt(information)``.
    mass
        Shape (n,): the log of density times weight at the nodes.
    """

    information: float
    nodes: Vector
    mass: Vector


class Crossing(NamedTuple):
    """How likely each look is the first to cross a limit.

    Attributes
    ----------
    above, below
        Shape (looks,) or (m, looks): the probability of crossing the upper, or the lower, limit at a look, no limit
        having been crossed before.
    """

    above: Vector
    below: Vector


START = Paths(0.0, np.zeros(1), np.zeros(1))
"""All paths before the first look: the motion stands in 0."""


@lru_cache(maxsize=1)
def _gauss_legendre() -> tuple[Vector, Vector]:
    nodes, weights = np.polynomial.legendre.leggauss(16)
    return nodes, weights


def _grid(low: float, high: float, width: float) -> tuple[Vector, Vector]:
    """Return nodes and weights of composite Gauss-Legendre quadrature with panels of at most `width`."""
    if low >= high:
        return np.zeros(0), np.zeros(0)
    nodes, weights = _gauss_legendre()
    edges = np.linspace(low, high, math.ceil((high - low) / width) + 1)
    half = np.diff(edges)[:, None] / 2
    middle = (edges[:-1, None] + edges[1:, None]) / 2
    return (middle + half * nodes).ravel(), (half * weights).ravel()


def advance(paths: Paths, information: float, low: float, high: float, following: float) -> Paths:
    """Return the paths that lie between two limits after the next look.

    The recursion over looks of Armitage, McPherson and Rowe (1969), integrated by composite Gauss-Legendre
    quadrature: its error is below 1e-11, where the Simpson grid of Jennison and Turnbull (2000, chapter 19) stops
    at 1e-6 or so.

    Parameters
    ----------
    paths
        What goes on before the look.
    information
        The look's information, above that of `paths`.
    low, high
        Limits of going on, on the scale ``Z * sqrt(information)``; infinite ones end 9 standard deviations from 0.
    following
        Information of the look after this one: the grid must be fine enough for the step to it.

    Returns
    -------
    Paths
        Empty nodes where the limits leave nothing.

    References
    ----------
    Armitage, P., McPherson, C. K. and Rowe, B. C. (1969). Repeated significance tests on accumulating data.
    Journal of the Royal Statistical Society A 132, 235-244.
    """
    reach = _REACH * math.sqrt(information)
    step = math.sqrt(information - paths.information)
    width = _PANEL * min(step, math.sqrt(following - information))
    nodes, weights = _grid(max(low, -reach), reach if high == math.inf else high, width)
    distance = (nodes[:, None] - paths.nodes) / step
    distance *= distance
    distance *= -0.5
    kernel = np.exp(distance, out=distance)
    density = kernel @ np.exp(paths.mass) / (step * math.sqrt(2 * math.pi))
    with np.errstate(divide="ignore"):
        return Paths(information, nodes, np.log(density * weights))


def _tilted(paths: Paths, drift: Vector) -> Vector:
    """Return the log mass under each drift, shape (m, n): a path that ends in x weighs exp(drift x - drift^2 t / 2)."""
    outer = np.multiply.outer(drift, paths.nodes)
    return paths.mass + outer - (drift * drift * paths.information / 2)[:, None]


def exits(paths: Paths, information: float, bound: float, drift: Vector) -> Vector:
    """Return how likely the paths are to be above a bound at the next look, under each of several drifts.

    Parameters
    ----------
    paths
        What goes on before the look. Where its grid is cut 9 standard deviations below 0 (no lower limit), what a
        strongly negative drift loses there could not reach an upper bound.
    information
        The look's information.
    bound
        On the scale ``Z * sqrt(information)``.
    drift
        Shape (m,): the mean of the motion per unit of information.

    Returns
    -------
    ndarray
        Shape (m,).
    """
    gap = information - paths.information
    distance = (paths.nodes - bound + gap * drift[:, None]) / math.sqrt(gap)
    result: Vector = np.exp(_tilted(paths, drift) + log_ndtr(distance)).sum(axis=1)
    return result


def bound_above(paths: Paths, information: float, spend: float, start: float) -> float:
    """Return the z above which paths are with probability `spend` at the next look, without drift.

    It is minus infinity where no more paths than `spend` go on, so that all of them are stopped.

    Parameters
    ----------
    paths
        What goes on before the look.
    information
        The look's information.
    spend
        The probability, above 0.
    start
        A z to start Newton's method from, near the root.
    """
    step = math.sqrt(information - paths.information)
    return _root(paths.nodes, np.exp(paths.mass), step, math.sqrt(information), spend, start)


def bound_below(paths: Paths, information: float, spend: float, start: float, drift: float) -> float:
    """Return the z below which paths are with probability `spend` at the next look, under a drift.

    It is infinite where no more paths than `spend` go on, so that all of them are stopped.

    Parameters
    ----------
    paths, information, spend, start
        As for `bound_above`.
    drift
        The mean of the motion per unit of information.
    """
    gap = information - paths.information
    mass = np.exp(_tilted(paths, np.array([drift]))[0])
    return -_root(-paths.nodes - drift * gap, mass, math.sqrt(gap), math.sqrt(information), spend, -start)


def _root(nodes: Vector, weight: Vector, step: float, scale: float, spend: float, start: float) -> float:
    """Return the z above which paths from `nodes` end with probability `spend`, minus infinity where too few do."""
    if float(weight.sum()) <= spend:
        return -math.inf
    z, goal = start, math.log(spend)
    # The log of the tail is concave: Newton's method passes the root once at most and then closes in from the right.
    for _ in range(200):
        level, slope = _log_tail(nodes, weight, step, scale, z)
        # The tail is flat far left of the nodes, where a whole step would leave the range of numbers.
        move = min((level - goal) / slope, 2.0) if slope > 0 else 2.0
        z += move
        if abs(move) < 1e-12 * max(1.0, abs(z)):
            return z
    raise AnalysisError(f"the bound that spends {spend:.3g} was not found: move the look to more information")


def _log_tail(nodes: Vector, weight: Vector, step: float, scale: float, z: float) -> tuple[float, float]:
    """Return the log of the probability of ending above z, and how fast it falls in z."""
    distance = (nodes - z * scale) / step
    tail = float(weight @ ndtr(distance))
    rate = scale / (step * math.sqrt(2 * math.pi))
    if tail > _LEAST_TAIL:
        return math.log(tail), float(weight @ np.exp(-distance * distance / 2)) * rate / tail
    with np.errstate(divide="ignore"):
        logs = np.log(weight) + log_ndtr(distance)
    most = float(logs.max())
    shares = np.exp(logs - most)
    hazard = np.exp(-distance * distance / 2 - log_ndtr(distance)) * rate
    return most + math.log(float(shares.sum())), float(shares @ hazard / shares.sum())


def crossing_probabilities(
    upper: ArrayLike, lower: ArrayLike, information: ArrayLike, means_of_z: ArrayLike
) -> Crossing:
    """Return how likely each look is to be the first to cross its upper or its lower limit.

    The statistics of the looks have variance 1, correlation ``sqrt(I_j / I_k)`` between looks j before k
    (independent increments in information), and any means: an effect that changes over time has means that do not
    grow as the square root of information.

    Parameters
    ----------
    upper, lower
        Shape (looks,): limits on z, infinite where there is none. Where a lower limit is not below the upper one the
        trial stops at that look with certainty, below its upper limit counting as below.
    information
        Shape (looks,): increasing and positive, in any unit.
    means_of_z
        Shape (looks,) or (m, looks): the mean of z at each look.

    Returns
    -------
    Crossing
        Probabilities of shape (looks,), or (m, looks) for m vectors of means.

    Raises
    ------
    AnalysisError
        If the shapes differ, a mean or an information is not finite, or the information does not increase.

    References
    ----------
    Jennison, C. and Turnbull, B. W. (2000). Group Sequential Methods with Applications to Clinical Trials, chapter 19.
    Chapman & Hall/CRC, Boca Raton.
    """
    t = np.asarray(information, dtype=float)
    high, low = np.asarray(upper, dtype=float), np.asarray(lower, dtype=float)
    means = np.asarray(means_of_z, dtype=float)
    _check_looks(t, high, low, means)
    results = [_cross(high, low, t, one) for one in np.atleast_2d(means)]
    above, below = (np.array(one) for one in zip(*results, strict=True))
    return Crossing(above[0], below[0]) if means.ndim == 1 else Crossing(above, below)


def _check_looks(t: Vector, high: Vector, low: Vector, means: Vector) -> None:
    if t.ndim != 1 or not t.size or not (high.shape == low.shape == t.shape == means.shape[-1:]) or means.ndim > 2:
        raise AnalysisError(
            f"there are {t.size} informations, {high.size} upper and {low.size} lower limits and means of shape "
            f"{means.shape}: give one of each for every look"
        )
    if np.isnan(high).any() or np.isnan(low).any() or not np.isfinite(means).all():
        raise AnalysisError(
            "a limit or a mean is not a number: give finite means, and infinity where there is no limit"
        )
    if not np.isfinite(t).all() or t[0] <= 0 or np.any(np.diff(t) <= 0):
        shown = ", ".join(f"{one:g}" for one in t)
        raise AnalysisError(f"the information at the looks is {shown}: give positive numbers that increase")


def _cross(upper: Vector, lower: Vector, t: Vector, means: Vector) -> tuple[Vector, Vector]:
    # Without drift the motion minus its mean crosses limits that are lowered by the mean.
    scale = np.sqrt(t)
    high, low = (upper - means) * scale, (np.minimum(lower, upper) - means) * scale
    above, below = np.zeros(len(t)), np.zeros(len(t))
    paths = START
    for look, information in enumerate(t):
        step = math.sqrt(information - paths.information)
        weight = np.exp(paths.mass)
        above[look] = weight @ ndtr((paths.nodes - high[look]) / step)
        below[look] = weight @ ndtr((low[look] - paths.nodes) / step)
        if look + 1 < len(t):
            reach = _REACH * scale[look]
            paths = advance(
                paths, float(information), float(low[look]), float(min(high[look], reach)), float(t[look + 1])
            )
    return above, below

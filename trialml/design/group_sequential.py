"""A group-sequential design with efficacy looks: its bounds, and how likely each look is to reject.

The rules of a trial stand here, without any assumption about the truth (those are in `scenario`). There is one
upper bound a look and no futility bound: a trial is never stopped for lack of effect by these rules. A design
with a single look is the fixed design.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, ndtri

from trialml.design.refusals import require_alpha, require_between, require_positive, require_power
from trialml.design.spending import SPENDING, Spending
from trialml.errors import AnalysisError, nearest

__all__ = ["Bounds", "Design", "rejection_probabilities", "spending_bounds"]

Vector = NDArray[np.float64]

_REACH = 9.0  # standard deviations below 0 where the grid ends: less than 1e-18 of probability lies beyond
_PANEL = 3.0  # width of a panel of 16 nodes, in standard deviations of the smoother of two neighbouring steps
_LEAST_GAP = 1e-3
_LEAST_ALPHA = 1e-60


class Bounds(NamedTuple):
    """Upper bounds and, for each look but the last, the density of the paths that go on.

    Attributes
    ----------
    critical_values
        Shape (looks,): the z at which a look rejects.
    nodes, mass
        For each look but the last, quadrature nodes on the scale of the Brownian motion S = Z sqrt(t) and the
        log of density times weight there, without drift, among paths that no look up to this one has stopped.
    """

    critical_values: Vector
    nodes: tuple[Vector, ...]
    mass: tuple[Vector, ...]


@lru_cache(maxsize=1)
def _gauss_legendre() -> tuple[Vector, Vector]:
    nodes, weights = np.polynomial.legendre.leggauss(16)
    return nodes, weights


def _grid(low: float, high: float, width: float) -> tuple[Vector, Vector]:
    """Return nodes and weights of composite Gauss-Legendre quadrature with panels of at most `width`."""
    nodes, weights = _gauss_legendre()
    edges = np.linspace(low, high, math.ceil((high - low) / width) + 1)
    half = np.diff(edges)[:, None] / 2
    middle = (edges[:-1, None] + edges[1:, None]) / 2
    return (middle + half * nodes).ravel(), (half * weights).ravel()


def _root(nodes: Vector, mass: Vector, step: float, scale: float, spend: float, start: float) -> float:
    """Return the z above which paths from `nodes` end with probability `spend`."""
    z, goal = start, math.log(spend)
    weight = np.exp(mass)
    # The tail is log-concave, so Newton on its logarithm goes straight to the root from the left-hand start.
    for _ in range(60):
        distance = (nodes - z * scale) / step
        tail = float(weight @ ndtr(distance))
        density = float(weight @ np.exp(-distance * distance / 2)) * scale / (step * math.sqrt(2 * math.pi))
        move = (math.log(tail) - goal) * tail / density
        z += move
        if abs(move) < 1e-12 * max(1.0, abs(z)):
            return z
    raise AnalysisError(f"the bound that spends {spend:.3g} of alpha was not found: move the look to more information")


def spending_bounds(fractions: ArrayLike, cumulative_alpha: ArrayLike) -> Bounds:
    """Return the upper bounds that spend a given cumulative one-sided alpha at given information fractions.

    The recursion over looks of Armitage, McPherson and Rowe (1969), integrated by composite Gauss-Legendre
    quadrature: the error of a bound is below 1e-10, where the Simpson grid of Jennison and Turnbull (2000,
    chapter 19) stops at 1e-6 or so.

    Parameters
    ----------
    fractions
        Shape (looks,): information fractions, increasing, the last one 1.
    cumulative_alpha
        Shape (looks,): one-sided alpha spent up to and with each look, increasing.

    Returns
    -------
    Bounds
        The bounds and the quadrature that gives exit probabilities under any drift.

    Raises
    ------
    AnalysisError
        If a look spends less than 1e-60 of alpha.

    References
    ----------
    Armitage, P., McPherson, C. K. and Rowe, B. C. (1969). Repeated significance tests on accumulating data.
    Journal of the Royal Statistical Society A 132, 235-244.
    """
    t = np.asarray(fractions, dtype=float)
    spends = np.diff(np.asarray(cumulative_alpha, dtype=float), prepend=0.0)
    if not np.all(spends >= _LEAST_ALPHA):
        place = int(np.argmin(spends))
        raise AnalysisError(
            f"the look at information fraction {t[place]:g} would spend practically no alpha: move it to more "
            "information or leave it out"
        )
    steps = np.sqrt(np.diff(t, prepend=0.0))
    bounds = [float(-ndtri(spends[0]))]
    all_nodes: list[Vector] = []
    all_mass: list[Vector] = []
    for look in range(len(t) - 1):
        scale = math.sqrt(t[look])
        width = _PANEL * min(steps[look], steps[look + 1])
        nodes, weights = _grid(-_REACH * scale, bounds[look] * scale, width)
        if look == 0:
            density = np.exp(-nodes * nodes / (2 * t[0])) / (scale * math.sqrt(2 * math.pi))
        else:
            distance = (nodes[:, None] - all_nodes[-1]) / steps[look]
            kernel = np.exp(-distance * distance / 2) / (steps[look] * math.sqrt(2 * math.pi))
            density = kernel @ np.exp(all_mass[-1])
        with np.errstate(divide="ignore"):
            mass = np.log(density * weights)
        all_nodes.append(nodes)
        all_mass.append(mass)
        start = float(-ndtri(np.sum(spends[: look + 2])))
        bounds.append(_root(nodes, mass, steps[look + 1], math.sqrt(t[look + 1]), spends[look + 1], start))
    return Bounds(np.array(bounds), tuple(all_nodes), tuple(all_mass))


def rejection_probabilities(bounds: Bounds, fractions: ArrayLike, drift: ArrayLike) -> Vector:
    """Return the probability that each look is the one that rejects.

    A drift weighs the path that ends in x at fraction t by ``exp(drift * x - drift**2 * t / 2)``, so the
    quadrature without drift serves them all.

    Parameters
    ----------
    bounds
        What `spending_bounds` returned for `fractions`.
    fractions
        Shape (looks,).
    drift
        Shape (m,) or scalar: the mean of the final z.

    Returns
    -------
    ndarray
        Shape (m, looks), or (looks,) for a scalar drift.
    """
    t = np.asarray(fractions, dtype=float)
    theta = np.atleast_1d(np.asarray(drift, dtype=float))
    z = bounds.critical_values
    exits = np.empty((len(theta), len(t)))
    exits[:, 0] = ndtr(theta * math.sqrt(t[0]) - z[0])
    for look in range(1, len(t)):
        nodes, mass = bounds.nodes[look - 1], bounds.mass[look - 1]
        gap = t[look] - t[look - 1]
        tilted = mass + np.multiply.outer(theta, nodes) - (theta * theta * t[look - 1] / 2)[:, None]
        distance = (
            nodes - z[look] * math.sqrt(t[look]) + np.multiply.outer(theta, np.full_like(nodes, gap))
        ) / math.sqrt(gap)
        exits[:, look] = np.exp(tilted + log_ndtr(distance)).sum(axis=1)
    return exits[0] if np.ndim(drift) == 0 else exits


@dataclass(frozen=True)
class Design:
    """The rules of a trial with one or more efficacy looks; no assumption about the truth, no futility bound.

    Attributes
    ----------
    alpha
        One-sided significance level.
    power
        Target power under the effect that the trial is planned for.
    information_fractions
        Fraction of the final events at each look, increasing, the last one 1.0. ``(1.0,)`` is the fixed design.
    spending
        ``"lan-demets-obrien-fleming"`` or ``"lan-demets-pocock"``.
    allocation_ratio
        Experimental to control, as a ratio: 2.0 is two experimental patients to one control patient.

    Raises
    ------
    AnalysisError
        If a number is outside its range, the fractions do not increase to 1, or the spending has another name.

    References
    ----------
    Jennison, C. and Turnbull, B. W. (2000). Group Sequential Methods with Applications to Clinical Trials.
    Chapman & Hall/CRC, Boca Raton.
    """

    alpha: float = 0.025
    power: float = 0.9
    information_fractions: tuple[float, ...] = (1.0,)
    spending: Spending = "lan-demets-obrien-fleming"
    allocation_ratio: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", require_alpha(self.alpha))
        object.__setattr__(self, "power", require_power(self.power, self.alpha))
        ratio = require_positive("allocation_ratio (experimental to control)", self.allocation_ratio)
        object.__setattr__(self, "allocation_ratio", ratio)
        object.__setattr__(self, "information_fractions", _checked_fractions(self.information_fractions))
        if self.spending not in SPENDING:
            raise AnalysisError(
                f"spending is {self.spending!r}, which is not known: {nearest(str(self.spending), SPENDING)}"
            )

    @property
    def looks(self) -> int:
        """The number of looks, the final analysis among them."""
        return len(self.information_fractions)

    @cached_property
    def cumulative_alpha(self) -> tuple[float, ...]:
        """The one-sided alpha spent up to and with each look."""
        spend = SPENDING[self.spending]
        spent = tuple(spend(t, self.alpha) for t in self.information_fractions[:-1])
        return (*spent, self.alpha)

    @cached_property
    def bounds(self) -> Bounds:
        """The bounds with the quadrature behind them."""
        return spending_bounds(self.information_fractions, self.cumulative_alpha)

    @property
    def critical_values(self) -> tuple[float, ...]:
        """The z at and above which each look rejects, positive in favour of the experimental arm."""
        return tuple(float(z) for z in self.bounds.critical_values)

    @property
    def one_sided_p(self) -> tuple[float, ...]:
        """The nominal one-sided p-value at and below which each look rejects."""
        return tuple(float(p) for p in ndtr(-self.bounds.critical_values))

    def exit_probabilities(self, drift: ArrayLike) -> Vector:
        """Return the probability that each look rejects, where z at fraction t has mean ``drift * sqrt(t)``.

        Parameters
        ----------
        drift
            The mean of the final z; a scalar or shape (m,). For a log hazard ratio b after D events it is
            ``-b * sqrt(D * p * (1 - p))`` with p the share of patients in the experimental arm.

        Returns
        -------
        ndarray
            Shape (looks,), or (m, looks) for m drifts; the sum over looks is the power.

        Raises
        ------
        AnalysisError
            If a drift is not finite.
        """
        theta = np.asarray(drift, dtype=float)
        if not np.all(np.isfinite(theta)):
            raise AnalysisError("the drift holds a number that is not finite: give finite drifts")
        return rejection_probabilities(self.bounds, self.information_fractions, theta)

    @cached_property
    def _drift(self) -> float:
        fixed = float(-ndtri(self.alpha) + ndtri(self.power))
        if self.looks == 1:
            return fixed
        # Interim looks cost power, never give it: the fixed drift is a lower limit; Bonferroni gives an upper one.
        high = float(max(self.critical_values)) + 1.0 + float(ndtri(self.power))
        root = brentq(lambda d: float(self.exit_probabilities(d).sum()) - self.power, fixed - 1e-9, high, xtol=1e-13)
        return float(root)

    def drift_for_power(self) -> float:
        """Return the mean of the final z under which the trial rejects with probability `power`."""
        return self._drift

    @property
    def inflation_factor(self) -> float:
        """The maximum information over that of the fixed design with the same alpha and power."""
        fixed = float(-ndtri(self.alpha) + ndtri(self.power))
        return 1.0 if self.looks == 1 else (self._drift / fixed) ** 2

    @property
    def experimental_share(self) -> float:
        """The share of patients who are allocated to the experimental arm."""
        return self.allocation_ratio / (1 + self.allocation_ratio)

    def text(self) -> str:
        """Return the rules in words, alpha one-sided and said so."""
        rules = f"alpha {self.alpha:g} one-sided, power {100 * self.power:g} %, allocation {self.allocation_ratio:g}:1"
        if self.looks == 1:
            return f"fixed design, {rules}"
        kind = "O'Brien-Fleming" if self.spending == "lan-demets-obrien-fleming" else "Pocock"
        shown = ", ".join(f"{100 * t:.3g}" for t in self.information_fractions)
        return f"{self.looks} looks at {shown} % of the events, {kind}-type Lan-DeMets spending, no futility bound, {rules}"


def _checked_fractions(fractions: Iterable[float]) -> tuple[float, ...]:
    try:
        values = tuple(fractions)
    except TypeError:
        raise AnalysisError(
            f"information_fractions is {fractions!r}: give a sequence that ends in 1.0, for example (0.5, 1.0)"
        ) from None
    if not values:
        raise AnalysisError("information_fractions is empty: give at least (1.0,), the fixed design")
    checked = tuple(require_between("an information fraction", t, 0.0, 1.0, closed_high=True) for t in values)
    shown = ", ".join(f"{t:g}" for t in checked)
    if any(later - earlier < _LEAST_GAP for earlier, later in itertools.pairwise(checked)):
        raise AnalysisError(
            f"the information fractions {shown} do not increase by at least {_LEAST_GAP:g} from look to look: "
            "put them in order and merge looks that nearly coincide"
        )
    if checked[-1] != 1.0:
        raise AnalysisError(f"the information fractions {shown} do not end in 1: add the final analysis")
    return checked

"""What the looks held so far say: numbers at the bottom of `interim_analysis` and `sequential_estimate`.

An effect is on a scale where its estimate is ``z / sqrt(information)`` and high values favour the experimental arm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.errors import AnalysisError

__all__ = [
    "LooksHeld",
    "conditional_power",
    "finite_numbers",
    "predictive_power",
    "repeated_p",
    "stagewise_drift",
    "stagewise_p",
]

Vector = NDArray[np.float64]

_SHAPED = ("obrien-fleming", "pocock", "wang-tsiatis", "haybittle-peto")  # a bound depends on later looks too
_HIGHEST_P = 0.5  # designs have an alpha below one half
_LOWEST_P = 1e-12
_NODES = 96
_REACH = 8.0  # standard deviations of a posterior distribution beyond which less than 1e-15 of it lies


@dataclass(frozen=True)
class LooksHeld:
    """The looks of a trial that have been held, and the design in use.

    Attributes
    ----------
    planned
        The design as planned.
    z
        Shape (held,): statistics, positive in favour of the experimental arm.
    information
        Shape (held,): Fisher information on the effect, one over the squared standard error of its estimate.
    maximum_information
        The planned information of the last look. Where given, the bounds are those for the information observed;
        otherwise those of the planned fractions, whatever the information.
    final
        Whether the last look held is the final analysis, with less information than planned perhaps.

    Raises
    ------
    AnalysisError
        If the lengths differ, a number is not finite, the information does not increase, or more looks were held than
        planned.
    """

    planned: Design
    z: Sequence[float]
    information: Sequence[float]
    maximum_information: float | None = None
    final: bool = False

    def __post_init__(self) -> None:
        z = finite_numbers("z", self.z)
        information = tuple(
            require_positive("an information", one) for one in finite_numbers("information", self.information)
        )
        if len(z) != len(information):
            raise AnalysisError(
                f"there are {len(z)} z and {len(information)} informations: give one of each for every look held"
            )
        if any(after <= before for before, after in itertools.pairwise(information)):
            shown = ", ".join(f"{one:g}" for one in information)
            raise AnalysisError(f"the information at the looks held is {shown}: give numbers that increase")
        if self.maximum_information is not None:
            require_positive("maximum_information", self.maximum_information)
        elif len(z) > self.planned.looks:
            raise AnalysisError(
                f"{len(z)} looks were held and {self.planned.looks} planned: give maximum_information, so that the bounds "
                "follow from the spending function"
            )
        object.__setattr__(self, "z", z)
        object.__setattr__(self, "information", information)

    @property
    def held(self) -> int:
        """The number of looks held."""
        return len(self.z)

    def design_at(self, planned: Design) -> Design:
        """Return a planned design with its bounds at the information observed."""
        if self.maximum_information is None:
            return planned
        return planned.updated([one / self.maximum_information for one in self.information], final=self.final)

    @cached_property
    def design(self) -> Design:
        """The design in use."""
        return self.design_at(self.planned)

    @property
    def fractions(self) -> Vector:
        """Shape (looks,): information fractions of the design in use."""
        return np.array(self.design.information_fractions)

    @property
    def all_information(self) -> Vector:
        """Shape (looks,): observed, and at the looks to come by the fractions of the design in use."""
        last = self.information[-1] / self.fractions[self.held - 1]
        return np.array([*self.information, *(t * last for t in self.fractions[self.held :])])

    def effect_of(self, drift: float, look: int) -> float:
        """Return the effect that gives a drift (mean of the final z), read at the information of a look held."""
        return drift * math.sqrt(self.fractions[look - 1] / self.information[look - 1])


def finite_numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    """Return one finite number for each look held, refusing what is none.

    Raises
    ------
    AnalysisError
        If `values` is no sequence, is empty, or holds what is not a finite number.
    """
    try:
        found = tuple(require_finite(f"a number of {name}", one) for one in values)
    except TypeError:
        raise AnalysisError(f"{name} is {values!r}: give one number for every look held, for example (1.9,)") from None
    if not found:
        raise AnalysisError(f"{name} is empty: give one number for every look held")
    return found


def _lower(design: Design, *, obeyed: bool) -> Vector:
    """Return the lower limits of going on: control's bound of a two-sided test, or the futility bounds where obeyed."""
    if design.sides == 2:
        return -np.array(design.critical_values)
    return np.array(design.futility_values) if obeyed else np.full(design.looks, -math.inf)


def conditional_power(
    design: Design,
    look: int,
    z: float,
    means: ArrayLike,
    information: ArrayLike | None = None,
    *,
    futility_obeyed: bool = True,
) -> Vector:
    """Return the probability that each later look is the one that rejects, given z at a look.

    What is added after the look is a Brownian motion of its own. With S the statistic times the root of its information
    I, ``(S_j - S_k) / sqrt(I_j - I_k)`` crosses ``(b_j sqrt(I_j) - z sqrt(I_k)) / sqrt(I_j - I_k)``.

    Parameters
    ----------
    design
        The design in use.
    look
        The look held, counted from 1.
    z
        Its statistic. Whether it has crossed a bound is not asked.
    means
        Shape (later looks,) or (m, later looks): the mean of ``(S_j - S_k) / sqrt(I_j - I_k)``: an effect times
        the root of the information added; in fractions, the drift times the root of the fraction added.
    information
        Shape (looks,): of all looks, in any unit; the design's fractions where not given.
    futility_obeyed
        False lets the trial go on past futility bounds.

    Returns
    -------
    ndarray
        The shape of `means`; the sum over later looks is the conditional power.

    References
    ----------
    Jennison C, Turnbull BW. Group sequential methods with applications to clinical trials, section 10.2. Chapman &
    Hall/CRC, Boca Raton 2000.
    Proschan MA, Lan KKG, Wittes JT. Statistical monitoring of clinical trials. Springer, New York 2006.
    """
    t = np.array(design.information_fractions if information is None else information, dtype=float)
    now, later = t[look - 1], t[look:]
    added = np.sqrt(later - now)
    limits = [
        (bound[look:] * np.sqrt(later) - z * math.sqrt(now)) / added
        for bound in (np.array(design.critical_values), _lower(design, obeyed=futility_obeyed))
    ]
    return crossing_probabilities(limits[0], limits[1], later - now, means).above


def predictive_power(
    design: Design,
    look: int,
    z: float,
    prior_drift: float = 0.0,
    prior_fraction: float = 0.0,
    information: ArrayLike | None = None,
) -> float:
    """Return conditional power averaged over the posterior distribution of the drift.

    Parameters
    ----------
    design, look, z, information
        As in `conditional_power`.
    prior_drift
        Mean of a normal prior distribution of the drift (the mean of the final z).
    prior_fraction
        What the prior is worth, as a fraction of the final information: its variance is ``1 / prior_fraction``. 0 is
        the flat prior.

    Returns
    -------
    float
        The posterior of the drift is normal with mean ``(f d + z sqrt(t)) / (f + t)`` and variance ``1 / (f + t)``; the
        mean over it is by Gauss-Legendre quadrature. With one look to come and a flat prior it is
        ``Phi((z - b sqrt(t)) / sqrt(1 - t))``.

    References
    ----------
    Spiegelhalter DJ, Freedman LS, Blackburn PR. Monitoring clinical trials: conditional or predictive power? Control
    Clin Trials 1986;7:8-17.
    """
    t = np.array(design.information_fractions if information is None else information, dtype=float)
    t = t / t[-1]
    weight = prior_fraction + t[look - 1]
    mean, sd = (prior_fraction * prior_drift + z * math.sqrt(t[look - 1])) / weight, 1 / math.sqrt(weight)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    place = _REACH * nodes
    density = weights * _REACH * np.exp(-place * place / 2) / math.sqrt(2 * math.pi)
    means = np.multiply.outer(mean + sd * place, np.sqrt(t[look:] - t[look - 1]))
    return float(density @ conditional_power(design, look, z, means, t).sum(axis=1))


def repeated_p(looks: LooksHeld, look: int) -> float:
    """Return the smallest one-sided alpha at which the design would have rejected at a look.

    Its bounds are solved again for each alpha, with the same family, parameter and looks; futility bounds count where
    they bind. The least of the repeated p-values up to a look is the sequential p-value.

    Parameters
    ----------
    looks
        The looks held.
    look
        One of them, counted from 1.

    Returns
    -------
    float
        From 1e-12 to 0.5, which stand for what lies beyond; 0.5 too where binding futility bounds meet the efficacy
        bounds before an alpha is found.

    References
    ----------
    Jennison C, Turnbull BW. Interim analyses: the repeated confidence interval approach. J R Stat Soc B 1989;51:305-361.
    Liu Q, Anderson KM. On adaptive extensions of group sequential trials for clinical investigations. J Am Stat Assoc
    2008;103:1621-1630.
    """
    z = looks.z[look - 1]

    def excess(probit: float) -> float:
        return looks.design_at(_at_level(looks.planned, float(ndtr(probit)), look)).critical_values[look - 1] - z

    # Crossing at this look is part of crossing by it, unless futility bounds took paths out before: no alpha below the
    # nominal p-value can have rejected.
    nominal = 0.0 if looks.planned.binding else float(ndtr(-z))
    low, high = float(ndtri(max(nominal, _LOWEST_P))), float(ndtri(_HIGHEST_P)) - 1e-9
    if low >= high:
        return _HIGHEST_P
    low, high = _first_that_can_be(excess, low, high), _first_that_can_be(excess, high, low)
    if low >= high or excess(high) > 0:
        return _HIGHEST_P
    if excess(low) <= 0:
        return float(ndtr(low))
    return float(ndtr(brentq(excess, low, high, xtol=1e-12, rtol=1e-12)))


def _first_that_can_be(excess: Callable[[float], float], start: float, end: float) -> float:
    """Return the first of a row of levels at which every look has a bound, alpha enough or below its futility bound."""
    step = math.copysign(0.25, end - start)
    while (end - start) * step > 0:
        try:
            excess(start)
        except AnalysisError:
            start += step
        else:
            return start
    return end


def _at_level(design: Design, alpha: float, look: int) -> Design:
    """Return the design with another alpha, without futility bounds that have no part in the bound of a look."""
    changes: dict[str, object] = {"alpha": alpha, "power": max(design.power, 1 - (1 - alpha) / 2)}
    if design.user_alpha is not None:
        changes["user_alpha"] = (*(one * alpha / design.alpha for one in design.user_alpha[:-1]), alpha)
    if not design.binding or (look == 1 and design.spending not in _SHAPED):
        changes |= {"futility_z": None, "futility_spending": None, "futility_parameter": None, "futility_alpha": None}
        changes["binding"] = False
    elif design.futility_z is not None and design.spending not in _SHAPED:
        before = tuple(z if number < look else -math.inf for number, z in enumerate(design.futility_z, start=1))
        changes |= {"futility_z": before, "binding": any(z > -math.inf for z in before)}
    return replace(design, **changes)  # type: ignore[arg-type]


def _tail(looks: LooksHeld, drift: float) -> float:
    """Return how likely a result is that is as far up in the stage-wise order, or farther."""
    design, held = looks.design, looks.held
    t = looks.fractions[:held]
    upper = np.array([*design.critical_values[: held - 1], looks.z[-1]])
    lower = _lower(design, obeyed=design.binding)[:held]
    lower[-1] = -math.inf
    return float(crossing_probabilities(upper, lower, t, drift * np.sqrt(t)).above.sum())


def stagewise_p(looks: LooksHeld) -> float:
    """Return the one-sided p-value of a trial that ended with the last look held, by stage-wise order.

    Parameters
    ----------
    looks
        The looks held; the trial must have gone on at all but the last.

    Returns
    -------
    float
        ``P(reject before) + P(go on up to the last look, and z there at or above the one seen)`` without effect. Futility
        bounds count where they bind: where they do not, they might have been overruled.

    References
    ----------
    Tsiatis AA, Rosner GL, Mehta CR. Exact confidence intervals following a group sequential test. Biometrics
    1984;40:797-803.
    """
    return _tail(looks, 0.0)


def stagewise_drift(looks: LooksHeld, probability: float) -> float:
    """Return the drift under which a result as far up in the stage-wise order has a given probability.

    Parameters
    ----------
    looks
        The looks held, as for `stagewise_p`.
    probability
        1/2 for the median-unbiased estimate; alpha and one minus alpha for confidence limits.

    Returns
    -------
    float
        The mean of the final z; `LooksHeld.effect_of` makes it an effect.

    References
    ----------
    Jennison C, Turnbull BW. Group sequential methods with applications to clinical trials, chapter 8. Chapman &
    Hall/CRC, Boca Raton 2000.
    """
    goal = require_between("a probability", probability, 0.0, 1.0)
    middle = looks.z[-1] / math.sqrt(looks.fractions[looks.held - 1])
    step = 4.0 / math.sqrt(looks.fractions[0])
    low, high = middle - step, middle + step
    while _tail(looks, low) > goal:
        low -= step
    while _tail(looks, high) < goal:
        high += step
    return float(brentq(lambda drift: _tail(looks, drift) - goal, low, high, xtol=1e-12, rtol=1e-12))

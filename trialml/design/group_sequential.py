"""A group-sequential design: its bounds for efficacy and futility, and how likely each look is to stop the trial.

The rules of a trial stand here, without any assumption about the truth (those are in `scenario`). A design with a
single look is the fixed design.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from trialml.design import boundaries
from trialml.design.boundaries import Boundary, Efficacy
from trialml.design.checked_rules import (
    checked_fractions,
    checked_futility,
    checked_futility_alpha,
    checked_sides,
    checked_spending,
    checked_user_alpha,
    refuse_crossed,
)
from trialml.design.described_rules import described_bounds, described_rules
from trialml.design.integration import crossing_probabilities
from trialml.design.refusals import require_alpha, require_positive, require_power
from trialml.design.spending import FUNCTIONS, Spending, SpendingFunction, spending_function
from trialml.design.updating import updated_rules
from trialml.errors import AnalysisError

__all__ = ["Design"]

Vector = NDArray[np.float64]

_EXPONENTS = {"obrien-fleming": 0.0, "pocock": 0.5}


@dataclass(frozen=True)
class Design:
    """The rules of a trial with one or more looks; no assumption about the truth.

    Attributes
    ----------
    alpha
        One-sided significance level; with ``sides=2`` it is the level on each side.
    power
        Target power under the effect that the trial is planned for: the probability of rejecting in favour of the
        experimental arm, stops for futility obeyed.
    information_fractions
        Fraction of the final information (for a survival endpoint, of the final events) at each look, increasing,
        the last one 1.0. ``(1.0,)`` is the fixed design.
    spending
        The family of the efficacy bounds. Boundaries of a given shape: ``"obrien-fleming"`` (``C / sqrt(t)``),
        ``"pocock"`` (constant), ``"wang-tsiatis"`` (``C * t ** (parameter - 1/2)``), ``"haybittle-peto"`` (a constant
        at the interim looks, what is left of alpha at the end). Spending functions: ``"lan-demets-obrien-fleming"``,
        ``"lan-demets-pocock"``, ``"hwang-shih-decani"``, ``"kim-demets"``, and ``"user"``.
    spending_parameter
        Exponent of Wang and Tsiatis, constant of Haybittle and Peto (3 where not given), gamma of Hwang, Shih and
        DeCani, or rho of Kim and DeMets.
    user_alpha
        Shape (looks,): the cumulative one-sided alpha for ``spending="user"``, increasing, the last one `alpha`.
    allocation_ratio
        Experimental to control, as a ratio: 2.0 is two experimental patients to one control patient.
    sides
        1, or 2 for the symmetric test that rejects in favour of either arm. By symmetry its probability of rejecting
        in favour of control under a drift is ``exit_probabilities(-drift)``.
    futility_z
        Shape (looks - 1,): the z below which each look but the last stops for futility, minus infinity for none.
    futility_spending, futility_parameter
        A spending function's name and parameter: the futility bounds spend ``1 - power`` under the effect that the
        trial is planned for, and meet the efficacy bound at the last look.
    futility_alpha
        Where given, `futility_spending` spends this probability without effect in place of ``1 - power`` (gsDesign's
        test types 5 and 6), at the last look too.
    binding
        False: the efficacy bounds keep alpha whether or not futility bounds are obeyed. True: they count on them,
        and alpha fails where one is overruled.

    Raises
    ------
    AnalysisError
        If a number is outside its range, the fractions do not increase to 1, a name is not known, or a futility
        bound is not below its efficacy bound.

    References
    ----------
    Jennison, C. and Turnbull, B. W. (2000). Group Sequential Methods with Applications to Clinical Trials.
    Chapman & Hall/CRC, Boca Raton.
    """

    alpha: float = 0.025
    power: float = 0.9
    information_fractions: tuple[float, ...] = (1.0,)
    spending: Spending = "lan-demets-obrien-fleming"
    spending_parameter: float | None = None
    user_alpha: tuple[float, ...] | None = None
    allocation_ratio: float = 1.0
    sides: int = 1
    futility_z: tuple[float, ...] | None = None
    futility_spending: SpendingFunction | None = None
    futility_parameter: float | None = None
    futility_alpha: float | None = None
    binding: bool = False

    def __post_init__(self) -> None:
        alpha = require_alpha(self.alpha)
        fractions = checked_fractions(self.information_fractions)
        sides = checked_sides(self.sides)
        checked: dict[str, object] = {
            "alpha": alpha,
            "power": require_power(self.power, alpha),
            "allocation_ratio": require_positive("allocation_ratio (experimental to control)", self.allocation_ratio),
            "information_fractions": fractions,
            "spending_parameter": checked_spending(self.spending, self.spending_parameter),
            "user_alpha": checked_user_alpha(self.user_alpha, self.spending, fractions, alpha),
            "sides": sides,
            "futility_z": checked_futility(
                self.futility_z, self.futility_spending, self.futility_parameter, fractions, sides
            ),
            "futility_alpha": checked_futility_alpha(self.futility_alpha, self.futility_spending),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.binding and not self.has_futility:
            raise AnalysisError(
                "binding is True but the design has no futility bound: give futility_z or futility_spending"
            )
        if self.futility_z is not None or self.spending == "haybittle-peto":
            _ = self._solved  # bounds that cannot be are refused where they are given

    @property
    def looks(self) -> int:
        """The number of looks, the final analysis among them."""
        return len(self.information_fractions)

    @property
    def has_futility(self) -> bool:
        """Whether a look can stop the trial for lack of effect."""
        return self.futility_spending is not None or any(z > -math.inf for z in self.futility_z or ())

    @property
    def _efficacy(self) -> Efficacy:
        if self.spending == "haybittle-peto" and self.spending_parameter is not None:
            return boundaries.constant_bounds(self.spending_parameter, self.alpha)
        if self._planned_alpha is not None:
            return boundaries.spending_bounds(self._planned_alpha)
        exponent = _EXPONENTS.get(self.spending, self.spending_parameter)
        return boundaries.shaped_bounds(float(exponent or 0.0), self.alpha)

    @cached_property
    def _planned_alpha(self) -> tuple[float, ...] | None:
        if self.spending == "user":
            return self.user_alpha
        if self.spending not in FUNCTIONS:
            return None
        spent = spending_function(self.spending, self.spending_parameter, "spending_parameter")
        return (*(spent(t, self.alpha) for t in self.information_fractions[:-1]), self.alpha)

    @cached_property
    def _solved(self) -> tuple[Boundary, float | None]:
        """The bounds, and the drift for power where the futility bounds depend on it."""
        t, efficacy = np.array(self.information_fractions), self._efficacy
        if self.sides == 2:
            return efficacy(t, boundaries.mirrored), None
        if self.futility_spending is not None:
            return self._spent_futility(t, efficacy)
        if not self.has_futility or self.futility_z is None:
            return efficacy(t, boundaries.never), None
        stops = boundaries.fixed_below(self.futility_z)
        found = boundaries.with_futility(t, efficacy, stops, binding=self.binding)
        refuse_crossed((*self.futility_z, -math.inf), found.upper, t, "lower futility_z")
        return found, None

    def _spent_futility(self, t: Vector, efficacy: Efficacy) -> tuple[Boundary, float | None]:
        total = 1 - self.power if self.futility_alpha is None else self.futility_alpha
        spent = [self._futility_spent(fraction, total) for fraction in self.information_fractions]
        drift: float | None = None
        if self.futility_alpha is None:
            fixed = self._fixed_drift
            found, drift = boundaries.with_spent_beta(t, efficacy, spent, self.power, fixed, binding=self.binding)
        else:
            stops = boundaries.spending_below(t, spent, 0.0, to_the_end=True)
            found = boundaries.with_futility(t, efficacy, stops, binding=self.binding)
        interim = (*found.lower[:-1], -math.inf)
        refuse_crossed(interim, found.upper, t, "let futility_spending spend less at the interim looks")
        return found, drift

    def _futility_spent(self, fraction: float, total: float) -> float:
        assert self.futility_spending is not None
        return spending_function(self.futility_spending, self.futility_parameter, "futility_parameter")(fraction, total)

    @property
    def boundary(self) -> Boundary:
        """The bounds with the quadrature behind them."""
        return self._solved[0]

    @property
    def critical_values(self) -> tuple[float, ...]:
        """The z at and above which each look rejects, positive in favour of the experimental arm."""
        return tuple(float(z) for z in self.boundary.upper)

    @property
    def futility_values(self) -> tuple[float, ...]:
        """The z below which each look stops for futility, minus infinity where none does.

        Where the futility bounds are spent, the last one is the critical value, or with `futility_alpha` its own.
        """
        if not self.has_futility:
            return (-math.inf,) * self.looks
        return tuple(float(z) for z in self.boundary.lower)

    @property
    def one_sided_p(self) -> tuple[float, ...]:
        """The nominal one-sided p-value at and below which each look rejects."""
        return tuple(float(p) for p in boundaries.nominal_p(self.boundary.upper))

    @cached_property
    def cumulative_alpha(self) -> tuple[float, ...]:
        """The one-sided alpha spent up to and with each look; futility bounds count only where they bind."""
        if self._planned_alpha is not None:
            return self._planned_alpha
        boundary = self.boundary
        if self.has_futility and not self.binding:
            boundary = self._efficacy(np.array(self.information_fractions), boundaries.never)
        spent = boundaries.spent_without_effect(boundary)
        return (*(float(one) for one in spent[:-1]), self.alpha)

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
            Shape (looks,), or (m, looks) for m drifts; the sum over looks is the power. Stops for futility are obeyed,
            binding or not.

        Raises
        ------
        AnalysisError
            If a drift is not finite.
        """
        theta = _finite(drift)
        found = self.boundary.exits(np.atleast_1d(theta))
        return found[0] if theta.ndim == 0 else found

    def futility_probabilities(self, drift: ArrayLike) -> Vector:
        """Return the probability that each look stops for futility, where z at fraction t has mean ``drift * sqrt(t)``.

        Parameters
        ----------
        drift
            The mean of the final z; a scalar or shape (m,).

        Returns
        -------
        ndarray
            Shape (looks,), or (m, looks) for m drifts. The last column is the probability of ending below the last of
            `futility_values`, 0 where there is none.

        Raises
        ------
        AnalysisError
            If a drift is not finite.
        """
        theta = _finite(drift)
        means = np.multiply.outer(theta, np.sqrt(self.information_fractions))
        values = self.critical_values, self.futility_values
        return crossing_probabilities(*values, self.information_fractions, means).below

    def expected_information(self, drift: ArrayLike) -> Vector:
        """Return the mean information at which the trial ends, as a fraction of the maximum, bounds obeyed.

        Parameters
        ----------
        drift
            The mean of the final z; a scalar or shape (m,).

        Returns
        -------
        ndarray
            Shape () or (m,). Times `inflation_factor` it is a fraction of the fixed design's information.
        """
        theta = _finite(drift)
        stops = self.exit_probabilities(theta)
        stops = stops + (self.exit_probabilities(-theta) if self.sides == 2 else self.futility_probabilities(theta))
        spared = 1 - np.array(self.information_fractions)
        return np.asarray(1 - stops @ spared)

    @property
    def _fixed_drift(self) -> float:
        return float(-ndtri(self.alpha) + ndtri(self.power))

    @cached_property
    def _drift(self) -> float:
        if self.looks == 1 and self.futility_spending is None:
            return self._fixed_drift
        boundary, drift = self._solved
        return boundaries.drift_of_power(boundary, self.power, self._fixed_drift) if drift is None else drift

    def drift_for_power(self) -> float:
        """Return the mean of the final z under which the trial rejects with probability `power`."""
        return self._drift

    @property
    def inflation_factor(self) -> float:
        """The maximum information over that of the fixed design with the same alpha and power."""
        return 1.0 if self.looks == 1 else (self._drift / self._fixed_drift) ** 2

    @property
    def experimental_share(self) -> float:
        """The share of patients who are allocated to the experimental arm."""
        return self.allocation_ratio / (1 + self.allocation_ratio)

    def updated(self, observed_fractions: Sequence[float], *, final: bool = False) -> Design:
        """Return the design with the information that was observed in place of the planned, alpha spent kept.

        An interim look spends what its spending function gives at the information observed (or, in a family without
        one, the alpha planned for a look of that number), the final analysis all that is left; bounds of past looks
        do not change when later ones are held. Call it on the design as planned, with all looks so far.

        Parameters
        ----------
        observed_fractions
            Information of each look held, as a fraction of the planned maximum, increasing; the last one may be above 1.
        final
            Whether the last of them is the final analysis. One at or above 1 always is.

        Returns
        -------
        Design
            With user spending, futility bounds as z, and fractions of the information that the final analysis has, or
            will have: under an effect for which the planned final z has mean d, its final z has mean
            ``d * sqrt(final information / planned maximum)``.

        Raises
        ------
        AnalysisError
            If the fractions do not increase, one before the last is 1 or more, or a family without spending function
            is asked for a look that was not planned; or if a spent futility bound reaches the efficacy bound before
            the end.
        """
        return replace(self, **updated_rules(self, observed_fractions, final=final))

    def text(self, unit: str = "events") -> str:
        """Return the rules in words, alpha one-sided and said so; `unit` is what the fractions are fractions of."""
        return described_rules(self, unit)

    def bounds_text(self, unit: str = "events") -> str:
        """Return the bounds of each look in words, as z and as nominal one-sided p-values."""
        return described_bounds(self, unit)


def _finite(drift: ArrayLike) -> Vector:
    theta = np.asarray(drift, dtype=float)
    if not np.all(np.isfinite(theta)):
        raise AnalysisError("the drift holds a number that is not finite: give finite drifts")
    return theta

"""An assumed effect on a mean or a rate with the test that is to show it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from trialml.design.group_sequential import Design
from trialml.design.refusals import require_finite
from trialml.errors import AnalysisError

__all__ = ["PlannedEffect", "Stops", "direction", "require_r_squared"]

Vector = NDArray[np.float64]


class Stops(NamedTuple):
    """How likely each look is to end the trial.

    Attributes
    ----------
    efficacy, futility, opposite
        Shape (looks,): rejecting for the experimental arm, stopping for lack of effect, and, in a two-sided test,
        rejecting for control.
    """

    efficacy: Vector
    futility: Vector
    opposite: Vector

    def share_of_patients(self, fractions: Vector) -> float:
        """Return the expected number of patients as a share of the maximum; nothing is spared at the last look."""
        return float(1 - sum(self) @ (1 - fractions))


class PlannedEffect(ABC):
    """An assumed effect with its test: what `plan_endpoint` asks for.

    Attributes
    ----------
    endpoint, scale
        Words: what is measured, and the scale of the effect.
    effect, null
        The assumed effect and the one under the null hypothesis, on `scale`.
    arms
        1 or 2.
    covariate_r_squared
        Share of the outcome's variance that baseline covariates explain; sizes shrink by one minus it.
    """

    endpoint: str
    scale: str
    effect: float
    null: float
    arms: int
    covariate_r_squared: float

    @property
    @abstractmethod
    def formula(self) -> str:
        """The formula by name, with the adjustment for covariates where there is one."""

    @abstractmethod
    def fixed_probit(self, patients: float, design: Design) -> float:
        """Return the normal quantile of the fixed design's power with the design's alpha, for the experimental arm alone."""

    @abstractmethod
    def fixed_patients(self, design: Design) -> float:
        """Return the patients of the fixed design with the design's alpha and power, not rounded."""

    @abstractmethod
    def effect_at(self, z: float, patients: float, design: Design) -> float:
        """Return the effect estimate that has a given z, positive in favour of the experimental arm."""

    def maximum_patients(self, design: Design) -> float:
        """Return the patients at the last look, not rounded: the fixed design's times the inflation factor."""
        return self.fixed_patients(design) * design.inflation_factor

    def drift(self, design: Design, patients: float) -> float:
        """Return the mean of the final z with a given number of patients.

        It is the one at which a fixed design of normal statistics has the power that the fixed design has with so many
        patients, ``z_alpha + Phi^{-1}(power)``: it holds what the t-distribution or variances that differ between
        null and alternative take away.
        """
        return float(-ndtri(design.alpha)) + self.fixed_probit(patients, design)

    def drift_as_solved(self, design: Design, patients: float, exact: float) -> float:
        """Return the mean of the final z where `exact` patients were solved for and so many are taken."""
        return design.drift_for_power() * math.sqrt(patients / exact)

    def stops(self, design: Design, _patients: float, drift: float) -> Stops:
        """Return how the trial ends under a drift, with so many patients."""
        efficacy = design.exit_probabilities(drift)
        opposite = design.exit_probabilities(-drift) if design.sides == 2 else np.zeros(design.looks)
        return Stops(efficacy, design.futility_probabilities(drift), opposite)


def direction(distance: float, higher_is_better: bool | None) -> int:
    """Return 1 where high values favour the experimental arm and -1 where low ones do.

    Parameters
    ----------
    distance
        The assumed effect less the one under the null hypothesis.
    higher_is_better
        None takes the side of the assumed effect, and high values where it has none.
    """
    if higher_is_better is None:
        return -1 if distance < 0 else 1
    return 1 if higher_is_better else -1


def require_r_squared(value: float) -> float:
    """Return a share of variance from 0 up to, but not including, 1.

    Raises
    ------
    AnalysisError
        If `value` lies outside or is not finite.
    """
    number = require_finite("covariate_r_squared", value)
    if not 0 <= number < 1:
        raise AnalysisError(
            f"covariate_r_squared is {number:g}: give the share of variance that covariates explain, 0 or more and below 1"
        )
    return number

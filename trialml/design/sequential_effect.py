"""Power of a group-sequential log-rank test, weighted or not, whose effect changes with calendar time.

A look compares z, standardised by the variance without effect, with its bound. Under the scenario z has the mean
``theta sqrt(I)`` and the spread of ``sqrt(I / I0)``-scaled bounds, I being the information under the scenario and I0 that
without effect; increments are independent in I.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from trialml.design.average_hazard_ratio import average_hazard_ratio
from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.design.scenario import Scenario
from trialml.design.spending import spending_function
from trialml.design.weighted_logrank_power import LogRankWeight, weighted_effect
from trialml.errors import AnalysisError

__all__ = ["LookEffects", "SequentialPower", "look_effects", "patients_factor", "sequential_power"]

Vector = NDArray[np.float64]


class LookEffects(NamedTuple):
    """What a log-rank test sees at each look; all of shape (looks,).

    Attributes
    ----------
    months
        Calendar month of the look.
    patients, events
        Enrolled, and expected events, by then.
    hazard_ratio
        The average hazard ratio.
    theta
        The effect, positive in favour of the experimental arm.
    information, null_information
        Of theta, under the scenario and without effect.
    """

    months: Vector
    patients: Vector
    events: Vector
    hazard_ratio: Vector
    theta: Vector
    information: Vector
    null_information: Vector

    def times(self, factor: float) -> LookEffects:
        """Return the effects with so many times the patients, enrolled in the same months."""
        return self._replace(
            patients=self.patients * factor,
            events=self.events * factor,
            information=self.information * factor,
            null_information=self.null_information * factor,
        )


class SequentialPower(NamedTuple):
    """Bounds and probabilities of a sequential test; all of shape (looks,).

    Attributes
    ----------
    critical_values, futility_values
        The z at which a look rejects, and below which it stops for futility, minus infinity where it does not.
    rejects, stops
        The probability that a look is the one that rejects, or stops for futility, under the scenario.
    null_rejects
        The probability that a look is the one that rejects without effect, futility bounds not obeyed.
    """

    critical_values: Vector
    futility_values: Vector
    rejects: Vector
    stops: Vector
    null_rejects: Vector


def look_effects(
    scenario: Scenario,
    calendar_months: ArrayLike,
    weight: LogRankWeight | None = None,
    patients: float | None = None,
) -> LookEffects:
    """Return what a log-rank test sees at each calendar month.

    Parameters
    ----------
    scenario
        The assumed truth.
    calendar_months
        Shape (looks,): months since the start of recruitment, increasing.
    weight
        Of the test. None: the log-rank test by the average hazard ratio, ``theta = -log(AHR)``; otherwise theta is the
        standardised score of `weighted_effect`.
    patients
        Number of patients, where the scenario does not say it.

    Returns
    -------
    LookEffects

    Raises
    ------
    AnalysisError
        If the months do not increase, or the number of patients is not known.
    """
    months = np.atleast_1d(np.asarray(calendar_months, dtype=float))
    if np.any(np.diff(months) <= 0):
        shown = ", ".join(f"{month:g}" for month in months)
        raise AnalysisError(f"the looks at months {shown} do not increase: put them in order")
    average = average_hazard_ratio(scenario, months, patients)
    if weight is None:
        theta = -np.log(average.hazard_ratio)
        return LookEffects(
            months,
            average.patients,
            average.events,
            average.hazard_ratio,
            theta,
            average.information,
            average.null_information,
        )
    size, found = scenario.size(patients), weighted_effect(scenario, months, weight, patients)
    return LookEffects(
        months,
        average.patients,
        average.events,
        found.hazard_ratio,
        found.theta,
        size * found.variance,
        size * found.null_variance,
    )


def _lower(design: Design, looks: LookEffects, upper: Vector, scale: Vector) -> Vector:
    """Return the futility bounds on the scale of z: those given, or those that spend type II error under the scenario."""
    values = np.full(design.looks, -math.inf)
    if design.futility_z is not None:
        values[:-1] = design.futility_z
    if design.futility_spending is None:
        return values
    spend = spending_function(design.futility_spending, design.futility_parameter, "futility_spending")
    total = 1 - design.power if design.futility_alpha is None else design.futility_alpha
    means = looks.theta * np.sqrt(looks.information)
    if design.futility_alpha is not None:
        means = np.zeros_like(means)
    for look in range(design.looks - 1):
        wanted = spend(float(looks.information[look] / looks.information[-1]), total)

        def spent(z: float, look: int = look, wanted: float = wanted) -> float:
            here = np.append(values[:look], z)
            found = crossing_probabilities(
                upper[: look + 1] * scale[: look + 1],
                here * scale[: look + 1],
                looks.information[: look + 1],
                means[: look + 1],
            )
            return float(found.below.sum()) - wanted

        high = float(upper[look])
        values[look] = high if spent(high) <= 0 else brentq(spent, -12.0, high, xtol=1e-11)
    return values


def sequential_power(design: Design, looks: LookEffects) -> SequentialPower:
    """Return bounds and probabilities of a design's looks under an effect that may differ from look to look.

    Parameters
    ----------
    design
        The rules. Its information fractions are replaced by those of the looks' information without effect.
    looks
        What the test sees at each look.

    Returns
    -------
    SequentialPower

    Raises
    ------
    AnalysisError
        If the design has another number of looks, two sides, or binding futility bounds, whose efficacy bounds would
        depend on the scenario.

    References
    ----------
    Zhao, Y., Zhang, Y., Yang, H. and Anderson, K. M. (2024). Group sequential design under non-proportional hazards.
    arXiv:2312.01723.
    Jennison, C. and Turnbull, B. W. (2000). Group Sequential Methods with Applications to Clinical Trials.
    Chapman & Hall/CRC, Boca Raton.
    """
    if len(looks.months) != design.looks:
        raise AnalysisError(
            f"the design has {design.looks} looks and {len(looks.months)} months: give one month a look"
        )
    if design.binding or design.sides == 2:
        kind = "binding futility bounds" if design.binding else "two sides"
        raise AnalysisError(
            f"a design with {kind} is not planned under effects that change: make it one-sided, non-binding"
        )
    fractions = looks.null_information / looks.null_information[-1]
    efficacy = dataclasses.replace(
        design,
        information_fractions=tuple(fractions),
        futility_z=None,
        futility_spending=None,
        futility_parameter=None,
        futility_alpha=None,
    )
    upper = np.array(efficacy.critical_values)
    scale = np.sqrt(looks.information / looks.null_information)
    lower = _lower(design, looks, upper, scale)
    found = crossing_probabilities(
        upper * scale, lower * scale, looks.information, looks.theta * np.sqrt(looks.information)
    )
    return SequentialPower(upper, lower, found.above, found.below, efficacy.exit_probabilities(0.0))


def patients_factor(design: Design, looks: LookEffects) -> float:
    """Return how many times the patients of `looks`, enrolled in the same months, the design needs for its power.

    Parameters
    ----------
    design
        The rules and the power.
    looks
        What the test sees at each look.

    Returns
    -------
    float
        Multiply patients, events and accrual rates by it.

    Raises
    ------
    AnalysisError
        If the effect at the last look does not favour the experimental arm, or no number of patients gives the power.
    """
    if looks.theta[-1] <= 0:
        raise AnalysisError(
            f"the average hazard ratio at the last look is {looks.hazard_ratio[-1]:.4g}, which does not favour the "
            "experimental arm: look later, or plan for another effect"
        )

    def missing(log_factor: float) -> float:
        return design.power - float(sequential_power(design, looks.times(math.exp(log_factor))).rejects.sum())

    fixed = design.drift_for_power() / (looks.theta[-1] * math.sqrt(looks.information[-1]))
    centre = 2 * math.log(fixed)
    low, high = centre - 0.5, centre + 0.5
    for _ in range(12):
        if missing(low) > 0 > missing(high):
            return math.exp(float(brentq(missing, low, high, xtol=1e-13)))
        low, high = low - 0.5, high + 0.5
    raise AnalysisError(
        f"no number of patients gives a power of {design.power:g}: its futility bounds stop too many trials before the "
        "effect shows, so leave them out at early looks"
    )

"""Expected difference and variance of restricted means and of survival at a milestone, under a scenario."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.design.arm_curves import arm_curves, mixture
from trialml.design.event_curves import integrated_event_probability
from trialml.design.scenario import Scenario

__all__ = ["ExpectedDifference", "milestone_difference", "rmst_difference"]

Vector = NDArray[np.float64]


class ExpectedDifference(NamedTuple):
    """A difference, experimental less control, and what it is worth.

    Attributes
    ----------
    value
        In months for restricted means, a probability for a milestone.
    variance
        Of its estimate from Kaplan-Meier curves, times the number of patients.
    """

    value: float
    variance: float


def _mean_survival(scenario: Scenario, months: Vector) -> Vector:
    """Return the restricted mean survival time of both arms, shape (2, n), at n times since entry."""
    lost = np.zeros((2, len(months)))
    for group in scenario.hazard_pieces():
        for arm in (0, 1):
            _, area = integrated_event_probability(months, group.breaks, group.hazards(arm), 0.0)
            lost[arm] += group.prevalence * area
    return months - lost


def _per_patient(scenario: Scenario, by_arm: Vector) -> float:
    share = scenario.experimental_share
    return float(by_arm[0] / (1 - share) + by_arm[1] / share)


def rmst_difference(
    scenario: Scenario, tau_months: float, calendar_month: float, patients: float | None = None
) -> ExpectedDifference:
    """Return the expected difference in restricted mean survival time and its variance per patient.

    The variance of an arm's mean is ``integral (integral_t^tau S)**2 h / pi dt`` with h the hazard and pi the share of
    the arm's planned patients who are followed to t.

    Parameters
    ----------
    scenario
        The assumed truth.
    tau_months
        The time since entry that means are restricted to; someone is followed longer by `calendar_month`.
    calendar_month
        Months since the start of recruitment.
    patients
        Number of patients, where the scenario does not say it.

    Returns
    -------
    ExpectedDifference
        In months.

    Raises
    ------
    AnalysisError
        If a time is not above 0, or no patient is followed to `tau_months`.

    References
    ----------
    Yung, G. and Liu, Y. (2020). Sample size and power for the weighted log-rank test and Kaplan-Meier based tests with
    allowance for nonproportional hazards. Biometrics 76, 939-950.
    """
    curves = arm_curves(scenario, calendar_month, patients, upto_months=tau_months)
    whole = _mean_survival(scenario, np.array([tau_months]))
    left = whole - _mean_survival(scenario, curves.months)
    variance = (left**2 * curves.hazard / curves.at_risk) @ curves.weights
    return ExpectedDifference(float(whole[1, 0] - whole[0, 0]), _per_patient(scenario, variance))


def milestone_difference(
    scenario: Scenario, milestone_months: float, calendar_month: float, patients: float | None = None
) -> ExpectedDifference:
    """Return the expected difference in survival at a milestone and its variance per patient.

    The variance of an arm's survival is that of Greenwood, ``S**2 integral h / pi dt``.

    Parameters
    ----------
    scenario, calendar_month, patients
        As in `rmst_difference`.
    milestone_months
        The time since entry at which survival is compared.

    Returns
    -------
    ExpectedDifference
        A probability.

    Raises
    ------
    AnalysisError
        If a time is not above 0, or no patient is followed to `milestone_months`.

    References
    ----------
    Yung, G. and Liu, Y. (2020). Sample size and power for the weighted log-rank test and Kaplan-Meier based tests with
    allowance for nonproportional hazards. Biometrics 76, 939-950.
    """
    curves = arm_curves(scenario, calendar_month, patients, upto_months=milestone_months)
    survival, _ = mixture(scenario, milestone_months)
    variance = survival[:, 0] ** 2 * ((curves.hazard / curves.at_risk) @ curves.weights)
    return ExpectedDifference(float(survival[1, 0] - survival[0, 0]), _per_patient(scenario, variance))

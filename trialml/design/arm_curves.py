"""Survival, number at risk and density of events in each arm of a scenario, by time since entry, and their integrals.

A weighted log-rank test, a restricted mean and a milestone read at a calendar month are integrals over the time since
entry of these curves. Breaks of hazard, accrual and analysis cut the integral into pieces in which the integrand is
smooth, and Gauss-Legendre quadrature does the rest.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.design.event_curves import integrated_event_probability
from trialml.design.refusals import require_positive
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError

__all__ = ["ArmCurves", "arm_curves", "mixture"]

Vector = NDArray[np.float64]

_NODES = 24
_LONGEST_PANEL_MONTHS = 6.0


class ArmCurves(NamedTuple):
    """The two arms by time since entry, read at a calendar month. Row 0 is control, row 1 experimental.

    Attributes
    ----------
    months, weights
        Shape (n,): quadrature nodes, increasing, and weights over the time since entry.
    survival
        Shape (2, n): probability of no event by then, without dropout.
    density
        Shape (2, n): density of the event time, without dropout.
    at_risk
        Shape (2, n): probability that a planned patient of the arm is under observation that long at the calendar month.
    """

    months: Vector
    weights: Vector
    survival: Vector
    density: Vector
    at_risk: Vector

    @property
    def hazard(self) -> Vector:
        """Shape (2, n): event hazard per month among those without an event."""
        return self.density / self.survival

    @property
    def observed_density(self) -> Vector:
        """Shape (2, n): density of events that are observed by the calendar month."""
        return self.hazard * self.at_risk


def _nodes(edges: Vector) -> tuple[Vector, Vector]:
    base, weights = np.polynomial.legendre.leggauss(_NODES)
    unit, half = (base + 1) / 2, weights / 2
    months, masses = [], []
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        # A weight that is a power of the share of events begins like a power of time: squares make it smooth.
        if place == 0:
            months.append(low + (high - low) * unit**2)
            masses.append((high - low) * 2 * unit * half)
        else:
            months.append(low + (high - low) * unit)
            masses.append((high - low) * half)
    return np.concatenate(months), np.concatenate(masses)


def _edges(
    scenario: Scenario, upto: float, calendar_month: float, accrual: float, cuts_months: tuple[float, ...]
) -> Vector:
    """Return where pieces of the integral over the time since entry begin and end."""
    starts, _ = scenario.accrual_pieces()
    breaks = np.concatenate([group.breaks for group in scenario.hazard_pieces()])
    cuts = np.concatenate([breaks, calendar_month - starts, [calendar_month - accrual, 0.0, upto, *cuts_months]])
    cuts = np.unique(np.clip(cuts, 0.0, upto))
    panels = [
        np.linspace(low, high, 1 + int(np.ceil((high - low) / _LONGEST_PANEL_MONTHS)))[:-1]
        for low, high in itertools.pairwise(cuts)
    ]
    return np.append(np.concatenate(panels), upto)


def arm_curves(
    scenario: Scenario,
    calendar_month: float,
    patients: float | None = None,
    *,
    upto_months: float | None = None,
    cuts_months: tuple[float, ...] = (),
) -> ArmCurves:
    """Return the curves of both arms at a calendar month.

    Parameters
    ----------
    scenario
        The assumed truth; with groups, an arm is the mixture of its groups.
    calendar_month
        Months since the start of recruitment.
    patients
        Number of patients, where the scenario does not say it.
    upto_months
        Time since entry at which the integrals end; by default as long as anyone is followed.
    cuts_months
        Further times since entry at which an integrand bends.

    Returns
    -------
    ArmCurves

    Raises
    ------
    AnalysisError
        If a time is not above 0, or no patient is followed for `upto_months` by then.
    """
    month = require_positive("the calendar month", calendar_month)
    upto = month if upto_months is None else require_positive("the time since entry in months", upto_months)
    size = scenario.size(patients)
    accrual = scenario.accrual_length(size)
    if upto > month or (upto_months is not None and upto >= month):
        raise AnalysisError(
            f"scenario '{scenario.name}': by month {month:g} no patient is followed for {upto:g} months: "
            "choose an earlier time since entry or a later analysis"
        )
    x, weights = _nodes(_edges(scenario, upto, month, accrual, cuts_months))
    entered = np.minimum(scenario.entered(month - x), size) / size
    survival, density = mixture(scenario, x)
    lost = np.exp(-np.multiply.outer(scenario.dropout_hazards(), x))
    return ArmCurves(x, weights, survival, density, survival * lost * entered)


def mixture(scenario: Scenario, months: ArrayLike) -> tuple[Vector, Vector]:
    """Return survival and density of the event time, shape (2, n), of both arms at n times since entry."""
    x = np.atleast_1d(np.asarray(months, dtype=float))
    survival, density = np.zeros((2, len(x))), np.zeros((2, len(x)))
    for group in scenario.hazard_pieces():
        for arm in (0, 1):
            hazards = group.hazards(arm)
            happened, _ = integrated_event_probability(x, group.breaks, hazards, 0.0)
            alive = group.prevalence * (1 - happened)
            survival[arm] += alive
            density[arm] += alive * hazards[np.searchsorted(group.breaks, x, side="right") - 1]
    return survival, density

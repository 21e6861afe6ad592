"""The average hazard ratio by calendar time under a scenario, with its information, in closed form over pieces."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.design.event_curves import integrated_event_probability
from trialml.design.patient_groups import HazardPieces
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError

__all__ = ["AverageEffect", "average_hazard_ratio", "events_by_piece"]

Vector = NDArray[np.float64]


class AverageEffect(NamedTuple):
    """The average hazard ratio at calendar months, each of the shape of the months.

    Attributes
    ----------
    hazard_ratio
        ``exp(sum d log(HR) / sum d)`` over groups and pieces, d the expected events of both arms there.
    events, patients
        Expected events and patients enrolled.
    information
        Of the log hazard ratio under the scenario: the sum over groups and pieces of ``1 / (1 / d_c + 1 / d_e)``.
    null_information
        The same without an effect: events times ``p (1 - p)``.
    """

    hazard_ratio: Vector
    events: Vector
    patients: Vector
    information: Vector
    null_information: Vector


def _piece_integral(u: Vector, group: HazardPieces, arm: int, dropout: float) -> Vector:
    """Return, for each piece, the integral from entry on of the probability of an event within that piece."""
    edges = np.append(group.breaks, math.inf)
    upto = []
    for edge in edges:
        known = min(edge, float(np.max(u, initial=0.0)))
        at, _ = integrated_event_probability(known, group.breaks, group.hazards(arm), dropout)
        _, area = integrated_event_probability(np.minimum(u, edge), group.breaks, group.hazards(arm), dropout)
        upto.append(area + np.where(u > edge, at * (u - min(edge, known)), 0.0))
    return np.diff(np.array(upto), axis=0)


def events_by_piece(scenario: Scenario, calendar_months: ArrayLike, patients: float | None = None) -> list[Vector]:
    """Return the expected events by calendar time, arm and piece of the time since entry, for each group.

    Parameters
    ----------
    scenario
        The assumed truth.
    calendar_months
        Shape (m,): months since the start of recruitment.
    patients
        Number of patients, where the scenario does not say it.

    Returns
    -------
    list of ndarray
        One a group, shape (2, pieces, m): control first. Pieces are those of `Scenario.hazard_pieces`.
    """
    months = np.atleast_1d(np.asarray(calendar_months, dtype=float))
    starts, rates = scenario.accrual_pieces()
    ends = np.minimum(np.append(starts[1:], math.inf), scenario.accrual_length(patients))
    shares = (1 - scenario.experimental_share, scenario.experimental_share)
    found = []
    for group in scenario.hazard_pieces():
        arms = []
        for arm, (share, dropout) in enumerate(zip(shares, scenario.dropout_hazards(), strict=True)):
            total = np.zeros((len(group.breaks), len(months)))
            for start, end, rate in zip(starts, ends, rates, strict=True):
                if end > start and rate > 0:
                    early, late = np.maximum(months - start, 0.0), np.maximum(months - end, 0.0)
                    total += rate * (
                        _piece_integral(early, group, arm, dropout) - _piece_integral(late, group, arm, dropout)
                    )
            arms.append(group.prevalence * share * total)
        found.append(np.array(arms))
    return found


def average_hazard_ratio(
    scenario: Scenario, calendar_months: ArrayLike, patients: float | None = None
) -> AverageEffect:
    """Return the average hazard ratio, experimental to control, that a log-rank test sees by each calendar month.

    Parameters
    ----------
    scenario
        The assumed truth; with groups, that of the test stratified by them.
    calendar_months
        Shape (m,) or scalar: months since the start of recruitment, above 0.
    patients
        Number of patients, where the scenario does not say it.

    Returns
    -------
    AverageEffect
        Of the shape of the months.

    Raises
    ------
    AnalysisError
        If a month is not above 0, or no event is expected by then.

    References
    ----------
    Schemper, M., Wakounig, S. and Heinze, G. (2009). The estimation of average hazard ratios by weighted Cox
    regression. Statistics in Medicine 28, 2473-2489.
    Mukhopadhyay, P. et al. (2020). Statistical and practical considerations in designing of immuno-oncology trials.
    Journal of Biopharmaceutical Statistics 30, 1130-1146.
    """
    months = np.asarray(calendar_months, dtype=float)
    if not np.all(np.isfinite(months)) or np.any(months <= 0):
        raise AnalysisError("a calendar month is not above 0: give months since the start of recruitment")
    flat = np.atleast_1d(months).ravel()
    share = scenario.experimental_share
    weighted, events, information = (np.zeros(flat.shape) for _ in range(3))
    for group, by_arm in zip(scenario.hazard_pieces(), events_by_piece(scenario, flat, patients), strict=True):
        both = by_arm.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_ratio = np.where(group.control > 0, np.log(group.experimental / group.control), 0.0)
            information += np.where(both > 0, by_arm[0] * by_arm[1] / both, 0.0).sum(axis=0)
        weighted += log_ratio @ both
        events += both.sum(axis=0)
    if np.any(events <= 0):
        raise AnalysisError(f"scenario '{scenario.name}' expects no event by month {flat.min():g}: look later")
    return AverageEffect(
        np.exp(weighted / events).reshape(months.shape),
        events.reshape(months.shape),
        scenario.enrolled(months, patients),
        information.reshape(months.shape),
        (share * (1 - share) * events).reshape(months.shape),
    )

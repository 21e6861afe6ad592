"""How many events a log-rank test needs, and how many patients give them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from trialml.design.refusals import require_alpha, require_finite, require_positive, require_power
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError, nearest

__all__ = [
    "METHODS",
    "Method",
    "drift_per_event",
    "information_per_event",
    "patients_for_events",
    "power_of_events",
    "round_up",
    "survival_events",
]

Method = Literal["schoenfeld", "freedman", "hsieh-freedman"]
METHODS: tuple[Method, ...] = ("schoenfeld", "freedman", "hsieh-freedman")


def round_up(value: float, block: int = 1) -> float:
    """Return the next whole multiple of `block`, forgiving an excess that only rounding error explains."""
    return float(block * math.ceil(value / block - 1e-9))


def information_per_event(allocation_ratio: float = 1.0) -> float:
    """Return the information on the log hazard ratio that one event carries, ``p (1 - p)`` (1/4 at 1:1)."""
    ratio = require_positive("allocation_ratio (experimental to control)", allocation_ratio)
    return ratio / (1 + ratio) ** 2


def drift_per_event(hazard_ratio: float, *, allocation_ratio: float = 1.0, method: Method = "schoenfeld") -> float:
    """Return the mean of z per root of the number of events, positive in favour of the experimental arm.

    With r the allocation ratio, Schoenfeld: ``-log(HR) sqrt(r) / (1 + r)``; Freedman: ``(1 - HR) sqrt(r) / (1 + r HR)``;
    Hsieh and Freedman: ``(1 - HR) / (1 + HR) 2 sqrt(r) / (1 + r)``.

    Parameters
    ----------
    hazard_ratio
        Experimental to control, above 0.
    allocation_ratio
        Experimental to control.
    method
        ``"schoenfeld"``, ``"freedman"`` or ``"hsieh-freedman"``.

    Returns
    -------
    float
        0 without effect.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the method has another name.

    References
    ----------
    Schoenfeld, D. A. (1983). Sample-size formula for the proportional-hazards regression model.
    Biometrics 39, 499-503.
    Freedman, L. S. (1982). Tables of the number of patients required in clinical trials using the logrank test.
    Statistics in Medicine 1, 121-129.
    Hsieh, F. Y. (1992). Comparing sample size formulae for trials with unbalanced allocation using the logrank test.
    Statistics in Medicine 11, 1091-1098.
    """
    ratio = require_positive("the hazard ratio", hazard_ratio)
    r = require_positive("allocation_ratio (experimental to control)", allocation_ratio)
    if method == "schoenfeld":
        return -math.log(ratio) * math.sqrt(information_per_event(r))
    if method == "freedman":
        return (1 - ratio) * math.sqrt(r) / (1 + r * ratio)
    if method == "hsieh-freedman":
        return (1 - ratio) / (1 + ratio) * 2 * math.sqrt(information_per_event(r))
    known = nearest(str(method), METHODS)
    raise AnalysisError(f"the method {method!r} for the number of events is not known: {known}")


def survival_events(
    hazard_ratio: float,
    *,
    alpha: float,
    power: float,
    allocation_ratio: float = 1.0,
    method: Method = "schoenfeld",
) -> float:
    """Return the events that a fixed design needs, ``((z_a + z_b) / drift_per_event)**2``, not rounded.

    Multiply by a `Design`'s `inflation_factor` for the maximum events of a group-sequential design.

    Parameters
    ----------
    hazard_ratio
        Experimental to control; any positive number but 1.
    alpha
        One-sided significance level.
    power
        Wanted probability of rejection under `hazard_ratio`.
    allocation_ratio
        Experimental to control.
    method
        The formula; see `drift_per_event`.

    Returns
    -------
    float
        Events, both arms together.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the method has another name.
    """
    if require_positive("the hazard ratio", hazard_ratio) == 1:
        raise AnalysisError("the hazard ratio is 1, no effect: no number of events shows that, so plan for an effect")
    level = require_alpha(alpha)
    quantiles = float(-ndtri(level) + ndtri(require_power(power, level)))
    return (quantiles / drift_per_event(hazard_ratio, allocation_ratio=allocation_ratio, method=method)) ** 2


def power_of_events(
    hazard_ratio: float,
    events: float,
    *,
    alpha: float,
    allocation_ratio: float = 1.0,
    method: Method = "schoenfeld",
) -> float:
    """Return the power of a fixed design with so many events: ``Phi(|drift_per_event| sqrt(events) - z_a)``.

    Parameters
    ----------
    hazard_ratio
        Experimental to control, above 0.
    events
        Both arms together.
    alpha
        One-sided significance level.
    allocation_ratio
        Experimental to control.
    method
        The formula; see `drift_per_event`.

    Returns
    -------
    float
        Probability of rejection in the direction of the effect.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or the method has another name.
    """
    drift = abs(drift_per_event(hazard_ratio, allocation_ratio=allocation_ratio, method=method))
    return float(ndtr(drift * math.sqrt(require_positive("events", events)) + ndtri(require_alpha(alpha))))


def patients_for_events(
    scenario: Scenario,
    events: float,
    *,
    follow_up_months: float | None = None,
    duration_months: float | None = None,
    accrual_months: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
) -> float:
    """Return the fewest patients who give the expected number of events by the planned end.

    Accrual goes on at the scenario's rates for as long as it takes; or, where `accrual_months` is given, it lasts that
    long and its rates are scaled.

    Parameters
    ----------
    scenario
        The assumed truth; its accrual per month is used, its number of patients is not.
    events
        Wanted events; rounded up where `whole_numbers`.
    follow_up_months
        Months from the last patient in to the end; or else
    duration_months
        months from the first patient in to the end.
    accrual_months
        Length of accrual, where the rate of accrual is what is solved for.
    block
        Patients are rounded up to the next multiple of the permuted block.
    whole_numbers
        False leaves events and patients as they come.

    Returns
    -------
    float
        Patients, both arms together; more than the events even where everyone has one.

    Raises
    ------
    AnalysisError
        If not exactly one of the two times is given, or the accrual cannot give the events in the duration; the
        sentence says how many it can give.
    """
    if (follow_up_months is None) == (duration_months is None):
        raise AnalysisError("the end of the trial must be given once: give follow_up_months or duration_months")
    wanted = require_positive("events", events)
    size = int(require_positive("block", require_finite("block", block)))
    wanted = round_up(wanted) if whole_numbers else wanted
    if accrual_months is not None:
        patients = _patients_by_rate(scenario, wanted, accrual_months, follow_up_months, duration_months)
    elif follow_up_months is not None:
        patients = float(scenario.entered(_accrual_by_follow_up(scenario, wanted, follow_up_months)))
    else:
        patients = float(scenario.entered(_accrual_by_duration(scenario, wanted, duration_months)))
    if not whole_numbers:
        return patients
    whole = round_up(patients, size)
    # Where practically everyone has the event, the last event of exactly enough patients would never be reached.
    return whole if whole * scenario.eventual_probability() > wanted * (1 + 1e-6) else whole + size


def _patients_by_rate(
    scenario: Scenario,
    events: float,
    accrual_months: float,
    follow_up_months: float | None,
    duration_months: float | None,
) -> float:
    accrual = require_positive("accrual_months", accrual_months)
    if follow_up_months is not None:
        end = accrual + require_positive("follow_up_months", follow_up_months, zero=True)
    else:
        end = require_positive("duration_months", np.nan if duration_months is None else duration_months)
    if end < accrual:
        raise AnalysisError(
            f"duration_months is {end:g} and accrual_months {accrual:g}: the trial ends after its accrual, so give more"
        )
    return events * float(scenario.entered(accrual)) / float(scenario.events_of_accrual(end, accrual))


def _accrual_by_follow_up(scenario: Scenario, events: float, follow_up_months: float) -> float:
    after = require_positive("follow_up_months", follow_up_months, zero=True)

    def surplus(accrual: float) -> float:
        return float(scenario.events_of_accrual(accrual + after, accrual)) - events

    high = 1.0
    while surplus(high) < 0:
        high *= 2
    return float(brentq(surplus, 0.0, high, xtol=1e-11))


def _accrual_by_duration(scenario: Scenario, events: float, duration_months: float | None) -> float:
    end = require_positive("duration_months", np.nan if duration_months is None else duration_months)

    def surplus(accrual: float) -> float:
        return float(scenario.events_of_accrual(end, accrual)) - events

    if surplus(end) < 0:
        _, rates = scenario.accrual_pieces()
        shown = ", ".join(f"{rate:g}" for rate in rates)
        raise AnalysisError(
            f"scenario '{scenario.name}': accrual of {shown} patients a month gives at most "
            f"{surplus(end) + events:,.1f} events in {end:g} months, but {events:,.1f} are needed: "
            "accrue faster or allow more time"
        )
    return float(brentq(surplus, 0.0, end, xtol=1e-11))

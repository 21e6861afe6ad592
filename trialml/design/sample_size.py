"""How many events a log-rank test needs, and how many patients give them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from trialml.design.refusals import require_alpha, require_finite, require_positive, require_power
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError, nearest

__all__ = ["Method", "information_per_event", "patients_for_events", "round_up", "survival_events"]

Method = Literal["schoenfeld", "freedman"]


def round_up(value: float, block: int = 1) -> float:
    """Return the next whole multiple of `block`, forgiving an excess that only rounding error explains."""
    return float(block * math.ceil(value / block - 1e-9))


def information_per_event(allocation_ratio: float = 1.0) -> float:
    """Return the information on the log hazard ratio that one event carries, ``p (1 - p)`` (1/4 at 1:1)."""
    ratio = require_positive("allocation_ratio (experimental to control)", allocation_ratio)
    return ratio / (1 + ratio) ** 2


def survival_events(
    hazard_ratio: float,
    *,
    alpha: float,
    power: float,
    allocation_ratio: float = 1.0,
    method: Method = "schoenfeld",
) -> float:
    """Return the events that a fixed design needs, not rounded.

    Schoenfeld: ``(z_a + z_b)**2 / (p (1 - p) log(HR)**2)`` with p the experimental share of patients.
    Freedman: ``(z_a + z_b)**2 (1 + r HR)**2 / (r (1 - HR)**2)`` with r the allocation ratio. Multiply by a
    `Design`'s `inflation_factor` for the maximum events of a group-sequential design.

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
        ``"schoenfeld"`` or ``"freedman"``.

    Returns
    -------
    float
        Events, both arms together.

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
    """
    ratio = require_positive("the hazard ratio", hazard_ratio)
    if ratio == 1:
        raise AnalysisError("the hazard ratio is 1, no effect: no number of events shows that, so plan for an effect")
    level = require_alpha(alpha)
    quantiles = float(-ndtri(level) + ndtri(require_power(power, level))) ** 2
    if method == "schoenfeld":
        return quantiles / (information_per_event(allocation_ratio) * math.log(ratio) ** 2)
    if method == "freedman":
        r = require_positive("allocation_ratio (experimental to control)", allocation_ratio)
        return quantiles * (1 + r * ratio) ** 2 / (r * (1 - ratio) ** 2)
    known = nearest(str(method), ("schoenfeld", "freedman"))
    raise AnalysisError(f"the method {method!r} for the number of events is not known: {known}")


def patients_for_events(
    scenario: Scenario,
    events: float,
    *,
    follow_up_months: float | None = None,
    duration_months: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
) -> float:
    """Return the fewest patients who give the expected number of events by the planned end.

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
    if follow_up_months is not None:
        accrual = _accrual_by_follow_up(scenario, wanted, follow_up_months)
    else:
        accrual = _accrual_by_duration(scenario, wanted, duration_months)
    patients = float(scenario.entered(accrual))
    if not whole_numbers:
        return patients
    whole = round_up(patients, size)
    # Where practically everyone has the event, the last event of exactly enough patients would never be reached.
    return whole if whole * scenario.eventual_probability() > wanted * (1 + 1e-6) else whole + size


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

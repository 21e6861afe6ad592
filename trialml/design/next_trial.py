"""The plan of the next trial: its size, and what its looks do, under an assumed truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq

from trialml.design.assurance import assurance, assurance_of, power_of
from trialml.design.covariate_adjustment import adjusted_size
from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.design.operating_characteristics import OperatingCharacteristics
from trialml.design.patient_groups import ratios_of
from trialml.design.refusals import require_positive
from trialml.design.sample_size import (
    Method,
    drift_per_event,
    information_per_event,
    patients_for_events,
    round_up,
    survival_events,
)
from trialml.design.scenario import Scenario
from trialml.design.sequential_effect import look_effects
from trialml.errors import AnalysisError

__all__ = [
    "OperatingCharacteristics",
    "assurance",
    "assurance_of",
    "operating_characteristics",
    "plan_trial",
    "power_of",
]

Vector = NDArray[np.float64]
Formula = Method | Literal["average hazard ratio"]

_LONGEST_TRIAL_MONTHS = 600.0
_DAYS_PER_MONTH = 30.4375


def plan_trial(
    design: Design,
    scenario: Scenario,
    *,
    follow_up_months: float | None = None,
    duration_months: float | None = None,
    accrual_months: float | None = None,
    block: int = 4,
    whole_numbers: bool = True,
    events_formula: Method = "schoenfeld",
    covariate_r_squared: float = 0.0,
) -> OperatingCharacteristics:
    """Plan a trial by a design under a scenario.

    The final events are those of the fixed design times the design's inflation factor. Where they are rounded
    up, the bounds are computed for the fractions of the whole events, never reused from others. Where hazards are not
    proportional, the log-rank test at each look is planned by the average hazard ratio of its calendar month, and the
    size is the least that has the design's power.

    Parameters
    ----------
    design
        The rules.
    scenario
        The assumed truth; hazard ratio below 1. Where it says the number of patients (or the accrual time), the
        calendar follows from that; otherwise give one of the two times.
    follow_up_months
        Months from the last patient in to the final analysis.
    duration_months
        Months from the first patient in to the final analysis.
    accrual_months
        With one of the two times: length of accrual, the rates of the scenario being scaled to what it takes.
    block
        Patients are rounded up to a multiple of it.
    whole_numbers
        False leaves events and patients as they come.
    events_formula
        ``"schoenfeld"``, ``"freedman"`` or ``"hsieh-freedman"``, where hazards are proportional.
    covariate_r_squared
        The share of the variance of the log-rank score that baseline covariates explain, for a covariate-adjusted
        log-rank test: events shrink by ``1 - R^2`` (see `adjusted_size`).

    Returns
    -------
    OperatingCharacteristics
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If the hazard ratio is not below 1, design and scenario have different allocation ratios, the size is given
        twice or not at all, the patients can never give the events, or only after more than fifty years.
    """
    _check_allocation(design, scenario)
    sizing = _Sizing(follow_up_months, duration_months, accrual_months, block, whole_numbers)
    left = adjusted_size(1.0, covariate_r_squared)
    if not scenario.proportional:
        return _plan_by_average(design, scenario, sizing, left)
    ratio = next(iter(ratios_of(scenario)))
    if ratio >= 1:
        raise AnalysisError(
            f"the hazard ratio of scenario '{scenario.name}' is {ratio:g}, which does not favour the "
            "experimental arm: plan for a hazard ratio below 1"
        )
    rules = {"alpha": design.alpha, "power": design.power, "allocation_ratio": design.allocation_ratio}
    exact = left * design.inflation_factor * survival_events(ratio, **rules, method=events_formula)
    final = exact
    if whole_numbers:
        design, final = _whole_events(design, exact)
    sized = sizing.sized(scenario, final)
    return operating_characteristics(
        design, sized, events=final, events_formula=events_formula, covariate_r_squared=1 - left
    )


def _check_allocation(design: Design, scenario: Scenario) -> None:
    if design.allocation_ratio != scenario.allocation_ratio:
        raise AnalysisError(
            f"the design allocates {design.allocation_ratio:g}:1 and scenario '{scenario.name}' "
            f"{scenario.allocation_ratio:g}:1: give both the same allocation_ratio"
        )


def _whole_events(design: Design, exact: float) -> tuple[Design, float]:
    """Return the design at the fractions of whole events, and the final events."""
    final = round_up(exact)
    while True:
        whole = _at_whole_events(design, final)
        drift = design.drift_for_power() * math.sqrt(final / exact)
        # Looks moved to whole events spend alpha a little earlier, which may cost the last bit of power.
        if whole.exit_probabilities(drift).sum() >= design.power - 1e-12:
            return whole, final
        final += 1


def _at_whole_events(design: Design, final: float) -> Design:
    fractions = tuple(round_up(t * final) / final for t in design.information_fractions)
    return dataclasses.replace(design, information_fractions=fractions)


@dataclasses.dataclass(frozen=True)
class _Sizing:
    """How the number of patients follows from the number of events."""

    follow_up_months: float | None
    duration_months: float | None
    accrual_months: float | None
    block: int
    whole_numbers: bool

    def check(self, scenario: Scenario) -> bool:
        """Return whether the scenario says its size, refusing one that is given twice or not at all."""
        fixed = scenario.patients is not None or scenario.accrual_months is not None
        times = [self.follow_up_months, self.duration_months]
        if fixed and any(time is not None for time in (*times, self.accrual_months)):
            raise AnalysisError(
                f"scenario '{scenario.name}' has a number of patients already, so the calendar follows from the events: "
                "leave out follow_up_months and duration_months"
            )
        if not fixed and sum(time is not None for time in times) != 1:
            raise AnalysisError("the end of the trial must be given once: give follow_up_months or duration_months")
        return fixed

    def sized(self, scenario: Scenario, events: float) -> Scenario:
        """Return the scenario with the fewest patients who give so many events by the planned end."""
        if self.check(scenario):
            return scenario.with_patients(scenario.size())
        patients = patients_for_events(
            scenario,
            events,
            follow_up_months=self.follow_up_months,
            duration_months=self.duration_months,
            accrual_months=self.accrual_months,
            block=self.block,
            whole_numbers=self.whole_numbers,
        )
        return self.with_patients(scenario, patients)

    def with_patients(self, scenario: Scenario, patients: float) -> Scenario:
        """Return the scenario with so many patients, at scaled rates where the length of accrual is given."""
        if self.accrual_months is not None:
            scenario = scenario.scaled(patients / float(scenario.entered(self.accrual_months)))
        return scenario.with_patients(patients)

    def end(self, scenario: Scenario) -> float:
        """Return the month of the final analysis."""
        if self.duration_months is not None:
            return require_positive("duration_months", self.duration_months)
        after = 0.0 if self.follow_up_months is None else self.follow_up_months
        return scenario.accrual_length() + require_positive("follow_up_months", after, zero=True)


def _plan_by_average(design: Design, scenario: Scenario, sizing: _Sizing, left: float) -> OperatingCharacteristics:
    """Return the least trial whose log-rank test has the power, effects changing over time or between groups."""
    if sizing.check(scenario):
        sized = scenario.with_patients(scenario.size())
        most = sized.size() * sized.eventual_probability() * (1 - 1e-6)
        final = _least(lambda events: _power(design, sized, events, left), design, scenario, most)
    else:

        def at(patients: float) -> tuple[Scenario, float]:
            truth = sizing.with_patients(scenario, patients)
            return truth, float(truth.expected_events(sizing.end(truth)))

        end = sizing.duration_months
        most = float(scenario.entered(end)) if end is not None and sizing.accrual_months is None else 1e6
        patients = _least(lambda size: _power(design, *at(size), left), design, scenario, most)
        if sizing.whole_numbers:
            patients = round_up(patients, sizing.block)
        sized, final = at(patients)
    if sizing.whole_numbers:
        final = round_up(final)
        design = _at_whole_events(design, final)
        while _power(design, sized, final, left) < design.power - 1e-12:
            final += 1
            design = _at_whole_events(design, final)
    return operating_characteristics(design, sized, events=final, covariate_r_squared=1 - left)


def _power(design: Design, scenario: Scenario, events: float, left: float) -> float:
    at_looks = np.array(design.information_fractions) * events
    return float(_crossings(design, scenario, at_looks, "average hazard ratio", left)[0].sum())


def _least(power: Callable[[float], float], design: Design, scenario: Scenario, most: float) -> float:
    """Return the least size, of patients or events, at which the power is the design's."""
    low, high = 0.0, min(16.0 * design.looks, most)
    while (reached := power(high)) < design.power:
        if high >= most:
            raise AnalysisError(
                f"scenario '{scenario.name}' gives a power of at most {100 * reached:.3g} %, below the "
                f"{100 * design.power:g} % wanted, with all the patients or time there is: its effect is too small, or "
                "comes too late"
            )
        low, high = high, min(2 * high, most)
    if low == 0:
        return high
    return float(brentq(lambda size: power(size) - design.power, low, high, xtol=1e-9))


def _crossings(
    design: Design, scenario: Scenario, events: Vector, events_formula: Formula, left: float
) -> tuple[Vector, Vector, Vector, Vector]:
    """Return, for each look, the chance to reject and to stop for futility, its month and its average hazard ratio."""
    months = np.array([scenario.months_to_events(value) for value in events])
    if events_formula != "average hazard ratio":
        ratio = next(iter(ratios_of(scenario)))
        per_event = drift_per_event(ratio, allocation_ratio=design.allocation_ratio, method=events_formula)
        drift = per_event * math.sqrt(events[-1] / left)
        stops = design.futility_probabilities(drift) if design.has_futility else np.zeros(design.looks)
        return design.exit_probabilities(drift), stops, months, np.full(design.looks, ratio)
    looks = look_effects(scenario, months).times(1 / left)
    scale = np.sqrt(looks.information / looks.null_information)
    found = crossing_probabilities(
        np.array(design.critical_values) * scale,
        np.array(design.futility_values) * scale,
        looks.information,
        looks.theta * np.sqrt(looks.information),
    )
    return found.above, found.below, months, looks.hazard_ratio


def operating_characteristics(
    design: Design,
    scenario: Scenario,
    *,
    events: float,
    events_formula: Method = "schoenfeld",
    covariate_r_squared: float = 0.0,
) -> OperatingCharacteristics:
    """Return what a design with so many final events does under a scenario, one with no or another effect included.

    Parameters
    ----------
    design
        The rules; the events of a look are its information fraction of the final ones.
    scenario
        The assumed truth, with its number of patients.
    events
        Events at the final analysis, both arms together.
    events_formula
        How z follows from the events where hazards are proportional; see `drift_per_event`. Otherwise the average
        hazard ratio of each look is used.
    covariate_r_squared
        As in `plan_trial`.

    Returns
    -------
    OperatingCharacteristics
        One row a look, and the totals.

    Raises
    ------
    AnalysisError
        If design and scenario have different allocation ratios, the patients can never give the events, or only after
        more than fifty years, which a median in days would explain.
    """
    _check_allocation(design, scenario)
    final = require_positive("events", events)
    left = adjusted_size(1.0, covariate_r_squared)
    _check_calendar(scenario, final)
    at_looks = np.array(design.information_fractions) * final
    # A fraction of whole events times the final ones is whole but for its last bit.
    at_looks = np.where(np.abs(at_looks - np.round(at_looks)) < 1e-9, np.round(at_looks), at_looks)
    formula: Formula = events_formula if scenario.proportional else "average hazard ratio"
    rejects, stops, months, ratios = _crossings(design, scenario, at_looks, formula, left)
    enrolled = scenario.enrolled(months)
    root = np.sqrt(at_looks / left * information_per_event(design.allocation_ratio))
    looks = _looks(design, at_looks, months, enrolled, rejects, root)
    if design.has_futility:
        with np.errstate(over="ignore"):
            ratio_at = np.exp(-np.asarray(design.futility_values) / root)
        looks = looks.assign(
            futility_z=design.futility_values, hazard_ratio_at_futility=ratio_at, futility_probability=stops
        )
    if not scenario.proportional:
        looks = looks.assign(average_hazard_ratio=ratios)
    early = rejects[:-1] + stops[:-1]
    ends = np.append(early, 1 - early.sum())
    return OperatingCharacteristics(
        design=design,
        scenario=scenario,
        looks=looks,
        events=final,
        patients=scenario.size(),
        duration_months=float(months[-1]),
        follow_up_months=float(months[-1] - scenario.accrual_length()),
        expected_events=float(ends @ at_looks),
        expected_duration_months=float(ends @ months),
        early_stop_probability=float(early.sum()),
        events_formula=formula,
        expected_patients=float(ends @ enrolled),
        covariate_r_squared=1 - left,
    )


def _looks(
    design: Design, events: Vector, months: Vector, enrolled: Vector, rejects: Vector, root: Vector
) -> pd.DataFrame:
    critical = np.asarray(design.critical_values)
    columns: dict[str, Any] = {
        "look": np.arange(1, design.looks + 1),
        "information_fraction": design.information_fractions,
        "events": events,
        "calendar_months": months,
        "enrolled": enrolled,
        "critical_z": critical,
        "one_sided_p": design.one_sided_p,
        "hazard_ratio_at_bound": np.exp(-critical / root),
        "cumulative_alpha": design.cumulative_alpha,
        "stop_probability": rejects,
        "cumulative_power": np.cumsum(rejects),
    }
    return pd.DataFrame(columns)


def _check_calendar(scenario: Scenario, events: float) -> None:
    """Refuse a trial of more than fifty years: what such a wait means is most often a time in another unit."""
    month = scenario.months_to_events(events)
    if month <= _LONGEST_TRIAL_MONTHS:
        return
    accrual, median = scenario.accrual_length(), scenario.control_median_months()
    soon = float(scenario.expected_events(2 * accrual))
    raise AnalysisError(
        f"scenario '{scenario.name}': with a control median of {median:,.4g} months and {accrual:,.4g} months of accrual, "
        f"{soon:,.1f} events are expected by month {2 * accrual:,.4g} and the {events:,.0f} needed only by month "
        f"{month:,.0f}: if the median is in days, give it in months ({median / _DAYS_PER_MONTH:.3g}), otherwise enrol "
        "more patients"
    )

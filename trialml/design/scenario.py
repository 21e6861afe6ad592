"""What is assumed of the next trial: hazards, effect, accrual and dropout, and the events they give by calendar time.

Times are in months, hazards per month. Patients enter at a rate that is constant within pieces of the accrual;
hazards and hazard ratios are constant within pieces of the time since entry; dropout is exponential, in each arm
with its own hazard, and independent of the event.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from trialml.design.event_curves import eventual_event_probability, integrated_event_probability
from trialml.design.patient_groups import (
    Group,
    HazardPieces,
    check_groups,
    check_hazard,
    check_ratio,
    hazard_pieces_of,
    ratios_of,
)
from trialml.design.refusals import require_positive
from trialml.design.step_rates import as_numbers, checked_steps, steps
from trialml.errors import AnalysisError

__all__ = ["ArmProbabilities", "Group", "Scenario", "dropout_hazard", "integrated_event_probability"]

Vector = NDArray[np.float64]


class ArmProbabilities(NamedTuple):
    """A probability for each arm, scalars or arrays of one shape."""

    control: Vector
    experimental: Vector


def dropout_hazard(share_per_year: float) -> float:
    """Return the constant hazard per month of leaving, where this share of patients has left after a year."""
    return -math.log1p(-share_per_year) / 12


@dataclass(frozen=True)
class Scenario:
    """One assumed truth about the next trial; everything in months.

    Give the control hazard and the hazard ratio each once, as a constant or as pieces, or through `groups`; and,
    where the size of the trial is fixed, either `patients` or `accrual_months`; `plan_trial` finds the size where
    neither is given.

    Attributes
    ----------
    name
        What the scenario is called in tables.
    hazard_ratio
        Assumed hazard ratio, experimental to control, below 1 favours experimental; constant over time. None
        where it is given in pieces or by group.
    accrual_per_month
        Patients who enter per month, both arms together; one rate, or one for each of `accrual_breaks_months`.
    control_hazard_per_month
        Constant event hazard of the control arm; ``log(2) / median``.
    hazard_breaks_months, control_hazards_per_month
        Months since entry at which the pieces of the control hazard begin (the first one 0), and the hazard in
        each; the last piece has no end. A last hazard of 0 leaves a cured fraction.
    hazard_ratio_breaks_months, hazard_ratios
        Months since entry at which the pieces of the hazard ratio begin (the first one 0), and the ratio in each.
    accrual_breaks_months
        Calendar months at which the pieces of the accrual begin (the first one 0); the last rate goes on until
        all patients are in.
    accrual_months, patients
        Length of accrual, or number of patients.
    dropout_per_month
        Hazard of leaving the trial without an event; that of the control arm, and of both arms unless
    experimental_dropout_per_month
        gives another one for the experimental arm.
    allocation_ratio
        Experimental to control, as a ratio.
    groups
        Mutually exclusive groups of patients whose prevalences sum to 1. A group without a control hazard or a
        hazard ratio of its own has the scenario's.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or two numbers contradict each other.
    """

    name: str
    _: KW_ONLY
    hazard_ratio: float | None = None
    accrual_per_month: float | tuple[float, ...]
    control_hazard_per_month: float | None = None
    hazard_breaks_months: tuple[float, ...] = ()
    control_hazards_per_month: tuple[float, ...] = ()
    accrual_months: float | None = None
    patients: float | None = None
    dropout_per_month: float = 0.0
    allocation_ratio: float = 1.0
    hazard_ratio_breaks_months: tuple[float, ...] = ()
    hazard_ratios: tuple[float, ...] = ()
    accrual_breaks_months: tuple[float, ...] = ()
    experimental_dropout_per_month: float | None = None
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        for field in ("hazard_ratio", "allocation_ratio", "accrual_months", "patients", "control_hazard_per_month"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, require_positive(self._label(field), value))
        for field in ("dropout_per_month", "experimental_dropout_per_month"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, require_positive(self._label(field), value, zero=True))
        for field in (
            "hazard_breaks_months",
            "control_hazards_per_month",
            "hazard_ratio_breaks_months",
            "hazard_ratios",
            "accrual_breaks_months",
        ):
            object.__setattr__(self, field, as_numbers(getattr(self, field)))
        object.__setattr__(self, "groups", tuple(self.groups))
        if self.patients is not None and self.accrual_months is not None:
            raise AnalysisError(f"scenario '{self.name}' has patients and accrual_months: give one of the two")
        self._check_accrual()
        owner = f"scenario '{self.name}'"
        check_groups(owner, self.groups)
        check_hazard(owner, self, needed=not self.groups or any(group.control is None for group in self.groups))
        check_ratio(owner, self, needed=not self.groups or any(group.ratio is None for group in self.groups))

    def _label(self, field: str) -> str:
        return f"{field} of scenario '{self.name}'"

    def _check_accrual(self) -> None:
        rate, breaks = self.accrual_per_month, self.accrual_breaks_months
        if np.ndim(rate) == 0:
            object.__setattr__(
                self,
                "accrual_per_month",
                require_positive(self._label("accrual_per_month"), rate),  # type: ignore[arg-type]
            )
            if breaks:
                raise AnalysisError(
                    f"scenario '{self.name}' has {len(breaks)} accrual breaks and one accrual_per_month: "
                    "give one rate for each break"
                )
            return
        rates = as_numbers(rate)  # type: ignore[arg-type]
        object.__setattr__(self, "accrual_per_month", rates)
        checked_steps(f"scenario '{self.name}'", "accrual rate", breaks, rates, zero=True)
        require_positive(f"the last accrual rate of scenario '{self.name}', which goes on", rates[-1] if rates else 0.0)

    @classmethod
    def from_median(cls, name: str, *, control_median_months: float, **rest: Any) -> Self:
        """Return the scenario whose control arm has a constant hazard and this median, ``log(2) / hazard``."""
        median = require_positive(f"control_median_months of scenario '{name}'", control_median_months)
        return cls(name, control_hazard_per_month=math.log(2) / median, **rest)

    @property
    def pieces(self) -> tuple[Vector, Vector]:
        """Months at which the pieces of the scenario's own control hazard begin, and the hazard in each."""
        return steps(self.control_hazard_per_month, self.hazard_breaks_months, self.control_hazards_per_month)

    def accrual_pieces(self) -> tuple[Vector, Vector]:
        """Return the calendar months at which the pieces of the accrual begin, and patients per month in each."""
        if isinstance(self.accrual_per_month, tuple):
            return np.array(self.accrual_breaks_months), np.array(self.accrual_per_month)
        return np.zeros(1), np.array([self.accrual_per_month])

    def hazard_pieces(self) -> list[HazardPieces]:
        """Return prevalence, breaks and the hazards of both arms for each group of patients; one where all are alike."""
        return hazard_pieces_of(self)

    def dropout_hazards(self) -> tuple[float, float]:
        """Return the dropout hazards per month of the control and of the experimental arm."""
        own = self.experimental_dropout_per_month
        return self.dropout_per_month, self.dropout_per_month if own is None else own

    @property
    def proportional(self) -> bool:
        """Whether all patients have one hazard ratio at all times."""
        return len(ratios_of(self)) == 1

    @property
    def experimental_share(self) -> float:
        """The share of patients who are allocated to the experimental arm."""
        return self.allocation_ratio / (1 + self.allocation_ratio)

    def with_patients(self, patients: float) -> Scenario:
        """Return this scenario with a number of patients."""
        return dataclasses.replace(self, patients=patients, accrual_months=None)

    def scaled(self, factor: float) -> Scenario:
        """Return this scenario with so many times the patients, at so many times the rates of accrual."""
        times = require_positive("the factor", factor)
        rate = self.accrual_per_month
        rates = tuple(times * one for one in rate) if isinstance(rate, tuple) else times * rate
        patients = None if self.patients is None else times * self.patients
        return dataclasses.replace(self, accrual_per_month=rates, patients=patients)

    def size(self, patients: float | None = None) -> float:
        """Return the number of patients: the argument, or what the scenario says.

        Raises
        ------
        AnalysisError
            If neither says how many there are.
        """
        if patients is not None:
            return require_positive("patients", patients)
        if self.patients is not None:
            return self.patients
        if self.accrual_months is not None:
            return float(self.entered(self.accrual_months))
        raise AnalysisError(f"scenario '{self.name}' does not say how many patients: give patients or accrual_months")

    def entered(self, calendar_months: ArrayLike) -> Vector:
        """Return the patients who would have entered by each calendar month if accrual never ended."""
        months = np.maximum(np.asarray(calendar_months, dtype=float), 0.0)
        starts, rates = self.accrual_pieces()
        lengths = np.minimum(months[..., None], np.append(starts[1:], math.inf)) - starts
        return np.asarray(np.clip(lengths, 0.0, None) @ rates)

    def enrolled(self, calendar_months: ArrayLike, patients: float | None = None) -> Vector:
        """Return the patients who have entered by each calendar month since the start of recruitment."""
        return np.asarray(np.minimum(self.entered(calendar_months), self.size(patients)))

    def accrual_length(self, patients: float | None = None) -> float:
        """Return the calendar month at which the last patient enters."""
        size = self.size(patients)
        starts, rates = self.accrual_pieces()
        before = np.concatenate([[0.0], np.cumsum(np.diff(starts) * rates[:-1])])
        piece = int(np.searchsorted(before, size, side="left")) - 1
        return float(starts[piece] + (size - before[piece]) / rates[piece])

    def control_risk(self, months: float) -> float:
        """Return the probability of an event in the control arm within `months` of entry, without dropout."""
        horizon = require_positive("the horizon in months", months)
        risks = [
            group.prevalence * float(integrated_event_probability(horizon, group.breaks, group.control, 0.0)[0])
            for group in self.hazard_pieces()
        ]
        return float(sum(risks))

    def control_median_months(self) -> float:
        """Return the median time to the event in the control arm, without dropout; infinite where most are cured."""
        high = 1.0
        while self.control_risk(high) < 0.5:
            high *= 2
            if high > 1e6:
                return math.inf
        return float(brentq(lambda month: self.control_risk(month) - 0.5, high * 1e-9, high, xtol=1e-10))

    def event_probability(
        self, months_since_start_of_recruitment: ArrayLike, patients: float | None = None
    ) -> ArmProbabilities:
        """Return, for each arm, the probability that a planned patient has had an observed event by calendar time.

        Patients not yet in by then count as patients without an event, so that the number of patients times
        this probability is the expected number of events.

        Parameters
        ----------
        months_since_start_of_recruitment
            Shape (m,) or scalar.
        patients
            Number of patients, where the scenario does not say it.

        Returns
        -------
        ArmProbabilities
            Of the shape of the months.

        Raises
        ------
        AnalysisError
            If a month is not a finite number, or the number of patients is not known.
        """
        months = np.asarray(months_since_start_of_recruitment, dtype=float)
        if not np.all(np.isfinite(months)):
            raise AnalysisError("the calendar months hold a number that is not finite: give finite months")
        size, accrual = self.size(patients), self.accrual_length(patients)
        control, experimental = (self._events_of_arm(arm, months, accrual) / size for arm in (0, 1))
        return ArmProbabilities(control, experimental)

    def _integral(self, arm: int, months: ArrayLike) -> Vector:
        """Return the integral from entry on of the event probability of one arm, 0 control and 1 experimental."""
        dropout = self.dropout_hazards()[arm]
        parts = [
            group.prevalence * integrated_event_probability(months, group.breaks, group.hazards(arm), dropout)[1]
            for group in self.hazard_pieces()
        ]
        return np.asarray(sum(parts))

    def _events_of_arm(self, arm: int, months: Vector, accrual: float) -> Vector:
        """Return the expected events if every patient of an accrual of this length were in one arm."""
        starts, rates = self.accrual_pieces()
        ends = np.minimum(np.append(starts[1:], math.inf), accrual)
        total = np.zeros(months.shape)
        for start, end, rate in zip(starts, ends, rates, strict=True):
            if end > start and rate > 0:
                total = total + rate * (self._integral(arm, months - start) - self._integral(arm, months - end))
        return total

    def events_of_accrual(self, calendar_months: ArrayLike, accrual_months: float) -> Vector:
        """Return the expected events by each calendar month, both arms together, of an accrual of this length."""
        months, share = np.asarray(calendar_months, dtype=float), self.experimental_share
        control, experimental = (self._events_of_arm(arm, months, accrual_months) for arm in (0, 1))
        return np.asarray((1 - share) * control + share * experimental)

    def mean_integral(self, months: ArrayLike) -> Vector:
        """Return the integral from entry on of the event probability of both arms together, in months."""
        share = self.experimental_share
        return (1 - share) * self._integral(0, months) + share * self._integral(1, months)

    def eventual_probability(self) -> float:
        """Return the probability that a patient, of both arms together, ever has an observed event."""
        shares = (1 - self.experimental_share, self.experimental_share)
        return sum(
            share * group.prevalence * eventual_event_probability(group.breaks, group.hazards(arm), dropout)
            for group in self.hazard_pieces()
            for arm, (share, dropout) in enumerate(zip(shares, self.dropout_hazards(), strict=True))
        )

    def expected_events(self, calendar_months: ArrayLike, patients: float | None = None) -> Vector:
        """Return the expected number of events, both arms together, by each calendar month.

        Parameters
        ----------
        calendar_months
            Months since the start of recruitment; shape (m,) or scalar.
        patients
            Number of patients, where the scenario does not say it.

        Returns
        -------
        ndarray
            Of the shape of the months.
        """
        probability = self.event_probability(calendar_months, patients)
        share = self.experimental_share
        mean = (1 - share) * probability.control + share * probability.experimental
        return np.asarray(self.size(patients) * mean)

    def months_to_events(self, events: float, patients: float | None = None) -> float:
        """Return the calendar month at which the expected number of events reaches `events`.

        Raises
        ------
        AnalysisError
            If the patients can never give so many events; the sentence says how many they can give.
        """
        wanted = require_positive("events", events)
        size = self.size(patients)
        most = size * self.eventual_probability()
        if wanted >= most * (1 - 1e-9):
            raise AnalysisError(
                f"scenario '{self.name}': {size:,.0f} patients can give at most {most:,.1f} events, but "
                f"{wanted:,.1f} are needed: enrol more patients or plan for fewer events"
            )
        high = self.accrual_length(size)
        while float(self.expected_events(high, size)) < wanted:
            high *= 2
        return float(brentq(lambda m: float(self.expected_events(m, size)) - wanted, 0.0, high, xtol=1e-11))

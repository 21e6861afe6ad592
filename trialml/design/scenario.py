"""What is assumed of the next trial: hazards, effect, accrual and dropout, and the events they give by calendar time.

Times are in months, hazards per month. Patients enter uniformly over the accrual; dropout is exponential, the
same in both arms, and independent of the event.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from trialml.design.refusals import require_positive
from trialml.errors import AnalysisError

__all__ = ["ArmProbabilities", "Scenario", "integrated_event_probability"]

Vector = NDArray[np.float64]


class ArmProbabilities(NamedTuple):
    """A probability for each arm, scalars or arrays of one shape."""

    control: Vector
    experimental: Vector


def _lag(y: Vector) -> Vector:
    """Return ``y - 1 + exp(-y)``, by its series where the difference would lose digits."""
    small = y * y / 2 * (1 - y / 3 * (1 - y / 4 * (1 - y / 5 * (1 - y / 6 * (1 - y / 7)))))
    return np.where(y < 0.02, small, y + np.expm1(-np.minimum(y, 700.0)))


def _piece_starts(breaks: Vector, hazards: Vector, dropout: float) -> tuple[Vector, Vector, Vector]:
    """Return, where each piece of the hazard begins, who is still at risk, the event probability and its integral."""
    at_risk, happened, area = [1.0], [0.0], [0.0]
    for length, hazard in zip(np.diff(breaks), hazards, strict=False):
        total = hazard + dropout
        share, y = hazard / total, total * length
        area.append(area[-1] + happened[-1] * length + share * at_risk[-1] * float(_lag(np.asarray(y))) / total)
        happened.append(happened[-1] - share * at_risk[-1] * math.expm1(-y))
        at_risk.append(at_risk[-1] * math.exp(-y))
    return np.array(at_risk), np.array(happened), np.array(area)


def integrated_event_probability(
    months: ArrayLike, breaks: ArrayLike, hazards: ArrayLike, dropout: float
) -> tuple[Vector, Vector]:
    """Return the probability of an observed event by a time since entry, and its integral from entry on.

    With event hazard h and dropout hazard d, the probability is the integral of ``h exp(-(H + d u))``; it is
    summed in closed form over the pieces of a piecewise constant h.

    Parameters
    ----------
    months
        Shape (m,) or scalar: months since a patient's entry; below 0 counts as 0.
    breaks
        Shape (pieces,): months at which the pieces begin, the first one 0.
    hazards
        Shape (pieces,): event hazard per month in each piece, above 0.
    dropout
        Dropout hazard per month.

    Returns
    -------
    tuple of ndarray
        The probability, and its integral in months; both of the shape of `months`.
    """
    u = np.maximum(np.asarray(months, dtype=float), 0.0)
    starts, h = np.asarray(breaks, dtype=float), np.asarray(hazards, dtype=float)
    at_risk, happened, area = _piece_starts(starts, h, dropout)
    piece = np.searchsorted(starts, u, side="right") - 1
    total = h[piece] + dropout
    share, within = h[piece] / total * at_risk[piece], u - starts[piece]
    probability = happened[piece] - share * np.expm1(-total * within)
    integral = area[piece] + happened[piece] * within + share * _lag(total * within) / total
    return probability, integral


@dataclass(frozen=True)
class Scenario:
    """One assumed truth about the next trial; everything in months.

    Give the control hazard either as a constant or as pieces, and, where the size of the trial is fixed, either
    `patients` or `accrual_months`; `plan_trial` finds the size where neither is given.

    Attributes
    ----------
    name
        What the scenario is called in tables.
    hazard_ratio
        Assumed hazard ratio, experimental to control, below 1 favours experimental; constant over time.
    accrual_per_month
        Patients who enter per month, both arms together, constant.
    control_hazard_per_month
        Constant event hazard of the control arm; ``log(2) / median``.
    hazard_breaks_months, control_hazards_per_month
        Months since entry at which the pieces of the control hazard begin (the first one 0), and the hazard in
        each; the last piece has no end.
    accrual_months, patients
        Length of accrual, or number of patients.
    dropout_per_month
        Hazard of leaving the trial without an event.
    allocation_ratio
        Experimental to control, as a ratio.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or two numbers contradict each other.
    """

    name: str
    _: KW_ONLY
    hazard_ratio: float
    accrual_per_month: float
    control_hazard_per_month: float | None = None
    hazard_breaks_months: tuple[float, ...] = ()
    control_hazards_per_month: tuple[float, ...] = ()
    accrual_months: float | None = None
    patients: float | None = None
    dropout_per_month: float = 0.0
    allocation_ratio: float = 1.0

    def __post_init__(self) -> None:
        for field in ("hazard_ratio", "accrual_per_month", "allocation_ratio"):
            object.__setattr__(self, field, require_positive(self._label(field), getattr(self, field)))
        for field in ("accrual_months", "patients", "control_hazard_per_month"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, require_positive(self._label(field), value))
        dropout = require_positive(self._label("dropout_per_month"), self.dropout_per_month, zero=True)
        object.__setattr__(self, "dropout_per_month", dropout)
        for field in ("hazard_breaks_months", "control_hazards_per_month"):
            object.__setattr__(self, field, tuple(float(value) for value in getattr(self, field)))
        if self.patients is not None and self.accrual_months is not None:
            raise AnalysisError(f"scenario '{self.name}' has patients and accrual_months: give one of the two")
        self._check_hazard()

    def _label(self, field: str) -> str:
        return f"{field} of scenario '{self.name}'"

    def _check_hazard(self) -> None:
        breaks, hazards = self.hazard_breaks_months, self.control_hazards_per_month
        if (self.control_hazard_per_month is None) == (not breaks and not hazards):
            raise AnalysisError(
                f"scenario '{self.name}' needs the control hazard once: give control_hazard_per_month, or "
                "hazard_breaks_months with control_hazards_per_month"
            )
        if len(breaks) != len(hazards):
            raise AnalysisError(
                f"scenario '{self.name}' has {len(breaks)} hazard breaks and {len(hazards)} control hazards: "
                "give one hazard for each break"
            )
        if breaks and (breaks[0] != 0 or not all(a < b for a, b in zip(breaks, (*breaks[1:], math.inf), strict=True))):
            shown = ", ".join(f"{value:g}" for value in breaks)
            raise AnalysisError(f"the hazard breaks {shown} of scenario '{self.name}' must start at 0 and increase")
        for value in hazards:
            require_positive(self._label("a control hazard"), value)

    @classmethod
    def from_median(cls, name: str, *, control_median_months: float, **rest: Any) -> Self:
        """Return the scenario whose control arm has a constant hazard and this median, ``log(2) / hazard``."""
        median = require_positive(f"control_median_months of scenario '{name}'", control_median_months)
        return cls(name, control_hazard_per_month=math.log(2) / median, **rest)

    @property
    def pieces(self) -> tuple[Vector, Vector]:
        """Months at which the pieces of the control hazard begin, and the hazard in each."""
        if self.control_hazard_per_month is not None:
            return np.zeros(1), np.array([self.control_hazard_per_month])
        return np.array(self.hazard_breaks_months), np.array(self.control_hazards_per_month)

    @property
    def experimental_share(self) -> float:
        """The share of patients who are allocated to the experimental arm."""
        return self.allocation_ratio / (1 + self.allocation_ratio)

    def with_patients(self, patients: float) -> Scenario:
        """Return this scenario with a number of patients."""
        return dataclasses.replace(self, patients=patients, accrual_months=None)

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
            return self.accrual_months * self.accrual_per_month
        raise AnalysisError(f"scenario '{self.name}' does not say how many patients: give patients or accrual_months")

    def enrolled(self, calendar_months: ArrayLike, patients: float | None = None) -> Vector:
        """Return the patients who have entered by each calendar month since the start of recruitment."""
        months = np.maximum(np.asarray(calendar_months, dtype=float), 0.0)
        return np.asarray(np.minimum(months * self.accrual_per_month, self.size(patients)))

    def control_risk(self, months: float) -> float:
        """Return the probability of an event in the control arm within `months` of entry, without dropout."""
        horizon = require_positive("the horizon in months", months)
        breaks, hazards = self.pieces
        ends = np.append(breaks[1:], math.inf)
        return float(-np.expm1(-np.sum(hazards * np.clip(np.minimum(horizon, ends) - breaks, 0.0, None))))

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
        accrual = self.size(patients) / self.accrual_per_month
        by_arm = []
        for ratio in (1.0, self.hazard_ratio):
            _, late = self._integral(months, ratio)
            _, early = self._integral(months - accrual, ratio)
            by_arm.append((late - early) / accrual)
        return ArmProbabilities(*by_arm)

    def _integral(self, months: ArrayLike, ratio: float) -> tuple[Vector, Vector]:
        breaks, hazards = self.pieces
        return integrated_event_probability(months, breaks, ratio * hazards, self.dropout_per_month)

    def mean_integral(self, months: ArrayLike) -> Vector:
        """Return the integral from entry on of the event probability of both arms together, in months."""
        share = self.experimental_share
        return (1 - share) * self._integral(months, 1.0)[1] + share * self._integral(months, self.hazard_ratio)[1]

    def eventual_probability(self) -> float:
        """Return the probability that a patient, of both arms together, ever has an observed event."""
        breaks, hazards = self.pieces
        by_arm = []
        for ratio in (1.0, self.hazard_ratio):
            at_risk, happened, _ = _piece_starts(breaks, ratio * hazards, self.dropout_per_month)
            last = ratio * hazards[-1]
            by_arm.append(float(happened[-1] + at_risk[-1] * last / (last + self.dropout_per_month)))
        return (1 - self.experimental_share) * by_arm[0] + self.experimental_share * by_arm[1]

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
        high = size / self.accrual_per_month
        while float(self.expected_events(high, size)) < wanted:
            high *= 2
        return float(brentq(lambda m: float(self.expected_events(m, size)) - wanted, 0.0, high, xtol=1e-11))

"""What is given about the next trial, whatever its option: screening, follow-up, costs, and the least effect worth claiming."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.design.event_curves import mean_event_probability
from trialml.design.refusals import require_alpha, require_between, require_finite, require_positive, require_power
from trialml.design.response_evidence import GroupEvidence, PlannedEndpoint
from trialml.design.sample_size import information_per_event
from trialml.errors import AnalysisError
from trialml.result import format_number

__all__ = ["Information", "TrialSetting"]

Vector = NDArray[np.float64]

_ABSURD_RATIO = 0.2
"""No trial is planned to dismiss every hazard ratio above this."""
_ABSURD_DEVIATIONS = 2.0
"""Nor every difference of means below so many standard deviations."""


@dataclass(frozen=True)
class TrialSetting:
    """What all options of the next trial share.

    Attributes
    ----------
    screened_per_month
        Patients who can be screened per month.
    follow_up_months
        Months from the last patient in to the final analysis; until the outcome is known, where it is no time to event.
    minimum_effect
        The least effect worth claiming: a hazard ratio below 1 of a time to event, else a benefit above 0.
    alpha, power
        One-sided, familywise; and the power for which all comers are sized where no budget is given.
    allocation_ratio
        Experimental to control.
    cost_screen, cost_patient
        Of screening one patient, and of treating and following one, in one currency; both or neither.
    budget
        Money where costs are given, otherwise patients randomised; None for what all comers cost at `power` and the expected effect.
    dropout_per_month
        Hazard of leaving without an event, of a time to event.
    lost
        Share of the randomised without an outcome, of any other endpoint.
    max_duration_months
        The trial must not last longer.
    interim_share
        Share of the patients of all comers who are in at the interim analysis of the adaptive option.
    covariate_r_squared
        Share of the variance that the analysis' covariates explain.
    conditional_powers
        Of the adaptive option: it goes on with all comers from the first, else with the stratum alone from the second, else it stops; at a
        second of 0 it never stops, and spends the budget as the other options do.

    Raises
    ------
    AnalysisError
        If a number is outside its range, a cost is zero or negative, or only one is given.
    """

    _: KW_ONLY
    screened_per_month: float
    follow_up_months: float
    minimum_effect: float
    alpha: float = 0.025
    power: float = 0.9
    allocation_ratio: float = 1.0
    cost_screen: float | None = None
    cost_patient: float | None = None
    budget: float | None = None
    dropout_per_month: float = 0.0
    lost: float = 0.0
    max_duration_months: float | None = None
    interim_share: float = 0.5
    covariate_r_squared: float = 0.0
    conditional_powers: tuple[float, float] = (0.5, 0.0)

    def __post_init__(self) -> None:
        for name in ("screened_per_month", "follow_up_months", "allocation_ratio"):
            require_positive(name, getattr(self, name))
        for name in ("dropout_per_month",):
            require_positive(name, getattr(self, name), zero=True)
        require_power(self.power, require_alpha(self.alpha))
        require_between("the share lost", 1 - self.lost, 0.0, 1.0, closed_high=True)
        require_between("interim_share", self.interim_share, 0.0, 1.0)
        require_between("1 - covariate_r_squared", 1 - self.covariate_r_squared, 0.0, 1.0, closed_high=True)
        require_finite("minimum_effect", self.minimum_effect)
        if self.budget is not None:
            require_positive("budget", self.budget)
        self._check_costs()
        longest = self.max_duration_months
        if longest is not None and require_positive("max_duration_months", longest) <= self.follow_up_months:
            raise AnalysisError(
                f"max_duration_months is {longest:g} and follow_up_months {self.follow_up_months:g}: no time is left to enrol, so "
                "allow a longer trial or a shorter follow-up"
            )

    def _check_costs(self) -> None:
        costs = {"cost_screen": self.cost_screen, "cost_patient": self.cost_patient}
        given = {name: value for name, value in costs.items() if value is not None}
        for name, value in given.items():
            if require_finite(name, value) <= 0:
                raise AnalysisError(
                    f"{name} is {value:g}, but nothing is free in a trial: give a cost above 0, or leave both costs out to compare "
                    "the options at an equal number of patients"
                )
        if len(given) == 1:
            missing = next(name for name in costs if name not in given)
            raise AnalysisError(
                f"{next(iter(given))} is given without {missing}: give both costs, or neither to compare at equal patients"
            )

    @property
    def in_money(self) -> bool:
        """Whether the budget is money; otherwise it is patients randomised."""
        return self.cost_patient is not None

    def cost_of(self, patients: float, screened: float) -> float:
        """Return what a trial costs, in money or in patients."""
        if self.cost_patient is None or self.cost_screen is None:
            return patients
        return self.cost_screen * screened + self.cost_patient * patients

    def minimum_benefit(self, endpoint: PlannedEndpoint, control: GroupEvidence) -> float:
        """Return the least benefit worth claiming: minus the log hazard ratio, or the difference.

        Raises
        ------
        AnalysisError
            If no treatment could have it, or every one would.
        """
        least = self.minimum_effect
        if endpoint.timed:
            if not _ABSURD_RATIO <= least < 1:
                raise AnalysisError(
                    f"minimum_effect is {least:g}, as a hazard ratio: give the least benefit worth claiming, at least {_ABSURD_RATIO:g} "
                    "and below 1 (below 1 favours experimental)"
                )
            return -math.log(least)
        if endpoint.kind == "binary":
            rate = control.control_mean
            most, what = (1 - rate if endpoint.higher_is_better else rate), "what the share under control leaves"
        else:
            most, what = _ABSURD_DEVIATIONS * control.sd, f"{_ABSURD_DEVIATIONS:g} standard deviations"
        if not 0 < least < most:
            raise AnalysisError(
                f"minimum_effect is {least:g}, as a benefit: give one above 0 and below {format_number(most)}, {what}"
            )
        return least


@dataclass(frozen=True)
class Information:
    """The statistical information of a patient, by the benefit that the patient's group truly has.

    Attributes
    ----------
    endpoint
        A log hazard ratio gains information by events, a difference by patients with an outcome.
    setting
        Of the trial.
    """

    endpoint: PlannedEndpoint
    setting: TrialSetting

    def of(self, group: GroupEvidence, benefit: ArrayLike, start: float, end: float, at: float) -> Vector:
        """Return the information per patient of a group on its effect.

        Parameters
        ----------
        group
            What is known under control.
        benefit
            True benefits, of any shape.
        start, end, at
            Calendar months between which these patients enter, and that of the analysis.

        Returns
        -------
        ndarray
            Of the shape of `benefit`. For a log hazard ratio ``r / (1 + r)^2`` times the probability of an event (Schoenfeld),
            else the share with an outcome over ``v_e / p + v_c / (1 - p)``, v the arms' variances and p the share of the
            experimental arm; both over ``1 - R^2``.
        """
        asked, b = self.setting, np.asarray(benefit, dtype=np.float64)
        ratio, left = asked.allocation_ratio, 1 - asked.covariate_r_squared
        if self.endpoint.timed:
            event = self.event_probability(group, b, start, end, at)
            return np.asarray(event * information_per_event(ratio) / left)
        known = at - asked.follow_up_months
        seen = 1.0 if end <= known else max(known - start, 0.0) / (end - start)
        share = ratio / (1 + ratio)
        if self.endpoint.kind == "continuous":
            variance = np.full(b.shape, group.sd**2 / (share * (1 - share)))
        else:
            rate = group.control_mean
            other = np.clip(rate + b if self.endpoint.higher_is_better else rate - b, 1e-3, 1 - 1e-3)
            variance = other * (1 - other) / share + rate * (1 - rate) / (1 - share)
        return np.asarray(seen * (1 - asked.lost) / (variance * left))

    def event_probability(
        self, group: GroupEvidence, benefit: ArrayLike, start: float, end: float, at: float
    ) -> Vector:
        """Return the probability of an event, both arms together, of patients who enter between two months."""
        asked, hazard = self.setting, group.control_hazard_per_month
        share = asked.allocation_ratio / (1 + asked.allocation_ratio)
        arms = [
            mean_event_probability(h, asked.dropout_per_month, start, end, at)
            for h in (np.asarray(hazard), hazard * np.exp(-np.asarray(benefit, dtype=np.float64)))
        ]
        return np.asarray((1 - share) * arms[0] + share * arms[1])

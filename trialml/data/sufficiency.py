"""Is there enough? What is refused before anything is estimated, so that a check and a run refuse alike."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from trialml.data.tolerance import TIE_TOLERANCE
from trialml.data.trial import Trial
from trialml.errors import AnalysisError
from trialml.result import format_p

__all__ = ["refuse_too_little"]

MINIMUM_PER_ARM = 20
MINIMUM_EVENTS = 20
MINIMUM_EVENTS_BY_THEN = 10
MINIMUM_AT_RISK = 10
"""Patients of each arm followed to the horizon and to tau: with fewer, censoring weights rest on a handful of them."""
IMPOSSIBLE_ALLOCATION = 1e-6
"""An exact binomial p below this is no chance imbalance."""


def refuse_too_little(trial: Trial, by_arm: pd.DataFrame) -> None:
    """Refuse an analysis set that is too small, has too few events, or is not what the study file says.

    Parameters
    ----------
    trial
        The analysis set.
    by_arm
        Columns ``arm``, ``role``, ``patients`` and ``events``, control first, experimental second.

    Raises
    ------
    AnalysisError
        In a sentence, for the first thing that is not enough.
    """
    primary = by_arm.iloc[:2]
    for row in primary.itertuples():
        if row.patients < MINIMUM_PER_ARM:
            message = (
                f"The {row.role} arm '{row.arm}' has {row.patients} patients in the analysis set; models and their validation need "
                f"at least {MINIMUM_PER_ARM} in each arm: use more data."
            )
            raise AnalysisError(message)
    _refuse_allocation(trial, primary)
    if trial.endpoint.kind == "time to event":
        _refuse_too_few_events(primary)
        _refuse_reading_times(trial)
    else:
        _refuse_one_outcome(trial, primary)


def _refuse_allocation(trial: Trial, primary: pd.DataFrame) -> None:
    """Refuse an allocation probability that the counts contradict: scores weighted by it would be wrong for everybody."""
    from scipy.stats import binomtest

    control, treated = (int(count) for count in primary["patients"])
    allocation = trial.treatment.allocation
    p = float(binomtest(treated, control + treated, allocation).pvalue)
    if p < IMPOSSIBLE_ALLOCATION:
        message = (
            f"[treatment] allocation = {allocation:g}, but {treated:,} of the {control + treated:,} patients of the primary contrast are in "
            f"the experimental arm (exact binomial p {format_p(p)}): give the probability that the randomisation used."
        )
        raise AnalysisError(message)


def _refuse_one_outcome(trial: Trial, primary: pd.DataFrame) -> None:
    if trial.endpoint.kind == "continuous":
        values = trial.only(trial.treatment.control, trial.treatment.experimental).value
        if (values == values[0]).all():
            raise AnalysisError(
                f"All {len(values):,} values of the endpoint '{trial.endpoint.name}' in the primary contrast are the same: check its column."
            )
        return
    patients, events = int(primary["patients"].sum()), int(primary["events"].sum())
    if events in (0, patients):
        raise AnalysisError(
            f"The event '{trial.endpoint.name}' happened in {events:,} of {patients:,} patients of the primary contrast: check which "
            "code means that it happened (event_values in [[endpoints]])."
        )
    for row in primary.itertuples():
        if row.events in (0, row.patients):
            raise AnalysisError(
                f"The event '{trial.endpoint.name}' happened in {row.events:,} of the {row.patients:,} patients of the {row.role} arm '{row.arm}', "
                "and a model of the arm's outcome needs some with and some without: check the event codes of this arm, or use more data."
            )
    if min(events, patients - events) < MINIMUM_EVENTS:
        raise AnalysisError(
            f"The event '{trial.endpoint.name}' happened in {events:,} of {patients:,} patients of the primary contrast; models and their "
            f"validation need at least {MINIMUM_EVENTS} with and {MINIMUM_EVENTS} without: use more data."
        )


def _refuse_too_few_events(primary: pd.DataFrame) -> None:
    patients, events = int(primary["patients"].sum()), int(primary["events"].sum())
    if events == 0:
        message = (
            f"All {patients} patients of the primary contrast are censored: check which event code means "
            "that the event happened (event_values in [[endpoints]])."
        )
        raise AnalysisError(message)
    for row in primary.itertuples():
        if row.events == 0:
            message = (
                f"The {row.role} arm '{row.arm}' has no events among its {row.patients} patients, so that no hazard ratio can be "
                "estimated: check the event codes of this arm, or wait for a longer follow-up."
            )
            raise AnalysisError(message)
    if events < MINIMUM_EVENTS:
        message = (
            f"The primary contrast has {events} events; models and their validation need at least {MINIMUM_EVENTS}: use more data "
            "or a longer follow-up."
        )
        raise AnalysisError(message)


def _refuse_reading_times(trial: Trial) -> None:
    """Refuse a horizon or a tau at which too little has happened, or that follow-up hardly reaches."""
    endpoint, treatment = trial.endpoint, trial.treatment
    primary = trial.only(treatment.control, treatment.experimental)
    for name, asked in (("horizon", endpoint.horizon), ("tau", endpoint.tau)):
        events = int((primary.event & (primary.time <= asked * (1 + TIE_TOLERANCE))).sum())
        if events < MINIMUM_EVENTS_BY_THEN:
            message = (
                f"[[endpoints]] {name} = {asked:g} {endpoint.unit}, by when the primary contrast has {events} events: choose a time "
                f"with at least {MINIMUM_EVENTS_BY_THEN}."
            )
            raise AnalysisError(message)
        for arm in (treatment.control, treatment.experimental):
            time = np.sort(trial.only(arm).time)
            # The rounding of a unit's conversion must not take those who were followed just to this time.
            followed = int((time >= asked * (1 - TIE_TOLERANCE)).sum())
            if followed < MINIMUM_AT_RISK:
                message = (
                    f"[[endpoints]] {name} = {asked:g} {endpoint.unit}, to when {followed} of the {len(time):,} patients of the arm "
                    f"'{treatment.label(arm)}' were followed: choose {name} = {_floor(time[-MINIMUM_AT_RISK]):g} or less, where at least "
                    f"{MINIMUM_AT_RISK} were."
                )
                raise AnalysisError(message)


def _floor(value: float) -> float:
    """Return a number with three digits that is not above `value`."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / step + 1e-9) * step:.12g}")

"""The roles of a whole study, guessed from its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.guess_arms import ArmGuesses, Guess, guess_arms, guess_factors, guess_subject
from trialml.data.guess_covariates import CovariateGuesses, guess_covariates, restated
from trialml.data.guess_endpoint import EndpointGuesses, guess_endpoint, guess_reading_time
from trialml.data.profiles import Profile, profile_columns
from trialml.data.roles import Endpoint, Treatment
from trialml.data.table import Table

__all__ = ["Records", "Roles", "guess_roles", "happened", "labels_of", "reading_time", "without_restatements"]


class Records(NamedTuple):
    """What an ADaM folder adds: where the endpoint's records are, and its words."""

    parameter: str
    dataset: str
    label: str
    why: str
    population: Guess
    baseline: Mapping[str, str]
    time_zero: str = ""


@dataclass(frozen=True)
class Roles:
    """Everything that was guessed, by role."""

    subject: Guess
    arms: ArmGuesses
    factors: Mapping[str, str]
    endpoint: EndpointGuesses
    reading: tuple[float | None, str]
    columns: CovariateGuesses
    labels: Mapping[str, str] = field(default_factory=dict)
    records: Records | None = None


def guess_roles(table: Table) -> Roles:
    """Guess the roles of a table's columns from their names, labels and values.

    Parameters
    ----------
    table
        One row a patient.

    Returns
    -------
    Roles
        What could not be guessed is an empty `Guess` that says what is needed.
    """
    profiles = profile_columns(table)
    subject = guess_subject(profiles)
    arms = guess_arms(profiles)
    taken = {subject.value, arms.column.value} - {""}
    factors = guess_factors(profiles, taken)
    taken |= set(factors)
    endpoint = guess_endpoint(profiles, taken)
    taken |= {endpoint.time.value, endpoint.event.value} - {""}
    time = profiles.get(endpoint.time.value)
    numbers = None if time is None else time.numbers
    event = happened(profiles.get(endpoint.event.value), endpoint)
    reading = reading_time(numbers, event, profiles, arms, endpoint.unit.value)
    columns = guess_covariates(
        profiles,
        arm=arms.column.value,
        factors=tuple(factors),
        time=endpoint.time.value,
        taken=taken,
        subjects=table.frame[subject.value] if subject.value else None,
    )
    columns = without_restatements(columns, profiles, arms, endpoint, numbers, event)
    return Roles(subject, arms, factors, endpoint, reading, columns, labels_of(columns, profiles))


def labels_of(columns: CovariateGuesses, profiles: Mapping[str, Profile]) -> dict[str, str]:
    """Return the words of the file for its covariates, each once."""
    given = {guess.name: profiles[guess.name].label[:300] for guess in columns.covariates}
    counts = pd.Series(list(given.values()), dtype=object).value_counts()
    return {name: label for name, label in given.items() if label and counts[label] == 1}


def happened(event: Profile | None, guess: EndpointGuesses) -> NDArray[np.bool_] | None:
    """Return whether the event happened by the guessed codes, None where these are open."""
    if event is None or not guess.event_values:
        return None
    rows = [event.rows_with(level) for level in guess.event_values if level in event.levels]
    return np.asarray(np.any(rows, axis=0)) if rows else None


def reading_time(
    time: NDArray[np.float64] | None,
    event: NDArray[np.bool_] | None,
    profiles: Mapping[str, Profile],
    arms: ArmGuesses,
    unit: str,
) -> tuple[float | None, str]:
    """Guess horizon and tau from the two arms of the primary contrast, or from all where these are open."""
    if time is None:
        return None, "a time to which both arms are followed, with ten events by then"
    arm = np.zeros(len(time), dtype=np.intp)
    if arms.control.value and arms.experimental.value:
        column = profiles[arms.column.value]
        arm = np.where(
            column.rows_with(arms.control.value), 0, np.where(column.rows_with(arms.experimental.value), 1, -1)
        )
    return guess_reading_time(time, event, np.asarray(arm, dtype=np.intp), unit)


def without_restatements(
    columns: CovariateGuesses,
    profiles: Mapping[str, Profile],
    arms: ArmGuesses,
    endpoint: EndpointGuesses,
    time: NDArray[np.float64] | None,
    event: NDArray[np.bool_] | None,
) -> CovariateGuesses:
    """Take out the covariates that a study would refuse, once the roles to compare with are known."""
    if time is None or event is None or not (arms.control.value and arms.experimental.value):
        return columns
    arm = profiles[arms.column.value]
    levels = np.array([*arm.levels, None], dtype=object)
    frame = pd.DataFrame({"arm": levels[arm.codes], "time": time, "event": event})
    for guess in columns.covariates:
        one = profiles[guess.name]
        frame[guess.name] = one.numbers if guess.kind == "numeric" else np.where(one.codes < 0, np.nan, one.codes)
    treatment = Treatment(arms.column.value, arms.control.value, arms.experimental.value, (), {}, 0.5, ())
    made = Endpoint("", "", endpoint.time.value, endpoint.event.value, "days", 1.0, 1.0)
    return restated(frame, columns, made, treatment)

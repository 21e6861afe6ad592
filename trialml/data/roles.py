"""Which column plays which part: the endpoint, the treatment and the covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "CAUSES",
    "Covariate",
    "Direction",
    "Endpoint",
    "EndpointKind",
    "Records",
    "TimeUnit",
    "Treatment",
    "days_per_unit",
]

EndpointKind = Literal["time to event", "binary", "continuous"]
Direction = Literal["event is harm", "event is benefit", "higher is better", "lower is better"]
TimeUnit = Literal["days", "weeks", "months", "years"]
CAUSES = {"death": "Death", "discontinuation": "Discontinuation"}
"""What can end the wait for an adverse event, by the word of the study file; death goes first where both apply."""

_MONTHS_PER_UNIT = {"days": 1 / 30.4375, "weeks": 7 / 30.4375, "months": 1.0, "years": 12.0}
_DAYS_PER_UNIT = {"days": 1.0, "weeks": 7.0, "months": 30.4375, "years": 365.25}


def days_per_unit(unit: str) -> float:
    """Return the days in a unit of time; a month is 30.4375 days."""
    return _DAYS_PER_UNIT[unit]


@dataclass(frozen=True)
class Records:
    """Which records of which ADaM data set make an endpoint.

    Attributes
    ----------
    dataset
        The data set: ``"ADTTE"``, ``"ADAE"``, or a BDS data set.
    parameter
        The PARAMCD; empty for adverse events.
    value
        The column of a binary or continuous value: AVAL, CHG, AVALC, CRIT1FL, ...
    visit
        The AVISIT or AVISITN; empty where the data set has one record a patient and parameter.
    where
        Further conditions, column to code.
    treatment_emergent
        Whether an adverse event has to carry TRTEMFL = Y.
    within
        Adverse events: the window after time zero, in the endpoint's unit; None for all of the follow-up.
    until
        Adverse events: where the time at risk ends.
    days_after_treatment
        Adverse events: days added to the end of treatment.
    competing
        Adverse events: what ends the wait for them, of ``"death"`` and ``"discontinuation"``.
    """

    dataset: str
    parameter: str = ""
    value: str = "AVAL"
    visit: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    treatment_emergent: bool = True
    within: float | None = None
    until: Literal["end of treatment", "end of study"] = "end of treatment"
    days_after_treatment: float = 0.0
    competing: tuple[Literal["death", "discontinuation"], ...] = ("death", "discontinuation")


@dataclass(frozen=True)
class Endpoint:
    """What is measured: a time from randomisation and whether the event happened then, a yes or no, or a number.

    Attributes
    ----------
    name, label
        Short name and the words of the report.
    time, event
        Columns of the data: both for a time to event, `event` alone for a binary endpoint.
    unit
        The unit of the time, or of the value of a continuous endpoint.
    horizon
        Where a risk is read.
    tau
        The restriction of the restricted mean.
    event_values, censored_values
        Codes of the event column where they are not 0/1 or boolean.
    kind
        ``"time to event"``, ``"binary"`` or ``"continuous"``.
    value
        Column of a continuous endpoint's value.
    cause
        Column of the cause: 0 censored, 1 the event, 2 and on the `competing` ones; empty where none compete.
    competing
        What the causes from 2 on are, in words.
    records
        Where an ADaM folder holds the endpoint; None for one table.
    direction
        Which way is better for the patient; empty where the study file does not say.
    """

    name: str
    label: str
    time: str
    event: str
    unit: str
    horizon: float
    tau: float
    event_values: tuple[str, ...] = ()
    censored_values: tuple[str, ...] = ()
    kind: EndpointKind = "time to event"
    value: str = ""
    cause: str = ""
    competing: tuple[str, ...] = ()
    records: Records | None = None
    direction: Direction | Literal[""] = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger mean, or a larger share with the event, is better for the patient."""
        return self.direction in ("higher is better", "event is benefit")

    @property
    def months_per_unit(self) -> float:
        """Months in one unit of time; a month is 30.4375 days."""
        return _MONTHS_PER_UNIT[self.unit]

    def columns(self) -> dict[str, str]:
        """Return the columns that the endpoint needs, by the key of the study file."""
        needed = {
            "time to event": {"time": self.time, "event": self.event, "cause": self.cause},
            "binary": {"event": self.event},
            "continuous": {"value": self.value},
        }[self.kind]
        return {key: column for key, column in needed.items() if column}


@dataclass(frozen=True)
class Treatment:
    """How patients were randomised.

    Attributes
    ----------
    column
        The column of the arm.
    control, experimental
        The codes of the primary contrast.
    secondary
        Codes of other arms, each compared with the control as a secondary contrast.
    labels
        Words by code.
    allocation
        Probability of the experimental arm in the primary contrast.
    stratification
        Columns that randomisation was stratified by.
    """

    column: str
    control: str
    experimental: str
    secondary: tuple[str, ...]
    labels: Mapping[str, str]
    allocation: float
    stratification: tuple[str, ...]

    def label(self, arm: str) -> str:
        """Return the words for an arm's code."""
        return self.labels.get(arm, arm)


@dataclass(frozen=True)
class Covariate:
    """A baseline covariate: its column, its type and its words.

    Attributes
    ----------
    name, kind, label
        As in the study file.
    shown
        Levels that results may name although fewer than 11 patients have them.
    of_visits
        Whether it was made of visits up to time zero, so that it cannot be later.
    """

    name: str
    kind: Literal["numeric", "binary", "categorical"]
    label: str
    shown: tuple[str, ...] = ()
    of_visits: bool = False

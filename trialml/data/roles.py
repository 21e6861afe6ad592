"""Which column plays which part: the endpoint, the treatment and the covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Covariate", "Endpoint", "Treatment"]


@dataclass(frozen=True)
class Endpoint:
    """What is measured: a time from randomisation and whether the event happened then.

    Attributes
    ----------
    name, label
        Short name and the words of the report.
    time, event
        Columns of the data.
    unit
        The unit of the time.
    horizon
        Where a risk is read.
    tau
        The restriction of the restricted mean.
    event_values, censored_values
        Codes of the event column where they are not 0/1 or boolean.
    """

    name: str
    label: str
    time: str
    event: str
    unit: Literal["days", "weeks", "months", "years"]
    horizon: float
    tau: float
    event_values: tuple[str, ...] = ()
    censored_values: tuple[str, ...] = ()

    @property
    def months_per_unit(self) -> float:
        """Months in one unit of time; a month is 30.4375 days."""
        return {"days": 1 / 30.4375, "weeks": 7 / 30.4375, "months": 1.0, "years": 12.0}[self.unit]


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
    """A baseline covariate: its column, its type and its words."""

    name: str
    kind: Literal["numeric", "binary", "categorical"]
    label: str

"""The tables of `study.toml`, each a frozen object; `config.py` joins them and reads the file."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator

from trialml.data.columns import as_code
from trialml.data.roles import Direction
from trialml.data.visits import Summary
from trialml.explain.explained_score import Perturbation
from trialml.strata.strata import StrataKind

__all__ = [
    "DIRECTIONS",
    "CovariateTable",
    "DataTable",
    "EffectsTable",
    "EndpointTable",
    "EstimandTable",
    "ExplainTable",
    "FileTable",
    "HarmTable",
    "ModelsTable",
    "ReportTable",
    "StrataTable",
    "StudyTable",
    "TrackingTable",
    "TreatmentTable",
    "VisitTable",
]


def _as_code(value: object) -> object:
    """Codes are compared as text, so that 0 and "0" are one arm."""
    return as_code(value) if isinstance(value, int | float | str) else value


def _as_codes(value: object) -> object:
    return {str(_as_code(key)): words for key, words in value.items()} if isinstance(value, dict) else value


Code = Annotated[str, BeforeValidator(_as_code), Field(min_length=1)]
Column = Annotated[str, Field(min_length=1)]
Words = Annotated[str, Field(min_length=1, max_length=300)]
Whole = Annotated[int, Strict()]
Real = Annotated[float, Strict(), Field(allow_inf_nan=False)]


DIRECTIONS: dict[str, tuple[Direction, ...]] = {
    "time to event": ("event is harm",),
    "binary": ("event is harm", "event is benefit"),
    "continuous": ("higher is better", "lower is better"),
}
"""Which way can be better for the patient, by kind of endpoint."""


class FileTable(BaseModel):
    """A table of the study file: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, str_strip_whitespace=True)


class StudyTable(FileTable):
    """`[study]`: what the study is called, and the seed of everything random."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]
    title: Words
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 1


class EstimandTable(FileTable):
    """`[estimand]`: the five attributes of ICH E9(R1), in words."""

    population: str
    treatment: str
    variable: str
    intercurrent_events: str
    summary: str


class VisitTable(FileTable):
    """`[[data.visits]]`: a long table, and what its rows by time zero say of each patient."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,59}$")]
    source: Annotated[str, Field(min_length=1)]
    subject: Column
    value: Column
    summaries: Annotated[tuple[Summary, ...], Field(min_length=1)]
    time: Column | None = None
    date: Column | None = None
    time_zero: Column | None = None
    visit: Column | None = None
    baseline_visits: tuple[Code, ...] = ()
    where: Annotated[dict[str, Code], Field(max_length=1)] = {}
    unit: Literal["days", "weeks", "months", "years"] = "days"
    include_zero: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        here = f"[[data.visits]] '{self.name}'"
        given = [key for key in ("time", "date", "visit") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"{here} gives {' and '.join(given) or 'no time'}: give one of time, date and visit")
        if (self.date is None) != (self.time_zero is None):
            raise ValueError(f"{here} needs both date and time_zero (the date of time zero), or neither: give both")
        if (self.visit is None) == bool(self.baseline_visits):
            raise ValueError(f"{here} needs both visit and baseline_visits (in their order), or neither: give both")
        if self.visit is not None and "since_last" in self.summaries:
            raise ValueError(f"{here} asks for since_last, which needs a time or a date: take it out of summaries")
        for key in ("summaries", "baseline_visits"):
            items = getattr(self, key)
            for item in items:
                if items.count(item) > 1:
                    raise ValueError(f"{here} {key} lists '{item}' twice: keep it once")
        return self


class DataTable(FileTable):
    """`[data]`: where the data are, who is who, and what was measured after randomisation."""

    source: Annotated[str, Field(min_length=1)]
    subject: Column
    site: Column | None = None
    population: Column | None = None
    population_value: Code = "Y"
    post_baseline: tuple[Column, ...] = ()
    randomised: Annotated[Whole, Field(gt=0)] | None = None
    time_zero: Column | None = None
    partial_dates: Literal["refuse", "first", "middle", "last"] = "refuse"
    encoding: Annotated[str, Field(min_length=1)] | None = None
    decimal: Literal[".", ","] | None = None
    visits: tuple[VisitTable, ...] = ()


class TreatmentTable(FileTable):
    """`[treatment]`: the arms, the allocation and the stratification factors."""

    column: Column
    control: Code
    experimental: Code
    secondary: tuple[Code, ...] = ()
    labels: Annotated[dict[str, Words], BeforeValidator(_as_codes)] = {}
    allocation: Annotated[Real, Field(gt=0, lt=1)] = 0.5
    stratification: tuple[Column, ...] = ()


class EndpointTable(FileTable):
    """`[[endpoints]]`: the primary endpoint; the time unit stands beside the time."""

    name: Words
    label: Words
    kind: Literal["time to event", "binary", "continuous"]
    time: Column | None = None
    date: Column | None = None
    event: Column | None = None
    event_values: tuple[Code, ...] = ()
    censored_values: tuple[Code, ...] = ()
    competing_values: dict[str, Annotated[tuple[Code, ...], Field(min_length=1)]] = {}
    value: Column | None = None
    dataset: Column | None = None
    parameter: Column | None = None
    visit: Code | None = None
    where: Annotated[dict[str, Code], BeforeValidator(_as_codes)] = {}
    treatment_emergent: bool = True
    within: Annotated[Real, Field(gt=0)] | None = None
    at_risk_until: Literal["end of treatment", "end of study"] = "end of treatment"
    days_after_treatment: Annotated[Real, Field(ge=0)] = 0.0
    competing: tuple[Literal["death", "discontinuation"], ...] = ("death", "discontinuation")
    unit: Words | None = None
    direction: Direction | None = None
    horizon: Annotated[Real, Field(gt=0)] | None = None
    tau: Annotated[Real, Field(gt=0)] | None = None

    @property
    def of_adverse_events(self) -> bool:
        """Whether the endpoint is made of the adverse events of an ADaM folder."""
        return self.dataset is not None and self.dataset.upper() == "ADAE"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Refuse an endpoint that lacks what its kind needs."""
        from_folder = self.parameter is not None or self.of_adverse_events
        needed = {
            "time to event": ("unit", "horizon", "tau", *(() if from_folder else ("event",))),
            "binary": () if from_folder else ("event",),
            "continuous": () if from_folder else ("value",),
        }[self.kind]
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"[endpoints] '{key}' is missing: add it")
        if self.kind == "time to event" and not from_folder and (self.time is None) == (self.date is None):
            both = self.time is not None
            raise ValueError(
                "[endpoints] has both time and date: keep one" if both else "[endpoints] 'time' is missing: add it"
            )
        if self.kind == "time to event" and self.unit not in ("days", "weeks", "months", "years"):
            raise ValueError(
                f"[endpoints] unit = '{self.unit}' will not do: input should be 'days', 'weeks', 'months' or 'years'"
            )
        suited = DIRECTIONS[self.kind]
        if self.direction is not None and self.direction not in suited:
            raise ValueError(
                f"[endpoints] direction = '{self.direction}' does not suit a {self.kind} endpoint: write "
                + " or ".join(f"'{one}'" for one in suited)
            )
        if self.kind == "binary" and not from_folder and (self.time is not None or self.within is not None):
            raise ValueError(
                "[endpoints] kind = 'binary' is a yes or no that is known of everybody: run an event within a window as kind = 'time to "
                "event' with horizon = the window, which makes up for patients censored before its end; or take time and within out"
            )
        if self.of_adverse_events and self.kind == "continuous":
            raise ValueError("[endpoints] kind = 'continuous' cannot be made of adverse events: give another kind")
        if from_folder and self.kind != "time to event" and not self.of_adverse_events and self.dataset is None:
            raise ValueError("[endpoints] 'dataset' is missing: name the data set that holds the parameter")
        return self

    def columns(self) -> dict[str, str]:
        """Columns of the data that the endpoint's kind reads, by key."""
        used = {
            "time to event": ("date" if self.time is None else "time", "event"),
            "binary": ("event",),
            "continuous": ("value",),
        }[self.kind]
        if self.parameter is not None or self.of_adverse_events:
            return {}
        return {key: getattr(self, key) for key in used}


class HarmTable(FileTable):
    """`[harm]`: the adverse reaction of an ADaM folder that stands against the benefit; its first record in ADAE is the event."""

    name: Words
    label: Words
    where: Annotated[dict[str, Code], BeforeValidator(_as_codes)] = {}
    treatment_emergent: bool = True
    at_risk_until: Literal["end of treatment", "end of study"] = "end of treatment"
    days_after_treatment: Annotated[Real, Field(ge=0)] = 0.0
    competing: tuple[Literal["death", "discontinuation"], ...] = ("death", "discontinuation")
    unit: Literal["days", "weeks", "months", "years"]
    horizon: Annotated[Real, Field(gt=0)]

    def as_endpoint(self) -> EndpointTable:
        """Return the same as an endpoint of adverse events."""
        return EndpointTable(kind="time to event", dataset="ADAE", tau=self.horizon, **self.model_dump())


class CovariateTable(FileTable):
    """`[covariates]`: the whitelist; nothing else is ever a covariate."""

    numeric: tuple[Column, ...] = ()
    binary: tuple[Column, ...] = ()
    categorical: tuple[Column, ...] = ()
    labels: dict[str, Words] = {}
    levels: dict[str, Annotated[tuple[Code, ...], Field(min_length=1)]] = {}

    def names(self) -> tuple[str, ...]:
        """Every covariate once, in the order of the study file."""
        return (*self.numeric, *self.binary, *self.categorical)


class EffectsTable(FileTable):
    """`[effects]`: what is looked at beside the average effect; subgroups and cut-points are pre-specified."""

    adjusted_logrank: Annotated[bool, Strict()] = True
    adjust_for: tuple[Column, ...] = ()
    subgroups: tuple[Column, ...] = ()
    cut_points: dict[str, Annotated[tuple[Real, ...], Field(min_length=1, max_length=9)]] = {}
    labels: dict[str, Words] = {}
    levels: dict[str, Annotated[dict[str, Words], BeforeValidator(_as_codes)]] = {}
    shrinkage_scale: Annotated[Real, Field(gt=0, le=10)] = 0.25
    tipping_point_imputations: Annotated[Whole, Field(ge=0, le=1000)] = 20

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.tipping_point_imputations == 1:
            raise ValueError("[effects] tipping_point_imputations = 1, but it must be 0 (none) or at least 2: give 20")
        for name, cuts in self.cut_points.items():
            if any(later <= earlier for earlier, later in itertools.pairwise(cuts)):
                shown = ", ".join(f"{cut:g}" for cut in cuts)
                raise ValueError(
                    f"[effects.cut_points] {name} = {shown} does not rise: give the cut-points in ascending order"
                )
        return self


class RiskTable(FileTable):
    """`[models.risk]`: who will do badly."""

    model: str = "cox_ridge"
    candidates: tuple[str, ...] = ()
    treatment: Literal["covariate", "blinded", "control arm"] = "covariate"
    folds: Annotated[Whole, Field(ge=2, le=20)] = 5
    repeats: Annotated[Whole, Field(ge=1, le=100)] = 10
    bootstrap: Annotated[Whole, Field(ge=0, le=10_000)] = 200
    thresholds: Annotated[tuple[Annotated[Real, Field(gt=0, lt=1)], ...], Field(max_length=99)] = ()
    groups: tuple[Column, ...] = ()

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(later <= earlier for earlier, later in itertools.pairwise(self.thresholds)):
            shown = ", ".join(f"{one:g}" for one in self.thresholds)
            raise ValueError(f"[models.risk] thresholds = {shown} do not ascend: put them in order, each once")
        for name in self.candidates:
            if self.candidates.count(name) > 1:
                raise ValueError(f"[models.risk] candidates lists '{name}' twice: keep it once")
        if 0 < self.bootstrap < 20:
            raise ValueError(
                f"[models.risk] bootstrap = {self.bootstrap}, but it must be 0 (none) or at least 20: give 200 or more"
            )
        return self


class ResponseTable(FileTable):
    """`[models.response]`: who will benefit."""

    model: str = "ridge_scores"
    folds: Annotated[Whole, Field(ge=2, le=20)] = 5
    repeats: Annotated[Whole, Field(ge=6, le=100)] = 10
    permutations: Annotated[Whole, Field(ge=199, le=100_000)] = 1999
    gate: Annotated[Real, Field(gt=0, lt=1)] | None = None


class ModelsTable(FileTable):
    """`[models]`: one table for each question."""

    risk: RiskTable = RiskTable()
    response: ResponseTable = ResponseTable()


class StrataTable(FileTable):
    """`[strata]`: what groups of patients are made by, how many, and how small."""

    kind: StrataKind = "benefit"
    groups: Annotated[Whole, Field(ge=2, le=5)] = 3
    risk_groups: Annotated[Whole, Field(ge=2, le=3)] = 2
    depth: Annotated[Whole, Field(ge=1, le=3)] = 2
    margin: Real = 0.0
    leaf_patients: Annotated[Whole, Field(ge=11, le=10_000)] = 20
    leaf_events: Annotated[Whole, Field(ge=0, le=10_000)] = 10
    bootstrap: Annotated[Whole, Field(ge=0, le=10_000)] = 0
    search: Annotated[bool, Strict()] = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "policy tree" and self.depth > 2:
            raise ValueError("[strata] depth = 3 is not searched exhaustively for a policy tree: give 1 or 2")
        if self.kind == "risk by benefit" and self.groups > 3:
            raise ValueError(f"[strata] groups = {self.groups} of benefit make too many cells of a grid: give 2 or 3")
        if 0 < self.bootstrap < 20:
            raise ValueError(
                f"[strata] bootstrap = {self.bootstrap}, but it must be 0 (none) or at least 20: give 200 or more"
            )
        return self


class ExplainTable(FileTable):
    """`[explain]`: against whom models are explained, how, and what stands in for them on paper."""

    background: Literal["both arms", "control arm", "experimental arm"] = "both arms"
    background_patients: Annotated[Whole, Field(ge=11, le=1000)] = 50
    perturbation: Perturbation = "interventional"
    patients: Annotated[Whole, Field(ge=55, le=10_000)] = 100
    surrogate: Literal["tree", "points", "none"] = "tree"


class ReportTable(FileTable):
    """`[report]`: what the report's reader should know besides."""

    notes: tuple[str, ...] = ()


class TrackingTable(FileTable):
    """`[tracking]`: where runs go; the command line has the last word."""

    uri: str | None = None

    @model_validator(mode="after")
    def _no_login(self) -> Self:
        if self.uri is not None and re.search(r"//[^/@\s]*@", self.uri):
            raise ValueError(
                "[tracking] uri carries a login, and the study file is kept beside every report: take it out and give the "
                "address with --tracking-uri or MLFLOW_TRACKING_URI"
            )
        return self

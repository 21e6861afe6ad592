"""`study.toml`, read into frozen objects; a key that is not known is an error that names the nearest."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from trialml.data.roles import Covariate, Endpoint, Records, Treatment
from trialml.data.starter_text import FILL_IN, unfilled
from trialml.data.visit_tables import Visits
from trialml.design_tables import DesignTable
from trialml.errors import StudyFileError, nearest
from trialml.models import EndpointKind as ModelKind
from trialml.study_checks import refuse_contradictions
from trialml.study_tables import (
    CovariateTable,
    DataTable,
    EffectsTable,
    EndpointTable,
    EstimandTable,
    ExplainTable,
    FileTable,
    HarmTable,
    ModelsTable,
    ReportTable,
    StrataTable,
    StudyTable,
    TrackingTable,
    TreatmentTable,
)

__all__ = ["DEFAULT_RISK_MODEL", "NOT_KEYS", "Study", "in_plain_words", "read_design", "read_study"]

NOT_KEYS = ("path", "content")
"""What a study knows of its file, beside the tables in it."""

DEFAULT_RISK_MODEL: dict[ModelKind, str] = {
    "time to event": "cox_ridge",
    "competing risks": "cause_specific_cox",
    "binary": "logistic_ridge",
    "continuous": "linear_ridge",
}
"""The risk model of a study file that names none: of each kind the penalised model on a linear predictor."""


class Study(FileTable):
    """A whole study file, checked for contradictions within itself.

    The attributes are the tables of the file. `path` is where it was read from and `content` the bytes as they were then, so that
    what is kept beside the report is the file that made it.
    """

    study: StudyTable
    estimand: EstimandTable
    data: DataTable
    treatment: TreatmentTable
    endpoints: Annotated[tuple[EndpointTable, ...], Field(min_length=1, max_length=1)]
    covariates: CovariateTable
    harm: HarmTable | None = None
    effects: EffectsTable = EffectsTable()
    models: ModelsTable = ModelsTable()
    explain: ExplainTable = ExplainTable()
    strata: StrataTable = StrataTable()
    design: DesignTable = DesignTable()
    report: ReportTable = ReportTable()
    tracking: TrackingTable = TrackingTable()
    path: Path = Path()
    content: bytes = b""

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        refuse_contradictions(self)
        return self

    @property
    def endpoint(self) -> Endpoint:
        """The primary endpoint as the data room knows it."""
        return _endpoint(self.endpoints[0], self.data)

    @property
    def harm_endpoint(self) -> Endpoint | None:
        """The adverse reaction as the data room knows it, where the file asks for one."""
        return None if self.harm is None else _endpoint(self.harm.as_endpoint(), self.data)

    @property
    def risk_kind(self) -> ModelKind:
        """What kind of endpoint the risk model is of: a time to event among competing ones is a kind of its own."""
        table = self.endpoints[0]
        among = bool(table.competing_values) or (table.of_adverse_events and bool(table.competing))
        return "competing risks" if table.kind == "time to event" and among else table.kind

    @property
    def risk_model(self) -> str:
        """The risk model asked for; where the file names none, the default of its kind of endpoint."""
        asked = self.models.risk
        return asked.model if "model" in asked.model_fields_set else DEFAULT_RISK_MODEL[self.risk_kind]

    @property
    def arms(self) -> Treatment:
        """The treatment as the data room knows it."""
        return Treatment(**self.treatment.model_dump())

    @property
    def covariate_list(self) -> tuple[Covariate, ...]:
        """The covariates as the data room knows them."""
        labels, declared, worded = self.covariates.labels, self.covariates.levels, self.effects.levels
        made = {column for one in self.visits for column in one.columns}
        return tuple(
            Covariate(
                name, kind, labels.get(name, name), (*declared.get(name, ()), *worded.get(name, ())), name in made
            )
            for kind in ("numeric", "binary", "categorical")
            for name in getattr(self.covariates, kind)
        )

    @property
    def visits(self) -> tuple[Visits, ...]:
        """The long tables as the data room knows them."""
        tables = [one.model_dump() for one in self.data.visits]
        return tuple(Visits(**{**one, "where": next(iter(one["where"].items()), None)}) for one in tables)

    def defaults(self) -> tuple[tuple[str, str], ...]:
        """Every default that was used, as (key, value) in the order of the file."""
        used = {"models.risk.model": self.risk_model, "endpoints.direction": self.endpoint.direction or "not given"}
        return tuple((key, used.get(key, words)) for key, words in _defaults_of(self, ""))


def _endpoint(table: EndpointTable, data: DataTable) -> Endpoint:
    return Endpoint(
        table.name,
        table.label,
        table.time or ("" if table.date is None else f"{table.date} from {data.time_zero}"),
        table.event or "",
        table.unit or "",
        math.nan if table.horizon is None else table.horizon,
        math.nan if table.tau is None else table.tau,
        table.event_values,
        table.censored_values,
        table.kind,
        table.value or "",
        records=_records(table),
        direction=table.direction or ("event is harm" if table.kind == "time to event" else ""),
    )


def _records(table: EndpointTable) -> Records | None:
    if table.parameter is None and not table.of_adverse_events:
        return None
    return Records(
        (table.dataset or "ADTTE").upper(),
        table.parameter or "",
        table.value or "AVAL",
        table.visit or "",
        table.where,
        table.treatment_emergent,
        table.within,
        table.at_risk_until,
        table.days_after_treatment,
        table.competing,
    )


def _defaults_of(table: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for field, found in type(table).model_fields.items():
        value, name = getattr(table, field), found.alias or field
        if isinstance(value, BaseModel):
            yield from _defaults_of(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for item in value:
                yield from _defaults_of(item, f"{prefix}{name}.")
        elif field not in table.model_fields_set and name not in NOT_KEYS:
            yield f"{prefix}{name}", _words(value)


def _words(value: object) -> str:
    if value is None:
        return "not given"
    if isinstance(value, tuple | dict):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


def read_study(path: Path) -> Study:
    """Read and check a study file.

    Parameters
    ----------
    path
        The TOML file.

    Returns
    -------
    Study
        Frozen.

    Raises
    ------
    StudyFileError
        If the file is absent, not TOML, has an unknown key, lacks one, or contradicts itself.
    """
    content, tables = _read_tables(path)
    left = unfilled(tables)
    if left:
        more = f" ({len(left) - 1} more to fill in: {', '.join(left[1:])})" if len(left) > 1 else ""
        raise StudyFileError(f"{path.name}: {left[0]} still says '{FILL_IN}': write what belongs there{more}.")
    for name in NOT_KEYS:
        if name in tables:
            known = [key for key in Study.model_fields if key not in NOT_KEYS]
            raise StudyFileError(f"{path.name}: '{name}' is not a key; {nearest(name, known)}.")
    try:
        return Study.model_validate({**tables, "path": path, "content": content})
    except ValidationError as error:
        raise StudyFileError(f"{path.name}: {_first_sentence(error, Study)}") from error


def read_design(path: Path) -> DesignTable:
    """Read and check the `[design]` table of a study file, whatever else the file holds or lacks.

    Parameters
    ----------
    path
        The TOML file.

    Returns
    -------
    DesignTable
        Frozen; its designs are `DesignTable.requests`.

    Raises
    ------
    StudyFileError
        If the file is absent, not TOML, or the table has an unknown key or contradicts itself.
    """
    _, tables = _read_tables(path)
    try:
        return DesignFile.model_validate({"design": tables.get("design", {})}).design
    except ValidationError as error:
        raise StudyFileError(f"{path.name}: {_first_sentence(error, DesignFile)}") from error


class DesignFile(FileTable):
    """A study file of which the design alone is read."""

    design: DesignTable


def _read_tables(path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise StudyFileError(f"The study file '{path}' cannot be read ({error.strerror}): check the path.") from error
    except UnicodeDecodeError as error:
        raise StudyFileError(f"The study file '{path}' is not UTF-8 text: save it as UTF-8.") from error
    try:
        return content, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyFileError(f"The study file '{path}' is not valid TOML: {error}.") from error


def _first_sentence(error: ValidationError, root: type[FileTable]) -> str:
    """One sentence for the first thing wrong; unknown keys come first, since they explain missing ones."""
    found = error.errors()
    # A list whose only item is at fault is counted as empty too.
    inner = [problem["loc"] for problem in found]
    own = [one for one in found if not any(loc[: len(one["loc"])] == one["loc"] != loc for loc in inner)]
    problems = sorted(own, key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"][:-1] if not isinstance(part, int))
    key = str(first["loc"][-1]) if first["loc"] else ""
    table = f"[{place}] " if place else ""
    more = f" ({len(problems) - 1} more to mend)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{table}'{key}' is not a key; {nearest(key, _known_keys(root, first['loc'][:-1]))}{more}."
    if first["type"] == "missing":
        return f"{table}'{key}' is missing: add it{more}."
    if first["type"] == "value_error":
        return f"{first['ctx']['error']!s}{more}."
    seen = repr(first["input"])
    seen = seen if len(seen) <= 60 else seen[:57] + "..."
    return f"{table}{key} = {seen} will not do: {in_plain_words(first['msg'])}{more}."


def in_plain_words(message: str) -> str:
    """Return what is asked for in words of a study file instead of Python's."""
    words = {"valid tuple": "list", "tuple": "list", "valid dictionary": "table of keys", " after validation": ""}
    message = message[0].lower() + message[1:]
    for python, toml in words.items():
        message = message.replace(python, toml)
    return message


def _known_keys(root: type[FileTable], place: tuple[int | str, ...]) -> list[str]:
    table: Any = root
    for part in place:
        if isinstance(part, str):
            annotation = table.model_fields[part].annotation
            listed = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
            table = EndpointTable if part == "endpoints" else listed[0] if listed else annotation
    return [found.alias or name for name, found in table.model_fields.items() if name not in NOT_KEYS]

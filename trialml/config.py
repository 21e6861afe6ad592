"""`study.toml`, read into frozen objects; a key that is not known is an error that names the nearest."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from trialml.data.roles import Covariate, Endpoint, Records, Treatment
from trialml.data.starter_text import FILL_IN, unfilled
from trialml.data.visit_tables import Visits
from trialml.errors import StudyFileError, nearest
from trialml.study_tables import (
    CovariateTable,
    DataTable,
    DesignTable,
    EffectsTable,
    EndpointTable,
    EstimandTable,
    FileTable,
    ModelsTable,
    ReportTable,
    StrataTable,
    StudyTable,
    TrackingTable,
    TreatmentTable,
)

__all__ = ["Study", "read_study"]


_KEPT = frozenset({"arm", "time", "event", "cause", "value", "factor", "treated", "stratum", "enrolling_site"})
"""Columns that an analysis adds beside the covariates."""


class Study(FileTable):
    """A whole study file, checked for contradictions within itself.

    The attributes are the tables of the file. `path` is where it was read from.
    """

    study: StudyTable
    estimand: EstimandTable
    data: DataTable
    treatment: TreatmentTable
    endpoints: Annotated[tuple[EndpointTable, ...], Field(min_length=1, max_length=1)]
    covariates: CovariateTable
    effects: EffectsTable = EffectsTable()
    models: ModelsTable = ModelsTable()
    strata: StrataTable = StrataTable()
    design: DesignTable = DesignTable()
    report: ReportTable = ReportTable()
    tracking: TrackingTable = TrackingTable()
    path: Path = Path()

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        _check_arms(self.treatment)
        _check_roles(self)
        _check_covariates(self)
        _check_visits(self)
        _check_effects(self)
        _check_event_codes(self.endpoints[0])
        _check_dates(self)
        _check_population(self)
        return self

    @property
    def endpoint(self) -> Endpoint:
        """The primary endpoint as the data room knows it."""
        table = self.endpoints[0]
        return Endpoint(
            table.name,
            table.label,
            table.time or ("" if table.date is None else f"{table.date} from {self.data.time_zero}"),
            table.event or "",
            table.unit or "",
            math.nan if table.horizon is None else table.horizon,
            math.nan if table.tau is None else table.tau,
            table.event_values,
            table.censored_values,
            table.kind,
            table.value or "",
            records=_records(table),
        )

    @property
    def arms(self) -> Treatment:
        """The treatment as the data room knows it."""
        return Treatment(**self.treatment.model_dump())

    @property
    def covariate_list(self) -> tuple[Covariate, ...]:
        """The covariates as the data room knows them."""
        labels = self.covariates.labels
        return tuple(
            Covariate(name, kind, labels.get(name, name))
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
        return tuple(_defaults_of(self, ""))


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


def _check_arms(treatment: TreatmentTable) -> None:
    arms = [treatment.control, treatment.experimental, *treatment.secondary]
    for arm in arms:
        if arms.count(arm) > 1:
            raise ValueError(
                f"[treatment] names the arm '{arm}' twice: control, experimental and secondary must differ"
            )
    for code in treatment.labels:
        if code not in arms:
            raise ValueError(
                f"[treatment.labels] names the arm '{code}', which is no arm of [treatment]: {nearest(code, arms)}"
            )

    words = [treatment.labels.get(arm, arm) for arm in arms]
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"[treatment.labels] calls two arms '{word}': give each arm words of its own")


def _check_roles(study: Study) -> None:
    """Refuse a column that would have to be two things at once."""
    endpoint, factors = study.endpoints[0], study.treatment.stratification
    roles = {"[data] subject": study.data.subject, "[treatment] column": study.treatment.column}
    roles |= {f"[[endpoints]] {key}": column for key, column in endpoint.columns().items()}
    roles |= {f"[treatment] stratification #{place}": factor for place, factor in enumerate(factors, 1)}
    for (first, column), (second, other) in itertools.combinations(roles.items(), 2):
        if column == other:
            raise ValueError(f"{first} and {second} are both '{column}': one column cannot play both parts")
    site = study.data.site
    if site is not None and site in roles.values() and site not in factors:
        raise ValueError(
            f"[data] site is '{site}', which is another role's column: name the column of the enrolling site"
        )
    for factor in factors:
        if factor in study.data.post_baseline:
            raise ValueError(
                f"[treatment] stratification lists '{factor}', which [data] post_baseline says was measured later: decide"
            )


def _check_covariates(study: Study) -> None:
    names = study.covariates.names()
    if not names:
        raise ValueError("[covariates] lists nothing: name at least one baseline covariate")
    endpoint = study.endpoints[0]
    refused = dict.fromkeys(study.data.post_baseline, "was measured after randomisation ([data] post_baseline)")
    refused |= {
        study.data.subject: "identifies the subject",
        study.treatment.column: "is the arm",
    }
    refused |= {column: f"is the endpoint's {key}" for key, column in endpoint.columns().items()}
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"[covariates] lists '{name}' twice: keep it once")
        if name in refused:
            raise ValueError(f"[covariates] lists '{name}', which {refused[name]}: take it out")
        if name in _KEPT or name.endswith("__missing"):
            raise ValueError(f"[covariates] lists '{name}', a name that trialml keeps for itself: rename the column")
    for name in study.covariates.labels:
        if name not in names:
            raise ValueError(f"[covariates.labels] names '{name}', which is no covariate: {nearest(name, names)}")

    words = [study.covariates.labels.get(name, name) for name in names]
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"[covariates.labels] calls two covariates '{word}': give each words of its own")


def _check_visits(study: Study) -> None:
    """Refuse a column made of visits that the whitelist does not name."""
    made = [column for one in study.visits for column in one.columns]
    for column in made:
        if made.count(column) > 1:
            raise ValueError(f"[[data.visits]] makes the column '{column}' twice: give each table a name of its own")
        if column not in study.covariates.numeric:
            raise ValueError(
                f"[[data.visits]] makes '{column}', which [covariates] numeric does not list: list it, or take it out of "
                "summaries"
            )


def _check_effects(study: Study) -> None:
    """Refuse a subgroup factor that is no baseline covariate, and cut-points that no factor needs."""
    asked, covariates = study.effects, study.covariates
    known = (*covariates.names(), *study.treatment.stratification)
    for name in asked.subgroups:
        if asked.subgroups.count(name) > 1:
            raise ValueError(f"[effects] subgroups lists '{name}' twice: keep it once")
        if name not in known:
            raise ValueError(
                f"[effects] subgroups lists '{name}', which is neither a covariate nor a stratification factor: {nearest(name, known)}"
            )
        if name in covariates.numeric and name not in asked.cut_points:
            raise ValueError(
                f"[effects] subgroups lists the numeric covariate '{name}' without cut-points: give them in [effects.cut_points], chosen "
                "before the data were seen"
            )
    for name in asked.cut_points:
        if name not in asked.subgroups or name not in covariates.numeric:
            raise ValueError(
                f"[effects.cut_points] names '{name}', which is no numeric covariate of [effects] subgroups: take it out"
            )
    _check_effect_words(study)


def _check_effect_words(study: Study) -> None:
    """Refuse words for what is no subgroup factor, and one word for two things."""
    asked, covariates = study.effects, study.covariates
    for table, names in (("labels", asked.labels), ("levels", asked.levels)):
        for name in names:
            if name not in asked.subgroups:
                raise ValueError(
                    f"[effects.{table}] names '{name}', which [effects] subgroups does not list: take it out"
                )
    words = [asked.labels.get(name, covariates.labels.get(name, name)) for name in asked.subgroups]
    for place, of_one in (
        ("labels", words),
        *((f"levels.{name}", [*of.values()]) for name, of in asked.levels.items()),
    ):
        for word in of_one:
            if of_one.count(word) > 1 or (place == "labels" and word == "Overall"):
                raise ValueError(f"[effects.{place}] uses '{word}' for two things: give each words of its own")


def _check_event_codes(endpoint: EndpointTable) -> None:
    if bool(endpoint.event_values) != bool(endpoint.censored_values):
        raise ValueError("[[endpoints]] needs both event_values and censored_values, or neither: list the missing one")
    if endpoint.event is not None and endpoint.event.upper() == "CNSR" and not endpoint.event_values:
        raise ValueError(
            f"[[endpoints]] event = '{endpoint.event}' is ADaM's censoring flag, in which 0 means that the event happened: add "
            "event_values = [0] and censored_values = [1]"
        )
    both = set(endpoint.event_values) & set(endpoint.censored_values)
    if both:
        raise ValueError(f"[[endpoints]] calls the code '{min(both)}' both event and censored: decide on one")


def _check_population(study: Study) -> None:
    taken = {study.data.subject: "identifies the subject", study.treatment.column: "is the arm"}
    taken |= {column: f"is the endpoint's {key}" for key, column in study.endpoints[0].columns().items()}
    if study.data.population in taken:
        raise ValueError(
            f"[data] population = '{study.data.population}', which {taken[study.data.population]}: name a flag"
        )


def _check_dates(study: Study) -> None:
    """Refuse a date without the date that it counts from, and a time zero that nothing counts from."""
    endpoint, zero = study.endpoints[0], study.data.time_zero
    if endpoint.date is not None and zero is None:
        raise ValueError(
            f"[[endpoints]] date = '{endpoint.date}' needs [data] time_zero, the date that time counts from: add it"
        )
    if zero is not None and endpoint.time is not None:
        raise ValueError(
            f"[data] time_zero = '{zero}' is a date, but [[endpoints]] time = '{endpoint.time}' counts already: keep one"
        )


def _defaults_of(table: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, BaseModel):
            yield from _defaults_of(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for item in value:
                yield from _defaults_of(item, f"{prefix}{name}.")
        elif name not in table.model_fields_set and name != "path":
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
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise StudyFileError(f"The study file '{path}' cannot be read ({error.strerror}): check the path.") from error
    except UnicodeDecodeError as error:
        raise StudyFileError(f"The study file '{path}' is not UTF-8 text: save it as UTF-8.") from error
    try:
        tables = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise StudyFileError(f"The study file '{path}' is not valid TOML: {error}.") from error
    left = unfilled(tables)
    if left:
        more = f" ({len(left) - 1} more to fill in: {', '.join(left[1:])})" if len(left) > 1 else ""
        raise StudyFileError(f"{path.name}: {left[0]} still says '{FILL_IN}': write what belongs there{more}.")
    if "path" in tables:
        raise StudyFileError(f"{path.name}: 'path' is not a key; {nearest('path', list(Study.model_fields)[:-1])}.")
    try:
        return Study.model_validate({**tables, "path": path})
    except ValidationError as error:
        raise StudyFileError(f"{path.name}: {_first_sentence(error)}") from error


def _first_sentence(error: ValidationError) -> str:
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
        return f"{table}'{key}' is not a key; {nearest(key, _known_keys(first['loc'][:-1]))}{more}."
    if first["type"] == "missing":
        return f"{table}'{key}' is missing: add it{more}."
    if first["type"] == "value_error":
        return f"{first['ctx']['error']!s}{more}."
    seen = repr(first["input"])
    seen = seen if len(seen) <= 60 else seen[:57] + "..."
    return f"{table}{key} = {seen} will not do: {_in_toml_s_words(first['msg'])}{more}."


def _in_toml_s_words(message: str) -> str:
    """Return what is asked for in the words of a study file instead of Python's."""
    words = {"valid tuple": "list", "tuple": "list", "valid dictionary": "table of keys", " after validation": ""}
    message = message[0].lower() + message[1:]
    for python, toml in words.items():
        message = message.replace(python, toml)
    return message


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    table: Any = Study
    for part in place:
        if isinstance(part, str):
            annotation = table.model_fields[part].annotation
            listed = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
            table = EndpointTable if part == "endpoints" else listed[0] if listed else annotation
    return [name for name in table.model_fields if name != "path"]

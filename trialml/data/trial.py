"""The trial: who was randomised to what, what was measured at baseline, and what happened.

A `Trial` keeps only what the study file gives a role. Subject identifiers are checked and then left behind: from
here on a patient is a file row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import (
    as_binary,
    as_codes,
    as_events,
    as_numbers,
    as_times,
    is_yes,
    mixed_spelling,
    require_columns,
)
from trialml.data.event_codes import censoring_findings
from trialml.data.findings import Finding
from trialml.data.patient_numbers import numbers_patients
from trialml.data.population import population_findings
from trialml.data.restatement import refuse_restatement
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.subjects_and_arms import check_arms_named, check_subjects, subjects_alike, unnamed_arms
from trialml.data.table import Table
from trialml.errors import AnalysisError, DataError

__all__ = ["Covariate", "Endpoint", "Treatment", "Trial", "build_trial"]


@dataclass(frozen=True)
class Trial:
    """The patients of one randomised trial, by role.

    Attributes
    ----------
    name
        The study's name.
    frame
        One row a patient, index the file row; columns ``arm`` (code), the outcome, ``factor`` (the stratification
        cell) and one column a covariate (float, or text for categorical). The outcome is ``time`` and ``event``
        (boolean) for a time to event, with ``cause`` (0 censored, 1 the event, 2 and on competing ones) where events
        compete; ``event`` for a binary endpoint; ``value`` for a continuous one. ``enrolling_site`` where the study file
        names the site.
    endpoint, treatment, covariates
        The roles.
    origin, sha256
        Where the data came from, and the digest of the file.
    statements
        How the file was read, in words.
    findings
        What was noticed while reading; counts and no values of patients.
    population
        The column that defines the population, empty where all patients are analysed.
    disposition
        What CONSORT counts are made of, one row a patient, same index as `frame` when it was read: booleans
        ``population``, ``randomised``, ``treated`` and one column a population flag, and ``ended`` (text). Only the
        columns that the data hold.
    recorded
        Categorical covariates as the data have them, where `frame` joins rare levels; same index as `frame` was then. For
        the checks alone, which name such levels on the terminal.
    """

    name: str
    frame: pd.DataFrame
    endpoint: Endpoint
    treatment: Treatment
    covariates: tuple[Covariate, ...]
    origin: str
    sha256: str
    statements: tuple[str, ...] = field(default=())
    findings: tuple[Finding, ...] = ()
    population: str = ""
    disposition: pd.DataFrame = field(default_factory=pd.DataFrame)
    recorded: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def time(self) -> NDArray[np.float64]:
        """Times from randomisation, shape (n,)."""
        return np.asarray(self._outcome("time"), dtype=np.float64)

    @property
    def event(self) -> NDArray[np.bool_]:
        """Whether the event happened (at `time`, where there is one), shape (n,)."""
        return np.asarray(self._outcome("event"), dtype=np.bool_)

    @property
    def cause(self) -> NDArray[np.intp]:
        """0 censored, 1 the event, 2 and on the endpoint's competing events, shape (n,)."""
        return np.asarray(self._outcome("cause" if self.endpoint.cause else "event"), dtype=np.intp)

    @property
    def value(self) -> NDArray[np.float64]:
        """The values of a continuous endpoint, shape (n,)."""
        return np.asarray(self._outcome("value"), dtype=np.float64)

    @property
    def outcome(self) -> NDArray[np.float64]:
        """The outcome of a binary (1 for the event) or continuous endpoint as numbers, shape (n,)."""
        return self.value if self.endpoint.kind == "continuous" else self.event.astype(np.float64)

    def _outcome(self, name: str) -> pd.Series:
        if name not in self.frame:
            message = (
                f"The endpoint '{self.endpoint.name}' is {self.endpoint.kind} and has no {name}: ask for what it has."
            )
            raise AnalysisError(message)
        return self.frame[name]

    @property
    def treated(self) -> NDArray[np.bool_]:
        """True in the experimental arm of the primary contrast, shape (n,)."""
        return np.asarray(self.frame["arm"] == self.treatment.experimental, dtype=np.bool_)

    @property
    def factor(self) -> NDArray[np.str_]:
        """The stratification cell of each patient, shape (n,)."""
        return np.asarray(self.frame["factor"], dtype=np.str_)

    @property
    def arm_labels(self) -> NDArray[np.object_]:
        """The words for each patient's arm, shape (n,)."""
        return np.asarray(self.frame["arm"].map(self.treatment.label), dtype=np.object_)

    @property
    def baseline(self) -> pd.DataFrame:
        """The covariates alone, in the study file's order."""
        return self.frame[[covariate.name for covariate in self.covariates]]

    def only(self, *arms: str) -> Trial:
        """Return the trial with these arms alone."""
        return replace(self, frame=self.frame[self.frame["arm"].isin(arms)])

    def rows(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Trial:
        """Return the trial with these rows alone (a mask or positions)."""
        return replace(self, frame=self.frame.loc[self.frame.index[which]])

    def without(self, *names: str) -> Trial:
        """Return the trial without these covariates."""
        return replace(self, covariates=tuple(c for c in self.covariates if c.name not in names))


def build_trial(
    table: Table,
    *,
    name: str,
    subject: str,
    endpoint: Endpoint,
    treatment: Treatment,
    covariates: tuple[Covariate, ...],
    post_baseline: tuple[str, ...] = (),
    site: str | None = None,
    population: str | None = None,
    population_value: str = "Y",
    disposition: pd.DataFrame | None = None,
) -> Trial:
    """Give the columns of a table their roles and types, or refuse with the reason.

    Missing arms and outcomes, and patients outside the population, stay here: `analysis_set` excludes and counts them.

    Parameters
    ----------
    table
        One row a patient.
    name
        The study's name.
    subject
        The column of the subject.
    endpoint, treatment, covariates
        The roles.
    post_baseline
        Columns measured after randomisation.
    site
        The column of the enrolling site, for the checks by site.
    population, population_value
        The column that defines the population, and its code for those who belong to it (Y: yes in any writing).
    disposition
        What CONSORT counts are made of, as `Trial.disposition`, where the data hold it.

    Returns
    -------
    Trial
        Everything by role, without identifiers.

    Raises
    ------
    DataError
        If a column is missing, a subject stands on two rows, a time is not a positive finite number, an event
        code is unknown, or a covariate restates the arm or the outcome.
    AnalysisError
        If an arm of the primary contrast has no patients.
    """
    roles = _named_columns(subject, endpoint, treatment, covariates, post_baseline)
    roles |= {f"[data] {key}": column for key, column in (("population", population), ("site", site)) if column}
    require_columns(table.frame, roles, table.origin, heading=table.heading)
    subjects = check_subjects(table.frame[subject], subject)
    frame = pd.DataFrame(index=table.frame.index)
    frame["arm"] = check_arms_named(as_codes(table.frame[treatment.column]), treatment)
    _add_outcome(frame, table, endpoint, subjects)
    frame["factor"] = _cells(table.frame, treatment.stratification)
    if site:
        frame["enrolling_site"] = as_codes(table.frame[site])
    for covariate in covariates:
        _add_covariate(frame, table, covariate, subjects)
        refuse_restatement(frame, covariate, endpoint, treatment)
        _refuse_numbers(frame[covariate.name], covariate, subjects)
    known = pd.DataFrame(index=frame.index) if disposition is None else disposition
    about_population: tuple[Finding, ...] = ()
    if population:
        known = known.assign(population=is_yes(table.frame[population], value=population_value))
        about_population = population_findings(population, known["population"], frame["arm"], _outcome_of(frame))
    findings = (
        *table.findings_about({*roles.values(), "the file"}),
        *subjects_alike(subjects),
        *unnamed_arms(frame["arm"], treatment),
        *_column_findings(table, endpoint, covariates, population),
        *about_population,
    )
    return Trial(
        name,
        frame,
        endpoint,
        treatment,
        covariates,
        table.origin,
        table.sha256,
        table.statements,
        findings,
        population or "",
        known,
    )


def _add_outcome(frame: pd.DataFrame, table: Table, endpoint: Endpoint, subjects: pd.Series) -> None:
    if endpoint.kind == "continuous":
        frame["value"] = as_numbers(table.frame[endpoint.value], subjects=subjects, decimal_comma=table.decimal_comma)
        return
    if endpoint.kind == "time to event":
        frame["time"] = as_times(table.frame[endpoint.time], subjects=subjects, decimal_comma=table.decimal_comma)
    frame["event"] = as_events(
        table.frame[endpoint.event], endpoint.event_values, endpoint.censored_values, subjects=subjects
    )
    if endpoint.cause:
        frame["cause"] = as_numbers(table.frame[endpoint.cause], subjects=subjects)


def _outcome_of(frame: pd.DataFrame) -> pd.Series:
    """Return what a patient without a record lacks: the time, or the event or value where there is none."""
    return frame[next(name for name in ("time", "value", "event") if name in frame)]


def _add_covariate(frame: pd.DataFrame, table: Table, covariate: Covariate, subjects: pd.Series) -> None:
    column = table.frame[covariate.name]
    if covariate.kind == "numeric":
        frame[covariate.name] = as_numbers(column, subjects=subjects, decimal_comma=table.decimal_comma)
    elif covariate.kind == "binary":
        frame[covariate.name] = as_binary(column, subjects=subjects)
    else:
        frame[covariate.name] = as_codes(column)
    if (column == subjects).all():
        raise DataError(f"The covariate '{covariate.name}' identifies the subjects: take it out of [covariates].")


def _refuse_numbers(column: pd.Series, covariate: Covariate, subjects: pd.Series) -> None:
    why = numbers_patients(column.to_numpy(dtype=np.float64), subjects) if covariate.kind == "numeric" else ""
    if why:
        message = f"The covariate '{covariate.name}' numbers the patients ({why}): it is no baseline characteristic; take it out of [covariates]."
        raise DataError(message)


def _column_findings(
    table: Table, endpoint: Endpoint, covariates: tuple[Covariate, ...], population: str | None
) -> Iterator[Finding]:
    """Yield what the columns of the population, of the endpoint and of the covariates show of how the data were kept."""
    spelt = [population] if population else []
    spelt += [covariate.name for covariate in covariates if covariate.kind == "binary"]
    if endpoint.kind != "continuous":
        spelt.insert(0, endpoint.event)
        yield from censoring_findings(table.frame[endpoint.event], endpoint.censored_values)
    mixed = (mixed_spelling(table.frame[column]) for column in spelt)
    yield from (one for one in mixed if one)
    for covariate in covariates:
        if table.typed and covariate.kind == "numeric" and table.frame[covariate.name].dtype == object:
            yield _stored_as_text(table.frame[covariate.name])


def _stored_as_text(column: pd.Series) -> Finding:
    found = f"The numbers of '{column.name}' are stored as text."
    return Finding("text in numbers", str(column.name), int(column.notna().sum()), found, "They were read as numbers.")


def _named_columns(
    subject: str,
    endpoint: Endpoint,
    treatment: Treatment,
    covariates: tuple[Covariate, ...],
    post_baseline: tuple[str, ...],
) -> dict[str, str]:
    named = {"[data] subject": subject, "[treatment] column": treatment.column}
    named |= {f"[[endpoints]] {key}": column for key, column in endpoint.columns().items()}
    named |= {
        f"[treatment] stratification #{place}": column for place, column in enumerate(treatment.stratification, 1)
    }
    named |= {f"[covariates] {covariate.kind} '{covariate.name}'": covariate.name for covariate in covariates}
    return named | {f"[data] post_baseline '{column}'": column for column in post_baseline}


def _cells(frame: pd.DataFrame, factors: tuple[str, ...]) -> pd.Series:
    if not factors:
        return pd.Series("all", index=frame.index, dtype=object)
    for factor in factors:
        missing = frame.index[frame[factor].isna()]
        if len(missing):
            message = (
                f"The stratification factor '{factor}' is empty in file row {missing[0]} ({len(missing)} row(s) in all): "
                "randomisation needed it, so fill it in."
            )
            raise DataError(message)
    first, *others = (as_codes(frame[factor]).astype(str) for factor in factors)
    cells = first.str.cat(others, sep=" / ") if others else first
    if cells.nunique() > len(cells) / 2:
        # The names of such cells would be as good as identifiers.
        message = (
            f"The stratification factors ({', '.join(factors)}) part {len(cells):,} patients into {cells.nunique():,} cells: list in "
            "[treatment] stratification only what randomisation was stratified by."
        )
        raise DataError(message)
    return cells

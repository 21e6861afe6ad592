"""The trial: who was randomised to what, what was measured at baseline, and what happened.

A `Trial` keeps only what the study file gives a role. Subject identifiers are checked and then left behind: from
here on a patient is a file row.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import as_binary, as_codes, as_events, as_numbers, as_times, require_columns
from trialml.data.read import Table
from trialml.data.restatement import refuse_restatement
from trialml.data.roles import Covariate, Endpoint, Treatment
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
        One row a patient, index the file row; columns ``arm`` (code), ``time``, ``event`` (boolean), ``factor``
        (the stratification cell) and one column a covariate (float, or text for categorical).
    endpoint, treatment, covariates
        The roles.
    origin, sha256
        Where the data came from, and the digest of the file.
    statements
        How the file was read, in words.
    """

    name: str
    frame: pd.DataFrame
    endpoint: Endpoint
    treatment: Treatment
    covariates: tuple[Covariate, ...]
    origin: str
    sha256: str
    statements: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def time(self) -> NDArray[np.float64]:
        """Times from randomisation, shape (n,)."""
        return np.asarray(self.frame["time"], dtype=np.float64)

    @property
    def event(self) -> NDArray[np.bool_]:
        """Whether the event happened at `time`, shape (n,)."""
        return np.asarray(self.frame["event"], dtype=np.bool_)

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
) -> Trial:
    """Give the columns of a table their roles and types, or refuse with the reason.

    Missing arms, times and events stay missing here: `analysis_set` excludes and counts them.

    Raises
    ------
    DataError
        If a column is missing, a subject stands on two rows, a time is not a positive finite number, an event
        code is unknown, or a covariate restates the arm or the outcome.
    AnalysisError
        If an arm of the primary contrast has no patients.
    """
    require_columns(table.frame, _named_columns(subject, endpoint, treatment, covariates, post_baseline), table.origin)
    subjects = _check_subjects(table.frame[subject], subject)
    reading = {"subjects": subjects, "decimal_comma": table.decimal_comma}
    frame = pd.DataFrame(index=table.frame.index)
    frame["arm"] = _check_arms(as_codes(table.frame[treatment.column]), treatment)
    frame["time"] = as_times(table.frame[endpoint.time], **reading)
    frame["event"] = as_events(
        table.frame[endpoint.event], endpoint.event_values, endpoint.censored_values, subjects=subjects
    )
    frame["factor"] = _cells(table.frame, treatment.stratification)
    for covariate in covariates:
        column = table.frame[covariate.name]
        if covariate.kind == "numeric":
            frame[covariate.name] = as_numbers(column, **reading)
        elif covariate.kind == "binary":
            frame[covariate.name] = as_binary(column, subjects=subjects)
        else:
            frame[covariate.name] = as_codes(column)
        if (column == subjects).all():
            raise DataError(f"The covariate '{covariate.name}' identifies the subjects: take it out of [covariates].")
        refuse_restatement(frame, covariate, endpoint, treatment)
    return Trial(name, frame, endpoint, treatment, covariates, table.origin, table.sha256, table.statements)


def _named_columns(
    subject: str,
    endpoint: Endpoint,
    treatment: Treatment,
    covariates: tuple[Covariate, ...],
    post_baseline: tuple[str, ...],
) -> dict[str, str]:
    named = {
        "[data] subject": subject,
        "[treatment] column": treatment.column,
        "[[endpoints]] time": endpoint.time,
        "[[endpoints]] event": endpoint.event,
    }
    named |= {
        f"[treatment] stratification #{place}": column for place, column in enumerate(treatment.stratification, 1)
    }
    named |= {f"[covariates] {covariate.kind} '{covariate.name}'": covariate.name for covariate in covariates}
    return named | {f"[data] post_baseline '{column}'": column for column in post_baseline}


def _check_subjects(column: pd.Series, name: str) -> pd.Series:
    missing = column.index[column.isna()]
    if len(missing):
        raise DataError(f"The subject column '{name}' is empty in file row {missing[0]}: give every row a subject.")
    twice = column[column.duplicated(keep=False)]
    if len(twice):
        rows = twice.index[twice == twice.iloc[0]][:2]
        message = (
            f"The subject column '{name}' holds {twice.nunique()} subject(s) on more than one row (file rows {rows[0]} "
            f"and {rows[1]} are the same subject): keep one row a subject."
        )
        raise DataError(message)
    return column


def _check_arms(column: pd.Series, treatment: Treatment) -> pd.Series:
    seen = sorted(column.dropna().unique(), key=str)
    few = len(seen) <= 8 and len(seen) <= max(2, len(column) // 2)  # else the values may say who the patients are
    shown = ", ".join(f"'{value}'" for value in seen) if few else f"{len(seen)} different values"
    primary = {"control": treatment.control, "experimental": treatment.experimental}
    absent = {role: arm for role, arm in primary.items() if arm not in seen}
    if len(absent) == 2:
        message = (
            f"The arms control = '{treatment.control}' and experimental = '{treatment.experimental}' match nothing in column "
            f"'{treatment.column}', which holds {shown}: correct [treatment] in the study file."
        )
        raise DataError(message)
    for role, arm in absent.items():
        message = (
            f"The {role} arm '{arm}' has no patients: column '{treatment.column}' holds {shown}, and a comparison needs "
            "both arms."
        )
        raise AnalysisError(message)
    unknown = [arm for arm in treatment.secondary if arm not in seen]
    if unknown:
        message = (
            f"The secondary arm '{unknown[0]}' matches nothing in column '{treatment.column}', which holds {shown}: correct "
            "[treatment] secondary in the study file."
        )
        raise DataError(message)
    return column


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
    cells = frame[list(factors)].astype(str).agg(" / ".join, axis=1)
    if cells.nunique() > len(cells) / 2:
        # The names of such cells would be as good as identifiers.
        message = (
            f"The stratification factors ({', '.join(factors)}) part {len(cells):,} patients into {cells.nunique():,} cells: list in "
            "[treatment] stratification only what randomisation was stratified by."
        )
        raise DataError(message)
    return cells

"""The covariates as the checks read them: each sorted and coded once, since many checks ask the same questions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.trial import Covariate, Trial

__all__ = ["Codes", "Column", "Patients", "code", "patients_of"]

SITE = "enrolling_site"
"""The column of the trial's frame that holds the site, where the study file names one."""


class Codes:
    """A column as whole numbers: the places of its values among its levels.

    Attributes
    ----------
    codes
        For each patient the place of its level, -1 where missing; shape (n,).
    levels
        The distinct values in ascending order, missing left out; shape (k,).
    counts
        Patients with each level, shape (k,).
    """

    def __init__(self, codes: NDArray[np.int64], levels: NDArray[np.object_] | NDArray[np.float64]) -> None:
        self.codes = codes
        self.levels = levels
        self.counts = np.bincount(codes[codes >= 0], minlength=len(levels))

    @property
    def known(self) -> int:
        """Patients with a value."""
        return int(self.counts.sum())


def code(values: pd.Series) -> Codes:
    """Return a column coded: numbers by size, text by alphabet."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        codes, levels = pd.factorize(numbers, sort=True)
        return Codes(np.asarray(codes, dtype=np.int64), np.asarray(levels, dtype=np.float64))
    codes, levels = pd.factorize(values)
    order = np.argsort(np.asarray([str(level) for level in levels], dtype=object), kind="stable")
    place = np.empty(len(levels) + 1, dtype=np.int64)
    place[order] = np.arange(len(levels))
    place[-1] = -1
    return Codes(place[np.asarray(codes)], np.asarray(levels, dtype=object)[order])


@dataclass(frozen=True)
class Column:
    """One covariate: its role, its codes and, for numbers, its values (NaN where missing), shape (n,)."""

    covariate: Covariate
    coded: Codes
    numbers: NDArray[np.float64]

    @property
    def name(self) -> str:
        """The column's name."""
        return self.covariate.name

    @property
    def numeric(self) -> bool:
        """Whether it is a quantity."""
        return self.covariate.kind == "numeric"

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where no value is recorded, shape (n,)."""
        return self.coded.codes < 0

    @cached_property
    def known(self) -> NDArray[np.float64]:
        """The recorded values of a numeric covariate, in ascending order."""
        return np.repeat(np.asarray(self.coded.levels, dtype=np.float64), self.coded.counts)


@dataclass(frozen=True)
class Patients:
    """An analysis set as the checks read it.

    Attributes
    ----------
    trial
        The analysis set.
    columns
        Its covariates, with every level as the data have it.
    constant
        Covariates with one value or none in the primary contrast.
    primary, treated
        Whether a patient is in the primary contrast, and in its experimental arm; shape (n,).
    rows
        File rows, shape (n,).
    """

    trial: Trial
    columns: tuple[Column, ...]
    constant: tuple[str, ...]
    primary: NDArray[np.bool_]
    treated: NDArray[np.bool_]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def timed(self) -> bool:
        """Whether the endpoint is a time to event."""
        return self.trial.endpoint.kind == "time to event"

    @cached_property
    def outcome(self) -> tuple[Codes, ...]:
        """The columns of the endpoint, coded."""
        names = {"time to event": ("time", "event"), "binary": ("event",), "continuous": ("value",)}
        return tuple(code(self.trial.frame[name].astype(float)) for name in names[self.trial.endpoint.kind])

    @property
    def varying(self) -> tuple[Column, ...]:
        """The covariates that are not constant."""
        return tuple(column for column in self.columns if column.name not in self.constant)

    @cached_property
    def cells(self) -> Codes:
        """The stratification cells."""
        return code(self.trial.frame["factor"])

    @cached_property
    def arms(self) -> Codes:
        """The arms' codes."""
        return code(self.trial.frame["arm"])

    def rows_where(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the file rows of some patients."""
        return self.rows[which]


def patients_of(trial: Trial) -> Patients:
    """Return an analysis set as the checks read it: every covariate coded once."""
    frame, treatment = trial.frame, trial.treatment
    arm = np.asarray(frame["arm"], dtype=object)
    treated = np.asarray(arm == treatment.experimental, dtype=np.bool_)
    primary = treated | np.asarray(arm == treatment.control, dtype=np.bool_)
    recorded = trial.recorded.reindex(frame.index)
    columns = tuple(
        _column(covariate, (recorded if covariate.name in recorded else frame)[covariate.name])
        for covariate in trial.covariates
    )
    # Models see the rare levels joined, so that is what must vary.
    joined = [code(frame[column.name]) if column.name in recorded else column.coded for column in columns]
    constant = tuple(
        column.name for column, coded in zip(columns, joined, strict=True) if _levels_within(coded, primary) <= 1
    )
    rows = np.asarray(frame.index, dtype=np.int64)
    return Patients(trial, columns, constant, primary, treated, rows)


def _column(covariate: Covariate, values: pd.Series) -> Column:
    if covariate.kind == "categorical":
        return Column(covariate, code(values), np.empty(0))
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return Column(covariate, code(pd.Series(numbers)), numbers)


def _levels_within(coded: Codes, which: NDArray[np.bool_]) -> int:
    codes = coded.codes[which]
    return int((np.bincount(codes[codes >= 0], minlength=1) > 0).sum())

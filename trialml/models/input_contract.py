"""What new patients must look like: names, types, ranges seen and categories; part of every fitted model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from trialml.data.disclosure import SMALLEST_CELL, outward_range
from trialml.data.trial import Covariate
from trialml.errors import ModelInputError, nearest
from trialml.models.row_checks import FEW, Expected, Notes, check_column, check_values

__all__ = ["Checked", "InputContract", "InputField"]


@dataclass(frozen=True)
class InputField:
    """One covariate as the model expects it.

    Attributes
    ----------
    name, kind, label
        As in the study file.
    required
        True if the training data never lacked it: then a missing value is refused, not imputed.
    low, high
        The 1st to 99th percentile seen in training, rounded outward (numeric only).
    categories
        The categories seen in training (categorical only); those of fewer than 11 patients are not listed.
    """

    name: str
    kind: str
    label: str
    required: bool
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """New patients after the check.

    Attributes
    ----------
    covariates
        Typed values, in the model's order; rows that were refused hold missing values.
    refused
        For each row the reason it is refused, or an empty text.
    flags
        For each row what is unusual (out of the range seen, imputed), or an empty text.
    """

    covariates: pd.DataFrame
    refused: tuple[str, ...]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class InputContract:
    """The covariates of a fitted model."""

    fields: tuple[InputField, ...]

    @classmethod
    def learn(cls, covariates: tuple[Covariate, ...], baseline: pd.DataFrame) -> Self:
        """Return the contract that the training data set."""
        fields = []
        for covariate in covariates:
            column = baseline[covariate.name]
            required = not bool(column.isna().any())
            low = high = None
            categories: tuple[str, ...] = ()
            if covariate.kind == "numeric":
                low, high = outward_range(column.to_numpy(dtype=np.float64))
            elif covariate.kind == "categorical":
                counts = column.dropna().astype(str).value_counts()
                categories = tuple(sorted(counts.index[counts >= SMALLEST_CELL]))
            fields.append(InputField(covariate.name, covariate.kind, covariate.label, required, low, high, categories))
        return cls(tuple(fields))

    def check(self, patients: pd.DataFrame) -> Checked:
        """Type the covariates of new patients, refusing row by row.

        Parameters
        ----------
        patients
            One row a patient; further columns are passed over.

        Raises
        ------
        ModelInputError
            If a column is missing altogether, or stands there twice.
        """
        self._refuse_columns(patients)
        expected = self.expected
        refused, flags = Notes(len(patients)), Notes(len(patients))
        if len(patients) <= FEW:
            # A frame hands out its columns slowly: a few patients are cheaper as one array.
            places = [patients.columns.get_loc(one.name) for one in expected]
            rows = patients.to_numpy(dtype=object)
            typed: dict[str, Any] = {
                one.name: check_values(one, rows[:, at].tolist(), refused, flags)
                for one, at in zip(expected, places, strict=True)
            }
        else:
            typed = {one.name: check_column(one, patients[one.name], refused, flags) for one in expected}
        covariates = pd.DataFrame(typed, index=patients.index, copy=False)
        if refused:
            covariates.loc[refused.marked()] = np.nan
        return Checked(covariates, refused.joined(), flags.joined())

    def _refuse_columns(self, patients: pd.DataFrame) -> None:
        there = list(patients.columns)
        distinct = set(there)
        if len(distinct) == len(there) and distinct.issuperset(field.name for field in self.fields):
            return
        for name in (field.name for field in self.fields):
            if there.count(name) > 1:
                raise ModelInputError(f"The patients have the column '{name}' twice: keep one.")
            if name not in distinct:
                known = [str(column) for column in there]
                raise ModelInputError(f"The patients lack the column '{name}'; {nearest(name, known)}: add it.")

    @cached_property
    def expected(self) -> tuple[Expected, ...]:
        """What a value of each covariate must be."""
        return tuple(Expected(f.name, f.kind, f.required, f.low, f.high, frozenset(f.categories)) for f in self.fields)

    def example(self) -> dict[str, float | str]:
        """Return a synthetic patient: the middle of each range and a listed category; nobody's row."""
        values: dict[str, float | str] = {}
        for field in self.fields:
            if field.kind == "numeric":
                values[field.name] = ((field.low or 0.0) + (field.high or 0.0)) / 2
            else:
                values[field.name] = 0.0 if field.kind == "binary" else (*field.categories, "other")[0]
        return values

    def state(self) -> list[dict[str, Any]]:
        """Return the contract as plain JSON types."""
        return [asdict(field) for field in self.fields]

    @classmethod
    def from_state(cls, state: list[Mapping[str, Any]]) -> Self:
        """Return the contract that `state` described."""
        return cls(tuple(InputField(**{**field, "categories": tuple(field["categories"])}) for field in state))

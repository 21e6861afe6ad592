"""What new patients must look like: names, types, ranges seen and categories; part of every fitted model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from trialml.data.columns import as_code
from trialml.data.disclosure import SMALLEST_CELL, outward_range
from trialml.data.trial import Covariate
from trialml.errors import ModelInputError, nearest

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
        for name in (field.name for field in self.fields):
            if list(patients.columns).count(name) > 1:
                raise ModelInputError(f"The patients have the column '{name}' twice: keep one.")
            if name not in patients.columns:
                known = [str(column) for column in patients.columns]
                raise ModelInputError(f"The patients lack the column '{name}'; {nearest(name, known)}: add it.")
        typed: dict[str, Any] = {}
        refused: list[list[str]] = [[] for _ in range(len(patients))]
        flags: list[list[str]] = [[] for _ in range(len(patients))]
        for field in self.fields:
            typed[field.name] = _check_column(field, patients[field.name].tolist(), refused, flags)
        covariates = pd.DataFrame(typed, index=patients.index)
        bad = np.asarray([bool(reasons) for reasons in refused], dtype=np.bool_)
        covariates.loc[bad] = np.nan
        return Checked(covariates, _joined(refused), _joined(flags))

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


def _joined(reasons: list[list[str]]) -> tuple[str, ...]:
    return tuple("; ".join(parts) for parts in reasons)


def _check_column(field: InputField, values: list[Any], refused: list[list[str]], flags: list[list[str]]) -> list[Any]:
    typed: list[Any] = []
    for value, reasons, notes in zip(values, refused, flags, strict=True):
        if pd.api.types.is_scalar(value) and pd.isna(value):
            if field.required:
                reasons.append(f"{field.name} is missing")
            else:
                notes.append(f"{field.name} imputed")
            typed.append(None if field.kind == "categorical" else np.nan)
        elif field.kind == "categorical":
            typed.append(as_code(value))
            if typed[-1] not in field.categories:
                reasons.append(f"{field.name} has a category that the trial did not have")
        else:
            typed.append(_check_number(field, value, reasons, notes))
    return typed


def _check_number(field: InputField, value: Any, reasons: list[str], notes: list[str]) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        reasons.append(f"{field.name} is not a number")
        return np.nan
    if not np.isfinite(number):
        reasons.append(f"{field.name} is not finite")
        return np.nan
    if field.kind == "binary" and number not in (0.0, 1.0):
        reasons.append(f"{field.name} is neither 0 nor 1")
    elif field.low is not None and field.high is not None and not field.low <= number <= field.high:
        notes.append(f"{field.name} outside the range seen ({field.low:g} to {field.high:g})")
    return number

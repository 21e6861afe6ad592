"""Two arms as every estimator of this folder receives them: checked once, refused with the reason."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import counted
from trialml.survival.terms import design_columns
from trialml.survival.ties import checked_labels, everybody

__all__ = [
    "Cells",
    "Covariates",
    "TwoArms",
    "checked_cells",
    "checked_covariates",
    "checked_outcome",
    "checked_treated",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class TwoArms(NamedTuple):
    """An outcome and its arm, each of shape (n,); both arms have patients."""

    outcome: Floats
    treated: Flags


class Cells(NamedTuple):
    """The stratification cells: distinct labels, and each patient's place among them, shape (n,)."""

    labels: NDArray[Any]
    codes: NDArray[np.intp]


class Covariates(NamedTuple):
    """A design matrix without intercept, shape (n, k), and the names of its columns."""

    matrix: Floats
    names: tuple[str, ...]


def checked_treated(treated: Any, n: int) -> Flags:
    """Return the arm as booleans, True for the experimental one, shape (n,).

    Raises
    ------
    DataError
        If the length is not `n` or a value is neither 0 nor 1.
    AnalysisError
        If all patients are in one arm.
    """
    values = np.asarray(treated)
    if values.shape != (n,):
        raise DataError(f"treated has shape {values.shape} for {n} patients: pass one flag a patient")
    if values.dtype != np.bool_:
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError("treated holds values that are not numbers: pass True for the experimental arm") from error
        if not np.isin(numbers, (0.0, 1.0)).all():
            raise DataError("treated holds a value other than 0 and 1: pass True for the experimental arm")
        values = numbers == 1.0
    if values.all() or not values.any():
        arm = "experimental" if values.any() else "control"
        raise AnalysisError(f"{everybody(n)} in the {arm} arm: a comparison needs both arms")
    return np.asarray(values, dtype=np.bool_)


def checked_outcome(outcome: Any, treated: Any, *, binary: bool) -> TwoArms:
    """Return outcome and arm as arrays, or refuse.

    Parameters
    ----------
    outcome
        One value a patient, shape (n,): numbers, or for `binary` True/False or 1/0.
    treated
        True in the experimental arm, shape (n,).
    binary
        Whether only 0 and 1 may stand in `outcome`.

    Raises
    ------
    DataError
        If a value is missing, infinite or, for a binary outcome, neither 0 nor 1, or the lengths differ.
    AnalysisError
        If there is no patient, or all are in one arm.
    """
    try:
        values = np.asarray(outcome, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("outcome holds values that are not numbers: turn them into numbers first") from error
    if values.ndim != 1:
        raise DataError(f"outcome has shape {values.shape}: pass one value a patient")
    if not values.size:
        raise AnalysisError("there are no patients in this analysis: check the filter that made the analysis set")
    lost = int((~np.isfinite(values)).sum())
    if lost:
        raise DataError(
            f"outcome is missing or infinite in {lost} of {values.size} rows: impute it (`impute_outcome`) or say who is left out"
        )
    if binary and not np.isin(values, (0.0, 1.0)).all():
        odd = values[~np.isin(values, (0.0, 1.0))][0]
        raise DataError(f"a binary outcome holds the value {odd:g}, but it must be 1 (yes) or 0 (no)")
    return TwoArms(values, checked_treated(treated, values.size))


def checked_cells(strata: Any, n: int) -> Cells:
    """Return the stratification cells; None is one cell.

    Raises
    ------
    DataError
        If the length is not `n` or a label is missing.
    """
    return Cells(*checked_labels(strata, n, "strata"))


def checked_covariates(covariates: Any, n: int) -> Covariates:
    """Return a finite design matrix whose columns vary and are no combinations of each other.

    Parameters
    ----------
    covariates
        A DataFrame (text and categories become one column for each level after the first) or an array of shape
        (n, k).
    n
        The number of patients.

    Raises
    ------
    DataError
        If a value is missing or infinite, or the number of rows is not `n`.
    AnalysisError
        If a column is constant or a combination of the others, or there is none.
    """
    if isinstance(covariates, pd.DataFrame):
        columns, _ = design_columns(covariates)
        matrix, names = columns.to_numpy(dtype=np.float64), tuple(str(name) for name in columns.columns)
    else:
        matrix = np.asarray(covariates, dtype=np.float64)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
        names = tuple(f"column {place + 1}" for place in range(matrix.shape[-1]))
    if matrix.ndim != 2 or len(matrix) != n:
        raise DataError(f"covariates have shape {matrix.shape} for {n} patients: pass one row a patient")
    if not matrix.shape[1]:
        raise AnalysisError("there are no covariates to adjust for: name at least one column")
    wrong = ~np.isfinite(matrix)
    if wrong.any():
        place = int(np.argmax(wrong.any(axis=0)))
        raise DataError(
            f"'{names[place]}' is missing or infinite in {int(wrong[:, place].sum())} of {n} rows: impute it or drop the rows"
        )
    refuse_dependent(matrix - matrix.mean(axis=0), names, "all patients", np.abs(matrix).max(axis=0))
    return Covariates(matrix, names)


def refuse_dependent(centred: Floats, names: tuple[str, ...], where: str, size: Floats | None = None) -> None:
    """Refuse columns, already centred, that are constant or combinations of each other.

    Raises
    ------
    AnalysisError
        Naming the column and `where` it is so; or if there are as many columns as patients.
    """
    spread = np.sqrt((centred**2).mean(axis=0))
    largest = np.abs(centred).max(axis=0, initial=0.0) if size is None else size
    flat = np.flatnonzero(spread <= 1e-10 * np.maximum(largest, 1e-300))
    if flat.size:
        raise AnalysisError(f"'{names[flat[0]]}' has one value in {where}: leave it out of the adjustment")
    if len(centred) <= len(names):
        raise AnalysisError(
            f"there are {counted(len(names), 'column')} of covariates for {counted(len(centred), 'patient')} in {where}: adjust for fewer"
        )
    values, vectors = np.linalg.eigh(np.cov(centred / spread, rowvar=False).reshape(len(names), -1))
    if values[0] < 1e-10 * len(names):
        column = names[int(np.argmax(np.abs(vectors[:, 0])))]
        raise AnalysisError(f"'{column}' is a combination of the other covariates in {where}: leave it out")

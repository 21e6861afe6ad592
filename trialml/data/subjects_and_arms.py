"""Subjects and arms as the data write them: refused where a patient or an arm is not one, told where it may not be."""

from __future__ import annotations

import pandas as pd

from trialml.data.columns import as_code
from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.findings import Finding
from trialml.data.quoting import listed
from trialml.data.roles import Treatment
from trialml.errors import AnalysisError, DataError

__all__ = ["check_arms_named", "check_subjects", "subjects_alike", "unnamed_arms"]

_MOST_ARMS = 8


def check_subjects(column: pd.Series, name: str) -> pd.Series:
    """Refuse a row without a subject, and a subject on two rows.

    Raises
    ------
    DataError
        Naming the file rows.
    """
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


def check_arms_named(column: pd.Series, treatment: Treatment) -> pd.Series:
    """Refuse an arm of the study file that nobody is in, and one that the data write in two ways.

    Raises
    ------
    DataError
        If no arm, or a secondary one, is in the data, or two writings are one arm.
    AnalysisError
        If one arm of the primary contrast has no patients.
    """
    seen = sorted(column.dropna().unique(), key=str)
    shown = listed(column)
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
    arms = {arm.casefold(): arm for arm in (treatment.control, treatment.experimental, *treatment.secondary)}
    for value in seen:
        meant = arms.get(" ".join(str(value).split()).casefold())
        if meant is not None and meant != value:
            message = (
                f"Column '{treatment.column}' holds '{value}' in {int((column == value).sum()):,} patients, which differs from the arm "
                f"'{meant}' by case or blanks alone: write the arm in one way."
            )
            raise DataError(message)
    unknown = [arm for arm in treatment.secondary if arm not in seen]
    if unknown:
        message = (
            f"The secondary arm '{unknown[0]}' matches nothing in column '{treatment.column}', which holds {shown}: correct "
            "[treatment] secondary in the study file."
        )
        raise DataError(message)
    return column


def subjects_alike(subjects: pd.Series) -> list[Finding]:
    """Return a warning on subjects whose identifiers differ by case or blanks alone, or as 6 and 6.0 do.

    Parameters
    ----------
    subjects
        Identifiers, no two of them equal, shape (n,).
    """
    texts = ["".join(str(one).split()).casefold() for one in subjects.tolist()]
    plain = pd.Series([as_code(text) if "." in text else text for text in texts], index=subjects.index)
    alike = plain.duplicated(keep=False)
    count = int(alike.sum())
    if not count:
        return []
    found = f"{count:,} subject(s) differ from another by case, blanks or a decimal point alone: the same patient may stand there twice."
    rows = tuple(subjects.index[alike].tolist())
    return [Finding("alike subjects", str(subjects.name), count, found, "Each was kept as a patient.", "warning", rows)]


def unnamed_arms(arm: pd.Series, treatment: Treatment) -> list[Finding]:
    """Return a warning on levels of the treatment that the study file does not name; rare ones go without their words.

    Parameters
    ----------
    arm
        The arm of each patient, None where it is missing, shape (n,).
    treatment
        The arms of the study file.
    """
    named = {treatment.control, treatment.experimental, *treatment.secondary}
    outside = arm.where(~arm.isin(named), None).dropna()
    counts = outside.value_counts()
    levels = sorted(counts.index, key=str)
    if len(levels) > _MOST_ARMS or len(levels) > max(2, len(arm) // 2):
        found = f"'{treatment.column}' holds {len(outside):,} patient(s) in arms that [treatment] does not name."
        return [_unexpected(treatment.column, found, outside)]
    told = [
        _unexpected(
            treatment.column,
            f"'{treatment.column}' holds {counts[level]:,} patient(s) in '{level}', an arm that [treatment] does not name.",
            outside[outside == level],
        )
        for level in levels
        if counts[level] >= SMALLEST_CELL
    ]
    rare = tuple(str(level) for level in levels if counts[level] < SMALLEST_CELL)
    if rare:
        within = outside[outside.isin(rare)]
        which = f"{len(rare)} arms" if len(rare) > 1 else "an arm"
        found = f"'{treatment.column}' holds {len(within):,} patient(s) in {which} of fewer than {SMALLEST_CELL} that [treatment] does not name."
        told.append(_unexpected(treatment.column, found, within, rare))
    return told


def _unexpected(column: str, found: str, outside: pd.Series, words: tuple[str, ...] = ()) -> Finding:
    done = "They were excluded and counted."
    return Finding("unexpected arm", column, len(outside), found, done, "warning", tuple(outside.index.tolist()), words)

"""What becomes of each column of a data set that is to be de-identified, and why."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from trialml.data.columns import as_code
from trialml.data.date_text import holds_a_date, parse_date_text
from trialml.data.deidentify_files import DataFile
from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.patient_numbers import numbers_of_a_register
from trialml.data.quoting import may_be_shown
from trialml.errors import DataError, nearest

__all__ = ["Action", "Decision", "Rules", "as_text", "decide", "is_typed_date", "refuse_rare_words", "require_named"]

Action = Literal["hashed", "shifted", "dropped", "top-coded", "merged", "kept"]

_AGE = re.compile(r"a?age|age_?y(ea)?rs?|agey|age_?at_?\w+|age_?bl|baseline_?age", re.IGNORECASE)
_BIRTH = re.compile(r"brth|birth(?!_?(weight|wt|order|length))|^dob$|_dob$", re.IGNORECASE)
_FREE = re.compile(
    r"comment|remark|narrative|verbatim|specify|free_?text|^notes?$|^coval\d*$|^(ae|cm|mh|pr)(term|trt)$|^cmtrt$",
    re.IGNORECASE,
)
_ADAM_IDENTIFIERS = frozenset({"SUBJID", "SITEID", "INVID", "INVNAM"})
_SITE_GROUP = re.compile(r"SITEGR\d+N?")
_IDENTIFIER = re.compile(
    r"(^|_)(id|no|nr|num|number|initials|kit|mrn|subj(ect)?|patient)$|^\w*(randno|subjid)$", re.IGNORECASE
)
_PLACE = re.compile(r"(^|_)(zip|(zip|post|postal)_?code|plz|city|town|street|address|county)$", re.IGNORECASE)
"""Places smaller than a state, which 45 CFR 164.514(b)(2)(i)(B) counts among identifiers."""
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")
_TOKENS = re.compile(r"[^\s,;:()\"'/]+")
_ENOUGH = 20
_SAMPLE = 500
_LONG = 20
_SHORTEST_IDENTIFIER = 4
_NEARLY_ALL = 0.9
_EXPECTED_TWICE = 5
"""Whole numbers of a measurement would meet so often by chance; if none do, they count patients."""


@dataclass(frozen=True)
class Rules:
    """How to de-identify.

    Attributes
    ----------
    subject
        The column that identifies the subject in every data set.
    identifiers
        Further columns to hash: sites, investigators, other numbers of a patient.
    dates, ages
        Columns to treat as dates or ages, beside those recognised.
    drop, keep
        Columns to leave out; columns that were looked at and stay.
    only
        If given, every other column is left out.
    merge_rare
        Columns whose rare categories become ``OTHER``.
    quasi_identifiers
        Columns that an outsider may know of a patient.
    shift_days
        The most by which dates are moved.
    oldest
        Ages from here on read so.
    smallest
        The smallest number of patients that a category or class should have.
    """

    subject: str
    identifiers: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    ages: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    merge_rare: tuple[str, ...] = ()
    quasi_identifiers: tuple[str, ...] = ()
    shift_days: int = 365
    oldest: int = 90
    smallest: int = SMALLEST_CELL


class Decision(NamedTuple):
    """What becomes of one column."""

    column: str
    action: Action
    why: str


def require_named(files: Sequence[DataFile], rules: Rules) -> None:
    """Refuse a column that is named and that no data set has, a rule out of range, or a data set without the subject.

    Raises
    ------
    DataError
    """
    known = list(dict.fromkeys(str(column) for one in files for column in one.frame.columns))
    for one in files:
        if rules.subject not in one.frame.columns:
            hint = nearest(rules.subject, [str(column) for column in one.frame.columns])
            raise DataError(
                f"The data set '{one.name}' has no column '{rules.subject}' to tell its subjects by; {hint}: correct --subject "
                "or take the file out of the folder."
            )
    for option in ("identifiers", "dates", "ages", "drop", "keep", "only", "merge_rare", "quasi_identifiers"):
        for column in getattr(rules, option) or ():
            if column not in known:
                words = option.replace("_", " ")
                raise DataError(
                    f"The column '{column}' ({words}) is in no data set; {nearest(column, known)}: correct it."
                )
    if rules.shift_days < 1 or rules.oldest < 1 or rules.smallest < 2:
        raise DataError(
            f"Dates shifted by up to {rules.shift_days} days, ages from {rules.oldest} joined, classes of {rules.smallest}: "
            "give at least 1 day, 1 year and 2 patients."
        )
    if rules.subject in (*rules.drop, *rules.keep):
        raise DataError(
            f"The subject column '{rules.subject}' is hashed; it can be neither dropped nor kept: take it out."
        )


def decide(one: DataFile, rules: Rules, subjects: Collection[str]) -> list[Decision]:
    """Say what becomes of each column of a data set.

    Parameters
    ----------
    one
        The data set.
    rules
        What was asked for.
    subjects
        The identifiers of all subjects, as codes: a text that holds one is not kept.

    Returns
    -------
    list of Decision
        In the order of the columns.

    Raises
    ------
    DataError
        If columns look like identifiers and were named neither for hashing, nor for dropping, nor for keeping; all of
        them are listed.
    """
    decisions: list[Decision] = []
    unnamed: list[str] = []
    codes = one.frame[rules.subject].map(as_code)
    for column in one.frame.columns:
        decision = _asked(str(column), rules) or _recognised(one.frame[column], str(column), rules, subjects)
        asks = decision is None and column not in rules.keep
        if asks and (_PLACE.search(str(column)) or _looks_like_identifier(one.frame[column], codes)):
            unnamed.append(str(column))
        decisions.append(decision or Decision(str(column), "kept", ""))
    if unnamed:
        listed = ", ".join(f"'{column}'" for column in unnamed)
        raise DataError(
            f"In '{one.name}' these columns may identify subjects: {listed}; name each with --identifier (to hash it), --drop "
            "or --keep."
        )
    return decisions


def refuse_rare_words(files: Sequence[DataFile], decisions: Sequence[Sequence[Decision]], rules: Rules) -> None:
    """Refuse columns that would stay and hold words that fewer than `rules.smallest` subjects have, over all data sets.

    Numbers, dates and codes without three letters in a row are no words.

    Raises
    ------
    DataError
        With every such column, how many words of it are rare, and how many subjects have one; never the words.
    """
    held: dict[str, list[pd.DataFrame]] = {}
    for one, own in zip(files, decisions, strict=True):
        subjects = one.frame[rules.subject].map(as_code)
        for column, action, _ in own:
            values = one.frame[column]
            if action == "kept" and column not in rules.keep and not _typed(values):
                pairs = pd.DataFrame({"subject": subjects, "word": as_text(values)})
                held.setdefault(column, []).append(pairs.dropna().drop_duplicates())
    told = []
    for column, parts in held.items():
        pairs = pd.concat(parts).drop_duplicates()
        counts = pairs["word"].value_counts()
        rare = [word for word in counts.index[counts < rules.smallest] if not may_be_shown(word)]
        if rare:
            told.append(
                f"'{column}' (words: {len(rare):,}, subjects: {pairs.loc[pairs['word'].isin(rare), 'subject'].nunique():,})"
            )
    if told:
        raise DataError(
            f"These columns hold words that fewer than {rules.smallest} subjects have, which may name them: {', '.join(told)}; give each with "
            "--merge-rare (to join the rare words), --drop or --keep."
        )


def _typed(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values.dtype)) or is_typed_date(values)


def _asked(column: str, rules: Rules) -> Decision | None:
    """Return what the rules say of a column by its name."""
    if column == rules.subject:
        return Decision(column, "hashed", "the subject")
    if column in rules.drop:
        return Decision(column, "dropped", "asked for")
    if rules.only is not None and column not in (*rules.only, *rules.identifiers):
        return Decision(column, "dropped", "not listed")
    if column.endswith("N") and column[:-1] in rules.merge_rare:
        return Decision(column, "dropped", f"its codes would tell the merged categories of {column[:-1]}")
    if column in rules.identifiers:
        return Decision(column, "hashed", "named as an identifier")
    if column in rules.merge_rare:
        return Decision(column, "merged", f"categories of fewer than {rules.smallest} subjects")
    if column in rules.keep:
        return None
    if column in _ADAM_IDENTIFIERS or _SITE_GROUP.fullmatch(column):
        return Decision(column, "hashed", "an identifier of ADaM")
    if column not in rules.dates and _BIRTH.search(column):
        return Decision(column, "dropped", "birth, which would give the age")
    return None


def _recognised(values: pd.Series, column: str, rules: Rules, subjects: Collection[str]) -> Decision | None:
    """Return what the values of a column ask for."""
    if column in rules.ages or _AGE.fullmatch(column):
        return Decision(column, "top-coded", f"an age: {rules.oldest} and over read {rules.oldest}")
    if column in rules.dates or _is_date(values):
        return Decision(column, "shifted", "named as a date" if column in rules.dates else "dates")
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return None
    known = list(as_text(values).dropna().unique())
    return None if not known or _all_numbers(known) else _text(values, known, column, rules, subjects)


def _text(values: pd.Series, known: list[str], column: str, rules: Rules, subjects: Collection[str]) -> Decision | None:
    """Return what a column of words asks for; a column that was looked at stays, unless it names subjects."""
    if any(as_code(token) in subjects for text in known for token in _long_tokens(text)):
        if column in rules.keep:
            raise DataError(f"The column '{column}' holds identifiers of subjects and cannot be kept: drop or hash it.")
        return None if len(known) == values.notna().sum() else Decision(column, "dropped", "text that names subjects")
    if column in rules.keep:
        return None
    if _FREE.search(column):
        return Decision(column, "dropped", "free text by its name")
    if any(holds_a_date(text) for text in known):
        return Decision(column, "dropped", "text with dates inside")
    if _mostly_distinct(len(known), values) and np.mean([" " in text and len(text) > _LONG for text in known]) > 0.5:
        return Decision(column, "dropped", "free text: most values are long and occur once")
    return None


def _long_tokens(text: str) -> Iterator[str]:
    return (token for token in _TOKENS.findall(text) if len(token) >= _SHORTEST_IDENTIFIER)


def _mostly_distinct(distinct: int, values: pd.Series) -> bool:
    return distinct >= _ENOUGH and distinct > values.notna().sum() / 2


def _looks_like_identifier(values: pd.Series, subjects: pd.Series) -> bool:
    """Whether a column that nothing else explains tells its rows or subjects apart, as names and numbers do."""
    if is_typed_date(values):
        return False
    texts = as_text(values).dropna()
    distinct = texts.nunique()
    if distinct < _ENOUGH:
        return False
    if not _all_numbers(list(texts.unique())):
        return _mostly_distinct(distinct, values) and not texts.str.fullmatch(_CLOCK).all()
    numbers = pd.to_numeric(texts.str.replace(",", ".", regex=False)).to_numpy(dtype=np.float64)
    by_subject = texts.groupby(subjects.reindex(texts.index)).nunique()
    # A number that was copied once, or mistyped at one visit, is still a number of the patient.
    nearly = distinct >= _NEARLY_ALL * len(by_subject) and (by_subject > 1).mean() <= 1 - _NEARLY_ALL
    if not nearly or (numbers != np.round(numbers)).any():
        return False
    each = distinct == len(by_subject) and by_subject.max() == 1
    width = float(numbers.max() - numbers.min()) + 1
    dense, never_twice = width == distinct, distinct**2 / (2 * width) > _EXPECTED_TWICE
    known = (each and (dense or never_twice)) or bool(_IDENTIFIER.search(str(values.name)))
    return known or numbers_of_a_register(np.unique(numbers))


def _all_numbers(texts: list[str]) -> bool:
    numbers = pd.to_numeric(pd.Series(texts, dtype=object).str.replace(",", ".", regex=False), errors="coerce")
    return bool(numbers.notna().all())


def is_typed_date(values: pd.Series) -> bool:
    """Whether a column holds dates or date-times as a type, not as text."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return True
    if isinstance(values.dtype, pd.ArrowDtype):
        return values.dtype.pyarrow_dtype in _arrow_dates()
    known = values.dropna() if values.dtype == object else values.iloc[:0]
    return bool(len(known)) and all(isinstance(value, date | datetime) for value in known)


def _arrow_dates() -> tuple[object, ...]:
    import pyarrow as pa

    return (pa.date32(), pa.date64())


def _is_date(values: pd.Series) -> bool:
    """Whether a column holds dates: as a type, or as texts most of which are full dates and the rest no numbers."""
    if is_typed_date(values):
        return True
    texts = as_text(values).dropna().unique()
    if not len(texts):
        return False
    # Most columns hold no date at all, and a few values show it.
    return _mostly_dates(texts[:_SAMPLE]) and (len(texts) <= _SAMPLE or _mostly_dates(texts))


def _mostly_dates(texts: Sequence[str]) -> bool:
    parsed = [parse_date_text(text) or parse_date_text(text, day_first=False) for text in texts]
    return sum(one is not None and one.precision != "year" for one in parsed) > len(texts) / 2


def as_text(values: pd.Series) -> pd.Series:
    """Return a column as text, missing as None; a whole number is written without a point."""
    # Each distinct value is written once, since a column of a million rows has few of them.
    codes, distinct = pd.factorize(values)
    number = pd.api.types.is_float_dtype(values.dtype)
    texts = np.empty(len(distinct) + 1, dtype=object)
    texts[:-1] = [as_code(value) if number else str(value).strip() or None for value in distinct]
    return pd.Series(texts[codes], index=values.index, name=values.name, dtype=object)

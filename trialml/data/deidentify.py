"""De-identification: identifiers hashed with a key, dates moved by subject, ages top-coded, free text dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import as_codes
from trialml.data.date_text import day_comes_first, parse_date_text, shifted_text
from trialml.data.deidentify_columns import (
    Decision,
    Rules,
    as_text,
    decide,
    is_typed_date,
    refuse_rare_words,
    require_named,
)
from trialml.data.deidentify_files import DataFile
from trialml.data.deidentify_key import day_shift, pseudonyms
from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.k_anonymity import KAnonymity, k_anonymity
from trialml.errors import DataError
from trialml.result import Result, format_count

__all__ = ["Deidentification", "Deidentified", "deidentify"]

_OTHER = "OTHER"
_QUASI = ("AGE", "SEX", "GENDER", "RACE", "ETHNIC", "COUNTRY", "REGION", "SITEID", "SITE")


@dataclass(frozen=True, eq=False)
class Deidentification(Result):
    """What was done to each column of each data set.

    Attributes
    ----------
    rows
        Columns ``data_set``, ``column``, ``done``, ``why`` and ``emptied`` (values that were no dates and are gone;
        missing where they are from 1 to 10).
    subjects, data_sets
        How many there are.
    rules
        The rules in words.
    """

    title = "De-identification"
    methods = (
        "Identifiers were replaced by pseudonyms (HMAC-SHA256 under a secret key). All dates of a subject were moved by one "
        "number of days drawn by the same key, so that intervals within a subject are unchanged; calendar time between "
        "subjects is lost."
    )
    references = (
        "Krawczyk H, Bellare M, Canetti R. HMAC: keyed-hashing for message authentication. RFC 2104, 1997.",
        "Office for Civil Rights. Guidance regarding methods for de-identification of protected health information in "
        "accordance with the HIPAA Privacy Rule, 2012 (ages over 89 as one category).",
    )

    rows: pd.DataFrame
    subjects: int
    data_sets: int
    rules: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row a column."""
        return self.rows

    def text(self) -> str:
        """Return how many columns were treated how, and the rules."""
        counts = self.rows["done"].value_counts()
        parts = ", ".join(f"{counts[done]} {done}" for done in _ORDER if done in counts)
        return (
            f"{format_count(self.subjects)} subjects in {self.data_sets} data set(s), {len(self.rows)} columns: {parts}. "
            f"{' '.join(self.rules)}"
        )

    def scalars(self) -> dict[str, float]:
        """Return the number of columns by what was done."""
        counts = self.rows["done"].value_counts()
        return {done.replace("-", "_"): float(counts.get(done, 0)) for done in _ORDER}

    def table(self) -> pd.DataFrame:
        """Return the columns that were changed, with the data sets that have them."""
        changed = self.rows[self.rows["done"] != "kept"]
        shown = []
        for (column, done, why), rows in changed.groupby(["column", "done", "why"], sort=False):
            emptied = rows["emptied"].sum() if rows["emptied"].notna().all() else float("nan")
            count = f"fewer than {SMALLEST_CELL}" if pd.isna(emptied) else format_count(emptied)
            shown.append((column, done, why, ", ".join(rows["data_set"]), count))
        frame = pd.DataFrame(shown, columns=["Column", "Done", "Why", "Data sets", "Values emptied"])
        if (frame["Values emptied"] == "0").all():
            frame = frame.drop(columns="Values emptied")
        return frame.sort_values("Done", key=lambda done: done.map(_ORDER.index), kind="stable", ignore_index=True)


_ORDER = ("hashed", "shifted", "dropped", "top-coded", "merged", "kept")


class Deidentified(NamedTuple):
    """The data sets as they may leave, what was done, and k-anonymity before and after."""

    files: tuple[DataFile, ...]
    done: Deidentification
    anonymity: KAnonymity


def deidentify(files: Sequence[DataFile], rules: Rules, key: bytes) -> Deidentified:
    """De-identify the data sets of one trial, all with the same key.

    Rows are put in the order of the pseudonyms, since the order of a file can tell who is who; the rows of a subject keep
    theirs. The same key gives the same pseudonyms and shifts in every data set and run, so that data sets join.

    Parameters
    ----------
    files
        The data sets.
    rules
        What to do.
    key
        32 bytes, from `read_or_create_key`; whoever has it can find out who is who.

    Returns
    -------
    Deidentified
        The data sets, what was done, and k-anonymity by subject in the first data set that has quasi-identifiers.

    Raises
    ------
    DataError
        If a column that was named does not exist, a row has no subject, columns look like identifiers or hold words that
        hardly a subject has and were not named, an age is no number, or dates can be read in two ways.

    Notes
    -----
    A partial date is moved from the middle of its month or year and keeps its precision, so an interval to it holds up to
    that precision. A value in a column of dates that is no date stays if it holds no digit (``UNK``) and is emptied, and
    counted, if it does.
    """
    require_named(files, rules)
    codes = [_subjects(one, rules.subject) for one in files]
    everyone = {code for own in codes for code in own}
    given = pseudonyms(key, "subject", everyone)
    shifts = {code: day_shift(key, code, rules.shift_days) for code in everyone}
    rare = {column: _rare(column, files, codes, rules.smallest) for column in rules.merge_rare}
    rows: list[tuple[str, str, str, str, float]] = []
    out = []
    decided = [decide(one, rules, everyone) for one in files]
    for one, decisions in zip(files, decided, strict=True):
        _refuse_other_age_units(one, decisions)
    refuse_rare_words(files, decided, rules)
    for one, own, decisions in zip(files, codes, decided, strict=True):
        days = own.map(shifts).to_numpy(dtype=np.int64)
        columns: dict[str, pd.Series] = {}
        for decision in decisions:
            emptied = 0
            if decision.column == rules.subject:
                columns[decision.column] = own.map(given)
            elif decision.action != "dropped":
                columns[decision.column], emptied = _applied(
                    one.frame[decision.column], decision, rules, key, days, rare
                )
            shown = float("nan") if 0 < emptied < SMALLEST_CELL else float(emptied)
            rows.append((one.name, *decision, shown))
        out.append(_ordered(one, columns, rules.subject))
    frame = pd.DataFrame(rows, columns=["data_set", "column", "done", "why", "emptied"])
    done = Deidentification(frame, len(everyone), len(files), _said(rules, frame))
    return Deidentified(tuple(out), done, _anonymity(files, out, codes, rules))


def _subjects(one: DataFile, subject: str) -> pd.Series:
    texts = as_text(one.frame[subject])
    missing = texts.index[texts.isna()]
    if len(missing):
        raise DataError(
            f"The column '{subject}' of '{one.name}' is empty in {len(missing)} row(s): give every row a subject, since its "
            "dates could not be moved."
        )
    return as_codes(texts)


def _applied(
    values: pd.Series,
    decision: Decision,
    rules: Rules,
    key: bytes,
    days: NDArray[np.int64],
    rare: Mapping[str, frozenset[str]],
) -> tuple[pd.Series, int]:
    """Return a column after its decision, and how many values were emptied."""
    match decision.action:
        case "shifted":
            return (_shifted(values, days), 0) if is_typed_date(values) else _shifted_texts(values, days)
        case "hashed":
            codes = as_codes(as_text(values))
            given = pseudonyms(key, decision.column.lower(), set(codes.dropna()))
            return codes.map(given.get).astype(object), 0
        case "top-coded":
            return _top_coded(values, rules.oldest), 0
        case "merged":
            return _merged(values, rare[decision.column]), 0
    return values, 0


def _shifted(values: pd.Series, days: NDArray[np.int64]) -> pd.Series:
    """Move dates that are dates by type; the type stays."""
    if values.dtype == object:
        return pd.Series(
            [
                None if pd.isna(value) else value + timedelta(days=int(move))
                for value, move in zip(values, days, strict=True)
            ],
            index=values.index,
            dtype=object,
        )
    if isinstance(values.dtype, pd.ArrowDtype):
        return _shifted_arrow(values, days)
    return values + pd.Series(pd.to_timedelta(days, unit="D"), index=values.index)


def _shifted_arrow(values: pd.Series, days: NDArray[np.int64]) -> pd.Series:
    """Move Arrow's dates in the whole numbers that they are stored as, whatever their unit and time zone."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.dtype.pyarrow_dtype
    per_day = 1 if pa.types.is_date32(kind) else 86_400_000
    if pa.types.is_timestamp(kind):
        per_day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    whole = pa.int32() if pa.types.is_date32(kind) else pa.int64()
    moved = pc.add(pa.array(values).cast(whole), pa.array(days * per_day).cast(whole)).cast(kind)
    return pd.Series(pd.arrays.ArrowExtensionArray(moved), index=values.index)


def _shifted_texts(values: pd.Series, days: NDArray[np.int64]) -> tuple[pd.Series, int]:
    """Move dates that are written as text or as numbers like 20201231, each in its own layout."""
    texts = as_text(values)
    codes, uniques = pd.factorize(texts)
    day_first = day_comes_first(uniques, str(values.name))
    parsed = [parse_date_text(text, day_first=day_first) for text in uniques]
    plain = [
        one is None and not any(letter.isdigit() for letter in text) for one, text in zip(parsed, uniques, strict=True)
    ]
    emptied, moved = 0, []
    for code, move in zip(codes, days, strict=True):
        one = parsed[code] if code >= 0 else None
        text = uniques[code] if code >= 0 and plain[code] else None if one is None else shifted_text(one, int(move))
        emptied += code >= 0 and text is None
        moved.append(text)
    result = pd.Series(moved, index=values.index, dtype=object)
    if pd.api.types.is_numeric_dtype(values.dtype):
        return pd.to_numeric(result).astype(values.dtype), emptied
    return _like(result, values), emptied


def _like(texts: pd.Series, values: pd.Series) -> pd.Series:
    """Return texts in the type of the column that they came from; SAS has blanks, not missing texts."""
    if isinstance(values.dtype, pd.ArrowDtype):
        return texts.astype(values.dtype)
    return texts.where(texts.notna(), "") if bool((values == "").any()) else texts


def _top_coded(values: pd.Series, oldest: int) -> pd.Series:
    texts = as_text(values)
    numbers = pd.to_numeric(texts.str.replace(",", ".", regex=False), errors="coerce")
    wrong = texts.notna() & numbers.isna()
    if wrong.any():
        raise DataError(
            f"The age '{values.name}' is no number in {int(wrong.sum())} row(s): correct it, or drop the column with --drop."
        )
    old = (numbers >= oldest).to_numpy(dtype=np.bool_)
    numeric = pd.api.types.is_numeric_dtype(values.dtype)
    return values.mask(old, oldest if numeric else str(oldest))


def _refuse_other_age_units(one: DataFile, decisions: Sequence[Decision]) -> None:
    if "AGEU" in one.frame.columns and any(decision.action == "top-coded" for decision in decisions):
        units = as_text(one.frame["AGEU"]).dropna()
        if not units.str.upper().str.startswith("YEAR").all():
            raise DataError(f"'{one.name}' holds ages in other units than years (AGEU): convert them to years first.")


def _rare(column: str, files: Sequence[DataFile], codes: Sequence[pd.Series], smallest: int) -> frozenset[str]:
    """Return the categories of fewer than `smallest` subjects, and the next ones until all together are enough."""
    pairs = [
        pd.DataFrame({"subject": own.to_numpy(), "level": as_text(one.frame[column]).to_numpy()})
        for one, own in zip(files, codes, strict=True)
        if column in one.frame.columns
    ]
    if any(pd.api.types.is_numeric_dtype(one.frame[column].dtype) for one in files if column in one.frame.columns):
        raise DataError(
            f"The column '{column}' is a number by type, so its rare values cannot be joined as OTHER: drop it."
        )
    counts = pd.concat(pairs).dropna().drop_duplicates()["level"].value_counts().sort_index().sort_values(kind="stable")
    joined: list[str] = []
    total = 0
    for level, count in counts.items():
        if count >= smallest and (not joined or total >= smallest):
            break
        joined.append(str(level))
        total += int(count)
    return frozenset(joined)


def _merged(values: pd.Series, rare: frozenset[str]) -> pd.Series:
    return values.mask(as_text(values).isin(rare).to_numpy(dtype=np.bool_), _OTHER)


def _ordered(one: DataFile, columns: Mapping[str, pd.Series], subject: str) -> DataFile:
    frame = pd.DataFrame(columns, index=one.frame.index)
    frame = frame.sort_values(subject, kind="stable").reset_index(drop=True)
    kept = {name: label for name, label in one.labels.items() if name in columns}
    # A column that became text has no numeric or date format any more.
    formats = {
        name: kind
        for name, kind in one.formats.items()
        if name in columns and columns[name].dtype == one.frame[name].dtype
    }
    return replace(one, frame=frame, labels=kept, formats=formats)


def _anonymity(
    before: Sequence[DataFile], after: Sequence[DataFile], codes: Sequence[pd.Series], rules: Rules
) -> KAnonymity:
    """Assess one row a subject of the data set that holds most of the quasi-identifiers, the first among equals."""
    held = [
        [
            str(column)
            for column in one.frame.columns
            if (column in rules.quasi_identifiers if rules.quasi_identifiers else str(column).upper() in _QUASI)
        ]
        for one in before
    ]
    most = max(range(len(held)), key=lambda place: (len(held[place]), before[place].name.upper() == "ADSL", -place))
    names, old = held[most], before[most].frame
    first = old[~codes[most].duplicated()]
    new = after[most].frame
    stages = {"before": first[names], "after": new[~new[rules.subject].duplicated()]}
    present = [column for column in names if column in new.columns]
    stages["after"] = stages["after"][present]
    return k_anonymity(stages, names, smallest=rules.smallest)


def _said(rules: Rules, frame: pd.DataFrame) -> tuple[str, ...]:
    said = [f"Dates were moved by 1 to {rules.shift_days} days, forward or back, one number a subject."]
    done = set(frame["done"])
    if "top-coded" in done:
        said.append(f"Ages of {rules.oldest} and over read {rules.oldest}.")
    if "merged" in done:
        said.append(f"Categories of fewer than {rules.smallest} subjects were joined as {_OTHER}.")
    return tuple(said if "shifted" in done else said[1:])

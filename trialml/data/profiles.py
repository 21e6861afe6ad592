"""What a column holds, as far as its role may be guessed from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import as_codes
from trialml.data.date_text import parse_date_text
from trialml.data.disclosure import SMALLEST_CELL, outward_range, suppressed
from trialml.data.table import Table

__all__ = ["Profile", "follows", "profile_columns", "say_levels"]

_MOST_LEVELS = 50
_SAMPLE = 200
_YES_NO = frozenset({"0", "1", "true", "false", "yes", "no", "y", "n"})


class Profile(NamedTuple):
    """One column.

    Attributes
    ----------
    name, label
        The column, and its words where the file has some.
    kind
        ``number``, ``binary`` (0/1, yes/no, true/false), ``text``, ``date`` or ``empty``.
    rows, known, distinct
        Rows, rows with a value, and different values.
    levels
        The rows with each value, as codes, most frequent first; empty where there are more than 50.
    codes
        The value of each row, numbered from the most frequent, as in `levels`; -1 where missing, shape (rows,).
    numbers
        The values, shape (rows,), where they are numbers; None else.
    """

    name: str
    label: str
    kind: Literal["number", "binary", "text", "date", "empty"]
    rows: int
    known: int
    distinct: int
    levels: Mapping[str, int]
    codes: NDArray[np.intp]
    numbers: NDArray[np.float64] | None

    def rows_with(self, level: str) -> NDArray[np.bool_]:
        """Return which rows have this level, shape (rows,)."""
        return np.asarray(self.codes == list(self.levels).index(level))

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        if self.numbers is None:
            return False
        known = self.numbers[~np.isnan(self.numbers)]
        return bool((known == np.round(known)).all())

    def says(self) -> str:
        """Return what may be said of the values: level counts from 11 on, or a range rounded outward."""
        if self.kind in ("number", "binary") and self.numbers is not None and self.distinct > 2:
            low, high = outward_range(self.numbers)
            said = f"about {_plain(low)} to {_plain(high)}"
        elif self.levels:
            said = say_levels(self.levels)
        else:
            said = f"{self.distinct:,} different values"
        missing = self.rows - self.known
        if not missing:
            return said
        return f"{said}; missing: " + (f"fewer than {SMALLEST_CELL}" if missing < SMALLEST_CELL else f"{missing:,}")


def _plain(value: float) -> str:
    return f"{value:g}"


def say_levels(levels: Mapping[str, int], most: int = 8) -> str:
    """Return the levels with their counts, small ones without name or count, nor what would give them back."""
    hidden = suppressed(list(levels.values()))
    shown = [f"{level!r}: {count:,}" for (level, count), hide in zip(levels.items(), hidden, strict=True) if not hide]
    kept = shown[:most]
    others = len(levels) - len(kept)
    if others:
        kept.append(f"{others} other level{'s' if others > 1 else ''}")
    return ", ".join(kept)


def profile_columns(table: Table) -> dict[str, Profile]:
    """Return a profile of each column of a table.

    Parameters
    ----------
    table
        One row a patient.

    Returns
    -------
    dict
        Profile by column, in the order of the table.
    """
    return {str(name): _profile(table.frame[name], str(name), table) for name in table.frame.columns}


def _profile(column: pd.Series, name: str, table: Table) -> Profile:
    codes, values = pd.factorize(as_codes(column))
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    order = np.argsort(-counts, kind="stable")
    levels = {str(values[place]): int(counts[place]) for place in order} if len(values) <= _MOST_LEVELS else {}
    numbers = None if pd.api.types.is_datetime64_any_dtype(column) else _numbers(values, codes, table.decimal_comma)
    if pd.api.types.is_bool_dtype(column):
        numbers = None
    kind: Literal["number", "binary", "text", "date", "empty"]
    if not len(values):
        kind = "empty"
    elif pd.api.types.is_datetime64_any_dtype(column) or _are_dates(values):
        kind = "date"
    elif 0 < len(levels) <= 2 and {level.lower() for level in levels} <= _YES_NO:
        kind = "binary"
    else:
        kind = "text" if numbers is None else "number"
    known = int((codes >= 0).sum())
    ranks = np.empty(len(values) + 1, dtype=np.intp)
    ranks[order], ranks[-1] = np.arange(len(values)), -1
    codes = ranks[codes]
    return Profile(name, table.labels.get(name, ""), kind, len(column), known, len(values), levels, codes, numbers)


def _numbers(values: NDArray[np.object_], codes: NDArray[np.intp], decimal_comma: bool) -> NDArray[np.float64] | None:
    """Return the numbers of each row, or None where a value is none."""
    texts = pd.Series([str(value) for value in values], dtype=object)
    if decimal_comma:
        texts = texts.str.replace(",", ".", regex=False)
    found = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    if not len(found) or not np.isfinite(found).all():
        return None
    return np.asarray(np.append(found, math.nan)[codes], dtype=np.float64)


def _are_dates(values: NDArray[np.object_]) -> bool:
    sample = [str(value) for value in values[:_SAMPLE]]
    parsed = [parse_date_text(text) or parse_date_text(text, day_first=False) for text in sample]
    return sum(one is not None and one.precision != "year" for one in parsed) > len(sample) / 2


def follows(one: Profile, other: Profile) -> bool:
    """Whether each value of `other` has one value of `one`: `one` is a function of `other`, and no constant."""
    both = (one.codes >= 0) & (other.codes >= 0)
    if one.distinct < 2 or not both.any():
        return False
    pairs = np.unique(np.stack([other.codes[both], one.codes[both]]), axis=1)
    seen = len(np.unique(other.codes[both]))
    return pairs.shape[1] == seen and len(np.unique(one.codes[both])) > 1

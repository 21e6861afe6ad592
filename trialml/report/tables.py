"""A frame as the table that a reader sees: heads in words, numbers right, what is missing as a dash."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import pandas as pd

from trialml.result import Result, format_number, format_p

__all__ = ["KINDS", "Body", "Cell", "Head", "Table", "kinds_note", "kinds_of", "make_table", "table_of"]

KINDS = {
    "direct": ("direct", "an estimate from the trial itself"),
    "computed": ("computed", "follows from stated assumptions; no patient was observed for it"),
    "apparent": ("apparent", "measured on the very patients the model learned from, and so too good"),
    "corrected": ("optimism-corrected", "the apparent number less the optimism found by resampling"),
    "crossfit": ("cross-fitted", "measured on patients who were left out while the model learned"),
    "external": ("external", "measured on patients of another study"),
    "simulated": ("simulated", "the average over simulated trials, with a Monte Carlo error"),
}
"""What kind of number it is: the reader's word, and what the word means."""

MISSING = "\N{EN DASH}"

_WIDE = 8
_LONG = 24
_NUMBER = re.compile(
    r"""(?:NR|n/a|\N{EN DASH}|[<>\u2264\u2265]?\s?[+\-\N{MINUS SIGN}]?\.?\d[\d,.\u202f]*\s?%?)
    (?:\s?(?:[(\[/\u00b1\N{EN DASH}-]|to\s|of\s).*)?""",
    re.VERBOSE,
)
_SNAKE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_UNITS = re.compile(r"_(days|weeks|months|years|percent|per_month|per_year)$")
_CAPITALS = {"auc", "ci", "cif", "e9", "hr", "ici", "ipa", "km", "mc", "rmst", "sd", "se", "shap", "smd"}
_WORDS = {"low": "Lower limit", "high": "Upper limit", "n": "n", "p": "p", "p_value": "p", "mc_error": "MC error"}


class Cell(NamedTuple):
    """One cell; `indent` counts the steps a row's label stands in."""

    text: str
    number: bool = False
    missing: bool = False
    indent: int = 0


class Head(NamedTuple):
    """The head of a column."""

    text: str
    number: bool


class Body(NamedTuple):
    """Rows under one sub-heading, which is empty where there is none."""

    heading: str
    rows: tuple[tuple[Cell, ...], ...]


class Table(NamedTuple):
    """A table ready to be laid out: `wide` asks for smaller print on paper, `long` may break across pages."""

    heads: tuple[Head, ...]
    bodies: tuple[Body, ...]
    wide: bool
    long: bool


def table_of(result: Result) -> Table | None:
    """Return the table of a result, None where it has none to show."""
    frame = result.table()
    return None if frame is None or frame.empty else make_table(frame)


def make_table(frame: pd.DataFrame, *, words_only: bool = False) -> Table:
    """Return `frame` as a table.

    Parameters
    ----------
    frame
        Strings are shown as they are. Floats get three significant digits, p-values their own form, whole numbers
        thousands separators; NaN and None become an en dash, infinity ``NR``. A row whose cells but the first are
        empty strings is a sub-heading of the rows that follow.
    words_only
        Whether figures are names here, such as versions, and stand to the left like words.

    Returns
    -------
    Table
        Columns of numbers are marked for alignment to the right; the first column heads its row.
    """
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    heads, columns = [], []
    for position, name in enumerate(frame.columns):
        series = frame.iloc[:, position]
        words = [_show(value, str(name), whole=_is_whole(series)) for value in series]
        number = pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)
        number = not words_only and (number or (position > 0 and _mostly_numbers(words)))
        heads.append(Head(_head(name), number))
        columns.append([_cell(word, number) for word in words])
    rows = list(zip(*columns, strict=True))
    return Table(tuple(heads), _bodies(rows), len(heads) > _WIDE, len(rows) > _LONG)


def kinds_of(result: Result) -> tuple[str, ...]:
    """Return the kinds of number that a result holds, in the order of `KINDS`."""
    seen: set[str] = set()
    for frame in (result.frame(), result.table()):
        column = None if frame is None else _kind_column(frame)
        if frame is not None and column is not None:
            seen.update(str(kind) for kind in frame.iloc[:, column].dropna())
    return tuple(kind for kind in KINDS if kind in seen)


def kinds_note(result: Result) -> str:
    """Return a sentence that says the kind of the numbers, empty where a table shows it in a column of its own."""
    shown = result.table()
    if shown is not None and _kind_column(shown) is not None:
        return ""
    telling = [KINDS[kind][0] for kind in kinds_of(result) if kind not in {"direct", "computed"}]
    if not telling:
        return ""
    return f"{'Kinds' if len(telling) > 1 else 'Kind'} of number: {', '.join(telling)}."


def _kind_column(frame: pd.DataFrame) -> int | None:
    return next((place for place, name in enumerate(frame.columns) if str(name).lower() == "kind"), None)


def _is_whole(series: pd.Series) -> bool:
    """Whether a column of floats holds whole numbers only: 3 months are not 3.00 months."""
    if not pd.api.types.is_float_dtype(series):
        return False
    values = [float(value) for value in series if not pd.isna(value)]
    return bool(values) and all(value.is_integer() for value in values)


def _show(value: Any, name: str, *, whole: bool = False) -> str:
    if value is None or value is pd.NaT or value is pd.NA:
        return MISSING
    if name.lower() == "kind":
        return KINDS.get(str(value), (str(value), ""))[0]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "\N{MINUS SIGN}")
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return MISSING
    if name in {"p", "p_value"}:
        return format_p(value)
    if whole and math.isfinite(value):
        return f"{value:,.0f}".replace("-", "\N{MINUS SIGN}")
    return format_number(value)


def _cell(words: str, number: bool) -> Cell:
    bare = words.strip()
    indent = 0 if number else (len(words) - len(words.lstrip()) + 1) // 2
    return Cell(bare, number, bare == MISSING, min(indent, 3))


def _mostly_numbers(words: list[str]) -> bool:
    filled = [word.strip() for word in words if word.strip()]
    # A few words among numbers ("reference", "too few events") do not make a column of words.
    return sum(bool(_NUMBER.fullmatch(word)) for word in filled) > 0.6 * len(filled) if filled else False


def _bodies(rows: list[tuple[Cell, ...]]) -> tuple[Body, ...]:
    bodies: list[tuple[str, list[tuple[Cell, ...]]]] = [("", [])]
    for row in rows:
        heading, inside = bodies[-1]
        if len(row) > 1 and row[0].text and not any(cell.text for cell in row[1:]):
            bodies.append((row[0].text, []))
        elif heading and inside and inside[-1][0].indent > row[0].indent == 0:
            bodies.append(("", [row]))  # the indented rows of a sub-heading have ended
        else:
            inside.append(row)
    return tuple(Body(heading, tuple(inside)) for heading, inside in bodies if heading or inside)


def _head(name: Any) -> str:
    words = " ".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)
    if words in _WORDS:
        return _WORDS[words]
    if not _SNAKE.fullmatch(words):
        return words
    unit = _UNITS.search(words)
    if unit:
        words = words[: unit.start()]
    told = " ".join(part.upper() if part in _CAPITALS else part for part in words.split("_"))
    told = told if words.startswith("n_") else told[0].upper() + told[1:]
    return f"{told} ({unit[1].replace('_', ' ')})" if unit else told

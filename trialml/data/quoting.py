"""Which values of the data a sentence may print: a word that hardly anybody has may be the name of a patient."""

from __future__ import annotations

import re

import pandas as pd

from trialml.data.date_text import parse_date_text
from trialml.data.disclosure import SMALLEST_CELL

__all__ = ["listed", "may_be_shown", "quoted"]

_LONGEST = 20
_NAME = re.compile(r"[^\W\d_]{3}")
"""Three letters in a row: codes such as Y, 2x or <5 have fewer, and names of people as many."""
NOT_SHOWN = "(a text, not shown)"


def may_be_shown(value: object, times: int = 1) -> bool:
    """Return whether a sentence may print a value.

    Parameters
    ----------
    value
        The value.
    times
        In how many rows it stands.

    Returns
    -------
    bool
        True for numbers, for dates, and for what has at most 20 characters and no blank if 11 rows or more have it or it
        has no three letters in a row.
    """
    text = str(value).strip()
    if times >= SMALLEST_CELL and len(text) <= _LONGEST and not re.search(r"\s", text):
        return True
    if isinstance(value, bool) or (not re.search(r"\s|.{21}", text) and not _NAME.search(text)):
        return True
    try:
        float(text.replace(",", "."))
    except ValueError:
        return parse_date_text(text) is not None
    return True


def quoted(value: object, times: int = 1) -> str:
    """Return a value in quotes, or that it is not shown; `times` as in `may_be_shown`."""
    return f"'{str(value)[:40]}'" if may_be_shown(value, times) else NOT_SHOWN


def listed(column: pd.Series) -> str:
    """Return the levels of a column in words where they are few; those that may be names are counted alone.

    Parameters
    ----------
    column
        Codes, missing as None, shape (n,).
    """
    counts = column.value_counts()
    levels = sorted(counts.index, key=str)
    if len(levels) > 8 or len(levels) > max(2, len(column) // 2):
        return f"{len(levels)} different values"
    # A level of several words may be an arm of many patients, and then it names none of them.
    shown = [one for one in levels if counts[one] >= SMALLEST_CELL or may_be_shown(one)]
    words = ", ".join(f"'{one}'" for one in shown)
    others = len(levels) - len(shown)
    if not others:
        return words
    more = f"{others} value{'s' if others > 1 else ''} of fewer than {SMALLEST_CELL} patients"
    return f"{words} and {more}" if words else more

"""A data set as it was read: its columns, how it was read, and what was noticed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.findings import Finding
from trialml.errors import DataError

__all__ = ["MISSING_WORDS", "Table", "clean_values", "holds_numbers", "name_columns", "tidy_text"]

MISSING_WORDS = ("", "NA", "N/A", "NaN", "nan", ".")
"""What counts as missing. ``None`` does not: it is a category in many trials (prior therapy: None)."""

_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


@dataclass(frozen=True)
class Table:
    """A data set as it was read, and how in words.

    Attributes
    ----------
    frame
        The columns. Text sources hold text throughout (object, missing as None); typed sources (Parquet, SAS) hold
        text, floats (missing as NaN), booleans and dates (datetime64, missing as NaT). The index is the row number of
        the file: the heading of a text file is row 1, the first record of a typed one is row 1.
    origin
        The source as the study file names it.
    sha256
        Digest of the file's bytes.
    statements
        Sentences on how it was read (delimiter, encoding, byte-order mark, decimal mark).
    decimal_comma
        Whether numbers carry a decimal comma.
    labels, formats
        Words and display formats by column, where the source keeps them (SAS).
    findings
        What was noticed while reading, by column.
    heading
        Every column of the file, also those that were not kept.
    typed
        Whether the source has types of its own, so that a number stored as text is worth a note.
    member
        The name that the file itself gives to its data set, empty where it gives none.
    """

    frame: pd.DataFrame
    origin: str
    sha256: str
    statements: tuple[str, ...]
    decimal_comma: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    member: str = ""
    heading: tuple[str, ...] = ()
    typed: bool = False

    def findings_about(self, columns: Iterable[str]) -> tuple[Finding, ...]:
        """Return the findings on some columns."""
        wanted = set(columns)
        return tuple(one for one in self.findings if one.subject in wanted)


def holds_numbers(heading: Iterable[str]) -> bool:
    """Return whether a heading looks like a row of values: a name in it is a plain number."""
    return any(_NUMBER.fullmatch(name.strip()) for name in heading)


def name_columns(heading: Iterable[str], source: str) -> list[str]:
    """Return the names of a heading, blanks trimmed; a column without a name gets its place.

    Raises
    ------
    DataError
        If a name stands there twice, or the heading is a row of values.
    """
    names = [str(name).strip() for name in heading]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated and holds_numbers(names):
        message = (
            f"The first row of '{source}' holds numbers and seems to be a patient's, not a heading: put the names of the columns "
            "above it."
        )
        raise DataError(message)
    if repeated:
        raise DataError(f"The data name the column '{repeated[0]}' twice: rename one of them in '{source}'.")
    return [name or f"(column {place})" for place, name in enumerate(names, start=1)]


def clean_values(
    name: str, values: Iterable[str | None], counts: NDArray[np.intp]
) -> tuple[NDArray[np.object_], list[Finding]]:
    """Trim the distinct texts of a column and turn the words for missing into None.

    Parameters
    ----------
    name
        The column, for the findings.
    values
        Its distinct texts, length m.
    counts
        How often each occurs, shape (m,).

    Returns
    -------
    values : ndarray of object, shape (m,)
        Trimmed text or None.
    findings : list of Finding
        How many values were trimmed, and how many words were read as missing.
    """
    cleaned: list[str | None] = []
    trimmed = worded = 0
    words = set()
    for value, count in zip(values, counts.tolist(), strict=True):
        text = "" if value is None else value.strip()
        if text in MISSING_WORDS:
            cleaned.append(None)
            if text:
                worded += count
                words.add(text)
            continue
        trimmed += count if len(text) < len(value or "") else 0
        cleaned.append(text)
    findings = []
    if trimmed:
        found = f"{trimmed:,} value(s) of '{name}' began or ended with blanks."
        findings.append(Finding("blanks", name, trimmed, found, "The blanks were trimmed."))
    if worded:
        shown = ", ".join(f"'{word}'" for word in sorted(words))
        found = f"{worded:,} value(s) of '{name}' were {shown}."
        findings.append(Finding("missing word", name, worded, found, "They were read as missing."))
    result = np.empty(len(cleaned), dtype=object)
    result[:] = cleaned
    return result, findings


def tidy_text(name: str, column: Any) -> tuple[NDArray[np.object_], list[Finding]]:
    """Return a column of text (an arrow array or a series) as trimmed objects, equal values sharing one object.

    Each distinct text is looked at once, so that a long column costs little more than its codes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column if isinstance(column, pa.ChunkedArray | pa.Array) else pa.array(column, type=pa.string())
    # A chunked array keeps one dictionary for all its chunks.
    encoded = pa.chunked_array([array]) if isinstance(array, pa.Array) else array
    encoded = encoded.dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    distinct = encoded.dictionary.to_pylist()
    codes = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(distinct) + 1)
    values, findings = clean_values(name, [*distinct, None], counts)
    return values[codes], findings

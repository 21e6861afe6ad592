"""A file of patients scored block by block: the same numbers whatever the number of workers, and in the same memory."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trialml.data.read_blocks import BlockFile, open_blocks
from trialml.data.read_typed import arrow_columns
from trialml.data.table import MISSING_WORDS
from trialml.data.write_blocks import refuse_target, write_blocks
from trialml.errors import ModelInputError
from trialml.stratifier import Stratifier
from trialml.stratifier_weights import Written
from trialml.validation.parallel import in_order

__all__ = ["BLOCK_ROWS", "Scored", "score_file", "typed_covariates"]

STEP = 8_192
"""Patients scored at once, counted from the top of the file: a matrix product may round otherwise for another number of rows."""

BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class Scored:
    """What was done with a file of patients.

    Attributes
    ----------
    rows, refused_rows, flagged_rows
        Patients read, those without a number, and those scored with a remark.
    refused, flags
        Patients by reason; one patient may have several.
    """

    rows: int
    refused_rows: int
    flagged_rows: int
    refused: dict[str, int]
    flags: dict[str, int]


@dataclass(frozen=True)
class _Task:
    """Some rows as arrow's bytes, and what is made of them; nothing else is needed to score them anywhere."""

    content: bytes
    state: Written
    identifier: str | None
    horizon: float | None
    decimal_comma: bool


@dataclass(frozen=True)
class _Answer:
    content: bytes
    rows: int
    refused_rows: int
    flagged_rows: int
    refused: Counter[str]
    flags: Counter[str]


def score_file(
    model: Stratifier,
    source: str,
    out: Path,
    *,
    identifier: str | None = None,
    horizon: float | None = None,
    workers: int = 1,
    block_rows: int = BLOCK_ROWS,
    advance: Callable[[], None] = lambda: None,
) -> Scored:
    """Score the patients of a file.

    Parameters
    ----------
    model
        The fitted model.
    source
        A CSV, Parquet or SAS transport file, one row a patient.
    out
        The file to write, CSV or Parquet: one row a patient in the same order, with the columns of `Stratifier.columns`.
    identifier
        A column to carry through, put first; no other column of the patients is.
    horizon
        Another horizon at which the risk is read.
    workers
        Processes; -1 takes every core.
    block_rows
        Rows that a process takes at a time, rounded up to whole steps of the computation.
    advance
        Called after each block.

    Returns
    -------
    Scored
        Counts; the numbers themselves do not depend on `workers` and `block_rows`.

    Raises
    ------
    DataError, ModelInputError, OutputError
        If the file cannot be read or lacks a column, the horizon will not do, or the result cannot be written.
    """
    refuse_target(out)
    fields = [field.name for field in model.contract.fields]
    file = open_blocks(source, Path(), needed=[*fields, *([identifier] if identifier is not None else [])])
    asked = {} if horizon is None else {"horizon": horizon}
    model.predict(pd.DataFrame([model.contract.example()]), asked)  # refuses a horizon before anything is read
    clash = {name for name, _ in model.columns()} & {identifier}
    if clash:
        raise ModelInputError(
            f"The column '{identifier}' has the name of one that the model gives: rename it in the data."
        )
    counts = _Counts()
    wanted = list(dict.fromkeys(([identifier] if identifier is not None else []) + fields))
    rows = -(-max(block_rows, 1) // STEP) * STEP
    tasks = _tasks(file, wanted, rows, model.written(), identifier, horizon)
    answers = in_order(_score, tasks, workers=workers, advance=advance)
    write_blocks(map(counts.take, answers), out)
    return counts.done()


class _Counts:
    def __init__(self) -> None:
        self.rows = self.refused_rows = self.flagged_rows = 0
        self.refused: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()

    def take(self, answer: _Answer) -> Any:
        self.rows += answer.rows
        self.refused_rows += answer.refused_rows
        self.flagged_rows += answer.flagged_rows
        self.refused += answer.refused
        self.flags += answer.flags
        return _unpacked(answer.content)

    def done(self) -> Scored:
        refused, flags = (dict(counter.most_common()) for counter in (self.refused, self.flags))
        return Scored(self.rows, self.refused_rows, self.flagged_rows, refused, flags)


def _tasks(
    file: BlockFile, wanted: Sequence[str], rows: int, state: Written, identifier: str | None, horizon: float | None
) -> Iterator[_Task]:
    for table in file.blocks(wanted, rows):
        yield _Task(_packed(table), state, identifier, horizon, file.decimal_comma)


def _packed(table: Any) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpacked(content: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all()


@functools.lru_cache(maxsize=2)
def _loaded(state: Written) -> Stratifier:
    return Stratifier.from_text(state.text, weights=state.weights)


def _score(task: _Task) -> _Answer:
    """Score some rows, on one thread: several would add up in another order."""
    import pyarrow as pa
    from threadpoolctl import threadpool_limits

    model, table = _loaded(task.state), _unpacked(task.content)
    frame = typed_covariates(table, model, comma=task.decimal_comma)
    asked = {} if task.horizon is None else {"horizon": task.horizon}
    with threadpool_limits(1):
        parts = [model.predict(frame.iloc[at : at + STEP], asked) for at in range(0, len(frame), STEP)]
    scored = parts[0] if len(parts) == 1 else pd.concat(parts, copy=False)
    columns = {} if task.identifier is None else {task.identifier: table.column(task.identifier)}
    for name, kind in model.columns():
        columns[name] = pa.array(
            scored[name].to_numpy(), pa.float64() if kind == "double" else pa.string(), from_pandas=True
        )
    refused, flags = (scored[name].to_numpy() for name in ("refused", "flags"))
    kept = refused == ""
    return _Answer(
        _packed(pa.table(columns)),
        len(frame),
        int((~kept).sum()),
        int((kept & (flags != "")).sum()),
        _by_reason(refused),
        _by_reason(flags[kept]),
    )


def _by_reason(texts: Any) -> Counter[str]:
    counted: Counter[str] = Counter()
    codes, distinct = pd.factorize(texts)
    for text, count in zip(distinct, np.bincount(codes, minlength=len(distinct)).tolist(), strict=True):
        counted.update(dict.fromkeys(text.split("; ") if text else (), count))
    return counted


def typed_covariates(table: Any, model: Stratifier, *, comma: bool) -> pd.DataFrame:
    """Return the covariates as `Stratifier.predict` takes them; numbers that come as text are read in one go where all can be."""
    typed: dict[str, Any] = {}
    left: list[str] = []
    for field in model.contract.fields:
        numbers = None if field.kind == "categorical" else _parsed(table.column(field.name), comma)
        if numbers is None:
            left.append(field.name)
        else:
            typed[field.name] = numbers
    if left:
        frame, _ = arrow_columns(table.select(left))
        typed |= {name: frame[name] for name in left}
    if comma:
        for name in (
            field.name for field in model.contract.fields if field.kind != "categorical" and field.name in left
        ):
            typed[name] = typed[name].map(lambda one: one.replace(",", ".") if isinstance(one, str) else one)
    return pd.DataFrame(typed, copy=False)


def _parsed(column: Any, comma: bool) -> Any:
    """Return text as numbers, or None where it is no text, or a value of it is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    trimmed = pc.utf8_trim_whitespace(column)
    known = pc.if_else(pc.is_in(trimmed, pa.array(MISSING_WORDS, column.type)), None, trimmed)
    if comma:
        known = pc.replace_substring(known, ",", ".")
    try:
        numbers = pc.cast(known, pa.float64())
    except pa.ArrowInvalid:
        return None
    # A word that arrow takes for NaN is no missing value to us.
    return None if pc.any(pc.is_nan(numbers)).as_py() else numbers.to_numpy()

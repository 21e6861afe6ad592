"""Performance over the repeats of a cross-validation: the average of what each repeat shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import pandas as pd

from trialml.errors import DataError
from trialml.validation.binary import BinaryPerformance
from trialml.validation.by_group import GroupPerformance
from trialml.validation.continuous import ContinuousPerformance
from trialml.validation.performance import Performance

__all__ = ["average_by_group", "average_performance"]

Judged = TypeVar("Judged", Performance, BinaryPerformance, ContinuousPerformance)


def average_performance(repeats: Sequence[Judged]) -> Judged:
    """Return the measures, limits and standard errors averaged over repeats.

    Parameters
    ----------
    repeats
        The same measures of the same models at the same horizons, from other splits of the same patients; of a time to
        event, a binary or a continuous endpoint.

    Returns
    -------
    Performance, BinaryPerformance or ContinuousPerformance
        The standard error is that of a single repeat, on average: repeating steadies the number, but not the sample. p is
        of the averaged difference over its averaged standard error.

    Raises
    ------
    DataError
        If there is no repeat, or they differ in what was measured.
    """
    tables = [one.measures for one in repeats]
    keys = [key for key in ("measure", "horizon", "model", "reference") if not tables or key in tables[0]]
    mean = _mean(tables, keys)
    gaps = (mean["reference"] != "") & (mean["se"] > 0)
    z = (mean["value"] / mean["se"]).abs()
    mean["p"] = [math.erfc(one / math.sqrt(2)) if gap else math.nan for one, gap in zip(z, gaps, strict=True)]
    return replace(repeats[0], measures=mean)


def average_by_group(repeats: Sequence[GroupPerformance]) -> GroupPerformance:
    """Return the measures of each group averaged over repeats, with limits and standard errors; as `average_performance`.

    Raises
    ------
    DataError
        If there is no repeat, or they differ in what was measured.
    """
    mean = _mean([one.measures for one in repeats], ["group", "measure"])
    return replace(repeats[0], measures=mean)


def _mean(tables: Sequence[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    if not tables:
        raise DataError("there is no repeat to average: pass at least one")
    first = tables[0]
    for place, table in enumerate(tables[1:], start=2):
        if not first[keys].equals(table[keys]):
            raise DataError(
                f"repeat {place} does not measure what the first does: judge the same models at the same horizons"
            )
    made = first.copy()
    for column in ("value", "low", "high", "se"):
        made[column] = sum(table[column] for table in tables) / len(tables)
    return made

"""Is every patient whom one can think of in exactly one stratum? Proved by trying all values that the rules tell apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from trialml.errors import ModelInputError
from trialml.strata.conditions import Condition, Rule

__all__ = ["refuse_no_partition"]

_MOST_CASES = 200_000


def refuse_no_partition(rules: Sequence[Rule], strata: int) -> None:
    """Refuse rules by which a patient would be in no stratum or in two.

    Between cut-points, and within and without the named categories, all patients fare alike, so that one value of each kind
    proves it for all.

    Raises
    ------
    ModelInputError
        If a combination of values meets no rule or several, a rule is of a stratum that there is not, conditions on one
        column contradict each other on what it is, or the combinations are too many to be tried.
    """
    outside = [rule.stratum for rule in rules if not 0 <= rule.stratum < strata]
    if outside:
        raise ModelInputError(f"a rule is of stratum {outside[0] + 1}, but there are {strata}: number them from 0.")
    by_column: dict[str, list[Condition]] = {}
    for condition in (one for rule in rules for one in rule.conditions):
        by_column.setdefault(condition.column, []).append(condition)
    values = {column: _cases(column, conditions) for column, conditions in by_column.items()}
    cases = math.prod(len(one) for one in values.values())
    if cases > _MOST_CASES:
        raise ModelInputError(f"the rules tell {cases:,} kinds of patients apart: use fewer columns or cut-points.")
    combined = list(itertools.product(*values.values()))
    patients = pd.DataFrame(
        {column: pd.Series([row[place] for row in combined], dtype=object if isinstance(values[column][0], str) else float)
         for place, column in enumerate(values)},
        index=range(cases),
    )  # fmt: skip
    met = np.zeros(cases, dtype=np.intp)
    for rule in rules:
        met += rule.met(patients, unseen="other")
    wrong = np.flatnonzero(met != 1)
    if wrong.size:
        shown = ", ".join(f"{column} = {value}" for column, value in zip(values, combined[wrong[0]], strict=True))
        how = "no rule" if met[wrong[0]] == 0 else f"{met[wrong[0]]} rules"
        raise ModelInputError(
            f"a patient with {shown or 'any values'} meets {how}: every patient must meet exactly one."
        )


def _cases(column: str, conditions: Sequence[Condition]) -> list[Any]:
    """Return one value of each kind that the conditions on a column tell apart, a missing one last where it has a place."""
    kinds = {(one.numeric, one.binary, one.missing is None) for one in conditions}
    if len(kinds) > 1:
        raise ModelInputError(
            f"the conditions on '{column}' differ in whether it is a number, yes or no, or may be missing: make them agree."
        )
    (numeric, binary, required) = kinds.pop()
    lacking = [] if required else [math.nan if numeric else None]
    if binary:
        return [0.0, 1.0, *lacking]
    if numeric:
        cuts = sorted({float(one.value) for one in conditions if not isinstance(one.value, tuple)})
        return [float(np.nextafter(cuts[0], -math.inf)), *cuts, *lacking]
    named = {category for one in conditions if isinstance(one.value, tuple) for category in (*one.value, *one.known)}
    return [*sorted(named), *lacking]

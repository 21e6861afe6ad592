"""Conditions on a patient at baseline, and rules made of them: in words, in plain JSON, and met or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import ModelInputError
from trialml.models.columns import as_numbers, as_texts, require_columns

__all__ = ["BENEFIT", "RISK", "Condition", "Rule", "Side", "Unseen", "exact_words"]

Flags = NDArray[np.bool_]
Side = Literal["below", "at least", "is", "is not"]
Unseen = Literal["refuse", "other"]
"""What becomes of a category that the trial did not have: a refusal, or it is taken for none of those named."""

BENEFIT = "benefit_score"
RISK = "risk"
"""The columns in which new patients bring their scores."""

_OPPOSITE: dict[str, Side] = {"below": "at least", "at least": "below", "is": "is not", "is not": "is"}


def exact_words(value: float) -> str:
    """Return a number with every digit that it has, so that reading it back gives the same number."""
    short = f"{value:,.15g}"
    words = short if float(short.replace(",", "")) == value else repr(float(value))
    return words.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Condition:
    """A question about one column at baseline that a patient's value answers with yes or no.

    Attributes
    ----------
    column, label
        The column's name in the data, and in words.
    side
        ``"below"`` or ``"at least"`` a cut-point (a value on it is at least that), ``"is"`` or ``"is not"`` one of some categories.
    value
        The cut-point, or the categories.
    missing
        Whether a missing value meets the condition; None where the trial lacked no value, and a missing one is refused.
    known
        All categories that the trial had; another one is refused.
    unit
        Unit of the cut-point.
    binary
        Whether the column holds 0 (no) and 1 (yes) alone, the cut-point being 1.
    """

    column: str
    label: str
    side: Side
    value: float | tuple[str, ...]
    missing: bool | None = None
    known: tuple[str, ...] = ()
    unit: str = ""
    binary: bool = False

    @property
    def numeric(self) -> bool:
        """Whether the condition is on a number."""
        return self.side in ("below", "at least")

    def opposite(self) -> Self:
        """Return the condition that everybody else meets."""
        missing = None if self.missing is None else not self.missing
        return replace(self, side=_OPPOSITE[self.side], missing=missing)

    def words(self) -> str:
        """Return the condition as a protocol says it; the side that takes missing values says so."""
        if self.binary:
            said = f"{self.label}: {'yes' if self.side == 'at least' else 'no'}"
        elif isinstance(self.value, tuple):
            said = f"{self.label} {self.side} {' or '.join(self.value)}"
        else:
            said = f"{self.label} {self.side} {exact_words(self.value)}{' ' if self.unit else ''}{self.unit}"
        return said + (" (or missing)" if self.missing else "")

    def met(self, patients: pd.DataFrame, *, unseen: Unseen = "refuse") -> Flags:
        """Return who meets the condition, shape (n,).

        Parameters
        ----------
        patients
            One row a patient, with the condition's column.
        unseen
            What becomes of a category that the trial did not have.

        Raises
        ------
        ModelInputError
            If the column is missing or stands there twice, holds another type, a category that the trial did not have, or
            missing values of which the rule says nothing.
        """
        require_columns(patients, [self.column])
        column = patients[self.column]
        if isinstance(self.value, tuple):
            texts = as_texts(self.column, column)
            lacking = texts.isna().to_numpy(dtype=np.bool_)
            if unseen == "refuse":
                self._refuse_unseen(texts, lacking)
            met = texts.isin(self.value).to_numpy(dtype=np.bool_) ^ (self.side == "is not")
        else:
            numbers = as_numbers(self.column, column)
            lacking = np.isnan(numbers)
            if self.binary:
                self._refuse_not_binary(numbers[~lacking])
            met = (numbers >= self.value) if self.side == "at least" else (numbers < self.value)
        if lacking.any() and self.missing is None:
            raise ModelInputError(
                f"'{self.column}' is missing in {int(lacking.sum())} of {len(column)} patients, and the strata do not say where such a "
                "patient belongs, as the trial had every value: give the values."
            )
        return np.asarray(np.where(lacking, bool(self.missing), met), dtype=np.bool_)

    def _refuse_unseen(self, texts: pd.Series, lacking: Flags) -> None:
        new = ~lacking & ~texts.isin(self.known).to_numpy(dtype=np.bool_)
        if new.any():
            raise ModelInputError(
                f"'{self.column}' has in {int(new.sum())} of {len(texts)} patients a category that the trial did not have: use one of "
                f"{', '.join(self.known)}."
            )

    def _refuse_not_binary(self, numbers: NDArray[np.float64]) -> None:
        wrong = int((~np.isin(numbers, (0.0, 1.0))).sum())
        if wrong:
            raise ModelInputError(f"'{self.column}' is neither 0 nor 1 in {wrong} patients: code no as 0 and yes as 1.")

    def state(self) -> dict[str, Any]:
        """Return the condition as plain JSON types."""
        value = list(self.value) if isinstance(self.value, tuple) else float(self.value)
        kept: dict[str, Any] = {"column": self.column, "label": self.label, "side": self.side, "value": value}
        kept["missing"] = {None: "refused", True: "meets it", False: "does not meet it"}[self.missing]
        return kept | {"known": list(self.known), "unit": self.unit, "binary": self.binary}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the condition that `state` described.

        Raises
        ------
        ModelInputError
            If it has a side, a treatment of missing values, or a value that no condition has.
        """
        side, value = state["side"], state["value"]
        missing = {"refused": None, "meets it": True, "does not meet it": False}
        if side not in _OPPOSITE or state["missing"] not in missing:
            raise ModelInputError(
                f"a condition on '{state['column']}' has the side {side!r} and missing values {state['missing']!r}: the sides are "
                f"{', '.join(_OPPOSITE)}, and a missing value is {', '.join(missing)}."
            )
        number = isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
        if number != (side in ("below", "at least")) or not (number or isinstance(value, list)):
            raise ModelInputError(
                f"a condition on '{state['column']}' is '{side}' {value!r}: give a finite number to below and at least, a list of "
                "categories to is and is not."
            )
        kept = float(value) if number else tuple(str(one) for one in value)
        known = tuple(str(one) for one in state["known"])
        return cls(
            state["column"], state["label"], side, kept, missing[state["missing"]], known, state["unit"], bool(state["binary"])
        )  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """Conditions that must all be met for a patient to be in a stratum, given by its place; none: everybody."""

    stratum: int
    conditions: tuple[Condition, ...]

    def words(self) -> str:
        """Return the conditions joined by "and", cut-points of one column as a range."""
        said, columns = [], dict.fromkeys((one.column, one.numeric and not one.binary) for one in self.conditions)
        for column, ranged in columns:
            own = [one for one in self.conditions if one.column == column]
            said += _range_words(own) if ranged else list(dict.fromkeys(one.words() for one in own))
        return " and ".join(said) or "everybody"

    def met(self, patients: pd.DataFrame, *, unseen: Unseen = "refuse") -> Flags:
        """Return who meets all conditions, shape (n,); raises as `Condition.met`."""
        inside = np.ones(len(patients), dtype=np.bool_)
        for condition in self.conditions:
            inside &= condition.met(patients, unseen=unseen)
        return inside

    def state(self) -> dict[str, Any]:
        """Return the rule as plain JSON types."""
        return {"stratum": self.stratum, "conditions": [condition.state() for condition in self.conditions]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the rule that `state` described."""
        return cls(int(state["stratum"]), tuple(Condition.from_state(one) for one in state["conditions"]))


def _range_words(own: Sequence[Condition]) -> list[str]:
    """Return the conditions on one number as one range."""
    lows = [one for one in own if one.side == "at least"]
    highs = [one for one in own if one.side == "below"]
    missing = all(one.missing for one in own)
    low = max(lows, key=_number, default=None)
    high = min(highs, key=_number, default=None)
    if low is None or high is None:
        only = low or high
        return [] if only is None else [replace(only, missing=missing).words()]
    unit = f" {low.unit}" if low.unit else ""
    words = f"{low.label} from {exact_words(_number(low))} to below {exact_words(_number(high))}{unit}"
    return [words + (" (or missing)" if missing else "")]


def _number(condition: Condition) -> float:
    """Return the cut-point of a condition on a number."""
    assert not isinstance(condition.value, tuple)
    return condition.value

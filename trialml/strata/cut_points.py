"""Where covariates may be cut: at most 32 round cut-points each, and the questions that trees ask of patients."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.models.columns import as_numbers, as_texts, require_columns
from trialml.models.input_contract import InputContract, InputField
from trialml.strata.conditions import Condition

__all__ = ["MOST_CUTS", "Question", "Questions", "cut_between", "quantile_cuts"]

Floats = NDArray[np.float64]
Bins = NDArray[np.uint8]

MOST_CUTS = 32
"""Cut-points a covariate: between any two values, or at the quantiles of the training patients where there are more."""


def cut_between(low: float, high: float) -> float:
    """Return the roundest number above `low` and not above `high`.

    Between two neighbouring values any cut parts the same patients, so that the number which the words show in full can be the one
    that is applied. Of multiples of one power of ten the one nearest to the middle is taken; `high` itself where no number of up to
    15 digits lies between.

    Parameters
    ----------
    low, high
        Neighbouring values, ``low < high``.
    """
    middle = low + (high - low) / 2
    first = math.floor(math.log10(high - low)) + 1
    last = math.floor(math.log10(max(abs(low), abs(high)))) - 15
    for power in range(first, min(last, first) - 1, -1):
        step = 10.0**power
        near = round(middle / step)
        for multiple in (near, near - 1, near + 1):
            # Dividing by a whole power of ten rounds once; multiplying by a tenth would leave 0.30000000000000004.
            value = float(multiple * 10**power) if power >= 0 else multiple / 10**-power
            if low < value <= high:
                return value
    return high


def quantile_cuts(values: Floats, groups: int) -> Floats:
    """Return at most ``groups - 1`` round cut-points that part values at their quantiles, ascending.

    Parameters
    ----------
    values
        Finite numbers, shape (n,).
    groups
        Parts of about equal size; fewer where values are tied. Where most share the lowest value, what is above it is one part.
    """
    distinct = np.unique(values)
    if len(distinct) <= 1:
        return np.empty(0)
    wanted = np.quantile(values, np.arange(1, groups) / groups)
    place = np.unique(np.searchsorted(distinct, wanted, side="left"))
    place = place[(place > 0) & (place < len(distinct))]
    if not len(place):
        place = np.asarray([1])
    return np.asarray([cut_between(float(distinct[at - 1]), float(distinct[at])) for at in place])


@dataclass(frozen=True)
class Question:
    """One covariate in bins: the patients below each cut-point against the rest, or one category against the rest.

    Attributes
    ----------
    field
        The covariate.
    cuts
        Cut-points, ascending; empty for a category.
    category
        The category; empty for numbers.
    missing_below
        For each cut (for a category, once) whether a missing value belongs to the lower side ("is not" for a category).
    """

    field: InputField
    cuts: tuple[float, ...]
    category: str
    missing_below: tuple[bool, ...]

    @property
    def splits(self) -> int:
        """How many ways there are to part the patients."""
        return 1 if self.category else len(self.cuts)

    def bins(self, X: pd.DataFrame) -> Bins:
        """Return each patient's bin, from 0; bins up to i are the lower side of cut i, shape (n,)."""
        column = X[self.field.name]
        if self.category:
            return np.asarray(as_texts(self.field.name, column).isin([self.category]), dtype=np.uint8)
        numbers = as_numbers(self.field.name, column)
        placed = np.searchsorted(np.asarray(self.cuts), numbers, side="right")
        # Where training patients lack the value, the question sends it one way at all cuts: to the lowest or the highest bin.
        placed[np.isnan(numbers)] = 0 if self.missing_below[0] else len(self.cuts)
        return placed.astype(np.uint8)

    def conditions(self, split: int) -> tuple[Condition, Condition]:
        """Return the conditions of the lower and of the upper side of a split."""
        field = self.field
        missing = None if field.required else self.missing_below[split]
        if self.category:
            known = field.categories
            lower = Condition(field.name, field.label, "is not", (self.category,), missing, known)
        else:
            binary = field.kind == "binary"
            lower = Condition(field.name, field.label, "below", self.cuts[split], missing, binary=binary)
        return lower, lower.opposite()


@dataclass(frozen=True)
class Questions:
    """All questions that a tree may ask, in the order of the covariates, learned from the training patients' covariates alone."""

    asked: tuple[Question, ...]

    @classmethod
    def learn(cls, X: pd.DataFrame, contract: InputContract, *, most_cuts: int = MOST_CUTS) -> Self:
        """Return the questions about some patients' covariates.

        Parameters
        ----------
        X
            Covariates of the training patients, shape (n, p).
        contract
            The types, labels and categories of the covariates in the whole trial: they say what a category is, and whether a
            value can be missing at all, so that rules of all folds speak of the same things.
        most_cuts
            Cut-points a covariate, from 1 to 254.

        Raises
        ------
        AnalysisError
            If `most_cuts` is out of range.
        ModelInputError
            If a column is missing or of another type.
        """
        if not 1 <= most_cuts <= 254:
            raise AnalysisError(
                f"most_cuts = {most_cuts} cut-points a covariate cannot be searched: choose from 1 to 254."
            )
        require_columns(X, [field.name for field in contract.fields])
        asked: list[Question] = []
        for field in contract.fields:
            if field.kind == "categorical":
                asked += _of_categories(field)
            else:
                asked += _of_numbers(field, as_numbers(field.name, X[field.name]), most_cuts)
        return cls(tuple(asked))

    def bins(self, X: pd.DataFrame) -> Bins:
        """Return every patient's bin in every question, shape (n, questions)."""
        if not self.asked:
            return np.empty((len(X), 0), dtype=np.uint8)
        return np.ascontiguousarray(np.column_stack([question.bins(X) for question in self.asked]))

    @property
    def splits(self) -> NDArray[np.int64]:
        """The number of splits of each question, shape (questions,)."""
        return np.asarray([question.splits for question in self.asked], dtype=np.int64)


def _cuts(known: Floats, most: int) -> tuple[float, ...]:
    """Return a cut-point between any two neighbouring values, or, where these are more than `most`, at quantiles."""
    distinct = np.unique(known)
    if len(distinct) - 1 <= most:
        return tuple(cut_between(float(low), float(high)) for low, high in itertools.pairwise(distinct))
    return tuple(quantile_cuts(known, most + 1).tolist())


def _of_categories(field: InputField) -> list[Question]:
    """Return one question a category; of two categories the second question would be the first again."""
    named = field.categories[:1] if len(field.categories) == 2 and field.required else field.categories
    return [Question(field, (), category, (True,)) for category in named]


def _of_numbers(field: InputField, numbers: Floats, most_cuts: int) -> list[Question]:
    """Return the question about a number: twice, missing values below and above, where some are missing."""
    lacking = np.isnan(numbers)
    known = numbers[~lacking]
    # Of 0 and 1 the cut-point is 1.
    cuts = _cuts(known, 1 if field.kind == "binary" else most_cuts)
    if not cuts:
        return []
    if lacking.any():
        return [Question(field, cuts, "", (below,) * len(cuts)) for below in (True, False)]
    # Nobody of these patients lacks the value: whoever does is sent with the larger side.
    middle = float(np.median(known))
    return [Question(field, cuts, "", tuple(middle < cut for cut in cuts))]

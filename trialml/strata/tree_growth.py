"""What trees on doubly robust scores share: the patients in whole numbers, the smallest leaf, and from splits to rules in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.models.input_contract import InputContract
from trialml.strata.conditions import Condition
from trialml.strata.cut_points import MOST_CUTS, Questions

__all__ = ["Leaf", "LeafLimits", "Node", "TreePatients"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class LeafLimits:
    """The fewest patients, and events, that a leaf has in each arm of the patients whom a tree is learned from."""

    patients_per_arm: int = 20
    events_per_arm: int = 10


@dataclass(frozen=True)
class Leaf:
    """A leaf: the conditions on the way to it, and the places of the training patients in it."""

    conditions: tuple[Condition, ...]
    rows: Rows


@dataclass(frozen=True)
class Node:
    """A split by its question and place with what is below it; without a question it is a leaf."""

    question: int = -1
    split: int = -1
    lower: Node | None = None
    upper: Node | None = None

    def leaves(self, patients: TreePatients, rows: Rows, way: tuple[Condition, ...] = ()) -> Iterator[Leaf]:
        """Yield the leaves from the lowest to the highest side, with their patients among `rows`."""
        if self.question < 0 or self.lower is None or self.upper is None:
            yield Leaf(way, rows)
            return
        below = patients.bins[rows, self.question] <= self.split
        lower, upper = patients.questions.asked[self.question].conditions(self.split)
        yield from self.lower.leaves(patients, rows[below], (*way, lower))
        yield from self.upper.leaves(patients, rows[~below], (*way, upper))


@dataclass(frozen=True)
class TreePatients:
    """The patients whom a tree is learned from, in bins and in whole numbers.

    Attributes
    ----------
    questions
        What may be asked.
    bins
        Shape (n, questions).
    quantities
        Score in units of `unit`, patient by arm, event by arm, shape (n, 5).
    unit
        What 1 of the score's whole numbers is worth: a power of two, so small that rounding changes a sum of all scores by less than
        2^-40 of the largest score.
    limits
        Smallest sums of the quantities in a leaf, shape (5,).
    """

    questions: Questions
    bins: NDArray[np.uint8]
    quantities: Ints
    unit: float
    limits: Ints

    @classmethod
    def of(
        cls,
        X: pd.DataFrame,
        scores: Floats,
        treated: Flags,
        event: Flags | None,
        contract: InputContract,
        *,
        limits: LeafLimits,
        most_cuts: int = MOST_CUTS,
    ) -> Self:
        """Put patients into bins and whole numbers.

        Raises
        ------
        DataError
            If the arrays do not fit each other, or a score is not finite.
        AnalysisError
            If an arm is smaller than a leaf's must be, or a covariate is the treatment itself.
        """
        n = len(X)
        if not n == len(scores) == len(treated) or (event is not None and len(event) != n):
            raise DataError(f"X has {n} rows for {len(scores)} scores and {len(treated)} arms: pass one a patient")
        if not np.isfinite(scores).all():
            raise DataError(f"{int((~np.isfinite(scores)).sum())} scores are not finite: leave these patients out")
        happened = np.zeros(n, dtype=np.bool_) if event is None else event
        arms = np.column_stack([~treated, treated, ~treated & happened, treated & happened]).astype(np.int64)
        smallest = np.asarray([limits.patients_per_arm] * 2 + [0 if event is None else limits.events_per_arm] * 2)
        _refuse_small(arms.sum(axis=0), smallest)
        questions = Questions.learn(X, contract, most_cuts=most_cuts)
        bins = questions.bins(X)
        whole, unit = _fixed_point(scores)
        quantities = np.ascontiguousarray(np.column_stack([whole, arms]))
        known = cls(questions, bins, quantities, unit, np.concatenate([[0], smallest]).astype(np.int64))
        known.refuse_treatment()
        return known

    def refuse_treatment(self) -> None:
        """Refuse a covariate one of whose splits parts the arms.

        Raises
        ------
        AnalysisError
            Which names the covariate.
        """
        sums, totals = self.sums(np.arange(len(self.bins)))
        below = np.cumsum(sums[1, :, :, 1:3], axis=1)
        arms = totals[1, 1:3]
        parted = ((below == arms) & (below[:, :, ::-1] == 0)).any(axis=2)
        if arms.all() and parted.any():
            name = self.questions.asked[int(np.argwhere(parted)[0, 0])].field.name
            raise AnalysisError(
                f"The covariate '{name}' tells the arms apart without error: it follows from the treatment; leave it out."
            )

    def sums(self, rows: Rows) -> tuple[Ints, Ints]:
        """Return the sums of some patients by question and bin on side 1, side 0 empty, and their totals, shape (2, 5)."""
        from trialml.strata.tree_passes import fill_sums

        bins = int(self.bins.max(initial=0)) + 1
        by_bin = np.zeros(
            (2, self.bins.shape[1], max(bins, int(self.questions.splits.max(initial=0)) + 1), 5), np.int64
        )
        fill_sums(self.bins, self.quantities, rows.astype(np.int64), 1, by_bin)
        totals = np.zeros((2, 5), dtype=np.int64)
        totals[1] = self.quantities[rows].sum(axis=0)
        return by_bin, totals


def _refuse_small(total: Ints, smallest: Ints) -> None:
    """Refuse patients who do not even fill one leaf."""
    words = ("patients in the control arm", "patients in the experimental arm",
             "events in the control arm", "events in the experimental arm")  # fmt: skip
    for have, need, what in zip(total, smallest, words, strict=True):
        if have < need:
            raise AnalysisError(
                f"{have} {what} do not fill one leaf of a tree, which needs {need}: use strata by a score."
            )


def _fixed_point(scores: Floats) -> tuple[Ints, float]:
    """Return scores as whole numbers, none of whose sums exceeds 2^62, and what 1 is worth."""
    largest = float(np.abs(scores).max(initial=0.0))
    bits = 61 - math.ceil(math.log2(len(scores) + 1))
    unit = 2.0 ** (math.frexp(largest)[1] - min(bits, 52)) if largest > 0 else 1.0
    return np.rint(scores / unit).astype(np.int64), unit

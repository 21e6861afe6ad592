"""Strata by rules that are learned again without each patient: what the patients' effects in strata are read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.errors import AnalysisError
from trialml.strata.conditions import BENEFIT, RISK
from trialml.strata.strata import Strata, StrataKind

__all__ = ["HeldOutStrata", "LearnedRule", "crossvalidate_strata", "estimand_words", "grid_sides", "in_final_order"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

LearnedRule = tuple[Callable[[Rows], Rows], Callable[[Rows], Floats]]
"""From rows of patients to their strata, numbered as the final rule's; and to their doubly robust scores, by nuisance models of the
training patients."""

_AVERAGE = (
    "The effect is the average over the rules that the repeats learned, which is not that of the one rule printed here."
)
_ESTIMANDS: Mapping[StrataKind, str] = {
    "benefit": f"A stratum stands for a range of ranks of the benefit score, by models that had not seen the patient. {_AVERAGE}",
    "risk": f"A stratum stands for a range of the {{risk}}, by models and cut-points that had not seen the patient. {_AVERAGE}",
    "risk by benefit": (
        f"A stratum stands for a cell of {{risk}} by benefit score, by models and cut-points that had not seen the patient. {_AVERAGE}"
    ),
    "tree": (
        "A stratum stands for a place in the order of predicted effects: in the lowest are the patients whom a tree that had not seen "
        f"them put into its leaf with the lowest predicted effect, whatever its questions were. {_AVERAGE}"
    ),
    "policy tree": (
        "Recommended are the patients to whom a tree that had not seen them recommends the experimental arm, whatever its questions "
        f"were. {_AVERAGE}"
    ),
}


def estimand_words(kind: StrataKind, risk_name: str = "risk") -> str:
    """Return what a stratum stands for where every fold has a rule of its own; `risk_name` is what is predicted where that is no risk."""
    return _ESTIMANDS[kind].format(risk=risk_name)


class HeldOutStrata(NamedTuple):
    """What rules that never saw the patient say, and what happened; rows are repeats, columns patients.

    Attributes
    ----------
    score
        Doubly robust scores from nuisance models of the other folds, shape (repeats, n).
    member
        The place of the stratum, as the final rule numbers them, shape (repeats, n).
    fold
        The fold of each patient, shape (repeats, n).
    """

    score: Floats
    member: Rows
    fold: Rows


def crossvalidate_strata(
    learn: Callable[[Rows], LearnedRule],
    n: int,
    *,
    cells: NDArray[np.str_],
    folds: int,
    repeats: int,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> HeldOutStrata:
    """Learn everything on all folds but one and read scores and strata on the one left out, in turn.

    Parameters
    ----------
    learn
        Given training rows, learns models, scores, rule and cut-points on them alone.
    n
        Patients.
    cells, folds, repeats, seed
        As in `trialml.validation.benefit.crossvalidate_response`, whose folds are the same for the same seed. At least six repeats:
        a single cross-fit moves by nearly half its standard error from split to split.
    advance
        Called after each fold.

    Returns
    -------
    HeldOutStrata
        Every patient once in each repeat.
    """
    sources = np.random.SeedSequence(seed).spawn(repeats)
    fold = np.array([fold_labels(cells, folds, np.random.default_rng(one)) for one in sources])
    held = HeldOutStrata(np.empty((repeats, n)), np.empty((repeats, n), dtype=np.intp), fold)
    for repeat, labels in enumerate(fold):
        for train, test in splits(labels):
            strata_of, scores_of = learn(train)
            held.score[repeat, test] = scores_of(test)
            held.member[repeat, test] = strata_of(test)
            advance()
    return held


def in_final_order(place: Rows, own: Strata, final: Strata) -> Rows:
    """Return places in a fold's strata as places in the final ones, shape (n,).

    Parameters
    ----------
    place
        Places by the fold's strata.
    own, final
        The strata of the fold and of all patients, of one kind. Where both have as many strata, places are the same. A fold with
        more or fewer leaves, or with tied scores, is read by the nearest place in the order: the i-th of k strata (from 0) is that of the
        final K which holds ``(i + 1/2) K / k``; a grid so in each of its directions.

    Raises
    ------
    AnalysisError
        If the strata are of different kinds.
    """
    if own.kind != final.kind:
        raise AnalysisError(
            f"strata by {own.kind} cannot be read as strata by {final.kind}: learn one kind in all folds."
        )
    if own.kind == "risk by benefit":
        (_, columns), (final_rows, final_columns) = grid_sides(own), grid_sides(final)
        rows = len(own.strata) // columns
        risk, benefit = place // columns, place % columns
        return _nearest(risk, rows, final_rows) * final_columns + _nearest(benefit, columns, final_columns)
    return _nearest(place, len(own.strata), len(final.strata))


def _nearest(place: Rows, count: int, final: int) -> Rows:
    return np.asarray((2 * place + 1) * final // (2 * count), dtype=np.intp)


def grid_sides(grid: Strata) -> tuple[int, int]:
    """Return how many groups of risk and of benefit a grid has."""
    counts = [
        1 + len({c.value for rule in grid.rules for c in rule.conditions if c.column == column})
        for column in (RISK, BENEFIT)
    ]
    return counts[0], counts[1]

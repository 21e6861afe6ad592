"""A shallow regression tree on the doubly robust scores: a description of who differs, in words.

Splits are chosen one at a time for the largest sum of squares between the two parts (Breiman L, Friedman J, Olshen R, Stone C.
Classification and Regression Trees, Wadsworth 1984, ch. 8). The means of its leaves in the patients it was grown from are far too
extreme: the effects of its strata are cross-fitted (`trialml.strata.crossfit`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.models.input_contract import InputContract
from trialml.strata.conditions import Rule
from trialml.strata.cut_points import MOST_CUTS
from trialml.strata.strata import Strata, Stratum, ordered_names
from trialml.strata.tree_growth import LeafLimits, Node, TreePatients

__all__ = ["ScoreTree", "score_tree"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DEEPEST = 3


class ScoreTree(NamedTuple):
    """A tree's leaves as strata, ordered by predicted effect, and these predictions.

    Attributes
    ----------
    strata
        From the lowest to the highest predicted effect; a single one where no split was possible.
    apparent_means
        The mean score of each leaf's training patients, what the leaves are ordered by: never an estimate of effect.
    """

    strata: Strata
    apparent_means: tuple[float, ...]


def score_tree(
    X: pd.DataFrame,
    scores: Floats,
    treated: Flags,
    event: Flags | None,
    contract: InputContract,
    *,
    depth: int = 2,
    limits: LeafLimits | None = None,
    most_cuts: int = MOST_CUTS,
) -> ScoreTree:
    """Return a tree that describes how the scores vary with the covariates.

    Parameters
    ----------
    X, scores, treated, event, contract, limits, most_cuts
        As in `trialml.strata.policy_tree.policy_tree`.
    depth
        Questions on the way to a leaf, from 1 to 3.

    Returns
    -------
    ScoreTree
        Of equal splits the first is kept, by the order of the covariates and of their cut-points.

    Raises
    ------
    AnalysisError
        If `depth` is not from 1 to 3, and as `TreePatients.of`.
    DataError
        As `TreePatients.of`.
    """
    if depth not in range(1, DEEPEST + 1):
        raise AnalysisError(f"a tree of depth {depth} cannot be said in a protocol: choose from 1 to {DEEPEST}.")
    # Centred, the whole numbers keep more digits of what differs.
    finite = scores[np.isfinite(scores)]
    centred = scores - (finite.mean() if len(finite) else 0.0)
    limits = limits or LeafLimits()
    known = TreePatients.of(X, centred, treated, event, contract, limits=limits, most_cuts=most_cuts)
    everybody = np.arange(len(X))
    flat = 1e-12 * float((known.quantities[:, 0].astype(np.float64) ** 2).sum())
    leaves = list(_grow(known, everybody, depth, flat).leaves(known, everybody))
    means = [float(scores[leaf.rows].mean()) for leaf in leaves]
    order = np.argsort(means, kind="stable")
    rules = tuple(Rule(place, leaves[at].conditions) for place, at in enumerate(order))
    names = ordered_names(len(rules), "predicted effect")
    strata = tuple(Stratum(name, rule.words()) for name, rule in zip(names, rules, strict=True))
    return ScoreTree(Strata(strata, (), "tree", rules), tuple(means[at] for at in order))


def _grow(known: TreePatients, rows: NDArray[np.intp], depth: int, flat: float) -> Node:
    """Return the tree of some patients; a split that explains no more than `flat` is none."""
    from trialml.strata.tree_passes import best_score_split

    if depth == 0:
        return Node()
    sums, totals = known.sums(rows)
    found, lower = np.empty(2, dtype=np.int64), np.empty(5, dtype=np.int64)
    gain = best_score_split(sums, totals, known.questions.splits, known.limits, lower, found)
    if gain <= flat:
        return Node()
    question, split = int(found[0]), int(found[1])
    below = known.bins[rows, question] <= split
    lower_node, upper_node = (_grow(known, part, depth - 1, flat) for part in (rows[below], rows[~below]))
    return Node(question, split, lower_node, upper_node)

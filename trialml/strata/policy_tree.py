"""The policy tree of depth two that is best on the doubly robust scores, found by trying all.

Whom to treat by a rule with at most two questions: the tree that maximises the sum of scores of those it recommends the
experimental arm, which is the gain over recommending it to nobody (Athey S, Wager S. Policy learning with observational data.
Econometrica 2021;89:133-161; Zhou Z, Athey S, Wager S. Offline multi-action policy learning. Oper Res 2023;71:148-183).
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
from trialml.strata.strata import Strata, Stratum
from trialml.strata.tree_growth import LeafLimits, Node, TreePatients

__all__ = ["NOT_RECOMMENDED", "RECOMMENDED", "PolicyTree", "policy_tree"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NOT_RECOMMENDED, RECOMMENDED = "Not recommended by the rule", "Recommended by the rule"


class PolicyTree(NamedTuple):
    """A policy tree and what it promises of its own training patients.

    Attributes
    ----------
    strata
        Not recommended, then recommended; one of the two may be nobody.
    apparent_gain
        Mean of ``score - margin`` of those recommended, over all training patients: optimistic, as the tree was chosen for it.
    """

    strata: Strata
    apparent_gain: float


def policy_tree(
    X: pd.DataFrame,
    scores: Floats,
    treated: Flags,
    event: Flags | None,
    contract: InputContract,
    *,
    depth: int = 2,
    margin: float = 0.0,
    limits: LeafLimits | None = None,
    most_cuts: int = MOST_CUTS,
) -> PolicyTree:
    """Return the best policy tree.

    Parameters
    ----------
    X
        Covariates of the training patients, shape (n, p).
    scores
        Their doubly robust scores, shape (n,); positive is benefit.
    treated, event
        Arm, and whether the event was seen, each of shape (n,); no event where the endpoint has none.
    contract
        Types, labels and categories of the covariates in the whole trial.
    depth
        1 or 2 questions on the way to a leaf.
    margin
        The smallest benefit that is worth the treatment, in the unit of the scores.
    limits
        The smallest leaf.
    most_cuts
        Cut-points a covariate, at quantiles: up to 32 are tried exhaustively. A covariate with missing values is tried with them
        below and above its cut-points; of categories one is tried against the rest, missing values with the rest.

    Returns
    -------
    PolicyTree
        Sums are of whole numbers, so equal trees are equal: the one with no split comes before one split, one split before more,
        and then the order of the covariates and of their cut-points decides.

    Raises
    ------
    AnalysisError
        If `depth` is neither 1 nor 2, and as `TreePatients.of`.
    DataError
        As `TreePatients.of`.
    """
    if depth not in (1, 2):
        raise AnalysisError(f"a policy tree of depth {depth} is not searched exhaustively: choose 1 or 2.")
    limits = limits or LeafLimits()
    known = TreePatients.of(X, scores - margin, treated, event, contract, limits=limits, most_cuts=most_cuts)
    node, value = _search(known, depth)
    leaves = list(node.leaves(known, np.arange(len(X))))
    rules = tuple(Rule(int(known.quantities[leaf.rows, 0].sum() > 0), leaf.conditions) for leaf in leaves)
    return PolicyTree(_strata(rules), value * known.unit / len(X))


def _search(known: TreePatients, depth: int) -> tuple[Node, int]:
    """Return the best tree, and its sum of scores in whole numbers."""
    from trialml.strata.tree_passes import best_policy_tree

    n = len(known.bins)
    sums, totals = known.sums(np.arange(n))
    order = np.ascontiguousarray(np.argsort(known.bins, axis=0, kind="stable").T.astype(np.int64))
    found, trial, lower = np.full(6, -1, dtype=np.int64), np.empty(4, dtype=np.int64), np.empty(5, dtype=np.int64)
    splits = known.questions.splits
    if depth == 1:
        # Without rows to move, the search stays at the root.
        order = order[:, :0].copy()
        nobody = known.bins[:0], known.quantities[:0]
        value = best_policy_tree(*nobody, order, sums, totals, splits, known.limits, lower, trial, found)
    else:
        value = best_policy_tree(
            known.bins, known.quantities, order, sums, totals, splits, known.limits, lower, trial, found
        )
    pairs = [(int(found[at]), int(found[at + 1])) for at in (0, 2, 4)]
    if pairs[0][0] < 0:
        return Node(), int(value)
    children = [Node(*pair, Node(), Node()) if pair[0] >= 0 else Node() for pair in pairs[1:]]
    return Node(*pairs[0], *children), int(value)


def _strata(rules: tuple[Rule, ...]) -> Strata:
    """Return the two strata with all rules of each in words."""
    said = ["; or ".join(rule.words() for rule in rules if rule.stratum == place) or "nobody" for place in (0, 1)]
    strata = tuple(Stratum(name, words) for name, words in zip((NOT_RECOMMENDED, RECOMMENDED), said, strict=True))
    return Strata(strata, (), "policy tree", rules)

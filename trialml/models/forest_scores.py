"""Benefit by a regression forest on the doubly robust scores, for trials that are large enough for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.columns import names_of
from trialml.models.encode import CovariateEncoder
from trialml.models.shrunk_benefit import ShrunkBenefit, checked_scores, pooled_slope
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign

__all__ = ["MODEL", "ForestScores"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEWEST_PATIENTS = 1000
"""Below, forests that were not shrunk did worse than the average effect for everybody in all patterns that were simulated."""


class ForestScores(ShrunkBenefit):
    """Mean of the leaves that a patient falls into, over trees grown on bootstrap samples of half the trial's size.

    A tree's leaf says by how much its patients' mean score differs from the mean of the sample that the tree was grown on.
    Leaves are large, because scores are noisy: the standard deviation of one is many times the differences looked for.
    The slope is that of the scores on what the trees that never saw the patient say, so that no forest is grown twice;
    its Monte Carlo error is the jackknife's over `repeats` groups of trees. Missing covariates are sent down the side of a
    split that fits better.

    Parameters
    ----------
    trees : int
    leaf : float
        Smallest leaf, as a share of the sample that a tree is grown on, a patient drawn twice counted once in the leaf.
    share : float
        Share of the columns that each split looks at: all, because with a few columns that matter among many a split that does
        not see them is wasted, and the samples already make trees differ.
    seed : int
    repeats : int
        Groups of trees that the Monte Carlo error is taken over.
    gate : float or None
        As in `ShrunkBenefit`.
    fewest_patients : int
        Fewer are refused.

    Attributes
    ----------
    design_ : TreeDesign
    trees_ : TreeArrays

    References
    ----------
    Breiman L. Random forests. Mach Learn 2001;45:5-32. Nie X, Wager S. Quasi-oracle estimation of heterogeneous treatment effects.
    Biometrika 2021;108:299-319.
    """

    def __init__(
        self,
        trees: int = 300,
        leaf: float = 0.15,
        share: float = 1.0,
        seed: int = 1,
        repeats: int = 20,
        gate: float | None = None,
        fewest_patients: int = FEWEST_PATIENTS,
    ) -> None:
        self.trees = trees
        self.leaf = leaf
        self.share = share
        self.seed = seed
        self.repeats = repeats
        self.gate = gate
        self.fewest_patients = fewest_patients

    def fit(self, X: pd.DataFrame, y: NDArray[np.float64]) -> Self:
        """Fit on covariates X, shape (n, p), and doubly robust scores y, shape (n,).

        Raises
        ------
        AnalysisError
            If there are fewer than `fewest_patients`.
        DataError
            If a score is missing, or they are of another shape.
        """
        from sklearn.ensemble import RandomForestRegressor

        scores = checked_scores(y, len(X))
        n = len(scores)
        if n < self.fewest_patients:
            raise AnalysisError(
                f"A forest on doubly robust scores was asked for with {n:,} patients: use it with {self.fewest_patients:,} or "
                "more, and ridge_scores or lasso_scores here."
            )
        self.feature_names_in_ = names_of(X)
        self.design_ = TreeDesign.learn(X, None)
        # The trees of scikit-learn compare in single precision.
        matrix = self.design_.matrix(X).astype(np.float32)
        half = n // 2
        forest = RandomForestRegressor(
            n_estimators=self.trees,
            min_samples_leaf=max(1, int(self.leaf * half)),
            max_features=self.share,
            max_samples=half,
            random_state=self.seed,
        ).fit(matrix, scores)
        self._learn_trees(forest, matrix.astype(np.float64), scores)
        self._open_or_close(CovariateEncoder().fit(X).transform(X), scores)
        return self

    def _learn_trees(self, forest: Any, matrix: Floats, scores: Floats) -> None:
        trees = TreeArrays.of_forest(forest)
        drawn = [np.bincount(sample, minlength=len(scores)) for sample in forest.estimators_samples_]
        # Less the mean of its own sample: else those left out differ from it, in the other direction, by construction.
        ends = np.append(trees.root[1:], len(trees.value))
        for start, end, count in zip(trees.root, ends, drawn, strict=True):
            trees.value[start:end] -= count @ scores / count.sum()
        said = trees.value[trees.leaves(matrix)]
        unseen = np.asarray(drawn).T == 0
        self.slope_, self.slope_mc_error_ = _unseen_slope(said, unseen, scores, min(self.repeats, self.trees))
        trees.value /= len(trees.root)
        self.trees_ = trees
        self.centre_, self.average_ = float(trees.total(matrix).mean()), float(scores.mean())

    def for_folds(self, share: float) -> Self:
        """Return an unfitted copy for the folds of a cross-validation: the size of the whole trial is judged once, not theirs."""
        model = super().for_folds(share)
        model.set_params(fewest_patients=0)
        return model

    def _said(self, X: pd.DataFrame) -> Floats:
        return self.trees_.total(self.design_.matrix(X).astype(np.float32).astype(np.float64))

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {"design": self.design_.state(), "trees": self.trees_.state(), **self._shrinkage_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls()
        model.design_ = TreeDesign.from_state(state["design"])
        model.trees_ = TreeArrays.from_state(state["trees"])
        model._take_shrinkage(state)
        return model


def _unseen_slope(said: Floats, unseen: Flags, scores: Floats, groups: int) -> tuple[float, float]:
    """Return the slope of scores on the mean of the trees that did not see the patient, and its Monte Carlo error.

    Parameters
    ----------
    said, unseen
        What each tree says, and whether it had left the patient out, shape (n, trees).
    groups
        Of trees, dealt in turn: the error is the root of ``(g - 1) / g`` times the sum of squares of the slopes without
        one group each about their mean.
    """
    kept, left = np.where(unseen, said, 0.0), scores - scores.mean()

    def slope(total: Floats, count: Floats) -> float:
        out = total / np.maximum(count, 1.0)
        return pooled_slope(np.array([[out @ left, out @ out]]), flat=1e-12 * len(scores))[0]

    total, count = kept.sum(axis=1), unseen.sum(axis=1).astype(np.float64)
    whole = slope(total, count)
    if groups < 2:
        return whole, float("nan")
    without = np.array(
        [slope(total - kept[:, g::groups].sum(axis=1), count - unseen[:, g::groups].sum(axis=1)) for g in range(groups)]
    )
    return whole, float(np.sqrt((groups - 1) * np.mean((without - without.mean()) ** 2)))


MODEL = Model(
    name="forest_scores",
    question="response",
    words=(
        "a regression forest on doubly robust scores (trees with large leaves, grown on bootstrap samples of half the trial's size), shrunk "
        "towards the average effect by the calibration slope of those trees that had not seen the patient"
    ),
    estimator=ForestScores,
    fewest_patients=FEWEST_PATIENTS,
)

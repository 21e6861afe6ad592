"""Which number of a model is explained, on which scale, and by which exact way there is for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.shapley import (
    MOST_ENUMERATED,
    FrameGame,
    Game,
    LineGame,
    ShapleyValues,
    shapley_enumerated,
    shapley_sampled,
)
from trialml.explain.tree_boxes import Boxes
from trialml.explain.tree_shap import shap_values_trees

__all__ = ["PERTURBATIONS", "ExplainedScore", "Perturbation", "Way"]

Floats = NDArray[np.float64]
Perturbation = Literal["interventional", "path-dependent"]
PERTURBATIONS: tuple[Perturbation, ...] = ("interventional", "path-dependent")
Way = Literal["line", "trees", "enumerated", "sampled"]

MOST_FRAMES = 400_000
MOST_SUMS = 8_000_000
"""Scores of mixed patients that are computed rather than sampled: by a model, and of sums of what covariates add."""


@dataclass(frozen=True)
class ExplainedScore:
    """A score of patients, and how its SHAP values are computed.

    Attributes
    ----------
    covariates
        The columns of a frame of patients that the score reads.
    value
        Returns the score of a frame, shape (n, outputs).
    unit
        Of the score.
    boxes, matrix
        The leaves of trees whose sum the score is, and what turns a frame into their columns; None for any other score.
    parts, link
        What each covariate adds to a line, shape (n, covariates), and the score of the sum; None for any other score.
    """

    covariates: tuple[str, ...]
    value: Callable[[pd.DataFrame], Floats]
    unit: str
    boxes: Boxes | None = None
    matrix: Callable[[pd.DataFrame], Floats] | None = None
    parts: Callable[[pd.DataFrame], Floats] | None = None
    link: Callable[[Floats], Floats] | None = None

    def explain(
        self,
        X: pd.DataFrame,
        background: pd.DataFrame | None,
        *,
        seed: int,
        perturbation: Perturbation = "interventional",
    ) -> tuple[ShapleyValues, Way]:
        """Return the SHAP values of some patients, and whether they are exact.

        Parameters
        ----------
        X, background
            Patients, and those whose values stand in for covariates that are left out; None for the path-dependent perturbation.
        seed
            Of sampled orders.
        perturbation
            ``"path-dependent"`` is for scores that are sums of trees.

        Returns
        -------
        values, way
            Exact where the score is a sum of trees, or where its sets of covariates can all be looked at (at most 10 covariates);
            sampled with a stated error beyond.

        Raises
        ------
        AnalysisError
            If the perturbation does not go with the score, or the sums are broken.
        """
        if perturbation == "path-dependent" and self.boxes is None:
            raise AnalysisError(
                "A path-dependent explanation is for a score that is a sum of trees, and this one is not: choose the interventional perturbation."
            )
        if self.boxes is not None and self.matrix is not None:
            given = None if perturbation == "path-dependent" else self.matrix(_known(background))
            found = shap_values_trees(self.boxes, self.matrix(X), len(self.covariates), given)
            self._refuse_another_score(X, found.base + np.sum(found[0], axis=1))
            return ShapleyValues(found.values, found.base, found.error, np.zeros_like(found.values)), "trees"
        game, most = self.game(X, _known(background)), MOST_FRAMES if self.parts is None else MOST_SUMS
        if game.covariates <= MOST_ENUMERATED and 2**game.covariates * game.patients * game.background <= most:
            return shapley_enumerated(game), "enumerated"
        return shapley_sampled(game, seed=seed), "sampled"

    def game(self, X: pd.DataFrame, background: pd.DataFrame) -> Game:
        """Return the score of patients mixed with those of a background."""
        if self.parts is not None and self.link is not None:
            return LineGame(self.link, self.parts(X), self.parts(background))
        names = list(self.covariates)
        return FrameGame(self.value, X[names], background[names])

    def _refuse_another_score(self, X: pd.DataFrame, added: Floats) -> None:
        """Hold the sums against the model itself, not the leaves that they were computed from."""
        said = self.value(X)
        error = float(np.abs(added - said).max(initial=0.0))
        if not error <= 1e-7 * max(1.0, float(np.abs(said).max(initial=0.0))):
            raise AnalysisError(f"SHAP values miss the score by {error:.3g}: the explanation is refused, not shown.")


def _known(background: pd.DataFrame | None) -> pd.DataFrame:
    if background is None or not len(background):
        raise AnalysisError("An interventional explanation needs a background: give some patients.")
    return background


def names_without(names: Sequence[Any], left_out: str | None) -> tuple[str, ...]:
    """Return names as text, but for one."""
    return tuple(str(name) for name in names if str(name) != left_out)

"""Which covariates move a score together: SHAP interaction values of trees, and of any score with few covariates."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.explained_score import ExplainedScore, Perturbation
from trialml.explain.shapley import MOST_ENUMERATED, Game, means_of_sets
from trialml.explain.tree_shap import shap_interactions_trees
from trialml.result import COLOURS, Result, format_number, plain_text

__all__ = ["Interactions", "interactions", "interactions_enumerated"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Interactions(Result):
    """Mean absolute SHAP interaction values of pairs of covariates.

    Attributes
    ----------
    subject, unit, background, how
        What is explained, in what, against whom and by which way, in words.
    rows
        One row a pair, the strongest first: first, second, mean_absolute (of both halves together), share (of all that pairs and single
        covariates move).
    alone
        The share of what the covariates move each by itself.
    n
        Patients.
    """

    title = "Covariates that act together"
    figure_size = (7.2, 4.0)
    methods = (
        "SHAP interaction values part what a pair of covariates does together from what each does alone, so that all of them add up to the "
        "score: for each patient, the mean over sets of the other covariates of f(both) - f(one) - f(other) + f(neither). They depend on the scale: "
        "effects that are additive on the log hazard interact on the risk."
    )
    references = (
        "Lundberg SM, Erion G, Chen H, et al. From local explanations to global understanding with explainable AI for trees. Nat Mach "
        "Intell 2020;2:56-67.",
    )

    subject: str
    unit: str
    background: str
    how: str
    rows: pd.DataFrame
    alone: float
    n: int

    def heading(self) -> str:
        """Return the title with what is explained."""
        return f"{self.title} in {self.subject}"

    def frame(self) -> pd.DataFrame:
        """Return one row a pair."""
        return self.rows.assign(scale="mean absolute SHAP interaction value", unit=self.unit, kind="apparent")

    def text(self) -> str:
        """Return the three strongest pairs, and how much is left to single covariates."""
        first = "; ".join(
            f"{row.first} and {row.second} ({format_number(row.mean_absolute, 2)})"
            for row in self.rows.head(3).itertuples()
        )
        return (
            f"Of what moves {self.subject}, {100 * self.alone:.0f} % is of covariates each by itself. The pairs that move it most together: "
            f"{first or 'none'} (mean absolute SHAP interaction values, in {self.unit}; {self.how}, against {self.background}; {self.n:,} patients)."
        )

    def scalars(self) -> dict[str, float]:
        """Return the share of single covariates."""
        return {"shap_share_of_single_covariates": self.alone}

    def table(self) -> pd.DataFrame:
        """Return the ten strongest pairs."""
        rows = self.rows.head(10)
        return pd.DataFrame(
            {
                "Covariates": [f"{row.first} and {row.second}" for row in rows.itertuples()],
                f"Mean |interaction|, {self.unit}": [format_number(x, 2) for x in rows["mean_absolute"]],
                "Share": [f"{100 * x:.1f} %" for x in rows["share"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw the ten strongest pairs."""
        axes, rows = figure.subplots(), self.rows.head(10).iloc[::-1]
        axes.barh(range(len(rows)), rows["mean_absolute"], color=COLOURS["experimental"])
        names = [plain_text(f"{row.first} and {row.second}") for row in rows.itertuples()]
        axes.set_yticks(range(len(rows)), names)
        axes.set_xlabel(f"Mean absolute interaction ({self.unit})")


def interactions(
    score: ExplainedScore,
    X: pd.DataFrame,
    background: pd.DataFrame | None,
    *,
    labels: dict[str, str],
    subject: str,
    words: str,
    perturbation: Perturbation = "interventional",
) -> Interactions:
    """Return which pairs of covariates move a score together.

    Parameters
    ----------
    score
        With one output.
    X, background
        Patients, and those that stand in for what is left out.
    labels, subject, words
        Words by covariate, what is explained, and who the background is.
    perturbation
        As for `ExplainedScore.explain`.

    Raises
    ------
    AnalysisError
        If the score has several outputs, or is no sum of trees and has more than 10 covariates.
    """
    if score.boxes is not None and score.matrix is not None:
        others = None if perturbation == "path-dependent" or background is None else score.matrix(background)
        values = shap_interactions_trees(score.boxes, score.matrix(X), len(score.covariates), others)[0]
        how = f"{perturbation}, exact, from the trees"
    else:
        if background is None:
            raise AnalysisError(
                "Interactions of a score that is no sum of trees need a background: give some patients."
            )
        values, how = (
            interactions_enumerated(score.game(X, background)),
            "interventional, exact, from all sets of covariates",
        )
    mean = np.abs(values).mean(axis=0)
    names, total = [labels.get(name, name) for name in score.covariates], float(mean.sum()) or 1.0
    pairs = [
        (names[i], names[j], float(2 * mean[i, j]), float(2 * mean[i, j] / total))
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if mean[i, j] > 0
    ]
    rows = pd.DataFrame(pairs, columns=["first", "second", "mean_absolute", "share"])
    rows = rows.sort_values("mean_absolute", ascending=False, kind="stable").reset_index(drop=True)
    return Interactions(subject, score.unit, words, how, rows, float(np.trace(mean) / total), len(X))


def interactions_enumerated(game: Game) -> Floats:
    """Return the exact SHAP interaction values of a score with one output, shape (n, covariates, covariates).

    Parameters
    ----------
    game
        Of at most 10 covariates. Off the diagonal half of ``sum over S without i and j of |S|! (p - |S| - 2)! / (p - 1)!
        (v(S, i, j) - v(S, i) - v(S, j) + v(S))``; rows sum to the Shapley values.

    Raises
    ------
    AnalysisError
        If there are more covariates, or several outputs.
    """
    sets, means = means_of_sets(game)
    if means.shape[2] != 1:
        raise AnalysisError(
            f"Interactions are computed for one output, but the score has {means.shape[2]}: choose one."
        )
    v, p, size = means[:, :, 0], game.covariates, sets.sum(axis=1)
    found = np.zeros((game.patients, p, p))
    for i in range(p):
        without = np.flatnonzero(~sets[:, i])
        weight = np.array([1 / (p * comb(p - 1, one)) for one in size[without]])
        found[:, i, i] = weight @ (v[without + (1 << i)] - v[without])
        for j in range(i):
            neither = np.flatnonzero(~sets[:, i] & ~sets[:, j])
            weight = np.array([1 / ((p - 1) * comb(p - 2, one)) for one in size[neither]])
            both = v[neither + (1 << i) + (1 << j)] - v[neither + (1 << i)] - v[neither + (1 << j)] + v[neither]
            found[:, i, j] = found[:, j, i] = weight @ both / 2
    places = np.arange(p)
    found[:, places, places] -= found.sum(axis=2) - found[:, places, places]
    return found


def enumerable(score: ExplainedScore) -> bool:
    """Whether the interactions of a score can be computed."""
    return score.boxes is not None or len(score.covariates) <= MOST_ENUMERATED

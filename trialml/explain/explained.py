"""SHAP values of any model's score, summarised: what moves it, whatever kind of model it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.explain.explained_score import ExplainedScore, Perturbation, Way
from trialml.explain.linear import Explanation, summarised

__all__ = ["Explained", "ModelExplanation", "background_of", "explain_score", "explanation"]

Floats = NDArray[np.float64]

WAYS: dict[Way, str] = {
    "line": "exact, from the line",
    "trees": "exact, from the trees",
    "enumerated": "exact, from all sets of covariates",
    "sampled": "from sampled orders of the covariates",
}


class Explained(NamedTuple):
    """SHAP values of some patients: for making results of, never kept.

    Attributes
    ----------
    names : tuple of str
        Covariates.
    values, mc_error : ndarray of shape (n, covariates, outputs)
        The values, and a bound on the Monte Carlo error of each.
    base : ndarray of shape (outputs,)
    error : float
        The largest error of a sum.
    way
        How they were computed.
    perturbation, unit
        What stands in for covariates that are left out, and the score's unit.
    """

    names: tuple[str, ...]
    values: Floats
    base: Floats
    error: float
    mc_error: Floats
    way: Way
    perturbation: Perturbation
    unit: str

    @property
    def how(self) -> str:
        """Perturbation and way, in words."""
        return f"{self.perturbation}, {WAYS[self.way]}"

    def of(self, output: int = -1) -> Floats:
        """Return the values of one output, shape (n, covariates)."""
        return np.asarray(self[1][:, :, output])

    def importance(self, output: int = -1) -> Floats:
        """Return the mean absolute value of each covariate, shape (covariates,)."""
        return np.asarray(np.abs(self.of(output)).mean(axis=0))


@dataclass(frozen=True, eq=False)
class ModelExplanation(Explanation):
    """How much each covariate moves a score that is no line."""

    methods = (
        "Explanations are SHAP values: the mean over all orders of the covariates of what one adds to the score when it is known after those "
        "before it. What is not yet known is taken from background patients (interventional) or by going down both sides of a split in the "
        "shares of the patients that did (path-dependent). For scores that are sums over trees they are exact, all columns of a covariate "
        "moving together; for others all sets of up to 10 covariates are looked at, or orders are sampled and the Monte Carlo error is "
        "stated. That each patient's values add up to the score is checked. They describe the model, not causes."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Lundberg SM, Lee SI. A unified approach to interpreting model predictions. Advances in Neural Information Processing "
        "Systems 2017;30:4765-4774.",
        "Lundberg SM, Erion G, Chen H, et al. From local explanations to global understanding with explainable AI for trees. Nat Mach "
        "Intell 2020;2:56-67.",
        "Strumbelj E, Kononenko I. Explaining prediction models and individual predictions with feature contributions. Knowl Inf Syst "
        "2014;41:647-665.",
    )


def explain_score(
    score: ExplainedScore,
    X: pd.DataFrame,
    background: pd.DataFrame | None,
    *,
    seed: int,
    perturbation: Perturbation = "interventional",
) -> Explained:
    """Return the SHAP values of patients.

    Parameters
    ----------
    score
        What is explained.
    X, background
        Patients, and those that stand in for what is left out.
    seed, perturbation
        As for `ExplainedScore.explain`.

    Raises
    ------
    AnalysisError
        If the perturbation does not go with the score, or a sum is broken.
    """
    found, way = score.explain(X, background, seed=seed, perturbation=perturbation)
    return Explained(
        score.covariates, found.values, found.base, found.error, found.mc_error, way, perturbation, score.unit
    )


def explanation(
    explained: Explained,
    baseline: pd.DataFrame,
    *,
    labels: dict[str, str],
    subject: str,
    background: str,
    output: int = -1,
) -> ModelExplanation:
    """Summarise SHAP values: importance, and means in ranges of at least 11 patients.

    Parameters
    ----------
    explained
        SHAP values of n patients.
    baseline
        Their covariates as measured, n rows.
    labels
        Words by covariate.
    subject, background
        What is explained, and who the background is, in words.
    output
        Of several.
    """
    importance, bins = summarised(explained.of(output), explained.names, baseline, labels)
    largest = float(explained.mc_error[:, :, output].max(initial=0.0))
    return ModelExplanation(
        subject, explained.unit, background, importance, bins, explained.error, len(baseline), explained.how, largest
    )


def background_of(X: pd.DataFrame, who: NDArray[np.bool_], most: int, seed: int) -> pd.DataFrame:
    """Return at most some of the patients chosen, drawn without replacement; the sample is not kept.

    Parameters
    ----------
    X
        Patients, n rows.
    who
        From whom is drawn, shape (n,).
    most, seed
        How many, and the seed of the draw.
    """
    rows = np.flatnonzero(who)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    return X.iloc[rows]

"""A model small enough for paper that stands in for a larger one, and how faithful it is on patients it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import AnalysisError
from trialml.explain.linear import value_ranges
from trialml.result import Estimate, Result, format_number

__all__ = ["Surrogate", "SurrogateKind", "surrogate"]

Floats = NDArray[np.float64]
SurrogateKind = Literal["tree", "points"]

DEPTH, FOLDS, MOST_POINTS = 3, 5, 5
FAITHFUL = 0.9
"""Below this share of the score's variance the text warns."""
T4 = 2.7764451051977987
"""The 97.5 % quantile of Student's t with 4 degrees of freedom."""


@dataclass(frozen=True, eq=False)
class Surrogate(Result):
    """A tree of depth 3, or points for ranges of covariates, in the place of a score.

    Attributes
    ----------
    subject, unit
        What is stood in for, and its unit.
    surrogate
        ``"tree"`` or ``"points"``.
    rows
        Of a tree one row a leaf: rule, value (mean score), n. Of points one row a covariate and range: covariate, bin, points, n.
    fidelity, fidelity_low, fidelity_high
        R squared on held-out patients, the mean over five folds, with limits.
    point, start
        What one point stands for, and the score without points; NaN for a tree.
    n
        Patients.
    """

    title = "A surrogate for paper"
    methods = (
        "The surrogate is fitted to the model's own scores, not to outcomes. Its fidelity is the R squared of its predictions of the scores of patients "
        "it was not fitted to, the mean over five folds with limits of Student's t; how well it would predict outcomes is another question. A "
        "surrogate explains the model only as far as it is faithful."
    )
    references = (
        "Craven MW, Shavlik JW. Extracting tree-structured representations of trained networks. Adv Neural Inf Process Syst 1996;8:24-30.",
        "Nadeau C, Bengio Y. Inference for the generalization error. Mach Learn 2003;52:239-281.",
    )

    subject: str
    unit: str
    surrogate: SurrogateKind
    rows: pd.DataFrame
    fidelity: float
    fidelity_low: float
    fidelity_high: float
    n: int
    point: float = float("nan")
    start: float = float("nan")

    def heading(self) -> str:
        """Return the title with what it stands for."""
        return f"A surrogate of {self.subject} for paper"

    def frame(self) -> pd.DataFrame:
        """Return one row a leaf, or a covariate's range."""
        return self.rows.assign(
            scale="mean score" if self.surrogate == "tree" else "points", unit=self.unit, kind="crossfit"
        )

    def estimate(self) -> Estimate:
        """Return the fidelity with its limits."""
        return Estimate(self.fidelity, self.fidelity_low, self.fidelity_high, scale="R squared of the model's scores",
                        kind="crossfit", n=self.n, method="five folds, corrected resampled t")  # fmt: skip

    def text(self) -> str:
        """Return what it is, and how faithful."""
        what = f"A tree of depth {DEPTH} with {len(self.rows)} leaves" if self.surrogate == "tree" else "A point score"
        unit = "" if self.surrogate == "tree" else f" One point is {format_number(self.point, 2)} {self.unit}."
        warning = (
            ""
            if self.fidelity >= FAITHFUL
            else " It leaves out too much of the model to be used in its place: it explains the model roughly, and no patient."
        )
        return (
            f"{what} stands in for {self.subject} with a fidelity of R\N{SUPERSCRIPT TWO} = {self.estimate().text(2)} on held-out "
            f"predictions ({self.n:,} patients).{unit}{warning}"
        )

    def scalars(self) -> dict[str, float]:
        """Return the fidelity with its limits."""
        low, high = self.fidelity_low, self.fidelity_high
        return {"surrogate_fidelity": self.fidelity, "surrogate_fidelity_low": low, "surrogate_fidelity_high": high}

    def table(self) -> pd.DataFrame:
        """Return the rules, or the points."""
        if self.surrogate == "points":
            return self.rows.rename(
                columns={"covariate": "Covariate", "bin": "Range", "points": "Points", "n": "Patients"}
            )
        rows = self.rows
        return pd.DataFrame(
            {
                "Patients with": rows["rule"],
                f"Mean, {self.unit}": [format_number(x) for x in rows["value"]],
                "Patients": [f"{n:,}" for n in rows["n"]],
            }
        )


def surrogate(
    score: Floats,
    X: pd.DataFrame,
    *,
    kind: SurrogateKind,
    labels: dict[str, str],
    subject: str,
    unit: str,
    seed: int,
) -> Surrogate:
    """Fit a surrogate to a model's scores, and measure its fidelity on patients left out.

    Parameters
    ----------
    score
        The model's scores, shape (n,).
    X
        The patients' covariates, n rows.
    kind
        ``"tree"``: of depth 3, leaves of a twentieth of the patients or more, never under 11, cut-points rounded to three digits. ``"points"``:
        least squares on the ranges of the covariates (fifths of a number, levels), each rounded to a whole number of points, 5 at most.
    labels, subject, unit
        Words.
    seed
        Of the folds.

    Raises
    ------
    AnalysisError
        If there are fewer than 55 patients, or the scores are the same for all.
    """
    said = np.asarray(score, dtype=np.float64)
    if len(said) < FOLDS * SMALLEST_CELL or not np.ptp(said):
        raise AnalysisError(
            f"A surrogate was asked for of {len(said)} scores{' that do not differ' if len(said) and not np.ptp(said) else ''}: give those of "
            f"{FOLDS * SMALLEST_CELL} patients or more that differ."
        )
    from trialml.explain.surrogate_fits import fit_points, fit_tree

    fit: Any = fit_tree if kind == "tree" else fit_points
    columns, words = _columns(X, labels) if kind == "tree" else _ranges(X, labels)
    place = np.random.default_rng(seed).permutation(len(said)) % FOLDS
    found = np.array([_r_squared(fit, columns, said, place == fold) for fold in range(FOLDS)])
    # The variance of a mean over folds whose training patients overlap.
    se = np.sqrt((1 / FOLDS + 1 / (FOLDS - 1)) * found.var(ddof=1))
    mean = float(found.mean())
    fitted = fit(columns, said)
    limits = mean - T4 * se, min(mean + T4 * se, 1.0)
    if kind == "tree":
        return Surrogate(subject, unit, kind, fitted.rows(words, columns, said), mean, *limits, len(said))
    return Surrogate(
        subject, unit, kind, fitted.rows(words, columns), mean, *limits, len(said), fitted.point, fitted.start
    )


def _r_squared(fit: Callable[..., Any], columns: Floats, said: Floats, held: NDArray[np.bool_]) -> float:
    predicted = fit(columns[~held], said[~held]).predict(columns[held])
    left = ((said[held] - predicted) ** 2).sum()
    return float(1 - left / max(((said[held] - said[held].mean()) ** 2).sum(), 1e-300))


def _columns(X: pd.DataFrame, labels: dict[str, str]) -> tuple[Floats, list[tuple[str, str]]]:
    """Return columns that a tree may split, missing numbers at the median, and for each its label and level."""
    columns, words = [], []
    for name in X.columns:
        label = labels.get(name, name)
        if pd.api.types.is_numeric_dtype(X[name]):
            numbers = X[name].to_numpy(dtype=np.float64, na_value=np.nan)
            known = numbers[~np.isnan(numbers)]
            columns.append(np.where(np.isnan(numbers), np.median(known) if len(known) else 0.0, numbers))
            words.append((label, ""))
        else:
            for level, count in X[name].value_counts().items():
                if count >= SMALLEST_CELL:
                    columns.append((X[name] == level).to_numpy(dtype=np.float64))
                    words.append((label, str(level)))
    return np.column_stack(columns), words


def _ranges(X: pd.DataFrame, labels: dict[str, str]) -> tuple[Floats, list[tuple[str, str]]]:
    """Return a column of 0 and 1 for each range of each covariate, and for each its label and range."""
    columns, words = [], []
    for name in X.columns:
        for range_, who in value_ranges(X[name]).items():
            columns.append(who.astype(np.float64))
            words.append((labels.get(name, name), range_))
    return np.column_stack(columns), words

"""Whether an explanation repeats in models learned from other patients of the trial: intervals, and a flag where the order does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.result import COLOURS, Z95, Estimate, Result, format_number, plain_text

__all__ = ["ExplanationStability", "explanation_stability"]

Floats = NDArray[np.float64]

REPEATS = 0.8
"""A place in the order repeats where in this share of the drawn models the covariate stands in it or next to it."""


@dataclass(frozen=True, eq=False)
class ExplanationStability(Result):
    """Importance of each covariate with an interval over resampled models.

    Attributes
    ----------
    subject, unit
        What is explained, and in what.
    rows
        One row a covariate, the most important first: covariate, mean_absolute, low, high, se, rank, in_place (share of resampled models in
        which it stands in its place or next to it), repeats.
    models, share
        How many models, and the share of the patients that each learned from.
    """

    title = "Does the explanation repeat?"
    figure_size = (7.2, 4.6)
    methods = (
        "The mean absolute SHAP values were computed again for the models of the cross-validation's folds, each learned without some of the patients. "
        "Intervals are those of the delete-d jackknife: models that share most of their patients differ less than models from other trials would, "
        "so that their deviations are widened by the root of (n - d) / d. A covariate's place in the order repeats where, after the same "
        "widening, it stands in its place or next to it in 80 % of the models."
    )
    references = ("Shao J, Wu CFJ. A general theory for jackknife variance estimation. Ann Stat 1989;17:1176-1197.",)

    subject: str
    unit: str
    rows: pd.DataFrame
    models: int
    share: float

    def heading(self) -> str:
        """Return the title with what is explained."""
        return f"Does the explanation of {self.subject} repeat?"

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate."""
        return self.rows.assign(scale="mean absolute SHAP value", unit=self.unit, kind="crossfit")

    def importance(self, covariate: str) -> Estimate:
        """Return a covariate's importance with its interval."""
        row = self.rows[self.rows["covariate"] == covariate].iloc[0]
        return Estimate(float(row["mean_absolute"]), float(row["low"]), float(row["high"]), scale="mean absolute SHAP value",
                        unit=self.unit, kind="crossfit", se=float(row["se"]), method="delete-d jackknife")  # fmt: skip

    def text(self) -> str:
        """Return the first covariates with intervals, and which places do not repeat."""
        first = self.rows.head(3)
        words = "; ".join(f"{name} {self.importance(name).text(2)}" for name in first["covariate"])
        lost = list(self.rows.head(5).loc[~self.rows.head(5)["repeats"], "covariate"])
        flag = f"The order does not repeat for {', '.join(lost)}." if lost else "The order of the first five repeats."
        return (
            f"Over {self.models} models, each learned from {100 * self.share:.0f} % of the patients, the covariates that move {self.subject} most: "
            f"{words} (mean absolute SHAP values, delete-d jackknife). {flag}"
        )

    def scalars(self) -> dict[str, float]:
        """Return the share of the first five whose place repeats."""
        return {"shap_share_of_places_that_repeat": float(self.rows["repeats"].head(5).mean())}

    def table(self) -> pd.DataFrame:
        """Return importance, interval and whether the place repeats."""
        rows = self.rows
        return pd.DataFrame(
            {
                "Covariate": rows["covariate"],
                f"Mean |SHAP|, {self.unit} (95% CI)": [
                    f"{format_number(row.mean_absolute, 2)} ({format_number(row.low, 2)} to {format_number(row.high, 2)})"
                    for row in rows.itertuples()
                ],
                "In its place or next to it": [f"{100 * x:.0f} %" for x in rows["in_place"]],
                "Repeats": ["yes" if found else "no" for found in rows["repeats"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw the importance with intervals; open where the place does not repeat."""
        axes, rows = figure.subplots(), self.rows.head(14).iloc[::-1]
        place = np.arange(len(rows))
        spread = [rows["mean_absolute"] - rows["low"], rows["high"] - rows["mean_absolute"]]
        axes.errorbar(rows["mean_absolute"], place, xerr=spread, fmt="none", color=COLOURS["reference"], capsize=3)
        faces = [COLOURS["experimental"] if found else "white" for found in rows["repeats"]]
        axes.scatter(rows["mean_absolute"], place, c=faces, edgecolor=COLOURS["experimental"], zorder=3, s=40)
        axes.set_yticks(place, [plain_text(name) for name in rows["covariate"]])
        axes.set_xlabel(f"Mean |SHAP| ({self.unit}), 95% CI; open: its place does not repeat")
        axes.set_xlim(left=0)


def explanation_stability(
    importance: Floats,
    resampled: Floats,
    names: Sequence[str],
    *,
    share: float,
    subject: str,
    unit: str,
    labels: dict[str, str],
) -> ExplanationStability:
    """Hold the importance of covariates against that in models learned from parts of the patients.

    Parameters
    ----------
    importance
        Of the final model, shape (p,).
    resampled
        Of the models of parts, shape (models, p).
    names
        The covariates.
    share
        Of the patients that each part holds, (n - d) / n.
    subject, unit, labels
        Words.

    Returns
    -------
    ExplanationStability
        ``se^2 = (n - d) / d * mean over models of (value - mean)^2``, limits ``importance +- 1.96 se`` from 0 on.

    Raises
    ------
    AnalysisError
        If there are fewer than three models, or they have other covariates.
    """
    drawn, found = np.asarray(resampled, dtype=np.float64), np.asarray(importance, dtype=np.float64)
    if drawn.ndim != 2 or len(drawn) < 3 or drawn.shape[1] != len(found) or not 0 < share < 1:
        raise AnalysisError(
            f"Resampled importances have shape {drawn.shape} for {len(found)} covariates: give those of three models or more, one column a covariate."
        )
    widening = np.sqrt(share / (1 - share))
    deviations = widening * (drawn - drawn.mean(axis=0))
    se = np.sqrt((deviations**2).mean(axis=0))
    own = _ranks(found[None])[0]
    near = (np.abs(_ranks(found + deviations) - own) <= 1).mean(axis=0)
    rows = pd.DataFrame(
        {
            "covariate": [labels.get(name, name) for name in names],
            "mean_absolute": found,
            "low": np.maximum(found - Z95 * se, 0.0),
            "high": found + Z95 * se,
            "se": se,
            "rank": own,
            "in_place": near,
            "repeats": near >= REPEATS,
        }
    ).sort_values("rank", kind="stable")
    return ExplanationStability(subject, unit, rows.reset_index(drop=True), len(drawn), float(share))


def _ranks(values: Floats) -> NDArray[np.intp]:
    return np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1, kind="stable") + 1

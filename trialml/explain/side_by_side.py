"""What drives risk and, beside it, what drives benefit: two questions, never one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trialml.explain.linear import Explanation
from trialml.result import COLOURS, Result, plain_text

__all__ = ["PrognosticPredictive", "prognostic_and_predictive"]


@dataclass(frozen=True, eq=False)
class PrognosticPredictive(Result):
    """The share of each covariate in what moves the risk, and in what moves the benefit score.

    Attributes
    ----------
    rows
        One row a covariate: covariate, prognostic, predictive (shares of the summed mean absolute SHAP values, 0 where a model does not use
        it), prognostic_rank, predictive_rank.
    risk, benefit
        What the two are of, with their units, in words.
    validated
        A sentence on whether the benefit score was found to hold in patients not seen; empty for none.
    """

    title = "Prognostic and predictive covariates"
    figure_size = (7.2, 4.6)
    methods = (
        "A prognostic covariate moves the risk, a predictive one the effect of the treatment. The two explanations have different units and are "
        "compared as shares of their own sums alone; the first says nothing about the second."
    )

    rows: pd.DataFrame
    risk: str
    benefit: str
    validated: str = ""

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate."""
        return self.rows.assign(scale="share of summed mean absolute SHAP values", unit="", kind="apparent")

    def text(self) -> str:
        """Return the first covariates of either kind."""
        parts = []
        for what, of in (("prognostic", self.risk), ("predictive", self.benefit)):
            first = self.rows.sort_values(what, ascending=False, kind="stable").head(3)
            words = ", ".join(f"{row['covariate']} ({100 * row[what]:.0f} %)" for _, row in first.iterrows())
            parts.append(f"{of} is moved most by {words}")
        return f"{parts[0][0].upper()}{parts[0][1:]}; {parts[1]} (shares of the mean absolute SHAP values). {self.validated}".strip()

    def scalars(self) -> dict[str, float]:
        """Return the rank correlation of the two orders."""
        return {"prognostic_predictive_rank_correlation": _correlation(self.rows)}

    def table(self) -> pd.DataFrame:
        """Return the shares."""
        rows = self.rows
        return pd.DataFrame(
            {
                "Covariate": rows["covariate"],
                "Share of what moves risk": [f"{100 * x:.0f} %" for x in rows["prognostic"]],
                "Share of what moves benefit": [f"{100 * x:.0f} %" for x in rows["predictive"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw the shares on two axes of their own, side by side."""
        left, right = figure.subplots(1, 2, sharey=True)
        rows = self.rows.head(14).iloc[::-1]
        place = np.arange(len(rows))
        left.barh(place, 100 * rows["prognostic"], color=COLOURS["control"])
        right.barh(place, 100 * rows["predictive"], color=COLOURS["experimental"], hatch="//", edgecolor="white")
        left.set_yticks(place, [plain_text(name) for name in rows["covariate"]])
        left.set_xlabel("Share of what moves risk (%)")
        right.set_xlabel("Share of what moves benefit (%)")


def prognostic_and_predictive(risk: Explanation, benefit: Explanation, validated: str = "") -> PrognosticPredictive:
    """Put the explanations of the risk and of the benefit score side by side.

    Parameters
    ----------
    risk, benefit
        Explanations of the two models.
    validated
        A sentence on the benefit score's validation.
    """
    both = [one.importance.set_index("covariate")["share"] for one in (risk, benefit)]
    names = list(dict.fromkeys([*both[0].index, *both[1].index]))
    rows = pd.DataFrame(
        {"covariate": names, "prognostic": both[0].reindex(names, fill_value=0.0).to_numpy(),
         "predictive": both[1].reindex(names, fill_value=0.0).to_numpy()}
    )  # fmt: skip
    for what in ("prognostic", "predictive"):
        rows[f"{what}_rank"] = rows[what].rank(ascending=False, method="min").astype(int)
    order = rows[["prognostic", "predictive"]].max(axis=1).sort_values(ascending=False, kind="stable").index
    words = [f"{one.subject} (in {one.unit})" for one in (risk, benefit)]
    return PrognosticPredictive(rows.loc[order].reset_index(drop=True), words[0], words[1], validated)


def _correlation(rows: pd.DataFrame) -> float:
    ranks = rows[["prognostic", "predictive"]].rank().to_numpy()
    if len(ranks) < 2 or not np.ptp(ranks, axis=0).all():
        return float("nan")
    return float(np.corrcoef(ranks.T)[0, 1])

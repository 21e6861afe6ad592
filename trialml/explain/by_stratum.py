"""What moves a score within strata, which are given as labels: the chapter knows no strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import AnalysisError
from trialml.explain.explained import Explained, ModelExplanation
from trialml.result import COLOURS, Result, counted, format_number, plain_text

__all__ = ["ExplanationByStratum", "explanation_by_stratum"]


@dataclass(frozen=True, eq=False)
class ExplanationByStratum(Result):
    """Mean SHAP values of the patients of each stratum.

    Attributes
    ----------
    subject, unit, background, how
        What is explained, in what, against whom and by which way, in words.
    rows
        One row a stratum and covariate: stratum, covariate, mean (SHAP value), mean_absolute, n.
    hidden
        Strata of fewer than 11 patients, of which nothing is shown.
    """

    title = "What moves the model within strata"
    figure_size = (7.2, 4.6)
    methods = ModelExplanation.methods
    references = ModelExplanation.references

    subject: str
    unit: str
    background: str
    how: str
    rows: pd.DataFrame
    hidden: int = 0

    def heading(self) -> str:
        """Return the title with what is explained."""
        return f"What moves {self.subject} within strata"

    def frame(self) -> pd.DataFrame:
        """Return one row a stratum and covariate."""
        return self.rows.assign(scale="mean SHAP value", unit=self.unit, kind="apparent")

    def text(self) -> str:
        """Return for each stratum the covariate that sets it apart most."""
        parts = []
        for name, own in self.rows.groupby("stratum", sort=False):
            first = own.loc[own["mean"].abs().idxmax()]
            way = "+" if first["mean"] > 0 else ""
            parts.append(f"{name}: {first['covariate']} ({way}{format_number(first['mean'], 2)})")
        small = (
            f"; {counted(self.hidden, 'stratum')} of fewer than {SMALLEST_CELL} patients not shown"
            if self.hidden
            else ""
        )
        return (
            f"What sets the patients of each stratum apart most in {self.subject}, as the mean SHAP value in {self.unit} away from the average of "
            f"{self.background} ({self.how}): {'; '.join(parts)}{small}."
        )

    def scalars(self) -> dict[str, float]:
        """Return the largest mean SHAP value of a stratum."""
        return {"shap_by_stratum_largest_mean": float(self.rows["mean"].abs().max())}

    def table(self) -> pd.DataFrame:
        """Return covariates by stratum."""
        order = self.rows.groupby("covariate")["mean_absolute"].mean().sort_values(ascending=False).index
        wide = self.rows.pivot_table(index="covariate", columns="stratum", values="mean").loc[order]
        sizes = self.rows.drop_duplicates("stratum").set_index("stratum")["n"]
        shown = {
            f"{name} (n = {sizes[name]:,})": [("+" if x > 0 else "") + format_number(x, 2) for x in wide[name]]
            for name in sizes.index
        }
        return pd.DataFrame({"Covariate": wide.index, **shown})

    def draw(self, figure: Any) -> None:
        """Draw the mean SHAP values of the ten strongest covariates, a marker a stratum."""
        axes = figure.subplots()
        order = self.rows.groupby("covariate")["mean_absolute"].mean().sort_values(ascending=False).index[:10][::-1]
        colours = [COLOURS[name] for name in ("experimental", "third", "fourth", "fifth", "control", "reference")]
        for place, (name, own) in enumerate(self.rows.groupby("stratum", sort=False)):
            found = own.set_index("covariate")["mean"].reindex(order)
            axes.scatter(found, range(len(order)), color=colours[place % 6], marker="osD^vP"[place % 6], s=36,
                         label=plain_text(name))  # fmt: skip
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(order)), [plain_text(name) for name in order])
        axes.set_xlabel(f"Mean SHAP value ({self.unit})")
        axes.legend(frameon=False, fontsize=8)


def explanation_by_stratum(
    explained: Explained,
    member: ArrayLike,
    strata: Sequence[str],
    *,
    labels: dict[str, str],
    subject: str,
    background: str,
    output: int = -1,
) -> ExplanationByStratum:
    """Summarise SHAP values within strata.

    Parameters
    ----------
    explained
        SHAP values of n patients.
    member
        The place of each patient's stratum, shape (n,).
    strata
        Names by place.
    labels, subject, background
        Words.
    output
        Of several.

    Raises
    ------
    AnalysisError
        If the labels are not one a patient, or every stratum has fewer than 11 patients.
    """
    place, values = np.asarray(member), explained.of(output)
    if place.shape != (len(values),):
        raise AnalysisError(
            f"The labels of strata have shape {place.shape} for {len(values):,} patients: give one a patient."
        )
    rows, hidden = [], 0
    for number, stratum in enumerate(strata):
        who = place == number
        if who.sum() < SMALLEST_CELL:
            hidden += bool(who.any())
            continue
        rows += [
            (
                stratum,
                labels.get(name, name),
                float(values[who, j].mean()),
                float(np.abs(values[who, j]).mean()),
                int(who.sum()),
            )
            for j, name in enumerate(explained.names)
        ]
    if not rows:
        raise AnalysisError(f"No stratum has {SMALLEST_CELL} of the patients explained: explain more of them.")
    frame = pd.DataFrame(rows, columns=["stratum", "covariate", "mean", "mean_absolute", "n"])
    return ExplanationByStratum(subject, explained.unit, background, explained.how, frame, hidden)

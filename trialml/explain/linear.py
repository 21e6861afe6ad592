"""SHAP values of scores in a result, and those of linear scores (a log hazard, a benefit score on a line)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_number, plain_text

__all__ = ["Explanation", "explain_linear", "ranges_of", "shap_values_linear", "summarised", "value_ranges"]

Floats = NDArray[np.float64]

MISSING = "missing"
"""The range of patients without a value, which a linear score imputes."""


@dataclass(frozen=True, eq=False)
class Explanation(Result):
    """How much each covariate moves the score, summarised over patients; no patient's values are kept."""

    title = "What moves the model"
    figure_size = (7.2, 5.0)
    methods = (
        "Explanations are SHAP values of the linear score, computed by shap's linear explainer with independent covariates "
        "against the average of the patients that the model was fitted to (the exact Shapley values of a linear score); coded "
        "columns are summed back to their covariate. They describe the model, not causes."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Lundberg SM, Lee SI. A unified approach to interpreting model predictions. Advances in Neural Information Processing "
        "Systems 2017;30:4765-4774.",
    )

    subject: str
    """What is explained, in words."""
    unit: str
    background: str
    importance: pd.DataFrame
    """Columns covariate, mean_absolute, share."""
    bins: pd.DataFrame
    """Columns covariate, bin, mean, n: the mean SHAP value in ranges of the covariate, none under 11 patients."""
    additivity_error: float
    n: int
    perturbation: str = "interventional"
    """What stands in for a covariate that is left out: the background's values, or the shares counted in trees."""
    mc_error: float = 0.0
    """The largest Monte Carlo standard error of one patient's value; 0 where nothing was sampled."""

    def heading(self) -> str:
        """Return the title with what is explained."""
        return f"What moves {self.subject}"

    def frame(self) -> pd.DataFrame:
        """Return importance and the means by bin."""
        ranked = self.importance.assign(bin="all", mean=np.nan, n=float(self.n))
        bins = self.bins.assign(mean_absolute=np.nan, share=np.nan)
        whole = pd.concat([ranked, bins], ignore_index=True) if len(bins) else ranked
        return whole.assign(scale="mean SHAP value", unit=self.unit, kind="apparent")

    def text(self) -> str:
        """Return the three covariates that move the score most."""
        first = self.importance.head(3)
        words = ", ".join(f"{row.covariate} ({format_number(row.mean_absolute, 2)})" for row in first.itertuples())
        return (
            f"The covariates that move {self.subject} most, on average over patients: {words} (mean absolute SHAP values, in "
            f"{self.unit}, away from the average of {self.background}; {self.perturbation}; each patient's values add up to the score, "
            f"largest error {self.additivity_error:.0e}{self._sampled()})."
        )

    def _sampled(self) -> str:
        if not self.mc_error:
            return ""
        return f", largest Monte Carlo error of a value {format_number(self.mc_error, 2)}"

    def scalars(self) -> dict[str, float]:
        """Return the additivity error, the Monte Carlo error where there is one, and the largest importance."""
        sampled = {"shap_mc_error": self.mc_error} if self.mc_error else {}
        return {
            "shap_additivity_error": self.additivity_error,
            "shap_largest_mean_absolute": float(self.importance["mean_absolute"].iloc[0]),
            **sampled,
        }

    def table(self) -> pd.DataFrame:
        """Return each covariate's importance and its effect from its lowest to its highest range."""
        rows = []
        for row in self.importance.itertuples():
            bins = self.bins[self.bins["covariate"] == row.covariate]
            ends = "n/a"
            if len(bins) > 1:
                low, high = bins.iloc[0], bins.iloc[-1]
                ends = f"{_signed(low['mean'])} ({low['bin']}) to {_signed(high['mean'])} ({high['bin']})"
            rows.append((row.covariate, format_number(row.mean_absolute, 2), f"{100 * row.share:.0f} %", ends))
        heads = ["Covariate", f"Mean |SHAP|, {self.unit}", "Share", "Mean SHAP from the lowest to the highest values"]
        return pd.DataFrame(rows, columns=heads)

    def draw(self, figure: Any) -> None:
        """Draw the mean SHAP value over the range of each covariate, the most important first."""
        axes = figure.subplots()
        names = list(self.importance["covariate"].head(14))
        from matplotlib.colors import LinearSegmentedColormap

        scale = LinearSegmentedColormap.from_list("low to high", [COLOURS["experimental"], "#CCCCCC", COLOURS["third"]])
        for place, name in enumerate(reversed(names)):
            bins = self.bins[self.bins["covariate"] == name]
            axes.plot([bins["mean"].min(), bins["mean"].max()], [place, place], color="#CCCCCC", linewidth=2, zorder=1)
            known = bins[bins["bin"] != MISSING]
            shade = np.linspace(0, 1, max(len(known), 2))[: len(known)]
            axes.scatter(
                known["mean"], [place] * len(known), c=scale(shade), s=52, zorder=2, edgecolor="white", linewidth=0.6
            )
            imputed = bins.loc[bins["bin"] == MISSING, "mean"]
            axes.scatter(
                imputed, [place] * len(imputed), marker="D", s=40, zorder=3, facecolor="none", edgecolor="black"
            )
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), [plain_text(name) for name in reversed(names)])
        axes.set_xlabel(
            f"Mean SHAP value ({self.unit})\nblue: lowest values of the covariate; orange: highest; open diamond: missing"
        )


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + format_number(value, 2)


def shap_values_linear(coefficients: Floats, design: Floats, background: Floats) -> tuple[Floats, float]:
    """Return SHAP values of a linear score and its base value, by shap's linear explainer.

    Parameters
    ----------
    coefficients
        Shape (k,).
    design, background
        Encoded patients, shape (n, k), and those that the average is taken over, shape (m, k).

    Returns
    -------
    values : ndarray of shape (n, k)
        ``coefficient * (value - mean of background)``.
    base : float
        The score of the average background patient.

    Raises
    ------
    AnalysisError
        If the values do not sum to the score: a broken sum is an error, not a footnote.
    """
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.LinearExplainer((coefficients, 0.0), masker)
    values = np.asarray(explainer.shap_values(design), dtype=np.float64)
    base = float(explainer.expected_value)
    error = float(np.abs(values.sum(axis=1) + base - design @ coefficients).max())
    if error > 1e-7 * max(1.0, float(np.abs(design @ coefficients).max())):
        raise AnalysisError(f"SHAP values miss the score by {error:.3g}: the explanation is refused, not shown.")
    return values, base


def explain_linear(
    coefficients: Floats,
    design: Floats,
    covariate_of_column: Sequence[str],
    baseline: pd.DataFrame,
    *,
    labels: dict[str, str],
    subject: str,
    unit: str,
    background: str,
    background_design: Floats | None = None,
) -> Explanation:
    """Explain a linear score over the patients it was fitted to.

    Parameters
    ----------
    coefficients
        Of the encoded columns, shape (k,).
    design
        Encoded patients, shape (n, k): explained, and their own background.
    covariate_of_column
        The covariate that each column codes; columns of one covariate are summed.
    baseline
        The covariates as measured, shape (n, p), for the ranges.
    labels
        Words by covariate.
    subject, unit, background
        What is explained, its unit, and who the background is, in words.
    background_design
        Encoded patients that the average is taken over, shape (m, k); None for those explained.

    Returns
    -------
    Explanation
        Importance by covariate and means in up to five ranges of at least 11 patients each.
    """
    others = design if background_design is None else background_design
    values, base = shap_values_linear(coefficients, design, others)
    error = float(np.abs(values.sum(axis=1) + base - design @ coefficients).max())
    names = list(dict.fromkeys(covariate_of_column))
    columns = np.asarray(covariate_of_column)
    summed = np.column_stack([values[:, columns == name].sum(axis=1) for name in names])
    importance, bins = summarised(summed, names, baseline, labels)
    return Explanation(subject, unit, background, importance, bins, error, len(design))


def summarised(
    values: Floats, names: Sequence[str], baseline: pd.DataFrame, labels: dict[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the importance of covariates and the mean SHAP values in ranges of them, as `Explanation` has them.

    Parameters
    ----------
    values
        SHAP values, shape (n, covariates).
    names
        The covariates.
    baseline
        The patients' covariates as measured.
    labels
        Words by covariate.
    """
    mean = np.abs(values).mean(axis=0)
    importance = pd.DataFrame({"covariate": [labels.get(name, name) for name in names], "mean_absolute": mean})
    importance["share"] = mean / mean.sum() if mean.sum() > 0 else 0.0
    importance = importance.sort_values("mean_absolute", ascending=False, kind="stable").reset_index(drop=True)
    rows = [
        row
        for place, name in enumerate(names)
        for row in ranges_of(labels.get(name, name), baseline[name], values[:, place])
    ]
    return importance, pd.DataFrame(rows, columns=["covariate", "bin", "mean", "n"])


def ranges_of(label: str, column: pd.Series, values: Floats) -> list[tuple[str, str, float, int]]:
    """Return label, range, mean of `values` and patients of each range of a covariate."""
    return [(label, name, float(values[who].mean()), int(who.sum())) for name, who in value_ranges(column).items()]


def value_ranges(column: pd.Series) -> dict[str, NDArray[np.bool_]]:
    """Return who has a covariate in each of its ranges, none under 11 patients.

    Parameters
    ----------
    column
        Values as measured, shape (n,): numbers are cut at their fifths, others by level; missing values are a range.
    """
    known = column.notna().to_numpy()
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > 5:
        edges = np.unique(np.quantile(column[known].astype(float), [0.2, 0.4, 0.6, 0.8]))
        place = np.searchsorted(edges, column.astype(float), side="right")
        shown = [format_number(float(edge)) for edge in edges]
        names = [
            f"under {shown[0]}",
            *[f"{a} to {b}" for a, b in itertools.pairwise(shown)],
            f"{shown[-1]} or more",
        ]
        groups = {name: known & (place == number) for number, name in enumerate(names)}
    else:
        levels = sorted(column[known].unique())
        words = {0.0: "no", 1.0: "yes"} if set(levels) <= {0.0, 1.0} else {}
        groups = {
            words.get(level, f"{level:g}" if isinstance(level, float) else str(level)): (column == level).to_numpy()
            for level in levels
        }
    groups[MISSING] = ~known
    return {name: who for name, who in groups.items() if who.sum() >= SMALLEST_CELL}

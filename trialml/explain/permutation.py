"""What a model without coefficients rests on: what is lost without a covariate, and the risk over its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.explain.linear import value_ranges
from trialml.result import COLOURS, Estimate, Result, format_count, format_number, plain_text
from trialml.survival.ipcw import censoring_of, checked_horizon, checked_outcome, observed_risk
from trialml.validation.crossvalidation import RiskModel
from trialml.validation.model_comparison import corrected_resampled

__all__ = ["FoldModel", "PermutationImportance", "permutation_importance"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class FoldModel(NamedTuple):
    """A model and the patients that it has not seen, by their rows."""

    model: RiskModel
    unseen: Rows


@dataclass(frozen=True, eq=False)
class PermutationImportance(Result):
    """How much prediction loses when a covariate's values are dealt out anew, and the mean risk over its range."""

    title = "What prediction loses without a covariate"
    figure_size = (7.2, 5.0)
    methods = (
        "Permutation importance: in patients whom the model had not seen, the values of one covariate are dealt out anew among them, and "
        "the rise of the Brier score (weighted for censoring) is given as a share of the null model's, which is what the index of "
        "prediction accuracy (IPA) loses. Limits are those of paired differences over the test folds with the corrected resampled "
        "variance. Of two covariates that tell the same, each can stand in for the other, and neither seems to matter. The partial "
        "dependence is the mean predicted risk when everybody is given one value of the covariate: the mean of a range, or a level. "
        "Both describe the model, not causes."
    )
    references = (
        "Breiman L. Random forests. Mach Learn 2001;45:5-32.",
        "Friedman JH. Greedy function approximation: a gradient boosting machine. Ann Stat 2001;29:1189-1232.",
        "Nadeau C, Bengio Y. Inference for the generalization error. Mach Learn 2003;52:239-281.",
    )

    subject: str
    """What is explained, in words."""
    importance: pd.DataFrame
    """One row a covariate, the most important first: covariate, loss (of IPA), low, high, se, mc_error (of the dealing)."""
    bins: pd.DataFrame
    """Columns covariate, bin, risk (mean over everybody), n (patients in the range, none under 11)."""
    permutations: int
    horizon: float
    unit: str
    n: int
    events: int

    def heading(self) -> str:
        """Return the title with what predicts."""
        return f"What {self.subject} loses without a covariate"

    def frame(self) -> pd.DataFrame:
        """Return the losses, then the mean risks by range."""
        return pd.concat([self.importance.assign(bin="all"), self.bins], ignore_index=True)

    def loss(self, covariate: str) -> Estimate:
        """Return what the IPA loses without a covariate."""
        row = self.importance[self.importance["covariate"] == covariate].iloc[0]
        return Estimate(float(row["loss"]), float(row["low"]), float(row["high"]), scale="loss of IPA", kind="crossfit",
                        se=float(row["se"]), n=self.n, events=self.events, mc_error=float(row["mc_error"]),
                        method="corrected resampled t")  # fmt: skip

    def text(self) -> str:
        """Return the three covariates without which prediction loses most."""
        first = self.importance["covariate"].head(3)
        words = ", ".join(f"{name} {self._points(name)}" for name in first)
        return (
            f"The covariates without which {self.subject} loses most, in percentage points of the index of prediction accuracy at {self.horizon:g} {self.unit} on "
            f"patients not used for fitting ({format_count(self.n)} patients, {format_count(self.events)} events by then; "
            f"{format_count(self.permutations)} permutations in each fold, largest Monte Carlo error "
            f"{format_number(100 * float(self.importance['mc_error'].max()), 2)}): {words}."
        )

    def _points(self, covariate: str) -> str:
        """Return a loss in percentage points with its limits."""
        value, low, high = (
            f"{round(100 * one, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")
            for one in self.importance.set_index("covariate").loc[covariate, ["loss", "low", "high"]]
        )
        return f"{value} (95% CI {low} to {high})"

    def scalars(self) -> dict[str, float]:
        """Return the largest loss and the largest Monte Carlo error."""
        return {
            "permutation_largest_loss_of_ipa": float(self.importance["loss"].iloc[0]),
            "permutation_mc_error": float(self.importance["mc_error"].max()),
        }

    def table(self) -> pd.DataFrame:
        """Return each covariate's loss, and the mean risk from its lowest to its highest range."""
        rows = []
        for name in self.importance["covariate"]:
            bins, ends = self.bins[self.bins["covariate"] == name], "n/a"
            if len(bins) > 1:
                low, high = bins.iloc[0], bins.iloc[-1]
                ends = f"{100 * low['risk']:.1f} % ({low['bin']}) to {100 * high['risk']:.1f} % ({high['bin']})"
            rows.append((name, self._points(name), ends))
        heads = [
            "Covariate",
            "Loss of IPA without it, percentage points",
            "Mean risk from the lowest to the highest values",
        ]
        return pd.DataFrame(rows, columns=heads)

    def draw(self, figure: Any) -> None:
        """Draw the losses with their limits, the most important first."""
        rows, axes = self.importance.head(14).iloc[::-1], figure.subplots()
        place = np.arange(len(rows))
        spread = [rows["loss"] - rows["low"], rows["high"] - rows["loss"]]
        axes.errorbar(rows["loss"], place, xerr=spread, fmt="o", color=COLOURS["experimental"], capsize=3)
        axes.axvline(0, color=COLOURS["reference"], linewidth=1)
        axes.set_yticks(place, [plain_text(name) for name in rows["covariate"]])
        axes.set_xlabel("Loss of IPA when the covariate is dealt out anew (95% CI)")


def permutation_importance(
    fitted: Sequence[FoldModel],
    whole: RiskModel,
    X: pd.DataFrame,
    time: Any,
    event: Any,
    *,
    horizon: float,
    unit: str,
    subject: str,
    labels: Mapping[str, str],
    competing: Any = None,
    permutations: int = 10,
    seed: int = 1,
) -> PermutationImportance:
    """Measure what prediction loses without each covariate, on patients not seen.

    Parameters
    ----------
    fitted
        The models of a cross-validation's folds, two or more, each with its test rows.
    whole
        The model of all patients, for the partial dependence.
    X
        What the models read, shape ``(n, p)``.
    time, event, competing
        Outcome, each of shape ``(n,)``; `competing` None for no such.
    horizon, unit
        Where risks are read.
    subject, labels
        What is explained, and words by column.
    permutations, seed
        Of each covariate in each fold.

    Returns
    -------
    PermutationImportance
        ``loss = (Brier score after dealing - before) / Brier score of the null model``, the mean over test folds.

    Raises
    ------
    AnalysisError
        If there are fewer than two folds, or fewer than 10 patients are followed beyond the horizon.
    """
    if len(fitted) < 2:
        raise AnalysisError(
            f"{len(fitted)} models are too few for what a covariate adds: give those of two folds or more."
        )
    outcome = checked_outcome(time, event, competing)
    beyond = checked_horizon(outcome.time, horizon)
    weight, happened = censoring_of(outcome, None).weights(beyond, horizon), outcome.event & ~beyond
    null = float((weight * (happened - float(observed_risk(outcome, horizon))) ** 2).mean())
    dealt = np.random.default_rng(seed)
    rows = []
    for name in X.columns:
        losses = (
            np.array([_losses(one, X, name, weight, happened, horizon, permutations, dealt) for one in fitted]) / null
        )
        mean = corrected_resampled(losses.mean(axis=1), 1 / (len(fitted) - 1))
        mc_error = float(losses.mean(axis=0).std(ddof=1) / np.sqrt(permutations)) if permutations > 1 else float("nan")
        rows.append((labels.get(name, name), mean.value, mean.low, mean.high, mean.se, mc_error))
    frame = pd.DataFrame(rows, columns=["covariate", "loss", "low", "high", "se", "mc_error"])
    frame = frame.sort_values("loss", ascending=False, kind="stable").reset_index(drop=True)
    bins = pd.DataFrame(
        [row for name in X.columns for row in _dependence(whole, X, name, labels.get(name, name), horizon)],
        columns=["covariate", "bin", "risk", "n"],
    )
    return PermutationImportance(subject, frame, bins, permutations, horizon, unit, len(X), int(happened.sum()))


def _losses(
    one: FoldModel,
    X: pd.DataFrame,
    name: str,
    weight: Floats,
    happened: NDArray[np.bool_],
    horizon: float,
    permutations: int,
    dealt: np.random.Generator,
) -> Floats:
    """Return the rise of a fold's Brier score with each dealing, shape (permutations,)."""
    unseen, own, now = X.iloc[one.unseen], weight[one.unseen], happened[one.unseen]

    def score(patients: pd.DataFrame) -> float:
        return float((own * (now - one.model.risk(patients, horizon)) ** 2).mean())

    before = score(unseen)
    orders = [dealt.permutation(len(unseen)) for _ in range(permutations)]
    return np.array([score(unseen.assign(**{name: unseen[name].to_numpy()[order]})) - before for order in orders])


def _dependence(
    model: RiskModel, X: pd.DataFrame, name: str, label: str, horizon: float
) -> list[tuple[str, str, float, int]]:
    """Return the mean risk of everybody at each range's mean or level."""
    column, rows = X[name], []
    for words, who in value_ranges(column).items():
        inside = column[who]
        numeric = pd.api.types.is_numeric_dtype(column)
        value = np.nan if inside.isna().all() else float(inside.mean()) if numeric else inside.iloc[0]
        given = X.assign(**{name: pd.Series(value, index=X.index, dtype=column.dtype if numeric else object)})
        rows.append((label, words, float(model.risk(given, horizon).mean()), int(who.sum())))
    return rows

"""Which risk model: candidates against the default on the same folds, and what choosing costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from trialml.errors import DataError, nearest
from trialml.result import COLOURS, Estimate, Result, counted, format_count, format_number, format_p, with_limits
from trialml.validation.crossvalidation import RiskModel
from trialml.validation.endpoint_measures import Observed
from trialml.validation.measured import SHORT
from trialml.validation.nested_crossvalidation import NestedPredictions, nested_predictions
from trialml.validation.observed_survival import ObservedSurvival

__all__ = ["CorrectedMean", "ModelComparison", "choose_model", "compare_models", "corrected_resampled"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class CorrectedMean(NamedTuple):
    """A mean over resamplings with an error that allows for their overlap.

    Attributes
    ----------
    value, se, df
        Mean, corrected standard error and degrees of freedom of t.
    low, high, p
        Limits and two-sided p-value, both adjusted for `comparisons`.
    """

    value: float
    se: float
    df: int
    low: float
    high: float
    p: float


def corrected_resampled(
    differences: Any, test_share: float, *, level: float = 0.95, comparisons: int = 1
) -> CorrectedMean:
    """Return the mean of paired differences over test folds with the corrected resampled t.

    Parameters
    ----------
    differences
        One difference of two models a test fold, over all repeats, shape ``(J,)``, J at least 2.
    test_share
        Test patients over training patients of a fold: 1/(folds - 1).
    level
        Of the limits.
    comparisons
        Among how many candidates the difference is looked at (Bonferroni).

    Returns
    -------
    CorrectedMean
        ``se^2 = (1/J + test_share) s^2`` with s the standard deviation over folds and J - 1 degrees of freedom. Training sets
        overlap, so that ``s^2 / J`` alone would be too small. Where every difference is 0 the models tie: p is 1.

    Raises
    ------
    DataError
        If there are fewer than two differences, or one is not finite.

    References
    ----------
    Nadeau C, Bengio Y. Inference for the generalization error. Mach Learn 2003;52:239-281.
    Bouckaert RR, Frank E. Evaluating the replicability of significance tests for comparing learning algorithms.
    In: Advances in Knowledge Discovery and Data Mining (PAKDD) 2004;3-12.
    """
    gaps = np.asarray(differences, dtype=float).ravel()
    if gaps.size < 2 or not np.isfinite(gaps).all():
        raise DataError(f"{gaps.size} differences are too few or one is not finite: pass two or more finite numbers")
    df, value = gaps.size - 1, float(gaps.mean())
    se = float(np.sqrt(1 / gaps.size + test_share) * gaps.std(ddof=1))
    width = float(special.stdtrit(df, 1 - (1 - level) / (2 * comparisons))) * se
    t = abs(value) / se if se > 0 else (math.inf if value else 0.0)
    p = min(1.0, comparisons * 2 * float(special.stdtr(df, -t)))
    return CorrectedMean(value, se, df, value - width, value + width, p)


@dataclass(frozen=True, eq=False)
class ModelComparison(Result):
    """Which candidate is used, why, and what the choosing itself costs."""

    title = "Comparison of risk models"
    methods = (
        "The candidates were fitted and tuned in the same folds of repeated nested cross-validation. Their losses (the Brier score, weighted "
        "for censoring; of a continuous endpoint the squared error) were compared with the default's by paired differences in each test fold, with the corrected resampled "
        "variance and Bonferroni's adjustment for the number of candidates. Another model than the default is chosen only where its "
        "adjusted interval lies below 0. The same choice was repeated from the training folds alone, and what was chosen judged on "
        "the test folds, so that the last number includes the choosing."
    )
    references = (
        "Nadeau C, Bengio Y. Inference for the generalization error. Mach Learn 2003;52:239-281.",
        "Bouckaert RR, Frank E. Evaluating the replicability of significance tests for comparing learning algorithms. In: "
        "Advances in Knowledge Discovery and Data Mining (PAKDD) 2004;3-12.",
    )

    models: pd.DataFrame
    """One row a candidate, the default first: model, loss (its Brier score or mean squared error), gain (IPA or R²), difference (of
    losses, from the default), low, high (simultaneous), se, p (adjusted), chosen_share (of the training sets that would
    choose it)."""
    chosen: str
    default: str
    loss_with_choice: float
    """Loss of whatever each training set chose."""
    cost: float
    """Of the choosing: `loss_with_choice` less the chosen model's loss, with limits."""
    cost_low: float
    cost_high: float
    horizon: float | None
    """Where risks are read; None where there is no follow-up."""
    unit: str
    folds: int
    repeats: int
    n: int
    events: int
    loss: str = "Brier score"
    gain: str = "IPA"
    predicted: str = "risk"

    def frame(self) -> pd.DataFrame:
        """Return one row a candidate."""
        return self.models

    def difference(self, model: str) -> Estimate:
        """Return a candidate's loss less the default's, with simultaneous limits.

        Raises
        ------
        DataError
            If there is no such candidate.
        """
        names = list(self.models["model"])
        if model not in names or model == self.default:
            raise DataError(f"there is no candidate '{model}': {nearest(model, names[1:])}")
        row = self.models.iloc[names.index(model)]
        return Estimate(float(row["difference"]), float(row["low"]), float(row["high"]), scale=f"{self.loss} less {self.default}'s",
                        kind="crossfit", se=float(row["se"]), n=self.n, events=self.events,
                        method="corrected resampled t, Bonferroni")  # fmt: skip

    @property
    def cost_of_choosing(self) -> Estimate:
        """What the choosing adds to the chosen model's loss."""
        return Estimate(self.cost, self.cost_low, self.cost_high, scale=self.loss, kind="crossfit", n=self.n,
                        events=self.events, method="corrected resampled t")  # fmt: skip

    def text(self) -> str:
        """Return which model is used and why, and the cost of choosing."""
        others = self.models.iloc[1:]
        best = others.loc[others["difference"].idxmin()]
        gap = self.difference(best["model"]).text()
        p = format_p(best["p"])
        p = p if p[0] in "<>" else f"= {p}"
        reason = (
            f"the adjusted interval of its {self.loss} less that of {self.default} lies below 0: {gap}, p {p}"
            if self.chosen != self.default
            else f"no candidate's adjusted interval lies below 0; that of {best['model']}, the nearest, is {gap}, p {p}"
        )
        again = float(self.models.loc[self.models["model"] == self.chosen, "chosen_share"].iloc[0])
        return (
            f"The model used is {self.chosen}, because {reason} ({self._what()}). {format_number(100 * again)} % of the "
            f"training sets choose it too; choosing adds {self.cost_of_choosing.text()} to its {self.loss}."
        )

    def _what(self) -> str:
        """Return what was predicted, in how many folds, of how many patients."""
        folds = f"{self.repeats} x {self.folds} folds, {format_count(self.n)} patients"
        if self.horizon is not None:
            return f"risks by {self.horizon:g} {self.unit}, {folds}, {counted(self.events, 'event')} by then"
        return f"predicted {self.predicted}s, {folds}" + (f", {counted(self.events, 'event')}" if self.events else "")

    def scalars(self) -> dict[str, float]:
        """Return each difference with its limits, the cost of choosing, and the losses."""
        short = SHORT[self.loss]
        named = {f"{short}_{name}_less_{self.default}": self.difference(name) for name in self.models["model"][1:]}
        numbers = with_limits(named | {f"{short}_cost_of_choosing": self.cost_of_choosing})
        return numbers | {f"{short}_{row.model}_crossfit": row.loss for row in self.models.itertuples()}

    def table(self) -> pd.DataFrame:
        """Return the candidates as words."""
        rows = self.models
        return pd.DataFrame(
            {
                "Model": [f"{name} (used)" if name == self.chosen else name for name in rows["model"]],
                f"{self.loss[0].upper()}{self.loss[1:]}": rows["loss"].map(format_number),
                self.gain: rows["gain"].map(format_number),
                f"Less {self.default} (adjusted 95% CI)": [
                    "" if name == self.default else self.difference(name).text() for name in rows["model"]
                ],
                "p (adjusted)": [
                    "" if name == self.default else format_p(p)
                    for name, p in zip(rows["model"], rows["p"], strict=True)
                ],
                "Chosen again": [f"{format_number(100 * share)} %" for share in rows["chosen_share"]],
            }
        )

    def draw(self, figure: Any) -> None:
        """Draw each candidate's difference from the default with its simultaneous interval."""
        others, axes = self.models.iloc[1:], figure.subplots()
        place = np.arange(len(others))
        widths = [others["difference"] - others["low"], others["high"] - others["difference"]]
        axes.errorbar(others["difference"], place, xerr=widths, fmt="o", color=COLOURS["experimental"], capsize=3)
        axes.axvline(0, color=COLOURS["reference"], linewidth=1)
        axes.set_yticks(place, others["model"])
        axes.set_ylim(-0.7, len(others) - 0.3)
        axes.set_xlabel(
            f"{self.loss[0].upper()}{self.loss[1:]} less that of {self.default} (below 0 is better; adjusted 95% CI)"
        )


def choose_model(
    fits: Mapping[str, Callable[[Rows], Any]],
    X: pd.DataFrame,
    observed: Observed,
    *,
    cells: Any,
    default: str | None = None,
    folds: int = 5,
    repeats: int = 10,
    inner_folds: int = 5,
    inner_repeats: int = 2,
    level: float = 0.95,
    seed: int = 1,
    groups: Any = None,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> tuple[ModelComparison, NestedPredictions]:
    """Choose among candidates: the default, unless another is better beyond doubt on patients not seen.

    Parameters
    ----------
    fits
        By name what, given training rows, learns everything on them; two or more.
    X, observed, cells, groups
        As in `nested_predictions`.
    default
        The candidate that needs no reason; the first by default.
    folds, repeats
        Of the comparison.
    inner_folds, inner_repeats
        Of the same comparison in each training set, from which the honest cost of choosing comes.
    level
        Of the simultaneous limits.
    seed, workers, advance
        As in `nested_predictions`; `advance` is called after each outer fold.

    Returns
    -------
    comparison : ModelComparison
        The chosen model has the lowest loss of those whose simultaneous interval lies below 0. Censoring weights come
        from all patients, one curve for everybody, and are alike for all candidates.
    held : NestedPredictions
        The candidates' out-of-fold predictions, the default first, and what each training set chose.

    Raises
    ------
    DataError
        If there are fewer than two candidates or the default is none of them.
    AnalysisError
        If fewer than 10 patients are followed beyond the horizon, or a fit fails.
    """
    names = list(fits)
    first = names[0] if default is None and names else str(default)
    if len(names) < 2 or first not in names:
        raise DataError(
            f"the default is '{first}' of the candidates {names}: name two or more, the default one of them"
        )
    ordered = {first: fits[first]} | dict(fits)
    labels = np.asarray(cells).astype(str)
    patients = None if groups is None else np.asarray(groups)

    def choose(rows: Rows, inner_seed: int) -> int:
        inner = {name: _within(fit, rows) for name, fit in ordered.items()}
        own = observed.sample(rows)  # censoring too is learned from the training rows alone
        held = nested_predictions(
            inner, X.iloc[rows], own, cells=labels[rows], folds=inner_folds, repeats=inner_repeats, seed=inner_seed,
            groups=None if patients is None else patients[rows],
        )  # fmt: skip
        return _choice(_by_fold(own, held), inner_folds, level)[0]

    held = nested_predictions(ordered, X, observed, cells=labels, folds=folds, repeats=repeats, seed=seed, groups=groups,
                              choose=choose, workers=workers, advance=advance)  # fmt: skip
    losses = _by_fold(observed, held)
    place, found = _choice(losses, folds, level)
    with_choice = np.take_along_axis(losses, held.chosen.reshape(1, -1), axis=0)[0]
    cost = corrected_resampled(with_choice - losses[place], 1 / (folds - 1), level=level)
    comparison = ModelComparison(
        _rows(held, losses, found, observed.losses(held.null)), held.names[place], first, float(with_choice.mean()), cost.value,
        cost.low, cost.high, observed.horizon, observed.unit, folds, repeats, observed.n, observed.events, observed.loss,
        observed.gain, observed.predicted,
    )  # fmt: skip
    return comparison, held


def compare_models(
    fits: Mapping[str, Callable[[Rows], RiskModel]],
    X: pd.DataFrame,
    time: Any,
    event: Any,
    *,
    horizon: float,
    unit: str,
    competing: Any = None,
    **settings: Any,
) -> ModelComparison:
    """Choose among risk models of a time to event: the comparison of `choose_model`.

    Parameters
    ----------
    fits, X, settings
        As in `choose_model`.
    time, event, horizon, unit, competing
        As in `ObservedSurvival`.
    """
    observed = ObservedSurvival(time, event, horizon=horizon, unit=unit, competing=competing)
    return choose_model(fits, X, observed, **settings)[0]


def _within(fit: Callable[[Rows], Any], rows: Rows) -> Callable[[Rows], Any]:
    """Return `fit` for places among `rows`."""
    return lambda own: fit(rows[own])


def _by_fold(observed: Observed, held: NestedPredictions) -> Floats:
    """Return each candidate's mean loss in each test fold, shape (candidates, repeats * folds)."""
    loss = observed.losses(held.value)
    parts = [
        loss[:, repeat, own == label].mean(axis=1) for repeat, own in enumerate(held.fold) for label in np.unique(own)
    ]
    return np.stack(parts, axis=1)


def _choice(losses: Floats, folds: int, level: float) -> tuple[int, list[CorrectedMean]]:
    """Return the place of the chosen candidate (0 is the default), and each other's difference."""
    found = [
        corrected_resampled(own - losses[0], 1 / (folds - 1), level=level, comparisons=len(losses) - 1)
        for own in losses[1:]
    ]
    better = [k for k, one in enumerate(found, start=1) if one.high < 0]
    return min(better, key=lambda k: found[k - 1].value, default=0), found


def _rows(held: NestedPredictions, losses: Floats, found: list[CorrectedMean], null: Floats) -> pd.DataFrame:
    none = CorrectedMean(0.0, 0.0, 0, math.nan, math.nan, math.nan)
    gaps = [none, *found]
    loss = losses.mean(axis=1)
    return pd.DataFrame(
        {
            "model": held.names,
            "loss": loss,
            "gain": 1 - loss / null.mean(),
            "difference": [one.value for one in gaps],
            "low": [one.low for one in gaps],
            "high": [one.high for one in gaps],
            "se": [one.se for one in gaps],
            "p": [one.p for one in gaps],
            "chosen_share": [float((held.chosen == k).mean()) for k in range(len(held.names))],
        }
    )

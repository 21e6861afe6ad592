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
from trialml.survival.ipcw import censoring_of, checked_horizon, checked_outcome
from trialml.validation.crossvalidation import RiskModel
from trialml.validation.nested_crossvalidation import NestedRisks, nested_crossvalidation

__all__ = ["CorrectedMean", "ModelComparison", "compare_models", "corrected_resampled"]

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
        "The candidates were fitted and tuned in the same folds of repeated nested cross-validation. Their Brier scores (weighted "
        "for censoring) were compared with the default's by paired differences in each test fold, with the corrected resampled "
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
    """One row a candidate, the default first: model, brier, ipa, difference (of Brier scores, from the default), low, high
    (simultaneous), se, p (adjusted), chosen_share (of the training sets that would choose it)."""
    chosen: str
    default: str
    brier_with_choice: float
    """Brier score of whatever each training set chose."""
    cost: float
    """Of the choosing: `brier_with_choice` less the chosen model's Brier score, with limits."""
    cost_low: float
    cost_high: float
    horizon: float
    unit: str
    folds: int
    repeats: int
    n: int
    events: int

    def frame(self) -> pd.DataFrame:
        """Return one row a candidate."""
        return self.models

    def difference(self, model: str) -> Estimate:
        """Return a candidate's Brier score less the default's, with simultaneous limits.

        Raises
        ------
        DataError
            If there is no such candidate.
        """
        names = list(self.models["model"])
        if model not in names or model == self.default:
            raise DataError(f"there is no candidate '{model}': {nearest(model, names[1:])}")
        row = self.models.iloc[names.index(model)]
        return Estimate(float(row["difference"]), float(row["low"]), float(row["high"]), scale=f"Brier score less {self.default}'s",
                        kind="crossfit", se=float(row["se"]), n=self.n, events=self.events,
                        method="corrected resampled t, Bonferroni")  # fmt: skip

    @property
    def cost_of_choosing(self) -> Estimate:
        """What the choosing adds to the chosen model's Brier score."""
        return Estimate(self.cost, self.cost_low, self.cost_high, scale="Brier score", kind="crossfit", n=self.n,
                        events=self.events, method="corrected resampled t")  # fmt: skip

    def text(self) -> str:
        """Return which model is used and why, and the cost of choosing."""
        others = self.models.iloc[1:]
        best = others.loc[others["difference"].idxmin()]
        gap = self.difference(best["model"]).text()
        p = format_p(best["p"])
        p = p if p[0] in "<>" else f"= {p}"
        reason = (
            f"the adjusted interval of its Brier score less that of {self.default} lies below 0: {gap}, p {p}"
            if self.chosen != self.default
            else f"no candidate's adjusted interval lies below 0; that of {best['model']}, the nearest, is {gap}, p {p}"
        )
        again = float(self.models.loc[self.models["model"] == self.chosen, "chosen_share"].iloc[0])
        return (
            f"The model used is {self.chosen}, because {reason} (risks by {self.horizon:g} {self.unit}, {self.repeats} x {self.folds} "
            f"folds, {format_count(self.n)} patients, {counted(self.events, 'event')} by then). {format_number(100 * again)} % of the "
            f"training sets choose it too; choosing adds {self.cost_of_choosing.text()} to its Brier score."
        )

    def scalars(self) -> dict[str, float]:
        """Return each difference with its limits, the cost of choosing, and Brier scores."""
        named = {f"brier_{name}_less_{self.default}": self.difference(name) for name in self.models["model"][1:]}
        numbers = with_limits(named | {"brier_cost_of_choosing": self.cost_of_choosing})
        return numbers | {f"brier_{row.model}_crossfit": row.brier for row in self.models.itertuples()}

    def table(self) -> pd.DataFrame:
        """Return the candidates as words."""
        rows = self.models
        return pd.DataFrame(
            {
                "Model": [f"{name} (used)" if name == self.chosen else name for name in rows["model"]],
                "Brier score": rows["brier"].map(format_number),
                "IPA": rows["ipa"].map(format_number),
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
        axes.set_xlabel(f"Brier score less that of {self.default} (below 0 is better; adjusted 95% CI)")


def compare_models(
    fits: Mapping[str, Callable[[Rows], RiskModel]],
    X: pd.DataFrame,
    time: Any,
    event: Any,
    *,
    cells: Any,
    horizon: float,
    unit: str,
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
) -> ModelComparison:
    """Choose among candidates: the default, unless another is better beyond doubt on patients not seen.

    Parameters
    ----------
    fits
        By name what, given training rows, learns everything on them; two or more.
    X, time, event, cells, groups
        As in `nested_crossvalidation`.
    horizon, unit
        Where risks are read.
    default
        The candidate that needs no reason; the first by default.
    folds, repeats
        Of the comparison.
    inner_folds, inner_repeats
        Of the same comparison in each training set, from which the honest cost of choosing comes.
    level
        Of the simultaneous limits.
    seed, workers, advance
        As in `nested_crossvalidation`; `advance` is called after each outer fold.

    Returns
    -------
    ModelComparison
        The chosen model has the lowest Brier score of those whose simultaneous interval lies below 0. Censoring weights come
        from all patients, one curve for everybody, and are alike for all candidates.

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
    judge = _Losses(time, event, horizon)
    labels = np.asarray(cells).astype(str)
    patients = None if groups is None else np.asarray(groups)

    def choose(rows: Rows, inner_seed: int) -> int:
        inner = {name: _within(fit, rows) for name, fit in ordered.items()}
        held = nested_crossvalidation(
            inner, X.iloc[rows], judge.time[rows], judge.event[rows], cells=labels[rows], horizon=horizon, folds=inner_folds,
            repeats=inner_repeats, seed=inner_seed, groups=None if patients is None else patients[rows],
        )  # fmt: skip
        # Censoring too is learned from the training rows alone.
        own = _Losses(judge.time[rows], judge.event[rows], horizon)
        return _choice(own.by_fold(held), inner_folds, level)[0]

    held = nested_crossvalidation(ordered, X, judge.time, judge.event, cells=labels, horizon=horizon, folds=folds, repeats=repeats,
                                  seed=seed, groups=groups, choose=choose, workers=workers, advance=advance)  # fmt: skip
    losses = judge.by_fold(held)
    place, found = _choice(losses, folds, level)
    with_choice = np.take_along_axis(losses, held.chosen.reshape(1, -1), axis=0)[0]
    cost = corrected_resampled(with_choice - losses[place], 1 / (folds - 1), level=level)
    return ModelComparison(
        _rows(held, losses, found, judge.of(held.null_risk)), held.names[place], first,
        float(with_choice.mean()), cost.value, cost.low, cost.high, horizon, unit, folds, repeats, len(X), judge.events,
    )  # fmt: skip


def _within(fit: Callable[[Rows], RiskModel], rows: Rows) -> Callable[[Rows], RiskModel]:
    """Return `fit` for places among `rows`."""
    return lambda own: fit(rows[own])


class _Losses:
    """Squared errors of risks, weighted for censoring by one curve of all patients."""

    def __init__(self, time: Any, event: Any, horizon: float) -> None:
        outcome = checked_outcome(time, event, None)
        beyond = checked_horizon(outcome.time, horizon)
        self.time, self.event = outcome.time, outcome.event
        self.weight = censoring_of(outcome, None).weights(beyond, horizon)
        self.happened = outcome.event & ~beyond
        self.events = int(self.happened.sum())

    def of(self, risk: Floats) -> Floats:
        return np.asarray(self.weight * (self.happened - risk) ** 2)

    def by_fold(self, held: NestedRisks) -> Floats:
        """Return each candidate's mean loss in each test fold, shape (candidates, repeats * folds)."""
        loss = self.of(held.risk)
        parts = [
            loss[:, repeat, own == label].mean(axis=1)
            for repeat, own in enumerate(held.fold)
            for label in np.unique(own)
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


def _rows(held: NestedRisks, losses: Floats, found: list[CorrectedMean], null: Floats) -> pd.DataFrame:
    none = CorrectedMean(0.0, 0.0, 0, math.nan, math.nan, math.nan)
    gaps = [none, *found]
    brier = losses.mean(axis=1)
    return pd.DataFrame(
        {
            "model": held.names,
            "brier": brier,
            "ipa": 1 - brier / null.mean(),
            "difference": [one.value for one in gaps],
            "low": [one.low for one in gaps],
            "high": [one.high for one in gaps],
            "se": [one.se for one in gaps],
            "p": [one.p for one in gaps],
            "chosen_share": [float((held.chosen == k).mean()) for k in range(len(held.names))],
        }
    )

"""Does expected benefit come true? Cross-fitted doubly robust effects against the model's expectations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.result import COLOURS, Z95, Estimate, Result, format_count, format_number, plain_text, with_limits
from trialml.validation.held_predictions import refuse_unknown

__all__ = [
    "BenefitCalibration",
    "HeldOutBenefit",
    "ResponseModel",
    "benefit_calibration",
    "crossvalidate_response",
    "group_influence",
    "group_mean",
    "rmst_scale",
    "scale_label",
]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class ResponseModel(Protocol):
    """What a fitted response model must offer."""

    def benefit_score(self, X: pd.DataFrame) -> Floats:
        """Return the score that orders patients, higher is more benefit."""

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the expected benefit."""


class HeldOutBenefit(NamedTuple):
    """What models that never saw the patient say, and what happened; rows are repeats, columns patients.

    Attributes
    ----------
    score
        Doubly robust scores from nuisance models of the other folds, shape (repeats, n).
    benefit_score
        The model's score before shrinkage, centred on the training patients' mean, shape (repeats, n).
    expected
        Expected benefit after shrinkage, shape (repeats, n).
    rank
        The share of training patients with a lower benefit score, those with an equal one counted half, shape
        (repeats, n): cut-points are quantiles of the training patients, so a stratum is a range of ranks.
    fold
        The fold of each patient, shape (repeats, n); None where all are of one fold.
    """

    score: Floats
    benefit_score: Floats
    expected: Floats
    rank: Floats
    fold: Rows | None = None


def crossvalidate_response(
    fit: Callable[[Rows], tuple[ResponseModel, Callable[[Rows], Floats]]],
    X: pd.DataFrame,
    *,
    cells: NDArray[np.str_],
    folds: int,
    repeats: int,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> HeldOutBenefit:
    """Learn everything on all folds but one and read scores and expectations on the one left out, in turn.

    Parameters
    ----------
    fit
        Given training rows, returns the response model learned on them (its own scores cross-fitted within) and a
        function from test rows to their doubly robust scores, with nuisance models of the training rows.
    X
        Covariates, shape (n, p).
    cells
        What folds are balanced by, shape (n,).
    folds, repeats, seed
        The repeats have seeds of their own, spawned from `seed`.
    advance
        Called after each fold.

    Returns
    -------
    HeldOutBenefit
        Every patient once in each repeat.
    """
    shape = (repeats, len(X))
    fold = np.array(
        [fold_labels(cells, folds, np.random.default_rng(one)) for one in np.random.SeedSequence(seed).spawn(repeats)]
    )
    held = HeldOutBenefit(np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape), fold)
    for repeat, labels in enumerate(fold):
        for train, test in splits(labels):
            model, scores_of = fit(train)
            held.score[repeat, test] = scores_of(test)
            learned, new = model.benefit_score(X.iloc[train]), model.benefit_score(X.iloc[test])
            held.benefit_score[repeat, test] = new - learned.mean()
            held.expected[repeat, test] = model.predict(X.iloc[test])
            held.rank[repeat, test] = _rank(np.sort(learned), new)
            advance()
    return held


def _rank(ordered: Floats, new: Floats) -> Floats:
    below, up_to = (np.searchsorted(ordered, new, side=side) for side in ("left", "right"))
    return np.asarray((below + up_to) / (2 * len(ordered)), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class BenefitCalibration(Result):
    """The slopes of doubly robust effects on the benefit score and on the expected benefit, and both by group."""

    title = "Calibration of the benefit score and of the expected benefit"
    figure_size = (6.4, 4.2)
    methods = (
        "The response model was judged on patients it had not seen: in repeated cross-validation, with nuisance models, "
        "penalty, shrinkage and cut-points all learned on the training folds, the doubly robust effects of the test patients were "
        "regressed once on their benefit score, before shrinkage, and once on their expected benefit, which the model delivers "
        "after it. Effects and predictors are centred in each test fold, so that only differences between patients who were "
        "judged by one model count; sums of products are pooled over folds and repeats before they are divided. The standard "
        "error is that of a single repeat."
    )
    references = (
        "Chernozhukov V, Demirer M, Duflo E, Fernandez-Val I. Fisher-Schultz lecture: generic machine learning inference on "
        "heterogeneous treatment effects in randomized experiments. Econometrica 2025;93:1121-1164.",
    )

    groups: pd.DataFrame
    """Columns group, n, expected, observed, low, high."""
    slope: Estimate
    """Of doubly robust effects on the benefit score, before shrinkage."""
    expected_slope: Estimate
    """Of doubly robust effects on the expected benefit, after shrinkage."""
    shrinkage: float
    shrinkage_mc_error: float
    """What another choice of splits would change of the shrinkage, as a standard error."""
    unit: str
    tau: float
    """Of the restricted mean; NaN on another scale."""
    scale: str = ""
    """What the scores estimate ("risk difference"); empty in results that were stored before it was kept: restricted means."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", self.scale or rmst_scale(self.tau, self.unit))

    def frame(self) -> pd.DataFrame:
        """Return one row a group."""
        return self.groups

    def text(self) -> str:
        """Return the slopes before and after shrinkage, and what the final model keeps."""
        error = format_number(100 * self.shrinkage_mc_error, 2)
        return (
            f"{self._slopes()} The final model keeps {100 * self.shrinkage:.0f} % of the spread of its score around the average "
            f"effect (Monte Carlo error of its splits {error} percentage points; the sample's own error is larger, as the interval of the "
            f"slope before shrinkage shows; scale: {self.scale})."
        )

    def _slopes(self) -> str:
        if math.isnan(self.slope.value):
            return "The models gave all unseen patients of a fold the same benefit score, so there is no slope on it."
        said = (
            f"Regressing the doubly robust effects of unseen patients on the benefit score, before shrinkage, gives a slope of "
            f"{self.slope.text()}"
        )
        one_each = "1 would mean that differences come true in full, 0 that they are noise"
        known = f"{format_count(self.slope.n or 0)} patients, cross-fitted, centred in each fold"
        if math.isnan(self.expected_slope.value):
            return (
                f"{said} ({one_each}; {_of_zero(self.slope)}; {known}); every model shrank it to the average effect, so that there "
                "is no slope on the expected benefit."
            )
        return (
            f"{said} ({one_each}; {_of_zero(self.slope)}), and on the expected benefit, after it, one of {self.expected_slope.text()} "
            f"({_of_zero(self.expected_slope)}; {known})."
        )

    def scalars(self) -> dict[str, float]:
        """Return both slopes with limits, and the shrinkage with its Monte Carlo error."""
        slopes = {"benefit_slope_crossfit": self.slope, "expected_benefit_slope_crossfit": self.expected_slope}
        return with_limits(slopes) | {
            "benefit_shrinkage": self.shrinkage,
            "benefit_shrinkage_mc_error": self.shrinkage_mc_error,
        }

    def table(self) -> None:
        """The figure says it all."""

    def draw(self, figure: Any) -> None:
        """Draw the effect that was seen in each group beside the expected one."""
        axes = figure.subplots()
        place = np.arange(len(self.groups))
        spread = np.abs(self.groups[["low", "high"]].to_numpy().T - self.groups["observed"].to_numpy())
        axes.errorbar(
            place,
            self.groups["observed"],
            yerr=spread,
            fmt="o",
            color=COLOURS["experimental"],
            capsize=3,
            label="seen (95% CI)",
        )
        axes.plot(
            place,
            self.groups["expected"],
            "_",
            color=COLOURS["third"],
            markersize=22,
            markeredgewidth=3,
            label="expected",
        )
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(place, self.groups["group"])
        axes.set_xlabel("Fifths of the benefit score of patients not used for fitting, lowest to highest")
        axes.set_ylabel(scale_label(self.scale, self.unit))
        axes.legend(frameon=False, loc="best")


def rmst_scale(tau: float, unit: str) -> str:
    """Return what scores of censored times estimate, in words."""
    return f"RMST difference over {tau:g} {unit}"


def scale_label(scale: str, unit: str) -> str:
    """Return what stands beside an axis of effects: the scale, and below it the unit and which side is benefit."""
    return f"{plain_text(scale)}\n({plain_text(unit)}{'; ' if unit else ''}above 0 favours experimental)"


def _of_zero(slope: Estimate) -> str:
    return "the interval does not exclude 0" if slope.low <= 0 <= slope.high else "the interval excludes 0"


def benefit_calibration(
    held: HeldOutBenefit,
    *,
    shrinkage: float,
    shrinkage_mc_error: float,
    unit: str,
    tau: float = math.nan,
    scale: str = "",
    groups: int = 5,
) -> BenefitCalibration:
    """Compare doubly robust scores with benefit scores and with expectations on patients not seen.

    Parameters
    ----------
    held
        Out-of-fold scores and expectations.
    shrinkage, shrinkage_mc_error
        What the final model keeps of its spread, and the Monte Carlo standard error of that.
    unit, tau, scale
        Of the scores: their unit (empty for a difference of proportions), and either where the restricted mean ends or what
        else they estimate, in words ("risk difference").
    groups
        How many groups of rank are shown.

    Returns
    -------
    BenefitCalibration
        Slopes are ``sum(x y) / sum(x x)`` over patients and repeats, x and y centred in each test fold; NaN where all
        x of a fold are equal. Groups are ranges of rank among training patients.

    Raises
    ------
    DataError
        If a number is missing or infinite.
    """
    refuse_unknown({"scores": held.score, "benefit scores": held.benefit_score, "expected benefits": held.expected})
    return BenefitCalibration(
        groups=_by_rank(held, groups),
        slope=_slope(held, held.benefit_score, "slope of doubly robust scores on the benefit score"),
        expected_slope=_slope(held, held.expected, "slope of doubly robust scores on the expected benefit"),
        shrinkage=shrinkage,
        shrinkage_mc_error=shrinkage_mc_error,
        unit=unit,
        tau=tau,
        scale=scale,
    )


def _slope(held: HeldOutBenefit, predictor: Floats, scale: str) -> Estimate:
    """Return the pooled slope with the standard error of a single repeat, pooled (decision 0008)."""
    # A mean of the repeats' own slopes has no bound: a repeat whose models are all but flat has a slope of any size.
    known: dict[str, Any] = {"scale": scale, "kind": "crossfit", "n": predictor.shape[1]}
    along, score = _centred(predictor, held.fold), _centred(held.score, held.fold)
    spread = float(np.mean(along**2))
    if spread <= 1e-12 * float(np.mean(score**2)):
        return Estimate(math.nan, **known)
    value = float(np.mean(along * score)) / spread
    se = repeated_se(along * (score - value * along) / spread)
    half = Z95 * se
    return Estimate(
        value,
        value - half,
        value + half,
        se=se,
        method="ratio of sums over repeats, standard error of one repeat",
        **known,
    )


def _centred(values: Floats, fold: Rows | None) -> Floats:
    """Return values, shape (repeats, n), less their mean in the patient's fold of the repeat."""
    if fold is None:
        return np.asarray(values - values.mean(axis=1, keepdims=True))
    centred = np.empty_like(values)
    for out, row, labels in zip(centred, values, fold, strict=True):
        out[:] = row - (np.bincount(labels, row) / np.maximum(np.bincount(labels), 1))[labels]
    return centred


def _by_rank(held: HeldOutBenefit, groups: int) -> pd.DataFrame:
    place = np.minimum((held.rank * groups).astype(int), groups - 1)
    rows = []
    for group in range(groups):
        value, se = group_mean(held.score, place == group)
        expected = float(held.expected[place == group].mean()) if (place == group).any() else float("nan")
        rows.append(
            {
                "group": str(group + 1),
                "n": float((place == group).mean(axis=0).sum()),
                "expected": expected,
                "observed": value,
                "low": value - Z95 * se,
                "high": value + Z95 * se,
            }
        )
    return pd.DataFrame(rows)


def group_mean(score: Floats, member: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the mean score of a group that changes from repeat to repeat, and its standard error.

    Parameters
    ----------
    score, member
        Scores and membership, each of shape (repeats, n).

    Returns
    -------
    value, se : float
        The average over repeats of the group means; the standard error of the patients' influences
        ``member / share * (score - mean)``, by `repeated_se`. NaN where a repeat has nobody in the group.
    """
    if not member.any(axis=1).all():
        return float("nan"), float("nan")
    means, influence = group_influence(score, member)
    return float(means.mean()), repeated_se(influence)


def group_influence(score: Floats, member: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the group's mean in each repeat, shape (repeats, 1), and each patient's influence on it, (repeats, n).

    Parameters
    ----------
    score, member
        As in `group_mean`; every repeat has somebody in the group.
    """
    share = member.mean(axis=1, keepdims=True)
    means = (member * score).mean(axis=1, keepdims=True) / share
    return means, member * (score - means) / share


def repeated_se(influence: Floats) -> float:
    """Return the standard error of an average over repeats: that of a single repeat, pooled.

    Parameters
    ----------
    influence
        Each patient's influence on each repeat's estimate, shape (repeats, n); an estimate is a mean of influences.

    Returns
    -------
    float
        ``sqrt(mean over repeats of sum(influence**2) / (n (n - 1)))``. Averaging the influences over repeats first
        would be too small: where there is no effect a rule and its test patients are tied by a degenerate second-order
        statistic, of which every repeat sees nearly the same pairs, so that repeating removes little of its variance.
    """
    n = influence.shape[1]
    return float(np.sqrt((influence**2).sum(axis=1).mean() / (n * (n - 1))))

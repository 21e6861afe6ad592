"""Does expected benefit come true? Cross-fitted doubly robust effects against the model's expectations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.result import COLOURS, Z95, Estimate, Result, format_count

__all__ = [
    "BenefitCalibration",
    "HeldOutBenefit",
    "ResponseModel",
    "benefit_calibration",
    "crossvalidate_response",
    "group_influence",
    "group_mean",
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
    """

    score: Floats
    benefit_score: Floats
    expected: Floats
    rank: Floats


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
    held = HeldOutBenefit(np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape))
    for repeat, source in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        for train, test in splits(fold_labels(cells, folds, np.random.default_rng(source))):
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
    """The slope of what happened on what was expected, and both by group of expected benefit."""

    title = "Calibration of expected benefit"
    figure_size = (6.4, 4.2)
    methods = (
        "The response model was judged on patients it had not seen: in repeated cross-validation, with nuisance models, "
        "penalty, shrinkage and cut-points all learned on the training folds, doubly robust scores of the test patients "
        "were compared with their expected benefit. The standard error is that of a single repeat."
    )
    references = (
        "Chernozhukov V, Demirer M, Duflo E, Fernandez-Val I. Fisher-Schultz lecture: generic machine learning inference on "
        "heterogeneous treatment effects in randomized experiments. Econometrica 2025;93:1121-1164.",
    )

    groups: pd.DataFrame
    """Columns group, n, expected, observed, low, high."""
    slope: Estimate
    shrinkage: float
    unit: str
    tau: float

    def frame(self) -> pd.DataFrame:
        """Return one row a group."""
        return self.groups

    def text(self) -> str:
        """Return the slope before shrinkage and what the final model keeps."""
        words = "does not exclude 0" if self.slope.low <= 0 else "excludes 0"
        return (
            f"Regressing the doubly robust effects of unseen patients on the unshrunk benefit score gives a slope of {self.slope.text()} "
            f"(1 would mean that differences come true in full, 0 that they are noise; the interval {words}; "
            f"{format_count(self.slope.n or 0)} patients, cross-fitted). The final model keeps {100 * self.shrinkage:.0f} % of the spread "
            f"of its score around the average effect (scale: RMST difference over {self.tau:g} {self.unit})."
        )

    def scalars(self) -> dict[str, float]:
        """Return the slope with limits and the shrinkage."""
        return {
            "benefit_slope_crossfit": self.slope.value,
            "benefit_slope_crossfit_low": self.slope.low,
            "benefit_slope_crossfit_high": self.slope.high,
            "benefit_shrinkage": self.shrinkage,
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
        axes.set_ylabel(f"RMST difference over {self.tau:g} {self.unit}\n({self.unit}; above 0 favours experimental)")
        axes.legend(frameon=False, loc="best")


def benefit_calibration(
    held: HeldOutBenefit, *, shrinkage: float, unit: str, tau: float, groups: int = 5
) -> BenefitCalibration:
    """Compare doubly robust scores with expectations on patients not seen.

    Parameters
    ----------
    held
        Out-of-fold scores and expectations.
    shrinkage
        What the final model keeps of its spread.
    unit, tau
        The scale of the scores.
    groups
        How many groups of rank are shown.

    Returns
    -------
    BenefitCalibration
        The slope is through centred scores; groups are ranges of rank among training patients.
    """
    slopes, influences = [], []
    for score, benefit in zip(held.score, held.benefit_score, strict=True):
        centred = benefit - benefit.mean()
        spread = float(np.mean(centred**2))
        if spread <= 1e-12:
            slopes.append(0.0)
            influences.append(np.zeros(len(score)))
            continue
        slope = float(np.mean(centred * (score - score.mean())) / spread)
        slopes.append(slope)
        influences.append(centred * (score - score.mean() - slope * centred) / spread)
    value = float(np.mean(slopes))
    se = repeated_se(np.asarray(influences))
    half = Z95 * se
    estimate = Estimate(
        value,
        value - half,
        value + half,
        scale="slope of doubly robust scores on the benefit score",
        kind="crossfit",
        se=se,
        n=held.score.shape[1],
        method="average over repeats, standard error of one",
    )
    return BenefitCalibration(_by_rank(held, groups), estimate, shrinkage, unit, tau)


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

"""Would treating those first whom the model ranks first do more good? Targeting curves and their averages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import AnalysisError, DataError
from trialml.result import (
    COLOURS,
    Z95,
    Estimate,
    Kind,
    Result,
    counted,
    format_count,
    format_p,
    kind_words,
    plain_text,
    with_limits,
)
from trialml.validation.benefit import HeldOutBenefit, repeated_se, rmst_scale
from trialml.validation.held_predictions import refuse_unknown
from trialml.validation.rank_weighted import rank_weighted

__all__ = ["TargetingCurve", "targeting_curve"]

Floats = NDArray[np.float64]

SHARES = tuple(step / 20 for step in range(1, 21))
FEWEST = 10
"""Patients that a test fold needs, so that its first tenth is somebody."""

DEPENDENCE = 1.25
"""What standard errors of cross-fits are multiplied by: the folds' rules share patients, which patients' influences do not
show. In simulated trials of 300 to 1,000 patients without heterogeneity the spread was 1.14 to 1.18 times the error without it for
AUTOC, 1.17 to 1.25 for Qini (400 replications each, Monte Carlo error .04; ``benchmarks/targeting_size.py``)."""


@dataclass(frozen=True, eq=False)
class TargetingCurve(Result):
    """By how much the effect among those ranked first exceeds that of everybody, over the share treated."""

    title = "Targeting by expected benefit"
    figure_size = (6.4, 4.2)
    references = (
        "Yadlowsky S, Fleming S, Shah N, Brunskill E, Wager S. Evaluating treatment prioritization rules via rank-weighted average "
        "treatment effects. J Am Stat Assoc 2025;120:38-51.",
        "Meinshausen N, Meier L, Bühlmann P. p-values for high-dimensional regression. J Am Stat Assoc 2009;104:1671-1681.",
    )

    curve: pd.DataFrame
    """Columns share, gain (effect among the share ranked first less that of everybody), low, high, se."""
    autoc: Estimate
    """The curve's mean over shares; NaN where the models rank nobody before anybody."""
    qini: Estimate
    """The mean over shares of the share times the curve."""
    p_autoc: float
    """One-sided: of no gain against a gain. Twice the median over repeats, where there are several."""
    p_qini: float
    repeats: int
    folds: int
    unit: str
    tau: float
    scale: str

    @property
    def methods(self) -> str:  # type: ignore[override]
        """How the curve and its averages are defined and judged."""
        said = (
            "The targeting curve is the mean doubly robust score among the share of patients whom the model ranks first, less the mean of all; "
            "AUTOC is its mean over shares, Qini's coefficient the mean of share times curve. Equal ranks share the mean of their weights."
        )
        if self.autoc.kind != "crossfit":
            return f"{said} Standard errors are from the jackknife; p-values are one-sided."
        return (
            f"{said} Patients are ranked within each test fold by a model that had not seen the fold, and folds and repeats are averaged. "
            f"Standard errors are those of a single repeat, from the jackknife, times {DEPENDENCE:g}, the shortfall seen in simulated trials, whose folds' rules "
            "share patients. The one-sided p-value is twice the median of the repeats' own: that of one cross-fit alone rejects too often. AUTOC is the "
            "statistic to judge by; Qini's p-value is not adjusted for being the second. The estimand is the average over the rules "
            "that the repeats learned."
        )

    def frame(self) -> pd.DataFrame:
        """Return one row a share."""
        return self.curve

    def text(self) -> str:
        """Return AUTOC and Qini with p-values, and what they say."""
        if math.isnan(self.autoc.value):
            return "The models gave all patients of a test fold the same rank: there is no order to treat patients in."
        by = f"{kind_words(self.autoc.kind)}, {format_count(self.autoc.n or 0)} patients"
        if self.repeats > 1:
            by += f", {counted(self.repeats, 'repeat')} of {counted(self.folds, 'fold')}"
        said = (
            f"Treating those first whom the model ranks first gains, on average over the share treated, {self.autoc.text()} on the average "
            f"effect (AUTOC; {_p_words(self.p_autoc)}, one-sided; scale: {self.scale}; {by}); weighted by the share it is {self.qini.text()} (Qini; "
            f"{_p_words(self.p_qini)})."
        )
        if self.p_autoc >= 0.05:
            return f"{said} This does not show that the order is better than chance; nor does it show that there is no order."
        said += " Patients ranked first had larger effects than the others"
        said += "." if self.autoc.low > 0 else ", by the one-sided test; the two-sided interval includes 0."
        if math.isnan(self.tau):
            return said
        return (
            f"{said} On this scale patients at higher risk gain more even where the hazard ratio is the same for all."
        )

    def scalars(self) -> dict[str, float]:
        """Return AUTOC and Qini with limits, and their p-values."""
        kind = self.autoc.kind
        return with_limits({f"autoc_{kind}": self.autoc, f"qini_{kind}": self.qini}) | {
            f"autoc_{kind}_p": self.p_autoc,
            f"qini_{kind}_p": self.p_qini,
        }

    def table(self) -> None:
        """The figure says it all."""

    def draw(self, figure: Any) -> None:
        """Draw the curve with its pointwise band."""
        axes = figure.subplots()
        share = 100 * self.curve["share"]
        axes.fill_between(share, self.curve["low"], self.curve["high"], color=COLOURS["experimental"], alpha=0.2, lw=0)
        axes.plot(share, self.curve["gain"], color=COLOURS["experimental"], marker="o", markersize=3)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xlim(0, 100)
        axes.set_xlabel("Share of patients treated, highest expected benefit first (%)")
        unit = f" ({plain_text(self.unit)})" if self.unit else ""
        axes.set_ylabel(f"Gain on the average effect{unit},\n{plain_text(self.scale)}")
        axes.set_title("band: pointwise 95% limits", fontsize=9, loc="right")


def _p_words(p: float) -> str:
    shown = format_p(p)
    return f"p {shown}" if shown[0] in "<>" else f"p = {shown}"


def targeting_curve(
    held: HeldOutBenefit,
    *,
    unit: str,
    tau: float = math.nan,
    scale: str = "",
    kind: Kind = "crossfit",
) -> TargetingCurve:
    """Judge the order in which a model would treat patients, by doubly robust scores of patients it has not seen.

    Parameters
    ----------
    held
        Doubly robust scores and benefit scores, each of shape (repeats, n), with the folds: patients are ranked within a fold,
        since each fold has a model of its own. Scores of censored outcomes serve as any other. Without folds, all are ranked
        together, as patients of another trial are.
    unit, tau, scale
        Of the scores, as in `benefit_calibration`.
    kind
        ``external`` for patients of another trial.

    Returns
    -------
    TargetingCurve
        With S the scores and m the patients of a fold, ``TOC(q) = mean of S among the first q m - mean of S``,
        ``AUTOC = mean over j of TOC(j / m)`` and ``Qini = mean over j of (j / m) TOC(j / m)``; folds are weighted by size.
        Shares of fewer than 11 patients are left out of the curve. The p-value of one repeat is that of value over standard
        error, upper tail of the normal; of several it is ``min(1, 2 median)``, whose size is at most 5 % where each repeat's is (Meinshausen,
        Meier and Bühlmann 2009) and in simulated trials was so although each repeat's is not.

    Raises
    ------
    DataError
        If the arrays do not fit each other, or a value is missing or infinite.
    AnalysisError
        If a fold has fewer than 10 patients.
    """
    score, rank, fold = _checked(held)
    shares = np.array([share for share in SHARES if share * score.shape[1] >= SMALLEST_CELL])
    value, influence = _by_repeat(score, rank, fold, shares)
    inflate = DEPENDENCE if kind == "crossfit" else 1.0
    errors = np.array([[repeated_se(one[None]) for one in repeat] for repeat in influence])
    se = inflate * np.sqrt((errors**2).mean(axis=0))
    means = value.mean(axis=0)
    p_autoc, p_qini = (_p_value(value[:, place], errors[:, place]) for place in (0, 1))
    flat = not (influence[:, 0] != 0).any()
    known: dict[str, Any] = {"unit": unit, "kind": kind, "n": score.shape[1]}
    scale = scale or rmst_scale(tau, unit)
    curve = pd.DataFrame({"share": shares, "gain": means[2:], "low": means[2:] - Z95 * se[2:], "high": means[2:] + Z95 * se[2:],
                          "se": se[2:]})  # fmt: skip
    autoc, qini = (
        _estimate(math.nan if flat else means[place], se[place], f"{name} of {scale}", known)
        for place, name in enumerate(("AUTOC", "Qini"))
    )
    return TargetingCurve(curve, autoc, qini, p_autoc, p_qini, repeats=len(score), folds=int(np.unique(fold[0]).size),
                          unit=unit, tau=tau, scale=scale)  # fmt: skip


def _estimate(value: float, se: float, scale: str, known: dict[str, Any]) -> Estimate:
    if math.isnan(value):
        return Estimate(math.nan, scale=scale, **known)
    method = "jackknife standard error" + (
        f" of one repeat times {DEPENDENCE:g}" if known["kind"] == "crossfit" else ""
    )
    return Estimate(
        float(value),
        float(value - Z95 * se),
        float(value + Z95 * se),
        se=float(se),
        scale=scale,
        method=method,
        **known,
    )


def _p_value(value: Floats, se: Floats) -> float:
    """Return the one-sided p of one repeat, or twice the median of several; a repeat without any order has p = 1."""
    known = se > 0
    each = np.where(known, special.ndtr(-value / np.where(known, se, 1.0)), 1.0)
    return float(each[0]) if each.size == 1 else min(1.0, 2 * float(np.median(each)))


def _checked(held: HeldOutBenefit) -> tuple[Floats, Floats, NDArray[np.intp]]:
    score, rank = (np.atleast_2d(np.asarray(one, dtype=np.float64)) for one in (held.score, held.benefit_score))
    fold = np.zeros(score.shape, dtype=np.intp) if held.fold is None else np.atleast_2d(held.fold)
    if not score.shape == rank.shape == fold.shape or score.ndim != 2 or not score.size:
        raise DataError(
            f"scores have shape {score.shape}, benefit scores {rank.shape} and folds {fold.shape}: pass one of each for every repeat "
            "and patient"
        )
    refuse_unknown({"scores": score, "benefit scores": rank})
    fewest = min(int(np.unique(row, return_counts=True)[1].min()) for row in fold)
    if fewest < FEWEST:
        raise AnalysisError(
            f"a fold has {counted(fewest, 'patient')}, but an order can be judged from {FEWEST} on: use fewer folds"
        )
    return score, rank, fold


def _by_repeat(score: Floats, rank: Floats, fold: NDArray[np.intp], shares: Floats) -> tuple[Floats, Floats]:
    """Return each repeat's statistics, shape (repeats, k), and each patient's influence on them, (repeats, k, n)."""
    repeats, n = score.shape
    value = np.zeros((repeats, 2 + len(shares)))
    influence = np.zeros((repeats, 2 + len(shares), n))
    for repeat in range(repeats):
        for label in np.unique(fold[repeat]):
            rows = np.flatnonzero(fold[repeat] == label)
            priority = rank[repeat, rows]
            if (priority == priority[0]).all():
                continue
            found = rank_weighted(score[repeat, rows], priority, shares)
            m = rows.size
            value[repeat] += found.value * m / n
            # So that the sum of squares over n (n - 1) is that of each fold's own variance m^2 / n^2 / (m (m - 1)).
            influence[repeat][:, rows] = found.influence * math.sqrt(m / (m - 1) * (n - 1) / n)
    return value, influence

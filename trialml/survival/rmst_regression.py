"""Restricted mean survival time adjusted for covariates: regression weighted by inverse probability of censoring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate, Result, counted, format_number, format_p, with_limits
from trialml.survival.intervals import normal_quantile
from trialml.survival.product_limit import product_limit, step_at
from trialml.survival.rmst import refuse_tau
from trialml.survival.terms import dependent_words, design_columns
from trialml.survival.ties import TIE_TOLERANCE, Array, Flags, distinct_times
from trialml.survival.two_arms import two_arms

__all__ = ["AdjustedRestrictedMean", "adjusted_restricted_mean"]

Scale = Literal["difference", "ratio", "ratio of time lost"]
STEPS = 50


@dataclass(frozen=True, eq=False)
class AdjustedRestrictedMean(Result):
    """A regression of the restricted event-free time on arm and covariates.

    Attributes
    ----------
    coefficients
        One row a term (intercept, arm, covariates): term, coefficient, se, z, p (two-sided), low, high; and for ratios
        exp_coefficient, of which low and high are then the limits.
    effect
        The arm's coefficient: a difference in the unit of time, or a ratio; conditional on the covariates, which for the
        linear model is also marginal.
    p
        Two-sided, of no effect.
    scale
        ``"difference"``, ``"ratio"`` or ``"ratio of time lost"``.
    arms
        The two labels, control first.
    tau, unit, level
        Up to when, in which unit, and the level of the limits.
    """

    title: ClassVar[str] = "Adjusted restricted mean survival time"
    references: ClassVar[tuple[str, ...]] = (
        "Tian L, Zhao L, Wei LJ. Predicting the restricted mean event time with the subject's baseline covariates in "
        "survival analysis. Biostatistics 2014;15:222-233.",
    )
    methods: ClassVar[str] = (
        "The restricted event-free time was regressed on arm and baseline covariates, patients weighted by the inverse "
        "probability of being uncensored (Kaplan-Meier by arm), with a robust variance that includes the weights'."
    )

    coefficients: pd.DataFrame
    effect: Estimate
    p: float
    scale: str
    arms: tuple[str, str]
    tau: float
    unit: str
    level: float

    def heading(self) -> str:
        """Return the title with the scale and tau."""
        return f"{self.title} up to {self.tau:g} {self.unit}: {self.scale}"

    def frame(self) -> pd.DataFrame:
        """Return one row a term."""
        return self.coefficients.assign(scale=self.scale, tau=self.tau, unit=self.unit)

    def table(self) -> pd.DataFrame:
        """Return coefficients, exponentiated for ratios, with limits and p."""
        rows = self.coefficients
        value = rows["coefficient"] if self.scale == "difference" else rows["exp_coefficient"]
        words = [
            f"{format_number(one)} ({format_number(low)} to {format_number(high)})"
            for one, low, high in zip(value, rows["low"], rows["high"], strict=True)
        ]
        name = f"{self.scale.capitalize()} ({100 * self.level:g}% CI)"
        return pd.DataFrame({"Term": rows["term"], name: words, "p (two-sided)": [format_p(p) for p in rows["p"]]})

    def text(self) -> str:
        """Return the effect in words."""
        p = format_p(self.p)
        verb = (
            f"{self.arms[1]} less {self.arms[0]}" if self.scale == "difference" else f"{self.arms[1]} to {self.arms[0]}"
        )
        count = len(self.coefficients) - 2
        return (
            f"Adjusted for {count} covariate term{'s' if count > 1 else ''}, the {self.effect.scale.partition(',')[0]} up to {self.tau:g} {self.unit}, "
            f"{verb}, is {self.effect.text()} (two-sided p {p if p[0] in '<>n' else '= ' + p}; "
            f"{counted(self.effect.n or 0, 'patient')}, inverse-probability-of-censoring weights)."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the effect with its limits."""
        name = "adjusted_rmst_" + self.scale.replace(" ", "_")
        return with_limits({name: self.effect})


def adjusted_restricted_mean(
    time: Any,
    event: Any,
    group: Any,
    covariates: pd.DataFrame,
    *,
    control: str,
    experimental: str,
    tau: float,
    scale: Scale = "difference",
    unit: str = "days",
    level: float = 0.95,
) -> AdjustedRestrictedMean:
    """Return the effect of the arm on the restricted mean, adjusted for baseline covariates (analysis of covariance).

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    group
        One arm label a patient; patients of other arms are left out.
    covariates
        One row a patient, in the same order; text and categories enter as one column for each level after the first.
    control, experimental
        The labels to compare.
    tau
        Up to when, in the unit of `time`: fixed in the protocol.
    scale
        ``"difference"``: ``E min(T, tau)`` is linear in arm and covariates; ``"ratio"``: its logarithm is; ``"ratio of time
        lost"``: the logarithm of ``tau - E min(T, tau)`` is.
    unit, level
        For print, and the level of the limits.

    Returns
    -------
    AdjustedRestrictedMean
        With ``Y = min(T, tau)`` known for patients with an event or followed to tau, the estimating equation is
        ``sum x w (Y - mean(x)) = 0`` with ``w = 1 / G(Y)``, G the Kaplan-Meier estimate of censoring by arm, as in
        survRM2's ``rmst2``: a censoring at the time of an event counts before it, and G is kept at .001 or more. The
        variance ``A^-1 B A^-1`` adds to each patient's score the part that comes from estimating G.

    Raises
    ------
    DataError
        If an arm has no patient, `scale` is unknown, or a covariate is missing or infinite.
    AnalysisError
        If follow-up of an arm ends before `tau`, a covariate is constant or a combination of others, or the
        equations have no finite solution.
    """
    if scale not in ("difference", "ratio", "ratio of time lost"):
        raise DataError(f"scale is '{scale}', but it must be 'difference', 'ratio' or 'ratio of time lost'")
    data = two_arms(time, event, group, control, experimental)
    refuse_tau(tau, data.named_curves(), unit)
    labels = np.asarray(group).astype(str)
    if len(covariates) != labels.size:
        raise DataError(f"covariates has {len(covariates)} rows for {labels.size} patients: pass one row a patient")
    chosen = np.isin(labels, data.arms)
    columns, _ = design_columns(covariates[chosen])
    treated = labels[chosen] == data.arms[1]
    X = np.column_stack((np.ones(treated.size), treated, columns.to_numpy(float)))
    times, flags = np.asarray(time, dtype=float)[chosen], np.asarray(event).astype(bool)[chosen]
    beta, covariance = _fit(times, flags, treated, _regular(X, list(columns.columns)), tau, scale)
    rows = _coefficients(["intercept", "arm", *columns.columns], beta, covariance, scale, level)
    arm = rows.iloc[1]
    shared: dict[str, Any] = {
        "level": level,
        "se": float(arm["se"]),
        "n": sum(data.patients),
        "events": sum(data.events_by(tau)),
    }
    words = f"RMST {scale}" if scale != "ratio of time lost" else "ratio of restricted mean times lost"
    value = float(arm["coefficient"] if scale == "difference" else arm["exp_coefficient"])
    effect = Estimate(
        value, float(arm["low"]), float(arm["high"]), f"{words}, conditional on covariates",
        unit if scale == "difference" else "", method="inverse probability of censoring weights, robust", **shared,
    )  # fmt: skip
    return AdjustedRestrictedMean(rows, effect, float(arm["p"]), scale, data.arms, float(tau), unit, level)


def _regular(X: Array, names: list[str]) -> Array:
    if not np.isfinite(X).all():
        wrong = int(np.argmax(~np.isfinite(X[:, 2:]).all(axis=0)))
        raise DataError(f"'{names[wrong]}' is infinite in some row: correct it or drop the row")
    scaled = X / np.maximum(np.abs(X).max(axis=0), 1e-300)
    if np.linalg.matrix_rank(scaled, tol=1e-9 * np.sqrt(len(X))) < X.shape[1]:
        if X.shape[1] >= len(X):
            raise AnalysisError(dependent_words("", len(names), len(X)))
        raise AnalysisError(
            f"a column of {', '.join(names)} is constant or a combination of the others, so the model has no single "
            "answer: drop it"
        )
    return X


def _fit(time: Array, event: Flags, treated: Flags, X: Array, tau: float, scale: str) -> tuple[Array, Array]:
    y = np.minimum(time, tau)
    known = event | (time >= tau * (1 - TIE_TOLERANCE))
    weight = np.zeros(y.size)
    for arm in (treated, ~treated):
        censoring = product_limit(y[arm], ~known[arm])
        weight[arm] = known[arm] / np.maximum(step_at(censoring.time, censoring.survival, y[arm]), 0.001)
    response = tau - y if scale == "ratio of time lost" else y
    beta, mean = _solve(X, response, weight, linear=scale == "difference")
    score = X * (weight * (response - mean))[:, None]
    spread = np.zeros((X.shape[1], X.shape[1]))
    for arm in (treated, ~treated):
        part = _with_censoring(score[arm], y[arm], known[arm])
        spread += part.T @ part
    bread = np.linalg.inv(X.T @ X if scale == "difference" else X.T @ (X * mean[:, None]))
    covariance: Array = bread @ spread @ bread
    return beta, covariance


def _solve(X: Array, response: Array, weight: Array, *, linear: bool) -> tuple[Array, Array]:
    """Solve ``X' weight (response - mean) = 0``, mean linear or log-linear in X."""
    if linear:
        beta = np.asarray(np.linalg.solve(X.T @ (X * weight[:, None]), X.T @ (weight * response)), dtype=float)
        return beta, X @ beta
    beta = np.zeros(X.shape[1])
    beta[0] = np.log(np.average(response, weights=weight)) if np.average(response, weights=weight) > 0 else 0.0
    for _ in range(STEPS):
        mean = np.exp(np.clip(X @ beta, -700, 700))
        gradient = X.T @ (weight * (response - mean))
        information = X.T @ (X * (weight * mean)[:, None])
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            break
        beta = np.asarray(beta + step / max(1.0, float(np.abs(X @ step).max()) / 3), dtype=float)
        if float(gradient @ step) <= 1e-20 * float(weight @ response):
            return beta, np.exp(X @ beta)
    raise AnalysisError(
        "the regression of restricted times did not converge: an arm or a level of a covariate has lost no time or all "
        "of it; use scale='difference' or drop the covariate"
    )


def _with_censoring(score: Array, y: Array, known: Flags) -> Array:
    """Add to each score the part that comes from estimating the censoring distribution of the arm."""
    _, place = distinct_times(y)
    size = int(place.max()) + 1
    at_risk = np.cumsum(np.bincount(place, minlength=size)[::-1])[::-1].astype(float)
    here = np.zeros((size, score.shape[1]))
    np.add.at(here, place, score)
    later = np.cumsum(here[::-1], axis=0)[::-1]
    censored = np.bincount(place, ~known, size)
    drift = np.cumsum(later * (censored / at_risk**2)[:, None], axis=0)
    return np.asarray(score + (~known)[:, None] * later[place] / at_risk[place][:, None] - drift[place])


def _coefficients(names: list[str], beta: Array, covariance: Array, scale: str, level: float) -> pd.DataFrame:
    se = np.sqrt(np.diag(covariance))
    z = beta / se
    half = normal_quantile(level) * se
    low, high = beta - half, beta + half
    rows = pd.DataFrame({"term": names, "coefficient": beta, "se": se, "z": z, "p": 2 * special.ndtr(-np.abs(z))})
    if scale == "difference":
        return rows.assign(low=low, high=high)
    return rows.assign(exp_coefficient=np.exp(beta), low=np.exp(low), high=np.exp(high))

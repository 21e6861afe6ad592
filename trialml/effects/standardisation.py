"""Covariate adjustment of a binary or continuous endpoint by standardisation, on the same marginal scales.

A working model predicts every patient's outcome under both arms; the means of the predictions are compared
(g-computation). With mu_a(x) the predictions, pi_a the share of arm a and r = Y - mu_a(X) the residuals of an arm, the
covariance of the two means, times n, is

    V = diag(var(r_a) / pi_a) + C + C' - var(mu(X)) - E,    C_ab = cov(Y_a, mu_b(X)) within arm a,

which holds whether the working model is right or wrong and includes the sampling of the covariates. E is what
stratified randomisation takes off: the sum over strata of their share times (R R') * (diag(pi) - pi pi'), R_a being
the mean residual of arm a in the stratum over pi_a. It vanishes if the strata are in a model fitted by arm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.continuous import t_quantile
from trialml.effects.endpoint_contrast import EndpointContrast, not_estimable, ratio_estimate
from trialml.effects.logistic import logistic_fit
from trialml.effects.two_arms import (
    Cells,
    Covariates,
    checked_cells,
    checked_covariates,
    checked_outcome,
    refuse_dependent,
)
from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate, counted

__all__ = ["StandardisedContrast", "StandardisedMeans", "standardised_contrast", "standardised_means"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kind = Literal["continuous", "binary"]


class StandardisedMeans(NamedTuple):
    """The two standardised means.

    Attributes
    ----------
    means
        Control, experimental; shape (2,).
    covariance
        Of the two, shape (2, 2).
    df
        Residual degrees of freedom of the working model.
    """

    means: Floats
    covariance: Floats
    df: float


@dataclass(frozen=True, eq=False)
class StandardisedContrast(EndpointContrast):
    """The covariate-adjusted contrast of a binary or a continuous endpoint."""

    title = "Covariate-adjusted effect of treatment"
    methods = (
        "Covariates were adjusted for by standardisation: a working model (linear for continuous, logistic for binary "
        "outcomes) predicted each patient's outcome under both arms, and the means of the predictions were compared, so that "
        "the effect stays marginal. Standard errors are robust to a wrong working model, include the sampling of the covariates and "
        "the stratification of the randomisation, and have a small-sample correction (residual degrees of freedom and the chance "
        "imbalance of the covariates)."
    )
    references = (
        "Bugni FA, Canay IA, Shaikh AM. Inference under covariate-adaptive randomization. J Am Stat Assoc "
        "2018;113:1784-1796.",
        "Ye T, Shao J, Yi Y, Zhao Q. Toward better practice of covariate adjustment in analyzing randomized clinical trials. "
        "J Am Stat Assoc 2023;118:2370-2382.",
        "Ye T, Bannick M, Yi Y, Shao J. Robust variance estimation for covariate-adjusted unconditional treatment effect in "
        "randomized clinical trials with binary outcomes. Stat Theory Relat Fields 2023;7:159-163.",
        "Lin W. Agnostic notes on regression adjustments to experimental data: reexamining Freedman's critique. Ann Appl Stat "
        "2013;7:295-318.",
    )

    def scalars(self) -> dict[str, float]:
        """Return every estimate with its limits, under ``adjusted_`` and its name."""
        return {f"adjusted_{name}": value for name, value in super().scalars().items()}


class _Design(NamedTuple):
    outcome: Floats
    treated: Flags
    X: Floats
    names: tuple[str, ...]
    cells: Cells


def standardised_means(
    outcome: Any,
    treated: Any,
    covariates: Any,
    *,
    kind: Kind,
    strata: Any = None,
    interacted: bool = True,
    strata_in_model: bool = True,
    stratified: bool = True,
    small_sample: bool = True,
) -> StandardisedMeans:
    """Return the mean outcome under each arm, standardised to the covariates of all patients.

    Parameters
    ----------
    outcome, treated
        Outcome and arm (True experimental), each of shape (n,).
    covariates
        A DataFrame or an array of shape (n, k) of baseline covariates without missing values.
    kind
        ``"continuous"``: linear working model; ``"binary"``: logistic.
    strata
        The stratification cell of each patient, shape (n,).
    interacted
        Whether the working model is fitted by arm (Lin; ANHECOVA with the strata in it) or with one slope for both
        arms (ANCOVA).
    strata_in_model
        Whether the working model has an indicator for each cell.
    stratified
        Whether randomisation was stratified by `strata` (permuted blocks, minimisation on the cells) or simple.
    small_sample
        Multiply the residual variance by ``(n_a - 1) / (n_a - 1 - k)`` (by arm; ``(n - 2) / (n - 2 - k)`` for one
        slope) and add what the chance imbalance of the covariates costs, ``d' S^-1 d`` for each unit of residual
        variance: d the arm's mean less the mean of all, S the sum of squares that the slopes were fitted on. With
        a linear model this is the exact conditional variance of the predicted mean.

    Returns
    -------
    StandardisedMeans
        Predictions are averaged with the arm's mean residual added, which is 0 for these models up to rounding.

    Raises
    ------
    DataError
        If the arrays cannot be used.
    AnalysisError
        If a covariate is constant or a combination of others, or separates events from the rest, if fewer than two
        residual degrees of freedom are left in an arm, or if nothing is left of the outcome's variance.
    """
    design = _checked(outcome, treated, covariates, kind, strata, strata_in_model)
    masks = (~design.treated, design.treated)
    predictions = _predicted(design, kind, interacted)
    share = np.array([mask.mean() for mask in masks])
    residual = np.where(design.treated, design.outcome - predictions[:, 1], design.outcome - predictions[:, 0])
    means = predictions.mean(axis=0) + np.array([residual[mask].mean() for mask in masks])
    spread = np.array([residual[mask].var(ddof=1) for mask in masks])
    within = [np.cov(design.outcome[mask], predictions[mask].T)[0, 1:] for mask in masks]
    cross = np.array(within)
    variance = np.diag(spread / share) + cross + cross.T - np.cov(predictions.T)
    if stratified:
        variance = variance - _stratification(residual, masks, share, design.cells)
    if small_sample:
        variance = variance + _small_sample(design, spread, share, interacted)
    k, n, size = design.X.shape[1], design.outcome.size, float(np.abs(design.outcome).max())
    left = variance[0, 0] + variance[1, 1] - 2 * variance[0, 1]
    # What rounding leaves of a variance of 0 would be limits of no width.
    if not left > max(1e-12 * design.outcome.var(), (1e-14 * size) ** 2):
        raise AnalysisError(
            "the outcome is constant, or the covariates predict it without error in both arms, so the difference has no "
            "standard error: check the columns"
        )
    return StandardisedMeans(means, np.asarray(variance / n), float(n - 2 - k * (2 if interacted else 1)))


def _checked(outcome: Any, treated: Any, covariates: Any, kind: Kind, strata: Any, strata_in_model: bool) -> _Design:
    if kind not in ("continuous", "binary"):
        raise DataError(f"kind is '{kind}', but it must be 'continuous' or 'binary'")
    values, arm = checked_outcome(outcome, treated, binary=kind == "binary")
    cells = checked_cells(strata, values.size)
    known = (
        _with_strata(covariates, cells, values.size) if strata_in_model else checked_covariates(covariates, values.size)
    )
    for mask, name in ((~arm, "control"), (arm, "experimental")):
        left = int(mask.sum()) - 1 - known.matrix.shape[1]
        if left < 2:
            raise AnalysisError(
                f"the {name} arm has {counted(mask.sum(), 'patient')} for {counted(known.matrix.shape[1], 'column')} of covariates: adjust for fewer"
            )
        if kind == "binary" and not 0 < values[mask].mean() < 1:
            what = "no" if values[mask].mean() == 0 else "nothing but"
            raise AnalysisError(
                f"the {name} arm has {what} events, so a logistic model has no answer: compare unadjusted"
            )
    return _Design(values, arm, known.matrix, known.names, cells)


def _with_strata(covariates: Any, cells: Cells, n: int) -> Covariates:
    """Return the covariates with an indicator for each stratification cell after the first."""
    plain = checked_covariates(covariates, n)
    if cells.labels.size < 2:
        return plain
    dummies = (cells.codes[:, None] == np.arange(1, cells.labels.size)).astype(np.float64)
    # A covariate that the cells already tell apart adds nothing to their indicators.
    basis = np.column_stack([np.ones(n), dummies])
    rest = plain.matrix - basis @ np.linalg.lstsq(basis, plain.matrix, rcond=None)[0]
    kept = rest.std(axis=0) > 1e-10 * np.maximum(plain.matrix.std(axis=0), 1e-300)
    names = (
        *(name for name, keep in zip(plain.names, kept, strict=True) if keep),
        *(f"stratum {one}" for one in cells.labels[1:]),
    )
    return Covariates(np.column_stack([plain.matrix[:, kept], dummies]), names)


def _predicted(design: _Design, kind: Kind, interacted: bool) -> Floats:
    """Return every patient's predicted outcome under control and experimental, shape (n, 2)."""
    n = design.outcome.size
    centred = (design.X - design.X.mean(axis=0)) / design.X.std(axis=0)
    ones = np.ones(n)
    if interacted:
        both = []
        for mask, name in ((~design.treated, "the control arm"), (design.treated, "the experimental arm")):
            refuse_dependent(centred[mask] - centred[mask].mean(axis=0), design.names, name, np.ones(design.X.shape[1]))
            X = np.column_stack([ones, centred])
            both.append(_fitted(X[mask], design.outcome[mask], X, kind, design.names, name))
        return np.column_stack(both)
    arm = design.treated.astype(np.float64)
    X = np.column_stack([ones, centred, arm])
    refuse_dependent(X[:, 1:] - X[:, 1:].mean(axis=0), (*design.names, "the arm"), "all patients")
    under = [np.column_stack([ones, centred, np.full(n, level)]) for level in (0.0, 1.0)]
    return np.column_stack([_fitted(X, design.outcome, one, kind, design.names, "all patients") for one in under])


def _fitted(X: Floats, y: Floats, at: Floats, kind: Kind, names: tuple[str, ...], where: str) -> Floats:
    """Return the predictions at `at` of the working model fitted to X and y."""
    if kind == "continuous":
        return np.asarray(at @ np.linalg.lstsq(X, y, rcond=None)[0])
    return logistic_fit(X, y, names, where).risk(at)


def _stratification(residual: Floats, masks: tuple[Flags, Flags], share: Floats, cells: Cells) -> Floats:
    """Return E of the module's docstring, shape (2, 2)."""
    total = np.zeros((2, 2))
    if cells.labels.size < 2:
        return total
    for place in range(cells.labels.size):
        inside = cells.codes == place
        if not all((inside & mask).any() for mask in masks):
            raise AnalysisError(f"the stratum '{cells.labels[place]}' has an empty arm: use coarser strata")
        own = np.array([residual[inside & mask].mean() for mask in masks]) / share
        total += inside.mean() * np.outer(own, own) * (np.diag(share) - np.outer(share, share))
    return total


def _small_sample(design: _Design, spread: Floats, share: Floats, interacted: bool) -> Floats:
    """Return what the residual degrees of freedom and the covariates' chance imbalance add, times n, shape (2, 2)."""
    n, k = design.X.shape
    masks = (~design.treated, design.treated)
    sizes = np.array([mask.sum() for mask in masks], dtype=np.float64)
    away = np.array([design.X[mask].mean(axis=0) for mask in masks]) - design.X.mean(axis=0)
    squares = [
        (design.X[mask] - design.X[mask].mean(axis=0)).T @ (design.X[mask] - design.X[mask].mean(axis=0))
        for mask in masks
    ]
    factor = (sizes - 1) / (sizes - 1 - k) if interacted else np.full(2, (n - 2) / (n - 2 - k))
    added = np.diag(spread * (factor - 1) / share)
    if interacted:
        cost = [spread[a] * factor[a] * away[a] @ np.linalg.pinv(squares[a]) @ away[a] for a in (0, 1)]
        return np.asarray(added + n * np.diag(cost))
    pooled = float(share @ spread) * factor[0]
    return np.asarray(added + n * pooled * away @ np.linalg.pinv(squares[0] + squares[1]) @ away.T)


def standardised_contrast(
    outcome: Any,
    treated: Any,
    covariates: Any,
    *,
    kind: Kind,
    strata: Any = None,
    interacted: bool = True,
    small_sample: bool = True,
    unit: str = "",
    names: tuple[str, str] = ("control", "experimental"),
    label: str = "Outcome",
    level: float = 0.95,
) -> StandardisedContrast:
    """Compare a binary or continuous outcome between two arms, adjusted for baseline covariates.

    Parameters
    ----------
    outcome, treated, covariates, kind, strata, interacted, small_sample
        As in `standardised_means`; the strata are in the working model, and taken as what randomisation was stratified by.
    unit
        The unit of a continuous outcome.
    names, label
        Words for control and experimental arm, and for the outcome.
    level
        Confidence level.

    Returns
    -------
    StandardisedContrast
        ``mean_difference`` and ``mean_ratio`` for a continuous outcome; ``risk_difference``, ``risk_ratio`` and
        ``odds_ratio`` for a binary one; all marginal. Limits take Student's t with the residual degrees of freedom;
        ratios are symmetric on the log scale (delta method).

    Raises
    ------
    DataError, AnalysisError
        As `standardised_means`.
    """
    found = standardised_means(
        outcome, treated, covariates, kind=kind, strata=strata, interacted=interacted, small_sample=small_sample
    )
    values, arm = checked_outcome(outcome, treated, binary=kind == "binary")
    binary = kind == "binary"
    model = "logistic" if binary else "linear"
    method = f"standardisation, {model} model " + ("by arm" if interacted else "with one slope for both arms")
    known: dict[str, Any] = {"n": values.size, "level": level} | ({"events": int(values.sum())} if binary else {})
    quantile = t_quantile(level, found.df)
    word = "risk" if binary else "mean"
    scale = "risk difference" if binary else "difference in means"
    difference = _linear(
        found, quantile, f"{scale}, marginal, covariate-adjusted", "" if binary else unit, method, known
    )
    log_scale = "risk ratio" if binary else "ratio of means"
    estimates = {
        f"{word}_difference": difference,
        f"{word}_ratio": _ratio(found, quantile, f"{log_scale}, marginal, covariate-adjusted", method, known),
    }
    if binary:
        estimates["odds_ratio"] = _odds(found, quantile, "odds ratio, marginal, covariate-adjusted", method, known)
    rows = [
        (
            names[place],
            int((arm == place).sum()),
            int(values[arm == place].sum()) if binary else -1,
            float(found.means[place]),
        )
        for place in (0, 1)
    ]
    return StandardisedContrast(estimates, pd.DataFrame(rows, columns=["arm", "patients", "events", "mean"]), label)


def _linear(
    found: StandardisedMeans, quantile: float, scale: str, unit: str, method: str, known: dict[str, Any]
) -> Estimate:
    value = float(found.means[1] - found.means[0])
    se = _spread(found, np.array([-1.0, 1.0]))
    return Estimate(value, value - quantile * se, value + quantile * se, scale, unit, se=se, method=method, **known)


def _ratio(found: StandardisedMeans, quantile: float, scale: str, method: str, known: dict[str, Any]) -> Estimate:
    if found.means.min() <= 0:
        return not_estimable(scale, "a standardised mean is not above 0", **known)
    se = _spread(found, np.array([-1.0, 1.0]) / found.means)
    return ratio_estimate(float(np.log(found.means[1] / found.means[0])), se, quantile, scale, method, **known)


def _odds(found: StandardisedMeans, quantile: float, scale: str, method: str, known: dict[str, Any]) -> Estimate:
    if found.means.min() <= 0 or found.means.max() >= 1:
        return not_estimable(scale, "a standardised risk is 0 or 1", **known)
    odds = np.log(found.means / (1 - found.means))
    se = _spread(found, np.array([-1.0, 1.0]) / (found.means * (1 - found.means)))
    return ratio_estimate(float(odds[1] - odds[0]), se, quantile, scale, method, **known)


def _spread(found: StandardisedMeans, gradient: Floats) -> float:
    variance = float(gradient @ found.covariance @ gradient)
    if not variance > 0:
        raise AnalysisError(
            f"the variance of the standardised contrast came out as {variance:.3g}: use fewer covariates or more data"
        )
    return math.sqrt(variance)

"""A continuous endpoint in two arms: difference and ratio of means, plain and stratified."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.endpoint_contrast import EndpointContrast, not_estimable, ratio_estimate
from trialml.effects.two_arms import checked_cells, checked_outcome
from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate
from trialml.survival.intervals import normal_quantile

__all__ = ["ContinuousContrast", "Difference", "continuous_contrast", "mean_difference", "t_quantile"]


class Difference(NamedTuple):
    """A difference of means, its standard error and degrees of freedom."""

    value: float
    se: float
    df: float


@dataclass(frozen=True, eq=False)
class ContinuousContrast(EndpointContrast):
    """The contrast of a continuous endpoint."""

    title = "Effect of treatment on a continuous endpoint"
    methods = (
        "Means were compared without assuming equal variances (Welch); the stratified difference weights strata by their share "
        "of the patients; the ratio of means has limits on the log scale by the delta method."
    )
    references = (
        "Welch BL. The generalization of 'Student's' problem when several different population variances are involved. "
        "Biometrika 1947;34:28-35.",
        "Satterthwaite FE. An approximate distribution of estimates of variance components. Biometrics Bull 1946;2:110-114.",
    )


def mean_difference(outcome: Any, treated: Any, strata: Any = None) -> Difference:
    """Return the difference of means, experimental less control, within strata and then over them.

    Parameters
    ----------
    outcome, treated
        Values and arm, each of shape (n,).
    strata
        The stratification cell of each patient; None for one.

    Returns
    -------
    Difference
        ``sum(w_k (mean_1k - mean_0k))`` with w_k the stratum's share of the patients; variance
        ``sum(w_k^2 (s_1k^2 / n_1k + s_0k^2 / n_0k))``; Satterthwaite's degrees of freedom (Welch's for one stratum).

    Raises
    ------
    DataError
        If the arrays cannot be used.
    AnalysisError
        If a stratum has fewer than two patients in an arm, or the outcome does not vary in any arm.
    """
    values, arm = checked_outcome(outcome, treated, binary=False)
    cells = checked_cells(strata, values.size)
    value, parts, freedoms = 0.0, [], []
    for place, label in enumerate(cells.labels):
        inside = cells.codes == place
        weight = inside.mean()
        for who, sign, name in ((inside & arm, 1.0, "experimental"), (inside & ~arm, -1.0, "control")):
            own = values[who]
            if own.size < 2:
                where = f" of stratum '{label}'" if cells.labels.size > 1 else ""
                raise AnalysisError(
                    f"the {name} arm{where} has {own.size} patient{'' if own.size == 1 else 's'}, and a variance needs two: "
                    "use coarser strata or more data"
                )
            value += sign * weight * float(own.mean())
            parts.append(weight**2 * float(own.var(ddof=1)) / own.size)
            freedoms.append(own.size - 1)
    shares = np.asarray(parts)
    variance = float(shares.sum())
    # Rounding leaves a constant column of 0.1 a variance of 1e-34.
    if variance <= (1e-14 * float(np.abs(values).max())) ** 2:
        raise AnalysisError(
            "the outcome has one value in each arm, so the difference has no standard error: check the column"
        )
    return Difference(value, math.sqrt(variance), variance**2 / float((shares**2 / np.asarray(freedoms)).sum()))


def t_quantile(level: float, df: float) -> float:
    """Return the quantile of Student's t for a two-sided interval."""
    from scipy.special import stdtrit

    normal_quantile(level)
    if not df > 0:
        raise DataError(f"{df:g} degrees of freedom are left: use fewer covariates or more data")
    return float(stdtrit(df, 0.5 + level / 2))


def continuous_contrast(
    outcome: Any,
    treated: Any,
    *,
    strata: Any = None,
    unit: str = "",
    names: tuple[str, str] = ("control", "experimental"),
    label: str = "Outcome",
    level: float = 0.95,
) -> ContinuousContrast:
    """Compare a continuous outcome between two arms.

    Parameters
    ----------
    outcome
        One number a patient, shape (n,), without missing values.
    treated
        True in the experimental arm, shape (n,).
    strata
        The stratification cell of each patient, shape (n,); adds the stratified difference.
    unit
        The unit of the outcome.
    names, label
        Words for control and experimental arm, and for the outcome.
    level
        Confidence level.

    Returns
    -------
    ContinuousContrast
        ``mean_difference`` (Welch) and ``mean_ratio`` (delta method on the log scale), and with `strata`
        ``stratified_mean_difference``; all marginal. The ratio is NaN, and says why, unless both means are above 0.

    Raises
    ------
    DataError, AnalysisError
        As `mean_difference`.
    """
    values, arm = checked_outcome(outcome, treated, binary=False)
    known: dict[str, Any] = {"n": values.size, "level": level}
    plain = mean_difference(values, arm)
    estimates = {"mean_difference": _difference(plain, unit, "unadjusted", "Welch", known)}
    estimates["mean_ratio"] = _ratio(values[arm], values[~arm], known)
    if strata is not None:
        cells = checked_cells(strata, values.size).labels.size
        method = f"average over {cells} strata by their share of patients, Satterthwaite"
        stratified = mean_difference(values, arm, strata)
        estimates["stratified_mean_difference"] = _difference(stratified, unit, "stratified", method, known)
    rows = [(names[place], int((arm == place).sum()), -1, float(values[arm == place].mean())) for place in (0, 1)]
    return ContinuousContrast(estimates, pd.DataFrame(rows, columns=["arm", "patients", "events", "mean"]), label)


def _difference(found: Difference, unit: str, what: str, method: str, known: dict[str, Any]) -> Estimate:
    half = t_quantile(known["level"], found.df) * found.se
    return Estimate(
        found.value, found.value - half, found.value + half, f"difference in means, marginal, {what}", unit,
        se=found.se, method=f"{method}, t with {found.df:.1f} degrees of freedom", **known,
    )  # fmt: skip


def _ratio(experimental: NDArray[np.float64], control: NDArray[np.float64], known: dict[str, Any]) -> Estimate:
    scale = "ratio of means, marginal, unadjusted"
    above, below = float(experimental.mean()), float(control.mean())
    if min(above, below) <= 0:
        return not_estimable(scale, "a mean is not above 0", **known)
    se = math.hypot(*(math.sqrt(own.var(ddof=1) / own.size) / own.mean() for own in (experimental, control)))
    return ratio_estimate(math.log(above / below), se, normal_quantile(known["level"]), scale, "delta method", **known)

"""Missing outcomes of a binary or continuous endpoint: multiple imputation by arm, and its tipping point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.continuous import mean_difference, t_quantile
from trialml.effects.imputation import Kind, Pooled, impute_outcome, rubin
from trialml.effects.standardisation import standardised_means
from trialml.effects.tipping_point import TippingPoint, first_crossing
from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate
from trialml.survival.intervals import normal_quantile

__all__ = ["imputed_difference", "tipping_point_outcome"]

Floats = NDArray[np.float64]


def imputed_difference(
    outcome: Any,
    treated: Any,
    baseline: Any,
    *,
    kind: Kind,
    intermediate: Any = None,
    adjusted: bool = True,
    imputations: int = 20,
    shift: float = 0.0,
    unit: str = "",
    seed: int = 1,
    level: float = 0.95,
) -> Estimate:
    """Return the marginal difference of means or of risks with missing outcomes imputed several times, arm by arm.

    Parameters
    ----------
    outcome, treated, baseline, kind, intermediate, imputations, shift, seed
        As in `impute_outcome`.
    adjusted
        Whether each data set is analysed by standardisation over `baseline` (`standardised_means`, fitted by arm) or
        unadjusted.
    unit
        The unit of a continuous outcome.
    level
        Of the limits.

    Returns
    -------
    Estimate
        Pooled by Rubin's rules, with Barnard and Rubin's degrees of freedom.

    Raises
    ------
    DataError, AnalysisError
        As `impute_outcome` and `standardised_means`.
    """
    drawn = impute_outcome(
        outcome,
        treated,
        baseline,
        kind=kind,
        intermediate=intermediate,
        imputations=imputations,
        shift=shift,
        seed=seed,
    )
    found = _pooled(drawn, treated, baseline, kind, adjusted=adjusted)
    half = _quantile(level, found.df) * found.se
    scale = "difference in means, marginal" if kind == "continuous" else "risk difference, marginal"
    missing = int(np.isnan(np.asarray(outcome, dtype=np.float64)).sum())
    return Estimate(
        found.value, found.value - half, found.value + half, scale + (", covariate-adjusted" if adjusted else ", unadjusted"),
        unit if kind == "continuous" else "", level=level, se=found.se, n=drawn.shape[1],
        method=f"{imputations} imputations by arm of {missing} missing outcomes, Rubin's rules, t with {found.df:.1f} degrees of freedom",
    )  # fmt: skip


def _quantile(level: float, df: float) -> float:
    return normal_quantile(level) if math.isinf(df) else t_quantile(level, df)


def _pooled(drawn: Floats, treated: Any, baseline: Any, kind: Kind, *, adjusted: bool) -> Pooled:
    estimates, variances, df = [], [], math.inf
    for values in drawn:
        if adjusted:
            found = standardised_means(values, treated, baseline, kind=kind)
            contrast = np.array([-1.0, 1.0])
            estimates.append(float(contrast @ found.means))
            variances.append(float(contrast @ found.covariance @ contrast))
            df = found.df
        else:
            plain = mean_difference(values, treated)
            estimates.append(plain.value)
            variances.append(plain.se**2)
            df = min(df, plain.df)
    return rubin(estimates, variances, df)


def tipping_point_outcome(
    outcome: Any,
    treated: Any,
    baseline: Any,
    shifts: Sequence[float],
    *,
    kind: Kind,
    higher_is_better: bool = True,
    intermediate: Any = None,
    adjusted: bool = True,
    imputations: int = 20,
    unit: str = "",
    seed: int = 1,
    level: float = 0.95,
) -> TippingPoint:
    """Shift the imputed outcomes of the experimental arm against it until the interval includes no difference.

    Parameters
    ----------
    outcome, treated, baseline, kind, intermediate, adjusted, imputations, unit, seed, level
        As in `imputed_difference`.
    shifts
        How far against the experimental arm: rising from 0, in the unit of a continuous outcome or on the log odds of a binary
        one.
    higher_is_better
        Whether a higher value (an event) is good for the patient; the shifts are subtracted if so, else added.

    Returns
    -------
    TippingPoint
        For a binary outcome ``worst`` counts every missing experimental outcome as bad, on one data set of imputed controls.

    Raises
    ------
    DataError, AnalysisError
        As `imputed_difference`; also if no outcome of the experimental arm is missing.
    """
    steps = [float(shift) for shift in shifts]
    if len(steps) < 2 or steps[0] != 0 or not np.isfinite(steps).all() or (np.diff(steps) <= 0).any():
        raise DataError(f"shifts are {steps}, but they must rise from 0: give shifts such as 0, 1, 2")
    values, arm = np.asarray(outcome, dtype=np.float64), np.asarray(treated, dtype=np.bool_)
    if values.shape != arm.shape:
        raise DataError(f"outcome has shape {values.shape} and treated {arm.shape}: pass one value a patient for each")
    imputed = int((np.isnan(values) & arm).sum())
    if not imputed:
        raise AnalysisError(
            "no outcome of the experimental arm is missing, so nothing can tip: report the complete analysis"
        )
    asked: dict[str, Any] = {
        "kind": kind, "intermediate": intermediate, "adjusted": adjusted, "imputations": imputations, "unit": unit, "seed": seed,
        "level": level,
    }  # fmt: skip
    against = -1.0 if higher_is_better else 1.0
    found = [imputed_difference(values, arm, baseline, shift=against * step, **asked) for step in steps]
    rows = pd.DataFrame(
        [{"delta": step, "value": one.value, "se": one.se, "low": one.low, "high": one.high} for step, one in zip(steps, found, strict=True)]
    ).assign(df=math.nan, imputed_events=math.nan)  # fmt: skip
    limit = rows["low"] if higher_is_better else rows["high"]
    tipping = first_crossing(steps, limit, null=0.0, lower_is_better=not higher_is_better, log_delta=False)
    worst = _worst(values, arm, baseline, higher_is_better, asked) if kind == "binary" else None
    size = (
        f"shift of the imputed outcomes ({unit or 'in their unit'})"
        if kind == "continuous"
        else "shift of the imputed log odds"
    )
    return TippingPoint(
        rows, tipping, *((worst.value, worst.low, worst.high) if worst else (math.nan,) * 3),
        f"If the outcome of every one of them had been {'no event' if higher_is_better else 'an event'}",
        found[0].scale, found[0].unit, 0.0, lower_is_better=not higher_is_better,
        assumption="Missing outcomes were imputed by arm, those of experimental patients then shifted by delta against their arm",
        delta_words=f"Delta: {size} against the experimental arm", start=0.0, imputed=imputed, imputations=imputations,
        level=level, n=values.size,
    )  # fmt: skip


def _worst(values: Floats, arm: Any, baseline: Any, higher_is_better: bool, asked: dict[str, Any]) -> Estimate:
    """Return the comparison where every missing experimental outcome is bad; controls stay imputed."""
    filled = values.copy()
    filled[np.isnan(values) & arm] = 0.0 if higher_is_better else 1.0
    if not np.isnan(filled).any():
        known = mean_difference(filled, arm)
        half = t_quantile(asked["level"], known.df) * known.se
        return Estimate(known.value, known.value - half, known.value + half)
    return imputed_difference(filled, arm, baseline, **asked)

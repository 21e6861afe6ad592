"""Fine and Gray's model of the subdistribution hazard of one cause, with predicted cumulative incidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import Estimate, Result, counted, format_count, format_number, format_p
from trialml.survival.aalen_johansen import checked_causes
from trialml.survival.cox_refusals import refuse_overflow
from trialml.survival.fine_gray_fit import Ties, fit_fine_gray
from trialml.survival.intervals import normal_quantile
from trialml.survival.predictors import Predictors, learn_predictors
from trialml.survival.product_limit import step_at
from trialml.survival.ties import TIE_TOLERANCE, Array

__all__ = ["FineGray", "fine_gray", "hazard_ratio_rows"]


@dataclass(frozen=True, eq=False)
class FineGray(Result):
    """A fitted Fine-Gray model.

    Attributes
    ----------
    coefficients
        One row a coefficient: covariate, coefficient (log subdistribution hazard ratio), hazard_ratio, low, high, se, z,
        p (two-sided).
    covariance, covariance_model
        Of the coefficients: Fine and Gray's sandwich, on which the limits rest, and the inverse of the information.
    log_likelihood, log_likelihood_null
        Of the weighted partial likelihood, of the model and without covariates.
    baseline
        The cumulative subdistribution hazard of a patient with mean covariates: time, cumulative_hazard.
    predictors
        How covariates become columns.
    cause, n, events, competing
        The cause of interest, patients, events of it and competing events.
    last
        The latest follow-up time.
    ties, unit, level
        ``"breslow"`` or ``"efron"``, the unit of time, and the level of the limits.
    """

    title: ClassVar[str] = "Fine-Gray model"
    references: ClassVar[tuple[str, ...]] = (
        "Fine JP, Gray RJ. A proportional hazards model for the subdistribution of a competing risk. J Am Stat Assoc "
        "1999;94:496-509.",
    )
    methods: ClassVar[str] = (
        "Subdistribution hazard ratios are from Fine and Gray's model with a robust variance that includes the estimation "
        "of the censoring weights. They describe the cumulative incidence; they are no rate ratios among patients at risk."
    )

    coefficients: pd.DataFrame
    covariance: np.ndarray[Any, np.dtype[np.float64]]
    covariance_model: np.ndarray[Any, np.dtype[np.float64]]
    log_likelihood: float
    log_likelihood_null: float
    baseline: pd.DataFrame
    predictors: Predictors
    cause: str
    n: int
    events: int
    competing: int
    last: float
    ties: str
    unit: str
    level: float

    def heading(self) -> str:
        """Return the title with the cause."""
        return f"{self.title} of {self.cause}"

    def frame(self) -> pd.DataFrame:
        """Return one row a coefficient."""
        return self.coefficients

    def hazard_ratio(self, name: str) -> Estimate:
        """Return the subdistribution hazard ratio of one coefficient, per unit of its covariate."""
        names = list(self.coefficients["covariate"])
        if name not in names:
            raise DataError(f"the model has no coefficient '{name}': {nearest(name, names)}")
        row = self.coefficients.iloc[names.index(name)]
        return Estimate(
            float(row["hazard_ratio"]), float(row["low"]), float(row["high"]), "subdistribution hazard ratio", "", "direct",
            self.level, float(row["se"]), self.n, self.events, "Fine-Gray, robust; se of the log",
        )  # fmt: skip

    def predict(self, covariates: pd.DataFrame, times: Any) -> Array:
        """Return the cumulative incidence ``1 - exp(-H(t) exp(x beta))`` of new patients, shape ``(patients, times)``.

        Raises
        ------
        DataError
            If a covariate is absent, missing or has an unknown level.
        AnalysisError
            If a time lies beyond the follow-up of the fit.
        """
        at = checked_horizons(times, self.last, self.unit)
        relative = np.exp(self.predictors.matrix(covariates) @ self.coefficients["coefficient"].to_numpy(float))
        hazard = step_at(self.baseline["time"], self.baseline["cumulative_hazard"], at, initial=0.0)
        return np.asarray(-np.expm1(-np.outer(relative, hazard)), dtype=float)

    def table(self) -> pd.DataFrame:
        """Return subdistribution hazard ratios with limits and p."""
        rows = self.coefficients
        limits = [
            f"{format_number(row.hazard_ratio)} ({format_number(row.low)} to {format_number(row.high)})"
            for row in rows.itertuples()
        ]
        name = f"Subdistribution hazard ratio ({100 * self.level:g}% CI)"
        return pd.DataFrame(
            {"Covariate": rows["covariate"], name: limits, "p (two-sided)": [format_p(p) for p in rows["p"]]}
        )

    def text(self) -> str:
        """Return the ratios of up to three coefficients in words."""
        shown = []
        for row in self.coefficients.head(3).itertuples():
            p = format_p(row.p)
            words = f"{row.covariate}: {self.hazard_ratio(row.covariate).text()}"
            shown.append(f"{words}, two-sided p {p if p[0] in '<>' else '= ' + p}")
        more = len(self.coefficients) - 3
        rest = f"; {more} more coefficient{'s' if more > 1 else ''} in the table" if more > 0 else ""
        return (
            f"Subdistribution hazard ratios of {self.cause} from a Fine-Gray model ({counted(self.n, 'patient')}, "
            f"{counted(self.events, 'event')}, {format_count(self.competing)} competing): {'; '.join(shown)}{rest}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each subdistribution hazard ratio with its limits."""
        numbers: dict[str, float] = {}
        for row in self.coefficients.itertuples():
            name = f"subdistribution_hazard_ratio_{row.covariate}"
            numbers |= {name: row.hazard_ratio, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers


def checked_horizons(times: Any, last: float, unit: str) -> Array:
    """Return the times at which a model is read as an array, or refuse what is below 0 or beyond follow-up."""
    at = np.atleast_1d(np.asarray(times, dtype=float))
    if not (np.isfinite(at) & (at >= 0)).all():
        raise DataError(
            f"times holds {at[~(np.isfinite(at) & (at >= 0))][0]}, but a prediction is read at times from 0 on"
        )
    if at.max() > last * (1 + TIE_TOLERANCE):
        raise AnalysisError(f"times reaches {at.max():g}, but follow-up ends at {last:g} {unit}: ask for earlier times")
    return at


def hazard_ratio_rows(names: tuple[str, ...], coefficients: Array, covariance: Array, level: float) -> pd.DataFrame:
    """Return one row a coefficient with hazard ratio, Wald limits, z and two-sided p."""
    refuse_overflow(names, coefficients)
    se = np.sqrt(np.diag(covariance))
    z, width = coefficients / se, normal_quantile(level) * se
    return pd.DataFrame(
        {
            "covariate": list(names),
            "coefficient": coefficients,
            "hazard_ratio": np.exp(coefficients),
            "low": np.exp(coefficients - width),
            "high": np.exp(coefficients + width),
            "se": se,
            "z": z,
            "p": 2 * special.ndtr(-np.abs(z)),
        }
    )


def fine_gray(
    time: Any,
    cause: Any,
    covariates: pd.DataFrame,
    *,
    of: str,
    censored: Any = 0,
    causes: Mapping[Any, str] | None = None,
    ties: Ties = "breslow",
    unit: str = "days",
    level: float = 0.95,
) -> FineGray:
    """Return Fine and Gray's model of one cause.

    Parameters
    ----------
    time, cause
        Follow-up times and what ended them, shape ``(n,)``.
    covariates
        One row a patient, in the same order; text and categories enter as one column for each level after the first.
    of
        The name of the cause of interest; all others compete.
    censored, causes
        As in `cumulative_incidence`.
    ties
        ``"breslow"`` follows ``cmprsk::crr``, which published analyses cite and whose variance includes the estimation of the
        weights; ``"efron"`` follows ``survival::finegray`` with ``coxph``. They differ in the third digit where times tie: by
        the ties of events, and by whether an event at the time of a censoring counts as at risk of it.
    unit, level
        For print, and the level of the limits.

    Returns
    -------
    FineGray
        Censoring is taken to be independent of the covariates: the weights are from one Kaplan-Meier estimate.

    Raises
    ------
    DataError
        If the data cannot be used or `of` is no cause.
    AnalysisError
        If the cause has no event, a covariate is flat or a combination of others, or a coefficient runs away.
    """
    data = checked_causes(time, cause, censored=censored, causes=causes)
    if of not in data.causes:
        raise DataError(f"of is '{of}', which is no cause: {nearest(str(of), data.causes)}")
    if ties not in ("breslow", "efron"):
        raise DataError(f"ties is '{ties}', but it must be 'breslow' or 'efron'")
    if len(covariates) != data.time.size:
        raise DataError(f"covariates has {len(covariates)} rows for {data.time.size} patients: pass one row a patient")
    predictors, X = learn_predictors(covariates)
    number = data.causes.index(of) + 1
    fit = fit_fine_gray(data.time, data.code, X, number, predictors.columns, ties)
    events = int((data.code == number).sum())
    return FineGray(
        hazard_ratio_rows(predictors.columns, fit.coefficients, fit.covariance, level), fit.covariance,
        fit.covariance_model, fit.log_likelihood, fit.log_likelihood_null,
        pd.DataFrame({"time": fit.times, "cumulative_hazard": np.cumsum(fit.hazard)}), predictors, of, data.time.size,
        events, int((data.code > 0).sum()) - events, float(data.time.max()), ties, unit, level,
    )  # fmt: skip

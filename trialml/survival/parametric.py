"""Parametric survival regression: exponential, Weibull, log-normal and log-logistic times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import DataError
from trialml.result import Result, counted, format_count, format_number, format_p
from trialml.survival.cox_refusals import refuse_overflow
from trialml.survival.intervals import normal_quantile
from trialml.survival.parametric_fit import Distribution, fit_parametric, log_survival, standard_quantile
from trialml.survival.terms import design_columns, design_rows
from trialml.survival.ties import Array

__all__ = ["ParametricFit", "parametric"]


@dataclass(frozen=True, eq=False)
class ParametricFit(Result):
    """A fitted accelerated failure time model, ``log T = b0 + x b + scale * error``.

    Attributes
    ----------
    coefficients
        One row a coefficient, the intercept first: covariate, coefficient, time_ratio (its exponential), low, high,
        se (of the coefficient), z, p (two-sided).
    scale
        Of the error: 1 for the exponential distribution, ``1 / shape`` for the Weibull.
    covariance
        Of the coefficients and the log scale (none for the exponential).
    log_likelihood, log_likelihood_null
        Of the model and without covariates.
    distribution, level
        The distribution of the times, and the level of the limits.
    levels
        Each covariate with its levels, the reference first; empty for a number.
    n, events
        Patients and events.
    """

    title: ClassVar[str] = "Parametric survival model"
    references: ClassVar[tuple[str, ...]] = (
        "Kalbfleisch JD, Prentice RL. The Statistical Analysis of Failure Time Data. 2nd ed. Wiley; 2002.",
    )
    methods: ClassVar[str] = (
        "Time ratios are from an accelerated failure time model fitted by maximum likelihood, with Wald limits from the "
        "observed information; a ratio above 1 means later events."
    )

    coefficients: pd.DataFrame
    scale: float
    covariance: np.ndarray[Any, np.dtype[np.float64]]
    log_likelihood: float
    log_likelihood_null: float
    distribution: str
    level: float
    levels: Mapping[str, Sequence[Any]]
    n: int
    events: int

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``2 k - 2 log-likelihood`` with k coefficients and scale."""
        return 2 * len(self.covariance) - 2 * self.log_likelihood

    def frame(self) -> pd.DataFrame:
        """Return one row a coefficient."""
        return self.coefficients

    def table(self) -> pd.DataFrame:
        """Return time ratios with limits and p-values."""
        rows = self.coefficients.iloc[1:]
        limits = [
            f"{format_number(row.time_ratio)} ({format_number(row.low)} to {format_number(row.high)})"
            for row in rows.itertuples()
        ]
        return pd.DataFrame(
            {
                "Covariate": rows["covariate"].to_list(),
                f"Time ratio ({100 * self.level:g}% CI)": limits,
                "p (two-sided)": [format_p(p) for p in rows["p"]],
            }
        )

    def text(self) -> str:
        """Return the time ratios of up to three covariates in words."""
        shown = [
            f"{row.covariate}: {format_number(row.time_ratio)} ({100 * self.level:g}% CI {format_number(row.low)} to "
            f"{format_number(row.high)})"
            for row in self.coefficients.iloc[1:4].itertuples()
        ]
        more = len(self.coefficients) - 4
        rest = f"; {more} more in the table" if more > 0 else ""
        return (
            f"Time ratios from a {self.distribution} model ({counted(self.n, 'patient')}, {format_count(self.events)} "
            f"events, scale {format_number(self.scale)}, AIC {self.aic:,.1f}): {'; '.join(shown)}{rest}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each time ratio with its limits, scale, AIC and log-likelihood."""
        numbers = {"log_likelihood": self.log_likelihood, "aic": self.aic, "scale": self.scale}
        for row in self.coefficients.iloc[1:].itertuples():
            name = f"time_ratio_{row.covariate}"
            numbers |= {name: row.time_ratio, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers

    def survival(self, profiles: pd.DataFrame, times: Any) -> pd.DataFrame:
        """Return the survival of given covariates: profile, time, survival, low, high.

        The limits are those of ``(log t - x b) / scale``, whose variance is by the delta method, carried over.

        Parameters
        ----------
        profiles
            The covariates, one row a profile; the index names them.
        times
            Above 0, in the unit of the data.

        Raises
        ------
        DataError
            If a profile lacks a covariate or has an unknown level, or a time is not above 0.
        """
        wanted = np.atleast_1d(np.asarray(times, dtype=float))
        if not (np.isfinite(wanted) & (wanted > 0)).all():
            raise DataError(f"times must be finite and above 0, but they are {wanted.tolist()}")
        design = self._design(profiles)
        centre = design @ self.coefficients["coefficient"].to_numpy()
        parts = []
        for name, row, middle in zip(profiles.index, design, centre, strict=True):
            z = (np.log(wanted) - middle) / self.scale
            gradient = -np.repeat(row[None, :] / self.scale, z.size, axis=0)
            if len(self.covariance) > design.shape[1]:
                gradient = np.column_stack((gradient, -z))
            se = np.sqrt(np.einsum("ki,ij,kj->k", gradient, self.covariance, gradient))
            width = normal_quantile(self.level) * se
            survival, low, high = (np.exp(log_survival(at, self.distribution)) for at in (z, z + width, z - width))
            parts.append(
                pd.DataFrame({"profile": str(name), "time": wanted, "survival": survival, "low": low, "high": high})
            )
        return pd.concat(parts, ignore_index=True)

    def quantiles(self, profiles: pd.DataFrame, shares: Any) -> Array:
        """Return the times by which these shares of patients with given covariates have had the event, ``(m, k)``.

        Parameters
        ----------
        profiles
            The covariates, one row a profile.
        shares
            Between 0 and 1, shape ``(k,)``; 0.5 gives the median.
        """
        wanted = np.atleast_1d(np.asarray(shares, dtype=float))
        if not ((wanted > 0) & (wanted < 1)).all():
            raise DataError(f"shares must lie between 0 and 1, but they are {wanted.tolist()}")
        middle = self._design(profiles) @ self.coefficients["coefficient"].to_numpy()
        return np.asarray(np.exp(middle[:, None] + self.scale * standard_quantile(wanted, self.distribution)))

    def _design(self, profiles: pd.DataFrame) -> Array:
        known = {
            name: pd.Series(pd.Categorical(list(levels), list(levels))) if levels else pd.Series([0.0])
            for name, levels in self.levels.items()
        }
        rows = design_rows(profiles, pd.DataFrame(known)) if known else pd.DataFrame(index=range(len(profiles)))
        return np.column_stack((np.ones(len(rows)), rows.to_numpy(float)))


def parametric(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    *,
    distribution: Distribution,
    weights: Any = None,
    level: float = 0.95,
) -> ParametricFit:
    """Return an accelerated failure time model of a table of covariates.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    covariates
        As in `cox`.
    distribution
        ``"exponential"``, ``"weibull"``, ``"log-normal"`` or ``"log-logistic"``.
    weights
        Case weights above 0, shape ``(n,)``.
    level
        Of the limits.

    Returns
    -------
    ParametricFit
        Coefficients, scale and covariance as R's ``survreg`` has them.

    Raises
    ------
    DataError
        If a covariate is missing somewhere or the distribution has no such name.
    AnalysisError
        If there is no event, a covariate is constant or a combination of others, or there is no finite maximum.
    """
    X, _ = design_columns(covariates)
    fit = fit_parametric(time, event, X, distribution, weights)
    null = fit_parametric(time, event, X.iloc[:, :0], distribution, weights)
    refuse_overflow(["(Intercept)", *X.columns], fit.coefficients, "time ratio")
    se = np.sqrt(np.diag(fit.covariance))[: fit.coefficients.size]
    z, width = fit.coefficients / se, normal_quantile(level) * se
    rows = pd.DataFrame(
        {
            "covariate": ["(Intercept)", *X.columns],
            "coefficient": fit.coefficients,
            "time_ratio": np.exp(fit.coefficients),
            "low": np.exp(fit.coefficients - width),
            "high": np.exp(fit.coefficients + width),
            "se": se,
            "z": z,
            "p": 2 * special.ndtr(-np.abs(z)),
        }
    )
    levels: dict[str, list[Any]] = {}
    for name in covariates.columns:
        column = covariates[name]
        number = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
        levels[str(name)] = (
            [] if number else list(column.astype("category").cat.remove_unused_categories().cat.categories)
        )
    return ParametricFit(
        rows, fit.scale, fit.covariance, fit.log_likelihood, null.log_likelihood, distribution, level, levels, len(X),
        int(np.asarray(event, dtype=float).sum()),
    )  # fmt: skip

"""Cox's proportional hazards model of a table of covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import DataError, nearest
from trialml.result import Estimate, Result, format_count, format_number, format_p
from trialml.survival.cox_fit import CoxArrays, CoxProblem, fit_cox
from trialml.survival.cox_residuals import baseline_cumulative_hazard, score_residuals
from trialml.survival.intervals import normal_quantile
from trialml.survival.terms import design_columns
from trialml.survival.ties import checked_labels

__all__ = ["CoxArrays", "CoxFit", "CoxProblem", "baseline_cumulative_hazard", "cox", "fit_cox", "score_residuals"]


@dataclass(frozen=True, eq=False)
class CoxFit(Result):
    """A fitted Cox model.

    Attributes
    ----------
    coefficients
        One row a coefficient: covariate, coefficient (log hazard ratio), hazard_ratio, low, high, se (of the
        coefficient), z, p (two-sided).
    covariance
        Of the coefficients, shape ``(p, p)``.
    log_likelihood, log_likelihood_null
        Of the model and without covariates.
    lr_chi_square, lr_df, lr_p
        The likelihood-ratio test of all coefficients.
    n, events, strata
        Patients, events and strata (1 where unstratified).
    ties, level
        How ties are handled and the level of the limits.
    """

    title: ClassVar[str] = "Cox model"
    references: ClassVar[tuple[str, ...]] = (
        "Cox DR. Regression models and life-tables. J R Stat Soc B 1972;34:187-220.",
        "Efron B. The efficiency of Cox's likelihood function for censored data. J Am Stat Assoc 1977;72:557-565.",
    )
    methods: ClassVar[str] = (
        "Hazard ratios are from Cox's proportional hazards model (Efron's method for ties unless said otherwise) with "
        "Wald limits; they are conditional on the covariates and strata of the model."
    )

    coefficients: pd.DataFrame
    covariance: np.ndarray[Any, np.dtype[np.float64]]
    log_likelihood: float
    log_likelihood_null: float
    lr_chi_square: float
    lr_df: int
    lr_p: float
    n: int
    events: int
    strata: int
    ties: str
    level: float

    def frame(self) -> pd.DataFrame:
        """Return one row a coefficient."""
        return self.coefficients

    def hazard_ratio(self, name: str) -> Estimate:
        """Return the hazard ratio of one coefficient, per unit of its covariate.

        Raises
        ------
        DataError
            If the model has no coefficient of that name.
        """
        names = list(self.coefficients["covariate"])
        if name not in names:
            raise DataError(f"the model has no coefficient '{name}': {nearest(name, names)}")
        row = self.coefficients.iloc[names.index(name)]
        others = [f"{len(names) - 1} other covariate{'s' if len(names) > 2 else ''}"] if len(names) > 1 else []
        given = others + (["strata"] if self.strata > 1 else [])
        scale = "hazard ratio" + (f", conditional on {' and '.join(given)}" if given else "")
        return Estimate(
            float(row["hazard_ratio"]), float(row["low"]), float(row["high"]), scale, "", "direct", self.level,
            float(row["se"]), self.n, self.events, f"Cox model, {self.ties.capitalize()} ties; se of the log",
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """Return hazard ratios with limits and p-values."""
        rows = self.coefficients
        limits = [
            f"{format_number(row.hazard_ratio)} ({format_number(row.low)} to {format_number(row.high)})"
            for row in rows.itertuples()
        ]
        return pd.DataFrame(
            {
                "Covariate": rows["covariate"],
                f"Hazard ratio ({100 * self.level:g}% CI)": limits,
                "p (two-sided)": [format_p(p) for p in rows["p"]],
            }
        )

    def text(self) -> str:
        """Return the hazard ratios of up to three coefficients in words."""
        shown = [
            f"{name}: {self.hazard_ratio(name).text()}, two-sided p {_equals(p)}"
            for name, p in zip(self.coefficients["covariate"][:3], self.coefficients["p"][:3], strict=True)
        ]
        more = len(self.coefficients) - 3
        rest = f"; {more} more coefficient{'s' if more > 1 else ''} in the table" if more > 0 else ""
        strata = f" stratified by {self.strata} strata" if self.strata > 1 else ""
        return (
            f"Hazard ratios from a Cox model{strata} ({format_count(self.n)} patients, {format_count(self.events)} "
            f"events, {self.ties.capitalize()}'s ties): {'; '.join(shown)}{rest}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each hazard ratio with its limits, and the log-likelihood."""
        numbers = {"log_likelihood": self.log_likelihood, "events": float(self.events)}
        for row in self.coefficients.itertuples():
            name = f"hazard_ratio_{row.covariate}"
            numbers |= {name: row.hazard_ratio, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers


def _equals(p: float) -> str:
    words = format_p(p)
    return words if words[0] in "<>" else f"= {words}"


def cox(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    *,
    strata: Any = None,
    level: float = 0.95,
    ties: Literal["efron", "breslow"] = "efron",
) -> CoxFit:
    """Return the Cox model of a table of covariates.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    covariates
        One row a patient, in the same order. Numbers and True/False enter as they are; text and categories as
        one coefficient for each level after the first, named ``column=level``.
    strata
        One label a patient; each stratum has its own baseline hazard.
    level
        Of the limits.
    ties
        ``"efron"`` or ``"breslow"``.

    Returns
    -------
    CoxFit

    Raises
    ------
    DataError
        If a covariate is missing somewhere.
    AnalysisError
        If there is no event, a covariate is constant or a combination of others, or a coefficient runs away.
    """
    X, _ = design_columns(covariates)
    problem = CoxProblem(time, event, X, strata=strata, ties=ties)
    fit = problem.fit()
    se = np.sqrt(np.diag(fit.covariance))
    z, width = fit.coefficients / se, normal_quantile(level) * se
    rows = pd.DataFrame(
        {
            "covariate": list(X.columns),
            "coefficient": fit.coefficients,
            "hazard_ratio": np.exp(fit.coefficients),
            "low": np.exp(fit.coefficients - width),
            "high": np.exp(fit.coefficients + width),
            "se": se,
            "z": z,
            "p": 2 * special.ndtr(-np.abs(z)),
        }
    )
    gain = 2 * (fit.log_likelihood - fit.log_likelihood_null)
    blocks = checked_labels(strata, len(X), "strata")[0].size
    return CoxFit(
        rows, fit.covariance, fit.log_likelihood, fit.log_likelihood_null, gain, len(rows),
        float(special.chdtrc(len(rows), gain)), len(X), int(problem.event.sum()), int(blocks), ties, level,
    )  # fmt: skip

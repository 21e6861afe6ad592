"""Cox's proportional hazards model of a table of covariates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import special

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import Estimate, Result, counted, format_count, format_number, format_p
from trialml.survival.cox_fit import CoxArrays, CoxProblem, Ties, fit_cox
from trialml.survival.cox_refusals import refuse_overflow, solve
from trialml.survival.cox_residuals import baseline_cumulative_hazard, sandwich, score_residuals
from trialml.survival.intervals import normal_quantile
from trialml.survival.terms import design_columns
from trialml.survival.ties import Array, checked_labels

__all__ = ["CoxArrays", "CoxFit", "CoxProblem", "baseline_cumulative_hazard", "cox", "fit_cox", "score_residuals"]


@dataclass(frozen=True, eq=False)
class CoxFit(Result):
    """A fitted Cox model.

    Attributes
    ----------
    coefficients
        One row a coefficient: covariate, coefficient (log hazard ratio), hazard_ratio, low, high, se (of the
        coefficient), z, p (two-sided), se_model (from the information; differs from se where subjects were given).
    covariance
        Of the coefficients, shape ``(p, p)``; robust where subjects were given.
    log_likelihood, log_likelihood_null
        Of the model and without covariates; with Firth's penalty, penalised.
    lr_chi_square, lr_df, lr_p
        The likelihood-ratio test of all coefficients.
    n, events, strata
        Patients (rows, where a subject has several), events and strata (1 where unstratified).
    ties, level
        How ties are handled and the level of the limits.
    wald_chi_square, score_chi_square
        Wald's and the score test of all coefficients on ``lr_df`` degrees of freedom; Wald's uses `covariance`.
    robust_score_chi_square
        The score test that allows for dependent rows of a subject; NaN without subjects.
    subjects
        How many subjects the rows belong to; None where none were given.
    penalty
        ``"firth"`` or ``"none"``. With Firth's, limits and p-values are those of the profile of the penalised likelihood.
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
    wald_chi_square: float = math.nan
    score_chi_square: float = math.nan
    robust_score_chi_square: float = math.nan
    subjects: int | None = None
    penalty: str = "none"

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``2 p - 2 log-likelihood``."""
        return 2 * self.lr_df - 2 * self.log_likelihood

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
            float(row["se"]), self.n, self.events, f"Cox model, {self.ties.capitalize()} ties{self._kind()}; se of the log",
        )  # fmt: skip

    def _kind(self) -> str:
        if self.penalty == "firth":
            return ", Firth's penalty with profile-likelihood limits"
        return "" if self.subjects is None else f", robust to dependent rows of {format_count(self.subjects)} subjects"

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
            f"Hazard ratios from a Cox model{strata} ({format_count(self.n)} {'patients' if self.subjects is None else 'rows'}, "
            f"{counted(self.events, 'event')}, {self.ties.capitalize()}'s ties{self._kind()}): {'; '.join(shown)}{rest}."
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
    ties: Ties = "efron",
    weights: Any = None,
    offset: Any = None,
    entry: Any = None,
    id: Any = None,  # noqa: A002  (the name that R and the data have for it)
    penalty: Literal["firth"] | None = None,
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
    weights
        Case weights above 0, shape ``(n,)``; with weights that are not counts give `id` too.
    offset
        A fixed part of the linear predictor, shape ``(n,)``.
    entry
        When each row comes under observation (left truncation), shape ``(n,)``; a subject may have several rows that
        follow each other (counting process).
    id
        The subject of each row, or any cluster of dependent rows, which may overlap in time (a site, say; in `kaplan_meier` an
        id is one patient): standard errors, limits and tests then allow for dependent rows of a subject
        (sandwich of the dfbetas summed by subject, as R's ``coxph(cluster =)``).
    penalty
        ``"firth"`` for data in which a column separates the events from the rest: finite estimates, with limits
        and p-values from the profile of the penalised likelihood.

    Returns
    -------
    CoxFit

    Raises
    ------
    DataError
        If a covariate is missing somewhere, or arguments do not go together.
    AnalysisError
        If there is no event, a covariate is constant or a combination of others, or a coefficient runs away.
    """
    if penalty not in (None, "firth"):
        raise DataError(f"penalty is '{penalty}', but it must be 'firth' or None")
    if penalty == "firth" and id is not None:
        raise DataError("Firth's penalty has no robust standard errors: leave id or the penalty out")
    X, _ = design_columns(covariates)
    problem = CoxProblem(time, event, X, strata=strata, ties=ties, weights=weights, offset=offset, entry=entry)
    fit = problem.fit(firth=penalty == "firth")
    refuse_overflow(list(X.columns), fit.coefficients)
    if id is not None:
        fit = sandwich(problem, fit, id)
    covariance = fit.covariance if fit.robust_covariance is None else fit.robust_covariance
    try:
        wald = float(fit.coefficients @ solve(covariance, fit.coefficients))
    except np.linalg.LinAlgError:
        raise AnalysisError(
            "the subjects are too few for robust standard errors of so many coefficients: use fewer covariates"
        ) from None
    se, se_model = np.sqrt(np.diag(covariance)), np.sqrt(np.diag(fit.covariance))
    rows, ends = (
        _coefficient_rows(list(X.columns), fit.coefficients, se, level),
        (fit.log_likelihood_null, fit.log_likelihood),
    )
    if penalty == "firth":
        rows, ends = _profiled(rows, problem, fit, level)
    gain = 2 * (ends[1] - ends[0])
    return CoxFit(
        rows.assign(se_model=se_model), covariance, ends[1], ends[0], gain, len(rows),
        float(special.chdtrc(len(rows), gain)), len(X), int(problem.event.sum()), int(problem.strata_labels.size), ties,
        level, wald, fit.score, math.nan if fit.robust_score is None else fit.robust_score,
        None if id is None else int(np.unique(checked_labels(id, len(X), "id")[1]).size), penalty or "none",
    )  # fmt: skip


def _coefficient_rows(names: list[str], coefficients: Array, se: Array, level: float) -> pd.DataFrame:
    z, width = coefficients / se, normal_quantile(level) * se
    return pd.DataFrame(
        {
            "covariate": names,
            "coefficient": coefficients,
            "hazard_ratio": np.exp(coefficients),
            "low": np.exp(coefficients - width),
            "high": np.exp(coefficients + width),
            "se": se,
            "z": z,
            "p": 2 * special.ndtr(-np.abs(z)),
        }
    )


def _profiled(
    rows: pd.DataFrame, problem: CoxProblem, fit: CoxArrays, level: float
) -> tuple[pd.DataFrame, tuple[float, float]]:
    from trialml.survival.cox_firth import firth_profile, penalised_log_likelihood

    profile = firth_profile(problem, fit, level)
    signed = np.sign(fit.coefficients) * np.sqrt(profile.chi_square)
    rows = rows.assign(
        low=np.exp(profile.low), high=np.exp(profile.high), z=signed, p=special.chdtrc(1, profile.chi_square)
    )
    ends = [penalised_log_likelihood(problem, beta) for beta in (np.zeros(len(rows)), fit.coefficients)]
    return rows, (ends[0], ends[1])

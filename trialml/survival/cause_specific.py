"""Cause-specific Cox models of competing events, and the absolute risk that they imply together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from trialml.errors import AnalysisError, DataError, nearest
from trialml.result import Estimate, Result, counted, format_number, format_p
from trialml.survival.aalen_johansen import checked_causes
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.cox_residuals import baseline_cumulative_hazard
from trialml.survival.fine_gray import checked_horizons, hazard_ratio_rows
from trialml.survival.predictors import Predictors, learn_predictors
from trialml.survival.ties import TIE_TOLERANCE, Array

__all__ = ["CauseSpecific", "cause_specific_cox", "combined_risk"]


@dataclass(frozen=True, eq=False)
class CauseSpecific(Result):
    """Cox models of each cause, with the other causes censored.

    Attributes
    ----------
    coefficients
        One row a cause and coefficient: cause, covariate, coefficient, hazard_ratio, low, high, se, z, p (two-sided).
    covariances
        Of each cause's coefficients.
    baseline
        One row an event time of any cause: time, and each cause's jump of the baseline hazard of a patient with mean
        covariates, as a column ``hazard: <cause>``.
    predictors
        How covariates become columns.
    causes, events
        Their names, and the events of each.
    n, last
        Patients, and the latest follow-up time.
    unit, level
        Of time, and the level of the limits.
    """

    title: ClassVar[str] = "Cause-specific Cox models"
    references: ClassVar[tuple[str, ...]] = (
        "Benichou J, Gail MH. Estimates of absolute cause-specific risk in cohort studies. Biometrics 1990;46:813-826.",
        "Ozenne B, Sorensen AL, Scheike T, Torp-Pedersen C, Gerds TA. riskRegression: predicting the risk of an event using "
        "Cox regression models. R J 2017;9:440-460.",
    )
    methods: ClassVar[str] = (
        "Cause-specific hazard ratios are from one Cox model for each cause (Efron's ties), in which the other causes censor. "
        "The absolute risk of a cause adds up its hazard among patients still without any event."
    )

    coefficients: pd.DataFrame
    covariances: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    baseline: pd.DataFrame
    predictors: Predictors
    causes: tuple[str, ...]
    events: tuple[int, ...]
    n: int
    last: float
    unit: str
    level: float

    def frame(self) -> pd.DataFrame:
        """Return one row a cause and coefficient."""
        return self.coefficients

    def hazard_ratio(self, cause: str, name: str) -> Estimate:
        """Return the cause-specific hazard ratio of one coefficient, per unit of its covariate."""
        self._known(cause)
        rows = self.coefficients[self.coefficients["cause"] == cause]
        names = list(rows["covariate"])
        if name not in names:
            raise DataError(f"the model has no coefficient '{name}': {nearest(name, names)}")
        row = rows.iloc[names.index(name)]
        return Estimate(
            float(row["hazard_ratio"]), float(row["low"]), float(row["high"]), f"hazard ratio of {cause}", "", "direct",
            self.level, float(row["se"]), self.n, self.events[self.causes.index(cause)], "Cox model, Efron ties; se of the log",
        )  # fmt: skip

    def _known(self, cause: str) -> None:
        if cause not in self.causes:
            raise DataError(f"there is no cause '{cause}': {nearest(cause, self.causes)}")

    def absolute_risk(self, cause: str, covariates: pd.DataFrame, times: Any) -> Array:
        """Return the absolute risk of `cause` of new patients, shape ``(patients, times)``.

        ``F_k(t | x) = sum S(s- | x) h_k(s | x)`` over event times s up to t, with the product limit ``S(s | x) = prod(1 - sum_j
        h_j(u | x))``, not below 0, over times u up to s.

        Raises
        ------
        DataError
            If the cause is unknown, or a covariate is absent, missing or has an unknown level.
        AnalysisError
            If a time lies beyond the follow-up of the fit.
        """
        self._known(cause)
        at = checked_horizons(times, self.last, self.unit)
        X = self.predictors.matrix(covariates)
        place = np.searchsorted(self.baseline["time"].to_numpy(float), at * (1 + TIE_TOLERANCE), side="right")
        jumps = np.column_stack([self.baseline[f"hazard: {name}"].to_numpy(float) for name in self.causes])
        relative = np.empty((len(X), len(self.causes)))
        for j, name in enumerate(self.causes):
            beta = self.coefficients.loc[self.coefficients["cause"] == name, "coefficient"].to_numpy(float)
            relative[:, j] = np.exp(X @ beta)
        return combined_risk(jumps, relative, self.causes.index(cause))[:, place]

    def table(self) -> pd.DataFrame:
        """Return hazard ratios by cause with limits and p."""
        rows = self.coefficients
        limits = [
            f"{format_number(row.hazard_ratio)} ({format_number(row.low)} to {format_number(row.high)})"
            for row in rows.itertuples()
        ]
        columns = {"Cause": rows["cause"], "Covariate": rows["covariate"]}
        columns[f"Hazard ratio ({100 * self.level:g}% CI)"] = limits
        return pd.DataFrame(columns | {"p (two-sided)": [format_p(p) for p in rows["p"]]})

    def text(self) -> str:
        """Return the first coefficient of each cause in words."""
        parts = []
        for cause, events in zip(self.causes, self.events, strict=True):
            row = self.coefficients[self.coefficients["cause"] == cause].iloc[0]
            p = format_p(row["p"])
            ratio = self.hazard_ratio(cause, row["covariate"]).text()
            words = f"{cause} ({counted(events, 'event')}), {row['covariate']}: {ratio}"
            parts.append(f"{words}, two-sided p {p if p[0] in '<>' else '= ' + p}")
        return (
            f"Hazard ratios from cause-specific Cox models ({counted(self.n, 'patient')}): {'; '.join(parts)}; every "
            "coefficient is in the table."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each hazard ratio with its limits."""
        numbers: dict[str, float] = {}
        for row in self.coefficients.itertuples():
            name = f"hazard_ratio_{row.cause}_{row.covariate}"
            numbers |= {name: row.hazard_ratio, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers


def combined_risk(jumps: Array, relative: Array, cause: int) -> Array:
    """Return the absolute risk of one cause after each event time, from the hazards of all causes together.

    Parameters
    ----------
    jumps
        Jumps of the baseline hazards, one row an event time of any cause, ascending; shape ``(times, causes)``.
    relative
        Of each patient the hazard of each cause over its baseline; shape ``(patients, causes)``.
    cause
        The column of the cause.

    Returns
    -------
    ndarray of shape (patients, times + 1)
        ``F(t | x) = sum S(s- | x) h(s | x)``, with ``S(s | x) = prod(1 - sum_j h_j(u | x))``, not below 0, over times u up
        to s; the first column is 0, before any event (Benichou and Gail 1990).
    """
    left = np.maximum(1 - relative @ jumps.T, 0.0)
    before = np.cumprod(np.column_stack([np.ones(len(relative)), left]), axis=1)[:, :-1]
    own = np.minimum(np.outer(relative[:, cause], jumps[:, cause]), 1.0)
    return np.column_stack([np.zeros(len(relative)), np.cumsum(before * own, axis=1)])


def cause_specific_cox(
    time: Any,
    cause: Any,
    covariates: pd.DataFrame,
    *,
    censored: Any = 0,
    causes: Mapping[Any, str] | None = None,
    unit: str = "days",
    level: float = 0.95,
) -> CauseSpecific:
    """Return a Cox model for each cause, with what they need to give absolute risks.

    Parameters
    ----------
    time, cause
        Follow-up times and what ended them, shape ``(n,)``.
    covariates
        One row a patient, in the same order; text and categories enter as one column for each level after the first.
    censored, causes
        As in `cumulative_incidence`.
    unit, level
        For print, and the level of the limits.

    Returns
    -------
    CauseSpecific
        Efron's ties in the fit and in the baseline hazards, as ``riskRegression::CSC``.

    Raises
    ------
    DataError
        If the data cannot be used or a code is not among `causes`.
    AnalysisError
        If a cause has no event, a covariate is constant or a combination of others, or a coefficient runs away; the
        message names the cause.
    """
    data = checked_causes(time, cause, censored=censored, causes=causes)
    if len(covariates) != data.time.size:
        raise DataError(f"covariates has {len(covariates)} rows for {data.time.size} patients: pass one row a patient")
    predictors, X = learn_predictors(covariates)
    named = pd.DataFrame(X, columns=list(predictors.columns))
    frames, covariances, jumps = [], {}, []
    for j, name in enumerate(data.causes):
        event = data.code == j + 1
        try:
            fit = CoxProblem(data.time, event, named).fit()
            rows = hazard_ratio_rows(predictors.columns, fit.coefficients, fit.covariance, level)
        except AnalysisError as error:
            raise AnalysisError(f"cause '{name}': {error}") from error
        rows.insert(0, "cause", name)
        frames.append(rows)
        covariances[name] = fit.covariance
        times, cumulative = baseline_cumulative_hazard(data.time, event, X @ fit.coefficients)
        jumps.append(pd.DataFrame({"time": times, "cause": name, "hazard": np.diff(cumulative, prepend=0.0)}))
    return CauseSpecific(
        pd.concat(frames, ignore_index=True), covariances, _together(pd.concat(jumps), data.causes), predictors, data.causes,
        tuple(int((data.code == j + 1).sum()) for j in range(len(data.causes))), data.time.size, float(data.time.max()), unit,
        level,
    )  # fmt: skip


def _together(jumps: pd.DataFrame, causes: tuple[str, ...]) -> pd.DataFrame:
    wide = jumps.pivot_table(index="time", columns="cause", values="hazard", aggfunc="sum", fill_value=0.0)
    columns = {"time": wide.index.to_numpy(float)}
    return pd.DataFrame(columns | {f"hazard: {name}": wide[name].to_numpy(float) for name in causes})

"""Survival of given covariates under a Cox model, with the uncertainty of baseline and coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from trialml.errors import DataError
from trialml.result import Result, counted, format_number, plain_text
from trialml.survival.cox_fit import CoxArrays, CoxProblem, Ties
from trialml.survival.cox_residuals import sandwich
from trialml.survival.intervals import Interval, survival_limits
from trialml.survival.terms import design_columns, design_rows
from trialml.survival.ties import Array, Codes, checked_labels

__all__ = ["CoxCurves", "CoxSurvival", "cox_curves", "cox_survival"]


class CoxCurves(NamedTuple):
    """Cumulative hazards of given covariates, each a step function.

    Attributes
    ----------
    time
        The event times of the stratum, ascending, shape ``(k,)``.
    cumulative_hazard, se
        From each time on, one column a profile, shape ``(k, m)``; `se` is that of the cumulative hazard, and of the
        logarithm of the survival probability.
    """

    time: Array
    cumulative_hazard: Array
    se: Array


def cox_curves(problem: CoxProblem, fit: CoxArrays, profiles: Any, stratum: int = 0) -> CoxCurves:
    """Return the cumulative hazards of profiles in one stratum.

    Parameters
    ----------
    problem, fit
        The data, and what ``problem.fit()`` or `fit_cox` gave; a robust covariance is used where there is one.
    profiles
        Covariates, shape ``(m, p)``; the offset is 0.
    stratum
        The position of the stratum among ``problem.strata_labels``.

    Returns
    -------
    CoxCurves
        ``H(t) = exp(x b) sum(w / D)`` over the tied events, and the variance ``exp(2 x b) (sum(w / D^2) + q' V q)``
        with ``q = sum((x - m) w / D)``, m the mean at risk and V the covariance of b: Efron's or Breslow's sums as the
        ties were handled, as R's ``survfit.coxph`` has them.

    References
    ----------
    Tsiatis AA. A large sample study of Cox's regression model. Ann Stat 1981;9:93-108.
    """
    state = problem.state(fit.coefficients)
    layout, slots = problem.layout, state.slots
    here = slice(int(layout.stratum_slot[stratum]), int(layout.stratum_slot[stratum + 1]) - 1)
    at_risk, tied = problem.risk_set_sums(state)
    x = np.asarray(profiles, dtype=float) - problem.centre[stratum]
    step = (slots[0] * slots[1])[here][::-1]
    spread = (slots[0] * slots[3])[here][::-1]
    means = (slots[0] * (slots[3] * at_risk - slots[4] * tied))[:, here][:, ::-1]
    hazard, variance, mean = np.cumsum(step), np.cumsum(spread), np.cumsum(means, axis=1)
    covariance = fit.covariance if fit.robust_covariance is None else fit.robust_covariance
    relative = np.exp(x @ fit.coefficients - state.shift[stratum])
    away = hazard[:, None, None] * x - mean.T[:, None, :]
    squared = variance[:, None] + np.einsum("kmi,ij,kmj->km", away, covariance, away)
    return CoxCurves(layout.slot_time[here][::-1], hazard[:, None] * relative, np.sqrt(squared) * relative)


@dataclass(frozen=True, eq=False)
class CoxSurvival(Result):
    """Survival of given covariates under a Cox model.

    Attributes
    ----------
    curves
        One row a profile and time: profile, time, survival, se (of the survival probability), low, high.
    profiles
        One row a profile: its name, and its log hazard relative to the average covariates of its stratum with
        standard error.
    interval, level
        The kind of limits and their level.
    unit
        Of the times.
    n, events
        Rows and events of the model.
    """

    title: ClassVar[str] = "Survival predicted by the Cox model"
    references: ClassVar[tuple[str, ...]] = (
        "Tsiatis AA. A large sample study of Cox's regression model. Ann Stat 1981;9:93-108.",
    )
    methods: ClassVar[str] = (
        "Survival at given covariates is the exponential of the negative cumulative hazard of the Cox model; its "
        "variance includes that of the coefficients."
    )

    curves: pd.DataFrame
    profiles: pd.DataFrame
    interval: str
    level: float
    unit: str
    n: int
    events: int

    def frame(self) -> pd.DataFrame:
        """Return one row a profile and time."""
        return self.curves

    def text(self) -> str:
        """Return the survival of up to three profiles at their last time."""
        last = self.curves.groupby("profile", sort=False).tail(1)
        unit = f" {self.unit}" if self.unit else ""
        shown = [
            f"{row.profile}: {format_number(row.survival)} ({100 * self.level:g}% CI {format_number(row.low)} to "
            f"{format_number(row.high)}) at {row.time:g}{unit}"
            for row in last.head(3).itertuples()
        ]
        more = f"; {len(last) - 3} more in the table" if len(last) > 3 else ""
        return (
            f"Survival under the Cox model ({counted(self.n, 'row')}, {counted(self.events, 'event')}, {self.interval} limits): "
            f"{'; '.join(shown)}{more}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return each profile's survival at its last time, with its limits."""
        numbers: dict[str, float] = {}
        for row in self.curves.groupby("profile", sort=False).tail(1).itertuples():
            name = f"survival_{row.profile}"
            numbers |= {name: row.survival, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers

    def draw(self, figure: Any) -> None:
        """Draw the curves with their limits."""
        axes = figure.subplots()
        for name, rows in self.curves.groupby("profile", sort=False):
            time = np.concatenate(([0.0], rows["time"]))
            line = axes.step(time, np.concatenate(([1.0], rows["survival"])), where="post", label=plain_text(name))[0]
            axes.fill_between(rows["time"], rows["low"], rows["high"], step="post", alpha=0.15, color=line.get_color())
        axes.set_ylim(0, 1.02)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"Time since randomisation{f' ({self.unit})' if self.unit else ''}")
        axes.set_ylabel("Survival probability")
        axes.legend(frameon=False, title=f"{100 * self.level:g}% {self.interval} limits")


def cox_survival(
    time: Any,
    event: Any,
    covariates: pd.DataFrame,
    profiles: pd.DataFrame,
    *,
    times: Any = None,
    strata: Any = None,
    profile_strata: Any = None,
    interval: Interval = "log-log",
    level: float = 0.95,
    unit: str = "",
    weights: Any = None,
    entry: Any = None,
    id: Any = None,  # noqa: A002  (the name that R and the data have for it)
    ties: Ties = "efron",
) -> CoxSurvival:
    """Return the survival of given covariates under a Cox model of a table of covariates.

    Parameters
    ----------
    time, event, covariates, strata, weights, entry, id, ties
        As in `cox`.
    profiles
        The covariates to predict for: the same columns, one row a profile; the index names them.
    times
        When to read the curves, shape ``(k,)``; every event time by default.
    profile_strata
        The stratum of each profile, shape ``(m,)``; needed with `strata`.
    interval, level
        ``"log-log"``, ``"log"`` or ``"plain"`` limits, and their level.
    unit
        Of the times.

    Returns
    -------
    CoxSurvival

    Raises
    ------
    DataError
        If a profile lacks a column or has an unknown level or stratum, or a time lies beyond follow-up.
    AnalysisError
        As `cox` does.
    """
    X, _ = design_columns(covariates)
    problem = CoxProblem(time, event, X, strata=strata, weights=weights, entry=entry, ties=ties)
    fit = problem.fit()
    if id is not None:
        fit = sandwich(problem, fit, id)
    rows = design_rows(profiles, covariates).to_numpy(float)
    stratum = _strata_of(profile_strata, problem, strata is not None, len(rows))
    wanted = None if times is None else _checked_reading(times, float(np.asarray(time, dtype=float).max()))
    names = [str(name) for name in profiles.index]
    parts, relative = [], []
    covariance = fit.covariance if fit.robust_covariance is None else fit.robust_covariance
    for name, row, s in zip(names, rows, stratum, strict=True):
        curves = cox_curves(problem, fit, row[None, :], int(s))
        at = curves.time if wanted is None else wanted
        place = np.searchsorted(curves.time, at * (1 + 1e-9), side="right")
        hazard, se = (np.concatenate(([0.0], column[:, 0]))[place] for column in curves[1:])
        survival = np.exp(-hazard)
        low, high = survival_limits(survival, se, interval, level)
        parts.append(
            pd.DataFrame(
                {"profile": name, "time": at, "survival": survival, "se": survival * se, "low": low, "high": high}
            )
        )
        away = row - problem.centre[s]
        relative.append((name, float(away @ fit.coefficients), float(np.sqrt(away @ covariance @ away))))
    table = pd.DataFrame(relative, columns=["profile", "log_hazard", "se"])
    return CoxSurvival(
        pd.concat(parts, ignore_index=True), table, interval, level, unit, len(X), int(problem.event.sum())
    )


def _checked_reading(times: Any, last: float) -> Array:
    wanted = np.atleast_1d(np.asarray(times, dtype=float))
    if not np.isfinite(wanted).all() or wanted.min(initial=0.0) < 0 or wanted.max(initial=0.0) > last * (1 + 1e-9):
        raise DataError(f"times must lie between 0 and {last:g}, the end of follow-up, but they are {wanted.tolist()}")
    return wanted


def _strata_of(labels: Any, problem: CoxProblem, stratified: bool, n: int) -> Codes:
    if not stratified:
        if labels is not None:
            raise DataError("profile_strata was given, but the model has no strata: leave it out")
        return np.zeros(n, dtype=np.intp)
    if labels is None:
        raise DataError("the model is stratified, so each profile needs its stratum: pass profile_strata")
    known = [str(label) for label in problem.strata_labels]
    distinct, codes = checked_labels(labels, n, "profile_strata")
    unknown = [str(label) for label in distinct if str(label) not in known]
    if unknown:
        raise DataError(f"profile_strata holds '{unknown[0]}', but the strata of the model are {known}")
    return np.asarray([known.index(str(label)) for label in distinct], dtype=np.intp)[codes]

"""How much a model's performance on its own patients flatters it, by the bootstrap that repeats everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Estimate, Result, format_count, format_number, with_limits
from trialml.survival.concordance import sorted_concordance
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.cox_residuals import fitted_baseline_hazard, score_residuals
from trialml.survival.ipcw import censoring_of, checked_horizon, checked_outcome
from trialml.survival.product_limit import step_at
from trialml.survival.ties import not_after
from trialml.validation.crossvalidation import RiskModel
from trialml.validation.parallel import in_order

__all__ = ["CoxPredictor", "Fit", "Optimism", "bootstrap_rows", "cox_fit", "optimism"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]
Fit = Callable[[Rows], RiskModel]
MEASURES = ("Harrell's C", "calibration slope", "Brier score", "IPA")
SHORT = ("harrell_c", "calibration_slope", "brier", "ipa")
MOST_FAILED = 0.1
CLOSE = 1e-7
"""Of Newton's method: with a thousand events the coefficients are then within 1e-6 standard errors of the root."""
FEWEST = 20


@dataclass(frozen=True, eq=False)
class Optimism(Result):
    """Apparent and corrected performance, with the optimism between them."""

    title = "Optimism of the risk model"
    methods = (
        "Optimism is estimated by Harrell's bootstrap: in each sample of the patients the whole of the learning is repeated, and the "
        "performance of that model in its sample is compared with its performance in the original patients. Intervals of the "
        "corrected measures are the percentiles of the apparent measure over the samples, shifted by the optimism; that of the "
        "slope holds the percentiles of the samples' models in the original patients, because the apparent slope of a model "
        "without a penalty is 1 in every sample."
    )
    references = (
        "Harrell FE, Lee KL, Mark DB. Multivariable prognostic models. Stat Med 1996;15:361-387.",
        "Noma H, Shinozaki T, Iba K, Teramukai S, Furukawa TA. Confidence intervals of prediction accuracy measures for "
        "multivariable prediction models based on the bootstrap-based optimism correction methods. Stat Med 2021;40:5691-5701.",
    )

    measures: pd.DataFrame
    """Columns measure, apparent, optimism, corrected, low, high (of corrected), mc_error (of optimism and corrected)."""
    samples: pd.DataFrame
    """One row a bootstrap sample: of each measure ``<name> in sample`` and ``<name> in original``."""
    horizon: float
    unit: str
    n: int
    events: int
    failed: int
    """Samples in which the model could not be fitted; they are left out."""

    def frame(self) -> pd.DataFrame:
        """Return one row a measure."""
        return self.measures

    def estimate(self, measure: str) -> Estimate:
        """Return a corrected measure: ``"Harrell's C"``, ``"calibration slope"``, ``"Brier score"`` or ``"IPA"``.

        Raises
        ------
        DataError
            If there is no such measure.
        """
        if measure not in MEASURES:
            raise DataError(f"there is no measure '{measure}': use one of {', '.join(MEASURES)}")
        row = self.measures.iloc[MEASURES.index(measure)]
        return Estimate(float(row["corrected"]), float(row["low"]), float(row["high"]), scale=measure, kind="corrected",
                        n=self.n, events=self.events, method=f"{len(self.samples)} bootstrap samples",
                        mc_error=float(row["mc_error"]))  # fmt: skip

    def text(self) -> str:
        """Return the corrected measures, and how much was taken off the concordance."""
        said = "; ".join(f"{name} {self.estimate(name).text()}" for name in MEASURES)
        c = self.measures.iloc[0]
        lost = f" In {self.failed} samples the model could not be fitted." if self.failed else ""
        return (
            f"Corrected for optimism by {format_count(len(self.samples))} bootstrap samples ({format_count(self.n)} patients, "
            f"{format_count(self.events)} events; Brier score and IPA at {self.horizon:g} {self.unit}): {said}. The optimism of the C is "
            f"{format_number(c['optimism'])} (Monte Carlo error {format_number(c['mc_error'], 2)}), its apparent value "
            f"{format_number(c['apparent'])}.{lost}"
        )

    def scalars(self) -> dict[str, float]:
        """Return the corrected measures with limits, and apparent values, optimisms and Monte Carlo errors."""
        named = {f"{short}_corrected": self.estimate(name) for short, name in zip(SHORT, MEASURES, strict=True)}
        numbers = with_limits(named)
        for short, row in zip(SHORT, self.measures.itertuples(), strict=True):
            numbers |= {f"{short}_apparent": row.apparent, f"{short}_optimism": row.optimism,
                        f"{short}_optimism_mc_error": row.mc_error}  # fmt: skip
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the measures as words."""
        shown = {
            "Measure": self.measures["measure"],
            "Apparent": self.measures["apparent"].map(format_number),
            "Optimism (Monte Carlo error)": [
                f"{format_number(row.optimism)} ({format_number(row.mc_error, 2)})"
                for row in self.measures.itertuples()
            ],
            "Corrected (95% CI)": [self.estimate(name).text() for name in MEASURES],
        }
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw each sample's model in its sample and in the original patients."""
        for axes, name in zip(figure.subplots(1, len(MEASURES)), MEASURES, strict=True):
            parts = [self.samples[f"{name} in sample"], self.samples[f"{name} in original"]]
            axes.boxplot(parts, widths=0.6, showfliers=False)
            axes.axhline(self.estimate(name).value, color=COLOURS["experimental"], linewidth=1)
            axes.set_xticks([1, 2], ["in its\nsample", "in the\noriginal"])
            axes.set_title(name, fontsize=9)


class CoxPredictor(NamedTuple):
    """A Cox model as two arrays and a number: the fast way through a bootstrap.

    Attributes
    ----------
    coefficients
        Log hazard ratios, shape ``(p,)``.
    baseline_times, baseline_hazard
        The cumulative hazard where every covariate is 0, shape ``(k,)``.
    """

    coefficients: Floats
    baseline_times: Floats
    baseline_hazard: Floats

    def log_hazard(self, X: pd.DataFrame | Floats) -> Floats:
        """Return the linear predictor, shape ``(n,)``."""
        return np.asarray(np.asarray(X, dtype=float) @ self.coefficients)

    def risk(self, X: pd.DataFrame | Floats, horizon: float) -> Floats:
        """Return the risk by the horizon, shape ``(n,)``."""
        return self.risk_of(self.log_hazard(X), horizon)

    def risk_of(self, log_hazard: Floats, horizon: float) -> Floats:
        """Return the risk by the horizon of given linear predictors, shape ``(n,)``."""
        hazard = step_at(self.baseline_times, self.baseline_hazard, horizon, initial=0.0)
        return np.asarray(-np.expm1(-hazard * np.exp(log_hazard)))


def cox_fit(X: pd.DataFrame, time: Floats, event: Flags) -> Callable[[Rows], CoxPredictor]:
    """Return what fits a Cox model without a penalty to given rows: `fit` of `optimism` for numeric covariates.

    Parameters
    ----------
    X
        Numeric covariates without missing values, shape ``(n, p)``.
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    """
    matrix, times, flags = np.asarray(X, dtype=float), np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    whole = CoxProblem(times, flags, matrix).fit()
    # What one more copy of each patient would add to the coefficients: a Newton step towards any sample's root.
    influence = score_residuals(times, flags, matrix, whole.coefficients) @ whole.covariance

    def fit(rows: Rows) -> CoxPredictor:
        problem = CoxProblem(times[rows], flags[rows], matrix[rows])
        start = whole.coefficients + (np.bincount(rows, minlength=times.size) - 1.0) @ influence
        beta = problem.fit(start=start, tol=CLOSE, near=True).coefficients
        jumps, hazard = fitted_baseline_hazard(problem, beta)
        return CoxPredictor(beta, jumps, hazard[:, 0])

    return fit


def bootstrap_rows(n: int, bootstraps: int, seed: int, groups: Any = None) -> list[Rows]:
    """Return the rows of each bootstrap sample; where `groups` tells patients apart, whole patients are drawn.

    Raises
    ------
    AnalysisError
        If fewer than 20 samples are asked for.
    """
    if bootstraps < FEWEST:
        raise AnalysisError(
            f"{bootstraps} bootstrap samples say too little: draw at least {FEWEST}, better 200 or more."
        )
    sources = [np.random.default_rng(source) for source in np.random.SeedSequence(seed).spawn(bootstraps)]
    if groups is None:
        return [source.integers(n, size=n) for source in sources]
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    rows = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    return [np.concatenate([rows[k] for k in source.integers(len(rows), size=len(rows))]) for source in sources]


def optimism(
    fit: Fit,
    X: pd.DataFrame,
    time: Any,
    event: Any,
    *,
    horizon: float,
    unit: str,
    tau: float | None = None,
    bootstraps: int = 200,
    seed: int = 1,
    groups: Any = None,
    samples: Any = None,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Optimism:
    """Correct the performance of a risk model in its own patients for optimism.

    Parameters
    ----------
    fit
        Given rows of X (with copies), does everything that is learned from data on them: imputation, selection, tuning,
        fitting. ``X.iloc[rows]`` keeps the index, by which the package's models hold copies of a patient together in their
        inner folds; a `fit` that makes folds of its own passes `rows` as `groups` to `data.folds.fold_labels`.
    X
        Covariates, shape ``(n, p)``, one row a patient unless `groups` says otherwise.
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    horizon, unit
        Where Brier score and IPA are read.
    tau
        Pairs of the C whose first event is later do not count; None keeps all.
    bootstraps, seed
        Samples, and the seed from which each has its own.
    groups
        The patient of each row, shape ``(n,)``, where a patient has several.
    samples
        Rows of each sample, shape ``(bootstraps, n)``, from 0, in place of those drawn from the seed.
    workers
        Processes; the numbers do not depend on it.
    advance
        Called after each sample.

    Returns
    -------
    Optimism
        ``corrected = apparent - mean(in sample - in original)``; the Monte Carlo error is that difference's standard
        deviation over the root of the number of samples.

    Raises
    ------
    AnalysisError
        If the model cannot be fitted to more than a tenth of the samples, or a measure cannot be computed.
    """
    outcome = checked_outcome(time, event, None)
    n = outcome.time.size
    if len(X) != n:
        raise DataError(f"X has {len(X)} rows for {n} times: pass one row a patient")
    drawn = (
        bootstrap_rows(n, bootstraps, seed, groups) if samples is None else [np.asarray(s, np.intp) for s in samples]
    )
    original = _Judge(outcome.time, outcome.event, horizon, tau)
    final = fit(np.arange(n))
    # Gathering rows of a frame takes longer than judging them.
    given = np.asarray(X, dtype=float) if isinstance(final, CoxPredictor) else X
    apparent = original.measures(final, given, own=True)

    def one(rows: Rows) -> Floats | None:
        try:
            model = fit(rows)
        except AnalysisError:
            return None
        own = _Judge(outcome.time[rows], outcome.event[rows], horizon, tau)
        part = given.iloc[rows] if isinstance(given, pd.DataFrame) else given[rows]
        return np.stack([own.measures(model, part, own=True), original.measures(model, given)])

    answers = list(in_order(one, drawn, workers=workers, advance=advance))
    kept = [answer for answer in answers if answer is not None]
    failed = len(answers) - len(kept)
    if failed > MOST_FAILED * len(answers):
        raise AnalysisError(
            f"the model could not be fitted to {failed} of {len(answers)} bootstrap samples: use fewer covariates or a penalty."
        )
    both = np.stack(kept)
    return Optimism(_corrected(apparent, both), _by_sample(both), horizon, unit, n, int(outcome.event.sum()), failed)


class _Judge:
    """Some patients' outcomes with what every model's measures share."""

    def __init__(self, time: Floats, event: Flags, horizon: float, tau: float | None) -> None:
        self.horizon = horizon
        self.within = event if tau is None else event & not_after(time, tau)
        self.sorted = CoxProblem(time, event, np.zeros((time.size, 0)))
        beyond = checked_horizon(time, horizon)
        self.weight = censoring_of(checked_outcome(time, event, None), None).weights(beyond, horizon)
        self.happened = event & ~beyond
        layout = self.sorted.layout
        early = not_after(layout.slot_time, horizon) & (layout.slot_dead > 0)
        # Rows stand by falling time, so that where a slot ends is the number at risk: the Kaplan-Meier risk.
        observed = 1 - float(np.prod(1 - layout.slot_dead[early] / layout.slot_row[1:][early]))
        self.null = float((self.weight * (self.happened - observed) ** 2).mean())

    def _slope(self, score: Floats) -> float:
        problem = copy(self.sorted)
        problem.replace_columns(score[:, None])
        return float(problem.fit(start=np.ones(1), tol=CLOSE, near=True).coefficients[0])

    def measures(self, model: RiskModel, X: Any, *, own: bool = False) -> Floats:
        """Return C, slope, Brier score and IPA, shape ``(4,)``; `own` where the model was learned on these patients."""
        score = np.asarray(model.log_hazard(X), dtype=float)
        # A known risk of the score saves the second pass over the covariates.
        risk = model.risk_of(score, self.horizon) if isinstance(model, CoxPredictor) else model.risk(X, self.horizon)
        c = sorted_concordance(self.sorted.layout, self.within, score)
        # A model of one score for everybody has no slope; 0 is what its predictions are worth.
        slope = 0.0
        if own and isinstance(model, CoxPredictor):
            slope = 1.0  # what maximises the likelihood over all coefficients does so over their multiples
        elif np.ptp(score) > 0:
            slope = self._slope(score)
        brier = float((self.weight * (self.happened - risk) ** 2).mean())
        return np.array([c, slope, brier, 1 - brier / self.null if self.null > 0 else math.nan])


def _corrected(apparent: Floats, both: Floats) -> pd.DataFrame:
    gap = both[:, 0] - both[:, 1]
    optimism_ = gap.mean(axis=0)
    low, high = np.quantile(both[:, 0], (0.025, 0.975), axis=0) - optimism_
    slope = MEASURES.index("calibration slope")
    low[slope], high[slope] = np.quantile(both[:, 1, slope], (0.025, 0.975))
    return pd.DataFrame(
        {
            "measure": MEASURES,
            "apparent": apparent,
            "optimism": optimism_,
            "corrected": apparent - optimism_,
            "low": low,
            "high": high,
            "mc_error": gap.std(axis=0, ddof=1) / math.sqrt(len(gap)),
        }
    )


def _by_sample(both: Floats) -> pd.DataFrame:
    places = ("in sample", "in original")
    return pd.DataFrame(
        {f"{name} {place}": both[:, k, j] for j, name in enumerate(MEASURES) for k, place in enumerate(places)}
    )

"""Trials without a subgroup: a study's own patients with the treatment permuted, or with one effect planted for everybody.

How often does the whole flow of a run declare a subgroup where there is none? Both kinds of trials go through
`trialml.study.analyse`, as the study's own data do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import betaincinv

from trialml.config import Study
from trialml.data.trial import Trial
from trialml.errors import AnalysisError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.result import Estimate, Result, counted, format_count, with_limits
from trialml.study import analyse
from trialml.survival.product_limit import censoring_curve
from trialml.validation.parallel import in_order
from trialml.verdicts import Facts

__all__ = ["NullTrials", "analyse_null_trials", "permuted_trial", "planted_trial"]

LEVEL = 0.95


def permuted_trial(trial: Trial, generator: np.random.Generator) -> Trial:
    """Return the trial with its two primary arms dealt anew within the stratification factors: no effect in anybody.

    Parameters
    ----------
    trial
        As it was read.
    generator
        What deals.
    """
    frame = trial.frame.copy()
    arms = frame["arm"].isin([trial.treatment.control, trial.treatment.experimental]).to_numpy()
    column = frame["arm"].to_numpy(dtype=object, copy=True)
    for cell in np.unique(trial.factor[arms]):
        rows = np.flatnonzero(arms & (trial.factor == cell))
        column[rows] = generator.permutation(column[rows])
    frame["arm"] = column
    return replace(trial, frame=frame)


def planted_trial(trial: Trial, hazard_ratio: float, generator: np.random.Generator) -> Trial:
    """Return the permuted trial with one hazard ratio planted in the experimental arm, the same for everybody.

    An event at T moves to the time T' with ``H0(T') = H0(T) / hazard_ratio``, where H0 is the baseline hazard of a ridge
    Cox model of the covariates: given any covariates of that model the hazard is then multiplied by the ratio. Who had the event
    gets a censoring time from the Kaplan-Meier curve of censoring beyond T; who was censored stays so at that time.

    Parameters
    ----------
    trial
        A time to event, as it was read, without missing outcomes.
    hazard_ratio
        Experimental to control, above 0 and not above 1.
    generator
        What deals and draws.

    Raises
    ------
    AnalysisError
        If the endpoint is no time to event or the ratio is not above 0 and up to 1.
    """
    if trial.endpoint.kind != "time to event" or not 0 < hazard_ratio <= 1:
        raise AnalysisError(
            f"A hazard ratio of {hazard_ratio:g} cannot be planted in a {trial.endpoint.kind} endpoint: it takes a time to event and a "
            "ratio above 0, up to 1."
        )
    dealt = permuted_trial(trial, generator)
    time, event = dealt.time, dealt.event
    model = CoxRidge(penalties=(8.0,)).fit(dealt.baseline, survival_outcome(time, event))
    jumps = np.concatenate(([0.0], model.baseline_times_))
    hazard = np.concatenate(([0.0], model.baseline_hazard_))
    moved = np.interp(np.interp(time, jumps, hazard) / hazard_ratio, hazard, jumps, right=math.inf)
    lost = _censoring_after(time, event, generator)
    touched = dealt.treated & event
    frame = dealt.frame.copy()
    frame["time"] = np.where(touched, np.minimum(moved, lost), time)
    frame["event"] = np.where(touched, moved <= lost, event)
    return replace(dealt, frame=frame)


def _censoring_after(
    time: NDArray[np.float64], event: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Draw for each patient a censoring time beyond their own from the Kaplan-Meier curve, shape (n,)."""
    curve = censoring_curve(time, event)
    own = curve.survival[np.searchsorted(curve.time, time, side="right") - 1]
    place = np.searchsorted(-curve.survival, -own * generator.random(time.size), side="left")
    ends = np.append(curve.time, time.max())
    return np.asarray(np.maximum(ends[np.minimum(place, curve.time.size)], time))


class _Task(NamedTuple):
    study: Study
    hazard_ratio: float
    source: np.random.SeedSequence


class Answer(NamedTuple):
    """What a run said of one trial."""

    p: float
    declared: bool
    enriched: bool


def _answer(task: _Task) -> Answer:
    generator = np.random.default_rng(task.source)

    def change(trial: Trial) -> Trial:
        if task.hazard_ratio == 1:
            return permuted_trial(trial, generator)
        return planted_trial(trial, task.hazard_ratio, generator)

    facts = Facts.of(analyse(without_bootstrap(task.study), quick=True, change=change))
    return Answer(facts.heterogeneity.p, facts.hazard_differs, facts.hazard_differs and facts.gain_differs)


def without_bootstrap(study: Study) -> Study:
    """Return the study without the bootstrap samples of the risk model and of the strata, which declare nothing."""
    risk = study.models.risk.model_copy(update={"bootstrap": 0})
    models = study.models.model_copy(update={"risk": risk})
    strata = study.strata.model_copy(update={"bootstrap": 0})
    return study.model_copy(update={"models": models, "strata": strata})


@dataclass(frozen=True, eq=False)
class NullTrials(Result):
    """How often runs declared a subgroup in trials that have none, with limits."""

    title = "Subgroups declared where there is none"
    methods = (
        "The treatment was permuted within the stratification factors, or permuted and one hazard ratio then planted for everybody, "
        "and each such trial went through a whole quick run. A subgroup is declared where the global test of heterogeneity rejects at "
        "5 %, and an enriched trial is advised where the cross-fitted strata agree (Clopper and Pearson's limits)."
    )

    trials: pd.DataFrame
    """One row a trial: p, declared, enriched."""
    hazard_ratio: float
    """1 where the treatment was permuted and nothing planted."""
    study: str

    def estimate(self, of: str = "declared") -> Estimate:
        """Return the share of trials ``"declared"`` or ``"enriched"``."""
        n, yes = len(self.trials), int(self.trials[of].sum())
        tail = (1 - LEVEL) / 2
        low = float(betaincinv(yes, n - yes + 1, tail)) if yes else 0.0
        high = float(betaincinv(yes + 1, n - yes, 1 - tail)) if yes < n else 1.0
        share = yes / n
        return Estimate(share, low, high, scale=f"share of trials {of}", kind="simulated", n=n,
                        mc_error=math.sqrt(share * (1 - share) / n), method="Clopper and Pearson's limits")  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """Return one row a trial."""
        return self.trials

    def text(self) -> str:
        """Return both shares."""
        what = (
            "no effect in anybody"
            if self.hazard_ratio == 1
            else f"a hazard ratio of {self.hazard_ratio:g} for everybody"
        )
        declared, enriched = self.estimate(), self.estimate("enriched")
        return (
            f"Of {counted(len(self.trials), 'trial')} of the patients of {self.study} with {what}, {format_count(int(self.trials['declared'].sum()))} "
            f"declared a subgroup ({declared.text()}, Monte Carlo error {declared.mc_error:.3f}) and "
            f"{format_count(int(self.trials['enriched'].sum()))} advised an enriched trial ({enriched.text()})."
        )

    def scalars(self) -> dict[str, float]:
        """Return both shares with limits."""
        return with_limits({"null_declared": self.estimate(), "null_enriched": self.estimate("enriched")})


def analyse_null_trials(
    study: Study,
    trials: int,
    *,
    hazard_ratio: float = 1.0,
    seed: int = 1,
    first: int = 0,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> NullTrials:
    """Run quick analyses of trials without a subgroup, made of the study's own patients.

    Parameters
    ----------
    study
        A study of a time to event.
    trials
        How many.
    hazard_ratio
        What is planted for everybody in the experimental arm; 1 for the permutation alone.
    seed, first
        Each trial has a seed of its own, spawned from `seed`; those before number `first` are left out, so that shards
        add up to one series.
    workers
        Processes; the answers do not depend on it.
    advance
        Called after each trial.
    """
    sources = np.random.SeedSequence(seed).spawn(first + trials)[first:]
    tasks = [_Task(study, hazard_ratio, source) for source in sources]
    answers = list(in_order(_answer, tasks, workers=workers, advance=advance))
    return NullTrials(pd.DataFrame(answers, columns=list(Answer._fields)), hazard_ratio, study.study.name)

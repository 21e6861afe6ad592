"""A search for subgroups, for those who must: every candidate is tested, and the error of declaring one is controlled.

For patient i with residual r_i of the treatment's main effect (sum r = 0) and a candidate subgroup g the statistic is

    z = sum(r over g) / sqrt(A - 2 c A + c^2 T),   A = sum(r^2 over g),  T = sum(r^2).

On the hazard scale r is minus the Cox treatment score residual, main effect fitted, and c = A / T, the subgroup's share
of the information; it is resampled by permuting the treatment within the cells of the randomisation. On other scales r is
the doubly robust score less its mean and c the share of patients; with p the allocation probability and W the treatment,
the score's weight (W - p) / (p (1 - p)) is drawn anew by permuting W within cells (random signs at 1:1), which leaves each
patient's spread where it is. Positive z is more benefit in the subgroup than outside. Adjusted p-values are step-down
max|z| (Westfall and Young).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.folds import fold_labels, splits
from trialml.effects.two_arms import checked_treated
from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate
from trialml.strata.found_subgroups import SubgroupSearch, hidden_counts
from trialml.strata.search_candidates import Candidates, SearchPlan, candidate_subgroups
from trialml.strata.search_scales import EffectScale, HazardScale, RefittedScores, ScoreScale
from trialml.survival.ties import checked_labels, checked_times

__all__ = ["search_hazard_ratios", "search_scores", "step_down"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


def search_hazard_ratios(
    time: Any,
    event: Any,
    treated: Any,
    X: pd.DataFrame,
    *,
    cells: Any = None,
    offset: Any = None,
    plan: SearchPlan | None = None,
    labels: Mapping[str, str] | None = None,
) -> SubgroupSearch:
    """Search for subgroups whose hazard ratio differs from that of the other patients.

    Parameters
    ----------
    time, event, treated
        Outcome and arm (True experimental), each of shape (n,).
    X
        Covariates at baseline without missing values, shape (n, p).
    cells
        The stratification cell of each patient, shape (n,): treatment is permuted within.
    offset
        A prognostic index learned without a look at the arm, shape (n,): what it knows of a patient's outcome is of no use for telling
        whom the treatment helps, so that folds need none of their own.
    plan
        What is searched; `SearchPlan` with its defaults if None.
    labels
        What covariates are called.

    Returns
    -------
    SubgroupSearch
        With step-down p-values. They are exact up to resampling error if nobody is affected by the treatment, approximate
        under one hazard ratio for all.

    Raises
    ------
    DataError
        If the arrays do not fit each other or a value is missing.
    AnalysisError
        If all patients are in one arm, nobody had the event, a covariate tells the arms apart, or no subgroup is large enough.
    """
    times, flags = checked_times(time, event, needs_event=True)
    arm = checked_treated(treated, times.size)
    _, codes = checked_labels(cells, times.size, "cells")
    index = np.zeros(times.size) if offset is None else np.asarray(offset, dtype=np.float64)
    if index.shape != times.shape or not np.isfinite(index).all():
        raise DataError(f"offset has shape {index.shape} for {times.size} patients: pass one finite number a patient")
    plan = plan or SearchPlan()
    candidates = _candidates(X, arm, plan, flags, labels)
    scale = HazardScale(times, flags, arm, codes, index)
    return _search(scale, candidates, plan, scale_words="hazard ratio", unit="", events=int(flags.sum()))


def search_scores(
    scores: Any,
    treated: Any,
    X: pd.DataFrame,
    *,
    allocation: float,
    scale: str,
    cells: Any = None,
    unit: str = "",
    plan: SearchPlan | None = None,
    labels: Mapping[str, str] | None = None,
    refitted: RefittedScores | None = None,
) -> SubgroupSearch:
    """Search for subgroups whose mean doubly robust score differs from that of the other patients.

    Parameters
    ----------
    scores
        Cross-fitted doubly robust scores, higher is more benefit, shape (n,): of binary, continuous or censored outcomes.
    treated, X, cells, plan, labels
        As in `search_hazard_ratios`; no events are asked for.
    allocation
        The known probability of the experimental arm.
    scale, unit
        What the scores estimate, in words ("risk difference"), and their unit.
    refitted
        From training rows to their cross-fitted scores and to a function that scores other rows, by outcome models of the training rows
        alone. With it the cross-fitted effect is of searches that saw nothing of their test patients. Without it the given scores serve in
        every fold: the outcome models behind the scores of one fold were learned, in part, from the outcomes of the others, and
        the result says so. The p-values are of the given scores either way.

    Returns
    -------
    SubgroupSearch
        With step-down p-values, under the null hypothesis of one expected score for all. Prognosis with one hazard ratio
        for all is heterogeneity on such a scale.

    Raises
    ------
    DataError
        If a score is missing or infinite, or a covariate's value is missing.
    AnalysisError
        If all scores are equal, or no subgroup is large enough.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError(
            f"scores have shape {values.shape} with {int((~np.isfinite(values)).sum())} missing or infinite: pass one finite number a patient"
        )
    arm = checked_treated(treated, values.size)
    _, codes = checked_labels(cells, values.size, "cells")
    if not 0 < allocation < 1:
        raise DataError(f"allocation is {allocation:g}, but the experimental arm's probability is between 0 and 1")
    plan = plan or SearchPlan()
    candidates = _candidates(X, arm, plan, None, labels)
    if values.min() == values.max():
        raise AnalysisError(f"all scores are {values[0]:g}: there is nothing in which subgroups could differ")
    found = ScoreScale(values, arm, codes, allocation, scale, unit, refitted)
    return _search(found, candidates, plan, scale_words=scale, unit=unit, events=None)


def _candidates(
    X: pd.DataFrame, arm: Flags, plan: SearchPlan, event: Flags | None, labels: Mapping[str, str] | None
) -> Candidates:
    if not isinstance(X, pd.DataFrame) or len(X) != arm.size:
        raise DataError(f"X has {len(X)} rows for {arm.size} patients: pass a data frame with one row a patient")
    candidates = candidate_subgroups(X, plan, event=event, labels=labels)
    for place, met in enumerate(candidates.met.T):
        if (met == arm).all() or (met != arm).all():
            name = candidates.covariates[int(np.argmax(candidates.first == place))]
            raise AnalysisError(
                f"'{name}' tells the arms apart: it is the treatment itself, so take it out of the search"
            )
    return candidates


def _search(
    scale: EffectScale, candidates: Candidates, plan: SearchPlan, *, scale_words: str, unit: str, events: int | None
) -> SubgroupSearch:
    n, every = len(candidates.met), np.arange(len(candidates.met))
    null, folds = np.random.SeedSequence(plan.seed).spawn(2)
    resampled = scale.resampled(plan.permutations, np.random.default_rng(null))
    labels = _fold_labels(scale, n, plan, folds)
    learned, seen, held = _on_training_rows(scale, labels, n)
    whole = np.vstack((scale.residuals(every)[None], resampled))
    rows = np.vstack((whole, learned)) if len(learned) else whole
    z = _statistics(rows, np.vstack((np.ones((len(whole), n)), seen)) if len(learned) else np.ones(rows.shape),
                    candidates, scale.by_information)  # fmt: skip
    adjusted = step_down(z[: len(whole)])
    order = np.argsort(-np.abs(z[0]), kind="stable")[: plan.shown]
    found, rest, again = _crossfit(scale, candidates, z[len(whole) :], labels, held, int(order[0]))
    members = np.column_stack([candidates.member(place) for place in order])
    counts = np.where(hidden_counts(members), np.nan, members.sum(axis=0).astype(np.float64))
    table = [
        _row(scale, candidates, int(place), member, count, float(z[0, place]), float(adjusted[place]))
        for place, member, count in zip(order, members.T, counts, strict=True)
    ]
    largest = np.abs(z[1 : len(whole)]).max(axis=1)
    return SubgroupSearch(
        pd.DataFrame(table), crossfit=found, crossfit_outside=rest, found_again=again, searched=len(candidates.words),
        too_small=candidates.too_small, permutations=plan.permutations, limit=float(np.quantile(largest, 0.95)),
        n=n, events=events, repeats=plan.repeats, folds=plan.folds, scale=scale_words, unit=unit,
        refitted=getattr(scale, "refitted", None) is not None,
    )  # fmt: skip


def _row(
    scale: EffectScale, candidates: Candidates, place: int, member: Flags, count: float, z: float, p: float
) -> dict[str, Any]:
    row: dict[str, Any] = {"subgroup": candidates.words[place], "covariates": candidates.covariates[place], "n": count}
    row |= {"z": z, "p_adjusted": p}
    for name, who in (("inside", member), ("outside", ~member)):
        effect = scale.effect(who)
        row |= {name: effect.value, f"{name}_low": effect.low, f"{name}_high": effect.high}
    return row


def _statistics(rows: Floats, seen: Floats, candidates: Candidates, by_information: bool) -> NDArray[np.float32]:
    """Return z for each row of residuals and each candidate; in single precision, since there may be millions."""
    z = np.empty((len(rows), len(candidates.words)), dtype=np.float32)
    squares = rows**2
    total = squares.sum(axis=1, keepdims=True)
    patients = seen.sum(axis=1, keepdims=True)
    for places, member in candidates.blocks():
        own = squares @ member
        share = own / total if by_information else seen @ member / patients
        spread = own - 2 * share * own + share**2 * total
        z[:, places] = (rows @ member) / np.sqrt(np.maximum(spread, 1e-300))
    return z


def step_down(z: NDArray[Any]) -> Floats:
    """Return the adjusted p-value of each hypothesis, controlling the family-wise error.

    Parameters
    ----------
    z
        Statistics, two-sided, shape (1 + resamples, m), those observed first.

    Returns
    -------
    ndarray of shape (m,)
        With hypotheses ordered by ``|z|``, the j-th largest is compared with the largest of itself and all below it
        in each resample, ``p = (1 + resamples at least as large) / (1 + resamples)``, and p-values are made not to fall.

    References
    ----------
    Westfall PH, Young SS. Resampling-Based Multiple Testing. Wiley, 1993, algorithm 2.8.
    """
    observed = np.abs(z[0])
    order = np.argsort(-observed, kind="stable")
    bound = observed[order] * (1 - 1e-6)
    exceed = np.zeros(order.size)
    for start in range(1, len(z), 128):
        sizes = np.abs(z[start : start + 128])[:, order[::-1]]
        exceed += (np.maximum.accumulate(sizes, axis=1)[:, ::-1] >= bound).sum(axis=0)
    adjusted = np.empty(order.size)
    adjusted[order] = np.maximum.accumulate((1 + exceed) / len(z))
    return adjusted


def _fold_labels(scale: EffectScale, n: int, plan: SearchPlan, seed: np.random.SeedSequence) -> Rows:
    """Return the fold of each patient in each repeat, shape (repeats, n)."""
    labels = [fold_labels(scale.balance, plan.folds, np.random.default_rng(one)) for one in seed.spawn(plan.repeats)]
    return np.array(labels, dtype=np.intp).reshape(plan.repeats, n)


def _on_training_rows(scale: EffectScale, labels: Rows, n: int) -> tuple[Floats, Floats, Floats]:
    """Return what each fold learns from.

    These are the residuals of its training patients, 0 for the others, and who they are, shape (folds, n); and what the effects in its
    test patients are read from, shape (repeats, n).
    """
    residuals, seen, held = [], [], np.zeros(labels.shape)
    for repeat, row in enumerate(labels):
        for train, test in splits(row):
            own, who = np.zeros(n), np.zeros(n)
            own[train], held[repeat, test] = scale.learned(train, test)
            who[train] = 1.0
            residuals.append(own)
            seen.append(who)
    return np.array(residuals).reshape(-1, n), np.array(seen).reshape(-1, n), held


def _crossfit(
    scale: EffectScale, candidates: Candidates, z: NDArray[Any], labels: Rows, held: Floats, winner: int
) -> tuple[Estimate, Estimate, float]:
    """Let each fold's search, without its test patients, put these into the half with more benefit or into the rest.

    Returns the effects in both, and the share of searches that end with the covariates of the whole trial's.
    """
    if not len(labels):
        nothing = Estimate(math.nan, kind="crossfit")
        return nothing, nothing, math.nan
    more = np.zeros(labels.shape, dtype=np.bool_)
    again, search = 0, 0
    for repeat, row in enumerate(labels):
        for _, test in splits(row):
            best = int(np.argmax(np.abs(z[search])))
            more[repeat, test] = candidates.member(best)[test] == (z[search, best] > 0)
            again += candidates.covariates[best] == candidates.covariates[winner]
            search += 1
    return scale.crossfitted(more, held), scale.crossfitted(~more, held), again / search

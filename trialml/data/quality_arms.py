"""Checks by arm and by stratum of the randomisation: allocation, follow-up, and what differs that should not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_catalogue import FAMILY_LEVEL, Seen, Verdict, passed, unmade
from trialml.data.quality_columns import Column, Patients
from trialml.result import format_number, format_p

__all__ = ["binomial_tails", "check_arms", "rank_sum_p"]

_NAMED_CELLS = 5
_FEWEST_EVENTS = 5
_SHARE_STILL_FOLLOWED = 10
_POINTS = 10
_NO_TIME = "The endpoint is no time to event."


def check_arms(patients: Patients) -> Iterator[Seen]:
    """Yield what DQ008 to DQ010 and DQ021 to DQ024 find."""
    yield from _allocation(patients)
    yield from _follow_up(patients)
    yield from _events_by_cell(patients)
    yield from _allocation_by_cell(patients)
    yield from _beyond_chance(patients)
    yield from _missing_by_arm(patients)
    yield from _censored_by_arm(patients)


def binomial_tails(
    count: NDArray[np.int64], of: NDArray[np.int64], probability: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return two-sided exact binomial p-values, twice the smaller tail, shape as `count`."""
    from scipy.stats import binom

    tails = np.minimum(binom.cdf(count, of, probability), binom.sf(count - 1, of, probability))
    return np.asarray(np.minimum(1.0, 2 * tails), dtype=np.float64)


def _allocation(patients: Patients) -> Iterator[Seen]:
    from scipy.stats import binomtest

    share = patients.trial.treatment.allocation
    treated, n = int(patients.treated.sum()), int(patients.primary.sum())
    p = float(binomtest(treated, n, share).pvalue)
    found = (
        f"{treated:,} of {n:,} are in the experimental arm; the study file says a probability of "
        f"{format_number(share)} (exact binomial p {format_p(p)})."
    )
    yield Seen("DQ008", "Allocation", "warning" if p < FAMILY_LEVEL else "ok", n, found)


def _follow_up(patients: Patients) -> Iterator[Seen]:
    trial = patients.trial
    if not patients.timed:
        yield unmade("DQ009", "Follow-up", _NO_TIME)
        return
    endpoint, treatment = trial.endpoint, trial.treatment
    reached = trial.time >= endpoint.horizon
    for arm in (treatment.control, treatment.experimental, *treatment.secondary):
        of_arm = reached[np.asarray(trial.frame["arm"] == arm)]
        share = 100 * float(of_arm.mean()) if len(of_arm) else 0.0
        at = f"{format_number(endpoint.horizon)} {endpoint.unit}"
        found = f"{share:.0f} % are still at risk (followed and event-free) at {at} in {treatment.label(arm)}."
        verdict: Verdict = "warning" if share < _SHARE_STILL_FOLLOWED else "ok"
        yield Seen("DQ009", "Follow-up", verdict, len(of_arm), found)


def _events_by_cell(patients: Patients) -> Iterator[Seen]:
    cells = patients.cells
    if patients.trial.endpoint.kind == "continuous":
        yield unmade("DQ010", "Stratification factors", "The endpoint is a number and no event.")
        return
    events = np.bincount(cells.codes, weights=patients.trial.event, minlength=len(cells.levels))
    empty = np.flatnonzero(events == 0)
    if len(empty) > _NAMED_CELLS:
        found = f"{len(empty):,} of {len(events):,} strata of the randomisation have no events: they say nothing about time to event."
        yield Seen("DQ010", "Stratification factors", "warning", int(cells.counts[empty].sum()), found, "Kept.")
    else:
        for place in empty:
            found = f"Stratum '{cells.levels[place]}' of the randomisation has no events: it says nothing about time to event."
            yield Seen("DQ010", "Stratification factors", "warning", int(cells.counts[place]), found, "Kept.")
    sparse = _sparse_cells(patients) & (events > 0)
    if sparse.any():
        found = (
            f"{int(sparse.sum()):,} of {len(events):,} strata of the randomisation have fewer than {_FEWEST_EVENTS} events, or one arm alone, in "
            "the primary contrast: a stratified analysis learns little from them; pool strata by a rule fixed beforehand."
        )
        yield Seen("DQ010", "Stratification factors", "warning", int(cells.counts[sparse].sum()), found, "Kept.")
    if not len(empty) and not sparse.any():
        several = f"Every one of the {len(events)} strata of the randomisation has events in the primary contrast."
        found = several if len(events) > 1 else "The randomisation was not stratified."
        yield passed("DQ010", "Stratification factors", found)


def _sparse_cells(patients: Patients) -> NDArray[np.bool_]:
    """Whether a stratum has few events of the primary contrast, or patients of one of its arms alone."""
    cells, primary = patients.cells, patients.primary
    k = len(cells.levels)
    if k == 1:
        return np.zeros(1, dtype=np.bool_)
    events = np.bincount(cells.codes[primary], weights=patients.trial.event[primary], minlength=k)
    treated = np.bincount(cells.codes[patients.treated], minlength=k)
    everyone = np.bincount(cells.codes[primary], minlength=k)
    return np.asarray((events < _FEWEST_EVENTS) | (treated == 0) | (treated == everyone))


def _allocation_by_cell(patients: Patients) -> Iterator[Seen]:
    cells, primary = patients.cells, patients.primary
    k = len(cells.levels)
    of = np.bincount(cells.codes[primary], minlength=k)
    treated = np.bincount(cells.codes[patients.treated], minlength=k)
    share = patients.trial.treatment.allocation
    beyond = binomial_tails(treated, of, share) < FAMILY_LEVEL / k
    for place in np.flatnonzero(beyond & (k > 1) & (of >= SMALLEST_CELL)):
        # No percentage: with the number of patients it would give back how few are in the other arm.
        more = "experimental" if treated[place] > share * of[place] else "control"
        found = f"Of the {{count}} patients of stratum '{cells.levels[place]}' more are in the {more} arm than the allocation explains."
        yield Seen("DQ021", "Stratification factors", "warning", int(of[place]), found)
    if k == 1 or not beyond.any():
        said = (
            f"Arm sizes agree with the allocation in all {k} strata."
            if k > 1
            else "The randomisation was not stratified."
        )
        yield passed("DQ021", "Stratification factors", said)


def _beyond_chance(patients: Patients) -> Iterator[Seen]:
    columns, clean = patients.varying, True
    for column in columns:
        p = rank_sum_p(patients, column) if column.numeric else _levels_p(patients, column)
        if p < FAMILY_LEVEL / len(columns):
            clean = False
            found = (
                "It differs between the arms of the primary contrast by more than randomisation explains: it may have been measured after "
                "treatment began, or arms may be mixed up."
            )
            done = "Kept: take it out of [covariates] unless it is known to be from before randomisation."
            yield Seen("DQ022", column.name, "warning", column.coded.known, found, done)
    if clean:
        yield passed("DQ022", "Baseline covariates", "None differs between the arms by more than chance explains.")


def rank_sum_p(patients: Patients, column: Column) -> float:
    """Return the p-value of the rank-sum test of one numeric covariate between the two primary arms.

    Normal approximation with mid-ranks and the variance reduced for ties, without continuity correction.
    """
    from scipy.special import ndtr

    codes, k = column.coded.codes, len(column.coded.levels)
    known = codes >= 0
    all_of = np.bincount(codes[known & patients.primary], minlength=k).astype(np.float64)
    treated = np.bincount(codes[known & patients.treated], minlength=k)
    n, m = all_of.sum(), treated.sum()
    if min(m, n - m) < SMALLEST_CELL:
        return 1.0
    ranks = np.cumsum(all_of) - (all_of - 1) / 2
    variance = m * (n - m) / 12 * (n + 1 - (all_of**3 - all_of).sum() / (n * (n - 1)))
    if variance <= 0:
        return 1.0
    z = (ranks @ treated - m * (n + 1) / 2) / np.sqrt(variance)
    return float(2 * ndtr(-abs(z)))


def _levels_p(patients: Patients, column: Column) -> float:
    """Return the p-value of the chi-squared test of a column of levels between the primary arms, rare levels joined."""
    from scipy.stats import chi2

    codes, k = column.coded.codes, len(column.coded.levels)
    known = codes >= 0
    both = np.bincount(codes[known & patients.primary], minlength=k)
    treated = np.bincount(codes[known & patients.treated], minlength=k)
    rare = both < 2 * SMALLEST_CELL
    both = np.append(both[~rare], both[rare].sum())
    treated = np.append(treated[~rare], treated[rare].sum())
    both, treated = both[both > 0], treated[both > 0]
    n, m = both.sum(), treated.sum()
    if len(both) < 2 or min(m, n - m) < SMALLEST_CELL:
        return 1.0
    expected = both * (m / n)
    statistic = float(((treated - expected) ** 2 / expected).sum() * n / (n - m))
    return float(chi2.sf(statistic, len(both) - 1))


def _missing_by_arm(patients: Patients) -> Iterator[Seen]:
    columns, clean = patients.columns, True
    treated, control = patients.treated, patients.primary & ~patients.treated
    for column in columns:
        lost = np.array([int((column.missing & arm).sum()) for arm in (treated, control)])
        of = np.array([int(treated.sum()), int(control.sum())])
        if lost.sum() and _fisher(lost, of) < FAMILY_LEVEL / len(columns):
            clean = False
            more = "experimental" if lost[0] / of[0] > lost[1] / of[1] else "control"
            found = f"It is missing more often in the {more} arm than chance explains: baseline should be recorded before the arm is known."
            done = "Imputed blind to arm and outcome all the same."
            yield Seen("DQ023", column.name, "warning", int(lost.sum()), found, done)
    if clean:
        yield passed("DQ023", "Baseline covariates", "None is missing more often in one arm than chance explains.")


def _censored_by_arm(patients: Patients) -> Iterator[Seen]:
    trial = patients.trial
    if not patients.timed:
        yield unmade("DQ024", "Censoring", _NO_TIME)
        return
    early = ~trial.event & (trial.time < trial.endpoint.horizon)
    arms = (patients.treated, patients.primary & ~patients.treated)
    counts = np.array([int((early & arm).sum()) for arm in arms])
    of = np.array([int(arm.sum()) for arm in arms])
    shares = 100 * counts / np.maximum(of, 1)
    differ = abs(shares[0] - shares[1]) > _POINTS and _fisher(counts, of) < FAMILY_LEVEL
    at = f"{format_number(trial.endpoint.horizon)} {trial.endpoint.unit}"
    found = f"{shares[0]:.0f} % of the experimental and {shares[1]:.0f} % of the control arm were censored before {at}."
    if differ:
        found += " The arms may have been followed differently: compare the reversed Kaplan-Meier curves."
    yield Seen("DQ024", "Censoring", "note" if differ else "ok", int(counts.sum()), found)


def _fisher(counts: NDArray[np.int64], of: NDArray[np.int64]) -> float:
    """Return Fisher's exact two-sided p-value of two shares."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([counts, of - counts])[1])

"""How often the patient at higher risk has the event first: Harrell's and Uno's concordance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from trialml.errors import AnalysisError, DataError
from trialml.survival.concordance_covariates import covariate_pairs
from trialml.survival.cox_layout import Layout, slot_layout
from trialml.survival.ipcw import Censoring, Outcome, checked_outcome
from trialml.survival.product_limit import Curve, censoring_curve, step_at
from trialml.survival.rows import checked_weights
from trialml.survival.ties import (
    Array,
    Codes,
    Flags,
    checked_labels,
    checked_times,
    distinct_times,
    not_after,
    time_blocks,
)

__all__ = ["ConcordanceValue", "ConcordanceWeighting", "concordance", "sorted_concordance"]

ConcordanceWeighting = Literal["harrell", "uno", "peto-wilcoxon", "schemper", "equal"]


class ConcordanceValue(NamedTuple):
    """A concordance with its standard error.

    Attributes
    ----------
    value
        The share of comparable pairs in which the patient at higher risk has the event first; ties in risk count half.
    se
        The infinitesimal-jackknife standard error, the root of the sum of squared influences.
    comparable
        The number of comparable pairs, whatever the weighting; with case weights the sum of their products.
    influence
        Each patient's influence on `value`, in the order given, shape ``(n,)``; the difference of two models on
        the same patients has the difference of their influences.
    """

    value: float
    se: float
    comparable: float
    influence: Array


def concordance(
    time: Any,
    event: Any,
    risk: Any,
    *,
    tau: float | None = None,
    weighting: ConcordanceWeighting = "harrell",
    censoring: Curve | Censoring | None = None,
    weights: Any = None,
    strata: Any = None,
    competing: Any = None,
) -> ConcordanceValue:
    """Return the concordance of a risk score with censored event times.

    Parameters
    ----------
    time, event
        Follow-up times and True where the event happened, shape ``(n,)``.
    risk
        Any score, higher is worse, shape ``(n,)``.
    tau
        Pairs whose first event is later than `tau` are left out; None keeps all.
    weighting
        What a pair counts, by the time T of its event: ``"harrell"`` 1; ``"uno"`` ``1 / G(T-)^2``, which frees the
        number from the censoring pattern up to `tau`; ``"peto-wilcoxon"`` ``n S(T-) / Y(T)``, ``"schemper"``
        ``n S(T-) / (G(T-) Y(T))`` and ``"equal"``, by which each event counts alike, ``1 / Y(T)``: S and G the
        Kaplan-Meier curves of event and censoring, Y the number at risk.
    censoring
        The censoring curve G, from `censoring_curve`; estimated from these data by default. With ``"uno"`` also
        `cox_censoring` of these patients, G(t | x): a pair then weighs ``1 / (G(T- | x_i) G(T- | x_j))``, in a time that
        grows with n times the number of event times, and without `weights` and `strata`.
    weights
        Case weights above 0, shape ``(n,)``; None for 1 each. They count in the curves too.
    strata
        One label a patient: pairs are compared within strata only, and each stratum has curves of its own.
    competing
        True where a competing event ended follow-up, shape ``(n,)``; with ``"harrell"`` or ``"uno"``. The patient will
        not have the event, and stays comparable with all who have it: also with those who have it later, whose pairs
        Uno weighs by ``1 / (G(T-) G(C-))``, C the time of the competing event.

    Returns
    -------
    ConcordanceValue
        A pair is comparable if one had the event while the other was still followed; of two patients with equal
        times, one with the event and one censored are comparable, two with events are not. The weights of pairs are
        taken as known in the standard error. Values and errors are those of R's ``survival::concordance``. The pairs
        are counted in a tree over the ranks of risk, in ``n log n`` steps.

    Raises
    ------
    DataError
        If a risk, weight or stratum is missing, a risk is infinite, or an argument has no such choice.
    AnalysisError
        If no pair is comparable or the censoring curve is 0 where a weight is needed.

    References
    ----------
    Harrell FE, Lee KL, Mark DB. Multivariable prognostic models. Stat Med 1996;15:361-387.
    Uno H, Cai T, Pencina MJ, D'Agostino RB, Wei LJ. On the C-statistics for evaluating overall adequacy of risk
    prediction procedures with censored survival data. Stat Med 2011;30:1105-1117.
    Schemper M, Wakounig S, Heinze G. The estimation of average hazard ratios by weighted Cox regression. Stat Med
    2009;28:2473-2489.
    Wolbers M, Blanche P, Koller MT, Witteman JCM, Gerds TA. Concordance for prognostic models with competing risks.
    Biostatistics 2014;15:526-539.
    Gerds TA, Kattan MW, Schumacher M, Yu C. Estimating a time-dependent concordance index for survival prediction models
    with covariate dependent censoring. Stat Med 2013;32:2173-2184.
    Fenwick PM. A new data structure for cumulative frequency tables. Softw Pract Exp 1994;24:327-336.
    """
    times, flags = checked_times(time, event, needs_event=True)
    score = np.asarray(risk, dtype=float)
    if score.shape != times.shape or not np.isfinite(score).all():
        raise DataError(f"risk must hold one finite number for each of the {times.size} patients")
    case = checked_weights(weights, times.size)
    labels, codes = checked_labels(strata, times.size, "strata")
    others = (
        np.zeros(times.size, dtype=bool) if competing is None else checked_outcome(times, flags, competing).competing
    )
    within = flags if tau is None else flags & not_after(times, tau)
    if censoring is not None and not isinstance(censoring, Curve) and censoring.curve is None:
        if weighting != "uno" or case is not None or strata is not None:
            raise DataError(
                f"censoring by covariates goes with weighting 'uno' alone, without weights or strata; weighting is '{weighting}': "
                "pass a curve from censoring_curve, or leave them out"
            )
        found = covariate_pairs(Outcome(times, flags, others), score, within, censoring)
        return _value([_Pairs(found[3], found[4], *found[:3])], found[2])
    curve = censoring if censoring is None or isinstance(censoring, Curve) else censoring.curve
    timed = np.zeros(times.size)
    for stratum in range(labels.size):
        own = codes == stratum
        sample = _Sample(times[own], flags[own], others[own], None if case is None else case[own])
        timed[own] = _pair_weights(sample, weighting, curve, within[own])
    cases = np.ones(times.size) if case is None else case
    pairs = [_pairs(slot_layout(times, flags, codes, labels.size, None), score, cases, cases * timed)]
    comparable = pairs[0].number
    if others.any():
        if weighting not in ("harrell", "uno"):
            raise DataError(f"weighting is '{weighting}', but with competing events it must be 'harrell' or 'uno'")
        root = np.sqrt(timed)  # 1 / G(T-)
        late = _later_events(times, flags, codes, labels.size)
        if weighting == "uno":
            for stratum in range(labels.size):
                own = codes == stratum
                sample = _Sample(times[own], flags[own], others[own], None if case is None else case[own])
                reached = others[own] & _before_last(times[own], within[own])
                root[own] += np.sqrt(_pair_weights(sample, weighting, curve, reached))
        else:
            root[others] = 1.0
        pairs.append(_pairs(late, score, np.where(others, cases * root, 0.0), np.where(within, cases * root, 0.0)))
        comparable += _pairs(late, score, np.where(others, cases, 0.0), np.where(within, cases, 0.0)).number
    return _value(pairs, comparable)


def sorted_concordance(layout: Layout, within: Flags, score: Array) -> float:
    """Return Harrell's concordance alone, of patients who were sorted once for many scores.

    Parameters
    ----------
    layout
        From `slot_layout` of the same patients.
    within
        Whose event counts, shape ``(n,)``.
    score
        Higher is worse, shape ``(n,)``.
    """
    return _value([_pairs(layout, score, np.ones(score.size), within.astype(float))], math.nan).value


class _Sample(NamedTuple):
    time: Array
    event: Flags
    competing: Flags
    case: Array | None


def _pair_weights(sample: _Sample, weighting: str, censoring: Curve | None, wanted: Flags) -> Array:
    """Return what the pairs of each wanted event count, 0 for the other patients."""
    out = wanted.astype(float)
    if weighting == "harrell" or not wanted.any():
        return out
    at = sample.time[wanted]
    followed = np.ones(at.size)
    if weighting in ("uno", "schemper"):
        curve = censoring
        if curve is None:
            curve = censoring_curve(sample.time, sample.event | sample.competing, sample.case)
        followed = step_at(curve.time, curve.survival, at, left=True)
        if followed.min() <= 0:
            raise AnalysisError(
                f"the censoring curve is 0 before the event at {at[followed <= 0].min():g}: "
                "set tau below that time or take the curve from the same follow-up"
            )
    if weighting == "uno":
        out[wanted] = followed**-2.0
        return out
    if weighting not in ("peto-wilcoxon", "schemper", "equal"):
        choices = "'harrell', 'uno', 'peto-wilcoxon', 'schemper' or 'equal'"
        raise DataError(f"weighting is '{weighting}', but it must be {choices}")
    blocks = time_blocks(sample.time, sample.event, sample.case)
    place = blocks.position[wanted]
    if weighting == "equal":
        out[wanted] = 1 / blocks.n_risk[place]
        return out
    kept = np.cumprod(1 - blocks.n_event / blocks.n_risk)
    before = np.concatenate(([1.0], kept[:-1]))[place]
    out[wanted] = blocks.n_risk[0] * before / (followed * blocks.n_risk[place])
    return out


def _before_last(times: Array, within: Flags) -> Flags:
    """Return who left before the last event that counts: later ones are in no pair, and the curve may be 0 there."""
    return np.asarray(times < times[within].max(initial=0.0))


def _later_events(times: Array, flags: Flags, codes: Codes, strata: int) -> Layout:
    """Return the layout in which each event is compared with the competing events before it, and with nobody else.

    Time runs backwards. An event and a competing event of one time are a pair of the forward order, so here the
    competing one comes first.
    """
    position = distinct_times(times)[1]
    backwards = 2.0 * (position.max() - position) + np.where(flags, 2.0, 1.0)
    return slot_layout(backwards, flags, codes, strata, None)


class _Pairs(NamedTuple):
    won: Array  # by patient, as first or as second, weighted
    taken: Array
    total_won: float
    total: float
    number: float


def _pairs(layout: Layout, score: Array, second: Array, first: Array) -> _Pairs:
    """Return the pairs of a layout: an event weighs `first`, whoever it is compared with `second`."""
    from trialml.survival.cox_concordance_pass import pair_sums

    rows = layout.rows
    rank, ranks = _ranks(score)
    compared, event = second[rows], first[rows]
    sums = np.zeros((4, rows.size))
    pair_sums(layout.stratum_slot, layout.slot_row, layout.slot_dead, layout.exit_row, layout.exit_slot, rank[rows],
              compared, event, *np.zeros((2, ranks + 1)), sums)  # fmt: skip
    won, taken = np.empty(rows.size), np.empty(rows.size)
    won[rows] = event * sums[0] + compared * sums[2]
    taken[rows] = event * sums[1] + compared * sums[3]
    # With equal case weights the products count pairs.
    count = float(sums[1] @ np.where(event > 0, np.where(compared > 0, compared, event), 0.0))
    return _Pairs(won, taken, float(event @ sums[0]), float(event @ sums[1]), count)


def _value(pairs: Sequence[_Pairs], comparable: float) -> ConcordanceValue:
    total = sum(one.total for one in pairs)
    if not total > 0:
        raise AnalysisError("no two patients are comparable, so there is no concordance: extend tau or pool patients")
    value = sum(one.total_won for one in pairs) / total
    # The derivative by each patient's case weight, over all pairs that the patient is in, as first or as second.
    influence = np.sum([one.won - value * one.taken for one in pairs], axis=0) / total
    return ConcordanceValue(value, float(np.sqrt(influence @ influence)), comparable, np.asarray(influence))


def _ranks(score: Array) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Return each patient's place among the distinct scores, from 1, and how many there are."""
    order = np.argsort(score)
    ordered = score[order]
    rank = np.empty(score.size, dtype=np.int64)
    places = np.cumsum(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    rank[order] = places
    return rank, int(places[-1])

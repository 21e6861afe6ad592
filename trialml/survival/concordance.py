"""How often the patient at higher risk has the event first: Harrell's and Uno's concordance."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from trialml.errors import AnalysisError, DataError
from trialml.survival.cox_layout import Layout, slot_layout
from trialml.survival.product_limit import Curve, censoring_curve, step_at
from trialml.survival.rows import checked_weights
from trialml.survival.ties import TIE_TOLERANCE, Array, Flags, checked_labels, checked_times, time_blocks

__all__ = ["ConcordanceValue", "ConcordanceWeighting", "concordance"]

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
    censoring: Curve | None = None,
    weights: Any = None,
    strata: Any = None,
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
        The censoring curve G, from `censoring_curve`; estimated from these data by default.
    weights
        Case weights above 0, shape ``(n,)``; None for 1 each. They count in the curves too.
    strata
        One label a patient: pairs are compared within strata only, and each stratum has curves of its own.

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
    Fenwick PM. A new data structure for cumulative frequency tables. Softw Pract Exp 1994;24:327-336.
    """
    times, flags = checked_times(time, event, needs_event=True)
    score = np.asarray(risk, dtype=float)
    if score.shape != times.shape or not np.isfinite(score).all():
        raise DataError(f"risk must hold one finite number for each of the {times.size} patients")
    case = checked_weights(weights, times.size)
    labels, codes = checked_labels(strata, times.size, "strata")
    cases = np.ones(times.size) if case is None else case
    timed = flags.astype(float)
    if weighting != "harrell":
        for stratum in range(labels.size):
            own = (codes == stratum) & flags if tau is None else (codes == stratum) & flags & _within(times, tau)
            members = codes == stratum
            timed[own] = _pair_weights(times[members], flags[members], case if case is None else case[members],
                                       weighting, censoring, own[members])  # fmt: skip
    if tau is not None:
        timed[~_within(times, tau)] = 0.0
    return _from_pairs(slot_layout(times, flags, codes, labels.size, None), score, cases, timed)


def _within(times: Array, tau: float) -> Flags:
    return np.asarray(times <= tau * (1 + TIE_TOLERANCE))


def _pair_weights(
    times: Array, flags: Flags, case: Array | None, weighting: str, censoring: Curve | None, wanted: Flags
) -> Array:
    """Return what the pairs of each wanted event count; each in the order of the patients."""
    at = times[wanted]
    followed = np.ones(at.size)
    if weighting in ("uno", "schemper"):
        curve = censoring_curve(times, flags, case) if censoring is None else censoring
        followed = step_at(curve.time, curve.survival, at, left=True)
        if followed.min(initial=1.0) <= 0:
            raise AnalysisError(
                f"the censoring curve is 0 before the event at {at[followed <= 0].min():g}: "
                "set tau below that time or take the curve from the same follow-up"
            )
    if weighting == "uno":
        return np.asarray(followed**-2.0)
    if weighting not in ("peto-wilcoxon", "schemper", "equal"):
        choices = "'harrell', 'uno', 'peto-wilcoxon', 'schemper' or 'equal'"
        raise DataError(f"weighting is '{weighting}', but it must be {choices}")
    blocks = time_blocks(times, flags, case)
    place = blocks.position[wanted]
    if weighting == "equal":
        return np.asarray(1 / blocks.n_risk[place])
    kept = np.cumprod(1 - blocks.n_event / blocks.n_risk)
    before = np.concatenate(([1.0], kept[:-1]))[place]
    return np.asarray(blocks.n_risk[0] * before / (followed * blocks.n_risk[place]))


def _from_pairs(layout: Layout, score: Array, case: Array, timed: Array) -> ConcordanceValue:
    from trialml.survival.cox_concordance_pass import pair_sums

    rows = layout.rows
    rank, ranks = _ranks(score)
    weight, time_weight = case[rows], timed[rows]
    sums = np.zeros((4, rows.size))
    pair_sums(layout.stratum_slot, layout.slot_row, layout.slot_dead, layout.exit_row, layout.exit_slot, rank[rows],
              weight, weight * time_weight, *np.zeros((2, ranks + 1)), sums)  # fmt: skip
    won, taken, won_as_second, taken_as_second = sums
    first = weight * time_weight
    total = float(first @ taken)
    if not total > 0:
        raise AnalysisError("no two patients are comparable, so there is no concordance: extend tau or pool patients")
    value = float(first @ won) / total
    # The derivative by each patient's case weight, over all pairs that the patient is in, as first or as second.
    influence = np.empty(rows.size)
    influence[rows] = (first * (won - value * taken) + weight * (won_as_second - value * taken_as_second)) / total
    comparable = float(taken @ (weight * (time_weight > 0)))
    return ConcordanceValue(value, float(np.sqrt(influence @ influence)), comparable, influence)


def _ranks(score: Array) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Return each patient's place among the distinct scores, from 1, and how many there are."""
    order = np.argsort(score)
    ordered = score[order]
    rank = np.empty(score.size, dtype=np.int64)
    places = np.cumsum(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    rank[order] = places
    return rank, int(places[-1])

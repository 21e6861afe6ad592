"""How often the patient at higher risk has the event first: Harrell's and Uno's concordance."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import AnalysisError, DataError
from trialml.survival.product_limit import Curve, censoring_curve, step_at
from trialml.survival.ties import TIE_TOLERANCE, Array, Codes, checked_times, distinct_times

__all__ = ["ConcordanceValue", "concordance"]


class ConcordanceValue(NamedTuple):
    """A concordance with its standard error.

    Attributes
    ----------
    value
        The share of comparable pairs in which the patient at higher risk has the event first; ties in risk count half.
    se
        The infinitesimal-jackknife standard error, the root of the sum of squared influences.
    comparable
        The number of comparable pairs, unweighted.
    influence
        Each patient's influence on `value`, in the order given, shape ``(n,)``; the difference of two models on
        the same patients has the difference of their influences.
    """

    value: float
    se: float
    comparable: int
    influence: Array


def concordance(
    time: Any,
    event: Any,
    risk: Any,
    *,
    tau: float | None = None,
    weighting: Literal["harrell", "uno"] = "harrell",
    censoring: Curve | None = None,
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
        ``"harrell"`` weighs each pair by 1, ``"uno"`` by ``1 / G(T-)^2`` with T the time of its event, which
        frees the number from the censoring pattern up to `tau`.
    censoring
        The censoring curve G of Uno's weights, from `censoring_curve`; estimated from these data by default.

    Returns
    -------
    ConcordanceValue
        A pair is comparable if one had the event while the other was still followed; of two patients with equal
        times, one with the event and one censored are comparable, two with events are not. The weights are taken
        as known in the standard error. Values and errors are those of R's ``survival::concordance``.

    Raises
    ------
    DataError
        If a risk is missing or infinite, or an argument has no such choice.
    AnalysisError
        If no pair is comparable or the censoring curve is 0 where a weight is needed.

    References
    ----------
    Harrell FE, Lee KL, Mark DB. Multivariable prognostic models. Stat Med 1996;15:361-387.
    Uno H, Cai T, Pencina MJ, D'Agostino RB, Wei LJ. On the C-statistics for evaluating overall adequacy of risk
    prediction procedures with censored survival data. Stat Med 2011;30:1105-1117.
    """
    times, flags = checked_times(time, event, needs_event=True)
    score = np.asarray(risk, dtype=float)
    if score.shape != times.shape or not np.isfinite(score).all():
        raise DataError(f"risk must hold one finite number for each of the {times.size} patients")
    weight = flags.astype(float)
    if weighting == "uno":
        weight[flags] = _uno_weights(times, flags, censoring)
    elif weighting != "harrell":
        raise DataError(f"weighting is '{weighting}', but it must be 'harrell' or 'uno'")
    if tau is not None:
        weight[times > tau * (1 + TIE_TOLERANCE)] = 0.0
    _, block = distinct_times(times)
    # Events come before censorings of the same time, and tied events share a place: they are not comparable.
    place = np.unique(2 * block + ~flags, return_inverse=True)[1].astype(np.intp)
    pairs = _pair_sums(place, np.unique(score, return_inverse=True)[1].astype(np.intp), weight)
    total = float(pairs.comparable @ weight)
    if total <= 0:
        raise AnalysisError("no two patients are comparable, so there is no concordance: extend tau or pool patients")
    value = float(pairs.won @ weight) / total
    # The derivative by each patient's case weight, over all pairs that the patient is in, as first or as second.
    won = weight * pairs.won + pairs.won_as_second
    taken = weight * pairs.comparable + pairs.comparable_as_second
    influence = (won - value * taken) / total
    comparable = round(float(pairs.comparable @ (weight > 0)))
    return ConcordanceValue(value, float(np.sqrt(np.sum(influence**2))), comparable, influence)


def _uno_weights(times: Array, flags: npt.NDArray[np.bool_], censoring: Curve | None) -> Array:
    curve = censoring_curve(times, flags) if censoring is None else censoring
    followed = step_at(curve.time, curve.survival, times[flags], left=True)
    if followed.min() <= 0:
        raise AnalysisError(
            f"the censoring curve is 0 before the event at {times[flags][followed <= 0].min():g}: "
            "set tau below that time or take the curve from the same follow-up"
        )
    return np.asarray(followed**-2.0)


class _Pairs(NamedTuple):
    comparable: Array  # patients that are after this one
    won: Array  # of these, those with lower risk, plus half of those with equal risk
    comparable_as_second: Array  # the weight of the events that this patient is after
    won_as_second: Array


def _pair_sums(place: Codes, risk: Codes, weight: Array) -> _Pairs:
    """Return pair counts by merging from the highest bit of `place` down: n log n, every level in whole arrays.

    At each level the two halves of a run of places are compared, in the order of risk: the earlier half holds
    the events, the later half their comparison. Equal places are never in different halves.
    """
    n = place.size
    sums = _Pairs(*(np.zeros(n) for _ in range(4)))
    by_risk = np.argsort(risk, kind="stable")
    for bit in range(int(place.max()).bit_length()):
        run = place[by_risk] >> (bit + 1)
        order = by_risk[np.argsort(run, kind="stable")]
        runs, risks = place[order] >> (bit + 1), risk[order]
        new_run = np.append(True, np.diff(runs) != 0)
        new_tie = new_run | np.append(True, np.diff(risks) != 0)
        tie, part = np.cumsum(new_tie) - 1, np.cumsum(new_run) - 1
        tie_low, run_low = np.flatnonzero(new_tie), np.flatnonzero(new_run)
        tie_high, run_high = np.append(tie_low[1:], n), np.append(run_low[1:], n)
        later = (place[order] >> bit) & 1 == 1
        after = np.concatenate(([0.0], np.cumsum(later)))
        before = np.concatenate(([0.0], np.cumsum(np.where(later, 0.0, weight[order]))))
        earlier = ~later
        who, t, r = order[earlier], tie[earlier], part[earlier]
        sums.comparable[who] += after[run_high[r]] - after[run_low[r]]
        sums.won[who] += (after[tie_low[t]] + after[tie_high[t]]) / 2 - after[run_low[r]]
        who, t, r = order[later], tie[later], part[later]
        sums.comparable_as_second[who] += before[run_high[r]] - before[run_low[r]]
        sums.won_as_second[who] += before[run_high[r]] - (before[tie_low[t]] + before[tie_high[t]]) / 2
    return sums

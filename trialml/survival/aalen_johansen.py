"""Competing risks in arrays: Aalen and Johansen's cumulative incidence with two standard errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from trialml.errors import AnalysisError, DataError
from trialml.survival.ties import Array, Codes, checked_times, distinct_times, nobody

__all__ = [
    "CompetingRisks",
    "IncidenceCurves",
    "IncidenceVariance",
    "aalen_johansen",
    "checked_causes",
    "incidence_limits",
]

IncidenceVariance = Literal["jackknife", "delta"]

# Words that name no event, so taking one for a cause would count those without an event.
NO_EVENT = ("censored", "censor", "cens", "no", "none", "false", "alive")


class CompetingRisks(NamedTuple):
    """Checked follow-up with several causes.

    Attributes
    ----------
    time
        Shape ``(n,)``.
    code
        0 where follow-up was cut, else the position of the cause among `causes` plus 1; shape ``(n,)``.
    causes
        The names of the causes.
    """

    time: Array
    code: Codes
    causes: tuple[str, ...]


def checked_causes(
    time: Any, cause: Any, *, censored: Any = 0, causes: Mapping[Any, str] | None = None
) -> CompetingRisks:
    """Return follow-up times and causes as arrays, or refuse.

    Parameters
    ----------
    time
        Follow-up times from randomisation, each finite and above 0, shape ``(n,)``.
    cause
        What ended each patient's follow-up: a code or word, shape ``(n,)``.
    censored
        The code of follow-up that was cut.
    causes
        What each other code means, in display order; by default the codes found, sorted, are their own names.

    Raises
    ------
    DataError
        If a time is not usable, a cause is missing, or a code is not among `causes`.
    AnalysisError
        If nobody had an event.
    """
    values = np.asarray(cause)
    if values.ndim != 1 or values.dtype.kind == "b":
        raise DataError(
            f"cause has shape {values.shape} and type {values.dtype}: pass one code of what happened a patient"
        )
    gone = pd.isna(values)
    if gone.any():
        raise DataError(f"cause is missing in {int(gone.sum())} of {values.size} rows: use {censored!r} for censored")
    which, distinct = pd.factorize(values)
    words = [_word(value) for value in distinct.tolist()]
    found = [word for word in sorted(set(words), key=_number_first) if word != _word(censored)]
    named = {_word(code): str(name) for code, name in causes.items()} if causes else {word: word for word in found}
    if _word(censored) in named:
        raise DataError(f"causes names the code {censored!r}, which stands for censored: name another code as censored")
    if len(set(named.values())) < len(named):
        raise DataError(f"causes is {list(named.values())}, but two causes cannot share a name: rename one")
    unknown = [word for word in found if word not in named]
    if unknown:
        raise DataError(f"cause holds the code {unknown[0]}, which is not among {', '.join(named)}: name it in causes")
    odd = [word for word in named if word.strip().lower() in NO_EVENT]
    if odd and not causes:
        raise DataError(
            f"cause has '{odd[0]}' as a cause of its own, while {censored!r} stands for censored: pass censored='{odd[0]}'"
        )
    place = {word: i + 1 for i, word in enumerate(named)}
    codes = np.array([place.get(word, 0) for word in words], dtype=np.intp)[which]
    times, _ = checked_times(time, codes > 0)
    if not codes.any():
        raise AnalysisError(f"{nobody(codes.size)} had an event of any cause: nothing can be estimated")
    return CompetingRisks(times, codes, tuple(named.values()))


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _number_first(word: str) -> tuple[int, float, str]:
    try:
        return 0, float(word), word
    except ValueError:
        return 1, 0.0, word


class IncidenceCurves(NamedTuple):
    """Cumulative incidences at the distinct times of one sample of k times and m causes.

    Attributes
    ----------
    time, n_risk, n_censor
        Shape ``(k,)``.
    n_event
        Events of each cause, shape ``(k, m)``.
    incidence, se
        Each cause's cumulative incidence from each time on and its standard error, shape ``(k, m)``.
    survival, survival_se
        The probability of no event of any cause, shape ``(k,)``.
    """

    time: Array
    n_risk: Array
    n_censor: Array
    n_event: Array
    incidence: Array
    se: Array
    survival: Array
    survival_se: Array


def aalen_johansen(time: Array, code: Codes, causes: int, variance: IncidenceVariance = "jackknife") -> IncidenceCurves:
    """Return the cumulative incidence of each cause.

    Parameters
    ----------
    time, code
        Checked follow-up and 0 for censored, 1 to `causes` for the cause; shape ``(n,)``.
    causes
        The number of causes.
    variance
        ``"jackknife"``: the infinitesimal jackknife over patients, as R's ``survfit``; ``"delta"``: the delta method with
        hypergeometric ties, as ``cmprsk::cuminc``. Both estimate the same variance.

    Returns
    -------
    IncidenceCurves
        ``F_j(t) = sum(S(s-) d_j / n)`` over times s up to t, S the Kaplan-Meier estimate of any event.

    References
    ----------
    Aalen OO, Johansen S. An empirical transition matrix for non-homogeneous Markov chains based on censored
    observations. Scand J Stat 1978;5:141-150.
    Gray RJ. A class of K-sample tests for comparing the cumulative incidence of a competing risk. Ann Stat
    1988;16:1141-1154.
    """
    if variance not in ("jackknife", "delta"):
        raise DataError(f"variance is '{variance}', but it must be 'jackknife' or 'delta'")
    distinct, place = distinct_times(time)
    size = distinct.size
    everyone = np.bincount(place, minlength=size)
    n_risk = np.cumsum(everyone[::-1])[::-1].astype(float)
    n_event = np.column_stack([np.bincount(place[code == j + 1], minlength=size) for j in range(causes)]).astype(float)
    either = n_event.sum(axis=1)
    survival = np.cumprod((n_risk - either) / n_risk)
    before = np.concatenate(([1.0], survival[:-1]))
    incidence = np.cumsum((before / n_risk)[:, None] * n_event, axis=0)
    counts = _Counted(place, code, n_risk, n_event, survival, before, incidence)
    squares = np.column_stack(
        [_delta(counts, j) if variance == "delta" else _jackknife(counts, j) for j in range(causes)]
    )
    left = np.where(n_risk > either, n_risk - either, np.inf)
    survival_se = survival * np.sqrt(np.cumsum(either / (n_risk * left)))
    return IncidenceCurves(
        distinct,
        n_risk,
        everyone - either,
        n_event,
        incidence,
        np.sqrt(np.maximum(squares, 0.0)),
        survival,
        survival_se,
    )


class _Counted(NamedTuple):
    place: Codes
    code: Codes
    n_risk: Array
    n_event: Array
    survival: Array
    before: Array
    incidence: Array


def _jackknife(counts: _Counted, cause: int) -> Array:
    """Return the sum over patients of squared influences on one cause's incidence, at each time.

    Until a patient leaves, the influence b(t) is that of being at risk, the same for all. Once gone, patient i moves
    ``F(t)`` by ``p_i - a_i F(t)``: a_i is the influence on ``log S``, which every later increment of F inherits.
    """
    n, d, own = counts.n_risk, counts.n_event.sum(axis=1), counts.n_event[:, cause]
    hazard = own / n
    stays = np.where(n > d, n - d, np.inf)
    drift = np.cumsum(d / (n * stays))
    drift_before = np.concatenate(([0.0], drift[:-1]))
    at_risk = np.cumsum(counts.before * hazard * (drift_before - 1 / n))
    place, incidence = counts.place, counts.incidence[:, cause]
    had = counts.code > 0
    # The influence on -log S: what being at risk adds up to, less the jump of the patient's own event.
    a = -drift[place] + had / stays[place]
    p = at_risk[place] + (counts.code == cause + 1) * (counts.before / n)[place] + a * incidence[place]
    size = n.size
    pp, pa, aa = (np.cumsum(np.bincount(place, one, size)) for one in (p * p, p * a, a * a))
    remaining = n - np.bincount(place, minlength=size)
    return np.asarray(remaining * at_risk**2 + pp - 2 * incidence * pa + incidence**2 * aa)


def _delta(counts: _Counted, cause: int) -> Array:
    """Return the variance of one cause's incidence by the delta method, at each time.

    An increment of a cause's hazard at s moves ``F(t)`` by ``(F(s) - F(t)) / S(s)``, the cause itself by 1 more; its
    variance is ``S(s-)^2 d / n^2 (1 - (d - 1) / (n - 1))``, the other causes taken together.
    """
    n, own = counts.n_risk, counts.n_event[:, cause]
    other = counts.n_event.sum(axis=1) - own
    f = counts.incidence[:, cause]
    inverse = np.where(counts.survival > 0, 1 / np.where(counts.survival > 0, counts.survival, 1.0), 0.0)
    total = np.zeros(n.size)
    for d, extra in ((own, 1.0), (other, 0.0)):
        tie = 1 - np.maximum(d - 1, 0.0) / np.maximum(n - 1, 1.0)
        tau = counts.before**2 * tie * d / n**2
        if extra == 0:
            tau = np.where(counts.survival > 0, tau, 0.0)
        level = extra + f * inverse
        squares = (np.cumsum(one) for one in (tau * level**2, tau * level * inverse, tau * inverse**2))
        first, mixed, last = squares
        total += first - 2 * f * mixed + f**2 * last
    return total


def incidence_limits(incidence: npt.NDArray[Any], se: npt.NDArray[Any], interval: str, z: float) -> tuple[Array, Array]:
    """Return pointwise limits of a cumulative incidence F, NaN where F is 0 or 1.

    ``"log-log"``: those of ``1 - F`` read as R's ``survfit`` does, ``F^exp(-+ z se / (F log F))``; ``"plain"``:
    ``F -+ z se`` within 0 and 1; ``"complementary log-log"``: ``1 - (1 - F)^exp(-+ z se / ((1 - F) log(1 - F)))``.
    """
    f = np.where((incidence > 0) & (incidence < 1), incidence, np.nan)
    if interval == "plain":
        return np.clip(f - z * se, 0.0, 1.0), np.clip(f + z * se, 0.0, 1.0)
    if interval == "log-log":
        width = z * se / (f * np.log(f))
        return f ** np.exp(-width), f ** np.exp(width)
    if interval == "complementary log-log":
        width = z * se / ((1 - f) * np.log(1 - f))
        return 1 - (1 - f) ** np.exp(width), 1 - (1 - f) ** np.exp(-width)
    raise DataError(f"interval is '{interval}', but it must be 'log-log', 'plain' or 'complementary log-log'")

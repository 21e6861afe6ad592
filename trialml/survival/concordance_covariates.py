"""Uno's concordance where patients are censored by their covariates: every pair has a weight of its own."""

from __future__ import annotations

import numpy as np

from trialml.errors import AnalysisError
from trialml.survival.ipcw import Censoring, Outcome
from trialml.survival.ties import Array, Flags, distinct_times

__all__ = ["covariate_pairs"]


def covariate_pairs(
    outcome: Outcome, score: Array, within: Flags, censoring: Censoring
) -> tuple[float, float, float, Array, Array]:
    """Return the weighted pairs of each event with everybody who did not have it by then.

    Parameters
    ----------
    outcome
        Follow-up, shape ``(n,)`` each.
    score
        Higher is worse, shape ``(n,)``.
    within
        The events that count as the first of a pair, shape ``(n,)``.
    censoring
        Of these patients, by their covariates.

    Returns
    -------
    won, total, number : float
        The weighted sums of pairs in the right order (ties in score count half) and of all, and how many there are.
    of_won, of_total : ndarray of shape (n,)
        Each patient's share in these sums, as first or second of a pair.

    Notes
    -----
    An event of patient i at T weighs ``1 / G(T- | x_i)``; patient j who is still followed then ``1 / G(T- | x_j)``, and one who
    had a competing event at C before ``1 / G(C- | x_j)``. No sum over ranks gives such pairs: the work grows with n times the
    number of distinct event times.
    """
    times, position = distinct_times(outcome.time)
    own = np.zeros(outcome.time.size)
    of_won, of_total = np.zeros(score.size), np.zeros(score.size)
    number = 0.0
    # The weight of a competing event's patient stays what it was at that event.
    for k in np.unique(position[outcome.competing]):
        here = outcome.competing & (position == k)
        own[here] = _weight(censoring, times[k])[here]
    for k in np.unique(position[within]):
        weight = _weight(censoring, times[k])
        followed = (position > k) | ((position == k) & ~outcome.event)
        second = np.where(followed, weight, np.where(outcome.competing & (position < k), own, 0.0))
        partners = np.flatnonzero(second > 0)
        for i in np.flatnonzero(within & (position == k)):
            pair = weight[i] * second[partners]
            right = (score[i] > score[partners]) + 0.5 * (score[i] == score[partners])
            of_won[i] += pair @ right
            of_total[i] += pair.sum()
            of_won[partners] += pair * right
            of_total[partners] += pair
            number += partners.size
    # Each pair stands with both of its patients.
    return float(of_won.sum() / 2), float(of_total.sum() / 2), number, of_won, of_total


def _weight(censoring: Censoring, time: float) -> Array:
    uncensored = censoring.uncensored(time)
    if uncensored.min() <= 0:
        raise AnalysisError(
            f"the censoring curve of a patient is 0 before the event at {time:g}: set tau below that time or take the curve from the "
            "same follow-up"
        )
    return np.asarray(1 / uncensored)

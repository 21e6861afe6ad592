"""Statistics of one stage: the z of a subgroup and of the full population from patients who are new in that stage."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trialml.errors import AnalysisError
from trialml.survival.logrank import logrank_arrays
from trialml.survival.ties import checked_times

__all__ = ["PopulationScores", "StageZ", "logrank_increment", "population_scores", "stratified_rates_z"]

Vector = NDArray[np.float64]


class PopulationScores(NamedTuple):
    """Log-rank sums at one look, within the subgroup and within the rest of the patients.

    Attributes
    ----------
    subgroup, subgroup_variance
        Observed less expected events of the experimental arm among the subgroup's patients, and its variance.
    rest, rest_variance
        The same among all others.
    """

    subgroup: float
    subgroup_variance: float
    rest: float
    rest_variance: float


class StageZ(NamedTuple):
    """The z of one stage, positive in favour of the experimental arm.

    Attributes
    ----------
    subgroup, full
        z of the two populations; the full population's test is stratified by the subgroup.
    subgroup_share
        The subgroup's share of the information of the stage; the square root is the correlation of the two.
    """

    subgroup: float
    full: float
    subgroup_share: float


def stratified_rates_z(
    events_experimental: ArrayLike,
    patients_experimental: ArrayLike,
    events_control: ArrayLike,
    patients_control: ArrayLike,
) -> float:
    """Return the z of a difference in rates, one stratum or several, with the pooled variance within strata.

    ``sum w (p1 - p0) / sqrt(sum w p (1 - p))`` with ``w = n1 n0 / (n1 + n0)`` and p the pooled rate of a stratum;
    no continuity correction.

    Parameters
    ----------
    events_experimental, patients_experimental, events_control, patients_control
        Shape (strata,) or scalar: counts of the patients who are new in the stage. An event is a good outcome.

    Returns
    -------
    float
        Positive where the experimental arm has the higher rate.

    Raises
    ------
    AnalysisError
        If an arm of a stratum has no patient or more events than patients, or every rate is 0 or 1.

    References
    ----------
    Wassmer, G. and Brannath, W. (2016). Group Sequential and Confirmatory Adaptive Designs in Clinical Trials.
    Springer, Cham. Chapter 11.
    """
    counts = [events_experimental, patients_experimental, events_control, patients_control]
    x1, n1, x0, n0 = (np.atleast_1d(np.asarray(one, dtype=float)) for one in counts)
    if not (np.all(n1 > 0) and np.all(n0 > 0)):
        raise AnalysisError("an arm has no patient in a stratum of this stage: leave the stratum out")
    if not (np.all((x1 >= 0) & (x1 <= n1)) and np.all((x0 >= 0) & (x0 <= n0))):
        raise AnalysisError("an arm has more events than patients, or fewer than 0: check the counts of the stage")
    weight, pooled = n1 * n0 / (n1 + n0), (x1 + x0) / (n1 + n0)
    variance = float(np.sum(weight * pooled * (1 - pooled)))
    if variance <= 0:
        raise AnalysisError(
            "everybody or nobody has the event in this stage: a rate of 0 or 1 in all strata tests nothing"
        )
    return float(np.sum(weight * (x1 / n1 - x0 / n0))) / math.sqrt(variance)


def population_scores(
    time: ArrayLike, event: ArrayLike, experimental: ArrayLike, subgroup: ArrayLike
) -> PopulationScores:
    """Return the log-rank sums of the data at one look, in the subgroup and in the rest.

    Parameters
    ----------
    time, event
        Shape (n,): follow-up at the look and whether it ended with the event.
    experimental, subgroup
        Shape (n,), true or false: arm, and whether the patient belongs to the subgroup.

    Returns
    -------
    PopulationScores
        Sums over the events; the hypergeometric variance.
    """
    t, happened = checked_times(time, event)
    arm = np.asarray(experimental, dtype=bool).astype(np.int64)
    member = np.asarray(subgroup, dtype=bool)
    sums = []
    for rows in (member, ~member):
        if not rows.any():
            sums += [0.0, 0.0]
            continue
        found = logrank_arrays(t[rows], happened[rows], arm[rows], 2)
        sums += [float(found.observed[1] - found.expected[1]), float(found.covariance[1, 1])]
    return PopulationScores(*sums)


def logrank_increment(now: PopulationScores, before: PopulationScores | None = None) -> StageZ:
    """Return the z of what a look has added, ``-(U - U_before) / sqrt(V - V_before)``, in both populations.

    The log-rank score of a trial, seen over calendar time, has independent increments, so that the stage-wise z
    are independent under the null hypothesis as long as the adaptation used the scores alone, and not, say,
    progression of patients who are still alive (Bauer and Posch 2004). The full population's score is the sum over
    subgroup and rest.

    Parameters
    ----------
    now, before
        Scores at this look and at the one before; None for the first look.

    Returns
    -------
    StageZ
        NaN for a population without a new event in both arms' risk sets.

    Raises
    ------
    AnalysisError
        If neither population has gained information.

    References
    ----------
    Wassmer, G. (2006). Planning and analyzing adaptive group sequential survival trials. Biometrical Journal 48,
    714-729.
    Jenkins, M., Stone, A. and Jennison, C. (2011). An adaptive seamless phase II/III design for oncology trials with
    subpopulation selection using correlated survival endpoints. Pharmaceutical Statistics 10, 347-356.
    """
    gained = np.asarray(now) - (np.zeros(4) if before is None else np.asarray(before))
    subgroup, rest = float(gained[1]), float(gained[3])
    if not subgroup + rest > 0:
        raise AnalysisError(
            f"the information has not increased since the look before (by {subgroup + rest:.3g}): a stage needs new events"
        )
    return StageZ(
        -float(gained[0]) / math.sqrt(subgroup) if subgroup > 0 else math.nan,
        -float(gained[0] + gained[2]) / math.sqrt(subgroup + rest),
        max(subgroup, 0.0) / (subgroup + max(rest, 0.0)),
    )

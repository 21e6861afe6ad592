"""What is observed of a group of patients that each repeat of a cross-fit defines anew."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.effects.contrast import HAZARD_RATIO
from trialml.errors import AnalysisError
from trialml.result import Z95, Estimate
from trialml.strata.crossfit import grid_sides
from trialml.strata.strata import Strata
from trialml.survival.cox import cox, fit_cox, score_residuals
from trialml.survival.product_limit import product_limit, step_at
from trialml.survival.ties import not_after
from trialml.validation.benefit import group_mean

__all__ = [
    "EnrichedGroup",
    "HeldOut",
    "StratumOutcomes",
    "enriched_groups",
    "gain_at_one_hazard_ratio",
    "one_hazard_ratio",
    "population_numbers",
]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


class HeldOut(Protocol):
    """Out-of-fold doubly robust scores, whoever made the rules."""

    @property
    def score(self) -> Floats:
        """Scores by nuisance models that had not seen the patient, shape (repeats, n)."""


@dataclass(frozen=True)
class StratumOutcomes:
    """The observed outcomes that effects in strata are read from, each of shape (n,)."""

    time: Floats
    event: Flags
    treated: Flags
    factor: NDArray[np.str_]


class EnrichedGroup(NamedTuple):
    """Strata that a next trial might enrol alone.

    Attributes
    ----------
    name
        Of the group, in words.
    places
        Of its strata in their order.
    """

    name: str
    places: tuple[int, ...]


def enriched_groups(strata: Strata, *, worst_is_low: bool) -> list[EnrichedGroup]:
    """Return the groups that leave out strata, one more each time.

    Parameters
    ----------
    strata
        Those by a benefit are enriched for the higher ones; those by the prognosis for the worse, where there is most to gain. The cells of
        a grid have no one order: the one with the worst prognosis and the highest benefit score is enriched.
    worst_is_low
        Whether a lower prediction is the worse prognosis.
    """
    names, last = strata.names, len(strata.names) - 1
    if strata.kind == "risk by benefit":
        place = grid_sides(strata)[1] - 1 if worst_is_low else last
        return [EnrichedGroup(f"{names[place]} only", (place,))] if last else []
    if strata.kind == "risk" and worst_is_low:
        return [
            EnrichedGroup(f"{names[end]} and below" if end else f"{names[0]} only", tuple(range(end + 1)))
            for end in range(last - 1, -1, -1)
        ]
    return [
        EnrichedGroup(
            f"{names[first]} and above" if first < last else f"{names[first]} only", tuple(range(first, last + 1))
        )
        for first in range(1, last + 1)
    ]


def population_numbers(
    outcomes: StratumOutcomes, held: HeldOut, inside: Flags, horizon: float, months_per_unit: float
) -> dict[str, float]:
    """Return what is known of a group of patients that each repeat defined anew.

    Parameters
    ----------
    outcomes, held
        Observed outcomes and out-of-fold scores.
    inside
        Membership, shape (repeats, n).
    horizon, months_per_unit
        Where the control risk is read, and the unit of time in months.

    Returns
    -------
    dict
        ``share``, ``n``, ``events``, ``rmst_difference`` and ``hazard_ratio`` with ``_low`` and ``_high``,
        ``log_hazard_ratio``, ``log_hazard_ratio_se``, ``control_risk``, ``control_hazard_per_month``; NaN where a
        number cannot be estimated.
    """
    value, se = group_mean(held.score, inside)
    log_ratio, log_se = _log_hazard_ratio(outcomes, inside)
    risk, hazard = _control(outcomes, inside, horizon)
    return {
        "share": float(inside.mean()),
        "n": float(inside.sum(axis=1).mean()),
        "events": float((inside & outcomes.event).sum(axis=1).mean()),
        "rmst_difference": value,
        "rmst_difference_low": value - Z95 * se,
        "rmst_difference_high": value + Z95 * se,
        "hazard_ratio": math.exp(log_ratio),
        "hazard_ratio_low": math.exp(log_ratio - Z95 * log_se),
        "hazard_ratio_high": math.exp(log_ratio + Z95 * log_se),
        "log_hazard_ratio": log_ratio,
        "log_hazard_ratio_se": log_se,
        "control_risk": risk,
        "control_hazard_per_month": hazard / months_per_unit,
    }


def _log_hazard_ratio(outcomes: StratumOutcomes, inside: Flags) -> tuple[float, float]:
    """Average the stratified Cox log hazard ratio of a stratum over repeats; robust standard error of one repeat."""
    values, variances = [], []
    for member in inside:
        rows = np.flatnonzero(member)
        arm = outcomes.treated[rows].astype(np.float64)[:, None]
        if min(outcomes.event[rows][arm[:, 0] == a].sum() for a in (0.0, 1.0)) == 0:
            return math.nan, math.nan
        known = (outcomes.time[rows], outcomes.event[rows], arm)
        try:
            fit = fit_cox(*known, strata=outcomes.factor[rows])
        except AnalysisError:
            return math.nan, math.nan
        residuals = score_residuals(*known, fit.coefficients, strata=outcomes.factor[rows])
        values.append(float(fit.coefficients[0]))
        variances.append(float(((residuals @ fit.covariance) ** 2).sum()))
    return float(np.mean(values)), math.sqrt(float(np.mean(variances)))


def one_hazard_ratio(outcomes: StratumOutcomes) -> Estimate:
    """Return the hazard ratio of all patients, stratified by the cells of the randomisation; NaN where it has none."""
    arm = pd.DataFrame({"arm": outcomes.treated.astype(np.float64)})
    try:
        found = cox(outcomes.time, outcomes.event, arm, strata=outcomes.factor).hazard_ratio("arm")
    except AnalysisError:
        return Estimate(math.nan, scale=HAZARD_RATIO, n=len(outcomes.time), events=int(outcomes.event.sum()))
    return replace(found, scale=HAZARD_RATIO)


def gain_at_one_hazard_ratio(outcomes: StratumOutcomes, inside: Flags, ratio: float, tau: float) -> float:
    """Average over repeats the area between S(t)**ratio and S(t) up to tau, S the control arm's Kaplan-Meier curve."""
    gains = []
    for member in inside:
        who = member & ~outcomes.treated
        if not who.any() or not not_after(tau, outcomes.time[who].max()):
            return math.nan
        curve = product_limit(outcomes.time[who], outcomes.event[who])
        used = curve.time < tau
        widths = np.diff(np.concatenate((curve.time[used], [tau])))
        survival = curve.survival[used]
        gains.append(float(((survival**ratio - survival) * widths).sum()))
    return float(np.mean(gains))


def _control(outcomes: StratumOutcomes, inside: Flags, horizon: float) -> tuple[float, float]:
    """Average over repeats the control arm's Kaplan-Meier risk at the horizon and its events per unit of time."""
    risks, hazards = [], []
    for member in inside:
        who = member & ~outcomes.treated
        if not who.any() or not not_after(horizon, outcomes.time[who].max()):
            return math.nan, math.nan
        curve = product_limit(outcomes.time[who], outcomes.event[who])
        risks.append(1 - float(step_at(curve.time, curve.survival, horizon)))
        hazards.append(float(outcomes.event[who].sum() / outcomes.time[who].sum()))
    return float(np.mean(risks)), float(np.mean(hazards))

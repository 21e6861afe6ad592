"""Does a covariate know the outcome? How well each predicts it alone: too well means that it was measured later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_catalogue import FAMILY_LEVEL
from trialml.data.quality_columns import Codes, code
from trialml.data.roles import Covariate
from trialml.errors import AnalysisError, DataError
from trialml.result import Result, counted, format_number
from trialml.survival.concordance import concordance
from trialml.survival.intervals import normal_quantile
from trialml.survival.ties import Array, Flags, checked_times, distinct_times

__all__ = ["Leakage", "leakage"]

TOO_WELL = 0.9
_WELL = 0.8
_STATUS_TOO_WELL = 0.95
_FEW_LEVELS = 10
_FEWEST_EVENTS = 20
_MOST_PATIENTS = 50_000
_MOST_SHOWN = 30


@dataclass(frozen=True, eq=False)
class Leakage(Result):
    """How well each covariate alone, and whether it is recorded, predicts the outcome.

    Attributes
    ----------
    rows
        One row a covariate and ``what`` (``value`` or ``whether recorded``): ``covariate``, ``c`` with ``low`` and ``high``
        (Harrell's concordance within arm, in the better direction, and its 95 % interval), ``status`` (how well it tells the
        event from censoring: area under the curve, or for few levels the share of patients told right, to two decimals),
        ``verdict`` (``ok``, ``note`` or ``warning``), ``reason`` and ``kind``.
    patients, of
        How many patients were looked at, of how many.
    """

    title = "Covariates that know the outcome"
    methods = (
        "Each covariate was taken alone, and so was whether it is recorded, and its concordance with the outcome was computed within arms. "
        "Baseline characteristics seldom reach 0.8; beyond 0.9 a covariate is likely to have been measured after randomisation."
    )
    references = (
        "Harrell FE, Lee KL, Mark DB. Multivariable prognostic models: issues in developing models, evaluating assumptions and adequacy, "
        "and measuring and reducing errors. Stat Med 1996;15:361-387.",
    )

    rows: pd.DataFrame
    patients: int
    of: int

    def frame(self) -> pd.DataFrame:
        """Return one row a covariate and what of it was looked at."""
        return self.rows

    def text(self) -> str:
        """Return which covariates predict too well, or which predicts best."""
        values = self.rows[self.rows["what"] == "value"]
        if values.empty:
            return "No covariate could be compared with the outcome."
        best = values.loc[values["c"].idxmax()]
        concordance_words = (
            f"{format_number(best['c'])} (95% CI {format_number(best['low'])} to {format_number(best['high'])})"
        )
        said = f"Taken alone, within arms, {best['covariate']} predicts the outcome best: concordance {concordance_words}, {counted(self.patients, 'patient')}."
        if self.patients < self.of:
            said += f" They are a random sample of {self.of:,}."
        warned = self.rows[self.rows["verdict"] == "warning"]
        if warned.empty:
            return f"{said} No covariate predicts it too well to have been measured before randomisation."
        return said + "".join(f" Warning: {row.covariate}, {row.what}: {row.reason}" for row in warned.itertuples())

    def scalars(self) -> dict[str, float]:
        """Return the largest concordance of a covariate alone, and the number of warnings."""
        values = self.rows.loc[self.rows["what"] == "value", "c"]
        largest = {"largest_single_concordance_apparent": float(values.max())} if len(values) else {}
        return {**largest, "leakage_warnings": float((self.rows["verdict"] == "warning").sum())}

    def table(self) -> pd.DataFrame:
        """Return the covariates, those that predict best first."""
        order = self.rows["verdict"].map(["warning", "note", "ok"].index)
        shown = self.rows.assign(order=order).sort_values(["order", "c"], ascending=[True, False], kind="stable")
        shown = shown.head(_MOST_SHOWN)
        intervals = [f"{row.c:.2f} ({row.low:.2f} to {row.high:.2f})" for row in shown.itertuples()]
        table = pd.DataFrame(
            {
                "Covariate": shown["covariate"].to_numpy(),
                "What of it": shown["what"].to_numpy(),
                "Concordance alone (95% CI)": intervals,
                "Verdict": shown["verdict"].to_numpy(),
                "Why": shown["reason"].to_numpy(),
            }
        )
        return table if (shown["reason"] != "").any() else table.drop(columns="Why")


class _Stratified(NamedTuple):
    value: float
    se: float


def leakage(
    time: Any, event: Any, baseline: pd.DataFrame, *, covariates: Sequence[Covariate], arm: Any, seed: int = 0
) -> Leakage:
    """Ask of each covariate whether it predicts the outcome better than a baseline characteristic can.

    Parameters
    ----------
    time, event
        Follow-up and whether the event ended it, shape ``(n,)``.
    baseline
        The covariates, one row a patient, missing as NaN or None.
    covariates
        Their roles; a constant one is passed over.
    arm
        One label a patient, shape ``(n,)``: pairs are compared within arms, so that the treatment's effect is no part of it.
    seed
        For the sample of 50,000 patients that is taken where there are more.

    Returns
    -------
    Leakage
        Harrell's concordance over the pairs within arms, that is the arms' values weighted by their comparable pairs, with the
        infinitesimal-jackknife standard error and an interval symmetric on the logit scale. A covariate may act in either
        direction, so the value is at least 0.5; the levels of a categorical covariate are ordered by their own events per
        follow-up, which flatters those of many levels: all are apparent. A **warning** is given beyond 0.9; where few levels tell
        the event from censoring in 95 % of the patients, with a fifth of the errors of no information; where the area under the
        curve for the event, whatever its time, exceeds 0.95; and where whether the covariate is recorded predicts the outcome
        (concordance against 0.5, level 0.001 over all covariates). A **note** is given beyond 0.8.

    Raises
    ------
    DataError
        If lengths differ, or times or events are not what they must be.
    AnalysisError
        If there are fewer than 20 events.
    """
    times, flags = checked_times(time, event, needs_event=True)
    arms = pd.factorize(np.asarray(arm, dtype=object))[0]
    if len(arms) != len(times) or len(baseline) != len(times):
        raise DataError(
            f"there are {len(times):,} times, {len(arms):,} arms and {len(baseline):,} rows: pass one each a patient"
        )
    if flags.sum() < _FEWEST_EVENTS:
        raise AnalysisError(f"there are {flags.sum()} events, but this check needs {_FEWEST_EVENTS}: use more data")
    n = len(times)
    if n > _MOST_PATIENTS:
        chosen = np.sort(np.random.default_rng(seed).choice(n, _MOST_PATIENTS, replace=False))
        times, flags, arms, baseline = times[chosen], flags[chosen], arms[chosen], baseline.iloc[chosen]
    outcome = _Outcome(times, flags, np.asarray(arms))
    rows: list[tuple[object, ...]] = []
    for covariate in covariates:
        coded = code(baseline[covariate.name])
        if len(coded.levels) > 1:
            rows.append(_of_value(covariate, coded, outcome))
        if SMALLEST_CELL <= coded.known <= len(times) - SMALLEST_CELL:
            rows.append(_of_recording(covariate, coded, outcome, FAMILY_LEVEL / len(covariates)))
    columns = ["covariate", "what", "c", "low", "high", "status", "verdict", "reason"]
    frame = pd.DataFrame([row for row in rows if not math.isnan(float(str(row[2])))], columns=columns)
    return Leakage(frame.assign(kind="apparent"), len(times), n)


class _Outcome(NamedTuple):
    time: Array
    event: Flags
    arm: npt.NDArray[np.intp]


def _of_value(covariate: Covariate, coded: Codes, outcome: _Outcome) -> tuple[object, ...]:
    known = coded.codes >= 0
    codes = coded.codes[known]
    part = _Outcome(outcome.time[known], outcome.event[known], outcome.arm[known])
    events = np.bincount(codes, weights=part.event, minlength=len(coded.levels))
    ordered = covariate.kind != "categorical"
    score = codes.astype(float)
    if not ordered:
        followed = np.bincount(codes, weights=part.time, minlength=len(coded.levels))
        score = (events / np.maximum(followed, np.finfo(float).tiny))[codes]
    found = _within_arms(part, score)
    few = len(coded.levels) <= _FEW_LEVELS
    told, no_information = _told(events.astype(float), coded.counts), max(part.event.mean(), 1 - part.event.mean())
    status = told if few else _area(score, part.event)
    value = max(found.value, 1 - found.value)
    verdict, reason = "ok", ""
    if value >= TOO_WELL:
        verdict, reason = "warning", f"its concordance is {format_number(value)}: check when it was measured."
    elif few and told >= _STATUS_TOO_WELL and 1 - told <= 0.2 * (1 - no_information):
        verdict, reason = (
            "warning",
            f"its levels tell who had the event in {100 * told:.0f} % of the patients: check when it was measured.",
        )
    elif not few and status >= _STATUS_TOO_WELL:
        verdict, reason = (
            "warning",
            f"it tells who had the event with an area under the curve of {format_number(status)}: check when it was measured.",
        )
    elif value >= _WELL:
        verdict, reason = "note", "it predicts better than baseline characteristics usually do."
    limits = _limits(value, found.se)
    return (covariate.label, "value", value, *limits, round(status, 2), verdict, reason)


def _of_recording(covariate: Covariate, coded: Codes, outcome: _Outcome, level: float) -> tuple[object, ...]:
    missing = coded.codes < 0
    found = _within_arms(outcome, missing.astype(float))
    value = max(found.value, 1 - found.value)
    predicts = found.se > 0 and abs(found.value - 0.5) > normal_quantile(1 - level) * found.se
    reason = "those without a value fare differently, beyond chance: ask why it was not recorded." if predicts else ""
    verdict = "warning" if predicts else "ok"
    limits = _limits(value, found.se)
    status = _area(missing.astype(float), outcome.event)
    return (covariate.label, "whether recorded", value, *limits, round(status, 2), verdict, reason)


def _within_arms(outcome: _Outcome, score: Array) -> _Stratified:
    """Return the concordance over the pairs within arms with its error; NaN where no arm has a comparable pair.

    The value is concordant over comparable pairs, both summed over arms, and the error the root of the sum of squared influences
    on that ratio, as in R's ``survival::concordance`` with ``strata()``.
    """
    parts, rows, values, pairs = [], [], [], []
    for place in np.unique(outcome.arm):
        own = outcome.arm == place
        if not outcome.event[own].any():
            continue
        try:
            parts.append(concordance(outcome.time[own], outcome.event[own], score[own]))
        except AnalysisError:
            continue  # an arm whose only events are its last has no pair to compare
        rows.append(_pairs_of_each(outcome.time[own], outcome.event[own]))
        values.append(parts[-1].value)
        pairs.append(parts[-1].comparable)
    if not parts:
        return _Stratified(math.nan, math.nan)
    total = float(np.sum(pairs))
    value = float(np.dot(values, pairs)) / total
    squares = 0.0
    for found, taken in zip(parts, rows, strict=True):
        influence = (found.influence * found.comparable + (found.value - value) * taken) / total
        squares += float(influence @ influence)
    return _Stratified(value, math.sqrt(squares))


def _pairs_of_each(time: Array, event: Flags) -> Array:
    """Return in how many comparable pairs each patient is, as the one with the earlier event or as the other."""
    moments, block = distinct_times(time)
    events = np.bincount(block, weights=event, minlength=len(moments))
    leaving = np.bincount(block, minlength=len(moments))
    after = leaving[::-1].cumsum()[::-1] - leaving
    censored = leaving - events
    before = events.cumsum() - events
    as_first = np.where(event, (after + censored)[block], 0.0)
    as_second = before[block] + np.where(event, 0.0, events[block])
    return np.asarray(as_first + as_second, dtype=float)


def _limits(value: float, se: float) -> tuple[float, float]:
    if not 0 < value < 1:
        return value, value
    width = normal_quantile(0.95) * se / (value * (1 - value))
    centre = math.log(value / (1 - value))
    return 1 / (1 + math.exp(-centre + width)), 1 / (1 + math.exp(-centre - width))


def _told(events: Array, counts: npt.NDArray[np.int64]) -> float:
    """Return the share of patients told right by the commoner status of their level; levels of few tell nothing."""
    enough = counts >= SMALLEST_CELL
    return float(np.maximum(events, counts - events)[enough].sum() / max(int(counts.sum()), 1))


def _area(score: Array, event: Flags) -> float:
    """Return the area under the curve of a score for the event, whatever its time, in the better direction."""
    from scipy.stats import rankdata

    m, n = int(event.sum()), int((~event).sum())
    if not m or not n:
        return math.nan
    area = (float(rankdata(score)[event].sum()) - m * (m + 1) / 2) / (m * n)
    return max(area, 1 - area)

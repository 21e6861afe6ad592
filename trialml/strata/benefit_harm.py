"""Benefit against harm by stratum, on one page: what is gained and who suffers an adverse event, both with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import suppressed_table
from trialml.errors import DataError
from trialml.result import COLOURS, Z95, Estimate, Result, format_count, format_number, plain_text
from trialml.strata.effects import StratumEffects
from trialml.survival.aalen_johansen import aalen_johansen
from trialml.survival.product_limit import step_at
from trialml.survival.ties import not_after

__all__ = ["BenefitHarm", "HarmOutcomes", "benefit_harm"]

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
ALL = "All patients"


@dataclass(frozen=True)
class HarmOutcomes:
    """When an adverse event came first, each of shape (n,), for the same patients as the strata.

    `time` is NaN for who was never at risk (not treated); `cause` is 0 censored, 1 the event, 2 and on what competes.
    """

    time: Floats
    cause: NDArray[np.intp]
    treated: Flags


class _Incidence(NamedTuple):
    """One arm's share with the event by the horizon in one group of patients."""

    patients: int
    events: int
    value: float
    se: float


@dataclass(frozen=True, eq=False)
class BenefitHarm(Result):
    """The gain in event-free time and the additional risk of an adverse event, all patients first, then one row a stratum."""

    title = "Benefit against harm by stratum"
    figure_size = (7.2, 3.4)
    methods = (
        "Benefit is the difference in restricted mean event-free time, of all randomised patients; harm is the difference in the "
        "cumulative incidence of the first adverse event (Aalen-Johansen: death and discontinuation before it compete), of the patients at "
        "risk of it, with jackknife standard errors. Both are given by stratum and are "
        "cross-fitted: in each repeat of the cross-validation a patient's stratum comes from a rule that had not seen the "
        "patient; differences are averaged over repeats, with the standard error of a single repeat. Benefit and harm are on scales of their own and are not added up."
    )
    references = (
        "Allignol A, Beyersmann J, Schmoor C. Statistical issues in the analysis of adverse events in time-to-event data. Pharm Stat "
        "2016;15:297-305.",
    )

    rows: pd.DataFrame
    """Columns stratum, rule, benefit, benefit_low, benefit_high, harm, harm_low, harm_high, harm_se (risk differences; NaN where an arm
    was not followed so long), control_risk, experimental_risk, control_n, experimental_n (patients at risk), control_events,
    experimental_events (by the horizon, means over repeats); the events and risks of a stratum with a small cell are NaN."""
    harm: str
    horizon: float
    harm_unit: str
    benefit: str
    tau: float
    unit: str
    repeats: int

    def frame(self) -> pd.DataFrame:
        """Return all patients, then one row a stratum."""
        return self.rows

    def estimate(self, stratum: str, of: str = "harm") -> Estimate:
        """Return the ``"benefit"`` or the ``"harm"`` of a stratum, or of ``"All patients"``."""
        row = self.rows[self.rows["stratum"] == stratum].iloc[0]
        scale = f"difference in the risk of {self.harm}" if of == "harm" else f"RMST difference, {self.benefit}"
        kind = "direct" if stratum == ALL else "crossfit"
        return Estimate(row[of], row[f"{of}_low"], row[f"{of}_high"], scale, "" if of == "harm" else self.unit, kind)  # type: ignore[arg-type]

    def text(self) -> str:
        """Return benefit and harm of all patients and of the outer strata, and what the intervals allow to say."""
        said = [f"{self._both(ALL)}."]
        names = self.rows["stratum"].tolist()[1:]
        if len(names) > 1:
            said.append(
                f"Cross-fitted over {self.repeats} repeats: {'; '.join(self._both(one) for one in (names[0], names[-1]))}."
            )
        if self.rows["harm"].isna().any():
            without = ", ".join(self.rows.loc[self.rows["harm"].isna(), "stratum"])
            said.append(f"Not followed to {self.horizon:g} {self.harm_unit} in an arm, so without harm: {without}.")
        if len(names) > 1:
            said.append(self._verdict(names))
        return " ".join(said)

    def _both(self, stratum: str) -> str:
        gain, loss = self.estimate(stratum, "benefit"), self.estimate(stratum)
        harm = "not estimable" if math.isnan(loss.value) else _percent(loss)
        return (
            f"{stratum}: RMST difference ({self.benefit}) over {format_number(self.tau)} {self.unit} {gain.text()}, difference in the risk of {self.harm} by "
            f"{self.horizon:g} {self.harm_unit} {harm}"
        )

    def _verdict(self, names: list[str]) -> str:
        """Say in which strata the intervals show a gain, and in which an additional risk."""
        own = self.rows.set_index("stratum").loc[names]
        gain, loss = (own.index[own[f"{of}_low"] > 0].tolist() for of in ("benefit", "harm"))
        told = (f"{'; '.join(chosen)}" if chosen else "no stratum" for chosen in (gain, loss))
        gains, losses = told
        return (
            f"The interval of the benefit lies above 0 in {gains}, that of the additional risk in {losses}. Intervals are of one stratum each, without "
            "adjustment for their number, and a difference between strata is not tested here."
        )

    def scalars(self) -> dict[str, float]:
        """Return benefit and harm of all patients and of each stratum with limits."""
        numbers: dict[str, float] = {}
        for row in self.rows.to_dict("records"):
            stratum = row["stratum"].lower().replace(" ", "_")
            for of in ("benefit", "harm"):
                name = f"{of}_against_{'harm' if of == 'benefit' else 'benefit'}_{stratum}"
                numbers |= {name: row[of], f"{name}_low": row[f"{of}_low"], f"{name}_high": row[f"{of}_high"]}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return all patients and the strata for reading."""
        at = f"{self.horizon:g} {self.harm_unit}"
        shown = []
        for row in self.rows.to_dict("records"):
            gain, loss = self.estimate(row["stratum"], "benefit"), self.estimate(row["stratum"])
            shown.append(
                {
                    "Stratum": row["stratum"],
                    "Rule": row["rule"],
                    f"Benefit: RMST difference (95% CI), {self.unit}": _limits(gain, 1),
                    "At risk of harm, control / experimental": f"{format_count(row['control_n'])} / {format_count(row['experimental_n'])}",
                    f"With {self.harm} by {at}": _pair(row, "events", format_count),
                    f"Risk by {at}": _pair(row, "risk", _share),
                    "Harm: risk difference (95% CI), percentage points": _limits(loss, 100),
                }
            )
        return pd.DataFrame(shown)

    def draw(self, figure: Any) -> None:
        """Draw benefit and harm side by side, all patients on top, then one row a stratum."""
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, of, times, colour in ((left, "benefit", 1, "experimental"), (right, "harm", 100, "third")):
            for place, row in enumerate(self.rows.to_dict("records")):
                shade = "black" if place == 0 else COLOURS[colour]
                axes.plot(
                    [times * row[f"{of}_low"], times * row[f"{of}_high"]], [place, place], color=shade, linewidth=2
                )
                axes.plot(times * row[of], place, "D" if place == 0 else "s", color=shade, markersize=7)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
        left.set_yticks(range(len(self.rows)), [plain_text(name) for name in self.rows["stratum"]])
        left.set_ylim(len(self.rows) - 0.4, -0.6)
        left.set_title("Benefit", loc="left", fontsize="medium")
        right.set_title(f"Harm: {plain_text(self.harm)}", loc="left", fontsize="medium")
        left.set_xlabel(f"RMST difference ({plain_text(self.unit)})\n(right of 0: experimental gains)")
        right.set_xlabel(
            f"Risk difference by {self.horizon:g} {self.harm_unit} (percentage points)\n(right of 0: experimental harms)"
        )


def _limits(estimate: Estimate, times: float) -> str:
    if math.isnan(estimate.value):
        return "not estimable"
    if math.isnan(estimate.low):
        return f"{format_number(times * estimate.value)} (no limits: an arm without events)"
    value, low, high = (format_number(times * one) for one in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _percent(estimate: Estimate) -> str:
    value, low, high = (format_number(100 * one) for one in (estimate.value, estimate.low, estimate.high))
    if math.isnan(estimate.low):
        return f"{value} percentage points (no limits: an arm without events)"
    return f"{value} percentage points (95% CI {low} to {high})"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _pair(row: dict[str, Any], of: str, words: Any) -> str:
    """Return a number of both arms in words; what is hidden is told from what is not known."""
    if math.isnan(row["control_events"]):
        return "suppressed"
    control, experimental = row[f"control_{of}"], row[f"experimental_{of}"]
    return "not known" if math.isnan(control + experimental) else f"{words(control)} / {words(experimental)}"


def benefit_harm(
    by_stratum: StratumEffects,
    overall: Estimate,
    outcomes: HarmOutcomes,
    members: NDArray[np.intp],
    *,
    harm: str,
    horizon: float,
    harm_unit: str,
    benefit: str,
) -> BenefitHarm:
    """Put the effect in each stratum beside the additional risk of an adverse event in the same patients.

    Parameters
    ----------
    by_stratum
        The effect by stratum, cross-fitted.
    overall
        The RMST difference of all patients.
    outcomes
        First adverse events of the patients that the strata are of.
    members
        Each patient's stratum in each repeat, shape (repeats, n), as `stratum_members` gives it.
    harm, benefit
        The adverse event, and the endpoint of the benefit, in words.
    horizon, harm_unit
        Where the cumulative incidence is read, and its unit of time.

    Returns
    -------
    BenefitHarm
        The difference of the arms' cumulative incidences, with the standard error ``sqrt(se1**2 + se0**2)`` of independent arms. Where
        fewer than 11 patients of a stratum and arm have the event, the events and risks of the stratum, and what would give
        them back, are hidden; differences are averages over repeats and stay. Where an arm has no event there are no limits.

    Raises
    ------
    DataError
        If the outcomes and the strata are not of the same number of patients, or a patient at risk has no cause.
    """
    n = members.shape[1]
    if not len(outcomes.time) == len(outcomes.cause) == len(outcomes.treated) == n:
        raise DataError(
            f"the strata are of {n} patients and the adverse events of {len(outcomes.time)}: pass the same patients"
        )
    everybody = _harm(outcomes, np.ones((1, n), dtype=np.bool_), horizon)
    gain = {"benefit": overall.value, "benefit_low": overall.low, "benefit_high": overall.high}
    rows = [{"stratum": ALL, "rule": "", **gain, **everybody}]
    for place, row in enumerate(by_stratum.rows.to_dict("records")):
        gain = {
            "benefit": row["rmst_difference"],
            "benefit_low": row["rmst_difference_low"],
            "benefit_high": row["rmst_difference_high"],
        }
        rows.append(
            {"stratum": row["stratum"], "rule": row["rule"], **gain, **_harm(outcomes, members == place, horizon)}
        )
    return BenefitHarm(
        _suppress(pd.DataFrame(rows)), harm, horizon, harm_unit, benefit, by_stratum.tau, by_stratum.unit, len(members)
    )  # fmt: skip


def _harm(outcomes: HarmOutcomes, inside: Flags, horizon: float) -> dict[str, float]:
    """Average the arms' incidences and their difference over repeats; the standard error is that of one repeat."""
    found = [
        [_incidence(outcomes, member & (outcomes.treated == arm), horizon) for arm in (False, True)]
        for member in inside
    ]
    values = np.array([[one.value for one in pair] for pair in found])
    variance = float(np.mean([sum(one.se**2 for one in pair) for pair in found]))
    control, experimental = values.mean(axis=0)
    difference, se = float(experimental - control), math.sqrt(variance)
    counts = np.array([[(one.patients, one.events) for one in pair] for pair in found], dtype=float).mean(axis=0)
    return {
        "harm": difference,
        "harm_low": difference - Z95 * se,
        "harm_high": difference + Z95 * se,
        "harm_se": se,
        "control_risk": float(control),
        "experimental_risk": float(experimental),
        "control_n": counts[0, 0],
        "experimental_n": counts[1, 0],
        "control_events": counts[0, 1],
        "experimental_events": counts[1, 1],
    }


def _incidence(outcomes: HarmOutcomes, who: Flags, horizon: float) -> _Incidence:
    own = who & ~np.isnan(outcomes.time)
    time, cause = outcomes.time[own], outcomes.cause[own]
    events = int(((cause == 1) & not_after(time, horizon)).sum())
    if not own.any() or (not not_after(horizon, time.max()) and (cause[time == time.max()] == 0).any()):
        return _Incidence(int(own.sum()), events, math.nan, math.nan)
    if not events:
        # Without an event there is no variance, and limits would have no width.
        return _Incidence(int(own.sum()), 0, 0.0, math.nan)
    curves = aalen_johansen(time, np.minimum(cause, 2), 2)
    value, se = (
        float(step_at(curves.time, column[:, 0], horizon, initial=0.0)) for column in (curves.incidence, curves.se)
    )
    return _Incidence(int(own.sum()), events, value, se)


def _suppress(rows: pd.DataFrame) -> pd.DataFrame:
    """Hide the events and risks of strata with a small cell, in both arms, and of what would give them back."""
    counts = rows.loc[1:, ["control_events", "experimental_events"]].round().to_numpy(dtype=np.int64)
    hidden = np.flatnonzero(suppressed_table(counts).any(axis=1)) + 1
    rows.loc[hidden, ["control_events", "experimental_events", "control_risk", "experimental_risk"]] = np.nan
    return rows

"""Enrol those who are likely to have the event: what a threshold of the predicted risk saves, and what it costs in screening."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.design.group_sequential import Design
from trialml.design.recalibration import Recalibrated, recalibrated, recalibrated_draws
from trialml.design.refusals import require_between, require_positive, require_power
from trialml.design.risk_evidence import RiskEvidence
from trialml.design.sample_size import survival_events
from trialml.errors import AnalysisError
from trialml.result import COLOURS, Result, format_count, format_number, plain_text

__all__ = ["PrognosticEnrichment", "enriched_patients", "prognostic_enrichment"]

Vector = NDArray[np.float64]

THRESHOLD_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the patients that are left out, from none on."""
MEASURES = ("event_rate", "patients", "screened", "months", "cost")
MOST_LEFT_OUT = 0.5
"""Where screening has no price, fewer patients are always needed the more are left out: no headline leaves out more than this share."""


@dataclass(frozen=True, eq=False)
class PrognosticEnrichment(Result):
    """A trial in patients above a risk threshold, by the share of patients left out.

    Attributes
    ----------
    rows
        One row a threshold: ``left_out, threshold`` (calibrated risk under control), ``selected`` (share), ``event_rate`` (under control,
        of the selected), ``patients, screened, months, cost`` and ``<each>_low, _high``; cost in money, NaN where no costs are given.
    relative_effect
        The hazard ratio, or the relative risk, that is taken to be the same for everybody.
    power, alpha
        One-sided alpha.
    concordance, implied_concordance
        What the model has on patients not seen, and what the calibrated risks would have between patients with and without the event.
    timed, horizon
        Whether it is a time to event, and the horizon in months.
    draws
        Of the slope and of the observed risk, for the intervals.
    max_months
        How long the trial may last; infinite for no limit.
    """

    title: ClassVar[str] = "Prognostic enrichment: thresholds of the predicted risk"
    figure_size: ClassVar[tuple[float, float]] = (7.2, 4.2)
    methods: ClassVar[str] = (
        "Predicted risks under control were recalibrated to the observed risk with the calibration slope of patients not used for fitting, or with the spread that "
        "their concordance bears out where that is smaller. For each "
        "threshold the event rate of the selected, the patients for the same power at one relative effect, and the screening, time and cost that "
        "they take were computed: events by Schoenfeld's formula over the probability of an event of a time to event, two proportions with "
        "pooled and separate variances of a binary endpoint. Intervals are percentiles over draws of slope, concordance and observed risk from their "
        "normal approximations; the binning of the risks is taken as known."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Kerr KF, Roth J, Zhu K, Thiessen-Philbrook H, Meisner A, Wilson FP, Coca S, Parikh CR. Evaluating biomarkers for prognostic "
        "enrichment of clinical trials. Clin Trials 2017;14:629-638.",
        "Temple R. Enrichment of clinical study populations. Clin Pharmacol Ther 2010;88:774-778.",
    )

    rows: pd.DataFrame
    relative_effect: float
    power: float
    alpha: float
    concordance: float
    implied_concordance: float
    timed: bool
    horizon: float
    draws: int
    max_months: float = math.inf

    def frame(self) -> pd.DataFrame:
        """Return one row a threshold, with what all share."""
        return self.rows.assign(
            relative_effect=self.relative_effect,
            power=self.power,
            alpha_one_sided=self.alpha,
            concordance=self.concordance,
            implied_concordance=self.implied_concordance,
        )

    @property
    def has_costs(self) -> bool:
        """Whether screening and treating have a price."""
        return bool(self.rows["cost"].notna().any())

    @property
    def least(self) -> dict[str, Any]:
        """Of the thresholds whose trial ends in time the one with the least cost; without costs, of those that leave out at most half of the patients, the one with the fewest."""
        allowed = self.rows[self.rows["months"] <= self.max_months]
        if not self.has_costs:
            allowed = allowed[allowed["left_out"] <= MOST_LEFT_OUT]
        by = "cost" if self.has_costs else "patients"
        return {str(name): value for name, value in self.rows.loc[allowed[by].idxmin()].items()}

    def text(self) -> str:
        """Return what the headline's threshold takes beside all comers, with intervals, and what limits the choice."""
        first, best = self.rows.iloc[0], self.least
        effect = "hazard ratio" if self.timed else "relative risk"
        said = (
            f"For a power of {100 * self.power:g} % at a {effect} of {format_number(self.relative_effect)} (alpha {self.alpha:g} one-sided) all "
            f"comers, of whom {_percents(first, 'event_rate')} have the event under control, take {_counts(first, 'patients')} patients"
        )
        limit = "" if math.isinf(self.max_months) else f" within {self.max_months:g} months"
        if best["left_out"] == 0:
            saves = (
                "is cheaper" if self.has_costs else f"that leaves out at most {100 * MOST_LEFT_OUT:.0f} % takes fewer"
            )
            return f"{said}; no threshold of the predicted risk {saves}{limit}."
        costs = f" and {_counts(best, 'cost')} in cost (all comers {_counts(first, 'cost')})" if self.has_costs else ""
        said = (
            f"{said}. Leaving out the {100 * best['left_out']:.0f} % with a risk below {100 * best['threshold']:.0f} % raises the rate to "
            f"{_percents(best, 'event_rate')} and takes {_counts(best, 'patients')} patients of {_counts(best, 'screened')} screened, "
            f"{_spans(best, 'months')} months{costs} (all comers {first['months']:.1f} months)."
        )
        if self.has_costs:
            return said
        more = best["screened"] - first["screened"]
        return (
            f"{said} No costs are given, so that no threshold is the best: the higher it is, the fewer are randomised, the more must be screened for each, and the fewer patients the trial "
            f"speaks for. This one randomises {format_count(first['patients'] - best['patients'])} fewer and screens {format_count(abs(more))} {'more' if more > 0 else 'fewer'} than all comers; it "
            f"has the fewest patients of those that leave out at most {100 * MOST_LEFT_OUT:.0f} %{' and end' + limit if limit else ''}. Give costs of screening and treating to weigh them."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return patients of all comers and what the best threshold takes."""
        best = self.least
        numbers = {"prognostic_all_comers_patients": float(self.rows["patients"].iloc[0])}
        numbers |= {f"prognostic_{name}": float(best[name]) for name in ("left_out", *MEASURES[:4])}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the thresholds as they are read."""
        records = self.rows.to_dict("records")
        table = pd.DataFrame(
            {
                "Left out": [f"{100 * row['left_out']:.0f} %" for row in records],
                "Risk at least": [f"{100 * row['threshold']:.1f} %" for row in records],
                "Event rate (95% interval)": [_percents(row, "event_rate") for row in records],
                "Randomised": [_counts(row, "patients") for row in records],
                "Screened": [_counts(row, "screened") for row in records],
                "Months": [_spans(row, "months") for row in records],
                "Cost": [_counts(row, "cost") for row in records],
            }
        )
        return table if self.has_costs else table.drop(columns="Cost")

    def draw(self, figure: Any) -> None:
        """Draw event rate, patients, screened and months by the share left out, with intervals."""
        names = {"event_rate": "Event rate, %", "patients": "Randomised", "screened": "Screened", "months": "Months"}
        if self.has_costs:
            names = {**names, "cost": "Cost"}
            del names["months"]
        for axes, (name, label) in zip(figure.subplots(2, 2).ravel(), names.items(), strict=True):
            times = 100 if name == "event_rate" else 1
            x = 100 * self.rows["left_out"]
            axes.fill_between(
                x, times * self.rows[f"{name}_low"], times * self.rows[f"{name}_high"],
                color=COLOURS["experimental"], alpha=0.15, linewidth=0,
            )  # fmt: skip
            axes.plot(x, times * self.rows[name], color=COLOURS["experimental"], marker="o", markersize=3)
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.set_xlabel("Patients left out, %", fontsize=8)
            axes.set_ylabel(plain_text(label), fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)


def _percents(row: Any, name: str) -> str:
    low, high = (100 * row[f"{name}_{side}"] for side in ("low", "high"))
    return f"{100 * row[name]:.1f} % ({low:.1f} to {high:.1f})"


def _counts(row: Any, name: str) -> str:
    return f"{format_count(row[name])} ({format_count(row[f'{name}_low'])} to {format_count(row[f'{name}_high'])})"


def _spans(row: Any, name: str) -> str:
    return f"{row[name]:.1f} ({row[f'{name}_low']:.1f} to {row[f'{name}_high']:.1f})"


class _Asked(NamedTuple):
    timed: bool
    horizon: float
    effect: float
    design: Design
    screened_per_month: float
    follow_up_months: float
    cost_screen: float
    cost_patient: float


def prognostic_enrichment(
    evidence: RiskEvidence,
    *,
    relative_effect: float,
    screened_per_month: float,
    follow_up_months: float,
    power: float = 0.9,
    alpha: float = 0.025,
    allocation_ratio: float = 1.0,
    cost_screen: float | None = None,
    cost_patient: float | None = None,
    max_months: float = math.inf,
    left_out: Sequence[float] = THRESHOLD_SHARES,
    draws: int = 500,
    seed: int = 1,
) -> PrognosticEnrichment:
    """Plan a trial above each of several thresholds of the predicted risk.

    Parameters
    ----------
    evidence
        The spread of risks and the performance of the model on patients not seen.
    relative_effect
        The hazard ratio (of a time to event) or the relative risk (of a binary endpoint), below 1, the same for everybody.
    screened_per_month, follow_up_months
        Patients who can be screened per month; months from the last patient in to the analysis. Of a time to event each patient is taken to
        be followed for `follow_up_months`, a hazard constant in time from the risk by the horizon.
    power, alpha, allocation_ratio
        One-sided alpha; experimental to control.
    cost_screen, cost_patient
        Both or neither; above 0.
    max_months
        How long the trial may last: a threshold that takes longer stands in the table and is not the headline.
    left_out
        Shares of the patients with the lowest risks that are left out, the first one 0.
    draws, seed
        Of the slope and the observed risk, for the intervals.

    Returns
    -------
    PrognosticEnrichment

    Raises
    ------
    AnalysisError
        If the endpoint is continuous or its event a benefit, a number is outside its range, the calibration slope is not above 0, or even a trial
        in all comers lasts longer than it may.
    """
    asked = _asked(evidence, locals())
    shares = _checked_shares(left_out)
    centre = recalibrated(evidence)
    best = _by_threshold(centre, shares, asked)
    if best[0, MEASURES.index("months")] > max_months:
        patients, _, months = best[0, 1:4]
        raise AnalysisError(
            f"accrual is too slow: at {screened_per_month:g} screened per month {format_count(patients)} patients of all comers take "
            f"{months:.1f} months where {max_months:g} are allowed: screen more per month or allow a longer trial"
        )
    drawn = np.stack([_by_threshold(one, shares, asked) for one in recalibrated_draws(evidence, draws, seed)], axis=0)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    rows = pd.DataFrame(
        {"left_out": shares, "threshold": [centre.threshold(share) for share in shares], "selected": 1 - shares}
    )
    for place, name in enumerate(MEASURES):
        for side, values in (("", best), ("_low", low), ("_high", high)):
            rows[f"{name}{side}"] = values[:, place]
    return PrognosticEnrichment(
        rows,
        relative_effect,
        power,
        alpha,
        evidence.concordance.value,
        centre.concordance(),
        asked.timed,
        evidence.endpoint.horizon_months,
        draws,
        max_months,
    )


def _asked(evidence: RiskEvidence, given: Mapping[str, Any]) -> _Asked:
    endpoint = evidence.endpoint
    if endpoint.kind == "continuous":
        raise AnalysisError(
            f"the endpoint '{endpoint.name}' is continuous and has no event rate to raise: a prognostic score of it serves the adjusted analysis"
        )
    if endpoint.kind == "binary" and endpoint.higher_is_better:
        raise AnalysisError(
            f"the event '{endpoint.name}' is a benefit: prognostic enrichment selects those who are likely to do badly, so name the endpoint by its harm"
        )
    effect = require_positive("relative_effect", given["relative_effect"])
    if effect >= 1:
        raise AnalysisError(
            f"relative_effect is {effect:g}, which does not favour the experimental arm: give one below 1"
        )
    costs = [given["cost_screen"], given["cost_patient"]]
    if (costs[0] is None) != (costs[1] is None):
        raise AnalysisError("one of cost_screen and cost_patient is given without the other: give both, or neither")
    numbers = [
        math.nan if cost is None else require_positive(name, cost)
        for name, cost in zip(("cost_screen", "cost_patient"), costs, strict=True)
    ]
    require_power(given["power"], given["alpha"])
    if int(given["draws"]) < 20:
        raise AnalysisError(f"draws is {given['draws']}: an interval needs at least 20")
    design = Design(alpha=given["alpha"], power=given["power"], allocation_ratio=given["allocation_ratio"])
    if endpoint.timed:
        require_positive("the horizon of the risk, in months,", endpoint.horizon_months)
    return _Asked(
        endpoint.timed, endpoint.horizon_months, effect, design,
        require_positive("screened_per_month", given["screened_per_month"]),
        require_positive("follow_up_months", given["follow_up_months"]), *numbers,
    )  # fmt: skip


def _checked_shares(left_out: Sequence[float]) -> Vector:
    shares = np.asarray(left_out, dtype=np.float64)
    if shares.size == 0 or shares[0] != 0 or (np.diff(shares) <= 0).any() or shares[-1] >= 1:
        raise AnalysisError(
            f"the shares left out are {[float(share) for share in shares]}: give ascending shares below 1, the first one 0 for all comers"
        )
    for share in shares[1:]:
        require_between("a share left out", float(share), 0.0, 1.0)
    return shares


def _by_threshold(known: Recalibrated, shares: Vector, asked: _Asked) -> Vector:
    """Return event rate, patients, screened, months and cost by threshold, shape (thresholds, 5)."""
    found = []
    for share in shares:
        kept = known.above(float(share))
        rate = float(kept.risk @ kept.share)
        patients = enriched_patients(kept, asked.effect, asked.design, follow_up_months=asked.follow_up_months if asked.timed else None,
                                     horizon_months=asked.horizon)  # fmt: skip
        screened = patients / (1 - share)
        months = screened / asked.screened_per_month + asked.follow_up_months
        found.append((rate, patients, screened, months, asked.cost_screen * screened + asked.cost_patient * patients))
    return np.array(found)


def enriched_patients(
    kept: Recalibrated,
    effect: float,
    design: Design,
    *,
    follow_up_months: float | None,
    horizon_months: float = math.nan,
) -> float:
    """Return the patients that a trial takes in those with the risks given; not rounded.

    Parameters
    ----------
    kept
        Risks under control by the horizon and their shares.
    effect
        Hazard ratio (with `follow_up_months`), or relative risk.
    design
        Alpha, power and allocation.
    follow_up_months, horizon_months
        Of a time to event: how long each patient is followed, and where the risks are read; None for a binary endpoint.

    Returns
    -------
    float
        Schoenfeld's events over the mean probability of an event ``1 - (1 - risk)^(f / h)`` (to the power of the hazard ratio in the experimental
        arm), f the follow-up and h the horizon; or, with p the rate under control, q that under treatment and m their mean by allocation, the size
        of two proportions with ``(z_a sqrt(m (1 - m) (1 / s + 1 / (1 - s))) + z_b sqrt(q (1 - q) / s + p (1 - p) / (1 - s)))^2 / (p - q)^2``, s the
        share of the experimental arm.
    """
    from scipy.special import ndtri

    s = design.experimental_share
    if follow_up_months is not None:
        free = (1 - kept.risk) ** (follow_up_months / horizon_months)
        event = float(kept.share @ ((1 - s) * (1 - free) + s * (1 - free**effect)))
        events = survival_events(
            effect, alpha=design.alpha, power=design.power, allocation_ratio=design.allocation_ratio
        )
        return events / event
    p = float(kept.share @ kept.risk)
    q, mean = p * effect, p * (s * effect + 1 - s)
    null = math.sqrt(mean * (1 - mean) * (1 / s + 1 / (1 - s)))
    other = math.sqrt(q * (1 - q) / s + p * (1 - p) / (1 - s))
    z_alpha, z_beta = -float(ndtri(design.alpha)), float(ndtri(design.power))
    return (z_alpha * null + z_beta * other) ** 2 / (p - q) ** 2

"""Exposure-adjusted incidence rates by group, with their differences and ratios to the first group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.data.adverse_events import DAYS_PER_YEAR, poisson_limits
from trialml.data.roles import days_per_unit
from trialml.errors import DataError, nearest
from trialml.result import COLOURS, Estimate, Result, counted, format_count, format_number, format_p, plain_text
from trialml.survival.intervals import normal_quantile
from trialml.survival.rows import coded_labels
from trialml.survival.ties import checked_times, group_order

__all__ = ["IncidenceRates", "incidence_rates", "rate_difference", "rate_ratio"]

PER = 100
DIFFERENCE, RATIO = "rate difference", "rate ratio"


@dataclass(frozen=True, eq=False)
class IncidenceRates(Result):
    """First events per 100 patient-years at risk by group, and each group against the first.

    Attributes
    ----------
    rates
        One row a group: group, patients, events, patient_years, rate, low, high (per 100 patient-years).
    contrasts
        One row a group after the first and measure: group, reference, measure (``rate difference`` per 100 patient-years,
        ``rate ratio``), value, low, high, p (two-sided, of the ratio; NaN for the difference).
    event
        What is counted, in words.
    since
        What the time at risk starts with.
    level
        Of the limits.
    statements
        What the time at risk is and what counts, in sentences of their own.
    """

    title: ClassVar[str] = "Exposure-adjusted incidence rates"
    references: ClassVar[tuple[str, ...]] = (
        "Garwood F. Fiducial limits for the Poisson distribution. Biometrika 1936;28:437-442.",
        "Zou GY, Donner A. Construction of confidence limits about effect measures: a general approach. Stat Med "
        "2008;27:1693-1702.",
        "Przyborowski J, Wilenski H. Homogeneity of results in testing samples from Poisson series. Biometrika "
        "1940;31:313-323.",
    )
    methods: ClassVar[str] = (
        "An exposure-adjusted incidence rate is the number of patients with a first event over the time at risk of all patients, "
        "which ends with the first event, with what competes with it, or with follow-up; its limits are exact for a Poisson count "
        "(Garwood). A ratio of rates has the exact limits and p-value of the conditional test; the limits of a difference are recovered from those "
        "of the two rates. Rates take the hazard as constant over time; the cumulative incidence does not."
    )
    figure_size: ClassVar[tuple[float, float]] = (7.2, 3.0)

    rates: pd.DataFrame
    contrasts: pd.DataFrame
    event: str
    since: str
    level: float
    statements: tuple[str, ...] = ()

    def heading(self) -> str:
        """Return the title with the event."""
        return f"{self.title}: {self.event}"

    def frame(self) -> pd.DataFrame:
        """Return one row a group, then one row a contrast."""
        rates = self.rates.assign(measure="rate").rename(columns={"rate": "value"})
        return pd.concat([rates, self.contrasts], ignore_index=True)

    def estimate(self, group: str, measure: str = "rate") -> Estimate:
        """Return a group's rate, or its difference or ratio to the first group.

        Raises
        ------
        DataError
            If there is no such group or measure.
        """
        rows = self.frame()
        found = rows[(rows["group"] == group) & (rows["measure"] == measure)]
        if found.empty:
            known = set(self.rates["group"])
            asked, choices = (group, known) if group not in known else (measure, ("rate", DIFFERENCE, RATIO))
            raise DataError(f"there is no {measure} of '{group}': {nearest(asked, choices)}")
        row = found.iloc[0]
        own = self.rates[self.rates["group"] == group].iloc[0]
        unit = "" if measure == RATIO else f"per {PER} patient-years"
        return Estimate(
            float(row["value"]), float(row["low"]), float(row["high"]), measure, unit, "direct", self.level,
            n=int(own["patients"]), events=int(own["events"]), method="Poisson, exact or recovered from exact limits",
        )  # fmt: skip

    def text(self) -> str:
        """Return the rates, and the difference and ratio of each group to the first."""
        told = [
            f"{self.estimate(row.group).text()} in {row.group} ({counted(row.events, 'first event')} in "
            f"{format_number(row.patient_years)} patient-years)"
            for row in self.rates.itertuples()
        ]
        said = f"{self.event}, exposure-adjusted incidence rate since {self.since}: {'; '.join(told)}."
        for name in self.rates["group"].iloc[1:]:
            difference, ratio = (self.estimate(name, measure).text() for measure in (DIFFERENCE, RATIO))
            p = format_p(self._p(name))
            said += (
                f" {name} against {self.rates['group'].iloc[0]}: difference {difference}, ratio {ratio}, two-sided p "
                f"{p if p[0] in '<>n' else '= ' + p}."
            )
        return " ".join([said, *self.statements])

    def _p(self, group: str) -> float:
        rows = self.contrasts
        return float(rows.loc[(rows["group"] == group) & (rows["measure"] == RATIO), "p"].iloc[0])

    def scalars(self) -> dict[str, float]:
        """Return every rate, difference and ratio with its limits."""
        numbers: dict[str, float] = {}
        for row in self.frame().itertuples():
            name = f"incidence_{row.measure}_{self.event}_{row.group}".replace(" ", "_")
            numbers |= {name: row.value, f"{name}_low": row.low, f"{name}_high": row.high}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return one row a group: patients, first events, patient-years, rate, and difference and ratio to the first."""
        first = self.rates["group"].iloc[0]
        rows = []
        for row in self.rates.itertuples():
            against = ["", "", ""]
            if row.group != first:
                against = [
                    *(_limits(self.estimate(row.group, one)) for one in (DIFFERENCE, RATIO)),
                    format_p(self._p(row.group)),
                ]
            rate = _limits(self.estimate(row.group))
            rows.append(
                (
                    row.group,
                    format_count(row.patients),
                    format_count(row.events),
                    format_number(row.patient_years),
                    rate,
                    *against,
                )
            )
        said = f"{100 * self.level:g}% CI"
        heads = ["Group", "Patients", "First events", "Patient-years", f"Rate per {PER} patient-years ({said})",
                 f"Difference to {first} ({said})", f"Ratio to {first} ({said})", "p (two-sided)"]  # fmt: skip
        return pd.DataFrame(rows, columns=heads)

    def draw(self, figure: Any) -> None:
        """Draw the rates with their limits, one row a group."""
        axes = figure.subplots()
        palette = [colour for name, colour in COLOURS.items() if name != "reference"]
        for place, row in enumerate(self.rates.itertuples()):
            colour = palette[place % len(palette)]
            axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2)
            axes.plot(row.rate, place, "s", color=colour, markersize=7)
        axes.set_yticks(range(len(self.rates)), [plain_text(name) for name in self.rates["group"]])
        axes.set_ylim(len(self.rates) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"First events per {PER} patient-years at risk ({100 * self.level:g}% CI)")
        axes.spines[["top", "right"]].set_visible(False)


def _limits(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "not estimable"
    low, high = ("no limit" if math.isinf(one) else format_number(one) for one in (estimate.low, estimate.high))
    value = "infinite" if math.isinf(estimate.value) else format_number(estimate.value)
    return f"{value} ({low} to {high})"


def rate_difference(events: tuple[int, int], exposure: tuple[float, float], level: float = 0.95) -> Estimate:
    """Return a group's rate less the reference's, with limits recovered from those of the two rates.

    Parameters
    ----------
    events, exposure
        Of the group, then of the reference; the exposure in any unit of time.
    level
        Of the limits.

    Returns
    -------
    Estimate
        With rates r and Garwood limits (l, u): ``d - sqrt((r1 - l1)^2 + (u0 - r0)^2)`` to ``d + sqrt((u1 - r1)^2 + (r0 -
        l0)^2)`` (Zou and Donner 2008). Groups without events have an interval too, other than with Wald's.
    """
    (r1, l1, u1), (r0, l0, u0) = (_rate(x, t, level) for x, t in zip(events, exposure, strict=True))
    d = r1 - r0
    return Estimate(d, d - math.hypot(r1 - l1, u0 - r0), d + math.hypot(u1 - r1, r0 - l0), DIFFERENCE, level=level)


def rate_ratio(events: tuple[int, int], exposure: tuple[float, float], level: float = 0.95) -> tuple[Estimate, float]:
    """Return a group's rate over the reference's with exact conditional limits, and the two-sided exact p.

    Given the sum of events, the group's are binomial with ``p = ratio t1 / (ratio t1 + t0)``: the limits are Clopper and
    Pearson's of p, the p-value adds up the outcomes that are not more likely than the one seen, as R's ``poisson.test``.
    Without any event the ratio and p are NaN; with none in the reference the ratio is infinite.
    """
    from scipy import special, stats

    (x1, x0), (t1, t0) = events, exposure
    if x1 + x0 == 0:
        return Estimate(math.nan, scale=RATIO, level=level), math.nan
    tail = (1 - level) / 2
    low = float(special.betaincinv(x1, x0 + 1, tail)) if x1 else 0.0
    high = float(special.betaincinv(x1 + 1, x0, 1 - tail)) if x0 else 1.0
    p = float(stats.binomtest(x1, x1 + x0, t1 / (t1 + t0)).pvalue)
    value, least, most = (
        math.inf if share == 1 else share / (1 - share) * t0 / t1 for share in (x1 / (x1 + x0), low, high)
    )
    return Estimate(value, least, most, RATIO, level=level), p


def _rate(events: int, exposure: float, level: float) -> tuple[float, float, float]:
    low, high = poisson_limits(events, level)
    return events / exposure, low / exposure, high / exposure


def incidence_rates(
    time: Any,
    event: Any,
    *,
    group: Any,
    order: Sequence[str] | None = None,
    name: str,
    unit: str = "days",
    since: str = "randomisation",
    level: float = 0.95,
    statements: Sequence[str] = (),
) -> IncidenceRates:
    """Return exposure-adjusted incidence rates by group, and each group against the first.

    Parameters
    ----------
    time
        Time at risk: to the first event, to what competes with it or to the end of follow-up; shape ``(n,)``, above 0.
    event
        True where the time ended with a first event, shape ``(n,)``.
    group, order
        One label a patient, and the labels in display order, the reference first.
    name
        What is counted, in words.
    unit
        Of `time`; rates are per 100 patient-years of 365.25 days.
    since
        What the time at risk starts with, in words.
    level
        Of the limits.
    statements
        What the time at risk is and what counts, in sentences, for print.

    Returns
    -------
    IncidenceRates

    Raises
    ------
    DataError
        If a time or an indicator is not usable, a label is missing, or the lengths differ.
    """
    normal_quantile(level)
    times, happened = checked_times(time, event)
    labels, codes = coded_labels(group, times.size, "group")
    names = labels.astype(str)
    position = {label: i for i, label in enumerate(names.tolist())}
    rows = []
    for label in group_order(names, order):
        mine = codes == position[label]
        events, years = int(happened[mine].sum()), float(times[mine].sum()) * days_per_unit(unit) / DAYS_PER_YEAR
        rate = [PER * one for one in _rate(events, years, level)]
        rows.append((label, int(mine.sum()), events, years, *rate))
    rates = pd.DataFrame(rows, columns=["group", "patients", "events", "patient_years", "rate", "low", "high"])
    return IncidenceRates(rates, _contrasts(rates, level), name, since, level, tuple(statements))


def _contrasts(rates: pd.DataFrame, level: float) -> pd.DataFrame:
    reference = rates.iloc[0]
    rows = []
    for row in rates.iloc[1:].itertuples():
        events = (int(row.events), int(reference["events"]))
        exposure = (float(row.patient_years) / PER, float(reference["patient_years"]) / PER)
        difference = rate_difference(events, exposure, level)
        ratio, p = rate_ratio(events, exposure, level)
        for one, found in ((difference, math.nan), (ratio, p)):
            rows.append((row.group, reference["group"], one.scale, one.value, one.low, one.high, found))
    return pd.DataFrame(rows, columns=["group", "reference", "measure", "value", "low", "high", "p"])

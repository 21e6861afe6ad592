"""What `plan_enrichment` returns: the plans side by side, in numbers, words and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.result import COLOURS, Result, format_count, format_number, plain_text

__all__ = ["EnrichmentPlan"]

_KINDS = {
    "direct": "estimated",
    "computed": "computed",
    "apparent": "apparent (optimistic)",
    "corrected": "optimism-corrected",
    "crossfit": "cross-fitted",
    "external": "external",
    "simulated": "simulated",
}


@dataclass(frozen=True, eq=False)
class EnrichmentPlan(Result):
    """Trials in all comers and in enriched populations, side by side.

    Attributes
    ----------
    plans
        One row a population, design and truth: ``population, design, model_useless, prevalence`` (with limits),
        ``control_risk, planning_hazard_ratio, hazard_ratio`` (with limits), ``effect_kind, events, patients,
        screened`` (with limits from those of the prevalence), ``accrual_months, power, assurance,
        early_stop_probability, duration_months, expected_events, expected_duration_months, cost, note``.
        In rows with ``model_useless`` the patients are those of the enriched plan and the truth that of all comers.
    definitions, rules
        Populations and designs in words, by name.
    alpha
        One-sided.
    horizon_months
        Where ``control_risk`` is read.
    screened_per_month, follow_up_months, dropout_per_month
        As planned with; `follow_up_months` is NaN where the duration was given.
    """

    title: ClassVar[str] = "Enrichment: the next trial in all comers and in selected patients"
    methods: ClassVar[str] = (
        "For each population, events follow Schoenfeld's formula times the design's inflation factor; enrolment runs "
        "at the screening rate times the prevalence; assurance is the power averaged over the normal distribution of "
        "the estimated log hazard ratio. Each enriched plan is evaluated a second time as if its patients had the "
        "hazard and the effect of all comers. Control risks in this chapter follow from the constant hazard that the plan assumes "
        "and may differ from the Kaplan-Meier risks of the other chapters. Costs, where given, are those of screening and "
        "treating the planned number of patients, without an early stop."
    )
    references: ClassVar[tuple[str, ...]] = (
        "Schoenfeld DA. Sample-size formula for the proportional-hazards regression model. Biometrics 1983;39:499-503.",
        "O'Hagan A, Stevens JW, Campbell MJ. Assurance in clinical trial design. Pharm Stat 2005;4:187-201.",
        "Simon R, Maitournam A. Evaluating the efficiency of targeted designs for randomized clinical trials. Clin "
        "Cancer Res 2004;10:6759-6763.",
        "Wang SJ, Hung HMJ, O'Neill RT. Adapting the sample size planning of a phase III trial based on phase II data. "
        "Pharm Stat 2006;5:85-97.",
    )

    plans: pd.DataFrame
    definitions: Mapping[str, str]
    rules: Mapping[str, str]
    alpha: float
    horizon_months: float
    screened_per_month: float
    follow_up_months: float
    dropout_per_month: float

    def frame(self) -> pd.DataFrame:
        """Return one row a population, design and truth, with what all plans share repeated on each."""
        shared = {
            "definition": [self.definitions[name] for name in self.plans["population"]],
            "rules": [self.rules[name] for name in self.plans["design"]],
            "alpha_one_sided": self.alpha,
            "horizon_months": self.horizon_months,
            "screened_per_month": self.screened_per_month,
            "follow_up_months": self.follow_up_months,
            "dropout_per_month": self.dropout_per_month,
        }
        return self.plans.assign(**shared)

    def text(self) -> str:
        """Return the comparison of all comers with the first enriched population that has a plan."""
        first_design = self.plans["design"].iloc[0]
        planned = self.plans[(self.plans["design"] == first_design) & ~self.plans["model_useless"]]
        everyone, enriched = planned.iloc[0], planned.iloc[1:]
        feasible = enriched[enriched["note"] == ""]
        head = f"{_sentence_case(_trial_words(everyone))} ({first_design} design, alpha {self.alpha:g} one-sided)"
        if len(feasible) == 0:
            tail = f"; {enriched['population'].iloc[0]}: {enriched['note'].iloc[0]}." if len(enriched) else "."
            return head + tail
        chosen = feasible.iloc[0]
        words = f"{head}; {_trial_words(chosen)}."
        return words + self._useless_words(chosen)

    def _useless_words(self, chosen: pd.Series[Any]) -> str:
        same = (self.plans["population"] == chosen["population"]) & (self.plans["design"] == chosen["design"])
        useless = self.plans[same & self.plans["model_useless"]]
        if len(useless) == 0:
            return ""
        row = useless.iloc[0]
        return (
            f" If the model that selects these patients were useless, so that they had the prognosis and the planning "
            f"hazard ratio of all comers ({format_number(row['planning_hazard_ratio'])}), the power of the enriched "
            f"trial would be {_percent(row['power'])} instead of {_percent(chosen['power'])}."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return patients, screened, duration and assurance of each plan by population and design."""
        found: dict[str, float] = {}
        for row in self.plans.to_dict("records"):
            stem = (
                _key(row["population"]) + "_" + _key(row["design"]) + ("_model_useless" if row["model_useless"] else "")
            )
            names = ("power", "assurance") if row["model_useless"] else _HEADLINES
            found |= {f"{stem}_{name}": float(row[name]) for name in names if not math.isnan(row[name])}
        return found

    def table(self) -> pd.DataFrame:
        """Return the plans as a physician reads them."""
        rows = self.plans
        records = rows.to_dict("records")
        columns = {
            "Population": [_label(row) for row in records],
            "Design": list(rows["design"]),
            "Share of patients": [_percent(value) for value in rows["prevalence"]],
            f"Control risk at {round(self.horizon_months, 1):g} months, exponential": [
                _percent(value) for value in rows["control_risk"]
            ],
            "Hazard ratio estimated": [
                f"{row['hazard_ratio']:.2f} ({row['hazard_ratio_low']:.2f} to {row['hazard_ratio_high']:.2f}), "
                f"{_KINDS.get(row['effect_kind'], row['effect_kind'])}"
                for row in records
            ],
            "Planned for": [f"{value:.2f}" for value in rows["planning_hazard_ratio"]],
            "Events": [format_count(value) for value in rows["events"]],
            "Enrolled": [format_count(value) for value in rows["patients"]],
            "Screened": [format_count(value) for value in rows["screened"]],
            "Months (expected)": [
                f"{_months(row['duration_months'])} ({_months(row['expected_duration_months'])})" for row in records
            ],
            "Power": [_percent(value) for value in rows["power"]],
            "Assurance": [_percent(value) for value in rows["assurance"]],
        }
        if rows["cost"].notna().any():
            columns["Cost"] = [format_count(value) for value in rows["cost"]]
        if (rows["note"] != "").any():
            columns["Note"] = list(rows["note"])
        return pd.DataFrame(columns)

    @property
    def _shown(self) -> list[dict[str, Any]]:
        return [{str(key): value for key, value in row.items()} for row in self.plans.to_dict("records")]

    def draw(self, figure: Any) -> None:
        """Draw patients screened and enrolled, duration, and assurance as bars, one line a plan, values beside them."""
        rows = self._shown
        panels = figure.subplots(1, 4, sharey=True)
        heads = (
            ("screened", "Patients screened", format_count),
            ("patients", "Patients enrolled", format_count),
            ("duration_months", "Months in all", _months),
            ("assurance", "Assurance", _percent),
        )
        for axes, (name, head, words) in zip(panels, heads, strict=True):
            _draw_panel(axes, rows, name, head, words)
        panels[0].set_yticks(range(len(rows)), [_wrapped(row) for row in rows], fontsize=7.5)
        panels[0].set_ylim(len(rows) - 0.4, -0.6)


_HEADLINES = ("events", "patients", "screened", "duration_months", "power", "assurance", "cost")


def _draw_panel(axes: Any, rows: list[dict[str, Any]], name: str, head: str, words: Any) -> None:
    values = [float(row[name]) for row in rows]
    top = 1.0 if name == "assurance" else max([value for value in values if not math.isnan(value)], default=1.0)
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        if math.isnan(value):
            axes.text(
                0, place, " no trial" if row["note"].startswith("no trial") else " never", va="center", fontsize=7.5
            )
            continue
        colour = COLOURS["reference"] if row["model_useless"] else _bar_colour(rows, row)
        hatch = {"hatch": "///", "edgecolor": "white"} if row["model_useless"] else {}
        axes.barh(place, value, height=0.66, color=colour, **hatch)
        axes.text(value + 0.03 * top, place, words(value), va="center", fontsize=7.5)
    axes.set_xlim(0, 1.42 * top)
    axes.set_title(head, fontsize=8.5, loc="left")
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _bar_colour(rows: list[dict[str, Any]], row: dict[str, Any]) -> str:
    return COLOURS["control"] if row["population"] == rows[0]["population"] else COLOURS["experimental"]


def _label(row: Mapping[Any, Any]) -> str:
    return f"{row['population']}, model useless" if row["model_useless"] else str(row["population"])


def _wrapped(row: Mapping[Any, Any]) -> str:
    name = plain_text(row["population"])
    return f"{name},\nmodel useless, {row['design']}" if row["model_useless"] else f"{name},\n{row['design']}"


def _percent(share: float) -> str:
    return "n/a" if math.isnan(share) else f"{100 * share:.0f} %"


def _months(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.1f}"


def _key(words: str) -> str:
    kept = "".join(letter if letter.isalnum() else " " for letter in words.lower())
    return "_".join(kept.split())


def _sentence_case(words: str) -> str:
    return words[:1].upper() + words[1:]


def _trial_words(row: pd.Series[Any]) -> str:
    name = (
        "all comers"
        if row["prevalence"] == 1
        else f"\N{LEFT DOUBLE QUOTATION MARK}{row['population']}\N{RIGHT DOUBLE QUOTATION MARK}"
    )
    if row["note"]:
        return f"{name}: {row['note']}"
    kind = _KINDS.get(row["effect_kind"], row["effect_kind"])
    effect = (
        f"{kind} hazard ratio {format_number(row['hazard_ratio'])}, 95% CI {format_number(row['hazard_ratio_low'])} to "
        f"{format_number(row['hazard_ratio_high'])}, planned for {format_number(row['planning_hazard_ratio'])}"
    )
    return (
        f"a trial in {name} ({effect}) needs {format_count(row['events'])} events in "
        f"{format_count(row['patients'])} patients ({format_count(row['screened'])} screened) over "
        f"{_months(row['duration_months'])} months, with an assurance of {_percent(row['assurance'])}"
    )

"""Single simulated trials of an option, one of each conclusion, as a simulation report shows them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from trialml.design.adaptive_enrichment import simulated_enrichment_rows
from trialml.design.combination import stage_weights
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.scenario import Scenario
from trialml.design.trial_plan import trial_plan

__all__ = ["example_trials", "example_words"]

_EXAMPLES = 400


def example_trials(design: EnrichmentDesign, scenario: Scenario, seed: int, *, staged: bool) -> pd.DataFrame:
    """Return one simulated trial of each conclusion, with its z at the stages, or at the one analysis.

    Parameters
    ----------
    design, scenario
        What is simulated.
    seed
        Of the trials.
    staged
        Whether something is decided at the interim analysis; otherwise nothing is said of one.
    """
    rows = simulated_enrichment_rows(design, trial_plan(scenario), _EXAMPLES, seed)
    rows = rows.assign(number=np.arange(1, len(rows) + 1))
    first = rows.drop_duplicates(subset=["rejected", "selected"] if staged else ["rejected"]).head(4)
    went_on = {0: "nobody", 1: "the stratum alone", 2: "all comers", 3: "both"}
    concluded = {0: "nothing rejected", 1: "effect in the stratum", 2: "effect in all comers", 3: "effect in both"}
    if staged:
        course = {
            "Interim analysis, month": [f"{one:.1f}" for one in first["interim_month"]],
            "Stage 1 z, stratum and all": _pairs(first, "z1"),
            "Went on": [went_on[int(one)] for one in first["selected"]],
            "Stage 2 z, stratum and all": _pairs(first, "z2"),
        }
    else:
        course = {"z, stratum and all": _pairs(_at_the_end(first, design), "z")}
    return pd.DataFrame(
        {
            "Trial": [f"{number:.0f}" for number in first["number"]],
            **course,
            "Conclusion": [concluded[int(one)] for one in first["rejected"]],
            "Events": [f"{one:.0f}" for one in first["events_subgroup"] + first["events_rest"]],
            "Patients": [f"{one:,.0f}" for one in first["patients_subgroup"] + first["patients_rest"]],
            "Months": [f"{one:.1f}" for one in first["end_month"]],
        }
    )


def _at_the_end(rows: pd.DataFrame, design: EnrichmentDesign) -> pd.DataFrame:
    """Return each trial's z at its one analysis, from its increments by their information."""
    before, after = stage_weights(design.design)
    whole = {f"z_{who}": before * rows[f"z1_{who}"] + after * rows[f"z2_{who}"] for who in ("subgroup", "full")}
    return pd.DataFrame(whole)


def _pairs(rows: pd.DataFrame, stage: str) -> list[str]:
    def shown(value: float) -> str:
        return "none" if math.isnan(value) else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")

    pairs = zip(rows[f"{stage}_subgroup"], rows[f"{stage}_full"], strict=True)
    return [f"{shown(first)}, {shown(second)}" for first, second in pairs]


def example_words(examples: pd.DataFrame | None) -> tuple[tuple[str, ...], pd.DataFrame | None]:
    """Return what is said of the examples, and their table; None where nothing was simulated patient by patient."""
    if examples is None:
        return ("No trial was simulated patient by patient, so that none can be shown.",), None
    return (
        (
            f"Of {_EXAMPLES} trials simulated under the effects as estimated these are the first of each "
            + (
                "course and conclusion; the stages' z are combined with the weights fixed in advance."
                if "Went on" in examples
                else "conclusion."
            ),
        ),
        examples,
    )

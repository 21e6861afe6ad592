"""Reporting guidelines answered item by item: from the run where it knows, and left to the author where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from trialml.analysis import Analysis
from trialml.data.starter_text import FILL_IN
from trialml.effects.adjusted import AdjustedContrast
from trialml.effects.adjusted_logrank import AdjustedLogRank
from trialml.effects.contrast import Contrast
from trialml.effects.primary_outcome import PrimaryOutcome
from trialml.effects.tipping_point import TippingPoint
from trialml.result import Result, counted
from trialml.survival.proportional_hazards import ProportionalHazards
from trialml.survival.rmst import RestrictedMean
from trialml.tripod import TRIPOD_ITEMS, tripod_answers

__all__ = ["ReportingChecklist", "Status", "estimand_checklist", "reporting_checklists", "tripod_checklist"]

Status = Literal["from the run", "in part", "author to complete"]
"""Who answers an item: the run, the run and the author, the author."""

AUTHOR: Status = "author to complete"


@dataclass(frozen=True, eq=False)
class ReportingChecklist(Result):
    """A guideline's items, what the run says to each, and what is left to the author.

    Attributes
    ----------
    name, citation
        The guideline, and where it is published.
    rows
        Columns ``item``, ``asks``, ``answer``, ``status`` (a `Status`).
    """

    title = "Reporting checklist"
    chapter = "other"

    name: str
    citation: str
    rows: pd.DataFrame

    def heading(self) -> str:
        """Return the guideline's name."""
        return self.name

    def frame(self) -> pd.DataFrame:
        """Return the items."""
        return self.rows

    def text(self) -> str:
        """Return how many rows are answered, and by whom; the citation."""
        counts = self.scalars()
        return (
            f"Of {counted(len(self.rows), 'row')}, {counts['from_the_run']:.0f} are answered from this run, {counts['in_part']:.0f} in part, "
            f"and {counts['author_to_complete']:.0f} are for the author to complete: a run cannot know them, and nothing is ticked "
            f"for them. {self.citation}"
        )

    def scalars(self) -> dict[str, float]:
        """Return how many rows have each status."""
        statuses: tuple[Status, ...] = ("from the run", "in part", AUTHOR)
        return {one.replace(" ", "_"): float((self.rows["status"] == one).sum()) for one in statuses}

    def table(self) -> pd.DataFrame:
        """Return all items."""
        return self.rows.rename(
            columns={"item": "Item", "asks": "What is asked", "answer": "Where it stands", "status": "Answered"}
        )


def reporting_checklists(analysis: Analysis) -> tuple[ReportingChecklist, ...]:
    """Return the checklists of a finished run: the estimand, then the prediction models.

    Parameters
    ----------
    analysis
        A finished analysis, of any kind of endpoint.

    Returns
    -------
    tuple of ReportingChecklist
        `estimand_checklist` and `tripod_checklist`.
    """
    return (estimand_checklist(analysis), tripod_checklist(analysis))


def tripod_checklist(analysis: Analysis) -> ReportingChecklist:
    """Return the 27 items of TRIPOD+AI for the risk and the response model of a run.

    Parameters
    ----------
    analysis
        A finished analysis.

    Returns
    -------
    ReportingChecklist
        One row an item or part of an item; an item that the run knows nothing of is the author's.
    """
    known = tripod_answers(analysis)
    rows = []
    for item, asks in TRIPOD_ITEMS.items():
        answer, status = known.get(item, ("", AUTHOR))
        rows.append((item, asks, answer or "Author to complete.", status))
    citation = (
        "TRIPOD+AI: Collins GS, Moons KGM, Dhiman P, et al. BMJ 2024;385:e078378; what is asked is said in short, the statement "
        "itself holds."
    )
    return _checklist("TRIPOD+AI: the prediction models", citation, rows)


def estimand_checklist(analysis: Analysis) -> ReportingChecklist:
    """Return the five attributes of the estimand (ICH E9(R1)), the intercurrent events, and the estimators that answer it.

    Parameters
    ----------
    analysis
        A finished analysis.

    Returns
    -------
    ReportingChecklist
        An attribute that the study file leaves to be filled in is the author's.
    """
    stated = analysis.study.estimand.model_dump()
    asked = {
        "Treatment": ("treatment", "The treatment condition and its alternative"),
        "Population": ("population", "The patients whom the question is about"),
        "Variable": ("variable", "What is measured or observed in each patient"),
        "Intercurrent events": (
            "intercurrent_events",
            "Each event after randomisation that touches the variable, and its strategy",
        ),
        "Population-level summary": ("summary", "The measure by which the treatments are compared"),
    }
    rows: list[tuple[str, str, str, str]] = []
    for attribute, (key, asks) in asked.items():
        words = str(stated[key]).strip()
        missing = not words or FILL_IN in words
        rows.append(
            (attribute, asks, "Author to complete." if missing else words, AUTHOR if missing else "from the run")
        )
    rows.append(_strategies(str(stated["intercurrent_events"])))
    rows += _estimators(analysis)
    citation = "ICH E9(R1), 2019: Addendum on estimands and sensitivity analysis in clinical trials."
    return _checklist("ICH E9(R1): the estimand and its estimators", citation, rows)


_STRATEGIES = {
    "treatment policy": ("treatment policy", "treatment-policy"),
    "composite variable": ("composite",),
    "hypothetical": ("hypothetical",),
    "while on treatment": ("while on treatment", "while-on-treatment", "on-treatment"),
    "principal stratum": ("principal stratum", "principal-stratum", "principal stratification"),
}


def _strategies(words: str) -> tuple[str, str, str, str]:
    named = [name for name, forms in _STRATEGIES.items() if any(form in words.lower() for form in forms)]
    asks = "The strategy for each intercurrent event: one of the addendum's five"
    if not named:
        return ("Strategies", asks, "The study file names none of the five strategies. Author to complete.", AUTHOR)
    return (
        "Strategies",
        asks,
        f"Named: {', '.join(named)}. Whether every intercurrent event that matters is listed, the author must say.",
        "in part",
    )


_MAIN = (Contrast, PrimaryOutcome)
_SENSITIVE = (TippingPoint,)
_FURTHER = (AdjustedLogRank, AdjustedContrast, RestrictedMean, ProportionalHazards)


def _estimators(analysis: Analysis) -> list[tuple[str, str, str, str]]:
    """Return the rows on how the estimand was estimated."""
    asked = (
        ("Main estimator", "The analysis that is aligned with the estimand", _MAIN),
        (
            "Sensitivity analysis",
            "The same estimand under departures from the main estimator's assumptions",
            _SENSITIVE,
        ),
        ("Supplementary analyses", "Other analyses that help to understand the effect", _FURTHER),
    )
    rows: list[tuple[str, str, str, str]] = []
    for name, asks, kinds in asked:
        found = [result for result in analysis.results if isinstance(result, kinds)]
        said = " ".join(result.text() for result in found[:1]) if name == "Main estimator" else _see(found)
        rows.append((name, asks, said or "None in this run. Author to complete.", "from the run" if said else AUTHOR))
    return rows


def _see(results: Sequence[Result]) -> str:
    return f"See {'; '.join(dict.fromkeys(result.heading() for result in results))}." if results else ""


def _checklist(name: str, citation: str, rows: Sequence[tuple[str, str, str, str]]) -> ReportingChecklist:
    return ReportingChecklist(name, citation, pd.DataFrame(rows, columns=["item", "asks", "answer", "status"]))

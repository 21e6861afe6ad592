"""The words of a finished run, whatever its kind of endpoint: verdicts, the first page, what opens the chapters, and the limits."""

from __future__ import annotations

from dataclasses import replace

from trialml import endpoint_summary, summary
from trialml import verdicts as time_verdicts
from trialml.analysis import Analysis, Subject
from trialml.design.recommendation import Recommendation
from trialml.endpoint_verdicts import outcome_verdicts
from trialml.headline import headline, key_figure
from trialml.report.document import Summary
from trialml.risk_patients import ARM_WORDS
from trialml.summary import QUICK
from trialml.verdicts import Verdicts, arm_words

__all__ = ["chapter_leads", "intended_use", "limitations", "run_verdicts", "summarise"]


_TWO_QUESTIONS = (
    "The first plans ask how large a trial must be for its own power, each with its own size; the options after them ask what the same budget "
    "buys, under the effects after shrinkage, and are what is recommended."
)


def _timed(analysis: Analysis) -> bool:
    return analysis.trial.endpoint.kind == "time to event"


def run_verdicts(analysis: Analysis) -> Verdicts:
    """Return the verdict on each model and on the whole."""
    return time_verdicts.verdicts(analysis) if _timed(analysis) else outcome_verdicts(analysis)


def summarise(analysis: Analysis) -> Summary:
    """Return the first page; what the bridge recommends stands before the last thing to do."""
    said = summary.summarise(analysis) if _timed(analysis) else endpoint_summary.summarise_outcome(analysis)
    advice = [found.text() for found in analysis.about(Recommendation)]
    steps = [*said.next_steps[:-1], *advice, *said.next_steps[-1:]]
    return replace(said, next_steps=steps, decision=headline(analysis), figure=key_figure(analysis))


def chapter_leads(analysis: Analysis) -> dict[str, str]:
    """Return a sentence that opens each chapter that needs one."""
    leads = summary.chapter_leads(analysis) if _timed(analysis) else endpoint_summary.outcome_leads(analysis)
    return leads | {"design": f"{leads['design']} {_TWO_QUESTIONS}"} if analysis.about(Recommendation) else leads


def limitations(analysis: Analysis) -> list[str]:
    """Return what this analysis cannot say."""
    if _timed(analysis):
        return summary.limitations(analysis)
    return ([QUICK] if analysis.quick else []) + endpoint_summary.outcome_limitations()


def intended_use(analysis: Analysis, subject: Subject) -> str:
    """Return what a model is for, a sentence of its model card."""
    endpoint = analysis.trial.endpoint
    experimental, control = arm_words(analysis)
    if subject != "risk":
        return f"Groups patients by expected benefit of {experimental} against {control}."
    if endpoint.kind == "continuous":
        return f"Orders patients by the outcome ({endpoint.label}) that is expected of them under control."
    if _timed(analysis):
        return f"Orders patients by their risk of the event ({endpoint.label}). {ARM_WORDS[analysis.study.models.risk.treatment]}"
    what = "probability" if endpoint.higher_is_better else "risk"
    return f"Orders patients by their {what} of the event ({endpoint.label}) under control."

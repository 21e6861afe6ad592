"""The decision in a few words, for the top of the first page: chosen by rule from the facts that the verdict rests on."""

from __future__ import annotations

from trialml.analysis import Analysis
from trialml.endpoint_verdicts import OutcomeFacts
from trialml.survival.kaplan_meier import KaplanMeier
from trialml.verdicts import Facts, arm_words

__all__ = ["headline", "key_figure"]


def headline(analysis: Analysis) -> str:
    """Return what follows for the next trial, in some ten words.

    Parameters
    ----------
    analysis
        A finished analysis, of any kind of endpoint.

    Returns
    -------
    str
        The verdict beside it says why; the two rest on the same facts.
    """
    if analysis.trial.endpoint.kind == "time to event":
        timed = Facts.of(analysis)
        direction, differs = timed.direction, timed.hazard_differs and timed.gain_differs
    else:
        facts = OutcomeFacts.of(analysis)
        direction, differs = facts.effect.direction, facts.differs and facts.gain_differs
    experimental, control = arm_words(analysis)
    if direction == "worse":
        return f"Nothing here supports a further trial of {experimental} against {control}."
    if direction == "not shown":
        return "No difference was shown: weigh a further trial against its size."
    if differs:
        return "Weigh a trial enriched for the higher strata against one in all comers."
    return "Plan the next trial in all comers."


def key_figure(analysis: Analysis) -> str:
    """Return the heading of the picture for the first page: the survival curves, of another endpoint none."""
    curves = analysis.about(KaplanMeier)
    return curves[0].heading() if curves else ""

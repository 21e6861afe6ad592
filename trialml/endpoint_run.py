"""The flow of a run on a binary or a continuous endpoint, readable top to bottom."""

from __future__ import annotations

from trialml.analysis import Analysis
from trialml.bridge import add_response_evidence
from trialml.bridge_design import add_bridge
from trialml.config import Study
from trialml.data.quality import DataQuality
from trialml.endpoint_comparing import compare_outcome
from trialml.endpoint_learning import OutcomeLearning
from trialml.endpoint_planning import plan_next_outcome_trial
from trialml.endpoint_prognosis import learn_prognosis
from trialml.errors import StudyFileError
from trialml.models import usable_model
from trialml.strata.outcome_effects import ObservedOutcomes
from trialml.study_tables import DIRECTIONS

__all__ = ["analyse_outcome", "refuse_unready"]


def analyse_outcome(analysis: Analysis, quality: DataQuality) -> None:
    """Compare the arms, learn who will do badly and who will benefit, and plan the next trial.

    Parameters
    ----------
    analysis
        The results so far; the new ones are added.
    quality
        Names the covariates that are not used.

    Raises
    ------
    AnalysisError
        If the data do not permit it.
    """
    effect = compare_outcome(analysis, quality)
    learning = OutcomeLearning(analysis, quality)
    heterogeneity = learning.ask_heterogeneity()
    learn_prognosis(learning)
    held, by_stratum = learning.learn_benefit(heterogeneity)
    observed = ObservedOutcomes(learning.outcome, learning.treated)
    add_response_evidence(analysis, by_stratum, held, observed)
    plan_next_outcome_trial(analysis, effect, by_stratum, held, observed)
    add_bridge(analysis)


def refuse_unready(study: Study) -> None:
    """Refuse, before the data are read, a study file that a run on a binary or continuous endpoint cannot use.

    Raises
    ------
    StudyFileError
        If the direction of benefit is not said, or a model is of another kind of endpoint.
    """
    endpoint = study.endpoint
    if not endpoint.direction:
        choices = " or ".join(f"'{one}'" for one in DIRECTIONS[endpoint.kind])
        raise StudyFileError(
            f"[[endpoints]] direction is missing, and a run on the {endpoint.kind} endpoint '{endpoint.name}' has to know which way is "
            f"better for the patient: write {choices}."
        )
    if study.harm is not None:
        raise StudyFileError(
            f"[harm] is weighed against the benefit on a time to event alone, but '{endpoint.name}' is {endpoint.kind}: take [harm] out."
        )
    for name in (study.risk_model, *study.models.risk.candidates):
        usable_model(name, "risk", endpoint.kind)
    usable_model(study.models.response.model, "response", endpoint.kind)

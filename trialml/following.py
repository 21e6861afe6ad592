"""What happened over time: curves of all arms, tests of the primary contrast, and what competing events do to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from trialml.analysis import Analysis
from trialml.data.trial import Trial
from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError
from trialml.result import Result
from trialml.survival.cause_specific import CauseSpecific, cause_specific_cox
from trialml.survival.cox import cox
from trialml.survival.cumulative_incidence import CumulativeIncidence, cumulative_incidence
from trialml.survival.fine_gray import FineGray, fine_gray
from trialml.survival.gray import GrayTest, gray_test
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.logrank import logrank
from trialml.survival.proportional_hazards import proportional_hazards
from trialml.survival.rmst import restricted_mean

__all__ = ["compete", "follow"]


def follow(analysis: Analysis) -> None:
    """Describe survival by arm over the whole trial, then test the primary contrast.

    Where other events end the follow-up, their cumulative incidences, Gray's test and both kinds of hazard ratio are
    added: a Kaplan-Meier curve takes such a patient as censored and shows a risk that nobody runs.
    """
    trial, endpoint, treatment = analysis.trial, analysis.trial.endpoint, analysis.trial.treatment
    order = [treatment.label(arm) for arm in (treatment.control, treatment.experimental, *treatment.secondary)]
    groups: dict[str, Any] = {
        "group": trial.arm_labels,
        "order": order,
        "unit": endpoint.unit,
        "milestone": endpoint.horizon,
    }
    analysis.add(kaplan_meier(trial.time, trial.event, **groups))
    primary = trial.only(treatment.control, treatment.experimental)
    control, experimental = (treatment.label(arm) for arm in (treatment.control, treatment.experimental))
    labels = [control, experimental]
    analysis.add(logrank(primary.time, primary.event, primary.arm_labels, order=labels, strata=primary.factor))
    arm = pd.DataFrame({f"{experimental} against {control}": primary.treated.astype(np.float64)})
    analysis.add(cox(primary.time, primary.event, arm, strata=primary.factor))
    analysis.add(proportional_hazards(primary.time, primary.event, arm, strata=primary.factor))
    analysis.add(
        restricted_mean(
            primary.time,
            primary.event,
            primary.arm_labels,
            control=control,
            experimental=experimental,
            tau=endpoint.tau,
            unit=endpoint.unit,
        )
    )
    if endpoint.cause:
        compete(analysis, trial)


def compete(analysis: Analysis, trial: Trial, *, since: str = "randomisation", before: str = "") -> None:
    """Add cumulative incidences of all arms, and Gray's test and both kinds of hazard ratio of the primary contrast.

    Parameters
    ----------
    analysis
        The results so far; the new ones are added.
    trial
        The patients, with the causes that ended their follow-up.
    since, before
        What time starts with; and what is put after the name of a competing event, where two endpoints have the same ones.
    """
    endpoint, treatment = trial.endpoint, trial.treatment
    arms = [treatment.control, treatment.experimental, *treatment.secondary]
    order = [treatment.label(arm) for arm in arms]
    labels = order[:2]
    primary = trial.only(treatment.control, treatment.experimental)
    arm = pd.DataFrame({f"{labels[1]} against {labels[0]}": primary.treated.astype(np.float64)})
    words = {0: "censored", 1: endpoint.name}
    words |= {code: f"{name}{before}" for code, name in enumerate(endpoint.competing, start=2)}
    here = {code: name for code, name in words.items() if code and (trial.cause == code).any()}
    there = {code: name for code, name in here.items() if (primary.cause == code).any()}
    unit = endpoint.unit
    groups: dict[str, Any] = {"group": trial.arm_labels, "order": order, "unit": unit, "milestone": endpoint.horizon}
    analyses: dict[type[Result], Callable[[], Result]] = {
        CumulativeIncidence: lambda: cumulative_incidence(trial.time, trial.cause, causes=here, since=since, **groups),
        GrayTest: lambda: gray_test(
            primary.time, primary.cause, primary.arm_labels, causes=there, order=labels, strata=primary.factor
        ),
        CauseSpecific: lambda: _by_cause(primary, arm, there),
        FineGray: lambda: fine_gray(primary.time, primary.cause, arm, of=endpoint.name, causes=there, unit=unit),
    }
    for kind, analyse in analyses.items():
        try:
            analysis.add(analyse())
        except AnalysisError as error:
            analysis.add(NotDone(kind.title, str(error).rstrip(".")))


def _by_cause(primary: Trial, arm: pd.DataFrame, causes: dict[int, str]) -> CauseSpecific:
    """Return Cox models of each cause; of the competing ones together where one of them is too rare for a model of its own."""
    unit = primary.endpoint.unit
    try:
        return cause_specific_cox(primary.time, primary.cause, arm, causes=causes, unit=unit)
    except AnalysisError:
        if len(causes) < 3:
            raise
        together = {1: causes[1], 2: " or ".join(name for code, name in causes.items() if code > 1)}
        return cause_specific_cox(primary.time, np.minimum(primary.cause, 2), arm, causes=together, unit=unit)

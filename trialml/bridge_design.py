"""The bridge: from what a validated model carries to the options of the next trial, for a run and for a tracked model alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from trialml.analysis import Analysis, Watcher
from trialml.bridge_table import BridgeTable
from trialml.config import Study
from trialml.design.bridge_comparison import BridgeOptions, compare_options
from trialml.design.bridge_sensitivity import BridgeSensitivity, bridge_sensitivity
from trialml.design.bridge_setting import TrialSetting
from trialml.design.judged_options import Judged
from trialml.design.not_planned import NotPlanned
from trialml.design.prognostic_enrichment import PrognosticEnrichment, prognostic_enrichment
from trialml.design.recommendation import Gate, Recommendation, recommend
from trialml.design.response_evidence import ResponseEvidence
from trialml.design.risk_evidence import RiskEvidence
from trialml.design.rule_choice import RuleChoice, choose_rule
from trialml.design.scenario import dropout_hazard
from trialml.design.score_adjustment import ScoreAdjustment, score_adjustment
from trialml.design.value_of_information import ValueOfMoreData, value_of_more_data
from trialml.design_tables import DesignTable
from trialml.errors import AnalysisError, StudyFileError
from trialml.result import Result

__all__ = ["Bridge", "add_bridge", "adjustment_of", "asked_of", "bridge_from", "setting_of", "thresholds_of"]

MINIMUM_HAZARD_RATIO = 0.8
"""Where the study says nothing: the least that oncologists called worthwhile (Ellis et al., J Clin Oncol 2014;32:1277-1280)."""
LONGEST_MONTHS = 120
"""Where nothing is said of it: a question that takes more than ten years to answer is no longer asked."""
DRAWS, QUICK_DRAWS = 1024, 128
"""Simulated trials of the adaptive option at each truth, and in a quick run: the Monte Carlo error is shown."""


@dataclass(frozen=True)
class Bridge:
    """The next trial from a response model.

    Attributes
    ----------
    evidence, setting, gate
        What it rests on and what was asked.
    judged
        The options at their sizes.
    options, recommendation, rules, sensitivity, more_data
        The results; no choice of rules where there is one only.
    """

    evidence: ResponseEvidence
    setting: TrialSetting
    gate: Gate
    judged: Judged
    options: BridgeOptions
    recommendation: Recommendation
    rules: RuleChoice | None
    sensitivity: BridgeSensitivity
    more_data: ValueOfMoreData

    @property
    def results(self) -> tuple[Result, ...]:
        """The recommendation first, then what it rests on."""
        chosen = () if self.rules is None else (self.rules,)
        return (self.recommendation, self.options, *chosen, self.sensitivity, self.more_data)


def asked_of(study: Study, over: BridgeTable | None = None) -> BridgeTable:
    """Return what a study file asks of the bridge, with every key that `over` states in its place."""
    own = study.design.bridge or BridgeTable()
    if over is None:
        return own
    return own.model_copy(update={name: getattr(over, name) for name in over.model_fields_set})


def setting_of(asked: BridgeTable, study: Study, evidence: ResponseEvidence) -> TrialSetting:
    """Return what all options share: what is asked, and for the rest the `[design]` table.

    Parameters
    ----------
    asked
        What is asked of the bridge.
    study
        The study that the model comes from.
    evidence
        Where no least effect worth claiming is asked: half of the effect of all comers, of an endpoint that is no time to event.

    Raises
    ------
    AnalysisError
        If a number will not do.
    """
    design, share = study.design, study.treatment.allocation
    dropout = dropout_hazard(design.dropout_per_year if asked.dropout is None else asked.dropout)
    follow_up = asked.follow_up or design.follow_up_months
    timed = evidence.endpoint.timed
    return TrialSetting(
        screened_per_month=asked.accrual or design.screened_per_month,
        follow_up_months=follow_up,
        minimum_effect=_minimum(asked, evidence),
        alpha=asked.alpha or design.alpha,
        power=asked.power or design.power,
        allocation_ratio=share / (1 - share),
        cost_screen=_cost(asked.cost_screen, design, "cost_screen"),
        cost_patient=_cost(asked.cost_patient, design, "cost_patient"),
        budget=asked.budget,
        dropout_per_month=dropout if timed else 0.0,
        lost=0.0 if timed else 1 - math.exp(-dropout * follow_up),
        max_duration_months=_longest(asked, follow_up),
        interim_share=asked.interim,
    )


def _cost(asked: float | None, design: DesignTable, name: str) -> float | None:
    """Return a cost; a zero that the study file never stated means that no costs are known."""
    if asked is not None:
        return asked
    stated: float = getattr(design, name)
    return stated or None


def _minimum(asked: BridgeTable, evidence: ResponseEvidence) -> float:
    if asked.minimum_effect is not None:
        return asked.minimum_effect
    if evidence.endpoint.timed:
        return MINIMUM_HAZARD_RATIO
    overall = evidence.overall.mean
    if overall <= 0:
        raise AnalysisError(
            "the least effect worth claiming is not given, and the estimated one favours control: give minimum_effect"
        )
    return float(f"{overall / 2:.2g}")


def bridge_from(
    evidence: ResponseEvidence, asked: BridgeTable, study: Study, watcher: Watcher, *, quick: bool = False
) -> Bridge:
    """Return the next trial from a response model's evidence.

    Parameters
    ----------
    evidence
        What the model carries.
    asked
        What is asked of the bridge; where a failed validation is overridden, the gate does not ask for it either.
    study
        The study that the model comes from.
    watcher
        Sees the progress.
    quick
        Few draws of the adaptive option, for a first look.

    Raises
    ------
    AnalysisError
        If there is no such trial, in words.
    """
    draws = QUICK_DRAWS if quick else DRAWS
    setting = setting_of(asked, study, evidence)
    gate = Gate(asked.gate_level, asked.gate_probability, validated=asked.override_validation is None)
    with watcher.step("Options of the next trial", 4) as done:
        evidence, judged, rules = choose_rule(evidence, setting, gate=gate, draws=draws, seed=asked.seed)
        options = compare_options(evidence, setting, draws=draws, seed=asked.seed, judged=judged)
        recommendation = recommend(evidence, setting, gate=gate, draws=draws, seed=asked.seed, judged=judged)
        done()
        done()
        sensitivity = bridge_sensitivity(evidence, setting, gate=gate, draws=draws // 2, seed=asked.seed)
        done()
        more = value_of_more_data(
            evidence, setting, patients=asked.more_patients, gate=gate, seed=asked.seed, judged=judged
        )
        done()
    return Bridge(evidence, setting, gate, judged, options, recommendation, rules, sensitivity, more)


def add_bridge(analysis: Analysis) -> None:
    """Add the next trial's options, or why there are none; of the risk model its thresholds.

    Parameters
    ----------
    analysis
        A run whose evidence has been added.
    """
    asked, study = asked_of(analysis.study), analysis.study
    for evidence in analysis.about(ResponseEvidence):
        try:
            bridge = bridge_from(evidence, asked, study, analysis.watcher, quick=analysis.quick)
        except AnalysisError as error:
            analysis.add(NotPlanned(BridgeOptions.title, str(error).rstrip(".")), "response")
            continue
        for result in bridge.results:
            analysis.add(result, "response")
    for risk in analysis.about(RiskEvidence):
        # Of a time to event both rest on an effect that a run knows only where it is asked.
        if asked.relative_effect is not None:
            _add_thresholds(analysis, risk, asked)
        if asked.relative_effect is not None or not risk.endpoint.timed:
            _add_adjustment(analysis, risk, asked)


def _add_thresholds(analysis: Analysis, risk: RiskEvidence, asked: BridgeTable) -> None:
    try:
        found = thresholds_of(risk, asked, analysis.study)[0]
    except AnalysisError as error:
        analysis.add(NotPlanned(PrognosticEnrichment.title, str(error).rstrip(".")), "risk")
        return
    analysis.add(found, "risk")


def _add_adjustment(analysis: Analysis, risk: RiskEvidence, asked: BridgeTable) -> None:
    try:
        found = adjustment_of(risk, asked, analysis.study)
    except AnalysisError as error:
        analysis.add(NotPlanned(ScoreAdjustment.title, str(error).rstrip(".")), "risk")
        return
    analysis.add(found, "risk")


def adjustment_of(evidence: RiskEvidence, asked: BridgeTable, study: Study) -> ScoreAdjustment:
    """Return what adjusting the next trial's analysis for the risk model's score saves.

    Parameters
    ----------
    evidence, asked, study
        As of `bridge_from`.

    Raises
    ------
    StudyFileError
        If no relative effect is asked, of a time to event.
    AnalysisError
        If the evidence does not say what the score explains.
    """
    design = study.design
    given: dict[str, Any] = {"power": asked.power or design.power, "alpha": asked.alpha or design.alpha}
    if evidence.endpoint.timed:
        given |= {
            "relative_effect": _relative_effect(asked),
            "follow_up_months": asked.follow_up or design.follow_up_months,
        }
    return score_adjustment(evidence, seed=asked.seed, **given)


def _longest(asked: BridgeTable, follow_up: float) -> float:
    """Return how many months the trial may last."""
    return asked.max_duration or max(LONGEST_MONTHS, 2 * follow_up)


def _relative_effect(asked: BridgeTable) -> float:
    if asked.relative_effect is None:
        raise StudyFileError(
            "A risk model says who has events, not what treatment does: give the hazard ratio or relative risk to plan for with "
            "--relative-effect, or relative_effect in [design.bridge]."
        )
    return asked.relative_effect


def thresholds_of(
    evidence: RiskEvidence, asked: BridgeTable, study: Study
) -> tuple[PrognosticEnrichment, dict[str, Any]]:
    """Return a risk model's thresholds, and what they were made with.

    Parameters
    ----------
    evidence, asked, study
        As of `bridge_from`.

    Raises
    ------
    StudyFileError
        If no relative effect is asked: a risk model knows none.
    AnalysisError
        If there is no such trial.
    """
    design, share = study.design, study.treatment.allocation
    follow_up = asked.follow_up or design.follow_up_months
    settings: dict[str, Any] = {
        "relative_effect": _relative_effect(asked),
        "power": asked.power or design.power,
        "alpha": asked.alpha or design.alpha,
        "screened_per_month": asked.accrual or design.screened_per_month,
        "follow_up_months": follow_up,
        "max_months": _longest(asked, follow_up),
        "allocation_ratio": share / (1 - share),
        "cost_screen": _cost(asked.cost_screen, design, "cost_screen"),
        "cost_patient": _cost(asked.cost_patient, design, "cost_patient"),
    }
    return prognostic_enrichment(evidence, seed=asked.seed, **settings), settings

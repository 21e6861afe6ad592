"""The first page and the verdicts: sentences chosen by rule from the results, never written by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trialml.analysis import Analysis
from trialml.data.adverse_events import AdverseEvents, harm_limitations
from trialml.data.analysis_set import AnalysisSet
from trialml.design.enrichment_plan import EnrichmentPlan
from trialml.effects.contrast import HAZARD_RATIO, RMST_DIFFERENCE, Contrast
from trialml.effects.heterogeneity import Heterogeneity
from trialml.report.document import Finding, Summary
from trialml.result import Estimate, format_count, format_number, format_p
from trialml.strata.effects import StratumEffects
from trialml.survival.logrank import LogRank
from trialml.survival.proportional_hazards import ProportionalHazards
from trialml.validation.benefit import BenefitCalibration
from trialml.validation.calibration import Calibration
from trialml.validation.discrimination import Discrimination

__all__ = ["QUICK", "Verdicts", "chapter_leads", "limitations", "summarise", "verdicts"]


QUICK = "This was a quick run with few repeats and permutations: do not quote its numbers."
SMALLEST_C = 0.55
"""PASS needs at least this as the lower limit of C within arms, as in the promotion policy of the repository."""
SLOPES = (0.8, 1.25)
"""PASS needs a calibration slope in this band: a fixed band, since a wide interval must not make passing easier."""


@dataclass(frozen=True)
class Verdicts:
    """The first line of each tracked model's description, and the decision of the report."""

    risk: str
    response: str
    decision: str


@dataclass(frozen=True)
class _Facts:
    """The results that the words rest on."""

    effect: Contrast
    heterogeneity: Heterogeneity
    strata: StratumEffects
    plan: EnrichmentPlan
    c: Discrimination
    calibration: Calibration
    benefit: BenefitCalibration
    p: float
    """Two-sided, of the primary log-rank test."""
    test: str
    """What that test is called: stratified where the randomisation was."""
    looks: int
    """Looks of the group-sequential plan; 1 where there is none."""

    @classmethod
    def of(cls, analysis: Analysis) -> _Facts:
        return cls(
            analysis.only(Contrast),
            analysis.only(Heterogeneity),
            analysis.only(StratumEffects),
            analysis.only(EnrichmentPlan),
            analysis.only(Discrimination),
            analysis.only(Calibration),
            analysis.only(BenefitCalibration),
            analysis.only(LogRank).p,
            "stratified log-rank" if analysis.only(LogRank).strata > 1 else "log-rank",
            len(analysis.study.design.information_fractions),
        )

    @property
    def ratio(self) -> Estimate:
        return self.effect.estimate(HAZARD_RATIO)

    @property
    def direction(self) -> Literal["better", "worse", "not shown"]:
        """What the primary log-rank test at 5 % two-sided says of the primary contrast."""
        if self.p >= 0.05:
            return "not shown"
        return "better" if self.ratio.value < 1 else "worse"

    @property
    def plan_power(self) -> float:
        return float(self.plan.plans["power"].iloc[0])

    @property
    def hazard_differs(self) -> bool:
        return self.heterogeneity.p < 0.05

    @property
    def gain_differs(self) -> bool:
        """Whether the cross-fitted interval of the outer strata's difference lies above 0: a description, not a test."""
        return len(self.strata.rows) > 1 and self.strata.difference.low > 0


def _interval(estimate: Estimate) -> str:
    unit = f" {estimate.unit}" if estimate.unit else ""
    low, high = format_number(estimate.low), format_number(estimate.high)
    return f"{format_number(estimate.value)}{unit} ({100 * estimate.level:g}% CI {low} to {high})"


def _arms(analysis: Analysis) -> tuple[str, str]:
    treatment = analysis.trial.treatment
    return treatment.label(treatment.experimental), treatment.label(treatment.control)


def verdicts(analysis: Analysis) -> Verdicts:
    """Return the verdict on each model and on the whole."""
    facts = _Facts.of(analysis)
    mark = "QUICK RUN  " if analysis.quick else ""
    return Verdicts(mark + _risk_verdict(facts), mark + _response_verdict(facts), _decision(analysis, facts))


def _risk_verdict(facts: _Facts) -> str:
    c, slope = facts.c.without_arm, facts.calibration.slope
    passed = c.low >= SMALLEST_C and SLOPES[0] <= slope.value <= SLOPES[1]
    return (
        f"{'PASS' if passed else 'REVIEW'}  C-index within arms {c.value:.3f} (95% CI {c.low:.3f} to {c.high:.3f}) cross-fitted, "
        f"calibration slope {slope.value:.2f} (95% CI {slope.low:.2f} to {slope.high:.2f}), n = {format_count(c.n or 0)}, "
        f"{format_count(c.events or 0)} events by {facts.c.horizon:g} {facts.c.unit}; internal validation only"
    )


def _response_verdict(facts: _Facts) -> str:
    words = "HETEROGENEITY SHOWN" if facts.hazard_differs else "NO HETEROGENEITY SHOWN"
    said = f"{words}  global test on the hazard ratio p {_p(facts.heterogeneity.p)}"
    if len(facts.strata.rows) > 1:
        difference = facts.strata.difference
        said += (
            f", highest less lowest stratum {_interval(difference)} of RMST, cross-fitted"
            f"{'' if facts.hazard_differs else ', exploratory'}"
        )
    return f"{said}, n = {format_count(facts.heterogeneity.n)}, {format_count(facts.heterogeneity.events)} events"


def _p(p: float) -> str:
    shown = format_p(p)
    return shown if shown[0] in "<>" else f"= {shown}"


def _decision(analysis: Analysis, facts: _Facts) -> str:
    experimental, control = _arms(analysis)
    shown = f"(hazard ratio {_interval(facts.ratio)}, {facts.test} p {_p(facts.p)} two-sided)"
    if facts.direction == "worse":
        return (
            f"Events came earlier with {experimental} than with {control} {shown}: nothing here supports a further trial of "
            f"{experimental} against {control}."
        )
    if facts.direction == "not shown":
        return (
            f"The trial did not show a difference between {experimental} and {control} {shown}, which does not show that there is "
            f"none; {_differences(facts)}. Whether another trial is worth its size is in the chapter The next trial."
        )
    advice = "plan the next trial in all comers"
    if facts.hazard_differs and facts.gain_differs:
        advice = "weigh a trial enriched for the higher strata against one in all comers"
    found = _differences(facts)
    return f"{experimental} delayed the event compared with {control} {shown}. {found[0].upper()}{found[1:]}: {advice}."


def _differences(facts: _Facts) -> str:
    """Return what may be said of differences between patients: the global test first, then the strata."""
    if facts.hazard_differs and facts.gain_differs:
        return "the global test and the cross-fitted strata agree that the effect differs between patients"
    if facts.hazard_differs:
        return (
            "the global test says that the effect differs between patients, but the strata do not yet tell them apart"
        )
    said = "the hazard ratio is not shown to differ between patients"
    if facts.gain_differs and facts.strata.risk_explains:
        said += ", and the larger gains in the higher strata (exploratory) go with their higher risk under control"
    elif facts.gain_differs:
        said += ", and the larger gains in the higher strata are exploratory"
    return said


def summarise(analysis: Analysis) -> Summary:
    """Return the first page: what was asked, what was found, what to do next, how sure."""
    facts = _Facts.of(analysis)
    study, endpoint = analysis.study, analysis.trial.endpoint
    experimental, control = _arms(analysis)
    question = (
        f"In {_lower(study.estimand.population)}: does {experimental} delay the event ({endpoint.label}) compared with {control}? "
        "Who is at high risk, who benefits most, and what should the next trial be?"
    )
    return Summary(
        question=question,
        answer=_findings(analysis, facts),
        next_steps=_next_steps(facts),
        certainty=_certainty(analysis, facts),
        verdict=_decision(analysis, facts),
    )


def _findings(analysis: Analysis, facts: _Facts) -> list[Finding]:
    experimental, control = _arms(analysis)
    ratio, mean = facts.ratio, facts.effect.estimate(RMST_DIFFERENCE)
    tests = f"{format_count(ratio.n or 0)} patients, {format_count(ratio.events or 0)} events; primary analysis, {facts.test} "
    c, both, lead = facts.c.without_arm, facts.c.crossfit, facts.strata.rows
    found = [
        Finding(
            f"Hazard ratio, {experimental} against {control}", _interval(ratio), f"{tests}p {_p(facts.p)} two-sided"
        ),
        Finding(
            f"Event-free time gained over {facts.effect.tau:g} {facts.effect.unit}",
            _interval(mean),
            f"{experimental} less {control}: difference in restricted mean, not covariate-adjusted",
        ),
        Finding(
            "Does the hazard ratio differ between patients?",
            "shown" if facts.hazard_differs else "not shown",
            f"global permutation test p {_p(facts.heterogeneity.p)}; asked before any subgroup was formed",
        ),
        Finding(
            "Risk model: patients ordered rightly",
            f"{100 * c.value:.0f} % of pairs (95% CI {100 * c.low:.0f} to {100 * c.high:.0f})",
            f"Harrell's C within arms, on patients not used for fitting; 50 % is chance ({100 * both.value:.0f} % over both arms, where "
            "the arm orders too)",
        ),
    ]
    if len(lead) > 1:
        low, high = lead.iloc[0], lead.iloc[-1]
        found.append(
            Finding(
                f"Gain in '{high['stratum']}' and in '{low['stratum']}'"
                + ("" if facts.hazard_differs else ", exploratory"),
                f"{format_number(high['rmst_difference'])} and {format_number(low['rmst_difference'])} {facts.strata.unit}",
                f"event-free time over {facts.strata.tau:g} {facts.strata.unit} on patients the rule had not seen; difference "
                f"{_interval(facts.strata.difference)}",
            )
        )
    found.append(_plan_finding(facts))
    return found


def _plan_finding(facts: _Facts) -> Finding:
    row = facts.plan.plans.iloc[0]
    if row["note"]:
        return Finding("Next trial in all comers", "not planned", str(row["note"]))
    return Finding(
        "Next trial in all comers",
        f"{format_count(row['patients'])} patients, {row['duration_months']:.0f} months",
        f"{format_count(row['events'])} events for {100 * facts.plan_power:.0f} % power if the hazard ratio is "
        f"{row['planning_hazard_ratio']:.2f}, one-sided alpha {facts.plan.alpha:g}; assurance {100 * row['assurance']:.0f} %",
    )


def _next_steps(facts: _Facts) -> list[str]:
    plans = facts.plan.plans
    fixed = plans[(plans["design"] == plans["design"].iloc[0]) & (plans["note"] == "")]
    steps = []
    everyone = fixed[(fixed["prevalence"] == 1) & ~fixed["model_useless"]]
    if len(everyone):
        row = everyone.iloc[0]
        steps.append(
            f"A trial in all comers takes {format_count(row['patients'])} patients over {row['duration_months']:.0f} months"
            + ("; looking earlier shortens it on average if the effect is as planned" if facts.looks > 1 else "")
            + " (chapter The next trial)."
        )
    enriched = fixed[(fixed["prevalence"] < 1) & ~fixed["model_useless"]]
    if len(enriched):
        row = enriched.iloc[-1]
        # The plan stands where its useless-model row has a note instead of numbers: then the sentence ends before it.
        useless = fixed[fixed["model_useless"] & (fixed["population"] == row["population"])]["power"]
        lost = (
            ""
            if not len(useless)
            else f"; if the model were useless its power would be {100 * useless.iloc[0]:.0f} % instead of {100 * row['power']:.0f} %"
            if useless.iloc[0] < row["power"]
            else "; its power would be no smaller with patients chosen at random, so choosing them gains nothing"
        )
        steps.append(
            f"Enrolling '{row['population']}' would take {format_count(row['patients'])} patients, with {format_count(row['screened'])} "
            f"screened and {row['duration_months']:.0f} months{lost}"
            + ("." if facts.hazard_differs else "; no test has shown that these patients respond better.")
        )
    steps.append(
        "Validate the risk and the response model on patients of another trial before either selects or stratifies anybody."
    )
    return steps


def _certainty(analysis: Analysis, facts: _Facts) -> list[str]:
    hazards = analysis.only(ProportionalHazards)
    p = float(hazards.frame()["p"].iloc[-1])
    sure = []
    if p < 0.05:
        sure.append(
            f"The hazards may not be proportional (p {_p(p)}): the hazard ratio is an average over the follow-up of this trial; the "
            "restricted mean difference does not rest on that assumption and points the same way."
            if facts.effect.estimate(RMST_DIFFERENCE).low > 0 and facts.direction == "better"
            else f"The hazards may not be proportional (p {_p(p)}): the hazard ratio is an average over the follow-up of this trial."
        )
    else:
        sure.append(
            f"The test of proportional hazards gives p {_p(p)}, which does not prove that hazards are proportional."
        )
    factor = format_number(facts.heterogeneity.detectable_ratio)
    sure.append(
        f"The test of heterogeneity would have found, about four times in five, a single covariate of which one standard deviation changes "
        f"the hazard ratio by a factor of {factor}; weaker differences may exist unseen."
    )
    slope = facts.benefit.slope
    sure.append(
        f"Expected benefit is shrunk: the model keeps {100 * facts.benefit.shrinkage:.0f} % of its spread (slope on unseen patients "
        f"{_interval(slope)}). Effects in strata are cross-fitted; a single patient's benefit cannot be observed."
    )
    calibrated = facts.calibration.slope
    sure.append(
        f"The risk model was judged on patients not used for fitting, but of the same trial: calibration slope {_interval(calibrated)}."
    )
    flow = analysis.only(AnalysisSet)
    if flow.randomised is not None and flow.randomised > flow.read:
        sure.append(
            f"{format_count(flow.randomised - flow.read)} of {format_count(flow.randomised)} randomised patients are not in the data file."
        )
    return sure


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def chapter_leads(analysis: Analysis) -> dict[str, str]:
    """Return a sentence that opens each chapter that needs one."""
    facts = _Facts.of(analysis)
    experimental, control = _arms(analysis)
    return {
        "effects": (
            f"The primary contrast is {experimental} against {control}; every other comparison is secondary. The question whether the "
            "hazard ratio differs between patients is asked by one test, before any subgroup is formed."
        ),
        "models": _model_words(analysis),
        "validation": "Every number here is from patients whom the model had not seen, unless it is marked apparent.",
        "explain": (
            "What moves the risk model (who will do badly) and what moves the benefit score (who will benefit) are different questions "
            "and are shown apart. Both describe the models, not causes."
        ),
        "strata": (
            "Strata group patients by the benefit score. The scale is absolute (event-free time): where the risk under control is "
            "higher, the same hazard ratio gives a larger gain."
        ),
        "design": (
            "The plans take the control arm's hazard as this trial has it, and hazard ratios made less favourable by "
            f"{analysis.study.design.discount_standard_errors:g} standard error(s) of their logarithm. All figures are computed for these "
            f"assumptions; alpha is {facts.plan.alpha:g} one-sided. Assurance is the power averaged over the sampling uncertainty of this "
            "trial's hazard ratio."
        ),
    }


def _model_words(analysis: Analysis) -> str:
    from trialml.models import model_named

    asked = analysis.study.models
    risk, response = model_named(asked.risk.model, "risk").words, model_named(asked.response.model, "response").words
    part, other = analysis.risk, analysis.response
    assert part is not None
    assert part.risk is not None
    assert other is not None
    assert other.response is not None
    arm = math.exp(part.risk.estimator.treatment_coefficient_)
    return (
        f"Risk: {risk}; the penalty chosen is {part.risk.estimator.penalty_:g}, and given the covariates the hazard ratio of the arm is "
        f"{format_number(arm)} (conditional on them, so not to be read as a correction of the primary one). It was cross-validated in "
        f"{asked.risk.folds} folds, {analysis.repeats('risk')} times. New patients are given their risk under control. Response: {response}; "
        f"cross-validated in {asked.response.folds} folds, {analysis.repeats('response')} times, everything learned again in each."
    )


def limitations(analysis: Analysis) -> list[str]:
    """Return what this analysis cannot say."""
    said = [
        "Censoring is assumed to be independent of the event within each arm (in the validation of the risk model, over both arms "
        "together); reasons for leaving the trial are not analysed.",
        "The models were developed and judged within one trial; performance elsewhere is unknown.",
        "Strata were formed and examined in the same trial; cross-fitting removes the optimism of the search, not the chance of this sample.",
        "Intervals of cross-fitted effects take the rules that the repeats learned as given; the intervals of several strata are not "
        "adjusted for multiplicity. In simulated trials of 500 patients, intervals meant to hold for 95 % held for 92 to 97 %, those of the "
        "difference between the outer strata for 92 to 93 %: it is no test, and only the global test guards against finding differences by chance.",
        "The plans assume exponential event times at the control arm's rate and a constant hazard ratio; accrual and dropout are those of "
        "the study file. Assurance allows for the sampling error of this trial's hazard ratio alone: not for a prior doubt that the "
        "effect exists, nor for differences between this trial and the next.",
        *harm_limitations(analysis.trial.endpoint, counted=bool(analysis.about(AdverseEvents))),
    ]
    if analysis.quick:
        said.insert(0, QUICK)
    return said

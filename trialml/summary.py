"""The first page and the words around the chapters: sentences chosen by rule from the results, never written by hand."""

from __future__ import annotations

import math
from typing import Any

from trialml.analysis import Analysis
from trialml.data.adverse_events import AdverseEvents, harm_limitations
from trialml.effects.contrast import RMST_DIFFERENCE
from trialml.models import model_named
from trialml.models.cox_model import CoxModel
from trialml.report.document import Finding, Summary
from trialml.result import format_count, format_number
from trialml.risk_judging import ON_TREES
from trialml.risk_patients import ARM_WORDS, coefficients_model
from trialml.strata.benefit_harm import BenefitHarm
from trialml.strata.strata import strata_made_by
from trialml.survival.proportional_hazards import ProportionalHazards
from trialml.verdicts import Facts, arm_words, data_doubts, decision_words, equals, interval_words, lowered

__all__ = ["QUICK", "chapter_leads", "limitations", "summarise"]


QUICK = "This was a quick run with few repeats and permutations: do not quote its numbers."


def summarise(analysis: Analysis) -> Summary:
    """Return the first page: what was asked, what was found, what to do next, how sure."""
    facts = Facts.of(analysis)
    study, endpoint = analysis.study, analysis.trial.endpoint
    experimental, control = arm_words(analysis)
    question = (
        f"In {lowered(study.estimand.population)}: does {experimental} delay the event ({endpoint.label}) compared with {control}? "
        "Who is at high risk, who benefits most, and what should the next trial be?"
    )
    return Summary(
        question=question,
        answer=_findings(analysis, facts),
        next_steps=_next_steps(facts),
        certainty=_certainty(analysis, facts),
        verdict=decision_words(analysis, facts),
    )


def _findings(analysis: Analysis, facts: Facts) -> list[Finding]:
    experimental, control = arm_words(analysis)
    ratio, mean = facts.ratio, facts.effect.estimate(RMST_DIFFERENCE)
    tests = f"{format_count(ratio.n or 0)} patients, {format_count(ratio.events or 0)} events; primary analysis, {facts.test} "
    c, lead = facts.c.without_arm, facts.strata.rows
    found = [
        Finding(
            f"Hazard ratio, {experimental} against {control}",
            interval_words(ratio),
            f"{tests}p {equals(facts.p)} two-sided",
            "not shown" if facts.direction == "not shown" else "shown",
        ),
        Finding(
            f"Event-free time gained over {facts.effect.tau:g} {facts.effect.unit}",
            interval_words(mean),
            f"{experimental} less {control}: difference in restricted mean, not covariate-adjusted",
            "estimated",
        ),
        Finding(
            "Does the hazard ratio differ between patients?",
            "shown" if facts.hazard_differs else "not shown",
            f"global permutation test p {equals(facts.heterogeneity.p)}; asked before any subgroup was learned from the data",
        ),
        Finding(
            "Risk model: patients ordered rightly",
            f"{100 * c.value:.0f} % of pairs (95% CI {100 * c.low:.0f} to {100 * c.high:.0f})",
            _concordance_words(facts),
            "internal validation only",
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
                f"{interval_words(facts.strata.difference)}",
                "cross-fitted",
            )
        )
    found.append(_plan_finding(facts))
    return found


def _concordance_words(facts: Facts) -> str:
    both = 100 * facts.c.crossfit.value
    if facts.c.arm == "control arm":
        return "Harrell's C in the control arm, on patients not used for fitting; 50 % is chance"
    orders = ", where the arm orders too" if facts.c.arm == "covariate" else ", whose arm the model does not know"
    return f"Harrell's C within arms, on patients not used for fitting; 50 % is chance ({both:.0f} % over both arms{orders})"


def _plan_finding(facts: Facts) -> Finding:
    row = facts.plan.plans.iloc[0]
    if row["note"]:
        return Finding("Next trial in all comers", "not planned", str(row["note"]))
    return Finding(
        "Next trial in all comers",
        f"{format_count(row['patients'])} patients, {row['duration_months']:.0f} months",
        f"{format_count(row['events'])} events for {100 * facts.plan_power:.0f} % power if the hazard ratio is "
        f"{row['planning_hazard_ratio']:.2f}, one-sided alpha {facts.plan.alpha:g}, one hazard ratio throughout; assurance (power averaged over this trial's uncertainty) "
        f"{100 * row['assurance']:.0f} %",
        "computed from assumptions",
    )


def _next_steps(facts: Facts) -> list[str]:
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
        row = enriched.iloc[0]
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


def _certainty(analysis: Analysis, facts: Facts) -> list[str]:
    hazards = analysis.only(ProportionalHazards)
    p = float(hazards.frame()["p"].iloc[-1])
    sure = []
    if p < 0.05:
        sure.append(
            f"The hazards may not be proportional (p {equals(p)}): the hazard ratio is an average over the follow-up of this trial; the "
            "restricted mean difference does not rest on that assumption and points the same way."
            if facts.effect.estimate(RMST_DIFFERENCE).low > 0 and facts.direction == "better"
            else f"The hazards may not be proportional (p {equals(p)}): the hazard ratio is an average over the follow-up of this trial."
        )
    else:
        sure.append(
            f"The test of proportional hazards gives p {equals(p)}, which does not prove that hazards are proportional."
        )
    factor = format_number(facts.heterogeneity.detectable_ratio)
    sure.append(
        f"The test of heterogeneity would have found, about four times in five, a single covariate of which one standard deviation changes "
        f"the hazard ratio by a factor of {factor}; weaker differences may exist unseen."
    )
    benefit = facts.benefit
    sure.append(
        f"Expected benefit keeps {100 * benefit.shrinkage:.0f} % of its score's spread. On unseen patients it came true with a slope of "
        f"{interval_words(benefit.expected_slope)}: 1 would be in full, 0 noise. A single patient's benefit cannot be observed."
    )
    calibrated = facts.calibration.slope_under_control
    sure.append(
        f"The risk model was judged on patients not used for fitting, but of the same trial: calibration slope under control "
        f"{interval_words(calibrated)}."
    )
    return sure + data_doubts(analysis)


def chapter_leads(analysis: Analysis) -> dict[str, str]:
    """Return a sentence that opens each chapter that needs one."""
    facts = Facts.of(analysis)
    experimental, control = arm_words(analysis)
    errors = analysis.study.design.discount_standard_errors
    return {
        "effects": (
            f"The primary contrast is {experimental} against {control}; every other comparison is secondary. The question whether the "
            "hazard ratio differs between patients is asked by one test, before any subgroup is learned from the data."
        ),
        "models": _model_words(analysis),
        "validation": _validation_words(analysis),
        "explain": (
            "What moves the risk model (who will do badly) and what moves the benefit score (who will benefit) are different questions "
            "and are shown apart. Both describe the models, not causes."
        ),
        "strata": (
            f"Strata group patients by {strata_made_by(analysis.study.strata.kind)}. The scale is absolute (event-free time): where the risk under control is "
            "higher, the same hazard ratio gives a larger gain."
        ),
        "design": (
            "The plans take the control arm's hazard as this trial has it, and hazard ratios made less favourable by "
            f"{errors:g} standard error{'' if errors == 1 else 's'} of their logarithm. All figures are computed for these "
            f"assumptions; alpha is {facts.plan.alpha:g} one-sided. Assurance is the power averaged over the sampling uncertainty of this "
            "trial's hazard ratio."
        ),
    }


def _validation_words(analysis: Analysis) -> str:
    said = "Every number here is from patients whom the model had not seen, unless it is marked apparent or corrected."
    part = None if analysis.risk is None else analysis.risk.risk
    return said if part is None or coefficients_model(part.estimator) is not None else f"{said} {ON_TREES}"


def _model_words(analysis: Analysis) -> str:
    asked = analysis.study.models
    part, other = analysis.risk, analysis.response
    assert part is not None
    assert part.risk is not None
    assert other is not None
    assert other.response is not None
    names = (analysis.study.risk_model, *asked.risk.candidates)
    risk, response = model_named(part.risk.model, "risk").words, model_named(asked.response.model, "response").words
    chosen = (
        f" It was compared with {', '.join(name for name in names if name != part.risk.model)} in these folds; the performance on "
        "patients not seen is that of the whole procedure, the choosing included, while the bootstrap repeats the learning of the "
        "chosen model alone."
        if asked.risk.candidates
        else ""
    )
    return (
        f"Risk: {risk}{_arm_words(part.risk.estimator)}. {ARM_WORDS[asked.risk.treatment]} It was cross-validated in {asked.risk.folds} "
        f"folds, {analysis.repeats('risk')} times.{chosen} Response: {response}; cross-validated in {asked.response.folds} folds, "
        f"{analysis.repeats('response')} times, everything learned again in each."
    )


def _arm_words(estimator: Any) -> str:
    """Return the penalty and the arm's hazard ratio, where the model has them."""
    linear = coefficients_model(estimator)
    if linear is None:
        return ""
    penalty = f"; the penalty chosen is {linear.penalty_:g}"
    if linear.treatment is None:
        return penalty
    kind = "hazard ratio" if isinstance(linear, CoxModel) else "subdistribution hazard ratio"
    return (
        f"{penalty}, and given the covariates the {kind} of the arm is {format_number(math.exp(linear.treatment_coefficient_))} "
        "(conditional on them, so not to be read as a correction of the primary one)"
    )


def limitations(analysis: Analysis) -> list[str]:
    """Return what this analysis cannot say."""
    said = [
        "Censoring is assumed to be independent of the event within each arm (in the validation of the risk model, over both arms "
        "together); reasons for leaving the trial are not analysed.",
        "The models were developed and judged within one trial; performance elsewhere is unknown.",
        "Strata were formed and examined in the same trial; cross-fitting removes the optimism of the search, not the chance of this sample.",
        "Intervals of cross-fitted effects take the rules that the repeats learned as given; the intervals of several strata are not "
        "adjusted for multiplicity. In simulated trials of 500 patients, intervals meant to hold for 95 % held for 93 to 98 % (Monte Carlo error 1 to 2): they are no test, "
        "and only the global test guards against finding differences by chance.",
        "The plans assume exponential event times at the control arm's rate and a constant hazard ratio; accrual and dropout are those of "
        "the study file. Assurance allows for the sampling error of this trial's hazard ratio alone: not for a prior doubt that the "
        "effect exists, nor for differences between this trial and the next.",
        *harm_limitations(
            analysis.trial.endpoint,
            counted=bool(analysis.about(AdverseEvents)),
            weighed=bool(analysis.about(BenefitHarm)),
        ),
    ]
    if analysis.quick:
        said.insert(0, QUICK)
    return said

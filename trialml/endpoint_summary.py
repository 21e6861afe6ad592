"""The first page and the words around the chapters of a run on a binary or continuous endpoint: chosen by rule from the results."""

from __future__ import annotations

from trialml.analysis import Analysis
from trialml.data.analysis_set import AnalysisSet
from trialml.effects.primary_outcome import prediction_name
from trialml.endpoint_verdicts import OutcomeFacts, outcome_decision
from trialml.models import model_named
from trialml.report.document import Finding, Summary
from trialml.result import format_count, format_number
from trialml.strata.strata import strata_made_by
from trialml.verdicts import arm_words, data_doubts, equals, interval_words, lowered

__all__ = ["outcome_leads", "outcome_limitations", "summarise_outcome"]

_ARM = {
    "covariate": "New patients are given what is expected under control.",
    "blinded": "It is blind to the arm: new patients are given what is expected under this trial's mixture of arms.",
    "control arm": "It was learned from and judged on the control arm alone; new patients are given what is expected under control.",
}
_NO_FURTHER = (
    "Validate the risk and the response model on patients of another trial before either selects or stratifies anybody."
)


def summarise_outcome(analysis: Analysis) -> Summary:
    """Return the first page: what was asked, what was found, what to do next, how sure."""
    facts = OutcomeFacts.of(analysis)
    experimental, control = arm_words(analysis)
    population, label = analysis.study.estimand.population, analysis.trial.endpoint.label
    does = (
        f"does {experimental} change {label} compared with {control}"
        if not facts.binary
        else f"does {experimental} change how many patients have the event ({label}) compared with {control}"
    )
    question = (
        f"In {lowered(population)}: {does}? Who does badly, who benefits most, and what should the next trial be?"
    )
    return Summary(
        question=question,
        answer=_findings(analysis, facts),
        next_steps=_next_steps(facts),
        certainty=_certainty(analysis, facts),
        verdict=outcome_decision(analysis, facts),
    )


def _findings(analysis: Analysis, facts: OutcomeFacts) -> list[Finding]:
    experimental, control = arm_words(analysis)
    effect, means = facts.effect, facts.effect.means
    shown = [f"{100 * one:.1f} %" if facts.binary else format_number(one) for one in means]
    what = "Risk difference" if facts.binary else "Difference in means"
    found = [
        Finding(
            f"{what}, {experimental} less {control}",
            interval_words(effect.difference),
            f"{format_count(effect.difference.n or 0)} patients; primary analysis, {effect.test}, p {equals(effect.p)} two-sided; "
            f"unadjusted {shown[1]} with {experimental}, {shown[0]} with {control}",
        ),
        Finding(
            "Does the effect differ between patients?",
            "shown" if facts.differs else "not shown",
            f"global permutation test p {equals(facts.heterogeneity.p)}; asked before any subgroup was learned from the data",
        ),
        _model_finding(facts),
    ]
    rows = facts.strata.rows
    if len(rows) > 1:
        low, high = rows.iloc[0], rows.iloc[-1]
        unit = f" {facts.strata.unit}" if facts.strata.unit else ""
        found.append(
            Finding(
                f"Benefit in '{high['stratum']}' and in '{low['stratum']}'"
                + ("" if facts.differs else ", exploratory"),
                f"{format_number(high['benefit'])} and {format_number(low['benefit'])}{unit}",
                f"{facts.strata.scale}, on patients the rule had not seen; difference {interval_words(facts.strata.difference)}",
            )
        )
    return [*found, _plan_finding(facts)]


def _model_finding(facts: OutcomeFacts) -> Finding:
    lead = facts.lead
    if facts.binary:
        return Finding(
            "Risk model: patients ordered rightly",
            f"{100 * lead.value:.0f} % of pairs (95% CI {100 * lead.low:.0f} to {100 * lead.high:.0f})",
            "area under the ROC curve, arm and covariates together, on patients not used for fitting; 50 % is chance",
        )
    return Finding(
        "Risk model: variance explained",
        f"{100 * lead.value:.0f} % (95% CI {100 * lead.low:.0f} to {100 * lead.high:.0f})",
        f"{lead.scale}, on patients not used for fitting; 0 % is no better than a mean for everybody",
    )


def _plan_finding(facts: OutcomeFacts) -> Finding:
    row, plan = facts.plan.plans.iloc[0], facts.plan
    if row["note"]:
        return Finding("Next trial in all comers", "not planned", str(row["note"]))
    unit = f" {plan.unit}" if plan.unit else ""
    return Finding(
        "Next trial in all comers",
        f"{format_count(row['patients'])} patients, {row['months']:.0f} months",
        f"{100 * row['power']:.0f} % power for a benefit of {format_number(row['planning_benefit'])}{unit} ({plan.scale}), one-sided alpha "
        f"{plan.alpha:g}; assurance (power averaged over this trial's uncertainty) {100 * row['assurance']:.0f} %",
    )


def _next_steps(facts: OutcomeFacts) -> list[str]:
    plans = facts.plan.plans
    fixed = plans[(plans["design"] == plans["design"].iloc[0]) & (plans["note"] == "")]
    steps = []
    everyone = fixed[(fixed["prevalence"] == 1) & ~fixed["model_useless"]]
    if len(everyone):
        row = everyone.iloc[0]
        steps.append(
            f"A trial in all comers takes {format_count(row['patients'])} patients over {row['months']:.0f} months (chapter The next trial)."
        )
    enriched = fixed[(fixed["prevalence"] < 1) & ~fixed["model_useless"]]
    if len(enriched):
        row = enriched.iloc[0]
        useless = fixed[fixed["model_useless"] & (fixed["population"] == row["population"])]["power"]
        lost = (
            f"; if the model were useless its power would be {100 * useless.iloc[0]:.0f} % instead of {100 * row['power']:.0f} %"
            if len(useless) and useless.iloc[0] < row["power"]
            else ""
        )
        steps.append(
            f"Enrolling '{row['population']}' would take {format_count(row['patients'])} patients, with {format_count(row['screened'])} "
            f"screened and {row['months']:.0f} months{lost}"
            + ("." if facts.differs else "; no test has shown that these patients respond better.")
        )
    return [*steps, _NO_FURTHER]


def _certainty(analysis: Analysis, facts: OutcomeFacts) -> list[str]:
    experimental, control = arm_words(analysis)
    adjusted = (
        "adjusted for the covariates that the study file names"
        if analysis.study.effects.adjust_for
        else "not adjusted for covariates"
    )
    sure = [
        f"The comparison of {experimental} with {control} is randomised; the primary analysis is {adjusted}, the other one stands beside it.",
        f"The risk model was judged on patients not used for fitting, but of the same trial: calibration slope {interval_words(facts.slope)}.",
    ]
    flow = analysis.only(AnalysisSet)
    left = flow.read - flow.analysed
    if left:
        sure.append(
            f"{format_count(left)} of {format_count(flow.read)} patients of the file are not analysed (see Patients analysed): the effect "
            "is that of patients with a recorded outcome, which is the effect in all only if outcomes are missing at random."
        )
    return sure + data_doubts(analysis)


def outcome_leads(analysis: Analysis) -> dict[str, str]:
    """Return a sentence that opens each chapter that needs one."""
    facts = OutcomeFacts.of(analysis)
    experimental, control = arm_words(analysis)
    errors = analysis.study.design.discount_standard_errors
    asked = analysis.study.models
    risk = model_named(analysis.model_name("risk"), "risk").words
    response = model_named(asked.response.model, "response").words
    predicted = prediction_name(facts.effect.kind, higher_is_better=facts.effect.higher_is_better)
    made_by = strata_made_by(analysis.study.strata.kind, predicted)
    return {
        "effects": (
            f"The primary contrast is {experimental} against {control}; every other comparison is secondary. The question whether the "
            "effect differs between patients is asked by one test, before any subgroup is learned from the data."
        ),
        "models": (
            f"Risk: {risk}; cross-validated in {asked.risk.folds} folds, {analysis.repeats('risk')} times. "
            f"{_ARM[asked.risk.treatment]} Response: {response}; cross-validated in {asked.response.folds} folds, "
            f"{analysis.repeats('response')} times, everything learned again in each."
        ),
        "validation": "Every number here is from patients whom the model had not seen, or corrected for optimism, unless it is marked apparent.",
        "explain": (
            "What moves the risk model (who does badly) and what moves the benefit score (who will benefit) are different questions "
            "and are shown apart. Both describe the models, not causes."
        ),
        "strata": f"Strata group patients by {made_by}. The scale is absolute ({facts.strata.scale}).",
        "design": (
            f"The plans take the benefit that this trial estimated, made less favourable by {errors:g} standard "
            f"error{'' if errors == 1 else 's'}. All figures are computed for these assumptions; alpha is {facts.plan.alpha:g} "
            "one-sided. Assurance is the power averaged over the sampling uncertainty of this trial's benefit."
        ),
    }


def outcome_limitations() -> list[str]:
    """Return what this analysis cannot say."""
    return [
        "Patients without a recorded outcome are not analysed; outcomes are taken as missing at random within arms, and no outcome was "
        "imputed. How far a departure from that would change the conclusion (a tipping point) is not part of a run on this kind of endpoint.",
        "The models were developed and judged within one trial; performance elsewhere is unknown.",
        "Strata were formed and examined in the same trial; cross-fitting removes the optimism of the search, not the chance of this sample.",
        "Intervals of cross-fitted effects take the rules that the repeats learned as given; the intervals of several strata are not "
        "adjusted for multiplicity: they are no test, and only the global test guards against finding differences by chance. Their coverage "
        "was simulated for a time to event, not for this kind of endpoint.",
        "The next trial is planned for this trial's mean or share under control; accrual and dropout are those of the study file. Assurance "
        "allows for the sampling error of this trial's benefit alone: not for a prior doubt that the effect exists, nor for differences between "
        "this trial and the next.",
    ]

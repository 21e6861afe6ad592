"""The words of a design that rests on a tracked model: page one of its report, its limits, and its description in MLflow."""

from __future__ import annotations

from trialml.design.recommendation import Recommendation
from trialml.design_from_model import DesignedFromModel
from trialml.report.document import Finding, Summary
from trialml.result import format_count
from trialml.tracking.design_links import version_page

__all__ = ["describe", "limitations_of_design", "notes_of", "summarise_design", "title_of"]


def title_of(designed: DesignedFromModel) -> str:
    """Return the report's title."""
    return f"The next trial after {designed.model.study.study.name}"


def notes_of(designed: DesignedFromModel) -> list[str]:
    """Return what a reader must know before any number."""
    model = designed.model
    notes = [said for said in (designed.overridden, designed.unneeded) if said]
    if model.version.tags.get("trialml.quick") == "true":
        notes.append(f"{model.label} comes from a quick run with few repeats: do not quote these numbers.")
    return notes


def summarise_design(designed: DesignedFromModel) -> Summary:
    """Return page one: the model and its data, the recommendation, and what it rests on."""
    if designed.bridge is None:
        return _summarise_risk(designed)
    return Summary(
        question="Which trial should come next: in all comers, in the patients whom the response model selects, or in both?",
        answer=[*_rests_on(designed), *_findings(designed)],
        next_steps=_next_steps(designed),
        certainty=(designed.bridge.sensitivity.text(), designed.bridge.more_data.text()),
        verdict=designed.bridge.recommendation.text(),
    )


def _summarise_risk(designed: DesignedFromModel) -> Summary:
    """Return page one of a risk model: its thresholds where its endpoint has them, and what adjusting for the score saves."""
    assert designed.prognostic is not None
    assert designed.adjustment is not None
    adjusted = "Name the score among the covariates of the analysis before the trial starts."
    if designed.has_no_thresholds:
        return Summary(
            question="Would an analysis adjusted for the predicted outcome need fewer patients?",
            answer=_rests_on(designed),
            next_steps=(adjusted,),
            certainty=(designed.prognostic.text(),),
            verdict=designed.adjustment.text(),
        )
    return Summary(
        question="Would a trial in patients at higher risk need fewer patients, less time or less money?",
        answer=_rests_on(designed),
        next_steps=("Set the threshold with the clinicians: it decides for whom the trial will speak.", adjusted),
        certainty=(
            designed.adjustment.text(),
            "The effect is taken to be one ratio for everybody: the risk model says nothing of it.",
        ),
        verdict=designed.prognostic.text(),
    )


def _rests_on(designed: DesignedFromModel) -> list[Finding]:
    model = designed.model
    aliases = f" ({', '.join(model.version.aliases)})" if model.version.aliases else ""
    verdict = model.evidence.validation
    passed = "passed its validation" if verdict.passed else f"failed its validation: {', '.join(verdict.failed)}"
    return [
        Finding("Model", f"{model.label}{aliases}", f"run {model.version.run_id}; {passed}"),
        Finding("Data", f"sha256 {model.data_sha256[:12]}", f"of {model.study.study.name}, whole: {model.data_sha256}"),
    ]


def _findings(designed: DesignedFromModel) -> list[Finding]:
    bridge = designed.bridge
    assert bridge is not None
    name = bridge.recommendation.option
    row, useless = bridge.options.row(name), bridge.options.row(name, useless=True)
    cost = f", cost {format_count(row['cost'])}" if bridge.options.budget_unit == "money" else ""
    return [
        _option_finding(bridge.recommendation),
        Finding(
            "Size",
            f"{format_count(row['patients'])} patients, {row['months']:.0f} months",
            f"{format_count(row['screened'])} screened{cost}; {bridge.setting.screened_per_month:g} can be screened a month",
        ),
        Finding(
            "Assurance",
            f"{100 * row['assurance']:.0f} %",
            f"right conclusion {100 * row['right_conclusion']:.0f} %, false claim {100 * row['false_claim']:.1f} % (least effect worth claiming: "
            f"{bridge.options.minimum})",
        ),
        Finding(
            "If the model is useless",
            f"{100 * useless['assurance']:.0f} %",
            f"assurance; right conclusion {100 * useless['right_conclusion']:.0f} %, false claim {100 * useless['false_claim']:.1f} %",
        ),
    ]


def _option_finding(found: Recommendation) -> Finding:
    if found.gate_open:
        return Finding(
            "Recommended option",
            f"{found.option}, probability {100 * found.probability:.0f} %",
            "probability that no other option has more right conclusions less false claims at equal budget; the gate is open",
        )
    best = found.rows.set_index("option")["best"]
    return Finding(
        "Recommended option",
        f"{found.option}: the gate is closed",
        f"probability of being the best by the posterior alone: all comers {100 * found.probability:.0f} %, '{found.without_gate}' "
        f"{100 * best[found.without_gate]:.0f} %",
    )


def _next_steps(designed: DesignedFromModel) -> list[str]:
    bridge = designed.bridge
    assert bridge is not None
    steps = [
        "Settle the least effect worth claiming with the clinicians, and design again with it: everything here is judged by it.",
        "Give the protocol text (protocol.md) to the trial's statistician; make the randomisation list apart from this report.",
    ]
    if bridge.recommendation.option != "all comers":
        steps.append("Validate the response model on patients of another trial before it selects anybody.")
    return steps


def limitations_of_design(designed: DesignedFromModel) -> list[str]:
    """Return what such a design cannot say."""
    said = [
        "The next trial's patients are taken to be like those of this one: another population, another care or another follow-up moves everything.",
        "Alpha is one-sided throughout.",
        "Costs are those of screening and treating the planned patients; a trial that fails, and a drug that reaches nobody, have no price here.",
    ]
    if designed.bridge is not None:
        said.insert(
            1,
            "The joint posterior is normal, from cross-fitted effects after shrinkage; it allows for the error of this trial, not for a prior doubt that "
            "the effect exists.",
        )
    return said


def describe(designed: DesignedFromModel) -> str:
    """Return the description of the design's run: line 1 is plain text, then links and the sentences of the results."""
    model = designed.model
    if designed.bridge is not None:
        found = designed.bridge.recommendation
        first = f"DESIGN  {found.option}"
        first += (
            f", best of {len(found.rows)} options with probability {100 * found.probability:.0f} %"
            if found.gate_open
            else ", gate closed"
        )
    elif designed.has_no_thresholds:
        first = "DESIGN  analysis adjusted for the predicted outcome"
    else:
        first = "DESIGN  prognostic enrichment by the predicted risk"
    if designed.overridden:
        first = f"OVERRIDDEN VALIDATION  {first}"
    run = f"[run](#/experiments/{model.experiment_id}/runs/{model.version.run_id})"
    shown = [one for one in designed.results if one not in designed.sections]
    return "\n".join(
        [
            f"{first}, from {model.label}",
            "",
            f"- Rests on {version_page(model.version)} ({run}), data sha256 {model.data_sha256}.",
            *([f"- **{designed.overridden}**"] if designed.overridden else []),
            *(f"- **{one.heading()}.** {one.text()}" for one in shown),
        ]
    )

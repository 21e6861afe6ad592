"""The text of the next trial's protocol: eligibility, strata, randomisation, hypotheses and sample size, from the numbers of the bridge.

The sections are results, so that the report shows them; `protocol_text` writes the same as Markdown. The randomisation list itself is in
neither: it would unblind whoever reads them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from trialml.design.bridge_comparison import BridgeOptions
from trialml.design.bridge_options import PlannedOption
from trialml.design.recommendation import Recommendation
from trialml.design.response_evidence import ResponseEvidence
from trialml.result import Result, format_count, format_number

__all__ = ["ProtocolSection", "ProtocolWords", "protocol_sections", "protocol_text", "stratum_factor"]

SCHOENFELD = (
    "Schoenfeld DA. Sample-size formula for the proportional-hazards regression model. Biometrics 1983;39:499-503."
)
JULIOUS = "Julious SA. Sample sizes for clinical trials with normal data. Stat Med 2004;23:1921-1986."
OHAGAN = "O'Hagan A, Stevens JW, Campbell MJ. Assurance in clinical trial design. Pharm Stat 2005;4:187-201."
SIMES = "Simes RJ. An improved Bonferroni procedure for multiple tests of significance. Biometrika 1986;73:751-754."
MARCUS = (
    "Marcus R, Peritz E, Gabriel KR. On closed testing procedures with special reference to ordered analysis of variance. Biometrika "
    "1976;63:655-660."
)
JENKINS = (
    "Jenkins M, Stone A, Jennison C. An adaptive seamless phase II/III design for oncology trials with subpopulation selection using "
    "correlated survival endpoints. Pharm Stat 2011;10:347-356."
)
FDA_ENRICHMENT = (
    "US Food and Drug Administration. Enrichment Strategies for Clinical Trials to Support Determination of Effectiveness of Human Drugs "
    "and Biological Products. Guidance for Industry; March 2019."
)
FDA_ADAPTIVE = "US Food and Drug Administration. Adaptive Designs for Clinical Trials of Drugs and Biologics. Guidance for Industry; November 2019."
ICH_E9 = "International Council for Harmonisation. E9 Statistical Principles for Clinical Trials; 1998."


@dataclass(frozen=True)
class ProtocolWords:
    """What a protocol says that is no number.

    Attributes
    ----------
    population, variable
        As in the estimand: who, and what is measured.
    experimental, control
        The arms.
    strata
        Name and rule of every stratum.
    statements
        What holds for all rules: values on a cut-point, missing values, new ones.
    factors
        What this trial's randomisation was stratified by.
    block
        Size of a permuted block.
    """

    population: str
    variable: str
    experimental: str
    control: str
    strata: tuple[tuple[str, str], ...]
    statements: tuple[str, ...]
    factors: tuple[str, ...]
    block: int


@dataclass(frozen=True, eq=False)
class ProtocolSection(Result):
    """One section of the protocol: paragraphs, a table where there is one, and the sources it cites.

    Attributes
    ----------
    name
        The section's heading.
    paragraphs
        Its text.
    rows
        Its table, with the heads that are read; empty for none.
    cites
        Full references.
    """

    title: ClassVar[str] = "Protocol text"
    methods: ClassVar[str] = (
        "The protocol text states the option that was recommended, with the numbers of the comparison; it is a draft for the trial's "
        "statistician and cites its own sources."
    )
    references: ClassVar[tuple[str, ...]] = (FDA_ENRICHMENT, FDA_ADAPTIVE, ICH_E9)

    name: str
    paragraphs: tuple[str, ...]
    rows: pd.DataFrame
    cites: tuple[str, ...] = ()

    def heading(self) -> str:
        """Return the section's heading, marked as protocol text."""
        return f"Protocol: {self.name}"

    def frame(self) -> pd.DataFrame:
        """Return one row a paragraph, then one a row of the table."""
        told = [*self.paragraphs, *(" | ".join(str(cell) for cell in row) for row in self.rows.to_numpy())]
        return pd.DataFrame({"section": self.name, "text": told})

    def text(self) -> str:
        """Return the paragraphs."""
        return " ".join(self.paragraphs)

    def scalars(self) -> dict[str, float]:
        """Return nothing: its numbers are those of the comparison."""
        return {}

    def table(self) -> pd.DataFrame | None:
        """Return the section's table, None where it has none."""
        return None if self.rows.empty else self.rows

    def markdown(self, number: int, cited: dict[str, int]) -> str:
        """Return the section as Markdown, its sources numbered by `cited`, which grows."""
        marks = [cited.setdefault(source, len(cited) + 1) for source in self.cites]
        after = f" [{', '.join(str(mark) for mark in sorted(marks))}]" if marks else ""
        parts = [f"## {number}. {self.name}", *self.paragraphs[:-1], f"{self.paragraphs[-1]}{after}"]
        if not self.rows.empty:
            parts.append(_markdown_table(self.rows))
        return "\n\n".join(parts)


def _markdown_table(rows: pd.DataFrame) -> str:
    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(list(rows.columns)), line(["---"] * rows.shape[1]), *(line(row) for row in rows.to_numpy())])


def protocol_text(title: str, sections: Sequence[ProtocolSection], rests_on: str) -> str:
    """Return the sections as one Markdown text with numbered references.

    Parameters
    ----------
    title
        Of the protocol.
    sections
        In order.
    rests_on
        The model, its version and the digest of its data.
    """
    cited: dict[str, int] = {}
    told = [one.markdown(number, cited) for number, one in enumerate(sections, start=1)]
    listed = [f"{number}. {source}" for source, number in cited.items()]
    head = f"# {title}\n\nDraft for the trial's statistician, written from numbers. {rests_on}"
    return "\n\n".join([head, *told, "## References", "\n".join(listed)]) + "\n"


def protocol_sections(
    evidence: ResponseEvidence,
    option: PlannedOption,
    options: BridgeOptions,
    recommendation: Recommendation,
    words: ProtocolWords,
) -> tuple[ProtocolSection, ...]:
    """Return the sections on eligibility, strata and randomisation, hypotheses, and sample size.

    Parameters
    ----------
    evidence, option, options, recommendation
        The bridge: what the model carries, the option that is recommended at its size, and what it was compared with.
    words
        What is no number.

    Returns
    -------
    tuple of ProtocolSection
        In the order of a protocol; the simulation report is `trialml.design.simulation_report`.
    """
    return (
        _eligibility(evidence, option, words),
        _strata(evidence, option, words),
        _hypotheses(option, words),
        _sample_size(evidence, option, options, recommendation),
    )


def _section(name: str, paragraphs: Sequence[str], rows: pd.DataFrame | None = None, *cites: str) -> ProtocolSection:
    return ProtocolSection(name, tuple(paragraphs), pd.DataFrame() if rows is None else rows, tuple(cites))


def _model(evidence: ResponseEvidence) -> str:
    version = f" version {evidence.model_version}" if evidence.model_version else ""
    return f"{evidence.model_name}{version}"


def _eligibility(evidence: ResponseEvidence, option: PlannedOption, words: ProtocolWords) -> ProtocolSection:
    share = evidence.prevalence
    population = words.population.rstrip(".")
    fixed = (
        f"The rule is that of {_model(evidence)}, which was learned before this trial (data sha256 {evidence.data_sha256}); it is fixed before the "
        "first patient is screened and is not learned again."
    )
    told = [f"Patients are eligible who belong to this population: {population}."]
    if option.name == "enriched":
        told += [
            f"In addition a patient must belong to the stratum defined at baseline by this rule: {evidence.rule}. Not eligible: {evidence.complement}.",
            f"About {100 * share.value:.0f} % of screened patients are expected to meet the rule (95% CI {100 * share.low:.0f} to "
            f"{100 * share.high:.0f} %).",
            fixed,
            "A patient whose covariates are missing or outside what the rule permits is screened again or left out; the reason is recorded.",
        ]
    elif option.name == "all comers":
        told.append(
            f"No model restricts eligibility: patients inside the stratum of {_model(evidence) or 'the response model'} ({evidence.rule}) and outside it are enrolled alike."
        )
    else:
        told += [
            f"Eligibility is not restricted at the start, but every patient is put at baseline inside or outside the stratum: {evidence.rule}.",
            fixed,
        ]
        if option.name == "adaptive enrichment":
            told.append(
                f"After the interim analysis enrolment may be restricted to the stratum; then not eligible: {evidence.complement}."
            )
    return _section("Eligibility", told, None, FDA_ENRICHMENT)


def stratum_factor(option: PlannedOption) -> dict[str, list[str]]:
    """Return the stratification factor that the rule makes, by name with its levels; empty where the trial has one side alone, or no rule."""
    return {} if option.name in ("enriched", "all comers") else {"stratum": ["inside", "outside"]}


def _strata(evidence: ResponseEvidence, option: PlannedOption, words: ProtocolWords) -> ProtocolSection:
    ratio = option.information.setting.allocation_ratio
    factors = [*words.factors, *stratum_factor(option)]
    within = (
        ""
        if not factors
        else f", within {'every combination of ' if factors[1:] else 'the levels of '}{', '.join(factors)}"
    )
    told = [
        f"Patients are randomised {_ratio(ratio)} to {words.experimental} and {words.control} by permuted blocks of {words.block}{within}.",
        "The list is made before the first patient by somebody who has no other part in the trial, and is kept apart from this protocol: it is "
        "in no report and in no tracked run, nor is the seed it came from.",
    ]
    rows = None
    if option.name != "all comers":
        told += list(words.statements)
        # The trial is randomised and tested by the two sides of the rule that was taken; the model's own strata may be more.
        sides = [("inside", evidence.rule), ("outside", evidence.complement)]
        own = [(f"of the model: {name}", rule) for name, rule in words.strata]
        rows = pd.DataFrame([*sides, *(own if len(own) > len(sides) else [])], columns=["Stratum", "Rule"])
    return _section("Strata and randomisation", told, rows, ICH_E9)


def _ratio(ratio: float) -> str:
    return "1:1" if ratio == 1 else f"{ratio:g}:1"


def _hypotheses(option: PlannedOption, words: ProtocolWords) -> ProtocolSection:
    alpha = f"{option.alpha:g} one-sided"
    test = {
        "time to event": "the log-rank test stratified by the factors of the randomisation",
        "binary": "the test of a risk difference",
        "continuous": "the analysis of covariance",
    }[option.information.endpoint.kind]
    arms = f"{words.experimental} against {words.control}"
    shared = f"The variable is: {words.variable.rstrip('.')}. The test is {test}, {arms}."
    own: dict[str, tuple[list[str], tuple[str, ...]]] = {
        "all comers": ([f"One hypothesis is tested: no effect in all patients enrolled, at {alpha}."], ()),
        "enriched": ([f"One hypothesis is tested: no effect in the stratum, the only patients enrolled, at {alpha}. The trial says nothing of others."], ()),
        "hierarchical": (
            [f"Two hypotheses are tested in a fixed order, each at {alpha}: no effect in the stratum, and only if it is rejected, no effect in all "
             "patients. The order is a closed test and holds the familywise error."],
            (MARCUS,),
        ),
        "co-primary": (
            [f"Two hypotheses are tested: no effect in the stratum and no effect in all patients. Simes' test of their intersection, then each at "
             f"{alpha}, is a closed test and holds the familywise error."],
            (SIMES, MARCUS),
        ),
    }  # fmt: skip
    told, cites = own.get(option.name) or (_adaptive_words(option, alpha), (JENKINS, SIMES, MARCUS))
    return _section("Hypotheses and multiplicity", [shared, *told], None, *cites)


def _adaptive_words(option: PlannedOption, alpha: str) -> list[str]:
    stages = option.stages
    assert stages is not None
    everyone, alone = option.information.setting.conditional_powers
    further = f"{format_count(stages.alone)} further patients of the stratum alone"
    otherwise = (
        f"else, if that of the stratum is at least {100 * alone:.0f} %, {further}; else the trial stops for futility."
        if alone > 0
        else f"else {further}; the trial does not stop for futility."
    )
    weights = math.sqrt(stages.fraction), math.sqrt(1 - stages.fraction)
    return [
        f"Two hypotheses are tested: no effect in the stratum and no effect in all patients. An interim analysis takes place when {format_count(stages.first)} "
        f"patients are enrolled, expected at month {stages.interim:.1f}, with {100 * stages.fraction:.0f} % of the planned information.",
        f"If the conditional power of all patients under the effect seen is at least {100 * everyone:.0f} %, {format_count(stages.further)} further patients of all kinds "
        f"are enrolled; {otherwise} Nothing is rejected at the interim analysis.",
        f"The stages' statistics are combined by the inverse normal method with the weights {weights[0]:.3f} and {weights[1]:.3f}, fixed now, and the "
        f"hypotheses tested by a closed test with Simes' test of the intersection, at {alpha} familywise.",
    ]


def _sample_size(
    evidence: ResponseEvidence,
    option: PlannedOption,
    options: BridgeOptions,
    recommendation: Recommendation,
) -> ProtocolSection:
    asked, row = option.information.setting, options.row(option.name)
    useless = options.row(option.name, useless=True)
    timed = evidence.endpoint.timed
    inside, outside = (evidence.effect(place).text().replace("95% CI", "95% credible interval") for place in (0, 1))
    source = "events follow Schoenfeld's formula" if timed else "information follows the variance of the difference"
    told = [
        f"{_choice(option, options, recommendation)} "
        f"{format_count(row['patients'])} patients are randomised, with {format_count(row['screened'])} screened, over {format_number(row['months'])} months "
        f"in all, of which {option.accrual_months:.1f} of recruitment if all goes on as planned.",
        f"The effects are taken from a joint posterior after shrinkage, cross-fitted in the trial that the model was learned from: {inside} inside the "
        f"stratum and {outside} outside. Over this posterior the assurance, the probability of rejecting a hypothesis, is "
        f"{100 * row['assurance']:.1f} %; the probability of a right conclusion (rejecting where the effect is at least {options.minimum}) is "
        f"{100 * row['right_conclusion']:.1f} %, of a false claim {100 * row['false_claim']:.1f} %. If the model were useless they would be "
        f"{100 * useless['assurance']:.1f}, {100 * useless['right_conclusion']:.1f} and {100 * useless['false_claim']:.1f} %.",
        f"Alpha is {option.alpha:g} one-sided and familywise; {source}. Patients are screened at {asked.screened_per_month:g} a month and followed for {asked.follow_up_months:g} "
        f"months after the last is enrolled; {_loss(asked.dropout_per_month, asked.lost)}.",
    ]
    return _section("Sample size", told, _size_rows(evidence, option), SCHOENFELD if timed else JULIOUS, OHAGAN)


def _choice(option: PlannedOption, options: BridgeOptions, found: Recommendation) -> str:
    unit = "in cost" if options.budget_unit == "money" else "patients"
    among = f"among {len(found.rows)} options at equal budget ({format_count(options.budget)} {unit})"
    if found.gate_open:
        return f"The option '{option.name}' was chosen {among}: it is the best with probability {100 * found.probability:.0f} %."
    return f"The option '{option.name}' was taken {among} because the evidence does not carry enrichment: {'; '.join(found.shortcomings)}."


def _loss(hazard: float, lost: float) -> str:
    if lost > 0:
        return f"{100 * lost:.1f} % are expected to have no outcome"
    return f"{100 * (1 - math.exp(-12 * hazard)):.1f} % a year are expected to leave without an event"


def _size_rows(evidence: ResponseEvidence, option: PlannedOption) -> pd.DataFrame:
    """Return what the size assumes of the patients inside and outside the stratum."""
    share = evidence.share
    rows = []
    for place, (name, part) in enumerate((("inside", share), ("outside", 1 - share))):
        group, effect = evidence.groups[place], evidence.effect(place)
        under = (
            f"{group.control_hazard_per_month:.4f} events a month"
            if evidence.endpoint.timed
            else f"{format_number(group.control_mean)} {evidence.endpoint.unit}".strip()
        )
        kept = 0.0 if option.name == "enriched" and name == "outside" else part
        planned = option.patients * (1.0 if option.name == "enriched" and name == "inside" else kept)
        rows.append(
            (
                name,
                f"{100 * part:.0f} %",
                under,
                f"{format_number(effect.value)} ({format_number(effect.low)} to {format_number(effect.high)})",
                format_count(planned),
            )
        )
    effect_head = (
        "Hazard ratio (95% credible interval)" if evidence.endpoint.timed else "Effect (95% credible interval)"
    )
    return pd.DataFrame(
        rows, columns=["Stratum", "Share of screened", "Under control", effect_head, "Patients planned"]
    )

"""The verdict on each model and on the whole for a binary or continuous endpoint: chosen by rule from the results."""

from __future__ import annotations

from dataclasses import dataclass

from trialml.analysis import Analysis
from trialml.design.outcome_enrichment import OutcomeEnrichment
from trialml.effects.heterogeneity import Heterogeneity
from trialml.effects.primary_outcome import PrimaryOutcome
from trialml.endpoint_judging import MODEL_WORDS
from trialml.models.coefficients import Coefficients
from trialml.models.learned_model import LearnedModel
from trialml.result import Estimate, format_count
from trialml.strata.outcome_effects import OutcomeStratumEffects
from trialml.validation.benefit import BenefitCalibration
from trialml.validation.binary import BinaryPerformance
from trialml.validation.binary_calibration import BinaryCalibration
from trialml.validation.continuous import ContinuousPerformance
from trialml.verdicts import (
    BAND,
    FEWEST_EVENTS,
    FEWEST_EVENTS_A_PARAMETER,
    SMALLEST_C,
    Verdicts,
    arm_words,
    equals,
    interval_words,
)

__all__ = ["OutcomeFacts", "outcome_decision", "outcome_verdicts"]


@dataclass(frozen=True)
class OutcomeFacts:
    """The results that the words rest on."""

    effect: PrimaryOutcome
    heterogeneity: Heterogeneity
    strata: OutcomeStratumEffects
    plan: OutcomeEnrichment
    benefit: BenefitCalibration
    lead: Estimate
    """The area under the ROC curve, or R-squared within arms; on patients not used for fitting."""
    calibration: dict[str, Estimate]
    """Slopes and, of a binary endpoint, observed over expected, by name, likewise; the slope of all patients first."""
    lower_worst: bool
    """Whether the strata are ordered by a prediction of which a lower one is the worse prognosis, so that the lower are enriched."""
    informative: int
    """Events, or of a continuous endpoint patients."""
    per_parameter: float

    @classmethod
    def of(cls, analysis: Analysis) -> OutcomeFacts:
        """Return the facts of a finished analysis."""
        described: tuple[Coefficients | LearnedModel, ...] = (
            *analysis.about(Coefficients),
            *analysis.about(LearnedModel),
        )
        risk = next(found for found in described if found.subject == "risk")
        lead, calibration = _performance(analysis)
        return cls(
            analysis.only(PrimaryOutcome),
            analysis.only(Heterogeneity),
            analysis.only(OutcomeStratumEffects),
            analysis.only(OutcomeEnrichment),
            analysis.only(BenefitCalibration),
            lead,
            calibration,
            analysis.study.strata.kind == "risk" and analysis.trial.endpoint.higher_is_better,
            risk.events,
            risk.events_per_parameter,
        )

    @property
    def slope(self) -> Estimate:
        """The calibration slope of all patients."""
        return self.calibration["the calibration slope"]

    @property
    def binary(self) -> bool:
        """Whether the endpoint is an event."""
        return self.effect.kind == "binary"

    @property
    def differs(self) -> bool:
        """Whether the global test of heterogeneity rejects at 5 %."""
        return self.heterogeneity.p < 0.05

    @property
    def gain_differs(self) -> bool:
        """Whether the strata that a next trial would enrol gain more, by the cross-fitted interval of the outer ones' difference: a description, not a test."""
        found = self.strata.difference
        return len(self.strata.rows) > 1 and (found.high < 0 if self.lower_worst else found.low > 0)

    @property
    def enriched(self) -> str:
        """Which strata these are."""
        return "the lower strata" if self.lower_worst else "the higher strata"


def outcome_verdicts(analysis: Analysis) -> Verdicts:
    """Return the verdict on each model and on the whole."""
    facts = OutcomeFacts.of(analysis)
    mark = "QUICK RUN  " if analysis.quick else ""
    return Verdicts(mark + _risk_verdict(facts), mark + _response_verdict(facts), outcome_decision(analysis, facts))


def _risk_verdict(facts: OutcomeFacts) -> str:
    name = "AUC" if facts.binary else facts.lead.scale.replace("²", "-squared")
    short = _shortcomings(facts)
    lead, slope = facts.lead, facts.slope
    counted = "events" if facts.binary else "patients"
    return (
        f"{'REVIEW' if short else 'PASS'}  {name} {lead.value:.3f} (95% CI {lead.low:.3f} to {lead.high:.3f}) cross-fitted, "
        f"calibration slope {slope.value:.2f} (95% CI {slope.low:.2f} to {slope.high:.2f}), {format_count(facts.informative)} {counted}; "
        "internal validation only" + (f"; short of the policy in {', '.join(short)}" if short else "")
    )


def _shortcomings(facts: OutcomeFacts) -> list[str]:
    """Return what the promotion policy asks of a risk model and this one does not have."""
    asked = {
        "the AUC" if facts.binary else "R-squared": facts.lead.low >= (SMALLEST_C if facts.binary else 0.0),
        **{name: BAND[0] <= one.value <= BAND[1] for name, one in facts.calibration.items()},
        "events" if facts.binary else "patients": facts.informative >= FEWEST_EVENTS,
        "events per parameter" if facts.binary else "patients per parameter": facts.per_parameter
        >= FEWEST_EVENTS_A_PARAMETER,
    }
    return [name for name, met in asked.items() if not met]


def _response_verdict(facts: OutcomeFacts) -> str:
    words = "HETEROGENEITY SHOWN" if facts.differs else "NO HETEROGENEITY SHOWN"
    said = f"{words}  global test p {equals(facts.heterogeneity.p)}"
    if len(facts.strata.rows) > 1:
        said += (
            f", highest less lowest stratum {interval_words(facts.strata.difference)} ({facts.strata.scale}), cross-fitted"
            f"{'' if facts.differs else ', exploratory'}"
        )
    return f"{said}, n = {format_count(facts.heterogeneity.n)}"


def outcome_decision(analysis: Analysis, facts: OutcomeFacts) -> str:
    """Return what the trial showed and what follows for the next one, in two sentences."""
    experimental, control = arm_words(analysis)
    effect = facts.effect
    what = "risk difference" if facts.binary else "difference in means"
    shown = f"({what} {interval_words(effect.difference)}, {effect.test}, p {equals(effect.p)} two-sided)"
    if effect.direction == "worse":
        return (
            f"Patients did worse with {experimental} than with {control} {shown}: nothing here supports a further trial of {experimental} "
            f"against {control}."
        )
    if effect.direction == "not shown":
        return (
            f"The trial did not show a difference between {experimental} and {control} {shown}, which does not show that there is none; "
            f"{_differences(facts)}. Whether another trial is worth its size is in the chapter The next trial."
        )
    advice = "nothing here is ground to restrict the next trial to a subgroup, so plan it in all comers"
    if facts.differs and facts.gain_differs:
        advice = f"weigh a trial enriched for {facts.enriched} against one in all comers"
    found = _differences(facts)
    return (
        f"Patients did better with {experimental} than with {control} {shown}. {found[0].upper()}{found[1:]}: {advice}."
    )


def _differences(facts: OutcomeFacts) -> str:
    """Return what may be said of differences between patients: the global test first, then the strata."""
    if facts.differs and facts.gain_differs:
        return "the global test and the cross-fitted strata agree that the effect differs between patients"
    if facts.differs:
        return (
            "the global test says that the effect differs between patients, but the strata do not yet tell them apart"
        )
    said = "the effect is not shown to differ between patients"
    return said + (f", and the larger benefits in {facts.enriched} are exploratory" if facts.gain_differs else "")


def _performance(analysis: Analysis) -> tuple[Estimate, dict[str, Estimate]]:
    """Return discrimination or R-squared, and what calibration is judged by, of patients not used for fitting."""
    if analysis.trial.endpoint.kind == "continuous":
        found = analysis.only(ContinuousPerformance)
        within = "R² within arm" in set(found.measures["measure"])
        lead = found.estimate("R² within arm" if within else "R²", MODEL_WORDS)
        return lead, {"the calibration slope": found.estimate("calibration slope", MODEL_WORDS)}
    known = analysis.only(BinaryCalibration)
    named = {"the calibration slope": known.slope, "observed over expected": known.ratio}
    calibrated = {name: by_arm["both arms"] for name, by_arm in named.items()}
    under = {f"{name} under control": by_arm["control"] for name, by_arm in named.items() if "control" in by_arm}
    return analysis.only(BinaryPerformance).estimate("AUC", MODEL_WORDS), calibrated | under

"""The verdict on each model and on the whole: chosen by rule from the results, never written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trialml.analysis import Analysis
from trialml.data.analysis_set import AnalysisSet
from trialml.data.quality import DataQuality
from trialml.design.enrichment_plan import EnrichmentPlan
from trialml.effects.contrast import HAZARD_RATIO, Contrast
from trialml.effects.heterogeneity import Heterogeneity
from trialml.models.coefficients import Coefficients
from trialml.models.learned_model import LearnedModel
from trialml.result import Estimate, format_count, format_number, format_p
from trialml.strata.effects import StratumEffects
from trialml.survival.logrank import LogRank
from trialml.validation.benefit import BenefitCalibration
from trialml.validation.calibration import Calibration
from trialml.validation.discrimination import Discrimination

__all__ = [
    "Facts",
    "Verdicts",
    "arm_words",
    "data_doubts",
    "decision_words",
    "equals",
    "interval_words",
    "lowered",
    "verdicts",
]

SMALLEST_C = 0.55
"""PASS needs at least this as the lower limit of C within arms. The limits are those of ``mlflow/promotion.toml``."""
BAND = (0.8, 1.25)
"""PASS needs slopes and observed over expected in this band: fixed, since a wide interval must not make passing easier."""
FEWEST_EVENTS = 100
FEWEST_EVENTS_A_PARAMETER = 10.0


@dataclass(frozen=True)
class Verdicts:
    """The first line of each tracked model's description, and the decision of the report."""

    risk: str
    response: str
    decision: str


@dataclass(frozen=True)
class Facts:
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
    events: int
    events_per_parameter: float
    """Of the risk model's patients and coefficients, on trees of its columns."""

    @classmethod
    def of(cls, analysis: Analysis) -> Facts:
        """Return the facts of a finished analysis."""
        described: tuple[Coefficients | LearnedModel, ...] = (
            *analysis.about(Coefficients),
            *analysis.about(LearnedModel),
        )
        risk = next(found for found in described if found.subject == "risk")
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
            risk.events,
            risk.events_per_parameter,
        )

    @property
    def ratio(self) -> Estimate:
        """The primary hazard ratio."""
        return self.effect.estimate(HAZARD_RATIO)

    @property
    def direction(self) -> Literal["better", "worse", "not shown"]:
        """What the primary log-rank test at 5 % two-sided says of the primary contrast."""
        if self.p >= 0.05:
            return "not shown"
        return "better" if self.ratio.value < 1 else "worse"

    @property
    def plan_power(self) -> float:
        """Power of the plan in all comers."""
        return float(self.plan.plans["power"].iloc[0])

    @property
    def hazard_differs(self) -> bool:
        """Whether the global test of heterogeneity rejects at 5 %."""
        return self.heterogeneity.p < 0.05

    @property
    def gain_differs(self) -> bool:
        """Whether the cross-fitted interval of the outer strata's difference lies above 0: a description, not a test."""
        return len(self.strata.rows) > 1 and self.strata.difference.low > 0


def interval_words(estimate: Estimate) -> str:
    """Return ``"45.1 days (95% CI 4.34 to 85.9)"``: the unit stands before the limits."""
    unit = f" {estimate.unit}" if estimate.unit else ""
    low, high = format_number(estimate.low), format_number(estimate.high)
    return f"{format_number(estimate.value)}{unit} ({100 * estimate.level:g}% CI {low} to {high})"


def data_doubts(analysis: Analysis) -> list[str]:
    """Return what the data themselves leave open: patients not in the file, and errors that the checks found."""
    flow, found = analysis.only(AnalysisSet), []
    if flow.randomised is not None and flow.randomised > flow.read:
        found.append(
            f"{format_count(flow.randomised - flow.read)} of {format_count(flow.randomised)} randomised patients are not in the data file."
        )
    errors = int(analysis.only(DataQuality).scalars().get("errors", 0))
    if errors:
        found.append(
            f"The checks of the data found {format_count(errors)} error{'' if errors == 1 else 's'}: see Data quality."
        )
    return found


def lowered(words: str) -> str:
    """Return words as they stand within a sentence: an abbreviation keeps its capital."""
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def arm_words(analysis: Analysis) -> tuple[str, str]:
    """Return the words for the experimental and for the control arm."""
    treatment = analysis.trial.treatment
    return treatment.label(treatment.experimental), treatment.label(treatment.control)


def verdicts(analysis: Analysis) -> Verdicts:
    """Return the verdict on each model and on the whole."""
    facts = Facts.of(analysis)
    mark = "QUICK RUN  " if analysis.quick else ""
    return Verdicts(mark + _risk_verdict(facts), mark + _response_verdict(facts), decision_words(analysis, facts))


def _risk_verdict(facts: Facts) -> str:
    c, slope = facts.c.without_arm, facts.calibration.slope_under_control
    short = _shortcomings(facts)
    within = "in the control arm" if facts.c.arm == "control arm" else "within arms"
    return (
        f"{'REVIEW' if short else 'PASS'}  C-index {within} {c.value:.3f} (95% CI {c.low:.3f} to {c.high:.3f}) cross-fitted, "
        f"calibration slope under control {slope.value:.2f} (95% CI {slope.low:.2f} to {slope.high:.2f}), n = {format_count(c.n or 0)}, "
        f"{format_count(c.events or 0)} events by {facts.c.horizon:g} {facts.c.unit}; internal validation only"
        + (f"; short of the policy in {', '.join(short)}" if short else "")
    )


def _shortcomings(facts: Facts) -> list[str]:
    """Return what the promotion policy asks of a risk model and this one does not have."""
    found = facts.calibration
    calibrated = {
        "the calibration slope": found.slope,
        "the calibration slope under control": found.slope_under_control,
        "observed over expected": found.ratio,
        "observed over expected under control": found.ratio_under_control,
    }
    asked = {
        "the C-index": facts.c.without_arm.low >= SMALLEST_C,
        **{name: BAND[0] <= estimate.value <= BAND[1] for name, estimate in calibrated.items()},
        "events": facts.events >= FEWEST_EVENTS,
        "events per parameter": facts.events_per_parameter >= FEWEST_EVENTS_A_PARAMETER,
    }
    return [name for name, met in asked.items() if not met]


def _response_verdict(facts: Facts) -> str:
    words = "HETEROGENEITY SHOWN" if facts.hazard_differs else "NO HETEROGENEITY SHOWN"
    said = f"{words}  global test on the hazard ratio p {equals(facts.heterogeneity.p)}"
    if len(facts.strata.rows) > 1:
        difference = facts.strata.difference
        said += (
            f", highest less lowest stratum {interval_words(difference)} of RMST, cross-fitted"
            f"{'' if facts.hazard_differs else ', exploratory'}"
        )
    return f"{said}, n = {format_count(facts.heterogeneity.n)}, {format_count(facts.heterogeneity.events)} events"


def equals(p: float) -> str:
    """Return ``"= 0.020"`` or ``"<0.001"``, to stand after a p."""
    shown = format_p(p)
    return shown if shown[0] in "<>" else f"= {shown}"


def decision_words(analysis: Analysis, facts: Facts) -> str:
    """Return what the trial showed and what follows for the next one, in two sentences."""
    experimental, control = arm_words(analysis)
    shown = f"(hazard ratio {interval_words(facts.ratio)}, {facts.test} p {equals(facts.p)} two-sided)"
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
    advice = "nothing here is ground to restrict the next trial to a subgroup, so plan it in all comers"
    if facts.hazard_differs and facts.gain_differs:
        advice = "weigh a trial enriched for the higher strata against one in all comers"
    found = _differences(facts)
    return f"{experimental} delayed the event compared with {control} {shown}. {found[0].upper()}{found[1:]}: {advice}."


def _differences(facts: Facts) -> str:
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

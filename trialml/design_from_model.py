"""From a tracked model to the design of the next trial: results, protocol text and, on request, a randomisation list."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from trialml import __version__
from trialml.analysis import Watcher
from trialml.bridge_design import Bridge, adjustment_of, asked_of, bridge_from, thresholds_of
from trialml.bridge_model import TrackedModel, refuse_unvalidated, unneeded_override
from trialml.bridge_table import BridgeTable
from trialml.config import Study
from trialml.design.not_planned import NotPlanned
from trialml.design.prognostic_enrichment import PrognosticEnrichment
from trialml.design.protocol import ProtocolSection, ProtocolWords, protocol_sections, protocol_text, stratum_factor
from trialml.design.randomisation import RandomisationList, permuted_blocks
from trialml.design.response_evidence import ResponseEvidence
from trialml.design.risk_evidence import RiskEvidence
from trialml.design.score_adjustment import ScoreAdjustment
from trialml.design.simulation_report import simulation_report
from trialml.design.trial_sums import parts_of
from trialml.errors import AnalysisError
from trialml.planning import smallest_block
from trialml.result import Result

__all__ = ["DesignedFromModel", "design_from_model", "randomisation_list", "refuse_unknown_levels", "write_list"]


@dataclass(frozen=True)
class DesignedFromModel:
    """The next trial that rests on a version of a model.

    Attributes
    ----------
    model, asked
        The version with its evidence, and what was asked, with the study file's own keys where the command says nothing.
    bridge
        Of a response model.
    prognostic, adjustment
        Of a risk model: its thresholds, or why its endpoint has none, and what adjusting for its score saves.
    sections
        Of the protocol; of a response model.
    words
        What the protocol says that is no number.
    overridden
        What page one must say where a failed validation is overridden; else empty.
    """

    model: TrackedModel
    asked: BridgeTable
    bridge: Bridge | None = None
    prognostic: PrognosticEnrichment | NotPlanned | None = None
    adjustment: ScoreAdjustment | None = None
    sections: tuple[ProtocolSection, ...] = ()
    words: ProtocolWords | None = None
    overridden: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def results(self) -> tuple[Result, ...]:
        """The recommendation first, then what it rests on, then the protocol."""
        if self.bridge is not None:
            return (*self.bridge.results, self.bridge.evidence, *self.sections)
        assert self.prognostic is not None
        assert self.adjustment is not None
        first = (self.adjustment, self.prognostic) if self.has_no_thresholds else (self.prognostic, self.adjustment)
        return (*first, self.model.evidence)

    @property
    def has_no_thresholds(self) -> bool:
        """Whether a risk model's endpoint has no event rate to raise, so that its score serves the analysis alone."""
        return isinstance(self.prognostic, NotPlanned)

    @property
    def protocol(self) -> str:
        """The protocol text as Markdown; empty for a risk model, which chooses no design."""
        if not self.sections:
            return ""
        model = self.model
        rests_on = (
            f"It rests on {model.label} (run {model.version.run_id}) and on the data with sha256 {model.data_sha256}."
            + (f" {self.overridden}" if self.overridden else "")
        )
        return protocol_text(f"Protocol text of the next trial after {model.study.study.name}", self.sections, rests_on)

    @property
    def assumed(self) -> dict[str, Any]:
        """What all options share, by name."""
        return dict(dataclasses.asdict(self.bridge.setting)) if self.bridge is not None else dict(self.settings)

    @property
    def unneeded(self) -> str:
        """What page one says of a reason to override a validation that was passed; else empty."""
        return unneeded_override(self.model, self.asked, self.overridden)

    @property
    def lead(self) -> str:
        """What opens the chapter."""
        if self.bridge is None:
            taken = "" if self.has_no_thresholds else "; one relative effect is taken for everybody"
            return f"The risk model orders patients by prognosis{taken}."
        return f"{self.bridge.gate.text()[0].upper()}{self.bridge.gate.text()[1:]}. Every option has the same budget."

    @property
    def defaults(self) -> list[tuple[str, str]]:
        """The keys that were not asked, with what was taken."""
        fields = type(self.asked).model_fields
        unasked = [name for name in fields if name not in self.asked.model_fields_set]
        return [(fields[name].alias or name, _words(getattr(self.asked, name))) for name in unasked]


def _words(value: object) -> str:
    return "not given" if value is None else str(value)


def design_from_model(model: TrackedModel, over: BridgeTable, watcher: Watcher) -> DesignedFromModel:
    """Design the next trial from a tracked model.

    Parameters
    ----------
    model
        The version with its evidence.
    over
        What is asked; for every key that it does not state, the study file of the model's own run.
    watcher
        Sees the progress.

    Raises
    ------
    AnalysisError
        If the model failed its validation and nobody overrides it, or there is no such trial.
    StudyFileError
        If a risk model is given no relative effect.
    """
    asked = asked_of(model.study, over)
    overridden = refuse_unvalidated(model, asked)
    if isinstance(model.evidence, RiskEvidence):
        return _from_risk(model, model.evidence, asked, overridden)
    return _from_response(model, model.evidence, asked, overridden, watcher)


def _from_risk(model: TrackedModel, evidence: RiskEvidence, asked: BridgeTable, overridden: str) -> DesignedFromModel:
    endpoint = evidence.endpoint
    prognostic: PrognosticEnrichment | NotPlanned
    if endpoint.kind == "continuous" or (endpoint.kind == "binary" and endpoint.higher_is_better):
        reason = "the outcome is continuous" if endpoint.kind == "continuous" else "the event is a benefit"
        prognostic = NotPlanned(PrognosticEnrichment.title, f"{reason}, so that there is no rate of harm to raise")
        settings: dict[str, Any] = {
            "power": asked.power or model.study.design.power,
            "alpha": asked.alpha or model.study.design.alpha,
        }
    else:
        prognostic, settings = thresholds_of(evidence, asked, model.study)
    adjustment = adjustment_of(evidence, asked, model.study)
    return DesignedFromModel(
        model, asked, prognostic=prognostic, adjustment=adjustment, overridden=overridden, settings=settings
    )


def _from_response(
    model: TrackedModel, evidence: ResponseEvidence, asked: BridgeTable, overridden: str, watcher: Watcher
) -> DesignedFromModel:
    bridge = bridge_from(evidence, asked, model.study, watcher)
    words = _protocol_words(model)
    # The cut that was taken, which need not be the one that the run stored first.
    evidence, name = bridge.evidence, bridge.recommendation.option
    option = bridge.judged.options[name]
    told = protocol_sections(evidence, option, bridge.options, bridge.recommendation, words)
    steps = 6 * parts_of(asked.simulate) if asked.simulate and evidence.endpoint.timed else 1
    with watcher.step("Simulation report", steps) as done:
        report = simulation_report(
            evidence, bridge.judged, name, trials=asked.simulate, seed=asked.seed, version=__version__, progress=done
        )
    return DesignedFromModel(model, asked, bridge=bridge, sections=(*told, *report), words=words, overridden=overridden)


def _protocol_words(model: TrackedModel) -> ProtocolWords:
    study, wording = model.study, model.wording
    arms = study.arms
    strata = () if wording is None else tuple((str(name), str(rule)) for name, rule in wording.rows.to_numpy())
    return ProtocolWords(
        population=study.estimand.population,
        variable=study.estimand.variable,
        experimental=arms.label(arms.experimental),
        control=arms.label(arms.control),
        strata=strata,
        statements=() if wording is None else wording.statements,
        factors=tuple(_label(study, name) for name in study.treatment.stratification),
        block=study.design.block or smallest_block(arms.allocation),
    )


def _label(study: Study, column: str) -> str:
    """Return what the study file calls a column."""
    return study.effects.labels.get(column) or study.covariates.labels.get(column, column)


def randomisation_list(designed: DesignedFromModel, factors: Sequence[str] = ()) -> RandomisationList:
    """Make the randomisation list of the protocol, from a seed that nobody has seen.

    The seed stands in the list alone: the method is public, so that whoever knows the seed knows the allocations.

    Parameters
    ----------
    designed
        The design.
    factors
        Levels of the stratification factors, such as ``"region=north,south"``; those that the study file declares need not be given.

    Raises
    ------
    AnalysisError
        If the model chooses no design, or the levels of a factor are not known.
    """
    if designed.bridge is None or designed.words is None:
        raise AnalysisError(
            "a risk model chooses no design, so there is no randomisation list: name a response model, or use permuted_blocks"
        )
    words, study = designed.words, designed.model.study
    option = designed.bridge.judged.options[designed.bridge.recommendation.option]
    levels = {**_declared(study, study.treatment.stratification, _given(factors)), **stratum_factor(option)}
    share = Fraction(study.treatment.allocation).limit_denominator(20)
    arms = {words.control: share.denominator - share.numerator, words.experimental: share.numerator}
    return permuted_blocks(
        arms, round(option.patients), seed=secrets.randbits(63), block_sizes=(words.block,), factors=levels
    )


def refuse_unknown_levels(model: TrackedModel, factors: Sequence[str]) -> None:
    """Refuse, before anything is computed, a list whose stratification factors have no known levels.

    Parameters
    ----------
    model, factors
        As of `design_from_model` and `randomisation_list`.

    Raises
    ------
    AnalysisError
        Naming the first such factor.
    """
    _declared(model.study, model.study.treatment.stratification, _given(factors))


def _given(factors: Sequence[str]) -> dict[str, list[str]]:
    found = {}
    for one in factors:
        name, equals, levels = one.partition("=")
        if not equals:
            raise AnalysisError(f"the stratification factor '{one}' has no levels: write it as region=north,south")
        found[name.strip()] = [level.strip() for level in levels.split(",")]
    return found


def _declared(study: Study, factors: Sequence[str], given: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the levels of each factor: those given, else those that the study file declares."""
    known = {name: list(levels.values()) for name, levels in study.effects.levels.items()}
    known |= {name: [str(level) for level in levels] for name, levels in study.covariates.levels.items()}
    for name in factors:
        if name not in given and name not in known:
            raise AnalysisError(
                f"the levels of the stratification factor '{name}' are not in the study file: give them with --factor {name}=LEVEL,LEVEL"
            )
    return {name: known[name] for name in factors if name in known} | dict(given)


def write_list(designed: DesignedFromModel, path: Path, factors: Sequence[str]) -> str:
    """Write the randomisation list to a file that does not exist yet, and return its method in words without the seed."""
    made = randomisation_list(designed, factors)
    made.to_csv(path)
    return f"{len(made.allocations):,} allocations by permuted blocks; the seed stands in the file alone"

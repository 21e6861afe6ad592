"""The simulation report of the recommended option, in the sections that FDA's guidance on adaptive designs names (November 2019, VIII.B).

Whatever has no interim analysis is simulated by the rules of two stages with nothing decided between them; its words and tables speak of
one analysis, as the protocol does. The overview says what the guidance asks for beside it and the sponsor has to write.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from trialml.design.adaptive_enrichment import simulate_enrichment
from trialml.design.bridge_options import PlannedOption
from trialml.design.enrichment_characteristics import EnrichmentCharacteristics
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.group_sequential import Design
from trialml.design.judged_options import Judged
from trialml.design.patient_groups import Group
from trialml.design.protocol import FDA_ADAPTIVE, ProtocolSection
from trialml.design.response_evidence import GroupEvidence, ResponseEvidence
from trialml.design.scenario import Scenario
from trialml.design.simulated_examples import example_trials, example_words
from trialml.errors import AnalysisError

__all__ = ["Truth", "simulation_report", "truths_of"]

_STATISTICS = 20_000
"""Simulated test statistics of the adaptive option under each truth."""
_NO_INTERIM_ALPHA = 1e-9
"""Spent at the interim analysis, where nothing is rejected: below what any figure shows."""


class Truth(NamedTuple):
    """A parameter configuration: what it is called, why it is asked, the benefits, and the two groups under control."""

    name: str
    why: str
    inside: float
    outside: float
    groups: tuple[GroupEvidence, GroupEvidence]


def truths_of(evidence: ResponseEvidence, minimum: float) -> tuple[Truth, ...]:
    """Return the configurations under which an option is examined, the null hypotheses among them.

    Parameters
    ----------
    evidence
        What is believed.
    minimum
        The least benefit worth claiming.
    """
    inside, outside = (float(one) for one in evidence.benefit_mean)
    overall, groups = evidence.overall.mean, evidence.groups
    mixed = groups[0].mixed(groups[1], evidence.share)
    spread = np.sqrt(np.diag(evidence.benefit_covariance))
    less = (inside - float(spread[0]), outside - float(spread[1]))
    return (
        Truth("as estimated", "the posterior means, for which the trial is sized", inside, outside, groups),
        Truth("no effect in anyone", "the global null hypothesis: every rejection is an error of the first kind", 0.0, 0.0, groups),
        Truth("effect in the stratum alone", "the null hypothesis outside the stratum: what all comers then show is diluted", inside, 0.0, groups),
        Truth("the model is useless", "the effect and the prognosis of all comers on both sides of the rule", overall, overall, (mixed, mixed)),
        Truth("less by one standard deviation", "both effects one posterior standard deviation smaller", *less, groups),
        Truth("the least effect worth claiming", "everybody has the smallest effect that would be a right conclusion", minimum, minimum, groups),
    )  # fmt: skip


@dataclass(frozen=True)
class _Simulated:
    """The option as a trial on patients, with the events at which it is analysed."""

    option: PlannedOption
    design: EnrichmentDesign

    @classmethod
    def of(cls, option: PlannedOption, evidence: ResponseEvidence) -> _Simulated:
        interim, final, alone = _events(option, evidence)
        fraction = interim / final
        looks = Design(
            alpha=option.alpha,
            information_fractions=(fraction, 1.0),
            spending="user",
            user_alpha=(_NO_INTERIM_ALPHA, option.alpha),
            allocation_ratio=option.information.setting.allocation_ratio,
        )
        first, further = round(interim), max(round(final - interim), 1)
        made = {
            "all comers": EnrichmentDesign.all_comers,
            "enriched": EnrichmentDesign.enriched,
            "hierarchical": EnrichmentDesign.hierarchical,
            "co-primary": EnrichmentDesign.co_primary,
        }
        if option.name == "hierarchical":
            return cls(option, EnrichmentDesign.hierarchical(first, further, design=looks, first="subgroup"))
        if option.name in made:
            return cls(option, made[option.name](first, further, design=looks))
        powers = option.information.setting.conditional_powers
        adaptive = EnrichmentDesign(
            first, further, design=looks, rule="conditional-power", conditional_powers=powers,
            subgroup_events=max(round(alone - interim), 1),
        )  # fmt: skip
        return cls(option, adaptive)

    def scenario(self, truth: Truth) -> Scenario:
        """Return the patients of a truth; enrolment counts those screened."""
        asked = self.option.information.setting
        pairs = zip(("inside", "outside"), truth.groups, (truth.inside, truth.outside), strict=True)
        shares = {"inside": self.option.share, "outside": 1 - self.option.share}
        return Scenario(
            truth.name,
            groups=tuple(
                Group(
                    name,
                    shares[name],
                    control_hazard_per_month=group.control_hazard_per_month,
                    hazard_ratio=math.exp(-benefit),
                )
                for name, group, benefit in pairs
            ),
            accrual_per_month=asked.screened_per_month,
            patients=round(self.option.patients),
            dropout_per_month=asked.dropout_per_month,
            allocation_ratio=asked.allocation_ratio,
        )


def _events(option: PlannedOption, evidence: ResponseEvidence) -> tuple[float, float, float]:
    """Return the events expected at the interim analysis, at the end, and at the end where the stratum goes on alone."""
    count, benefits, shares = (
        option.information.event_probability,
        evidence.benefit_mean,
        (option.share, 1 - option.share),
    )

    def seen(patients: float, start: float, end: float, at: float, places: tuple[int, ...]) -> float:
        parts = [shares[place] if len(places) == 2 else 1.0 for place in places]
        chances = [float(count(option.groups[p], benefits[p], start, end, at)) for p in places]
        return patients * sum(part * chance for part, chance in zip(parts, chances, strict=True))

    stages, both = option.stages, (0, 1)
    if stages is None:
        places = (0,) if option.name == "enriched" else both
        final = seen(option.patients, 0.0, option.accrual_months, option.months, places)
        return final / 2, final, final
    interim = seen(stages.first, 0.0, stages.interim, stages.interim, both)
    end = stages.months_all - option.information.setting.follow_up_months
    later = seen(stages.further, stages.interim, end, stages.months_all, both)
    final = seen(stages.first, 0.0, stages.interim, stages.months_all, both) + later
    alone = seen(stages.first * option.share, 0.0, stages.interim, stages.months_alone, (0,))
    alone += seen(stages.alone, stages.interim, stages.interim + stages.accrual_alone, stages.months_alone, (0,))
    return interim, final, alone


def simulation_report(
    evidence: ResponseEvidence,
    judged: Judged,
    name: str,
    *,
    trials: int,
    seed: int = 1,
    version: str = "",
    progress: Callable[[], None] | None = None,
) -> tuple[ProtocolSection, ...]:
    """Return the simulation report of an option.

    Parameters
    ----------
    evidence, judged
        What is believed, and the options at their sizes.
    name
        The option.
    trials
        To simulate patient by patient under each truth, of a time to event; 0 for none.
    seed
        Of everything simulated.
    version
        Of the programs.
    progress
        Called after every thousand trials.

    Returns
    -------
    tuple of ProtocolSection
        Overview, example trials, parameter configurations, results, how to repeat them, summary.
    """
    option = next(one for key, one in judged.options.items() if key == name)
    truths = truths_of(evidence, judged.minimum)
    normal = _by_statistics(option, truths, seed)
    run = _Simulated.of(option, evidence) if evidence.endpoint.timed and trials else None
    patients = {} if run is None else _by_patients(run, truths, trials, seed, progress)
    staged = option.stages is not None
    examples = None if run is None else example_trials(run.design, run.scenario(truths[0]), seed, staged=staged)
    return (
        _overview(option, run, trials),
        _section("Simulation report: example trials", *example_words(examples)),
        _section("Simulation report: parameter configurations", _CONFIGURATIONS, _configurations(evidence, truths)),
        _results(option, normal, patients, trials),
        _section("Simulation report: how to repeat it", (_repeat(option, trials, (seed, version), judged),)),
        _section("Simulation report: summary", (_summary(option, normal, patients),)),
    )


def _section(name: str, paragraphs: tuple[str, ...], rows: pd.DataFrame | None = None) -> ProtocolSection:
    return ProtocolSection(name, paragraphs, pd.DataFrame() if rows is None else rows, (FDA_ADAPTIVE,))


def _by_statistics(option: PlannedOption, truths: tuple[Truth, ...], seed: int) -> pd.DataFrame:
    """Return what the option rejects under each truth by its normal test statistics: closed forms, the adaptive option simulated."""
    rows = []
    for truth in truths:
        found = option.chances(
            np.array([truth.inside]), np.array([truth.outside]), groups=truth.groups, draws=_STATISTICS, seed=seed
        )
        only, full, both, left, stopped = (float(one[0]) for one in found)
        any_ = only + full + both
        error = math.sqrt(any_ * (1 - any_) / _STATISTICS) if option.stages is not None else 0.0
        rows.append((truth.name, any_, error, only + both, full + both, left, stopped))
    return pd.DataFrame(rows, columns=["truth", "any", "error", "stratum", "all", "left_out", "stopped"])


def _by_patients(
    run: _Simulated, truths: tuple[Truth, ...], trials: int, seed: int, progress: Callable[[], None] | None
) -> dict[str, EnrichmentCharacteristics]:
    found = {}
    for truth in truths:
        try:
            found[truth.name] = simulate_enrichment(run.design, run.scenario(truth), trials, seed, progress=progress)
        except AnalysisError:
            # Patients who cannot give the planned events under this truth: the table says so.
            continue
    return found


_LEFT_ADAPTIVE = (
    "The sections are those that the guidance lists for a simulation report (section VIII.B). What it asks for beside them is not here and is for the sponsor to write: why the "
    "design is adaptive, the bias of the estimates and the coverage of their intervals after the selection (III.B, VIII.B), the "
    "smallest, expected and largest size under each configuration, who sees interim results and how trial integrity is kept, with the data access plan (VII)."
)
_LEFT_FIXED = (
    "This option has one analysis and adapts nothing, so that the guidance does not ask for this report; its sections are those that it lists for a simulation report (section "
    "VIII.B), and serve to check the computed figures."
)


def _overview(option: PlannedOption, run: _Simulated | None, trials: int) -> ProtocolSection:
    told = [
        f"The option examined is '{option.name}': {round(option.patients):,} patients, {option.months:.1f} months, one-sided familywise alpha {option.alpha:g}. "
        "Its operating characteristics are computed from normal test statistics"
        + (
            f", simulated {_STATISTICS:,} times under each configuration."
            if option.stages is not None
            else ", in closed form."
        ),
    ]
    if run is not None:
        told.append(
            f"Beside them {trials:,} trials are simulated patient by patient under each configuration: {_rules(run)} "
            f"{'Analyses are' if option.stages else 'The analysis is'} at the numbers of events expected as estimated, wherever the calendar then stands; the computed figures are for "
            f"{'analyses' if option.stages else 'an analysis'} at the planned months, so that the two part where a configuration has more or fewer events by then."
        )
    else:
        told.append("No trial was simulated patient by patient.")
    told.append(_LEFT_ADAPTIVE if option.stages is not None else _LEFT_FIXED)
    return _section("Simulation report: overview of the design", tuple(told))


def _rules(run: _Simulated) -> str:
    """Return what is simulated in words: an option without an interim analysis has one analysis, whatever the simulator does on the way."""
    if run.option.stages is not None:
        return f"{run.design.text()}."
    tests = {
        "all comers": "the log-rank test of all patients",
        "enriched": "the log-rank test of the stratum, the only patients enrolled",
        "hierarchical": "the log-rank test of the stratum and, only if it rejects, that of all patients",
        "co-primary": "the log-rank tests of the stratum and of all patients, closed with Simes' test of their intersection",
    }
    events = run.design.interim_events + run.design.further_events
    return f"{tests[run.option.name]}, in one analysis at {events:,} events, alpha {run.option.alpha:g} one-sided; nothing is analysed before."


_CONFIGURATIONS = (
    "The configurations are the truth for which the trial is sized, the null hypotheses, and departures that would hurt most: a "
    "model that tells nothing, effects smaller than believed, and the boundary between a right conclusion and a false claim.",
)


def _configurations(evidence: ResponseEvidence, truths: tuple[Truth, ...]) -> pd.DataFrame:
    shown = evidence.endpoint.shown
    return pd.DataFrame(
        [(one.name, shown(one.inside), shown(one.outside), one.why) for one in truths],
        columns=["Configuration", "Inside", "Outside", "Why it is asked"],
    )


def _results(
    option: PlannedOption, normal: pd.DataFrame, patients: dict[str, EnrichmentCharacteristics], trials: int
) -> ProtocolSection:
    rows = []
    for row in normal.to_dict("records"):
        own = {
            "Configuration": row["truth"],
            "Any rejected": _percent(row["any"], row["error"]),
            "Stratum": _percent(row["stratum"]),
            "All comers": _percent(row["all"]),
        }
        if option.stages is not None:
            own |= {
                "Goes on in the stratum alone": _percent(row["left_out"]),
                "Stops at the interim": _percent(row["stopped"]),
            }
        if patients:
            own |= _of_patients(patients.get(row["truth"]))
        rows.append(own)
    told = "Probabilities of rejecting, by normal test statistics; under no effect in anyone every rejection is an error of the first kind."
    if patients:
        told += f" The last columns are of {trials:,} trials simulated patient by patient, with Monte Carlo standard errors."
    return _section("Simulation report: results", (told,), pd.DataFrame(rows))


def _of_patients(found: EnrichmentCharacteristics | None) -> dict[str, str]:
    if found is None:
        never = "the patients cannot give the planned events"
        return {"Any rejected, patients simulated": never, "Events": "", "Months": ""}
    numbers = found.scalars()
    return {
        "Any rejected, patients simulated": _percent(numbers["rejected_any"], numbers["rejected_any_mc_error"]),
        "Events": f"{numbers['events']:.0f}",
        "Months": f"{numbers['duration_months']:.1f}",
    }


def _percent(share: float, error: float = 0.0) -> str:
    return f"{100 * share:.1f} %" + (f" (MC {100 * error:.2f})" if error > 0 else "")


def _repeat(option: PlannedOption, trials: int, of: tuple[int, str], judged: Judged) -> str:
    asked, (seed, version) = judged.setting, of
    return (
        f"The programs are trialml{f' {version}' if version else ''}, whose source is public: trialml.design.simulation_report under the numbers of this report, seed {seed}, "
        f"{trials:,} trials a configuration; trial k of a seed is the same trial on any machine and any number of cores. Screened per month "
        f"{asked.screened_per_month:g}, follow-up {asked.follow_up_months:g} months, allocation {asked.allocation_ratio:g}, dropout hazard "
        f"{asked.dropout_per_month:.4f} a month, share of the stratum {option.share:.3f}."
    )


def _summary(option: PlannedOption, normal: pd.DataFrame, patients: dict[str, EnrichmentCharacteristics]) -> str:
    by_name = normal.set_index("truth")["any"]
    said = (
        f"The option '{option.name}' rejects with probability {_percent(by_name['as estimated'])} under the effects as estimated, "
        f"{_percent(by_name['the model is useless'])} if the model is useless, and {_percent(by_name['no effect in anyone'])} where there is no effect, "
        f"against {100 * option.alpha:g} % allowed."
    )
    null = patients.get("no effect in anyone")
    if null is None:
        return said
    numbers = null.scalars()
    error = _percent(numbers["rejected_any"], numbers["rejected_any_mc_error"])
    return f"{said} Patient by patient the error of the first kind is {error}."

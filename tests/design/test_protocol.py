"""Protocol text and simulation report: what each option's sections say, and that what is simulated agrees with what is computed."""

import math

import numpy as np
import pytest

from trialml.design.bridge_comparison import compare_options
from trialml.design.bridge_options import OPTIONS
from trialml.design.bridge_setting import TrialSetting
from trialml.design.judged_options import judged_options
from trialml.design.protocol import ProtocolSection, ProtocolWords, protocol_sections, protocol_text, stratum_factor
from trialml.design.randomisation import permuted_blocks
from trialml.design.recommendation import recommend
from trialml.design.response_evidence import GroupEvidence, PlannedEndpoint, ResponseEvidence
from trialml.design.simulation_report import _by_patients, _by_statistics, _Simulated, simulation_report, truths_of
from trialml.result import Result

WORDS = ProtocolWords(
    population="Adults with the disease.", variable="Time to progression", experimental="new", control="old",
    strata=(("Lower benefit score", "score below 60"), ("Higher benefit score", "score at least 60")),
    statements=("A value of score must be known.",), factors=("region",), block=4,
)  # fmt: skip
FDA = (
    "overview of the design", "example trials", "parameter configurations", "results", "how to repeat it", "summary",
)  # fmt: skip
"""FDA 2019, section VIII.B: what the report of a design evaluated by simulation holds."""
TRIALS = 1000


@pytest.fixture(scope="module")
def evidence():
    return ResponseEvidence(
        PlannedEndpoint("time to event", "progression"), "score at least 60", "score below 60",
        GroupEvidence(0.03, 60), GroupEvidence(0.02, 50), (math.log(0.5), math.log(0.75)), ((0.03, 0.01), (0.01, 0.04)),
        ((0.04, 0.0), (0.0, 0.05)), 520, 1054, 0.02, model_name="T-response", model_version="3", trial="T", data_sha256="ab" * 32,
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged(evidence):
    setting = TrialSetting(screened_per_month=60, follow_up_months=12, minimum_effect=0.8, dropout_per_month=0.004)
    return judged_options(evidence, setting, draws=128)


@pytest.fixture(scope="module")
def told(evidence, judged):
    """The sections of every option, as if each were the one recommended."""
    options = compare_options(evidence, judged.setting, draws=128, judged=judged)
    found = recommend(evidence, judged.setting, judged=judged)
    return {name: protocol_sections(evidence, judged.options[name], options, found, WORDS) for name in OPTIONS}


def text_of(sections):
    return protocol_text("Protocol", sections, "It rests on T-response version 3.")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_eligibility_strata_hypotheses_and_size(told, name):
    names = [one.name for one in told[name]]
    assert names == ["Eligibility", "Strata and randomisation", "Hypotheses and multiplicity", "Sample size"]
    text = text_of(told[name])
    assert "0.025 one-sided" in text
    assert "1:1 to new and old by permuted blocks of 4" in text
    assert "in no report and in no tracked run" in text
    assert "Schoenfeld DA" in text
    cited = {
        int(mark)
        for line in text.splitlines()
        if line.endswith("]")
        for mark in line.rpartition("[")[2][:-1].split(", ")
    }
    listed = text.partition("## References")[2].strip().splitlines()
    assert cited == set(range(1, len(listed) + 1))


def test_only_the_enriched_option_restricts_eligibility(told):
    eligible = {name: sections[0].text() for name, sections in told.items()}
    assert "In addition a patient must belong to the stratum" in eligible["enriched"]
    assert "Not eligible: score below 60" in eligible["enriched"]
    assert "No model restricts eligibility" in eligible["all comers"]
    assert "After the interim analysis enrolment may be restricted" in eligible["adaptive enrichment"]
    for name in ("enriched", "hierarchical", "co-primary", "adaptive enrichment"):
        assert "T-response version 3" in eligible[name]
        assert "ab" * 32 in eligible[name]


def test_the_rule_is_a_factor_of_the_randomisation_where_both_sides_are_enrolled(judged, told):
    """And the list is made within it, by the block that the protocol names."""
    both = {name: bool(stratum_factor(option)) for name, option in judged.options.items()}
    assert both == {name: name in ("hierarchical", "co-primary", "adaptive enrichment") for name in OPTIONS}
    factors = {"region": ["north", "south"], **stratum_factor(judged.options["hierarchical"])}
    made = permuted_blocks({"old": 1, "new": 1}, 8, seed=5, block_sizes=(WORDS.block,), factors=factors)
    assert made.factors == ["region", "stratum"]
    by_block = made.frame().groupby([*made.factors, "block"])["arm"].value_counts().unstack()
    assert (by_block == 2).all().all()
    assert "within every combination of region, stratum" in told["hierarchical"][1].text()


def test_a_section_is_stored_and_read_again(told):
    for section in told["adaptive enrichment"]:
        again = ProtocolSection.from_dict(section.to_dict())
        assert isinstance(again, Result)
        assert again.text() == section.text()
        assert again.markdown(1, {}) == section.markdown(1, {})


def test_no_cell_of_a_table_breaks_the_markdown(told):
    for sections in told.values():
        for one in sections:
            if len(one.rows):
                lines = [line for line in one.markdown(1, {}).splitlines() if line.startswith("|")]
                assert len({line.count("|") for line in lines}) == 1


def test_the_simulation_report_has_the_sections_of_the_guidance(evidence, judged):
    report = simulation_report(evidence, judged, "adaptive enrichment", trials=200)
    assert [one.name.removeprefix("Simulation report: ") for one in report] == list(FDA)
    examples, results = report[1].rows, report[3].rows
    assert len(examples["Conclusion"].unique()) >= 2
    assert list(results["Configuration"]) == [truth.name for truth in truths_of(evidence, judged.minimum)]
    assert "seed 1" in report[4].text()
    assert "against 2.5 % allowed" in report[5].text()


@pytest.mark.parametrize("name", OPTIONS)
def test_only_an_option_with_an_interim_analysis_speaks_of_one(evidence, judged, name):
    """Oracle of the one analysis' z: the conclusion of the test that the protocol states, at 1.96 one-sided."""
    report = simulation_report(evidence, judged, name, trials=100)
    words = " ".join([one.text() for one in report] + [" ".join(one.rows.columns) for one in report])
    staged = judged.options[name].stages is not None
    assert ("interim" in words) == ("Stage 1 z" in words) == ("inverse normal" in words) == staged
    assert ("who sees interim results" in words) == staged
    if name in ("all comers", "enriched", "hierarchical"):
        for shown, concluded in report[1].rows[["z, stratum and all", "Conclusion"]].to_numpy():
            z = [-math.inf if one == "none" else float(one.replace("\N{MINUS SIGN}", "-")) for one in shown.split(", ")]
            stratum, everyone = z[0] > 1.96, z[1] > 1.96 and (name == "all comers" or z[0] > 1.96)
            said = {(0, 0): "nothing rejected", (1, 0): "effect in the stratum", (0, 1): "effect in all comers"}
            assert concluded == said.get((stratum, everyone), "effect in both")


def test_without_trials_nothing_is_said_to_be_simulated_patient_by_patient(evidence, judged):
    report = simulation_report(evidence, judged, "all comers", trials=0)
    assert "No trial was simulated patient by patient" in report[0].text()
    assert report[1].rows.empty
    assert "Events" not in report[3].rows


@pytest.mark.parametrize("name", OPTIONS)
def test_patients_simulated_agree_with_the_normal_statistics(evidence, judged, name):
    """Oracle: the closed forms and normal statistics of the options, at the two truths with the planned events: as estimated and, at any
    number of events, no effect. Four Monte Carlo errors, and a point for what normal statistics leave out."""
    option = judged.options[name]
    truths = truths_of(evidence, judged.minimum)[:2]
    normal = _by_statistics(option, truths, 1).set_index("truth")["any"]
    simulated = _by_patients(_Simulated.of(option, evidence), truths, TRIALS, 1, None)
    for truth, found in simulated.items():
        numbers = found.scalars()
        error = max(numbers["rejected_any_mc_error"], math.sqrt(normal[truth] * (1 - normal[truth]) / TRIALS))
        assert abs(numbers["rejected_any"] - normal[truth]) < 4 * error + 0.01


def test_under_no_effect_no_option_rejects_more_than_alpha(evidence, judged):
    null = (truths_of(evidence, judged.minimum)[1],)
    for option in judged.options.values():
        found = _by_statistics(option, null, 1).iloc[0]
        assert found["any"] <= option.alpha + 4 * found["error"] + 1e-9


def test_a_binary_endpoint_has_a_protocol_and_a_report_without_patients(evidence):
    endpoint = PlannedEndpoint("binary", "response", scale="risk difference", higher_is_better=True)
    groups = (GroupEvidence(control_mean=0.3, sd=math.nan), GroupEvidence(control_mean=0.4, sd=math.nan))
    binary = evidence.replaced(
        endpoint=endpoint, inside=groups[0], outside=groups[1], mean=(0.2, 0.05), covariance=((0.002, 0.0005), (0.0005, 0.003)),
        data_covariance=((0.003, 0.0), (0.0, 0.004)),
    )  # fmt: skip
    setting = TrialSetting(screened_per_month=40, follow_up_months=6, minimum_effect=0.08, lost=0.05)
    judged = judged_options(binary, setting, draws=64)
    options = compare_options(binary, setting, draws=64, judged=judged)
    found = recommend(binary, setting, judged=judged)
    sections = protocol_sections(binary, judged.options["enriched"], options, found, WORDS)
    report = simulation_report(binary, judged, "enriched", trials=1000)
    text = text_of([*sections, *report])
    assert "5.0 % are expected to have no outcome" in text
    assert "No trial was simulated patient by patient" in text
    assert np.isfinite(judged.minimum)

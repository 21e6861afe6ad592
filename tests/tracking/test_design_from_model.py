"""The next trial from a tracked model: what is loaded, what is refused, what is written, and how run and version point to each other."""

import dataclasses
import io
import json
import math
import re
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console

from trialml.analysis import Watcher
from trialml.bridge import _group
from trialml.bridge_model import load_model, refuse_another_endpoint, refuse_unvalidated
from trialml.bridge_table import BridgeTable
from trialml.bridge_words import describe, notes_of, summarise_design
from trialml.cli import _parser, main
from trialml.config import read_study
from trialml.design.bridge_comparison import BridgeOptions
from trialml.design.bridge_sensitivity import BridgeSensitivity, _moved
from trialml.design.not_planned import NotPlanned
from trialml.design.recommendation import Recommendation
from trialml.design.response_evidence import PlannedEndpoint, ResponseEvidence, Validation
from trialml.design.risk_evidence import RiskEvidence
from trialml.design.score_adjustment import ScoreAdjustment
from trialml.design.value_of_information import ValueOfMoreData
from trialml.design_from_model import design_from_model
from trialml.errors import AnalysisError, ModelInputError, StudyFileError, TrackingError
from trialml.result import Estimate
from trialml.tracking.store import existing_store
from trialml.tracking.versions import artifact_text, registered_version, stored_results
from trialml.verbs_data import show_table
from trialml.verbs_design import joined_lists, read_options

REASON = "a test of the command, nobody is selected"
RESPONSE, RISK = "models:/INVENTED-response/1", "models:/INVENTED-risk/1"


@pytest.fixture(scope="module")
def out(quick_run, tmp_path_factory):
    """A folder with the database of a quick run: what is designed here stays out of the other tests' store."""
    folder = tmp_path_factory.mktemp("designs")
    shutil.copyfile(quick_run / "mlflow.db", folder / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def model(out):
    """The response model of the run, as a design loads it."""
    return load_model(existing_store(out), RESPONSE)


@pytest.fixture(scope="module")
def designed(out, tmp_path_factory):
    """One design from the response model: its folder, list, command, store and tracked run."""
    listed = tmp_path_factory.mktemp("list") / "list.csv"
    command = ["design", "--from", RESPONSE, "--out", str(out), "--simulate", "200", "--minimum-effect", "0.9"]
    command += ["--override-validation", REASON, "--randomisation-list", str(listed), "--factor", "region=north,south"]
    assert main(command) == 0
    (folder,) = out.glob("INVENTED-design-*")
    store = existing_store(out)
    experiment = store.client.get_experiment_by_name("INVENTED/design")
    (found,) = store.client.search_runs([experiment.experiment_id])
    run = store.client.get_run(found.info.run_id)
    return SimpleNamespace(folder=folder, listed=listed, store=store, run=run, command=command, out=out)


def refusal(words, capsys):
    """The one line that a refused command says, and its exit status."""
    status = main(words)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return status, said


def test_the_evidence_is_that_of_the_version_and_names_it(model):
    assert isinstance(model.evidence, ResponseEvidence)
    assert (model.evidence.model_name, model.evidence.model_version) == ("INVENTED-response", "1")
    assert model.evidence.data_sha256 == model.version.tags["trialml.cohort_sha256"]
    assert model.evidence.endpoint.name == model.study.endpoints[0].name == "progression"
    assert {name for name, _ in model.wording.rows.to_numpy()} == {
        "Lower benefit score",
        "Middle benefit score",
        "Higher benefit score",
    }


def test_page_one_names_model_version_data_and_the_override(designed, model):
    page = (designed.folder / "report.html").read_text(encoding="utf-8")
    first = page.partition('id="contents"')[0]
    for words in (
        "INVENTED-response version 1",
        model.data_sha256,
        "FAILED ITS VALIDATION",
        REASON,
        "Recommended option",
    ):
        assert words in first
    assert "quick run" in first


def test_the_design_run_and_the_version_point_to_each_other(designed):
    client, run = designed.store.client, designed.run
    version = registered_version(designed.store, RESPONSE)
    assert run.data.tags["trialml.kind"] == "design"
    assert (run.data.tags["trialml.model"], run.data.tags["trialml.model_version"]) == ("INVENTED-response", "1")
    assert run.data.params["cohort.sha256"] == version.tags["trialml.cohort_sha256"]
    assert [one.model_id for one in run.inputs.model_inputs] == [version.model_id]
    assert version.tags["trialml.design_run"] == run.info.run_id
    assert client.get_run(version.run_id).data.tags["trialml.design_run"] == run.info.run_id
    assert version.verdict in version.description
    assert run.info.run_id in version.description.splitlines()[-1]
    assert "#/models/INVENTED-response/versions/1" in run.data.tags["mlflow.note.content"]
    assert "\n" in run.data.tags["mlflow.note.content"]


def test_the_design_run_holds_report_protocol_and_results(designed):
    found = {item.path for item in designed.store.client.list_artifacts(designed.run.info.run_id)}
    assert {"report", "protocol.md", "design"} <= found
    assert designed.run.data.metrics["design/recommended_probability"] >= 0
    assert designed.run.data.tags["trialml.status"] == "completed"


def test_the_randomisation_list_is_in_no_report_and_no_run(designed):
    text = designed.listed.read_text(encoding="utf-8")
    seed = re.search(r"seed (\d+)", text)[1]
    assert {"region", "arm"} <= set(text.splitlines()[4].split(","))
    stored = [*designed.folder.rglob("*"), *designed.out.rglob("*")]
    for path in {one for one in stored if one.is_file()}:
        assert seed.encode() not in path.read_bytes(), path


def test_a_list_that_exists_is_refused_before_anything_is_computed(designed, capsys):
    status, said = refusal(designed.command, capsys)
    assert status == 1
    assert "exists already" in said


def test_levels_of_a_factor_that_nobody_declared_are_asked_for(designed, tmp_path, capsys):
    words = [one for one in designed.command if one not in ("--factor", "region=north,south", str(designed.listed))]
    place = words.index("--randomisation-list")
    status, said = refusal([*words[: place + 1], str(tmp_path / "new.csv"), *words[place + 1 :]], capsys)
    assert status == 1
    assert "--factor region=LEVEL,LEVEL" in said


def test_a_model_that_failed_its_validation_is_refused_by_name(model, out, capsys):
    assert not model.evidence.validation.passed
    status, said = refusal(["design", "--from", RESPONSE, "--out", str(out)], capsys)
    assert status == 1
    assert "INVENTED-response version 1 failed its validation" in said
    assert "--override-validation" in said
    passed = dataclasses.replace(
        model, evidence=dataclasses.replace(model.evidence, validation=Validation(passed=True))
    )
    assert refuse_unvalidated(passed, BridgeTable()) == ""
    reviewed = dataclasses.replace(passed.version, tags={**passed.version.tags, "trialml.review": "refused"})
    with pytest.raises(AnalysisError, match="it was refused by its reviewer"):
        refuse_unvalidated(dataclasses.replace(passed, version=reviewed), BridgeTable())


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ({"endpoints.name": "death"}, "the endpoint 'death', but INVENTED-response version 1 is of the endpoint 'progression'"),
        (
            {
                "endpoints.kind": "binary", "endpoints.time": None, "endpoints.horizon": None, "endpoints.tau": None, "endpoints.unit": None,
                "endpoints.direction": "event is harm",
            },
            "the kind of endpoint 'binary', but INVENTED-response version 1 is of the kind of endpoint 'time to event'",
        ),
    ],
    ids=["another endpoint", "another scale"],
)  # fmt: skip
def test_a_model_of_another_endpoint_or_scale_is_refused(model, write_study, tmp_path, endpoint, words):
    study = read_study(write_study(tmp_path, study=endpoint))
    with pytest.raises(StudyFileError, match=re.escape(words)):
        refuse_another_endpoint(model, study, "study.toml")


def test_a_study_file_asks_as_the_command_does(write_study, tmp_path):
    asked = {"from": RESPONSE, "simulate": 0, "minimum_effect": 0.9, "accrual": 30}
    path = write_study(tmp_path, study={f"design.bridge.{key}": value for key, value in asked.items()})
    words = ["design", "--from", RESPONSE, "--simulate", "0", "--minimum-effect", "0.9", "--accrual", "30"]
    given = _parser(words).parse_args(joined_lists(words))
    assert read_options(given, BridgeTable) == read_study(path).design.bridge


def test_the_design_of_a_study_file_is_refused_for_another_endpoint(out, write_study, tmp_path, capsys):
    path = write_study(tmp_path, study={"design.bridge.from": RESPONSE, "endpoints.name": "death"})
    status, said = refusal(["design", "study", str(path), "--out", str(out)], capsys)
    assert status == 2
    assert "study.toml: the design is for the endpoint 'death'" in said


def test_the_report_of_the_run_shows_the_bridge_from_the_same_results(out, model):
    store = existing_store(out)
    kinds = (Recommendation, BridgeOptions, BridgeSensitivity, ValueOfMoreData)
    for kind in kinds:
        (found,) = stored_results(store, model.version.run_id, "design", kind)
        assert found.text()
    page = artifact_text(store, model.version.run_id, "report/index.html")
    for kind in kinds:
        assert kind.title.replace("'", "&#39;") in page


def test_a_risk_model_gives_thresholds_and_asks_for_the_effect(out, capsys):
    assert isinstance(load_model(existing_store(out), RISK).evidence, RiskEvidence)
    words = ["design", "--from", RISK, "--out", str(out), "--override-validation", REASON]
    assert "--relative-effect" in refusal(words, capsys)[1]
    assert main([*words, "--relative-effect", "0.7"]) == 0
    said = capsys.readouterr().out
    assert "all comers, of whom" in said
    assert "Adjusting for the score (covariate-adjusted log-rank test) takes" in said


def test_a_score_of_a_continuous_outcome_serves_the_analysis_alone(out):
    """No rate to raise; R squared 0.3 takes the size to 0.7 of it (Borm 2007), and no relative effect is asked for."""
    risk = load_model(existing_store(out), RISK)
    endpoint = PlannedEndpoint("continuous", "score", scale="difference")
    share = Estimate(0.3, 0.2, 0.4, kind="crossfit")
    changes = {"endpoint": endpoint, "bins": risk.evidence.bins.head(0), "r_squared": share}
    evidence = risk.evidence.replaced(**changes, validation=Validation(passed=True))
    found = design_from_model(dataclasses.replace(risk, evidence=evidence), BridgeTable(), Watcher())
    assert isinstance(found.results[0], ScoreAdjustment)
    assert found.results[0].scalars()["adjusted_relative_size"] == pytest.approx(0.7)
    assert isinstance(found.results[1], NotPlanned)
    assert summarise_design(found).verdict == found.results[0].text()
    assert describe(found).startswith("DESIGN  analysis adjusted for the predicted outcome, from INVENTED-risk")


def test_a_model_file_that_is_not_the_one_registered_is_refused(out, model):
    client = existing_store(out).client
    name, number, key = model.version.name, model.version.version, "trialml.model_sha256"
    kept = model.version.tags[key]
    client.set_model_version_tag(name, number, key, "0" * 64)
    try:
        with pytest.raises(ModelInputError, match="was changed after it was registered"):
            load_model(existing_store(out), RESPONSE)
    finally:
        client.set_model_version_tag(name, number, key, kept)


def test_several_designs_of_a_study_file_are_one_json_array(out, write_study, tmp_path, capsys, monkeypatch):
    own = {"from": RESPONSE, "simulate": 0, "minimum_effect": 0.9, "override_validation": REASON}
    asked = {f"design.bridge.{key}": value for key, value in own.items()}
    asked |= {"design.means": {"difference": 5.0, "sd": 10.0}}
    path = write_study(tmp_path, study=asked)
    words = ["design", "study", str(path), "--json", "--out", str(out)]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["design"] for one in told] == ["bridge", "means"]

    def refuse(*_):
        raise TrackingError("The store cannot be reached.")

    monkeypatch.setattr("trialml.bridge_publish.track_design", refuse)
    assert main(words) == 3
    again = capsys.readouterr()
    assert [one["design"] for one in json.loads(again.out)] == ["bridge", "means"]
    assert "is written, but it is not tracked. The store cannot be reached." in again.err


def test_an_override_that_is_not_needed_is_said(model):
    """On page one, in the terminal's notes and in what JSON says; nothing calls it an overridden validation."""
    passed = dataclasses.replace(model, evidence=model.evidence.replaced(validation=Validation(passed=True)))
    asked = BridgeTable(simulate=0, minimum_effect=0.9, override_validation=REASON)
    found = design_from_model(passed, asked, Watcher())
    said = f"passed its validation, so that nothing is overridden: the reason given with override_validation ({REASON}) was not needed."
    assert found.unneeded.endswith(said)
    assert found.unneeded in notes_of(found)
    assert found.overridden == ""
    assert not describe(found).startswith("OVERRIDDEN")
    assert dataclasses.replace(found, asked=BridgeTable(minimum_effect=0.9)).unneeded == ""


def test_a_small_number_of_events_is_hidden():
    side = {"control_hazard_per_month": 0.01, "control_events": 10.9}
    assert math.isnan(_group(side).control_events)
    assert _group(side | {"control_events": 11.0}).control_events == 11.0
    # And then the hazard is varied as 10 events allow, exp(1.96 / sqrt(10)) each way.
    moved = _moved(_group(side), "time to event", 1.0)
    assert moved.control_hazard_per_month == pytest.approx(0.01 * math.exp(1.959963984540054 / math.sqrt(10)))


def test_a_table_in_a_narrow_terminal_breaks_no_word():
    console = Console(width=80, file=io.StringIO())
    columns = ("Option", "Screened", "Randomised", "Months", "Assurance", "Right conclusion", "Leaves out patients")
    show_table(pd.DataFrame([("hierarchical, if the model is useless", *["1,000"] * 6)], columns=columns), console)
    assert {"hierarchical,", "useless"} <= set(console.file.getvalue().split())


def test_everything_is_of_the_cut_that_was_taken(model):
    """The second cut has the larger net: evidence shown, eligibility, strata, sizes and version are its own."""
    first = model.evidence.replaced(mean=(-0.3, -0.3), heterogeneity_p=0.001)
    other = first.other_rules[0].replaced(mean=(-1.2, 0.2), heterogeneity_p=0.001)
    assert (other.model_name, other.model_version) == ("INVENTED-response", "1")
    asked = BridgeTable(simulate=0, override_validation=REASON, minimum_effect=0.9)
    changed = dataclasses.replace(model, evidence=first.replaced(other_rules=(other,)))
    found = design_from_model(changed, asked, Watcher())
    assert found.bridge.evidence.rule == other.rule != first.rule
    (shown,) = [one for one in found.results if isinstance(one, ResponseEvidence)]
    assert shown.rule == other.rule
    assert found.bridge.recommendation.model["version"] == "1"
    eligibility, strata, _, size = found.sections[:4]
    assert f": {other.rule}" in eligibility.text()
    assert first.rule not in eligibility.text()
    assert list(strata.rows["Rule"][:2]) == [other.rule, other.complement]
    assert size.rows["Share of screened"][0] == f"{100 * other.share:.0f} %"
    assert other.effect(0).text().replace("95% CI", "95% credible interval") in size.text()


BAD = {
    "no model": (["models:/INVENTED-respons@champion"], 1, "There is no model 'INVENTED-respons'; the nearest name is 'INVENTED-response'"),
    "no alias": (["models:/INVENTED-response@champion"], 1, "has the alias 'champion'"),
    "no version": (["models:/INVENTED-response/7"], 1, "has no version 7"),
    "no address": (["INVENTED-response"], 2, "names no tracked model"),
    "a cost of zero": ([RESPONSE, "--cost-screen", "0", "--cost-patient", "100"], 1, "cost_screen is 0, but nothing is free in a trial"),
    "one cost": ([RESPONSE, "--cost-patient", "100"], 1, "cost_patient is given without cost_screen"),
    "an absurd effect": ([RESPONSE, "--minimum-effect", "1.2"], 1, "minimum_effect is 1.2"),
    "accrual too slow": ([RESPONSE, "--accrual", "2", "--max-duration", "36"], 1, "accrual is too slow"),
    "accrual so slow that no duration need be given": ([RESPONSE, "--accrual", "0.5"], 1, "months where 120 are allowed"),
    "a reason too short": ([RESPONSE, "--override-validation", "no"], 2, "--override-validation no will not do"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence(out, capsys, case):
    words, status, sentence = BAD[case]
    if "--override-validation" not in words:
        words = [*words, "--override-validation", REASON]
    got, said = refusal(["design", "--from", *words, "--out", str(out)], capsys)
    assert sentence in said
    assert got == status


def test_a_folder_without_a_store_is_refused_and_stays_empty(tmp_path, capsys):
    status, said = refusal(["design", "--from", RESPONSE, "--out", str(tmp_path / "none")], capsys)
    assert status == 1
    assert "There is no tracking store" in said
    assert not (tmp_path / "none").exists()


def test_a_run_without_evidence_is_refused(store, make_fake_run, make_fake_model):
    store.track(make_fake_run(model=make_fake_model(name="OLD-response")))
    with pytest.raises(AnalysisError, match="'OLD-response' version 1 holds no evidence for a design"):
        load_model(store, "models:/OLD-response/1")


@pytest.mark.parametrize(("count", "whom"), [(0, "nobody"), (400, "everybody")])
def test_a_rule_that_selects_nobody_or_everybody_is_said(store, make_fake_run, make_fake_model, model, count, whom):
    with pytest.raises(AnalysisError, match=f"selects {whom}") as said:
        dataclasses.replace(model.evidence, count=count, n=400)
    name = f"{whom.upper()}-response"
    kept = NotPlanned(ResponseEvidence.title, str(said.value))
    store.track(make_fake_run(model=make_fake_model(name=name), results=[kept]))
    with pytest.raises(
        AnalysisError, match=f"carries nothing into a design, as its run says: the rule .* selects {whom}"
    ):
        load_model(store, f"models:/{name}/1")


def test_evidence_that_is_not_the_version_s_own_is_refused(model):
    from trialml.bridge_model import _refuse_foreign

    run = SimpleNamespace(params={"cohort.sha256": "0" * 64}, tags={"trialml.endpoint": "progression"})
    with pytest.raises(AnalysisError, match="is not its own: its data is"):
        _refuse_foreign(model.evidence, model.version, run)

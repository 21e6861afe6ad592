"""Promotion by the policy, the history of a model, and what is shown of models."""

import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest

from trialml import verbs_models
from trialml.cli import main
from trialml.errors import StoreError, StudyFileError
from trialml.promoting import promote
from trialml.promotion_policy import RunFacts, judge_numbers, read_policy
from trialml.result import Result
from trialml.tracking.history import EXPERIMENT, append_entry, read_history
from trialml.tracking.store import existing_store
from trialml.tracking.versions import list_versions, registered_version

POLICY = Path(__file__).resolve().parents[2] / "mlflow" / "promotion.toml"
GOOD = {
    "c_index_730days_within_arm_crossfit": 0.68,
    "c_index_730days_within_arm_crossfit_low": 0.65,
    "harrell_c_corrected": 0.69,
    "calibration_slope_730days_crossfit": 0.97,
    "calibration_slope_730days_control_crossfit": 1.02,
    "observed_over_expected_730days_crossfit": 1.01,
    "observed_over_expected_730days_control_crossfit": 0.98,
    "stability_mape": 0.02,
}
PARAMS = {"cohort.events": "284", "quick": "false", "horizon": "730 days", "estimand.population": "Adults"}


@dataclass(frozen=True, eq=False)
class Numbers(Result):
    """Numbers of the chapter validation, or of models."""

    values: dict
    chapter = "validation"
    title = "Numbers"

    def frame(self):
        return pd.DataFrame({"name": list(self.values)})

    def text(self):
        return "Numbers."

    def scalars(self):
        return self.values


class Information(Numbers):
    """How much a model rests on."""

    chapter = "models"
    title = "Information"


@pytest.fixture
def version(store, make_fake_run, make_fake_model):
    """A factory: track a run with these numbers and return its version's number."""

    def make(model, numbers=GOOD, analyst="ann", tags=None, **params):
        counts = Information({"events_per_parameter": 40.0, "coefficients": 7.0})
        run = make_fake_run(
            params=PARAMS | params,
            results=[Numbers(numbers), counts],
            model=make_fake_model(name=model, tags={"trialml.kind": "risk"} | (tags or {})),
        )
        link = store.track(run)
        store.client.set_tag(link.run_id, "mlflow.user", analyst)
        return link.model_version

    return make


def metrics(**changes):
    return {f"validation/{name}": value for name, value in (GOOD | changes).items()} | {
        "models/events_per_parameter": 40.0,
        "models/coefficients": 7.0,
    }


def judged(numbers, kind="risk", champion=None, **params):
    facts = RunFacts({"cohort.events": "284"} | params, numbers, {"trialml.kind": kind})
    return {(one.key, one.where): one for one in judge_numbers(read_policy(), facts, champion)}


def unmet(numbers, kind="risk", champion=None, **params):
    found = judged(numbers, kind, champion, **params)
    return [key for (key, _), one in found.items() if not one.met]


def test_the_policy_that_is_shipped_is_the_one_on_the_page():
    shipped = Path(read_policy.__code__.co_filename).parent / "promotion.toml"
    assert shipped.read_bytes() == POLICY.read_bytes()
    assert read_policy(POLICY).sha256 == read_policy().sha256


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("minimum_events = 100", "minimum_event = 100"), "'risk.minimum_event' is not a key of the policy; the nearest name is 'minimum_events'."),
        (("[response]", "[respons]"), "'respons' is not a key of the policy; the nearest name is 'response'."),
        (("[0.8, 1.25]", "[1.25, 0.8]"), "[risk] calibration_slope_crossfit = [1.25, 0.8] is no band: give the lower limit first."),
        (("reason_required = true", 'reason_required = "yes"'), "all.reason_required = 'yes' will not do"),
        (("minimum_c_corrected = 0.6", "minimum_c_corrected = 60"), "risk.minimum_c_corrected = 60 will not do"),
        (("[all]", "[all"), "is not valid TOML"),
        (("[all]", "name = 1\n[all]"), "'name' is not a table"),
    ],
)  # fmt: skip
def test_a_policy_at_fault_is_refused_in_a_sentence(change, sentence, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(POLICY.read_text(encoding="utf-8").replace(*change, 1), encoding="utf-8")
    with pytest.raises(StudyFileError, match=re.escape(sentence)):
        read_policy(path)


def test_a_policy_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StudyFileError, match=r"absent\.toml' cannot be read"):
        read_policy(tmp_path / "absent.toml")


def test_numbers_within_the_policy_meet_every_condition():
    assert unmet(metrics()) == []
    assert len(judged(metrics())) == 9


@pytest.mark.parametrize(
    ("changes", "params", "key"),
    [
        ({}, {"cohort.events": "99"}, "risk.minimum_events"),
        ({"c_index_730days_within_arm_crossfit_low": 0.5499}, {}, "risk.minimum_lower_limit_c_within_arm_crossfit"),
        ({"harrell_c_corrected": 0.59}, {}, "risk.minimum_c_corrected"),
        ({"calibration_slope_730days_crossfit": 0.79}, {}, "risk.calibration_slope_crossfit"),
        ({"calibration_slope_730days_control_crossfit": 1.26}, {}, "risk.calibration_slope_crossfit"),
        ({"observed_over_expected_730days_control_crossfit": 1.3}, {}, "risk.observed_over_expected_crossfit"),
        ({"stability_mape": 0.06}, {}, "risk.maximum_stability_mape"),
    ],
)
def test_each_number_outside_the_policy_is_named_with_where_it_stands(changes, params, key):
    assert unmet(metrics(**changes), **params) == [key]
    value = next(iter(changes.values()), 99)
    (one,) = [one for one in judged(metrics(**changes), **params).values() if not one.met]
    assert float(one.seen.replace(",", "")) == pytest.approx(value)
    assert next(iter(changes or params)) in one.where


def test_a_number_that_was_not_logged_does_not_pass():
    numbers = metrics()
    del numbers["validation/harrell_c_corrected"]
    (one,) = [one for one in judged(numbers).values() if not one.met]
    assert (one.key, one.seen) == ("risk.minimum_c_corrected", "not logged")
    on_trees = {name: value for name, value in numbers.items() if name != "models/coefficients"} | {
        "models/columns": 7.0
    }
    assert unmet(on_trees) == []


def test_a_champion_s_c_may_not_be_given_up():
    champion = RunFacts({}, metrics(c_index_730days_within_arm_crossfit=0.7), {})
    assert unmet(metrics(), champion=champion) == ["risk.largest_loss_of_c_against_champion"]
    assert unmet(metrics(c_index_730days_within_arm_crossfit=0.69), champion=champion) == []


def test_binary_and_continuous_endpoints_are_judged_by_their_own_numbers():
    both = {"models/coefficients": 7.0, "models/events_per_parameter": 40.0, "models/patients_per_parameter": 40.0}
    binary = both | {
        "validation/auc_the_risk_model_crossfit_low": 0.6,
        "validation/auc_corrected": 0.7,
        "validation/calibration_slope_crossfit": 1.0,
        "validation/calibration_slope_control_crossfit": 1.0,
        "validation/observed_over_expected_crossfit": 1.0,
        "validation/observed_over_expected_control_crossfit": 1.3,
        "validation/stability_mape": 0.01,
    }
    assert unmet(binary, **{"endpoint.kind": "binary"}) == ["risk.observed_over_expected_crossfit"]
    continuous = both | {
        "validation/r2_within_arm_the_risk_model_crossfit_low": -0.01,
        "validation/calibration_slope_the_risk_model_crossfit": 1.0,
    }
    asked = {"endpoint.kind": "continuous", "cohort.n": "500"}
    assert unmet(continuous, **asked) == ["risk.minimum_lower_limit_c_within_arm_crossfit"]


def test_a_response_model_is_judged_by_events_slope_and_agreement():
    numbers = {
        "models/events": 250.0,
        "models/events_per_parameter": 30.0,
        "validation/benefit_slope_crossfit_low": 0.0,
        "strata/strata_agreement": 0.8,
    }
    assert unmet(numbers, "response") == ["response.minimum_lower_limit_benefit_slope_crossfit"]
    assert unmet(numbers | {"validation/benefit_slope_crossfit_low": 0.01}, "response") == []
    assert unmet({}, "response") == list(dict.fromkeys(key for key, _ in judged({}, "response")))


def test_a_promotion_moves_the_alias_and_says_who_when_why_and_who_was_champion(store, version):
    version("PROMOTED")
    second = version("PROMOTED")
    done = promote(store, "PROMOTED", second, reason="Better calibrated", who="Rev", policy=read_policy())
    assert done.promoted
    assert done.previous_champion == "1"
    found = registered_version(store, "models:/PROMOTED@champion")
    assert found.aliases == ("champion",)
    tags = dict(found.tags)
    assert (found.version, tags["trialml.review"], tags["trialml.reviewed_by"]) == ("2", "promoted", "Rev")
    assert (tags["trialml.review_reason"], tags["trialml.previous_champion"]) == ("Better calibrated", "1")
    assert store.client.get_run(found.run_id).data.tags["trialml.review"] == "promoted"
    entries = read_history(store, "PROMOTED").entries
    assert [entry.content["action"] for entry in entries] == ["registered", "registered", "promoted"]
    last = entries[-1].content
    assert last["at"] == tags["trialml.reviewed_at"]
    assert last["policy_sha256"] == read_policy().sha256
    assert all(one["met"] and one["where"] for one in last["criteria"])


@pytest.mark.parametrize(
    ("numbers", "params", "who", "reason", "key"),
    [
        (GOOD, {}, "Ann", "why", "all.reviewer_is_not_the_analyst"),
        (GOOD, {}, "Rev", "  ", "all.reason_required"),
        (GOOD, {"quick": "true"}, "Rev", "why", "all.quick"),
        (GOOD, {"horizon": "365 days"}, "Rev", "why", "all.same_estimand_as_champion"),
        (GOOD | {"stability_mape": 0.2}, {}, "Rev", "why", "risk.maximum_stability_mape"),
    ],
)
def test_a_refusal_is_recorded_and_moves_nothing(store, version, numbers, params, who, reason, key):
    name = f"REFUSED-{key.partition('.')[2]}"
    version(name)
    second = version(name, numbers, **params)
    done = promote(store, name, second, reason=reason, who=who, policy=read_policy())
    assert [one.key for one in done.unmet] == [key]
    assert registered_version(store, f"models:/{name}@champion").version == "1"
    last = read_history(store, name).entries[-1].content
    assert (last["action"], last["who"]) == ("refused", who)
    assert "champion" not in last
    assert dict(registered_version(store, f"models:/{name}/2").tags)["trialml.review"] == "refused"


def test_what_cannot_be_promoted_is_said(store, version):
    version("SAID")
    for model, number, words in (("SAID", "1", "is champion already"), ("SAID", "9", "has no version 9"), ("SAYD", "1", "the nearest name is 'SAID'")):  # fmt: skip
        with pytest.raises(StoreError, match=words):
            promote(store, model, number, reason="why", who="Rev", policy=read_policy())
    with pytest.raises(StoreError, match=r"The reason has 1,001 characters"):
        promote(store, "SAID", "1", reason="x" * 1001, who="Rev", policy=read_policy())


def test_an_alias_that_cannot_be_moved_is_recorded_as_not_carried_out(store, version, monkeypatch):
    version("STUCK")
    second = version("STUCK")

    def refuse(*given):
        raise RuntimeError("no alias today")

    monkeypatch.setattr(store.client, "set_registered_model_alias", refuse)
    with pytest.raises(StoreError, match="was not made champion"):
        promote(store, "STUCK", second, reason="why", who="Rev", policy=read_policy())
    history = read_history(store, "STUCK")
    assert history.entries[-1].content["action"] == "not carried out"
    assert history.champion() == "1" == registered_version(store, "STUCK").version


def test_a_study_whose_name_has_a_full_stop_is_registered_all_the_same(store, version):
    assert version("STUDY 1.2") == "1"
    assert registered_version(store, "STUDY 1_2").version == "1"


def test_a_quick_run_gives_no_champion_and_the_first_full_run_does(store, version):
    aliases = []
    for quick in (True, True, False, False):
        number = version("FIRST", tags={"trialml.quick": "true"} if quick else {})
        aliases.append(registered_version(store, f"models:/FIRST/{number}").aliases)
    assert aliases == [("challenger",), ("challenger",), ("champion",), ("challenger",)]


@pytest.fixture(scope="module")
def chain(store):
    """Five records, and the folder that holds them."""
    for number in range(5):
        append_entry(store, "CHAIN", {"action": "registered", "who": "ann", "version": str(number + 1)})
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    (run,) = store.client.search_runs([experiment.experiment_id], "tags.`trialml.model` = 'CHAIN'")
    return Path(run.info.artifact_uri.removeprefix("file://")) / "history"


def edit(folder, number, **changes):
    path = folder / f"{number:06d}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=1) + "\n")


def swap(folder, first, second):
    paths = [folder / f"{number:06d}.json" for number in (first, second)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (str, None),
        (lambda folder: edit(folder, 3, who="eve"), "entry 3 was changed after entry 4 was written"),
        (lambda folder: edit(folder, 5, who="eve"), "entry 5 was changed after it was written"),
        (lambda folder: (folder / "000003.json").unlink(), "entry 3 is missing"),
        (lambda folder: (folder / "000001.json").unlink(), "entry 1 is missing"),
        (lambda folder: (folder / "000005.json").unlink(), "entry 5 is missing at the end"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "entry 5 is missing at the end"),
        (lambda folder: swap(folder, 2, 3), "entry 2 says that it is number 3: it was moved"),
        (lambda folder: (folder / "000002.json").write_text("not a record"), "entry 2 cannot be read as a record"),
        (lambda folder: (folder / "000006.json").write_bytes((folder / "000005.json").read_bytes()), "entry 6 is not known to the store"),
    ],
)  # fmt: skip
def test_a_chain_that_was_changed_is_reported_with_the_entry(store, chain, tamper, fault):
    kept = {path: path.read_bytes() for path in chain.iterdir()}
    try:
        tamper(chain)
        faults = read_history(store, "CHAIN").faults
        assert (faults == ()) if fault is None else any(fault in one for one in faults), faults
    finally:
        for path in chain.iterdir():
            path.unlink()
        for path, content in kept.items():
            path.write_bytes(content)


def test_records_written_at_once_form_one_chain(store):
    def write(who):
        for _ in range(3):
            append_entry(store, "CROWD", {"action": "registered", "who": who, "version": "1"})

    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    history = read_history(store, "CROWD")
    assert [entry.number for entry in history.entries] == list(range(1, 10))
    assert history.faults == ()


def test_the_command_judges_lists_and_tells(store, version, capsys):
    name = "TOLD"
    version(name)
    version(name)
    where = ["--tracking-uri", store.address]
    assert main(["promote", name, "2", "--reason", "a\x1b[2J[red]b[/red]", "--who", "Rev", *where]) == 0
    said = capsys.readouterr().out
    assert "'TOLD' version 2 is champion after version 1 (entry 3 of its history)." in said
    assert "met       risk.minimum_events: at least 100.0; seen 284.0 (param cohort.events)" in said
    assert main(["promote", name, "1", "--reason", "back", "--who", "ann", *where]) == 1
    assert "NOT MET   all.reviewer_is_not_the_analyst" in capsys.readouterr().out
    assert main(["models", name, *where]) == 0
    said = capsys.readouterr().out
    assert "version 2  champion" in said
    assert "PASS  C-index 0.699" in said
    assert "review: promoted" in said
    assert main(["history", name, *where]) == 0
    said = capsys.readouterr().out
    assert r"a\x1b[2J[red]b[/red]" in said
    assert "champion before: 1" in said
    assert "no electronic signature" in said
    store.client.set_registered_model_alias(name, "champion", "1")
    assert main(["history", name, *where]) == 1
    assert (
        "champion is version 1, but the record says version 2: the alias was moved by hand" in capsys.readouterr().out
    )


def test_markup_in_a_verdict_is_shown_and_not_obeyed(store, make_fake_run, make_fake_model, capsys):
    model = make_fake_model(name="MARKED", description="[bold]<script>alert(1)</script>[/bold]\x1b[2J")
    store.track(make_fake_run(model=model))
    assert main(["models", "MARKED", "--tracking-uri", store.address]) == 0
    assert r"[bold]<script>alert(1)</script>[/bold]\x1b[2J" in capsys.readouterr().out


def test_a_store_or_a_model_that_is_not_there_is_said(store, tmp_path, capsys):
    assert main(["models", "--out", str(tmp_path)]) == 1
    assert "There is no tracking store 'mlflow.db'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["history", "NOBODY", "--tracking-uri", store.address]) == 1
    assert "There is no model 'NOBODY'" in capsys.readouterr().err
    with pytest.raises(StoreError, match="No version of 'CASE' has the alias 'nobody'"):
        registered_version(with_an_empty_model(store), "models:/CASE@nobody")


def with_an_empty_model(store):
    if not [one for one in list_versions(store.client) if one.name == "CASE"]:
        store.client.create_registered_model("CASE")
    return existing_store(Path(), store.address)


def test_pages_listen_on_this_machine_unless_told_otherwise(store, capsys, monkeypatch):
    called = []
    monkeypatch.setattr(verbs_models, "until_stopped", lambda words: called.append(words) or 0)
    assert main(["ui", "--tracking-uri", store.address, "--port", "0"]) == 0
    (words,) = called
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "?workflowType=machine_learning" in capsys.readouterr().out
    assert main(["ui", "--tracking-uri", "http://me:secret@server:5000/"]) == 0
    said = capsys.readouterr().out
    assert "http://server:5000/#/experiments?workflowType=machine_learning" in said
    assert len(called) == 1


def test_what_was_started_ends_with_the_command(tmp_path):
    # A program that starts another, as MLflow's pages do; the second writes its number and would sleep for an hour.
    sleeper = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(3600)"
    starter = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleeper!r}, sys.argv[1]])"
    main_words = "import sys; from trialml.verbs_models import until_stopped; sys.exit(until_stopped(sys.argv[1:]))"
    number = tmp_path / "number"
    words = [sys.executable, "-c", main_words, sys.executable, "-c", starter, str(number)]
    command = subprocess.Popen(words)
    for _ in range(600):
        if number.exists() and number.read_text():
            break
        time.sleep(0.05)
    child = psutil.Process(int(number.read_text()))
    command.terminate()
    assert command.wait(30) == 0
    psutil.wait_procs([child], timeout=30)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

"""Runs that were killed, kept for later, erased, compared, and reported again."""

import errno
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from trialml import __version__
from trialml.cli import main
from trialml.errors import StoreError, TrackingError
from trialml.report.document import Summary, assemble
from trialml.report.html import write
from trialml.result import Result
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.tracking.history import read_history
from trialml.tracking.process import is_gone, process_tags
from trialml.tracking.runs import erase, find_run, sweep
from trialml.tracking.spool import keep, kept_runs, send
from trialml.tracking.store import existing_store, open_store
from trialml.tracking.versions import list_versions, registered_version, stored_results
from trialml.validation.fold_losses import FoldLosses, fold_losses, paired_difference
from trialml.validation.model_comparison import corrected_resampled
from trialml.validation.observed import ObservedBinary

ROOT = Path(__file__).resolve().parents[2]
SECRET = "SECRET-5511-CONTENT"


def artifacts(run):
    return Path(run.info.artifact_uri.removeprefix("file://"))


def refused_by_a_full_disk(*given, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Killed processes


def open_run(store, experiment="FAKE/risk", **tags):
    made = store.client.create_run(store.experiment(experiment), tags={"trialml.status": "started"} | tags)
    return made.info.run_id


@pytest.fixture(scope="module")
def ended_process():
    """The tags of a process that has ended."""
    code = "import json; from trialml.tracking.process import process_tags; print(json.dumps(process_tags()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def test_a_process_is_known_to_be_gone_there_or_out_of_sight(ended_process):
    own = process_tags()
    assert is_gone(own) is False
    assert is_gone(ended_process) is True
    assert is_gone(own | {"trialml.process_started": "1"}) is True
    assert is_gone(own | {"trialml.host": "elsewhere"}) is None
    assert is_gone({}) is None


def test_a_sweep_closes_what_was_killed_and_leaves_the_others(store, ended_process):
    killed, there = open_run(store, **ended_process), open_run(store, **process_tags())
    elsewhere = open_run(store, **process_tags() | {"trialml.host": "elsewhere"})
    complete = open_run(store, **ended_process | {"trialml.status": "completed"})
    done = {one.run.run_id: one.done for one in sweep(store)}
    assert done == {killed: "closed", there: "left", elsewhere: "left", complete: "finished"}
    status = {run_id: store.client.get_run(run_id).info.status for run_id in done}
    assert list(status.values()).count("RUNNING") == 2
    assert (status[killed], status[complete]) == ("KILLED", "FINISHED")
    assert store.client.get_run(killed).data.tags["trialml.status"] == "killed"
    for run_id in (there, elsewhere):
        store.client.set_terminated(run_id, "FINISHED")


def is_whole(out):
    """Sweep a store, then hold it to what a reader may rely on; return its versions."""
    store = existing_store(out)
    sweep(store)
    experiments = [one.experiment_id for one in store.client.search_experiments()]
    runs = {run.info.run_id: run for run in store.client.search_runs(experiments, max_results=1000)}
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    for run in runs.values():
        if run.data.tags.get("trialml.kind") == "risk" and run.info.status == "FINISHED":
            assert (artifacts(run) / "report" / "index.html").read_text().endswith("</html>")
            assert run.data.tags["trialml.status"] == "completed"
    versions = list_versions(store.client)
    for one in versions:
        assert runs[one.run_id].info.status == "FINISHED"
        model = store.client.get_logged_model(one.model_id)
        assert str(model.status).endswith("READY")
        folder = Path(model.artifact_location.removeprefix("file://"))
        assert (folder / "data" / "stratifier" / "stratifier.json").read_text().count("\n") == 2000
        assert (folder / "MLmodel").is_file()
    history = read_history(store, "KILLED-risk")
    assert [fault for fault in history.faults if "not known to the store" not in fault] == []
    aliases = {alias: one.version for one in versions for alias in one.aliases}
    assert aliases.get("champion") in (None, history.champion())
    return versions


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_between_any_two_writes_leaves_nothing_that_looks_finished(tmp_path):
    moments = [99, 10, 17, 18]  # the end; a version without alias; all but the last words; the very last
    script = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path), *map(str, moments)]
    subprocess.run(script, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    versions = is_whole(tmp_path)
    client = existing_store(tmp_path).client
    assert {client.get_run(one.run_id).info.run_name for one in versions} == {"after-99", "after-18"}


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_at_ten_random_moments(tmp_path):
    draw = random.Random(9)
    script = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path)]
    for _ in range(10):
        running = subprocess.Popen(
            script, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        )
        # A run takes as long as the machine lets it: a moment within the next one, wherever that is.
        seconds = float(running.stdout.readline())
        time.sleep(draw.uniform(0, seconds))
        running.kill()
        running.wait()
        versions = is_whole(tmp_path)
    assert len(versions) >= 10


# Kept runs


def test_a_run_that_could_not_be_sent_is_kept_and_sent_once(tmp_path, store, make_fake_run, make_fake_model):
    report = tmp_path / "report.html"
    report.write_text("<p>the report</p>")
    curve = kaplan_meier(np.arange(1.0, 41.0), np.arange(40) % 3 > 0)
    run = make_fake_run(
        experiment="KEPT/risk",
        results=[curve],
        model=make_fake_model(name="KEPT-risk"),
        files={"report/index.html": report},
    )
    with pytest.raises(TrackingError):
        open_store(tmp_path, "http://127.0.0.1:9")
    keep(run, tmp_path, "http://me:hunter2@127.0.0.1:9")
    (kept,) = kept_runs(tmp_path)
    assert kept.address == "http://127.0.0.1:9"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "spool", copy / "spool")
    link = send(store, kept)
    assert not (tmp_path / "spool").exists()
    logged = store.client.get_run(link.run_id)
    assert (logged.info.status, logged.info.run_name) == ("FINISHED", run.run_name)
    assert (artifacts(logged) / "report" / "index.html").read_text() == "<p>the report</p>"
    (again,) = stored_results(store, link.run_id, "survival")
    assert again.text() == curve.text()
    assert registered_version(store, "KEPT-risk").run_id == link.run_id
    assert send(store, next(iter(kept_runs(copy)))) is None
    assert len(store.client.search_runs([link.experiment_id])) == 1


def test_a_kept_run_that_cannot_be_read_is_said_and_left(tmp_path, capsys):
    (tmp_path / "spool" / "odd").mkdir(parents=True)
    (tmp_path / "spool" / "odd" / "run.json").write_text("{}")
    assert main(["runs", "sync", "--out", str(tmp_path)]) == 1
    assert "'odd' in" in capsys.readouterr().err
    assert (tmp_path / "spool" / "odd" / "run.json").exists()


def test_a_full_disk_marks_the_run_failed_and_keeps_nothing_by_halves(
    store, make_fake_run, make_fake_model, tmp_path, monkeypatch
):
    run = make_fake_run(experiment="FULL/risk", model=make_fake_model(name="FULL-risk"))
    monkeypatch.setattr(store.client, "log_model_artifacts", refused_by_a_full_disk)
    with pytest.raises(TrackingError, match="No space left on device"):
        store.track(run)
    (logged,) = store.client.search_runs([store.experiment("FULL/risk")])
    assert logged.info.status == "FAILED"
    assert [one.name for one in list_versions(store.client) if one.name == "FULL-risk"] == []
    monkeypatch.setattr(Path, "write_text", refused_by_a_full_disk)
    with pytest.raises(StoreError, match="cannot be kept"):
        keep(run, tmp_path, None)
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_database_of_another_program_is_left_as_it_is(tmp_path):
    with sqlite3.connect(tmp_path / "mlflow.db") as other:
        other.execute("CREATE TABLE patients (id TEXT)")
    before = (tmp_path / "mlflow.db").read_bytes()
    for opened in (open_store, existing_store):
        with pytest.raises((TrackingError, StoreError), match="a database of another program and is left as it is"):
            opened(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_a_damaged_store_is_said_and_left_as_it_is(store, tmp_path):
    whole = Path(store.address.removeprefix("sqlite:///")).read_bytes()
    damaged = whole[:100] + b"\xff" * 8000 + whole[8100:]
    (tmp_path / "mlflow.db").write_bytes(damaged)
    with pytest.raises(StoreError, match=r"'mlflow\.db' is damaged or no database.*left as it is"):
        existing_store(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == damaged


# Erased runs


def test_an_erased_run_leaves_nothing_but_the_fact(tmp_path, make_fake_run, make_fake_model, capsys):
    store = open_store(tmp_path)
    marked = make_fake_run(
        description=f"PASS {SECRET}",
        params={"cohort.n": SECRET},
        tags={"trialml.kind": "risk", "trialml.note": SECRET},
        texts={"model_card.md": SECRET},
        model=make_fake_model(description=f"PASS {SECRET}", tags={"trialml.kind": "risk", "trialml.study": SECRET}),
    )
    first, second = store.track(marked), store.track(make_fake_run(experiment="FAKE/other"))
    asked = ["erase", first.run_id, "--out", str(tmp_path)]
    assert main(asked) == 0
    assert "Nothing was erased" in capsys.readouterr().out
    assert store.client.get_run(first.run_id).info.lifecycle_stage == "active"
    assert main([*asked, "--yes", "--who", "Officer"]) == 0
    assert "FAKE-risk version 1" in capsys.readouterr().out
    left = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert left == []
    assert first.run_id not in {path.name for path in tmp_path.rglob("*")}
    for reference in ("models:/FAKE-risk/1", "models:/FAKE-risk@champion"):
        with pytest.raises(StoreError):
            registered_version(store, reference)
    with pytest.raises(StoreError, match="There is no run"):
        find_run(store, first.run_id)
    assert find_run(store, "FAKE/other/20261123-220400").run_id == second.run_id
    history = read_history(store, "FAKE-risk")
    last = history.entries[-1].content
    assert (last["action"], last["version"], last["champion"], last["reason"]) == (
        "erased",
        "1",
        None,
        "erased by Officer",
    )
    assert history.faults == ()


def test_a_history_is_not_erased_and_a_name_that_fits_several_runs_is_not_guessed(store, make_fake_run):
    for experiment in ("TWICE/risk", "TWICE/response"):
        store.track(make_fake_run(experiment=experiment, run_name="same", model=None))
    with pytest.raises(StoreError, match="'same' fits 2 runs: name one as"):
        find_run(store, "same")
    assert find_run(store, "TWICE/risk/same").experiment == "TWICE/risk"
    history = store.client.search_runs([store.experiment("trialml-history")])
    for run in history:
        with pytest.raises(StoreError, match="There is no run"):
            find_run(store, run.info.run_id)
        with pytest.raises(StoreError, match="holds a history"):
            erase(store, find_run(store, "TWICE/risk/same").__class__(run.info.run_id, "x", "y"), "me")


def test_a_run_is_found_without_reading_the_others(store, make_fake_run, monkeypatch):
    link = store.track(make_fake_run(experiment="FOUND/risk", run_name="one of many", model=None))
    read, search = [], store.client.search_runs

    def counted(*given, **more):
        page = search(*given, **more)
        read.extend(run.info.run_id for run in page)
        return page

    monkeypatch.setattr(store.client, "search_runs", counted)
    for words in (link.run_id, link.run_id[:10], "one of many", "FOUND/risk/one of many"):
        assert find_run(store, words).run_id == link.run_id
    assert set(read) == {link.run_id}


@pytest.mark.parametrize("words", ["it's", 'a "name"', "both ' and \"", "' OR attributes.run_id LIKE '%", "%", "/", ""])
def test_words_that_are_no_run_stay_words(store, make_fake_run, words):
    store.track(make_fake_run(experiment="FOUND/words", run_name="quiet", model=None))
    with pytest.raises(StoreError, match="There is no run"):
        find_run(store, words)


# Reports and comparisons


def test_a_report_is_rendered_again_from_what_is_tracked(store, make_fake_run, tmp_path, capsys):
    curve = kaplan_meier(np.arange(1.0, 41.0), np.arange(40) % 3 > 0)
    document = assemble(
        [curve], title="A trial", study="AGAIN", created="2030-01-01T00:00:00+00:00", summary=Summary("What?")
    )
    digest = write(document, tmp_path / "first.html")
    texts = {"report/results.json": json.dumps(document.to_dict())}
    for name, sha256 in (("same", digest), ("other", "0" * 64)):
        lineage = {"software": {"trialml": __version__}, "report": {"sha256": sha256}}
        store.track(make_fake_run(run_name=name, model=None, texts=texts | {"lineage.json": json.dumps(lineage)}))
        asked = ["report", f"FAKE/risk/{name}", "--to", str(tmp_path / name), "--tracking-uri", store.address]
        assert main(asked) == 0
        said = capsys.readouterr().out
        assert ("the same file as was tracked" in said) == (name == "same")
        assert (f"trialml {__version__} made that one" in said) == (name == "other")
        assert (tmp_path / name).read_bytes() == (tmp_path / "first.html").read_bytes()


@pytest.fixture(scope="module")
def losses():
    """A factory of losses by fold of one invented trial: `shift` moves the predictions, `seed` the folds."""
    draw = np.random.default_rng(5)
    event = draw.random(120) < 0.4

    def make(shift, seed=1):
        fold = np.stack([np.random.default_rng(seed + repeat).permutation(np.arange(120) % 5) for repeat in range(2)])
        value = np.clip(np.stack([0.2 + 0.4 * event + shift] * 2), 0.01, 0.99)
        return fold_losses(ObservedBinary(event), value, np.full((2, 120), 0.4), fold)

    return make


def test_losses_by_fold_are_means_over_the_test_patients(losses):
    found = losses(0.0)
    assert found.rows["n"].tolist() == [24] * 10
    event = np.random.default_rng(5).random(120) < 0.4
    fold = np.random.default_rng(1).permutation(np.arange(120) % 5)
    expected = [((event - (0.2 + 0.4 * event))[fold == label] ** 2).mean() for label in range(5)]
    assert found.rows["loss"].to_numpy()[:5] == pytest.approx(expected, rel=1e-12)
    again = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()


def test_a_paired_difference_is_the_corrected_resampled_t_of_the_folds(losses):
    first, second = losses(0.0), losses(0.1)
    gaps = second.rows["loss"].to_numpy() - first.rows["loss"].to_numpy()
    assert paired_difference(first, second) == corrected_resampled(gaps, 1 / 4)
    assert paired_difference(first, second).value == pytest.approx(gaps.mean(), rel=1e-12)


def test_runs_are_compared_in_pairs_only_where_the_folds_are_the_same(store, make_fake_run, losses, capsys):
    def track(name, result, kind="risk", **params):
        run = make_fake_run(
            experiment="PAIRS/risk",
            run_name=name,
            model=None,
            results=[result] if result else [],
            tags={"trialml.kind": kind},
            params={"cohort.sha256": "a", "quick": "false"} | params,
        )
        link = store.track(run)
        numbers = {"": 0.70, "_low": 0.66, "_high": 0.74}
        for end, value in numbers.items():
            store.client.log_metric(link.run_id, f"validation/c_index_730days_within_arm_crossfit{end}", value)
        return name

    def said(first, second, status=0):
        assert main(["compare", first, second, "--tracking-uri", store.address]) == status
        streams = capsys.readouterr()
        return streams.out + streams.err

    one, other = track("pair-1", losses(0.0)), track("pair-2", losses(0.1))
    shuffled, elsewhere = track("pair-3", losses(0.0, seed=9)), track("pair-4", losses(0.1), **{"cohort.sha256": "b"})
    response = track("pair-5", losses(0.1), "response")
    mean = paired_difference(losses(0.0), losses(0.1))
    paired = said(one, other)
    assert "paired over 10 test folds" in paired
    assert f"{mean.value:.3g}" in paired
    assert "unpaired, same patients: no interval" in paired
    assert "Only unpaired differences: the runs were not judged on the same patients in the same folds" in said(
        one, shuffled
    )
    # Two independent standard errors of 0.04 / 1.96: the half width of their difference is 0.04 times the root of 2.
    independent = said(one, elsewhere)
    assert "0 (95% CI \N{MINUS SIGN}0.0566 to 0.0566)" in independent
    assert "The runs rest on different patients" in independent
    assert "compare two of kind risk" in said(one, response, 1)


def test_an_older_run_without_losses_is_compared_unpaired(store, make_fake_run, make_tally):
    run = make_fake_run(experiment="OLD/risk", run_name="old")
    link = store.track(run)
    assert stored_results(store, link.run_id, "validation", FoldLosses) == []
    with pytest.raises(StoreError, match="has no results of the chapter 'strata'"):
        stored_results(store, link.run_id, "strata")
    with pytest.raises(StoreError, match=r"is not what this version of trialml writes.*trialml\.version"):
        stored_results(store, link.run_id, "validation")


@pytest.mark.long
def test_a_server_that_falls_silent_while_a_run_is_sent_is_given_up(tmp_path, make_fake_run):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        began = time.monotonic()
        with pytest.raises(TrackingError, match="does not answer in time"):
            open_store(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - began < 30

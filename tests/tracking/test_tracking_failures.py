"""What the tracker does when something goes wrong: say so, and leave nothing that looks finished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trialml.errors import TrackingError
from trialml.tracking.reasons import reason
from trialml.tracking.store import open_store


def newest(store, experiment="FAKE/risk"):
    found = store.client.get_experiment_by_name(experiment)
    return store.client.search_runs([found.experiment_id], order_by=["start_time DESC"], max_results=1)[0]


def versions(store, name):
    return store.client.search_model_versions(f"name = '{name}'")


def one_sentence(error):
    words = str(error)
    return "\n" not in words and "Traceback" not in words and words.endswith(".")


@pytest.mark.parametrize(
    "fault", [OSError("No space left on device"), KeyError("age"), ValueError("odd"), AttributeError("x")]
)
def test_a_run_that_fails_midway_is_marked_failed_and_no_version_is_registered(
    store, make_fake_run, make_fake_model, fault
):
    def write(folder):
        raise fault

    with pytest.raises(TrackingError) as caught:
        store.track(make_fake_run(model=make_fake_model(name="BROKEN", write=write)))
    assert one_sentence(caught.value)
    run = newest(store)
    assert (run.info.status, run.data.tags["trialml.status"]) == ("FAILED", "failed")
    assert versions(store, "BROKEN") == []


@pytest.fixture
def heeding_interrupts():
    """A test started in the background has SIGINT ignored; here it is heeded."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "stop", [lambda: signal.raise_signal(signal.SIGINT), lambda: signal.raise_signal(signal.SIGTERM)]
)
def test_a_run_that_is_stopped_is_marked_killed_and_no_version_is_registered(
    store, make_fake_run, make_fake_model, stop, heeding_interrupts
):
    def write(folder):
        stop()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        store.track(make_fake_run(model=make_fake_model(name="STOPPED", write=write)))
    run = newest(store)
    assert (run.info.status, run.data.tags["trialml.status"]) == ("KILLED", "killed")
    assert versions(store, "STOPPED") == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_server_that_is_not_there_is_said_in_one_sentence_and_soon(tmp_path):
    began = time.monotonic()
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9") as caught:
        open_store(tmp_path, "http://127.0.0.1:9")
    assert time.monotonic() - began < 30
    assert one_sentence(caught.value)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "Max retries exceeded with url: /x (Caused by ResponseError('too many 500 error responses'))",
            "the server answers with the error 500",
        ),
        (
            "(sqlite3.DatabaseError) file is not a database\n[SQL: SELECT 1]\n(Background on this error at: https://x)",
            "(sqlite3.DatabaseError) file is not a database",
        ),
    ],
)
def test_of_a_library_s_words_only_the_cause_is_told(said, expected):
    assert reason(RuntimeError(said)) == expected


def test_a_password_in_the_address_is_not_repeated(tmp_path):
    with pytest.raises(TrackingError) as caught:
        open_store(tmp_path, "http://reader:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(caught.value)


def test_a_database_that_is_none_is_refused_and_left_as_it_is(tmp_path):
    database = tmp_path / "mlflow.db"
    database.write_bytes(b"this is no database " * 400)
    before = database.read_bytes()
    with pytest.raises(TrackingError) as caught:
        open_store(tmp_path)
    assert one_sentence(caught.value)
    assert database.read_bytes() == before


def test_four_processes_may_open_a_fresh_store_and_track_at_once(tmp_path):
    script = (
        "import sys; from pathlib import Path; from trialml.tracking.store import open_store; "
        "from trialml.tracking.records import Dataset, TrackedRun; "
        "run = TrackedRun('FAKE/risk', sys.argv[2], 'PASS', {}, {}, [], Dataset('FAKE', 'f', 'a' * 64, 1, 1)); "
        "open_store(Path(sys.argv[1])).track(run)"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(n)], cwd=tmp_path, env=environment)
        for n in range(4)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0, 0]
    client = open_store(tmp_path).client
    experiment = client.get_experiment_by_name("FAKE/risk")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["0", "1", "2", "3"]
    assert {run.info.status for run in runs} == {"FINISHED"}

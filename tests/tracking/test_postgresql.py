"""The contract on PostgreSQL, as the shared server of mlflow/compose.yaml keeps it: what is logged is what sqlite holds."""

import glob
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from trialml.tracking.store import existing_store, open_store
from trialml.tracking.versions import registered_version

ROOT = Path(__file__).resolve().parents[2]
BINARIES = sorted(glob.glob("/usr/lib/postgresql/*/bin"))  # noqa: PTH207  (where Debian keeps them)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not BINARIES, reason="PostgreSQL is not installed: apt-get install postgresql"),
    pytest.mark.skipif(
        importlib.util.find_spec("psycopg2") is None,
        reason="the driver is not installed: pip install 'trialml[postgres]'",
    ),
]


def unprivileged():
    """PostgreSQL refuses to run as the superuser: then it runs as another user of the machine."""
    if os.getuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


@pytest.fixture(scope="module")
def server():
    """The address of an empty database of a server on loopback, in a temporary folder."""
    user = unprivileged()
    if os.getuid() == 0 and user is None:
        pytest.skip("no user of this machine but the superuser could run PostgreSQL")
    folder = Path(tempfile.mkdtemp(prefix="trialml-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user}
    words = [
        f"{BINARIES[-1]}/initdb",
        "-D",
        folder / "data",
        "-U",
        "mlflow",
        "--auth",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
    ]
    subprocess.run(words, check=True, **run)
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-k", str(folder), "-p", str(port)]
    process = subprocess.Popen([f"{BINARIES[-1]}/postgres", "-D", folder / "data", *options], **run)
    try:
        yield _ready(port)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _ready(port):
    import psycopg2

    for _ in range(300):
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", dbname="postgres").close()
        except psycopg2.OperationalError:
            time.sleep(0.1)
        else:
            return f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    raise AssertionError("PostgreSQL does not answer")


@pytest.fixture(scope="module")
def shared(server, tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("shared"), server)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("local"))


def logged(store, link):
    """What one run holds, without ids, paths and times."""
    run = store.client.get_run(link.run_id)
    tags = {key: value for key, value in run.data.tags.items() if key not in ("trialml.process_started", "mlflow.user")}
    inputs = [(one.dataset.name, one.dataset.digest, one.dataset.profile) for one in run.inputs.dataset_inputs]
    files = sorted(item.path for item in store.client.list_artifacts(link.run_id))
    version = store.client.get_model_version(link.model_name, link.model_version)
    aliases = {name: str(one) for name, one in store.client.get_registered_model(link.model_name).aliases.items()}
    kept = {key: value for key, value in version.tags.items() if "sha256" not in key}
    return run.data.params, run.data.metrics, tags, run.info.status, inputs, files, version.description, kept, aliases


def test_a_run_and_its_model_are_what_sqlite_holds(shared, local, make_fake_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_fake_run()
    here, there = local.track(run), shared.track(run)
    assert logged(shared, there) == logged(local, here)
    assert registered_version(shared, "models:/FAKE-risk@champion").run_id == there.run_id
    assert not list(tmp_path.iterdir())  # no artifact beside whoever happens to run it


def test_the_longest_description_and_tag_are_kept_as_in_sqlite(shared, local, make_fake_run, make_fake_model):
    long = "PASS\n" + "\n".join(f"- line {number} {'.' * 90}" for number in range(100))
    run = make_fake_run(
        description=long, model=make_fake_model(name="LONG", description=long), params={"words": "w" * 9000}
    )
    assert logged(shared, shared.track(run)) == logged(local, local.track(run))


def test_the_next_version_is_a_challenger(shared, make_fake_run, make_fake_model):
    links = [shared.track(make_fake_run(model=make_fake_model(name="TWICE"))) for _ in range(2)]
    assert [link.alias for link in links] == ["champion", "challenger"]


def test_four_processes_track_at_once(server, shared, tmp_path):
    script = (
        "import sys; from pathlib import Path; from trialml.tracking.store import open_store; "
        "from trialml.tracking.records import Dataset, TrackedRun; "
        "run = TrackedRun('FOUR/risk', sys.argv[3], 'PASS', {}, {}, [], Dataset('FAKE', 'f', 'a' * 64, 1, 1)); "
        "open_store(Path(sys.argv[1]), sys.argv[2]).track(run)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", script, str(tmp_path), server]
    started = [subprocess.Popen([*words, str(n)], cwd=tmp_path, env=environment) for n in range(4)]
    assert [process.wait(timeout=240) for process in started] == [0, 0, 0, 0]
    experiment = shared.client.get_experiment_by_name("FOUR/risk")
    runs = shared.client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["0", "1", "2", "3"]


def test_a_server_that_is_gone_is_said_in_a_sentence(tmp_path):
    from trialml.errors import StoreError

    with pytest.raises(StoreError) as caught:
        existing_store(tmp_path, "postgresql+psycopg2://mlflow:s3cret@127.0.0.1:9/mlflow")
    assert "s3cret" not in str(caught.value)

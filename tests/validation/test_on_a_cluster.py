"""Two workers of a Dask cluster on loopback give what this process gives."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.cli import main
from trialml.data.roles import Covariate
from trialml.errors import AnalysisError
from trialml.models.input_contract import InputContract
from trialml.models.linear_ridge import LinearRidge
from trialml.scoring import score_file
from trialml.stratifier import RiskPart, Stratifier
from trialml.validation.optimism import fitted_samples
from trialml.validation.parallel import in_order, on_cluster

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="the package distributed is not installed: pip install 'trialml[dask]'",
)


def started(*words):
    code = "from distributed.cli import {0}; {0}.main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "0"}
    return subprocess.Popen(
        [sys.executable, "-c", code.format(words[0]), *words[1:]], stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler with two workers, each a process with one thread."""
    folder = str(tmp_path_factory.mktemp("dask"))
    head = started("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    workers = []
    try:
        address = next(found[0] for line in head.stderr if (found := re.search(r"tcp://127\.0\.0\.1:\d+", line)))
        options = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", folder]
        workers = [started("dask_worker", address, *options) for _ in range(2)]
        for worker in workers:
            assert any("Registered to" in line for line in worker.stderr)
        yield address
    finally:
        for process in (*workers, head):
            process.kill()  # a graceful end takes seconds
        for process in (*workers, head):
            process.wait(timeout=20)
            process.stderr.close()


def test_answers_come_in_the_order_of_the_tasks_from_other_processes(scheduler):
    def one(task):
        return task * task, os.getpid()

    with on_cluster(scheduler):
        squares, processes = zip(*in_order(one, range(20)), strict=True)
    assert squares == tuple(task * task for task in range(20))
    assert os.getpid() not in processes
    assert [answer for answer, _ in in_order(one, range(3))] == [0, 1, 4]  # and here again afterwards


def test_bootstrap_samples_are_fitted_alike_there_and_here(scheduler):
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=80), draw.normal(size=80)
    drawn = [draw.integers(0, 80, 80) for _ in range(6)]

    def one(rows):
        return np.polyfit(x[rows], y[rows], 1)

    here, _ = fitted_samples(one, drawn, 1, lambda: None)
    with on_cluster(scheduler):
        there, failed = fitted_samples(one, drawn, 1, lambda: None)
    assert failed == 0
    assert np.array_equal(here, there)


def test_a_file_is_scored_alike_there_and_here(scheduler, tmp_path):
    draw = np.random.default_rng(2)
    frame = pd.DataFrame({"age": draw.normal(60, 9, 20_000)})
    frame.to_parquet(tmp_path / "a.parquet")
    contract = InputContract.learn((Covariate("age", "numeric", "Age"),), frame)
    fitted = LinearRidge(penalties=(1.0,)).fit(frame[:100], draw.normal(size=100))
    model = Stratifier("T", "points", contract, RiskPart("linear_ridge", fitted, output="expected_outcome"))
    score_file(model, str(tmp_path / "a.parquet"), tmp_path / "here.parquet", block_rows=1)
    with on_cluster(scheduler):
        score_file(model, str(tmp_path / "a.parquet"), tmp_path / "there.parquet", block_rows=1)
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()


@pytest.mark.long
def test_a_design_is_simulated_alike_there_and_here(scheduler, capsys):
    words = [
        "design",
        "survival",
        "--hazard-ratio",
        "0.7",
        "--control-median",
        "12",
        "--accrual",
        "12",
        "--duration",
        "30",
    ]
    words += ["--simulate", "2000", "--json"]
    assert main(words) == 0
    here = capsys.readouterr().out
    assert main([*words, "--scheduler", scheduler]) == 0
    assert capsys.readouterr().out == here


def test_an_error_of_a_task_comes_back(scheduler):
    def one(task):
        raise AnalysisError(f"task {task} has no answer.")

    with on_cluster(scheduler), pytest.raises(AnalysisError, match="has no answer"):
        list(in_order(one, range(2)))


def test_what_cannot_be_sent_is_said_at_once(scheduler):
    import threading

    lock = threading.Lock()
    with on_cluster(scheduler), pytest.raises(AnalysisError, match="cannot be sent to the cluster"):
        list(in_order(lambda task: (lock, task), range(2)))


@pytest.mark.parametrize("address", ["127.0.0.1:8786", "http://127.0.0.1:8786", "tcp://host"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(AnalysisError, match="is no address"), on_cluster(address):
        pass

"""How fast new patients are scored: one in this process, one through the server on loopback, a file of up to ten million.

Files are scored by processes of their own; memory is the sum of their resident sets, sampled ten times a second. Run:

    python benchmarks/scoring_speed.py [--quick] > benchmarks/scoring_speed.txt
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
from pyarrow import parquet

from trialml.data.roles import Covariate
from trialml.models.cox_ridge import CoxRidge
from trialml.models.input_contract import InputContract
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_scores import MODEL as RIDGE_SCORES
from trialml.strata.strata import quantile_strata
from trialml.stratifier import ResponsePart, RiskPart, Stratifier, StratumEffect
from trialml.tracking.records import Dataset, ModelInput, ModelVersion, TrackedRun
from trialml.tracking.store import open_store

NUMBERS, FLAGS, WORDS = 12, 4, 4
CALLS = 1000
GROUP = 100_000
COVARIATES = tuple(
    [Covariate(f"x{place}", "numeric", f"X{place}") for place in range(NUMBERS)]
    + [Covariate(f"b{place}", "binary", f"B{place}") for place in range(FLAGS)]
    + [Covariate(f"c{place}", "categorical", f"C{place}") for place in range(WORDS)]
)


def patients(rows, seed):
    """Invented patients with 20 covariates, one of them missing in one of twenty."""
    draw = np.random.default_rng(seed)
    frame = {f"x{place}": draw.normal(50, 10, rows).round(2) for place in range(NUMBERS)}
    frame |= {f"b{place}": (draw.random(rows) < 0.3).astype(float) for place in range(FLAGS)}
    frame |= {f"c{place}": draw.choice(["lung", "liver", "bone"], rows) for place in range(WORDS)}
    made = pd.DataFrame(frame)
    made.loc[draw.random(rows) < 0.05, "x0"] = np.nan
    return made


def fitted():
    """Risk, benefit and strata in one model."""
    baseline, draw = patients(600, 1), np.random.default_rng(2)
    times = draw.exponential(400 * np.exp(-(baseline["x1"] - 50) / 30))
    ends = draw.uniform(200, 900, 600)
    risk = CoxRidge(treatment="treated", penalties=(10.0,)).fit(
        baseline.assign(treated=draw.integers(0, 2, 600).astype(float)),
        survival_outcome(np.minimum(times, ends), times <= ends),
    )
    benefit = RIDGE_SCORES.estimator().fit(
        baseline, 60 + 9 * (baseline["x2"].to_numpy() - 50) + draw.normal(0, 40, 600)
    )
    strata = quantile_strata(benefit.benefit_score(baseline), 3, model="BENCH-response", unit="days")
    effects = tuple(StratumEffect(10.0 * place, -5.0, 30.0) for place in range(3))
    response = ResponsePart("ridge_scores", benefit, strata, effects, 365.0)
    contract = InputContract.learn(COVARIATES, baseline)
    return Stratifier("BENCH", "days", contract, RiskPart("cox_ridge", risk, 365.0), response)


def quantiles(seconds):
    middle, high = np.percentile(np.asarray(seconds) * 1000, [50, 99])
    return f"median {middle:5.2f} ms  p99 {high:5.2f} ms"


def timed_one(model):
    """Score one patient a thousand times."""
    one, spent, used = patients(1, 3), [], []
    model.predict(one)
    for _ in range(CALLS):
        start, cpu = time.perf_counter(), time.process_time()
        model.predict(one)
        spent.append(time.perf_counter() - start)
        used.append(time.process_time() - cpu)
    print(
        f"one patient in this process, {CALLS:,} calls    wall {quantiles(spent)}   processor {quantiles(used)}",
        flush=True,
    )


def register(model, out):
    """Register the model as a run does, and return its reference."""
    kinds = {"categorical": "string"}
    version = ModelVersion(
        "BENCH", model.write, "trialml.stratifier",
        [ModelInput(field.name, kinds.get(field.kind, "any"), field.required) for field in model.contract.fields],
        model.columns(), {"horizon": 365.0}, ["trialml"], example=model.contract.example(),
    )  # fmt: skip
    data = Dataset("BENCH", "invented", "0" * 64, 600, 300)
    open_store(out).track(TrackedRun("BENCH/risk", "run", "PASS", {}, {}, [], data, version))
    return "models:/BENCH/1"


def timed_server(reference, out):
    """Score one patient a thousand times through the server, over one connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "trialml", "serve", reference, "--store", str(out), "--port", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        connection = _connected(port)
        body = json.dumps({"dataframe_records": json.loads(patients(1, 3).to_json(orient="records"))})
        spent, own = [], psutil.Process(server.pid)
        for call in range(CALLS + 20):
            if call == 20:
                before = own.cpu_times()
            start = time.perf_counter()
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            if call >= 20:
                spent.append(time.perf_counter() - start)
        after = own.cpu_times()
        used = 1000 * (after.user + after.system - before.user - before.system) / CALLS
        print(
            f"one patient through the server, {CALLS:,} calls  wall {quantiles(spent)}   processor {used:5.2f} ms a call",
            flush=True,
        )
    finally:
        server.terminate()
        server.wait(timeout=30)


def _connected(port):
    for _ in range(1200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/ping")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return connection
    raise SystemExit("the server does not answer")


def written(path, rows):
    """Write a Parquet file by groups of rows."""
    writer = None
    for start in range(0, rows, GROUP):
        table = pa.Table.from_pandas(patients(min(GROUP, rows - start), 100 + start // GROUP), preserve_index=False)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def timed_file(model_folder, data, out, rows):
    """Score a file by the command and report its wall and processor time and the memory of all its processes."""
    words = [
        sys.executable,
        "-m",
        "trialml",
        "predict",
        str(model_folder),
        str(data),
        "--out",
        str(out),
        "--workers",
        "2",
    ]
    start = time.perf_counter()
    command = psutil.Popen(words, stdout=subprocess.DEVNULL)
    most, used = 0, {}
    while command.poll() is None:
        total = 0
        try:
            family = [command, *command.children(recursive=True)]
        except psutil.Error:
            family = []
        for process in family:
            try:
                total += process.memory_info().rss
                spent = process.cpu_times()
                used[process.pid] = spent.user + spent.system
            except psutil.Error:
                continue
        most = max(most, total)
        time.sleep(0.1)
    wall = time.perf_counter() - start
    assert command.returncode == 0
    assert parquet.ParquetFile(out).metadata.num_rows == rows
    print(
        f"{rows:>10,} patients x 20, 2 workers               wall {wall:6.1f} s  processor {sum(used.values()):6.1f} s  "
        f"peak of all processes {most / 1024**3:4.2f} GB  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a million patients at most")
    parser.add_argument("--single", action="store_true", help="single patients alone")
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, pandas {pd.__version__}, pyarrow {pa.__version__}, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)  # fmt: skip
    model = fitted()
    timed_one(model)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        timed_server(register(model, here / "store"), here / "store")
        model.write(here / "model")
        sizes = () if asked.single else (1_000_000,) if asked.quick else (1_000_000, 3_000_000, 10_000_000)
        for rows in sizes:
            written(here / "patients.parquet", rows)
            timed_file(here / "model", here / "patients.parquet", here / f"{rows}.parquet", rows)


if __name__ == "__main__":
    main()

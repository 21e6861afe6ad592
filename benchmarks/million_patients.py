"""One million patients and twenty covariates: written to CSV, then read, checked and summarised in a process of its own.

python benchmarks/million_patients.py [PATIENTS] > benchmarks/million_patients.txt
"""

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

PATIENTS = 1_000_000
CHUNK = 100_000
RUNS = 3
PACKAGES = ("trialml", "numpy", "pandas", "pyarrow", "scipy")
NUMERIC = [f"lab{place:02d}" for place in range(10)] + ["age", "weight"]
BINARY = ["male", "prior", "smoker", "diabetes"]
CATEGORICAL = ["histology", "region", "stage", "race"]

STUDY = f"""
[study]
name = "MILLION"
title = "A million patients"
[estimand]
population = "All"
treatment = "New against old"
variable = "Time to event"
intercurrent_events = "Treatment policy"
summary = "Hazard ratio"
[data]
source = "trial.csv"
subject = "usubjid"
site = "siteid"
[treatment]
column = "arm"
control = "old"
experimental = "new"
stratification = ["stratum"]
[[endpoints]]
name = "death"
label = "Death"
kind = "time to event"
time = "days"
event = "died"
unit = "days"
horizon = 365
tau = 365
[covariates]
numeric = {json.dumps(NUMERIC)}
binary = {json.dumps(BINARY)}
categorical = {json.dumps(CATEGORICAL)}
"""


def patients(draw, first, n):
    arm = draw.permuted(np.resize(np.array(["old", "new"], dtype=object), n))
    severity = draw.normal(0, 1, n)
    event_time = draw.exponential(500 / np.exp(0.3 * severity - 0.3 * (arm == "new")))
    censoring = draw.uniform(300, 900, n)
    frame = {
        "usubjid": [f"M-{number:07d}" for number in range(first, first + n)],
        "siteid": draw.integers(100, 600, n),
        "arm": arm,
        "stratum": draw.choice(["north", "south", "east", "west"], n),
        "days": np.ceil(np.minimum(event_time, censoring)).astype(int),
        "died": (event_time <= censoring).astype(int),
        "age": draw.normal(60, 10, n).round().astype(int),
        "weight": draw.normal(78, 12, n).round(1),
    }
    frame |= {
        name: np.exp(draw.normal(1, 0.4, n) + 0.05 * severity).round(3) for name in NUMERIC if name.startswith("lab")
    }
    frame |= {name: draw.integers(0, 2, n) for name in BINARY}
    frame |= {name: draw.choice(["one", "two", "three", "four", "five"], n) for name in CATEGORICAL}
    made = pd.DataFrame(frame)
    for name in ("lab00", "lab01", "stage"):
        made.loc[draw.random(n) < 0.05, name] = None
    return made


def write(folder, n):
    draw = np.random.default_rng(20)
    path = folder / "trial.csv"
    for first in range(0, n, CHUNK):
        part = patients(draw, first, min(CHUNK, n - first))
        part.to_csv(path, mode="a", header=first == 0, index=False)
    (folder / "study.toml").write_text(STUDY)
    return path.stat().st_size / 1e6


def peak_gigabytes():
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform != "darwin" else 1024**3)


def run_once(study_file):
    """Read, check and summarise, as `trialml check` and the data chapter of `trialml run` do, with the time of each step."""
    started = last = time.perf_counter()
    used = time.process_time()
    stages = {}

    def end(stage):
        nonlocal last
        now = time.perf_counter()
        stages[stage] = (now - last, peak_gigabytes())
        last = now

    from trialml.config import read_study
    from trialml.data.analysis_set import analysis_set
    from trialml.data.baseline import baseline_table
    from trialml.data.cleaning_log import cleaning_log
    from trialml.data.missingness import missingness
    from trialml.data.quality import data_quality, examine
    from trialml.data.quality_catalogue import CATALOGUE
    from trialml.study import read_trial
    from trialml.survival.leakage import leakage

    study = read_study(study_file)
    end("imports and the study file")
    read = read_trial(study)
    end("reading the file, giving roles")
    trial, flow = analysis_set(read, randomised=study.data.randomised)
    end("analysis set")
    quality = data_quality(trial, examine(trial))
    end(f"{quality.made} of {len(CATALOGUE)} numbered checks")
    cleaning_log(trial)
    missing = missingness(trial, read=read)
    end("missing values")
    table = baseline_table(trial)
    end("baseline table by arm")
    by_stratum = baseline_table(trial, by="factor")
    end("baseline table by stratum")
    known = leakage(trial.time, trial.event, trial.baseline, covariates=trial.covariates, arm=trial.arm_labels)
    end("covariates that know the outcome (50,000 sampled)")
    done = {
        "stages": stages,
        "wall": time.perf_counter() - started,
        "processor": time.process_time() - used,
        "patients": flow.analysed,
        "checks": quality.text(),
        "rows": [len(result.frame()) for result in (quality, missing, table, by_stratum, known)],
    }
    print(json.dumps(done))


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "--once":
        run_once(Path(sys.argv[2]))
        return
    n = int(sys.argv[1]) if len(sys.argv) > 1 else PATIENTS
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}; {versions}")
    with tempfile.TemporaryDirectory() as folder:
        megabytes = write(Path(folder), n)
        print(
            f"{n:,} patients, 20 covariates, 500 sites, a CSV file of {megabytes:,.0f} MB; read in a process of its own\n"
        )
        command = [sys.executable, __file__, "--once", str(Path(folder) / "study.toml")]
        runs = []
        for _ in range(RUNS):
            load = os.getloadavg()[0]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            runs.append({**json.loads(printed.splitlines()[-1]), "load": load})
    runs.sort(key=lambda run: run["wall"])
    done = runs[len(runs) // 2]
    print(f"{'step, in the median run':<52}{'seconds':>9}{'peak GB so far':>16}")
    for stage, (seconds, peak) in done["stages"].items():
        print(f"{stage:<52}{seconds:>9.1f}{peak:>16.2f}")
    peak = max(peak for _, peak in done["stages"].values())
    walls = ", ".join(
        f"{run['wall']:.1f} s (processor {run['processor']:.1f} s, load before {run['load']:.1f})" for run in runs
    )
    print(f"\nwall {done['wall']:.1f} s (median of {RUNS}; target 60), peak memory {peak:.2f} GB (target 4)")
    print(f"each run: {walls}; a load above 2 is other work on the two cores")
    print(f"{done['patients']:,} patients analysed. {done['checks']}")


if __name__ == "__main__":
    main()

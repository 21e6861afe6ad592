"""The optimism bootstrap of a Cox model beside R's rms::validate: 1,000 patients, 20 covariates, 200 samples.

python benchmarks/optimism_bootstrap.py > benchmarks/optimism_bootstrap.txt

R with its package rms is used where it is installed; each program times its own call, in turns, on one core.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from trialml.validation.optimism import cox_fit, optimism

N, P, SAMPLES, ROUNDS = 1000, 20, 200, 5
HORIZON = 1.0

R_SCRIPT = """
suppressPackageStartupMessages(library(rms))
d <- read.csv(commandArgs(TRUE)[1]); set.seed(1)
fit <- cph(as.formula(paste("Surv(time, event) ~", paste(names(d)[-(1:2)], collapse = " + "))), d, x = TRUE, y = TRUE)
used <- system.time(v <- rms::validate(fit, B = 200))
cat(used[["elapsed"]], used[["user.self"]] + used[["sys.self"]], (v["Dxy", "index.corrected"] + 1) / 2, v["Slope", "index.corrected"], as.character(packageVersion("rms")), "\\n")
"""


def make(seed=1):
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(draw.normal(size=(N, P)), columns=[f"x{k}" for k in range(P)])
    event_time = draw.exponential(np.exp(-X.to_numpy() @ np.linspace(-0.3, 0.3, P)))
    last = draw.uniform(0.2, 3, N)
    return X, np.minimum(event_time, last), event_time <= last


def ours(X, times, event):
    start, used = time.perf_counter(), time.process_time()
    found = optimism(cox_fit(X, times, event), X, times, event, horizon=HORIZON, unit="years", bootstraps=SAMPLES)
    row = found.measures.set_index("measure")["corrected"]
    return time.perf_counter() - start, time.process_time() - used, row["Harrell's C"], row["calibration slope"]


def rms(X, times, event):
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "data.csv", Path(folder) / "validate.R"
        X.assign(time=times, event=event.astype(int))[["time", "event", *X.columns]].to_csv(path, index=False)
        script.write_text(R_SCRIPT, encoding="utf-8")
        done = subprocess.run(["Rscript", str(script), str(path)], capture_output=True, text=True, check=False,
                              env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    return done.stdout.split() if done.returncode == 0 else None


def main():
    data = make()
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} cores, "
          f"load {os.getloadavg()[0]:.1f} at the start")  # fmt: skip
    print(f"{N} patients, {int(data[2].sum())} events, {P} covariates, {SAMPLES} samples, {ROUNDS} rounds in turns")
    with threadpool_limits(1):
        ours(*data)
        rounds = [(ours(*data), rms(*data)) for _ in range(ROUNDS)]
    mine = np.array([one for one, _ in rounds])
    print(f"ours: median {np.median(mine[:, 0]):.2f} s ({np.median(mine[:, 1]):.2f} s of processor time); corrected C "
          f"{mine[0, 2]:.4f}, slope {mine[0, 3]:.4f}; also Brier score and IPA")  # fmt: skip
    theirs = [other for _, other in rounds if other]
    if not theirs:
        print("rms is not installed: nothing to compare with")
        return
    numbers = np.array([[float(value) for value in other[:4]] for other in theirs])
    print(f"rms {theirs[0][4]}: median {np.median(numbers[:, 0]):.2f} s ({np.median(numbers[:, 1]):.2f} s of processor time); corrected C "
          f"{numbers[0, 2]:.4f}, slope {numbers[0, 3]:.4f} (samples of its own)")  # fmt: skip
    print(f"ratio of medians {np.median(mine[:, 0]) / np.median(numbers[:, 0]):.2f} (wall), "
          f"{np.median(mine[:, 1]) / np.median(numbers[:, 1]):.2f} (processor)")  # fmt: skip


if __name__ == "__main__":
    main()

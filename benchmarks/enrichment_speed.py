"""Simulated enrichment trials a second beside rpact, in one run: on patients, and on test statistics as rpact does.

Run `python benchmarks/enrichment_speed.py` with R and rpact at hand; without them it says so and stops.
"""

from __future__ import annotations

import json
import math
import platform
import shutil
import subprocess
import sys
import time

import numpy as np

from trialml.design.adaptive_enrichment import simulate_enrichment, simulate_enrichment_statistics
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.trial_plan import plan_of

TRUTHS = ((1.0, 1.0), (0.6, 1.0), (0.6, 0.8))
PREVALENCE, RPACT_TRIALS, TRIALS, ROUNDS = 0.4, 2000, 50_000, 3
R_CODE = """
if (!requireNamespace("rpact", quietly = TRUE)) { cat("absent"); quit(status = 0) }
suppressPackageStartupMessages(library(rpact)); setLogLevel("DISABLED")
d <- getDesignInverseNormal(informationRates = c(.5, 1), typeOfDesign = "asOF", alpha = .025)
el <- list(subGroups = c("S", "R"), prevalences = c(.4, .6), hazardRatios = matrix(c(1, 1, .6, 1, .6, .8), ncol = 2, byrow = TRUE))
s <- proc.time()
r <- suppressWarnings(getSimulationEnrichmentSurvival(d, effectList = el, plannedEvents = c(120, 240), typeOfSelection = "best",
  intersectionTest = "Simes", directionUpper = FALSE, maxNumberOfIterations = %d, seed = %d))
e <- proc.time() - s
cat(sprintf('{"R": "%%s", "rpact": "%%s", "seconds": %%.4f, "cpu": %%.4f, "power": [%%s]}', getRversion(), packageVersion("rpact"), e[3], e[1] + e[2],
  paste(format(r$rejectAtLeastOne, digits = 10), collapse = ",")))
"""


def people(subgroup: float, rest: float):
    hazard = math.log(2) / 12
    groups = [(PREVALENCE, [0.0], [hazard], [hazard * subgroup]), (1 - PREVALENCE, [0.0], [hazard], [hazard * rest])]
    return plan_of(500, accrual=([0.0], [25.0]), groups=groups, dropout=(0.002, 0.002))


def timed(run, trials: int) -> tuple[list, float, float]:
    start, used = time.perf_counter(), time.process_time()
    found = [run(truth, trials) for truth in TRUTHS]
    return found, time.perf_counter() - start, time.process_time() - used


def main() -> int:
    if shutil.which("Rscript") is None:
        print("Rscript is not on the path, so there is nothing to compare with: install R and its package rpact.")
        return 0
    design = EnrichmentDesign(120, 120)
    ways = {
        "on patients, 1 worker": lambda truth, trials: simulate_enrichment(
            design, people(*truth), trials, seed=5, workers=1
        ),
        "on patients, 2 workers": lambda truth, trials: simulate_enrichment(
            design, people(*truth), trials, seed=5, workers=2
        ),
        "on test statistics": lambda truth, trials: simulate_enrichment_statistics(
            design, truth, PREVALENCE, trials, seed=5
        )[0],
    }
    for run in ways.values():
        run(TRUTHS[0], 1000)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ("rpact, on test statistics", *ways)}
    found: dict[str, list] = {}
    theirs = []
    for turn in range(ROUNDS):
        done = subprocess.run(
            ["Rscript", "-e", R_CODE % (RPACT_TRIALS, 1 + turn)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0 or done.stdout.strip() == "absent":
            print("R's package rpact cannot be loaded, so there is nothing to compare with: install rpact.")
            return 0
        theirs.append(json.loads(done.stdout))
        seconds["rpact, on test statistics"].append((theirs[-1]["seconds"], theirs[-1]["cpu"]))
        for name, run in ways.items():
            found[name], wall, cpu = timed(run, TRIALS)
            seconds[name].append((wall, cpu))
    print("Two-stage enrichment, prevalence 0.4, 120 and 120 events, best population selected, Simes, inverse normal;")
    print(
        "hazard ratios in subgroup and rest 1 and 1, 0.6 and 1, 0.6 and 0.8. Patients: 500 at 25 a month, control median 12 months."
    )
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}; R {theirs[0]['R']}, rpact {theirs[0]['rpact']}; best of {ROUNDS} rounds in turn"
    )
    trials = {name: len(TRUTHS) * (RPACT_TRIALS if name.startswith("rpact") else TRIALS) for name in seconds}
    rate = {
        name: (trials[name] / min(w for w, _ in pairs), trials[name] / min(c for _, c in pairs))
        for name, pairs in seconds.items()
    }
    base = rate["rpact, on test statistics"]
    for name, (wall, cpu) in rate.items():
        print(
            f"{name:28} {wall:10,.0f} trials/s, {cpu:10,.0f} a second of processor time; ratio {wall / base[0]:6.1f}, {cpu / base[1]:6.1f}"
        )
    power = np.mean([one["power"] for one in theirs], axis=0)
    ours = found["on test statistics"]
    print(
        "At least one population rejected, test statistics here, rpact, difference in combined Monte Carlo errors; patients:"
    )
    for truth, mine, other, patients in zip(TRUTHS, ours, power, found["on patients, 1 worker"], strict=True):
        value = mine.estimate("rejected_any").value
        error = math.sqrt(value * (1 - value) * (1 / TRIALS + 1 / (ROUNDS * RPACT_TRIALS)))
        print(
            f"{truth}: {value:.4f}, {other:.4f}, {(value - other) / error:+.1f}; {patients.estimate('rejected_any').value:.4f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

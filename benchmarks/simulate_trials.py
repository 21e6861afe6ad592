"""Simulated trials, side by side with rpact in one run: trials per second, power, events and calendar, type I error.

500 patients, three looks at 50, 75 and 100 % of 337 events, hazard ratio 0.7, control median 12 months, accrual of
18 months. Run `python benchmarks/simulate_trials.py` with R and rpact at hand; without them it says so and stops.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from statistics import median

import numba
import numpy as np

from trialml.design.group_sequential import Design
from trialml.design.scenario import Scenario
from trialml.design.simulate import simulate

TRIALS = 100_000
PEER_TRIALS = 10_000
REPEATS = 5
R_CODE = """
if (!requireNamespace("rpact", quietly = TRUE)) { cat("absent"); quit(status = 0) }
suppressPackageStartupMessages(library(rpact))
d <- getDesignGroupSequential(informationRates = c(.5, .75, 1), typeOfDesign = "asOF", alpha = .025, beta = .1)
one <- function(n) getSimulationSurvival(d, lambda2 = log(2) / 12, hazardRatio = .7, accrualTime = c(0, 18),
  maxNumberOfSubjects = 500, plannedEvents = c(169, 253, 337), directionUpper = FALSE, seed = %d,
  maxNumberOfIterations = n)
invisible(one(200))
timed <- system.time(r <- one(%d))
show <- function(v) paste0("[", paste(format(as.numeric(v), digits = 12), collapse = ","), "]")
cat("{\\"R\\":\\"", as.character(getRversion()), "\\",\\"rpact\\":\\"", as.character(packageVersion("rpact")),
    "\\",\\"wall\\":", show(timed[["elapsed"]]), ",\\"processor\\":", show(timed[["user.self"]] + timed[["sys.self"]]),
    ",\\"reject\\":", show(r$rejectPerStage), ",\\"power\\":", show(r$overallReject),
    ",\\"events\\":", show(r$expectedNumberOfEvents), ",\\"months\\":", show(r$analysisTime),
    ",\\"duration\\":", show(r$studyDuration), "}", sep = "")
"""


def plan(hazard_ratio: float) -> Scenario:
    return Scenario.from_median(
        f"hazard ratio {hazard_ratio:g}",
        control_median_months=12,
        hazard_ratio=hazard_ratio,
        accrual_per_month=500 / 18,
        patients=500,
    )


def timed(**options) -> tuple[float, float, object]:
    wall, processor = time.perf_counter(), time.process_time()
    result = simulate(DESIGN, plan(0.7), options.pop("trials", TRIALS), 1, events=337, **options)
    return time.perf_counter() - wall, time.process_time() - processor, result


def peer(seed: int) -> dict | None:
    done = subprocess.run(["Rscript", "-e", R_CODE % (seed, PEER_TRIALS)], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stdout.strip() == "absent":
        return None
    return json.loads(done.stdout)


DESIGN = Design(information_fractions=(0.5, 0.75, 1.0))
WEIGHTED = {"test": "fleming-harrington", "weightings": ((0, 0.5),)}


def speed() -> tuple[list[dict], object] | None:
    """Time one and two workers and rpact in turn, and print the medians."""
    timed(trials=2000)  # compile
    ours: dict[str, list] = {"even": [], "poisson": [], "two": []}
    peers = []
    for repeat in range(REPEATS):
        found = peer(repeat + 1)
        if found is None:
            return None
        peers.append(found)
        ours["even"].append(timed(entry="even", workers=1))
        ours["poisson"].append(timed(entry="poisson", workers=1))
        ours["two"].append(timed(entry="even", workers=2))
    print(f"Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}")
    print(f"R {peers[0]['R']}, rpact {peers[0]['rpact']}; {os.cpu_count()} processors")
    print(f"median of {REPEATS} runs in turn: {PEER_TRIALS:,} trials in rpact, {TRIALS:,} here")
    rates = {}
    for clock, place in (("wall", 0), ("processor", 1)):
        rates["rpact"] = PEER_TRIALS / median(found[clock][0] for found in peers)
        print(f"trials per second of {clock} time: rpact {rates['rpact']:,.0f}")
        for name, label in (
            ("even", "one worker, patients evenly spaced as in rpact"),
            ("poisson", "one worker, Poisson arrivals"),
            ("two", "two workers, evenly spaced"),
        ):
            rate = TRIALS / median(run[place] for run in ours[name])
            rates[name] = rate
            print(f"  {label}: {rate:,.0f}, {rate / rates['rpact']:.1f} times rpact")
        if clock == "wall":
            print(f"  two workers to one: {rates['two'] / rates['even']:.2f}")
    return peers, ours["even"][0][2]


def agreement(peers: list[dict], ours) -> None:
    """Print each figure of both with the difference in combined Monte Carlo errors."""
    n = PEER_TRIALS * len(peers)
    print(f"agreement with rpact: {TRIALS:,} trials here, {n:,} there; the difference in joint Monte Carlo errors")

    def line(label: str, value: float, error: float, other: float, other_error: float) -> None:
        joint = math.hypot(error, other_error)
        print(f"  {label}: {value:.4f}, rpact {other:.4f}, {(value - other) / joint:+.2f} errors of {joint:.4f}")

    mean = {key: np.mean([found[key] for found in peers], axis=0) for key in ("reject", "power", "events", "duration")}
    spread = math.sqrt(TRIALS / n)  # both programs draw from one distribution, so the errors differ by the trials alone
    for look in range(3):
        p = mean["reject"][look]
        row = ours.looks.iloc[look]
        line(f"rejection at look {look + 1}", row["reject"], row["reject_mc_error"], p, math.sqrt(p * (1 - p) / n))
    p = mean["power"][0]
    line("power", ours.power.value, ours.power.mc_error, p, math.sqrt(p * (1 - p) / n))
    for label, name, key in (("events", "events", "events"), ("duration in months", "duration_months", "duration")):
        found = ours.estimate(name)
        line(f"expected {label}", found.value, found.mc_error, mean[key][0], found.mc_error * spread)


def other_settings() -> None:
    """Print the speed of other settings, one worker each."""
    print("trials per second of processor time in other settings, one worker")
    dropout = Scenario.from_median(
        "", control_median_months=12, hazard_ratio=0.7, accrual_per_month=500 / 18, patients=500, dropout_per_month=0.01
    )
    for label, scenario, trials, options in (
        ("dropout of 1 % a month", dropout, TRIALS, {}),
        ("no effect, so that all looks are reached", plan(1.0), TRIALS, {}),
        ("weighted log-rank, rho 0 and gamma 0.5", plan(0.7), 4000, WEIGHTED),
        ("MaxCombo of two weights", plan(0.7), 4000, {"test": "maxcombo", "weightings": ((0, 0), (0, 0.5))}),
        ("MaxCombo of four weights", plan(0.7), 1000, {"test": "maxcombo"}),
        ("restricted means to 12 months", plan(0.7), 2000, {"test": "rmst", "tau_months": 12}),
    ):
        simulate(DESIGN, scenario, 20, 1, events=337, **options)
        processor = time.process_time()
        found = simulate(DESIGN, scenario, trials, 1, events=337, workers=1, **options)
        seconds = time.process_time() - processor
        print(f"  {label}: {trials / seconds:,.0f}; rejected in {100 * found.power.value:.1f} %")


def type_one_error(trials: int = 400_000) -> None:
    """Print the type I error without effect, with and without following a non-binding futility bound."""
    print(f"type I error without effect, {trials:,} trials each (nominal 0.025 one-sided)")
    futile = Design(information_fractions=(0.5, 0.75, 1.0), futility_z=(0.0, 0.5))
    for label, design, follow in (
        ("no futility bound", DESIGN, True),
        ("non-binding futility at z of 0 and 0.5, followed", futile, True),
        ("the same, overruled", futile, False),
    ):
        found = simulate(design, plan(1.0), trials, 2, events=337, follow_futility=follow)
        power = found.power
        print(
            f"  {label}: {power.value:.5f} (Monte Carlo error {power.mc_error:.5f}), stopped for futility "
            f"{found.estimate('futility').value:.4f}, {found.estimate('events').value:.1f} events on average"
        )


def main() -> int:
    if shutil.which("Rscript") is None:
        print("Rscript is not on the path, so there is nothing to compare with: install R and its package rpact.")
        return 0
    measured = speed()
    if measured is None:
        print("R's package rpact cannot be loaded, so there is nothing to compare with: install rpact.")
        return 0
    agreement(*measured)
    other_settings()
    type_one_error()
    return 0


if __name__ == "__main__":
    sys.exit(main())

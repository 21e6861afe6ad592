"""Designs with five looks, side by side with rpact in one run: the same bounds, and the time that each takes.

Run `python benchmarks/group_sequential_design.py` with R and rpact at hand; without them it says so and stops. A design
is its bounds and the drift that gives its power, made anew in each run. Processor time is what other work on the
machine disturbs least.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time

import numpy as np
import scipy

from trialml.design.group_sequential import Design

FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
REPEATS = 50
CASES = {
    "O'Brien-Fleming": ('typeOfDesign = "OF"', {"spending": "obrien-fleming"}),
    "Pocock": ('typeOfDesign = "P"', {"spending": "pocock"}),
    "Wang-Tsiatis .25": (
        'typeOfDesign = "WT", deltaWT = 0.25',
        {"spending": "wang-tsiatis", "spending_parameter": 0.25},
    ),
    "Haybittle-Peto": ('typeOfDesign = "HP"', {"spending": "haybittle-peto"}),
    "Lan-DeMets, O'Brien-Fleming type": ('typeOfDesign = "asOF"', {}),
    "Lan-DeMets, Pocock type": ('typeOfDesign = "asP"', {"spending": "lan-demets-pocock"}),
    "Hwang-Shih-DeCani -4": (
        'typeOfDesign = "asHSD", gammaA = -4',
        {"spending": "hwang-shih-decani", "spending_parameter": -4},
    ),
    "Kim-DeMets 2": ('typeOfDesign = "asKD", gammaA = 2', {"spending": "kim-demets", "spending_parameter": 2}),
    "the same, beta spending": (
        'typeOfDesign = "asKD", gammaA = 2, typeBetaSpending = "bsKD", gammaB = 2',
        {
            "spending": "kim-demets",
            "spending_parameter": 2,
            "futility_spending": "kim-demets",
            "futility_parameter": 2,
        },
    ),
}
R_CODE = """
if (!requireNamespace("rpact", quietly = TRUE)) { cat("absent"); quit(status = 0) }
suppressPackageStartupMessages(library(rpact))
show <- function(v) paste0("[", paste(format(v, digits = 17), collapse = ","), "]")
cat("{\\"R\\":\\"", as.character(getRversion()), "\\",\\"rpact\\":\\"", as.character(packageVersion("rpact")), "\\"", sep = "")
"""
R_CASE = """
one <- function() {
  d <- getDesignGroupSequential(kMax = 5, alpha = .025, beta = .1, sided = 1, %s)
  list(d = d, inflation = getDesignCharacteristics(d)$inflationFactor)
}
invisible(one())
cpu <- sum(proc.time()[1:2])
seconds <- sapply(seq_len(%d), function(i) { s <- Sys.time(); one(); as.numeric(Sys.time() - s, units = "secs") })
cpu <- (sum(proc.time()[1:2]) - cpu) / length(seconds)
r <- one()
cat(",\\"%s\\":{\\"bounds\\":", show(r$d$criticalValues), ",\\"inflation\\":", show(r$inflation),
    ",\\"seconds\\":", show(c(cpu, min(seconds))), "}", sep = "")
"""


def ours(settings: dict[str, object]) -> tuple[np.ndarray, float, tuple[float, float]]:
    """Return bounds, inflation factor, the mean processor time and the least time on the clock, in seconds."""
    seconds = []
    for turn in range(REPEATS + 1):
        if turn == 1:
            busy = time.process_time()
        start = time.perf_counter()
        design = Design(information_fractions=FRACTIONS, **settings)
        inflation = design.inflation_factor
        seconds.append(time.perf_counter() - start)
    busy = (time.process_time() - busy) / REPEATS
    return np.array(design.critical_values), inflation, (busy, min(seconds[1:]))


def main() -> int:
    """Print the comparison."""
    if shutil.which("Rscript") is None:
        print("Rscript is not on the path, so there is nothing to compare with: install R and its package rpact.")
        return 0
    code = R_CODE + "".join(R_CASE % (call, REPEATS, name) for name, (call, _) in CASES.items()) + 'cat("}")'
    alone = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False, env=alone)
    if done.returncode != 0 or done.stdout.strip() == "absent":
        print("R's package rpact cannot be loaded, so there is nothing to compare with: install rpact.")
        return 0
    theirs = json.loads(done.stdout)
    print("Five equal looks, alpha 0.025 one-sided, power 0.9: bounds, drift for power and inflation factor")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print(
        f"R {theirs['R']}, rpact {theirs['rpact']}; {REPEATS} runs after one to warm up, one process each, one thread; ms"
    )
    print(f"{'':34}{'processor, mean':>16}{'':7}{'clock, fastest':>16}{'':7}{'largest difference':>21}")
    print(
        f"{'':34}{'here':>8}{'rpact':>8}{'ratio':>7}{'here':>8}{'rpact':>8}{'ratio':>7}{'bounds':>10}{'inflation':>11}"
    )
    for name, (_, settings) in CASES.items():
        bounds, inflation, seconds = ours(settings)
        peer = theirs[name]
        apart = np.abs(bounds - np.array(peer["bounds"])).max(), abs(inflation - peer["inflation"][0])
        times = "".join(
            f"{1e3 * mine:8.2f}{1e3 * other:8.1f}{other / mine:7.1f}"
            for mine, other in zip(seconds, peer["seconds"], strict=True)
        )
        print(f"{name:34}{times}{apart[0]:10.1e}{apart[1]:11.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

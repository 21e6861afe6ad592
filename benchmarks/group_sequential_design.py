"""Designs with five looks, side by side with rpact in one run: the same bounds, and the time that each takes.

Run `python benchmarks/group_sequential_design.py` with R and rpact at hand; without them it says so and stops. A design
is its bounds and the drift that gives its power, made anew in each run. Processor time is what other work on the
machine disturbs least; linear algebra runs on one thread.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

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
start <- sum(proc.time()[1:2])
for (i in seq_len(%d)) r <- one()
seconds <- (sum(proc.time()[1:2]) - start) / %d
cat(",\\"%s\\":{\\"bounds\\":", show(r$d$criticalValues), ",\\"inflation\\":", show(r$inflation),
    ",\\"seconds\\":", show(seconds), "}", sep = "")
"""


def ours(settings: dict[str, object]) -> tuple[np.ndarray, float, float]:
    """Return bounds, inflation factor and the mean processor time in seconds."""
    for turn in range(REPEATS + 1):
        if turn == 1:
            start = time.process_time()
        design = Design(information_fractions=FRACTIONS, **settings)
        inflation = design.inflation_factor
    return np.array(design.critical_values), inflation, (time.process_time() - start) / REPEATS


def main() -> int:
    """Print the comparison."""
    if shutil.which("Rscript") is None:
        print("Rscript is not on the path, so there is nothing to compare with: install R and its package rpact.")
        return 0
    code = R_CODE + "".join(R_CASE % (call, REPEATS, REPEATS, name) for name, (call, _) in CASES.items()) + 'cat("}")'
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stdout.strip() == "absent":
        print("R's package rpact cannot be loaded, so there is nothing to compare with: install rpact.")
        return 0
    theirs = json.loads(done.stdout)
    print("Five equal looks, alpha 0.025 one-sided, power 0.9: bounds, drift for power and inflation factor")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print(
        f"R {theirs['R']}, rpact {theirs['rpact']}; {REPEATS} runs after one to warm up, one process each; mean processor time in ms"
    )
    print(f"{'':34}{'processor time':>16}{'':7}{'largest difference':>21}")
    print(f"{'':34}{'here':>8}{'rpact':>8}{'ratio':>7}{'bounds':>10}{'inflation':>11}")
    for name, (_, settings) in CASES.items():
        bounds, inflation, seconds = ours(settings)
        peer = theirs[name]
        apart = np.abs(bounds - np.array(peer["bounds"])).max(), abs(inflation - peer["inflation"][0])
        other = peer["seconds"][0]
        print(f"{name:34}{1e3 * seconds:8.2f}{1e3 * other:8.1f}{other / seconds:7.1f}{apart[0]:10.1e}{apart[1]:11.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

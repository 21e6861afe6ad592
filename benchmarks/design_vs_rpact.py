"""Design with five looks, side by side with rpact in one run: the same bounds, and the time that each takes.

Run `python benchmarks/design_vs_rpact.py` with R and rpact at hand; without them it says so and stops.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from statistics import median

import numpy as np
import scipy

from trialml.design.group_sequential import Design

FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)
REPEATS = 50
R_CODE = """
if (!requireNamespace("rpact", quietly = TRUE)) { cat("absent"); quit(status = 0) }
suppressPackageStartupMessages(library(rpact))
one <- function(type) {
  d <- getDesignGroupSequential(kMax = 5, alpha = .025, beta = .1, sided = 1, typeOfDesign = type)
  list(d = d, inflation = getDesignCharacteristics(d)$inflationFactor)
}
show <- function(v) paste0("[", paste(format(v, digits = 17), collapse = ","), "]")
cat("{\\"R\\":\\"", as.character(getRversion()), "\\",\\"rpact\\":\\"", as.character(packageVersion("rpact")), "\\"", sep = "")
for (type in c("asOF", "asP")) {
  invisible(one(type))
  seconds <- sapply(seq_len(%d), function(i) { s <- Sys.time(); one(type); as.numeric(Sys.time() - s, units = "secs") })
  r <- one(type)
  cat(",\\"", type, "\\":{\\"bounds\\":", show(r$d$criticalValues), ",\\"inflation\\":", show(r$inflation),
      ",\\"seconds\\":", show(median(seconds)), "}", sep = "")
}
cat("}")
"""


def ours(spending: str) -> tuple[np.ndarray, float, float]:
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        design = Design(information_fractions=FRACTIONS, spending=spending)
        inflation = design.inflation_factor
        seconds.append(time.perf_counter() - start)
    return np.array(design.critical_values), inflation, median(seconds[1:])


def main() -> int:
    if shutil.which("Rscript") is None:
        print("Rscript is not on the path, so there is nothing to compare with: install R and its package rpact.")
        return 0
    done = subprocess.run(["Rscript", "-e", R_CODE % REPEATS], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stdout.strip() == "absent":
        print("R's package rpact cannot be loaded, so there is nothing to compare with: install rpact.")
        return 0
    theirs = json.loads(done.stdout)
    print("Five equal looks, alpha 0.025 one-sided, power 0.9: bounds and inflation factor")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print(f"R {theirs['R']}, rpact {theirs['rpact']}; median of {REPEATS} runs after one to warm up, one process each")
    for type_of_design, spending in (("asOF", "lan-demets-obrien-fleming"), ("asP", "lan-demets-pocock")):
        bounds, inflation, seconds = ours(spending)
        peer = theirs[type_of_design]
        difference = np.abs(bounds - np.array(peer["bounds"])).max()
        print(
            f"{spending}: {1e3 * seconds:.2f} ms, rpact {1e3 * peer['seconds'][0]:.2f} ms, "
            f"ratio {peer['seconds'][0] / seconds:.1f}; largest difference of a bound {difference:.1e}, "
            f"of the inflation factor {abs(inflation - peer['inflation'][0]):.1e}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

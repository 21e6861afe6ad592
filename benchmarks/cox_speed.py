"""Cox models beside lifelines, scikit-survival and R on the same data in one run; many small fits; permutations; first calls.

python benchmarks/cox_speed.py > benchmarks/cox_speed.txt

R with its package survival, lifelines and scikit-survival are used where they are installed.
"""

import importlib.metadata
import importlib.util
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from trialml.survival.arm_residuals import arm_score_residuals, score_permutations
from trialml.survival.cox import cox, fit_cox

ROOT = Path(__file__).parents[1]
SIZES = (10_000, 100_000, 1_000_000)
REPEATS = 5
SLOW = 100_000  # lifelines and scikit-survival are not asked for more rows than this

R_SCRIPT = """
suppressPackageStartupMessages(library(survival))
args <- commandArgs(TRUE); n <- as.integer(args[2]); p <- 10L; repeats <- as.integer(args[3])
file <- file(args[1], "rb"); time <- readBin(file, "double", n); event <- readBin(file, "double", n)
X <- matrix(readBin(file, "double", n * p), n); close(file)
d <- data.frame(time = time, event = event, X); f <- as.formula(paste("Surv(time, event) ~", paste(names(d)[-(1:2)], collapse = " + ")))
y <- Surv(time, event); control <- coxph.control()
whole <- alone <- numeric(repeats)
for (k in seq_len(repeats)) {
  whole[k] <- system.time(fit <- coxph(f, d))[["elapsed"]]
  alone[k] <- system.time(bare <- coxph.fit(X, y, NULL, NULL, rep(0, p), control, NULL, "efron", NULL, nocenter = NULL, resid = FALSE))[["elapsed"]]
}
cat(median(whole), median(alone), sprintf("%.17g", coef(fit)), "\\n")
"""


def make(n, p, *, ties, seed=1):
    """Exponential times, about a third censored; with ties, rounded to about a hundred distinct values."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    event_time = rng.exponential(np.exp(-X @ np.linspace(-0.5, 0.5, p)))
    censoring = rng.exponential(2, n)
    time_ = np.minimum(event_time, censoring)
    return (np.minimum(np.ceil(25 * time_), 100) if ties else time_), event_time <= censoring, X


def median_seconds(call, repeats=REPEATS):
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), answer


def in_r(data, repeats):
    time_, event, X = data
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "data", Path(folder) / "fit.R"
        script.write_text(R_SCRIPT)
        with path.open("wb") as file:
            for part in (time_, event.astype(float), X.T):
                file.write(np.ascontiguousarray(part, dtype=float).tobytes())
        done = subprocess.run(
            ["Rscript", str(script), str(path), str(len(X)), str(repeats)], capture_output=True, text=True, check=True
        )
    numbers = [float(word) for word in done.stdout.split()]
    return numbers[0], numbers[1], np.array(numbers[2:])


def by_lifelines(data):
    from lifelines import CoxPHFitter

    table = pd.DataFrame(data[2], columns=[f"x{j}" for j in range(data[2].shape[1])]).assign(
        time=data[0], event=data[1]
    )
    taken, fitter = median_seconds(lambda: CoxPHFitter().fit(table, "time", "event"), 1)
    return taken, fitter.params_.to_numpy()


def by_scikit_survival(data):
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    outcome = Surv.from_arrays(data[1], data[0])
    taken, fitter = median_seconds(lambda: CoxPHSurvivalAnalysis(ties="efron").fit(data[2], outcome), 1)
    return taken, fitter.coef_


def versions():
    names = ("trialml", "numba", "numpy", "scipy", "lifelines", "scikit-survival")
    found = [f"{name} {importlib.metadata.version(name)}" for name in names if name in installed()]
    print(f"Python {platform.python_version()}, {', '.join(found)}")
    if shutil.which("Rscript"):
        code = 'cat(paste("R", getRversion(), "with survival", packageVersion("survival")))'
        print(subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True).stdout)
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    load = (
        f", load {os.getloadavg()[0]:.1f} at the start (1 or less is a quiet machine)"
        if hasattr(os, "getloadavg")
        else ""
    )
    print(f"{model.partition(':')[2].strip() or platform.machine()}, {os.cpu_count()} cores, one used{load}\n")


def installed():
    return {distribution.name for distribution in importlib.metadata.distributions()}


def apart(mine, other):
    return float(np.max(np.abs(mine - other) / np.abs(mine)))


def large_fits():
    print("Seconds for one model of 10 covariates, Efron's ties (median of five; lifelines and scikit-survival once)\n")
    print("      n  ties  fit_cox     cox   coxph  coxph.fit  lifelines  scikit-s. | coxph/cox  coxph.fit/fit_cox  lifelines/fit_cox"
          " | largest relative difference of a coefficient from R, from the two others")  # fmt: skip
    mine = {}
    fit_cox(*make(100, 2, ties=True))
    for n in SIZES:
        for ties in (False, True):
            data = make(n, 10, ties=ties)
            repeats = REPEATS if n < SIZES[-1] else 3
            arrays, fit = median_seconds(lambda data=data: fit_cox(*data), repeats)
            table = pd.DataFrame(data[2], columns=[f"x{j}" for j in range(10)])
            whole, _ = median_seconds(lambda data=data, table=table: cox(data[0], data[1], table), repeats)
            mine[n, ties] = arrays
            coxph, alone, coefficients = in_r(data, repeats) if shutil.which("Rscript") else (np.nan,) * 3
            from_r = apart(fit.coefficients, coefficients) if np.ndim(coefficients) else np.nan
            lines = sksurv = others = np.nan
            if n <= SLOW and importlib.util.find_spec("lifelines"):
                lines, found = by_lifelines(data)
                others = apart(fit.coefficients, found)
            if n <= SLOW and importlib.util.find_spec("sksurv"):
                sksurv, found = by_scikit_survival(data)
                others = np.fmax(others, apart(fit.coefficients, found))
            print(
                f"{n:7d}  {'many' if ties else 'few ':4}  {arrays:7.4f} {whole:7.4f} {coxph:7.3f}    {alone:7.3f}    {lines:7.2f}"
                f"    {sksurv:7.2f} |  {coxph / whole:8.1f}            {alone / arrays:7.2f}            {lines / arrays:7.1f}"
                f" | {from_r:.0e}, {others:.0e}",
                flush=True,
            )
    for ties in (False, True):
        ratios = [mine[b, ties] / mine[a, ties] for a, b in itertools.pairwise(SIZES)]
        powers = ", ".join(f"n^{np.log10(ratio):.2f}" for ratio in ratios)
        print(f"growth with {'many' if ties else 'few'} ties, from size to size: {powers}")


def extended_precision(data):
    """Newton's method in 80-bit floats on the partial likelihood of data without ties, to its root."""
    time_, event, X = data
    order = np.argsort(-time_)
    Z, happened, beta = X[order].astype(np.longdouble), event[order], np.zeros(X.shape[1], np.longdouble)
    for _ in range(20):
        eta = Z @ beta
        hazard = np.exp(eta - eta.max())
        total = np.cumsum(hazard)[:, None]
        mean = np.cumsum(hazard[:, None] * Z, axis=0) / total
        gradient = (Z - mean)[happened].sum(axis=0)
        weighted = hazard[:, None] * Z
        information = np.array(
            [(np.cumsum(weighted * Z[:, [j]], axis=0) / total - mean * mean[:, [j]])[happened].sum(axis=0)
             for j in range(len(beta))]
        )  # fmt: skip
        # Solved in doubles and refined: the residual is what has to be exact.
        step = np.zeros_like(beta)
        for _ in range(4):
            rest = (gradient - information @ step).astype(float)
            step = step + np.linalg.solve(information.astype(float), rest).astype(np.longdouble)
        beta = beta + step
        if np.abs(step).max() < 1e-17:
            break
    return beta.astype(float)


def who_is_nearer():
    data = make(10_000, 10, ties=False)
    root, fit = extended_precision(data), fit_cox(*data)
    words = f"10,000 rows, few ties, largest relative distance from the root found in 80-bit floats: fit_cox {apart(root, fit.coefficients):.0e}"
    if shutil.which("Rscript"):
        words += f", coxph {apart(root, in_r(data, 1)[2]):.0e}"
    print(words)


def small_fits():
    data = [make(1000, 5, ties=ties, seed=seed) for seed in range(10) for ties in (False, True)]
    processor = time.process_time()
    rounds = [median_seconds(lambda: [fit_cox(*one) for one in data for _ in range(100)], 1)[0] for _ in range(REPEATS)]
    processor = (time.process_time() - processor) / REPEATS
    print(
        f"\n2,000 models of n = 1,000 and p = 5: {statistics.median(rounds):.2f} s (least {min(rounds):.2f}, most "
        f"{max(rounds):.2f}; {processor:.2f} s of processor time)"
    )


def permutations():
    time_, event, X = make(1000, 1, ties=True)
    rng = np.random.default_rng(2)
    strata, offset = rng.integers(0, 4, 1000), 0.5 * X[:, 0]
    arms = np.array([rng.permutation(np.repeat([False, True], 500)) for _ in range(2000)])
    score, _ = median_seconds(lambda: score_permutations(time_, event, arms, strata=strata, offset=offset))
    refit, _ = median_seconds(lambda: arm_score_residuals(time_, event, arms, strata=strata, offset=offset))
    print(
        f"2,000 permutations of the arm at n = 1,000, 4 strata, offset: score test {score:.4f} s; "
        f"main effect fitted again and residuals of each {refit:.3f} s"
    )


def first_calls():
    code = (
        "import time; start = time.perf_counter(); from trialml.survival.cox import fit_cox; imported = time.perf_counter();"
        "fit_cox([3, 1, 2, 5.], [1, 1, 0, 1], [[1], [0], [1], [0.]]); first = time.perf_counter();"
        "print(imported - start, first - imported, time.process_time())"
    )
    with tempfile.TemporaryDirectory() as cache:
        for words in ("with nothing cached", "with the cache on disk", "with the cache on disk"):
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
                env=os.environ | {"NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            imported, first, processor = (float(word) for word in done.stdout.split())
            print(
                f"first fit of a process {words}: {first:.2f} s after {imported:.2f} s of imports ({processor:.2f} s of processor)"
            )


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for R and the processes of first_calls
    with threadpool_limits(1):
        versions()
        large_fits()
        who_is_nearer()
        small_fits()
        permutations()
        first_calls()

"""Performance measures with their intervals beside scikit-survival, lifelines and R on the same data in one run.

python benchmarks/validation_metrics.py > benchmarks/validation_metrics.txt

R with its packages survival and riskRegression, lifelines and scikit-survival are used where they are installed.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from trialml.survival.concordance import concordance
from trialml.validation.calibration_curve import calibration_curve
from trialml.validation.performance import performance

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SLOW = 100_000  # scikit-survival and lifelines are not asked for more patients than this
HORIZONS = np.linspace(0.05, 1.5, 50)

R_CONCORDANCE = """
suppressPackageStartupMessages(library(survival))
args <- commandArgs(TRUE); n <- as.integer(args[2]); repeats <- as.integer(args[3])
file <- file(args[1], "rb"); d <- matrix(readBin(file, "double", 3 * n), n); close(file)
d <- data.frame(time = d[, 1], event = d[, 2], x = d[, 3])
for (kind in c("n", "n/G2")) {
  taken <- numeric(repeats)
  for (k in seq_len(repeats)) taken[k] <- system.time(
    z <- concordance(Surv(time, event) ~ x, d, reverse = TRUE, timewt = kind, ymax = 1.5))[["elapsed"]]
  cat(median(taken), sprintf("%.17g", c(z$concordance, sqrt(z$var))), "")
}
"""
R_SCORE = """
suppressPackageStartupMessages({library(survival); library(prodlim); library(riskRegression)})
args <- commandArgs(TRUE); n <- as.integer(args[2]); repeats <- as.integer(args[3]); m <- 50L
file <- file(args[1], "rb"); d <- matrix(readBin(file, "double", (4 + m) * n), n); close(file)
times <- as.numeric(strsplit(args[4], ",")[[1]]); risk <- d[, 5:(4 + m)]
d <- data.frame(time = d[, 1], status = d[, 2] + 2 * d[, 3]); taken <- numeric(repeats)
for (k in seq_len(repeats)) taken[k] <- system.time(
  z <- Score(list(m = risk), formula = Hist(time, status) ~ 1, data = d, times = times, cause = 1, metrics = c("auc", "brier"),
             summary = c("ipa", "ibs"), cens.model = "km", conf.int = TRUE))[["elapsed"]]
b <- z$Brier$score[z$Brier$score$model == "m", ]; a <- z$AUC$score
cat(median(taken), sprintf("%.17g", c(b$Brier, b$se, a$AUC, a$se)))
"""


def make(n, *, competing=False, seed=1):
    """Exponential times and censoring, a score with noise; a third have a competing event where there is one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    first, cut = rng.exponential(np.exp(-x)), rng.exponential(2.0, n)
    other = rng.exponential(1.5, n) if competing else np.full(n, np.inf)
    # On a grid, because R takes times closer than 1.5e-8 for ties and we those closer than 1e-9.
    first, other, cut = (np.ceil(1e5 * one) / 1e5 for one in (first, other, cut))
    time_ = np.minimum(np.minimum(first, other), cut)
    return time_, (first <= other) & (first <= cut), (other < first) & (other <= cut), x


def risks_of(x, competing):
    rate = np.exp(x)[:, None]
    total = rate + (1 / 1.5 if competing else 0.0)
    return rate / total * -np.expm1(-total * HORIZONS)


def median_seconds(call, repeats):
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), answer


def in_r(script, columns, repeats, *extra):
    with tempfile.TemporaryDirectory() as folder:
        path, code = Path(folder) / "data", Path(folder) / "run.R"
        code.write_text(script)
        np.column_stack(columns).astype(float).T.tofile(path)
        done = subprocess.run(
            ["Rscript", str(code), str(path), str(len(columns[0])), str(repeats), *extra],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return [float(word) for word in done.stdout.split()]


def has_r(*packages):
    if not shutil.which("Rscript"):
        return False
    code = f"stopifnot({', '.join(f'requireNamespace({p!r}, quietly = TRUE)' for p in packages)})"
    return subprocess.run(["Rscript", "-e", code], capture_output=True, check=False).returncode == 0


def versions():
    names = ("trialml", "numba", "numpy", "scipy", "lifelines", "scikit-survival")
    have = {distribution.name for distribution in importlib.metadata.distributions()}
    print(f"Python {platform.python_version()}, "
          f"{', '.join(f'{name} {importlib.metadata.version(name)}' for name in names if name in have)}")  # fmt: skip
    if has_r("survival", "riskRegression"):
        code = 'cat(paste("R", getRversion(), "with survival", packageVersion("survival"), "and riskRegression", packageVersion("riskRegression")))'
        print(subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True).stdout)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"{os.cpu_count()} cores, one used; load {load} at the start (1 or less is a quiet machine)\n")


def by_others(n, time_, event, score):
    """Seconds and values of scikit-survival's two concordances and lifelines' one, without intervals: they have none."""
    if n > SLOW:
        return
    if importlib.util.find_spec("sksurv"):
        from sksurv.metrics import concordance_index_censored, concordance_index_ipcw
        from sksurv.util import Surv

        outcome, repeats = Surv.from_arrays(event, time_), 3 if n < SLOW else 1
        yield (
            "harrell",
            "scikit-survival",
            *median_seconds(lambda: concordance_index_censored(event, time_, score)[0], repeats),
        )
        yield (
            "uno",
            "scikit-survival",
            *median_seconds(lambda: concordance_index_ipcw(outcome, outcome, score, tau=1.5)[0], repeats),
        )
    if importlib.util.find_spec("lifelines"):
        from lifelines.utils import concordance_index

        yield (
            "harrell",
            "lifelines",
            *median_seconds(lambda: concordance_index(time_, -score, event), 3 if n < SLOW else 1),
        )


def concordances():
    print(
        "Harrell's and Uno's C; ours and R's with their standard errors and up to 1.5, the others' without, Harrell's over all times"
    )
    print("(the others' Harrell's C is compared with ours over all times); medians\n")
    concordance(*make(100)[:2], np.zeros(100))
    for n in SIZES:
        time_, event, _, x = make(n)
        score = x + np.random.default_rng(2).normal(size=n)
        repeats = 5 if n < SIZES[-1] else 3
        mine = {
            kind: median_seconds(partial(concordance, time_, event, score, weighting=kind, tau=1.5), repeats)
            for kind in ("harrell", "uno")
        }
        whole = concordance(time_, event, score).value
        line = {kind: f"n = {n:9,d}  {kind:8} {seconds:8.4f} s" for kind, (seconds, _) in mine.items()}
        if has_r("survival"):
            numbers = in_r(R_CONCORDANCE, (time_, event, score), repeats)
            for k, kind in enumerate(mine):
                seconds, value, se = numbers[3 * k : 3 * k + 3]
                found = mine[kind][1]
                gap = max(abs(found.value / value - 1), abs(found.se / se - 1))
                line[kind] += (
                    f"; R {seconds:.3f} s, {seconds / mine[kind][0]:.1f} times ours, relative difference {gap:.0e}"
                )
        for kind, program, seconds, value in by_others(n, time_, event, score):
            gap = abs((whole if kind == "harrell" else mine[kind][1].value) / value - 1)
            line[kind] += f"; {program} {seconds:.3f} s, {seconds / mine[kind][0]:.0f} times ours, difference {gap:.0e}"
        print("\n".join(line.values()), flush=True)


def by_riskregression(data, risk, found, seconds, repeats):
    times = ",".join(f"{t:.17g}" for t in HORIZONS)
    stored = in_r(R_SCORE, (*data, *risk.T), repeats, times)
    rows = found.frame().query("model == 'm' and reference == ''").set_index("measure")
    parts = [rows.loc[m, c].to_numpy() for m in ("Brier score", "AUC") for c in ("value", "se")]
    gap = max(np.abs(np.concatenate(parts) / np.array(stored[1:]) - 1))
    return f"; riskRegression::Score {stored[0]:.3f} s, {stored[0] / seconds:.1f} times ours, relative difference {gap:.0e}"


def by_scikit_survival(time_, event, risk):
    from sksurv.metrics import brier_score, cumulative_dynamic_auc
    from sksurv.util import Surv

    outcome, start = Surv.from_arrays(event, time_), time.perf_counter()
    brier_score(outcome, outcome, 1 - risk, HORIZONS)
    cumulative_dynamic_auc(outcome, outcome, risk, HORIZONS)
    return f"; scikit-survival {time.perf_counter() - start:.3f} s without intervals"


def scores():
    print(
        "\nAUC, Brier score, IPA and integrated scores of one model at 50 times, with both concordances and all intervals; medians"
    )
    print("(Score gives neither concordance nor the error of an integrated score)\n")
    known = {"horizons": HORIZONS, "unit": "years", "kind": "external"}
    for competing in (False, True):
        for n in SIZES[:3]:
            data = make(n, competing=competing)
            time_, event, other, x = data
            risk = risks_of(x, competing)
            call = partial(performance, time_, event, {"m": risk}, competing=other if competing else None, **known)
            call()
            repeats, busy = 5 if n < SLOW else 3, time.process_time()
            seconds, found = median_seconds(call, repeats)
            busy = (time.process_time() - busy) / repeats
            line = f"n = {n:9,d}  {'competing events' if competing else 'one event':17} {seconds:8.3f} s ({busy:.3f} s of processor)"
            if n <= SIZES[1] and has_r("survival", "riskRegression"):
                line += by_riskregression(data, risk, found, seconds, 3 if n == SIZES[0] else 1)
            if not competing and importlib.util.find_spec("sksurv"):
                line += by_scikit_survival(time_, event, risk)
            print(line, flush=True)


def curves():
    print(
        "\nCalibration curve with band, slope, observed over expected, ICI, E50 and E90 with limits from 500 draws; medians\n"
    )
    for n in SIZES[:2]:
        time_, event, _, x = make(n)
        risk = -np.expm1(-np.exp(1.2 * x))
        call = partial(calibration_curve, time_, event, risk, horizon=1.0, unit="years", kind="external")
        call()
        print(f"n = {n:9,d}  {median_seconds(call, 3)[0]:8.3f} s", flush=True)


if __name__ == "__main__":
    versions()
    concordances()
    scores()
    curves()

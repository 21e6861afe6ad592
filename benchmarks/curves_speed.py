"""Kaplan-Meier and the stratified log-rank test at growing sizes, side by side with lifelines, scikit-survival and R.

python benchmarks/curves_speed.py > benchmarks/curves_speed.txt

R is asked where Rscript is on the path, lifelines and scikit-survival where they are installed. Every program gets the
same numbers and times its own call; reading the data in is not timed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
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

from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.logrank import logrank
from trialml.survival.maxcombo import maxcombo
from trialml.survival.product_limit import product_limit

SIZES = (10_000, 100_000, 1_000_000)
REPEATS = {10_000: 9, 100_000: 7, 1_000_000: 5}
LIFELINES_MOST = 1_000_000
R_CODE = """
suppressPackageStartupMessages(library(survival))
d <- read.csv(commandArgs(TRUE)[1]); repeats <- as.integer(commandArgs(TRUE)[2])
y <- Surv(d$time, d$event)
clock <- function(f) median(sapply(seq_len(repeats), function(i) { s <- proc.time()[[3]]; f(); proc.time()[[3]] - s }))
km <- clock(function() survfit(y ~ 1, d)); lr <- clock(function() survdiff(y ~ arm + strata(stratum), d))
fit <- survfit(y ~ 1, d); test <- survdiff(y ~ arm + strata(stratum), d)
at <- summary(fit, times = 24)
cat(format(c(km, lr, at$surv, at$std.err, test$chisq), digits = 17), as.character(packageVersion("survival")),
    as.character(getRversion()))
"""


def simulate(n: int, ties: str) -> pd.DataFrame:
    draw = np.random.default_rng(n)
    arm, stratum = draw.integers(0, 2, n), draw.integers(0, 8, n)
    failed = draw.exponential(30 / np.exp(0.1 * stratum - 0.2 * arm))
    censored = draw.uniform(12, 60, n)
    # On a grid of 1e-5 months no two times differ by less than R's tolerance for ties (1.5e-8), which is wider than ours.
    followed = np.round(np.minimum(failed, censored), 5) + 1e-5
    if ties == "many":
        followed = np.ceil(followed * 30.4375) / 30.4375
    return pd.DataFrame({"time": followed, "event": failed <= censored, "arm": arm, "stratum": stratum})


def clock(call, repeats: int) -> tuple[float, float, float]:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), min(seconds), max(seconds)


def of_r(data: pd.DataFrame, repeats: int) -> dict | None:
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path, code = Path(folder) / "data.csv", Path(folder) / "code.R"
        data.assign(event=data["event"].astype(int)).to_csv(path, index=False, float_format="%.17g")
        code.write_text(R_CODE, encoding="utf-8")
        done = subprocess.run(
            ["Rscript", str(code), str(path), str(repeats)], capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        return None
    words = done.stdout.split()
    names = ("km", "logrank", "survival", "se", "chi_square")
    return dict(zip(names, map(float, words[:5]), strict=True)) | {"version": f"survival {words[5]}, R {words[6]}"}


def of_lifelines(data: pd.DataFrame, repeats: int) -> dict | None:
    if importlib.util.find_spec("lifelines") is None:
        return None
    from lifelines import KaplanMeierFitter
    from lifelines.statistics import logrank_test

    median, *_ = clock(lambda: KaplanMeierFitter().fit(data["time"], data["event"]), repeats)
    one, two = (data[data["arm"] == k] for k in (0, 1))
    # lifelines has no strata: its unstratified test of two groups is timed instead.
    test, *_ = clock(lambda: logrank_test(one["time"], two["time"], one["event"], two["event"]), repeats)
    curve = KaplanMeierFitter().fit(data["time"], data["event"])
    plain = logrank_test(one["time"], two["time"], one["event"], two["event"]).test_statistic
    return {"km": median, "logrank": test, "survival": float(curve.predict(24)), "unstratified": float(plain)}


def of_sksurv(data: pd.DataFrame, repeats: int) -> dict | None:
    if importlib.util.find_spec("sksurv") is None:
        return None
    from sksurv.nonparametric import kaplan_meier_estimator

    event, when = data["event"].to_numpy(), data["time"].to_numpy()
    median, *_ = clock(lambda: kaplan_meier_estimator(event, when), repeats)
    times, survival = kaplan_meier_estimator(event, when)
    return {"km": median, "survival": float(survival[np.searchsorted(times, 24, side="right") - 1])}


def of_us(data: pd.DataFrame, repeats: int) -> dict:
    when, event, arm, stratum = (data[name].to_numpy() for name in ("time", "event", "arm", "stratum"))
    curve = product_limit(when, event)
    place = np.searchsorted(curve.time, 24, side="right") - 1
    test = logrank(when, event, arm, strata=stratum)
    words = np.array(["control", "experimental"], dtype=object)[arm]
    regions = np.array([f"region {s}" for s in range(8)], dtype=object)[stratum]
    return {
        "km": clock(lambda: product_limit(when, event), repeats),
        "km result": clock(lambda: kaplan_meier(when, event), repeats),
        "logrank": clock(lambda: logrank(when, event, arm, strata=stratum), repeats),
        "logrank of text labels": clock(lambda: logrank(when, event, words, strata=regions), repeats),
        "maxcombo, four weights": clock(lambda: maxcombo(when, event, arm, strata=stratum), repeats),
        "sorting the times": clock(lambda: np.argsort(when), repeats),
        "survival": float(curve.survival[place]),
        "se": float(curve.survival[place] * curve.se_log[place]),
        "chi_square": test.chi_square,
        "unstratified": logrank(when, event, arm).chi_square,
    }


def first_call() -> float:
    code = (
        "import numpy as np, time; from trialml.survival.logrank import logrank; s = time.perf_counter(); "
        "logrank(np.arange(1.0, 9), [1] * 8, [0, 1] * 4); print(time.perf_counter() - s)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def report(n: int, ties: str) -> dict:
    data = simulate(n, ties)
    ours, r, lifelines, sksurv = (made(data, REPEATS[n]) for made in (of_us, of_r, of_lifelines, of_sksurv))
    print(f"n = {n:,}, {ties} ties: {data['time'].nunique():,} distinct times, {int(data['event'].sum()):,} events")
    for name in ("km", "km result", "logrank", "logrank of text labels", "maxcombo, four weights", "sorting the times"):
        median, least, most = ours[name]
        others = {"R": r, "lifelines": lifelines, "scikit-survival": sksurv}
        words = "".join(
            f"; {who} {found[name]:.4g} s, {found[name] / median:.1f} times ours"
            for who, found in others.items()
            if found is not None and name in found
        )
        print(f"  {name:<24}{median:8.4f} s ({least:.4f} to {most:.4f}){words}")
    gaps = []
    if r is not None:
        gaps += [f"R: {abs(ours[key] / r[key] - 1):.1e} in {key}" for key in ("survival", "se", "chi_square")]
    if lifelines is not None:
        gaps += [
            f"lifelines: {abs(ours[key] / lifelines[key] - 1):.1e} in {key}" for key in ("survival", "unstratified")
        ]
    if sksurv is not None:
        gaps.append(f"scikit-survival: {abs(ours['survival'] / sksurv['survival'] - 1):.1e} in survival")
    print(f"  relative difference: {'; '.join(gaps)}\n")
    return {"ours": ours, "r": r}


def main() -> None:
    packages = ("trialml", "numpy", "pandas", "numba", "lifelines", "scikit-survival")
    found = [name for name in packages if importlib.util.find_spec("sksurv" if name == "scikit-survival" else name)]
    print("Kaplan-Meier of all patients, and the log-rank test of two arms in eight strata; medians, least and most")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in found))
    print("km: arrays; km result: the table that is printed and drawn; lifelines' log-rank test has no strata\n")
    last = {(ties, n): report(n, ties) for ties in ("few", "many") for n in SIZES}
    for ties in ("few", "many"):
        for name in ("km", "logrank"):
            seconds = [last[ties, n]["ours"][name][0] for n in SIZES]
            slope = np.polyfit(np.log(SIZES), np.log(seconds), 1)[0]
            print(f"time of {name} with {ties} ties grows as n to the power {slope:.2f}")
    version = next((found["r"]["version"] for found in last.values() if found["r"]), "R absent")
    print(
        f"first log-rank test of a process, compiled code cached: {first_call():.2f} s; {version}; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()

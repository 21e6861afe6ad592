"""Boosted hazards and the survival forest at 50,000 patients, beside the ridge Cox model and scikit-survival's forest.

    python benchmarks/person_period.py > benchmarks/person_period.txt

A simulated world: ten covariates, a bend, a step and an interaction on the log hazard, times in whole days, about 60 % censored.
Harrell's C and the integrated Brier score (11 horizons to day 900) are of 5,000 further patients of the same world, so they are
external; their Monte Carlo error is that of one test sample, C about 0.003. Seconds are wall-clock, of fitting and of
predicting 5,000 patients. scikit-survival's forest runs in a process of its own, stopped after LIMIT seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time as clock

import numpy as np
import pandas as pd

from trialml.models import model_named
from trialml.models.outcome import survival_outcome
from trialml.survival.brier import brier, mean_over_time
from trialml.survival.concordance import concordance

N = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
LIMIT = int(sys.argv[2]) if len(sys.argv) > 2 else 600
HORIZONS = np.linspace(90, 900, 11)


def world(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = pd.DataFrame(generator.normal(size=(n, 10)), columns=[f"x{place}" for place in range(10)])
    effect = 0.6 * (X.x0**2 - 1) + 0.8 * (X.x1 > 0) + 0.7 * X.x2 * X.x3 + 0.3 * X.x4
    latent = np.ceil(1200 * generator.exponential(np.exp(-effect)))
    last = np.ceil(generator.uniform(200, 1000, n))
    return X, survival_outcome(np.minimum(latent, last), latent <= last)


def judged(y: np.ndarray, score: np.ndarray, survival: np.ndarray) -> str:
    c = concordance(y["time"], y["event"], score).value
    values = [brier(y["time"], y["event"], 1 - survival[:, at], h).value for at, h in enumerate(HORIZONS)]
    return f"{c:8.4f} {float(mean_over_time(HORIZONS, values)):8.4f}"


def ours(name: str) -> None:
    (X, y), (X_new, y_new) = world(N, 1), world(5_000, 2)
    begun = clock.perf_counter()
    fitted = model_named(name, "risk").estimator().fit(X, y)
    learned = clock.perf_counter()
    score, survival = fitted.predict(X_new), fitted.survival(X_new, HORIZONS)
    done = clock.perf_counter()
    print(f"{name:34s} {learned - begun:8.1f} {done - learned:8.1f} {judged(y_new, score, survival)}", flush=True)


def peer(trees: int) -> None:
    from sksurv.ensemble import RandomSurvivalForest

    (X, y), (X_new, y_new) = world(N, 1), world(5_000, 2)
    begun = clock.perf_counter()
    forest = RandomSurvivalForest(
        n_estimators=trees, min_samples_leaf=15, max_leaf_nodes=200, max_features=0.4, random_state=1
    )
    fitted = forest.fit(X, y)
    learned = clock.perf_counter()
    score = fitted.predict(X_new)
    curves = fitted.predict_survival_function(X_new, return_array=True)
    at = np.searchsorted(fitted.unique_times_, HORIZONS, side="right") - 1
    done = clock.perf_counter()
    name = f"scikit-survival, forest of {trees}"
    print(f"{name:34s} {learned - begun:8.1f} {done - learned:8.1f} {judged(y_new, score, curves[:, at])}", flush=True)


def main() -> None:
    import sklearn
    import sksurv

    _, y = world(N, 1)
    print(
        f"{N:,} patients, {int(y['event'].sum()):,} events; {os.cpu_count()} cores (shared), load {os.getloadavg()[0]:.1f}"
    )
    print(f"scikit-learn {sklearn.__version__}, scikit-survival {sksurv.__version__}")
    print(f"{'':34s} {'fit s':>8s} {'read s':>8s} {'C':>8s} {'IBS':>8s}", flush=True)
    for name in ("cox_ridge", "boosted_cox", "boosted_hazard", "survival_forest"):
        ours(name)
    for trees in (10, 100):
        process = multiprocessing.Process(target=peer, args=(trees,))
        process.start()
        process.join(LIMIT)
        if process.is_alive():
            process.kill()
            process.join()
            print(f"scikit-survival, forest of {trees}: stopped after {LIMIT} s, not done", flush=True)


if __name__ == "__main__":
    main()

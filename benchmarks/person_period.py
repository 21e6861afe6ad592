"""Models on trees at 50,000 patients, beside the ridge Cox model and scikit-survival's forest, in one run.

    python benchmarks/person_period.py > benchmarks/person_period.txt

A simulated world: ten covariates, a bend, a step and an interaction on the log hazard, times in whole days.
Harrell's C and the integrated Brier score (11 horizons to day 900) are of 5,000 further patients of the same world, so they are
external; their Monte Carlo error is that of one test sample, C about 0.003. Seconds are of fitting and of predicting 5,000 patients,
wall-clock and, since other work may share the machine, of the processor. Every model runs in a process of its own, its loops compiled before. A tree of
scikit-survival's forest takes time that grows faster than the number of patients (its splits are log-rank tests over all event times), so
that its 100 trees are grown on 5,000 patients each, drawn from the 50,000 (max_samples), and one tree on all is timed beside. The other
settings of the two forests are the same.
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
    estimator = model_named(name, "risk").estimator
    few = estimator().fit(X[:400], y[:400])
    few.predict(X[:5]), few.survival(X[:5], HORIZONS)
    seconds = [clocks()]
    fitted = estimator().fit(X, y)
    seconds.append(clocks())
    score, survival = fitted.predict(X_new), fitted.survival(X_new, HORIZONS)
    report(name, seconds, y_new, score, survival)


def peer(trees: int, most: int | None) -> None:
    from sksurv.ensemble import RandomSurvivalForest

    (X, y), (X_new, y_new) = world(N, 1), world(5_000, 2)
    forest = RandomSurvivalForest(
        n_estimators=trees, min_samples_leaf=15, max_leaf_nodes=200, max_features=0.4, random_state=1, max_samples=most
    )
    seconds = [clocks()]
    fitted = forest.fit(X, y)
    seconds.append(clocks())
    score = fitted.predict(X_new)
    curves = fitted.predict_survival_function(X_new, return_array=True)
    at = np.searchsorted(fitted.unique_times_, HORIZONS, side="right") - 1
    drawn = "all" if most is None else f"{most:,} each"
    report(f"scikit-survival, forest of {trees} on {drawn}", seconds, y_new, score, curves[:, at])


def clocks() -> np.ndarray:
    return np.array([clock.perf_counter(), clock.process_time()])


def report(name: str, seconds: list[np.ndarray], y: np.ndarray, score: np.ndarray, survival: np.ndarray) -> None:
    fit, read = np.diff([*seconds, clocks()], axis=0)
    print(
        f"{name:44s} {fit[0]:8.1f} {fit[1]:8.1f} {read[0]:8.1f} {read[1]:8.1f} {judged(y, score, survival)}", flush=True
    )


def main() -> None:
    import lightgbm
    import sklearn
    import sksurv

    _, y = world(N, 1)
    print(
        f"{N:,} patients, {int(y['event'].sum()):,} events; {os.cpu_count()} cores (shared), load {os.getloadavg()[0]:.1f}"
    )
    print(f"scikit-learn {sklearn.__version__}, lightgbm {lightgbm.__version__}, scikit-survival {sksurv.__version__}")
    print(f"{'seconds':44s} {'fit':>8s} {'(cpu)':>8s} {'predict':>8s} {'(cpu)':>8s} {'C':>8s} {'IBS':>8s}", flush=True)
    jobs = [(ours, (name,)) for name in ("cox_ridge", "boosted_cox", "boosted_hazard", "survival_forest")]
    for target, arguments in [*jobs, (peer, (100, 5_000)), (peer, (1, None))]:
        process = multiprocessing.Process(target=target, args=arguments)
        process.start()
        process.join()


if __name__ == "__main__":
    main()

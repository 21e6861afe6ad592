"""Do the location-shifted intervals of optimism-corrected measures hold the performance of the model on new patients?

Each replication draws a trial, fits a model without a penalty to it and corrects its apparent measures by 200 bootstrap
samples. The truth is that fitted model's performance in 20,000 new patients of the same kind, censored alike. Beside the
shifted interval stands the apparent one: the same percentiles, not shifted. The slope's interval holds the percentiles of
the bootstrap models' slopes in the original patients, as the package gives it.
Run: python benchmarks/optimism_coverage.py [replications] > benchmarks/optimism_coverage.txt
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from trialml.validation.endpoint_measures import Observed
from trialml.validation.observed import ObservedContinuous
from trialml.validation.observed_survival import ObservedSurvival
from trialml.validation.optimism import cox_fit, optimism_of

NEW, SAMPLES = 20_000, 200
SCENARIOS = (("time to event", 150, 10), ("time to event", 400, 10), ("continuous", 150, 10))


class Line:
    """Least squares with an intercept."""

    def __init__(self, X: pd.DataFrame, y: np.ndarray) -> None:
        self.beta = np.linalg.lstsq(np.column_stack([np.ones(len(X)), X]), y, rcond=None)[0]

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return self.beta[0] + X.to_numpy() @ self.beta[1:]


def draw_trial(kind: str, n: int, p: int, draw: np.random.Generator) -> tuple[pd.DataFrame, Observed, Any]:
    """Return covariates, outcomes, and what fits a model to given rows."""
    X = pd.DataFrame(draw.normal(size=(n, p)), columns=[f"x{k}" for k in range(p)])
    drive = X.to_numpy()[:, :3] @ np.array([0.6, -0.4, 0.2])
    if kind == "continuous":
        y = drive + draw.normal(size=n)
        return X, ObservedContinuous(y), lambda rows: Line(X.iloc[rows], y[rows])
    time, last = draw.exponential(np.exp(-drive)), draw.uniform(0.3, 3, n)
    times, event = np.minimum(time, last), time <= last
    return X, ObservedSurvival(times, event, horizon=1.0, unit="years", tau=2.0), cox_fit(X, times, event)


def replicate(kind: str, n: int, p: int, seed: int) -> np.ndarray:
    """Return, of each measure, truth, apparent, corrected, the shifted limits and the apparent ones."""
    draw = np.random.default_rng(seed)
    X, observed, fit = draw_trial(kind, n, p, draw)
    new_X, new, _ = draw_trial(kind, NEW, p, draw)
    truth = new.judge(new.predict(fit(np.arange(n)), new_X))
    found = optimism_of(fit, X, observed, bootstraps=SAMPLES, seed=seed)
    rows = found.measures
    inside = found.samples[[f"{name} in sample" for name in rows["measure"]]].to_numpy()
    apparent = np.quantile(inside, (0.025, 0.975), axis=0)
    return np.column_stack([truth, rows[["apparent", "corrected", "low", "high"]].to_numpy(), apparent.T])


def main() -> None:
    """Print bias and coverage with Monte Carlo errors."""
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print(
        f"{replications} replications, {SAMPLES} bootstrap samples, truth from {NEW} new patients; numpy {version('numpy')}"
    )
    print(f"{'endpoint':15s}{'n':>5s}{'p':>4s} {'measure':20s}{'apparent - truth':>20s}{'corrected - truth':>20s}"
          f"{'shifted covers':>18s}{'apparent covers':>18s}")  # fmt: skip
    for kind, n, p in SCENARIOS:
        with threadpool_limits(1):
            made = np.stack([replicate(kind, n, p, 60_000 + seed) for seed in range(replications)])
        names = ["Harrell's C"] if kind != "continuous" else []
        names += ["calibration slope", *(["Brier score", "IPA"] if names else ["mean squared error", "R²"])]
        for k, name in enumerate(names):
            truth, apparent, corrected, low, high, before, after = made[:, k].T
            gaps = (apparent - truth, corrected - truth)
            shown = [f"{gap.mean():11.4f} ({gap.std(ddof=1) / np.sqrt(replications):.4f})" for gap in gaps]
            for one, two in ((low, high), (before, after)):
                cover = float(((one <= truth) & (truth <= two)).mean())
                shown.append(f"{cover:9.3f} ({np.sqrt(cover * (1 - cover) / replications):.3f})")
            print(
                f"{kind:15s}{n:5d}{p:4d} {name:20s}{shown[0]:>20s}{shown[1]:>20s}{shown[2]:>18s}{shown[3]:>18s}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Ridge or lasso on the doubly robust scores? Error of the expected benefit against giving everybody the average.

For each scenario and size: PEHE, the root mean squared error of the expected benefit against the true difference of
restricted means on 4,000 new patients, divided by that of the true average effect given to everybody; the rank
correlation with the truth; and the true effect in the third of new patients with the highest score less that in all.
Run: python benchmarks/response_models.py [replications]
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import spearmanr

from trialml.effects.scores import crossfit_scores
from trialml.models.cox_ridge import CoxRidge
from trialml.models.lasso_scores import LassoScores
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_scores import RidgeScores

TAU = 1.5
SHAPE = 1.3


def log_hazard(scenario: str, x: np.ndarray, arm: np.ndarray | float) -> np.ndarray:
    """Return the log hazard of the scenario: N without, A with effect modification on the hazard ratio."""
    prognosis = 0.5 * x[:, 0] + 0.4 * x[:, 1] - 0.3 * x[:, 2]
    effect = {
        "N1 constant effect": np.full(len(x), -0.36),
        "N2 prognosis, no effect": np.zeros(len(x)),
        "N3 prognosis, constant effect": np.full(len(x), -0.36),
        "A1 effect above a threshold": np.where(x[:, 3] > 0, -0.8, 0.0),
        "A2 effect linear in a marker": -0.36 - 0.4 * x[:, 3],
        "A3 complex rule": np.where((x[:, 3] > 0) & (x[:, 0] + x[:, 4] > 0), -1.0, -0.1),
    }[scenario]
    return (0.0 if scenario.startswith("N1") else prognosis) + arm * effect


def true_benefit(scenario: str, x: np.ndarray) -> np.ndarray:
    """Return each patient's difference of restricted means, by integration over a grid."""
    grid = np.linspace(0, TAU, 201)
    means = []
    for arm in (0.0, 1.0):
        rate = np.exp(log_hazard(scenario, x, arm))[:, None]
        means.append(np.trapezoid(np.exp(-rate * grid**SHAPE), grid, axis=1))
    return means[1] - means[0]


def trial(scenario: str, n: int, generator: np.random.Generator):
    """Return one trial: covariates, time, event, arm."""
    x = generator.standard_normal((n, 20))
    arm = generator.permutation(np.arange(n) % 2)
    time = (generator.exponential(size=n) / np.exp(log_hazard(scenario, x, arm))) ** (1 / SHAPE)
    censored = np.minimum(generator.exponential(3.0, n), generator.uniform(TAU, 2 * TAU, n))
    frame = pd.DataFrame(x, columns=[f"x{place}" for place in range(20)])
    return frame, np.minimum(time, censored), time <= censored, arm == 1


def outcome_model(X, time, event):
    return CoxRidge(penalties=(8.0,)).fit(X, survival_outcome(time, event))


def replicate(scenario: str, n: int, seed: int) -> list[tuple]:
    generator = np.random.default_rng(seed)
    X, time, event, arm = trial(scenario, n, generator)
    scores = crossfit_scores(X, time, event, arm, tau=TAU, allocation=0.5, learner=outcome_model, folds=5, seed=seed)
    new = generator.standard_normal((4000, 20))
    truth, frame = true_benefit(scenario, new), pd.DataFrame(new, columns=X.columns)
    constant = np.sqrt(np.mean((truth - truth.mean()) ** 2) + scores.var() / n)
    rows = []
    for name, model in (("ridge", RidgeScores(seed=seed, repeats=5)), ("lasso", LassoScores(seed=seed, repeats=5))):
        fitted = model.fit(X, scores)
        expected, order = fitted.predict(frame), fitted.benefit_score(frame)
        error = np.sqrt(np.mean((expected - truth) ** 2))
        flat = order.std() < 1e-9
        rank = 0.0 if flat or truth.std() < 1e-9 else spearmanr(order, truth).statistic
        top = truth.mean() if flat else truth[order >= np.quantile(order, 2 / 3)].mean()
        rows.append((scenario, n, name, error / constant, rank, top - truth.mean(), float(flat)))
    return rows


def main() -> None:
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    scenarios = (
        "N1 constant effect",
        "N2 prognosis, no effect",
        "N3 prognosis, constant effect",
        "A1 effect above a threshold",
        "A2 effect linear in a marker",
        "A3 complex rule",
    )
    cases = [
        (scenario, n, 1000 * n + seed) for scenario in scenarios for n in (300, 1000) for seed in range(replications)
    ]
    parts = Parallel(n_jobs=2)(delayed(replicate)(*case) for case in cases)
    rows = [row for part in parts for row in part]
    names = ["scenario", "n", "model", "relative PEHE", "rank correlation", "gain of best third", "flat"]
    frame = pd.DataFrame(rows, columns=names)
    grouped = frame.groupby(["scenario", "n", "model"], sort=False)
    print(
        f"{replications} replications; python {platform.python_version()}, numpy {version('numpy')}, scikit-learn {version('scikit-learn')}"
    )
    print(
        "relative PEHE below 1 is better than the average effect for everybody (which knows the average only as the trial does);"
    )
    print("after each mean its Monte Carlo standard error; flat: share of fits without any order among patients\n")
    shown = pd.DataFrame(
        {
            name: [f"{m:6.3f} ({s:.3f})" for m, s in zip(grouped[name].mean(), grouped[name].sem(), strict=True)]
            for name in names[3:]
        },
        index=grouped[names[3]].mean().index,
    )
    print(shown.to_string())


if __name__ == "__main__":
    main()

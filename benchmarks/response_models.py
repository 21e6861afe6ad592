"""What response models are worth at trial sizes: error of the expected benefit, order of patients, gain of the best third.

For each scenario, size and variant (see `response_trials.py`), over replications: relative PEHE, the root mean square over
trials and 4,000 new patients each of the expected benefit less the true one, divided by that of the trial's own average effect
given to everybody; the rank correlation of the benefit score with the truth; the true effect in the third of new patients
with the highest score less that in all. Models are those that ship, with their defaults but for fewer splits behind
the slope (10 for ridge, 4 for lasso, 2 for models of outcomes), which leaves a Monte Carlo error in each shrinkage that
the shipped numbers of splits do not have. "Unshrunk" is the benefit score itself. "Gate .1" is the same model behind a gate:
where the global test on the scores has p above .1, everybody gets the average. If econml is installed, its honest
regression forest on the same scores stands beside, as it comes.

Run: python benchmarks/response_models.py [--replications 200] [--hours 1] [--jobs 2] [--cells usual-300,usual-1000]
Shards stay in benchmarks/cells/response_models, so that a run goes on where it stopped; without --hours it prints what
stands there. More columns: return them from `replicate` and add them up in `table`.
"""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from response_trials import SCENARIOS, TAU, VARIANTS, Variant, outcome_model, trial, true_benefit
from scipy.stats import spearmanr
from shards import analysed, read_shard, refused_words, run_shards

from trialml.effects.scores import crossfit_scores
from trialml.models.cox_interaction import CoxInteraction
from trialml.models.encode import CovariateEncoder
from trialml.models.forest_scores import ForestScores
from trialml.models.lasso_scores import LassoScores
from trialml.models.outcome import scored_outcome, survival_outcome
from trialml.models.ridge_scores import RidgeScores
from trialml.models.shrunk_benefit import gate_p
from trialml.models.t_learner import TLearnerTimes

__all__ = ["SCENARIOS", "TAU", "outcome_model", "replicate", "table", "trial", "true_benefit"]

FOLDER = Path(__file__).parent / "cells" / "response_models"
GATES = (0.05, 0.1, 0.2)


def cells() -> dict[str, tuple[str, int, Variant]]:
    """Return scenario, size and variant by the name of a shard: variants at 1,000 patients alone."""
    every = [("usual", n) for n in (300, 1000)] + [(name, 1000) for name in VARIANTS if name != "usual"]
    every += [("usual", n) for n in (500, 2000)]
    return {
        f"{variant.replace(' ', '_')}-{n}-{scenario[:2]}": (scenario, n, VARIANTS[variant])
        for variant, n in every
        for scenario in SCENARIOS
        # Without an effect there is none to shift or to delay.
        if not (scenario.startswith("N2") and variant in ("hazard ratio .4", "delayed effect"))
    }


def models(seed: int) -> dict[str, Any]:
    """Return the unfitted models by name."""
    return {
        "ridge": RidgeScores(seed=seed, repeats=10),
        "lasso": LassoScores(seed=seed, repeats=4),
        "forest": ForestScores(seed=seed, fewest_patients=0),
        "cox interaction": CoxInteraction(seed=seed, repeats=2, tau=TAU),
        "T-learner": TLearnerTimes(seed=seed, repeats=2, tau=TAU),
    }


def replicate(scenario: str, n: int, variant: Variant, seed: int) -> dict[str, Any]:
    """Return for one trial the error of the average effect, the gate's p-value, and by model what the table needs."""
    generator = np.random.default_rng([seed, n, SCENARIOS.index(scenario)])
    X, time, event, arm = trial(scenario, n, generator, variant)
    scores = crossfit_scores(
        X, time, event, arm, tau=TAU, allocation=variant.allocation, learner=outcome_model, folds=5, seed=seed
    )
    new = generator.standard_normal((4000, variant.covariates))
    truth, frame = true_benefit(scenario, new, variant), pd.DataFrame(new, columns=X.columns)
    row: dict[str, Any] = {
        "censored": round(1 - float(event.mean()), 3),
        "constant": float(np.mean((truth - scores.mean()) ** 2)),
        "gate p": gate_p(CovariateEncoder().fit(X).transform(X), scores, seed),
    }
    joined = scored_outcome(survival_outcome(time, event), scores)
    for name, model in models(seed).items():
        outcomes = isinstance(model, CoxInteraction | TLearnerTimes)
        fitted = model.fit(X.assign(arm=arm.astype(float)), joined) if outcomes else model.fit(X, scores)
        row[name] = _judged(fitted.predict(frame), fitted.benefit_score(frame), truth)
    if find_spec("econml") is not None:
        from econml.grf import RegressionForest

        said = RegressionForest(random_state=seed).fit(X.to_numpy(), scores).predict(new)[:, 0]
        row["econml forest"] = _judged(said, said, truth)
    return row


def _judged(expected: np.ndarray, order: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return squared errors with and without shrinkage, rank correlation and gain of the best third, rounded."""
    flat = order.std() < 1e-9
    rank = 0.0 if flat or truth.std() < 1e-9 else float(spearmanr(order, truth).statistic)
    top = truth.mean() if flat else truth[order >= np.quantile(order, 2 / 3)].mean()
    numbers = (np.mean((expected - truth) ** 2), np.mean((order - truth) ** 2), rank, top - truth.mean())
    return [float(f"{number:.5g}") for number in numbers]


def relative(squares: np.ndarray, constant: np.ndarray) -> tuple[float, float]:
    """Return the root of the ratio of two mean squares and its standard error by the delta method, trials paired."""
    ratio = squares.mean() / constant.mean()
    error = np.std(squares - ratio * constant, ddof=1) / constant.mean() / np.sqrt(len(squares))
    return float(np.sqrt(ratio)), float(error / (2 * np.sqrt(ratio)))


def table(folder: Path = FOLDER) -> pd.DataFrame:
    """Return one row a cell and model from the shards: value and Monte Carlo error of each column."""
    rows = []
    for cell in cells():
        shard = analysed(read_shard(folder, cell))
        if len(shard) < 2:
            continue
        constant, p = (np.array([row[name] for row in shard]) for name in ("constant", "gate p"))
        names = [name for name in shard[0] if isinstance(shard[0][name], list)]
        for name in names:
            shrunk, raw, rank, gain = np.array([row[name] for row in shard]).T
            columns = {"relative PEHE": relative(shrunk, constant), "unshrunk": relative(raw, constant)}
            for level in GATES:
                columns[f"gate {level:g}".replace("0.", ".")] = relative(
                    np.where(p <= level, shrunk, constant), constant
                )
            root = np.sqrt(len(shard))
            columns["rank"] = (rank.mean(), np.std(rank, ddof=1) / root)
            columns["gain"] = (gain.mean(), np.std(gain, ddof=1) / root)
            shown = {key: f"{value:.3f} ({error:.3f})" for key, (value, error) in columns.items()}
            variant, n, scenario = cell.rsplit("-", 2)
            key = {"variant": variant.replace("_", " "), "n": int(n), "scenario": scenario, "trials": len(shard)}
            rows.append({**key, "model": name, **shown})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cells", default="", help="only cells whose name holds one of these, comma between")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    if asked.hours > 0:
        parts = asked.cells.split(",")
        wanted = {name: cell for name, cell in cells().items() if any(part in name for part in parts)}
        run_shards(wanted, replicate, asked.folder, replications=asked.replications, hours=asked.hours, jobs=asked.jobs)
    names = ["numpy", "scikit-learn", *(["econml"] if find_spec("econml") is not None else [])]
    print(f"python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    print("relative PEHE below 1 is better than the average effect for everybody, as this trial estimates it;")
    print("in brackets Monte Carlo standard errors; gate: everybody the average where the global p is above\n")
    print(table(asked.folder).to_string(index=False))
    print("\n" + refused_words(asked.folder))


if __name__ == "__main__":
    main()

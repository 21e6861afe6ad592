"""Do the effects in strata come true, where no subgroup exists and where one does? Bias and coverage, naive beside cross-fitted.

Each replication runs the response part of a run on an invented trial (`response_trials.py`): five folds, six repeats, ridge on doubly
robust scores, thirds of the benefit score. Two estimands, both of the true difference of restricted means:

- "fold rules": averaged over the rules that the repeats learned, in the patients whom each was tested on: what the interval is for;
- "final rule": in the third of new patients whom the rule refitted to all patients ranks highest (or lowest).

Beside them the same for the highest stratum among those trials that passed the gate, the global test on the hazard scale with p
below .05, reported without a target: who looks only after a test has rejected is not covered by either. Naive is the mean
score of the highest stratum in the patients who made the rule.

Run: python benchmarks/strata_coverage.py [--replications 2000] [--hours 1] [--jobs 2] [--cells usual-1000] > benchmarks/strata_coverage_by_cell.txt
Shards stay in benchmarks/cells/strata_coverage, so that a run goes on where it stopped; without --hours it prints what stands there.
"""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from response_models import cells
from response_trials import SCENARIOS, TAU, Variant, outcome_model, trial, true_benefit
from shards import analysed, read_shard, refused_words, run_shards

from trialml.effects.heterogeneity import heterogeneity_test
from trialml.effects.scores import crossfit_scores, fit_nuisance
from trialml.models.cox_ridge import CoxRidge
from trialml.models.encode import CovariateEncoder
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_scores import RidgeScores
from trialml.strata.effects import DEPENDENCE
from trialml.validation.benefit import crossvalidate_response, group_influence, group_mean, repeated_se

FOLDER = Path(__file__).parent / "cells" / "strata_coverage"
REPEATS, FOLDS, GATE = 6, 5, 0.05


def replicate(scenario: str, n: int, variant: Variant, seed: int) -> dict[str, Any]:
    """Return estimates, standard errors and both truths of one trial, for the highest stratum and highest less lowest."""
    generator = np.random.default_rng([seed, n, SCENARIOS.index(scenario), 7])
    X, time, event, arm = trial(scenario, n, generator, variant)
    truth = true_benefit(scenario, X.to_numpy(), variant)
    known: dict[str, Any] = {"tau": TAU, "allocation": variant.allocation, "learner": outcome_model}

    def fit(rows):
        part = (X.iloc[rows], time[rows], event[rows], arm[rows])
        scores = crossfit_scores(*part, folds=FOLDS, seed=seed, **known)
        nuisance = fit_nuisance(*part, **known)
        model = RidgeScores(seed=seed, repeats=2).fit(part[0], scores)
        return model, lambda test: nuisance.scores(X.iloc[test], time[test], event[test], arm[test])

    cells_ = np.char.add(arm.astype(str), event.astype(str))
    held = crossvalidate_response(fit, X, cells=cells_, folds=FOLDS, repeats=REPEATS, seed=seed)
    high, low = held.rank >= 2 / 3, held.rank < 1 / 3
    value, se = group_mean(held.score, high)
    terms = group_influence(held.score, high)[1] - group_influence(held.score, low)[1]
    every = np.tile(truth, (REPEATS, 1))
    scores = crossfit_scores(X, time, event, arm, folds=FOLDS, seed=seed, **known)
    final = RidgeScores(seed=seed, repeats=2).fit(X, scores)
    own = final.benefit_score(X)
    cuts = np.quantile(own, [1 / 3, 2 / 3])
    new = generator.standard_normal((20_000, variant.covariates))
    ranked, new_truth = final.benefit_score(pd.DataFrame(new, columns=X.columns)), true_benefit(scenario, new, variant)
    best, worst = new_truth[ranked >= cuts[1]].mean(), new_truth[ranked < cuts[0]].mean()
    row = {
        "high": value,
        "se": se,
        "fold truth": group_mean(every, high)[0],
        "final truth": best,
        "difference": value - group_mean(held.score, low)[0],
        "difference se": DEPENDENCE * repeated_se(terms),
        "difference fold truth": group_mean(every, high)[0] - group_mean(every, low)[0],
        "difference final truth": best - worst,
        "naive": scores[own >= cuts[1]].mean(),
        "p": _global_p(X, time, event, arm, seed),
    }
    return {name: float(f"{number:.6g}") for name, number in row.items()}


def _global_p(X: pd.DataFrame, time: np.ndarray, event: np.ndarray, arm: np.ndarray, seed: int) -> float:
    design = CovariateEncoder().fit(X).transform(X)
    blind = CoxRidge(seed=seed).fit(X, survival_outcome(time, event)).log_hazard(X)
    given: dict[str, Any] = {"cells": np.full(len(X), ""), "offset": blind, "permutations": 199, "seed": seed}
    return heterogeneity_test(time, event, arm, design, list(X.columns), **given).p


def table(folder: Path) -> pd.DataFrame:
    """Return one row a cell and estimand: bias, spread, mean standard error and coverage, Monte Carlo errors in brackets."""
    rows = []
    for cell in cells():
        shard = pd.DataFrame(analysed(read_shard(folder, cell)))
        if len(shard) < 10:
            continue
        variant, n, scenario = cell.rsplit("-", 2)
        key = {"variant": variant.replace("_", " "), "n": int(n), "scenario": scenario}
        passed = shard[shard["p"] < GATE]
        for what, estimate, se, truth, part in (
            ("highest, fold rules", "high", "se", "fold truth", shard),
            ("highest, final rule", "high", "se", "final truth", shard),
            ("highest less lowest, fold rules", "difference", "difference se", "difference fold truth", shard),
            ("highest less lowest, final rule", "difference", "difference se", "difference final truth", shard),
            ("highest, fold rules, gate passed", "high", "se", "fold truth", passed),
            ("highest, final rule, gate passed", "high", "se", "final truth", passed),
        ):
            if len(part) >= 10:
                rows.append({**key, "what": what, **_line(part[estimate], part[se], part[truth], part["naive"])})
    return pd.DataFrame(rows)


def _line(estimate: pd.Series, se: pd.Series, truth: pd.Series, naive: pd.Series) -> dict[str, Any]:
    error, trials = estimate - truth, len(estimate)
    cover = float((error.abs() <= 1.959964 * se).mean())
    # The naive mean is one stratum's, so that it has no place beside a difference.
    other = naive - truth
    return {
        "trials": trials,
        "bias": f"{error.mean():.4f} ({error.std() / np.sqrt(trials):.4f})",
        "SD": f"{error.std():.4f}",
        "mean SE": f"{se.mean():.4f}",
        "coverage": f"{cover:.3f} ({np.sqrt(cover * (1 - cover) / trials):.3f})",
        "naive bias": f"{other.mean():.4f} ({other.std() / np.sqrt(trials):.4f})" if estimate.name == "high" else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cells", default="usual-1000", help="only cells whose name holds one of these, comma between")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    if asked.hours > 0:
        parts = asked.cells.split(",")
        wanted = {name: cell for name, cell in cells().items() if any(part in name for part in parts)}
        run_shards(wanted, replicate, asked.folder, replications=asked.replications, hours=asked.hours, jobs=asked.jobs)
    print(f"python {platform.python_version()}, numpy {version('numpy')}, scikit-learn {version('scikit-learn')}")
    print(
        f"{FOLDS} folds, {REPEATS} repeats, thirds of the benefit score of ridge_scores; restricted means up to {TAU:g}"
    )
    print("nominal coverage .95; Monte Carlo errors in brackets; 'gate passed' is reported without a target\n")
    print(table(asked.folder).to_string(index=False))
    print("\n" + refused_words(asked.folder))


if __name__ == "__main__":
    main()

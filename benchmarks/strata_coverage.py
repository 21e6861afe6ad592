"""Do the intervals of cross-fitted effects in strata hold, where no subgroup exists and where one does?

Each replication runs the response part of the package on a simulated trial (the flow of `trialml run`, five folds, six
repeats, three strata). Estimand: the difference of restricted means, averaged over the rules that the repeats learned,
in the highest stratum, and highest less lowest. Where the effect is nil the truth is 0; elsewhere each repeat's and fold's
rule is applied through the patients it was tested on, whose true benefit is known.
Run: python benchmarks/strata_coverage.py [replications] [size]
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np
from joblib import Parallel, delayed
from response_models import TAU, outcome_model, trial, true_benefit

from trialml.effects.scores import crossfit_scores, fit_nuisance
from trialml.models.ridge_scores import RidgeScores
from trialml.strata.effects import DEPENDENCE
from trialml.validation.benefit import crossvalidate_response, group_influence, group_mean, repeated_se

SCENARIOS = ("N1 constant effect", "N2 prognosis, no effect", "A2 effect linear in a marker")


def replicate(scenario: str, n: int, seed: int) -> tuple[float, ...]:
    """Return estimate less truth and its standard error, for the highest stratum and for highest less lowest."""
    generator = np.random.default_rng(seed)
    X, time, event, arm = trial(scenario, n, generator)
    truth = true_benefit(scenario, X.to_numpy())
    known = {"tau": TAU, "allocation": 0.5, "learner": outcome_model}

    def fit(rows):
        part = (X.iloc[rows], time[rows], event[rows], arm[rows])
        model = RidgeScores(seed=seed, repeats=10).fit(part[0], crossfit_scores(*part, folds=5, seed=seed, **known))
        nuisance = fit_nuisance(*part, **known)
        return model, lambda test: nuisance.scores(X.iloc[test], time[test], event[test], arm[test])

    cells = np.char.add(arm.astype(str), event.astype(str))
    held = crossvalidate_response(fit, X, cells=cells, folds=5, repeats=6, seed=seed)
    stratum = np.minimum((held.rank * 3).astype(int), 2)
    high, low = stratum == 2, stratum == 0
    value, se = group_mean(held.score, high)
    expected = np.tile(truth, (6, 1))
    low_value, _ = group_mean(held.score, low)
    terms = group_influence(held.score, high)[1] - group_influence(held.score, low)[1]
    high_truth, low_truth = group_mean(expected, high)[0], group_mean(expected, low)[0]
    return value - high_truth, se, (value - low_value) - (high_truth - low_truth), DEPENDENCE * repeated_se(terms)


def main() -> None:
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    print(
        f"{replications} replications of n = {n}, 5 folds, 6 repeats; numpy {version('numpy')}, scikit-learn {version('scikit-learn')}"
    )
    print(
        f"{'scenario':32s} {'what':28s} {'bias (MC error)':>20s} {'SD':>8s} {'mean SE':>8s} {'coverage of 95 % (MC error)':>30s}"
    )
    for scenario in SCENARIOS:
        rows = np.asarray(
            Parallel(n_jobs=2)(delayed(replicate)(scenario, n, 7_000_000 + seed) for seed in range(replications))
        )
        for what, place in (("highest stratum", 0), ("highest less lowest", 2)):
            error, se = rows[:, place], rows[:, place + 1]
            cover = float((np.abs(error) <= 1.959964 * se).mean())
            print(
                f"{scenario:32s} {what:28s} {error.mean():11.4f} ({error.std() / np.sqrt(replications):.4f}) {error.std():8.4f} "
                f"{se.mean():8.4f} {cover:18.3f} ({np.sqrt(cover * (1 - cover) / replications):.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Do the intervals of effects in the strata of trees hold, where no subgroup exists and where one does? And how long do the trees take?

Scores are each patient's true benefit plus a normal error of the size that doubly robust scores have in these trials (1.2), so that
the rule alone is learned: outcome models are not. Five folds, six repeats. Estimand: the average over the rules that the repeats learned, each applied
through the patients it was tested on, whose true benefit is known. Naive: the final rule's leaf mean less the true mean in that leaf.
Run: python benchmarks/strata_of_trees.py [replications] [size] [scenario kind]
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

import numpy as np
import pandas as pd
from response_models import true_benefit

from trialml.data.trial import Covariate
from trialml.effects.shrinkage import shrink
from trialml.models.input_contract import InputContract
from trialml.result import Z95
from trialml.strata.crossfit import crossvalidate_strata
from trialml.strata.effects import DEPENDENCE
from trialml.strata.learned import StrataPlan, TrainingPatients, learn_strata, refitted_rule
from trialml.strata.policy_tree import policy_tree
from trialml.strata.score_tree import score_tree
from trialml.validation.benefit import group_influence, group_mean, repeated_se

SCENARIOS = ("N1 constant effect", "N2 prognosis, no effect", "A1 effect above a threshold")
ERROR = 1.2
PRIOR = 0.1
WHAT = ("lowest", "highest", "highest less lowest", "highest, shrunk", "highest, naive")


def replicate(scenario: str, kind: str, n: int, seed: int) -> list[tuple[float, float, bool]]:
    """Return for each of WHAT the error, the standard error, and whether the interval holds the truth."""
    generator = np.random.default_rng(seed)
    X = pd.DataFrame(generator.standard_normal((n, 20)), columns=[f"x{place}" for place in range(20)])
    treated, truth = generator.permutation(np.arange(n) % 2) == 1, true_benefit(scenario, X.to_numpy())
    event, scores = generator.random(n) < 0.6, truth + generator.normal(0, ERROR, n)
    contract = InputContract.learn(tuple(Covariate(name, "numeric", name) for name in X), X)
    plan = StrataPlan(kind)

    def known(rows):
        return TrainingPatients(X.iloc[rows], scores[rows], treated[rows], event[rows])

    every = np.arange(n)
    final = learn_strata(plan, known(every), contract)
    learn = refitted_rule(
        lambda rows: (known(rows), lambda others: X.iloc[others], lambda others: scores[others]), plan, contract, final
    )
    held = crossvalidate_strata(learn, n, cells=treated.astype(str), folds=5, repeats=6, seed=seed)
    true, last = np.tile(truth, (6, 1)), len(final.strata) - 1
    means = [[group_mean(one, held.member == place) for one in (held.score, true)] for place in range(last + 1)]
    rows = [(value - real, se) for (value, se), (real, _) in (means[0], means[-1])]
    terms = group_influence(held.score, held.member == last)[1] - group_influence(held.score, held.member == 0)[1]
    rows.append((rows[1][0] - rows[0][0], DEPENDENCE * repeated_se(terms)))
    judged = [(error, se, abs(error) <= Z95 * se) for error, se in rows]
    estimated = np.array([one[0] for one in means])
    real = means[-1][1][0]
    if last and np.isfinite(estimated).all():
        left = shrink(estimated[:, 0], estimated[:, 1], prior_scale=PRIOR)
        judged.append((left.mean[-1] - real, left.sd[-1], left.low[-1] <= real <= left.high[-1]))
    else:
        judged.append(judged[1])
    own = final.place(X) == last
    se = scores[own].std(ddof=1) / np.sqrt(own.sum()) if own.sum() > 1 else np.nan
    error = scores[own].mean() - truth[own].mean() if own.any() else np.nan
    return [*judged, (error, se, abs(error) <= Z95 * se)]


def timings() -> None:
    generator = np.random.default_rng(1)
    for n in (500, 2000, 20_000):
        X = pd.DataFrame(generator.standard_normal((n, 20)), columns=[f"x{place}" for place in range(20)])
        contract = InputContract.learn(tuple(Covariate(name, "numeric", name) for name in X), X)
        given = X, generator.normal(size=n), generator.random(n) < 0.5, generator.random(n) < 0.6, contract
        for tree in (policy_tree, score_tree):
            tree(*given)
            begun = [time.perf_counter()]
            for _ in range(5):
                tree(*given)
                begun.append(time.perf_counter())
            print(
                f"{tree.__name__:12s} n = {n:6d}, 20 covariates, 32 cut-points: {np.median(np.diff(begun)):.3f} s (median of five)"
            )


def main() -> None:
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    pairs = [(scenario, kind) for scenario in SCENARIOS for kind in ("tree", "policy tree")]
    if len(sys.argv) > 3:
        pairs = [(scenario, sys.argv[4]) for scenario in SCENARIOS if scenario.startswith(sys.argv[3])]
    else:
        timings()
    print(
        f"{replications} replications of n = {n}, 5 folds, 6 repeats; numpy {version('numpy')}, numba {version('numba')}"
    )
    print(
        f"{'scenario':28s} {'kind':12s} {'what':20s} {'bias (MC error)':>18s} {'SD':>7s} {'SE':>7s} {'coverage (MC error)':>20s} {'n':>5s}"
    )
    for scenario, kind in pairs:
        found = np.array([replicate(scenario, kind, n, 1000 + seed) for seed in range(replications)], dtype=float)
        for place, what in enumerate(WHAT):
            own = found[:, place][np.isfinite(found[:, place, :2]).all(axis=1)]
            error, se, inside = own.T
            share, count = inside.mean(), len(own)
            print(
                f"{scenario:28s} {kind:12s} {what:20s} {error.mean():9.4f} ({error.std() / count**0.5:.4f}) {error.std():7.4f} {se.mean():7.4f} "
                f"{share:12.3f} ({(share * (1 - share) / count) ** 0.5:.3f}) {count:5d}",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""How often does a search declare a subgroup where the effect is the same for everybody?

300 patients, 10 covariates, two of which are prognostic (log hazard .7 and .5, or the log odds of a binary outcome in a sixth of patients by .7), cuts at
four quantiles and pairs at two (about 700 candidates), 199 resamples; last, scores as a run has them, cross-fitted with a ridge model
of each arm (logistic, or Cox for restricted means over .6 with one hazard for both arms). Family-wise error: share of replications with a smallest adjusted p of .05 or less.
Run: python benchmarks/subgroup_search_size.py [replications] > benchmarks/subgroup_search_size.txt
"""

from __future__ import annotations

import math
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd

from trialml.effects.endpoint_scores import crossfit_outcome_scores
from trialml.effects.scores import crossfit_scores
from trialml.endpoint_learning import _binary_mean
from trialml.learning import _outcome_model
from trialml.strata.search_candidates import SearchPlan
from trialml.strata.subgroup_search import search_hazard_ratios, search_scores

N = 300
PLAN = SearchPlan(permutations=199, repeats=0, cuts=4, pair_cuts=2, shown=1)
HAZARD = ((1.0, 0.5, False), (0.6, 0.5, False), (0.4, 0.5, False), (0.4, 0.5, True), (0.4, 2 / 3, True))
BINARY = ((0.5, False), (0.5, True), (2 / 3, False))
LEARNED = (("risk difference", 0.5), ("risk difference", 2 / 3), ("RMST difference", 0.5), ("RMST difference", 2 / 3))


def hazard_p(ratio: float, share: float, known: bool, seed: int) -> float:
    draw = np.random.default_rng([2026, seed])
    X = pd.DataFrame(draw.normal(size=(N, 10)).round(2), columns=[f"x{j}" for j in range(10)])
    arm = draw.random(N) < share
    index = (0.7 * X["x0"] + 0.5 * X["x1"]).to_numpy()
    time, last = draw.exponential(1 / np.exp(index + math.log(ratio) * arm)), draw.uniform(0.3, 3, N)
    offset = index if known else None
    return search_hazard_ratios(np.minimum(time, last), time <= last, arm, X, offset=offset, plan=PLAN).p


def binary_p(share: float, known: bool, seed: int) -> float:
    draw = np.random.default_rng([2027, seed])
    X = pd.DataFrame(draw.normal(size=(N, 10)).round(2), columns=[f"x{j}" for j in range(10)])
    arm = draw.random(N) < share
    risk = 1 / (1 + np.exp(2 - 0.7 * X["x0"].to_numpy()))
    outcome = (draw.random(N) < risk).astype(float)
    expected = risk if known else outcome.mean()
    scores = (arm - share) / (share * (1 - share)) * (outcome - expected)
    return search_scores(scores, arm, X, allocation=share, scale="risk difference", plan=PLAN).p


def learned_p(scale: str, share: float, seed: int) -> float:
    draw = np.random.default_rng([2028, seed])
    X = pd.DataFrame(draw.normal(size=(N, 10)).round(2), columns=[f"x{j}" for j in range(10)])
    arm = draw.random(N) < share
    asked = {"allocation": share, "folds": 5, "seed": 1}
    if scale == "risk difference":
        outcome = (draw.random(N) < 1 / (1 + np.exp(2 - 0.7 * X["x0"].to_numpy()))).astype(float)
        scores = crossfit_outcome_scores(X, outcome, arm, learner=_binary_mean, binary=True, **asked)
    else:
        time = draw.exponential(1 / np.exp((0.7 * X["x0"] + 0.5 * X["x1"]).to_numpy()))
        last = draw.uniform(0.3, 3, N)
        known = np.minimum(time, last), time <= last
        scores = crossfit_scores(X, *known, arm, tau=0.6, learner=_outcome_model, **asked)
    return search_scores(scores, arm, X, allocation=share, scale=scale, plan=PLAN).p


def main() -> None:
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{replications} replications of n = {N}; numpy {version('numpy')}; Monte Carlo error in brackets")
    cells = [(f"hazard ratio {r:g}, share {s:.2f}, prognosis {'known' if k else 'left out'}", lambda seed, r=r, s=s, k=k: hazard_p(r, s, k, seed))
             for r, s, k in HAZARD]  # fmt: skip
    cells += [(f"risk difference 0, share {s:.2f}, prognosis {'known' if k else 'left out'}", lambda seed, s=s, k=k: binary_p(s, k, seed))
              for s, k in BINARY]  # fmt: skip
    cells += [(f"{scale} 0, share {s:.2f}, cross-fitted scores", lambda seed, scale=scale, s=s: learned_p(scale, s, seed))
              for scale, s in LEARNED]  # fmt: skip
    for name, draw_p in cells:
        rejected = np.mean([draw_p(seed) <= 0.05 for seed in range(replications)])
        error = math.sqrt(rejected * (1 - rejected) / replications)
        print(f"{name:55s} {rejected:.4f} ({error:.4f})", flush=True)


if __name__ == "__main__":
    main()

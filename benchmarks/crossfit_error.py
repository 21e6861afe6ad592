"""How far does the standard error of a single repeat fall short of the spread of a cross-fitted effect in strata, and why?

The dependence of folds alone, without censoring or outcome models: scores are a true effect plus normal noise (standard
deviation 1), the rule is ridge regression on 20 normal covariates, thirds of its order are judged on the fold left out (five
folds, six repeats). Where no effect varies the rule is noise, and two patients in different folds serve each other's rule.
The spread over trials of the estimate less its truth, in units of the root mean square of the standard error of one repeat.

Run: python benchmarks/crossfit_error.py [trials a row] > benchmarks/crossfit_error.txt
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import numpy as np
from scipy.stats import norm

from trialml.data.folds import fold_labels, splits
from trialml.models.ridge_line import ridge_line
from trialml.validation.benefit import group_influence, repeated_se

FOLDS, REPEATS, COVARIATES = 5, 6, 20
PENALTIES = np.geomspace(1e-2, 1e2, 17)


def ranks(x: np.ndarray, score: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return each patient's rank among the training patients by a rule that had not seen the patient, shape (repeats, n)."""
    rank = np.empty((REPEATS, len(score)))
    for out in rank:
        for train, test in splits(fold_labels(np.zeros(len(score)), FOLDS, generator)):
            centre, scale = x[train].mean(axis=0), x[train].std(axis=0)
            line = ridge_line((x[train] - centre) / scale, score[train], len(train) * PENALTIES).coefficients / scale
            out[test] = np.searchsorted(np.sort((x[train] - centre) @ line), (x[test] - centre) @ line) / len(train)
    return rank


def errors(n: int, slope: float, seed: int) -> list[tuple[float, float, float]]:
    """Return for highest, lowest and their difference the error over six repeats, over one, and the standard error of one."""
    generator = np.random.default_rng([seed, n, round(1000 * slope)])
    x = generator.standard_normal((n, COVARIATES))
    truth = slope * x[:, 3]
    score = truth + generator.standard_normal(n)
    rank = ranks(x, score, generator)
    found = []
    for member in (rank >= 2 / 3, rank < 1 / 3):
        means, influence = group_influence(np.tile(score, (REPEATS, 1)), member)
        found.append((means - group_influence(np.tile(truth, (REPEATS, 1)), member)[0], influence))
    found.append((found[0][0] - found[1][0], found[0][1] - found[1][1]))
    return [(float(error.mean()), float(error[0, 0]), repeated_se(influence)) for error, influence in found]


def expected(weights: np.ndarray, z: np.ndarray) -> float:
    """Return the ratio for a rule of noise in many covariates, from its linear and constant parts alone.

    Of a contrast with weights w(z) on normal scores the constant part is judged rightly. The variance of the linear part,
    ``E[w z]^2``, is multiplied by ``2 (f + (1 - f) / repeats)``, f the share of pairs in different folds, since each of a
    pair serves the other's rule. What is left changes from repeat to repeat and is taken here for averaged away.
    """
    apart = (FOLDS - 1) / FOLDS
    constant, linear, whole = weights.mean() ** 2, (weights * z).mean() ** 2, (weights**2).mean()
    return float(np.sqrt((constant + 2 * (apart + (1 - apart) / REPEATS) * linear) / whole))


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    z = norm.ppf((np.arange(30_000) + 0.5) / 30_000)
    high, low = 3.0 * (z >= norm.ppf(2 / 3)), 3.0 * (z < norm.ppf(1 / 3))
    print(f"python {platform.python_version()}, numpy {version('numpy')}")
    print(f"{trials} trials a row, {COVARIATES} covariates; Monte Carlo error of a ratio {1 / np.sqrt(2 * trials):.3f}")
    print(
        "spread over standard error of one repeat; 'noise' is what linear and constant parts give without an effect\n"
    )
    print(f"{'effect a SD':>11} {'n':>5}  {'':<20} {'six repeats':>11} {'one':>6} {'noise':>6}  coverage, no factor")
    for slope in (0.0, 0.13):
        for n in (300, 1000):
            every = np.array([errors(n, slope, seed) for seed in range(trials)])
            for place, (what, weights) in enumerate(
                (("highest third", high), ("lowest third", low), ("highest less lowest", high - low))
            ):
                averaged, single, se = every[:, place].T
                size, cover = np.sqrt((se**2).mean()), (np.abs(averaged) <= 1.959964 * se).mean()
                row = f"{averaged.std() / size:>11.3f} {single.std() / size:>6.3f} {expected(weights, z):>6.3f}"
                error = np.sqrt(cover * (1 - cover) / trials)
                print(f"{slope:>11} {n:>5}  {what:<20} {row}  {cover:.3f} ({error:.3f})")


if __name__ == "__main__":
    main()

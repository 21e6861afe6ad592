"""Do adjusted tests keep 5 % in small trials, and what do they gain? Type I error and power with their Monte Carlo errors.

Weibull times (shape 1.3) with hazard exp(b x1 + log HR arm), uniform censoring, covariates independent standard normal, of
which x1 alone foretells the outcome; permuted blocks of four within the two strata x1 < 0 and x1 >= 0, or within one.
Run: python benchmarks/adjustment_size.py [replications] > benchmarks/adjustment_size.txt
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import special

from trialml.effects.adjusted import adjusted_contrast
from trialml.effects.adjusted_logrank import adjusted_score
from trialml.effects.scores import crossfit_scores
from trialml.errors import AnalysisError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.result import Z95, Estimate
from trialml.survival.cox import fit_cox
from trialml.survival.rmst import restricted_mean_one

SHAPE, TAU = 1.3, 1.0
PUBLISHED = {
    "log-rank": 0.471,
    "adjusted log-rank": 0.606,
    "RMST": 0.472,
    "RMST-AIPW": 0.613,
    "Cox with the score": 0.707,
}
"""The figures of the measurements that this benchmark repeats, at 400 patients and a conditional hazard ratio of .72."""


def trial(n, k, generator, *, b=1.0, ratio=1.0, last=(0.5, 2.0), strata=False):
    """Return covariates, time, event, arm and stratum of one trial."""
    X = generator.standard_normal((n, k))
    stratum = (X[:, 0] >= 0).astype(np.intp) if strata else np.zeros(n, dtype=np.intp)
    arm = np.zeros(n, dtype=bool)
    for cell in np.unique(stratum):
        rows = np.flatnonzero(stratum == cell)
        dealt = np.concatenate([generator.permutation([0, 0, 1, 1]) for _ in range(len(rows) // 4 + 1)])
        arm[rows] = dealt[: len(rows)] == 1
    time = (generator.exponential(size=n) / np.exp(b * X[:, 0] + np.log(ratio) * arm)) ** (1 / SHAPE)
    end = generator.uniform(*last, n)
    return X, np.minimum(time, end), time <= end, arm, stratum


def rejections(X, time, event, arm, stratum):
    """Return whether the log-rank test, the adjusted one as published, and the one with the small-sample error reject."""
    found = adjusted_score(time, event, arm, X, stratum)
    p = 2 * special.stdtr(found.df, -abs(found.adjusted / found.adjusted_se))
    try:
        plain = adjusted_score(time, event, arm, X, stratum, small_sample=False)
        published = abs(plain.adjusted / plain.adjusted_se) > Z95
    except AnalysisError:  # a variance below 0, which no effect is too small for
        published = True
    return abs(found.score / found.se) > Z95, published, p < 0.05


def outcome_model(X, time, event):
    return CoxRidge(penalties=(8.0,)).fit(X, survival_outcome(time, event))


def rmst(X, time, event, arm, seed):
    """Return whether RMST, RMST-AIPW with a normal quantile and n - 1, and RMST-AIPW of the package reject."""
    means = [restricted_mean_one(time[who], event[who], TAU) for who in (~arm, arm)]
    gap, se = means[1].value - means[0].value, float(np.hypot(means[0].se, means[1].se))
    frame = pd.DataFrame(X, columns=[f"x{place}" for place in range(X.shape[1])])
    known = {"tau": TAU, "allocation": 0.5, "learner": outcome_model, "folds": 5}
    scores = crossfit_scores(frame, time, event, arm, seed=seed, **known)[None, :]
    n = scores.shape[1]
    unadjusted = Estimate(gap, se=se)
    found = adjusted_contrast(scores, unadjusted=unadjusted, events=int(event.sum()), tau=TAU).adjusted
    plain = abs(scores.mean()) > Z95 * scores.std(ddof=1) / np.sqrt(n)
    return abs(gap) > special.stdtrit(n - 2, 0.975) * se, plain, not found.low <= 0 <= found.high


def one_size(n, k, strata, seed):
    return rejections(*trial(n, k, np.random.default_rng(seed), strata=strata))


def one_rmst(n, k, seed):
    X, time, event, arm, _ = trial(n, k, np.random.default_rng(seed))
    try:
        return rmst(X, time, event, arm, seed)
    except AnalysisError:  # an arm of a training part is not followed to tau: no number, so no rejection to count
        return (np.nan,) * 3


def one_power(seed):
    X, time, event, arm, stratum = trial(400, 1, np.random.default_rng(seed), b=0.95, ratio=0.72, last=(0.5, 1.8))
    plain, _, adjusted = rejections(X, time, event, arm, stratum)
    mean, _, scores = rmst(X, time, event, arm, seed)
    fit = fit_cox(time, event, np.column_stack([arm, X]).astype(float))
    wald = abs(fit.coefficients[0]) > Z95 * np.sqrt(fit.covariance[0, 0])
    return plain, adjusted, mean, scores, wald, event.mean()


def shown(rate, trials):
    return f"{rate:.4f} ({np.sqrt(rate * (1 - rate) / trials):.4f})"


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    print(
        f"Python {platform.python_version()}, numpy {version('numpy')}, scipy {version('scipy')}; nominal size .05, two-sided"
    )
    print(f"\nType I error (Monte Carlo error), {trials} trials a row; about 70 % have the event")
    print(
        f"{'n':>5s} {'covariates':>10s} {'strata':>7s} {'log-rank':>17s} {'adjusted, published':>21s} {'adjusted, small-sample':>24s}"
    )
    with Parallel(n_jobs=2) as parallel:
        for n, k, strata in [(n, k, False) for n in (60, 100, 200, 400) for k in (1, 5, 14)] + [
            (100, 5, True),
            (200, 5, True),
        ]:
            rates = np.mean(
                parallel(delayed(one_size)(n, k, strata, 1_000_000 + seed) for seed in range(trials)), axis=0
            )
            a, b, c = (shown(rate, trials) for rate in rates)
            print(f"{n:5d} {k:10d} {2 if strata else 1:7d} {a:>17s} {b:>21s} {c:>24s}", flush=True)
        part = trials // 2
        print(f"\nType I error, {part} trials a row, RMST to {TAU:g}, one cross-fit of five folds")
        print(f"{'n':>5s} {'covariates':>10s} {'RMST, t':>17s} {'AIPW, normal, n - 1':>21s} {'AIPW, t, n - 2':>24s}")
        for n, k in ((60, 1), (100, 1), (100, 5), (200, 5), (400, 1)):
            rows = np.asarray(parallel(delayed(one_rmst)(n, k, 2_000_000 + seed) for seed in range(part)), dtype=float)
            done = rows[np.isfinite(rows[:, 0])]
            a, b, c = (shown(rate, len(done)) for rate in done.mean(axis=0))
            refused = f"   {part - len(done)} refused, not followed to tau" if len(done) < part else ""
            print(f"{n:5d} {k:10d} {a:>17s} {b:>21s} {c:>24s}{refused}", flush=True)
        rows = np.asarray(parallel(delayed(one_power)(3_000_000 + seed) for seed in range(part)), dtype=float)
    print(
        f"\nPower, {part} trials of 400 patients, conditional hazard ratio .72, b = .95, {100 * rows[:, -1].mean():.0f} % events"
    )
    for name, rate in zip(PUBLISHED, rows[:, [0, 1, 2, 3, 4]].mean(axis=0), strict=True):
        print(f"{name:>20s} {shown(rate, part):>17s}   measured while designing {PUBLISHED[name]:.3f}")


if __name__ == "__main__":
    main()

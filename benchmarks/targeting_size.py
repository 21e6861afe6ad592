"""How often is an order by benefit declared better than chance, where there is none and where there is one?

Scores are noise (its spread moved by the first of 20 covariates in the rows "uneven"), plus 0.2 times the second covariate in the rows
"linear". The default response line (ridge, penalty by leave-one-out) is learned in each of 5 folds, 6 repeats. Per cell: the share of
replications with a one-sided p below .05, of the first repeat alone, of the mean over repeats with the error of one, and of what the package reports (twice
the median of the repeats); the spread of estimate less truth over its mean standard error before the factor; coverage by the interval of the truth for these
rules and patients (0 without heterogeneity; ranks applied to the expected scores where there is some).
Run: python benchmarks/targeting_size.py [replications] > benchmarks/targeting_size.txt
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
from scipy import special

from trialml.models.ridge_line import ridge_line
from trialml.validation.benefit import HeldOutBenefit, crossvalidate_response
from trialml.validation.targeting_curve import DEPENDENCE, targeting_curve

CELLS = (("even", 300, 0.0), ("uneven", 300, 0.0), ("even", 500, 0.0), ("even", 1000, 0.0), ("linear", 300, 0.2))
SCALE = {"unit": "", "scale": "difference of means"}


class Line:
    """The line of the default response model, without encoding and shrinkage."""

    def __init__(self, design, scores):
        self.mean, self.spread = design.mean(axis=0), design.std(axis=0)
        penalties = len(scores) * np.geomspace(1e-2, 1e2, 17)
        self.slopes = ridge_line((design - self.mean) / self.spread, scores, penalties).coefficients

    def benefit_score(self, X):
        return (X.to_numpy() - self.mean) / self.spread @ self.slopes

    predict = benefit_score


def replicate(spread: str, n: int, slope: float, seed: int) -> list[tuple[float, ...]]:
    """Return for AUTOC and Qini: estimate, standard error before the factor, p of the first repeat, p reported, truth."""
    draw = np.random.default_rng([n, seed])
    values = draw.normal(size=(n, 20))
    scores = draw.normal(size=n) * (np.exp(0.5 * values[:, 0]) if spread == "uneven" else 1.0) + slope * values[:, 1]

    def fit(rows):
        return Line(values[rows], scores[rows]), lambda new: scores[new]

    held = crossvalidate_response(fit, pd.DataFrame(values), cells=np.full(n, ""), folds=5, repeats=6, seed=seed)
    first = targeting_curve(HeldOutBenefit(*(one[:1] for one in held)), **SCALE)
    found = targeting_curve(held, **SCALE)
    truth = targeting_curve(held._replace(score=np.tile(slope * values[:, 1], (6, 1))), **SCALE)
    return [
        (
            found.autoc.value,
            found.autoc.se / DEPENDENCE,
            first.p_autoc,
            found.p_autoc,
            truth.autoc.value if slope else 0.0,
        ),
        (found.qini.value, found.qini.se / DEPENDENCE, first.p_qini, found.p_qini, truth.qini.value if slope else 0.0),
    ]


def main() -> None:
    replications = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(
        f"{replications} replications, 20 covariates, 5 folds, 6 repeats; numpy {version('numpy')}; MC error in brackets"
    )
    print(
        f"{'scores':8s} {'n':>5s} {'what':6s} {'one repeat':>16s} {'mean':>16s} {'reported':>16s} {'spread / error':>15s} {'covers truth':>16s}"
    )
    for spread, n, slope in CELLS:
        every = np.array([replicate(spread, n, slope, seed) for seed in range(replications)])
        for place, name in enumerate(("AUTOC", "Qini")):
            value, se, first, reported, truth = every[:, place].T
            shares = (first < 0.05, special.ndtr(-value / se) < 0.05, reported < 0.05)
            covers = np.abs(value - truth) < 1.959963984540054 * DEPENDENCE * se
            said = [f"{one.mean():.4f} ({one.std() / np.sqrt(replications):.4f})" for one in (*shares, covers)]
            ratio = (value - truth).std(ddof=1) / se.mean()
            print(
                f"{spread:8s} {n:5d} {name:6s} {said[0]:>16s} {said[1]:>16s} {said[2]:>16s} {ratio:15.3f} {said[3]:>16s}",
                flush=True,
            )


if __name__ == "__main__":
    main()

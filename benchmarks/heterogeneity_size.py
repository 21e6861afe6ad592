"""Does the global test of heterogeneity keep 5 %, and what does it find? Size and power with their Monte Carlo errors.

The test as a run does it, with the blinded prognostic index of a tuned ridge model, 20 standard normal covariates (100 where
said), two stratification cells that foretell the outcome, and 199 permutations. A rejection is p of .05 or less. Time to
event: Weibull (shape 1.3), N1 a constant hazard ratio without prognosis, N2 prognosis and no effect, N3 both, A1 an effect
above a threshold, A2 one linear in a marker, A3 a complex rule. Continuous and binary: the same with a constant difference.

Shards of 100 trials are appended to heterogeneity_size.jsonl as they end, and those that stand there are not done again, so
that the program can be stopped and started at will.
Run: python benchmarks/heterogeneity_size.py [trials a row for size] [for power] [minutes] [processes] > benchmarks/heterogeneity_size.txt
"""

from __future__ import annotations

import json
import platform
import sys
import time as clock
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import binom

from trialml.effects.heterogeneity import heterogeneity_test
from trialml.effects.outcome_heterogeneity import outcome_heterogeneity_test
from trialml.models.cox_ridge import CoxRidge
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import survival_outcome

STORE = Path(__file__).with_suffix(".jsonl")
SHARD, PERMUTATIONS, LEVEL = 100, 199, 0.05
PUBLISHED = {
    ("hazard ratio", "N2", 300): 0.027,
    ("hazard ratio", "N2", 500): 0.042,
    ("hazard ratio", "N2", 1000): 0.054,
    ("hazard ratio", "A1", 300): 0.17,
    ("hazard ratio", "A1", 500): 0.37,
    ("hazard ratio", "A1", 1000): 0.63,
    ("hazard ratio", "A1", 2000): 0.94,
    ("hazard ratio", "A2", 300): 0.25,
    ("hazard ratio", "A2", 500): 0.50,
    ("hazard ratio", "A2", 1000): 0.89,
    ("hazard ratio", "A2", 2000): 1.00,
    ("hazard ratio", "A3", 300): 0.12,
    ("hazard ratio", "A3", 500): 0.25,
    ("hazard ratio", "A3", 1000): 0.61,
    ("hazard ratio", "A3", 2000): 0.92,
}
"""What was measured while designing (260 trials for size, 120 to 158 for power), without variants."""


class Case(NamedTuple):
    """One row of the table."""

    scale: str
    scenario: str
    n: int
    variant: str = ""

    @property
    def is_null(self) -> bool:
        return self.scenario.startswith("N")


def cases() -> Iterator[Case]:
    """Yield every row: sizes of trial for the plain scenarios, the variants at 1,000 patients alone."""
    for n in (300, 500, 1000, 2000):
        for scenario in ("N1", "N2", "N3"):
            yield Case("hazard ratio", scenario, n)
        for scenario in ("N2", "N3"):
            yield Case("mean difference", scenario, n)
            yield Case("risk difference", scenario, n)
    for variant in ("hazard ratio .4", "2:1", "p = 100", "60 % censored", "effect fades"):
        yield Case("hazard ratio", "N3", 1000, variant)
    yield Case("hazard ratio", "N1", 1000, "hazard ratio .4")
    for variant in ("2:1", "p = 100", "noise doubled by treatment", "skewed", "2:1, noise doubled by treatment"):
        yield Case("mean difference", "N3", 1000, variant)
    for variant in ("2:1", "p = 100"):
        yield Case("risk difference", "N3", 1000, variant)
    for n in (300, 500, 1000, 2000):
        for scenario in ("A1", "A2", "A3"):
            yield Case("hazard ratio", scenario, n)
        for scale in ("mean difference", "risk difference"):
            yield Case(scale, "A2", n)


def effect_on(scenario: str, x: np.ndarray, constant: float) -> np.ndarray:
    """Return each patient's effect: the log hazard ratio, or a multiple of `constant` on a difference's scale."""
    return {
        "N1": np.full(len(x), constant),
        "N2": np.zeros(len(x)),
        "N3": np.full(len(x), constant),
        "A1": np.where(x[:, 3] > 0, 2.2 * constant, 0.0),
        "A2": constant * (1 + 1.1 * x[:, 3]),
        "A3": np.where((x[:, 3] > 0) & (x[:, 0] + x[:, 4] > 0), 2.8 * constant, 0.28 * constant),
    }[scenario]


def baseline(case: Case, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return covariates, prognosis, cell and arm of one trial; the arms are dealt within the cells."""
    x = generator.standard_normal((case.n, 100 if "p = 100" in case.variant else 20))
    cell = generator.integers(0, 2, case.n)
    block = np.array([0, 1, 1, 0, 1, 1] if "2:1" in case.variant else [0, 1, 0, 1, 0, 1])
    arm = np.zeros(case.n, dtype=bool)
    for label in (0, 1):
        rows = np.flatnonzero(cell == label)
        dealt = np.concatenate([generator.permutation(block) for _ in range(len(rows) // 6 + 1)])
        arm[rows] = dealt[: len(rows)] == 1
    prognosis = 0.5 * x[:, 0] + 0.4 * x[:, 1] - 0.3 * x[:, 2] + 0.4 * (cell - 0.5)
    return x, np.zeros(case.n) if case.scenario == "N1" else prognosis, cell.astype(str), arm


def survival_p(case: Case, generator: np.random.Generator) -> float:
    """Return the p-value of one trial with a time to event."""
    x, prognosis, cell, arm = baseline(case, generator)
    constant = np.log(0.4) if "hazard ratio .4" in case.variant else -0.36
    effect = effect_on(case.scenario, x, constant)
    rest = generator.exponential(size=case.n) / np.exp(prognosis)
    if case.variant == "effect fades":
        # The hazard ratio is .5 up to time .6 and 1 from then on, the same for everybody.
        early, until = 0.5 ** arm.astype(float), 0.6**1.3
        cumulative = np.where(rest < early * until, rest / early, until + rest - early * until)
    else:
        cumulative = rest / np.exp(arm * effect)
    time = cumulative ** (1 / 1.3)
    rate = 0.9 if case.variant == "60 % censored" else 3.0
    last = np.minimum(generator.exponential(rate, case.n), generator.uniform(1.5, 3.0, case.n))
    observed, event = np.minimum(time, last), time <= last
    X = pd.DataFrame(x).add_prefix("x")
    index = CoxRidge(seed=1).fit(X, survival_outcome(observed, event)).log_hazard(X)
    asked = {"cells": cell, "offset": index, "permutations": PERMUTATIONS, "seed": int(generator.integers(2**31))}
    return heterogeneity_test(observed, event, arm, x, list(X.columns), **asked).p


def outcome_p(case: Case, generator: np.random.Generator) -> float:
    """Return the p-value of one trial with a continuous or binary outcome."""
    x, prognosis, cell, arm = baseline(case, generator)
    X, binary = pd.DataFrame(x).add_prefix("x"), case.scale == "risk difference"
    if binary:
        # Risks of .1 to .6 in the control arm, so that a difference up to .3 is the same for everybody.
        chance = 0.1 + 0.5 / (1 + np.exp(-2 * prognosis)) + arm * np.clip(effect_on(case.scenario, x, 0.15), -0.1, 0.4)
        outcome = generator.random(case.n) < chance
        expected = LogisticRidge(seed=1).fit(X, outcome).risk(X)
    else:
        noise = generator.exponential(size=case.n) - 1 if case.variant == "skewed" else generator.normal(size=case.n)
        spread = np.where(arm & ("noise doubled" in case.variant), 2.0, 1.0)
        outcome = prognosis + arm * effect_on(case.scenario, x, 0.3) + spread * noise
        expected = LinearRidge().fit(X, outcome).predict(X)
    asked = {"cells": cell, "expected": expected, "permutations": PERMUTATIONS, "seed": int(generator.integers(2**31))}
    return outcome_heterogeneity_test(outcome, arm, x, list(X.columns), binary=binary, **asked).p


def shard(case: Case, place: int) -> dict[str, object]:
    """Return the rejections of 100 trials, whose seeds follow from the case and the shard's place alone."""
    began = clock.perf_counter()
    generator = np.random.default_rng([zlib.crc32("/".join(map(str, case)).encode()), place])
    p_value = survival_p if case.scale == "hazard ratio" else outcome_p
    rejected = sum(p_value(case, generator) <= LEVEL for _ in range(SHARD))
    seconds = round(clock.perf_counter() - began, 2)
    return {**case._asdict(), "shard": place, "trials": SHARD, "rejected": rejected, "seconds": seconds}


def stored() -> list[dict[str, object]]:
    """Return the shards that were done before."""
    return [json.loads(line) for line in STORE.read_text().splitlines()] if STORE.exists() else []


def work(size: int, power: int, minutes: float, processes: int) -> None:
    """Do what is missing, the first shards of every case first, until the time is over."""
    wanted = [
        (case, place)
        for place in range(max(size, power) // SHARD)
        # The dear ones last, so that a short run leaves few rows empty.
        for case in sorted(cases(), key=lambda case: ("p = 100" in case.variant, case.n))
        if place < (size if case.is_null else power) // SHARD
    ]
    have = {(Case(row["scale"], row["scenario"], row["n"], row["variant"]), row["shard"]) for row in stored()}
    wanted, stop = [one for one in wanted if one not in have], clock.monotonic() + 60 * minutes
    rounds = [wanted[first : first + processes] for first in range(0, len(wanted), processes)]
    with Parallel(n_jobs=processes) as parallel:
        for round_ in rounds:
            if clock.monotonic() > stop:
                break
            rows = parallel(delayed(shard)(*one) for one in round_)
            with STORE.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)


def table() -> None:
    """Print size and power from the shards that are done."""
    done = pd.DataFrame(stored()).groupby(["scale", "scenario", "n", "variant"])[["trials", "rejected"]].sum()
    rows = [(case, *done.loc[tuple(case)]) for case in cases() if tuple(case) in done.index]
    nulls = sum(case.is_null for case, *_ in rows)
    print(f"Python {platform.python_version()}, numpy {version('numpy')}, scipy {version('scipy')}")
    print(
        f"Nominal 5 %, {PERMUTATIONS} permutations; Monte Carlo errors in brackets; the 99 % band holds for all {nulls} sizes at once"
    )
    for title, null in (("Size", True), ("Power", False)):
        print(f"\n{title}\n{'scale':<16} {'':<3} {'n':>5} {'trials':>6} {'rejected':>15}  {'band':<15} variant")
        for case, trials, rejected in (row for row in rows if row[0].is_null == null):
            share = rejected / trials
            error = np.sqrt(share * (1 - share) / trials)
            low, high = binom.ppf([0.005 / nulls, 1 - 0.005 / nulls], trials, LEVEL) / trials
            band = f"{low:.3f} to {high:.3f}" + ("" if low <= share <= high else " OUT") if null else ""
            before = PUBLISHED.get((case.scale, case.scenario, case.n)) if not case.variant else None
            note = case.variant or (f"measured while designing {before:.3f}" if before is not None else "")
            print(
                f"{case.scale:<16} {case.scenario:<3} {case.n:>5} {trials:>6} {share:>7.4f} ({error:.4f})  {band:<15} {note}"
            )


if __name__ == "__main__":
    given = [float(one) for one in sys.argv[1:]] + [4000, 1000, 1e9, 2][len(sys.argv) - 1 :]
    work(int(given[0]), int(given[1]), given[2], int(given[3]))
    table()

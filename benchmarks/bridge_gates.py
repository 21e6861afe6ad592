"""Would another gate make the bridge better? The trials of `bridge.py` decided again by other gates, from their evidence.

For the seeds that stand in `cells/bridge` the evidence of both cuts is learned again (the p-value of the global test is read), every option is
judged, and what comes of it under the truth is stored in `cells/bridge_gates.jsonl`: a gate is then a rule on stored numbers. Where nothing is to be found only
trials with p below 0.6 are learned again; the others count as all comers, which flatters a gate that asks nothing of p. The first gate is the default: its figures are those of
`bridge.txt`, which checks the re-deciding.

Run: python benchmarks/bridge_gates.py [--hours .4] > benchmarks/bridge_gates.txt
"""

from __future__ import annotations

import argparse
import json
import math
import time
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bridge import (
    CUTS,
    ECONOMIES,
    FOLDER,
    FOLDS,
    MINIMUM,
    SCENARIOS,
    TAU,
    StratumOutcomes,
    _evidence,
    all_comers,
    cells,
    crossfit_scores,
    judged,
    outcome_model,
    pool,
    setting,
    trial,
    truth_of,
)
from shards import read_shard

from trialml.design.judged_options import judged_options, useless_claims
from trialml.errors import AnalysisError
from trialml.models.ridge_scores import RidgeScores

STORED = Path(__file__).parent / "cells" / "bridge_gates.jsonl"
CELLS = ("A1-1000", "A2-1000", "A3-1000", "N1-500", "N1-1000", "N3-1000")
LARGEST_P = 0.6
"""Of trials with nothing to find that are learned again."""
GATES: dict[str, dict[str, Any]] = {
    "default": {},
    "p below .4": {"level": 0.4},
    "no validation": {"validated": False},
    "p below .4, no validation": {"level": 0.4, "validated": False},
    "weighed by p": {"level": 1.1, "weighed": True, "difference": 0.0},
    "weighed by p, no validation": {"level": 1.1, "weighed": True, "difference": 0.0, "validated": False},
    "none": {"level": 1.1, "difference": 0.0, "validated": False},
}


def learned(scenario: str, n: int, seed: int, p: float) -> dict[str, Any]:
    """Return of one trial every option's net by the posterior, if the model is useless, and in truth, by economy and cut."""
    generator = np.random.default_rng([seed, n, SCENARIOS.index(scenario), 11])
    X, months, event, arm = trial(scenario, n, generator)
    known: dict[str, Any] = {"tau": TAU, "allocation": 0.5, "learner": outcome_model}
    scores = crossfit_scores(X, months, event, arm, folds=FOLDS, seed=seed, **known)
    final = RidgeScores(seed=seed, repeats=2).fit(X, scores)
    own, patients = final.benefit_score(X), pool(scenario)
    ranked = final.benefit_score(pd.DataFrame(patients.x, columns=X.columns))
    found = _evidence(X, StratumOutcomes(months, event, arm, np.full(n, "")), known, seed, p, final)
    row: dict[str, Any] = {"p": p, "passed": found is not None and found.validation.passed}
    for economy in ECONOMIES:
        budget, _, benefit, _ = all_comers(scenario, economy)
        row[economy] = []
        for rule in () if found is None else (found.replaced(other_rules=()), *found.other_rules):
            selected = ranked >= np.quantile(own, CUTS[0] if rule.share < 0.5 else CUTS[1])
            if not 0.02 < selected.mean() < 0.98:
                continue
            try:
                seen = judged_options(rule, setting(economy, budget), draws=128)
            except AnalysisError:
                continue
            true, numbers = truth_of(patients, selected), {}
            for name, net in seen.expected_net().items():
                claims, nodes = useless_claims(seen, name, draws=128, seed=1)
                right, wrong = judged(seen.options[name], true, benefit)
                numbers[name] = [round(one, 5) for one in (net, float(claims.net @ nodes.weight), right - wrong)]
            row[economy].append({"difference": round(rule.difference_probability, 5), "options": numbers})
    return row


def won(
    row: dict[str, Any], economy: str, base: float, *, level: float = 0.2, difference: float = 0.5, validated: bool = True, weighed: bool = False
) -> float:  # fmt: skip
    """Return what a gate wins over all comers in truth; `weighed` has no gate on p, but a probability that nobody differs.

    That probability begins at one half and moves by the bound ``-e p log p`` of the Bayes factor (Sellke, Bayarri and Berger 2001).
    """
    factor = -math.e * row["p"] * math.log(row["p"]) if row["p"] < 1 / math.e else 1.0
    doubt = factor / (1 + factor) if weighed else 0.0
    best, gain = -math.inf, 0.0
    for cut in row[economy]:
        if row["p"] >= level or cut["difference"] < difference or (validated and not row["passed"]):
            continue
        nets = {name: doubt * two[1] + (1 - doubt) * two[0] for name, two in cut["options"].items()}
        name = next(one for one, net in nets.items() if net >= max(nets.values()) - 1e-9)
        if nets[name] > best:
            best, gain = nets[name], 0.0 if name == "all comers" else cut["options"][name][2] - base
    return gain


def table(economy: str, rows: dict[tuple[str, int], dict[str, Any]]) -> pd.DataFrame:
    """Return points over all comers by gate, with Monte Carlo errors, and those of naive enrichment in the same trials."""
    shown = []
    for cell in CELLS:
        scenario, n = cells()[cell]
        _, power, benefit, _ = all_comers(scenario, economy)
        base = power if benefit >= -math.log(MINIMUM) else -power
        shard = {row["seed"]: row for row in read_shard(FOLDER, cell)}
        # Up to the first that is still to be learned: trials that count as all comers must not stand for those after it.
        seeds = list(takewhile(lambda s: (cell, s) in rows or not _wanted(cell, shard[s]["p"]), shard))  # noqa: B023
        one = {"scenario": scenario, "n": n, "trials": len(seeds)}
        for name, gate in GATES.items():
            gains = [won(rows[cell, s], economy, base, **gate) if (cell, s) in rows else 0.0 for s in seeds]
            one[name] = _with_error(gains)
        one["naive"] = _with_error(
            [shard[s][economy]["naive"][1] - shard[s][economy]["naive"][2] - base for s in seeds]
        )
        shown.append(one)
    return pd.DataFrame(shown)


def _wanted(cell: str, p: float) -> bool:
    return p < LARGEST_P or cell.startswith("A")


def _with_error(gains: list[float]) -> str:
    points = 100 * np.array(gains)
    return f"{points.mean():.1f} ({points.std(ddof=1) / len(points) ** 0.5:.2f})"


def main() -> None:
    """Learn what is wanted and not stored yet, as long as there is time, then print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=0.0)
    until = time.monotonic() + 3600 * parser.parse_args().hours
    lines = STORED.read_text(encoding="utf-8").splitlines() if STORED.exists() else []
    rows = {(row["cell"], row["seed"]): row for row in map(json.loads, lines)}
    wanted = [[(cell, row) for row in read_shard(FOLDER, cell) if _wanted(cell, row["p"])] for cell in CELLS]
    for found in (one for batch in zip_longest(*wanted) for one in batch if one is not None):
        cell, row = found
        if (cell, row["seed"]) in rows or time.monotonic() > until:
            continue
        made = {"cell": cell, "seed": row["seed"], **learned(*cells()[cell], row["seed"], row["p"])}
        rows[cell, row["seed"]] = made
        with STORED.open("a", encoding="utf-8") as file:
            file.write(json.dumps(made) + "\n")
    print(
        "points of right conclusions less false claims over all comers at equal budget; Monte Carlo errors in brackets"
    )
    for economy in ECONOMIES:
        print(f"\n{economy}\n\n{table(economy, rows).to_string(index=False)}")


if __name__ == "__main__":
    main()

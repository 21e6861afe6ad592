"""How often a run declares a subgroup where there is none: ACTG 175 permuted, and with a constant effect planted.

python benchmarks/null_trials.py 200 > benchmarks/null_trials.txt

Each trial goes through a whole quick run. What is done stands in benchmarks/null_trials.jsonl, so that a run that was cut
off goes on where it stopped.
"""

import json
import sys
import time
from pathlib import Path

import pandas as pd

import trialml
from trialml import read_study
from trialml.null_trials import NullTrials, analyse_null_trials

HERE = Path(__file__).parent
STORE = HERE / "null_trials.jsonl"
KINDS = {"permuted": (1.0, 1751), "planted": (0.6, 1752)}


def done():
    """Return the trials that are stored, by kind."""
    lines = STORE.read_text(encoding="utf-8").splitlines() if STORE.exists() else []
    found = {kind: [] for kind in KINDS}
    for line in lines:
        row = json.loads(line)
        found[row.pop("kind")].append(row)
    return found


def main():
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    study = read_study(HERE.parent / "examples" / "actg175" / "study.toml")
    start, made = time.perf_counter(), 0
    for number in range(wanted):
        for kind, (ratio, seed) in KINDS.items():
            if number < len(done()[kind]):
                continue
            found = analyse_null_trials(study, 1, hazard_ratio=ratio, seed=seed, first=number)
            row = found.trials.iloc[0]
            with STORE.open("a", encoding="utf-8") as store:
                answer = {
                    "kind": kind,
                    "p": float(row.p),
                    "declared": bool(row.declared),
                    "enriched": bool(row.enriched),
                }
                store.write(json.dumps(answer) + "\n")
            made += 1
    print(
        f"Python {sys.version.split()[0]}, trialml {trialml.__version__}; a declared subgroup is a p below 5 % of the global test"
    )
    if made:
        print(f"{made} runs now, {(time.perf_counter() - start) / made:.1f} s each")
    for kind, rows in done().items():
        result = NullTrials(pd.DataFrame(rows[:wanted]), KINDS[kind][0], study.study.name)
        print(result.text())


if __name__ == "__main__":
    main()

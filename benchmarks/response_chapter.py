"""How long the response chapter of a run takes: 2,000 patients, 20 covariates, the default repeats.

python benchmarks/response_chapter.py > benchmarks/response_chapter.txt

The global test of heterogeneity, the repeated doubly robust scores, the response model and its cross-validation, strata and
their effects, targeting curve and policy value; without the bootstrap of the strata.
"""

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from response_trials import trial
from threadpoolctl import threadpool_limits

import trialml
from trialml import read_study
from trialml.analysis import Analysis, Watcher
from trialml.comparing import compare
from trialml.following import follow
from trialml.learning import Learning
from trialml.study import look_at_data

N = 2000

STUDY = """
[study]
name = "INVENTED"
title = "An invented trial"
seed = 1

[estimand]
population = "Adults, as randomised"
treatment = "Assignment to the new drug against the old"
variable = "Time from randomisation to progression"
intercurrent_events = "Treatment policy"
summary = "Hazard ratio"

[data]
source = "trial.csv"
subject = "subject"

[treatment]
column = "arm"
control = "old"
experimental = "new"

[[endpoints]]
name = "progression"
label = "Progression"
kind = "time to event"
time = "time"
event = "event"
unit = "years"
horizon = 1.0
tau = 1.5

[covariates]
numeric = [{names}]

[design]
screened_per_month = 20
"""


def main():
    X, times, event, arm = trial("A2 effect linear in a marker", N, np.random.default_rng(1))[:4]
    X = X.rename(columns=lambda name: f"covariate_{name}")
    with tempfile.TemporaryDirectory() as folder:
        table = X.assign(
            subject=np.arange(10_001, 10_001 + N), arm=np.where(arm, "new", "old"), time=times, event=event.astype(int)
        )
        table.to_csv(Path(folder) / "trial.csv", index=False)
        path = Path(folder) / "study.toml"
        path.write_text(STUDY.replace("{names}", ", ".join(f'"{name}"' for name in X.columns)), encoding="utf-8")
        study = read_study(path)
        print(f"Python {sys.version.split()[0]}, trialml {trialml.__version__}, {platform.machine()}, {os.cpu_count()} cores, "
              f"load {os.getloadavg()[0]:.1f} at the start")  # fmt: skip
        look = look_at_data(study)
        walls, used = [], []
        with threadpool_limits(1):
            for _ in range(3):
                analysis = Analysis(study, look.trial, quick=False, watcher=Watcher())
                follow(analysis)
                compare(analysis, look.quality)
                learning = Learning(analysis, look.quality)
                start, process = time.perf_counter(), time.process_time()
                learning.learn_response(learning.ask_heterogeneity())
                walls.append(time.perf_counter() - start)
                used.append(time.process_time() - process)
        asked = study.models.response
        print(f"{N} patients, {X.shape[1]} covariates, {int(event.sum())} events; {asked.model}, {asked.folds} folds, {asked.repeats} repeats, "
              f"{asked.permutations} permutations")  # fmt: skip
        print(
            f"the response chapter: median {np.median(walls):.1f} s of three ({np.median(used):.1f} s of this process)"
        )


if __name__ == "__main__":
    main()

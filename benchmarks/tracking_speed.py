"""Time to track a run, and to list 100 and 1,000 of them, in a local store; wall and processor time."""

import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from trialml.analysis import Watcher
from trialml.config import read_study
from trialml.publish import _run, prepare_output, publish
from trialml.study import analyse
from trialml.tracking import runs as runs_module
from trialml.tracking.runs import list_runs
from trialml.tracking.store import open_store
from trialml.tracking.versions import list_versions
from trialml.wording import run_verdicts

STUDY = Path(__file__).parents[1] / "examples" / "actg175" / "study.toml"


def timed(words, called, repeats=5):
    """Print the median of several calls, and the processor time of the same."""
    took = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        called()
        took.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = sorted(took)[repeats // 2]
    print(f"{words:<56} {wall:7.2f} s   {processor:7.2f} s", flush=True)


def add_runs(store, like, experiment_id, count):
    """Add runs with the parameters, metrics and tags of a real one, and a version each."""
    from mlflow.entities import Metric, Param, RunTag

    run, now = store.client.get_run(like.run_id), int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in run.data.metrics.items()]
    params = [Param(name, value) for name, value in run.data.params.items()]
    tags = [RunTag(name, value) for name, value in run.data.tags.items()]
    found = store.client.get_model_version(like.model_name, like.model_version)
    for _ in range(count):
        made = store.client.create_run(experiment_id).info.run_id
        for start in range(0, len(metrics), 100):
            store.client.log_batch(made, metrics[start : start + 100])
        store.client.log_batch(made, params=params, tags=tags)
        store.client.set_terminated(made, "FINISHED")
        store.client.create_model_version(
            like.model_name, found.source, made, tags=dict(found.tags), description=found.description
        )


def main():
    print(f"Python {platform.python_version()}, mlflow {version('mlflow')}, trialml {version('trialml')}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        prepare_output(out)
        analysis = analyse(read_study(STUDY), quick=True, watcher=Watcher())
        published = publish(analysis, out, ["trialml", "run"])
        said = run_verdicts(analysis)
        runs = [_run(analysis, published, subject, said) for subject in ("risk", "response")]
        print(f"{'':<56} {'wall':>9}   {'processor':>9}")
        timed("import of MLflow and a new store (first use)", lambda: open_store(out), 1)
        store = open_store(out)
        links = [store.track(run) for run in runs]
        timed("tracking a run of ACTG 175, risk (target 3 s)", lambda: store.track(runs[0]))
        timed("tracking a run of ACTG 175, response (target 3 s)", lambda: store.track(runs[1]))
        name = links[0].model_name
        for count, target in ((100, 0.5), (1000, 4)):
            there = len(list_versions(store.client, name))
            add_runs(store, links[0], links[0].experiment_id, count - there)
            listed = len(list_versions(store.client, name))
            timed(
                f"listing {listed} versions with aliases (target {target} s)", lambda: list_versions(store.client, name)
            )
            listed = len(list_runs(store))
            timed(f"listing {listed} runs (target {target} s)", lambda: list_runs(store))
            timed("the same by MLflow's search, with 130 metrics each", lambda: list(runs_module._runs(store)), 3)


main()

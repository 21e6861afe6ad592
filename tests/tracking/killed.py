"""Tracks runs in processes that kill themselves after a number of calls of MLflow, or are killed by the caller.

Usage: killed.py OUT CALLS..., one process each; or killed.py OUT for ever.
"""

import os
import signal
import sys
import time
from pathlib import Path

import mlflow
import mlflow.pyfunc

from trialml.tracking.records import Dataset, ModelInput, ModelVersion, TrackedRun
from trialml.tracking.store import open_store

OUT = Path(sys.argv[1])
REPORT = OUT / "report.html"


def write(folder):
    (folder / "stratifier.json").write_text('{"threshold": 1}\n' * 2000)


def run(name):
    model = ModelVersion(
        "KILLED-risk", write, "json", [ModelInput("age", "any", True)], [("risk", "double")], requirements=["numpy"]
    )
    data = Dataset("KILLED", "f", "a" * 64, 1, 1)
    return TrackedRun(
        "KILLED/risk", name, "PASS", {}, {"trialml.kind": "risk"}, [], data, model, {"report/index.html": REPORT}
    )


def die_after(calls):
    """Kill this process before the call of that number that writes to the store."""
    left = [calls]
    for name in dir(mlflow.MlflowClient):
        if name.startswith(("create_", "log_", "set_", "finalize_")):
            made = getattr(mlflow.MlflowClient, name)

            def counted(*given, made=made, **more):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return made(*given, **more)

            setattr(mlflow.MlflowClient, name, counted)


def main():
    REPORT.write_text("<html>" + "<p>line</p>" * 20000 + "</html>")
    if len(sys.argv) == 2:
        store, number = open_store(OUT), 0
        while True:
            began = time.monotonic()
            store.track(run(f"endless-{number}"))
            print(time.monotonic() - began, flush=True)
            number += 1
    for calls in map(int, sys.argv[2:]):
        child = os.fork()
        if child == 0:
            die_after(calls)
            open_store(OUT).track(run(f"after-{calls}"))
            os._exit(0)
        os.waitpid(child, 0)


main()

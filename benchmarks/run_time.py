"""Where the time of a whole run goes: wall and processor time by stage, peak memory, each run in a process of its own.

python benchmarks/run_time.py [STUDY.toml] > benchmarks/run_time.txt
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 3
PACKAGES = ("trialml", "numpy", "pandas", "scipy", "scikit-learn", "shap", "matplotlib", "mlflow")
EXAMPLE = Path(__file__).parents[1] / "examples" / "actg175" / "study.toml"


def peak_megabytes() -> float:
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


class Stages:
    """Wall and processor seconds by stage, in the order of first use, and the peak of memory at the end of each."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self.peak: dict[str, float] = {}
        self.last, self.used = time.perf_counter(), time.process_time()

    def end(self, stage: str) -> None:
        now, used = time.perf_counter(), time.process_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.last
        self.processor[stage] = self.processor.get(stage, 0.0) + used - self.used
        self.peak[stage] = peak_megabytes()
        self.last, self.used = now, used


def run_once(study_file: Path) -> None:
    stages = Stages()
    from trialml.analysis import Watcher
    from trialml.config import read_study
    from trialml.publish import publish, track
    from trialml.study import analyse

    class Clock(Watcher):
        def told(self, result):
            stages.end(f"chapter {result.chapter}: the rest")

        @contextlib.contextmanager
        def step(self, words, total):  # noqa: ARG002  (the name is the Watcher's)
            stages.end("between steps")
            yield lambda: None
            stages.end(words)

    stages.end("imports")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        analysis = analyse(read_study(study_file), watcher=Clock())
        stages.end("between steps")
        published = publish(analysis, out, ["trialml", "run", study_file.name])
        stages.end("report")
        track(analysis, published, out, None)
        stages.end("tracking")
    print(json.dumps({"seconds": stages.seconds, "processor": stages.processor, "peak": stages.peak}))


def timed(command: list[str]) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def main(study_file: Path) -> None:
    runs, walls, load = [], [], os.getloadavg()[0]
    for _ in range(RUNS):
        wall, said = timed([sys.executable, __file__, "--once", str(study_file)])
        walls.append(wall)
        runs.append(json.loads(said.strip().splitlines()[-1]))
    helps = [timed([sys.executable, "-m", "trialml", "--help"])[0] for _ in range(5)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"The whole run of {study_file.parent.name}/{study_file.name}, {RUNS} times, each in a process of its own")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; {versions}")
    print(f"Load of the machine before and after: {load:.1f} and {os.getloadavg()[0]:.1f} (1 is the run itself)")
    print()
    print(f"{'stage':<32}{'median s':>10}{'least s':>10}{'most s':>10}{'CPU s':>10}{'peak MB':>10}")
    for stage in runs[0]["seconds"]:
        seconds = [run["seconds"].get(stage, 0.0) for run in runs]
        peak = max(run["peak"].get(stage, 0.0) for run in runs)
        processor = statistics.median(run["processor"].get(stage, 0.0) for run in runs)
        figures = (statistics.median(seconds), min(seconds), max(seconds), processor)
        print(f"{stage:<32}" + "".join(f"{value:>10.2f}" for value in figures) + f"{peak:>10.0f}")
    peak = max(max(run["peak"].values()) for run in runs)
    processor = statistics.median(sum(run["processor"].values()) for run in runs)
    figures = (statistics.median(walls), min(walls), max(walls), processor)
    print(f"{'the whole process':<32}" + "".join(f"{value:>10.2f}" for value in figures) + f"{peak:>10.0f}")
    print()
    print(f"trialml --help: median {statistics.median(helps):.3f} s, most {max(helps):.3f} s, of {len(helps)}")


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--once"]:
        run_once(Path(words[1]))
    else:
        main(Path(words[0]) if words else EXAMPLE)

"""How long it takes, and how much memory, to read large text files: one million patients, and two gigabytes.

Each reading is done in a process of its own, whose peak resident memory the operating system reports. Run:

    python benchmarks/large_files.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

ROWS = 200_000
COLUMNS = 22

READ = """
import json, resource, sys, time
from pathlib import Path
from trialml.data.read import read_table
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.trial import build_trial
from trialml.data.analysis_set import analysis_set

path, columns, roles = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "trial"
started = time.perf_counter()
table = read_table(path.name, path.parent, columns=columns)
read = time.perf_counter() - started
rows, kept = table.frame.shape
if roles:
    names = [f"x{place}" for place in range(10)]
    covariates = tuple(Covariate(name, "numeric", name) for name in names) + tuple(
        Covariate(f"c{place}", "categorical", f"c{place}") for place in range(6)
    )
    endpoint = Endpoint("e", "Event", "days", "event", "days", 300.0, 300.0)
    trial = build_trial(table, name="BIG", subject="id", endpoint=endpoint, covariates=covariates,
                        treatment=Treatment("arm", "old", "new", (), {}, 0.5, ("region",)))
    analysis_set(trial)
print(json.dumps({"rows": rows, "columns": kept, "read_s": read, "all_s": time.perf_counter() - started,
                  "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2}))
"""


def block(start, rows, draw):
    """Return some rows of an invented trial as CSV text."""
    number = np.arange(start, start + rows)
    lines = {
        "id": np.char.add("PATIENT-", np.char.zfill(number.astype(str), 9)),
        "arm": draw.choice(["old", "new"], rows),
        "region": draw.choice(["north", "south", "east"], rows),
        "days": draw.integers(1, 900, rows).astype(str),
        "event": draw.integers(0, 2, rows).astype(str),
    }
    lines |= {f"x{place}": np.round(draw.normal(0, 1, rows), 4).astype(str) for place in range(10)}
    lines |= {f"c{place}": draw.choice(["mild", "moderate", "severe", ""], rows) for place in range(6)}
    lines["note"] = np.char.add("visit of ", number.astype(str))
    values = list(lines.values())
    return list(lines), "\n".join(",".join(row) for row in zip(*values, strict=True)) + "\n"


def write(path, *, patients=None, gigabytes=None, quoted=False):
    """Write rows until there are enough, never holding more than a block."""
    draw = np.random.default_rng(1)
    with path.open("w", encoding="utf-8") as stream:
        heading, _ = block(0, 2, np.random.default_rng(0))
        stream.write(",".join(f'"{name}"' if quoted else name for name in heading) + "\n")
        done = 0
        while (patients is not None and done < patients) or (
            gigabytes is not None and stream.tell() < gigabytes * 1024**3
        ):
            rows = ROWS if patients is None else min(ROWS, patients - done)
            stream.write(block(done, rows, draw)[1])
            done += rows
    return path.stat().st_size


def measure(path, columns, *, roles):
    words = [sys.executable, "-c", READ, str(path), json.dumps(columns), "trial" if roles else "table"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip().splitlines()[-1]}


def show(words, size, found):
    if "error" in found:
        print(f"{words:<66} {size / 1024**3:5.2f} GB  {found['error']}")
        return
    print(
        f"{words:<66} {size / 1024**3:5.2f} GB  {found['rows']:>11,} x {found['columns']:<2}  read {found['read_s']:6.1f} s  "
        f"all {found['all_s']:6.1f} s  peak {found['peak_gb']:4.2f} GB"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    part = 10 if parser.parse_args().quick else 1
    print(f"Python {platform.python_version()}, pandas {pd.__version__}, pyarrow {pa.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.csv"
        needed = ["id", "arm", "region", "days", "event", *(f"x{k}" for k in range(10)), *(f"c{k}" for k in range(6))]
        size = write(path, patients=1_000_000 // part)
        show("one million patients, read and given their roles", size, measure(path, needed, roles=True))
        show("the same, every column kept", size, measure(path, None, roles=False))
        size = write(path, patients=1_000_000 // part, quoted=True)
        show("the same with quotes (the exact reader), with roles", size, measure(path, needed, roles=True))
        size = write(path, gigabytes=2 / part)
        show("two gigabytes, the 6 columns of a small study", size, measure(path, needed[:6], roles=False))
        show("two gigabytes, every column kept", size, measure(path, None, roles=False))
        with path.open("a", encoding="utf-8") as stream:
            stream.write("one,value,too,few\n")
        show("two gigabytes whose last row is ragged", size, measure(path, needed[:6], roles=False))


if __name__ == "__main__":
    main()

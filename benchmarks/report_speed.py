"""How long a report takes from its stored results, by format: `python benchmarks/report_speed.py results/ACTG175-.../results.json`."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROUNDS = 3
ONE = """
import json, sys, time
begun = time.perf_counter(), time.process_time()
from pathlib import Path
from trialml.report.document import Document
from trialml.report.formats import write_formats
document = Document.from_dict(json.loads(Path(sys.argv[1]).read_text()))
read = time.perf_counter() - begun[0]
paths = write_formats(document, Path(sys.argv[2]), sys.argv[3].split(","))
print(json.dumps([time.perf_counter() - begun[0], time.process_time() - begun[1], read, max(p.stat().st_size for p in paths.values())]))
"""


def main(stored: Path) -> None:
    told = json.loads(stored.read_text())
    results = sum(len(chapter["results"]) for chapter in told["chapters"])
    print("A report written from its stored results, each time in a process of its own; medians, least and most")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    print(", ".join(f"{name} {version(name)}" for name in ("trialml", "matplotlib", "jinja2", "typst", "python-docx")))
    print(f"{results} results of {told['study']}\n")
    for formats in ("html", "html,pdf", "html,pdf,docx"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", ONE, str(stored), folder, formats]
            done = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(ROUNDS)]
        wall, busy, read = ([row[place] for row in done] for place in (0, 1, 2))
        print(
            f"{formats:<15} {statistics.median(wall):5.1f} s ({min(wall):.1f} to {max(wall):.1f}), of the processor "
            f"{statistics.median(busy):.1f} s; imports and reading {statistics.median(read):.1f} s of it; largest file {done[0][3] / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

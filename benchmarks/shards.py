"""Simulations that resume where they stopped: one JSON lines file a cell, one line a replication."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trialml.errors import AnalysisError

Row = dict[str, Any]


def read_shard(folder: Path, cell: str) -> list[Row]:
    """Return the replications of a cell in the order of their seeds; a line that was cut off is left out."""
    path = folder / f"{cell}.jsonl"
    rows: dict[int, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["seed"]] = row
    return [rows[seed] for seed in sorted(rows)]


def run_shards(
    cells: dict[str, tuple[Any, ...]],
    replicate: Callable[..., Row],
    folder: Path,
    *,
    replications: int,
    hours: float,
    jobs: int = 2,
) -> None:
    """Add replications to the shards until each has as many as asked for, or the time is over.

    Parameters
    ----------
    cells
        Arguments of `replicate` by the cell's name, which is a file's name.
    replicate
        Given these and a seed, returns what is kept of one replication, as plain JSON types. A trial that the program
        refuses to analyse is kept as such (`refused`), with the reason.
    folder
        Of the shards.
    replications
        Wanted in each cell. Cells grow together, so that a run that is stopped has about as many of each.
    hours
        No replication begins after this time.
    jobs
        Processes.
    """
    from joblib import Parallel, delayed

    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 3600 * hours
    work = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
    for cell, seed, row in work(delayed(_one)(replicate, *task) for task in _tasks(cells, folder, replications, end)):
        with (folder / f"{cell}.jsonl").open("a", encoding="utf-8") as shard:
            shard.write(json.dumps({"seed": seed, **row}) + "\n")


def _tasks(
    cells: dict[str, tuple[Any, ...]], folder: Path, replications: int, end: float
) -> Iterator[tuple[str, int, tuple[Any, ...]]]:
    done = {cell: {row["seed"] for row in read_shard(folder, cell)} for cell in cells}
    for seed in range(replications):
        for cell, arguments in cells.items():
            if seed in done[cell]:
                continue
            if time.monotonic() > end:
                return
            yield cell, seed, arguments


def _one(replicate: Callable[..., Row], cell: str, seed: int, arguments: tuple[Any, ...]) -> tuple[str, int, Row]:
    try:
        return cell, seed, replicate(*arguments, seed)
    except AnalysisError as error:
        return cell, seed, {"refused": str(error)}


def analysed(rows: list[Row]) -> list[Row]:
    """Return the replications that were not refused."""
    return [row for row in rows if "refused" not in row]


def refused_words(folder: Path) -> str:
    """Return how many replications of which cells were refused, in words; empty where none was."""
    count = {
        path.stem: sum("refused" in row for row in read_shard(folder, path.stem)) for path in folder.glob("*.jsonl")
    }
    some = [f"{number} of {cell}" for cell, number in sorted(count.items()) if number]
    return f"refused by the program and left out: {', '.join(some)}" if some else ""

"""The verbs that put a model to use on new patients: a file scored, and a server that scores."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialml.errors import ModelInputError
from trialml.terminal import say

if TYPE_CHECKING:
    from trialml.scoring import Scored
    from trialml.stratifier import Stratifier

__all__ = [
    "SCORING_VERBS",
    "ModelInUse",
    "add_model_options",
    "add_scheduler_option",
    "add_scoring_verbs",
    "model_in_use",
]

_MODEL = "models:/NAME@champion, models:/NAME/VERSION, or a model's folder"
_MOST_REASONS = 12


@dataclass(frozen=True)
class ModelInUse:
    """A model that was asked for, and where it came from: of a folder the last two are empty."""

    stratifier: Stratifier
    folder: Path
    name: str = ""
    version: str = ""
    run_id: str = ""

    @property
    def words(self) -> str:
        """What it is called: name and version, or the study's name."""
        return f"{self.name} version {self.version}" if self.name else f"{self.stratifier.study} (a folder)"


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the model and what says where it is registered."""
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument(
        "--store", type=Path, default=Path("results"), metavar="DIR",
        help="output folder of the run that registered it (default: results)",
    )  # fmt: skip
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow tracking server or database instead")


def add_scheduler_option(parser: Any) -> None:
    """Add the address of a Dask cluster."""
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="scheduler of a Dask cluster that does the work, tcp://host:port"
    )


def add_scoring_verbs(verbs: Any) -> None:
    """Add the parsers of the verbs to the command's."""
    predict = verbs.add_parser(
        "predict",
        help="score a file of patients with a model",
        epilog="Rows come out in their order, in the same bits for any number of workers and any size of block.",
    )
    add_model_options(predict)
    predict.add_argument("data", metavar="DATA", help="patients, one a row: CSV, Parquet or SAS transport (.xpt)")
    predict.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="file to write, .csv or .parquet; it must not exist yet"
    )
    predict.add_argument("--id", metavar="COL", help="column that is carried through; no other is")
    predict.add_argument("--horizon", type=float, metavar="N", help="read the risk at another horizon")
    predict.add_argument("--workers", type=int, default=-1, metavar="N", help="processes (default: one a core)")
    predict.add_argument(
        "--block-rows",
        type=int,
        default=65536,
        metavar="N",
        help="rows that a process takes at a time (default: 65536)",
    )
    add_scheduler_option(predict)
    serve = verbs.add_parser(
        "serve",
        help="answer over HTTP with a model, by MLflow's scoring server",
        epilog="POST JSON to /invocations as MLflow documents it; a refused row has null for a number and says why.",
    )
    add_model_options(serve)
    serve.add_argument("--port", type=int, default=5001, metavar="N", help="port to listen on (default: 5001)")
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )


@contextmanager
def model_in_use(asked: argparse.Namespace) -> Iterator[ModelInUse]:
    """Find the model that was asked for, for as long as it is used.

    Raises
    ------
    TrialmlError
        If there is none, or its file was changed after it was written or registered.
    """
    from trialml.stratifier import Stratifier

    folder = Path(asked.model)
    if not asked.model.startswith("models:") and folder.exists():
        yield ModelInUse(Stratifier.read(folder), folder)
        return
    from trialml.tracking.loading import fetch_model
    from trialml.tracking.store import existing_store

    uri = asked.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    store = existing_store(asked.store, uri)
    with tempfile.TemporaryDirectory(prefix="trialml-") as fetched:
        found = fetch_model(store, asked.model, Path(fetched))
        version = found.version
        yield ModelInUse(Stratifier.read(found.folder), found.folder, version.name, version.version, version.run_id)


def predict(asked: argparse.Namespace, console: Any) -> int:
    """Score a file of patients."""
    from trialml.scoring import score_file
    from trialml.validation.parallel import on_cluster

    if asked.workers == 0 or asked.workers < -1 or asked.block_rows < 1:
        raise ModelInputError(
            f"--workers {asked.workers} with --block-rows {asked.block_rows} will not do: give at least 1 of each, or -1 workers for "
            "every core."
        )
    with model_in_use(asked) as model, on_cluster(asked.scheduler), console.status("Scoring"):
        scored = score_file(
            model.stratifier, asked.data, asked.out, identifier=asked.id, horizon=asked.horizon,
            workers=_workers(asked), block_rows=asked.block_rows,
        )  # fmt: skip
    say(console, f"Model     {model.words}")
    _say_scored(scored, console)
    say(console, f"Written   {asked.out}")
    return 0


def _workers(asked: argparse.Namespace) -> int:
    """Return how many processes: a file that is soon scored is not worth starting several."""
    path = Path(asked.data)
    small = path.is_file() and path.stat().st_size < 8_000_000
    return 1 if asked.workers == -1 and small else int(asked.workers)


def _say_scored(scored: Scored, console: Any) -> None:
    kept = scored.rows - scored.refused_rows
    say(console, f"Scored    {kept:,} of {scored.rows:,} patients; {scored.flagged_rows:,} of them with a flag")
    for title, counts in (("Refused", scored.refused), ("Flags", scored.flags)):
        for place, (words, count) in enumerate(counts.items()):
            if place == _MOST_REASONS:
                say(console, f"          and {len(counts) - place} more reasons, in the file")
                break
            say(console, f"{title if place == 0 else '':<10}{count:,}  {words}")


def serve(asked: argparse.Namespace, console: Any) -> int:
    """Answer over HTTP until interrupted."""
    from trialml.tracking.serving import serve_model

    with model_in_use(asked) as model:
        if asked.host not in ("127.0.0.1", "localhost", "::1"):
            say(console, f"The server has no login: whoever reaches {asked.host} can have patients scored.")
        say(console, f"Model     {model.words}")
        say(console, f"Serving   http://{asked.host}:{asked.port}/invocations, until you press Ctrl-C")
        serve_model(model.folder, asked.host, asked.port)
    return 0


SCORING_VERBS = {"predict": predict, "serve": serve}

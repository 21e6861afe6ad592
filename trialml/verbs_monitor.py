"""The verb that watches a model in use."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from trialml.errors import ModelInputError, TrackingError
from trialml.terminal import one_line, say
from trialml.verbs_scoring import ModelInUse, add_model_options, model_in_use

if TYPE_CHECKING:
    from trialml.monitoring import Monitored, Period
    from trialml.tracking.records import TrackedRun

__all__ = ["MONITOR_VERBS", "add_monitor_verb", "monitor_model"]

_PERIODS = ("month", "quarter", "year")


def add_monitor_verb(verbs: Any) -> None:
    """Add the parser of the verb to the command's."""
    parser = verbs.add_parser(
        "monitor",
        help="compare new patients with training and, with outcomes, say whether to recalibrate",
        epilog="The risk is that under control: name the arm's column where some were given the experimental treatment.",
    )
    add_model_options(parser)
    parser.add_argument("data", metavar="DATA", help="patients, one a row: CSV, Parquet or SAS transport (.xpt)")
    parser.add_argument(
        "--outcome", nargs="+", default=[], metavar="COL",
        help="what happened: follow-up and event (0/1) of a time to event, else one column",
    )  # fmt: skip
    parser.add_argument("--date", metavar="COL", help="date of entry, for performance over calendar time")
    parser.add_argument(
        "--period", choices=_PERIODS, default="quarter", help="what calendar time is cut into (default: quarter)"
    )
    parser.add_argument("--arm", metavar="COL", help="column of the treatment, where not all were given control")
    parser.add_argument("--control", metavar="VALUE", help="its value for control")


def monitor_model(asked: argparse.Namespace, console: Any) -> int:
    """Watch a model, say what was found and track it as a run of its own."""
    from trialml.monitoring import Observations, monitor
    from trialml.tracking.store import open_store
    from trialml.verbs_data import show_table

    if (asked.arm is None) != (asked.control is None):
        raise ModelInputError("--arm and --control go together: give both, or neither.")
    observed = Observations(tuple(asked.outcome), asked.date, cast("Period", asked.period), asked.arm, asked.control)
    with model_in_use(asked) as model, console.status("Comparing"):
        found = monitor(model.stratifier, asked.data, observed)
    for result in found.results:
        say(console, result.heading(), style="cyan")
        say(console, f"  {result.text()}")
        table = result.table()
        if table is not None:
            show_table(table, console)
    uri = asked.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    try:
        asked.store.mkdir(parents=True, exist_ok=True)
        link = open_store(asked.store, uri).track(_run(found, model, asked))
    except (OSError, TrackingError) as error:
        print(f"trialml: what was found is not tracked. {one_line(error)}", file=sys.stderr)  # noqa: T201
        return TrackingError.exit_status
    say(console, f"Tracked   {link.experiment}  run experiments/{link.experiment_id}/runs/{link.run_id}")
    return 0


def _run(found: Monitored, model: ModelInUse, asked: argparse.Namespace) -> TrackedRun:
    from trialml import __version__
    from trialml.tracking.records import Dataset, TrackedRun

    study, source = model.stratifier.study, Path(asked.data)
    sha256 = _digest(source)
    told = [f"- **{result.heading()}.** {result.text()}" for result in found.results]
    contract = model.stratifier.contract
    return TrackedRun(
        experiment=f"{study}/monitoring",
        run_name=f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}",
        description="\n".join([found.verdict.verdict, "", f"Model: {model.words}", "", *told]),
        params={
            "cohort.name": source.name,
            "cohort.n": str(found.patients),
            "cohort.judged": str(found.judged),
            "cohort.events": str(found.events),
            "cohort.sha256": sha256,
            "model.name": model.name or study,
            "model.version": model.version,
            "model.run": model.run_id,
        },
        tags={
            "trialml.kind": "monitoring",
            "trialml.study": study,
            "trialml.cohort": sha256[:12],
            "trialml.review": "pending",
            "trialml.version": __version__,
        },
        results=found.results,
        dataset=Dataset(
            source.name, source.name, sha256, found.patients, found.events, {f.name: f.kind for f in contract.fields}
        ),
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


MONITOR_VERBS = {"monitor": monitor_model}

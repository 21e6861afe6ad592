"""The verbs on tracked runs: compare two, render a report again, close what was killed, send what was kept, erase."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from trialml.errors import StoreError
from trialml.terminal import say
from trialml.verbs_models import add_store_options, address_of, store_of

__all__ = ["RUN_VERBS", "add_run_verbs"]

_RUN = "a run's name, EXPERIMENT/NAME, or its id"


def add_run_verbs(verbs: Any) -> None:
    """Add the parsers of the verbs to the command's."""
    compare = verbs.add_parser(
        "compare",
        help="compare two runs: paired differences where the same patients were in the same folds",
        epilog="Differences are the second run's numbers less the first's.",
    )
    compare.add_argument("first", metavar="RUN", help=_RUN)
    compare.add_argument("second", metavar="RUN", help="another run of the same kind")
    add_store_options(compare)
    report = verbs.add_parser("report", help="render the report of a tracked run again, without fitting anything")
    report.add_argument("run", metavar="RUN", help=_RUN)
    report.add_argument(
        "--to", type=Path, default=Path("report.html"), metavar="FILE", help="file to write (default: report.html)"
    )
    report.add_argument(
        "--format",
        default="html",
        metavar="NAME,NAME",
        help="html, pdf, docx, each with its own ending (default: html)",
    )
    add_store_options(report)
    erase = verbs.add_parser(
        "erase",
        help="erase a run for good: its model versions, models, files and itself",
        epilog="The history of its models keeps that it was erased, and nothing of what it held.",
    )
    erase.add_argument("run", metavar="RUN", help=_RUN)
    erase.add_argument("--yes", action="store_true", help="erase; without it the command says what it would erase")
    erase.add_argument("--who", metavar="NAME", help="who asks for it (default: the name of the login)")
    add_store_options(erase)
    runs = verbs.add_parser("runs", help="mend the list of runs: close killed ones, send kept ones")
    actions = runs.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_store_options(actions.add_parser("sweep", help="close runs whose process is gone"))
    add_store_options(actions.add_parser("sync", help="send the runs that were kept while the store did not answer"))


def compare(asked: argparse.Namespace, console: Any) -> int:
    """Compare two runs."""
    from trialml.comparing_runs import compare_runs
    from trialml.promoting import run_facts
    from trialml.tracking.runs import find_run

    store = store_of(asked)
    first, second = find_run(store, asked.first), find_run(store, asked.second)
    facts = (run_facts(store, first.run_id), run_facts(store, second.run_id))
    found = compare_runs(store, first, second, facts)
    for place, run, one in zip(("First ", "Second"), (first, second), facts, strict=True):
        say(console, f"{place}  {run.experiment}/{run.name}  {one.params.get('model.name', '')}  ({run.run_id})")
    for row in found.rows:
        say(console, row.name, style="cyan")
        say(console, f"  {row.first}  |  {row.second}  |  difference {row.difference}")
        say(console, f"  {row.how}")
    for remark in found.remarks:
        say(console, remark)
    return 0


def report(asked: argparse.Namespace, console: Any) -> int:
    """Render a run's report from what it stored, and say whether it is the same file."""
    from trialml import __version__
    from trialml.report.document import Document
    from trialml.report.formats import parse_formats, write_formats
    from trialml.report.html import write
    from trialml.tracking.runs import find_run
    from trialml.tracking.versions import artifact_text

    formats = parse_formats(asked.format)
    store = store_of(asked)
    run = find_run(store, asked.run)
    stored = artifact_text(store, run.run_id, "report/results.json")
    lineage = json.loads(artifact_text(store, run.run_id, "lineage.json"))
    made_by = str(lineage["software"]["trialml"])
    try:
        document = Document.from_dict(json.loads(stored))
    except Exception as error:
        raise StoreError(
            f"The results of the run {run.words} cannot be read by trialml {__version__} ({type(error).__name__}): use the "
            f"version that stored them, {made_by}."
        ) from error
    if formats == ("html",):
        write(document, asked.to)
        files = {"html": asked.to}
    else:
        files = write_formats(document, asked.to.parent, formats, name=asked.to.stem)
    for path in files.values():
        say(console, f"Report    {path}")
    if "html" not in files:
        return 0
    digest = hashlib.sha256(files["html"].read_bytes()).hexdigest()
    if digest == lineage["report"]["sha256"]:
        say(console, f"          the same file as was tracked (sha256 {digest[:12]}...)")
    else:
        why = f"trialml {made_by} made that one, {__version__} this one"
        say(
            console, f"          the same results; the file differs from the tracked one ({why}, or another matplotlib)"
        )
    return 0


def erase(asked: argparse.Namespace, console: Any) -> int:
    """Erase a run; without --yes say what it would be."""
    from trialml.tracking.process import user_name
    from trialml.tracking.runs import erase as erased
    from trialml.tracking.runs import find_run
    from trialml.tracking.versions import list_versions

    store = store_of(asked)
    run = find_run(store, asked.run)
    if not asked.yes:
        own = [f"{one.name} version {one.version}" for one in list_versions(store.client) if one.run_id == run.run_id]
        say(console, f"Would erase the run {run.words} ({run.run_id}) and {', '.join(own) or 'no version'}.")
        say(console, "Nothing was erased: repeat the command with --yes.")
        return 0
    done = erased(store, run, asked.who or user_name())
    say(console, f"Erased    the run {run.words} ({run.run_id}) and {', '.join(done.versions) or 'no version'}")
    for words in done.left:
        say(console, f"Left      {words}")
    say(console, "Left      the folder of the report that 'trialml run' wrote, backups, and copies made elsewhere")
    return 0


def runs(asked: argparse.Namespace, console: Any) -> int:
    """Close killed runs, or send kept ones."""
    return _sweep(asked, console) if asked.action == "sweep" else _sync(asked, console)


def _sweep(asked: argparse.Namespace, console: Any) -> int:
    from trialml.tracking.runs import sweep

    found = sweep(store_of(asked))
    for one in found:
        taken = f"; taken out: {', '.join(one.versions)}" if one.versions else ""
        say(console, f"{one.done:<9} {one.run.words} ({one.run.run_id}): {one.why}{taken}")
    if not found:
        say(console, "No run is open.")
    return 0


def _sync(asked: argparse.Namespace, console: Any) -> int:
    """Send what was kept to where it should have gone, unless another address is given."""
    from trialml.tracking.spool import kept_runs, send
    from trialml.tracking.store import open_store

    sent = 0
    for kept in kept_runs(asked.out):
        store = open_store(asked.out, address_of(asked) or kept.address or None)
        link = send(store, kept)
        said = "had been sent already" if link is None else f"run {link.run_id}"
        if link is not None and link.model_version:
            said += f", {link.model_name} version {link.model_version} ({link.alias})"
        say(console, f"Sent      {kept.run.experiment}/{kept.run.run_name}: {said}")
        sent += 1
    if not sent:
        say(console, f"Nothing is kept in '{asked.out}'.")
    return 0


RUN_VERBS = {"compare": compare, "report": report, "erase": erase, "runs": runs}

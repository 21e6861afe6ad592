"""The verb that designs the next trial from a tracked model: ``trialml design --from models:/NAME@champion``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialml.errors import OutputError, StudyFileError, TrackingError

if TYPE_CHECKING:
    from trialml.bridge_table import BridgeTable
    from trialml.config import Study
    from trialml.design_from_model import DesignedFromModel

__all__ = ["add_bridge_kind", "add_tracked", "design_of_model"]

_EPILOG = (
    "'trialml design --from MODEL' is short for it. What is not given is taken from [design] and [design.bridge] of the model's own study file. Exit "
    "status: 0 done, 1 refused, 2 bad usage, 3 report written but not tracked."
)


def add_bridge_kind(kinds: Any) -> None:
    """Add the parser of ``trialml design bridge``; its options are the keys of `[design.bridge]`.

    Parameters
    ----------
    kinds
        The subparsers of ``trialml design``.
    """
    from trialml.bridge_table import BridgeTable
    from trialml.verbs_design import add_option

    words = "the next trial from a tracked model (--from models:/NAME@champion)"
    parser = kinds.add_parser("bridge", help=words, description=f"Design {words}; times in months.", epilog=_EPILOG)
    assumed = parser.add_argument_group("asked")
    for name, field in BridgeTable.model_fields.items():
        add_option(assumed, field.alias or name, field)
    add_tracked(parser)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def add_tracked(parser: argparse.ArgumentParser) -> None:
    """Add where the tracked models are, where the report goes, and the randomisation list."""
    from trialml.verbs_models import add_store_options

    add_store_options(parser)
    parser.add_argument(
        "--randomisation-list",
        type=Path,
        metavar="FILE.csv",
        help="write the randomisation list to a new file too; it unblinds, so it is in no report and in no tracked run",
    )
    parser.add_argument(
        "--factor",
        action="append",
        default=[],
        metavar="NAME=LEVEL,LEVEL",
        help="levels of a stratification factor of that list, where the study file does not declare them",
    )


def design_of_model(
    asked: argparse.Namespace, console: Any, words: Sequence[str], watcher: Any, told: list[Any] | None = None
) -> int:
    """Run ``trialml design --from MODEL``, or the `[design.bridge]` of a study file.

    Parameters
    ----------
    asked
        The words of the command.
    console, words, watcher
        As of `trialml.verbs_design.design`.
    told
        Receives what JSON says as soon as the report is written, for the caller to print with other designs; None to print it here.

    Returns
    -------
    int
        0.

    Raises
    ------
    TrialmlError
        If there is no such model, it does not belong here, it failed its validation, or there is no such trial; or if the report is
        written but cannot be tracked.
    """
    from trialml.bridge_model import load_model, refuse_another_endpoint
    from trialml.bridge_publish import publish_design, track_design
    from trialml.design_from_model import design_from_model, refuse_unknown_levels, write_list
    from trialml.publish import prepare_output
    from trialml.verbs_models import store_of

    table, study = _asked(asked)
    if table.from_ is None:
        raise StudyFileError("--from is missing: name a tracked model, such as --from models:/NAME@champion.")
    _refuse_existing(asked.randomisation_list)
    if study is not None and asked.tracking_uri is None:
        asked.tracking_uri = study.tracking.uri
    store = store_of(asked)
    model = load_model(store, table.from_)
    if study is not None:
        refuse_another_endpoint(model, study, asked.study.name)
    if asked.randomisation_list is not None:
        refuse_unknown_levels(model, asked.factor)
    designed = design_from_model(model, table, watcher)
    prepare_output(asked.out)
    listed = "" if asked.randomisation_list is None else write_list(designed, asked.randomisation_list, asked.factor)
    published = publish_design(designed, asked.out, ["trialml", *words])
    if told is not None:
        told.append(_as_json(designed))
    if told is None or not asked.json:
        _say(designed, console, as_json=asked.json)
    try:
        link = track_design(designed, published, store)
    except TrackingError as error:
        raise TrackingError(f"The report {published.report} is written, but it is not tracked. {error}") from error
    if not asked.json:
        shown = {"Report": published.report, "Tracked": f"run experiments/{link.experiment_id}/runs/{link.run_id}"}
        shown |= {"Protocol": published.folder / "protocol.md"} if designed.protocol else {}
        shown |= {"List": f"{asked.randomisation_list}  ({listed})"} if listed else {}
        for name, value in shown.items():
            console.print(f"{name:9} {value}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _asked(asked: argparse.Namespace) -> tuple[BridgeTable, Study | None]:
    """Return what is asked: by options, or by a study file, which then says which endpoint is meant."""
    from trialml.bridge_table import BridgeTable
    from trialml.config import read_study
    from trialml.verbs_design import read_options

    if asked.kind != "study":
        return read_options(asked, BridgeTable), None
    study = read_study(asked.study)
    assert study.design.bridge is not None
    return study.design.bridge, study


def _refuse_existing(path: Path | None) -> None:
    """Refuse before anything is computed what would be refused after it."""
    if path is not None and path.exists():
        raise OutputError(f"The randomisation list '{path}' exists already: choose another name.")


def _as_json(designed: DesignedFromModel) -> dict[str, Any]:
    from trialml.bridge_words import notes_of
    from trialml.designing import results_to_json

    model = designed.model
    return {
        "design": "bridge",
        "model": model.version.name,
        "version": model.version.version,
        "data_sha256": model.data_sha256,
        "asked": designed.asked.model_dump(mode="json"),
        "assumed": designed.assumed,
        "notes": notes_of(designed),
        "results": results_to_json(designed.results),
    }


def _say(designed: DesignedFromModel, console: Any, *, as_json: bool) -> None:
    from trialml.verbs_data import show_table

    if as_json:
        shown = json.dumps([_as_json(designed)], indent=1, allow_nan=False)
        console.print(shown, soft_wrap=True, markup=False, highlight=False)
        return
    for said in (designed.overridden, designed.unneeded):
        if said:
            console.print(said, style="bold", markup=False, highlight=False)
    for result in designed.results:
        if result in designed.sections:
            continue
        console.print(result.heading(), style="cyan", markup=False, highlight=False)
        console.print(f"  {result.text()}", markup=False, highlight=False)
        table = result.table()
        if table is not None:
            show_table(table, console)
        console.print()

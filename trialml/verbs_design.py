"""The verb that designs a trial: options made from the tables, so that command and study file say the same."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from trialml.errors import StudyFileError, TrackingError, nearest
from trialml.verbs_scoring import add_scheduler_option

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic.fields import FieldInfo

    from trialml.design_tables import AskedTable
    from trialml.designing import Designed
    from trialml.study_tables import FileTable

__all__ = ["add_design_verb", "add_option", "design", "joined_lists", "read_options"]

T = TypeVar("T", bound="FileTable")

_EPILOG = "Alpha is one-sided, times are months, a ratio is experimental to control, lists are separated by commas."
_OUTPUT = (
    "verb",
    "kind",
    "json",
    "report",
    "study",
    "out",
    "tracking_uri",
    "randomisation_list",
    "factor",
    "scheduler",
)


def add_design_verb(verbs: Any, *, options: bool) -> None:
    """Add the parser of ``trialml design`` to the command's.

    Parameters
    ----------
    verbs
        The command's subparsers.
    options
        Whether to add the options too: they need the tables, which the other verbs need not wait for.
    """
    parser = verbs.add_parser(
        "design", help="design a trial: survival, means, rates or enrichment, or from a tracked model", epilog=_EPILOG
    )
    if not options:
        return
    from trialml.design_tables import DESIGN_KINDS, RulesTable

    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    from trialml.verbs_bridge import add_bridge_kind, add_tracked

    for kind, table in DESIGN_KINDS.items():
        words = (table.__doc__ or "").split(": ", 1)[1].split(";")[0].rstrip(".")
        one = kinds.add_parser(kind, help=words, description=f"Design a trial: {words}.", epilog=_EPILOG)
        assumed, rules = one.add_argument_group("assumed"), one.add_argument_group("rules")
        for name, field in table.model_fields.items():
            add_option(rules if name in RulesTable.model_fields else assumed, name, field)
        _add_output(one)
    add_bridge_kind(kinds)
    study = kinds.add_parser("study", help="every design that a study file asks for in its [design] table")
    study.add_argument("study", type=Path, metavar="STUDY.toml")
    _add_output(study)
    add_tracked(study)


def _add_output(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_argument_group("output")
    shown.add_argument("--json", action="store_true", help="print the results as JSON")
    shown.add_argument("--report", type=Path, metavar="FILE.html", help="write a report too")
    add_scheduler_option(shown)


def add_option(parser: Any, name: str, field: FieldInfo) -> None:
    """Add the option of a table's key; it is read by the table, so that command and file refuse alike.

    Parameters
    ----------
    parser
        To which it is added.
    name, field
        The key and its field.
    """
    flag, default = "--" + name.replace("_", "-"), field.get_default()
    words = (field.description or "").replace("%", "%%")
    if field.annotation is bool:
        parser.add_argument(flag, action="store_const", const=True, default=argparse.SUPPRESS, help=words)
        return
    names, listed = _accepted(field.annotation)
    if names and all(isinstance(one, str) for one in names):
        words += f": {', '.join(names)}"
    if not field.is_required() and default not in (None, ()):
        words += f" (default: {_written(default)})"
    metavar = "NAME" if str in (field.annotation, *get_args(field.annotation)) else "N,N,..." if listed else "N"
    if bool in get_args(field.annotation):
        metavar = "YES|NO"
    elif names and isinstance(names[0], str):
        metavar = "NAME,NAME,..." if listed else "NAME"
    metavar = field.title or metavar
    parser.add_argument(flag, default=argparse.SUPPRESS, metavar=metavar, help=words)


def _written(default: Any) -> str:
    values = default if isinstance(default, tuple) else (default,)
    return ",".join(one if isinstance(one, str) else f"{one:g}" for one in values)


def _accepted(annotation: Any) -> tuple[tuple[Any, ...], bool]:
    """Return the names that a key may have, and whether it is a list."""
    origin = get_origin(annotation)
    if origin is Literal:
        return get_args(annotation), False
    if origin is tuple:
        return _accepted(get_args(annotation)[0])[0], True
    if origin in (Union, UnionType, Annotated):
        parts = [_accepted(part) for part in get_args(annotation) if part is not NoneType]
        return next((names for names, _ in parts if names), ()), any(listed for _, listed in parts)
    return (), False


def joined_lists(words: Sequence[str]) -> list[str]:
    """Join an option with a list that begins with a minus sign, which would otherwise look like an option.

    ``design --from MODEL`` is short for ``design bridge --from MODEL``.
    """
    if words[1:2] and words[1].startswith("--") and any(re.match(r"--from(=|$)", word) for word in words):
        words = [words[0], "bridge", *words[1:]]
    joined: list[str] = []
    for word in words:
        if re.match(r"-[\d.]+(,|$)|-inf", word) and joined and re.fullmatch(r"--[a-z0-9-]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def design(asked: argparse.Namespace, console: Any, words: Sequence[str], watcher: Any) -> int:
    """Run ``trialml design``.

    Parameters
    ----------
    asked
        The words of the command.
    console
        Where to print.
    words
        The command line, for the report.
    watcher
        Shows the progress of a simulation.

    Returns
    -------
    int
        0.

    Raises
    ------
    TrialmlError
        If an option or the study file will not do, there is no such trial, or the report cannot be written.
    """
    from trialml.design_report import write_design_report
    from trialml.designing import compute_design
    from trialml.validation.parallel import on_cluster

    if asked.kind == "bridge":
        from trialml.verbs_bridge import design_of_model

        return design_of_model(asked, console, words, watcher)
    told: list[Any] = []
    untracked: TrackingError | None = None
    if asked.kind == "study":
        from trialml.config import read_design

        table = read_design(asked.study)
        requests: dict[str, AskedTable] = table.requests()
        if table.bridge is not None and table.bridge.from_ is not None:
            untracked = _bridge_of_study(asked, console, words, watcher, told if requests else None)
            if not requests:
                return 0
        if not requests:
            raise StudyFileError(
                f"{asked.study.name}: no design is asked for: add a table such as [design.survival] to it."
            )
    else:
        from trialml.design_tables import DESIGN_KINDS

        requests = {asked.kind: read_options(asked, DESIGN_KINDS[asked.kind])}
    with on_cluster(asked.scheduler):
        designed = [compute_design(table, watcher) for table in requests.values()]
    if asked.report is not None:
        write_design_report(designed, asked.report, ["trialml", *words])
    _tell(designed, told, asked, console)
    if untracked is not None:
        raise untracked
    return 0


def _bridge_of_study(
    asked: argparse.Namespace, console: Any, words: Sequence[str], watcher: Any, told: list[Any] | None
) -> TrackingError | None:
    """Design from the model that a study file names; return what tracking refused once the report was written and other designs follow."""
    from trialml.verbs_bridge import design_of_model

    try:
        design_of_model(asked, console, words, watcher, told)
    except TrackingError as error:
        if not told:
            raise
        return error
    return None


def _tell(designed: Sequence[Any], told: Sequence[Any], asked: argparse.Namespace, console: Any) -> None:
    """Print the designs, as one JSON array with what was told before, or one after the other."""
    if asked.json:
        console.print(
            json.dumps([*told, *(one.to_json() for one in designed)], indent=1, allow_nan=False),
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    else:
        for one in designed:
            _say(one, console)
        if asked.report is not None:
            console.print(f"Report    {asked.report}", soft_wrap=True, markup=False, highlight=False)


def read_options(asked: argparse.Namespace, table: type[T]) -> T:
    """Return the table that the options of a command fill.

    Parameters
    ----------
    asked
        The words of the command.
    table
        Whose keys the options are.

    Raises
    ------
    StudyFileError
        If an option will not do, in words of the command line.
    """
    from pydantic import ValidationError

    fields = {field.alias or name: field for name, field in table.model_fields.items()}
    given = {name: value for name, value in vars(asked).items() if name not in _OUTPUT}
    read = {name: _read(value, fields[name].annotation) for name, value in given.items()}
    try:
        return table.model_validate(read)
    except ValidationError as error:
        raise StudyFileError(_refused(error, given)) from error


def _read(value: Any, annotation: Any) -> Any:
    """Return the numbers of an option's words; words that are none stay, and the table refuses them."""
    names, listed = _accepted(annotation)
    if not isinstance(value, str) or any(isinstance(name, str) for name in names):
        return value
    if bool in get_args(annotation):
        return _yes_or_no(value)
    return tuple(_number(one.strip()) for one in value.split(",")) if listed else _number(value)


def _yes_or_no(words: str) -> bool | str:
    return {"yes": True, "no": False}.get(words.lower(), words)


def _number(words: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(words)
        except ValueError:
            continue
    return words


def _refused(error: ValidationError, given: dict[str, Any]) -> str:
    """Return the first thing wrong in words of the command line."""
    from trialml.config import in_plain_words

    first = error.errors()[0]
    if first["type"] == "value_error":
        return f"{first['ctx']['error']!s}."
    name = str(first["loc"][0])
    flag = "--" + name.replace("_", "-")
    if first["type"] == "missing" and name in given:
        wanted = 1 + max(int(one["loc"][1]) for one in error.errors() if one["loc"][0] == name and len(one["loc"]) > 1)
        return f"{flag} {given[name]} will not do: give {wanted} numbers."
    if first["type"] == "missing":
        return f"{flag} is missing: add it."
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        known = re.findall(r"'([^']+)'", first["ctx"]["expected"])
        return f"{flag} {first['input']} is not known: {nearest(first['input'], known)}."
    return f"{flag} {given[name]} will not do: {in_plain_words(first['msg'])}."


def _say(designed: Designed, console: Any) -> None:
    from trialml.verbs_data import show_table

    for result in designed.results:
        console.print(result.heading(), style="cyan", markup=False, highlight=False)
        console.print(f"  {result.text()}", markup=False, highlight=False)
        table = result.table()
        if table is not None:
            show_table(table, console)
        console.print()

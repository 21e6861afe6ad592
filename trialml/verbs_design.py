"""The verb that designs a trial: options made from the tables, so that command and study file say the same."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from trialml.errors import StudyFileError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from trialml.result import Result

__all__ = ["add_design_verb", "design"]

_EPILOG = "Alpha is one-sided, times are months, a ratio is experimental to control, lists are separated by commas."


def add_design_verb(verbs: Any, *, whole: bool) -> None:
    """Add the parser of ``trialml design`` to the command's.

    Parameters
    ----------
    verbs
        The command's subparsers.
    whole
        Whether to add the options too: they need the tables, which the other verbs do not wait for.
    """
    parser = verbs.add_parser("design", help="design a trial: survival, means, rates or enrichment", epilog=_EPILOG)
    if not whole:
        return
    from trialml.design_tables import DESIGN_KINDS

    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, table in DESIGN_KINDS.items():
        words = (table.__doc__ or "").split(": ", 1)[1].split(";")[0].rstrip(".")
        one = kinds.add_parser(kind, help=words, description=f"Design a trial: {words}.", epilog=_EPILOG)
        for name, field in table.model_fields.items():
            _add_option(one, name, field)
        _add_output(one)
    study = kinds.add_parser("study", help="every design that a study file asks for in its [design] table")
    study.add_argument("study", type=Path, metavar="STUDY.toml")
    _add_output(study)


def _add_output(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_argument_group("output")
    shown.add_argument("--json", action="store_true", help="print the results as JSON")
    shown.add_argument("--report", type=Path, metavar="FILE.html", help="write a report too")


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    """Add the option of a table's key; the table reads the words, so that both ways refuse alike."""
    flag, absent = "--" + name.replace("_", "-"), argparse.SUPPRESS
    if field.annotation is bool:
        parser.add_argument(flag, action="store_const", const=True, default=absent, help=field.description)
        return
    choices, listed = _kind_of(field.annotation)
    default = field.get_default()
    words = field.description or ""
    if default not in (None, ()) and not field.is_required():
        words += f" (default: {','.join(f'{one:g}' for one in default) if isinstance(default, tuple) else default})"
    metavar = "NAME" if choices else "N,N,..." if listed else "N"
    parser.add_argument(flag, default=absent, metavar=metavar, help=words.replace("%", "%%"))

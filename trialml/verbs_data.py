"""The verbs of the command that prepare data: a starter study file, and de-identification."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialml.errors import OutputError, StudyFileError

if TYPE_CHECKING:
    import pandas as pd

    from trialml.data.deidentify_columns import Rules

__all__ = ["add_data_verbs", "deidentify", "init", "show_table"]

_KEY_FILE = "deidentify.key"
_LONGEST_WORD = 16


def add_data_verbs(verbs: Any) -> None:
    """Add the parsers of the verbs to the command's."""
    parser = verbs.add_parser("init", help="write a starter study file, guessing the roles of the columns")
    parser.add_argument("data", metavar="DATA", help="a data file, one row a patient, or an ADaM folder")
    parser.add_argument(
        "--out", type=Path, default=Path("study.toml"), metavar="STUDY.toml", help="file to write (default: study.toml)"
    )
    _add_deidentify(verbs)


def _add_deidentify(verbs: Any) -> None:
    parser = verbs.add_parser(
        "deidentify",
        help="hash identifiers, shift dates, top-code ages, drop free text; report k-anonymity",
        epilog="Columns that look like identifiers and are not named stop the command; it lists them.",
    )
    parser.add_argument("data", metavar="DATA", help="a data file (CSV, Parquet, xpt), or a folder of such")
    parser.add_argument("--out", type=Path, required=True, help="file or folder to write; it must not exist yet")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--subject", metavar="COL", help="column that identifies the subject")
    whose.add_argument("--study", type=Path, metavar="STUDY.toml", help="study file that names this column")
    parser.add_argument(
        "--key-file",
        type=Path,
        default=Path(_KEY_FILE),
        metavar="FILE",
        help=f"secret key, made if absent (default: {_KEY_FILE}); the same key gives the same pseudonyms",
    )
    for option, words in _LISTS.items():
        parser.add_argument(option, nargs="+", action="extend", default=[], metavar="COL", help=words)
    parser.add_argument("--only-listed", action="store_true", help="keep only columns with a role in the study file")
    parser.add_argument("--shift-days", type=int, default=365, metavar="N", help="most days to shift (default: 365)")


_LISTS = {
    "--identifier": "further columns to hash: sites, investigators, numbers of a patient",
    "--date": "columns that are dates, beside those recognised",
    "--age": "columns that are ages, beside those recognised; 90 and over read 90",
    "--drop": "columns to leave out",
    "--keep": "columns that were looked at and may stay",
    "--only": "keep only these columns, and the subject",
    "--merge-rare": "columns whose categories of fewer than 11 subjects become OTHER",
    "--quasi": "quasi-identifiers of the k-anonymity report (default: age, sex, race, ... by name)",
}


def init(asked: argparse.Namespace, console: Any) -> int:
    """Run ``trialml init``.

    Parameters
    ----------
    asked
        The words of the command.
    console
        Where to print.

    Returns
    -------
    int
        0.

    Raises
    ------
    TrialmlError
        If the data cannot be read, or the study file exists or cannot be written.
    """
    import pandas as pd

    from trialml.data.adam import open_adam
    from trialml.data.guess_adam import guess_adam_roles
    from trialml.data.guess_roles import guess_roles
    from trialml.data.read import locate, read_file
    from trialml.data.starter import write_starter

    if asked.out.exists():
        raise OutputError(f"'{asked.out}' exists already and is left as it is: choose another with --out.")
    path = locate(asked.data, Path(), folder=True)
    roles = guess_adam_roles(open_adam(path, asked.data)) if path.is_dir() else guess_roles(read_file(path, asked.data))
    starter = write_starter(roles, name=path.stem, source=_source(asked.data, path, asked.out))
    try:
        with asked.out.open("x", encoding="utf-8", newline="\n") as file:
            file.write(starter.text)
    except OSError as error:
        raise OutputError(f"'{asked.out}' cannot be written ({error.strerror}): choose another with --out.") from error
    console.print(f"Written   {asked.out}", soft_wrap=True, markup=False, highlight=False)
    console.print("Guessed", style="cyan")
    show_table(pd.DataFrame(starter.rows, columns=["Role", "Guess", "Why"]), console)
    console.print("Look at", style="cyan")
    for words in starter.look:
        console.print(f"  {words}", markup=False, highlight=False)
    console.print("Fill in", style="cyan")
    show_table(pd.DataFrame(starter.open, columns=["Key", "With"]), console)
    console.print(f"Then      trialml check {asked.out}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _source(given: str, path: Path, out: Path) -> str:
    """Return ``[data] source``: as given inside an installed package, else relative to the study file."""
    if not Path(given).expanduser().exists():
        return given
    try:
        return Path(os.path.relpath(path, out.resolve().parent)).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()


def deidentify(asked: argparse.Namespace, console: Any) -> int:
    """Run ``trialml deidentify``.

    Parameters
    ----------
    asked
        The words of the command.
    console
        Where to print.

    Returns
    -------
    int
        0.

    Raises
    ------
    TrialmlError
        If something is refused; then neither data nor a new key is left behind.
    """
    from trialml.data.deidentify import deidentify as made
    from trialml.data.deidentify_files import read_data_files, write_data_files
    from trialml.data.deidentify_key import read_or_create_key
    from trialml.data.read import locate

    rules = _rules(asked)
    source = locate(asked.data, Path(), folder=True)
    if asked.out.exists():
        raise OutputError(f"'{asked.out}' exists already: choose another with --out, or move it away.")
    if asked.out.resolve() in asked.key_file.resolve().parents:
        raise OutputError(f"The key file '{asked.key_file}' would leave with the data: keep it outside '{asked.out}'.")
    files, left = read_data_files(source)
    key, created = read_or_create_key(asked.key_file)
    try:
        result = made(files, rules, key)
        write_data_files(result.files, asked.out, folder=source.is_dir())
    except BaseException:
        if created:
            asked.key_file.unlink(missing_ok=True)
        raise
    for part in (result.done, result.anonymity):
        console.print(part.heading(), style="cyan", markup=False, highlight=False)
        console.print(f"  {part.text()}", markup=False, highlight=False)
        show_table(part.table(), console)
    if left:
        console.print(f"Not data files, left alone: {', '.join(left)}", markup=False, highlight=False)
    console.print(f"Written   {asked.out}", soft_wrap=True, markup=False, highlight=False)
    said = "made now; keep it secret and safe" if created else "used as it was"
    console.print(f"Key       {asked.key_file} ({said})", soft_wrap=True, markup=False, highlight=False)
    return 0


def _rules(asked: argparse.Namespace) -> Rules:
    from trialml.config import read_study
    from trialml.data.deidentify_columns import Rules

    study = read_study(asked.study) if asked.study else None
    only = list(asked.only)
    if asked.only_listed:
        if study is None:
            raise StudyFileError("--only-listed needs the study file that lists the columns: give --study.")
        endpoint = study.endpoints[0]
        only += [study.treatment.column, endpoint.time, endpoint.event, *study.treatment.stratification]
        only += [*study.covariates.names(), *study.data.post_baseline]
    return Rules(
        subject=study.data.subject if study else asked.subject,
        identifiers=tuple(asked.identifier),
        dates=tuple(asked.date),
        ages=tuple(asked.age),
        drop=tuple(asked.drop),
        keep=tuple(asked.keep),
        only=tuple(dict.fromkeys(only)) if only else None,
        merge_rare=tuple(asked.merge_rare),
        quasi_identifiers=tuple(asked.quasi),
        shift_days=asked.shift_days,
    )


def show_table(table: pd.DataFrame, console: Any) -> None:
    """Print a table in columns that wrap between words; what does not fit runs over the edge rather than off it."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    least = 0
    for name in table.columns:
        words = [word for cell in (name, *table[name]) for word in str(cell).split()]
        # A digest or an address may break; a word may not.
        longest = max((len(word) for word in words if word in str(name) or len(word) <= _LONGEST_WORD), default=0)
        grid.add_column(Text(str(name)), overflow="fold", min_width=longest)
        least += longest + 2
    for row in table.itertuples(index=False):
        grid.add_row(*(Text(str(cell)) for cell in row))
    console.print(grid, soft_wrap=False, width=max(console.width, least), crop=False, no_wrap=False)

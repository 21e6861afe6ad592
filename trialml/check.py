"""What `trialml check` says on the terminal: who is analysed, what the checks found and in which rows, what is missing.

File rows, and words that hardly anybody has, are named here and nowhere else: results, and so the report and the tracked runs, hold counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trialml.config import read_study
from trialml.data.missingness import Missingness
from trialml.data.quality import DataQuality, told
from trialml.data.quality_catalogue import Seen, title_of
from trialml.data.trial import Trial
from trialml.result import counted, format_count
from trialml.study import look_at_data

__all__ = ["say_check"]

_STYLES = {"error": "bold red", "warning": "bold yellow", "note": "cyan", "ok": "green", "not made": "dim"}
_ORDER = ("error", "warning", "note")
_MOST_ROWS = 8
_LONGEST = 40


def say_check(study_file: Path, console: Any, before: Any = None) -> None:
    """Check a study file and its data, and print what was found.

    Parameters
    ----------
    study_file
        The study file.
    console
        A rich console. Words of the data are printed as they are, never as markup.
    before
        Called with the study before the data are read, to refuse what is wrong in the study file itself.
    """
    study = read_study(study_file)
    if before is not None:
        before(study)
    checked = look_at_data(study)
    for result in checked.results:
        if console.is_terminal:
            console.print()
        console.print(result.heading(), style="cyan", markup=False, highlight=False)
        said = _counts(result) if isinstance(result, DataQuality) else result.text()
        console.print(_indented(said, console))
        if isinstance(result, DataQuality):
            _say_findings(checked.seen, console)
        elif isinstance(result, Missingness):
            _say_missing(result, console)
        elif result.title == "Cleaning log":
            _say_log(checked.trial, console)
    console.print("The study file and the data fit together; nothing was fitted.", style="bold")


def _counts(quality: DataQuality) -> str:
    """Return how many checks were made and what they gave; the findings follow one by one."""
    counts = quality.scalars()
    parts = [counted(counts[f"{verdict}s"], verdict) for verdict in _ORDER]
    return f"{quality.made} checks were made: {', '.join(parts[:-1])} and {parts[-1]}."


def _say_findings(seen: Sequence[Seen], console: Any) -> None:
    lines = []
    for verdict in _ORDER:
        lines += [(one.number, verdict, _sentence(one)) for one in seen if one.verdict == verdict]
    lines += [(one.number, "ok", _sentence(one)) for one in seen if one.verdict == "ok" and one.count]
    silent = [one for one in seen if one.verdict == "ok" and not one.count]
    if silent:
        lines.append(("", "ok", f"Nothing was found by {_named(silent)}."))
    unmade: dict[str, list[Seen]] = {}
    for one in seen:
        if one.verdict == "not made":
            unmade.setdefault(one.finding, []).append(one)
    lines += [("", "not made", f"{why} This concerns {_named(those)}.") for why, those in unmade.items()]
    _say_lines(lines, console, styles={1: _STYLES})


def _named(seen: Iterable[Seen]) -> str:
    return ", ".join(dict.fromkeys(f"{one.number} {title_of(one.number).lower()}" for one in seen))


def _sentence(one: Seen) -> str:
    words = f"{one.subject}: {told(one, exact=True)}"
    words += f" {one.done}" if one.done and one.verdict != "ok" else ""
    if one.verdict in ("error", "warning") and len(one.rows):
        words += f" {_rows(one.rows.tolist())}"
    if one.words:
        shown = ", ".join(f"'{word[:_LONGEST]}'" for word in one.words[:_MOST_ROWS])
        words += (
            f" They read {shown}{f' and {len(one.words) - _MOST_ROWS:,} more' if len(one.words) > _MOST_ROWS else ''}."
        )
    return words


def _rows(rows: list[int]) -> str:
    shown = ", ".join(format_count(row).replace(",", "") for row in rows[:_MOST_ROWS])
    more = len(rows) - _MOST_ROWS
    return f"File row{'s' if len(rows) > 1 else ''} {shown}{f' and {more:,} more' if more > 0 else ''}."


def _say_log(trial: Trial, console: Any) -> None:
    lines = [(f"{one.count:,}", one.rule, f"{one.subject}: {one.finding} {one.done}".strip()) for one in trial.findings]
    _say_lines(lines, console)


def _say_missing(result: Missingness, console: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    frame = result.table()
    arms = list(frame.columns[1:])
    if not console.is_terminal:
        for row in frame.itertuples(index=False):
            cells = "; ".join(f"{arm} {cell}" for arm, cell in zip(arms, row[1:], strict=True) if cell)
            console.print(Text(f"  {row[0]}{': ' if cells else ''}{cells}"), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("")
    for arm in arms:
        table.add_column(Text(str(arm)), justify="right")
    for row in frame.itertuples(index=False):
        heading = not any(row[1:])
        table.add_row(*(Text(str(cell), style="bold" if heading else "") for cell in row))
    console.print(_padded(table))


def _say_lines(
    lines: Iterable[tuple[str, str, str]],
    console: Any,
    *,
    styles: dict[int, dict[str, str]] | None = None,
) -> None:
    """Print three columns, the last one wrapped under itself; one line each where the output is no terminal."""
    from rich.table import Table
    from rich.text import Text

    rows = list(lines)
    if not rows:
        return
    width = max(len(row[0]) for row in rows)
    second = max(8, *(len(row[1]) for row in rows))
    if not console.is_terminal:
        for row in rows:
            console.print(Text(f"  {row[0]:<{width}}  {row[1]:<{second}} {row[2]}"), soft_wrap=True)
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    for size in (width, second):
        table.add_column(width=size, no_wrap=True)
    table.add_column(ratio=1)
    for row in rows:
        cells = [Text(cell, style=(styles or {}).get(place, {}).get(cell, "")) for place, cell in enumerate(row)]
        table.add_row(*cells)
    console.print(_padded(table))


def _indented(words: str, console: Any) -> Any:
    from rich.text import Text

    return _padded(Text(words)) if console.is_terminal else Text(f"  {words}")


def _padded(thing: Any) -> Any:
    from rich.padding import Padding

    return Padding(thing, (0, 0, 0, 2))

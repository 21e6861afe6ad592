"""What stands where in a report: figures and tables numbered, words chosen, nothing yet in any format."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from trialml.report.document import Chapter, Document
from trialml.report.figures import Drawing, draw_result
from trialml.report.methods import Methods, abbreviations_in, methods_of, strings
from trialml.report.tables import KINDS, Table, kinds_note, kinds_of, make_table, table_of
from trialml.result import Result

__all__ = ["Exhibit", "Fact", "Layout", "NumberedFigure", "NumberedTable", "Section", "lay_out"]

_ESTIMAND = {
    "population": "Population",
    "treatment": "Treatment",
    "variable": "Variable (endpoint)",
    "intercurrent_events": "Intercurrent events",
    "summary": "Population-level summary",
}
_LABELS = {"data_sha256": "SHA-256 of the data", "sha256": "SHA-256"}
_VERBATIM = ("hash", "sha", "command", "path", "file")


class NumberedFigure(NamedTuple):
    """A picture with its number, and the words for those who cannot see it."""

    number: int
    drawing: Drawing
    alt: str


class NumberedTable(NamedTuple):
    """A table with its number and heading."""

    number: int
    heading: str
    table: Table


class Exhibit(NamedTuple):
    """One result as it stands in a chapter."""

    id: str
    heading: str
    text: str
    note: str
    figure: NumberedFigure | None
    table: NumberedTable | None


class Section(NamedTuple):
    """One chapter as it stands in the report."""

    id: str
    number: int
    chapter: Chapter
    exhibits: tuple[Exhibit, ...]


class Fact(NamedTuple):
    """One thing that is needed to make the report again; `verbatim` words are shown letter by letter."""

    label: str
    words: tuple[str, ...]
    verbatim: bool


class Layout(NamedTuple):
    """Everything that a format shows; `key_figure` is the one on the first page."""

    created: str
    key_figure: NumberedFigure | None
    estimand: tuple[tuple[str, str], ...]
    asks_of_data: bool
    sections: tuple[Section, ...]
    methods: Methods
    summary_abbreviations: tuple[tuple[str, str], ...]
    abbreviations: tuple[tuple[str, str], ...]
    kinds: tuple[tuple[str, str], ...]
    dashes: bool
    facts: tuple[Fact, ...]
    fact_tables: tuple[NumberedTable, ...]
    defaults: NumberedTable | None
    checklists: tuple[Exhibit, ...]


class _Numbers:
    """Numbers figures and tables in the order in which they are met."""

    def __init__(self) -> None:
        self.figures = 0
        self.tables = 0

    def figure(self, drawing: Drawing, alt: str) -> NumberedFigure:
        self.figures += 1
        return NumberedFigure(self.figures, drawing, alt)

    def table(self, heading: str, table: Table) -> NumberedTable:
        self.tables += 1
        return NumberedTable(self.tables, heading, table)


def lay_out(document: Document) -> Layout:
    """Return the layout of a document: pictures drawn, tables made, everything numbered.

    Parameters
    ----------
    document
        The report.

    Returns
    -------
    Layout
        Figures and tables are numbered apart, each from 1, in reading order.
    """
    numbers = _Numbers()
    sections = tuple(_section(chapter, place, numbers) for place, chapter in enumerate(document.chapters, 1))
    methods = methods_of(document)
    checklists = tuple(
        _exhibit(result, f"checklist-{place}", numbers) for place, result in enumerate(document.checklists, 1)
    )
    facts, fact_tables = _facts(document.reproduce, numbers)
    summary = (document.title, document.subtitle, *strings(_summary_words(document)))
    estimand = tuple((_ESTIMAND.get(key, _words(key)), words) for key, words in document.estimand.items())
    said = (*summary, *strings(estimand), *strings(_section_words(sections)), *strings(methods.paragraphs))
    said += tuple(strings(tuple(exhibit._replace(figure=None) for exhibit in checklists)))
    kinds = {kind for result in document.results for kind in kinds_of(result)}
    return Layout(
        created=_moment(document.created),
        key_figure=_key_figure(document.summary.figure, sections),
        estimand=estimand,
        asks_of_data=bool(estimand) or {chapter.key for chapter in document.chapters} != {"design"},
        sections=sections,
        methods=methods,
        summary_abbreviations=abbreviations_in(summary),
        abbreviations=abbreviations_in(said),
        kinds=tuple(words for kind, words in KINDS.items() if kind in kinds),
        dashes=any(_has_dash(exhibit) for section in sections for exhibit in section.exhibits),
        facts=facts,
        fact_tables=fact_tables,
        defaults=_defaults(document, numbers),
        checklists=checklists,
    )


def _key_figure(heading: str, sections: tuple[Section, ...]) -> NumberedFigure | None:
    exhibits = (exhibit for section in sections for exhibit in section.exhibits if exhibit.heading == heading)
    found = next((exhibit.figure for exhibit in exhibits if exhibit.figure), None)
    return None if found is None or found.drawing.failure else found


def _section(chapter: Chapter, place: int, numbers: _Numbers) -> Section:
    key = f"chapter-{place}"
    exhibits = (_exhibit(result, f"{key}-{position}", numbers) for position, result in enumerate(chapter.results, 1))
    return Section(key, place, chapter, tuple(exhibits))


def _exhibit(result: Result, key: str, numbers: _Numbers) -> Exhibit:
    heading, text = result.heading(), result.text()
    figure = numbers.figure(draw_result(result), f"{heading}. {text}") if result.has_figure else None
    table = table_of(result)
    numbered = numbers.table(heading, table) if table is not None else None
    return Exhibit(key, heading, text, kinds_note(result), figure, numbered)


def _facts(reproduce: Mapping[str, Any], numbers: _Numbers) -> tuple[tuple[Fact, ...], tuple[NumberedTable, ...]]:
    facts, tables = [], []
    for key, value in reproduce.items():
        label = _LABELS.get(key, _words(key))
        if isinstance(value, Mapping):
            pairs = [(str(name), _value(item)) for name, item in value.items()]
            frame = pd.DataFrame(pairs, columns=["Name", label], dtype=object)
            tables.append(numbers.table(label, make_table(frame, words_only=True)))
        else:
            words = tuple(_value(item) for item in value) if isinstance(value, list) else (_value(value),)
            facts.append(Fact(label, words, any(part in key.lower() for part in _VERBATIM)))
    return tuple(facts), tuple(tables)


def _defaults(document: Document, numbers: _Numbers) -> NumberedTable | None:
    if not document.defaults:
        return None
    pairs = [(key, _value(value)) for key, value in document.defaults]
    frame = pd.DataFrame(pairs, columns=["Key of the study file", "Default used"], dtype=object)
    return numbers.table("Defaults that the study file left unstated", make_table(frame, words_only=True))


def _value(value: Any) -> str:
    """Return a value as a study file would state it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_value(item)}" for key, item in value.items())
    return "none" if value is None or value == "" else str(value)


def _words(key: str) -> str:
    words = key.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _moment(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    day = f"{moment.day} {moment:%B %Y}"
    if "T" not in created and " " not in created:
        return day
    zone = moment.strftime("%Z").replace("UTC+00:00", "UTC")
    return f"{day}, {moment:%H:%M}{f' {zone}' if zone else ''}"


def _summary_words(document: Document) -> tuple[Any, ...]:
    summary = document.summary
    findings = tuple((one.label, one.value, one.standing, one.detail) for one in summary.answer)
    return (
        summary.decision,
        summary.verdict,
        summary.question,
        findings,
        summary.next_steps,
        summary.certainty,
        document.notes,
    )


def _section_words(sections: tuple[Section, ...]) -> tuple[Any, ...]:
    return tuple(
        (section.chapter.lead, tuple(exhibit._replace(figure=None) for exhibit in section.exhibits))
        for section in sections
    )


def _has_dash(exhibit: Exhibit) -> bool:
    if exhibit.table is None:
        return False
    return any(cell.missing for body in exhibit.table.table.bodies for row in body.rows for cell in row)

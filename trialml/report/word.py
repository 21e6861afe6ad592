"""A document as a Word file: real headings and tables that an author can edit, pictures with their words."""

from __future__ import annotations

import io
import math
import re
import unicodedata
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trialml.errors import OutputError
from trialml.report.document import Document
from trialml.report.figures import png_of
from trialml.report.layout import Exhibit, Layout, NumberedFigure, NumberedTable, lay_out
from trialml.report.tables import MISSING
from trialml.report.whole_file import write_whole
from trialml.result import Result

__all__ = ["render", "write"]

_WIDTH_MM, _HEIGHT_MM = 174.0, 100.0
_PIXEL_MM = 25.4 / 96
_MANY = 8
"""A table of more columns is set in smaller print."""
# Characters that XML 1.0 cannot hold, whatever the escape.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def render(document: Document, layout: Layout | None = None) -> bytes:
    """Return the report as a Word file.

    Parameters
    ----------
    document
        The report. Its words are shown as words: markup in them is inert.
    layout
        What `lay_out` made of it, where another format has made it already.

    Returns
    -------
    bytes
        A4, with Word's own heading styles, tables whose heads repeat on each page, and pictures of 200 dots an inch.

    Raises
    ------
    OutputError
        If the extra is not installed.
    """
    try:
        import docx
    except ImportError as error:
        raise OutputError(
            "a Word file needs python-docx, which is not installed: install it with pip install 'trialml[word]', or ask for "
            "html."
        ) from error
    return _Page(docx.Document(), document, layout or lay_out(document)).written()


def write(document: Document, path: Path, layout: Layout | None = None) -> str:
    """Write the report so that a reader sees the old file or the new one, never a half.

    Parameters
    ----------
    document, layout
        As for `render`.
    path
        Where to; missing folders are made, and a report that is there is replaced.

    Returns
    -------
    str
        The SHA-256 of the bytes written, in hexadecimal.

    Raises
    ------
    OutputError
        If the extra is not installed, or the file cannot be written.
    """
    return write_whole(path, render(document, layout))


class _Page:
    """A Word file as it is written, top to bottom."""

    def __init__(self, word: Any, document: Document, layout: Layout) -> None:
        self.word, self.document, self.layout = word, document, layout
        self.pictures: dict[int, bytes] = {}
        self._set_up()

    def written(self) -> bytes:
        self._first_page()
        self._estimand()
        for section in self.layout.sections:
            self.heading(f"{section.number} {section.chapter.title}", 1)
            self.say(section.chapter.question, "Quiet")
            self.say(section.chapter.lead)
            for exhibit, result in zip(section.exhibits, section.chapter.results, strict=True):
                self.exhibit(exhibit, result)
        self._methods()
        self._back()
        target = io.BytesIO()
        self.word.save(target)
        return target.getvalue()

    def _set_up(self) -> None:
        from docx.enum.style import WD_STYLE_TYPE
        from docx.shared import Mm, Pt, RGBColor

        section = self.word.sections[0]
        section.page_width, section.page_height = Mm(210), Mm(297)
        section.left_margin = section.right_margin = Mm(18)
        section.top_margin = section.bottom_margin = Mm(18)
        styles = self.word.styles
        styles["Normal"].font.name, styles["Normal"].font.size = "Calibri", Pt(10.5)
        styles["Normal"].paragraph_format.space_after = Pt(6)
        for name, size in (("Title", 22.0), ("Heading 1", 16.0), ("Heading 2", 12.0), ("Heading 3", 11.0)):
            font = styles[name].font
            font.size, font.color.rgb, font.bold, font.name = Pt(size), RGBColor(0x1A, 0x1A, 0x1A), True, "Calibri"
        for name, size, colour in (("Quiet", 10.5, "555555"), ("Note", 8.5, "555555"), ("Cell", 8.5, "1A1A1A")):
            style = styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
            style.base_style, style.font.size = styles["Normal"], Pt(size)
            style.font.color.rgb = RGBColor.from_string(colour)
        styles["Cell"].paragraph_format.space_after = Pt(1)
        core = self.word.core_properties
        core.title, core.subject, core.author = (
            _safe(self.document.title)[:255],
            _safe(self.document.study)[:255],
            "trialml",
        )
        core.language, core.comments = "en", ""
        core.created = core.modified = _moment(self.document.created)

    def heading(self, words: str, level: int) -> None:
        _turn(self.word.add_heading(_safe(words), level))

    def say(self, words: str, style: str = "Normal", *, bold: str = "") -> Any:
        """Write a paragraph that may open in bold; an empty one is left out."""
        if not words and not bold:
            return None
        paragraph = self.word.add_paragraph(style=style)
        if bold:
            paragraph.add_run(_safe(bold) + (" " if words else "")).bold = True
        paragraph.add_run(_safe(words))
        _turn(paragraph)
        return paragraph

    def items(self, sentences: Any, style: str = "List Bullet") -> None:
        for sentence in sentences:
            self.say(sentence, style)

    def pairs(self, rows: Any) -> None:
        for label, words in rows:
            self.say(words, bold=f"{label}.")

    def _first_page(self) -> None:
        from docx.shared import Pt

        summary = self.document.summary
        self.say("", bold=self.document.study)
        _turn(self.word.add_heading(_safe(self.document.title), 0))
        self.say(self.document.subtitle, "Quiet")
        self.say(self.layout.created, "Note")
        if summary.decision:
            self.say("", bold=summary.decision).runs[0].font.size = Pt(15)
        self.say(summary.verdict)
        if self.document.notes:
            self.heading("Read this first", 1)
            self.items(self.document.notes)
        self.heading("What was asked", 1)
        self.say(summary.question)
        if summary.answer:
            self.heading("What was found", 1)
            rows = [
                [one.label, " \N{EN DASH} ".join(x for x in (one.value, one.standing) if x), one.detail]
                for one in summary.answer
            ]
            self.grid(["What", "Found", "What it rests on"], rows)
        if self.layout.key_figure is not None:
            chapters = self.document.chapters
            shown = (
                one
                for chapter in chapters
                for one in chapter.results
                if one.heading() == summary.figure and one.has_figure
            )
            self.picture(self.layout.key_figure, next(shown), tallest=70.0)
        for words, sentences, style in (
            ("What to do next", summary.next_steps, "List Number"),
            ("How sure this is", summary.certainty, "List Bullet"),
        ):
            if sentences:
                self.heading(words, 1)
                self.items(sentences, style)

    def _estimand(self) -> None:
        if not self.layout.asks_of_data:
            return
        self.heading("What is estimated", 1)
        self.say("The five attributes of the estimand (ICH E9(R1))", "Quiet")
        if self.layout.estimand:
            self.pairs(self.layout.estimand)
        else:
            self.say("The study file states no estimand.")

    def exhibit(self, exhibit: Exhibit, result: Result) -> None:
        figure, table = exhibit.figure, exhibit.table
        if figure is not None:
            self.heading(f"Figure {figure.number}. {exhibit.heading}", 2)
        elif table is not None:
            self.heading(f"Table {table.number}. {exhibit.heading}", 2)
        else:
            self.heading(exhibit.heading, 2)
        said = self.say(exhibit.text)
        if figure is not None:
            if said is not None:
                said.paragraph_format.keep_with_next = True
            self.picture(figure, result)
        if table is not None:
            if figure is not None:
                self.caption(table)
            self.table(table)
        self.say(exhibit.note, "Note")

    def caption(self, table: NumberedTable) -> None:
        paragraph = self.say(table.heading, bold=f"Table {table.number}.")
        paragraph.paragraph_format.keep_with_next = True

    def picture(self, figure: NumberedFigure, result: Result, tallest: float = _HEIGHT_MM) -> None:
        from docx.shared import Mm

        drawing = figure.drawing
        if drawing.failure:
            self.say(f"This figure could not be drawn ({drawing.failure}). The numbers are not affected.")
            return
        if figure.number not in self.pictures:
            self.pictures[figure.number] = png_of(result)
        width, height = drawing.width * _PIXEL_MM, drawing.height * _PIXEL_MM
        scale = min(1.0, _WIDTH_MM / width, tallest / height)
        paragraph = self.word.add_paragraph()
        run = paragraph.add_run()
        shape = run.add_picture(io.BytesIO(self.pictures[figure.number]), width=Mm(width * scale))
        shape._inline.docPr.set("descr", _safe(figure.alt))  # noqa: SLF001  (python-docx has no other way to words for a picture)

    def table(self, numbered: NumberedTable) -> None:
        shown = numbered.table
        rows: list[list[str]] = []
        groups: set[int] = set()
        for body in shown.bodies:
            if body.heading:
                groups.add(len(rows))
                rows.append([body.heading, *("" for _ in shown.heads[1:])])
            rows += [["\N{EM SPACE}" * cell.indent + cell.text for cell in row] for row in body.rows]
        self.grid([head.text for head in shown.heads], rows, [head.number for head in shown.heads], groups)

    def grid(
        self,
        heads: Sequence[str],
        rows: Sequence[Sequence[str]],
        right: Sequence[bool] = (),
        groups: Collection[int] = (),
    ) -> None:
        """Write a table: heads that repeat on each page, numbers to the right, rows that no page breaks."""
        from docx.enum.text import WD_ALIGN_PARAGRAPH
        from docx.shared import Pt

        table = self.word.add_table(rows=len(rows) + 1, cols=len(heads), style="Table Grid")
        cells = iter(table._cells)  # noqa: SLF001  (asked once: a row's own cells are searched anew for every row)
        style, widths = self.word.styles["Cell"], _widths([heads, *rows])
        for column, width in zip(table.columns, widths, strict=True):
            column.width = width
        for place, words in enumerate([heads, *rows]):
            for column, text in enumerate(words):
                cell = next(cells)
                cell.width = widths[column]
                paragraph = cell.paragraphs[0]
                paragraph.style = style
                run = paragraph.add_run(_safe(text))
                run.bold = True if place == 0 or place - 1 in groups else None
                if len(heads) > _MANY:
                    run.font.size = Pt(6.5)
                if right and right[column]:
                    paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
                _turn(paragraph)
        for place, row in enumerate(table.rows):
            _mark(row, "w:cantSplit")
            if place == 0:
                _mark(row, "w:tblHeader")
        self.say(" ", "Note")

    def _methods(self) -> None:
        methods = self.layout.methods
        if methods.paragraphs:
            self.heading("Methods", 1)
        for paragraph in methods.paragraphs:
            said = [
                one.text + (f" [{', '.join(str(number) for number in one.cites)}]" if one.cites else "")
                for one in paragraph.sentences
            ]
            self.say(" ".join(said), bold=f"{paragraph.title}.")
        if methods.references:
            self.heading("References", 1)
            for reference in methods.references:
                self.say(f"{reference.number}. {reference.text}")

    def _back(self) -> None:
        layout, document = self.layout, self.document
        if document.limitations:
            self.heading("Limitations", 1)
            self.items(document.limitations)
        if document.checklists:
            self.heading("Reporting checklists", 1)
            for exhibit, result in zip(layout.checklists, document.checklists, strict=True):
                self.exhibit(exhibit, result)
        if layout.abbreviations or layout.kinds:
            self.heading("Abbreviations", 1)
            self.pairs([*layout.abbreviations, *([(MISSING, "no value")] if layout.dashes else []), *layout.kinds])
        self.heading("Reproduce this report", 1)
        self.say("What is needed to get the same numbers again", "Quiet")
        self.pairs((fact.label, ", ".join(fact.words)) for fact in layout.facts)
        for table in (*layout.fact_tables, *([layout.defaults] if layout.defaults else [])):
            self.caption(table)
            self.table(table)
        if not layout.defaults:
            self.say("The study file stated every setting: no default was used.")


def _widths(rows: Sequence[Sequence[str]]) -> list[Any]:
    """Return column widths that share the page by the length of what the columns hold, none below its longest word."""
    from docx.shared import Mm

    letters = [sum(len(row[column]) for row in rows) / len(rows) for column in range(len(rows[0]))]
    longest = [max(len(word) for row in rows for word in row[column].split() or [""]) for column in range(len(rows[0]))]
    asked = [max(math.sqrt(mean + 1) * 4, float(min(word, 20))) for mean, word in zip(letters, longest, strict=True)]
    return [Mm(_WIDTH_MM * share / sum(asked)) for share in asked]


def _safe(words: str) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", words)


def _mark(row: Any, name: str) -> None:
    from docx.oxml import OxmlElement

    row._tr.get_or_add_trPr().append(OxmlElement(name))  # noqa: SLF001  (python-docx does not know these two)


def _turn(paragraph: Any) -> None:
    """Let a paragraph that opens in a right-to-left script run from the right."""
    kinds = (unicodedata.bidirectional(letter) for letter in paragraph.text)
    if next((kind for kind in kinds if kind in {"L", "R", "AL"}), "L") == "L":
        return
    from docx.oxml import OxmlElement

    paragraph._p.get_or_add_pPr().insert_element_before(  # noqa: SLF001
        OxmlElement("w:bidi"),
        "w:adjustRightInd", "w:snapToGrid", "w:spacing", "w:ind", "w:contextualSpacing", "w:mirrorIndents",
        "w:suppressOverlap", "w:jc", "w:textDirection", "w:textAlignment", "w:outlineLvl", "w:rPr", "w:sectPr",
    )  # fmt: skip
    for run in paragraph.runs:
        run.font.rtl = True


def _moment(created: str) -> datetime:
    try:
        return datetime.fromisoformat(created).astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        return datetime(2000, 1, 1)  # noqa: DTZ001  (Word's own moments know no zone)

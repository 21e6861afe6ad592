"""A report as an object: a summary, chapters of results in one order, and what is needed to make it again.

Nothing is computed here and nothing is drawn: a document is words and results, and can be stored as JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from trialml.errors import DataError
from trialml.result import CHAPTERS, Result

__all__ = ["Chapter", "Document", "Finding", "Summary", "assemble"]

_HEADINGS = {
    "data": ("Patients and data", "Who was in the trial, what was measured, can it be trusted?"),
    "survival": ("Survival", "What happened over time?"),
    "effects": ("Treatment effect", "What did the treatment do, on average and by subgroup?"),
    "models": ("Models", "Who will do badly (risk), and who will benefit (response)?"),
    "validation": ("Validation", "How good is the model on patients it has not seen?"),
    "explain": ("Explanation", "Why does the model say so?"),
    "strata": ("Strata", "Which groups of patients, in words a protocol can use?"),
    "design": ("The next trial", "What should the next trial look like?"),
    "other": ("Other analyses", "What else was asked of these data?"),
}

_FORMAT = 1


@dataclass(frozen=True)
class Finding:
    """One number of the summary, shown large.

    Attributes
    ----------
    label
        What the number is: ``"Hazard ratio, combination against control"``.
    value
        The number as it is to be read, with its interval: ``"0.492 (0.385 to 0.628)"``.
    detail
        What it rests on: ``"1,054 patients, 284 events; primary analysis"``.
    standing
        How firm it is, in one to three words: ``"shown"``, ``"exploratory"``.
    """

    label: str
    value: str
    detail: str = ""
    standing: str = ""


@dataclass(frozen=True)
class Summary:
    """The first page: what was asked, what was found, what to do next, how sure that is.

    Attributes
    ----------
    question
        What was asked, in one or two sentences.
    answer
        What was found, three to six findings.
    next_steps, certainty
        What to do next, and how sure all this is; one sentence each.
    verdict
        What was shown and what follows, in two sentences.
    decision
        The decision in ten words, at the very top; the verdict says why.
    figure
        The heading of the result whose picture stands on the first page, empty for none.
    """

    question: str
    answer: Sequence[Finding] = ()
    next_steps: Sequence[str] = ()
    certainty: Sequence[str] = ()
    verdict: str = ""
    decision: str = ""
    figure: str = ""

    def __post_init__(self) -> None:
        for name in ("answer", "next_steps", "certainty"):
            object.__setattr__(self, name, _sequence("Summary", name, getattr(self, name)))


@dataclass(frozen=True, eq=False)
class Chapter:
    """One chapter: a question and the results that answer it.

    Attributes
    ----------
    key
        One of ``trialml.result.CHAPTERS``, or ``"other"``.
    title, question
        The heading, and the question under it.
    lead
        The chapter's answer in one to three sentences, before any figure.
    results
        In the order in which they are shown.
    """

    key: str
    title: str
    question: str
    lead: str = ""
    results: tuple[Result, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", tuple(self.results))


@dataclass(frozen=True, eq=False)
class Document:
    """Everything a report says, before any format.

    Attributes
    ----------
    title, study, subtitle
        The heading of the report, the study's name, and a line under the heading.
    created
        When it was made, in ISO 8601: ``"2026-11-23T22:04:00+00:00"``.
    estimand
        The five attributes of ICH E9(R1): ``population``, ``treatment``, ``variable``, ``intercurrent_events``
        and ``summary``.
    summary
        The first page.
    chapters
        In the order of ``trialml.result.CHAPTERS``.
    notes
        What the reader must know before the numbers, such as warnings about the data.
    defaults
        Pairs of a key of the study file and the default that was used for it.
    reproduce
        What is needed to make the report again: ``data_sha256``, ``versions``, ``seed``, ``commands``. Values are
        words, numbers, sequences of them, or mappings.
    limitations
        One sentence each.
    checklists
        Results that answer a reporting guideline item by item; they stand behind the methods.
    """

    title: str
    study: str
    subtitle: str
    created: str
    estimand: Mapping[str, str]
    summary: Summary
    chapters: Sequence[Chapter]
    notes: Sequence[str] = ()
    defaults: Sequence[tuple[str, Any]] = ()
    reproduce: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    limitations: Sequence[str] = ()
    checklists: Sequence[Result] = ()

    def __post_init__(self) -> None:
        for name in ("chapters", "notes", "limitations", "checklists"):
            object.__setattr__(self, name, _sequence("Document", name, getattr(self, name)))
        pairs = self.defaults.items() if isinstance(self.defaults, Mapping) else self.defaults
        object.__setattr__(self, "defaults", tuple((str(key), _plain(value)) for key, value in pairs))
        object.__setattr__(self, "estimand", {str(key): str(words) for key, words in self.estimand.items()})
        object.__setattr__(self, "reproduce", _plain(self.reproduce))

    @property
    def results(self) -> tuple[Result, ...]:
        """Every result, in the order in which it is shown."""
        return tuple(result for chapter in self.chapters for result in chapter.results)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types from which `from_dict` makes a document that renders to the same bytes."""
        chapters = []
        for chapter in self.chapters:
            words = {name: getattr(chapter, name) for name in ("key", "title", "question", "lead")}
            chapters.append({**words, "results": [result.to_dict() for result in chapter.results]})
        names = ("title", "study", "subtitle", "created", "estimand", "reproduce")
        return {
            "format": _FORMAT,
            **{name: getattr(self, name) for name in names},
            "summary": _plain(dataclasses.asdict(self.summary)),
            "chapters": chapters,
            "notes": list(self.notes),
            "defaults": [list(pair) for pair in self.defaults],
            "limitations": list(self.limitations),
            "checklists": [result.to_dict() for result in self.checklists],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the document that `to_dict` wrote.

        Raises
        ------
        DataError
            If `stored` is not a document, or of a format that this version does not know.
        """
        if stored.get("format") != _FORMAT:
            raise DataError(
                f"the stored report has format {stored.get('format')!r}, but this version of trialml reads format "
                f"{_FORMAT}: render it with the version that wrote it"
            )
        try:
            fields = {field.name: stored[field.name] for field in dataclasses.fields(cls) if field.name != "checklists"}
            # Reports stored before there were checklists are read without.
            fields["checklists"] = [Result.from_dict(result) for result in stored.get("checklists", ())]
            summary = dict(fields["summary"])
            summary["answer"] = [Finding(**finding) for finding in summary["answer"]]
            fields["summary"] = Summary(**summary)
            fields["chapters"] = [_chapter_from(chapter) for chapter in fields["chapters"]]
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the stored report cannot be read ({type(error).__name__}: {error}): write it again with "
                "Document.to_dict"
            ) from error


def assemble(
    results: Sequence[Result],
    *,
    title: str,
    study: str,
    summary: Summary,
    subtitle: str = "",
    created: str = "",
    estimand: Mapping[str, str] | None = None,
    leads: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    defaults: Sequence[tuple[str, Any]] = (),
    reproduce: Mapping[str, Any] | None = None,
    limitations: Sequence[str] = (),
    checklists: Sequence[Result] = (),
) -> Document:
    """Put any results into chapters and return the document.

    Parameters
    ----------
    results
        In any order; within a chapter they keep the order in which they are given.
    leads
        The opening sentences of a chapter by its key. A chapter with a lead and no result is shown, so that the
        lead can say why; a chapter with neither is left out.
    title, study, summary, subtitle, created, estimand, notes, defaults, reproduce, limitations, checklists
        As in `Document`.

    Returns
    -------
    Document
        Its chapters are in the order of ``trialml.result.CHAPTERS``, results from outside the package last.

    Raises
    ------
    DataError
        If `leads` names a chapter that does not exist.
    """
    leads = leads or {}
    unknown = [key for key in leads if key not in _HEADINGS]
    if unknown:
        raise DataError(f"there is no chapter {unknown[0]!r}: the chapters are {', '.join(_HEADINGS)}")
    chapters = []
    for key in (*CHAPTERS, "other"):
        inside = tuple(result for result in results if _key(result) == key)
        if inside or leads.get(key):
            heading, question = _HEADINGS[key]
            chapters.append(Chapter(key, heading, question, leads.get(key, ""), inside))
    return Document(
        title=title,
        study=study,
        subtitle=subtitle,
        created=created,
        estimand=estimand or {},
        summary=summary,
        chapters=chapters,
        notes=notes,
        defaults=defaults,
        reproduce=reproduce or {},
        limitations=limitations,
        checklists=checklists,
    )


def _key(result: Result) -> str:
    return result.chapter if result.chapter in CHAPTERS else "other"


def _chapter_from(stored: Mapping[str, Any]) -> Chapter:
    words = {name: stored[name] for name in ("key", "title", "question", "lead")}
    return Chapter(**words, results=tuple(Result.from_dict(result) for result in stored["results"]))


def _sequence(owner: str, name: str, value: Any) -> tuple[Any, ...]:
    # One string is a sequence of letters: the report would show a list with one letter a line.
    if isinstance(value, str):
        raise TypeError(f"{owner}.{name} is the string {value[:40]!r}, but a sequence is needed: put it in a list")
    return tuple(value)


def _plain(value: Any) -> Any:
    """Return JSON types; what JSON does not know becomes words."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    return _plain(value.item()) if hasattr(value, "item") else str(value)

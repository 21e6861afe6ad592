"""The methods text with its numbered references, and the abbreviations that a reader meets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from trialml.report.document import Document

__all__ = [
    "ABBREVIATIONS",
    "Methods",
    "Paragraph",
    "Reference",
    "Sentence",
    "abbreviations_in",
    "methods_of",
    "strings",
]

ABBREVIATIONS = {
    "AUC": "area under the receiver operating characteristic curve",
    "CI": "confidence interval",
    "CIF": "cumulative incidence function",
    "C-index": "concordance index: how often the patient with the earlier event had the higher risk",
    "CONSORT": "Consolidated Standards of Reporting Trials",
    "EPV": "events per variable",
    "HR": "hazard ratio, experimental to control; below 1 favours experimental",
    "ICH": "International Council for Harmonisation",
    "ICI": "integrated calibration index: the average gap between predicted and observed risk",
    "IPA": "index of prediction accuracy: how much of the Brier score of the null model is taken away",
    "IPCW": "inverse probability of censoring weighting",
    "IQR": "interquartile range",
    "ITT": "intention to treat",
    "MC": "Monte Carlo",
    "NR": "not reached",
    "O/E": "observed to expected events",
    "PH": "proportional hazards",
    "Q1": "first quartile",
    "Q3": "third quartile",
    "RATE": "rank-weighted average treatment effect",
    "RMST": "restricted mean survival time: the mean event-free time up to a stated time",
    "SD": "standard deviation",
    "SE": "standard error",
    "SHAP": "Shapley additive explanations",
    "SMD": "standardised mean difference",
    "TOC": "targeting operator characteristic",
    "TRIPOD": "Transparent Reporting of a multivariable prediction model for Individual Prognosis Or Diagnosis",
    "n/a": "not available or not applicable",
}

_DOI = re.compile(r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/)(10\.\d{4,9}/[^\s\"<>]+?)[.,;]?$", re.IGNORECASE)


class Reference(NamedTuple):
    """A source; `doi` is empty where the reference does not end in one."""

    number: int
    text: str
    doi: str


class Sentence(NamedTuple):
    """A piece of methods text and the numbers of its references."""

    text: str
    cites: tuple[int, ...]


class Paragraph(NamedTuple):
    """The methods of one chapter."""

    title: str
    sentences: tuple[Sentence, ...]


class Methods(NamedTuple):
    """The methods text of a report."""

    paragraphs: tuple[Paragraph, ...]
    references: tuple[Reference, ...]


def methods_of(document: Document) -> Methods:
    """Return what the results say of their methods, each thing once, references numbered in order of first citation."""
    numbers: dict[str, int] = {}
    said: set[str] = set()
    paragraphs = []
    for chapter in document.chapters:
        sentences = []
        for result in chapter.results:
            text = " ".join(str(result.methods).split())
            if not text or text in said:
                continue
            said.add(text)
            cites = [numbers.setdefault(" ".join(source.split()), len(numbers) + 1) for source in result.references]
            sentences.append(Sentence(text, tuple(sorted(set(cites)))))
        if sentences:
            paragraphs.append(Paragraph(chapter.title, tuple(sentences)))
    references = (Reference(number, source, _doi(source)) for source, number in numbers.items())
    return Methods(tuple(paragraphs), tuple(references))


def abbreviations_in(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the abbreviations that stand in `texts` as words of their own, with what they mean, in alphabetical order."""
    text = "\n".join(texts)
    return tuple(
        (short, meaning)
        for short, meaning in sorted(ABBREVIATIONS.items(), key=lambda item: item[0].lower())
        if re.search(rf"(?<![\w/-]){re.escape(short)}(?![\w/-])", text)
    )


def strings(value: Any) -> Iterable[str]:
    """Yield every string inside nested tuples, lists and mappings, pictures left out."""
    if isinstance(value, str):
        if not value.startswith("data:"):
            yield value
    elif isinstance(value, dict):
        yield from strings(tuple(value.items()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def _doi(source: str) -> str:
    found = _DOI.search(source)
    return found[1] if found else ""

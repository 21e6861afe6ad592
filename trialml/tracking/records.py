"""From results to records: small typed things that any tracker can log. No MLflow here."""

from __future__ import annotations

import io
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialml.result import Result

__all__ = [
    "Artifact",
    "Dataset",
    "Metric",
    "ModelInput",
    "ModelVersion",
    "Record",
    "TrackedRun",
    "Undefined",
    "metric_name",
    "records_of",
    "safe_name",
    "slug",
]

_LONGEST_NAME = 200

_READING_ORDER = ("validation", "strata", "effects", "design", "survival", "models", "explain", "data")
"""MLflow lists metrics in the order in which they were logged: what a reviewer judges by comes first."""


@dataclass(frozen=True)
class Metric:
    """A finite number under a contract name, ``<chapter>/<what>``."""

    name: str
    value: float


@dataclass(frozen=True)
class Undefined:
    """A number that could not be estimated; it is listed in a tag, never logged as NaN or infinity."""

    name: str


@dataclass(frozen=True)
class Artifact:
    """A small text file under the folder of its chapter."""

    path: str
    content: str


Record = Metric | Undefined | Artifact


@dataclass(frozen=True)
class Dataset:
    """The data a run rests on: names, types and digests, never rows.

    Attributes
    ----------
    name, source
        Name of the cohort, and the source as the study file gives it.
    sha256
        Digest of the whole file (MLflow's own looks at the first 10,000 rows only).
    patients, events
        Size of the analysis set.
    columns
        Type by name of column, in words; what the columns hold stays with the data.
    """

    name: str
    source: str
    sha256: str
    patients: int
    events: int
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelInput:
    """One input of a model: name, ``any`` or ``string``, and whether it may be missing."""

    name: str
    kind: str
    required: bool


@dataclass(frozen=True)
class ModelVersion:
    """A model to be registered.

    Attributes
    ----------
    name
        Registered name.
    write
        Writes the model's own files to an empty folder.
    loader_module
        Module whose ``_load_pyfunc(path)`` reads them back.
    inputs, outputs
        The signature; outputs as (name, ``double`` or ``string``).
    params
        Parameters of `predict` with their defaults.
    requirements
        What scoring needs, pinned.
    description, tags
        Shown on the version's page.
    example
        One made-up patient by name of input, stored with the model in the clear: never a row of the data.
    """

    name: str
    write: Callable[[Path], None]
    loader_module: str
    inputs: Sequence[ModelInput]
    outputs: Sequence[tuple[str, str]]
    params: Mapping[str, float] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    example: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackedRun:
    """Everything one run logs.

    Attributes
    ----------
    experiment, run_name, description
        Line 1 of the description is plain text with the verdict.
    params, tags
        Short words by name.
    results
        Turned into records by `records_of`.
    files
        Local files by artifact path, such as ``report/index.html``.
    texts
        Contents by artifact path, such as ``model_card.md``.
    dataset, model
        What it rests on and what it makes.
    picture
        As `records_of` takes it.
    mark
        By which the same run is known again, of which a store may hold an attempt that broke off.
    """

    experiment: str
    run_name: str
    description: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    results: Sequence[Result]
    dataset: Dataset
    model: ModelVersion | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    picture: Callable[[Result], bytes] | None = None
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)


def slug(words: str) -> str:
    """Return words as a file name: lower case, hyphens, nothing else."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:80] or "result"


def safe_name(words: str) -> str:
    """Return a name that MLflow takes for an experiment, run or model: no markup, no slash, no colon."""
    return re.sub(r"[^\w. -]+", "_", words).strip(" _.")[:_LONGEST_NAME].rstrip(" _.") or "unnamed"


def metric_name(chapter: str, what: str) -> str:
    """Return ``<chapter>/<what>`` with the characters that MLflow's metric names allow."""
    word = re.sub(r"[^\w.-]+", "_", what).strip("_") or "value"
    return f"{chapter}/{word}"[:_LONGEST_NAME]


def records_of(results: Sequence[Result], picture: Callable[[Result], bytes] | None = None) -> list[Record]:
    """Return the records of results: the numbers, validation first and the data last, then the files in order.

    Parameters
    ----------
    results
        Any results; two with the same heading in one chapter get numbered files, and metrics that would share a
        name get the later result's heading in front.
    picture
        Gives a result's figure as SVG, where it was drawn already; drawn here by default.

    Returns
    -------
    list
        For each result its metrics (finite, four significant digits), its frame as CSV, itself as JSON, its text,
        and its figure as SVG.
    """
    records: list[Record] = []
    numbers: list[Metric | Undefined] = []
    files: set[str] = set()
    metrics: set[str] = set()
    for result in results:
        stem = _free(f"{result.chapter}/{slug(result.heading())}", files)
        scalars = result.scalars()
        for name, value in zip(_metric_names(result, list(scalars), metrics), scalars.values(), strict=True):
            finite = value is not None and math.isfinite(value)
            numbers.append(Metric(name, _rounded(float(value))) if finite else Undefined(name))
        records.append(Artifact(f"{stem}.csv", result.frame().to_csv(index=False, float_format="%.8g")))
        records.append(Artifact(f"{stem}.json", json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n"))
        records.append(Artifact(f"{stem}.txt", result.text() + "\n"))
        if result.has_figure:
            svg = _svg(result) if picture is None else picture(result).decode("utf-8")
            records.append(Artifact(f"{stem}.svg", svg))
    return [*sorted(numbers, key=_place), *records]


def _place(number: Metric | Undefined) -> int:
    chapter = number.name.partition("/")[0]
    return _READING_ORDER.index(chapter) if chapter in _READING_ORDER else len(_READING_ORDER)


def _metric_names(result: Result, scalars: Sequence[str], taken: set[str]) -> list[str]:
    """Name a result's metrics; where an earlier result has one of the names, all of them say which result's they are."""
    particular, number = slug(result.heading().rpartition(": ")[2]).replace("-", "_"), 1
    names = _unlike(metric_name(result.chapter, what) for what in scalars)
    while taken.intersection(names):
        which = particular if number == 1 else f"{particular}_{number}"
        names, number = _unlike(metric_name(result.chapter, f"{which}_{what}") for what in scalars), number + 1
    taken.update(names)
    return names


def _unlike(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [_free(name, seen) for name in names]


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    taken.add(free)
    return free


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _svg(result: Result) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    settings: dict[str, Any] = {
        "svg.fonttype": "path",
        "svg.hashsalt": "trialml",
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10,
    }
    target = io.StringIO()
    with rc_context(settings):
        figure = Figure(figsize=result.figure_size, layout="constrained")
        result.draw(figure)
        figure.draw_without_rendering()
        for words in figure.findobj(Text):
            # `plain_text` writes \$ for whoever draws with mathematics on; with it off the backslash would show.
            if r"\$" in words.get_text():
                words.set_parse_math(True)
        figure.savefig(target, format="svg", metadata={"Date": None})
    return target.getvalue()

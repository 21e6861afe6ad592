"""What every analysis returns: a `Result`, whose headline numbers are `Estimate`s.

A result holds numbers, never patient rows and never a fitted model. The report and the tracker know nothing but
this file, so a new analysis appears in both by existing.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import pandas as pd

__all__ = [
    "CHAPTERS",
    "COLOURS",
    "Z95",
    "Estimate",
    "Kind",
    "Result",
    "counted",
    "format_count",
    "format_number",
    "format_p",
    "kind_words",
    "plain_text",
    "with_limits",
]

CHAPTERS = ("data", "survival", "effects", "models", "validation", "explain", "strata", "design")
"""The one list of words, in order; anything outside the package is in chapter ``other``."""

COLOURS = {
    "control": "#5B5B5B",
    "experimental": "#0072B2",
    "third": "#D55E00",
    "fourth": "#009E73",
    "fifth": "#CC79A7",
    "reference": "#8C8C8C",
}
"""Okabe and Ito's colours: told apart by colour-blind readers and, with the line styles, in black and white."""

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""

Kind = Literal["direct", "computed", "apparent", "corrected", "crossfit", "external", "simulated"]
KIND_IN_WORDS = {"corrected": "optimism-corrected", "crossfit": "cross-fitted"}
"""What a text calls a kind of number, where that is not its own name."""


def kind_words(kind: str) -> str:
    """Return what a text calls a kind of number."""
    return KIND_IN_WORDS.get(kind, kind)


def format_number(value: float, digits: int = 3) -> str:
    """Return `value` with `digits` significant digits, whole numbers from 10**digits on, and words for the rest.

    Parameters
    ----------
    value
        Any float. NaN becomes ``"n/a"``, infinity ``"NR"`` (not reached).
    digits
        Significant digits.

    Returns
    -------
    str
        For example ``"0.492"``, ``"91.0"``, ``"1,054"``.
    """
    if value is None or math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "NR"
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    carried = abs(round(value, decimals)) >= 10 ** (digits - decimals)  # .9996 is 1.00, not 1.000
    return f"{value:,.{max(decimals - carried, 0)}f}".replace("-", "\N{MINUS SIGN}")


def format_count(value: float) -> str:
    """Return a whole number with thousands separators, ``"n/a"`` where there is none."""
    return "n/a" if value is None or math.isnan(value) else f"{round(value):,}"


def counted(count: float, noun: str) -> str:
    """Return a count with its noun: ``"1 warning"``, ``"2 warnings"``, ``"no warnings"``."""
    number = "no" if round(count) == 0 else format_count(count)
    return f"{number} {noun}{'' if round(count) == 1 else 's'}"


def format_p(p: float) -> str:
    """Return a p-value as journals print it: ``"<0.001"``, ``"0.004"``, ``"0.31"``; never 0.000."""
    if p is None or math.isnan(p):
        return "n/a"
    if p < 0.001:
        return "<0.001"
    if p > 0.99:
        return ">0.99"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def plain_text(words: str) -> str:
    """Return `words` fit for a figure: dollar signs would start mathematics, line breaks would break a label."""
    return " ".join(str(words).split()).replace("$", r"\$")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One number with everything a reader needs to judge it.

    Attributes
    ----------
    value, low, high
        The estimate and its confidence limits, on `scale`. Limits are NaN where there are none.
    scale
        What the number is, and whether it is conditional or marginal: ``"hazard ratio, conditional on strata"``.
    unit
        The unit of the number, empty for pure numbers.
    kind
        ``direct`` (an estimate from the trial), ``computed`` (a design figure), ``apparent``, ``corrected``,
        ``crossfit``, ``external`` or ``simulated``.
    level
        The confidence level of the limits.
    se
        The standard error, on the scale that `method` names (the log scale for ratios).
    n, events
        Patients and events that the number rests on.
    method
        How it was got, in a few words.
    mc_error
        The Monte Carlo standard error of a simulated number.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    scale: str = ""
    unit: str = ""
    kind: Kind = "direct"
    level: float = 0.95
    se: float = math.nan
    n: int | None = None
    events: int | None = None
    method: str = ""
    mc_error: float | None = None

    def text(self, digits: int = 3) -> str:
        """Return ``"0.492 (95% CI 0.385 to 0.628)"``, with the unit after the value."""
        value = format_number(self.value, digits) + (f" {self.unit}" if self.unit else "")
        if math.isnan(self.low) and math.isnan(self.high):
            return value
        low, high = format_number(self.low, digits), format_number(self.high, digits)
        return f"{value} ({100 * self.level:g}% CI {low} to {high})"

    def __str__(self) -> str:
        return self.text()


def with_limits(named: Mapping[str, Estimate]) -> dict[str, float]:
    """Return each estimate as headline numbers: its value under its name, its limits under ``_low`` and ``_high``."""
    numbers: dict[str, float] = {}
    for name, estimate in named.items():
        numbers |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return numbers


class Result(ABC):
    """Base of every analysis' result; subclasses are frozen dataclasses of numbers, words and small frames.

    A subclass lives beside the function that makes it. Its `chapter` follows from the folder it is written in.
    """

    title: ClassVar[str] = ""
    chapter: ClassVar[str] = "other"
    methods: ClassVar[str] = ""
    """One or two sentences for the methods text of the report."""
    references: ClassVar[tuple[str, ...]] = ()
    """Sources cited by `methods`, each a full reference."""
    figure_size: ClassVar[tuple[float, float]] = (7.2, 4.0)
    """Inches, width first."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parts = cls.__module__.split(".")
        if len(parts) > 1 and parts[0] == "trialml" and parts[1] in CHAPTERS:
            cls.chapter = parts[1]

    @abstractmethod
    def frame(self) -> pd.DataFrame:
        """Return the tidy and complete numbers: everything that `text`, `table` and `draw` use; no index."""

    @abstractmethod
    def text(self) -> str:
        """Return one to three sentences fit for a paper: estimate, interval, n, unit, method."""

    @abstractmethod
    def scalars(self) -> Mapping[str, float]:
        """Return the headline numbers by name; ``<name>_low`` and ``<name>_high`` are a number's interval."""

    def heading(self) -> str:
        """Return the title of this very result; `title` unless it says something more particular."""
        return self.title

    def table(self) -> pd.DataFrame | None:
        """Return the table that a reader sees, or None where the figure says it all."""
        frame = self.frame()
        return frame if len(frame) <= 30 else None

    def draw(self, figure: Any) -> None:  # noqa: B027  (optional by design)
        """Draw a view of `frame` on a matplotlib figure or subfigure; results without a picture do not override."""

    @property
    def has_figure(self) -> bool:
        """Whether this result can be drawn."""
        return type(self).draw is not Result.draw

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types from which `from_dict` makes an equal result."""
        return cast("dict[str, Any]", _encode(self))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the result that `to_dict` wrote, so that a report can be rendered again without fitting.

        Raises
        ------
        ValueError
            If `stored` does not describe a result of this package and of this class.
        """
        result = _decode(stored)
        if not isinstance(result, cls):
            message = f"the stored object is a {type(result).__name__}, but a {cls.__name__} was expected"
            raise ValueError(message)  # noqa: TRY004  (the stored value is wrong, not the caller's type)
        return result


_TAG = "~"


def _encode(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_TAG: "float", "value": repr(value)}
    if isinstance(value, np.ndarray):
        return {_TAG: "array", "dtype": str(value.dtype), "value": _encode(value.tolist())}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _encode(value[name].tolist()) for name in value.columns}
        dtypes = {str(name): str(value[name].dtype) for name in value.columns}
        return {_TAG: "frame", "columns": columns, "dtypes": dtypes}
    if isinstance(value, Mapping):
        return {_TAG: "mapping", "items": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {_TAG: "tuple", "value": [_encode(item) for item in value]}
    if isinstance(value, Sequence):
        return [_encode(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {
            _TAG: "object",
            "type": f"{type(value).__module__}:{type(value).__qualname__}",
            "fields": fields,
        }
    message = f"a result cannot hold a {type(value).__name__}: keep numbers, words, arrays and small frames"
    raise TypeError(message)


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    match value.get(_TAG):
        case "float":
            return float(value["value"])
        case "array":
            return np.asarray(_decode(value["value"]), dtype=value["dtype"])
        case "frame":
            columns = {
                name: pd.Series(_decode(column), dtype=value["dtypes"][name])
                for name, column in value["columns"].items()
            }
            return pd.DataFrame(columns)
        case "mapping":
            return {_decode(key): _decode(item) for key, item in value["items"]}
        case "tuple":
            return tuple(_decode(value["value"]))
        case "object":
            return _decode_object(value)
    message = f"the stored value has the tag {value.get(_TAG)!r}, which no version of trialml writes"
    raise ValueError(message)


def _decode_object(value: Mapping[str, Any]) -> Any:
    module, _, name = str(value["type"]).partition(":")
    # Only this package's own dataclasses are ever built: a stored report is data, never a way to run code.
    if module != "trialml" and not module.startswith("trialml."):
        message = f"the stored object is of type {value['type']!r}, which is not one of trialml's"
        raise ValueError(message)
    kind = getattr(importlib.import_module(module), name, None)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        message = f"the stored object is of type {value['type']!r}, which this version of trialml does not have"
        raise ValueError(message)
    return kind(**{name: _decode(item) for name, item in value["fields"].items()})

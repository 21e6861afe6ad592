"""What was noticed while the data were read: the raw material of the numbered checks and of the cleaning log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity"]

Severity = Literal["note", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that reading noticed; it counts values and never shows one.

    Attributes
    ----------
    rule
        A stable word that names the kind of finding: ``"mixed spelling"``, ``"partial date"``, ``"unit"``,
        ``"event before time zero"``, ``"text in numbers"``, ``"unknown subject"``, ``"population"``, ...
    subject
        What was looked at: a column, or ``dataset.column``.
    count
        How many values (or patients) it concerns.
    finding
        What was seen, a sentence.
    done
        What was done about it, a sentence; empty where nothing was changed.
    severity
        ``"note"`` where a reader should know, ``"warning"`` where a reader should act. What must not pass is refused.
    rows
        The rows concerned, as the file numbers them, for the terminal alone; empty where none can be named.
    words
        The values concerned where hardly any patient has them, for the terminal alone.
    """

    rule: str
    subject: str
    count: int
    finding: str
    done: str = ""
    severity: Severity = "note"
    rows: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

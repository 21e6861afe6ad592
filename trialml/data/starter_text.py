"""Writing a study file: TOML with a reason beside each guess, and a mark where something has to be filled in."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence

__all__ = ["FILL_IN", "StudyText", "unfilled"]

FILL_IN = "fill in"
"""A value that stands for a decision; no study file that holds it is accepted."""

_WIDTH = 100
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def unfilled(tables: object, place: str = "") -> list[str]:
    """Return the keys of a study file that still say `FILL_IN`, as ``[table] key``, in the order of the file."""
    found: list[str] = []
    if isinstance(tables, Mapping):
        for key, value in tables.items():
            if value == FILL_IN or (isinstance(value, list) and FILL_IN in value):
                found.append(f"[{place}] {key}" if place else str(key))
            else:
                found += unfilled(value, f"{place}.{key}" if place else str(key))
    elif isinstance(tables, list):
        for one in tables:
            found += unfilled(one, place)
    return found


def quoted(value: str | float | Sequence[str]) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the delete character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return f"{value:g}" if value == round(value, 6) and abs(value) < 1e6 else repr(float(value))
    return f"[{', '.join(quoted(one) for one in value)}]"


def _plain(words: str) -> str:
    """Return words fit for a comment: one line, no control characters."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", words).strip()


class StudyText:
    """A study file that grows line by line, and a list of what it leaves open."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.open: list[tuple[str, str]] = []
        self._table = ""

    def text(self) -> str:
        """Return the file so far."""
        return "\n".join(self._lines).strip("\n") + "\n"

    def comment(self, words: str) -> None:
        """Add a comment, wrapped."""
        self._lines += [f"# {line}" for line in textwrap.wrap(_plain(words), _WIDTH - 2)]

    def table(self, heading: str, words: str = "") -> None:
        """Open a table, ``study`` or ``[endpoints]``, with words above its keys."""
        self._table = heading.strip("[]")
        self._lines += ["", f"[{heading}]"]
        if words:
            self.comment(words)

    def key(self, name: str, value: str | float | Sequence[str], why: str = "") -> None:
        """Add a key with its reason beside it, or above it where the line would be long."""
        self._beside(f"{self._name(name)} = {quoted(value)}", why)

    def items(self, name: str, items: Mapping[str, str]) -> None:
        """Add a list with one item a line and the reason beside each."""
        if not items:
            self._lines.append(f"{self._name(name)} = []")
            return
        self._lines.append(f"{self._name(name)} = [")
        wide = max(len(quoted(item)) for item in items)
        for item, why in items.items():
            written = f"{quoted(item)},".ljust(min(wide, 24) + 1)
            self._lines.append(f"    {written}  # {_plain(why)}".rstrip(" #") if why else f"    {quoted(item)},")
        self._lines.append("]")

    def fill_in(self, name: str, what: str, *, listed: bool = False) -> None:
        """Add a key that its reader has to fill in."""
        self.open.append((f"[{self._table}] {name}", what))
        value = quoted([FILL_IN]) if listed else quoted(FILL_IN)
        self._beside(f"{self._name(name)} = {value}", f">>> FILL IN: {what}")

    def _beside(self, line: str, why: str) -> None:
        words = _plain(why)
        if words and len(line) + len(words) + 4 > _WIDTH:
            self.comment(words)
            words = ""
        self._lines.append(f"{line}  # {words}" if words else line)

    @staticmethod
    def _name(name: str) -> str:
        return name if _BARE.fullmatch(name) else quoted(name)

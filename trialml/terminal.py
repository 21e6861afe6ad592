"""Words on a terminal: nothing that a data file, a run or a model is called can give the terminal an order."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["one_line", "say"]


def one_line(words: object) -> str:
    """Return words fit for a terminal: a line break or control character of the data is shown, not obeyed."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", lambda found: ascii(found[0])[1:-1], str(words))


def say(console: Any, words: object, *, style: str | None = None) -> None:
    """Print one line as it is, without markup."""
    console.print(one_line(words), style=style, soft_wrap=True, markup=False, highlight=False)

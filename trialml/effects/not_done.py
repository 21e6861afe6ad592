"""An analysis that the data do not permit, in words instead of a number."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from trialml.result import Result

__all__ = ["NotDone"]


@dataclass(frozen=True, eq=False)
class NotDone(Result):
    """What was asked for and why it was not done, so that a reader does not take its absence for an oversight.

    Attributes
    ----------
    what
        The title of the analysis.
    reason
        Why it was not done, a sentence without its full stop.
    """

    title = "Analysis not done"

    what: str
    reason: str

    def heading(self) -> str:
        """Return the title of the analysis that is missing."""
        return f"{self.what}: not done"

    def frame(self) -> pd.DataFrame:
        """Return one row: what, and why not."""
        return pd.DataFrame({"analysis": [self.what], "reason": [self.reason]})

    def text(self) -> str:
        """Return what was not done and why."""
        return f"{self.what} was not done: {self.reason}."

    def scalars(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def table(self) -> None:
        """The text says it all."""

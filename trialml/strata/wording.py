"""The strata as a protocol would state them, for the report."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from trialml.result import Result
from trialml.strata.strata import Strata, strata_made_by

__all__ = ["StrataWording", "strata_wording"]


@dataclass(frozen=True, eq=False)
class StrataWording(Result):
    """Names and rules of the final strata, and what becomes of values on a cut-point, of missing and of new ones."""

    title = "The strata in words"

    rows: pd.DataFrame
    """Columns stratum, rule."""
    statements: tuple[str, ...]
    made_by: str

    def frame(self) -> pd.DataFrame:
        """Return one row a stratum."""
        return self.rows

    def text(self) -> str:
        """Return what the strata are made by, and what holds for all rules."""
        return f"The strata are made by {self.made_by}. " + " ".join(self.statements)

    def scalars(self) -> dict[str, float]:
        """Return nothing: the rules are to be read."""
        return {}

    def table(self) -> pd.DataFrame:
        """Return the rules for reading."""
        return self.rows.set_axis(["Stratum", "Rule"], axis=1)


def strata_wording(strata: Strata, risk_name: str = "risk") -> StrataWording:
    """Return the words of frozen strata.

    Parameters
    ----------
    strata
        The final strata.
    risk_name
        What is predicted where that is no risk.
    """
    rows = pd.DataFrame([(stratum.name, stratum.rule) for stratum in strata.strata], columns=["stratum", "rule"])
    return StrataWording(rows, strata.statements(), strata_made_by(strata.kind, risk_name))

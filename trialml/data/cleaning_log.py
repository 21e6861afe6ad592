"""What was changed while the data were read: a table of counts by rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_catalogue import check_of_rule
from trialml.data.trial import Trial
from trialml.result import Result, counted, format_count

__all__ = ["CleaningLog", "cleaning_log"]


@dataclass(frozen=True, eq=False)
class CleaningLog(Result):
    """Rules that reading applied, with counts; counts from 1 to 10 are withheld.

    Attributes
    ----------
    rows
        Columns ``rule``, ``subject``, ``count`` (NaN where it is withheld), ``check`` and ``done``.
    """

    title = "Cleaning log"

    rows: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """Return one row a rule and column."""
        return self.rows

    def text(self) -> str:
        """Return how many rules changed something."""
        changed = self.rows[(self.rows["done"] != "") & (self.rows["count"] != 0)]
        if changed.empty:
            return "Nothing was changed while the data were read."
        rules = ", ".join(changed["rule"].drop_duplicates())
        applied = changed["rule"].nunique()
        columns = counted(changed["subject"].nunique(), "column")
        return f"While the data were read, {counted(applied, 'rule')} {'was' if applied == 1 else 'were'} applied to {columns}: {rules}."

    def scalars(self) -> dict[str, float]:
        """Return how many rules were applied."""
        return {"rules_applied": float(self.rows.loc[self.rows["done"] != "", "rule"].nunique())}

    def table(self) -> pd.DataFrame:
        """Return the log for reading."""
        counts = [
            f"fewer than {SMALLEST_CELL}" if math.isnan(count) else format_count(count) for count in self.rows["count"]
        ]
        shown = self.rows.assign(count=counts)[["rule", "subject", "count", "done", "check"]]
        return shown.set_axis(["Rule", "Where", "Values", "What was done", "Check"], axis=1)


def cleaning_log(trial: Trial) -> CleaningLog:
    """Return what reading changed or noticed, by rule and column.

    Parameters
    ----------
    trial
        The trial, with what reading found in ``trial.findings``.

    Returns
    -------
    CleaningLog
        Counts of values or patients, in the order of reading; file rows are named nowhere in it.
    """
    rows = [
        (
            one.rule,
            one.subject,
            math.nan if 0 < one.count < SMALLEST_CELL else float(one.count),
            check_of_rule(one.rule),
            one.done,
        )
        for one in trial.findings
    ]
    return CleaningLog(
        pd.DataFrame(rows, columns=["rule", "subject", "count", "check", "done"]).astype({"count": float})
    )

"""What the codes of an event column may hide."""

from __future__ import annotations

import pandas as pd

from trialml.data.columns import as_codes
from trialml.data.findings import Finding

__all__ = ["censoring_findings"]


def censoring_findings(column: pd.Series, censored_values: tuple[str, ...]) -> tuple[Finding, ...]:
    """Return a warning where several codes are taken for censored: one of them may be a competing event.

    Parameters
    ----------
    column
        The event codes as they stand in the data.
    censored_values
        The codes that the study file calls censored.

    Returns
    -------
    tuple of Finding
        Empty where at most one of the codes occurs.
    """
    counts = as_codes(column).value_counts()
    seen = [(code, int(counts[code])) for code in censored_values if code in counts]
    if len(seen) < 2:
        return ()
    told = ", ".join(f"'{code}' in {count:,}" for code, count in seen)
    found = (
        f"Several codes of '{column.name}' are taken for censored: {told} patients. If one of them is an event after which the "
        "endpoint cannot happen, such as death, risks read from Kaplan-Meier curves are too high."
    )
    fewer = sum(count for _, count in seen) - max(count for _, count in seen)
    done = "All were read as censored, as the study file says."
    return (Finding("several codes for censored", str(column.name), fewer, found, done, "warning"),)

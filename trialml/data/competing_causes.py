"""Events that compete with the endpoint, from the codes of one column of one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from trialml.data.columns import as_code, as_codes, as_events, require_columns
from trialml.data.findings import Finding
from trialml.data.roles import Endpoint
from trialml.data.subjects_and_arms import check_subjects
from trialml.data.table import Table

__all__ = ["add_causes"]


def add_causes(
    table: Table, endpoint: Endpoint, competing: Mapping[str, tuple[str, ...]], *, subject: str
) -> tuple[Table, Endpoint]:
    """Return the table with the event and the cause of the end of follow-up in columns of their own, and the endpoint that reads them.

    Parameters
    ----------
    table
        One row a patient.
    endpoint
        A time to event whose codes are listed in `event_values` and `censored_values`.
    competing
        By the words for an event after which the endpoint cannot happen, its codes in the endpoint's event column.
    subject
        The column that identifies the subject, for the sentence of a refusal.

    Returns
    -------
    table, endpoint
        The cause is 0 censored, 1 the endpoint, 2 and on the competing events in their order.

    Raises
    ------
    DataError
        If the column is not there, or a code is none of those listed; the row is named.
    """
    require_columns(table.frame, {"[[endpoints]] event": endpoint.event}, table.origin, heading=table.heading)
    column = table.frame[endpoint.event]
    subjects = check_subjects(table.frame[subject], subject) if subject in table.frame else column
    others = {as_code(code): place for place, codes in enumerate(competing.values(), start=2) for code in codes}
    happened = as_events(column, endpoint.event_values, (*endpoint.censored_values, *others), subjects=subjects)
    codes = as_codes(column)
    cause = happened.map({True: 1.0, False: 0.0}).astype(np.float64)
    cause = cause.mask(codes.isin(list(others)), codes.map(others)).astype(np.float64)
    names = f"{endpoint.name}.event", f"{endpoint.name}.cause"
    event = happened.map({True: "1", False: "0"})
    made = replace(
        endpoint, event=names[0], cause=names[1], competing=tuple(competing), event_values=(), censored_values=()
    )
    return replace(
        table,
        frame=table.frame.assign(**{names[0]: event, names[1]: cause}),
        heading=(*table.heading, *names),
        findings=(*table.findings, *_found(cause, tuple(competing), names[0])),
    ), made


def _found(cause: pd.Series, words: tuple[str, ...], subject: str) -> tuple[Finding, ...]:
    counts = [int((cause == place).sum()) for place in range(2, 2 + len(words))]
    if not sum(counts):
        return ()
    told = ", ".join(f"{word} {count:,}" for word, count in zip(words, counts, strict=True))
    found = f"The wait for the event was ended by other events: {told}."
    done = "They are kept as causes of their own; methods for one event take them as censored."
    return (Finding("competing events", subject, sum(counts), found, done, "warning"),)

"""Adverse events as times: from the first dose to the first event, with what ended the wait for it.

Death and discontinuation compete with an adverse event: after them it cannot be observed. They are kept as causes of
their own, since taking them as censoring overstates the risk (Allignol A, Beyersmann J, Schmoor C. Pharmaceutical
Statistics 2016;15:297-305).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from trialml.data.adam import AdamFolder, Subjects
from trialml.data.adam_endpoints import Measured
from trialml.data.adam_records import select_records
from trialml.data.columns import as_codes, is_yes, require_columns
from trialml.data.dates import PartialDates, as_dates, completed_dates
from trialml.data.disposition import discontinued
from trialml.data.findings import Finding, Severity
from trialml.data.roles import CAUSES, Endpoint, Records, days_per_unit
from trialml.errors import DataError

__all__ = ["AtRisk", "FirstEvents", "adverse_event_records", "ae_endpoint", "at_risk", "first_events"]


class AtRisk(NamedTuple):
    """From when to when each subject of ADSL is at risk, and what ended it.

    `start` and `end` are dates (NaT for who was not treated), `death` and `left` booleans: the time at risk ended with
    death, or with discontinuation. `findings` and `statements` say how this was found.
    """

    start: pd.Series
    end: pd.Series
    death: pd.Series
    left: pd.Series
    findings: tuple[Finding, ...]
    statements: tuple[str, ...]


class FirstEvents(NamedTuple):
    """For each subject of ADSL: days at risk (NaN if never), the cause that ended them, and whether any event is on record.

    `cause` is 0 censored, 1 the adverse event, 2 and on the competing ones in the order asked for. `any_event` counts an
    event whatever its date.
    """

    days: pd.Series
    cause: pd.Series
    any_event: pd.Series
    findings: tuple[Finding, ...]


def at_risk(subjects: Subjects, asked: Records, unit: str, time_zero: str = "TRTSDT") -> AtRisk:
    """Return each subject's time at risk of an adverse event.

    It starts at `time_zero`, the first dose by default. It ends with the end of treatment (TRTEDT) and the days added to
    it, or with the end of the study (EOSDT, else RFENDT), whichever is asked for; never after the end of the study or
    death, where these are known; and with the window, if one is asked for. A window that ends it is censoring.

    Raises
    ------
    DataError
        If ADSL lacks the dates.
    """
    start = subjects.date(time_zero)
    study_end = subjects.date("EOSDT", "RFENDT")
    need = "TRTEDT" if asked.until == "end of treatment" else "EOSDT"
    end = subjects.date("TRTEDT") if asked.until == "end of treatment" else study_end
    if start.isna().all() or end.isna().all():
        missing = time_zero if start.isna().all() else need
        raise DataError(f"ADSL has no {missing}, which the time at risk of an adverse event needs: add it to ADSL.")
    if asked.until == "end of treatment":
        end = end + pd.to_timedelta(asked.days_after_treatment, unit="D")
        end = end.where(~(study_end < end), study_end)
    died, died_on, findings = _deaths(subjects, study_end)
    end = end.where(~(died & (died_on < end)), died_on)
    open_ended = start.notna() & end.isna()
    if open_ended.any():
        found = f"{int(open_ended.sum()):,} treated subject(s) have no end of their time at risk."
        findings.append(
            Finding("time at risk", "ADSL", int(open_ended.sum()), found, "They are excluded and counted.", "warning")
        )
    death = died & died_on.notna() & (died_on <= end)
    left = discontinued(subjects.frame, treatment=asked.until == "end of treatment") & ~death
    backwards = end < start
    if backwards.any():
        found = f"{int(backwards.sum()):,} subject(s) have the end of their time at risk before its start."
        findings.append(
            Finding("impossible time", "ADSL", int(backwards.sum()), found, "They are excluded and counted.", "warning")
        )
    if asked.within is not None:
        # The window's last day: a window of 30 days from day 1 ends with day 30.
        last = start + pd.to_timedelta(np.floor(asked.within * days_per_unit(unit)) - 1, unit="D")
        cut = end > last
        end, death, left = end.where(~cut, last), death & ~cut, left & ~cut
    more = (
        f" and {asked.days_after_treatment:g} days"
        if asked.days_after_treatment and asked.until == "end of treatment"
        else ""
    )
    window = "" if asked.within is None else f", at most {asked.within:g} {unit}"
    said = f"Time at risk of an adverse event runs from {time_zero} to the {asked.until}{more}{window}; the first day is day 1."
    return AtRisk(start, end.where(start.notna()), death, left, tuple(findings), (said,))


def _deaths(subjects: Subjects, study_end: pd.Series) -> tuple[pd.Series, pd.Series, list[Finding]]:
    """Return who died and when; a death without a date is taken to be on the last day of the study, and said so."""
    on = subjects.date("DTHDT")
    frame = subjects.frame
    died = on.notna() | (is_yes(frame["DTHFL"]) if "DTHFL" in frame else False)
    undated = died & on.isna()
    if not undated.any():
        return died, on, []
    found = f"{int(undated.sum()):,} subject(s) died without a date of death (DTHDT)."
    done = "The death was taken to be on the last day in the study."
    return (
        died,
        on.where(~undated, study_end),
        [Finding("date of death", "ADSL.DTHDT", int(undated.sum()), found, done)],
    )


def adverse_event_records(folder: AdamFolder, asked: Records, subject: str) -> pd.DataFrame:
    """Return the records of ADAE that an endpoint is made of: treatment-emergent ones that meet the conditions.

    Raises
    ------
    DataError
        If the data set or a column is not there, or no record meets the conditions.
    """
    frame = folder.read("ADAE").frame
    require_columns(frame, {"[data] subject": subject}, "ADAE")
    where = dict(asked.where)
    if asked.treatment_emergent:
        require_columns(frame, {"[[endpoints]] treatment_emergent": "TRTEMFL"}, "ADAE")
        where.setdefault("TRTEMFL", "Y")
    return select_records(frame, "ADAE", where=where, analysed=False)


def first_events(
    records: pd.DataFrame,
    subjects: Subjects,
    risk: AtRisk,
    subject: str,
    *,
    competing: tuple[str, ...],
    partial_dates: PartialDates = "refuse",
) -> FirstEvents:
    """Return the first adverse event of each subject within the time at risk.

    Parameters
    ----------
    records
        The records of ADAE to count.
    subjects, risk
        ADSL, and each subject's time at risk.
    subject
        The column of the subject.
    competing
        What competes, of ``"death"`` and ``"discontinuation"``; what is not named here is censoring.
    partial_dates
        What is done with partial dates of start (ASTDTC, where there is no ASTDT).

    Returns
    -------
    FirstEvents
        An event on the last day at risk counts before what ended the time at risk that day.
    """
    source = next((name for name in ("ASTDT", "ASTDTC", "AESTDTC") if name in records), None)
    if source is None:
        raise DataError("ADAE has no date of start (ASTDT, ASTDTC or AESTDTC): add one.")
    codes = as_codes(records[subject])
    subjects.refuse_strangers(codes, "ADAE")
    onset, noticed = as_dates(records[source], name=f"ADAE.{source}", rule=partial_dates)
    findings = [*noticed, *completed_dates(records, source, "ADAE")]
    by_subject = {
        name: pd.Series(getattr(risk, name).to_numpy(), index=subjects.key.to_numpy()) for name in ("start", "end")
    }
    start, end = (
        pd.Series(by_subject[name].reindex(codes.to_numpy()).to_numpy(), index=records.index)
        for name in ("start", "end")
    )
    emergent = is_yes(records["TRTEMFL"]) if "TRTEMFL" in records else pd.Series(True, index=records.index)
    findings += _odd_onsets(codes, onset, start, end, subjects, emergent)
    timely = (onset >= start) & (onset <= end)
    first = subjects.spread(onset[timely].groupby(codes[timely].to_numpy()).min())
    happened = first.notna()
    ended = first.where(happened, risk.end)
    days = ((ended - risk.start).dt.days + 1).astype(np.float64)
    cause = pd.Series(0, index=days.index).mask(happened, 1)
    for place, name in enumerate(competing, start=2):
        applies = risk.death if name == "death" else risk.left
        cause = cause.mask(~happened & applies, place)
    treated = days.notna() & (days > 0)
    known = subjects.key.isin(codes[codes.notna()].unique())
    return FirstEvents(days.where(treated), cause.where(treated), known, tuple(findings))


def _odd_onsets(
    codes: pd.Series, onset: pd.Series, start: pd.Series, end: pd.Series, subjects: Subjects, emergent: pd.Series
) -> list[Finding]:
    early = onset < start
    kinds: dict[str, tuple[pd.Series, str, Severity]] = {
        "unknown subject": (~codes.isin(subjects.key), "belong to subjects that ADSL does not know", "warning"),
        "missing date": (onset.isna(), "have no date of start", "warning"),
        "event before time zero": (
            early & emergent,
            "started before the time at risk and are treatment-emergent",
            "warning",
        ),
        "event before treatment": (early & ~emergent, "started before the time at risk", "note"),
        "event after follow-up": (onset > end, "started after the time at risk", "note"),
    }
    findings = []
    for rule, (applies, words, severity) in kinds.items():
        count = int(applies.sum())
        if count:
            found = f"{count:,} adverse event record(s) {words}."
            done = "They were not counted as first events."
            rows = tuple(codes.index[applies].tolist())
            findings.append(Finding(rule, "ADAE", count, found, done, severity, rows))
    return findings


def ae_endpoint(
    folder: AdamFolder,
    subjects: Subjects,
    endpoint: Endpoint,
    subject: str,
    *,
    time_zero: str | None = None,
    partial_dates: PartialDates = "refuse",
) -> Measured:
    """Return the first adverse event as an endpoint: time, event, and the cause that tells competing events apart.

    As a binary endpoint it is whether an event was seen in the time at risk.

    Raises
    ------
    DataError
        If ADAE or ADSL lack what is needed, or no record meets the conditions.
    """
    asked = endpoint.records
    assert asked is not None
    unit = endpoint.unit or "days"
    risk = at_risk(subjects, asked, unit, time_zero or "TRTSDT")
    records = adverse_event_records(folder, asked, subject)
    found = first_events(records, subjects, risk, subject, competing=asked.competing, partial_dates=partial_dates)
    name = f"ADAE.{endpoint.name}"
    findings = [*folder.findings("ADAE", {"TRTEMFL", "ASTDT", *asked.where}), *risk.findings, *found.findings]
    event = (found.cause == 1).astype(object).where(found.cause.notna(), None).map({True: "1", False: "0"})
    event = event.astype(object).where(event.notna(), None)
    conditions = " and ".join([f"{column} = {code}" for column, code in asked.where.items()])
    said = (
        *risk.statements,
        f"The event is the first {'treatment-emergent ' if asked.treatment_emergent else ''}adverse event"
        f"{f' with {conditions}' if conditions else ''}.",
    )
    if endpoint.kind == "binary":
        words = "Subjects whose time at risk ended early count as without the event; a proportion does not see how long they were at risk."
        findings.append(Finding("time at risk", "ADAE", 0, words))
        made = replace(endpoint, event=f"{name}.event")
        return Measured(made, {f"{name}.event": event}, tuple(findings), said)
    columns = {f"{name}.time": found.days / days_per_unit(unit), f"{name}.event": event, f"{name}.cause": found.cause}
    counts = [int((found.cause == place).sum()) for place in range(2, 2 + len(asked.competing))]
    if sum(counts):
        told = ", ".join(f"{CAUSES[one].lower()} {count:,}" for one, count in zip(asked.competing, counts, strict=True))
        words = f"The wait for the event was ended by other events: {told}."
        done = "They are kept as causes of their own; methods for one event take them as censored."
        findings.append(Finding("competing events", "ADAE", sum(counts), words, done, "warning"))
    made = replace(
        endpoint,
        time=f"{name}.time",
        event=f"{name}.event",
        cause=f"{name}.cause",
        competing=tuple(CAUSES[one] for one in asked.competing),
    )
    return Measured(made, columns, tuple(findings), said)

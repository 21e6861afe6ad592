"""Time zero: from which date a time counts, whether its unit can be true, and what happened before it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from trialml.data.adam import Subjects
from trialml.data.columns import require_columns
from trialml.data.dates import PartialDates, as_dates, completed_dates
from trialml.data.findings import Finding
from trialml.data.roles import Endpoint, days_per_unit
from trialml.data.table import Table
from trialml.errors import DataError

__all__ = ["ZERO_WORDS", "TimeZero", "add_time", "check_time_zero", "counts_from"]

ZERO_WORDS = {"RANDDT": "randomisation", "TRTSDT": "the first dose", "STARTDT": "STARTDT"}
_HANDFUL, _HANDFUL_SHARE = 3, 0.01
_NEARLY_ALL = 0.9
_LONG = 14
"""Days from which a time tells its unit by its dates."""


class TimeZero(NamedTuple):
    """What the dates say of the times: sentences, and findings."""

    statements: tuple[str, ...]
    findings: tuple[Finding, ...]


class Agreement(NamedTuple):
    """Which records' times follow from a date, which have what it takes to tell, and what the first day is."""

    which: pd.Series
    judged: pd.Series
    first: str

    @property
    def agreed(self) -> int:
        """How many follow."""
        return int(self.which.sum())

    @property
    def compared(self) -> int:
        """How many can be judged."""
        return int(self.judged.sum())


def add_time(table: Table, date: str, time_zero: str, endpoint: Endpoint, *, rule: PartialDates = "refuse") -> Table:
    """Return a table with the time from one date to another as a column of its own, called after `endpoint.time`.

    The time is (date - time zero + 1) days in the endpoint's unit: an event on the day of randomisation is day 1.

    Raises
    ------
    DataError
        If a column is not there, a value is no date, a partial date is to be refused, or an event or a censoring lies
        before time zero; the row is named.
    """
    named = {"[[endpoints]] date": date, "[data] time_zero": time_zero}
    require_columns(table.frame, named, table.origin, heading=table.heading)
    ends, of_end = as_dates(table.frame[date], rule=rule)
    starts, of_start = as_dates(table.frame[time_zero], rule=rule)
    days = (ends - starts).dt.days + 1
    early = days < 1
    if early.any():
        message = (
            f"File row {early.index[early][0]}: '{date}' lies before '{time_zero}' ({int(early.sum())} rows in all); nothing can happen to "
            "a patient of the trial before time zero: correct the dates."
        )
        raise DataError(message)
    times = days.astype(np.float64) / days_per_unit(endpoint.unit)
    said = f"Time is '{date}' less '{time_zero}' in {endpoint.unit}, the day of '{time_zero}' being day 1."
    return replace(
        table,
        frame=table.frame.assign(**{endpoint.time: times}),
        heading=(*table.heading, endpoint.time),
        statements=(*table.statements, said),
        findings=(*table.findings, *(replace(one, subject=endpoint.time) for one in (*of_end, *of_start))),
    )


def check_time_zero(
    records: pd.DataFrame,
    times: pd.Series,
    codes: pd.Series,
    subjects: Subjects,
    unit: str,
    dataset: str,
    declared: str | None,
    partial_dates: PartialDates,
) -> TimeZero:
    """Compare times with their dates: AVAL with ADT less RANDDT, TRTSDT and STARTDT.

    Parameters
    ----------
    records, dataset
        The records of the endpoint, and their data set's name.
    times, codes
        AVAL and the subject of each record.
    subjects
        ADSL.
    unit
        The declared unit of the times.
    declared
        The date that the study file says times count from, None where it does not say.
    partial_dates
        What is done with partial dates.

    Returns
    -------
    TimeZero
        From which date AVAL counts and whether the first day is day 1 or day 0, how many records do not agree, and how
        many events or censorings lie before randomisation.

    Raises
    ------
    DataError
        If the dates show another unit, if AVAL counts from another date than declared, or the declared date is not there.
    """
    origins, findings = _origins(records, codes, subjects, dataset, partial_dates)
    if declared is not None and declared not in origins:
        message = f"[data] time_zero = '{declared}' is neither in ADSL nor in {dataset}; they hold {', '.join(origins) or 'no such date'}: correct it."
        raise DataError(message)
    if "ADT" not in records:
        said = f"{dataset} has no ADT, so that the unit of AVAL and its time zero rest on the study file alone."
        return TimeZero((said,), (*findings, Finding("time zero", f"{dataset}.AVAL", 0, said, "", "warning")))
    ends, noticed = as_dates(records["ADT"], name=f"{dataset}.ADT", rule=partial_dates)
    findings += [*noticed, *completed_dates(records, "ADT", dataset)]
    days = times * days_per_unit(unit)
    if origins:
        _refuse_unit(days, ends, next(iter(origins.values())), unit, dataset)
    agree = {name: _agreement(days, ends, origin, unit) for name, origin in origins.items()}
    best = _origin(agree, declared, dataset)
    if best is None:
        said = f"No date says from when AVAL of {dataset} counts: it rests on the study file."
        return TimeZero((said,), (*findings, Finding("time zero", f"{dataset}.AVAL", 0, said, "", "warning")))
    findings += _exceptions(agree, best, origins[best], ends.where(codes.isin(subjects.key)), dataset)
    for name in dict.fromkeys(("RANDDT", best)):
        if name in origins:
            findings += _before(ends, origins[name], name, dataset)
    return TimeZero((_statement(agree[best], best, dataset),), tuple(findings))


def _origins(
    records: pd.DataFrame, codes: pd.Series, subjects: Subjects, dataset: str, partial_dates: PartialDates
) -> tuple[dict[str, pd.Series], list[Finding]]:
    """Return the dates that a time may count from, those of ADSL first, each on the records' rows."""
    origins: dict[str, pd.Series] = {}
    findings: list[Finding] = []
    for name in ("RANDDT", "TRTSDT"):
        if name in subjects.dates:
            by_subject = pd.Series(subjects.dates[name].to_numpy(), index=subjects.key.to_numpy())
            origins[name] = pd.Series(by_subject.reindex(codes.to_numpy()).to_numpy(), index=records.index)
    if "STARTDT" in records:
        origins["STARTDT"], noticed = as_dates(records["STARTDT"], name=f"{dataset}.STARTDT", rule=partial_dates)
        findings += noticed
    return origins, findings


def _refuse_unit(days: pd.Series, ends: pd.Series, origin: pd.Series, unit: str, dataset: str) -> None:
    """Refuse a unit that is not the nearest to what the dates give; short times are too coarse to tell."""
    apart = (ends - origin).dt.days + 1
    long = (apart >= _LONG) & days.notna()
    if long.sum() < 5:
        return
    ratio = float((apart[long] / (days[long] / days_per_unit(unit))).median())
    sizes = {name: days_per_unit(name) for name in ("days", "weeks", "months", "years")}
    nearest = min(sizes, key=lambda name: abs(np.log(ratio / sizes[name])) if ratio > 0 else np.inf)
    if ratio > 0 and nearest != unit:
        message = (
            f"{dataset} counts AVAL in {nearest}, going by its dates (one unit is {ratio:.3g} days in the median), but [[endpoints]] "
            f"unit = '{unit}': correct the unit, and with it horizon and tau."
        )
        raise DataError(message)


def counts_from(days: pd.Series, ends: pd.Series, origins: dict[str, pd.Series], unit: str) -> str | None:
    """Return the date that times count from by their dates, None where none explains most of them.

    Parameters
    ----------
    days, ends
        Times in days and the dates of their ends, shape (n,).
    origins
        Dates that they may count from, those that are preferred first, each of shape (n,).
    unit
        The unit of the times, which says how they are rounded.
    """
    agree = {name: _agreement(days, ends, origin, unit) for name, origin in origins.items()}
    best = _origin(agree, None, "")
    return best if best is not None and 2 * agree[best].agreed > agree[best].compared else None


def _agreement(days: pd.Series, ends: pd.Series, origin: pd.Series, unit: str) -> Agreement:
    """Return which records agree with the first day as day 1, as day 0, and which can be judged.

    A time in weeks or longer is rounded, often to one decimal: half of that is allowed besides half a day.
    """
    apart = (ends - origin).dt.days
    judged = apart.notna() & days.notna()
    allowed = 0.5 if unit == "days" else 0.5 + 0.05 * days_per_unit(unit)
    one = ((days - apart - 1).abs() < allowed) & judged
    zero = ((days - apart).abs() < allowed) & judged
    return Agreement(one if one.sum() >= zero.sum() else zero, judged, "day 1" if one.sum() >= zero.sum() else "day 0")


def _origin(agree: dict[str, Agreement], declared: str | None, dataset: str) -> str | None:
    """Return the date that the times count from: the first of those that agree in nearly as many records as any.

    A wrong date here and there makes no other time zero. Where the dates are the same, randomisation comes before the
    first dose, and both before STARTDT, which says nothing of its meaning.
    """
    judged = {name: one for name, one in agree.items() if one.compared}
    if not judged:
        return None
    best = max(judged.values(), key=lambda one: one.agreed)
    near = [name for name, one in judged.items() if _as_good(one, best)]
    if declared is None:
        return near[0]
    if declared not in near:
        name = next(name for name, one in judged.items() if one is best)
        message = (
            f"AVAL of {dataset} counts from {name} in {best.agreed:,} of {best.compared:,} records, and from {declared} in "
            f"{agree[declared].agreed:,}, but [data] time_zero = '{declared}': correct one of the two."
        )
        raise DataError(message)
    return declared


def _as_good(one: Agreement, best: Agreement) -> bool:
    """Whether a date disagrees in at most a handful of records more than the best one does, of nearly as many."""
    handful = min(max(_HANDFUL, _HANDFUL_SHARE * one.compared), 0.1 * one.compared)
    more = (one.compared - one.agreed) - (best.compared - best.agreed)
    return more <= handful and one.compared >= _NEARLY_ALL * best.compared


def _statement(one: Agreement, name: str, dataset: str) -> str:
    words = ZERO_WORDS.get(name, name)
    return f"AVAL of {dataset} counts from {words} ({name}), that day being {one.first}, in {one.agreed:,} of {one.compared:,} records with both dates."


def _exceptions(
    agree: dict[str, Agreement], best: str, origin: pd.Series, ends: pd.Series, dataset: str
) -> list[Finding]:
    """Return findings on the records whose time does not follow from the dates, and on another time zero than randomisation."""
    subject, one, words = f"{dataset}.AVAL", agree[best], ZERO_WORDS.get(best, best)
    findings = []
    off = one.judged & ~one.which
    if off.any():
        explained = [name for name, other in agree.items() if name != best and not (off & ~other.which).any()]
        instead = f"; they follow from {explained[0]}" if explained else ": one of the three is wrong"
        found = f"{int(off.sum()):,} value(s) of AVAL do not follow from {best} and ADT{instead}."
        done = f"They were taken as they are, and so was {best} as time zero."
        findings.append(Finding("time zero", subject, int(off.sum()), found, done, "warning", _rows(off)))
    undated = origin.isna() & ends.notna()
    if undated.any():
        found = f"{int(undated.sum()):,} record(s) have no {best}, so that nothing says from when their AVAL counts."
        done = "They were taken as they are."
        findings.append(Finding("time zero", subject, int(undated.sum()), found, done, "warning", _rows(undated)))
    if best != "RANDDT":
        found = f"AVAL counts from {words}, not from a date of randomisation" + (
            "; what happened between the two is not seen." if "RANDDT" in agree else ", which ADSL does not have."
        )
        findings.append(
            Finding("time zero", subject, one.compared, found, "", "warning" if "RANDDT" in agree else "note")
        )
    return findings


def _before(ends: pd.Series, origin: pd.Series, name: str, dataset: str) -> list[Finding]:
    early = ends < origin
    count = int(early.sum())
    if not count:
        return []
    found = f"{count:,} date(s) of event or censoring (ADT) lie before {ZERO_WORDS.get(name, 'time zero')} ({name})."
    done = "AVAL was taken as it is: correct the dates."
    return [Finding("event before time zero", f"{dataset}.ADT", count, found, done, "warning", _rows(early))]


def _rows(which: pd.Series) -> tuple[int, ...]:
    return tuple(which.index[which].tolist())

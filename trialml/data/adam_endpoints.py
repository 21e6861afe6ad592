"""Endpoints from ADTTE and BDS data sets: one value a subject, its unit and its time zero checked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from trialml.data.adam import AdamFolder, Subjects
from trialml.data.adam_records import refuse_two, select_records
from trialml.data.columns import as_codes, as_numbers, as_times, require_columns
from trialml.data.dates import PartialDates
from trialml.data.findings import Finding
from trialml.data.roles import Endpoint, Records, days_per_unit
from trialml.data.time_zero import check_time_zero
from trialml.errors import DataError

__all__ = ["Measured", "bds_endpoint", "tte_endpoint"]

_UNITS = {
    "days": ("day", "days", "d"),
    "weeks": ("week", "weeks", "wk", "wks"),
    "months": ("month", "months", "mo", "mos", "mth", "mths"),
    "years": ("year", "years", "yr", "yrs"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}


class Measured(NamedTuple):
    """An endpoint's columns, one value for each row of ADSL, and the endpoint that names them."""

    endpoint: Endpoint
    columns: dict[str, pd.Series]
    findings: tuple[Finding, ...]
    statements: tuple[str, ...]


def tte_endpoint(
    folder: AdamFolder,
    subjects: Subjects,
    endpoint: Endpoint,
    subject: str,
    *,
    time_zero: str | None = None,
    partial_dates: PartialDates = "refuse",
) -> Measured:
    """Return a time to event: AVAL in the declared unit, and CNSR for `build_trial` to turn.

    CNSR = 0 is the event, every code above 0 a reason for censoring; where it is missing the subject is excluded and
    counted. AVAL has to agree with its unit (AVALU, or the words of PARAM) and with its dates (ADT less the origin, the
    first day being day 1 or day 0).

    Raises
    ------
    DataError
        If the data set, the parameter or a column is not there, a subject has two records, AVAL is not positive or in
        another unit, or CNSR is no whole number from 0.
    """
    asked = _asked(endpoint)
    dataset = asked.dataset
    table = folder.read(dataset)
    records = select_records(table.frame, dataset, parameter=asked.parameter, where=asked.where)
    need = {
        "[data] subject": subject,
        "[[endpoints]] parameter (time)": "AVAL",
        "[[endpoints]] parameter (event)": "CNSR",
    }
    require_columns(records, need, dataset)
    refuse_two(records, subject, f"{dataset} {asked.parameter}")
    _check_unit(records, endpoint.unit, dataset, asked.parameter)
    codes = as_codes(records[subject])
    times = as_times(records["AVAL"].rename(f"{dataset}.AVAL"), subjects=codes, decimal_comma=table.decimal_comma)
    censor = _censor_codes(records["CNSR"].rename(f"{dataset}.CNSR"), codes)
    checked = check_time_zero(records, times, codes, subjects, endpoint.unit, dataset, time_zero, partial_dates)
    events, censored = int((censor == "0").sum()), int((censor.notna() & (censor != "0")).sum())
    said = f"{dataset} {asked.parameter}: CNSR = 0 in {events:,} record(s), read as events; above 0 in {censored:,}, read as censored."
    found = [
        *folder.findings(dataset, {"AVAL", "CNSR", "PARAMCD", "ADT", "STARTDT"}),
        *_reasons(censor, dataset),
        *_unknown(codes, subjects, dataset),
        *checked.findings,
    ]
    time, event = f"{dataset}.AVAL", f"{dataset}.CNSR"
    by_subject = codes.to_numpy()
    columns = {
        time: subjects.spread(pd.Series(times.to_numpy(), index=by_subject)),
        event: subjects.spread(pd.Series(censor.to_numpy(), index=by_subject)).map(_none_for_missing).astype(object),
    }
    others = tuple(sorted({code for code in censor.dropna().unique() if code != "0"})) or ("1",)
    made = replace(endpoint, time=time, event=event, event_values=("0",), censored_values=others)
    return Measured(made, columns, tuple(found), (said, *checked.statements))


def bds_endpoint(folder: AdamFolder, subjects: Subjects, endpoint: Endpoint, subject: str) -> Measured:
    """Return a binary or continuous endpoint from the records of a parameter at a visit.

    Raises
    ------
    DataError
        If the data set, parameter, visit or column is not there, a subject has two records, or the unit contradicts the
        declared one.
    """
    asked = _asked(endpoint)
    dataset = asked.dataset
    table = folder.read(dataset)
    records = select_records(table.frame, dataset, parameter=asked.parameter, visit=asked.visit, where=asked.where)
    require_columns(records, {"[data] subject": subject, "[[endpoints]] value": asked.value}, dataset)
    refuse_two(records, subject, f"{dataset} {asked.parameter}{f' at {asked.visit}' if asked.visit else ''}")
    codes = as_codes(records[subject])
    name = f"{dataset}.{asked.value}"
    unit = endpoint.unit
    if endpoint.kind == "continuous":
        unit = _value_unit(records, endpoint, dataset)
        values = as_numbers(records[asked.value].rename(name), subjects=codes, decimal_comma=table.decimal_comma)
    else:
        values = as_codes(records[asked.value])
    found = [*folder.findings(dataset, {asked.value, "PARAMCD", "AVISIT"}), *_unknown(codes, subjects, dataset)]
    if "DTYPE" in records and records["DTYPE"].notna().any():
        count, kinds = (
            int(records["DTYPE"].notna().sum()),
            ", ".join(sorted(map(str, records["DTYPE"].dropna().unique()))),
        )
        words = f"{count:,} of {len(records):,} values of {name} are derived, not measured (DTYPE {kinds})."
        found.append(Finding("derived value", name, count, words, "They were used as the data set has them."))
    column = subjects.spread(pd.Series(values.to_numpy(), index=codes.to_numpy()))
    if endpoint.kind == "binary":
        column = column.map(_none_for_missing).astype(object)
        made = replace(endpoint, event=name)
    else:
        made = replace(endpoint, value=name, unit=unit)
    said = f"{dataset} {asked.parameter}: {asked.value}" + (f" at {asked.visit}" if asked.visit else "")
    return Measured(made, {name: column}, tuple(found), (f"{said} of {len(records):,} subject(s).",))


def _asked(endpoint: Endpoint) -> Records:
    assert endpoint.records is not None
    return endpoint.records


def _none_for_missing(value: object) -> object:
    return None if value is None or value != value else value  # noqa: PLR0124  (NaN is the value that differs from itself)


def _censor_codes(column: pd.Series, subjects: pd.Series) -> pd.Series:
    numbers = as_numbers(column, subjects=subjects)
    wrong = numbers.notna() & ((numbers < 0) | (numbers != np.floor(numbers)))
    if wrong.any():
        row = wrong.index[wrong][0]
        message = (
            f"Column '{column.name}', file row {row}: {column[row]} is no censoring code; ADaM has 0 for the event and whole numbers above it for "
            "reasons of censoring: correct it."
        )
        raise DataError(message)
    return as_codes(numbers)


def _reasons(censor: pd.Series, dataset: str) -> list[Finding]:
    found = []
    others = sorted({code for code in censor.dropna().unique() if code not in ("0", "1")})
    if others:
        count = int(censor.isin(others).sum())
        words = f"CNSR has the code(s) {', '.join(others)} in {count:,} record(s)."
        found.append(
            Finding("censoring code", f"{dataset}.CNSR", count, words, "Every code above 0 was read as censored.")
        )
    missing = int(censor.isna().sum())
    if missing:
        words = f"CNSR is missing in {missing:,} record(s)."
        found.append(
            Finding(
                "censoring code", f"{dataset}.CNSR", missing, words, "The subjects are excluded and counted.", "warning"
            )
        )
    return found


def _unknown(codes: pd.Series, subjects: Subjects, dataset: str) -> list[Finding]:
    subjects.refuse_strangers(codes, dataset)
    strangers = ~codes.isin(subjects.key)
    count = int(codes[strangers].nunique())
    if not count:
        return []
    words = f"{count:,} subject(s) of {dataset} (first in file row {codes.index[strangers][0]}) are not in ADSL."
    return [Finding("unknown subject", dataset, count, words, "They were left out.", "warning")]


def _check_unit(records: pd.DataFrame, declared: str, dataset: str, parameter: str) -> None:
    """Refuse a unit of AVAL that is not the declared one, or several."""
    if "AVALU" in records and records["AVALU"].notna().any():
        written = sorted(map(str, records["AVALU"].dropna().unique()))
        source = "AVALU"
    else:
        texts = records["PARAM"].dropna().unique() if "PARAM" in records else []
        found = {match[1] for text in texts for match in re.finditer(r"[(\[]\s*([A-Za-z]+)\s*[)\]]", str(text))}
        written = sorted(word for word in found if word.lower() in _UNIT_OF)
        source = "PARAM"
    units = {_UNIT_OF.get(word.lower(), word) for word in written}
    if len(units) > 1:
        message = f"{dataset} gives the times of {parameter} in several units ({source}: {', '.join(written)}): write them in one unit."
        raise DataError(message)
    if units and units != {declared}:
        message = (
            f"{dataset} gives the times of {parameter} in '{written[0]}' ({source}), but [[endpoints]] unit = '{declared}': correct the "
            f"unit, and with it horizon and tau (a month is {days_per_unit('months')} days)."
        )
        raise DataError(message)


def _value_unit(records: pd.DataFrame, endpoint: Endpoint, dataset: str) -> str:
    if "AVALU" not in records or not records["AVALU"].notna().any():
        return endpoint.unit
    units = sorted(map(str, records["AVALU"].dropna().unique()))
    if len(units) > 1:
        raise DataError(
            f"{dataset} gives the values in several units (AVALU: {', '.join(units)}): write them in one unit."
        )
    if endpoint.unit and endpoint.unit.casefold() != units[0].casefold():
        message = f"{dataset} gives the values in '{units[0]}' (AVALU), but [[endpoints]] unit = '{endpoint.unit}': correct the unit."
        raise DataError(message)
    return units[0]

"""The roles of a study guessed from an ADaM folder, where the names of the standard say most of it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from trialml.data.adam import AdamFolder
from trialml.data.columns import as_codes
from trialml.data.dates import as_dates
from trialml.data.disclosure import outward_range
from trialml.data.guess_arms import Guess, guess_arms, guess_factors
from trialml.data.guess_covariates import guess_covariates
from trialml.data.guess_endpoint import EndpointGuesses, guess_endpoint
from trialml.data.guess_roles import Records, Roles, happened, labels_of, reading_time, without_restatements
from trialml.data.profiles import profile_columns
from trialml.data.roles import days_per_unit
from trialml.data.table import Table
from trialml.data.time_zero import counts_from
from trialml.errors import DataError

__all__ = ["guess_adam_roles"]

_SUBJECT = "USUBJID"
_UNASSIGNED = re.compile(r"screen fail\w*|scrnfail|not assigned|notassgn|not randomi[sz]ed|unassigned", re.IGNORECASE)
_POPULATIONS = ("ITTFL", "FASFL", "RANDFL")
_UNIT_WORDS = {"day": "days", "week": "weeks", "month": "months", "year": "years"}
_DAYS = {"days": 1.0, "weeks": 7.0, "months": 30.4375, "years": 365.25}
_MOST_BASELINE = 20


def guess_adam_roles(folder: AdamFolder) -> Roles:
    """Guess the roles from ADSL, from the first time-to-event data set, and from flagged baseline values.

    Parameters
    ----------
    folder
        The data sets.

    Returns
    -------
    Roles
        With `records`.

    Raises
    ------
    DataError
        If ADSL has no USUBJID, or a data set cannot be read.
    """
    adsl = folder.read("ADSL")
    if _SUBJECT not in adsl.frame:
        raise DataError(f"ADSL has no column '{_SUBJECT}': an ADaM folder tells its subjects by it.")
    table = _assigned(adsl)
    profiles = profile_columns(table)
    arms = guess_arms(profiles)
    population = next((name for name in _POPULATIONS if name in profiles), "")
    taken = {_SUBJECT, arms.column.value, population} - {""}
    factors = guess_factors(profiles, taken)
    endpoint, parameter, dataset, label, why, times = _endpoint(folder, table)
    time = None if times is None else times["AVAL"].to_numpy(dtype=np.float64)
    event = None
    if times is not None:
        event = happened(profile_columns(_as_table(times)).get("CNSR"), endpoint)
    columns = guess_covariates(
        profiles,
        arm=arms.column.value,
        factors=tuple(factors),
        time="",
        taken=taken | set(factors),
        subjects=table.frame[_SUBJECT],
    )
    columns = without_restatements(columns, profiles, arms, endpoint, time, event)
    reading = reading_time(time, event, profiles, arms, endpoint.unit.value)
    records = Records(
        parameter,
        dataset,
        label,
        why,
        Guess(population, "the population as randomised" if population else ""),
        _baseline(folder, table),
        _time_zero(folder, table, dataset, parameter, endpoint.unit.value),
    )
    subject = Guess(_SUBJECT, "the subject of ADaM")
    return Roles(subject, arms, factors, endpoint, reading, columns, labels_of(columns, profiles), records)


def _assigned(adsl: Table) -> Table:
    """Return ADSL without the subjects who were never assigned to an arm."""
    frame = adsl.frame
    for name in ("TRT01P", "ARM"):
        if name in frame:
            frame = frame[~frame[name].map(lambda value: bool(_UNASSIGNED.fullmatch(str(value))))]
    return Table(frame, adsl.origin, adsl.sha256, (), adsl.decimal_comma, adsl.labels, adsl.formats)


def _as_table(frame: pd.DataFrame) -> Table:
    return Table(frame, "ADTTE", "", ())


def _endpoint(folder: AdamFolder, adsl: Table) -> tuple[EndpointGuesses, str, str, str, str, pd.DataFrame | None]:
    """Return the endpoint, its parameter, data set, words and reason, and AVAL and CNSR for each row of ADSL."""
    names = sorted(folder.files, key=lambda name: name != "ADTTE")
    dataset = next((name for name in names if {"PARAMCD", "AVAL", "CNSR"} <= set(folder.read(name).frame.columns)), "")
    nothing = Guess("", "days, weeks, months or years")
    if not dataset:
        open_ = EndpointGuesses(Guess("", ""), Guess("", ""), (), (), "", nothing)
        return open_, "", "ADTTE", "", "the PARAMCD of the endpoint; no data set has PARAMCD, AVAL and CNSR", None
    frame = folder.read(dataset).frame
    codes = as_codes(frame["PARAMCD"])
    known = list(dict.fromkeys(codes.dropna()))
    if not known or _SUBJECT not in frame:
        raise DataError(f"{dataset} has no parameter (PARAMCD) or no {_SUBJECT}: an endpoint needs both.")
    chosen = frame[codes == known[0]]
    why = (
        f"the only PARAMCD of {dataset}"
        if len(known) == 1
        else f"the first of {', '.join(known)}: choose the primary endpoint"
    )
    first = chosen[~chosen[_SUBJECT].duplicated()].set_index(_SUBJECT)
    own = as_codes(adsl.frame[_SUBJECT])
    times = pd.DataFrame({name: first[name].reindex(own.to_numpy()).to_numpy() for name in ("AVAL", "CNSR")})
    times["AVAL"] = pd.to_numeric(times["AVAL"], errors="coerce")
    found = guess_endpoint(profile_columns(_as_table(times)), set())
    if not found.event_values:
        found = found._replace(event_values=("0",), why_coding="ADaM's CNSR: 0 means that the event happened")
    label = next((str(words) for words in chosen["PARAM"].dropna()), "") if "PARAM" in chosen else ""
    return found._replace(unit=_unit(chosen, label, found.unit)), known[0], dataset, label, why, times


def _unit(chosen: pd.DataFrame, label: str, otherwise: Guess) -> Guess:
    """Guess the unit of AVAL: from AVALU, from the words of PARAM, from its dates, from its size."""
    words = {str(value) for value in chosen["AVALU"].dropna()} if "AVALU" in chosen else set()
    for text, where in ((" ".join(words), "AVALU"), (label, "PARAM")):
        for word, unit in _UNIT_WORDS.items():
            if re.search(rf"\b{word}s?\b", text, re.IGNORECASE):
                return Guess(unit, f"{where} says so")
    if {"STARTDT", "ADT"} <= set(chosen.columns):
        start, end = (as_dates(chosen[name], rule="middle")[0] for name in ("STARTDT", "ADT"))
        days = (end - start).dt.days.to_numpy(dtype=np.float64)
        value = pd.to_numeric(chosen["AVAL"], errors="coerce").to_numpy(dtype=np.float64)
        for unit, length in _DAYS.items():
            agree = np.abs(value * length - days) <= max(1.0, 0.02 * length)
            if np.mean(agree) > 0.95:
                return Guess(unit, "AVAL is ADT less STARTDT in this unit")
    return otherwise


def _time_zero(folder: AdamFolder, adsl: Table, dataset: str, parameter: str, unit: str) -> str:
    """Return the date that AVAL counts from by its dates; empty where they do not say."""
    frame = folder.read(dataset).frame if dataset in folder else pd.DataFrame()
    if not unit or not {"PARAMCD", "ADT", "AVAL"} <= set(frame.columns):
        return ""
    chosen = frame[as_codes(frame["PARAMCD"]) == parameter]
    key = as_codes(adsl.frame[_SUBJECT]).to_numpy()
    written = {}
    for name in ("RANDDT", "TRTSDT"):
        if name in adsl.frame:
            by_subject = pd.Series(adsl.frame[name].to_numpy(), index=key)
            by_subject = by_subject[~by_subject.index.duplicated()]
            values = by_subject.reindex(as_codes(chosen[_SUBJECT]).to_numpy()).to_numpy()
            written[name] = pd.Series(values, index=chosen.index, name=name)
    if "STARTDT" in chosen:
        written["STARTDT"] = chosen["STARTDT"]
    try:
        dates = {name: as_dates(column, rule="middle")[0] for name, column in written.items()}
        ends = as_dates(chosen["ADT"], rule="middle")[0]
    except DataError:
        return ""
    days = pd.to_numeric(chosen["AVAL"], errors="coerce") * days_per_unit(unit)
    return counts_from(days, ends, dates, unit) or ""


def _baseline(folder: AdamFolder, adsl: Table) -> Mapping[str, str]:
    """Return the baseline values of BDS data sets (ABLFL = Y) that at least half of the subjects have."""
    found: dict[str, str] = {}
    for dataset in sorted(folder.files):
        frame = folder.read(dataset).frame
        if not {_SUBJECT, "PARAMCD", "AVAL", "ABLFL"} <= set(frame.columns):
            continue
        flagged = frame[as_codes(frame["ABLFL"]).isin(["Y", "YES", "1"])]
        for code, own in flagged.groupby(as_codes(flagged["PARAMCD"])):
            values = pd.to_numeric(own["AVAL"], errors="coerce").dropna()
            enough = own[_SUBJECT].nunique() >= len(adsl.frame) / 2 and values.min() < values.max()
            if not enough or own[_SUBJECT].duplicated().any() or len(found) == _MOST_BASELINE:
                continue
            low, high = outward_range(values)
            words = f"{own['PARAM'].iloc[0]}, " if "PARAM" in own else ""
            found[f"{dataset}.{code}"] = f"{words}flagged as baseline (ABLFL), about {low:g} to {high:g}"
    return found

"""Baseline values from the BDS data sets of an ADaM folder: flagged as baseline, and never after the first dose."""

from __future__ import annotations

import pandas as pd

from trialml.data.adam import AdamFolder, Subjects
from trialml.data.adam_records import refuse_two, select_records
from trialml.data.columns import as_codes, as_numbers, require_columns
from trialml.data.dates import PartialDates, as_dates
from trialml.data.findings import Finding
from trialml.data.roles import Covariate
from trialml.errors import DataError

__all__ = ["baseline_value"]


def baseline_value(
    folder: AdamFolder, subjects: Subjects, covariate: Covariate, subject: str, partial_dates: PartialDates
) -> tuple[pd.Series, list[Finding]]:
    """Return a covariate ``dataset.PARAMCD``: the record flagged as baseline (ABLFL = Y), never a later one.

    Raises
    ------
    DataError
        If the data set or the parameter is not there, there is no baseline flag, a subject has two baseline records, or
        the values have several units.
    """
    dataset, _, parameter = covariate.name.partition(".")
    table = folder.read(dataset.upper())
    key = f"[covariates] '{covariate.name}'"
    require_columns(table.frame, dict.fromkeys((f"{key} subject",), subject) | {key: "ABLFL"}, dataset)
    records = select_records(table.frame, dataset, parameter=parameter, where={"ABLFL": "Y"}, analysed=False)
    refuse_two(records, subject, f"{dataset} {parameter} with ABLFL = Y")
    units = sorted(map(str, records["AVALU"].dropna().unique())) if "AVALU" in records else []
    if len(units) > 1:
        raise DataError(
            f"{dataset} gives the baseline of {parameter} in several units ({', '.join(units)}): write them in one unit."
        )
    source = "AVALC" if covariate.kind != "numeric" and "AVALC" in records else "AVAL"
    require_columns(records, {key: source}, dataset)
    values = (
        as_numbers(records[source], subjects=records[subject], decimal_comma=table.decimal_comma)
        if covariate.kind == "numeric"
        else records[source]
    )
    found = list(folder.findings(dataset.upper(), {source, "ABLFL", "ADT"}))
    codes = as_codes(records[subject])
    if "ADT" in records:
        dates, noticed = as_dates(records["ADT"], name=f"{dataset}.ADT", rule=partial_dates)
        found += noticed
        values, late = _before_treatment(values, dates, codes, subjects, covariate.name)
        found += late
    subjects.refuse_strangers(codes, dataset)
    unknown = int((~codes.isin(subjects.key)).sum())
    if unknown:
        words = f"{unknown:,} baseline record(s) of {covariate.name} belong to subjects that ADSL does not know."
        found.append(Finding("unknown subject", covariate.name, unknown, words, "They were left out.", "warning"))
    spread = subjects.spread(pd.Series(values.to_numpy(), index=codes.to_numpy()))
    return spread, found


def _before_treatment(
    values: pd.Series, dates: pd.Series, codes: pd.Series, subjects: Subjects, name: str
) -> tuple[pd.Series, list[Finding]]:
    """Empty what was taken after the first dose, whatever its flag says."""
    first = pd.Series(subjects.date("TRTSDT", "RANDDT").to_numpy(), index=subjects.key.to_numpy())
    late = dates > pd.Series(first.reindex(codes.to_numpy()).to_numpy(), index=dates.index)
    if not late.any():
        return values, []
    words = f"{int(late.sum()):,} baseline value(s) of {name} were taken after the first dose, in spite of their flag."
    done = "They were taken as missing, since a baseline cannot see past time zero."
    return values.where(~late, None), [
        Finding("baseline after time zero", name, int(late.sum()), words, done, "warning")
    ]

"""From an ADaM folder to a `Trial`: ADSL, the endpoint's records and the flagged baseline values, one row a subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trialml.data.adam import AdamFolder, Subjects, open_adam, read_subjects
from trialml.data.adam_baseline import baseline_value
from trialml.data.adam_endpoints import Measured, bds_endpoint, tte_endpoint
from trialml.data.adverse_event_times import ae_endpoint
from trialml.data.dates import PartialDates
from trialml.data.disposition import disposition
from trialml.data.findings import Finding
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.table import Table
from trialml.data.trial import Trial, build_trial
from trialml.data.visit_tables import Visits, add_visits

__all__ = ["read_adam_trial"]


def read_adam_trial(
    path: Path,
    origin: str,
    *,
    name: str,
    subject: str,
    endpoint: Endpoint,
    treatment: Treatment,
    covariates: tuple[Covariate, ...],
    post_baseline: tuple[str, ...] = (),
    site: str | None = None,
    population: str | None = None,
    population_value: str = "Y",
    time_zero: str | None = None,
    partial_dates: PartialDates = "refuse",
    visits: Sequence[Visits] = (),
    base: Path = Path(),
    encoding: str | None = None,
    decimal: str | None = None,
) -> Trial:
    """Read a trial from an ADaM folder.

    Parameters
    ----------
    path, origin
        The folder, and how the study file names it.
    name
        The study's name.
    subject
        The column of the subject in every data set, USUBJID.
    endpoint, treatment, covariates
        The roles. `endpoint.records` says where the endpoint is; a covariate ``DATASET.PARAMCD`` is a baseline value of
        a BDS data set, any other a column of ADSL.
    post_baseline
        Columns of ADSL that are refused as covariates besides those that ADaM defines by what came later.
    site
        The column of ADSL that holds the enrolling site, SITEID.
    population, population_value
        The population flag of ADSL and its code, by default Y.
    time_zero
        The date that times count from, where it is declared: RANDDT, TRTSDT or STARTDT.
    partial_dates
        What is done with dates whose day is not known.
    visits, base
        Long tables that baseline covariates come from, and the folder that their paths start from.
    encoding, decimal
        Encoding and decimal mark of text files, where they are declared.

    Returns
    -------
    Trial
        With the findings of reading, and ADSL's disposition for the CONSORT counts.

    Raises
    ------
    DataError
        If a data set, a parameter or a column is not there, or the data contradict each other or the study file.
    AnalysisError
        If an arm of the primary contrast has no patients.
    """
    folder = open_adam(path, origin, encoding=encoding, decimal=decimal)
    subjects = read_subjects(folder, subject, treatment, covariates, partial_dates=partial_dates)
    measured = _measure(folder, subjects, endpoint, subject, time_zero, partial_dates)
    frame = subjects.frame.assign(**measured.columns)
    findings = [*subjects.findings, *measured.findings]
    for covariate in covariates:
        if covariate.name in frame or "." not in covariate.name:
            continue
        frame[covariate.name], noticed = baseline_value(folder, subjects, covariate, subject, partial_dates)
        findings += noticed
    adsl = folder.read("ADSL")
    findings += [
        one for dataset in folder.tables if dataset != "ADSL" for one in folder.findings(dataset, {"the file"})
    ]
    table = Table(
        frame,
        "ADSL",
        folder.sha256(),
        (*folder.statements(), *measured.statements),
        adsl.decimal_comma,
        adsl.labels,
        adsl.formats,
        (*adsl.findings, *findings),
        typed=adsl.typed,
    )
    table = add_visits(table, visits, subject=subject, base=base)
    trial = build_trial(
        table,
        name=name,
        subject=subject,
        endpoint=measured.endpoint,
        treatment=treatment,
        covariates=covariates,
        post_baseline=post_baseline,
        site=site,
        population=population,
        population_value=population_value,
        disposition=disposition(subjects, frame[treatment.column]),
    )
    return _with_origin(trial, origin, findings)


def _measure(
    folder: AdamFolder,
    subjects: Subjects,
    endpoint: Endpoint,
    subject: str,
    time_zero: str | None,
    partial_dates: PartialDates,
) -> Measured:
    if endpoint.records is None:
        return Measured(endpoint, {}, (), ())
    if endpoint.records.dataset == "ADAE":
        return ae_endpoint(folder, subjects, endpoint, subject, time_zero=time_zero, partial_dates=partial_dates)
    if endpoint.kind == "time to event":
        return tte_endpoint(folder, subjects, endpoint, subject, time_zero=time_zero, partial_dates=partial_dates)
    return bds_endpoint(folder, subjects, endpoint, subject)


def _with_origin(trial: Trial, origin: str, findings: list[Finding]) -> Trial:
    """Return the trial under its folder's name, with every finding once."""
    kept = dict.fromkeys((*findings, *trial.findings))
    return replace(trial, origin=origin, findings=tuple(kept))

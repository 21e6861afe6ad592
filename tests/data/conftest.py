"""A small ADaM study that the tests write themselves: ADSL, ADTTE, ADAE and one BDS data set (ADVS)."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyreadstat
import pytest

DATES = ("RANDDT", "TRTSDT", "TRTEDT", "EOSDT", "DTHDT", "STARTDT", "ADT", "ASTDT")
LABELS = {
    "USUBJID": "Unique Subject Identifier",
    "TRT01P": "Planned Treatment for Period 01",
    "AVAL": "Analysis Value",
    "CNSR": "Censor",
    "PARAMCD": "Parameter Code",
}
ARMS = ("Placebo", "Active")


def days_after(date, days):
    return date + pd.to_timedelta(days, unit="D")


def make_adsl(rows, draw):
    """240 subjects in two arms, stratified by region; some never treated, some left early, a few died."""
    number = np.arange(rows)
    randomised = pd.Timestamp("2019-01-07") + pd.to_timedelta(draw.integers(0, 300, rows), unit="D")
    treated = number % 40 != 7
    first = days_after(randomised, draw.integers(0, 4, rows)).where(treated)
    duration = draw.integers(20, 365, rows)
    left = duration < 250
    last = days_after(first, duration - 1)
    end = days_after(last, 5).where(treated, days_after(randomised, 3))
    died = left & (number % 12 == 0) & treated
    return pd.DataFrame(
        {
            "STUDYID": "EXAMPLE",
            "USUBJID": [f"SUBJ-7731-{place:04d}" for place in number + 1],
            "SITEID": [f"S{place:02d}" for place in number % 6],
            "TRT01P": [ARMS[place % 2] for place in number],
            "TRT01PN": [float(place % 2) for place in number],
            "RANDDT": randomised,
            "TRTSDT": first,
            "TRTEDT": last,
            "EOSDT": end,
            "DTHDT": end.where(died),
            "EOSSTT": np.where(left, "DISCONTINUED", "COMPLETED"),
            "DCSREAS": np.where(died, "DEATH", np.where(left, "WITHDRAWAL BY SUBJECT", "")),
            "ITTFL": "Y",
            "SAFFL": np.where(treated, "Y", "N"),
            "PPROTFL": np.where(number % 9 == 4, "N", "Y"),
            "STRAT1R": np.where(number % 4 < 2, "North", "South"),
            "STRAT1V": np.where((number % 4 < 2) ^ (number % 50 == 3), "North", "South"),
            "AGE": draw.normal(60, 9, rows).round(),
            "SEX": np.where(draw.random(rows) < 0.5, "F", "M"),
        }
    )


def make_adtte(adsl, draw):
    """Two parameters: PFS in days from randomisation, the first day being day 1; OS with more censoring."""
    parts = []
    for code, words, scale in (
        ("PFS", "Progression-Free Survival (days)", 200),
        ("OS", "Overall Survival (days)", 500),
    ):
        hazard = np.where(adsl["TRT01P"] == "Active", 0.55, 1.0) * np.exp(0.02 * (adsl["AGE"] - 60))
        time = draw.exponential(scale / hazard)
        censoring = draw.uniform(150, 420, len(adsl))
        value = np.ceil(np.minimum(time, censoring)).clip(1)
        reason = np.where(np.arange(len(adsl)) % 5 == 0, 2, 1)
        parts.append(
            pd.DataFrame(
                {
                    "STUDYID": "EXAMPLE",
                    "USUBJID": adsl["USUBJID"],
                    "PARAMCD": code,
                    "PARAM": words,
                    "STARTDT": adsl["RANDDT"],
                    "ADT": days_after(adsl["RANDDT"], value - 1),
                    "AVAL": value,
                    "CNSR": np.where(time <= censoring, 0, reason).astype(float),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def make_adae(adsl, draw):
    """Up to three events a treated subject; one in ten serious; some before treatment and not treatment-emergent."""
    rows = []
    for subject in adsl[adsl["TRTSDT"].notna()].itertuples():
        for _ in range(draw.integers(0, 4)):
            start = subject.TRTSDT + pd.Timedelta(days=int(draw.integers(-10, 120)))
            start = min(start, subject.TRTEDT)
            system, term = (("SKIN", "PRURITUS"), ("CARDIAC", "SINUS BRADYCARDIA"))[draw.integers(0, 2)]
            rows.append(
                {
                    "STUDYID": "EXAMPLE",
                    "USUBJID": subject.USUBJID,
                    "ASTDT": start,
                    "AEBODSYS": system,
                    "AEDECOD": term,
                    "AESER": "Y" if draw.random() < 0.1 else "N",
                    "TRTEMFL": "Y" if start >= subject.TRTSDT else "",
                }
            )
    return pd.DataFrame(rows)


def make_advs(adsl, draw):
    """Weight and systolic pressure at baseline and week 8; week 8 has a change and a criterion."""
    parts = []
    for code, unit, mean, spread in (("WEIGHT", "kg", 75, 12), ("SYSBP", "mmHg", 130, 15)):
        base = draw.normal(mean, spread, len(adsl)).round(1)
        change = draw.normal(np.where(adsl["TRT01P"] == "Active", -3, 0), 4).round(1)
        for visit, number, value in (("Baseline", 0.0, base), ("Week 8", 8.0, (base + change).round(1))):
            later = visit != "Baseline"
            parts.append(
                pd.DataFrame(
                    {
                        "STUDYID": "EXAMPLE",
                        "USUBJID": adsl["USUBJID"],
                        "PARAMCD": code,
                        "AVISIT": visit,
                        "AVISITN": number,
                        "ADT": days_after(adsl["RANDDT"], 56 if later else 0),
                        "AVAL": value,
                        "AVALU": unit,
                        "CHG": change if later else np.nan,
                        "CRIT1FL": np.where(change < -2, "Y", "N") if later else "",
                        "ABLFL": "" if later else "Y",
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def make_adam(rows=240, seed=5):
    draw = np.random.default_rng(seed)
    adsl = make_adsl(rows, draw)
    return {
        "ADSL": adsl,
        "ADTTE": make_adtte(adsl, draw),
        "ADAE": make_adae(adsl, draw),
        "ADVS": make_advs(adsl, draw),
    }


def write_xpt(path, frame, name, *, version=5):
    """Write a data set as SAS does: dates as days from 1960 with a DATE9 format, missing text as blanks."""
    frame = frame.copy()
    formats = {}
    for column in frame:
        if column in DATES and frame[column].dtype != object:
            frame[column] = pd.to_datetime(frame[column]).dt.date
            formats[column] = "DATE9."
        elif frame[column].dtype == object:
            frame[column] = frame[column].where(frame[column].notna(), "")
    pyreadstat.write_xport(
        frame,
        str(path),
        table_name=name,
        column_labels=[LABELS.get(column, column.title()) for column in frame],
        variable_format=formats,
        file_format_version=version,
    )


def write_folder(folder, datasets, kind="xpt"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in datasets.items():
        path = folder / f"{name.lower()}.{kind}"
        if kind == "xpt":
            write_xpt(path, frame, name)
        elif kind == "parquet":
            frame.to_parquet(path, index=False)
        else:
            frame.to_csv(path, index=False)
    return folder


ADAM_STUDY = {
    "data.source": "adam",
    "data.subject": "USUBJID",
    "data.post_baseline": [],
    "treatment.column": "TRT01P",
    "treatment.control": "Placebo",
    "treatment.experimental": "Active",
    "treatment.secondary": [],
    "treatment.stratification": ["STRAT1R"],
    "endpoints.time": None,
    "endpoints.event": None,
    "endpoints.parameter": "PFS",
    "endpoints.horizon": 180,
    "endpoints.tau": 180,
    "covariates.numeric": ["AGE", "ADVS.WEIGHT"],
    "covariates.binary": [],
    "covariates.categorical": ["SEX"],
}
"""What turns the study file of the invented flat trial into that of the ADaM example."""


@pytest.fixture(scope="session")
def adam_datasets():
    """A factory of the example's data sets, by name."""
    return make_adam


@pytest.fixture
def write_adam(tmp_path, write_study):
    """A factory: write the ADaM example and its study file, with one thing changed; return the study file's path.

    `change` gets the mapping of data sets and alters it in place; `kind` is the files' ending; `study` maps
    ``table.key`` to a value, or None for a key to leave out.
    """

    def write(*, change=None, kind="xpt", study=None, rows=240):
        datasets = make_adam(rows)
        if change is not None:
            change(datasets)
        write_folder(tmp_path / "adam", datasets, kind)
        return write_study(tmp_path, rows=3, study={**ADAM_STUDY, **(study or {})})

    return write


@pytest.fixture(scope="session")
def xpt_writer():
    """The function that writes a frame as a transport file."""
    return write_xpt


@pytest.fixture(scope="session")
def pilot():
    """The folder of CDISC's pilot study, which is not part of the repository."""
    named = os.environ.get("TRIALML_SHARED")
    near = [parent / "shared" for parent in Path(__file__).resolve().parents]
    for shared in [Path(named)] if named else near:
        if (shared / "data" / "cdisc-pilot" / "adsl.xpt").is_file():
            return shared / "data" / "cdisc-pilot"
    pytest.skip("the shared folder with CDISC's pilot study is not here (TRIALML_SHARED names it)")

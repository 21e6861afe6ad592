"""Visits joined to the patients: by time, date or visit, from a study file or from Python."""

import math

import numpy as np
import pandas as pd
import pytest

from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.quality import examine
from trialml.data.read import read_table
from trialml.data.visit_tables import Visits, add_visits
from trialml.errors import DataError, StudyFileError
from trialml.study import read_trial

PATIENTS = "id,zero\nA1,2020-03-01\nA2,2020-03-11\nA3,\n"
BY_TIME = (
    "who,day,code,result\nA1,-10,ALT,20\nA1,0,ALT,30\nA1,5,ALT,99\nA2,-3,ALT,7\nA2,-3,AST,70\nZ9,-1,ALT,5\nA3,,ALT,4\n"
)
BY_DATE = "who,seen,result\nA1,2020-02-20,20\nA1,01MAR2020,30\nA1,2020-03-06,99\nA2,2020-03-08,7\nA2,2020-02,8\nA3,2020-01-01,4\n"
BY_VISIT = "who,visit,result\nA1,Screening,20\nA1,Baseline,30\nA1,Week 4,99\nA2,Screening,7\n"


@pytest.fixture
def joined(tmp_path):
    def join(long, *, patients=PATIENTS, **fields):
        (tmp_path / "patients.csv").write_text(patients, encoding="utf-8")
        (tmp_path / "long.csv").write_text(long, encoding="utf-8")
        defaults = {
            "name": "alt",
            "source": "long.csv",
            "subject": "who",
            "value": "result",
            "summaries": ("last", "slope"),
        }
        visits = Visits(**{**defaults, **fields})
        return add_visits(read_table("patients.csv", tmp_path), [visits], subject="id", base=tmp_path)

    return join


def numbers(table, column):
    return table.frame[column].tolist()


@pytest.mark.parametrize(
    ("long", "fields", "slope"),
    [
        (BY_TIME, {"time": "day", "where": ("code", "ALT")}, 1.0),
        (BY_DATE, {"date": "seen", "time_zero": "zero"}, 1.0),
        (BY_VISIT, {"visit": "visit", "baseline_visits": ("Screening", "Baseline")}, 10.0),
    ],
    ids=["time", "date", "visit"],
)
def test_a_time_a_date_and_a_visit_say_the_same(joined, long, fields, slope):
    table = joined(long, **fields)
    assert numbers(table, "alt_last") == pytest.approx([30, 7, math.nan], nan_ok=True)
    assert numbers(table, "alt_slope") == pytest.approx([slope, math.nan, math.nan], nan_ok=True)


def test_the_unit_scales_slope_and_time_since(joined):
    table = joined(BY_DATE, date="seen", time_zero="zero", unit="weeks", summaries=("slope", "since_last"))
    assert numbers(table, "alt_slope")[0] == pytest.approx(7, rel=1e-12)
    assert numbers(table, "alt_since_last")[1] == pytest.approx(3 / 7, rel=1e-12)


def test_rows_used_and_passed_over_are_stated_without_small_counts(joined):
    (*_, said) = joined(BY_TIME, time="day", where=("code", "ALT")).statements
    assert said.startswith("alt: alt_last, alt_slope come from fewer than 11 rows of 'long.csv' at time zero or before")
    assert "after time zero" in said
    assert "without a full date or time" in said
    assert "of subjects that the trial does not know" in said
    assert "A1" not in said


def test_rows_passed_over_are_findings_for_the_numbered_checks(joined):
    found = {one.rule: one.count for one in joined(BY_TIME, time="day", where=("code", "ALT")).findings}
    assert found == {"visit after time zero": 1, "visit without time": 1, "unknown subject": 1}


def test_the_digest_covers_the_visits(joined):
    first = joined(BY_VISIT, visit="visit", baseline_visits=("Screening", "Baseline"))
    other = joined(BY_VISIT.replace("99", "98"), visit="visit", baseline_visits=("Screening", "Baseline"))
    assert first.sha256 != other.sha256
    assert first.frame.equals(other.frame)


BAD = {
    "no such column": (BY_TIME, {"time": "dya"}, "'dya' .*the nearest name is 'day'"),
    "no such code": (
        BY_TIME,
        {"time": "day", "where": ("code", "ALP")},
        "never holds 'ALP'; the nearest name is 'ALT'",
    ),
    "identifiers as codes": (
        "who,day,result\n" + "".join(f"A{row},-1,1\n" for row in range(40)),
        {"time": "day", "where": ("who", "x")},
        "it holds 40 different values",
    ),
    "no such visit": (
        BY_VISIT,
        {"visit": "visit", "baseline_visits": ("Screenin",)},
        "the nearest name is 'Screening'",
    ),
    "no date": (
        BY_DATE.replace("01MAR2020", "soon"),
        {"date": "seen", "time_zero": "zero"},
        r"file row 3: \(a text, not shown\) is no date",
    ),
    "identifier as date": (BY_DATE, {"date": "who", "time_zero": "zero"}, "an identifier, not shown"),
    "text as value": (
        BY_TIME.replace(",20\n", ",high\n"),
        {"time": "day"},
        r"file row 2: \(a text, not shown\) is not a number",
    ),
    "all later": ("who,day,result\nA1,3,1\n", {"time": "day"}, "none is a value by time zero"),
    "a column twice": (
        BY_TIME,
        {"time": "day", "patients": "id,alt_last\nA1,1\nA2,1\nA3,1\n"},
        "which is there already",
    ),
    "a subject twice": (BY_TIME, {"time": "day", "patients": "id\nA1\nA1\n"}, "on more than one row"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_joined_is_refused_without_an_identifier(joined, case):
    long, fields, words = BAD[case]
    with pytest.raises(DataError, match=words) as refused:
        joined(long, **fields)
    assert "A1" not in str(refused.value)


VISITS = {
    "name": "lab",
    "source": "labs.csv",
    "subject": "usubjid",
    "value": "value",
    "time": "day",
    "summaries": ["last"],
}


def with_visits(write_study, folder, patients, *, later=1.0, listed=("age", "lab_last"), **changes):
    path = write_study(folder, study={"covariates.numeric": list(listed)})
    draw, ids = np.random.default_rng(5), patients(240)["usubjid"]
    labs = pd.DataFrame(
        {"usubjid": np.tile(ids, 3), "day": np.repeat([-14, 0, 21], 240), "value": draw.normal(size=720)}
    )
    labs.loc[labs["day"] > 0, "value"] *= later
    labs.sample(frac=1, random_state=1).to_csv(folder / "labs.csv", index=False)
    table = "".join(f"{key} = {value!r}\n" for key, value in {**VISITS, **changes}.items())
    path.write_text(path.read_text(encoding="utf-8") + f"[[data.visits]]\n{table}", encoding="utf-8")
    return path


def test_a_study_file_makes_covariates_that_the_future_does_not_reach(write_study, tmp_path, patients):
    trial = read_trial(read_study(with_visits(write_study, tmp_path / "a", patients)))
    other = read_trial(read_study(with_visits(write_study, tmp_path / "b", patients, later=1000.0)))
    assert trial.frame["lab_last"].notna().all()
    assert trial.frame.equals(other.frame)
    assert any(said.startswith("lab: lab_last") for said in trial.statements)


def test_a_covariate_made_of_visits_does_not_sound_later_than_baseline(write_study, tmp_path, patients):
    trial = read_trial(read_study(with_visits(write_study, tmp_path / "a", patients)))
    assert [one.verdict for one in examine(analysis_set(trial)[0]) if one.number == "DQ025"] == ["ok"]
    path = write_study(
        tmp_path / "b",
        change=lambda frame: frame.assign(lab_last=frame["age"] + 1),
        study={"covariates.numeric": ["age", "lab_last"]},
    )
    (seen,) = [one for one in examine(analysis_set(read_trial(read_study(path)))[0]) if one.number == "DQ025"]
    assert (seen.verdict, seen.subject) == ("note", "lab_last")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"listed": ["age"]}, "'lab_last', which .covariates. numeric does not list"),
        ({"summary": ["last"]}, r"\[data.visits\] 'summary' is not a key; the nearest name is 'summaries'"),
        ({"date": "seen"}, "gives time and date: give one of"),
        ({"time_zero": "zero"}, "needs both date and time_zero"),
        ({"baseline_visits": ["x"]}, "needs both visit and baseline_visits"),
        ({"summaries": ["last", "last"]}, "summaries lists 'last' twice"),
        ({"summaries": ["latest"]}, "summaries"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(write_study, tmp_path, patients, changes, words):
    with pytest.raises(StudyFileError, match=words):
        read_study(with_visits(write_study, tmp_path, patients, **changes))


def test_visits_stand_beside_an_adam_folder_too(write_adam, adam_datasets):
    """Oracle: the weights at baseline that the example's ADVS holds; week 8 comes after randomisation."""
    path = write_adam(study={"covariates.numeric": ["AGE", "kg_last"]})
    table = 'name = "kg"\nsource = "adam/advs.xpt"\nsubject = "USUBJID"\nvalue = "AVAL"\nsummaries = ["last"]\n'
    table += 'visit = "AVISIT"\nbaseline_visits = ["Baseline"]\nwhere = { PARAMCD = "WEIGHT" }\n'
    path.write_text(path.read_text(encoding="utf-8") + f"[[data.visits]]\n{table}", encoding="utf-8")
    trial = read_trial(read_study(path))
    datasets = adam_datasets()
    vitals = datasets["ADVS"]
    weights = vitals[(vitals["PARAMCD"] == "WEIGHT") & (vitals["AVISIT"] == "Baseline")].set_index("USUBJID")["AVAL"]
    expected = weights.reindex(datasets["ADSL"]["USUBJID"]).to_numpy()
    assert trial.frame["kg_last"].to_numpy() == pytest.approx(expected, nan_ok=True)

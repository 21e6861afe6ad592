"""One file: populations, dates, and endpoints that are no time to event."""

import numpy as np
import pandas as pd
import pytest

from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.errors import DataError, StudyFileError
from trialml.study import read_trial

NO_TIME = {f"endpoints.{key}": None for key in ("time", "unit", "horizon", "tau")}
BINARY = {**NO_TIME, "endpoints.kind": "binary", "data.post_baseline": ["week8", "days"]}
CONTINUOUS = {**BINARY, "endpoints.kind": "continuous", "endpoints.event": None, "endpoints.value": "week8"}
CONTINUOUS["data.post_baseline"] = ["days", "progressed"]
DATES = {"endpoints.time": None, "endpoints.date": "last", "data.time_zero": "start"}


@pytest.fixture
def study(write_study, tmp_path):
    def read(changes=None, **keywords):
        return read_study(write_study(tmp_path, study=changes, **keywords))

    return read


def add_dates(frame):
    start = pd.Timestamp("2020-03-01") + pd.Series(pd.to_timedelta(np.arange(len(frame)) % 90, unit="D"))
    last = start + pd.to_timedelta(frame["days"].astype(int) - 1, unit="D")
    frame["start"] = start.dt.strftime("%d%b%Y").str.upper()
    frame["last"] = last.dt.strftime("%Y-%m-%d")


def test_a_binary_endpoint_is_one_column(study, patients):
    trial = read_trial(study(BINARY))
    np.testing.assert_array_equal(trial.event, patients()["progressed"].astype(bool))
    assert "time" not in trial.frame
    assert analysis_set(trial)[1].by_arm["events"].sum() == patients()["progressed"].sum()


def test_a_continuous_endpoint_is_one_column_and_counts_no_events(study, patients):
    def change(frame):
        frame.loc[:3, "week8"] = None

    trial = read_trial(study(CONTINUOUS, change=change))
    np.testing.assert_array_equal(trial.value[4:], patients()["week8"].astype(float)[4:])
    _, flow = analysis_set(trial)
    assert ("Outcome not recorded", 4, True) in list(flow.rows.itertuples(index=False, name=None))
    assert flow.by_arm["events"].isna().all()
    assert "n/a" in flow.table().to_string()


def test_a_covariate_that_copies_the_value_of_the_endpoint_is_refused(study):
    with pytest.raises(DataError, match="'age' is a copy of the endpoint's column 'week8'"):
        read_trial(study(CONTINUOUS, change=lambda frame: frame.assign(age=frame["week8"].astype(float) * 2)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({**BINARY, "endpoints.event": None}, "'event' is missing: add it"),
        ({**CONTINUOUS, "endpoints.value": None}, "'value' is missing: add it"),
        ({"endpoints.horizon": None}, "'horizon' is missing: add it"),
        ({"endpoints.unit": None}, "'unit' is missing: add it"),
        ({"endpoints.time": None}, "'time' is missing: add it"),
        ({**DATES, "data.time_zero": None}, r"date = 'last' needs \[data\] time_zero"),
        ({"data.time_zero": "start"}, "time_zero = 'start' is a date, but .* time = 'days' counts already"),
        ({"endpoints.date": "last"}, "has both time and date"),
        ({**CONTINUOUS, "covariates.numeric": ["week8"]}, "lists 'week8', which is the endpoint's value"),
        ({**BINARY, "endpoints.parameter": "RESP"}, "'dataset' is missing: name the data set"),
        ({**CONTINUOUS, "endpoints.dataset": "ADAE"}, "cannot be made of adverse events"),
        ({"endpoints.kind": "count"}, "kind = 'count' will not do"),
        ({"endpoints.competing": ["relapse"]}, "will not do"),
    ],
)
def test_an_endpoint_that_is_not_whole_is_refused_by_the_study_file(study, changes, words):
    with pytest.raises(StudyFileError, match=words):
        study(changes)


def test_time_is_the_days_between_two_dates_and_the_first_day_is_day_1(study, patients):
    trial = read_trial(study(DATES, change=add_dates))
    np.testing.assert_array_equal(trial.time, patients()["days"].astype(float))
    assert "Time is 'last' less 'start' in days, the day of 'start' being day 1." in trial.statements
    weeks = read_trial(study({**DATES, "endpoints.unit": "weeks", "endpoints.horizon": 50}, change=add_dates))
    np.testing.assert_allclose(weeks.time * 7, trial.time, rtol=1e-12)


def test_an_event_before_time_zero_is_refused_with_its_row(study, subject_mark):
    def change(frame):
        add_dates(frame)
        frame.loc[5, "last"] = "2019-12-31"

    with pytest.raises(DataError, match="File row 7: 'last' lies before 'start'") as error:
        read_trial(study(DATES, change=change))
    assert subject_mark not in str(error.value)


def test_a_partial_date_is_imputed_by_the_stated_rule_alone(study):
    def change(frame):
        add_dates(frame)
        frame.loc[0, "last"] = "2026-05"

    with pytest.raises(DataError, match="partial_dates"):
        read_trial(study(DATES, change=change))
    trial = read_trial(study({**DATES, "data.partial_dates": "first"}, change=change))
    assert [(one.rule, one.count) for one in trial.findings] == [("partial date", 1)]


def test_a_population_is_a_column_with_yes_or_a_code_of_its_own(study):
    def change(frame):
        frame["pp_set"] = np.where(np.arange(len(frame)) % 10 == 0, "no", " Yes ")
        frame["itt"] = np.where(np.arange(len(frame)) % 20 == 0, "out", "in")

    trial = read_trial(study({"data.population": "pp_set"}, change=change))
    _, flow = analysis_set(trial)
    assert ("Not in the population pp_set", 24, True) in list(flow.rows.itertuples(index=False, name=None))
    found = next(one for one in trial.findings if one.rule == "population")
    assert (found.count, found.severity) == (24, "warning")
    coded = read_trial(study({"data.population": "itt", "data.population_value": "in"}, change=change))
    assert analysis_set(coded)[1].analysed == 228
    assert next(one for one in coded.findings if one.rule == "population").severity == "note"


def test_mixed_yes_and_y_are_read_as_yes_and_noted(study, patients):
    def change(frame):
        words = np.where(frame["prior"] == 1, np.where(np.arange(len(frame)) % 2, "Yes", " y "), "No")
        frame["prior"] = words

    trial = read_trial(study(change=change))
    np.testing.assert_array_equal(trial.frame["prior"], patients()["prior"].astype(float))
    found = {(one.rule, one.subject) for one in trial.findings}
    assert {("mixed spelling", "prior"), ("blanks", "prior")} <= found


def test_an_arm_that_differs_by_case_alone_is_refused(study):
    def change(frame):
        frame.loc[0, "arm"] = "OLD"

    with pytest.raises(DataError, match="holds 'OLD' in 1 patients, which differs from the arm 'old' by case"):
        read_trial(study(change=change))


def test_a_trial_is_the_same_from_csv_and_parquet(study, write_study, tmp_path, patients):
    flat = read_trial(study())
    patients().infer_objects().convert_dtypes().to_parquet(tmp_path / "trial.parquet")
    typed = read_trial(read_study(write_study(tmp_path, study={"data.source": "trial.parquet"})))
    pd.testing.assert_frame_equal(
        flat.frame.reset_index(drop=True), typed.frame.reset_index(drop=True), check_dtype=False
    )


def test_numbers_stored_as_text_in_a_typed_file_are_read_and_noted(write_study, tmp_path, patients):
    frame = patients().infer_objects()
    frame["age"] = frame["age"].astype(str)
    frame.to_parquet(tmp_path / "trial.parquet")
    trial = read_trial(read_study(write_study(tmp_path, study={"data.source": "trial.parquet"})))
    np.testing.assert_array_equal(trial.frame["age"], patients()["age"].astype(float))
    assert ("text in numbers", "age", 240) in {(one.rule, one.subject, one.count) for one in trial.findings}

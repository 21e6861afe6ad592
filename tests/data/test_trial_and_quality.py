"""From a study file to the analysis set, and what the checks of the data say."""

import json

import numpy as np
import pytest

from trialml.config import read_study
from trialml.data.analysis_set import AnalysisSet, analysis_set
from trialml.data.quality import DataQuality, data_quality
from trialml.data.quality_catalogue import CATALOGUE
from trialml.errors import AnalysisError, DataError
from trialml.study import read_trial


@pytest.fixture
def trial_from(write_study, tmp_path):
    def make(**keywords):
        return read_trial(read_study(write_study(tmp_path, **keywords)))

    return make


@pytest.fixture
def found(trial_from):
    def checks(**keywords):
        selected, _ = analysis_set(trial_from(**keywords))
        return data_quality(selected)

    return checks


def verdicts(quality, number):
    rows = quality.checks[quality.checks["number"] == number]
    return list(zip(rows["subject"], rows["verdict"], strict=True))


def test_a_trial_keeps_no_identifier_and_only_columns_with_a_part(trial_from, subject_mark):
    trial = trial_from()
    assert list(trial.frame) == ["arm", "time", "event", "factor", "age", "marker", "prior", "site"]
    assert not trial.frame.astype(str).apply(lambda column: column.str.contains(subject_mark).any()).any()
    assert trial.frame.index[0] == 2


def test_every_step_of_exclusion_is_counted_once(trial_from):
    def change(frame):
        frame.loc[0:9, ["arm", "days"]] = None
        frame.loc[8:14, "progressed"] = None

    trial = trial_from(change=change)
    selected, flow = analysis_set(trial, randomised=250)
    assert list(flow.rows.itertuples(index=False, name=None)) == [
        ("Patients in the file", 240, False),
        ("Arm not recorded", 10, True),
        ("Event indicator not recorded", 5, True),
        ("Analysis set", 225, False),
    ]
    assert len(selected) == flow.analysed == 225
    assert flow.scalars() == {"patients_read": 240, "patients_excluded": 15, "patients_analysed": 225}
    assert "the other 10 are not in the file" in flow.text()
    again = AnalysisSet.from_dict(json.loads(json.dumps(flow.to_dict())))
    assert again.text() == flow.text()
    assert again.table().equals(flow.table())


def test_the_population_keeps_its_name_in_the_words_of_the_flow(write_adam):
    def change(sets):
        sets["ADSL"].loc[:11, "ITTFL"] = "N"

    _, flow = analysis_set(read_trial(read_study(write_adam(change=change, study={"data.population": "ITTFL"}))))
    assert "12 not in the population ITTFL" in flow.text()


def test_arms_are_counted_with_their_events(trial_from):
    trial = trial_from()
    _, flow = analysis_set(trial)
    for row, arm in zip(flow.by_arm.itertuples(), ("old", "new", "other"), strict=True):
        of_arm = trial.frame["arm"] == arm
        assert (row.patients, row.events) == (of_arm.sum(), trial.frame.loc[of_arm, "event"].sum())


def test_the_smallest_trial_that_is_analysed_has_20_patients_in_each_arm(trial_from):
    two = {"arms": ("old", "new"), "study": {"treatment.secondary": [], "endpoints.horizon": 300, "endpoints.tau": 300}}
    analysis_set(trial_from(rows=60, **two))
    with pytest.raises(AnalysisError, match="has 19 patients in the analysis set"):
        analysis_set(trial_from(rows=38, **two))


def test_a_covariate_recorded_in_few_patients_is_no_restatement_by_chance(trial_from):
    def change(frame):
        frame["marker"] = None
        frame.loc[0, "marker"], frame.loc[1, "marker"] = 1.0, 2.0

    assert trial_from(change=change).frame["marker"].notna().sum() == 2


@pytest.mark.parametrize("power", [1, -1, 3])
def test_a_covariate_in_the_order_of_the_times_is_refused(trial_from, power):
    with pytest.raises(DataError, match="'age' is a copy"):
        trial_from(change=lambda frame: frame.assign(age=frame["days"].astype(float) ** power))


def test_whole_data_give_every_check_of_the_catalogue_and_none_is_a_warning(found):
    quality = found()
    assert sorted(set(quality.checks["number"])) == [check.number for check in CATALOGUE]
    assert set(quality.checks["verdict"]) <= {"ok", "note", "not made"}
    assert len(set(quality.checks["number"])) > quality.made >= 27
    assert quality.not_used == ()
    again = DataQuality.from_dict(json.loads(json.dumps(quality.to_dict())))
    assert again.text() == quality.text()


def test_many_missing_values_are_a_warning_and_few_a_note_without_their_number(found):
    def change(frame):
        frame["marker"] = np.where(np.arange(len(frame)) % 2, frame["marker"], None)
        frame.loc[:2, "prior"] = None

    quality = found(change=change)
    assert verdicts(quality, "DQ004") == [("marker", "warning"), ("prior", "note")]
    assert "fewer than 11 values of 240" in quality.checks["finding"].str.cat(sep=" ")


def test_a_covariate_that_does_not_vary_in_the_primary_contrast_is_left_out(found):
    quality = found(change=lambda frame: frame.assign(age=np.where(frame["arm"] == "other", frame["age"], 50), prior=1))
    assert set(quality.not_used) == {"age", "prior"}
    assert dict(verdicts(quality, "DQ005")) == {"age": "note", "prior": "note"}


def test_a_covariate_that_nobody_has_is_said_to_be_so(found):
    quality = found(change=lambda frame: frame.assign(marker=None))
    assert quality.not_used == ("marker",)
    assert "No patient has a value" in quality.checks["finding"].str.cat(sep=" ")


def test_covariates_that_restate_each_other_are_a_warning(found):
    def change(frame):
        frame["age"] = frame["prior"] * 2 + 1

    assert verdicts(found(change=change), "DQ006") == [("age, prior", "warning")]


def test_categories_that_differ_by_case_or_blanks_are_a_warning(found):
    def change(frame):
        frame["site"] = np.where(np.arange(len(frame)) % 2, "Lung  left", "lung left")

    assert verdicts(found(change=change), "DQ007") == [("site", "warning")]


def test_an_allocation_that_the_data_contradict_is_a_warning(found):
    assert verdicts(found(study={"treatment.allocation": 0.64}), "DQ008") == [("Allocation", "warning")]
    two_to_one = {"arms": ("old", "new", "new", "other"), "study": {"treatment.allocation": 2 / 3}}
    assert verdicts(found(**two_to_one), "DQ008") == [("Allocation", "ok")]


def test_trap_42_strata_too_small_to_stratify_by_are_one_warning_that_counts_them(found):
    def change(frame):
        frame["region"] = [f"site {number % 40}" for number in range(len(frame))]

    rows = found(change=change).checks.query("number == 'DQ010'")
    assert len(rows) == 1
    assert rows["verdict"].tolist() == ["warning"]
    assert "fewer than 5 events, or one arm alone" in rows["finding"].iloc[0]
    assert "pool strata" in rows["finding"].iloc[0]


def test_a_stratum_of_the_randomisation_without_events_is_a_warning(found):
    def change(frame):
        frame.loc[:14, "region"], frame.loc[:14, "progressed"] = "islands", 0

    quality = found(change=change)
    assert verdicts(quality, "DQ010") == [("Stratification factors", "warning")]
    assert "'islands'" in quality.text()


def test_a_value_far_from_all_others_is_a_warning(found):
    def change(frame):
        frame.loc[7, "age"] = 1e12

    assert verdicts(found(change=change), "DQ011") == [("age", "warning")]

"""A column of numbers that says who a patient is, and columns of whole numbers that only look like one."""

from pathlib import Path

import lifelines.datasets
import numpy as np
import pandas as pd
import pytest

from trialml.config import read_study
from trialml.data.patient_numbers import numbers_patients
from trialml.data.read import read_file
from trialml.errors import DataError
from trialml.study import read_trial

SITED = pd.Series([f"01-{701 + number % 7}-{1001 + number}" for number in range(240)])
HASHED = pd.Series([f"{value:016x}" for value in np.random.default_rng(3).integers(0, 2**63, 240)])


@pytest.mark.parametrize(
    ("values", "subjects"),
    [
        (1001.0 + np.arange(240), SITED),
        (np.array([float(f"{701 + number % 7}{1001 + number}") for number in range(240)]), SITED),
        (np.where(np.arange(240) % 20 == 3, np.nan, 1001.0 + np.arange(240)), SITED),
        (np.where(np.arange(240) == 3, 4.0, 1001.0 + np.arange(240)), SITED),
        # Numbers that begin again at each site.
        (np.arange(240) // 6 + 1.0, pd.Series([f"{number % 6:02d}-{number // 6 + 1:03d}" for number in range(240)])),
        # In the order of the subjects, with gaps.
        (np.cumsum(np.arange(240) % 9 + 40.0), SITED.sort_values(ignore_index=True)),
        # A number of the randomisation, whose subjects say nothing.
        (np.random.default_rng(5).permutation(240) + 5001.0, HASHED),
        # A number of a health register, whose subjects say nothing and whose range is wide.
        (np.random.default_rng(6).integers(10**9, 10**10, 240).astype(float), HASHED),
    ],
    ids=["suffix", "site and suffix", "gaps", "one slip", "by site", "order", "randomisation number", "register"],
)
def test_a_number_of_the_patient_is_told(values, subjects):
    assert numbers_patients(values, subjects)


def test_a_number_of_a_register_that_was_copied_once_is_still_one():
    values = np.random.default_rng(6).integers(10**9, 10**10, 240).astype(float)
    values[5] = values[9]
    assert "all of as many digits" in numbers_patients(values, HASHED)
    values[:40] = values[40]
    assert not numbers_patients(values, HASHED)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("continuous", np.random.default_rng(1).normal(60, 9, 240)),
        ("continuous and sorted", np.sort(np.random.default_rng(1).normal(60, 9, 240)) + 0.5),
        ("grams", np.random.default_rng(2).normal(75_000, 12_000, 240).round()),
        ("grams, none twice", np.random.default_rng(4).permutation(np.arange(240) * 211.0 + 50_000)),
        ("days", np.random.default_rng(3).integers(0, 3000, 240).astype(float)),
        ("CD4 count", np.random.default_rng(4).gamma(4, 90, 240).round()),
        ("age", np.random.default_rng(4).normal(60, 9, 240).round()),
        ("viral load", np.random.default_rng(5).lognormal(13, 2, 240).round()),
        ("viral load, rounded", 10 * np.random.default_rng(5).integers(100_000, 900_000, 240).astype(float)),
        ("few patients", np.arange(19.0)),
    ],
)
def test_a_measurement_in_whole_numbers_is_not_taken_for_one(name, values):
    assert not numbers_patients(values, SITED[: len(values)]), name


def test_no_covariate_of_public_trials_is_taken_for_a_number_of_the_patient():
    trial = pd.read_csv(Path(lifelines.datasets.__file__).parent / "ACTG175.csv", index_col=0)
    told = {name for name in trial if numbers_patients(trial[name].to_numpy(float), trial["pidnum"])}
    assert told == {"pidnum"}
    breast = lifelines.datasets.load_gbsg2()
    numeric = breast.select_dtypes("number")
    assert not any(numbers_patients(numeric[name].to_numpy(float), pd.Series(breast.index + 1)) for name in numeric)


def test_of_the_pilot_study_the_number_of_the_subject_alone_is_told(pilot):
    adsl = read_file(pilot / "adsl.xpt", "adsl").frame
    numbers = {name: pd.to_numeric(adsl[name], errors="coerce").to_numpy(float) for name in adsl}
    known = {name: values for name, values in numbers.items() if np.isfinite(values).sum() > 100}
    assert {"AGE", "BMIBL", "DURDIS", "MMSETOT", "TRTSDT"} < set(known)
    assert [name for name, values in known.items() if numbers_patients(values, adsl["USUBJID"])] == ["SUBJID"]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_study_that_lists_a_number_of_the_patient_as_a_covariate_is_refused(write_adam, as_text):
    def numbered(sets):
        numbers = sets["ADSL"]["USUBJID"].str[-4:]
        sets["ADSL"]["SUBJID"] = numbers if as_text else numbers.astype(float)

    study = {"covariates.numeric": ["AGE", "SUBJID"]}
    with pytest.raises(DataError, match=r"covariate 'SUBJID' numbers the patients \(.*\): .*; take it out of \[covari"):
        read_trial(read_study(write_adam(change=numbered, study=study)))


def test_a_randomisation_number_in_a_flat_file_is_refused(tmp_path, write_study):
    def numbered(frame):
        frame["randno"] = np.random.default_rng(8).permutation(len(frame)) + 20_001

    path = write_study(tmp_path, change=numbered, study={"covariates.numeric": ["age", "randno"]})
    with pytest.raises(DataError, match="'randno' numbers the patients"):
        read_trial(read_study(path))

"""What is wrong with an ADaM folder is said in one sentence, with what was seen and what to do, and no identifier."""

import numpy as np
import pandas as pd
import pytest

from trialml.cli import main
from trialml.config import read_study
from trialml.errors import DataError
from trialml.study import read_trial


@pytest.fixture
def read(write_adam):
    def trial(**keywords):
        return read_trial(read_study(write_adam(**keywords)))

    return trial


def pfs(sets):
    return sets["ADTTE"].index[sets["ADTTE"]["PARAMCD"] == "PFS"]


def without_adsl(sets):
    del sets["ADSL"]


def two_records(sets):
    again = sets["ADTTE"].loc[pfs(sets)[:1]]
    sets["ADTTE"] = pd.concat([sets["ADTTE"], again], ignore_index=True)


def negative_aval(sets):
    sets["ADTTE"].loc[pfs(sets)[2], "AVAL"] = -4.0


def months_by_avalu(sets):
    sets["ADTTE"]["AVALU"] = "MONTHS"


def two_units(sets):
    sets["ADTTE"]["AVALU"] = np.where(np.arange(len(sets["ADTTE"])) % 2, "DAYS", "WEEKS")


def months_by_param(sets):
    sets["ADTTE"]["PARAM"] = "Progression-Free Survival (Months)"


def months_by_dates(sets):
    sets["ADTTE"]["PARAM"] = "Progression-Free Survival"
    sets["ADTTE"]["AVAL"] = (sets["ADTTE"]["AVAL"] / 30.4375).round(1).clip(0.1)


def odd_cnsr(sets):
    sets["ADTTE"].loc[pfs(sets)[1], "CNSR"] = -1.0


def arm_in_two_writings(sets):
    sets["ADSL"].loc[2, "TRT01P"] = "PLACEBO"
    sets["ADSL"] = sets["ADSL"].drop(columns="TRT01PN")


def arm_against_number(sets):
    sets["ADSL"].loc[2, "TRT01PN"] = 1.0


def subject_twice(sets):
    sets["ADSL"].loc[5, "USUBJID"] = sets["ADSL"].loc[4, "USUBJID"]


def two_studies(sets):
    sets["ADSL"].loc[:9, "STUDYID"] = "OTHER"


def two_baselines(sets):
    weights = sets["ADVS"].index[sets["ADVS"]["PARAMCD"] == "WEIGHT"]
    sets["ADVS"].loc[weights, "ABLFL"] = "Y"


def no_baseline_flag(sets):
    sets["ADVS"] = sets["ADVS"].drop(columns="ABLFL")


def baseline_in_two_units(sets):
    sets["ADVS"].loc[0, "AVALU"] = "lb"


def odd_flag(sets):
    sets["ADSL"].loc[0, "ITTFL"] = "maybe"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_adsl, "has no ADSL .*it holds ADAE, ADTTE, ADVS: an ADaM folder needs adsl"),
        (two_records, r"1 subject\(s\) have two or more records of ADTTE PFS \(file rows 1 and 481"),
        (negative_aval, r"Column 'ADTTE.AVAL', file row 3: '-4.0' is not a positive time"),
        (months_by_avalu, "times of PFS in 'MONTHS' .AVALU., but .* unit = 'days'"),
        (two_units, "times of PFS in several units .AVALU: DAYS, WEEKS."),
        (months_by_param, "times of PFS in 'Months' .PARAM., but .* unit = 'days'"),
        (months_by_dates, "counts AVAL in months, going by its dates .* unit = 'days'"),
        (odd_cnsr, "Column 'ADTTE.CNSR', file row 2: -1.0 is no censoring code"),
        (arm_in_two_writings, "holds 'PLACEBO' in 1 patients, which differs from the arm 'Placebo' by case or blanks"),
        (
            arm_against_number,
            r"ADSL contradicts itself: the value 'Placebo' of TRT01P stands with several values of TRT01PN \('0', '1'\); correct",
        ),
        (subject_twice, r"ADSL holds 1 subject\(s\) on more than one row \(file rows 5 and 6"),
        (two_studies, "ADSL holds 2 studies"),
        (two_baselines, "two or more records of ADVS WEIGHT with ABLFL = Y"),
        (no_baseline_flag, "'ABLFL' .* is not in 'ADVS'"),
        (baseline_in_two_units, "baseline of WEIGHT in several units .kg, lb."),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_fault_of_the_data_is_a_sentence(read, subject_mark, change, words):
    with pytest.raises(DataError, match=words) as error:
        read(change=change)
    assert subject_mark not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ({"endpoints.parameter": "PFFS"}, "no record with PARAMCD = 'PFFS': the nearest name is 'PFS'; it has OS, PFS"),
        ({"endpoints.parameter": "QQQQQQQQ"}, "no record with PARAMCD = 'QQQQQQQQ': it has OS, PFS."),
        ({"endpoints.dataset": "ADTTX"}, "no data set ADTTX; it holds ADAE, ADSL, ADTTE, ADVS"),
        ({"data.subject": "SUBJECT"}, "'SUBJECT' .* is not in 'ADSL'"),
        (
            {"data.time_zero": "RFSTDT"},
            "time_zero = 'RFSTDT' is neither in ADSL nor in ADTTE; they hold RANDDT, TRTSDT, STARTDT",
        ),
        ({"covariates.numeric": ["AGE", "ADVS.PULSE"]}, "no record with PARAMCD = 'PULSE'"),
        ({"covariates.numeric": ["AGE", "ADLB.ALT"]}, "no data set ADLB"),
        (
            {"covariates.categorical": ["EOSSTT"]},
            "lists 'EOSSTT', which ADaM defines by what happened after randomisation",
        ),
        ({"data.population": "FASFL"}, "'FASFL' .*population.* is not in 'ADSL'"),
        ({"endpoints.where": {"ANL02FL": "Y"}}, "'ANL02FL' .* is not in 'ADTTE'"),
        ({"treatment.control": "Old"}, "The control arm 'Old' has no patients"),
    ],
)
def test_what_the_study_file_asks_in_vain_is_named_with_what_there_is(read, study, words):
    with pytest.raises(Exception, match=words) as error:
        read(study=study)
    assert error.type.__module__ == "trialml.errors"


def test_an_unexpected_arm_is_a_warning_with_its_count(read):
    def change(sets):
        sets["ADSL"].loc[:11, ["TRT01P", "TRT01PN"]] = ["Middle Dose", 5.0]

    found = next(one for one in read(change=change).findings if one.rule == "unexpected arm")
    assert (found.count, found.severity) == (12, "warning")
    assert "12 patient(s) in 'Middle Dose'" in found.finding


def test_an_endpoint_whose_subjects_adsl_does_not_know_at_all_is_refused(read):
    def change(sets):
        sets["ADTTE"]["USUBJID"] = "STUDY2-" + sets["ADTTE"]["USUBJID"]

    with pytest.raises(
        DataError, match=r"None of the 240 subject\(s\) of ADTTE is among the 240 of ADSL: .* same identifiers"
    ):
        read(change=change)


def test_a_population_flag_in_several_spellings_is_a_finding(read):
    def change(sets):
        sets["ADSL"].loc[:5, "ITTFL"] = ["Yes", "yes", " y ", "Y", "y", "YES"]

    trial = read(change=change, study={"data.population": "ITTFL"})
    found = next(one for one in trial.findings if one.rule == "mixed spelling")
    assert (found.subject, found.count) == ("ITTFL", 5)
    assert len(trial) == trial.disposition["population"].sum() == 240


@pytest.mark.parametrize("kind", ["csv", "xpt"])
@pytest.mark.parametrize("dataset", ["ADSL", "ADTTE"])
def test_text_in_latin_1_is_noted_whichever_data_set_holds_it(write_adam, kind, dataset):
    words = "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    path = write_adam(change=lambda sets: sets[dataset].insert(1, "NOTE", words), kind=kind)
    file = path.parent / "adam" / f"{dataset.lower()}.{kind}"
    content = file.read_bytes()
    before, after = words.encode(), words.encode("latin-1") + (b" " if kind == "xpt" else b"")
    assert before in content
    file.write_bytes(content.replace(before, after))
    found = [one for one in read_trial(read_study(path)).findings if one.rule == "encoding"]
    assert [one.subject for one in found] == [dataset if dataset == "ADTTE" else "the file"]


def test_subjects_that_adsl_does_not_know_are_counted_and_left_out(read, subject_mark):
    def change(sets):
        sets["ADTTE"].loc[pfs(sets)[:3], "USUBJID"] = [f"{subject_mark}X{place}" for place in range(3)]

    trial = read(change=change)
    found = next(one for one in trial.findings if one.rule == "unknown subject")
    assert (found.subject, found.count, found.severity) == ("ADTTE", 3, "warning")
    assert trial.frame["time"].isna().sum() == 3
    assert len(trial) == 240
    # Those left out are not said to be taken as they are.
    assert not [one for one in trial.findings if "nothing says from when" in one.finding]


def test_patients_of_the_population_without_an_arm_are_a_warning_with_their_rows(read):
    def change(sets):
        sets["ADSL"].loc[3:4, "TRT01P"] = ""

    trial = read(change=change, study={"data.population": "ITTFL"})
    found = next(one for one in trial.findings if one.rule == "population" and one.severity == "warning")
    assert (found.subject, found.count, found.rows) == ("ITTFL", 2, (4, 5))
    assert "have no arm" in found.finding
    whole = read(study={"data.population": "ITTFL"}).findings
    assert not [one for one in whole if one.rule == "population" and one.severity == "warning"]


def test_a_flag_that_is_no_flag_is_named(read):
    with pytest.raises(DataError, match=r"Column 'ITTFL', file row 1: the value is no flag"):
        read(change=odd_flag, study={"data.population": "ITTFL"})


def test_a_member_of_another_name_is_mislabelled(write_adam, xpt_writer, adam_datasets):
    path = write_adam()
    xpt_writer(path.parent / "adam" / "adtte.xpt", adam_datasets()["ADAE"], "ADAE")
    with pytest.raises(DataError, match=r"'adtte.xpt' is mislabelled: by its own heading it holds the data set ADAE"):
        read_trial(read_study(path))


def test_a_data_set_in_two_files_is_refused(write_adam, adam_datasets):
    path = write_adam()
    adam_datasets()["ADSL"].to_csv(path.parent / "adam" / "adsl.csv", index=False)
    with pytest.raises(DataError, match=r"holds ADSL twice .'adsl.csv' and 'adsl.xpt'."):
        read_trial(read_study(path))


def test_an_empty_data_set_is_refused(write_adam, adam_datasets):
    path = write_adam(kind="parquet")
    adam_datasets()["ADTTE"].iloc[:0].to_parquet(path.parent / "adam" / "adtte.parquet", index=False)
    with pytest.raises(DataError, match=r"'adtte.parquet' holds no rows"):
        read_trial(read_study(path))


def test_an_empty_folder_is_refused(write_adam):
    path = write_adam(change=lambda sets: sets.clear())
    with pytest.raises(DataError, match=r"has no ADSL .* it holds no xpt, Parquet, CSV or SAS7BDAT file"):
        read_trial(read_study(path))


def test_partial_dates_are_refused_or_imputed_by_the_stated_rule(write_adam):
    def change(sets):
        sets["ADTTE"]["ADT"] = sets["ADTTE"]["ADT"].dt.strftime("%Y-%m-%d").astype(object)
        sets["ADTTE"].loc[pfs(sets)[:2], "ADT"] = "2020-12"
        sets["ADTTE"].loc[pfs(sets)[2], "ADT"] = "31DEC2020"

    with pytest.raises(
        DataError,
        match=r"Column 'ADTTE.ADT', file row 2: a value written as '9999-99' \(9 stands .*\) is a date without its day",
    ):
        read_trial(read_study(write_adam(change=change, kind="csv")))
    trial = read_trial(read_study(write_adam(change=change, kind="csv", study={"data.partial_dates": "middle"})))
    found = next(one for one in trial.findings if one.rule == "partial date")
    assert (found.subject, found.count) == ("ADTTE.ADT", 2)
    assert found.done == "Each was taken as the 15th of its month, or 1 July of its year."


def test_an_endpoint_of_records_needs_a_folder(write_study, tmp_path):
    path = write_study(tmp_path, study={"endpoints.parameter": "PFS", "endpoints.time": None, "endpoints.event": None})
    with pytest.raises(DataError, match=r"asks for records of ADTTE, but .* is a file: give the folder"):
        read_trial(read_study(path))


@pytest.mark.parametrize("verb", ["check", "run"])
def test_the_command_says_the_sentence_and_returns_1(write_adam, capsys, verb):
    path = write_adam(change=without_adsl)
    assert main([verb, str(path)]) == 1
    assert capsys.readouterr().err.startswith("trialml: The folder 'adam' has no ADSL")


@pytest.mark.parametrize(
    "study",
    [
        {"data.population": "SUBJID"},
        {"endpoints.where": {"SUBJID": "x"}},
        {"endpoints.where": {"USUBJID": "x"}},
        {"covariates.numeric": ["SUBJID"]},
    ],
)
def test_a_role_given_to_a_column_of_identifiers_prints_none(read, subject_mark, study):
    def change(sets):
        for frame in (sets["ADSL"], sets["ADTTE"]):
            frame["SUBJID"] = frame["USUBJID"]

    with pytest.raises(DataError) as error:
        read(change=change, study=study, rows=60)
    assert subject_mark not in str(error.value)


def test_a_date_that_is_none_is_shown_by_its_shape(read, subject_mark):
    def change(sets):
        sets["ADTTE"]["ADT"] = sets["ADTTE"]["USUBJID"]

    with pytest.raises(
        DataError, match=r"'aaaa-9999-9999' \(9 stands for any digit, a for any letter\) is no date"
    ) as error:
        read(change=change, kind="csv")
    assert subject_mark not in str(error.value)


def test_a_declared_encoding_reaches_every_file_of_a_folder(write_adam):
    def change(sets):
        sets["ADSL"]["SEX"] = "\u0141"

    path = write_adam(change=change, kind="csv", study={"data.encoding": "iso-8859-2"})
    for file in (path.parent / "adam").iterdir():
        file.write_bytes(file.read_text(encoding="utf-8").encode("iso-8859-2"))
    assert set(read_trial(read_study(path)).frame["SEX"]) == {"\u0141"}

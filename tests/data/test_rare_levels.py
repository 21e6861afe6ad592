"""Levels that fewer than 11 patients have: on the terminal with their rows, in results under a neutral name."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.cli import main
from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.baseline import baseline_table
from trialml.data.quality import data_quality, examine
from trialml.data.quoting import NOT_SHOWN, listed, may_be_shown, quoted
from trialml.data.rare_levels import rare_levels
from trialml.errors import StudyFileError
from trialml.models.input_contract import InputContract
from trialml.study import read_trial

WORD = "Schmidtke"


def plant(frame):
    frame.loc[5, "site"] = WORD
    frame.loc[[8, 9], "site"] = "Petersen"


def analysed(path):
    return analysis_set(read_trial(read_study(path)))[0]


def check_of(trial, number="DQ043"):
    return next(one for one in examine(trial) if one.number == number)


def test_rare_levels_are_joined_under_one_name_in_every_result_on_the_data(tmp_path, write_study):
    trial = analysed(write_study(tmp_path, change=plant))
    assert trial.frame["site"].value_counts()["other (2 levels)"] == 3
    seen = check_of(trial)
    assert (seen.verdict, seen.count, seen.rows.tolist()) == ("warning", 3, [7, 10, 11])
    assert seen.words == ("Petersen", WORD)
    results = [data_quality(trial), baseline_table(trial), baseline_table(trial, by="factor")]
    told = json.dumps([one.to_dict() for one in results], default=str) + trial.baseline.to_json()
    assert "other (2 levels)" in told
    assert WORD not in told
    assert "Petersen" not in told
    contract = InputContract.learn(trial.covariates, trial.baseline)
    assert WORD not in json.dumps(contract.state())


def test_no_cell_of_the_joined_level_is_shown_or_follows_from_the_others(tmp_path, write_study):
    """The margins are known: what is hidden in an arm must be two cells or more, of 11 patients or more together."""
    trial = analysed(write_study(tmp_path, change=plant))
    rows = baseline_table(trial).rows
    site = rows[rows["characteristic"] == "site"].set_index("level")
    counts = pd.crosstab(trial.frame["site"], trial.frame["arm"])
    for arm in ("old", "new", "other"):
        hidden = site.index[site[arm] == "suppressed"]
        assert counts.loc["other (2 levels)", arm] == 0 or "other (2 levels)" in hidden
        assert not len(hidden) or (len(hidden) > 1 and counts.loc[hidden, arm].sum() >= 11)


def test_the_check_names_words_and_rows_on_the_terminal_alone(tmp_path, write_study, capsys):
    assert main(["check", str(write_study(tmp_path, change=plant))]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 values are in 2 categories of fewer than 11 patients" in said
    assert "File rows 7, 10, 11. They read 'Petersen', 'Schmidtke'." in said
    finding = data_quality(analysed(tmp_path / "study.toml")).checks.set_index("number").loc["DQ043", "finding"]
    assert finding.startswith("fewer than 11 values are in 2 categories")


def test_a_level_that_the_study_file_declares_keeps_its_name(tmp_path, write_study):
    declared = {"covariates.levels": {"site": [WORD]}}
    trial = analysed(write_study(tmp_path, change=plant, study=declared))
    assert set(trial.frame["site"]) == {"lung", "liver", "None", WORD, "other (1 level)"}
    assert check_of(trial).words == ("Petersen",)
    with_words = {"effects.subgroups": ["site"], "effects.levels": {"site": {WORD: "A rare site"}}}
    assert WORD in set(analysed(write_study(tmp_path, change=plant, study=with_words)).frame["site"])
    with pytest.raises(StudyFileError, match=r"\[covariates.levels\] names 'age', which is no categorical covariate"):
        read_study(write_study(tmp_path, study={"covariates.levels": {"age": ["1"]}}))


def test_strata_keep_apart_and_lose_the_word(tmp_path, write_study):
    def change(frame):
        frame.loc[[3, 4], "region"] = WORD
        frame.loc[[6], "region"] = "Petersen"

    trial = analysed(write_study(tmp_path, change=change))
    counts = trial.frame["factor"].value_counts().to_dict()
    assert (counts["rare level 1"], counts["rare level 2"], len(counts)) == (1, 2, 4)
    two = {"treatment.stratification": ["region", "prior"]}
    cells = set(analysed(write_study(tmp_path, change=change, study=two)).factor)
    assert {"north / 0", "south / 1"} < cells
    assert any(cell.startswith("rare level 2 / ") for cell in cells)
    assert not any(WORD in cell for cell in cells)


def test_without_rare_levels_nothing_changes(tmp_path, write_study):
    path = write_study(tmp_path)
    trial = analysed(path)
    assert set(trial.frame["site"]) == {"lung", "liver", "None"}
    assert trial.recorded.empty
    assert check_of(trial).verdict == "ok"


def test_a_covariate_of_nothing_but_rare_levels_is_left_out_of_models(tmp_path, write_study):
    def change(frame):
        frame["site"] = [f"word{row % 24}" for row in range(len(frame))]

    quality = data_quality(analysed(write_study(tmp_path, change=change)))
    assert quality.not_used == ("site",)


def test_rare_levels_are_those_of_fewer_than_11():
    column = pd.Series(["a"] * 11 + ["b"] * 10 + [None])
    assert rare_levels(column) == ["b"]
    assert rare_levels(column, ("b",)) == []


@pytest.mark.parametrize("value", ["12.5", "-3", "1,5", "31DEC2020", "2020-12", "Y", "2x", "<5", True, 4])
def test_numbers_dates_and_codes_may_be_shown(value):
    assert may_be_shown(value)
    assert quoted(value) == f"'{value}'"


@pytest.mark.parametrize("value", ["Schmidt", "Anna Berg", "x" * 21, "Bob"])
def test_a_word_is_shown_from_eleven_rows_on_only(value):
    assert quoted(value) == NOT_SHOWN
    assert quoted(value, 10) == NOT_SHOWN
    assert may_be_shown(value, 11) == (" " not in value and len(value) <= 20)


def test_a_list_of_levels_counts_the_rare_words():
    column = pd.Series(["old drug"] * 20 + ["new"] * 20 + ["Schmidt"] + ["Y"])
    assert listed(column) == "'Y', 'new', 'old drug' and 1 value of fewer than 11 patients"
    assert listed(pd.Series([f"n{row}" for row in range(30)])) == "30 different values"


@pytest.mark.parametrize(("column", "value"), [("age", "Schmidt"), ("days", "Anna Berg"), ("progressed", "Schmidt")])
def test_a_refusal_names_row_and_column_and_not_a_word_of_one_patient(tmp_path, write_study, capsys, column, value):
    def change(frame):
        frame.loc[4, column] = value

    assert main(["check", str(write_study(tmp_path, change=change))]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"Column '{column}', file row 6: {NOT_SHOWN} is no" in said
    assert value not in said


def test_patients_of_the_population_without_a_record_are_a_warning(write_adam):
    def change(sets):
        lost = sets["ADSL"]["USUBJID"].iloc[[2, 5, 7]]
        sets["ADTTE"] = sets["ADTTE"][~sets["ADTTE"]["USUBJID"].isin(lost)]

    trial = read_trial(read_study(write_adam(change=change, study={"data.population": "ITTFL"})))
    (found,) = [one for one in trial.findings if "no record of the endpoint" in one.finding]
    assert (found.severity, found.count, found.rows) == ("warning", 3, (3, 6, 8))
    assert check_of(analysis_set(trial)[0], "DQ037").verdict in ("note", "warning")
    assert np.isin(["DQ037"], [one.number for one in examine(analysis_set(trial)[0]) if one.verdict == "warning"])

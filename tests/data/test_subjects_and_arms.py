"""Arms that the study file does not name, and subjects that may be one patient: numbered, counted, rows on the terminal alone."""

import pytest

from trialml.cli import main
from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.quality import data_quality, examine
from trialml.study import read_trial


def seen_of(trial, number):
    return next(one for one in examine(analysis_set(trial)[0]) if one.number == number)


def test_an_unexpected_arm_is_named_in_a_flat_file_as_in_an_adam_folder(tmp_path, write_study, write_adam):
    def flat(frame):
        frame.loc[[4, 9], "arm"] = "rescue"

    def folder(sets):
        sets["ADSL"]["TRT01PN"] = sets["ADSL"]["TRT01PN"].where(~sets["ADSL"].index.isin([4, 9]), 7.0)
        sets["ADSL"].loc[[4, 9], "TRT01P"] = "rescue"

    trials = {
        (6, 11): read_trial(read_study(write_study(tmp_path / "flat", change=flat))),
        (5, 10): read_trial(read_study(write_adam(change=folder))),
    }
    for rows, trial in trials.items():
        seen = seen_of(trial, "DQ041")
        assert (seen.verdict, seen.count, tuple(seen.rows)) == ("warning", 2, rows)
        assert "{count} patient(s) in an arm of fewer than 11 that [treatment] does not name" in seen.finding
        assert seen.words == ("rescue",)
        assert "rescue" not in str(data_quality(analysis_set(trial)[0]).to_dict())
        assert seen.done == "They were excluded and counted."


def test_an_unexpected_arm_of_many_patients_is_named(tmp_path, write_study):
    def change(frame):
        frame.loc[4:40, "arm"] = "rescue"

    seen = seen_of(read_trial(read_study(write_study(tmp_path, change=change))), "DQ041")
    assert "{count} patient(s) in 'rescue', an arm that" in seen.finding
    assert seen.count == 37


def test_arms_that_may_be_names_of_patients_are_counted_and_not_shown(tmp_path, write_study):
    def change(frame):
        frame.loc[200:, "arm"] = [f"patient {row}" for row in range(len(frame) - 200)]

    seen = seen_of(read_trial(read_study(write_study(tmp_path, change=change))), "DQ041")
    assert "patient 1" not in seen.finding
    assert seen.count == 40


@pytest.mark.parametrize(
    ("first", "second"), [("SECRET-0003", "secret-0003"), ("SECRET 0003", "SECRET  0003"), ("6", "6.0")]
)
def test_subjects_that_differ_by_case_or_blanks_are_a_warning_without_their_names(
    tmp_path, write_study, capsys, first, second
):
    def change(frame):
        frame.loc[3, "usubjid"], frame.loc[77, "usubjid"] = first, second

    path = write_study(tmp_path, change=change)
    trial = read_trial(read_study(path))
    seen = seen_of(trial, "DQ042")
    assert (seen.verdict, seen.count, seen.rows.tolist()) == ("warning", 2, [5, 79])
    quality = data_quality(analysis_set(trial)[0])
    assert "fewer than 11 subject(s) differ" in quality.checks.set_index("number").loc["DQ042", "finding"]
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "File rows 5, 79." in printed
    assert "secret" not in (printed + str(quality.to_dict())).lower()


def test_subjects_that_differ_otherwise_are_no_finding(tmp_path, write_study):
    seen = seen_of(read_trial(read_study(write_study(tmp_path))), "DQ042")
    assert seen.verdict == "ok"

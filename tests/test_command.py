"""The command line: what it refuses, with which status and sentence, and what it leaves behind."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from trialml import publish
from trialml.analysis import Analysis, Watcher
from trialml.cli import main
from trialml.config import read_study
from trialml.errors import OutputError

SCRIPT = "<script>alert(1)</script>"
MATHS = "$x_1$"


def refused(capsys, arguments, status):
    """Run the command, and return its one sentence after what holds for every refusal has been seen to hold."""
    assert main([str(word) for word in arguments]) == status
    said = capsys.readouterr().err.strip()
    assert said.startswith("trialml: ")
    assert said.endswith(".")
    assert "\n" not in said
    assert "Traceback" not in said
    return said


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def drop(column):
    return lambda frame: frame.drop(columns=column)


def put(column, row, value):
    def change(frame):
        frame.loc[row - 2, column] = value

    return change


def assign(column, make):
    def change(frame):
        frame[column] = make(frame)

    return change


BAD_DATA = {
    "missing column, nearest named": (
        {"change": lambda frame: frame.rename(columns={"marker": "markers"})},
        ["'marker'", "[covariates]", "the nearest name is 'markers'", "correct the study file"],
    ),
    "empty file": ({"data": ""}, ["'trial.csv' is empty (0 bytes)", "give a file"]),
    "blank file": ({"data": " \n\n"}, ["'trial.csv' is empty (3 bytes)"]),
    "header only": ({"data": "usubjid,arm,days\n"}, ["a heading and no rows", "give a file"]),
    "one arm only": (
        {"arms": ("old",), "study": {"treatment.secondary": []}},
        ["experimental arm 'new' has no patients", "'old'"],
    ),
    "labels that match nothing": (
        {"study": {"treatment.control": "placebo", "treatment.experimental": "active"}},
        [
            "control = 'placebo' and experimental = 'active' match nothing",
            "'new', 'old', 'other'",
            "correct [treatment]",
        ],
    ),
    "secondary arm that matches nothing": ({"study": {"treatment.secondary": ["third"]}}, ["'third' matches nothing"]),
    "duplicated subject": (
        {"change": assign("usubjid", lambda frame: [frame["usubjid"][0], *frame["usubjid"][:-1]])},
        ["'usubjid' holds 1 subject(s) on more than one row", "file rows 2 and 3", "keep one row"],
    ),
    "empty subject": ({"change": put("usubjid", 9, "")}, ["'usubjid' is empty in file row 9"]),
    "time zero": ({"change": put("days", 4, 0)}, ["'days', file row 4: '0' is not a positive time", "day 1"]),
    "time negative": ({"change": put("days", 4, -3)}, ["'days', file row 4: '-3' is not a positive time"]),
    "time infinite": ({"change": put("days", 4, "inf")}, ["'days', file row 4: 'inf' is not finite", "correct it"]),
    "time minus infinite": ({"change": put("days", 4, "-Infinity")}, ["file row 4: '-Infinity' is not finite"]),
    "time text": (
        {"change": put("days", 4, "soon")},
        ["'days', file row 4: (a text, not shown) is not a number", "leave it empty"],
    ),
    "time a date": ({"change": put("days", 4, "2020-01-03")}, ["file row 4: '2020-01-03' is not a number"]),
    "time with thousands": ({"change": put("days", 4, "1,234")}, ["file row 4: '1,234' is not a number"]),
    "unknown event code": (
        {"change": put("progressed", 7, 9)},
        ["'progressed', file row 7: '9' is no known event code", "event_values and censored_values"],
    ),
    "all censored": (
        {"change": assign("progressed", lambda _: 0)},
        ["All 160 patients of the primary contrast are censored", "event_values"],
    ),
    "a mark and nothing after it": ({"data": b"\xef\xbb\xbf\n"}, ["'trial.csv' is empty (4 bytes)"]),
    "a path longer than a path can be": ({"study": {"data.source": "x" * 3000}}, ["is no path (File name too long)"]),
    "a line break in a value": (
        {"change": put("days", 4, "so\non")},
        ["file row 4: (a text, not shown) is not a number"],
    ),
    "another patient's identifier as time": (
        {"change": lambda frame: frame.__setitem__("days", [frame["usubjid"][5], *frame["days"][1:]])},
        ["file row 2: (an identifier, not shown) is not a number"],
    ),
    "a patient in the place of the heading": (
        {"data": "S1,old,1.5\nS2,new,3\n"},
        ["first row holds numbers and seems to be a patient's", "put the names of the columns"],
    ),
    "no heading, with values that repeat": (
        {"data": "S1,1,1\nS2,0,3\n"},
        ["holds numbers and seems to be a patient's, not a heading"],
    ),
    "a control arm without events": (
        {"change": assign("progressed", lambda frame: frame["progressed"].where(frame["arm"] != "old", 0))},
        ["control arm 'old' has no events among its 80 patients", "check the event codes"],
    ),
    "few events": (
        {"change": assign("progressed", lambda frame: [1 if row < 24 else 0 for row in range(len(frame))])},
        ["16 events", "at least 20"],
    ),
    "restates the arm": (
        {"change": assign("site", lambda frame: frame["arm"].map({"old": "a", "new": "b", "other": "b"}))},
        ["'site' is a function of the arm 'arm'", "take it out of [covariates]"],
    ),
    "restates the arm in the primary contrast": (
        {"change": assign("site", lambda frame: frame["arm"].where(frame["arm"] != "other", frame["site"]))},
        ["'site' is a function of the arm"],
    ),
    "recorded in one arm only": (
        {"change": assign("marker", lambda frame: frame["marker"].where(frame["arm"] != "new"))},
        ["'marker' is recorded in no patient of the arm 'new'", "take it out"],
    ),
    "copy of the time": ({"change": assign("age", lambda frame: frame["days"])}, ["'age' is a copy", "'days'"]),
    "multiple of the time": ({"change": assign("age", lambda frame: frame["days"] / 7)}, ["'age' is a copy", "'days'"]),
    "copy of the event": (
        {"change": assign("prior", lambda frame: frame["progressed"])},
        ["'prior' is a copy", "'progressed'"],
    ),
    "event turned round": ({"change": assign("prior", lambda frame: 1 - frame["progressed"])}, ["'prior' is a copy"]),
    "event in words": (
        {"change": assign("site", lambda frame: frame["progressed"].map({0: "alive", 1: "dead"}))},
        ["'site' is a copy", "'progressed'"],
    ),
    "recorded where the event happened": (
        {"change": assign("marker", lambda frame: [row if e else None for row, e in enumerate(frame["progressed"])])},
        ["'marker' is recorded exactly where", "'progressed'"],
    ),
    "8 patients": (
        {"rows": 8, "arms": ("old", "new"), "study": {"treatment.secondary": []}},
        ["has 4 patients", "at least 20"],
    ),
    "45 patients in three arms": ({"rows": 45}, ["control arm 'old' has 15 patients", "use more data"]),
    "identifiers as categories": (
        {"change": assign("site", lambda frame: frame["usubjid"])},
        ["'site' identifies the subjects"],
    ),
    "a category for each patient": (
        {"change": assign("site", lambda frame: [f"place {row}" for row in range(len(frame))])},
        ["'site' has 240 categories in 240 patients", "join categories"],
    ),
    "factor of identifiers": (
        {"change": assign("region", lambda frame: [f"x{name}" for name in frame["usubjid"]])},
        ["(region) part 240 patients into 240 cells", "[treatment] stratification"],
    ),
    "factor empty": ({"change": put("region", 5, None)}, ["'region' is empty in file row 5", "fill it in"]),
    "text in a numeric covariate": (
        {"change": put("age", 5, "old")},
        ["'age', file row 5: (a text, not shown) is not a number"],
    ),
    "2 in a binary covariate": ({"change": put("prior", 5, 2)}, ["'prior', file row 5: '2' is neither 0 nor 1"]),
    "more patients than randomised": (
        {"study": {"data.randomised": 100}},
        ["randomised = 100", "240 patients", "correct"],
    ),
    "tau beyond follow-up": (
        {"study": {"endpoints.tau": 5000}},
        ["tau = 5000 days", "to when 0 of the 80 patients of the arm 'old' were followed", "or less"],
    ),
    "horizon beyond follow-up": ({"study": {"endpoints.horizon": 5000}}, ["horizon = 5000 days", "choose horizon"]),
    "horizon before anything": (
        {"study": {"endpoints.horizon": 0.01}},
        ["horizon = 0.01 days", "0 events", "at least 10"],
    ),
    "a folder": ({"study": {"data.source": "."}}, ["The folder '.' has no ADSL", "it holds TRIAL", "name the file"]),
    "no path at all": ({"study": {"data.source": "a\0b"}}, ["is no path", "give a path"]),
    "a home that nobody has": (
        {"study": {"data.source": "~nobody-of-that-name/x.csv"}},
        ["~nobody-of-that-name/x.csv", "give a path"],
    ),
    "a package not installed": ({"study": {"data.source": "nothere:x.csv"}}, ["'nothere', which is not installed"]),
    "a file not in the package": ({"study": {"data.source": "lifelines:x.csv"}}, ["'lifelines:x.csv' was not found"]),
    "a ragged row": ({"data": "usubjid,arm\na,b\nc\n"}, ["File row 3 has 1 values", "the heading has 2", "mend"]),
    "an open quote": ({"data": 'usubjid,arm\n"a,b\n'}, ["not a well-formed delimited file", "export it again"]),
    "UTF-16 without its mark": ({"data": "usubjid,arm\na,b\n".encode("utf-16-le")}, ["null bytes", "export it as CSV"]),
    "a heading twice": ({"data": "usubjid,arm,arm\na,b,c\n"}, ["the column 'arm' twice", "rename"]),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_refused_in_one_sentence_and_leave_nothing(case, write_study, tmp_path, capsys, subject_mark):
    keywords, words = BAD_DATA[case]
    study = write_study(tmp_path, **keywords)
    said = refused(capsys, ["run", study, "--out", tmp_path / "out"], 1)
    for word in words:
        assert word in said
    assert subject_mark not in said
    assert left_in(tmp_path / "out") == []
    assert refused(capsys, ["check", study], 1) == said


def test_a_missing_data_file_is_named_with_the_remedy(write_study, tmp_path, capsys):
    study = write_study(tmp_path)
    (tmp_path / "trial.csv").unlink()
    said = refused(capsys, ["run", study, "--out", tmp_path / "out"], 1)
    assert "source = 'trial.csv' was not found: give a path" in said


BAD_STUDY = {
    "unknown key": ({"treatment.colum": "arm"}, ["'colum' is not a key", "the nearest name is 'column'"]),
    "unknown table": ({"covariate.numeric": ["age"]}, ["'covariate' is not a key", "'covariates'"]),
    "missing key": ({"data.subject": None}, ["[data] 'subject' is missing: add it"]),
    "wrong type": ({"treatment.allocation": "half"}, ["[treatment] allocation = 'half'", "valid number"]),
    "a number in quotes": ({"study.seed": "11"}, ["seed = '11'", "valid integer"]),
    "a seed that is true": ({"study.seed": True}, ["seed = True"]),
    "out of range": ({"treatment.allocation": 1.5}, ["allocation = 1.5", "less than 1"]),
    "name with a path in it": ({"study.name": "../x"}, ["[study] name = '../x'"]),
    "empty title": ({"study.title": " "}, ["[study] title"]),
    "a label as long as a page": ({"covariates.labels.age": "A" * 5000}, ["[covariates.labels] age", "300 characters"]),
    "a column that is no list": (
        {"covariates.numeric": "age"},
        ["numeric = 'age' will not do: input should be a list"],
    ),
    "labels that are no table": ({"covariates.labels": 3}, ["labels = 3 will not do: input should be a table of keys"]),
    "a login in the address": (
        {"tracking.uri": "http://me:secret@host"},
        ["[tracking] uri carries a login", "--tracking-uri"],
    ),
    "a risk model of another kind of endpoint": (
        {"models.risk.model": "logistic_ridge"},
        ["is for a binary endpoint, but this one is time to event", "cox_ridge"],
    ),
    "unknown risk model": ({"models.risk.model": "cox_rigde"}, ["[models.risk] model = 'cox_rigde'", "'cox_ridge'"]),
    "unknown response model": ({"models.response.model": "forest"}, ["[models.response] model = 'forest'"]),
    "post-baseline covariate": (
        {"covariates.numeric": ["age", "week8"]},
        ["'week8', which was measured after randomisation", "take it out"],
    ),
    "endpoint as covariate": ({"covariates.numeric": ["days"]}, ["'days', which is the endpoint's time"]),
    "arm as covariate": ({"covariates.categorical": ["arm"]}, ["'arm', which is the arm"]),
    "subject as covariate": ({"covariates.categorical": ["usubjid"]}, ["'usubjid', which identifies the subject"]),
    "covariate twice": ({"covariates.binary": ["age"]}, ["lists 'age' twice"]),
    "covariate with a name that is kept": ({"covariates.numeric": ["factor"]}, ["'factor'", "rename the column"]),
    "no covariates": (
        {"covariates.numeric": [], "covariates.binary": [], "covariates.categorical": []},
        ["[covariates] lists nothing"],
    ),
    "one column, two parts": ({"endpoints.event": "days"}, ["time and [[endpoints]] event are both 'days'"]),
    "subject as factor": ({"treatment.stratification": ["usubjid"]}, ["both 'usubjid'", "one column cannot"]),
    "post-baseline factor": ({"treatment.stratification": ["week8"]}, ["stratification lists 'week8'"]),
    "arm twice": ({"treatment.secondary": ["old"]}, ["names the arm 'old' twice"]),
    "two arms of one name": ({"treatment.labels": {"old": "A", "new": "A"}}, ["calls two arms 'A'"]),
    "label of no arm": ({"treatment.labels": {"odl": "A"}}, ["'odl', which is no arm", "nearest name is 'old'"]),
    "label of no covariate": ({"covariates.labels": {"agee": "A"}}, ["'agee', which is no covariate", "'age'"]),
    "two covariates of one name": ({"covariates.labels": {"age": "X", "marker": "X"}}, ["calls two covariates 'X'"]),
    "half an event map": ({"endpoints.event_values": [1]}, ["needs both event_values and censored_values"]),
    "an event code on both sides": (
        {"endpoints.event_values": [1, 2], "endpoints.censored_values": [0, "2.0"]},
        ["calls the code '2' both event and censored"],
    ),
    "fractions that fall": (
        {"design.information_fractions": [1.0, 0.5]},
        ["information_fractions = 1, 0.5", "0.5, 1.0"],
    ),
    "fractions that end early": ({"design.information_fractions": [0.5, 0.8]}, ["information_fractions = 0.5, 0.8"]),
    "no fractions": ({"design.information_fractions": []}, ["information_fractions = []"]),
    "power under alpha": ({"design.power": 0.02}, ["[design] power = 0.02 is not above alpha = 0.025"]),
    "a unit that is none": ({"endpoints.unit": "hours"}, ["unit = 'hours'", "'months' or 'years'."]),
    "path is no key": ({"path": "x"}, ["'path' is not a key"]),
}


@pytest.mark.parametrize("case", BAD_STUDY)
def test_a_study_file_at_fault_is_refused_with_status_2(case, write_study, tmp_path, capsys):
    changes, words = BAD_STUDY[case]
    study = write_study(tmp_path, study={key: value for key, value in changes.items() if key != "path"})
    if "path" in changes:
        study.write_text('path = "x"\n' + study.read_text())
    said = refused(capsys, ["run", study, "--out", tmp_path / "out"], 2)
    for word in words:
        assert word in said
    assert left_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[study\n", "is not valid TOML"),
        (b"", "'study' is missing"),
        (b"\xff\xfe[\x00", "is not UTF-8 text"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_study_file_that_cannot_be_read_is_refused_with_status_2(content, words, tmp_path, capsys):
    path = tmp_path / "study.toml"
    if content is not None:
        path.write_bytes(content)
    assert words in refused(capsys, ["run", path, "--out", tmp_path / "out"], 2)
    assert "(Is a directory)" in refused(capsys, ["check", tmp_path], 2)


def test_words_that_are_no_command_have_status_2(capsys):
    for words in ([], ["dance"], ["run"], ["run", "a.toml", "--fast"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    capsys.readouterr()


def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_is_computed(write_study, tmp_path, capsys):
    study = write_study(tmp_path)
    below = tmp_path / "trial.csv" / "out"
    said = refused(capsys, ["run", study, "--out", below], 1)
    assert f"output folder '{below}' cannot be written (Not a directory)" in said
    assert "choose another with --out" in said
    said = refused(capsys, ["run", study, "--out", tmp_path / "trial.csv"], 1)
    assert "(File exists)" in said


def checked(capsys, study):
    assert main(["check", str(study)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_a_disk_that_fills_up_is_told_in_one_sentence_and_leaves_no_report(write_study, tmp_path, monkeypatch):
    study = read_study(write_study(tmp_path))

    def full(document, path):
        raise OutputError(f"the report cannot be written to {path}") from OSError(28, "No space left on device")

    monkeypatch.setattr(publish, "write_html", full)
    (tmp_path / "out").mkdir()
    for name in ("_document", "_card"):
        monkeypatch.setattr(publish, name, lambda *_: None)
    with pytest.raises(
        OutputError, match=r"^The report cannot be written to '.*' \(No space left on device\): make room"
    ):
        publish.publish(Analysis(study, None, True, Watcher()), tmp_path / "out", ["trialml"])
    assert left_in(tmp_path / "out") == []


def test_check_says_what_it_found_and_fits_nothing(write_study, tmp_path, capsys):
    said = checked(capsys, write_study(tmp_path))
    assert "The file holds 240 patients; 240 are analysed" in said
    for number in range(1, 11):
        assert f"DQ{number:03d}" in said
    assert "nothing was fitted" in said
    assert left_in(tmp_path) == ["study.toml", "trial.csv"]


MAPS = {
    "TRUE and False": (("TRUE", "False"), {}),
    "yes and no": (("yes", "No"), {}),
    "1.0 and 0.0": (("1.0", "0.0"), {}),
    "mapped words": (("Death", "Alive"), {"endpoints.event_values": ["Death"], "endpoints.censored_values": ["Alive"]}),
    "mapped numbers": (("1.0", "2.0"), {"endpoints.event_values": [1], "endpoints.censored_values": [2, 9]}),
    "mapped booleans": (("True", "FALSE"), {"endpoints.event_values": [True], "endpoints.censored_values": [False]}),
    "CNSR turned round": (("0", "1"), {"endpoints.event_values": [0], "endpoints.censored_values": [1]}),
}


@pytest.mark.parametrize("case", MAPS)
def test_event_codes_that_are_boolean_or_mapped_are_accepted(case, write_study, patients, tmp_path, capsys):
    (yes, no), changes = MAPS[case]

    def change(frame):
        frame["progressed"] = frame["progressed"].map({1: yes, 0: no})

    said = checked(capsys, write_study(tmp_path / "coded", change=change, study=changes))
    assert said == checked(capsys, write_study(tmp_path / "plain"))


def test_arms_written_as_1_0_are_the_arms_1_of_the_study_file(write_study, tmp_path, capsys):
    codes = {"old": 0.0, "new": 1.0, "other": 2.0}
    named = {"treatment.control": 0, "treatment.experimental": 1.0, "treatment.secondary": ["2"]}
    study = write_study(tmp_path, change=assign("arm", lambda frame: frame["arm"].map(codes)), study=named)
    assert "240 are analysed" in checked(capsys, study)


def test_missing_arms_and_outcomes_are_excluded_with_count_and_reason(write_study, tmp_path, capsys):
    def change(frame):
        frame.loc[0:11, "arm"] = None
        frame.loc[12:26, "days"] = None
        frame.loc[20:40, "progressed"] = None

    said = checked(capsys, write_study(tmp_path, change=change))
    assert "The file holds 240 patients; 199 are analysed" in said
    assert "12 arm not recorded; 15 time to event not recorded; 14 event indicator not recorded excluded" in said


def test_patients_of_an_arm_that_is_not_named_are_counted(write_study, tmp_path, capsys):
    said = checked(capsys, write_study(tmp_path, study={"treatment.secondary": []}))
    assert "160 are analysed (80 in an arm that the study file does not name excluded)" in said


def test_a_stratum_of_the_randomisation_without_events_is_shown_as_such(write_study, tmp_path, capsys):
    def change(frame):
        frame.loc[:14, "region"] = "islands"
        frame.loc[:14, "progressed"] = 0

    said = checked(capsys, write_study(tmp_path, change=change))
    assert "Stratum 'islands' of the randomisation has no events" in said


def test_how_a_file_was_read_is_stated(write_study, patients, tmp_path, capsys):
    text = patients().to_csv(index=False, sep=";", decimal=",").replace(".", ",")
    said = checked(capsys, write_study(tmp_path / "a", data=b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()))
    assert "starts with a byte-order mark, which was passed over" in said
    assert "separated by semicolons" in said
    assert "decimal comma" in said
    said = checked(
        capsys,
        write_study(
            tmp_path / "b", data=patients().to_csv(index=False).replace("lung", "Lunge \xe4").encode("latin-1")
        ),
    )
    assert "not UTF-8 and was read as Windows-1252" in said


ODD_BUT_GOOD = {
    "one covariate": {"study": {"covariates": {"numeric": ["age"]}}},
    "missing categories": {"change": assign("site", lambda frame: frame["site"].where(np.arange(len(frame)) % 5 > 0))},
    "time in months": {
        "change": assign("days", lambda frame: frame["days"] / 30.4375),
        "study": {"endpoints.unit": "months", "endpoints.horizon": 12, "endpoints.tau": 12},
    },
    "a secondary arm of 3": {"change": lambda frame: frame.drop(frame.index[frame["arm"] == "other"][3:])},
    "a column in another alphabet": {
        "change": lambda frame: frame.rename(columns={"age": "\u5e74\u9f84 (Jahre)"}),
        "study": {"covariates.numeric": ["\u5e74\u9f84 (Jahre)", "marker"]},
    },
    "old Macintosh lines": {"separator": ",", "line": "\r"},
    "subjects with blanks": {"change": assign("usubjid", lambda frame: [f"  {row} " for row in range(len(frame))])},
    "a path with blanks": {"folder": "a folder (1)"},
}


@pytest.mark.parametrize("case", ODD_BUT_GOOD)
def test_what_is_odd_but_good_is_read(case, write_study, patients, tmp_path, capsys):
    keywords = dict(ODD_BUT_GOOD[case])
    if line := keywords.pop("line", None):
        keywords["data"] = patients().to_csv(index=False, lineterminator=line)
    folder = tmp_path / keywords.pop("folder", "study")
    assert "nothing was fitted" in checked(capsys, write_study(folder, **keywords))


NAMES = {"site": "Schmidtke", "region": "Petersdorf", "arm": "Grossmann"}
"""Words of one row each, as somebody writes them who slips into the next field."""


def hostile(frame):
    """Every name that a report must not obey, a stratum without events, and patients to be counted and left out."""
    draw = np.random.default_rng(3)
    frame["site"] = draw.choice([SCRIPT, f"{MATHS} [bold]\\frac|", "a, 'b' \"c\""], len(frame), p=[0.4, 0.4, 0.2])
    frame.loc[:14, "region"] = "no & events"
    frame.loc[:14, "progressed"] = 0
    frame.loc[20:22, "arm"] = None
    frame.loc[23:26, "days"] = None
    frame["arm"] = frame["arm"].replace({"new": f"{SCRIPT}{MATHS}"})
    for row, (column, word) in enumerate(NAMES.items(), 30):
        frame.loc[row, column] = word


@pytest.fixture(scope="module")
def finished(write_study, tmp_path_factory):
    """One quick run on a hostile trial, a second run of the same, and one that finds no tracking server."""
    import trialml.study

    folder = tmp_path_factory.mktemp("finished")
    study = write_study(
        folder,
        change=hostile,
        study={"treatment.experimental": f"{SCRIPT}{MATHS}", "study.title": f"{SCRIPT} [bold]{MATHS}"},
    )
    out = folder / "out"
    command = ["run", str(study), "--quick", "--out", str(out)]
    analyse, kept, runs = trialml.study.analyse, {}, []

    def once(*words, **keywords):
        if "analysis" not in kept:
            kept["analysis"] = analyse(*words, **keywords)
        return kept["analysis"]

    patch = pytest.MonkeyPatch()
    patch.setattr(trialml.study, "analyse", once)
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    try:
        for more in ([], [], ["--tracking-uri", "http://me:hunter2@127.0.0.1:9"]):
            before = {
                path: path.read_bytes()
                for path in out.glob("*/*")
                if path.is_file() and "mlartifacts" not in path.parts
            }
            runs.append((main([*command, *more]), before, set(out.glob("INVENTED-*"))))
    finally:
        patch.undo()
    return out, runs


def test_a_quick_run_on_a_hostile_trial_ends_in_a_report_with_every_name_inert(finished):
    out, runs = finished
    assert runs[0][0] == 0
    (folder,) = runs[0][2]
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html.lower()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert MATHS in html
    assert "no &amp; events" in html
    assert not [path for path in out.iterdir() if path.name.startswith(".unfinished")]


def test_nothing_that_a_run_writes_names_a_subject(finished, subject_mark):
    out, _ = finished
    for path in out.rglob("*"):
        if path.is_file():
            assert subject_mark.encode() not in path.read_bytes(), path.name


def test_nothing_that_a_run_writes_holds_a_word_that_one_patient_has(finished):
    out, _ = finished
    assert any(path.name == "results.json" for path in out.rglob("*"))
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [word for word in NAMES.values() if word.encode() in content], path


def test_a_second_run_leaves_the_first_report_as_it_was_and_adds_version_2(finished):
    out, runs = finished
    status, before, folders = runs[1]
    assert status == 0
    assert len(folders) == 2
    assert before
    for path, content in before.items():
        if path.parent in runs[0][2]:
            assert path.read_bytes() == content
    with sqlite3.connect(out / "mlflow.db") as store:
        versions = store.execute("select name, version from model_versions order by name, version").fetchall()
        aliases = store.execute(
            "select name, alias, version from registered_model_aliases order by name, alias"
        ).fetchall()
    assert versions == [("INVENTED-response", 1), ("INVENTED-response", 2), ("INVENTED-risk", 1), ("INVENTED-risk", 2)]
    # A quick run gives no champion.
    assert [(alias, version) for name, alias, version in aliases if name == "INVENTED-risk"] == [("challenger", 2)]


def test_a_tracking_server_that_cannot_be_reached_gives_status_3_and_the_report_stands(finished):
    _, runs = finished
    status, _, folders = runs[2]
    assert status == 3
    (new,) = folders - runs[1][2]
    assert (new / "report.html").stat().st_size > 100_000


def test_what_a_server_did_not_take_is_kept_and_sent_later(finished, tmp_path, subject_mark):
    out, _ = finished
    kept = tmp_path / "out"
    shutil.copytree(out / "spool", kept / "spool")
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert len([path for path in files if path.name == "stratifier.json"]) == 2
    assert not [path for path in files if subject_mark.encode() in path.read_bytes()]
    assert main(["runs", "sync", "--out", str(kept), "--tracking-uri", f"sqlite:///{kept}/mlflow.db"]) == 0
    assert not (kept / "spool").exists()
    with sqlite3.connect(kept / "mlflow.db") as store:
        versions = store.execute("select name, version from model_versions order by name").fetchall()
        statuses = {status for (status,) in store.execute("select status from runs")}
    assert versions == [("INVENTED-response", 1), ("INVENTED-risk", 1)]
    assert statuses == {"FINISHED"}


def test_a_login_on_the_command_line_is_in_nothing_that_a_run_writes(finished):
    out, runs = finished
    (report,) = [folder / "report.html" for folder in runs[2][2] - runs[1][2]]
    assert "http://127.0.0.1:9" in report.read_text(encoding="utf-8")
    for path in out.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path.name


def test_the_numbers_of_a_report_are_stored_beside_it(finished):
    _, runs = finished
    (folder,) = runs[0][2]
    stored = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert stored
    lineage = json.loads((folder / "lineage.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"[0-9a-f]{64}", lineage["data"]["sha256"])


def executable():
    return Path(sys.executable).with_name("trialml")


@pytest.mark.skipif(not executable().exists(), reason="the package is not installed beside this Python")
def test_the_installed_command_refuses_with_a_status_and_a_sentence(write_study, tmp_path, subject_mark):
    study = write_study(tmp_path, change=put("days", 4, -1))
    done = subprocess.run(
        [str(executable()), "run", str(study), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("trialml: Column 'days', file row 4: '-1'")
    assert "Traceback" not in done.stderr + done.stdout
    assert subject_mark not in done.stderr + done.stdout


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_half_way_leaves_no_report(sign, write_study, tmp_path):
    study = write_study(tmp_path)
    out = tmp_path / "out"
    # A test started in the background has SIGINT ignored, and its children with it.
    heed = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code = f"{heed} from trialml.cli import main; sys.exit(main(sys.argv[1:]))"
    running = subprocess.Popen(
        [sys.executable, "-u", "-c", code, "run", str(study), "--quick", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    for line in running.stdout:
        if "Baseline characteristics" in line:
            break
    time.sleep(0.2)
    running.send_signal(sign)
    _, said = running.communicate(timeout=60)
    assert running.returncode in ((130,) if sign is signal.SIGINT else (-sign, 143))
    assert "Traceback" not in said
    assert [name for name in left_in(out) if not name.startswith(".")] == []


def test_help_and_version_load_no_heavy_package():
    code = (
        "import sys, contextlib, io\nfrom trialml.cli import main\n"
        "for word in ('--help', '--version'):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main([word])\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'mlflow', 'shap', 'statsmodels', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

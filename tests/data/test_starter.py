"""The starter study file: roles guessed right, reasons beside them, nothing of a patient in it, and valid TOML."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.cli import main
from trialml.config import read_study
from trialml.data.guess_arms import guess_arms, guess_factors, guess_subject
from trialml.data.guess_endpoint import guess_endpoint, guess_reading_time
from trialml.data.guess_roles import guess_roles
from trialml.data.profiles import profile_columns, say_levels
from trialml.data.starter import write_starter
from trialml.data.starter_text import FILL_IN, quoted, unfilled
from trialml.data.table import Table
from trialml.errors import StudyFileError
from trialml.study import read_trial

ACTG = "lifelines:datasets/ACTG175.csv"


def table_of(frame):
    return Table(frame.reset_index(drop=True), "trial.csv", "", ())


def profiles_of(columns):
    return profile_columns(table_of(pd.DataFrame(columns)))


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
    """Run the command on data, and return the study file's tables, its text and what was printed."""
    monkeypatch.chdir(tmp_path)

    def run(data):
        assert main(["init", str(data)]) == 0
        text = Path("study.toml").read_text(encoding="utf-8")
        return tomllib.loads(text), text, capsys.readouterr().out

    return run


def filled(path, **values):
    """Fill in what a starter file left open."""
    text = path.read_text(encoding="utf-8")
    for key, value in values.items():
        text = re.sub(rf"^{key} = .*{FILL_IN}.*$", lambda _, k=key, v=value: f"{k} = {v}", text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


ESTIMAND = {"population": '"As randomised"', "intercurrent_events": '"Treatment policy"'}


def test_the_roles_of_actg_175_are_those_of_the_example_but_for_the_coding_which_is_asked(start, tmp_path):
    """Oracle: examples/actg175/study.toml, written by hand."""
    example = tomllib.loads((Path(__file__).parents[2] / "examples/actg175/study.toml").read_text(encoding="utf-8"))
    tables, text, printed = start(ACTG)
    assert tables["data"]["source"] == ACTG
    assert tables["data"]["subject"] == example["data"]["subject"]
    assert set(tables["data"]["post_baseline"]) == set(example["data"]["post_baseline"])
    for key in ("column", "stratification", "allocation"):
        assert tables["treatment"][key] == example["treatment"][key]
    assert [int(tables["treatment"][key]) for key in ("control", "experimental")] == [0, 1]
    for key in ("time", "event", "unit", "horizon", "tau"):
        assert tables["endpoints"][0][key] == example["endpoints"][0][key]
    for kind in ("numeric", "binary"):
        assert set(tables["covariates"][kind]) == set(example["covariates"][kind])
    assert tables["endpoints"][0]["event_values"] == [FILL_IN]
    assert "'0': 1,618, '1': 521" in text
    assert "[endpoints] event_values" in printed
    filled(tmp_path / "study.toml", **ESTIMAND, event_values='["1"]', censored_values='["0"]')
    assert main(["check", "study.toml"]) == 0


def test_the_roles_of_the_invented_trial_are_guessed_but_for_what_only_its_authors_know(
    start, tmp_path, patients, subject_mark
):
    """`region` was a stratification factor; nothing in the data says so."""
    patients().to_csv(tmp_path / "trial.csv", index=False)
    tables, text, printed = start("trial.csv")
    assert tables["data"] == {"source": "trial.csv", "subject": "usubjid", "post_baseline": ["week8"]}
    treatment, endpoint = tables["treatment"], tables["endpoints"][0]
    assert (treatment["column"], treatment["control"], treatment["experimental"]) == ("arm", "old", "new")
    assert treatment["secondary"] == ["other"]
    assert treatment["stratification"] == []
    assert (endpoint["time"], endpoint["event"], endpoint["unit"]) == ("days", "progressed", "days")
    assert (endpoint["event_values"], endpoint["censored_values"]) == (["1"], ["0"])
    assert tables["covariates"] == {
        "numeric": ["age", "marker"],
        "binary": ["prior"],
        "categorical": ["region", "site"],
    }
    assert subject_mark not in text + printed
    assert main(["check", "study.toml"]) == 2
    filled(tmp_path / "study.toml", **ESTIMAND)
    assert main(["check", "study.toml"]) == 0
    trial = read_trial(read_study(tmp_path / "study.toml"))
    assert int(trial.event.sum()) == int(patients()["progressed"].sum())


def test_the_roles_of_an_adam_folder_are_those_of_the_standard(start, tmp_path, write_adam, subject_mark):
    write_adam().unlink()
    tables, text, _ = start("adam")
    assert (tables["data"]["subject"], tables["data"]["population"]) == ("USUBJID", "ITTFL")
    assert (tables["treatment"]["column"], tables["treatment"]["control"]) == ("TRT01P", "Placebo")
    assert tables["treatment"]["experimental"] == "Active"
    assert tables["treatment"]["stratification"] == ["STRAT1R"]
    assert (tables["endpoints"][0]["parameter"], tables["endpoints"][0]["unit"]) == ("PFS", "days")
    assert "the first of PFS, OS" in text
    assert {"AGE", "ADVS.WEIGHT", "ADVS.SYSBP"} == set(tables["covariates"]["numeric"])
    assert tables["covariates"]["categorical"] == ["SEX"]
    assert {"SAFFL", "PPROTFL", "EOSSTT", "DCSREAS", "TRT01PN"} <= set(tables["data"]["post_baseline"])
    assert subject_mark not in text
    filled(tmp_path / "study.toml", **ESTIMAND)
    assert main(["check", "study.toml"]) == 0


@pytest.mark.parametrize(
    ("source", "words"), [("RANDDT", "randomisation"), ("TRTSDT", "the first dose"), ("STARTDT", "the date in STARTDT")]
)
def test_the_drafted_variable_counts_from_the_date_that_aval_counts_from(start, write_adam, source, words):
    def change(sets):
        adsl = sets["ADSL"]
        adsl["TRTSDT"] = adsl["TRTSDT"].fillna(adsl["RANDDT"])
        zero = adsl["RANDDT"] - pd.Timedelta(days=9) if source == "STARTDT" else adsl[source]
        sets["ADTTE"]["STARTDT"] = sets["ADTTE"]["USUBJID"].map(dict(zip(adsl["USUBJID"], zero, strict=True)))
        sets["ADTTE"]["ADT"] = sets["ADTTE"]["STARTDT"] + pd.to_timedelta(sets["ADTTE"]["AVAL"] - 1, unit="D")

    write_adam(change=change).unlink()
    tables, text, _ = start("adam")
    assert tables["estimand"]["variable"].startswith(f"Time from {words} to ")
    assert (f"AVAL counts from {source}" in " ".join(text.replace("#", "").split())) == (source != "RANDDT")


def test_the_roles_of_the_pilot_study_are_guessed(start, tmp_path, pilot):
    """The real ADaM set of CDISC's pilot study; its time has no unit in words, and the dates give it."""
    tables, text, _ = start(pilot)
    assert (tables["treatment"]["control"], tables["treatment"]["column"]) == ("Placebo", "TRT01P")
    endpoint = tables["endpoints"][0]
    assert (endpoint["parameter"], endpoint["unit"]) == ("TTDE", "days")
    assert "'0': 152, '1': 102" in text
    assert {"AGE", "MMSETOT", "BMIBL"} <= set(tables["covariates"]["numeric"])
    assert {"TRTDUR", "CUMDOSE", "DCDECOD", "COMP24FL"} <= set(tables["data"]["post_baseline"])
    filled(tmp_path / "study.toml", **ESTIMAND)
    assert main(["check", "study.toml"]) == 0


def test_an_existing_file_is_left_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text("mine", encoding="utf-8")
    assert main(["init", ACTG]) == 1
    assert "'study.toml' exists already and is left as it is" in capsys.readouterr().err
    assert Path("study.toml").read_text(encoding="utf-8") == "mine"


def test_what_is_left_to_fill_in_is_named_by_table_and_key(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        f'[treatment]\ncontrol = "{FILL_IN}"\n[[endpoints]]\nevent_values = ["{FILL_IN}"]\n', encoding="utf-8"
    )
    with pytest.raises(
        StudyFileError,
        match=r"\[treatment\] control still says 'fill in': .*1 more to fill in: \[endpoints\] event_values",
    ):
        read_study(path)
    assert unfilled({"a": {"b": [{"c": FILL_IN}], "d": "filled in"}}) == ["[a.b] c"]


@given(st.text(), st.text())
def test_whatever_a_column_is_called_the_file_is_valid_toml(name, level):
    frame = pd.DataFrame({name or "x": [level, f"{level}2"] * 40, "id": [f"P{row}" for row in range(80)]}, dtype=object)
    roles = guess_roles(table_of(frame))
    tables = tomllib.loads(write_starter(roles, name=name, source=name or "x").text)
    assert tables["data"]["source"] == (name or "x")
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", tables["study"]["name"])


@given(
    st.one_of(st.text(), st.integers(0, 10**9), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.text()))
)
def test_a_value_is_read_back_as_it_was(value):
    assert tomllib.loads(f"x = {quoted(value)}")["x"] == value


def survival(rows=200, seed=3):
    draw = np.random.default_rng(seed)
    event, end = draw.exponential(30, rows), draw.uniform(20, 60, rows)
    return np.minimum(event, end).round(2) + 0.01, (event <= end).astype(int)


CODINGS = {
    "a name that says event": ("death", {0: "0", 1: "1"}, (("1",), ("0",))),
    "words": ("vital", {0: "alive", 1: "dead"}, None),
    "words under a name": ("death", {0: "alive", 1: "dead"}, (("dead",), ("alive",))),
    "yes and no": ("event", {0: "No", 1: "Yes"}, (("Yes",), ("No",))),
    "ADaM": ("CNSR", {0: "1", 1: "0"}, (("0",), ("1",))),
    "a censoring indicator": ("censored", {0: "1", 1: "0"}, (("0",), ("1",))),
    "a censoring indicator that the times contradict": ("censored", {0: "0", 1: "1"}, ((), ())),
    "codes 1 and 2": ("status", {0: "1", 1: "2"}, ((), ())),
    "a status that the times contradict": ("status", {0: "1", 1: "0"}, ((), ())),
}


@pytest.mark.parametrize("case", CODINGS)
def test_the_coding_of_the_event_is_guessed_only_where_name_and_times_agree(case):
    name, codes, expected = CODINGS[case]
    time, event = survival()
    found = guess_endpoint(profiles_of({"months": time.astype(str), name: [codes[one] for one in event]}), set())
    if expected is None:
        assert not found.event.value
        return
    assert (found.event_values, found.censored_values) == expected
    counts = pd.Series([codes[one] for one in event]).value_counts()
    assert all(f"{code!r}: {count}" in found.why_coding for code, count in counts.items())


def test_two_endpoints_are_not_mixed():
    time, event = survival()
    other_time, other = survival(seed=4)
    found = guess_endpoint(
        profiles_of({"pfs_months": time, "os_event": other, "os_months": other_time, "zz": event}), set()
    )
    assert (found.time.value, found.event.value) == ("os_months", "os_event")


@pytest.mark.parametrize(
    ("name", "scale", "unit"),
    [("time", 30, "days"), ("time", 1, ""), ("os_weeks", 1, "weeks"), ("months", 1, "months")],
)
def test_the_unit_comes_from_the_name_or_a_size_that_leaves_no_doubt(name, scale, unit):
    time, event = survival()
    assert guess_endpoint(profiles_of({name: time * scale, "event": event}), set()).unit.value == unit


def test_the_horizon_is_the_latest_round_time_with_a_fifth_of_each_arm_followed():
    time, arm = (
        np.concatenate([np.full(50, 400.0), np.full(50, 800.0), np.full(90, 100.0), np.full(10, 800.0)]),
        np.repeat([0, 1], 100),
    )
    event = np.ones(200, dtype=bool)
    assert guess_reading_time(time, event, arm, "days")[0] == 100
    assert guess_reading_time(time, event, np.zeros(200, dtype=int), "days")[0] == 730
    value, why = guess_reading_time(time, np.zeros(200, dtype=bool), arm, "days")
    assert value is None
    assert "ten events" in why


ARMS = {
    "placebo by name": (["Placebo", "Drug A"], "Placebo", "Drug A"),
    "standard of care": (["SOC", "SOC + X"], "", ""),
    "zero and one": (["0", "1"], "0", "1"),
    "letters": (["A", "B"], "", ""),
    "three arms": (["high dose", "low dose", "placebo"], "placebo", "high dose"),
}


@pytest.mark.parametrize("case", ARMS)
def test_the_control_arm_is_guessed_only_where_a_name_says_it(case):
    levels, control, experimental = ARMS[case]
    found = guess_arms(profiles_of({"arm": levels * 30}))
    assert (found.control.value, found.experimental.value) == (control, experimental)
    assert all(repr(level) in found.control.why for level in levels) or control


@pytest.mark.parametrize(
    ("counts", "share"), [((100, 104), 0.5), ((100, 205), 0.6667), ((100, 300), 0.75), ((300, 1300), 0.81)]
)
def test_the_allocation_is_the_simple_ratio_that_the_counts_agree_with(counts, share):
    found = guess_arms(profiles_of({"arm": ["placebo"] * counts[0] + ["drug"] * counts[1]}))
    assert found.allocation == pytest.approx(share)


def test_an_arm_of_a_handful_is_asked_about_without_its_count():
    found = guess_arms(profiles_of({"arm": ["placebo"] * 40 + ["drug"] * 38 + ["drgu"] * 2}))
    assert "'drug': 38, 'placebo': 40; 1 more of fewer than 11 each, a slip?" in found.column.why
    assert (found.secondary, found.handfuls) == ((), 1)


def test_subject_and_factors_are_guessed_by_name_and_values():
    rows = range(40)
    columns = {
        "row": [str(row) for row in rows],
        "patient_id": [f"P{row}" for row in rows],
        "STRAT1R": ["a", "b"] * 20,
        "STRAT1V": ["b", "a"] * 20,
        "stratum": ["x"] * 20 + ["y"] * 20,
    }
    profiles = profiles_of(columns)
    assert guess_subject(profiles).value == "patient_id"
    assert set(guess_factors(profiles, set())) == {"STRAT1R", "stratum"}
    repeated = guess_subject(profiles_of({"usubjid": ["A", "A", "B"], "x": ["1", "2", "2"]}))
    assert not repeated.value
    assert "holds a subject on several rows" in repeated.why


LATER = [
    "week8",
    "hb_week_12",
    "visit2",
    "chg_sbp",
    "best_response",
    "followup_days",
    "offtrt",
    "died",
    "n_sae",
    "cumdose",
    "discontinued",
    "month6_score",
]
BASELINE = [
    "age",
    "sex",
    "weight",
    "ecog",
    "prior_lines",
    "baseline_ldh",
    "BMIBL",
    "prestudy_dose",
    "ldh_bl",
    "stage",
    "hist_death",
    "bend",
]


def test_columns_measured_later_are_told_from_baseline_by_name():
    draw = np.random.default_rng(2)
    frame = {name: draw.normal(size=60) for name in (*LATER, *BASELINE)}
    roles = guess_roles(table_of(pd.DataFrame({"id": [f"P{row}" for row in range(60)], **frame})))
    assert set(roles.columns.post_baseline) == set(LATER)
    assert {guess.name for guess in roles.columns.covariates} == set(BASELINE)


def test_a_column_that_restates_another_is_left_out():
    draw = np.random.default_rng(2)
    kilograms, years = draw.normal(75, 12, 60), draw.integers(40, 60, 60)
    frame = {
        "weight": kilograms,
        "pounds": kilograms * 2.2046,
        "age": years,
        "age_group": np.where(years < 50, "a", "b"),
    }
    roles = guess_roles(table_of(pd.DataFrame({"id": [f"P{row}" for row in range(60)], **frame})))
    assert roles.columns.left_out == {"pounds": "a function of 'weight'", "age_group": "a grouping of 'age'"}


def test_columns_that_tell_the_outcome_or_the_follow_up_are_no_covariates(patients):
    frame = patients(240)
    frame["gone"] = 1 - frame["progressed"]
    draw = np.random.default_rng(1)
    frame["lab"] = [
        value if days > 150 else None for value, days in zip(draw.normal(size=240), frame["days"], strict=True)
    ]
    later = guess_roles(table_of(frame)).columns.post_baseline
    assert later["gone"] == "tells the event or the time"
    assert later["lab"] == "recorded mostly in patients with long follow-up"


def test_a_small_level_is_neither_named_nor_counted():
    assert say_levels({"common": 90, "rarer": 20, "rarest": 4}) == "'common': 90, 2 other levels"
    said = profiles_of({"x": [0.0] * 99 + [12345.0]})["x"].says()
    assert "12345" not in said


def test_an_identifier_on_several_rows_is_named_and_is_no_covariate():
    draw = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"id": np.repeat(np.arange(100) + 501, 2), "arm": ["placebo", "drug"] * 100, "age": draw.normal(60, 9, 200)}
    )
    roles = guess_roles(table_of(frame))
    assert "'id' is named so, but holds a subject on several rows" in roles.subject.why
    assert roles.columns.left_out["id"] == "a subject by its name"


def test_the_time_of_another_endpoint_is_no_covariate():
    """Rotterdam's shape: time to recurrence and time to death, the same day in patients with neither."""
    draw = np.random.default_rng(2)
    relapse, death, end = draw.exponential(900, 400), draw.exponential(2500, 400), draw.uniform(500, 2000, 400)
    frame = pd.DataFrame(
        {
            "pid": [f"P{row:03d}" for row in range(400)],
            "arm": ["placebo", "drug"] * 200,
            "rtime": np.ceil(np.minimum(np.minimum(relapse, death), end)),
            "recur": (relapse <= np.minimum(death, end)).astype(int),
            "dtime": np.ceil(np.minimum(death, end)),
            "diagtime": draw.integers(1, 60, 400),
        }
    )
    roles = guess_roles(table_of(frame))
    assert roles.endpoint.time.value == "rtime"
    assert "dtime" in roles.columns.post_baseline
    assert [guess.name for guess in roles.columns.covariates] == ["diagtime"]

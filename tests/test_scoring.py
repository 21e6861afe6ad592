"""A file of patients scored: the same bits however the work is cut, nothing carried through unasked, whole or not at all."""

import json

import numpy as np
import pandas as pd
import pyreadstat
import pytest

import trialml.scoring
from trialml.cli import main
from trialml.data.roles import Covariate
from trialml.errors import DataError, ModelInputError, OutputError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.input_contract import InputContract
from trialml.models.outcome import survival_outcome
from trialml.models.training_summary import TrainingSummary
from trialml.scoring import score_file
from trialml.stratifier import RiskPart, Stratifier

COVARIATES = (
    Covariate("age", "numeric", "Age"),
    Covariate("marker", "numeric", "Marker"),
    Covariate("prior", "binary", "Prior therapy"),
    Covariate("site", "categorical", "Site"),
)


@pytest.fixture(scope="module")
def model(patients):
    frame = patients(300)
    baseline = frame[["age", "marker", "prior", "site"]].copy()
    baseline[["age", "marker", "prior"]] = baseline[["age", "marker", "prior"]].astype(float)
    treated = (frame["arm"] == "new").to_numpy(float)
    outcome = survival_outcome(frame["days"].to_numpy(float), frame["progressed"].to_numpy(bool))
    risk = CoxRidge(treatment="treated", penalties=(10.0,)).fit(baseline.assign(treated=treated), outcome)
    contract = InputContract.learn(COVARIATES, baseline)
    training = TrainingSummary.learn(COVARIATES, baseline)
    return Stratifier("T", "days", contract, RiskPart("cox_ridge", risk, 365.0), training=training)


@pytest.fixture(scope="module")
def newcomers(patients):
    frame = patients(1500, seed=5).drop(columns=["arm", "days", "progressed", "week8"])
    frame.loc[::50, "age"] = None
    frame.loc[7, "site"] = "moon"
    frame.loc[9, "marker"] = 99.0
    return frame


@pytest.fixture(scope="module")
def files(newcomers, tmp_path_factory):
    """The same patients as Parquet, CSV and SAS transport."""
    folder = tmp_path_factory.mktemp("newcomers")
    typed = newcomers.assign(**{name: newcomers[name].astype(float) for name in ("age", "marker", "prior")})
    typed.to_parquet(folder / "a.parquet", row_group_size=111)
    newcomers.to_csv(folder / "a.csv", index=False)
    pyreadstat.write_xport(typed, str(folder / "a.xpt"), file_format_version=5)
    return folder


@pytest.fixture
def small_steps(monkeypatch):
    """Steps small enough for a small file to have many."""
    monkeypatch.setattr(trialml.scoring, "STEP", 64)


@pytest.fixture(scope="module")
def whole(model, newcomers):
    typed = newcomers.assign(**{name: newcomers[name].astype(float) for name in ("age", "marker", "prior")})
    return model.predict(typed)


def test_the_size_of_a_block_changes_no_bit(model, files, small_steps, tmp_path):
    written = []
    for rows in (300, 640, 10**9):
        score_file(model, str(files / "a.parquet"), tmp_path / f"{rows}.parquet", block_rows=rows)
        written.append((tmp_path / f"{rows}.parquet").read_bytes())
    assert written[0] == written[1] == written[2]


def test_the_number_of_workers_changes_no_bit(model, files, tmp_path):
    score_file(model, str(files / "a.parquet"), tmp_path / "one.parquet", block_rows=1)
    score_file(model, str(files / "a.parquet"), tmp_path / "two.parquet", block_rows=1, workers=2)
    assert (tmp_path / "two.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.xpt"])
@pytest.mark.parametrize("out", ["scored.csv", "scored.parquet"])
def test_every_kind_of_file_gives_the_numbers_of_predict(model, files, whole, tmp_path, name, out):
    counts = score_file(model, str(files / name), tmp_path / out)
    read = pd.read_parquet if out.endswith("parquet") else pd.read_csv
    scored = read(tmp_path / out)
    assert list(scored) == ["risk", "flags", "refused"]
    # Written with every digit; another number of rows at once may round the last one otherwise.
    np.testing.assert_allclose(scored["risk"], whole["risk"].to_numpy(), rtol=1e-14)
    assert scored["refused"].fillna("").tolist() == whole["refused"].tolist()
    assert counts.rows == len(whole)
    assert counts.refused_rows == (whole["refused"] != "").sum()
    assert counts.refused["age is missing"] == 30
    assert counts.refused["site has a category that the trial did not have"] == 1
    assert sum(words.startswith("marker outside") for words in counts.flags) == 1


def test_an_identifier_is_carried_through_when_named_and_never_otherwise(model, files, tmp_path, subject_mark):
    score_file(model, str(files / "a.csv"), tmp_path / "plain.csv")
    assert subject_mark not in (tmp_path / "plain.csv").read_text()
    score_file(model, str(files / "a.csv"), tmp_path / "named.csv", identifier="usubjid")
    named = pd.read_csv(tmp_path / "named.csv")
    assert named.columns[0] == "usubjid"
    assert named["usubjid"].tolist() == pd.read_csv(files / "a.csv")["usubjid"].tolist()


def test_words_for_missing_and_numbers_with_a_decimal_comma_are_read_as_in_training(model, tmp_path):
    (tmp_path / "a.csv").write_text("age;marker;prior;site\n60,5; 1,25 ;1;lung\n50,0;NA;0;liver\nold;0,1;0;lung\n")
    score_file(model, str(tmp_path / "a.csv"), tmp_path / "out.parquet")
    frame = pd.DataFrame(
        {"age": [60.5, 50.0], "marker": [1.25, np.nan], "prior": [1.0, 0.0], "site": ["lung", "liver"]}
    )
    scored = pd.read_parquet(tmp_path / "out.parquet")
    np.testing.assert_allclose(scored["risk"][:2], model.predict(frame)["risk"], rtol=1e-14)
    assert scored["refused"].tolist() == ["", "", "age is not a number"]


def test_a_horizon_is_read_and_one_beyond_the_follow_up_refused_before_anything_is_written(model, files, tmp_path):
    score_file(model, str(files / "a.csv"), tmp_path / "early.parquet", horizon=100.0)
    score_file(model, str(files / "a.csv"), tmp_path / "late.parquet")
    early, late = (pd.read_parquet(tmp_path / name)["risk"].dropna() for name in ("early.parquet", "late.parquet"))
    assert (early <= late).all()
    assert early.mean() < late.mean()
    with pytest.raises(ModelInputError, match="horizon"):
        score_file(model, str(files / "a.csv"), tmp_path / "never.csv", horizon=1e9)
    assert not (tmp_path / "never.csv").exists()


REFUSED = {
    "another kind": ("out.xlsx", OutputError, "of no kind that is written"),
    "no folder": ("nowhere/out.csv", OutputError, "does not exist"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_output_that_cannot_be_is_refused(model, files, tmp_path, case):
    name, kind, said = REFUSED[case]
    with pytest.raises(kind, match=said):
        score_file(model, str(files / "a.csv"), tmp_path / name)


def test_what_exists_is_never_overwritten(model, files, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        score_file(model, str(files / "a.csv"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_a_file_that_breaks_off_leaves_nothing(model, tmp_path, small_steps):
    rows = ["60,0.5,1,lung"] * 300 + ["60,0.5,1,lung,more"]
    (tmp_path / "a.csv").write_text("age,marker,prior,site\n" + "\n".join(rows) + "\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError):
        score_file(model, str(tmp_path / "a.csv"), tmp_path / "out" / "scored.csv", block_rows=64)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_lacking_column_is_named_with_the_nearest(model, files, tmp_path):
    with pytest.raises(DataError, match=r"'usubjit'.*the nearest name is 'usubjid'"):
        score_file(model, str(files / "a.csv"), tmp_path / "out.csv", identifier="usubjit")


def test_the_command_counts_refusals_and_flags_and_logs_no_identifier(model, files, tmp_path, capfd, subject_mark):
    model.write(tmp_path / "model")
    words = [
        "predict",
        str(tmp_path / "model"),
        str(files / "a.csv"),
        "--out",
        str(tmp_path / "o.csv"),
        "--id",
        "usubjid",
    ]
    assert main(words) == 0
    printed, errors = capfd.readouterr()
    assert "of 1,500 patients" in printed
    assert "30  age is missing" in printed
    assert subject_mark not in printed + errors
    assert subject_mark in (tmp_path / "o.csv").read_text()


def test_a_model_that_was_changed_is_refused_by_every_verb(model, files, tmp_path, capsys):
    model.write(tmp_path / "model")
    path = tmp_path / "model" / "stratifier.json"
    state = json.loads(path.read_text())
    state["risk"]["state"]["coefficients"][0] += 1e-9
    path.write_text(json.dumps(state, indent=1))
    for words in (["predict", "--out", str(tmp_path / "o.csv")], ["monitor", "--store", str(tmp_path / "store")]):
        assert main([words[0], str(tmp_path / "model"), str(files / "a.csv"), *words[1:]]) == 1
        assert "was changed after it was written" in capsys.readouterr().err
    assert main(["serve", str(tmp_path / "model")]) == 1
    assert "was changed after it was written" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--workers", "0"], ["--block-rows", "0"]])
def test_a_number_of_workers_or_rows_that_is_none_is_refused(model, files, tmp_path, words, capsys):
    model.write(tmp_path / "model")
    asked = ["predict", str(tmp_path / "model"), str(files / "a.csv"), "--out", str(tmp_path / "o.csv"), *words]
    assert main(asked) == 1
    assert "give at least 1" in capsys.readouterr().err

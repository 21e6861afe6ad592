"""The verbs that prepare data, as a user calls them: what they leave behind, say and refuse."""

import pytest

from trialml.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch, write_study):
    monkeypatch.chdir(tmp_path)
    return write_study(tmp_path)


def run(*words):
    return main([str(word) for word in words])


def test_deidentify_writes_data_that_the_same_study_file_reads(files, tmp_path, capsys, subject_mark):
    assert run("deidentify", "trial.csv", "--study", files, "--out", "safe/trial.csv", "--merge-rare", "site") == 0
    said = capsys.readouterr().out
    content = (tmp_path / "safe" / "trial.csv").read_text(encoding="utf-8")
    assert subject_mark not in content + said
    assert "k-anonymity" in said
    assert "made now; keep it secret" in said
    key = (tmp_path / "deidentify.key").read_text(encoding="utf-8").strip()
    assert key not in content + said
    assert (tmp_path / "deidentify.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "safe" / "study.toml").write_bytes(files.read_bytes())
    assert run("check", "safe/study.toml") == 0
    assert run("deidentify", "trial.csv", "--subject", "usubjid", "--out", "again.csv", "--merge-rare", "site") == 0
    assert (tmp_path / "again.csv").read_text(encoding="utf-8") == content


def test_deidentify_keeps_the_listed_columns_alone_where_asked(files, tmp_path):
    assert run("deidentify", "trial.csv", "--study", files, "--out", "out.csv", "--only-listed") == 0
    heading = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert heading == ["usubjid", "arm", "region", "days", "progressed", "age", "marker", "prior", "site", "week8"]
    assert run("deidentify", "trial.csv", "--subject", "usubjid", "--out", "few.csv", "--only", "arm", "days") == 0
    assert (tmp_path / "few.csv").read_text(encoding="utf-8").startswith("usubjid,arm,days\n")


REFUSED = {
    "output exists": (["--subject", "usubjid", "--out", "trial.csv"], 1, "'trial.csv' exists already"),
    "key beside the data": (
        ["--subject", "usubjid", "--out", "out", "--key-file", "out/k"],
        1,
        "would leave with the data",
    ),
    "no such column": (["--subject", "usubjd", "--out", "o.csv"], 1, "the nearest name is 'usubjid'"),
    "another format": (["--subject", "usubjid", "--out", "o.xpt"], 1, "does not end in '.csv'"),
    "only listed, without a study": (["--subject", "usubjid", "--out", "o.csv", "--only-listed"], 2, "give --study"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_deidentify_refuses_in_a_sentence_and_leaves_neither_data_nor_a_new_key(files, tmp_path, capsys, case):
    words, status, sentence = REFUSED[case]
    assert run("deidentify", "trial.csv", *words) == status
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.toml", "trial.csv"]


def test_a_key_that_was_there_stays_when_something_is_refused(files, tmp_path):
    assert run("deidentify", "trial.csv", "--subject", "usubjid", "--out", "a.csv") == 0
    key = (tmp_path / "deidentify.key").read_bytes()
    assert run("deidentify", "trial.csv", "--subject", "nobody", "--out", "b.csv") == 1
    assert (tmp_path / "deidentify.key").read_bytes() == key


def test_init_writes_a_path_that_is_relative_to_the_study_file(files, tmp_path):
    (tmp_path / "studies").mkdir()
    assert run("init", "trial.csv", "--out", "studies/mine.toml") == 0
    text = (tmp_path / "studies" / "mine.toml").read_text(encoding="utf-8")
    assert 'source = "../trial.csv"' in text


def test_init_refuses_what_it_cannot_read_or_write(files, tmp_path, capsys):
    assert run("init", "trail.csv") == 1
    assert "exists already" in capsys.readouterr().err
    assert run("init", "trail.csv", "--out", "new.toml") == 1
    assert "'trail.csv' was not found" in capsys.readouterr().err
    assert run("init", "trial.csv", "--out", "no/such/folder.toml") == 1
    assert "cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "new.toml").exists()


def test_init_offers_no_misspelt_arm_of_two_patients(tmp_path, monkeypatch, patients):
    frame = patients(240, arms=("old", "new"))
    frame.loc[[3, 7], "arm"] = "nwe"
    monkeypatch.chdir(tmp_path)
    frame.to_csv("trial.csv", index=False)
    assert run("init", "trial.csv", "--out", "new.toml") == 0
    text = (tmp_path / "new.toml").read_text(encoding="utf-8")
    assert "secondary" not in text
    assert "nwe" not in text
    assert "# Left out of the arms: a level of fewer than 11 patients, rather a slip than an arm." in text

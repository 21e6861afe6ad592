"""Registered models put to use: fetched and checked, served, watched."""

import asyncio
import json
import logging
import re

import pandas as pd
import pytest

from trialml.cli import main
from trialml.errors import ModelInputError, StoreError
from trialml.tracking.loading import fetch_model
from trialml.tracking.serving import scoring_app
from trialml.tracking.store import existing_store

PLANTED = "PLANTED-4711"


@pytest.fixture(scope="module")
def real_store(quick_run):
    return existing_store(quick_run)


@pytest.fixture(scope="module")
def fetched(real_store, tmp_path_factory):
    return fetch_model(real_store, "models:/INVENTED-risk/1", tmp_path_factory.mktemp("fetched"))


@pytest.fixture(scope="module")
def newcomers(patients, tmp_path_factory):
    path = tmp_path_factory.mktemp("newcomers") / "new.csv"
    patients(80, seed=31).assign(arm="old", entry="2026-01-05").to_csv(path, index=False)
    return path


def test_a_version_is_fetched_by_its_number_and_by_its_alias(real_store, fetched, tmp_path):
    (alias,) = fetched.version.aliases
    again = fetch_model(real_store, f"models:/INVENTED-risk@{alias}", tmp_path)
    assert again.version == fetched.version
    assert (again.folder / "data" / "stratifier" / "stratifier.json").is_file()


def test_a_registered_file_that_was_changed_is_refused_even_with_a_digest_that_fits(real_store, fetched, tmp_path):
    from trialml.stratifier import Stratifier, _digest

    path = fetched.folder / "data" / "stratifier" / "stratifier.json"
    before = path.read_bytes()
    state = json.loads(before)
    del state["sha256"]
    state["risk"]["state"]["coefficients"][0] += 1.0
    state["sha256"] = _digest(state)
    try:
        path.write_text(json.dumps(state, indent=1))
        with pytest.raises(ModelInputError, match="changed after it was registered"):
            fetch_model(real_store, "models:/INVENTED-risk/1", tmp_path)
        with pytest.raises(ModelInputError, match="changed after it was written"):
            Stratifier.read(fetched.folder)  # by the digest in MLflow's own file beside it
    finally:
        path.write_bytes(before)


def test_files_that_are_gone_are_said_in_a_sentence(real_store, fetched, tmp_path):
    data = fetched.folder / "data"
    data.rename(fetched.folder / "moved")
    try:
        with pytest.raises(StoreError, match=r"was not registered by trialml|cannot be had"):
            fetch_model(real_store, "models:/INVENTED-risk/1", tmp_path)
    finally:
        (fetched.folder / "moved").rename(data)


def test_the_command_scores_with_a_registered_model(quick_run, newcomers, tmp_path, capsys):
    words = ["predict", "models:/INVENTED-response/1", str(newcomers), "--store", str(quick_run)]
    assert main([*words, "--out", str(tmp_path / "o.parquet")]) == 0
    assert "INVENTED-response version 1" in capsys.readouterr().out
    scored = pd.read_parquet(tmp_path / "o.parquet")
    assert list(scored)[:2] == ["expected_benefit", "stratum"]
    assert main([*words, "--out", str(tmp_path / "o.parquet")]) == 1
    assert main(["predict", "models:/NOBODY/1", str(newcomers), "--store", str(quick_run), "--out", "x.csv"]) == 1
    assert "NOBODY" in capsys.readouterr().err


def test_watching_tracks_a_run_of_its_own_without_a_patient_s_identifier(quick_run, newcomers, capsys, subject_mark):
    words = ["monitor", "models:/INVENTED-risk/1", str(newcomers), "--outcome", "days", "progressed", "--date", "entry"]
    assert main([*words, "--store", str(quick_run)]) == 0
    printed = capsys.readouterr().out
    run_id = re.search(r"runs/([0-9a-f]{32})", printed)[1]
    client = existing_store(quick_run).client
    run = client.get_run(run_id)
    assert client.get_experiment(run.info.experiment_id).name == "INVENTED/monitoring"
    assert run.data.tags["trialml.status"] == "completed"
    assert run.data.params["model.version"] == "1"
    assert "observed over expected" in run.data.tags["mlflow.note.content"].splitlines()[0]
    assert {"validation/observed_over_expected_external", "validation/psi_largest"} <= set(run.data.metrics)
    kept = [path for path in (quick_run / "mlartifacts").rglob("*") if path.is_file() and run_id in str(path)]
    assert len(kept) >= 6
    assert not [path for path in kept if subject_mark.encode() in path.read_bytes()]


def ask(app, body, content_type="application/json"):
    """POST to an ASGI application without a socket; return the status and the body as text."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body.encode(), "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
             "path": "/invocations", "raw_path": b"/invocations", "query_string": b"", "root_path": "",
             "headers": [(b"content-type", content_type.encode())], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


@pytest.fixture(scope="module")
def app(fetched):
    return scoring_app(fetched.folder)


PATIENT = {"age": 60, "marker": 0.5, "prior": 1, "site": "lung"}


def strict(text):
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_server_answers_for_one_and_for_many_and_refuses_a_row_with_null(app, fetched):
    from trialml.stratifier import Stratifier

    status, text = ask(app, json.dumps({"dataframe_records": [PATIENT]}))
    (one,) = strict(text)["predictions"]
    direct = Stratifier.read(fetched.folder).predict(pd.DataFrame([PATIENT]))
    assert (status, one["risk"], one["refused"]) == (200, direct["risk"][0], "")
    rows = [PATIENT, {**PATIENT, "age": None}, {**PATIENT, "site": "moon"}, {**PATIENT, "age": PLANTED}]
    status, text = ask(app, json.dumps({"dataframe_records": rows}))
    found = strict(text)["predictions"]
    assert status == 200
    assert [row["risk"] for row in found] == [one["risk"], None, None, None]
    assert [row["refused"] for row in found][1:] == [
        "age is missing",
        "site has a category that the trial did not have",
        "age is not a number",
    ]


def test_the_server_reads_another_horizon(app):
    early, late = (
        strict(ask(app, json.dumps({"dataframe_records": [PATIENT], "params": {"horizon": horizon}}))[1])
        for horizon in (100.0, 365.0)
    )
    assert early["predictions"][0]["risk"] < late["predictions"][0]["risk"]


WRONG = {
    "a column that lacks": json.dumps({"dataframe_records": [{"age": 60, "site": PLANTED}]}),
    "no JSON": '{"dataframe_records": ' + PLANTED,
    "no frame": json.dumps({"inputs": PLANTED}),
    "numbers as categories": json.dumps({"dataframe_split": {"columns": ["age"], "data": [[PLANTED]]}}),
    "a horizon that is none": json.dumps({"dataframe_records": [PATIENT], "params": {"horizon": 1e9}}),
    "another form": json.dumps([PLANTED]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_request_that_will_not_do_is_an_error_that_does_not_repeat_the_patient(app, case, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    status, text = ask(app, WRONG[case])
    assert 400 <= status < 500
    assert PLANTED not in text
    assert "Traceback" not in text
    printed, errors = capfd.readouterr()
    assert PLANTED not in printed + errors + caplog.text


def test_a_patient_who_is_scored_is_in_no_log(app, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    assert ask(app, json.dumps({"dataframe_records": [{**PATIENT, "site": PLANTED}]}))[0] == 200
    assert ask(app, f"age,marker,prior,site\n60,0.5,1,{PLANTED}\n", "text/csv")[0] >= 400
    printed, errors = capfd.readouterr()
    assert PLANTED not in printed + errors + caplog.text


def test_a_folder_without_mlflow_s_file_is_not_served(tmp_path):
    with pytest.raises(ModelInputError, match="holds no file MLmodel"):
        scoring_app(tmp_path)


def test_the_model_that_is_registered_has_its_signature_pins_and_a_made_up_example(fetched):
    from mlflow.models import Model

    about = Model.load(str(fetched.folder))
    assert [param.name for param in about.signature.params] == ["horizon"]
    assert about.flavors["python_function"]["loader_module"] == "trialml.stratifier"
    pins = (fetched.folder / "requirements.txt").read_text()
    assert all(re.search(rf"^{name}==", pins, re.MULTILINE) for name in ("trialml", "numpy", "pandas", "scikit-learn"))
    example = json.loads((fetched.folder / "input_example.json").read_text())
    assert example["columns"] == ["age", "marker", "prior", "site"]
    assert [
        path for path in fetched.folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib", ".cloudpickle")
    ] == []


def test_the_server_listens_on_this_machine_alone_unless_told_otherwise():
    from trialml.cli import _parser

    words = ["serve", "models:/X@champion"]
    assert _parser(words).parse_args(words).host == "127.0.0.1"

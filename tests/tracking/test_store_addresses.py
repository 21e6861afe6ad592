"""Where a store may lie, and what is said when it cannot be used."""

import os
import socket
import time
from dataclasses import replace

import pandas as pd
import pytest

import trialml.tracking.store as module
from trialml.errors import TrackingError
from trialml.tracking.store import open_store


@pytest.fixture
def silent_server():
    """An address that accepts connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_folder_with_spaces_signs_and_umlauts_holds_a_whole_store(stored):
    assert (stored.first.alias, stored.second.alias) == ("champion", "challenger")
    folder = stored.out / "mlartifacts" / stored.second.run_id / "artifacts"
    assert (folder / "report" / "index.html").read_text() == "<p>the report</p>"
    assert (folder / "validation" / "discrimination.csv").read_text() == "what,value\nc_index,0.75\n"
    assert sorted(path.name for path in stored.out.iterdir()) == [".mlflow.lock", "mlartifacts", "mlflow.db"]


def test_a_champion_is_loaded_from_such_a_folder_and_scores_whole_numbers(stored, mlflow_at):
    model = mlflow_at.pyfunc.load_model(f"models:/{stored.first.model_name}@champion")
    scored = model.predict(pd.DataFrame({"age": [60, 70]}), params={"shift": 5.0})
    assert scored["risk"].tolist() == [5.0, 15.0]


def test_the_stored_example_is_the_made_up_patient(stored):
    examples = list(stored.out.rglob("input_example.json"))
    assert {path.read_text() for path in examples} == {'{"columns": ["age", "site"], "data": [[60.5, "lung"]]}'}


def test_the_data_file_that_a_run_names_is_never_read_into_the_store(stored, subject_mark):
    for path in stored.out.rglob("*"):
        assert path.is_dir() or subject_mark.encode() not in path.read_bytes(), path


def test_the_link_leads_to_the_run_in_the_right_mode(stored):
    # The pages read the query behind the hash; before it, it is passed over and the link opens in the other mode.
    page, query = stored.first.run_url_hint.split("?")
    assert page == f"/#/experiments/{stored.first.experiment_id}/runs/{stored.first.run_id}"
    assert query == "workflowType=machine_learning"


def test_a_database_named_by_its_address_keeps_its_artifacts_beside_it(tmp_path, make_run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared").mkdir()
    link = open_store(tmp_path / "out", "sqlite:///shared/runs.db").track(make_run(model=None))
    assert (tmp_path / "shared" / "mlartifacts" / link.run_id / "artifacts" / "model_card.md").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]


def test_a_server_that_says_nothing_is_given_up_soon(silent_server, monkeypatch, tmp_path):
    monkeypatch.setitem(module._HURRIED, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setitem(module._HURRIED, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name, value in module._SETTINGS.items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    with pytest.raises(TrackingError, match=r"does not answer in time\): nothing was tracked"):
        open_store(tmp_path, silent_server)
    assert time.monotonic() - start < 10
    assert {name: os.environ[name] for name in module._SETTINGS} == module._SETTINGS


def test_how_long_to_wait_is_the_user_s_if_set(silent_server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    start = time.monotonic()
    with pytest.raises(TrackingError, match="does not answer in time"):
        open_store(tmp_path, silent_server)
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("address", ["results", "file:///results", "ftp://server", "5000"])
def test_what_is_no_address_is_refused_with_the_forms_there_are(address, tmp_path):
    with pytest.raises(TrackingError, match=r"is no address.*http://.*sqlite:///"):
        open_store(tmp_path, address)


def test_an_experiment_in_the_waste_basket_is_named_with_the_way_back(stored, make_run):
    run = make_run(experiment="WASTE/risk", model=None)
    experiment = stored.store.track(run).experiment_id
    stored.client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match=f"was deleted: 'mlflow experiments restore -x {experiment}'"):
        stored.store.track(run)


def test_a_version_that_cannot_be_given_its_alias_is_deleted_again(stored, make_run, monkeypatch):
    def refuse(*given):
        raise RuntimeError("no alias today")

    run = make_run(experiment="NOALIAS/risk")
    monkeypatch.setattr(stored.client, "set_registered_model_alias", refuse)
    with pytest.raises(TrackingError, match=r"no alias today\): it is marked as failed"):
        stored.store.track(replace(run, model=replace(run.model, name="NOALIAS-risk")))
    assert stored.client.get_registered_model("NOALIAS-risk").latest_versions == []
    assert len(stored.client.search_model_versions("name = 'INVENTED-risk'")) == 2

"""Versions, their aliases, and what a registered stratifier says about patients."""

import json

import mlflow.pyfunc
import pandas as pd
import pytest


def sqlite(folder):
    return f"sqlite:///{(folder / 'mlflow.db').as_posix()}"


@pytest.fixture
def registered(quick_run, at_store):
    at_store(sqlite(quick_run))
    return mlflow.pyfunc.load_model("models:/INVENTED-risk@challenger")


@pytest.fixture
def newcomers():
    """Whole numbers where the signature knows numbers, and columns that no model asked for."""
    return pd.DataFrame(
        {
            "age": [60, 45, 71],
            "marker": [0, 1, -1],
            "prior": [0, 1, 1],
            "site": ["lung", "liver", "lung"],
            "room": ["a", "b", "c"],
        }
    )


def test_version_1_becomes_champion_and_the_next_challenger(store, make_fake_run):
    first, second = store.track(make_fake_run()), store.track(make_fake_run())
    assert (first.model_version, first.alias) == ("1", "champion")
    assert (second.model_version, second.alias) == ("2", "challenger")
    by_alias = {name: str(version) for name, version in store.client.get_registered_model("FAKE-risk").aliases.items()}
    assert by_alias == {"champion": "1", "challenger": "2"}


def test_a_champion_that_reviewers_took_back_is_not_replaced_by_a_run(store, make_fake_run, make_fake_model):
    store.track(make_fake_run(model=make_fake_model(name="TAKEN-BACK")))
    store.client.delete_registered_model_alias("TAKEN-BACK", "champion")
    assert store.track(make_fake_run(model=make_fake_model(name="TAKEN-BACK"))).alias == "challenger"


def test_the_registered_model_s_page_does_not_repeat_the_verdict_of_version_1(store, make_fake_run, make_fake_model):
    link = store.track(make_fake_run(model=make_fake_model(name="DESCRIBED")))
    registered = store.client.get_registered_model("DESCRIBED")
    assert "PASS" not in registered.description
    assert "champion" in registered.description
    assert store.client.get_model_version("DESCRIBED", link.model_version).description.startswith("PASS")


def test_a_fake_model_is_loaded_by_alias_through_its_own_loader(store, make_fake_run, make_fake_model, at_store):
    store.track(make_fake_run(model=make_fake_model(name="LOADED")))
    at_store(store.address)
    model = mlflow.pyfunc.load_model("models:/LOADED@champion")
    assert model.predict(pd.DataFrame({"age": [30, 40], "extra": ["a", "b"]}))["risk"].tolist() == [60.0, 80.0]


def test_numbers_are_declared_any_so_that_whole_numbers_are_taken(registered):
    inputs = registered.metadata.signature.inputs.to_dict()
    assert {one["name"]: one["type"] for one in inputs} == {
        "age": "any",
        "marker": "any",
        "prior": "any",
        "site": "string",
    }


def test_the_registered_model_scores_whole_numbers_and_passes_over_further_columns(registered, newcomers):
    assert str(newcomers["age"].dtype) == "int64"
    scored = registered.predict(newcomers)
    assert list(scored.columns) == ["risk", "flags", "refused"]
    assert scored["risk"].between(0, 1).all()
    assert scored["refused"].tolist() == ["", "", ""]


def test_a_bad_row_is_refused_with_a_reason_and_the_others_are_scored(registered, newcomers):
    newcomers["age"] = [60.0, float("inf"), 71.0]
    scored = registered.predict(newcomers)
    assert scored["risk"].notna().tolist() == [True, False, True]
    assert "age" in scored.loc[1, "refused"]


def test_the_risk_may_be_read_at_an_earlier_horizon(registered, newcomers):
    assert (
        registered.predict(newcomers, params={"horizon": 100.0})["risk"] < registered.predict(newcomers)["risk"]
    ).all()


def test_the_response_model_gives_benefit_and_stratum(quick_run, at_store, newcomers):
    at_store(sqlite(quick_run))
    scored = mlflow.pyfunc.load_model("models:/INVENTED-response@challenger").predict(newcomers)
    assert scored["expected_benefit"].notna().all()
    assert (scored["stratum"] != "").all()


def test_a_model_is_data_and_no_pickle(quick_run):
    files = [path for path in (quick_run / "mlartifacts" / "models").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {"", ".json", ".yaml", ".txt"}
    states = [path for path in files if path.name == "stratifier.json"]
    assert len(states) == 2
    assert all(json.loads(path.read_text())["study"] == "INVENTED" for path in states)

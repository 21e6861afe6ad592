"""What stands in the store after a run."""

import json
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def link(store, make_fake_run, tmp_path_factory):
    report = tmp_path_factory.mktemp("report") / "report.html"
    report.write_text("<!doctype html><title>Report</title>")
    run = make_fake_run(
        files={"report/index.html": report}, params={"cohort.n": "1054", "long": "x" * 6001, "edge": "y" * 6000}
    )
    return store.track(run)


@pytest.fixture(scope="module")
def logged(store, link):
    return store.client.get_run(link.run_id)


def artifacts(store, run_id, folder=None):
    found = []
    for item in store.client.list_artifacts(run_id, folder):
        found += artifacts(store, run_id, item.path) if item.is_dir else [item.path]
    return found


def content(store, run_id, path, tmp_path):
    return Path(store.client.download_artifacts(run_id, path, str(tmp_path))).read_text(encoding="utf-8")


def test_metrics_are_finite_and_carry_their_intervals(logged):
    assert logged.data.metrics == {
        "validation/c_index_crossfit": 0.6993,
        "validation/c_index_crossfit_low": 0.6665,
        "validation/c_index_crossfit_high": 0.732,
        "data/patients": 1054.0,
    }


def test_metrics_are_logged_in_the_order_in_which_a_reviewer_judges(logged):
    assert next(iter(logged.data.metrics)).startswith("validation/")


def test_numbers_that_could_not_be_estimated_are_named_in_a_tag(logged):
    assert logged.data.tags["trialml.undefined"] == "validation/median, validation/median_high"


def test_the_run_is_finished_and_says_so_in_its_tag(logged):
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["trialml.status"] == "completed"
    assert logged.data.tags["trialml.review"] == "pending"


def test_the_description_begins_with_the_verdict(logged):
    assert logged.data.tags["mlflow.note.content"].splitlines()[0].startswith("PASS  C-index 0.699")


def test_parameters_of_more_than_6000_characters_become_artifacts(store, link, logged, tmp_path):
    assert logged.data.params == {"cohort.n": "1054", "edge": "y" * 6000}
    assert content(store, link.run_id, "params/long.txt", tmp_path) == "x" * 6001


def test_every_result_leaves_its_table_its_words_itself_and_its_figure(store, link):
    paths = set(artifacts(store, link.run_id))
    assert {f"validation/discrimination.{end}" for end in ("csv", "json", "txt", "svg")} <= paths
    assert {f"data/tally.{end}" for end in ("csv", "json", "txt")} <= paths
    assert "data/tally.svg" not in paths
    assert {"report/index.html", "model_card.md"} <= paths


def test_the_table_and_the_words_are_those_of_the_result(store, link, tmp_path):
    assert content(store, link.run_id, "data/tally.csv", tmp_path) == "what,value\npatients,1054\n"
    assert content(store, link.run_id, "data/tally.txt", tmp_path) == "1,054 patients were counted.\n"
    assert content(store, link.run_id, "validation/discrimination.svg", tmp_path).startswith("<?xml")


def test_the_data_set_is_named_with_the_first_32_digits_of_its_full_digest(logged):
    (entry,) = logged.inputs.dataset_inputs
    assert entry.dataset.name == "FAKE"
    assert entry.dataset.digest == "0123456789abcdef" * 2
    assert json.loads(entry.dataset.profile) == {"patients": 1054, "events": 284}
    assert json.loads(entry.dataset.source) == {"source": "fake.csv"}


def test_the_metrics_stand_on_the_model_too_with_the_data_they_rest_on(store, link):
    version = store.client.get_model_version(link.model_name, link.model_version)
    (output,) = store.client.get_run(link.run_id).outputs.model_outputs
    model = store.client.get_logged_model(output.model_id)
    found = {metric.key: metric for metric in model.metrics}
    assert found["validation/c_index_crossfit"].value == 0.6993
    assert found["validation/c_index_crossfit"].dataset_name == "FAKE"
    assert version.run_id == link.run_id


def test_the_model_s_page_names_its_version_and_its_verdict(store, link):
    (output,) = store.client.get_run(link.run_id).outputs.model_outputs
    tags = store.client.get_logged_model(output.model_id).tags
    assert json.loads(tags["mlflow.modelVersions"]) == [{"name": "FAKE-risk", "version": 1}]
    assert tags["mlflow.note.content"].startswith("PASS")


def test_the_list_of_experiments_says_what_each_holds(store, link):
    experiment = store.client.get_experiment(link.experiment_id)
    assert "run of trialml" in experiment.tags["mlflow.note.content"]


def test_two_results_of_one_name_say_which_is_which(store, make_fake_run, make_tally):
    plans = [make_tally(named="The plan: One look"), make_tally(named="The plan: Two looks")]
    logged = store.client.get_run(store.track(make_fake_run(results=plans, model=None)).run_id)
    assert set(logged.data.metrics) == {"data/patients", "data/two_looks_patients"}


def test_markup_slashes_and_colons_in_names_are_inert(store, make_fake_run, make_fake_model):
    hostile = "<script>alert(1)</script>/a:b"
    run = make_fake_run(experiment=f"{hostile}/risk", run_name=hostile, model=make_fake_model(name=hostile))
    link = store.track(run)
    names = [
        store.client.get_experiment(link.experiment_id).name,
        store.client.get_run(link.run_id).info.run_name,
        store.client.get_registered_model(link.model_name).name,
    ]
    assert not [name for name in names if set(name) & set("<>:()")]
    assert "/" not in names[1] + names[2]


def test_a_description_that_is_too_long_is_cut_between_lines_and_kept_whole_as_an_artifact(
    store, make_fake_run, tmp_path
):
    whole = "PASS\n" + "\n".join(f"- line {number} {'.' * 90}" for number in range(100))
    link = store.track(make_fake_run(description=whole, model=None))
    shown = store.client.get_run(link.run_id).data.tags["mlflow.note.content"]
    assert len(shown) <= 5000
    assert shown.startswith("PASS\n")
    assert "description.md" in shown
    assert content(store, link.run_id, "description.md", tmp_path) == whole


def test_tracking_leaves_mlflow_s_global_address_and_the_environment_alone(store, link):
    import mlflow

    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert mlflow.active_run() is None


def test_tracking_leaves_the_working_folder_alone(store, make_fake_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.track(make_fake_run())
    assert not list(tmp_path.iterdir())

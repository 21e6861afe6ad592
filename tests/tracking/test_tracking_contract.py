"""The folder mlflow/ says what a run logs: its pages are compared with a real run."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

import mlflow
import pytest

from trialml.cli import main
from trialml.promotion_policy import RunFacts, judge_numbers, read_policy

FOLDER = Path(__file__).resolve().parents[2] / "mlflow"
SUBJECTS = ("risk", "response")


@pytest.fixture(scope="module")
def words():
    """Every word in backticks on the page of the contract."""
    return re.findall(r"`([^`\s]+)`", (FOLDER / "schema.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def client(quick_run):
    address = f"sqlite:///{(quick_run / 'mlflow.db').as_posix()}"
    return mlflow.MlflowClient(tracking_uri=address, registry_uri=address)


@pytest.fixture(scope="module")
def runs(client):
    experiments = [client.get_experiment_by_name(f"INVENTED/{subject}") for subject in SUBJECTS]
    return [client.search_runs([experiment.experiment_id])[0] for experiment in experiments]


def estimated(runs):
    """Every metric's name without its limits, and those that could not be estimated."""
    names = {name for run in runs for name in run.data.metrics}
    names |= {name for run in runs for name in run.data.tags.get("trialml.undefined", "").split(", ") if name}
    return {name.removesuffix("_low").removesuffix("_high") for name in names}


def pattern(word):
    return re.compile(re.sub(r"<\w+>", r"[\\w.-]+", word.replace(".", r"\.")))


def test_the_schema_names_every_parameter(words, runs):
    assert {name for run in runs for name in run.data.params} <= set(words)


def test_the_schema_names_every_tag(words, runs):
    assert {name for run in runs for name in run.data.tags} <= set(words)


def test_the_schema_names_every_metric(words, runs):
    known = [pattern(word) for word in words if "/" in word]
    assert [name for name in sorted(estimated(runs)) if not any(one.fullmatch(name) for one in known)] == []


def test_every_metric_that_the_schema_names_is_logged(words, runs):
    chapters = ("data", "survival", "effects", "models", "validation", "explain", "strata", "design")
    promised = [word for word in words if word.partition("/")[0] in chapters and not word.endswith(("/", ".json"))]
    logged = estimated(runs)
    assert len(promised) > 40
    assert [word for word in promised if not any(pattern(word).fullmatch(name) for name in logged)] == []


def test_the_schema_names_every_artifact_and_folder(words, client, runs):
    top = {item.path + "/" * item.is_dir for run in runs for item in client.list_artifacts(run.info.run_id)}
    inside = {item.path for run in runs for item in client.list_artifacts(run.info.run_id, "report")}
    assert top | inside <= set(words)


def test_the_schema_names_every_output_and_every_tag_of_a_version(words, client):
    for subject in SUBJECTS:
        version = client.get_model_version(f"INVENTED-{subject}", "1")
        assert set(version.tags) <= set(words)
        assert "quick" in client.get_run(version.run_id).data.params
    outputs = {"risk", "expected_benefit", "stratum", "stratum_benefit", "stratum_benefit_low", "stratum_benefit_high"}
    assert outputs | {"flags", "refused"} <= set(words)


def test_a_run_s_name_begins_with_its_model(runs):
    for run in runs:
        assert re.fullmatch(re.escape(run.data.params["model.name"]) + r"-\d{8}-\d{6}-quick", run.info.run_name)


def test_every_picture_of_the_guide_is_there_small_and_described():
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert len(pictures) >= 6
    for words, place in pictures:
        assert len(words) > 20, place
        content = (FOLDER / place).read_bytes()
        assert content.startswith(b"\x89PNG"), place
        assert len(content) < 150_000, place


def test_the_policy_reads_numbers_that_a_run_logs(runs):
    policy = (FOLDER / "promotion.toml").read_text(encoding="utf-8")
    assert set(tomllib.loads(policy)) == {"all", "risk", "response"}
    named = re.findall(r"[Mm]etric ((?:validation|strata|models)/[\w<>]+)", policy)
    logged = {name for run in runs for name in run.data.metrics}
    assert len(named) >= 6
    assert [word for word in named if not any(pattern(word).fullmatch(name) for name in logged)] == []


def test_no_identifier_and_no_column_off_the_list_is_in_the_store_the_report_or_what_was_printed(
    quick_run, subject_mark, off_list
):
    files = [path for path in quick_run.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"mlflow.db", "printed.txt", "report.html", "000001.json", "prediction-error-by-test-fold.json"} <= names
    for mark in (subject_mark.encode(), off_list.encode()):
        assert [path.name for path in files if mark in path.read_bytes()] == []


def test_the_shipped_policy_finds_every_number_that_it_asks_for(runs):
    policy = read_policy()
    for run in runs:
        facts = RunFacts(run.data.params, run.data.metrics, run.data.tags)
        found = list(judge_numbers(policy, facts, facts))
        assert len(found) >= 4
        assert [one.key for one in found if one.seen == "not logged"] == []


def test_the_version_of_a_quick_run_waits_and_carries_the_digest_of_its_state(client):
    for subject in SUBJECTS:
        version = client.get_model_version(f"INVENTED-{subject}", "1")
        assert version.aliases == ["challenger"]
        folder = Path(version.source.removeprefix("file://"))
        digest = hashlib.sha256((folder / "data" / "stratifier" / "stratifier.json").read_bytes()).hexdigest()
        assert version.tags["trialml.model_sha256"] == digest
        assert f"trialml.model_sha256: {digest}" in (folder / "MLmodel").read_text(encoding="utf-8")


def test_the_schema_names_every_key_of_a_history(words, quick_run):
    records = [json.loads(path.read_text()) for path in (quick_run / "mlartifacts").rglob("history/000001.json")]
    assert [record["action"] for record in records] == ["registered", "registered"]
    assert {key for record in records for key in record} <= set(words)


@pytest.mark.long
def test_the_report_of_a_real_run_is_rendered_again_to_the_byte(quick_run, runs, tmp_path, capsys):
    again = tmp_path / "again.html"
    assert main(["report", runs[0].info.run_id, "--to", str(again), "--out", str(quick_run)]) == 0
    assert "the same file as was tracked" in capsys.readouterr().out
    (written,) = quick_run.glob("*/report.html")
    assert again.read_bytes() == written.read_bytes()


def test_the_stored_model_names_no_path_of_this_machine(quick_run):
    for path in (quick_run / "mlartifacts" / "models").rglob("MLmodel"):
        assert str(quick_run.parent) not in path.read_text(encoding="utf-8")


def test_the_folder_promises_only_commands_that_exist():
    said = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir())
    verbs = set(re.findall(r"`?trialml (\w+) (?:\{|examples|study|STUDY|--)", said))
    assert verbs == {"check", "design", "monitor", "predict", "run", "ui"}
    assert {path.name for path in FOLDER.iterdir()} == {
        "MLproject",
        "README.md",
        "compose.yaml",
        "promotion.toml",
        "schema.md",
        "server.env.example",
    }
    assert not list(FOLDER.rglob("*.py"))


def test_an_entry_point_is_a_command_that_the_parser_takes(tmp_path, capsys):
    import yaml

    from trialml.cli import _parser

    project = yaml.safe_load((FOLDER / "MLproject").read_text(encoding="utf-8"))
    assert set(project["entry_points"]) == {"main", "run", "check", "design", "predict", "monitor"}
    for entry in project["entry_points"].values():
        program, *words = entry["command"].format(**dict.fromkeys(entry["parameters"], "given")).split()
        assert program == "trialml"
        assert _parser(words).parse_args(words).verb == words[0]


def test_the_shared_server_is_bound_to_loopback_keeps_no_secret_and_names_its_driver():
    import yaml

    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    server = yaml.safe_load(text)["services"]["server"]
    assert server["ports"] == ["${MLFLOW_BIND:-127.0.0.1}:${MLFLOW_PORT:-5000}:5000"]
    assert server["environment"]["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "basic-auth" in server["command"]
    assert server["environment"]["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql+psycopg2://")
    assert "psycopg2-binary" in server["build"]["dockerfile_inline"]
    assert not re.findall(r"^ *\w*(?:PASSWORD|SECRET_KEY): +(?!\$\{)\S+", text, re.MULTILINE)

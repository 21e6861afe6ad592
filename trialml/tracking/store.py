"""A store of tracked runs in MLflow: sqlite in the output folder, or a server.

Runs are addressed by their id, never through MLflow's global run: logging to a run that has ended would open a new
one in silence. MLflow's global addresses are left alone too: setting one writes an environment variable, and the next
analysis of the same process would follow it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from trialml.errors import StoreError, TrackingError
from trialml.tracking.history import append_entry
from trialml.tracking.local import alone, check_database, sqlite_file
from trialml.tracking.process import RUN_MARK, process_tags, user_name
from trialml.tracking.reasons import reason, without_login
from trialml.tracking.records import Artifact, Dataset, Metric, Record, TrackedRun, Undefined, records_of, safe_name

__all__ = ["Store", "TrackedLink", "existing_store", "open_store", "without_login"]

_LONGEST_PARAM = 6000
_LONGEST_TAG = 5000
_OPEN = "the store no longer answers, so the run stands open in it until it is sent again or swept"
_BATCH = 100
_TRIES = 5
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # its links open in the wrong mode
    "GIT_PYTHON_REFRESH": "quiet",
}
_ABOUT_RUNS = "Each line is one run of trialml: open the newest, read its description, then report/index.html."
_HURRIED = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


@dataclass(frozen=True)
class TrackedLink:
    """Where a tracked run is found again."""

    experiment: str
    experiment_id: str
    run_id: str
    model_name: str = ""
    model_version: str = ""
    alias: str = ""

    @property
    def run_url_hint(self) -> str:
        """What follows the address of MLflow's pages to reach the run's; they open in another mode without the query."""
        return f"/#/experiments/{self.experiment_id}/runs/{self.run_id}?workflowType=machine_learning"


def open_store(out: Path, uri: str | None = None) -> Store:
    """Open the tracking store, and make a local one where there is none.

    Parameters
    ----------
    out
        The output folder: without `uri` the store is ``mlflow.db`` in it, with ``mlartifacts`` beside it.
    uri
        Address of a tracking server or database; an sqlite database keeps its artifacts in ``mlartifacts`` beside it.

    Returns
    -------
    Store
        Ready to track runs.

    Raises
    ------
    TrackingError
        If MLflow is not installed, the server does not answer within some 12 seconds, or the database cannot be opened.
    """
    try:
        return _opened(out, uri, "nothing was tracked")
    except StoreError as error:
        raise TrackingError(str(error)) from error


def existing_store(out: Path, uri: str | None = None) -> Store:
    """Open a store that must be there already, to read it or to change what it holds.

    Parameters
    ----------
    out, uri
        As of `open_store`.

    Returns
    -------
    Store
        The store.

    Raises
    ------
    StoreError
        If there is none, or it cannot be used.
    """
    database = (out / "mlflow.db").resolve() if uri is None else sqlite_file(uri)
    if database is not None and not database.is_file():
        raise StoreError(
            f"There is no tracking store '{database.name}' in '{database.parent}': name the folder of a run with --out, or a "
            "server with --tracking-uri."
        )
    return _opened(out, uri, "nothing was read")


def _opened(out: Path, uri: str | None, so: str) -> Store:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)  # some are read at import
    try:
        import importlib.metadata

        # A folder called mlflow/ makes "import mlflow" succeed as an empty namespace: ask for the distribution.
        importlib.metadata.version("mlflow")
        import mlflow
    except ImportError as error:
        raise StoreError(f"MLflow is not installed, so {so}: pip install mlflow.") from error
    if uri is not None and not re.match(
        r"(https?|sqlite|postgresql|mysql|mssql)[a-z0-9+]*://|databricks|azureml:", uri
    ):
        raise StoreError(
            f"The tracking store '{without_login(uri)}' is no address, so {so}: give a server (http://...), a "
            "database (sqlite:///...), or nothing for a local store."
        )
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    database = (out / "mlflow.db").resolve() if uri is None else sqlite_file(uri)
    address = uri if database is None else f"sqlite:///{database.as_posix()}"
    assert address is not None
    artifacts = None if database is None else (database.parent / "mlartifacts").as_uri()
    lock = None if database is None else database.parent / ".mlflow.lock"
    try:
        with alone(lock), _hurried():
            if database is not None:
                check_database(database)
            client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
            client.search_experiments(max_results=1)
    except Exception as error:
        raise StoreError(
            f"The tracking store '{without_login(address)}' cannot be used ({reason(error)}): {so}; check the "
            "address, or leave it out for a local store."
        ) from error
    return Store(client, address, artifacts, lock)


@contextmanager
def _hurried() -> Iterator[None]:
    """Wait less than for an upload: whether anybody answers at all is soon known. What the user has set stays."""
    names = [name for name in _HURRIED if os.environ.get(name) == _SETTINGS[name]]
    os.environ.update({name: _HURRIED[name] for name in names})
    try:
        yield
    finally:
        os.environ.update({name: _SETTINGS[name] for name in names})


class Store:
    """An open tracking store; `track` logs one run whole, or marks it as failed.

    Attributes
    ----------
    client
        The ``MlflowClient``.
    address
        The tracking address.
    artifacts
        Where experiments of a local store keep their artifacts; None lets the server decide.
    lock
        The lock file of a local store, or None.
    """

    def __init__(self, client: Any, address: str, artifacts: str | None, lock: Path | None = None) -> None:
        self.client = client
        self.address = address
        self.artifacts = artifacts
        self.lock = lock

    def track(self, run: TrackedRun) -> TrackedLink:
        """Log a run: parameters, metrics, tags, data set, artifacts, model.

        Parameters
        ----------
        run
            What to log.

        Returns
        -------
        TrackedLink
            Its ids.

        Raises
        ------
        TrackingError
            If anything fails; the run is then marked FAILED, and no model version stands without its artifacts.
        """
        run_id = ""
        try:
            with _stopped_by_sigterm():
                experiment_id = self.experiment(run.experiment)
                name = safe_name(run.run_name)
                run_id = str(self.client.create_run(experiment_id, run_name=name, tags=_tags(run)).info.run_id)
                link = self._log(run, experiment_id, run_id)
                self.client.set_tag(run_id, "trialml.status", "completed")
                self.client.set_terminated(run_id, "FINISHED")
        except (KeyboardInterrupt, SystemExit):
            self._close(run_id, "KILLED")
            raise
        except Exception as error:
            closed = self._close(run_id, "FAILED")
            marked = ": it is marked as failed" if closed else f": {_OPEN if run_id else 'check the tracking store'}"
            raise TrackingError(
                f"The run '{run.run_name}' of '{run.experiment}' could not be tracked ({reason(error)}){marked}."
            ) from error
        return link

    def _close(self, run_id: str, status: str) -> bool:
        if not run_id:
            return False
        with suppress(Exception), _hurried():  # the first failure is the one to tell; the store may be gone
            self.client.set_tag(run_id, "trialml.status", status.lower())
            self.client.set_terminated(run_id, status)
            return True
        return False

    def experiment(self, name: str, about: str = _ABOUT_RUNS) -> str:
        """Return the id of an experiment, which is made where there is none; `about` is its description then."""
        from mlflow.exceptions import MlflowException

        clean = "/".join(safe_name(part) for part in name.split("/"))
        found = self.client.get_experiment_by_name(clean)
        if found is None:
            try:
                tags = {"mlflow.note.content": about}
                return str(self.client.create_experiment(clean, artifact_location=self.artifacts, tags=tags))
            except MlflowException:
                # Another process may have made it in between.
                found = self.client.get_experiment_by_name(clean)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"the experiment '{clean}' was deleted: 'mlflow experiments restore -x {found.experiment_id}' brings it back"
            )
        return str(found.experiment_id)

    def _log(self, run: TrackedRun, experiment_id: str, run_id: str) -> TrackedLink:
        from trialml.tracking.registry import log_model, register

        records = records_of(run.results, run.picture)
        self._log_params(run_id, run.params)
        self._log_artifacts(run_id, run, records)
        self._log_dataset(run_id, run.dataset)
        undefined = [record.name for record in records if isinstance(record, Undefined)]
        if undefined:
            self.client.set_tag(run_id, "trialml.undefined", ", ".join(undefined)[:_LONGEST_TAG])
        model_id = log_model(self.client, experiment_id, run_id, run.model) if run.model is not None else None
        self._log_metrics(run_id, records, run.dataset, model_id)
        if run.model is None or model_id is None:
            return TrackedLink(run.experiment, experiment_id, run_id)
        with alone(self.lock):
            name, version, alias = register(self.client, run_id, model_id, run.model)
        registered = {"action": "registered", "who": user_name(), "version": version, "run_id": run_id}
        try:
            append_entry(self, name, registered | ({"champion": version} if alias == "champion" else {}))
        except BaseException:
            with suppress(Exception):
                self.client.delete_model_version(name, version)
            raise
        return TrackedLink(run.experiment, experiment_id, run_id, name, version, alias)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        entities = [Param(key, value) for key, value in params.items() if len(value) <= _LONGEST_PARAM]
        for start in range(0, len(entities), _BATCH):
            self.client.log_batch(run_id, params=entities[start : start + _BATCH])

    def _log_metrics(self, run_id: str, records: Sequence[Record], data: Dataset, model_id: str | None) -> None:
        from mlflow.entities import Metric as Logged

        now = int(time.time() * 1000)
        logged = [
            Logged(
                record.name,
                record.value,
                now,
                0,
                model_id=model_id,
                dataset_name=data.name,
                dataset_digest=_digest(data),
            )
            for record in records
            if isinstance(record, Metric)
        ]
        for start in range(0, len(logged), _BATCH):
            self.client.log_batch(run_id, metrics=logged[start : start + _BATCH])

    def _log_artifacts(self, run_id: str, run: TrackedRun, records: Sequence[Record]) -> None:
        texts = {record.path: record.content for record in records if isinstance(record, Artifact)}
        texts |= {
            f"params/{safe_name(key)}.txt": value for key, value in run.params.items() if len(value) > _LONGEST_PARAM
        }
        if len(run.description) > _LONGEST_TAG:
            texts["description.md"] = run.description
        texts |= run.texts
        with tempfile.TemporaryDirectory(prefix="trialml-") as folder:
            for place in (*texts, *run.files):
                path = Path(folder) / place
                path.parent.mkdir(parents=True, exist_ok=True)
                if place in run.files:
                    shutil.copyfile(run.files[place], path)
                else:
                    path.write_text(texts[place], encoding="utf-8")
            self.client.log_artifacts(run_id, folder)

    def _log_dataset(self, run_id: str, data: Dataset) -> None:
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag
        from mlflow.exceptions import MlflowException

        columns = [{"name": name, "type": kind, "required": False} for name, kind in data.columns.items()]
        entity = Entity(
            data.name,
            _digest(data),
            "trialml",
            json.dumps({"source": without_login(data.source)}),
            schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
            profile=json.dumps({"patients": data.patients, "events": data.events}),
        )
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
        for attempt in range(_TRIES):
            try:
                self.client.log_inputs(run_id, inputs)
            except MlflowException as error:
                # Of processes that bring a data set at the same moment one makes it; the others find it at the next try.
                if attempt + 1 == _TRIES or "dataset" not in str(error).lower():
                    raise
                time.sleep(0.1 * (attempt + 1))
            else:
                return


def _digest(data: Dataset) -> str:
    """Return as much of the digest as MLflow keeps; the whole one is a parameter."""
    return data.sha256[:32]


def _tags(run: TrackedRun) -> dict[str, str]:
    description = run.description
    if len(description) > _LONGEST_TAG:
        kept = description[: _LONGEST_TAG - 100].rpartition("\n")[0] or description[: _LONGEST_TAG - 100]
        description = f"{kept}\n\n(The rest is in the artifact description.md.)"
    return {
        **{key: str(value)[:_LONGEST_TAG] for key, value in run.tags.items()},
        **process_tags(),
        RUN_MARK: run.mark,
        "trialml.status": "started",
        "mlflow.note.content": description,
    }


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Turn SIGTERM into SystemExit while a run is open, so that it does not stay RUNNING for ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

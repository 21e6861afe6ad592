"""Runs found by name, closed where their process is gone, and erased for good."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from trialml.errors import StoreError, nearest
from trialml.tracking.history import EXPERIMENT, HISTORY_KIND, append_entry, read_history
from trialml.tracking.local import alone, sqlite_file
from trialml.tracking.process import is_gone, user_name
from trialml.tracking.versions import RegisteredVersion, list_versions

__all__ = ["Erased", "FoundRun", "Swept", "close_attempt", "erase", "find_run", "list_runs", "sweep"]

_PAGE = 1000


@dataclass(frozen=True)
class FoundRun:
    """A run: its id, its name, and its experiment's."""

    run_id: str
    name: str
    experiment: str

    @property
    def words(self) -> str:
        """How a person tells it from others."""
        return f"'{self.name}' of '{self.experiment}'"


@dataclass(frozen=True)
class Swept:
    """An open run and what was done: ``closed``, ``finished`` or ``left``; `why` says which process it was."""

    run: FoundRun
    done: str
    why: str
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Erased:
    """What was erased; `left` says in words what could not be."""

    run: FoundRun
    versions: tuple[str, ...]
    models: int
    left: tuple[str, ...]


def find_run(store: Any, words: str) -> FoundRun:
    """Return the run that somebody names.

    Parameters
    ----------
    store
        A `Store`.
    words
        A run's id or the first eight or more digits of it, its name, or ``EXPERIMENT/NAME`` such as
        ``ACTG175/risk/20300101-000000`` where a name alone fits several.

    Returns
    -------
    FoundRun
        The one run.

    Raises
    ------
    StoreError
        If none fits, or several do.
    """
    asked = words.strip().strip("/")
    if re.fullmatch(r"[0-9a-f]{8,32}", asked):
        fits = list_runs(store, f"attributes.run_id LIKE '{asked}%'")
        if fits:
            return _the_one(asked, fits)
    fits = [run for run in _named(store, asked) if asked in (run.name, f"{run.experiment}/{run.name}")]
    if not fits:
        known = sorted({run.name for run in list_runs(store)})
        raise StoreError(f"There is no run '{words}'; {nearest(asked, known)}.")
    return _the_one(asked, fits)


def _named(store: Any, asked: str) -> list[FoundRun]:
    """Return the runs that may be meant: the store picks them by name, for reading all of them takes seconds."""
    found: list[FoundRun] = []
    for name in dict.fromkeys((asked, asked.rpartition("/")[2])):
        mark = '"' if "'" in name else "'"
        if name and mark not in name:  # MLflow's filters know no escape
            found += list_runs(store, f"attributes.run_name = {mark}{name}{mark}")
    return found


def _the_one(asked: str, fits: list[FoundRun]) -> FoundRun:
    if len(fits) > 1:
        shown = ", ".join(f"{run.experiment}/{run.name} ({run.run_id[:8]})" for run in fits[:4])
        raise StoreError(f"'{asked}' fits {len(fits)} runs: name one as {shown}.")
    return fits[0]


def list_runs(store: Any, words: str = "") -> list[FoundRun]:
    """Return the analyses' runs, the newest first; `words` is a filter as MLflow reads it."""
    named = None if words else _named_in_database(store)
    return [found for found, _ in _runs(store, words)] if named is None else named


def _named_in_database(store: Any) -> list[FoundRun] | None:
    """Return all runs by MLflow's own tables, or None where these cannot be had, such as behind a server.

    MLflow's search brings every metric of every run, which takes seconds for a thousand; a list needs their names.
    """
    try:
        from mlflow.store.tracking.dbmodels.models import SqlRun
        from sqlalchemy import select

        database = store.client._tracking_client.store  # noqa: SLF001  (MLflow offers no other way; a test compares)
        wanted = select(SqlRun.run_uuid, SqlRun.name, SqlRun.experiment_id)
        newest_first = wanted.where(SqlRun.lifecycle_stage == "active").order_by(
            SqlRun.start_time.desc(), SqlRun.run_uuid
        )
        with database.ManagedSessionMaker() as session:
            rows = session.execute(newest_first).all()
    except (AttributeError, ImportError):  # a server's client, or tables that a later MLflow names otherwise
        return None
    names = _experiment_names(store)
    return [
        FoundRun(run, name or "", names[str(experiment)]) for run, name, experiment in rows if str(experiment) in names
    ]


def _experiment_names(store: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    token = None
    while True:
        page = store.client.search_experiments(max_results=_PAGE, page_token=token)
        names |= {str(one.experiment_id): one.name for one in page if one.name != EXPERIMENT}
        token = page.token
        if not token:
            return names


def _runs(store: Any, words: str = "") -> Iterator[tuple[FoundRun, Any]]:
    names = _experiment_names(store)
    token = None
    while names:
        page = store.client.search_runs(list(names), words, max_results=_PAGE, page_token=token)
        for run in page:
            yield FoundRun(run.info.run_id, run.info.run_name or "", names[str(run.info.experiment_id)]), run
        token = page.token
        if not token:
            return


def sweep(store: Any) -> list[Swept]:
    """Close the runs whose process is gone, and take out what they had registered.

    Parameters
    ----------
    store
        A `Store`.

    Returns
    -------
    list of Swept
        One entry an open run; those of other machines, and those whose process is there, are left as they are.
    """
    still_open = "attributes.status = 'RUNNING'"
    history = store.client.get_experiment_by_name(EXPERIMENT)
    if history is not None:  # its runs hold records, and no process stands behind them
        for run in store.client.search_runs([history.experiment_id], still_open):
            store.client.set_terminated(run.info.run_id, "FINISHED")
    return [_swept(store, found, run.data.tags) for found, run in list(_runs(store, still_open))]


def _swept(store: Any, found: FoundRun, tags: dict[str, str]) -> Swept:
    gone = is_gone(tags)
    process = f"process {tags.get('trialml.pid', '?')} on {tags.get('trialml.host', 'an unknown machine')}"
    if not gone:
        return Swept(found, "left", f"{process} {'cannot be seen from here' if gone is None else 'is running'}")
    client = store.client
    if tags.get("trialml.status") == "completed":  # it was killed after everything had been logged
        client.set_terminated(found.run_id, "FINISHED")
        return Swept(found, "finished", f"{process} is gone, and had logged everything")
    versions = close_attempt(store, found)
    return Swept(found, "closed", f"{process} is gone", versions)


def close_attempt(store: Any, found: FoundRun) -> tuple[str, ...]:
    """Close a run that broke off, take out what it had registered, and return the names of that."""
    client = store.client
    versions = _delete_versions(store, found, "swept", "its run was killed before it was complete")
    for model in _models(client, found):
        if str(model.status) not in ("READY", "LoggedModelStatus.READY"):
            with suppress(Exception):
                client.finalize_logged_model(model.model_id, "FAILED")
    client.set_tag(found.run_id, "trialml.status", "killed")
    client.set_terminated(found.run_id, "KILLED")
    return versions


def _delete_versions(store: Any, found: FoundRun, action: str, reason: str) -> tuple[str, ...]:
    """Delete the versions of a run; each is recorded first, so that a gap in the numbers is explained."""
    own = [one for one in list_versions(store.client) if one.run_id == found.run_id]
    for one in own:
        with alone(store.lock):
            record = {"action": action, "who": user_name(), "version": one.version, "run_id": found.run_id}
            champion = {"champion": None} if _is_champion(store, one) else {}
            append_entry(store, one.name, {**record, "reason": reason, **champion})
            for tag in one.tags:  # MLflow keeps the tags of a version that it deletes
                store.client.delete_model_version_tag(one.name, one.version, tag)
            store.client.delete_model_version(one.name, one.version)
    return tuple(f"{one.name} version {one.version}" for one in own)


def _is_champion(store: Any, version: RegisteredVersion) -> bool:
    return "champion" in version.aliases or read_history(store, version.name).champion() == version.version


def _models(client: Any, found: FoundRun) -> list[Any]:
    """Return the logged models of a run, finished or not."""
    experiment = client.get_run(found.run_id).info.experiment_id
    models: list[Any] = []
    token = None
    while True:
        page = client.search_logged_models(
            [experiment], f"source_run_id = '{found.run_id}'", max_results=50, page_token=token
        )
        models += page
        token = page.token
        if not token:
            return models


def erase(store: Any, found: FoundRun, who: str) -> Erased:
    """Erase a run: its versions, its models, itself, and their files.

    Parameters
    ----------
    store
        A `Store`.
    found
        The run, of `find_run`.
    who
        Recorded in the history of its models with the fact, and nothing of the content.

    Returns
    -------
    Erased
        Nothing of it can be loaded any more. On a server the files stay until its administrator runs ``mlflow gc``;
        `left` says so.

    Raises
    ------
    StoreError
        If it holds a history, or something could not be erased.
    """
    client = store.client
    run = client.get_run(found.run_id)
    if run.data.tags.get("trialml.kind") == HISTORY_KIND:
        raise StoreError(f"The run {found.words} holds a history, which is kept: name the run of an analysis.")
    try:
        models = _models(client, found)
        versions = _erase_versions(store, found, who)
        for model in models:
            client.delete_logged_model(model.model_id)
        client.delete_run(found.run_id)
        left = _collect(store, run, models)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"The run {found.words} is not erased whole ({type(error).__name__}): mend the cause and repeat the command."
        ) from error
    return Erased(found, versions, len(models), left)


def _erase_versions(store: Any, found: FoundRun, who: str) -> tuple[str, ...]:
    names = {one.name for one in list_versions(store.client) if one.run_id == found.run_id}
    versions = _delete_versions(store, found, "erased", f"erased by {who}")
    for name in names:
        if not list_versions(store.client, name):
            store.client.delete_registered_model(name)
    return versions


def _collect(store: Any, run: Any, models: list[Any]) -> tuple[str, ...]:
    """Take out of the store what was marked as deleted, as ``mlflow gc`` does, but nothing else that was."""
    if str(store.address).startswith(("http://", "https://", "databricks")):
        listed = ",".join(model.model_id for model in models)
        ids = f"--run-ids {run.info.run_id}" + (f" --logged-model-ids {listed}" if listed else "")
        return (f"the server keeps the files until its administrator runs: mlflow gc {ids}",)
    backend = store.client._tracking_client.store  # noqa: SLF001  (MLflow has no public way to erase)
    for place in (run.info.artifact_uri, *(model.artifact_location for model in models)):
        _delete_files(place)
    for model in models:
        backend._hard_delete_logged_model(model.model_id)  # noqa: SLF001
    backend._hard_delete_run(run.info.run_id)  # noqa: SLF001
    database = sqlite_file(store.address)
    if database is not None:
        with closing(sqlite3.connect(database, timeout=60)) as opened:
            opened.execute("VACUUM")  # sqlite keeps deleted rows in its free pages
    return ()


def _delete_files(place: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(place).delete_artifacts()
    address = urlparse(place)
    if address.scheme in ("", "file"):
        parent = Path(unquote(address.path)).parent
        with suppress(OSError):  # the folder of the run's id, once it is empty
            parent.rmdir()

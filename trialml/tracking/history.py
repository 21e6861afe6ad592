"""The history of a model's versions: a chain of small files, each with the digest of the one before it.

MLflow's tags can be edited and its aliases moved by anybody who may write to the store. The chain shows that something
was changed, left out or put in another order; it is an aid to review and no electronic signature.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialml.errors import StoreError
from trialml.tracking.local import alone
from trialml.tracking.records import safe_name

__all__ = ["EXPERIMENT", "HISTORY_KIND", "Entry", "History", "append_entry", "read_history"]

EXPERIMENT = "trialml-history"
HISTORY_KIND = "history"
"""What the tag ``trialml.kind`` of a run says that holds a history and no analysis."""
_HEAD = "trialml.history"
_LAST = "trialml.last_change"
_FOLDER = "history"
_FIRST = "0" * 64
_ABOUT = (
    "What was decided about each registered model: 'trialml history MODEL' reads it and says whether a record was changed. "
    "An aid to review, no electronic signature."
)


@dataclass(frozen=True)
class Entry:
    """One record as it was read: its number by its name, its digest, and what it says."""

    number: int
    sha256: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class History:
    """The records of a model in order, and what is wrong with their chain; `faults` is empty where nothing is."""

    model: str
    entries: tuple[Entry, ...]
    faults: tuple[str, ...]

    def champion(self) -> str | None:
        """Return the version that the records make champion, or None."""
        version = None
        for entry in self.entries:
            if "champion" in entry.content:
                version = entry.content["champion"]
        return version


def append_entry(store: Any, model: str, content: Mapping[str, Any]) -> Entry:
    """Add a record to a model's history.

    Parameters
    ----------
    store
        A `Store`.
    model
        Registered name.
    content
        What happened, in plain JSON types; a key ``champion`` says which version is champion from now on. Number, time
        and the digest of the record before are added.

    Returns
    -------
    Entry
        As written.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    client = store.client
    try:
        with _in_turn(store):
            run_id = _run_of(store, model) or _new_run(store, model)
            head, numbers = _head(client, run_id), _numbers(client, run_id)
            # After a loss of the last records the next one gets a number above theirs, so that the gap stays to be seen.
            number = max([head[0], *numbers]) + 1
            previous = _read(client, run_id, number - 1).sha256 if number - 1 in numbers else head[1]
            at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            whole = {"number": number, "at": at, "model": model, **content, "previous": previous}
            text = json.dumps(whole, indent=1, allow_nan=False) + "\n"
            digest = hashlib.sha256(text.encode()).hexdigest()
            client.log_text(run_id, text, f"{_FOLDER}/{number:06d}.json")
            client.set_tag(run_id, _HEAD, f"{number} {digest}")
            with suppress(Exception):  # the model may have been erased
                client.set_registered_model_tag(model, _HEAD, f"{number} {digest}")
                client.set_registered_model_tag(model, _LAST, _in_words(whole))
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"The history of '{model}' cannot be written ({type(error).__name__}): see whether the artifact store has room "
            "and may be written to."
        ) from error
    return Entry(number, digest, whole)


def _in_words(content: Mapping[str, Any]) -> str:
    """Say a record in words for the model's page, where the number and sha256 of `trialml.history` tell a reader nothing."""
    what = [f"version {content['version']}"] if content.get("version") is not None else []
    by = [f"by {content['who']}"] if content.get("who") else []
    done = " ".join([*what, str(content.get("action", "changed")), *by])
    return f"{content['at'][:10]}: {done} (record {content['number']}; all of them: trialml history {content['model']})"


def read_history(store: Any, model: str) -> History:
    """Read a model's history and check its chain.

    Parameters
    ----------
    store, model
        As of `append_entry`.

    Returns
    -------
    History
        Empty for a model without any.
    """
    run_id = _run_of(store, model)
    heads = [_registered_head(store.client, model)]
    entries: list[Entry] = []
    if run_id is not None:
        heads.append(_head(store.client, run_id))
        entries = [_read(store.client, run_id, number) for number in _numbers(store.client, run_id)]
    return History(model, tuple(entries), tuple(_faults(entries, heads)))


def _faults(entries: list[Entry], heads: list[tuple[int, str]]) -> Iterator[str]:
    """Say what is wrong, entry by entry: a record is right when the next one, or the tag of the last, knows its digest."""
    before, wanted = _FIRST, 1
    for entry in entries:
        said = entry.content
        if not said:
            yield f"entry {entry.number} cannot be read as a record"
        elif said.get("number") != entry.number:
            yield f"entry {entry.number} says that it is number {said.get('number')}: it was moved"
        if entry.number != wanted:
            missing = (
                f"entry {wanted} is" if entry.number == wanted + 1 else f"entries {wanted} to {entry.number - 1} are"
            )
            yield f"{missing} missing"
        elif said and said.get("previous") != before:
            where = f"entry {entry.number - 1} was changed after entry {entry.number} was written" if wanted > 1 else ""
            yield where or "entry 1 does not begin a chain: earlier ones were taken out"
        before, wanted = entry.sha256, entry.number + 1
    last = (entries[-1].number, entries[-1].sha256) if entries else (0, _FIRST)
    for number, _ in sorted(set(heads) - {(0, _FIRST), last}):
        if number > last[0]:
            yield f"entry {number} is missing at the end: the store says that it was written"
        elif number == last[0]:
            yield f"entry {number} was changed after it was written: the store knows another digest"
        else:
            yield (
                f"entry {last[0]} is not known to the store, which says that entry {number} was the last: it was added by hand, "
                "or the process that wrote it was killed"
            )


def _numbers(client: Any, run_id: str) -> list[int]:
    found = (re.fullmatch(rf"{_FOLDER}/(\d+)\.json", item.path) for item in client.list_artifacts(run_id, _FOLDER))
    return sorted(int(one[1]) for one in found if one is not None)


def _read(client: Any, run_id: str, number: int) -> Entry:
    with tempfile.TemporaryDirectory(prefix="trialml-") as folder:
        stored = Path(client.download_artifacts(run_id, f"{_FOLDER}/{number:06d}.json", folder)).read_bytes()
    try:
        content = json.loads(stored)
    except ValueError:
        content = {}
    return Entry(number, hashlib.sha256(stored).hexdigest(), content if isinstance(content, dict) else {})


def _head(client: Any, run_id: str) -> tuple[int, str]:
    return _parsed(client.get_run(run_id).data.tags.get(_HEAD, ""))


def _registered_head(client: Any, model: str) -> tuple[int, str]:
    """Return what the registered model's own tag says: a second witness, where the model is still there."""
    with suppress(Exception):
        return _parsed(client.get_registered_model(model).tags.get(_HEAD, ""))
    return 0, _FIRST


def _parsed(words: str) -> tuple[int, str]:
    found = re.fullmatch(r"(\d+) ([0-9a-f]{64})", words)
    return (int(found[1]), found[2]) if found else (0, _FIRST)


def _run_of(store: Any, model: str) -> str | None:
    """Return the run that holds a model's history: it outlives the model."""
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    named = f"tags.`trialml.model` = '{safe_name(model)}'"
    found = store.client.search_runs(
        [experiment.experiment_id], named, max_results=1, order_by=["attributes.start_time ASC"]
    )
    return str(found[0].info.run_id) if found else None


def _new_run(store: Any, model: str) -> str:
    experiment_id = store.experiment(EXPERIMENT, _ABOUT)
    name = safe_name(model)
    tags = {"trialml.kind": HISTORY_KIND, "trialml.model": name, "mlflow.note.content": _ABOUT}
    run_id = str(store.client.create_run(experiment_id, run_name=name, tags=tags).info.run_id)
    store.client.set_terminated(run_id, "FINISHED")
    return run_id


@contextmanager
def _in_turn(store: Any) -> Iterator[None]:
    """Let one process of this machine write at a time; on a server two machines could still take one number.

    Then the later record stands in the place of the earlier, and the digest that the store keeps, or the next record, tells.
    """
    lock = store.lock
    if lock is None:
        name = hashlib.sha256(store.address.encode()).hexdigest()[:16]
        lock = Path(tempfile.gettempdir()) / f"trialml-{name}.lock"
    with alone(lock):
        yield

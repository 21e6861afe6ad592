"""Runs that could not be sent: kept as files beside the reports, and sent later."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trialml.errors import StoreError
from trialml.result import Result
from trialml.tracking.process import RUN_MARK
from trialml.tracking.reasons import without_login
from trialml.tracking.records import Dataset, ModelInput, ModelVersion, TrackedRun, slug
from trialml.tracking.runs import FoundRun, close_attempt

__all__ = ["SPOOL", "Spooled", "keep", "kept_runs", "send"]

SPOOL = "spool"
"""Folder of the output folder."""
_OLD_MARK = "trialml.spooled"  # of runs that were kept before every run had a mark
_FORMAT = 1
_UNFINISHED = "."


@dataclass(frozen=True)
class Spooled:
    """A kept run: its folder, and the address that it could not be sent to (without a login; empty for a local store)."""

    folder: Path
    address: str
    run: TrackedRun


def keep(run: TrackedRun, out: Path, uri: str | None) -> Path:
    """Keep a run that could not be sent, whole or not at all.

    Parameters
    ----------
    run
        What was to be logged.
    out
        The output folder.
    uri
        Where it should have gone; None for the local store.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    spool = out / SPOOL
    unfinished: Path | None = None
    try:
        spool.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=spool, prefix=_UNFINISHED))
        state = _written(run, unfinished, without_login(uri or ""))
        (unfinished / "run.json").write_text(json.dumps(state, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        folder = spool / f"{slug(run.run_name)}-{slug(run.experiment)}-{run.mark[:8]}"
        unfinished.replace(folder)
    except OSError as error:
        raise StoreError(
            f"The run '{run.run_name}' cannot be kept in '{spool}' ({error.strerror}): make room and run again."
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _written(run: TrackedRun, folder: Path, address: str) -> dict[str, Any]:
    """Write a run's files to a folder, and return the rest in plain JSON types."""
    for place, path in run.files.items():
        target = folder / "files" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    model = None
    if run.model is not None:
        (folder / "model").mkdir()
        run.model.write(folder / "model")
        # Its function is bound to the fitted model, which a copy would copy too.
        model = {name: value for name, value in asdict(replace(run.model, write=_nothing)).items() if name != "write"}
    return {
        "format": _FORMAT,
        "address": address,
        "experiment": run.experiment,
        "run_name": run.run_name,
        "description": run.description,
        "params": dict(run.params),
        "tags": {**run.tags, RUN_MARK: run.mark},
        "results": [result.to_dict() for result in run.results],
        "dataset": asdict(run.dataset),
        "files": sorted(run.files),
        "texts": dict(run.texts),
        "model": model,
    }


def _nothing(folder: Path) -> None:
    """Write nothing."""


def kept_runs(out: Path) -> Iterator[Spooled]:
    """Return the kept runs of an output folder, the oldest name first.

    Raises
    ------
    StoreError
        If one is not what this version of trialml writes; it is left as it is.
    """
    spool = out / SPOOL
    for folder in sorted(spool.iterdir()) if spool.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith(_UNFINISHED):
            try:
                yield _read(folder)
            except (AttributeError, ImportError, KeyError, OSError, TypeError, ValueError) as error:
                raise StoreError(
                    f"'{folder.name}' in '{spool}' is no kept run that this version of trialml reads "
                    f"({type(error).__name__}): it is left as it is; take it out to send the others."
                ) from error


def _read(folder: Path) -> Spooled:
    state = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if state["format"] != _FORMAT:
        message = f"format {state['format']!r}"
        raise ValueError(message)
    model = state["model"]
    if model is not None:
        inputs = [ModelInput(**one) for one in model.pop("inputs")]
        outputs = [(name, kind) for name, kind in model.pop("outputs")]
        model = ModelVersion(write=_copier(folder / "model"), inputs=inputs, outputs=outputs, **model)
    run = TrackedRun(
        state["experiment"],
        state["run_name"],
        state["description"],
        state["params"],
        state["tags"],
        [Result.from_dict(one) for one in state["results"]],
        Dataset(**state["dataset"]),
        model,
        {place: folder / "files" / place for place in state["files"]},
        state["texts"],
    )
    tags = state["tags"]
    return Spooled(folder, state["address"], replace(run, mark=tags.get(RUN_MARK) or tags[_OLD_MARK]))


def _copier(source: Path) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    return write


def send(store: Any, kept: Spooled) -> Any:
    """Send a kept run, then take it out of the spool.

    Parameters
    ----------
    store
        A `Store`.
    kept
        Of `kept_runs`.

    Returns
    -------
    TrackedLink or None
        None where it had been sent already and only the folder was left: a process was killed in between, or the store's last
        answer was lost.

    Raises
    ------
    TrackingError
        If it cannot be sent; it stays in the spool.
    """
    attempts = _attempts(store, kept.run)
    link = None
    if not any(one.info.status == "FINISHED" for one in attempts):
        for one in attempts:
            close_attempt(store, FoundRun(one.info.run_id, one.info.run_name or "", kept.run.experiment))
        link = store.track(kept.run)
    shutil.rmtree(kept.folder)
    with suppress(OSError):  # others are kept still
        kept.folder.parent.rmdir()
    return link


def _attempts(store: Any, run: TrackedRun) -> list[Any]:
    """Return what the store holds of the run: whole, or broken off where the store went away in the middle."""
    return list(store.client.search_runs([store.experiment(run.experiment)], f"tags.`{RUN_MARK}` = '{run.mark}'"))

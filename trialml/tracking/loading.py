"""Registered models fetched for use: their files, and whether these are still what was registered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialml.errors import ModelInputError, StoreError
from trialml.tracking.reasons import reason
from trialml.tracking.registry import MODEL_DIGEST, state_digest
from trialml.tracking.versions import RegisteredVersion, registered_version

__all__ = ["FetchedModel", "fetch_model"]


@dataclass(frozen=True)
class FetchedModel:
    """A registered version, and the folder on this machine that holds its file MLmodel."""

    version: RegisteredVersion
    folder: Path


def fetch_model(store: Any, reference: str, folder: Path) -> FetchedModel:
    """Fetch the files of a registered version.

    Parameters
    ----------
    store
        A `Store`.
    reference
        As in `registered_version`.
    folder
        Where a server's files are put; those of a store on this machine are used where they lie.

    Returns
    -------
    FetchedModel
        Its files are those that were registered, by their sha256 in the version's tag.

    Raises
    ------
    StoreError
        If there is no such version, or its files cannot be had.
    ModelInputError
        If a file is another than the one that was registered.
    """
    import mlflow.artifacts

    version = registered_version(store, reference)
    try:
        source = store.client.get_model_version_download_uri(version.name, version.version)
        # An id is looked up at the address given, not at MLflow's global one.
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=source, dst_path=None if source.startswith(("/", "file:")) else str(folder),
            tracking_uri=store.address,
        )  # fmt: skip
    except Exception as error:
        raise StoreError(
            f"The files of '{version.name}' version {version.version} cannot be had ({reason(error)}): check that the store's "
            "artifacts are there."
        ) from error
    path = Path(found)
    data = path / "data" / "stratifier"
    if not data.is_dir():
        raise StoreError(
            f"'{version.name}' version {version.version} was not registered by trialml: name another model."
        )
    registered = version.tags.get(MODEL_DIGEST)
    if registered is not None and registered != state_digest(data):
        raise ModelInputError(
            f"The file of '{version.name}' version {version.version} was changed after it was registered (its sha256 is another): "
            "it is not used; run the analysis again."
        )
    return FetchedModel(version, path)

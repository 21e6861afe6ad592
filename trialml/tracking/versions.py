"""Registered versions found by name, and what their runs hold: no number is estimated again."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialml.errors import StoreError, nearest
from trialml.result import Result

__all__ = [
    "RegisteredVersion",
    "artifact_text",
    "list_models",
    "list_versions",
    "move_champion",
    "registered_version",
    "stored_results",
    "version_with_alias",
]

_PAGE = 200


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes
    ----------
    name, version, run_id, model_id
        Where it is found; `model_id` is empty for a version that another program registered.
    aliases
        Such as ``champion``.
    tags, description
        As MLflow keeps them; line 1 of the description is the verdict.
    created_ms
        When it was registered, milliseconds since 1970.
    """

    name: str
    version: str
    run_id: str
    model_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    description: str = ""
    created_ms: int = 0

    @property
    def verdict(self) -> str:
        """Line 1 of the description."""
        return self.description.partition("\n")[0]


def registered_version(store: Any, reference: str) -> RegisteredVersion:
    """Return the version that a reference names.

    Parameters
    ----------
    store
        A `Store`.
    reference
        ``models:/NAME@alias`` or ``models:/NAME/VERSION``, with or without ``models:/``; a name alone means its champion.

    Returns
    -------
    RegisteredVersion
        With its aliases and its run.

    Raises
    ------
    StoreError
        If there is no such model, version or alias.
    """
    from mlflow.exceptions import MlflowException

    client = store.client
    found = re.fullmatch(r"(?:models:/)?(?P<name>[^/@:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))?", reference.strip())
    if found is None:
        raise StoreError(f"'{reference}' names no model: write models:/NAME@champion or models:/NAME/1.")
    name = found["name"]
    aliases = _aliases(client, name)
    version = found["version"]
    if version is None:
        alias = found["alias"] or "champion"
        if alias not in aliases:
            known = ", ".join(sorted(aliases)) or "none"
            raise StoreError(
                f"No version of '{name}' has the alias '{alias}' (aliases: {known}): name a version as models:/{name}/1."
            )
        version = aliases[alias]
    try:
        return _version(client.get_model_version(name, version), aliases)
    except MlflowException as error:
        raise StoreError(
            f"'{name}' has no version {version}: 'trialml models {name}' lists those that there are."
        ) from error


def version_with_alias(store: Any, name: str, alias: str) -> RegisteredVersion | None:
    """Return the version of a model that has an alias, or None."""
    aliases = _aliases(store.client, name)
    return _version(store.client.get_model_version(name, aliases[alias]), aliases) if alias in aliases else None


def move_champion(store: Any, found: RegisteredVersion) -> None:
    """Give a version the alias ``champion``, and take ``challenger`` from it."""
    store.client.set_registered_model_alias(found.name, "champion", found.version)
    if "challenger" in found.aliases:
        store.client.delete_registered_model_alias(found.name, "challenger")


def _aliases(client: Any, name: str) -> dict[str, str]:
    """Return the version of each alias of a model: a search of versions returns none."""
    from mlflow.exceptions import MlflowException

    try:
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise StoreError(f"There is no model '{name}'; {nearest(name, list(list_models(client)))}.") from error


def _version(entity: Any, aliases: Mapping[str, str]) -> RegisteredVersion:
    version = str(entity.version)
    return RegisteredVersion(
        entity.name,
        version,
        entity.run_id or "",
        _model_id(entity),
        tuple(sorted(alias for alias, of in aliases.items() if of == version)),
        dict(entity.tags),
        entity.description or "",
        int(entity.creation_timestamp or 0),
    )


def _model_id(entity: Any) -> str:
    """Return the id of the logged model: a local store gives it only inside the path of its files."""
    inside = re.search(r"\bm-[0-9a-f]{32}\b", entity.source or "")
    return str(entity.model_id or (inside[0] if inside else ""))


def list_models(client: Any) -> dict[str, dict[str, str]]:
    """Return the version of each alias by registered model, in pages."""
    found: dict[str, dict[str, str]] = {}
    token = None
    while True:
        page = client.search_registered_models(max_results=_PAGE, page_token=token)
        found |= {model.name: {alias: str(of) for alias, of in model.aliases.items()} for model in page}
        token = page.token
        if not token:
            return found


def list_versions(client: Any, name: str | None = None) -> list[RegisteredVersion]:
    """Return the versions of one model or of all: by name, the newest first.

    Parameters
    ----------
    client
        An ``MlflowClient``.
    name
        A registered model.

    Raises
    ------
    StoreError
        If there is no such model.
    """
    aliases = list_models(client) if name is None else {name: _aliases(client, name)}
    words = None if name is None else f"name = '{name}'"
    found, token = [], None
    while True:
        page = client.search_model_versions(words, max_results=_PAGE, page_token=token)
        found += [_version(one, aliases.get(one.name, {})) for one in page]
        token = page.token
        if not token:
            break
    return sorted(found, key=lambda one: (one.name, -int(one.version)))


def artifact_text(store: Any, run_id: str, path: str) -> str:
    """Return a text artifact of a run.

    Raises
    ------
    StoreError
        If the run has no such artifact, or it cannot be read.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="trialml-") as folder:
            return Path(store.client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8")
    except Exception as error:
        raise StoreError(
            f"The run {run_id} holds no '{path}' that can be read ({type(error).__name__}): name a run that 'trialml run' "
            "completed."
        ) from error


def stored_results(store: Any, run_id: str, chapter: str, of: type[Result] | None = None) -> list[Result]:
    """Return the results of a chapter as a run stored them.

    Parameters
    ----------
    store
        A `Store`.
    run_id
        The run.
    chapter
        Such as ``"strata"``: the folder of the run's artifacts.
    of
        Only results of this class; others are not decoded.

    Returns
    -------
    list of Result
        In the order of their file names; empty where the chapter holds none of the class.

    Raises
    ------
    StoreError
        If the run has no such chapter, or what it holds is not what this version of trialml writes.
    """
    kept = None if of is None else f"{of.__module__}:{of.__qualname__}"
    with tempfile.TemporaryDirectory(prefix="trialml-") as folder:
        try:
            paths = [item.path for item in store.client.list_artifacts(run_id, chapter) if item.path.endswith(".json")]
            texts = [
                Path(store.client.download_artifacts(run_id, path, folder)).read_text(encoding="utf-8")
                for path in paths
            ]
        except Exception as error:
            raise StoreError(
                f"The results of the run {run_id} cannot be read ({type(error).__name__}): is its artifact store there?"
            ) from error
    if not texts:
        raise StoreError(f"The run {run_id} has no results of the chapter '{chapter}': name a run that was completed.")
    try:
        stored = [json.loads(text) for text in texts]
        return [Result.from_dict(one) for one in stored if kept is None or one.get("type") == kept]
    except (AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"A result of the run {run_id} is not what this version of trialml writes ({error}): use the version that the "
            "run's tag trialml.version names."
        ) from error

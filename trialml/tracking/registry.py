"""Models in MLflow's registry: logged with their metrics, versioned, and given an alias."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from trialml.tracking.records import ModelVersion, safe_name

__all__ = ["MODEL_DIGEST", "log_model", "register", "state_digest"]

MODEL_DIGEST = "trialml.model_sha256"
"""Tag of a version, and key of the metadata in its file MLmodel: what the model's state was when it was written."""

_LONGEST_DESCRIPTION = 5000
"""PostgreSQL holds no more of a version's description or tag; sqlite would."""


_ABOUT_VERSIONS = (
    "Each version's verdict is in its own description. The alias champion names the version in use; challenger names "
    "the latest one, which waits for a review: 'trialml promote' judges it, 'trialml history' shows what was decided."
)
QUICK_TAG = "trialml.quick"


def log_model(client: Any, experiment_id: str, run_id: str, model: ModelVersion) -> str:
    """Log a model's files with its signature as an MLflow model, and tie it to its run.

    Parameters
    ----------
    client
        An ``MlflowClient``.
    experiment_id, run_id
        The run that made it.
    model
        What to log.

    Returns
    -------
    str
        The id of the logged model, which is READY only once all its files are there.
    """
    from mlflow.entities import LoggedModelOutput

    logged = client.create_logged_model(
        experiment_id=experiment_id,
        name=_name(model),
        source_run_id=run_id,
        tags=dict(model.tags),
        params={key: str(value) for key, value in model.params.items()},
        model_type="trialml",
    )
    model_id = str(logged.model_id)
    try:
        with tempfile.TemporaryDirectory(prefix="trialml-") as folder:
            saved, digest = _save(model, Path(folder), run_id, model_id)
            client.log_model_artifacts(model_id, str(saved))
            client.set_logged_model_tags(model_id, {MODEL_DIGEST: digest})
    except BaseException:
        with suppress(Exception):  # the store may be what failed
            client.finalize_logged_model(model_id, "FAILED")
        raise
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run_id, models=[LoggedModelOutput(model_id, 0)])
    return model_id


def _name(model: ModelVersion) -> str:
    """Return the name that MLflow takes for a model: it refuses a full stop there, which runs and experiments may have."""
    return safe_name(model.name).replace(".", "_")


def state_digest(folder: Path) -> str:
    """Return the sha256 of the one file that holds a model's state; of several, that of their names and digests."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    if len(files) == 1:
        return digests[0]
    named = (f"{digest}  {path.relative_to(folder).as_posix()}" for path, digest in zip(files, digests, strict=True))
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _save(model: ModelVersion, folder: Path, run_id: str, model_id: str) -> tuple[Path, str]:
    """Write the model in MLflow's layout: its own files as data, the signature, what it requires; no pickle."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model

    data, saved = folder / "stratifier", folder / "model"
    data.mkdir()
    model.write(data)
    digest = state_digest(data)
    with warnings.catch_warnings():
        # MLflow asks for type hints and examples that a model read by its own loader has no use for.
        warnings.simplefilter("ignore", UserWarning)
        mlflow.pyfunc.save_model(
            str(saved),
            loader_module=model.loader_module,
            data_path=str(data),
            mlflow_model=Model(run_id=run_id, model_id=model_id, metadata={MODEL_DIGEST: digest}),
            signature=_signature(model),
            input_example=pd.DataFrame([dict(model.example)]) if model.example else None,
            pip_requirements=list(model.requirements),
        )
    return saved, digest


def _signature(model: ModelVersion) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    # MLflow refuses whole numbers where the schema says double, and a CSV of patients is full of them. The model's
    # own contract checks every value, so numbers are declared as any.
    kinds = {"any": AnyType(), "string": DataType.string}
    inputs = Schema([ColSpec(kinds[item.kind], item.name, required=item.required) for item in model.inputs])
    outputs = Schema([ColSpec(kind, name, required=False) for name, kind in model.outputs])
    params = ParamSchema([ParamSpec(name, DataType.double, float(value)) for name, value in model.params.items()])
    return ModelSignature(inputs=inputs, outputs=outputs, params=params if model.params else None)


def register(client: Any, run_id: str, model_id: str, model: ModelVersion) -> tuple[str, str, str]:
    """Register a logged model: the first becomes ``champion``, every later one, and those of quick runs, ``challenger``.

    Parameters
    ----------
    client, run_id, model_id, model
        As in `log_model`.

    Returns
    -------
    name, version, alias : str
        Promotion of a challenger is a decision of people, not of a run; so is replacing a champion that was taken
        back. A version that cannot be given its alias is deleted again.
    """
    from mlflow.exceptions import MlflowException

    name = _name(model)
    description = model.description[:_LONGEST_DESCRIPTION]
    try:
        client.create_registered_model(name, description=_ABOUT_VERSIONS)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {**model.tags, MODEL_DIGEST: client.get_logged_model(model_id).tags[MODEL_DIGEST]}
    made = client.create_model_version(
        name, _source(client, model_id), run_id, tags=tags, description=description, model_id=model_id
    )
    version = str(made.version)
    alias = "champion" if _is_first(client, name, int(version), model) else "challenger"
    try:
        client.set_registered_model_alias(name, alias, version)
    except BaseException:
        with suppress(Exception):
            client.delete_model_version(name, version)
        raise
    # Without these the model's own page says that it is in no registry, and nothing of how good it is.
    versions = json.dumps([{"name": name, "version": int(version)}])
    client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions, "mlflow.note.content": description})
    return name, version, alias


def _is_first(client: Any, name: str, version: int, model: ModelVersion) -> bool:
    """Return whether this is the first version that counts: those of quick runs do not, erased ones do."""
    if model.tags.get(QUICK_TAG) == "true":
        return False
    if version == 1:
        return True
    found = client.search_model_versions(f"name = '{name}' and tag.`{QUICK_TAG}` = 'true'", max_results=version)
    return len(found) == version - 1


def _source(client: Any, model_id: str) -> str:
    """Return where a logged model lies: a server wants its id, a database opened here would look it up elsewhere."""
    if str(client.tracking_uri).startswith(("http://", "https://", "databricks")):
        return f"models:/{model_id}"
    # MLflow resolves the id through its global address, which is not set, and would make a database in the
    # working folder.
    return str(client.get_logged_model(model_id).artifact_location)

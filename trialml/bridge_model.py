"""What a tracked model carries into a trial design: its version, its evidence, and the study that it comes from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trialml.bridge_table import BridgeTable
from trialml.config import Study, read_study
from trialml.design.not_planned import NotPlanned
from trialml.design.response_evidence import ResponseEvidence
from trialml.design.risk_evidence import RiskEvidence
from trialml.errors import AnalysisError, StudyFileError
from trialml.strata.wording import StrataWording
from trialml.tracking.loading import fetch_model
from trialml.tracking.registry import MODEL_DIGEST
from trialml.tracking.store import Store
from trialml.tracking.versions import RegisteredVersion, artifact_text, registered_version, stored_results

__all__ = ["TrackedModel", "load_model", "refuse_another_endpoint", "refuse_unvalidated", "unneeded_override"]


@dataclass(frozen=True)
class TrackedModel:
    """A registered version with what its run stored for a design.

    Attributes
    ----------
    version
        Name, number, aliases, tags and run.
    kind
        Whether the model is of the response or of the risk.
    evidence
        What the design rests on; it names the version.
    study
        The study file as that run had it.
    wording
        The strata in words, of a response model.
    experiment_id
        Of the version's run.
    """

    version: RegisteredVersion
    kind: Literal["response", "risk"]
    evidence: ResponseEvidence | RiskEvidence
    study: Study
    wording: StrataWording | None
    experiment_id: str = ""

    @property
    def label(self) -> str:
        """Name and version in words."""
        return f"{self.version.name} version {self.version.version}"

    @property
    def data_sha256(self) -> str:
        """The digest of the data that the model was learned from."""
        return self.evidence.data_sha256


def load_model(store: Store, address: str) -> TrackedModel:
    """Load a version's evidence, and see that it is that of the version.

    Parameters
    ----------
    store
        An open store.
    address
        ``models:/NAME@alias`` or ``models:/NAME/VERSION``.

    Raises
    ------
    StoreError
        If there is no such model, alias or version, or its run cannot be read.
    AnalysisError
        If the run holds no evidence, or evidence of other data, of another endpoint or of another study.
    ModelInputError
        If the model's file was changed after it was registered.
    """
    version = registered_version(store, address)
    tracked = store.client.get_run(version.run_id)
    run = tracked.data
    evidence = _evidence(store, version, run.tags)
    _refuse_foreign(evidence, version, run)
    with tempfile.TemporaryDirectory(prefix="trialml-") as folder:
        # The protocol names the model as its rule: a file that was changed after it was registered is another rule.
        if MODEL_DIGEST in version.tags:
            fetch_model(store, address, Path(folder) / "model")
        path = Path(folder) / "study.toml"
        path.write_text(artifact_text(store, version.run_id, "study.toml"), encoding="utf-8")
        study = read_study(path)
    kind: Literal["response", "risk"] = "response" if isinstance(evidence, ResponseEvidence) else "risk"
    wording = stored_results(store, version.run_id, "strata", StrataWording) if kind == "response" else []
    first = next((one for one in wording if isinstance(one, StrataWording)), None)
    return TrackedModel(version, kind, evidence, study, first, str(tracked.info.experiment_id))


def _evidence(store: Store, version: RegisteredVersion, tags: dict[str, str]) -> ResponseEvidence | RiskEvidence:
    """Return the evidence that the version's run stored, with the version's number."""
    listed = {item.path for item in store.client.list_artifacts(version.run_id, "design")}
    kinds: tuple[type[ResponseEvidence | RiskEvidence], ...] = (ResponseEvidence, RiskEvidence)
    for kind in kinds if listed else ():
        for found in stored_results(store, version.run_id, "design", kind):
            if isinstance(found, kind):
                return _named(found, version)
    refused = stored_results(store, version.run_id, "design", NotPlanned) if listed else []
    for found in refused:
        if isinstance(found, NotPlanned) and found.what in {kind.title for kind in kinds}:
            raise AnalysisError(
                f"'{version.name}' version {version.version} carries nothing into a design, as its run says: {found.reason}"
            )
    by = tags.get("trialml.version", "another program")
    raise AnalysisError(
        f"the run of '{version.name}' version {version.version} holds no evidence for a design (it was written by trialml {by}): run the study again with this version and name the new one"
    )


def _named(found: ResponseEvidence | RiskEvidence, version: RegisteredVersion) -> ResponseEvidence | RiskEvidence:
    """Return the evidence under the version's name and number, that of the other rules too: one of them may be taken."""
    names = {"model_name": version.name, "model_version": version.version}
    if isinstance(found, RiskEvidence):
        return found.replaced(**names)
    return found.replaced(**names, other_rules=tuple(one.replaced(**names) for one in found.other_rules))


def _refuse_foreign(evidence: ResponseEvidence | RiskEvidence, version: RegisteredVersion, run: Any) -> None:
    """Refuse evidence that does not belong to the version: artifacts and tags can be edited in MLflow."""
    for other in evidence.other_rules if isinstance(evidence, ResponseEvidence) else ():
        _refuse_foreign(other, version, run)
    asked = {
        "data": (evidence.data_sha256, run.params.get("cohort.sha256")),
        "registered data": (evidence.data_sha256, version.tags.get("trialml.cohort_sha256")),
        "endpoint": (evidence.endpoint.name, run.tags.get("trialml.endpoint")),
        "study": (evidence.trial, run.tags.get("trialml.study")),
    }
    for what, (own, recorded) in asked.items():
        if recorded is not None and own != recorded:
            raise AnalysisError(
                f"the evidence stored with '{version.name}' version {version.version} is not its own: its {what} is '{own[:12]}', but the "
                f"run says '{recorded[:12]}': do not use this version, run the study again"
            )


def refuse_another_endpoint(model: TrackedModel, study: Study, name: str) -> None:
    """Refuse a model of another endpoint or scale than that of the study file that asks for the design.

    Parameters
    ----------
    model
        What was loaded.
    study
        The study file.
    name
        What the file is called.

    Raises
    ------
    StudyFileError
        If the endpoint's name, its kind (and so the scale of the effect), or the unit of a continuous one differs.
    """
    own, asked = model.evidence.endpoint, study.endpoint
    pairs = {
        "kind of endpoint": (own.kind, asked.kind),
        "endpoint": (own.name, asked.name),
        "unit": (own.unit, asked.unit) if asked.kind == "continuous" else ("", ""),
    }
    for what, (seen, wanted) in pairs.items():
        if seen != wanted:
            raise StudyFileError(
                f"{name}: the design is for the {what} '{wanted}', but {model.label} is of the {what} '{seen}' "
                f"(scale: {own.scale}): name a model of the same endpoint in [design.bridge] from."
            )


def refuse_unvalidated(model: TrackedModel, asked: BridgeTable) -> str:
    """Refuse a model that failed its validation, unless it is overridden by name.

    Returns
    -------
    str
        What page one of the report must say; empty where the model passed.

    Raises
    ------
    AnalysisError
        If the model failed and no reason to use it is given.
    """
    found = model.evidence.validation
    refused = model.version.tags.get("trialml.review") in ("refused", "rejected")
    if found.passed and not refused:
        return ""
    failed = ", ".join([*found.failed, *(["it was refused by its reviewer"] if refused else [])])
    if asked.override_validation is None:
        raise AnalysisError(
            f"{model.label} failed its validation ({failed}): use another version, or say why with --override-validation "
            '"REASON", which the report prints on page one'
        )
    return (
        f"{model.label} FAILED ITS VALIDATION ({failed}). It is used all the same, for this stated reason: "
        f"{asked.override_validation.rstrip('.')}."
    )


def unneeded_override(model: TrackedModel, asked: BridgeTable, overridden: str) -> str:
    """Return what is said of a reason to override the validation of a model that passed it; empty where none was given or one was needed.

    Parameters
    ----------
    model, asked
        As of `refuse_unvalidated`.
    overridden
        What it returned.
    """
    if overridden or asked.override_validation is None:
        return ""
    return (
        f"{model.label} passed its validation, so that nothing is overridden: the reason given with override_validation "
        f"({asked.override_validation.rstrip('.')}) was not needed."
    )

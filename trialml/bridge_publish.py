"""Write a design that rests on a tracked model, and track it: a folder with report, protocol text and results, and a run of its own."""

from __future__ import annotations

import datetime as dt
import json
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialml import __version__
from trialml.bridge_words import describe, limitations_of_design, notes_of, summarise_design, title_of
from trialml.design_from_model import DesignedFromModel
from trialml.errors import OutputError
from trialml.publish import package_versions, settle
from trialml.report.document import Document, assemble
from trialml.report.figures import svg_of
from trialml.report.html import write as write_html
from trialml.tracking.design_links import link_design
from trialml.tracking.reasons import without_login
from trialml.tracking.records import Dataset, TrackedRun
from trialml.tracking.store import Store, TrackedLink

__all__ = ["PublishedDesign", "publish_design", "track_design"]

REPORT, PROTOCOL = "report.html", "protocol.md"
_PACKAGES = ("numpy", "scipy", "numba", "pandas", "matplotlib", "mlflow")


@dataclass(frozen=True)
class PublishedDesign:
    """A finished design report: its folder, name and digest."""

    folder: Path
    name: str
    report_sha256: str

    @property
    def report(self) -> Path:
        """The report's path."""
        return self.folder / REPORT


def publish_design(designed: DesignedFromModel, out: Path, command: Sequence[str]) -> PublishedDesign:
    """Write the folder of a design, whole or not at all, under a name of its own.

    Parameters
    ----------
    designed
        What was designed.
    out
        The output folder.
    command
        The command line, for the last chapter.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    created = dt.datetime.now(dt.UTC).replace(microsecond=0)
    name = f"{designed.model.study.study.name}-design-{created:%Y%m%d-%H%M%S}"
    document = _document(designed, created.isoformat(), command)
    unfinished: Path | None = None
    try:
        unfinished = Path(tempfile.mkdtemp(dir=out, prefix=".unfinished-"))
        unfinished.chmod(0o755)
        digest = write_html(document, unfinished / REPORT)
        stored = json.dumps(document.to_dict(), indent=1, allow_nan=False) + "\n"
        for file, content in {"results.json": stored, PROTOCOL: designed.protocol}.items():
            if content:
                (unfinished / file).write_text(content, encoding="utf-8")
        folder = settle(unfinished, out, name)
    except (OSError, OutputError) as error:
        cause = error.__cause__ if isinstance(error, OutputError) else error
        raise OutputError(
            f"The design report cannot be written to '{out}' ({getattr(cause, 'strerror', None) or cause}): make room or choose another --out."
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return PublishedDesign(folder, folder.name, digest)


def _document(designed: DesignedFromModel, created: str, command: Sequence[str]) -> Document:
    model, study = designed.model, designed.model.study
    return assemble(
        designed.results,
        title=title_of(designed),
        study=f"{study.study.name}-design",
        subtitle=f"From {model.label}, learned from data with sha256 {model.data_sha256[:12]}",
        created=created,
        estimand=study.estimand.model_dump(),
        summary=summarise_design(designed),
        leads={"design": designed.lead},
        notes=notes_of(designed),
        defaults=[(f"design.bridge.{name}", value) for name, value in designed.defaults],
        limitations=limitations_of_design(designed),
        reproduce={
            "model": f"models:/{model.version.name}/{model.version.version}",
            "model_run": model.version.run_id,
            "data_sha256": model.data_sha256,
            "seed": designed.asked.seed,
            "settings": {name: str(value) for name, value in designed.assumed.items()},
            "versions": {"trialml": __version__, "python": platform.python_version(), **package_versions(_PACKAGES)},
            "commands": [without_login(" ".join(command))],
        },
    )


def track_design(designed: DesignedFromModel, published: PublishedDesign, store: Store) -> TrackedLink:
    """Log the design as a run of its own, and tie it to the version that it rests on.

    Parameters
    ----------
    designed, published
        The design and its folder.
    store
        The store that the model was loaded from.

    Raises
    ------
    TrackingError
        If it cannot be logged; the report stands.
    """
    link = store.track(_run(designed, published, store))
    link_design(store, designed.model.version, link)
    return link


def _run(designed: DesignedFromModel, published: PublishedDesign, store: Store) -> TrackedRun:
    model, study = designed.model, designed.model.study
    folder, version = published.folder, model.version
    texts = {"report/results.json": (folder / "results.json").read_text(encoding="utf-8")}
    if designed.protocol:
        texts[PROTOCOL] = designed.protocol
    return TrackedRun(
        experiment=f"{study.study.name}/design",
        run_name=published.name.removeprefix(f"{study.study.name}-design-"),
        description=describe(designed),
        params={
            "model.name": version.name,
            "model.version": version.version,
            "model.run_id": version.run_id,
            "cohort.sha256": model.data_sha256,
            **{f"design.{name}": str(value) for name, value in designed.assumed.items()},
            "seed": str(designed.asked.seed),
        },
        tags={
            "trialml.kind": "design",
            "trialml.study": study.study.name,
            "trialml.endpoint": model.evidence.endpoint.name,
            "trialml.cohort": model.data_sha256[:12],
            "trialml.model": version.name,
            "trialml.model_version": version.version,
            "trialml.model_run": version.run_id,
            "trialml.review": "pending",
            "trialml.report_sha": published.report_sha256[:12],
            "trialml.version": __version__,
            **(
                {"trialml.override_validation": designed.asked.override_validation or ""} if designed.overridden else {}
            ),
        },
        results=designed.results,
        dataset=_dataset(designed, store),
        files={"report/index.html": folder / REPORT},
        texts=texts,
        picture=svg_of,
    )


def _dataset(designed: DesignedFromModel, store: Store) -> Dataset:
    """Return the data that the model was learned from, as its run has it."""
    model = designed.model
    params: dict[str, Any] = store.client.get_run(model.version.run_id).data.params
    return Dataset(
        params.get("cohort.name", model.study.study.name),
        model.study.data.source,
        model.data_sha256,
        int(params.get("cohort.n", 0)),
        int(params.get("cohort.events", 0)),
    )

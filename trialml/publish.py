"""Write the report and track the runs: what leaves an analysis, and nothing else does."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trialml import __version__
from trialml.analysis import Analysis, Subject
from trialml.errors import OutputError, StoreError, TrackingError
from trialml.models import EXTRAS
from trialml.report.document import Document, assemble
from trialml.report.figures import svg_of
from trialml.report.html import write as write_html
from trialml.reporting_checklists import reporting_checklists
from trialml.result import Result
from trialml.run_params import counted_events, run_params
from trialml.stratifier import Stratifier
from trialml.summary import QUICK
from trialml.tracking.records import Dataset, ModelInput, ModelVersion, TrackedRun
from trialml.tracking.spool import SPOOL, keep
from trialml.tracking.store import TrackedLink, open_store, without_login
from trialml.verdicts import Verdicts
from trialml.wording import chapter_leads, intended_use, limitations, run_verdicts, summarise

__all__ = ["Published", "package_versions", "prepare_output", "publish", "settle", "track"]

_PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "shap", "lifelines", "statsmodels", "matplotlib", "mlflow")
_SCORING = ("numpy", "pandas", "scipy", "scikit-learn")
_SUBJECTS: tuple[Subject, ...] = ("risk", "response")
REPORT = "report.html"


@dataclass(frozen=True)
class Published:
    """A finished report: its folder, the run's name, and the digest of the report."""

    folder: Path
    name: str
    report_sha256: str
    environment: str
    lineage: str
    card: Mapping[str, str]

    @property
    def report(self) -> Path:
        """The report's path."""
        return self.folder / REPORT


def prepare_output(out: Path) -> None:
    """Make the output folder and see that it can be written to, before anything is computed.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out, prefix=".trialml-"):
            pass
    except OSError as error:
        raise OutputError(
            f"The output folder '{out}' cannot be written ({error.strerror}): choose another with --out."
        ) from error


def publish(analysis: Analysis, out: Path, command: Sequence[str]) -> Published:
    """Write the report's folder under a name of its own, whole or not at all.

    Parameters
    ----------
    analysis
        A finished analysis.
    out
        The output folder.
    command
        The command line that made it, for the last chapter.

    Returns
    -------
    Published
        The folder, which no other run will overwrite.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    created = dt.datetime.now(dt.UTC).replace(microsecond=0)
    name = f"{analysis.study.study.name}-{created:%Y%m%d-%H%M%S}" + ("-quick" if analysis.quick else "")
    environment = _environment()
    document = _document(analysis, created.isoformat(), command)
    cards = {subject: _card(analysis, subject) for subject in ("risk", "response")}
    unfinished: Path | None = None
    try:
        unfinished = Path(tempfile.mkdtemp(dir=out, prefix=".unfinished-"))
        unfinished.chmod(0o755)
        report_sha256 = write_html(document, unfinished / REPORT)
        lineage = _lineage(analysis, created.isoformat(), report_sha256)
        stored = json.dumps(document.to_dict(), indent=1, allow_nan=False) + "\n"
        texts = {"results.json": stored, "lineage.json": lineage, "environment.txt": environment}
        texts |= {f"model_card_{subject}.md": card for subject, card in cards.items()}
        for file, content in texts.items():
            (unfinished / file).write_text(content, encoding="utf-8")
        (unfinished / "study.toml").write_bytes(analysis.study.content)
        folder = settle(unfinished, out, name)
    except (OSError, OutputError) as error:
        cause = error.__cause__ if isinstance(error, OutputError) else error
        raise OutputError(
            f"The report cannot be written to '{out}' ({getattr(cause, 'strerror', None) or cause}): make room or choose another "
            "--out."
        ) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Published(folder, folder.name, report_sha256, environment, lineage, cards)


def settle(unfinished: Path, out: Path, name: str) -> Path:
    """Give a complete folder its final name; a name that is taken gets a number.

    Parameters
    ----------
    unfinished, out, name
        The folder, where it belongs, and what it is to be called.
    """
    number = 1
    while True:
        folder = out / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        unfinished.replace(folder)
        return folder


def _document(analysis: Analysis, created: str, command: Sequence[str]) -> Document:
    study = analysis.study
    return assemble(
        analysis.results,
        title=study.study.title,
        study=study.study.name,
        subtitle="From the data of one randomised trial to the design of the next",
        created=created,
        estimand=study.estimand.model_dump(),
        summary=summarise(analysis),
        leads=chapter_leads(analysis),
        notes=([QUICK] if analysis.quick else []) + list(study.report.notes),
        defaults=study.defaults(),
        limitations=limitations(analysis),
        checklists=reporting_checklists(analysis),
        reproduce={
            "data": study.data.source,
            "data_sha256": analysis.trial.sha256,
            "study_file_sha256": _study_sha256(analysis),
            "seed": study.study.seed,
            "versions": {"trialml": __version__, "python": platform.python_version(), **package_versions(_PACKAGES)},
            "commands": [without_login(" ".join(command))],
        },
    )


def _study_sha256(analysis: Analysis) -> str:
    return hashlib.sha256(analysis.study.content).hexdigest()


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each package that is installed, by name."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _environment() -> str:
    installed = {str(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
    lines = [f"# Python {platform.python_version()} on {sys.platform}"]
    lines += [f"{name}=={version}" for name, version in sorted(installed.items(), key=lambda pair: pair[0].lower())]
    return "\n".join(lines) + "\n"


def _lineage(analysis: Analysis, created: str, report_sha256: str) -> str:
    study = analysis.study
    steps = {
        "data": {"source": study.data.source, "sha256": analysis.trial.sha256, "patients": len(analysis.trial)},
        "study_file": {"name": study.path.name, "sha256": _study_sha256(analysis)},
        "software": {"trialml": __version__, **package_versions(_PACKAGES)},
        "seed": study.study.seed,
        "quick": analysis.quick,
        "report": {"file": REPORT, "sha256": report_sha256, "created": created},
    }
    return json.dumps(steps, indent=1) + "\n"


def track(analysis: Analysis, published: Published, out: Path, uri: str | None) -> list[TrackedLink]:
    """Log both models' runs and register both stratifiers.

    Parameters
    ----------
    analysis, published
        The finished analysis and its report.
    out
        The output folder, where the local store lives.
    uri
        Another tracking store, or None.

    Returns
    -------
    list of TrackedLink
        The risk run, then the response run.

    Raises
    ------
    TrackingError
        Saying what was not tracked; the report stands, and what was to be tracked is kept for ``trialml runs sync``.
    """
    said = run_verdicts(analysis)
    runs = [_run(analysis, published, subject, said) for subject in _SUBJECTS]
    links: list[TrackedLink] = []
    try:
        store = open_store(out, uri)
        for run in runs:
            links.append(store.track(run))  # noqa: PERF401  (of a failure the runs before it are known)
    except TrackingError as error:
        done = f" The {links[0].experiment} run was tracked." if links else ""
        raise TrackingError(f"{error}{done} {_kept(runs[len(links) :], out, uri)}") from error
    return links


def _kept(runs: Sequence[TrackedRun], out: Path, uri: str | None) -> str:
    """Keep what could not be sent, and say so."""
    try:
        for run in runs:
            keep(run, out, uri)
    except StoreError as error:
        return str(error)
    return f"What is missing is kept in '{out / SPOOL}': 'trialml runs sync --out {out}' sends it later."


def _run(analysis: Analysis, published: Published, subject: Subject, said: Verdicts) -> TrackedRun:
    study, folder = analysis.study, published.folder
    verdict = said.risk if subject == "risk" else said.response
    stratifier = analysis.risk if subject == "risk" else analysis.response
    assert stratifier is not None
    results = [result for result in analysis.results_about("trial", subject) if _belongs(result, subject)]
    params = run_params(analysis, subject)
    return TrackedRun(
        experiment=f"{study.study.name}/{subject}",
        # MLflow's list of runs shows the beginning of a name: which model it is, then when.
        run_name=f"{params['model.name']}-{published.name.removeprefix(f'{study.study.name}-')}",
        description=_description(verdict, said, results, subject),
        params=params,
        tags={
            "trialml.kind": subject,
            "trialml.study": study.study.name,
            "trialml.endpoint": study.endpoints[0].name,
            "trialml.cohort": analysis.trial.sha256[:12],
            "trialml.review": "pending",
            "trialml.report_sha": published.report_sha256[:12],
            "trialml.version": __version__,
        },
        results=results,
        files={"report/index.html": folder / REPORT, "study.toml": folder / "study.toml"},
        texts={
            "model_card.md": published.card[subject],
            "lineage.json": published.lineage,
            "environment.txt": published.environment,
            "report/results.json": (folder / "results.json").read_text(encoding="utf-8"),
        },
        dataset=_dataset(analysis),
        model=_model(analysis, stratifier, subject, verdict),
        picture=svg_of,
    )


def _belongs(result: Result, subject: Subject) -> bool:
    """The trial's description goes to both runs, its treatment effects to the response run."""
    return subject == "response" or result.chapter not in ("survival", "effects")


def _description(verdict: str, said: Verdicts, results: Sequence[Result], subject: Subject) -> str:
    headed = [f"- **{result.heading()}.** {result.text()}" for result in results if result.chapter in _TELLING[subject]]
    return "\n".join([verdict, "", f"Decision of the report: {said.decision}", "", *headed])


_TELLING: dict[str, tuple[str, ...]] = {
    "risk": ("validation",),
    "response": ("effects", "validation", "strata"),
    "trial": (),
}


def _dataset(analysis: Analysis) -> Dataset:
    trial = analysis.trial
    columns = {covariate.name: covariate.kind for covariate in trial.covariates}
    return Dataset(trial.name, trial.origin, trial.sha256, len(trial), counted_events(trial), columns)


def _model(analysis: Analysis, stratifier: Stratifier, subject: Subject, verdict: str) -> ModelVersion:
    endpoint = analysis.trial.endpoint
    timed = endpoint.kind == "time to event"
    inputs = [
        ModelInput(f.name, "any" if f.kind != "categorical" else "string", f.required)
        for f in stratifier.contract.fields
    ]
    extra = {name for one in stratifier.extras for name in EXTRAS[one]}
    versions = package_versions((*_SCORING, *sorted(extra)))
    return ModelVersion(
        name=f"{analysis.study.study.name}-{subject}",
        write=stratifier.write,
        loader_module="trialml.stratifier",
        inputs=inputs,
        outputs=stratifier.columns(),
        example=stratifier.contract.example(),
        params={"horizon": endpoint.horizon} if timed and subject == "risk" else {},
        requirements=[f"trialml=={__version__}", *(f"{name}=={version}" for name, version in versions.items())],
        description=verdict,
        tags={
            "trialml.study": analysis.study.study.name,
            "trialml.kind": subject,
            "trialml.cohort_sha256": analysis.trial.sha256,
            **({"trialml.horizon": f"{endpoint.horizon:g} {endpoint.unit}"} if timed else {}),
            **({"trialml.quick": "true"} if analysis.quick else {}),
        },
    )


def _card(analysis: Analysis, subject: Subject) -> str:
    """Return the model card: what it is for, what it rests on, how well it does, what it must not be used for."""
    study, trial = analysis.study, analysis.trial
    said = run_verdicts(analysis)
    primary = trial.only(trial.treatment.control, trial.treatment.experimental)
    stratifier = analysis.risk if subject == "risk" else analysis.response
    assert stratifier is not None
    results = [
        f"- {r.heading()}: {r.text()}"
        for r in analysis.results_about(subject)
        if r.chapter in ("validation", "strata", "models")
    ]
    return "\n".join(
        [
            f"# {study.study.name}-{subject}",
            "",
            said.risk if subject == "risk" else said.response,
            "",
            "## Use",
            "",
            intended_use(analysis, subject)
            + " For research and for planning trials; it is no medical device and no basis for treating a patient.",
            "",
            "## Data",
            "",
            f"{study.estimand.population}. Learned from the {len(primary):,} patients of the two primary arms, of {len(trial):,} in the "
            f"analysis set; data sha256 {trial.sha256}.",
            "",
            "## Inputs",
            "",
            "| column | what | type | required | seen in training (1st to 99th percentile, rounded outward) |",
            "| --- | --- | --- | --- | --- |",
            *_input_rows(stratifier),
            "",
            "## Performance",
            "",
            *results,
            "",
            "## Limits",
            "",
            *(f"- {sentence}" for sentence in limitations(analysis)),
            "",
        ]
    )


def _input_rows(stratifier: Stratifier) -> list[str]:
    """Return the inputs of a model as rows of a Markdown table."""
    return [
        f"| {f.name} | {f.label.replace('|', '/')} | {f.kind} | {'yes' if f.required else 'no, imputed'} | "
        f"{f'{f.low:g} to {f.high:g}' if f.low is not None else ', '.join(f.categories).replace('|', '/') or '0 or 1'} |"
        for f in stratifier.contract.fields
    ]

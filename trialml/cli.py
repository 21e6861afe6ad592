"""The command: one short verb for each thing that people do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialml import __version__
from trialml.errors import StudyFileError, TrackingError, TrialmlError
from trialml.terminal import one_line
from trialml.verbs_data import add_data_verbs, deidentify, init
from trialml.verbs_design import add_design_verb, design, joined_lists
from trialml.verbs_explain import add_explain_verb, explain
from trialml.verbs_models import MODEL_VERBS, PAGES, add_model_verbs
from trialml.verbs_monitor import MONITOR_VERBS, add_monitor_verb
from trialml.verbs_runs import RUN_VERBS, add_run_verbs
from trialml.verbs_scoring import SCORING_VERBS, add_scheduler_option, add_scoring_verbs

if TYPE_CHECKING:
    from trialml.config import Study
    from trialml.result import Result

__all__ = ["main"]

TRACEBACK = "TRIALML_TRACEBACK"
"""Environment variable: set, a fault of the program is shown with its traceback."""

_DATA_VERBS = {"init": init, "deidentify": deidentify, "explain": explain}
_STORE_VERBS = MODEL_VERBS | RUN_VERBS | SCORING_VERBS | MONITOR_VERBS


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trialml",
        description="From the data of one randomised trial to the design of the next.",
        epilog="Exit status: 0 done, 1 analysis refused, 2 bad usage or study file, 3 report written but not tracked.",
    )
    parser.add_argument("--version", action="version", version=f"trialml {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="analyse a trial, write the report, track the models")
    run.add_argument("study", type=Path, metavar="STUDY.toml")
    run.add_argument("--out", type=Path, default=Path("results"), help="output folder (default: results)")
    run.add_argument("--quick", action="store_true", help="few repeats and permutations, for a first look")
    run.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow tracking server (default: a database in the output folder)"
    )
    add_scheduler_option(run)
    check = verbs.add_parser("check", help="read the study file and the data, say what is wrong, fit nothing")
    check.add_argument("study", type=Path, metavar="STUDY.toml")
    add_design_verb(verbs, options=words[:1] == ["design"])
    add_data_verbs(verbs)
    add_model_verbs(verbs)
    add_run_verbs(verbs)
    add_scoring_verbs(verbs)
    add_monitor_verb(verbs)
    add_explain_verb(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Words after the command's name; those of the process by default.

    Returns
    -------
    int
        0 done, 1 analysis refused, 2 bad usage or study file, 3 report written but not tracked, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser(words).parse_args(joined_lists(words) if words[:1] == ["design"] else words)
    try:
        if asked.verb == "design":
            console = _console()
            return design(asked, console, words, _terminal_watcher(console))
        if asked.verb in _DATA_VERBS:
            return _DATA_VERBS[asked.verb](asked, _console())
        if asked.verb in _STORE_VERBS:
            return _STORE_VERBS[asked.verb](asked, _console())
        return _run(asked, words) if asked.verb == "run" else _check(asked)
    except TrialmlError as error:
        print(f"trialml: {one_line(error)}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("trialml: interrupted; nothing unfinished was kept.", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        print(f"trialml: {_fault(error)}", file=sys.stderr)
        return 1


def _fault(error: Exception) -> str:
    """Return a sentence on a fault of the program; the exception's own words may hold a patient's value."""
    import traceback

    own = [step for step in traceback.extract_tb(error.__traceback__) if "trialml" in Path(step.filename).parts]
    place = f" in {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
    return (
        f"a fault of the program ({type(error).__name__}{place}) stopped the command: report it to the "
        f"developers, with what {TRACEBACK}=1 in the environment shows."
    )


def _check(asked: argparse.Namespace) -> int:
    from trialml.check import say_check

    say_check(asked.study, _console(), _known_models)
    return 0


def _run(asked: argparse.Namespace, words: Sequence[str]) -> int:
    from trialml.config import read_study
    from trialml.publish import prepare_output, publish, track
    from trialml.study import analyse
    from trialml.tracking.store import without_login
    from trialml.validation.parallel import on_cluster
    from trialml.wording import run_verdicts

    console = _console()
    study = read_study(asked.study)
    _known_models(study)
    prepare_output(asked.out)
    console.print(study.study.title, style="bold", markup=False)
    with on_cluster(asked.scheduler):
        analysis = analyse(study, quick=asked.quick, watcher=_terminal_watcher(console))
    published = publish(analysis, asked.out, ["trialml", *words])
    console.print()
    console.print(run_verdicts(analysis).decision, style="bold", markup=False, highlight=False)
    console.print(f"Report    {published.report}", soft_wrap=True, markup=False, highlight=False)
    uri = asked.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or study.tracking.uri
    try:
        with console.status("Tracking the models in MLflow"):
            links = track(analysis, published, asked.out, uri)
    except TrackingError as error:
        print(f"trialml: the report is written, but not everything is tracked. {one_line(error)}", file=sys.stderr)
        return error.exit_status
    for link in links:
        found = f"experiments/{link.experiment_id}/runs/{link.run_id}"
        line = f"{link.model_name} version {link.model_version} ({link.alias})  run {found}"
        console.print(f"Tracked   {line}", soft_wrap=True, markup=False, highlight=False)
    store = uri or f"sqlite:///{(asked.out / 'mlflow.db').as_posix()}"
    if store.startswith("http"):
        address = f"{without_login(store).rstrip('/')}{PAGES}"
        console.print(f"Review    {address}", soft_wrap=True, markup=False, highlight=False)
    else:
        where = f"--tracking-uri {without_login(store)}" if uri else f"--out {asked.out}"
        console.print(f"Review    {_command()} ui {where}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _command() -> str:
    """Return how trialml is called from here: by name, or by its path where the environment is not active."""
    import shutil

    beside = Path(sys.executable).parent / "trialml"
    on_path = shutil.which("trialml")
    if on_path is not None and Path(on_path).resolve() == beside.resolve():
        return "trialml"
    return os.path.relpath(beside) if beside.exists() else "trialml"


def _known_models(study: Study) -> None:
    """Refuse a model's name before the data are read: it is the study file that is wrong."""
    from trialml.models import usable_model

    usable_model(study.risk_model, "risk", study.risk_kind)
    for name in study.models.risk.candidates:
        usable_model(name, "risk", study.risk_kind, key="candidates")
        if name == study.risk_model:
            raise StudyFileError(
                f"[models.risk] candidates lists '{name}', which is the model that they are compared with: take it out."
            )
    usable_model(study.models.response.model, "response", study.endpoint.kind)


def _console() -> Any:
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty())


def _say(console: Any, result: Result) -> None:
    console.print(one_line(result.heading()), style="cyan", markup=False, highlight=False)
    console.print(f"  {one_line(result.text())}", markup=False, highlight=False)


def _terminal_watcher(console: Any) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from trialml.analysis import Watcher

    class Terminal(Watcher):
        def told(self, result: Result) -> None:
            _say(console, result)

        @contextmanager
        def step(self, words: str, total: int) -> Iterator[Callable[[], None]]:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
                task = progress.add_task(words, total=total)
                yield lambda: progress.advance(task)

    return Terminal()

"""The verbs on registered models: see them, judge and promote a version, read what was decided."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialml.errors import StoreError
from trialml.terminal import say

if TYPE_CHECKING:
    from trialml.promoting import Decision
    from trialml.tracking.versions import RegisteredVersion

__all__ = ["MODEL_VERBS", "PAGES", "add_model_verbs", "add_store_options", "address_of", "store_of"]

PAGES = "/#/experiments?workflowType=machine_learning"
"""What follows the address of MLflow's pages; without the query they open in another mode."""


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where the tracked runs are."""
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="output folder that holds the store (default: results)"
    )
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow tracking server or database instead")


def address_of(asked: argparse.Namespace) -> str | None:
    """Return the address of the tracking store that was asked for; None for the one in the output folder."""
    return asked.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None


def store_of(asked: argparse.Namespace) -> Any:
    """Open the store that the options of `add_store_options` name.

    Raises
    ------
    StoreError
        If there is none, or it cannot be used.
    """
    from trialml.tracking.store import existing_store

    return existing_store(asked.out, address_of(asked))


def add_model_verbs(verbs: Any) -> None:
    """Add the parsers of the verbs to the command's."""
    ui = verbs.add_parser("ui", help="open MLflow's pages on the tracked runs")
    add_store_options(ui)
    ui.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    ui.add_argument("--port", type=int, default=5000, help="port to listen on (default: 5000)")
    models = verbs.add_parser("models", help="list registered models: versions, aliases, verdicts")
    models.add_argument("model", nargs="?", metavar="MODEL", help="all versions of this model")
    add_store_options(models)
    promote = verbs.add_parser(
        "promote",
        help="make a version champion, if the promotion policy allows it; the decision is recorded",
        epilog="Exit status: 0 promoted, 1 refused.",
    )
    promote.add_argument("model", metavar="MODEL")
    promote.add_argument("version", metavar="VERSION")
    promote.add_argument("--reason", required=True, metavar="WORDS", help="why, in a sentence")
    promote.add_argument("--who", metavar="NAME", help="the reviewer (default: the name of the login)")
    promote.add_argument(
        "--policy", type=Path, metavar="FILE.toml", help="another policy than the one shipped with trialml"
    )
    add_store_options(promote)
    history = verbs.add_parser(
        "history",
        help="what was decided about a model, and whether the record is whole",
        epilog="The record is an aid to review; it is no electronic signature (21 CFR Part 11).",
    )
    history.add_argument("model", metavar="MODEL")
    add_store_options(history)


def ui(asked: argparse.Namespace, console: Any) -> int:
    """Serve MLflow's pages until interrupted; of a server, say its address."""
    from trialml.tracking.reasons import without_login

    uri = address_of(asked)
    if uri is not None and uri.startswith(("http://", "https://")):
        say(console, f"Review    {without_login(uri).rstrip('/')}{PAGES}")
        return 0
    store = store_of(asked)
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((asked.host, asked.port))
        except (OSError, OverflowError) as error:
            raise StoreError(
                f"'{asked.host}' port {asked.port} cannot be listened on ({error}): choose another with --port."
            ) from error
    if asked.host not in ("127.0.0.1", "localhost", "::1"):
        say(console, f"MLflow's pages have no login: whoever reaches {asked.host} can read and change everything.")
    say(console, f"Review    http://{asked.host}:{asked.port}{PAGES}")
    say(console, "          until you press Ctrl-C")
    # -P: a folder mlflow/ in the working folder must not be taken for the package.
    words = [sys.executable, "-P", "-m", "mlflow", "ui", "--backend-store-uri", store.address]
    words += ["--host", asked.host, "--port", str(asked.port), "--workers", "1"]
    if store.artifacts is not None:
        words += ["--default-artifact-root", store.artifacts]
    return until_stopped(words)


def until_stopped(words: Sequence[str]) -> int:
    """Run a program until it ends or this one is stopped, and take all that it started with it.

    Parameters
    ----------
    words
        The program and its words.

    Returns
    -------
    int
        Its exit status; 0 where it was stopped.
    """
    # A group of its own: MLflow's server is a child of the program that is started here, and outlives it otherwise.
    process = subprocess.Popen(words, start_new_session=True)  # noqa: S603  (this interpreter, and no shell)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        return process.wait()
    except (KeyboardInterrupt, SystemExit):
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def models(asked: argparse.Namespace, console: Any) -> int:
    """List models, or the versions of one."""
    from trialml.tracking.versions import list_versions

    found = list_versions(store_of(asked).client, asked.model)
    if not found:
        say(console, "There are no registered models yet: 'trialml run' registers two.")
    if asked.model is not None:
        for one in found:
            _say_version(console, one)
        return 0
    for name in sorted({one.name for one in found}):
        own = [one for one in found if one.name == name]
        say(console, f"{name}  ({len(own)} version{'' if len(own) == 1 else 's'})", style="bold")
        for one in [one for one in own if one.aliases] or own[:1]:
            _say_version(console, one)
    return 0


def _say_version(console: Any, found: RegisteredVersion) -> None:
    made = dt.datetime.fromtimestamp(found.created_ms / 1000, dt.UTC)
    review = found.tags.get("trialml.review", "pending")
    alias = f"  {', '.join(found.aliases)}" if found.aliases else ""
    say(console, f"  version {found.version}{alias}  run {found.run_id}  {made:%Y-%m-%d %H:%M} UTC  review: {review}")
    say(console, f"    {found.verdict or '(no verdict)'}")


def promote(asked: argparse.Namespace, console: Any) -> int:
    """Judge a version, and make it champion if the policy allows it."""
    from trialml.promoting import promote as promoted
    from trialml.promotion_policy import read_policy
    from trialml.tracking.process import user_name

    policy = read_policy(asked.policy)
    who = asked.who if asked.who is not None else user_name()
    decision = promoted(store_of(asked), asked.model, asked.version, reason=asked.reason, who=who, policy=policy)
    _say_decision(console, decision)
    if decision.version.tags.get("trialml.kind") == "response":
        limit = policy.response.maximum_heterogeneity_p_to_claim_subgroups
        say(
            console,
            f"The strata describe, and claim no subgroup, unless metric effects/heterogeneity_p is at most {limit:g}.",
        )
    return 0 if decision.promoted else 1


def _say_decision(console: Any, decision: Decision) -> None:
    for one in decision.criteria:
        say(console, f"{'met      ' if one.met else 'NOT MET  '} {one.key}: {one.asked}; seen {one.seen} ({one.where})")
    found, before = decision.version, decision.previous_champion
    if decision.promoted:
        after = f" after version {before}" if before else ""
        said = f"'{found.name}' version {found.version} is champion{after}"
    else:
        kept = f"version {before} stays champion" if before else "there is no champion"
        said = f"'{found.name}' version {found.version} is not promoted; {kept}"
    recorded = f" (entry {decision.entry} of its history)" if decision.entry else ""
    say(console, f"{said}{recorded}.", style="bold")


def history(asked: argparse.Namespace, console: Any) -> int:
    """Show a model's history; a broken chain, or an alias that was moved outside it, is exit status 1."""
    from trialml.tracking.history import read_history
    from trialml.tracking.versions import list_models

    store = store_of(asked)
    found = read_history(store, asked.model)
    aliases = list_models(store.client)
    if not found.entries and not found.faults:
        if asked.model not in aliases:
            from trialml.errors import nearest

            raise StoreError(f"There is no model '{asked.model}'; {nearest(asked.model, aliases)}.")
        say(console, "There is no record: the versions were registered before records were kept.")
    for entry in found.entries:
        _say_entry(console, entry.number, dict(entry.content))
    faults = list(found.faults)
    now, recorded = aliases.get(asked.model, {}).get("champion"), found.champion()
    if found.entries and now != recorded:
        faults.append(
            f"champion is {f'version {now}' if now else 'no version'}, but the record says "
            f"{f'version {recorded}' if recorded else 'none'}: the alias was moved by hand"
        )
    for fault in faults:
        say(console, f"BROKEN  {fault}", style="bold red")
    if found.entries and not faults:
        say(
            console,
            f"The chain of {len(found.entries)} entries is whole. It aids review; it is no electronic signature.",
        )
    return 1 if faults else 0


def _say_entry(console: Any, number: int, said: dict[str, Any]) -> None:
    version = f" version {said['version']}" if said.get("version") else ""
    say(console, f"{number}  {said.get('at', '?')}  {said.get('action', '?')}{version}  by {said.get('who') or '?'}")
    if "champion" in said and said.get("action") != "promoted":
        now = said["champion"]
        say(console, f"   champion: {f'version {now}' if now else 'none'}")
    if said.get("reason"):
        say(console, f"   {said['reason']}")
    unmet = [one for one in said.get("criteria", ()) if not one.get("met")]
    for one in unmet:
        say(console, f"   not met: {one['key']}: {one['asked']}; seen {one['seen']} ({one['where']})")
    if said.get("action") == "promoted":
        say(console, f"   champion before: {said.get('previous_champion') or 'none'}")


MODEL_VERBS = {"ui": ui, "models": models, "promote": promote, "history": history}

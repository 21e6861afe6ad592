"""A starter study file: the roles of the data's columns as they were guessed, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.guess_arms import ArmGuesses, Guess
from trialml.data.guess_endpoint import EndpointGuesses
from trialml.data.guess_roles import Roles
from trialml.data.starter_text import StudyText
from trialml.data.time_zero import ZERO_WORDS

__all__ = ["Starter", "write_starter"]


class Starter(NamedTuple):
    """A starter study file.

    Attributes
    ----------
    text
        The file.
    rows
        Role, guess and reason, for the terminal.
    open
        Keys that have to be filled in, and with what.
    look
        What a reader has to confirm.
    """

    text: str
    rows: tuple[tuple[str, str, str], ...]
    open: tuple[tuple[str, str], ...]
    look: tuple[str, ...]


def write_starter(roles: Roles, *, name: str, source: str) -> Starter:
    """Write a starter study file.

    Parameters
    ----------
    roles
        What was guessed.
    name
        The study's short name is made of it.
    source
        ``[data] source``.

    Returns
    -------
    Starter
        The file, and what to say on the terminal.
    """
    file = StudyText()
    file.comment(
        "A starter study file. Each value below was guessed from the data, and the comment beside it says why: confirm it. "
        "Lines marked >>> FILL IN could not be guessed; 'trialml check' names them until they are filled in. Counts under 11 "
        "are not shown, and ranges are rounded outward."
    )
    _study(file, roles, name)
    _data(file, roles, source)
    _treatment(file, roles.arms, roles.factors)
    _endpoint(file, roles)
    _covariates(file, roles)
    file.comment(
        "Models, strata and the assumptions of the next trial have defaults: see the reference of the study file."
    )
    return Starter(file.text(), _rows(roles), tuple(file.open), _look(roles))


def _study(file: StudyText, roles: Roles, name: str) -> None:
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60] or "TRIAL"
    arms, unit = roles.arms, roles.endpoint.unit.value
    versus = f"{arms.experimental.value} against {arms.control.value}"
    known = bool(arms.control.value and arms.experimental.value)
    file.table("study")
    file.key("name", short, "from the name of the data: letters, digits, '.', '_', '-'")
    file.key("title", f"{short}: {versus}" if known else short, "the heading of the report")
    file.key("seed", 1, "any number, chosen once")
    file.table("estimand", "The five attributes of ICH E9(R1), from the protocol.")
    file.fill_in("population", "who is meant, for example: adults with the disease, as randomised")
    if known:
        file.key("treatment", f"Assignment to {versus}", "drafted from the arms")
    else:
        file.fill_in("treatment", "assignment to what against assignment to what")
    label = _event_words(roles)
    zero = roles.records.time_zero if roles.records is not None else ""
    start = {"": "randomisation", "STARTDT": "the date in STARTDT"}.get(zero) or ZERO_WORDS[zero]
    said = "" if zero in ("", "RANDDT") else f", and whether time zero is meant: by its dates AVAL counts from {zero}"
    file.key(
        "variable",
        f"Time from {start} to {label.lower() if label.istitle() else label}",
        f"drafted: say what counts as the event{said}",
    )
    file.fill_in("intercurrent_events", "which events after randomisation matter, and the strategy for each")
    strata = f" stratified by {', '.join(roles.factors)}" if roles.factors else ""
    value = roles.reading[0]
    mean = f"; difference in restricted mean event-free time over {value:g} {unit}".rstrip() if value else ""
    file.key("summary", f"Hazard ratio{strata}{mean}", "drafted from the roles below")


def _event_words(roles: Roles) -> str:
    if roles.records is not None:
        return re.sub(r"^time to\s+", "", roles.records.label, flags=re.IGNORECASE)
    return "the event"


def _data(file: StudyText, roles: Roles, source: str) -> None:
    file.table("data")
    file.key("source", source)
    _guess(file, "subject", roles.subject)
    if roles.records is not None and roles.records.population.value:
        file.key("population", roles.records.population.value, roles.records.population.why)
    file.comment("Measured after randomisation, or restating the arm: refused as covariates. Add what belongs here.")
    file.items("post_baseline", roles.columns.post_baseline)
    file.comment("randomised = 0  (how many patients the trial randomised, if the data hold fewer)")


def _guess(file: StudyText, key: str, guess: Guess) -> None:
    if guess.value:
        file.key(key, guess.value, guess.why)
    else:
        file.fill_in(key, guess.why)


def _treatment(file: StudyText, arms: ArmGuesses, factors: Mapping[str, str]) -> None:
    file.table("treatment")
    for key, guess in (("column", arms.column), ("control", arms.control), ("experimental", arms.experimental)):
        _guess(file, key, guess)
    if arms.secondary:
        file.key("secondary", arms.secondary, "other arms, each compared with the control")
    if arms.handfuls:
        several = f"{arms.handfuls} levels" if arms.handfuls > 1 else "a level"
        file.comment(
            f"Left out of the arms: {several} of fewer than {SMALLEST_CELL} patients, rather a slip than an arm."
        )
    file.key(
        "allocation", arms.allocation, arms.why_allocation or "the probability of the experimental arm: 0.5 is 1:1"
    )
    if factors:
        file.items("stratification", factors)
    else:
        file.key("stratification", (), "no name says stratification factor: list what randomisation was stratified by")
    named = [arm for arm in (arms.control.value, arms.experimental.value, *arms.secondary) if arm]
    if any(arm.isdigit() for arm in named):
        file.comment('[treatment.labels]  (words for the codes, below this table: 0 = "Placebo")')


def _endpoint(file: StudyText, roles: Roles) -> None:
    guess, records = roles.endpoint, roles.records
    file.table("[endpoints]")
    if records is None:
        event = guess.event.value or "event"
        file.key("name", event, "a short name")
        file.key("label", event, "words for the event in the report: write what it is")
    else:
        file.key("name", records.parameter.lower() or "event", "a short name")
        file.key("label", records.label or records.parameter, "the words of PARAM")
    file.key("kind", "time to event")
    if records is None:
        _guess(file, "time", guess.time)
        _guess(file, "event", guess.event)
        _coding(file, guess)
    elif records.parameter:
        if records.dataset != "ADTTE":
            file.key("dataset", records.dataset)
        file.key("parameter", records.parameter, records.why)
        file.comment(guess.why_coding)
    else:
        file.fill_in("parameter", records.why)
    _guess(file, "unit", guess.unit)
    file.key("direction", "event is harm", "a later event is better")
    value, why = roles.reading
    for key, words in (("horizon", "where risks are read"), ("tau", "the restriction of the mean event-free time")):
        if value is None:
            file.fill_in(key, f"{words}: {why}")
        else:
            file.key(key, value, f"{words}: {why}" if key == "horizon" else words)


def _coding(file: StudyText, guess: EndpointGuesses) -> None:
    if guess.event_values:
        file.comment(f"Coding of the event: {guess.why_coding}.")
        file.key("event_values", guess.event_values)
        file.key("censored_values", guess.censored_values)
        return
    file.comment(f"Coding of the event: {guess.why_coding}.")
    file.fill_in("event_values", "codes that mean that the event happened, as text", listed=True)
    file.fill_in("censored_values", "codes that mean censored, as text", listed=True)


def _covariates(file: StudyText, roles: Roles) -> None:
    file.table("covariates", "Baseline covariates, a whitelist: take out what was not known at randomisation.")
    kinds = {
        kind: {guess.name: guess.why for guess in roles.columns.covariates if guess.kind == kind}
        for kind in ("numeric", "binary", "categorical")
    }
    if roles.records is not None:
        kinds["numeric"] |= roles.records.baseline
    if any(kinds.values()):
        for kind, names in kinds.items():
            if names:
                file.items(kind, names)
    else:
        file.fill_in("numeric", "at least one baseline covariate", listed=True)
    if roles.columns.left_out:
        file.comment("Left out:")
        for column, why in roles.columns.left_out.items():
            file.comment(f"  {column}: {why}")
    if roles.labels:
        file.table("covariates.labels", "The words of the file.")
        for column, label in roles.labels.items():
            file.key(column, label)


def _rows(roles: Roles) -> tuple[tuple[str, str, str], ...]:
    arms, endpoint = roles.arms, roles.endpoint
    rows = [
        ("subject", *roles.subject),
        ("arm", *arms.column),
        ("control", *arms.control),
        ("experimental", *arms.experimental),
        ("allocation", f"{arms.allocation:g}", arms.why_allocation or "1:1 unless you say otherwise"),
    ]
    rows += [("stratification", factor, why) for factor, why in roles.factors.items()]
    if roles.records is None:
        codes = ", ".join(endpoint.event_values)
        rows += [("time", *endpoint.time), ("event", *endpoint.event), ("event codes", codes, endpoint.why_coding)]
    else:
        rows.append(("parameter", roles.records.parameter, roles.records.why))
        rows.append(("event codes", ", ".join(endpoint.event_values), endpoint.why_coding))
    value, why = roles.reading
    rows += [("unit", *endpoint.unit), ("horizon and tau", "" if value is None else f"{value:g}", why)]
    covariates = [guess.name for guess in roles.columns.covariates]
    covariates += list(roles.records.baseline) if roles.records is not None else []
    rows.append(("covariates", ", ".join(covariates), f"{len(covariates)} columns that look like baseline"))
    later = roles.columns.post_baseline
    rows.append(("post_baseline", ", ".join(later), f"{len(later)} columns that look later, or restate the arm"))
    return tuple((role, value or "?", why) for role, value, why in rows)


def _look(roles: Roles) -> tuple[str, ...]:
    """Return what has to be confirmed, the gravest first."""
    said = ["the coding of the event: read the wrong way round it gives a complete and wrong report"]
    if roles.arms.control.value:
        said.append("control and experimental: they decide the sign of everything")
    said.append("the covariates: nothing that was measured after randomisation may stay among them")
    if roles.reading[0] is not None:
        said.append("horizon and tau: from the protocol or clinical meaning, not from the data")
    if not roles.factors:
        said.append("stratification: what randomisation was stratified by, if it was")
    return tuple(said)

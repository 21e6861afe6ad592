"""Promotion of a version to champion: judged by the policy, carried out on a reviewer's word, written down either way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trialml.errors import StoreError
from trialml.promotion_policy import Criterion, Policy, RunFacts, judge_numbers
from trialml.tracking.history import append_entry
from trialml.tracking.local import alone
from trialml.tracking.versions import RegisteredVersion, move_champion, registered_version, version_with_alias

__all__ = ["Decision", "promote", "run_facts"]

_LONGEST_WORDS = 1000
_ESTIMAND = ("horizon", "tau", "endpoint.kind", "endpoint.direction")


@dataclass(frozen=True)
class Decision:
    """What came of asking for a promotion.

    Attributes
    ----------
    version
        The version that was judged.
    criteria
        Every condition of the policy, met or not.
    previous_champion
        The version that was champion, or None.
    entry
        Number of the record in the model's history; None for a refusal that the policy does not want recorded.
    """

    version: RegisteredVersion
    criteria: tuple[Criterion, ...]
    previous_champion: str | None
    entry: int | None

    @property
    def unmet(self) -> tuple[Criterion, ...]:
        """The conditions that are not met."""
        return tuple(one for one in self.criteria if not one.met)

    @property
    def promoted(self) -> bool:
        """Whether the version is champion now."""
        return not self.unmet


def run_facts(store: Any, run_id: str) -> RunFacts:
    """Return the parameters, metrics and tags of a run, with its status as the tag ``run_status``."""
    run = store.client.get_run(run_id)
    return RunFacts(
        dict(run.data.params), dict(run.data.metrics), {**run.data.tags, "run_status": str(run.info.status)}
    )


def promote(store: Any, model: str, version: str, *, reason: str, who: str, policy: Policy) -> Decision:
    """Make a version champion if the policy allows it, and record the decision whatever it is.

    Parameters
    ----------
    store
        A `Store`.
    model, version
        Registered name and version.
    reason, who
        Why, in a sentence, and who says so: as given, nobody checks the name.
    policy
        When a version may become champion.

    Returns
    -------
    Decision
        With every condition, the value seen and where it was seen.

    Raises
    ------
    StoreError
        If there is no such version, it is champion already, words are too long, or the decision cannot be recorded: then
        nothing is moved.
    """
    for name, words in (("reason", reason), ("who", who)):
        if len(words) > _LONGEST_WORDS:
            raise StoreError(f"The {name} has {len(words):,} characters: use at most {_LONGEST_WORDS:,}.")
    with alone(store.lock):
        found = registered_version(store, f"models:/{model}/{version}")
        champion = version_with_alias(store, model, "champion")
        if champion is not None and champion.version == found.version:
            raise StoreError(f"'{model}' version {found.version} is champion already: there is nothing to promote.")
        criteria = tuple(_criteria(store, found, champion, reason.strip(), who.strip(), policy))
        previous = None if champion is None else champion.version
        record = _record(found, criteria, previous, reason.strip(), who.strip(), policy)
        if all(one.met for one in criteria):
            entry = append_entry(store, model, record)
            _carry_out(store, found, record, {**entry.content})
            return Decision(found, criteria, previous, entry.number)
        number = None
        if policy.all.reasons_of_refusal_recorded:
            entry = append_entry(store, model, record)
            number = entry.number
            _write_tags(store, found, _tags(record, str(entry.content["at"])))
        return Decision(found, criteria, previous, number)


def _criteria(
    store: Any, found: RegisteredVersion, champion: RegisteredVersion | None, reason: str, who: str, policy: Policy
) -> Iterator[Criterion]:
    facts = run_facts(store, found.run_id)
    kind = facts.tags.get("trialml.kind", "")
    if kind not in ("risk", "response"):
        raise StoreError(
            f"The run of '{found.name}' version {found.version} says trialml.kind = '{kind}': only models of 'trialml run' "
            "can be judged."
        )
    reigning = None if champion is None else run_facts(store, champion.run_id)
    yield from _judge_all(policy, facts, reigning, reason, who)
    yield from judge_numbers(policy, facts, reigning)


def _judge_all(
    policy: Policy, facts: RunFacts, champion: RunFacts | None, reason: str, who: str
) -> Iterator[Criterion]:
    asked = policy.all
    status, finished = facts.tags["run_status"], facts.tags.get("trialml.status", "none")
    quick = facts.params.get("quick", "none")
    yield Criterion("all.run_status", asked.run_status, status, "status of the run", status == asked.run_status)
    wanted = asked.trialml_status
    yield Criterion("all.trialml_status", wanted, finished, "tag trialml.status", finished == wanted)
    # The version of a quick run is never champion, whatever another policy says.
    yield Criterion("all.quick", "false", quick, "param quick", quick == "false")
    if asked.same_estimand_as_champion:
        yield _same_estimand(facts, champion)
    if asked.reviewer_is_not_the_analyst:
        analyst = facts.tags.get("mlflow.user", "")
        seen = f"'{who}' reviews, '{analyst or 'unknown'}' analysed"
        met = bool(who) and bool(analyst) and who.casefold() != analyst.casefold()
        key = "all.reviewer_is_not_the_analyst"
        yield Criterion(key, "another name than the analyst's", seen, "--who and tag mlflow.user", met)
    if asked.reason_required:
        yield Criterion("all.reason_required", "a reason", "given" if reason else "none", "--reason", bool(reason))


def _same_estimand(facts: RunFacts, champion: RunFacts | None) -> Criterion:
    key, asked, where = "all.same_estimand_as_champion", "the champion's estimand", "params estimand.*, horizon, tau"
    if champion is None:
        return Criterion(key, asked, "there is no champion", where, met=True)
    names = sorted({*(name for name in (*facts.params, *champion.params) if name.startswith("estimand.")), *_ESTIMAND})
    other = [name for name in names if facts.params.get(name) != champion.params.get(name)]
    return Criterion(key, asked, f"other: {', '.join(other)}" if other else "the same", where, met=not other)


def _record(
    found: RegisteredVersion,
    criteria: tuple[Criterion, ...],
    previous: str | None,
    reason: str,
    who: str,
    policy: Policy,
) -> dict[str, Any]:
    promoted = all(one.met for one in criteria)
    return {
        "action": "promoted" if promoted else "refused",
        "who": who,
        "reason": reason,
        "version": found.version,
        "run_id": found.run_id,
        "previous_champion": previous,
        **({"champion": found.version} if promoted else {}),
        "policy_sha256": policy.sha256,
        "criteria": [
            {"key": one.key, "asked": one.asked, "seen": one.seen, "where": one.where, "met": one.met}
            for one in criteria
        ],
    }


def _tags(record: Mapping[str, Any], at: str) -> dict[str, str]:
    return {
        "trialml.review": str(record["action"]),
        "trialml.reviewed_by": str(record["who"]),
        "trialml.reviewed_at": at,
        "trialml.review_reason": str(record["reason"]) or "none given",
        "trialml.previous_champion": str(record["previous_champion"] or "none"),
    }


def _write_tags(store: Any, found: RegisteredVersion, tags: Mapping[str, str]) -> None:
    for name, words in tags.items():
        store.client.set_model_version_tag(found.name, found.version, name, words)
    store.client.set_tag(found.run_id, "trialml.review", tags["trialml.review"])


def _carry_out(store: Any, found: RegisteredVersion, record: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    """Move the alias after the record was written: a champion without a record would be worse than the reverse."""
    try:
        _write_tags(store, found, _tags(record, str(written["at"])))
        move_champion(store, found)
    except BaseException as error:
        undone = {
            "action": "not carried out",
            "who": record["who"],
            "version": found.version,
            "run_id": found.run_id,
            "reason": f"entry {written['number']} failed: {type(error).__name__}",
            "champion": record["previous_champion"],
        }
        append_entry(store, found.name, undone)
        if isinstance(error, Exception):
            raise StoreError(
                f"'{found.name}' version {found.version} was not made champion ({type(error).__name__}): the history says so."
            ) from error
        raise

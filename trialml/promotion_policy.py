"""When a version may become champion: ``promotion.toml``, read into frozen tables and applied to what a run logged."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trialml.errors import StudyFileError, nearest
from trialml.result import format_number

__all__ = ["Criterion", "Policy", "RunFacts", "judge_numbers", "read_policy"]

Share = Annotated[float, Field(ge=0, le=1)]
Band = tuple[float, float]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_pairs(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return {
                key: tuple(float(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in value)
                if isinstance(value, list)
                else value
                for key, value in given.items()
            }
        return given

    @model_validator(mode="after")
    def _bands_are_in_order(self) -> _Table:
        for key, value in self:
            if isinstance(value, tuple) and not value[0] < value[1]:
                message = f"{key} = [{value[0]:g}, {value[1]:g}] is no band: give the lower limit first"
                raise ValueError(message)
        return self


class AllTable(_Table):
    """What is asked of every version."""

    run_status: str = "FINISHED"
    trialml_status: str = "completed"
    quick: str = "false"
    same_estimand_as_champion: bool = True
    reviewer_is_not_the_analyst: bool = True
    reason_required: bool = True
    reasons_of_refusal_recorded: bool = True


class RiskTable(_Table):
    """What is asked of a risk model besides."""

    minimum_events: Annotated[int, Field(ge=0)] = 100
    minimum_events_per_parameter: Annotated[float, Field(ge=0)] = 10.0
    minimum_lower_limit_c_within_arm_crossfit: Share = 0.55
    minimum_c_corrected: Share = 0.6
    calibration_slope_crossfit: Band = (0.8, 1.25)
    observed_over_expected_crossfit: Band = (0.8, 1.25)
    largest_loss_of_c_against_champion: Share = 0.01
    maximum_stability_mape: Share = 0.05


class ResponseTable(_Table):
    """What is asked of a response model besides."""

    minimum_events: Annotated[int, Field(ge=0)] = 200
    minimum_events_per_parameter: Annotated[float, Field(ge=0)] = 10.0
    minimum_lower_limit_benefit_slope_crossfit: float = 0.0
    minimum_strata_agreement: Share = 0.7
    maximum_heterogeneity_p_to_claim_subgroups: Share = 0.05


class Policy(_Table):
    """The whole policy; `sha256` is the digest of the file it was read from."""

    all: AllTable
    risk: RiskTable
    response: ResponseTable
    sha256: str = ""
    name: str = ""


@dataclass(frozen=True)
class Criterion:
    """One condition of the policy.

    Attributes
    ----------
    key
        As in the policy: ``risk.minimum_events``.
    asked, seen
        What it asks for and what was found, in words.
    where
        Where that is found: ``metric models/events``.
    met
        Whether it is.
    """

    key: str
    asked: str
    seen: str
    where: str
    met: bool


@dataclass(frozen=True)
class RunFacts:
    """What a run logged: parameters, metrics and tags by name."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """The kind of endpoint; a run on a time to event does not say it."""
        return self.params.get("endpoint.kind", "time to event")

    def metric(self, pattern: str) -> tuple[str, float | None]:
        """Return the first metric whose name matches, with its name; without any the pattern in words and None."""
        for name, value in self.metrics.items():
            if re.fullmatch(pattern, name):
                return name, value
        return re.sub(r"\[\^_\]\+|\\d\+\w\+", "<horizon>", pattern).replace("\\", ""), None


def read_policy(path: Path | None = None) -> Policy:
    """Read a promotion policy.

    Parameters
    ----------
    path
        The TOML file; the one shipped with trialml by default.

    Returns
    -------
    Policy
        Frozen and complete.

    Raises
    ------
    StudyFileError
        If the file cannot be read, is no TOML, has an unknown key or lacks a table, or a limit is out of range.
    """
    name = "promotion.toml" if path is None else str(path)
    try:
        content = (files("trialml") / "promotion.toml").read_bytes() if path is None else path.read_bytes()
        tables = tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise StudyFileError(f"The policy '{name}' cannot be read ({error.strerror}): check the path.") from error
    except ValueError as error:
        raise StudyFileError(f"The policy '{name}' is not valid TOML: {error}.") from error
    for key in ("sha256", "name"):
        if key in tables:
            raise StudyFileError(f"{name}: '{key}' is not a table; {nearest(key, ['all', 'risk', 'response'])}.")
    try:
        return Policy.model_validate({**tables, "sha256": hashlib.sha256(content).hexdigest(), "name": name})
    except ValidationError as error:
        raise StudyFileError(f"{name}: {_first_wrong(error)}") from error


def _first_wrong(error: ValidationError) -> str:
    from trialml.config import in_plain_words

    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"] if not isinstance(part, int)]
    if first["type"] == "extra_forbidden":
        table: Any = Policy
        for part in place[:-1]:
            table = table.model_fields[part].annotation
        known = [key for key in table.model_fields if key not in ("sha256", "name")]
        return f"'{'.'.join(place)}' is not a key of the policy; {nearest(place[-1], known)}."
    if first["type"] == "missing":
        return f"[{'.'.join(place)}] is missing: add it."
    if first["type"] == "value_error":
        return f"[{place[0]}] {first['ctx']['error']!s}."
    return f"{'.'.join(place)} = {first['input']!r} will not do: {in_plain_words(first['msg'])}."


_H = r"[^_]+"
_LEAD = {
    "time to event": rf"validation/c_index_{_H}_within_arm_crossfit",
    "binary": r"validation/auc_the_risk_model_crossfit",
    "continuous": r"validation/r2_within_arm_the_risk_model_crossfit",
}
"""What tells how well a risk model orders patients who were not used for fitting, by kind of endpoint."""
_CORRECTED = {"time to event": r"validation/harrell_c_corrected", "binary": r"validation/auc_corrected"}
_SLOPES = {
    "time to event": (
        rf"validation/calibration_slope_{_H}_crossfit",
        rf"validation/calibration_slope_{_H}_control_crossfit",
    ),
    "binary": (r"validation/calibration_slope_crossfit", r"validation/calibration_slope_control_crossfit"),
    "continuous": (r"validation/calibration_slope_the_risk_model_crossfit",),
}


def judge_numbers(policy: Policy, facts: RunFacts, champion: RunFacts | None) -> Iterator[Criterion]:
    """Judge the numbers that a run logged by the policy of its kind of model.

    Parameters
    ----------
    policy
        When a version may become champion.
    facts, champion
        Of the version's run, and of the champion's, None where there is none.

    Yields
    ------
    Criterion
        In the order of the policy. A number that the run does not have counts as a condition that is not met.
    """
    if facts.tags.get("trialml.kind") == "risk":
        yield from _judge_risk(policy.risk, facts, champion)
    else:
        yield from _judge_response(policy.response, facts)


def _judge_risk(asked: RiskTable, facts: RunFacts, champion: RunFacts | None) -> Iterator[Criterion]:
    kind = facts.endpoint
    counted = "cohort.n" if kind == "continuous" else "cohort.events"
    events = facts.params.get(counted, "")
    yield _at_least("risk.minimum_events", asked.minimum_events, _number(events), f"param {counted}")
    yield _per_parameter("risk", asked.minimum_events_per_parameter, facts)
    lowest = 0.0 if kind == "continuous" else asked.minimum_lower_limit_c_within_arm_crossfit
    name, value = facts.metric(f"{_LEAD[kind]}_low")
    yield _at_least("risk.minimum_lower_limit_c_within_arm_crossfit", lowest, value, f"metric {name}")
    on_trees = "models/columns" in facts.metrics
    if kind in _CORRECTED and not on_trees:  # the bootstrap does not correct a model on trees
        name, value = facts.metric(_CORRECTED[kind])
        yield _at_least("risk.minimum_c_corrected", asked.minimum_c_corrected, value, f"metric {name}")
    for pattern in _SLOPES[kind]:
        name, value = facts.metric(pattern)
        yield _within("risk.calibration_slope_crossfit", asked.calibration_slope_crossfit, value, f"metric {name}")
    for pattern in _SLOPES[kind] if kind != "continuous" else ():
        name, value = facts.metric(pattern.replace("calibration_slope", "observed_over_expected"))
        band = asked.observed_over_expected_crossfit
        yield _within("risk.observed_over_expected_crossfit", band, value, f"metric {name}")
    if kind != "continuous":  # there it is in the unit of the endpoint, which the policy does not know
        name, value = facts.metric(r"validation/stability_mape")
        yield _at_most("risk.maximum_stability_mape", asked.maximum_stability_mape, value, f"metric {name}")
    if champion is not None:
        name, value = facts.metric(_LEAD[kind])
        _, least = champion.metric(_LEAD.get(champion.endpoint, "-"))
        if least is not None:
            floor = least - asked.largest_loss_of_c_against_champion
            yield _at_least("risk.largest_loss_of_c_against_champion", floor, value, f"metric {name}")


def _judge_response(asked: ResponseTable, facts: RunFacts) -> Iterator[Criterion]:
    if facts.endpoint == "continuous":
        where, events = "param cohort.n", _number(facts.params.get("cohort.n", ""))
    else:
        where, events = "metric models/events", facts.metrics.get("models/events")
    yield _at_least("response.minimum_events", asked.minimum_events, events, where)
    yield _per_parameter("response", asked.minimum_events_per_parameter, facts)
    least = asked.minimum_lower_limit_benefit_slope_crossfit
    slope = "validation/benefit_slope_crossfit_low"
    value = facts.metrics.get(slope)
    key = "response.minimum_lower_limit_benefit_slope_crossfit"
    met = value is not None and value > least
    yield Criterion(key, f"above {least:g}", _seen(value), f"metric {slope}", met)
    agreement = facts.metrics.get("strata/strata_agreement")
    key = "response.minimum_strata_agreement"
    yield _at_least(key, asked.minimum_strata_agreement, agreement, "metric strata/strata_agreement")


def _per_parameter(kind: str, least: float, facts: RunFacts) -> Criterion:
    name, value = facts.metric(r"models/(events|patients)_per_(parameter|column)")
    if value is None:
        name = "models/events_per_parameter"
    return _at_least(f"{kind}.minimum_events_per_parameter", least, value, f"metric {name}")


def _number(words: str) -> float | None:
    return float(words) if re.fullmatch(r"\d+(\.\d+)?", words) else None


def _seen(value: float | None) -> str:
    return "not logged" if value is None else format_number(value, 4)


def _at_least(key: str, least: float, value: float | None, where: str) -> Criterion:
    return Criterion(
        key, f"at least {format_number(least, 4)}", _seen(value), where, value is not None and value >= least
    )


def _at_most(key: str, most: float, value: float | None, where: str) -> Criterion:
    return Criterion(key, f"at most {format_number(most, 4)}", _seen(value), where, value is not None and value <= most)


def _within(key: str, band: Band, value: float | None, where: str) -> Criterion:
    met = value is not None and band[0] <= value <= band[1]
    return Criterion(key, f"{band[0]:g} to {band[1]:g}", _seen(value), where, met)

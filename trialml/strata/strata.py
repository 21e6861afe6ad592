"""Strata: a partition of patients by a rule fixed at baseline, in words, that can be applied again."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError, ModelInputError
from trialml.models.columns import as_numbers, require_columns
from trialml.strata.conditions import BENEFIT, RISK, Condition, Rule, Unseen, exact_words
from trialml.strata.cut_points import quantile_cuts
from trialml.strata.partition import refuse_no_partition

__all__ = [
    "Strata",
    "StrataKind",
    "Stratum",
    "ordered_names",
    "quantile_strata",
    "risk_by_benefit_strata",
    "strata_made_by",
]

Floats = NDArray[np.float64]
StrataKind = Literal["benefit", "risk", "risk by benefit", "tree", "policy tree"]
_RULES: Mapping[StrataKind, str] = {
    "benefit": "quantiles of the benefit score",
    "risk": "quantiles of the {risk}",
    "risk by benefit": "quantiles of the {risk} by quantiles of the benefit score",
    "tree": "the leaves of a tree on doubly robust scores",
    "policy tree": "the recommendations of a policy tree on doubly robust scores",
}

_FORMAT = "trialml strata 1"
_SCORES = {"benefit": (BENEFIT, "benefit score"), "risk": (RISK, "risk")}

_ORDER = {
    1: ("All patients",),
    2: ("Lower {}", "Higher {}"),
    3: ("Lower {}", "Middle {}", "Higher {}"),
    4: ("Lowest {}", "Lower {}", "Higher {}", "Highest {}"),
    5: ("Lowest {}", "Lower {}", "Middle {}", "Higher {}", "Highest {}"),
}


def strata_made_by(kind: StrataKind, risk_name: str = "risk") -> str:
    """Return what strata of a kind are made by, in words; `risk_name` is what is predicted where that is no risk."""
    return _RULES[kind].format(risk=risk_name)


def ordered_names(count: int, of: str) -> tuple[str, ...]:
    """Return the names of groups from the lowest to the highest of something: ``"Lower risk"``, ``"Higher risk"``.

    Names say what patients are ordered by, never that they benefit: the highest benefit score may go with a harmful effect.
    """
    if count in _ORDER:
        return tuple(name.format(of) for name in _ORDER[count])
    return tuple(f"{of[:1].upper()}{of[1:]} {place} of {count}" for place in range(1, count + 1))


@dataclass(frozen=True)
class Stratum:
    """One group: its name, and its rule in words."""

    name: str
    rule: str


@dataclass(frozen=True)
class Strata:
    """What was asked (groups) and what was learned (cut-points, conditions), frozen; every patient is in exactly one stratum.

    Attributes
    ----------
    strata
        From the lowest to the highest of what they are ordered by (benefit score, risk, predicted effect); a policy tree's are not
        recommended and recommended; a grid's go through the benefit groups of the lowest risk first.
    cuts
        Scores at which a stratum ends and the next begins, one fewer than there are strata; empty unless the kind is
        ``"benefit"`` or ``"risk"``.
    kind
        What the strata are made by.
    rules
        The conditions, at least one rule for each stratum that anybody can be in. Of strata by one score they follow from `cuts`.
    """

    strata: tuple[Stratum, ...]
    cuts: tuple[float, ...] = ()
    kind: StrataKind = "benefit"
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if self.kind in _SCORES:
            if len(self.strata) != len(self.cuts) + 1 or list(self.cuts) != sorted(set(self.cuts)):
                raise ModelInputError(
                    f"{len(self.strata)} strata have the cut-points {list(self.cuts)}: give one cut-point fewer than strata, ascending."
                )
            object.__setattr__(self, "rules", _rules_of_cuts(self.cuts, *_SCORES[self.kind]))
        else:
            refuse_no_partition(self.rules, len(self.strata))

    @property
    def names(self) -> tuple[str, ...]:
        """The strata's names, in their order."""
        return tuple(stratum.name for stratum in self.strata)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that patients must bring, each once."""
        return tuple(dict.fromkeys(condition.column for rule in self.rules for condition in rule.conditions))

    def assign(self, score: Floats) -> NDArray[np.intp]:
        """Return the position of each patient's stratum by the one score that the strata are cut by, shape (n,).

        A score on a cut belongs above it.

        Raises
        ------
        ModelInputError
            If the strata are of another kind than ``"benefit"`` or ``"risk"``, or a score is not known.
        """
        if self.kind not in _SCORES:
            raise ModelInputError(
                f"the strata are made by a {self.kind}, not by one score: use place with the columns {', '.join(self.columns)}."
            )
        unknown = int(np.isnan(score).sum())
        if unknown:
            raise ModelInputError(
                f"the {_SCORES[self.kind][1]} is missing in {unknown} of {len(score)} patients: leave them out, or score them first."
            )
        return np.searchsorted(np.asarray(self.cuts), score, side="right").astype(np.intp)

    def place(self, patients: pd.DataFrame, *, unseen: Unseen = "refuse") -> NDArray[np.intp]:
        """Return the position of each patient's stratum, shape (n,).

        Parameters
        ----------
        patients
            One row a patient, with the columns `columns`: covariates at baseline, ``risk`` and ``benefit_score`` of the models.
        unseen
            What becomes of a category that the trial did not have: ``"refuse"``, or ``"other"``: none of those named.

        Raises
        ------
        ModelInputError
            If a column is missing, holds another type, a category that the trial did not have, or a missing value of which the
            rule says nothing.
        """
        if self.kind in _SCORES:
            column = _SCORES[self.kind][0]
            if not self.cuts:
                return np.zeros(len(patients), dtype=np.intp)
            require_columns(patients, [column])
            return self.assign(as_numbers(column, patients[column]))
        found = np.zeros(len(patients), dtype=np.intp)
        for rule in self.rules:
            found[rule.met(patients, unseen=unseen)] = rule.stratum
        return found

    def protocol(self) -> str:
        """Return the strata as a protocol states them: numbered, with what becomes of values on a cut and of missing ones."""
        numbered = [f"{number}. {one.name}: {one.rule}." for number, one in enumerate(self.strata, start=1)]
        first, *rest = self.statements()
        return "\n".join([first, *numbered, *rest])

    def statements(self) -> tuple[str, ...]:
        """Return what holds for all rules: when patients are allotted, and what becomes of values on a cut, of missing and of new ones."""
        said = ["Each patient is allotted at baseline, before randomisation, to exactly one of the strata."]
        conditions = [condition for rule in self.rules for condition in rule.conditions]
        if any(condition.numeric and not condition.binary for condition in conditions):
            said.append(
                "A value equal to a cut-point belongs to the side 'at least'; values are compared as measured, unrounded."
            )
        labels = {condition.column: condition.label for condition in conditions}
        stated = {condition.column for condition in conditions if condition.missing is not None}
        for column, label in labels.items():
            if column in stated:
                said.append(f"A missing value of {label} belongs where the rules say 'or missing'.")
            else:
                said.append(f"A value of {label} must be known.")
        categories = {condition.label: condition.known for condition in conditions if not condition.numeric}
        said += [
            f"{label} is one of {', '.join(known)}; any other value is to be queried."
            for label, known in categories.items()
        ]
        return tuple(said)

    def state(self) -> dict[str, Any]:
        """Return the strata as plain JSON types."""
        kept: dict[str, Any] = {
            "strata": [[stratum.name, stratum.rule] for stratum in self.strata],
            "cuts": list(self.cuts),
        }
        kept["kind"] = self.kind
        if self.kind not in _SCORES:
            kept["rules"] = [rule.state() for rule in self.rules]
        return kept

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the strata that `state` described; without a kind they are cut by the benefit score."""
        kind = state.get("kind", "benefit")
        if kind not in get_args(StrataKind):
            raise ModelInputError(
                f"the strata are of the kind {kind!r}: this version knows {', '.join(get_args(StrataKind))}."
            )
        strata = tuple(Stratum(name, rule) for name, rule in state["strata"])
        rules = tuple(Rule.from_state(one) for one in state.get("rules", ()))
        return cls(strata, tuple(float(cut) for cut in state["cuts"]), kind, rules)

    def to_json(self) -> str:
        """Return the strata as JSON text that `from_json` reads."""
        return json.dumps({"format": _FORMAT, **self.state()}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the strata that `to_json` wrote.

        Raises
        ------
        ModelInputError
            If the text is no JSON, of another format, or what it describes is no partition.
        """
        try:
            state = json.loads(text)
        except ValueError as error:
            raise ModelInputError(
                f"the strata's text is no JSON ({error}): take the file as it was exported."
            ) from error
        seen = state.get("format") if isinstance(state, dict) else None
        if seen != _FORMAT:
            raise ModelInputError(
                f"the strata's text has the format {seen!r}; this version of trialml reads '{_FORMAT}'."
            )
        try:
            return cls.from_state(state)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ModelInputError(
                f"the strata's text does not hold what trialml exports ({type(error).__name__}: {error}): take the file as it was exported."
            ) from error


def _rules_of_cuts(cuts: tuple[float, ...], column: str, label: str, unit: str = "") -> tuple[Rule, ...]:
    """Return the rules of strata between cut-points of one score."""
    rules = []
    for place, (low, high) in enumerate(itertools.pairwise([None, *cuts, None])):
        sides: list[Condition] = []
        if low is not None:
            sides.append(Condition(column, label, "at least", low, unit=unit))
        if high is not None:
            sides.append(Condition(column, label, "below", high, unit=unit))
        rules.append(Rule(place, tuple(sides)))
    return tuple(rules)


def quantile_strata(
    score: Floats,
    groups: int,
    *,
    model: str,
    unit: str,
    kind: Literal["benefit", "risk"] = "benefit",
    risk_name: str = "risk",
) -> Strata:
    """Cut the scores of the training patients into groups of equal size.

    Parameters
    ----------
    score
        Benefit scores or risks of the training patients, shape (n,).
    groups
        From 2 to 5.
    model
        What the rule calls the model.
    unit
        Unit of a benefit score; of a risk what it is of and by when (``"of the event by 730 days"``).
    kind, risk_name
        What the score is, and what the rules call a risk.

    Returns
    -------
    Strata
        Fewer groups where the scores are tied; a single stratum where they are all equal. A cut-point is the roundest number
        between the two neighbouring scores, so that the words show it in full and it parts these patients as the quantile does.

    Raises
    ------
    AnalysisError
        If `groups` is not from 2 to 5, or a score is not known.
    """
    if groups not in range(2, 6):
        raise AnalysisError(f"[strata] groups = {groups} cannot be named: choose 2, 3, 4 or 5.")
    cuts = quantile_cuts(_known(score, kind), groups)
    what = _SCORES[kind][1] if kind == "benefit" else risk_name
    if not len(cuts):
        said = "score" if kind == "benefit" else risk_name
        return Strata((Stratum("All patients", f"everybody: the {said} of {model} is the same for all"),), (), kind)
    shown = [exact_words(float(cut)) for cut in cuts]
    after, of = (f" {unit}", f"{what} of {model}") if kind == "benefit" else ("", f"{what} {unit} by {model}")
    rules = [f"{of} below {shown[0]}{after}"]
    rules += [f"from {low} to below {high}{after}" for low, high in itertools.pairwise(shown)]
    rules.append(f"at least {shown[-1]}{after}")
    named = zip(ordered_names(len(rules), what), rules, strict=True)
    return Strata(tuple(Stratum(*one) for one in named), tuple(float(cut) for cut in cuts), kind)


def _known(score: Floats, what: str) -> Floats:
    unknown = int((~np.isfinite(score)).sum())
    if unknown:
        raise AnalysisError(
            f"The {what} is missing or infinite in {unknown} of {len(score)} patients: cut-points are learned from patients who have one."
        )
    return score


def risk_by_benefit_strata(
    risk: Floats,
    benefit_score: Floats,
    groups: tuple[int, int] = (2, 2),
    *,
    risk_words: str,
    benefit_words: str,
    unit: str = "",
    risk_name: str = "risk",
) -> Strata:
    """Cut risk and benefit score of the training patients each at its own quantiles, and cross the groups.

    Parameters
    ----------
    risk, benefit_score
        Of the training patients, each of shape (n,).
    groups
        How many groups of risk and of benefit, each 2 or 3.
    risk_words, benefit_words
        What the two are called in the rules: ``"risk of the event by 730 days by ACTG175-risk"``.
    unit, risk_name
        Unit of the benefit score, and what names call a risk.

    Returns
    -------
    Strata
        Risk and benefit are dependent, so the cells are not of equal size, and one may be empty. Fewer groups where scores are tied.

    Raises
    ------
    AnalysisError
        If a number of groups is neither 2 nor 3.
    """
    if any(count not in (2, 3) for count in groups):
        raise AnalysisError(f"a grid of {groups[0]} by {groups[1]} groups is not made: choose 2 or 3 each.")
    risks = _side(risk, groups[0], (RISK, risk_name), risk_words, "")
    benefits = _side(benefit_score, groups[1], _SCORES["benefit"], benefit_words, unit)
    strata: list[Stratum] = []
    rules: list[Rule] = []
    for (lower, low), (upper, high) in itertools.product(risks, benefits):
        rule = Rule(len(rules), low + high)
        parted = [name for name, part in ((lower, low), (upper, high)) if part] or [lower]
        name = ", ".join([parted[0], *(f"{one[:1].lower()}{one[1:]}" for one in parted[1:])])
        strata.append(Stratum(name, rule.words()))
        rules.append(rule)
    return Strata(tuple(strata), (), "risk by benefit", tuple(rules))


def _side(
    score: Floats, groups: int, of: tuple[str, str], label: str, unit: str
) -> list[tuple[str, tuple[Condition, ...]]]:
    """Return the groups of one score of a grid: name and conditions."""
    column, words = of
    rules = _rules_of_cuts(tuple(quantile_cuts(_known(score, words), groups).tolist()), column, label, unit)
    return [(name, rule.conditions) for name, rule in zip(ordered_names(len(rules), words), rules, strict=True)]

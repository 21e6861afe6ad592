"""Guesses of who is who: the subject, the arms, the allocation, the stratification factors; each with its reason."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.profiles import Profile, follows, say_levels

__all__ = ["ArmGuesses", "Guess", "guess_arms", "guess_factors", "guess_subject", "names_subjects"]

_SUBJECT = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"u?subjid",
        r"(subject|patient|pat|participant|subj)(_?(id|no|nr|num|number|code))?|pid(num)?|patid|patno",
        r"id|.*_id|.*[a-z]id|.*(number|num)",
    )
)
_ARM = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"trt01p",
        r"actarm|arm_?cd|arms?|(planned|randomi[sz]ed)_?(arm|treatment)|treatment_?(arm|group)",
        r"treatment|trt|rx|trt_?p|therapy|allocation|randomi[sz]ation|group|.*_arm|arm_.*",
        r"treat|treated|trt.*|trt01pn|drug|intervention",
    )
)
_CONTROL = re.compile(
    r"placebo|\bpbo\b|\bplac\b|control|\bctrl?\b|standard|\bsoc\b|\bstd\b|usual|conventional|\bold\b|comparator|reference|sham|vehicle"
    r"|best supportive|\bbsc\b|observation|no treatment",
    re.IGNORECASE,
)
_EXPERIMENTAL = re.compile(r"\bnew\b|experimental|active|investigational|\btest\b|\bhigh\b", re.IGNORECASE)
_FACTOR = re.compile(r"strat(um|a|ify|if\w*)?(_?\w{0,20})?|strat\d+r", re.IGNORECASE)
_NOT_A_FACTOR = re.compile(r"strat\d+(v|n|rn|vn|nam|nm|desc)|.*nam|.*desc", re.IGNORECASE)
_MOST_ARMS = 8
_RATIOS = {1 / 2: "1:1", 2 / 3: "2:1", 1 / 3: "1:2", 3 / 4: "3:1", 1 / 4: "1:3", 3 / 5: "3:2", 2 / 5: "2:3"}


class Guess(NamedTuple):
    """A guessed value and why; an empty value could not be guessed, and `why` says what is needed."""

    value: str
    why: str


class ArmGuesses(NamedTuple):
    """The arms: column, codes by role, and the probability of the experimental arm.

    `handfuls` is the number of levels of fewer than 11 patients, which are no arm where two others have as many.
    """

    column: Guess
    control: Guess
    experimental: Guess
    secondary: tuple[str, ...]
    allocation: float
    why_allocation: str
    handfuls: int = 0


def names_subjects(one: Profile) -> bool:
    """Whether a column is called like a subject's, be it on several rows; 'covid' and 'nodes_num' are not."""
    return one.name.lower() == "id" or any(pattern.fullmatch(one.name) for pattern in _SUBJECT[:2])


def guess_subject(profiles: Mapping[str, Profile]) -> Guess:
    """Guess the column that identifies the subjects: a value of its own in every row, and a name that says so."""
    own = [one for one in profiles.values() if one.distinct == one.rows == one.known and one.kind in ("number", "text")]
    own = [one for one in own if one.kind == "text" or one.whole]
    for pattern in _SUBJECT:
        named = [one.name for one in own if pattern.fullmatch(one.name)]
        if named:
            return Guess(named[0], "a value of its own in every row, and a name like a subject's")
    texts = [one.name for one in own if one.kind == "text"]
    if len(texts) == 1:
        return Guess(texts[0], "the only text with a value of its own in every row")
    repeated = [one.name for one in profiles.values() if names_subjects(one)]
    if repeated:
        return Guess("", f"the column of the subject; '{repeated[0]}' is named so, but holds a subject on several rows")
    return Guess("", "the column that identifies the subjects, one row each")


def guess_arms(profiles: Mapping[str, Profile]) -> ArmGuesses:
    """Guess the column of the arm and which code is control; with more than two arms also the primary contrast."""
    column = _arm_column(profiles)
    if column is None:
        nothing = Guess("", "the code of this arm")
        return ArmGuesses(Guess("", "the column of the randomised arm"), nothing, nothing, (), 0.5, "")
    large = {level: count for level, count in column.levels.items() if count >= SMALLEST_CELL}
    # A misspelt arm must not be offered as a third one; a small file has nothing but small arms.
    levels = large if len(large) > 1 else column.levels
    handfuls = len(column.levels) - len(levels)
    control = _control(sorted(levels, key=_in_order))
    others = [level for level in sorted(levels, key=_in_order) if level != control.value]
    if not control.value:
        names = ", ".join(repr(level) for level in others)
        return ArmGuesses(
            Guess(column.name, _why_arm(column)),
            control,
            Guess("", f"which of {names} is compared with it"),
            (),
            0.5,
            "",
            handfuls,
        )
    experimental, why = others[0], "the other arm"
    if len(others) > 1:
        said = [level for level in others if _EXPERIMENTAL.search(level)]
        experimental = (said or others)[0]
        why = f"one of {len(others)} other arms, chosen by its name or order: choose the primary contrast"
    secondary = tuple(level for level in others if level != experimental)
    allocation, ratio = _allocation(levels[experimental], levels[control.value])
    return ArmGuesses(
        Guess(column.name, _why_arm(column)), control, Guess(experimental, why), secondary, allocation, ratio, handfuls
    )


def _arm_column(profiles: Mapping[str, Profile]) -> Profile | None:
    found = [
        one for one in profiles.values() if 2 <= one.distinct <= _MOST_ARMS and one.kind in ("number", "text", "binary")
    ]
    for pattern in _ARM:
        named = [one for one in found if pattern.fullmatch(one.name)]
        if named:
            # Of an arm in words and the same in numbers the words say more; of a coarse and a fine one the fine is the arm.
            return max(named, key=lambda one: (one.distinct, one.kind == "text", -list(profiles).index(one.name)))
    labelled = [
        one
        for one in found
        if re.search(r"planned treatment|treatment (arm|group)|randomi[sz]ed to", one.label, re.IGNORECASE)
    ]
    return labelled[0] if labelled else None


def _why_arm(column: Profile) -> str:
    # Patients by arm are what any report of a trial publishes; a handful are rather a slip of the pen than an arm.
    small = sum(count < SMALLEST_CELL for count in column.levels.values())
    if small == len(column.levels):
        return f"{column.distinct} levels of fewer than {SMALLEST_CELL} each and a name like an arm's"
    counts = ", ".join(
        f"{level!r}: {count:,}"
        for level, count in sorted(column.levels.items(), key=lambda item: _in_order(item[0]))
        if count >= SMALLEST_CELL
    )
    counts += f"; {small} more of fewer than {SMALLEST_CELL} each, a slip?" if small else ""
    missing = column.rows - column.known
    more = f"; {missing:,} without an arm" if missing else ""
    return f"{column.distinct} levels and a name like an arm's ({counts}{more})"


def _in_order(level: str) -> tuple[float, str]:
    try:
        return float(level), level
    except ValueError:
        return math.inf, level


def _control(levels: list[str]) -> Guess:
    named = [level for level in levels if _CONTROL.search(level)]
    if len(named) == 1:
        return Guess(named[0], "its name says control")
    if "0" in levels:
        return Guess("0", "0 is the usual code of control: confirm, since it decides the sign of everything")
    shown = ", ".join(repr(level) for level in levels)
    return Guess("", f"which of {shown} is the control arm")


def _allocation(experimental: int, control: int) -> tuple[float, str]:
    """Return the simple ratio that the counts agree with (within 3 standard errors), 1:1 first, or the counts' own."""
    total = experimental + control
    seen = experimental / total
    for share, ratio in _RATIOS.items():
        if abs(seen - share) <= 3 * math.sqrt(share * (1 - share) / total):
            return round(
                share, 4
            ), f"{ratio}, which {experimental:,} and {control:,} patients agree with: confirm in the protocol"
    return round(
        seen, 2
    ), f"the share of {experimental:,} and {control:,} patients, no simple ratio: take it from the protocol"


def guess_factors(profiles: Mapping[str, Profile], taken: set[str]) -> dict[str, str]:
    """Guess the stratification factors by their names: STRATwR of ADaM (as randomised), strat, stratum, strata."""
    found = [
        one
        for one in profiles.values()
        if one.name not in taken
        and _FACTOR.fullmatch(one.name)
        and not _NOT_A_FACTOR.fullmatch(one.name)
        and 2 <= one.distinct <= 20
        and one.known == one.rows
    ]
    chosen: dict[str, str] = {}
    for one in found:
        coarser = [other for other in found if other.name != one.name and follows(one, other)]
        if not any(other.name in chosen or other.distinct > one.distinct for other in coarser):
            chosen[one.name] = f"its name ({say_levels(one.levels)}): confirm that randomisation was stratified by it"
    return chosen

"""Guesses of the baseline covariates, and of the columns that were measured later and may never be one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.guess_arms import names_subjects
from trialml.data.patient_numbers import numbers_patients
from trialml.data.profiles import Profile, follows
from trialml.data.restatement import refuse_restatement
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.errors import DataError

__all__ = ["CovariateGuess", "CovariateGuesses", "guess_covariates"]

_LATER_NAME = (
    (
        r"(?:week|wk|month|mon|mth|day|visit|vis|cycle|cyc|year|yr)[_ ]?0*[1-9]\d*",
        "a visit after time zero by its name",
    ),
    (r"[dwmv][_ ]?0*[1-9]\d*", "a visit after time zero by its name"),
    (r"change|chg|delta|diff|pchg|percent_?change", "a change by its name"),
    (r"post|follow_?up|fu|last|final|end|eot|eos|nadir|worst|best", "later than baseline by its name"),
    (
        r"dc[st]?reas\w*|dcdecod|eo[st]st\w*|off_?(trt|treat\w*|study|drug)|stopped|discon\w*|withdr\w*|dropout|drop_?out|complet\w*|compl?\d*fl",
        "what became of the treatment or the patient",
    ),
    (r"resp(on[sd]\w*)?|remission|bor|recist|objective_?response", "a response by its name"),
    (r"died|death|dead|dth\w*|alive|progress\w*|relaps\w*|recur\w*|surv\w*", "an outcome by its name"),
    (r"ae|sae|tox\w*|adverse\w*|teae\w*", "safety on treatment by its name"),
    (r"cum\w*|dose\w*|avgdd|cycles|exposure|trtdur\w*|compliance|adherence|rdi", "exposure by its name"),
)
_LATER_LABEL = (
    (
        r"discontinu|withdraw|disposition|completers?|complet(ed|ion)|end of|early term",
        "what became of the patient by its label",
    ),
    (r"duration of (treatment|exposure)|treatment duration|cumulative|\bdose\b", "exposure by its label"),
    (
        r"\bdied\b|\bdeath\b|progress|relapse|respon[sd]|change from|\bweek [1-9]|follow-?up|adverse",
        "later than baseline by its label",
    ),
)
_BASELINE = re.compile(r"(.*_)?(base(line)?|bl|pre\w*|prior|screen(ing)?|hist(ory)?\w*)(_.*)?|\w+BL", re.IGNORECASE)
_FLAG = re.compile(r"\w+FL")
_CATEGORY = re.compile(
    r"(.*_)?(race|ethnic\w*|sex|gender|region|country|histol\w*|site|center|centre|type|subtype|group|class|cat\w*)(_.*)?",
    re.IGNORECASE,
)
_SITE = re.compile(r"site|cent(er|re)|^inst(itution)?$", re.IGNORECASE)
_SITE_NUMBER = re.compile(r"(study_?)?(site|cent(er|re))_?(id|no|nr|num(ber)?|gr\d+n?)", re.IGNORECASE)
_NUMBERED = re.compile(r"(.+?)_?(\d+)")
_ENOUGH = 20
_MOST_CATEGORIES = 20
_FEW = 6
_TELLS_FOLLOW_UP = 0.3
_SHARED = 0.1

Kind = Literal["numeric", "binary", "categorical"]


class CovariateGuess(NamedTuple):
    """A column that may be a baseline covariate, its type, and what it holds."""

    name: str
    kind: Kind
    why: str


class CovariateGuesses(NamedTuple):
    """Covariates; columns measured later, with the reason; columns left out for another reason."""

    covariates: tuple[CovariateGuess, ...]
    post_baseline: Mapping[str, str]
    left_out: Mapping[str, str]


def guess_covariates(
    profiles: Mapping[str, Profile],
    *,
    arm: str,
    factors: tuple[str, ...],
    time: str,
    taken: set[str],
    subjects: pd.Series | None = None,
) -> CovariateGuesses:
    """Sort the columns that have no role into covariates, columns measured later, and columns left out.

    Parameters
    ----------
    profiles
        All columns.
    arm, factors, time
        The columns of these roles; empty where they could not be guessed.
    taken
        Every column that has a role.
    subjects
        The identifier of each row, where a column holds it.

    Returns
    -------
    CovariateGuesses
        Each column once, with its reason.
    """
    covariates: list[CovariateGuess] = []
    later: dict[str, str] = {}
    left: dict[str, str] = {}
    for one in profiles.values():
        if one.name in taken:
            continue
        reason = _later(one, profiles, arm, time)
        if reason:
            later[one.name] = reason
            continue
        known = [profiles[guess.name] for guess in covariates] + [profiles[factor] for factor in factors]
        reason = _useless(one, subjects) or _restates(one, known)
        if reason:
            left[one.name] = reason
        else:
            covariates.append(CovariateGuess(one.name, _kind(one), _why(one)))
    for one in profiles.values():
        missing = _marks_missing(one, [profiles[name] for name in later])
        if missing and one.name not in taken and one.name not in later:
            later[one.name] = missing
    kept = tuple(guess for guess in covariates if guess.name not in later)
    return CovariateGuesses(kept, later, {name: why for name, why in left.items() if name not in later})


def _later(one: Profile, profiles: Mapping[str, Profile], arm: str, time: str) -> str:
    """Return why a column was measured after time zero or restates the arm; empty where nothing says so."""
    if _FLAG.fullmatch(one.name) and 1 <= one.distinct <= 2 and (one.distinct == 2 or one.known < one.rows):
        return "a flag: whether a patient has it may depend on what happened after randomisation"
    if one.kind in ("date", "empty") or one.distinct < 2:
        return ""
    if arm and follows(one, profiles[arm]):
        return f"a function of the arm '{arm}'"
    if _BASELINE.fullmatch(one.name):
        return ""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", one.name)
    for pattern, why in _LATER_NAME:
        if re.search(rf"(?<![a-z])(?:{pattern})(?![a-z])", re.sub(r"[_.]", " ", words), re.IGNORECASE) or re.fullmatch(
            rf"(?:{pattern}).{{0,3}}", one.name, re.IGNORECASE
        ):
            return why
    for pattern, why in _LATER_LABEL:
        if re.search(pattern, one.label, re.IGNORECASE):
            return why
    own = profiles.get(time)
    return _of_a_later_visit(one, profiles) or _shares_the_time(one, own) or _missing_follows_time(one, own)


def _of_a_later_visit(one: Profile, profiles: Mapping[str, Profile]) -> str:
    """Say where a name ends in a number and the same name with 0 exists: cd4-0 at baseline, cd4-20 at week 20."""
    digits = _NUMBERED.fullmatch(one.name)
    if not digits:
        return ""
    # All splits of the last digits: of cd420 the stem may be cd, cd4 or cd42.
    stem, number = digits[1], digits[2]
    for place in range(len(number)):
        sibling = f"{stem}{number[:place]}0"
        rest = number[place:]
        if sibling != one.name and sibling in profiles and int(rest) > 0 and rest[0] != "0":
            return f"'{sibling}' is its value at time 0"
    return ""


def _shares_the_time(one: Profile, time: Profile | None) -> str:
    """Say where many patients have the endpoint's time in another column: where neither event came, both count to the same day."""
    if time is None or time.numbers is None or one.numbers is None or min(one.distinct, time.distinct) < _ENOUGH:
        return ""
    same = one.numbers == time.numbers
    enough = same.sum() >= max(_ENOUGH, _SHARED * one.known)
    return f"equal to '{time.name}' in many patients: another time of follow-up" if enough else ""


def _missing_follows_time(one: Profile, time: Profile | None) -> str:
    """Say where a value is missing in those followed shortly: it was measured while they were followed."""
    if time is None or time.numbers is None:
        return ""
    usable = ~np.isnan(time.numbers)
    missing, recorded = usable & (one.codes < 0), usable & (one.codes >= 0)
    if min(missing.sum(), recorded.sum()) < _ENOUGH:
        return ""
    ranks = pd.Series(time.numbers[usable]).rank().to_numpy()
    inside = missing[usable]
    wins = ranks[inside].sum() - inside.sum() * (inside.sum() + 1) / 2
    share = float(wins / (inside.sum() * (~inside).sum()))
    return "recorded mostly in patients with long follow-up" if share < _TELLS_FOLLOW_UP else ""


def _marks_missing(one: Profile, later: list[Profile]) -> str:
    """Say where a column of two values tells whether a later one was recorded."""
    if one.distinct != 2 or one.known < one.rows:
        return ""
    for other in later:
        recorded: NDArray[np.bool_] = other.codes >= 0
        if 0 < recorded.sum() < len(recorded) and len(np.unique(np.stack([one.codes, recorded]), axis=1).T) == 2:
            return f"says whether '{other.name}' was recorded"
    return ""


def _useless(one: Profile, subjects: pd.Series | None) -> str:
    if re.fullmatch(r"strat\d+\w*", one.name, re.IGNORECASE):
        return "belongs to a stratification factor"
    if one.kind == "empty":
        return "holds no values"
    if one.distinct < 2:
        return "the same value throughout"
    if one.kind == "date":
        return "dates; the time from a date to randomisation may be a covariate"
    numbered = _numbered(one, subjects)
    if numbered:
        return numbered
    if _SITE.search(one.name) and (one.distinct > _FEW or _SITE_NUMBER.fullmatch(one.name)):
        return "the study centre by its name: it does not transport to another trial"
    if one.kind == "text" and one.distinct > one.known / 2:
        return "almost a value of its own in every row: names or free text"
    if one.kind == "text" and one.distinct > _MOST_CATEGORIES:
        return f"{one.distinct:,} categories: join them first"
    if one.known < one.rows / 2:
        return "missing in more than half of the patients"
    return ""


def _numbered(one: Profile, subjects: pd.Series | None) -> str:
    """Say where a column numbers the patients, or may: a draft leaves out what a study would take."""
    if one.numbers is not None and subjects is not None:
        why = numbers_patients(one.numbers, subjects)
        if why:
            return f"numbers the patients: {why}"
    if one.kind == "number" and one.whole and one.distinct == one.known == one.rows:
        return "a whole number of its own in every row: a number of the patient?"
    return "a subject by its name" if names_subjects(one) and one.distinct > _FEW else ""


def _restates(one: Profile, known: list[Profile]) -> str:
    for other in known:
        if (
            other.numbers is not None
            and other.kind == "number"
            and one.distinct <= _FEW
            and _groups(one, other.numbers)
        ):
            return f"a grouping of '{other.name}'"
        # Of values that hardly repeat, anything is a function; there only the same order of patients says something.
        repeats = other.distinct <= other.known / 2
        if (repeats and follows(one, other)) or _same_order(one, other):
            return f"a function of '{other.name}'"
    return ""


def _same_order(one: Profile, other: Profile) -> bool:
    """Whether two numeric columns rank the patients alike, or the other way round, as a change of unit does."""
    if one.numbers is None or other.numbers is None or min(one.distinct, other.distinct) < _ENOUGH:
        return False
    both = ~np.isnan(one.numbers) & ~np.isnan(other.numbers)
    first, second = (pd.Series(column[both]).rank() for column in (one.numbers, other.numbers))
    return bool(both.sum() >= _ENOUGH and ((first == second).all() or (first + second == len(first) + 1).all()))


def _groups(one: Profile, numbers: NDArray[np.float64]) -> bool:
    """Whether the levels of a column are intervals of the numbers, one beside the other."""
    both = (one.codes >= 0) & ~np.isnan(numbers)
    if both.sum() < _ENOUGH:
        return False
    ends = sorted(
        (numbers[both & (one.codes == level)].min(), numbers[both & (one.codes == level)].max())
        for level in np.unique(one.codes[both])
    )
    return len(ends) > 1 and all(before[1] < after[0] for before, after in itertools.pairwise(ends))


def _kind(one: Profile) -> Kind:
    if one.kind == "binary":
        return "binary"
    if (
        one.kind == "text"
        or one.distinct == 2
        or (one.distinct <= _MOST_CATEGORIES and one.whole and _CATEGORY.fullmatch(one.name))
    ):
        return "categorical"
    return "numeric"


def _why(one: Profile) -> str:
    said = one.says()
    if one.kind == "number" and one.whole and 2 < one.distinct <= _FEW and _kind(one) == "numeric":
        said += f"; {one.distinct} whole values: list it as categorical if they are codes"
    if _SITE.search(one.name):
        said += "; if this is the study centre, take it out: it does not transport to another trial"
    return said


def restated(
    frame: pd.DataFrame, guesses: CovariateGuesses, endpoint: Endpoint, treatment: Treatment
) -> CovariateGuesses:
    """Move covariates that tell the arm or the outcome to the columns measured later.

    Parameters
    ----------
    frame
        Columns ``arm``, ``time``, ``event`` and the covariates with their types, one row a patient.
    guesses
        What was guessed.
    endpoint, treatment
        The roles, as guessed.

    Returns
    -------
    CovariateGuesses
        Without the covariates that a study would refuse.
    """
    later, kept = dict(guesses.post_baseline), []
    for guess in guesses.covariates:
        try:
            refuse_restatement(frame, Covariate(guess.name, guess.kind, guess.name), endpoint, treatment)
        except DataError as error:
            said = str(error)
            later[guess.name] = (
                "tells the event or the time"
                if "endpoint's column" in said
                else "recorded in one arm only"
                if "recorded in no" in said
                else "a function of the arm"
            )
        else:
            kept.append(guess)
    return CovariateGuesses(tuple(kept), later, guesses.left_out)

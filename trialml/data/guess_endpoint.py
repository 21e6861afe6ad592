"""Guesses of the endpoint: time, event and its coding, unit, horizon and tau; each with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.guess_arms import Guess
from trialml.data.profiles import Profile, say_levels
from trialml.result import format_number

__all__ = ["EndpointGuesses", "guess_endpoint", "guess_reading_time"]

_TIME = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"aval|days?|weeks|months|years|(os|pfs|dfs|efs|ttp|tte|t2e|surv(ival)?|fu|follow_?up|event)_?(time|days?|weeks|months|years|mo|yrs?|t)?",
        r"time(_?to_?\w+)?|\w*_(time|days|weeks|months|years)|\w*time|t_\w+|futime|survtime|duration",
    )
)
_CENSOR = re.compile(r"(\w*_)?(cnsr|cens(or(ed|ing)?)?)(_\w*)?", re.IGNORECASE)
_EVENT = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"event|(\w*_)?event(_\w*)?|(\w*_)?status|fustat",
        r"\w*(progress|death|died|dead|relaps|recur|fail)\w*|(os|pfs|dfs|efs)(_?ind(icator)?)?",
    )
)
_HAPPENED = re.compile(
    r"dead|died|death|yes|y|true|event|progress\w*|relapsed?|failed|failure|deceased|recurrence", re.IGNORECASE
)
_NOT_HAPPENED = re.compile(r"alive|living|no|n|false|censored?|none|no event|event[- ]?free|no \w+", re.IGNORECASE)
_UNITS = {
    "days": r"days?|dy",
    "weeks": r"weeks?|wks?",
    "months": r"months?|mos?|mths?",
    "years": r"years?|yrs?",
}
_ROUND = {
    "days": (14, 28, 30, 56, 60, 90, 100, 120, 180, 200, 270, 300, 365, 540, 730, 1095, 1460, 1825, 2555, 3650),
    "weeks": (2, 4, 6, 8, 12, 16, 20, 24, 26, 36, 48, 52, 78, 104, 156, 208, 260),
    "months": (1, 2, 3, 6, 9, 12, 18, 24, 30, 36, 48, 60, 84, 120),
    "years": (0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20),
}
_FOLLOWED = 0.2
_FEWEST_EVENTS = 10
_CERTAINLY_DAYS = 400
_FEWEST_TIMES = 10
_EARLIER = 0.8


class EndpointGuesses(NamedTuple):
    """Time and event columns, codes that mean event and censored, and the unit."""

    time: Guess
    event: Guess
    event_values: tuple[str, ...]
    censored_values: tuple[str, ...]
    why_coding: str
    unit: Guess


def guess_endpoint(profiles: Mapping[str, Profile], taken: set[str]) -> EndpointGuesses:
    """Guess the time to event, the event and the codes; an unclear coding is left open, since a wrong one reverses all."""
    free = [one for one in profiles.values() if one.name not in taken]
    times = [
        (rank, one)
        for rank, pattern in enumerate(_TIME)
        for one in free
        if pattern.fullmatch(one.name) and one.kind == "number" and one.distinct >= _FEWEST_TIMES and _positive(one)
    ]
    events = [
        (rank, one)
        for rank, pattern in enumerate((re.compile(r"cnsr", re.IGNORECASE), *_EVENT, _CENSOR))
        for one in free
        if pattern.fullmatch(one.name) and 2 <= one.distinct <= 4 and one.kind in ("number", "binary", "text")
    ]
    if not times or not events:
        return EndpointGuesses(
            Guess(times[0][1].name, "a positive number with a name like a time's")
            if times
            else Guess("", "the column of the time to event or censoring"),
            Guess(events[0][1].name, "few codes and a name like an event's")
            if events
            else Guess("", "the column that says whether the event happened"),
            (),
            (),
            "which codes mean that the event happened, and which censored",
            _unit(times[0][1]) if times else Guess("", "days, weeks, months or years"),
        )
    time, event = _best_pair(times, events)
    happened, censored, why = _coding(event, time)
    paired = "; the two names belong together" if _one_stem(time.name, event.name) else ""
    return EndpointGuesses(
        Guess(time.name, f"positive numbers ({time.says()}) and a name like a time's{paired}"),
        Guess(event.name, f"few codes and a name like an event's or a censoring indicator's{paired}"),
        happened,
        censored,
        why,
        _unit(time),
    )


def _best_pair(times: Sequence[tuple[int, Profile]], events: Sequence[tuple[int, Profile]]) -> tuple[Profile, Profile]:
    """Return the pair whose names belong together, else the best of each."""
    ranked = [
        (not _one_stem(time.name, event.name), rank_time + rank_event, place, time, event)
        for place, ((rank_time, time), (rank_event, event)) in enumerate(
            (one, other) for one in times for other in events
        )
    ]
    best = min(ranked, key=lambda item: item[:3])
    return best[3], best[4]


def _positive(one: Profile) -> bool:
    assert one.numbers is not None
    known = one.numbers[~np.isnan(one.numbers)]
    return bool((known >= 0).all() and (known > 0).mean() > 0.9)


def _one_stem(time: str, event: str) -> bool:
    """Whether two names share a first word, as os_months and os_event do."""
    first, other = (re.split(r"[_.]", name.lower()) for name in (time, event))
    return first[0] == other[0] and len(first[0]) > 1 and (len(first) > 1 or len(other) > 1)


def _coding(event: Profile, time: Profile) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Return the codes of event and censored and why; none where the name and the data do not agree on them."""
    levels = sorted(event.levels)
    counts = say_levels(event.levels)
    happened = tuple(level for level in levels if _HAPPENED.fullmatch(level))
    not_happened = tuple(level for level in levels if _NOT_HAPPENED.fullmatch(level))
    if happened and len(happened) + len(not_happened) == len(levels):
        return happened, not_happened, f"the words say so ({counts}): confirm against the trial's publication"
    medians = _medians(event, time, levels)
    said = f"{counts}{_say_medians(medians)}"
    if event.name.lower() == "cnsr" and "0" in levels:
        rest = tuple(level for level in levels if level != "0")
        return (
            ("0",),
            rest,
            f"ADaM's CNSR: 0 means that the event happened ({said}): confirm against the trial's publication",
        )
    if set(levels) != {"0", "1"}:
        return (), (), f"which of the codes mean that the event happened ({said})"
    earlier = _earlier(medians)
    if _CENSOR.fullmatch(event.name):
        if earlier == "1":
            return (
                (),
                (),
                f"the name '{event.name}' reads as 1 = censored, but patients with 1 have the shorter times, as events have ({said}): look it up",
            )
        return ("0",), ("1",), f"the name reads as 1 = censored ({said}): confirm against the trial's publication"
    if re.search("status|stat$", event.name, re.IGNORECASE) and earlier == "0":
        return (
            (),
            (),
            f"1 usually means event, but patients with 0 have the shorter times, as events have ({said}): look it up",
        )
    return ("1",), ("0",), f"the name reads as 1 = it happened ({said}): confirm against the trial's publication"


def _medians(event: Profile, time: Profile, levels: Sequence[str]) -> dict[str, float]:
    """Return the median time of each code that enough patients have."""
    assert time.numbers is not None
    found = {}
    for level in levels:
        own = time.numbers[event.rows_with(level)]
        own = own[~np.isnan(own)]
        if len(own) >= SMALLEST_CELL:
            found[level] = float(np.median(own))
    return found


def _say_medians(medians: Mapping[str, float]) -> str:
    if not medians:
        return ""
    shown = ", ".join(f"{level!r} about {format_number(value, 2)}" for level, value in medians.items())
    return f"; median time by code: {shown}"


def _earlier(medians: Mapping[str, float]) -> str | None:
    """Return the code of clearly shorter times: events come before the end of follow-up."""
    if set(medians) != {"0", "1"}:
        return None
    if medians["1"] < _EARLIER * medians["0"]:
        return "1"
    return "0" if medians["0"] < _EARLIER * medians["1"] else None


def _unit(time: Profile) -> Guess:
    for place, words in (("name", time.name), ("label", time.label)):
        for unit, pattern in _UNITS.items():
            if re.search(rf"(?<![a-z])({pattern})(?![a-z])", words.replace("_", " "), re.IGNORECASE):
                return Guess(unit, f"the time's {place} says so")
    assert time.numbers is not None
    if float(np.nanpercentile(time.numbers, 90)) > _CERTAINLY_DAYS:
        return Guess("days", f"a tenth of the times are over {_CERTAINLY_DAYS}, too long for weeks or months: confirm")
    return Guess("", "days, weeks, months or years")


def guess_reading_time(
    time: NDArray[np.float64], event: NDArray[np.bool_] | None, arm: NDArray[np.intp], unit: str
) -> tuple[float | None, str]:
    """Guess where risks may be read: the latest round time to which a fifth of each arm is followed, with ten events.

    Parameters
    ----------
    time
        Times, shape (n,), NaN where missing.
    event
        Whether the event happened, shape (n,); None where the coding is open.
    arm
        The arm's number, shape (n,); negative for patients of no arm that counts.
    unit
        The unit of the time, empty where it is not known.

    Returns
    -------
    value : float or None
        None where no round time will do.
    why : str
        The reason.
    """
    used = ~np.isnan(time) & (arm >= 0)
    arms = np.unique(arm[used])
    rounds = _ROUND.get(unit) or tuple(sorted({step * 10.0**power for power in range(-1, 5) for step in (1, 2, 5)}))
    for value in sorted(rounds, reverse=True):
        shares = [float((time[used & (arm == one)] >= value).mean()) for one in arms]
        by_then = 0 if event is None else int((event & used & (time <= value)).sum())
        if shares and min(shares) >= _FOLLOWED and (event is None or by_then >= _FEWEST_EVENTS):
            least = f"{100 * min(shares):.0f} %"
            told = "" if event is None else f", with {by_then:,} events by then"
            return (
                value,
                f"the latest round time at which at least 20 % of each arm are followed (least: {least}){told}: put the protocol's",
            )
    return None, "a time to which both arms are followed, with ten events by then"

"""Checks of units: a part of the values that lies a conversion factor away from the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_catalogue import Seen, Verdict, passed, unmade
from trialml.data.quality_columns import Codes, Patients
from trialml.data.quality_sites import site_of
from trialml.data.quality_values import apart
from trialml.result import format_number

__all__ = ["check_units", "group_away", "part_away"]

_CALENDAR = (7.0, 12.0, 30.4375, 52.1786, 365.25)
_CONVERSIONS = (2.2046, 2.54, 7.0, 10.0, 12.0, 18.016, 30.4375, 38.67, 88.42, 100.0, 365.25, 1000.0)
_LONGEST = {"days": 14_610.0, "weeks": 2_087.0, "months": 480.0, "years": 40.0}
"""Forty years: longer than any trial has followed patients."""

_UNLISTED = 0.1
"""Distance from the nearest factor, on the log scale and beyond sampling error, from which a ratio is none of the list."""
_FEWEST, _FEWEST_TIMES = 4, 8
_SPREADS_APART = 6.0
_PLAIN = 30
_CLUSTER = 20
_HEAPED, _FEW_VALUES = 0.2, 8


class Away(NamedTuple):
    """Values a factor away from the rest: the factor (below 1 where they are too small), which they are, and other factors that fit."""

    factor: float
    which: NDArray[np.bool_]
    others: tuple[float, ...] = ()


def check_units(patients: Patients) -> Iterator[Seen]:
    """Yield what DQ014 (the time) and DQ015 (numeric covariates) find."""
    site = site_of(patients)
    by_site = [("site", site.coded)] if site is not None else []
    found = (
        [unmade("DQ014", "Time", "The endpoint is no time to event.")]
        if not patients.timed
        else list(_time(patients, [*by_site, ("stratum of the randomisation", patients.cells)]))
    )
    yield from found or [passed("DQ014", "Time", "The times agree with their declared unit.")]
    # A stratum of the randomisation may be defined by a covariate, so its values may well lie apart.
    found = list(_covariates(patients, by_site))
    yield from found or [passed("DQ015", "Numeric covariates", "No part of the values lies a conversion factor away.")]


def _time(patients: Patients, groups: list[tuple[str, Codes]]) -> Iterator[Seen]:
    time, unit = patients.trial.time, patients.trial.endpoint.unit
    subject, done = f"Time in {unit}", "Kept: mend the data or the unit in the study file."
    whole = time == np.round(time)
    shorter = _fractions(time, whole, patients.trial.event)
    if shorter is not None:
        found = f"{{count}} times carry decimals and are far shorter than the whole ones, of events and of the censored: they may be in a larger unit than {unit}."
        if unit != "days":
            found = f"{{count}} times are whole {unit} and far longer than those with decimals, of events and of the censored: they may be in a smaller unit."
            shorter = ~shorter
        yield Seen("DQ014", subject, "error", int(shorter.sum()), found, done, patients.rows_where(shorter))
        return
    beyond = time > _LONGEST[unit]
    if beyond.any():
        found = f"{{count}} times are longer than 40 years in {unit}: the unit may be another."
        yield Seen("DQ014", subject, "error", int(beyond.sum()), found, done, patients.rows_where(beyond))
        return
    few = int((~whole).sum())
    if _FEWEST <= few < 0.2 * len(time) and np.median(time[~whole]) < np.median(time[whole]) / 4:
        found = f"{{count}} times carry decimals and are far shorter, while all others are whole {unit}: they may be in a larger unit."
        yield Seen("DQ014", subject, "error", few, found, done, patients.rows_where(~whole))
        return
    away = part_away(time, _CALENDAR, _FEWEST_TIMES)
    if away is not None:
        found = (
            f"{{count}} times are about {_words(away.factor, *away.others)} those of the rest: the unit may be mixed."
        )
        yield Seen("DQ014", subject, "error", int(away.which.sum()), found, done, patients.rows_where(away.which))
        return
    copy = copy_away(np.where(patients.trial.event, np.nan, time), _CALENDAR)
    if copy is not None:
        found = f"{{count}} of the censored have times about {_words(copy.factor)} those of the other censored, and spread alike: the unit may be mixed, for events too."
        yield Seen("DQ014", subject, "error", int(copy.which.sum()), found, done, patients.rows_where(copy.which))
        return
    yield from _by_group(patients, time, groups, "DQ014", subject, done)


def _fractions(
    time: NDArray[np.float64], whole: NDArray[np.bool_], event: NDArray[np.bool_]
) -> NDArray[np.bool_] | None:
    """Return which times carry decimals where these are far shorter than the whole ones, in events and in the censored.

    Censoring at a round time of a unit with decimals makes the censored differ so, but not the events.
    """
    for group in (event, ~event):
        with_, without = time[group & ~whole], time[group & whole]
        if min(len(with_), len(without)) < 2 * _FEWEST or np.median(with_) >= np.median(without) / 4:
            return None
    return ~whole


def _covariates(patients: Patients, groups: list[tuple[str, Codes]]) -> Iterator[Seen]:
    for column in patients.varying:
        if not column.numeric or len(column.coded.levels) < 10:
            continue
        # A code for missing is no value in another unit; DQ016 has named it.
        coded = np.append(apart(column.coded), False)[column.coded.codes]
        numbers = np.where(coded, np.nan, column.numbers)
        away = part_away(numbers, _CONVERSIONS)
        done = "Kept: mend the data."
        if away is None:
            yield from _by_group(patients, numbers, groups, "DQ015", column.name, done)
            continue
        found = f"{{count}} values are about {_words(away.factor, *away.others)} the rest, with a gap between: units may be mixed."
        rows = patients.rows_where(away.which)
        yield Seen("DQ015", column.name, "warning", int(away.which.sum()), found, done, rows)


def _by_group(
    patients: Patients,
    values: NDArray[np.float64],
    groups: list[tuple[str, Codes]],
    number: str,
    subject: str,
    done: str,
) -> Iterator[Seen]:
    factors = _CALENDAR if number == "DQ014" else _CONVERSIONS
    for kind, coded in groups:
        seen = False
        for place, factor in group_away(values, coded, factors):
            seen = True
            which = coded.codes == place
            found = f"In {kind} '{coded.levels[place]}' the {{count}} values are about {_words(factor)} those elsewhere: units may be mixed."
            verdict: Verdict = "error" if number == "DQ014" else "warning"
            yield Seen(number, subject, verdict, int(which.sum()), found, done, patients.rows_where(which))
        if seen:
            return


def _words(factor: float, *others: float) -> str:
    near, *rest = (format_number(max(one, 1 / one), 4) for one in (factor, *others))
    said = near + (f" (or {', or '.join(rest)})" if rest else "")
    return f"{said} times" if factor > 1 else f"1/{said} of"


def part_away(values: NDArray[np.float64], factors: tuple[float, ...], fewest: int = _FEWEST) -> Away | None:
    """Find values that lie one of some factors away from the bulk, with a valley between.

    Parameters
    ----------
    values
        Positive numbers, NaN where missing, shape (n,); zeros are passed over, and a column with a negative value has no unit
        that a factor would change.
    factors
        Above 1; each is tried upwards and downwards.
    fewest
        Values that a part has at least.

    Returns
    -------
    Away or None
        On the log scale the bulk has the median m and the spread s, 1.4826 times the median absolute deviation. A factor f
        counts where log f is at least 6 s, at least `fewest` values lie about m + log f, five times as many as in the emptiest
        stretch between, and their median is within its own error of m + log f: a skewed tail has no such valley.
    """
    usable = np.isfinite(values) & (values > 0)
    if (values < 0).any() or usable.sum() < _PLAIN:
        return None
    logs = np.log(values[usable])
    ordered = np.sort(logs)
    bulk = _bulk(ordered)
    middle = float(np.median(bulk))
    spread = max(1.4826 * float(np.median(np.abs(bulk - middle))), 0.01)
    for factor in factors:
        for sign in (1.0, -1.0):
            edge = _valley(ordered, middle, spread, sign * np.log(factor), fewest)
            if edge is None:
                continue
            which = np.zeros(len(values), dtype=np.bool_)
            which[usable] = logs > edge if sign > 0 else logs < edge
            apart = abs(float(np.median(np.log(values[which]))) - middle)
            error = 1.2533 * spread * float(np.sqrt(1 / which.sum() + 1 / len(bulk)))
            # The first factor that fits is not the nearest, and few values cannot tell 10 from 12: all that fit are named.
            near, *others = _fitting(factors, apart, error)
            if abs(apart - float(np.log(near))) > 2.6 * error + _UNLISTED:
                # A conversion that the list lacks: the ratio as seen says more than a factor that does not fit.
                return Away(float(np.exp(sign * apart)), which, ())
            return Away(near**sign, which, tuple(one**sign for one in others))
    return None


def _fitting(factors: tuple[float, ...], apart: float, error: float = 0.0) -> list[float]:
    """Return the nearest factor, and those within 2.6 standard errors, as far as 99 of 100 samples lie, or within a hundredth."""
    away = {factor: abs(apart - float(np.log(factor))) for factor in factors}
    near, *others = sorted(away, key=lambda factor: away[factor])
    return [near, *(one for one in others if away[one] <= 2.6 * error + 0.01)]


def copy_away(values: NDArray[np.float64], factors: tuple[float, ...]) -> Away | None:
    """Find values that fall into two clusters of the same shape, one of the factors apart, with a valley between.

    Parameters
    ----------
    values
        Positive numbers, NaN where missing, shape (n,).
    factors
        Above 1.

    Returns
    -------
    Away or None
        The lower cluster. On the log scale both clusters hold at least twenty values and a twentieth of all; about the cut, over a quarter
        of log f, the values are at most a fifth as dense as in the middle 80 % of either cluster; the medians are log f apart, within 3.3 of
        their standard errors and 0.1, which leaves room for whole numbers;
        where a fifth of a cluster is one value, or it has fewer than eight, half of each are one and the same value, to a unit; and the clusters, medians laid on each other, do not differ
        in a Kolmogorov-Smirnov test at a level of 5 %.
    """
    usable = np.isfinite(values) & (values > 0)
    if (values < 0).any() or usable.sum() < 2 * _CLUSTER:
        return None
    logs = np.sort(np.log(values[usable]))
    fewest = max(_CLUSTER, len(logs) // 20)
    for factor in factors:
        width = np.log(factor) / 4
        # The emptiest place first: the cut lies in the middle of the valley.
        cuts = np.linspace(logs[fewest - 1], logs[-fewest], 60)
        inside = np.searchsorted(logs, cuts + width / 2) - np.searchsorted(logs, cuts - width / 2)
        for cut in cuts[inside == inside.min()]:
            lower, upper = logs[logs < cut], logs[logs >= cut]
            if min(len(lower), len(upper)) >= fewest and _alike(lower, upper, np.log(factor), inside.min() / width):
                which = usable.copy()
                which[usable] = np.log(values[usable]) < cut
                return Away(1 / _fitting(factors, float(np.median(upper) - np.median(lower)))[0], which)
    return None


def _alike(lower: NDArray[np.float64], upper: NDArray[np.float64], shift: float, valley: float) -> bool:
    """Whether two clusters are as far apart as a unit, with a valley between, and of one shape."""
    from scipy.stats import ks_2samp

    spans = [float(np.diff(np.quantile(one, [0.1, 0.9]))[0]) for one in (lower, upper)]
    densities = [0.8 * len(one) / max(span, 0.01) for one, span in zip((lower, upper), spans, strict=True)]
    if valley * 5 > min(densities):
        return False
    if not _heaps_agree(lower, upper, shift):
        return False
    middles = [float(np.median(one)) for one in (lower, upper)]
    error = 1.2533 * np.hypot(lower.std() / np.sqrt(len(lower)), upper.std() / np.sqrt(len(upper)))
    if abs(middles[1] - middles[0] - shift) > 3.3 * error + 0.1:
        return False
    return bool(ks_2samp(lower - middles[0], upper - middles[1]).pvalue > 0.05)


def _heaps_agree(lower: NDArray[np.float64], upper: NDArray[np.float64], shift: float) -> bool:
    """Whether the commonest value of one cluster is that of the other, to a unit, where values are heaped: visits are no units."""
    common = []
    heaped = False
    for one in (lower, upper):
        values, counts = np.unique(np.round(np.exp(one), 6), return_counts=True)
        common.append((float(values[counts.argmax()]), float(counts.max() / len(one))))
        heaped |= len(values) < _FEW_VALUES or common[-1][1] >= _HEAPED
    (low, share), (high, other) = common
    return not heaped or (min(share, other) >= 0.5 and abs(high / np.exp(shift) - low) <= 1)


def _bulk(ordered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the larger of two clusters where the values fall into two, otherwise all of them."""
    n = len(ordered)
    before = np.arange(1, n)
    sums = np.cumsum(ordered)[:-1]
    low, high = sums / before, (ordered.sum() - sums) / (n - before)
    cut = int(np.argmax(before * (n - before) * (high - low) ** 2)) + 1
    first, second = ordered[:cut], ordered[cut:]
    if min(len(first), len(second)) < _FEWEST:
        return ordered
    apart = second.mean() - first.mean() > 4 * max(first.std(), second.std())
    return max(first, second, key=len) if apart else ordered


def _valley(ordered: NDArray[np.float64], middle: float, spread: float, shift: float, fewest: int) -> float | None:
    """Return where the values about ``middle + shift`` part from the bulk, None where they do not."""
    distance, sign = abs(shift), np.sign(shift)
    if distance < _SPREADS_APART * spread:
        return None
    outward = sign * (ordered - middle)
    outward = outward if sign > 0 else outward[::-1]
    width = distance / 4
    # Windows of one width, from the flank of the bulk to the flank of the part.
    starts = np.linspace(distance / 4, distance * 3 / 4 - width / 2, 9)
    inside = np.searchsorted(outward, starts + width) - np.searchsorted(outward, starts)
    low, high = np.searchsorted(outward, [distance - width / 2, distance + width / 2])
    part = outward[low:high]
    if len(part) < fewest or inside.min() * 5 > len(part):
        return None
    if abs(np.median(part) - distance) > 4 * spread / np.sqrt(len(part)) + 0.03:
        return None
    own = 1.4826 * float(np.median(np.abs(part - np.median(part))))
    if len(part) >= _CLUSTER and not spread / 4 <= max(own, 0.01) <= 4 * spread:
        return None
    emptiest = np.flatnonzero(inside == inside.min())
    start = starts[emptiest[len(emptiest) // 2]]
    return float(middle + sign * (start + width / 2))


def group_away(values: NDArray[np.float64], coded: Codes, factors: tuple[float, ...]) -> list[tuple[int, float]]:
    """Find groups whose median lies a factor away from that of all other patients.

    Parameters
    ----------
    values
        Positive numbers, NaN where missing, shape (n,).
    coded
        The groups.
    factors
        Above 1.

    Returns
    -------
    list of (int, float)
        The group's place and the factor. On the log scale the difference of medians must exceed six standard errors (of
        medians of a normal distribution, 1.2533 s / sqrt(m)) and 0.6, and be within 3.3 of them, and 0.05, of log f; the group's
        spread must be half to twice that of the rest, since another unit moves the logarithms and leaves their spread.
    """
    usable = np.isfinite(values) & (values > 0) & (coded.codes >= 0)
    if (values < 0).any() or len(coded.levels) < 2 or usable.sum() < _PLAIN:
        return []
    logs, codes = np.log(values[usable]), coded.codes[usable]
    medians, sizes = _medians(logs, codes, len(coded.levels))
    found = []
    overall = np.median(logs)
    for place in np.flatnonzero((sizes >= SMALLEST_CELL) & (np.abs(medians - overall) > 0.3)):
        rest = logs[codes != place]
        if len(rest) < _PLAIN:
            continue
        middle = np.median(rest)
        spread = max(1.4826 * float(np.median(np.abs(rest - middle))), 0.01)
        error = 1.2533 * spread * float(np.sqrt(1 / sizes[place] + 1 / len(rest)))
        difference = float(medians[place] - middle)
        own = 1.4826 * float(np.median(np.abs(logs[codes == place] - medians[place])))
        if abs(difference) < max(6 * error, 0.6) or not spread / 2 <= max(own, 0.01) <= 2 * spread:
            continue
        near = _fitting(factors, abs(difference))[0]
        if abs(abs(difference) - np.log(near)) <= 3.3 * error + 0.05:
            found.append((int(place), near if difference > 0 else 1 / near))
    return found


def _medians(
    logs: NDArray[np.float64], codes: NDArray[np.int64], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the median of each group (NaN for an empty one) and the sizes, all groups in one sort."""
    order = np.lexsort((logs, codes))
    sizes = np.bincount(codes, minlength=groups)
    starts = np.cumsum(sizes) - sizes
    medians = np.full(groups, np.nan)
    filled = sizes > 0
    low, high = starts[filled] + (sizes[filled] - 1) // 2, starts[filled] + sizes[filled] // 2
    medians[filled] = (logs[order[low]] + logs[order[high]]) / 2
    return medians, sizes

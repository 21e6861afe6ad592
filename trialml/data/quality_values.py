"""Checks of single covariates: missing, constant, restated, misspelt, extreme, coded and heaped values."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_catalogue import Seen, Verdict, passed
from trialml.data.quality_columns import Codes, Column, Patients
from trialml.result import format_number

__all__ = ["apart", "check_values"]

_FAR = 30
_MANY_MISSING = 20
_SENTINELS = np.array([sign * int(digit * places) for sign in (1, -1) for digit in "987" for places in range(1, 6)])
_WORDS_FOR_MISSING = re.compile(
    r"unk|unknown|missing|not (?:done|known|available|recorded|reported|assessed)|n/?d|n/?k|null|\?+|-+|n\.a\.?",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"(?:^|[^a-z])(?:(?:week|wk|month|visit|cycle|day|year)[\s_.-]*0*[1-9]\d*|follow[\s_-]*up|post|nadir|best|response|change|chg|"
    r"on[\s_-]*treatment|end[\s_-]*of[\s_-]*(?:treatment|study)|eot|eos|discontinu\w*|last)(?:$|[^a-z])",
    re.IGNORECASE,
)
_EDGE_TIMES = 5
_HEAPED_SHARE = 0.05
_HEAPED_LEVELS = 20
_NEARLY_DETERMINED = 0.98
_Candidate = tuple[str, NDArray[np.float64], NDArray[np.int64], Column | None]


def check_values(patients: Patients) -> Iterator[Seen]:
    """Yield what DQ004 to DQ007, DQ011, DQ016 to DQ020, DQ025 and DQ043 find."""
    yield from _missing(patients)
    yield from _constant(patients)
    yield from _restated(patients)
    yield from _spelling(patients)
    yield from _extreme(patients)
    yield from _codes_for_missing(patients)
    yield from _heaped(patients)
    yield from _numbers_as_text(patients)
    yield from _words_for_missing(patients)
    yield from _collinear(patients)
    yield from _later_names(patients)
    yield from _rare(patients)


def _missing(patients: Patients) -> Iterator[Seen]:
    n, clean = len(patients), True
    for column in patients.columns:
        count = n - column.coded.known
        if count:
            clean = False
            verdict: Verdict = "warning" if 100 * count > _MANY_MISSING * n else "note"
            found = f"{{count}} values of {n:,} are missing."
            done = "Imputed blind to arm and outcome, with an indicator."
            yield Seen("DQ004", column.name, verdict, count, found, done)
    if clean:
        yield passed("DQ004", "Baseline covariates", "No value is missing.")


def _constant(patients: Patients) -> Iterator[Seen]:
    if not patients.constant:
        yield passed("DQ005", "Baseline covariates", "Every covariate varies.")
    for column in patients.columns:
        if column.name in patients.constant:
            seen = column.coded.known > 0
            found = "All patients of the primary contrast have the same value." if seen else "No patient has a value."
            if column.name in patients.trial.recorded:
                found = f"Hardly a category has {SMALLEST_CELL} patients, so that nothing is left to compare."
            yield Seen("DQ005", column.name, "note", len(patients), found, "Left out of every model.")


def _restated(patients: Patients) -> Iterator[Seen]:
    columns, clean = patients.varying, True
    shapes = [np.sort(column.coded.counts) for column in columns]
    for place, first in enumerate(columns):
        for other in range(place + 1, len(columns)):
            if np.array_equal(shapes[place], shapes[other]) and _same_groups(first.coded, columns[other].coded):
                clean = False
                names = f"{first.name}, {columns[other].name}"
                found = "The two covariates restate each other: keep one."
                yield Seen("DQ006", names, "warning", len(patients), found, "Both kept.")
    if clean:
        yield passed("DQ006", "Baseline covariates", "No covariate restates another.")


def _same_groups(first: Codes, second: Codes) -> bool:
    """Whether two columns part the patients alike, whatever they call the parts."""
    if not np.array_equal(first.codes < 0, second.codes < 0):
        return False
    image = np.full(len(first.levels), -1, dtype=np.int64)
    known = first.codes >= 0
    image[first.codes[known]] = second.codes[known]
    return bool((image[first.codes[known]] == second.codes[known]).all()) and len(set(image)) == len(image)


def _spelling(patients: Patients) -> Iterator[Seen]:
    clean = True
    for column in patients.columns:
        if column.covariate.kind != "categorical":
            continue
        folded = [" ".join(str(level).casefold().split()) for level in column.coded.levels]
        names, inverse = np.unique(np.asarray(folded, dtype=object).astype(str), return_inverse=True)
        if len(names) == len(folded):
            continue
        clean = False
        within = np.bincount(inverse)[inverse] > 1
        # Of each set of spellings the commonest is taken for the right one.
        commonest = np.zeros(len(names))
        np.maximum.at(commonest, inverse, column.coded.counts)
        odd = within & (column.coded.counts < commonest[inverse])
        odd = odd if odd.any() else within
        found = "Some categories differ only by case or blanks ({count} values of the rarer spellings): merge them."
        count = int(column.coded.counts[odd].sum())
        yield Seen("DQ007", column.name, "warning", count, found, "Kept apart.", _rows(patients, column, odd))
    if clean:
        yield passed("DQ007", "Categories", "No two categories differ only by case or blanks.")


def _rare(patients: Patients) -> Iterator[Seen]:
    clean = True
    for column in patients.columns:
        if column.covariate.kind != "categorical":
            continue
        levels = np.array([str(level) not in column.covariate.shown for level in column.coded.levels], dtype=np.bool_)
        rare = levels & (column.coded.counts < SMALLEST_CELL)
        if rare.any():
            clean = False
            count, several = int(column.coded.counts[rare].sum()), int(rare.sum())
            which = f"{several} categories" if several > 1 else "a category"
            found = f"{{count}} values are in {which} of fewer than {SMALLEST_CELL} patients: a slip, a name, or a rare finding."
            done = "Called other in all results; [covariates.levels] of the study file declares what may be named."
            words = tuple(str(level) for level in column.coded.levels[rare])
            yield Seen("DQ043", column.name, "warning", count, found, done, _rows(patients, column, rare), words)
    if clean:
        yield passed("DQ043", "Categories", f"No category has fewer than {SMALLEST_CELL} patients, or it is declared.")


def _extreme(patients: Patients) -> Iterator[Seen]:
    clean = True
    for column in patients.varying:
        if not column.numeric:
            continue
        low, high = np.percentile(column.known, [25, 75])
        reach = _FAR * (high - low)
        beyond = (column.numbers < low - reach) | (column.numbers > high + reach)
        if high > low and beyond.any():
            clean = False
            found = f"{{count}} values lie more than {_FAR} interquartile ranges from the quartiles and may rule a model: check them."
            yield Seen("DQ011", column.name, "warning", int(beyond.sum()), found, "Kept.", patients.rows_where(beyond))
    if clean:
        yield passed("DQ011", "Numeric covariates", f"No value lies more than {_FAR} interquartile ranges away.")


def _codes_for_missing(patients: Patients) -> Iterator[Seen]:
    clean = True
    for column in patients.columns:
        coded = apart(column.coded) if column.numeric else np.zeros(0, dtype=np.bool_)
        if coded.any():
            clean = False
            shown = ", ".join(f"{level:g}" for level in column.coded.levels[coded])
            found = f"{{count}} values are {shown}, apart from all others: where that is a code for missing, leave the field empty."
            count = int(column.coded.counts[coded].sum())
            yield Seen(
                "DQ016", column.name, "warning", count, found, "Kept as numbers.", _rows(patients, column, coded)
            )
    if clean:
        yield passed("DQ016", "Numeric covariates", "No value looks like a code for missing.")


def apart(coded: Codes) -> NDArray[np.bool_]:
    """Say which levels are customary codes for missing and stand apart from the rest of the column."""
    levels = np.asarray(coded.levels, dtype=np.float64)
    custom = np.isin(levels, _SENTINELS)
    rest, weights = levels[~custom], coded.counts[~custom]
    if not custom.any() or len(rest) < 2:
        return np.zeros(len(levels), dtype=np.bool_)
    quantiles = np.array([0.01, 0.25, 0.75, 0.99]) * weights.sum()
    low, first, last, high = rest[np.searchsorted(np.cumsum(weights), quantiles)]
    width = (last - first) or (rest[-1] - rest[0])
    # Apart from every other value, not only beyond them: one mistyped giant must not hide a hundred 999.
    after = np.searchsorted(rest, levels)
    nearest = np.minimum(
        np.abs(levels - rest[np.maximum(after - 1, 0)]), np.abs(levels - rest[np.minimum(after, len(rest) - 1)])
    )
    # A single 88 may well be a value; a single 999 or 88.0 twice is less likely to be one.
    telling = (np.abs(levels) > 100) | (coded.counts > 1)
    beyond = telling & (nearest > 1.5 * width) & ((levels > high) | (levels < low))
    negative = (levels < 0) & (rest[0] >= 0)
    # 99 among ages is beyond the rest by little, but no age before it is as common.
    repeated = (levels > rest[-1]) & (coded.counts >= _EDGE_TIMES * max(1, int(weights[-10:].max())))
    return np.asarray(custom & (beyond | negative | repeated))


def _heaped(patients: Patients) -> Iterator[Seen]:
    clean = True
    candidates: list[_Candidate] = [
        (column.name, np.asarray(column.coded.levels, dtype=np.float64), column.coded.counts, column)
        for column in patients.varying
        if column.numeric
    ]
    if patients.timed:
        levels, counts = np.unique(patients.trial.time[patients.trial.event], return_counts=True)
        candidates.append(("Event times", levels, counts, None))
    for name, levels, counts, column in candidates:
        place = _heap(counts)
        if place is None or (column is not None and apart(column.coded)[place]):
            continue
        clean = False
        edge = column is not None and place in (0, len(levels) - 1)
        said = (
            "the edge of the range: a limit of detection, or none of something" if edge else "check what it stands for"
        )
        found = f"{{count}} patients have the value {format_number(float(levels[place]))}, five times as many as any other; {said}."
        which = patients.trial.time == levels[place] if column is None else column.coded.codes == place
        count = int(counts[place])
        yield Seen("DQ017", name, "note" if edge else "warning", count, found, "Kept.", patients.rows_where(which))
    if clean:
        yield passed("DQ017", "Numbers and event times", "No single value is far commoner than the rest.")


def _heap(counts: NDArray[np.int64]) -> int | None:
    """Return the place of a value that is far commoner than every other, None where there is none."""
    if len(counts) < _HEAPED_LEVELS:
        return None
    place = int(np.argmax(counts))
    second = int(np.partition(counts, -2)[-2])
    heaped = counts[place] > max(10, _EDGE_TIMES * second) and counts[place] >= _HEAPED_SHARE * counts.sum()
    return place if heaped else None


def _numbers_as_text(patients: Patients) -> Iterator[Seen]:
    clean = True
    for column in patients.columns:
        levels = column.coded.levels
        if column.covariate.kind == "categorical" and len(levels) >= 10 and all(map(_is_number, levels)):
            clean = False
            found = f"All {len(levels)} categories are numbers: where they are quantities, list it under numeric."
            yield Seen("DQ018", column.name, "note", column.coded.known, found, "Kept as categories.")
    if clean:
        yield passed("DQ018", "Categories", "No category list is a list of numbers.")


def _is_number(level: object) -> bool:
    try:
        float(str(level))
    except ValueError:
        return False
    return True


def _words_for_missing(patients: Patients) -> Iterator[Seen]:
    clean = True
    for column in patients.columns:
        if column.covariate.kind != "categorical":
            continue
        words = np.array([bool(_WORDS_FOR_MISSING.fullmatch(str(level).strip())) for level in column.coded.levels])
        if words.any():
            clean = False
            shown = ", ".join(f"'{level}'" for level in column.coded.levels[words])
            found = f"{{count}} values are {shown}: where that means missing, leave the field empty."
            count = int(column.coded.counts[words].sum())
            yield Seen("DQ019", column.name, "note", count, found, "Kept as a category.")
    if clean:
        yield passed("DQ019", "Categories", "No category is a word for missing.")


def _collinear(patients: Patients) -> Iterator[Seen]:
    columns = [column for column in _once(patients.varying) if column.covariate.kind != "categorical"]
    determined = _determined(columns, len(patients)) if len(columns) > 1 else []
    if determined:
        names = ", ".join(columns[place].name for place in determined)
        found = f"Each is determined by the other covariates to over {100 * _NEARLY_DETERMINED:.0f} % of its variance: keep fewer."
        yield Seen("DQ020", names, "note", len(patients), found, "Kept; the models shrink.")
    else:
        yield passed("DQ020", "Numeric covariates", "None is nearly determined by the others.")


def _once(columns: tuple[Column, ...]) -> list[Column]:
    """Leave out what restates an earlier column: DQ006 has said so."""
    kept: list[Column] = []
    for column in columns:
        shape = np.sort(column.coded.counts)
        if not any(
            np.array_equal(shape, np.sort(other.coded.counts)) and _same_groups(other.coded, column.coded)
            for other in kept
        ):
            kept.append(column)
    return kept


def _determined(columns: list[Column], n: int) -> list[int]:
    """Return the places of columns whose R squared on the others is over the limit, missing values at the mean.

    R squared is 1 - 1 / d with d the diagonal of the inverse correlation matrix. A millionth on that matrix' diagonal keeps
    the inverse where columns determine each other exactly.
    """
    if n < 10 * len(columns):
        return []
    centred = np.empty((len(columns), n))
    for place, column in enumerate(columns):
        mean = float(np.nanmean(column.numbers))
        centred[place] = np.where(np.isnan(column.numbers), 0.0, column.numbers - mean)
        centred[place] /= max(float(np.sqrt(np.mean(centred[place] ** 2))), np.finfo(float).tiny)
    correlation = centred @ centred.T / n
    inflation = np.diag(np.linalg.inv(correlation + 1e-6 * np.eye(len(columns))))
    return [int(place) for place in np.flatnonzero(1 - 1 / inflation > _NEARLY_DETERMINED)]


def _later_names(patients: Patients) -> Iterator[Seen]:
    clean = True
    for column in patients.columns:
        sounds_later = _LATER.search(column.name) or _LATER.search(column.covariate.label)
        if sounds_later and not column.covariate.of_visits:
            clean = False
            found = "Its name sounds as if it was measured after randomisation: where it was, list it in [data] post_baseline."
            yield Seen("DQ025", column.name, "note", column.coded.known, found, "Kept.")
    if clean:
        yield passed("DQ025", "Baseline covariates", "No name sounds later than baseline.")


def _rows(patients: Patients, column: Column, levels: NDArray[np.bool_]) -> NDArray[np.int64]:
    which = np.append(levels, False)[column.coded.codes]
    return patients.rows_where(which)

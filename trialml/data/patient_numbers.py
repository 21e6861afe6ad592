"""Numbers of patients: columns of whole numbers that say who a patient is, whatever they are called."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.columns import as_codes

__all__ = ["numbers_of_a_register", "numbers_patients"]

_ENOUGH = 20
"""Patients below which whole numbers without a tie, or in the order of the subjects, may be chance."""
_NEARLY_ALL = 0.9
_TIES = 14.0
"""Ties that numbers of a measurement would have on average; none at all then has a probability of exp(-14), 1 in a million."""
_SAMPLE = 200
_LONGEST = 15
"""Digits up to which a float holds every whole number."""
_REGISTER = 7
"""Digits from which a whole number that is never round is no measurement."""

_DIGITS = "it is made of the digits of the subject"
_ORDER = "it has another whole number for each patient, in the order of the subjects"
_CROWDED = "it has another whole number for each patient, so close together that a measurement would repeat itself"
_MOST_ROUND = 0.3
"""Share of multiples of ten above which numbers were rounded, as measurements are; a tenth is chance."""
_REGISTERED = "it has another whole number for nearly each patient, all of as many digits, more than a measurement has"


def numbers_patients(values: NDArray[np.float64], subjects: pd.Series) -> str:
    """Return how whole numbers tell the patients apart; empty where they may be a measurement.

    Parameters
    ----------
    values
        A numeric column, NaN where missing, shape (n,).
    subjects
        The identifier of each row, shape (n,).

    Returns
    -------
    str
        Four things tell, each of at least twenty whole numbers. They are the last digits of the identifier in nine of ten
        patients (1015 of 01-701-1015; the last groups of digits together count too). They are all different, and in the
        order of the identifiers. They are all different where a measurement would repeat itself: with m values in their
        middle half, which spans R whole numbers, at least m (m - 1) / (2 R) pairs of equal values are expected of any smooth
        distribution (a uniform one has the fewest), and the chance of none is about the exponential of minus that, as in
        the problem of birthdays; 14 pairs settle it. Nine of ten are different, of seven digits or more, all as many, and
        not rounded, as numbers of a register are: no measurement is so exact.
    """
    known = np.flatnonzero(~np.isnan(values))
    numbers = values[known]
    if len(numbers) < _ENOUGH or (numbers[:_SAMPLE] != np.round(numbers[:_SAMPLE])).any():
        return ""
    if (numbers != np.round(numbers)).any():
        return ""
    ordered = np.sort(numbers)
    different = 1 + int((np.diff(ordered) > 0).sum())
    # A few patients settle most columns without a look at a million names.
    for few in (slice(_SAMPLE), slice(None)):
        names = as_codes(subjects.iloc[known[few]]).astype(str).tolist()
        digits = different >= _ENOUGH and _are_digits(numbers[few], names)
        order = different == len(numbers) and _in_order(numbers[few], names)
        if not (digits or order):
            break
    else:
        return _DIGITS if digits else _ORDER
    middle = ordered[len(ordered) // 4 : len(ordered) - len(ordered) // 4]
    span = float(middle[-1] - middle[0] + 1)
    crowded = len(middle) * (len(middle) - 1) / (2 * span) >= _TIES
    if different == len(numbers) and crowded:
        return _CROWDED
    # A number that was copied once is still a register's.
    nearly = different >= _NEARLY_ALL * len(numbers)
    return _REGISTERED if nearly and numbers_of_a_register(np.unique(ordered)) else ""


def numbers_of_a_register(ordered: NDArray[np.float64]) -> bool:
    """Return whether numbers have seven digits or more, all as many, and no more multiples of ten than chance leaves.

    Parameters
    ----------
    ordered
        Whole numbers, no two of them equal, in rising order, shape (n,), n above 0.
    """
    low, high = float(ordered[0]), float(ordered[-1])
    if low < 10 ** (_REGISTER - 1) or len(f"{low:.0f}") != len(f"{high:.0f}"):
        return False
    return bool((ordered % 10 == 0).mean() < _MOST_ROUND)


def _are_digits(numbers: NDArray[np.float64], names: list[str]) -> bool:
    """Whether the numbers are the last groups of digits of the names, as many groups in nearly all of them."""
    groups = [re.findall(r"\d+", name) for name in names]
    most = max(map(len, groups))
    return any(_equal(numbers, groups, last) >= _NEARLY_ALL for last in range(1, most + 1))


def _equal(numbers: NDArray[np.float64], groups: list[list[str]], last: int) -> float:
    joined = ["".join(group[-last:]) for group in groups]
    made = np.array([float(digits) if 0 < len(digits) <= _LONGEST else np.nan for digits in joined])
    return float((made == numbers).mean())


def _in_order(numbers: NDArray[np.float64], names: list[str]) -> bool:
    """Whether the numbers rise, or fall, from one name to the next, digits compared as numbers."""
    keys = [re.sub(r"\d+", lambda digits: digits[0].zfill(20), name) for name in names]
    steps = np.diff(numbers[np.argsort(np.array(keys, dtype=object), kind="stable")])
    return bool((steps > 0).all() or (steps < 0).all())

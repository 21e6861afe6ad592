"""Small cells and extreme values: what must not leave with a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SMALLEST_CELL", "outward_range", "suppressed", "suppressed_table"]

SMALLEST_CELL = 11
"""Counts from 1 to 10 are not shown."""

_NARROWEST = 1e-290
"""A power of ten below this is a subnormal number, and dividing by it overflows."""


def suppressed(
    counts: Sequence[int],
    smallest: int = SMALLEST_CELL,
    *,
    unshown: int | None = None,
    hidden: Sequence[bool] | None = None,
) -> list[bool]:
    """Say which cells of one margin must be hidden so that none under `smallest` can be read or worked out.

    Parameters
    ----------
    counts
        The cells of a group whose total is shown.
    smallest
        The smallest count that may be shown; zero is always shown.
    unshown
        The place of a cell that the table leaves out (the ``no`` of yes and no): it is the first to be hidden.
    hidden
        Cells that are hidden already, for another margin's sake.

    Returns
    -------
    list of bool
        Small cells, and, where the hidden cells together are still small enough to be bounded by the total, the
        next smallest cell as well (complementary suppression).
    """
    before = hidden if hidden is not None else [False] * len(counts)
    hidden = [hide or 0 < count < smallest for hide, count in zip(before, counts, strict=True)]
    if not any(hidden):
        return hidden
    if unshown is not None and counts[unshown] > 0:
        hidden[unshown] = True
    by_size = sorted((count, place) for place, count in enumerate(counts) if not hidden[place] and count > 0)
    total_hidden = sum(count for count, hide in zip(counts, hidden, strict=True) if hide)
    for count, place in by_size:
        if sum(hidden) > 1 and total_hidden >= smallest:
            break
        hidden[place] = True
        total_hidden += count
    return hidden


def suppressed_table(
    counts: NDArray[np.int64], *, unshown: int | None = None, together: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """Say which cells of a table must be hidden where the totals of its columns and of its rows are known.

    Parameters
    ----------
    counts
        Levels by groups, shape (k, g). A group's total is its size; a level's total is known from another table of the same
        patients in other groups.
    unshown
        The level that no table shows; its total is not known.
    together
        Two groups whose sum is published elsewhere: what is hidden in one is hidden in the other.

    Returns
    -------
    ndarray of bool, shape (k, g)
        Small cells and those that would give them back. Columns and rows are completed in turn until nothing changes.
    """
    hidden = np.zeros(counts.shape, dtype=np.bool_)
    while True:
        before = hidden.copy()
        for group in range(counts.shape[1]):
            column = counts[:, group].tolist()
            hidden[:, group] = suppressed(column, unshown=unshown, hidden=hidden[:, group].tolist())
        if together is not None:
            hidden[:, together] = hidden[:, together].any(axis=1, keepdims=True)
        for level in range(counts.shape[0]):
            if level != unshown:
                hidden[level] = _completed(counts[level], hidden[level], np.asarray(hidden.any(axis=0)))
        if np.array_equal(before, hidden):
            return hidden


def _completed(counts: NDArray[np.int64], hidden: NDArray[np.bool_], preferred: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Hide further cells of a row whose total is known until none can be worked out.

    Groups with something hidden already go first, since that costs the fewest cells, then the smallest, and zeros last.
    """
    hidden = hidden.copy()
    order = sorted(np.flatnonzero(~hidden), key=lambda place: (counts[place] == 0, not preferred[place], counts[place]))
    for place in order:
        if not hidden.any() or (hidden.sum() > 1 and counts[hidden].sum() >= SMALLEST_CELL):
            break
        hidden[place] = True
    return hidden


def outward_range(values: ArrayLike) -> tuple[float, float]:
    """Return the 1st to 99th percentile, rounded outward to two significant digits of their distance.

    Raises
    ------
    ValueError
        If there is no finite value.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        message = "a range needs at least one finite value"
        raise ValueError(message)
    low, high = np.percentile(finite, [1, 99])
    spread = max(high - low or abs(high) or 1.0, _NARROWEST)
    digits = 1 - math.floor(math.log10(spread))
    step = 10.0**-digits
    return round(float(np.floor(low / step) * step), digits), round(float(np.ceil(high / step) * step), digits)

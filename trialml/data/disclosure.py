"""Small cells and extreme values: what must not leave with a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["SMALLEST_CELL", "outward_range", "suppressed"]

SMALLEST_CELL = 11
"""Counts from 1 to 10 are not shown."""

_NARROWEST = 1e-290
"""A power of ten below this is a subnormal number, and dividing by it overflows."""


def suppressed(counts: Sequence[int], smallest: int = SMALLEST_CELL, *, unshown: int | None = None) -> list[bool]:
    """Say which cells of one margin must be hidden so that none under `smallest` can be read or worked out.

    Parameters
    ----------
    counts
        The cells of a group whose total is shown.
    smallest
        The smallest count that may be shown; zero is always shown.
    unshown
        The place of a cell that the table leaves out (the ``no`` of yes and no): it is the first to be hidden.

    Returns
    -------
    list of bool
        Small cells, and, where the hidden cells together are still small enough to be bounded by the total, the
        next smallest cell as well (complementary suppression).
    """
    hidden = [0 < count < smallest for count in counts]
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

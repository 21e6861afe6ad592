"""The infinitesimal jackknife of a sum over the counting process: one pass over the rows in time order."""

from __future__ import annotations

import numpy as np

from trialml.survival.ties import Array, Codes, Flags

__all__ = ["sums_of_squares"]


def sums_of_squares(
    drift: Array, jump: Array, entry: Codes, leave: Codes, event: Flags, weight: Array, subject: Codes
) -> Array:
    """Return ``sum_i A_i(t)^2`` over patients at each time, where a patient's A adds up over the rows.

    While a row is at risk its part is ``w (drift(t) - drift(entry))``; at its event ``w jump`` is taken off, and
    from its exit on the part stays. A patient's total is therefore ``a + b drift(t)`` between changes, and three
    running sums (of aa, ab and bb) give every time's total without a patients-by-times array.

    Parameters
    ----------
    drift, jump
        At each of the k distinct times, shape ``(k,)``.
    entry, leave
        The last position at or before each row's entry (-1 for none) and that of its exit, shape ``(n,)``.
    event, weight, subject
        Each row's flag, weight and patient (whole numbers from 0), shape ``(n,)``.

    Returns
    -------
    ndarray
        Shape ``(k,)``.
    """
    n = leave.size
    row = np.concatenate((np.arange(n), np.arange(n)))
    place = np.concatenate((entry, leave))
    # An exit comes before an entry of the same time, so that a patient's split row cancels within the time.
    entering = np.repeat([1, 0], n)
    order = np.lexsort((entering, place))
    before = np.concatenate(([0.0], drift))
    from trialml.survival.curve_passes import squares_in_order

    out: Array = squares_in_order(
        before, jump, row[order], place[order], entering[order].astype(np.bool_), event, weight, subject,
        int(subject.max()) + 1,
    )  # fmt: skip
    return out

"""Who is at risk when, as integers: the order of a Cox model's rows and the slots that they stand in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trialml.errors import DataError
from trialml.survival.ties import Array, Codes, Flags, distinct_times, time_order

__all__ = ["Layout", "slot_layout"]

Whole = npt.NDArray[np.int64]


class Layout(NamedTuple):
    """Rows by stratum and falling time, in slots: one for each time with events, and one that ends each stratum.

    Attributes
    ----------
    rows
        The original row of each sorted row, shape ``(n,)``.
    row_slot
        The slot that each sorted row stands in, the latest at which it is at risk.
    leave
        The slot at which each sorted row is no longer at risk, because that time is not after its entry;
        empty without delayed entry.
    event
        Whether a sorted row is an event; in a slot these stand last.
    stratum_slot, slot_row
        Where each stratum begins among the slots, and each slot among the rows, with one more that ends the last.
    slot_dead, slot_stratum, slot_time
        Events, stratum and time of each slot; 0 events and time -inf where it ends a stratum.
    exit_row, exit_slot
        The rows that leave, by the slot at which they do, and where each slot begins among them; empty without
        delayed entry.
    """

    rows: Codes
    row_slot: Whole
    leave: Whole
    event: Flags
    stratum_slot: Whole
    slot_row: Whole
    slot_dead: Whole
    slot_stratum: Whole
    slot_time: Array
    exit_row: Whole
    exit_slot: Whole

    def arguments(self, again: Flags) -> tuple[Any, ...]:
        """Return the arrays that the compiled passes take, in their order."""
        return (self.stratum_slot, self.slot_row, self.slot_dead, self.slot_stratum, self.exit_row, self.exit_slot,
                self.leave, again)  # fmt: skip

    def over_slots(self, jumps: Array) -> Array:
        """Return, for sorted rows, the sum of what each slot has over the slots at which the row is at risk."""
        from trialml.survival.cox_passes import row_sums

        out = np.empty(self.row_slot.size)
        row_sums(np.ascontiguousarray(jumps), self.slot_dead, self.row_slot, self.leave, np.empty(jumps.size), out)
        return out


def slot_layout(time: Array, event: Flags, codes: Codes, strata: int, entry: Array | None) -> Layout:
    """Return the layout of rows with a time, an event flag, a stratum in ``range(strata)`` and perhaps an entry.

    Raises
    ------
    DataError
        If a row's entry is not before its time, ties within tolerance.
    """
    from trialml.survival.cox_passes import arrange, assign_slots

    n, entered = time.size, np.zeros(0, dtype=np.int64)
    if entry is None:
        order, fresh = time_order(time)
        position = np.cumsum(fresh) - 1
        distinct = time[order[fresh]]
    else:
        distinct, pooled = distinct_times(np.concatenate((time, entry)))
        position, entered = pooled[:n].astype(np.int64), pooled[n:]
        if (entered >= position).any():
            count = int(np.sum(entered >= position))
            raise DataError(f"entry is not before time in {count} of {n} rows: drop these rows or correct them")
        order = np.argsort(position)
        position, entered = position[order], entered[order[::-1]]
    order, position = order[::-1], position[::-1]
    if strata > 1:
        kind = np.uint8 if strata <= 256 else np.uint16 if strata <= 65536 else np.int64  # short ones sort by radix
        stably = np.argsort(codes[order].astype(kind), kind="stable")
        order, position = order[stably], position[stably]
        entered = entered if entry is None else entered[stably]
    # From here on rows stand by stratum and falling time, so that memory is read in its own order.
    position, happened = np.ascontiguousarray(position, dtype=np.int64), event[order]
    code = codes[order].astype(np.int64, copy=False) if strata > 1 else np.zeros(n, dtype=np.int64)
    enter, slot_position = np.empty(n, dtype=np.int64), np.empty(n + strata, dtype=np.int64)
    slots = assign_slots(position, code, happened, enter, slot_position)
    slot_position = slot_position[:slots]
    ends = np.flatnonzero(slot_position < 0)
    slot_stratum = np.zeros(slots, dtype=np.int64)
    slot_stratum[ends[:-1] + 1] = 1
    slot_stratum = np.cumsum(slot_stratum)
    empty = np.zeros(0, dtype=np.int64)
    leave = empty
    if entry is not None:
        # Slots by stratum and falling position have a rising key, in which the entry's place is searched.
        size = distinct.size
        key = slot_stratum * (size + 1) + np.where(slot_position < 0, size, size - 1 - slot_position)
        leave = np.searchsorted(key, code * (size + 1) + size - 1 - entered).astype(np.int64)
        never = leave <= enter
        enter[never] = leave[never] = ends[code[never]]
    rows, slot_row = np.empty(n, dtype=np.int64), np.zeros(slots + 1, dtype=np.int64)
    slot_dead = np.zeros(slots, dtype=np.int64)
    arrange(enter, happened, rows, slot_row, slot_dead, np.zeros(2 * slots, dtype=np.int64))
    if entry is not None:
        leave = leave[rows]
    exit_row, exit_slot = _exits(leave, slot_dead) if leave.size else (empty, empty)
    slot_time = np.where(slot_position < 0, -np.inf, distinct[slot_position])
    stratum_slot = np.concatenate(([0], ends + 1)).astype(np.int64)
    return Layout(order[rows], np.repeat(np.arange(slots), np.diff(slot_row)), leave, happened[rows], stratum_slot, slot_row,
                  slot_dead, slot_stratum, slot_time, exit_row, exit_slot)  # fmt: skip


def _exits(leave: Whole, slot_dead: Whole) -> tuple[Whole, Whole]:
    exit_row = np.argsort(leave, kind="stable")
    exit_row = exit_row[slot_dead[leave[exit_row]] > 0]
    exit_slot = np.searchsorted(leave[exit_row], np.arange(slot_dead.size + 1))
    return exit_row.astype(np.int64), exit_slot.astype(np.int64)

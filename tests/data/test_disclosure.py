"""Small cells: not shown, and not to be worked out."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trialml.data.disclosure import SMALLEST_CELL, outward_range, suppressed

CELLS = st.lists(st.integers(0, 60), min_size=1, max_size=8)


@given(CELLS)
def test_no_small_cell_is_shown_and_every_zero_is(counts):
    for count, hide in zip(counts, suppressed(counts), strict=True):
        assert hide or count == 0 or count >= SMALLEST_CELL
        assert not (hide and count == 0)


@given(CELLS)
def test_hidden_cells_cannot_be_worked_out_from_the_total(counts):
    """A reader knows the total and that a hidden cell is at least 1: more than one answer must remain."""
    hidden = [count for count, hide in zip(counts, suppressed(counts), strict=True) if hide]
    if not hidden or sum(count > 0 for count in counts) == len(hidden) == 1:
        return
    assert len(hidden) >= 2
    total = sum(hidden)
    assert total >= SMALLEST_CELL or all(
        count == 0 or hide for count, hide in zip(counts, suppressed(counts), strict=True)
    )
    if total > len(hidden):
        answers = itertools.islice(ways(total, len(hidden)), 2)
        assert len(list(answers)) == 2


def ways(total, parts):
    """Yield the ways to write `total` as `parts` positive numbers in order."""
    if parts == 1:
        yield (total,)
        return
    for first in range(1, total - parts + 2):
        for rest in ways(total - first, parts - 1):
            yield (first, *rest)


def test_two_small_cells_that_add_up_to_a_small_number_take_a_third_with_them():
    assert suppressed([3, 4, 50, 20]) == [True, True, False, True]
    assert suppressed([3, 50]) == [True, True]
    assert suppressed([0, 11, 50]) == [False, False, False]
    assert suppressed([10, 10, 50]) == [True, True, False]


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=60))
@example([5e-324])
@example([2.5e-12, 7.5e-12])
@example([1e12, 1e12 + 1e-3])
def test_a_range_contains_the_1st_to_the_99th_percentile(values):
    low, high = outward_range(values)
    first, last = np.percentile(values, [1, 99])
    slack = 1e-12 * max(abs(first), abs(last))
    assert low <= first + slack
    assert last <= high + slack


def test_a_range_is_rounded_so_that_no_patient_s_value_is_its_end():
    assert outward_range(np.arange(1001) + 0.123) == (10, 1000)
    assert outward_range(np.linspace(2.34e-9, 5.67e-9, 1001)) == (2.3e-9, 5.7e-9)
    with pytest.raises(ValueError, match="at least one finite value"):
        outward_range([np.nan, np.inf])

"""Small cells: not shown, and not to be worked out."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trialml.data.disclosure import SMALLEST_CELL, outward_range, suppressed, suppressed_table

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


TWO_WAYS = st.integers(2, 4).flatmap(
    lambda levels: st.tuples(
        st.lists(
            st.tuples(st.integers(0, levels - 1), st.integers(0, 2), st.integers(0, 2)), min_size=20, max_size=260
        ),
        st.just(levels),
        st.booleans(),
        st.lists(st.floats(0.02, 1), min_size=levels, max_size=levels),
    )
)


def determined(equations, unknowns):
    """Which unknowns a reader can solve for: those whose unit vector lies in the span of the equations."""
    if not len(equations):
        return np.zeros(unknowns, dtype=bool)
    _, values, rows = np.linalg.svd(np.asarray(equations, dtype=float))
    basis = rows[: int((values > 1e-9).sum())]
    return (basis**2).sum(axis=0) > 1 - 1e-9


def not_shown(tables, unshown):
    """Number the cells that two tables do not show; what they show is no small count."""
    place = {}
    for which, (counts, hidden) in enumerate(tables):
        for row, group in np.ndindex(counts.shape):
            if hidden[row, group] or row == unshown:
                place[which, row, group] = len(place)
            else:
                assert counts[row, group] == 0 or counts[row, group] >= SMALLEST_CELL
    return place


@given(TWO_WAYS)
def test_a_hidden_small_cell_cannot_be_solved_for_from_two_tables_of_the_same_patients(drawn):
    """A level's total is the same by arm and by stratum; a group's size is known, and so is the sum of the two primary arms."""
    patients, levels, binary, shares = drawn
    draw = np.random.default_rng(len(patients))
    level = draw.choice(levels, len(patients), p=np.asarray(shares) / sum(shares))
    arm, stratum = np.array([one[1] for one in patients]), np.array([one[2] for one in patients])
    unshown = 0 if binary else None
    tables = []
    for groups, together in ((arm, (0, 1)), (stratum, None)):
        counts = np.array([[((level == row) & (groups == group)).sum() for group in range(3)] for row in range(levels)])
        tables.append((counts, suppressed_table(counts, unshown=unshown, together=together)))
    place = not_shown(tables, unshown)
    equations = []

    def known(*cells):
        """The sum of some cells is known: an equation in those of them that are hidden."""
        equation = np.zeros(len(place))
        for cell, sign in cells:
            if cell in place:
                equation[place[cell]] += sign
        equations.append(equation)

    for which, group in itertools.product(range(2), range(3)):
        known(*(((which, row, group), 1) for row in range(levels)))
    for row in range(levels):
        known(*(((0, row, group), 1) for group in range(3)), *(((1, row, group), -1) for group in range(3)))
        if row != unshown:
            known(*(((0, row, group), 1) for group in range(2)))
    solved = determined(equations, len(place))
    for (which, row, group), where in place.items():
        count = tables[which][0][row, group]
        # The size of a group is published; of one with fewer than 11 patients every cell is small, and none is made by strata.
        assert not (solved[where] and 0 < count < SMALLEST_CELL) or tables[which][0][:, group].sum() < SMALLEST_CELL


def test_the_last_shown_cell_of_a_row_that_would_give_a_hidden_one_back_is_hidden_too():
    counts = np.array([[40, 5, 60], [50, 45, 30]])
    hidden = suppressed_table(counts)
    assert hidden[0].tolist() == [True, True, False]
    assert hidden[1].tolist() == [True, True, False]


def test_a_zero_is_hidden_where_nothing_else_protects_a_row():
    """A known total of 5 less a shown 0 would be the 5."""
    assert suppressed_table(np.array([[5, 0], [60, 70]]))[0].tolist() == [True, True]

"""Folds: balanced, the same on every machine, every patient tested once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.data.folds import fold_labels, splits
from trialml.errors import AnalysisError

CASES = st.tuples(st.lists(st.sampled_from("abcd"), min_size=10, max_size=80), st.integers(2, 10), st.integers(0, 99))


@given(CASES)
def test_folds_differ_by_at_most_one_over_all_and_within_each_cell(case):
    cells, folds, seed = case
    fold = fold_labels(cells, folds, seed)
    for members in (np.ones(len(cells), bool), *(np.asarray(cells) == cell for cell in set(cells))):
        counts = np.bincount(fold[members], minlength=folds)
        assert counts.max() - counts.min() <= 1


@given(CASES)
def test_every_row_is_tested_once_and_never_trained_on_then(case):
    cells, folds, seed = case
    tested = []
    for training, test in splits(fold_labels(cells, folds, seed)):
        assert not set(training) & set(test)
        assert len(training) + len(test) == len(cells)
        tested += test.tolist()
    assert sorted(tested) == list(range(len(cells)))


def test_the_same_seed_gives_the_same_folds_and_another_gives_others():
    cells = np.repeat(["a", "b"], 50)
    np.testing.assert_array_equal(fold_labels(cells, 5, 3), fold_labels(cells, 5, np.random.default_rng(3)))
    assert (fold_labels(cells, 5, 3) != fold_labels(cells, 5, 4)).any()


def test_fewer_rows_than_folds_are_refused():
    with pytest.raises(AnalysisError, match="3 patients cannot be split into 5 folds"):
        fold_labels(["a", "b", "c"], 5, 1)
    with pytest.raises(AnalysisError, match="into 1 folds"):
        fold_labels(["a", "b", "c"], 1, 1)

"""Missing baseline values: filled in from the covariates of the training patients alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from trialml.data.impute import BaselineImputer


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "age": [1.0, 2.0, np.nan, 9.0],
            "prior": [1.0, 0.0, 1.0, np.nan],
            "site": ["b", "a", None, "b"],
            "whole": [1.0, 2.0, 3.0, 4.0],
        }
    )


def test_the_median_and_the_commonest_value_fill_in_and_what_was_missing_is_marked(frame):
    filled = BaselineImputer().fit(frame).transform(frame)
    assert filled["age"].tolist() == [1, 2, 2, 9]
    assert filled["prior"].tolist() == [1, 0, 1, 1]
    assert filled["site"].tolist() == ["b", "a", "b", "b"]
    assert filled["age__missing"].tolist() == [0, 0, 1, 0]
    assert "whole__missing" not in filled


def test_the_outcome_is_never_looked_at(frame):
    class Watched:
        def __getattribute__(self, name):
            raise AssertionError(f"the outcome was asked for {name}")

    assert BaselineImputer().fit(frame, Watched()).fill_ == BaselineImputer().fit(frame).fill_


def test_what_fills_in_was_learned_from_the_training_patients(frame):
    imputer = BaselineImputer().fit(frame.iloc[:2])
    new = imputer.transform(frame.iloc[2:])
    assert new["age"].tolist() == [1.5, 9]
    assert new["site"].tolist() == ["a", "b"]
    assert [name for name in new if name.endswith("__missing")] == []


def test_a_column_that_is_all_missing_in_training_is_filled_with_a_constant(frame):
    imputer = BaselineImputer().fit(frame.assign(age=np.nan))
    assert imputer.transform(frame.assign(age=np.nan))["age"].tolist() == [0, 0, 0, 0]


def test_an_imputer_that_learned_nothing_refuses(frame):
    with pytest.raises(NotFittedError):
        BaselineImputer().transform(frame)

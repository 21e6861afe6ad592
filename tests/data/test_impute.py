"""Missing baseline values: filled in from the covariates of the training patients alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from trialml.data.impute import BaselineImputer, typical_number, typical_numbers


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


def test_all_columns_at_once_are_filled_as_each_alone():
    """Column by column, numpy's median of what is known: complete and incomplete ones, of 0 and 1, with ties, of one to eight values."""
    generator = np.random.default_rng(1)
    for share in (0.0, 0.4):
        for n in range(1, 9):
            values = generator.normal(size=(n, 5))
            values[:, 1], values[:, 3] = values[:, 1] > 0, values[:, 3].round()
            values[generator.random((n, 5)) < share] = np.nan
            assert typical_numbers(values) == [typical_number(one[~np.isnan(one)]) for one in values.T]


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


def test_the_arm_and_the_outcome_beside_the_covariates_change_nothing(frame):
    """What fills in a covariate is a function of that covariate alone: any other column may be anything."""
    alone = BaselineImputer().fit(frame[["age"]]).fill_["age"]
    for arm in ([0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 0.0]):
        assert BaselineImputer().fit(frame.assign(arm=arm)).fill_["age"] == alone


def test_permuting_arm_and_outcome_leaves_every_filled_in_value(frame):
    """Patients keep their covariates while arms and outcomes are dealt anew: the imputed data are the same, patient by patient."""
    outcome = np.array([3.0, 1.0, 4.0, 1.5])
    first = BaselineImputer().fit(frame, outcome).transform(frame)
    second = BaselineImputer().fit(frame, outcome[::-1]).transform(frame)
    pd.testing.assert_frame_equal(first, second)


def test_filling_in_leaves_the_comparison_of_arms_unbiased_where_the_outcome_depends_on_what_is_missing():
    """White and Thompson (2005): in a randomised trial a fill-in blind to the arm, with an indicator, leaves the adjusted difference
    of means unbiased, though the missing are those with high values. The truth is 1; the mean of 400 trials is within four errors."""
    draw = np.random.default_rng(8)
    found = []
    for _ in range(400):
        x, arm = draw.normal(0, 1, 300), draw.permuted(np.resize([0.0, 1.0], 300))
        y = 2 * x + arm + draw.normal(0, 1, 300)
        frame = pd.DataFrame({"x": np.where(x + draw.normal(0, 0.5, 300) > 0.7, np.nan, x)})
        filled = BaselineImputer().fit(frame).transform(frame)
        design = np.column_stack([np.ones(300), arm, filled["x"], filled["x__missing"]])
        found.append(np.linalg.lstsq(design, y, rcond=None)[0][1])
    assert abs(np.mean(found) - 1) < 4 * np.std(found) / np.sqrt(len(found))


def test_an_observed_value_is_never_changed(frame):
    filled = BaselineImputer().fit(frame).transform(frame)
    for name in frame:
        known = frame[name].notna()
        assert filled.loc[known, name].tolist() == frame.loc[known, name].tolist()


def test_a_covariate_complete_in_training_and_missing_later_is_filled_in_without_an_indicator(frame):
    imputer = BaselineImputer().fit(frame[["whole"]])
    later = imputer.transform(pd.DataFrame({"whole": [np.nan]}))
    assert later["whole"].tolist() == [2.5]
    assert list(later) == ["whole"]

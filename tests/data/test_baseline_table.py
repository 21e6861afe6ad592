"""Baseline characteristics by arm: what is shown, and what may not be."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from trialml.data.baseline import BaselineTable, baseline_table, standardised_mean_difference
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.trial import Trial


def trial_of(old, new, kind):
    values = [*old, *new]
    frame = pd.DataFrame({"arm": ["old"] * len(old) + ["new"] * len(new), "x": values, "event": True, "time": 1.0})
    frame["x"] = frame["x"].astype(object if kind == "categorical" else float)
    return Trial(
        "T",
        frame,
        Endpoint("e", "E", "t", "e", "days", 1.0, 1.0),
        Treatment("arm", "old", "new", (), {}, 0.5, ()),
        (Covariate("x", kind, "X"),),
        "x.csv",
        "0",
    )


def cells(old, new, kind):
    rows = baseline_table(trial_of(old, new, kind)).rows
    return {row["level"]: (row["old"], row["new"], row["smd"]) for row in rows.to_dict("records")}


def test_the_standardised_mean_difference_by_hand():
    """Means 3 and 2, variances 2/3 and 2/3 (divided by n): 1 / sqrt(2/3)."""
    difference = standardised_mean_difference(pd.Series([2.0, 3.0, 4.0]), pd.Series([1.0, 2.0, 3.0]))
    assert difference == pytest.approx(math.sqrt(1.5), rel=1e-12)


def test_of_shares_it_uses_p_times_1_minus_p():
    """Austin (2009): (0.5 - 0.2) / sqrt((0.25 + 0.16) / 2)."""
    new, old = pd.Series([1.0, 1.0, 0.0, 0.0]), pd.Series([1.0, 0.0, 0.0, 0.0, 0.0])
    assert standardised_mean_difference(new, old) == pytest.approx(0.3 / math.sqrt(0.205), rel=1e-12)


def test_without_spread_it_is_0_or_not_known():
    same = pd.Series([1.0, 1.0])
    assert standardised_mean_difference(same, same) == 0
    assert math.isnan(standardised_mean_difference(same, same + 1))


def test_numeric_values_are_medians_with_quartiles():
    shown = cells(np.arange(1, 22), np.arange(2, 23), "numeric")
    assert shown[""][:2] == ("11 (6 to 16)", "12 (7 to 17)")


def test_fewer_than_11_known_values_give_no_quartiles():
    shown = cells([1.0] * 10 + [np.nan] * 20, np.arange(30), "numeric")
    assert shown[""][0] == "suppressed"
    # The arm's size less the 20 missing would give back that 10 are recorded.
    assert shown["missing"][0] == "suppressed"


def test_shares_are_of_the_whole_arm():
    shown = cells([1.0] * 30 + [0.0] * 50 + [np.nan] * 20, [1.0] * 50 + [0.0] * 50, "binary")
    assert shown["yes"][:2] == ("30 (30 %)", "50 (50 %)")


def test_a_characteristic_that_nobody_has_is_not_shown_as_had_by_all():
    assert cells([0.0] * 30, [0.0] * 30, "binary") == {"no": ("30 (100 %)", "30 (100 %)", 0.0)}


def test_a_small_no_hides_the_yes_that_would_give_it_back():
    assert cells([1.0] * 45 + [0.0] * 5, [1.0] * 30 + [0.0] * 20, "binary")["yes"][0] == "suppressed"


def test_a_cell_hidden_in_one_primary_arm_is_hidden_in_the_other_since_the_models_publish_their_sum():
    """The mean of a covariate over both arms stands in the report: 25 in all less 16 shown would be the hidden 9."""
    assert cells([1.0] * 16 + [0.0] * 80, [1.0] * 9 + [0.0] * 80, "binary")["yes"][:2] == ("suppressed", "suppressed")


def test_few_missing_values_cannot_be_worked_out_from_the_levels():
    """With every level shown, 60 - 30 - 25 would be the 5 that are missing."""
    shown = cells(["a"] * 30 + ["b"] * 25 + [None] * 5, ["a"] * 30 + ["b"] * 30, "categorical")
    assert shown["missing"][0] == "fewer than 11"
    assert shown["b"][0] == "suppressed"
    assert shown["a"][0] == "30 (50 %)"
    assert shown["b"][1] == "suppressed"
    assert shown["a"][1] == "30 (50 %)"


def test_few_missing_values_leave_a_yes_whose_no_is_not_shown():
    shown = cells([1.0] * 20 + [0.0] * 35 + [np.nan] * 5, [1.0] * 30 + [0.0] * 30, "binary")
    assert shown["yes"][0] == "20 (33 %)"


def test_many_missing_values_hide_where_they_would_give_a_small_level_back():
    shown = cells(["a"] * 40 + ["b"] * 3 + [None] * 12, ["a"] * 30 + ["b"] * 25, "categorical")
    assert shown["b"][0] == "suppressed"
    assert shown["missing"][0] == "suppressed"


def test_the_difference_of_a_hidden_cell_is_hidden_too():
    assert math.isnan(cells(["a"] * 40 + ["b"] * 3, ["a"] * 30 + ["b"] * 25, "categorical")["b"][2])


def test_an_arm_may_be_called_like_a_column_of_the_table():
    trial = trial_of(np.arange(20), np.arange(20), "numeric")
    trial = Trial(**{**trial.__dict__, "treatment": Treatment("arm", "old", "new", (), {"old": "level"}, 0.5, ())})
    assert "level (arm) (n = 20)" in baseline_table(trial).table()


def test_the_table_comes_back_from_json():
    table = baseline_table(trial_of(["a"] * 20 + ["b"] * 20, ["a"] * 30, "categorical"))
    again = BaselineTable.from_dict(json.loads(json.dumps(table.to_dict())))
    pd.testing.assert_frame_equal(again.rows, table.rows)
    assert again.text() == table.text()

"""Baseline characteristics by arm: what is shown, and what may not be."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from trialml.data.baseline import BaselineTable, baseline_table, standardised_mean_difference
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.trial import Trial
from trialml.errors import DataError


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
    """Means 3 and 2, sample variances 2/2 and 2/2 (divided by n - 1): 1 / sqrt(1)."""
    difference = standardised_mean_difference(pd.Series([2.0, 3.0, 4.0]), pd.Series([1.0, 2.0, 3.0]))
    assert difference == pytest.approx(1, rel=1e-12)


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


def several(sizes, values, kind="numeric"):
    """One group after another in both arms, with the values of each."""
    labels = np.repeat(list(sizes), list(sizes.values()))
    trial = trial_of(np.concatenate(values), [], kind)
    trial.frame["arm"] = np.resize(np.array(["old", "new"], dtype=object), len(trial))
    trial.frame["factor"] = labels
    return trial, labels


def test_of_two_groups_the_difference_is_second_less_first():
    trial, labels = several({"north": 30, "south": 40}, [np.arange(30.0), np.arange(40.0) + 5])
    table = baseline_table(trial, by="factor")
    expected = standardised_mean_difference(pd.Series(np.arange(40.0) + 5), pd.Series(np.arange(30.0)))
    assert table.rows["smd"].tolist() == pytest.approx([expected], rel=1e-12)
    assert list(table.table()) == ["", "north (n = 30)", "south (n = 40)", "SMD"]
    assert table.heading() == "Baseline characteristics by stratum of the randomisation"
    assert baseline_table(trial, by=labels, called="region").heading().endswith("by region")


def test_of_several_groups_the_difference_is_the_largest_of_all_pairs():
    values = [np.arange(30.0), np.arange(30.0) - 40, np.arange(30.0) + 3]
    trial, labels = several({"a": 30, "b": 30, "c": 30}, values)
    table = baseline_table(trial, by=labels)
    expected = standardised_mean_difference(pd.Series(values[2]), pd.Series(values[1]))
    assert table.rows["smd"].tolist() == pytest.approx([expected], rel=1e-12)
    assert table.table().columns[-1] == "Largest SMD"


def test_more_than_six_groups_and_groups_of_fewer_than_11_are_joined():
    sizes = {"a": 40, "b": 30, "c": 10, "d": 20, "e": 25, "f": 50, "g": 60, "h": 12}
    trial, labels = several(sizes, [np.arange(float(size)) for size in sizes.values()])
    heads = list(baseline_table(trial, by=labels).table())[1:-1]
    assert heads == ["a (n = 40)", "b (n = 30)", "e (n = 25)", "f (n = 50)", "g (n = 60)", "others (3) (n = 42)"]


def test_others_of_fewer_than_11_take_the_next_smallest_group_with_them():
    trial, labels = several({"a": 40, "b": 30, "c": 10}, [np.arange(40.0), np.arange(30.0), np.arange(10.0)])
    assert list(baseline_table(trial, by=labels).table())[1:-1] == ["a (n = 40)", "others (2) (n = 40)"]


def test_patients_without_a_label_are_left_out():
    trial, labels = several({"a": 40, "b": 30}, [np.arange(40.0), np.arange(30.0)])
    labels = labels.astype(object)
    labels[:5] = None
    assert baseline_table(trial, by=labels).patients == (35, 30)


def test_a_level_hidden_in_one_stratum_is_hidden_in_a_second_one_since_the_arms_give_its_total():
    values = [["x"] * 40 + ["y"] * 5, ["x"] * 30 + ["y"] * 30, ["x"] * 20 + ["y"] * 60]
    trial, labels = several({"a": 45, "b": 60, "c": 80}, values, "categorical")
    rows = baseline_table(trial, by=labels).rows.set_index("level")
    assert rows.loc["y", ["a", "b", "c"]].tolist() == ["suppressed", "30 (50 %)", "suppressed"]
    assert rows.loc["x", ["a", "b", "c"]].tolist() == ["suppressed", "30 (50 %)", "suppressed"]
    assert math.isnan(rows.loc["y", "smd"])


def test_missing_numbers_hidden_in_one_stratum_are_hidden_in_a_second_one():
    gap = [np.nan] * 5
    values = [np.array([*gap, *np.arange(40.0)]), np.array([*[np.nan] * 12, *np.arange(40.0)]), np.arange(60.0)]
    trial, labels = several({"a": 45, "b": 52, "c": 60}, values)
    rows = baseline_table(trial, by=labels).rows.set_index("level")
    assert rows.loc["missing", ["a", "b", "c"]].tolist() == ["fewer than 11", "suppressed", "0"]


def test_groups_that_are_none_are_refused():
    trial, labels = several({"a": 40, "b": 30}, [np.arange(40.0), np.arange(30.0)])
    with pytest.raises(DataError, match="by is 'stratum', but it must be 'arm', 'factor' or one label a patient"):
        baseline_table(trial, by="stratum")
    with pytest.raises(DataError, match="by has 69 labels, but the trial has 70 patients"):
        baseline_table(trial, by=labels[1:])


def test_there_is_no_p_value_in_it():
    trial, labels = several({"a": 40, "b": 30}, [np.arange(40.0), np.arange(30.0)])
    for table in (baseline_table(trial), baseline_table(trial, by=labels)):
        assert not [name for name in table.table().columns if str(name).lower() in ("p", "p-value", "p value")]
        assert "significance tests" in table.methods

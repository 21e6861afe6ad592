import math

import numpy as np
import pandas as pd
import pytest

from trialml.report.tables import make_table


def cells(column, values):
    table = make_table(pd.DataFrame({"row": [f"r{place}" for place in range(len(values))], column: values}))
    return table.heads[1], [row[1].text for body in table.bodies for row in body.rows]


@pytest.mark.parametrize(
    ("column", "values", "shown"),
    [
        ("x", [0.49216, 91.04, -0.0123], ["0.492", "91.0", "\N{MINUS SIGN}0.0123"]),
        ("x", [1.0, 2000.0, math.nan], ["1", "2,000", "\N{EN DASH}"]),
        ("x", [math.inf, 0.5, None], ["NR", "0.500", "\N{EN DASH}"]),
        ("x", [1054, -3, 0], ["1,054", "\N{MINUS SIGN}3", "0"]),
        ("p", [0.0000001, 0.0312, 0.9999], ["<0.001", "0.031", ">0.99"]),
        ("x", [True, False, True], ["yes", "no", "yes"]),
        ("kind", ["crossfit", "apparent", "corrected"], ["cross-fitted", "apparent", "optimism-corrected"]),
        ("x", ["a", None, pd.NA], ["a", "\N{EN DASH}", "\N{EN DASH}"]),
    ],
)
def test_values_are_shown_as_a_journal_prints_them(column, values, shown):
    assert cells(column, values)[1] == shown


@pytest.mark.parametrize(
    "values",
    [
        ["0.49 (0.38 to 0.63)", "1.20 (0.80 to 1.60)", "reference"],
        ["12 (2.3%)", "<11", "n/a"],
        ["1,031 (831 to 1,136)", "NR (1,113 to NR)"],
        ["NR", "901", "\N{MINUS SIGN}3.5"],
        ["35.2 \N{PLUS-MINUS SIGN} 8.7", "1,054", "\N{EN DASH}"],
        [1, 2, 3],
    ],
)
def test_columns_of_numbers_stand_to_the_right(values):
    assert cells("x", values)[0].number


@pytest.mark.parametrize(
    "values", [["yes", "no", "3"], ["1st line", "2nd line", "3rd line"], ["", "", ""], [True, False]]
)
def test_columns_of_words_stand_to_the_left(values):
    assert not cells("x", values)[0].number


def test_labels_of_rows_stand_to_the_left_even_when_they_look_like_numbers():
    table = make_table(pd.DataFrame({"Age": ["<60", "60 to 69"], "n": [3, 4]}))
    assert [head.number for head in table.heads] == [False, True]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("time_days", "Time (days)"),
        ("accrual_per_month", "Accrual (per month)"),
        ("n_at_risk", "n at risk"),
        ("low", "Lower limit"),
        ("rmst_difference", "RMST difference"),
        ("p_value", "p"),
        ("HR (95% CI)", "HR (95% CI)"),
        ("ZDV", "ZDV"),
    ],
)
def test_names_of_columns_become_words_with_their_unit(name, head):
    assert make_table(pd.DataFrame({"row": ["a"], name: [1.5]})).heads[1].text == head


def test_a_row_of_empty_cells_heads_the_rows_that_follow_until_they_are_indented_no_more():
    frame = pd.DataFrame({"What": ["Age", "Sex", "  Female", "  Male", "Weight"], "n": ["1", "", "2", "3", "4"]})
    table = make_table(frame)
    assert [(body.heading, [row[0].text for row in body.rows]) for body in table.bodies] == [
        ("", ["Age"]),
        ("Sex", ["Female", "Male"]),
        ("", ["Weight"]),
    ]
    assert [row[0].indent for body in table.bodies for row in body.rows] == [0, 1, 1, 0]


def test_two_columns_of_one_name_are_both_shown():
    table = make_table(pd.DataFrame(np.array([["a", "1", "2"]]), columns=["row", "x", "x"]))
    assert [cell.text for cell in table.bodies[0].rows[0]] == ["a", "1", "2"]


def test_versions_are_names_and_stand_to_the_left():
    frame = pd.DataFrame({"Name": ["numpy"], "Version": ["2.4.1"]})
    assert not make_table(frame, words_only=True).heads[1].number

"""A column checked at once says what its values say one at a time."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from trialml.models.input_contract import InputContract, InputField
from trialml.models.row_checks import FEW

FIELDS = {
    "number": InputField("x", "numeric", "X", required=True, low=0.0, high=10.0),
    "number that may be missing": InputField("x", "numeric", "X", required=False, low=0.0, high=10.0),
    "binary": InputField("x", "binary", "X", required=True),
    "categories": InputField("x", "categorical", "X", required=True, categories=("1", "lung", "true")),
    "categories that may be missing": InputField("x", "categorical", "X", required=False, categories=("lung",)),
}
COLUMNS = {
    "floats": [1.0, -3.0, np.nan, np.inf, -np.inf, 10.0, 0.0, 10.000001],
    "whole numbers": [1, 0, 11, -1],
    "truth values": [True, False],
    "nullable": pd.array([1, None, 12], dtype="Int64"),
    "nullable truth": pd.array([True, None], dtype="boolean"),
    "text": ["1", " 2.5 ", "1e3", "lung", "", "nan", "inf", "moon", None],
    "codes as text": ["lung", "1", "1.0", "TRUE", None, "other"],
    "mixed": ["lung", 1, 1.0, True, None, np.nan, pd.NA, pd.NaT, [1], {"a": 1}, Decimal("0.5"), b"lung"],
    "dates": pd.to_datetime(["2020-01-01", None]),
    "days": [dt.date(2020, 1, 1), None],
    "strings of pandas": pd.array(["lung", None, "moon"], dtype="string"),
    "categories of pandas": pd.Categorical(["lung", "moon", None]),
}


@pytest.mark.parametrize("values", COLUMNS)
@pytest.mark.parametrize("field", FIELDS)
def test_one_at_a_time_and_all_at_once_agree(field, values):
    contract = InputContract((FIELDS[field],))
    column = pd.Series(COLUMNS[values], name="x")
    column = column.iloc[np.resize(np.arange(len(column)), max(FEW + 1, len(column)))].reset_index(drop=True)
    assert len(column) > FEW
    whole = contract.check(column.to_frame())
    for row in range(len(column)):
        one = contract.check(column.iloc[[row]].to_frame())
        assert one.refused[0] == whole.refused[row]
        assert one.flags[0] == whole.flags[row]
        single, among = one.covariates["x"].iloc[0], whole.covariates["x"].iloc[row]
        assert single == among or (pd.isna(single) and pd.isna(among))


def test_what_was_said_of_a_row_stands_in_the_order_of_the_columns():
    contract = InputContract((
        InputField("b", "numeric", "B", required=True, low=0.0, high=1.0),
        InputField("a", "binary", "A", required=True),
    ))  # fmt: skip
    frame = pd.DataFrame({"a": [7.0] * 40, "b": [np.nan] * 20 + [5.0] * 20})
    checked = contract.check(frame)
    assert checked.refused[0] == "b is missing; a is neither 0 nor 1"
    assert checked.refused[39] == "a is neither 0 nor 1"
    assert checked.flags[39] == "b outside the range seen (0 to 1)"
    assert checked.covariates.isna().all(axis=None)

"""Shift of covariates: the index by hand, by chance, and a verdict that names the column."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trialml.data.roles import Covariate
from trialml.errors import ModelInputError
from trialml.models.input_contract import InputContract
from trialml.models.training_summary import TrainingSummary
from trialml.result import Result
from trialml.validation.covariate_shift import covariate_shift, population_stability

COVARIATES = (Covariate("age", "numeric", "Age"), Covariate("site", "categorical", "Site"))


def draw(n, seed, shift=0.0, lung=0.5):
    source = np.random.default_rng(seed)
    return pd.DataFrame(
        {"age": source.normal(60 + shift, 9, n), "site": source.choice(["lung", "liver"], n, p=[lung, 1 - lung])}
    )


@pytest.fixture(scope="module")
def learned():
    trained = draw(600, 1)
    trained.loc[:59, "age"] = np.nan
    return TrainingSummary.learn(COVARIATES, trained), InputContract.learn(COVARIATES, trained)


def test_the_index_is_the_sum_by_hand():
    q = np.array([10.5, 30.5, 60.5]) / 101.5
    p = np.array([0.2, 0.3, 0.5])
    by_hand = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert population_stability(p, np.array([10, 30, 60])) == pytest.approx(by_hand, rel=1e-12)


def test_like_patients_have_no_shift_and_others_have_one_in_the_column_that_moved(learned):
    same = covariate_shift(*learned, draw(500, 2).mask(np.random.default_rng(0).random((500, 2)) < [0.1, 0.0]))
    assert same.shifted == ()
    moved = covariate_shift(*learned, draw(500, 3, shift=12))
    assert moved.shifted == ("age",)
    assert "age" in moved.text()
    other = covariate_shift(*learned, draw(500, 4, lung=0.95))
    assert other.frame().set_index("covariate").loc["site", "shift"] == "large"


def test_by_chance_the_index_seldom_passes_its_limit():
    """Under the same distribution the index over 1/n + 1/m is near a chi-square; 400 draws, 3 standard errors."""
    passed = []
    p = np.full(10, 0.1)
    source = np.random.default_rng(7)
    for _ in range(400):
        trained, new = source.multinomial(4000, p), source.multinomial(1000, p)
        limit = stats.chi2.ppf(0.95, 9) * (1 / 1000 + 1 / 4000)
        passed.append(population_stability(trained / 4000, new) > limit)
    assert abs(np.mean(passed) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 400)


def test_few_patients_are_not_told_of(learned):
    new = draw(300, 5)
    new.loc[:3, "age"] = np.nan
    new.loc[10:14, "age"] = 1000.0
    row = covariate_shift(*learned, new).frame().set_index("covariate").loc["age"]
    assert math.isnan(row["missing"])
    new.loc[:99, "age"] = 1000.0
    row = covariate_shift(*learned, new).frame().set_index("covariate").loc["age"]
    assert row["out_of_range"] == pytest.approx(100 / 300, abs=0.03)
    assert row["out_of_range_low"] < row["out_of_range"] < row["out_of_range_high"]


def test_the_result_survives_json_and_nobody_is_refused(learned):
    result = covariate_shift(*learned, draw(200, 6))
    again = Result.from_dict(result.to_dict())
    pd.testing.assert_frame_equal(again.frame(), result.frame())
    with pytest.raises(ModelInputError, match="no patients"):
        covariate_shift(*learned, draw(0, 7))

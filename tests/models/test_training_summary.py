"""What a model keeps of its training patients: groups of 11 or more, and no patient's value."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.data.roles import Covariate
from trialml.models.training_summary import TrainingSummary

COVARIATES = (
    Covariate("age", "numeric", "Age"),
    Covariate("prior", "binary", "Prior"),
    Covariate("site", "categorical", "Site"),
)


def frame(n=300, seed=1):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": draw.normal(60.123456, 9, n),
            "prior": (draw.random(n) < 0.3).astype(float),
            "site": draw.choice(["lung", "liver"], n).astype(object),
        }
    )


@pytest.fixture(scope="module")
def summary():
    return TrainingSummary.learn(COVARIATES, frame())


def test_groups_of_a_number_are_near_its_tenths_and_hold_the_share_that_is_kept(summary):
    age = summary.columns[0]
    assert len(age.shares) == 10
    whole = frame()["age"].to_numpy()
    by_hand = [np.mean([low <= x < high for x in whole])
               for low, high in zip([-np.inf, *age.edges], [*age.edges, np.inf], strict=True)]  # fmt: skip
    assert np.allclose(age.shares, by_hand, atol=0.005)
    assert (age.counts(whole) >= 11).all()
    assert age.counts(whole).sum() == 300


def test_no_edge_is_a_patient_s_value(summary):
    assert not set(summary.columns[0].edges) & set(frame()["age"])


@pytest.mark.parametrize(
    "values", [np.arange(25.0), np.repeat([1.0, 2.0, 3.0], [40, 3, 60]), np.r_[np.zeros(290), np.arange(10.0)]]
)
def test_every_group_of_a_number_holds_11_patients(values):
    column = TrainingSummary.learn(COVARIATES[:1], pd.DataFrame({"age": values})).columns[0]
    assert not len(column.shares) or column.counts(values).min() >= 11


def test_small_cells_are_in_no_summary():
    data = frame()
    data.loc[:5, "site"] = "rare"
    data["prior"] = 0.0
    data.loc[:3, "prior"] = 1.0
    data.loc[10:14, "age"] = np.nan
    age, prior, site = TrainingSummary.learn(COVARIATES, data).columns
    assert age.missing is None
    assert prior.shares == ()
    assert site.groups == ("liver", "lung")


def test_the_state_goes_through_json(summary):
    assert TrainingSummary.from_state(json.loads(json.dumps(summary.state()))) == summary


def test_categories_and_0_and_1_are_counted_whatever_type_they_come_in(summary):
    _, prior, site = summary.columns
    assert prior.counts(np.asarray([0.0, 1.0, 1.0])).tolist() == [1, 2]
    assert site.counts(["lung", None, "moon", "liver", "lung"]).tolist() == [1, 2]

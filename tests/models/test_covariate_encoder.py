"""Covariates as a design matrix: everything is learned from the training patients alone."""

import numpy as np
import pandas as pd

from trialml.models.encode import CovariateEncoder


def training():
    return pd.DataFrame(
        {
            "age": [40.0, 50.0, 60.0, np.nan] * 25,
            "prior": [0.0, 1.0, 1.0, 1.0] * 25,
            "flat": [1.0] * 100,
            "site": (["lung"] * 60 + ["liver"] * 39 + ["skin"]),
        }
    )


def named(encoder, X):
    return pd.DataFrame(encoder.transform(X), columns=encoder.get_feature_names_out())


def test_columns_are_standardised_a_constant_one_is_dropped_and_a_missing_value_is_marked():
    X = training()
    found = named(CovariateEncoder().fit(X), X)
    assert list(found) == ["age", "age missing", "prior", "site=liver", "site=other"]
    np.testing.assert_allclose(found.mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(found.std(ddof=0), 1.0, rtol=1e-12)


def test_trap_28_a_missing_value_becomes_the_training_median_with_its_indicator():
    X = training()
    encoder = CovariateEncoder().fit(X)
    new = X.iloc[[1]].assign(age=np.nan)
    median = X.iloc[[1]].assign(age=50.0)
    filled, known = named(encoder, new), named(encoder, median)
    assert filled["age"].iloc[0] == known["age"].iloc[0]
    assert filled["age missing"].iloc[0] > 0 > known["age missing"].iloc[0]


def test_rare_and_unseen_categories_fall_together():
    """skin is 1 % of the training patients, under the 2 % that a column takes; bone was never seen."""
    X = training()
    encoder = CovariateEncoder().fit(X)
    both = named(encoder, X.iloc[[0, 0]].assign(site=["skin", "bone"]))
    assert both["site=other"].iloc[0] == both["site=other"].iloc[1] > 0
    assert (both["site=liver"] < 0).all()


def test_without_rare_categories_an_unseen_one_is_read_as_the_reference():
    X = training().assign(site=["lung", "liver"] * 50)
    encoder = CovariateEncoder().fit(X)
    both = named(encoder, X.iloc[[0, 0]].assign(site=["liver", "bone"]))
    np.testing.assert_array_equal(both.iloc[0], both.iloc[1])


def test_trap_27_new_patients_change_nothing_that_was_learned():
    X = training()
    encoder = CovariateEncoder().fit(X)
    before = encoder.state()
    encoder.transform(X.assign(age=1000.0, site="bone"))
    assert encoder.state() == before
    one = encoder.transform(X.iloc[[0]])
    np.testing.assert_array_equal(one, encoder.transform(X)[:1])


def test_trap_54_every_column_knows_its_covariate():
    encoder = CovariateEncoder().fit(training())
    assert encoder.covariate_of_column() == ["age", "age", "prior", "site", "site"]

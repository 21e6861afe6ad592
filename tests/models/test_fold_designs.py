"""The designs of many folds are those of an encoder fitted on each training set, but for the order of the columns."""

import numpy as np
import pandas as pd
import pytest

from trialml.errors import ModelInputError
from trialml.models.encode import CovariateEncoder
from trialml.models.fold_designs import FoldDesigns


@pytest.fixture(scope="module")
def patients():
    generator = np.random.default_rng(1)
    X = pd.DataFrame(generator.normal(size=(90, 3)), columns=["age", "marker", "holes"])
    X.loc[::8, "holes"] = np.nan
    X["prior"] = generator.integers(0, 2, 90).astype(bool)
    X["flat"] = 3.0
    X["twin"] = X["age"]
    # The same in every training set without the first patient.
    X["once"] = np.where(np.arange(90) == 0, 1.0, 0.0)
    X["site"] = generator.choice(["a", "b", "c"], 90).astype(object)
    return X


@pytest.mark.parametrize("columns", [None, ["age", "marker"], ["site"], ["holes", "site"], ["flat"]])
@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_a_fold_s_design_is_that_of_an_encoder_fitted_on_its_training_set(patients, columns, left_out):
    X = patients if columns is None else patients[columns]
    train = np.flatnonzero(np.arange(90) % 3 != left_out)
    encoder = CovariateEncoder().fit(X.iloc[train])
    complete = [name for name in X.columns if name not in ("holes", "site")]
    last = np.array([name not in complete for name in encoder.covariate_of_column()], dtype=bool)
    expected = encoder.transform(X)
    found = FoldDesigns(X).of(train)
    np.testing.assert_array_equal(found, np.hstack([expected[:, ~last], expected[:, last]]))


def test_an_infinite_value_is_refused_once_for_all_folds(patients):
    with pytest.raises(ModelInputError, match="'age' is infinite in 1 of 90 patients"):
        FoldDesigns(patients.assign(age=np.where(np.arange(90) == 3, np.inf, patients["age"])))

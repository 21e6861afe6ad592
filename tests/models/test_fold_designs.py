"""Designs of many splits are those of an encoder fitted to each, bit for bit."""

import numpy as np
import pandas as pd
import pytest

from trialml.errors import ModelInputError
from trialml.models.encode import CovariateEncoder
from trialml.models.fold_designs import FoldDesigns


def patients(kind, n=120):
    draw = np.random.default_rng(3)
    X = pd.DataFrame(
        {"age": draw.normal(60, 9, n), "sex": draw.integers(0, 2, n), "stage": draw.integers(1, 5, n).astype(float)}
    )
    if kind == "missing":
        X.loc[draw.random(n) < 0.2, "age"] = np.nan
        X.loc[5, "stage"] = np.nan  # missing in some training sets only
    if kind == "text":
        X["site"] = draw.choice(["lung", "liver", None], n)
    if kind == "copies":
        X["age again"] = X["age"]
    if kind == "constant":
        X["same"] = 1.0
        X["rare"] = (np.arange(n) == 7).astype(float)  # constant in most training sets
    if kind == "empty":
        X["none"] = np.nan
    return X


@pytest.mark.parametrize("kind", ["plain", "missing", "text", "copies", "constant", "empty"])
def test_every_split_agrees_with_an_encoder_of_its_own(kind):
    X = patients(kind)
    designs = FoldDesigns(X)
    fold = np.random.default_rng(4).integers(0, 5, len(X))
    for label in range(5):
        train, test = np.flatnonzero(fold != label), np.flatnonzero(fold == label)
        learned, new = designs.pair(train, test)
        encoder = CovariateEncoder().fit(X.iloc[train])
        np.testing.assert_allclose(learned, encoder.transform(X.iloc[train]), rtol=0, atol=1e-13)
        np.testing.assert_allclose(new, encoder.transform(X.iloc[test]), rtol=0, atol=1e-13)


def test_an_infinite_value_is_refused():
    X = patients("plain")
    X.loc[3, "age"] = np.inf
    with pytest.raises(ModelInputError, match="'age' is infinite in 1 of 120"):
        FoldDesigns(X)

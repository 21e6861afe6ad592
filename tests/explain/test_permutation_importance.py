"""Permutation importance: its expectation in closed form, a covariate that is not used, and risks at given values."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.errors import AnalysisError
from trialml.explain.permutation import FoldModel, PermutationImportance, permutation_importance


class Known:
    """A risk of 0.2 or 0.8 by `x`, whatever `z` is."""

    def risk(self, X, horizon):
        return np.where(X["x"] > 0.5, 0.8, 0.2) * (horizon > 0)

    def log_hazard(self, X):
        return self.risk(X, 1.0)


def outcome(n, seed=4):
    """Everybody is followed to 2; the event happens at 0.5 with the known risk."""
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(
        {"x": (np.arange(n) % 2).astype(float), "z": draw.normal(size=n), "site": draw.choice(["a", "b"], n)}
    )
    event = draw.random(n) < np.where(X["x"] > 0.5, 0.8, 0.2)
    return X, np.where(event, 0.5, 2.0), event


def importance(n=6000, folds=4, **changes):
    X, time, event = outcome(n)
    fitted = [FoldModel(Known(), rows) for rows in np.array_split(np.random.default_rng(1).permutation(n), folds)]
    given = {
        "horizon": 1.0,
        "unit": "years",
        "subject": "the risk model",
        "labels": {"x": "Exposure"},
        "permutations": 5,
    }
    return permutation_importance(fitted, Known(), X, time, event, **(given | changes))


def test_the_loss_of_ipa_is_its_expectation_in_closed_form():
    """Brier score 0.16 before; dealt out anew (0.16 + 0.52) / 2 = 0.34; null 0.25: a loss of 0.18 / 0.25."""
    found = importance()
    loss = found.loss("Exposure")
    assert loss.value == pytest.approx(0.72, abs=3 * max(loss.se, 0.01))
    assert loss.low < 0.72 < loss.high
    assert 0 < found.importance["mc_error"].iloc[0] < 0.02
    assert found.importance["covariate"].iloc[0] == "Exposure"


def test_a_covariate_that_the_model_does_not_use_loses_nothing():
    rows = importance().importance.set_index("covariate")
    assert (rows.loc[["z", "site"], ["loss", "low", "high", "mc_error"]] == 0).all(axis=None)


def test_the_mean_risk_at_a_value_is_the_models():
    bins = importance().bins.set_index(["covariate", "bin"])
    assert bins.loc[("Exposure", "no"), "risk"] == pytest.approx(0.2)
    assert bins.loc[("Exposure", "yes"), "risk"] == pytest.approx(0.8)
    assert bins.loc["z", "risk"].to_numpy() == pytest.approx(np.full(5, 0.5))
    assert bins.loc["site", "n"].sum() == 6000


def test_no_range_of_fewer_than_11_patients_is_shown():
    X, time, event = outcome(200)
    X.loc[:4, "site"] = "rare"
    fitted = [FoldModel(Known(), rows) for rows in np.array_split(np.arange(200), 2)]
    found = permutation_importance(fitted, Known(), X, time, event, horizon=1.0, unit="years", subject="it", labels={})
    assert "rare" not in set(found.bins["bin"])
    assert found.bins["n"].min() >= 11


def test_the_result_survives_and_says_points_and_limits():
    found = importance(n=800)
    again = PermutationImportance.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    pd.testing.assert_frame_equal(again.frame(), found.frame())
    assert "percentage points" in found.text()
    assert found.table()["Loss of IPA without it, percentage points"].iloc[1] == "0.0 (95% CI 0.0 to 0.0)"
    found.draw(Figure())


def test_one_fold_is_refused():
    with pytest.raises(AnalysisError, match="1 models are too few for what a covariate adds"):
        importance(folds=1)

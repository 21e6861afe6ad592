"""Two ridge Cox models combined to an absolute risk: beside unpenalised ones, by hand, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from trialml.errors import AnalysisError, DataError
from trialml.models.cause_specific_cox import CauseSpecificCox
from trialml.models.outcome import competing_outcome, survival_outcome
from trialml.survival.aalen_johansen import aalen_johansen
from trialml.survival.cause_specific import cause_specific_cox, combined_risk
from trialml.survival.product_limit import step_at

DATA = Path(__file__).parents[1] / "reference" / "data"


@pytest.fixture(scope="module")
def pbc():
    data = pd.read_csv(DATA / "pbc_rct.csv")
    X = pd.DataFrame({"age": data["age"], "bili": np.log(data["bili"]), "sex": (data["sex"] == "f").astype(float)})
    return X, data["time"].to_numpy(float), data["status"].map({0: 0, 2: 1, 1: 2}).to_numpy()


def test_almost_without_penalty_it_is_the_cause_specific_cox_model(pbc):
    """`cause_specific_cox` is compared with riskRegression::CSC in the case surv_cause_specific."""
    X, time, cause = pbc
    model = CauseSpecificCox(penalties=(1e-10,)).fit(X, competing_outcome(time, cause))
    whole = cause_specific_cox(time, cause, X, causes={1: "death", 2: "transplant"})
    times = [365, 1095, 1826]
    assert np.allclose(
        model.cumulative_incidence(X, times), whole.absolute_risk("death", X, times), rtol=1e-7, atol=1e-10
    )
    assert np.array_equal(model.risk(X, 1095), model.cumulative_incidence(X, times)[:, 1])


def test_without_covariates_effects_the_risk_is_near_aalen_and_johansen_s(pbc):
    """With an enormous penalty everybody has one risk: Breslow's hazards of both causes in a product limit, ties by Efron."""
    X, time, cause = pbc
    model = CauseSpecificCox(penalties=(1e12,)).fit(X, competing_outcome(time, cause))
    curve = aalen_johansen(time, cause, 2, "delta")
    expected = float(step_at(curve.time, curve.incidence[:, 0], 1826, initial=0.0))
    assert np.allclose(model.risk(X, 1826), expected, atol=2e-4)


def test_the_risks_of_two_causes_by_hand():
    """Hazards 0.1 and 0.2, then 0.5 and 0.1, with relative hazards (1, 1) and (2, 0)."""
    risk = combined_risk(np.array([[0.1, 0.2], [0.5, 0.1]]), np.array([[1.0, 1.0], [2.0, 0.0]]), 0)
    assert np.allclose(risk, [[0, 0.1, 0.1 + 0.7 * 0.5], [0, 0.2, 0.2 + 0.8 * 1.0]], rtol=1e-14)


def test_competing_events_lower_the_risk_that_censoring_would_overstate(pbc):
    X, time, cause = pbc
    outcome = competing_outcome(time, cause)
    together = CauseSpecificCox(penalties=(5.0,)).fit(X, outcome)
    alone = together.event_
    assert (together.risk(X, 1826) <= alone.risk(X, 1826) + 1e-3).all()
    assert (np.diff(together.cumulative_incidence(X, np.arange(100, 3000, 100)), axis=1) >= 0).all()


def test_few_competing_events_have_one_hazard_and_none_leaves_the_cox_model(pbc):
    X, time, cause = pbc
    rare = np.where((cause == 2) & (np.cumsum(cause == 2) > 3), 0, cause)
    model = CauseSpecificCox(penalties=(5.0,)).fit(X, competing_outcome(time, rare))
    assert model.competing_ is None
    assert (model.jumps_[1] > 0).sum() == 3
    none = CauseSpecificCox(penalties=(5.0,)).fit(X, competing_outcome(time, np.where(cause == 2, 0, cause)))
    assert not none.jumps_[1].any()
    # Alone, the event's risk is one less the product limit of its own hazard, spelled out here.
    cox = none.event_
    jumps = np.diff(cox.baseline_hazard_, prepend=0.0)[cox.baseline_times_ <= 1095]
    survival = np.prod(1 - np.outer(np.exp(cox.log_hazard(X)), jumps), axis=1)
    assert np.allclose(none.risk(X, 1095), 1 - survival, rtol=1e-12)


def test_its_state_is_json_and_gives_the_same_risks(pbc):
    X, time, cause = pbc
    model = CauseSpecificCox(treatment="sex", penalties=(3.0, 30.0)).fit(X, competing_outcome(time, cause))
    again = CauseSpecificCox.from_state(json.loads(json.dumps(model.state())))
    assert np.array_equal(again.cumulative_incidence(X, [500, 1500]), model.cumulative_incidence(X, [500, 1500]))
    same = clone(model).fit(X, competing_outcome(time, cause))
    assert np.array_equal(same.risk(X, 1500), model.risk(X, 1500))


def test_what_it_cannot_do_is_refused(pbc):
    X, time, cause = pbc
    model = CauseSpecificCox(penalties=(3.0,)).fit(X, competing_outcome(time, cause))
    with pytest.raises(AnalysisError, match="training data end at 4556"):
        model.risk(X, 5000)
    with pytest.raises(DataError, match="a model of competing risks takes cause and time"):
        CauseSpecificCox().fit(X, survival_outcome(time, cause == 1))
    few = np.where(np.cumsum(cause == 1) > 4, 0, cause)
    with pytest.raises(AnalysisError, match="cannot be fitted to 4 events"):
        CauseSpecificCox().fit(X, competing_outcome(time, few))

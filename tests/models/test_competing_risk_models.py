"""The models of competing risks against riskRegression and cmprsk, by hand, and by their optimality conditions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.models.cause_specific_cox import CauseSpecificCox
from trialml.models.cox_ridge import CoxRidge
from trialml.models.fine_gray_ridge import FineGrayRidge
from trialml.models.outcome import competing_outcome, survival_outcome
from trialml.survival.fine_gray_fit import fine_gray_likelihood

REFERENCE = Path(__file__).parents[1] / "reference"


def stored(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())["outputs"]


@pytest.fixture(scope="module")
def pbc():
    """Death is the event of interest, a transplant competes."""
    table = pd.read_csv(REFERENCE / "data" / "pbc_rct.csv")
    X = pd.DataFrame({"trt": table["trt"], "age": table["age"], "bili": np.log(table["bili"]), "edema": table["edema"]})
    return X.astype(float), competing_outcome(table["time"], table["status"].map({0: 0, 1: 2, 2: 1}))


def test_without_a_penalty_the_absolute_risk_is_riskregressions(pbc):
    """Oracle: surv_cause_specific.json, riskRegression 2022.11.28, CSC(Hist(time, status) ~ trt + age + log(bili))."""
    X, y = pbc
    model = CauseSpecificCox(penalties=(0.0,)).fit(X[["trt", "age", "bili"]], y)
    new = pd.DataFrame({"trt": [1.0, 2.0], "age": [50.0, 60.0], "bili": np.log([2, 8])})
    found = model.cumulative_incidence(new, [365, 1826, 3000])
    np.testing.assert_allclose(found, stored("surv_cause_specific")["absrisk_cause2"]["rows"], rtol=1e-7)


def test_without_a_penalty_the_incidence_is_that_of_cmprsk(pbc):
    """Oracles: curves.json, cmprsk::crr 2.2.11 driven to its root, and surv_fine_gray.json, predicted where crr stops.

    crr stops 4e-5 short of its root, hence 1e-4 for what it predicts from there.
    """
    X, y = pbc
    model = FineGrayRidge(penalties=(0.0,)).fit(X, y)
    driven = json.loads((REFERENCE / "curves.json").read_text())["crr_death_converged"]
    np.testing.assert_allclose(model.coefficients_ / model.encoder_.scale_, driven["coef"], rtol=1e-7)
    predicted = stored("surv_fine_gray")["crr_death_predicted_cif"]
    new = pd.DataFrame({"trt": [1.0, 2.0], "age": [50.0, 60.0], "bili": np.log([2, 8]), "edema": [0.0, 0.5]})
    found = model.cumulative_incidence(new, predicted["times"])
    np.testing.assert_allclose(found, np.reshape(predicted["cif"]["rows"], (4, 2)).T, rtol=1e-4)


def test_the_penalised_fine_gray_score_is_zero_and_the_arm_is_not_penalised(pbc):
    """By central differences of the weighted log partial likelihood less penalty / 2 times the sum of squares."""
    X, y = pbc
    penalty = 6.0
    arm = X["trt"] - 1
    model = FineGrayRidge(treatment="arm", penalties=(penalty,)).fit(X.drop(columns="trt").assign(arm=arm), y)
    design = np.column_stack([arm, model.encoder_.transform(X)])
    beta = np.concatenate(([model.treatment_coefficient_], model.coefficients_))
    for place in range(4):
        step = np.zeros(4)
        step[place] = 1e-5
        ends = [fine_gray_likelihood(y["time"], y["cause"], design, 1, beta + sign * step) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / 2e-5
        assert slope == pytest.approx(0.0 if place == 0 else penalty * beta[place], abs=1e-4)


def test_the_risks_of_all_causes_and_of_none_add_up_to_one(pbc):
    """With the roles of the causes turned round, the two incidences and the product limit of both together are 1."""
    X, y = pbc
    turned = competing_outcome(y["time"], np.choose(y["cause"], [0, 2, 1]))
    one, other = (CauseSpecificCox(penalties=(5.0,)).fit(X, outcome) for outcome in (y, turned))
    event, compete = np.exp(one.event_.log_hazard(X)), np.exp(one.competing_.log_hazard(X))
    left = 1 - np.outer(event, one.jumps_[0]) - np.outer(compete, one.jumps_[1])
    free, inside = np.prod(left, axis=1), (left > 0).all(axis=1)  # elsewhere the product limit is cut at 0
    end = one.horizon_limit_
    total = one.risk(X, end) + other.risk(X, end) + free
    np.testing.assert_allclose(total[inside], 1.0, rtol=1e-12)
    assert inside.mean() > 0.9


def test_without_competing_events_the_hazards_are_coxs(pbc):
    X, y = pbc
    alone = competing_outcome(y["time"], y["cause"] == 1)
    model = CauseSpecificCox(penalties=(5.0,)).fit(X, alone)
    cox = CoxRidge(penalties=(5.0,)).fit(X, survival_outcome(y["time"], y["cause"] == 1))
    np.testing.assert_array_equal(model.event_.log_hazard(X), cox.log_hazard(X))
    assert model.competing_ is None
    jumps = np.diff(cox.baseline_hazard_, prepend=0.0)[cox.baseline_times_ <= 365]
    by_hand = 1 - np.prod(1 - np.outer(np.exp(cox.log_hazard(X)), jumps), axis=1)
    np.testing.assert_allclose(model.risk(X, 365.0), by_hand, rtol=1e-10)


def test_few_competing_events_have_one_hazard_for_everybody(pbc):
    X, y = pbc
    compete = np.flatnonzero(y["cause"] == 2)
    few = y.copy()
    few["cause"][compete[3:]] = 0
    model = CauseSpecificCox(penalties=(5.0,)).fit(X, few)
    assert model.competing_ is None
    assert np.count_nonzero(model.jumps_[1]) == 3
    at = y["time"][compete[0]]
    place = np.searchsorted(model.times_, at)
    assert model.jumps_[1][place] == pytest.approx(1 / (y["time"] >= at).sum())  # Nelson-Aalen, by hand


@pytest.mark.parametrize("kind", [CauseSpecificCox, FineGrayRidge])
def test_too_few_events_another_outcome_and_times_out_of_range_are_refused(kind, pbc):
    X, y = pbc
    few = y.copy()
    few["cause"][np.flatnonzero(y["cause"] == 1)[4:]] = 0
    with pytest.raises(AnalysisError, match="to 4 events: at least 5"):
        kind().fit(X, few)
    with pytest.raises(DataError, match=r"fields event, time, but .*competing_outcome"):
        kind().fit(X, survival_outcome(y["time"], y["cause"] == 1))
    model = kind(penalties=(5.0,)).fit(X, y)
    with pytest.raises(AnalysisError, match="choose a horizon within the follow-up"):
        model.risk(X, 1e5)
    with pytest.raises(AnalysisError, match="A risk at -1 was asked for"):
        model.risk(X, -1.0)


def test_a_cox_model_does_not_take_competing_events_for_censoring(pbc):
    X, y = pbc
    with pytest.raises(DataError, match="fields cause, time, but a Cox model takes event and time"):
        CoxRidge().fit(X, y)

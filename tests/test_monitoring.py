"""A model watched: the shift, the outcomes by calendar time, and a verdict that is tracked."""

import numpy as np
import pandas as pd
import pytest

from trialml.data.roles import Covariate
from trialml.errors import ModelInputError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.input_contract import InputContract
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import survival_outcome
from trialml.models.training_summary import TrainingSummary
from trialml.monitoring import Observations, monitor
from trialml.stratifier import RiskPart, Stratifier
from trialml.validation.by_group import performance_by_group

COVARIATES = (Covariate("age", "numeric", "Age"), Covariate("marker", "numeric", "Marker"))


def draw(n, seed, *, harm=1.0):
    """Patients under control: the marker moves the hazard, and `harm` multiplies it."""
    source = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": source.normal(60, 9, n), "marker": source.normal(0, 1, n)})
    times = source.exponential(400 / (harm * np.exp(0.8 * frame["marker"])))
    ends = source.uniform(380, 900, n)
    frame["days"], frame["died"] = np.ceil(np.minimum(times, ends)), (times <= ends).astype(int)
    frame["change"] = 5 + 2 * frame["marker"] + source.normal(0, 1, n) + 3 * (harm - 1)
    frame["arm"] = np.where(np.arange(n) % 2, "control", "new")
    frame["entry"] = pd.date_range("2025-01-01", "2025-12-31", periods=n).strftime("%Y-%m-%d")
    return frame


@pytest.fixture(scope="module")
def trained():
    return draw(600, 1)


def stratifier(trained, part):
    X = trained[["age", "marker"]]
    contract, training = InputContract.learn(COVARIATES, X), TrainingSummary.learn(COVARIATES, X)
    return Stratifier("T", "days", contract, part, training=training)


@pytest.fixture(scope="module")
def model(trained):
    outcome = survival_outcome(trained["days"].to_numpy(float), trained["died"].to_numpy(bool))
    fitted = CoxRidge(penalties=(1.0,)).fit(trained[["age", "marker"]], outcome)
    return stratifier(trained, RiskPart("cox_ridge", fitted, 365.0))


def saved(frame, folder):
    frame.to_csv(folder / "later.csv", index=False)
    return str(folder / "later.csv")


TIME = ("days", "died")


def test_patients_like_those_in_training_give_no_reason_and_the_numbers_are_those_of_validation(model, tmp_path):
    frame = draw(500, 2)
    found = monitor(model, saved(frame, tmp_path), Observations(TIME, "entry"))
    assert found.verdict.decision == "keep"
    assert found.periods.groups["group"].tolist() == ["2025-Q1", "2025-Q2", "2025-Q3", "2025-Q4"]
    risk = model.predict(frame)["risk"].to_numpy()
    quarter = pd.to_datetime(frame["entry"]).dt.quarter.to_numpy()
    own = quarter == 3
    alone = performance_by_group(
        frame["days"][own], frame["died"][own] == 1, risk[own], ["x"] * own.sum(), factor="f", horizon=365.0, unit="days", kind="external"
    )  # fmt: skip
    for measure in ("observed over expected", "calibration slope", "Harrell's C"):
        assert found.periods.estimate("2025-Q3", measure).value == pytest.approx(
            alone.estimate("x", measure).value, rel=1e-12
        )


def test_a_hazard_that_doubled_asks_for_recalibration(model, tmp_path):
    found = monitor(model, saved(draw(500, 3, harm=2.0), tmp_path), Observations(TIME, "entry", "year"))
    assert found.verdict.decision == "recalibrate"
    assert "observed over expected" in " ".join(found.verdict.reasons)


def test_a_change_in_the_latest_period_alone_is_seen(model, tmp_path):
    late = draw(200, 5, harm=3.0).assign(entry="2026-02-01")
    found = monitor(model, saved(pd.concat([draw(2500, 4), late]), tmp_path), Observations(TIME, "entry"))
    assert found.verdict.latest_period == "2026-Q1"
    assert found.verdict.decision == "recalibrate"
    assert all("2026-Q1" in reason for reason in found.verdict.reasons)


def test_without_outcomes_the_shift_alone_is_told(model, tmp_path):
    found = monitor(model, saved(draw(300, 6).assign(age=lambda f: f["age"] + 25), tmp_path), Observations())
    assert (found.verdict.decision, found.shift.shifted, found.periods) == ("no outcomes", ("age",), None)


def test_few_events_give_no_verdict(model, tmp_path):
    found = monitor(model, saved(draw(25, 7), tmp_path), Observations(TIME))
    assert found.verdict.decision == "too few outcomes"


def test_patients_of_another_arm_and_those_without_an_outcome_are_left_out(model, tmp_path):
    frame = draw(400, 8)
    frame.loc[:49, "days"] = np.nan
    found = monitor(model, saved(frame, tmp_path), Observations(TIME, arm="arm", control="control"))
    assert found.judged == ((frame["arm"] == "control") & frame["days"].notna()).sum()
    with pytest.raises(ModelInputError, match="No patient has 'placebo'"):
        monitor(model, saved(frame, tmp_path), Observations(TIME, arm="arm", control="placebo"))


def test_binary_and_continuous_endpoints_are_judged_too(trained, tmp_path):
    X = trained[["age", "marker"]]
    binary = stratifier(trained, RiskPart("logistic_ridge", LogisticRidge().fit(X, trained["died"] == 1)))
    found = monitor(binary, saved(draw(400, 9), tmp_path), Observations(("died",)))
    assert found.verdict.decision == "keep"
    fitted = LinearRidge().fit(X, trained["change"].to_numpy())
    continuous = stratifier(trained, RiskPart("linear_ridge", fitted, output="expected_outcome"))
    assert monitor(continuous, saved(draw(400, 10), tmp_path), Observations(("change",))).verdict.decision == "keep"
    moved = monitor(continuous, saved(draw(400, 11, harm=2.0), tmp_path), Observations(("change",)))
    assert moved.verdict.decision == "recalibrate"


def test_what_cannot_be_monitored_is_said(model, tmp_path):
    path = saved(draw(50, 12), tmp_path)
    with pytest.raises(ModelInputError, match="takes follow-up and event"):
        monitor(model, path, Observations(("died",)))
    old = Stratifier("T", "days", model.contract, model.risk)
    with pytest.raises(ModelInputError, match="keeps no summary"):
        monitor(old, path, Observations())

"""The risk model on patients not seen: pairs by hand, a true model, and poisoned outcomes."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.survival.brier import brier
from trialml.survival.concordance import concordance
from trialml.validation.calibration import Calibration, calibration
from trialml.validation.crossvalidation import HeldOut, crossvalidate_risk
from trialml.validation.discrimination import Discrimination, discrimination
from trialml.validation.prediction_error import PredictionError, prediction_error


def trial(n, seed, effect=1.0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=n)
    time, last = generator.exponential(1 / np.exp(effect * x)), generator.uniform(0.5, 3.0, n)
    return pd.DataFrame({"x": x}), np.minimum(time, last), time <= last, generator.random(n) < 0.5


def held_out(risk, log_hazard=None, null=0.5, fold=None, null_by_arm=0.5):
    risk = np.atleast_2d(risk)
    return HeldOut(
        risk,
        risk if log_hazard is None else np.atleast_2d(log_hazard),
        np.full(risk.shape, null),
        np.broadcast_to(np.asarray(null_by_arm, dtype=float), risk.shape),
        np.zeros(risk.shape, dtype=np.intp) if fold is None else np.atleast_2d(fold),
    )


def test_trap_19_pairs_are_compared_within_a_fold_and_within_an_arm_by_hand():
    """Fold 0: patients 0 to 2; fold 1: 3 to 5. Scores of different folds are on scales that differ by 100."""
    time = np.array([1.0, 2.0, 3.0, 1.5, 2.5, 3.5])
    event = np.array([True, True, False, True, False, False])
    score = np.array([3.0, 1.0, 2.0, 101.0, 102.0, 100.0])
    treated = np.array([True, False, False, True, True, False])
    held = held_out(np.full(6, 0.5), score, fold=np.array([0, 0, 0, 1, 1, 1]))
    found = discrimination(time, event, treated, held, score, horizon=4.0, unit="days")
    # Fold 0: (0,1) won, (0,2) won, (1,2) lost; fold 1: (3,4) lost, (3,5) won: 3 of 5.
    assert found.crossfit.value == pytest.approx(3 / 5)
    # Within an arm and fold: (1,2) lost, (3,4) lost.
    assert found.without_arm.value == pytest.approx(0.0)
    assert found.crossfit.kind == "crossfit"
    assert found.apparent.kind == "apparent"


def test_trap_17_pairs_whose_first_event_is_after_the_horizon_do_not_count():
    X, time, event, treated = trial(200, 1)
    score = X["x"].to_numpy()
    found = discrimination(time, event, treated, held_out(np.full(200, 0.5), score), score, horizon=0.7, unit="years")
    one = concordance(time, event, score, tau=0.7)
    assert found.crossfit.value == pytest.approx(one.value, abs=1e-12)
    assert found.crossfit.se == pytest.approx(one.se, rel=1e-9)
    assert found.crossfit.events == int((event & (time <= 0.7)).sum())
    assert "not to be compared with that of another trial" in found.methods


def test_the_standard_error_of_c_is_the_spread_over_trials():
    """60 trials of 200, a fixed score, 5 folds, 3 repeats: the ratio of se to spread is 1 within 3 errors of 0.09."""
    values, errors = [], []
    for seed in range(60):
        X, time, event, treated = trial(200, seed, 0.7)
        generator = np.random.default_rng(seed)
        score = np.tile(X["x"].to_numpy(), (3, 1))
        fold = np.stack([generator.permutation(200) % 5 for _ in range(3)])
        found = discrimination(
            time,
            event,
            treated,
            held_out(np.full((3, 200), 0.5), score, fold=fold),
            score[0],
            horizon=2.0,
            unit="years",
        ).crossfit
        values.append(found.value)
        errors.append(found.se)
    assert np.mean(errors) / np.std(values, ddof=1) == pytest.approx(1.0, abs=0.25)


def test_trap_17_the_text_says_what_the_arm_adds_to_the_order():
    X, time, event, treated = trial(150, 2)
    score = X["x"].to_numpy()
    found = discrimination(
        time, event, treated, held_out(np.full(150, 0.5), score), score - 0.0, horizon=2.0, unit="years"
    )
    assert "within an arm, where the baseline covariates alone order patients" in found.text()
    assert "too good" not in found.text()
    again = Discrimination.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()


def true_risks(X, horizon):
    return 1 - np.exp(-horizon * np.exp(X["x"].to_numpy()))


def test_trap_21_a_true_model_is_calibrated():
    """30 trials of 500: mean slope and observed over expected are 1 within 4 standard errors of the mean."""
    slopes, ratios = [], []
    for seed in range(30):
        X, time, event, treated = trial(500, seed)
        found = calibration(time, event, treated, held_out(true_risks(X, 1.0)), horizon=1.0, unit="years")
        slopes.append(found.slope.value)
        ratios.append(found.ratio.value)
    for values in (slopes, ratios):
        assert abs(np.mean(values) - 1) < 4 * np.std(values, ddof=1) / math.sqrt(30)
        assert np.std(values) < 0.15


def test_predictions_that_are_too_extreme_have_a_slope_below_one():
    X, time, event, treated = trial(800, 3)
    risk = 1 - np.exp(-np.exp(2 * X["x"].to_numpy()))
    found = calibration(time, event, treated, held_out(risk), horizon=1.0, unit="years")
    assert found.slope.high < 1
    assert found.slope.value == pytest.approx(0.5, abs=0.1)


def test_trap_8_observed_risks_are_kaplan_meiers_and_events_are_those_by_the_horizon():
    X, time, event, treated = trial(400, 4)
    found = calibration(time, event, treated, held_out(true_risks(X, 1.0)), horizon=1.0, unit="years")
    assert found.groups["n"].sum() == 400
    assert found.groups["events"].sum() == (event & (time <= 1.0)).sum() == found.slope.events
    assert (found.groups["low"] <= found.groups["observed"]).all()
    assert found.groups["predicted"].is_monotonic_increasing
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()


def test_trap_20_the_brier_score_of_one_repeat_is_survivals_and_its_null_is_of_the_training_folds():
    """survival.brier is held to riskRegression::Score."""
    X, time, event, _ = trial(300, 5)
    risk = true_risks(X, 1.0)
    found = prediction_error(time, event, held_out(risk, null=0.6), horizon=1.0, unit="years")
    one = brier(time, event, risk, 1.0, null_risk=0.6)
    wanted = [one.value, one.se, one.null, one.ipa, one.ipa_se]
    shown = [found.model.value, found.model.se, found.null.value, found.ipa.value, found.ipa.se]
    np.testing.assert_allclose(shown, wanted, rtol=1e-10)
    assert "300 patients" in found.text()
    again = PredictionError.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()


def test_the_accuracy_within_an_arm_is_measured_against_the_arms_own_risk_and_earns_nothing_by_the_arm():
    """A model that knows the arm alone beats the pooled null, and gains exactly nothing within an arm."""
    generator = np.random.default_rng(21)
    treated = np.arange(600) % 2 == 0
    event_time = generator.exponential(np.where(treated, 4.0, 1.0))
    last = generator.uniform(0.5, 3.0, 600)
    time, event = np.minimum(event_time, last), event_time <= last
    by_arm = np.where(treated, 0.22, 0.63)
    found = prediction_error(time, event, held_out(by_arm, null=0.43, null_by_arm=by_arm), horizon=1.0, unit="years")
    assert found.ipa.low > 0
    assert found.ipa_within_arm.value == pytest.approx(0.0, abs=1e-12)
    one = brier(time, event, by_arm, 1.0, null_risk=0.5)
    half = prediction_error(time, event, held_out(by_arm, null_by_arm=0.5), horizon=1.0, unit="years").ipa_within_arm
    np.testing.assert_allclose([half.value, half.se], [one.ipa, one.ipa_se], rtol=1e-10)


def test_calibration_under_control_is_that_of_the_control_patients_alone():
    """Predictions right under control and half the risk too low under treatment: the pooled figures hide it."""
    X, time, event, treated = trial(1200, 22)
    risk = np.where(treated, true_risks(X, 1.0) / 2, true_risks(X, 1.0))
    found = calibration(time, event, treated, held_out(risk), horizon=1.0, unit="years")
    own = calibration(
        time[~treated], event[~treated], np.zeros((~treated).sum(), dtype=bool), held_out(risk[~treated]),
        horizon=1.0, unit="years",
    )  # fmt: skip
    assert found.ratio_under_control == own.ratio
    assert found.slope_under_control == own.slope
    assert found.ratio_under_control.low < 1 < found.ratio_under_control.high
    assert found.ratio_by_arm["experimental"].low > 1.5
    assert found.ratio_under_control.events + found.ratio_by_arm["experimental"].events == found.ratio.events
    assert math.isnan(own.slope_by_arm["experimental"].value)


def test_trap_76_a_group_with_few_events_does_not_show_how_many():
    X, time, event, treated = trial(120, 23, effect=2.0)
    found = calibration(time, event, treated, held_out(true_risks(2 * X, 1.0)), horizon=1.0, unit="years")
    shown = found.groups["events"]
    assert shown.isna().sum() >= 2
    assert (shown.dropna() >= 11).all()
    assert "suppressed" in set(found.table()["Events"])


def test_trap_26_a_patients_prediction_never_saw_the_patients_outcome():
    """One patient's time is poisoned; in the patient's own fold no prediction moves, in the others nearly all do."""
    X, time, event, treated = trial(150, 6)
    cells = event.astype(str)

    def held(times):
        outcome = survival_outcome(times, event)
        return crossvalidate_risk(
            lambda rows: CoxRidge(seed=1, folds=3, penalties=(1.0, 10.0)).fit(X.iloc[rows], outcome[rows]),
            X, times, event, treated=treated, cells=cells, horizon=0.5, folds=5, repeats=2, seed=9,
        )  # fmt: skip

    patient = int(np.flatnonzero(event & (time < 1.0))[0])
    moved = time.copy()
    moved[patient] = 2.9
    one, other = held(time), held(moved)
    np.testing.assert_array_equal(one.fold, other.fold)
    for repeat in range(2):
        own = one.fold[repeat] == one.fold[repeat, patient]
        for name in ("risk", "log_hazard", "null_risk", "null_risk_by_arm"):
            before, after = getattr(one, name)[repeat], getattr(other, name)[repeat]
            np.testing.assert_array_equal(before[own], after[own])
            assert (before[~own] != after[~own]).all() or name.startswith("null_risk")


def test_every_patient_is_predicted_once_in_each_repeat_and_repeats_differ():
    X, time, event, treated = trial(100, 7)
    outcome = survival_outcome(time, event)
    seen = []

    def fit(rows):
        seen.append(rows)
        return CoxRidge(penalties=(5.0,)).fit(X.iloc[rows], outcome[rows])

    held = crossvalidate_risk(
        fit, X, time, event, treated=treated, cells=event.astype(str), horizon=0.5, folds=4, repeats=2, seed=1
    )
    assert len(seen) == 8
    assert np.isfinite(held.risk).all()
    assert (held.fold[0] != held.fold[1]).any()
    for repeat in (0, 1):
        counts = sum(np.bincount(rows, minlength=100) for rows in seen[4 * repeat : 4 * repeat + 4])
        assert (counts == 3).all()


def test_the_slope_is_that_of_one_model_and_not_of_an_average_of_models():
    """Predictions averaged over repeats are less extreme than any of them: their slope would flatter."""
    X, time, event, treated = trial(400, 8)
    generator = np.random.default_rng(1)
    risks = np.stack([1 - np.exp(-np.exp(X["x"] + generator.normal(scale=0.8, size=400))) for _ in range(4)])
    at = {"horizon": 1.0, "unit": "years"}
    single = [calibration(time, event, treated, held_out(risk), **at).slope.value for risk in risks]
    found = calibration(time, event, treated, held_out(risks), **at).slope.value
    averaged = calibration(time, event, treated, held_out(risks.mean(axis=0)), **at).slope.value
    assert found == pytest.approx(np.mean(single), rel=1e-12)
    assert averaged > found + 0.1


def test_trap_7_rounding_errors_at_the_horizon_and_at_ties_move_no_number_of_the_risk_model():
    """Whole months with events and censorings at the horizon itself; each time then errs by a relative 1e-12."""
    X, time, event, treated = trial(300, 12)
    time = np.ceil(12 * time)
    assert (event & (time == 12)).any()
    assert (~event & (time == 12)).any()
    # One group is followed to the horizon and no further.
    score = X["x"].to_numpy()
    last = score > np.quantile(score, 0.8)
    event, time = np.where(last & (time > 12), False, event), np.where(last, np.minimum(time, 12.0), time)
    risk = 1 - np.exp(-0.5 * np.exp(score))
    held = held_out(np.clip(risk, 0.01, 0.99), score, fold=np.arange(300) % 30)
    at = {"horizon": 12.0, "unit": "months"}

    def numbers(times):
        return {
            **discrimination(times, event, treated, held, score, **at).scalars(),
            **calibration(times, event, treated, held, **at).scalars(),
            **prediction_error(times, event, held, **at).scalars(),
        }, calibration(times, event, treated, held, **at).groups

    exact, groups = numbers(time)
    assert groups["observed"].notna().all()
    draw = np.random.default_rng(0)
    for moved in (time * (1 + draw.uniform(-1e-12, 1e-12, 300)), time * (1 - 1e-13)):
        found, of_groups = numbers(moved)
        np.testing.assert_allclose(list(found.values()), list(exact.values()), rtol=1e-8)
        numeric = ["n", "events", "predicted", "observed", "low", "high"]
        np.testing.assert_allclose(of_groups[numeric], groups[numeric], rtol=1e-8)

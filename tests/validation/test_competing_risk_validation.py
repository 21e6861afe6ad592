"""The risk model on patients not seen where events compete: R's scores, pairs by brute force, and a model of the control arm alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.survival.aalen_johansen import aalen_johansen
from trialml.validation.calibration import calibration
from trialml.validation.crossvalidation import HeldOut, crossvalidate_risk, null_risks
from trialml.validation.discrimination import discrimination
from trialml.validation.prediction_error import prediction_error

REFERENCE = Path(__file__).parents[1] / "reference"
METRICS = json.loads((REFERENCE / "metrics.json").read_text())


def small(seed=5, n=60):
    """Tied whole times, two causes and censoring, tied scores, two folds."""
    draw = np.random.default_rng(seed)
    time, cause = draw.integers(1, 12, n).astype(float), draw.integers(0, 3, n)
    score, fold = draw.integers(0, 6, n) / 6.0, draw.integers(0, 2, n)
    return time, cause == 1, cause == 2, score, fold, draw.random(n) < 0.5


def held_out(risk, fold, null=0.5):
    risk = np.atleast_2d(np.asarray(risk, dtype=float))
    return HeldOut(risk, risk, np.full(risk.shape, null), np.full(risk.shape, null), np.atleast_2d(fold))


def test_pairs_with_a_competing_event_are_those_of_brute_force():
    """Wolbers et al. 2014: whoever has the competing event is comparable with all who have the event, earlier or later."""
    time, event, competing, score, fold, treated = small()
    tau, won, pairs = 9.0, 0.0, 0
    for i in np.flatnonzero(event & (time <= tau)):
        for j in range(len(time)):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j] and not competing[j]) or competing[j]
            if j != i and fold[i] == fold[j] and later:
                won += (score[i] > score[j]) + 0.5 * (score[i] == score[j])
                pairs += 1
    found = discrimination(
        time, event, treated, held_out(score, fold), score, horizon=tau, unit="days", competing=competing
    )
    assert found.crossfit.value == pytest.approx(won / pairs, abs=1e-12)


def test_prediction_error_and_calibration_slope_with_competing_events_are_those_of_r():
    """pbc with R's cause-specific risks: Score() of riskRegression (surv_score_competing) and the Fine-Gray slope of metrics.R."""
    table = pd.read_csv(REFERENCE / "data" / "pbc_rct.csv")
    event, competing = (table["status"] == 2).to_numpy(), (table["status"] == 1).to_numpy()
    time, treated = table["time"].to_numpy(dtype=float), (np.arange(len(table)) % 2).astype(bool)
    risk, fold = np.array(METRICS["competing_risks"]["csc"])[:, 1], np.zeros(len(table), dtype=np.intp)
    at = {"horizon": 1826.0, "unit": "days", "competing": competing}
    brier = pd.DataFrame(json.loads((REFERENCE / "surv_score_competing.json").read_text())["outputs"]["Brier"])
    stored = brier.query("model == 'csc' and times == 1826").iloc[0]
    found = prediction_error(time, event, held_out(risk, fold), **at)
    assert [found.model.value, found.model.se] == pytest.approx([stored["Brier"], stored["se"]], rel=1e-8)
    slope, wanted = calibration(time, event, treated, held_out(risk, fold), **at).slope, METRICS["calibration"]
    assert slope.value == pytest.approx(wanted["fine_gray_slope"]["slope"], rel=1e-8)


def test_the_observed_risk_of_a_fifth_is_aalen_johansens():
    time, event, competing, score, fold, treated = small(n=300)
    risk = (score + 0.5) / 7
    found = calibration(
        time, event, treated, held_out(risk, fold), horizon=8.0, unit="days", competing=competing, groups=2
    )
    rows = risk <= np.quantile(risk, 0.5)
    curves = aalen_johansen(time[rows], event[rows] + 2 * competing[rows], 2)
    at = int(np.searchsorted(curves.time, 8.0, side="right")) - 1
    assert found.groups["observed"].iloc[0] == pytest.approx(curves.incidence[at, 0], rel=1e-12)
    assert found.groups["low"].iloc[0] < found.groups["observed"].iloc[0] < found.groups["high"].iloc[0]


class Known:
    """A risk that is the patient's own `x`, whatever the time."""

    def log_hazard(self, X):
        return X["x"].to_numpy()

    def risk(self, X, horizon):
        return X["x"].to_numpy() * horizon / 10


def test_risks_at_several_times_and_null_risks_come_from_the_training_folds():
    time, event, competing, score, _, treated = small(n=120)
    X = pd.DataFrame({"x": score})
    held = crossvalidate_risk(
        lambda _rows: Known(), X, time, event, treated=treated, cells=event.astype(str), horizon=8.0, folds=3, repeats=2,
        seed=1, competing=competing, times=[2.0, 4.0],
    )  # fmt: skip
    assert held.over_time.shape == (2, 120, 2)
    np.testing.assert_allclose(held.over_time[1], score[:, None] * [0.2, 0.4])
    train, test = np.flatnonzero(held.fold[1] != 0), np.flatnonzero(held.fold[1] == 0)
    own = train[treated[train]]
    for rows, null in ((train, held.null_risk[1]), (own, held.null_risk_by_arm[1])):
        curves = aalen_johansen(time[rows], event[rows] + 2 * competing[rows], 2)
        wanted = curves.incidence[int(np.searchsorted(curves.time, 8.0, side="right")) - 1, 0]
        assert null[test[treated[test]]] == pytest.approx(wanted, rel=1e-12)
    again = null_risks(time, event, treated, held.fold, 8.0, competing=competing)
    np.testing.assert_array_equal(again, [held.null_risk, held.null_risk_by_arm])


@pytest.mark.parametrize(
    ("arm", "word"), [("blinded", "does not know the arm"), ("control arm", "On control patients")]
)
def test_the_words_say_what_the_model_knows_of_the_arm(arm, word):
    time, event, _, score, fold, treated = small(n=200)
    arms = np.zeros(200, dtype=bool) if arm == "control arm" else treated
    risk, at = (score + 0.5) / 7, {"horizon": 8.0, "unit": "days", "arm": arm}
    found = discrimination(time, event, arms, held_out(risk, fold), risk, **at)
    assert word in found.text()
    error, calibrated = (
        prediction_error(time, event, held_out(risk, fold), **at),
        calibration(time, event, arms, held_out(risk, fold), **at),
    )
    for one in (found, error, calibrated):
        assert ("both arms" in one.text()) == (arm == "blinded")
        assert "whose risk new patients are given" not in one.text()
    assert len(found.table()) == (2 if arm == "control arm" else 3)

"""Calibration at a horizon against R (coxph, crr, a weighted glm on rms's spline) and against what must hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.errors import AnalysisError, DataError
from trialml.survival.calibration import (
    calibration_gaps,
    calibration_slope,
    cloglog,
    observed_over_expected,
    smooth_calibration,
)
from trialml.survival.cox import baseline_cumulative_hazard, fit_cox
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.product_limit import step_at
from trialml.survival.spline import restricted_cubic, spline_knots

METRICS = json.loads((Path(__file__).parents[1] / "reference" / "metrics.json").read_text())
COLUMNS = ["horTh", "age", "pnodes", "progrec"]


@pytest.fixture(scope="module")
def test_half(reference_data):
    """The test half with the training half's risks at 1,095 days and linear predictor."""
    table = reference_data("gbsg2_split").assign(horTh=lambda d: (d["horTh"] == "yes") * 1.0)
    train, test = table[table["train"]], table[~table["train"]]
    beta = fit_cox(train["time"], train["cens"] == 1, train[COLUMNS]).coefficients
    times, hazard = baseline_cumulative_hazard(train["time"], train["cens"] == 1, train[COLUMNS].to_numpy() @ beta)
    score = test[COLUMNS].to_numpy() @ beta
    risk = 1 - np.exp(-step_at(times, hazard, 1095, initial=0.0) * np.exp(score))
    return test["time"].to_numpy(float), (test["cens"] == 1).to_numpy(), risk


@pytest.fixture(scope="module")
def pbc(reference_data):
    table = reference_data("pbc_rct")
    risk = np.array(METRICS["competing_risks"]["csc"])[:, 1]
    return table["time"].to_numpy(float), (table["status"] == 2).to_numpy(), risk, (table["status"] == 1).to_numpy()


def test_every_number_of_the_stored_calibration(test_half, oracle):
    """Fifths of predicted risk by survfit, observed over expected at 1,095 days, the slope of the linear predictor."""
    case = oracle("surv_calibration")
    time, event, risk = test_half
    breaks = np.quantile(risk, np.linspace(0, 1, 6))
    case.compare(breaks, "breaks")
    fifth = np.clip(np.searchsorted(breaks, risk, side="left") - 1, 0, 4)
    case.compare(np.bincount(fifth), "n")
    case.compare([risk[fifth == k].mean() for k in range(5)], "mean_pred")
    at = [kaplan_meier(time[fifth == k], event[fifth == k]).at(1095) for k in range(5)]
    case.compare([1 - one.value for one in at], "observed")
    ones = np.full(46, 0.5)
    found = [
        observed_over_expected(time[fifth == k], event[fifth == k], ones[: (fifth == k).sum()], 1095) for k in range(5)
    ]
    case.compare([one.observed for one in found], "observed")
    case.compare([one.se * one.observed for one in found], "se")
    case.compare(observed_over_expected(time, event, risk, 1095).value, "oe_ratio")
    slope, se = calibration_slope(time, event, risk, time.max())
    case.compare(slope, "slope")
    case.compare(se, "slope_se")


def test_the_slope_with_competing_events_is_fine_and_grays(pbc):
    """cmprsk::crr of cloglog of the predicted risk, follow-up cut at the horizon, driven to its root."""
    time, event, risk, competing = pbc
    found = calibration_slope(time, event, risk, 1826, competing=competing)
    wanted = METRICS["calibration"]["fine_gray_slope"]
    np.testing.assert_allclose(found, [wanted["slope"], wanted["se"]], rtol=1e-8)


@pytest.mark.parametrize("name", ["gbsg2", "pbc"])
def test_the_curve_is_a_weighted_complementary_log_log_regression(test_half, pbc, name):
    """glm(binomial("cloglog"), weights = 1 / G) on rcspline.eval: the curve, ICI, E50 and E90."""
    time, event, risk, competing = (*test_half, None) if name == "gbsg2" else pbc
    wanted = METRICS["calibration"][name]
    found = smooth_calibration(time, event, risk, 1095 if name == "gbsg2" else 1826, competing=competing)
    np.testing.assert_allclose(found.knots, wanted["knots"], rtol=1e-7)
    np.testing.assert_allclose(found.observed[:10], wanted["observed"], rtol=1e-7)
    gaps = calibration_gaps(found, draws=50)
    np.testing.assert_allclose(
        [gaps.ici[0], gaps.e50[0], gaps.e90[0]], [wanted[k] for k in ("ici", "e50", "e90")], rtol=1e-7
    )


def test_the_curves_error_is_that_of_the_jackknife(monkeypatch):
    """Leaving out each of 900 patients in turn, censoring curve and all, with the knots where they were."""
    rng = np.random.default_rng(2)
    n = 900
    x = rng.normal(size=n)
    first, other, cut = rng.exponential(np.exp(-x)), rng.exponential(2.0, n), rng.exponential(1.0, n)
    time, event = np.minimum(np.minimum(first, other), cut), (first < other) & (first < cut)
    competing, risk = (other < first) & (other < cut), 1 - np.exp(-0.5 * np.exp(1.3 * x))
    full = smooth_calibration(time, event, risk, 0.6, competing=competing, knots=3)
    monkeypatch.setattr("trialml.survival.calibration.spline_knots", lambda *_: full.knots)
    X = np.column_stack([np.ones(3), restricted_cubic(cloglog(np.array([0.2, 0.4, 0.7])), full.knots)])
    fitted = []
    for i in range(n):
        kept = np.arange(n) != i
        one = smooth_calibration(time[kept], event[kept], risk[kept], 0.6, competing=competing[kept])
        fitted.append(X @ one.coefficients)
    jackknife = np.sqrt((n - 1) ** 2 / n * np.var(fitted, axis=0, ddof=1))
    np.testing.assert_allclose(np.sqrt(np.einsum("ij,jk,ik->i", X, full.covariance, X)), jackknife, rtol=0.02)


@given(st.integers(0, 10_000), st.floats(0.4, 2.5))
def test_predictions_bent_on_purpose_are_bent_back(seed, slope):
    """Risks whose log cumulative hazard is stretched: the slope is the inverse, and the curve lies on the truth."""
    rng = np.random.default_rng(seed)
    n = 4000
    x = np.minimum(rng.normal(size=n), 1.2)  # beyond it the bent risk is 1 to the last bit, which nothing bends back
    time, cut = rng.exponential(np.exp(-x)), rng.exponential(2.0, n)
    event, time = time <= cut, np.minimum(time, cut)
    true = 1 - np.exp(-0.5 * np.exp(x))
    bent = 1 - np.exp(-0.5 * np.exp(slope * x))
    found, se = calibration_slope(time, event, bent, 0.5)
    assert abs(found - 1 / slope) < 4.5 * se
    curve = smooth_calibration(time, event, bent, 0.5)
    inside = (bent > 0.05) & (bent < 0.95)
    assert np.abs(curve.observed - true)[inside].mean() < 0.03
    right = calibration_gaps(smooth_calibration(time, event, true, 0.5), draws=20)
    assert right.ici[0] < 0.03


def test_the_limits_of_the_ici_hold_it_when_the_model_is_wrong():
    """120 trials of 400: predictions of twice the hazard; the truth from a sample of 200,000."""
    rng = np.random.default_rng(3)

    def sample(n):
        x = rng.normal(size=n)
        return x, rng.exponential(np.exp(-x)), 1 - np.exp(-np.exp(x))

    x, _, predicted = sample(200_000)
    truth = np.abs(1 - np.exp(-0.5 * np.exp(x)) - predicted).mean()
    held = 0
    for k in range(120):
        x, time, predicted = sample(400)
        cut = rng.exponential(2.0, 400)
        curve = smooth_calibration(np.minimum(time, cut), time <= cut, predicted, 0.5)
        _, low, high, _ = calibration_gaps(curve, draws=200, seed=k).ici
        held += low <= truth <= high
    assert held / 120 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 120)


def test_splines_are_straight_beyond_the_outer_knots():
    knots = spline_knots(np.linspace(0, 1, 201))
    far = restricted_cubic(np.array([2.0, 3.0, 4.0]), knots)
    np.testing.assert_allclose(np.diff(far, 2, axis=0), 0, atol=1e-10)
    assert restricted_cubic(np.arange(3.0), [0.5]).shape == (3, 1)
    with pytest.raises(DataError, match="3, 4 or 5"):
        spline_knots([1.0, 2.0], 7)


def test_what_cannot_be_calibrated_is_refused():
    time, event = np.arange(1.0, 41.0), np.arange(40) % 2 == 0
    with pytest.raises(AnalysisError, match="risks that differ"):
        smooth_calibration(time, event, np.full(40, 0.5), 20)
    with pytest.raises(AnalysisError, match="at least 10"):
        smooth_calibration(time, event, np.linspace(0.1, 0.9, 40), 35)
    with pytest.raises(AnalysisError, match="cannot carry"):
        smooth_calibration(time, event, np.linspace(0.1, 0.9, 40), 4)
    with pytest.raises(AnalysisError, match="no maximum"):
        smooth_calibration(time, np.ones(40, bool), np.linspace(0.9, 0.1, 40), 20)
    assert np.isnan(observed_over_expected(time, event, np.full(40, 0.5), 50.0).value)

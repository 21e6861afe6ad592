"""Optimism and stability of models of competing risks, binary and continuous endpoints, by their definitions."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.errors import AnalysisError
from trialml.models.cause_specific_cox import CauseSpecificCox
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import competing_outcome
from trialml.result import Result
from trialml.survival.aalen_johansen import aalen_johansen
from trialml.survival.brier import brier
from trialml.survival.calibration import calibration_slope, smooth_calibration
from trialml.survival.concordance import concordance
from trialml.survival.spline import restricted_cubic, spline_knots
from trialml.validation.observed import ObservedBinary, ObservedContinuous
from trialml.validation.observed_survival import ObservedSurvival
from trialml.validation.optimism import bootstrap_rows, cox_fit, optimism_of
from trialml.validation.stability import stability_of

N, SAMPLES = 160, 20


def case(kind, p=4):
    draw = np.random.default_rng(11)
    X = pd.DataFrame(draw.normal(size=(N, p)), columns=[f"x{k}" for k in range(p)])
    drive = X["x0"].to_numpy()
    if kind == "binary":
        y = draw.random(N) < 1 / (1 + np.exp(-drive))
        return X, ObservedBinary(y), lambda rows: LogisticRidge(penalties=(0.1,)).fit(X.iloc[rows], y[rows])
    if kind == "continuous":
        y = 2 * drive + draw.normal(size=N)
        return X, ObservedContinuous(y, "mg"), lambda rows: LinearRidge(penalties=(1e-6,)).fit(X.iloc[rows], y[rows])
    first, other = draw.exponential(np.exp(-drive)), draw.exponential(2.0, N)
    last = draw.uniform(0.5, 3, N)
    time = np.minimum(np.minimum(first, other), last)
    cause = np.where(time == last, 0, np.where(time == first, 1, 2))
    observed = ObservedSurvival(time, cause == 1, horizon=1.0, unit="years", competing=cause == 2, tau=1.0)
    y = competing_outcome(time, cause)
    return X, observed, lambda rows: CauseSpecificCox().fit(X.iloc[rows], y[rows])


KINDS = ("binary", "continuous", "competing")


@pytest.mark.parametrize("kind", KINDS)
def test_optimism_is_the_mean_gap_of_each_sample_s_model(kind):
    X, observed, fit = case(kind)
    found = optimism_of(fit, X, observed, bootstraps=SAMPLES, seed=4)
    gaps, inside = [], []
    for rows in bootstrap_rows(N, SAMPLES, 4):
        model, own = fit(rows), observed.sample(rows)
        inside.append(own.judge(own.predict(model, X.iloc[rows])))
        gaps.append(inside[-1] - observed.judge(observed.predict(model, X)))
    assert np.allclose(found.measures["optimism"], np.mean(gaps, axis=0), rtol=1e-8, atol=1e-10)
    limits = np.quantile(inside, 0.025, axis=0) - np.mean(gaps, axis=0)
    slope = list(found.measures["measure"]).index("calibration slope")
    assert np.allclose(np.delete(found.measures["low"], slope), np.delete(limits, slope), rtol=1e-8)
    assert found.measures["optimism"].iloc[-1] > 0
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    assert ("events" in found.text()) == (kind != "continuous")
    assert len(found.scalars()) == 6 * len(found.measures)
    found.draw(Figure())


def test_the_measures_with_competing_events_are_those_of_the_functions_held_to_r():
    X, observed, fit = case("competing")
    time, event, competing = observed.outcome
    found = optimism_of(fit, X, observed, bootstraps=SAMPLES).measures.set_index("measure")["apparent"]
    model = fit(np.arange(N))
    risk, scored = model.risk(X, 1.0), brier(time, event, model.risk(X, 1.0), 1.0, competing=competing)
    c = concordance(time, event, model.predict(X), tau=1.0, competing=competing)
    assert found["Harrell's C"] == pytest.approx(c.value, rel=1e-8)
    slope = calibration_slope(time, event, risk, 1.0, competing=competing)[0]
    assert found["calibration slope"] == pytest.approx(slope, rel=1e-8)
    assert found["Brier score"] == pytest.approx(scored.value, rel=1e-8)
    assert found["IPA"] == pytest.approx(scored.ipa, rel=1e-8)
    curve = aalen_johansen(time, event + 2 * competing, 2)
    observed_by_then = curve.incidence[curve.time <= 1.0, 0][-1]
    assert observed.in_the_large(risk) == pytest.approx(observed_by_then / risk.mean(), rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_stability_is_the_mean_distance_of_the_bootstrap_models(kind):
    X, observed, fit = case(kind)
    found = stability_of(fit, X, observed, bootstraps=SAMPLES, seed=2)
    original = observed.predict(fit(np.arange(N)), X).value
    made = [observed.predict(fit(rows), X) for rows in bootstrap_rows(N, SAMPLES, 2)]
    assert found.estimate("MAPE").value == pytest.approx(np.mean([abs(m.value - original) for m in made]), rel=1e-8)
    assert found.estimate("calibration slope").value == pytest.approx(
        np.mean([observed.slope(m) for m in made]), rel=1e-8
    )
    assert found.estimate(observed.balance).value == pytest.approx(
        np.mean([observed.in_the_large(m.value) for m in made]), rel=1e-8
    )
    said = {"binary": "the risk of a patient moves by", "continuous": "mg on average", "competing": "risk by 1 years"}
    assert said[kind] in found.text()
    assert ("percentage points" in found.text()) == (kind != "continuous")
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    assert "stability_mape" in found.scalars()
    found.draw(Figure())


def test_a_model_that_learns_nothing_is_stable_and_has_no_optimism_but_chance():
    X, observed, fit = case("continuous")
    fixed = fit(np.arange(N))
    found = stability_of(lambda _rows: fixed, X, observed, bootstraps=SAMPLES)
    assert found.estimate("MAPE").value == 0
    gained = optimism_of(lambda _rows: fixed, X, observed, bootstraps=SAMPLES).measures
    assert (gained["optimism"].abs() < 4 * gained["mc_error"]).all()


def test_a_model_that_fails_in_many_samples_is_refused():
    X, observed, fit = case("binary")
    seen = []

    def fails(rows):
        seen.append(1)
        if len(seen) % 3 == 0:
            raise AnalysisError("no")
        return fit(rows)

    for of in (optimism_of, stability_of):
        seen.clear()
        with pytest.raises(AnalysisError, match=r"could not be fitted to \d of 20 bootstrap samples"):
            of(fails, X, observed, bootstraps=SAMPLES)


def survival_case():
    draw = np.random.default_rng(12)
    X = pd.DataFrame(draw.normal(size=(300, 3)), columns=["x0", "x1", "x2"])
    time, last = draw.exponential(np.exp(-X["x0"])), draw.uniform(0.4, 3, 300)
    times, event = np.minimum(time, last), np.asarray(time <= last)
    return X, ObservedSurvival(times, event, horizon=1.0, unit="years"), cox_fit(X, times, event)


def test_the_band_of_calibration_curves_holds_each_bootstrap_model_s_curve_in_the_original_patients():
    X, observed, fit = survival_case()
    found = stability_of(fit, X, observed, bootstraps=SAMPLES, seed=3)
    rows = found.curves
    curves = []
    for own in bootstrap_rows(300, SAMPLES, 3):
        risk = fit(own).risk(X, 1.0)
        curve = smooth_calibration(*observed.outcome[:2], risk, 1.0).at(rows["predicted"])[0]
        inside = (rows["predicted"] >= np.quantile(risk, 0.01)) & (rows["predicted"] <= np.quantile(risk, 0.99))
        curves.append(np.where(inside, curve, np.nan))
    assert np.allclose(rows["low"], np.nanquantile(curves, 0.025, axis=0), rtol=1e-7)
    assert np.allclose(rows["high"], np.nanquantile(curves, 0.975, axis=0), rtol=1e-7)
    assert (rows["models"] == np.isfinite(curves).sum(axis=0)).all()
    apparent = smooth_calibration(*observed.outcome[:2], fit(np.arange(300)).risk(X, 1.0), 1.0).at(rows["predicted"])[0]
    assert np.allclose(rows["original"], apparent, rtol=1e-7)
    figure = Figure()
    found.draw(figure)
    assert len(figure.axes) == 3
    assert "curve" in set(found.frame()["part"])
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).curves.equals(rows)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_curves_of_other_endpoints_are_near_the_diagonal_for_the_model_itself(kind):
    X, observed, fit = case(kind, p=1)
    found = stability_of(fit, X, observed, bootstraps=SAMPLES).curves
    assert len(found) > 20
    if kind == "continuous":
        value = observed.predict(fit(np.arange(N)), X).value
        places = spline_knots(value)
        columns, new = (
            np.column_stack([np.ones(len(x)), restricted_cubic(np.asarray(x), places)])
            for x in (value, found["predicted"])
        )
        assert np.allclose(found["original"], new @ np.linalg.lstsq(columns, observed.y, rcond=None)[0], rtol=1e-7)
    assert (found["low"] <= found["middle"]).all()


def test_too_few_events_give_no_curves_but_all_else():
    X, _, _ = case("binary", p=1)
    y = np.arange(N) < 3
    observed, fixed = ObservedBinary(y), case("binary", p=1)[2](np.arange(N))
    draw = np.random.default_rng(1)
    found = stability_of(lambda _rows: fixed, X, observed, bootstraps=SAMPLES, groups=draw.permutation(N))
    assert found.curves.empty
    figure = Figure()
    found.draw(figure)
    assert len(figure.axes) == 2

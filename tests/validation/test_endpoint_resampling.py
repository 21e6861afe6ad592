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
from trialml.survival.calibration import calibration_slope
from trialml.survival.concordance import concordance
from trialml.validation.observed import ObservedBinary, ObservedContinuous, ObservedSurvival
from trialml.validation.optimism import bootstrap_rows, optimism_of
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

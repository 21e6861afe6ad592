"""Measures of each kind of endpoint by brute force, ties included, and the resampling that is built on them."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from statsmodels.api import GLM, families

from trialml.errors import AnalysisError, DataError
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import binary_outcome, window_outcome
from trialml.result import Result
from trialml.survival.brier import brier
from trialml.survival.calibration import calibration_slope
from trialml.survival.cox_fit import fit_cox
from trialml.survival.product_limit import censoring_curve, step_at
from trialml.validation.crossvalidation import crossvalidate_risk
from trialml.validation.endpoint_measures import Predictions
from trialml.validation.held_predictions import crossvalidate
from trialml.validation.model_comparison import choose_model
from trialml.validation.observed import ObservedBinary, ObservedContinuous
from trialml.validation.observed_survival import ObservedSurvival
from trialml.validation.optimism import cox_fit


def patients(n=60, seed=5):
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(draw.normal(size=(n, 2)), columns=["a", "b"])
    return draw, X


def with_ties(draw, n, levels=6):
    return draw.integers(1, levels, n) / levels


def by_pairs(score, happened, weight):
    """The definition of the weighted area, pair by pair."""
    won = total = 0.0
    for i, j in itertools.product(range(len(score)), repeat=2):
        if happened[i] and not happened[j]:
            total += weight[i] * weight[j]
            won += weight[i] * weight[j] * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
    return won / total


@pytest.mark.parametrize("seed", range(4))
def test_the_binary_measures_are_their_definitions_with_ties_and_weights(seed):
    draw, _ = patients(seed=seed)
    risk, weight = with_ties(draw, 40), draw.integers(1, 4, 40) / 2
    happened = draw.random(40) < risk
    observed = ObservedBinary(binary_outcome(happened, weight))
    auc, slope, score, gain = observed.judge(Predictions(risk, risk))
    assert auc == pytest.approx(by_pairs(risk, happened, weight), rel=1e-8)
    assert score == pytest.approx(sum(weight * (happened - risk) ** 2) / 40, rel=1e-8)
    share = sum(weight * happened) / sum(weight)
    assert gain == pytest.approx(1 - score / (sum(weight * (happened - share) ** 2) / 40), rel=1e-8)
    assert observed.in_the_large(risk) == pytest.approx(share / risk.mean(), rel=1e-8)
    design = np.column_stack([np.ones(40), np.log(risk / (1 - risk))])
    oracle = GLM(happened.astype(float), design, families.Binomial(), freq_weights=weight).fit(tol=1e-14)
    assert slope == pytest.approx(oracle.params[1], rel=1e-6)
    assert observed.measures == ("AUC", "calibration slope", "Brier score", "IPA")


def test_an_event_within_a_window_is_weighed_as_the_brier_score_of_follow_up_is():
    draw, _ = patients()
    time, last = draw.exponential(1.0, 200), draw.uniform(0.3, 2.5, 200)
    times, cause = np.minimum(time, last), (time <= last).astype(int)
    risk = with_ties(draw, 200)
    windowed, followed = (
        ObservedBinary(window_outcome(times, cause, 1.0)),
        ObservedSurvival(times, cause == 1, horizon=1.0),
    )
    assert windowed.losses(risk).mean() == pytest.approx(brier(times, cause == 1, risk, 1.0).value, rel=1e-8)
    assert np.allclose(windowed.losses(risk), followed.losses(risk), rtol=1e-8)
    assert windowed.null() == pytest.approx(followed.null(), rel=0.02)
    # A sample has the weights of its own patients.
    rows = draw.integers(200, size=200)
    own = window_outcome(times[rows], cause[rows], 1.0)
    curve = censoring_curve(own["time"], own["known"])
    at = step_at(curve.time, curve.survival, own["time"], left=True)
    assert np.allclose(windowed.sample(rows).weight, np.where(own["known"], 1 / at, 0), rtol=1e-8)


def test_the_continuous_measures_are_their_definitions():
    draw, _ = patients()
    mean = with_ties(draw, 40)
    y = 2 * mean + draw.normal(size=40)
    observed = ObservedContinuous(y, "mg")
    slope, loss, gain = observed.judge(Predictions(mean, mean))
    assert loss == pytest.approx(sum((a - b) ** 2 for a, b in zip(y, mean, strict=True)) / 40, rel=1e-8)
    assert gain == pytest.approx(1 - loss / (sum((y - y.mean()) ** 2) / 40), rel=1e-8)
    assert slope == pytest.approx(LinearRegression().fit(mean[:, None], y).coef_[0], rel=1e-8)
    assert observed.in_the_large(mean) == pytest.approx(y.mean() - mean.mean(), rel=1e-8)


def test_with_competing_events_the_measures_are_those_of_patients_who_never_have_the_event():
    """Without censoring a patient with a competing event is one who is followed for ever without the event."""
    draw, _ = patients()
    time, cause = draw.integers(1, 30, 120).astype(float), draw.integers(1, 3, 120)
    risk = with_ties(draw, 120)
    found = ObservedSurvival(time, cause == 1, horizon=15, competing=cause == 2, tau=15).judge(Predictions(risk, risk))
    happened = (cause == 1) & (time <= 15)
    won = pairs = 0.0
    for i, j in itertools.product(range(120), repeat=2):
        if happened[i] and (time[j] > time[i] or cause[j] == 2):
            pairs += 1
            won += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    assert found[0] == pytest.approx(won / pairs, rel=1e-8)
    assert found[2] == pytest.approx(np.mean((happened - risk) ** 2), rel=1e-8)
    assert found[3] == pytest.approx(1 - found[2] / (happened.mean() * (1 - happened.mean())), rel=1e-8)


class Averaged:
    """A model that orders patients by a risk, as a survival forest does."""

    def risk(self, X, horizon):
        return 1 - np.exp(-0.5 * horizon * np.exp(X["a"].to_numpy()))

    def predict(self, X):
        return self.risk(X, 0.7)


def test_the_slope_of_a_model_without_a_log_hazard_is_that_of_its_risk():
    draw, X = patients(150)
    time, last = draw.exponential(2 * np.exp(-X["a"])), draw.uniform(0.5, 3, 150)
    times, event = np.minimum(time, last), np.asarray(time <= last)
    observed = ObservedSurvival(times, event, horizon=1.0)
    slope = observed.slope(observed.predict(Averaged(), X))
    assert slope == pytest.approx(calibration_slope(times, event, Averaged().risk(X, 1.0), 1.0)[0], rel=1e-8)
    # Its log(-log(1 - risk)) is a up to a constant; the slope of the risk itself in a Cox model would be another number.
    cut = fit_cox(np.minimum(times, 1.0), event & (times <= 1.0), X[["a"]].to_numpy()).coefficients[0]
    assert slope == pytest.approx(cut, rel=1e-7)


def binary_trial(n=240, seed=2, effect=1.2):
    draw, X = patients(n, seed)
    X["arm"] = draw.integers(2, size=n)
    event = draw.random(n) < 1 / (1 + np.exp(-(effect * X["a"] - 0.5 * X["arm"])))
    return X, event.to_numpy()


def test_out_of_fold_predictions_are_those_of_models_of_the_other_folds():
    X, event = binary_trial()
    observed, treated = ObservedBinary(event), X["arm"].to_numpy() == 1

    def fit(rows):
        return LogisticRidge("arm", penalties=(1.0,)).fit(X.iloc[rows], event[rows])

    held = crossvalidate(fit, X, observed, treated=treated, cells=event, folds=4, repeats=2, seed=3)
    for repeat, label in itertools.product(range(2), range(4)):
        test = held.fold[repeat] == label
        assert np.allclose(held.value[repeat, test], fit(np.flatnonzero(~test)).risk(X[test]), rtol=1e-8)
        assert np.allclose(held.null[repeat, test], event[~test].mean(), rtol=1e-8)
        for arm in (False, True):
            own = held.null_by_arm[repeat, test & (treated == arm)]
            assert np.allclose(own, event[~test & (treated == arm)].mean(), rtol=1e-8)
    again = crossvalidate(fit, X, observed, treated=treated, cells=event, folds=4, repeats=2, seed=3, workers=2)
    assert all(np.array_equal(one, two) for one, two in zip(held, again, strict=True))


def test_a_time_to_event_has_the_predictions_that_its_own_crossvalidation_gives():
    draw, X = patients(150)
    time, last = draw.exponential(np.exp(-X["a"])), draw.uniform(0.5, 3, 150)
    times, event = np.minimum(time, last), np.asarray(time <= last)
    treated = draw.random(150) < 0.5
    fit = cox_fit(X, times, event)
    settings = {"treated": treated, "cells": event.astype(str), "folds": 3, "repeats": 2, "seed": 4}
    one = crossvalidate(fit, X, ObservedSurvival(times, event, horizon=1.0), **settings)
    two = crossvalidate_risk(fit, X, times, event, horizon=1.0, **settings)
    assert all(np.allclose(a, b, rtol=1e-12) for a, b in zip(one, two[:5], strict=True))


def continuous_trial(n=200, seed=4):
    draw, X = patients(n, seed)
    return X, X["a"].to_numpy() * 3 + draw.normal(size=n)


def choice(kind):
    """A good candidate beside a default that sees another column."""
    if kind == "binary":
        X, y = binary_trial()
        observed, made = ObservedBinary(y), lambda: LogisticRidge(penalties=(1.0,))
    else:
        X, y = continuous_trial()
        observed, made = ObservedContinuous(y, "cells"), lambda: LinearRidge(penalties=(0.01,))

    def of(column):
        return lambda rows: Narrow(made().fit(X[[column]].iloc[rows], y[rows]), column)

    settings = {"cells": y > 0.5, "folds": 4, "repeats": 2, "inner_folds": 3, "inner_repeats": 1, "seed": 7}
    return observed, {"noise": of("b"), "signal": of("a")}, X, settings


class Narrow:
    """A model of one column, given all of them."""

    def __init__(self, model, column):
        self.model, self.column = model, column

    def risk(self, X):
        return self.model.risk(X[[self.column]])

    def predict(self, X):
        return self.model.predict(X[[self.column]])


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_a_better_candidate_is_chosen_for_endpoints_without_follow_up(kind):
    observed, fits, X, settings = choice(kind)
    found, held = choose_model(fits, X, observed, **settings)
    assert found.chosen == "signal"
    losses = observed.losses(held.value)
    gaps = [(losses[1] - losses[0])[r, held.fold[r] == f].mean() for r in range(2) for f in range(4)]
    assert found.difference("signal").value == pytest.approx(np.mean(gaps), rel=1e-8)
    assert found.difference("signal").se == pytest.approx(np.sqrt(1 / 8 + 1 / 3) * np.std(gaps, ddof=1), rel=1e-8)
    assert found.models["gain"][1] == pytest.approx(
        1
        - np.mean([losses[1, r, held.fold[r] == f].mean() for r in range(2) for f in range(4)])
        / observed.losses(held.null).mean()
    )
    name = {"binary": "Brier score", "continuous": "mean squared error"}[kind]
    assert name in found.text()
    assert " by " not in found.text().split("(")[1]
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    assert {"binary": "brier_signal_less_noise", "continuous": "mse_signal_less_noise"}[kind] in found.scalars()


def test_outcomes_that_cannot_be_judged_are_refused():
    with pytest.raises(AnalysisError, match="all 5 numbers are 3: there is nothing to predict"):
        ObservedContinuous(np.full(5, 3.0))
    with pytest.raises(DataError, match="missing or infinite"):
        ObservedContinuous([1.0, np.nan])
    with pytest.raises(AnalysisError, match="some with and some without"):
        ObservedBinary(np.ones(4, dtype=bool))
    X, event = binary_trial(40)
    with pytest.raises(DataError, match="treated must be True or False for each of the 40 patients"):
        crossvalidate(
            lambda _rows: None, X, ObservedBinary(event), treated=[1], cells=event, folds=2, repeats=1, seed=1
        )
    with pytest.raises(DataError, match="40 outcomes"):
        crossvalidate(
            lambda _rows: None, X[:5], ObservedBinary(event), treated=event, cells=event, folds=2, repeats=1, seed=1
        )


def test_a_model_that_gives_everybody_one_risk_has_a_slope_of_0():
    X, event = binary_trial(40)
    flat = np.full(40, 0.4)
    assert ObservedBinary(event).slope(Predictions(flat, flat)) == 0
    assert ObservedContinuous(X["a"]).slope(Predictions(flat, flat)) == 0

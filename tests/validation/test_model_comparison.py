"""Nested folds and the choice of a model: by hand, ties, a better candidate, and how often a null one is chosen."""

import json
import math
import sys

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trialml.errors import DataError
from trialml.result import Result
from trialml.survival.aalen_johansen import aalen_johansen
from trialml.survival.brier import brier
from trialml.survival.ipcw import censoring_of, checked_outcome
from trialml.validation.model_comparison import compare_models, corrected_resampled
from trialml.validation.nested_crossvalidation import nested_crossvalidation
from trialml.validation.optimism import cox_fit


class Exponential:
    """Risks of a known log hazard; the rate alone is learned. Cheap and proper."""

    def __init__(self, column, rate):
        self.column, self.rate = column, rate

    def log_hazard(self, X):
        return X[self.column].to_numpy()

    def risk(self, X, horizon):
        return 1 - np.exp(-self.rate * horizon * np.exp(self.log_hazard(X)))


def trial(n=200, seed=3, effects=(0.8, 0.0)):
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(draw.normal(size=(n, 2)), columns=["a", "b"])
    time, last = draw.exponential(np.exp(-X.to_numpy() @ np.asarray(effects))), draw.uniform(0.5, 3, n)
    return X, np.minimum(time, last), np.asarray(time <= last)


def exponential(column, time, event):
    return lambda rows: Exponential(column, event[rows].sum() / time[rows].sum())


def compare(X, time, event, fits, **changed):
    arguments = {
        "cells": event,
        "horizon": 1.0,
        "unit": "years",
        "folds": 3,
        "repeats": 3,
        "inner_folds": 3,
        "inner_repeats": 1,
    }
    return compare_models(fits, X, time, event, **(arguments | changed))


def test_the_corrected_t_is_its_formula():
    gaps = np.array([0.2, -0.1, 0.4, 0.3, 0.1, 0.25])
    found = corrected_resampled(gaps, 0.5, comparisons=4)
    se = math.sqrt((1 / 6 + 0.5) * gaps.var(ddof=1))
    assert found.se == pytest.approx(se, rel=1e-8)
    assert found.high == pytest.approx(gaps.mean() + stats.t(5).ppf(1 - 0.05 / 8) * se, rel=1e-8)
    assert found.p == pytest.approx(min(1, 4 * 2 * stats.t(5).sf(gaps.mean() / se)), rel=1e-8)
    assert (found.p < 0.05) == (found.low > 0)


def test_identical_models_tie_and_the_default_stays():
    X, time, event = trial()
    fit = exponential("a", time, event)
    found = compare(X, time, event, {"cox": fit, "twin": fit})
    assert found.chosen == "cox"
    row = found.models.iloc[1]
    assert (row["difference"], row["low"], row["high"], row["p"]) == (0, 0, 0, 1)
    assert found.cost == 0
    assert list(found.models["chosen_share"]) == [1, 0]


def test_a_better_candidate_is_chosen_and_the_reason_is_said():
    X, time, event = trial(400, effects=(1.2, 0.0))
    fits = {"default": exponential("b", time, event), "better": exponential("a", time, event)}
    found = compare(X, time, event, fits)
    assert found.chosen == "better"
    assert found.difference("better").high < 0
    assert "The model used is better, because the adjusted interval" in found.text()
    assert found.cost >= 0
    # The default may be named, in any place.
    assert compare(X, time, event, dict(reversed(fits.items())), default="default").chosen == "better"


def test_the_differences_are_those_of_weighted_brier_scores_by_hand():
    X, time, event = trial()
    fits = {"a": cox_fit(X[["a"]], time, event), "both": cox_fit(X, time, event)}
    one, two = (lambda rows: Narrow(fits["a"](rows))), fits["both"]
    found = compare(X, time, event, {"a": one, "both": two}, seed=8)
    held = nested_crossvalidation(
        {"a": one, "both": two}, X, time, event, cells=event, horizon=1.0, folds=3, repeats=3, seed=8
    )
    outcome = checked_outcome(time, event, None)
    weight = censoring_of(outcome, None).weights(time > 1, 1.0)
    gaps = []
    for repeat in range(3):
        for label in range(3):
            test = np.flatnonzero(held.fold[repeat] == label)
            loss = [
                np.mean([weight[i] * ((event[i] and time[i] <= 1) - held.risk[k, repeat, i]) ** 2 for i in test])
                for k in (0, 1)
            ]
            gaps.append(loss[1] - loss[0])
    row = found.models.iloc[1]
    assert row["difference"] == pytest.approx(np.mean(gaps), rel=1e-8)
    assert row["se"] == pytest.approx(math.sqrt(1 / 9 + 1 / 2) * np.std(gaps, ddof=1), rel=1e-8)


class Narrow:
    """A model of the first column, given all of them."""

    def __init__(self, model):
        self.model = model

    def log_hazard(self, X):
        return self.model.log_hazard(X[["a"]])

    def risk(self, X, horizon):
        return self.model.risk(X[["a"]], horizon)


def test_a_candidate_that_is_no_better_is_chosen_no_more_often_than_its_level():
    """Two scores that are exchangeable: a two-sided interval lies below 0 in at most 2.5 % of trials; 200 trials hold at
    most 12 with probability .998 (binomial)."""
    taken = 0
    for seed in range(200):
        X, time, event = trial(120, seed, effects=(0.4, 0.4))
        fits = {"a": exponential("a", time, event), "b": exponential("b", time, event)}
        taken += compare(X, time, event, fits, inner_folds=2, repeats=2, seed=seed).chosen == "b"
    assert taken <= 12


def test_a_patient_is_never_in_training_and_test_and_every_row_is_predicted():
    X, time, event = trial(90)
    patients = np.repeat(np.arange(30), 3)
    seen = []

    def fit(rows):
        seen.append(rows)
        return Exponential("a", 1.0)

    held = nested_crossvalidation(
        {"m": fit}, X, time, event, cells=event, horizon=1.0, folds=5, repeats=2, seed=1, groups=patients
    )
    for rows, (repeat, label) in zip(seen, [(r, f) for r in range(2) for f in range(5)], strict=True):
        assert not set(patients[rows]) & set(patients[held.fold[repeat] == label])
    assert np.isfinite(held.risk).all()
    assert held.risk.shape == (1, 2, 90)


def test_what_is_chosen_inside_sees_the_training_rows_alone():
    """Test patients' outcomes are turned round: what was chosen without them stays."""
    X, time, event = trial(150)
    seen = {}

    def choose(rows, seed):
        seen[tuple(rows)] = seed
        return 0

    held = nested_crossvalidation({"m": exponential("a", time, event)}, X, time, event, cells=event, horizon=1.0, folds=3, repeats=1,
                                  seed=1, choose=choose)  # fmt: skip
    expected = {tuple(np.flatnonzero(held.fold[0] != label)) for label in range(3)}
    assert set(seen) == expected
    assert len(set(seen.values())) == 3


def test_the_comparison_is_the_same_on_two_processes_and_from_json():
    X, time, event = trial()
    fits = {"a": exponential("a", time, event), "b": exponential("b", time, event)}
    # The other process cannot import this module where the tests are not beside the package, so it is sent along.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    one, two = (compare(X, time, event, fits, workers=workers) for workers in (1, 2))
    pd.testing.assert_frame_equal(one.models, two.models, check_exact=True)
    back = Result.from_dict(json.loads(json.dumps(one.to_dict())))
    assert back.text() == one.text()
    assert len(one.table()) == 2
    assert "brier_cost_of_choosing_low" in one.scalars()


def test_one_candidate_or_an_unknown_default_is_refused():
    X, time, event = trial()
    fit = exponential("a", time, event)
    for fits, default in (({"a": fit}, None), ({}, None), ({"a": fit, "b": fit}, "c")):
        with pytest.raises(DataError, match="name two or more, the default one of them"):
            compare(X, time, event, fits, default=default)


def test_with_competing_events_losses_count_such_patients_as_free_of_the_event_and_the_null_is_aalen_johansens():
    X, time, event = trial()
    other = ~event & (np.arange(200) % 2 == 0)
    fits = {"a": exponential("a", time, event), "b": exponential("b", time, event)}
    found = compare(X, time, event, fits, competing=other, seed=2)
    held = nested_crossvalidation(
        fits, X, time, event, cells=event, horizon=1.0, competing=other, folds=3, repeats=3, seed=2
    )
    loss = [
        [
            np.mean(brier_terms(time, event, held.risk[k, r], other)[held.fold[r] == f])
            for r in range(3)
            for f in range(3)
        ]
        for k in (0, 1)
    ]
    assert found.models["loss"].tolist() == pytest.approx(np.mean(loss, axis=1).tolist(), rel=1e-8)
    train = held.fold[0] != 0
    curve = aalen_johansen(time[train], event[train] + 2 * other[train], 2)
    assert held.null_risk[0, ~train] == pytest.approx(curve.incidence[curve.time <= 1.0, 0][-1], rel=1e-8)


def brier_terms(time, event, risk, other):
    """Each patient's weighted squared error; the mean over all is held to riskRegression elsewhere."""
    outcome = checked_outcome(time, event, other)
    beyond = time > 1
    terms = censoring_of(outcome, None).weights(beyond, 1.0) * ((event & ~beyond) - risk) ** 2
    assert terms.mean() == pytest.approx(brier(time, event, risk, 1.0, competing=other).value, rel=1e-8)
    return terms

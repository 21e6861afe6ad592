"""Stability of predictions by hand, its two ends, and how often a choice is repeated."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.errors import DataError
from trialml.result import Result
from trialml.survival.cox_fit import fit_cox
from trialml.validation.optimism import bootstrap_rows, cox_fit
from trialml.validation.stability import prediction_stability


def trial(n=150, p=3, seed=3):
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(draw.normal(size=(n, p)), columns=[f"x{k}" for k in range(p)])
    time, last = draw.exponential(np.exp(-0.6 * X["x0"])), draw.uniform(0.4, 3, n)
    return X, np.minimum(time, last), np.asarray(time <= last)


AT = {"horizon": 1.0, "unit": "years", "bootstraps": 30, "seed": 5}


def test_mape_and_slopes_are_those_spelled_out():
    X, time, event = trial()
    fit = cox_fit(X, time, event)
    found = prediction_stability(fit, X, time, event, **AT)
    original = fit(np.arange(150)).risk(X, 1.0)
    total, slopes = 0.0, []
    for rows in bootstrap_rows(150, 30, 5):
        model = fit(rows)
        total += sum(abs(a - b) for a, b in zip(model.risk(X, 1.0), original, strict=True))
        slopes.append(fit_cox(time, event, model.log_hazard(X)[:, None]).coefficients[0])
    assert found.estimate("MAPE").value == pytest.approx(total / (30 * 150), rel=1e-8)
    assert found.estimate("calibration slope").value == pytest.approx(np.mean(slopes), rel=1e-8)
    assert found.estimate("calibration slope").low == pytest.approx(np.quantile(slopes, 0.025), rel=1e-8)
    assert np.average(found.by_risk["instability"], weights=found.by_risk["n"]) == pytest.approx(
        total / (30 * 150), rel=1e-8
    )


def test_a_model_that_learns_nothing_is_perfectly_stable():
    X, time, event = trial()
    fixed = cox_fit(X, time, event)(np.arange(150))
    found = prediction_stability(lambda _rows: fixed, X, time, event, **AT)
    assert found.estimate("MAPE").value == 0
    assert found.largest == 0
    assert found.estimate("calibration slope").value == pytest.approx(1, abs=1e-7)


def test_more_covariates_without_meaning_make_a_model_less_stable():
    found = [
        prediction_stability(cox_fit(X, time, event), X, time, event, **AT).estimate("MAPE").value
        for X, time, event in (trial(p=2), trial(p=12))
    ]
    assert found[1] > 1.3 * found[0]


def test_the_share_that_chooses_the_same_model_again_is_counted():
    X, time, event = trial()
    names = iter([*(["first", "other", "first"] * 10), "first"])
    # The original model is read last.
    found = prediction_stability(cox_fit(X, time, event), X, time, event, choice=lambda _model: next(names), **AT)
    shares = dict(zip(found.chosen["model"], found.chosen["share"], strict=True))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["other"] == pytest.approx(10 / 30)
    assert f"{found.original_choice}, chosen in the original patients, is chosen again" in found.text()


def test_stability_is_the_same_on_two_processes_from_json_and_drawn():
    X, time, event = trial()
    one, two = (
        prediction_stability(cox_fit(X, time, event), X, time, event, **AT, workers=workers) for workers in (1, 2)
    )
    pd.testing.assert_frame_equal(one.frame(), two.frame(), check_exact=True)
    assert Result.from_dict(json.loads(json.dumps(one.to_dict()))).text() == one.text()
    one.draw(Figure())
    assert len(one.table()) == 3
    with pytest.raises(DataError, match="there is no measure 'R2'"):
        one.estimate("R2")

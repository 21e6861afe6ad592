"""Uno's concordance with censoring by covariates: R's coxph and every pair spelled out, ties, and its two ends."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.concordance import concordance
from trialml.survival.ipcw import cox_censoring, kaplan_meier_censoring
from trialml.validation.performance import performance

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def stored():
    case = json.loads((REFERENCE / "uno_covariates.json").read_text(encoding="utf-8"))
    return case, *(np.asarray(case[name], dtype=float) for name in ("x", "risk", "time", "cause"))


@pytest.mark.parametrize("which", ["one_event", "competing"])
def test_the_value_is_that_of_every_pair_with_weights_from_coxph(stored, which):
    case, x, risk, time, cause = stored
    cause = np.where(cause == 2, 0, cause) if which == "one_event" else cause
    found = concordance(time, cause == 1, risk, tau=case["tau"], weighting="uno", competing=cause == 2,
                        censoring=cox_censoring(time, cause > 0, x[:, None], permit_coarse=True))  # fmt: skip
    assert found.value == pytest.approx(case[which]["c"], rel=1e-7)
    assert found.comparable == case[which]["pairs"]


def test_the_error_is_that_of_each_patient_s_pairs_with_the_weights_as_known():
    draw = np.random.default_rng(2)
    n = 30
    time, x, risk = draw.integers(1, 8, n).astype(float), draw.normal(size=n), draw.integers(0, 4, n)
    event = draw.random(n) < 0.6
    model = cox_censoring(time, event, x[:, None], permit_coarse=True)
    at = {t: model.uncensored(t) for t in np.unique(time)}

    def value(case):
        won = total = 0.0
        for i, j in itertools.permutations(range(n), 2):
            if event[i] and (time[j] > time[i] or (time[j] == time[i] and not event[j])):
                weight = case[i] * case[j] / (at[time[i]][i] * at[time[i]][j])
                won, total = won + weight * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])), total + weight
        return won / total

    found = concordance(time, event, risk, weighting="uno", censoring=model)
    assert found.value == pytest.approx(value(np.ones(n)), rel=1e-8)
    step = 1e-5
    moves = [
        (value(1 + step * (np.arange(n) == i)) - value(1 - step * (np.arange(n) == i))) / (2 * step) for i in range(n)
    ]
    assert np.allclose(found.influence, moves, rtol=1e-5, atol=1e-9)
    assert found.se == pytest.approx(math.sqrt(np.sum(np.square(moves))), rel=1e-6)


def test_without_censoring_it_is_harrells_and_one_curve_for_everybody_is_unos():
    draw = np.random.default_rng(3)
    time, x, risk = draw.exponential(size=80), draw.normal(size=80), draw.integers(0, 5, 80)
    every = (time <= 1) | (x > 0)  # censored after tau alone
    found = concordance(
        time,
        every,
        risk,
        weighting="uno",
        censoring=cox_censoring(time, every, x[:, None], permit_coarse=True),
        tau=1.0,
    )
    assert found.value == pytest.approx(concordance(time, every, risk, tau=1.0).value, rel=1e-10)
    event = draw.random(80) < 0.6
    one = concordance(time, event, risk, weighting="uno", censoring=kaplan_meier_censoring(time, event), tau=1.0)
    assert one.value == concordance(time, event, risk, weighting="uno", tau=1.0).value


def test_it_frees_the_number_from_censoring_by_the_covariate_that_orders():
    """Patients at high risk leave early: the marginal curve's weights are wrong for everybody. Truth from the uncensored 60,000."""
    draw = np.random.default_rng(4)
    x = draw.normal(size=60_000)
    full = draw.exponential(np.exp(-x))
    truth = concordance(full, full < 9, x, tau=0.5).value
    own = np.arange(3000)
    cut = draw.exponential(0.6 * np.exp(-1.5 * x[own]))
    time, event = np.minimum(full[own], cut), full[own] <= cut
    known = {"tau": 0.5, "weighting": "uno"}
    adjusted = concordance(
        time, event, x[own], censoring=cox_censoring(time, event, x[own, None], permit_coarse=True), **known
    )
    marginal = concordance(time, event, x[own], **known)
    assert abs(adjusted.value - truth) < 3 * adjusted.se
    assert abs(marginal.value - truth) > 3 * marginal.se


def test_performance_weighs_unos_c_by_the_censoring_that_it_is_given(stored):
    case, x, _, time, cause = stored
    model, risk = cox_censoring(time, cause > 0, x[:, None], permit_coarse=True), 1 / (1 + np.exp(-x))
    found = performance(time, cause == 1, {"m": risk}, horizons=[6.0], unit="days", kind="external", competing=cause == 2,
                        censoring=model)  # fmt: skip
    wanted = concordance(time, cause == 1, risk, tau=6.0, weighting="uno", competing=cause == 2, censoring=model)
    assert found.estimate("Uno's C", "m").value == wanted.value
    assert case["tau"] == 12


def test_other_weights_and_strata_are_refused():
    draw = np.random.default_rng(5)
    time, event, x = draw.exponential(size=40), draw.random(40) < 0.5, draw.normal(size=40)
    model = cox_censoring(time, event, x[:, None], permit_coarse=True)
    for other in (
        {"weighting": "harrell"},
        {"weighting": "uno", "weights": np.ones(40)},
        {"weighting": "uno", "strata": x > 0},
    ):
        with pytest.raises(DataError, match="goes with weighting 'uno' alone, without weights or strata"):
            concordance(time, event, x, censoring=model, **other)
    late = np.append(time, 99.0)
    with pytest.raises(AnalysisError, match="no two patients are comparable"):
        concordance(
            late,
            late == 99,
            np.append(x, 0),
            weighting="uno",
            censoring=cox_censoring(late, np.append(event, True), np.append(x, 0)[:, None]),
        )


@pytest.mark.parametrize(("units", "refused"), [(1, True), (4, True), (100, False)])
def test_times_too_coarse_for_a_cox_model_of_the_censoring_are_refused(units, refused):
    draw = np.random.default_rng(1)
    event_time, last = draw.exponential(20, 2000), draw.exponential(20, 2000)
    time, event = np.ceil(np.minimum(event_time, last) * units) / units, event_time <= last
    x = draw.normal(size=(2000, 1))
    if refused:
        with pytest.raises(AnalysisError, match="so coarse that the order of events and censorings of one time moves"):
            cox_censoring(time, event, x)
        return
    # Weights of those with the event or followed to 10 average to 1 where the curve is right.
    weight = cox_censoring(time, event, x).weights(time > 10, 10.0)
    assert weight.mean() == pytest.approx(1, abs=0.005)

"""Performance on binary and continuous endpoints, of out-of-fold predictions too: definitions spelled out, statsmodels."""

import itertools
import json
import math
from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure
from statsmodels.api import OLS, add_constant

from trialml.errors import AnalysisError, DataError
from trialml.result import Result
from trialml.validation.averaged import average_performance
from trialml.validation.binary import binary_performance
from trialml.validation.continuous import continuous_performance


def ordered(n=90, seed=3):
    """Outcomes with ties and predictions with ties, in three folds."""
    draw = np.random.default_rng(seed)
    mean = draw.integers(1, 8, n) / 8
    return draw, mean, draw.integers(3, size=n)


def share_saved(loss, null, weight):
    return 1 - weight @ loss / (weight @ null)


def infinitesimal_jackknife(measure, n, step=1e-4):
    """The error from the derivative of a weighted measure by each patient's weight, found by differences."""
    moves = []
    for i in range(n):
        both = [np.ones(n) + sign * step * (np.arange(n) == i) for sign in (1, -1)]
        moves.append(n * (measure(both[0] / both[0].sum()) - measure(both[1] / both[1].sum())) / (2 * step))
    return np.std(moves, ddof=1) / math.sqrt(n)


@pytest.mark.parametrize("seed", range(3))
def test_the_area_of_out_of_fold_risks_compares_patients_of_one_fold(seed):
    draw, risk, fold = ordered(seed=seed)
    event = draw.random(90) < risk
    found = binary_performance(event, {"m": risk}, threshold=0.5, kind="crossfit", fold=fold).estimate("AUC", "m")
    won = dict.fromkeys(range(90), 0.0)
    total = pairs = 0.0
    for i, j in itertools.product(np.flatnonzero(event), np.flatnonzero(~event)):
        if fold[i] == fold[j]:
            total, pairs = total + (risk[i] > risk[j]) + (risk[i] == risk[j]) / 2, pairs + 1
    area = total / pairs
    assert found.value == pytest.approx(area, rel=1e-8)
    # DeLong's components, each patient's mean over the patients of the other kind, weighted by the fold's pairs.
    for label in range(3):
        cases, controls = np.flatnonzero(event & (fold == label)), np.flatnonzero(~event & (fold == label))
        table = (risk[cases, None] > risk[controls]) + (risk[cases, None] == risk[controls]) / 2
        share = table.size / pairs
        for k, i in enumerate(cases):
            won[i] = share * (table[k].mean() - table.mean()) / len(cases)
        for k, j in enumerate(controls):
            won[j] = share * (table[:, k].mean() - table.mean()) / len(controls)
    variance = sum(
        sum(won[i] ** 2 for i in np.flatnonzero(group)) * group.sum() / (group.sum() - 1) for group in (event, ~event)
    )
    assert found.se == pytest.approx(math.sqrt(variance), rel=1e-8)


def test_one_fold_is_the_whole_sample():
    draw, risk, _ = ordered()
    event = draw.random(90) < risk
    known = {"threshold": 0.5, "kind": "crossfit"}
    one = binary_performance(event, {"m": risk}, **known).measures
    two = binary_performance(event, {"m": risk}, fold=np.full(90, 7), **known).measures
    assert one.equals(two)


def test_the_ipa_is_the_share_saved_against_each_null_model():
    draw, risk, fold = ordered()
    event = draw.random(90) < risk
    null, by_arm = 0.4 + fold / 20, 0.3 + fold / 10
    found = binary_performance(event, {"m": risk}, threshold=0.5, kind="crossfit", fold=fold, null_risk=null,
                               null_risk_by_arm=by_arm)  # fmt: skip
    own = np.mean((event - risk) ** 2)
    for name, base in (("IPA", null), ("IPA within arm", by_arm)):
        one = found.estimate(name, "m")
        assert one.value == pytest.approx(1 - own / np.mean((event - base) ** 2), rel=1e-8)
        saved = infinitesimal_jackknife(partial(share_saved, (event - risk) ** 2, (event - base) ** 2), 90)
        assert one.se == pytest.approx(saved, rel=1e-6)
    gap = found.estimate("Brier score", "m", "null model by arm")
    assert gap.value == pytest.approx(own - np.mean((event - by_arm) ** 2), rel=1e-8)
    assert "ipa_within_arm_m_crossfit" in found.scalars()


def test_the_average_over_repeats_is_the_mean_of_each_number():
    draw, risk, fold = ordered()
    event = draw.random(90) < risk
    shifted = np.clip(risk + draw.normal(size=90) / 20, 0.01, 0.99)
    one, two = (binary_performance(event, {"m": r}, threshold=0.5, kind="crossfit", fold=fold) for r in (risk, shifted))
    mean = average_performance([one, two])
    for column in ("value", "low", "high", "se"):
        assert np.allclose(mean.measures[column], (one.measures[column] + two.measures[column]) / 2, equal_nan=True)
    assert "threshold" in mean.text()


@pytest.mark.parametrize("seed", range(3))
def test_the_continuous_numbers_are_their_definitions(seed):
    draw, mean, _ = ordered(seed=seed)
    y = np.round(1.5 * mean + draw.normal(size=90), 1)
    found = continuous_performance(y, {"m": mean}, unit="cells", kind="external")
    left, about = y - mean, y - y.mean()
    wanted = {
        "R²": 1 - sum(left**2) / sum(about**2),
        "observed less predicted mean": sum(left) / 90,
        "mean squared error": sum(left**2) / 90,
        "root mean squared error": math.sqrt(sum(left**2) / 90),
        "mean absolute error": sum(abs(left)) / 90,
    }
    for name, value in wanted.items():
        assert found.estimate(name, "m").value == pytest.approx(value, rel=1e-8)
    line = OLS(y, add_constant(mean)).fit(cov_type="HC0")
    slope = found.estimate("calibration slope", "m")
    assert slope.value == pytest.approx(line.params[1], rel=1e-8)
    assert slope.se == pytest.approx(line.bse[1] * math.sqrt(90 / 89), rel=1e-8)
    for name, of in (("mean squared error", left**2), ("mean absolute error", abs(left))):
        assert found.estimate(name, "m").se == pytest.approx(np.std(of, ddof=1) / math.sqrt(90), rel=1e-8)
    assert found.estimate("mean squared error", "m").unit == "cells²"
    for name, measure in (
        ("R²", lambda w: 1 - w @ left**2 / (w @ (y - w @ y) ** 2)),
        ("root mean squared error", lambda w: math.sqrt(w @ left**2)),
    ):
        assert found.estimate(name, "m").se == pytest.approx(infinitesimal_jackknife(measure, 90), rel=1e-6)


def test_limits_of_r2_hold_the_truth_in_95_percent_of_samples():
    """Fixed predictions with R² = 1 - 1/1.25 = .2; 400 samples: 95 % within four Monte Carlo errors (.0109 each)."""
    draw, held = np.random.default_rng(8), 0
    for _ in range(400):
        mean = draw.normal(size=300) / 2
        y = mean + draw.normal(size=300)
        one = continuous_performance(y, {"m": mean}, unit="", kind="external").estimate("R²", "m")
        held += one.low <= 0.2 <= one.high
    assert abs(held / 400 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


def test_two_models_are_compared_on_the_same_patients_and_survive_storage():
    draw, mean, fold = ordered()
    y = mean + draw.normal(size=90) / 4
    found = continuous_performance(y, {"good": mean, "bad": 1 - mean}, unit="mg", kind="crossfit", null_mean=0.5 + fold / 50,
                                   null_mean_by_arm=0.4 + fold / 20)  # fmt: skip
    gap = found.estimate("mean squared error", "bad", "good")
    apart = (y - 1 + mean) ** 2 - (y - mean) ** 2
    assert [gap.value, gap.se] == pytest.approx([apart.mean(), apart.std(ddof=1) / math.sqrt(90)], rel=1e-8)
    assert found.estimate("R²", "bad").value < 0
    assert "R² within arm" in set(found.measures["measure"])
    back = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back.text() == found.text()
    assert "r2_within_arm_good_crossfit_low" in found.scalars()
    assert len(found.table()) == len(found.frame())
    found.draw(Figure())
    mean = average_performance([found, found]).measures
    assert np.allclose(mean["value"], found.measures["value"], equal_nan=True)


def test_one_mean_for_everybody_has_no_slope_and_perfect_means_no_error():
    draw, mean, _ = ordered()
    y = mean + draw.normal(size=90)
    flat = continuous_performance(y, {"m": np.zeros(90)}, unit="", kind="external")
    assert math.isnan(flat.estimate("calibration slope", "m").value)
    assert "n/a" in flat.text()
    perfect = continuous_performance(y, {"m": y}, unit="", kind="external")
    assert perfect.estimate("R²", "m").value == 1
    assert perfect.estimate("root mean squared error", "m").value == 0


def test_continuous_endpoints_that_cannot_be_judged_are_refused():
    known = {"unit": "", "kind": "external"}
    y = np.arange(12.0)
    with pytest.raises(DataError, match="missing or infinite numbers: leave out"):
        continuous_performance([1.0, np.nan], {"m": [1, 2]}, **known)
    with pytest.raises(AnalysisError, match="12 patients with 1 different outcomes"):
        continuous_performance(np.ones(12), {"m": y}, **known)
    with pytest.raises(AnalysisError, match="3 patients with 3 different"):
        continuous_performance(y[:3], {"m": y[:3]}, **known)
    with pytest.raises(DataError, match="one finite number for each of the 12"):
        continuous_performance(y, {"m": y[:3]}, **known)
    with pytest.raises(DataError, match="name one or more"):
        continuous_performance(y, {}, **known)
    with pytest.raises(DataError, match="which is no model"):
        continuous_performance(y, {"m": y}, reference="n", **known)
    with pytest.raises(DataError, match="fold must hold one label"):
        binary_performance(y > 5, {"m": y / 12}, threshold=0.5, kind="crossfit", fold=[1, 2])

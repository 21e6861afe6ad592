"""Calibration of a binary endpoint: R's glm and rms, definitions, its limits' coverage, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from trialml.errors import AnalysisError, DataError
from trialml.result import Result
from trialml.survival.binomial import recalibration
from trialml.survival.calibration import smooth_curve
from trialml.validation.binary_calibration import binary_calibration
from trialml.validation.calibration_curve import binary_calibration_curve

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def stored():
    case = json.loads((REFERENCE / "binary_calibration.json").read_text(encoding="utf-8"))
    return case, np.asarray(case["event"], dtype=bool), np.asarray(case["risk"])


def test_slope_and_calibration_in_the_large_are_those_of_glm(stored):
    case, event, risk = stored
    found = binary_calibration(event, risk, kind="external")
    slope, large = found.slope["both arms"], found.in_the_large["both arms"]
    assert [slope.value, slope.se] == pytest.approx([case["slope"], case["slope_se"]], rel=1e-7)
    assert [large.value, large.se] == pytest.approx([case["in_the_large"], case["in_the_large_se"]], rel=1e-7)
    ratio = found.ratio["both arms"]
    assert ratio.value == pytest.approx(event.mean() / risk.mean(), rel=1e-8)
    spread = math.sqrt((1 - event.mean()) / event.sum())
    assert math.log(ratio.high / ratio.value) == pytest.approx(1.959963984540054 * spread, rel=1e-8)


def test_the_smooth_curve_and_its_band_are_those_of_a_logistic_spline_with_sandwich_errors(stored):
    case, event, risk = stored
    smooth = smooth_curve(event, risk, np.ones(250), lambda part: 0 * part, knots=4, link="logit")
    for name, one in zip(("observed", "low", "high"), smooth.at(case["at"]), strict=True):
        assert np.allclose(one, case[name], rtol=1e-6)
    found = binary_calibration_curve(event, risk, kind="external", draws=50)
    for name in ("ici", "e50", "e90"):
        assert getattr(found, name).value == pytest.approx(case[name], rel=1e-6)
    assert found.slope.value == pytest.approx(case["slope"], rel=1e-7)
    assert found.horizon is None
    assert found.text().startswith("Predicted and observed risks differ by")
    assert "ici_external" in found.scalars()
    found.draw(Figure())
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()


def test_groups_are_counted_and_few_events_suppressed():
    draw = np.random.default_rng(4)
    risk = draw.integers(1, 10, 400) / 10
    event = draw.random(400) < risk
    found = binary_calibration(event, risk, kind="crossfit", groups=4)
    edges = np.unique(np.quantile(risk, [0.25, 0.5, 0.75]))
    place = np.searchsorted(edges, risk)
    for k, row in enumerate(found.groups.itertuples()):
        own = place == k
        assert (row.n, row.observed, row.predicted) == pytest.approx((own.sum(), event[own].mean(), risk[own].mean()))
        assert row.low < row.observed < row.high
    few = binary_calibration(draw.random(100) < 0.1, draw.random(100), kind="crossfit")
    assert few.groups["events"].isna().sum() >= 2
    assert "suppressed" in set(few.table()["With the event"])


def test_arms_have_their_own_numbers_and_repeats_are_averaged():
    draw = np.random.default_rng(5)
    risks = np.clip(draw.random((1, 300)) + draw.normal(size=(2, 300)) / 20, 0.02, 0.98)
    event, treated = draw.random(300) < risks[0], draw.random(300) < 0.5
    found = binary_calibration(event, risks, kind="crossfit", treated=treated)
    for name, own in (("both arms", treated | ~treated), ("control", ~treated), ("experimental", treated)):
        both = [recalibration(event[own], risk[own]) for risk in risks]
        assert found.slope[name].value == pytest.approx((both[0].slope + both[1].slope) / 2, rel=1e-8)
        mean = risks.mean(axis=0)[own]
        assert found.ratio[name].value == pytest.approx(event[own].mean() / mean.mean(), rel=1e-8)
        assert found.in_the_large[name].value == pytest.approx(recalibration(event[own], mean).in_the_large, rel=1e-8)
        assert found.ratio[name].n == own.sum()
    assert "In the control arm alone" in found.text()
    assert "calibration_slope_control_crossfit_low" in found.scalars()
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    found.draw(Figure())


def test_limits_of_the_slope_hold_1_for_perfect_predictions_in_95_percent_of_samples():
    """400 samples: within four Monte Carlo errors (.0109 each)."""
    draw, held = np.random.default_rng(6), 0
    for _ in range(400):
        risk = 1 / (1 + np.exp(-draw.normal(size=300)))
        one = recalibration(draw.random(300) < risk, risk)
        held += abs(one.slope - 1) < 1.959963984540054 * one.slope_se
    assert abs(held / 400 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


def test_risks_of_0_and_1_and_far_off_are_survived():
    draw = np.random.default_rng(7)
    event = draw.random(200) < 0.5
    risk = np.where(draw.random(200) < 0.1, np.round(draw.random(200)), draw.random(200))
    assert math.isfinite(recalibration(event, risk).slope)
    low = recalibration(event, np.full(200, 1e-6))
    assert math.isnan(low.slope)
    share = event.mean()
    assert low.in_the_large == pytest.approx(math.log(share / (1 - share)) - math.log(1e-6 / (1 - 1e-6)), rel=1e-8)


def test_what_has_no_calibration_is_refused_or_not_a_number():
    event, risk = np.arange(60) % 2 == 0, np.linspace(0.1, 0.9, 60)
    with pytest.raises(AnalysisError, match="60 of 60 patients have the event"):
        binary_calibration(np.ones(60), risk, kind="external")
    with pytest.raises(DataError, match="known of each patient"):
        binary_calibration([1.0, np.nan], [0.1, 0.2], kind="external")
    with pytest.raises(DataError, match="probability between 0 and 1"):
        binary_calibration(event, risk * 2, kind="external")
    with pytest.raises(DataError, match="treated must be True or False"):
        binary_calibration(event, risk, kind="external", treated=risk)
    with pytest.raises(AnalysisError, match=r"all predicted risks are 0\.5"):
        binary_calibration_curve(event, np.full(60, 0.5), kind="external")
    with pytest.raises(AnalysisError, match="2 patients with the event and 58 without cannot carry"):
        binary_calibration_curve(np.arange(60) < 2, risk, kind="external")
    with pytest.raises(AnalysisError, match="no maximum: the events are separated"):
        binary_calibration_curve(risk > 0.5, risk, kind="external")
    # An arm without events has no numbers; the other and both have.
    found = binary_calibration(event, risk, kind="external", treated=~event)
    assert math.isnan(found.slope["experimental"].value)
    assert math.isfinite(found.slope["both arms"].value)
    # A risk that parts them has no slope.
    assert math.isnan(binary_calibration(risk > 0.5, risk, kind="external").slope["both arms"].value)
    # So has one that parts all but those in its middle.
    three = np.repeat([0.3, 0.5, 0.7], 20)
    mixed = np.where(three == 0.5, np.arange(60) % 2 == 0, three > 0.5)
    assert math.isnan(binary_calibration(mixed, three, kind="external").slope["both arms"].value)

"""The value of treating by the model: sums by hand, truths of simulations, who is treated when nobody should be."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from trialml.errors import DataError
from trialml.validation.benefit import HeldOutBenefit
from trialml.validation.policy_value import EVERYBODY, MODEL, RANDOM, PolicyValue, policy_value

DAYS = {"unit": "days", "tau": 365.0}


def held(score, expected):
    score, expected = np.atleast_2d(score), np.atleast_2d(expected)
    return HeldOutBenefit(score, expected, expected, np.zeros(score.shape))


def invented(seed, n=200, repeats=3):
    generator = np.random.default_rng(seed)
    expected = generator.normal(2, 5, (repeats, n))
    return held(expected + generator.normal(0, 20, (repeats, n)), expected)


@pytest.mark.parametrize("threshold", [0.0, 3.0, -1.0])
def test_values_and_paired_differences_are_sums_by_hand(threshold):
    one = invented(1)
    found = policy_value(one, thresholds=[threshold], **DAYS)
    net = one.score - threshold
    means, errors = {"model": [], "all": [], "difference": [], "random": []}, {"model": [], "all": [], "difference": []}
    for own, expected in zip(net, one.expected, strict=True):
        treated = own[expected > threshold]
        means["model"].append(treated.sum() / 200)
        means["all"].append(own.mean())
        means["difference"].append(-own[expected <= threshold].sum() / 200)
        means["random"].append((treated.mean() - own.mean()) * len(treated) / 200)
        for name, each in (
            ("model", np.where(expected > threshold, own, 0)),
            ("all", own),
            ("difference", np.where(expected > threshold, 0, -own)),
        ):
            errors[name].append(each.var(ddof=1) / 200)
    pairs = {"model": (MODEL,), "all": (EVERYBODY,), "difference": (MODEL, EVERYBODY), "random": (MODEL, RANDOM)}
    for name, asked in pairs.items():
        estimate = found.estimate(*asked)
        assert estimate.value == pytest.approx(np.mean(means[name]), rel=1e-10)
        if name in errors:
            assert estimate.se == pytest.approx(math.sqrt(np.mean(errors[name])), rel=1e-10)
        assert estimate.high - estimate.value == pytest.approx(1.959963984540054 * estimate.se, rel=1e-10)


def test_intervals_cover_the_truth_that_the_rule_has():
    """400 trials of 150: score = Z + noise, treat where Z > 0. Model E max(Z, 0) = phi(0), all 0; 95 % within 4 Monte Carlo errors."""
    generator = np.random.default_rng(2)
    truth = {(MODEL,): 1 / math.sqrt(2 * math.pi), (EVERYBODY,): 0.0, (MODEL, EVERYBODY): 1 / math.sqrt(2 * math.pi),
             (MODEL, RANDOM): 1 / math.sqrt(2 * math.pi)}  # fmt: skip
    covered = dict.fromkeys(truth, 0)
    for _ in range(400):
        expected = generator.normal(size=150)
        found = policy_value(held(expected + generator.normal(0, 2, 150), expected), kind="external", **DAYS)
        for asked, value in truth.items():
            one = found.estimate(*asked)
            covered[asked] += one.low <= value <= one.high
    for count in covered.values():
        assert abs(count / 400 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


def test_all_expected_on_one_side_of_the_threshold_is_said_and_has_no_limits_of_no_width():
    generator = np.random.default_rng(3)
    score = generator.normal(10, 30, 200)
    everybody = policy_value(held(score, np.full(200, 5.0)), **DAYS)
    assert everybody.estimate(MODEL).value == everybody.estimate(EVERYBODY).value
    assert math.isnan(everybody.estimate(MODEL, EVERYBODY).low)
    assert "The model treats everybody: there is no difference to judge." in everybody.text()
    nobody = policy_value(held(score, np.full(200, -5.0)), **DAYS)
    assert nobody.estimate(MODEL).value == 0
    assert math.isnan(nobody.estimate(MODEL).low)
    assert nobody.estimate(MODEL, EVERYBODY).value == pytest.approx(-score.mean())
    assert "(0 % of patients)" in nobody.text()


@pytest.mark.parametrize(
    ("few", "words"), [(4, "treats fewer than 11 patients"), (196, "fewer than 11 patients untreated")]
)
def test_what_rests_on_fewer_than_11_patients_is_suppressed(few, words):
    generator = np.random.default_rng(4)
    expected = np.where(np.arange(200) < few, 5.0, -5.0)
    found = policy_value(held(generator.normal(10, 30, 200), expected), **DAYS)
    assert words in found.text()
    assert np.isnan(found.values.loc[found.values["policy"] == MODEL, "share"]).all()
    assert math.isnan(found.estimate(MODEL, RANDOM).value)
    assert not math.isnan(found.estimate(EVERYBODY).value)


def test_the_words_name_scale_threshold_and_verdict():
    found = policy_value(invented(5, n=2000), thresholds=[0.0, 4.0], **DAYS)
    assert "scale: RMST difference over 365 days; cross-fitted, 2,000 patients" in found.text()
    other = policy_value(invented(5, n=2000), thresholds=[4.0], unit="", scale="risk difference")
    assert "gain more than 4.00" in other.text()
    assert "less 4.00 for each patient treated" in other.text()
    assert "scale: risk difference;" in other.text()
    assert other.estimate(MODEL).value == found.estimate(MODEL, threshold=4.0).value
    assert len(found.table()) == 8
    better = policy_value(held(np.tile([10.0, -10.0], 100), np.tile([1.0, -1.0], 100)), **DAYS)
    assert "Choosing by the model is better than treating everybody." in better.text()
    worse = policy_value(held(np.tile([10.0, -10.0], 100), np.tile([-1.0, 1.0], 100)), **DAYS)
    assert "Choosing by the model is worse" in worse.text()
    figure = Figure()
    found.draw(figure)
    assert len(figure.axes[0].get_yticks()) == 4
    again = PolicyValue.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert found.scalars()["policy_value_model_crossfit"] == found.estimate(MODEL).value


def test_bad_input_is_refused():
    one = invented(6)
    missing = one.expected.copy()
    missing[0, 0] = np.nan
    with pytest.raises(DataError, match="expected benefits are missing or infinite for 1 of 600"):
        policy_value(one._replace(expected=missing), **DAYS)
    with pytest.raises(DataError, match="name at least one finite gain"):
        policy_value(one, thresholds=[math.inf], **DAYS)
    with pytest.raises(DataError, match="pass one of each"):
        policy_value(one._replace(score=one.score[:2]), **DAYS)
    with pytest.raises(DataError, match="there is no value of 'by the model' against 'everybody' at 7"):
        policy_value(one, **DAYS).estimate(MODEL, EVERYBODY, threshold=7.0)

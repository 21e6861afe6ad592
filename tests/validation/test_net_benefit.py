"""Net benefit against sums spelled out, closed forms and the jackknife."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from trialml.errors import AnalysisError, DataError
from trialml.validation.binary_net_benefit import binary_decision_curve, binary_net_benefit_of_treatment
from trialml.validation.net_benefit import NetBenefit, decision_curve, net_benefit_of_treatment

KNOWN = {"horizon": 1.0, "unit": "years", "kind": "external"}


def make_trial(seed=1, n=400, censored=True, effect=0.6):
    rng = np.random.default_rng(seed)
    x, treated = rng.normal(size=n), rng.random(n) < 0.5
    time = rng.exponential(np.exp(-x) / np.where(treated, effect, 1.0))
    cut = rng.exponential(2.5, n) if censored else np.full(n, 10.0)
    benefit = (1 - np.exp(-np.exp(x))) - (1 - np.exp(-effect * np.exp(x)))
    return np.minimum(time, cut), time <= cut, 1 - np.exp(-np.exp(x)), benefit, treated


def test_without_censoring_the_decision_curve_is_vickers_and_elkins_formula():
    """True positives less odds times false positives, over the control arm's patients; the error is the mean's."""
    time, event, risk, _, treated = make_trial(censored=False)
    found = decision_curve(time, event, {"m": risk}, treated, thresholds=[0.2, 0.5], **KNOWN)
    own = ~treated
    for t in (0.2, 0.5):
        case, acted = (time <= 1)[own], (risk >= t)[own]
        part = acted * np.where(case, 1.0, -t / (1 - t))
        one, everybody = found.estimate(t, "m"), found.estimate(t, "everybody")
        assert one.value == pytest.approx((acted & case).mean() - (acted & ~case).mean() * t / (1 - t), rel=1e-12)
        assert one.se == pytest.approx(part.std(ddof=1) / np.sqrt(own.sum()), rel=1e-12)
        assert everybody.value == pytest.approx(case.mean() - (1 - case.mean()) * t / (1 - t), rel=1e-12)
        assert found.estimate(t, "m", "everybody").value == pytest.approx(one.value - everybody.value, rel=1e-9)


@given(st.integers(0, 10_000), st.floats(0.05, 0.9))
def test_the_decision_curve_weighs_each_control_patient_for_censoring(seed, threshold):
    rng = np.random.default_rng(seed)
    n = 40
    time = np.concatenate([rng.integers(1, 6, n), np.full(24, 9)]).astype(float)
    code = np.concatenate([rng.integers(0, 3, n), np.zeros(24, int)])
    treated, risk = np.arange(n + 24) % 2 == 0, rng.integers(0, 6, n + 24) / 5
    found = decision_curve(time, code == 1, {"m": risk}, treated, thresholds=[threshold], horizon=4.0, unit="days",
                           kind="external", competing=code == 2)  # fmt: skip
    own = np.flatnonzero(~treated)
    total = 0.0
    for i in own:
        g, end = 1.0, min(time[i], 4.0)
        for u in np.unique(time[own][code[own] == 0]):
            if u < end or (u == end and time[i] > 4.0):
                censored = np.sum((time[own] == u) & (code[own] == 0))
                g *= 1 - censored / (np.sum(time[own] > u) + censored)
        counted = time[i] > 4.0 or code[i] > 0
        gain = 1.0 if code[i] == 1 and time[i] <= 4.0 else -threshold / (1 - threshold)
        total += counted * (risk[i] >= threshold) * gain / g
    assert found.estimate(threshold, "m").value == pytest.approx(total / own.size, rel=1e-10, abs=1e-12)


def test_the_experimental_arm_has_no_say_in_the_decision_curve():
    time, event, risk, _, treated = make_trial()
    one = decision_curve(time, event, {"m": risk}, treated, thresholds=[0.3], **KNOWN)
    changed = np.where(treated, 0.01, time)
    other = decision_curve(changed, event | treated, {"m": risk}, treated, thresholds=[0.3], **KNOWN)
    assert one.estimate(0.3, "m") == other.estimate(0.3, "m")


def test_without_censoring_the_benefit_of_treatment_is_vickers_kattan_and_sargents():
    """The share treated times the risk difference among them less the threshold."""
    time, event, _, benefit, treated = make_trial(censored=False)
    found = net_benefit_of_treatment(time, event, {"m": benefit}, treated, thresholds=[0.0, 0.1], **KNOWN)
    happened = time <= 1
    for t in (0.0, 0.1):
        acted = benefit >= t
        difference = happened[acted & ~treated].mean() - happened[acted & treated].mean()
        assert found.estimate(t, "m").value == pytest.approx(acted.mean() * (difference - t), rel=1e-12)
        whole = happened[~treated].mean() - happened[treated].mean() - t
        assert found.estimate(t, "everybody").value == pytest.approx(whole, rel=1e-12)
    p = [happened[~treated].mean(), happened[treated].mean()]
    spread = sum(q * (1 - q) / k for q, k in zip(p, (np.sum(~treated), np.sum(treated)), strict=True))
    assert found.estimate(0.0, "everybody").se == pytest.approx(np.sqrt(spread), rel=0.005)


@pytest.mark.parametrize("which", ["risk", "treatment"])
def test_the_errors_are_those_of_the_jackknife(which):
    """Leaving out each patient in turn, with the censoring curves; of the model, of everybody and of the difference."""
    time, event, risk, benefit, treated = make_trial(n=500)

    def curve(keep):
        function, score = (decision_curve, risk) if which == "risk" else (net_benefit_of_treatment, benefit)
        return function(time[keep], event[keep], {"m": score[keep]}, treated[keep], thresholds=[0.1], **KNOWN)

    keys = (("m", ""), ("everybody", ""), ("m", "everybody"))
    full = curve(np.ones(500, bool))
    left = [curve(np.arange(500) != i) for i in range(500)]
    for key in keys:
        values = np.array([one.estimate(0.1, *key).value for one in left])
        assert full.estimate(0.1, *key).se == pytest.approx(np.sqrt(499**2 / 500 * values.var(ddof=1)), rel=0.02)


@given(st.integers(0, 5000))
def test_treating_whoever_gains_is_never_much_worse_than_treating_all_or_none(seed):
    """With the true benefits, a thousand patients and no censoring: within four standard errors of the better."""
    time, event, _, benefit, treated = make_trial(seed, 1000, censored=False)
    found = net_benefit_of_treatment(time, event, {"m": benefit}, treated, thresholds=[0.12], **KNOWN)
    assume((benefit >= 0.12).any())
    gap, one = found.estimate(0.12, "m", "everybody"), found.estimate(0.12, "m")
    assert gap.value > -4 * gap.se
    assert one.value > -4 * one.se


def test_results_survive_and_say_what_they_are():
    time, event, risk, benefit, treated = make_trial()
    for found in (
        decision_curve(
            time, event, {"m": risk, "all alike": np.full(400, 0.4)}, treated, thresholds=[0.1, 0.3, 0.5], **KNOWN
        ),
        net_benefit_of_treatment(time, event, {"m": benefit}, treated, thresholds=[0.0, 0.1, 0.2], **KNOWN),
    ):
        again = NetBenefit.from_dict(json.loads(json.dumps(found.to_dict())))
        assert again.text() == found.text()
        assert again.heading() == found.heading()
        assert ("control arm" in found.text()) == (found.of == "risk under control")
        assert "censoring" in found.methods.lower()
        assert len(found.table()) == 3 * (len(found._strategies) + 1)
        assert found.scalars()
        found.draw(Figure())


def test_nobody_above_the_threshold_is_a_net_benefit_of_nothing():
    time, event, _risk, benefit, treated = make_trial()
    found = net_benefit_of_treatment(time, event, {"m": benefit}, treated, thresholds=[0.9], **KNOWN)
    assert (found.estimate(0.9, "m").value, found.estimate(0.9, "m").se) == (0.0, 0.0)


def test_what_has_no_net_benefit_is_refused():
    time, event, risk, benefit, treated = make_trial()
    with pytest.raises(DataError, match="rising probabilities"):
        decision_curve(time, event, {"m": risk}, treated, thresholds=[0.0, 0.2], **KNOWN)
    with pytest.raises(DataError, match="treated must be"):
        decision_curve(time, event, {"m": risk}, np.full(400, 2), thresholds=[0.2], **KNOWN)
    with pytest.raises(AnalysisError, match="control arm has no patients"):
        decision_curve(time, event, {"m": risk}, np.ones(400), thresholds=[0.2], **KNOWN)
    with pytest.raises(DataError, match="risk difference"):
        net_benefit_of_treatment(time, event, {"m": 3 * benefit + 5}, treated, thresholds=[0.2], **KNOWN)
    with pytest.raises(DataError, match="none of them 'everybody'"):
        decision_curve(time, event, {"everybody": risk}, treated, thresholds=[0.2], **KNOWN)


def test_a_binary_endpoint_has_the_curves_of_complete_follow_up():
    """Everybody followed to the horizon: `decision_curve` and `net_benefit_of_treatment` without a patient censored."""
    time, event, risk, benefit, treated = make_trial(censored=False)
    happened = event & (time <= 1)
    with_follow_up = {"thresholds": [0.1, 0.3], **KNOWN}
    without = {"thresholds": [0.1, 0.3], "kind": "external"}
    for one, two in (
        (
            decision_curve(time, event, {"m": risk}, treated, **with_follow_up),
            binary_decision_curve(happened, {"m": risk}, treated, **without),
        ),
        (
            net_benefit_of_treatment(time, event, {"m": benefit}, treated, **with_follow_up),
            binary_net_benefit_of_treatment(happened, {"m": benefit}, treated, **without),
        ),
    ):
        numbers = ["net_benefit", "low", "high", "se", "share"]
        assert np.allclose(one.curves[numbers], two.curves[numbers], rtol=1e-9, atol=1e-12, equal_nan=True)
        assert two.horizon is None
        assert " by " not in two.text()
        assert "ensoring" not in two.methods
        assert any(name.startswith("net_benefit_m_30pct_external") for name in two.scalars())
        assert NetBenefit.from_dict(json.loads(json.dumps(two.to_dict()))).text() == two.text()
        two.draw(Figure())
    with pytest.raises(AnalysisError, match="the control arm has no patients"):
        binary_decision_curve(happened, {"m": risk}, np.ones(400), **without)
    with pytest.raises(DataError, match="treated must be True or False"):
        binary_net_benefit_of_treatment(happened, {"m": benefit}, [1], **without)

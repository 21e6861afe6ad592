"""Brier score, AUC, concordance and their errors against sums spelled out: hypothesis draws small trials full of ties."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trialml.errors import AnalysisError, DataError
from trialml.survival.auc import cumulative_dynamic_auc
from trialml.survival.brier import brier, mean_over_time
from trialml.survival.concordance import concordance
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.ipcw import (
    checked_outcome,
    cox_censoring,
    kaplan_meier_censoring,
    observed_risk,
    standard_error,
)
from trialml.survival.product_limit import censoring_curve

HORIZON = 3.0


@st.composite
def trials(draw, beyond=12):
    """Whole times, three ends of follow-up, risks on a coarse grid; enough patients are followed beyond 3."""
    n = draw(st.integers(4, 25))
    time = draw(st.lists(st.integers(1, 6), min_size=n, max_size=n)) + [7] * beyond
    code = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)) + [0] * beyond
    risk = draw(st.lists(st.integers(0, 4), min_size=n + beyond, max_size=n + beyond))
    time, code = np.array(time, dtype=float), np.array(code)
    assume(((code == 1) & (time <= HORIZON)).any())
    return time, code == 1, code == 2, np.array(risk) / 4


def censoring_by_hand(time, ended, t, *, left):
    """P(uncensored), where of equal times the events leave before the censorings."""
    value = 1.0
    for u in np.unique(time[~ended]):
        if u < t or (u == t and not left):
            at_risk = np.sum(time > u) + np.sum((time == u) & ~ended)
            value *= 1 - np.sum((time == u) & ~ended) / at_risk
    return value


def weights_by_hand(time, ended):
    return np.array(
        [
            1 / censoring_by_hand(time, ended, HORIZON, left=False) if t > HORIZON
            else 1 / censoring_by_hand(time, ended, t, left=True) if end else 0.0
            for t, end in zip(time, ended, strict=True)
        ]
    )  # fmt: skip


@given(trials())
def test_the_brier_score_is_the_weighted_mean_square(trial):
    time, event, other, risk = trial
    w = weights_by_hand(time, event | other)
    squares = [w[i] * ((event[i] and time[i] <= HORIZON) - risk[i]) ** 2 for i in range(len(time))]
    found = brier(time, event, risk, HORIZON, competing=other)
    assert found.value == pytest.approx(np.mean(squares), rel=1e-12)
    assert found.null == pytest.approx(
        np.mean([w[i] * ((event[i] and time[i] <= HORIZON) - found.null_risk) ** 2 for i in range(len(time))]),
        rel=1e-12,
    )


@given(trials())
def test_the_auc_counts_each_weighted_pair_of_a_case_and_a_control(trial):
    time, event, other, risk = trial
    w = weights_by_hand(time, event | other)
    won = total = 0.0
    for i in np.flatnonzero(event & (time <= HORIZON)):
        for j in np.flatnonzero(~(event & (time <= HORIZON))):
            won += w[i] * w[j] * ((risk[i] > risk[j]) + (risk[i] == risk[j]) / 2)
            total += w[i] * w[j]
    found = cumulative_dynamic_auc(time, event, risk, HORIZON, competing=other)
    assert found.value == pytest.approx(won / total, rel=1e-12)
    assert abs(found.influence.sum()) < 1e-9 * len(time)


@given(trials())
def test_the_null_risk_is_aalen_and_johansens(trial):
    """The sum of S(t-) d1 / n; and the weighted share of events is the same number."""
    time, event, other, _ = trial
    before, total = 1.0, 0.0
    for u in np.unique(time[time <= HORIZON]):
        at_risk = np.sum(time >= u)
        total += before * np.sum((time == u) & event) / at_risk
        before *= 1 - np.sum((time == u) & (event | other)) / at_risk
    assert float(observed_risk(checked_outcome(time, event, other), HORIZON)) == pytest.approx(total, rel=1e-12)
    share = np.mean(weights_by_hand(time, event | other) * (event & (time <= HORIZON)))
    assert share == pytest.approx(total, rel=1e-10)


@given(trials())
def test_the_influence_is_the_derivative_by_each_patients_weight(trial):
    """A patient counts 1 + 1e-5 times in the means and in the hazard of censoring, at which whoever is followed is at risk."""
    time, event, other, risk = trial
    ended, case, n = event | other, event & (time <= HORIZON), len(time)
    w = weights_by_hand(time, ended)

    def hazard(c):
        """Nelson and Aalen's, passed by each patient's weight."""
        at = np.where(ended, 0.0, c) / np.array([c[time >= u].sum() for u in time])
        return np.array([at[time <= HORIZON].sum() if t > HORIZON else at[time < t].sum() for t in time])

    def numbers(c):
        v = c * w * np.exp(hazard(c) - hazard(np.ones(n)))
        score = (v * (case - risk) ** 2).sum() / c.sum()
        above = (risk[:, None] > risk) + (risk[:, None] == risk) / 2
        return score, (v * case) @ above @ (v * ~case) / ((v * case).sum() * (v * ~case).sum())

    found = (
        brier(time, event, risk, HORIZON, competing=other).influence,
        cumulative_dynamic_auc(time, event, risk, HORIZON, competing=other).influence,
    )
    for j in (0, 1, n - 1):
        up, down = np.ones(n), np.ones(n)
        up[j], down[j] = 1 + 1e-5, 1 - 1e-5
        slope = (np.array(numbers(up)) - np.array(numbers(down))) / 2e-5 * n
        np.testing.assert_allclose([found[0][j], found[1][j]], slope, rtol=1e-6, atol=1e-7)


def test_the_influence_passes_through_a_cox_model_of_censoring():
    rng = np.random.default_rng(8)
    n = 120
    X = np.column_stack([rng.normal(size=n), rng.integers(0, 2, n)])
    time, cut = rng.exponential(1.2, n), rng.exponential(1.5 * np.exp(-0.5 * X[:, 0]), n)
    ended, time = time <= cut, np.ceil(20 * np.minimum(time, cut)) / 20
    other = ended & (rng.random(n) < 0.3)
    event, risk = ended & ~other, rng.random(n)

    def score(c):
        problem = CoxProblem(time, ~ended, X, weights=c, ties="breslow")
        relative = np.exp((X - X.mean(axis=0)) @ problem.fit().coefficients)
        jump = np.where(ended, 0.0, c / np.array([(c * relative)[time >= u].sum() for u in time]))
        passed = [jump[time <= 1.0].sum() if t > 1.0 else jump[time < t].sum() for t in time]
        w = np.where((time > 1.0) | ended, np.exp(np.array(passed) * relative), 0.0)
        return (c * w * ((event & (time <= 1.0)) - risk) ** 2).sum() / c.sum()

    censoring = cox_censoring(time, ended, X, permit_coarse=True)
    found = brier(time, event, risk, 1.0, competing=other, censoring=censoring)
    assert found.value == pytest.approx(score(np.ones(n)), rel=1e-9)
    for j in range(0, n, 7):
        up, down = np.ones(n), np.ones(n)
        up[j], down[j] = 1 + 1e-4, 1 - 1e-4
        assert found.influence[j] == pytest.approx((score(up) - score(down)) / 2e-4 * n, rel=1e-5, abs=1e-6)
    area = cumulative_dynamic_auc(time, event, risk, 1.0, competing=other, censoring=censoring)
    assert abs(area.influence.mean()) < 1e-8


@given(trials(beyond=2), st.lists(st.integers(1, 3), min_size=27, max_size=27), st.booleans())
def test_concordance_counts_weighted_pairs_within_strata(trial, weights, stratified):
    time, event, _, risk = trial
    n = len(time)
    weight = np.array(weights[:n], dtype=float) / 2
    stratum = np.arange(n) % 2 if stratified else np.zeros(n, dtype=int)
    won = taken = 0.0
    for i in range(n):
        for j in range(n):
            later = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if event[i] and later and stratum[i] == stratum[j]:
                taken += weight[i] * weight[j]
                won += weight[i] * weight[j] * ((risk[i] > risk[j]) + (risk[i] == risk[j]) / 2)
    assume(taken > 0)
    found = concordance(time, event, risk, weights=weight, strata=stratum)
    assert found.value == pytest.approx(won / taken, rel=1e-12)
    assert found.comparable == pytest.approx(taken, rel=1e-12)
    whole = np.round(2 * weight).astype(int)
    copies = [np.repeat(one, whole) for one in (time, event, risk, stratum)]
    again = concordance(*copies[:3], strata=copies[3])
    assert again.value == pytest.approx(_apart(time, event, risk, stratum, whole), rel=1e-12)


def _apart(time, event, risk, stratum, whole):
    """Copies of a patient are pairs of equal times, which count only as a case and a censored one."""
    won = taken = 0.0
    for i in np.flatnonzero(event):
        for j in range(len(time)):
            if (time[j] > time[i] or (time[j] == time[i] and not event[j])) and stratum[i] == stratum[j]:
                taken += whole[i] * whole[j]
                won += whole[i] * whole[j] * ((risk[i] > risk[j]) + (risk[i] == risk[j]) / 2)
    return won / taken


@given(trials(beyond=2), st.sampled_from(["harrell", "uno"]), st.integers(2, 8))
def test_a_patient_with_a_competing_event_stays_comparable_with_all_who_have_the_event(trial, weighting, tau):
    time, event, other, risk = trial
    n, ended = len(time), event | other
    g = np.array([censoring_by_hand(time, ended, t, left=True) for t in time]) if weighting == "uno" else np.ones(n)
    won, taken, pairs = np.zeros(n), np.zeros(n), 0
    for i in np.flatnonzero(event & (time <= tau)):
        for j in range(n):
            followed = time[j] > time[i] or (time[j] == time[i] and not event[j])
            if followed or (other[j] and time[j] < time[i]):
                w = g[i] ** -2 if followed else 1 / (g[i] * g[j])
                pairs += 1
                for k in (i, j):
                    taken[k] += w
                    won[k] += w * ((risk[i] > risk[j]) + (risk[i] == risk[j]) / 2)
    assume(pairs > 0)
    found = concordance(time, event, risk, weighting=weighting, tau=float(tau), competing=other)
    value = won.sum() / taken.sum()
    assert found.comparable == pairs
    assert found.value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(found.influence, (won - value * taken) / (taken.sum() / 2), atol=1e-12)


def test_without_censoring_a_competing_event_is_an_event_that_never_comes():
    rng = np.random.default_rng(6)
    time, code, risk = rng.integers(1, 30, 200).astype(float), rng.integers(1, 3, 200), rng.integers(0, 9, 200)
    never = np.where(code == 2, 100.0, time)
    for weighting in ("harrell", "uno"):
        found = concordance(time, code == 1, risk, weighting=weighting, competing=code == 2)
        assert found.value == pytest.approx(concordance(never, code == 1, risk).value, rel=1e-12)
        assert found.se == pytest.approx(concordance(never, code == 1, risk).se, rel=1e-12)


def test_a_curve_that_is_given_adds_nothing_to_the_error():
    rng = np.random.default_rng(5)
    time, event, risk = rng.exponential(1, 300), rng.random(300) < 0.7, rng.random(300)
    curve = censoring_curve(time, event)
    known = brier(time, event, risk, 1.0, censoring=curve)
    estimated = brier(time, event, risk, 1.0, censoring=kaplan_meier_censoring(time, event))
    assert known.value == estimated.value == brier(time, event, risk, 1.0).value
    assert known.se != estimated.se
    assert estimated.se == brier(time, event, risk, 1.0).se


def test_the_mean_over_time_is_by_trapezoids_from_nothing():
    assert float(mean_over_time([1, 3], [0.2, 0.4])) == pytest.approx((0.1 + 0.6) / 3)
    np.testing.assert_allclose(mean_over_time([1, 3], [[0.2, 1.0], [0.4, 1.0]]), [0.7 / 3, 2.5 / 3])
    with pytest.raises(DataError, match="must rise"):
        mean_over_time([2, 1], [0.1, 0.2])


def test_the_intervals_of_auc_brier_score_and_unos_c_cover():
    """400 trials of 300 patients; the true numbers from one of 400,000 without censoring."""
    rng = np.random.default_rng(11)

    def numbers(time, event, competing, x):
        risk, c = 1 / (1 + np.exp(-x)), {"tau": 0.8, "weighting": "uno", "competing": competing}
        return [measure(time, event, risk, 0.8, competing=competing) for measure in (cumulative_dynamic_auc, brier)] + [
            concordance(time, event, risk, **c)
        ]

    def make(n):
        x = rng.normal(size=n)
        return x, rng.exponential(np.exp(-0.7 * x)), rng.exponential(2.5, n)

    x, first, other = make(400_000)
    truth = [one.value for one in numbers(np.minimum(first, other), first <= other, other < first, x)]
    held = np.zeros(3)
    for _ in range(400):
        x, first, other = make(300)
        cut = rng.exponential(1.5, 300)
        time = np.minimum(np.minimum(first, other), cut)
        found = numbers(time, (first <= other) & (first <= cut), (other < first) & (other <= cut), x)
        held += [abs(one.value - true) <= 1.96 * one.se for one, true in zip(found, truth, strict=True)]
    # 0.95 less three Monte Carlo errors, and one in a hundred for 300 patients.
    assert (held / 400 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400) - 0.01).all()


def test_bad_input_is_refused_in_words():
    time, event = np.arange(1.0, 31.0), np.arange(30) % 2 == 0
    with pytest.raises(DataError, match="a competing event at once"):
        brier(time, event, np.full(30, 0.5), 10.0, competing=event)
    with pytest.raises(AnalysisError, match="nobody has had the event"):
        cumulative_dynamic_auc(time + 5, event, np.zeros(30), 2.0)
    with pytest.raises(AnalysisError, match="at least 10"):
        cumulative_dynamic_auc(time, event, np.zeros(30), 29.0)
    with pytest.raises(DataError, match="finite number"):
        cumulative_dynamic_auc(time, event, np.full(30, np.inf), 10.0)
    with pytest.raises(DataError, match="strata is missing"):
        concordance(time, event, time, strata=[None] + ["a"] * 29)
    with pytest.raises(DataError, match="above 0"):
        concordance(time, event, time, weights=np.zeros(30))
    with pytest.raises(DataError, match="with competing events"):
        concordance(time, event, time, competing=~event, weighting="equal")
    assert standard_error(np.array([1.0, 1.0])) == 0

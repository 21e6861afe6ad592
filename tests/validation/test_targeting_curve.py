"""Targeting curves: grf on the same scores and ranks, every number by brute force, the size of the p-value."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from trialml.effects.scores import crossfit_scores
from trialml.errors import AnalysisError, DataError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_line import ridge_line
from trialml.models.ridge_scores import RidgeScores
from trialml.validation.benefit import HeldOutBenefit, crossvalidate_response
from trialml.validation.rank_weighted import rank_weighted
from trialml.validation.targeting_curve import TargetingCurve, targeting_curve

REFERENCE = Path(__file__).parents[1] / "reference"
SHARES = np.array([0.1, 0.25, 1 / 3, 0.5, 0.8, 1.0])


def outputs(name):
    return json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))["outputs"]


def external(score, rank):
    one = np.atleast_2d(rank)
    return HeldOutBenefit(np.atleast_2d(score), one, one, np.zeros(one.shape))


def by_hand(score, rank, shares):
    """Sort, replace by the mean of the tied, take running means."""
    m = len(score)
    ordered, ranked = (np.asarray(one)[np.argsort(-rank, kind="stable")] for one in (score, rank))
    ordered = np.array([ordered[ranked == one].mean() for one in ranked])
    curve = np.cumsum(ordered) / np.arange(1, m + 1) - ordered.mean()
    at = []
    for share in shares:
        whole = math.floor(share * m + 1e-9)
        part = share * m - whole
        top = ordered[:whole].sum() + (part * ordered[whole] if whole < m else 0.0)
        at.append(top / (share * m) - ordered.mean())
    return np.array([curve.mean(), (np.arange(1, m + 1) / m * curve).mean(), *at])


@pytest.fixture(scope="module")
def grf_inputs():
    return pd.read_csv(REFERENCE / "data" / "grf_rate_inputs.csv")


def test_autoc_qini_and_the_curve_are_grfs_on_the_same_scores_and_priorities(grf_inputs):
    """grf 2.6.1 `rank_average_treatment_effect.fit`: values exact; its errors are a half-sample bootstrap of 500 draws."""
    stored = outputs("resp_causal_forest")
    curve = stored["rate_fit_from_saved_scores"]["toc"]
    score, priority = grf_inputs["dr_score"].to_numpy(), grf_inputs["priority"].to_numpy()
    found = targeting_curve(external(score, priority), unit="", scale="difference of means", kind="external")
    assert found.autoc.value == pytest.approx(stored["rate_fit_from_saved_scores"]["autoc"], rel=1e-8)
    assert found.autoc.value == pytest.approx(stored["autoc"]["estimate"], rel=1e-8)
    assert found.qini.value == pytest.approx(stored["qini"]["estimate"], rel=1e-8)
    ours = rank_weighted(score, priority, np.array(curve["q"]))
    np.testing.assert_allclose(ours.value[2:], curve["estimate"], rtol=1e-8, atol=1e-10)
    # A standard deviation of 500 draws has a relative error of 1 / sqrt(1000) = 3.2 %: four of them.
    assert found.autoc.se == pytest.approx(stored["autoc"]["se"], rel=0.13)
    assert found.qini.se == pytest.approx(stored["qini"]["se"], rel=0.13)
    errors = np.sqrt((ours.influence[2:] ** 2).sum(axis=1) / (1000 * 999))
    np.testing.assert_allclose(errors, curve["std.err"], rtol=0.13, atol=1e-12)


def test_the_mean_and_the_upper_share_of_the_saved_scores_are_rs(grf_inputs):
    stored = outputs("resp_causal_forest_aipw_scores")
    score, priority = grf_inputs["dr_score"].to_numpy(), grf_inputs["priority"].to_numpy()
    ours = rank_weighted(score, priority, np.array([0.3]))
    assert score.mean() == pytest.approx(stored["ate"], rel=1e-10)
    assert ours.value[2] + score.mean() == pytest.approx(stored["top30"], rel=1e-10)


def test_autoc_of_censored_times_is_within_two_errors_of_grfs_causal_survival_forest():
    """Same patients, same halves, RMST over 24; another model ranks and other nuisance models score (resp_causal_survival_forest)."""
    stored = outputs("resp_causal_survival_forest")["autoc"]
    data = pd.read_csv(REFERENCE / "data" / "rct_sim.csv")
    X = data[[f"x{j}" for j in range(1, 9)]]
    time, event, treated = (
        data[name].to_numpy(dtype=kind) for name, kind in (("time", float), ("event", bool), ("w", bool))
    )

    def scores(rows):
        return crossfit_scores(
            X.iloc[rows], time[rows], event[rows], treated[rows], tau=24.0, allocation=0.5, folds=5, seed=1,
            learner=lambda one, t, e: CoxRidge(penalties=(8.0,)).fit(one, survival_outcome(t, e)),
        )  # fmt: skip

    learned, judged = np.arange(1000), np.arange(1000, 2000)
    model = RidgeScores(repeats=3).fit(X.iloc[learned], scores(learned))
    rank = model.benefit_score(X.iloc[judged])
    found = targeting_curve(external(scores(judged), rank), unit="months", tau=24.0, kind="external")
    assert abs(found.autoc.value - stored["estimate"]) < 2 * math.hypot(found.autoc.se, stored["se"])
    assert found.autoc.se == pytest.approx(stored["se"], rel=0.25)
    assert "RMST difference over 24 months" in found.text()


@pytest.mark.parametrize("levels", [2, 6, 1000])
def test_values_and_influences_are_those_of_brute_force_and_of_leaving_each_out(levels):
    generator = np.random.default_rng(levels)
    score, rank = generator.normal(size=37), generator.integers(0, levels, 37).astype(float)
    found = rank_weighted(score, rank, SHARES)
    np.testing.assert_allclose(found.value, by_hand(score, rank, SHARES), rtol=1e-8, atol=1e-10)
    without = np.array([by_hand(np.delete(score, k), np.delete(rank, k), SHARES) for k in range(37)]).T
    jackknife = 36 * (without.mean(axis=1, keepdims=True) - without)
    np.testing.assert_allclose(found.influence[:2], jackknife[:2], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.influence.sum(axis=1), 0, atol=1e-10)


def test_ties_are_the_average_over_every_order_of_the_tied():
    score, rank = np.array([3.0, -1.0, 2.0, 7.0, 0.5]), np.array([2.0, 1.0, 1.0, 1.0, 0.0])
    found = rank_weighted(score, rank, SHARES)
    orders = [[0, *middle, 4] for middle in itertools.permutations((1, 2, 3))]
    untied = [rank_weighted(score[one], -np.arange(5.0), SHARES).value for one in orders]
    np.testing.assert_allclose(found.value, np.mean(untied, axis=0), rtol=1e-10, atol=1e-12)


def test_errors_of_averages_and_of_the_curve_are_the_spread_over_samples():
    """2,000 samples of 150 with a real gain: the root mean square error is within 5 % (four Monte Carlo errors and bias)."""
    generator = np.random.default_rng(3)
    values, squared = [], []
    for _ in range(2000):
        rank = generator.normal(size=150)
        found = rank_weighted(0.5 * rank + generator.normal(size=150), rank, SHARES[1:5])
        values.append(found.value)
        squared.append((found.influence**2).sum(axis=1) / (150 * 149))
    spread = np.std(values, axis=0, ddof=1)
    np.testing.assert_allclose(np.sqrt(np.mean(squared, axis=0)), spread, rtol=0.08)
    # With S = b Z + noise the curve is b phi(z) / q at the upper q quantile z, AUTOC b E(Z (-log(1 - Phi(Z)) - 1)).
    q = SHARES[1:5]
    truth = 0.5 * stats.norm.pdf(stats.norm.isf(q)) / q
    error = 4 * spread[2:] / math.sqrt(2000)
    assert (np.abs(np.mean(values, axis=0)[2:] - truth) < error + 0.01 * truth).all()


def folded(seed, *, n=100, folds=4, repeats=3, gain=0.0):
    generator = np.random.default_rng(seed)
    fold = np.array([generator.permutation(np.arange(n) % folds) for _ in range(repeats)])
    rank = generator.normal(size=(repeats, n))
    score = gain * rank + generator.normal(size=(repeats, n))
    return HeldOutBenefit(score, rank, rank, np.zeros((repeats, n)), fold)


def test_folds_are_weighted_by_size_and_the_error_is_that_of_one_repeat():
    """Oracle: each fold by itself; variances m^2 / n^2 / (m (m - 1)) sum of squares, their mean over repeats, times 1.25^2."""
    held = folded(5, n=103)
    found = targeting_curve(held, unit="days", tau=365.0)
    values, variances = np.zeros(3), np.zeros(3)
    for repeat in range(3):
        for label in range(4):
            rows = np.flatnonzero(held.fold[repeat] == label)
            m = len(rows)
            one = rank_weighted(held.score[repeat, rows], held.benefit_score[repeat, rows], SHARES)
            values[repeat] += one.value[0] * m / 103
            variances[repeat] += (one.influence[0] ** 2).sum() / (m * (m - 1)) * (m / 103) ** 2
    assert found.autoc.value == pytest.approx(values.mean(), rel=1e-10)
    assert found.autoc.se == pytest.approx(1.25 * math.sqrt(variances.mean()), rel=1e-10)
    each = stats.norm.sf(values / np.sqrt(variances))
    assert found.p_autoc == pytest.approx(min(1.0, 2 * np.median(each)), rel=1e-10)


def test_trap_45_levels_that_differ_between_folds_change_nothing():
    held = folded(6)
    moved = held._replace(score=held.score - 30 * held.fold, benefit_score=held.benefit_score + 5 * held.fold)
    one, other = (targeting_curve(each, unit="days", tau=365.0) for each in (held, moved))
    for name, value in one.scalars().items():
        assert other.scalars()[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


class _Line:
    """The ridge line of the default response model, without its frame, encoding and shrinkage."""

    def __init__(self, design, scores):
        self.mean, self.spread = design.mean(axis=0), design.std(axis=0)
        standard = (design - self.mean) / self.spread
        self.slopes = ridge_line(standard, scores, len(scores) * np.geomspace(1e-2, 1e2, 17)).coefficients

    def benefit_score(self, X):
        return (X.to_numpy() - self.mean) / self.spread @ self.slopes

    predict = benefit_score


def p_values(trials, *, n, seed):
    """One-sided p of the first repeat alone and of the result, for scores that no covariate moves."""
    single, reported = [], []
    for trial in range(trials):
        draw = np.random.default_rng([seed, trial])
        values = draw.normal(size=(n, 20))
        X = pd.DataFrame(values)
        noise = draw.normal(size=n) * np.exp(0.5 * values[:, 0])

        def fit(rows, design=values, scores=noise):
            return _Line(design[rows], scores[rows]), lambda new: scores[new]

        held = crossvalidate_response(fit, X, cells=np.full(n, "all"), folds=5, repeats=6, seed=trial)
        reported.append(targeting_curve(held, unit="", scale="difference of means").p_autoc)
        first = HeldOutBenefit(*(one[:1] for one in held))
        single.append(targeting_curve(first, unit="", scale="difference of means").p_autoc)
    return np.array(single), np.array(reported)


def test_without_heterogeneity_a_gain_is_declared_in_5_percent_of_trials_at_most():
    """60 trials of 200 patients, 20 covariates, 5 folds, 6 repeats: at most 7 below .05, exceeded with probability 1 % at a size of 5 %."""
    _, reported = p_values(60, n=200, seed=1)
    assert stats.binom.sf(7, 60, 0.05) < 0.01
    assert (reported < 0.05).sum() <= 7


@pytest.mark.long
def test_twice_the_median_has_the_size_that_one_cross_fit_does_not():
    """1,000 trials: the size of one repeat lies above 5 % by more than chance, that of twice the median does not."""
    single, reported = p_values(1000, n=300, seed=2)
    assert stats.binom.sf((single < 0.05).sum() - 1, 1000, 0.05) < 0.001
    assert stats.binom.sf((reported < 0.05).sum() - 1, 1000, 0.05) > 0.01


def test_a_strong_order_is_found_and_drawn_and_survives_a_round_trip():
    found = targeting_curve(folded(7, n=400, repeats=6, gain=1.0), unit="days", tau=365.0)
    assert found.p_autoc < 0.001
    assert "Patients ranked first had larger effects" in found.text()
    assert "p <0.001, one-sided" in found.text()
    assert found.text().endswith("patients at higher risk gain more even where the hazard ratio is the same for all.")
    weak = replace(found, autoc=replace(found.autoc, low=-1.0), tau=math.nan, scale="risk difference")
    assert weak.text().endswith("by the one-sided test; the two-sided interval includes 0.")
    assert "scale: RMST difference over 365 days; cross-fitted, 400 patients, 6 repeats of 4 folds" in found.text()
    assert found.curve["share"].iloc[-1] == 1.0
    assert found.curve["gain"].iloc[-1] == pytest.approx(0.0, abs=1e-12)
    figure = Figure()
    found.draw(figure)
    assert "RMST difference over 365 days" in figure.axes[0].get_ylabel()
    again = TargetingCurve.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()


def test_no_point_of_the_curve_rests_on_fewer_than_11_patients():
    found = targeting_curve(folded(8, n=60), unit="days", tau=365.0)
    assert found.curve["share"].iloc[0] == 0.2


def test_ties_everywhere_are_said_to_be_no_order():
    held = folded(9)
    found = targeting_curve(held._replace(benefit_score=np.ones((3, 100))), unit="", scale="risk difference")
    assert math.isnan(found.autoc.value)
    assert math.isnan(found.qini.value)
    assert (found.p_autoc, found.p_qini) == (1.0, 1.0)
    assert "no order" in found.text()


def test_bad_input_is_refused_with_the_value_and_the_remedy():
    held = folded(10)
    with pytest.raises(AnalysisError, match="a fold has 4 patients, but an order can be judged from 10 on: use fewer"):
        targeting_curve(folded(10, n=40, folds=9), unit="days", tau=365.0)
    missing = held.score.copy()
    missing[0, 3] = np.nan
    with pytest.raises(DataError, match="scores are missing or infinite in 1 place"):
        targeting_curve(held._replace(score=missing), unit="days", tau=365.0)
    with pytest.raises(DataError, match="pass one of each for every repeat"):
        targeting_curve(held._replace(score=held.score[:, :50]), unit="days", tau=365.0)

"""Scores on restricted means and on survival at a horizon: a loop, grf, models of the censoring, several arms."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.data.folds import fold_labels, splits
from trialml.effects.censored_outcome import ArmCurve, fit_arm
from trialml.effects.scores import crossfit_scores, fit_nuisance
from trialml.errors import AnalysisError, DataError
from trialml.learning import _outcome_model
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.survival.product_limit import product_limit, step_at

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
GRF = json.loads((REFERENCE / "resp_causal_survival_forest.json").read_text())["outputs"]


class Exponential:
    """A model that was handed down: hazard rate exp(slope x)."""

    def __init__(self, rate, slope):
        self.rate, self.slope = rate, slope

    def survival(self, X, times):
        return np.exp(-np.outer(self.rate * np.exp(self.slope * X["x"].to_numpy()), times))


class Same:
    """The Kaplan-Meier curve for everybody."""

    def __init__(self, time, event):
        self.curve = product_limit(time, event)

    def survival(self, X, times):
        return np.tile(step_at(self.curve.time, self.curve.survival, times), (len(X), 1))


def handed_down(X, time, event):
    return Exponential(0.5, 0.5)


def leaving(X, time, event):
    return Exponential(0.2, 0.3)


def kaplan_meier(X, time, event):
    return Same(time, event)


def nothing_learned(X, time, event):
    return Exponential(0.0, 0.0)


def ridge(X, time, event):
    return CoxRidge(penalties=(8.0,)).fit(X, survival_outcome(time, event))


def barely_penalised(X, time, event):
    return CoxRidge(penalties=(0.01,)).fit(X, survival_outcome(time, event))


def trial(n, *, seed, censoring_slope=0.0, width=None, arms=(0.5, 0.5)):
    """Hazard .8 exp(.8 x - .7 arm); censoring .35 exp(slope x arm) and at 3; with a `width` times are its multiples, rounded up."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=n)
    arm = generator.choice(len(arms), n, p=arms)
    time = generator.exponential(1 / (0.8 * np.exp(0.8 * x - 0.7 * arm)))
    last = np.minimum(generator.exponential(1 / (0.35 * np.exp(censoring_slope * x * (arm > 0)))), 3.0)
    if width is not None:
        time, last = (np.round(np.ceil(t / width) * width, 9) for t in (time, last))
    return pd.DataFrame({"x": x}), np.minimum(time, last), time <= last, arm


def true_survival_difference(tau, log_ratio=-0.7):
    """P(T > tau) integrated over x by Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    chance = [
        float(weights @ np.exp(-tau * 0.8 * np.exp(0.8 * nodes + c))) / math.sqrt(2 * math.pi) for c in (0.0, log_ratio)
    ]
    return chance[1] - chance[0]


def true_rmst_difference(tau, log_ratio=-0.7):
    """E[min(T, tau)], (1 - exp(-h tau)) / h, integrated over x by Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    mean = []
    for c in (0.0, log_ratio):
        h = 0.8 * np.exp(0.8 * nodes + c)
        mean.append(float(weights @ (-np.expm1(-h * tau) / h)) / math.sqrt(2 * math.pi))
    return mean[1] - mean[0]


def loop_survival_value(model, curve, x, observed, happened, tau, u_times):
    """Y* of 1{T > tau} by its formula: `curve(u)` is G just after u, `u_times` the censoring times before tau."""
    patient = pd.DataFrame({"x": [x]})

    def survival(t):
        return float(model.survival(patient, np.array([t]))[0, 0])

    ended, known = min(observed, tau), happened or observed >= tau
    passed = [u for u in u_times if u < ended or (u == ended and not known)]
    if known:
        outcome = 1.0 if observed > tau or (observed == tau and not happened) else 0.0
    else:
        outcome = survival(tau) / survival(ended)
    value = outcome / (curve(passed[-1]) if passed else 1.0)
    before = 1.0
    for u in passed:
        value -= survival(tau) / survival(u) / curve(u) * (1 - curve(u) / before)
        before = curve(u)
    return value


@pytest.mark.parametrize("censoring", [None, leaving])
def test_trap_12_scores_on_survival_equal_a_loop_with_ties(censoring):
    """Events, censorings and both tie with tau = 1.4; S between grid times is the value at the last one, 1 before it."""
    train, new = trial(80, seed=1, width=0.2), trial(60, seed=2, width=0.2)
    time, event, arm = train[1:]
    for a in (0, 1):
        assert ((time == 1.4) & event & (arm == a)).any() or ((time == 1.4) & ~event & (arm == a)).any()
    fitted = fit_nuisance(
        *train, tau=1.4, allocation=0.4, learner=handed_down, estimand="survival", censoring=censoring
    )
    model = Exponential(0.5, 0.5)
    for X, observed, happened, arms in (train, new):
        found = fitted.scores(X, observed, happened, arms)
        mean = model.survival(X, np.array([1.4]))[:, 0]
        for i, x in enumerate(X["x"]):
            own = arm == arms[i]
            grid = np.append(np.unique(time[own & (time < 1.4)]), 1.4)
            gone = sorted(set(time[own & ~event & (time < 1.4)]))

            class Steps:
                def survival(self, patient, at, grid=grid):
                    place = np.searchsorted(grid, at, side="right") - 1
                    return np.where(place < 0, 1.0, model.survival(patient, grid[np.maximum(place, 0)]))

            if censoring is None:
                kept, after = 1.0, {}
                for u in gone:
                    risk = (own & ((time > u) | ((time == u) & ~event))).sum()
                    kept *= 1 - (own & (time == u) & ~event).sum() / risk
                    after[u] = kept
            else:
                after = {u: math.exp(-0.2 * math.exp(0.3 * x) * u) for u in gone}
            value = loop_survival_value(Steps(), after.__getitem__, x, observed[i], happened[i], 1.4, gone)
            wanted = (value - mean[i]) / 0.4 if arms[i] else -(value - mean[i]) / 0.6
            assert found[i] == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("estimand", ["rmst", "survival"])
def test_trap_12_a_censoring_model_that_is_the_curve_itself_gives_the_curves_scores_with_ties(estimand):
    """The model is told of events before the censorings of the same time, as the Kaplan-Meier curve of the censoring counts."""
    train, new = trial(120, seed=3, width=0.2), trial(60, seed=4, width=0.2)
    assert len(set(train[1][train[2]]) & set(train[1][~train[2]])) > 3
    by_curve, by_model = (
        fit_nuisance(*train, tau=1.4, allocation=0.5, learner=handed_down, estimand=estimand, censoring=given).scores(
            *new
        )
        for given in (None, kaplan_meier)
    )
    np.testing.assert_allclose(by_model, by_curve, rtol=1e-10, atol=1e-12)


def test_average_effects_agree_with_those_of_grf_on_the_same_data():
    """Oracle: grf 2.6.1 causal_survival_forest at 24: RMST 2.460 (.381), x7 = 1 4.921 (.599), x7 = 0 .933 (.487), survival
    .1622 (.0231); two of its errors, from the same 2,000 patients by other outcome and censoring models."""
    data = pd.read_csv(REFERENCE / "data" / "rct_sim.csv")
    X = data[[f"x{k}" for k in range(1, 9)]]
    trial_of_r = X, data["time"].to_numpy(), data["event"].to_numpy() == 1, data["w"].to_numpy() == 1
    asked = {"tau": 24.0, "allocation": 0.5, "learner": ridge, "folds": 5, "seed": 1}
    for censoring in (None, ridge):
        scores = crossfit_scores(*trial_of_r, **asked, censoring=censoring)
        for found, inside in (
            (GRF["rmst_ate"], np.ones(len(X), bool)),
            (GRF["rmst_x7_1"], data["x7"] == 1),
            (GRF["rmst_x7_0"], data["x7"] == 0),
        ):
            assert abs(scores[inside].mean() - found["estimate"]) < 2 * found["std.err"]
            error = scores[inside].std(ddof=1) / math.sqrt(inside.sum())
            assert error == pytest.approx(found["std.err"], rel=0.15)
        chances = crossfit_scores(*trial_of_r, **asked, censoring=censoring, estimand="survival")
        assert abs(chances.mean() - GRF["survprob_ate"]["estimate"]) < 2 * GRF["survprob_ate"]["std.err"]


@pytest.mark.parametrize("learner", [ridge, nothing_learned])
def test_trap_8_the_mean_on_survival_is_the_true_difference_even_if_the_outcome_model_is_wrong(learner):
    """One trial of 6,000, within 4 standard errors of the integral over x."""
    scores = crossfit_scores(
        *trial(6000, seed=5), tau=1.5, allocation=0.5, learner=learner, folds=5, seed=1, estimand="survival"
    )
    error = scores.std(ddof=1) / math.sqrt(len(scores))
    assert error < 0.025
    assert abs(scores.mean() - true_survival_difference(1.5)) < 4 * error


def test_trap_9_informative_censoring_is_undone_by_a_cox_model_of_the_censoring_and_not_by_one_curve():
    """The outcome model knows nothing, so all rests on G: one experimental arm of 10,000, censoring hazard .35 exp(x).

    Truth: P(T > 1.5) by Gauss-Hermite; with G(t | x) within 4 standard errors, with one curve more than 6 away.
    """
    X, time, event, arm = trial(20000, seed=6, censoring_slope=1.0, width=0.05)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    truth = float(weights @ np.exp(-1.5 * 0.8 * np.exp(0.8 * nodes - 0.7))) / math.sqrt(2 * math.pi)
    own = arm == 1
    apart = {}
    for name, censoring in (("curve", None), ("cox", barely_penalised)):
        found = fit_arm(X[own], time[own], event[own], 1.5, nothing_learned, estimand="survival", censoring=censoring)  # fmt: skip
        _, replaced = found.expected_and_replaced(X, time, event, own)
        apart[name] = (replaced.mean() - truth) / (replaced.std(ddof=1) / math.sqrt(own.sum()))
    assert abs(apart["cox"]) < 4
    assert abs(apart["curve"]) > 6


@pytest.mark.long
@pytest.mark.parametrize(
    ("estimand", "truth"), [("rmst", true_rmst_difference), ("survival", true_survival_difference)]
)
@pytest.mark.parametrize(
    ("learner", "censoring", "unbiased"),
    [
        (ridge, barely_penalised, True),
        (nothing_learned, barely_penalised, True),
        (barely_penalised, None, True),
        (nothing_learned, None, False),
    ],
)
def test_trap_9_means_are_unbiased_under_informative_censoring_if_the_outcome_or_the_censoring_model_is_right(
    learner, censoring, unbiased, estimand, truth
):
    """400 trials of 500, censoring hazard .35 exp(.6 x) in the experimental arm, against the integrals over x.

    Within 4 Monte Carlo errors (each at most .006); with both models wrong, further away.
    """
    known = {
        "tau": 1.5,
        "allocation": 0.5,
        "learner": learner,
        "censoring": censoring,
        "folds": 5,
        "estimand": estimand,
    }
    means = [
        crossfit_scores(*trial(500, seed=[seed, 9], censoring_slope=0.6, width=0.02), **known, seed=seed).mean()
        for seed in range(400)
    ]
    error = np.std(means, ddof=1) / 20
    assert error < 0.006
    assert (abs(np.mean(means) - truth(1.5)) < 4 * error) == unbiased


def test_three_arms_are_scored_pair_by_pair_against_the_common_control():
    """Column k is the score of arm k and control alone, the weights 1 / p_a being those of three arms: by hand from values."""
    X, time, event, arm = trial(300, seed=7, arms=(0.4, 0.3, 0.3))
    shares = (0.4, 0.3, 0.3)
    asked = {"tau": 1.2, "learner": ridge}
    found = crossfit_scores(X, time, event, arm, **asked, allocation=shares, folds=4, seed=2)
    assert found.shape == (300, 2)
    cells = np.char.add(arm.astype(str), event.astype(str))
    for train, test in splits(fold_labels(cells, 4, 2)):
        for k in (1, 2):
            pair = train[arm[train] != 3 - k]
            two = fit_nuisance(X.iloc[pair], time[pair], event[pair], arm[pair] == k, **asked, allocation=0.5)
            for a, place in ((0, 0), (k, 1)):
                rows = test[arm[test] == a]
                mean = [one.expected_and_replaced(X.iloc[rows], time[rows], event[rows], np.ones(len(rows), bool)) for one in two.arms]  # fmt: skip
                own = (mean[place][1] - mean[place][0]) / shares[a] * (1 if place else -1)
                np.testing.assert_allclose(found[rows, k - 1], mean[1][0] - mean[0][0] + own, rtol=1e-9, atol=1e-12)
    third = arm == 0
    assert (found[third, 0] != found[third, 1]).all()


def test_what_is_no_estimand_no_arm_and_no_censoring_model_is_refused():
    X, time, event, arm = trial(120, seed=8)
    known = {"tau": 1.2, "allocation": 0.5, "learner": handed_down, "folds": 4, "seed": 1}
    with pytest.raises(DataError, match="estimand is 'median', but it must be 'rmst' or 'survival'"):
        crossfit_scores(X, time, event, arm, **known, estimand="median")
    with pytest.raises(DataError, match="The covariate 'drug' is the treatment"):
        crossfit_scores(X.assign(drug=arm.astype(float)), time, event, arm, **known)
    few = np.ones(120, bool)
    few[[np.flatnonzero((arm == a) & (time < 1))[0] for a in (0, 1)]] = False
    with pytest.raises(AnalysisError, match=r"censored before 1\.2 \(.*\): leave `censoring` out"):
        crossfit_scores(X, time, few, arm, **known, censoring=ridge)
    with pytest.raises(AnalysisError, match="The control arm has 12 patients; the outcome models behind the scores need at least 15"):  # fmt: skip
        crossfit_scores(X, time, event, np.arange(120) >= 12, **(known | {"allocation": 0.9}))
    with pytest.raises(AnalysisError, match="give the probability that the randomisation used"):
        crossfit_scores(X, time, event, arm, **(known | {"allocation": 0.8}))


@pytest.mark.parametrize("estimand", ["rmst", "survival"])
@pytest.mark.parametrize("censoring", [None, ridge, kaplan_meier])
def test_trap_7_rounding_errors_of_tied_times_and_of_tau_move_no_score(censoring, estimand):
    X, time, event, arm = trial(200, seed=11, width=0.1)
    assert ((time == 1.4) & ~event).any()
    assert ((time == 1.4) & event).any()
    known = {"tau": 1.4, "allocation": 0.5, "learner": ridge, "folds": 4, "seed": 1}
    moved = time * (1 + np.random.default_rng(0).uniform(-1e-12, 1e-12, 200))
    exact, other = (
        crossfit_scores(X, times, event, arm, **known, censoring=censoring, estimand=estimand)
        for times in (time, moved)
    )
    np.testing.assert_allclose(other, exact, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("censoring", [None, ridge])
def test_patients_of_one_arm_alone_have_the_scores_that_they_have_among_others(censoring):
    X, time, event, arm = trial(150, seed=10)
    fitted = fit_nuisance(X, time, event, arm, tau=1.2, allocation=0.5, learner=ridge, censoring=censoring)
    every = fitted.scores(X, time, event, arm)
    for own in (arm == 0, arm == 1, np.arange(150) == 17):
        alone = fitted.scores(X[own], time[own], event[own], arm[own])
        np.testing.assert_allclose(alone, every[own], rtol=1e-12, atol=1e-14)


def test_without_censoring_before_tau_a_censoring_model_is_not_asked_for():
    X, time, event, arm = trial(100, seed=9)
    time = np.where(event, time, 3.0)
    known = {"tau": 1.2, "allocation": 0.5, "learner": handed_down, "folds": 4, "seed": 1}
    np.testing.assert_array_equal(
        crossfit_scores(X, time, event, arm, **known, censoring=ridge), crossfit_scores(X, time, event, arm, **known)
    )


def by_products(time, event, at):
    """Kaplan-Meier's curve as the product that defines it."""
    steps = [t for t in sorted(set(time[event])) if t <= at]
    return np.prod([1 - ((time == t) & event).sum() / (time >= t).sum() for t in steps])


def test_an_arm_of_few_events_is_scored_by_its_curve_without_bias():
    """Oracles: the product that defines the curve, and the true difference. With about three events an arm a Cox model is refused."""
    curves, means = 0, []
    for seed in range(250):
        X, time, event, arm = trial(60, seed=seed)
        time, event = np.minimum(time, 0.15), event & (time < 0.15)
        known = {"tau": 0.15, "allocation": 0.5, "learner": _outcome_model}
        nuisance = fit_nuisance(X, time, event, arm > 0, **known)
        curves += sum(isinstance(one.model, ArmCurve) for one in nuisance.arms)
        means.append(crossfit_scores(X, time, event, arm > 0, **known, folds=2, seed=1).mean())
    assert curves > 250
    assert abs(np.mean(means) - true_rmst_difference(0.15)) < 3 * np.std(means) / math.sqrt(len(means))
    own = arm > 0
    with pytest.raises(AnalysisError, match="cannot be fitted to"):
        ridge(X[own], time[own], event[own])
    found = _outcome_model(X[own], time[own], event[own]).survival(X[:2], np.array([0.01, 0.07, 0.15]))
    by_hand = [by_products(time[own], event[own], t) for t in (0.01, 0.07, 0.15)]
    np.testing.assert_allclose(found, [by_hand] * 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tau": math.nan}, "tau is nan, but it must be a time above 0"),
        ({"tau": -1.0}, "tau is -1, but it must be a time above 0"),
        ({"allocation": "half"}, "allocation is 'half', but it must be a probability"),
        ({"X": np.zeros((60, 2))}, "X is a ndarray: give a data frame"),
    ],
)
def test_what_is_no_time_no_probability_and_no_data_frame_is_refused(changed, words):
    X, time, event, arm = trial(60, seed=1)
    asked = {"tau": 1.0, "allocation": 0.5, "learner": ridge, "folds": 3, "seed": 1} | changed
    with pytest.raises(DataError, match=words):
        crossfit_scores(asked.pop("X", X), time, event, arm > 0, **asked)

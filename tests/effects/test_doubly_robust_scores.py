"""Doubly robust scores against hand-computed weights, a loop that follows the formula, and the truth of simulations."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from trialml.data.folds import fold_labels
from trialml.effects.scores import crossfit_scores, fit_nuisance
from trialml.errors import AnalysisError, DataError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome


class NothingHappens:
    """An outcome model that is wrong: nobody ever has the event."""

    def survival(self, X, times):
        return np.ones((len(X), len(times)))


class Exponential:
    """An outcome model that was handed down: hazard 0.1 exp(x / 2)."""

    def survival(self, X, times):
        return np.exp(-np.outer(0.1 * np.exp(X["x"].to_numpy() / 2), times))


def nothing_learned(X, time, event):
    return NothingHappens()


def handed_down(X, time, event):
    return Exponential()


def ridge(X, time, event):
    return CoxRidge(penalties=(8.0,)).fit(X, survival_outcome(time, event))


def trial(n, *, seed, allocation=0.5, log_ratio=-0.7, censored=True, digits=None):
    """Exponential times, hazard 0.8 exp(0.8 x + log_ratio * arm); uniform censoring on (0.3, 3)."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=n)
    treated = generator.random(n) < allocation
    time = generator.exponential(1 / (0.8 * np.exp(0.8 * x + log_ratio * treated)))
    last = generator.uniform(0.3, 3.0, n) if censored else np.full(n, np.inf)
    observed, event = np.minimum(time, last), time <= last
    if digits is not None:
        observed = np.maximum(np.round(observed, digits), 10.0**-digits)
    return pd.DataFrame({"x": x}), observed, event, treated


def true_difference(tau, log_ratio=-0.7):
    """The RMST difference by Gauss-Hermite integration over x: int (1 - exp(-h tau)) / h."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    mean = [
        float(weights @ (-np.expm1(-h * tau) / h)) / math.sqrt(2 * math.pi)
        for h in (0.8 * np.exp(0.8 * nodes), 0.8 * np.exp(0.8 * nodes + log_ratio))
    ]
    return mean[1] - mean[0]


@pytest.mark.parametrize("allocation", [0.5, 2 / 3])
def test_trap_46_without_censoring_scores_are_weights_by_the_known_allocation(allocation):
    """With m_0 = m_1 = tau the score is (A / p - (1 - A) / (1 - p)) (min(T, tau) - tau), by hand."""
    X, time, event, treated = trial(200, seed=1, allocation=allocation, censored=False)
    known = {"tau": 1.5, "allocation": allocation, "learner": nothing_learned}
    found = fit_nuisance(X, time, event, treated, **known).scores(X, time, event, treated)
    lost = np.minimum(time, 1.5) - 1.5
    np.testing.assert_allclose(found, np.where(treated, lost / allocation, -lost / (1 - allocation)), atol=1e-12)


def test_without_censoring_scores_are_the_augmented_weights():
    """The difference of m_1 and m_0 is 0 for one model of both arms; what is left is the weighted residual."""
    X, time, event, treated = trial(300, seed=2, censored=False)
    nuisance = fit_nuisance(X, time, event, treated, tau=1.5, allocation=0.5, learner=handed_down)
    expected = np.empty(len(X))
    for arm, who in ((False, ~treated), (True, treated)):
        grid = np.append(np.unique(time[treated == arm][time[treated == arm] < 1.5]), 1.5)
        left = np.concatenate(([0.0], grid[:-1]))
        rate = 0.1 * np.exp(X["x"].to_numpy() / 2)
        mean = (np.exp(-np.outer(rate, left)) * (grid - left)).sum(axis=1)
        expected[who] = 2 * (np.minimum(time, 1.5) - mean)[who] * (1 if arm else -1)
        if arm:
            effect = mean
        else:
            other = mean
    expected += effect - other
    np.testing.assert_allclose(nuisance.scores(X, time, event, treated), expected, atol=1e-10)


def loop_curve(time, event, at, *, left=False):
    """G by loops: at equal times the events leave the risk set before the censorings."""
    value = 1.0
    for u in sorted(set(time[~event])):
        if u < at or (u == at and not left):
            risk = sum((t > u) or (t == u and not e) for t, e in zip(time, event, strict=True))
            value *= 1 - sum((t == u) and not e for t, e in zip(time, event, strict=True)) / risk
    return value


def loop_survival(model, x, grid, u):
    """S(u | x), constant between the grid's times and 1 before the first."""
    inner = [t for t in grid if t <= u]
    return 1.0 if not inner else float(model.survival(pd.DataFrame({"x": [x]}), np.array([inner[-1]]))[0, 0])


def loop_area(model, x, grid, start, tau):
    """The integral of S from start to tau."""
    total, cuts = 0.0, [start, *[t for t in grid if start < t < tau], tau]
    for a, b in itertools.pairwise(cuts):
        total += loop_survival(model, x, grid, a) * (b - a)
    return total


def loop_score(train, one, tau, share):
    """The formula of the module's docstring, term by term."""
    _, time, event, treated = train
    x, observed, happened, arm = one
    mean = {}
    for a in (False, True):
        own = treated == a
        grid = [*sorted({t for t in time[own] if t < tau}), tau]
        mean[a] = loop_area(Exponential(), x, grid, 0.0, tau)
        if a != arm:
            continue
        t_a, e_a = time[own], event[own]
        ended, known = min(observed, tau), happened or observed >= tau

        def rest(u, grid=grid):
            return u + loop_area(Exponential(), x, grid, u, tau) / loop_survival(Exponential(), x, grid, u)

        curve = loop_curve(t_a, e_a, ended, left=known)
        value = (ended if known else rest(ended)) / curve
        for u in sorted({t for t in t_a[~e_a] if t < tau}):
            if u < ended or (u == ended and not known):
                risk = sum((t > u) or (t == u and not e) for t, e in zip(t_a, e_a, strict=True))
                gone = sum((t == u) and not e for t, e in zip(t_a, e_a, strict=True))
                value -= rest(u) / loop_curve(t_a, e_a, u) * gone / risk
    weight = 1 / share if arm else -1 / (1 - share)
    return mean[True] - mean[False] + weight * (value - mean[arm])


def test_trap_12_the_vectors_equal_a_loop_over_patients_with_ties():
    """Times on a grid of 0.2 tie events with events, censorings with events and both with tau = 1.4."""
    train = trial(60, seed=3, digits=1)
    train = (train[0], np.maximum(np.round(train[1] * 5) / 5, 0.2), *train[2:])
    new = trial(40, seed=4, digits=1)
    assert (train[1] == 1.4).any()
    nuisance = fit_nuisance(*train, tau=1.4, allocation=0.6, learner=handed_down)
    for patients in (train, new):
        X, time, event, treated = patients
        found = nuisance.scores(X, time, event, treated)
        by_loop = [loop_score(train, one, 1.4, 0.6) for one in zip(X["x"], time, event, treated, strict=True)]
        np.testing.assert_allclose(found, by_loop, rtol=1e-10, atol=1e-10)


def jittered(time, seed=0, size=1e-12):
    """The same times, each with a relative rounding error of its own."""
    return time * (1 + np.random.default_rng(seed).uniform(-size, size, len(time)))


def test_trap_7_rounding_errors_of_training_and_test_times_leave_the_scores_of_the_loop():
    """Oracle: the loop on the exact times. Events, censorings and tau = 1.4 are tied; every time then errs by 1e-12."""
    train, new = trial(60, seed=3), trial(40, seed=4)
    for times in (train[1], new[1]):
        times[:] = np.maximum(np.round(times * 5) / 5, 0.2)
    for times, event in ((train[1], train[2]), (new[1], new[2])):
        assert ((times == 1.4) & ~event).any()
    X, time, event, treated = new
    by_loop = [loop_score(train, one, 1.4, 0.6) for one in zip(X["x"], time, event, treated, strict=True)]
    known = (train[0], jittered(train[1], 1), *train[2:])
    found = fit_nuisance(*known, tau=1.4, allocation=0.6, learner=handed_down)
    np.testing.assert_allclose(found.scores(X, jittered(time, 2), event, treated), by_loop, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("learner", [ridge, nothing_learned])
def test_trap_7_cross_fitted_scores_do_not_move_with_rounding_errors_at_tau_and_at_ties(learner):
    """A third of an arm censored at tau itself, the rest in whole days; each time errs by a relative 1e-12."""
    X, time, event, treated = trial(400, seed=10)
    time = np.ceil(30 * time)
    at_tau = treated & (time > 45) & (np.arange(400) % 3 == 0)
    time, event = np.where(at_tau, 45.0, time), event & ~at_tau
    assert at_tau.sum() > 10
    known = {"tau": 45.0, "allocation": 0.5, "learner": learner, "folds": 5, "seed": 3}
    exact = crossfit_scores(X, time, event, treated, **known)
    below = np.where(at_tau, 45 * (1 - 1e-13), time)
    for moved in (below, jittered(time)):
        np.testing.assert_allclose(crossfit_scores(X, moved, event, treated, **known), exact, rtol=1e-8, atol=1e-8)


def test_trap_7_months_by_two_formulas_with_all_cut_at_tau_are_the_months_of_one():
    """Days to months by 30.4375 and by 12 / 365.25: the largest misses tau = 24 by a rounding error in one of them."""
    X, time, event, treated = trial(300, seed=11)
    days = np.ceil(400 * time)
    event, days = event & (days < 730.5), np.minimum(days, 730.5)
    one, other = days / 30.4375, days * (12 / 365.25)
    other[days == 730.5] = np.nextafter(24.0, 0.0)
    known = {"tau": 24.0, "allocation": 0.5, "learner": ridge, "folds": 5, "seed": 3}
    mixed = np.where(np.arange(300) % 2 == 0, one, other)
    wanted = crossfit_scores(X, one, event, treated, **known)
    for months in (other, mixed):
        np.testing.assert_allclose(crossfit_scores(X, months, event, treated, **known), wanted, rtol=1e-8, atol=1e-8)


def test_the_censoring_weights_and_their_compensator_add_up_to_one():
    """If all reach tau unless censored, Y* is tau times D / G + (1 - D) / G - sum, and must be tau for everybody."""
    generator = np.random.default_rng(5)
    time = np.round(generator.uniform(0.2, 4.0, 80), 1)
    event = time >= 2.0
    treated = np.arange(80) % 2 == 0
    X = pd.DataFrame({"x": np.zeros(80)})
    nuisance = fit_nuisance(X, time, event, treated, tau=2.0, allocation=0.5, learner=nothing_learned)
    assert (time < 2.0).any()
    np.testing.assert_allclose(nuisance.scores(X, time, event, treated), 0.0, atol=1e-10)


@pytest.mark.parametrize(("learner", "allocation"), [(ridge, 0.5), (ridge, 2 / 3), (nothing_learned, 0.5)])
def test_trap_8_with_censoring_the_mean_is_the_true_difference_even_if_the_outcome_model_is_wrong(learner, allocation):
    """One trial of 6,000: within 4 standard errors of the exact difference; nothing_learned shows double robustness."""
    X, time, event, treated = trial(6000, seed=6, allocation=allocation)
    scores = crossfit_scores(X, time, event, treated, tau=1.5, allocation=allocation, learner=learner, folds=5, seed=1)
    error = scores.std(ddof=1) / math.sqrt(len(scores))
    assert error < 0.025
    assert abs(scores.mean() - true_difference(1.5)) < 4 * error


def test_a_good_outcome_model_makes_the_scores_more_precise():
    X, time, event, treated = trial(3000, seed=7)
    spread = [
        crossfit_scores(X, time, event, treated, tau=1.5, allocation=0.5, learner=learner, folds=5, seed=1).std()
        for learner in (ridge, nothing_learned)
    ]
    assert spread[0] < 0.9 * spread[1]


def test_trap_27_a_patients_outcome_is_in_no_model_of_the_patients_own_fold():
    """Another time for one patient moves scores of other folds, and in the patient's fold the patient's alone."""
    X, time, event, treated = trial(200, seed=8)
    cells = np.char.add(treated.astype(str), event.astype(str))
    fold = fold_labels(cells, 5, 3)
    patient = int(np.flatnonzero(event & (time > 0.5) & (time < 1.4))[0])
    known = {"tau": 1.5, "allocation": 0.5, "learner": ridge, "folds": 5, "seed": 3}
    before = crossfit_scores(X, time, event, treated, **known)
    moved = time.copy()
    moved[patient] = 0.01
    changed = crossfit_scores(X, moved, event, treated, **known) != before
    own = fold == fold[patient]
    assert changed[patient]
    assert changed[own].sum() == 1
    assert changed[~own].mean() > 0.4


def test_trap_41_an_arm_that_is_not_followed_to_tau_is_refused():
    X, time, event, treated = trial(200, seed=9)
    time = np.where(treated, np.minimum(time, 1.0), time)
    with pytest.raises(AnalysisError, match=r"ends at 1, before tau = 1\.5"):
        fit_nuisance(X, time, event, treated, tau=1.5, allocation=0.5, learner=nothing_learned)


def test_scores_take_0_and_1_for_the_arm_and_refuse_what_is_no_trial():
    X, time, event, treated = trial(120, seed=5)
    known = {"tau": 1.2, "allocation": 0.5, "learner": nothing_learned, "folds": 4, "seed": 1}
    wanted = crossfit_scores(X, time, event, treated, **known)
    np.testing.assert_array_equal(crossfit_scores(X, time, event.astype(int), treated.astype(int), **known), wanted)
    for change, message in (
        ({"time": np.where(np.arange(120) == 3, np.nan, time)}, "time is missing or infinite in 1 of 120 rows"),
        ({"treated": treated[:-1]}, "treated has shape"),
        ({"X": X.head(7)}, "X has 7 rows for 120 patients"),
        ({"allocation": 1.0}, "allocation is 1"),
    ):
        asked = {"X": X, "time": time, "event": event, "treated": treated} | known | change
        with pytest.raises(DataError, match=message):
            crossfit_scores(**asked)
    with pytest.raises(AnalysisError, match="all 120 patients are in the control arm"):
        crossfit_scores(X, time, event, np.zeros(120, bool), **known)

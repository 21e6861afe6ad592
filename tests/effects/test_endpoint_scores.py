"""Doubly robust scores of binary and continuous outcomes: loops, closed forms, an R figure and the truth of simulations."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.data.folds import fold_labels, splits
from trialml.effects.arm_scores import repeated_scores
from trialml.effects.endpoint_scores import crossfit_outcome_scores, fit_outcome_nuisance
from trialml.errors import AnalysisError, DataError
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import binary_outcome

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
GRF = json.loads((REFERENCE / "resp_causal_forest.json").read_text())["outputs"]
HALF = json.loads((REFERENCE / "resp_causal_forest_aipw_scores.json").read_text())["outputs"]


def line(X, outcome, weights):
    return LinearRidge().fit(X, outcome).predict


def logistic(X, outcome, weights):
    return LogisticRidge().fit(X, binary_outcome(outcome == 1, weights)).risk


def nothing_learned(X, outcome, weights):
    return lambda others: np.zeros(len(others))


def average(X, outcome, weights):
    mean = float(np.average(outcome, weights=weights))
    return lambda others: np.full(len(others), mean)


def trial(n, *, seed, allocation=0.5, binary=False, effect=0.6):
    """Outcome 1 + x + arm (effect + x / 2) + noise, or its sign's probability by a logistic curve."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=n)
    treated = generator.random(n) < allocation
    linear = x + treated * (effect + 0.5 * x)
    if binary:
        return pd.DataFrame({"x": x}), generator.random(n) < 1 / (1 + np.exp(-linear)), treated
    return pd.DataFrame({"x": x}), 1 + linear + generator.normal(size=n), treated


def loop_scores(X, outcome, treated, *, allocation, folds, seed, cells):
    """The formula patient by patient, the outcome model being the arm's mean of the other folds."""
    found = np.empty(len(X))
    for train, test in splits(fold_labels(cells, folds, seed)):
        mean = [np.mean([outcome[i] for i in train if treated[i] == arm]) for arm in (0, 1)]
        for i in test:
            found[i] = mean[1] - mean[0]
            if treated[i]:
                found[i] += (outcome[i] - mean[1]) / allocation
            else:
                found[i] -= (outcome[i] - mean[0]) / (1 - allocation)
    return found


@pytest.mark.parametrize("binary", [False, True])
def test_trap_46_scores_equal_a_loop_with_the_known_allocation(binary):
    X, outcome, treated = trial(90, seed=1, allocation=2 / 3, binary=binary)
    asked = {"allocation": 2 / 3, "folds": 4, "seed": 5}
    cells = np.array([f"{int(a)}" + (("/yes" if y else "/no") if binary else "") for a, y in zip(treated, outcome, strict=True)])  # fmt: skip
    wanted = loop_scores(X, outcome, treated, **asked, cells=cells)
    found = crossfit_outcome_scores(X, outcome, treated, **asked, learner=average, binary=binary)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    worse = crossfit_outcome_scores(
        X, outcome, treated, **asked, learner=average, binary=binary, higher_is_better=False
    )
    np.testing.assert_array_equal(worse, -found)


def test_average_effects_agree_with_those_of_grf_on_the_same_data():
    """Oracle: grf 2.6.1 causal_forest, average_treatment_effect: .5845 (.0479), x7 = 1 .8368, x7 = 0 .4280; two errors.

    Both estimate one number from the same 2,000 patients; the outcome models differ.
    """
    data = pd.read_csv(REFERENCE / "data" / "rct_sim.csv")
    X, treated = data[[f"x{k}" for k in range(1, 9)]], data["w"].to_numpy() == 1
    scores = repeated_scores(
        lambda seed: crossfit_outcome_scores(X, data["y"], treated, allocation=0.5, learner=line, folds=5, seed=seed),
        repeats=3,
        seed=1,
    ).mean(axis=0)
    error = scores.std(ddof=1) / math.sqrt(len(scores))
    assert abs(scores.mean() - GRF["ate"]["estimate"]) < 2 * GRF["ate"]["std.err"]
    assert error == pytest.approx(GRF["ate"]["std.err"], rel=0.1)
    for value in (0, 1):
        found, inside = GRF[f"ate_x7_{value}"], data["x7"] == value
        assert abs(scores[inside].mean() - found["estimate"]) < 2 * found["std.err"]


def test_the_average_over_the_second_half_agrees_with_that_of_grfs_own_scores():
    """Oracle: the mean of the 1,000 scores that grf made of rows 1,001 to 2,000, .5997 (.0694); two errors."""
    data = pd.read_csv(REFERENCE / "data" / "rct_sim.csv").iloc[1000:]
    X, treated = data[[f"x{k}" for k in range(1, 9)]], data["w"].to_numpy() == 1
    scores = crossfit_outcome_scores(X, data["y"], treated, allocation=0.5, learner=line, folds=5, seed=1)
    assert abs(scores.mean() - HALF["ate"]) < 2 * HALF["se"]
    assert scores.std(ddof=1) / math.sqrt(HALF["n"]) == pytest.approx(HALF["se"], rel=0.1)


@pytest.mark.parametrize(("learner", "allocation"), [(line, 0.5), (line, 2 / 3), (nothing_learned, 2 / 3)])
def test_the_mean_is_the_true_difference_even_if_the_outcome_model_is_wrong(learner, allocation):
    """One trial of 6,000: within 4 standard errors of .6, the mean of .6 + x / 2."""
    X, outcome, treated = trial(6000, seed=3, allocation=allocation)
    scores = crossfit_outcome_scores(X, outcome, treated, allocation=allocation, learner=learner, folds=5, seed=1)
    error = scores.std(ddof=1) / math.sqrt(len(scores))
    assert error < 0.07
    assert abs(scores.mean() - 0.6) < 4 * error


def test_the_mean_is_the_true_risk_difference():
    """Truth by Gauss-Hermite integration over x; one trial of 6,000, within 4 standard errors."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    risk = [float(weights @ (1 / (1 + np.exp(-v)))) / math.sqrt(2 * math.pi) for v in (nodes, 0.6 + 1.5 * nodes)]
    X, outcome, treated = trial(6000, seed=4, binary=True)
    scores = crossfit_outcome_scores(
        X, outcome, treated, allocation=0.5, learner=logistic, folds=5, seed=1, binary=True
    )
    error = scores.std(ddof=1) / math.sqrt(len(scores))
    assert abs(scores.mean() - (risk[1] - risk[0])) < 4 * error


def test_weights_undo_a_missingness_that_depends_on_covariates_and_arm():
    """Known with a probability of the logistic curve of x - arm; the unknown outcomes are NaN. Within 4 standard errors of .6."""
    X, outcome, treated = trial(6000, seed=5)
    chance = 1 / (1 + np.exp(-(1 + X["x"].to_numpy() - treated)))
    known = np.random.default_rng(6).random(6000) < chance
    asked = {"allocation": 0.5, "learner": nothing_learned, "folds": 5, "seed": 1}
    seen = np.where(known, outcome, np.nan)
    scores = crossfit_outcome_scores(X, seen, treated, **asked, weights=np.where(known, 1 / chance, 0.0))
    error = scores.std(ddof=1) / math.sqrt(len(scores))
    assert abs(scores.mean() - 0.6) < 4 * error
    assert (scores[~known] == 0).all()
    naive = outcome[known & treated].mean() - outcome[known & ~treated].mean()
    assert abs(naive - 0.6) > 4 * error


def test_trap_27_a_patients_outcome_is_in_no_model_of_the_patients_own_fold():
    X, outcome, treated = trial(150, seed=7)
    fold = fold_labels(treated.astype(int).astype(str), 5, 3)
    asked = {"allocation": 0.5, "learner": line, "folds": 5, "seed": 3}
    before = crossfit_outcome_scores(X, outcome, treated, **asked)
    moved = outcome.copy()
    moved[17] += 5
    changed = crossfit_outcome_scores(X, moved, treated, **asked) != before
    own = fold == fold[17]
    assert changed[17]
    assert changed[own].sum() == 1
    assert changed[~own].mean() > 0.9


def test_three_arms_against_a_common_control_give_the_scores_of_a_loop():
    """Column k: mean of arm k less mean of control over the other folds, each own residual over the arm's probability."""
    generator = np.random.default_rng(8)
    n, shares = 150, (0.5, 0.3, 0.2)
    arm = generator.choice(3, n, p=shares)
    X = pd.DataFrame({"x": generator.normal(size=n)})
    outcome = X["x"].to_numpy() + np.array([0.0, 0.5, 1.0])[arm] + generator.normal(size=n)
    found = crossfit_outcome_scores(X, outcome, arm, allocation=shares, learner=average, folds=5, seed=2)
    assert found.shape == (n, 2)
    for train, test in splits(fold_labels(arm.astype(str), 5, 2)):
        mean = [outcome[train][arm[train] == a].mean() for a in range(3)]
        for i in test:
            value = [mean[a] + (outcome[i] - mean[a]) / shares[a] * (arm[i] == a) for a in range(3)]
            np.testing.assert_allclose(found[i], [value[1] - value[0], value[2] - value[0]], rtol=1e-12)
    two = arm != 2
    pair = crossfit_outcome_scores(X[two], outcome[two], arm[two] == 1, allocation=3 / 8, learner=average, folds=5, seed=2)  # fmt: skip
    listed = crossfit_outcome_scores(X[two], outcome[two], arm[two], allocation=(5 / 8, 3 / 8), learner=average, folds=5, seed=2)  # fmt: skip
    np.testing.assert_allclose(pair, listed, rtol=1e-12)


def test_a_nuisance_scores_patients_it_was_not_learned_from():
    X, outcome, treated = trial(200, seed=9)
    nuisance = fit_outcome_nuisance(X[:100], outcome[:100], treated[:100], allocation=0.5, learner=line)
    mean = [LinearRidge().fit(X[:100][treated[:100] == a], outcome[:100][treated[:100] == a]).predict(X) for a in (0, 1)]  # fmt: skip
    wanted = mean[1] - mean[0] + np.where(treated, 2 * (outcome - mean[1]), -2 * (outcome - mean[0]))
    np.testing.assert_allclose(nuisance.scores(X, outcome, treated), wanted, rtol=1e-12)


def test_repeated_scores_are_those_of_each_split_and_the_first_do_not_depend_on_their_number():
    X, outcome, treated = trial(80, seed=10)
    seen = []

    def one(seed):
        seen.append(seed)
        return crossfit_outcome_scores(X, outcome, treated, allocation=0.5, learner=average, folds=4, seed=seed)

    several = repeated_scores(one, repeats=4, seed=3)
    assert several.shape == (4, 80)
    assert len(set(seen)) == 4
    np.testing.assert_array_equal(several[:2], repeated_scores(one, repeats=2, seed=3))
    np.testing.assert_array_equal(several[3], one(seen[3]))
    with pytest.raises(DataError, match="repeats is 0"):
        repeated_scores(one, repeats=0, seed=3)


def test_an_arm_whose_outcomes_are_all_the_same_needs_no_model():
    X, outcome, treated = trial(80, seed=11, binary=True)
    outcome = outcome & treated
    found = crossfit_outcome_scores(X, outcome, treated, allocation=0.5, learner=logistic, folds=4, seed=1, binary=True)
    assert np.isfinite(found).all()


def test_bad_input_is_refused_in_words():
    X, outcome, treated = trial(120, seed=12)
    known = {"allocation": 0.5, "learner": average, "folds": 4, "seed": 1}
    given = {"X": X, "outcome": outcome, "treated": treated} | known
    gone = np.where(np.arange(120) == 3, np.nan, outcome)
    for change, message in (
        ({"outcome": gone}, "outcome is missing or infinite in 1 of 120 rows: impute it"),
        ({"outcome": gone, "weights": np.ones(120)}, "outcome is missing or infinite in 1 of 120 rows"),
        ({"weights": np.full(120, -1.0)}, "weights must hold one finite number of 0 or more"),
        ({"outcome": outcome.astype(str).astype(object) + "a"}, "not numbers"),
        ({"binary": True}, "a binary outcome holds the value"),
        ({"treated": treated[:-1]}, "treated has shape"),
        ({"X": X.head(7)}, "X has 7 rows for 120 patients"),
        ({"allocation": 0.0}, "allocation is 0"),
        ({"allocation": (0.5, 0.6)}, r"allocation is \[0.5, 0.6\]"),
        ({"allocation": (0.4, 0.3, 0.3), "treated": treated * 3}, "no arm's number: pass 0 for control and 1 to 2"),
        ({"X": X.assign(drug=np.where(treated, "new", "old"))}, "The covariate 'drug' is the treatment"),
        ({"X": X.assign(off=1 - treated)}, "The covariate 'off' is the treatment"),
        ({"X": X.assign(dose=np.where(np.arange(120) % 3 == 0, np.nan, 5.0 * treated))}, "'dose' is the treatment"),
    ):
        with pytest.raises(DataError, match=message):
            crossfit_outcome_scores(**(given | change))


def test_an_arm_of_twelve_and_an_allocation_that_the_data_contradict_are_refused():
    X, outcome, _ = trial(120, seed=13)
    known = {"learner": average, "folds": 4, "seed": 1}
    few = np.arange(120) < 12
    with pytest.raises(AnalysisError, match="The experimental arm has 12 patients; the outcome models"):
        crossfit_outcome_scores(X, outcome, few, allocation=0.1, **known)
    many = np.arange(120) < 90
    with pytest.raises(AnalysisError, match=r"allocation is 0\.5 for the experimental arm, but 90 of the 120 patients"):
        crossfit_outcome_scores(X, outcome, many, allocation=0.5, **known)
    crossfit_outcome_scores(X, outcome, many, allocation=0.7, **known)
    three = np.repeat([0, 1, 2], 40)
    with pytest.raises(AnalysisError, match=r"for experimental arm 2, but 40 of the 120 patients"):
        crossfit_outcome_scores(X, outcome, three, allocation=(0.45, 0.45, 0.1), **known)
    with pytest.raises(AnalysisError, match="Experimental arm 1 has no patients"):
        crossfit_outcome_scores(X, outcome, three // 2 * 2, allocation=(0.6, 0.1, 0.3), **known)

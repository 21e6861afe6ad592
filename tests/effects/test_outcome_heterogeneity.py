"""The global test of heterogeneity of binary and continuous outcomes: loops, doubly robust scores, size and power."""

import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from trialml.effects.arm_scores import Arms, augmented_contrasts
from trialml.effects.outcome_heterogeneity import (
    OutcomeHeterogeneity,
    _blind,
    _Outcome,
    _residuals,
    outcome_heterogeneity_test,
)
from trialml.effects.permutation import permuted_arms, studentised_sums
from trialml.errors import AnalysisError, DataError

NAMES = ["z1", "z2", "z3", "z4", "z5"]


def trial(n, generator, *, allocation=0.5, effect=0.0, modifier=0.0, noise=(1.0, 1.0), prognosis=0.5):
    """Mean prognosis z1 + arm (effect + modifier z2), the noise of each arm its own; two cells."""
    z = generator.normal(size=(n, 5))
    cells = generator.choice(["a", "b"], n)
    treated = generator.random(n) < allocation
    mean = prognosis * z[:, 0] + treated * (effect + modifier * z[:, 1]) + 0.4 * (cells == "b")
    return mean + generator.normal(size=n) * np.where(treated, noise[1], noise[0]), treated, z, cells


def binary_trial(n, generator, *, effect=0.0, allocation=0.5):
    """Risks .1 to .5 of control by z1, the same risk difference for everybody."""
    z = generator.normal(size=(n, 5))
    cells = generator.choice(["a", "b"], n)
    treated = generator.random(n) < allocation
    return generator.random(n) < 0.1 + 0.4 / (1 + np.exp(-2 * z[:, 0])) + effect * treated, treated, z, cells


def asked(data, **options):
    outcome, treated, z, cells = data
    return outcome_heterogeneity_test(outcome, treated, z, NAMES, cells=cells, **options)


def test_statistics_equal_a_loop_over_patients():
    """The module's formula term by term, with two cells, two to one, an expected outcome and weights."""
    generator = np.random.default_rng(1)
    outcome, treated, z, cells = trial(60, generator, allocation=2 / 3)
    expected, weights = 0.4 * z[:, 0], generator.uniform(0.5, 2, 60)
    found = asked((outcome, treated, z, cells), expected=expected, weights=weights, permutations=9)
    share = [treated[cells == c].mean() for c in cells]
    left = [outcome[i] - expected[i] for i in range(60)]
    for c in "ab":
        own = [i for i in range(60) if cells[i] == c]
        mean = sum(weights[i] * left[i] for i in own) / sum(weights[i] for i in own)
        for i in own:
            left[i] -= mean
    a = [float(treated[i]) - share[i] for i in range(60)]
    d = sum(weights[i] * a[i] * left[i] for i in range(60)) / sum(weights[i] * a[i] ** 2 for i in range(60))
    r = [weights[i] * a[i] * (left[i] - d * a[i]) for i in range(60)]
    informative = [weights[i] * share[i] * (1 - share[i]) for i in range(60)]
    for k, name in enumerate(NAMES):
        mean = sum(w * z[i, k] for i, w in enumerate(informative)) / sum(informative)
        top = sum(r[i] * (z[i, k] - mean) for i in range(60))
        bottom = math.sqrt(sum((r[i] * (z[i, k] - mean)) ** 2 for i in range(60)))
        assert found.frame().set_index("covariate")["z"][name] == pytest.approx(top / bottom, rel=1e-9)
    assert found.information == pytest.approx(sum(informative) ** 2 / sum(x * x for x in r), rel=1e-9)


def test_residuals_are_doubly_robust_scores_less_the_effect():
    """With outcome models m + (1 - p) d and m - p d, scores less d times p (1 - p) are the residuals (one cell)."""
    outcome, treated, z, _ = trial(80, np.random.default_rng(2), allocation=0.6, effect=0.7)
    p, m = treated.mean(), 0.5 * z[:, 0]
    fixed = _Outcome(*_blind(outcome, m, treated, np.zeros(80, np.intp), 1, np.ones(80)))
    found = _residuals(fixed, treated[None, :].astype(float))[0]
    a, e = treated - p, outcome - m - (outcome - m).mean()
    d = (a @ e) / (a @ a)
    level = m + (outcome - m).mean()
    arms = Arms(treated.astype(np.intp), np.array([1 - p, p]))
    scores = augmented_contrasts(arms, np.column_stack([level - p * d, level + (1 - p) * d]), outcome)
    np.testing.assert_allclose(found, (scores - d) * p * (1 - p), rtol=1e-9, atol=1e-12)
    assert scores.mean() == pytest.approx(d)


def test_p_counts_the_permutations_at_least_as_large_within_the_cells():
    data = trial(100, np.random.default_rng(3))
    outcome, treated, z, cells = data
    found = asked(data, permutations=99, seed=7)
    codes = (cells == "b").astype(np.intp)
    fixed = _Outcome(*_blind(outcome, np.zeros(100), treated, codes, 2, np.ones(100)))
    arms = permuted_arms(treated, cells, 99, np.random.default_rng(7))
    spread = fixed.share * (1 - fixed.share)
    every = np.abs(studentised_sums(np.stack([_residuals(fixed, one[None, :])[0] for one in arms.T]), z, spread))
    largest = every[:, 1:].max(axis=0)
    assert found.p == pytest.approx((1 + (largest >= every[:, 0].max()).sum()) / 100)
    assert found.limit == pytest.approx(np.quantile(largest, 0.95))


def rejections(make, replications, seed, **options):
    generator = np.random.default_rng(seed)
    return sum(
        asked(make(generator), permutations=199, seed=int(generator.integers(2**31)), **options).p <= 0.05
        for _ in range(replications)
    )


@pytest.mark.parametrize("binary", [False, True])
def test_with_no_effect_in_anyone_the_test_rejects_one_time_in_twenty(binary):
    """Exact here: 300 trials of 120 patients within the central 99.8 % of Binomial(300, 0.05)."""
    low, high = binom.ppf([0.001, 0.999], 300, 0.05)
    make = (lambda g: binary_trial(120, g)) if binary else (lambda g: trial(120, g))
    assert low <= rejections(make, 300, 4, binary=binary) <= high


@pytest.mark.parametrize(
    ("make", "binary"),
    [
        (lambda g: trial(200, g, effect=1.0), False),
        (lambda g: trial(200, g, effect=1.0, allocation=2 / 3, noise=(1.0, 2.0)), False),
        (lambda g: binary_trial(200, g, effect=0.3), True),
        (lambda g: binary_trial(200, g, effect=0.3, allocation=2 / 3), True),
    ],
)
def test_trap_43_under_a_constant_effect_the_size_stays_near_five_percent(make, binary):
    """Permutation is approximate here: 300 trials of 200, at most the 99.9th percentile of Binomial(300, 0.07)."""
    assert rejections(make, 300, 5, binary=binary) <= binom.ppf(0.999, 300, 0.07)


def test_a_planted_modifier_is_found_and_named_with_the_side_of_the_benefit():
    outcome, treated, z, cells = trial(500, np.random.default_rng(6), effect=0.3, modifier=0.6)
    found = asked((outcome, treated, z, cells), permutations=499, unit="mmol/l")
    assert found.p < 0.01
    assert found.frame()["covariate"].iloc[0] == "z2"
    assert found.frame()["z"].iloc[0] > 0
    assert "on the mean-difference scale: p 0.002" in found.text().replace("p = ", "p ")
    assert "found evidence that the mean difference is not the same for everybody" in found.text()
    assert "mmol/l would have been found with about 80 % probability" in found.text()
    assert "event" not in found.text()
    assert "hazard" not in found.text() + found.methods
    assert found._sides() == ("less benefit", "more benefit")
    worse = asked((outcome, treated, z, cells), permutations=99, higher_is_better=False)
    assert worse._sides() == ("more benefit", "less benefit")


def test_what_is_expected_given_covariates_sharpens_the_test():
    """A prognosis of 3 in z1 buries a modifier of .4 in z2 unless it is taken out: the larger statistic of 1 trial of 600."""
    data = trial(600, np.random.default_rng(7), modifier=0.4, prognosis=3.0)
    plain, adjusted = (asked(data, permutations=99, expected=mean) for mean in (None, 3 * data[2][:, 0]))
    z = [one.frame().set_index("covariate")["z"]["z2"] for one in (plain, adjusted)]
    assert z[1] > z[0] + 1
    assert adjusted.detectable_change < 0.5 * plain.detectable_change


def test_trap_49_the_detectable_change_is_detected_in_about_four_trials_of_five():
    """150 trials of 300 against the null's own limit: 0.8 within 4 binomial errors of .033."""
    generator = np.random.default_rng(8)
    null = asked(trial(300, generator), permutations=499, expected=None)
    size = null.detectable_change
    assert size == pytest.approx((null.limit + 0.8416212) / math.sqrt(null.information))
    found = []
    for _ in range(150):
        data = trial(300, generator, modifier=size)
        found.append(asked(data, permutations=1).frame().set_index("covariate")["z"]["z2"])
    assert abs(np.mean(np.abs(found) > null.limit) - 0.8) < 0.13


def test_trap_38_a_binary_outcome_names_its_scale_and_says_what_is_heterogeneity_on_it():
    found = asked(binary_trial(150, np.random.default_rng(9)), permutations=99, binary=True)
    assert "risk-difference scale" in found.text()
    assert "percentage points would have been found" in found.text()
    assert "An odds ratio or a risk ratio that is the same for everybody is heterogeneity on this scale" in found.text()
    assert f"150 patients, {found.events} events" in found.text()
    assert "fewer than 500 patients" in found.text()
    assert math.isnan(found.detectable_ratio)


def test_an_outcome_that_is_not_known_has_weight_0_and_moves_nothing():
    outcome, treated, z, cells = trial(100, np.random.default_rng(10))
    weights = np.where(np.arange(100) % 10 == 0, 0.0, 1.1)
    gone = np.where(weights > 0, outcome, np.nan)
    one = asked((gone, treated, z, cells), weights=weights, permutations=99)
    other = asked((np.where(weights > 0, outcome, 1e6), treated, z, cells), weights=weights, permutations=99)
    assert one.to_dict() == other.to_dict()
    assert 0 < one.p <= 1


def test_a_small_arm_is_said_and_bad_input_is_refused_in_words():
    outcome, treated, z, cells = trial(120, np.random.default_rng(11))
    few = np.arange(120) < 12
    assert (
        "One arm has 12 patients, from which next to nothing" in asked((outcome, few, z, cells), permutations=9).text()
    )
    for change, message in (
        (
            {"outcome": np.where(np.arange(120) == 3, np.nan, outcome)},
            "outcome is missing or infinite in 1 of 120 rows",
        ),
        ({"binary": True}, "a binary outcome holds the value"),
        (
            {"covariates": np.column_stack([z[:, 1:], 2.0 - treated])},
            "'z5' is the treatment: it has one value in each arm",
        ),
        ({"covariates": z[:50]}, "pass one row a patient"),
        ({"expected": np.zeros(3)}, "expected must hold one finite number for each of the 120"),
        ({"weights": -np.ones(120)}, "weights must hold one finite number of 0 or more"),
        ({"cells": cells[:-1]}, "cells has shape"),
        ({"permutations": 0}, "permutations is 0"),
    ):
        given = {
            "outcome": outcome,
            "treated": treated,
            "covariates": z,
            "names": NAMES,
            "cells": cells,
            "permutations": 9,
        }
        with pytest.raises(DataError, match=message):
            outcome_heterogeneity_test(**(given | change))
    for data, message in (
        ((outcome, cells == "a", z, cells), "No stratification cell has patients of both arms"),
        ((np.ones(120), treated, z, cells), "does not vary"),
        ((outcome, treated, z[:, :0], cells), "no covariate"),
    ):
        with pytest.raises(AnalysisError, match=message):
            outcome_heterogeneity_test(
                data[0], data[1], data[2], NAMES[: data[2].shape[1]], cells=data[3], permutations=9
            )


def test_the_result_survives_a_round_trip():
    found = asked(trial(80, np.random.default_rng(12)), permutations=19, unit="points")
    again = OutcomeHeterogeneity.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.text() == found.text()

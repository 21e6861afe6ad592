"""Expected benefit on patients not seen: standard errors by hand, ranks and cut-points, poisoned outcomes."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.effects.scores import crossfit_scores, fit_nuisance
from trialml.errors import DataError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_scores import RidgeScores
from trialml.strata.effects import stratum_members
from trialml.strata.strata import quantile_strata
from trialml.validation.benefit import (
    BenefitCalibration,
    HeldOutBenefit,
    _rank,
    benefit_calibration,
    crossvalidate_response,
    group_mean,
)


def held(score, benefit, rank=None):
    score, benefit = np.atleast_2d(score), np.atleast_2d(benefit)
    return HeldOutBenefit(score, benefit, benefit, np.zeros(score.shape) if rank is None else np.atleast_2d(rank))


SCALE = {"shrinkage": 0.3, "shrinkage_mc_error": 0.02, "unit": "days", "tau": 365.0}


def test_the_error_of_a_group_of_one_repeat_is_that_of_a_mean():
    generator = np.random.default_rng(1)
    score, inside = generator.normal(10, 30, (1, 90)), generator.random((1, 90)) < 0.4
    value, se = group_mean(score, inside)
    own = score[inside]
    k = len(own)
    assert value == pytest.approx(own.mean(), rel=1e-12)
    # The share is random too, so n (n - 1) / k^2 stands for 1 / k (1 - 1 / k).
    assert se == pytest.approx(math.sqrt(((own - own.mean()) ** 2).sum() * 90 / 89) / k, rel=1e-12)
    assert se == pytest.approx(own.std(ddof=1) / math.sqrt(k), rel=0.02)


def test_repeats_of_the_same_split_have_the_error_of_one():
    generator = np.random.default_rng(2)
    score, inside = generator.normal(10, 30, (1, 90)), generator.random((1, 90)) < 0.4
    one, six = group_mean(score, inside), group_mean(np.tile(score, (6, 1)), np.tile(inside, (6, 1)))
    np.testing.assert_allclose(one, six, rtol=1e-12)


def test_a_group_that_a_repeat_left_empty_has_no_number():
    inside = np.ones((2, 10), dtype=bool)
    inside[1] = False
    assert np.isnan(group_mean(np.ones((2, 10)), inside)).all()


def test_the_slope_of_one_repeat_is_least_squares_with_a_robust_error():
    """np.polyfit, and the heteroscedasticity-robust error by hand."""
    generator = np.random.default_rng(3)
    benefit = generator.normal(size=200)
    score = 5 + 0.6 * benefit + generator.normal(size=200)
    found = benefit_calibration(held(score, benefit), **SCALE).slope
    slope, intercept = np.polyfit(benefit, score, 1)
    left, centred = score - intercept - slope * benefit, benefit - benefit.mean()
    influence = centred * left / np.mean(centred**2)
    assert found.value == pytest.approx(slope, rel=1e-9)
    assert found.se == pytest.approx(influence.std(ddof=1) / math.sqrt(200), rel=1e-9)


def folded(seed, repeats=3, n=120):
    """Scores and predictors on levels that differ by fold, the expected benefit a share of the benefit score by fold."""
    generator = np.random.default_rng(seed)
    fold = np.array([generator.permutation(np.arange(n) % 4) for _ in range(repeats)])
    benefit = generator.normal(size=(repeats, n)) + 5 * fold
    score = 3 + 0.6 * benefit + generator.normal(scale=4, size=(repeats, n)) - 20 * fold
    kept = np.array([0.1, 0.9, 0.5, 0.3])[fold]
    return HeldOutBenefit(score, benefit, 10 + kept * (benefit - 5 * fold) - 7 * fold, np.zeros((repeats, n)), fold)


def least_squares(x, score, fold):
    """The slope beside one intercept a fold and repeat, all repeats stacked, and its rank of residuals."""
    dummies = (np.arange(len(x))[:, None, None] == np.arange(len(x))[:, None]).astype(float).repeat(x.shape[1], axis=1)
    columns = [dummies[r].ravel() * (fold == label).ravel() for r in range(len(x)) for label in np.unique(fold)]
    design = np.column_stack([x.ravel(), *columns])
    fitted = np.linalg.lstsq(design, score.ravel(), rcond=None)[0]
    return fitted[0], (score.ravel() - design @ fitted).reshape(x.shape)


@pytest.mark.parametrize("which", ["benefit_score", "expected"])
def test_both_slopes_are_least_squares_with_an_intercept_for_each_fold_and_repeat(which):
    """Oracle: numpy's lstsq on the stacked repeats; the error is the root mean square of the repeats' robust errors."""
    one = folded(21)
    found = benefit_calibration(one, **SCALE)
    x = getattr(one, which)
    slope, left = least_squares(x, one.score, one.fold)
    along = x.copy()
    for repeat in range(3):
        for label in range(4):
            own = one.fold[repeat] == label
            along[repeat, own] -= x[repeat, own].mean()
    errors = ((along * left) ** 2).sum(axis=1) / (120 * 119) / np.mean(along**2) ** 2
    estimate = found.slope if which == "benefit_score" else found.expected_slope
    assert estimate.value == pytest.approx(slope, rel=1e-9)
    assert estimate.se == pytest.approx(math.sqrt(errors.mean()), rel=1e-9)
    assert estimate.high - estimate.value == pytest.approx(1.959964 * estimate.se, rel=1e-6)


def test_trap_45_levels_that_differ_between_folds_move_neither_slope():
    """A fold with better patients has training folds with worse ones: levels of folds would bend a pooled line."""
    one = folded(22)
    shifted = one._replace(benefit_score=one.benefit_score - 50 * one.fold, expected=one.expected + 30 * one.fold)
    found, other = benefit_calibration(one, **SCALE), benefit_calibration(shifted, **SCALE)
    for name, value in found.scalars().items():
        assert other.scalars()[name] == pytest.approx(value, rel=1e-9), name
    without = benefit_calibration(shifted._replace(fold=None), **SCALE)
    assert abs(without.expected_slope.value - found.expected_slope.value) > 0.3


def test_a_repeat_whose_models_are_all_but_flat_does_not_decide_the_slope():
    """Its own slope is a ratio of two numbers near 0, here about -1e5; the ratio of sums hardly sees it."""
    generator = np.random.default_rng(23)
    benefit = generator.normal(size=(5, 150))
    score = 0.5 * benefit + generator.normal(size=(5, 150))
    benefit[0] *= 1e-6
    benefit[0] -= 1e-5 * (score[0] - score[0].mean())
    found = benefit_calibration(held(score, benefit), **SCALE).slope
    own = [np.polyfit(x, y, 1)[0] for x, y in zip(benefit, score, strict=True)]
    assert np.mean(own) < -1000
    assert 0.3 < found.value < 0.7
    assert found.se < 0.2


def test_pure_noise_is_rarely_taken_for_a_difference_between_patients():
    """20 trials of 120, 2 repeats of 3 folds: an interval above 0 in at most two (2.5 % each expected)."""

    def slopes(seed):
        draw = np.random.default_rng(seed)
        X = pd.DataFrame(draw.normal(size=(120, 5)), columns=list("abcde"))
        noise = draw.normal(50, 100, 120)

        def fit(rows):
            return RidgeScores(repeats=3, seed=seed).fit(X.iloc[rows], noise[rows]), lambda new: noise[new]

        found = crossvalidate_response(fit, X, cells=np.full(120, "all"), folds=3, repeats=2, seed=seed)
        return benefit_calibration(found, **SCALE)

    results = [slopes(seed) for seed in range(20)]
    for name in ("slope", "expected_slope"):
        lows = [getattr(one, name).low for one in results]
        assert sum(low > 0 for low in lows) <= 2


def test_both_slopes_and_what_is_regressed_on_what_are_said():
    found = benefit_calibration(folded(24), **SCALE)
    said = found.text()
    assert found.slope.text() in said
    assert found.expected_slope.text() in said
    assert said.index("on the benefit score, before shrinkage") < said.index("on the expected benefit, after it")
    assert "keeps 30 % of the spread" in said
    assert "Monte Carlo error of its splits 2.0 percentage points" in said
    assert found.scalars()["benefit_shrinkage_mc_error"] == 0.02
    assert found.scalars()["expected_benefit_slope_crossfit"] == found.expected_slope.value


def test_what_is_the_same_for_everybody_has_no_slope_and_the_result_survives_a_round_trip():
    """0 with an error of 0 would claim that the slope is known."""
    score, one = np.arange(40.0), np.atleast_2d(np.sin(np.arange(40.0)))
    flat = benefit_calibration(held(score, np.zeros(40)), **SCALE)
    shrunk = benefit_calibration(held(score, one)._replace(expected=np.zeros((1, 40))), **SCALE)
    for found, words in ((flat, "the same benefit score, so there is no slope"), (shrunk, "no slope on the expected")):
        assert math.isnan(found.expected_slope.value)
        assert words in found.text()
        again = BenefitCalibration.from_dict(json.loads(json.dumps(found.to_dict())))
        assert again.to_dict() == found.to_dict()
    assert math.isnan(flat.slope.value)
    assert not math.isnan(shrunk.slope.value)


@pytest.mark.parametrize(("part", "words"), [("score", "scores"), ("expected", "expected benefits")])
def test_an_unknown_number_is_refused_and_not_taken_for_a_flat_model(part, words):
    found = folded(3)
    unknown = getattr(found, part).copy()
    unknown[0, 1] = np.nan
    with pytest.raises(DataError, match=f"{words} are missing or infinite in 1 place"):
        benefit_calibration(
            found._replace(**{part: unknown}), shrinkage=0.5, shrinkage_mc_error=0.1, unit="d", scale="mean"
        )


def test_the_folds_kept_are_those_that_the_models_were_learned_without():
    X = pd.DataFrame({"x": np.arange(30.0)})
    learned = []

    def fit(rows):
        learned.append(set(rows))
        return RidgeScores(repeats=1).fit(X.iloc[rows], np.cos(rows)), lambda new: np.zeros(len(new))

    found = crossvalidate_response(fit, X, cells=np.full(30, "all"), folds=3, repeats=2, seed=4)
    for number, rows in enumerate(learned):
        repeat, label = divmod(number, 3)
        assert rows == set(np.flatnonzero(found.fold[repeat] != label))


@pytest.mark.parametrize("groups", [2, 3, 4, 5])
def test_a_rank_gives_the_stratum_that_cut_points_of_the_training_patients_give(groups):
    """Outside the gap between two neighbouring training scores that a cut falls into, where either is right."""
    generator = np.random.default_rng(4)
    learned, new = generator.normal(size=300), generator.normal(size=2000)
    strata = quantile_strata(learned, groups, model="m", unit="days")
    rank = _rank(np.sort(learned), new)
    by_rank = stratum_members(held(new, new, rank), groups)[0]
    differ = by_rank != strata.assign(new)
    assert differ.mean() < 2 * groups / 300
    own = stratum_members(held(learned, learned, _rank(np.sort(learned), learned)), groups)[0]
    np.testing.assert_array_equal(own, strata.assign(learned))


def test_scores_of_two_values_leave_no_stratum_empty():
    """A model of one binary covariate: two strata, and ranks that put patients into the same two."""
    for share in (0.3, 0.45, 0.6, 0.8):
        learned = np.repeat([0.0, 1.0], [round(200 * share), round(200 * (1 - share))])
        strata = quantile_strata(learned, 3, model="m", unit="days")
        assert len(strata.strata) == 2
        by_rank = stratum_members(held(learned, learned, _rank(np.sort(learned), learned)), 2)[0]
        np.testing.assert_array_equal(strata.assign(learned), learned.astype(int))
        np.testing.assert_array_equal(by_rank, learned.astype(int))


def test_trap_45_nothing_of_a_patients_fold_saw_the_patients_outcome():
    """The poisoned patient's own score moves; expectations, ranks and the fold's other scores do not."""
    generator = np.random.default_rng(5)
    n = 160
    X = pd.DataFrame({"x": generator.normal(size=n), "z": generator.normal(size=n)})
    treated = np.arange(n) % 2 == 0
    time, last = generator.exponential(1 / np.exp(0.5 * X["x"] - 0.6 * treated)), generator.uniform(0.6, 3, n)
    event, time = np.asarray(time <= last), np.asarray(np.minimum(time, last))
    cells = np.char.add(treated.astype(str), event.astype(str))

    def learn(times):
        def outcome_model(one, t, e):
            return CoxRidge(penalties=(8.0,)).fit(one, survival_outcome(t, e))

        def fit(rows):
            known = (X.iloc[rows], times[rows], event[rows], treated[rows])
            asked = {"tau": 1.0, "allocation": 0.5, "learner": outcome_model}
            model = RidgeScores(repeats=1).fit(X.iloc[rows], crossfit_scores(*known, folds=3, seed=2, **asked))
            nuisance = fit_nuisance(*known, **asked)
            return model, lambda new: nuisance.scores(X.iloc[new], times[new], event[new], treated[new])

        return crossvalidate_response(fit, X, cells=cells, folds=4, repeats=1, seed=6)

    patient = int(np.flatnonzero(event & (time < 0.6))[0])
    moved = time.copy()
    moved[patient] = 0.99
    one, other = learn(time), learn(moved)
    unmoved = one.expected[0] == other.expected[0]
    assert unmoved[patient]
    assert 0.2 <= unmoved.mean() <= 0.3
    for name in ("benefit_score", "rank"):
        np.testing.assert_array_equal(getattr(one, name)[0, unmoved], getattr(other, name)[0, unmoved])
    differ = (one.score[0] != other.score[0]) & unmoved
    assert list(np.flatnonzero(differ)) == [patient]


def test_the_words_and_the_axis_name_the_scale_of_the_scores():
    """Restricted means by default, as results that were stored before the scale was kept; a proportion has no unit."""
    kept = {"shrinkage": 0.3, "shrinkage_mc_error": 0.02}
    times = benefit_calibration(folded(25), **SCALE)
    binary = benefit_calibration(folded(25), **kept, unit="", scale="risk difference of objective response")
    assert "scale: RMST difference over 365 days)" in times.text()
    assert "scale: risk difference of objective response)" in binary.text()
    assert "RMST" not in binary.text()
    assert binary.scalars() == times.scalars()
    for found, label in ((times, "over 365 days\n(days; above 0 favours"), (binary, "response\n(above 0 favours")):
        figure = Figure()
        found.draw(figure)
        assert label in figure.axes[0].get_ylabel()
    stored = times.to_dict()
    del stored["fields"]["scale"]
    assert BenefitCalibration.from_dict(stored).text() == times.text()

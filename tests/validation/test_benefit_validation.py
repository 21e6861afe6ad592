"""Expected benefit on patients not seen: standard errors by hand, ranks and cut-points, poisoned outcomes."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from trialml.effects.scores import crossfit_scores, fit_nuisance
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
    found = benefit_calibration(held(score, benefit), shrinkage=0.3, unit="days", tau=365).slope
    slope, intercept = np.polyfit(benefit, score, 1)
    left, centred = score - intercept - slope * benefit, benefit - benefit.mean()
    influence = centred * left / np.mean(centred**2)
    assert found.value == pytest.approx(slope, rel=1e-9)
    assert found.se == pytest.approx(influence.std(ddof=1) / math.sqrt(200), rel=1e-9)


def test_scores_without_an_order_have_slope_zero_and_survive_a_round_trip():
    found = benefit_calibration(held(np.arange(40.0), np.zeros(40)), shrinkage=0.0, unit="days", tau=365)
    assert found.slope.value == 0.0
    assert "does not exclude 0" in found.text()
    again = BenefitCalibration.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()


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

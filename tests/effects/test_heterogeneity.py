"""The global test of heterogeneity: residuals against the Cox model's, permutations, size and power."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from trialml.effects.heterogeneity import Heterogeneity, _statistics, heterogeneity_test
from trialml.effects.permutation import permuted_arms
from trialml.errors import AnalysisError, DataError
from trialml.survival.arm_residuals import arm_score_residuals
from trialml.survival.cox import fit_cox, score_residuals


def trial(n, generator, *, allocation=0.5, log_ratio=0.0, modifier=0.0, covariates=5, prognosis=0.5):
    """Exponential times, log hazard ``prognosis z_1 + arm (log_ratio + modifier z_2)``, about a third censored."""
    z = generator.normal(size=(n, covariates))
    cells = generator.choice(["a", "b"], n)
    treated = generator.random(n) < allocation
    hazard = np.exp(prognosis * z[:, 0] + treated * (log_ratio + modifier * z[:, 1]) + 0.4 * (cells == "b"))
    time, last = generator.exponential(1 / hazard), generator.uniform(0.5, 3.0, n)
    return np.minimum(time, last), time <= last, treated, z, cells


NAMES = ["z1", "z2", "z3", "z4", "z5"]


def analysed(data, **asked):
    time, event, treated, z, cells = data
    return heterogeneity_test(time, event, treated, z, NAMES[: z.shape[1]], cells=cells, **asked)


def test_main_effect_and_residuals_are_those_of_the_stratified_cox_model_with_offset():
    """Oracle: trialml.survival.cox.fit_cox and score_residuals, themselves held to R's residuals.coxph; no ties."""
    time, event, treated, z, cells = trial(150, np.random.default_rng(1), log_ratio=-0.6)
    offset = 0.5 * z[:, 0]
    arm = treated.astype(float)[:, None]
    found = arm_score_residuals(time, event, treated[None, :], strata=cells, offset=offset)
    fit = fit_cox(time, event, arm, strata=cells, offset=offset)
    np.testing.assert_allclose(found.log_hazard_ratio, fit.coefficients, rtol=1e-8)
    wanted = score_residuals(time, event, arm, fit.coefficients, strata=cells, offset=offset)[:, 0]
    np.testing.assert_allclose(found.residuals[0], wanted, rtol=1e-7, atol=1e-9)
    centred = z - z.mean(axis=0)
    by_hand = centred.T @ wanted / np.sqrt((centred**2).T @ wanted**2)
    np.testing.assert_allclose(_statistics(time, event, arm, z, cells, offset)[:, 0], by_hand, rtol=1e-7)


def test_trap_43_permutation_stays_within_the_stratification_cells():
    generator = np.random.default_rng(2)
    treated, cells = generator.random(90) < 2 / 3, generator.choice(["a", "b", "c"], 90, p=[0.6, 0.3, 0.1])
    arms = permuted_arms(treated, cells, 50, generator)
    np.testing.assert_array_equal(arms[:, 0], treated)
    for cell in "abc":
        inside = cells == cell
        assert (arms[inside].sum(axis=0) == treated[inside].sum()).all()
    assert (arms[:, 1:] != arms[:, :1]).any(axis=0).all()


def test_p_is_one_plus_the_exceeding_permutations_over_one_plus_all_and_maxima_adjust_every_covariate():
    data = trial(120, np.random.default_rng(3))
    time, event, treated, z, cells = data
    found = analysed(data, permutations=99, seed=7)
    arms = permuted_arms(treated, cells, 99, np.random.default_rng(7))
    every = np.abs(_statistics(time, event, arms, z, cells, np.zeros(120)))
    largest = every[:, 1:].max(axis=0)
    assert found.p == pytest.approx((1 + (largest >= every[:, 0].max()).sum()) / 100)
    adjusted = found.frame().set_index("covariate")["p_adjusted"]
    for place, name in enumerate(NAMES):
        assert adjusted[name] == pytest.approx((1 + (largest >= every[place, 0]).sum()) / 100)
    assert found.p == adjusted.min()
    assert found.mc_error == pytest.approx(math.sqrt(found.p * (1 - found.p) / 99))
    assert found.limit == pytest.approx(np.quantile(largest, 0.95))


def rejections(replications, seed, **shape):
    generator = np.random.default_rng(seed)
    return sum(
        analysed(trial(150, generator, **shape), permutations=199, seed=int(generator.integers(2**31))).p <= 0.05
        for _ in range(replications)
    )


def test_with_no_effect_in_anyone_the_test_rejects_one_time_in_twenty():
    """200 trials of 150 patients, 199 permutations: within the central 99.8 % of Binomial(200, 0.05)."""
    low, high = binom.ppf([0.001, 0.999], 200, 0.05)
    assert low <= rejections(200, 4) <= high


@pytest.mark.parametrize("shape", [{"log_ratio": math.log(0.4)}, {"log_ratio": math.log(0.4), "allocation": 2 / 3}])
def test_trap_43_under_a_constant_effect_the_size_stays_near_five_percent(shape):
    """Permutation is approximate here: 200 trials, at most the 99.9th percentile of Binomial(200, 0.07)."""
    assert rejections(200, 5, prognosis=0.0, **shape) <= binom.ppf(0.999, 200, 0.07)


def test_a_planted_modifier_is_found_and_named():
    data = trial(500, np.random.default_rng(6), log_ratio=-0.5, modifier=0.9)
    found = analysed(data, permutations=499)
    assert found.p < 0.01
    assert found.frame()["covariate"].iloc[0] == "z2"
    assert found.frame()["z"].iloc[0] > 0
    assert "found evidence that the hazard ratio is not the same for everybody" in found.text()


def test_trap_49_the_detectable_ratio_is_detected_in_about_four_trials_of_five():
    """100 trials of 400 against the null's own limit: 0.8 within 4 binomial errors (0.04 each); 0.74 over 300 trials."""
    generator = np.random.default_rng(7)
    null = analysed(trial(400, generator, prognosis=0.0), permutations=199)
    size = math.log(null.detectable_ratio)
    information = null.events * null.share_treated * (1 - null.share_treated)
    assert size == pytest.approx((null.limit + 0.8416212) / math.sqrt(information))
    found = []
    for _ in range(100):
        time, event, treated, z, cells = trial(400, generator, prognosis=0.0, modifier=size)
        arm = treated[:, None].astype(float)
        found.append(_statistics(time, event, arm, z, cells, 0.5 * size * z[:, 1])[1, 0])
    power = np.mean(np.abs(found) > null.limit)
    assert abs(power - 0.8) < 0.16


def test_two_to_one_allocation_and_a_cell_without_events_are_analysed():
    generator = np.random.default_rng(8)
    time, event, treated, z, cells = trial(150, generator, allocation=2 / 3)
    event = event & (cells == "a")
    found = analysed((time, event, treated, z, cells), permutations=99)
    alone = cells == "a"
    same = _statistics(
        time[alone], event[alone], treated[alone, None].astype(float), z[alone] - z.mean(0) + z[alone].mean(0),
        cells[alone], np.zeros(alone.sum()),
    )  # fmt: skip
    assert 0 < found.p <= 1
    assert np.isfinite(same).all()
    assert found.share_treated == pytest.approx(treated.mean())


def test_the_order_of_patients_moves_no_statistic():
    time, event, treated, z, cells = trial(120, np.random.default_rng(9))
    order = np.random.default_rng(0).permutation(120)
    one = _statistics(time, event, treated[:, None].astype(float), z, cells, np.zeros(120))
    other = _statistics(
        time[order], event[order], treated[order, None].astype(float), z[order], cells[order], np.zeros(120)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


def test_trap_7_rounding_errors_of_tied_times_move_no_statistic_and_no_p():
    time, event, treated, z, cells = trial(120, np.random.default_rng(14))
    time = np.ceil(10 * time)
    moved = time * (1 + np.random.default_rng(0).uniform(-1e-12, 1e-12, 120))
    one, other = (analysed((times, event, treated, z, cells), permutations=99) for times in (time, moved))
    np.testing.assert_allclose(one.frame()["z"], other.frame()["z"], rtol=1e-8, atol=1e-10)
    assert one.p == other.p
    assert one.limit == pytest.approx(other.limit, rel=1e-8)


def test_trap_50_no_evidence_is_not_called_homogeneity_and_the_scale_is_named():
    found = analysed(trial(150, np.random.default_rng(10)), permutations=99)
    assert found.p >= 0.05
    assert "hazard-ratio scale" in found.text()
    assert "that is not evidence that it is the same" in found.text()
    assert "fewer than 500 patients" in found.text()


def test_a_test_without_covariates_or_without_events_in_both_arms_is_refused():
    time, event, treated, z, cells = trial(60, np.random.default_rng(11))
    with pytest.raises(AnalysisError, match="no covariate"):
        analysed((time, event, treated, z[:, :0], cells))
    with pytest.raises(AnalysisError, match="No stratification cell has events"):
        analysed((time, event, cells == "a", z, cells), permutations=9)
    with pytest.raises(AnalysisError, match="all 60 patients are in the control arm"):
        analysed((time, event, np.zeros(60, bool), z, cells), permutations=9)
    with pytest.raises(DataError, match="permutations is 0"):
        analysed((time, event, treated, z, cells), permutations=0)


def test_a_missing_covariate_is_refused_and_gives_no_p():
    """NaN is never as large as NaN, so that p was 1 / (1 + permutations)."""
    time, event, treated, z, cells = trial(60, np.random.default_rng(11))
    for value in (np.nan, np.inf):
        z[3, 0] = value
        with pytest.raises(DataError, match="is missing or infinite in 1 of 60 rows"):
            analysed((time, event, treated, z, cells), permutations=9)
    with pytest.raises(DataError, match="pass one row a patient"):
        analysed((time, event, treated, z[:50], cells), permutations=9)


def test_a_covariate_that_is_the_arm_is_refused_and_an_arm_of_twelve_is_said():
    time, event, treated, z, cells = trial(120, np.random.default_rng(13))
    for copy in (treated, 3.0 - treated):
        z[:, 2] = copy
        with pytest.raises(DataError, match="'z3' is the treatment: it has one value in each arm"):
            analysed((time, event, treated, z, cells), permutations=9)
    few = np.arange(120) < 12
    assert "One arm has 12 patients" in analysed((time, event, few, z, cells), permutations=9).text()
    assert "One arm" not in analysed((time, event, np.arange(120) < 60, z, cells), permutations=9).text()


def test_a_p_value_beyond_the_digits_shown_is_no_equation():
    found = analysed(trial(80, np.random.default_rng(12)), permutations=19)
    assert "p >0.99 (Monte" in dataclasses.replace(found, p=1.0).text()
    assert "p <0.001 (Monte" in dataclasses.replace(found, p=0.0001).text()
    assert "p = 0.25 (Monte" in dataclasses.replace(found, p=0.25).text()


def test_the_result_survives_a_round_trip():
    found = analysed(trial(80, np.random.default_rng(12)), permutations=19)
    again = Heterogeneity.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.text() == found.text()

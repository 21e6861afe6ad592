"""Many assignments of the arm at once, against one Cox model for each."""

import numpy as np
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.arm_residuals import arm_score_residuals, score_permutations
from trialml.survival.cox import fit_cox, score_residuals


def trial(n=120):
    rng = np.random.default_rng(9)
    arms = np.array([rng.permutation(n) % 2 == 0 for _ in range(20)])
    return rng.integers(1, 20, n).astype(float), rng.random(n) < 0.7, arms, rng.integers(0, 3, n), rng.normal(size=n)


def test_residuals_and_hazard_ratios_are_those_of_a_cox_model_for_each_assignment():
    time, event, arms, strata, offset = trial()
    found = arm_score_residuals(time, event, arms, strata=strata, offset=offset)
    for one, residuals, beta in zip(arms, *found, strict=True):
        options = {"strata": strata, "offset": offset, "ties": "breslow"}
        fit = fit_cox(time, event, one[:, None], **options)
        np.testing.assert_allclose(beta, fit.coefficients[0], rtol=1e-9, atol=1e-12)
        wanted = score_residuals(time, event, one[:, None], fit.coefficients, **options)[:, 0]
        np.testing.assert_allclose(residuals, wanted, rtol=1e-8, atol=1e-10)


def test_the_score_is_that_of_a_cox_model_at_no_effect():
    time, event, arms, strata, offset = trial()
    found = score_permutations(time, event, arms, strata=strata, offset=offset)
    for one, score in zip(arms, found, strict=True):
        wanted = score_residuals(time, event, one[:, None], [0.0], strata=strata, offset=offset).sum()
        np.testing.assert_allclose(score, wanted, rtol=1e-9, atol=1e-11)


def test_without_ties_the_score_is_observed_less_expected_events_of_the_logrank_test():
    _, event, arms, _, _ = trial()
    time = np.arange(1.0, 121)
    share = np.array([arms[0][time >= t].mean() for t in time[event]])
    difference = arms[0][event].sum() - share.sum()
    np.testing.assert_allclose(score_permutations(time, event, arms[:1]), difference, rtol=1e-10)


def test_an_assignment_without_an_answer_is_refused():
    time, event, arms, strata, _ = trial()
    with pytest.raises(AnalysisError, match="both arms are at risk"):
        arm_score_residuals(time, event, [strata == 0], strata=strata)
    with pytest.raises(AnalysisError, match="did not converge"):
        arm_score_residuals(time, event & arms[0], arms[:1])
    with pytest.raises(DataError, match="arms must hold True or False"):
        arm_score_residuals(time, event, arms[:, :5])

"""Derivatives of the partial likelihood by each patient's linear predictor, against two independent ways of getting them."""

import numpy as np
import pytest

from trialml.survival.cox_fit import CoxProblem
from trialml.survival.cox_predictor import PredictorLikelihood


@pytest.fixture(scope="module")
def tied():
    generator = np.random.default_rng(1)
    return generator.integers(1, 9, 40).astype(float), generator.random(40) < 0.6, generator.normal(size=40)


def by_hand(time, event, predictor, ties):
    """Log-likelihood spelled out over the distinct event times."""
    total = 0.0
    for now in np.unique(time[event]):
        died = event & (time == now)
        at_risk, tied = np.exp(predictor[time >= now]).sum(), np.exp(predictor[died]).sum()
        shares = np.arange(died.sum()) / died.sum() if ties == "efron" else np.zeros(died.sum())
        total += predictor[died].sum() - np.log(at_risk - shares * tied).sum()
    return total


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_likelihood_and_derivatives_are_those_of_differences_of_the_sum_spelled_out(tied, ties):
    time, event, predictor = tied
    likelihood = PredictorLikelihood(time, event, ties=ties)
    assert likelihood.log_likelihood(predictor) == pytest.approx(by_hand(time, event, predictor, ties), rel=1e-12)
    found, step = likelihood.derivatives(predictor), 1e-4
    for patient in range(len(time)):
        move = np.zeros(len(time))
        move[patient] = step
        low, middle, high = (by_hand(time, event, predictor + k * move, ties) for k in (-1, 0, 1))
        assert found.gradient[patient] == pytest.approx((high - low) / (2 * step), abs=1e-7)
        assert found.curvature[patient] == pytest.approx(-(high - 2 * middle + low) / step**2, abs=1e-5)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_derivatives_are_those_of_a_cox_model_with_one_column_a_patient(tied, ties):
    """Score and diagonal of the information of `CoxProblem`, itself compared with R's coxph, on the identity matrix."""
    time, event, predictor = tied
    _, score, information = CoxProblem(time, event, np.eye(len(time)), ties=ties).derivatives(predictor)
    found = PredictorLikelihood(time, event, ties=ties).derivatives(predictor)
    np.testing.assert_allclose(found.gradient, score, atol=1e-12)
    np.testing.assert_allclose(found.curvature, np.diag(information), atol=1e-12)


def test_martingale_residuals_add_up_to_nothing_and_nobody_bends_upwards(tied):
    time, event, predictor = tied
    found = PredictorLikelihood(time, event).derivatives(3 * predictor)
    assert found.gradient.sum() == pytest.approx(0, abs=1e-12)
    assert found.curvature.min() >= 0
    assert found.gradient[event].max() <= 1

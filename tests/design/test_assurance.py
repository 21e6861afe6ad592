"""Assurance: the closed form of O'Hagan, Stevens and Campbell (2005) against quadrature and against power."""

import itertools
import math

import pytest
from scipy.integrate import quad
from scipy.stats import norm

from trialml.design.assurance import assurance, assurance_of, power_of
from trialml.design.group_sequential import Design
from trialml.errors import AnalysisError

CASES = [(300, -0.3, 0.1), (200, -0.5, 0.3), (800, 0.1, 1.0), (150, -0.36, 0.02), (500, -0.2, 3.0)]


def integrated(design, events, mean, se):
    """Adaptive quadrature of the power over the normal distribution, in standard deviations."""
    root = math.sqrt(events * design.experimental_share * (1 - design.experimental_share))

    def integrand(u):
        return norm.pdf(u) * float(design.exit_probabilities(-(mean + se * u) * root).sum())

    turn = (-mean * root - 2) / (se * root)
    edges = [-9.0, *sorted({max(min(turn + d / (se * root), 9.0), -9.0) for d in (-6, 0, 6)}), 9.0]
    pieces = itertools.pairwise(edges)
    return sum(quad(integrand, a, b, epsabs=1e-12, limit=200)[0] for a, b in pieces if b > a)


@pytest.mark.parametrize(("events", "mean", "se"), CASES)
@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_the_closed_form_is_the_integral_of_the_power(events, mean, se, ratio):
    closed = assurance(events, mean, se, alpha=0.025, allocation_ratio=ratio)
    assert closed == pytest.approx(integrated(Design(allocation_ratio=ratio), events, mean, se), rel=1e-8)
    assert assurance_of(Design(allocation_ratio=ratio), events, mean, se) == closed


@pytest.mark.parametrize(("events", "mean", "se"), CASES)
def test_the_assurance_of_a_sequential_design_is_the_integral_of_its_power(events, mean, se):
    design = Design(information_fractions=(0.5, 0.75, 1.0))
    assert assurance_of(design, events, mean, se) == pytest.approx(integrated(design, events, mean, se), rel=1e-8)


def test_without_uncertainty_assurance_is_power():
    assert assurance(330.37791396380966, math.log(0.7), 0.0, alpha=0.025) == pytest.approx(0.9, rel=1e-10)
    design = Design(information_fractions=(0.5, 1.0))
    events = 330.37791396380966 * design.inflation_factor
    assert power_of(design, events, math.log(0.7)) == pytest.approx(0.9, rel=1e-10)
    assert assurance_of(design, events, math.log(0.7), 1e-7) == pytest.approx(0.9, rel=1e-8)


def test_without_effect_and_uncertainty_assurance_is_alpha():
    assert assurance(300, 0.0, 0.0, alpha=0.025) == pytest.approx(0.025, rel=1e-10)


def test_uncertainty_pulls_a_powerful_trial_towards_even_odds():
    certain, vague, hopeless = (assurance(330, math.log(0.7), se, alpha=0.025) for se in (0.0, 0.2, 50.0))
    assert certain > vague > hopeless > 0.49


@pytest.mark.parametrize(
    ("events", "mean", "se", "sentence"),
    [
        (0, -0.3, 0.1, "events is 0"),
        (100, math.nan, 0.1, "the log hazard ratio is nan"),
        (100, -0.3, -0.1, "the standard error of the log hazard ratio is -0.1"),
        (math.inf, -0.3, 0.1, "events is inf"),
    ],
)
@pytest.mark.parametrize("design", [Design(), Design(information_fractions=(0.5, 1.0))])
def test_numbers_that_make_no_sense_are_refused(events, mean, se, sentence, design):
    with pytest.raises(AnalysisError, match=sentence):
        assurance_of(design, events, mean, se)

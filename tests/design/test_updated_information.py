"""Looks that are held at other information than planned: what has been spent stays spent, and alpha is kept."""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from trialml.design.group_sequential import Design
from trialml.design.spending import lan_demets_obrien_fleming
from trialml.errors import AnalysisError

PLANNED = Design(information_fractions=(0.5, 0.75, 1.0))


def test_an_interim_look_spends_by_its_function_at_the_information_observed():
    now = PLANNED.updated((0.55,))
    assert now.information_fractions == (0.55, 0.75, 1.0)
    assert now.critical_values[0] == pytest.approx(norm.isf(lan_demets_obrien_fleming(0.55, 0.025)), abs=1e-10)
    assert now.critical_values == pytest.approx(
        Design(information_fractions=(0.55, 0.75, 1.0)).critical_values, abs=1e-12
    )


def test_bounds_of_past_looks_do_not_move_when_later_looks_are_held():
    first = PLANNED.updated((0.55,))
    second = PLANNED.updated((0.55, 0.7))
    ended = PLANNED.updated((0.55, 0.7, 1.08))
    assert second.critical_values[0] == first.critical_values[0]
    assert ended.critical_values[:2] == pytest.approx(second.critical_values[:2], abs=1e-12)


def test_a_final_analysis_with_too_much_or_too_little_information_spends_what_is_left():
    """Two looks: P(Z1 < c1, Z2 < c2) by scipy's bivariate normal with correlation sqrt(I1 / I2)."""
    for observed, final in (((0.5, 1.2), False), ((0.5, 0.8), True)):
        design = Design(information_fractions=(0.5, 1.0)).updated(observed, final=final)
        rho = math.sqrt(observed[0] / observed[1])
        joint = multivariate_normal(cov=[[1, rho], [rho, 1]])
        assert 1 - joint.cdf(design.critical_values) == pytest.approx(0.025, abs=1e-10)
        assert design.critical_values[0] == pytest.approx(PLANNED.critical_values[0], abs=1e-12)


def test_a_look_that_was_not_planned_is_added_before_those_that_were():
    assert PLANNED.updated((0.3,)).information_fractions == (0.3, 0.75, 1.0)
    assert PLANNED.updated((0.3, 0.4)).information_fractions == (0.3, 0.4, 1.0)
    assert PLANNED.updated((0.8,)).information_fractions == (0.8, 1.0)
    assert PLANNED.updated((0.5, 0.6, 0.7)).information_fractions == (0.5, 0.6, 0.7, 1.0)


@pytest.mark.parametrize(
    ("spending", "parameter"), [("obrien-fleming", None), ("pocock", None), ("haybittle-peto", 3.0)]
)
def test_a_family_without_spending_function_keeps_the_alpha_planned_for_each_look(spending, parameter):
    planned = Design(information_fractions=(0.5, 0.75, 1.0), spending=spending, spending_parameter=parameter)
    same = planned.updated((0.5, 0.75, 1.0))
    assert same.critical_values == pytest.approx(planned.critical_values, abs=1e-9)
    moved = planned.updated((0.6,))
    assert moved.cumulative_alpha == planned.cumulative_alpha
    assert moved.exit_probabilities(0.0).sum() == pytest.approx(0.025, rel=1e-9)
    with pytest.raises(AnalysisError, match="has planned alpha for 2 interim looks, and more were held"):
        planned.updated((0.3, 0.4, 0.5))


@pytest.mark.parametrize("binding", [False, True])
def test_information_as_planned_changes_no_bound(binding):
    planned = Design(
        information_fractions=(0.5, 0.75, 1.0),
        futility_spending="hwang-shih-decani",
        futility_parameter=-2,
        binding=binding,
    )
    same = planned.updated((0.5, 0.75, 1.0))
    assert same.critical_values == pytest.approx(planned.critical_values, abs=1e-9)
    assert same.futility_values[:-1] == pytest.approx(planned.futility_values[:-1], abs=1e-9)
    assert same.binding == binding


@pytest.mark.parametrize("binding", [False, True])
def test_spent_futility_is_read_at_the_planned_drift(binding):
    """The first look stops below the z whose probability under the planned effect is what is spent there."""
    planned = Design(
        information_fractions=(0.5, 1.0), futility_spending="kim-demets", futility_parameter=2, binding=binding
    )
    now = planned.updated((0.6,))
    mean = planned.drift_for_power() * math.sqrt(0.6)
    assert now.futility_values[0] == pytest.approx(mean + norm.ppf(0.1 * 0.6**2), abs=1e-10)
    spent = now.exit_probabilities(0.0).sum()
    assert spent == pytest.approx(0.025, rel=1e-9) if binding else spent < 0.025


def test_futility_given_as_z_goes_with_the_number_of_the_look():
    planned = Design(information_fractions=(0.5, 0.75, 1.0), futility_z=(0.0, 0.5))
    assert planned.updated((0.55,)).futility_z == (0.0, 0.5)
    assert planned.updated((0.55, 1.1)).futility_z == (0.0,)
    assert planned.updated((0.55, 0.6, 0.7)).futility_z == (0.0, 0.5, -math.inf)


def test_a_binding_bound_of_a_look_that_was_not_held_binds_no_more():
    planned = Design(information_fractions=(0.5, 0.75, 1.0), futility_z=(-math.inf, 0.5), binding=True)
    assert not planned.updated((0.5, 1.1)).binding
    assert planned.updated((0.5, 0.8)).binding


def test_two_sides_stay_two_sides():
    design = Design(information_fractions=(0.5, 1.0), sides=2, spending="lan-demets-pocock").updated((0.4, 1.3))
    assert design.sides == 2
    assert design.exit_probabilities(0.0).sum() == pytest.approx(0.025, rel=1e-9)


def test_a_trial_that_ends_at_its_first_look_is_a_fixed_design():
    design = PLANNED.updated((0.4,), final=True)
    assert design.looks == 1
    assert design.critical_values == pytest.approx([norm.isf(0.025)], abs=1e-12)


def test_alpha_is_kept_whatever_the_information():
    """Nine pairs of interim information and a final one from .6 to 1.4 of what was planned."""
    for first in (0.2, 0.45, 0.55):
        for last in (0.6, 1.0, 1.4):
            design = PLANNED.updated((first, last), final=True)
            assert np.cumsum(design.exit_probabilities(0.0))[-1] == pytest.approx(0.025, rel=1e-9)


@pytest.mark.parametrize(
    ("observed", "sentence"),
    [
        ((), "observed_fractions is empty"),
        (0.5, "observed_fractions is 0.5: give a sequence"),
        ((0.5, 0.4), "observed information fractions 0.5, 0.4 do not increase"),
        ((-0.5,), "an observed information fraction is -0.5"),
        ((math.nan,), "an observed information fraction is nan"),
        ((0.5, 1.0, 1.2), "one before the last is 1 or more, when all alpha is spent: leave out the looks after it"),
    ],
)
def test_information_that_cannot_have_been_observed_is_refused(observed, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        PLANNED.updated(observed)


@pytest.mark.parametrize("binding", [False, True])
def test_a_look_at_which_spent_futility_leaves_no_way_on_is_said_to_be_the_last(binding):
    planned = Design(information_fractions=(0.5, 0.75, 1.0), futility_spending="lan-demets-pocock", binding=binding)
    with pytest.raises(
        AnalysisError, match=r"information fraction 0.97 reaches .* ends there by its rules: say final=True"
    ):
        planned.updated((0.97,))
    assert planned.updated((0.97,), final=True).looks == 1

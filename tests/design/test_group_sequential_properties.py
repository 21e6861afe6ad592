"""What must hold for every group-sequential design: hypothesis draws looks, families, levels and futility bounds."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import norm

from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.errors import AnalysisError

SHAPES = [
    ("obrien-fleming", None),
    ("pocock", None),
    ("wang-tsiatis", 0.3),
    ("haybittle-peto", 3.3),
]
FUNCTIONS = [
    ("lan-demets-obrien-fleming", None),
    ("lan-demets-pocock", None),
    ("hwang-shih-decani", -4.0),
    ("hwang-shih-decani", 2.0),
    ("kim-demets", 1.0),
    ("kim-demets", 3.0),
]


@st.composite
def looks(draw, *, least=2):
    """Information fractions at least .05 apart, the first at .1 or later."""
    places = draw(st.sets(st.integers(2, 19), min_size=least - 1, max_size=4))
    return (*(place / 20 for place in sorted(places)), 1.0)


levels = st.sampled_from([0.005, 0.025, 0.05, 0.2])
powers = st.sampled_from([0.5, 0.8, 0.9, 0.99])
families = st.sampled_from(SHAPES + FUNCTIONS)
drifts = st.floats(-3, 6)


def family(chosen):
    return {"spending": chosen[0], "spending_parameter": chosen[1]}


@st.composite
def designs(draw):
    """A design of any family, one- or two-sided, with or without futility; one that is refused is drawn again."""
    fractions = draw(looks())
    options = family(draw(families)) | {"alpha": draw(levels), "power": draw(powers)}
    kind = draw(st.sampled_from(["none", "two-sided", "z", "beta", "null"]))
    if kind == "two-sided":
        options["sides"] = 2
    if kind == "z":
        options["futility_z"] = tuple(draw(st.floats(-2, 1)) for _ in fractions[1:])
    if kind in ("beta", "null"):
        options["futility_spending"], options["futility_parameter"] = draw(st.sampled_from(FUNCTIONS))
    if kind == "null":
        options["futility_alpha"] = draw(st.sampled_from([0.05, 0.3]))
    if kind in ("z", "beta", "null"):
        options["binding"] = draw(st.booleans())
    try:
        design = Design(information_fractions=fractions, **options)
        assume(len(design.critical_values) > 0)
    except AnalysisError:
        assume(False)
    return design


@given(designs())
def test_alpha_is_spent_exactly_unless_a_futility_bound_that_does_not_bind_saves_some(design):
    spent = design.exit_probabilities(0.0)
    if design.has_futility and not design.binding:
        assert np.all(np.cumsum(spent) <= np.array(design.cumulative_alpha) + 1e-10)
    else:
        assert np.cumsum(spent) == pytest.approx(design.cumulative_alpha, rel=1e-8, abs=1e-11)


@given(designs())
def test_the_drift_for_power_gives_the_power_and_costs_information(design):
    drift = design.drift_for_power()
    assert design.exit_probabilities(drift).sum() == pytest.approx(design.power, abs=1e-10)
    assert design.inflation_factor >= 1 - 1e-9


@given(designs(), drifts)
def test_a_trial_ends_in_one_way(design, drift):
    above, below = design.exit_probabilities(drift), design.futility_probabilities(drift)
    if design.sides == 2:
        below = design.exit_probabilities(-drift)
    assert np.all(above >= 0)
    assert np.all(below >= 0)
    total = above.sum() + below.sum()
    if design.futility_spending is not None and design.futility_alpha is None:
        assert total == pytest.approx(1, abs=1e-10)
    else:
        assert total <= 1 + 1e-10
    assert design.information_fractions[0] - 1e-10 <= design.expected_information(drift) <= 1 + 1e-10


@given(designs(), drifts)
def test_power_grows_with_the_effect(design, drift):
    power = design.exit_probabilities(np.array([drift, drift + 0.3])).sum(axis=1)
    assert power[1] >= power[0] - 1e-12


@given(looks(), levels, powers, st.sampled_from(FUNCTIONS), st.booleans())
def test_spent_beta_is_what_stops_for_futility_and_bounds_meet_at_the_end(fractions, alpha, power, chosen, binding):
    design = Design(
        alpha=alpha,
        power=power,
        information_fractions=fractions,
        futility_spending=chosen[0],
        futility_parameter=chosen[1],
        binding=binding,
    )
    try:
        stopped = np.cumsum(design.futility_probabilities(design.drift_for_power()))
    except AnalysisError:
        return
    assert stopped[-1] == pytest.approx(1 - power, abs=1e-10)
    assert design.futility_values[-1] == design.critical_values[-1]
    same = Design(
        alpha=alpha,
        power=power,
        information_fractions=fractions,
        futility_z=design.futility_values[:-1],
        binding=binding,
    )
    assert same.critical_values == pytest.approx(design.critical_values, abs=1e-9)
    assert same.drift_for_power() == pytest.approx(design.drift_for_power(), abs=1e-9)


@given(looks(), levels, st.sampled_from(SHAPES[:3]))
def test_bounds_of_a_shape_have_that_shape(fractions, alpha, chosen):
    exponent = {"obrien-fleming": 0.0, "pocock": 0.5, "wang-tsiatis": chosen[1]}[chosen[0]]
    design = Design(alpha=alpha, information_fractions=fractions, **family(chosen))
    constant = np.array(design.critical_values) * np.array(fractions) ** (0.5 - exponent)
    assert constant == pytest.approx(np.full(design.looks, constant[0]), rel=1e-12)
    assert constant[0] > norm.isf(alpha)


@given(looks(), levels, families)
def test_a_binding_futility_bound_lowers_efficacy_bounds_and_alpha_fails_where_it_is_overruled(
    fractions, alpha, chosen
):
    plain = Design(alpha=alpha, information_fractions=fractions, **family(chosen))
    futility = {"futility_z": (-0.2,) * (len(fractions) - 1)}
    loose = Design(alpha=alpha, information_fractions=fractions, **family(chosen), **futility)
    bound = Design(alpha=alpha, information_fractions=fractions, **family(chosen), **futility, binding=True)
    assert loose.critical_values == plain.critical_values
    assert np.all(np.array(bound.critical_values) <= np.array(plain.critical_values) + 1e-10)
    none, zero = np.full(bound.looks, -np.inf), np.zeros(bound.looks)
    overruled = crossing_probabilities(bound.critical_values, none, fractions, zero).above.sum()
    assert overruled >= alpha - 1e-10


@given(looks(), levels, st.sampled_from(FUNCTIONS), drifts)
def test_two_sides_are_mirror_images_and_no_bound_is_above_the_one_sided_one(fractions, alpha, chosen, drift):
    one = Design(alpha=alpha, information_fractions=fractions, **family(chosen))
    two = Design(alpha=alpha, information_fractions=fractions, sides=2, **family(chosen))
    assert np.all(np.array(two.critical_values) <= np.array(one.critical_values) + 1e-10)
    assert two.exit_probabilities(0.0).sum() == pytest.approx(alpha, rel=1e-9)
    reached = two.exit_probabilities(drift).sum() + two.exit_probabilities(-drift).sum()
    assert 2 * alpha - 1e-9 <= reached <= 1 + 1e-10


def test_an_infinite_futility_bound_is_none():
    plain = Design(information_fractions=(0.5, 1.0))
    none = Design(information_fractions=(0.5, 1.0), futility_z=(-math.inf,))
    assert not none.has_futility
    assert none.critical_values == plain.critical_values
    assert none.text() == plain.text()


@given(looks(), st.sampled_from(FUNCTIONS), st.sampled_from([0.05, 0.3]), st.booleans())
def test_futility_alpha_is_what_stops_below_without_effect(fractions, chosen, total, binding):
    """gsDesign's test types 5 (binding) and 6: at the last look too, by its own bound."""
    design = Design(
        information_fractions=fractions,
        futility_spending=chosen[0],
        futility_parameter=chosen[1],
        futility_alpha=total,
        binding=binding,
    )
    assert design.futility_probabilities(0.0).sum() == pytest.approx(total, rel=1e-9)
    assert design.futility_values[-1] < design.critical_values[-1]
    if binding:
        assert design.exit_probabilities(0.0).sum() == pytest.approx(0.025, rel=1e-9)

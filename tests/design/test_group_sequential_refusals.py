"""Rules that no trial can have: one sentence each, with the rule, the value seen and the remedy."""

import math

import pytest

from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.design.spending import hwang_shih_decani, kim_demets
from trialml.errors import AnalysisError

TWO = {"information_fractions": (0.5, 1.0)}
THREE = {"information_fractions": (0.5, 0.75, 1.0)}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"spending": "hwang-shih-decani"},
            "spending_parameter is missing, which hwang-shih-decani needs: give a number",
        ),
        (
            {"spending": "hwang-shih-decani", "spending_parameter": 41},
            "Hwang-Shih-DeCani spending is 41: give .* to 40",
        ),
        ({"spending": "hwang-shih-decani", "spending_parameter": math.nan}, "spending_parameter is nan"),
        ({"spending": "kim-demets"}, "spending_parameter is missing, which kim-demets needs"),
        ({"spending": "kim-demets", "spending_parameter": 0}, "Kim-DeMets spending is 0: give a number above 0"),
        ({"spending": "wang-tsiatis"}, "spending_parameter is missing, which wang-tsiatis needs: give its exponent"),
        (
            {"spending": "wang-tsiatis", "spending_parameter": 2},
            "wang-tsiatis is 2: give an exponent from -0.5 to 0.75",
        ),
        (
            {"spending": "pocock", "spending_parameter": 1},
            "spending_parameter is 1, but pocock has no parameter: leave",
        ),
        (
            {"spending_parameter": 1},
            "spending_parameter is 1, but lan-demets-obrien-fleming has no parameter: leave it",
        ),
        (
            {"spending": "haybittle-peto", "spending_parameter": -3},
            "haybittle-peto rejects, is -3: give a number above",
        ),
        (
            THREE | {"spending": "haybittle-peto", "spending_parameter": 1.9},
            "interim looks at z of 1.9 spend .* larger",
        ),
        ({"spending": "user"}, 'spending is "user" but user_alpha is missing: give the cumulative alpha'),
        ({"user_alpha": (0.025,)}, "user_alpha is given, but spending is 'lan-demets-obrien-fleming'"),
        (TWO | {"spending": "user", "user_alpha": (0.025,)}, "user_alpha has 1 values for 2 looks: give one for each"),
        (TWO | {"spending": "user", "user_alpha": 0.025}, "user_alpha is 0.025: give a sequence that ends in alpha"),
        (THREE | {"spending": "user", "user_alpha": (0.01, 0.01, 0.025)}, "0.01, 0.01, 0.025, does not increase"),
        (TWO | {"spending": "user", "user_alpha": (0.01, 0.02)}, "does not end in the one-sided alpha of 0.025"),
        (TWO | {"spending": "user", "user_alpha": (0.0, 0.025)}, "a cumulative alpha of user_alpha is 0"),
        ({"sides": 3}, "sides is 3: give 1 or 2; alpha is the one-sided level on each side"),
        ({"sides": True}, "sides is True: give 1 or 2"),
        (TWO | {"sides": 2, "futility_z": (0,)}, "futility bounds are given to a design with sides=2"),
        (TWO | {"futility_z": (0,), "futility_spending": "kim-demets"}, "are both given: give one of them"),
        (TWO | {"futility_z": (0, 0)}, "futility_z has 2 values for 2 looks: give one for each look but the last"),
        (TWO | {"futility_z": 0}, "futility_z is 0: give a sequence with one z for each look but the last"),
        (TWO | {"futility_z": (math.inf,)}, "a bound of futility_z is inf: give one finite number"),
        (TWO | {"futility_z": (3.2,)}, "futility bound at information fraction 0.5, a z of 3.2, is not below .* lower"),
        (TWO | {"futility_z": (2.9,), "binding": True}, "let fewer trials go on to information fraction 1 than alpha"),
        (TWO | {"futility_parameter": 2}, "futility_parameter is 2 without futility_spending: name the spending"),
        (TWO | {"futility_spending": "kim-demets"}, "futility_parameter is missing, which kim-demets needs"),
        (TWO | {"futility_spending": "pocock"}, "futility_spending is 'pocock', which is not known"),
        (TWO | {"futility_alpha": 0.1}, "futility_alpha is 0.1 without futility_spending"),
        (
            TWO | {"futility_alpha": 1.0, "futility_spending": "lan-demets-pocock"},
            r"futility_alpha \(probability without effect\) is 1: give a number above 0 and below 1",
        ),
        (TWO | {"binding": True}, "binding is True but the design has no futility bound"),
    ],
)
def test_rules_that_contradict_each_other_are_refused_in_a_sentence(settings, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        Design(**settings)


def test_a_futility_spending_that_reaches_the_efficacy_bound_is_refused():
    design = Design(
        alpha=0.025,
        information_fractions=(0.5, 1.0),
        futility_spending="kim-demets",
        futility_parameter=0.001,
        futility_alpha=0.9999,
    )
    with pytest.raises(AnalysisError, match=r"futility bound .* not below the efficacy bound|fewer trials go on"):
        _ = design.critical_values


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: hwang_shih_decani(0.5, 0.025, 100), "gamma of the Hwang-Shih-DeCani spending is 100"),
        (lambda: hwang_shih_decani(1.5, 0.025, 1), "the information fraction is 1.5"),
        (lambda: kim_demets(0.5, 0.025, -1), "rho of the Kim-DeMets spending is -1"),
        (lambda: kim_demets(0.5, 0.7, 1), r"alpha \(one-sided\) is 0.7"),
    ],
)
def test_a_spending_function_refuses_what_it_cannot_spend(call, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        call()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([2, 2], [0], [1, 2], [0, 0]), "2 informations, 2 upper and 1 lower limits"),
        (([2, 2], [0, 0], [1, 2], [0, 0, 0]), r"means of shape \(3,\): give one of each for every look"),
        (([2, 2], [0, 0], [2, 1], [0, 0]), "information at the looks is 2, 1: give positive numbers that increase"),
        (([2, 2], [0, 0], [0, 1], [0, 0]), "information at the looks is 0, 1"),
        (([2, math.nan], [0, 0], [1, 2], [0, 0]), "a limit or a mean is not a number"),
        (([2, 2], [0, 0], [1, 2], [0, math.inf]), "a limit or a mean is not a number"),
        (([], [], [], []), "0 informations"),
    ],
)
def test_crossing_probabilities_refuse_what_is_no_sequence_of_looks(arguments, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        crossing_probabilities(*arguments)

"""Levels, parameters, beta spending and updated information that the shared cases leave out, against rpact and mvtnorm.

`group_sequential.R` made the case. rpact leaves up to 1e-8 of alpha unspent, hence 1e-6 for its numbers; crossing
probabilities are Miwa's integrals of the multivariate normal distribution on 4,096 steps a dimension.
"""

import math

import numpy as np
import pytest

from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities

FRACTIONS = (0.3, 0.5, 0.8, 1.0)
LD_OBF = "lan-demets-obrien-fleming"
DESIGNS = {
    "obf_005": {"spending": "obrien-fleming", "alpha": 0.005, "power": 0.8},
    "pocock_05": {"spending": "pocock", "alpha": 0.05, "power": 0.8},
    "wang_tsiatis_10": {"spending": "wang-tsiatis", "spending_parameter": 0.1},
    "haybittle_peto_25": {"spending": "haybittle-peto", "spending_parameter": 2.5},
    "kim_demets_15": {"spending": "kim-demets", "spending_parameter": 1.5, "alpha": 0.05, "power": 0.8},
    "hwang_0": {"spending": "hwang-shih-decani", "spending_parameter": 0},
    "user": {"spending": "user", "user_alpha": (0.001, 0.004, 0.012, 0.025)},
    "two_sided_wt": {
        "spending": "wang-tsiatis",
        "spending_parameter": 0.4,
        "alpha": 0.05,
        "power": 0.8,
        "sides": 2,
    },
    "two_sided_hsd": {
        "spending": "hwang-shih-decani",
        "spending_parameter": 1,
        "alpha": 0.05,
        "power": 0.8,
        "sides": 2,
    },
    "beta_hsd": {
        "spending": "lan-demets-pocock",
        "power": 0.8,
        "futility_spending": "hwang-shih-decani",
        "futility_parameter": -2,
    },
    "beta_kd_binding": {"futility_spending": "kim-demets", "futility_parameter": 2, "binding": True},
    "beta_obf_binding": {
        "spending": "kim-demets",
        "spending_parameter": 2,
        "futility_spending": LD_OBF,
        "binding": True,
    },
    "beta_pocock": {
        "spending": "hwang-shih-decani",
        "spending_parameter": -3,
        "futility_spending": "lan-demets-pocock",
    },
    "pocock_binding_z": {"spending": "pocock", "futility_z": (-0.5, 0.25, 1), "binding": True},
    "obf_z": {"spending": "obrien-fleming", "futility_z": (-math.inf, 0.25, 1)},
}
UPDATED = {"over_run": ((0.55, 0.8, 1.1), False), "under_run": ((0.45, 0.9), True)}


def test_designs_at_other_levels_with_other_parameters_are_rpacts(oracle):
    case = oracle("group_sequential")
    planned = Design(information_fractions=(0.5, 0.75, 1.0))
    designs = {name: Design(information_fractions=FRACTIONS, **settings) for name, settings in DESIGNS.items()}
    designs |= {name: planned.updated(observed, final=final) for name, (observed, final) in UPDATED.items()}
    for name, design in designs.items():
        place, close, size = ("designs", name), {"rtol": 0.0, "atol": 1e-6}, {"rtol": 1e-6, "atol": 0.0}
        case.compare(design.information_fractions, *place, "fractions", rtol=1e-12)
        case.compare(design.critical_values, *place, "critical", **close)
        case.compare(np.multiply(design.sides, design.cumulative_alpha), *place, "alpha_spent", **close)
        bounds = [max(z, -6.0) for z in design.futility_values[:-1]]
        case.compare(bounds, *place, "futility", **close)
        theta = design.drift_for_power()
        case.compare(theta, *place, "drift", **size)
        case.compare(design.inflation_factor, *place, "inflation", **size)
        case.compare(design.exit_probabilities(theta), *place, "rejection", **close)
        case.compare(design.futility_probabilities(theta)[:-1], *place, "futility_probability", **close)
        means = design.inflation_factor * design.expected_information(theta * np.array([1, 0.5, 0]))
        case.compare(means, *place, "asn", **size)
    case.aside("crossings", reason="compared in the next test")
    case.aside("r", reason="where the numbers come from")
    case.aside("packages", reason="where the numbers come from")


@pytest.mark.parametrize("name", ["delayed", "crossing_hazards", "fading", "harmful"])
def test_crossing_with_free_means_is_the_multivariate_normal_integral(reference_case, name):
    """mvtnorm 1.1.3, `pmvnorm(algorithm = Miwa(steps = 4096))`: probabilities of first crossing as differences of two."""
    case = reference_case("group_sequential")
    upper, lower, information, means = (
        case.take("crossings", name, one) for one in ("upper", "lower", "information", "means")
    )
    found = crossing_probabilities(upper, lower, information, means)
    case.compare(found.above, "crossings", name, "above", rtol=0.0, atol=1e-8)
    case.compare(found.below, "crossings", name, "below", rtol=0.0, atol=1e-8)

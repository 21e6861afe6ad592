"""Monitoring against rpact 3.3.4 and gsDesign 3.10.1, closed forms, and simulated paths."""

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from trialml.design.group_sequential import Design
from trialml.design.interim_analysis import interim_analysis
from trialml.design.monitoring import (
    LooksHeld,
    conditional_power,
    predictive_power,
    repeated_p,
    stagewise_drift,
    stagewise_p,
)
from trialml.design.sequential_estimate import sequential_estimate
from trialml.errors import AnalysisError

LOOKS = Design(information_fractions=(0.5, 0.75, 1.0))
CLOSE = {"rtol": 0.0, "atol": 1e-6}
EVENTS, Z = (130, 200, 265), (1.9, 2.2, 2.6)
WORDS = {"continue": "continue", "reject": "reject and stop"}
NOT_OURS = (
    "normalApproximation",
    "directionUpper",
    "thetaH0",
    "pi1",
    "pi2",
    "nPlanned",
    "allocationRatioPlanned",
    "assumedStDev",
    "equalVariances",
    "maxInformation",
    "informationEpsilon",
)


def padded(values, length=3):
    return [*values, *[math.nan] * (length - len(values))]


def compare_looks(case, key, found):
    """Compare what rpact says of the looks held."""
    rows = found.looks
    case.compare(padded(rows["conditional_rejection"]), key, "conditionalRejectionProbabilities", **CLOSE)
    case.compare(padded(rows["repeated_low"]), key, "repeatedConfidenceIntervalLowerBounds", **CLOSE)
    case.compare(padded(rows["repeated_high"]), key, "repeatedConfidenceIntervalUpperBounds", **CLOSE)
    case.compare(padded(rows["repeated_p"]), key, "repeatedPValues", **CLOSE)
    actions = [WORDS[one] for one in rows["decision"]]
    if len(rows) == 3:
        actions[-1] = "reject"  # rpact has no trial left to stop
    assert padded(actions)[: len(rows)] == case.get(key, "testActions")[: len(rows)]
    for name in NOT_OURS:
        if name in case.outputs[key]:
            case.aside(key, name, reason="what was asked for, or not applicable")


def compare_end(case, key, found):
    """Compare the stage-wise inference, which rpact writes in the place of the last look."""
    case.compare(found.look, key, "finalStage")
    for name, number in (
        ("finalPValues", found.p),
        ("finalConfidenceIntervalLowerBounds", found.low),
        ("finalConfidenceIntervalUpperBounds", found.high),
        ("medianUnbiasedEstimates", found.median_unbiased),
    ):
        stored = case.take(key, name)
        np.testing.assert_allclose(stored[found.look - 1], number, **CLOSE)


def rpacts_power(look, z, events, later, effect):
    """Conditional power as rpact has it where the information is not what was planned.

    It combines the stages' own statistics with the planned weights (inverse normal), and so does not take the log-rank
    statistic of all events: with the planned weights w, z is ``sum(w_i z_i)`` and stages to come have mean
    ``w_i * effect * sqrt(events_i / 4)``.
    """
    t = np.array(LOOKS.information_fractions)
    weights = np.sqrt(np.diff(t, prepend=0.0))
    counts = np.array(events, dtype=float)
    stage_events = np.diff(counts, prepend=0.0)
    scores = np.diff(np.array(z) * np.sqrt(counts), prepend=0.0) / np.sqrt(stage_events)
    combined = float(scores @ weights[:look]) / math.sqrt(t[look - 1])
    shifts = np.cumsum(weights[look:] * effect * np.sqrt(np.array(later) / 4)) / np.sqrt(t[look:] - t[look - 1])
    return np.cumsum(conditional_power(LOOKS, look, combined, shifts))


def test_every_number_of_rpacts_analysis_of_a_survival_trial(oracle):
    """getAnalysisResults, log-rank z of -1.9 and -2.5 (or -2.2 and -2.6) at 130, 200 (and 265) events.

    rpact analyses by the planned fractions whatever the events; its z has the other sign.
    """
    case = oracle("analysis_survival_gs")
    effect = -math.log(0.7)
    after = {"after1": (1.9,), "after2": (1.9, 2.5), "final": Z}
    for key, z in after.items():
        found = interim_analysis(LOOKS, z, events=EVENTS[: len(z)], assumed_effect=0.7)
        compare_looks(case, key, found)
    for key, z, later in (("after1", (1.9,), (70, 65)), ("after2", (1.9, 2.5), (65,))):
        power = rpacts_power(len(z), z, EVENTS[: len(z)], later, effect)
        case.compare([*[math.nan] * len(z), *power], key, "conditionalPower", **CLOSE)
        case.compare(0.7, key, "thetaH1")
    compare_end(case, "after2", sequential_estimate(LOOKS, (1.9, 2.5), events=(130, 200)))
    final = sequential_estimate(LOOKS, Z, events=EVENTS)
    compare_end(case, "final", final)
    case.compare(final.plain, "final", "thetaH1", rtol=1e-8)


def gsdesigns():
    return Design(
        information_fractions=(0.5, 0.75, 1.0), futility_spending="hwang-shih-decani", futility_parameter=-2.0
    )


def test_conditional_power_and_the_sequential_p_value_are_gsdesigns(oracle):
    """gsCP at z of 1.2 (look 1) and 1.9 (look 2), gsBoundCP, sequentialPValue(Z = c(1.5, 2.6)); n.fix = 300."""
    case = oracle("gsdesign_probability")
    design = gsdesigns()
    t, drift = np.array(design.information_fractions), design.drift_for_power()
    patients = np.array(case.get("design", "n_I"))
    root = math.sqrt(patients[-1])

    def power(look, z, drift):
        return conditional_power(design, look, z, drift * np.sqrt(t[look:] - t[look - 1]))

    case.compare(power(1, 1.2, drift), "cp_delta_upper", **CLOSE)
    case.compare(drift / root, "cp_theta", rtol=1e-6)
    trend = 1.9 / math.sqrt(0.75)
    case.compare([power(2, 1.9, one)[0] for one in (trend, 0.0, drift)], "cp_hat_upper", **CLOSE)
    case.compare(np.array([trend, 0.0, drift]) / root, "cp_hat_theta", rtol=1e-6)
    bounds = zip(design.futility_values[:2], design.critical_values[:2], strict=True)
    case.compare(
        [[power(k, z, z / math.sqrt(t[k - 1])).sum() for z in pair] for k, pair in enumerate(bounds, start=1)],
        "bound_cp",
        **CLOSE,
    )
    held = interim_analysis(design, (1.5, 2.6), information=patients[:2], maximum_information=patients[-1])
    case.compare(held.sequential_p, "seq_p", **CLOSE)
    for name in set(case.outputs) - {"seq_p"}:
        case.aside(name, reason="compared above, or with the bounds in the tests of the design")


@pytest.mark.parametrize("z", [-0.5, 1.0, 2.2])
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_power_with_one_look_to_come_has_a_closed_form(z, fraction):
    """Phi((z sqrt(t) + drift (1 - t) - b) / sqrt(1 - t)); flat prior Phi((z - b sqrt(t)) / sqrt(1 - t))."""
    design = Design(information_fractions=(fraction, 1.0))
    b, rest = design.critical_values[1], 1 - fraction
    for drift in (0.0, 2.0, 3.24):
        expected = norm.cdf((z * math.sqrt(fraction) + drift * rest - b) / math.sqrt(rest))
        found = conditional_power(design, 1, z, [drift * math.sqrt(rest)])
        assert found.sum() == pytest.approx(expected, rel=1e-8)
    expected = norm.cdf((z - b * math.sqrt(fraction)) / math.sqrt(rest))
    assert predictive_power(design, 1, z) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("prior_fraction", [0.05, 0.5, 20.0])
def test_predictive_power_under_a_normal_prior_has_a_closed_form(prior_fraction):
    """The final z given the data is normal: mean z sqrt(t) + (1 - t) m, variance (1 - t) + (1 - t)^2 v."""
    design, z, prior = Design(information_fractions=(0.6, 1.0)), 1.4, 2.5
    weight = prior_fraction + 0.6
    m = (prior_fraction * prior + z * math.sqrt(0.6)) / weight
    spread = math.sqrt(0.4 + 0.16 / weight)
    expected = norm.sf((design.critical_values[1] - z * math.sqrt(0.6) - 0.4 * m) / spread)
    assert predictive_power(design, 1, z, prior, prior_fraction) == pytest.approx(expected, abs=1e-9)


def test_predictive_power_over_two_looks_is_the_integral_of_conditional_power():
    gaps = np.sqrt(np.array([0.25, 0.5]))
    mean, sd = 1.9 / math.sqrt(0.5), 1 / math.sqrt(0.5)

    def part(drift):
        return norm.pdf(drift, mean, sd) * conditional_power(LOOKS, 1, 1.9, drift * gaps).sum()

    expected = quad(part, mean - 9 * sd, mean + 9 * sd, epsabs=1e-9, limit=200)[0]
    assert predictive_power(LOOKS, 1, 1.9) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("design", [LOOKS, gsdesigns(), Design(information_fractions=(0.5, 0.75, 1.0), sides=2)])
def test_conditional_power_is_what_simulated_paths_give(design):
    """400,000 paths from z of 1.2 at the first look under a drift of 2.5; four standard errors."""
    t, count = np.array(design.information_fractions), 400_000
    steps = np.random.default_rng(5).normal(2.5 * 0.25, 0.5, size=(count, 2))
    z = (1.2 * math.sqrt(0.5) + np.cumsum(steps, axis=1)) / np.sqrt(t[1:])
    upper = np.array(design.critical_values)[1:]
    lower = -upper if design.sides == 2 else np.array(design.futility_values)[1:]
    first = z[:, 0] >= upper[0]
    second = ~first & (z[:, 0] > lower[0]) & (z[:, 1] >= upper[1])
    found = conditional_power(design, 1, 1.2, 2.5 * np.sqrt(t[1:] - 0.5))
    for ours, paths in zip(found, (first, second), strict=True):
        assert ours == pytest.approx(paths.mean(), abs=4 * math.sqrt(paths.var() / count))


FAMILIES = [
    {"spending": "lan-demets-pocock"},
    {"spending": "hwang-shih-decani", "spending_parameter": -4.0},
    {"spending": "kim-demets", "spending_parameter": 2.0},
    {"spending": "obrien-fleming"},
    {"spending": "pocock"},
    {"spending": "wang-tsiatis", "spending_parameter": 0.25},
    {"spending": "user", "user_alpha": (0.005, 0.012, 0.025)},
    {"spending": "lan-demets-obrien-fleming", "futility_z": (0.0, 0.5), "binding": True},
    {"spending": "lan-demets-obrien-fleming", "futility_z": (0.0, 0.5)},
    {"spending": "lan-demets-obrien-fleming", "sides": 2},
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: "-".join(map(str, family.values())))
def test_a_z_on_the_bound_has_a_repeated_p_value_of_alpha(family):
    design = Design(information_fractions=(0.5, 0.75, 1.0), **family)
    held = LooksHeld(design, design.critical_values, (50.0, 75.0, 100.0))
    for look in (1, 2, 3):
        assert repeated_p(held, look) == pytest.approx(design.alpha, rel=1e-7)


def test_the_first_repeated_p_value_of_obrien_fleming_spending_has_a_closed_form():
    """2 (1 - Phi(q / sqrt(t))) = p at q the normal quantile of 1 - alpha / 2: alpha = 2 Phi(sqrt(t) Phi^{-1}(p / 2))."""
    held = LooksHeld(LOOKS, (1.9,), (1.0,))
    expected = 2 * norm.cdf(math.sqrt(0.5) * norm.ppf(norm.sf(1.9) / 2))
    assert repeated_p(held, 1) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("z", "p"), [(-3.0, 0.5), (0.0, 0.5), (40.0, 1e-12)])
def test_repeated_p_values_end_at_one_half_and_near_zero(z, p):
    assert repeated_p(LooksHeld(Design(), (z,), (1.0,)), 1) == pytest.approx(p, rel=1e-6)


def test_repeated_p_values_are_uniform_enough_to_be_p_values():
    """In a trial of two looks the chance that the sequential p-value is at most alpha is alpha, whatever alpha."""
    design = Design(information_fractions=(0.4, 1.0))
    for alpha in (0.01, 0.1, 0.3):
        bounds = Design(alpha=alpha, power=0.95, information_fractions=(0.4, 1.0)).critical_values
        for look, z in enumerate(bounds, start=1):
            held = LooksHeld(design, (-9.0,) * (look - 1) + (z,), (0.4, 1.0)[:look])
            assert repeated_p(held, look) == pytest.approx(alpha, rel=1e-8)


def test_a_fixed_design_has_the_plain_p_value_estimate_and_interval():
    found = sequential_estimate(Design(), (2.3,), information=(40.0,))
    se = 1 / math.sqrt(40)
    assert found.p == pytest.approx(norm.sf(2.3), rel=1e-10)
    assert found.median_unbiased == pytest.approx(2.3 * se, rel=1e-10)
    expected = tuple(2.3 * se + sign * norm.isf(0.025) * se for sign in (-1, 1))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)


def test_a_trial_that_ends_at_its_first_look_has_the_plain_numbers():
    """An earlier rejection is always stronger in the stage-wise order, so nothing is added."""
    found = sequential_estimate(LOOKS, (3.2,), events=(130,))
    assert found.p == pytest.approx(norm.sf(3.2), rel=1e-10)
    assert found.median_unbiased == pytest.approx(math.exp(-3.2 * 2 / math.sqrt(130)), rel=1e-9)


def test_a_z_on_the_last_bound_has_a_stagewise_p_value_of_alpha():
    z = (1.0, 1.5, LOOKS.critical_values[2])
    held = LooksHeld(LOOKS, z, (50.0, 75.0, 100.0))
    assert stagewise_p(held) == pytest.approx(0.025, abs=1e-10)
    assert stagewise_drift(held, 0.025) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("drift", [0.0, 1.5, 3.0])
def test_stagewise_limits_cover_and_the_estimate_is_median_unbiased(drift):
    """By simulation of 4,000 trials: three probabilities within four standard errors."""
    rng, count = np.random.default_rng(11), 4_000
    t = np.array(LOOKS.information_fractions)
    steps = rng.normal(drift * np.diff(t, prepend=0.0), np.sqrt(np.diff(t, prepend=0.0)), size=(count, 3))
    z = np.cumsum(steps, axis=1) / np.sqrt(t)
    crossed = z >= np.array(LOOKS.critical_values)
    ends = np.where(crossed.any(axis=1), crossed.argmax(axis=1), 2)
    goals, hits = (0.025, 0.5, 0.975), np.zeros(3)
    for row, end in zip(z, ends, strict=True):
        held = LooksHeld(LOOKS, tuple(row[: end + 1]), tuple(100 * t[: end + 1]))
        tail = 1 - tail_probability(held, drift)
        hits += [tail >= 1 - goal for goal in goals]
    for goal, hit in zip(goals, hits, strict=True):
        assert hit / count == pytest.approx(goal, abs=4 * math.sqrt(goal * (1 - goal) / count))


def tail_probability(held, drift):
    """P of a result as far up under a drift; the limits are its inverse, which another test holds."""
    from trialml.design import monitoring

    return monitoring._tail(held, drift)


def test_limits_and_estimate_are_in_order_and_invert_the_tail():
    held = LooksHeld(LOOKS, (1.0, 2.5), (50.0, 75.0))
    drifts = [stagewise_drift(held, one) for one in (0.025, 0.5, 0.975)]
    assert all(a < b for a, b in itertools.pairwise(drifts))
    assert [tail_probability(held, one) for one in drifts] == pytest.approx([0.025, 0.5, 0.975], abs=1e-10)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"z": ()}, "z is empty"),
        ({"z": 1.9}, "z is 1.9: give one number for every look held"),
        ({"z": (math.nan,)}, "a number of z is nan"),
        ({"z": (1.0, 2.0)}, "2 z and 1 informations"),
        ({"information": (0.0,)}, "an information is 0"),
        ({"z": (1.0, 2.0), "information": (5.0, 4.0)}, "the information at the looks held is 5, 4: give numbers that"),
        ({"z": (1.0,) * 4, "information": (1.0, 2.0, 3.0, 4.0)}, "4 looks were held and 3 planned"),
        ({"maximum_information": -1.0}, "maximum_information is -1"),
    ],
)
def test_looks_that_cannot_be_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        LooksHeld(LOOKS, **{"z": (1.9,), "information": (32.5,), **changes})

"""Events by calendar time against rpact 3.3.4, gsDesign 3.10.1 and numerical integration."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError

REFERENCE = Path(__file__).parents[1] / "reference"
PIECES = {"hazard_breaks_months": (0, 6, 12), "control_hazards_per_month": (0.08, 0.06, 0.04)}


def stored(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())["outputs"]


@pytest.fixture
def exponential():
    """lambda2 = log(2) / 12, hazard ratio 0.7, 480 patients in 12 months, 5 % dropout within 12 months."""
    return Scenario.from_median(
        "exponential",
        control_median_months=12,
        hazard_ratio=0.7,
        accrual_per_month=40,
        patients=480,
        dropout_per_month=-math.log(0.95) / 12,
    )


ASKED = (
    "accrualTime",
    "accrualIntensity",
    "kappa",
    "piecewiseSurvivalTime",
    "allocationRatioPlanned",
    "hazardRatio",
    "dropoutRate1",
    "dropoutRate2",
    "dropoutTime",
    "maxNumberOfSubjects",
)


def test_event_probabilities_are_rpacts(oracle, exponential):
    """rpact: getEventProbabilities(time, lambda2 = log(2)/12, hazardRatio = .7, accrualTime = c(0, 12),
    maxNumberOfSubjects = 480, dropoutRate1 = .05, dropoutRate2 = .05, dropoutTime = 12), and with
    piecewiseSurvivalTime = c(0, 6, 12), lambda2 = c(.08, .06, .04), accrualTime = c(0, 6, 12),
    accrualIntensity = c(20, 40), maxNumberOfSubjects = 360."""
    case = oracle("design_event_probabilities")
    pieces = Scenario(
        "pieces", hazard_ratio=0.7, accrual_per_month=(20, 40), accrual_breaks_months=(0, 6), patients=360, **PIECES
    )
    for part, ours in (("exp", exponential), ("piecewise", pieces)):
        months = np.array(case.take(part, "time"), dtype=float)
        found = ours.event_probability(months)
        case.agrees(found.experimental, part, "eventProbabilities1")
        case.agrees(found.control, part, "eventProbabilities2")
        overall = ours.expected_events(months) / ours.size()
        case.agrees(overall, part, "overallEventProbabilities")
        case.agrees(overall, part, "cumulativeEventProbabilities")
        control = np.array(ours.control_hazards_per_month or ours.control_hazard_per_month)
        case.agrees(control, part, "lambda2")
        case.agrees(0.7 * control, part, "lambda1")
        for name in ASKED:
            case.aside(part, name, reason="what was asked for")


def test_events_of_each_arm_are_gsdesigns():
    """gsSurv(k = 3, test.type = 4, timing = c(.5, .75), lambdaC = log(2)/12, hr = .7, eta = .004, R = 12, T = 30,
    minfup = 18): eDC and eDE at its times T, with the accrual rate that it found."""
    truth = stored("gsdesign_nsurv")["gsSurv"]
    rate = truth["gamma"]["rows"][0][0]
    scenario = Scenario.from_median(
        "gsSurv",
        control_median_months=12,
        hazard_ratio=0.7,
        accrual_per_month=rate,
        accrual_months=12,
        dropout_per_month=0.004,
    )
    ours = scenario.event_probability(truth["T"])
    control = np.ravel(truth["eDC"]["rows"])
    experimental = np.ravel(truth["eDE"]["rows"])
    assert 6 * rate * ours.control == pytest.approx(control, rel=1e-8)
    assert 6 * rate * ours.experimental == pytest.approx(experimental, rel=1e-8)


@pytest.mark.parametrize("month", [0.001, 3.0, 9.0, 20.0, 55.0])
def test_event_probability_is_the_double_integral(month):
    """Numerical integration over entry of the integral of h(s) exp(-H(s) - d s), an independent calculation."""
    scenario = Scenario("s", hazard_ratio=0.6, accrual_per_month=10, patients=150, dropout_per_month=0.01, **PIECES)

    def cumulative(s):
        return 0.08 * min(s, 6) + 0.06 * min(max(s - 6, 0), 6) + 0.04 * max(s - 12, 0)

    def observed(u):
        hazard = lambda s: 0.08 if s < 6 else 0.06 if s < 12 else 0.04  # noqa: E731
        inner = lambda s: hazard(s) * math.exp(-cumulative(s) - 0.01 * s)  # noqa: E731
        edges = [0.0, *[b for b in (6.0, 12.0) if b < u], u]
        return sum(quad(inner, a, b, epsabs=1e-13)[0] for a, b in itertools.pairwise(edges))

    entered = min(month, 15.0)
    breaks = sorted({month - b for b in (6.0, 12.0) if 0 < month - b < entered})
    edges = [0.0, *breaks, entered]
    total = sum(quad(lambda e: observed(month - e), a, b, epsabs=1e-12)[0] for a, b in itertools.pairwise(edges))
    assert scenario.event_probability(month).control == pytest.approx(total / 15, rel=1e-8)


def test_tiny_hazards_keep_their_digits():
    """For a hazard h so small that no one is used up, the events are h times the time at risk."""
    scenario = Scenario("rare", hazard_ratio=1.0, accrual_per_month=10, patients=100, control_hazard_per_month=1e-9)
    assert float(scenario.expected_events(24.0)) == pytest.approx(100 * 1e-9 * (24 - 5), rel=1e-7)


def test_months_to_events_inverts_expected_events(exponential):
    for events in (1.0, 50.0, 168.2, 300.0, 400.0):
        month = exponential.months_to_events(events)
        assert float(exponential.expected_events(month)) == pytest.approx(events, rel=1e-10)


def test_analysis_times_of_a_fixed_size_are_rpacts():
    """rpact: getPowerSurvival(asOF .5/.75/1, lambda2 = log(2)/12, hazardRatio, accrualTime = c(0, 12),
    maxNumberOfSubjects = 480, maxNumberOfEvents = 335)$analysisTime; its roots are good to 1e-6 or so."""
    truth = stored("design_survival_power")["hr_grid"]
    for column, ratio in enumerate(truth["hazardRatio"]):
        scenario = Scenario.from_median(
            "grid", control_median_months=12, hazard_ratio=ratio, accrual_per_month=40, patients=480
        )
        ours = [scenario.months_to_events(row[0]) for row in truth["eventsPerStage"]["rows"]]
        assert ours == pytest.approx([row[column] for row in truth["analysisTime"]["rows"]], rel=1e-6)


def test_events_that_the_patients_can_never_give_are_refused_with_what_they_can_give(exponential):
    total = 480 * exponential.eventual_probability()
    with pytest.raises(AnalysisError, match=f"480 patients can give at most {total:.1f} events, but 470.0 are needed"):
        exponential.months_to_events(470)
    assert float(exponential.expected_events(5000.0)) == pytest.approx(total, rel=1e-8)


def test_control_risk_is_that_of_the_hazard():
    pieces = Scenario("pieces", hazard_ratio=0.7, accrual_per_month=1, **PIECES)
    assert pieces.control_risk(24) == pytest.approx(1 - math.exp(-(0.08 * 6 + 0.06 * 6 + 0.04 * 12)), rel=1e-12)
    assert pieces.control_risk(3) == pytest.approx(1 - math.exp(-0.24), rel=1e-12)


def test_enrolment_is_linear_and_then_complete(exponential):
    assert exponential.enrolled([0, 6, 12, 30]) == pytest.approx([0, 240, 480, 480])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hazard_ratio": -0.5}, "hazard_ratio of scenario 's' is -0.5"),
        ({"hazard_ratio": math.nan}, "hazard_ratio of scenario 's' is nan"),
        ({"accrual_per_month": 0}, "accrual_per_month of scenario 's' is 0"),
        ({"dropout_per_month": -0.1}, "dropout_per_month of scenario 's' is -0.1: give 0 or more"),
        ({"control_hazard_per_month": 0}, "control_hazard_per_month of scenario 's' is 0"),
        ({"control_hazard_per_month": None}, "needs the control hazard once"),
        (PIECES, "needs the control hazard once"),
        ({"patients": 100, "accrual_months": 10}, "give one of the two"),
        ({"control_hazard_per_month": None, **PIECES, "hazard_breaks_months": (0, 6)}, "2 hazard breaks and 3"),
        ({"control_hazard_per_month": None, **PIECES, "hazard_breaks_months": (0, 6, 6)}, "start at 0 and increase"),
        ({"control_hazard_per_month": None, **PIECES, "hazard_breaks_months": (1, 6, 12)}, "start at 0 and increase"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused_in_a_sentence(changes, sentence):
    plain = {"hazard_ratio": 0.7, "accrual_per_month": 20, "control_hazard_per_month": 0.05}
    with pytest.raises(AnalysisError, match=sentence):
        Scenario("s", **{**plain, **changes})


def test_a_scenario_without_size_says_so():
    with pytest.raises(AnalysisError, match="does not say how many patients"):
        Scenario("s", hazard_ratio=0.7, accrual_per_month=20, control_hazard_per_month=0.05).expected_events(12)


def test_a_month_that_is_no_number_is_refused(exponential):
    with pytest.raises(AnalysisError, match="calendar months"):
        exponential.expected_events(math.nan)

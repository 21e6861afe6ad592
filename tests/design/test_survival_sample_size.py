"""Events and patients against rpact 3.3.4 and gsDesign 3.10.1."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from trialml.design.sample_size import patients_for_events, round_up, survival_events
from trialml.design.scenario import Scenario
from trialml.errors import AnalysisError

REFERENCE = Path(__file__).parents[1] / "reference"
FIXED = json.loads((REFERENCE / "design_survival_fixed.json").read_text())["outputs"]
NSURV = json.loads((REFERENCE / "gsdesign_nsurv.json").read_text())["outputs"]


def scenario(**changes):
    plain = {"hazard_ratio": 0.7, "accrual_per_month": 40.0, "control_median_months": 12}
    return Scenario.from_median("s", **{**plain, **changes})


@pytest.mark.parametrize("method", ["schoenfeld", "freedman"])
@pytest.mark.parametrize("ratio", [1, 2])
def test_events_are_rpacts(method, ratio):
    """rpact: getSampleSizeSurvival(alpha = .025, beta = .1, hazardRatio = .7, typeOfComputation, allocationRatioPlanned)."""
    truth = FIXED[f"{method}_{ratio}"]["eventsFixed"]
    ours = survival_events(0.7, alpha=0.025, power=0.9, allocation_ratio=ratio, method=method)
    assert ours == pytest.approx(truth, rel=1e-8)


def test_schoenfeld_events_are_gsdesigns():
    """gsDesign::nEvents(hr = c(.6, .7, .8), alpha = .025, beta = .1), and ratio = 2 for hr = .7."""
    ours = [survival_events(hr, alpha=0.025, power=0.9) for hr in (0.6, 0.7, 0.8)]
    assert ours == pytest.approx(NSURV["nEvents_schoenfeld"], rel=1e-8)
    assert survival_events(0.7, alpha=0.025, power=0.9, allocation_ratio=2) == pytest.approx(
        NSURV["nEvents_ratio2"], rel=1e-8
    )


@pytest.mark.parametrize(("ratio", "events"), [(0.7, 330.3779), (0.75, 507.8443), (0.6, 161.0686)])
def test_events_of_textbook_hazard_ratios(ratio, events):
    assert survival_events(ratio, alpha=0.025, power=0.9) == pytest.approx(events, abs=5e-5)


def test_schoenfeld_is_symmetric_in_the_log_hazard_ratio():
    up, down = (survival_events(value, alpha=0.025, power=0.8) for value in (2.0, 0.5))
    assert up == pytest.approx(down, rel=1e-12)


@pytest.mark.parametrize("case", ["schoenfeld_1", "schoenfeld_2", "freedman_1", "freedman_2", "schoenfeld_dropout"])
def test_patients_for_a_follow_up_are_rpacts(case):
    """rpact: accrualTime = c(0, 12), followUpTime = 18; dropoutRate1 = dropoutRate2 = .05 by dropoutTime = 12."""
    truth = FIXED[case]
    dropout = -math.log(1 - truth["dropoutRate1"]) / 12
    assumed = scenario(
        accrual_per_month=truth["nFixed"] / 12,
        dropout_per_month=dropout,
        allocation_ratio=truth["allocationRatioPlanned"],
    )
    ours = patients_for_events(assumed, truth["eventsFixed"], follow_up_months=18, whole_numbers=False)
    assert ours == pytest.approx(truth["nFixed"], rel=1e-8)


def test_patients_with_a_dropout_hazard_are_gsdesigns():
    """gsDesign: nSurv(lambdaC = log(2)/12, hr = .7, eta = .004, R = 12, T = 30, minfup = 18, method = "Schoenfeld")."""
    truth = NSURV["methods"]["Schoenfeld"]
    assumed = scenario(accrual_per_month=truth["n"] / 12, dropout_per_month=0.004)
    ours = patients_for_events(assumed, truth["d"], duration_months=30, whole_numbers=False)
    assert ours == pytest.approx(truth["n"], rel=1e-8)


def test_follow_up_and_duration_are_two_ways_to_the_same_size():
    by_follow_up = patients_for_events(scenario(), 331, follow_up_months=18, whole_numbers=False)
    duration = by_follow_up / 40 + 18
    by_duration = patients_for_events(scenario(), 331, duration_months=duration, whole_numbers=False)
    assert by_duration == pytest.approx(by_follow_up, rel=1e-9)


def test_patients_are_rounded_up_to_the_block_and_give_the_events():
    patients = patients_for_events(scenario(), 330.3779, follow_up_months=18, block=6)
    exact = patients_for_events(scenario(), 331.0, follow_up_months=18, whole_numbers=False)
    assert patients % 6 == 0
    assert exact <= patients < exact + 6
    assert float(scenario().expected_events(patients / 40 + 18, patients)) >= 331


def test_rounding_up_forgives_rounding_error_only():
    assert round_up(12.0 + 1e-12) == 12
    assert round_up(12.001) == 13
    assert round_up(485.03, 4) == 488
    assert np.isclose(round_up(484.0, 4), 484)


@pytest.mark.parametrize(
    ("ratio", "settings", "sentence"),
    [
        (1.0, {}, "the hazard ratio is 1, no effect"),
        (-0.7, {}, "the hazard ratio is -0.7"),
        (0.0, {}, "the hazard ratio is 0"),
        (math.nan, {}, "the hazard ratio is nan"),
        (0.7, {"alpha": 0.6}, r"alpha \(one-sided\) is 0.6"),
        (0.7, {"power": 0.02}, "power is 0.02, not above"),
        (0.7, {"allocation_ratio": -1.0}, "allocation_ratio"),
        (0.7, {"method": "schonfeld"}, "the nearest name is 'schoenfeld'"),
    ],
)
def test_events_that_make_no_sense_are_refused_in_a_sentence(ratio, settings, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        survival_events(ratio, **{"alpha": 0.025, "power": 0.9, **settings})


def test_accrual_that_can_never_give_the_events_is_refused_with_what_it_can_give():
    slow = scenario(accrual_per_month=5.0)
    most = 5.0 * float(slow.mean_integral(24.0))
    with pytest.raises(AnalysisError, match=f"gives at most {most:.1f} events in 24 months, but 331.0 are needed"):
        patients_for_events(slow, 330.4, duration_months=24)


@pytest.mark.parametrize("times", [{}, {"follow_up_months": 12, "duration_months": 36}])
def test_the_end_of_the_trial_is_given_once(times):
    with pytest.raises(AnalysisError, match="must be given once"):
        patients_for_events(scenario(), 300, **times)


@pytest.mark.parametrize("times", [{"follow_up_months": math.nan}, {"duration_months": 0}, {"follow_up_months": -1}])
def test_times_that_make_no_sense_are_refused(times):
    with pytest.raises(AnalysisError, match="months is"):
        patients_for_events(scenario(), 300, **times)

"""The rule on recalibrating, case by case."""

import math

import pytest

from trialml.result import Estimate, Result
from trialml.validation.recalibration import judge_recalibration


def measures(c=(0.7, 0.65, 0.75), oe=(1.0, 0.9, 1.1), slope=(1.0, 0.8, 1.2)):
    return {"Harrell's C": Estimate(*c), "observed over expected": Estimate(*oe), "calibration slope": Estimate(*slope)}


@pytest.mark.parametrize(
    ("found", "decision"),
    [
        ({}, "keep"),
        ({"oe": (1.5, 1.3, 1.7)}, "recalibrate"),
        ({"oe": (1.2, 1.1, 1.3)}, "keep"),  # outside 1, within the band
        ({"oe": (1.5, 0.9, 2.1)}, "keep"),  # outside the band, but 1 is within reach
        ({"slope": (0.4, 0.2, 0.6)}, "recalibrate"),
        ({"c": (0.5, 0.46, 0.54)}, "learn again"),
        ({"c": (math.nan,) * 3, "oe": (math.nan,) * 3, "slope": (math.nan,) * 3}, "too few outcomes"),
    ],
)
def test_the_rule_over_all_patients(found, decision):
    assert judge_recalibration(measures(**found)).decision == decision


def test_the_latest_period_counts_by_itself_and_is_named():
    found = judge_recalibration(measures(), measures(oe=(0.5, 0.4, 0.6)), latest_period="2026-Q1")
    assert found.decision == "recalibrate"
    assert "2026-Q1" in found.reasons[0]
    assert found.verdict.startswith("RECALIBRATE")


def test_a_mean_that_is_off_by_a_fifth_of_the_error_is_recalibrated():
    error = Estimate(10.0, 9.0, 11.0)
    off = {"observed less predicted mean": Estimate(2.5, 1.5, 3.5), "root mean squared error": error}
    near = {"observed less predicted mean": Estimate(1.5, 1.2, 1.8), "root mean squared error": error}
    assert judge_recalibration(off).decision == "recalibrate"
    assert judge_recalibration(near).decision == "keep"


def test_a_shift_alone_is_no_verdict_and_the_rule_is_stated():
    found = judge_recalibration({}, shifted=("age",), outcomes=False)
    assert found.decision == "no outcomes"
    assert "shifted: age" in found.verdict
    assert "The rule: recalibrate where" in found.text()
    assert Result.from_dict(found.to_dict()).verdict == found.verdict

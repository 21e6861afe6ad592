"""Invented evidence for the tests of the bridge."""

from trialml.design.bridge_setting import TrialSetting
from trialml.design.response_evidence import GroupEvidence, PlannedEndpoint, ResponseEvidence


def survival_evidence(**changes):
    """A stratum of 40 % with a hazard ratio of about 0.6, and 0.9 outside."""
    numbers = {
        "endpoint": PlannedEndpoint("time to event", "death"),
        "rule": "marker at least 1",
        "complement": "marker below 1",
        "inside": GroupEvidence(control_hazard_per_month=0.05, control_events=90),
        "outside": GroupEvidence(control_hazard_per_month=0.04, control_events=110),
        "mean": (-0.5, -0.1),
        "covariance": ((0.02, 0.005), (0.005, 0.02)),
        "data_covariance": ((0.03, 0.0), (0.0, 0.02)),
        "count": 400,
        "n": 1000,
        "heterogeneity_p": 0.01,
    }
    return ResponseEvidence(**(numbers | changes))


def continuous_evidence(**changes):
    """A difference of means of 4 inside and 1 outside, standard deviation 10."""
    group = GroupEvidence(control_mean=50.0, sd=10.0)
    numbers = {
        "endpoint": PlannedEndpoint("continuous", "score", scale="difference", unit="points", higher_is_better=True),
        "inside": group,
        "outside": group,
        "mean": (4.0, 1.0),
        "covariance": ((1.0, 0.2), (0.2, 0.8)),
        "data_covariance": ((1.5, 0.0), (0.0, 1.2)),
    }
    return survival_evidence(**(numbers | changes))


def survival_setting(**changes):
    """800 patients, hazard ratios up to 0.85 worth claiming."""
    numbers = {"screened_per_month": 40, "follow_up_months": 12, "minimum_effect": 0.85, "budget": 800}
    return TrialSetting(**(numbers | changes))


def continuous_setting(**changes):
    """300 patients, differences from 2 on worth claiming."""
    return survival_setting(**({"minimum_effect": 2.0, "budget": 300, "follow_up_months": 3} | changes))

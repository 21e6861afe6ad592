"""Net benefit on a binary endpoint without follow-up: decision curves on the control arm, and of treatment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.result import Kind
from trialml.validation.binary import known_events
from trialml.validation.net_benefit import NetBenefit
from trialml.validation.net_benefit_curves import Arm, arm_flags, curves_of_risk, curves_of_treatment

__all__ = ["binary_decision_curve", "binary_net_benefit_of_treatment"]

Flags = NDArray[np.bool_]


def binary_decision_curve(
    event: Any, risks: Mapping[str, Any], treated: Any, *, thresholds: Sequence[float], kind: Kind
) -> NetBenefit:
    """Return the net benefit of acting on predicted probabilities under control, judged on the control arm.

    Parameters
    ----------
    event
        True where the event, which is bad, happened, known of everybody, shape ``(n,)``; where follow-up may have been
        cut before, use `decision_curve`.
    risks
        Of each model by name the predicted probability under control, shape ``(n,)``.
    treated
        True in the experimental arm, whose patients are left out, shape ``(n,)``.
    thresholds
        Probabilities from which on one would act, ascending, above 0 and below 1: set by clinicians, not by the data.
    kind
        What the predictions are; apparent curves are too good.

    Returns
    -------
    NetBenefit
        ``mean(1{risk >= t} (1{event} - 1{no event} t / (1 - t)))``.

    Raises
    ------
    DataError
        If an event is missing, a risk is no probability or a threshold not within 0 and 1.
    AnalysisError
        If the control arm has no patients.
    """
    happened = known_events(event)
    control = ~arm_flags(treated, happened.size)
    arm = _known(happened, control, "control")
    return NetBenefit(curves_of_risk(arm, control, risks, thresholds), "risk under control", None, "", kind,
                      int(control.sum()), int(arm.case.sum()))  # fmt: skip


def binary_net_benefit_of_treatment(
    event: Any, benefits: Mapping[str, Any], treated: Any, *, thresholds: Sequence[float], kind: Kind
) -> NetBenefit:
    """Return the net benefit of treating whoever is predicted to gain enough, in a randomised trial.

    Parameters
    ----------
    event
        As in `binary_decision_curve`.
    benefits
        Of each model by name the predicted absolute reduction of the probability, shape ``(n,)``.
    treated
        True in the experimental arm, shape ``(n,)``; the allocation must not depend on the predictions.
    thresholds
        Absolute risk reductions that are just worth a treatment, ascending, from 0 to below 1.
    kind
        What the predictions are; apparent curves are too good.

    Returns
    -------
    NetBenefit
        As `net_benefit_of_treatment`.

    Raises
    ------
    DataError
        If an event is missing, a benefit is not within -1 and 1 or a threshold not within 0 and 1.
    AnalysisError
        If all or none are treated.
    """
    happened = known_events(event)
    experimental = arm_flags(treated, happened.size)
    arms = [
        (flag, _known(happened, flag, name))
        for flag, name in ((~experimental, "control"), (experimental, "experimental"))
    ]
    return NetBenefit(
        curves_of_treatment(arms, benefits, thresholds), "treatment", None, "", kind, happened.size, int(happened.sum())
    )


def _known(happened: Flags, flag: Flags, name: str) -> Arm:
    if not flag.any():
        raise AnalysisError(f"the {name} arm has no patients: net benefit needs them")
    return Arm(happened[flag], np.ones(int(flag.sum())), np.zeros_like)

"""Benefit by one Cox model in each arm: a comparator."""

from __future__ import annotations

from trialml.models import Model
from trialml.models.cox_ridge import CoxRidge
from trialml.models.meta_learners import OfTimes, TLearner

__all__ = ["MODEL", "TLearnerTimes"]


class TLearnerTimes(TLearner, OfTimes):
    """`TLearner` of `CoxRidge`. `learned_` holds the model of the control arm, then that of the experimental arm."""

    learner = CoxRidge


MODEL = Model(
    name="t_learner",
    question="response",
    words=(
        "a T-learner, as a comparator: "
        "a Cox model with a ridge penalty in each arm, their difference of restricted means, shrunk towards the average effect by the "
        "out-of-fold calibration slope"
    ),
    estimator=TLearnerTimes,
    learns_from="outcomes",
)

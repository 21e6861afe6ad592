"""Benefit on a binary endpoint by one logistic model in each arm: a comparator."""

from __future__ import annotations

from trialml.models import Model
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.meta_learners import OfEvents, TLearner

__all__ = ["MODEL", "TLearnerEvents"]


class TLearnerEvents(TLearner, OfEvents):
    """`TLearner` of `LogisticRidge`. `learned_` holds the model of the control arm, then that of the experimental arm."""

    learner = LogisticRidge


MODEL = Model(
    name="t_learner_binary",
    question="response",
    words=(
        "a T-learner, as a comparator: "
        "a logistic model with a ridge penalty in each arm, their difference of risks, shrunk towards the average effect by the "
        "out-of-fold calibration slope"
    ),
    estimator=TLearnerEvents,
    endpoint="binary",
    learns_from="outcomes",
)

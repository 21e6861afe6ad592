"""Benefit on a continuous endpoint by one linear model in each arm: a comparator."""

from __future__ import annotations

from trialml.models import Model
from trialml.models.linear_ridge import LinearRidge
from trialml.models.meta_learners import OfMeans, TLearner

__all__ = ["MODEL", "TLearnerMeans"]


class TLearnerMeans(TLearner, OfMeans):
    """`TLearner` of `LinearRidge`. `learned_` holds the model of the control arm, then that of the experimental arm."""

    learner = LinearRidge


MODEL = Model(
    name="t_learner_continuous",
    question="response",
    words=(
        "a T-learner, as a comparator: "
        "a linear model with a ridge penalty in each arm, their difference of means, shrunk towards the average effect by the "
        "out-of-fold calibration slope"
    ),
    estimator=TLearnerMeans,
    endpoint="continuous",
    learns_from="outcomes",
)

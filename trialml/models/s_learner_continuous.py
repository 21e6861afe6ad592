"""Benefit on a continuous endpoint by one model of boosted trees that knows the arm: a comparator."""

from __future__ import annotations

from trialml.models import Model
from trialml.models.boosted_continuous import BoostedContinuous
from trialml.models.meta_learners import OfMeans, SLearner

__all__ = ["MODEL", "SLearnerMeans"]


class SLearnerMeans(SLearner, OfMeans):
    """`SLearner` of `BoostedContinuous`. `learned_` holds the model."""

    learner = BoostedContinuous


MODEL = Model(
    name="s_learner_continuous",
    question="response",
    words=(
        "an S-learner, as a comparator: "
        "one model of boosted trees with the arm as a covariate, its difference of means between the arms, shrunk towards the average effect by the "
        "out-of-fold calibration slope"
    ),
    estimator=SLearnerMeans,
    endpoint="continuous",
    learns_from="outcomes",
)

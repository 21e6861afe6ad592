"""Benefit on a binary endpoint by one model of boosted trees that knows the arm: a comparator."""

from __future__ import annotations

from trialml.models import Model
from trialml.models.boosted_binary import BoostedBinary
from trialml.models.meta_learners import OfEvents, SLearner

__all__ = ["MODEL", "SLearnerEvents"]


class SLearnerEvents(SLearner, OfEvents):
    """`SLearner` of `BoostedBinary`. `learned_` holds the model."""

    learner = BoostedBinary


MODEL = Model(
    name="s_learner_binary",
    question="response",
    words=(
        "an S-learner, as a comparator: "
        "one model of boosted trees with the arm as a covariate, its difference of risks between the arms, shrunk towards the average effect by the "
        "out-of-fold calibration slope"
    ),
    estimator=SLearnerEvents,
    endpoint="binary",
    learns_from="outcomes",
)

"""Benefit by one survival forest that knows the arm: a comparator."""

from __future__ import annotations

from trialml.models import Model
from trialml.models.meta_learners import OfTimes, SLearner
from trialml.models.survival_forest import SurvivalForest

__all__ = ["MODEL", "SLearnerTimes"]


class SLearnerTimes(SLearner, OfTimes):
    """`SLearner` of `SurvivalForest`. `learned_` holds the model."""

    learner = SurvivalForest


MODEL = Model(
    name="s_learner",
    question="response",
    words=(
        "an S-learner, as a comparator: "
        "one survival forest with the arm as a covariate, its difference of restricted means between the arms, shrunk towards the average effect by the "
        "out-of-fold calibration slope"
    ),
    estimator=SLearnerTimes,
    learns_from="outcomes",
)

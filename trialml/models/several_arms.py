"""Benefit of several experimental arms against a common control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from trialml.errors import DataError
from trialml.models import model_named, models_for
from trialml.models.columns import names_of
from trialml.models.encode import CovariateEncoder
from trialml.models.ridge_scores import RidgeScores
from trialml.models.scores_regression import ScoresRegression
from trialml.models.shrunk_benefit import checked_scores

__all__ = ["CAUTION", "SeveralArms"]

Floats = NDArray[np.float64]

CAUTION = (
    "The arm with the largest expected benefit is the largest of several estimates, and tends to be overstated: what it is worth "
    "to choose by it is known from patients on whom nothing was learned."
)


class SeveralArms(BaseEstimator):  # type: ignore[misc]
    """One response model a column of scores, each shrunk towards its own arm's average effect by its own slope.

    The columns are doubly robust scores of each experimental arm against the common control. Encoder and splits are the
    same for all, so that patients are compared between arms on the same footing; the averages, slopes and gates are not.

    Parameters
    ----------
    arms : tuple of str
        Names of the experimental arms, in the order of the columns.
    model : ScoresRegression or None
        The unfitted model of a column; None for `RidgeScores`.
    control : str
        The control arm's name.

    Attributes
    ----------
    models_ : list of ScoresRegression
        One an arm.
    """

    def __init__(
        self, arms: tuple[str, ...] = (), model: ScoresRegression | None = None, control: str = "control"
    ) -> None:
        self.arms = arms
        self.model = model
        self.control = control

    def fit(self, X: pd.DataFrame, y: NDArray[np.float64]) -> Self:
        """Fit on covariates X, shape (n, p), and doubly robust scores y, shape (n, arms).

        Raises
        ------
        DataError
            If names and columns do not match, a name stands twice, or a score is missing.
        """
        scores = checked_scores(y, len(X), columns=True)
        names = [*self.arms, self.control]
        if len(self.arms) != scores.shape[1] or len(set(names)) < len(names):
            raise DataError(
                f"the arms {', '.join(self.arms) or 'none'} and the control {self.control} do not name the {scores.shape[1]} columns "
                "of scores: give each column a name of its own, in their order"
            )
        self.feature_names_in_ = names_of(X)
        self.models_ = (RidgeScores() if self.model is None else self.model).fit_arms(X, scores)
        return self

    def benefit_score(self, X: pd.DataFrame) -> Floats:
        """Return the benefit scores before shrinkage, for ordering patients, shape (n, arms)."""
        check_is_fitted(self, "models_")
        return np.column_stack([model.benefit_score(X) for model in self.models_])

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the expected benefit of each arm over control given the covariates, shape (n, arms)."""
        check_is_fitted(self, "models_")
        return np.column_stack([model.predict(X) for model in self.models_])

    @property
    def shrinkage(self) -> dict[str, float]:
        """The share of the benefit score's spread that is kept, by arm."""
        return {arm: model.shrinkage for arm, model in zip(self.arms, self.models_, strict=True)}

    def best_arm(self, X: pd.DataFrame, margin: float = 0.0) -> pd.DataFrame:
        """Return the arm with the largest expected benefit of each patient; see `CAUTION`.

        Parameters
        ----------
        X
            Covariates, shape (n, p).
        margin
            Benefit over control below which an arm is not worth its harm, in the unit of the scores: the control is named
            where no arm reaches more.

        Returns
        -------
        DataFrame
            Index of X. ``arm``; ``expected_benefit`` over control (0 for control); ``lead`` over the next best, the
            control (at `margin`) among them: a small lead means that the arms are as good as each other.

        Raises
        ------
        DataError
            If the margin is negative or missing.
        """
        if not margin >= 0:
            raise DataError(f"margin is {margin:g}: give the least benefit that is worth an arm's harm, 0 or more")
        expected = self.predict(X)
        # The control comes first, so that it is kept where an arm only reaches the margin.
        every = np.column_stack([np.full(len(expected), float(margin)), expected])
        best = every.argmax(axis=1)
        ordered = np.sort(every, axis=1)
        names = np.asarray([self.control, *self.arms], dtype=object)
        gain = np.where(best == 0, 0.0, every[np.arange(len(every)), best])
        lead = ordered[:, -1] - ordered[:, -2]
        return pd.DataFrame({"arm": names[best], "expected_benefit": gain, "lead": lead}, index=X.index)

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        encoder = self.models_[0].encoder_.state()
        parts = [{name: value for name, value in one.state().items() if name != "encoder"} for one in self.models_]
        return {
            "arms": list(self.arms),
            "control": self.control,
            "model": _name_of(self.models_[0]),
            "encoder": encoder,
            "models": parts,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        estimator = model_named(state["model"], "response").estimator
        model = cls(arms=tuple(state["arms"]), model=estimator(), control=state["control"])
        encoder = CovariateEncoder.from_state(state["encoder"])
        model.models_ = [estimator.from_state({**part, "encoder": state["encoder"]}) for part in state["models"]]
        for one in model.models_:
            one.encoder_ = encoder
        model.feature_names_in_ = encoder.feature_names_in_
        return model


def _name_of(model: ScoresRegression) -> str:
    """Return what the study file calls a model."""
    return next(one.name for one in models_for("response").values() if one.estimator is type(model))

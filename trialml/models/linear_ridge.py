"""The mean of a continuous endpoint by linear regression with a ridge penalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError, DataError
from trialml.models import Model
from trialml.models.encode import CovariateEncoder
from trialml.models.linear_design import LinearDesign, copies_of, refuse_perfect_line
from trialml.models.ridge_line import ridge_line
from trialml.models.score import ScoredByVariance

__all__ = ["MODEL", "LinearRidge", "checked_numbers"]

Floats = NDArray[np.float64]

FEWEST_PATIENTS = 10


class LinearRidge(ScoredByVariance, LinearDesign):
    """Linear regression with a quadratic penalty on standardised covariates.

    The sum of squares plus ``penalty * sum(b_j^2)`` is minimised; intercept and arm are not penalised. The penalty is the one of
    the grid with the smallest leave-one-out error, in closed form.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), left out of the penalty and of the standardisation.
    penalties : tuple of float
        The grid, for one patient: each is multiplied by n. One value switches the tuning off.
    seed : int
        Not used: nothing is random here. It stands with the other models' for callers that treat all alike.
    knots : int
        3, 4 or 5 for restricted cubic splines of numeric covariates, as in `CovariateEncoder`; 0 for straight lines.

    Attributes
    ----------
    encoder_ : CovariateEncoder
    intercept_ : float
        Mean of an average patient of the control arm.
    coefficients_ : ndarray of shape (k,)
        Change for one standard deviation of each column of the encoder, in the outcome's unit.
    treatment_coefficient_, penalty_ : float

    References
    ----------
    Golub GH, Heath M, Wahba G. Generalized cross-validation as a method for choosing a good ridge parameter.
    Technometrics 1979;21:215-223.
    """

    def __init__(
        self,
        treatment: str | None = None,
        penalties: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0),
        seed: int = 1,
        knots: int = 0,
    ) -> None:
        self.treatment = treatment
        self.penalties = penalties
        self.seed = seed
        self.knots = knots

    def fit(self, X: pd.DataFrame, y: Any) -> Self:
        """Fit on covariates X, shape (n, p), and numbers y, shape (n,).

        Raises
        ------
        DataError
            If y is missing, infinite or no row of numbers.
        AnalysisError
            If there are fewer than 10 patients, y is the same for all, or a covariate is a line of it.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        values = checked_numbers(y)
        design = self._learn_design(X)
        arm = design[:, 0] if self.treatment is not None else None
        columns = design if arm is None else design[:, 1:]
        refuse_perfect_line(columns, list(self.encoder_.get_feature_names_out()), values)
        grid = len(values) * np.asarray(self.penalties, dtype=np.float64)
        patient = copies_of(X)
        counts = None if patient is None else patient.map(patient.value_counts()).to_numpy(dtype=np.float64)
        line = ridge_line(columns, values, grid, arm, counts)
        self.penalty_, self.coefficients_ = line.penalty / len(values), line.coefficients
        left = values - columns @ line.coefficients
        both = arm is not None and 0 < arm.sum() < len(arm)
        control = left if arm is None or not both else left[arm == 0]
        self.intercept_ = float(control.mean())
        self.treatment_coefficient_ = float(left[arm == 1].mean() - self.intercept_) if both else 0.0
        return self

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the mean given the covariates, shape (n,)."""
        check_is_fitted(self, "coefficients_")
        mean, arm = self.intercept_ + self.encoder_.transform(X) @ self.coefficients_, self._arm(X)
        return np.asarray(mean if arm is None else mean + self.treatment_coefficient_ * arm, dtype=np.float64)

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "encoder": self.encoder_.state(),
            "treatment": self.treatment,
            "intercept": self.intercept_,
            "coefficients": self.coefficients_.tolist(),
            "treatment_coefficient": self.treatment_coefficient_,
            "penalty": self.penalty_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["treatment"])
        model.encoder_ = CovariateEncoder.from_state(state["encoder"])
        model.intercept_ = float(state["intercept"])
        model.coefficients_ = np.asarray(state["coefficients"], dtype=np.float64)
        model.treatment_coefficient_ = float(state["treatment_coefficient"])
        model.penalty_ = float(state["penalty"])
        return model


def checked_numbers(y: Any) -> Floats:
    """Return a continuous outcome as floats, shape (n,).

    Raises
    ------
    DataError
        If it has fields, or a value is missing or infinite.
    AnalysisError
        If there are fewer than 10 patients, or it is the same for all.
    """
    if getattr(getattr(y, "dtype", None), "names", None):
        message = (
            f"the outcome has the fields {', '.join(y.dtype.names)}, but a model of a mean takes one number a patient"
        )
        raise DataError(f"{message}: choose a model of its own endpoint")
    values = np.asarray(y, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise DataError("a continuous outcome must hold one finite number for each patient")
    if len(values) < FEWEST_PATIENTS or np.ptp(values) == 0:
        what = "all of them with the same value" if len(values) and np.ptp(values) == 0 else "too few"
        raise AnalysisError(
            f"A model of a mean cannot be fitted to {len(values)} patients, {what}: it needs at least {FEWEST_PATIENTS}, and values "
            "that differ."
        )
    return values


MODEL = Model(
    name="linear_ridge",
    question="risk",
    words=(
        "a linear model with a ridge penalty on standardised covariates, the arm as an unpenalised covariate, and the penalty "
        "chosen by leave-one-out cross-validation"
    ),
    estimator=LinearRidge,
    endpoint="continuous",
)
